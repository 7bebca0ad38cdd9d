/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Claims of grd/lock_value.c about memory order:
 *   whoever has seen a word of a version sees at least that version's odd mark when it looks at the version next;
 *   a copy whose words were taken in any order at all, as a device takes them, is accepted only if it is whole.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>

#include "base/assert.h"
#include "base/atomic.h"
#include "base/rng.h"
#include "grd/lock_value.h"

#define LOOKS (CF_TSAN ? 300000u : 3000000u)
#define CHANGES_MIN 300u
#define EPOCH 7u
#define WORD_VERSION 3u /* of the record, as its layout says */
#define WORD_VALUE 4u
#define VALUE_WORDS (GRD_LOCK_VALUE_BYTES / 8u)

static const struct cf_block_key key = {.file = 1, .generation = 2, .block = 3};

struct scene {
    struct grd_lock_record record;
    _Atomic bool is_over;
};

/* Every word of a value is its version. */
static void *write_on(void *arg)
{
    struct scene *scene = arg;
    struct grd_lock_value value = {.is_valid = true, .bytes_count = GRD_LOCK_VALUE_BYTES};

    while (!atomic_load_explicit(&scene->is_over, memory_order_relaxed)) {
        value.version++;
        for (uint32_t i = 0; i < VALUE_WORDS; i++)
            memcpy(value.bytes + 8 * i, &value.version, sizeof value.version);
        grd_lock_record_write(&scene->record, &key, EPOCH, &value);
        for (uint64_t pause = value.version % 64; pause > 0; pause--)
            cf_pause();
    }
    return NULL;
}

static pthread_t scene_begin(struct scene *scene)
{
    pthread_t writer;

    memset(scene, 0, sizeof *scene);
    cf_assert(pthread_create(&writer, NULL, write_on, scene) == 0);
    return writer;
}

static void scene_end(struct scene *scene, pthread_t writer)
{
    atomic_store_explicit(&scene->is_over, true, memory_order_relaxed);
    cf_assert(pthread_join(writer, NULL) == 0);
}

static void who_has_seen_a_word_sees_its_version_begun(void **state)
{
    static struct scene scene;
    pthread_t writer = scene_begin(&scene);
    uint64_t changes = 0, before = 0;

    (void)state;
    for (uint32_t i = 0; i < LOOKS || (changes < CHANGES_MIN && i < LOOKS * 100); i++) {
        uint64_t word = atomic_load_explicit(&scene.record.word[WORD_VALUE + i % VALUE_WORDS],
                                             memory_order_acquire);
        uint64_t mark = atomic_load_explicit(&scene.record.word[WORD_VERSION], memory_order_relaxed);

        /* Even while it is written on: the mark of `word` was odd, word << 1 | 1, before `word` was there. */
        if (word != 0 && mark < word << 1)
            fail_msg("word of version %llu, mark %llu", (unsigned long long)word, (unsigned long long)mark);
        changes += word != before;
        before = word;
        if (i % 1024 == 0)
            sched_yield(); /* the two may have to share a core */
    }
    scene_end(&scene, writer);
    assert_true(changes >= CHANGES_MIN);
}

static void a_copy_in_any_order_is_whole_or_not_accepted(void **state)
{
    static struct scene scene;
    pthread_t writer = scene_begin(&scene);
    uint64_t accepted = 0, refused = 0;
    struct grd_lock_value value;
    struct cf_rng rng;

    (void)state;
    cf_rng_seed(&rng, 5);
    for (uint32_t i = 0; i < LOOKS / 4 || ((accepted <= 100 || refused == 0) && i < LOOKS * 10); i++) {
        uint64_t copy[GRD_LOCK_RECORD_WORDS];
        uint32_t step = 2 * (uint32_t)cf_rng_below(&rng, GRD_LOCK_RECORD_WORDS / 2) + 1;
        uint32_t at = (uint32_t)cf_rng_below(&rng, GRD_LOCK_RECORD_WORDS);

        for (uint32_t w = 0; w < GRD_LOCK_RECORD_WORDS; w++, at += step)
            copy[at % GRD_LOCK_RECORD_WORDS] = atomic_load_explicit(
                &scene.record.word[at % GRD_LOCK_RECORD_WORDS], memory_order_relaxed);
        if (!grd_lock_record_check(copy, &key, EPOCH, &value)) {
            refused++;
            continue;
        }
        accepted++;
        for (uint32_t w = 0; w < VALUE_WORDS; w++)
            assert_memory_equal(value.bytes + 8 * w, &value.version, sizeof value.version);
    }
    scene_end(&scene, writer);
    assert_true(accepted > 100);
    assert_true(refused > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_has_seen_a_word_sees_its_version_begun),
        cmocka_unit_test(a_copy_in_any_order_is_whole_or_not_accepted),
    };

    return cmocka_run_group_tests_name("litmus/lock_record", tests, NULL, NULL);
}
