/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two instances, each with a thread that sends, sleeps and is woken at random moments. A wake-up that is lost, for a
 * message or for a credit, leaves a thread in poll until its time-out, which fails the run. First both send in bursts
 * until credits run out; then they take turns, so that no later message can hide a wake-up that was lost.
 */
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "base/rng.h"
#include "transport/xp.h"

#define BURSTS 60000u
#define TURNS (CF_TSAN ? 40000u : 250000u)
#define MESSAGES (BURSTS + TURNS)
#define BURST_MAX 24u
/* Patience before a sleep is 0 to 2^n - 1 polls, n random: dozing off must meet answers at every distance. */
#define IDLE_BITS_MAX 9u
#define SLEEP_MS_MAX 5000
#define LANE_SLOTS 16u

struct actor {
    struct xp *xp;
    struct actor *other;
    uint16_t node;
    uint64_t sent, got, sleeps;
    const char *failure;
    _Atomic bool is_done;
};

static uint32_t take(struct actor *a)
{
    struct xp_event events[16];
    uint32_t count = xp_poll(a->xp, cf_now_ns(), events, CF_COUNTOF(events));

    for (uint32_t i = 0; i < count; i++) {
        if (events[i].type == XP_EV_HELLO)
            xp_accept(a->xp, events[i].node, CF_OK, NULL);
        else if (events[i].type == XP_EV_MESSAGE && events[i].header->scn != ++a->got)
            a->failure = "a message is out of order";
        else if (events[i].type == XP_EV_DOWN)
            a->failure = "the connection went down";
    }
    return count;
}

/* In turns node 0 is one ahead. */
static bool may_give(const struct actor *a)
{
    return a->sent < BURSTS || (a->sent < MESSAGES && a->sent < a->got + (a->node == 0));
}

static uint32_t give(struct actor *a, uint64_t burst)
{
    uint32_t count = 0;

    while (count < burst && may_give(a) && xp_begin(a->xp, a->other->node, XP_DATA, 16) != NULL) {
        xp_post(a->xp, a->other->node, XP_DATA, 1, ++a->sent);
        count++;
    }
    xp_flush(a->xp);
    return count;
}

static void doze(struct actor *a)
{
    struct pollfd one = {.fd = xp_fd(a->xp), .events = POLLIN};

    if (!xp_arm(a->xp))
        return;
    /* The other thread may have said that it is done before we armed: look once more, then sleep. */
    if (!(cf_observe_bool(&a->other->is_done) && a->got == MESSAGES)) {
        a->sleeps++;
        if (poll(&one, 1, SLEEP_MS_MAX) == 0)
            a->failure = "slept through: a wake-up was lost";
    }
    xp_disarm(a->xp);
}

static void *act(void *arg)
{
    struct actor *a = arg;
    struct cf_rng rng;
    uint64_t idle = 0;

    cf_rng_seed(&rng, 100 + a->node);
    while (a->failure == NULL) {
        uint32_t did = give(a, 1 + cf_rng_below(&rng, BURST_MAX)) + take(a);

        if (a->sent == MESSAGES && a->got == MESSAGES && !cf_observe_bool(&a->is_done)) {
            cf_publish_bool(&a->is_done, true);
            xp_wake(a->other->xp);
        }
        if (cf_observe_bool(&a->is_done) && cf_observe_bool(&a->other->is_done))
            return NULL;
        idle = did != 0 ? cf_rng_below(&rng, UINT64_C(1) << cf_rng_below(&rng, IDLE_BITS_MAX))
                        : idle - (idle != 0);
        if (did == 0 && idle == 0)
            doze(a);
    }
    cf_publish_bool(&a->is_done, true);
    xp_wake(a->other->xp);
    return NULL;
}

static bool actor_open(struct actor *a, const char *address)
{
    struct xp_options options = {.address = address,
                                 .node = a->node,
                                 .incarnation = 1,
                                 .nodes = 2,
                                 .cluster = "wake",
                                 .secret = "stress",
                                 .epoch = 1,
                                 .lane_slots = LANE_SLOTS};
    struct cf_error error;

    if (xp_open(&options, &a->xp, &error) == CF_OK && xp_start(a->xp, NULL, &error) == CF_OK)
        return true;
    fprintf(stderr, "open: %s\n", error.text);
    return false;
}

int main(void)
{
    static struct actor actors[2];
    char directory[] = "/dev/shm/xp-wake-stress-XXXXXX", address[64];
    pthread_t threads[2];
    int failed = 0;

    if (mkdtemp(directory) == NULL)
        return 1;
    snprintf(address, sizeof(address), "shm:%s", directory);
    for (uint16_t i = 0; i < 2; i++) {
        actors[i].node = i;
        actors[i].other = &actors[1 - i];
        if (!actor_open(&actors[i], address))
            return 1;
    }
    for (unsigned i = 0; i < 2; i++)
        if (pthread_create(&threads[i], NULL, act, &actors[i]) != 0)
            return 1;
    for (unsigned i = 0; i < 2; i++)
        if (pthread_join(threads[i], NULL) != 0)
            return 1;
    for (unsigned i = 0; i < 2; i++) {
        struct actor *a = &actors[i];

        printf("node %u sent %llu got %llu sleeps %llu wakeups sent %llu %s\n", i,
               (unsigned long long)a->sent, (unsigned long long)a->got, (unsigned long long)a->sleeps,
               (unsigned long long)xp_counters(a->xp)->wakeups_sent, a->failure != NULL ? a->failure : "ok");
        failed += a->failure != NULL || a->got != MESSAGES || a->sleeps == 0;
        xp_close(&a->xp);
    }
    return failed + (rmdir(directory) != 0);
}
