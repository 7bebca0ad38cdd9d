/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs a fuzz target without libFuzzer: every file of the corpus, then seeded mutations of it and of inputs that
 * the target makes. A run is known by the seed and its number; both are printed when it fails.
 *
 *   NAME_fuzz [--seed S] [--runs N] [--only RUN] [FILE...]      with files: these alone
 */
#include <dirent.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/units.h"
#include "tests/fuzz/fuzz.h"

#define CORPUS_MAX 256u
#define MUTATIONS_MAX 5u
#define RUNS_FULL_FACTOR 20u

struct sample {
    uint8_t bytes[FUZZ_BYTES_MAX];
    size_t length;
};

static struct {
    uint64_t seed, runs, only;
    bool has_only;
    uint32_t corpus_count;
    struct sample corpus[CORPUS_MAX];
    char repro[160]; /* of the run under way, for the last words */
    volatile size_t repro_bytes;
} driver;

static void last_words(void)
{
    ssize_t written = write(STDERR_FILENO, driver.repro, driver.repro_bytes);

    (void)written; /* the process ends by the failure in any case */
}

static void on_abort(int number)
{
    last_words();
    signal(number, SIG_DFL);
    raise(number);
}

/* Of the sanitizers, where they are linked. */
extern void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));

static void announce(const char *what, uint64_t run)
{
    driver.repro_bytes = 0;
    driver.repro_bytes = (size_t)snprintf(driver.repro, sizeof driver.repro,
                                          "repro: %s_fuzz --seed %llu --only %llu (%.60s)\n", fuzz_name,
                                          (unsigned long long)driver.seed, (unsigned long long)run, what);
}

static int read_sample(const char *path, struct sample *sample)
{
    FILE *file = fopen(path, "rb");

    if (file == NULL) {
        perror(path);
        return -1;
    }
    sample->length = fread(sample->bytes, 1, sizeof sample->bytes, file);
    fclose(file);
    return 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* Reads and replays the corpus in the order of names, so that a run means the same everywhere. */
static int replay_corpus(void)
{
    static char names[CORPUS_MAX][256];
    char folder[128], path[512];
    struct dirent *entry;
    uint32_t count = 0;
    DIR *dir;

    snprintf(folder, sizeof folder, "tests/fuzz/corpus/%s", fuzz_name);
    dir = opendir(folder);
    if (dir == NULL) {
        perror(folder);
        return -1;
    }
    while ((entry = readdir(dir)) != NULL && count < CORPUS_MAX)
        if (entry->d_name[0] != '.')
            snprintf(names[count++], sizeof names[0], "%s", entry->d_name);
    closedir(dir);
    qsort(names, count, sizeof names[0], by_name);
    for (uint32_t i = 0; i < count; i++) {
        struct sample *sample = &driver.corpus[i];

        if (snprintf(path, sizeof path, "%s/%s", folder, names[i]) >= (int)sizeof path)
            return -1;
        if (read_sample(path, sample) != 0)
            return -1;
        announce(path, 0);
        LLVMFuzzerTestOneInput(sample->bytes, sample->length);
    }
    driver.corpus_count = count;
    return 0;
}

static void mutate(struct cf_rng *rng, struct sample *sample)
{
    static const uint8_t telling[] = {0, 1, 2, 3, 0x7f, 0x80, 0xfe, 0xff, '\n', '[', ']', '='};
    size_t at = (size_t)cf_rng_below(rng, sample->length + 1), bytes = 1 + (size_t)cf_rng_below(rng, 8);
    size_t rest = sample->length - at;

    switch (cf_rng_below(rng, 6)) {
    case 0:
        if (rest > 0)
            sample->bytes[at] ^= (uint8_t)(1u << cf_rng_below(rng, 8));
        break;
    case 1:
        if (rest > 0)
            sample->bytes[at] = telling[cf_rng_below(rng, sizeof telling)];
        break;
    case 2: /* cut the end off */
        sample->length = at;
        break;
    case 3: /* take some out */
        bytes = bytes < rest ? bytes : rest;
        memmove(sample->bytes + at, sample->bytes + at + bytes, rest - bytes);
        sample->length -= bytes;
        break;
    case 4: /* put some in */
        if (sample->length + bytes > sizeof sample->bytes)
            break;
        memmove(sample->bytes + at + bytes, sample->bytes + at, rest);
        for (size_t i = 0; i < bytes; i++)
            sample->bytes[at + i] = (uint8_t)cf_rng_next(rng);
        sample->length += bytes;
        break;
    case 5: /* say some twice */
        bytes = bytes < rest ? bytes : rest;
        if (sample->length + bytes > sizeof sample->bytes)
            break;
        memmove(sample->bytes + at + bytes, sample->bytes + at, rest);
        sample->length += bytes;
        break;
    }
}

/* A run depends on seed and number alone. */
static void run(uint64_t number)
{
    static struct sample sample;
    struct cf_rng rng;

    cf_rng_seed(&rng, driver.seed + number * UINT64_C(0x9e3779b97f4a7c15));
    announce("mutation", number);
    if (driver.corpus_count > 0 && cf_rng_chance(&rng, 0.3))
        sample = driver.corpus[cf_rng_below(&rng, driver.corpus_count)];
    else
        sample.length = fuzz_make(&rng, sample.bytes);
    for (uint64_t mutations = cf_rng_below(&rng, MUTATIONS_MAX + 1); mutations > 0; mutations--)
        mutate(&rng, &sample);
    LLVMFuzzerTestOneInput(sample.bytes, sample.length);
}

static int replay_files(char **paths)
{
    for (; *paths != NULL; paths++) {
        if (read_sample(*paths, &driver.corpus[0]) != 0)
            return 1;
        announce(*paths, 0);
        LLVMFuzzerTestOneInput(driver.corpus[0].bytes, driver.corpus[0].length);
    }
    return 0;
}

static int usage(void)
{
    fprintf(stderr, "usage: %s_fuzz [--seed S] [--runs N] [--only RUN] [FILE...]\n", fuzz_name);
    return 2;
}

int main(int argc, char **argv)
{
    const char *full = getenv("FULL");
    int i;

    driver.seed = 1;
    driver.runs = (uint64_t)fuzz_runs * (full != NULL && strcmp(full, "1") == 0 ? RUNS_FULL_FACTOR : 1);
    for (i = 1; i + 1 < argc && strncmp(argv[i], "--", 2) == 0; i += 2) {
        uint64_t *into = strcmp(argv[i], "--seed") == 0   ? &driver.seed
                         : strcmp(argv[i], "--runs") == 0 ? &driver.runs
                         : strcmp(argv[i], "--only") == 0 ? &driver.only
                                                          : NULL;

        if (into == NULL || cf_parse_u64(argv[i + 1], into) != 0)
            return usage();
        driver.has_only = driver.has_only || into == &driver.only;
    }
    if (i < argc && argv[i][0] == '-')
        return usage();
    signal(SIGABRT, on_abort);
    if (__sanitizer_set_death_callback != NULL)
        __sanitizer_set_death_callback(last_words);
    if (i < argc)
        return replay_files(argv + i);
    if (replay_corpus() != 0)
        return 1;
    if (driver.has_only) {
        run(driver.only);
        return 0;
    }
    for (uint64_t number = 0; number < driver.runs; number++)
        run(number);
    printf("%s: %u files and %llu mutations, seed %llu\n", fuzz_name, driver.corpus_count,
           (unsigned long long)driver.runs, (unsigned long long)driver.seed);
    return 0;
}
