/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GRD_HOT_H
#define GRD_HOT_H

/*
 * The blocks of a shard that instances take from each other most, and which instances. A bounded sketch ("space
 * saving"): a block that is not in the full table takes the place of the coldest one and begins with its count, so
 * that a count is never too low, and too high by at most `error`. Counts are halved every GRD_HOT_HALF_NS. Any block
 * with more than a GRD_HOT_ENTRIES-th of all transfers of the last moments is in the table.
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
#define GRD_HOT_NODES 4u /* of an entry: those who ask most */
#define GRD_HOT_HALF_NS UINT64_C(1000000000)

struct grd_hot_entry {
    CF_ALIGNED(64) _Atomic uint32_t change;
    _Atomic uint32_t error;
    _Atomic uint64_t file_generation, block;
    _Atomic uint32_t s, x;                /* transfers in S, in X */
    _Atomic uint64_t period;              /* up to which it was halved */
    _Atomic uint64_t node[GRD_HOT_NODES]; /* 16 bits node, 24 bits S, 24 bits X */
};

struct grd_hot {
    uint32_t tag[GRD_HOT_ENTRIES];    /* [owner] of the key; what a search looks at */
    uint32_t weight[GRD_HOT_ENTRIES]; /* [owner] s + x; 0: free */
    _Atomic uint64_t period;          /* halvings made */
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

/* An instance was granted the block in this mode, and others had it. */
void grd_hot_count(struct grd_hot *hot, const struct cf_block_key *key, uint16_t node, enum cf_mode mode,
                   uint64_t now_ns);
/* The hottest of several tables, hottest first; returns how many. Any thread. */
uint32_t grd_hot_top(const struct grd_hot *const *tables, uint32_t tables_count, uint64_t now_ns,
                     struct grd_hot_view *views, uint32_t views_max);

#endif
