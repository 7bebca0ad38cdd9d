/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Numbers for the cluster. The next free one lies in the value of a lock. An instance takes `cache` of them under EX,
 * and its sessions take them from there one by one:
 *
 *   next --(one is left)--> compare-and-swap of `state`
 *        --(none is left)-> whoever turns `refill` from FREE fetches: EX, value, unlock with the new value;
 *                           the others wait on `refill` until their deadlines
 *
 * Lazy release keeps the lock here while no other instance asks, so that an instance alone sends nothing.
 */
#include <stdatomic.h>
#include <string.h>

#include "base/clock.h"
#include "engine/instance.h"

#define CACHE_MAX (1u << 20)
#define LEFT_BITS 21u
#define LEFT_MASK ((UINT64_C(1) << LEFT_BITS) - 1)
_Static_assert(CACHE_MAX <= LEFT_MASK, "what is left fits");
/* 2^64 - 1 is never handed out: as the next free number it says that there are no more. */
#define NUMBER_END UINT64_MAX
#define VALUE_FORM 1u
#define VALUE_BYTES 24u

enum refill { REFILL_FREE = 0, REFILL_TAKEN = 1, REFILL_WAITED = 2 };

struct cf_sequence {
    struct cf_lock *lock; /* [const] */
    uint64_t first;       /* [const] */
    uint32_t cache;       /* [const] */
    bool is_ordered;      /* [const] */
    /*
     * [atomic] Fetches so far << LEFT_BITS | numbers left of the last one; they are those below `end`. `end` changes
     * only while none is left, and `state` never returns to an old value: who has lowered the state it saw has read
     * the `end` that belongs to it.
     */
    CF_ALIGNED(CF_CACHE_LINE) _Atomic uint64_t state;
    _Atomic uint64_t end;
    CF_ALIGNED(CF_CACHE_LINE) _Atomic uint32_t refill; /* [atomic] enum refill; a futex word */
};

void cf_sequence_options_init(struct cf_sequence_options *options)
{
    *options = (struct cf_sequence_options){.size = sizeof *options, .first = 1, .cache = 1000};
}

enum cf_rc cf_sequence_open(struct cf_session *session, const void *name, size_t bytes,
                            const struct cf_sequence_options *options, struct cf_sequence **sequence_out)
{
    const struct cf_allocator *a = session->instance->allocator;
    struct cf_sequence_options given;
    struct cf_sequence *sequence;
    enum cf_rc rc;

    cf_sequence_options_init(&given);
    if (options)
        memcpy(&given, options, options->size < sizeof given ? options->size : sizeof given);
    if (given.cache == 0 || given.cache > CACHE_MAX)
        return eng_fail(session, CF_INVALID, "cache is %u, not 1 to %u", given.cache, CACHE_MAX);
    if (given.first == NUMBER_END)
        return eng_fail(session, CF_INVALID, "first is 2^64 - 1, which is never handed out");
    sequence = cf_alloc(a, sizeof *sequence, CF_CACHE_LINE, CF_ALLOC_ZERO);
    if (sequence == NULL)
        return eng_fail(session, CF_MEMORY, "no memory for a sequence");
    sequence->first = given.first;
    sequence->cache = given.cache;
    sequence->is_ordered = given.is_ordered;
    rc = cf_lock_open(session, name, bytes, &sequence->lock);
    if (rc != CF_OK) {
        cf_free(a, sequence, sizeof *sequence);
        return rc;
    }
    *sequence_out = sequence;
    return CF_OK;
}

enum cf_rc cf_sequence_close(struct cf_session *session, struct cf_sequence **sequence)
{
    enum cf_rc rc;

    if (*sequence == NULL)
        return CF_OK;
    rc = cf_lock_close(session, &(*sequence)->lock);
    if ((*sequence)->lock != NULL)
        return rc;
    cf_free(session->instance->allocator, *sequence, sizeof **sequence);
    *sequence = NULL;
    return rc;
}

/* ------------------------------------------------------------------ the value */

static void put_u64(uint8_t *to, uint64_t value)
{
    for (uint32_t i = 0; i < 8; i++)
        to[i] = (uint8_t)(value >> (8 * i));
}

static uint64_t get_u64(const uint8_t *from)
{
    uint64_t value = 0;

    for (uint32_t i = 0; i < 8; i++)
        value |= (uint64_t)from[i] << (8 * i);
    return value;
}

/* 'S' 'Q', form, ordered; first; next free. */
static void value_write(const struct cf_sequence *sequence, uint64_t next, struct cf_lock_value *value_out)
{
    memset(value_out, 0, sizeof *value_out);
    value_out->bytes_count = VALUE_BYTES;
    value_out->bytes[0] = 'S';
    value_out->bytes[1] = 'Q';
    value_out->bytes[2] = VALUE_FORM;
    value_out->bytes[3] = sequence->is_ordered;
    put_u64(value_out->bytes + 8, sequence->first);
    put_u64(value_out->bytes + 16, next);
}

static enum cf_rc value_read(struct cf_session *session, const struct cf_sequence *sequence,
                             const struct cf_lock_value *value, uint64_t *next_out)
{
    struct cf_lock_value expected;

    if (!value->is_valid)
        return eng_fail(session, CF_CORRUPT, "the sequence's value was lost with an instance that died");
    if (value->bytes_count == 0) {
        *next_out = sequence->first;
        return CF_OK;
    }
    value_write(sequence, 0, &expected);
    if (value->bytes_count != VALUE_BYTES || memcmp(value->bytes, expected.bytes, 3) != 0)
        return eng_fail(session, CF_INVALID, "the lock of this name has a value that is no sequence's");
    if (memcmp(value->bytes, expected.bytes, 16) != 0)
        return eng_fail(session, CF_INVALID, "another instance opened the sequence with first %llu, %s",
                        (unsigned long long)get_u64(value->bytes + 8),
                        value->bytes[3] ? "ordered" : "not ordered");
    *next_out = get_u64(value->bytes + 16);
    return CF_OK;
}

/* ------------------------------------------------------------------ numbers */

/* Takes up to `count` numbers from the cluster's: those from *first_out on, *count_out of them. */
static enum cf_rc fetch(struct cf_session *session, const struct cf_sequence *sequence, uint32_t count,
                        uint64_t deadline_ns, uint64_t *first_out, uint32_t *count_out)
{
    struct cf_claim claim = {0};
    struct cf_lock_value value;
    enum cf_rc rc = cf_lock_request(session, sequence->lock, CF_LOCK_EX, 0, deadline_ns, &claim), unlocked;

    if (rc != CF_OK)
        return rc;
    rc = cf_lock_value_get(session, &claim, &value);
    if (rc == CF_OK)
        rc = value_read(session, sequence, &value, first_out);
    if (rc == CF_OK && *first_out == NUMBER_END)
        rc = eng_fail(session, CF_RANGE, "the sequence has no more numbers");
    if (rc == CF_OK) {
        *count_out = NUMBER_END - *first_out < count ? (uint32_t)(NUMBER_END - *first_out) : count;
        value_write(sequence, *first_out + *count_out, &value);
    }
    /* Where the value could not be stored the numbers are not ours. */
    unlocked = cf_lock_unlock(session, &claim, 0, rc == CF_OK ? &value : NULL);
    return rc == CF_OK ? unlocked : rc;
}

/* False: none is left. */
static bool take(struct cf_sequence *sequence, uint64_t *number_out)
{
    /* Acquire: the `end` of this state, or a later one, is seen. Partner: the release store in refill. */
    uint64_t state = atomic_load_explicit(&sequence->state, memory_order_acquire), end;

    while ((state & LEFT_MASK) != 0) {
        end = atomic_load_explicit(&sequence->end, memory_order_relaxed);
        /* Release: our look at `end` comes before the next change of it, by whoever sees that none is left. */
        if (atomic_compare_exchange_weak_explicit(&sequence->state, &state, state - 1, memory_order_acq_rel,
                                                  memory_order_acquire)) {
            *number_out = end - (state & LEFT_MASK);
            return true;
        }
    }
    return false;
}

/* With REFILL_TAKEN, and none left. The first number is the caller's own, so that each fetch serves who makes it. */
static enum cf_rc refill(struct cf_session *session, struct cf_sequence *sequence, uint64_t deadline_ns,
                         uint64_t *number_out)
{
    uint64_t state = atomic_load_explicit(&sequence->state, memory_order_acquire), first;
    uint32_t count;
    enum cf_rc rc = fetch(session, sequence, sequence->cache, deadline_ns, &first, &count);

    if (rc != CF_OK)
        return rc;
    *number_out = first;
    atomic_store_explicit(&sequence->end, first + count, memory_order_relaxed);
    atomic_store_explicit(&sequence->state, ((state >> LEFT_BITS) + 1) << LEFT_BITS | (count - 1),
                          memory_order_release);
    return CF_OK;
}

/* True: it is the caller's turn to fetch. Else `refill` says WAITED, or it is free again. */
static bool refill_begin(struct cf_sequence *sequence)
{
    uint32_t seen = REFILL_FREE;

    if (atomic_compare_exchange_strong_explicit(&sequence->refill, &seen, REFILL_TAKEN, memory_order_acquire,
                                                memory_order_relaxed))
        return true;
    seen = REFILL_TAKEN;
    (void)atomic_compare_exchange_strong_explicit(&sequence->refill, &seen, REFILL_WAITED,
                                                  memory_order_relaxed, memory_order_relaxed);
    return false;
}

static void refill_end(struct cf_sequence *sequence)
{
    /* Release: the next one to fetch sees what this one has left; partner: the exchange in refill_begin. */
    if (atomic_exchange_explicit(&sequence->refill, REFILL_FREE, memory_order_release) == REFILL_WAITED)
        eng_futex_wake(&sequence->refill);
}

enum cf_rc cf_sequence_next(struct cf_session *session, struct cf_sequence *sequence, uint64_t deadline_ns,
                            uint64_t *number_out)
{
    enum cf_rc rc = eng_enter(session->instance);
    uint64_t now_ns;
    uint32_t count;

    if (rc != CF_OK)
        return eng_fail(session, rc, "%s", cf_rc_text(rc));
    if (sequence->is_ordered)
        return fetch(session, sequence, 1, deadline_ns, number_out, &count);
    while (!take(sequence, number_out)) {
        if (refill_begin(sequence)) {
            if (!take(sequence, number_out)) /* it may have been refilled since the first look */
                rc = refill(session, sequence, deadline_ns, number_out);
            refill_end(sequence);
            return rc;
        }
        now_ns = cf_now_ns();
        if (now_ns >= deadline_ns)
            return eng_fail(session, CF_TIMEOUT, "another session fetches numbers; the deadline passed");
        eng_futex_wait(&sequence->refill, REFILL_WAITED, deadline_ns - now_ns);
    }
    return CF_OK;
}
