/* SPDX-License-Identifier: Apache-2.0 */
/* Frames that the layer above has lent for blocks; the links take them, and give back what no message names. */
#include "base/assert.h"
#include "transport/dpdk/data.h"

static uint32_t frame_take(void *arg, uint8_t class_index)
{
    struct xp_dpdk_posted *posted = &((struct xp_dpdk *)arg)->posted[class_index];

    return posted->count != 0 ? posted->frames[--posted->count] : XP_LINK_FRAME_NONE;
}

static uint8_t *frame_bytes(void *arg, uint8_t class_index, uint32_t frame)
{
    return xp_dpdk_frame_bytes(arg, class_index, frame);
}

static void frame_give(void *arg, uint8_t class_index, uint32_t frame)
{
    xp_dpdk_frame_give(arg, class_index, frame);
}

void xp_dpdk_frame_give(struct xp_dpdk *dpdk, uint8_t class_index, uint32_t frame)
{
    struct xp_dpdk_posted *posted = &dpdk->posted[class_index];

    cf_assert_id(posted->count < dpdk->lane_slots, "T-4");
    posted->frames[posted->count++] = frame;
}

void xp_dpdk_frames_init(struct xp_dpdk *dpdk)
{
    dpdk->frames = (struct xp_link_frames){
        .take = frame_take, .bytes = frame_bytes, .give = frame_give, .arg = dpdk};
}

void xp_dpdk_frame_post(struct xp *xp, uint32_t class_index, uint32_t frame)
{
    xp_dpdk_frame_give(xp_dpdk_of(xp), (uint8_t)class_index, frame);
}
