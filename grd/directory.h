/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GRD_DIRECTORY_H
#define GRD_DIRECTORY_H

/*
 * The store of one shard of the global resource directory: entries, who holds, who waits, what is pending. It
 * knows no protocol; master.c does. All memory comes at open, from one budget.
 *
 *   index (open addressing, 32-bit entry numbers) --> entry, 56 bytes, up to 4 holders inline
 *                                                        |  side: only while there is something to remember
 *                                                        +--> side record: waiters, pending grants, sharers of the
 *                                                             pending X, past images, durable version, holders
 *                                                             beyond four (chunks of 64 bytes)
 *   summary, two bytes an entry that was given back to its holders
 *
 * Owner: the shard's directory worker, alone.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include <cachefusion/status.h>
#include <cachefusion/types.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/hash.h"
#include "base/wheel.h"
#include "grd/msg.h"
#include "grd/summary.h"

struct grd_directory;

/* 56 bytes; `side` and `holder` are private to grd/directory*.c. */
struct grd_entry {
    struct cf_block_key key;
    uint64_t last_tenure; /* highest tenure ever given to this resource */
    uint64_t version;     /* lower bound of the newest version */
    uint32_t side;        /* number of the side record, GRD_NONE, or "idle" */
    uint8_t holder[20];   /* 4 x { node and flags: 16 bits, low bits of the tenure: 24 bits }; idle: links */
};
_Static_assert(sizeof(struct grd_entry) == 56, "a directory record is at most 56 bytes");
#define GRD_NONE UINT32_MAX

struct grd_holder {
    uint16_t node;
    bool is_x;       /* X, else S */
    bool has_duty;   /* write-responsible: the last X grantee that still holds */
    bool is_pending; /* granted, installed not yet heard */
    uint64_t tenure;
};

/* One queued request. */
struct grd_waiter {
    uint16_t node;
    uint8_t mode : 2;
    uint8_t overtaken : 6; /* how many that came later were granted first [G-16] */
    uint8_t flags;         /* GRD_FLAG_* */
    uint32_t next;         /* [directory] */
    uint64_t request;
    uint64_t held; /* tenure the requester said it holds */
    uint64_t since_ns;
};

/* One grant whose installed has not been heard. */
struct grd_pending {
    struct cf_timer timer; /* asks by PROBE */
    uint16_t node;
    uint8_t mode;
    uint8_t how; /* enum grd_how as last sent */
    uint8_t flags;
    uint8_t again;   /* the source said not-held: choose another */
    uint16_t source; /* holder forwarded to (how = SHIP), CF_NODE_NONE otherwise */
    uint32_t next;   /* [directory] */
    uint8_t probes;  /* sent */
    uint64_t request;
    uint64_t tenure;
    uint64_t source_tenure; /* tenure of the source's copy */
    uint64_t since_ns;
    struct cf_block_key key; /* from the timer back to the entry */
};

/* An entry that is being put together again from what holders say. Nothing of it is granted meanwhile. */
struct grd_rebuild {
    struct cf_timer timer; /* asks those who have not answered by RECALL */
    struct cf_block_key key;
    uint64_t number; /* of the question, so that an answer to an older one changes nothing */
    uint64_t since_ns;
    uint64_t version, durable; /* highest heard */
    uint64_t awaited[CF_NODES_MAX / 64];
    uint16_t awaited_count;
    uint16_t found_count; /* instances that held it when it was given back */
    uint16_t found;       /* the last of them */
    bool wants_write;     /* somebody asked for the block to be written */
    bool in_use;
    bool is_unlisted;     /* its bucket has moved: the summary does not know it */
    bool asks_last_owner; /* nobody is awaited but the bucket's last owner */
    uint8_t repetitions;  /* of the question */
    uint16_t last_owner;
    uint32_t bucket; /* of one that asks the last owner */
};

/* A node and a tenure (sharers of the pending X) or a version (past images; 0 = not yet known). */
struct grd_pair {
    uint16_t node;
    uint64_t value;
};

enum grd_list {
    GRD_LIST_SHARERS = 0, /* of the pending X: who was told to invalidate, under which tenure */
    GRD_LIST_PAST = 1,    /* past images: node, version */
    GRD_LISTS = 2
};

struct grd_directory_options {
    uint64_t entries;       /* capacity */
    uint64_t conversations; /* waiters + pending grants that can be open at once: instances x outstanding */
    uint64_t holders; /* holder slots: frames of all instances; at most as many sharers of pending X grants */
    uint64_t past_images; /* of all instances */
    uint64_t sides,
        chunks; /* 0 = as many as the bounds above can need, so that no entry need be given back */
    uint64_t summary_lines; /* 0 = as for entries */
    uint32_t nodes;         /* 0 = CF_NODES_MAX */
    uint32_t buckets;
    bool is_movable; /* buckets may come from other instances and go to them; needs hash_key */
    struct cf_hash_key hash_key;
    uint64_t seed; /* the caller's hash is mixed with it */
    const struct cf_allocator *allocator;
};
/* What happened to entries for want of room, and what came of it. */
struct grd_directory_counters {
    uint64_t forgotten; /* nobody held them */
    uint64_t given_one; /* given back: one holder; several; past images as well */
    uint64_t given_many;
    uint64_t given_past;
    uint64_t given_for_room; /* of these, for the sake of pools */
    uint64_t wrong_positives;
    uint64_t not_there; /* a peer said it held what was not given back */
};
/* Memory this takes, all included. */
uint64_t grd_directory_size(const struct grd_directory_options *options);
/*
 * The most of `need` that fits in `bytes`. Less than all of it means that entries will be given back. CF_BUDGET: not even
 * what conversations need at once fits; *bytes_min_out says what would.
 */
CF_CHECK enum cf_rc grd_directory_fit(const struct grd_directory_options *need, uint64_t bytes,
                                      struct grd_directory_options *fit_out, uint64_t *bytes_min_out);
CF_CHECK enum cf_rc grd_directory_open(const struct grd_directory_options *options,
                                       struct grd_directory **directory_out);
void grd_directory_close(struct grd_directory **directory);
uint64_t grd_directory_entries(const struct grd_directory *directory);
const struct grd_directory_counters *grd_directory_counters(const struct grd_directory *directory);
/* Records in use at the moment. */
struct grd_directory_use {
    uint32_t waiters, pendings, rebuilds, sides, chunks;
};
struct grd_directory_use grd_directory_use(const struct grd_directory *directory);
const struct grd_summary *grd_directory_summary(const struct grd_directory *directory);
uint64_t grd_directory_bytes(const struct grd_directory *directory);

/*
 * `hash` is the keyed hash of the key, the same for every call about it. All its bits count: shards and buckets may
 * have been chosen by some of them.
 */
CF_HOT struct grd_entry *grd_entry_find(struct grd_directory *directory, const struct cf_block_key *key,
                                        uint64_t hash);
/*
 * Finds or makes an entry: a new one has version 0, no holder, last_tenure = the floor. Entries that nobody holds,
 * waits for or remembers anything of are evicted to make room, then cold ones are given back to their holders (second
 * chance by use); their last_tenure raises the floor, so that no tenure is ever used twice. So the pointer to an entry
 * without waiter, pending grant or rebuild is good until the next get.
 * NULL: all entries are under way, which cannot be where there are as many as conversations can need at once.
 */
CF_HOT struct grd_entry *grd_entry_get(struct grd_directory *directory, const struct cf_block_key *key,
                                       uint64_t hash, uint32_t bucket);
/* May the resource, which has no entry, have been given back, and whom to ask? Never a false "no" [G-14]. */
CF_HOT struct grd_hint grd_entry_hint(const struct grd_directory *directory, uint64_t hash);
/*
 * A rebuild begins on an entry just made, where there is room for one: as many as conversations. It ends when all have answered: if some
 * held it, the summary forgets it in the same transition; if nobody did, that was a wrong positive.
 */
/* Half of the rebuilds are there for requests alone. */
bool grd_rebuild_has_room(const struct grd_directory *directory, bool is_request);
struct grd_rebuild *grd_rebuild_begin(struct grd_directory *directory, struct grd_entry *entry);
struct grd_rebuild *grd_rebuild_of(struct grd_directory *directory, const struct grd_entry *entry);
void grd_rebuild_end(struct grd_directory *directory, struct grd_entry *entry, uint64_t hash);
/*
 * For many lookups at once: the first for all of them, the second for all of them, then find or get. Each asks for
 * lines the next step needs, and waits for none.
 */
CF_HOT void grd_entry_prefetch(const struct grd_directory *directory, uint64_t hash);
CF_HOT void grd_entry_prefetch_record(const struct grd_directory *directory, uint64_t hash);
/*
 * Next tenure of the entry: last_tenure + 1, stored. Holders too far behind for their inline slot move to a chunk,
 * for which grd_pending_add has seen to room.
 */
CF_HOT uint64_t grd_entry_tenure(struct grd_directory *directory, struct grd_entry *entry);

/* Holders. At most one per node. A holder that is not new needs no room; for a new one of a rebuild see grd_holder_fits. */
uint32_t grd_holders_count(const struct grd_directory *directory, const struct grd_entry *entry);
CF_HOT bool grd_holder_find(const struct grd_directory *directory, const struct grd_entry *entry,
                            uint16_t node, struct grd_holder *holder_out);
CF_HOT void grd_holder_set(struct grd_directory *directory, struct grd_entry *entry,
                           const struct grd_holder *holder);
/* Is there room for one more holder and past image, by giving others back if need be? */
bool grd_holder_fits(struct grd_directory *directory, const struct grd_entry *entry);
/* The holder's grant has begun: it is pending no more. */
CF_HOT void grd_holder_begun(struct grd_directory *directory, struct grd_entry *entry, uint16_t node);
CF_HOT bool grd_holder_remove(struct grd_directory *directory, struct grd_entry *entry, uint16_t node);
/* Takes out the first holder, as iteration has them, that is neither of the two. False: there is none. */
CF_HOT bool grd_holder_take(struct grd_directory *directory, struct grd_entry *entry, uint16_t but,
                            uint16_t and_but, struct grd_holder *holder_out);
/* Iterates: cursor starts at 0; false = end. Holders may be removed or changed by node between calls only where the text of the caller says so: here NOT. */
CF_HOT bool grd_holder_next(const struct grd_directory *directory, const struct grd_entry *entry,
                            uint32_t *cursor, struct grd_holder *holder_out);

/* All of them at one look, as one instance sees them. */
struct grd_holders {
    uint32_t others; /* who hold beside it */
    bool has_own;
    struct grd_holder own;
    struct grd_holder other; /* if there is one alone: that one */
    uint32_t room;           /* [directory] where another one finds place */
};
CF_HOT void grd_holders_look(const struct grd_directory *directory, const struct grd_entry *entry,
                             uint16_t node, struct grd_holders *holders_out);

/* It becomes a holder, with the tenure just given; nothing was set or removed since the look. */
CF_HOT void grd_holder_add(struct grd_directory *directory, struct grd_entry *entry,
                           const struct grd_holders *seen, const struct grd_holder *holder);

/* Waiters: first come, first served. */
struct grd_waiter *grd_waiter_first(struct grd_directory *directory, struct grd_entry *entry);
struct grd_waiter *grd_waiter_next(struct grd_directory *directory, const struct grd_waiter *waiter);
struct grd_waiter *grd_waiter_of(struct grd_directory *directory, struct grd_entry *entry, uint16_t node);
/* NULL: `conversations` are open already (a peer broke its bound), or no side record is free for the same reason. */
struct grd_waiter *grd_waiter_add(struct grd_directory *directory, struct grd_entry *entry);
/*
 * The next entry from *cursor on that somebody waits for, looking at looks_max records at most. NULL: none among those;
 * false in *more_out: none is left.
 */
struct grd_entry *grd_waited_next(struct grd_directory *directory, uint32_t *cursor, uint32_t looks_max,
                                  bool *more_out);
void grd_waiter_remove(struct grd_directory *directory, struct grd_entry *entry, struct grd_waiter *waiter);

/*
 * Pending grants of an entry, newest first. Add answers NULL as above, and where there is no room, even after others have
 * been given back, for what one more grant of this entry can entail: what follows it on the entry cannot run out.
 */
struct grd_pending *grd_pending_first(struct grd_directory *directory, const struct grd_entry *entry);
struct grd_pending *grd_pending_next(struct grd_directory *directory, const struct grd_pending *pending);
struct grd_pending *grd_pending_of(struct grd_directory *directory, const struct grd_entry *entry,
                                   uint16_t node);
struct grd_pending *grd_pending_add(struct grd_directory *directory, struct grd_entry *entry);
void grd_pending_remove(struct grd_directory *directory, struct grd_entry *entry,
                        struct grd_pending *pending);

/* Lists of the side record. set replaces the value of a node that is there. */
bool grd_list_find(const struct grd_directory *directory, const struct grd_entry *entry, enum grd_list list,
                   uint16_t node, uint64_t *value_out);
void grd_list_set(struct grd_directory *directory, struct grd_entry *entry, enum grd_list list, uint16_t node,
                  uint64_t value);
/* Of a node that is not in the list. */
void grd_list_add(struct grd_directory *directory, struct grd_entry *entry, enum grd_list list, uint16_t node,
                  uint64_t value);
bool grd_list_remove(struct grd_directory *directory, struct grd_entry *entry, enum grd_list list,
                     uint16_t node);
void grd_list_clear(struct grd_directory *directory, struct grd_entry *entry, enum grd_list list);
bool grd_list_next(const struct grd_directory *directory, const struct grd_entry *entry, enum grd_list list,
                   uint32_t *cursor, struct grd_pair *pair_out);
uint32_t grd_list_count(const struct grd_directory *directory, const struct grd_entry *entry,
                        enum grd_list list);

/* The lowest known version of a past image; UINT64_MAX: there is none. */
uint64_t grd_past_oldest(const struct grd_directory *directory, const struct grd_entry *entry);
/* Past images whose version is not known are of this one; 0: they go. */
void grd_past_learn(struct grd_directory *directory, struct grd_entry *entry, uint64_t version);

/* Newest version known durable; kept only while there is a side record (0 otherwise). Raise never lowers. */
uint64_t grd_entry_durable(const struct grd_directory *directory, const struct grd_entry *entry);
void grd_entry_durable_raise(struct grd_directory *directory, struct grd_entry *entry, uint64_t durable);
/*
 * After each use of an entry: gives the side record back when it holds nothing. An entry whose last content is gone
 * can be evicted from here on, not before.
 */
void grd_entry_settle(struct grd_directory *directory, struct grd_entry *entry);

/*
 * Buckets that have come from another instance, or go to one (docs/remaster.md). What is given back of a bucket that
 * has come is not in the summary: all of the bucket may be held then (OPEN).
 */
#define GRD_BUCKET_FOREIGN 0x1u /* has come here */
#define GRD_BUCKET_OPEN 0x2u    /* whatever has no entry may be held by anybody */
#define GRD_BUCKET_IMPORT 0x4u  /* whatever has no entry may have one at the last owner */
#define GRD_BUCKET_EXPORT 0x8u  /* not this instance's any more: entries wait to be taken over */
static inline bool grd_bucket_is_open(uint8_t state)
{
    return (state & GRD_BUCKET_OPEN) != 0;
}
uint8_t grd_bucket_state(const struct grd_directory *directory, uint32_t bucket);
void grd_bucket_state_set(struct grd_directory *directory, uint32_t bucket, uint8_t state);
/* The key's bucket is not this instance's any more, or may not be in a moment: nothing is granted. */
bool grd_bucket_is_closed(const struct grd_directory *directory, const struct cf_block_key *key);
/* Is a grant or rebuild of the bucket under way? */
bool grd_bucket_is_busy(const struct grd_directory *directory, uint32_t bucket);
/* No tenure above this has been given to anything; and from now on none up to this is. */
uint64_t grd_tenure_last(const struct grd_directory *directory);
void grd_tenure_raise(struct grd_directory *directory, uint64_t tenure);
/*
 * The next entry of a bucket from *cursor on, looking at looks_max at most. NULL: none among those; false in *more_out:
 * none is left.
 */
struct grd_entry *grd_bucket_next(struct grd_directory *directory, uint32_t bucket, uint32_t *cursor,
                                  uint32_t looks_max, bool *more_out);
/* Forgets an entry that another instance knows now, requests that wait included. */
void grd_entry_drop(struct grd_directory *directory, struct grd_entry *entry);

/* Inspection. */
void grd_directory_each(struct grd_directory *directory, void (*each)(void *arg, struct grd_entry *entry),
                        void *arg);
/* Records of every pool in use beyond what entries with holders explain; names them in text. */
uint64_t grd_directory_leaks(const struct grd_directory *directory, char *text, size_t text_bytes);
/* Asserts the index, the pools and the lists against each other. */
void grd_directory_check(const struct grd_directory *directory);
void grd_entry_dump(const struct grd_directory *directory, const struct grd_entry *entry, FILE *out);

#endif
