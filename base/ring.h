/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bounded rings of fixed-size records between threads of one process, on ck_ring. Records go in and out
 * by copy. A ring of N slots holds N - 1 records.
 *
 * Concurrency: cf_spsc has one pushing and one popping thread at a time, cf_mpsc any number of pushing and
 * one popping thread. Push publishes the record and all writes before it; pop observes them (B-2). Neither
 * waits for the other side; two pushers of a cf_mpsc may wait some cycles for one that is between its
 * reservation and its commit.
 *
 * Not here: rings between processes, which must not trust a peer's indices (transport/shm).
 */
#ifndef CF_BASE_RING_H
#define CF_BASE_RING_H

#include <ck_ring.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/assert.h"
#include "base/compiler.h"

#define CF_RING_SLOTS_MIN 4u

/*
 * ThreadSanitizer does not see the order that ck_ring makes with assembly. In its builds the copies inside
 * are hidden from it, and the edge from push to pop is told to it; what the records point to stays checked.
 */
#if CF_TSAN
void AnnotateIgnoreReadsBegin(const char *file, int line);
void AnnotateIgnoreReadsEnd(const char *file, int line);
void AnnotateIgnoreWritesBegin(const char *file, int line);
void AnnotateIgnoreWritesEnd(const char *file, int line);
void __tsan_acquire(void *addr);
void __tsan_release(void *addr);

static inline void cf_ring_tsan_hide(void)
{
    AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
    AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
}

static inline void cf_ring_tsan_show(void)
{
    AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
    AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
}
#define CF_RING_TSAN_RELEASE(addr) __tsan_release(addr)
#define CF_RING_TSAN_ACQUIRE(addr) __tsan_acquire(addr)
#else
static inline void cf_ring_tsan_hide(void)
{
}

static inline void cf_ring_tsan_show(void)
{
}
#define CF_RING_TSAN_RELEASE(addr) ((void)(addr))
#define CF_RING_TSAN_ACQUIRE(addr) ((void)(addr))
#endif

struct cf_ring_core {
    struct ck_ring ring;
    struct ck_ring_buffer *slots; /* [const] slots * record_bytes bytes */
    uint32_t record_bytes;        /* [const] */
};

struct cf_spsc {
    struct cf_ring_core core;
};

struct cf_mpsc {
    struct cf_ring_core core;
};

/* Bytes of memory a ring needs. */
static inline size_t cf_ring_bytes(uint32_t slots_pow2, uint32_t record_bytes)
{
    return (size_t)slots_pow2 * record_bytes;
}

static inline void cf_ring_core_init(struct cf_ring_core *core, void *mem, uint32_t slots_pow2,
                                     uint32_t record_bytes)
{
    cf_assert(mem != NULL);
    cf_assert(record_bytes != 0);
    cf_assert(slots_pow2 >= CF_RING_SLOTS_MIN);
    cf_assert((slots_pow2 & (slots_pow2 - 1)) == 0);
    ck_ring_init(&core->ring, slots_pow2);
    core->slots = (struct ck_ring_buffer *)mem;
    core->record_bytes = record_bytes;
}

/* mem: cf_ring_bytes(slots_pow2, record_bytes), outlives the ring; slots_pow2 a power of two, at least 4. */
static inline void cf_spsc_init(struct cf_spsc *spsc, void *mem, uint32_t slots_pow2, uint32_t record_bytes)
{
    cf_ring_core_init(&spsc->core, mem, slots_pow2, record_bytes);
}

static inline void cf_mpsc_init(struct cf_mpsc *mpsc, void *mem, uint32_t slots_pow2, uint32_t record_bytes)
{
    cf_ring_core_init(&mpsc->core, mem, slots_pow2, record_bytes);
}

/* False: full, nothing changed. Pushing thread. */
static inline CF_HOT CF_CHECK bool cf_spsc_push(struct cf_spsc *spsc, const void *record)
{
    struct cf_ring_core *core = &spsc->core;
    bool pushed;

    CF_RING_TSAN_RELEASE(core);
    cf_ring_tsan_hide();
    pushed = _ck_ring_enqueue_sp(&core->ring, core->slots, record, core->record_bytes, NULL);
    cf_ring_tsan_show();
    return pushed;
}

static inline CF_HOT CF_CHECK bool cf_ring_core_pop(struct cf_ring_core *core, void *record_out)
{
    bool popped;

    cf_ring_tsan_hide();
    popped = _ck_ring_dequeue_sc(&core->ring, core->slots, record_out, core->record_bytes);
    cf_ring_tsan_show();
    CF_RING_TSAN_ACQUIRE(core);
    return popped;
}

/* False: empty, nothing changed. Popping thread. */
static inline CF_HOT CF_CHECK bool cf_spsc_pop(struct cf_spsc *spsc, void *record_out)
{
    return cf_ring_core_pop(&spsc->core, record_out);
}

/* False: full, nothing changed. Any thread. */
static inline CF_HOT CF_CHECK bool cf_mpsc_push(struct cf_mpsc *mpsc, const void *record)
{
    struct cf_ring_core *core = &mpsc->core;
    bool pushed;

    CF_RING_TSAN_RELEASE(core);
    cf_ring_tsan_hide();
    pushed = _ck_ring_enqueue_mp(&core->ring, core->slots, record, core->record_bytes, NULL);
    cf_ring_tsan_show();
    return pushed;
}

/* False: empty, nothing changed. Popping thread. */
static inline CF_HOT CF_CHECK bool cf_mpsc_pop(struct cf_mpsc *mpsc, void *record_out)
{
    return cf_ring_core_pop(&mpsc->core, record_out);
}

/* Records inside at some moment of the call; exact when the other side is quiet. */
static inline uint32_t cf_spsc_count(const struct cf_spsc *spsc)
{
    return ck_ring_size(&spsc->core.ring);
}

static inline uint32_t cf_mpsc_count(const struct cf_mpsc *mpsc)
{
    return ck_ring_size(&mpsc->core.ring);
}

#endif
