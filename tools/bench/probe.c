/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/atomic.h"
#include "base/clock.h"
#include "tools/bench/bench.h"

#define BATCHES 64u
#define BATCH_TRIPS 500u
/* A side that waits this long lets another program have the processor: its partner may stand behind it. */
#define TURNS_MAX 20000u

/*
 * Bounds between the classes, between the figures of machines where the placement was known: 33 ns siblings, 70 to 240
 * shared third-level cache, 390 to 490 another one, 1100 another socket.
 */
static const struct {
    double below_ns;
    enum bench_class class;
} bounds[] = {{50, BENCH_CLASS_SIBLINGS}, {300, BENCH_CLASS_SHARED_L3}, {730, BENCH_CLASS_OTHER_L3}};

static const char *const names[BENCH_CLASSES] = {"one-cpu",  "siblings",     "shared-l3",
                                                 "other-l3", "other-socket", "moved"};

struct probe {
    _Atomic uint64_t ping CF_ALIGNED(128); /* thread a writes */
    _Atomic uint64_t pong CF_ALIGNED(128); /* thread b writes */
    int cpu_b CF_ALIGNED(128);
};

const char *bench_class_name(enum bench_class class)
{
    cf_assert(class < BENCH_CLASSES);
    return names[class];
}

enum bench_class bench_class_of(double line_ns)
{
    if (line_ns <= 0)
        return BENCH_CLASS_ONE_CPU;
    for (size_t i = 0; i < CF_COUNTOF(bounds); i++)
        if (line_ns < bounds[i].below_ns)
            return bounds[i].class;
    return BENCH_CLASS_OTHER_SOCKET;
}

static void pin(int cpu)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    /* Refused: the probe measures where the threads are, which is what the programs will meet. */
    (void)pthread_setaffinity_np(pthread_self(), sizeof set, &set);
}

/* Pairs with the publish of the other side. */
static void await(_Atomic uint64_t *word, uint64_t value)
{
    for (uint32_t turns = 0; cf_observe_u64(word) < value; turns++)
        if (turns > TURNS_MAX) {
            sched_yield();
            turns = 0;
        }
}

static void *answer(void *arg)
{
    struct probe *probe = arg;

    pin(probe->cpu_b);
    for (uint64_t i = 1; i <= (uint64_t)BATCHES * BATCH_TRIPS; i++) {
        await(&probe->ping, i);
        cf_publish_u64(&probe->pong, i);
    }
    return NULL;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

double bench_probe(int cpu_a, int cpu_b)
{
    struct probe probe = {.cpu_b = cpu_b};
    double batch_ns[BATCHES];
    uint64_t number = 0;
    cpu_set_t before;
    pthread_t other;

    if (cpu_a == cpu_b || sched_getaffinity(0, sizeof before, &before) != 0 ||
        pthread_create(&other, NULL, answer, &probe) != 0)
        return 0;
    pin(cpu_a);
    for (uint32_t b = 0; b < BATCHES; b++) {
        uint64_t begin_ns = cf_now_ns();

        for (uint32_t i = 0; i < BATCH_TRIPS; i++) {
            cf_publish_u64(&probe.ping, ++number);
            await(&probe.pong, number);
        }
        batch_ns[b] = (double)(cf_now_ns() - begin_ns) / BATCH_TRIPS;
    }
    pthread_join(other, NULL);
    (void)pthread_setaffinity_np(pthread_self(), sizeof before, &before);
    qsort(batch_ns, BATCHES, sizeof batch_ns[0], by_value);
    /* Batches in which a thread lost its processor are the long ones. */
    return batch_ns[BATCHES / 4];
}
