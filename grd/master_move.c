/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A shard's part in moving a bucket (docs/remaster.md). The last owner's entries stay where they are, unchanged, and are
 * taken over one by one after the switch:
 *
 *   last owner   CLOSE: nothing of the bucket is under way -> EXPORT     next owner   IMPORT: no entry = ask the last owner
 *                START: --MOVE_ENTRY, a window of them---------------->               no entry yet: made, as a rebuild
 *                       <----------------MOVE_GOT--------------------- one that is here, or is not wanted: GOT
 *                       <----------------MOVE_ASK--------------------- somebody wants the block now
 *                all taken: report DONE                                               END
 *
 * While the bucket is IMPORT and not OPEN, what has no entry here has never had one since the bucket came: losing one makes
 * the bucket OPEN. So an entry may be taken from the last owner whenever none is here, doubled and late ones too.
 */
#include "base/assert.h"
#include "grd/master_move_impl.h"
#include "grd/mutant.h"

bool grd_master_has_left(const struct grd_master *master, uint64_t hash)
{
    return (grd_bucket_state(master->directory, grd_master_bucket(master, hash)) & GRD_BUCKET_EXPORT) != 0;
}

void grd_master_report(const struct grd_master *master, const struct grd_msg *order, enum grd_move_report how,
                       uint8_t flags, struct grd_actions *actions)
{
    static const struct cf_block_key none = {0};
    struct grd_msg *msg = grd_action_send(actions, master->node, GRD_MSG_MOVE_REPORT, &none);

    msg->request = order->request;
    msg->tenure = grd_tenure_last(master->directory);
    msg->bucket = order->bucket;
    msg->place = order->place;
    msg->requester = order->requester;
    msg->how = (uint8_t)how;
    msg->flags = flags;
}

bool grd_master_on_move(struct grd_master *master, const struct grd_msg *msg, uint64_t hash, uint64_t now_ns,
                        struct grd_actions *actions)
{
    switch (msg->type) {
    case GRD_MSG_MOVE_ENTRY:
        grd_master_on_entry(master, msg, hash, now_ns, actions);
        return true;
    case GRD_MSG_MOVE_ASK:
        grd_master_on_ask(master, msg, hash, actions);
        return true;
    case GRD_MSG_MOVE_GOT:
        grd_master_on_got(master, msg, hash, now_ns);
        return true;
    default:
        return false;
    }
}

/* ------------------------------------------------------------------ orders of progress */

/* Also what waits for a rebuild must have been dealt with. */
static bool is_busy(const struct grd_master *master, uint32_t bucket)
{
    uint32_t i;

    for (i = 0; i < master->late_count; i++)
        if (grd_master_bucket(master, master->late[(master->late_first + i) % GRD_LATE_MAX].hash) == bucket)
            return true;
    return grd_bucket_is_busy(master->directory, bucket);
}

static void order_close(struct grd_master *master, const struct grd_msg *msg, struct grd_actions *actions)
{
    struct grd_export *export = &master->export;
    uint8_t state = grd_bucket_state(master->directory, msg->bucket);

    if (!(export->is_active && export->bucket == msg->bucket)) {
        if (export->is_active || (is_busy(master, msg->bucket) && !grd_mutant(GRD_MUT_MOVE_WHILE_GRANTING))) {
            grd_master_report(master, msg, GRD_REPORT_BUSY, 0, actions);
            return;
        }
        export->is_active = true;
        export->is_started = export->is_done = false;
        export->bucket = msg->bucket;
        export->state = state;
        grd_export_pass(export);
        grd_bucket_state_set(master->directory, msg->bucket, state | GRD_BUCKET_EXPORT);
    }
    export->place = msg->place;
    export->peer = msg->behind; /* it may ask before this shard hears that it has the bucket */
    grd_master_report(master, msg, GRD_REPORT_CLOSED, 0, actions);
}

static void order_open(struct grd_master *master, const struct grd_msg *msg, struct grd_actions *actions)
{
    struct grd_export *export = &master->export;
    uint8_t state;

    if (export->is_active && export->bucket == msg->bucket) {
        state = grd_bucket_state(master->directory, msg->bucket);
        grd_bucket_state_set(master->directory, msg->bucket, (uint8_t)(state & ~GRD_BUCKET_EXPORT));
        export->is_active = false;
    }
    grd_master_report(master, msg, GRD_REPORT_OPENED, 0, actions);
}

static void order_start(struct grd_master *master, const struct grd_msg *msg, uint64_t now_ns,
                        struct grd_actions *actions)
{
    struct grd_export *export = &master->export;

    cf_assert(export->is_active && export->bucket == msg->bucket);
    export->order = msg->request;
    export->shard = msg->requester;
    if (export->is_done) {
        grd_master_export_done(master, actions);
    } else if (!export->is_started) {
        export->is_started = true;
        grd_master_export(master, now_ns, actions);
    }
}

static void order_gone(struct grd_master *master, const struct grd_msg *msg, struct grd_actions *actions)
{
    struct grd_export *export = &master->export;

    if (export->is_active && export->bucket == msg->bucket) {
        cf_wheel_disarm(&master->wheel, &export->timer);
        grd_bucket_state_set(master->directory, msg->bucket, 0);
        export->is_active = false;
    }
    grd_master_report(master, msg, GRD_REPORT_GONE, 0, actions);
}

static void order_import(struct grd_master *master, const struct grd_msg *msg, struct grd_actions *actions)
{
    struct grd_import *import = &master->imports[msg->behind];

    if (!import->is_active || import->bucket != msg->bucket || import->place != msg->place) {
        *import = (struct grd_import){.is_active = true, .bucket = msg->bucket, .place = msg->place};
        grd_bucket_state_set(master->directory, msg->bucket, GRD_BUCKET_FOREIGN | GRD_BUCKET_IMPORT);
        grd_tenure_raise(master->directory, msg->tenure);
    }
    grd_master_report(master, msg, GRD_REPORT_IMPORTS, 0, actions);
}

static void order_end(struct grd_master *master, const struct grd_msg *msg, struct grd_actions *actions)
{
    struct grd_import *import = &master->imports[msg->behind];
    uint8_t state = grd_bucket_state(master->directory, msg->bucket);

    if (import->is_active && import->bucket == msg->bucket && import->place == msg->place) {
        import->is_active = false;
        state = (uint8_t)(state & ~GRD_BUCKET_IMPORT);
        if (msg->flags & GRD_FLAG_COLD)
            state |= GRD_BUCKET_OPEN;
        grd_bucket_state_set(master->directory, msg->bucket, state);
    }
    grd_master_report(master, msg, GRD_REPORT_ENDED, 0, actions);
}

void grd_master_order(struct grd_master *master, const struct grd_msg *msg, uint64_t now_ns,
                      struct grd_actions *actions)
{
    cf_assert(master->imports != NULL);
    switch ((enum grd_move_order)msg->how) {
    case GRD_ORDER_CLOSE:
        order_close(master, msg, actions);
        break;
    case GRD_ORDER_OPEN:
        order_open(master, msg, actions);
        break;
    case GRD_ORDER_START:
        order_start(master, msg, now_ns, actions);
        break;
    case GRD_ORDER_GONE:
        order_gone(master, msg, actions);
        break;
    case GRD_ORDER_IMPORT:
        order_import(master, msg, actions);
        break;
    case GRD_ORDER_END:
        order_end(master, msg, actions);
        break;
    }
}
