/* SPDX-License-Identifier: Apache-2.0 */
/* READ: a copy out of the peer's frames, which are mapped; its completion is told by the next poll that has room. */
#include <string.h>

#include "base/assert.h"
#include "transport/shm/data.h"

/* A word is never seen in half; of more than a word each is as it was at some moment. */
static void copy_out(void *to, const uint8_t *from, uint32_t bytes)
{
    uint64_t word;

    if (bytes != sizeof(word) || ((uintptr_t)from & (sizeof(word) - 1)) != 0) {
        memcpy(to, from, bytes);
        return;
    }
    word = cf_observe_u64((const _Atomic uint64_t *)(const void *)from);
    memcpy(to, &word, sizeof(word));
}

enum cf_rc xp_shm_read(struct xp *xp, uint16_t node, uint64_t offset, void *to, uint32_t bytes,
                       uint64_t token)
{
    struct xp_shm *shm = xp_shm_of(xp);
    struct xp_shm_peer *peer;
    uint64_t whole;

    cf_assert(node < shm->nodes);
    peer = &shm->peers[node];
    if (peer->state != XP_SHM_UP || peer->frames == NULL)
        return CF_PEER_LOST;
    whole = peer->facts.frames_bytes - peer->facts.base_offset;
    if (offset > whole || bytes > whole - offset)
        return CF_RANGE;
    if (shm->reads_count == XP_SHM_READS_MAX)
        return CF_AGAIN;
    copy_out(to, peer->frames + offset, bytes);
    cf_fence_after_copy(); /* a read posted later reads later */
    shm->reads[shm->reads_count++] = (struct xp_shm_read){.token = token, .node = node};
    return CF_OK;
}

void xp_shm_reads_end(struct xp_shm *shm, struct xp_shm_batch *batch)
{
    uint32_t done = 0;

    while (done < shm->reads_count && batch->count < batch->max) {
        struct xp_event *event = xp_shm_emit(batch, XP_EV_DONE, shm->reads[done].node, CF_OK);
        event->token = shm->reads[done++].token;
    }
    shm->reads_count -= done;
    memmove(shm->reads, shm->reads + done, shm->reads_count * sizeof(shm->reads[0]));
}
