/* SPDX-License-Identifier: Apache-2.0 */
/* Calls that fail and completions with errors, on a real device (tests/unit/transport/verbs_faults.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/hw/verbs_fixture.h"

static void the_nth_call_of_each_kind_may_fail(void **state)
{
    struct xp_fixture fixture = verbs_fixture();

    (void)state;
    verbs_faults_of_calls(&fixture);
}

static void every_status_of_a_completion_ends_in_one_reset(void **state)
{
    struct xp_fixture fixture = verbs_fixture();

    (void)state;
    verbs_faults_of_completions(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_nth_call_of_each_kind_may_fail),
        cmocka_unit_test(every_status_of_a_completion_ends_in_one_reset),
    };
    int missing = verbs_device_missing();

    return missing != 0 ? missing : cmocka_run_group_tests(tests, NULL, NULL);
}
