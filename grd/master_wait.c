/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the deadlock detector is told of the queue (docs/locks-detector.md): each edge leads from a conversation to
 * another one that must move first, whoever waits for it.
 *
 *  - While an X grant has not begun, nothing else is granted: who waits stands behind that conversation.
 *  - While X waits for a reader that was refused before, it stands behind that reader, and each other one behind the one
 *    before it in the queue.
 *
 * What the conversation that was granted waits for is told where it waits: by the holders whose pins keep a copy.
 */
#include "grd/lock_report.h"
#include "grd/master_impl.h"

static void tell(struct grd_lock_reports *reports, const struct grd_entry *entry,
                 const struct grd_waiter *waiter, uint16_t node, uint64_t request)
{
    struct grd_detect_report *report = grd_lock_reports_add(reports);

    if (report)
        *report = (struct grd_detect_report){.kind = GRD_DETECT_BEHIND,
                                             .side = GRD_DETECT_ITSELF,
                                             .node = waiter->node,
                                             .peer = node,
                                             .key = grd_block_report_key(&entry->key),
                                             .wait = waiter->request,
                                             .grant = request};
}

static void tell_entry(struct grd_master *master, struct grd_lock_reports *reports, struct grd_entry *entry,
                       uint64_t before_ns)
{
    const struct grd_pending *pending = grd_master_pending_x(master, entry);
    const struct grd_waiter *waiter = grd_waiter_first(master->directory, entry), *before = NULL;
    bool is_ordered = !pending && waiter && waiter->mode == CF_MODE_X;

    if (is_ordered)
        pending = grd_fair_reader(master, entry);
    if (pending == NULL)
        return; /* the first one's own release is on its way */

    for (; waiter && !reports->is_full;
         before = waiter, waiter = grd_waiter_next(master->directory, waiter)) {
        if (waiter->since_ns > before_ns)
            continue;
        if (is_ordered && before)
            tell(reports, entry, waiter, before->node, before->request);
        else
            tell(reports, entry, waiter, pending->node, pending->request);
    }
}

uint32_t grd_master_waits(struct grd_master *master, uint64_t before_ns, uint64_t *cursor,
                          struct grd_detect_report *report, uint32_t reports_max)
{
    struct grd_lock_reports reports = {.item = report, .item_max = reports_max};
    uint32_t record, looks = GRD_LOCK_SCAN_MAX;
    bool has_more = true;

    grd_lock_reports_resume(&reports, *cursor, &record);
    while (has_more && looks > 0) {
        uint32_t begin = record;
        struct grd_entry *entry = grd_waited_next(master->directory, &record, looks, &has_more);

        looks -= record - begin;
        if (entry == NULL)
            continue;
        tell_entry(master, &reports, entry, before_ns);
        if (reports.is_full) {
            *cursor = grd_lock_reports_cursor(&reports, record - 1);
            return reports.count;
        }
        grd_lock_reports_next(&reports);
    }
    *cursor = has_more ? grd_lock_reports_cursor(&reports, record) : 0;
    return reports.count;
}
