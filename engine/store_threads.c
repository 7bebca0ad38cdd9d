/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Storage driven by a few threads with preadv and pwritev2, where io_uring is not to be had. The lock is
 * held for list operations and for the signal that belongs to them, never over a transfer.
 *
 * Invariant, under the lock: the eventfd is readable exactly when `done` is not empty.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/thread.h"
#include "engine/store_file.h"

#define THREADS_COUNT 4u

struct threads_store {
    struct eng_store_base base;
    int event_fd;
    uint32_t threads_count;
    pthread_mutex_t lock;
    pthread_cond_t work;
    struct eng_io_list todo, done; /* [lk:lock] */
    bool stop;                     /* [lk:lock] */
    _Atomic uint32_t
        done_count; /* [lk:lock] to write; read without it as a hint, so that an empty poll is cheap */
    pthread_t threads[THREADS_COUNT];
};

static int transfer(const struct eng_io *io)
{
    struct iovec part = {eng_store_io_at(io), eng_store_io_left(io)};
    off_t offset = (off_t)(io->offset + io->done_bytes);
    ssize_t result;

    if (io->op == ENG_IO_READ)
        result = preadv(eng_store_io_fd(io), &part, 1, offset);
    else if (io->op == ENG_IO_WRITE)
        result = pwritev2(eng_store_io_fd(io), &part, 1, offset, RWF_DSYNC);
    else
        result = fdatasync(io->file->fd);
    return result < 0 ? -errno : (int)result;
}

static void done_push_locked(struct threads_store *s, struct eng_io *io)
{
    uint64_t one = 1;
    ssize_t written;

    if (s->done.first == NULL) {
        written = write(s->event_fd, &one, sizeof one);
        cf_assert(written == (ssize_t)sizeof one); /* the counter was 0: it cannot be full */
    }
    eng_io_push(&s->done, io);
    cf_poke_u32(&s->done_count, cf_peek_u32(&s->done_count) + 1);
}

static void *thread_main(void *arg)
{
    struct threads_store *s = arg;
    struct eng_io *io;

    pthread_mutex_lock(&s->lock);
    for (;;) {
        io = eng_io_pop(&s->todo);
        if (io == NULL) {
            if (s->stop)
                break;
            pthread_cond_wait(&s->work, &s->lock);
            continue;
        }
        pthread_mutex_unlock(&s->lock);
        while (eng_store_io_continue(io, transfer(io)))
            ;
        pthread_mutex_lock(&s->lock);
        done_push_locked(s, io);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

static enum cf_rc threads_submit(struct eng_store *store, struct eng_io *io)
{
    struct threads_store *s = (struct threads_store *)store;

    if (s->base.in_flight == s->base.depth)
        return CF_AGAIN;
    eng_store_io_begin(&s->base, io);
    pthread_mutex_lock(&s->lock);
    eng_io_push(&s->todo, io);
    pthread_cond_signal(&s->work);
    pthread_mutex_unlock(&s->lock);
    return CF_OK;
}

static uint32_t threads_poll(struct eng_store *store, struct eng_io **done, uint32_t max)
{
    struct threads_store *s = (struct threads_store *)store;
    uint32_t count = 0;
    uint64_t drained;
    ssize_t got;

    if (max == 0 || cf_peek_u32(&s->done_count) == 0)
        return 0;
    pthread_mutex_lock(&s->lock);
    while (count < max && s->done.first != NULL)
        done[count++] = eng_io_pop(&s->done);
    if (count > 0 && s->done.first == NULL) {
        got = read(s->event_fd, &drained, sizeof drained);
        cf_assert(got == (ssize_t)sizeof drained); /* it was not empty, so the counter was not 0 */
    }
    cf_poke_u32(&s->done_count, cf_peek_u32(&s->done_count) - count);
    pthread_mutex_unlock(&s->lock);
    for (uint32_t i = 0; i < count; i++)
        eng_store_io_end(&s->base, done[i]);
    return count;
}

static int threads_fd(const struct eng_store *store)
{
    return ((const struct threads_store *)store)->event_fd;
}

static uint32_t threads_in_flight(const struct eng_store *store)
{
    return ((const struct threads_store *)store)->base.in_flight;
}

/* The threads finish what is queued before they end. */
static void threads_close(struct eng_store *store)
{
    struct threads_store *s = (struct threads_store *)store;
    struct eng_io *io;

    pthread_mutex_lock(&s->lock);
    s->stop = true;
    pthread_cond_broadcast(&s->work);
    pthread_mutex_unlock(&s->lock);
    for (uint32_t i = 0; i < s->threads_count; i++)
        pthread_join(s->threads[i], NULL);
    while ((io = eng_io_pop(&s->done)) != NULL)
        eng_store_io_end(&s->base, io);
    pthread_cond_destroy(&s->work);
    pthread_mutex_destroy(&s->lock);
    if (s->event_fd >= 0)
        close(s->event_fd);
    cf_free(s->base.allocator, s, sizeof *s);
}

static const struct eng_store_ops threads_ops = {
    .name = "threads",
    .close = threads_close,
    .open_file = eng_store_file_open,
    .close_file = eng_store_file_close,
    .file_info = eng_store_file_info_get,
    .resize = eng_store_file_resize,
    .submit = threads_submit,
    .poll = threads_poll,
    .fd = threads_fd,
    .in_flight = threads_in_flight,
};

/* Starts as many as there can be; fewer are slower only. */
static int threads_start(struct threads_store *s)
{
    int rc = 0;

    while (rc == 0 && s->threads_count < THREADS_COUNT) {
        rc = cf_thread_start(&s->threads[s->threads_count], "cf-storage", thread_main, s);
        s->threads_count += rc == 0;
    }
    return s->threads_count > 0 ? 0 : rc;
}

enum cf_rc eng_store_threads_open(const struct eng_store_options *options, struct eng_store **store_out,
                                  int *system_out)
{
    struct threads_store *s = cf_alloc(options->allocator, sizeof *s, CF_CACHE_LINE, CF_ALLOC_ZERO);

    if (s == NULL)
        return CF_MEMORY;
    s->base.store.ops = &threads_ops;
    s->base.allocator = options->allocator;
    s->base.log = options->log;
    s->base.depth = options->depth;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->work, NULL);
    s->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    *system_out = s->event_fd < 0 ? errno : threads_start(s);
    if (*system_out != 0) {
        threads_close(&s->base.store);
        return CF_SYSTEM;
    }
    *store_out = &s->base.store;
    return CF_OK;
}
