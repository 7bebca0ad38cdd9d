/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Covers: defaults, text to value, order of cluster file, environment and call, what a cluster file may hold,
 * options against each other. Not here: how numbers with units are read (base/units, base/option).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/options.h"

#define MIB (UINT64_C(1) << 20)

struct loading {
    char path[256];
    struct cf_options options;
    struct cf_error error;
};

static int begin(void **state)
{
    static struct loading loading;

    const char *folder = getenv("TMPDIR");

    snprintf(loading.path, sizeof loading.path, "%s/cf-options-%ld.ini", folder != NULL ? folder : "/tmp",
             (long)getpid());
    cf_options_init(&loading.options);
    memset(&loading.error, 0xee, sizeof loading.error);
    *state = &loading;
    return 0;
}

static int end(void **state)
{
    struct loading *loading = *state;

    unlink(loading->path);
    unsetenv("CF_NODES");
    unsetenv("CF_NODE");
    unsetenv("CF_SECRET");
    return 0;
}

static enum cf_rc load(struct loading *loading, uint16_t node, const char *text)
{
    FILE *file = fopen(loading->path, "w");

    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
    return cf_options_load(&loading->options, loading->path, node, &loading->error);
}

/* Refused, with words that say `a` and `b`, and nothing changed. */
static void load_refuses(struct loading *loading, const char *text, const char *a, const char *b)
{
    struct cf_options before = loading->options;

    assert_int_equal(load(loading, 0, text), CF_OPTION);
    assert_int_equal(loading->error.rc, CF_OPTION);
    assert_int_equal(loading->error.node, CF_NODE_NONE);
    if (strstr(loading->error.text, a) == NULL || strstr(loading->error.text, b) == NULL)
        fail_msg("'%s' lacks '%s' or '%s'", loading->error.text, a, b);
    assert_memory_equal(&before, &loading->options, sizeof before);
}

static void defaults_are_those_of_the_table_and_pass_the_check(void **state)
{
    struct loading *loading = *state;
    struct cf_options *options = &loading->options;

    assert_int_equal(options->size, sizeof *options);
#define CF_OPTION_U64(name, unit, dflt, min, max, text) assert_int_equal(options->name, UINT64_C(dflt));
#define CF_OPTION_STR(name, dflt, text) assert_string_equal(options->name, dflt);
#define CF_OPTION_ENUM(name, dflt, choices, text) assert_int_equal(options->name, dflt);
#include <cachefusion/options.def>
#undef CF_OPTION_U64
#undef CF_OPTION_STR
#undef CF_OPTION_ENUM
    assert_int_equal(cf_options_check(options, &loading->error), CF_OK);
}

static void every_option_reads_back_what_it_shows(void **state)
{
    struct loading *loading = *state;
    struct cf_options again;
    size_t count;
    const struct cf_option_desc *table = eng_options_table(&count);

    cf_options_init(&again);
    for (size_t i = 0; i < count; i++) {
        char value[512];

        cf_option_format(&table[i], &loading->options, value, sizeof value);
        assert_int_equal(cf_options_set(&again, table[i].name, value, NULL), CF_OK);
        assert_non_null(table[i].dflt);
        assert_string_equal(table[i].dflt, value);
    }
    assert_memory_equal(&again, &loading->options, sizeof again);
}

static void bounds_of_every_number_hold(void **state)
{
    struct loading *loading = *state;
    size_t count;
    const struct cf_option_desc *table = eng_options_table(&count);

    for (size_t i = 0; i < count; i++) {
        const char *unit = table[i].type == CF_OPTION_DURATION ? "ns" : "";
        char value[64];

        if (table[i].type == CF_OPTION_STRING || table[i].type == CF_OPTION_CHOICE)
            continue;
        assert_true(table[i].max > table[i].min);
        snprintf(value, sizeof value, "%llu%s", (unsigned long long)table[i].max, unit);
        assert_int_equal(cf_options_set(&loading->options, table[i].name, value, NULL), CF_OK);
        snprintf(value, sizeof value, "%llu%s", (unsigned long long)table[i].max + 1, unit);
        assert_int_equal(cf_options_set(&loading->options, table[i].name, value, &loading->error), CF_OPTION);
        assert_non_null(strstr(loading->error.text, table[i].name));
        if (table[i].min > 0) {
            snprintf(value, sizeof value, "%llu%s", (unsigned long long)table[i].min - 1, unit);
            assert_int_equal(cf_options_set(&loading->options, table[i].name, value, NULL), CF_OPTION);
        }
    }
}

static void text_with_units_and_choices_is_understood(void **state)
{
    struct loading *loading = *state;
    struct cf_options *options = &loading->options;

    assert_int_equal(cf_options_set(options, "cache_bytes", "1GiB", NULL), CF_OK);
    assert_int_equal(options->cache_bytes, 1024 * MIB);
    assert_int_equal(cf_options_set(options, "spin", "20us", NULL), CF_OK);
    assert_int_equal(options->spin, 20000);
    assert_int_equal(cf_options_set(options, "waiting", "sleep", NULL), CF_OK);
    assert_int_equal(options->waiting, 2);
    assert_int_equal(cf_options_set(options, "waiting", "doze", &loading->error), CF_OPTION);
    assert_non_null(strstr(loading->error.text, "busy, adaptive, sleep"));
    assert_int_equal(cf_options_set(options, "wating", "sleep", &loading->error), CF_OPTION);
    assert_non_null(strstr(loading->error.text, "waiting"));
    assert_int_equal(cf_options_set(options, "spin", "20", NULL), CF_OPTION);
    assert_int_equal(cf_options_set(options, "spin", NULL, &loading->error), CF_INVALID);
}

static void the_section_of_the_node_comes_after_the_one_of_all(void **state)
{
    static const char text[] = "[node 1]\ncache_bytes = 32MiB\n[cluster]\nnodes = 3\ncache_bytes = 16MiB\n"
                               "[node 2]\nnode = 2\ncache_bytes = 48MiB\n";
    struct loading *loading = *state;

    assert_int_equal(load(loading, 0, text), CF_OK);
    assert_int_equal(loading->options.node, 0);
    assert_int_equal(loading->options.nodes, 3);
    assert_int_equal(loading->options.cache_bytes, 16 * MIB);
    assert_int_equal(load(loading, 1, text), CF_OK);
    assert_int_equal(loading->options.node, 1);
    assert_int_equal(loading->options.cache_bytes, 32 * MIB);
    assert_int_equal(load(loading, 2, text), CF_OK);
    assert_int_equal(loading->options.node, 2);
    assert_int_equal(loading->options.cache_bytes, 48 * MIB);
}

static void the_environment_comes_after_the_file_and_a_call_after_both(void **state)
{
    struct loading *loading = *state;

    setenv("CF_NODES", "7", 1);
    assert_int_equal(load(loading, 0, "[cluster]\nnodes = 3\nsessions = 5\n"), CF_OK);
    assert_int_equal(loading->options.nodes, 7);
    assert_int_equal(loading->options.sessions, 5);
    assert_int_equal(cf_options_set(&loading->options, "nodes", "9", NULL), CF_OK);
    assert_int_equal(loading->options.nodes, 9);
    setenv("CF_NODES", "many", 1);
    load_refuses(loading, "[cluster]\nnodes = 3\n", "CF_NODES", "many");
}

static void without_a_file_the_environment_counts_alone(void **state)
{
    struct loading *loading = *state;

    setenv("CF_SECRET", "of the environment", 1);
    assert_int_equal(cf_options_load(&loading->options, NULL, 4, &loading->error), CF_OK);
    assert_string_equal(loading->options.secret, "of the environment");
    assert_int_equal(loading->options.node, 4);
}

static void another_node_id_in_the_environment_is_refused(void **state)
{
    struct loading *loading = *state;

    setenv("CF_NODE", "1", 1);
    load_refuses(loading, "[cluster]\nnodes = 3\n", "CF_NODE", "node 0");
    assert_int_equal(load(loading, 1, "[cluster]\nnodes = 3\n"), CF_OK);
}

static void unknown_sections_are_refused_by_name(void **state)
{
    struct loading *loading = *state;

    load_refuses(loading, "[cluster]\nnodes = 2\n[nodes 1]\nsessions = 1\n", "[nodes 1]", ":4:");
    load_refuses(loading, "nodes = 2\n", "before the first section", ":1:");
    load_refuses(loading, "[node 01]\nsessions = 1\n", "[node 01]", "[node 0]");
    load_refuses(loading, "[node 1024]\nsessions = 1\n", "[node 1024]", "1023");
    load_refuses(loading, "[node x]\nsessions = 1\n", "[node x]", "[cluster]");
    load_refuses(loading, "[node 0x1]\nsessions = 1\n", "[node 0x1]", "[cluster]");
}

static void a_mistake_in_the_section_of_another_node_is_refused_too(void **state)
{
    struct loading *loading = *state;

    load_refuses(loading, "[cluster]\nnodes = 2\n[node 1]\nsesions = 1\n", "sesions", "sessions");
    load_refuses(loading, "[cluster]\nnodes = 2\n[node 1]\nsessions = 0\n", "sessions", "1 to 4096");
}

static void lines_that_could_be_misread_are_refused(void **state)
{
    struct loading *loading = *state;

    load_refuses(loading, "[cluster]\nnodes = 2\nnodes = 3\n", "nodes", "twice");
    load_refuses(loading, "[cluster]\ncluster = orders\n  secret = hidden\n", "cluster", "space");
    load_refuses(loading, "[cluster]\nnode = 1\n", "node", "[cluster]");
    load_refuses(loading, "[node 1]\nnode = 2\n", "node", "[node 1]");
    load_refuses(loading, "[cluster\nnodes = 2\n", ":1:", "[cluster]");
    load_refuses(loading, "[cluster]\nnodes\n", ":2:", "neither");
}

static void a_file_that_is_not_there_is_told(void **state)
{
    struct loading *loading = *state;

    assert_int_equal(cf_options_load(&loading->options, "no-such-file.ini", 0, &loading->error),
                     CF_NOT_FOUND);
    assert_non_null(strstr(loading->error.text, "no-such-file.ini"));
    assert_int_equal(cf_options_load(&loading->options, NULL, CF_NODES_MAX, &loading->error), CF_INVALID);
}

static void lines_of_any_length_are_read_whole_or_refused(void **state)
{
    struct loading *loading = *state;
    char text[512], secret[CF_OPTION_STRING_BYTES + 1];

    for (uint32_t length = 150; length <= CF_OPTION_STRING_BYTES; length++) {
        enum cf_rc rc;

        memset(secret, 's', length);
        secret[length] = '\0';
        snprintf(text, sizeof text, "[cluster]\nsecret = %s\nnodes = 2\n", secret);
        cf_options_init(&loading->options);
        rc = load(loading, 0, text);
        if (rc == CF_OK)
            assert_string_equal(loading->options.secret, secret);
        else
            assert_int_equal(rc, CF_OPTION);
        if (length <= 180)
            assert_int_equal(rc, CF_OK);
    }
}

/* ---- check */

static void check_refuses(struct loading *loading, const char *name, const char *word)
{
    assert_int_equal(cf_options_check(&loading->options, &loading->error), CF_OPTION);
    if (strstr(loading->error.text, name) == NULL || strstr(loading->error.text, word) == NULL)
        fail_msg("'%s' lacks '%s' or '%s'", loading->error.text, name, word);
    assert_int_equal(cf_options_check(&loading->options, NULL), CF_OPTION);
    cf_options_init(&loading->options);
}

static void peers_are_as_many_as_nodes(void **state)
{
    struct loading *loading = *state;

    loading->options.nodes = 2;
    snprintf(loading->options.secret, sizeof loading->options.secret, "at least sixteen characters");
    snprintf(loading->options.peers, sizeof loading->options.peers, "192.0.2.1,host:4000");
    assert_int_equal(cf_options_check(&loading->options, NULL), CF_OK);
    loading->options.nodes = 3;
    check_refuses(loading, "peers", "3 nodes");
    loading->options.nodes = 2;
    snprintf(loading->options.peers, sizeof loading->options.peers, "192.0.2.1,");
    check_refuses(loading, "peers", "leaves one empty");
}

static void a_node_is_one_of_the_nodes(void **state)
{
    struct loading *loading = *state;

    loading->options.nodes = 3;
    loading->options.node = 2;
    assert_int_equal(cf_options_check(&loading->options, NULL), CF_OK);
    loading->options.node = 3;
    check_refuses(loading, "option node", "0 to 2");
}

static void powers_of_two_are_asked_for(void **state)
{
    struct loading *loading = *state;

    loading->options.buckets = 4097;
    check_refuses(loading, "option buckets", "power of two");
    loading->options.lane_slots = 100;
    check_refuses(loading, "option lane_slots", "power of two");
}

static void a_cache_has_frames_for_the_conversations_under_way(void **state)
{
    struct loading *loading = *state;
    uint64_t need;

    loading->options.outstanding = 100;
    need = eng_options_frames_min(&loading->options);
    assert_int_equal(need, 216);
    loading->options.cache_bytes = need * 8192;
    assert_int_equal(cf_options_check(&loading->options, NULL), CF_OK);
    loading->options.cache_bytes = need * 8192 - 1;
    check_refuses(loading, "option cache_bytes", "216 frames");
    loading->options.cache_32k_bytes = 32768;
    check_refuses(loading, "option cache_32k_bytes", "4608KiB");
    loading->options.cache_bytes = 0;
    check_refuses(loading, "option cache_bytes", "at least one");
    loading->options.cache_bytes = 0;
    loading->options.cache_2k_bytes = MIB;
    assert_int_equal(cf_options_check(&loading->options, NULL), CF_OK);
    loading->options.past_images = 513;
    check_refuses(loading, "option past_images", "512");
}

static void the_class_of_a_size_has_its_own_option(void **state)
{
    struct loading *loading = *state;
    static const char *const names[CF_BLOCK_SIZES] = {"cache_2k_bytes", "cache_4k_bytes", "cache_bytes",
                                                      "cache_16k_bytes", "cache_32k_bytes"};

    for (uint32_t i = 0; i < CF_BLOCK_SIZES; i++) {
        char value[16];

        snprintf(value, sizeof value, "%uMiB", 100 + i);
        assert_int_equal(cf_options_set(&loading->options, names[i], value, NULL), CF_OK);
    }
    for (uint32_t i = 0; i < CF_BLOCK_SIZES; i++)
        assert_int_equal(eng_options_cache_bytes(&loading->options, i), (100 + i) * MIB);
}

static void a_transport_that_leaves_the_host_needs_a_secret(void **state)
{
    struct loading *loading = *state;

    snprintf(loading->options.transport, sizeof loading->options.transport, "verbs:mlx5_0/1");
    check_refuses(loading, "option secret", "16");
    snprintf(loading->options.transport, sizeof loading->options.transport, "verbs:mlx5_0/1");
    snprintf(loading->options.secret, sizeof loading->options.secret, "sixteen letters.");
    assert_int_equal(cf_options_check(&loading->options, NULL), CF_OK);
    cf_options_init(&loading->options);
    snprintf(loading->options.transport, sizeof loading->options.transport, "shm");
    check_refuses(loading, "option transport", "colon");
}

static void the_name_of_the_cluster_fits_the_superblock(void **state)
{
    struct loading *loading = *state;

    loading->options.cluster[0] = '\0';
    check_refuses(loading, "option cluster", "1 to 63");
    memset(loading->options.cluster, 'c', 63);
    assert_int_equal(cf_options_check(&loading->options, NULL), CF_OK);
    memset(loading->options.cluster, 'c', 64);
    check_refuses(loading, "option cluster", "1 to 63");
}

static void structs_filled_in_by_hand_are_checked(void **state)
{
    struct loading *loading = *state;

    loading->options.sessions = 0;
    check_refuses(loading, "option sessions", "1 to 4096");
    loading->options.waiting = 3;
    check_refuses(loading, "option waiting", "0 to 2");
    memset(loading->options.secret, 's', sizeof loading->options.secret);
    check_refuses(loading, "option secret", "no end");
    loading->options.size--;
    assert_int_equal(cf_options_check(&loading->options, &loading->error), CF_INVALID);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(defaults_are_those_of_the_table_and_pass_the_check),
        TEST(every_option_reads_back_what_it_shows),
        TEST(bounds_of_every_number_hold),
        TEST(text_with_units_and_choices_is_understood),
        TEST(the_section_of_the_node_comes_after_the_one_of_all),
        TEST(the_environment_comes_after_the_file_and_a_call_after_both),
        TEST(without_a_file_the_environment_counts_alone),
        TEST(another_node_id_in_the_environment_is_refused),
        TEST(unknown_sections_are_refused_by_name),
        TEST(a_mistake_in_the_section_of_another_node_is_refused_too),
        TEST(lines_that_could_be_misread_are_refused),
        TEST(a_file_that_is_not_there_is_told),
        TEST(lines_of_any_length_are_read_whole_or_refused),
        TEST(peers_are_as_many_as_nodes),
        TEST(a_node_is_one_of_the_nodes),
        TEST(powers_of_two_are_asked_for),
        TEST(a_cache_has_frames_for_the_conversations_under_way),
        TEST(the_class_of_a_size_has_its_own_option),
        TEST(a_transport_that_leaves_the_host_needs_a_secret),
        TEST(the_name_of_the_cluster_fits_the_superblock),
        TEST(structs_filled_in_by_hand_are_checked),
    };

    return cmocka_run_group_tests_name("engine/options", tests, NULL, NULL);
}
