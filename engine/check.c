/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Looks at a whole data file from outside: large reads through the page cache, every block's header,
 * checksum, place, generation, and against the superblock's SCN when that was closed cleanly. Nothing is
 * changed.
 *
 * Not here: whether the contents make sense together, which only the database can tell.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.h"
#include "engine/format.h"
#include "engine/store_file.h"

#define READ_BYTES (1u << 20) /* a multiple of every block size */
#define READ_TRIES_MAX 16u

typedef void (*report_fn)(void *arg, uint64_t block, enum eng_damage damage, const char *text);

struct check {
    const char *path;
    int fd;
    bool is_block_device;
    uint64_t file_bytes;
    uint8_t *buffer; /* READ_BYTES */
    uint32_t block_bytes;
    report_fn report;
    void *report_arg;
    struct eng_check_result *result;
    struct cf_error *error;
};

static enum cf_rc fail(const struct check *check, enum cf_rc rc, int system, const char *what)
{
    return eng_format_fail(check->error, rc, system, "%s %.150s: %s", what, check->path, strerror(system));
}

/* Fills the buffer with what the file has from offset on, at most bytes. */
static enum cf_rc read_at(const struct check *check, uint64_t offset, size_t bytes, size_t *got_out)
{
    size_t got = 0;
    uint32_t tries = 0;

    while (got < bytes) {
        ssize_t count = pread(check->fd, check->buffer + got, bytes - got, (off_t)(offset + got));

        if (count == 0)
            break;
        if (count > 0)
            got += (size_t)count;
        else if (errno != EINTR || ++tries == READ_TRIES_MAX)
            return eng_format_fail(check->error, CF_IO, errno, "reading %.120s at %" PRIu64 ": %s",
                                   check->path, offset + got, strerror(errno));
    }
    *got_out = got;
    return CF_OK;
}

static void found(const struct check *check, uint64_t block, enum eng_damage damage, const char *text)
{
    if (check->report != NULL)
        check->report(check->report_arg, block, damage, text);
}

/* ------------------------------------------------------------------ superblock */

static enum cf_rc super_damaged(struct check *check, const char *text)
{
    check->result->super_damaged = true;
    check->result->damaged = 1;
    found(check, ENG_SUPER_BLOCK, ENG_DAMAGE_CHECKSUM, text);
    return CF_OK;
}

/* CF_OK with super_damaged when it is ours, but not good enough to judge the rest by. */
static enum cf_rc super_read(struct check *check)
{
    struct cf_error error = {0};
    enum cf_rc rc;
    size_t got;

    rc = read_at(check, 0, CF_BLOCK_BYTES_MAX, &got);
    if (rc != CF_OK)
        return rc;
    if (got < CF_BLOCK_BYTES_MIN || !eng_super_is_ours(check->buffer))
        return eng_format_fail(check->error, CF_FORMAT, 0, "%.150s is not a data file: it has no superblock",
                               check->path);
    rc = eng_super_probe(check->buffer, (uint32_t)got, &check->block_bytes, &error);
    if (rc == CF_OK && got < check->block_bytes)
        return super_damaged(check, "the file ends within the superblock");
    if (rc == CF_OK)
        rc = eng_super_verify(check->buffer, check->block_bytes, &error);
    if (rc == CF_OK || rc == CF_CORRUPT)
        memcpy(&check->result->super, eng_super_of(check->buffer), sizeof check->result->super);
    if (rc == CF_CORRUPT)
        return super_damaged(check, error.text);
    if (rc != CF_OK && check->error != NULL)
        *check->error = error;
    return rc;
}

/* ------------------------------------------------------------------ data blocks */

static void block_describe(const struct eng_block_header *header, enum eng_damage damage,
                           const struct check *check, char *text, size_t text_bytes)
{
    const struct eng_super *super = &check->result->super;

    if (damage == ENG_DAMAGE_MAGIC)
        snprintf(text, text_bytes, "mark %08" PRIx32 " instead of %08" PRIx32, header->magic,
                 ENG_BLOCK_MAGIC);
    else if (damage == ENG_DAMAGE_FORMAT)
        snprintf(text, text_bytes, "format version %u instead of %u", header->format, ENG_FORMAT_VERSION);
    else if (damage == ENG_DAMAGE_CHECKSUM)
        snprintf(text, text_bytes, "checksum %08" PRIx32 ", computed %08" PRIx32, header->checksum,
                 eng_block_checksum(header, check->block_bytes));
    else if (damage == ENG_DAMAGE_PLACE)
        snprintf(text, text_bytes, "it is block %" PRIu64 " of file %" PRIu32 ", %" PRIu32 " bytes",
                 header->block, header->file, header->bytes);
    else if (damage == ENG_DAMAGE_GENERATION)
        snprintf(text, text_bytes, "generation %" PRIu32 ", the file has %" PRIu32, header->generation,
                 super->generation);
    else
        snprintf(text, text_bytes, "version %" PRIu64 ", the superblock was closed at %" PRIu64,
                 header->version, super->scn);
}

static void block_check(struct check *check, const void *image, uint64_t block)
{
    struct eng_check_result *result = check->result;
    struct cf_block_key key = {result->super.file_id, result->super.generation, block};
    uint64_t version = 0;
    enum eng_damage damage = eng_block_verify(image, check->block_bytes, &key, &version);
    char text[128];

    if (damage != ENG_DAMAGE_NONE) {
        result->damaged++;
    } else {
        result->written += version != 0;
        if (version > result->highest_version)
            result->highest_version = version;
        /* While it is open, or after a death, blocks may well be newer. */
        if (result->unclean || version <= result->super.scn)
            return;
        result->newer_than_super++;
        damage = ENG_DAMAGE_VERSION;
    }
    block_describe(image, damage, check, text, sizeof text);
    found(check, block, damage, text);
}

static enum cf_rc blocks_check(struct check *check)
{
    const uint64_t blocks = check->result->blocks, batch_max = READ_BYTES / check->block_bytes;
    uint64_t block = 0;

    while (block < blocks) {
        uint64_t batch = blocks - block < batch_max ? blocks - block : batch_max, whole;
        size_t got;
        enum cf_rc rc = read_at(check, (block + 1) * check->block_bytes, batch * check->block_bytes, &got);

        if (rc != CF_OK)
            return rc;
        whole = got / check->block_bytes;
        for (uint64_t i = 0; i < whole; i++)
            block_check(check, check->buffer + i * check->block_bytes, block + i);
        block += whole;
        if (whole < batch)
            break;
    }
    if (block < blocks) {
        char text[128];

        snprintf(text, sizeof text,
                 "the file ends at byte %" PRIu64 ": %" PRIu64 " of %" PRIu64 " blocks are missing",
                 check->file_bytes, blocks - block, blocks);
        check->result->damaged += blocks - block;
        found(check, block, ENG_DAMAGE_LENGTH, text);
    }
    return CF_OK;
}

/* ------------------------------------------------------------------ the whole */

static enum cf_rc whole_check(struct check *check)
{
    struct eng_check_result *result = check->result;
    uint64_t expected;
    enum cf_rc rc = super_read(check);

    if (rc != CF_OK || result->super_damaged)
        return rc;
    result->blocks = result->super.blocks;
    result->unclean = result->super.attached != 0;
    expected = (result->blocks + 1) * check->block_bytes;
    if (!check->is_block_device && check->file_bytes > expected)
        result->beyond_bytes = check->file_bytes - expected;
    return blocks_check(check);
}

static enum cf_rc file_open(struct check *check)
{
    struct stat status;

    if (stat(check->path, &status) != 0)
        return fail(check, errno == ENOENT ? CF_NOT_FOUND : CF_IO, errno, "looking at");
    if (!S_ISREG(status.st_mode) && !S_ISBLK(status.st_mode))
        return eng_format_fail(check->error, CF_FORMAT, 0, "%.150s is neither a file nor a block device",
                               check->path);
    check->fd = open(check->path, O_RDONLY | O_CLOEXEC);
    if (check->fd < 0)
        return fail(check, CF_IO, errno, "opening");
    if (!eng_store_length(check->fd, &check->is_block_device, &check->file_bytes))
        return fail(check, CF_IO, errno, "looking at");
    (void)posix_fadvise(check->fd, 0, 0, POSIX_FADV_SEQUENTIAL); /* a hint: nothing depends on it */
    return CF_OK;
}

enum cf_rc eng_format_check(const char *path, report_fn report, void *arg,
                            struct eng_check_result *result_out, struct cf_error *error)
{
    struct eng_check_result result = {0};
    struct check check = {
        .path = path, .fd = -1, .report = report, .report_arg = arg, .result = &result, .error = error};
    enum cf_rc rc = file_open(&check);

    if (rc == CF_OK) {
        check.buffer = aligned_alloc(CF_CACHE_LINE, READ_BYTES);
        rc = check.buffer != NULL
                 ? whole_check(&check)
                 : eng_format_fail(error, CF_MEMORY, 0, "no memory for %u bytes", READ_BYTES);
        free(check.buffer);
    }
    if (check.fd >= 0)
        close(check.fd);
    if (rc == CF_OK)
        *result_out = result;
    return rc;
}
