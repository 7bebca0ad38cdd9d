/* SPDX-License-Identifier: Apache-2.0 */
/* The state of an instance as JSON: the text of one moment (status_shot.c), made by the thread that asked. */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "engine/instance.h"
#include "engine/metrics.h"
#include "engine/status.h"

/* What a transport may say of itself. */
#define PROVIDER_TEXT_BYTES 4096u

static const char *mode_name(uint8_t mode)
{
    return mode == CF_MODE_X ? "X" : mode == CF_MODE_S ? "S" : "N";
}

static json_t *json_members(struct cf_json_build *build, const struct cf_instance *instance,
                            const struct eng_status_shot *shot)
{
    json_t *list = json_array();
    uint32_t n;

    for (n = 0; n < instance->nodes; n++)
        cf_json_append(build, list, json_pack("{s:i, s:b}", "node", (int)n, "up", (int)shot->up[n]));
    return list;
}

static json_t *json_counters(struct cf_json_build *build, const struct cf_stats *stats)
{
    json_t *object = json_object();

#define CF_STAT(name, text) cf_json_put(build, object, #name, json_integer((json_int_t)stats->name));
#define CF_LATENCY(name, text)
#include <cachefusion/stats.def>
#undef CF_STAT
#undef CF_LATENCY
    return object;
}

static json_t *json_latency(const struct cf_latency *latency)
{
    return json_pack("{s:I, s:I, s:I, s:I, s:I}", "count", (json_int_t)latency->count, "p50",
                     (json_int_t)latency->p50, "p99", (json_int_t)latency->p99, "p999",
                     (json_int_t)latency->p999, "max", (json_int_t)latency->max);
}

static json_t *json_latencies(struct cf_json_build *build, const struct cf_stats *stats)
{
    json_t *object = json_object();

#define CF_STAT(name, text)
#define CF_LATENCY(name, text) cf_json_put(build, object, #name, json_latency(&stats->name));
#include <cachefusion/stats.def>
#undef CF_STAT
#undef CF_LATENCY
    return object;
}

static json_t *json_frames(struct cf_json_build *build, const struct eng_status_shot *shot)
{
    json_t *object = json_object();
    char name[16];
    uint32_t c;

    for (c = 0; c < CF_BLOCK_SIZES; c++) {
        if (shot->classes[c].total == 0)
            continue;
        snprintf(name, sizeof name, "%u", shot->classes[c].bytes);
        cf_json_put(build, object, name,
                    json_pack("{s:I, s:I, s:I}", "total", (json_int_t)shot->classes[c].total, "free",
                              (json_int_t)shot->classes[c].free, "dirty",
                              (json_int_t)shot->classes[c].dirty));
    }
    return object;
}

static json_t *json_convs(struct cf_json_build *build, const struct eng_status_shot *shot)
{
    json_t *list = json_array();
    char waits_for[64];
    uint32_t i;

    for (i = 0; i < shot->convs_count; i++) {
        const struct eng_status_conv *conv = &shot->convs[i];

        if (!conv->is_granted)
            snprintf(waits_for, sizeof waits_for, "the grant of master %u", conv->master);
        else if (conv->need > conv->acks)
            snprintf(waits_for, sizeof waits_for, "%u of %u sharers", conv->need - conv->acks, conv->need);
        else
            snprintf(waits_for, sizeof waits_for, "storage");
        cf_json_append(build, list,
                       json_pack("{s:I, s:I, s:s, s:I, s:s}", "file", (json_int_t)conv->key.file, "block",
                                 (json_int_t)conv->key.block, "wants", mode_name(conv->wants), "for_ns",
                                 (json_int_t)conv->for_ns, "waits_for", waits_for));
    }
    return list;
}

static json_t *json_waiters(struct cf_json_build *build, const struct eng_status_shot *shot)
{
    json_t *list = json_array();
    uint32_t i;

    for (i = 0; i < shot->waiters_count; i++)
        cf_json_append(build, list,
                       json_pack("{s:I, s:I, s:s, s:I}", "file", (json_int_t)shot->waiters[i].key.file,
                                 "block", (json_int_t)shot->waiters[i].key.block, "mode",
                                 mode_name(shot->waiters[i].mode), "for_ns",
                                 (json_int_t)shot->waiters[i].for_ns));
    return list;
}

/* Name and value of each line the transport says of itself. */
static json_t *json_provider(struct cf_json_build *build, const struct cf_instance *instance)
{
    char text[PROVIDER_TEXT_BYTES], *line, *rest = text;
    json_t *object = json_object();

    (void)xp_describe(instance->xp, text, sizeof text);
    text[sizeof text - 1] = 0;
    while ((line = strsep(&rest, "\n")) != NULL) {
        char *value = strchr(line, ' ');

        if (value == NULL)
            continue;
        *value++ = 0;
        cf_json_put(build, object, line, cf_json_text(value));
    }
    return object;
}

static json_t *json_state(struct cf_json_build *build, const struct cf_instance *instance,
                          const struct eng_status_shot *shot, const struct cf_stats *stats)
{
    json_t *root = json_object();

    cf_json_put(build, root, "node", json_integer(instance->node));
    cf_json_put(build, root, "incarnation", json_integer(instance->incarnation));
    cf_json_put(build, root, "epoch", json_integer((json_int_t)instance->epoch));
    cf_json_put(build, root, "state", json_string(cf_rc_name(eng_state(instance))));
    cf_json_put(build, root, "uptime_ns", json_integer((json_int_t)(shot->now_ns - instance->opened_ns)));
    cf_json_put(build, root, "placement", cf_json_text(instance->plan.text));
    cf_json_put(build, root, "transport", cf_json_text(instance->options.transport));
    if (eng_metrics_where(instance) != NULL)
        cf_json_put(build, root, "metrics", cf_json_text(eng_metrics_where(instance)));
    cf_json_put(build, root, "provider", json_provider(build, instance));
    cf_json_put(build, root, "members", json_members(build, instance, shot));
    cf_json_put(build, root, "counters", json_counters(build, stats));
    cf_json_put(build, root, "latency", json_latencies(build, stats));
    cf_json_put(build, root, "frames", json_frames(build, shot));
    cf_json_put(build, root, "modes",
                json_pack("{s:I, s:I, s:I}", "n", (json_int_t)shot->modes[0], "s", (json_int_t)shot->modes[1],
                          "x", (json_int_t)shot->modes[2]));
    cf_json_put(build, root, "kept_images", json_integer((json_int_t)shot->kept));
    cf_json_put(build, root, "releases_unacknowledged", json_integer((json_int_t)shot->releases));
    cf_json_put(build, root, "demands_waiting", json_integer((json_int_t)shot->demands));
    cf_json_put(build, root, "conversations_total", json_integer(shot->convs_total));
    cf_json_put(build, root, "waiters_total", json_integer(shot->waiters_total));
    cf_json_put(build, root, "conversations", json_convs(build, shot));
    cf_json_put(build, root, "waiters", json_waiters(build, shot));
    cf_json_put(build, root, "hot", eng_status_hot(build, instance, shot->now_ns));
    return root;
}

enum cf_rc cf_status_write(struct cf_instance *instance,
                           void (*sink)(void *arg, const char *text, size_t bytes), void *arg)
{
    enum cf_rc rc = eng_enter(instance);
    struct cf_json_build build = {.is_short = false};
    struct cf_stats stats = {.size = sizeof stats};
    struct eng_status_shot *shot;
    size_t bytes;
    json_t *root;
    char *text;

    if (rc == CF_INVALID || rc == CF_FORKED)
        return rc;
    shot = calloc(1, sizeof *shot);
    if (shot == NULL)
        return CF_MEMORY;
    (void)eng_call_run(instance, eng_status_shot_take, shot);
    rc = cf_stats_read(instance, &stats);
    root = json_state(&build, instance, shot, &stats);
    eng_detect_json(&build, instance, root);
    text = cf_json_dump(&build, root, &bytes);
    if (text == NULL) /* never a part: who looks for a member would take it for a state without that */
        rc = CF_MEMORY;
    else
        sink(arg, text, bytes);
    free(text);
    json_decref(root);
    free(shot);
    return rc;
}
