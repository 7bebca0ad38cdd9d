/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Snapshots of the clock. CAUSAL is this instance's clock. EXTERNAL asks every member: an answer carries the member's
 * clock in its header, so that afterwards this clock covers whatever any of them had acknowledged before the call.
 */
#include "base/clock.h"
#include "engine/instance.h"

struct asking {
    struct cf_instance *instance;
    uint64_t number;
};

static void ask(struct cf_instance *instance, void *arg, uint64_t now_ns)
{
    struct asking *asking = arg;
    struct grd_msg msg = {.type = GRD_MSG_SCN_ASK};
    uint32_t n;

    (void)now_ns;
    if (asking->number == 0)
        asking->number = ++instance->scn_question;
    msg.request = asking->number;
    for (n = 0; n < instance->nodes; n++)
        if (n != instance->node && cf_peek_u64(&instance->peers[n].scn_asked) < asking->number)
            eng_send_owner(instance, (uint16_t)n, &msg);
}

static bool all_have_answered(void *arg)
{
    const struct asking *asking = arg;
    const struct cf_instance *instance = asking->instance;
    uint32_t n;

    if (eng_state(instance) != CF_OK)
        return true;
    for (n = 0; n < instance->nodes; n++)
        if (n != instance->node && cf_observe_u64(&instance->peers[n].scn_asked) < asking->number)
            return false;
    return true;
}

enum cf_rc cf_scn_snapshot(struct cf_session *session, enum cf_scn_kind kind, cf_scn *scn_out)
{
    struct cf_instance *instance = session->instance;
    struct asking asking = {instance, 0};
    uint64_t deadline = cf_now_ns() + instance->options.call_timeout;
    enum cf_rc rc = eng_enter(instance);

    if (rc != CF_OK)
        return eng_fail(session, rc, "%s", cf_rc_text(rc));
    if (kind != CF_SCN_CAUSAL && kind != CF_SCN_EXTERNAL)
        return eng_fail(session, CF_INVALID, "kind must be CF_SCN_CAUSAL or CF_SCN_EXTERNAL");
    if (kind == CF_SCN_EXTERNAL && instance->is_manual)
        return CF_UNSUPPORTED;
    while (kind == CF_SCN_EXTERNAL) {
        struct eng_wait wait = {all_have_answered, &asking, cf_now_ns() + instance->options.resend * 2,
                                &session->wake, &session->sleeping};

        (void)eng_call_run(instance, ask, &asking); /* again for those whose answer was lost */
        if (eng_wait_for(instance, &wait))
            break;
        if (cf_now_ns() >= deadline)
            return eng_fail(session, CF_TIMEOUT, "not every member told its clock");
    }
    rc = eng_state(instance);
    if (rc != CF_OK)
        return eng_fail(session, rc, "%s", cf_rc_text(rc));
    *scn_out = atomic_load_explicit(&instance->scn, memory_order_acquire);
    return CF_OK;
}
