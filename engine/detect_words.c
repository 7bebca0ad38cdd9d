/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reports and cycles as words of a message. One encoding each: bits that a kind does not use are 0.
 *
 *   first word   kind 2 | side 1 | mode 3 | age 26, of 65536 ns | cost 32           LOCAL, ASKS
 *                kind 2 | side 1 | mode 3 | itself 1 | 0 9 | node 16 | peer 16 | 0 16         BEHIND
 *                kind 2 | side 1 | mode 3 | 0                                       STAKE
 *   then         key; owner but for BEHIND; holder of LOCAL; wait; grant
 */
#include <inttypes.h>
#include <string.h>

#include "engine/instance.h"

#define AGE_SHIFT 16u
#define AGE_MAX ((UINT64_C(1) << 26) - 1)
#define ITSELF_SHIFT 6u
#define NODE_SHIFT 16u
#define PEER_SHIFT 32u
#define COST_SHIFT 32u

static const uint8_t words_of[GRD_DETECT_KINDS] = {
    [GRD_DETECT_LOCAL] = 6, [GRD_DETECT_ASKS] = 5, [GRD_DETECT_BEHIND] = 4, [GRD_DETECT_STAKE] = 5};

bool eng_detect_pack(struct grd_words *words, const struct grd_detect_report *report)
{
    uint64_t *word = &words->word[words->count], age = report->age_ns >> AGE_SHIFT;

    if (words->count + words_of[report->kind] > GRD_WORDS_MAX)
        return false;
    words->count = (uint8_t)(words->count + words_of[report->kind]);
    *word = report->kind | (uint64_t)(report->side & 1) << 2 | (uint64_t)report->mode << 3;
    switch ((enum grd_detect_kind)report->kind) {
    case GRD_DETECT_LOCAL:
    case GRD_DETECT_ASKS:
        *word |= (age < AGE_MAX ? age : AGE_MAX) << 6 | (uint64_t)report->cost << COST_SHIFT;
        break;
    case GRD_DETECT_BEHIND:
        *word |= (uint64_t)report->node << NODE_SHIFT | (uint64_t)report->peer << PEER_SHIFT;
        *word |= (uint64_t)(report->side == GRD_DETECT_ITSELF) << ITSELF_SHIFT;
        break;
    case GRD_DETECT_STAKE:
    case GRD_DETECT_KINDS:
        break;
    }
    *++word = report->key;
    if (report->kind != GRD_DETECT_BEHIND)
        *++word = report->owner;
    if (report->kind == GRD_DETECT_LOCAL)
        *++word = report->holder;
    *++word = report->wait;
    *++word = report->grant;
    return true;
}

bool eng_detect_unpack(const struct grd_words *words, uint32_t *at, uint16_t from, uint32_t nodes,
                       struct grd_detect_report *report)
{
    const uint64_t *word = &words->word[*at];
    uint64_t first = *word;

    memset(report, 0, sizeof *report);
    report->kind = first & 3;
    report->side = first >> 2 & 1;
    report->mode = first >> 3 & 7;
    report->node = from;
    if (*at + words_of[report->kind] > words->count)
        return false;
    *at += words_of[report->kind];
    switch ((enum grd_detect_kind)report->kind) {
    case GRD_DETECT_LOCAL:
    case GRD_DETECT_ASKS:
        if (report->side || report->mode)
            return false;
        report->age_ns = (first >> 6 & AGE_MAX) << AGE_SHIFT;
        report->cost = (uint32_t)(first >> COST_SHIFT);
        break;
    case GRD_DETECT_BEHIND:
        report->node = (uint16_t)(first >> NODE_SHIFT);
        report->peer = (uint16_t)(first >> PEER_SHIFT);
        if ((first >> ITSELF_SHIFT & 0x3fe) || first >> (PEER_SHIFT + 16) || report->node >= nodes ||
            report->peer >= nodes)
            return false;
        if (first >> ITSELF_SHIFT & 1) {
            if (report->side || report->mode)
                return false;
            report->side = GRD_DETECT_ITSELF;
        }
        break;
    case GRD_DETECT_STAKE:
    case GRD_DETECT_KINDS:
        if (first >> 6)
            return false;
        break;
    }
    report->key = *++word;
    if (report->kind != GRD_DETECT_BEHIND)
        report->owner = *++word;
    if (report->kind == GRD_DETECT_LOCAL)
        report->holder = *++word;
    report->wait = *++word;
    report->grant = *++word;
    return true;
}

/* ------------------------------------------------------------------ cycles */

/*
 *   steps 8 | owners 32 | modes 3 each, 21; nodes 16 each, in two words; owner and key of each step
 */
#define CYCLE_HEAD_WORDS 3u
#define OWNERS_SHIFT 8u
#define MODES_SHIFT 40u
_Static_assert(CYCLE_HEAD_WORDS + 2 * ENG_DETECT_STEPS == GRD_WORDS_MAX, "a cycle fills a message");

void eng_detect_cycle_pack(struct grd_words *words, const struct eng_detect_cycle *cycle)
{
    uint64_t *word = words->word;

    words->count = (uint8_t)(CYCLE_HEAD_WORDS + 2 * cycle->steps_count);
    word[0] = cycle->steps_count | (uint64_t)cycle->owners_count << OWNERS_SHIFT;
    word[1] = word[2] = 0;
    for (uint32_t i = 0; i < cycle->steps_count; i++) {
        word[0] |= (uint64_t)cycle->step[i].mode << (MODES_SHIFT + 3 * i);
        word[1 + i / 4] |= (uint64_t)cycle->step[i].node << (16 * (i % 4));
        word[CYCLE_HEAD_WORDS + 2 * i] = cycle->step[i].owner;
        word[CYCLE_HEAD_WORDS + 2 * i + 1] = cycle->step[i].key;
    }
}

bool eng_detect_cycle_unpack(const struct grd_words *words, uint32_t nodes, struct eng_detect_cycle *cycle)
{
    const uint64_t *word = words->word;

    if (words->count < CYCLE_HEAD_WORDS)
        return false;
    cycle->steps_count = (uint8_t)word[0];
    cycle->owners_count = (uint32_t)(word[0] >> OWNERS_SHIFT);
    if (cycle->steps_count == 0 || cycle->steps_count > ENG_DETECT_STEPS ||
        cycle->owners_count < cycle->steps_count || words->count != CYCLE_HEAD_WORDS + 2 * cycle->steps_count)
        return false;
    for (uint32_t i = 0; i < cycle->steps_count; i++) {
        cycle->step[i].mode = word[0] >> (MODES_SHIFT + 3 * i) & 7;
        cycle->step[i].node = (uint16_t)(word[1 + i / 4] >> (16 * (i % 4)));
        cycle->step[i].owner = word[CYCLE_HEAD_WORDS + 2 * i];
        cycle->step[i].key = word[CYCLE_HEAD_WORDS + 2 * i + 1];
        if (cycle->step[i].node >= nodes)
            return false;
    }
    return true;
}

/* ------------------------------------------------------------------ for people */

void eng_detect_owner_text(uint16_t node, uint64_t owner, char *text, size_t text_bytes)
{
    bool is_session = (owner & ENG_OWNER_SESSION) != 0;

    snprintf(text, text_bytes, "%s %" PRIu64 " of instance %u", is_session ? "session" : "owner",
             (uint64_t)(owner & ~ENG_OWNER_SESSION), node);
}

void eng_detect_wait_text(struct cf_instance *instance, bool is_block, uint64_t key, char *text,
                          size_t text_bytes)
{
    struct eng_locks *locks = &instance->locks;
    const struct grd_lock_resource *resource;

    if (is_block) {
        snprintf(text, text_bytes, "block %" PRIu64 " of file %" PRIu64, (uint64_t)(key & ((1ull << 40) - 1)),
                 key >> 40);
        return;
    }
    eng_gate_enter(locks);
    resource = grd_lock_local_find_report(locks->local, key);
    if (resource)
        grd_lock_name_print(grd_lock_resource_name(resource), text, text_bytes);
    eng_gate_leave(locks);
    if (resource == NULL)
        snprintf(text, text_bytes, "lock %016" PRIx64, key);
}

void eng_detect_cycle_text(struct cf_instance *instance, const struct eng_detect_cycle *cycle, char *text,
                           size_t text_bytes)
{
    char owner[64], lock[GRD_LOCK_NAME_BYTES + 16], held[24];
    size_t length = 0;

    for (uint32_t i = 0; i < cycle->steps_count && length < text_bytes; i++) {
        eng_detect_owner_text(cycle->step[i].node, cycle->step[i].owner, owner, sizeof owner);
        eng_detect_wait_text(instance, cycle->step[i].mode == ENG_DETECT_BLOCK, cycle->step[i].key, lock,
                             sizeof lock);
        held[0] = '\0';
        if (cycle->step[i].mode < GRD_LOCK_MODES)
            snprintf(held, sizeof held, " held in %s", grd_lock_mode_name(cycle->step[i].mode));
        length += (size_t)snprintf(
            text + length, text_bytes - length, "%s%s waits for %s%s%s", i ? "; " : "", owner, lock, held,
            i + 1 == cycle->steps_count && cycle->owners_count > cycle->steps_count ? "; and so on" : "");
    }
    if (length >= text_bytes && text_bytes > 4)
        memcpy(text + text_bytes - 4, "...", 4);
}
