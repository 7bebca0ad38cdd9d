/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Operations on a whole file. The instance that changes it holds the superblock in X, so that there is one at a time:
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
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "engine/format.h"
#include "engine/instance.h"
#include "engine/pool.h"

#define FILE_FLAG_DROPPED 0x1u

/* ------------------------------------------------------------------ those who are asked to stop */

static struct cf_file *file_of(struct cf_instance *instance, const struct grd_msg *msg)
{
    struct cf_file *file = eng_file_of_key(instance, &msg->key);

    return file && !file->is_manual ? file : NULL;
}

static void tell_stopped(struct cf_instance *instance, const struct cf_block_key *key, uint16_t to,
                         uint64_t request)
{
    struct grd_msg msg = {.type = GRD_MSG_FILE_STOPPED, .key = *key, .request = request};

    eng_send_owner(instance, to, &msg);
}

static void tell_go(struct cf_instance *instance, const struct eng_file_end *end, uint16_t to)
{
    struct grd_msg msg = {.type = GRD_MSG_FILE_GO,
                          .key = {end->file, end->generation, 0},
                          .request = end->request,
                          .version = end->blocks,
                          .flags = end->is_dropped ? FILE_FLAG_DROPPED : 0};

    eng_send_owner(instance, to, &msg);
}

static void on_stop(struct cf_instance *instance, const struct grd_msg *msg, uint64_t now_ns)
{
    struct cf_file *file = file_of(instance, msg);
    uint32_t stopped = file ? cf_peek_u32(&file->is_stopped) : 0;

    /*
     * Nothing of that generation is here; or it is an old question, since this instance holds the superblock. Whoever
     * still means it holds the superblock, and is answered with what it waits for.
     */
    if (file == NULL || file->format != CF_FORMAT_NATIVE ||
        msg->key.generation < cf_peek_u32(&file->generation) || stopped == ENG_FILE_DROPPED ||
        file == instance->file_held) {
        tell_stopped(instance, &msg->key, msg->from, msg->request);
        return;
    }
    if (stopped && file->stop_from == msg->from && file->stop_request == msg->request) {
        if (file->stop_told)
            tell_stopped(instance, &msg->key, msg->from, msg->request);
        return;
    }
    eng_file_stop_set(file, ENG_FILE_STOPPED);
    if (file->stop_from == CF_NODE_NONE)
        instance->files_stopping++;
    file->stop_from = msg->from;
    file->stop_request = msg->request;
    file->stop_told = false;
    file->stop_next_ns = now_ns;
}

static void on_go(struct cf_instance *instance, const struct grd_msg *msg)
{
    struct cf_file *file = file_of(instance, msg);

    if (file == NULL || file->stop_from != msg->from || file->stop_request != msg->request)
        return;
    eng_file_generation_set(file, msg->key.generation);
    atomic_store_explicit(&file->blocks, msg->version, memory_order_relaxed);
    eng_file_unstop_owner(instance, file);
    /* Last, and release: who sees the file open again sees its new generation. */
    eng_file_stop_set(file, (msg->flags & FILE_FLAG_DROPPED) ? ENG_FILE_DROPPED : ENG_FILE_OPEN);
}

static void on_stopped(struct cf_instance *instance, const struct grd_msg *msg)
{
    const struct eng_file_end *end = &instance->file_ends[msg->request % ENG_FILE_ENDS];

    if (instance->file_changing && msg->request == instance->file_request)
        instance->peers[msg->from].file_stopped = msg->request;
    else if (end->request == msg->request && end->file == msg->key.file) /* it is over, and its GO was lost */
        tell_go(instance, end, msg->from);
}

void eng_file_unstop_owner(struct cf_instance *instance, struct cf_file *file)
{
    if (file->stop_from == CF_NODE_NONE)
        return;
    file->stop_from = CF_NODE_NONE;
    instance->files_stopping--;
}

void eng_file_op_on_message(struct cf_instance *instance, const struct grd_msg *msg, uint64_t now_ns)
{
    if (msg->type == GRD_MSG_FILE_STOP)
        on_stop(instance, msg, now_ns);
    else if (msg->type == GRD_MSG_FILE_STOPPED)
        on_stopped(instance, msg);
    else
        on_go(instance, msg);
}

bool eng_file_op_turn(struct cf_instance *instance, uint64_t now_ns)
{
    bool did = false;
    uint32_t i;

    for (i = 0; i < instance->options.files; i++) {
        struct cf_file *file = &instance->files[i];
        struct cf_block_key key = {.block = 0};
        uint32_t hand = 0;

        if (!file->in_use || file->stop_from == CF_NODE_NONE || now_ns < file->stop_next_ns)
            continue;
        did = true;
        /* Until the file is given up: often. Then, in case the GO is lost: at the pace of other repetitions. */
        file->stop_next_ns = now_ns + (file->stop_told ? instance->options.resend * 4 : ENG_FILE_LOOK_NS);
        if (!file->stop_told && eng_file_give_up_pass(instance, file, true, &hand, now_ns) != 0)
            continue;
        file->stop_told = true;
        key.file = file->id;
        key.generation = cf_peek_u32(&file->generation);
        tell_stopped(instance, &key, file->stop_from, file->stop_request);
    }
    return did;
}

/* ------------------------------------------------------------------ the one who changes the file */

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
            tell_go(instance, &change->end, (uint16_t)n);
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
    struct change change = {.file = file, .deadline_ns = cf_now_ns() + instance->options.call_timeout};
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
