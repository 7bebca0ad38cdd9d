/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TOOLS_SIM_CONTENT_H
#define TOOLS_SIM_CONTENT_H

/*
 * What simulated clients write into a block. Every word but the first few is derived of the value, so that a
 * block put together of two versions, or of two blocks, does not pass for either.
 */
#include <stdbool.h>
#include <stdint.h>

struct sim_content {
    uint64_t block;
    uint64_t counter;  /* writes of this block so far */
    uint64_t value;    /* unique in the run: node, client, op; 0 = never written */
    uint64_t replaced; /* the value before */
    int64_t balance;   /* bank */
};

/* Fills bytes (a multiple of 8). `half`: only the first half, as a writer that has been interrupted leaves it. */
void sim_content_write(const struct sim_content *content, void *data, uint32_t bytes, bool half);
/* False: not one version of one block. A block of zeroes is one that was never written. */
bool sim_content_read(const void *data, uint32_t bytes, uint64_t block, struct sim_content *content_out);

#endif
