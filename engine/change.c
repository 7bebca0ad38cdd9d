/* SPDX-License-Identifier: Apache-2.0 */
/* Changes of blocks held in X: their versions, alone and several under one (mini-transactions). */
#include <string.h>

#include "base/assert.h"
#include "engine/format.h"
#include "engine/instance.h"
#include "engine/pool.h"

/* The version of a change: above every version this instance has seen, the block's own included. */
static void ref_change(struct cf_instance *instance, struct cf_ref *ref, uint64_t version, uint64_t position)
{
    struct eng_frame *descriptor = eng_frames_at(instance->frames, eng_ref_frame(ref));
    struct cf_file *file = ref->file;

    cf_assert_id(version > descriptor->version, "I-2");
    descriptor->version = version;
    if (position > descriptor->position)
        descriptor->position = position;
    if (file->format == CF_FORMAT_NATIVE) {
        struct eng_block_header *header = (void *)descriptor->data;

        header->version = version;
        header->position = descriptor->position;
    }
    if (file->format != CF_FORMAT_NATIVE && file->foreign.version_set)
        file->foreign.version_set(file->foreign.context, descriptor->data, file->block_bytes, version);
    ref->version = version;
    ref->private_ |= ENG_REF_DIRTY;
}

static uint64_t scn_next(struct cf_instance *instance)
{
    return atomic_fetch_add_explicit(&instance->scn, 1, memory_order_relaxed) + 1;
}

enum cf_rc cf_dirty(struct cf_session *session, struct cf_ref *ref, uint64_t position)
{
    struct cf_instance *instance = session->instance;
    enum cf_rc rc = eng_enter(instance);

    if (rc != CF_OK)
        return eng_fail(session, rc, "%s", cf_rc_text(rc));
    if (ref->data == NULL || ref->mode != CF_MODE_X)
        return eng_fail(session, CF_INVALID, "only a block held in X can be changed");
    ref_change(instance, ref, scn_next(instance), position);
    return CF_OK;
}

enum cf_rc cf_mtr_begin(struct cf_session *session, struct cf_mtr *mtr)
{
    enum cf_rc rc = eng_enter(session->instance);

    if (rc != CF_OK)
        return eng_fail(session, rc, "%s", cf_rc_text(rc));
    mtr->session = session;
    mtr->count = 0;
    mtr->open = 1;
    return CF_OK;
}

int cf_mtr_add(struct cf_mtr *mtr, struct cf_ref *ref)
{
    if (!mtr->open || mtr->count == CF_MTR_BLOCKS_MAX || ref->data == NULL || ref->mode != CF_MODE_X)
        return -1;
    mtr->refs[mtr->count] = *ref;
    memset(ref, 0, sizeof *ref);
    return (int)mtr->count++;
}

enum cf_rc cf_mtr_commit(struct cf_mtr *mtr, uint64_t position, cf_scn *version_out)
{
    struct cf_session *session = mtr->session;
    struct cf_instance *instance = session->instance;
    enum cf_rc rc = eng_enter(instance);
    uint64_t version;
    uint32_t i;

    if (!mtr->open)
        return eng_fail(session, CF_INVALID, "the mini-transaction is not open");
    mtr->open = 0;
    version = scn_next(instance);
    for (i = 0; i < mtr->count && rc == CF_OK; i++) /* all get their version before the first is let go */
        ref_change(instance, &mtr->refs[i], version, position);
    for (i = 0; i < mtr->count; i++)
        cf_put(session, &mtr->refs[i]);
    if (rc != CF_OK)
        return eng_fail(session, rc, "%s", cf_rc_text(rc));
    if (version_out)
        *version_out = version;
    return CF_OK;
}
