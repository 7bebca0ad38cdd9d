/* SPDX-License-Identifier: Apache-2.0 */
/* The simulated disk: what it keeps, and that its detectors see what must not happen. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/format.h"
#include "tools/sim/store.h"

#define BYTES 2048u
#define FILE_ID 7u

struct world {
    struct sim_disk *disk;
    struct eng_io ios[4];
    uint8_t *images;
};

static void world_open(struct world *w)
{
    struct sim_disk_options options = {.nodes = 2,
                                       .file_id = FILE_ID,
                                       .block_bytes = BYTES,
                                       .blocks = 8,
                                       .seed = 1,
                                       .delay_floor_ns = 1000,
                                       .delay_mean_ns = 5000};

    memset(w, 0, sizeof(*w));
    assert_int_equal(sim_disk_open(&options, &w->disk), CF_OK);
    w->images = aligned_alloc(4096, 4 * 4096);
    assert_non_null(w->images);
}

static void world_close(struct world *w)
{
    sim_disk_close(&w->disk);
    free(w->images);
}

static void submit(struct world *w, uint32_t i, uint16_t node, uint8_t op, uint64_t block, uint64_t version)
{
    struct cf_block_key key = {.file = FILE_ID, .generation = 1, .block = block};
    struct eng_writer writer = {.node = node, .incarnation = 1, .epoch = 1};
    uint8_t *image = w->images + (uint64_t)i * 4096;
    struct eng_store *store = sim_disk_store(w->disk, node);

    memset(image, 0x33, BYTES);
    if (op == ENG_IO_WRITE)
        eng_block_seal(image, BYTES, &key, version, 0, &writer);
    w->ios[i] = (struct eng_io){.op = op,
                                .bytes = BYTES,
                                .file = sim_disk_file(w->disk, node),
                                .offset = (block + 1) * BYTES,
                                .buffer = image};
    assert_int_equal(store->ops->submit(store, &w->ios[i]), CF_OK);
}

static void finish(struct world *w, uint16_t node, uint32_t count)
{
    struct eng_store *store = sim_disk_store(w->disk, node);
    struct eng_io *done[4];
    uint32_t got = 0;

    while (got < count) {
        assert_true(sim_disk_next_ns(w->disk, node) != UINT64_MAX);
        sim_disk_advance(w->disk, sim_disk_next_ns(w->disk, node));
        got += store->ops->poll(store, done, 4);
    }
}

static void written_block_is_read_back_by_another(void **state)
{
    struct cf_block_key key = {.file = FILE_ID, .generation = 1, .block = 3};
    struct world w;
    uint64_t version = 0;

    (void)state;
    world_open(&w);
    submit(&w, 0, 0, ENG_IO_WRITE, 3, 17);
    finish(&w, 0, 1);
    submit(&w, 1, 1, ENG_IO_READ, 3, 0);
    finish(&w, 1, 1);
    assert_int_equal(eng_block_verify(w.ios[1].buffer, BYTES, &key, &version), ENG_DAMAGE_NONE);
    assert_int_equal(version, 17);
    assert_int_equal(sim_disk_version(w.disk, 3), 17);
    assert_null(sim_disk_broken(w.disk));
    world_close(&w);
}

static void overlapping_writes_of_two_instances_are_caught(void **state)
{
    struct world w;

    (void)state;
    world_open(&w);
    submit(&w, 0, 0, ENG_IO_WRITE, 3, 17);
    submit(&w, 1, 1, ENG_IO_WRITE, 3, 18);
    assert_non_null(strstr(sim_disk_broken(w.disk), "I-9"));
    world_close(&w);
}

static void falling_version_is_caught(void **state)
{
    struct world w;

    (void)state;
    world_open(&w);
    submit(&w, 0, 0, ENG_IO_WRITE, 3, 17);
    finish(&w, 0, 1);
    submit(&w, 1, 1, ENG_IO_WRITE, 3, 16);
    finish(&w, 1, 1);
    assert_non_null(strstr(sim_disk_broken(w.disk), "I-8"));
    world_close(&w);
}

static void image_changed_during_its_write_is_caught(void **state)
{
    struct world w;

    (void)state;
    world_open(&w);
    submit(&w, 0, 0, ENG_IO_WRITE, 3, 17);
    w.images[1000] ^= 1;
    finish(&w, 0, 1);
    assert_non_null(strstr(sim_disk_broken(w.disk), "not whole"));
    world_close(&w);
}

static void write_after_the_stop_is_caught(void **state)
{
    struct world w;

    (void)state;
    world_open(&w);
    sim_disk_stop(w.disk, 1);
    submit(&w, 0, 1, ENG_IO_WRITE, 3, 17);
    assert_non_null(strstr(sim_disk_broken(w.disk), "stop rule"));
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(written_block_is_read_back_by_another),
        cmocka_unit_test(overlapping_writes_of_two_instances_are_caught),
        cmocka_unit_test(falling_version_is_caught),
        cmocka_unit_test(image_changed_during_its_write_is_caught),
        cmocka_unit_test(write_after_the_stop_is_caught),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
