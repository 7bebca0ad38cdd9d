/* SPDX-License-Identifier: Apache-2.0 */
/* What the one who sees everything checks at each grant and value. */
#include "tests/unit/grd/lock_sim_impl.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void lsim_fail(struct lsim *s, const char *format, ...)
{
    va_list args;

    fprintf(stderr, "lock sim: seed %" PRIu64 " at %" PRIu64 " us: ", s->o.seed, s->now_ns / 1000);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    for (uint32_t n = 0; n < s->o.nodes; n++) {
        grd_lock_local_dump(s->nodes[n].local, stderr);
        if (s->nodes[n].master)
            grd_lock_master_dump(s->nodes[n].master, stderr);
    }
    exit(1);
}

void lsim_value_make(struct grd_lock_value *value, uint64_t stamp)
{
    memset(value, 0, sizeof *value);
    value->bytes_count = (uint8_t)(8 + stamp % 57);
    memset(value->bytes, (int)(stamp & 0xff), value->bytes_count);
    memcpy(value->bytes, &stamp, sizeof stamp);
}

uint64_t lsim_value_stamp(struct lsim *s, const struct grd_lock_value *value)
{
    struct grd_lock_value again;
    uint64_t stamp = 0;

    if (value->bytes_count == 0)
        return 0;
    memcpy(&stamp, value->bytes, sizeof stamp);
    lsim_value_make(&again, stamp);
    if (again.bytes_count != value->bytes_count || memcmp(again.bytes, value->bytes, again.bytes_count) != 0)
        lsim_fail(s, "a torn value");
    return stamp;
}

void lsim_truth_set(struct lsim *s, uint32_t name, uint64_t version, bool is_valid, uint64_t stamp)
{
    struct lsim_truth *truth = &s->truth[name];

    if (version <= truth->version)
        lsim_fail(s, "lock %u: version %" PRIu64 " after %" PRIu64, name, version, truth->version);
    truth->version = version;
    truth->is_valid = is_valid;
    truth->stamp = stamp;
    if (version < LSIM_HISTORY_MAX)
        truth->history[version] = stamp;
}

/* A version is never used twice: a lock met anew begins above all that its forgotten values were. */
static void truth_renew(struct lsim *s, uint32_t name, const struct grd_lock_value *value)
{
    struct lsim_truth *truth = &s->truth[name];
    uint64_t stamp = lsim_value_stamp(s, value), version = value->version - (stamp != 0);

    if (version < truth->version || (version == truth->version && (truth->stamp != 0 || !truth->is_valid)))
        lsim_fail(s, "lock %u: forgotten at version %" PRIu64 ", known again at %" PRIu64, name,
                  truth->version, version);
    truth->version = version;
    truth->is_valid = true;
    truth->stamp = 0;
    if (version <
        LSIM_HISTORY_MAX) /* what a dead instance wrote and never gave back may have had this version */
        truth->history[version] = 0;
}

void lsim_truth_note(struct lsim *s, uint16_t master)
{
    for (uint32_t name = 0; name < s->o.locks; name++) {
        uint64_t hash = grd_map_hash(&s->map, &s->keys[name]);
        const struct grd_lock_value *value;

        if (grd_map_master(&s->map, hash) != master)
            continue;
        value = grd_lock_master_value(s->nodes[master].master, &s->keys[name], hash);
        if (value && !s->truth[name].is_present)
            truth_renew(s, name, value);
        s->truth[name].is_present = value != NULL;
    }
}

bool lsim_truth_has(const struct lsim_truth *truth, uint64_t stamp)
{
    for (uint64_t v = 0; v <= truth->version && v < LSIM_HISTORY_MAX; v++)
        if (truth->history[v] == stamp)
            return true;
    return false;
}

/* I-12: who excludes writers sees the newest value; others see one that was. */
void lsim_value_check(struct lsim *s, uint32_t name, uint8_t mode, const struct grd_lock_value *value)
{
    const struct lsim_truth *truth = &s->truth[name];
    uint64_t stamp = lsim_value_stamp(s, value);

    s->result.values_checked++;
    s->result.invalid_seen += !value->is_valid;
    if (!truth->is_present && stamp == 0 && value->version >= truth->version)
        return;
    if (value->version > truth->version)
        lsim_fail(s, "lock %u: version %" PRIu64 " was never stored, %" PRIu64 " is the newest", name,
                  value->version, truth->version);
    if (mode >= GRD_LOCK_CW &&
        (value->version != truth->version || value->is_valid != truth->is_valid || stamp != truth->stamp))
        lsim_fail(s, "lock %u: %s reads version %" PRIu64 "%s, the newest is %" PRIu64 "%s", name,
                  grd_lock_mode_name(mode), value->version, value->is_valid ? "" : " not valid",
                  truth->version, truth->is_valid ? "" : " not valid");
    if (value->version < LSIM_HISTORY_MAX && truth->history[value->version] != stamp)
        lsim_fail(s, "lock %u: version %" PRIu64 " has other bytes", name, value->version);
}

/* I-11 over all owners of all instances. */
static void grant_check(struct lsim *s, const struct lsim_client *client, uint32_t name, uint8_t mode,
                        const struct lsim_held *own)
{
    for (uint32_t n = 0; n < s->o.nodes; n++) {
        if (!s->nodes[n].is_alive)
            continue;
        for (uint32_t c = 0; c < s->o.clients; c++) {
            const struct lsim_client *other = &s->nodes[n].clients[c];

            for (uint32_t h = 0; h < other->held_count; h++)
                if (&other->held[h] != own && other->held[h].name == name &&
                    !grd_lock_compatible(other->held[h].mode, mode))
                    lsim_fail(s, "lock %u: node %u client %u got %s while node %u client %u holds %s", name,
                              client->node, client->number, grd_lock_mode_name(mode), n, c,
                              grd_lock_mode_name(other->held[h].mode));
        }
    }
}

void lsim_granted(struct lsim *s, struct lsim_client *client, struct lsim_held *held, uint8_t mode)
{
    const struct grd_lock_value *value = grd_lock_local_value(s->nodes[client->node].local, held->lock);

    s->result.grants++;
    grant_check(s, client, held->name, mode, held);
    held->mode = mode;
    if (value == NULL)
        lsim_fail(s, "a granted lock without a value");
    lsim_value_check(s, held->name, mode, value);
}
