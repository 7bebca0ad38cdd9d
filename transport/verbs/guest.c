/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests to connect: judged before anything is made for them, seated when the connection before them is over. What both
 * sides say in their first exchange is filled in here too.
 */
#include <errno.h>
#include <sodium.h>
#include <string.h>

#include "transport/verbs/parts.h"

/* How long a request may wait, and an accepted one may take to say hello (chosen). */
#define GUEST_NS (2 * CF_NS_PER_S)

static const char component[] = "transport";

struct rdma_conn_param xp_verbs_conn_param(const struct xp_verbs *vb, const struct xp_verbs_peer *peer,
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

void xp_verbs_open_fill(struct xp_verbs *vb, struct xp_verbs_peer *peer, struct xp_verbs_open *open,
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

    if (peer->state == XP_VERBS_RESOLVING || peer->state == XP_VERBS_CONNECTING)
        xp_verbs_attempt_failed(
            vb, peer); /* our knock is answered by the guest: the lower one does not connect */
    if (peer->state == XP_VERBS_UP)
        peer->is_state_due = true; /* is it still there? */
    else if (xp_verbs_is_connected(peer) && peer->state != XP_VERBS_DRAINING)
        xp_verbs_lost(vb, peer, "it began again");
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
    xp_verbs_open_fill(vb, peer, &reply, peer->peer_nonce);
    param = xp_verbs_conn_param(vb, peer, &reply);
    peer->state = XP_VERBS_PROVING;
    peer->deadline_ns = vb->now_ns + GUEST_NS;
    if (failed != 0 || vb->calls->cm_accept(peer->id, &param) != 0) {
        cf_log_error(vb->log, component, "no queue pair to node %u errno %d", peer->node,
                     failed != 0 ? failed : errno);
        xp_verbs_attempt_failed(vb, peer);
    }
    return true;
}

void xp_verbs_guest_arrives(struct xp_verbs *vb, struct rdma_cm_id *id, const void *data, uint32_t bytes)
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

void xp_verbs_guest_forget(struct xp_verbs *vb, const struct rdma_cm_id *id)
{
    for (uint32_t i = 0; i < XP_VERBS_GUESTS_MAX; i++)
        if (vb->guests[i].id == id) {
            (void)vb->calls->cm_destroy_id(vb->guests[i].id);
            vb->guests[i].id = NULL;
        }
}
