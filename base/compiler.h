/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CF_BASE_COMPILER_H
#define CF_BASE_COMPILER_H

#include <stddef.h>

/* Frequently run function: the compiler optimises it harder and places it with the others. */
#define CF_HOT __attribute__((hot))
/* Failure or start-up path: kept away from hot code. */
#define CF_COLD __attribute__((cold, noinline))
/* Kept out of its callers, that their fast path stays short. */
#define CF_NOINLINE __attribute__((noinline))
/* The result must be looked at. */
/* For what a hot path calls from a few places, each of which needs only a part of it. */
#define CF_INLINE inline __attribute__((always_inline))
#define CF_CHECK __attribute__((warn_unused_result))
#define CF_PRINTF(fmt_index, first_arg) __attribute__((format(printf, fmt_index, first_arg)))
#define CF_LIKELY(x) __builtin_expect(!!(x), 1)
#define CF_UNLIKELY(x) __builtin_expect(!!(x), 0)
#define CF_ALIGNED(n) __attribute__((aligned(n)))
/* Bytes between words of different writers; 64 on x86-64 and on the aarch64 servers we know. */
#define CF_CACHE_LINE 64

/* Fetches a line to be written soon, if it may be had; never a fault. */
static inline void cf_prefetch_write(const void *line)
{
#if defined(__x86_64__)
    __asm__ volatile("prefetchw %0" : : "m"(*(const char *)line));
#else
    __builtin_prefetch(line, 1);
#endif
}

#define cf_container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))
#define CF_COUNTOF(array) (sizeof(array) / sizeof((array)[0]))

#if defined(__SANITIZE_THREAD__)
#define CF_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define CF_TSAN 1
#endif
#endif
#ifndef CF_TSAN
#define CF_TSAN 0
#endif

#endif
