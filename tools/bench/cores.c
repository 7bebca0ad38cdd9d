/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

#include "base/clock.h"
#include "tools/bench/bench.h"

#define LOOKS 64u
/* Some 5 us for one chain, 11 for four: shorter than most things that interrupt them, longer than a clock's step. */
#define STEPS 4000u
/* Looks in which the chain took longer by so much behind than before were interrupted, or the clock rate changed. */
#define STEADY 1.05
/* A core that is shared has half its units left, or a little more: looks fall near 1 or above 1.4, few between. */
#define SHARED_FROM 1.2
/* One look in so many may be faster than what counts as fast. */
#define LOW_PART 16u

/* One addition behind another: as long as the core is fast, whoever else runs on it. */
static double chain_ns(void)
{
    uint64_t begin_ns = cf_now_ns(), a = 0;

    for (uint32_t i = 0; i < STEPS; i++) {
        a++;
        __asm__ volatile("" : "+r"(a));
        a++;
        __asm__ volatile("" : "+r"(a));
        a++;
        __asm__ volatile("" : "+r"(a));
        a++;
        __asm__ volatile("" : "+r"(a));
    }
    return (double)(cf_now_ns() - begin_ns);
}

/* Four chains side by side take all the units that a core has for additions, and so as long as it lets them have those. */
static double chains_ns(void)
{
    uint64_t begin_ns = cf_now_ns(), a = 0, b = 0, c = 0, d = 0;

    for (uint32_t i = 0; i < 4 * STEPS; i++) {
        a++, b++, c++, d++;
        __asm__ volatile("" : "+r"(a), "+r"(b), "+r"(c), "+r"(d));
        a++, b++, c++, d++;
        __asm__ volatile("" : "+r"(a), "+r"(b), "+r"(c), "+r"(d));
    }
    return (double)(cf_now_ns() - begin_ns);
}

static uint32_t looks_take(double *looks)
{
    double before_ns = chain_ns(), behind_ns;
    uint32_t count = 0;

    for (uint32_t i = 0; i < LOOKS; i++) {
        double wide_ns = chains_ns();

        behind_ns = chain_ns();
        if (before_ns > 0 && fmax(before_ns, behind_ns) < STEADY * fmin(before_ns, behind_ns))
            looks[count++] = wide_ns / before_ns;
        before_ns = behind_ns;
    }
    return count;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

double bench_core_judge(double *least, double *looks, uint32_t count)
{
    uint32_t shared = 0;

    qsort(looks, count, sizeof looks[0], by_value);
    /* Not the fastest look of all: chains that were slowed alike on both sides of it would make one too fast for ever. */
    if (count != 0 && (*least <= 0 || looks[count / LOW_PART] < *least))
        *least = looks[count / LOW_PART];
    for (uint32_t i = 0; i < count; i++)
        shared += looks[i] > SHARED_FROM * *least;
    return count != 0 ? (double)shared / count : 1;
}

double bench_core_shared(double *least, int cpu)
{
    cpu_set_t before, set;
    double looks[LOOKS];
    uint32_t count;

    if (pthread_getaffinity_np(pthread_self(), sizeof before, &before) != 0)
        return 1;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    if (pthread_setaffinity_np(pthread_self(), sizeof set, &set) != 0)
        return 1;
    count = looks_take(looks);
    (void)pthread_setaffinity_np(pthread_self(), sizeof before, &before);
    return bench_core_judge(least, looks, count);
}
