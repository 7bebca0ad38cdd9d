/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_SESSION_H
#define ENGINE_SESSION_H

/* A session: what one thread has of an instance (E-13). [const] and the other tags: instance.h. */
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <cachefusion/cachefusion.h>

#include "base/compiler.h"
#include "base/hist.h"
#include "base/ring.h"
#include "engine/pool.h"

/* Prefetches of a session under way at once. */
#define ENG_PREFETCH_OPS 64u
/* Owners that no caller names: the sessions themselves, by slot. */
#define ENG_OWNER_SESSION (1ull << 63)

/* Pages that a forked child finds zeroed (MADV_WIPEONFORK). */
struct eng_guard {
    volatile uint32_t state; /* ENG_RUNS until the owner writes ENG_STOPPED */
    _Atomic uint64_t *words; /* [const] the frames' */
    /*
     * Id and generation of each file, by slot, under which a hit looks its blocks up. 0, which names no file, while gets
     * may not hit, and when the instance has stopped.
     */
    CF_ALIGNED(CF_CACHE_LINE) _Atomic uint64_t hit_names[];
};

/* What the engine keeps in cf_ref.private_: the frame's number, and whether cf_dirty was called. */
#define ENG_REF_DIRTY (1ull << 32)
#define ENG_REF_X (1ull << 33)     /* held in X: what a put of S does not look at begins at bit 32 */
#define ENG_REF_NOTED (1ull << 34) /* in the session's table of pins, at the number above ENG_REF_PIN_SHIFT */
#define ENG_REF_PIN_SHIFT 40u
/* Pins noted of a session with an owner. */
#define ENG_NOTED_PINS 32u
struct eng_noted_pin {
    _Atomic uint64_t
        id; /* [atomic] 0: free; never used twice. The session's thread writes, the owner reads */
    _Atomic uint64_t held;  /* [atomic] frame, and mode above 32 bits */
    _Atomic uint64_t owner; /* [atomic] */
};
static inline uint32_t eng_ref_frame(const struct cf_ref *ref)
{
    return (uint32_t)ref->private_;
}

struct cf_session;
/* References that the session holds: each hit is one, those got otherwise are counted, and those put. Its own thread. */
uint32_t eng_refs_held(const struct cf_session *session);

struct cf_session {
    struct eng_frame_view view;    /* [const] of the instance's frames */
    const struct eng_guard *guard; /* [const] the instance's */
    struct cf_instance *instance;
    uint32_t slot;
    bool in_use;
    uint32_t under_way;    /* ops submitted and not yet polled; the session's thread */
    uint32_t other_refs;   /* references got otherwise than by a hit, less those put; the session's thread */
    _Atomic uint64_t gets; /* cf_get calls of a running instance; the session's thread counts, and these: */
    struct cf_error error;
    struct cf_spsc done; /* completed ops: progress pushes, the session pops */
    void *done_mem;
    uint32_t done_slots;
    _Atomic uint32_t wake;     /* [atomic] futex word: rises at each completion */
    _Atomic uint32_t sleeping; /* [atomic] 1 while the session's thread sleeps on `wake` */
    /* counters of the session's thread, summed by cf_stats_read (relaxed) */
    _Atomic uint64_t missed;     /* of `gets`: those that did not hit at the first look */
    _Atomic uint64_t other_hits; /* by the frame word alone all the same: a later look, or at submit */
    _Atomic uint64_t slow_gets;  /* got through the owner */
    _Atomic uint64_t timeouts;
    _Atomic uint64_t snapshots;
    struct cf_op *ready_first, *ready_last; /* ops satisfied at submit */
    struct cf_op *prefetch;                 /* ENG_PREFETCH_OPS ops of the session's own */
    uint32_t prefetch_next;
    struct cf_hist *hit_hist; /* the session's thread */
    uint64_t owner;           /* cf_owner_set; the session's thread */
    uint32_t cost;
    /* of sessions with an owner: engine/detect_block.c */
    struct eng_noted_pin pins[ENG_NOTED_PINS];
    uint64_t pin_last;
    _Atomic uint64_t no_slot; /* a table of frames in which nothing is found */
};

static inline uint64_t eng_owner_default(const struct cf_session *session)
{
    return ENG_OWNER_SESSION | session->slot;
}

#endif
