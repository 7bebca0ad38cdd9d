/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TOOLS_WORKLOAD_LOCKS_SHADOW_H
#define TOOLS_WORKLOAD_LOCKS_SHADOW_H

/*
 * What the clients of all instances of one host believe to hold and to wait for, in memory that they share: a second
 * opinion on the locks. A claim is written down after it is granted and struck out before it is given up, a wait is written
 * down before the call and struck out after it. So two claims that stand here against each other stood against each
 * other in the cluster. And whoever waits in a deadlock has written down all that the deadlock is made of before the last
 * of its waits reaches the locks: the owner of that wait finds it here, and marks all waits that are part of it or stand
 * behind it. A wait that was ended for a deadlock and is not marked was no part of one.
 */
#include <stdbool.h>
#include <stdint.h>

#include <cachefusion/cachefusion.h>

#define SHADOW_LOCKS_MAX 64u /* WL_HOT_LOCKS_MAX */
#define SHADOW_OWNERS_MAX 4096u

struct shadow;
/* One client's copy of it to think about. */
struct shadow_view;

/* Made by whoever comes first, at `path`. NULL: errno. */
struct shadow *shadow_open(const char *path);
void shadow_close(struct shadow *shadow);
/* NULL: no memory. */
struct shadow_view *shadow_view_make(uint32_t owners);
void shadow_view_free(struct shadow_view *view);

/* A client is an owner; it waits for one lock at a time. Call before it is asked for. */
void shadow_wait(struct shadow *shadow, struct shadow_view *view, uint32_t owner, uint32_t lock,
                 enum cf_lock_mode mode, uint64_t now_ns);
/* The wait is over: granted in `mode`. False: somebody else holds the lock in a mode that does not go with it. */
bool shadow_granted(struct shadow *shadow, uint32_t owner, uint32_t lock, enum cf_lock_mode mode);
/* Was the wait of this owner, which is written down still, found in a deadlock? *since_ns_out: since when. */
bool shadow_is_stuck(const struct shadow *shadow, uint32_t owner, uint64_t *since_ns_out);
/* The wait is over: it ended without the lock. */
void shadow_refused(struct shadow *shadow, uint32_t owner);
/* Before the claim comes down to `mode`, NL when it is given up. */
void shadow_lower(struct shadow *shadow, uint32_t owner, uint32_t lock, enum cf_lock_mode mode);

#endif
