/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TOOLS_SIM_GHOST_H
#define TOOLS_SIM_GHOST_H

/* What the checkers remember. Private to check*.c. */
#include "tools/sim/check.h"

#define SIM_NO_BLOCK UINT64_MAX

/* One instance's last view of one block. */
struct sim_copy {
    struct eng_block_view view; /* its pointers are not valid any more */
    uint32_t stamp;       /* walk that saw it; other than the node's = nothing known of the block there */
    uint64_t tenure_last; /* highest tenure that ever began here */
    uint64_t past_value;  /* content of the past image */
};

/* What the master says of one instance. Walks are numbered by instance: the stamp alone says nothing when the master changes. */
struct sim_held {
    uint64_t tenure;
    uint32_t stamp;
    uint16_t master;
    uint8_t mode;
    bool is_pending;
    bool has_duty;
};

struct sim_ghost {
    struct sim_content newest;
    uint64_t version;  /* newest */
    uint64_t tenure_s; /* highest that began in S, in X */
    uint64_t tenure_x;
    bool is_changing;
    uint32_t touched; /* turn */
    /* the entry at its master */
    bool is_present, is_rebuilt;
    uint16_t master; /* of the last walk that saw it */
    uint32_t stamp;  /* of that walk */
    uint32_t holders, pending, waiters, past_images;
    uint64_t x_pending_tenure; /* 0 = none */
    bool s_pending;
    uint64_t entry_hash;
};

/* Every change of a block, by its content's counter, from 1 on. */
struct sim_change {
    uint64_t value;
    uint64_t version;
};
struct sim_changes {
    struct sim_change *change;
    uint64_t count;
    uint64_t room;
};

/* A request as it was last seen on the network. */
struct sim_number {
    uint64_t request;
    uint32_t place;
};
/* Of an instance; more than it can have under way at once, doubles included. */
#define SIM_NUMBERS 512u

struct sim_check {
    struct sim_check_options options;
    struct sim_ghost *ghosts;    /* [blocks] */
    struct sim_copy *copies;     /* [nodes][blocks] */
    struct sim_held *helds;      /* [blocks][nodes] */
    struct sim_changes *changes; /* [blocks] */
    struct sim_number *numbers;  /* [nodes][SIM_NUMBERS] by request */
    uint32_t *stamps;            /* [nodes] walk of each node */
    uint32_t *known;             /* [nodes][blocks] lists of the blocks that the last walk of each node saw */
    uint32_t *known_count;       /* [nodes] */
    bool *is_gone;               /* [nodes] */
    uint64_t *touched;           /* [blocks] list of this turn */
    uint32_t touched_count;
    uint32_t turn;
    uint32_t lost_count; /* instances gone */
    uint64_t count;      /* checks of a block made */
    /* of the walk under way */
    uint16_t node;
    struct cf_instance *instance;
    uint64_t broken_block;
    char broken[400];
};

static inline struct sim_copy *sim_copy_at(const struct sim_check *check, uint32_t node, uint64_t block)
{
    return &check->copies[node * check->options.blocks + block];
}

/* NULL: the instance knows nothing of the block. */
static inline const struct sim_copy *sim_copy_known(const struct sim_check *check, uint32_t node,
                                                    uint64_t block)
{
    const struct sim_copy *copy = sim_copy_at(check, node, block);

    return copy->stamp != 0 && copy->stamp == check->stamps[node] && !check->is_gone[node] ? copy : NULL;
}

static inline const struct sim_held *sim_held_known(const struct sim_check *check, uint32_t node,
                                                    uint64_t block)
{
    const struct sim_ghost *ghost = &check->ghosts[block];
    const struct sim_held *held = &check->helds[block * check->options.nodes + node];

    return ghost->is_present && held->stamp == ghost->stamp && held->master == ghost->master ? held : NULL;
}

/* check_snapshot.c */
void sim_check_changed(struct sim_check *check, uint64_t version, const struct sim_content *content);

/* check_block.c: what must be true of a block between turns. */
bool sim_check_block(struct sim_check *check, uint64_t block);
/* I-3 of one block; part of sim_check_block unless directories are sampled. */
bool sim_check_directory(struct sim_check *check, uint64_t block);

#endif
