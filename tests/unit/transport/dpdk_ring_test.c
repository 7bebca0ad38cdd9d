/* SPDX-License-Identifier: Apache-2.0 */
/* The dpdk provider over net_ring, several instances in one process: the conformance suite, with and without faults. */
#include <libgen.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "tests/unit/transport/conformance.h"
#include "transport/module.h"

static uint64_t real_time(struct xp_fixture *fixture)
{
    (void)fixture;
    return cf_now_ns();
}

/* The module is two directories above tests/unit/transport. */
static bool has_module(void)
{
    char path[1024], directory[1100], why[300];
    ssize_t bytes = readlink("/proc/self/exe", path, sizeof(path) - 1);

    if (bytes <= 0)
        return false;
    path[bytes] = 0;
    snprintf(directory, sizeof(directory), "%s/../../..", dirname(path));
    if (setenv("CACHEFUSION_MODULES", directory, 1) != 0)
        return false;
    if (xp_module_is_present("dpdk", why, sizeof(why)))
        return true;
    print_message("skipped: %s\n", why);
    return false;
}

static int conformance_of(const char *address)
{
    struct xp_fixture fixture = {.address = address, .advance = real_time};

    print_message("over %s\n", address);
    return xp_conformance_run(&fixture);
}

static void addresses_that_cannot_be_are_refused_in_one_line(void **state)
{
    static const struct {
        const char *address, *word;
        enum cf_rc rc;
    } bad[] = {
        {"dpdk:", "address", CF_OPTION},
        {"dpdk:pigeon", "pigeon", CF_OPTION},
        {"dpdk:ring,mtu=576", "mtu", CF_OPTION},
        {"dpdk:ring,mtu=100000", "mtu", CF_OPTION},
        {"dpdk:ring,loss=2", "chance", CF_OPTION},
        {"dpdk:ring,colour=red", "colour", CF_OPTION},
        {"dpdk:af_packet:nosuch0", "no such network interface", CF_NOT_FOUND},
        {"dpdk:memif:/nonexistent/place", "/nonexistent/place", CF_SYSTEM},
    };
    struct xp_fixture fixture = {.address = "dpdk:ring", .advance = real_time};

    (void)state;
    for (uint32_t i = 0; i < CF_COUNTOF(bad); i++) {
        struct cf_error error = {.rc = CF_OK};
        struct xp_options options;
        struct xp *xp = NULL;

        xp_side_options(&fixture, &options, 0, 2);
        options.address = bad[i].address;
        assert_int_equal(xp_open(&options, &xp, &error), bad[i].rc);
        assert_non_null(strstr(error.text, bad[i].word));
        assert_null(strchr(error.text, '\n'));
        assert_null(xp);
    }
}

static void a_node_id_is_held_once(void **state)
{
    struct xp_fixture fixture = {.address = "dpdk:ring", .advance = real_time};
    struct cf_error error = {.rc = CF_OK};
    struct xp_options options;
    struct xp *first, *second = NULL;

    (void)state;
    xp_side_options(&fixture, &options, 0, 2);
    assert_int_equal(xp_open(&options, &first, &error), CF_OK);
    assert_int_equal(xp_open(&options, &second, &error), CF_NODE_TAKEN);
    assert_non_null(strstr(error.text, "running already"));
    xp_close(&first);
    assert_int_equal(xp_open(&options, &first, &error), CF_OK);
    xp_close(&first);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_that_cannot_be_are_refused_in_one_line),
        cmocka_unit_test(a_node_id_is_held_once),
    };
    int failed;

    if (!has_module())
        return 0;
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    failed += conformance_of("dpdk:ring");
    failed += conformance_of("dpdk:ring,mtu=1500");
    failed += conformance_of("dpdk:ring,loss=0.05,twice=0.05,late=0.05,damage=0.02,seed=3");
    return failed;
}
