/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The native format: sealing and verifying blocks and superblocks. Not here: making a file (format_make.c)
 * and checking a whole one (check.c). The checksum is CRC32C (iSCSI polynomial, RFC 3720) over the block with
 * the checksum field taken as zero.
 */
#include "engine/format.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/crc32c.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "fields are read and written as they lie");
_Static_assert(ENG_BLOCK_HEADER_BYTES + sizeof(struct eng_super) <= CF_BLOCK_BYTES_MIN,
               "fits the smallest block");

enum cf_rc eng_format_fail(struct cf_error *error, enum cf_rc rc, int system, const char *fmt, ...)
{
    va_list args;

    if (error == NULL)
        return rc;
    memset(error, 0, sizeof *error);
    error->rc = rc;
    error->system = system;
    error->node = CF_NODE_NONE;
    va_start(args, fmt);
    vsnprintf(error->text, sizeof error->text, fmt, args);
    va_end(args);
    return rc;
}

const char *eng_damage_name(enum eng_damage damage)
{
    switch (damage) {
    case ENG_DAMAGE_NONE:
        return "good";
    case ENG_DAMAGE_MAGIC:
        return "not a block of ours";
    case ENG_DAMAGE_FORMAT:
        return "another format version";
    case ENG_DAMAGE_CHECKSUM:
        return "wrong checksum";
    case ENG_DAMAGE_PLACE:
        return "a block of another place";
    case ENG_DAMAGE_GENERATION:
        return "newer than the file";
    case ENG_DAMAGE_VERSION:
        return "newer than the superblock";
    case ENG_DAMAGE_LENGTH:
        return "beyond the end of the file";
    }
    return "?";
}

uint32_t eng_block_checksum(const void *image, uint32_t bytes)
{
    static const uint32_t zero = 0;
    const uint8_t *at = image;
    const size_t field = offsetof(struct eng_block_header, checksum);
    uint32_t crc = cf_crc32c(0, at, field);

    crc = cf_crc32c(crc, &zero, sizeof zero);
    return cf_crc32c(crc, at + field + sizeof zero, bytes - field - sizeof zero);
}

void eng_block_seal(void *image, uint32_t bytes, const struct cf_block_key *key, uint64_t version,
                    uint64_t position, const struct eng_writer *writer)
{
    struct eng_block_header *header = image;

    header->magic = ENG_BLOCK_MAGIC;
    header->format = ENG_FORMAT_VERSION;
    header->flags = 0;
    header->file = key->file;
    header->generation = key->generation;
    header->block = key->block;
    header->version = version;
    header->node = writer->node;
    header->reserved = 0;
    header->incarnation = writer->incarnation;
    header->epoch = writer->epoch;
    header->bytes = bytes;
    header->position = position;
    header->checksum = eng_block_checksum(image, bytes);
}

static bool all_zero(const void *image, uint32_t bytes)
{
    const uint8_t *at = image;

    return at[0] == 0 && memcmp(at, at + 1, bytes - 1) == 0;
}

enum eng_damage eng_block_verify_header(const void *image, uint32_t bytes, const struct cf_block_key *key,
                                        uint64_t *version_out)
{
    const struct eng_block_header *header = image;

    if (header->magic != ENG_BLOCK_MAGIC)
        return ENG_DAMAGE_MAGIC;
    if (header->format != ENG_FORMAT_VERSION)
        return ENG_DAMAGE_FORMAT;
    if (header->file != key->file || header->block != key->block || header->bytes != bytes)
        return ENG_DAMAGE_PLACE;
    if (header->generation > key->generation)
        return ENG_DAMAGE_GENERATION;
    *version_out = header->version;
    return ENG_DAMAGE_NONE;
}

enum eng_damage eng_block_verify(const void *image, uint32_t bytes, const struct cf_block_key *key,
                                 uint64_t *version_out)
{
    const struct eng_block_header *header = image;

    if (header->magic == 0 && all_zero(image, bytes)) {
        *version_out = 0;
        return ENG_DAMAGE_NONE;
    }
    if (header->magic != ENG_BLOCK_MAGIC)
        return ENG_DAMAGE_MAGIC;
    if (header->format != ENG_FORMAT_VERSION)
        return ENG_DAMAGE_FORMAT;
    if (header->checksum != eng_block_checksum(image, bytes))
        return ENG_DAMAGE_CHECKSUM;
    return eng_block_verify_header(image, bytes, key, version_out);
}

/* ------------------------------------------------------------------ superblock */

/*
 * What can be told of a superblock from its first CF_BLOCK_BYTES_MIN bytes; copied, since those may lie
 * anywhere.
 */
struct super_start {
    struct eng_block_header header;
    struct eng_super super;
};

static struct super_start super_start(const void *first_bytes)
{
    struct super_start start;

    memcpy(&start.header, first_bytes, sizeof start.header);
    memcpy(&start.super, (const uint8_t *)first_bytes + ENG_BLOCK_HEADER_BYTES, sizeof start.super);
    return start;
}

bool eng_super_is_ours(const void *first_bytes)
{
    struct super_start start = super_start(first_bytes);

    return start.super.magic == ENG_SUPER_MAGIC ||
           (start.header.magic == ENG_BLOCK_MAGIC && start.header.block == ENG_SUPER_BLOCK);
}

enum cf_rc eng_super_probe(const void *first_bytes, uint32_t bytes, uint32_t *block_bytes_out,
                           struct cf_error *error)
{
    struct super_start start;

    if (bytes < CF_BLOCK_BYTES_MIN)
        return eng_format_fail(error, CF_FORMAT, 0, "not a data file: it ends within the superblock");
    start = super_start(first_bytes);
    if (!eng_super_is_ours(first_bytes))
        return eng_format_fail(error, CF_FORMAT, 0, "not a data file: it does not begin with a superblock");
    if (start.header.magic != ENG_BLOCK_MAGIC || start.super.magic != ENG_SUPER_MAGIC)
        return eng_format_fail(error, CF_CORRUPT, 0,
                               "the superblock is damaged: one of its two marks is wrong");
    if (start.header.format != ENG_FORMAT_VERSION)
        return eng_format_fail(error, CF_VERSION, 0, "the file has format version %u, this is %u",
                               start.header.format, ENG_FORMAT_VERSION);
    if (!eng_block_bytes_ok(start.header.bytes) || start.header.bytes != start.super.block_bytes)
        return eng_format_fail(error, CF_CORRUPT, 0, "the superblock is damaged: block sizes %u and %u",
                               start.header.bytes, start.super.block_bytes);
    *block_bytes_out = start.header.bytes;
    return CF_OK;
}

/* Well sealed, and yet nonsense: whoever wrote it was wrong. */
static enum cf_rc super_ranges_check(const struct eng_super *super, struct cf_error *error)
{
    if (super->file_id == 0 || super->generation == 0 || super->attached > CF_NODES_MAX ||
        super->blocks >= (uint64_t)INT64_MAX / super->block_bytes - 1 ||
        memchr(super->cluster, 0, sizeof super->cluster) == NULL)
        return eng_format_fail(error, CF_CORRUPT, 0, "the superblock has a field out of range");
    return CF_OK;
}

enum cf_rc eng_super_verify(const void *image, uint32_t bytes, struct cf_error *error)
{
    struct cf_block_key key = {.block = ENG_SUPER_BLOCK};
    enum eng_damage damage;
    uint64_t version;
    struct eng_super super;
    uint32_t found;
    enum cf_rc rc = eng_super_probe(image, bytes, &found, error);

    if (rc != CF_OK)
        return rc;
    if (found != bytes)
        return eng_format_fail(error, CF_BLOCK_SIZE, 0, "the file has blocks of %u bytes, not %u", found,
                               bytes);
    super = super_start(image).super;
    key.file = super.file_id;
    damage = eng_block_verify(image, bytes, &key, &version);
    if (damage != ENG_DAMAGE_NONE)
        return eng_format_fail(error, CF_CORRUPT, 0, "the superblock is damaged: %s",
                               eng_damage_name(damage));
    return super_ranges_check(&super, error);
}
