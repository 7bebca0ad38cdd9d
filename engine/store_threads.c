/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Storage driven by a few threads with pread and pwritev2, where io_uring is not to be had. The queue's lock is held
 * for a list operation only, never over a system call of a transfer.
 */
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/assert.h"
#include "engine/store_file.h"

#define THREADS_COUNT 4u
#define THREADS_TRIES_MAX 16u

struct io_list {
    struct eng_io *first, *last;
};

struct threads_store {
    struct eng_store store;
    const struct cf_allocator *allocator;
    int event_fd;
    uint32_t depth, in_flight, threads_count;
    pthread_mutex_t lock;
    pthread_cond_t work;
    struct io_list todo, done; /* [lk:lock] */
    bool stop;                 /* [lk:lock] */
    pthread_t threads[THREADS_COUNT];
};

static void list_push(struct io_list *list, struct eng_io *io)
{
    io->next = NULL;
    if (list->first == NULL)
        list->first = io;
    else
        list->last->next = io;
    list->last = io;
}

static struct eng_io *list_pop(struct io_list *list)
{
    struct eng_io *io = list->first;

    if (io)
        list->first = io->next;
    return io;
}

static int transfer(struct eng_io *io)
{
    uint32_t left = io->bytes - io->done_bytes;
    struct iovec part = {(uint8_t *)io->buffer + io->done_bytes, left};
    ssize_t result;

    if (io->op == ENG_IO_READ)
        result = preadv(eng_store_fd(io, left), &part, 1, (off_t)(io->offset + io->done_bytes));
    else if (io->op == ENG_IO_WRITE)
        result = pwritev2(io->file->fd, &part, 1, (off_t)(io->offset + io->done_bytes), RWF_DSYNC);
    else
        result = fdatasync(io->file->fd);
    return result < 0 ? -errno : (int)result;
}

static void *thread_main(void *arg)
{
    struct threads_store *s = arg;
    uint64_t one = 1;

    pthread_mutex_lock(&s->lock);
    for (;;) {
        struct eng_io *io = list_pop(&s->todo);

        if (io == NULL) {
            if (s->stop)
                break;
            pthread_cond_wait(&s->work, &s->lock);
            continue;
        }
        pthread_mutex_unlock(&s->lock);
        while (eng_store_continue(io, transfer(io)) && ++io->tries < THREADS_TRIES_MAX)
            ;
        pthread_mutex_lock(&s->lock);
        list_push(&s->done, io);
        (void)!write(s->event_fd, &one, sizeof one); /* full counter: it is readable already */
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

static enum cf_rc threads_submit(struct eng_store *store, struct eng_io *io)
{
    struct threads_store *s = (struct threads_store *)store;

    if (s->in_flight == s->depth)
        return CF_AGAIN;
    io->in_flight = 1;
    io->tries = 0;
    io->done_bytes = 0;
    io->short_bytes = 0;
    s->in_flight++;
    pthread_mutex_lock(&s->lock);
    list_push(&s->todo, io);
    pthread_cond_signal(&s->work);
    pthread_mutex_unlock(&s->lock);
    return CF_OK;
}

static uint32_t threads_poll(struct eng_store *store, struct eng_io **done, uint32_t max)
{
    struct threads_store *s = (struct threads_store *)store;
    uint32_t count = 0;
    uint64_t drained;

    pthread_mutex_lock(&s->lock);
    while (count < max && s->done.first)
        done[count++] = list_pop(&s->done);
    if (s->done.first == NULL)
        (void)!read(s->event_fd, &drained, sizeof drained);
    pthread_mutex_unlock(&s->lock);
    for (uint32_t i = 0; i < count; i++)
        done[i]->in_flight = 0;
    s->in_flight -= count;
    return count;
}

static int threads_fd(const struct eng_store *store)
{
    return ((const struct threads_store *)store)->event_fd;
}

static uint32_t threads_in_flight(const struct eng_store *store)
{
    return ((const struct threads_store *)store)->in_flight;
}

/* The threads finish what is queued before they end. */
static void threads_close(struct eng_store *store)
{
    struct threads_store *s = (struct threads_store *)store;
    uint32_t i;

    pthread_mutex_lock(&s->lock);
    s->stop = true;
    pthread_cond_broadcast(&s->work);
    pthread_mutex_unlock(&s->lock);
    for (i = 0; i < s->threads_count; i++)
        pthread_join(s->threads[i], NULL);
    pthread_cond_destroy(&s->work);
    pthread_mutex_destroy(&s->lock);
    close(s->event_fd);
    cf_free(s->allocator, s, sizeof *s);
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

enum cf_rc eng_store_threads_open(const struct eng_store_options *options, struct eng_store **store_out, int *system_out)
{
    struct threads_store *s = cf_alloc(options->allocator, sizeof *s, CF_CACHE_LINE, CF_ALLOC_ZERO);
    int rc = 0;

    if (s == NULL)
        return CF_MEMORY;
    s->store.ops = &threads_ops;
    s->allocator = options->allocator;
    s->depth = options->depth;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->work, NULL);
    s->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (s->event_fd < 0)
        rc = errno;
    while (rc == 0 && s->threads_count < THREADS_COUNT) {
        rc = pthread_create(&s->threads[s->threads_count], NULL, thread_main, s);
        s->threads_count += rc == 0;
    }
    if (s->threads_count == 0 || s->event_fd < 0) {
        *system_out = rc;
        threads_close(&s->store);
        return CF_SYSTEM;
    }
    *store_out = &s->store;
    return CF_OK;
}
