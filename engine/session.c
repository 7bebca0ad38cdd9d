/* SPDX-License-Identifier: Apache-2.0 */
/* Sessions: one for each thread that calls. Their memory is taken at first use and kept. */
#include <string.h>

#include "engine/instance.h"

void eng_session_free(struct cf_instance *instance, struct cf_session *session)
{
    const struct cf_allocator *a = instance->allocator;

    cf_free(a, session->done_mem, cf_ring_bytes(session->done_slots, sizeof(struct cf_op *)));
    cf_free(a, session->hit_hist, sizeof *session->hit_hist);
    cf_free(a, session->prefetch, ENG_PREFETCH_OPS * sizeof *session->prefetch);
    session->done_mem = NULL;
    session->hit_hist = NULL;
    session->prefetch = NULL;
}

/* Memory of a session is taken at its first use and kept: a later session of the slot uses it again. */
static enum cf_rc session_take(struct cf_instance *instance, struct cf_session *session)
{
    const struct cf_allocator *a = instance->allocator;

    if (session->done_mem)
        return CF_OK;
    session->done_slots = CF_RING_SLOTS_MIN;
    while (session->done_slots <= instance->options.outstanding) /* a ring holds one less than its slots */
        session->done_slots *= 2;
    session->done_mem = cf_alloc(a, cf_ring_bytes(session->done_slots, sizeof(struct cf_op *)), CF_CACHE_LINE,
                                 CF_ALLOC_ZERO);
    session->hit_hist = cf_alloc(a, sizeof *session->hit_hist, CF_CACHE_LINE, CF_ALLOC_ZERO);
    session->prefetch = cf_alloc(a, ENG_PREFETCH_OPS * sizeof *session->prefetch, CF_CACHE_LINE,
                                 CF_ALLOC_ZERO);
    if (session->done_mem == NULL || session->hit_hist == NULL || session->prefetch == NULL) {
        eng_session_free(instance, session);
        return CF_MEMORY;
    }
    cf_spsc_init(&session->done, session->done_mem, session->done_slots, sizeof(struct cf_op *));
    cf_hist_init(session->hit_hist);
    return CF_OK;
}

enum cf_rc cf_session_open(struct cf_instance *instance, struct cf_session **session_out)
{
    enum cf_rc rc = eng_enter(instance);
    uint32_t i;

    if (rc != CF_OK)
        return rc;
    rc = CF_AGAIN;
    pthread_mutex_lock(&instance->lock);
    for (i = 0; i < instance->options.sessions; i++) {
        struct cf_session *session = &instance->sessions[i];

        if (session->in_use)
            continue;
        rc = session_take(instance, session);
        if (rc == CF_OK) {
            session->instance = instance;
            session->view = instance->frames->view;
            session->guard = instance->guard;
            session->slot = i;
            session->in_use = true;
            session->under_way = 0;
            session->owner = eng_owner_default(session);
            session->cost = 0;
            memset(&session->error, 0, sizeof session->error);
            *session_out = session;
        }
        break;
    }
    pthread_mutex_unlock(&instance->lock);
    return rc;
}

static bool prefetches_are_done(void *arg)
{
    struct cf_session *session = arg;
    uint32_t i;

    for (i = 0; i < ENG_PREFETCH_OPS; i++) {
        struct eng_op *inner = eng_op_of(&session->prefetch[i]);

        if (inner->session != NULL && cf_observe_u32(&inner->done) == 0)
            return false;
    }
    return true;
}

enum cf_rc cf_session_close(struct cf_session **session_io)
{
    struct cf_session *session = *session_io;
    struct cf_instance *instance;

    if (session == NULL)
        return CF_OK;
    instance = session->instance;
    if (eng_is_forked(instance))
        return CF_FORKED;
    if (eng_refs_held(session) != 0 || session->under_way != 0)
        return CF_BUSY;
    if (!instance->is_manual) {
        struct eng_wait wait = {prefetches_are_done, session, UINT64_MAX, &session->wake, &session->sleeping};

        (void)eng_wait_for(instance, &wait);
    }
    pthread_mutex_lock(&instance->lock);
    session->in_use = false;
    pthread_mutex_unlock(&instance->lock);
    *session_io = NULL;
    return CF_OK;
}

const struct cf_error *cf_session_error(const struct cf_session *session)
{
    return &session->error;
}
