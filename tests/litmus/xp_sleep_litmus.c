/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Claim of transport/shm/wait.c: of a sender (slot, fence, look at sleeping) and a sleeper (sleeping, fence, look at
 * slot), at least one sees the other's store. Two threads meet up to a million times; both missing each other would
 * be a lost wake-up.
 */
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "base/rng.h"

/* ThreadSanitizer makes a round some sixty times longer. */
#define ROUNDS (CF_TSAN ? 150000u : 1000000u)
#define ROUNDS_MIN 100000u
#define TIME_NS_MAX (60 * CF_NS_PER_S)
#define DELAY_MAX 8u
#define SPINS_MAX 1000u

struct word {
    _Atomic uint64_t value CF_ALIGNED(128);
};

struct meeting {
    struct word slot, sleeping;
    struct word round[2]; /* the round each thread has finished */
    struct word seen[2];  /* 1: it saw the other's store in that round */
    _Atomic bool is_over;
};

struct actor {
    struct meeting *meeting;
    unsigned me;
    uint64_t rounds, both, missed;
};

static bool wait_for(struct meeting *m, unsigned who, uint64_t round)
{
    for (unsigned spins = 0; cf_observe_u64(&m->round[who].value) < round; spins++) {
        if (cf_observe_bool(&m->is_over))
            return false;
        if (spins >= SPINS_MAX)
            sched_yield();
        else
            cf_pause();
    }
    return true;
}

static void *act(void *arg)
{
    struct actor *a = arg;
    struct meeting *m = a->meeting;
    struct word *mine = a->me == 0 ? &m->slot : &m->sleeping, *other = a->me == 0 ? &m->sleeping : &m->slot;
    uint64_t end_ns = cf_now_ns() + TIME_NS_MAX;
    struct cf_rng rng;

    cf_rng_seed(&rng, a->me + 1);
    for (uint64_t i = 1; i <= ROUNDS; i++) {
        uint64_t delay = cf_rng_below(&rng, DELAY_MAX);

        for (uint64_t d = 0; d < delay; d++)
            cf_pause();
        cf_publish_u64(&mine->value, i);
        cf_fence_full();
        cf_poke_u64(&m->seen[a->me].value, cf_observe_u64(&other->value) >= i);
        cf_publish_u64(&m->round[a->me].value, 2 * i - 1);
        if (!wait_for(m, 1 - a->me, 2 * i - 1))
            break;
        if (a->me == 0) {
            uint64_t seen = cf_peek_u64(&m->seen[0].value) + cf_peek_u64(&m->seen[1].value);
            a->both += seen == 2;
            a->missed += seen == 0;
            a->rounds = i;
            if (i % 1024 == 0 && cf_now_ns() > end_ns)
                cf_publish_bool(&m->is_over, true);
        }
        cf_publish_u64(&m->round[a->me].value, 2 * i);
        if (!wait_for(m, 1 - a->me, 2 * i))
            break;
    }
    return NULL;
}

int main(void)
{
    static struct meeting meeting;
    struct actor actors[2] = {{.meeting = &meeting, .me = 0}, {.meeting = &meeting, .me = 1}};
    pthread_t threads[2];

    for (unsigned i = 0; i < 2; i++)
        if (pthread_create(&threads[i], NULL, act, &actors[i]) != 0)
            return 1;
    for (unsigned i = 0; i < 2; i++)
        if (pthread_join(threads[i], NULL) != 0)
            return 1;
    printf("rounds %llu both saw %llu neither saw %llu\n", (unsigned long long)actors[0].rounds,
           (unsigned long long)actors[0].both, (unsigned long long)actors[0].missed);
    return actors[0].missed != 0 || actors[0].rounds < ROUNDS_MIN;
}
