/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TOOLS_SIM_CHECK_H
#define TOOLS_SIM_CHECK_H

/*
 * The invariants of the block protocol, looked at from outside: through the views of engine/engine.h after every
 * turn, against ghosts that only the simulator keeps (newest value and version of each block, tenures begun).
 * Nothing here is shared with the engine's own assertions. README.md of this folder lists what is checked.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "engine/engine.h"
#include "tools/sim/content.h"
#include "tools/sim/store.h"

struct sim_check;

struct sim_check_options {
    uint32_t nodes;
    uint32_t file_id;
    uint32_t generation;
    uint32_t block_bytes;
    uint64_t blocks;
    struct sim_disk *disk;
    struct cf_instance *const *instances; /* [nodes] */
    bool
        is_sampled; /* directories are too large to be walked after every turn: sim_check_sample does it now and then */
    bool has_moves; /* buckets move between instances */
};

struct sim_check *sim_check_open(const struct sim_check_options *options);
void sim_check_close(struct sim_check **check);

/* After a turn of the instance. False: sim_check_broken says what; nothing further is looked at. */
bool sim_check_turn(struct sim_check *check, struct cf_instance *instance, uint16_t node);
/* Walks all directories and checks every block against them (is_sampled). */
bool sim_check_sample(struct sim_check *check, struct cf_instance *const *instances);
/* A client is between two halves of a change, or no longer. */
void sim_check_changing(struct sim_check *check, uint64_t block, bool is_changing);
/* A client that holds X has written this content under this version. */
void sim_check_written(struct sim_check *check, uint16_t node, uint64_t version,
                       const struct sim_content *content);
/* What a client that holds the block saw: it must be the newest. */
bool sim_check_seen(struct sim_check *check, uint16_t node, enum cf_mode mode,
                    const struct sim_content *content);
/*
 * A snapshot: the content and the version of one change, and the newest one at a moment since `counter_before` was.
 */
bool sim_check_snapshot(struct sim_check *check, uint16_t node, uint64_t counter_before, uint64_t version,
                        const struct sim_content *content);
const struct sim_content *sim_check_newest(const struct sim_check *check, uint64_t block);
/* Tenure under which the instance holds the block, 0 = it does not. */
uint64_t sim_check_tenure(const struct sim_check *check, uint16_t node, uint64_t block);
struct sim_seen;
/* A message on its way. G-19. */
void sim_check_message(struct sim_check *check, const struct sim_seen *seen);
/* The instance is gone: what it held is no longer counted. From now on newest versions may be lost. */
void sim_check_gone(struct sim_check *check, uint16_t node);

/* Nothing is under way at all: no conversation, release, kept image, write, pending grant, waiter. */
bool sim_check_is_quiet(const struct sim_check *check, char *text, size_t text_bytes);
/* I-3 equality; call when quiet. */
bool sim_check_equal(struct sim_check *check);
/* G-14 exactly: the summaries hold as many entries as have holders and no entry; call when quiet. */
bool sim_check_cold(struct sim_check *check);
/* All is flushed: storage has the newest of every block, no past image is left. False with *text: not yet. */
bool sim_check_is_durable(struct sim_check *check, char *text, size_t text_bytes);
/* I-10 over all instances. */
bool sim_check_masters(struct sim_check *check, struct cf_instance *const *instances);

CF_PRINTF(3, 4) void sim_check_break(struct sim_check *check, uint64_t block, const char *format, ...);
/* First violation, or NULL; the block it is about, UINT64_MAX = none. */
const char *sim_check_broken(const struct sim_check *check, uint64_t *block_out);
/* Views of the block at all instances, the directory entry, the ghosts. */
void sim_check_dump(const struct sim_check *check, uint64_t block, FILE *out);
uint64_t sim_check_count(const struct sim_check *check);

#endif
