/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rdma_cm: who connects to whom, and what its events mean. The higher node connects. When a connection breaks, the
 * lower one knocks too: a host that answers "nobody listens there" says that the process has ended, long before any
 * time-out would (life.c).
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/assert.h"
#include "transport/shm/hello.h"
#include "transport/verbs/parts.h"

#define BACKLOG 64
#define RESOLVE_MS 1000
/* The kernel repeats a connect request after 4 s; a new attempt is quicker (chosen). */
#define ATTEMPT_NS (600 * CF_NS_PER_MS)
#define ATTEMPTS_SHIFT_MAX 2u
/* A peer that may come back is tried three times, each twice as long, in seven eighths of the time it has. */
#define ATTEMPT_PARTS 8u
#define EVENTS_MAX 64
/* InfiniBand specification, reasons of REJ: no such service; the consumer says why in the private data. */
#define REJECT_NO_LISTENER 8
#define CLUSTER_PORT_FIRST 20000u
#define CLUSTER_PORTS 40000u

static const char component[] = "transport";

/* Without the secret: who has another one is to be told so, not to be missed. */
uint16_t xp_verbs_cm_port(const char *cluster)
{
    uint8_t key[XP_VERBS_KEY_BYTES];
    uint32_t hash;

    xp_shm_key_derive(cluster, "", key, &hash);
    return (uint16_t)(CLUSTER_PORT_FIRST + hash % (CLUSTER_PORTS - XP_VERBS_NODES_MAX));
}

enum cf_rc xp_verbs_cm_open(struct xp_verbs *vb, struct cf_error *error)
{
    struct sockaddr_storage address = vb->device.address;
    struct sockaddr_in *in = (struct sockaddr_in *)&address;
    int flags;

    vb->cm = vb->calls->cm_create_channel();
    if (vb->cm == NULL)
        return xp_verbs_fail(error, CF_SYSTEM, errno, "rdma_cm gives no channel: %s (is rdma_ucm loaded?)",
                             strerror(errno));
    flags = fcntl(vb->cm->fd, F_GETFL);
    if (flags < 0 || fcntl(vb->cm->fd, F_SETFL, flags | O_NONBLOCK) != 0 ||
        vb->calls->cm_create_id(vb->cm, &vb->listener, NULL) != 0)
        return xp_verbs_fail(error, CF_SYSTEM, errno, "rdma_cm gives no listener: %s", strerror(errno));
    in->sin_port = ((const struct sockaddr_in *)&vb->peers[vb->node].address)->sin_port;
    if (vb->calls->cm_bind(vb->listener, (struct sockaddr *)&address) != 0 ||
        vb->calls->cm_listen(vb->listener, BACKLOG) != 0)
        return xp_verbs_fail(
            error, errno == EADDRINUSE ? CF_NODE_TAKEN : CF_SYSTEM, errno,
            errno == EADDRINUSE ? "port %u of %s is taken: node %u runs already, or set port=N in the address"
                                : "cannot listen on port %u of %s as node %u",
            ntohs(in->sin_port), vb->device.name, vb->node);
    return CF_OK;
}

void xp_verbs_cm_hang_up(struct xp_verbs *vb, struct xp_verbs_peer *peer)
{
    if (peer->id != NULL && vb->calls->cm_destroy_id(peer->id) != 0)
        cf_log_error(vb->log, component, "rdma_cm keeps a connection errno %d", errno);
    peer->id = NULL;
}

void xp_verbs_cm_close(struct xp_verbs *vb)
{
    for (uint32_t i = 0; i < XP_VERBS_GUESTS_MAX; i++)
        if (vb->guests[i].id != NULL)
            (void)vb->calls->cm_destroy_id(vb->guests[i].id);
    for (uint32_t i = 0; i < vb->nodes; i++)
        xp_verbs_cm_hang_up(vb, &vb->peers[i]);
    if (vb->listener != NULL)
        (void)vb->calls->cm_destroy_id(vb->listener);
    if (vb->cm != NULL)
        vb->calls->cm_destroy_channel(vb->cm);
}

/* How long an attempt may take. The first one of a peer that is looked for is its try number 0 or 1 (life.c). */
static uint64_t attempt_ns(const struct xp_verbs *vb, const struct xp_verbs_peer *peer)
{
    uint32_t shift = peer->tries > 1 ? peer->tries - 1 : 0;
    uint64_t first_ns = ATTEMPT_NS;

    if (peer->was_up && vb->peer_timeout_ns / ATTEMPT_PARTS < first_ns)
        first_ns = vb->peer_timeout_ns / ATTEMPT_PARTS;
    return first_ns << (shift < ATTEMPTS_SHIFT_MAX ? shift : ATTEMPTS_SHIFT_MAX);
}

void xp_verbs_cm_connect(struct xp_verbs *vb, struct xp_verbs_peer *peer)
{
    struct sockaddr_storage own = vb->device.address;

    cf_assert(peer->id == NULL);
    peer->state = XP_VERBS_RESOLVING;
    peer->deadline_ns = vb->now_ns + attempt_ns(vb, peer);
    if (vb->calls->cm_create_id(vb->cm, &peer->id, peer) != 0) {
        peer->id = NULL;
        xp_verbs_attempt_failed(vb, peer);
        return;
    }
    if (vb->calls->cm_resolve_addr(peer->id, (struct sockaddr *)&own, (struct sockaddr *)&peer->address,
                                   RESOLVE_MS) != 0)
        xp_verbs_attempt_failed(vb, peer);
}

static void on_route(struct xp_verbs *vb, struct xp_verbs_peer *peer)
{
    struct xp_verbs_open open;
    struct rdma_conn_param param;
    int failed;

    xp_verbs_shake_begin(vb, peer);
    failed = xp_verbs_pair_make(vb, peer, 0);
    xp_verbs_open_fill(vb, peer, &open, NULL);
    param = xp_verbs_conn_param(vb, peer, &open);
    if (failed == 0 && vb->calls->cm_connect(peer->id, &param) == 0) {
        peer->state = XP_VERBS_CONNECTING;
        return;
    }
    if (failed != 0)
        cf_log_error(vb->log, component, "%s gives no queue pair to node %u errno %d", vb->device.name,
                     peer->node, failed);
    xp_verbs_attempt_failed(vb, peer);
}

static void on_reply(struct xp_verbs *vb, struct xp_verbs_peer *peer, const void *data, uint32_t bytes)
{
    struct xp_verbs_open reply;
    int failed;

    if (bytes < sizeof(reply)) {
        xp_verbs_attempt_failed(vb, peer);
        return;
    }
    memcpy(&reply, data, sizeof(reply));
    if (reply.magic != XP_VERBS_MAGIC || reply.node != peer->node || reply.target != vb->node ||
        !xp_verbs_open_is_signed(&reply, vb->key, peer->own_nonce)) {
        vb->base.counters.bad_tag++;
        xp_verbs_refused(vb, peer, CF_CLUSTER, "cluster name or secret differ");
        return;
    }
    memcpy(peer->peer_nonce, reply.nonce, sizeof(peer->peer_nonce));
    failed = xp_verbs_pair_connect(vb, peer);
    if (failed != 0 || vb->calls->cm_establish(peer->id) != 0) {
        cf_log_error(vb->log, component, "no queue pair to node %u errno %d", peer->node,
                     failed != 0 ? failed : errno);
        xp_verbs_attempt_failed(vb, peer);
        return;
    }
    peer->state = XP_VERBS_PROVING;
    xp_verbs_shake_hello(vb, peer);
}

static void on_rejected(struct xp_verbs *vb, struct xp_verbs_peer *peer, int status, const void *data,
                        uint32_t bytes)
{
    struct xp_verbs_refuse refuse = {.magic = 0};

    if (bytes >= sizeof(refuse))
        memcpy(&refuse, data, sizeof(refuse));
    refuse.why[sizeof(refuse.why) - 1] = 0;
    if (refuse.magic == XP_VERBS_MAGIC && refuse.rc < 0 && refuse.rc != CF_AGAIN)
        xp_verbs_refused(vb, peer, (enum cf_rc)refuse.rc, refuse.why);
    else if (status == REJECT_NO_LISTENER && peer->was_up)
        xp_verbs_ended(vb, peer);
    else
        xp_verbs_attempt_failed(vb, peer);
}

static void on_peer_event(struct xp_verbs *vb, struct xp_verbs_peer *peer, const struct rdma_cm_event *event,
                          const void *data, uint32_t bytes)
{
    enum xp_verbs_peer_state state = peer->state;

    if (event->event == RDMA_CM_EVENT_ADDR_RESOLVED && state == XP_VERBS_RESOLVING) {
        if (vb->calls->cm_resolve_route(peer->id, RESOLVE_MS) != 0)
            xp_verbs_attempt_failed(vb, peer);
    } else if (event->event == RDMA_CM_EVENT_ROUTE_RESOLVED && state == XP_VERBS_RESOLVING) {
        on_route(vb, peer);
    } else if (event->event == RDMA_CM_EVENT_CONNECT_RESPONSE && state == XP_VERBS_CONNECTING) {
        on_reply(vb, peer, data, bytes);
    } else if (event->event == RDMA_CM_EVENT_ESTABLISHED && state == XP_VERBS_PROVING) {
        xp_verbs_shake_hello(vb, peer);
    } else if (event->event == RDMA_CM_EVENT_REJECTED && state == XP_VERBS_CONNECTING) {
        on_rejected(vb, peer, event->status, data, bytes);
    } else if (event->event == RDMA_CM_EVENT_DISCONNECTED && xp_verbs_is_connected(peer)) {
        xp_verbs_drain(vb); /* what came before the end, its goodbye for instance */
        if (peer->state != XP_VERBS_DRAINING)
            xp_verbs_lost(vb, peer, "it closed the connection");
    } else if (event->event == RDMA_CM_EVENT_DEVICE_REMOVAL) {
        vb->base.counters.device_errors++;
        xp_verbs_lost(vb, peer, "the device went away");
    } else if (state == XP_VERBS_RESOLVING || state == XP_VERBS_CONNECTING) {
        xp_verbs_attempt_failed(vb, peer); /* unreachable, no route, an error of the exchange */
    } else if (event->event == RDMA_CM_EVENT_REJECTED || event->event == RDMA_CM_EVENT_UNREACHABLE ||
               event->event == RDMA_CM_EVENT_CONNECT_ERROR) {
        xp_verbs_lost(vb, peer, "it gave the connection up");
    }
}

static bool event_take(struct xp_verbs *vb)
{
    struct rdma_cm_event *got, event;
    uint8_t data[XP_VERBS_PRIVATE_BYTES];
    uint32_t bytes;

    if (vb->calls->cm_get_event(vb->cm, &got) != 0)
        return false;
    event = *got;
    bytes = got->param.conn.private_data != NULL ? got->param.conn.private_data_len : 0;
    if (bytes != 0)
        memcpy(data, got->param.conn.private_data, bytes);
    /* Acknowledged at once: an id cannot be destroyed while an event of it is not. */
    (void)vb->calls->cm_ack_event(got);
    if (event.event == RDMA_CM_EVENT_CONNECT_REQUEST)
        xp_verbs_guest_arrives(vb, event.id, data, bytes);
    else if (event.id->context != NULL && ((struct xp_verbs_peer *)event.id->context)->id == event.id)
        on_peer_event(vb, event.id->context, &event, data, bytes);
    else if (event.id != vb->listener)
        xp_verbs_guest_forget(vb, event.id);
    return true;
}

void xp_verbs_cm_take(struct xp_verbs *vb)
{
    for (uint32_t i = 0; i < EVENTS_MAX; i++)
        if (!event_take(vb))
            return;
    xp_verbs_hurry(vb);
}
