/* SPDX-License-Identifier: Apache-2.0 */
/* Covers: values JSON cannot carry, what is remembered of them, the histogram object, whole-file replacement. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/hist.h"
#include "base/json.h"

static void values_that_json_cannot_carry_are_refused(void **state)
{
    json_t *object = json_object();

    (void)state;
    assert_int_equal(cf_json_add_u64(object, "big", INT64_MAX), 0);
    assert_int_equal(cf_json_add_u64(object, "too big", (uint64_t)INT64_MAX + 1), -1);
    assert_int_equal(cf_json_add_double(object, "nan", NAN), -1);
    assert_int_equal(cf_json_add_str(object, "not utf-8", "\xff"), -1);
    assert_int_equal(cf_json_add_str(object, "text", "yes"), 0);
    assert_int_equal(cf_json_add_bool(object, "flag", true), 0);
    assert_int_equal(cf_json_add_child(object, "none", NULL), -1);
    assert_int_equal(json_object_size(object), 3);
    json_decref(object);
}

static void what_could_not_be_put_in_is_remembered(void **state)
{
    struct cf_json_build build = {.is_short = false};
    json_t *object = json_object(), *list = json_array();

    (void)state;
    cf_json_append(&build, list, json_integer(1));
    cf_json_put(&build, object, "list", list);
    cf_json_put(&build, object, "text", cf_json_text("caf\xc3\xa9"));
    cf_json_put(&build, object, "not utf-8", cf_json_text("caf\xe9, \xff."));
    assert_false(build.is_short);
    assert_string_equal(json_string_value(json_object_get(object, "text")), "caf\xc3\xa9");
    assert_string_equal(json_string_value(json_object_get(object, "not utf-8")), "caf?, ?.");
    cf_json_append(&build, list, NULL);
    assert_true(build.is_short);
    cf_json_append(&build, list, json_integer(2));
    assert_true(build.is_short); /* what goes well afterwards does not mend it */
    build.is_short = false;
    cf_json_put(&build, object, "none", NULL);
    assert_true(build.is_short);
    build.is_short = false;
    cf_json_put(&build, NULL, "there is no object", json_integer(1));
    assert_true(build.is_short);
    json_decref(object);
}

static void histogram_object_holds_its_percentiles(void **state)
{
    static struct cf_hist hist;
    json_t *object;

    (void)state;
    cf_hist_init(&hist);
    for (uint64_t i = 1; i <= 60; i++)
        cf_hist_add(&hist, i);
    object = cf_json_hist(&hist);
    assert_non_null(object);
    assert_int_equal(json_integer_value(json_object_get(object, "count")), 60);
    assert_int_equal(json_integer_value(json_object_get(object, "p50_ns")), 30);
    assert_int_equal(json_integer_value(json_object_get(object, "p90_ns")), 54);
    assert_int_equal(json_integer_value(json_object_get(object, "max_ns")), 60);
    assert_true(json_real_value(json_object_get(object, "mean_ns")) == 30.5);
    json_decref(object);
}

static void file_is_replaced_whole_or_not_at_all(void **state)
{
    const char *folder = getenv("TMPDIR");
    char path[256], missing[300];
    json_t *object = json_object(), *back;

    (void)state;
    snprintf(path, sizeof(path), "%s/cf-json-%ld", folder != NULL ? folder : "/tmp", (long)getpid());
    for (uint64_t i = 0; i < 2; i++) {
        assert_int_equal(cf_json_add_u64(object, "turn", i), 0);
        assert_int_equal(cf_json_write_file(object, path), 0);
        back = json_load_file(path, 0, NULL);
        assert_true(json_equal(object, back));
        json_decref(back);
    }
    assert_int_equal(unlink(path), 0);
    snprintf(missing, sizeof(missing), "%s/no/such", path);
    assert_int_equal(cf_json_write_file(object, missing), -1);
    assert_int_equal(errno, ENOENT);
    json_decref(object);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_that_json_cannot_carry_are_refused),
        cmocka_unit_test(what_could_not_be_put_in_is_remembered),
        cmocka_unit_test(histogram_object_holds_its_percentiles),
        cmocka_unit_test(file_is_replaced_whole_or_not_at_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
