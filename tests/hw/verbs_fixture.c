/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/hw/verbs_fixture.h"

#include <stdio.h>

#include "base/clock.h"

#define SKIP 77

static uint64_t real_time(struct xp_fixture *fixture)
{
    (void)fixture;
    return cf_now_ns();
}

static bool has_settled(struct xp *a, struct xp *b, uint16_t node_a, uint16_t node_b)
{
    const struct xp_verbs *sender = xp_verbs_of(a), *receiver = xp_verbs_of(b);
    const struct xp_verbs_peer *to = &sender->peers[node_b], *from = &receiver->peers[node_a];

    if (to->state != XP_VERBS_UP || from->state != XP_VERBS_UP)
        return true;
    for (uint32_t lane = 0; lane < XP_LANES; lane++)
        if (to->tx[lane].credit.sent != to->tx[lane].credit.returned)
            return false;
    for (uint32_t i = 0; i < CF_BLOCK_SIZES; i++)
        if (to->grants[i].got != from->grants[i].given)
            return false;
    return !receiver->is_granting;
}

bool verbs_is_settled(const struct xp_pair *pair)
{
    for (uint16_t a = 0; a < pair->count; a++)
        for (uint16_t b = 0; b < pair->count; b++)
            if (a != b && pair->sides[a].xp != NULL && pair->sides[b].xp != NULL &&
                !has_settled(pair->sides[a].xp, pair->sides[b].xp, a, b))
                return false;
    return true;
}

struct xp_fixture verbs_fixture(void)
{
    return (struct xp_fixture){.address = "verbs:", .advance = real_time, .is_settled = verbs_is_settled};
}

int verbs_device_missing(void)
{
    struct xp_fixture fixture = verbs_fixture();
    struct cf_error error = {.rc = 0};
    struct xp_options options;
    struct xp *xp = NULL;

    xp_side_options(&fixture, &options, 0, 2);
    if (xp_open(&options, &xp, &error) == CF_OK) {
        xp_close(&xp);
        return 0;
    }
    printf("SKIP: %s\n", error.text);
    return SKIP;
}
