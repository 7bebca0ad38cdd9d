/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Victims of a round. Each is told until it is acknowledged, under one number: telling twice ends nothing more, since the
 * wait id it names is never used again. No victim is taken from a round that began before that.
 */
#include <string.h>

#include "base/log.h"
#include "base/probe.h"
#include "engine/detect_impl.h"
#include "engine/instance.h"

void eng_role_victims_begin(struct eng_role *role)
{
    if (grd_detect_resolve(role->core) != 0)
        role->victims_left = ENG_DETECT_VICTIMS_MAX;
}

/* The owners of the cycle; `steps_count` of its vertices are in `steps`, asks and what stands between owners as well. */
static void cycle_of(const struct grd_detect_victim *victim, const struct grd_detect_step *steps,
                     struct eng_detect_cycle *cycle)
{
    memset(cycle, 0, sizeof *cycle);
    for (uint32_t i = 0; i < victim->steps_count; i++) {
        if (steps[i].what == GRD_DETECT_STANDS && steps[i].side == GRD_DETECT_HOLDS &&
            cycle->steps_count > 0 && cycle->step[cycle->steps_count - 1].mode != ENG_DETECT_BLOCK)
            cycle->step[cycle->steps_count - 1].mode = steps[i].mode;
        if (steps[i].what != GRD_DETECT_OWNER)
            continue;
        cycle->owners_count++;
        if (cycle->steps_count == ENG_DETECT_STEPS)
            continue;
        cycle->step[cycle->steps_count].node = steps[i].node;
        cycle->step[cycle->steps_count].mode = steps[i].wait & ENG_WAIT_BLOCK ? ENG_DETECT_BLOCK
                                                                              : GRD_LOCK_ANY;
        cycle->step[cycle->steps_count].owner = steps[i].id;
        cycle->step[cycle->steps_count++].key = steps[i].key;
    }
    cycle->owners_count += victim->cycle_length > victim->steps_count;
}

static void tell(struct eng_role *role, const struct eng_victim *victim)
{
    struct grd_msg msg = {.type = GRD_MSG_DETECT_VICTIM,
                          .request = victim->number,
                          .held = victim->wait,
                          .flags = GRD_FLAG_LAST,
                          .words = victim->words};

    eng_detector_emit(role->instance, victim->node, &msg);
}

static void told_add(struct eng_role *role, uint64_t number, const char *text, uint64_t now_ns)
{
    struct eng_told *told = &role->told[number % ENG_DETECT_TOLD_MAX];

    pthread_mutex_lock(&role->seen_lock);
    *told = (struct eng_told){.number = number, .at_ns = now_ns};
    memcpy(told->text, text, sizeof told->text);
    pthread_mutex_unlock(&role->seen_lock);
}

static void told_end(struct eng_role *role, uint64_t number, bool has_ended)
{
    struct eng_told *told = &role->told[number % ENG_DETECT_TOLD_MAX];

    pthread_mutex_lock(&role->seen_lock);
    if (told->number == number) {
        told->is_known = true;
        told->has_ended = has_ended;
    }
    pthread_mutex_unlock(&role->seen_lock);
}

bool eng_role_victim_take(struct eng_role *role, uint64_t now_ns)
{
    struct grd_detect_step steps[ENG_DETECT_CYCLE_STEPS];
    char text[sizeof((struct cf_error *)0)->text];
    struct grd_detect_victim found;
    struct eng_detect_cycle cycle;
    struct eng_victim *victim;

    if (!grd_detect_victim_next(role->core, &found, steps, ENG_DETECT_CYCLE_STEPS))
        return false;
    role->victims_left--;
    for (victim = role->victim; victim->number != 0;)
        victim++; /* there is a free one: they were all free when the round began */
    cycle_of(&found, steps, &cycle);
    victim->number = ++role->victim_number;
    victim->wait = found.wait;
    victim->age_ns = found.age_ns;
    victim->at_ns = role->round_ns;
    victim->node = found.node;
    eng_detect_cycle_pack(&victim->words, &cycle);
    if (role->victims_open++ == 0)
        role->again_ns = now_ns + role->instance->options.deadlock_period * ENG_DETECT_PERIODS_MAX;
    tell(role, victim);
    CF_PROBE6(deadlock, role->instance->node, victim->node, victim->wait, cycle.owners_count, victim->age_ns,
              victim->number);
    eng_detect_cycle_text(role->instance, &cycle, text, sizeof text);
    told_add(role, victim->number, text, now_ns);
    cf_log_warn(&role->instance->log, "detect", "deadlock of %u owners: %s", cycle.owners_count, text);
    return true;
}

void eng_role_victims_again(struct eng_role *role, uint64_t now_ns)
{
    role->again_ns = now_ns + role->instance->options.deadlock_period * ENG_DETECT_PERIODS_MAX;
    for (uint32_t i = 0; i < ENG_DETECT_VICTIMS_MAX; i++)
        if (role->victim[i].number != 0)
            tell(role, &role->victim[i]);
}

void eng_role_on_told(struct eng_role *role, const struct grd_msg *msg, uint64_t now_ns)
{
    struct eng_victim *victim = NULL;
    uint64_t after_ns = role->instance->options.deadlock_after, age_ns;

    for (uint32_t i = 0; i < ENG_DETECT_VICTIMS_MAX; i++)
        if (msg->request != 0 && role->victim[i].number == msg->request && role->victim[i].node == msg->from)
            victim = &role->victim[i];
    if (victim == NULL)
        return;
    if (msg->how == GRD_DETECT_ENDED) {
        age_ns = victim->age_ns + (now_ns > victim->at_ns ? now_ns - victim->at_ns : 0);
        role->counts.victims++;
        cf_hist_add(&role->hist, age_ns > after_ns ? age_ns - after_ns : 0);
    } else {
        role->counts.gone++;
        role->is_anew_wanted = true; /* of an owner with several waits another one may be meant */
    }
    told_end(role, victim->number, msg->how == GRD_DETECT_ENDED);
    victim->number = 0;
    role->victims_open--;
}
