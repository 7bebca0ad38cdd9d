/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Covers: plans for machines that hwloc makes up (a small one, two sockets, a NIC near the second, a
 * container's share, no cores told), instances that share a host, binding on the machine at hand.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <hwloc.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "engine/place.h"

#define SMALL "pack:1 [numa] core:2 pu:1"
/* Cores 0 to 15 on node 0, 16 to 31 on node 1; core c has the cpus 2c and 2c + 1. */
#define TWO_SOCKETS "pack:2 [numa] core:16 pu:2"
#define END "</object>"

struct planning {
    struct cf_options options;
    struct cf_error error;
    struct eng_plan plan;
};

static int begin(void **state)
{
    static struct planning planning;

    memset(&planning.plan, 0xee, sizeof planning.plan);
    cf_options_init(&planning.options);
    snprintf(planning.options.transport, sizeof planning.options.transport, "verbs:mlx5_0");
    *state = &planning;
    return 0;
}

static hwloc_topology_t machine(const char *description)
{
    hwloc_topology_t topology;

    assert_int_equal(hwloc_topology_init(&topology), 0);
    /* So that a test can forbid some. */
    assert_int_equal(hwloc_topology_set_flags(topology, HWLOC_TOPOLOGY_FLAG_INCLUDE_DISALLOWED), 0);
    assert_int_equal(hwloc_topology_set_synthetic(topology, description), 0);
    assert_int_equal(hwloc_topology_load(topology), 0);
    return topology;
}

/*
 * The made-up machine with a device in its last package, or near no node. hwloc reads devices but does not
 * make them up, so the machine goes through its text form; devices stand last in the object they are near to.
 */
static hwloc_topology_t machine_with_nic(const char *description, const char *nic, bool is_near_last)
{
    hwloc_topology_t plain = machine(description), topology;
    char *xml, *more;
    const char *at;
    int bytes, length;

    assert_int_equal(hwloc_topology_export_xmlbuffer(plain, &xml, &bytes, 0), 0);
    at = strstr(xml, "</topology>");
    assert_non_null(at);
    for (int back = is_near_last ? 2 : 1; back > 0; back--) {
        do
            at--;
        while (strncmp(at, END, strlen(END)) != 0);
    }
    length = asprintf(&more, "%.*s<object type=\"OSDev\" name=\"%s\" osdev_type=\"3\"/>%s", (int)(at - xml),
                      xml, nic, at);
    assert_true(length > 0);
    hwloc_free_xmlbuffer(plain, xml);
    hwloc_topology_destroy(plain);
    assert_int_equal(hwloc_topology_init(&topology), 0);
    assert_int_equal(hwloc_topology_set_io_types_filter(topology, HWLOC_TYPE_FILTER_KEEP_ALL), 0);
    assert_int_equal(hwloc_topology_set_xmlbuffer(topology, more, length + 1), 0);
    assert_int_equal(hwloc_topology_load(topology), 0);
    free(more);
    return topology;
}

/* Plans on the machine and lets it go. */
static const struct eng_plan *plan_on(struct planning *planning, hwloc_topology_t topology, const char *nic)
{
    assert_int_equal(eng_plan_make_on(topology, &planning->options, nic, &planning->plan, &planning->error),
                     CF_OK);
    hwloc_topology_destroy(topology);
    assert_null(strchr(planning->plan.text, '\n'));
    return &planning->plan;
}

static int socket_of(int cpu)
{
    return cpu / 32;
}

static void says(const struct eng_plan *plan, const char *words)
{
    if (strstr(plan->text, words) == NULL)
        fail_msg("'%s' lacks '%s'", plan->text, words);
}

static void two_cores_are_one_loop_bound_to_nothing(void **state)
{
    const struct eng_plan *plan = plan_on(*state, machine(SMALL), NULL);

    assert_true(plan->is_compact);
    assert_int_equal(plan->workers, 0);
    assert_int_equal(plan->poller_cpu, ENG_CPU_ANY);
    assert_int_equal(plan->storage_cpu, ENG_CPU_ANY);
    assert_int_equal(plan->node, ENG_NODE_ANY);
    assert_int_equal(plan->cores, 2);
    says(plan, "compact");
    says(plan, "need 5 cores");
}

static void dedicated_starts_at_two_cores_more_than_roles(void **state)
{
    struct planning *planning = *state;

    assert_true(plan_on(planning, machine("pack:1 [numa] core:4 pu:1"), NULL)->is_compact);
    assert_false(plan_on(planning, machine("pack:1 [numa] core:5 pu:1"), NULL)->is_compact);
    planning->options.shards = 2;
    assert_true(plan_on(planning, machine("pack:1 [numa] core:5 pu:1"), NULL)->is_compact);
    assert_false(plan_on(planning, machine("pack:1 [numa] core:6 pu:1"), NULL)->is_compact);
    /* Two threads of one core are one core. */
    assert_true(plan_on(planning, machine("pack:1 [numa] core:5 pu:2"), NULL)->is_compact);
}

static void every_role_has_a_core_and_the_first_core_is_left_alone(void **state)
{
    struct planning *planning = *state;
    const struct eng_plan *plan;
    bool is_taken[64] = {false};
    int cpus[6];

    planning->options.shards = 4;
    plan = plan_on(planning, machine(TWO_SOCKETS), NULL);
    assert_false(plan->is_compact);
    assert_int_equal(plan->workers, 4);
    cpus[0] = plan->poller_cpu;
    cpus[1] = plan->storage_cpu;
    memcpy(cpus + 2, plan->worker_cpu, 4 * sizeof cpus[0]);
    for (size_t i = 0; i < 6; i++) {
        assert_in_range(cpus[i], 2, 63);
        assert_int_equal(cpus[i] % 2, 0);
        assert_int_equal(socket_of(cpus[i]), plan->node);
        assert_false(is_taken[cpus[i]]);
        is_taken[cpus[i]] = true;
    }
    assert_int_equal(plan->worker_cpu[4], ENG_CPU_ANY);
    assert_int_equal(plan->nodes, 2);
    says(plan, "dedicated");
    says(plan, "32");
}

static void roles_gather_at_the_nic(void **state)
{
    struct planning *planning = *state;
    const struct eng_plan *plan;

    planning->options.shards = 3;
    plan = plan_on(planning, machine_with_nic(TWO_SOCKETS, "mlx5_0", true), "mlx5_0");
    assert_int_equal(plan->node, 1);
    assert_int_equal(socket_of(plan->poller_cpu), 1);
    assert_int_equal(socket_of(plan->storage_cpu), 1);
    for (uint32_t i = 0; i < plan->workers; i++)
        assert_int_equal(socket_of(plan->worker_cpu[i]), 1);
    says(plan, "nic mlx5_0 on node 1");
    plan = plan_on(planning, machine_with_nic(TWO_SOCKETS, "mlx5_0", true), "mlx5_0/1");
    assert_int_equal(plan->node, 1);
}

static void a_nic_that_is_near_to_no_node_does_not_decide(void **state)
{
    const struct eng_plan *plan = plan_on(*state, machine_with_nic(TWO_SOCKETS, "mlx5_0", false), "mlx5_0");

    assert_int_equal(plan->node, 0);
    says(plan, "near to no node");
    plan = plan_on(*state, machine_with_nic(TWO_SOCKETS, "mlx5_0", true), "mlx5_00");
    assert_int_equal(plan->node, 0);
    says(plan, "nic mlx5_00 is near to no node");
    plan = plan_on(*state, machine_with_nic(TWO_SOCKETS, "mlx5_0", true), "mlx5");
    says(plan, "nic mlx5 is near to no node");
}

static void roles_that_find_no_core_at_the_nic_go_to_the_other_node(void **state)
{
    struct planning *planning = *state;
    const struct eng_plan *plan;
    uint32_t far = 0;

    planning->options.shards = 24;
    plan = plan_on(planning, machine_with_nic(TWO_SOCKETS, "mlx5_0", true), "mlx5_0");
    assert_false(plan->is_compact);
    for (uint32_t i = 0; i < 24; i++)
        far += socket_of(plan->worker_cpu[i]) == 0;
    assert_int_equal(far, 24 - 15);
}

static void cpus_that_are_not_allowed_are_not_taken(void **state)
{
    struct planning *planning = *state;
    hwloc_topology_t topology = machine(TWO_SOCKETS);
    hwloc_bitmap_t allowed = hwloc_bitmap_alloc();
    const struct eng_plan *plan;

    /* Second thread of core 4, both of cores 20 to 25. */
    hwloc_bitmap_set(allowed, 9);
    hwloc_bitmap_set_range(allowed, 40, 51);
    assert_int_equal(hwloc_topology_allow(topology, allowed, NULL, HWLOC_ALLOW_FLAG_CUSTOM), 0);
    plan = plan_on(planning, topology, NULL);
    assert_int_equal(plan->cores, 7);
    assert_false(plan->is_compact);
    assert_int_equal(plan->node, 1);
    assert_true(hwloc_bitmap_isset(allowed, (unsigned)plan->poller_cpu));
    assert_true(hwloc_bitmap_isset(allowed, (unsigned)plan->storage_cpu));
    assert_true(hwloc_bitmap_isset(allowed, (unsigned)plan->worker_cpu[0]));
    hwloc_bitmap_free(allowed);
}

static void what_is_asked_for_is_done(void **state)
{
    struct planning *planning = *state;
    const struct eng_plan *plan;

    planning->options.placement = 2;
    plan = plan_on(planning, machine_with_nic(TWO_SOCKETS, "mlx5_0", true), "mlx5_0");
    assert_true(plan->is_compact);
    assert_int_equal(plan->node, 1);
    says(plan, "asked for");
    planning->options.placement = 1;
    plan = plan_on(planning, machine(SMALL), NULL);
    assert_false(plan->is_compact);
    assert_in_range(plan->poller_cpu, 0, 1);
    assert_in_range(plan->worker_cpu[0], 0, 1);
    assert_in_range(plan->storage_cpu, 0, 1);
    says(plan, "cores are shared");
}

static void instances_of_one_host_take_different_cores(void **state)
{
    struct planning *planning = *state;
    bool is_taken[64] = {false};

    snprintf(planning->options.transport, sizeof planning->options.transport, "shm:");
    planning->options.nodes = 10;
    for (uint16_t node = 0; node < 10; node++) {
        const struct eng_plan *plan;
        int cpus[3];

        planning->options.node = node;
        plan = plan_on(planning, machine(TWO_SOCKETS), NULL);
        assert_false(plan->is_compact);
        cpus[0] = plan->poller_cpu;
        cpus[1] = plan->worker_cpu[0];
        cpus[2] = plan->storage_cpu;
        assert_int_equal(plan->node, socket_of(plan->poller_cpu));
        for (size_t i = 0; i < 3; i++) {
            assert_false(is_taken[cpus[i]]);
            is_taken[cpus[i]] = true;
        }
    }
    planning->options.nodes = 11;
    says(plan_on(planning, machine(TWO_SOCKETS), NULL),
         "compact (auto: 3 roles of each instance on this host");
}

static void cpus_without_cores_are_counted_as_such(void **state)
{
    const struct eng_plan *plan = plan_on(*state, machine("numa:1 pu:8"), NULL);

    assert_int_equal(plan->cores, 8);
    assert_int_equal(plan->nodes, 1);
    assert_int_equal(plan->node, ENG_NODE_ANY);
}

static void the_plan_prints_every_role(void **state)
{
    struct planning *planning = *state;
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);

    assert_non_null(out);
    planning->options.shards = 2;
    eng_plan_print(plan_on(planning, machine(TWO_SOCKETS), NULL), out);
    assert_int_equal(fclose(out), 0);
    assert_non_null(strstr(text, planning->plan.text));
    assert_non_null(strstr(text, "poller             cpu 2\n"));
    assert_non_null(strstr(text, "directory worker 1 cpu 6\n"));
    assert_non_null(strstr(text, "storage worker     cpu 8\n"));
    assert_non_null(strstr(text, "memory             node 0\n"));
    free(text);
}

/* ---- the machine at hand */

/* pthread_join takes no const. */
static void *words(const char *text)
{
    return (void *)(uintptr_t)text;
}

static void *bound_thread(void *arg)
{
    const struct eng_plan *plan = arg;
    cpu_set_t set;

    if (eng_plan_bind_thread(plan, ENG_CPU_ANY) != CF_OK ||
        eng_plan_bind_thread(plan, plan->poller_cpu) != CF_OK)
        return words("cannot bind");
    if (pthread_getaffinity_np(pthread_self(), sizeof set, &set) != 0)
        return words("cannot ask");
    return CPU_COUNT(&set) == 1 && CPU_ISSET((size_t)plan->poller_cpu, &set) ? NULL
                                                                             : words("bound elsewhere");
}

static void a_thread_binds_itself_and_nobody_else(void **state)
{
    struct planning *planning = *state;
    cpu_set_t before, after;
    pthread_t thread;
    void *complaint = &planning->plan;

    planning->options.placement = 1;
    assert_int_equal(eng_plan_make(&planning->options, NULL, &planning->plan, &planning->error), CF_OK);
    assert_int_equal(pthread_getaffinity_np(pthread_self(), sizeof before, &before), 0);
    assert_true(CPU_ISSET((size_t)planning->plan.poller_cpu, &before));
    assert_int_equal(pthread_create(&thread, NULL, bound_thread, &planning->plan), 0);
    assert_int_equal(pthread_join(thread, &complaint), 0);
    if (complaint != NULL)
        fail_msg("%s", (const char *)complaint);
    assert_int_equal(pthread_getaffinity_np(pthread_self(), sizeof after, &after), 0);
    assert_true(CPU_EQUAL(&before, &after));
}

static void a_cpu_that_is_not_there_is_refused(void **state)
{
    struct planning *planning = *state;

    assert_int_equal(eng_plan_make(&planning->options, NULL, &planning->plan, &planning->error), CF_OK);
    assert_int_equal(eng_plan_bind_thread(&planning->plan, 65535), CF_SYSTEM);
}

static void a_narrowed_process_plans_within_its_cpus(void **state)
{
    struct planning *planning = *state;
    cpu_set_t before, one;
    int cpu = 0;

    assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
    while (!CPU_ISSET((size_t)cpu, &before))
        cpu++;
    CPU_ZERO(&one);
    CPU_SET((size_t)cpu, &one);
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
    planning->options.placement = 1;
    assert_int_equal(eng_plan_make(&planning->options, "no-such-nic", &planning->plan, &planning->error),
                     CF_OK);
    assert_int_equal(sched_setaffinity(0, sizeof before, &before), 0);
    assert_int_equal(planning->plan.cores, 1);
    assert_int_equal(planning->plan.poller_cpu, cpu);
    assert_int_equal(planning->plan.storage_cpu, cpu);
}

static void memory_is_bound_where_there_are_nodes_to_choose_from(void **state)
{
    struct planning *planning = *state;
    uint64_t bytes = 1 << 20;
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    assert_true(memory != MAP_FAILED);
    assert_int_equal(eng_plan_make(&planning->options, NULL, &planning->plan, &planning->error), CF_OK);
    assert_int_equal(eng_plan_bind_memory(&planning->plan, memory, bytes), CF_OK);
    /* A plan for two nodes on whatever is here: node 0 is on every machine. */
    planning->plan.nodes = 2;
    planning->plan.node = 0;
    assert_int_equal(eng_plan_bind_memory(&planning->plan, memory, bytes), CF_OK);
    memset(memory, 1, bytes);
    assert_int_equal(munmap(memory, bytes), 0);
}

#define TEST(name) cmocka_unit_test_setup(name, begin)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(two_cores_are_one_loop_bound_to_nothing),
        TEST(dedicated_starts_at_two_cores_more_than_roles),
        TEST(every_role_has_a_core_and_the_first_core_is_left_alone),
        TEST(roles_gather_at_the_nic),
        TEST(a_nic_that_is_near_to_no_node_does_not_decide),
        TEST(roles_that_find_no_core_at_the_nic_go_to_the_other_node),
        TEST(cpus_that_are_not_allowed_are_not_taken),
        TEST(what_is_asked_for_is_done),
        TEST(instances_of_one_host_take_different_cores),
        TEST(cpus_without_cores_are_counted_as_such),
        TEST(the_plan_prints_every_role),
        TEST(a_thread_binds_itself_and_nobody_else),
        TEST(a_cpu_that_is_not_there_is_refused),
        TEST(a_narrowed_process_plans_within_its_cpus),
        TEST(memory_is_bound_where_there_are_nodes_to_choose_from),
    };

    return cmocka_run_group_tests_name("engine/place", tests, NULL, NULL);
}
