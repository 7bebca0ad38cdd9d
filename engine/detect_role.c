/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rounds:
 *
 *   IDLE --somebody waits--> ASKS --all asked--> COLLECTS --all answered, or time--> VICTIMS --none left--> RESTS
 *     ^                        ^                                                                             | |
 *     |                        +-----------------------------deadlock_period since it began------------------+ |
 *     +---------------------------------------the round met nobody who waits-----------------------------------+
 *
 * What is asked for: detect_wish.c; the answers: detect_hear.c; victims: detect_victim.c. A round asks every instance, also
 * those that have left: they serve their shards until the last has left.
 */
#include <string.h>

#include "base/assert.h"
#include "engine/detect_impl.h"
#include "engine/instance.h"

enum cf_rc eng_role_open(struct eng_role *role, struct cf_instance *instance)
{
    const struct cf_allocator *a = instance->allocator;
    uint32_t edges = (uint32_t)instance->options.deadlock_edges, nodes = instance->nodes;
    struct grd_detect_options options = {.vertices_max = edges, .edges_max = edges};

    options.seed = instance->is_manual ? instance->node : cf_mix64(instance->opened_ns, instance->node);
    for (uint32_t mode = 0; mode < GRD_LOCK_MODES; mode++)
        options.conflicts[mode] = grd_lock_conflicts[mode];
    options.conflicts[GRD_LOCK_ANY] = UINT8_MAX;
    role->instance = instance;
    role->wishes_max = edges;
    for (role->slots_count = 4; role->slots_count < 2 * edges;)
        role->slots_count *= 2;
    role->arena_bytes = grd_detect_bytes(edges, edges);
    role->arena = cf_alloc(a, role->arena_bytes, CF_CACHE_LINE, CF_ALLOC_ZERO);
    for (role->heard_slots = 64; role->heard_slots < edges || role->heard_slots < 4 * nodes;)
        role->heard_slots *= 2;
    role->heard = cf_alloc(a, role->heard_slots * sizeof *role->heard, CF_CACHE_LINE, CF_ALLOC_ZERO);
    role->streams_left = cf_alloc(a, nodes, CF_CACHE_LINE, CF_ALLOC_ZERO);
    role->messages_left = cf_alloc(a, nodes * sizeof *role->messages_left, CF_CACHE_LINE, CF_ALLOC_ZERO);
    role->seen = cf_alloc(a, sizeof *role->seen, CF_CACHE_LINE, CF_ALLOC_ZERO);
    role->seeing = cf_alloc(a, sizeof *role->seeing, CF_CACHE_LINE, CF_ALLOC_ZERO);
    if (role->arena == NULL || role->heard == NULL || role->streams_left == NULL ||
        role->messages_left == NULL || role->seen == NULL || role->seeing == NULL)
        return CF_MEMORY;
    for (uint32_t i = 0; i < 2; i++) {
        struct eng_wishes *wishes = &role->wishes[i];

        wishes->wish = cf_alloc(a, edges * sizeof *wishes->wish, CF_CACHE_LINE, 0);
        wishes->first = cf_alloc(a, nodes * sizeof *wishes->first, CF_CACHE_LINE, 0);
        wishes->coming = cf_alloc(a, nodes * sizeof *wishes->coming, CF_CACHE_LINE, 0);
        wishes->slots = cf_alloc(a, role->slots_count * sizeof *wishes->slots, CF_CACHE_LINE, 0);
        if (wishes->wish == NULL || wishes->first == NULL || wishes->coming == NULL || wishes->slots == NULL)
            return CF_MEMORY;
        eng_wishes_clear(role, wishes);
    }
    role->round = (uint64_t)instance->node << ENG_ROUND_NODE_SHIFT;
    cf_hist_init(&role->hist);
    return grd_detect_open(&options, role->arena, role->arena_bytes, &role->core);
}

void eng_role_close(struct eng_role *role)
{
    const struct cf_allocator *a = role->instance ? role->instance->allocator : NULL;

    if (a == NULL)
        return;
    for (uint32_t i = 0; i < 2; i++) {
        cf_free(a, role->wishes[i].wish, role->wishes_max * sizeof *role->wishes[i].wish);
        cf_free(a, role->wishes[i].first, role->instance->nodes * sizeof *role->wishes[i].first);
        cf_free(a, role->wishes[i].coming, role->instance->nodes * sizeof *role->wishes[i].coming);
        cf_free(a, role->wishes[i].slots, role->slots_count * sizeof *role->wishes[i].slots);
    }
    cf_free(a, role->seeing, sizeof *role->seeing);
    cf_free(a, role->seen, sizeof *role->seen);
    cf_free(a, role->messages_left, role->instance->nodes * sizeof *role->messages_left);
    cf_free(a, role->streams_left, role->instance->nodes);
    cf_free(a, role->heard, role->heard_slots * sizeof *role->heard);
    cf_free(a, role->arena, role->arena_bytes);
}

static uint32_t left_count(const struct cf_instance *instance)
{
    uint32_t count = 0;

    for (uint32_t n = 0; n < instance->nodes; n++)
        count += n != instance->node && cf_observe_bool(&instance->peers[n].has_left);
    return count;
}

/* A change of who has left begins anew: nothing is confirmed across it, and no victim of before is told again. */
static void view_look(struct eng_role *role)
{
    bool is_mine = eng_detect_node(role->instance) == role->instance->node;
    uint32_t left = left_count(role->instance);

    if (is_mine == role->is_mine && left == role->left_count)
        return;
    role->is_mine = is_mine;
    role->left_count = left;
    role->is_wanted = is_mine && (role->is_wanted || role->phase != ENG_ROLE_IDLE);
    role->phase = ENG_ROLE_IDLE;
    role->is_whole = role->is_changes = false;
    role->victims_open = 0;
    memset(role->victim, 0, sizeof role->victim);
    eng_wishes_clear(role, &role->wishes[0]);
    eng_wishes_clear(role, &role->wishes[1]);
    grd_detect_clear(role->core);
}

/* Only where nothing is amiss, and the last round was the one before. */
static bool may_be_changes(const struct eng_role *role)
{
    return role->phase == ENG_ROLE_RESTS && role->is_whole && !role->is_anew_wanted &&
           role->changes < ENG_DETECT_CHANGES_MAX;
}

static void round_begin(struct eng_role *role, uint64_t now_ns)
{
    uint64_t since_ns = now_ns > role->round_ns ? now_ns - role->round_ns : 0;
    bool was_changes = role->is_changes;

    role->is_changes = may_be_changes(role);
    role->changes = role->is_changes ? role->changes + 1 : 0;
    role->counts.anew += !role->is_changes;
    role->round++;
    role->round_ns = now_ns;
    role->is_wanted = role->has_waits = role->is_spoiled = role->is_asked_again = role->is_anew_wanted =
        false;
    role->is_clean = role->victims_open == 0;
    role->phase = ENG_ROLE_ASKS;
    role->ask_node = 0;
    role->ask_part = 0;
    role->answers_left = role->instance->nodes;
    role->heard_count = 0;
    memset(role->streams_left, ENG_STREAMS_NOT_KNOWN, role->instance->nodes);
    memset(role->messages_left, 0, role->instance->nodes * sizeof *role->messages_left);
    role->is_more = was_changes && role->is_changes;
    eng_wishes_begin(role, was_changes);
    eng_seen_begin(role, since_ns);
    if (role->is_changes)
        grd_detect_round_continue(role->core, since_ns);
    else
        grd_detect_round_begin(role->core);
}

/* Nothing of its answer has come. */
static bool is_silent(const struct eng_role *role, uint32_t node)
{
    return role->streams_left[node] == ENG_STREAMS_NOT_KNOWN && role->messages_left[node] == 0;
}

/* The next part of the ask to the instance at hand; it is the last one when all its wishes are in. */
static void ask_one(struct eng_role *role)
{
    const struct eng_wishes *wishes = &role->wishes[role->wishes_now];
    struct grd_msg msg = {.type = GRD_MSG_DETECT_ASK,
                          .request = role->round,
                          .held = role->instance->options.deadlock_after,
                          .number = ++role->ask_part};

    if (role->ask_part == 1)
        role->ask_wish = wishes->first[role->ask_node];
    while (role->ask_wish != ENG_WISH_NONE && msg.words.count < GRD_WORDS_MAX) {
        msg.words.word[msg.words.count++] = wishes->wish[role->ask_wish].key;
        role->ask_wish = wishes->wish[role->ask_wish].next;
    }
    msg.flags = (uint8_t)((role->ask_wish == ENG_WISH_NONE ? GRD_FLAG_LAST : 0) |
                          (role->is_changes ? GRD_FLAG_SINCE : 0) | (role->is_more ? GRD_FLAG_MORE : 0));
    eng_detector_emit(role->instance, (uint16_t)role->ask_node, &msg);
    if (role->ask_wish != ENG_WISH_NONE)
        return;
    role->ask_node++;
    role->ask_part = 0;
}

/* False: all have been asked. Asked again are those alone of whom nothing has come. */
static bool ask_next(struct eng_role *role)
{
    while (role->is_asked_again && role->ask_part == 0 && role->ask_node < role->instance->nodes &&
           !is_silent(role, role->ask_node))
        role->ask_node++;
    if (role->ask_node == role->instance->nodes)
        return false;
    ask_one(role);
    return true;
}

static void round_end(struct eng_role *role, uint64_t now_ns)
{
    uint32_t confirmed = grd_detect_round_end(role->core);

    role->counts.rounds++;
    role->counts.late += role->answers_left != 0;
    role->is_whole = role->answers_left == 0 && !role->is_spoiled;
    role->has_waits |= grd_detect_waits(role->core) != 0;
    if (role->is_changes && !role->is_whole)
        confirmed = 0; /* whose changes are lacking is not known of an edge: the next round is told anew */
    role->counts.edges = confirmed;
    eng_seen_publish(role, confirmed, now_ns);
    role->phase = ENG_ROLE_VICTIMS;
    role->victims_left = 0;
    if (confirmed != 0 && role->is_clean)
        eng_role_victims_begin(role);
}

void eng_role_message(struct eng_role *role, const struct grd_msg *msg, uint64_t now_ns)
{
    view_look(role);
    if (!role->is_mine)
        return;
    switch (msg->type) {
    case GRD_MSG_DETECT_ASK:
        role->is_wanted = true;
        break;
    case GRD_MSG_DETECT_REPORT:
        eng_role_on_report(role, msg, now_ns);
        break;
    case GRD_MSG_DETECT_TOLD:
        eng_role_on_told(role, msg, now_ns);
        break;
    default:
        cf_unreachable();
    }
}

static uint64_t wait_ns(const struct eng_role *role)
{
    return role->instance->options.deadlock_period * ENG_DETECT_PERIODS_MAX;
}

/* When those of whom nothing has come are asked again. */
static uint64_t again_ns(const struct eng_role *role)
{
    return role->round_ns + role->instance->options.deadlock_period * ENG_DETECT_PERIODS_AGAIN;
}

static bool phase_turn(struct eng_role *role, uint32_t messages_max, uint32_t victims_max, uint64_t now_ns)
{
    switch ((enum eng_role_phase)role->phase) {
    case ENG_ROLE_IDLE:
        if (!role->is_wanted)
            return false;
        round_begin(role, now_ns);
        return true;
    case ENG_ROLE_ASKS:
        while (messages_max > 0 && ask_next(role))
            messages_max--;
        if (role->ask_node == role->instance->nodes)
            role->phase = ENG_ROLE_COLLECTS;
        return true;
    case ENG_ROLE_COLLECTS:
        if (role->answers_left != 0 && !role->is_asked_again && now_ns >= again_ns(role)) {
            role->is_asked_again = true;
            role->ask_node = 0;
            role->phase = ENG_ROLE_ASKS;
            return true;
        }
        if (role->answers_left != 0 && now_ns < role->round_ns + wait_ns(role))
            return false;
        round_end(role, now_ns);
        return true;
    case ENG_ROLE_VICTIMS:
        while (victims_max-- > 0)
            if (role->victims_left == 0 || !eng_role_victim_take(role, now_ns)) {
                role->is_anew_wanted |= grd_detect_is_stale(role->core);
                role->phase = role->has_waits ? ENG_ROLE_RESTS : ENG_ROLE_IDLE;
                break;
            }
        return true;
    case ENG_ROLE_RESTS:
        if (now_ns < role->round_ns + role->instance->options.deadlock_period)
            return false;
        round_begin(role, now_ns);
        return true;
    }
    cf_unreachable();
}

bool eng_role_turn(struct eng_role *role, uint32_t messages_max, uint32_t victims_max, uint64_t now_ns)
{
    view_look(role);
    if (!role->is_mine)
        return false;
    if (role->victims_open != 0 && now_ns >= role->again_ns)
        eng_role_victims_again(role, now_ns);
    return phase_turn(role, messages_max, victims_max, now_ns);
}

uint64_t eng_role_next_ns(const struct eng_role *role)
{
    uint64_t next = UINT64_MAX;

    if (!role->is_mine)
        return UINT64_MAX;
    switch ((enum eng_role_phase)role->phase) {
    case ENG_ROLE_IDLE:
        next = role->is_wanted ? 0 : UINT64_MAX;
        break;
    case ENG_ROLE_ASKS:
    case ENG_ROLE_VICTIMS:
        next = 0;
        break;
    case ENG_ROLE_COLLECTS:
        next = role->answers_left == 0 ? 0
               : role->is_asked_again  ? role->round_ns + wait_ns(role)
                                       : again_ns(role);
        break;
    case ENG_ROLE_RESTS:
        next = role->round_ns + role->instance->options.deadlock_period;
        break;
    }
    return role->victims_open && role->again_ns < next ? role->again_ns : next;
}
