/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Wait-for edges as hostile instances could report them: words as they come in a message, prints of what nobody told,
 * rounds told as changes and anew. The detector ends with as many victims as there can be at most, each with a cycle, and
 * touches nothing but its memory.
 *
 * Input: operations. A byte that says which, then what it takes: REPORT 7 bytes, WORDS a count and so many words,
 * PRINT 8 bytes, TAKE the number of a report.
 */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "engine/instance.h"
#include "tests/fuzz/fuzz.h"

const char fuzz_name[] = "detect";
const uint32_t fuzz_runs = 60000;

#define VERTICES 12u
#define EDGES 24u
#define NODES 3u
#define KEPT 16u /* reports that may be taken back */

enum op { BEGIN = 0, CONTINUE, END, REPORT, WORDS, PRINT, TAKE, OPS };

struct world {
    struct grd_detect *detect;
    bool is_round;
    bool is_begun; /* a round has ended: the next one may be told as changes */
    uint32_t kept;
    uint64_t prints[KEPT];
};

static uint64_t number(const uint8_t **at, const uint8_t *end, uint32_t bytes)
{
    uint64_t value = 0;

    for (uint32_t i = 0; i < bytes && *at < end; i++)
        value |= (uint64_t) * (*at)++ << 8 * i;
    return value;
}

static void told(struct world *world, const struct grd_detect_report *report)
{
    grd_detect_round_report(world->detect, report, 1);
    world->prints[world->kept++ % KEPT] = grd_detect_print(report);
}

/* Few numbers, so that reports meet. */
static void on_report(struct world *world, const uint8_t **at, const uint8_t *end)
{
    uint64_t bits = number(at, end, 7);
    struct grd_detect_report report = {.kind = bits & 7,
                                       .side = bits >> 3 & 3,
                                       .mode = bits >> 5 & 15,
                                       .node = bits >> 9 & 3,
                                       .peer = bits >> 11 & 3,
                                       .key = bits >> 13 & 1,
                                       .owner = bits >> 14 & 3,
                                       .holder = bits >> 16 & 3,
                                       .wait = bits >> 18 & 3,
                                       .grant = bits >> 20 & 3,
                                       .cost = (uint32_t)(bits >> 22 & 3),
                                       .age_ns = bits >> 24 << 20};

    told(world, &report);
}

static void on_words(struct world *world, const uint8_t **at, const uint8_t *end)
{
    struct grd_words words = {.count = (uint8_t)(number(at, end, 1) % (GRD_WORDS_MAX + 1))};
    struct grd_detect_report report;
    uint32_t next = 0;

    for (uint32_t i = 0; i < words.count; i++)
        words.word[i] = number(at, end, 8);
    while (next < words.count && eng_detect_unpack(&words, &next, 1, NODES, &report))
        told(world, &report);
}

static void on_end(struct world *world)
{
    struct grd_detect_step steps[VERTICES];
    struct grd_detect_victim victim;
    uint32_t victims = 0, confirmed = grd_detect_round_end(world->detect), cyclic;

    fuzz_check(confirmed <= EDGES && grd_detect_waits(world->detect) <= EDGES);
    cyclic = grd_detect_resolve(world->detect);
    fuzz_check(cyclic <= VERTICES);
    while (grd_detect_victim_next(world->detect, &victim, steps, VERTICES)) {
        fuzz_check(++victims <= cyclic && victim.cycle_length <= cyclic && victim.steps_count != 0);
        fuzz_check(steps[0].what == GRD_DETECT_OWNER && steps[0].id == victim.owner);
        fuzz_check(steps[0].wait == victim.wait && steps[0].node == victim.node);
    }
    fuzz_check(!grd_detect_is_stale(world->detect) || victims == 0);
    world->is_round = false;
    world->is_begun = true;
}

static void step(struct world *world, enum op op, const uint8_t **at, const uint8_t *end)
{
    uint64_t print;

    if (!world->is_round) {
        if (op == CONTINUE && world->is_begun)
            grd_detect_round_continue(world->detect, number(at, end, 4));
        else
            grd_detect_round_begin(world->detect);
        world->is_round = true;
        return;
    }
    switch (op) {
    case REPORT:
        on_report(world, at, end);
        break;
    case WORDS:
        on_words(world, at, end);
        break;
    case PRINT:
        print = number(at, end, 8);
        grd_detect_round_gone(world->detect, &print, 1);
        break;
    case TAKE:
        grd_detect_round_gone(world->detect, &world->prints[number(at, end, 1) % KEPT], 1);
        break;
    case BEGIN:
    case CONTINUE:
    case END:
    case OPS:
        on_end(world);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t bytes)
{
    static const uint8_t conflicts[GRD_DETECT_MODES] = {0x00, 0x20, 0x38, 0x34, 0x3c, 0x3e, 0xff, 0xff};
    struct grd_detect_options options = {.vertices_max = VERTICES, .edges_max = EDGES, .seed = 3};
    uint64_t arena_bytes = grd_detect_bytes(VERTICES, EDGES);
    void *arena = aligned_alloc(CF_CACHE_LINE, arena_bytes);
    const uint8_t *at = input, *end = input + bytes;
    struct world world = {.is_round = false};
    enum cf_rc rc;

    fuzz_check(arena != NULL);
    memset(arena, 0xa7, arena_bytes);
    memcpy(options.conflicts, conflicts, sizeof conflicts);
    rc = grd_detect_open(&options, arena, arena_bytes, &world.detect);
    fuzz_check(rc == CF_OK);
    while (at < end) {
        enum op op = (enum op)(*at++ % OPS);

        step(&world, op, &at, end);
    }
    free(arena);
    return 0;
}

static size_t make_report(struct cf_rng *rng, uint8_t *input)
{
    uint64_t bits = cf_rng_next(rng);

    if (cf_rng_chance(rng, 0.7))
        bits = (bits & ~UINT64_C(0x61f)) | cf_rng_below(rng, 4); /* of one node, well-formed */
    input[0] = REPORT;
    memcpy(input + 1, &bits, 7);
    return 8;
}

size_t fuzz_make(struct cf_rng *rng, uint8_t *input)
{
    size_t bytes = 0, max = 40 + (size_t)cf_rng_below(rng, 600);

    while (bytes < max) {
        uint64_t kind = cf_rng_below(rng, 40);

        if (kind < 30)
            bytes += make_report(rng, input + bytes);
        else
            input[bytes++] = kind < 33 ? TAKE : kind < 36 ? CONTINUE : (uint8_t)cf_rng_below(rng, OPS);
    }
    return bytes;
}
