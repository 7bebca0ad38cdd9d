/* SPDX-License-Identifier: Apache-2.0 */
/* The calls of a session's thread on values of locks. */
#include <string.h>

#include "engine/instance.h"

_Static_assert(sizeof(struct cf_lock_value) == sizeof(struct grd_lock_value) &&
                   offsetof(struct cf_lock_value, bytes) == offsetof(struct grd_lock_value, bytes) &&
                   offsetof(struct cf_lock_value, is_valid) == offsetof(struct grd_lock_value, is_valid),
               "one layout, so that a value is copied as it is");

enum cf_rc cf_lock_value_get(struct cf_session *session, const struct cf_claim *claim,
                             struct cf_lock_value *value_out)
{
    struct eng_locks *locks = &session->instance->locks;
    const struct grd_lock_value *value;
    enum cf_rc rc = eng_lock_enter(session);

    if (rc != CF_OK)
        return rc;
    eng_gate_enter(locks);
    value = grd_lock_local_value(locks->local, claim->private_);
    if (value)
        memcpy(value_out, value, sizeof *value_out);
    eng_gate_leave(locks);
    return value ? CF_OK
                 : eng_fail(session, CF_NOT_HELD, "lock, look at the value: %s", cf_rc_text(CF_NOT_HELD));
}

enum cf_rc cf_lock_value_swap(struct cf_session *session, struct cf_lock *lock, uint64_t expected,
                              const struct cf_lock_value *value, uint64_t deadline_ns,
                              struct cf_lock_value *value_out)
{
    struct cf_lock_args args = {.lock = lock, .value = value, .value_out = value_out, .expected = expected};
    struct cf_op op = {.kind = CF_OP_VALUE_SWAP, .deadline_ns = deadline_ns, .lock = &args};

    return eng_lock_run(session, &op);
}

/*
 * The record of a master in this instance, by a look. Its owner may be writing it. CF_PENDING: by message. Inside the gate a
 * handle that is closed meanwhile cannot become that of another lock.
 */
static enum cf_rc read_here(struct cf_instance *instance, struct grd_lock_resource *resource,
                            struct cf_lock_value *value_out)
{
    struct eng_locks *locks = &instance->locks;
    const struct cf_block_key *key = grd_lock_resource_key(resource);
    uint32_t record = grd_lock_resource_record(resource), shard;
    struct grd_lock_value value;
    enum cf_rc rc = CF_INVALID;

    if (!grd_lock_resource_is_open(locks->local, resource))
        return rc;
    rc = CF_PENDING;
    shard = grd_map_shard(&instance->map, grd_map_hash(&instance->map, key));
    if (grd_lock_resource_master(resource) == instance->node && record < locks->records_shard &&
        grd_lock_record_read(&locks->records[(size_t)shard * locks->records_shard + record], key,
                             instance->epoch, &value)) {
        grd_lock_resource_learn(resource, &value);
        memcpy(value_out, &value, sizeof value);
        rc = CF_OK;
    }
    return rc;
}

enum cf_rc cf_lock_value_read(struct cf_session *session, struct cf_lock *lock, uint64_t deadline_ns,
                              struct cf_lock_value *value_out)
{
    struct cf_lock_args args = {.lock = lock, .value_out = value_out};
    struct cf_op op = {.kind = CF_OP_VALUE_READ, .deadline_ns = deadline_ns, .lock = &args};
    struct eng_locks *locks = &session->instance->locks;
    enum cf_rc rc = eng_lock_enter(session);

    if (rc != CF_OK)
        return rc;
    eng_gate_enter(locks);
    rc = read_here(session->instance, (struct grd_lock_resource *)(void *)lock, value_out);
    eng_gate_leave(locks);
    if (rc == CF_PENDING)
        return eng_lock_run(session, &op);
    if (rc != CF_OK)
        eng_lock_say(session, &op, rc);
    return rc;
}
