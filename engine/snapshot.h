/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_SNAPSHOT_H
#define ENGINE_SNAPSHOT_H

/*
 * Private snapshots of blocks that other instances have cached, by one-sided READ: never cached here, never pinned.
 *
 *   start --place unknown--> ASKING --there: here--> FIRST --word good--> BYTES --> SECOND --word good--> done
 *     |                        | there: not,           |                              |
 *     +--place known---------->|  no answer            +-- word moved: place dropped -+--> ASKING, or by message
 *                              +--> by message: a get in S that is copied and put
 *
 * What proves a snapshot. The stable bits of a frame's word are its generation, which rises before the frame gets
 * another block and before any thread may change its bytes (frame.h). So a generation of a frame of one life of an
 * instance stands for one image of one block: its key, bytes, version and redo position. `there` is said by the holder,
 * who sees all of these at once while nobody changes them: it names the generation. FIRST then says: at that moment
 * the frame had that generation, nobody changed it, and the holder held the block in S or X, so that (I-1, I-2) the
 * image was the newest version of the cluster; SECOND says that the generation was still the same after the bytes had
 * come. Each READ begins when the one before is complete, so their order is no matter of the device.
 *
 * So a snapshot is the version of its block that was current at a moment between call and return, and a session
 * never sees an older one after a newer one. A place stays good as long as nobody takes the block in X: a read-mostly
 * block costs three READs and no message. Places are bounded in number and age: a generation would have to wrap, which
 * takes three hours at 100 million steps a second, within ENG_PLACE_NS_MAX.
 *
 * I-7: a dirty image is named by `there` only when its redo is durable; the generation binds that as well.
 *
 * Owner of progress, all of it.
 */
#include "engine/instance.h"

#define ENG_SNAPSHOT_SLOTS 32u /* snapshots of an instance under way at once; the next one goes by message */
#define ENG_SNAPSHOT_TRIES 3u  /* places tried for one snapshot before it goes by message */
#define ENG_PLACES 4096u       /* places remembered, a power of two; pairs share a row of two */
#define ENG_PLACE_NS_MAX (600ull * 1000000000ull)
/* A block whose places keep failing is changed often: it goes by message for so many calls, then is tried again. */
#define ENG_PLACE_FAVOUR_NEW 4u
#define ENG_PLACE_FAVOUR_MAX 8u
#define ENG_PLACE_RESTS 16u

/* Where a block was said to be. */
struct eng_place {
    struct cf_block_key key;
    uint64_t epoch;
    uint64_t word;    /* stable bits */
    uint64_t version; /* of the bytes under that word */
    uint64_t offset;  /* of the bytes, in the holder's frame space; the words are at its begin */
    uint64_t learned_ns;
    uint32_t frame;
    uint32_t incarnation; /* of the holder */
    uint16_t node;        /* CF_NODE_NONE: not known at the moment */
    uint8_t favour;
    uint8_t rests; /* calls that still go by message */
    bool in_use;
};

enum eng_snapshot_stage {
    ENG_SNAPSHOT_FREE = 0,
    ENG_SNAPSHOT_ASKING,
    ENG_SNAPSHOT_FIRST,
    ENG_SNAPSHOT_BYTES,
    ENG_SNAPSHOT_SECOND
};

struct eng_snapshot {
    struct cf_op *op;       /* NULL: its caller has gone, a READ is still under way */
    struct eng_place place; /* what this snapshot goes by */
    uint64_t request;
    uint64_t ask_until_ns;
    uint64_t *word;  /* [const] the READs write here */
    uint8_t *bytes;  /* [const] and here */
    uint32_t number; /* [const] */
    uint32_t next;   /* free list */
    uint8_t stage;   /* enum eng_snapshot_stage */
    uint8_t tries;
    bool is_reading;
};

struct eng_snapshot_counters { /* [own], read by others without order */
    uint64_t read, asked, refused, torn, given_up;
};

struct eng_snapshots {
    struct eng_snapshot slots[ENG_SNAPSHOT_SLOTS];
    uint32_t free;
    uint32_t used;
    uint32_t asking; /* slots in ASKING */
    uint64_t next_ns;
    uint64_t requests;
    uint32_t places_used;
    struct eng_snapshot_counters counters;
    struct eng_place places[ENG_PLACES];
};

/* snapshot_slot.c */
/* Before xp_start. Without the option, or where the transport has no READ, there is none: all goes by message. */
CF_CHECK enum cf_rc eng_snapshots_open(struct cf_instance *instance, struct cf_error *error);
void eng_snapshots_close(struct cf_instance *instance);
void eng_snapshots_dump(const struct cf_instance *instance, FILE *out);
/* NULL: as many as may be are under way. */
struct eng_snapshot *eng_snapshot_take(struct eng_snapshots *snapshots);
static inline void eng_snapshot_stage_set(struct eng_snapshots *snapshots, struct eng_snapshot *slot,
                                          enum eng_snapshot_stage stage)
{
    snapshots->asking += (stage == ENG_SNAPSHOT_ASKING) - (slot->stage == ENG_SNAPSHOT_ASKING);
    if (snapshots->asking == 0)
        snapshots->next_ns = UINT64_MAX;
    slot->stage = (uint8_t)stage;
}
/* The caller is served or gone. A READ that is under way keeps the slot until it ends. */
void eng_snapshot_free(struct eng_snapshots *snapshots, struct eng_snapshot *slot);

/* snapshot_look.c. LOOK: a reader asks where this instance's copy is. */
void eng_snapshot_on_look(struct cf_instance *instance, const struct grd_msg *msg);

/* snapshot.c */
/* False: the op has to go by message. */
bool eng_snapshot_start(struct cf_instance *instance, struct cf_op *op, uint64_t now_ns);
/* The op ends early. */
void eng_snapshot_withdraw(struct cf_instance *instance, const struct cf_op *op);
void eng_snapshots_fail_all(struct cf_instance *instance, enum cf_rc rc);
void eng_snapshot_on_there(struct cf_instance *instance, const struct grd_msg *msg, uint64_t now_ns);
/* XP_EV_DONE of a READ with ENG_TOKEN_SNAPSHOT. */
void eng_snapshot_on_read(struct cf_instance *instance, const struct xp_event *event, uint64_t now_ns);
/* Questions nobody answered. */
void eng_snapshots_tick(struct cf_instance *instance, uint64_t now_ns);

/* snapshot_call.c: the session's thread, but for give. What is wrong with the op, said in the session's error. */
CF_CHECK enum cf_rc eng_snapshot_check(struct cf_session *session, const struct cf_op *op);
/* Serves it from this instance's cache, by the frame word alone. */
CF_CHECK bool eng_snapshot_hit(struct cf_session *session, struct cf_op *op);
/* By message: the block has come and the frame is pinned in S for this op. Owner. */
void eng_snapshot_give(struct cf_instance *instance, struct cf_op *op, uint32_t frame);

/* snapshot_place.c */
struct eng_place *eng_place_find(struct eng_snapshots *snapshots, const struct cf_block_key *key,
                                 uint64_t hash);
/* Its row's other place may have to go. */
struct eng_place *eng_place_make(struct eng_snapshots *snapshots, const struct cf_block_key *key,
                                 uint64_t hash);
/* May it be read now? Counts a rest down. */
bool eng_place_is_due(struct eng_place *place);
/* It is not there any more. */
void eng_place_failed(struct eng_place *place, uint64_t word);
void eng_place_proved(struct eng_place *place);

/* Tokens of READs: who asked, and the number of its slot. */
#define ENG_TOKEN_WHO 0xff00000000000000ull
#define ENG_TOKEN_SNAPSHOT 0x0100000000000000ull
#define ENG_TOKEN_LOCK 0x0200000000000000ull

#endif
