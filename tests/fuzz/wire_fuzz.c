/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bodies of messages as a hostile peer could send them. Whatever decode accepts has exactly one encoding,
 * which is the input, and names nobody outside the view.
 *
 * Input: u16 type, u16 instances of the view less one, then the body.
 */
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"
#include "tests/unit/grd/msg_fixture.h"
#include "transport/xp.h"

#define HEAD_BYTES 4u

const char fuzz_name[] = "wire";
const uint32_t fuzz_runs = 600000;

static const uint16_t types[] = {
#define GRD_MSG(name, number, sender, receiver, lane, answer, text) number,
#include "grd/msg.def"
#undef GRD_MSG
};
#define TYPES (sizeof types / sizeof types[0])

/* Members rise and are of the view. Leaves the same set in *again, made by adding: its one form. */
static void check_members(const struct grd_set *set, uint32_t nodes, struct grd_set *again)
{
    uint32_t count = 0, last = 0;

    grd_set_clear(again);
    for (uint32_t node = grd_set_next(set, 0); node < CF_NODES_MAX; node = grd_set_next(set, node + 1)) {
        fuzz_check(node < nodes);
        fuzz_check(count == 0 || node > last);
        fuzz_check(grd_set_has(set, (uint16_t)node));
        grd_set_add(again, (uint16_t)node);
        last = node;
        count++;
    }
    fuzz_check(count == set->count);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t bytes)
{
    uint8_t again[GRD_MSG_BYTES_MAX];
    struct grd_msg msg, twin;
    uint32_t body_bytes, nodes;
    uint8_t *body;
    uint16_t type;

    if (bytes < HEAD_BYTES || bytes - HEAD_BYTES > XP_BODY_BYTES_MAX)
        return 0;
    type = (uint16_t)(input[0] | input[1] << 8);
    nodes = 1 + (uint32_t)(input[2] | input[3] << 8) % CF_NODES_MAX;
    body_bytes = (uint32_t)bytes - HEAD_BYTES;
    /* Memory of exactly this size: one byte read too far is seen. */
    body = malloc(body_bytes > 0 ? body_bytes : 1);
    fuzz_check(body != NULL);
    memcpy(body, input + HEAD_BYTES, body_bytes);
    memset(&msg, 0, sizeof msg);
    if (grd_msg_decode(type, body, body_bytes, nodes, &msg)) {
        fuzz_check(msg.type == type);
        fuzz_check(body_bytes <= GRD_MSG_BYTES_MAX);
        fuzz_check(grd_msg_bytes(&msg) == body_bytes);
        fuzz_check(grd_msg_encode(&msg, again) == body_bytes);
        fuzz_check(memcmp(again, body, body_bytes) == 0);
        fuzz_check(msg.requester < nodes);
        twin = msg;
        check_members(&msg.set, nodes, &twin.set);
        fuzz_check(grd_msg_encode(&twin, again) == body_bytes);
        fuzz_check(memcmp(again, body, body_bytes) == 0);
        memset(&twin, 0xff, sizeof twin);
        fuzz_check(grd_msg_decode(type, again, body_bytes, nodes, &twin));
        fuzz_check(msg_equal(&msg, &twin));
    }
    free(body);
    return 0;
}

size_t fuzz_make(struct cf_rng *rng, uint8_t *input)
{
    static const uint32_t views[] = {1, 2, 12, 13, 64, 65, 1000, CF_NODES_MAX};
    uint16_t type = types[cf_rng_below(rng, TYPES)];
    uint32_t nodes = views[cf_rng_below(rng, sizeof views / sizeof views[0])];
    uint32_t members = (uint32_t)cf_rng_below(rng, cf_rng_chance(rng, 0.5) ? 16 : nodes + 1);
    struct grd_msg msg;

    msg_random(rng, type, nodes, members, &msg);
    input[0] = (uint8_t)type;
    input[1] = (uint8_t)(type >> 8);
    input[2] = (uint8_t)(nodes - 1);
    input[3] = (uint8_t)((nodes - 1) >> 8);
    return HEAD_BYTES + grd_msg_encode(&msg, input + HEAD_BYTES);
}
