/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who uses a bucket, and whether it should go there. Counting is a few instructions a request that has come to the master;
 * nothing is counted on a hit. The four most frequent users are kept exactly enough: a newcomer takes the place of
 * the least and its count (A. Metwally et al., "Efficient computation of frequent and top-k elements", ICDT 2005).
 *
 * A bucket goes when all of these hold:
 *   clear       another instance sent CLEAR_OF of CLEAR requests at least, and COUNT_MIN (decayed) in number
 *   lasting     STREAK_MIN looks in a row have found so, of the same instance or another
 *   rested      it came here rest_ns ago or longer
 *   rare        gap_ns have passed since this instance began its last move, and none is under way
 * So a bucket that two instances use alike stays, and one whose user changes moves once in rest_ns at most.
 */
#include "grd/move.h"

#define COUNT_MIN 8u
#define CLEAR_OF 3u
#define CLEAR 4u
#define STREAK_MIN 2u
/* Buckets looked at in a step. */
#define LOOKS_MAX 512u

void grd_move_count(struct grd_move *move, uint32_t bucket, uint16_t node)
{
    struct grd_move_use *use = &move->use[bucket];
    uint32_t i, least = 0;

    for (i = 0; i < GRD_MOVE_USERS; i++) {
        if (use->node[i] == node && use->count[i] != 0) {
            use->count[i] += use->count[i] != UINT16_MAX;
            return;
        }
        if (use->count[i] < use->count[least])
            least = i;
    }
    use->node[least] = node;
    use->count[least] += use->count[least] != UINT16_MAX;
}

static uint32_t most_of(const struct grd_move_use *use)
{
    uint32_t i, best = 0;

    for (i = 1; i < GRD_MOVE_USERS; i++)
        if (use->count[i] > use->count[best])
            best = i;
    return best;
}

static uint16_t most_frequent(const struct grd_move *move, const struct grd_move_use *use)
{
    uint32_t best = most_of(use);

    return use->count[best] != 0 ? use->node[best] : move->node;
}

/* Who of the others uses it most, if the gain is clear; else this instance. */
static uint16_t better_owner(const struct grd_move *move, const struct grd_move_use *use)
{
    uint32_t i, all = 0, best = most_of(use);

    for (i = 0; i < GRD_MOVE_USERS; i++)
        all += use->count[i];
    return use->count[best] >= COUNT_MIN && use->count[best] * CLEAR >= all * CLEAR_OF ? use->node[best]
                                                                                       : move->node;
}

static void look(struct grd_move *move, uint32_t bucket)
{
    struct grd_move_use *use = &move->use[bucket];
    uint16_t to = better_owner(move, use);
    uint32_t i;

    for (i = 0; i < GRD_MOVE_USERS; i++)
        use->count[i] /= 2;
    if (to == move->node)
        move->streak[bucket] = 0;
    else if (move->streak[bucket] < STREAK_MIN)
        move->streak[bucket]++;
    if (move->streak[bucket] >= STREAK_MIN)
        move->begin_left = move->map->buckets;
}

void grd_move_plan_begin(struct grd_move *move, uint64_t now_ns, struct grd_actions *actions)
{
    uint32_t i;

    for (i = 0; i < LOOKS_MAX && move->begin_left != 0; i++) {
        uint32_t bucket = move->begin_hand;
        uint16_t to;

        move->begin_hand = (move->begin_hand + 1) & (move->map->buckets - 1);
        move->begin_left--;
        if (move->map->owner[bucket] != move->node || move->streak[bucket] < STREAK_MIN ||
            (move->map->number[bucket] != 0 && now_ns - move->came_ns[bucket] < move->rest_ns))
            continue;
        to = most_frequent(move, &move->use[bucket]);
        if (to == move->node || grd_move_begin(move, bucket, to, now_ns, actions) != CF_OK)
            continue;
        move->streak[bucket] = 0;
        move->plan_gap_ns = now_ns + move->gap_ns;
        move->counters.planned++;
        return;
    }
}

void grd_move_plan(struct grd_move *move)
{
    uint32_t buckets = move->map->buckets, looks = buckets < LOOKS_MAX ? buckets : LOOKS_MAX, i;

    for (i = 0; i < looks; i++) {
        uint32_t bucket = move->plan_hand;

        move->plan_hand = (move->plan_hand + 1) & (buckets - 1);
        if (move->map->owner[bucket] == move->node)
            look(move, bucket);
    }
    move->plan_next_ns += move->period_ns * looks / buckets;
}
