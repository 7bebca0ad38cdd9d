/* SPDX-License-Identifier: Apache-2.0 */
/* Opening, sizing and finishing: what both backends do alike, and the choice between them. */
#include "engine/store_file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.h"

/* O_DIRECT wants offsets and lengths in multiples of the device's block: this holds for all we know of. */
#define ENG_DIRECT_ALIGN 512u

enum { DIRECT_AUTO = 0, DIRECT_ON = 1, DIRECT_OFF = 2 };

static enum cf_rc rc_of(int system)
{
    switch (system) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return CF_NO_SPACE;
    case EROFS:
    case EBADF:
    case EACCES:
    case EPERM:
        return CF_READ_ONLY;
    case ENOENT:
        return CF_NOT_FOUND;
    default:
        return CF_IO;
    }
}

static enum cf_rc fail(struct cf_error *error, int system, const char *what, const char *path)
{
    enum cf_rc rc = rc_of(system);

    if (error) {
        error->rc = rc;
        error->system = system;
        error->node = CF_NODE_NONE;
        snprintf(error->text, sizeof error->text, "%s %.150s: %s", what, path, strerror(system));
    }
    return rc;
}

static bool length_of(int fd, bool *is_block_device_out, uint64_t *bytes_out)
{
    struct stat status;

    if (fstat(fd, &status) != 0)
        return false;
    *is_block_device_out = S_ISBLK(status.st_mode);
    *bytes_out = (uint64_t)status.st_size;
    return !S_ISBLK(status.st_mode) || ioctl(fd, BLKGETSIZE64, bytes_out) == 0;
}

enum cf_rc eng_store_file_open(struct eng_store *store, const char *path, bool read_only, uint32_t direct,
                               struct eng_store_file **file_out, struct cf_error *error)
{
    const struct cf_allocator *allocator = cf_allocator_default();
    struct eng_store_file *file;
    int flags = (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC, direct_fd = -1, fd = open(path, flags);
    bool is_block_device;
    uint64_t bytes;

    (void)store;
    if (fd < 0)
        return fail(error, errno, "opening", path);
    if (!length_of(fd, &is_block_device, &bytes)) {
        int system = errno;

        close(fd);
        return fail(error, system, "looking at", path);
    }
    if (direct != DIRECT_OFF) {
        direct_fd = open(path, flags | O_DIRECT);
        if (direct_fd < 0 && direct == DIRECT_ON) {
            int system = errno;

            close(fd);
            return fail(error, system, "opening with O_DIRECT", path);
        }
    }
    file = cf_alloc(allocator, sizeof *file, CF_CACHE_LINE, CF_ALLOC_ZERO);
    if (file == NULL) {
        close(fd);
        if (direct_fd >= 0)
            close(direct_fd);
        return CF_MEMORY;
    }
    file->fd = direct_fd >= 0 ? direct_fd : fd;
    file->buffered_fd = fd;
    file->direct = direct_fd >= 0;
    file->is_block_device = is_block_device;
    file->read_only = read_only;
    file->align = file->direct ? ENG_DIRECT_ALIGN : 1;
    file->bytes = bytes;
    file->allocator = allocator;
    *file_out = file;
    return CF_OK;
}

void eng_store_file_close(struct eng_store *store, struct eng_store_file **file)
{
    struct eng_store_file *f = *file;

    (void)store;
    if (f == NULL)
        return;
    if (f->direct)
        close(f->fd);
    close(f->buffered_fd);
    cf_free(f->allocator, f, sizeof *f);
    *file = NULL;
}

enum cf_rc eng_store_file_info_get(struct eng_store *store, struct eng_store_file *file, struct eng_store_file_info *info_out)
{
    (void)store;
    if (!length_of(file->buffered_fd, &file->is_block_device, &file->bytes))
        return CF_IO;
    info_out->bytes = file->bytes;
    info_out->is_block_device = file->is_block_device;
    info_out->direct = file->direct;
    info_out->align = file->align;
    return CF_OK;
}

/* New space is allocated, so that a later write cannot find the disk full; shorter files are cut. */
enum cf_rc eng_store_file_resize(struct eng_store *store, struct eng_store_file *file, uint64_t bytes, struct cf_error *error)
{
    uint64_t now;

    (void)store;
    if (!length_of(file->buffered_fd, &file->is_block_device, &now))
        return fail(error, errno, "looking at", "the file");
    if (file->is_block_device)
        return bytes <= now ? CF_OK : fail(error, ENOSPC, "growing", "a block device");
    if (bytes < now) {
        if (ftruncate(file->buffered_fd, (off_t)bytes) != 0)
            return fail(error, errno, "cutting", "the file");
    } else if (bytes > now) {
        int system = posix_fallocate(file->buffered_fd, (off_t)now, (off_t)(bytes - now));

        if (system == EOPNOTSUPP || system == EINVAL)
            system = ftruncate(file->buffered_fd, (off_t)bytes) == 0 ? 0 : errno;
        if (system != 0) {
            if (ftruncate(file->buffered_fd, (off_t)now) != 0)
                system = errno;
            return fail(error, system, "growing", "the file");
        }
    }
    if (fsync(file->buffered_fd) != 0)
        return fail(error, errno, "syncing", "the file");
    file->bytes = bytes;
    return CF_OK;
}

int eng_store_fd(const struct eng_io *io, uint32_t left)
{
    const struct eng_store_file *file = io->file;

    /* What the direct descriptor cannot do: a rest that is not a multiple of its unit. */
    if (file->direct && (((io->offset + io->done_bytes) | left) & (file->align - 1)))
        return file->buffered_fd;
    return file->fd;
}

static void read_ended_early(struct eng_io *io)
{
    io->short_bytes = io->bytes - io->done_bytes;
    memset((uint8_t *)io->buffer + io->done_bytes, 0, io->short_bytes);
    io->rc = CF_OK;
}

bool eng_store_continue(struct eng_io *io, int result)
{
    io->system = 0;
    if (result == -EINTR || result == -EAGAIN) {
        io->rc = CF_IO;
        io->system = -result;
        return true;
    }
    if (result < 0) {
        io->system = -result;
        io->rc = rc_of(io->system);
        return false;
    }
    io->rc = CF_OK;
    if (io->op == ENG_IO_SYNC)
        return false;
    io->done_bytes += (uint32_t)result;
    if (io->done_bytes >= io->bytes)
        return false;
    if (result == 0) {
        if (io->op == ENG_IO_READ) {
            read_ended_early(io);
        } else {
            io->rc = CF_IO;
            io->system = EIO;
        }
        return false;
    }
    io->rc = CF_IO; /* unless it is continued to the end */
    return true;
}

enum cf_rc eng_store_open(const struct eng_store_options *options, struct eng_store **store_out, struct cf_error *error)
{
    int system = 0;
    enum cf_rc rc = CF_SYSTEM;

    if (options->backend != 2)
        rc = eng_store_uring_open(options, store_out, &system);
    if (rc != CF_OK && options->backend == 0)
        cf_log_info(options->log, "store", "no io_uring here (%s): threads read and write", strerror(system));
    if (rc != CF_OK && options->backend != 1)
        rc = eng_store_threads_open(options, store_out, &system);
    return rc == CF_OK ? CF_OK : fail(error, system, "starting", "storage");
}

void eng_store_close(struct eng_store **store)
{
    if (*store)
        (*store)->ops->close(*store);
    *store = NULL;
}
