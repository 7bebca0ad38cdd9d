/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files of the two real backends: opening with or without O_DIRECT, lengths, and the choice between the
 * backends.
 */
#include "engine/store_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/format.h"

/* Interrupted calls of the control path are repeated at most so often. */
#define CONTROL_TRIES_MAX 16u

enum { DIRECT_AUTO = 0, DIRECT_ON = 1, DIRECT_OFF = 2 };
enum { BACKEND_AUTO = 0, BACKEND_URING = 1, BACKEND_THREADS = 2 };

enum cf_rc eng_store_rc(int system)
{
    switch (system) {
    case ENOSPC:
    case EDQUOT:
        return CF_NO_SPACE;
    case EROFS:
    case EBADF: /* a write to a file that was opened for reading */
        return CF_READ_ONLY;
    default:
        return CF_IO;
    }
}

static enum cf_rc fail(struct cf_error *error, enum cf_rc rc, int system, const char *what, const char *path)
{
    return eng_format_fail(error, rc, system, "%s %.150s: %s", what, path, strerror(system));
}

bool eng_store_length(int fd, bool *is_block_device_out, uint64_t *bytes_out)
{
    struct stat status;

    if (fstat(fd, &status) != 0)
        return false;
    *is_block_device_out = S_ISBLK(status.st_mode);
    *bytes_out = (uint64_t)status.st_size;
    return !S_ISBLK(status.st_mode) || ioctl(fd, BLKGETSIZE64, bytes_out) == 0;
}

int eng_store_extend(int fd, uint64_t old_bytes, uint64_t bytes)
{
    int system = 0;

    if (bytes == old_bytes)
        return 0;
    for (uint32_t tries = 0; tries < CONTROL_TRIES_MAX; tries++) {
        system = fallocate(fd, 0, (off_t)old_bytes, (off_t)(bytes - old_bytes)) == 0 ? 0 : errno;
        if (system != EINTR)
            break;
    }
    if (system == EOPNOTSUPP || system == ENOSYS)
        return ftruncate(fd, (off_t)bytes) == 0 ? 0 : errno;
    if (system != 0 && ftruncate(fd, (off_t)old_bytes) != 0) /* what was allocated in part */
        return errno;
    return system;
}

/* ------------------------------------------------------------------ open */

/* For kernels and file systems that do not tell: what a read at the smallest unit after the first answers. */
static uint32_t direct_align_try(int fd)
{
    _Alignas(ENG_STORE_ALIGN_MAX) uint8_t buffer[ENG_STORE_ALIGN_MAX];

    for (uint32_t align = 512; align <= ENG_STORE_ALIGN_MAX; align *= 2)
        if (pread(fd, buffer, align, (off_t)align) >= 0)
            return align;
    return 0;
}

/* The unit of O_DIRECT on this descriptor; 0: there is none that our buffers serve. */
static uint32_t direct_align(int fd)
{
    struct statx status;
    uint32_t align;

    if (statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &status) != 0 || (status.stx_mask & STATX_DIOALIGN) == 0)
        return direct_align_try(fd);
    align = status.stx_dio_offset_align;
    if (align > ENG_STORE_ALIGN_MAX || status.stx_dio_mem_align > ENG_STORE_ALIGN_MAX)
        return 0;
    /* One unit serves offsets, lengths and memory. */
    return status.stx_dio_mem_align > align && align != 0 ? status.stx_dio_mem_align : align;
}

/* Leaves *fd_out at -1 with an errno when the file cannot be had with O_DIRECT. */
static int direct_open(const char *path, int flags, int *fd_out, uint32_t *align_out)
{
    int system, fd = open(path, flags | O_DIRECT);

    if (fd < 0)
        return errno;
    *align_out = direct_align(fd);
    if (*align_out != 0) {
        *fd_out = fd;
        return 0;
    }
    system = EINVAL;
    close(fd);
    return system;
}

/* Why a file could not be opened: one that may be read but not written is read-only, whatever forbids it. */
static enum cf_rc open_rc(int system, const char *path, bool read_only)
{
    if (system == ENOENT)
        return CF_NOT_FOUND;
    if (!read_only && (system == EACCES || system == EPERM || system == ETXTBSY) && access(path, R_OK) == 0)
        return CF_READ_ONLY;
    return eng_store_rc(system);
}

static enum cf_rc buffered_open(const char *path, int flags, int *fd_out, struct cf_error *error)
{
    struct stat status;

    /* Looked at before it is opened: opening a pipe would wait for its other end. */
    if (stat(path, &status) != 0)
        return fail(error, open_rc(errno, path, true), errno, "looking at", path);
    if (!S_ISREG(status.st_mode) && !S_ISBLK(status.st_mode))
        return eng_format_fail(error, CF_FORMAT, 0, "%.150s is neither a file nor a block device", path);
    *fd_out = open(path, flags);
    if (*fd_out < 0)
        return fail(error, open_rc(errno, path, (flags & O_ACCMODE) == O_RDONLY), errno, "opening", path);
    return CF_OK;
}

enum cf_rc eng_store_file_open(struct eng_store *store, const char *path, bool read_only, uint32_t direct,
                               struct eng_store_file **file_out, struct cf_error *error)
{
    struct eng_store_base *base = (struct eng_store_base *)store;
    int flags = (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC, fd = -1, direct_fd = -1, system = 0;
    struct eng_store_file *file;
    uint32_t align = 1;
    uint64_t bytes;
    enum cf_rc rc = buffered_open(path, flags, &fd, error);

    if (rc != CF_OK)
        return rc;
    if (direct != DIRECT_OFF)
        system = direct_open(path, flags, &direct_fd, &align);
    if (system != 0 && direct == DIRECT_ON) {
        rc = fail(error, CF_UNSUPPORTED, system, "opening with O_DIRECT", path);
        goto undo_fd;
    }
    if (system != 0 && !atomic_exchange_explicit(&base->told_no_direct, true, memory_order_relaxed))
        cf_log_info(base->log, "store", "no direct_io path %s reason %s", path, strerror(system));
    file = cf_alloc(base->allocator, sizeof *file, CF_CACHE_LINE, CF_ALLOC_ZERO);
    if (file == NULL) {
        rc = eng_format_fail(error, CF_MEMORY, 0, "no memory to open %.150s", path);
        goto undo_direct;
    }
    file->direct = direct_fd >= 0;
    file->fd = file->direct ? direct_fd : fd;
    file->buffered_fd = fd;
    file->align = file->direct ? align : 1;
    file->allocator = base->allocator;
    atomic_init(&file->references, 1);
    if (eng_store_length(fd, &file->is_block_device, &bytes)) {
        *file_out = file;
        return CF_OK;
    }
    rc = fail(error, CF_IO, errno, "looking at", path);
    cf_free(base->allocator, file, sizeof *file);
undo_direct:
    if (direct_fd >= 0)
        close(direct_fd);
undo_fd:
    close(fd);
    return rc;
}

/*
 * Partner: the other drops. Release: what this thread did with the file is before its end; acquire: the end
 * is last.
 */
static void file_drop(struct eng_store_file *file)
{
    if (atomic_fetch_sub_explicit(&file->references, 1, memory_order_acq_rel) != 1)
        return;
    if (file->direct)
        close(file->fd);
    close(file->buffered_fd);
    cf_free(file->allocator, file, sizeof *file);
}

void eng_store_file_close(struct eng_store *store, struct eng_store_file **file)
{
    (void)store;
    if (*file != NULL)
        file_drop(*file);
    *file = NULL;
}

/* ------------------------------------------------------------------ length */

enum cf_rc eng_store_file_info_get(struct eng_store *store, struct eng_store_file *file,
                                   struct eng_store_file_info *info_out)
{
    uint64_t bytes;
    bool is_block_device;

    (void)store;
    if (!eng_store_length(file->buffered_fd, &is_block_device, &bytes))
        return CF_IO;
    *info_out = (struct eng_store_file_info){
        .bytes = bytes, .is_block_device = is_block_device, .direct = file->direct, .align = file->align};
    return CF_OK;
}

/* New space is allocated, so that a later write does not find the disk full. */
enum cf_rc eng_store_file_resize(struct eng_store *store, struct eng_store_file *file, uint64_t bytes,
                                 struct cf_error *error)
{
    bool is_block_device;
    uint64_t now;
    int system;

    (void)store;
    if (!eng_store_length(file->buffered_fd, &is_block_device, &now))
        return fail(error, eng_store_rc(errno), errno, "looking at", "the file");
    if (is_block_device && bytes > now)
        return fail(error, CF_NO_SPACE, ENOSPC, "growing", "a block device");
    if (is_block_device)
        return CF_OK;
    if (bytes >= now)
        system = eng_store_extend(file->buffered_fd, now, bytes);
    else
        system = ftruncate(file->buffered_fd, (off_t)bytes) == 0 ? 0 : errno;
    if (system == 0 && fsync(file->buffered_fd) != 0)
        system = errno;
    if (system != 0)
        return eng_format_fail(error, eng_store_rc(system), system,
                               "a file of %" PRIu64 " bytes cannot be given %" PRIu64 ": %s", now, bytes,
                               strerror(system));
    return CF_OK;
}

/* ------------------------------------------------------------------ one transfer */

void eng_store_io_begin(struct eng_store_base *base, struct eng_io *io)
{
    cf_assert(io->in_flight == 0);
    io->in_flight = 1;
    io->tries = 0;
    io->done_bytes = 0;
    io->short_bytes = 0;
    /* Relaxed: the submitter has the file open, so the count cannot fall to zero meanwhile. */
    atomic_fetch_add_explicit(&io->file->references, 1, memory_order_relaxed);
    base->in_flight++;
}

void eng_store_io_end(struct eng_store_base *base, struct eng_io *io)
{
    cf_assert(io->in_flight == 1);
    cf_assert(base->in_flight > 0);
    io->in_flight = 0;
    base->in_flight--;
    file_drop(io->file);
}

int eng_store_io_fd(const struct eng_io *io)
{
    const struct eng_store_file *file = io->file;
    uint64_t unit = (uintptr_t)eng_store_io_at(io) | (io->offset + io->done_bytes) | eng_store_io_left(io);

    return (unit & (file->align - 1)) == 0 ? file->fd : file->buffered_fd;
}

bool eng_store_io_continue(struct eng_io *io, int result)
{
    io->rc = CF_OK;
    io->system = 0;
    if (result > 0)
        io->done_bytes += (uint32_t)result;
    if (result >= 0 && (io->op == ENG_IO_SYNC || eng_store_io_left(io) == 0))
        return false;
    if (result == 0 && io->op == ENG_IO_READ) { /* the end of the file */
        io->short_bytes = eng_store_io_left(io);
        memset(eng_store_io_at(io), 0, io->short_bytes);
        return false;
    }
    io->system = result < 0 ? -result : EIO;
    io->rc = eng_store_rc(io->system);
    /* io_uring cancels what a thread has under way when that thread ends; the next one asks again. */
    if (result <= 0 && result != -EINTR && result != -EAGAIN && result != -ECANCELED)
        return false;
    return ++io->tries < ENG_STORE_TRIES_MAX;
}

/* ------------------------------------------------------------------ the choice */

enum cf_rc eng_store_open(const struct eng_store_options *options, struct eng_store **store_out,
                          struct cf_error *error)
{
    enum cf_rc rc = CF_SYSTEM;
    int system = 0;

    cf_assert(options->depth > 0);
    if (options->backend != BACKEND_THREADS)
        rc = eng_store_uring_open(options, store_out, &system);
    if (rc == CF_SYSTEM && options->backend == BACKEND_AUTO)
        cf_log_info(options->log, "store", "no io_uring reason %s: threads read and write", strerror(system));
    if (rc == CF_SYSTEM && options->backend != BACKEND_URING)
        rc = eng_store_threads_open(options, store_out, &system);
    if (rc == CF_MEMORY)
        return eng_format_fail(error, rc, 0, "no memory for %u transfers", options->depth);
    return rc == CF_OK ? CF_OK
                       : eng_format_fail(error, rc, system, "storage cannot be driven: %s", strerror(system));
}

void eng_store_close(struct eng_store **store)
{
    if (*store != NULL)
        (*store)->ops->close(*store);
    *store = NULL;
}
