/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sleeping without losing a wake-up: the completion queue is asked for a notice, then looked at once more. What came
 * before the notice was asked for is found by the look, what comes after raises the notice. What the look takes is
 * kept for the next poll.
 *
 * Messages are sent solicited and only those raise the notice, so that a sender is not woken by its own requests
 * being done, unless it waits for one.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/assert.h"
#include "transport/verbs/parts.h"

enum { WATCH_CM = 1, WATCH_COMPLETIONS, WATCH_DEVICE, WATCH_EVENT, WATCH_TIMER, WATCHES };

#define NOTICES_MAX 64

static const char component[] = "transport";

static bool watch(const struct xp_verbs *vb, int fd, uint64_t name)
{
    struct epoll_event event = {.events = EPOLLIN, .data = {.u64 = name}};
    int flags = fcntl(fd, F_GETFL);

    return flags >= 0 && fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0 &&
           epoll_ctl(vb->epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0;
}

bool xp_verbs_watches_open(struct xp_verbs *vb)
{
    vb->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    vb->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    vb->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    return vb->epoll_fd >= 0 && vb->event_fd >= 0 && vb->timer_fd >= 0 &&
           watch(vb, vb->event_fd, WATCH_EVENT) && watch(vb, vb->timer_fd, WATCH_TIMER) &&
           watch(vb, vb->cm->fd, WATCH_CM) && watch(vb, vb->device.channel->fd, WATCH_COMPLETIONS) &&
           watch(vb, vb->device.context->async_fd, WATCH_DEVICE);
}

void xp_verbs_watches_close(struct xp_verbs *vb)
{
    int fds[] = {vb->timer_fd, vb->event_fd, vb->epoll_fd};

    for (uint32_t i = 0; i < CF_COUNTOF(fds); i++)
        if (fds[i] >= 0)
            close(fds[i]);
    vb->timer_fd = vb->event_fd = vb->epoll_fd = -1;
}

static void notices_take(struct xp_verbs *vb)
{
    struct ibv_cq *cq;
    void *context;
    unsigned count = 0;

    while (count < NOTICES_MAX && vb->calls->get_cq_event(vb->device.channel, &cq, &context) == 0)
        count++;
    if (count != 0)
        vb->calls->ack_cq_events(vb->device.cq, count);
}

/* What the device says of itself. A queue pair in error shows in its completions as well. */
static void device_take(struct xp_verbs *vb)
{
    struct ibv_async_event event;
    bool is_fatal;

    for (uint32_t i = 0; i < NOTICES_MAX && vb->calls->get_async_event(vb->device.context, &event) == 0;
         i++) {
        is_fatal = event.event_type == IBV_EVENT_DEVICE_FATAL || event.event_type == IBV_EVENT_CQ_ERR ||
                   event.event_type == IBV_EVENT_SRQ_ERR;
        if (event.event_type != IBV_EVENT_QP_LAST_WQE_REACHED && event.event_type != IBV_EVENT_COMM_EST)
            cf_log_warn(vb->log, component, "%s port %u: %s", vb->device.name, vb->device.port,
                        ibv_event_type_str(event.event_type));
        vb->calls->ack_async_event(&event);
        vb->base.counters.device_errors += is_fatal;
        for (uint32_t n = 0; n < vb->nodes && is_fatal; n++)
            xp_verbs_lost(vb, &vb->peers[n], "the device failed");
    }
}

void xp_verbs_watches_take(struct xp_verbs *vb)
{
    struct epoll_event ready[WATCHES];
    int count = epoll_wait(vb->epoll_fd, ready, WATCHES, 0);
    uint64_t value;

    for (int i = 0; i < count; i++) {
        uint64_t name = ready[i].data.u64;
        int fd = name == WATCH_EVENT ? vb->event_fd : name == WATCH_TIMER ? vb->timer_fd : -1;

        if (name == WATCH_CM)
            xp_verbs_cm_take(vb);
        else if (name == WATCH_COMPLETIONS)
            notices_take(vb);
        else if (name == WATCH_DEVICE)
            device_take(vb);
        if (fd >= 0 && read(fd, &value, sizeof(value)) < 0 && errno != EAGAIN)
            cf_log_error(vb->log, component, "a descriptor cannot be read errno %d", errno);
    }
}

int xp_verbs_fd(const struct xp *xp)
{
    return ((const struct xp_verbs *)xp)->epoll_fd;
}

static void timer_set(struct xp_verbs *vb)
{
    uint64_t due_ns = xp_verbs_due_ns(vb);
    struct itimerspec when = {
        .it_value = {.tv_sec = (time_t)(due_ns / CF_NS_PER_S), .tv_nsec = (long)(due_ns % CF_NS_PER_S)}};

    if (timerfd_settime(vb->timer_fd, 0, &when, NULL) != 0)
        cf_log_error(vb->log, component, "timerfd_settime errno %d", errno);
}

static bool has_work(const struct xp_verbs *vb)
{
    return vb->is_control_due || vb->staged_count != 0 || vb->ready != 0 || vb->news_count != 0 ||
           vb->reads_ended != 0 || vb->is_granting || vb->held_count != 0;
}

bool xp_verbs_arm(struct xp *xp)
{
    struct xp_verbs *vb = xp_verbs_of(xp);
    bool waits_for_own = vb->starved != 0 || vb->reads_open != 0;
    int count;

    cf_assert(!vb->is_armed);
    if (has_work(vb))
        return false;
    xp_verbs_flush(xp);
    if (vb->calls->req_notify_cq(vb->device.cq, !waits_for_own) != 0) {
        vb->base.counters.device_errors++;
        return false;
    }
    count = vb->calls->poll_cq(vb->device.cq, XP_VERBS_COMPLETIONS_MAX, vb->staged);
    if (count > 0) {
        vb->staged_count = (uint32_t)count;
        return false;
    }
    timer_set(vb);
    vb->is_armed = true;
    return true;
}

void xp_verbs_disarm(struct xp *xp)
{
    struct xp_verbs *vb = xp_verbs_of(xp);

    if (!vb->is_armed)
        return;
    vb->is_armed = false;
    /* What ended the sleep, a notice, the eventfd or the timer, has to be read. */
    xp_verbs_hurry(vb);
}

void xp_verbs_wake(struct xp *xp)
{
    struct xp_verbs *vb = xp_verbs_of(xp);
    uint64_t one = 1;

    /* EAGAIN: the count is full, so the descriptor is readable already. */
    if (write(vb->event_fd, &one, sizeof(one)) < 0 && errno != EAGAIN)
        cf_log_error(vb->log, component, "eventfd write errno %d", errno);
}
