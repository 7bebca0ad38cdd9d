/* SPDX-License-Identifier: Apache-2.0 */
/* What arrives as a message, from a peer or from this instance itself: read, judged, and handed to the role it is for. */
#include "base/assert.h"
#include "base/crc32c.h"
#include "engine/directory.h"
#include "engine/format.h"
#include "engine/instance.h"
#include "engine/pool.h"
#include "engine/snapshot.h"
#include "engine/turn.h"
#include "grd/mutant.h"

uint64_t eng_hash_owner(struct cf_instance *instance, const struct cf_block_key *key)
{
    struct eng_hashed *hashed = &instance->hashed[key->block % ENG_HASHED];

    if (hashed->hash == 0 || !grd_key_equal(&hashed->key, key)) {
        hashed->key = *key;
        hashed->hash = grd_map_hash(&instance->map, key);
    }
    return hashed->hash;
}

void eng_hash_note_owner(struct cf_instance *instance, const struct cf_block_key *key, uint64_t hash)
{
    instance->hashed[key->block % ENG_HASHED] = (struct eng_hashed){.key = *key, .hash = hash};
}

/*
 * What a demand will look at, record and frame, was last used when the block came, and is in no near cache. Here its lines are
 * asked for, to come while the message goes on its way.
 */
static void foresee(struct cf_instance *instance, const struct grd_msg *msg)
{
    const struct grd_block *block;

    if (msg->type != GRD_MSG_REQUEST && msg->type != GRD_MSG_FORWARD && msg->type != GRD_MSG_INVALIDATE)
        return;
    block = grd_local_find(instance->local, &msg->key);
    if (msg->type == GRD_MSG_REQUEST && instance->workers_count == 0) {
        uint64_t hash;

        if (block != NULL)
            eng_hash_note_owner(instance, &msg->key, block->hash);
        hash = eng_hash_owner(instance, &msg->key);
        grd_entry_prefetch(instance->masters[grd_map_shard(&instance->map, hash)]->directory, hash);
    }
    if (block == NULL || block->frame == GRD_FRAME_NONE)
        return;
    eng_frame_prefetch_owner(instance->frames, block->frame);
    grd_local_prefetch_record(block);
}

static void master_step(struct cf_instance *instance, const struct grd_msg *msg, uint64_t now_ns)
{
    uint64_t hash = eng_hash_owner(instance, &msg->key);

    if (eng_lock_is_for_master(msg->type)) {
        if (grd_map_master(&instance->map, hash) != instance->node && !grd_mutant(GRD_MUT_WRONG_MASTER)) {
            instance->counters.bad_messages++; /* I-10: not mine in this epoch */
            return;
        }
    } else if (grd_move_route(instance->move, msg, hash, instance->actions) != GRD_MOVE_SERVE) {
        return; /* I-10: not mine under this number, or not now */
    }
    if (instance->workers_count)
        eng_worker_push(instance, msg, grd_map_shard(&instance->map, hash));
    else
        eng_master_step(instance, grd_map_shard(&instance->map, hash), msg, hash, now_ns, instance->actions);
    instance->masters_owe = true;
}

void eng_master_step_again(struct cf_instance *instance, const struct grd_msg *msg, uint64_t now_ns)
{
    master_step(instance, msg, now_ns);
}

static void on_scn_ask(struct cf_instance *instance, const struct grd_msg *msg)
{
    struct grd_msg answer = {.type = GRD_MSG_SCN_TELL, .request = msg->request};

    eng_send_owner(instance, msg->from, &answer);
}

/* A step of the master of a block or of a lock. */
static bool is_for_master(uint16_t type)
{
    switch (type) {
    case GRD_MSG_REQUEST:
    case GRD_MSG_INSTALLED:
    case GRD_MSG_RELEASE:
    case GRD_MSG_NOT_HELD:
    case GRD_MSG_WRITTEN:
    case GRD_MSG_KEPT:
    case GRD_MSG_PAST:
    case GRD_MSG_WRITE_ASK:
    case GRD_MSG_WHERE:
    case GRD_MSG_HELD:
        return true;
    default:
        return eng_lock_is_for_master(type);
    }
}

/* What is for neither a master nor a holder or requester of the block. False: it is for one of these. */
static bool deliver_aside(struct cf_instance *instance, const struct grd_msg *msg, uint64_t now_ns)
{
    switch (msg->type) {
    case GRD_MSG_LOCK_GRANT:
    case GRD_MSG_LOCK_REFUSED:
    case GRD_MSG_LOCK_DEMAND:
    case GRD_MSG_LOCK_LOWERED:
    case GRD_MSG_LOCK_VALUE:
        eng_lock_message_owner(instance, msg, now_ns);
        return true;
    case GRD_MSG_MOVE_OFFER:
    case GRD_MSG_MOVE_ACCEPT:
    case GRD_MSG_MOVE_TAKE:
    case GRD_MSG_MOVED:
    case GRD_MSG_MOVE_ENTRY:
    case GRD_MSG_MOVE_ASK:
    case GRD_MSG_MOVE_GOT:
    case GRD_MSG_MOVE_DONE:
    case GRD_MSG_MOVE_OVER:
    case GRD_MSG_MOVE_WHERE:
    case GRD_MSG_MOVE_WISH:
    case GRD_MSG_MOVE_ORDER:
    case GRD_MSG_MOVE_REPORT:
        eng_move_message_owner(instance, msg, now_ns);
        return true;
    case GRD_MSG_LOOK:
        eng_snapshot_on_look(instance, msg);
        return true;
    case GRD_MSG_THERE:
        eng_snapshot_on_there(instance, msg, now_ns);
        return true;
    case GRD_MSG_DETECT_ASK:
    case GRD_MSG_DETECT_REPORT:
    case GRD_MSG_DETECT_VICTIM:
    case GRD_MSG_DETECT_TOLD:
        eng_detect_message_owner(instance, msg, now_ns);
        return true;
    case GRD_MSG_SCN_ASK:
        on_scn_ask(instance, msg);
        return true;
    case GRD_MSG_SCN_TELL:
        cf_publish_u64(&instance->peers[msg->from].scn_asked, msg->request);
        return true;
    case GRD_MSG_LEAVE:
        cf_publish_bool(&instance->peers[msg->from].has_left, true);
        return true;
    case GRD_MSG_FILE_STOP:
    case GRD_MSG_FILE_STOPPED:
    case GRD_MSG_FILE_GO:
        eng_file_stop_message(instance, msg, now_ns);
        return true;
    default:
        return false;
    }
}

void eng_deliver_owner(struct cf_instance *instance, const struct grd_msg *msg, uint32_t frame,
                       uint64_t now_ns)
{
    if (eng_state(instance) != CF_OK) { /* nothing is granted, served or given up any more */
        if (frame != GRD_FRAME_NONE)
            eng_frame_give_back(instance, frame);
        return;
    }
    if (is_for_master(msg->type)) {
        master_step(instance, msg, now_ns);
    } else if (!deliver_aside(instance, msg, now_ns)) {
        if (msg->type == GRD_MSG_RECALL)
            eng_file_asked_owner(instance, msg, now_ns);
        grd_local_step(instance->local, msg, frame, now_ns, instance->actions);
    }
    eng_actions_run(instance, now_ns);
}

/* An image that arrived: header and, when it carries one, checksum. False = it must be asked for again. */
static bool image_is_good(struct cf_instance *instance, const struct grd_msg *msg, uint32_t frame)
{
    const struct eng_frame *descriptor = eng_frames_at(instance->frames, frame);
    struct cf_file *file = eng_file_of_key(instance, &msg->key);
    uint64_t version = 0;

    if (file == NULL || file->block_bytes != descriptor->bytes)
        return false;
    if ((msg->flags & GRD_FLAG_CHECKED) &&
        cf_crc32c(0, descriptor->data, descriptor->bytes) != msg->checksum) {
        instance->counters.checksum_failures++;
        return false;
    }
    if (file->format != CF_FORMAT_NATIVE)
        return true;
    if (eng_block_verify_header(descriptor->data, descriptor->bytes, &msg->key, &version) !=
            ENG_DAMAGE_NONE ||
        version != msg->version) {
        instance->counters.checksum_failures++;
        return false;
    }
    return true;
}

void eng_message_owner(struct cf_instance *instance, const struct xp_event *event, uint64_t now_ns)
{
    struct grd_msg *msg = &instance->decoded;
    uint32_t frame = event->type == XP_EV_BLOCK ? event->frame : GRD_FRAME_NONE;
    uint64_t scn = event->header->scn;
    bool is_block = event->type != XP_EV_MESSAGE;

    instance->counters.messages_received++;
    if (frame != GRD_FRAME_NONE)
        instance->lent[eng_frames_at(instance->frames, frame)->class_index]--;
    msg->requester = event->node;
    grd_set_clear(&msg->set);
    if (scn > atomic_load_explicit(&instance->scn, memory_order_relaxed) + ENG_SCN_AHEAD_MAX ||
        !grd_msg_decode(event->header->type, event->message, event->bytes, instance->nodes, msg) ||
        (msg->type == GRD_MSG_SHIP) != is_block) {
        instance->counters.bad_messages++;
        if (frame != GRD_FRAME_NONE)
            eng_frame_give_back(instance, frame);
        return;
    }
    eng_scn_raise(instance, scn);
    msg->from = event->node;
    cf_trace_add(&instance->trace, CF_TRACE_MSG_RECEIVED, msg->from, msg->type, msg->request, msg->tenure);
    if (event->type == XP_EV_BLOCK && eng_state(instance) == CF_OK && !image_is_good(instance, msg, frame)) {
        eng_frame_give_back(instance, frame);
        grd_local_torn(instance->local, msg, now_ns, instance->actions);
        eng_actions_run(instance, now_ns);
    } else if (event->type == XP_EV_TORN) {
        if (eng_state(instance) == CF_OK)
            grd_local_torn(instance->local, msg, now_ns, instance->actions);
        eng_actions_run(instance, now_ns);
    } else {
        foresee(instance, msg);
        eng_deliver_owner(instance, msg, frame, now_ns);
    }
}
