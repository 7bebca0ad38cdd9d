/* SPDX-License-Identifier: Apache-2.0 */
/* Covers: insert, remove and probe against a plain list, with tags that collide, wrap around and repeat. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "base/compiler.h"
#include "base/rng.h"

#include "engine/lookup.h"

#define ENTRIES_MAX 16u
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
            model.tag[frame] = (uint32_t)(UINT64_C(1) << 31 | cf_rng_below(&rng, 2) << 16 |
                                          ((SLOTS - 4 + cf_rng_below(&rng, 8)) % SLOTS));
            eng_lookup_insert(&lookup, model.tag[frame], frame);
            model.count++;
        }
        model.is_in[frame] = !model.is_in[frame];
        compare(&lookup, &model);
    }
}

static void a_table_has_four_times_the_slots(void **state)
{
    (void)state;
    for (uint64_t count = 1; count < 100000; count = count * 3 + 1) {
        uint64_t slots_count = eng_lookup_slots(count);

        assert_true(slots_count >= 4 * count);
        assert_int_equal(slots_count & (slots_count - 1), 0);
    }
}

/* How many slots a reader looks at for an entry, on average, when every `stride`th block of some files is cached. */
static double probes_mean(const struct eng_lookup *empty, uint64_t files, uint64_t blocks, uint64_t stride)
{
    struct eng_lookup lookup = *empty;
    uint64_t probes_count = 0;

    memset((void *)lookup.slots, 0, (lookup.mask + 1) * sizeof lookup.slots[0]);
    for (uint64_t file = 1; file <= files; file++) {
        for (uint64_t block = 0; block < blocks; block++) {
            uint64_t hash = eng_lookup_hash(&lookup, (uint32_t)file, block * stride);
            uint32_t tag = eng_lookup_tag(hash);
            uint64_t step = 0;

            while (eng_lookup_slot(&lookup, tag, step) != 0)
                step++;
            probes_count += step + 1;
            eng_lookup_insert(&lookup, tag, (uint32_t)((file - 1) * blocks + block));
        }
    }
    return (double)probes_count / (double)(files * blocks);
}

/* Rows of blocks and blocks at even distances, under many seeds. A random hash needs less than 1.2 probes. */
static void rows_and_strides_spread(void **state)
{
    enum { ENTRIES = 1 << 14, SEEDS = 20 };
    static const uint64_t strides[] = {1, 2, 7, 64, 1000, 4096, 65536, 75025, 1 << 20, UINT64_C(1) << 32};
    static _Atomic uint64_t slots[4 * ENTRIES];
    double sum = 0;

    (void)state;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct eng_lookup lookup;

        eng_lookup_init(&lookup, slots, ENTRIES, seed);
        for (size_t i = 0; i < sizeof strides / sizeof strides[0]; i++) {
            double one = probes_mean(&lookup, 1, ENTRIES, strides[i]);
            double many = probes_mean(&lookup, 16, ENTRIES / 16, strides[i]);

            if (one > 3 || many > 3)
                fail_msg("seed %llu stride %llu: %.2f and %.2f probes", (unsigned long long)seed,
                         (unsigned long long)strides[i], one, many);
            sum += one + many;
        }
    }
    if (sum / (2 * SEEDS * (double)(sizeof strides / sizeof strides[0])) > 1.3)
        fail_msg("%.2f probes on average", sum / (2 * SEEDS * 10.0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_finds_what_a_list_would),
        cmocka_unit_test(a_table_has_four_times_the_slots),
        cmocka_unit_test(rows_and_strides_spread),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
