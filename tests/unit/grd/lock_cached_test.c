/* SPDX-License-Identifier: Apache-2.0 */
/* The short way of a cached lock leaves behind what the long way does: both mixed at random keep every count right. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/rng.h"
#include "grd/lock_cached.h"

#define CLAIMS 24u
#define HELD_MAX 8u

struct fixture {
    struct grd_map map;
    struct grd_lock_local *local;
    struct grd_lock_resource *lock;
    struct grd_actions *actions;
};

/* One instance, its own master: the mode asked for is granted by hand. */
static void grant(struct fixture *f, uint8_t mode)
{
    struct grd_lock_want want = {.owner = 1, .cookie = 1, .mode = mode};
    struct grd_lock_done done;
    struct grd_msg msg;
    grd_lock_id id;

    assert_int_equal(grd_lock_local_want(f->local, f->lock, &want, 0, f->actions, &id), CF_PENDING);
    assert_int_equal(f->actions->count, 1);
    msg = f->actions->item[0].msg;
    f->actions->count = 0;
    assert_int_equal(msg.type, GRD_MSG_LOCK_REQUEST);
    msg.type = GRD_MSG_LOCK_GRANT;
    msg.from = 0;
    msg.mode = mode;
    msg.tenure = 1;
    msg.version = 0;
    msg.record = 0;
    msg.flags = 0;
    msg.value.count = 0;
    grd_lock_local_step(f->local, &msg, 0, f->actions);
    assert_true(grd_lock_local_next_done(f->local, &done));
    assert_int_equal(done.rc, CF_OK);
    assert_int_equal(grd_lock_local_unlock(f->local, done.lock, 0, NULL, 0, f->actions), CF_OK);
}

static void set_up(struct fixture *f, uint8_t mode)
{
    const struct cf_hash_key key = {{1, 2}};
    const uint16_t member = 0;
    struct grd_lock_name name;
    struct grd_lock_local_options options = {.resources = 4,
                                             .claims = CLAIMS,
                                             .calls = 4,
                                             .resend_ns = 1000000,
                                             .wheel_tick_ns = 65536,
                                             .map = &f->map,
                                             .allocator = cf_allocator_default()};

    memset(f, 0, sizeof *f);
    f->actions = calloc(1, sizeof *f->actions);
    assert_non_null(f->actions);
    assert_int_equal(grd_map_open(&key, 1, 16, 1, &member, 1, cf_allocator_default(), &f->map), CF_OK);
    assert_int_equal(grd_lock_local_open(&options, &f->local), CF_OK);
    assert_int_equal(grd_lock_name_text("x", 1, &name), CF_OK);
    assert_int_equal(grd_lock_local_attach(f->local, &name, &f->lock), CF_OK);
    grant(f, mode);
}

static void tear_down(struct fixture *f)
{
    grd_lock_local_close(&f->local);
    grd_map_close(&f->map);
    free(f->actions);
}

static bool goes_with(const uint8_t *modes, uint32_t count, uint8_t mode)
{
    for (uint32_t i = 0; i < count; i++)
        if (!grd_lock_compatible(modes[i], mode))
            return false;
    return true;
}

static void the_short_way_and_the_long_way_mix(void **state)
{
    static const uint8_t held_here[] = {GRD_LOCK_CR, GRD_LOCK_CW, GRD_LOCK_PR, GRD_LOCK_PW, GRD_LOCK_EX};
    uint32_t shorts = 0, longs = 0, refused = 0;

    (void)state;
    for (uint64_t seed = 0; seed < 25; seed++) {
        uint8_t cap = held_here[seed % 5], modes[HELD_MAX];
        grd_lock_id held[HELD_MAX], id = 0;
        uint32_t count = 0;
        struct cf_rng rng;
        struct fixture f;

        set_up(&f, cap);
        cf_rng_seed(&rng, seed);
        for (int turn = 0; turn < 2000; turn++) {
            uint8_t mode = (uint8_t)cf_rng_below(&rng, GRD_LOCK_MODES);
            struct grd_lock_want want = {.owner = 7, .mode = mode};
            bool is_taken = false;

            if (count < HELD_MAX && cf_rng_chance(&rng, count == 0 ? 0.9 : 0.4)) {
                bool may = grd_lock_covers(cap, mode) && goes_with(modes, count, mode);

                if (cf_rng_chance(&rng, 0.5)) {
                    is_taken = grd_lock_local_take(f.local, f.lock, mode, 7, 0, &id);
                    assert_true(!is_taken || may);
                    assert_true(is_taken || count > 0 ||
                                !may); /* alone it is never refused what it may have */
                    shorts += is_taken;
                }
                if (!is_taken && grd_lock_local_want_now(f.local, f.lock, &want, &id) == CF_OK) {
                    assert_true(may);
                    is_taken = true;
                    longs++;
                }
                assert_int_equal(is_taken, may);
                refused += !may;
                if (is_taken) {
                    held[count] = id;
                    modes[count++] = mode;
                }
            } else if (count > 0) {
                uint32_t at = (uint32_t)cf_rng_below(&rng, count);

                if (cf_rng_chance(&rng, 0.5) && grd_lock_local_leave(f.local, held[at]))
                    assert_int_equal(count, 1);
                else
                    assert_int_equal(grd_lock_local_unlock(f.local, held[at], 0, NULL, 0, f.actions), CF_OK);
                assert_false(grd_lock_local_leave(f.local, held[at])); /* a second time it names nothing */
                held[at] = held[--count];
                modes[at] = modes[count];
            }
            grd_lock_local_check(f.local);
            assert_int_equal(grd_lock_local_used(f.local).claims, count);
            assert_int_equal(f.actions->count, 0);
        }
        tear_down(&f);
    }
    assert_true(shorts > 1000 && longs > 1000 && refused > 1000);
}

static void it_refuses_when_all_claims_are_taken(void **state)
{
    grd_lock_id id;
    struct fixture f;
    uint32_t i;

    (void)state;
    set_up(&f, GRD_LOCK_EX);
    for (i = 0; i < CLAIMS; i++) {
        struct grd_lock_want want = {.mode = GRD_LOCK_CR};

        assert_int_equal(grd_lock_local_want_now(f.local, f.lock, &want, &id), CF_OK);
    }
    {
        struct grd_lock_want want = {.mode = GRD_LOCK_CR};

        assert_int_equal(grd_lock_local_want_now(f.local, f.lock, &want, &id), CF_AGAIN);
        assert_false(grd_lock_local_take(f.local, f.lock, GRD_LOCK_CR, 7, 0, &id));
    }
    tear_down(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_short_way_and_the_long_way_mix),
        cmocka_unit_test(it_refuses_when_all_claims_are_taken),
    };

    return cmocka_run_group_tests_name("grd/lock_cached", tests, NULL, NULL);
}
