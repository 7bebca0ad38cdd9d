/* SPDX-License-Identifier: Apache-2.0 */
#include "transport/dpdk/nap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "transport/dpdk/bell.h"
#include "transport/shm/layout.h"

/* Datagrams read in one go; more are read when the next sleep ends. */
#define DRAIN_MAX 16

static bool path_of(const struct xp_shm_place *place, uint16_t node, const char *kind,
                    char path[XP_SHM_PATH_BYTES])
{
    return snprintf(path, XP_SHM_PATH_BYTES, "%s/%s-%u.%s", place->directory, place->cluster, node, kind) <
           (int)XP_SHM_PATH_BYTES;
}

static bool address_of(const struct xp_shm_place *place, uint16_t node, struct sockaddr_un *address)
{
    char path[XP_SHM_PATH_BYTES];

    if (!path_of(place, node, "wake", path))
        return false;
    memset(address, 0, sizeof(*address));
    address->sun_family = AF_UNIX;
    memcpy(address->sun_path, path, strlen(path) + 1);
    return true;
}

static bool word_open(struct xp_dpdk_nap *nap)
{
    char path[XP_SHM_PATH_BYTES];
    void *page = MAP_FAILED;
    int fd;

    if (!path_of(nap->place, nap->place->node, "nap", path))
        return false;
    unlink(path);
    fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return false;
    if (ftruncate(fd, XP_SHM_PAGE_BYTES) == 0)
        page = mmap(NULL, XP_SHM_PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
    close(fd);
    if (page == MAP_FAILED)
        return false;
    nap->word = page;
    return true;
}

static bool socket_open(struct xp_dpdk_nap *nap)
{
    struct sockaddr_un address;

    if (!address_of(nap->place, nap->place->node, &address))
        return false;
    unlink(address.sun_path);
    nap->socket_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    return nap->socket_fd >= 0 && bind(nap->socket_fd, (struct sockaddr *)&address, sizeof(address)) == 0;
}

static bool watch(int epoll_fd, int fd, uint32_t events)
{
    struct epoll_event event = {.events = events};

    return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0;
}

bool xp_dpdk_nap_open(struct xp_dpdk_nap *nap, const struct xp_shm_place *place)
{
    *nap = (struct xp_dpdk_nap){.socket_fd = -1, .bell_fd = -1, .place = place};
    nap->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    nap->sleep_fd = epoll_create1(EPOLL_CLOEXEC);
    nap->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    nap->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (nap->epoll_fd < 0 || nap->sleep_fd < 0 || nap->event_fd < 0 || nap->timer_fd < 0 ||
        !watch(nap->epoll_fd, nap->event_fd, EPOLLIN) || !watch(nap->epoll_fd, nap->sleep_fd, 0) ||
        !watch(nap->sleep_fd, nap->timer_fd, EPOLLIN))
        return false;
    return place == NULL ||
           (word_open(nap) && socket_open(nap) && watch(nap->sleep_fd, nap->socket_fd, EPOLLIN));
}

void xp_dpdk_nap_bell(struct xp_dpdk_nap *nap, const char *interface, uint32_t ip)
{
    nap->bell_fd = xp_dpdk_bell_open(interface, ip);
    if (nap->bell_fd >= 0 && !watch(nap->sleep_fd, nap->bell_fd, EPOLLIN)) {
        close(nap->bell_fd);
        nap->bell_fd = -1;
    }
}

static void close_fd(int fd)
{
    if (fd >= 0)
        close(fd);
}

void xp_dpdk_nap_init(struct xp_dpdk_nap *nap)
{
    *nap = (struct xp_dpdk_nap){
        .socket_fd = -1, .bell_fd = -1, .event_fd = -1, .timer_fd = -1, .sleep_fd = -1, .epoll_fd = -1};
}

void xp_dpdk_nap_close(struct xp_dpdk_nap *nap)
{
    char path[XP_SHM_PATH_BYTES];

    if (nap->word != NULL)
        munmap(nap->word, XP_SHM_PAGE_BYTES);
    if (nap->place != NULL && nap->word != NULL && path_of(nap->place, nap->place->node, "nap", path))
        unlink(path);
    if (nap->place != NULL && nap->socket_fd >= 0 && path_of(nap->place, nap->place->node, "wake", path))
        unlink(path);
    close_fd(nap->socket_fd);
    close_fd(nap->bell_fd);
    close_fd(nap->timer_fd);
    close_fd(nap->event_fd);
    close_fd(nap->sleep_fd);
    close_fd(nap->epoll_fd);
    xp_dpdk_nap_init(nap);
}

void xp_dpdk_nap_say(struct xp_dpdk_nap *nap, uint64_t bits)
{
    char byte;

    for (uint32_t i = 0; nap->socket_fd >= 0 && i < DRAIN_MAX; i++)
        if (recv(nap->socket_fd, &byte, sizeof(byte), MSG_DONTWAIT) < 0)
            break;
    if (nap->bell_fd >= 0)
        xp_dpdk_bell_arm(nap->bell_fd);
    if (nap->word != NULL)
        cf_publish_u64(nap->word, ++nap->count << XP_DPDK_SLEEP_SHIFT | bits);
}

void xp_dpdk_nap_unsay(struct xp_dpdk_nap *nap)
{
    if (nap->word != NULL)
        cf_publish_u64(nap->word, nap->count << XP_DPDK_SLEEP_SHIFT);
}

/* A timer that will have fired by then may stay: the sleep ends once too early, and the next one sets it. */
static void timer_set(struct xp_dpdk_nap *nap, uint64_t now_ns, uint64_t due_ns)
{
    struct itimerspec when = {
        .it_value = {.tv_sec = (time_t)(due_ns / CF_NS_PER_S), .tv_nsec = (long)(due_ns % CF_NS_PER_S)}};

    if (nap->timer_ns > now_ns && nap->timer_ns <= due_ns)
        return;
    /* Cannot fail with a descriptor and a time that are right. One that has fired is not readable any more. */
    (void)timerfd_settime(nap->timer_fd, TFD_TIMER_ABSTIME, &when, NULL);
    nap->timer_ns = due_ns;
}

static void listen_to(struct xp_dpdk_nap *nap, uint32_t events)
{
    struct epoll_event event = {.events = events};

    /* Cannot fail: it was added. */
    (void)epoll_ctl(nap->epoll_fd, EPOLL_CTL_MOD, nap->sleep_fd, &event);
}

void xp_dpdk_nap_begin(struct xp_dpdk_nap *nap, uint64_t now_ns, uint64_t due_ns)
{
    timer_set(nap, now_ns, due_ns);
    listen_to(nap, EPOLLIN);
}

void xp_dpdk_nap_end(struct xp_dpdk_nap *nap)
{
    uint64_t count;

    listen_to(nap, 0);
    xp_dpdk_nap_unsay(nap);
    if (atomic_exchange_explicit(&nap->is_woken, 0, memory_order_relaxed) != 0)
        (void)!read(nap->event_fd, &count, sizeof(count));
}

void xp_dpdk_nap_wake(struct xp_dpdk_nap *nap)
{
    uint64_t one = 1;

    /* A full count is readable already. */
    (void)!write(nap->event_fd, &one, sizeof(one));
    atomic_store_explicit(&nap->is_woken, 1, memory_order_relaxed);
}

void xp_dpdk_bed_open(struct xp_dpdk_bed *bed, const struct xp_dpdk_nap *nap, uint16_t node)
{
    char path[XP_SHM_PATH_BYTES];
    struct stat facts;
    void *page;
    int fd;

    xp_dpdk_bed_close(bed);
    if (nap->place == NULL || !path_of(nap->place, node, "nap", path))
        return;
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return;
    if (fstat(fd, &facts) == 0 && facts.st_size == XP_SHM_PAGE_BYTES) {
        page = mmap(NULL, XP_SHM_PAGE_BYTES, PROT_READ, MAP_SHARED | MAP_POPULATE, fd, 0);
        if (page != MAP_FAILED)
            bed->word = page;
    }
    close(fd);
}

void xp_dpdk_bed_close(struct xp_dpdk_bed *bed)
{
    if (bed->word != NULL)
        munmap((void *)(uintptr_t)bed->word, XP_SHM_PAGE_BYTES);
    *bed = (struct xp_dpdk_bed){.word = NULL};
}

bool xp_dpdk_bed_rouse(struct xp_dpdk_bed *bed, const struct xp_dpdk_nap *nap, uint16_t node, uint64_t kinds)
{
    struct sockaddr_un address;
    uint64_t word;

    if (bed->word == NULL)
        return false;
    word = cf_observe_u64(bed->word);
    if ((word & kinds) == 0 || word == bed->ended || !address_of(nap->place, node, &address))
        return false;
    bed->ended = word;
    /* A socket that is full holds wake-ups enough; one that is gone belongs to a peer that is. */
    (void)sendto(nap->socket_fd, "w", 1, MSG_DONTWAIT | MSG_NOSIGNAL, (struct sockaddr *)&address,
                 sizeof(address));
    return true;
}
