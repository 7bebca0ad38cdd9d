/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GRD_HOT_H
#define GRD_HOT_H

/*
 * The blocks of a shard that instances take from each other most, and which instances. A bounded sketch ("space
 * saving"): a block that is not in the full table takes the place of the coldest one and begins with its count, so
 * that a count is never too low, and too high by at most `error`. Counts are halved every GRD_HOT_HALF_NS. Any block
 * with more than a GRD_HOT_ENTRIES-th of all transfers of the last moments is in the table.
 *
 * A block whose changes are each followed by reads of most instances is read-mostly, as far as a master can see, who does
 * not hear of hits: the copies that travel for reads are half as many again as those for changes, or more. With two
 * instances none is: a change takes the block from one reader only. For how long the readers shall keep it follows from
 * how long the last change kept it from them (grd_hot_shared).
 *
 * To count takes a third of what a master does for a request, and nobody waits for it: transfers are noted, and counted when
 * their owner has nothing else to do, or has to know (grd_hot_settle).
 *
 * Written by the owner of the shard alone. Anybody may read: `change` of an entry is odd while it is written, and
 * differs when it was written since.
 */
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <cachefusion/types.h>

#include "base/compiler.h"

#define GRD_HOT_ENTRIES 64u
#define GRD_HOT_LISTS 128u
#define GRD_HOT_NODES 4u /* of an entry: those who ask most */
/* Transfers that wait to be counted. */
#define GRD_HOT_LATER_MAX 16u
#define GRD_HOT_HALF_NS UINT64_C(1000000000)
/* Reads in the table that make a block read-mostly at all. */
#define GRD_HOT_SHARED_READS 16u
/*
 * Sharers keep it as long as the change before kept it from them, and at most so long. Twice that, and more, costs
 * throughput in the simulator (bench/model.md).
 */
#define GRD_HOT_SHARED_NS_MAX UINT64_C(1000000)

struct grd_hot_entry {
    CF_ALIGNED(64) _Atomic uint32_t change;
    _Atomic uint32_t error;
    _Atomic uint64_t file_generation, block;
    _Atomic uint32_t s, x;                /* transfers in S, in X */
    _Atomic uint64_t period;              /* up to which it was halved */
    _Atomic uint64_t node[GRD_HOT_NODES]; /* 16 bits node, 24 bits S, 24 bits X */
};

/* What of a place the owner alone looks at, most of it in every search. */
struct grd_hot_place {
    CF_ALIGNED(32) uint32_t tag; /* of the key */
    uint32_t weight;             /* s + x; 0: free */
    uint64_t x_ns;               /* last taken in X from others; 0: never */
    uint64_t s_ns;               /* first read of others after that; 0: none yet */
    uint8_t next;                /* the next place + 1 with such a tag; 0: none */
};

/* A transfer that was noted. */
struct grd_hot_note {
    struct cf_block_key key;
    uint64_t now_ns;
    uint16_t node;
    uint8_t mode;
};

struct grd_hot {
    struct grd_hot_note later[GRD_HOT_LATER_MAX]; /* [owner] oldest first */
    uint32_t later_count;                         /* [owner] */
    struct grd_hot_place place[GRD_HOT_ENTRIES];  /* [owner] */
    uint8_t first[GRD_HOT_LISTS]; /* [owner] by tag, the first place + 1 of those with it; 0: none */
    uint32_t least;               /* [owner] no weight is below it */
    uint32_t hand;                /* [owner] where the search for the coldest goes on */
    _Atomic uint64_t period;      /* halvings made */
    struct grd_hot_entry entry[GRD_HOT_ENTRIES];
};

/* What a reader gets. Counts are those of about the last second. */
struct grd_hot_view {
    struct cf_block_key key;
    uint64_t s, x, error;
    uint32_t nodes;
    struct {
        uint16_t node;
        uint32_t s, x;
    } who[GRD_HOT_NODES]; /* most first */
};

/* [owner] What was noted is counted. */
void grd_hot_settle(struct grd_hot *hot);

/* [owner] An instance was granted the block in this mode, and others had it. Counted later. */
static inline void grd_hot_note(struct grd_hot *hot, const struct cf_block_key *key, uint16_t node,
                                enum cf_mode mode, uint64_t now_ns)
{
    if (CF_UNLIKELY(hot->later_count == GRD_HOT_LATER_MAX))
        grd_hot_settle(hot);
    hot->later[hot->later_count++] = (struct grd_hot_note){
        .key = *key, .now_ns = now_ns, .node = node, .mode = (uint8_t)mode};
}

/* [owner] Where the block is in the table, and until when its sharers shall keep it; UINT32_MAX: it is not read-mostly. */
uint32_t grd_hot_shared(struct grd_hot *hot, const struct cf_block_key *key, uint64_t *until_ns_out);
/* The hottest of several tables, hottest first, as far as they are counted; returns how many. Any thread. */
uint32_t grd_hot_top(const struct grd_hot *const *tables, uint32_t tables_count, uint64_t now_ns,
                     struct grd_hot_view *views, uint32_t views_max);

#endif
