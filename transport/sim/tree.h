/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRANSPORT_SIM_TREE_H
#define TRANSPORT_SIM_TREE_H

/*
 * The next time of each of a fixed number of sources, as a tournament: setting one costs a walk to the root,
 * reading the earliest costs nothing. Ties go to the lower index, so that a run does not depend on history.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/compiler.h"

struct sim_tree {
    uint32_t leaves; /* a power of two */
    uint64_t *times; /* [leaves]; UINT64_MAX = never */
    uint32_t *wins;  /* [leaves]; wins[n] = index of the earliest leaf under inner node n, root = 1 */
};

CF_CHECK static inline bool sim_tree_open(struct sim_tree *tree, uint32_t count)
{
    tree->leaves = 2;
    while (tree->leaves < count)
        tree->leaves *= 2;
    tree->times = malloc(tree->leaves * sizeof(*tree->times));
    tree->wins = calloc(tree->leaves, sizeof(*tree->wins));
    if (tree->times == NULL || tree->wins == NULL)
        return false;
    for (uint32_t i = 0; i < tree->leaves; i++)
        tree->times[i] = UINT64_MAX;
    for (uint32_t n = tree->leaves - 1; n >= 1; n--)
        tree->wins[n] = n * 2 < tree->leaves ? tree->wins[n * 2] : n * 2 - tree->leaves;
    return true;
}

static inline void sim_tree_close(struct sim_tree *tree)
{
    free(tree->times);
    free(tree->wins);
    tree->times = NULL;
    tree->wins = NULL;
}

static inline void sim_tree_set(struct sim_tree *tree, uint32_t index, uint64_t time)
{
    if (tree->times[index] == time)
        return;
    tree->times[index] = time;
    for (uint32_t n = (index + tree->leaves) / 2; n >= 1; n /= 2) {
        uint32_t a = n * 2 < tree->leaves ? tree->wins[n * 2] : n * 2 - tree->leaves;
        uint32_t b = n * 2 < tree->leaves ? tree->wins[n * 2 + 1] : n * 2 + 1 - tree->leaves;

        tree->wins[n] = tree->times[b] < tree->times[a] ? b : a;
    }
}

static inline uint32_t sim_tree_first(const struct sim_tree *tree)
{
    return tree->wins[1];
}

static inline uint64_t sim_tree_first_time(const struct sim_tree *tree)
{
    return tree->times[tree->wins[1]];
}

#endif
