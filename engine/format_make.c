/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Makes a data file: length first, data blocks of zeroes, the superblock last. A file without a whole
 * superblock is refused by everyone, so that being interrupted anywhere leaves no file that looks good. What
 * was there before is made invalid durably before the first new byte.
 */
#include "engine/format.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/store_file.h"

#define FILE_MODE 0644
/* A superblock was changed once: by whom made it. Version 0 is for blocks that were never written. */
#define FIRST_VERSION 1u

struct target {
    const struct eng_mkfs *what;
    int fd;
    bool is_new; /* this call created it */
    bool is_block_device;
    uint64_t bytes; /* of the whole file */
    struct cf_error *error;
};

static enum cf_rc fail(const struct target *target, int system, const char *what)
{
    return eng_format_fail(target->error, eng_store_rc(system), system, "%s %.150s: %s", what,
                           target->what->path, strerror(system));
}

static enum cf_rc request_check(struct target *target)
{
    const struct eng_mkfs *what = target->what;

    if (!eng_block_bytes_ok(what->block_bytes))
        return eng_format_fail(target->error, CF_INVALID, 0,
                               "block size %u is not a power of two from %u to %u", what->block_bytes,
                               CF_BLOCK_BYTES_MIN, CF_BLOCK_BYTES_MAX);
    if (what->blocks >= (uint64_t)INT64_MAX / what->block_bytes - 1)
        return eng_format_fail(target->error, CF_INVALID, 0,
                               "%" PRIu64 " blocks are more than a file can have", what->blocks);
    target->bytes = (what->blocks + 1) * what->block_bytes;
    return CF_OK;
}

/* May what is there be overwritten? An empty regular file may. */
static enum cf_rc old_check(struct target *target, uint64_t old_bytes)
{
    uint8_t first[CF_BLOCK_BYTES_MIN] = {0};

    if (old_bytes == 0)
        return CF_OK;
    if (!target->what->force)
        return eng_format_fail(target->error, CF_FORMAT, EEXIST,
                               "%.150s is not empty; say --force to overwrite it", target->what->path);
    if (target->is_block_device)
        return CF_OK;
    if (pread(target->fd, first, sizeof first, 0) < 0)
        return fail(target, errno, "reading");
    if (!eng_super_is_ours(first))
        return eng_format_fail(target->error, CF_FORMAT, EEXIST,
                               "%.150s is not a data file of ours: force does not overwrite it",
                               target->what->path);
    return CF_OK;
}

static enum cf_rc target_open(struct target *target)
{
    struct stat status;
    uint64_t old_bytes;

    target->fd = open(target->what->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, FILE_MODE);
    target->is_new = target->fd >= 0;
    if (target->is_new)
        return CF_OK;
    if (errno != EEXIST)
        return fail(target, errno, "creating");
    if (stat(target->what->path, &status) != 0)
        return fail(target, errno, "looking at");
    if (!S_ISREG(status.st_mode) && !S_ISBLK(status.st_mode))
        return eng_format_fail(target->error, CF_FORMAT, 0, "%.150s is neither a file nor a block device",
                               target->what->path);
    target->fd = open(target->what->path, O_RDWR | O_CLOEXEC);
    if (target->fd < 0)
        return fail(target, errno, "opening");
    if (!eng_store_length(target->fd, &target->is_block_device, &old_bytes))
        return fail(target, errno, "looking at");
    if (target->is_block_device && old_bytes < target->bytes)
        return eng_format_fail(target->error, CF_NO_SPACE, 0,
                               "%.120s has %" PRIu64 " bytes, %" PRIu64 " are needed", target->what->path,
                               old_bytes, target->bytes);
    return old_check(target, old_bytes);
}

/* Superblock and data blocks read as zeroes afterwards, and have their space. */
static enum cf_rc blank(struct target *target)
{
    int system;

    if (target->is_block_device) {
        uint64_t range[2] = {0, target->bytes};

        return ioctl(target->fd, BLKZEROOUT, range) == 0 ? CF_OK : fail(target, errno, "zeroing");
    }
    if (!target->is_new && (ftruncate(target->fd, 0) != 0 || fsync(target->fd) != 0))
        return fail(target, errno, "emptying");
    system = eng_store_extend(target->fd, 0, target->bytes);
    return system == 0 ? CF_OK : fail(target, system, "allocating");
}

static enum cf_rc super_write(const struct target *target)
{
    _Alignas(uint64_t) uint8_t image[CF_BLOCK_BYTES_MAX] = {0};
    const struct eng_mkfs *what = target->what;
    struct eng_super *super = eng_super_of(image);
    /* The superblock's own generation is always 0: who asks for it does not know the file's yet. */
    struct cf_block_key key = {.block = ENG_SUPER_BLOCK};
    struct eng_writer writer = {.node = CF_NODE_NONE};
    ssize_t written;

    super->magic = ENG_SUPER_MAGIC;
    if (getrandom(super->file_uuid, sizeof super->file_uuid, 0) != (ssize_t)sizeof super->file_uuid)
        return fail(target, errno, "no random bytes for");
    super->file_uuid[6] = (uint8_t)((super->file_uuid[6] & 0x0f) | 0x40); /* RFC 4122: version 4, random */
    super->file_uuid[8] = (uint8_t)((super->file_uuid[8] & 0x3f) | 0x80);
    memcpy(&super->file_id, super->file_uuid, sizeof super->file_id);
    if (super->file_id == 0)
        super->file_id = 1;
    if (what->file_id != 0)
        super->file_id = what->file_id;
    super->blocks = what->blocks;
    super->generation = 1;
    super->scn = FIRST_VERSION;
    super->block_bytes = what->block_bytes;
    key.file = super->file_id;
    eng_block_seal(image, what->block_bytes, &key, FIRST_VERSION, 0, &writer);
    written = pwrite(target->fd, image, what->block_bytes, 0);
    if (written != (ssize_t)what->block_bytes)
        return fail(target, written < 0 ? errno : EIO, "writing the superblock of");
    return fsync(target->fd) == 0 ? CF_OK : fail(target, errno, "syncing");
}

/* The name is durable when the folder is. */
static enum cf_rc folder_sync(const struct target *target)
{
    char folder[PATH_MAX];
    const char *path = target->what->path, *slash = strrchr(path, '/');
    size_t bytes = slash == NULL ? 0 : slash == path ? 1 : (size_t)(slash - path);
    int fd, system = 0;

    if (bytes >= sizeof folder)
        return fail(target, ENAMETOOLONG, "syncing the folder of");
    memcpy(folder, bytes == 0 ? "." : path, bytes == 0 ? 1 : bytes);
    folder[bytes == 0 ? 1 : bytes] = 0;
    fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return fail(target, errno, "opening the folder of");
    if (fsync(fd) != 0 && errno != EINVAL) /* EINVAL: a file system that cannot sync folders */
        system = errno;
    close(fd);
    return system == 0 ? CF_OK : fail(target, system, "syncing the folder of");
}

/* Gives the space back; a file that was there before is left, empty. The first error is the one to tell. */
static void undo(const struct target *target)
{
    if (target->is_new)
        unlink(target->what->path);
    else if (!target->is_block_device && ftruncate(target->fd, 0) != 0)
        return; /* without its superblock it is refused all the same */
}

enum cf_rc eng_format_make(const struct eng_mkfs *what, struct cf_error *error)
{
    struct target target = {.what = what, .fd = -1, .error = error};
    enum cf_rc rc = request_check(&target);

    if (rc != CF_OK)
        return rc;
    rc = target_open(&target);
    if (rc == CF_OK) {
        rc = blank(&target);
        if (rc == CF_OK)
            rc = super_write(&target);
        if (rc == CF_OK && !target.is_block_device)
            rc = folder_sync(&target);
        if (rc != CF_OK)
            undo(&target);
    }
    if (target.fd >= 0)
        close(target.fd);
    return rc;
}
