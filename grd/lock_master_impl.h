/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GRD_LOCK_MASTER_IMPL_H
#define GRD_LOCK_MASTER_IMPL_H

/*
 * Shared by the files that make up the master of locks: store (lock_store.c), claims (lock_share.c), steps
 * (lock_master.c), values without a lock (lock_swap.c), inspection.
 */
#include "base/wheel.h"
#include "grd/lock_master.h"
#include "grd/lock_queue.h"

#define GRD_LOCK_NONE UINT32_MAX

/* The claim of one instance. */
struct grd_lock_share {
    struct grd_lock_claim claim;
    struct grd_lock_entry *entry;
    uint16_t node;
    uint8_t demanded; /* mode of the demand last sent for this tenure and mode; NL = none */
    uint8_t demanded_flags;
    uint8_t refusal; /* enum grd_lock_answer its last request ended with, if not by a grant */
    uint8_t demote;  /* it shall give up what its converting owner holds, for this mode; NL = no */
    bool is_demote_sent;
    uint64_t demand_number; /* of that demand; never used twice */
    uint64_t request;       /* highest number heard */
    uint64_t grant_request; /* the one that `tenure` was granted for */
    uint64_t tenure;        /* 0: nothing granted yet */
    uint64_t since_ns;      /* of the wait */
};

struct grd_lock_entry {
    struct cf_block_key key;
    uint64_t hash;
    struct grd_lock_queue queue;
    struct grd_lock_value value;
    struct grd_lock_name name;
    struct cf_timer timer; /* armed while somebody waits: demands are said again */
    uint64_t born_version;
    uint32_t idle_prev, idle_next; /* remembered for its value alone, oldest first; free list */
    bool in_use;
    bool is_idle;
    bool has_demands; /* some share may have been demanded something */
};

/* The last swap of one slot of one instance, so that a repetition has the same answer. */
struct grd_lock_swap {
    uint64_t request;
    uint64_t version;
    uint8_t how;
};

struct grd_lock_master {
    struct grd_lock_master_options options;
    struct cf_wheel wheel;
    struct grd_lock_entry *entries;
    struct grd_lock_share *shares;
    struct grd_lock_swap *swaps; /* [nodes][GRD_LOCK_SWAP_SLOTS] */
    uint64_t *mark;              /* [nodes] */
    uint32_t *index;             /* open addressing: entry or NONE */
    uint32_t index_mask;
    uint32_t entry_free, entries_used, idle_first, idle_last, idle_count;
    struct grd_lock_claim *share_free;
    uint32_t shares_used;
    uint64_t tenure_last, arrival_last;
    uint64_t version_floor; /* above each version that a lock forgotten was changed to */
    struct grd_lock_master_counters counters;
};

static inline struct grd_lock_share *grd_lock_share_from(struct grd_lock_claim *claim)
{
    return cf_container_of(claim, struct grd_lock_share, claim);
}

/* lock_store.c */
struct grd_lock_entry *grd_lock_entry_find(const struct grd_lock_master *master,
                                           const struct cf_block_key *key, uint64_t hash);
/* Finds or makes. NULL: as many locks as there may be have claims. */
struct grd_lock_entry *grd_lock_entry_get(struct grd_lock_master *master, const struct cf_block_key *key,
                                          uint64_t hash, const struct grd_lock_name *name);
/* After each use: an entry without claims is remembered for its value, or forgotten when it never had one. */
void grd_lock_entry_settle(struct grd_lock_master *master, struct grd_lock_entry *entry);
void grd_lock_entry_publish(struct grd_lock_master *master, struct grd_lock_entry *entry);
struct grd_lock_share *grd_lock_share_of(const struct grd_lock_entry *entry, uint16_t node);
struct grd_lock_share *grd_lock_share_take(struct grd_lock_master *master, struct grd_lock_entry *entry,
                                           uint16_t node);
void grd_lock_share_drop(struct grd_lock_master *master, struct grd_lock_share *share);

/* lock_share.c */
void grd_lock_share_send_value(struct grd_msg *msg, const struct grd_lock_value *value);
void grd_lock_share_send_grant(struct grd_lock_master *master, const struct grd_lock_share *share,
                               struct grd_actions *actions);
void grd_lock_share_send_refused(struct grd_lock_master *master, uint16_t to, const struct cf_block_key *key,
                                 uint64_t request, enum grd_lock_answer how, struct grd_actions *actions);
void grd_lock_share_send_demand(struct grd_lock_master *master, const struct grd_lock_share *share,
                                uint8_t mode, uint8_t flags, struct grd_actions *actions);
/* Tells those who stand against somebody that waits, if they do not know (`again`: also if they do). */
void grd_lock_share_send_demands(struct grd_lock_master *master, struct grd_lock_entry *entry, bool again,
                                 struct grd_actions *actions);
/* No request of the instance up to this number will be served. */
void grd_lock_share_mark(struct grd_lock_master *master, uint16_t node, uint64_t request);
void grd_lock_share_end(struct grd_lock_master *master, struct grd_lock_share *share);
void grd_lock_share_grant(struct grd_lock_master *master, struct grd_lock_share *share, uint8_t mode,
                          struct grd_actions *actions);
/* The claim is gone if nothing was ever granted. */
void grd_lock_share_refuse(struct grd_lock_master *master, struct grd_lock_share *share,
                           enum grd_lock_answer how, struct grd_actions *actions);
/* Grants everything that can be granted, in order. */
void grd_lock_share_serve(struct grd_lock_master *master, struct grd_lock_entry *entry,
                          struct grd_actions *actions);
/* After every change of an entry: who can be served, who must be told, is there still a reason to look again? */
void grd_lock_share_after(struct grd_lock_master *master, struct grd_lock_entry *entry, uint64_t now_ns,
                          struct grd_actions *actions);
/*
 * Two conversions keep one another out: neither will ever be granted. One comes down if it said it would; otherwise
 * the one that came later, `share`, ends.
 */
void grd_lock_share_deadlock(struct grd_lock_master *master, struct grd_lock_share *share,
                             struct grd_actions *actions);

/* lock_swap.c */
void grd_lock_swap_on_swap(struct grd_lock_master *master, const struct grd_msg *msg, uint64_t hash,
                           struct grd_actions *actions);
void grd_lock_swap_on_read(struct grd_lock_master *master, const struct grd_msg *msg, uint64_t hash,
                           struct grd_actions *actions);

#endif
