/* SPDX-License-Identifier: Apache-2.0 */
/* Covers: insert, remove and probe against a plain list, with tags that collide, wrap around and repeat. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/compiler.h"
#include "base/rng.h"
#include "engine/lookup.h"

#define ENTRIES_MAX 32u
#define SLOTS 64u
#define STEPS 200000

struct model {
    uint32_t tag[ENTRIES_MAX];
    bool is_in[ENTRIES_MAX];
    uint64_t count;
};

/* Does a probe for the tag pass this frame before it meets an empty slot? */
static bool probe(const struct eng_lookup *lookup, uint32_t tag, uint32_t frame)
{
    for (uint64_t step = 0; step <= lookup->mask; step++) {
        uint64_t slot = eng_lookup_slot(lookup, tag, step);

        if (slot == 0)
            return false;
        if (eng_lookup_slot_tag(slot) == tag && eng_lookup_slot_frame(slot) == frame)
            return true;
    }
    return false;
}

static void compare(const struct eng_lookup *lookup, const struct model *model)
{
    assert_int_equal(eng_lookup_check(lookup), model->count);
    for (uint32_t f = 0; f < ENTRIES_MAX; f++)
        assert_int_equal(probe(lookup, model->tag[f], f), model->is_in[f]);
}

static void it_finds_what_a_list_would(void **state)
{
    static _Atomic uint64_t slots[SLOTS];
    struct eng_lookup lookup;
    struct model model = {.count = 0};
    struct cf_rng rng;

    (void)state;
    assert_int_equal(eng_lookup_slots(ENTRIES_MAX), SLOTS);
    eng_lookup_init(&lookup, slots, ENTRIES_MAX, 1);
    cf_rng_seed(&rng, 0x10);
    for (int step = 0; step < STEPS; step++) {
        uint32_t frame = (uint32_t)cf_rng_below(&rng, ENTRIES_MAX);

        if (model.is_in[frame]) {
            eng_lookup_remove(&lookup, model.tag[frame], frame);
            model.count--;
        } else {
            /* Few places, the last ones among them, so that runs are long and go round the end. */
            model.tag[frame] = (uint32_t)(cf_rng_below(&rng, 2) << 16 |
                                          ((SLOTS - 4 + cf_rng_below(&rng, 8)) % SLOTS));
            eng_lookup_insert(&lookup, model.tag[frame], frame);
            model.count++;
        }
        model.is_in[frame] = !model.is_in[frame];
        compare(&lookup, &model);
    }
}

static void a_table_has_twice_the_slots(void **state)
{
    (void)state;
    for (uint64_t count = 1; count < 100000; count = count * 3 + 1) {
        uint64_t slots_count = eng_lookup_slots(count);

        assert_true(slots_count >= 2 * count);
        assert_int_equal(slots_count & (slots_count - 1), 0);
    }
}

/* What a row of blocks of a few files does to the table, under many seeds: no long runs. */
static void neighbours_spread(void **state)
{
    enum { PLACES = 1 << 16, FILES = 8, BLOCKS = 4096, SEEDS = 50 };
    static uint8_t used[PLACES];
    static _Atomic uint64_t slots[2 * FILES * BLOCKS];
    struct eng_lookup lookup;

    (void)state;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        uint32_t taken_count = 0;

        eng_lookup_init(&lookup, slots, FILES * BLOCKS, seed);
        for (uint32_t i = 0; i < PLACES; i++)
            used[i] = 0;
        for (uint64_t file = 0; file < FILES; file++) {
            for (uint64_t block = 0; block < BLOCKS; block++) {
                uint32_t place = eng_lookup_tag(eng_lookup_hash(&lookup, file | UINT64_C(1) << 32, block)) %
                                 PLACES;

                taken_count += used[place] == 0;
                used[place] = 1;
            }
        }
        /* 32,768 random throws into 65,536 places take 25,786 of them; 500 are some 6 standard deviations. */
        assert_in_range(taken_count, 25786 - 500, 25786 + 500);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_finds_what_a_list_would),
        cmocka_unit_test(a_table_has_twice_the_slots),
        cmocka_unit_test(neighbours_spread),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
