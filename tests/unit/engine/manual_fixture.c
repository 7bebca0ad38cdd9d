/* SPDX-License-Identifier: Apache-2.0 */
#include "manual_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "engine/engine.h"
#include "transport/sim/sim.h"

#define FRAMES 64u
#define OUTSTANDING 16u
#define STEP_NS (20 * CF_NS_PER_US)
#define TURNS_MAX 1000u

static enum cf_rc submit(struct eng_store *store, struct eng_io *io)
{
    struct manual *m = (struct manual *)store;

    assert_in_range(m->io_count, 0, MANUAL_IO_MAX - 1);
    m->io[m->io_count++] = io;
    return CF_OK;
}

static uint32_t poll(struct eng_store *store, struct eng_io **done, uint32_t max)
{
    struct manual *m = (struct manual *)store;
    uint32_t count = m->io_ended < max ? m->io_ended : max;

    memcpy(done, m->io, count * sizeof *done);
    m->io_count -= count;
    m->io_ended -= count;
    memmove(m->io, m->io + count, m->io_count * sizeof *m->io);
    return count;
}

void manual_turns(struct manual *m)
{
    for (uint32_t i = 0; i < TURNS_MAX; i++) {
        m->now_ns += STEP_NS;
        sim_net_advance(m->net, m->now_ns);
        if (!eng_turn(m->instance, m->now_ns))
            return;
    }
    fail_msg("work is left after %u turns", TURNS_MAX);
}

void manual_open(struct manual *m, uint32_t io_depth)
{
    static const struct eng_store_ops ops = {.name = "manual", .submit = submit, .poll = poll};
    struct sim_net_options net = {.nodes = 1, .seed = 1, .delay_floor_ns = CF_NS_PER_US};
    struct eng_manual manual = {.store = &m->store};
    struct cf_options options;
    struct cf_error error = {0};

    memset(m, 0, sizeof *m);
    m->store.ops = &ops;
    assert_int_equal(sim_net_open(&net, &m->net), CF_OK);
    manual.network = m->net;
    cf_options_init(&options);
    assert_int_equal(cf_options_set(&options, "transport", "sim:", &error), CF_OK);
    options.node = 0;
    options.nodes = 1;
    options.incarnation = 1;
    options.cache_bytes = 0;
    options.cache_2k_bytes = FRAMES * MANUAL_BLOCK_BYTES;
    options.buckets = 64;
    options.shards = 1;
    options.sessions = 2;
    options.locks = 0;
    options.outstanding = OUTSTANDING;
    options.io_depth = io_depth;
    options.remaster = 0;
    options.hugepages = 1; /* off */
    options.trace = 0;
    if (eng_open_manual(&options, NULL, &manual, &m->instance, &error) != CF_OK)
        fail_msg("%s", error.text);
    manual_turns(m);
    assert_true(eng_is_open(m->instance));
    assert_int_equal(eng_attach_manual(m->instance, 1, MANUAL_BLOCK_BYTES, MANUAL_BLOCKS, NULL, &m->file),
                     CF_OK);
    assert_int_equal(cf_session_open(m->instance, &m->session), CF_OK);
}

void manual_close(struct manual *m)
{
    eng_close_manual(&m->instance);
    sim_net_close(&m->net);
}

void manual_io_end(struct manual *m)
{
    struct eng_io *io;

    assert_in_range(m->io_ended + 1, 1, m->io_count);
    io = m->io[m->io_ended++];
    io->rc = CF_OK;
    if (io->op == ENG_IO_READ)
        memset(io->buffer, 0, io->bytes);
    manual_turns(m);
}

uint64_t manual_io_block(const struct manual *m, uint32_t i)
{
    assert_in_range(i + 1, 1, m->io_count);
    return m->io[i]->offset / MANUAL_BLOCK_BYTES - 1; /* the superblock comes first */
}

void manual_get_init(const struct manual *m, struct cf_op *op, uint64_t block, uint32_t flags)
{
    *op = (struct cf_op){.kind = CF_OP_GET,
                         .flags = flags,
                         .file = m->file,
                         .block = block,
                         .mode = CF_MODE_S,
                         .deadline_ns = CF_FOREVER};
}

void manual_get(struct manual *m, struct cf_op *op, uint64_t block, uint32_t flags)
{
    manual_get_init(m, op, block, flags);
    assert_int_equal(cf_submit(m->session, op), CF_OK);
    manual_turns(m);
}

void manual_submit_aside(struct manual *m, struct cf_op *op)
{
    assert_true(eng_progress_try(m->instance));
    assert_int_equal(cf_submit(m->session, op), CF_OK);
    eng_progress_leave(m->instance);
    assert_int_equal(cf_mpsc_count(&m->instance->inbox), 1);
}

struct cf_op *manual_done(struct manual *m)
{
    struct cf_op *done[2] = {NULL};

    assert_in_range(cf_poll(m->session, done, 2), 0, 1);
    return done[0];
}

/* Blocks of a file that nobody has. */
static struct cf_block_key record_key(const struct manual *m, uint32_t number)
{
    return (struct cf_block_key){.file = m->file->id + 1, .generation = 1, .block = number};
}

void manual_records_take(struct manual *m)
{
    struct grd_local *local = m->instance->local;

    while (local->blocks_used < local->blocks_count) {
        struct cf_block_key key = record_key(m, m->records_taken++);

        assert_non_null(grd_local_get(local, &key));
    }
}

void manual_records_give_back(struct manual *m)
{
    struct grd_local *local = m->instance->local;

    while (m->records_taken > 0) {
        struct cf_block_key key = record_key(m, --m->records_taken);

        assert_true(grd_local_settle(local, grd_local_find(local, &key)));
    }
}
