/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Registered memory, once at start: the frames (peers may read them), the counters (peers may change them by atomic
 * operations), and a slab that no peer sees: receive slots, send slots, bounce buffers of reads.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/resource.h>

#include "base/assert.h"
#include "transport/verbs/parts.h"

#define PAGE_BYTES 4096u
#define POST_MAX 32u

/* Registering takes from RLIMIT_MEMLOCK unless the process may lock without limit: the limit and the need are named. */
static enum cf_rc registration_fail(struct xp_verbs *vb, uint64_t bytes, int errno_now,
                                    struct cf_error *error)
{
    struct rlimit limit = {.rlim_cur = RLIM_INFINITY};
    uint64_t registered = bytes;

    for (uint32_t i = 0; i < vb->memories_count; i++)
        registered += vb->memories[i].bytes;
    registered += vb->slab.bytes + vb->counters.bytes;
    if (getrlimit(RLIMIT_MEMLOCK, &limit) == 0 && limit.rlim_cur < registered)
        return xp_verbs_fail(error, CF_MEMORY, errno_now,
                             "locked memory is limited to %" PRIu64 " KiB and %" PRIu64
                             " KiB are needed: raise it ('ulimit -l', LimitMEMLOCK=) or ask for fewer frames",
                             (uint64_t)limit.rlim_cur / 1024, registered / 1024);
    return xp_verbs_fail(
        error, CF_MEMORY, errno_now,
        "%s does not register %" PRIu64
        " bytes: %s: look at the limits of the container (rdma.max), or ask for fewer frames",
        vb->device.name, bytes, strerror(errno_now));
}

enum cf_rc xp_verbs_memory_make(struct xp_verbs *vb, struct xp_verbs_memory *memory, uint64_t bytes,
                                unsigned alloc_flags, int access, struct cf_error *error)
{
    uint64_t whole = (bytes + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
    void *base = cf_alloc(vb->allocator, whole, PAGE_BYTES, alloc_flags | CF_ALLOC_ZERO);
    struct ibv_mr *mr;

    if (base == NULL)
        return xp_verbs_fail(error, CF_MEMORY, ENOMEM, "no memory for %" PRIu64 " bytes", whole);
    mr = vb->calls->reg_mr(vb->device.pd, base, whole, access);
    if (mr == NULL) {
        int errno_now = errno;

        cf_free(vb->allocator, base, whole);
        return registration_fail(vb, whole, errno_now, error);
    }
    *memory = (struct xp_verbs_memory){.base = base, .bytes = whole, .mr = mr};
    return CF_OK;
}

void xp_verbs_memory_free(struct xp_verbs *vb, struct xp_verbs_memory *memory)
{
    if (memory->mr != NULL && vb->calls->dereg_mr(memory->mr) != 0)
        cf_log_error(vb->log, "transport", "%s keeps a memory region registered errno %d", vb->device.name,
                     errno);
    if (memory->base != NULL)
        cf_free(vb->allocator, memory->base, memory->bytes);
    *memory = (struct xp_verbs_memory){.base = NULL};
}

/* Cuts arrays out of one piece of memory; with base NULL it only adds up. */
struct cutter {
    uint8_t *base;
    uint64_t used;
};

static void *cut(struct cutter *cutter, uint64_t bytes)
{
    void *piece = cutter->base != NULL ? cutter->base + cutter->used : NULL;

    cutter->used += (bytes + CF_CACHE_LINE - 1) / CF_CACHE_LINE * CF_CACHE_LINE;
    return piece;
}

static uint32_t pool_slots(const struct xp_verbs *vb, uint32_t pool)
{
    uint32_t frames;

    if (pool == 0)
        return (vb->nodes - 1) * (XP_LANES * vb->lane_slots + XP_VERBS_RESERVE) + XP_VERBS_RESERVE;
    frames = vb->space.classes[pool - 1].count;
    frames = frames < vb->lane_slots ? frames : vb->lane_slots;
    return frames == 0 ? 0 : frames + XP_EVENTS_MAX;
}

static void tables_cut(struct xp_verbs *vb, struct cutter *cutter)
{
    for (uint32_t i = 0; i < XP_VERBS_POOLS; i++) {
        struct xp_verbs_pool *pool = &vb->pools[i];

        pool->count = pool_slots(vb, i);
        pool->wait = cut(cutter, pool->count * sizeof(uint32_t));
        if (i == 0)
            continue;
        pool->free = cut(cutter, pool->count * sizeof(uint32_t));
        pool->frames = cut(cutter, pool->count * sizeof(uint32_t));
        pool->posted = cut(cutter, pool->count * sizeof(uint64_t));
    }
    for (uint32_t i = 0; i < vb->nodes; i++) {
        struct xp_verbs_peer *peer = &vb->peers[i];

        peer->free = cut(cutter, vb->send_slots * sizeof(uint32_t));
        peer->slot_frames = cut(cutter, vb->send_slots * sizeof(uint32_t));
        for (uint32_t p = 0; p < XP_VERBS_PAIRS; p++)
            peer->pairs[p].slots = p == 0 || pool_slots(vb, p) != 0
                                       ? cut(cutter, vb->depth * sizeof(uint32_t))
                                       : NULL;
        for (uint32_t lane = 0; lane < XP_LANES; lane++)
            peer->rx[lane].ring = cut(cutter, vb->lane_slots * sizeof(uint32_t));
    }
    vb->numbers_max = 256;
    while (vb->numbers_max < vb->nodes * XP_VERBS_PAIRS * 2)
        vb->numbers_max *= 2;
    vb->numbers = cut(cutter, (uint64_t)vb->numbers_max * 2 * sizeof(uint32_t));
    vb->news_max = vb->nodes * 4 + 16;
    vb->news = cut(cutter, vb->news_max * sizeof(*vb->news));
    vb->sending = cut(cutter, (vb->space.count + 1) * sizeof(*vb->sending));
}

static void slab_cut(struct xp_verbs *vb, struct cutter *cutter)
{
    for (uint32_t i = 0; i < XP_VERBS_POOLS; i++)
        vb->pools[i].slots = cut(cutter, (uint64_t)vb->pools[i].count * XP_VERBS_SLOT_BYTES);
    for (uint32_t i = 0; i < vb->nodes; i++)
        vb->peers[i].slots = cut(cutter, (uint64_t)vb->send_slots * XP_VERBS_SLOT_BYTES);
    vb->bounce = cut(cutter, (uint64_t)XP_VERBS_READS_MAX * CF_BLOCK_BYTES_MAX);
}

static enum cf_rc srq_make(struct xp_verbs *vb, uint32_t index, struct cf_error *error)
{
    struct xp_verbs_pool *pool = &vb->pools[index];
    struct ibv_srq_init_attr attr = {.attr = {.max_wr = pool->count, .max_sge = index == 0 ? 1 : 3}};

    if (pool->count > (uint32_t)vb->device.attr.max_srq_wr)
        return xp_verbs_fail(
            error, CF_OPTION, 0,
            "%u receives are needed for %u instances of %u lane_slots and %s offers %d: lower "
            "lane_slots",
            pool->count, vb->nodes, vb->lane_slots, vb->device.name, vb->device.attr.max_srq_wr);
    pool->srq = vb->calls->create_srq(vb->device.pd, &attr);
    if (pool->srq == NULL)
        return xp_verbs_fail(error, CF_SYSTEM, errno, "%s gives no shared receive queue of %u: %s",
                             vb->device.name, pool->count, strerror(errno));
    pool->key = vb->slab.mr->lkey;
    for (uint32_t slot = 0; slot < pool->count; slot++) {
        if (index == 0)
            pool->wait[pool->wait_count++] = slot;
        else
            pool->free[pool->free_count++] = slot;
    }
    return CF_OK;
}

enum cf_rc xp_verbs_pools_open(struct xp_verbs *vb, struct cf_error *error)
{
    struct cutter sizes = {.base = NULL}, pieces = {.base = NULL};
    enum cf_rc rc;

    tables_cut(vb, &sizes);
    vb->tables = cf_alloc(vb->allocator, sizes.used, CF_CACHE_LINE, CF_ALLOC_ZERO);
    if (vb->tables == NULL)
        return xp_verbs_fail(error, CF_MEMORY, ENOMEM, "no memory for the transport: %" PRIu64 " bytes",
                             sizes.used);
    vb->tables_bytes = sizes.used;
    pieces.base = vb->tables;
    tables_cut(vb, &pieces);
    sizes.used = pieces.used = 0;
    slab_cut(vb, &sizes);
    rc = xp_verbs_memory_make(vb, &vb->slab, sizes.used, CF_ALLOC_HUGE, IBV_ACCESS_LOCAL_WRITE, error);
    if (rc != CF_OK)
        return rc;
    pieces.base = vb->slab.base;
    slab_cut(vb, &pieces);
    for (uint32_t i = 0; i < vb->nodes; i++) {
        struct xp_verbs_peer *peer = &vb->peers[i];

        for (uint32_t slot = 0; slot < vb->send_slots; slot++) {
            peer->free[peer->free_count++] = slot;
            peer->slot_frames[slot] = XP_VERBS_NONE;
        }
    }
    for (uint32_t i = 0; i < XP_VERBS_POOLS && rc == CF_OK; i++)
        if (vb->pools[i].count != 0)
            rc = srq_make(vb, i, error);
    return rc;
}

void xp_verbs_pools_close(struct xp_verbs *vb)
{
    for (uint32_t i = 0; i < XP_VERBS_POOLS; i++) {
        if (vb->pools[i].srq != NULL && vb->calls->destroy_srq(vb->pools[i].srq) != 0)
            cf_log_error(vb->log, "transport", "%s keeps a shared receive queue errno %d", vb->device.name,
                         errno);
        vb->pools[i].srq = NULL;
    }
    xp_verbs_memory_free(vb, &vb->slab);
    cf_free(vb->allocator, vb->tables, vb->tables_bytes);
    vb->tables = NULL;
}

void xp_verbs_pool_again(struct xp_verbs_pool *pool, uint32_t slot)
{
    cf_assert_id(pool->wait_count < pool->count, "T-4");
    pool->wait[pool->wait_count++] = slot;
}

static uint8_t *frame_bytes(const struct xp_verbs *vb, uint32_t size, uint32_t frame)
{
    const struct xp_frame_class *frames = &vb->space.classes[size];

    return vb->space.base + frames->offset + (uint64_t)(frame - frames->first) * frames->bytes;
}

/* A slot alone, or in three pieces with the frame in the middle (wire.h). */
static void receive_build(struct xp_verbs *vb, uint32_t index, uint32_t slot, struct ibv_recv_wr *wr,
                          struct ibv_sge *pieces)
{
    struct xp_verbs_pool *pool = &vb->pools[index];
    uint64_t at = (uint64_t)(uintptr_t)xp_verbs_pool_slot(pool, slot);

    pieces[0] = (struct ibv_sge){.addr = at, .length = XP_VERBS_MESSAGE_BYTES, .lkey = pool->key};
    if (index != 0) {
        pieces[0].length = XP_VERBS_FIRST_BYTES;
        pieces[1] = (struct ibv_sge){
            .addr = (uint64_t)(uintptr_t)frame_bytes(vb, index - 1, pool->frames[slot]),
            .length = vb->space.classes[index - 1].bytes,
            .lkey = vb->memories[vb->frames_memory].mr->lkey};
        pieces[2] = (struct ibv_sge){.addr = at + XP_VERBS_FIRST_BYTES,
                                     .length = XP_VERBS_MESSAGE_BYTES - XP_VERBS_FIRST_BYTES,
                                     .lkey = pool->key};
    }
    *wr = (struct ibv_recv_wr){
        .wr_id = xp_verbs_receive_id(index, slot), .sg_list = pieces, .num_sge = index == 0 ? 1 : 3};
}

/* True: all of a chain was taken. */
static bool chain_post(struct xp_verbs *vb, uint32_t index)
{
    struct xp_verbs_pool *pool = &vb->pools[index];
    uint32_t count = pool->wait_count < POST_MAX ? pool->wait_count : POST_MAX, taken = 0;
    struct ibv_recv_wr wrs[POST_MAX], *bad = NULL;
    struct ibv_sge pieces[POST_MAX][3];
    int failed;

    for (uint32_t i = 0; i < count; i++) {
        receive_build(vb, index, pool->wait[pool->wait_count - count + i], &wrs[i], pieces[i]);
        wrs[i].next = i + 1 < count ? &wrs[i + 1] : NULL;
    }
    failed = vb->calls->post_srq_recv(pool->srq, wrs, &bad);
    while (taken < count && (failed == 0 || &wrs[taken] != bad)) {
        if (pool->posted != NULL)
            pool->posted[pool->wait[pool->wait_count - count + taken]] = ++pool->posts;
        taken++;
    }
    memmove(&pool->wait[pool->wait_count - count], &pool->wait[pool->wait_count - count + taken],
            (count - taken) * sizeof(pool->wait[0]));
    pool->wait_count -= taken;
    if (failed != 0) {
        vb->base.counters.device_errors++;
        cf_log_error(vb->log, "transport", "%s refuses a receive errno %d", vb->device.name, failed);
    }
    return failed == 0;
}

/* What the device refuses now is offered again by the next call. */
void xp_verbs_pools_post(struct xp_verbs *vb)
{
    for (uint32_t i = 0; i < XP_VERBS_POOLS; i++)
        while (vb->pools[i].wait_count != 0 && chain_post(vb, i))
            ;
}

/*
 * A queue pair that fails in the middle of a block has taken a receive from the shared queue that no completion
 * names. Such a receive is found by its age: receives are used in the order they were posted, and one that was
 * passed by two queues full of others before the last call is held by no living queue pair, since calls are further
 * apart than a sender may stall (life.c).
 */
void xp_verbs_pools_recount(struct xp_verbs *vb)
{
    for (uint32_t i = 1; i < XP_VERBS_POOLS; i++) {
        struct xp_verbs_pool *pool = &vb->pools[i];

        for (uint32_t slot = 0; slot < pool->count; slot++) {
            if (pool->posted[slot] == 0 || pool->posted[slot] + 2 * (uint64_t)pool->count > pool->seen_before)
                continue;
            pool->posted[slot] = 0;
            vb->lost_frames++;
            xp_verbs_pool_again(pool, slot);
        }
        pool->seen_before = pool->seen;
    }
}
