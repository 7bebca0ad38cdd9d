/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each step of a move, one at a time: whichever single message is lost, the bucket arrives with all its entries; whoever cannot be
 * reached any more from some message on, cut off or dead, which is the same to the others, there is one owner at most.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/compiler.h"
#include "tests/unit/grd/move_fixture.h"

#define ENTRIES 5u
/* A move of so few entries takes less, with what is said again. */
#define MESSAGES_MAX 1000u
#define SILENCE_NS 1000000u
#define SILENCES 200u

struct trial {
    struct moves moves;
    uint32_t at;     /* message, counted from the beginning of the move */
    uint16_t victim; /* NODES: the message is lost, and nothing else */
    uint32_t bucket;
    uint32_t owners_max;
};

static uint32_t owners(const struct trial *t)
{
    uint32_t count = 0;

    for (uint32_t n = 0; n < NODES; n++)
        count += grd_move_serves(t->moves.node[n].move, t->bucket);
    return count;
}

static void look(struct trial *t)
{
    uint32_t count = owners(t);

    if (count > t->owners_max)
        t->owners_max = count;
}

/* Is asked about every message, so it sees every state there is between two. */
static bool loses(struct moves *c, uint16_t to, const struct grd_msg *msg)
{
    struct trial *t = cf_container_of(c, struct trial, moves);

    look(t);
    if (t->victim == NODES)
        return c->sent == t->at;
    return c->sent >= t->at && msg->from != to && (msg->from == t->victim || to == t->victim);
}

/* A bucket of some entries begins to move, and the fault is on its way. Returns who is to have it. */
static uint16_t begin(struct trial *t, uint32_t at, uint16_t victim)
{
    struct moves *c = &t->moves;
    uint16_t to;

    moves_open(c, 4096);
    t->bucket = moves_bucket(c, 7);
    t->at = at;
    t->victim = victim;
    t->owners_max = 0;
    for (uint64_t block = 7, held = 0; held < ENTRIES; block++) {
        if (moves_bucket(c, block) != t->bucket)
            continue;
        moves_hold(c, block, (uint16_t)(held % NODES), 10 + held, true);
        held++;
    }
    moves_run(c);
    to = moves_next(c, t->bucket);
    c->sent = 0;
    c->loses = loses;
    moves_begin(c, t->bucket, to);
    return to;
}

static void whichever_message_is_lost_the_bucket_arrives_with_its_entries(void **state)
{
    struct trial t;
    uint32_t at, lost = 1;

    (void)state;
    for (at = 1; lost != 0; at++) {
        uint16_t to = begin(&t, at, NODES);

        assert_true(at < MESSAGES_MAX);
        moves_settle(&t.moves);
        lost = t.moves.lost;
        assert_int_equal(t.owners_max, 1);
        for (uint32_t n = 0; n < NODES; n++)
            assert_int_equal(grd_directory_entries(t.moves.node[n].master->directory), n == to ? ENTRIES : 0);
        assert_true(grd_move_serves(t.moves.node[to].move, t.bucket));
        grd_directory_check(t.moves.node[to].master->directory);
        moves_close(&t.moves);
    }
    assert_true(at > 2 * ENTRIES); /* each entry is said, and answered */
}

static void whoever_falls_silent_there_is_one_owner_at_most(void **state)
{
    struct trial t;
    uint32_t without_owner = 0;

    (void)state;
    for (uint16_t victim = 0; victim < NODES; victim++) {
        uint32_t at = 1, lost;

        do {
            (void)begin(&t, at, victim);
            moves_run(&t.moves);
            for (uint32_t i = 0; i < SILENCES; i++) {
                moves_pass(&t.moves, SILENCE_NS);
                look(&t);
            }
            assert_true(at < MESSAGES_MAX);
            assert_int_equal(t.owners_max, 1);
            without_owner += owners(&t) == 0;
            lost = t.moves.lost;
            moves_close(&t.moves);
            at++;
        } while (lost != 0);
    }
    assert_true(without_owner > 0); /* the step of which there is no way back */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whichever_message_is_lost_the_bucket_arrives_with_its_entries),
        cmocka_unit_test(whoever_falls_silent_there_is_one_owner_at_most),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
