/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Question: what does a get and put of a cached block cost through the public calls?
 *
 * One instance, one file. Prints nanoseconds a pair for 1 and 2 threads on different blocks. For instructions:
 *   valgrind --tool=callgrind --callgrind-out-file=/dev/null hit_api --once 0
 *   valgrind --tool=callgrind --callgrind-out-file=/dev/null hit_api --once 100000
 * and divide the difference of the two totals by 100000; the loop itself is about 12 of them.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cachefusion/cachefusion.h>

#include "base/clock.h"
#include "bench/figures.h"
#include "engine/format.h"

#define PAIRS 3000000ull

struct work {
    struct cf_instance *instance;
    struct cf_file *file;
    uint64_t block, pairs, ns;
};

static void check(enum cf_rc rc, const char *what)
{
    if (rc == CF_OK)
        return;
    fprintf(stderr, "%s: %s\n", what, cf_rc_name(rc));
    exit(3);
}

static void *pairs(void *arg)
{
    struct work *work = arg;
    struct cf_session *session;
    struct cf_ref ref;
    uint64_t i, began;

    check(cf_session_open(work->instance, &session), "session");
    check(cf_get(session, work->file, work->block, CF_MODE_S, 0, CF_FOREVER, &ref), "get");
    cf_put(session, &ref);
    began = cf_now_ns();
    for (i = 0; i < work->pairs; i++) {
        if (cf_get(session, work->file, work->block, CF_MODE_S, 0, CF_FOREVER, &ref) != CF_OK)
            exit(3);
        cf_put(session, &ref);
    }
    work->ns = cf_now_ns() - began;
    check(cf_session_close(&session), "session close");
    return NULL;
}

static void measure(struct work *work, uint32_t threads)
{
    struct work each[2] = {*work, *work};
    pthread_t handles[2];
    double sum_ns = 0;
    uint32_t t;

    each[1].block = work->block + 7;
    for (t = 0; t < threads; t++)
        if (pthread_create(&handles[t], NULL, pairs, &each[t]) != 0)
            exit(3);
    for (t = 0; t < threads; t++)
        pthread_join(handles[t], NULL);
    for (t = 0; t < threads; t++)
        printf("%u thread%s: %.1f ns a pair\n", threads, threads > 1 ? "s, different blocks" : "",
               (double)each[t].ns / (double)each[t].pairs);
    for (t = 0; t < threads; t++)
        sum_ns += (double)each[t].ns / (double)each[t].pairs / threads;
    bench_figure(threads > 1 ? "get-put-2-threads" : "get-put", sum_ns, "ns");
}

int main(int argc, char **argv)
{
    char directory[] = "/dev/shm/cf-hit-XXXXXX", path[64], command[64];
    struct eng_mkfs mkfs = {.blocks = 64, .block_bytes = 8192, .file_id = 1};
    struct work work = {.pairs = PAIRS};
    struct cf_file_options file;
    struct cf_session *session;
    struct cf_options options;
    struct cf_error error;

    if (mkdtemp(directory) == NULL)
        return 3;
    snprintf(path, sizeof path, "%s/data", directory);
    mkfs.path = path;
    check(eng_format_make(&mkfs, &error), "file");
    cf_options_init(&options);
    snprintf(options.transport, sizeof options.transport, "shm:%s", directory);
    options.cache_bytes = 4u << 20;
    check(cf_open(&options, NULL, &work.instance, &error), "open");
    check(cf_session_open(work.instance, &session), "session");
    cf_file_options_init(&file);
    file.path = path;
    file.file_id = 1;
    check(cf_attach(session, &file, &work.file), "attach");
    if (argc == 3 && strcmp(argv[1], "--once") == 0) {
        work.pairs = strtoull(argv[2], NULL, 10);
        (void)pairs(&work);
    } else {
        measure(&work, 1);
        measure(&work, 2);
    }
    check(cf_session_close(&session), "session close");
    check(cf_close(&work.instance), "close");
    snprintf(command, sizeof command, "rm -rf '%s'", directory);
    return system(command) != 0;
}
