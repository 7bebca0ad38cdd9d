/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster_fixture.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "engine/format.h"

#if CF_TSAN
CF_API const char *__tsan_default_suppressions(void);
/* hwloc asks libudev, which keeps its hash seed in a global that several threads may set to the same end. */
const char *__tsan_default_suppressions(void)
{
    return "race:getrandom\nrace:libudev.so\n";
}
#endif

struct member {
    struct cluster *cluster;
    uint32_t node;
};

uint64_t cluster_deadline(void)
{
    return cf_now_ns() + CLUSTER_CALL_TIMEOUT_NS;
}

void cluster_init(struct cluster *cluster, uint32_t nodes)
{
    memset(cluster, 0, sizeof *cluster);
    cluster->nodes = nodes;
    strcpy(cluster->directory, "/dev/shm/cf-unit-XXXXXX");
    assert_non_null(mkdtemp(cluster->directory));
}

static void *open_main(void *arg)
{
    struct member *member = arg;
    struct cluster *cluster = member->cluster;
    struct cf_options options;
    uint32_t node = member->node;

    cf_options_init(&options);
    snprintf(options.transport, sizeof options.transport, "shm:%s", cluster->directory);
    if (cluster->name)
        snprintf(options.cluster, sizeof options.cluster, "%s", cluster->name);
    if (cluster->status_path && node == 0)
        snprintf(options.status_path, sizeof options.status_path, "%s", cluster->status_path);
    if (cluster->metrics)
        snprintf(options.metrics, sizeof options.metrics, "%s", cluster->metrics);
    if (cluster->files)
        options.files = cluster->files;
    if (cluster->is_dedicated) {
        struct cf_error error;

        options.shards = 2;
        cluster->opened[node] = cf_options_set(&options, "placement", "dedicated", &error);
        if (cluster->opened[node] != CF_OK)
            return NULL;
    }
    if (cluster->is_compact)
        cluster->opened[node] = cf_options_set(&options, "placement", "compact", NULL);
    if (cluster->deadlock_ns)
        options.deadlock_after = options.deadlock_period = cluster->deadlock_ns;
    if (cluster->resend_ns)
        options.resend = cluster->resend_ns;
    options.node = node;
    options.nodes = cluster->nodes;
    options.remaster = 0; /* off: tests count hops and messages */
    options.cache_bytes = 0;
    options.cache_2k_bytes = (cluster->cache_blocks ? cluster->cache_blocks : 64) * CLUSTER_BLOCK_BYTES;
    if (cluster->directory_bytes) {
        options.directory_bytes = cluster->directory_bytes;
        options.locks = 0;
    }
    options.outstanding = cluster->outstanding ? cluster->outstanding : 8;
    if (cluster->lane_slots)
        options.lane_slots = cluster->lane_slots;
    options.sessions = 8;
    options.call_timeout = cluster->call_timeout_ns ? cluster->call_timeout_ns : CLUSTER_CALL_TIMEOUT_NS;
    options.dirty_age = 3600000000000ull; /* nothing is written unless somebody asks for it */
    cluster->opened[node] = cf_open(&options, cluster->callbacks, &cluster->instance[node],
                                    &cluster->error[node]);
    if (cluster->opened[node] == CF_OK)
        cluster->opened[node] = cf_session_open(cluster->instance[node], &cluster->session[node]);
    return NULL;
}

static void *close_main(void *arg)
{
    struct member *member = arg;
    struct cluster *cluster = member->cluster;

    cluster->closed[member->node] = cf_session_close(&cluster->session[member->node]);
    if (cluster->closed[member->node] == CF_OK)
        cluster->closed[member->node] = cf_close(&cluster->instance[member->node]);
    return NULL;
}

static void each_member(struct cluster *cluster, void *(*run)(void *))
{
    struct member members[CLUSTER_NODES_MAX];
    pthread_t threads[CLUSTER_NODES_MAX];
    uint32_t n;

    for (n = 0; n < cluster->nodes; n++) {
        members[n] = (struct member){cluster, n};
        assert_int_equal(pthread_create(&threads[n], NULL, run, &members[n]), 0);
    }
    for (n = 0; n < cluster->nodes; n++)
        assert_int_equal(pthread_join(threads[n], NULL), 0);
}

void cluster_open_try(struct cluster *cluster)
{
    each_member(cluster, open_main);
}

void cluster_open(struct cluster *cluster)
{
    uint32_t n;

    cluster_open_try(cluster);
    for (n = 0; n < cluster->nodes; n++)
        if (cluster->opened[n] != CF_OK)
            fail_msg("open of node %u: %s: %s", n, cf_rc_name(cluster->opened[n]), cluster->error[n].text);
}

void cluster_close_try(struct cluster *cluster)
{
    each_member(cluster, close_main);
}

void cluster_close(struct cluster *cluster)
{
    uint32_t n;

    cluster_close_try(cluster);
    for (n = 0; n < cluster->nodes; n++)
        assert_int_equal(cluster->closed[n], CF_OK);
}

void cluster_end(struct cluster *cluster)
{
    char command[96];

    snprintf(command, sizeof command, "rm -rf '%s'", cluster->directory);
    assert_int_equal(system(command), 0);
}

void cluster_path(const struct cluster *cluster, const char *name, char path[128])
{
    snprintf(path, 128, "%s/%s", cluster->directory, name);
}

void cluster_file(const struct cluster *cluster, const char *name, uint32_t file_id, uint64_t blocks)
{
    char path[128];
    struct eng_mkfs mkfs = {
        .path = path, .blocks = blocks, .block_bytes = CLUSTER_BLOCK_BYTES, .file_id = file_id};
    struct cf_error error;

    cluster_path(cluster, name, path);
    assert_int_equal(eng_format_make(&mkfs, &error), CF_OK);
}

enum cf_rc cluster_attach_try(struct cluster *cluster, uint32_t node, const char *name, uint32_t file_id,
                              struct cf_file **file_out)
{
    struct cf_file_options options;
    char path[128];

    cluster_path(cluster, name, path);
    cf_file_options_init(&options);
    options.path = path;
    options.file_id = file_id;
    return cf_attach(cluster->session[node], &options, file_out);
}

struct cf_file *cluster_attach(struct cluster *cluster, uint32_t node, const char *name, uint32_t file_id)
{
    struct cf_file *file = NULL;
    enum cf_rc rc = cluster_attach_try(cluster, node, name, file_id, &file);

    if (rc != CF_OK)
        fail_msg("attach at node %u: %s: %s", node, cf_rc_name(rc),
                 cf_session_error(cluster->session[node])->text);
    return file;
}

struct cluster_super cluster_super(const struct cluster *cluster, const char *name)
{
    struct eng_check_result result;
    struct cf_error error;
    char path[128];

    cluster_path(cluster, name, path);
    assert_int_equal(eng_format_check(path, NULL, NULL, &result, &error), CF_OK);
    return (struct cluster_super){result.unclean,          result.super.attached, result.super.losses,
                                  result.super.generation, result.super.dropped,  result.super.blocks,
                                  result.damaged};
}

enum cf_rc cluster_write_try(struct cluster *cluster, uint32_t node, struct cf_file *file, uint64_t block,
                             uint64_t value)
{
    struct cf_session *session = cluster->session[node];
    struct cf_ref ref;
    enum cf_rc rc = cf_get(session, file, block, CF_MODE_X, 0, cluster_deadline(), &ref);

    if (rc != CF_OK)
        return rc;
    memcpy(ref.data, &value, sizeof value);
    rc = cf_dirty(session, &ref, 0);
    cf_put(session, &ref);
    return rc;
}

enum cf_rc cluster_read_try(struct cluster *cluster, uint32_t node, struct cf_file *file, uint64_t block,
                            uint64_t *value_out)
{
    struct cf_session *session = cluster->session[node];
    struct cf_ref ref;
    enum cf_rc rc = cf_get(session, file, block, CF_MODE_S, 0, cluster_deadline(), &ref);

    if (rc != CF_OK)
        return rc;
    memcpy(value_out, ref.data, sizeof *value_out);
    cf_put(session, &ref);
    return CF_OK;
}

void cluster_write(struct cluster *cluster, uint32_t node, struct cf_file *file, uint64_t block,
                   uint64_t value)
{
    enum cf_rc rc = cluster_write_try(cluster, node, file, block, value);

    if (rc != CF_OK)
        fail_msg("write at node %u: %s: %s", node, cf_rc_name(rc),
                 cf_session_error(cluster->session[node])->text);
}

uint64_t cluster_read(struct cluster *cluster, uint32_t node, struct cf_file *file, uint64_t block)
{
    uint64_t value = 0;
    enum cf_rc rc = cluster_read_try(cluster, node, file, block, &value);

    if (rc != CF_OK)
        fail_msg("read at node %u: %s: %s", node, cf_rc_name(rc),
                 cf_session_error(cluster->session[node])->text);
    return value;
}
