/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rdma_cm: who connects to whom, and what its events mean. The higher node connects. When a connection breaks, the
 * lower one knocks too: a host that answers "nobody listens there" says that the process has ended, long before any
 * time-out would (life.c).
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "transport/shm/hello.h"
#include "transport/verbs/parts.h"

#define BACKLOG 64
#define RESOLVE_MS 1000
/* The kernel repeats a connect request after 4 s; a new attempt is quicker (chosen). */
#define ATTEMPT_NS (600 * CF_NS_PER_MS)
#define ATTEMPTS_SHIFT_MAX 2u
#define GUEST_NS (2 * CF_NS_PER_S)
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

/* ------------------------------------------------------------------ the one that connects */

void xp_verbs_cm_connect(struct xp_verbs *vb, struct xp_verbs_peer *peer)
{
    struct sockaddr_storage own = vb->device.address;
    uint32_t shift = peer->tries < ATTEMPTS_SHIFT_MAX ? peer->tries : ATTEMPTS_SHIFT_MAX;

    cf_assert(peer->id == NULL);
    peer->is_probing = vb->node < peer->node;
    peer->state = XP_VERBS_RESOLVING;
    peer->deadline_ns = vb->now_ns + (ATTEMPT_NS << shift);
    if (vb->calls->cm_create_id(vb->cm, &peer->id, peer) != 0) {
        peer->id = NULL;
        xp_verbs_attempt_failed(vb, peer);
        return;
    }
    if (vb->calls->cm_resolve_addr(peer->id, (struct sockaddr *)&own, (struct sockaddr *)&peer->address,
                                   RESOLVE_MS) != 0)
        xp_verbs_attempt_failed(vb, peer);
}

static struct rdma_conn_param param_of(const struct xp_verbs *vb, const struct xp_verbs_peer *peer,
                                       const struct xp_verbs_open *open)
{
    return (struct rdma_conn_param){
        .private_data = open,
        .private_data_len = sizeof(*open),
        .responder_resources = (uint8_t)(vb->device.attr.max_qp_rd_atom < 16 ? vb->device.attr.max_qp_rd_atom
                                                                             : 16),
        .initiator_depth =
            (uint8_t)(vb->device.attr.max_qp_init_rd_atom < 16 ? vb->device.attr.max_qp_init_rd_atom : 16),
        .retry_count = 7,
        .rnr_retry_count = 7,
        .srq = 1,
        .qp_num = peer->pairs[0].qp != NULL ? peer->pairs[0].qp->qp_num : 0};
}

static void open_fill(struct xp_verbs *vb, struct xp_verbs_peer *peer, struct xp_verbs_open *open,
                      const uint8_t *challenge)
{
    randombytes_buf(peer->own_nonce, sizeof(peer->own_nonce));
    *open = (struct xp_verbs_open){.magic = XP_VERBS_MAGIC,
                                   .version = XP_WIRE_VERSION,
                                   .node = vb->node,
                                   .target = peer->node,
                                   .incarnation = vb->facts.incarnation,
                                   .epoch = vb->epoch};
    memcpy(open->nonce, peer->own_nonce, sizeof(open->nonce));
    xp_verbs_open_sign(open, vb->key, challenge);
}

static void on_route(struct xp_verbs *vb, struct xp_verbs_peer *peer)
{
    struct xp_verbs_open open;
    struct rdma_conn_param param;
    int failed;

    xp_verbs_shake_begin(vb, peer);
    failed = xp_verbs_pair_make(vb, peer, 0);
    open_fill(vb, peer, &open, NULL);
    param = param_of(vb, peer, &open);
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

/* ------------------------------------------------------------------ the one that listens */

static void guest_reject(struct xp_verbs *vb, struct xp_verbs_guest *guest, enum cf_rc rc, const char *why)
{
    struct xp_verbs_refuse refuse;

    xp_verbs_refusal(&refuse, rc, why);
    (void)vb->calls->cm_reject(guest->id, &refuse, sizeof(refuse)); /* else its attempt ends by the clock */
    (void)vb->calls->cm_destroy_id(guest->id);
    guest->id = NULL;
}

/* What is wrong with an OPEN, judged before anything is made for it. */
static enum cf_rc open_check(const struct xp_verbs *vb, const struct xp_verbs_open *open, const char **why)
{
    if (open->magic != XP_VERBS_MAGIC || open->version != XP_WIRE_VERSION) {
        *why = "the wire version differs: run the same version everywhere";
        return CF_VERSION;
    }
    if (!xp_verbs_open_is_signed(open, vb->key, NULL)) {
        *why = "cluster name or secret differ";
        return CF_CLUSTER;
    }
    if (open->node >= vb->nodes || open->node == vb->node || open->target != vb->node) {
        *why = "the node id is not one that connects here";
        return CF_NODE_TAKEN;
    }
    *why = "it is the other one that connects"; /* a knock: that it is answered is all it asks */
    return open->node < vb->node ? CF_AGAIN : CF_OK;
}

/* Gives a guest to its peer; false: the connection before it is not over yet. */
static bool guest_seat(struct xp_verbs *vb, struct xp_verbs_guest *guest)
{
    struct xp_verbs_peer *peer = &vb->peers[guest->open.node];
    struct rdma_conn_param param;
    struct xp_verbs_open reply;
    int failed;

    if (peer->is_probing && peer->state == XP_VERBS_RESOLVING)
        xp_verbs_attempt_failed(vb, peer); /* the knock is answered by the guest */
    if (peer->state == XP_VERBS_UP)
        peer->is_state_due = true; /* is it still there? */
    if (peer->state != XP_VERBS_ABSENT && peer->state != XP_VERBS_BROKEN && peer->state != XP_VERBS_REFUSED)
        return false;
    peer->id = guest->id;
    peer->id->context = peer;
    guest->id = NULL;
    xp_verbs_shake_begin(vb, peer);
    memcpy(peer->peer_nonce, guest->open.nonce, sizeof(peer->peer_nonce));
    failed = xp_verbs_pair_make(vb, peer, 0);
    if (failed == 0)
        failed = xp_verbs_pair_connect(vb, peer);
    open_fill(vb, peer, &reply, peer->peer_nonce);
    param = param_of(vb, peer, &reply);
    peer->state = XP_VERBS_PROVING;
    peer->deadline_ns = vb->now_ns + GUEST_NS;
    if (failed != 0 || vb->calls->cm_accept(peer->id, &param) != 0) {
        cf_log_error(vb->log, component, "no queue pair to node %u errno %d", peer->node,
                     failed != 0 ? failed : errno);
        xp_verbs_attempt_failed(vb, peer);
    }
    return true;
}

static void on_request(struct xp_verbs *vb, struct rdma_cm_id *id, const void *data, uint32_t bytes)
{
    struct xp_verbs_guest *guest = NULL;
    const char *why = "";
    enum cf_rc rc;

    for (uint32_t i = 0; i < XP_VERBS_GUESTS_MAX && guest == NULL; i++)
        if (vb->guests[i].id == NULL)
            guest = &vb->guests[i];
    if (guest == NULL || bytes < sizeof(guest->open)) {
        vb->base.counters.hello_refused++;
        (void)vb->calls->cm_reject(id, NULL, 0);
        (void)vb->calls->cm_destroy_id(id);
        return;
    }
    *guest = (struct xp_verbs_guest){.id = id, .deadline_ns = vb->now_ns + GUEST_NS};
    memcpy(&guest->open, data, sizeof(guest->open));
    rc = open_check(vb, &guest->open, &why);
    if (rc == CF_OK) {
        (void)guest_seat(vb, guest); /* else the turn tries again */
        return;
    }
    if (rc != CF_AGAIN) {
        vb->base.counters.hello_refused++;
        if (rc == CF_CLUSTER)
            vb->base.counters.bad_tag++;
        if (guest->open.node > vb->node && guest->open.node < vb->nodes && guest->open.target == vb->node)
            xp_verbs_stranger(vb, &vb->peers[guest->open.node], rc, why);
    }
    guest_reject(vb, guest, rc, why);
}

void xp_verbs_guests_turn(struct xp_verbs *vb)
{
    for (uint32_t i = 0; i < XP_VERBS_GUESTS_MAX; i++) {
        struct xp_verbs_guest *guest = &vb->guests[i];

        if (guest->id == NULL || guest_seat(vb, guest) || vb->now_ns < guest->deadline_ns)
            continue;
        vb->base.counters.hello_refused++;
        guest_reject(vb, guest, CF_AGAIN, "this node id is connected already");
    }
}

static void guest_forget(struct xp_verbs *vb, const struct rdma_cm_id *id)
{
    for (uint32_t i = 0; i < XP_VERBS_GUESTS_MAX; i++)
        if (vb->guests[i].id == id) {
            (void)vb->calls->cm_destroy_id(vb->guests[i].id);
            vb->guests[i].id = NULL;
        }
}

/* ------------------------------------------------------------------ events */

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
    } else if (state == XP_VERBS_RESOLVING || state == XP_VERBS_CONNECTING ||
               (state == XP_VERBS_PROVING && event->status != 0)) {
        xp_verbs_attempt_failed(vb, peer); /* unreachable, no route, an error of the exchange */
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
        on_request(vb, event.id, data, bytes);
    else if (event.id->context != NULL && ((struct xp_verbs_peer *)event.id->context)->id == event.id)
        on_peer_event(vb, event.id->context, &event, data, bytes);
    else if (event.id != vb->listener)
        guest_forget(vb, event.id);
    return true;
}

void xp_verbs_cm_take(struct xp_verbs *vb)
{
    for (uint32_t i = 0; i < EVENTS_MAX; i++)
        if (!event_take(vb))
            return;
    xp_verbs_hurry(vb);
}
