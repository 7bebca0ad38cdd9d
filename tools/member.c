/* SPDX-License-Identifier: Apache-2.0 */
/* The steps of an instance's life, each of which can fail once and then leads to member_close. */
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "tools/instance.h"
#include "tools/latency.h"

#define MEMBER_FOREIGN_ID 1u

char *error_text(enum cf_rc rc, const struct cf_error *error, char *buf, size_t buf_bytes)
{
    snprintf(buf, buf_bytes, "%s: %s; %s", cf_rc_name(rc),
             error != NULL && error->text[0] != '\0' ? error->text : cf_rc_text(rc), cf_rc_remedy(rc));
    return buf;
}

bool member_failed(struct member *member, enum cf_rc rc, const char *format, ...)
{
    va_list arguments;

    if (member->rc != CF_OK)
        return false;
    va_start(arguments, format);
    vsnprintf(member->text, sizeof(member->text), format, arguments);
    va_end(arguments);
    member->rc = rc;
    return false;
}

static bool call_failed(struct member *member, const char *what, enum cf_rc rc, const struct cf_error *error)
{
    char text[CTL_TEXT_BYTES];

    return member_failed(member, rc, "%s: %s", what, error_text(rc, error, text, sizeof(text) - 64));
}

static bool attach(struct member *member)
{
    struct cf_file_options options;
    struct cf_file_info info = {.size = sizeof(info)};
    const struct instance_args *args = member->args;
    enum cf_rc rc;

    cf_file_options_init(&options);
    options.path = args->data;
    options.accept_loss = args->accept_loss;
    if (member->plan.workload->is_foreign) {
        options.format = CF_FORMAT_FOREIGN;
        options.read_only = true;
        options.file_id = MEMBER_FOREIGN_ID;
        options.block_bytes = (uint32_t)args->block_bytes;
    } else {
        options.file_id = member->datafile.file_id;
    }
    rc = cf_attach(member->session, &options, &member->file);
    if (rc == CF_OK)
        rc = cf_file_info(member->session, member->file, &info);
    if (rc != CF_OK)
        return call_failed(member, args->data, rc, cf_session_error(member->session));
    member->plan.data_bytes = info.data_bytes;
    member->plan.blocks = info.blocks;
    member->plan.bytes = info.bytes;
    if (info.blocks < member->plan.workload->blocks_min)
        return member_failed(member, CF_RANGE,
                             "%s: workload %s needs a file of at least %llu blocks, it has %llu", args->data,
                             args->workload, (unsigned long long)member->plan.workload->blocks_min,
                             (unsigned long long)info.blocks);
    return true;
}

bool member_open(struct member *member)
{
    const struct instance_args *args = member->args;
    struct cf_error error = {0};
    enum cf_rc rc;

    rc = datafile_probe(args->data, &member->datafile, &error);
    if (rc != CF_OK)
        return call_failed(member, "data file", rc, &error);
    if (!member->datafile.exists)
        return member_failed(member, CF_NOT_FOUND, "%s: no such file; make one with 'cachefusion mkfs'",
                             args->data);
    if (!member->plan.workload->is_foreign && !member->datafile.is_native)
        return member_failed(member, CF_FORMAT,
                             "%s: not a data file of ours; make one with 'cachefusion mkfs'", args->data);
    rc = cf_open(&member->options, NULL, &member->instance, &error);
    if (rc != CF_OK)
        return call_failed(member, "open", rc, &error);
    rc = cf_session_open(member->instance, &member->session);
    if (rc != CF_OK)
        return call_failed(member, "session", rc, NULL);
    return attach(member);
}

/* A client that is not a thread of its own: for filling and looking. */
static void caretaker_init(struct member *member, struct wl_client *client)
{
    memset(client, 0, sizeof(*client));
    client->plan = &member->plan;
    client->instance = member->instance;
    client->session = member->session;
    client->file = member->file;
    client->stop = &member->clients.stop;
    cf_hist_init(&client->latency);
}

bool member_prepare(struct member *member)
{
    struct wl_client *client = malloc(sizeof(*client));
    enum cf_rc rc;

    if (client == NULL)
        return member_failed(member, CF_MEMORY, "no memory for a client");
    caretaker_init(member, client);
    rc = member->plan.workload->begin ? member->plan.workload->begin(&member->plan, client) : CF_OK;
    if (rc == CF_OK && member->plan.node == 0)
        rc = wl_prepare(&member->plan, client);
    else if (rc == CF_OK)
        rc = wl_prepared_wait(&member->plan, client);
    if (rc != CF_OK)
        member_failed(member, rc, "prepare: %s", client->error);
    free(client);
    return rc == CF_OK;
}

bool member_verify(struct member *member, struct wl_sums *sums_out)
{
    struct wl_client *client = malloc(sizeof(*client));
    enum cf_rc rc;

    if (client == NULL)
        return member_failed(member, CF_MEMORY, "no memory for a client");
    caretaker_init(member, client);
    rc = wl_verify(client, sums_out);
    if (rc == CF_OK && member->plan.workload->look)
        rc = member->plan.workload->look(client, sums_out);
    if (rc != CF_OK)
        member_failed(member, rc, "verify: %s", client->error);
    free(client);
    for (uint32_t i = 0; member->plan.workload->is_foreign && i < member->clients.count; i++) {
        if (i > 0 && memcmp(sums_out->digest, member->clients.client[i].digest, WL_DIGEST_BYTES) != 0)
            wl_bad(sums_out, "clients 0 and %u of one instance read different bytes", i);
        memcpy(sums_out->digest, member->clients.client[i].digest, WL_DIGEST_BYTES);
    }
    return rc == CF_OK;
}

void member_say(struct member *member, enum ctl_kind kind, struct ctl_record *record)
{
    record->magic = CTL_MAGIC;
    record->bytes = sizeof(*record);
    record->kind = kind;
    record->node = member->plan.node;
    record->stats.size = sizeof(record->stats);
    if (member->instance != NULL && cf_stats_read(member->instance, &record->stats) != CF_OK)
        memset(&record->stats, 0, sizeof(record->stats));
    if (member->is_led && !ctl_send(&member->link, record))
        member->closing = true;
}

/* True: go on. False: the instance has stopped by itself. */
static bool is_well(struct member *member)
{
    struct cf_error error = {0};
    enum cf_rc rc = cf_state(member->instance, &error);

    return rc == CF_OK || call_failed(member, "instance", rc, &error);
}

bool member_await(struct member *member, enum ctl_kind kind)
{
    struct pollfd ready = {.fd = member->link.in, .events = POLLIN};
    struct ctl_record record;

    if (!member->is_led)
        return true;
    while (!member->closing && is_well(member)) {
        enum ctl_result result;

        if (poll(&ready, 1, CTL_PROGRESS_MS) < 0 && errno != EINTR)
            return member_failed(member, CF_SYSTEM, "poll: %s", strerror(errno));
        result = ctl_receive(&member->link, &record);
        if (result == CTL_END || (result == CTL_GOT && record.kind == CTL_CLOSE))
            member->closing = true;
        else if (result == CTL_GOT && record.kind == (uint32_t)kind)
            return true;
    }
    return false;
}

/* By hand: true when a signal asked for the end. */
static bool signalled(struct member *member)
{
    struct signalfd_siginfo info;

    return member->signal_fd >= 0 && read(member->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info);
}

static bool told_to_stop(struct member *member)
{
    struct ctl_record record;
    enum ctl_result result;

    if (!member->is_led)
        return signalled(member);
    result = ctl_receive(&member->link, &record);
    if (result == CTL_END || (result == CTL_GOT && record.kind == CTL_CLOSE))
        member->closing = true;
    return member->closing || (result == CTL_GOT && record.kind == CTL_STOP);
}

static void watch_clients(struct member *member)
{
    struct pollfd ready[] = {{.fd = member->is_led ? member->link.in : member->signal_fd, .events = POLLIN},
                             {.fd = member->clients.ended_fd, .events = POLLIN}};
    uint64_t end_ns = cf_now_ns() + (uint64_t)(member->args->seconds * (double)CF_NS_PER_S);
    struct ctl_record record;

    for (;;) {
        uint64_t now_ns = cf_now_ns();

        if (!member->is_led && now_ns >= end_ns)
            return;
        if (poll(ready, 2, CTL_PROGRESS_MS) < 0 && errno != EINTR)
            return;
        if (told_to_stop(member) || ready[1].revents != 0 || !is_well(member))
            return;
        memset(&record, 0, sizeof(record));
        record.ops = clients_ops(&member->clients);
        member_say(member, CTL_PROGRESS, &record);
    }
}

/* Latencies of all clients, by the offset of their histogram. */
static struct cf_latency latency_of_all(const struct clients *clients, size_t offset)
{
    struct cf_hist *all = malloc(sizeof(*all));
    struct cf_latency latency = {0};

    if (all == NULL)
        return latency;
    cf_hist_init(all);
    for (uint32_t i = 0; i < clients->count; i++)
        cf_hist_merge(all, (const void *)((const char *)&clients->client[i] + offset));
    latency = latency_of(all);
    free(all);
    return latency;
}

static void say_stopped(struct member *member)
{
    struct ctl_record record = {0};

    member->ops = clients_ops(&member->clients);
    record.ops = member->ops;
    for (uint32_t i = 0; i < member->clients.count; i++)
        for (uint32_t k = 0; k < WL_TALLIES; k++)
            record.tally[k] += member->clients.client[i].tally[k];
    record.op_latency = latency_of_all(&member->clients, offsetof(struct wl_client, latency));
    record.extra = latency_of_all(&member->clients, offsetof(struct wl_client, extra));
    member_say(member, CTL_STOPPED, &record);
}

bool member_run(struct member *member)
{
    const struct wl_client *failed;
    char text[WL_TEXT_BYTES] = "";
    enum cf_rc rc = clients_open(&member->clients, &member->plan, member->instance, member->file, text,
                                 sizeof(text));

    if (rc != CF_OK)
        return member_failed(member, rc, "%s", text);
    rc = clients_start(&member->clients, text, sizeof(text));
    if (rc == CF_OK)
        watch_clients(member);
    clients_stop(&member->clients);
    failed = clients_failed(&member->clients);
    if (rc != CF_OK)
        return member_failed(member, rc, "%s", text);
    if (failed != NULL)
        return member_failed(member, failed->rc, "client %u: %s", failed->index, failed->error);
    if (member->rc != CF_OK)
        return false;
    say_stopped(member);
    return true;
}

/* What the workload keeps beside the file. */
static void own_end(struct member *member)
{
    struct wl_client *client = member->plan.own ? malloc(sizeof(*client)) : NULL;
    enum cf_rc rc;

    if (client == NULL)
        return;
    caretaker_init(member, client);
    rc = member->plan.workload->end(&member->plan, client);
    if (rc != CF_OK)
        member_failed(member, rc, "end: %s", client->error);
    member->plan.own = NULL;
    free(client);
}

void member_close(struct member *member)
{
    struct ctl_record record = {0};
    enum cf_rc rc;

    snprintf(record.text, sizeof(record.text), "%s", member->text);
    record.rc = member->rc;
    /* First of all: closing can take long when a peer is gone. */
    if (member->rc != CF_OK)
        member_say(member, CTL_FAILED, &record);
    clients_close(&member->clients);
    own_end(member);
    if (member->file != NULL) {
        /* Written before the last counters are told; the rest of it is cf_close's. */
        rc = cf_flush(member->session, member->file, CF_FOREVER);
        if (rc != CF_OK)
            call_failed(member, "flush", rc, cf_session_error(member->session));
    }
    if (member->session != NULL) {
        rc = cf_session_close(&member->session);
        if (rc != CF_OK)
            call_failed(member, "session close", rc, NULL);
    }
    if (member->instance != NULL) {
        member_say(member, CTL_DETACHED, &record); /* the last counters: cf_close takes them away */
        rc = cf_close(&member->instance);
        if (rc != CF_OK)
            call_failed(member, "close", rc, NULL);
    }
    snprintf(record.text, sizeof(record.text), "%s", member->text);
    record.rc = member->rc;
    member_say(member, member->rc == CF_OK ? CTL_CLOSED : CTL_FAILED, &record);
}
