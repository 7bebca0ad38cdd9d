/* SPDX-License-Identifier: Apache-2.0 */
/* Covers: how reports of several instances meet: by mode, by side, by the ids of grants and asks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "base/rng.h"
#include "tests/unit/grd/detect_fixture.h"

enum mode { NL = 0, CR, CW, PR, PW, EX };

enum { A = 1, B = 2, C = 3 };
#define KEY 77u

static struct grd_detect_report local(uint16_t node, uint64_t owner, uint64_t holder)
{
    return (struct grd_detect_report){.kind = GRD_DETECT_LOCAL,
                                      .node = node,
                                      .owner = owner,
                                      .holder = holder,
                                      .wait = 100 + owner,
                                      .grant = 200 + holder};
}

static struct grd_detect_report asks(uint16_t node, uint64_t owner, uint64_t key, uint64_t ask)
{
    return (struct grd_detect_report){
        .kind = GRD_DETECT_ASKS, .node = node, .key = key, .owner = owner, .wait = 100 + owner, .grant = ask};
}

static struct grd_detect_report behind(uint16_t node, uint64_t key, uint64_t ask, enum mode mode,
                                       uint16_t peer, enum grd_detect_side side, uint64_t id)
{
    return (struct grd_detect_report){.kind = GRD_DETECT_BEHIND,
                                      .node = node,
                                      .key = key,
                                      .wait = ask,
                                      .mode = mode & 7,
                                      .peer = peer,
                                      .side = side & 3,
                                      .grant = id};
}

static struct grd_detect_report stake(uint16_t node, uint64_t key, enum grd_detect_side side, uint64_t id,
                                      uint64_t owner, enum mode mode)
{
    return (struct grd_detect_report){.kind = GRD_DETECT_STAKE,
                                      .node = node,
                                      .key = key,
                                      .side = side & 1,
                                      .wait = id,
                                      .owner = owner,
                                      .mode = mode & 7,
                                      .grant = 300 + owner};
}

/* How many victims there are; the last of them. */
static uint32_t victims(const struct grd_detect_report *reports, uint32_t count,
                        struct grd_detect_victim *victim, struct grd_detect_step *steps, uint32_t steps_max)
{
    struct detect_fixture fixture;
    struct grd_detect_victim next;
    uint32_t found = 0;

    detect_fixture_open(&fixture, 64, 64, 0x5a);
    assert_int_equal(detect_fixture_confirm(&fixture, reports, count), count);
    grd_detect_resolve(fixture.detect);
    while (grd_detect_victim_next(fixture.detect, &next, steps, steps_max)) {
        *victim = next;
        found++;
    }
    detect_fixture_close(&fixture);
    return found;
}

/* Owner 1 of A holds K and wants L; owner 2 of B holds L and wants K. In any order of reports. */
static void a_cycle_across_instances_is_found(void **state)
{
    struct grd_detect_report reports[] = {
        asks(A, 1, 20, 51),
        behind(A, 20, 51, EX, B, GRD_DETECT_HOLDS, 61),
        stake(B, 20, GRD_DETECT_HOLDS, 61, 2, PR),
        asks(B, 2, 10, 52),
        behind(B, 10, 52, PR, A, GRD_DETECT_HOLDS, 62),
        stake(A, 10, GRD_DETECT_HOLDS, 62, 1, EX),
    };
    struct grd_detect_step steps[8];
    struct grd_detect_victim victim;

    (void)state;
    reports[0].cost = 7;
    for (uint32_t turn = 0; turn < CF_COUNTOF(reports); turn++) {
        struct grd_detect_report first = reports[0];

        assert_int_equal(victims(reports, CF_COUNTOF(reports), &victim, steps, 8), 1);
        assert_int_equal(victim.node, B);
        assert_int_equal(victim.owner, 2);
        assert_int_equal(victim.wait, 102);
        assert_int_equal(victim.key, 10);
        assert_int_equal(victim.cycle_length, 6);
        assert_int_equal(steps[1].what, GRD_DETECT_ASK);
        assert_int_equal(steps[1].node, B);
        assert_int_equal(steps[1].id, 52);
        assert_int_equal(steps[1].key, 10);
        assert_int_equal(steps[2].what, GRD_DETECT_STANDS);
        assert_int_equal(steps[2].node, A);
        assert_int_equal(steps[2].side, GRD_DETECT_HOLDS);
        assert_int_equal(steps[2].mode, EX);
        assert_int_equal(steps[2].id, 62);
        assert_int_equal(steps[3].what, GRD_DETECT_OWNER);
        assert_int_equal(steps[3].id, 1);
        assert_int_equal(steps[3].wait, 101);
        assert_int_equal(steps[3].key, 20);
        memmove(&reports[0], &reports[1], sizeof reports - sizeof reports[0]);
        reports[CF_COUNTOF(reports) - 1] = first;
    }
}

/* Two owners hold a resource in PR and both want EX: one of them must go. */
static void a_conversion_deadlock_across_instances_is_found(void **state)
{
    struct grd_detect_report reports[] = {
        asks(A, 1, KEY, 51),
        asks(B, 2, KEY, 52),
        behind(A, KEY, 51, EX, B, GRD_DETECT_HOLDS, 62),
        behind(B, KEY, 52, EX, A, GRD_DETECT_HOLDS, 61),
        stake(A, KEY, GRD_DETECT_HOLDS, 61, 1, PR),
        stake(B, KEY, GRD_DETECT_HOLDS, 62, 2, PR),
    };
    struct grd_detect_victim victim;

    (void)state;
    assert_int_equal(victims(reports, CF_COUNTOF(reports), &victim, NULL, 0), 1);
}

/* B holds the resource in EX, but of its owners only one with CR is left that waits for A; A asks for CW. */
static void an_owner_whose_mode_goes_with_the_one_asked_is_not_waited_for(void **state)
{
    struct grd_detect_victim victim;

    (void)state;
    for (enum mode asked = NL; asked <= EX; asked++) {
        for (enum mode held = NL; held <= EX; held++) {
            struct grd_detect_report reports[] = {
                asks(A, 1, KEY, 51),
                behind(A, KEY, 51, asked, B, GRD_DETECT_HOLDS, 62),
                stake(B, KEY, GRD_DETECT_HOLDS, 62, 2, held),
                asks(B, 2, 10, 52),
                behind(B, 10, 52, EX, A, GRD_DETECT_HOLDS, 61),
                stake(A, 10, GRD_DETECT_HOLDS, 61, 1, EX),
            };

            assert_int_equal(victims(reports, CF_COUNTOF(reports), &victim, NULL, 0),
                             detect_lock_conflicts[asked] >> held & 1);
        }
    }
}

/*
 * Owner 1 of A waits behind what B holds through owner 2, who waits for nobody. Owner 3 of B waits for the
 * same resource behind A's ask. Were those who wait at B taken for those who hold it, 1 and 3 would be a
 * cycle.
 */
static void who_waits_at_an_instance_is_not_who_makes_it_hold(void **state)
{
    struct grd_detect_report reports[] = {
        asks(A, 1, KEY, 51),
        behind(A, KEY, 51, EX, B, GRD_DETECT_HOLDS, 62),
        stake(B, KEY, GRD_DETECT_HOLDS, 62, 2, PR),
        asks(B, 3, KEY, 52),
        behind(B, KEY, 52, EX, A, GRD_DETECT_WAITS, 51),
        stake(A, KEY, GRD_DETECT_WAITS, 51, 1, EX),
        stake(B, KEY, GRD_DETECT_WAITS, 52, 3, EX),
    };
    struct grd_detect_victim victim;

    (void)state;
    assert_int_equal(victims(reports, CF_COUNTOF(reports), &victim, NULL, 0), 0);
}

/*
 * A's ask stands behind B's earlier one, for owner 2, who waits for C, whose owner waits for what owner 1
 * holds.
 */
static void an_earlier_ask_is_waited_for(void **state)
{
    struct grd_detect_report reports[] = {
        asks(A, 1, KEY, 51),
        behind(A, KEY, 51, PR, B, GRD_DETECT_WAITS, 52),
        stake(B, KEY, GRD_DETECT_WAITS, 52, 2, EX),
        asks(B, 2, KEY, 52),
        behind(B, KEY, 52, EX, C, GRD_DETECT_HOLDS, 63),
        stake(C, KEY, GRD_DETECT_HOLDS, 63, 3, PR),
        asks(C, 3, 10, 53),
        behind(C, 10, 53, PR, A, GRD_DETECT_HOLDS, 61),
        stake(A, 10, GRD_DETECT_HOLDS, 61, 1, EX),
    };
    struct grd_detect_victim victim;

    (void)state;
    assert_int_equal(victims(reports, CF_COUNTOF(reports), &victim, NULL, 0), 1);
    assert_int_equal(victim.cycle_length, 9);
}

/*
 * A's ask stands behind B's, whoever waits for that at B: B's stands behind C's grant, whose owner waits for what owner 1
 * holds. Two asks that stand behind one another have no owner: nobody can be ended.
 */
static void an_earlier_ask_itself_is_waited_for(void **state)
{
    struct grd_detect_report reports[] = {
        asks(A, 1, KEY, 51),
        behind(A, KEY, 51, EX, B, GRD_DETECT_ITSELF, 52),
        behind(B, KEY, 52, EX, C, GRD_DETECT_HOLDS, 63),
        stake(C, KEY, GRD_DETECT_HOLDS, 63, 3, PR),
        asks(C, 3, 10, 53),
        behind(C, 10, 53, PR, A, GRD_DETECT_HOLDS, 61),
        stake(A, 10, GRD_DETECT_HOLDS, 61, 1, EX),
        behind(B, 99, 7, EX, C, GRD_DETECT_ITSELF, 8),
        behind(C, 99, 8, EX, B, GRD_DETECT_ITSELF, 7),
        asks(B, 5, 99, 7),
    };
    struct grd_detect_step steps[8];
    struct grd_detect_victim victim;

    (void)state;
    assert_int_equal(victims(reports, CF_COUNTOF(reports), &victim, steps, 8), 1);
    assert_int_equal(victim.cycle_length, 7);
    assert_int_equal(victims(&reports[7], 3, &victim, NULL, 0), 0);
    reports[1].grant++; /* another one */
    assert_int_equal(victims(reports, CF_COUNTOF(reports), &victim, NULL, 0), 0);
}

/* The master speaks of an ask or a grant that the instance knows nothing of any more: they do not meet. */
static void other_ids_do_not_meet(void **state)
{
    struct grd_detect_victim victim;

    (void)state;
    for (uint32_t wrong = 0; wrong < 7; wrong++) {
        struct grd_detect_report reports[] = {
            asks(A, 1, 20, 51),
            behind(A, 20, 51, EX, B, GRD_DETECT_HOLDS, 61),
            stake(B, 20, GRD_DETECT_HOLDS, 61, 2, EX),
            local(B, 2, 4),
            asks(B, 4, 10, 52),
            behind(B, 10, 52, EX, A, GRD_DETECT_HOLDS, 62),
            stake(A, 10, GRD_DETECT_HOLDS, 62, 1, EX),
        };

        reports[0].grant += wrong == 1;
        reports[1].grant += wrong == 2;
        reports[2].side ^= wrong == 3;
        reports[2].key += wrong == 4;
        reports[4].node += wrong == 5;
        reports[6].wait += wrong == 6;
        assert_int_equal(victims(reports, CF_COUNTOF(reports), &victim, NULL, 0), wrong == 0);
    }
}

/* --- random reports against a join by brute force ------------------------------------------------------ */

#define NODES 2u
#define KEYS 2u
#define IDS 2u
#define OWNERS 4u /* of a node */
#define LOCK_MODES 6u
#define REPORTS_MAX 40u
#define OWNER_AT 0u
#define ASK_AT (OWNER_AT + NODES * OWNERS)
#define STANDS_AT (ASK_AT + NODES * KEYS * IDS)
#define VERTICES (STANDS_AT + 2 * NODES * KEYS * IDS * LOCK_MODES)

static uint32_t owner_at(uint32_t node, uint64_t owner)
{
    return OWNER_AT + node * OWNERS + (uint32_t)owner;
}

static uint32_t ask_at(uint32_t node, uint64_t key, uint64_t id)
{
    return ASK_AT + (node * KEYS + (uint32_t)key) * IDS + (uint32_t)id;
}

static uint32_t stands_at(uint32_t side, uint32_t node, uint64_t key, uint64_t id, uint32_t mode)
{
    return STANDS_AT + (((side * NODES + node) * KEYS + (uint32_t)key) * IDS + (uint32_t)id) * LOCK_MODES +
           mode;
}

static void draw(struct cf_rng *rng, struct grd_detect_report *report)
{
    static const uint8_t kinds[] = {GRD_DETECT_LOCAL,  GRD_DETECT_ASKS,  GRD_DETECT_ASKS, GRD_DETECT_BEHIND,
                                    GRD_DETECT_BEHIND, GRD_DETECT_STAKE, GRD_DETECT_STAKE};

    *report = (struct grd_detect_report){.kind = kinds[cf_rng_below(rng, CF_COUNTOF(kinds))],
                                         .side = cf_rng_below(rng, 2) & 1,
                                         .mode = cf_rng_below(rng, LOCK_MODES) & 7,
                                         .node = cf_rng_below(rng, NODES) & 1,
                                         .peer = cf_rng_below(rng, NODES) & 1,
                                         .key = cf_rng_below(rng, KEYS),
                                         .owner = cf_rng_below(rng, OWNERS),
                                         .holder = cf_rng_below(rng, OWNERS),
                                         .wait = cf_rng_below(rng, IDS),
                                         .grant = cf_rng_below(rng, IDS)};
}

static void brute_add(struct brute *brute, const struct grd_detect_report *r)
{
    switch ((enum grd_detect_kind)r->kind) {
    case GRD_DETECT_LOCAL:
        brute_edge(brute, owner_at(r->node, r->owner), owner_at(r->node, r->holder));
        break;
    case GRD_DETECT_ASKS:
        brute_edge(brute, owner_at(r->node, r->owner), ask_at(r->node, r->key, r->grant));
        break;
    case GRD_DETECT_BEHIND:
        for (uint32_t mode = 0; mode < LOCK_MODES; mode++)
            if (detect_lock_conflicts[r->mode] >> mode & 1)
                brute_edge(brute, ask_at(r->node, r->key, r->wait),
                           stands_at(r->side, r->peer, r->key, r->grant, mode));
        break;
    case GRD_DETECT_STAKE:
        brute_edge(brute, stands_at(r->side, r->node, r->key, r->wait, r->mode), owner_at(r->node, r->owner));
        break;
    case GRD_DETECT_KINDS:
        fail();
    }
}

static uint32_t step_at(const struct grd_detect_step *step)
{
    switch ((enum grd_detect_what)step->what) {
    case GRD_DETECT_OWNER:
        return owner_at(step->node, step->id);
    case GRD_DETECT_ASK:
        return ask_at(step->node, step->key, step->id);
    case GRD_DETECT_STANDS:
        return stands_at(step->side, step->node, step->key, step->id, step->mode);
    }
    fail();
    return 0;
}

static void reports_meet_as_by_brute_force(void **state)
{
    struct detect_fixture fixture;
    uint64_t cyclic = 0, across = 0;
    struct cf_rng rng;

    (void)state;
    cf_rng_seed(&rng, 41);
    /* Each ask has at most five modes behind each of its reports. */
    detect_fixture_open(&fixture, VERTICES + 2 * NODES * KEYS * IDS, 5 * REPORTS_MAX, 0xc3);
    for (uint32_t i = 0; i < 20000; i++) {
        uint32_t count = (uint32_t)cf_rng_below(&rng, REPORTS_MAX + 1), on_cycles = 0;
        struct grd_detect_report reports[REPORTS_MAX];
        struct grd_detect_step steps[VERTICES];
        struct grd_detect_victim victim;
        struct brute brute;

        brute_clear(&brute, VERTICES);
        for (uint32_t r = 0; r < count; r++) {
            draw(&rng, &reports[r]);
            brute_add(&brute, &reports[r]);
        }
        brute_close(&brute);
        for (uint32_t v = 0; v < VERTICES; v++)
            on_cycles += brute_reaches(&brute, v, v);
        grd_detect_clear(fixture.detect);
        detect_fixture_confirm(&fixture, reports, count);
        assert_int_equal(grd_detect_resolve(fixture.detect), on_cycles);
        cyclic += on_cycles > 0;
        while (grd_detect_victim_next(fixture.detect, &victim, steps, VERTICES)) {
            uint32_t at = owner_at(victim.node, victim.owner);

            assert_int_equal(victim.cycle_length, brute_cycle_length(&brute, at)); /* I-14 */
            assert_int_equal(victim.steps_count, victim.cycle_length);
            assert_int_equal(step_at(&steps[0]), at);
            for (uint32_t s = 0; s < victim.steps_count; s++) {
                assert_true(brute_has_edge(&brute, step_at(&steps[s]),
                                           step_at(&steps[(s + 1) % victim.steps_count])));
                across += steps[s].what == GRD_DETECT_STANDS;
            }
            brute_remove(&brute, at);
        }
        brute_close(&brute);
        for (uint32_t v = 0; v < VERTICES; v++)
            assert_false(brute_reaches(&brute, v, v)); /* I-15 */
    }
    assert_true(cyclic > 2000 && across > 1000);
    detect_fixture_close(&fixture);
}

/* An ask that meets more modes than there is room for is left out whole, and counted. */
static void an_ask_that_finds_no_room_is_cut(void **state)
{
    struct grd_detect_report reports[] = {
        stake(B, KEY, GRD_DETECT_HOLDS, 1, 2, CR),
        stake(B, KEY, GRD_DETECT_HOLDS, 1, 3, PR),
        stake(B, KEY, GRD_DETECT_HOLDS, 1, 4, EX),
        asks(A, 1, KEY, 51),
        behind(A, KEY, 51, EX, B, GRD_DETECT_HOLDS, 1),
        local(B, 2, 3),
        local(B, 3, 2),
    };
    uint32_t count = CF_COUNTOF(reports);
    struct grd_detect_counts counts;
    struct grd_detect_victim victim;
    struct detect_fixture fixture;

    (void)state;
    for (uint32_t room = 0; room < 3; room++) {
        detect_fixture_open(&fixture, 16, count + room, 0);
        assert_int_equal(detect_fixture_confirm(&fixture, reports, count), count);
        grd_detect_resolve(fixture.detect);
        grd_detect_counts(fixture.detect, &counts);
        /* The two edges behind the ask's, which meets three modes, are cut if it is not. */
        assert_int_equal(counts.cut, room < 2 ? 2 - room : 0);
        assert_int_equal(grd_detect_victim_next(fixture.detect, &victim, NULL, 0), room == 2);
        detect_fixture_close(&fixture);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_cycle_across_instances_is_found),
        cmocka_unit_test(a_conversion_deadlock_across_instances_is_found),
        cmocka_unit_test(an_owner_whose_mode_goes_with_the_one_asked_is_not_waited_for),
        cmocka_unit_test(who_waits_at_an_instance_is_not_who_makes_it_hold),
        cmocka_unit_test(an_earlier_ask_is_waited_for),
        cmocka_unit_test(an_earlier_ask_itself_is_waited_for),
        cmocka_unit_test(other_ids_do_not_meet),
        cmocka_unit_test(reports_meet_as_by_brute_force),
        cmocka_unit_test(an_ask_that_finds_no_room_is_cut),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
