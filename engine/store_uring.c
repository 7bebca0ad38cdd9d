/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Storage driven by io_uring. Transfers are prepared at submit and handed to the kernel in batches, at the next poll;
 * completions are taken without a system call. A write carries RWF_DSYNC: complete means durable.
 */
#include <errno.h>
#include <liburing.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/assert.h"
#include "engine/store_file.h"

/* A transfer that comes back short or interrupted is continued at most so often. */
#define URING_TRIES_MAX 16u

struct uring_store {
    struct eng_store store;
    const struct cf_allocator *allocator;
    struct cf_log *log;
    struct io_uring ring;
    int event_fd;
    uint32_t depth, in_flight, unsubmitted;
    struct eng_io *again; /* transfers to be continued */
};

static void prepare(struct uring_store *s, struct eng_io *io)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&s->ring);
    uint64_t offset = io->offset + io->done_bytes;
    uint8_t *at = (uint8_t *)io->buffer + io->done_bytes;
    uint32_t left = io->bytes - io->done_bytes;

    cf_assert(sqe != NULL); /* the ring is as deep as the store */
    if (io->op == ENG_IO_READ) {
        io_uring_prep_read(sqe, eng_store_fd(io, left), at, left, offset);
    } else if (io->op == ENG_IO_WRITE) {
        io_uring_prep_write(sqe, io->file->fd, at, left, offset);
        sqe->rw_flags = RWF_DSYNC;
    } else {
        io_uring_prep_fsync(sqe, io->file->fd, IORING_FSYNC_DATASYNC);
    }
    io_uring_sqe_set_data(sqe, io);
    s->unsubmitted++;
}

static enum cf_rc uring_submit(struct eng_store *store, struct eng_io *io)
{
    struct uring_store *s = (struct uring_store *)store;

    if (s->in_flight == s->depth)
        return CF_AGAIN;
    io->in_flight = 1;
    io->tries = 0;
    io->done_bytes = 0;
    io->short_bytes = 0;
    s->in_flight++;
    prepare(s, io);
    return CF_OK;
}

static void hand_over(struct uring_store *s)
{
    int count;

    if (s->unsubmitted == 0)
        return;
    count = io_uring_submit(&s->ring);
    if (count > 0)
        s->unsubmitted -= (uint32_t)count;
    else if (count < 0 && count != -EAGAIN && count != -EBUSY && count != -EINTR)
        cf_log_error(s->log, "store", "io_uring refuses transfers: %s", strerror(-count));
}

static uint32_t uring_poll(struct eng_store *store, struct eng_io **done, uint32_t max)
{
    struct uring_store *s = (struct uring_store *)store;
    struct io_uring_cqe *cqe;
    uint32_t count = 0;
    uint64_t drained;

    hand_over(s);
    while (count < max && io_uring_peek_cqe(&s->ring, &cqe) == 0) {
        struct eng_io *io = io_uring_cqe_get_data(cqe);
        int result = cqe->res;

        io_uring_cqe_seen(&s->ring, cqe);
        if (eng_store_continue(io, result) && ++io->tries < URING_TRIES_MAX) {
            prepare(s, io);
            continue;
        }
        io->in_flight = 0;
        s->in_flight--;
        done[count++] = io;
    }
    hand_over(s);
    if (count == 0)
        (void)!read(s->event_fd, &drained, sizeof drained); /* so that the descriptor sleeps until the next completion */
    return count;
}

static int uring_fd(const struct eng_store *store)
{
    return ((const struct uring_store *)store)->event_fd;
}

static uint32_t uring_in_flight(const struct eng_store *store)
{
    return ((const struct uring_store *)store)->in_flight;
}

static void uring_close(struct eng_store *store)
{
    struct uring_store *s = (struct uring_store *)store;
    struct eng_io *done[16];

    /* What the kernel still has must come back before its buffers may go. */
    while (s->in_flight > 0) {
        struct io_uring_cqe *cqe;

        hand_over(s);
        if (io_uring_wait_cqe(&s->ring, &cqe) != 0)
            continue;
        (void)uring_poll(store, done, 16);
    }
    io_uring_queue_exit(&s->ring);
    close(s->event_fd);
    cf_free(s->allocator, s, sizeof *s);
}

static const struct eng_store_ops uring_ops = {
    .name = "io_uring",
    .close = uring_close,
    .open_file = eng_store_file_open,
    .close_file = eng_store_file_close,
    .file_info = eng_store_file_info_get,
    .resize = eng_store_file_resize,
    .submit = uring_submit,
    .poll = uring_poll,
    .fd = uring_fd,
    .in_flight = uring_in_flight,
};

enum cf_rc eng_store_uring_open(const struct eng_store_options *options, struct eng_store **store_out, int *system_out)
{
    struct uring_store *s = cf_alloc(options->allocator, sizeof *s, CF_CACHE_LINE, CF_ALLOC_ZERO);
    int rc;

    if (s == NULL)
        return CF_MEMORY;
    rc = io_uring_queue_init(options->depth * 2, &s->ring, 0);
    if (rc != 0) {
        *system_out = -rc;
        cf_free(options->allocator, s, sizeof *s);
        return CF_SYSTEM;
    }
    s->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (s->event_fd < 0 || io_uring_register_eventfd(&s->ring, s->event_fd) != 0) {
        *system_out = errno;
        if (s->event_fd >= 0)
            close(s->event_fd);
        io_uring_queue_exit(&s->ring);
        cf_free(options->allocator, s, sizeof *s);
        return CF_SYSTEM;
    }
    s->store.ops = &uring_ops;
    s->allocator = options->allocator;
    s->log = options->log;
    s->depth = options->depth;
    *store_out = &s->store;
    return CF_OK;
}
