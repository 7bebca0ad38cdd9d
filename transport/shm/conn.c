/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections: the state machine drawn in shm.h. Everything here is off the data path: it runs once a
 * millisecond or when a socket has something to say, makes system calls, logs, and never waits.
 */
#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/log.h"
#include "transport/shm/conn.h"
#include "transport/shm/sock.h"

/* Chosen: a turn costs about a microsecond, so once a millisecond is a thousandth of a core. */
#define TURN_NS (1 * CF_NS_PER_MS)
#define TURN_CONNECTING_NS (200 * CF_NS_PER_US)

static const char component[] = "transport";

static void connect_to(struct xp_shm *shm, struct xp_shm_peer *peer)
{
    char path[XP_SHM_PATH_BYTES];
    int fd;

    xp_shm_place_socket(&shm->place, peer->node, path);
    fd = xp_shm_sock_connect(path);
    peer->retry_ns = shm->now_ns + CONNECT_NS;
    if (fd >= 0)
        xp_shm_shake_begin(shm, peer, fd);
}

void xp_shm_conn_evict(struct xp *xp, uint16_t node)
{
    struct xp_shm *shm = xp_shm_of(xp);
    struct xp_shm_peer *peer;

    cf_assert(node < shm->nodes && node != shm->node);
    peer = &shm->peers[node];
    if (peer->fd >= 0)
        xp_shm_sock_brief(peer->fd, XP_SHM_REFUSE, CF_STALE, "evicted");
    xp_shm_life_bury(shm, peer);
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

    if (xp_shm_in_handshake(peer) && (!may_take_time || peer->is_mute) && now_ns >= peer->deadline_ns) {
        xp_shm_life_lost(shm, peer);
    } else if (peer->state == XP_SHM_BROKEN) {
        if (!xp_shm_place_is_held(&shm->place, peer->node) || now_ns >= peer->deadline_ns)
            xp_shm_life_drain(shm, peer, CF_PEER_LOST);
        else if (is_connector && now_ns >= peer->retry_ns)
            connect_to(shm, peer);
    } else if (peer->state == XP_SHM_DRAINING) {
        if ((shm->readable >> peer->node & 1) == 0)
            xp_shm_life_drained(shm, peer, batch);
    } else if (is_connector && (peer->state == XP_SHM_ABSENT || peer->state == XP_SHM_REFUSED) &&
               now_ns >= peer->retry_ns) {
        connect_to(shm, peer);
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
        if (xp_shm_in_handshake(&shm->peers[i]) || shm->peers[i].state == XP_SHM_BROKEN)
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
            xp_shm_shake_read(shm, &shm->peers[watch], batch);
        else if (watch == XP_SHM_WATCH_LISTENER)
            xp_shm_guest_listen(shm);
        else if (watch == XP_SHM_WATCH_EVENT && read(shm->event_fd, &value, sizeof(value)) < 0 &&
                 errno != EAGAIN)
            cf_log_error(shm->log, component, "eventfd read errno %d", errno);
        else if (watch == XP_SHM_WATCH_TIMER && read(shm->timer_fd, &value, sizeof(value)) < 0 &&
                 errno != EAGAIN)
            cf_log_error(shm->log, component, "timerfd read errno %d", errno);
    }
    for (uint32_t i = 0; i < XP_SHM_GUESTS_MAX && batch->count < batch->max; i++)
        if (shm->guests[i].fd >= 0)
            xp_shm_guest_turn(shm, &shm->guests[i], batch);
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
        bool waits_only = shm->node < peer->node &&
                          (peer->state == XP_SHM_ABSENT || peer->state == XP_SHM_REFUSED);

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
    if (shm->listen_fd >= 0 && xp_shm_sock_watch(shm->epoll_fd, shm->listen_fd, XP_SHM_WATCH_LISTENER))
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
        xp_shm_life_hang_up(peer);
        xp_shm_peer_unmap(shm, peer);
    }
    for (uint32_t i = 0; i < XP_SHM_GUESTS_MAX; i++)
        if (shm->guests[i].fd >= 0)
            close(shm->guests[i].fd);
    if (shm->listen_fd >= 0)
        close(shm->listen_fd);
}
