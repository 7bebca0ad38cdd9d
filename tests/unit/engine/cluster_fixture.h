/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_ENGINE_CLUSTER_FIXTURE_H
#define TESTS_UNIT_ENGINE_CLUSTER_FIXTURE_H

/*
 * A few instances in this process over shared memory, each with a session, and data files beside them. Opened and
 * closed in threads, since each of them waits for the others. The calls of this file fail the test that makes them.
 */
#include <stdbool.h>
#include <stdint.h>

#include <cachefusion/cachefusion.h>

#define CLUSTER_NODES_MAX 3u
#define CLUSTER_BLOCK_BYTES 2048u
#define CLUSTER_CALL_TIMEOUT_NS 3000000000ull

struct cluster {
    uint32_t nodes;
    char directory[64];
    const char *name;         /* of the cluster; NULL = the default */
    const char *status_path;  /* of node 0; NULL = none */
    const char *metrics;      /* of every node; NULL = none */
    uint64_t files;           /* option; 0 = default */
    bool is_dedicated;        /* placement=dedicated, with two shards: directory workers of their own */
    bool is_compact;          /* placement=compact */
    uint64_t deadlock_ns;     /* options deadlock_after and deadlock_period; 0 = default */
    uint64_t resend_ns;       /* option; 0 = default */
    uint64_t call_timeout_ns; /* 0 = CLUSTER_CALL_TIMEOUT_NS */
    uint64_t cache_blocks;    /* 0 = 64 */
    uint64_t outstanding;     /* option; 0 = 8 */
    uint64_t lane_slots;      /* option; 0 = default */
    uint64_t directory_bytes; /* option; 0 = default */
    const struct cf_callbacks *callbacks; /* of every node; NULL = none */
    struct cf_instance *instance[CLUSTER_NODES_MAX];
    struct cf_session *session[CLUSTER_NODES_MAX];
    enum cf_rc opened[CLUSTER_NODES_MAX], closed[CLUSTER_NODES_MAX];
    struct cf_error error[CLUSTER_NODES_MAX];
};

/* A directory of its own, nothing opened yet. */
void cluster_init(struct cluster *cluster, uint32_t nodes);
/* Opens every instance; the results are in opened[]. */
void cluster_open_try(struct cluster *cluster);
void cluster_open(struct cluster *cluster);
/* Closes sessions and instances; the results are in closed[]. */
void cluster_close_try(struct cluster *cluster);
void cluster_close(struct cluster *cluster);
/* Removes the directory. */
void cluster_end(struct cluster *cluster);

void cluster_path(const struct cluster *cluster, const char *name, char path[128]);
/* Makes a native file. */
void cluster_file(const struct cluster *cluster, const char *name, uint32_t file_id, uint64_t blocks);
/* Attaches a native file at one node. */
enum cf_rc cluster_attach_try(struct cluster *cluster, uint32_t node, const char *name, uint32_t file_id,
                              struct cf_file **file_out);
struct cf_file *cluster_attach(struct cluster *cluster, uint32_t node, const char *name, uint32_t file_id);
/* What the superblock on storage says. */
struct cluster_super {
    bool unclean;
    uint32_t attached, losses, generation, dropped;
    uint64_t blocks, damaged;
};
struct cluster_super cluster_super(const struct cluster *cluster, const char *name);

/* A change of the first word of a block, and a look at it. */
enum cf_rc cluster_write_try(struct cluster *cluster, uint32_t node, struct cf_file *file, uint64_t block,
                             uint64_t value);
enum cf_rc cluster_read_try(struct cluster *cluster, uint32_t node, struct cf_file *file, uint64_t block,
                            uint64_t *value_out);
void cluster_write(struct cluster *cluster, uint32_t node, struct cf_file *file, uint64_t block,
                   uint64_t value);
uint64_t cluster_read(struct cluster *cluster, uint32_t node, struct cf_file *file, uint64_t block);
uint64_t cluster_deadline(void);

#endif
