/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Three instances in one process: instance 0 changes a block, the others read it out of its memory.
 *   cachefusion mkfs --data FILE --blocks 16 --file-id 1 && ./example FILE DIR
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cachefusion/cachefusion.h>

static char **arguments;
static pthread_barrier_t changed;

static void check(enum cf_rc rc, const char *what)
{
    if (rc == CF_OK)
        return;
    fprintf(stderr, "%s: %s: %s; %s\n", what, cf_rc_name(rc), cf_rc_text(rc), cf_rc_remedy(rc));
    exit(1);
}

static void *instance_main(void *node)
{
    struct cf_options options;
    struct cf_file_options file_options;
    struct cf_instance *instance;
    struct cf_session *session;
    struct cf_file *file;
    struct cf_ref ref;

    cf_options_init(&options);
    options.node = (size_t)node;
    options.nodes = 3;
    options.cache_bytes = 4 << 20;
    snprintf(options.transport, sizeof(options.transport), "shm:%s", arguments[2]);
    check(cf_open(&options, NULL, &instance, NULL), "open"); /* waits for the other two */
    check(cf_session_open(instance, &session), "session");
    cf_file_options_init(&file_options);
    file_options.path = arguments[1];
    file_options.file_id = 1;
    check(cf_attach(session, &file_options, &file), "attach");
    if (options.node == 0) {
        check(cf_get(session, file, 7, CF_MODE_X, 0, CF_FOREVER, &ref), "get in X");
        strcpy(ref.data, "changed by instance 0, not yet on storage");
        check(cf_dirty(session, &ref, 0), "change");
        cf_put(session, &ref);
    }
    pthread_barrier_wait(&changed);
    check(cf_get(session, file, 7, CF_MODE_S, 0, CF_FOREVER, &ref), "get in S");
    printf("instance %d, version %d: %s\n", (int)options.node, (int)ref.version, (char *)ref.data);
    cf_put(session, &ref);
    check(cf_detach(session, &file), "detach");
    check(cf_session_close(&session), "session close");
    check(cf_close(&instance), "close"); /* serves the others until all three close */
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_t threads[3];

    arguments = argv;
    if (argc != 3 || pthread_barrier_init(&changed, NULL, 3) != 0)
        return 2;
    for (size_t node = 0; node < 3; node++)
        if (pthread_create(&threads[node], NULL, instance_main, (void *)node) != 0)
            return 1;
    for (size_t node = 0; node < 3; node++)
        pthread_join(threads[node], NULL);
    return 0;
}
