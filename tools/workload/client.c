/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls of the clients with their retries: a status of class RETRY is tried again WL_TRIES_MAX times, anything else
 * ends the client with its words.
 */
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/clock.h"
#include "tools/workload/workload.h"

bool wl_stopped(const struct wl_client *client)
{
    return atomic_load_explicit(client->stop, memory_order_relaxed);
}

void wl_done(struct wl_client *client, uint64_t started_ns)
{
    uint64_t ops = atomic_load_explicit(&client->ops, memory_order_relaxed);

    cf_hist_add(&client->latency, cf_now_ns() - started_ns);
    atomic_store_explicit(&client->ops, ops + 1, memory_order_relaxed);
}

enum cf_rc wl_fail(struct wl_client *client, enum cf_rc rc, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(client->error, sizeof(client->error), format, arguments);
    va_end(arguments);
    client->rc = rc;
    return rc;
}

bool wl_again(enum cf_rc rc, uint32_t tries)
{
    if (tries >= WL_TRIES_MAX)
        return false;
    if (rc == CF_AGAIN || rc == CF_BUSY) {
        sched_yield();
        return true;
    }
    return rc == CF_TIMEOUT;
}

enum cf_rc wl_call_failed(struct wl_client *client, enum cf_rc rc, const char *call, const char *of,
                          uint64_t number)
{
    const struct cf_error *error = cf_session_error(client->session);

    return wl_fail(client, rc, "%s of %s %llu: %s: %s", call, of, (unsigned long long)number, cf_rc_name(rc),
                   error->text[0] != '\0' ? error->text : cf_rc_text(rc));
}

static enum cf_rc call_failed(struct wl_client *client, enum cf_rc rc, const char *call, uint64_t block)
{
    return wl_call_failed(client, rc, call, "block", block);
}

enum cf_rc wl_get(struct wl_client *client, uint64_t block, enum cf_mode mode, uint32_t flags,
                  struct cf_ref *ref_out)
{
    enum cf_rc rc;

    for (uint32_t tries = 1;; tries++) {
        rc = cf_get(client->session, client->file, block, mode, flags, cf_now_ns() + WL_TRY_NS, ref_out);
        if (rc == CF_OK)
            return CF_OK;
        if (!wl_again(rc, tries))
            return call_failed(client, rc, mode == CF_MODE_X ? "get in X" : "get in S", block);
    }
}

static enum cf_rc get_many(struct wl_client *client, uint64_t a, uint64_t b, struct cf_ref refs_out[2])
{
    const uint64_t blocks[2] = {a, b};
    enum cf_rc rc;

    for (uint32_t tries = 1;; tries++) {
        rc = cf_get_many(client->session, client->file, blocks, 2, CF_MODE_X, cf_now_ns() + WL_TRY_NS,
                         refs_out);
        if (rc == CF_OK)
            return CF_OK;
        if (!wl_again(rc, tries))
            return call_failed(client, rc, "get of a pair with the first", a);
    }
}

enum cf_rc wl_get_pair(struct wl_client *client, uint64_t a, uint64_t b, bool at_once,
                       struct cf_ref refs_out[2])
{
    uint32_t first = a < b ? 0 : 1;
    const uint64_t blocks[2] = {a, b};
    enum cf_rc rc;

    if (at_once)
        return get_many(client, a, b, refs_out);
    rc = wl_get(client, blocks[first], CF_MODE_X, 0, &refs_out[first]);
    if (rc != CF_OK)
        return rc;
    rc = wl_get(client, blocks[1 - first], CF_MODE_X, 0, &refs_out[1 - first]);
    if (rc != CF_OK)
        cf_put(client->session, &refs_out[first]);
    return rc;
}

enum cf_rc wl_upgrade(struct wl_client *client, struct cf_ref *ref, bool *changed_out)
{
    uint64_t block = ref->block;
    enum cf_rc rc = cf_upgrade(client->session, ref, cf_now_ns() + WL_TRY_NS);

    *changed_out = rc != CF_OK;
    if (rc == CF_OK)
        return CF_OK;
    /* The call has put the block: others may have changed it since. */
    if (rc == CF_UPGRADE_LOST || wl_again(rc, 1))
        return wl_get(client, block, CF_MODE_X, 0, ref);
    rc = call_failed(client, rc, "upgrade", block);
    if (ref->data != NULL)
        cf_put(client->session, ref);
    return rc;
}

enum cf_rc wl_commit(struct wl_client *client, struct cf_ref *ref)
{
    uint64_t block = ref->block;
    enum cf_rc rc = cf_dirty(client->session, ref, 0);

    if (rc != CF_OK)
        rc = call_failed(client, rc, "change", block);
    cf_put(client->session, ref);
    return rc;
}
