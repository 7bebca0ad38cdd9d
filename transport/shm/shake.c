/* SPDX-License-Identifier: Apache-2.0 */
/* The handshake of one peer, message by message (hello.h); the edges from OPENING to UP in shm.h. */
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/log.h"
#include "transport/shm/conn.h"
#include "transport/shm/sock.h"

/* Messages read from one socket in a turn: wake-ups pile up while a busy instance does not look. */
#define READS_MAX 64

static const char component[] = "transport";

/*
 * A message that cannot be sent is not the end: what the peer has said before it left (why it refuses) is still
 * to be read, the reader then finds the end, and the deadline of the handshake covers the rest.
 */
static void handshake_send(struct xp_shm_peer *peer, const void *message, size_t bytes, const int *fds,
                           uint32_t fds_count)
{
    peer->is_mute = !xp_shm_sock_send(peer->fd, message, bytes, fds, fds_count);
}

static void open_send(struct xp_shm *shm, struct xp_shm_peer *peer)
{
    struct xp_shm_wire_open open = {
        .head = {XP_SHM_MAGIC, XP_WIRE_VERSION, XP_SHM_OPEN}, .node = shm->node, .target = peer->node};

    randombytes_buf(peer->own_nonce, sizeof(peer->own_nonce));
    memcpy(open.nonce, peer->own_nonce, sizeof(open.nonce));
    peer->state = XP_SHM_OPENING;
    peer->deadline_ns = peer->was_up ? peer->deadline_ns : shm->now_ns + HANDSHAKE_NS;
    handshake_send(peer, &open, sizeof(open), NULL, 0);
}

void xp_shm_shake_begin(struct xp_shm *shm, struct xp_shm_peer *peer, int fd)
{
    cf_assert(peer->fd < 0);
    peer->fd = fd;
    if (xp_shm_sock_watch(shm->epoll_fd, fd, peer->node))
        open_send(shm, peer);
    else
        xp_shm_life_lost(shm, peer);
}

void xp_shm_shake_open(struct xp_shm *shm, struct xp_shm_peer *peer, const struct xp_shm_wire_open *open,
                       struct xp_shm_batch *batch)
{
    struct xp_shm_wire_hello hello = {.head = {XP_SHM_MAGIC, XP_WIRE_VERSION, XP_SHM_HELLO}};

    if (open->node != peer->node || open->target != shm->node) {
        xp_shm_life_refuse(shm, peer, CF_NODE_TAKEN, "node id is not the one expected", batch);
        return;
    }
    memcpy(peer->peer_nonce, open->nonce, sizeof(peer->peer_nonce));
    hello.facts = shm->facts;
    hello.facts.epoch = shm->epoch;
    hello.facts.generation = peer->was_up ? peer->generation : 0;
    xp_shm_hello_sign(&hello, shm->key, peer->peer_nonce, peer->own_nonce);
    peer->state = XP_SHM_PROVING;
    handshake_send(peer, &hello, sizeof(hello), NULL, 0);
}

static void grant(struct xp_shm *shm, struct xp_shm_peer *peer)
{
    struct xp_shm_wire_short brief = {.head = {XP_SHM_MAGIC, XP_WIRE_VERSION, XP_SHM_ACCEPT}};
    int fds[2] = {shm->control.fd, -1};
    uint32_t fds_count = 1;

    if (shm->frames_memory < XP_SHM_MEMORIES_MAX)
        fds[fds_count++] = shm->memories[shm->frames_memory].fd;
    xp_shm_peer_unmap(shm, peer);
    xp_shm_peer_rewind(shm, peer);
    peer->state = XP_SHM_GRANTED;
    peer->deadline_ns = peer->was_up ? peer->deadline_ns : shm->now_ns + HANDSHAKE_NS;
    handshake_send(peer, &brief, sizeof(brief), fds, fds_count);
}

static void on_hello(struct xp_shm *shm, struct xp_shm_peer *peer, const struct xp_shm_wire_hello *hello,
                     struct xp_shm_batch *batch)
{
    struct xp_shm_verdict verdict;
    bool is_same_life;

    if (!xp_shm_hello_is_signed(hello, shm->key, peer->own_nonce, peer->peer_nonce)) {
        shm->base.counters.bad_tag++;
        xp_shm_life_refuse(shm, peer, CF_CLUSTER, "cluster name or secret differ", batch);
        return;
    }
    shm->facts.epoch = shm->epoch;
    xp_shm_facts_check(&shm->facts, &hello->facts, peer->node, &verdict);
    if (verdict.rc == CF_STALE)
        shm->base.counters.stale_epoch++;
    if (verdict.rc == CF_OK && hello->facts.incarnation < peer->incarnation_min) {
        shm->base.counters.stale_incarnation++;
        verdict.rc = CF_STALE;
        peer->told_rc = CF_STALE; /* its end was told when it came: only the peer is answered */
        snprintf(verdict.why, sizeof(verdict.why),
                 "incarnation %u of node %u is over: start it under a higher one", hello->facts.incarnation,
                 peer->node);
    }
    if (verdict.rc != CF_OK) {
        xp_shm_life_refuse(shm, peer, verdict.rc, verdict.why, batch);
        return;
    }
    is_same_life = peer->was_up && peer->facts.incarnation == hello->facts.incarnation;
    if (peer->was_up && !is_same_life) {
        /* A new life answers: the old one is over, and that is told before anything of the new one. */
        xp_shm_life_drain(shm, peer, CF_PEER_LOST);
        return;
    }
    peer->generation = (is_same_life && peer->generation > hello->facts.generation
                            ? peer->generation
                            : hello->facts.generation) +
                       1;
    peer->facts = hello->facts;
    peer->is_known = true;
    if (is_same_life) {
        grant(shm, peer);
    } else if (peer->is_refused && peer->refused_incarnation == hello->facts.incarnation) {
        xp_shm_life_refuse(shm, peer, peer->told_rc, "refused before", batch);
    } else {
        struct xp_event *event = xp_shm_emit(batch, XP_EV_HELLO, peer->node, CF_OK);
        event->message = peer->facts.hello;
        event->bytes = XP_HELLO_BYTES;
        peer->state = XP_SHM_ASKED;
    }
}

static void on_accept(struct xp_shm *shm, struct xp_shm_peer *peer, struct xp_shm_sock_fds *fds,
                      struct xp_shm_batch *batch)
{
    uint32_t wanted = peer->facts.frames_bytes != 0 ? 2 : 1;
    const char *why = "its memory did not come";

    if (fds->count == wanted) {
        why = xp_shm_peer_map(shm, peer, fds->fds[0], wanted == 2 ? fds->fds[1] : -1);
        fds->count = 0;
    }
    if (why != NULL) {
        xp_shm_life_refuse(shm, peer, CF_INVALID, why, batch);
        return;
    }
    xp_shm_emit(batch, peer->was_up ? XP_EV_RESET : XP_EV_UP, peer->node, CF_OK);
    if (peer->was_up)
        shm->base.counters.resets++;
    cf_log_info(shm->log, component, "peer up node %u incarnation %u epoch %" PRIu64 " generation %u",
                peer->node, peer->facts.incarnation, shm->epoch, peer->generation);
    peer->was_up = true;
    peer->told_rc = CF_OK;
    peer->state = XP_SHM_UP;
}

/* A message that does not belong into this state: not what an honest peer sends. */
static void on_nonsense(struct xp_shm *shm, struct xp_shm_peer *peer, struct xp_shm_batch *batch)
{
    shm->base.counters.bad_header++;
    if (peer->state == XP_SHM_UP)
        xp_shm_life_violate(shm, peer, "a handshake message out of turn");
    else
        xp_shm_life_refuse(shm, peer, CF_VERSION, "a handshake message out of turn", batch);
}

static void on_wire(struct xp_shm *shm, struct xp_shm_peer *peer, const union xp_shm_wire *wire,
                    uint32_t bytes, struct xp_shm_sock_fds *fds, struct xp_shm_batch *batch)
{
    enum xp_shm_state state = peer->state;
    uint16_t kind = bytes >= sizeof(wire->head) && wire->head.magic == XP_SHM_MAGIC ? wire->head.kind : 0;

    if (kind != 0 && wire->head.version != XP_WIRE_VERSION && xp_shm_in_handshake(peer)) {
        char why[XP_SHM_WHY_BYTES];
        snprintf(why, sizeof(why), "wire version %u here, %u there", XP_WIRE_VERSION, wire->head.version);
        xp_shm_life_refuse(shm, peer, CF_VERSION, why, batch);
    } else if (kind == XP_SHM_WAKE && state == XP_SHM_UP) {
        return; /* its arrival did all it is for */
    } else if (kind == XP_SHM_OPEN && bytes == sizeof(wire->open) && state == XP_SHM_OPENING) {
        xp_shm_shake_open(shm, peer, &wire->open, batch);
    } else if (kind == XP_SHM_HELLO && bytes == sizeof(wire->hello) && state == XP_SHM_PROVING) {
        on_hello(shm, peer, &wire->hello, batch);
    } else if (kind == XP_SHM_ACCEPT && bytes == sizeof(wire->brief) && state == XP_SHM_GRANTED) {
        on_accept(shm, peer, fds, batch);
    } else if (kind == XP_SHM_BYE && bytes == sizeof(wire->brief) && state == XP_SHM_UP) {
        xp_shm_life_drain(shm, peer, CF_CLOSING);
    } else if (kind == XP_SHM_BYE && xp_shm_in_handshake(peer)) {
        xp_shm_life_lost(shm, peer);
    } else if (kind == XP_SHM_REFUSE && bytes == sizeof(wire->brief) && wire->brief.rc < 0) {
        char why[XP_SHM_WHY_BYTES];
        snprintf(why, sizeof(why), "%.*s", (int)sizeof(why) - 1, wire->brief.why);
        if (state == XP_SHM_UP)
            xp_shm_life_drain(shm, peer, (enum cf_rc)wire->brief.rc);
        else
            xp_shm_life_refused(shm, peer, (enum cf_rc)wire->brief.rc, why, batch);
    } else {
        on_nonsense(shm, peer, batch);
    }
}

/* Reads a peer's socket until it is empty, is gone, or what it says must wait for the layer above. */
void xp_shm_shake_read(struct xp_shm *shm, struct xp_shm_peer *peer, struct xp_shm_batch *batch)
{
    for (uint32_t i = 0; i < READS_MAX && peer->fd >= 0 && batch->count < batch->max; i++) {
        union xp_shm_wire wire;
        struct xp_shm_sock_fds fds;
        int got;

        if (peer->state == XP_SHM_ASKED)
            return;
        got = xp_shm_sock_receive(peer->fd, &wire, &fds);
        if (got == XP_SHM_SOCK_EMPTY)
            return;
        if (got == XP_SHM_SOCK_LOST) {
            xp_shm_life_lost(shm, peer);
            return;
        }
        on_wire(shm, peer, &wire, (uint32_t)got, &fds, batch);
        xp_shm_sock_fds_close(&fds);
    }
    if (peer->fd >= 0)
        shm->is_control_due = true;
}

void xp_shm_shake_accept(struct xp *xp, uint16_t node, enum cf_rc rc, const char *why)
{
    struct xp_shm *shm = xp_shm_of(xp);
    struct xp_shm_peer *peer;

    cf_assert(node < shm->nodes);
    peer = &shm->peers[node];
    if (peer->state != XP_SHM_ASKED)
        return; /* it left before it was answered */
    if (rc == CF_OK && peer->facts.epoch != shm->epoch) {
        shm->base.counters.stale_epoch++;
        rc = CF_STALE;
        why = "the epoch moved during the handshake";
    }
    shm->is_control_due = true;
    if (rc == CF_OK) {
        grant(shm, peer);
        return;
    }
    /* The layer above knows what it answered: only the peer is told. */
    shm->base.counters.hello_refused++;
    xp_shm_sock_brief(peer->fd, XP_SHM_REFUSE, rc, why != NULL ? why : "");
    xp_shm_life_hang_up(peer);
    peer->is_known = false;
    peer->state = XP_SHM_REFUSED;
    peer->retry_ns = shm->now_ns + REFUSED_NS;
    peer->told_rc = rc;
    peer->is_refused = true;
    peer->refused_incarnation = peer->facts.incarnation;
}
