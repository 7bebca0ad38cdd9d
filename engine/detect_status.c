/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The wait-for graph as the detector last saw it, for whoever asks: reports of one round, put together the way the core
 * does it. Made by the thread that asks, from a copy.
 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/ring.h"
#include "engine/detect_impl.h"
#include "engine/instance.h"

/* Edges listed at most; `reports` tells how much there was. */
#define EDGES_MAX 1024u
#define OWNER_TEXT_BYTES 64u
#define LOCK_TEXT_BYTES (GRD_LOCK_NAME_BYTES + 64u)

struct copy {
    struct eng_seen seen;
    struct eng_told told[ENG_DETECT_TOLD_MAX];
};

/* NULL: no memory. */
static struct copy *copy_take(struct eng_role *role)
{
    struct copy *copy = malloc(sizeof *copy);

    if (copy == NULL)
        return NULL;
    pthread_mutex_lock(&role->seen_lock);
    copy->seen = *role->seen;
    memcpy(copy->told, role->told, sizeof copy->told);
    pthread_mutex_unlock(&role->seen_lock);
    return copy;
}

/* The list in the making. */
struct edges {
    struct cf_instance *instance;
    struct cf_json_build *build;
    json_t *list;
};

static void edge_add(const struct edges *edges, const struct grd_detect_report *waiter, const char *holder,
                     const char *mode)
{
    char owner[OWNER_TEXT_BYTES], lock[LOCK_TEXT_BYTES];

    if (json_array_size(edges->list) == EDGES_MAX)
        return;
    eng_detect_owner_text(waiter->node, waiter->owner, owner, sizeof owner);
    eng_detect_wait_text(edges->instance, (waiter->wait & ENG_WAIT_BLOCK) != 0, waiter->key, lock,
                         sizeof lock);
    cf_json_append(edges->build, edges->list,
                   json_pack("{s:s, s:I, s:s, s:s, s:s}", "waiter", owner, "for_ns",
                             (json_int_t)waiter->age_ns, "lock", lock, "holder", holder, "mode", mode));
}

static void edge_local(const struct edges *edges, const struct grd_detect_report *waiter)
{
    char holder[OWNER_TEXT_BYTES];

    eng_detect_owner_text(waiter->node, waiter->holder, holder, sizeof holder);
    edge_add(edges, waiter, holder, "");
}

static bool conflicts(uint8_t asked, uint8_t mode)
{
    return asked == GRD_LOCK_ANY ||
           (asked < GRD_LOCK_MODES && mode < GRD_LOCK_MODES && !grd_lock_compatible(mode, asked));
}

static const char *mode_name(const struct grd_detect_report *waiter, const struct grd_detect_report *stake)
{
    if (stake->side != GRD_DETECT_HOLDS)
        return "";
    if (waiter->wait & ENG_WAIT_BLOCK)
        return stake->mode == CF_MODE_X ? "X" : "S";
    return grd_lock_mode_name(stake->mode);
}

/* The owners at `behind->peer` who keep the ask from being served; the instance itself where they are not known yet. */
static void edges_of_behind(const struct edges *edges, const struct eng_seen *seen,
                            const struct grd_detect_report *waiter, const struct grd_detect_report *behind)
{
    char holder[OWNER_TEXT_BYTES];
    bool is_known = false;

    for (uint32_t i = 0; i < seen->reports_count; i++) {
        const struct grd_detect_report *stake = &seen->report[i];

        if (stake->kind != GRD_DETECT_STAKE || stake->node != behind->peer || stake->key != behind->key ||
            stake->side != behind->side || stake->wait != behind->grant ||
            !conflicts(behind->mode, stake->mode))
            continue;
        is_known = true;
        eng_detect_owner_text(stake->node, stake->owner, holder, sizeof holder);
        edge_add(edges, waiter, holder, mode_name(waiter, stake));
    }
    if (is_known)
        return;
    snprintf(holder, sizeof holder, "instance %u", behind->peer);
    edge_add(edges, waiter, holder, "");
}

static json_t *edges_of(struct cf_json_build *build, struct cf_instance *instance,
                        const struct eng_seen *seen)
{
    const struct edges edges = {instance, build, json_array()};

    for (uint32_t i = 0; i < seen->reports_count; i++) {
        const struct grd_detect_report *waiter = &seen->report[i];

        if (waiter->kind == GRD_DETECT_LOCAL)
            edge_local(&edges, waiter);
        for (uint32_t j = 0; waiter->kind == GRD_DETECT_ASKS && j < seen->reports_count; j++) {
            const struct grd_detect_report *behind = &seen->report[j];

            if (behind->kind == GRD_DETECT_BEHIND && behind->node == waiter->node &&
                behind->key == waiter->key && behind->wait == waiter->grant)
                edges_of_behind(&edges, seen, waiter, behind);
        }
    }
    return edges.list;
}

static json_t *cycles_of(struct cf_json_build *build, const struct copy *copy, uint64_t now_ns)
{
    json_t *list = json_array();

    for (uint32_t i = 0; i < ENG_DETECT_TOLD_MAX; i++) {
        const struct eng_told *told = &copy->told[i];

        if (told->number != 0)
            cf_json_append(build, list,
                           json_pack("{s:I, s:I, s:s, s:s}", "number", (json_int_t)told->number, "ago_ns",
                                     (json_int_t)(now_ns - told->at_ns), "victim",
                                     !told->is_known   ? "not acknowledged"
                                     : told->has_ended ? "ended"
                                                       : "gone",
                                     "text", told->text));
    }
    return list;
}

static void put_role(struct cf_json_build *build, struct cf_instance *instance, json_t *object)
{
    struct eng_role *role = &instance->locks.detector->role;
    struct copy *copy = copy_take(role);
    uint64_t now_ns = cf_now_ns(), rounds;

    if (copy == NULL) {
        build->is_short = true;
        return;
    }
    cf_ring_tsan_hide(); /* a plain word of one writer, read without order: see "Counters" in docs/memory-model.md */
    rounds = role->counts.rounds;
    cf_ring_tsan_show();
    cf_json_put(build, object, "rounds", json_integer((json_int_t)rounds));
    cf_json_put(build, object, "ago_ns",
                json_integer(copy->seen.at_ns ? (json_int_t)(now_ns - copy->seen.at_ns) : 0));
    cf_json_put(build, object, "reports", json_integer(copy->seen.reports_total));
    cf_json_put(build, object, "confirmed", json_integer(copy->seen.confirmed));
    cf_json_put(build, object, "edges", edges_of(build, instance, &copy->seen));
    cf_json_put(build, object, "cycles", cycles_of(build, copy, now_ns));
    free(copy);
}

void eng_detect_json(struct cf_json_build *build, struct cf_instance *instance, json_t *root)
{
    uint16_t node = eng_detect_node(instance);
    json_t *object;

    if (instance->locks.detector == NULL || node == CF_NODE_NONE)
        return;
    object = json_pack("{s:i, s:b}", "detector", (int)node, "here", node == instance->node);
    if (node == instance->node)
        put_role(build, instance, object);
    cf_json_put(build, root, "waits", object);
}
