/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Callers of one instance that want one block: how many requests leave the instance for them [G-1], and who is served
 * before whom [E-11]. Not here: the queue at the master (tests/unit/grd/fair_test.c), loss (tests/sim).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "cluster_fixture.h"

#define OPS 6u

static struct cf_stats stats_of(const struct cluster *cluster, uint32_t node)
{
    struct cf_stats stats = {.size = sizeof stats};

    assert_int_equal(cf_stats_read(cluster->instance[node], &stats), CF_OK);
    return stats;
}

/* Requests that the masters know of and that have not ended. */
static uint64_t requests_open(const struct cluster *cluster)
{
    uint64_t sum = 0;

    for (uint32_t node = 0; node < cluster->nodes; node++) {
        struct cf_stats stats = stats_of(cluster, node);

        sum += stats.directory_waiting + stats.directory_granting;
    }
    return sum;
}

static void wait_for_requests(struct cluster *cluster, uint64_t count)
{
    uint64_t deadline_ns = cluster_deadline(), open;
    struct cf_op *done;

    while ((open = requests_open(cluster)) != count) {
        assert_true(cf_now_ns() < deadline_ns);
        (void)cf_wait(cluster->session[0], &done, 0, cf_now_ns() + 1000000); /* the engine works meanwhile */
    }
}

/* Conversations that have ended with a copy. */
static uint64_t grants(const struct cf_stats *stats)
{
    return stats->hops2 + stats->hops3 + stats->upgrades + stats->disk_reads;
}

static void put(struct cluster *cluster, struct cf_op *op)
{
    assert_int_equal(op->rc, CF_OK);
    cf_put(cluster->session[0], &op->ref);
}

static void callers_share_one_request_and_are_served_in_order(void **state)
{
    static const enum cf_mode modes[OPS] = {CF_MODE_S, CF_MODE_S, CF_MODE_X, CF_MODE_S, CF_MODE_X, CF_MODE_S};
    struct cf_op ops[OPS], *done[OPS];
    struct cluster cluster;
    struct cf_file *files[2];
    struct cf_stats before, after;
    struct cf_ref held;
    uint32_t i, count = 0;

    (void)state;
    cluster_init(&cluster, 2);
    cluster_open(&cluster);
    cluster_file(&cluster, "data", 7, 8);
    for (i = 0; i < 2; i++)
        files[i] = cluster_attach(&cluster, i, "data", 7);
    assert_int_equal(cf_get(cluster.session[1], files[1], 3, CF_MODE_X, 0, cluster_deadline(), &held), CF_OK);
    wait_for_requests(&cluster, 0);
    before = stats_of(&cluster, 0);
    memset(ops, 0, sizeof ops);
    for (i = 0; i < OPS; i++) {
        ops[i] = (struct cf_op){
            .kind = CF_OP_GET, .file = files[0], .block = 3, .mode = modes[i], .deadline_ns = CF_FOREVER};
        assert_int_equal(cf_submit(cluster.session[0], &ops[i]), CF_OK);
    }
    wait_for_requests(&cluster, 1);
    assert_int_equal(cf_wait(cluster.session[0], done, OPS, cf_now_ns() + 20000000), 0);
    assert_int_equal(requests_open(&cluster), 1); /* six callers, one request */
    cf_put(cluster.session[1], &held);
    while (count < OPS) {
        uint32_t more = cf_wait(cluster.session[0], done, OPS, cluster_deadline());

        assert_int_not_equal(more, 0);
        for (i = 0; i < more; i++) {
            assert_ptr_equal(done[i], &ops[count + i]);
            put(&cluster, done[i]);
        }
        count += more;
    }
    after = stats_of(&cluster, 0);
    assert_int_equal(grants(&after) - grants(&before),
                     2); /* S for those before the first X, then X for all */
    cluster_close(&cluster);
    cluster_end(&cluster);
}

/*
 * An upgrade goes ahead of those who wait: it can only come from somebody who holds the block already, and while a caller
 * waits for a block that is here nobody new gets to hold it, so each of them passes once.
 */
static void a_waiting_caller_is_passed_by_those_who_hold_the_block_and_once(void **state)
{
    struct cf_op get = {.kind = CF_OP_GET, .block = 3, .mode = CF_MODE_X, .deadline_ns = CF_FOREVER};
    struct cf_op late = {.kind = CF_OP_GET, .block = 3, .mode = CF_MODE_S, .deadline_ns = CF_FOREVER};
    struct cf_op upgrade = {.kind = CF_OP_UPGRADE, .block = 3, .deadline_ns = CF_FOREVER};
    struct cf_op *done[3];
    struct cluster cluster;
    struct cf_ref ref;

    (void)state;
    cluster_init(&cluster, 1);
    cluster_open(&cluster);
    cluster_file(&cluster, "data", 7, 8);
    get.file = late.file = upgrade.file = cluster_attach(&cluster, 0, "data", 7);
    cluster_write(&cluster, 0, get.file, 3, 1); /* held in X from here on */
    assert_int_equal(cf_get(cluster.session[0], get.file, 3, CF_MODE_S, 0, cluster_deadline(), &upgrade.ref),
                     CF_OK);
    assert_int_equal(cf_submit(cluster.session[0], &get), CF_OK);
    assert_int_equal(cf_wait(cluster.session[0], done, 3, cf_now_ns() + 20000000), 0);
    assert_int_equal(cf_get(cluster.session[0], get.file, 3, CF_MODE_S, CF_GET_TRY, cluster_deadline(), &ref),
                     CF_BUSY);
    assert_int_equal(cf_submit(cluster.session[0], &late), CF_OK);
    assert_int_equal(cf_submit(cluster.session[0], &upgrade), CF_OK);
    assert_int_equal(cf_wait(cluster.session[0], done, 3, cluster_deadline()), 1);
    assert_ptr_equal(done[0], &upgrade);
    put(&cluster, &upgrade);
    assert_int_equal(cf_wait(cluster.session[0], done, 3, cluster_deadline()), 1);
    assert_ptr_equal(done[0], &get);
    put(&cluster, &get);
    assert_int_equal(cf_wait(cluster.session[0], done, 3, cluster_deadline()), 1);
    assert_ptr_equal(done[0], &late);
    put(&cluster, &late);
    cluster_close(&cluster);
    cluster_end(&cluster);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(callers_share_one_request_and_are_served_in_order),
        cmocka_unit_test(a_waiting_caller_is_passed_by_those_who_hold_the_block_and_once),
    };

    return cmocka_run_group_tests_name("engine/queue", tests, NULL, NULL);
}
