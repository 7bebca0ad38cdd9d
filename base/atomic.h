/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Words shared between threads, by situation. Each function names what it guarantees and the partner
 * it pairs with; a call site says in a comment which partner function it means.
 *
 * Not here: memory a device reads or writes (base/dma.h).
 */
#ifndef CF_BASE_ATOMIC_H
#define CF_BASE_ATOMIC_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"

/*
 * Publish: everything this thread wrote before is visible to a thread that observes the value.
 * Partner: cf_observe_*. Order: release store.
 */
static inline void cf_publish_u32(_Atomic uint32_t *word, uint32_t value)
{
    atomic_store_explicit(word, value, memory_order_release);
}

static inline void cf_publish_u64(_Atomic uint64_t *word, uint64_t value)
{
    atomic_store_explicit(word, value, memory_order_release);
}

static inline void cf_publish_bool(_Atomic bool *word, bool value)
{
    atomic_store_explicit(word, value, memory_order_release);
}

/*
 * Observe: having read a published value, this thread sees all that its publisher wrote before.
 * Partner: cf_publish_*, cf_cas_u64 that succeeded, cf_swap_u64. Order: acquire load.
 */
static inline uint32_t cf_observe_u32(const _Atomic uint32_t *word)
{
    return atomic_load_explicit((_Atomic uint32_t *)(uintptr_t)word, memory_order_acquire);
}

static inline uint64_t cf_observe_u64(const _Atomic uint64_t *word)
{
    return atomic_load_explicit((_Atomic uint64_t *)(uintptr_t)word, memory_order_acquire);
}

static inline bool cf_observe_bool(const _Atomic bool *word)
{
    return atomic_load_explicit((_Atomic bool *)(uintptr_t)word, memory_order_acquire);
}

/*
 * Peek: some value the word had, not torn, ordering nothing else. For hints, for the word's only
 * writer, and for counters. No partner. Order: relaxed load.
 */
static inline uint32_t cf_peek_u32(const _Atomic uint32_t *word)
{
    return atomic_load_explicit((_Atomic uint32_t *)(uintptr_t)word, memory_order_relaxed);
}

static inline uint64_t cf_peek_u64(const _Atomic uint64_t *word)
{
    return atomic_load_explicit((_Atomic uint64_t *)(uintptr_t)word, memory_order_relaxed);
}

/*
 * Poke: an untorn store that orders nothing. For counters with one writer and for initialisation
 * before the word is shared. No partner. Order: relaxed store.
 */
static inline void cf_poke_u32(_Atomic uint32_t *word, uint32_t value)
{
    atomic_store_explicit(word, value, memory_order_relaxed);
}

static inline void cf_poke_u64(_Atomic uint64_t *word, uint64_t value)
{
    atomic_store_explicit(word, value, memory_order_relaxed);
}

/*
 * Count: one more, in a word that one thread writes and others may peek at. Not a read-modify-write to anybody else: a
 * load and a store, each untorn, which x86-64 has as one instruction that a compiler does not make of two atomics.
 */
static inline void cf_count_u64(_Atomic uint64_t *word)
{
#if defined(__x86_64__) && !CF_TSAN
    __asm__ volatile("incq %0" : "+m"(*word) : : "cc");
#else
    atomic_store_explicit(word, atomic_load_explicit(word, memory_order_relaxed) + 1, memory_order_relaxed);
#endif
}

/* Counts, and tells whether the count is a multiple of `each` now, a power of two up to 128. */
static inline bool cf_count_is_multiple_u64(_Atomic uint64_t *word, const uint8_t each)
{
#if defined(__x86_64__) && !CF_TSAN
    bool is_multiple;

    __asm__ volatile("incq %0\n\ttestb %2, %0"
                     : "+m"(*word), "=@ccz"(is_multiple)
                     : "iq"((uint8_t)(each - 1)));
    return is_multiple;
#else
    cf_count_u64(word);
    return atomic_load_explicit(word, memory_order_relaxed) % each == 0;
#endif
}

/*
 * Compare and swap: true when *word was *expected and is now desired; false leaves the value found in
 * *expected. Never fails spuriously. Success publishes and observes (acquire-release), failure only
 * observes. Partner: cf_observe_u64 and every other cf_cas_u64 of the word.
 */
static inline bool cf_cas_u64(_Atomic uint64_t *word, uint64_t *expected, uint64_t desired)
{
    return atomic_compare_exchange_strong_explicit(word, expected, desired, memory_order_acq_rel,
                                                   memory_order_acquire);
}

static inline bool cf_cas_u32(_Atomic uint32_t *word, uint32_t *expected, uint32_t desired)
{
    return atomic_compare_exchange_strong_explicit(word, expected, desired, memory_order_acq_rel,
                                                   memory_order_acquire);
}

/* Swap: stores the value and returns the one before; publishes and observes. Partner as cf_cas_u64. */
static inline uint64_t cf_swap_u64(_Atomic uint64_t *word, uint64_t value)
{
    return atomic_exchange_explicit(word, value, memory_order_acq_rel);
}

static inline uint32_t cf_swap_u32(_Atomic uint32_t *word, uint32_t value)
{
    return atomic_exchange_explicit(word, value, memory_order_acq_rel);
}

/* Add: counts, returns the value before, orders nothing. Partner: cf_peek_u64. Order: relaxed. */
static inline uint64_t cf_add_u64(_Atomic uint64_t *word, uint64_t addend)
{
    return atomic_fetch_add_explicit(word, addend, memory_order_relaxed);
}

static inline uint32_t cf_add_u32(_Atomic uint32_t *word, uint32_t addend)
{
    return atomic_fetch_add_explicit(word, addend, memory_order_relaxed);
}

/*
 * Every fence between threads is made here. Under ThreadSanitizer, which does not model fences, a locked instruction on
 * a private word stands in for each; gcc warns of a fence there (-Wtsan), once it is inlined out of its own function.
 */
#if CF_TSAN
static inline void cf_fence_by_word(void)
{
    _Atomic uint32_t word = 0;
    (void)atomic_fetch_add_explicit(&word, 1, memory_order_seq_cst);
}
#define CF_FENCE(order) cf_fence_by_word()
#else
#define CF_FENCE(order) atomic_thread_fence(order)
#endif

/*
 * Full fence: no load or store after it is performed before one ahead of it. It is for the "announce
 * sleep, then look again" pattern (store, fence, load on both sides). Partner: another cf_fence_full.
 */
static inline void cf_fence_full(void)
{
    CF_FENCE(memory_order_seq_cst);
}

/*
 * The two halves of "the word tells whether the bytes were those": who changes bytes changes the word first and fences
 * before the bytes; who copies them fences after the copy and looks at the word again. A copy with a newer byte sees a
 * newer word. Partner of each: the other one.
 */
static inline void cf_fence_before_change(void)
{
    CF_FENCE(memory_order_release);
}

static inline void cf_fence_after_copy(void)
{
    CF_FENCE(memory_order_acquire);
}

/* One turn of a spin: tells the core that this is one. Orders nothing. */
static inline void cf_pause(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield");
#else
    __asm__ __volatile__("" ::: "memory");
#endif
}

#endif
