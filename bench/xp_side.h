/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BENCH_XP_SIDE_H
#define BENCH_XP_SIDE_H

/*
 * One of two processes that measure a transport. Frames of each size, half of them sent round robin, half lent for what
 * comes in. Trouble is told and ends the process: there is nothing to measure then.
 */
#include <stdbool.h>
#include <stdint.h>

#include "transport/xp.h"

#define XP_SIDE_FRAMES_MAX 4096u

struct xp_side_options {
    const char *address;
    uint16_t node;   /* 0 or 1 */
    uint32_t frames; /* of a class: even */
    bool is_touched; /* the sender changes a block's first line before it sends it */
};

struct xp_side {
    struct xp *xp;
    struct xp_frame_space space;
    uint32_t sends[CF_BLOCK_SIZES]; /* next frame to send, round robin over the first half of a class */
    uint32_t posts[CF_BLOCK_SIZES]; /* next frame to lend, round robin over the other half */
    uint32_t half;                  /* frames of a class, halved */
    uint16_t node;
    bool is_touched;
};

void xp_side_pin(int cpu);
/* Returns when the lane to the other side is up. "not run: WHY" and status 0: there is nothing this transport runs on. */
void xp_side_open(struct xp_side *side, const struct xp_side_options *options);
/* Lends the next frame of the rotation: by the time it comes round again its lines have left the caches, or not. */
void xp_side_lend(struct xp_side *side, uint32_t class_index);
/*
 * Sends `body_bytes` and, unless class_index is CF_BLOCK_SIZES, the next block of that class. False: no credit, nothing
 * was sent. xp_flush is left to the caller.
 */
bool xp_side_send(struct xp_side *side, uint32_t body_bytes, uint32_t class_index, uint64_t number);

#endif
