/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GRD_MSG_H
#define GRD_MSG_H

/*
 * Messages in their decoded form. One flat struct serves all types; which members a type uses is in msg.def.
 *
 * Names. `request` is the requester's rising number over all blocks: with the node (and, inside one epoch, that
 * node's incarnation, which the view fixes) it names a conversation. `tenure` names the granting the message
 * belongs to, `held` the tenure of the copy it is about.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cachefusion/types.h>

#include "base/compiler.h"
#include "grd/lock_table.h"
#include "grd/lock_value.h"
#include "grd/window.h"

enum grd_msg_type {
    GRD_MSG_NONE = 0,
#define GRD_MSG(name, number, sender, receiver, lane, answer, text) GRD_MSG_##name = number,
#include "grd/msg.def"
#undef GRD_MSG
    GRD_MSG_MAX = 64
};

/* Where the data of a grant comes from. */
enum grd_how {
    GRD_HOW_SHIP = 0,    /* from a holder's copy */
    GRD_HOW_DISK = 1,    /* the requester reads it */
    GRD_HOW_UPGRADE = 2, /* the requester has it in S */
    GRD_HOW_NEW = 3,     /* the requester formats it */
};

/*
 * A set of instances. Up to GRD_SET_LIST members stand in a list; larger sets are a bitmap. Within an epoch the
 * view gives each node its incarnation, so that a set of nodes is a set of (node, incarnation).
 */
#define GRD_SET_LIST 12u
struct grd_set {
    uint16_t count;
    uint16_t is_map;
    union {
        uint16_t list[GRD_SET_LIST];
        uint64_t map[CF_NODES_MAX / 64];
    };
};

/* Where a block can be read. */
enum grd_there {
    GRD_THERE_NOT = 0, /* nobody has it, or it may not be read now */
    GRD_THERE_HERE = 1 /* in the sender's cache */
};

/* What became of a request or swap of a lock. */
enum grd_lock_answer {
    GRD_LOCK_DONE = 0,
    GRD_LOCK_SPENT = 1,     /* the number has been used: ask under another */
    GRD_LOCK_BUSY = 2,      /* it was only tried */
    GRD_LOCK_DEADLOCK = 3,  /* two conversions keep one another out */
    GRD_LOCK_CANCELLED = 4, /* as you said */
    GRD_LOCK_TAKEN = 5,     /* another name has this key */
    GRD_LOCK_FULL = 6,      /* no room for another lock or claim */
    GRD_LOCK_CHANGED = 7,   /* swap: the version is another one */
    GRD_LOCK_ANSWERS = 8
};

/* The bytes of a lock's value. */
struct grd_lock_bytes {
    uint8_t count;
    uint8_t bytes[GRD_LOCK_VALUE_BYTES];
};

/* What the last owner of a bucket knows of a block. */
enum grd_move_known {
    GRD_MOVE_ENTRY = 0, /* the words name who holds it and who keeps a past image */
    GRD_MOVE_NONE = 1,  /* nobody holds it */
    GRD_MOVE_ALL = 2    /* anybody may: ask everybody */
};
/* A word of an entry that moves: node, flags, and from this bit on the tenure, or the version of a past image. */
#define GRD_MOVE_NODE 0x3ffu
#define GRD_MOVE_X 0x400u
#define GRD_MOVE_DUTY 0x800u
#define GRD_MOVE_PAST 0x1000u
#define GRD_MOVE_SHIFT 16u
#define GRD_MOVE_VALUE_MAX (UINT64_MAX >> GRD_MOVE_SHIFT)

/* What became of a victim. */
enum grd_detect_told {
    GRD_DETECT_ENDED = 0,
    GRD_DETECT_GONE = 1 /* the wait had ended before */
};

/* Words whose meaning their message gives. As long as what else may stand here: no message grows by them. */
#define GRD_WORDS_MAX 17u
struct grd_words {
    uint16_t no_set[2]; /* both 0: the set is empty to whoever looks */
    uint8_t count;
    uint64_t word[GRD_WORDS_MAX];
};

struct grd_msg {
    uint16_t type;      /* enum grd_msg_type */
    uint16_t from;      /* sender; set by the receiver of a message from what the transport vouches for */
    uint16_t requester; /* whose conversation it belongs to */
    uint8_t mode;       /* enum cf_mode asked for or granted */
    uint8_t how;        /* enum grd_how */
    uint8_t flags;      /* GRD_FLAG_* */
    uint8_t hops;       /* 2 or 3: how the image travelled, for the statistics */
    struct cf_block_key key;
    uint64_t request;
    union {
        uint64_t tenure;
        uint64_t word; /* there: the stable bits of the frame's word, which name these bytes of this block */
    };
    union {
        uint64_t held;
        uint64_t offset; /* there: of the frame's bytes in the memory that peers may read */
    };
    uint64_t version;
    uint64_t durable;
    uint64_t number; /* of a release; rises over all releases of the instance */
    uint64_t scn;    /* header: the sender's clock */
    uint32_t place;  /* how often the bucket had been moved, as the sender knows it */
    uint32_t bucket;
    uint16_t behind; /* number - behind = the lowest release that is not acknowledged */
    union {
        uint32_t checksum; /* ship: CRC32C of the image when GRD_FLAG_CHECKED */
        uint32_t frame;    /* there: its number, and with it the place of its word */
    };
    /* last: only the used part is ever touched */
    union {
        struct grd_set set;     /* of blocks */
        struct {                /* LOCK_* */
            uint16_t no_set[2]; /* both 0: the set is empty to whoever looks */
            uint32_t record;    /* number of the lock's record at its master */
            uint8_t now;        /* request: mode held when it was sent */
            uint8_t stake;      /* request: of that, held by the one who converts */
            uint8_t slot;       /* swap: of the sender, one swap at a time */
            struct grd_lock_bytes value;
            struct grd_lock_name name;
        };
        struct grd_words words; /* DETECT_*, MOVE_ENTRY */
    };
};
#define GRD_FLAG_NEW 0x1u      /* request: the caller formats the block */
#define GRD_FLAG_REFUSED 0x2u  /* request: S was taken away before it began; no X until it has [G-17] */
#define GRD_FLAG_CHECKED 0x2u  /* ship: the image carries a checksum that the receiver shall verify */
#define GRD_FLAG_DUTY 0x1u     /* held: I am responsible for writing it */
#define GRD_FLAG_RELEASED 0x2u /* held: I have released it under this number, and it was not acknowledged */
#define GRD_FLAG_LOST 0x1u     /* lock grant, value, down: the value is not valid */
#define GRD_FLAG_RELEASE 0x2u  /* lock down, lowered: the claim is given up altogether */
#define GRD_FLAG_VALUE 0x4u    /* lock down: the value comes along */
#define GRD_FLAG_COLD 0x1u     /* move done, order, report: entries of the bucket have been given back */
#define GRD_FLAG_LAST 0x1u     /* detect ask, report: nothing more of this comes */
#define GRD_FLAG_WAITS 0x2u    /* detect ask to the detector: somebody waits here, begin */
#define GRD_FLAG_SINCE 0x4u    /* detect ask: tell what has changed since the round before */
#define GRD_FLAG_MORE 0x8u     /* detect ask: these keys beside those of the rounds before */
#define GRD_FLAG_TAKEN 0x2u    /* detect report: prints of what is taken back */
#define GRD_FLAG_UNKNOWN 0x4u  /* detect report: what was told in the round before is not known here */
/* Of the flags of grd/lock_queue.h, those that travel. */
#define GRD_LOCK_REQUEST_FLAGS 0x1fu
#define GRD_LOCK_DEMAND_FLAGS 0x13u
/* Swaps of one instance open at one master. */
#define GRD_LOCK_SWAP_SLOTS 64u

/* Largest encoded body: every scalar and a full map. */
#define GRD_MSG_BYTES_MAX 256u

const char *grd_msg_name(uint16_t type);
/* Copies what the type uses. */
CF_HOT void grd_msg_copy(struct grd_msg *to, const struct grd_msg *from);
/* Bytes that encode will need. */
CF_HOT uint32_t grd_msg_bytes(const struct grd_msg *msg);
/* Writes the body; `to` has grd_msg_bytes(msg) bytes. Returns that number. */
CF_HOT uint32_t grd_msg_encode(const struct grd_msg *msg, void *to);
/*
 * Reads a body that came from a peer. False: type unknown, wrong length, an enumeration, set, value or name out of range;
 * *msg_out is then undefined and must not be used. Members that the type does not carry are left as they are.
 */
CF_HOT CF_CHECK bool grd_msg_decode(uint16_t type, const void *from, uint32_t bytes, uint32_t nodes,
                                    struct grd_msg *msg_out);

void grd_set_clear(struct grd_set *set);
void grd_set_add(struct grd_set *set, uint16_t node);
bool grd_set_has(const struct grd_set *set, uint16_t node);
void grd_set_remove(struct grd_set *set, uint16_t node);
void grd_set_copy(struct grd_set *to, const struct grd_set *from);
/* Calls for members in rising order: for (n = grd_set_next(s, 0); n < CF_NODES_MAX; n = grd_set_next(s, n + 1)). */
uint32_t grd_set_next(const struct grd_set *set, uint32_t from);

static inline bool grd_key_equal(const struct cf_block_key *a, const struct cf_block_key *b)
{
    return a->block == b->block && a->file == b->file && a->generation == b->generation;
}

#endif
