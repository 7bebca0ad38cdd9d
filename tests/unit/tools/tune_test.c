/* SPDX-License-Identifier: Apache-2.0 */
/* Checks of a host, on made-up trees of sys and proc. What real drivers answer to ethtool is not covered. */
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "tools/tune/tune.h"

#define GIB (1ull << 30)
#define HUGE "/sys/kernel/mm/hugepages/hugepages-2048kB/"
#define THP "/sys/kernel/mm/transparent_hugepage/"
#define CPU "/sys/devices/system/cpu/"
#define DEVICE "/sys/class/infiniband/mlx5_0/device/"
#define NET "/sys/class/net/ens1/"

struct tree {
    char root[64];
    struct tune_host host;
};

static int tree_make(void **state)
{
    struct tree *tree = calloc(1, sizeof *tree);

    assert_non_null(tree);
    strcpy(tree->root, "/tmp/cf-tune-XXXXXX");
    assert_non_null(mkdtemp(tree->root));
    tree->host = (struct tune_host){
        .root = tree->root, .instances = 2, .frames_bytes = GIB, .poller_cpu = -1};
    *state = tree;
    return 0;
}

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *where)
{
    (void)status;
    (void)type;
    (void)where;
    return remove(path);
}

static int tree_remove(void **state)
{
    struct tree *tree = *state;

    assert_int_equal(nftw(tree->root, remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
    free(tree);
    return 0;
}

/* Writes a file and makes the folders above it. */
static void put(const struct tree *tree, const char *path, const char *text)
{
    char full[512];
    FILE *file;

    snprintf(full, sizeof full, "%s%s", tree->root, path);
    for (char *slash = strchr(full + strlen(tree->root) + 1, '/'); slash != NULL;
         slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        (void)mkdir(full, 0700);
        *slash = '/';
    }
    file = fopen(full, "we");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static struct tune_finding look(const struct tree *tree, const char *name)
{
    struct tune_finding finding;

    for (size_t i = 0; i < tune_checks_count; i++) {
        if (strcmp(tune_checks[i].name, name) != 0)
            continue;
        tune_check_run(&tune_checks[i], &tree->host, &finding);
        assert_string_equal(finding.name, name);
        assert_true(finding.seen[0] != '\0');
        return finding;
    }
    fail_msg("no check %s", name);
    return (struct tune_finding){.name = NULL};
}

static void expect(const struct tree *tree, const char *name, enum tune_verdict verdict, const char *seen,
                   const char *mend)
{
    struct tune_finding finding = look(tree, name);

    if (finding.verdict != verdict || strstr(finding.seen, seen) == NULL ||
        (mend[0] == '\0' ? finding.mend[0] != '\0' : strstr(finding.mend, mend) == NULL))
        fail_msg("%s: %s: '%s' mend '%s'; expected %s: '%s' mend '%s'", name,
                 tune_verdict_name(finding.verdict), finding.seen, finding.mend, tune_verdict_name(verdict),
                 seen, mend);
}

static void an_empty_host_passes_or_has_none_of_it(void **state)
{
    struct tree *tree = *state;
    struct tune_finding finding;

    tune_host_find_nic(&tree->host);
    assert_string_equal(tree->host.nic, "");
    for (size_t i = 0; i < tune_checks_count; i++) {
        tune_check_run(&tune_checks[i], &tree->host, &finding);
        assert_in_range(finding.verdict, TUNE_PASS, TUNE_NONE);
        assert_string_equal(finding.mend, "");
    }
}

static void huge_pages_are_counted_for_all_instances_of_the_host(void **state)
{
    struct tree *tree = *state;

    put(tree, HUGE "nr_hugepages", "1030\n");
    put(tree, HUGE "free_hugepages", "1024\n"); /* two instances of 1 GiB */
    expect(tree, "hugepages", TUNE_PASS, "1024 of 1030", "");
    put(tree, HUGE "free_hugepages", "1023\n");
    expect(tree, "hugepages", TUNE_WARN, "1023 of 1030", "vm.nr_hugepages=1031"); /* 7 are others' */
    tree->host.needs_huge_pages = true;
    expect(tree, "hugepages", TUNE_FAIL, "take 1024", "vm.nr_hugepages=1031");
    tree->host.instances = 1;
    tree->host.frames_bytes = 1;
    put(tree, HUGE "free_hugepages", "1\n");
    expect(tree, "hugepages", TUNE_PASS, "take 1", "");
}

static void required_huge_pages_without_such_pages_fail(void **state)
{
    struct tree *tree = *state;

    tree->host.needs_huge_pages = true;
    expect(tree, "hugepages", TUNE_FAIL, "no pages of 2 MiB", "");
}

static void transparent_huge_pages_are_for_those_who_ask(void **state)
{
    struct tree *tree = *state;

    put(tree, THP "enabled", "always [madvise] never\n");
    put(tree, THP "shmem_enabled", "always within_size advise [never] deny force\n");
    expect(tree, "thp", TUNE_PASS, "madvise", "");
    expect(tree, "thp-shmem", TUNE_WARN, "never", "echo advise > /sys/");
    put(tree, THP "enabled", "[always] madvise never\n");
    expect(tree, "thp", TUNE_WARN, "always", "echo madvise > /sys/");
    put(tree, THP "enabled", "always madvise [never]\n");
    expect(tree, "thp", TUNE_WARN, "never", "echo madvise > /sys/");
    put(tree, HUGE "free_hugepages", "1024\n");
    expect(tree, "thp-shmem", TUNE_PASS, "enough pages are reserved", "");
    put(tree, THP "shmem_enabled", "always within_size [advise] never deny force\n");
    expect(tree, "thp-shmem", TUNE_PASS, "advise", "");
}

static void locked_memory_matters_with_an_rdma_device(void **state)
{
    struct tree *tree = *state;
    const char *limits = "Limit                     Soft Limit           Hard Limit           Units     \n"
                         "Max locked memory         %s              8388608              bytes     \n";
    char text[512];

    snprintf(text, sizeof text, limits, "8388608");
    put(tree, "/proc/self/limits", text);
    expect(tree, "memlock", TUNE_NONE, "8MiB", "");
    tree->host.is_rdma = true;
    expect(tree, "memlock", TUNE_FAIL, "frames of 1GiB", "tune-host --apply");
    snprintf(text, sizeof text, limits, "2147483648");
    put(tree, "/proc/self/limits", text);
    expect(tree, "memlock", TUNE_PASS, "2GiB", "");
    snprintf(text, sizeof text, limits, "1073741824"); /* the frames alone: queues do not fit */
    put(tree, "/proc/self/limits", text);
    expect(tree, "memlock", TUNE_FAIL, "1GiB", "ulimit");
    snprintf(text, sizeof text, limits, "unlimited");
    put(tree, "/proc/self/limits", text);
    expect(tree, "memlock", TUNE_PASS, "unlimited", "");
}

static void nodes_need_automatic_balancing_off(void **state)
{
    struct tree *tree = *state;

    put(tree, "/sys/devices/system/node/node0/cpulist", "0-7\n");
    put(tree, "/proc/sys/kernel/numa_balancing", "1\n");
    expect(tree, "numa", TUNE_PASS, "one node", "");
    put(tree, "/sys/devices/system/node/node1/cpulist", "8-15\n");
    expect(tree, "numa", TUNE_WARN, "2 nodes", "kernel.numa_balancing=0");
    put(tree, "/proc/sys/kernel/numa_balancing", "0\n");
    expect(tree, "numa", TUNE_PASS, "2 nodes", "");
}

static void siblings_frequency_sleep_and_clock(void **state)
{
    struct tree *tree = *state;

    put(tree, CPU "smt/active", "1\n");
    expect(tree, "smt", TUNE_WARN, "sibling", "smt/control");
    put(tree, CPU "smt/active", "0\n");
    expect(tree, "smt", TUNE_PASS, "one thread", "");
    put(tree, CPU "cpu0/cpufreq/scaling_governor", "performance\n");
    put(tree, CPU "cpu1/cpufreq/scaling_governor", "performance\n");
    expect(tree, "governor", TUNE_PASS, "all 2 cpus", "");
    put(tree, CPU "cpu1/cpufreq/scaling_governor", "schedutil\n");
    expect(tree, "governor", TUNE_WARN, "schedutil on 1 of 2", "cpupower frequency-set");
    put(tree, CPU "cpu0/cpuidle/state0/name", "POLL\n");
    put(tree, CPU "cpu0/cpuidle/state0/latency", "0\n");
    put(tree, CPU "cpu0/cpuidle/state1/name", "C1\n");
    put(tree, CPU "cpu0/cpuidle/state1/latency", "2\n");
    expect(tree, "c-states", TUNE_PASS, "C1", "");
    put(tree, CPU "cpu0/cpuidle/state2/name", "C6\n");
    put(tree, CPU "cpu0/cpuidle/state2/latency", "133\n");
    put(tree, CPU "cpu0/cpuidle/state2/disable", "0\n");
    expect(tree, "c-states", TUNE_WARN, "133 us", "cpupower idle-set -D 20");
    put(tree, CPU "cpu0/cpuidle/state2/disable", "1\n");
    expect(tree, "c-states", TUNE_PASS, "C1", "");
    put(tree, "/sys/module/haltpoll/parameters/guest_halt_poll_ns", "0\n");
    expect(tree, "halt-poll", TUNE_WARN, "polls for 0 us", "echo 200000 > ");
    put(tree, "/sys/module/haltpoll/parameters/guest_halt_poll_ns", "200000\n");
    expect(tree, "halt-poll", TUNE_PASS, "200 us", "");
    put(tree, "/sys/devices/system/clocksource/clocksource0/current_clocksource", "hpet\n");
    put(tree, "/sys/devices/system/clocksource/clocksource0/available_clocksource", "hpet acpi_pm\n");
    expect(tree, "clock", TUNE_WARN, "hpet", "");
    put(tree, "/sys/devices/system/clocksource/clocksource0/available_clocksource", "hpet tsc acpi_pm\n");
    expect(tree, "clock", TUNE_WARN, "hpet", "echo tsc > ");
    put(tree, "/sys/devices/system/clocksource/clocksource0/current_clocksource", "tsc\n");
    expect(tree, "clock", TUNE_PASS, "tsc", "");
}

static void put_device(struct tree *tree)
{
    put(tree, "/sys/devices/system/node/node0/cpulist", "0-7\n");
    put(tree, "/sys/devices/system/node/node1/cpulist", "8-15\n");
    put(tree, DEVICE "numa_node", "1\n");
    put(tree, DEVICE "local_cpulist", "8-15\n");
    put(tree, DEVICE "net/ens1/address", "\n");
    put(tree, "/sys/class/infiniband/mlx5_0/ports/1/link_layer", "Ethernet\n");
    put(tree, NET "mtu", "1500\n");
    tune_host_find_nic(&tree->host);
}

static void the_first_rdma_device_is_found_with_its_interface(void **state)
{
    struct tree *tree = *state;

    put_device(tree);
    assert_string_equal(tree->host.nic, "mlx5_0");
    assert_string_equal(tree->host.net, "ens1");
    assert_true(tree->host.is_rdma);
    strcpy(tree->host.nic, "mlx5_0/1"); /* with its port */
    tune_host_find_nic(&tree->host);
    assert_string_equal(tree->host.nic, "mlx5_0");
    expect(tree, "nic", TUNE_PASS, "node 1 (cpus 8-15)", "");
    tree->host.poller_cpu = 9;
    expect(tree, "nic", TUNE_PASS, "node 1", "");
    tree->host.poller_cpu = 3;
    expect(tree, "nic", TUNE_WARN, "polls on cpu 3", "--cpunodebind=1");
    put(tree, DEVICE "numa_node", "-1\n");
    expect(tree, "nic", TUNE_WARN, "near to no node", "");
    strcpy(tree->host.nic, "mlx5_9");
    expect(tree, "nic", TUNE_FAIL, "mlx5_9: there is no such device", "");
}

static void soft_roce_stands_on_its_parent(void **state)
{
    struct tree *tree = *state;

    put(tree, "/sys/class/infiniband/rxe0/parent", "eth7\n");
    put(tree, "/sys/class/net/eth7/mtu", "9000\n");
    tune_host_find_nic(&tree->host);
    assert_string_equal(tree->host.net, "eth7");
    expect(tree, "mtu", TUNE_PASS, "eth7: 9000", "");
}

static void interrupts_of_the_device_keep_off_the_poller(void **state)
{
    struct tree *tree = *state;

    put_device(tree);
    put(tree, DEVICE "msi_irqs/41", "msix\n");
    put(tree, DEVICE "msi_irqs/42", "msix\n");
    put(tree, "/proc/irq/41/smp_affinity_list", "0-15\n"); /* allowed everywhere, served on 8 */
    put(tree, "/proc/irq/41/effective_affinity_list", "8\n");
    put(tree, "/proc/irq/42/smp_affinity_list", "2,12-13\n");
    expect(tree, "irq", TUNE_PASS, "none of 2 of mlx5_0", "");
    tree->host.poller_cpu = 9;
    expect(tree, "irq", TUNE_PASS, "none of 2", "");
    tree->host.poller_cpu = 12;
    expect(tree, "irq", TUNE_WARN, "1 of 2 of mlx5_0 go to cpu 12", "/proc/irq/42/smp_affinity_list");
}

static void packets_carry_a_block_or_a_path_mtu(void **state)
{
    struct tree *tree = *state;

    put_device(tree);
    expect(tree, "mtu", TUNE_WARN, "ens1: 1500", "ip link set dev ens1 mtu 9000");
    put(tree, NET "mtu", "4200\n");
    expect(tree, "mtu", TUNE_PASS, "4200", "");
    put(tree, "/sys/class/infiniband/mlx5_0/ports/1/link_layer", "InfiniBand\n");
    put(tree, NET "mtu", "1500\n");
    expect(tree, "mtu", TUNE_NONE, "subnet manager", "");
    strcpy(tree->host.nic, "ens1"); /* no RDMA: the whole block */
    put(tree, NET "mtu", "4200\n");
    expect(tree, "mtu", TUNE_WARN, "4200", "mtu 9000");
}

static void roce_wants_pause_frames_or_congestion_notification(void **state)
{
    struct tree *tree = *state;

    expect(tree, "pause-ecn", TUNE_NONE, "no RoCE", "");
    put_device(tree);
    expect(tree, "pause-ecn", TUNE_NONE, "neither", "");
    tree->host.flow.is_known = true;
    expect(tree, "pause-ecn", TUNE_WARN, "ECN unknown", "ethtool -A ens1 rx on tx on");
    tree->host.flow.has_priority_pause = true;
    expect(tree, "pause-ecn", TUNE_WARN, "any class", "mlnx_qos -i ens1 --pfc");
    tree->host.flow.priority_pauses = 7;
    expect(tree, "pause-ecn", TUNE_PASS, "7 pauses of classes", "");
    tree->host.flow.priority_pauses = 0;
    put(tree, NET "ecn/roce_rp/enable/0", "0\n");
    put(tree, NET "ecn/roce_rp/enable/3", "1\n");
    put(tree, NET "ecn/roce_np/enable/3", "0\n");
    expect(tree, "pause-ecn", TUNE_WARN, "ECN on 1 of 2 classes sending, 0 of 1 receiving", "mlnx_qos");
    put(tree, NET "ecn/roce_np/enable/3", "1\n");
    expect(tree, "pause-ecn", TUNE_PASS, "1 of 1 receiving", "");
    put(tree, NET "ecn/roce_np/enable/3", "0\n");
    put(tree, "/sys/class/infiniband/mlx5_0/ports/1/link_layer", "InfiniBand\n"); /* credits of its own */
    expect(tree, "pause-ecn", TUNE_NONE, "no RoCE", "");
    put(tree, "/sys/class/infiniband/mlx5_0/ports/1/link_layer", "Ethernet\n");
    tree->host.flow.rx_pause = true;
    expect(tree, "pause-ecn", TUNE_PASS, "pause rx on tx off", "");
}

static void lists_of_cpus_are_read_as_the_kernel_writes_them(void **state)
{
    (void)state;
    assert_true(tune_list_has("0", 0));
    assert_true(tune_list_has("0-3,8", 8));
    assert_true(tune_list_has("0-3,8-11", 10));
    assert_false(tune_list_has("0-3,8-11", 7));
    assert_false(tune_list_has("0-3,8-11", 12));
    assert_false(tune_list_has("", 0));
    assert_false(tune_list_has("none", 0));
    assert_false(tune_list_has("1-", 1));
    assert_false(tune_list_has("2x,5", 5));
}

#define TREE_TEST(name) cmocka_unit_test_setup_teardown(name, tree_make, tree_remove)
int main(void)
{
    const struct CMUnitTest tests[] = {
        TREE_TEST(an_empty_host_passes_or_has_none_of_it),
        TREE_TEST(huge_pages_are_counted_for_all_instances_of_the_host),
        TREE_TEST(required_huge_pages_without_such_pages_fail),
        TREE_TEST(transparent_huge_pages_are_for_those_who_ask),
        TREE_TEST(locked_memory_matters_with_an_rdma_device),
        TREE_TEST(nodes_need_automatic_balancing_off),
        TREE_TEST(siblings_frequency_sleep_and_clock),
        TREE_TEST(the_first_rdma_device_is_found_with_its_interface),
        TREE_TEST(soft_roce_stands_on_its_parent),
        TREE_TEST(interrupts_of_the_device_keep_off_the_poller),
        TREE_TEST(packets_carry_a_block_or_a_path_mtu),
        TREE_TEST(roce_wants_pause_frames_or_congestion_notification),
        cmocka_unit_test(lists_of_cpus_are_read_as_the_kernel_writes_them),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
