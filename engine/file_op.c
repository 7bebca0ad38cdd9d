/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Operations on a whole file, by who changes it; what the others do is in file_stop.c. The changer holds the superblock
 * in X, so that there is one at a time:
 *
 *   changer --FILE_STOP--> all        new gets answer CF_STALE; dirty blocks are written, every copy is given up
 *   all --FILE_STOPPED--> changer     nothing of this generation is held there, past images included
 *   changer: cuts the file, writes the superblock with the next generation
 *   changer --FILE_GO--> all          the file goes on under the new generation (or is gone)
 *
 * Blocks of the old generation have other keys than those of the new one: a late one is refused by its name. Lost
 * messages are said again: STOP by the changer, STOPPED by the others until they hear GO; how its last changes ended an
 * instance remembers, the file itself may be detached by then.
 *
 * The superblock is not part of what is given up: its key has no generation, and whoever waits for it waits for the
 * changer. An instance changes one file at a time. It gives X back before the end, since a block held in X cannot be
 * flushed; whoever gets the superblock then and finds itself stopped waits for GO, and whoever attached meanwhile may
 * stop the file itself: a newer STOP takes the place of an older one, whose GO means nothing any more.
 */
#include "base/clock.h"
#include "engine/format.h"
#include "engine/instance.h"

struct change {
    struct cf_file *file;
    struct cf_ref super;
    uint64_t deadline_ns;
    struct eng_file_end end; /* what the superblock says when it is over */
    bool is_ours;            /* this instance changes no other file */
    bool is_held;            /* nobody else changes this one */
    bool all_stopped;
};

static void claim_run(struct cf_instance *instance, void *arg, uint64_t now_ns)
{
    struct change *change = arg;

    (void)now_ns;
    change->is_ours = !instance->file_changing;
    if (!change->is_ours)
        return;
    instance->file_changing = true;
    change->end.request = ++instance->file_request;
}

static void unclaim_run(struct cf_instance *instance, void *arg, uint64_t now_ns)
{
    (void)arg;
    (void)now_ns;
    instance->file_changing = false;
}

/* With the superblock in X. A file that is stopped still belongs to the change before, until its GO comes. */
static void hold_run(struct cf_instance *instance, void *arg, uint64_t now_ns)
{
    struct change *change = arg;
    struct cf_file *file = change->file;
    const struct eng_super *super = change->super.data;

    (void)now_ns;
    change->is_held = cf_peek_u32(&file->is_stopped) == ENG_FILE_OPEN &&
                      cf_peek_u32(&file->generation) == super->generation;
    if (!change->is_held)
        return;
    instance->file_held = file;
    eng_file_stop_set(file, ENG_FILE_STOPPED);
}

static void unhold_run(struct cf_instance *instance, void *arg, uint64_t now_ns)
{
    (void)arg;
    (void)now_ns;
    instance->file_held = NULL;
}

static void ask_run(struct cf_instance *instance, void *arg, uint64_t now_ns)
{
    struct change *change = arg;
    uint32_t n;

    (void)now_ns;
    change->all_stopped = true;
    for (n = 0; n < instance->nodes; n++) {
        struct grd_msg msg = {.type = GRD_MSG_FILE_STOP,
                              .key = {change->file->id, cf_peek_u32(&change->file->generation), 0},
                              .request = change->end.request};

        if (n == instance->node || instance->peers[n].file_stopped == change->end.request)
            continue;
        change->all_stopped = false;
        eng_send_owner(instance, (uint16_t)n, &msg);
    }
}

static void end_run(struct cf_instance *instance, void *arg, uint64_t now_ns)
{
    struct change *change = arg;
    struct cf_file *file = change->file;
    uint32_t n;

    (void)now_ns;
    instance->file_changing = false;
    instance->file_ends[change->end.request % ENG_FILE_ENDS] = change->end;
    /* Unless somebody else has stopped it since, or has even said GO. */
    if (file->stop_from == CF_NODE_NONE && cf_peek_u32(&file->is_stopped) == ENG_FILE_STOPPED)
        eng_file_stop_set(file, change->end.is_dropped ? ENG_FILE_DROPPED : ENG_FILE_OPEN);
    for (n = 0; n < instance->nodes; n++)
        if (n != instance->node)
            eng_file_go_tell(instance, &change->end, (uint16_t)n);
}

/* One try to become the changer. CF_AGAIN: another change is under way. */
static enum cf_rc change_try(struct cf_session *session, struct change *change)
{
    struct cf_file *file = change->file;
    enum cf_rc rc;

    if (cf_peek_u32(&file->is_stopped) == ENG_FILE_DROPPED)
        return eng_fail(session, CF_STALE, "file %u was dropped", file->id);
    (void)eng_call_run(session->instance, claim_run, change);
    if (!change->is_ours)
        return CF_AGAIN;
    rc = eng_get(session, file, ENG_SUPER_BLOCK, CF_MODE_X, 0, change->deadline_ns, &change->super);
    if (rc == CF_OK) {
        const struct eng_super *super = change->super.data;

        (void)eng_call_run(session->instance, hold_run, change);
        if (change->is_held) {
            change->end.file = file->id;
            change->end.generation = super->generation;
            change->end.blocks = super->blocks;
            return CF_OK;
        }
        rc = super->dropped ? eng_fail(session, CF_STALE, "file %u was dropped", file->id) : CF_AGAIN;
        cf_put(session, &change->super);
    }
    (void)eng_call_run(session->instance, unclaim_run, change);
    return rc;
}

static enum cf_rc change_begin(struct cf_session *session, struct change *change)
{
    enum cf_rc rc;

    for (;;) {
        rc = change_try(session, change);
        if (rc != CF_AGAIN)
            return rc;
        rc = eng_state(session->instance);
        if (rc != CF_OK)
            return eng_fail(session, rc, "%s", cf_rc_text(rc));
        if (cf_now_ns() >= change->deadline_ns)
            return eng_fail(session, CF_TIMEOUT, "file %u: another change is under way", change->file->id);
        eng_file_let_work(session);
    }
}

/* Stops the file everywhere; the caller holds the superblock in X. */
static enum cf_rc stop_everywhere(struct cf_session *session, struct change *change)
{
    enum cf_rc rc = eng_file_give_up_stopped(session, change->file, change->deadline_ns);

    while (rc == CF_OK) {
        (void)eng_call_run(session->instance, ask_run, change);
        if (change->all_stopped)
            return CF_OK;
        rc = eng_state(session->instance);
        if (rc != CF_OK)
            return eng_fail(session, rc, "%s", cf_rc_text(rc));
        if (cf_now_ns() >= change->deadline_ns)
            return eng_fail(session, CF_TIMEOUT, "not every member gave up file %u", change->file->id);
        eng_file_let_work(session);
    }
    return rc;
}

/* The length of the file beside the caches follows the superblock, which may say more again by now. */
static enum cf_rc cut(struct cf_session *session, struct change *change)
{
    struct eng_store *store = session->instance->store;
    struct cf_file *file = change->file;
    const struct eng_super *super;
    struct cf_ref ref;
    enum cf_rc rc;

    /* Durable first: blocks beyond a length that is not durable are harmless, the reverse is not. */
    rc = cf_flush(session, file, change->deadline_ns);
    if (rc == CF_OK)
        rc = eng_get(session, file, ENG_SUPER_BLOCK, CF_MODE_X, 0, change->deadline_ns, &ref);
    if (rc != CF_OK)
        return rc;
    super = ref.data;
    rc = store->ops->resize(store, file->store_file, (super->blocks + 1) * file->block_bytes,
                            &session->error);
    cf_put(session, &ref);
    return rc;
}

static enum cf_rc change_file(struct cf_session *session, struct cf_file *file, uint64_t blocks, bool is_drop)
{
    struct cf_instance *instance = session->instance;
    struct change change = {.file = file, .deadline_ns = eng_call_deadline(instance)};
    struct eng_super *super;
    enum cf_rc rc = eng_enter(instance);

    if (rc != CF_OK)
        return eng_fail(session, rc, "%s", cf_rc_text(rc));
    if (instance->is_manual)
        return CF_UNSUPPORTED;
    if (file->read_only || file->format != CF_FORMAT_NATIVE)
        return eng_fail(session, CF_READ_ONLY,
                        "only a native file attached for writing can be cut or dropped");
    rc = change_begin(session, &change);
    if (rc != CF_OK)
        return rc;
    super = change.super.data;
    rc = blocks > super->blocks ? eng_fail(session, CF_RANGE, "file %u has %llu blocks only", file->id,
                                           (unsigned long long)super->blocks)
                                : stop_everywhere(session, &change);
    if (rc == CF_OK)
        rc = cf_dirty(session, &change.super, 0);
    if (rc == CF_OK) {
        change.end.generation = ++super->generation;
        change.end.blocks = super->blocks = blocks;
        super->dropped = change.end.is_dropped = is_drop;
        /* Seen by nobody before is_stopped is taken back: see end_run. */
        eng_file_generation_set(file, super->generation);
        atomic_store_explicit(&file->blocks, blocks, memory_order_relaxed);
    }
    (void)eng_call_run(instance, unhold_run, &change);
    cf_put(session, &change.super);
    if (rc == CF_OK)
        rc = cut(session, &change);
    (void)eng_call_run(instance, end_run, &change);
    return rc;
}

enum cf_rc cf_truncate(struct cf_session *session, struct cf_file *file, uint64_t blocks)
{
    return change_file(session, file, blocks, false);
}

enum cf_rc cf_drop(struct cf_session *session, struct cf_file **file)
{
    enum cf_rc rc;

    if (*file == NULL)
        return eng_fail(session, CF_INVALID, "no file");
    rc = change_file(session, *file, 0, true);
    return rc == CF_OK ? cf_detach(session, file) : rc;
}
