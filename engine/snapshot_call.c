/* SPDX-License-Identifier: Apache-2.0 */
/* The call of a session's thread, and what is served from this instance's own cache. */
#include <string.h>

#include "engine/pool.h"
#include "engine/snapshot.h"

enum cf_rc eng_snapshot_check(struct cf_session *session, const struct cf_op *op)
{
    if (op->flags != 0)
        return eng_fail(session, CF_INVALID, "a snapshot takes no flags");
    if (op->ref.data == NULL || op->ref.bytes < op->file->data_bytes)
        return eng_fail(session, CF_INVALID, "room for %u bytes, a block of file %u has %u", op->ref.bytes,
                        op->file->id, op->file->data_bytes);
    return eng_get_check(session, op->file, op->block, CF_MODE_S, 0, op->deadline_ns);
}

/* With a pin on the frame. */
static void copy_out(const struct cf_instance *instance, struct cf_op *op, uint32_t frame)
{
    const struct eng_frame *descriptor = eng_frames_at(instance->frames, frame);

    memcpy(op->ref.data, descriptor->data + op->file->header_bytes, op->file->data_bytes);
    op->ref.bytes = op->file->data_bytes;
    op->ref.version = descriptor->version;
}

bool eng_snapshot_hit(struct cf_session *session, struct cf_op *op)
{
    struct cf_instance *instance = session->instance;
    struct cf_block_key key;
    uint32_t frame;

    eng_key_of(op->file, op->block, &key);
    if (eng_pool_pin_try(instance->frames, &key, CF_MODE_S, &frame) != ENG_PIN_OK)
        return false;
    copy_out(instance, op, frame);
    if (eng_pool_unpin(instance->frames->words, frame, CF_MODE_S, false))
        eng_put_tell(instance);
    return true;
}

void eng_snapshot_give(struct cf_instance *instance, struct cf_op *op, uint32_t frame)
{
    copy_out(instance, op, frame);
    if (eng_frame_unpin(instance->frames, frame, CF_MODE_S, false))
        atomic_store_explicit(&instance->attention, 1, memory_order_release);
    eng_op_complete_owner(instance, op, CF_OK);
}

enum cf_rc cf_read_snapshot(struct cf_session *session, struct cf_file *file, uint64_t block, void *to,
                            uint32_t to_bytes, uint64_t deadline_ns, cf_scn *version_out)
{
    struct cf_op op = {.kind = CF_OP_SNAPSHOT,
                       .file = file,
                       .block = block,
                       .mode = CF_MODE_S,
                       .deadline_ns = deadline_ns,
                       .ref = {.data = to, .bytes = to_bytes}};
    enum cf_rc rc = eng_enter(session->instance);

    if (rc != CF_OK)
        return eng_fail(session, rc, "%s", cf_rc_text(rc));
    rc = eng_snapshot_check(session, &op);
    if (rc != CF_OK)
        return rc;
    if (!eng_snapshot_hit(session, &op)) {
        rc = eng_op_run(session, &op);
        if (rc == CF_TIMEOUT)
            cf_count_u64(&session->timeouts);
        if (rc != CF_OK)
            return eng_fail(session, rc, "snapshot of file %u block %llu: %s", file->id,
                            (unsigned long long)block, cf_rc_text(rc));
    }
    cf_count_u64(&session->snapshots);
    if (version_out != NULL)
        *version_out = op.ref.version;
    return CF_OK;
}
