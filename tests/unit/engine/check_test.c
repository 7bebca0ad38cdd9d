/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Covers: making data files and what that refuses, checking whole files with every kind of damage. Not here:
 * what makes one block good (format_test.c).
 */
#include "tests/unit/engine/store_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/format.h"

#define BYTES 2048u
#define BLOCKS 600u /* more than one read of check */
#define FILE_ID 12u
#define SCN 5000u

struct finding {
    uint32_t count;
    uint64_t block;
    enum eng_damage damage;
    char text[128];
};

struct whole {
    char folder[256];
    char path[320];
    struct eng_check_result result;
    struct cf_error error;
    struct finding found;
};

static void on_finding(void *arg, uint64_t block, enum eng_damage damage, const char *text)
{
    struct finding *found = arg;

    if (found->count++ == 0) {
        found->block = block;
        found->damage = damage;
        snprintf(found->text, sizeof found->text, "%s", text);
    }
}

static enum cf_rc check(struct whole *w)
{
    memset(&w->result, 0xee, sizeof w->result);
    memset(&w->found, 0, sizeof w->found);
    return eng_format_check(w->path, on_finding, &w->found, &w->result, &w->error);
}

static void bytes_read(const struct whole *w, uint64_t offset, void *data, size_t bytes)
{
    int fd = open(w->path, O_RDONLY);

    assert_true(fd >= 0);
    assert_int_equal(pread(fd, data, bytes, (off_t)offset), bytes);
    close(fd);
}

static void bytes_write(const struct whole *w, uint64_t offset, const void *data, size_t bytes)
{
    int fd = open(w->path, O_WRONLY);

    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, data, bytes, (off_t)offset), bytes);
    close(fd);
}

static uint64_t offset_of(uint64_t block)
{
    return (block + 1) * BYTES;
}

static void block_write_key(const struct whole *w, uint64_t at, const struct cf_block_key *key,
                            uint64_t version)
{
    _Alignas(64) uint8_t image[BYTES];
    struct eng_writer writer = {.node = 1, .incarnation = 2, .epoch = 3};

    memset(image, (int)(key->block % 251), sizeof image);
    eng_block_seal(image, BYTES, key, version, 0, &writer);
    bytes_write(w, offset_of(at), image, sizeof image);
}

static void block_write(const struct whole *w, uint64_t block, uint64_t version)
{
    struct cf_block_key key = {.file = FILE_ID, .generation = 1, .block = block};

    block_write_key(w, block, &key, version);
}

static void super_change(const struct whole *w, void (*change)(struct eng_super *super))
{
    _Alignas(64) uint8_t image[BYTES];
    struct cf_block_key key = {.file = FILE_ID, .block = ENG_SUPER_BLOCK};
    struct eng_writer writer = {.node = 1};

    bytes_read(w, 0, image, sizeof image);
    change(eng_super_of(image));
    eng_block_seal(image, BYTES, &key, SCN, 0, &writer);
    bytes_write(w, 0, image, sizeof image);
}

static void set_scn(struct eng_super *super)
{
    super->scn = SCN;
}

static void set_attached(struct eng_super *super)
{
    super->attached = 2;
}

static struct eng_mkfs what_of(const struct whole *w)
{
    return (struct eng_mkfs){.path = w->path, .blocks = BLOCKS, .block_bytes = BYTES, .file_id = FILE_ID};
}

/* A clean file, every third block written, the highest version SCN. */
static int begin(void **state)
{
    struct whole *w = calloc(1, sizeof *w);
    const char *folder = getenv("TMPDIR");
    struct eng_mkfs what;

    if (w == NULL)
        return -1;
    snprintf(w->folder, sizeof w->folder, "%s/cf-check-XXXXXX", folder != NULL ? folder : "/tmp");
    if (mkdtemp(w->folder) == NULL) {
        free(w);
        return -1;
    }
    snprintf(w->path, sizeof w->path, "%s/data", w->folder);
    what = what_of(w);
    if (eng_format_make(&what, &w->error) != CF_OK)
        return -1;
    super_change(w, set_scn);
    for (uint64_t block = 0; block < BLOCKS; block += 3)
        block_write(w, block, SCN - block);
    *state = w;
    return 0;
}

static int end(void **state)
{
    struct whole *w = *state;
    char command[640];

    snprintf(command, sizeof command, "umount '%s' 2>/dev/null; rm -rf '%s'", w->folder, w->folder);
    if (system(command) != 0)
        return -1;
    free(w);
    return 0;
}

static void assert_one_finding(struct whole *w, uint64_t block, enum eng_damage damage)
{
    assert_int_equal(check(w), CF_OK);
    assert_int_equal(w->found.count, 1);
    assert_int_equal(w->found.block, block);
    assert_int_equal(w->found.damage, damage);
    assert_int_equal(w->result.damaged, damage == ENG_DAMAGE_VERSION ? 0 : 1);
    assert_int_not_equal(w->found.text[0], 0);
}

/* ------------------------------------------------------------------ make */

static void a_new_file_is_clean_and_has_its_space(void **state)
{
    struct whole *w = *state;
    struct eng_mkfs what = what_of(w);
    struct stat status;

    for (uint32_t bytes = CF_BLOCK_BYTES_MIN; bytes <= CF_BLOCK_BYTES_MAX; bytes *= 2) {
        what.block_bytes = bytes;
        what.file_id = 0;
        unlink(w->path);
        assert_int_equal(eng_format_make(&what, &w->error), CF_OK);
        assert_int_equal(check(w), CF_OK);
        assert_int_equal(w->found.count, 0);
        assert_int_equal(w->result.blocks, BLOCKS);
        assert_int_equal(w->result.written, 0);
        assert_int_equal(w->result.highest_version, 0);
        assert_false(w->result.unclean);
        assert_int_equal(w->result.beyond_bytes, 0);
        assert_int_equal(w->result.super.block_bytes, bytes);
        assert_int_equal(w->result.super.generation, 1);
        assert_int_not_equal(w->result.super.file_id, 0);
        assert_int_equal(stat(w->path, &status), 0);
        assert_int_equal(status.st_size, (BLOCKS + 1) * bytes);
        assert_true((uint64_t)status.st_blocks * 512 >= (BLOCKS + 1) * bytes);
    }
}

static void two_files_get_names_of_their_own(void **state)
{
    struct whole *w = *state;
    struct eng_mkfs what = what_of(w);
    struct eng_super first;

    what.file_id = 0;
    what.force = true;
    assert_int_equal(eng_format_make(&what, &w->error), CF_OK);
    assert_int_equal(check(w), CF_OK);
    first = w->result.super;
    assert_int_equal(eng_format_make(&what, &w->error), CF_OK);
    assert_int_equal(check(w), CF_OK);
    assert_memory_not_equal(first.file_uuid, w->result.super.file_uuid, sizeof first.file_uuid);
    assert_int_not_equal(first.file_id, w->result.super.file_id);
}

static void wrong_sizes_are_refused_with_the_range(void **state)
{
    static const uint32_t wrong[] = {0, 512, 1024, 2047, 3000, 8193, 24576, 65536};
    struct whole *w = *state;
    struct eng_mkfs what = what_of(w);

    unlink(w->path);
    for (size_t i = 0; i < CF_COUNTOF(wrong); i++) {
        what.block_bytes = wrong[i];
        assert_int_equal(eng_format_make(&what, &w->error), CF_INVALID);
        assert_non_null(strstr(w->error.text, "from 2048 to 32768"));
    }
    what.block_bytes = BYTES;
    what.blocks = UINT64_MAX / BYTES;
    assert_int_equal(eng_format_make(&what, &w->error), CF_INVALID);
    assert_int_equal(access(w->path, F_OK), -1);
}

static void a_file_that_is_not_empty_is_overwritten_by_force_only(void **state)
{
    struct whole *w = *state;
    struct eng_mkfs what = what_of(w);

    assert_int_equal(eng_format_make(&what, &w->error), CF_FORMAT);
    assert_non_null(strstr(w->error.text, "--force"));
    assert_int_equal(check(w), CF_OK);
    assert_int_equal(w->result.written, BLOCKS / 3);
    what.force = true;
    assert_int_equal(eng_format_make(&what, &w->error), CF_OK);
    assert_int_equal(check(w), CF_OK);
    assert_int_equal(w->result.written, 0); /* nothing of the old contents is left */
    assert_int_equal(truncate(w->path, 0), 0);
    what.force = false;
    assert_int_equal(eng_format_make(&what, &w->error), CF_OK); /* an empty file holds nothing to lose */
}

static void force_does_not_overwrite_what_is_not_ours(void **state)
{
    static const char text[] = "somebody's letters";
    struct whole *w = *state;
    struct eng_mkfs what = what_of(w);
    char found[sizeof text];

    what.force = true;
    assert_int_equal(truncate(w->path, 0), 0);
    bytes_write(w, 0, text, sizeof text);
    assert_int_equal(eng_format_make(&what, &w->error), CF_FORMAT);
    bytes_read(w, 0, found, sizeof found);
    assert_string_equal(found, text);
}

static void a_damaged_file_of_ours_is_overwritten_by_force(void **state)
{
    struct whole *w = *state;
    struct eng_mkfs what = what_of(w);

    what.force = true;
    bytes_write(w, 0, "damage", 6);
    assert_int_equal(eng_format_make(&what, &w->error), CF_OK);
    assert_int_equal(check(w), CF_OK);
    assert_int_equal(w->result.damaged, 0);
}

static void a_full_disk_is_no_space_and_leaves_no_file(void **state)
{
    struct whole *w = *state;
    struct eng_mkfs what = what_of(w);
    struct stat status;

    if (!store_fixture_tmpfs(w->folder, "size=256k"))
        skip();
    assert_int_equal(eng_format_make(&what, &w->error), CF_NO_SPACE);
    assert_int_equal(w->error.system, ENOSPC);
    assert_int_equal(access(w->path, F_OK), -1);
    what.blocks = 10;
    assert_int_equal(eng_format_make(&what, &w->error), CF_OK); /* its space was given back */
    what.blocks = BLOCKS;
    what.force = true;
    assert_int_equal(eng_format_make(&what, &w->error), CF_NO_SPACE);
    assert_int_equal(stat(w->path, &status), 0); /* it was there before: left, and empty */
    assert_int_equal(status.st_size, 0);
}

static void what_is_no_file_is_not_made(void **state)
{
    struct whole *w = *state;
    struct eng_mkfs what = what_of(w);

    what.path = w->folder;
    what.force = true;
    assert_int_equal(eng_format_make(&what, &w->error), CF_FORMAT);
    what.path = "/dev/full"; /* a character device */
    assert_int_equal(eng_format_make(&what, &w->error), CF_FORMAT);
    what.path = "/dev/null/data";
    assert_int_equal(eng_format_make(&what, &w->error), CF_IO);
}

/* ------------------------------------------------------------------ check */

static void a_clean_file_has_no_findings(void **state)
{
    struct whole *w = *state;

    assert_int_equal(check(w), CF_OK);
    assert_int_equal(w->found.count, 0);
    assert_int_equal(w->result.damaged, 0);
    assert_int_equal(w->result.newer_than_super, 0);
    assert_int_equal(w->result.blocks, BLOCKS);
    assert_int_equal(w->result.written, BLOCKS / 3);
    assert_int_equal(w->result.highest_version, SCN);
    assert_false(w->result.unclean);
    assert_false(w->result.super_damaged);
}

/* Each field of the header and the data at both ends, in blocks at the edges of the file and of the reads. */
static void one_damaged_byte_is_found_where_it_is(void **state)
{
    static const size_t at[] = {offsetof(struct eng_block_header, magic),
                                offsetof(struct eng_block_header, format),
                                offsetof(struct eng_block_header, flags),
                                offsetof(struct eng_block_header, file),
                                offsetof(struct eng_block_header, generation),
                                offsetof(struct eng_block_header, block),
                                offsetof(struct eng_block_header, version),
                                offsetof(struct eng_block_header, node),
                                offsetof(struct eng_block_header, reserved),
                                offsetof(struct eng_block_header, incarnation),
                                offsetof(struct eng_block_header, epoch),
                                offsetof(struct eng_block_header, bytes),
                                offsetof(struct eng_block_header, checksum),
                                offsetof(struct eng_block_header, position),
                                ENG_BLOCK_HEADER_BYTES,
                                BYTES - 1};
    static const uint64_t blocks[] = {0, 510, 513, 597};
    struct whole *w = *state;
    uint8_t byte;

    for (size_t b = 0; b < CF_COUNTOF(blocks); b++) {
        for (size_t i = 0; i < CF_COUNTOF(at); i++) {
            uint64_t offset = offset_of(blocks[b]) + at[i];

            bytes_read(w, offset, &byte, 1);
            byte ^= 0x10;
            bytes_write(w, offset, &byte, 1);
            assert_one_finding(w, blocks[b],
                               i == 0   ? ENG_DAMAGE_MAGIC
                               : i == 1 ? ENG_DAMAGE_FORMAT
                                        : ENG_DAMAGE_CHECKSUM);
            byte ^= 0x10;
            bytes_write(w, offset, &byte, 1);
        }
    }
    assert_int_equal(check(w), CF_OK);
    assert_int_equal(w->found.count, 0);
}

static void a_byte_in_a_block_never_written_is_found(void **state)
{
    struct whole *w = *state;

    bytes_write(w, offset_of(599) + BYTES - 1, "x", 1);
    assert_one_finding(w, 599, ENG_DAMAGE_MAGIC);
}

static void two_blocks_swapped_are_both_found(void **state)
{
    struct whole *w = *state;
    uint8_t a[BYTES], b[BYTES];

    bytes_read(w, offset_of(3), a, BYTES);
    bytes_read(w, offset_of(9), b, BYTES);
    bytes_write(w, offset_of(3), b, BYTES);
    bytes_write(w, offset_of(9), a, BYTES);
    assert_int_equal(check(w), CF_OK);
    assert_int_equal(w->found.count, 2);
    assert_int_equal(w->found.block, 3);
    assert_int_equal(w->found.damage, ENG_DAMAGE_PLACE);
    assert_non_null(strstr(w->found.text, "block 9"));
    assert_int_equal(w->result.damaged, 2);
}

static void a_block_of_another_file_is_found(void **state)
{
    struct whole *w = *state;
    struct cf_block_key key = {.file = FILE_ID + 1, .generation = 1, .block = 3};

    block_write_key(w, 3, &key, 7);
    assert_one_finding(w, 3, ENG_DAMAGE_PLACE);
}

static void a_block_of_a_later_generation_is_found(void **state)
{
    struct whole *w = *state;
    struct cf_block_key key = {.file = FILE_ID, .generation = 2, .block = 3};

    block_write_key(w, 3, &key, 7);
    assert_one_finding(w, 3, ENG_DAMAGE_GENERATION);
}

static void newer_than_the_superblock_is_a_finding_when_it_was_closed_only(void **state)
{
    struct whole *w = *state;

    block_write(w, 3, SCN + 1);
    assert_one_finding(w, 3, ENG_DAMAGE_VERSION);
    assert_int_equal(w->result.newer_than_super, 1);
    assert_int_equal(w->result.highest_version, SCN + 1);
    super_change(w, set_attached);
    assert_int_equal(check(w), CF_OK);
    assert_int_equal(w->found.count, 0);
    assert_int_equal(w->result.newer_than_super, 0);
    assert_true(w->result.unclean);
    assert_int_equal(w->result.super.attached, 2);
}

static void a_file_cut_short_misses_blocks(void **state)
{
    struct whole *w = *state;

    assert_int_equal(truncate(w->path, (off_t)offset_of(595)), 0);
    assert_int_equal(check(w), CF_OK);
    assert_int_equal(w->found.count, 1);
    assert_int_equal(w->found.block, 595);
    assert_int_equal(w->found.damage, ENG_DAMAGE_LENGTH);
    assert_int_equal(w->result.damaged, 5);
    assert_int_equal(truncate(w->path, (off_t)offset_of(595) - 1),
                     0); /* within a block: that one is missing too */
    assert_int_equal(check(w), CF_OK);
    assert_int_equal(w->found.block, 594);
    assert_int_equal(w->result.damaged, 6);
}

static void bytes_behind_the_last_block_are_told_and_no_damage(void **state)
{
    struct whole *w = *state;

    bytes_write(w, offset_of(BLOCKS) + BYTES, "left over", 9);
    assert_int_equal(check(w), CF_OK);
    assert_int_equal(w->found.count, 0);
    assert_int_equal(w->result.damaged, 0);
    assert_int_equal(w->result.beyond_bytes, BYTES + 9);
}

static void a_damaged_superblock_is_damage_and_nothing_is_judged_by_it(void **state)
{
    static const uint64_t at[] = {
        0, 10, 52, 64, ENG_BLOCK_HEADER_BYTES + offsetof(struct eng_super, blocks), BYTES - 1};
    struct whole *w = *state;
    uint8_t byte;

    for (size_t i = 0; i < CF_COUNTOF(at); i++) {
        bytes_read(w, at[i], &byte, 1);
        byte ^= 0x10;
        bytes_write(w, at[i], &byte, 1);
        assert_one_finding(w, ENG_SUPER_BLOCK, ENG_DAMAGE_CHECKSUM);
        assert_true(w->result.super_damaged);
        assert_int_equal(w->result.blocks, 0);
        byte ^= 0x10;
        bytes_write(w, at[i], &byte, 1);
    }
    assert_int_equal(truncate(w->path, BYTES), 0);
    assert_int_equal(check(w), CF_OK);
    assert_int_equal(w->result.damaged, BLOCKS);
}

/* The superblock names a size, the blocks were written with another. */
static void blocks_of_another_size_are_found(void **state)
{
    struct whole *w = *state;
    _Alignas(64) uint8_t image[2 * BYTES] = {0};
    struct cf_block_key key = {.file = FILE_ID, .generation = 1, .block = 3};
    struct eng_writer writer = {.node = 1};

    eng_block_seal(image, 2 * BYTES, &key, 7, 0, &writer);
    bytes_write(w, offset_of(3), image, BYTES);
    assert_one_finding(w, 3, ENG_DAMAGE_CHECKSUM);
    ((struct eng_block_header *)(void *)image)->checksum = eng_block_checksum(image, BYTES);
    bytes_write(w, offset_of(3), image, BYTES);
    assert_one_finding(w, 3, ENG_DAMAGE_PLACE);
}

static void files_that_are_not_ours_are_no_result(void **state)
{
    struct whole *w = *state;
    uint16_t version = 2;

    bytes_write(w, offsetof(struct eng_block_header, format), &version, sizeof version);
    assert_int_equal(check(w), CF_VERSION);
    assert_int_equal(truncate(w->path, 0), 0);
    assert_int_equal(check(w), CF_FORMAT);
    bytes_write(w, 0, "SQLite format 3", 16);
    assert_int_equal(check(w), CF_FORMAT);
    unlink(w->path);
    assert_int_equal(check(w), CF_NOT_FOUND);
    snprintf(w->path, sizeof w->path, "%s", w->folder);
    assert_int_equal(check(w), CF_FORMAT);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_new_file_is_clean_and_has_its_space),
        TEST(two_files_get_names_of_their_own),
        TEST(wrong_sizes_are_refused_with_the_range),
        TEST(a_file_that_is_not_empty_is_overwritten_by_force_only),
        TEST(force_does_not_overwrite_what_is_not_ours),
        TEST(a_damaged_file_of_ours_is_overwritten_by_force),
        TEST(a_full_disk_is_no_space_and_leaves_no_file),
        TEST(what_is_no_file_is_not_made),
        TEST(a_clean_file_has_no_findings),
        TEST(one_damaged_byte_is_found_where_it_is),
        TEST(a_byte_in_a_block_never_written_is_found),
        TEST(two_blocks_swapped_are_both_found),
        TEST(a_block_of_another_file_is_found),
        TEST(a_block_of_a_later_generation_is_found),
        TEST(newer_than_the_superblock_is_a_finding_when_it_was_closed_only),
        TEST(a_file_cut_short_misses_blocks),
        TEST(bytes_behind_the_last_block_are_told_and_no_damage),
        TEST(a_damaged_superblock_is_damage_and_nothing_is_judged_by_it),
        TEST(blocks_of_another_size_are_found),
        TEST(files_that_are_not_ours_are_no_result),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
