/* SPDX-License-Identifier: Apache-2.0 */
/* Frames that the layer above has lent for blocks: the one posted last is the next to be filled. */
#include "base/assert.h"
#include "transport/shm/data.h"

/* Lines fetched by a poll that finds nothing: as many as a core has fetches under way at once. */
#define WARM_LINES 12u

void xp_shm_frame_post(struct xp *xp, uint32_t class_index, uint32_t frame)
{
    struct xp_shm *shm = xp_shm_of(xp);
    struct xp_shm_posted *posted;

    cf_assert(class_index < CF_BLOCK_SIZES);
    cf_assert_id(xp_shm_class_of(&shm->space, frame) == class_index, "T-4");
    posted = &shm->posted[class_index];
    cf_assert_id(posted->count < shm->lane_slots, "T-4");
    posted->frames[posted->count++] = frame;
    posted->warm_bytes = 0;
    shm->is_frame_cold = true;
}

/*
 * The next block lands in the frame posted last. Its lines are elsewhere when it has not been used for long, and a copy into
 * lines that are elsewhere takes twice as long: they are fetched a few at a time, while nothing comes.
 */
void xp_shm_frames_warm(struct xp_shm *shm)
{
    shm->is_frame_cold = false;
    for (uint32_t i = 0; i < CF_BLOCK_SIZES; i++) {
        struct xp_shm_posted *posted = &shm->posted[i];
        const struct xp_frame_class *class_ = &shm->space.classes[i];
        uint32_t at = posted->warm_bytes, end = at + WARM_LINES * CF_CACHE_LINE;
        const uint8_t *bytes;
        uint32_t frame;

        if (posted->count == 0 || at >= class_->bytes)
            continue;
        if (end > class_->bytes)
            end = class_->bytes;
        frame = posted->frames[posted->count - 1];
        bytes = shm->space.base + class_->offset + (uint64_t)(frame - class_->first) * class_->bytes;
        for (; at < end; at += CF_CACHE_LINE)
            cf_prefetch_write(bytes + at);
        posted->warm_bytes = end;
        shm->is_frame_cold |= end < class_->bytes;
    }
}
