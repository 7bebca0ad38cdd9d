/* SPDX-License-Identifier: Apache-2.0 */
/* Covers: sets of instances against an array of booleans, at and around the change from list to map. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "base/rng.h"
#include "grd/msg.h"

struct model {
    bool has[CF_NODES_MAX];
};

static void agrees(const struct grd_set *set, const struct model *model)
{
    uint32_t count = 0, at = grd_set_next(set, 0);

    for (uint32_t node = 0; node < CF_NODES_MAX; node++) {
        assert_int_equal(grd_set_has(set, (uint16_t)node), model->has[node]);
        if (model->has[node]) {
            assert_int_equal(at, node);
            at = grd_set_next(set, at + 1);
            count++;
        }
    }
    assert_int_equal(at, CF_NODES_MAX);
    assert_int_equal(set->count, count);
    /* One form for one set: the codec and memcmp of the used part lean on it. */
    assert_int_equal(set->is_map != 0, count > GRD_SET_LIST);
}

static void an_empty_set_has_nobody(void **state)
{
    static const struct model nobody;
    struct grd_set set;

    (void)state;
    memset(&set, 0xff, sizeof set);
    grd_set_clear(&set);
    agrees(&set, &nobody);
    grd_set_remove(&set, 0);
    grd_set_remove(&set, CF_NODES_MAX - 1);
    agrees(&set, &nobody);
}

static void random_steps_agree_with_a_model(void **state)
{
    /* Few nodes cross the list's length often; many fill the whole map. */
    static const uint32_t spans[] = {GRD_SET_LIST + 1, 2 * GRD_SET_LIST, 64, 65, CF_NODES_MAX};
    struct cf_rng rng;

    (void)state;
    cf_rng_seed(&rng, 7);
    for (size_t s = 0; s < sizeof spans / sizeof spans[0]; s++) {
        static struct model model;
        struct grd_set set;
        uint32_t first = CF_NODES_MAX - spans[s];

        memset(&model, 0, sizeof model);
        memset(&set, 0xee, sizeof set);
        grd_set_clear(&set);
        for (uint32_t step = 0; step < 3000; step++) {
            uint16_t node = (uint16_t)(first + cf_rng_below(&rng, spans[s]));
            /* Long runs of adding, then of removing. */
            bool is_add = cf_rng_chance(&rng, step / 500 % 2 ? 0.2 : 0.8);

            if (is_add)
                grd_set_add(&set, node);
            else
                grd_set_remove(&set, node);
            model.has[node] = is_add;
            if (step % 17 == 0 || set.count == GRD_SET_LIST || set.count == GRD_SET_LIST + 1)
                agrees(&set, &model);
        }
        agrees(&set, &model);
    }
}

static void the_thirteenth_member_makes_a_map_and_its_leaving_a_list(void **state)
{
    struct model model = {{false}};
    struct grd_set set;

    (void)state;
    grd_set_clear(&set);
    for (uint32_t i = 0; i <= GRD_SET_LIST; i++) {
        uint16_t node = (uint16_t)(1000 - 70 * i);

        grd_set_add(&set, node);
        model.has[node] = true;
        agrees(&set, &model);
    }
    for (uint32_t i = 0; i <= GRD_SET_LIST; i++) {
        uint16_t node = (uint16_t)(1000 - 70 * i);

        grd_set_remove(&set, node);
        model.has[node] = false;
        agrees(&set, &model);
    }
}

static void adding_twice_and_removing_nobody_change_nothing(void **state)
{
    struct model model = {{false}};
    struct grd_set set;

    (void)state;
    grd_set_clear(&set);
    for (uint16_t node = 0; node < 20; node++) {
        grd_set_add(&set, node);
        grd_set_add(&set, node);
        grd_set_remove(&set, (uint16_t)(node + 100));
        model.has[node] = true;
        agrees(&set, &model);
    }
}

static void all_nodes_fit(void **state)
{
    struct model model;
    struct grd_set set;

    (void)state;
    grd_set_clear(&set);
    for (uint32_t node = 0; node < CF_NODES_MAX; node++) {
        grd_set_add(&set, (uint16_t)node);
        model.has[node] = true;
    }
    agrees(&set, &model);
}

static void a_copy_has_the_same_members_and_a_life_of_its_own(void **state)
{
    static const uint32_t counts[] = {0, 1, GRD_SET_LIST, GRD_SET_LIST + 1, 1000};

    (void)state;
    for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++) {
        struct model model = {{false}};
        struct grd_set from, to;

        memset(&to, 0xaa, sizeof to);
        grd_set_clear(&from);
        for (uint32_t i = 0; i < counts[c]; i++) {
            uint16_t node = (uint16_t)(i * 7 % CF_NODES_MAX);

            grd_set_add(&from, node);
            model.has[node] = true;
        }
        grd_set_copy(&to, &from);
        agrees(&to, &model);
        grd_set_add(&from, 1023);
        grd_set_remove(&from, 0);
        agrees(&to, &model);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_set_has_nobody),
        cmocka_unit_test(random_steps_agree_with_a_model),
        cmocka_unit_test(the_thirteenth_member_makes_a_map_and_its_leaving_a_list),
        cmocka_unit_test(adding_twice_and_removing_nobody_change_nothing),
        cmocka_unit_test(all_nodes_fit),
        cmocka_unit_test(a_copy_has_the_same_members_and_a_life_of_its_own),
    };

    return cmocka_run_group_tests_name("grd/set", tests, NULL, NULL);
}
