/* SPDX-License-Identifier: Apache-2.0 */
/* Frames lent to the transport (E-9): the transport takes `lane_slots` of a size at most, and ships may be more. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "engine/instance.h"
#include "tests/unit/engine/cluster_fixture.h"

#define LANE_SLOTS 64u
#define GETS 200u

static uint64_t word_of(const struct cf_ref *ref)
{
    uint64_t word;

    memcpy(&word, ref->data, sizeof word);
    return word;
}

static void more_blocks_may_be_asked_for_than_a_lane_has_slots(void **state)
{
    static struct cf_op ops[GETS];
    struct cf_op *done[GETS];
    struct cf_file *file[2];
    struct cluster cluster;
    uint32_t count = 0, i, n;

    (void)state;
    cluster_init(&cluster, 2);
    cluster.lane_slots = LANE_SLOTS;
    cluster.outstanding = GETS;
    cluster.cache_blocks = 4 * GETS;
    cluster_open(&cluster);
    for (n = 0; n < 2; n++)
        assert_int_equal(cluster.instance[n]->lent_target[0], LANE_SLOTS);
    cluster_file(&cluster, "data", 1, GETS);
    for (n = 0; n < 2; n++)
        file[n] = cluster_attach(&cluster, n, "data", 1);
    for (i = 0; i < GETS; i++)
        cluster_write(&cluster, 0, file[0], i, 1000 + i);
    for (i = 0; i < GETS; i++) {
        ops[i] = (struct cf_op){
            .kind = CF_OP_GET, .file = file[1], .block = i, .mode = CF_MODE_S, .deadline_ns = CF_FOREVER};
        assert_int_equal(cf_submit(cluster.session[1], &ops[i]), CF_OK);
    }
    while (count < GETS) {
        uint32_t got = cf_wait(cluster.session[1], done, GETS, cluster_deadline());

        assert_int_not_equal(got, 0);
        for (i = 0; i < got; i++) {
            assert_int_equal(done[i]->rc, CF_OK);
            assert_int_equal(word_of(&done[i]->ref), 1000 + done[i]->block);
            cf_put(cluster.session[1], &done[i]->ref);
        }
        count += got;
    }
    for (n = 0; n < 2; n++)
        assert_int_equal(cf_detach(cluster.session[n], &file[n]), CF_OK);
    cluster_close(&cluster);
    cluster_end(&cluster);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(more_blocks_may_be_asked_for_than_a_lane_has_slots)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
