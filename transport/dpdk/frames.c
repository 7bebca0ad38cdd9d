/* SPDX-License-Identifier: Apache-2.0 */
/* Frames that the layer above has lent for blocks; the links take them, and give back what no message names. */
#include "base/assert.h"
#include "transport/dpdk/dpdk.h"

static uint32_t frame_take(void *arg, uint8_t class_index)
{
    _Static_assert(XP_LENT_NONE == XP_LINK_FRAME_NONE, "no frame");
    return xp_lent_take(&((struct xp_dpdk *)arg)->lent, class_index);
}

static uint8_t *frame_bytes(void *arg, uint8_t class_index, uint32_t frame)
{
    return xp_space_bytes(&((struct xp_dpdk *)arg)->space, class_index, frame);
}

static void frame_give(void *arg, uint8_t class_index, uint32_t frame)
{
    xp_lent_push(&((struct xp_dpdk *)arg)->lent, class_index, frame);
}

void xp_dpdk_frames_init(struct xp_dpdk *dpdk)
{
    dpdk->frames = (struct xp_link_frames){
        .take = frame_take, .bytes = frame_bytes, .give = frame_give, .arg = dpdk};
}

void xp_dpdk_frame_post(struct xp *xp, uint32_t class_index, uint32_t frame)
{
    xp_lent_push(&xp_dpdk_of(xp)->lent, class_index, frame);
}
