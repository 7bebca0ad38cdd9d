/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TOOLS_WORKLOAD_LOCKS_H
#define TOOLS_WORKLOAD_LOCKS_H

/* Inside of workload locks: locks.c is the transactions, locks_check.c what is before and after them. */
#include "tools/workload/locks_shadow.h"
#include "tools/workload/workload.h"

/* Tallies. TOLD_*: transactions that ended so; PHANTOMS: of these, where there was no deadlock. */
enum { BEGUN, TOLD_DEADLOCK, TOLD_TIMEOUT, WRITES, PHANTOMS, OVERLAPS, TAKEN };

/* A lock's value. */
struct account {
    uint32_t lock;
    uint32_t checksum; /* CRC32C of the others */
    int64_t balance;
    uint64_t changes;
};
_Static_assert(sizeof(struct account) <= CF_LOCK_VALUE_BYTES, "an account is a value");

/* plan->own */
struct locks {
    struct cf_lock *lock[SHADOW_LOCKS_MAX];
    uint32_t count;
    struct shadow *shadow;      /* NULL: the instances are on several hosts */
    struct shadow_view *view[]; /* of each client */
};

void locks_account_store(struct account *account, struct cf_lock_value *value_out);
/* The value as the claim sees it; CF_CORRUPT: it is not the account of this lock. */
enum cf_rc locks_account_load(struct wl_client *client, uint32_t lock, const struct cf_claim *claim,
                              struct account *account_out);

enum cf_rc locks_begin(struct wl_plan *plan, struct wl_client *caretaker);
enum cf_rc locks_look(struct wl_client *caretaker, struct wl_sums *sums);
enum cf_rc locks_end(struct wl_plan *plan, struct wl_client *caretaker);
bool locks_judge(const struct wl_evidence *evidence, char *text, size_t text_bytes);

#endif
