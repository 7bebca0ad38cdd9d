/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Values of locks read from their masters' memory, where the transport has READ. The record proves itself: key, epoch,
 * and a hash over all of it (grd/lock_value.h). After GRD_LOCK_READ_TRIES that proved nothing the message form is used,
 * as it is where the record's number is not known yet.
 *
 *   start --> READ --> good: done
 *              ^  \--> torn, or another lock's: again, then by message
 *              +----/
 */
#include <string.h>

#include "base/assert.h"
#include "engine/instance.h"
#include "engine/lock_impl.h"
#include "engine/snapshot.h"

enum cf_rc eng_lock_reads_open(struct cf_instance *instance, struct cf_error *error)
{
    struct eng_locks *locks = &instance->locks;
    void *memory;
    enum cf_rc rc;

    if (locks->local == NULL || !(xp_caps(instance->xp) & XP_CAP_READ))
        return CF_OK;
    rc = xp_memory(instance->xp, ENG_LOCK_READS * sizeof(struct grd_lock_record), 0, &memory, error);
    if (rc == CF_OK)
        locks->read_memory = memory;
    return rc;
}

/* Where the record is in the frame space of its master. False: not known. */
static bool place(const struct cf_instance *instance, const struct grd_lock_resource *resource,
                  uint64_t *offset_out)
{
    const struct eng_peer *peer = &instance->peers[grd_lock_resource_master(resource)];
    uint64_t hash = grd_map_hash(&instance->map, grd_lock_resource_key(resource));
    uint32_t record = grd_lock_resource_record(resource);

    if (record >= peer->records_shard || peer->shards == 0)
        return false;
    *offset_out = peer->records_offset +
                  ((uint64_t)grd_map_shard_of(hash, peer->shards) * peer->records_shard + record) *
                      sizeof(struct grd_lock_record);
    return true;
}

static bool post(struct cf_instance *instance, uint32_t number)
{
    struct eng_locks *locks = &instance->locks;
    struct eng_lock_read *read = &locks->reads[number];
    struct grd_lock_resource *resource = read->resource;
    uint64_t offset;
    enum cf_rc rc;

    if (!place(instance, resource, &offset))
        return false;
    rc = xp_read(instance->xp, grd_lock_resource_master(resource), offset, &locks->read_memory[number],
                 sizeof(struct grd_lock_record), ENG_TOKEN_LOCK | number);
    read->is_reading = rc == CF_OK;
    if (rc == CF_RANGE) /* the peer has named what is not its own */
        instance->counters.bad_messages++;
    return rc == CF_OK;
}

/* False: there is no such handle. While it is held the record stays this lock's, also when the handle is closed. */
static bool hold(struct eng_locks *locks, struct grd_lock_resource *resource)
{
    bool is_open;

    eng_gate_enter(locks);
    is_open = grd_lock_resource_is_open(locks->local, resource);
    if (is_open)
        grd_lock_local_hold(resource);
    eng_gate_leave(locks);
    return is_open;
}

static void unhold(struct cf_instance *instance, struct eng_lock_read *read, uint64_t now_ns)
{
    struct eng_locks *locks = &instance->locks;

    eng_lock_enter_to_step(instance);
    grd_lock_local_unhold(locks->local, read->resource, now_ns, locks->filling);
    eng_gate_leave(locks);
    read->op = NULL;
    read->resource = NULL;
}

bool eng_lock_read_start(struct cf_instance *instance, struct cf_op *op, uint64_t now_ns)
{
    struct eng_locks *locks = &instance->locks;
    struct grd_lock_resource *resource = (void *)op->lock->lock;
    uint32_t i;

    if (locks->read_memory == NULL || !grd_lock_resource_is_ours(locks->local, resource) ||
        grd_lock_resource_master(resource) == instance->node)
        return false;
    for (i = 0; i < ENG_LOCK_READS; i++)
        if (locks->reads[i].op == NULL && !locks->reads[i].is_reading)
            break;
    if (i == ENG_LOCK_READS || !hold(locks, resource))
        return false;
    locks->reads[i] = (struct eng_lock_read){.op = op, .resource = resource};
    if (post(instance, i)) {
        eng_op_of(op)->call = ENG_LOCK_CALLS + i;
        return true;
    }
    unhold(instance, &locks->reads[i], now_ns);
    return false;
}

void eng_lock_read_leave(struct cf_instance *instance, uint32_t call, uint64_t now_ns)
{
    cf_assert(call >= ENG_LOCK_CALLS && call < ENG_LOCK_CALLS + ENG_LOCK_READS);
    unhold(instance, &instance->locks.reads[call - ENG_LOCK_CALLS],
           now_ns); /* the READ may go on and writes to the slot */
}

/* The value is whole. */
static void read_done(struct cf_instance *instance, struct eng_lock_read *read, struct grd_lock_value *value,
                      uint64_t now_ns)
{
    struct eng_locks *locks = &instance->locks;
    struct cf_op *op = read->op;

    locks->one_sided++;
    eng_gate_enter(locks);
    grd_lock_resource_learn(read->resource, value);
    eng_gate_leave(locks);
    memcpy(op->lock->value_out, value, sizeof *value);
    unhold(instance, read, now_ns);
    eng_lock_complete_owner(instance, op, CF_OK, now_ns);
    eng_lock_news_owner(instance, now_ns);
}

void eng_lock_on_read(struct cf_instance *instance, const struct xp_event *event, uint64_t now_ns)
{
    struct eng_locks *locks = &instance->locks;
    uint32_t number = (uint32_t)event->token;
    struct eng_lock_read *read = &locks->reads[number];
    struct grd_lock_value value;
    struct cf_op *op = read->op;

    cf_assert(number < ENG_LOCK_READS && read->is_reading);
    read->is_reading = false;
    if (op == NULL)
        return;
    if (event->rc == CF_OK &&
        grd_lock_record_check(&locks->read_memory[number], grd_lock_resource_key(read->resource),
                              instance->epoch, &value)) {
        read_done(instance, read, &value, now_ns);
        return;
    }
    locks->one_sided_refused++;
    if (event->rc == CF_OK && ++read->tries < GRD_LOCK_READ_TRIES && post(instance, number))
        return;
    eng_lock_read_by_message(instance, op, now_ns); /* the handle may be closed by now: then it answers so */
    unhold(instance, read, now_ns);
    eng_lock_news_owner(instance, now_ns);
}

void eng_lock_reads_fail_all(struct cf_instance *instance)
{
    for (uint32_t i = 0; i < ENG_LOCK_READS; i++)
        instance->locks.reads[i].op = NULL; /* READs that are under way end later, and concern nobody */
}
