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
 * messages are said again: STOP by the changer, STOPPED by the others until they hear GO.
 */
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "engine/format.h"
#include "engine/instance.h"
#include "engine/pool.h"

#define FILE_FLAG_DROPPED 0x1u
#define FILE_LOOK_NS 500000ull

/* ------------------------------------------------------------------ giving up what is held */

static bool give_up_copy(struct cf_instance *instance, struct grd_block *block, uint64_t now_ns)
{
    if (block->waiter_first || !eng_block_refresh(instance, block))
        return false;
    if (grd_local_can_write(block)) {
        eng_write_start(instance, block, now_ns);
        return false;
    }
    if (!grd_local_can_evict(instance->local, block))
        return false;
    if (!eng_frame_close_begin_owner(instance->frames, block->frame, CF_MODE_N)) {
        eng_frame_close_undo_owner(instance->frames, block->frame);
        return false;
    }
    eng_block_refresh(instance, block);
    if (!grd_local_can_evict(instance->local, block)) {
        eng_frame_close_undo_owner(instance->frames, block->frame);
        return false;
    }
    eng_frame_close_end_owner(instance->frames, block->frame, CF_MODE_N);
    grd_local_evict(instance->local, block, now_ns, instance->actions);
    return true;
}

/* One pass over the file's blocks; returns how many are still held or under way. `spare_super`: the changer holds it. */
static uint32_t give_up_pass(struct cf_instance *instance, const struct cf_file *file, bool spare_super, uint64_t now_ns)
{
    struct grd_local *local = instance->local;
    uint32_t i, left = 0;

    for (i = 0; i < local->blocks_count; i++) {
        struct grd_block *block = &local->blocks[i];

        if (!block->in_use || block->key.file != file->id || (spare_super && block->key.block == ENG_SUPER_BLOCK))
            continue;
        left++;
        if (block->past_version != 0) {
            struct grd_msg msg = {.type = GRD_MSG_WRITE_ASK, .key = block->key, .version = block->past_version};

            eng_send_owner(instance, block->master, &msg);
        }
        if (block->mode != CF_MODE_N)
            (void)give_up_copy(instance, block, now_ns);
        eng_actions_run(instance, now_ns);
    }
    return left;
}

struct give_up {
    struct cf_file *file;
    bool spare_super;
    uint32_t left;
};

static void give_up_run(struct cf_instance *instance, void *arg, uint64_t now_ns)
{
    struct give_up *what = arg;

    what->left = give_up_pass(instance, what->file, what->spare_super, now_ns);
}

static bool never(void *arg)
{
    (void)arg;
    return false;
}

/* Lets the engine work for a moment. */
static void let_work(struct cf_session *session)
{
    struct eng_wait wait = {never, NULL, cf_now_ns() + FILE_LOOK_NS, &session->wake, &session->sleeping};

    (void)eng_wait_for(session->instance, &wait);
}

static enum cf_rc give_up_until(struct cf_session *session, struct cf_file *file, bool spare_super, uint64_t deadline_ns)
{
    struct give_up what = {file, spare_super, 0};
    enum cf_rc rc;

    for (;;) {
        (void)eng_call_run(session->instance, give_up_run, &what);
        if (what.left == 0)
            return CF_OK;
        rc = eng_state(session->instance);
        if (rc != CF_OK)
            return eng_fail(session, rc, "%s", cf_rc_text(rc));
        if (cf_now_ns() >= deadline_ns)
            return eng_fail(session, CF_BUSY, "%u blocks of file %u are still in use", what.left, file->id);
        let_work(session);
    }
}

enum cf_rc eng_file_give_up(struct cf_session *session, struct cf_file *file)
{
    return give_up_until(session, file, false, cf_now_ns() + session->instance->options.call_timeout);
}

/* ------------------------------------------------------------------ those who are asked to stop */

static struct cf_file *file_of(struct cf_instance *instance, const struct grd_msg *msg)
{
    struct cf_file *file = eng_file_of_key(instance, &msg->key);

    return file && !file->is_manual ? file : NULL;
}

static void tell_stopped(struct cf_instance *instance, const struct cf_block_key *key, uint16_t to, uint64_t request)
{
    struct grd_msg msg = {.type = GRD_MSG_FILE_STOPPED, .key = *key, .request = request};

    eng_send_owner(instance, to, &msg);
}

static void tell_go(struct cf_instance *instance, const struct cf_file *file, uint16_t to, uint64_t request)
{
    struct grd_msg msg = {.type = GRD_MSG_FILE_GO,
                          .key = {file->id, cf_peek_u32(&file->generation), 0},
                          .request = request,
                          .version = cf_peek_u64(&file->blocks),
                          .flags = cf_peek_u32(&file->is_stopped) == 2 ? FILE_FLAG_DROPPED : 0};

    eng_send_owner(instance, to, &msg);
}

static void on_stop(struct cf_instance *instance, const struct grd_msg *msg, uint64_t now_ns)
{
    struct cf_file *file = file_of(instance, msg);

    if (file == NULL || file->format != CF_FORMAT_NATIVE || cf_peek_u32(&file->generation) != msg->key.generation) {
        tell_stopped(instance, &msg->key, msg->from, msg->request); /* nothing of that generation is here */
        return;
    }
    if (file->stop_request == msg->request && cf_peek_u32(&file->is_stopped)) {
        if (file->stop_told)
            tell_stopped(instance, &msg->key, msg->from, msg->request);
        return;
    }
    atomic_store_explicit(&file->is_stopped, 1, memory_order_release);
    file->stop_from = msg->from;
    file->stop_request = msg->request;
    file->stop_told = false;
    file->stop_next_ns = now_ns;
    instance->files_stopping++;
}

static void on_go(struct cf_instance *instance, const struct grd_msg *msg)
{
    struct cf_file *file = file_of(instance, msg);

    if (file == NULL || !cf_peek_u32(&file->is_stopped) || file->stop_from != msg->from || file->stop_request != msg->request)
        return;
    atomic_store_explicit(&file->generation, msg->key.generation, memory_order_relaxed);
    atomic_store_explicit(&file->blocks, msg->version, memory_order_relaxed);
    file->stop_from = CF_NODE_NONE;
    instance->files_stopping--;
    /* Last, and release: who sees the file open again sees its new generation. */
    atomic_store_explicit(&file->is_stopped, (msg->flags & FILE_FLAG_DROPPED) ? 2 : 0, memory_order_release);
}

static void on_stopped(struct cf_instance *instance, const struct grd_msg *msg)
{
    struct cf_file *file = file_of(instance, msg);

    if (msg->request == instance->file_request && instance->file_changing) {
        instance->peers[msg->from].file_stopped = msg->request;
        return;
    }
    if (file) /* the change is over and its GO was lost */
        tell_go(instance, file, msg->from, msg->request);
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
        struct cf_block_key key = {file->id, cf_peek_u32(&file->generation), 0};

        if (!file->in_use || !cf_peek_u32(&file->is_stopped) || file->stop_from == CF_NODE_NONE || file->stop_request == 0 ||
            now_ns < file->stop_next_ns)
            continue;
        did = true;
        /* Until the file is given up: often. Then, in case the GO is lost: at the pace of other repetitions. */
        file->stop_next_ns = now_ns + (file->stop_told ? instance->options.resend * 4 : FILE_LOOK_NS);
        if (!file->stop_told && give_up_pass(instance, file, false, now_ns) != 0)
            continue;
        file->stop_told = true;
        tell_stopped(instance, &key, file->stop_from, file->stop_request);
    }
    return did;
}

/* ------------------------------------------------------------------ the one who changes the file */

struct change {
    struct cf_file *file;
    bool all_stopped;
};

static void change_begin(struct cf_instance *instance, void *arg, uint64_t now_ns)
{
    struct change *change = arg;

    (void)now_ns;
    instance->file_request++;
    instance->file_changing = true;
    change->file->stop_from = CF_NODE_NONE;
    atomic_store_explicit(&change->file->is_stopped, 1, memory_order_release);
}

static void change_ask(struct cf_instance *instance, void *arg, uint64_t now_ns)
{
    struct change *change = arg;
    uint32_t n;

    (void)now_ns;
    change->all_stopped = true;
    for (n = 0; n < instance->nodes; n++) {
        struct grd_msg msg = {.type = GRD_MSG_FILE_STOP,
                              .key = {change->file->id, cf_peek_u32(&change->file->generation), 0},
                              .request = instance->file_request};

        if (n == instance->node || instance->peers[n].file_stopped == instance->file_request)
            continue;
        change->all_stopped = false;
        eng_send_owner(instance, (uint16_t)n, &msg);
    }
}

static void change_end(struct cf_instance *instance, void *arg, uint64_t now_ns)
{
    struct change *change = arg;
    uint32_t n;

    (void)now_ns;
    instance->file_changing = false;
    for (n = 0; n < instance->nodes; n++)
        if (n != instance->node)
            tell_go(instance, change->file, (uint16_t)n, instance->file_request);
}

/* Stops the file everywhere; the caller holds the superblock in X. */
static enum cf_rc stop_everywhere(struct cf_session *session, struct change *change, uint64_t deadline_ns)
{
    enum cf_rc rc;

    (void)eng_call_run(session->instance, change_begin, change);
    rc = give_up_until(session, change->file, true, deadline_ns);
    while (rc == CF_OK) {
        (void)eng_call_run(session->instance, change_ask, change);
        if (change->all_stopped)
            return CF_OK;
        rc = eng_state(session->instance);
        if (rc == CF_OK && cf_now_ns() >= deadline_ns)
            rc = CF_TIMEOUT;
        let_work(session);
    }
    return rc;
}

static enum cf_rc change_file(struct cf_session *session, struct cf_file *file, uint64_t blocks, bool drop)
{
    struct cf_instance *instance = session->instance;
    uint64_t deadline = cf_now_ns() + instance->options.call_timeout;
    struct change change = {file, false};
    struct eng_super *super;
    struct cf_ref ref;
    enum cf_rc rc = eng_enter(instance);

    if (rc != CF_OK)
        return eng_fail(session, rc, "%s", cf_rc_text(rc));
    if (file->read_only || file->format != CF_FORMAT_NATIVE)
        return eng_fail(session, CF_READ_ONLY, "only a native file attached for writing can be cut or dropped");
    rc = eng_get(session, file, ENG_SUPER_BLOCK, CF_MODE_X, 0, deadline, &ref);
    if (rc != CF_OK)
        return rc;
    super = ref.data;
    if (super->dropped) {
        cf_put(session, &ref);
        return eng_fail(session, CF_STALE, "file %u was dropped", file->id);
    }
    rc = blocks > super->blocks ? eng_fail(session, CF_RANGE, "file %u has %llu blocks only", file->id,
                                           (unsigned long long)super->blocks)
                                : stop_everywhere(session, &change, deadline);
    if (rc == CF_OK)
        rc = cf_dirty(session, &ref, 0);
    if (rc == CF_OK) {
        super->generation++;
        super->blocks = blocks;
        super->dropped = drop;
        atomic_store_explicit(&file->generation, super->generation, memory_order_relaxed);
        atomic_store_explicit(&file->blocks, blocks, memory_order_relaxed);
    }
    cf_put(session, &ref);
    if (rc == CF_OK) /* the superblock first: blocks beyond a length that is not durable are harmless, the reverse is not */
        rc = cf_flush(session, file, deadline);
    if (rc == CF_OK)
        rc = instance->store->ops->resize(instance->store, file->store_file, (blocks + 1) * file->block_bytes, &session->error);
    atomic_store_explicit(&file->is_stopped, rc == CF_OK && drop ? 2 : 0, memory_order_release);
    (void)eng_call_run(instance, change_end, &change);
    return rc;
}

enum cf_rc cf_truncate(struct cf_session *session, struct cf_file *file, uint64_t blocks)
{
    return change_file(session, file, blocks, false);
}

enum cf_rc cf_drop(struct cf_session *session, struct cf_file **file)
{
    enum cf_rc rc = change_file(session, *file, 0, true);

    return rc == CF_OK ? cf_detach(session, file) : rc;
}
