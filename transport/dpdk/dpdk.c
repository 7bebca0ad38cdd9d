/* SPDX-License-Identifier: Apache-2.0 */
/* Opening and closing an instance of the dpdk provider; what it is made of stands in dpdk.h. */
#include "transport/dpdk/dpdk.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "transport/dpdk/card.h"
#include "transport/dpdk/check.h"
#include "transport/dpdk/conn.h"

static CF_COLD CF_PRINTF(3, 4) enum cf_rc fail(struct cf_error *error, enum cf_rc rc, const char *fmt, ...)
{
    va_list args;

    if (error == NULL)
        return rc;
    *error = (struct cf_error){.rc = rc, .node = CF_NODE_NONE};
    va_start(args, fmt);
    vsnprintf(error->text, sizeof(error->text), fmt, args);
    va_end(args);
    return rc;
}

static uint64_t line_up(uint64_t bytes)
{
    return (bytes + CF_CACHE_LINE - 1) & ~(uint64_t)(CF_CACHE_LINE - 1);
}

/* One allocation: the instance, its peers, their slots and the lists of lent frames. */
static struct xp_dpdk *dpdk_alloc(const struct xp_options *options)
{
    const struct cf_allocator *allocator = options->allocator != NULL ? options->allocator
                                                                      : cf_allocator_default();
    uint64_t peers_at = line_up(sizeof(struct xp_dpdk));
    uint64_t lent_at = line_up(peers_at + options->nodes * sizeof(struct xp_dpdk_peer));
    uint64_t slots_at = lent_at + xp_lent_bytes(options->lane_slots);
    uint64_t slots_bytes = line_up(xp_link_bytes(options->lane_slots));
    uint64_t bytes = slots_at + options->nodes * slots_bytes;
    uint8_t *block = cf_alloc(allocator, bytes, 4096, CF_ALLOC_ZERO);
    struct xp_dpdk *dpdk = (struct xp_dpdk *)block;

    if (block == NULL)
        return NULL;
    dpdk->block = block;
    dpdk->block_bytes = bytes;
    dpdk->allocator = allocator;
    dpdk->peers = (struct xp_dpdk_peer *)(block + peers_at);
    xp_lent_init(&dpdk->lent, block + lent_at, options->lane_slots);
    for (uint32_t i = 0; i < options->nodes; i++)
        dpdk->peers[i].memory = block + slots_at + i * slots_bytes;
    return dpdk;
}

/* The address of a node: as the cluster file says, else one of the link-local block (RFC 3927) by its number. */
static uint32_t ip_of(const struct xp_dpdk *dpdk, uint16_t node)
{
    struct in_addr address;

    if (dpdk->addresses != NULL && dpdk->addresses[node] != NULL &&
        inet_pton(AF_INET, dpdk->addresses[node], &address) == 1)
        return ntohl(address.s_addr);
    return UINT32_C(0xa9fe0000) + 256 + node + 1;
}

static void dpdk_init(struct xp_dpdk *dpdk, const struct xp_options *options)
{
    dpdk->base.ops = &xp_dpdk_module_ops;
    dpdk->base.caps = XP_CAP_SLEEP;
    dpdk->nodes = options->nodes;
    dpdk->node = options->node;
    dpdk->epoch = options->epoch;
    dpdk->peer_timeout_ns = options->peer_timeout_ns;
    dpdk->lane_slots = options->lane_slots;
    dpdk->log = options->log;
    dpdk->addresses = options->peers;
    dpdk->is_local = xp_dpdk_is_local(dpdk->address.kind);
    dpdk->place.lock_fd = dpdk->claim_fd = -1;
    xp_dpdk_nap_init(&dpdk->nap);
    dpdk->nap_ns = XP_DPDK_NAP_NS_MIN;
    snprintf(dpdk->cluster, sizeof(dpdk->cluster), "%s", options->cluster);
    xp_shm_key_derive(options->cluster, options->secret, dpdk->key, &dpdk->tag);
    dpdk->filter = (struct xp_ether_filter){
        .tag = xp_shake_tag(options->cluster), .ip = ip_of(dpdk, dpdk->node), .node = options->node};
    dpdk->facts = (struct xp_shake_facts){.node = options->node,
                                          .nodes = (uint16_t)options->nodes,
                                          .incarnation = options->incarnation,
                                          .epoch = options->epoch,
                                          .lane_slots = options->lane_slots,
                                          .packet_bytes = dpdk->address.mtu - XP_ETHER_IP_BYTES -
                                                          XP_ETHER_UDP_BYTES,
                                          .version = XP_WIRE_VERSION << 8 | XP_LINK_VERSION,
                                          .is_busy = options->busy};
    memcpy(dpdk->facts.hello, options->hello, XP_HELLO_BYTES);
    xp_dpdk_frames_init(dpdk);
    for (uint32_t i = 0; i < dpdk->nodes; i++) {
        struct xp_dpdk_peer *peer = &dpdk->peers[i];

        peer->node = (uint16_t)i;
        peer->state = i == dpdk->node ? XP_DPDK_SELF : XP_DPDK_ABSENT;
        peer->end.ip = ip_of(dpdk, (uint16_t)i);
    }
}

static void dpdk_close(struct xp *xp)
{
    struct xp_dpdk *dpdk = xp_dpdk_of(xp);

    if (dpdk->gate != NULL) {
        xp_dpdk_gate_force(dpdk->gate);
        if (dpdk->is_started)
            xp_dpdk_close_links(dpdk);
        if (dpdk->bus.pool != NULL)
            xp_dpdk_bus_close(&dpdk->bus);
        xp_dpdk_gate_leave(dpdk->gate);
        xp_dpdk_gate_turn(); /* EAL looks which descriptors are left */
        xp_dpdk_gate_close(dpdk->gate);
    }
    xp_dpdk_nap_close(&dpdk->nap);
    xp_shm_place_leave(&dpdk->place);
    if (dpdk->claim_fd >= 0)
        close(dpdk->claim_fd);
    for (uint32_t i = 0; i < dpdk->memories_count; i++)
        cf_free(dpdk->allocator, dpdk->memories[i].base, dpdk->memories[i].bytes);
    cf_free(dpdk->allocator, dpdk->block, dpdk->block_bytes);
}

static enum cf_rc ports_open(struct xp_dpdk *dpdk, struct cf_error *error)
{
    struct xp_dpdk_bus_options options = {.address = &dpdk->address,
                                          .directory = dpdk->place.directory,
                                          .cluster = dpdk->cluster,
                                          .node = dpdk->node,
                                          .nodes = dpdk->nodes};
    enum cf_rc rc = xp_dpdk_check(&dpdk->address, &dpdk->claim_fd, error);

    if (rc == CF_OK)
        rc = xp_dpdk_eal_start(&dpdk->address, error);
    if (rc != CF_OK)
        return rc;
    dpdk->gate = xp_dpdk_gate_open();
    if (dpdk->gate == NULL)
        return fail(error, CF_MEMORY, "dpdk: a process has at most 64 instances; start another process");
    xp_dpdk_gate_force(dpdk->gate);
    rc = xp_dpdk_bus_open(&dpdk->bus, &options, error);
    xp_dpdk_gate_leave(dpdk->gate);
    if (rc != CF_OK)
        return rc;
    dpdk->bus.end.ip = dpdk->filter.ip;
    if (dpdk->address.kind == XP_DPDK_AF_PACKET)
        xp_dpdk_nap_bell(&dpdk->nap, dpdk->address.name, dpdk->filter.ip);
    for (uint32_t i = 0; i < dpdk->nodes; i++)
        dpdk->peers[i].port = i == dpdk->node ? 0 : xp_dpdk_bus_port_of(&dpdk->bus, (uint16_t)i);
    return CF_OK;
}

static enum cf_rc dpdk_open(const struct xp_options *options, const char *rest, struct xp **xp_out,
                            struct cf_error *error)
{
    struct xp_dpdk_address address;
    char why[200] = "";
    struct xp_dpdk *dpdk;
    enum cf_rc rc = xp_dpdk_address_parse(rest, options->node, &address, error);

    if (rc != CF_OK)
        return rc;
    if (!cf_hash_init())
        return fail(error, CF_SYSTEM, "dpdk: no source of randomness");
    dpdk = dpdk_alloc(options);
    if (dpdk == NULL)
        return fail(error, CF_MEMORY, "dpdk: no memory for the transport");
    dpdk->address = address;
    dpdk_init(dpdk, options);
    if (dpdk->is_local)
        rc = xp_shm_place_enter(&dpdk->place, address.kind == XP_DPDK_MEMIF ? dpdk->address.name : "",
                                dpdk->cluster, dpdk->node, why, sizeof(why));
    if (rc != CF_OK)
        fail(error, rc, "dpdk: %s", why);
    if (rc == CF_OK && !xp_dpdk_nap_open(&dpdk->nap, dpdk->is_local ? &dpdk->place : NULL))
        rc = fail(error, CF_SYSTEM, "dpdk: cannot make descriptors to wait on");
    if (rc == CF_OK)
        rc = ports_open(dpdk, error);
    if (rc != CF_OK) {
        dpdk_close(&dpdk->base);
        return rc;
    }
    if (dpdk->bus.fault.is_on)
        cf_log_warn(dpdk->log, "transport", "faults are planted: the address asks for them");
    *xp_out = &dpdk->base;
    return CF_OK;
}

static enum cf_rc dpdk_memory(struct xp *xp, uint64_t bytes, unsigned alloc_flags, void **memory_out,
                              struct cf_error *error)
{
    struct xp_dpdk *dpdk = xp_dpdk_of(xp);
    struct xp_dpdk_memory *memory = &dpdk->memories[dpdk->memories_count];

    if (bytes == 0 || dpdk->memories_count == XP_DPDK_MEMORIES_MAX)
        return fail(error, CF_INVALID, "xp_memory: no bytes asked for, or more than %u regions",
                    XP_DPDK_MEMORIES_MAX);
    if (dpdk->address.kind == XP_DPDK_PCI)
        bytes = xp_card_lent_bytes(bytes);
    memory->base = cf_alloc(dpdk->allocator, bytes, 4096, alloc_flags | CF_ALLOC_ZERO);
    if (memory->base == NULL)
        return fail(error, CF_MEMORY, "dpdk: no memory for %" PRIu64 " bytes of frames", bytes);
    memory->bytes = bytes;
    dpdk->memories_count++;
    xp_dpdk_bus_lend(&dpdk->bus, memory);
    *memory_out = memory->base;
    return CF_OK;
}

static enum cf_rc dpdk_start(struct xp *xp, const struct xp_frame_space *space, struct cf_error *error)
{
    struct xp_dpdk *dpdk = xp_dpdk_of(xp);

    (void)error;
    cf_assert(!dpdk->is_started);
    if (space != NULL)
        dpdk->space = *space;
    for (uint32_t c = 0; c < CF_BLOCK_SIZES; c++) {
        cf_assert(dpdk->space.classes[c].bytes == 0 || dpdk->space.classes[c].bytes == CF_BLOCK_BYTES_MIN
                                                                                           << c);
        dpdk->facts.classes |= (dpdk->space.classes[c].count != 0 ? 1u : 0u) << c;
    }
    for (uint32_t i = 0; i < dpdk->nodes; i++)
        xp_dpdk_life_begin(dpdk, &dpdk->peers[i]);
    dpdk->is_started = dpdk->is_control_due = true;
    return CF_OK;
}

static bool dpdk_is_up(const struct xp *xp, uint16_t node)
{
    const struct xp_dpdk *dpdk = (const struct xp_dpdk *)xp;

    /* From XP_EV_UP on, not before. */
    return node < dpdk->nodes && dpdk->peers[node].state == XP_DPDK_UP && !dpdk->peers[node].must_say_up;
}

static int dpdk_fd(const struct xp *xp)
{
    return ((const struct xp_dpdk *)xp)->nap.epoll_fd;
}

static void dpdk_wake(struct xp *xp)
{
    xp_dpdk_nap_wake(&xp_dpdk_of(xp)->nap);
}

static enum cf_rc no_read(struct xp *xp, uint16_t node, uint64_t offset, void *to, uint32_t bytes,
                          uint64_t token)
{
    (void)xp, (void)node, (void)offset, (void)to, (void)bytes, (void)token;
    return CF_UNSUPPORTED;
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

const struct xp_ops xp_dpdk_module_ops = {.name = "dpdk",
                                          .open = dpdk_open,
                                          .close = dpdk_close,
                                          .memory = dpdk_memory,
                                          .start = dpdk_start,
                                          .accept = xp_dpdk_accept,
                                          .evict = xp_dpdk_conn_evict,
                                          .epoch = xp_dpdk_conn_epoch,
                                          .is_up = dpdk_is_up,
                                          .begin = xp_dpdk_begin,
                                          .post = xp_dpdk_post,
                                          .post_block = xp_dpdk_post_block,
                                          .flush = xp_dpdk_flush,
                                          .frame_post = xp_dpdk_frame_post,
                                          .poll = xp_dpdk_poll,
                                          .fd = dpdk_fd,
                                          .arm = xp_dpdk_arm,
                                          .disarm = xp_dpdk_disarm,
                                          .wake = dpdk_wake,
                                          .read = no_read,
                                          .cas = no_cas,
                                          .add = no_add,
                                          .describe = xp_dpdk_describe};
