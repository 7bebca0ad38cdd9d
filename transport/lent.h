/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRANSPORT_LENT_H
#define TRANSPORT_LENT_H

/*
 * Frames that the layer above has lent for blocks to land in (T-4), a stack for each class: the one lent last is the next to be
 * filled. Its lines are elsewhere when it has not been used for long, and a copy into lines that are elsewhere takes twice as
 * long: polls that find nothing fetch them, a few each (bench/model.md, "The frame a block lands in").
 *
 * One thread: whoever owns the transport.
 */
#include "base/compiler.h"
#include "transport/space.h"

#define XP_LENT_NONE UINT32_MAX

struct xp_lent_class {
    uint32_t *frames;
    uint32_t count;
    uint32_t warm_bytes; /* of the last of them: they have been asked for */
};

struct xp_lent {
    struct xp_lent_class classes[CF_BLOCK_SIZES];
    uint32_t max; /* frames of a class at once */
    bool is_cold; /* the last of some class is not warm altogether */
};

/* Memory for `max` frames of each class, in whole lines. */
uint64_t xp_lent_bytes(uint32_t max);
void xp_lent_init(struct xp_lent *lent, void *memory, uint32_t max);

void xp_lent_push(struct xp_lent *lent, uint32_t class_index, uint32_t frame);
/* The next one to be filled, still lent; XP_LENT_NONE: none is. */
uint32_t xp_lent_next(const struct xp_lent *lent, uint32_t class_index);
/* The same, lent no more. */
uint32_t xp_lent_take(struct xp_lent *lent, uint32_t class_index);

/* Asks for some lines of the next frame of each class. */
void xp_lent_warm(struct xp_lent *lent, const struct xp_frame_space *space);

#endif
