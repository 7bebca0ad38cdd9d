/* SPDX-License-Identifier: Apache-2.0 */
/* Opening and closing an instance of the verbs provider; what it is made of stands in verbs.h. */
#include "transport/verbs/verbs.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "transport/shm/hello.h"
#include "transport/verbs/parts.h"

#define PEER_TIMEOUT_NS (1 * CF_NS_PER_S)
/*
 * A queue pair gives up after its retries and one times its timeout of 4.096 us x 2^n: within six tenths of the time a peer may
 * be silent, so that what remains is enough to connect again, and of a second at most: a longer time is for cables,
 * which a new connection finds mended, while each packet lost costs a timeout.
 */
#define TIMEOUT_UNIT_NS 4096u
#define TIMEOUT_MIN 8u
#define TIMEOUT_MAX 14u

static uint8_t timeout_of(uint64_t peer_timeout_ns, uint32_t retries)
{
    uint8_t exponent = TIMEOUT_MIN;

    while (exponent < TIMEOUT_MAX &&
           ((uint64_t)TIMEOUT_UNIT_NS * (retries + 1) << (exponent + 1)) <= peer_timeout_ns / 10 * 6)
        exponent++;
    return exponent;
}

static struct xp_verbs *verbs_alloc(const struct xp_options *options)
{
    const struct cf_allocator *allocator = options->allocator != NULL ? options->allocator
                                                                      : cf_allocator_default();
    uint64_t peers_at = (sizeof(struct xp_verbs) + CF_CACHE_LINE - 1) / CF_CACHE_LINE * CF_CACHE_LINE;
    uint64_t bytes = peers_at + options->nodes * sizeof(struct xp_verbs_peer);
    struct xp_verbs *vb = cf_alloc(allocator, bytes, CF_CACHE_LINE, CF_ALLOC_ZERO);

    if (vb == NULL)
        return NULL;
    vb->block_bytes = bytes;
    vb->allocator = allocator;
    vb->peers = (struct xp_verbs_peer *)((uint8_t *)vb + peers_at);
    return vb;
}

static void verbs_init(struct xp_verbs *vb, const struct xp_options *options)
{
    uint32_t slots = XP_LANES * options->lane_slots;

    vb->base.ops = &xp_verbs_ops;
    vb->base.caps = XP_CAP_READ | XP_CAP_SLEEP | XP_CAP_PUSH;
    vb->calls = options->network != NULL ? options->network : &xp_verbs_calls_real;
    vb->nodes = options->nodes;
    vb->node = options->node;
    vb->epoch = options->epoch;
    vb->peer_timeout_ns = options->peer_timeout_ns != 0 ? options->peer_timeout_ns : PEER_TIMEOUT_NS;
    vb->lane_slots = options->lane_slots;
    vb->send_slots = (slots < XP_VERBS_SLOTS_MAX ? slots : XP_VERBS_SLOTS_MAX) + 4 * XP_VERBS_SLOTS_SPARE;
    vb->depth = 64;
    while (vb->depth < vb->send_slots + XP_VERBS_READS_MAX)
        vb->depth *= 2;
    vb->log = options->log;
    vb->frames_memory = XP_VERBS_MEMORIES_MAX;
    vb->epoll_fd = vb->event_fd = vb->timer_fd = -1;
    for (uint32_t i = 0; i < vb->nodes; i++) {
        struct xp_verbs_peer *peer = &vb->peers[i];

        peer->node = (uint16_t)i;
        peer->state = i == vb->node ? XP_VERBS_SELF : XP_VERBS_ABSENT;
        peer->tx[0].slot = peer->tx[1].slot = XP_VERBS_NONE;
    }
    vb->facts = (struct xp_verbs_facts){.node = options->node,
                                        .nodes = (uint16_t)options->nodes,
                                        .incarnation = options->incarnation,
                                        .lane_slots = options->lane_slots,
                                        .message_bytes = XP_VERBS_MESSAGE_BYTES};
    memcpy(vb->facts.hello, options->hello, XP_HELLO_BYTES);
    xp_shm_key_derive(options->cluster, options->secret, vb->key, &vb->facts.tag);
}

/* "host" or "host:port" of a node; NULL or empty: this host. */
static enum cf_rc address_set(struct xp_verbs *vb, uint32_t node, const char *text, uint32_t port,
                              struct cf_error *error)
{
    struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM}, *found = NULL;
    struct sockaddr_in *in = (struct sockaddr_in *)&vb->peers[node].address;
    char host[256], *colon;
    int failed;

    *in = *(struct sockaddr_in *)&vb->device.address;
    if (text != NULL && text[0] != 0) {
        snprintf(host, sizeof(host), "%s", text);
        colon = strchr(host, ':');
        if (colon != NULL) {
            *colon = 0;
            port = (uint32_t)strtoul(colon + 1, NULL, 10);
        }
        failed = getaddrinfo(host, NULL, &hints, &found);
        if (failed != 0 || port == 0 || port > UINT16_MAX) {
            if (failed == 0)
                freeaddrinfo(found);
            return xp_verbs_fail(error, CF_OPTION, 0, "host '%s' of node %u: %s", text, node,
                                 failed != 0 ? gai_strerror(failed) : "the port is not a number up to 65535");
        }
        memcpy(in, found->ai_addr, sizeof(*in));
        freeaddrinfo(found);
    }
    in->sin_port = htons((uint16_t)port);
    return CF_OK;
}

static enum cf_rc addresses_set(struct xp_verbs *vb, const struct xp_options *options,
                                const struct xp_verbs_address *address, struct cf_error *error)
{
    uint32_t base = address->port_base != 0 ? address->port_base : xp_verbs_cm_port(options->cluster);
    enum cf_rc rc = CF_OK;

    for (uint32_t i = 0; i < vb->nodes && rc == CF_OK; i++)
        rc = address_set(vb, i, options->peers != NULL ? options->peers[i] : NULL, base + i, error);
    return rc;
}

static void verbs_close(struct xp *xp)
{
    struct xp_verbs *vb = xp_verbs_of(xp);

    if (vb->is_started)
        xp_verbs_leave(vb);
    xp_verbs_cm_close(vb);
    xp_verbs_watches_close(vb);
    if (vb->tables != NULL)
        xp_verbs_pools_close(vb);
    xp_verbs_memory_free(vb, &vb->counters);
    for (uint32_t i = 0; i < vb->memories_count; i++)
        xp_verbs_memory_free(vb, &vb->memories[i]);
    xp_verbs_device_close(&vb->device, vb->calls);
    cf_free(vb->allocator, vb, vb->block_bytes);
}

/* As many as are wanted, or as the device has room for beside one-sided operations. */
static uint32_t send_slots_of(const struct xp_verbs *vb)
{
    uint32_t room = (uint32_t)vb->device.attr.max_qp_wr - XP_VERBS_READS_MAX;

    return vb->send_slots < room ? vb->send_slots : room;
}

static enum cf_rc verbs_open_instance(const struct xp_options *options, const char *rest, struct xp **xp_out,
                                      struct cf_error *error)
{
    struct xp_verbs_address address;
    struct xp_verbs *vb;
    enum cf_rc rc;

    if (options->nodes > XP_VERBS_NODES_MAX)
        return xp_verbs_fail(error, CF_OPTION, 0, "verbs: connects at most %u instances, not %u",
                             XP_VERBS_NODES_MAX, options->nodes);
    if (!cf_hash_init())
        return xp_verbs_fail(error, CF_SYSTEM, 0, "no source of randomness");
    rc = xp_verbs_address_parse(rest, &address, error);
    if (rc != CF_OK)
        return rc;
    address.numa_node = options->numa_node;
    vb = verbs_alloc(options);
    if (vb == NULL)
        return xp_verbs_fail(error, CF_MEMORY, ENOMEM, "no memory for the transport");
    verbs_init(vb, options);
    vb->retries = address.retries;
    vb->timeout = timeout_of(vb->peer_timeout_ns, vb->retries);
    rc = xp_verbs_device_open(&vb->device, vb->calls, &address, error);
    if (rc == CF_OK && vb->device.attr.max_qp_wr < (int)(XP_VERBS_SLOTS_MIN + XP_VERBS_READS_MAX))
        rc = xp_verbs_fail(
            error, CF_SYSTEM, 0,
            "a queue of %u requests is needed for each peer and %s offers %d: use another device",
            XP_VERBS_SLOTS_MIN + XP_VERBS_READS_MAX, vb->device.name, vb->device.attr.max_qp_wr);
    if (rc == CF_OK)
        rc = addresses_set(vb, options, &address, error);
    if (rc != CF_OK) {
        verbs_close(&vb->base);
        return rc;
    }
    if (vb->device.attr.atomic_cap != IBV_ATOMIC_NONE)
        vb->base.caps |= XP_CAP_ATOMIC;
    vb->send_slots = send_slots_of(vb);
    *xp_out = &vb->base;
    return CF_OK;
}

static enum cf_rc verbs_memory(struct xp *xp, uint64_t bytes, unsigned alloc_flags, void **memory_out,
                               struct cf_error *error)
{
    struct xp_verbs *vb = xp_verbs_of(xp);
    struct xp_verbs_memory *memory = &vb->memories[vb->memories_count];
    enum cf_rc rc;

    cf_assert(!vb->is_started);
    if (bytes == 0 || vb->memories_count == XP_VERBS_MEMORIES_MAX)
        return xp_verbs_fail(error, CF_INVALID, 0, "xp_memory: no bytes asked for, or more than %u regions",
                             XP_VERBS_MEMORIES_MAX);
    /* Never REMOTE_WRITE: what a peer sends lands where a receive says. */
    rc = xp_verbs_memory_make(vb, memory, bytes, alloc_flags, IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ,
                              error);
    if (rc == CF_OK) {
        *memory_out = memory->base;
        vb->memories_count++;
    }
    return rc;
}

static enum cf_rc space_check(struct xp_verbs *vb, const struct xp_frame_space *space, struct cf_error *error)
{
    uintptr_t base = (uintptr_t)space->base;

    for (uint32_t i = 0; i < vb->memories_count; i++) {
        uintptr_t begin = (uintptr_t)vb->memories[i].base, end = begin + vb->memories[i].bytes;

        if (base < begin || base > end || space->bytes > end - base)
            continue;
        vb->frames_memory = i;
        vb->space = *space;
        for (uint32_t c = 0; c < CF_BLOCK_SIZES; c++) {
            cf_assert(space->classes[c].bytes == 0 || space->classes[c].bytes == CF_BLOCK_BYTES_MIN << c);
            vb->facts.classes[c] = (struct xp_verbs_wire_class){.bytes = space->classes[c].bytes,
                                                                .count = space->classes[c].count};
        }
        return CF_OK;
    }
    return xp_verbs_fail(error, CF_INVALID, 0, "frames are not in one region of xp_memory");
}

/* A completion for every receive and every send that can be out at one time: the queue never overflows. */
static enum cf_rc queue_open(struct xp_verbs *vb, struct cf_error *error)
{
    uint32_t entries = vb->nodes * (vb->send_slots + XP_VERBS_READS_MAX);

    for (uint32_t i = 0; i < XP_VERBS_POOLS; i++)
        entries += vb->pools[i].count;
    vb->completions_max = entries;
    if (entries > (uint32_t)vb->device.attr.max_cqe)
        return xp_verbs_fail(
            error, CF_OPTION, 0,
            "%u completions are needed for %u instances of %u lane_slots and %s offers %d: lower "
            "lane_slots",
            entries, vb->nodes, vb->lane_slots, vb->device.name, vb->device.attr.max_cqe);
    return xp_verbs_device_queue(&vb->device, vb->calls, entries, error);
}

static enum cf_rc counters_open(struct xp_verbs *vb, struct cf_error *error)
{
    struct xp_verbs_peer *self = &vb->peers[vb->node];
    enum cf_rc rc;
    int failed;

    if ((vb->base.caps & XP_CAP_ATOMIC) == 0)
        return CF_OK;
    rc = xp_verbs_memory_make(vb, &vb->counters, XP_COUNTER_BYTES, 0,
                              IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_ATOMIC, error);
    if (rc != CF_OK)
        return rc;
    self->accept.counters_address = (uint64_t)(uintptr_t)vb->counters.base;
    self->accept.counters_key = vb->counters.mr->rkey;
    failed = xp_verbs_pair_loop(vb, self);
    return failed == 0 ? CF_OK
                       : xp_verbs_fail(error, CF_SYSTEM, failed, "%s connects no queue pair to itself: %s",
                                       vb->device.name, strerror(failed));
}

static enum cf_rc verbs_start(struct xp *xp, const struct xp_frame_space *space, struct cf_error *error)
{
    struct xp_verbs *vb = xp_verbs_of(xp);
    enum cf_rc rc = CF_OK;

    cf_assert(!vb->is_started);
    if (space != NULL && space->count != 0)
        rc = space_check(vb, space, error);
    if (rc == CF_OK)
        rc = xp_verbs_pools_open(vb, error);
    if (rc == CF_OK)
        rc = queue_open(vb, error);
    if (rc == CF_OK)
        rc = counters_open(vb, error);
    if (rc == CF_OK)
        rc = xp_verbs_cm_open(vb, error);
    if (rc == CF_OK && !xp_verbs_watches_open(vb))
        rc = xp_verbs_fail(error, CF_SYSTEM, errno, "cannot make descriptors to wait on: %s",
                           strerror(errno));
    if (vb->tables != NULL && vb->device.cq != NULL)
        vb->is_started = true; /* close has queue pairs to take back */
    if (rc != CF_OK)
        return rc;
    xp_verbs_pools_post(vb);
    xp_verbs_hurry(vb);
    cf_log_info(vb->log, "transport", "verbs on %s port %u mtu %u inline %u", vb->device.name,
                vb->device.port, vb->device.mtu_bytes,
                vb->device.inline_bytes == XP_VERBS_NONE ? 0 : vb->device.inline_bytes);
    return CF_OK;
}

static bool verbs_is_up(const struct xp *xp, uint16_t node)
{
    const struct xp_verbs *vb = (const struct xp_verbs *)xp;

    return node < vb->nodes && vb->peers[node].state == XP_VERBS_UP;
}

static bool verbs_is_sending(const struct xp *xp, uint32_t frame)
{
    const struct xp_verbs *vb = (const struct xp_verbs *)xp;

    cf_assert(frame < vb->space.count);
    return atomic_load_explicit(&vb->sending[frame], memory_order_acquire) != 0; /* partner: slot_free */
}

const struct xp_ops xp_verbs_ops = {.name = "verbs",
                                    .open = verbs_open_instance,
                                    .close = verbs_close,
                                    .memory = verbs_memory,
                                    .start = verbs_start,
                                    .accept = xp_verbs_shake_accept,
                                    .evict = xp_verbs_evict,
                                    .epoch = xp_verbs_set_epoch,
                                    .is_up = verbs_is_up,
                                    .begin = xp_verbs_begin,
                                    .post = xp_verbs_post,
                                    .post_block = xp_verbs_post_block,
                                    .flush = xp_verbs_flush,
                                    .frame_post = xp_verbs_frame_post,
                                    .poll = xp_verbs_poll,
                                    .fd = xp_verbs_fd,
                                    .arm = xp_verbs_arm,
                                    .disarm = xp_verbs_disarm,
                                    .wake = xp_verbs_wake,
                                    .read = xp_verbs_read,
                                    .cas = xp_verbs_cas,
                                    .add = xp_verbs_add,
                                    .is_sending = verbs_is_sending,
                                    .describe = xp_verbs_describe};
