/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cf_get and cf_put: the hit, on the frame word alone, and what a get does that does not hit at its first look.
 */
#include "base/assert.h"
#include "base/clock.h"
#include "engine/instance.h"
#include "engine/pool.h"

/* Looks at a frame that another thread holds exclusively before the caller queues for it. */
#define ENG_BUSY_SPINS 200u

enum cf_rc eng_get_check(struct cf_session *session, struct cf_file *file, uint64_t block, enum cf_mode mode,
                         uint32_t flags, uint64_t deadline_ns)
{
    if (mode != CF_MODE_S && mode != CF_MODE_X)
        return eng_fail(session, CF_INVALID, "mode must be CF_MODE_S or CF_MODE_X");
    if (mode == CF_MODE_X && file->read_only)
        return eng_fail(session, CF_READ_ONLY, "file %u is attached read-only", file->id);
    if ((flags & ~(uint32_t)(CF_GET_NEW | CF_GET_TRY)) || ((flags & CF_GET_NEW) && mode != CF_MODE_X))
        return eng_fail(session, CF_INVALID,
                        "flags: CF_GET_NEW goes with CF_MODE_X; unknown bits are refused");
    if (cf_peek_u32(&file->is_stopped))
        return eng_fail(session, CF_STALE, "file %u is being truncated or was dropped", file->id);
    if (block >= cf_peek_u64(&file->blocks)) {
        enum cf_rc rc = eng_file_refresh(session, file,
                                         deadline_ns); /* another instance may have made it longer */

        if (rc != CF_OK)
            return rc;
        if (block >= cf_peek_u64(&file->blocks))
            return eng_fail(session, CF_RANGE, "file %u has %llu blocks, block %llu was asked for", file->id,
                            (unsigned long long)cf_peek_u64(&file->blocks), (unsigned long long)block);
    }
    return CF_OK;
}

static CF_COLD enum cf_rc get_slow(struct cf_session *session, struct cf_file *file, uint64_t block,
                                   enum cf_mode mode, uint32_t flags, uint64_t deadline_ns,
                                   struct cf_ref *ref_out)
{
    struct cf_instance *instance = session->instance;
    enum cf_rc rc = eng_enter(instance);
    struct cf_block_key key;
    uint32_t i, frame;

    cf_count_u64(&session->missed);
    if (rc != CF_OK)
        return eng_fail(session, rc, "%s", cf_rc_text(rc));
    rc = eng_get_check(session, file, block, mode, flags, deadline_ns);
    if (rc != CF_OK)
        return rc;
    eng_key_of(file, block, &key);
    for (i = 0; i < ENG_BUSY_SPINS; i++) {
        enum eng_pin pin = eng_pool_pin_try(instance->frames, &key, mode, &frame);

        if (pin == ENG_PIN_OK) {
            eng_ref_fill(instance, file, block, frame, mode, ref_out);
            eng_pin_note(session, ref_out);
            cf_count_u64(&session->other_hits);
            session->other_refs++;
            return CF_OK;
        }
        if (pin != ENG_PIN_BUSY)
            break;
        cf_pause();
    }
    rc = eng_get(session, file, block, mode, flags, deadline_ns, ref_out);
    if (rc == CF_OK)
        cf_count_u64(&session->slow_gets);
    else if (rc == CF_TIMEOUT)
        cf_count_u64(&session->timeouts);
    return rc;
}

/*
 * A hit: name, pin, reference. What else can be wrong with a call finds no frame here, and the slow path says what: a
 * block beyond the end or of a read-only file in X is never held, the name of a file that is stopped, of an instance
 * that has stopped and of one in a forked child is 0, and the superblock has another generation.
 */
ENG_POOL_INLINE bool hit(struct cf_session *session, struct cf_file *file, uint64_t block, enum cf_mode mode,
                         struct cf_ref *ref_out)
{
    uint64_t name = cf_peek_u64(file->hit_name);
    struct eng_pinned pinned;

    if (CF_UNLIKELY(!eng_pool_pin_first(&session->view, name, file->hash, block, mode, &pinned)))
        return false;
    ref_out->data = pinned.descriptor->data + file->header_bytes;
    ref_out->version = pinned.descriptor->version;
    ref_out->file = file;
    ref_out->block = block;
    ref_out->bytes = file->data_bytes;
    ref_out->mode = mode;
    ref_out->private_ = pinned.frame | (mode == CF_MODE_X ? ENG_REF_X : 0); /* and not dirty */
    return true;
}

/* In X, or with flags. */
static CF_NOINLINE enum cf_rc get_other(struct cf_session *session, struct cf_file *file, uint64_t block,
                                        enum cf_mode mode, uint32_t flags, uint64_t deadline_ns,
                                        struct cf_ref *ref_out)
{
    if (flags == 0 && mode == CF_MODE_X && hit(session, file, block, CF_MODE_X, ref_out))
        return CF_OK;
    return get_slow(session, file, block, mode, flags, deadline_ns, ref_out);
}

/*
 * Every so many gets one is timed, and the caller looks after the network, when nobody else does. Outside of the fast
 * path, so that the others pay a counter for it.
 */
static CF_COLD enum cf_rc get_sampled(struct cf_session *session, struct cf_file *file, uint64_t block,
                                      enum cf_mode mode, uint32_t flags, uint64_t deadline_ns,
                                      struct cf_ref *ref_out)
{
    uint64_t began = cf_now_ns();

    if (flags != 0 ||
        !(mode == CF_MODE_S ? hit(session, file, block, CF_MODE_S, ref_out)
                            : mode == CF_MODE_X && hit(session, file, block, CF_MODE_X, ref_out)))
        return get_slow(session, file, block, mode, flags, deadline_ns, ref_out);
    cf_hist_add(session->hit_hist, cf_now_ns() - began);
    if (session->instance->is_compact)
        eng_kick(session->instance);
    return CF_OK;
}

uint32_t eng_refs_held(const struct cf_session *session)
{
    return (uint32_t)(cf_peek_u64(&session->gets) - cf_peek_u64(&session->missed)) + session->other_refs;
}

/* Every branch but the return of a hit is a tail call, so that a hit saves no register. */
enum cf_rc cf_get(struct cf_session *session, struct cf_file *file, uint64_t block, enum cf_mode mode,
                  uint32_t flags, uint64_t deadline_ns, struct cf_ref *ref_out)
{
    if (CF_UNLIKELY(cf_count_is_multiple_u64(&session->gets, ENG_GETS_A_TURN)))
        return get_sampled(session, file, block, mode, flags, deadline_ns, ref_out);
    if (CF_UNLIKELY(((mode ^ CF_MODE_S) | flags) != 0))
        return get_other(session, file, block, mode, flags, deadline_ns, ref_out);
    if (CF_LIKELY(hit(session, file, block, CF_MODE_S, ref_out)))
        return CF_OK;
    return get_slow(session, file, block, CF_MODE_S, 0, deadline_ns, ref_out);
}

CF_COLD void eng_put_tell(struct cf_instance *instance)
{
    atomic_store_explicit(&instance->attention, 1, memory_order_release);
    eng_kick(instance);
}

/* Held in X, or noted. */
static CF_NOINLINE void put_other(struct cf_session *session, struct cf_ref *ref)
{
    uint64_t frame = ref->private_;
    bool is_awaited;

    eng_pin_forget(session, ref);
    is_awaited = frame & ENG_REF_X ? eng_pool_unpin(session->view.words, (uint32_t)frame, CF_MODE_X,
                                                    (frame & ENG_REF_DIRTY) != 0)
                                   : eng_pool_unpin(session->view.words, (uint32_t)frame, CF_MODE_S, false);
    if (is_awaited)
        eng_put_tell(session->instance);
}

void cf_put(struct cf_session *session, struct cf_ref *ref)
{
    _Atomic uint64_t *words = session->guard->words; /* NULL in a forked child: the frames are the parent's */
    uint64_t frame = ref->private_;

    if (CF_UNLIKELY(ref->data == NULL) || CF_UNLIKELY(words == NULL))
        return;
    ref->data = NULL;
    session->other_refs--;
    if (CF_UNLIKELY(frame >> 32))
        put_other(session, ref);
    else if (CF_UNLIKELY(eng_pool_unpin(words, (uint32_t)frame, CF_MODE_S, false)))
        eng_put_tell(session->instance);
}
