/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an instance refuses, each with its own status and words: use after fork, a node id twice, a budget below the
 * need, more memory than there is, options out of range, a file left unclean. Not here: refusals between processes of
 * different clusters (tests/unit/transport).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cachefusion/cachefusion.h>

#include "engine/format.h"
#include "engine/instance.h"

struct place {
    char directory[64], file[96];
};

static int set_up(void **state)
{
    struct place *place = calloc(1, sizeof *place);
    struct eng_mkfs mkfs = {.blocks = 16, .block_bytes = 8192, .file_id = 3};
    struct cf_error error;

    if (place == NULL)
        return -1;
    strcpy(place->directory, "/dev/shm/cf-refuse-XXXXXX");
    *state = place;
    if (mkdtemp(place->directory) == NULL)
        return -1;
    snprintf(place->file, sizeof place->file, "%s/data", place->directory);
    mkfs.path = place->file;
    return eng_format_make(&mkfs, &error) == CF_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    struct place *place = *state;
    char command[96];
    int rc;

    snprintf(command, sizeof command, "rm -rf '%s'", place->directory);
    rc = system(command);
    free(place);
    return rc;
}

static void options_for(const struct place *place, struct cf_options *options)
{
    cf_options_init(options);
    snprintf(options->transport, sizeof options->transport, "shm:%s", place->directory);
    options->cache_bytes = 4u << 20;
}

static void attach(struct cf_session *session, const struct place *place, bool accept_loss,
                   struct cf_file **file_out, enum cf_rc expected)
{
    struct cf_file_options options;

    cf_file_options_init(&options);
    options.path = place->file;
    options.file_id = 3;
    options.accept_loss = accept_loss;
    assert_int_equal(cf_attach(session, &options, file_out), expected);
}

/* In the child: the block is cached, and still none of many gets hits, drives a turn or lets the parent's block go. */
static bool is_all_refused(struct cf_instance *instance, struct cf_session *session, struct cf_file *file,
                           struct cf_ref *held)
{
    uint64_t turns = instance->counters.turns;
    struct cf_session *other;
    struct cf_ref ref;

    for (uint32_t i = 0; i < 2 * ENG_GETS_A_TURN; i++)
        if (cf_get(session, file, 0, CF_MODE_S, 0, CF_FOREVER, &ref) != CF_FORKED)
            return false;
    cf_put(session, held);
    return cf_session_open(instance, &other) == CF_FORKED && instance->counters.turns == turns &&
           cf_close(&instance) == CF_FORKED;
}

static void a_forked_child_is_refused(void **state)
{
    struct cf_instance *instance;
    struct cf_session *session;
    struct cf_options options;
    struct cf_file *file;
    struct cf_ref ref;
    int status;
    pid_t child;

    options_for(*state, &options);
    assert_int_equal(cf_open(&options, NULL, &instance, NULL), CF_OK);
    assert_int_equal(cf_session_open(instance, &session), CF_OK);
    attach(session, *state, false, &file, CF_OK);
    assert_int_equal(cf_get(session, file, 0, CF_MODE_S, 0, CF_FOREVER, &ref), CF_OK);
    child = fork();
    assert_true(child >= 0);
    if (child == 0)
        _exit(is_all_refused(instance, session, file, &ref) ? 0 : 1);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    /* The parent goes on, and holds what it held. */
    assert_int_equal(eng_frames_word(instance->frames, eng_ref_frame(&ref)) & ENG_WORD_PINS, ENG_WORD_PIN);
    cf_put(session, &ref);
    assert_int_equal(cf_get(session, file, 0, CF_MODE_S, 0, CF_FOREVER, &ref), CF_OK);
    cf_put(session, &ref);
    assert_int_equal(cf_session_close(&session), CF_OK);
    assert_int_equal(cf_close(&instance), CF_OK);
}

static void a_node_id_is_given_once(void **state)
{
    struct cf_instance *first, *second = NULL;
    struct cf_options options;
    struct cf_error error = {0};

    options_for(*state, &options);
    assert_int_equal(cf_open(&options, NULL, &first, NULL), CF_OK);
    assert_int_equal(cf_open(&options, NULL, &second, &error), CF_NODE_TAKEN);
    assert_null(second);
    assert_true(error.text[0] != 0);
    assert_int_equal(cf_close(&first), CF_OK);
}

static void a_budget_below_the_need_names_the_need(void **state)
{
    struct cf_instance *instance = NULL;
    struct cf_options options;
    struct cf_error error = {0};

    options_for(*state, &options);
    options.directory_bytes = 4096;
    assert_int_equal(cf_open(&options, NULL, &instance, &error), CF_BUDGET);
    assert_non_null(strstr(error.text, "need"));
}

static void more_memory_than_there_is_is_not_taken(void **state)
{
    struct cf_instance *instance = NULL;
    struct cf_options options;
    struct cf_error error = {0};

    options_for(*state, &options);
    options.cache_bytes = 2ull << 40;
    assert_int_equal(cf_open(&options, NULL, &instance, &error), CF_MEMORY);
    assert_non_null(strstr(error.text, "available"));
}

static void options_out_of_range_are_named(void **state)
{
    struct cf_options options;
    struct cf_error error = {0};

    options_for(*state, &options);
    assert_int_equal(cf_options_set(&options, "cache_bytez", "1MiB", &error), CF_OPTION);
    assert_non_null(strstr(error.text, "cache_bytez"));
    assert_int_equal(cf_options_set(&options, "shards", "65", &error), CF_OPTION);
    assert_non_null(strstr(error.text, "64"));
    assert_int_equal(cf_options_set(&options, "spin", "3 parsecs", &error), CF_OPTION);
    assert_non_null(strstr(error.text, "spin"));
}

/* Changes a block and dies without closing. */
static void die_unclean(const struct place *place)
{
    struct cf_instance *instance;
    struct cf_session *session;
    struct cf_options options;
    struct cf_file *file;
    struct cf_ref ref;

    options_for(place, &options);
    if (cf_open(&options, NULL, &instance, NULL) != CF_OK || cf_session_open(instance, &session) != CF_OK)
        _exit(1);
    attach(session, place, false, &file, CF_OK);
    if (cf_get(session, file, 5, CF_MODE_X, 0, CF_FOREVER, &ref) != CF_OK ||
        cf_dirty(session, &ref, 0) != CF_OK)
        _exit(1);
    _exit(0);
}

static void an_unclean_file_needs_accept_loss(void **state)
{
    struct eng_check_result result;
    struct cf_instance *instance;
    struct cf_session *session;
    struct cf_options options;
    struct cf_file *file = NULL;
    struct cf_error error;
    int status;
    pid_t child = fork();

    assert_true(child >= 0);
    if (child == 0)
        die_unclean(*state);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    options_for(*state, &options);
    assert_int_equal(cf_open(&options, NULL, &instance, NULL), CF_OK);
    assert_int_equal(cf_session_open(instance, &session), CF_OK);
    attach(session, *state, false, &file, CF_UNCLEAN);
    assert_null(file);
    attach(session, *state, true, &file, CF_OK);
    assert_int_equal(cf_session_close(&session), CF_OK);
    assert_int_equal(cf_close(&instance), CF_OK);
    assert_int_equal(eng_format_check(((struct place *)*state)->file, NULL, NULL, &result, &error), CF_OK);
    assert_false(result.unclean);
    assert_int_equal(result.super.losses, 1);
}

/* What is got as new is seen by whoever gets it next, also when it was put as it came. */
static void a_new_block_can_be_got_again(void **state)
{
    struct cf_instance *instance;
    struct cf_session *session;
    struct cf_options options;
    struct cf_file *file;
    struct cf_ref ref;

    options_for(*state, &options);
    assert_int_equal(cf_open(&options, NULL, &instance, NULL), CF_OK);
    assert_int_equal(cf_session_open(instance, &session), CF_OK);
    attach(session, *state, false, &file, CF_OK);
    assert_int_equal(cf_extend(session, file, 64), CF_OK);
    assert_int_equal(cf_get(session, file, 63, CF_MODE_X, CF_GET_NEW, CF_FOREVER, &ref), CF_OK);
    memset(ref.data, 7, ref.bytes);
    assert_int_equal(cf_dirty(session, &ref, 0), CF_OK);
    cf_put(session, &ref);
    assert_int_equal(cf_get(session, file, 63, CF_MODE_S, 0, CF_FOREVER, &ref), CF_OK);
    assert_int_equal(((const uint8_t *)ref.data)[ref.bytes - 1], 7);
    cf_put(session, &ref);
    assert_int_equal(cf_get(session, file, 64, CF_MODE_S, 0, CF_FOREVER, &ref), CF_RANGE);
    assert_int_equal(cf_session_close(&session), CF_OK);
    assert_int_equal(cf_close(&instance), CF_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_forked_child_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_node_id_is_given_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_budget_below_the_need_names_the_need, set_up, tear_down),
        cmocka_unit_test_setup_teardown(more_memory_than_there_is_is_not_taken, set_up, tear_down),
        cmocka_unit_test_setup_teardown(options_out_of_range_are_named, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_unclean_file_needs_accept_loss, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_new_block_can_be_got_again, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
