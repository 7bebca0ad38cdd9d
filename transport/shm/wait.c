/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sleeping without losing a wake-up.
 *
 *   sleeper (xp_shm_arm)                 sender (xp_shm_post, xp_shm_flush)
 *     sleeping = number | asleep           slot sequence = next
 *     full fence                           full fence
 *     look at every slot                   look at sleeping; asleep: send WAKE
 *
 * One of the two looks sees the other's store (Dekker's pattern, sequentially consistent through the fences), so
 * either the sleeper finds the message or the sender finds the sleeper. Credits given back are found by the
 * same pairing (told count in place of the slot), but only a sleeper that wants credit is woken for them.
 *
 * The wake-up is a datagram on the pair's socket, not an eventfd given to peers: who holds an eventfd can drain
 * it, or make writes to it block, against everyone who shares it. The word numbers the sleeps, so that a sender
 * ends each one once.
 */
#include <errno.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "transport/shm/shm.h"

int xp_shm_fd(const struct xp *xp)
{
    return ((const struct xp_shm *)xp)->epoll_fd;
}

static bool lane_has_message(const struct xp_shm_rx *rx)
{
    const struct xp_shm_slot *slot = (const struct xp_shm_slot *)(rx->slots + (rx->taker.taken & rx->mask) *
                                                                                  XP_SHM_SLOT_BYTES);
    uint64_t word = cf_observe_u64((_Atomic uint64_t *)(uintptr_t)&slot->header.sequence);

    return (word & ~XP_SHM_BLOCK_BIT) == rx->taker.taken + 1;
}

static bool has_work(struct xp_shm *shm)
{
    if (shm->is_control_due || shm->reads_count != 0)
        return true;
    for (uint64_t left = shm->readable; left != 0; left &= left - 1) {
        const struct xp_shm_peer *peer = &shm->peers[__builtin_ctzll(left)];

        if (peer->state == XP_SHM_DRAINING || lane_has_message(&peer->rx[XP_CONTROL]) ||
            lane_has_message(&peer->rx[XP_DATA]))
            return true;
    }
    for (uint64_t left = shm->starved; left != 0; left &= left - 1) {
        struct xp_shm_peer *peer = &shm->peers[__builtin_ctzll(left)];

        for (uint32_t lane = 0; lane < XP_LANES; lane++) {
            struct xp_shm_tx *tx = &peer->tx[lane];
            if (xp_credit_available(&tx->credit) == 0 && xp_shm_credit_refresh(shm, peer, tx)) {
                shm->starved &= ~(UINT64_C(1) << peer->node);
                return true;
            }
        }
    }
    return shm->is_control_due; /* a refresh may have found a liar */
}

static void timer_set(struct xp_shm *shm)
{
    uint64_t due_ns = xp_shm_conn_due_ns(shm);
    struct itimerspec when = {
        .it_value = {.tv_sec = (time_t)(due_ns / CF_NS_PER_S), .tv_nsec = (long)(due_ns % CF_NS_PER_S)}};

    if (due_ns != 0 && timerfd_settime(shm->timer_fd, 0, &when, NULL) != 0)
        cf_log_error(shm->log, "transport", "timerfd_settime errno %d", errno);
}

static uint64_t sleep_word(const struct xp_shm *shm, uint64_t bits)
{
    return shm->sleep_count << XP_SHM_SLEEP_SHIFT | bits;
}

bool xp_shm_arm(struct xp *xp)
{
    struct xp_shm *shm = xp_shm_of(xp);
    uint64_t owing = shm->owing;

    cf_assert(!shm->is_armed);
    if (has_work(shm))
        return false;
    /* Our own posts become visible and wake whom they concern: nobody will do it while we sleep. */
    shm->unflushed |= owing;
    xp_shm_tell_all(shm);
    xp_shm_flush(xp);
    shm->sleep_count++;
    cf_publish_u64(&shm->front->sleeping,
                   sleep_word(shm, XP_SHM_ASLEEP | (shm->starved != 0 ? XP_SHM_STARVED : 0)));
    cf_fence_full(); /* partner: the fences of xp_shm_flush and peer_idle */
    if (has_work(shm)) {
        cf_publish_u64(&shm->front->sleeping, sleep_word(shm, 0));
        return false;
    }
    timer_set(shm);
    shm->is_armed = true;
    return true;
}

void xp_shm_disarm(struct xp *xp)
{
    struct xp_shm *shm = xp_shm_of(xp);

    if (!shm->is_armed)
        return;
    shm->is_armed = false;
    cf_publish_u64(&shm->front->sleeping, sleep_word(shm, 0));
    /* What ended the sleep, a datagram, the eventfd or the timer, has to be read. */
    shm->is_control_due = true;
}

void xp_shm_wake(struct xp *xp)
{
    struct xp_shm *shm = xp_shm_of(xp);
    uint64_t one = 1;

    /* EAGAIN: the count is full, so the descriptor is readable already. */
    if (write(shm->event_fd, &one, sizeof(one)) < 0 && errno != EAGAIN)
        cf_log_error(shm->log, "transport", "eventfd write errno %d", errno);
}

void xp_shm_rouse(struct xp_shm *shm, uint64_t peers, uint64_t why)
{
    for (uint64_t left = peers; left != 0; left &= left - 1) {
        struct xp_shm_peer *peer = &shm->peers[__builtin_ctzll(left)];
        uint64_t word;

        if (peer->state != XP_SHM_UP)
            continue;
        word = cf_observe_u64(peer->sleeping);
        if ((word & why) == 0 || word == peer->sleep_ended)
            continue;
        peer->sleep_ended = word;
        xp_shm_conn_wake(shm, peer);
    }
}
