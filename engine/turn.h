/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_TURN_H
#define ENGINE_TURN_H

/* What a turn does with the events of the transport. Owner of progress. */
#include "engine/instance.h"

/* ---- deliver.c ---- */
/* MESSAGE, BLOCK or TORN. What cannot be read is counted and dropped. */
void eng_message_owner(struct cf_instance *instance, const struct xp_event *event, uint64_t now_ns);

/* ---- members.c ---- */
/* What every instance must agree on with its peers; carried by the transport's handshake. */
void eng_peer_hello_owner(struct cf_instance *instance, const struct xp_event *event);
void eng_peer_up_owner(struct cf_instance *instance, uint16_t node);
void eng_peer_down_owner(struct cf_instance *instance, const struct xp_event *event);

#endif
