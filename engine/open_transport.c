/* SPDX-License-Identifier: Apache-2.0 */
/* Opening: the transport, opened before there are frames, started when all is there that peers may ask for. */
#include <string.h>

#include "base/assert.h"
#include "engine/open.h"
#include "engine/peers.h"
#include "engine/pool.h"
#include "engine/snapshot.h"

enum cf_rc eng_open_transport(struct cf_instance *instance, uint64_t frames, void *network,
                              struct cf_error *error)
{
    const struct cf_options *options = &instance->options;
    struct eng_hello hello = {.magic = ENG_HELLO_MAGIC,
                              .version = ENG_HELLO_VERSION,
                              .nodes = instance->nodes,
                              .buckets = (uint32_t)options->buckets,
                              .outstanding = (uint32_t)options->outstanding,
                              .frames = frames,
                              .past_images = eng_open_past_images_of(options, frames),
                              .incarnation = instance->incarnation,
                              .locks = (uint32_t)options->locks,
                              .shards = (uint16_t)instance->shards};
    struct xp_options xp = {
        .address = options->transport,
        .node = instance->node,
        .incarnation = instance->incarnation,
        .nodes = instance->nodes,
        .cluster = options->cluster,
        .secret = options->secret,
        .epoch = instance->epoch,
        .lane_slots = (uint32_t)options->lane_slots,
        .peer_timeout_ns = options->peer_timeout,
        .busy = options->waiting == 0,
        .allocator = instance->allocator,
        .log = &instance->log,
        .network = network,
        .numa_node = network != NULL ? ENG_NODE_ANY : instance->plan.node,
    };
    enum cf_rc rc = eng_peers_make(options, instance->allocator, &instance->peer_list);

    if (rc != CF_OK) {
        eng_error_set(error, rc, 0, instance->node, "no memory for the addresses of peers");
        return rc;
    }
    xp.peers = instance->peer_list != NULL ? instance->peer_list->address : NULL;
    if (options->locks) {
        uint32_t count[CF_BLOCK_SIZES];

        (void)eng_open_frames_of(options, count);
        hello.records_offset = eng_open_words_bytes_of(frames) + eng_frames_bytes(count);
        hello.records_shard = (uint32_t)(eng_locks_record_bytes(instance) / instance->shards /
                                         sizeof(struct grd_lock_record));
    }
    memcpy(xp.hello, &hello, sizeof hello);
    return xp_open(&xp, &instance->xp, error);
}

/*
 * As many frames stay lent to the transport as there can be ships under way: each conversation asks for one. It takes no more
 * than a lane has slots; a block that finds none is asked for again.
 */
static void lend_frames(struct cf_instance *instance, const uint32_t count[CF_BLOCK_SIZES])
{
    uint64_t outstanding = instance->options.outstanding, slots = instance->options.lane_slots;
    uint32_t c, i, most = (uint32_t)(outstanding < slots ? outstanding : slots);

    for (c = 0; c < CF_BLOCK_SIZES; c++) {
        instance->lent_target[c] = most < count[c] / 4 ? most : count[c] / 4;
        for (i = 0; i < instance->lent_target[c]; i++) {
            uint32_t frame = eng_frame_take_owner(instance->frames, c);

            cf_assert(frame != ENG_FRAME_NONE);
            instance->lent[c]++;
            xp_frame_post(instance->xp, c, frame);
        }
    }
}

/* Peers read words as well as bytes (snapshot.h), and values of locks: the space begins with the words, and ends with these. */
static void space_with_words(struct xp_frame_space *space, uint64_t records_bytes)
{
    uint64_t words_bytes = (uint64_t)(space->base - (uint8_t *)space->words);

    space->base -= words_bytes;
    space->bytes += words_bytes + records_bytes;
    for (uint32_t c = 0; c < CF_BLOCK_SIZES; c++)
        space->classes[c].offset += words_bytes;
}

enum cf_rc eng_open_transport_start(struct cf_instance *instance, const uint32_t count[CF_BLOCK_SIZES],
                                    struct cf_error *error)
{
    struct xp_frame_space *space = &instance->space;
    enum cf_rc rc;

    eng_frames_space(instance->frames, space);
    space_with_words(space, instance->options.locks ? eng_locks_record_bytes(instance) : 0);
    rc = eng_snapshots_open(instance, error);
    if (rc == CF_OK)
        rc = eng_lock_reads_open(instance, error);
    if (rc == CF_OK)
        rc = xp_start(instance->xp, space, error);
    if (rc != CF_OK)
        return rc;
    lend_frames(instance, count);
    if (instance->nodes == 1)
        eng_view_alone(instance);
    return CF_OK;
}
