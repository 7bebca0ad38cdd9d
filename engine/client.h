/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_CLIENT_H
#define ENGINE_CLIENT_H

/* How calls become ops of the owner of progress: between client.c and client_async.c. Any thread, with a session of its own. */
#include "engine/instance.h"

void eng_op_prepare(struct cf_session *session, struct cf_op *op, bool is_sync);

/* May a caller drive? */
static inline bool eng_may_own(const struct cf_instance *instance)
{
    return instance->is_compact || !instance->has_poller;
}

/*
 * Asks for lines of what a conversation begins with, which were used long ago: they come while the op is made and progress is
 * taken. Only what anybody may look up. Returns the hash of the block's key, 0 for what is no get.
 */
uint64_t eng_op_foresee(const struct cf_instance *instance, const struct cf_op *op);

/* With progress held: what the caller wants done, and what follows from it in this instance. The network is not told. */
void eng_submit_quiet_owner(struct cf_instance *instance, struct cf_op *op, uint64_t now_ns);

/* Into the inbox of the owner, who is not woken; false: it is full. */
CF_CHECK bool eng_op_push_quiet(struct cf_instance *instance, struct cf_op *op);

/* Hands the op to the owner of progress; the caller becomes it if nobody is. False: the inbox is full. */
CF_CHECK bool eng_op_hand_over(struct cf_instance *instance, struct cf_op *op);

#endif
