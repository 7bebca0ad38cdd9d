/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Covers: sealing and verifying one block, every byte of header and data damaged; superblocks good, damaged,
 * of other versions and sizes. Not here: whole files (check_test.c).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "engine/format.h"

#define BYTES 8192u

static const struct cf_block_key KEY = {.file = 7, .generation = 3, .block = 41};

struct block {
    uint8_t *image;
};

static int begin(void **state)
{
    static struct block block;
    struct eng_writer writer = {.node = 5, .incarnation = 77, .epoch = 9};

    block.image = aligned_alloc(4096, CF_BLOCK_BYTES_MAX);
    if (block.image == NULL)
        return -1;
    for (uint32_t i = 0; i < CF_BLOCK_BYTES_MAX; i++)
        block.image[i] = (uint8_t)(i * 7 + 1);
    eng_block_seal(block.image, BYTES, &KEY, 1234, 5678, &writer);
    *state = &block;
    return 0;
}

static int end(void **state)
{
    free(((struct block *)*state)->image);
    return 0;
}

static struct eng_block_header *header_of(void **state)
{
    return (struct eng_block_header *)(void *)((struct block *)*state)->image;
}

static enum eng_damage verify(void **state, const struct cf_block_key *key)
{
    uint64_t version = 0;

    return eng_block_verify(((struct block *)*state)->image, BYTES, key, &version);
}

static void reseal(void **state)
{
    header_of(state)->checksum = eng_block_checksum(header_of(state), BYTES);
}

static void a_sealed_block_names_place_and_writer(void **state)
{
    const struct eng_block_header *header = header_of(state);
    uint64_t version = 0;

    assert_int_equal(header->magic, ENG_BLOCK_MAGIC);
    assert_int_equal(header->format, ENG_FORMAT_VERSION);
    assert_int_equal(header->file, 7);
    assert_int_equal(header->generation, 3);
    assert_int_equal(header->block, 41);
    assert_int_equal(header->node, 5);
    assert_int_equal(header->incarnation, 77);
    assert_int_equal(header->epoch, 9);
    assert_int_equal(header->bytes, BYTES);
    assert_int_equal(header->position, 5678);
    assert_int_equal(eng_block_verify(header, BYTES, &KEY, &version), ENG_DAMAGE_NONE);
    assert_int_equal(version, 1234);
    assert_int_equal(eng_block_verify_header(header, BYTES, &KEY, &version), ENG_DAMAGE_NONE);
}

/* Against a second computation, over a copy whose field is 0. */
static void the_checksum_is_crc32c_with_its_field_zero(void **state)
{
    static uint8_t copy[BYTES];
    const struct eng_block_header *header = header_of(state);

    memcpy(copy, header, BYTES);
    memset(copy + offsetof(struct eng_block_header, checksum), 0, 4);
    assert_int_equal(header->checksum, cf_crc32c(0, copy, BYTES));
    assert_int_equal(cf_crc32c(0, "123456789", 9), 0xe3069283u);
    assert_int_equal(offsetof(struct eng_block_header, checksum), 52);
}

/* Which damage is named depends on the field; that none goes unseen does not. */
static void one_changed_bit_of_any_byte_is_found(void **state)
{
    uint8_t *image = ((struct block *)*state)->image;

    for (uint32_t i = 0; i < BYTES; i++) {
        enum eng_damage expected = i < 4 ? ENG_DAMAGE_MAGIC : i < 6 ? ENG_DAMAGE_FORMAT : ENG_DAMAGE_CHECKSUM;

        image[i] ^= (uint8_t)(1u << (i % 8));
        assert_int_equal(verify(state, &KEY), expected);
        image[i] ^= (uint8_t)(1u << (i % 8));
    }
    assert_int_equal(verify(state, &KEY), ENG_DAMAGE_NONE);
}

static void a_good_block_at_another_place_is_found(void **state)
{
    struct cf_block_key key = KEY;
    uint64_t version = 0;

    key.block++;
    assert_int_equal(verify(state, &key), ENG_DAMAGE_PLACE);
    key = KEY;
    key.file++;
    assert_int_equal(verify(state, &key), ENG_DAMAGE_PLACE);
    assert_int_equal(eng_block_verify_header(header_of(state), BYTES, &key, &version), ENG_DAMAGE_PLACE);
    header_of(state)->bytes = BYTES / 2;
    reseal(state);
    assert_int_equal(verify(state, &KEY), ENG_DAMAGE_PLACE);
    assert_int_equal(eng_block_verify_header(header_of(state), BYTES, &KEY, &version), ENG_DAMAGE_PLACE);
}

static void an_older_generation_is_good_and_a_newer_is_not(void **state)
{
    struct cf_block_key key = KEY;

    key.generation = 4;
    assert_int_equal(verify(state, &key), ENG_DAMAGE_NONE);
    key.generation = 2;
    assert_int_equal(verify(state, &key), ENG_DAMAGE_GENERATION);
}

static void zeroes_are_a_block_never_written_and_almost_zeroes_are_not(void **state)
{
    uint8_t *image = ((struct block *)*state)->image;
    uint64_t version = 99;

    memset(image, 0, BYTES);
    assert_int_equal(eng_block_verify(image, BYTES, &KEY, &version), ENG_DAMAGE_NONE);
    assert_int_equal(version, 0);
    for (uint32_t i = 0; i < BYTES; i += 511) {
        image[i] = 1;
        assert_int_equal(verify(state, &KEY), ENG_DAMAGE_MAGIC);
        image[i] = 0;
    }
    image[BYTES - 1] = 1;
    assert_int_equal(verify(state, &KEY), ENG_DAMAGE_MAGIC);
}

static void every_damage_has_a_name_of_its_own(void **state)
{
    (void)state;
    for (int a = ENG_DAMAGE_NONE; a <= ENG_DAMAGE_LENGTH; a++) {
        assert_string_not_equal(eng_damage_name((enum eng_damage)a), "?");
        for (int b = ENG_DAMAGE_NONE; b < a; b++)
            assert_string_not_equal(eng_damage_name((enum eng_damage)a), eng_damage_name((enum eng_damage)b));
    }
}

/* ------------------------------------------------------------------ superblock */

static struct eng_super *make_super(void **state, uint32_t bytes)
{
    uint8_t *image = ((struct block *)*state)->image;
    struct eng_super *super = eng_super_of(image);
    struct cf_block_key key = {.file = 7, .block = ENG_SUPER_BLOCK};
    struct eng_writer writer = {.node = CF_NODE_NONE};

    memset(image, 0, CF_BLOCK_BYTES_MAX);
    *super = (struct eng_super){.magic = ENG_SUPER_MAGIC, .blocks = 100, .file_id = 7, .generation = 3};
    super->block_bytes = bytes;
    eng_block_seal(image, bytes, &key, 1, 0, &writer);
    return super;
}

static void superblocks_of_every_size_are_read_back(void **state)
{
    for (uint32_t bytes = CF_BLOCK_BYTES_MIN; bytes <= CF_BLOCK_BYTES_MAX; bytes *= 2) {
        const void *image = header_of(state);
        struct cf_error error;
        uint32_t found = 0;

        make_super(state, bytes);
        assert_true(eng_super_is_ours(image));
        assert_int_equal(eng_super_probe(image, CF_BLOCK_BYTES_MIN, &found, &error), CF_OK);
        assert_int_equal(found, bytes);
        assert_int_equal(eng_super_verify(image, bytes, &error), CF_OK);
        assert_int_equal(eng_super_verify(image, bytes == BYTES ? 2 * BYTES : BYTES, &error), CF_BLOCK_SIZE);
    }
}

static void a_probe_takes_bytes_at_any_address(void **state)
{
    static uint8_t bytes[CF_BLOCK_BYTES_MIN + 8];
    uint32_t found;

    make_super(state, BYTES);
    for (uint32_t shift = 0; shift < 8; shift++) {
        found = 0;
        memcpy(bytes + shift, header_of(state), CF_BLOCK_BYTES_MIN);
        assert_int_equal(eng_super_probe(bytes + shift, CF_BLOCK_BYTES_MIN, &found, NULL), CF_OK);
        assert_int_equal(found, BYTES);
    }
}

static void one_changed_bit_of_a_superblock_is_found(void **state)
{
    uint8_t *image = ((struct block *)*state)->image;
    struct cf_error error;

    make_super(state, BYTES);
    for (uint32_t i = 0; i < BYTES; i++) {
        enum cf_rc rc;

        image[i] ^= (uint8_t)(1u << (i % 8));
        rc = eng_super_verify(image, BYTES, &error);
        assert_int_equal(rc, i == 4 || i == 5 ? CF_VERSION : CF_CORRUPT);
        assert_int_equal(error.rc, rc);
        assert_true(eng_super_is_ours(image)); /* damaged, but no other file */
        image[i] ^= (uint8_t)(1u << (i % 8));
    }
    assert_int_equal(eng_super_verify(image, BYTES, &error), CF_OK);
}

static void other_files_are_told_from_damaged_ones(void **state)
{
    uint8_t *image = ((struct block *)*state)->image;
    uint32_t found = 1;

    /* A data block of ours is not a superblock either. */
    assert_false(eng_super_is_ours(image));
    assert_int_equal(eng_super_probe(image, CF_BLOCK_BYTES_MIN, &found, NULL), CF_FORMAT);
    memset(image, 0, BYTES);
    assert_int_equal(eng_super_probe(image, CF_BLOCK_BYTES_MIN, &found, NULL), CF_FORMAT);
    memcpy(image, "SQLite format 3", 16);
    assert_int_equal(eng_super_verify(image, BYTES, NULL), CF_FORMAT);
    make_super(state, BYTES);
    assert_int_equal(eng_super_probe(image, CF_BLOCK_BYTES_MIN - 1, &found, NULL), CF_FORMAT);
    assert_int_equal(found, 1); /* written on success only */
}

static void well_sealed_nonsense_is_refused(void **state)
{
    uint8_t *image = ((struct block *)*state)->image;
    struct eng_super *super;

    super = make_super(state, BYTES);
    super->generation = 0;
    reseal(state);
    assert_int_equal(eng_super_verify(image, BYTES, NULL), CF_CORRUPT);
    super = make_super(state, BYTES);
    super->blocks = UINT64_MAX / 2;
    reseal(state);
    assert_int_equal(eng_super_verify(image, BYTES, NULL), CF_CORRUPT);
    super = make_super(state, BYTES);
    super->attached = CF_NODES_MAX + 1;
    reseal(state);
    assert_int_equal(eng_super_verify(image, BYTES, NULL), CF_CORRUPT);
    super = make_super(state, BYTES);
    memset(super->cluster, 'x', sizeof super->cluster);
    reseal(state);
    assert_int_equal(eng_super_verify(image, BYTES, NULL), CF_CORRUPT);
    super = make_super(state, BYTES);
    super->block_bytes = header_of(state)->bytes = 3000;
    reseal(state);
    assert_int_equal(eng_super_verify(image, BYTES, NULL), CF_CORRUPT);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_sealed_block_names_place_and_writer),
        TEST(the_checksum_is_crc32c_with_its_field_zero),
        TEST(one_changed_bit_of_any_byte_is_found),
        TEST(a_good_block_at_another_place_is_found),
        TEST(an_older_generation_is_good_and_a_newer_is_not),
        TEST(zeroes_are_a_block_never_written_and_almost_zeroes_are_not),
        TEST(every_damage_has_a_name_of_its_own),
        TEST(superblocks_of_every_size_are_read_back),
        TEST(a_probe_takes_bytes_at_any_address),
        TEST(one_changed_bit_of_a_superblock_is_found),
        TEST(other_files_are_told_from_damaged_ones),
        TEST(well_sealed_nonsense_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
