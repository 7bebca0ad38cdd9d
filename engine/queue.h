/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_QUEUE_H
#define ENGINE_QUEUE_H

/* Lists of callers that wait, between queue.c and op.c (E-10, E-11). Owner. */
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

/* The op is in the list. */
static inline void eng_op_unlink(struct eng_op_list *list, struct cf_op *op)
{
    struct cf_op *at = list->first, *before = NULL;

    while (at != op) {
        before = at;
        at = eng_op_of(at)->next;
    }
    if (before == NULL)
        list->first = eng_op_of(op)->next;
    else
        eng_op_of(before)->next = eng_op_of(op)->next;
    if (list->last == op)
        list->last = before;
}

static inline void eng_queue_remove(struct grd_block *block, struct cf_op *op)
{
    struct eng_op_list waiters = {block->waiter_first, block->waiter_last}; /* grd knows no callers */

    eng_op_unlink(&waiters, op);
    block->waiter_first = waiters.first;
    block->waiter_last = waiters.last;
    block->users--;
}

/* op.c: nothing is free that the caller needs; it is submitted again when something may be. */
void eng_op_starve(struct cf_instance *instance, struct cf_op *op);

#endif
