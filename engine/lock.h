/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_LOCK_H
#define ENGINE_LOCK_H

/*
 * Locks in an instance: the step functions of grd/lock_local.h behind a gate.
 *
 *   a session's thread --gate--> take, leave: a lock that is cached here, and nobody waits. No message, no progress.
 *   otherwise an op    --------> the owner of progress --gate--> want, convert, unlock .. --> completions, messages
 *   messages, timers   --------> the owner of progress --gate--> step, tick              --> completions, messages
 *
 * Whoever is inside the gate owns grd_lock_local and the list of actions that its steps fill; it is a step long and
 * never held over a send: the owner of progress exchanges the full list for an empty one, leaves, and then sends.
 * A session's thread that leaves news behind (completions of others, messages) says so and has a turn driven.
 *
 * The masters of locks are stepped like those of blocks: by the owner of progress, or by directory workers.
 */
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <cachefusion/cachefusion.h>

#include "base/hist.h"
#include "grd/lock_local.h"
#include "grd/lock_master.h"

struct eng_detector;
struct xp_event;

/* Unlocks that publish under way at once, beside swaps and reads. */
#define ENG_LOCK_PUBLISHES 64u
#define ENG_LOCK_CALLS (GRD_LOCK_CALLS_MAX + ENG_LOCK_PUBLISHES)
/*
 * Actions that one step of grd_lock_local may add: each call of a lock said again, a request, a down, an answer. Where
 * fewer are free, the owner of progress empties the list first.
 */
#define ENG_LOCK_STEP_ACTIONS (GRD_LOCK_CALLS_MAX + 16u)
/* Deadlocks of this instance whose cycle can still be asked for. */
#define ENG_LOCK_CYCLES 16u
/* One unlock of a cached lock in so many looks after the network when nobody else does, as cf_get does. */
#define ENG_LOCKS_A_TURN 256u

/* One-sided READs of values under way at once; more go by message. */
#define ENG_LOCK_READS 32u
struct eng_lock_read {
    struct cf_op *op;                   /* NULL: free, or its caller has gone */
    struct grd_lock_resource *resource; /* held while there is an op */
    uint32_t tries;
    bool is_reading;
};

/* The cycle that a call which answered CF_DEADLOCK was on. */
struct eng_lock_cycle {
    const struct cf_op *op; /* NULL: free, or taken */
    char text[sizeof((struct cf_error *)0)->text];
};

struct eng_locks {
    CF_ALIGNED(CF_CACHE_LINE)
    _Atomic uint32_t gate; /* [atomic] enum eng_gate */
    struct grd_lock_local *local;
    struct grd_actions *filling; /* by steps inside the gate */
    struct eng_lock_cycle cycles[ENG_LOCK_CYCLES];
    uint32_t cycle_next;

    CF_ALIGNED(CF_CACHE_LINE)
    _Atomic uint32_t news;       /* [atomic] a session's thread left completions or messages behind */
    struct grd_actions *sending; /* [own] */
    struct cf_op *waiting_first; /* [own] ops that wait for a completion, the newest first */
    struct cf_op *waiting_last;
    struct cf_op *calls[ENG_LOCK_CALLS]; /* [own] by number; NULL: free, or nobody waits for it any more */
    bool call_is_used[ENG_LOCK_CALLS];   /* [own] */
    struct grd_lock_master *masters[64]; /* [own], or a directory worker's */
    struct grd_lock_record *records;     /* [const] of all shards; in the region that peers may READ */
    uint32_t records_shard;              /* [const] of one shard */
    struct eng_detector *detector;       /* [own] */
    struct eng_lock_read reads[ENG_LOCK_READS]; /* [own] */
    struct grd_lock_record *read_memory;        /* [const] they land here; NULL: the transport has no READ */
    uint64_t one_sided, one_sided_refused;      /* [own] */
    bool (*victim)(void *context, const struct cf_op *op); /* [const] of a simulator: struct eng_manual */
    void *victim_context;                                  /* [const] */
    struct cf_hist wait_hist;                              /* [own] */
    uint64_t waits, timeouts, deadlocks;                   /* [own] */
};

enum eng_gate { ENG_GATE_OPEN = 0, ENG_GATE_TAKEN = 1, ENG_GATE_WANTED = 2 };

CF_COLD void eng_gate_wait(_Atomic uint32_t *gate);
CF_COLD void eng_gate_wake(_Atomic uint32_t *gate);

static inline void eng_gate_enter(struct eng_locks *locks)
{
    uint32_t open = ENG_GATE_OPEN;

    if (CF_UNLIKELY(!atomic_compare_exchange_strong_explicit(&locks->gate, &open, ENG_GATE_TAKEN,
                                                             memory_order_acquire, memory_order_relaxed)))
        eng_gate_wait(&locks->gate);
}

static inline void eng_gate_leave(struct eng_locks *locks)
{
    /* Release: what was done inside is seen by the next one; partner: the exchange of who enters. */
    if (CF_UNLIKELY(atomic_exchange_explicit(&locks->gate, ENG_GATE_OPEN, memory_order_release) ==
                    ENG_GATE_WANTED))
        eng_gate_wake(&locks->gate);
}

/* ---- lock_open.c ---- */
/* Sizes and takes what locks need but the records; part of the directory's budget. */
enum cf_rc eng_locks_open(struct cf_instance *instance, uint64_t now_ns, struct cf_error *error);
void eng_locks_close(struct cf_instance *instance);
/* Bytes of the records that peers may read, and where they are. */
uint64_t eng_locks_record_bytes(const struct cf_instance *instance);
void eng_locks_records_set(struct cf_instance *instance, void *memory);
/* Bytes that locks take from the directory's budget. */
uint64_t eng_locks_bytes(const struct cf_instance *instance);

/* ---- lock_owner.c, lock_done.c: owner of progress ---- */
void eng_lock_submit_owner(struct cf_instance *instance, struct cf_op *op, uint64_t now_ns);
/* The op ends without what it waits for: its deadline, a cancel. It waits. */
void eng_lock_end_owner(struct cf_instance *instance, struct cf_op *op, enum cf_rc rc, uint64_t now_ns);
void eng_lock_message_owner(struct cf_instance *instance, const struct grd_msg *msg, uint64_t now_ns);
bool eng_lock_tick_owner(struct cf_instance *instance, uint64_t now_ns);
/* Completions to their callers, messages out, until there are none. True: there was something. */
bool eng_lock_news_owner(struct cf_instance *instance, uint64_t now_ns);
/* The victim's wait ends with CF_DEADLOCK, if it is still the one with this number; `cycle` tells why. */
bool eng_lock_victim_owner(struct cf_instance *instance, uint64_t wait, const char *cycle, uint64_t now_ns);
/* The op is done. It waits, or was never added to those that wait. */
void eng_lock_complete_owner(struct cf_instance *instance, struct cf_op *op, enum cf_rc rc, uint64_t now_ns);
/* A READ of a value proved nothing: the op goes on by message. */
void eng_lock_read_by_message(struct cf_instance *instance, struct cf_op *op, uint64_t now_ns);
/* Keeps it for the call that ends with CF_DEADLOCK. Inside the gate. */
void eng_lock_cycle_keep(struct eng_locks *locks, const struct cf_op *op, const char *text);
void eng_lock_fail_all(struct cf_instance *instance, enum cf_rc rc);
void eng_lock_reset_owner(struct cf_instance *instance, uint64_t now_ns);
uint64_t eng_lock_next_ns_owner(const struct cf_instance *instance);

/* ---- lock_read.c: owner of progress ---- */
/* Before xp_start: where READs land. */
enum cf_rc eng_lock_reads_open(struct cf_instance *instance, struct cf_error *error);
/* False: by message. */
bool eng_lock_read_start(struct cf_instance *instance, struct cf_op *op, uint64_t now_ns);
/* The op does not wait for its READ any more. */
void eng_lock_read_leave(struct cf_instance *instance, uint32_t call, uint64_t now_ns);
/* The instance has stopped: whoever waited is told by others. */
void eng_lock_reads_fail_all(struct cf_instance *instance);
/* XP_EV_DONE of a READ with ENG_TOKEN_LOCK. */
void eng_lock_on_read(struct cf_instance *instance, const struct xp_event *event, uint64_t now_ns);

/* Is it a message for a master of locks, or for an instance as a holder of locks? */
static inline bool eng_lock_is_for_master(uint16_t type)
{
    return type == GRD_MSG_LOCK_REQUEST || type == GRD_MSG_LOCK_CANCEL || type == GRD_MSG_LOCK_IN_USE ||
           type == GRD_MSG_LOCK_DOWN || type == GRD_MSG_LOCK_SWAP || type == GRD_MSG_LOCK_READ;
}
/* One step or timer of a shard, whatever it is for. By whoever owns the shard. */
void eng_master_step(struct cf_instance *instance, uint32_t shard, const struct grd_msg *msg, uint64_t hash,
                     uint64_t now_ns, struct grd_actions *actions);
bool eng_master_tick(struct cf_instance *instance, uint32_t shard, uint64_t now_ns,
                     struct grd_actions *actions);
uint64_t eng_master_next_ns(const struct cf_instance *instance, uint32_t shard);

/* For checkers and eng_leaks: claims, calls and records of locks in use. Owner of progress. */
uint64_t eng_lock_leaks(struct cf_instance *instance, char *text, size_t text_bytes);

/* ---- lock.c ---- */
/* What can be wrong with a lock op, said in the session's error. */
enum cf_rc eng_lock_check(struct cf_session *session, const struct cf_op *op);
/* What lock_hit.c leaves to others; `inside`: the caller has entered the gate, which is left. */
enum cf_rc eng_lock_request_inside(struct cf_session *session, struct cf_lock *lock, enum cf_lock_mode mode,
                                   uint32_t flags, uint64_t deadline_ns, struct cf_claim *claim_out);
enum cf_rc eng_lock_unlock_inside(struct cf_session *session, struct cf_claim *claim, uint32_t flags,
                                  const struct cf_lock_value *value);
enum cf_rc eng_lock_request_slow(struct cf_session *session, struct cf_lock *lock, enum cf_lock_mode mode,
                                 uint32_t flags, uint64_t deadline_ns, struct cf_claim *claim_out);
enum cf_rc eng_lock_unlock_slow(struct cf_session *session, struct cf_claim *claim, uint32_t flags,
                                const struct cf_lock_value *value);
/* May the session make calls on locks? */
enum cf_rc eng_lock_enter(struct cf_session *session);
/* Submits a lock op and waits for it; the error is said. */
enum cf_rc eng_lock_run(struct cf_session *session, struct cf_op *op);
/* ---- lock_say.c: the session's thread ---- */
/* The session's error for a lock op that ended with `rc`. */
void eng_lock_say(struct cf_session *session, const struct cf_op *op, enum cf_rc rc);
/* The same for any op that ended with CF_DEADLOCK: the cycle. */
void eng_lock_error(struct cf_session *session, const struct cf_op *op);

#endif
