/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blocks pulled out of frames that their holder changes at once: what arrives as a block is whole and is the version
 * the message names; the rest is reported as torn. Holder and puller are two threads with an instance each.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "base/rng.h"
#include "transport/xp.h"

#define BLOCKS (CF_TSAN ? 10000u : 100000u)
#define BLOCK_CLASS 2u
#define BLOCK_WORDS (8192u / sizeof(uint64_t))
#define FRAMES 8u
#define TIME_NS_MAX (60 * CF_NS_PER_S)

struct actor {
    struct xp *xp;
    struct xp_frame_space space;
    uint16_t node;
    uint64_t whole, torn, mixed, posted;
    uint64_t end_ns;
};

static uint32_t poll_one(struct actor *a, struct xp_event *event)
{
    uint32_t count = xp_poll(a->xp, cf_now_ns(), event, 1);

    if (count == 1 && event->type == XP_EV_HELLO)
        xp_accept(a->xp, event->node, CF_OK, NULL);
    return count;
}

static _Atomic uint64_t *frame_words(const struct actor *a, uint32_t frame)
{
    const struct xp_frame_class *frames = &a->space.classes[BLOCK_CLASS];

    return (_Atomic uint64_t *)(a->space.base + frames->offset + (uint64_t)frame * frames->bytes);
}

/* The holder's half of the bargain: word first, fence, then bytes. */
static void change(struct actor *a, uint32_t frame, uint64_t version)
{
    _Atomic uint64_t *words = frame_words(a, frame);

    cf_poke_u64(&a->space.words[frame], version);
    cf_fence_full();
    for (uint32_t i = 0; i < BLOCK_WORDS; i++)
        cf_poke_u64(&words[i], version);
}

static void *hold(void *arg)
{
    struct actor *a = arg;
    struct xp_event event;
    struct cf_rng rng;

    cf_rng_seed(&rng, 3);
    while (a->posted < BLOCKS && cf_now_ns() < a->end_ns) {
        uint32_t frame = (uint32_t)cf_rng_below(&rng, FRAMES);
        uint64_t *body = xp_begin(a->xp, 1, XP_DATA, 8);

        (void)poll_one(a, &event);
        if (body == NULL)
            continue;
        body[0] = ++a->posted;
        change(a, frame, a->posted);
        xp_post_block(a->xp, 1, XP_DATA, 1, a->posted, frame);
        xp_flush(a->xp);
        for (uint64_t wait = cf_rng_below(&rng, 200); wait > 0; wait--)
            cf_pause();
        change(a, frame, a->posted | UINT64_C(1) << 63);
    }
    return NULL;
}

static void *pull(void *arg)
{
    struct actor *a = arg;

    for (uint32_t f = 0; f < FRAMES; f++)
        xp_frame_post(a->xp, BLOCK_CLASS, f);
    while (a->whole + a->torn + a->mixed < BLOCKS && cf_now_ns() < a->end_ns) {
        struct xp_event event;

        if (poll_one(a, &event) == 0)
            continue;
        if (event.type == XP_EV_TORN)
            a->torn++;
        if (event.type == XP_EV_BLOCK) {
            const uint64_t *bytes = (const uint64_t *)frame_words(a, event.frame);
            uint64_t version = *(const uint64_t *)event.message;
            bool is_whole = true;

            for (uint32_t i = 0; i < BLOCK_WORDS; i++)
                is_whole &= bytes[i] == version;
            a->whole += is_whole;
            a->mixed += !is_whole;
            xp_frame_post(a->xp, BLOCK_CLASS, event.frame);
        }
    }
    return NULL;
}

static bool actor_open(struct actor *a, const char *address)
{
    struct xp_options options = {.address = address,
                                 .node = a->node,
                                 .incarnation = 1,
                                 .nodes = 2,
                                 .cluster = "torn",
                                 .secret = "stress",
                                 .epoch = 1,
                                 .busy = true,
                                 .lane_slots = 16};
    struct cf_error error;
    void *memory;

    if (xp_open(&options, &a->xp, &error) != CF_OK ||
        xp_memory(a->xp, 4096 + FRAMES * 8192, 0, &memory, &error) != CF_OK)
        return false;
    a->space = (struct xp_frame_space){.base = memory,
                                       .bytes = 4096 + FRAMES * 8192,
                                       .words = memory,
                                       .words_stable_mask = UINT64_MAX,
                                       .count = FRAMES};
    a->space.classes[BLOCK_CLASS] = (struct xp_frame_class){
        .first = 0, .count = FRAMES, .bytes = 8192, .offset = 4096};
    a->end_ns = cf_now_ns() + TIME_NS_MAX;
    return xp_start(a->xp, &a->space, &error) == CF_OK;
}

int main(void)
{
    static struct actor actors[2];
    char directory[] = "/dev/shm/xp-torn-stress-XXXXXX", address[64];
    pthread_t threads[2];

    if (mkdtemp(directory) == NULL)
        return 1;
    snprintf(address, sizeof(address), "shm:%s", directory);
    actors[1].node = 1;
    if (!actor_open(&actors[0], address) || !actor_open(&actors[1], address))
        return 1;
    while (!xp_is_up(actors[0].xp, 1) || !xp_is_up(actors[1].xp, 0)) {
        struct xp_event event;
        (void)poll_one(&actors[0], &event);
        (void)poll_one(&actors[1], &event);
    }
    if (pthread_create(&threads[0], NULL, hold, &actors[0]) != 0 ||
        pthread_create(&threads[1], NULL, pull, &actors[1]) != 0)
        return 1;
    for (unsigned i = 0; i < 2; i++)
        if (pthread_join(threads[i], NULL) != 0)
            return 1;
    printf("posted %llu whole %llu torn %llu mixed %llu\n", (unsigned long long)actors[0].posted,
           (unsigned long long)actors[1].whole, (unsigned long long)actors[1].torn,
           (unsigned long long)actors[1].mixed);
    xp_close(&actors[0].xp);
    xp_close(&actors[1].xp);
    return (rmdir(directory) != 0) + (actors[1].mixed != 0) + (actors[1].whole == 0) + (actors[1].torn == 0);
}
