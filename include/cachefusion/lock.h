/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CACHEFUSION_LOCK_H
#define CACHEFUSION_LOCK_H

/*
 * Locks of the cluster, with six modes and a value of up to 64 bytes each. docs/locks.md has the tables.
 *
 *   handle   cf_lock_open .. cf_lock_close              a lock's name, known to this instance; carries the hash
 *   claim    cf_lock_request .. cf_lock_unlock          what one owner holds of the lock
 *   value    cf_lock_unlock(value), cf_lock_value_*     versioned; read with or without a claim
 *
 * A claim belongs to an owner, such as a transaction (cf_owner_set): the deadlock detector follows owners across
 * instances. One owner may hold any number of claims, also of one lock. An instance keeps a lock that its owners have
 * given up until another instance wants it, so a lock used by one instance alone costs no message.
 *
 * Thread rules: handles may be used by all sessions of the instance; a claim by one session at a time, any.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cachefusion/export.h>
#include <cachefusion/status.h>
#include <cachefusion/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Modes of the VMS lock manager; the table of what goes together is in docs/locks.md. */
enum cf_lock_mode {
    CF_LOCK_NL = 0, /* null: excludes nothing, keeps the claim known */
    CF_LOCK_CR = 1, /* concurrent read */
    CF_LOCK_CW = 2, /* concurrent write */
    CF_LOCK_PR = 3, /* protected read */
    CF_LOCK_PW = 4, /* protected write */
    CF_LOCK_EX = 5, /* exclusive */
};

enum cf_lock_flags {
    CF_LOCK_TRY = 0x01,        /* request, convert: CF_BUSY instead of waiting for an owner */
    CF_LOCK_NOTIFY = 0x02,     /* with TRY: who holds it is told that it is wanted */
    CF_LOCK_HEAD = 0x04,       /* request: before the others that wait, as far as they may be overtaken */
    CF_LOCK_FIFO = 0x08,       /* convert: behind the conversions that wait */
    CF_LOCK_DEMOTE = 0x10,     /* convert: on conversion deadlock give up the mode held, and go on waiting */
    CF_LOCK_PUBLISH = 0x20,    /* unlock, convert: the value is at the master when the call returns */
    CF_LOCK_INVALIDATE = 0x40, /* unlock, convert that writes: the value is marked not valid */
};

#define CF_LOCK_NAME_BYTES 64u
#define CF_LOCK_VALUE_BYTES 64u

struct cf_session;
struct cf_lock;

/* What one owner holds of a lock. Filled by a request, cleared by unlock; may be copied, but only one copy used. */
struct cf_claim {
    struct cf_lock *lock; /* NULL = empty */
    uint64_t private_;    /* the engine's */
    uint32_t mode;        /* enum cf_lock_mode held */
    uint32_t is_demoted;  /* the last conversion gave up the mode held on its way (CF_LOCK_DEMOTE) */
};

struct cf_lock_value {
    uint64_t version;    /* rises with each change, never used twice for a lock */
    bool is_valid;       /* false: who could write it died, or said so; the last value may be lost */
    uint8_t bytes_count; /* 0 also where nothing was ever written */
    uint8_t bytes[CF_LOCK_VALUE_BYTES];
};

/*
 * For whom the session's calls are from now on: waits for locks and blocks are told to the detector under this owner.
 * `owner` is any number but 0 and is this instance's own: the same number on another instance is another owner. 0 =
 * the session itself. Of the waits in a deadlock the one with the lowest `cost` ends, then the youngest.
 */
CF_API enum cf_rc cf_owner_set(struct cf_session *session, uint64_t owner, uint32_t cost);

/*
 * A handle of the lock with this name: 1 to 64 bytes, any. CF_NAME_LONG; CF_AGAIN: options.locks are open, or their
 * release is not acknowledged yet; CF_NAME_TAKEN. The caller owns *lock_out until cf_lock_close.
 */
CF_API CF_MUST_CHECK enum cf_rc cf_lock_open(struct cf_session *session, const void *name, size_t bytes,
                                             struct cf_lock **lock_out);
/* The same for the lock named by three numbers; never the same lock as one named by bytes. */
CF_API CF_MUST_CHECK enum cf_rc cf_lock_open_ids(struct cf_session *session, uint32_t type, uint64_t id1,
                                                 uint64_t id2, struct cf_lock **lock_out);
/*
 * Ends a handle and clears *lock. The last one gives the lock up. CF_BUSY: claims of it are left, or asked for; nothing
 * changes. A value that is being read or swapped through it is read or swapped. CF_INVALID: it is closed already.
 */
CF_API enum cf_rc cf_lock_close(struct cf_session *session, struct cf_lock **lock);

/*
 * Asks for the lock. CF_OK: *claim_out holds it in `mode`. `flags`: TRY, NOTIFY, HEAD. `deadline_ns` (CLOCK_MONOTONIC,
 * CF_FOREVER) ends the wait. CF_TIMEOUT, CF_BUSY, CF_DEADLOCK (cf_session_error has the cycle), CF_AGAIN
 * (options.claims are held or waiting), CF_LOCK_MODE (no such mode or flag), CF_PEER_LOST: nothing is held then.
 */
CF_API CF_MUST_CHECK enum cf_rc cf_lock_request(struct cf_session *session, struct cf_lock *lock,
                                                enum cf_lock_mode mode, uint32_t flags, uint64_t deadline_ns,
                                                struct cf_claim *claim_out);
/*
 * Changes the mode of a claim, up, down or to the same; down never waits. `value` (or NULL) is stored where the value
 * table says W. `flags`: TRY, NOTIFY, FIFO, DEMOTE, PUBLISH, INVALIDATE. CF_DEADLOCK, CF_TIMEOUT, CF_BUSY: the claim is
 * as it was, but for DEMOTE (claim->mode tells). CF_NOT_HELD, CF_LOCK_MODE, CF_VALUE_MODE: nothing happened.
 */
CF_API CF_MUST_CHECK enum cf_rc cf_lock_convert(struct cf_session *session, struct cf_claim *claim,
                                                enum cf_lock_mode mode, uint32_t flags,
                                                const struct cf_lock_value *value, uint64_t deadline_ns);
/*
 * Gives a claim up and clears it; stores `value` (or NULL) if it is held in PW or EX. `flags`: PUBLISH, INVALIDATE.
 * Never waits, but with PUBLISH for the master (CF_TIMEOUT after options.call_timeout: given up all the same).
 * CF_NOT_HELD (never granted, or unlocked already), CF_LOCK_MODE, CF_VALUE_MODE: the claim is as it was.
 */
CF_API enum cf_rc cf_lock_unlock(struct cf_session *session, struct cf_claim *claim, uint32_t flags,
                                 const struct cf_lock_value *value);
/* Does somebody wait for the lock in a mode that stands against what the claim holds? */
CF_API bool cf_lock_is_wanted(struct cf_session *session, const struct cf_claim *claim);

/* ---------------------------------------------------------------- values */

/*
 * The value as a claim sees it: the newest in CW and above. Below, one that was, as this instance last heard of it:
 * cf_lock_value_read has the last published one. CF_NOT_HELD.
 */
CF_API enum cf_rc cf_lock_value_get(struct cf_session *session, const struct cf_claim *claim,
                                    struct cf_lock_value *value_out);
/*
 * The value without a claim: the last published one, or a newer one of this instance's own owners. By a look at the
 * record of a master in this instance; by a one-sided READ where the transport has one; else by a message. Never torn,
 * never older than what was read in this instance before. A value is published by CF_LOCK_PUBLISH, when an instance
 * gives the lock back, and by cf_lock_value_swap unless this instance holds the lock in PW or EX. CF_TIMEOUT, CF_AGAIN.
 */
CF_API enum cf_rc cf_lock_value_read(struct cf_session *session, struct cf_lock *lock, uint64_t deadline_ns,
                                     struct cf_lock_value *value_out);
/*
 * Stores `value` if the lock's value has version `expected`, without a claim, as if by PW for an instant. *value_out
 * (may be NULL) is the value then. CF_OK; CF_VALUE_CHANGED: it has another version; CF_BUSY: somebody holds CW or more;
 * CF_VALUE_MODE (too long), CF_AGAIN, CF_TIMEOUT (it may or may not be stored).
 */
CF_API CF_MUST_CHECK enum cf_rc cf_lock_value_swap(struct cf_session *session, struct cf_lock *lock,
                                                   uint64_t expected, const struct cf_lock_value *value,
                                                   uint64_t deadline_ns, struct cf_lock_value *value_out);

/* ---------------------------------------------------------------- asynchronous form */

/*
 * The inputs and outputs of a lock op (cf_op.lock), the caller's until cf_poll returns the op:
 *   CF_OP_LOCK        lock, mode, claim (out)
 *   CF_OP_CONVERT     claim, mode, value
 *   CF_OP_UNLOCK      claim, value
 *   CF_OP_VALUE_SWAP  lock, expected, value, value_out
 *   CF_OP_VALUE_READ  lock, value_out
 * Flags are those of the op. A value_out of the first three may be NULL; else it gets the value as the claim sees it.
 */
struct cf_lock_args {
    struct cf_lock *lock;
    struct cf_claim *claim;
    const struct cf_lock_value *value;
    struct cf_lock_value *value_out;
    uint64_t expected;
    uint64_t owner; /* 0 = that of the session */
    uint32_t cost;
    uint32_t mode; /* enum cf_lock_mode */
};

/* ---------------------------------------------------------------- sequences */

struct cf_sequence;

struct cf_sequence_options {
    size_t size;    /* sizeof(struct cf_sequence_options) */
    uint64_t first; /* the first number, where the sequence is new; not 2^64 - 1, which is never handed out */
    uint32_t
        cache; /* numbers an instance takes at once, 1 to 2^20; what is left of them is lost when it closes */
    bool
        is_ordered; /* each number is higher than every one handed out before, on any instance; no cache then */
};
/* First 1, cache 1000, not ordered. */
CF_API void cf_sequence_options_init(struct cf_sequence_options *options);
/*
 * Numbers that no two calls in the cluster get twice. All instances open a sequence with the same `first` and
 * `is_ordered`; each may have a cache of its own. `options` may be NULL. The value of the lock of this name belongs to the
 * sequence. It is kept in memory, while some instance has the sequence open: a database that is to go on after all have
 * closed keeps a number in a block that is above all it has used, and gives it as `first`. Errors as of cf_lock_open;
 * CF_INVALID: an option is out of range; CF_MEMORY. The caller owns *sequence_out until cf_sequence_close.
 */
CF_API CF_MUST_CHECK enum cf_rc cf_sequence_open(struct cf_session *session, const void *name, size_t bytes,
                                                 const struct cf_sequence_options *options,
                                                 struct cf_sequence **sequence_out);
/*
 * The next number. Any session of the instance, several at a time: one of them takes numbers from the cluster, the
 * others wait for it. Without is_ordered the numbers of one instance rise, those of several do not come in order.
 * A number that is there is handed out whatever the deadline. CF_TIMEOUT; CF_RANGE: there are no more; CF_INVALID: other
 * instances opened it with other options, or the lock has another use; CF_CORRUPT: the value was lost with an instance
 * that died, and nothing but a sequence of another name helps; CF_AGAIN, CF_PEER_LOST as of cf_lock_request.
 */
CF_API CF_MUST_CHECK enum cf_rc cf_sequence_next(struct cf_session *session, struct cf_sequence *sequence,
                                                 uint64_t deadline_ns, uint64_t *number_out);
/* Clears *sequence. Numbers taken and not handed out are lost. No call of the sequence may be under way. */
CF_API enum cf_rc cf_sequence_close(struct cf_session *session, struct cf_sequence **sequence);

#ifdef __cplusplus
}
#endif
#endif
