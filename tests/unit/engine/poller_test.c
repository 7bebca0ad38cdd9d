/* SPDX-License-Identifier: Apache-2.0 */
/* The poller beside a client that drives: it may want the very core that the client runs on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <pthread.h>
#include <time.h>
#include <cmocka.h>

#include "base/clock.h"
#include "engine/instance.h"
#include "tests/unit/engine/cluster_fixture.h"

#define DRIVEN_NS (50 * CF_NS_PER_MS)
#define AWAKE_NS_MAX (5 * CF_NS_PER_MS)

static uint64_t processor_ns(pthread_t thread)
{
    struct timespec time;
    clockid_t clock;

    assert_int_equal(pthread_getcpuclockid(thread, &clock), 0);
    assert_int_equal(clock_gettime(clock, &time), 0);
    return (uint64_t)time.tv_sec * CF_NS_PER_S + (uint64_t)time.tv_nsec;
}

static void a_poller_does_not_spin_on_what_came_for_the_client_that_drives(void **state)
{
    struct cluster cluster;
    struct cf_instance *instance;
    uint64_t began, used;

    (void)state;
    cluster_init(&cluster, 1);
    cluster.is_compact = true;
    cluster_open(&cluster);
    instance = cluster.instance[0];
    assert_true(instance->is_compact && instance->has_poller);
    while (!eng_progress_try(instance))
        cf_pause();
    xp_wake(instance->xp); /* readable until somebody takes a turn */
    used = processor_ns(instance->poller);
    for (began = cf_now_ns(); cf_now_ns() - began < DRIVEN_NS;)
        cf_pause();
    used = processor_ns(instance->poller) - used;
    eng_progress_leave(instance);
    assert_in_range(used, 0, AWAKE_NS_MAX);
    cluster_close(&cluster);
    cluster_end(&cluster);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_poller_does_not_spin_on_what_came_for_the_client_that_drives)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
