/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BENCH_HARNESS_H
#define BENCH_HARNESS_H

/*
 * Micro-benchmarks. A program fills in cases and calls bench_main; Google Benchmark, behind harness_gb.cc,
 * chooses how many iterations a figure needs and reports. The JSON carries the machine's facts (bench/facts.h).
 *
 *   PROGRAM [--json FILE] [--list] [any option of Google Benchmark, as --benchmark_filter=RE]
 *
 * Under `cachefusion bench` it says each case as a line "figure NAME NANOSECONDS ns" instead.
 */
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define BENCH_ARGS_MAX 8u

struct bench_case {
    const char *name;
    /* Makes what the case works on; one for all threads of a run. NULL: no state. Never answers NULL. */
    void *(*open)(uint64_t arg, uint32_t threads);
    /* What is measured, `iterations` times. All threads of a run do the same number of iterations. */
    void (*run)(void *state, uint32_t thread, uint64_t iterations);
    void (*close)(void *state);
    uint64_t args[BENCH_ARGS_MAX]; /* a run for each; with none, one run with 0 */
    uint32_t args_count;
    uint32_t threads; /* 0 is 1 */
    uint64_t bytes;   /* moved by an iteration, 0 = not told */
    uint64_t batch;   /* iterations between two looks at the clock's end; 0 is 1024, 1 for what takes long */
};

/* Runs the cases the command line chooses; the status for main. */
int bench_main(int argc, char **argv, const struct bench_case *cases, uint32_t cases_count);

/* The value is used: the compiler may not leave out what made it. */
static inline void bench_use(uint64_t value)
{
    __asm__ volatile("" : : "r"(value) : "memory");
}

#ifdef __cplusplus
}
#endif
#endif
