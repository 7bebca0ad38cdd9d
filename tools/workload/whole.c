/* SPDX-License-Identifier: Apache-2.0 */
/* The walks over a whole file that are the same for every workload: fill it, look at it through the cache. */
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "tools/workload/workload.h"

/* A walk asks for so many blocks at once: where a block takes a second, its instances still end in time. */
#define WL_AHEAD 16u

void wl_bad(struct wl_sums *sums, const char *format, ...)
{
    va_list arguments;

    if (sums->bad++ > 0)
        return;
    va_start(arguments, format);
    vsnprintf(sums->first_bad, sizeof(sums->first_bad), format, arguments);
    va_end(arguments);
}

enum cf_rc wl_head_adopt(struct wl_plan *plan, const struct wl_head *head, char *text, size_t text_bytes)
{
    if (head->magic == 0)
        return CF_NOT_FOUND;
    if (head->magic != WL_HEAD_MAGIC || memchr(head->workload, '\0', sizeof(head->workload)) == NULL) {
        snprintf(text, text_bytes,
                 "the file holds something that is not a workload's; name another with --data");
        return CF_FORMAT;
    }
    if (strcmp(head->workload, plan->workload->name) != 0) {
        snprintf(text, text_bytes,
                 "the file was prepared for workload %s; run that one or name another file with --data",
                 head->workload);
        return CF_FORMAT;
    }
    if (head->blocks < plan->workload->blocks_min || head->blocks > plan->blocks) {
        snprintf(text, text_bytes, "the file was prepared with %llu blocks and has %llu now",
                 (unsigned long long)head->blocks, (unsigned long long)plan->blocks);
        return CF_FORMAT;
    }
    plan->blocks = head->blocks;
    return CF_OK;
}

static enum cf_rc format_block(struct wl_client *client, uint64_t block)
{
    struct cf_ref ref;
    enum cf_rc rc = wl_get(client, block, CF_MODE_X, CF_GET_NEW, &ref);

    if (rc != CF_OK)
        return rc;
    memset(ref.data, 0, ref.bytes);
    client->plan->workload->format(client->plan, block, ref.data);
    return wl_commit(client, &ref);
}

/* Last of all, so that a head means a whole file. */
static enum cf_rc write_head(struct wl_client *client)
{
    struct wl_head *head;
    struct cf_ref ref;
    enum cf_rc rc = wl_get(client, WL_HEAD_BLOCK, CF_MODE_X, 0, &ref);

    if (rc != CF_OK)
        return rc;
    head = ref.data;
    memset(head, 0, sizeof(*head));
    head->magic = WL_HEAD_MAGIC;
    snprintf(head->workload, sizeof(head->workload), "%s", client->plan->workload->name);
    head->seed = client->plan->seed;
    head->blocks = client->plan->blocks;
    return wl_commit(client, &ref);
}

static enum cf_rc read_head(struct wl_client *client, struct wl_head *head_out)
{
    struct cf_ref ref;
    enum cf_rc rc = wl_get(client, WL_HEAD_BLOCK, CF_MODE_S, 0, &ref);

    if (rc != CF_OK)
        return rc;
    memcpy(head_out, ref.data, sizeof(*head_out));
    cf_put(client->session, &ref);
    return CF_OK;
}

enum cf_rc wl_prepare(struct wl_plan *plan, struct wl_client *client)
{
    char text[WL_TEXT_BYTES] = "";
    struct wl_head head;
    uint64_t used;
    enum cf_rc rc;

    if (plan->workload->is_foreign)
        return CF_OK;
    rc = read_head(client, &head);
    if (rc != CF_OK)
        return rc;
    rc = wl_head_adopt(plan, &head, text, sizeof(text));
    if (rc == CF_OK)
        return CF_OK;
    if (rc != CF_NOT_FOUND)
        return wl_fail(client, rc, "%s", text);
    used = plan->workload->blocks_used(plan);
    for (uint64_t block = 1; block < used; block++) {
        rc = format_block(client, block);
        if (rc != CF_OK)
            return rc;
    }
    return write_head(client);
}

enum cf_rc wl_prepared_wait(struct wl_plan *plan, struct wl_client *client)
{
    uint64_t end_ns = cf_now_ns() + WL_PREPARE_NS_MAX;
    char text[WL_TEXT_BYTES] = "";
    struct wl_head head;
    enum cf_rc rc;

    if (plan->workload->is_foreign)
        return CF_OK;
    do {
        rc = read_head(client, &head);
        if (rc != CF_OK)
            return rc;
        rc = wl_head_adopt(plan, &head, text, sizeof(text));
        if (rc != CF_NOT_FOUND)
            return rc == CF_OK ? CF_OK : wl_fail(client, rc, "%s", text);
        sched_yield();
    } while (cf_now_ns() < end_ns && !wl_stopped(client));
    return wl_fail(client, CF_TIMEOUT, "node 0 has not prepared the file within %llu s",
                   (unsigned long long)(WL_PREPARE_NS_MAX / CF_NS_PER_S));
}

enum cf_rc wl_verify(struct wl_client *client, struct wl_sums *sums_out)
{
    struct cf_file_info info = {.size = sizeof(info)};
    struct cf_ref ref;
    enum cf_rc rc;

    memset(sums_out, 0, sizeof(*sums_out));
    if (client->plan->workload->is_foreign)
        return CF_OK;
    rc = cf_file_info(client->session, client->file, &info);
    if (rc != CF_OK)
        return wl_fail(client, rc, "file info: %s", cf_rc_text(rc));
    for (uint64_t block = 1; block < info.blocks; block++) {
        if (block % WL_AHEAD == 1)
            (void)cf_prefetch(client->session, client->file, block, 2 * WL_AHEAD);
        rc = wl_get(client, block, CF_MODE_S, 0, &ref);
        if (rc != CF_OK)
            return rc;
        client->plan->workload->inspect(client->plan, block, ref.data, sums_out);
        cf_put(client->session, &ref);
    }
    return CF_OK;
}
