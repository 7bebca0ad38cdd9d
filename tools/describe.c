/* SPDX-License-Identifier: Apache-2.0 */
/* An instance's JSON as lines for people; `status` prints them, `top` draws them. */
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "base/clock.h"
#include "base/units.h"
#include "tools/latency.h"
#include "tools/status.h"

#define LINE_BYTES 160u

struct page {
    status_line_fn line;
    void *arg;
    uint32_t left;
};

static void put(struct page *page, const char *format, ...) CF_PRINTF(2, 3);
static void put(struct page *page, const char *format, ...)
{
    char text[LINE_BYTES];
    va_list arguments;

    if (page->left == 0)
        return;
    page->left--;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    page->line(page->arg, text);
}

uint64_t status_u64(const json_t *object, const char *key)
{
    json_int_t value = json_integer_value(json_object_get(object, key));

    return value > 0 ? (uint64_t)value : 0; /* a time that ran while it was read may be a little below 0 */
}

const char *status_str(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);

    return json_is_string(value) ? json_string_value(value) : "-";
}

uint64_t status_counter(const json_t *status, const char *name)
{
    return status_u64(json_object_get(status, "counters"), name);
}

static void put_head(struct page *page, const json_t *status)
{
    const json_t *members = json_object_get(status, "members");
    json_t *provider = json_object_get(status, "provider");
    char text[LINE_BYTES] = "", uptime[32];
    size_t length = 0, index;

    for (index = 0; index < json_array_size(members) && length + 16 < sizeof(text); index++) {
        const json_t *member = json_array_get(members, index);

        length += (size_t)snprintf(text + length, sizeof(text) - length, " %" PRIu64 "%s",
                                   status_u64(member, "node"),
                                   json_is_true(json_object_get(member, "up")) ? "" : "(down)");
    }
    put(page, "node %" PRIu64 "  state %s  epoch %" PRIu64 "  incarnation %" PRIu64 "  up %s",
        status_u64(status, "node"), status_str(status, "state"), status_u64(status, "epoch"),
        status_u64(status, "incarnation"),
        latency_text(status_u64(status, "uptime_ns"), uptime, sizeof(uptime)));
    put(page, "members:%s", text);
    put(page, "transport %s", status_str(status, "transport"));
    for (void *at = json_object_iter(provider); at != NULL; at = json_object_iter_next(provider, at))
        put(page, "  %-26s %s", json_object_iter_key(at), json_string_value(json_object_iter_value(at)));
    put(page, "%s", status_str(status, "placement"));
}

static void put_held(struct page *page, const json_t *status)
{
    const json_t *modes = json_object_get(status, "modes");
    json_t *frames = json_object_get(status, "frames");

    put(page, "blocks held: %" PRIu64 " S, %" PRIu64 " X, %" PRIu64 " neither", status_u64(modes, "s"),
        status_u64(modes, "x"), status_u64(modes, "n"));
    for (void *at = json_object_iter(frames); at != NULL; at = json_object_iter_next(frames, at)) {
        const json_t *class = json_object_iter_value(at);

        put(page, "frames of %s bytes: %" PRIu64 ", %" PRIu64 " free, %" PRIu64 " dirty",
            json_object_iter_key(at), status_u64(class, "total"), status_u64(class, "free"),
            status_u64(class, "dirty"));
    }
}

/* One counter, with its rate when there is a look before. */
static void put_counter(struct page *page, const json_t *status, const json_t *before, double seconds,
                        const char *name, const char *words)
{
    uint64_t now = status_counter(status, name), then = before != NULL ? status_counter(before, name) : 0;

    if (before != NULL && seconds > 0)
        put(page, "  %-26s %14" PRIu64 "  %12.0f a second", words, now,
            now > then ? (double)(now - then) / seconds : 0.0);
    else
        put(page, "  %-26s %14" PRIu64, words, now);
}

static void put_counters(struct page *page, const json_t *status, const json_t *before, double seconds)
{
    static const struct {
        const char *name, *words;
    } shown[] = {
        {"gets", "blocks got"},
        {"hits", "of these, cache hits"},
        {"hops2", "received in two hops"},
        {"hops3", "received in three hops"},
        {"blocks_shipped", "shipped to others"},
        {"upgrades", "upgraded in place"},
        {"invalidated", "given up for others"},
        {"disk_reads", "read from storage"},
        {"disk_writes", "written to storage"},
        {"messages_sent", "messages sent"},
        {"resends", "messages said again"},
        {"directory_given_back", "entries given back"},
        {"directory_rebuilds", "given back and asked for"},
        {"timeouts", "calls timed out"},
    };
    uint64_t gets = status_counter(status, "gets") - (before != NULL ? status_counter(before, "gets") : 0);
    uint64_t hits = status_counter(status, "hits") - (before != NULL ? status_counter(before, "hits") : 0);

    put(page, "hit ratio: %.1f %%", gets > 0 ? 100.0 * (double)hits / (double)gets : 0.0);
    for (size_t i = 0; i < sizeof(shown) / sizeof(shown[0]); i++)
        put_counter(page, status, before, seconds, shown[i].name, shown[i].words);
}

/* Of the requests it answers as a master, how many are its own; buckets that have come and gone. */
static void put_masters(struct page *page, const json_t *status, const json_t *before)
{
    uint64_t all = status_counter(status, "master_requests") -
                   (before != NULL ? status_counter(before, "master_requests") : 0);
    uint64_t own = status_counter(status, "master_requests_local") -
                   (before != NULL ? status_counter(before, "master_requests_local") : 0);

    put(page,
        "masters %" PRIu64 " buckets: %.1f %% of %" PRIu64 " grants its own; given %" PRIu64
        ", taken %" PRIu64 ", given up %" PRIu64,
        status_counter(status, "buckets_owned"), all > 0 ? 100.0 * (double)own / (double)all : 0.0, all,
        status_counter(status, "remaster_given"), status_counter(status, "remaster_taken"),
        status_counter(status, "remaster_given_up"));
}

/* What of the directory is here: its memory, what went for want of room, the summary, the queues. */
static void put_directory(struct page *page, const json_t *status)
{
    put(page,
        "directory: %" PRIu64 " entries, %" PRIu64 " bytes; summary of %" PRIu64 " bytes: %" PRIu64
        " blocks given back, %" PRIu64 " of them unnamed",
        status_counter(status, "directory_entries"), status_counter(status, "directory_bytes"),
        status_counter(status, "directory_summary_bytes"), status_counter(status, "directory_cold"),
        status_counter(status, "directory_cold_unnamed"));
    put(page,
        "  evicted %" PRIu64 " nobody held; given back %" PRIu64 " (%" PRIu64 " of several holders, %" PRIu64
        " with past images, %" PRIu64 " for room beside entries)",
        status_counter(status, "directory_evicted"), status_counter(status, "directory_given_back"),
        status_counter(status, "directory_given_many"), status_counter(status, "directory_given_past"),
        status_counter(status, "directory_given_pools"));
    put(page,
        "  rebuilt %" PRIu64 " (%" PRIu64 " by asking all), %" PRIu64 " for nothing; refused %" PRIu64
        "; now %" PRIu64 " requests wait, %" PRIu64 " grants and %" PRIu64 " rebuilds are under way",
        status_counter(status, "directory_rebuilds"), status_counter(status, "directory_rebuilds_all"),
        status_counter(status, "directory_wrong_positives"), status_counter(status, "directory_refused"),
        status_counter(status, "directory_waiting"), status_counter(status, "directory_granting"),
        status_counter(status, "directory_rebuilding"));
}

static void put_latencies(struct page *page, const json_t *status)
{
    json_t *latencies = json_object_get(status, "latency");

    put(page, "  %-14s %12s %10s %10s %10s %10s", "latency of", "count", "p50", "p99", "p99.9", "max");
    for (void *at = json_object_iter(latencies); at != NULL; at = json_object_iter_next(latencies, at)) {
        const json_t *one = json_object_iter_value(at);
        char text[4][16];

        put(page, "  %-14s %12" PRIu64 " %10s %10s %10s %10s", json_object_iter_key(at),
            status_u64(one, "count"), latency_text(status_u64(one, "p50"), text[0], sizeof(text[0])),
            latency_text(status_u64(one, "p99"), text[1], sizeof(text[1])),
            latency_text(status_u64(one, "p999"), text[2], sizeof(text[2])),
            latency_text(status_u64(one, "max"), text[3], sizeof(text[3])));
    }
}

/* `total` may be more than the list has: it is cut at a bound. */
static void put_conversations(struct page *page, const json_t *status)
{
    const json_t *list = json_object_get(status, "conversations"), *one;
    size_t index;

    put(page, "requests in flight: %" PRIu64, status_u64(status, "conversations_total"));
    json_array_foreach(list, index, one)
    {
        char since[16];

        put(page, "  file %" PRIu64 " block %" PRIu64 "  wants %s  for %s  waits for %s",
            status_u64(one, "file"), status_u64(one, "block"), status_str(one, "wants"),
            latency_text(status_u64(one, "for_ns"), since, sizeof(since)), status_str(one, "waits_for"));
    }
}

static void put_waiters(struct page *page, const json_t *status)
{
    const json_t *list = json_object_get(status, "waiters"), *one;
    size_t index;

    put(page, "calls that wait: %" PRIu64, status_u64(status, "waiters_total"));
    json_array_foreach(list, index, one)
    {
        char since[16];

        put(page, "  file %" PRIu64 " block %" PRIu64 "  wants %s  for %s", status_u64(one, "file"),
            status_u64(one, "block"), status_str(one, "mode"),
            latency_text(status_u64(one, "for_ns"), since, sizeof(since)));
    }
}

/* "1 (12 S, 300 X)" of each instance that asks most. */
static void put_hot(struct page *page, const json_t *status)
{
    const json_t *list = json_object_get(status, "hot"), *one, *who;
    size_t index, at;

    put(page, "hot blocks mastered here: %zu", json_array_size(list));
    json_array_foreach(list, index, one)
    {
        char text[LINE_BYTES] = "";
        size_t used = 0;

        json_array_foreach(json_object_get(one, "who"), at, who)
        {
            if (used + 1 < sizeof(text))
                used += (size_t)snprintf(text + used, sizeof(text) - used,
                                         "  %" PRIu64 " (%" PRIu64 " S, %" PRIu64 " X)",
                                         status_u64(who, "node"), status_u64(who, "s"), status_u64(who, "x"));
        }
        put(page, "  file %" PRIu64 " block %-10" PRIu64 " lately %7" PRIu64 " S %7" PRIu64 " X  by%s",
            status_u64(one, "file"), status_u64(one, "block"), status_u64(one, "s"), status_u64(one, "x"),
            text);
    }
}

void status_describe(const json_t *status, const json_t *before, double seconds, uint32_t lines_max,
                     status_line_fn line, void *arg)
{
    struct page page = {.line = line, .arg = arg, .left = lines_max};

    put_head(&page, status);
    put_held(&page, status);
    put_counters(&page, status, before, seconds);
    put_masters(&page, status, before);
    put_directory(&page, status);
    put_latencies(&page, status);
    put_hot(&page, status);
    put_conversations(&page, status);
    put_waiters(&page, status);
}
