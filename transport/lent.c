/* SPDX-License-Identifier: Apache-2.0 */
#include "transport/lent.h"

/* Lines asked for by one poll: as many as a core has fetches under way at once. */
#define WARM_LINES 12u

static uint64_t class_bytes(uint32_t max)
{
    return (max * sizeof(uint32_t) + CF_CACHE_LINE - 1) & ~(uint64_t)(CF_CACHE_LINE - 1);
}

uint64_t xp_lent_bytes(uint32_t max)
{
    return CF_BLOCK_SIZES * class_bytes(max);
}

void xp_lent_init(struct xp_lent *lent, void *memory, uint32_t max)
{
    *lent = (struct xp_lent){.max = max};
    for (uint32_t i = 0; i < CF_BLOCK_SIZES; i++)
        lent->classes[i].frames = (uint32_t *)((uint8_t *)memory + i * class_bytes(max));
}

/* Another frame is the next one. */
static void is_other(struct xp_lent *lent, struct xp_lent_class *class_)
{
    class_->warm_bytes = 0;
    lent->is_cold = true;
}

void xp_lent_push(struct xp_lent *lent, uint32_t class_index, uint32_t frame)
{
    struct xp_lent_class *class_ = &lent->classes[class_index];

    cf_assert_id(class_->count < lent->max, "T-4");
    class_->frames[class_->count++] = frame;
    is_other(lent, class_);
}

uint32_t xp_lent_next(const struct xp_lent *lent, uint32_t class_index)
{
    const struct xp_lent_class *class_ = &lent->classes[class_index];

    return class_->count != 0 ? class_->frames[class_->count - 1] : XP_LENT_NONE;
}

uint32_t xp_lent_take(struct xp_lent *lent, uint32_t class_index)
{
    uint32_t frame = xp_lent_next(lent, class_index);

    if (frame == XP_LENT_NONE)
        return XP_LENT_NONE;
    lent->classes[class_index].count--;
    is_other(lent, &lent->classes[class_index]);
    return frame;
}

void xp_lent_warm(struct xp_lent *lent, const struct xp_frame_space *space)
{
    lent->is_cold = false;
    for (uint32_t i = 0; i < CF_BLOCK_SIZES; i++) {
        struct xp_lent_class *class_ = &lent->classes[i];
        uint32_t bytes = space->classes[i].bytes, at = class_->warm_bytes,
                 end = at + WARM_LINES * CF_CACHE_LINE;
        const uint8_t *frame;

        if (class_->count == 0 || at >= bytes)
            continue;
        if (end > bytes)
            end = bytes;
        frame = xp_space_bytes(space, i, class_->frames[class_->count - 1]);
        for (; at < end; at += CF_CACHE_LINE)
            cf_prefetch_write(frame + at);
        class_->warm_bytes = end;
        lent->is_cold |= end < bytes;
    }
}
