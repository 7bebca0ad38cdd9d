/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The native format: sealing and verifying blocks and superblocks. Making and checking whole files is check.c's.
 * The checksum is CRC32C (iSCSI polynomial, RFC 3720) over the block with the checksum field taken as zero.
 */
#include "engine/format.h"

#include <stdio.h>
#include <string.h>

#include "base/crc32c.h"

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

void eng_block_seal(void *image, uint32_t bytes, const struct cf_block_key *key, uint64_t version, uint64_t position,
                    const struct eng_writer *writer)
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

enum eng_damage eng_block_verify_header(const void *image, uint32_t bytes, const struct cf_block_key *key, uint64_t *version_out)
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

enum eng_damage eng_block_verify(const void *image, uint32_t bytes, const struct cf_block_key *key, uint64_t *version_out)
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
