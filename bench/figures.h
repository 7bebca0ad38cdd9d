/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BENCH_FIGURES_H
#define BENCH_FIGURES_H

/* What a program tells `cachefusion bench`: see tools/bench/bench.h. */
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/compiler.h"
#include "base/hist.h"

/* `name` and `unit` have no blanks; a unit that ends in "/s" is a rate: more is better. */
static inline void bench_figure(const char *name, double value, const char *unit)
{
    printf("figure %s %.6g %s\n", name, value, unit);
}

/* Points of a distribution; the figure of this name is its median, in nanoseconds. */
static inline void bench_distribution(const char *name, const struct cf_hist *hist)
{
    static const double shares[] = {0,    0.01, 0.1,   0.25,  0.5,    0.75,   0.9,
                                    0.95, 0.99, 0.995, 0.999, 0.9995, 0.9999, 1};

    bench_figure(name, (double)cf_hist_percentile(hist, 0.5), "ns");
    for (size_t i = 0; i < CF_COUNTOF(shares); i++)
        printf("percentile %s %.4f %llu\n", name, shares[i],
               (unsigned long long)(shares[i] <= 0   ? cf_hist_min(hist)
                                    : shares[i] >= 1 ? cf_hist_max(hist)
                                                     : cf_hist_percentile(hist, shares[i])));
}

/* The processor that side 0 or 1 is to run on. */
static inline int bench_cpu(int side)
{
    const char *text = getenv("CF_BENCH_CPUS");
    int cpus[2] = {0, 1};

    if (text == NULL || sscanf(text, "%d,%d", &cpus[0], &cpus[1]) != 2)
        return side;
    return cpus[side];
}

/* Two sides that poll on one processor would measure the scheduler; says so, and is false then. */
static inline bool bench_has_two_cpus(void)
{
    if (bench_cpu(0) != bench_cpu(1))
        return true;
    printf("not run: it needs two processors\n");
    return false;
}

/* Refused: there is one processor only, both sides share it. */
static inline void bench_pin(int side)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET(bench_cpu(side), &set);
    (void)sched_setaffinity(0, sizeof set, &set);
}

#endif
