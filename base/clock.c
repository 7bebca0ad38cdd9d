/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"

#include <time.h>

#include "base/assert.h"
#include "base/atomic.h"
#if defined(__x86_64__)
#include <cpuid.h>
#endif

/* Two halves of the calibration must agree within this share, or the counter is not used. */
#define CALIBRATION_ERROR_MAX_PPM 500

static uint64_t read_clock(clockid_t id)
{
    struct timespec ts;
    int rc = clock_gettime(id, &ts);

    cf_assert(rc == 0);
    return (uint64_t)ts.tv_sec * CF_NS_PER_S + (uint64_t)ts.tv_nsec;
}

uint64_t cf_now_ns(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

uint64_t cf_wall_ns(void)
{
    return read_clock(CLOCK_REALTIME);
}

uint64_t cf_ticks(void)
{
#if defined(__x86_64__)
    return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
    uint64_t ticks;
    __asm__ __volatile__("mrs %0, cntvct_el0" : "=r"(ticks));
    return ticks;
#else
    return cf_now_ns();
#endif
}

/* CPUID 80000007H EDX bit 8: the TSC runs at one rate in all power states (Intel SDM 18.17.1, AMD APM 3). */
static bool counter_is_invariant(void)
{
#if defined(__x86_64__)
    unsigned a, b, c, d;
    return __get_cpuid(0x80000007u, &a, &b, &c, &d) != 0 && (d & (1u << 8)) != 0;
#elif defined(__aarch64__)
    return true;
#else
    return false;
#endif
}

/* Nanoseconds a tick over a busy wait of about wait_ns, with 32 fraction bits; 0 when ticks stood still. */
static uint64_t measure_q32(uint64_t wait_ns)
{
    uint64_t ns_begin = cf_now_ns();
    uint64_t ticks_begin = cf_ticks();
    uint64_t ns_end, ticks_end;

    do {
        cf_pause();
        ns_end = cf_now_ns();
        ticks_end = cf_ticks();
    } while (ns_end - ns_begin < wait_ns);
    if (ticks_end <= ticks_begin)
        return 0;
    return (uint64_t)(((unsigned __int128)(ns_end - ns_begin) << 32) / (ticks_end - ticks_begin));
}

void cf_tick_clock_init(struct cf_tick_clock *clock, uint64_t calibrate_ns)
{
    uint64_t first, second, apart;

    *clock = (struct cf_tick_clock){0};
    if (!counter_is_invariant())
        return;
    first = measure_q32(calibrate_ns / 2 + 1);
    second = measure_q32(calibrate_ns / 2 + 1);
    apart = first > second ? first - second : second - first;
    if (first == 0 || second == 0 || apart > first / (1000000 / CALIBRATION_ERROR_MAX_PPM))
        return;
    clock->ns_per_tick_q32 = first / 2 + second / 2;
    clock->base_ns = cf_now_ns();
    clock->base_ticks = cf_ticks();
    clock->has_counter = true;
}

uint64_t cf_tick_now_ns(const struct cf_tick_clock *clock)
{
    uint64_t ticks;

    if (!clock->has_counter)
        return cf_now_ns();
    ticks = cf_ticks();
    /* A core whose counter is some cycles behind the one that calibrated must not wrap. */
    if (ticks < clock->base_ticks)
        return clock->base_ns;
    return clock->base_ns +
           (uint64_t)(((unsigned __int128)(ticks - clock->base_ticks) * clock->ns_per_tick_q32) >> 32);
}
