/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GRD_LOCK_LOCAL_H
#define GRD_LOCK_LOCAL_H

/*
 * The locks one instance has business with. The instance holds each of them at its master in one mode; beneath
 * that mode it grants owners of its own without any message. It keeps the mode when the owners have gone, until
 * the master demands it (lazy release). Pure: no thread, no clock, no transport.
 *
 *   owner:     want --> (CF_OK | CF_PENDING .. done) --> convert .. --> unlock
 *   instance:  what owners need is not covered --REQUEST--> GRANT | REFUSED
 *              DEMAND --> owners that stand against it unlock --> DOWN until LOWERED
 *              the last handle is detached --> DOWN(release) until LOWERED
 *
 * One timer a lock says again what has not been answered. At most one conversation a lock is open.
 *
 * Owner: the thread with progress. Bounds: locks, claims and calls come from pools taken at open.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include <cachefusion/status.h>

#include "base/alloc.h"
#include "base/wheel.h"
#include "grd/action.h"
#include "grd/detect.h"
#include "grd/lock_queue.h"
#include "grd/lock_value.h"
#include "grd/map.h"

struct grd_lock_local;
struct grd_lock_resource; /* a handle: a lock attached in this instance */

/* Names one granted or waiting claim: number of the claim and its generation. Never used twice, 0 = none. */
typedef uint64_t grd_lock_id;

struct grd_lock_local_options {
    uint16_t node;
    uint32_t resources; /* locks attached, or their release not yet acknowledged */
    uint32_t claims;    /* granted and waiting owners; at most GRD_LOCK_CLAIMS_MAX */
    uint32_t calls;     /* compare-and-swaps and reads open at once; at most GRD_LOCK_CALLS_MAX */
    uint64_t resend_ns;
    uint64_t now_ns;
    uint64_t wheel_tick_ns;
    uint64_t seed;  /* of the local table */
    uint64_t epoch; /* of the view; records of another are not accepted */
    const struct grd_map *map;
    const struct cf_allocator *allocator;
};
#define GRD_LOCK_CLAIMS_MAX (1u << 24)
#define GRD_LOCK_CALLS_MAX GRD_LOCK_SWAP_SLOTS

struct grd_lock_want {
    uint64_t owner;  /* of this instance; one owner may have any number of claims */
    uint64_t cookie; /* comes back in `done` */
    uint32_t cost;   /* of ending its wait, for the deadlock detector */
    uint8_t mode;    /* enum grd_lock_mode */
    uint8_t flags;   /* GRD_LOCK_* */
};

/* What became of a call that answered CF_PENDING. */
struct grd_lock_done {
    grd_lock_id lock; /* 0 for compare-and-swap and read */
    uint64_t owner;
    uint64_t cookie;
    enum cf_rc rc;
    uint8_t mode;    /* held now */
    bool is_held;    /* false: the claim is gone and its id names nothing */
    bool is_demoted; /* convert: the mode held before was given up on the way */
    /* R of the value table, compare-and-swap, read: good until the next call of this object. NULL otherwise. */
    const struct grd_lock_value *value;
};

struct grd_lock_local_counters {
    uint64_t locks;    /* requests and conversions of owners */
    uint64_t cached;   /* of them granted at once without a message */
    uint64_t requests; /* conversations with a master */
    uint64_t resends, demands, lowered, released, bounced, stale, deadlocks, demoted, swaps, reads;
};

CF_CHECK enum cf_rc grd_lock_local_open(const struct grd_lock_local_options *options,
                                        struct grd_lock_local **local_out);
void grd_lock_local_close(struct grd_lock_local **local);

/*
 * A handle of the lock with this name; it carries hash and master. CF_AGAIN: `resources` are attached. Every
 * attach is undone by a detach, when no claim of the handle is left (asserted).
 */
CF_CHECK enum cf_rc grd_lock_local_attach(struct grd_lock_local *local, const struct grd_lock_name *name,
                                          struct grd_lock_resource **resource_out);
void grd_lock_local_detach(struct grd_lock_local *local, struct grd_lock_resource *resource, uint64_t now_ns,
                           struct grd_actions *actions);

/*
 * The record stays this lock's until it is undone, whatever becomes of its handles: for whoever has to come back to it
 * from outside of the steps.
 */
void grd_lock_local_hold(struct grd_lock_resource *resource);
void grd_lock_local_unhold(struct grd_lock_local *local, struct grd_lock_resource *resource, uint64_t now_ns,
                           struct grd_actions *actions);

/*
 * Asks for a lock. CF_OK: granted, *lock_out names it, grd_lock_local_value has its value. CF_PENDING: *lock_out
 * names the wait, `done` tells. CF_BUSY (TRY), CF_AGAIN (all claims are taken), CF_LOCK_MODE: nothing happened.
 * A TRY that only peers could grant is pending too, for one round trip to the master and, where others
 * hold the lock unused, one more.
 */
CF_HOT CF_CHECK enum cf_rc grd_lock_local_want(struct grd_lock_local *local,
                                               struct grd_lock_resource *resource,
                                               const struct grd_lock_want *want, uint64_t now_ns,
                                               struct grd_actions *actions, grd_lock_id *lock_out);
/* The same, if it can be granted at once without a message; else CF_PENDING, and nothing happened. Needs no clock. */
CF_HOT CF_CHECK enum cf_rc grd_lock_local_want_now(struct grd_lock_local *local,
                                                   struct grd_lock_resource *resource,
                                                   const struct grd_lock_want *want, grd_lock_id *lock_out);
/* The claim's completions bring this cookie from now on. CF_NOT_HELD: it is not granted, or a call of it is under way. */
CF_CHECK enum cf_rc grd_lock_local_cookie_set(struct grd_lock_local *local, grd_lock_id lock,
                                              uint64_t cookie);
/*
 * Changes the mode of a granted lock, up, down or to the same. `value` (or NULL) is stored where the table says W;
 * only its bytes count. CF_OK, CF_PENDING, CF_BUSY (TRY), CF_DEADLOCK (at once, of this lock's conversions);
 * CF_NOT_HELD, CF_LOCK_MODE, CF_VALUE_MODE (a value where the table has no W, or too long): the lock stays as it was.
 */
CF_HOT CF_CHECK enum cf_rc grd_lock_local_convert(struct grd_lock_local *local, grd_lock_id lock,
                                                  uint8_t mode, uint8_t flags,
                                                  const struct grd_lock_value *value, uint64_t now_ns,
                                                  struct grd_actions *actions);
/*
 * What a claim holds that is granted, and whether its last conversion gave up on its way what it held: also one that was
 * answered at once. False: it is not granted.
 */
bool grd_lock_local_held(const struct grd_lock_local *local, grd_lock_id lock, uint8_t *mode_out,
                         bool *is_demoted_out);
/*
 * Gives a granted lock up; stores `value` as a conversion to NL would. CF_OK; CF_PENDING with PUBLISH, where
 * `done` tells that the value is at the master (the lock is free at once). CF_NOT_HELD, CF_LOCK_MODE, CF_VALUE_MODE:
 * the lock stays as it was.
 */
CF_HOT CF_CHECK enum cf_rc grd_lock_local_unlock(struct grd_lock_local *local, grd_lock_id lock,
                                                 uint8_t flags, const struct grd_lock_value *value,
                                                 uint64_t now_ns, struct grd_actions *actions);
/*
 * Ends a wait: `done` brings `rc` (CF_CANCELLED, CF_TIMEOUT, CF_DEADLOCK). A conversion stays in the mode it holds.
 * CF_NOT_HELD: it does not wait (any more); what became of it is told by `done` or was told.
 */
CF_CHECK enum cf_rc grd_lock_local_cancel(struct grd_lock_local *local, grd_lock_id lock, enum cf_rc rc,
                                          uint64_t now_ns, struct grd_actions *actions);
/*
 * Ends the wait of an unlock or conversion for its value to be published: there is no completion, and the claim is free
 * for the next call. The value reaches the master with the next word to it. False: it does not wait for that.
 */
bool grd_lock_local_unpublish(struct grd_lock_local *local, grd_lock_id lock, uint64_t now_ns,
                              struct grd_actions *actions);
/* The claim that waits under a wait id of the detector, or 0: that wait has ended. */
grd_lock_id grd_lock_local_waiter(const struct grd_lock_local *local, uint64_t wait);

/* The value as this instance knows it: the newest in CW and above; below, one that was. */
const struct grd_lock_value *grd_lock_local_value(const struct grd_lock_local *local, grd_lock_id lock);
/* Does somebody else wait for this lock in a mode that stands against what the claim holds? */
bool grd_lock_local_is_wanted(const struct grd_lock_local *local, grd_lock_id lock);
/* A lock that others want and that owners here stand against: true = *resource_out and what mode is wanted. */
bool grd_lock_local_next_wanted(struct grd_lock_local *local, struct grd_lock_resource **resource_out,
                                uint8_t *mode_out);

/*
 * Stores `value` if the lock's version is `expected`, without a lock: as if by PW for an instant. CF_OK: done here
 * (this instance holds PW or EX). CF_PENDING: `done` tells CF_OK, CF_VALUE_CHANGED or CF_BUSY (somebody holds
 * CW or more in use), with the value now. CF_VALUE_CHANGED, CF_BUSY at once; CF_VALUE_MODE; CF_AGAIN: all calls taken.
 */
CF_CHECK enum cf_rc grd_lock_local_swap(struct grd_lock_local *local, struct grd_lock_resource *resource,
                                        uint64_t expected, const struct grd_lock_value *value,
                                        uint64_t cookie, uint64_t now_ns, struct grd_actions *actions);
/* The last published value, by message. CF_PENDING, CF_AGAIN. */
CF_CHECK enum cf_rc grd_lock_local_read(struct grd_lock_local *local, struct grd_lock_resource *resource,
                                        uint64_t cookie, uint64_t now_ns, struct grd_actions *actions);

/* Is there a completion, or a lock that is wanted, to be taken? */
bool grd_lock_local_has_news(const struct grd_lock_local *local);
/* Takes the next completion; false: there is none. Call after every step until it is. */
CF_HOT CF_CHECK bool grd_lock_local_next_done(struct grd_lock_local *local, struct grd_lock_done *done_out);

/* A LOCK_* message for an instance: GRANT, REFUSED, DEMAND, LOWERED, VALUE. */
CF_HOT void grd_lock_local_step(struct grd_lock_local *local, const struct grd_msg *msg, uint64_t now_ns,
                                struct grd_actions *actions);
/* One expired timer: true = call again. */
bool grd_lock_local_tick(struct grd_lock_local *local, uint64_t now_ns, struct grd_actions *actions);
uint64_t grd_lock_local_next_ns(const struct grd_lock_local *local);
/* A lane was rebuilt: everything unanswered is said again at the next tick. */
void grd_lock_local_reset(struct grd_lock_local *local, uint64_t now_ns);

/* Is the pointer one that attach may answer? Looks at no memory. */
bool grd_lock_resource_is_ours(const struct grd_lock_local *local, const struct grd_lock_resource *resource);
/* Does it name a lock that is attached here? For handles that come from a caller. */
bool grd_lock_resource_is_open(const struct grd_lock_local *local, const struct grd_lock_resource *resource);
/* The lock that a granted or waiting claim is of, or NULL: the id names nothing. */
struct grd_lock_resource *grd_lock_local_resource(const struct grd_lock_local *local, grd_lock_id lock);
/*
 * A published value that was read from the master's record. The instance may know a newer one, which its owners have
 * written and not published: *value is the newest of the two afterwards, and so is what the instance knows. So what is
 * read in one instance, in whatever way, never gets older.
 */
void grd_lock_resource_learn(struct grd_lock_resource *resource, struct grd_lock_value *value);
/* The value as this instance last knew it. */
const struct grd_lock_value *grd_lock_resource_value(const struct grd_lock_resource *resource);
/* Claims of the lock, granted or waiting. */
uint32_t grd_lock_resource_claims(const struct grd_lock_resource *resource);
/* Handles of the lock that are open. */
uint32_t grd_lock_resource_handles(const struct grd_lock_resource *resource);
const struct cf_block_key *grd_lock_resource_key(const struct grd_lock_resource *resource);
const struct grd_lock_name *grd_lock_resource_name(const struct grd_lock_resource *resource);
uint16_t grd_lock_resource_master(const struct grd_lock_resource *resource);
/* Mode of the instance at the master. */
uint8_t grd_lock_resource_mode(const struct grd_lock_resource *resource);
/* The weakest mode that covers what owners here hold. */
uint8_t grd_lock_resource_used(const struct grd_lock_resource *resource);
/* Number of the lock's record at its master, for a one-sided READ; UINT32_MAX until a grant told it. Any thread. */
uint32_t grd_lock_resource_record(const struct grd_lock_resource *resource);

/*
 * For the detector (grd/detect.h). Waits that began at or before `before_ns`, LOCAL and ASKS, from where *cursor
 * stands (0 = the beginning); answers how many of reports_max were filled. *cursor is 0 again at the end. Looks at
 * GRD_LOCK_SCAN_MAX records a call.
 */
uint32_t grd_lock_local_waits(const struct grd_lock_local *local, uint64_t now_ns, uint64_t before_ns,
                              uint64_t *cursor, struct grd_detect_report *reports, uint32_t reports_max);
/* Why this instance holds, and waits for, the lock of this key (STAKE). Lists at most reports_max. */
uint32_t grd_lock_local_stakes(struct grd_lock_local *local, const struct cf_block_key *key,
                               struct grd_detect_report *reports, uint32_t reports_max);
/* The same by what stands in reports, from where *cursor stands, as of grd_lock_local_waits. */
uint32_t grd_lock_local_stakes_of(const struct grd_lock_local *local, uint64_t report_key, uint64_t *cursor,
                                  struct grd_detect_report *reports, uint32_t reports_max);
/* The lock attached here that a report's key names, or NULL. */
struct grd_lock_resource *grd_lock_local_find_report(const struct grd_lock_local *local, uint64_t report_key);
/* The 64 bits of a key that stand in reports. */
static inline uint64_t grd_lock_report_key(const struct cf_block_key *key)
{
    return key->block;
}

struct grd_lock_local_counters grd_lock_local_counts(const struct grd_lock_local *local);
/* Records of each pool in use. */
struct grd_lock_local_use {
    uint32_t resources, claims, calls;
};
struct grd_lock_local_use grd_lock_local_used(const struct grd_lock_local *local);
/* Asserts pools, tables and queues against each other. */
void grd_lock_local_check(const struct grd_lock_local *local);
void grd_lock_local_dump(const struct grd_lock_local *local, FILE *out);

#endif
