/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Storage driven by io_uring. Transfers are prepared at submit and handed to the kernel in batches, at the
 * next poll; completions are taken without a system call. A write carries RWF_DSYNC: complete means durable.
 *
 * The descriptor to wait on is the ring's own: it is readable exactly while a completion is there. An eventfd
 * would have to be drained with a system call, and stays readable after its completion was polled without
 * one.
 *
 * Concurrency: the owner of progress changes from thread to thread, so the ring is not of a single issuer,
 * and a transfer may be cancelled because the thread that submitted it ended (see eng_store_io_continue).
 */
#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <string.h>

#include "engine/store_file.h"

struct uring_store {
    struct eng_store_base base;
    struct io_uring ring;
    struct eng_io_list queue; /* [own] prepared and not yet the kernel's, in the ring's order */
    int refused;              /* [own] errno since which the kernel takes no more transfers; 0: it does */
};

static void enqueue(struct uring_store *s, struct eng_io *io)
{
    uint64_t offset = io->offset + io->done_bytes;
    uint32_t left = eng_store_io_left(io);
    struct io_uring_sqe *sqe;

    eng_io_push(&s->queue, io);
    if (s->refused != 0)
        return;
    sqe = io_uring_get_sqe(&s->ring);
    cf_assert(sqe != NULL); /* the ring is as deep as the store */
    if (io->op == ENG_IO_READ) {
        io_uring_prep_read(sqe, eng_store_io_fd(io), eng_store_io_at(io), left, offset);
    } else if (io->op == ENG_IO_WRITE) {
        io_uring_prep_write(sqe, eng_store_io_fd(io), eng_store_io_at(io), left, offset);
        sqe->rw_flags = RWF_DSYNC;
    } else {
        io_uring_prep_fsync(sqe, io->file->fd, IORING_FSYNC_DATASYNC);
    }
    io_uring_sqe_set_data(sqe, io);
}

static enum cf_rc uring_submit(struct eng_store *store, struct eng_io *io)
{
    struct uring_store *s = (struct uring_store *)store;

    if (s->base.in_flight == s->base.depth)
        return CF_AGAIN;
    eng_store_io_begin(&s->base, io);
    enqueue(s, io);
    return CF_OK;
}

static void hand_over(struct uring_store *s)
{
    int count;

    if (s->queue.first == NULL || s->refused != 0)
        return;
    count = io_uring_submit(&s->ring);
    for (int i = 0; i < count; i++) {
        const struct eng_io *taken = eng_io_pop(&s->queue);

        cf_assert(taken != NULL);
    }
    if (count >= 0 || count == -EAGAIN || count == -EBUSY || count == -EINTR)
        return; /* the rest goes with the next poll */
    s->refused = -count;
    cf_log_error(s->base.log, "store", "io_uring takes no more transfers reason %s", strerror(-count));
}

/* What the kernel refused to take never reached it. */
static uint32_t end_refused(struct uring_store *s, struct eng_io **done, uint32_t max)
{
    uint32_t count = 0;

    while (count < max && s->queue.first != NULL) {
        struct eng_io *io = eng_io_pop(&s->queue);

        io->rc = CF_IO;
        io->system = s->refused;
        eng_store_io_end(&s->base, io);
        done[count++] = io;
    }
    return count;
}

static uint32_t uring_poll(struct eng_store *store, struct eng_io **done, uint32_t max)
{
    struct uring_store *s = (struct uring_store *)store;
    struct io_uring_cqe *cqe;
    uint32_t count = 0;

    hand_over(s);
    while (count < max && io_uring_peek_cqe(&s->ring, &cqe) == 0) {
        struct eng_io *io = io_uring_cqe_get_data(cqe);
        int result = cqe->res;

        io_uring_cqe_seen(&s->ring, cqe);
        if (eng_store_io_continue(io, result)) {
            enqueue(s, io);
            continue;
        }
        eng_store_io_end(&s->base, io);
        done[count++] = io;
    }
    hand_over(s);
    if (s->refused != 0)
        count += end_refused(s, done + count, max - count);
    return count;
}

static int uring_fd(const struct eng_store *store)
{
    return ((const struct uring_store *)store)->ring.ring_fd;
}

static uint32_t uring_in_flight(const struct eng_store *store)
{
    return ((const struct uring_store *)store)->base.in_flight;
}

static void uring_close(struct eng_store *store)
{
    struct uring_store *s = (struct uring_store *)store;
    struct pollfd ready = {.fd = s->ring.ring_fd, .events = POLLIN};
    struct eng_io *done[16];

    /*
     * What the kernel still has must come back before its buffers may go; poll works when io_uring_enter is
     * refused.
     */
    while (s->base.in_flight > 0)
        if (uring_poll(store, done, CF_COUNTOF(done)) == 0 && s->base.in_flight > 0 && s->queue.first == NULL)
            (void)poll(&ready, 1, -1);
    io_uring_queue_exit(&s->ring);
    cf_free(s->base.allocator, s, sizeof *s);
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

static bool has_operations(struct io_uring *ring)
{
    struct io_uring_probe *probe = io_uring_get_probe_ring(ring);
    bool has = probe != NULL && io_uring_opcode_supported(probe, IORING_OP_READ) &&
               io_uring_opcode_supported(probe, IORING_OP_WRITE) &&
               io_uring_opcode_supported(probe, IORING_OP_FSYNC);

    if (probe != NULL)
        io_uring_free_probe(probe);
    return has;
}

enum cf_rc eng_store_uring_open(const struct eng_store_options *options, struct eng_store **store_out,
                                int *system_out)
{
    struct uring_store *s = cf_alloc(options->allocator, sizeof *s, CF_CACHE_LINE, CF_ALLOC_ZERO);
    int rc;

    if (s == NULL)
        return CF_MEMORY;
    rc = io_uring_queue_init(options->depth, &s->ring, 0);
    if (rc == 0 && !has_operations(&s->ring)) {
        io_uring_queue_exit(&s->ring);
        rc = -EOPNOTSUPP;
    }
    if (rc != 0) {
        *system_out = -rc;
        cf_free(options->allocator, s, sizeof *s);
        return CF_SYSTEM;
    }
    s->base.store.ops = &uring_ops;
    s->base.allocator = options->allocator;
    s->base.log = options->log;
    s->base.depth = options->depth;
    *store_out = &s->base.store;
    return CF_OK;
}
