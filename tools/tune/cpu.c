/* SPDX-License-Identifier: Apache-2.0 */
/* Checks of processors: nodes, threads of a core, frequency, sleep, halt polling, clock. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "tools/tune/tune.h"

/* Chosen: an idle state that takes longer to leave adds more to a wake-up than a message takes. */
#define IDLE_EXIT_US_MAX 20u
/* Measured: with this a futex wake-up in a guest falls from 77 to 7 us, a TCP round trip from 131 to 21 us. */
#define HALT_POLL_NS_MIN 200000u

void tune_look_numa(const struct tune_host *host, struct tune_finding *finding)
{
    uint32_t nodes = tune_each(host, "/sys/devices/system/node", "node", NULL, NULL);
    uint64_t balancing = 0;

    if (nodes < 2) {
        tune_say(finding, TUNE_PASS, "%s", nodes == 1 ? "one node" : "the kernel has no nodes");
        return;
    }
    if (tune_read_u64(host, &balancing, "/proc/sys/kernel/numa_balancing") && balancing != 0) {
        tune_say(finding, TUNE_WARN,
                 "%u nodes; the kernel moves pages between them by faults, also those bound by the plan's "
                 "preference",
                 nodes);
        tune_mend(finding, "sysctl -w kernel.numa_balancing=0");
        return;
    }
    tune_say(finding, TUNE_PASS, "%u nodes; automatic balancing is off", nodes);
}

void tune_look_smt(const struct tune_host *host, struct tune_finding *finding)
{
    uint64_t is_active;

    if (!tune_read_u64(host, &is_active, "/sys/devices/system/cpu/smt/active")) {
        tune_say(finding, TUNE_NONE, "the kernel does not say");
        return;
    }
    if (is_active == 0) {
        tune_say(finding, TUNE_PASS, "one thread a core");
        return;
    }
    tune_say(finding, TUNE_WARN,
             "on: the plan takes whole cores, but what else runs on a poller's sibling slows it");
    tune_mend(finding, "echo off > /sys/devices/system/cpu/smt/control");
}

struct governors {
    const struct tune_host *host;
    uint32_t known, others;
    char other[TUNE_NAME_BYTES];
};

static void on_cpu(void *arg, const char *name)
{
    struct governors *governors = arg;
    char governor[TUNE_NAME_BYTES];

    if (!tune_read(governors->host, governor, sizeof governor,
                   "/sys/devices/system/cpu/%s/cpufreq/scaling_governor", name))
        return;
    governors->known++;
    if (strcmp(governor, "performance") == 0)
        return;
    if (governors->others++ == 0)
        memcpy(governors->other, governor, sizeof governor);
}

void tune_look_governor(const struct tune_host *host, struct tune_finding *finding)
{
    struct governors governors = {.host = host};

    (void)tune_each(host, "/sys/devices/system/cpu", "cpu", on_cpu, &governors);
    if (governors.known == 0) {
        tune_say(finding, TUNE_NONE, "no frequency to govern here; in a guest the host decides");
    } else if (governors.others == 0) {
        tune_say(finding, TUNE_PASS, "performance on all %u cpus", governors.known);
    } else {
        tune_say(finding, TUNE_WARN, "%s on %u of %u cpus", governors.other, governors.others,
                 governors.known);
        tune_mend(finding, "cpupower frequency-set -g performance");
    }
}

struct idle_states {
    const struct tune_host *host;
    uint32_t known;
    uint64_t deepest_us;
    char deepest[TUNE_NAME_BYTES];
};

static void on_state(void *arg, const char *name)
{
    struct idle_states *states = arg;
    uint64_t exit_us, is_disabled = 0;
    const char *folder = "/sys/devices/system/cpu/cpu0/cpuidle";

    if (!tune_read_u64(states->host, &exit_us, "%s/%s/latency", folder, name))
        return;
    states->known++;
    (void)tune_read_u64(states->host, &is_disabled, "%s/%s/disable", folder, name);
    if (is_disabled != 0 || exit_us < states->deepest_us)
        return;
    states->deepest_us = exit_us;
    if (!tune_read(states->host, states->deepest, sizeof states->deepest, "%s/%s/name", folder, name))
        snprintf(states->deepest, sizeof states->deepest, "%s", name);
}

void tune_look_idle(const struct tune_host *host, struct tune_finding *finding)
{
    struct idle_states states = {.host = host};

    (void)tune_each(host, "/sys/devices/system/cpu/cpu0/cpuidle", "state", on_state, &states);
    if (states.known == 0) {
        tune_say(finding, TUNE_NONE, "the kernel manages no idle states; in a guest the host does");
    } else if (states.deepest_us <= IDLE_EXIT_US_MAX) {
        tune_say(finding, TUNE_PASS, "the deepest one in use, %s, is left in %" PRIu64 " us", states.deepest,
                 states.deepest_us);
    } else {
        tune_say(finding, TUNE_WARN, "%s is in use: waking up from it takes %" PRIu64 " us", states.deepest,
                 states.deepest_us);
        tune_mend(finding, "cpupower idle-set -D %u", IDLE_EXIT_US_MAX);
    }
}

void tune_look_haltpoll(const struct tune_host *host, struct tune_finding *finding)
{
    uint64_t poll_ns;

    if (!tune_read_u64(host, &poll_ns, "/sys/module/haltpoll/parameters/guest_halt_poll_ns")) {
        tune_say(finding, TUNE_NONE, "no such governor: not a guest, or a kernel without it");
        return;
    }
    if (poll_ns >= HALT_POLL_NS_MIN) {
        tune_say(finding, TUNE_PASS, "a cpu that goes idle polls for up to %" PRIu64 " us", poll_ns / 1000);
        return;
    }
    tune_say(finding, TUNE_WARN,
             "a cpu that goes idle polls for %" PRIu64 " us, then halts; the host wakes it slowly",
             poll_ns / 1000);
    tune_mend(finding, "echo %u > /sys/module/haltpoll/parameters/guest_halt_poll_ns", HALT_POLL_NS_MIN);
}

void tune_look_clock(const struct tune_host *host, struct tune_finding *finding)
{
    static const char *const fast[] = {"tsc", "kvm-clock", "hyperv_clocksource_tsc_page", "arch_sys_counter"};
    const char *folder = "/sys/devices/system/clocksource/clocksource0";
    char source[TUNE_NAME_BYTES], available[TUNE_TEXT_BYTES] = "";

    if (!tune_read(host, source, sizeof source, "%s/current_clocksource", folder)) {
        tune_say(finding, TUNE_NONE, "the kernel does not say");
        return;
    }
    for (size_t i = 0; i < CF_COUNTOF(fast); i++) {
        if (strcmp(source, fast[i]) == 0) {
            tune_say(finding, TUNE_PASS, "%s", source);
            return;
        }
    }
    tune_say(finding, TUNE_WARN, "%s: reading the time is a system call, or a slow device", source);
    (void)tune_read(host, available, sizeof available, "%s/available_clocksource", folder);
    if (strstr(available, "tsc") != NULL)
        tune_mend(finding, "echo tsc > %s/current_clocksource", folder);
}
