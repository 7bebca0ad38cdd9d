/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Three instances of one process over dpdk:ring, a thread each. Everybody sends everybody else blocks and messages as credits
 * allow, over a network that loses, doubles and reorders frames, and sleeps when there is nothing to do. Every message comes
 * once, in order and with its bytes; threads share nothing but what DPDK's rings hand over, which ThreadSanitizer checks.
 */
#include <libgen.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "base/rng.h"
#include "transport/module.h"
#include "transport/xp.h"

#define NODES 3u
#define MESSAGES (CF_TSAN ? 3000u : 20000u)
#define BURST_MAX 12u
#define BODY_BYTES 64u
#define LANE_SLOTS 16u
#define BLOCK_CLASS 2u
#define BLOCK_BYTES 8192u
#define SENT_FRAMES 8u
#define LENT_FRAMES 8u
#define FRAMES (SENT_FRAMES + LENT_FRAMES)
#define WORDS_BYTES 4096u
#define IDLE_POLLS 200u
#define SLEEP_MS_MAX 20
#define PATIENCE_NS (60 * CF_NS_PER_S)
#define SKIPPED 77

struct actor {
    struct xp *xp;
    struct actor *actors;
    uint16_t node;
    uint8_t *frames;
    struct xp_frame_space space;
    uint64_t sent[NODES], got[NODES];
    uint64_t blocks, torn, sleeps;
    uint32_t next_frame, idle;
    uint64_t deadline_ns;
    const char *failure;
    _Atomic bool is_done;
};

/* Byte `at` of frame `frame` of a node. */
static uint8_t byte_of(uint16_t node, uint32_t frame, uint32_t at)
{
    return (uint8_t)(node * 77 + frame * 13 + at * 7 + (at >> 8));
}

static void check_block(struct actor *a, const struct xp_event *event)
{
    const uint8_t *bytes = a->frames + (uint64_t)event->frame * BLOCK_BYTES;
    const uint32_t *body = event->message;

    for (uint32_t i = 0; i < BLOCK_BYTES; i++)
        if (bytes[i] != byte_of(event->node, body[0], i)) {
            a->failure = "a block has other bytes";
            return;
        }
}

static void on_event(struct actor *a, const struct xp_event *event)
{
    switch (event->type) {
    case XP_EV_HELLO:
        xp_accept(a->xp, event->node, CF_OK, NULL);
        return;
    case XP_EV_DOWN:
        a->failure = "a connection went down";
        return;
    case XP_EV_RESET:
        a->failure = "a connection was reset";
        return;
    case XP_EV_MESSAGE:
    case XP_EV_BLOCK:
    case XP_EV_TORN:
        break;
    default:
        return;
    }
    if (event->header->scn != ++a->got[event->node] || event->bytes != BODY_BYTES)
        a->failure = "a message is out of order";
    if (event->type == XP_EV_BLOCK) {
        check_block(a, event);
        a->blocks++;
        xp_frame_post(a->xp, BLOCK_CLASS, event->frame);
    }
    a->torn += event->type == XP_EV_TORN; /* no frame was lent at that moment */
}

static uint32_t take(struct actor *a)
{
    struct xp_event events[16];
    uint32_t count = xp_poll(a->xp, cf_now_ns(), events, CF_COUNTOF(events));

    for (uint32_t i = 0; i < count && a->failure == NULL; i++)
        on_event(a, &events[i]);
    return count;
}

static uint32_t give(struct actor *a, uint16_t to, uint64_t burst)
{
    uint32_t count = 0, *body;

    if (!xp_is_up(a->xp, to))
        return 0;
    while (count < burst && a->sent[to] < MESSAGES &&
           (body = xp_begin(a->xp, to, XP_DATA, BODY_BYTES)) != NULL) {
        uint32_t frame = a->next_frame++ % SENT_FRAMES;

        memset(body, 0, BODY_BYTES);
        body[0] = frame;
        if (++a->sent[to] % 3 == 0)
            xp_post_block(a->xp, to, XP_DATA, 1, a->sent[to], frame);
        else
            xp_post(a->xp, to, XP_DATA, 1, a->sent[to]);
        count++;
    }
    xp_flush(a->xp);
    return count;
}

static bool is_complete(const struct actor *a)
{
    for (uint32_t i = 0; i < NODES; i++)
        if (i != a->node && (a->sent[i] != MESSAGES || a->got[i] != MESSAGES))
            return false;
    return true;
}

static bool all_done(struct actor *a)
{
    bool is_done = true;

    for (uint32_t i = 0; i < NODES; i++)
        is_done &= cf_observe_bool(&a->actors[i].is_done);
    return is_done;
}

/* Says that it is done, or has failed, to who may sleep. */
static void finish(struct actor *a)
{
    cf_publish_bool(&a->is_done, true);
    for (uint32_t i = 0; i < NODES; i++)
        if (i != a->node)
            xp_wake(a->actors[i].xp);
}

static void doze(struct actor *a)
{
    struct pollfd one = {.fd = xp_fd(a->xp), .events = POLLIN};

    if (!xp_arm(a->xp))
        return;
    a->sleeps++;
    (void)poll(&one, 1, SLEEP_MS_MAX);
    xp_disarm(a->xp);
}

static void *act(void *arg)
{
    struct actor *a = arg;
    struct cf_rng rng;

    cf_rng_seed(&rng, 100 + a->node);
    a->deadline_ns = cf_now_ns() + PATIENCE_NS;
    while (a->failure == NULL && !all_done(a)) {
        uint32_t did = take(a);

        for (uint16_t to = 0; to < NODES; to++)
            if (to != a->node)
                did += give(a, to, 1 + cf_rng_below(&rng, BURST_MAX));
        if (!cf_observe_bool(&a->is_done) && is_complete(a))
            finish(a);
        a->idle = did != 0 ? 0 : a->idle + 1;
        if (a->idle >= IDLE_POLLS) {
            a->idle = 0;
            doze(a);
        }
        if (cf_now_ns() > a->deadline_ns)
            a->failure = "it takes too long";
    }
    finish(a);
    return NULL;
}

static bool actor_open(struct actor *a, const char *address)
{
    char cluster[32]; /* one a process: the place of a cluster of rings is the host's */
    struct xp_options options = {.address = address,
                                 .node = a->node,
                                 .incarnation = 1,
                                 .nodes = NODES,
                                 .cluster = cluster,
                                 .secret = "stress",
                                 .epoch = 1,
                                 .lane_slots = LANE_SLOTS};
    const uint64_t bytes = WORDS_BYTES + FRAMES * (uint64_t)BLOCK_BYTES;
    struct cf_error error;
    void *memory;

    snprintf(cluster, sizeof(cluster), "ring-stress-%d", (int)getpid());
    if (xp_open(&options, &a->xp, &error) != CF_OK || xp_memory(a->xp, bytes, 0, &memory, &error) != CF_OK) {
        fprintf(stderr, "open: %s\n", error.text);
        return false;
    }
    a->frames = (uint8_t *)memory + WORDS_BYTES;
    a->space = (struct xp_frame_space){
        .base = memory, .bytes = bytes, .words = memory, .words_stable_mask = UINT64_MAX, .count = FRAMES};
    a->space.classes[BLOCK_CLASS] = (struct xp_frame_class){
        .first = 0, .count = FRAMES, .bytes = BLOCK_BYTES, .offset = WORDS_BYTES};
    for (uint32_t f = 0; f < SENT_FRAMES; f++)
        for (uint32_t i = 0; i < BLOCK_BYTES; i++)
            a->frames[(uint64_t)f * BLOCK_BYTES + i] = byte_of(a->node, f, i);
    if (xp_start(a->xp, &a->space, &error) != CF_OK)
        return false;
    for (uint32_t i = 0; i < LENT_FRAMES; i++)
        xp_frame_post(a->xp, BLOCK_CLASS, SENT_FRAMES + i);
    return true;
}

/* The module is two directories above tests/stress. */
static bool has_module(void)
{
    char path[1024], directory[1100], why[300];
    ssize_t bytes = readlink("/proc/self/exe", path, sizeof(path) - 1);

    if (bytes <= 0)
        return false;
    path[bytes] = 0;
    snprintf(directory, sizeof(directory), "%s/../..", dirname(path));
    if (setenv("CACHEFUSION_MODULES", directory, 1) != 0)
        return false;
    if (xp_module_is_present("dpdk", why, sizeof(why)))
        return true;
    printf("skipped: %s\n", why);
    return false;
}

static bool run(const char *address)
{
    static struct actor actors[NODES];
    pthread_t threads[NODES];
    uint32_t failed = 0;

    memset(actors, 0, sizeof(actors));
    for (uint16_t i = 0; i < NODES; i++) {
        actors[i].node = i;
        actors[i].actors = actors;
        if (!actor_open(&actors[i], address))
            return false;
    }
    for (uint32_t i = 0; i < NODES; i++)
        if (pthread_create(&threads[i], NULL, act, &actors[i]) != 0)
            return false;
    for (uint32_t i = 0; i < NODES; i++)
        if (pthread_join(threads[i], NULL) != 0)
            return false;
    for (uint32_t i = 0; i < NODES; i++) {
        struct actor *a = &actors[i];

        printf("%s node %u blocks %llu torn %llu sleeps %llu %s\n", address, i, (unsigned long long)a->blocks,
               (unsigned long long)a->torn, (unsigned long long)a->sleeps,
               a->failure != NULL ? a->failure : "ok");
        failed += a->failure != NULL || !is_complete(a) || a->blocks == 0;
        xp_close(&a->xp);
    }
    return failed == 0;
}

int main(void)
{
    if (!has_module())
        return SKIPPED;
    return run("dpdk:ring") && run("dpdk:ring,loss=0.02,twice=0.05,late=0.05,mtu=1500,seed=7") ? 0 : 1;
}
