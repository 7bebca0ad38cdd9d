/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Private snapshots over shm:, where they come by READ: what they show, what they cost in messages, what they leave
 * behind, and what makes a remembered place unusable. Interleavings and loss: tests/sim. Threads: tests/stress.
 */
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "cluster_fixture.h"
#include "engine/snapshot.h"

#define BLOCKS 16u
#define FOREIGN_BYTES (4u * CLUSTER_BLOCK_BYTES)

struct world {
    struct cluster cluster;
    struct cf_file *file[CLUSTER_NODES_MAX];
    uint8_t bytes[CLUSTER_BLOCK_BYTES];
};

static struct cf_stats stats_of(struct world *world, uint32_t node)
{
    struct cf_stats stats = {.size = sizeof stats};

    assert_int_equal(cf_stats_read(world->cluster.instance[node], &stats), CF_OK);
    return stats;
}

static uint64_t snapshot(struct world *world, uint32_t node, uint64_t block, cf_scn *version_out)
{
    uint64_t value;
    enum cf_rc rc = cf_read_snapshot(world->cluster.session[node], world->file[node], block, world->bytes,
                                     sizeof world->bytes, cluster_deadline(), version_out);

    if (rc != CF_OK)
        fail_msg("%s: %s", cf_rc_name(rc), cf_session_error(world->cluster.session[node])->text);
    memcpy(&value, world->bytes, sizeof value);
    return value;
}

static int set_up_as(void **state, bool is_dedicated)
{
    struct world *world = calloc(1, sizeof *world);

    assert_non_null(world);
    cluster_init(&world->cluster, 3);
    world->cluster.is_dedicated = is_dedicated;
    /* Where a block is, is waited for so long, then it is got by message: never here, however busy the machine. */
    world->cluster.resend_ns = 5 * CF_NS_PER_S;
    cluster_file(&world->cluster, "data", 1, BLOCKS);
    cluster_open(&world->cluster);
    for (uint32_t n = 0; n < 3; n++)
        world->file[n] = cluster_attach(&world->cluster, n, "data", 1);
    *state = world;
    return 0;
}

static int setup(void **state)
{
    return set_up_as(state, false);
}

/* Directory workers answer WHERE. */
static int setup_dedicated(void **state)
{
    return set_up_as(state, true);
}

static int teardown(void **state)
{
    struct world *world = *state;

    cluster_close(&world->cluster);
    cluster_end(&world->cluster);
    free(world);
    return 0;
}

/* Every master knows that what it has granted has begun: before, it names no place. */
static void begun(struct world *world)
{
    uint64_t end_ns = cluster_deadline(), granting;

    do {
        granting = 0;
        for (uint32_t n = 0; n < 3; n++)
            granting += stats_of(world, n).directory_granting;
        assert_true(cf_now_ns() < end_ns);
    } while (granting != 0 && sched_yield() == 0);
}

/* Node 0 holds the block in X. */
static void changed(struct world *world, uint64_t block, uint64_t value)
{
    cluster_write(&world->cluster, 0, world->file[0], block, value);
    begun(world);
}

/* And node 1 knows its place. */
static void known(struct world *world, uint64_t block, uint64_t value)
{
    changed(world, block, value);
    assert_int_equal(snapshot(world, 1, block, NULL), value);
    assert_true(stats_of(world, 1).snapshots_read > 0);
}

static void a_repeated_snapshot_costs_no_message_and_caches_nothing(void **state)
{
    struct world *world = *state;
    struct cf_stats before, after;
    cf_scn first, version;

    changed(world, 3, 7);
    before = stats_of(world, 1);
    assert_int_equal(snapshot(world, 1, 3, &first), 7);
    after = stats_of(world, 1);
    assert_int_equal(after.snapshots_asked - before.snapshots_asked, 1);
    assert_int_equal(after.snapshots_read - before.snapshots_read, 1);
    assert_true(first > 0);
    before = after;
    for (uint32_t i = 0; i < 100; i++) {
        assert_int_equal(snapshot(world, 1, 3, &version), 7);
        assert_int_equal(version, first);
    }
    after = stats_of(world, 1);
    assert_int_equal(after.snapshots_read - before.snapshots_read, 100);
    assert_int_equal(after.snapshots_asked, before.snapshots_asked);
    assert_int_equal(after.frames_free, before.frames_free);
    assert_int_equal(after.blocks_shipped + stats_of(world, 0).blocks_shipped,
                     before.blocks_shipped + stats_of(world, 0).blocks_shipped);
    assert_int_equal(after.snapshots_given_up, 0);
}

static void a_snapshot_after_a_change_shows_the_change(void **state)
{
    struct world *world = *state;
    cf_scn version, last = 0;

    for (uint64_t i = 1; i <= 200; i++) {
        cluster_write(&world->cluster, (uint32_t)(i % 2) * 2, world->file[i % 2 * 2], 5, i);
        assert_int_equal(snapshot(world, 1, 5, &version), i);
        assert_true(version > last);
        last = version;
    }
    assert_true(stats_of(world, 1).snapshots_refused > 0);
}

static void a_block_that_keeps_changing_comes_by_message(void **state)
{
    struct world *world = *state;

    for (uint64_t i = 1; i <= 64; i++) {
        cluster_write(&world->cluster, 0, world->file[0], 6, i);
        assert_int_equal(snapshot(world, 1, 6, NULL), i);
    }
    assert_true(stats_of(world, 1).snapshots > stats_of(world, 1).snapshots_read);
}

static void an_own_block_is_copied_from_the_own_cache(void **state)
{
    struct world *world = *state;
    struct cf_stats before = stats_of(world, 0);

    cluster_write(&world->cluster, 0, world->file[0], 4, 11);
    assert_int_equal(snapshot(world, 0, 4, NULL), 11);
    assert_int_equal(stats_of(world, 0).snapshots_asked, before.snapshots_asked);
    assert_int_equal(stats_of(world, 0).snapshots - before.snapshots, 1);
}

static void a_block_nobody_has_comes_from_storage(void **state)
{
    struct world *world = *state;
    cf_scn version = 99;

    assert_int_equal(snapshot(world, 2, 9, &version), 0);
    assert_int_equal(version, 0);
    assert_int_equal(stats_of(world, 2).disk_reads > 0, 1);
    assert_int_equal(stats_of(world, 2).snapshots_given_up, 1);
}

static void what_cannot_be_asked_is_refused(void **state)
{
    struct world *world = *state;
    struct cf_session *session = world->cluster.session[1];

    assert_int_equal(cf_read_snapshot(session, world->file[1], BLOCKS, world->bytes, sizeof world->bytes,
                                      cluster_deadline(), NULL),
                     CF_RANGE);
    assert_int_equal(
        cf_read_snapshot(session, world->file[1], 0, world->bytes, 100, cluster_deadline(), NULL),
        CF_INVALID);
    assert_int_equal(
        cf_read_snapshot(session, world->file[1], 0, NULL, sizeof world->bytes, cluster_deadline(), NULL),
        CF_INVALID);
}

static void the_asynchronous_form_copies_as_well(void **state)
{
    struct world *world = *state;
    struct cf_op ops[8] = {{0}}, *done;

    for (uint64_t b = 0; b < 8; b++)
        cluster_write(&world->cluster, 0, world->file[0], b, 100 + b);
    for (uint64_t b = 0; b < 8; b++) {
        ops[b] = (struct cf_op){
            .kind = CF_OP_SNAPSHOT,
            .file = world->file[1],
            .block = b,
            .deadline_ns = cluster_deadline(),
            .ref = {.data = calloc(1, CLUSTER_BLOCK_BYTES), .bytes = CLUSTER_BLOCK_BYTES}};
        assert_non_null(ops[b].ref.data);
        assert_int_equal(cf_submit(world->cluster.session[1], &ops[b]), CF_OK);
    }
    for (uint64_t b = 0; b < 8; b++) {
        uint64_t value;

        assert_int_equal(cf_wait(world->cluster.session[1], &done, 1, cluster_deadline()), 1);
        assert_int_equal(done->rc, CF_OK);
        memcpy(&value, done->ref.data, sizeof value);
        assert_int_equal(value, 100 + done->block);
        free(done->ref.data);
    }
}

/* Foreign blocks have no header: the word alone proves them. */
static void a_foreign_block_is_read_as_well(void **state)
{
    struct world *world = *state;
    struct cf_file_options options;
    struct cf_file *file[2];
    uint8_t image[FOREIGN_BYTES];
    struct cf_ref ref;
    char path[128];
    int fd;

    for (uint32_t i = 0; i < sizeof image; i++)
        image[i] = (uint8_t)(i * 7 + i / 2048);
    cluster_path(&world->cluster, "foreign", path);
    fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_int_equal(write(fd, image, sizeof image), sizeof image);
    assert_int_equal(close(fd), 0);
    for (uint32_t n = 0; n < 2; n++) {
        cf_file_options_init(&options);
        options.path = path;
        options.file_id = 2;
        options.format = CF_FORMAT_FOREIGN;
        options.block_bytes = CLUSTER_BLOCK_BYTES;
        options.read_only = true;
        assert_int_equal(cf_attach(world->cluster.session[n], &options, &file[n]), CF_OK);
    }
    assert_int_equal(cf_get(world->cluster.session[0], file[0], 2, CF_MODE_S, 0, cluster_deadline(), &ref),
                     CF_OK);
    cf_put(world->cluster.session[0], &ref);
    begun(world);
    for (uint32_t i = 0; i < 3; i++) {
        memset(world->bytes, 0, sizeof world->bytes);
        assert_int_equal(cf_read_snapshot(world->cluster.session[1], file[1], 2, world->bytes,
                                          sizeof world->bytes, cluster_deadline(), NULL),
                         CF_OK);
        assert_memory_equal(world->bytes, image + 2 * CLUSTER_BLOCK_BYTES, CLUSTER_BLOCK_BYTES);
    }
    assert_int_equal(stats_of(world, 1).snapshots_read, 3);
}

/* ---- what makes a place unusable: changed under progress ---- */

static void epoch_moves(struct cf_instance *instance, void *arg, uint64_t now_ns)
{
    (void)arg, (void)now_ns;
    instance->epoch++;
}

static void peer_is_another(struct cf_instance *instance, void *arg, uint64_t now_ns)
{
    (void)arg, (void)now_ns;
    instance->peers[0].incarnation++;
}

static void places_grow_old(struct cf_instance *instance, void *arg, uint64_t now_ns)
{
    (void)arg;
    for (uint32_t i = 0; i < ENG_PLACES; i++)
        instance->snapshots->places[i].learned_ns = now_ns - ENG_PLACE_NS_MAX - 1;
}

static void place_is_asked_for_again(struct world *world,
                                     void (*change)(struct cf_instance *, void *, uint64_t))
{
    struct cf_stats before;

    known(world, 8, 21);
    before = stats_of(world, 1);
    assert_int_equal(eng_call_run(world->cluster.instance[1], change, NULL), CF_OK);
    assert_int_equal(snapshot(world, 1, 8, NULL), 21);
    assert_int_equal(stats_of(world, 1).snapshots_asked - before.snapshots_asked, 1);
}

static void a_place_of_another_epoch_is_not_used(void **state)
{
    place_is_asked_for_again(*state, epoch_moves);
}

static void a_place_at_another_life_of_its_holder_is_not_used(void **state)
{
    place_is_asked_for_again(*state, peer_is_another);
}

static void a_place_grows_old(void **state)
{
    place_is_asked_for_again(*state, places_grow_old);
}

/* The three READs of one snapshot, turn by turn under progress; something happens while one of them is under way. */
struct steps {
    struct world *world;
    struct cf_op op;
    enum eng_snapshot_stage at;
    void (*change)(struct steps *steps, struct cf_instance *instance);
    uint64_t read_before;
    bool is_changed;
};

static void step_by_step(struct cf_instance *instance, void *arg, uint64_t now_ns)
{
    struct steps *steps = arg;
    struct eng_snapshot *slot = &instance->snapshots->slots[instance->snapshots->free];

    eng_op_submit_owner(instance, &steps->op, now_ns);
    assert_int_equal(slot->stage, ENG_SNAPSHOT_FIRST);
    while (slot->op == &steps->op && slot->stage != ENG_SNAPSHOT_ASKING) {
        if (slot->stage == steps->at && !steps->is_changed) {
            steps->is_changed =
                true; /* each test has a block of its own a step: places that fail often rest */
            steps->change(steps, instance);
        }
        (void)eng_turn_owner(instance, cf_now_ns());
    }
}

static void steps_run(struct world *world, struct steps *steps, uint64_t block)
{
    struct cf_session *session = world->cluster.session[1];

    steps->world = world;
    steps->op = (struct cf_op){.kind = CF_OP_SNAPSHOT,
                               .file = world->file[1],
                               .block = block,
                               .mode = CF_MODE_S,
                               .deadline_ns = CF_FOREVER,
                               .ref = {.data = world->bytes, .bytes = sizeof world->bytes}};
    steps->read_before = stats_of(world, 1).snapshots_read;
    eng_op_of(&steps->op)->session = session;
    eng_op_of(&steps->op)->is_sync = 1;
    assert_int_equal(eng_call_run(world->cluster.instance[1], step_by_step, steps), CF_OK);
    assert_true(steps->is_changed);
}

static void await_op(struct steps *steps)
{
    uint64_t until_ns = cluster_deadline();

    while (!cf_observe_u32(&eng_op_of(&steps->op)->done) && cf_now_ns() < until_ns)
        eng_kick(steps->world->cluster.instance[1]);
    assert_true(cf_observe_u32(&eng_op_of(&steps->op)->done));
    assert_int_equal(steps->op.rc, CF_OK);
}

static void step_epoch(struct steps *steps, struct cf_instance *instance)
{
    (void)steps;
    instance->epoch++;
}

static void step_write(struct steps *steps, struct cf_instance *instance)
{
    (void)instance;
    cluster_write(&steps->world->cluster, 0, steps->world->file[0], steps->op.block, 55);
}

static void step_nothing(struct steps *steps, struct cf_instance *instance)
{
    (void)steps, (void)instance;
}

static void an_undisturbed_snapshot_is_three_reads(void **state)
{
    struct world *world = *state;
    struct steps steps = {.at = ENG_SNAPSHOT_SECOND, .change = step_nothing};

    known(world, 8, 54);
    steps_run(world, &steps, 8);
    await_op(&steps);
    assert_int_equal(stats_of(world, 1).snapshots_read, steps.read_before + 1);
}

static void an_epoch_that_moves_meanwhile_is_seen_at_each_read(void **state)
{
    struct world *world = *state;
    uint64_t value;

    for (enum eng_snapshot_stage at = ENG_SNAPSHOT_FIRST; at <= ENG_SNAPSHOT_SECOND; at++) {
        struct steps steps = {.at = at, .change = step_epoch};
        uint64_t asked;

        known(world, at, 54);
        asked = stats_of(world, 1).snapshots_asked;
        steps_run(world, &steps, at);
        await_op(&steps);
        memcpy(&value, world->bytes, sizeof value);
        assert_int_equal(value, 54);
        assert_int_equal(stats_of(world, 1).snapshots_asked, asked + 1);
    }
}

/*
 * A READ of shm: is a copy made when it is begun. A change while the second look is under way came after the moment of
 * the snapshot, which may show what was before.
 */
static void a_change_between_the_looks_is_seen(void **state)
{
    struct world *world = *state;
    uint64_t value;

    for (enum eng_snapshot_stage at = ENG_SNAPSHOT_FIRST; at <= ENG_SNAPSHOT_BYTES; at++) {
        struct steps steps = {.at = at, .change = step_write};

        known(world, at, 54);
        steps_run(world, &steps, at);
        await_op(&steps);
        memcpy(&value, world->bytes, sizeof value);
        assert_int_equal(value, 55);
    }
    assert_int_equal(stats_of(world, 1).snapshots_torn, 2);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(a_repeated_snapshot_costs_no_message_and_caches_nothing),
        T(a_snapshot_after_a_change_shows_the_change),
        T(a_block_that_keeps_changing_comes_by_message),
        T(an_own_block_is_copied_from_the_own_cache),
        T(a_block_nobody_has_comes_from_storage),
        T(what_cannot_be_asked_is_refused),
        T(the_asynchronous_form_copies_as_well),
        T(a_foreign_block_is_read_as_well),
        T(a_place_of_another_epoch_is_not_used),
        T(a_place_at_another_life_of_its_holder_is_not_used),
        T(a_place_grows_old),
        T(an_undisturbed_snapshot_is_three_reads),
        T(an_epoch_that_moves_meanwhile_is_seen_at_each_read),
        T(a_change_between_the_looks_is_seen),
    };
#undef T
#define D(name) cmocka_unit_test_setup_teardown(name, setup_dedicated, teardown)
    const struct CMUnitTest dedicated[] = {
        D(a_repeated_snapshot_costs_no_message_and_caches_nothing),
        D(a_snapshot_after_a_change_shows_the_change),
        D(a_block_nobody_has_comes_from_storage),
        D(the_asynchronous_form_copies_as_well),
        D(a_foreign_block_is_read_as_well),
    };
#undef D

    return cmocka_run_group_tests(tests, NULL, NULL) +
           cmocka_run_group_tests_name("engine/snapshot, dedicated", dedicated, NULL, NULL);
}
