/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sequence: every client takes numbers of one sequence, all the time. Each instance marks what its clients got in a map
 * of bits, which the launcher puts together: no number was handed out twice, and below the highest one there are no more
 * missing than the caches may hold. Ordered: a client looks up the highest number that any client had before it asks,
 * in memory that the instances share (on several hosts: that the clients of an instance share), and must get a higher one.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "tools/workload/table.h"
#include "tools/workload/workload.h"

#define NAME "workload sequence"
#define FIRST 1u
/* Bits of a map. Its pages are taken when they are first written. */
#define NUMBERS_MAX (UINT64_C(1) << 32)
#define MAP_BYTES (NUMBERS_MAX / 8)
#define PATH_BYTES (WL_SIDE_BYTES + 32)

enum { NUMBERS, TWICE, NOT_ABOVE };

/* plan->own */
struct sequence {
    struct cf_sequence *sequence;
    _Atomic uint64_t *map;     /* [MAP_BYTES / 8] bit i: number FIRST + i was handed out here */
    _Atomic uint64_t *highest; /* of all that were handed out, as far as instances share memory */
};

static char *side_path(const struct wl_plan *plan, uint32_t node, char path[PATH_BYTES])
{
    snprintf(path, PATH_BYTES, "%s.numbers%u", plan->side, node);
    return path;
}

static enum cf_rc mark(struct wl_client *client, struct sequence *own, uint64_t number)
{
    uint64_t at = number - FIRST, bit = UINT64_C(1) << (at % 64);

    if (number < FIRST || at >= NUMBERS_MAX)
        return wl_fail(client, CF_RANGE,
                       "number %llu: a run keeps account of 1 to 2^32; give fewer --seconds",
                       (unsigned long long)number);
    client->tally[TWICE] += (atomic_fetch_or_explicit(&own->map[at / 64], bit, memory_order_relaxed) & bit) !=
                            0;
    client->tally[NUMBERS]++;
    return CF_OK;
}

/* Acquire and release: who sees a number as the highest asks after it was handed out. */
static void raise_highest(struct sequence *own, uint64_t number)
{
    uint64_t highest = atomic_load_explicit(own->highest, memory_order_relaxed);

    while (highest < number &&
           !atomic_compare_exchange_weak_explicit(own->highest, &highest, number, memory_order_acq_rel,
                                                  memory_order_relaxed))
        ;
}

static enum cf_rc take(struct wl_client *client, struct sequence *own)
{
    bool is_ordered = client->plan->is_ordered;
    uint64_t before = is_ordered ? atomic_load_explicit(own->highest, memory_order_acquire) : 0, number;
    enum cf_rc rc;

    for (uint32_t tries = 1;; tries++) {
        rc = cf_sequence_next(client->session, own->sequence, cf_now_ns() + WL_TRY_NS, &number);
        if (rc == CF_OK)
            break;
        if (!wl_again(rc, tries))
            return wl_call_failed(client, rc, "next number", "client", client->index);
    }
    if (is_ordered) {
        client->tally[NOT_ABOVE] += number <= before;
        raise_highest(own, number);
    }
    return mark(client, own, number);
}

static enum cf_rc sequence_client(struct wl_client *client)
{
    enum cf_rc rc = CF_OK;

    while (rc == CF_OK && !wl_stopped(client)) {
        uint64_t started_ns = cf_now_ns();

        rc = take(client, client->plan->own);
        if (rc == CF_OK)
            wl_done(client, started_ns);
    }
    return rc;
}

/* ------------------------------------------------------------------ before and after */

static void *map_file(const char *path, size_t bytes)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600), rc;
    void *memory = MAP_FAILED;

    if (fd < 0)
        return NULL;
    rc = posix_fallocate(fd, 0, (off_t)bytes);
    if (rc == 0)
        memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    else
        errno = rc;
    close(fd);
    return memory == MAP_FAILED ? NULL : memory;
}

static enum cf_rc sequence_begin(struct wl_plan *plan, struct wl_client *caretaker)
{
    struct sequence *own = calloc(1, sizeof *own);
    struct cf_sequence_options options;
    char path[PATH_BYTES];
    enum cf_rc rc;
    void *map;

    if (own == NULL)
        return wl_fail(caretaker, CF_MEMORY, "no memory for a sequence");
    plan->own = own;
    map = mmap(NULL, MAP_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    own->map = map == MAP_FAILED ? NULL : map;
    side_path(plan, plan->is_spread ? plan->node : 0, path);
    strncat(path, ".highest", sizeof path - strlen(path) - 1);
    own->highest = map_file(path, sizeof *own->highest);
    if (own->map == NULL || own->highest == NULL)
        return wl_fail(caretaker, CF_SYSTEM, "%s: %m", own->map ? path : "map of the numbers");
    cf_sequence_options_init(&options);
    options.first = FIRST;
    options.cache = plan->numbers;
    options.is_ordered = plan->is_ordered;
    rc = cf_sequence_open(caretaker->session, NAME, strlen(NAME), &options, &own->sequence);
    return rc == CF_OK ? CF_OK : wl_call_failed(caretaker, rc, "open", "sequence", 0);
}

/* The map of this instance's numbers, for the launcher, as far as there are any. */
static enum cf_rc sequence_look(struct wl_client *caretaker, struct wl_sums *sums)
{
    const struct sequence *own = caretaker->plan->own;
    uint64_t used = MAP_BYTES / 8, highest = 0;
    const uint64_t *map = (const uint64_t *)(uintptr_t)own->map; /* the clients have ended */
    char path[PATH_BYTES];
    FILE *file;
    bool is_whole;

    (void)sums;
    /* The next number is above all of ours that were handed out; it is this instance's last. */
    if (cf_sequence_next(caretaker->session, own->sequence, cf_now_ns() + WL_TRY_NS, &highest) != CF_OK)
        return wl_fail(caretaker, CF_TIMEOUT, "%s", cf_session_error(caretaker->session)->text);
    if (highest - FIRST < NUMBERS_MAX)
        used = (highest - FIRST) / 64 + 1;
    side_path(caretaker->plan, caretaker->plan->node, path);
    file = fopen(path, "we");
    if (file == NULL)
        return wl_fail(caretaker, CF_SYSTEM, "%s: %m", path);
    is_whole = fwrite(map, sizeof *map, used, file) == used;
    if (fclose(file) != 0 || !is_whole)
        return wl_fail(caretaker, CF_SYSTEM, "%s: %m", path);
    return CF_OK;
}

static enum cf_rc sequence_end(struct wl_plan *plan, struct wl_client *caretaker)
{
    struct sequence *own = plan->own;
    enum cf_rc rc = CF_OK;

    if (own->sequence && cf_sequence_close(caretaker->session, &own->sequence) != CF_OK)
        rc = wl_call_failed(caretaker, CF_BUSY, "close", "sequence", 0);
    if (own->map)
        munmap(own->map, MAP_BYTES);
    if (own->highest)
        munmap(own->highest, sizeof *own->highest);
    free(own);
    return rc;
}

/* ------------------------------------------------------------------ the verdict */

struct found {
    uint64_t handed_out, twice, highest;
    uint64_t longest_gap;
};

/* The words of one map, mapped; *count_out of them. NULL: errno. */
static uint64_t *map_load(const char *path, uint64_t *count_out)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    void *map = MAP_FAILED;
    struct stat status;

    if (fd >= 0 && fstat(fd, &status) == 0)
        map = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (fd >= 0)
        close(fd);
    if (map == MAP_FAILED)
        return NULL;
    *count_out = (uint64_t)status.st_size / sizeof(uint64_t);
    return map;
}

/* What the word at `at` of all maps together tells. */
static void look_at_word(struct found *found, uint64_t at, uint64_t any, uint64_t twice, uint64_t *gap)
{
    found->handed_out += (uint64_t)__builtin_popcountll(any);
    found->twice += (uint64_t)__builtin_popcountll(twice);
    if (any == UINT64_MAX && *gap == 0) {
        found->highest = FIRST + at * 64 + 63;
        return;
    }
    for (uint32_t bit = 0; bit < 64; bit++) {
        if ((any >> bit & 1) == 0) {
            (*gap)++;
            continue;
        }
        found->longest_gap = *gap > found->longest_gap ? *gap : found->longest_gap;
        *gap = 0;
        found->highest = FIRST + at * 64 + bit;
    }
}

static bool find(const struct wl_evidence *evidence, struct found *found, char *text, size_t text_bytes)
{
    uint32_t nodes = evidence->plan->nodes, n;
    uint64_t *map[CF_NODES_MAX], words[CF_NODES_MAX], most = 0, gap = 0;
    char path[PATH_BYTES];
    bool is_there = true;

    for (n = 0; n < nodes && is_there; n++) {
        map[n] = map_load(side_path(evidence->plan, n, path), &words[n]);
        is_there = map[n] != NULL;
        if (is_there && words[n] > most)
            most = words[n];
    }
    if (!is_there)
        snprintf(text, text_bytes, "what instance %u got: %s: %s", --n, path, strerror(errno));
    for (uint64_t at = 0; is_there && at < most; at++) {
        uint64_t any = 0, twice = 0;

        for (uint32_t k = 0; k < nodes; k++)
            if (at < words[k]) {
                twice |= any & map[k][at];
                any |= map[k][at];
            }
        look_at_word(found, at, any, twice, &gap);
    }
    while (n-- > 0)
        munmap(map[n], words[n] * sizeof(uint64_t));
    return is_there;
}

static void figures(const struct wl_evidence *evidence, const struct found *found, uint64_t missing)
{
    const uint64_t *tally = evidence->tally;

    wl_ratio(evidence, "messages_per_number", "messages a number",
             evidence->ops ? (double)evidence->stats->messages_sent / (double)evidence->ops : 0);
    wl_count(evidence, "highest", "highest number", found->highest);
    wl_count(evidence, "duplicates", "handed out twice", found->twice + tally[TWICE]);
    wl_count(evidence, "missing", "missing numbers", missing);
    wl_count(evidence, "longest_gap", "longest gap", found->longest_gap);
    wl_count(evidence, "out_of_order", "not above before", tally[NOT_ABOVE]);
}

static bool sequence_judge(const struct wl_evidence *evidence, char *text, size_t text_bytes)
{
    const struct wl_plan *plan = evidence->plan;
    const uint64_t *tally = evidence->tally;
    uint64_t allowed = plan->is_ordered ? 0 : (uint64_t)plan->numbers * plan->nodes, missing;
    struct found found = {0};

    if (!find(evidence, &found, text, text_bytes))
        return false;
    missing = found.handed_out == 0 ? 0 : found.highest - FIRST + 1 - found.handed_out;
    figures(evidence, &found, missing);
    if (found.twice + tally[TWICE] != 0)
        snprintf(text, text_bytes, "%llu numbers were handed out twice",
                 (unsigned long long)(found.twice + tally[TWICE]));
    else if (found.handed_out != tally[NUMBERS])
        snprintf(text, text_bytes, "the clients got %llu numbers, the maps have %llu",
                 (unsigned long long)tally[NUMBERS], (unsigned long long)found.handed_out);
    else if (missing > allowed)
        snprintf(text, text_bytes, "%llu numbers are missing, caches explain %llu",
                 (unsigned long long)missing, (unsigned long long)allowed);
    else if (tally[NOT_ABOVE] != 0)
        snprintf(text, text_bytes, "%llu numbers were not above one that had been handed out before",
                 (unsigned long long)tally[NOT_ABOVE]);
    else {
        snprintf(text, text_bytes, "%llu numbers to %llu, none twice; %llu missing, caches explain %llu%s",
                 (unsigned long long)found.handed_out, (unsigned long long)found.highest,
                 (unsigned long long)missing, (unsigned long long)allowed,
                 plan->is_ordered ? "; each above all before it" : "");
        return true;
    }
    return false;
}

const struct workload workload_sequence = {
    .name = "sequence",
    .summary = "all clients take numbers of one sequence; none twice, none missing but in caches",
    .op = "numbers",
    .timed = "one number",
    .has_side = true,
    .blocks_min = 2,
    .blocks_default = 16,
    .blocks_used = wl_no_blocks,
    .inspect = wl_inspect_nothing,
    .begin = sequence_begin,
    .client = sequence_client,
    .look = sequence_look,
    .end = sequence_end,
    .judge = sequence_judge,
};
