/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Clocks. The protocol core is given `now` and calls none of these.
 *
 * cf_now_ns costs some 20-30 ns where the kernel offers the clock without a system call, and ten times
 * that in a virtual machine whose clock source does not. An owner reads it once a turn and hands it on.
 */
#ifndef CF_BASE_CLOCK_H
#define CF_BASE_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

#define CF_NS_PER_US UINT64_C(1000)
#define CF_NS_PER_MS UINT64_C(1000000)
#define CF_NS_PER_S UINT64_C(1000000000)

/* Nanoseconds of CLOCK_MONOTONIC: never steps back, the same for all processes of a host. Any thread. */
uint64_t cf_now_ns(void);
/* Nanoseconds since 1970 (CLOCK_REALTIME): may step; for people to read, never for a decision. */
uint64_t cf_wall_ns(void);

/*
 * Cheap time: a cycle counter scaled to cf_now_ns. Where the counter is not invariant (or the
 * calibration finds it unsteady) every call falls back to cf_now_ns. Constant after init.
 */
struct cf_tick_clock {
    uint64_t base_ticks;
    uint64_t base_ns;
    uint64_t ns_per_tick_q32; /* nanoseconds a tick, 32 fraction bits */
    bool has_counter;
};

/* Raw counter: x86-64 TSC, aarch64 virtual counter, else cf_now_ns. Not ordered with other memory. */
uint64_t cf_ticks(void);
/* Calibrates against cf_now_ns; takes about calibrate_ns of busy waiting (10 ms gives some 10 ppm). */
void cf_tick_clock_init(struct cf_tick_clock *clock, uint64_t calibrate_ns);
uint64_t cf_tick_now_ns(const struct cf_tick_clock *clock);

#endif
