/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rounds of the detector's role and asks at the reporter, by hand: what is asked for in which round, what of a round counts when
 * an answer or a part of an ask is lost. The role says what it says into a ring, as from a thread of its own.
 * Not here: victims (deadlock_test.c), the core (tests/unit/grd/detect_*).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "engine/detect_impl.h"
#include "engine/instance.h"

#define NODES 3u
#define EDGES 256u
#define PERIOD_NS 1000u
#define SLOTS 256u

struct out {
    uint64_t to;
    struct grd_msg msg;
};

struct fixture {
    struct cf_instance *instance;
    struct eng_detector *detector;
    struct eng_role *role;
    uint64_t now_ns;
    uint32_t asks[NODES];                      /* parts since the last round began */
    struct grd_msg ask[NODES][EDGES / 17 + 1]; /* the parts of each */
};

static int set_up(void **state)
{
    const struct cf_allocator *a = cf_allocator_default();
    struct fixture *f = calloc(1, sizeof *f);

    f->instance = cf_alloc(a, sizeof *f->instance, CF_CACHE_LINE, CF_ALLOC_ZERO);
    f->detector = cf_alloc(a, sizeof *f->detector, CF_CACHE_LINE, CF_ALLOC_ZERO);
    f->instance->peers = cf_alloc(a, NODES * sizeof *f->instance->peers, CF_CACHE_LINE, CF_ALLOC_ZERO);
    f->instance->allocator = a;
    f->instance->nodes = NODES;
    f->instance->is_manual = true;
    f->instance->options.deadlock_edges = EDGES;
    f->instance->options.deadlock_period = PERIOD_NS;
    f->instance->options.deadlock_after = 5 * PERIOD_NS;
    f->instance->locks.detector = f->detector;
    f->detector->has_thread = true;
    f->detector->out_mem = cf_alloc(a, cf_ring_bytes(SLOTS, sizeof(struct out)), CF_CACHE_LINE,
                                    CF_ALLOC_ZERO);
    cf_spsc_init(&f->detector->out, f->detector->out_mem, SLOTS, sizeof(struct out));
    f->role = &f->detector->role;
    pthread_mutex_init(&f->role->seen_lock, NULL);
    assert_int_equal(eng_role_open(f->role, f->instance), CF_OK);
    assert_int_equal(eng_reporter_open(&f->detector->reporter, a, EDGES), CF_OK);
    f->now_ns = 1000000;
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    const struct cf_allocator *a = f->instance->allocator;

    eng_reporter_close(&f->detector->reporter, a);
    eng_role_close(f->role);
    pthread_mutex_destroy(&f->role->seen_lock);
    cf_free(a, f->detector->out_mem, cf_ring_bytes(SLOTS, sizeof(struct out)));
    cf_free(a, f->instance->peers, NODES * sizeof *f->instance->peers);
    cf_free(a, f->detector, sizeof *f->detector);
    cf_free(a, f->instance, sizeof *f->instance);
    free(f);
    return 0;
}

/* Turns until the role wants no more; keeps the asks it sends. */
static void turns(struct fixture *f)
{
    struct out out;

    memset(f->asks, 0, sizeof f->asks);
    for (uint32_t i = 0; i < 20; i++) {
        (void)eng_role_turn(f->role, UINT32_MAX, 1, f->now_ns);
        while (cf_spsc_pop(&f->detector->out, &out)) {
            assert_int_equal(out.msg.type, GRD_MSG_DETECT_ASK);
            assert_in_range(f->asks[out.to], 0, EDGES / 17);
            grd_msg_copy(&f->ask[out.to][f->asks[out.to]++], &out.msg);
        }
        if (f->role->phase == ENG_ROLE_COLLECTS)
            return;
    }
}

static void say(struct fixture *f, uint16_t from, uint8_t flags, uint64_t number,
                const struct grd_words *words)
{
    struct grd_msg msg = {.type = GRD_MSG_DETECT_REPORT,
                          .from = from,
                          .request = f->role->round,
                          .held = number,
                          .hops = 1,
                          .flags = flags};

    if (words)
        msg.words = *words;
    eng_role_message(f->role, &msg, f->now_ns);
}

static struct grd_words words_of(const struct grd_detect_report *report)
{
    struct grd_words words = {.count = 0};

    assert_true(eng_detect_pack(&words, report));
    return words;
}

/* Somebody waits: a round begins. All answer, node `from` with these words. */
static void round_begin(struct fixture *f)
{
    struct grd_msg waits = {.type = GRD_MSG_DETECT_ASK, .from = 1, .flags = GRD_FLAG_WAITS};

    if (f->role->phase == ENG_ROLE_RESTS)
        f->now_ns = f->role->round_ns + PERIOD_NS;
    else
        eng_role_message(f->role, &waits, f->now_ns);
    turns(f);
    assert_int_equal(f->role->phase, ENG_ROLE_COLLECTS);
}

static void round_answer_begin(struct fixture *f, uint16_t from, const struct grd_words *words, uint8_t flags)
{
    for (uint16_t n = 0; n < NODES; n++) {
        if (words && n == from)
            say(f, n, flags, 1, words);
        say(f, n, GRD_FLAG_LAST, words && n == from ? 2 : 1, NULL);
    }
}

static void round_answer(struct fixture *f, uint16_t from, const struct grd_words *words, uint8_t flags)
{
    round_answer_begin(f, from, words, flags);
    while (f->role->phase == ENG_ROLE_COLLECTS || f->role->phase == ENG_ROLE_VICTIMS)
        (void)eng_role_turn(f->role, UINT32_MAX, 1, f->now_ns);
}

static struct grd_detect_report wait_for(uint64_t owner, uint64_t holder)
{
    return (struct grd_detect_report){.kind = GRD_DETECT_LOCAL,
                                      .node = 1,
                                      .owner = owner,
                                      .holder = holder,
                                      .key = 7,
                                      .wait = 10 + owner,
                                      .grant = 20 + holder};
}

static struct grd_detect_report behind(uint64_t key)
{
    return (struct grd_detect_report){
        .kind = GRD_DETECT_BEHIND, .node = 1, .peer = 2, .mode = 5, .key = key, .wait = 3, .grant = 4};
}

/* Until then told anew, a wait is reported once, and confirmed in each round after that. */
static void a_wait_that_is_not_told_again_stays_confirmed(void **state)
{
    struct fixture *f = *state;
    struct grd_detect_report report = wait_for(1, 2);
    struct grd_words words = words_of(&report), print = {.count = 1};

    round_begin(f);
    for (uint32_t n = 0; n < NODES; n++) {
        assert_int_equal(f->asks[n], 1);
        assert_int_equal(f->ask[n][0].flags, GRD_FLAG_LAST);
        assert_int_equal(f->ask[n][0].number, 1);
    }
    round_answer(f, 1, &words, 0);
    assert_int_equal(f->role->counts.edges, 0);
    for (uint32_t i = 0; i < 5; i++) {
        assert_int_equal(f->role->phase, ENG_ROLE_RESTS);
        round_begin(f);
        for (uint32_t n = 0; n < NODES; n++)
            assert_int_equal(f->ask[n][0].flags & ~GRD_FLAG_MORE, GRD_FLAG_LAST | GRD_FLAG_SINCE);
        round_answer(f, 0, NULL, 0);
        assert_int_equal(f->role->counts.edges, 1);
        assert_int_equal(f->role->seen->reports_count, 1);
        assert_int_equal(f->role->seen->report[0].age_ns, (i + 1) * PERIOD_NS);
    }
    assert_int_equal(f->role->counts.anew, 1);
    assert_int_equal(f->role->counts.rounds, 6);
    print.word[0] = grd_detect_print(&report);
    round_begin(f);
    round_answer(f, 1, &print, GRD_FLAG_TAKEN);
    assert_int_equal(f->role->counts.edges, 0);
    assert_int_equal(f->role->seen->reports_count, 0);
    assert_int_equal(f->role->phase, ENG_ROLE_IDLE); /* nobody waits */
    round_begin(f);
    assert_int_equal(f->ask[0][0].flags, GRD_FLAG_LAST); /* who knows what was in between */
}

static void a_lost_answer_confirms_nothing_and_all_is_told_anew(void **state)
{
    struct fixture *f = *state;
    struct grd_detect_report report = wait_for(1, 2);
    struct grd_words words = words_of(&report);

    round_begin(f);
    round_answer(f, 1, &words, 0);
    round_begin(f);
    say(f, 0, GRD_FLAG_LAST, 1, NULL);
    say(f, 1, 0, 2, NULL); /* the second message of two; nothing of node 2 */
    f->now_ns = f->role->round_ns + ENG_DETECT_PERIODS_AGAIN * PERIOD_NS - 1;
    turns(f);
    assert_int_equal(f->asks[2], 0);
    f->now_ns++;
    turns(f); /* who has said nothing is asked again, once */
    assert_int_equal(f->asks[0] + f->asks[1], 0);
    assert_int_equal(f->asks[2], 1);
    assert_int_equal(f->ask[2][0].request, f->role->round);
    f->now_ns = f->role->round_ns + ENG_DETECT_PERIODS_MAX * PERIOD_NS - 1;
    turns(f);
    assert_int_equal(f->asks[2], 0);
    say(f, 2, GRD_FLAG_LAST, 1, NULL);
    assert_int_equal(f->role->phase, ENG_ROLE_COLLECTS); /* node 1 is still out */
    f->now_ns++;
    turns(f);
    assert_int_equal(f->role->counts.edges, 0);
    assert_int_equal(f->role->counts.late, 1);
    /* The next round has begun: it was time for it. */
    assert_int_equal(f->role->phase, ENG_ROLE_COLLECTS);
    for (uint32_t n = 0; n < NODES; n++)
        assert_int_equal(f->ask[n][0].flags, GRD_FLAG_LAST);
    round_answer(f, 1, &words, 0);
    assert_int_equal(f->role->counts.edges, 1); /* it was told in a round before, and is told now */
    assert_int_equal(f->role->counts.anew, 2);
}

/* One message of two comes twice, the other not at all: the answer is not whole. */
static void a_message_that_comes_twice_counts_once(void **state)
{
    struct fixture *f = *state;
    struct grd_detect_report report = wait_for(1, 2);
    struct grd_words words = words_of(&report);

    round_begin(f);
    say(f, 0, GRD_FLAG_LAST, 1, NULL);
    say(f, 0, GRD_FLAG_LAST, 1, NULL);
    say(f, 2, GRD_FLAG_LAST, 1, NULL);
    say(f, 1, GRD_FLAG_LAST, 2, NULL);
    say(f, 1, GRD_FLAG_LAST, 2, NULL);
    assert_int_equal(f->role->answers_left, 1);
    say(f, 1, 0, 1, &words);
    say(f, 1, 0, 1, &words);
    assert_int_equal(f->role->answers_left, 0);
}

static void who_does_not_know_the_round_before_spoils_the_round(void **state)
{
    struct fixture *f = *state;
    struct grd_detect_report report = wait_for(1, 2);
    struct grd_words words = words_of(&report);

    round_begin(f);
    round_answer(f, 1, &words, 0);
    round_begin(f);
    say(f, 0, GRD_FLAG_LAST | GRD_FLAG_UNKNOWN, 1, NULL);
    say(f, 1, GRD_FLAG_LAST, 1, NULL);
    say(f, 2, GRD_FLAG_LAST, 1, NULL);
    turns(f);
    assert_int_equal(f->role->counts.rounds, 2);
    assert_int_equal(f->role->counts.edges, 0);
    round_begin(f);
    assert_int_equal(f->ask[0][0].flags, GRD_FLAG_LAST);
}

static void keys_are_asked_for_once_as_long_as_changes_are_told(void **state)
{
    struct fixture *f = *state;
    struct grd_detect_report report = wait_for(1, 2), first = behind(50), second = behind(51);
    struct grd_words words = words_of(&report);

    assert_true(eng_detect_pack(&words, &first));
    round_begin(f);
    round_answer(f, 1, &words, 0);
    round_begin(f); /* all that the round told anew has found */
    assert_int_equal(f->ask[2][0].flags, GRD_FLAG_LAST | GRD_FLAG_SINCE);
    assert_int_equal(f->ask[2][0].words.count, 1);
    assert_int_equal(f->ask[2][0].words.word[0], 50);
    words = words_of(&second);
    round_answer(f, 0, &words, 0);
    round_begin(f);
    assert_int_equal(f->ask[2][0].flags, GRD_FLAG_LAST | GRD_FLAG_SINCE | GRD_FLAG_MORE);
    assert_int_equal(f->ask[2][0].words.count, 1);
    assert_int_equal(f->ask[2][0].words.word[0], 51);
    words = words_of(&first); /* once more, by somebody else: it has been asked for */
    round_answer(f, 0, &words, 0);
    round_begin(f);
    assert_int_equal(f->ask[2][0].words.count, 0);
    say(f, 0, GRD_FLAG_LAST | GRD_FLAG_UNKNOWN, 1, NULL);
    round_answer(f, 1, NULL, 0);
    round_begin(f);
    assert_int_equal(f->ask[2][0].flags, GRD_FLAG_LAST);
    assert_int_equal(f->ask[2][0].words.count, 2);
}

static void many_keys_are_asked_for_in_numbered_parts(void **state)
{
    struct fixture *f = *state;
    struct grd_detect_report report = wait_for(1, 2);
    struct grd_words words = words_of(&report);

    round_begin(f);
    for (uint64_t key = 0; key < 40; key++) {
        report = behind(key);
        words = words_of(&report);
        say(f, 0, 0, key + 1, &words);
    }
    say(f, 0, GRD_FLAG_LAST, 41, NULL);
    report = wait_for(1, 2);
    words = words_of(&report);
    say(f, 1, GRD_FLAG_LAST, 1, &words);
    say(f, 2, GRD_FLAG_LAST, 1, NULL);
    turns(f);
    round_begin(f);
    assert_int_equal(f->asks[2], 3);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(f->ask[2][i].number, i + 1);
        assert_int_equal(f->ask[2][i].flags & GRD_FLAG_LAST, i == 2);
        assert_int_equal(f->ask[2][i].words.count, i == 2 ? 40 - 2 * GRD_WORDS_MAX : GRD_WORDS_MAX);
    }
}

static void all_is_told_anew_now_and_then_and_after_an_instance_has_left(void **state)
{
    struct fixture *f = *state;
    struct grd_detect_report report = wait_for(1, 2);
    struct grd_words words = words_of(&report);

    round_begin(f);
    round_answer(f, 1, &words, 0);
    for (uint32_t i = 0; i < ENG_DETECT_CHANGES_MAX; i++) {
        round_begin(f);
        round_answer(f, 0, NULL, 0);
    }
    assert_int_equal(f->role->counts.anew, 1);
    assert_int_equal(f->role->counts.edges, 1);
    round_begin(f);
    assert_int_equal(f->ask[1][0].flags, GRD_FLAG_LAST);
    round_answer(f, 1, &words, 0);
    assert_int_equal(f->role->counts.anew, 2);
    round_begin(f);
    assert_int_equal(f->ask[1][0].flags & GRD_FLAG_SINCE, GRD_FLAG_SINCE);
    round_answer(f, 0, NULL, 0);
    f->instance->peers[2].has_left = true;
    f->now_ns += PERIOD_NS;
    turns(f);
    assert_int_equal(f->ask[1][0].flags, GRD_FLAG_LAST);
}

/* Turns of the round that has been answered; acknowledges the victims of instance 1 and says how many there were. */
static uint32_t victims_end(struct fixture *f)
{
    struct grd_msg answer = {.type = GRD_MSG_DETECT_TOLD, .from = 1, .how = GRD_DETECT_ENDED};
    uint32_t victims = 0;
    struct out out;

    while (f->role->phase == ENG_ROLE_COLLECTS || f->role->phase == ENG_ROLE_VICTIMS)
        (void)eng_role_turn(f->role, UINT32_MAX, 1, f->now_ns);
    for (; cf_spsc_pop(&f->detector->out, &out); victims++) {
        assert_int_equal(out.msg.type, GRD_MSG_DETECT_VICTIM);
        assert_int_equal(out.to, 1);
        answer.request = out.msg.request;
        eng_role_message(f->role, &answer, f->now_ns);
    }
    return victims;
}

/* Ten more cycles than a round may end: the next one finds them. Who has been ended has not gone home yet. */
static void a_round_ends_so_many_waits_and_the_next_one_the_rest(void **state)
{
    enum { CYCLES = ENG_DETECT_VICTIMS_MAX + 10 };
    struct fixture *f = *state;
    struct grd_words words, taken = {.count = 0};
    uint64_t message = 0;

    round_begin(f);
    for (uint64_t i = 0; i < CYCLES; i++)
        for (uint64_t side = 0; side < 2; side++) {
            struct grd_detect_report report = wait_for(2 * i + side, 2 * i + (side ^ 1));

            report.wait |= ENG_WAIT_BLOCK;
            report.cost = (uint32_t)side; /* the first of each */
            words = words_of(&report);
            say(f, 1, 0, ++message, &words);
            if (side == 0 && i < GRD_WORDS_MAX)
                taken.word[taken.count++] = grd_detect_print(&report);
        }
    say(f, 0, GRD_FLAG_LAST, 1, NULL);
    say(f, 1, GRD_FLAG_LAST, message + 1, NULL);
    say(f, 2, GRD_FLAG_LAST, 1, NULL);
    assert_int_equal(victims_end(f), 0); /* nothing is confirmed */
    round_begin(f);
    round_answer_begin(f, 1, NULL, 0);
    assert_int_equal(victims_end(f), ENG_DETECT_VICTIMS_MAX);
    assert_int_equal(f->role->counts.victims, ENG_DETECT_VICTIMS_MAX);
    round_begin(f);
    taken.count = ENG_DETECT_VICTIMS_MAX;
    round_answer_begin(f, 1, &taken, GRD_FLAG_TAKEN);
    assert_int_equal(victims_end(f), CYCLES - ENG_DETECT_VICTIMS_MAX);
}

/* ------------------------------------------------------------------ the reporter */

static void part(struct fixture *f, uint64_t round, uint64_t number, uint8_t flags, uint64_t key)
{
    struct grd_msg msg = {
        .type = GRD_MSG_DETECT_ASK, .request = round, .number = number, .flags = flags, .words.count = 1};

    msg.words.word[0] = key;
    eng_reporter_ask(f->instance, &f->detector->reporter, &msg, f->now_ns);
}

static void parts_of_an_ask_may_come_in_any_order_and_twice(void **state)
{
    struct fixture *f = *state;
    struct eng_reporter *reporter = &f->detector->reporter;

    part(f, 9, 3, GRD_FLAG_LAST, 103);
    part(f, 9, 1, 0, 101);
    part(f, 9, 1, 0, 101);
    assert_int_equal(reporter->stream.stage, ENG_DETECT_OFF);
    part(f, 9, 2, 0, 102);
    assert_int_equal(reporter->stream.stage, ENG_DETECT_WAITS);
    assert_int_equal(reporter->stream.keys_count, 3);
    assert_int_equal(reporter->keys[0] + reporter->keys[1] + reporter->keys[2], 306);
    reporter->stream.stage = ENG_DETECT_OFF; /* it has been answered */
    part(f, 9, 2, 0, 102);
    part(f, 9, 3, GRD_FLAG_LAST, 103);
    assert_int_equal(reporter->stream.stage, ENG_DETECT_OFF);
}

static void an_ask_that_lacks_a_part_is_not_answered(void **state)
{
    struct fixture *f = *state;
    struct eng_reporter *reporter = &f->detector->reporter;

    part(f, 9, 1, 0, 101);
    part(f, 9, 3, GRD_FLAG_LAST, 103);
    part(f, 9, 0, 0, 100); /* no part */
    part(f, 9, EDGES, 0, 100);
    assert_int_equal(reporter->stream.stage, ENG_DETECT_OFF);
    part(f, 10, 1, GRD_FLAG_LAST, 104); /* the next round: what was here is dropped */
    part(f, 9, 2, 0, 102);              /* and what comes late */
    assert_int_equal(reporter->stream.stage, ENG_DETECT_WAITS);
    assert_int_equal(reporter->keys_count, 1);
    assert_int_equal(reporter->keys[0], 104);
    assert_false(reporter->stream.is_unknown);
    reporter->known.round = 10; /* answered */
    part(f, 11, 1, GRD_FLAG_LAST | GRD_FLAG_SINCE | GRD_FLAG_MORE, 105);
    assert_false(reporter->stream.is_unknown);
    assert_int_equal(reporter->keys_count, 2);
    reporter->known.round = 11;
    part(f, 13, 1, GRD_FLAG_LAST | GRD_FLAG_SINCE, 106); /* round 12 has not come */
    assert_true(reporter->stream.is_unknown);
}

/* ------------------------------------------------------------------ what is known */

static void what_is_known_agrees_with_a_set(void **state)
{
    enum { PRINTS = 40, ROUNDS = 5000 };
    bool before[PRINTS] = {false}, now[PRINTS];
    struct eng_known known;
    struct cf_rng rng;

    (void)state;
    cf_rng_seed(&rng, 5);
    assert_int_equal(eng_known_open(&known, cf_allocator_default(), PRINTS), CF_OK);
    for (uint64_t round = 1; round <= ROUNDS; round++) {
        uint32_t at = 0, left = 0, gone = 0, expected = 0;
        uint64_t print;

        for (uint32_t i = 0; i < PRINTS; i++)
            now[i] = cf_rng_chance(&rng, 0.5);
        for (uint64_t i = 0; i < PRINTS; i++) {
            bool was = eng_known_mark(&known, i, now[i] ? round : round - 1);

            assert_int_equal(was, before[i]);
            if (now[i] && !was)
                eng_known_add(&known, i, round);
        }
        while (at < known.count)
            if (eng_known_gone(&known, &at, 1 + (uint32_t)cf_rng_below(&rng, 5), round, &print)) {
                assert_true(before[print] && !now[print]);
                gone++;
            }
        for (uint32_t i = 0; i < PRINTS; i++) {
            expected += before[i] && !now[i];
            left += now[i];
        }
        assert_int_equal(gone, expected);
        assert_int_equal(known.count, left);
        memcpy(before, now, sizeof now);
    }
    eng_known_close(&known, cf_allocator_default());
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_wait_that_is_not_told_again_stays_confirmed),
        TEST(a_lost_answer_confirms_nothing_and_all_is_told_anew),
        TEST(a_message_that_comes_twice_counts_once),
        TEST(who_does_not_know_the_round_before_spoils_the_round),
        TEST(keys_are_asked_for_once_as_long_as_changes_are_told),
        TEST(many_keys_are_asked_for_in_numbered_parts),
        TEST(all_is_told_anew_now_and_then_and_after_an_instance_has_left),
        TEST(a_round_ends_so_many_waits_and_the_next_one_the_rest),
        TEST(parts_of_an_ask_may_come_in_any_order_and_twice),
        TEST(an_ask_that_lacks_a_part_is_not_answered),
        cmocka_unit_test(what_is_known_agrees_with_a_set),
    };

    return cmocka_run_group_tests_name("engine/detect_role", tests, NULL, NULL);
}
