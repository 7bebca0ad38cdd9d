/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the deadlock detector is told (docs/locks-detector.md). Whoever waits is told to wait for
 *  - every claim whose held mode conflicts with the mode wanted;
 *  - the one directly before it in its queue, whatever the modes, when order alone keeps it (new requests; FIFO);
 *  - the conversions that new requests wait for, when it is the first of the new;
 *  - who was overtaken too often, when that one holds it back;
 *  - in an instance, the demand, when it waits for that to be met; and what the instance has asked of the master,
 *    when only that is lacking.
 *
 * A demand is an ask too: the master tells that the demand on an instance stands behind that instance's own grant.
 * So it counts only as long as the master stands by it.
 */
#include "base/assert.h"
#include "grd/lock_local_impl.h"
#include "grd/lock_master_impl.h"
#include "grd/lock_mutant.h"
#include "grd/lock_report.h"

#define MUTANT_LATE_NS UINT64_C(150000000)

/* Tells of one pair: `waiter` waits for what `other` holds (HOLDS), or for `other` to be served (WAITS). */
struct teller {
    struct grd_lock_reports reports;
    void (*tell)(struct teller *teller, struct grd_lock_claim *waiter, struct grd_lock_claim *other,
                 enum grd_detect_side side);
    uint16_t node;
    uint64_t now_ns;
};

static void tell_holders(struct teller *teller, const struct grd_lock_queue *queue,
                         struct grd_lock_claim *waiter, uint8_t mode)
{
    struct grd_lock_claim *other;

    for (other = queue->first; other; other = other->next)
        if (other != waiter && other->is_known && !grd_lock_compatible(other->held, mode))
            teller->tell(teller, waiter, other, GRD_DETECT_HOLDS);
}

/* Conversions that the new requests wait for, and conversions in order for those before them. */
static bool tell_conversions(struct teller *teller, const struct grd_lock_queue *queue,
                             const struct grd_lock_limit *limit, struct grd_lock_claim *waiter)
{
    struct grd_lock_claim *other;
    bool is_gated = false;

    for (other = queue->convert_first; other && other != waiter; other = other->queue_next) {
        if (grd_lock_queue_is_demanded(queue, limit, other) || grd_lock_queue_holder_back(queue, other))
            continue;
        teller->tell(teller, waiter, other, GRD_DETECT_WAITS);
        is_gated = true;
    }
    return is_gated;
}

/* True: it is its turn, by order. */
static bool tell_waiter(struct teller *teller, const struct grd_lock_queue *queue,
                        const struct grd_lock_limit *limit, struct grd_lock_claim *waiter)
{
    struct grd_lock_claim *back;
    bool is_first = waiter->queue_prev == NULL;

    if (grd_lock_mutant(GRD_LOCK_MUT_TELL_AFTER) && waiter->queue_next)
        teller->tell(teller, waiter, waiter->queue_next, GRD_DETECT_WAITS);
    if (waiter->state == GRD_LOCK_CONVERTING) {
        back = grd_lock_queue_holder_back(queue, waiter);
        if (back)
            teller->tell(teller, waiter, back, GRD_DETECT_WAITS);
        is_first = back == NULL;
        if (grd_lock_queue_is_ordered(queue, waiter) && tell_conversions(teller, queue, limit, waiter))
            is_first = false;
    } else if (!is_first) {
        teller->tell(teller, waiter, waiter->queue_prev, GRD_DETECT_WAITS);
        return false; /* the one before it tells the rest */
    } else {
        is_first = !tell_conversions(teller, queue, limit, waiter);
    }
    tell_holders(teller, queue, waiter, waiter->want);
    return is_first;
}

/* ------------------------------------------------------------------ in an instance */

static struct grd_detect_report *owner_report(struct teller *teller, const struct grd_lock_owner *owner,
                                              enum grd_detect_kind kind)
{
    struct grd_detect_report *report = grd_lock_reports_add(&teller->reports);

    if (report == NULL)
        return NULL;
    *report = (struct grd_detect_report){.kind = (uint8_t)kind,
                                         .node = teller->node,
                                         .cost = owner->cost,
                                         .key = grd_lock_report_key(&owner->resource->key),
                                         .owner = owner->owner,
                                         .wait = owner->wait_id,
                                         .age_ns = teller->now_ns - owner->since_ns};
    return report;
}

static void tell_local(struct teller *teller, struct grd_lock_claim *waiter, struct grd_lock_claim *other,
                       enum grd_detect_side side)
{
    const struct grd_lock_owner *holder = grd_lock_owner_from(other);
    struct grd_detect_report *report = owner_report(teller, grd_lock_owner_from(waiter), GRD_DETECT_LOCAL);

    if (report == NULL)
        return;
    report->holder = holder->owner;
    report->grant = side == GRD_DETECT_HOLDS ? holder->grant_id : holder->wait_id;
}

/* Those that only try end by themselves. */
static bool is_told(const struct grd_lock_claim *claim, uint64_t since_ns, uint64_t before_ns)
{
    if (grd_lock_mutant(GRD_LOCK_MUT_TELL_LATE))
        since_ns += MUTANT_LATE_NS;
    return grd_lock_is_waiting(claim) && !(claim->flags & GRD_LOCK_TRY) && since_ns <= before_ns;
}

/* The demand or ask that whose turn it is waits for; 0 = neither, or not settled yet. */
static uint64_t ask_of(const struct grd_lock_resource *resource, const struct grd_lock_limit *limit,
                       const struct grd_lock_claim *claim)
{
    if (claim->state == GRD_LOCK_CONVERTING ? grd_lock_queue_is_demanded(&resource->queue, limit, claim)
                                            : !grd_lock_compatible(claim->want, limit->demand))
        return resource->demand_number ? resource->demand_number | GRD_LOCK_REPORT_DEMAND : 0;
    /* A swap's guard ends by itself, but not before its tries are used up: the ask is waited for all the same. */
    if (!grd_lock_queue_fits_claims(&resource->queue, claim, claim->want) || resource->ask_is_cancelled)
        return 0;
    return resource->ask_request;
}

static void tell_resource(struct teller *teller, const struct grd_lock_resource *resource, uint64_t before_ns)
{
    struct grd_lock_limit limit = grd_lock_local_limit(resource);
    struct grd_detect_report *report;
    struct grd_lock_claim *claim;
    uint64_t ask;

    for (claim = resource->queue.first; claim && !teller->reports.is_full; claim = claim->next) {
        if (!is_told(claim, grd_lock_owner_from(claim)->since_ns, before_ns) ||
            !tell_waiter(teller, &resource->queue, &limit, claim))
            continue;
        ask = ask_of(resource, &limit, claim);
        report = ask ? owner_report(teller, grd_lock_owner_from(claim), GRD_DETECT_ASKS) : NULL;
        if (report)
            report->grant = ask;
    }
}

uint32_t grd_lock_local_waits(const struct grd_lock_local *local, uint64_t now_ns, uint64_t before_ns,
                              uint64_t *cursor, struct grd_detect_report *reports, uint32_t reports_max)
{
    struct teller teller = {.reports = {.item = reports, .item_max = reports_max},
                            .tell = tell_local,
                            .node = local->options.node,
                            .now_ns = now_ns};
    uint32_t record, scanned = 0;

    grd_lock_reports_resume(&teller.reports, *cursor, &record);
    for (; record < local->options.resources; record++) {
        const struct grd_lock_resource *resource = &local->resources[record];

        if (scanned++ == GRD_LOCK_SCAN_MAX) {
            *cursor = grd_lock_reports_cursor(&teller.reports, record);
            return teller.reports.count;
        }
        if (resource->in_use && grd_lock_queue_waits(&resource->queue))
            tell_resource(&teller, resource, before_ns);
        if (teller.reports.is_full) {
            *cursor = grd_lock_reports_cursor(&teller.reports, record);
            return teller.reports.count;
        }
        grd_lock_reports_next(&teller.reports);
    }
    *cursor = 0;
    return teller.reports.count;
}

static void tell_stake(struct teller *teller, const struct grd_lock_resource *resource,
                       const struct grd_lock_owner *owner, enum grd_detect_side side)
{
    struct grd_detect_report *report = grd_lock_reports_add(&teller->reports);
    bool holds = side == GRD_DETECT_HOLDS;

    if (report == NULL)
        return;
    *report = (struct grd_detect_report){.kind = GRD_DETECT_STAKE,
                                         .side = (uint8_t)side,
                                         .mode = holds ? owner->claim.held : owner->claim.want,
                                         .node = teller->node,
                                         .key = grd_lock_report_key(&resource->key),
                                         .owner = owner->owner,
                                         .wait = holds ? grd_lock_grant_id(resource->tenure, resource->mode)
                                                       : resource->ask_request,
                                         .grant = holds ? owner->grant_id : owner->wait_id};
}

static void tell_stakes(struct teller *teller, const struct grd_lock_resource *resource)
{
    const struct grd_lock_claim *claim;

    for (claim = resource->queue.first; claim && !teller->reports.is_full; claim = claim->next) {
        const struct grd_lock_owner *owner = cf_container_of(claim, struct grd_lock_owner, claim);

        if (claim->is_known && claim->held != GRD_LOCK_NL)
            tell_stake(teller, resource, owner, GRD_DETECT_HOLDS);
        if (owner == resource->ask_for && resource->ask_request && !resource->ask_is_cancelled)
            tell_stake(teller, resource, owner, GRD_DETECT_WAITS);
    }
}

uint32_t grd_lock_local_stakes_of(const struct grd_lock_local *local, uint64_t report_key, uint64_t *cursor,
                                  struct grd_detect_report *reports, uint32_t reports_max)
{
    const struct grd_lock_resource *resource = grd_lock_local_find_report(local, report_key);
    struct teller teller = {.reports = {.item = reports, .item_max = reports_max},
                            .node = local->options.node};
    uint32_t record;

    grd_lock_reports_resume(&teller.reports, *cursor, &record);
    if (resource)
        tell_stakes(&teller, resource);
    *cursor = teller.reports.is_full ? grd_lock_reports_cursor(&teller.reports, record) : 0;
    return teller.reports.count;
}

uint32_t grd_lock_local_stakes(struct grd_lock_local *local, const struct cf_block_key *key,
                               struct grd_detect_report *reports, uint32_t reports_max)
{
    uint64_t cursor = 0;

    return grd_lock_local_stakes_of(local, grd_lock_report_key(key), &cursor, reports, reports_max);
}

/* ------------------------------------------------------------------ at the master */

static void tell_behind(struct teller *teller, struct grd_lock_claim *waiter, struct grd_lock_claim *other,
                        enum grd_detect_side side)
{
    const struct grd_lock_share *ask = grd_lock_share_from(waiter), *peer = grd_lock_share_from(other);
    struct grd_detect_report *report = grd_lock_reports_add(&teller->reports);

    if (report == NULL)
        return;
    *report = (struct grd_detect_report){
        .kind = GRD_DETECT_BEHIND,
        .side = (uint8_t)side,
        .mode = side == GRD_DETECT_HOLDS ? waiter->want : GRD_LOCK_ANY,
        .node = ask->node,
        .peer = peer->node,
        .key = grd_lock_report_key(&ask->entry->key),
        .wait = ask->request,
        .grant = side == GRD_DETECT_HOLDS ? grd_lock_grant_id(peer->tenure, other->held) : peer->request};
}

static void tell_demand(struct teller *teller, const struct grd_lock_share *share)
{
    struct grd_detect_report *report;

    if (share->demanded == GRD_LOCK_NL || (share->demanded_flags & GRD_LOCK_TRY))
        return;
    report = grd_lock_reports_add(&teller->reports);
    if (report == NULL)
        return;
    *report = (struct grd_detect_report){.kind = GRD_DETECT_BEHIND,
                                         .side = GRD_DETECT_HOLDS,
                                         .mode = share->demanded,
                                         .node = share->node,
                                         .peer = share->node,
                                         .key = grd_lock_report_key(&share->entry->key),
                                         .wait = share->demand_number | GRD_LOCK_REPORT_DEMAND,
                                         .grant = grd_lock_grant_id(share->tenure, share->claim.held)};
}

static void tell_entry(struct teller *teller, const struct grd_lock_entry *entry, uint64_t before_ns)
{
    static const struct grd_lock_limit none = {
        .is_known = true, .cap = GRD_LOCK_EX, .ask_cap = GRD_LOCK_EX, .demand = GRD_LOCK_NL};
    struct grd_lock_claim *claim;

    for (claim = entry->queue.first; claim && !teller->reports.is_full; claim = claim->next) {
        tell_demand(teller, grd_lock_share_from(claim));
        if (is_told(claim, grd_lock_share_from(claim)->since_ns, before_ns))
            tell_waiter(teller, &entry->queue, &none, claim);
    }
}

uint32_t grd_lock_master_waits(const struct grd_lock_master *master, uint64_t before_ns, uint64_t *cursor,
                               struct grd_detect_report *reports, uint32_t reports_max)
{
    struct teller teller = {.reports = {.item = reports, .item_max = reports_max}, .tell = tell_behind};
    uint32_t record, scanned = 0;

    grd_lock_reports_resume(&teller.reports, *cursor, &record);
    for (; record < master->options.resources; record++) {
        const struct grd_lock_entry *entry = &master->entries[record];

        if (scanned++ == GRD_LOCK_SCAN_MAX) {
            *cursor = grd_lock_reports_cursor(&teller.reports, record);
            return teller.reports.count;
        }
        if (entry->in_use && grd_lock_queue_waits(&entry->queue))
            tell_entry(&teller, entry, before_ns);
        if (teller.reports.is_full) {
            *cursor = grd_lock_reports_cursor(&teller.reports, record);
            return teller.reports.count;
        }
        grd_lock_reports_next(&teller.reports);
    }
    *cursor = 0;
    return teller.reports.count;
}
