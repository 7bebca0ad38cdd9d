/* SPDX-License-Identifier: Apache-2.0 */
/* Answers of the instances to the round at hand: each message counts once, and the last of a stream says how many it has. */
#include "engine/detect_impl.h"
#include "engine/instance.h"

static void on_taken(struct eng_role *role, const struct grd_words *words)
{
    grd_detect_round_gone(role->core, words->word, words->count);
    for (uint32_t i = 0; i < words->count; i++)
        eng_seen_take(role, words->word[i]);
}

/*
 * Ages are of the moment of the report, which instances make at different times: all are brought back to when the round
 * began, up to what the message took. A turn's time may be older than that of the one before.
 */
static void on_told_words(struct eng_role *role, const struct grd_msg *msg, uint64_t now_ns)
{
    uint64_t since_ns = now_ns > role->round_ns ? now_ns - role->round_ns : 0;
    struct grd_detect_report report;
    uint32_t at = 0;

    while (at < msg->words.count) {
        if (!eng_detect_unpack(&msg->words, &at, msg->from, role->instance->nodes, &report)) {
            role->counts.bad++;
            break;
        }
        report.age_ns = report.age_ns > since_ns ? report.age_ns - since_ns : 0;
        grd_detect_round_report(role->core, &report, 1);
        if (report.kind == GRD_DETECT_BEHIND && report.side != GRD_DETECT_ITSELF)
            eng_wish_add(role, report.peer, report.key);
        role->has_waits |= report.kind == GRD_DETECT_LOCAL || report.kind == GRD_DETECT_ASKS;
        eng_seen_add(role, &report);
    }
}

/*
 * A message that comes twice would stand for one that is lost. False: it was here, or there are more than all reports that
 * there is room for would need: the round will not be whole.
 */
static bool is_first(struct eng_role *role, const struct grd_msg *msg)
{
    uint64_t message = (uint64_t)msg->from << 48 | (uint64_t)msg->how << 40 |
                       (msg->held & ((UINT64_C(1) << 40) - 1));
    uint32_t slot = (uint32_t)cf_mix64(message, role->round) & (role->heard_slots - 1);

    for (; role->heard[slot].round == role->round; slot = (slot + 1) & (role->heard_slots - 1))
        if (role->heard[slot].message == message)
            return false;
    if (role->heard_count >= role->heard_slots / 4 * 3)
        return false;
    role->heard_count++;
    role->heard[slot] = (struct eng_heard){role->round, message};
    return true;
}

static bool is_answered(const struct eng_role *role, uint16_t node)
{
    return role->streams_left[node] == 0 && role->messages_left[node] <= 0;
}

void eng_role_on_report(struct eng_role *role, const struct grd_msg *msg, uint64_t now_ns)
{
    uint8_t *left = &role->streams_left[msg->from];

    if ((role->phase != ENG_ROLE_ASKS && role->phase != ENG_ROLE_COLLECTS) || msg->request != role->round ||
        is_answered(role, msg->from) || !is_first(role, msg))
        return; /* too late, or once more */
    role->is_spoiled |= (msg->flags & GRD_FLAG_UNKNOWN) != 0;
    if (msg->flags & GRD_FLAG_TAKEN)
        on_taken(role, &msg->words);
    else
        on_told_words(role, msg, now_ns);
    role->messages_left[msg->from]--;
    if ((msg->flags & GRD_FLAG_LAST) && *left != 0) {
        *left = (uint8_t)((*left == ENG_STREAMS_NOT_KNOWN ? msg->hops : *left) - 1);
        role->messages_left[msg->from] += (int64_t)msg->held; /* its number: so many are in its stream */
    }
    role->answers_left -= is_answered(role, msg->from);
}
