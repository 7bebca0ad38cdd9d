/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRANSPORT_DPDK_NAP_H
#define TRANSPORT_DPDK_NAP_H

/*
 * Sleeping. A port that is polled has no descriptor to wait on. Instances of one host meet in a directory, as those of
 * shm do, and use it to wake each other without losing a wake-up:
 *
 *   sleeper (xp_dpdk_arm)                sender (xp_dpdk_nap_rouse)
 *     word = number | asleep               burst of packets into the peer's ring
 *     full fence                           full fence
 *     look at every ring                   look at the peer's word; asleep: a datagram to its socket
 *
 * One of the two looks sees the other's store (Dekker's pattern, as in shm/wait.c). The word is in a file of one page,
 * written by its instance, mapped read-only by its peers. Instances of other hosts cannot look. Over an interface of the
 * kernel's a bell rings (bell.h). Of a card a sleeper only naps, for a time that doubles from XP_DPDK_NAP_NS_MIN to
 * XP_DPDK_NAP_NS_MAX while nothing comes.
 */
#include <stdatomic.h>

#include "transport/shm/place.h"

#define XP_DPDK_NAP_NS_MIN UINT64_C(50000)
#define XP_DPDK_NAP_NS_MAX UINT64_C(1000000)
/* Bits of the word; the rest numbers the sleep, so that one sleep is ended by one datagram. */
#define XP_DPDK_ASLEEP 1u
#define XP_DPDK_STARVED 2u
#define XP_DPDK_SLEEP_SHIFT 2

struct xp_dpdk_nap {
    _Atomic uint64_t *word; /* NULL: not on one host */
    uint64_t count;
    int socket_fd;
    int bell_fd; /* -1: none */
    int event_fd;
    int timer_fd;
    int sleep_fd; /* what ends a sleep: datagrams, the bell, the timer */
    int epoll_fd; /* sleep_fd while armed, and event_fd */
    uint64_t timer_ns;
    _Atomic uint32_t
        is_woken; /* event_fd is readable; set behind the write, so that it may be late but never wrong */
    const struct xp_shm_place *place;
};

/* A peer's side of it, while lanes to it are open. */
struct xp_dpdk_bed {
    const _Atomic uint64_t *word; /* NULL: none */
    uint64_t ended;               /* value of the word for which a datagram has been sent */
};

/* Closing it does nothing. */
void xp_dpdk_nap_init(struct xp_dpdk_nap *nap);
/* place: where instances of one host meet, NULL for others. */
CF_CHECK bool xp_dpdk_nap_open(struct xp_dpdk_nap *nap, const struct xp_shm_place *place);
void xp_dpdk_nap_close(struct xp_dpdk_nap *nap);
/* Over an interface of the kernel's: what comes ends a sleep. Without it sleepers nap. */
void xp_dpdk_nap_bell(struct xp_dpdk_nap *nap, const char *interface, uint32_t ip);
/* Forgets what ended sleeps before, then announces this one; `bits`: XP_DPDK_ASLEEP and more. */
void xp_dpdk_nap_say(struct xp_dpdk_nap *nap, uint64_t bits);
/* The descriptor becomes readable by what comes, and at that time at the latest. */
void xp_dpdk_nap_begin(struct xp_dpdk_nap *nap, uint64_t now_ns, uint64_t due_ns);
/* It does not any more, but by xp_dpdk_nap_wake: who polls it for other reasons is not disturbed. */
void xp_dpdk_nap_end(struct xp_dpdk_nap *nap);
/* A sleep that was announced does not take place. */
void xp_dpdk_nap_unsay(struct xp_dpdk_nap *nap);
void xp_dpdk_nap_wake(struct xp_dpdk_nap *nap);

void xp_dpdk_bed_open(struct xp_dpdk_bed *bed, const struct xp_dpdk_nap *nap, uint16_t node);
void xp_dpdk_bed_close(struct xp_dpdk_bed *bed);
/* After packets went out and a full fence: ends the peer's sleep if it is of one of the kinds. True: it was. */
bool xp_dpdk_bed_rouse(struct xp_dpdk_bed *bed, const struct xp_dpdk_nap *nap, uint16_t node, uint64_t kinds);

#endif
