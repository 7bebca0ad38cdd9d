/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TOOLS_SIM_STORE_H
#define TOOLS_SIM_STORE_H

/*
 * Shared storage in memory under virtual time: one disk a cluster, one eng_store an instance. A transfer takes
 * effect at a moment drawn between its submit and its completion. The disk keeps the truth by block and checks:
 *   I-8  the version of a block on disk never falls
 *   I-9  no two instances write one block in overlapping intervals
 *   and that an image stands still and is whole while it is written.
 */
#include <stdbool.h>
#include <stdint.h>

#include "engine/store.h"

struct sim_disk;

struct sim_disk_options {
    uint32_t nodes;
    uint32_t file_id;
    uint32_t block_bytes;
    uint64_t blocks;
    uint64_t seed;
    uint64_t delay_floor_ns;
    uint64_t delay_mean_ns;
};

CF_CHECK enum cf_rc sim_disk_open(const struct sim_disk_options *options, struct sim_disk **disk_out);
void sim_disk_close(struct sim_disk **disk);

struct eng_store *sim_disk_store(struct sim_disk *disk, uint16_t node);
struct eng_store_file *sim_disk_file(struct sim_disk *disk, uint16_t node);

/* Lets everything due by then take effect. */
void sim_disk_advance(struct sim_disk *disk, uint64_t now_ns);
/* Next completion of the instance; UINT64_MAX = none. */
uint64_t sim_disk_next_ns(const struct sim_disk *disk, uint16_t node);
void sim_disk_delay_set(struct sim_disk *disk, uint64_t delay_mean_ns);
/* The instance has learned that a peer is lost: a write begun from now on is a violation (stop rule). */
void sim_disk_stop(struct sim_disk *disk, uint16_t node);
/* The instance is gone: each of its writes took place or did not. Before its memory is freed. */
void sim_disk_crash(struct sim_disk *disk, uint16_t node);

/* Newest durable version of a data block, 0 = never written; its image or NULL. */
uint64_t sim_disk_version(const struct sim_disk *disk, uint64_t block);
const void *sim_disk_image(const struct sim_disk *disk, uint64_t block);
uint64_t sim_disk_writes(const struct sim_disk *disk);
uint64_t sim_disk_reads(const struct sim_disk *disk);
/* First violation, or NULL. */
const char *sim_disk_broken(const struct sim_disk *disk);

#endif
