/* SPDX-License-Identifier: Apache-2.0 */
/* Peers as they come and go: what all members must agree on, the view once they are all here, the stop when one is lost. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "engine/instance.h"
#include "engine/turn.h"

void eng_peer_hello_owner(struct cf_instance *instance, const struct xp_event *event)
{
    struct eng_hello hello;
    const char *why = NULL;

    memcpy(&hello, event->message, sizeof hello);
    if (hello.magic != ENG_HELLO_MAGIC || hello.version != ENG_HELLO_VERSION)
        why = "it speaks another version of the engine's protocol";
    else if (hello.nodes != instance->nodes)
        why = "it has another number of nodes";
    else if (hello.buckets != instance->options.buckets)
        why = "it has another number of buckets";
    else if (hello.locks != instance->options.locks)
        why = "it has another number of locks";
    else if (hello.outstanding > instance->peer_outstanding_max)
        why = "it may have more conversations open than this instance's directory allows for";
    instance->peers[event->node].incarnation = hello.incarnation;
    instance->peers[event->node].records_offset = hello.records_offset;
    instance->peers[event->node].records_shard = hello.records_shard;
    instance->peers[event->node].shards = hello.shards;
    xp_accept(instance->xp, event->node, why ? CF_OPTION : CF_OK, why ? why : "");
    if (why)
        cf_log_warn(&instance->log, "engine", "node %u refused: %s", event->node, why);
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

/* All members are here: the view has its name, and calls are served. */
static void view_complete(struct cf_instance *instance)
{
    uint64_t names[CF_NODES_MAX] = {0};
    uint32_t n;

    for (n = 0; n < instance->nodes; n++)
        names[n] = (uint64_t)n << 32 |
                   (n == instance->node ? instance->incarnation : instance->peers[n].incarnation);
    qsort(names, instance->nodes, sizeof names[0], by_value);
    instance->view = cf_siphash(&instance->cluster_key, names, instance->nodes * sizeof names[0]) | 1;
    cf_trace_add(&instance->trace, CF_TRACE_VIEW_INSTALLED, (uint16_t)instance->nodes, 0, instance->epoch,
                 instance->view);
    cf_log_info(&instance->log, "engine", "open: %u members, epoch %" PRIu64 ", incarnation %u",
                instance->nodes, instance->epoch, instance->incarnation);
    cf_publish_u32(&instance->is_open, 1);
}

void eng_view_alone(struct cf_instance *instance)
{
    view_complete(instance);
}

void eng_peer_up_owner(struct cf_instance *instance, uint16_t node)
{
    struct eng_peer *peer = &instance->peers[node];

    if (peer->state == ENG_PEER_UP)
        return;
    peer->state = ENG_PEER_UP;
    instance->peers_up++;
    if (instance->peers_up + 1 == instance->nodes &&
        !atomic_load_explicit(&instance->is_open, memory_order_relaxed))
        view_complete(instance);
}

void eng_peer_down_owner(struct cf_instance *instance, const struct xp_event *event)
{
    struct eng_peer *peer = &instance->peers[event->node];
    uint16_t node = event->node;

    if (peer->state == ENG_PEER_UP)
        instance->peers_up--;
    if (!atomic_load_explicit(&instance->is_open, memory_order_relaxed)) {
        peer->state = ENG_PEER_ABSENT;
        if (event->rc != CF_PEER_LOST && event->rc != CF_CLOSING && event->rc != CF_OK)
            eng_stop_owner(instance, event->rc, 0, node, "node %u refused this instance: %s", node,
                           cf_rc_text(event->rc));
        return; /* it may come back: the static view waits for it until open_timeout */
    }
    peer->state = ENG_PEER_GONE;
    eng_backlog_drain(instance, node);
    if (cf_observe_bool(&peer->has_left) &&
        atomic_load_explicit(&instance->closing, memory_order_relaxed) == 2)
        return; /* it had everybody's leave and went: so may this one */
    /* Until redo and recovery exist, the death of a member stops the cluster: no survivor grants or writes. */
    eng_stop_owner(instance, CF_PEER_LOST, 0, node, "node %u is gone (%s)", node, cf_rc_name(event->rc));
}
