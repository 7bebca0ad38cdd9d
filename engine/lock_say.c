/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The session's error of a lock call that did not end well: which lock, what was asked, what is held.
 *
 *   lock 'accounts' asked in EX by a claim in PR; here EX is held, by owners PR: the deadline passed
 */
#include <inttypes.h>
#include <string.h>

#include "engine/instance.h"
#include "grd/lock_table.h"

/* With a quote and room for each byte of a name. */
#define NAME_TEXT_BYTES (GRD_LOCK_NAME_BYTES + 16u)
#define ASKED_TEXT_BYTES 64u
#define HERE_TEXT_BYTES 48u

/* The lock that the op is of, or NULL. Inside the gate. */
static const struct grd_lock_resource *lock_of(const struct eng_locks *locks, const struct cf_op *op)
{
    const struct cf_lock_args *args = op->lock;
    const struct grd_lock_resource *resource = NULL;
    struct cf_lock *handle = args->lock;

    if (op->kind == CF_OP_CONVERT || op->kind == CF_OP_UNLOCK) {
        resource = grd_lock_local_resource(locks->local, args->claim->private_);
        handle = args->claim->lock;
    }
    if (resource == NULL && grd_lock_resource_is_open(locks->local, (const void *)handle))
        resource = (const void *)handle;
    return resource;
}

static void mode_text(char *text, size_t text_bytes, const char *before, uint32_t mode)
{
    if (mode <= CF_LOCK_EX)
        snprintf(text, text_bytes, "%s%s", before, grd_lock_mode_name((uint8_t)mode));
    else
        snprintf(text, text_bytes, "%smode %" PRIu32, before, mode);
}

static void asked_text(const struct cf_op *op, char *text, size_t text_bytes)
{
    const struct cf_lock_args *args = op->lock;
    size_t used;

    switch (op->kind) {
    case CF_OP_LOCK:
        mode_text(text, text_bytes, " asked in ", args->mode);
        break;
    case CF_OP_CONVERT:
        mode_text(text, text_bytes, " asked in ", args->mode);
        used = strlen(text);
        mode_text(text + used, text_bytes - used, " by a claim in ", args->claim->mode);
        break;
    case CF_OP_UNLOCK:
        mode_text(text, text_bytes, ", unlock of a claim in ", args->claim->mode);
        break;
    case CF_OP_VALUE_SWAP:
        snprintf(text, text_bytes, ", swap of the value of version %" PRIu64, args->expected);
        break;
    default:
        snprintf(text, text_bytes, ", read of the value");
        break;
    }
}

void eng_lock_say(struct cf_session *session, const struct cf_op *op, enum cf_rc rc)
{
    struct eng_locks *locks = &session->instance->locks;
    char name[NAME_TEXT_BYTES] = "lock", here[HERE_TEXT_BYTES] = "", asked[ASKED_TEXT_BYTES];
    const struct grd_lock_resource *resource;

    asked_text(op, asked, sizeof asked);
    eng_gate_enter(locks);
    resource = lock_of(locks, op);
    if (resource) {
        grd_lock_name_print(grd_lock_resource_name(resource), name, sizeof name);
        snprintf(here, sizeof here, "; here %s is held, by owners %s",
                 grd_lock_mode_name(grd_lock_resource_mode(resource)),
                 grd_lock_mode_name(grd_lock_resource_used(resource)));
    }
    eng_gate_leave(locks);
    (void)eng_fail(session, rc, "%s%s%s: %s", name, asked, here, cf_rc_text(rc));
}

/* The cycle, where the detector found it; two conversions that kept one another out have none. */
void eng_lock_error(struct cf_session *session, const struct cf_op *op)
{
    struct eng_locks *locks = &session->instance->locks;
    bool is_lock = op->kind >= CF_OP_LOCK && op->kind <= CF_OP_VALUE_READ;
    char asked[ASKED_TEXT_BYTES] = "";
    uint32_t i;

    if (is_lock) {
        eng_lock_say(session, op, CF_DEADLOCK);
        mode_text(asked, sizeof asked, "asked in ", op->lock->mode);
        strcat(asked, ": ");
    }
    eng_gate_enter(locks);
    for (i = 0; i < ENG_LOCK_CYCLES; i++)
        if (locks->cycles[i].op == op) {
            snprintf(session->error.text, sizeof session->error.text, "%s%s", asked, locks->cycles[i].text);
            locks->cycles[i].op = NULL;
        }
    eng_gate_leave(locks);
}
