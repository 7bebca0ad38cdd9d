/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/xp_side.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

#define LANE_SLOTS 64u
#define LENT_MAX LANE_SLOTS /* as many blocks can be under way */
#define WORDS_BYTES 4096u
#define TYPE 1u

void xp_side_pin(int cpu)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    if (sched_setaffinity(0, sizeof(set), &set) != 0) {
        perror("xp_side: sched_setaffinity");
        exit(1);
    }
}

static void stop(const char *what, const char *why)
{
    fprintf(stderr, "xp_side: %s: %s\n", what, why);
    exit(1);
}

void xp_side_lend(struct xp_side *side, uint32_t class_index)
{
    xp_frame_post(side->xp, class_index,
                  side->space.classes[class_index].first + side->half + side->posts[class_index]);
    side->posts[class_index] = (side->posts[class_index] + 1) % side->half;
}

/* Both sides find no device; one of them says so. */
static void leave(uint16_t node, const struct cf_error *error)
{
    if (node == 0)
        printf("not run: %s\n", error->text);
    fflush(stdout);
    exit(0);
}

static void frames_open(struct xp_side *side, uint32_t frames)
{
    struct cf_error error = {.rc = 0};
    uint64_t offset = WORDS_BYTES;
    void *memory;

    side->space.words_stable_mask = UINT64_MAX;
    side->half = frames / 2;
    for (uint32_t i = 0; i < CF_BLOCK_SIZES; i++) {
        uint32_t bytes = CF_BLOCK_BYTES_MIN << i;

        side->space.classes[i] = (struct xp_frame_class){side->space.count, frames, bytes, offset};
        side->space.count += frames;
        offset += (uint64_t)frames * bytes;
    }
    if (xp_memory(side->xp, offset, CF_ALLOC_HUGE, &memory, &error) != CF_OK)
        stop("memory", error.text);
    side->space.base = memory;
    side->space.bytes = offset;
    side->space.words = memory;
}

static void await_peer(struct xp_side *side)
{
    while (!xp_is_up(side->xp, (uint16_t)(1 - side->node))) {
        struct xp_event event; /* one at a time: a message right behind XP_EV_UP is for the measurement */

        if (xp_poll(side->xp, cf_now_ns(), &event, 1) == 0)
            continue;
        if (event.type == XP_EV_HELLO)
            xp_accept(side->xp, event.node, CF_OK, NULL);
        if (event.type == XP_EV_DOWN)
            stop("open", "the other side is gone");
    }
}

/* `cachefusion bench` gives each of its runs a folder: two of them side by side are two clusters. */
static const char *cluster_name(void)
{
    const char *work = getenv("CF_BENCH_WORK"), *name = work != NULL ? strrchr(work, '/') : NULL;

    return name != NULL && name[1] != '\0' ? name + 1 : "xp_bench";
}

void xp_side_open(struct xp_side *side, const struct xp_side_options *options)
{
    struct xp_options xp_options = {.address = options->address,
                                    .node = options->node,
                                    .incarnation = 1,
                                    .nodes = 2,
                                    .cluster = cluster_name(),
                                    .secret = "bench",
                                    .epoch = 1,
                                    .lane_slots = LANE_SLOTS,
                                    .peer_timeout_ns = CF_NS_PER_S,
                                    .busy = true};
    struct cf_error error = {.rc = 0};
    enum cf_rc rc;

    memset(side, 0, sizeof(*side));
    side->node = options->node;
    side->is_touched = options->is_touched;
    rc = xp_open(&xp_options, &side->xp, &error);
    if (rc == CF_NOT_FOUND)
        leave(options->node, &error);
    if (rc != CF_OK)
        stop("open", error.text);
    frames_open(side, options->frames);
    if (xp_start(side->xp, &side->space, &error) != CF_OK)
        stop("start", error.text);
    for (uint32_t i = 0; i < CF_BLOCK_SIZES; i++)
        for (uint32_t f = 0; f < LENT_MAX && f < side->half; f++)
            xp_side_lend(side, i);
    await_peer(side);
}

bool xp_side_send(struct xp_side *side, uint32_t body_bytes, uint32_t class_index, uint64_t number)
{
    uint16_t to = (uint16_t)(1 - side->node);
    uint64_t *body = xp_begin(side->xp, to, XP_DATA, body_bytes);

    if (body == NULL)
        return false;
    body[0] = number;
    if (class_index == CF_BLOCK_SIZES) {
        xp_post(side->xp, to, XP_DATA, TYPE, number);
    } else {
        const struct xp_frame_class *frames = &side->space.classes[class_index];
        uint32_t frame = side->sends[class_index];

        if (side->is_touched)
            memset(side->space.base + frames->offset + (uint64_t)frame * frames->bytes, (int)number, 64);
        xp_post_block(side->xp, to, XP_DATA, TYPE, number, frames->first + frame);
        side->sends[class_index] = (frame + 1) % side->half;
    }
    return true;
}
