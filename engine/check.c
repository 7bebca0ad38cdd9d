/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making and checking native files: plain blocking calls, for mkfs, check and whoever wants to read a file without the
 * engine. The reader here shares nothing with the cache but the format.
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/compiler.h"
#include "base/hash.h"
#include "engine/format.h"

#define CHECK_READ_BYTES (1u << 20)
#define FIRST_VERSION 1u

static enum cf_rc fail(struct cf_error *error, enum cf_rc rc, int system, const char *fmt, ...) CF_PRINTF(4, 5);

static enum cf_rc fail(struct cf_error *error, enum cf_rc rc, int system, const char *fmt, ...)
{
    va_list args;

    if (error) {
        error->rc = rc;
        error->system = system;
        error->node = CF_NODE_NONE;
        va_start(args, fmt);
        vsnprintf(error->text, sizeof error->text, fmt, args);
        va_end(args);
    }
    return rc;
}

static enum cf_rc fail_system(struct cf_error *error, int system, const char *what, const char *path)
{
    enum cf_rc rc = system == ENOSPC || system == EDQUOT || system == EFBIG      ? CF_NO_SPACE
                    : system == EROFS || system == EACCES || system == EPERM ? CF_READ_ONLY
                    : system == ENOENT                                       ? CF_NOT_FOUND
                                                                             : CF_IO;

    return fail(error, rc, system, "%s %.150s: %s", what, path, strerror(system));
}

static bool block_size_is_good(uint32_t bytes)
{
    return bytes >= CF_BLOCK_BYTES_MIN && bytes <= CF_BLOCK_BYTES_MAX && (bytes & (bytes - 1)) == 0;
}

/* ------------------------------------------------------------------ superblock */

enum cf_rc eng_super_probe(const void *first_bytes, uint32_t bytes, uint32_t *block_bytes_out, struct cf_error *error)
{
    const struct eng_block_header *header = first_bytes;
    const struct eng_super *super = (const void *)((const uint8_t *)first_bytes + ENG_BLOCK_HEADER_BYTES);

    if (bytes < CF_BLOCK_BYTES_MIN || header->magic != ENG_BLOCK_MAGIC || super->magic != ENG_SUPER_MAGIC)
        return fail(error, CF_FORMAT, 0, "it does not begin with a superblock of ours");
    if (header->format != ENG_FORMAT_VERSION)
        return fail(error, CF_VERSION, 0, "its format version is %u, this one knows %u", header->format, ENG_FORMAT_VERSION);
    if (!block_size_is_good(super->block_bytes))
        return fail(error, CF_CORRUPT, 0, "its superblock names blocks of %u bytes", super->block_bytes);
    *block_bytes_out = super->block_bytes;
    return CF_OK;
}

enum cf_rc eng_super_verify(const void *image, uint32_t bytes, struct cf_error *error)
{
    const struct eng_super *super = (const void *)((const uint8_t *)image + ENG_BLOCK_HEADER_BYTES);
    struct cf_block_key key = {.generation = 0, .block = ENG_SUPER_BLOCK};
    enum eng_damage damage;
    uint32_t block_bytes;
    uint64_t version;
    enum cf_rc rc = eng_super_probe(image, bytes, &block_bytes, error);

    if (rc != CF_OK)
        return rc;
    if (block_bytes != bytes)
        return fail(error, CF_BLOCK_SIZE, 0, "its blocks have %u bytes, not %u", block_bytes, bytes);
    key.file = super->file_id;
    damage = eng_block_verify(image, bytes, &key, &version);
    if (damage != ENG_DAMAGE_NONE)
        return fail(error, CF_CORRUPT, 0, "its superblock is damaged: %s", eng_damage_name(damage));
    if (super->file_id == 0 || super->generation == 0 || super->attached > CF_NODES_MAX ||
        memchr(super->cluster, 0, sizeof super->cluster) == NULL)
        return fail(error, CF_CORRUPT, 0, "its superblock has a field out of range");
    return CF_OK;
}

/* ------------------------------------------------------------------ make */

static void super_fill(uint8_t *image, const struct eng_mkfs *what)
{
    struct eng_super *super = eng_super_of(image);
    struct cf_block_key key = {.generation = 0, .block = ENG_SUPER_BLOCK};
    struct eng_writer nobody = {CF_NODE_NONE, 0, 0};

    memset(image, 0, what->block_bytes);
    super->magic = ENG_SUPER_MAGIC;
    randombytes_buf(super->file_uuid, sizeof super->file_uuid);
    super->blocks = what->blocks;
    memcpy(&super->file_id, super->file_uuid, sizeof super->file_id);
    super->file_id = what->file_id ? what->file_id : super->file_id ? super->file_id : 1;
    super->generation = 1;
    super->block_bytes = what->block_bytes;
    super->scn = FIRST_VERSION;
    key.file = super->file_id;
    eng_block_seal(image, what->block_bytes, &key, FIRST_VERSION, 0, &nobody);
}

static int make_durable(int fd, const char *path)
{
    char *copy = strdup(path);
    int directory, system = 0;

    if (copy == NULL)
        return ENOMEM;
    if (fsync(fd) != 0)
        system = errno;
    directory = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (system == 0 && directory >= 0 && fsync(directory) != 0 && errno != EINVAL)
        system = errno;
    if (directory >= 0)
        close(directory);
    free(copy);
    return system;
}

/* 0 or errno. */
static int fill_file(int fd, const struct eng_mkfs *what, bool is_regular)
{
    uint64_t bytes = (what->blocks + 1) * what->block_bytes;
    uint8_t *image;
    int system = 0;

    if (is_regular) {
        if (ftruncate(fd, 0) != 0)
            return errno;
        system = posix_fallocate(fd, 0, (off_t)bytes);
        if (system == EOPNOTSUPP || system == EINVAL)
            system = ftruncate(fd, (off_t)bytes) == 0 ? 0 : errno;
    }
    if (system != 0)
        return system;
    image = aligned_alloc(4096, what->block_bytes < 4096 ? 4096 : what->block_bytes);
    if (image == NULL)
        return ENOMEM;
    super_fill(image, what);
    if (pwrite(fd, image, what->block_bytes, 0) != (ssize_t)what->block_bytes)
        system = errno ? errno : EIO;
    free(image);
    return system ? system : make_durable(fd, what->path);
}

enum cf_rc eng_format_make(const struct eng_mkfs *what, struct cf_error *error)
{
    struct stat status;
    bool is_new;
    int fd, system;

    if (!block_size_is_good(what->block_bytes))
        return fail(error, CF_INVALID, 0, "block size %u is not a power of two from %u to %u", what->block_bytes,
                    CF_BLOCK_BYTES_MIN, CF_BLOCK_BYTES_MAX);
    if (what->blocks >= (uint64_t)INT64_MAX / what->block_bytes - 1)
        return fail(error, CF_INVALID, 0, "%llu blocks are more than a file can have", (unsigned long long)what->blocks);
    if (!cf_hash_init())
        return fail(error, CF_SYSTEM, 0, "no source of randomness");
    is_new = access(what->path, F_OK) != 0;
    fd = open(what->path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0)
        return fail_system(error, errno, "creating", what->path);
    if (fstat(fd, &status) != 0 || !(S_ISREG(status.st_mode) || S_ISBLK(status.st_mode))) {
        close(fd);
        return fail(error, CF_FORMAT, 0, "%.150s is neither a file nor a block device", what->path);
    }
    if ((status.st_size != 0 || S_ISBLK(status.st_mode)) && !what->force) {
        close(fd);
        return fail(error, CF_FORMAT, 0, "%.150s is not empty; say --force to overwrite it", what->path);
    }
    system = fill_file(fd, what, S_ISREG(status.st_mode));
    close(fd);
    if (system == 0)
        return CF_OK;
    if (is_new && unlink(what->path) != 0)
        return fail_system(error, errno, "removing the unfinished", what->path);
    return fail_system(error, system, "making", what->path);
}

/* ------------------------------------------------------------------ check */

struct checking {
    int fd;
    uint8_t *buffer;
    void (*report)(void *arg, uint64_t block, enum eng_damage damage, const char *text);
    void *arg;
    struct eng_check_result *result;
};

static void found(struct checking *c, uint64_t block, enum eng_damage damage, const char *text)
{
    c->result->damaged++;
    if (c->report)
        c->report(c->arg, block, damage, text);
}

/* Reads `bytes` or to the end of the file; what lies beyond is zero. Returns bytes read, -1 with errno. */
static ssize_t read_full(int fd, uint8_t *to, size_t bytes, off_t offset)
{
    size_t got = 0;

    while (got < bytes) {
        ssize_t n = pread(fd, to + got, bytes - got, offset + (off_t)got);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        if (n == 0)
            break;
        got += (size_t)n;
    }
    memset(to + got, 0, bytes - got);
    return (ssize_t)got;
}

static void check_block(struct checking *c, const uint8_t *image, uint64_t block)
{
    const struct eng_super *super = &c->result->super;
    struct cf_block_key key = {super->file_id, super->generation, block};
    uint64_t version = 0;
    enum eng_damage damage = eng_block_verify(image, super->block_bytes, &key, &version);

    c->result->blocks++;
    if (damage != ENG_DAMAGE_NONE) {
        found(c, block, damage, eng_damage_name(damage));
        return;
    }
    c->result->written += version != 0;
    if (version > c->result->highest_version)
        c->result->highest_version = version;
    if (version > super->scn) {
        c->result->newer_than_super++;
        if (super->attached == 0)
            found(c, block, ENG_DAMAGE_NONE, "its version is newer than the clean superblock's clock");
    }
}

static enum cf_rc check_blocks(struct checking *c, const char *path, struct cf_error *error)
{
    uint32_t bytes = c->result->super.block_bytes, per_read = CHECK_READ_BYTES / bytes, i;
    uint64_t block, blocks = c->result->super.blocks;
    struct stat status;

    if (fstat(c->fd, &status) == 0 && S_ISREG(status.st_mode) && (uint64_t)status.st_size < (blocks + 1) * bytes)
        found(c, (uint64_t)status.st_size / bytes, ENG_DAMAGE_NONE, "the file ends before its last block");
    for (block = 0; block < blocks; block += per_read) {
        uint64_t count = blocks - block < per_read ? blocks - block : per_read;

        if (read_full(c->fd, c->buffer, count * bytes, (off_t)((block + 1) * bytes)) < 0)
            return fail_system(error, errno, "reading", path);
        for (i = 0; i < count; i++)
            check_block(c, c->buffer + (uint64_t)i * bytes, block + i);
    }
    return CF_OK;
}

enum cf_rc eng_format_check(const char *path, void (*report)(void *arg, uint64_t block, enum eng_damage damage, const char *text),
                            void *arg, struct eng_check_result *result_out, struct cf_error *error)
{
    struct checking c = {.report = report, .arg = arg, .result = result_out};
    uint32_t block_bytes;
    enum cf_rc rc;

    memset(result_out, 0, sizeof *result_out);
    c.fd = open(path, O_RDONLY | O_CLOEXEC);
    if (c.fd < 0)
        return fail_system(error, errno, "opening", path);
    c.buffer = aligned_alloc(4096, CHECK_READ_BYTES);
    if (c.buffer == NULL) {
        close(c.fd);
        return fail(error, CF_MEMORY, 0, "no memory for a buffer");
    }
    if (read_full(c.fd, c.buffer, CF_BLOCK_BYTES_MAX, 0) < 0)
        rc = fail_system(error, errno, "reading", path);
    else
        rc = eng_super_probe(c.buffer, CF_BLOCK_BYTES_MAX, &block_bytes, error);
    if (rc == CF_OK)
        rc = eng_super_verify(c.buffer, block_bytes, error);
    if (rc == CF_OK) {
        memcpy(&result_out->super, eng_super_of(c.buffer), sizeof result_out->super);
        result_out->unclean = result_out->super.attached != 0;
        rc = check_blocks(&c, path, error);
    }
    free(c.buffer);
    close(c.fd);
    return rc;
}
