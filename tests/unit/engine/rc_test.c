/* SPDX-License-Identifier: Apache-2.0 */
/* Covers: every result code has a name, words and a class; numbers that are no codes have them too. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include <cachefusion/status.h>

struct code {
    enum cf_rc rc;
    const char *name, *meaning, *remedy;
    enum cf_rc_class rc_class;
};

static const struct code codes[] = {
#define CF_STATUS(name, value, cls, meaning, remedy) \
    {(enum cf_rc)(value), #name, meaning, remedy, CF_CLASS_##cls},
#include <cachefusion/status.def>
#undef CF_STATUS
};
#define CODES (sizeof codes / sizeof codes[0])

static void every_code_has_its_words(void **state)
{
    (void)state;
    for (size_t i = 0; i < CODES; i++) {
        assert_string_equal(cf_rc_name(codes[i].rc), codes[i].name);
        assert_string_equal(cf_rc_text(codes[i].rc), codes[i].meaning);
        assert_string_equal(cf_rc_remedy(codes[i].rc), codes[i].remedy);
        assert_int_equal(cf_rc_class(codes[i].rc), codes[i].rc_class);
        assert_int_not_equal(strlen(codes[i].meaning), 0);
        assert_int_not_equal(strlen(codes[i].remedy), 0);
    }
}

static void success_is_zero_and_every_failure_negative(void **state)
{
    (void)state;
    assert_int_equal(CF_OK, 0);
    for (size_t i = 0; i < CODES; i++) {
        assert_int_equal(codes[i].rc == CF_OK, codes[i].rc_class == CF_CLASS_NONE);
        assert_true(codes[i].rc <= 0);
    }
}

static void a_number_that_is_no_code_is_fatal_and_has_words(void **state)
{
    static const int strangers[] = {1, -999, -1000, INT32_MAX, INT32_MIN};

    (void)state;
    for (size_t i = 0; i < sizeof strangers / sizeof strangers[0]; i++) {
        enum cf_rc rc = (enum cf_rc)strangers[i];

        assert_string_equal(cf_rc_name(rc), "CF_UNKNOWN");
        assert_int_not_equal(strlen(cf_rc_text(rc)), 0);
        assert_int_not_equal(strlen(cf_rc_remedy(rc)), 0);
        assert_int_equal(cf_rc_class(rc), CF_CLASS_FATAL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_has_its_words),
        cmocka_unit_test(success_is_zero_and_every_failure_negative),
        cmocka_unit_test(a_number_that_is_no_code_is_fatal_and_has_words),
    };

    return cmocka_run_group_tests_name("engine/rc", tests, NULL, NULL);
}
