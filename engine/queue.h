/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_QUEUE_H
#define ENGINE_QUEUE_H

/* The callers of a block that wait, between queue.c and op.c (E-10, E-11). Owner. */
#include "engine/instance.h"

static inline void eng_queue_push(struct grd_block *block, struct cf_op *op)
{
    eng_op_of(op)->next = NULL;
    eng_op_of(op)->state = ENG_OP_BLOCK;
    if (block->waiter_first == NULL)
        block->waiter_first = op;
    else
        eng_op_of(block->waiter_last)->next = op;
    block->waiter_last = op;
    block->users++;
}

static inline void eng_queue_remove(struct grd_block *block, struct cf_op *op)
{
    struct cf_op *at = block->waiter_first, *before = NULL;

    while (at != op) {
        before = at;
        at = eng_op_of(at)->next;
    }
    if (before == NULL)
        block->waiter_first = eng_op_of(op)->next;
    else
        eng_op_of(before)->next = eng_op_of(op)->next;
    if (block->waiter_last == op)
        block->waiter_last = before;
    block->users--;
}

/* op.c: nothing is free that the caller needs; it is submitted again when something may be. */
void eng_op_starve(struct cf_instance *instance, struct cf_op *op);

#endif
