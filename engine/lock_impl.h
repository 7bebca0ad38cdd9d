/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_LOCK_IMPL_H
#define ENGINE_LOCK_IMPL_H

/* Shared by lock_owner.c, which begins ops, and lock_done.c, which keeps and completes them. */
#include "engine/lock.h"

#define ENG_LOCK_NO_CALL UINT32_MAX

void eng_lock_waiting_add(struct eng_locks *locks, struct cf_op *op);
/*
 * A completion names an op by a cookie. Waits that can be cancelled carry the op's address: it stays until the
 * completion. Swaps, reads and publishing unlocks cannot be taken back once they are under way, but their callers may
 * leave at their deadline: they carry the number of a slot, which outlives the op.
 */
uint64_t eng_lock_cookie_of_op(struct cf_op *op);
uint64_t eng_lock_cookie_of_call(uint32_t call);
/* ENG_LOCK_NO_CALL: all are taken. */
uint32_t eng_lock_call_take(struct eng_locks *locks, struct cf_op *op);
void eng_lock_call_give(struct eng_locks *locks, uint32_t call);
void eng_lock_value_out(struct cf_op *op, const struct grd_lock_value *value);
void eng_lock_claim_out(struct cf_op *op, grd_lock_id claim, uint8_t mode, bool is_held, bool is_demoted);
/* Enters the gate with room for what a step may want to send. */
void eng_lock_enter_to_step(struct cf_instance *instance);

#endif
