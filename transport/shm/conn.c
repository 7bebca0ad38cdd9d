/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections: the state machine drawn in shm.h. Everything here is off the data path: it runs once a
 * millisecond or when a socket has something to say, makes system calls, logs, and never waits.
 */
#include <errno.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "transport/shm/shm.h"
#include "transport/shm/sock.h"

/* Chosen: a turn costs about a microsecond, so once a millisecond is a thousandth of a core. */
#define TURN_NS (1 * CF_NS_PER_MS)
#define TURN_CONNECTING_NS (200 * CF_NS_PER_US)
#define CONNECT_NS (5 * CF_NS_PER_MS)
#define REFUSED_NS (250 * CF_NS_PER_MS)
#define HANDSHAKE_NS (2 * CF_NS_PER_S)
/* Used when options leave peer_timeout_ns 0. */
#define BROKEN_NS (1 * CF_NS_PER_S)
/* Messages read from one socket in a turn: wake-ups pile up while a busy instance does not look. */
#define READS_MAX 64

static const char component[] = "transport";

static bool in_handshake(const struct xp_shm_peer *peer)
{
    return peer->state >= XP_SHM_OPENING && peer->state <= XP_SHM_GRANTED;
}

static void set_readable(struct xp_shm *shm, struct xp_shm_peer *peer, bool readable)
{
    uint64_t bit = UINT64_C(1) << peer->node;

    shm->readable = readable ? shm->readable | bit : shm->readable & ~bit;
}

/* Closes the socket; the mapping stays for who drains it. */
static void hang_up(struct xp_shm_peer *peer)
{
    if (peer->fd >= 0)
        close(peer->fd);
    peer->fd = -1;
}

static void lanes_shut(struct xp_shm_peer *peer)
{
    for (uint32_t lane = 0; lane < XP_LANES; lane++)
        peer->tx[lane].credit.window = 0;
}

/* The end of a life of a peer: nothing of it is delivered after this. */
static void bury(struct xp_shm *shm, struct xp_shm_peer *peer)
{
    hang_up(peer);
    xp_shm_peer_unmap(shm, peer);
    if (peer->is_known && peer->facts.incarnation >= peer->incarnation_min)
        peer->incarnation_min = peer->facts.incarnation + 1;
    peer->is_known = false;
    peer->was_up = false;
    peer->state = XP_SHM_ABSENT;
    peer->retry_ns = shm->now_ns + CONNECT_NS;
}

static void report_down(struct xp_shm *shm, struct xp_shm_peer *peer, enum cf_rc rc, const char *why,
                        struct xp_shm_batch *batch)
{
    cf_log_info(shm->log, component, "peer down node %u rc %d %s", peer->node, rc, why);
    xp_shm_emit(batch, XP_EV_DOWN, peer->node, rc);
}

/* Lanes stop; what the peer has published before is taken first, then XP_EV_DOWN tells the rc. */
static void drain(struct xp_shm *shm, struct xp_shm_peer *peer, enum cf_rc rc)
{
    hang_up(peer);
    lanes_shut(peer);
    peer->down_rc = rc;
    peer->state = XP_SHM_DRAINING;
    set_readable(shm, peer, peer->control.base != NULL);
    shm->is_control_due = true;
}

void xp_shm_conn_drained(struct xp_shm *shm, struct xp_shm_peer *peer, struct xp_shm_batch *batch)
{
    cf_assert(peer->state == XP_SHM_DRAINING);
    report_down(shm, peer, peer->down_rc, "", batch);
    bury(shm, peer);
}

void xp_shm_conn_violate(struct xp_shm *shm, struct xp_shm_peer *peer, const char *what)
{
    cf_log_warn(shm->log, component, "peer broke the rules node %u %s", peer->node, what);
    if (peer->state != XP_SHM_UP && peer->state != XP_SHM_DRAINING)
        return;
    if (peer->fd >= 0)
        xp_shm_sock_brief(peer->fd, XP_SHM_REFUSE, CF_INVALID, what);
    hang_up(peer);
    lanes_shut(peer);
    /* Not readable: nothing more is taken, and the next turn reports it down. */
    set_readable(shm, peer, false);
    peer->down_rc = CF_INVALID;
    peer->state = XP_SHM_DRAINING;
    shm->is_control_due = true;
}

/* A socket ended without a word. Before lanes were open that is a failed attempt; after it, alive or dead decides. */
static void lost(struct xp_shm *shm, struct xp_shm_peer *peer)
{
    uint64_t patience_ns = shm->peer_timeout_ns != 0 ? shm->peer_timeout_ns : BROKEN_NS;

    hang_up(peer);
    if (peer->state == XP_SHM_UP) {
        lanes_shut(peer);
        set_readable(shm, peer, false);
        peer->deadline_ns = shm->now_ns + patience_ns;
        peer->state = XP_SHM_BROKEN;
    } else if (peer->was_up) {
        peer->state = XP_SHM_BROKEN;
    } else {
        peer->is_known = false;
        peer->state = XP_SHM_ABSENT;
    }
    peer->retry_ns = shm->now_ns;
}

/* Ends an attempt to connect; both sides report the reason, and once while it does not change. */
static void end_refused(struct xp_shm *shm, struct xp_shm_peer *peer, enum cf_rc rc, const char *why,
                        struct xp_shm_batch *batch)
{
    bool is_news = peer->told_rc != rc || peer->was_up;

    hang_up(peer);
    if (peer->was_up)
        bury(shm, peer);
    else
        xp_shm_peer_unmap(shm, peer);
    peer->is_known = false;
    peer->state = XP_SHM_REFUSED;
    peer->retry_ns = shm->now_ns + REFUSED_NS;
    peer->told_rc = rc;
    if (is_news)
        report_down(shm, peer, rc, why, batch);
}

static void refuse(struct xp_shm *shm, struct xp_shm_peer *peer, enum cf_rc rc, const char *why,
                   struct xp_shm_batch *batch)
{
    shm->base.counters.hello_refused++;
    xp_shm_sock_brief(peer->fd, XP_SHM_REFUSE, rc, why);
    end_refused(shm, peer, rc, why, batch);
}

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
    struct xp_shm_wire_open open = {.head = {XP_SHM_MAGIC, XP_WIRE_VERSION, XP_SHM_OPEN},
                                    .node = shm->node,
                                    .target = peer->node};

    randombytes_buf(peer->own_nonce, sizeof(peer->own_nonce));
    memcpy(open.nonce, peer->own_nonce, sizeof(open.nonce));
    peer->state = XP_SHM_OPENING;
    peer->deadline_ns = peer->was_up ? peer->deadline_ns : shm->now_ns + HANDSHAKE_NS;
    handshake_send(peer, &open, sizeof(open), NULL, 0);
}

static void socket_adopt(struct xp_shm *shm, struct xp_shm_peer *peer, int fd)
{
    cf_assert(peer->fd < 0);
    peer->fd = fd;
    if (xp_shm_sock_watch(shm->epoll_fd, fd, peer->node))
        open_send(shm, peer);
    else
        lost(shm, peer);
}

static void connect_to(struct xp_shm *shm, struct xp_shm_peer *peer)
{
    char path[XP_SHM_PATH_BYTES];
    int fd;

    xp_shm_place_socket(&shm->place, peer->node, path);
    fd = xp_shm_sock_connect(path);
    peer->retry_ns = shm->now_ns + CONNECT_NS;
    if (fd >= 0)
        socket_adopt(shm, peer, fd);
}

static void on_open(struct xp_shm *shm, struct xp_shm_peer *peer, const struct xp_shm_wire_open *open,
                    struct xp_shm_batch *batch)
{
    struct xp_shm_wire_hello hello = {.head = {XP_SHM_MAGIC, XP_WIRE_VERSION, XP_SHM_HELLO}};

    if (open->node != peer->node || open->target != shm->node) {
        refuse(shm, peer, CF_NODE_TAKEN, "node id is not the one expected", batch);
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
        refuse(shm, peer, CF_CLUSTER, "cluster name or secret differ", batch);
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
        snprintf(verdict.why, sizeof(verdict.why), "incarnation %u of node %u is over: start it under a higher one",
                 hello->facts.incarnation, peer->node);
    }
    if (verdict.rc != CF_OK) {
        refuse(shm, peer, verdict.rc, verdict.why, batch);
        return;
    }
    is_same_life = peer->was_up && peer->facts.incarnation == hello->facts.incarnation;
    if (peer->was_up && !is_same_life) {
        /* A new life answers: the old one is over, and that is told before anything of the new one. */
        drain(shm, peer, CF_PEER_LOST);
        return;
    }
    peer->generation = (is_same_life && peer->generation > hello->facts.generation ? peer->generation
                                                                                   : hello->facts.generation) + 1;
    peer->facts = hello->facts;
    peer->is_known = true;
    if (is_same_life) {
        grant(shm, peer);
    } else if (peer->is_refused && peer->refused_incarnation == hello->facts.incarnation) {
        refuse(shm, peer, peer->told_rc, "refused before", batch);
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
        refuse(shm, peer, CF_INVALID, why, batch);
        return;
    }
    xp_shm_emit(batch, peer->was_up ? XP_EV_RESET : XP_EV_UP, peer->node, CF_OK);
    if (peer->was_up)
        shm->base.counters.resets++;
    cf_log_info(shm->log, component, "peer up node %u incarnation %u epoch %" PRIu64 " generation %u", peer->node,
                peer->facts.incarnation, shm->epoch, peer->generation);
    peer->was_up = true;
    peer->told_rc = CF_OK;
    peer->state = XP_SHM_UP;
}

/* A message that does not belong into this state: not what an honest peer sends. */
static void on_nonsense(struct xp_shm *shm, struct xp_shm_peer *peer, struct xp_shm_batch *batch)
{
    shm->base.counters.bad_header++;
    if (peer->state == XP_SHM_UP)
        xp_shm_conn_violate(shm, peer, "a handshake message out of turn");
    else
        refuse(shm, peer, CF_VERSION, "a handshake message out of turn", batch);
}

static void on_wire(struct xp_shm *shm, struct xp_shm_peer *peer, const union xp_shm_wire *wire, uint32_t bytes,
                    struct xp_shm_sock_fds *fds, struct xp_shm_batch *batch)
{
    enum xp_shm_state state = peer->state;
    uint16_t kind = bytes >= sizeof(wire->head) && wire->head.magic == XP_SHM_MAGIC ? wire->head.kind : 0;

    if (kind != 0 && wire->head.version != XP_WIRE_VERSION && in_handshake(peer)) {
        char why[XP_SHM_WHY_BYTES];
        snprintf(why, sizeof(why), "wire version %u here, %u there", XP_WIRE_VERSION, wire->head.version);
        refuse(shm, peer, CF_VERSION, why, batch);
    } else if (kind == XP_SHM_WAKE && state == XP_SHM_UP) {
        return; /* its arrival did all it is for */
    } else if (kind == XP_SHM_OPEN && bytes == sizeof(wire->open) && state == XP_SHM_OPENING) {
        on_open(shm, peer, &wire->open, batch);
    } else if (kind == XP_SHM_HELLO && bytes == sizeof(wire->hello) && state == XP_SHM_PROVING) {
        on_hello(shm, peer, &wire->hello, batch);
    } else if (kind == XP_SHM_ACCEPT && bytes == sizeof(wire->brief) && state == XP_SHM_GRANTED) {
        on_accept(shm, peer, fds, batch);
    } else if (kind == XP_SHM_BYE && bytes == sizeof(wire->brief) && state == XP_SHM_UP) {
        drain(shm, peer, CF_CLOSING);
    } else if (kind == XP_SHM_BYE && in_handshake(peer)) {
        lost(shm, peer);
    } else if (kind == XP_SHM_REFUSE && bytes == sizeof(wire->brief) && wire->brief.rc < 0) {
        char why[XP_SHM_WHY_BYTES];
        snprintf(why, sizeof(why), "%.*s", (int)sizeof(why) - 1, wire->brief.why);
        if (state == XP_SHM_UP)
            drain(shm, peer, (enum cf_rc)wire->brief.rc);
        else
            end_refused(shm, peer, (enum cf_rc)wire->brief.rc, why, batch);
    } else {
        on_nonsense(shm, peer, batch);
    }
}

/* Reads a peer's socket until it is empty, is gone, or what it says must wait for the layer above. */
static void peer_read(struct xp_shm *shm, struct xp_shm_peer *peer, struct xp_shm_batch *batch)
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
            lost(shm, peer);
            return;
        }
        on_wire(shm, peer, &wire, (uint32_t)got, &fds, batch);
        xp_shm_sock_fds_close(&fds);
    }
    if (peer->fd >= 0)
        shm->is_control_due = true;
}

void xp_shm_conn_accept(struct xp *xp, uint16_t node, enum cf_rc rc, const char *why)
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
    hang_up(peer);
    peer->is_known = false;
    peer->state = XP_SHM_REFUSED;
    peer->retry_ns = shm->now_ns + REFUSED_NS;
    peer->told_rc = rc;
    peer->is_refused = true;
    peer->refused_incarnation = peer->facts.incarnation;
}

void xp_shm_conn_evict(struct xp *xp, uint16_t node)
{
    struct xp_shm *shm = xp_shm_of(xp);
    struct xp_shm_peer *peer;

    cf_assert(node < shm->nodes && node != shm->node);
    peer = &shm->peers[node];
    if (peer->fd >= 0)
        xp_shm_sock_brief(peer->fd, XP_SHM_REFUSE, CF_STALE, "evicted");
    bury(shm, peer);
}

void xp_shm_conn_epoch(struct xp *xp, uint64_t epoch)
{
    struct xp_shm *shm = xp_shm_of(xp);

    shm->epoch = epoch;
    for (uint32_t i = 0; i < shm->nodes; i++) {
        struct xp_shm_peer *peer = &shm->peers[i];
        xp_shm_peer_epoch(shm, peer);
        if (peer->state == XP_SHM_REFUSED) {
            peer->retry_ns = shm->now_ns;
            peer->told_rc = CF_OK;
            peer->is_refused = false;
        }
    }
    shm->is_control_due = true;
}

/* What the clock alone decides for a peer. */
static void peer_tick(struct xp_shm *shm, struct xp_shm_peer *peer, struct xp_shm_batch *batch)
{
    bool is_connector = shm->node > peer->node;
    uint64_t now_ns = shm->now_ns;

    /* Our layer above, or the peer's, may take its time to answer a hello. */
    bool may_take_time = peer->state == XP_SHM_ASKED || (peer->state == XP_SHM_GRANTED && !peer->was_up);

    if (in_handshake(peer) && (!may_take_time || peer->is_mute) && now_ns >= peer->deadline_ns) {
        lost(shm, peer);
    } else if (peer->state == XP_SHM_BROKEN) {
        if (!xp_shm_place_is_held(&shm->place, peer->node) || now_ns >= peer->deadline_ns)
            drain(shm, peer, CF_PEER_LOST);
        else if (is_connector && now_ns >= peer->retry_ns)
            connect_to(shm, peer);
    } else if (peer->state == XP_SHM_DRAINING) {
        if ((shm->readable >> peer->node & 1) == 0)
            xp_shm_conn_drained(shm, peer, batch);
    } else if (is_connector && (peer->state == XP_SHM_ABSENT || peer->state == XP_SHM_REFUSED) &&
               now_ns >= peer->retry_ns) {
        connect_to(shm, peer);
    }
}

/* Gives a connection whose OPEN has been read to the peer it names; false: the old one is not over yet. */
static bool guest_seat(struct xp_shm *shm, struct xp_shm_guest *guest, struct xp_shm_batch *batch)
{
    const struct xp_shm_wire_open *open = &guest->open;
    struct xp_shm_peer *peer = open->node < shm->nodes ? &shm->peers[open->node] : NULL;
    int fd = guest->fd;

    if (open->head.version != XP_WIRE_VERSION || peer == NULL || open->node <= shm->node || open->target != shm->node) {
        bool is_version = open->head.version != XP_WIRE_VERSION;
        shm->base.counters.hello_refused++;
        xp_shm_sock_brief(fd, XP_SHM_REFUSE, is_version ? CF_VERSION : CF_NODE_TAKEN,
                          is_version ? "the wire version differs" : "the node id is not one that connects here");
        close(fd);
        guest->fd = -1;
        return true;
    }
    if (peer->fd >= 0 || peer->state == XP_SHM_DRAINING)
        return false;
    guest->fd = -1;
    socket_adopt(shm, peer, fd);
    if (peer->state == XP_SHM_OPENING)
        on_open(shm, peer, open, batch);
    return true;
}

static void guest_turn(struct xp_shm *shm, struct xp_shm_guest *guest, struct xp_shm_batch *batch)
{
    union xp_shm_wire wire;
    struct xp_shm_sock_fds fds;
    int got;

    if (!guest->has_open) {
        got = xp_shm_sock_receive(guest->fd, &wire, &fds);
        if (got == XP_SHM_SOCK_EMPTY && shm->now_ns < guest->deadline_ns)
            return;
        if (got >= 0)
            xp_shm_sock_fds_close(&fds);
        if (got != (int)sizeof(wire.open) || wire.head.magic != XP_SHM_MAGIC || wire.head.kind != XP_SHM_OPEN) {
            close(guest->fd);
            guest->fd = -1;
            return;
        }
        guest->open = wire.open;
        guest->has_open = true;
        /* Until it has a peer nothing more is read of it. */
        xp_shm_sock_unwatch(shm->epoll_fd, guest->fd);
    }
    if (!guest_seat(shm, guest, batch) && shm->now_ns >= guest->deadline_ns) {
        shm->base.counters.hello_refused++;
        xp_shm_sock_brief(guest->fd, XP_SHM_REFUSE, CF_NODE_TAKEN, "this node id is connected already");
        close(guest->fd);
        guest->fd = -1;
    }
}

static void listener_turn(struct xp_shm *shm)
{
    for (uint32_t i = 0; i < XP_SHM_GUESTS_MAX; i++) {
        struct xp_shm_guest *guest = &shm->guests[i];
        int fd;

        if (guest->fd >= 0)
            continue;
        fd = xp_shm_sock_accept(shm->listen_fd);
        if (fd < 0)
            return;
        *guest = (struct xp_shm_guest){.fd = fd, .deadline_ns = shm->now_ns + HANDSHAKE_NS};
        if (!xp_shm_sock_watch(shm->epoll_fd, fd, XP_SHM_WATCH_GUEST)) {
            close(fd);
            guest->fd = -1;
        }
    }
}

static bool is_settled(const struct xp_shm_peer *peer)
{
    return peer->state == XP_SHM_UP || peer->state == XP_SHM_SELF;
}

static uint64_t period_ns(const struct xp_shm *shm)
{
    uint64_t period = TURN_NS;

    for (uint32_t i = 0; i < shm->nodes; i++)
        if (in_handshake(&shm->peers[i]) || shm->peers[i].state == XP_SHM_BROKEN)
            period = TURN_CONNECTING_NS;
    for (uint32_t i = 0; i < XP_SHM_GUESTS_MAX; i++)
        if (shm->guests[i].fd >= 0)
            period = TURN_CONNECTING_NS;
    return period;
}

void xp_shm_conn_turn(struct xp_shm *shm, uint64_t now_ns, struct xp_shm_batch *batch)
{
    struct epoll_event ready[XP_SHM_NODES_MAX];
    int count = epoll_wait(shm->epoll_fd, ready, CF_COUNTOF(ready), 0);

    shm->is_control_due = false;
    for (int i = 0; i < count; i++) {
        uint64_t watch = ready[i].data.u64, value;

        if (watch < shm->nodes)
            peer_read(shm, &shm->peers[watch], batch);
        else if (watch == XP_SHM_WATCH_LISTENER)
            listener_turn(shm);
        else if (watch == XP_SHM_WATCH_EVENT && read(shm->event_fd, &value, sizeof(value)) < 0 && errno != EAGAIN)
            cf_log_error(shm->log, component, "eventfd read errno %d", errno);
        else if (watch == XP_SHM_WATCH_TIMER && read(shm->timer_fd, &value, sizeof(value)) < 0 && errno != EAGAIN)
            cf_log_error(shm->log, component, "timerfd read errno %d", errno);
    }
    for (uint32_t i = 0; i < XP_SHM_GUESTS_MAX && batch->count < batch->max; i++)
        if (shm->guests[i].fd >= 0)
            guest_turn(shm, &shm->guests[i], batch);
    for (uint32_t i = 0; i < shm->nodes && batch->count < batch->max; i++)
        if (!is_settled(&shm->peers[i]))
            peer_tick(shm, &shm->peers[i], batch);
    if (batch->count == batch->max)
        shm->is_control_due = true;
    shm->control_next_ns = now_ns + period_ns(shm);
}

uint64_t xp_shm_conn_due_ns(const struct xp_shm *shm)
{
    uint64_t due_ns = 0;

    for (uint32_t i = 0; i < shm->nodes; i++) {
        const struct xp_shm_peer *peer = &shm->peers[i];
        bool waits_only = shm->node < peer->node && (peer->state == XP_SHM_ABSENT || peer->state == XP_SHM_REFUSED);

        if (is_settled(peer) || waits_only || peer->state == XP_SHM_ASKED)
            continue;
        if (peer->state != XP_SHM_ABSENT && peer->state != XP_SHM_REFUSED)
            return TURN_NS;
        due_ns = CONNECT_NS;
    }
    for (uint32_t i = 0; i < XP_SHM_GUESTS_MAX; i++)
        if (shm->guests[i].fd >= 0)
            return TURN_NS;
    return due_ns;
}

enum cf_rc xp_shm_conn_listen(struct xp_shm *shm, int *errno_out)
{
    char path[XP_SHM_PATH_BYTES];

    xp_shm_place_socket(&shm->place, shm->node, path);
    /* The lock is ours: a socket of this name belongs to a process that has ended. */
    unlink(path);
    shm->listen_fd = xp_shm_sock_listen(path);
    if (shm->listen_fd >= 0 &&
        xp_shm_sock_watch(shm->epoll_fd, shm->listen_fd, XP_SHM_WATCH_LISTENER))
        return CF_OK;
    *errno_out = errno;
    return CF_SYSTEM;
}

void xp_shm_conn_wake(struct xp_shm *shm, struct xp_shm_peer *peer)
{
    shm->base.counters.wakeups_sent++;
    /* A full socket holds unread wake-ups enough; a broken one is found by the next turn. */
    xp_shm_sock_brief(peer->fd, XP_SHM_WAKE, CF_OK, "");
}

void xp_shm_conn_close(struct xp_shm *shm)
{
    for (uint32_t i = 0; i < shm->nodes; i++) {
        struct xp_shm_peer *peer = &shm->peers[i];

        if (peer->fd >= 0)
            xp_shm_sock_brief(peer->fd, XP_SHM_BYE, CF_CLOSING, "");
        hang_up(peer);
        xp_shm_peer_unmap(shm, peer);
    }
    for (uint32_t i = 0; i < XP_SHM_GUESTS_MAX; i++)
        if (shm->guests[i].fd >= 0)
            close(shm->guests[i].fd);
    if (shm->listen_fd >= 0)
        close(shm->listen_fd);
}
