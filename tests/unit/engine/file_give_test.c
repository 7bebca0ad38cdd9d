/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A file that is to be given up while something of it is under way: in the inbox, among those that starve, on its way
 * from storage. Each look at the file is one (no patience), unless said otherwise. Not here: what peers hold of it
 * (file_op_test.c, short_directory_test.c).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "cluster_fixture.h"
#include "manual_fixture.h"

static void open_without_patience(struct manual *m, uint32_t io_depth)
{
    manual_open(m, io_depth);
    m->instance->options.call_timeout = 0;
}

static enum cf_rc give_up(struct manual *m)
{
    return eng_file_give_up(m->session, m->file);
}

static void a_file_that_a_call_in_the_inbox_wants_is_in_use(void **state)
{
    struct cf_op op;
    struct manual m;

    (void)state;
    open_without_patience(&m, 2);
    manual_get_init(&m, &op, 5, 0);
    manual_submit_aside(&m, &op);
    assert_int_equal(give_up(&m), CF_BUSY);
    manual_turns(&m);
    assert_int_equal(manual_io_block(&m, 0), 5);
    assert_int_equal(give_up(&m), CF_BUSY); /* it is being read */
    manual_io_end(&m);
    assert_ptr_equal(manual_done(&m), &op);
    assert_int_equal(op.rc, CF_OK);
    assert_int_equal(give_up(&m), CF_BUSY); /* the caller has it */
    cf_put(m.session, &op.ref);
    manual_turns(&m);
    (void)give_up(&m); /* releases what nobody uses any more */
    manual_turns(&m);
    assert_int_equal(give_up(&m), CF_OK);
    manual_close(&m);
}

/* What is in the inbox is served before the look: a call that ends then is in nobody's way. */
static void a_call_in_the_inbox_that_ends_at_once_holds_nothing_up(void **state)
{
    struct cf_op op;
    struct manual m;

    (void)state;
    open_without_patience(&m, 2);
    manual_get_init(&m, &op, 5, 0);
    manual_submit_aside(&m, &op);
    atomic_store_explicit(&m.file->blocks, 5, memory_order_relaxed); /* as after a truncate */
    assert_int_equal(give_up(&m), CF_OK);
    assert_ptr_equal(manual_done(&m), &op);
    assert_int_equal(op.rc, CF_RANGE);
    manual_close(&m);
}

/* One look takes so many calls out of the inbox; the file of those behind them is not known. */
static void a_call_behind_as_many_as_one_look_takes_is_waited_for(void **state)
{
    struct cf_op op;
    struct manual m;

    (void)state;
    open_without_patience(&m, 2);
    assert_true(eng_progress_try(m.instance));
    assert_int_equal(cf_prefetch(m.session, m.file, 0, ENG_TURN_OPS_MAX), ENG_TURN_OPS_MAX);
    manual_get_init(&m, &op, 5, 0);
    assert_int_equal(cf_submit(m.session, &op), CF_OK);
    eng_progress_leave(m.instance);
    atomic_store_explicit(&m.file->blocks, 0, memory_order_relaxed); /* each ends when it is taken */
    assert_int_equal(give_up(&m), CF_BUSY);
    assert_null(manual_done(&m));
    assert_int_equal(give_up(&m), CF_OK);
    assert_ptr_equal(manual_done(&m), &op);
    assert_int_equal(op.rc, CF_RANGE);
    manual_close(&m);
}

static void of_calls_that_starve_prefetches_are_ended_and_others_are_waited_for(void **state)
{
    struct cf_op op;
    struct manual m;

    (void)state;
    open_without_patience(&m, 2);
    manual_records_take(&m);
    assert_int_equal(cf_prefetch(m.session, m.file, 1, 3), 3);
    manual_turns(&m);
    assert_non_null(m.instance->starved.first);
    assert_int_equal(give_up(&m), CF_OK);
    assert_null(m.instance->starved.first);
    manual_get(&m, &op, 5, 0);
    assert_int_equal(cf_prefetch(m.session, m.file, 1, 3), 3);
    assert_int_equal(give_up(&m), CF_BUSY);
    assert_ptr_equal(m.instance->starved.first, &op);
    assert_ptr_equal(m.instance->starved.last, &op);
    manual_records_give_back(&m);
    manual_turns(&m);
    manual_io_end(&m);
    assert_ptr_equal(manual_done(&m), &op);
    assert_int_equal(op.rc, CF_OK);
    manual_close(&m);
}

/* ------------------------------------------------------------------ an attach that fails */

/* A store before the real one that keeps a read back. Owner of progress, but for `is_holding`. */
struct holder {
    struct eng_store store;
    struct eng_store *inner;
    struct eng_io *kept;
    _Atomic bool is_holding;
};

static enum cf_rc holder_submit(struct eng_store *store, struct eng_io *io)
{
    struct holder *holder = (struct holder *)store;

    if (io->op != ENG_IO_READ || holder->kept != NULL || !atomic_load(&holder->is_holding))
        return holder->inner->ops->submit(holder->inner, io);
    holder->kept = io;
    return CF_OK;
}

static uint32_t holder_poll(struct eng_store *store, struct eng_io **done, uint32_t max)
{
    struct holder *holder = (struct holder *)store;

    if (holder->kept != NULL && !atomic_load(&holder->is_holding) &&
        holder->inner->ops->submit(holder->inner, holder->kept) == CF_OK)
        holder->kept = NULL;
    return holder->inner->ops->poll(holder->inner, done, max);
}

static enum cf_rc holder_open_file(struct eng_store *store, const char *path, bool read_only, uint32_t direct,
                                   struct eng_store_file **file_out, struct cf_error *error)
{
    struct eng_store *inner = ((struct holder *)store)->inner;

    return inner->ops->open_file(inner, path, read_only, direct, file_out, error);
}

static void holder_close_file(struct eng_store *store, struct eng_store_file **file)
{
    struct eng_store *inner = ((struct holder *)store)->inner;

    inner->ops->close_file(inner, file);
}

static void holder_close(struct eng_store *store)
{
    eng_store_close(&((struct holder *)store)->inner);
}

static int holder_fd(const struct eng_store *store)
{
    const struct eng_store *inner = ((const struct holder *)store)->inner;

    return inner->ops->fd(inner);
}

static void holder_enter(struct cf_instance *instance, void *arg, uint64_t now_ns)
{
    struct holder *holder = arg;

    (void)now_ns;
    holder->inner = instance->store;
    instance->store = &holder->store;
}

static void count_transfers(struct cf_instance *instance, void *arg, uint64_t now_ns)
{
    (void)now_ns;
    *(uint32_t *)arg = instance->slots_used;
}

static void wait_for_transfers(struct cluster *c)
{
    uint64_t deadline_ns = cluster_deadline();
    uint32_t count = UINT32_MAX;

    while (eng_call_run(c->instance[0], count_transfers, &count) == CF_OK && count != 0) {
        assert_true(cf_now_ns() < deadline_ns);
        eng_file_let_work(c->session[0]);
    }
}

/* With patience: the attach waits for the superblock, and for its end, as long as call_timeout says. */
static void an_attach_that_fails_while_its_superblock_is_read_keeps_the_slot(void **state)
{
    static const struct eng_store_ops ops = {.name = "holder",
                                             .submit = holder_submit,
                                             .poll = holder_poll,
                                             .open_file = holder_open_file,
                                             .close_file = holder_close_file,
                                             .close = holder_close,
                                             .fd = holder_fd};
    struct holder holder = {.store = {&ops}, .is_holding = true};
    struct cf_file *file = NULL;
    struct cluster c;

    (void)state;
    cluster_init(&c, 1);
    c.is_compact = true;
    c.call_timeout_ns = 50000000;
    cluster_file(&c, "data", 7, 10);
    cluster_open(&c);
    assert_int_equal(eng_call_run(c.instance[0], holder_enter, &holder), CF_OK);
    assert_int_equal(cluster_attach_try(&c, 0, "data", 7, &file), CF_TIMEOUT);
    assert_non_null(holder.kept);
    assert_int_equal(cluster_attach_try(&c, 0, "data", 7, &file), CF_INVALID); /* attached already */
    atomic_store(&holder.is_holding, false);
    wait_for_transfers(&c);
    cluster_close(&c);
    assert_int_equal(cluster_super(&c, "data").attached, 0);
    cluster_end(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_that_a_call_in_the_inbox_wants_is_in_use),
        cmocka_unit_test(a_call_in_the_inbox_that_ends_at_once_holds_nothing_up),
        cmocka_unit_test(a_call_behind_as_many_as_one_look_takes_is_waited_for),
        cmocka_unit_test(of_calls_that_starve_prefetches_are_ended_and_others_are_waited_for),
        cmocka_unit_test(an_attach_that_fails_while_its_superblock_is_read_keeps_the_slot),
    };

    return cmocka_run_group_tests_name("engine/file_give", tests, NULL, NULL);
}
