/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Three instances, a process each, whose threads take numbers of one sequence all the time; one is killed (SIGKILL) in
 * the middle, the others stop. Whatever was handed out until then, by the dead one too: no number twice, no more missing
 * than caches held and calls of the dead were under way, and, ordered, each above all that were handed out before its
 * call began. What was handed out is marked in memory that all share, so that it outlives who got it.
 */
#include <ftw.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cachefusion/cachefusion.h>

#include "base/assert.h"
#include "base/clock.h"

#define NODES 3u
#define THREADS 2u
#define CACHE 37u
#define EPISODES 4u
#define EPISODES_FULL 60u
/* Each has taken so many, and a few more, before one is killed. */
#define NUMBERS_MIN 400u
#define NUMBERS_MAX (1u << 26)
#define ALIVE_S_MAX 60u

struct shared {
    _Atomic uint64_t highest; /* of all that were handed out; one that is killed may not have said its last */
    _Atomic uint64_t twice, not_above, beyond;
    _Atomic uint64_t taken[NODES];
    _Atomic uint64_t map[NUMBERS_MAX / 64]; /* bit i: number i + 1 was handed out */
};

struct taker {
    struct shared *shared;
    struct cf_instance *instance;
    struct cf_sequence *sequence;
    uint32_t node;
    bool is_ordered;
    int told; /* written to once, when enough have been taken */
    enum cf_rc rc;
};

static void mark(struct shared *shared, uint64_t number)
{
    uint64_t at = number - 1, highest = atomic_load(&shared->highest);

    if (number == 0 || at >= NUMBERS_MAX) {
        atomic_fetch_add(&shared->beyond, 1);
        return;
    }
    if (atomic_fetch_or(&shared->map[at / 64], UINT64_C(1) << (at % 64)) >> (at % 64) & 1)
        atomic_fetch_add(&shared->twice, 1);
    while (highest < number && !atomic_compare_exchange_weak(&shared->highest, &highest, number))
        ;
}

static void *take_main(void *arg)
{
    struct taker *taker = arg;
    struct shared *shared = taker->shared;
    struct cf_session *session = NULL;
    uint64_t before, number = 0;

    taker->rc = cf_session_open(taker->instance, &session);
    while (taker->rc == CF_OK) {
        before = atomic_load(&shared->highest);
        taker->rc = cf_sequence_next(session, taker->sequence, CF_FOREVER, &number);
        if (taker->rc != CF_OK)
            break;
        if (taker->is_ordered && number <= before)
            atomic_fetch_add(&shared->not_above, 1);
        mark(shared, number);
        if (atomic_fetch_add(&shared->taken[taker->node], 1) == NUMBERS_MIN)
            cf_assert(write(taker->told, "", 1) == 1);
    }
    return NULL;
}

/* An instance, until one dies: a peer that is lost is how it ends, or the value that was lost with it. */
static void live(struct shared *shared, const char *directory, uint32_t node, bool is_ordered, int told)
{
    struct cf_sequence_options sequence;
    struct taker takers[THREADS];
    pthread_t threads[THREADS];
    struct cf_session *session;
    struct cf_options options;
    struct cf_error error = {0};

    alarm(ALIVE_S_MAX);
    cf_options_init(&options);
    snprintf(options.transport, sizeof options.transport, "shm:%s", directory);
    options.node = node;
    options.nodes = NODES;
    options.cache_bytes = 0;
    options.cache_2k_bytes = 1 << 17;
    options.outstanding = 8;
    options.sessions = THREADS + 1;
    options.log = 0;
    takers[0] = (struct taker){.shared = shared, .node = node, .is_ordered = is_ordered, .told = told};
    if (cf_open(&options, NULL, &takers[0].instance, &error) != CF_OK) {
        fprintf(stderr, "node %u: %s\n", node, error.text);
        _exit(2);
    }
    cf_sequence_options_init(&sequence);
    sequence.cache = CACHE;
    sequence.is_ordered = is_ordered;
    if (cf_session_open(takers[0].instance, &session) != CF_OK ||
        cf_sequence_open(session, "numbers", 7, &sequence, &takers[0].sequence) != CF_OK)
        _exit(3);
    for (uint32_t t = 0; t < THREADS; t++) {
        takers[t] = takers[0];
        cf_assert(pthread_create(&threads[t], NULL, take_main, &takers[t]) == 0);
    }
    for (uint32_t t = 0; t < THREADS; t++) {
        cf_assert(pthread_join(threads[t], NULL) == 0);
        if (cf_rc_class(takers[t].rc) == CF_CLASS_PEER || takers[t].rc == CF_CORRUPT)
            continue;
        fprintf(stderr, "node %u: %s\n", node, cf_rc_name(takers[t].rc));
        _exit(4);
    }
    _exit(0);
}

static int forget(const char *path, const struct stat *status, int kind, struct FTW *where)
{
    (void)status;
    (void)kind;
    (void)where;
    return remove(path);
}

static void judge(const struct shared *shared, uint32_t episode, bool is_ordered, bool *is_good)
{
    uint64_t highest = 0, count = 0;
    uint64_t allowed = THREADS + (is_ordered ? 0 : NODES * CACHE);

    for (uint64_t i = 0; i < NUMBERS_MAX / 64; i++) {
        uint64_t bits = atomic_load_explicit(&shared->map[i], memory_order_relaxed);

        count += (uint64_t)__builtin_popcountll(bits);
        if (bits != 0)
            highest = i * 64 + 64 - (uint64_t)__builtin_clzll(bits);
    }
    printf("episode %u, %s: node %u killed; %llu numbers to %llu, %llu missing of %llu that may be\n",
           episode, is_ordered ? "ordered" : "not ordered", episode % NODES, (unsigned long long)count,
           (unsigned long long)highest, (unsigned long long)(highest - count), (unsigned long long)allowed);
    if (atomic_load(&shared->twice) == 0 && atomic_load(&shared->not_above) == 0 &&
        atomic_load(&shared->beyond) == 0 && count > NODES * NUMBERS_MIN && highest - count <= allowed)
        return;
    fprintf(stderr, "%llu twice, %llu not above those before, %llu out of range\n",
            (unsigned long long)atomic_load(&shared->twice),
            (unsigned long long)atomic_load(&shared->not_above),
            (unsigned long long)atomic_load(&shared->beyond));
    *is_good = false;
}

static bool run(uint32_t episode)
{
    bool is_ordered = episode % 2 != 0, is_good = true;
    uint32_t victim = episode % NODES;
    char directory[] = "/dev/shm/cf-stress-XXXXXX", byte;
    struct shared *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE,
                                 MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    int told[2], status;
    pid_t pids[NODES];

    cf_assert(shared != MAP_FAILED && mkdtemp(directory) != NULL && pipe(told) == 0);
    for (uint32_t n = 0; n < NODES; n++) {
        pids[n] = fork();
        cf_assert(pids[n] >= 0);
        if (pids[n] == 0) {
            close(told[0]);
            live(shared, directory, n, is_ordered, told[1]);
        }
    }
    close(told[1]);
    for (uint32_t n = 0; n < NODES && is_good; n++)
        is_good = read(told[0], &byte, 1) == 1;
    if (!is_good)
        fprintf(stderr, "all ended by themselves\n");
    cf_assert(kill(pids[victim], SIGKILL) == 0);
    for (uint32_t n = 0; n < NODES; n++) {
        cf_assert(waitpid(pids[n], &status, 0) == pids[n]);
        if (n == victim ? WIFSIGNALED(status) : WIFEXITED(status) && WEXITSTATUS(status) == 0)
            continue;
        fprintf(stderr, "node %u ended with status %x\n", n, (unsigned)status);
        is_good = false;
    }
    judge(shared, episode, is_ordered, &is_good);
    close(told[0]);
    (void)nftw(directory, forget, 8, FTW_DEPTH | FTW_PHYS);
    munmap(shared, sizeof *shared);
    return is_good;
}

int main(void)
{
    const char *full = getenv("FULL");
    uint32_t episodes = full && strcmp(full, "1") == 0 ? EPISODES_FULL : EPISODES;
    bool is_good = true;

    for (uint32_t episode = 0; episode < episodes && is_good; episode++)
        is_good = run(episode);
    return is_good ? 0 : 1;
}
