/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Covers: every op of frame.def in every state: an edge of the table leads where the table says, anything
 * else is refused and leaves the word as it was, or aborts. Each try runs in a child process. Also: the
 * fields cover the word without overlap. Not covered here: threads (tests/stress/frame_stress.c).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/assert.h"
#include "tests/unit/engine/frames_fixture.h"

/* Exit statuses of a child: above those of the C library and the sanitizers, below 128. */
#define CHILD_REFUSED 100
#define CHILD_STATE 101 /* + the state it came to */
#define CHILD_LOST 99   /* the word is in no state of the table, or a refusal changed it */

enum state {
#define ENG_FRAME_STATE(name, mode, is_taken, bits) STATE_##name,
#include "engine/frame.def"
#undef ENG_FRAME_STATE
    STATES,
    STATE_NONE = STATES
};

enum missing_edge { REFUSES, ASSERTS };

enum op {
#define ENG_FRAME_OP(name, missing, function) OP_##name,
#include "engine/frame.def"
#undef ENG_FRAME_OP
    OPS
};

static const struct {
    const char *name;
    uint64_t mode;
    bool is_taken;
    uint64_t bits;
} states[STATES] = {
#define ENG_FRAME_STATE(name, mode, is_taken, bits) {#name, mode, is_taken, bits},
#include "engine/frame.def"
#undef ENG_FRAME_STATE
};

static const struct {
    const char *name;
    enum missing_edge missing;
    const char *function;
} ops[OPS] = {
#define ENG_FRAME_OP(name, missing, function) {#name, missing, function},
#include "engine/frame.def"
#undef ENG_FRAME_OP
};

static const struct {
    enum op op;
    enum state from, to;
} edges[] = {
#define ENG_FRAME_EDGE(op, from, to) {OP_##op, STATE_##from, STATE_##to},
#include "engine/frame.def"
#undef ENG_FRAME_EDGE
};

static const struct cf_block_key key = {.file = 3, .generation = 1, .block = 77};

/* Where the table says that an op leads; STATE_NONE: nowhere. */
static enum state edge(enum op op, enum state from)
{
    for (size_t i = 0; i < CF_COUNTOF(edges); i++)
        if (edges[i].op == op && edges[i].from == from)
            return edges[i].to;
    return STATE_NONE;
}

/* Of frame 0, the only one. Read from its word, not through the functions that are tested. */
static enum state state_of(struct eng_frames *frames)
{
    uint64_t word = eng_frames_word(frames, 0);
    bool is_taken = eng_frames_free_count(frames, 0) == 0;
    uint64_t bits = word & (ENG_WORD_EXCL | ENG_WORD_CLOSING);

    if (word & ENG_WORD_PINS)
        bits |= ENG_WORD_PIN;
    for (int i = 0; i < STATES; i++)
        if (states[i].mode == (word & ENG_WORD_MODE) && states[i].is_taken == is_taken &&
            states[i].bits == bits)
            return (enum state)i;
    return STATE_NONE;
}

/* Leads a new frame to a state by a known way. */
static void bring_to(struct eng_frames *frames, enum state state)
{
    uint32_t frame = 0;

    if (!states[state].is_taken)
        return;
    cf_assert(eng_frame_take_owner(frames, 0) == 0);
    if (states[state].mode == CF_MODE_N)
        return;
    eng_frame_open_owner(frames, 0, &key, (enum cf_mode)states[state].mode, false);
    if (states[state].bits & ENG_WORD_PIN)
        cf_assert(eng_frame_pin_try(frames, &key, CF_MODE_S, &frame) == ENG_PIN_OK);
    if (states[state].bits & ENG_WORD_EXCL)
        cf_assert(eng_frame_pin_try(frames, &key, CF_MODE_X, &frame) == ENG_PIN_OK);
    if (states[state].bits & ENG_WORD_CLOSING)
        (void)eng_frame_close_begin_owner(frames, 0, CF_MODE_N);
}

/* False: refused. Ops that cannot refuse return true or do not return. */
static bool run(struct eng_frames *frames, enum op op)
{
    uint32_t frame = 0;

    switch (op) {
    case OP_TAKE:
        return eng_frame_take_owner(frames, 0) != ENG_FRAME_NONE;
    case OP_FREE:
        eng_frame_free_owner(frames, 0);
        return true;
    case OP_OPEN_S:
        eng_frame_open_owner(frames, 0, &key, CF_MODE_S, false);
        return true;
    case OP_OPEN_X:
        eng_frame_open_owner(frames, 0, &key, CF_MODE_X, false);
        return true;
    case OP_RAISE:
        eng_frame_raise_owner(frames, 0);
        return true;
    case OP_PIN_S:
        return eng_frame_pin_try(frames, &key, CF_MODE_S, &frame) == ENG_PIN_OK;
    case OP_PIN_X:
        return eng_frame_pin_try(frames, &key, CF_MODE_X, &frame) == ENG_PIN_OK;
    case OP_PIN_WAITER_S:
        return eng_frame_pin_owner(frames, 0, CF_MODE_S);
    case OP_PIN_WAITER_X:
        return eng_frame_pin_owner(frames, 0, CF_MODE_X);
    case OP_EXCLUDE:
        return eng_frame_exclude_try(frames, 0);
    case OP_UNPIN_S:
        (void)eng_frame_unpin(frames, 0, CF_MODE_S, false);
        return true;
    case OP_UNPIN_X:
        (void)eng_frame_unpin(frames, 0, CF_MODE_X, false);
        return true;
    case OP_CLOSE_TO_S:
        (void)eng_frame_close_begin_owner(frames, 0, CF_MODE_S);
        return true;
    case OP_CLOSE_TO_N:
        (void)eng_frame_close_begin_owner(frames, 0, CF_MODE_N);
        return true;
    case OP_END_TO_S:
        eng_frame_close_end_owner(frames, 0, CF_MODE_S);
        return true;
    case OP_END_TO_N:
        eng_frame_close_end_owner(frames, 0, CF_MODE_N);
        return true;
    case OP_UNDO:
        eng_frame_close_undo_owner(frames, 0);
        return true;
    case OPS:
        break;
    }
    cf_unreachable();
}

static _Noreturn void child(enum op op, enum state from)
{
    struct frames_fixture fixture;
    uint64_t word;
    enum state to;
    bool is_done;

    frames_fixture_open(&fixture, 0, 1);
    bring_to(fixture.frames, from);
    if (state_of(fixture.frames) != from)
        _exit(CHILD_LOST);
    word = eng_frames_word(fixture.frames, 0);
    is_done = run(fixture.frames, op);
    to = state_of(fixture.frames);
    if (to == STATE_NONE || (!is_done && eng_frames_word(fixture.frames, 0) != word))
        _exit(CHILD_LOST);
    eng_frames_check_owner(fixture.frames);
    _exit(is_done ? CHILD_STATE + (int)to : CHILD_REFUSED);
}

/* The status of a child that tries the op. What its assertion prints is not for the log of a good test. */
static int try_in_child(enum op op, enum state from)
{
    pid_t pid = fork();
    int status;

    assert_true(pid >= 0);
    if (pid == 0) {
        int null = open("/dev/null", O_WRONLY);

        if (null < 0 || dup2(null, STDERR_FILENO) < 0 || signal(SIGABRT, SIG_DFL) == SIG_ERR)
            _exit(CHILD_LOST);
        child(op, from);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void every_op_in_every_state_does_what_the_table_says(void **unused)
{
    size_t edges_seen = 0;

    (void)unused;
    for (int op = 0; op < OPS; op++) {
        for (int from = 0; from < STATES; from++) {
            enum state to = edge((enum op)op, (enum state)from);
            int status = try_in_child((enum op)op, (enum state)from);
            bool is_right;

            if (to != STATE_NONE)
                is_right = WIFEXITED(status) && WEXITSTATUS(status) == CHILD_STATE + (int)to;
            else if (ops[op].missing == REFUSES)
                is_right = WIFEXITED(status) && WEXITSTATUS(status) == CHILD_REFUSED;
            else
                is_right = WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
            edges_seen += to != STATE_NONE;
            if (!is_right)
                fail_msg("%s (%s) in %s: expected %s, wait status %#x", ops[op].name, ops[op].function,
                         states[from].name,
                         to != STATE_NONE             ? states[to].name
                         : ops[op].missing == REFUSES ? "refusal"
                                                      : "abort",
                         (unsigned)status);
        }
    }
    /* A double line of the table would be seen once. */
    assert_int_equal(edges_seen, CF_COUNTOF(edges));
}

static void fields_cover_the_word_once(void **unused)
{
    uint64_t all = 0, sum = 0;

    (void)unused;
#define ENG_FRAME_FIELD(name, mask, writer, text) all |= (mask), sum += (mask);
#include "engine/frame.def"
#undef ENG_FRAME_FIELD
    assert_int_equal(all, UINT64_MAX);
    assert_int_equal(sum, UINT64_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_op_in_every_state_does_what_the_table_says),
        cmocka_unit_test(fields_cover_the_word_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
