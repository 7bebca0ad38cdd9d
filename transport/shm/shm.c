/* SPDX-License-Identifier: Apache-2.0 */
/* Opening and closing an instance of the shm provider; what it is made of stands in shm.h. */
#include "transport/shm/shm.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/log.h"
#include "transport/shm/sock.h"

static CF_COLD CF_PRINTF(4, 5) enum cf_rc
    fail(struct cf_error *error, enum cf_rc rc, int errno_now, const char *fmt, ...)
{
    va_list args;

    if (error == NULL)
        return rc;
    *error = (struct cf_error){.rc = rc, .system = errno_now, .node = CF_NODE_NONE};
    va_start(args, fmt);
    vsnprintf(error->text, sizeof(error->text), fmt, args);
    va_end(args);
    return rc;
}

static uint64_t line_up(uint64_t bytes)
{
    return (bytes + CF_CACHE_LINE - 1) & ~(uint64_t)(CF_CACHE_LINE - 1);
}

/* One allocation: the instance, its peers, its inbox and the lists of lent frames. */
static struct xp_shm *shm_alloc(const struct xp_options *options)
{
    const struct cf_allocator *allocator = options->allocator != NULL ? options->allocator
                                                                      : cf_allocator_default();
    uint64_t peers_at = line_up(sizeof(struct xp_shm));
    uint64_t inbox_at = line_up(peers_at + options->nodes * sizeof(struct xp_shm_peer));
    uint64_t lent_at = inbox_at + XP_EVENTS_MAX * sizeof(struct xp_shm_slot);
    uint64_t bytes = lent_at + xp_lent_bytes(options->lane_slots);
    uint8_t *block = cf_alloc(allocator, bytes, XP_SHM_PAGE_BYTES, CF_ALLOC_ZERO);
    struct xp_shm *shm = (struct xp_shm *)block;

    if (block == NULL)
        return NULL;
    shm->block = block;
    shm->block_bytes = bytes;
    shm->allocator = allocator;
    shm->peers = (struct xp_shm_peer *)(block + peers_at);
    shm->inbox = (struct xp_shm_slot *)(block + inbox_at);
    xp_lent_init(&shm->lent, block + lent_at, options->lane_slots);
    return shm;
}

static void shm_init(struct xp_shm *shm, const struct xp_options *options)
{
    shm->base.ops = &xp_shm_ops;
    shm->base.caps = XP_CAP_READ | XP_CAP_PULL | XP_CAP_SLEEP;
    shm->nodes = options->nodes;
    shm->node = options->node;
    shm->is_busy = options->busy;
    shm->epoch = options->epoch;
    shm->peer_timeout_ns = options->peer_timeout_ns;
    shm->lane_slots = options->lane_slots;
    shm->log = options->log;
    shm->frames_memory = XP_SHM_MEMORIES_MAX;
    shm->listen_fd = shm->epoll_fd = shm->event_fd = shm->timer_fd = shm->place.lock_fd = -1;
    snprintf(shm->cluster, sizeof(shm->cluster), "%s", options->cluster);
    xp_shm_region_clear(&shm->control);
    for (uint32_t i = 0; i < XP_SHM_GUESTS_MAX; i++)
        shm->guests[i].fd = -1;
    for (uint32_t i = 0; i < shm->nodes; i++) {
        struct xp_shm_peer *peer = &shm->peers[i];
        peer->node = (uint16_t)i;
        peer->fd = -1;
        peer->state = i == shm->node ? XP_SHM_SELF : XP_SHM_ABSENT;
        xp_shm_region_clear(&peer->control);
        xp_shm_region_clear(&peer->memory);
    }
    shm->facts = (struct xp_shm_facts){.node = options->node,
                                       .nodes = (uint16_t)options->nodes,
                                       .incarnation = options->incarnation,
                                       .lane_slots = options->lane_slots,
                                       .slot_bytes = XP_SHM_SLOT_BYTES,
                                       .is_busy = options->busy};
    memcpy(shm->facts.hello, options->hello, XP_HELLO_BYTES);
    xp_shm_key_derive(options->cluster, options->secret, shm->key, &shm->facts.tag);
}

static bool watches_open(struct xp_shm *shm)
{
    shm->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    shm->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    shm->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    return shm->epoll_fd >= 0 && shm->event_fd >= 0 && shm->timer_fd >= 0 &&
           xp_shm_sock_watch(shm->epoll_fd, shm->event_fd, XP_SHM_WATCH_EVENT) &&
           xp_shm_sock_watch(shm->epoll_fd, shm->timer_fd, XP_SHM_WATCH_TIMER);
}

static void close_fd(int fd)
{
    if (fd >= 0)
        close(fd);
}

static void shm_close(struct xp *xp)
{
    struct xp_shm *shm = xp_shm_of(xp);

    xp_shm_conn_close(shm);
    xp_shm_place_leave(&shm->place);
    for (uint32_t i = 0; i < shm->memories_count; i++)
        xp_shm_region_close(&shm->memories[i]);
    xp_shm_region_close(&shm->control);
    close_fd(shm->timer_fd);
    close_fd(shm->event_fd);
    close_fd(shm->epoll_fd);
    cf_free(shm->allocator, shm->block, shm->block_bytes);
}

static enum cf_rc control_create(struct xp_shm *shm, struct cf_error *error)
{
    uint64_t bytes = xp_shm_control_bytes(shm->nodes, shm->lane_slots);
    int errno_now = 0;
    enum cf_rc rc = xp_shm_region_create(&shm->control, "cachefusion-lanes", bytes, false, &errno_now);

    if (rc != CF_OK)
        return fail(error, rc, errno_now, "cannot make %" PRIu64 " bytes of shared memory for lanes: %s",
                    bytes, strerror(errno_now));
    shm->front = shm->control.base;
    shm->facts.control_bytes = bytes;
    return CF_OK;
}

static enum cf_rc shm_open_instance(const struct xp_options *options, const char *rest, struct xp **xp_out,
                                    struct cf_error *error)
{
    char why[200] = "";
    struct xp_shm *shm;
    enum cf_rc rc;

    if (options->nodes > XP_SHM_NODES_MAX)
        return fail(error, CF_OPTION, 0, "shm: connects at most %u instances, not %u", XP_SHM_NODES_MAX,
                    options->nodes);
    if (!cf_hash_init())
        return fail(error, CF_SYSTEM, 0, "no source of randomness");
    shm = shm_alloc(options);
    if (shm == NULL)
        return fail(error, CF_MEMORY, ENOMEM, "no memory for the transport");
    shm_init(shm, options);
    rc = xp_shm_place_enter(&shm->place, rest, shm->cluster, shm->node, why, sizeof(why));
    if (rc != CF_OK) {
        fail(error, rc, 0, "%s", why);
        goto undo_shm;
    }
    if (!watches_open(shm)) {
        rc = fail(error, CF_SYSTEM, errno, "cannot make descriptors to wait on: %s", strerror(errno));
        goto undo_shm;
    }
    rc = control_create(shm, error);
    if (rc != CF_OK)
        goto undo_shm;
    *xp_out = &shm->base;
    return CF_OK;

undo_shm:
    shm_close(&shm->base);
    return rc;
}

static enum cf_rc shm_memory(struct xp *xp, uint64_t bytes, unsigned alloc_flags, void **memory_out,
                             struct cf_error *error)
{
    struct xp_shm *shm = xp_shm_of(xp);
    struct xp_shm_region *region;
    int errno_now = 0;
    enum cf_rc rc;

    cf_assert(shm->listen_fd < 0);
    if (bytes == 0 || shm->memories_count == XP_SHM_MEMORIES_MAX)
        return fail(error, CF_INVALID, 0, "xp_memory: no bytes asked for, or more than %u regions",
                    XP_SHM_MEMORIES_MAX);
    region = &shm->memories[shm->memories_count];
    rc = xp_shm_region_create(region, "cachefusion-frames", bytes, (alloc_flags & CF_ALLOC_HUGE) != 0,
                              &errno_now);
    if (rc != CF_OK)
        return fail(error, rc, errno_now, "cannot make %" PRIu64 " bytes of shared memory: %s", bytes,
                    strerror(errno_now));
    if ((alloc_flags & CF_ALLOC_HUGE) != 0 && !region->is_huge)
        cf_log_info(shm->log, "transport", "hugepages missing, plain memory taken bytes %" PRIu64, bytes);
    shm->memories_count++;
    *memory_out = region->base;
    return CF_OK;
}

/* Where the frames are, in terms a peer can use. */
static enum cf_rc space_publish(struct xp_shm *shm, const struct xp_frame_space *space,
                                struct cf_error *error)
{
    uintptr_t base = (uintptr_t)space->base, words = (uintptr_t)space->words;

    for (uint32_t i = 0; i < shm->memories_count; i++) {
        const struct xp_shm_region *region = &shm->memories[i];
        uintptr_t begin = (uintptr_t)region->base, end = begin + region->bytes;

        if (base < begin || base > end || space->bytes > end - base)
            continue;
        if (words < begin || words > end || (uint64_t)space->count * sizeof(uint64_t) > end - words)
            break;
        shm->frames_memory = i;
        shm->facts.frames_bytes = region->bytes;
        shm->facts.base_offset = base - begin;
        shm->facts.words_offset = words - begin;
        shm->facts.words_stable_mask = space->words_stable_mask;
        shm->facts.frame_count = space->count;
        for (uint32_t c = 0; c < CF_BLOCK_SIZES; c++) {
            const struct xp_frame_class *frames = &space->classes[c];
            cf_assert(frames->bytes == 0 || frames->bytes == CF_BLOCK_BYTES_MIN << c);
            shm->facts.classes[c] = (struct xp_shm_wire_class){.first = frames->first,
                                                               .count = frames->count,
                                                               .bytes = frames->bytes,
                                                               .offset = frames->offset};
        }
        return CF_OK;
    }
    return fail(error, CF_INVALID, 0, "frames and their words are not in one region of xp_memory");
}

static enum cf_rc shm_start(struct xp *xp, const struct xp_frame_space *space, struct cf_error *error)
{
    struct xp_shm *shm = xp_shm_of(xp);
    int errno_now = 0;
    enum cf_rc rc;

    cf_assert(shm->listen_fd < 0);
    if (space != NULL && space->count != 0) {
        rc = space_publish(shm, space, error);
        if (rc != CF_OK)
            return rc;
        shm->space = *space;
    }
    rc = xp_shm_conn_listen(shm, &errno_now);
    if (rc != CF_OK)
        return fail(error, rc, errno_now, "cannot listen in %s: %s", shm->place.directory,
                    strerror(errno_now));
    shm->is_control_due = true;
    return CF_OK;
}

static void shm_frame_post(struct xp *xp, uint32_t class_index, uint32_t frame)
{
    struct xp_shm *shm = xp_shm_of(xp);

    cf_assert_id(xp_space_class_of(&shm->space, frame) == class_index, "T-4");
    xp_lent_push(&shm->lent, class_index, frame);
}

static bool shm_is_up(const struct xp *xp, uint16_t node)
{
    const struct xp_shm *shm = (const struct xp_shm *)xp;

    return node < shm->nodes && shm->peers[node].state == XP_SHM_UP;
}

static enum cf_rc no_cas(struct xp *xp, uint16_t node, uint64_t offset, uint64_t expected, uint64_t desired,
                         uint64_t token)
{
    (void)xp, (void)node, (void)offset, (void)expected, (void)desired, (void)token;
    return CF_UNSUPPORTED;
}

static enum cf_rc no_add(struct xp *xp, uint16_t node, uint64_t offset, uint64_t value, uint64_t token)
{
    (void)xp, (void)node, (void)offset, (void)value, (void)token;
    return CF_UNSUPPORTED;
}

void xp_shm_break(struct xp *xp, uint16_t node)
{
    struct xp_shm *shm = xp_shm_of(xp);

    if (shm->peers[node].fd >= 0)
        shutdown(shm->peers[node].fd, SHUT_RDWR);
}

const struct xp_ops xp_shm_ops = {.name = "shm",
                                  .open = shm_open_instance,
                                  .close = shm_close,
                                  .memory = shm_memory,
                                  .start = shm_start,
                                  .accept = xp_shm_shake_accept,
                                  .evict = xp_shm_conn_evict,
                                  .epoch = xp_shm_conn_epoch,
                                  .is_up = shm_is_up,
                                  .begin = xp_shm_begin,
                                  .post = xp_shm_post,
                                  .post_block = xp_shm_post_block,
                                  .flush = xp_shm_flush,
                                  .frame_post = shm_frame_post,
                                  .poll = xp_shm_poll,
                                  .fd = xp_shm_fd,
                                  .arm = xp_shm_arm,
                                  .disarm = xp_shm_disarm,
                                  .wake = xp_shm_wake,
                                  .read = xp_shm_read,
                                  .cas = no_cas,
                                  .add = no_add};
