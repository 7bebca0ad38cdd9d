/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Giving up what is held of a file. Three ask for it:
 *
 *   detach            every copy is released, since the others go on without this instance
 *   a changed file    the same, on each instance (file_op.c)
 *   close             nothing is released: the directory goes with its members, who all close together. What this
 *                     instance changed is written, and its copies serve the others until the last one has left
 *
 * A release of a block whose entry was given back makes its master ask all holders first (docs/directory.md). Who is
 * asked about a file that it gives up itself gives the copy up then and says so in its answer: one question serves all
 * who give the block up.
 */
#include "base/assert.h"
#include "base/clock.h"
#include "engine/format.h"
#include "engine/instance.h"
#include "engine/pool.h"
#include "engine/storage.h"

/*
 * Releases that giving a file up leaves open at once. More would wait at masters whose directories are small, and be said
 * again meanwhile: a rebuild each, as many at once as half of the conversations.
 */
#define GIVE_UP_RELEASES_MAX 128u
/* Records that a look which finds no room, for releases or for writes, goes through. */
#define GIVE_UP_LOOKS_MAX 2048u

static bool give_up_copy(struct cf_instance *instance, struct grd_block *block, uint64_t now_ns)
{
    bool has_room = instance->local->releases_used < GIVE_UP_RELEASES_MAX;

    /* Without the duty there is nothing to write, and a look at the frame would be for nothing. */
    if (block->waiter_first || (!has_room && !block->has_duty) || !eng_block_refresh(instance, block))
        return false;
    if (grd_local_can_write(block)) {
        eng_write_start(instance, block);
        return false;
    }
    return has_room && grd_local_can_evict(instance->local, block) &&
           eng_block_evict(instance, block, now_ns);
}

uint32_t eng_file_give_up_pass(struct cf_instance *instance, const struct cf_file *file, bool spare_super,
                               uint32_t *hand, uint64_t now_ns)
{
    struct grd_local *local = instance->local;
    uint32_t looked, left = 0;

    for (looked = 0; looked < local->blocks_count; looked++) {
        struct grd_block *block = &local->blocks[*hand];

        if (looked >= GIVE_UP_LOOKS_MAX && left != 0 && local->releases_used >= GIVE_UP_RELEASES_MAX)
            break;
        *hand = *hand + 1 < local->blocks_count ? *hand + 1 : 0;
        if (!block->in_use || block->key.file != file->id ||
            (spare_super && block->key.block == ENG_SUPER_BLOCK))
            continue;
        left++;
        if (block->past_version != 0)
            eng_past_ask(instance, block, now_ns);
        if (block->mode != CF_MODE_N)
            (void)give_up_copy(instance, block, now_ns);
        eng_actions_run(instance, now_ns);
    }
    return left;
}

void eng_file_asked_owner(struct cf_instance *instance, const struct grd_msg *msg, uint64_t now_ns)
{
    const struct cf_file *file = eng_file_of_key(instance, &msg->key);
    struct grd_block *block;

    if (file == NULL || !(file->is_given_up || file->stop_from != CF_NODE_NONE) ||
        msg->key.block == ENG_SUPER_BLOCK)
        return;
    block = grd_local_find(instance->local, &msg->key);
    if (block != NULL && block->mode != CF_MODE_N && block->waiter_first == NULL &&
        msg->from == grd_local_master(instance->local, block) && eng_block_refresh(instance, block) &&
        grd_local_can_evict(instance->local, block))
        (void)eng_block_withdraw(instance, block, now_ns);
}

/* Is anything of this block not on storage, or under way? */
static bool is_unsettled(struct cf_instance *instance, struct grd_block *block, uint64_t now_ns)
{
    if (block->past_version != 0)
        eng_past_ask(instance, block, now_ns);
    if (block->mode != CF_MODE_N && block->has_duty && !block->is_writing &&
        eng_block_refresh(instance, block) && grd_local_can_write(block))
        eng_write_start(instance, block);
    return block->past_version != 0 || block->conv != GRD_FRAME_NONE || block->waiter_first != NULL ||
           block->is_writing || (block->has_duty && block->version > block->durable);
}

/* As eng_file_give_up_pass, without giving anything up: it ends early where no write can be begun. */
static uint32_t settle_pass(struct cf_instance *instance, const struct cf_file *file, uint32_t *hand,
                            uint64_t now_ns)
{
    struct grd_local *local = instance->local;
    uint32_t looked, left = 0;

    for (looked = 0; looked < local->blocks_count; looked++) {
        struct grd_block *block = &local->blocks[*hand];

        if (looked >= GIVE_UP_LOOKS_MAX && left != 0 && instance->slot_free == GRD_FRAME_NONE)
            break;
        *hand = *hand + 1 < local->blocks_count ? *hand + 1 : 0;
        if (!block->in_use || block->key.file != file->id)
            continue;
        left += is_unsettled(instance, block, now_ns);
        eng_actions_run(instance, now_ns);
    }
    return left;
}

/*
 * Callers that wait outside of the file's blocks. Prefetches are ended, they are nobody's; the others are left, and so
 * is what has not been looked at yet in the inbox: it may be of this file.
 */
static uint32_t end_starved(struct cf_instance *instance, const struct cf_file *file)
{
    struct cf_op *op = instance->starved.first, *next;
    uint32_t left = cf_mpsc_count(&instance->inbox) != 0;

    for (; op != NULL; op = next) {
        next = eng_op_of(op)->next;
        if (op->file != file)
            continue;
        if (eng_op_of(op)->is_internal)
            eng_op_cancel_owner(instance, op);
        else
            left++;
    }
    return left;
}

struct give_up {
    struct cf_file *file;
    bool spare_super; /* the changer holds it, or detaching needs it once more */
    bool is_leaving;  /* the file goes from this instance */
    bool is_closing;  /* and this instance from the cluster: nothing is released */
    uint32_t hand;
    uint32_t left;
    uint64_t to_do; /* falls as long as it goes on: records in use; or less what was written and dropped */
};

static void give_up_run(struct cf_instance *instance, void *arg, uint64_t now_ns)
{
    struct give_up *what = arg;

    if (what->is_leaving)
        eng_inbox_take(instance, now_ns); /* as cf_cancel does: what is in there may be of this file */
    what->left = what->is_leaving ? end_starved(instance, what->file) : 0;
    if (what->is_closing) {
        what->left += settle_pass(instance, what->file, &what->hand, now_ns);
        what->to_do = UINT64_MAX - instance->counters.disk_writes - instance->local->counters.past_dropped;
        return;
    }
    what->file->is_given_up = true;
    what->left += eng_file_give_up_pass(instance, what->file, what->spare_super, &what->hand, now_ns);
    what->to_do = instance->local->blocks_used;
}

/* Given up, or not to be had: what others hold of it no longer concerns this instance. */
static void give_up_end(struct cf_instance *instance, void *arg, uint64_t now_ns)
{
    (void)instance;
    (void)now_ns;
    ((struct give_up *)arg)->file->is_given_up = false;
}

static bool never(void *arg)
{
    (void)arg;
    return false;
}

void eng_file_let_work(struct cf_session *session)
{
    struct eng_wait wait = {never, NULL, cf_now_ns() + ENG_FILE_LOOK_NS, &session->wake, &session->sleeping};

    (void)eng_wait_for(session->instance, &wait);
}

/* `patience_ns`: as long as less and less is to do the deadline is that much after the last progress. */
static enum cf_rc give_up_loop(struct cf_session *session, struct give_up *what, uint64_t deadline_ns,
                               uint64_t patience_ns)
{
    uint64_t least = UINT64_MAX;
    enum cf_rc rc;

    if (patience_ns != 0)
        deadline_ns = cf_now_ns() + patience_ns;
    for (;;) {
        (void)eng_call_run(session->instance, give_up_run, what);
        if (what->left == 0)
            return CF_OK;
        rc = eng_state(session->instance);
        if (rc != CF_OK)
            return eng_fail(session, rc, "%s", cf_rc_text(rc));
        if (what->to_do < least) {
            least = what->to_do;
            if (patience_ns != 0)
                deadline_ns = cf_now_ns() + patience_ns;
        }
        if (cf_now_ns() >= deadline_ns)
            return eng_fail(session, CF_BUSY, "%u blocks of file %u, or more, are still in use", what->left,
                            what->file->id);
        eng_file_let_work(session);
    }
}

static enum cf_rc give_up(struct cf_session *session, struct give_up *what, uint64_t deadline_ns,
                          uint64_t patience_ns)
{
    enum cf_rc rc = give_up_loop(session, what, deadline_ns, patience_ns);

    (void)eng_call_run(session->instance, give_up_end, what);
    return rc;
}

enum cf_rc eng_file_give_up_data(struct cf_session *session, struct cf_file *file)
{
    struct give_up what = {.file = file, .is_leaving = true, .spare_super = true};

    return give_up(session, &what, 0, session->instance->options.call_timeout);
}

enum cf_rc eng_file_give_up(struct cf_session *session, struct cf_file *file)
{
    struct give_up what = {.file = file, .is_leaving = true};

    return give_up(session, &what, 0, session->instance->options.call_timeout);
}

enum cf_rc eng_file_give_up_stopped(struct cf_session *session, struct cf_file *file, uint64_t deadline_ns)
{
    struct give_up what = {.file = file, .spare_super = true};

    return give_up(session, &what, deadline_ns, 0);
}

enum cf_rc eng_file_settle(struct cf_session *session, struct cf_file *file)
{
    struct give_up what = {.file = file, .is_leaving = true, .is_closing = true};

    return give_up_loop(session, &what, 0, session->instance->options.call_timeout);
}
