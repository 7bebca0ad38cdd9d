/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Question: what does a request and unlock of a lock cost that this instance already caches, through its handle?
 *
 * One instance. Prints nanoseconds a pair for 1 and 2 threads on different locks. For instructions:
 *   valgrind --tool=callgrind --callgrind-out-file=/dev/null lock_api --once 0
 *   valgrind --tool=callgrind --callgrind-out-file=/dev/null lock_api --once 100000
 * and divide the difference of the two totals by 100000; the loop itself is about 16 of them.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cachefusion/cachefusion.h>

#include "base/clock.h"

#define PAIRS 3000000ull

struct work {
    struct cf_instance *instance;
    uint64_t id, pairs, ns;
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
    struct cf_claim claim;
    struct cf_lock *lock;
    uint64_t i, began;

    check(cf_session_open(work->instance, &session), "session");
    check(cf_lock_open_ids(session, 1, work->id, 0, &lock), "open");
    check(cf_lock_request(session, lock, CF_LOCK_EX, 0, CF_FOREVER, &claim), "request");
    check(cf_lock_unlock(session, &claim, 0, NULL), "unlock");
    began = cf_now_ns();
    for (i = 0; i < work->pairs; i++)
        if (cf_lock_request(session, lock, CF_LOCK_EX, 0, CF_FOREVER, &claim) != CF_OK ||
            cf_lock_unlock(session, &claim, 0, NULL) != CF_OK)
            exit(3);
    work->ns = cf_now_ns() - began;
    check(cf_lock_close(session, &lock), "close");
    check(cf_session_close(&session), "session close");
    return NULL;
}

static void measure(struct work *work, uint32_t threads)
{
    struct work each[2] = {*work, *work};
    pthread_t handles[2];
    uint32_t t;

    each[1].id = work->id + 1;
    for (t = 0; t < threads; t++)
        if (pthread_create(&handles[t], NULL, pairs, &each[t]) != 0)
            exit(3);
    for (t = 0; t < threads; t++)
        pthread_join(handles[t], NULL);
    for (t = 0; t < threads; t++)
        printf("%u thread%s: %.1f ns a pair\n", threads, threads > 1 ? "s, different locks" : "",
               (double)each[t].ns / (double)each[t].pairs);
    printf("figure lock-pair-%u-threads %.6g ns\n", threads, (double)each[0].ns / (double)each[0].pairs);
}

int main(int argc, char **argv)
{
    struct work work = {.pairs = PAIRS, .id = 1};
    struct cf_options options;
    struct cf_error error;

    cf_options_init(&options);
    options.cache_bytes = 4u << 20;
    snprintf(options.cluster, sizeof options.cluster, "lock_api-%d", (int)getpid());
    if (cf_open(&options, NULL, &work.instance, &error) != CF_OK) {
        fprintf(stderr, "open: %s\n", error.text);
        return 3;
    }
    if (argc == 3 && strcmp(argv[1], "--once") == 0) {
        work.pairs = strtoull(argv[2], NULL, 10);
        pairs(&work);
    } else {
        measure(&work, 1);
        measure(&work, 2);
    }
    check(cf_close(&work.instance), "close");
    return 0;
}
