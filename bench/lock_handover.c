/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Question: how often does a lock that three instances want in EX all the time change hands over shm, and how fairly?
 *
 * Processes, an instance each, with one client that requests the lock, looks who had it last, and unlocks. Prints
 * hand-overs (grants after another instance's) and grants a second, both shares by Jain's index, (sum x)^2 / (n * sum x^2):
 * 1 = all instances get the same, 1/n = one gets all; and the wait of one request.
 *
 *   lock_handover [-n INSTANCES] [-s SECONDS] [-w busy|adaptive|...] [-c CPU,CPU,..] [-j]
 */
#include <getopt.h>
#include <inttypes.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cachefusion/cachefusion.h>

#include "base/clock.h"
#include "base/hist.h"
#include "bench/figures.h"

#define INSTANCES_MAX 8u
#define WARM_UP_NS (CF_NS_PER_S / 5)

struct settings {
    uint32_t instances;
    double seconds;
    const char *waiting;
    int cpu[INSTANCES_MAX]; /* -1: wherever */
    bool json;
    const char *directory;
};

/* Between the processes. */
struct shared {
    CF_ALIGNED(CF_CACHE_LINE) _Atomic uint32_t last; /* who held the lock last; changed under the lock */
    CF_ALIGNED(CF_CACHE_LINE) _Atomic uint32_t ready;
    _Atomic uint64_t begin_ns, end_ns;
    struct {
        CF_ALIGNED(CF_CACHE_LINE) uint64_t grants;
        uint64_t handed; /* of these, after another instance's */
        uint64_t requests, resends;
        struct cf_hist wait;
    } of[INSTANCES_MAX];
};

static void check(enum cf_rc rc, const char *what, const struct cf_error *error)
{
    if (rc == CF_OK)
        return;
    fprintf(stderr, "%s: %s: %s\n", what, cf_rc_name(rc), error ? error->text : "");
    exit(3);
}

static void pin(int cpu)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    if (cpu < 0)
        return;
    CPU_SET(cpu, &set);
    if (sched_setaffinity(0, sizeof set, &set) != 0)
        perror("sched_setaffinity");
}

static struct cf_instance *instance_open(const struct settings *settings, uint32_t node)
{
    struct cf_instance *instance;
    struct cf_options options;
    struct cf_error error;
    char text[300];

    cf_options_init(&options);
    snprintf(text, sizeof text, "shm:%s", settings->directory);
    check(cf_options_set(&options, "transport", text, &error), "transport", &error);
    check(cf_options_set(&options, "waiting", settings->waiting, &error), "waiting", &error);
    check(cf_options_set(&options, "placement", "compact", &error), "placement", &error);
    options.node = node;
    options.nodes = settings->instances;
    options.cache_bytes = 1024 * 8192;
    check(cf_open(&options, NULL, &instance, &error), "open", &error);
    return instance;
}

/* All begin together, when the last one is there. */
static void meet(const struct settings *settings, struct shared *shared)
{
    uint64_t begin_ns;

    if (atomic_fetch_add(&shared->ready, 1) + 1 == settings->instances) {
        begin_ns = cf_now_ns() + WARM_UP_NS;
        atomic_store(&shared->end_ns, begin_ns + (uint64_t)(settings->seconds * CF_NS_PER_S));
        atomic_store(&shared->begin_ns, begin_ns);
    }
    while (atomic_load(&shared->begin_ns) == 0)
        sched_yield();
}

static void take_turns(struct cf_session *session, struct cf_lock *lock, struct shared *shared, uint32_t node)
{
    uint64_t begin_ns = atomic_load(&shared->begin_ns), end_ns = atomic_load(&shared->end_ns);
    uint64_t asked_ns = cf_now_ns(), got_ns;
    struct cf_claim claim;
    bool is_handed;

    while (asked_ns < end_ns) {
        check(cf_lock_request(session, lock, CF_LOCK_EX, 0, CF_FOREVER, &claim), "request",
              cf_session_error(session));
        got_ns = cf_now_ns();
        is_handed = atomic_exchange_explicit(&shared->last, node + 1, memory_order_relaxed) != node + 1;
        check(cf_lock_unlock(session, &claim, 0, NULL), "unlock", cf_session_error(session));
        if (got_ns >= begin_ns && got_ns < end_ns) {
            shared->of[node].grants++;
            shared->of[node].handed += is_handed;
            cf_hist_add(&shared->of[node].wait, got_ns - asked_ns);
        }
        asked_ns = cf_now_ns();
    }
}

static void member(const struct settings *settings, struct shared *shared, uint32_t node)
{
    struct cf_stats stats = {.size = sizeof stats};
    struct cf_instance *instance;
    struct cf_session *session;
    struct cf_lock *lock;

    pin(settings->cpu[node]);
    instance = instance_open(settings, node);
    cf_hist_init(&shared->of[node].wait);
    check(cf_session_open(instance, &session), "session", NULL);
    check(cf_lock_open(session, "contended", 9, &lock), "lock", cf_session_error(session));
    meet(settings, shared);
    take_turns(session, lock, shared, node);
    check(cf_stats_read(instance, &stats), "stats", NULL);
    shared->of[node].requests = stats.lock_requests;
    shared->of[node].resends = stats.lock_resends;
    check(cf_lock_close(session, &lock), "lock close", cf_session_error(session));
    check(cf_session_close(&session), "session close", NULL);
    check(cf_close(&instance), "close", NULL);
}

static double jain(const uint64_t *x, uint32_t count)
{
    double sum = 0, squares = 0;

    for (uint32_t i = 0; i < count; i++) {
        sum += (double)x[i];
        squares += (double)x[i] * (double)x[i];
    }
    return squares > 0 ? sum * sum / (count * squares) : 0;
}

static void report(const struct settings *settings, const struct shared *shared)
{
    struct cf_hist *wait = malloc(sizeof *wait);
    uint64_t handed[INSTANCES_MAX], grants[INSTANCES_MAX], all_handed = 0, all = 0, resends = 0;
    uint32_t n;

    if (wait == NULL)
        exit(3);
    cf_hist_init(wait);
    for (n = 0; n < settings->instances; n++) {
        all_handed += handed[n] = shared->of[n].handed;
        all += grants[n] = shared->of[n].grants;
        resends += shared->of[n].resends;
        cf_hist_merge(wait, &shared->of[n].wait);
        fprintf(stderr, "instance %u: %" PRIu64 " grants, %" PRIu64 " handed over\n", n, grants[n],
                handed[n]);
    }
    printf(settings->json ? "{\"instances\":%u,\"waiting\":\"%s\",\"handovers_per_s\":%.0f,\"grants_per_s\":"
                            "%.0f,\"jain_handovers\":%.4f,\"jain_grants\":%.4f,\"wait_p50\":%" PRIu64
                            ",\"wait_p99\":%" PRIu64 ",\"wait_max\":%" PRIu64 ",\"resends\":%" PRIu64 "}\n"
                          : "%u instances, %s waiting: %.0f hand-overs a second, %.0f grants; fairness %.4f "
                            "by hand-overs, %.4f by grants; wait p50 %" PRIu64 " ns, p99 %" PRIu64
                            ", max %" PRIu64 "; %" PRIu64 " messages said again\n",
           settings->instances, settings->waiting, (double)all_handed / settings->seconds,
           (double)all / settings->seconds, jain(handed, n), jain(grants, n), cf_hist_percentile(wait, 0.5),
           cf_hist_percentile(wait, 0.99), cf_hist_max(wait), resends);
    if (!settings->json) {
        bench_figure("handovers", (double)all_handed / settings->seconds, "1/s");
        bench_distribution("lock-wait", wait);
    }
    free(wait);
}

static bool cpus_parse(struct settings *settings, char *text)
{
    char *save = NULL, *word = strtok_r(text, ",", &save);

    for (uint32_t n = 0; n < INSTANCES_MAX && word != NULL; n++, word = strtok_r(NULL, ",", &save))
        settings->cpu[n] = atoi(word);
    return word == NULL;
}

static bool settings_parse(struct settings *settings, int argc, char **argv)
{
    int option;

    for (uint32_t n = 0; n < INSTANCES_MAX; n++)
        settings->cpu[n] = -1;
    while ((option = getopt(argc, argv, "n:s:w:c:j")) != -1) {
        if (option == 'n')
            settings->instances = (uint32_t)strtoul(optarg, NULL, 10);
        else if (option == 's')
            settings->seconds = strtod(optarg, NULL);
        else if (option == 'w')
            settings->waiting = optarg;
        else if (option == 'j')
            settings->json = true;
        else if (option != 'c' || !cpus_parse(settings, optarg))
            return false;
    }
    return settings->instances >= 1 && settings->instances <= INSTANCES_MAX && settings->seconds > 0;
}

int main(int argc, char **argv)
{
    struct settings settings = {.instances = 3, .seconds = 3, .waiting = "adaptive"};
    char directory[] = "/dev/shm/cf-handover-XXXXXX", command[64];
    struct shared *shared;
    int status, failed = 0;
    uint32_t n;

    if (!settings_parse(&settings, argc, argv))
        return 2;
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED || mkdtemp(directory) == NULL)
        return 3;
    settings.directory = directory;
    for (n = 0; n < settings.instances; n++)
        if (fork() == 0) {
            member(&settings, shared, n);
            exit(0);
        }
    while (wait(&status) > 0)
        failed |= status;
    if (failed == 0)
        report(&settings, shared);
    snprintf(command, sizeof command, "rm -rf '%s'", directory);
    return system(command) != 0 || failed != 0;
}
