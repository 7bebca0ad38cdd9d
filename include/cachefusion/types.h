/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CACHEFUSION_TYPES_H
#define CACHEFUSION_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Instances of one cluster: node ids 0 to CF_NODES_MAX - 1. */
#define CF_NODES_MAX 1024u
/* "no node" where a node id is optional. */
#define CF_NODE_NONE 0xffffu
/* Block sizes: powers of two from 2 KiB to 32 KiB. */
#define CF_BLOCK_BYTES_MIN 2048u
#define CF_BLOCK_BYTES_MAX 32768u
#define CF_BLOCK_BYTES_DEFAULT 8192u
#define CF_BLOCK_SIZES 5u

/* How a block is held. The order is the order of strength. */
enum cf_mode {
    CF_MODE_N = 0, /* not held */
    CF_MODE_S = 1, /* shared: read */
    CF_MODE_X = 2, /* exclusive: read and change */
};

/*
 * Names a block in the whole cluster. The generation of a file rises when it is truncated or dropped, so that
 * a late block of the old contents has another name and cannot be mistaken for one of the new.
 */
struct cf_block_key {
    uint32_t file;
    uint32_t generation;
    uint64_t block;
};

/* Opaque objects; see cachefusion.h for who owns what and which thread may use it. */
struct cf_instance;
struct cf_session;
struct cf_file;

/* The engine's clock of changes: a Lamport clock over the cluster, 0 = never changed. */
typedef uint64_t cf_scn;

/* Deadlines are absolute times of CLOCK_MONOTONIC in nanoseconds. */
#define CF_NO_WAIT 0ull
#define CF_FOREVER UINT64_MAX

#endif
