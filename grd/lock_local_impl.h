/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GRD_LOCK_LOCAL_IMPL_H
#define GRD_LOCK_LOCAL_IMPL_H

/*
 * Shared by the files that make up an instance's locks: records, pools and dispatch (lock_local.c), owners and
 * their waits (lock_owner.c), what they hold (lock_convert.c), the conversation with the master (lock_ask.c,
 * lock_hear.c), values without a lock (lock_call.c), reports (lock_wait.c), inspection (lock_resource.c).
 */
#include "grd/lock_local.h"

#define GRD_LOCK_NUMBER_BITS 24u
_Static_assert(GRD_LOCK_CLAIMS_MAX == 1u << GRD_LOCK_NUMBER_BITS, "a wait id holds the number of its claim");
/* A demand that has not been said again for so many resend periods is withdrawn. */
#define GRD_LOCK_DEMAND_PERIODS 8u
/* A swap that meets others in use is tried this often. */
#define GRD_LOCK_SWAP_TRIES 8u

/* One granted or waiting owner. */
struct grd_lock_owner {
    struct grd_lock_claim claim;
    struct grd_lock_resource *resource; /* NULL: in the free list */
    struct grd_lock_owner *done_next;
    struct grd_lock_owner *publish_next;
    uint32_t generation;
    uint32_t number; /* [const] in the pool */
    uint32_t cost;
    uint64_t owner, cookie;
    uint64_t wait_id;         /* while it waits */
    uint64_t grant_id;        /* of its granted mode */
    uint64_t since_ns;        /* of the wait */
    uint64_t publish_version; /* 0, or: done when the master has this version */
    int16_t rc;               /* enum cf_rc of `done` */
    bool is_done;             /* in the list of completions */
    bool is_in_call;          /* its call has not answered yet: no completion */
    bool is_demoted;
    bool has_value; /* the completion hands the value over */
};

/* A swap or read under way. */
struct grd_lock_call {
    struct grd_lock_resource *resource; /* NULL: free */
    struct grd_lock_call *next;         /* of the lock; in the free list; of the completions */
    uint64_t request, cookie, expected;
    uint32_t tries;
    int16_t rc;
    bool is_swap;
    bool is_resting; /* a swap that met others in use, until the timer tries again: it keeps nobody out */
    struct grd_lock_value value; /* the new one; in the completion the one there is */
};

/* Through a handle that was closed nothing is granted: the short way looks at this alone. */
enum grd_lock_leaving {
    GRD_LOCK_STAYS = 0,   /* a handle is open */
    GRD_LOCK_CLOSED = 1,  /* none is; something is under way still, or nothing was ever granted */
    GRD_LOCK_RELEASES = 2 /* the master is being told; handles may be opened meanwhile */
};

struct grd_lock_resource {
    /* what a lock that is cached and free looks at comes first: two lines */
    uint8_t mode;    /* of this instance at the master; NL where tenure = 0 */
    uint8_t demand;  /* peers wait for this mode; NL = none */
    uint8_t leaving; /* enum grd_lock_leaving */
    bool in_use;
    uint32_t handles;     /* open ones */
    uint64_t tenure;      /* 0: the master knows nothing of this instance here */
    uint64_t ask_request; /* the request under way; 0 = none */
    struct grd_lock_queue queue;
    struct cf_block_key key;
    struct grd_lock_name name;
    struct grd_lock_value value;
    bool is_dirty; /* the value is newer than what the master is known to have */
    uint16_t master;
    uint8_t wanted_mode; /* to be told by grd_lock_local_next_wanted; NL = nothing */
    uint16_t retries;
    uint32_t tries;                    /* owners that wait with TRY */
    _Atomic uint32_t record;           /* set by the owner, read by any thread that has a handle */
    uint64_t demand_number, demand_ns; /* which demand, and when it was last heard */
    struct grd_lock_owner *ask_for;    /* NULL: nobody wants it any more */
    uint8_t ask_mode, ask_stake, ask_flags;
    bool ask_is_cancelled;
    /* the down not yet acknowledged */
    uint64_t lower_tenure; /* 0 = none */
    uint8_t lower_mode;
    struct grd_lock_owner *publish_first;
    struct grd_lock_call *call_first;
    uint32_t holds; /* whoever reads by the record's address: it stays this lock's */
    struct cf_timer timer;
    struct grd_lock_resource *next;        /* free list */
    struct grd_lock_resource *wanted_next; /* list of those with a wanted_mode */
};

struct grd_lock_local {
    struct grd_lock_local_options options;
    struct cf_wheel wheel;
    struct grd_lock_resource *resources, *resource_free, *wanted_first, *wanted_last;
    struct grd_lock_owner *owners, *done_first, *done_last;
    struct grd_lock_claim *owner_free;
    struct grd_lock_call *calls, *call_free, *call_done_first, *call_done_last;
    uint32_t *table;
    uint32_t table_mask;
    uint32_t resources_used, calls_used;
    uint64_t request_next, id_last, arrival_last;
    uint64_t counters_taken;          /* locks of the fast path, which are cached ones */
    struct grd_lock_value done_value; /* what the completion last taken points to */
    struct grd_lock_local_counters counters;
};

static inline struct grd_lock_owner *grd_lock_owner_from(struct grd_lock_claim *claim)
{
    return cf_container_of(claim, struct grd_lock_owner, claim);
}
static inline grd_lock_id grd_lock_owner_id(const struct grd_lock_owner *owner)
{
    return (uint64_t)owner->generation << 32 | (owner->number + 1);
}
/* NULL: the id names nothing. */
static inline struct grd_lock_owner *grd_lock_owner_of(const struct grd_lock_local *local, grd_lock_id lock)
{
    uint32_t number = (uint32_t)lock - 1;
    struct grd_lock_owner *owner;

    if (number >= local->options.claims) /* 0 becomes the largest */
        return NULL;
    owner = &local->owners[number];
    return owner->resource && owner->generation == (uint32_t)(lock >> 32) ? owner : NULL;
}
/* NULL: not granted, or its last call has not been answered yet. */
static inline struct grd_lock_owner *grd_lock_owner_held(const struct grd_lock_local *local, grd_lock_id lock)
{
    struct grd_lock_owner *owner = grd_lock_owner_of(local, lock);

    return owner && owner->claim.state == GRD_LOCK_HELD && !owner->is_done && owner->publish_version == 0
               ? owner
               : NULL;
}
/* A number for a wait or grant, never used twice. */
static inline uint64_t grd_lock_local_id(struct grd_lock_local *local, const struct grd_lock_owner *owner)
{
    return ++local->id_last << GRD_LOCK_NUMBER_BITS | owner->number;
}
static inline bool grd_lock_is_releasing(const struct grd_lock_resource *resource)
{
    return resource->leaving == GRD_LOCK_RELEASES;
}
static inline struct grd_lock_limit grd_lock_local_limit(const struct grd_lock_resource *resource)
{
    return (struct grd_lock_limit){.is_known = resource->tenure != 0 && !grd_lock_is_releasing(resource),
                                   .cap = resource->mode,
                                   .ask_cap = resource->ask_request ? resource->ask_mode : GRD_LOCK_EX,
                                   .demand = resource->demand};
}

/* lock_local.c */
struct grd_lock_resource *grd_lock_local_find(const struct grd_lock_local *local,
                                              const struct cf_block_key *key);
void grd_lock_local_arm(struct grd_lock_local *local, struct grd_lock_resource *resource, uint64_t now_ns);
/* With no handle and nothing under way: gives the lock up, then the record. */
void grd_lock_local_settle(struct grd_lock_local *local, struct grd_lock_resource *resource, uint64_t now_ns,
                           struct grd_actions *actions);
void grd_lock_local_note_wanted(struct grd_lock_local *local, struct grd_lock_resource *resource,
                                uint8_t mode);

/* lock_owner.c */
/* The claim is out of its queue already. */
void grd_lock_owner_give(struct grd_lock_local *local, struct grd_lock_owner *owner);
/* Begins to wait, and answers the call; the claim may be gone afterwards. */
enum cf_rc grd_lock_owner_wait(struct grd_lock_local *local, struct grd_lock_owner *owner, uint8_t mode,
                               uint64_t now_ns, struct grd_actions *actions);
void grd_lock_owner_complete(struct grd_lock_local *local, struct grd_lock_owner *owner, enum cf_rc rc);
/* The wait ended without a grant. */
void grd_lock_owner_fail(struct grd_lock_local *local, struct grd_lock_owner *owner, enum cf_rc rc);
void grd_lock_owner_grant(struct grd_lock_local *local, struct grd_lock_owner *owner);
/* Gives up the mode it converts from, and goes on waiting. */
void grd_lock_owner_demote(struct grd_lock_local *local, struct grd_lock_owner *owner);
/* The master has this version: completes those who published it or an older one. */
void grd_lock_owner_published(struct grd_lock_local *local, struct grd_lock_resource *resource,
                              uint64_t version);

/* lock_ask.c */
/*
 * Grants who can be granted, comes down if demanded and possible, asks for more if needed. Answers who is next but
 * for the mode of the instance, or NULL.
 */
CF_HOT struct grd_lock_owner *grd_lock_ask_serve(struct grd_lock_local *local,
                                                 struct grd_lock_resource *resource, uint64_t now_ns,
                                                 struct grd_actions *actions);
/* Comes down to `mode`, and says so until it is acknowledged. */
void grd_lock_ask_lower(struct grd_lock_local *local, struct grd_lock_resource *resource, uint8_t mode,
                        uint64_t now_ns, struct grd_actions *actions);
void grd_lock_ask_release(struct grd_lock_local *local, struct grd_lock_resource *resource, uint64_t now_ns,
                          struct grd_actions *actions);
void grd_lock_ask_publish(struct grd_lock_local *local, struct grd_lock_resource *resource, uint64_t now_ns,
                          struct grd_actions *actions);
/* Says again what the master has not answered. False: there is nothing. */
bool grd_lock_ask_again(struct grd_lock_local *local, struct grd_lock_resource *resource,
                        struct grd_actions *actions);

/* lock_hear.c */
/* A value from the master; an older one changes nothing. */
void grd_lock_hear_value(struct grd_lock_resource *resource, const struct grd_msg *msg);
void grd_lock_hear_grant(struct grd_lock_local *local, struct grd_lock_resource *resource,
                         const struct grd_msg *msg, uint64_t now_ns, struct grd_actions *actions);
void grd_lock_hear_refused(struct grd_lock_local *local, struct grd_lock_resource *resource,
                           const struct grd_msg *msg, uint64_t now_ns, struct grd_actions *actions);
void grd_lock_hear_demand(struct grd_lock_local *local, struct grd_lock_resource *resource,
                          const struct grd_msg *msg, uint64_t now_ns, struct grd_actions *actions);
void grd_lock_hear_lowered(struct grd_lock_local *local, struct grd_lock_resource *resource,
                           const struct grd_msg *msg, uint64_t now_ns, struct grd_actions *actions);
/* Forgets a demand that the master does not repeat. True: there is one. */
bool grd_lock_hear_demand_end(struct grd_lock_local *local, struct grd_lock_resource *resource,
                              uint64_t now_ns, struct grd_actions *actions);
/* lock_call.c */
void grd_lock_call_on_value(struct grd_lock_local *local, struct grd_lock_resource *resource,
                            const struct grd_msg *msg, uint64_t now_ns, struct grd_actions *actions);
bool grd_lock_call_again(struct grd_lock_local *local, struct grd_lock_resource *resource,
                         struct grd_actions *actions);
bool grd_lock_call_next_done(struct grd_lock_local *local, struct grd_lock_done *done_out);

#endif
