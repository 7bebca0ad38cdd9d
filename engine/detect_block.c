/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Waits for blocks that owners of this instance hold. Sessions with an owner (cf_owner_set) note what they have pinned in
 * a small table of their own, which the owner of progress reads; their gets and puts take the longer path for it.
 *
 *   note    frame, owner, then id (release)        read   id, frame, owner, id again: the pin was held all the while
 *   forget  id = 0, then the pin goes
 *
 * Blocks whose waiters wait for pins, or whose frame closes and waits for pins, are in the list of blocks to look at
 * (eng_attention_add), so nothing else is looked through. Edges, LOCAL, from the first who waits:
 *  - to each noted pin that does not go together with the mode it wants: it cannot have the block before that ends;
 *  - while the frame closes, to each noted pin that the close waits for: nobody is served before it is complete;
 * and from each other one to the one before it, unless that is none that waits for itself (a prefetch) or only tries.
 *
 * Across instances. The first who waits for what this instance has asked of the master waits for that conversation, ASKS by
 * its number. The demand that brings a copy down names the conversation it is for: whoever holds the copy tells that it
 * stands behind this copy, BEHIND, and whose pins keep it, STAKE. A conversation that the master has queued is told by the
 * master (grd/master_wait.c).
 */
#include "engine/detect_impl.h"
#include "engine/instance.h"
#include "engine/pool.h"
#include "grd/lock_report.h"

/* ------------------------------------------------------------------ the session's thread */

static uint64_t held_word(const struct cf_ref *ref)
{
    return (uint64_t)eng_ref_frame(ref) | (uint64_t)ref->mode << 32;
}

void eng_pin_note(struct cf_session *session, struct cf_ref *ref)
{
    struct eng_noted_pin *pin = session->pins;
    uint32_t i = 0;

    if (session->owner >= ENG_OWNER_SESSION)
        return;
    while (i < ENG_NOTED_PINS && cf_peek_u64(&pin[i].id) != 0)
        i++;
    if (i == ENG_NOTED_PINS)
        return; /* more than the table holds: they are no part of any cycle that is found */
    /* Release: whoever sees them has seen that the id before them was cleared. */
    cf_publish_u64(&pin[i].held, held_word(ref));
    cf_publish_u64(&pin[i].owner, session->owner);
    cf_publish_u64(&pin[i].id, ENG_WAIT_PIN | (uint64_t)session->slot << 46 | ++session->pin_last);
    ref->private_ |= ENG_REF_NOTED | (uint64_t)i << ENG_REF_PIN_SHIFT;
}

void eng_pin_forget(struct cf_session *session, struct cf_ref *ref)
{
    if (!(ref->private_ & ENG_REF_NOTED))
        return;
    cf_publish_u64(&session->pins[ref->private_ >> ENG_REF_PIN_SHIFT].id, 0);
    ref->private_ &= ~(ENG_REF_NOTED | ~0ull << ENG_REF_PIN_SHIFT);
}

/* A session with an owner finds nothing at its first look, so that every get comes by where pins are noted. */
void eng_pin_look_set(struct cf_session *session)
{
    session->view = session->instance->frames->view;
    if (session->owner >= ENG_OWNER_SESSION)
        return;
    session->view.lookup.slots = &session->no_slot;
    session->view.lookup.mask = 0;
}

/* ------------------------------------------------------------------ the owner of progress */

struct held {
    uint64_t id, owner;
    enum cf_mode mode;
};

static bool held_read(const struct eng_noted_pin *pin, uint32_t frame, struct held *held)
{
    uint64_t word;

    held->id = cf_observe_u64(&pin->id);
    if (held->id == 0)
        return false;
    word = cf_observe_u64(&pin->held);
    held->owner = cf_observe_u64(&pin->owner);
    held->mode = (enum cf_mode)(word >> 32);
    return (uint32_t)word == frame && cf_observe_u64(&pin->id) == held->id;
}

static enum cf_mode wanted_of(const struct cf_op *op)
{
    return op->kind == CF_OP_UPGRADE ? CF_MODE_X : op->mode;
}

static bool hinders(const struct grd_block *block, const struct cf_op *op, const struct held *held)
{
    if (wanted_of(op) == CF_MODE_X || held->mode == CF_MODE_X)
        return true;
    return block->closing == 1 + CF_MODE_N;
}

static bool is_told(const struct cf_op *op, uint64_t before_ns)
{
    const struct eng_op *inner = eng_op_of((struct cf_op *)(uintptr_t)op);

    return !inner->is_internal && !(op->flags & CF_GET_TRY) && inner->started_ns <= before_ns;
}

static void add(struct cf_instance *instance, struct grd_lock_reports *reports, const struct grd_block *block,
                struct cf_op *op, uint64_t holder, uint64_t grant, uint64_t now_ns)
{
    struct grd_detect_report *report = grd_lock_reports_add(reports);
    struct eng_op *inner = eng_op_of(op);

    if (report)
        *report = (struct grd_detect_report){.kind = GRD_DETECT_LOCAL,
                                             .node = instance->node,
                                             .cost = inner->cost,
                                             .key = eng_detect_block_key(&block->key),
                                             .owner = inner->owner,
                                             .holder = holder,
                                             .wait = inner->claim,
                                             .grant = grant,
                                             .age_ns = now_ns > inner->started_ns ? now_ns - inner->started_ns
                                                                                  : 0};
}

static void tell_first(struct cf_instance *instance, struct grd_lock_reports *reports,
                       const struct grd_block *block, struct cf_op *op, uint64_t now_ns)
{
    struct held held;

    for (uint32_t s = 0;
         block->frame != GRD_FRAME_NONE && s < instance->options.sessions && !reports->is_full; s++)
        for (uint32_t i = 0; i < ENG_NOTED_PINS; i++)
            if (held_read(&instance->sessions[s].pins[i], block->frame, &held) && hinders(block, op, &held))
                add(instance, reports, block, op, held.owner, held.id, now_ns);
}

static void tell_block(struct cf_instance *instance, struct grd_lock_reports *reports,
                       const struct grd_block *block, uint64_t before_ns, uint64_t now_ns)
{
    struct cf_op *op = block->waiter_first, *before = NULL;

    for (; op && !reports->is_full; before = op, op = eng_op_of(op)->next) {
        if (!is_told(op, before_ns))
            continue;
        if (before == NULL)
            tell_first(instance, reports, block, op, now_ns);
        else if (is_told(before, UINT64_MAX))
            add(instance, reports, block, op, eng_op_of(before)->owner, eng_op_of(before)->claim, now_ns);
    }
}

/* Whose pins the close waits for. */
static void tell_stakes(struct cf_instance *instance, struct grd_lock_reports *reports,
                        const struct grd_block *block, const struct grd_detect_report *behind)
{
    struct grd_detect_report *report;
    struct held held;

    for (uint32_t s = 0; s < instance->options.sessions && !reports->is_full; s++)
        for (uint32_t i = 0; i < ENG_NOTED_PINS; i++) {
            if (!held_read(&instance->sessions[s].pins[i], block->frame, &held) ||
                (held.mode != CF_MODE_X && block->closing != 1 + CF_MODE_N) ||
                (report = grd_lock_reports_add(reports)) == NULL)
                continue;
            *report = (struct grd_detect_report){.kind = GRD_DETECT_STAKE,
                                                 .side = GRD_DETECT_HOLDS,
                                                 .mode = (uint8_t)held.mode,
                                                 .node = instance->node,
                                                 .key = behind->key,
                                                 .owner = held.owner,
                                                 .wait = behind->grant,
                                                 .grant = held.id};
        }
}

/* Who in the cluster has the frame closed, and who comes after that one. */
static void tell_close(struct cf_instance *instance, struct grd_lock_reports *reports,
                       const struct grd_block *block)
{
    struct grd_detect_report behind = {.kind = GRD_DETECT_BEHIND,
                                       .side = GRD_DETECT_HOLDS,
                                       .mode = GRD_LOCK_ANY,
                                       .peer = instance->node,
                                       .key = eng_detect_block_key(&block->key),
                                       .grant = ENG_WAIT_BLOCK | block->tenure},
                             *report;
    uint32_t number = block->demand_first;

    if (block->closing == 0 || block->is_closed || number == GRD_FRAME_NONE)
        return;
    for (; number != GRD_FRAME_NONE; number = instance->local->demands[number].next) {
        const struct grd_msg *demand = &instance->local->demands[number].msg;

        if (demand->held != block->tenure)
            continue; /* of a copy that was, or is to come */
        behind.node = demand->requester;
        behind.wait = demand->request;
        report = grd_lock_reports_add(reports);
        if (report)
            *report = behind;
    }
    tell_stakes(instance, reports, block, &behind);
}

uint32_t eng_block_waits(struct cf_instance *instance, uint64_t now_ns, uint64_t before_ns, uint64_t *cursor,
                         struct grd_detect_report *report, uint32_t reports_max)
{
    struct grd_lock_reports reports = {.item = report, .item_max = reports_max};
    uint32_t number, looked = 0;

    grd_lock_reports_resume(&reports, *cursor, &number);
    for (; number < instance->attention_count; number++) {
        const struct grd_block *block = &instance->local->blocks[instance->attention_list[number]];

        if (looked++ == ENG_BLOCK_LOOKS_MAX) {
            *cursor = grd_lock_reports_cursor(&reports, number);
            return reports.count;
        }
        if (block->in_use)
            tell_close(instance, &reports, block);
        if (block->in_use)
            tell_block(instance, &reports, block, before_ns, now_ns);
        if (reports.is_full) {
            *cursor = grd_lock_reports_cursor(&reports, number);
            return reports.count;
        }
        grd_lock_reports_next(&reports);
    }
    *cursor = 0;
    return reports.count;
}

/* The block of an open conversation, or NULL. */
static struct grd_block *conv_block(const struct cf_instance *instance, uint32_t number)
{
    uint32_t of = instance->local->convs[number].next;
    struct grd_block *block = of < instance->local->blocks_count ? &instance->local->blocks[of] : NULL;

    return block && block->in_use && block->conv == number ? block : NULL;
}

/* The first in line, if it is the conversation that it waits for. */
static struct cf_op *conv_waiter(const struct grd_block *block)
{
    struct cf_op *op = block ? block->waiter_first : NULL;

    return op && wanted_of(op) > (enum cf_mode)block->mode && is_told(op, UINT64_MAX) ? op : NULL;
}

static void tell_ask(struct cf_instance *instance, struct grd_lock_reports *reports,
                     const struct grd_block *block, uint64_t request, struct cf_op *op, uint64_t now_ns)
{
    struct grd_detect_report *report = grd_lock_reports_add(reports);
    struct eng_op *inner = eng_op_of(op);

    if (report)
        *report = (struct grd_detect_report){.kind = GRD_DETECT_ASKS,
                                             .node = instance->node,
                                             .cost = inner->cost,
                                             .key = eng_detect_block_key(&block->key),
                                             .owner = inner->owner,
                                             .wait = inner->claim,
                                             .grant = request,
                                             .age_ns = now_ns > inner->started_ns ? now_ns - inner->started_ns
                                                                                  : 0};
}

uint32_t eng_conv_waits(struct cf_instance *instance, uint64_t now_ns, uint64_t before_ns, uint64_t *cursor,
                        struct grd_detect_report *report, uint32_t reports_max)
{
    struct grd_lock_reports reports = {.item = report, .item_max = reports_max};
    uint32_t number, looked = 0;

    grd_lock_reports_resume(&reports, *cursor, &number);
    for (; number < instance->local->outstanding; number++) {
        const struct grd_block *block = conv_block(instance, number);
        struct cf_op *op = conv_waiter(block);

        if (looked++ == ENG_CONV_LOOKS_MAX) {
            *cursor = grd_lock_reports_cursor(&reports, number);
            return reports.count;
        }
        if (op && is_told(op, before_ns))
            tell_ask(instance, &reports, block, instance->local->convs[number].request, op, now_ns);
        if (block)
            tell_block(instance, &reports, block, before_ns, now_ns);
        if (reports.is_full) {
            *cursor = grd_lock_reports_cursor(&reports, number);
            return reports.count;
        }
        grd_lock_reports_next(&reports);
    }
    *cursor = 0;
    return reports.count;
}

static uint64_t older(uint64_t since_ns, struct cf_op *op)
{
    return op && is_told(op, UINT64_MAX) && eng_op_of(op)->started_ns < since_ns ? eng_op_of(op)->started_ns
                                                                                 : since_ns;
}

uint64_t eng_block_oldest_ns(const struct cf_instance *instance)
{
    uint64_t since_ns = UINT64_MAX;

    for (uint32_t i = 0; i < instance->attention_count && i < ENG_BLOCK_LOOKS_MAX; i++) {
        const struct grd_block *block = &instance->local->blocks[instance->attention_list[i]];

        since_ns = older(since_ns, block->in_use ? block->waiter_first : NULL);
    }
    for (uint32_t n = 0; instance->local->convs_used != 0 && n < instance->local->outstanding; n++)
        since_ns = older(since_ns, conv_waiter(conv_block(instance, n)));
    return since_ns;
}

static struct cf_op *waiter_of(const struct grd_block *block, uint64_t wait)
{
    struct cf_op *op = block && block->in_use ? block->waiter_first : NULL;

    while (op && eng_op_of(op)->claim != wait)
        op = eng_op_of(op)->next;
    return op;
}

struct cf_op *eng_block_waiter(struct cf_instance *instance, uint64_t wait)
{
    struct cf_op *op = NULL;

    for (uint32_t i = 0; i < instance->attention_count && op == NULL; i++)
        op = waiter_of(&instance->local->blocks[instance->attention_list[i]], wait);
    for (uint32_t n = 0; n < instance->local->outstanding && op == NULL; n++)
        op = waiter_of(conv_block(instance, n), wait);
    return op;
}
