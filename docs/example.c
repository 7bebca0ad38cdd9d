/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Three instances of libcachefusion in one process. Instance 0 changes a block, the others read it out of its
 * memory. Usage:  cachefusion mkfs --data FILE --blocks 16 --file-id 1 && ./example FILE DIR
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cachefusion/cachefusion.h>

#define NODES 3
#define BLOCK 7

static const char *path, *dir;
static pthread_barrier_t changed;

static void check(enum cf_rc rc, const char *what, const struct cf_error *error)
{
    if (rc == CF_OK)
        return;
    fprintf(stderr, "%s: %s: %s; %s\n", what, cf_rc_name(rc), error != NULL ? error->text : cf_rc_text(rc), cf_rc_remedy(rc));
    exit(1);
}

static void *instance_main(void *arg)
{
    uint64_t node = (uint64_t)(size_t)arg;
    struct cf_instance *instance;
    struct cf_session *session;
    struct cf_file *file;
    struct cf_options options;
    struct cf_file_options file_options;
    struct cf_error error = {0};
    struct cf_ref ref;

    cf_options_init(&options);
    options.node = node;
    options.nodes = NODES;
    snprintf(options.transport, sizeof(options.transport), "shm:%s", dir);
    check(cf_options_set(&options, "cache_bytes", "4MiB", &error), "option", &error);
    check(cf_open(&options, NULL, &instance, &error), "open", &error); /* waits for the other two */
    check(cf_session_open(instance, &session), "session", NULL);
    cf_file_options_init(&file_options);
    file_options.path = path;
    file_options.file_id = 1;
    check(cf_attach(session, &file_options, &file), "attach", cf_session_error(session));

    if (node == 0) {
        check(cf_get(session, file, BLOCK, CF_MODE_X, CF_GET_NEW, CF_FOREVER, &ref), "get in X", cf_session_error(session));
        memset(ref.data, 0, ref.bytes);
        strcpy(ref.data, "changed by instance 0, not yet on storage");
        check(cf_dirty(session, &ref, 0), "change", cf_session_error(session));
        cf_put(session, &ref);
    }
    pthread_barrier_wait(&changed);
    check(cf_get(session, file, BLOCK, CF_MODE_S, 0, CF_FOREVER, &ref), "get in S", cf_session_error(session));
    printf("instance %d reads version %llu: %s\n", (int)node, (unsigned long long)ref.version, (const char *)ref.data);
    cf_put(session, &ref);

    check(cf_detach(session, &file), "detach", cf_session_error(session));
    check(cf_session_close(&session), "session close", NULL);
    check(cf_close(&instance), "close", NULL); /* the last of the three lets all go */
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_t threads[NODES];

    if (argc != 3 || cf_abi_version() != CF_ABI || pthread_barrier_init(&changed, NULL, NODES) != 0)
        return fprintf(stderr, "usage: example FILE DIR\n"), 2;
    path = argv[1];
    dir = argv[2];
    for (size_t node = 0; node < NODES; node++)
        if (pthread_create(&threads[node], NULL, instance_main, (void *)node) != 0)
            return 1;
    for (size_t node = 0; node < NODES; node++)
        pthread_join(threads[node], NULL);
    return 0;
}
