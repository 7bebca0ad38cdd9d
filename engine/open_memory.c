/* SPDX-License-Identifier: Apache-2.0 */
/* What an instance takes at open for the data path, and how much: frames, directory, records, pools. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "engine/directory.h"
#include "engine/open.h"
#include "engine/peers.h"
#include "engine/pool.h"
#include "engine/storage.h"

uint64_t eng_open_frames_of(const struct cf_options *options, uint32_t count_out[CF_BLOCK_SIZES])
{
    const uint64_t bytes[CF_BLOCK_SIZES] = {options->cache_2k_bytes, options->cache_4k_bytes,
                                            options->cache_bytes, options->cache_16k_bytes,
                                            options->cache_32k_bytes};
    uint64_t total = 0;
    uint32_t c;

    for (c = 0; c < CF_BLOCK_SIZES; c++) {
        count_out[c] = (uint32_t)(bytes[c] / (CF_BLOCK_BYTES_MIN << c));
        total += count_out[c];
    }
    return total;
}

uint64_t eng_open_past_images_of(const struct cf_options *options, uint64_t frames)
{
    return options->past_images ? options->past_images : frames / 8 + 1;
}

/*
 * What the directory takes to hold whatever happens without giving an entry back: every instance's frames (copies and
 * past images live in frames), its releases that are not acknowledged yet, and its conversations. Peers are taken to be as
 * large as this instance.
 */
static void directory_need(const struct cf_instance *instance, uint64_t frames,
                           struct grd_directory_options *need_out)
{
    const struct cf_options *options = &instance->options;
    uint64_t releases = options->outstanding * 4u + frames / 4u + 64u;

    memset(need_out, 0, sizeof *need_out);
    need_out->conversations = instance->nodes * options->outstanding;
    need_out->holders = instance->nodes * (frames + releases + options->outstanding);
    need_out->entries = need_out->holders + need_out->conversations;
    need_out->past_images = instance->nodes * frames;
    need_out->nodes = instance->nodes;
    need_out->buckets = (uint32_t)options->buckets;
    need_out->seed = instance->incarnation;
    need_out->allocator = instance->allocator;
    if (instance->shards > 1) { /* keyed hashing spreads them; twice the share leaves room for chance */
        need_out->conversations = need_out->conversations * 2 / instance->shards + 64;
        need_out->holders = need_out->holders * 2 / instance->shards + 64;
        need_out->entries = need_out->entries * 2 / instance->shards + 64;
        need_out->past_images = need_out->past_images * 2 / instance->shards + 64;
    }
}

enum cf_rc eng_open_take(const struct cf_instance *instance, void **memory_out, uint64_t bytes,
                         const char *what, struct cf_error *error)
{
    *memory_out = cf_alloc(instance->allocator, bytes, CF_CACHE_LINE,
                           CF_ALLOC_ZERO | (bytes >= CF_HUGE_PAGE_BYTES ? CF_ALLOC_HUGE : 0));
    if (*memory_out != NULL)
        return CF_OK;
    eng_error_set(error, CF_MEMORY, 0, instance->node, "%llu bytes for %s are not to be had",
                  (unsigned long long)bytes, what);
    return CF_MEMORY;
}

/* Frames are touched at start: asking for more than there is would have the kernel kill processes. */
static enum cf_rc memory_check(const struct cf_instance *instance, uint64_t need, struct cf_error *error)
{
    unsigned long long available_kib = 0, huge_free = 0;
    FILE *meminfo = instance->is_manual ? NULL : fopen("/proc/meminfo", "re");
    char line[128];

    if (meminfo == NULL)
        return CF_OK;
    while (fgets(line, sizeof line, meminfo)) {
        (void)sscanf(line, "MemAvailable: %llu kB", &available_kib);
        (void)sscanf(line, "HugePages_Free: %llu", &huge_free);
    }
    fclose(meminfo);
    if (instance->options.hugepages == 2 && huge_free * 2048 < need / 1024) {
        eng_error_set(error, CF_MEMORY, 0, instance->node,
                      "hugepages=require: frames need %llu pages of 2 MiB, %llu are free",
                      (unsigned long long)(need >> 21) + 1, huge_free);
        return CF_MEMORY;
    }
    if (available_kib == 0 || need / 1024 <= available_kib)
        return CF_OK;
    eng_error_set(error, CF_MEMORY, 0, instance->node,
                  "frames need %llu MiB, this machine has %llu MiB available: lower cache_bytes",
                  (unsigned long long)(need >> 20), available_kib >> 10);
    return CF_MEMORY;
}

uint64_t eng_open_words_bytes_of(uint64_t frames)
{
    return (frames * sizeof(uint64_t) + 4095) / 4096 * 4096;
}

enum cf_rc eng_open_frames(struct cf_instance *instance, const uint32_t count[CF_BLOCK_SIZES],
                           uint64_t frames, struct cf_error *error)
{
    struct eng_frames_options options = {.allocator = instance->allocator,
                                         .seed = cf_mix64(cf_now_ns(), instance->node)};
    uint64_t words_bytes = eng_open_words_bytes_of(frames);
    uint64_t records_bytes = instance->options.locks ? eng_locks_record_bytes(instance) : 0;
    void *words;
    uint8_t *base;
    enum cf_rc rc;

    if (instance->is_manual)
        options.seed = instance->node; /* I-27 */
    rc = memory_check(instance, words_bytes + eng_frames_bytes(count), error);
    if (rc != CF_OK)
        return rc;
    /* One region, as the transport wants it: the words, then the frames, then the values of locks. */
    rc = xp_memory(instance->xp, words_bytes + eng_frames_bytes(count) + records_bytes,
                   instance->options.hugepages == 1 ? 0 : CF_ALLOC_HUGE, &words, error);
    if (rc != CF_OK)
        return rc;
    base = (uint8_t *)words + words_bytes;
    if (records_bytes)
        eng_locks_records_set(instance, base + eng_frames_bytes(count));
    memcpy(options.count, count, sizeof options.count);
    options.base = base;
    options.words = instance->guard->words = words;
    if (!instance->is_manual && !instance->is_compact &&
        eng_plan_bind_memory(&instance->plan, base, eng_frames_bytes(count)) != CF_OK)
        cf_log_warn(&instance->log, "engine", "frames could not be bound to numa node %d",
                    instance->plan.node);
    rc = eng_frames_open(&options, &instance->frames);
    if (rc != CF_OK)
        eng_error_set(error, rc, 0, instance->node, "descriptors of %llu frames are not to be had",
                      (unsigned long long)frames);
    return rc;
}

/* What the budget allows for: more than needed is room for larger peers, less means that cold entries are given back. */
static enum cf_rc directory_fit(struct cf_instance *instance, struct grd_master_options *options,
                                uint64_t frames, struct cf_error *error)
{
    uint64_t need = grd_master_size(options), bytes = instance->options.directory_bytes, budget;
    uint64_t locks = instance->options.locks ? eng_locks_bytes(instance) : 0, least = 0, factor_q16;
    struct grd_directory_options *directory = &options->directory, fit;

    instance->peer_outstanding_max = (uint32_t)instance->options.outstanding;
    if (bytes == 0)
        return CF_OK;
    budget = bytes > locks ? (bytes - locks) / instance->shards : 0;
    if (budget < need) {
        if (grd_master_fit(options, budget, &fit, &least) == CF_OK) {
            *directory = fit;
            if (instance->options.remaster == ENG_REMASTER_ON)
                cf_log_info(
                    &instance->log, "engine",
                    "remaster: directory_bytes is less than the frames need, buckets stay where they are");
            grd_move_plan_none(instance->move);
            return CF_OK;
        }
        eng_error_set(
            error, CF_BUDGET, 0, instance->node,
            "directory_bytes is %llu, but %u shards for %u instances with %llu conversations each "
            "and %llu locks need %llu (and %llu to hold %llu frames of each without giving entries back)",
            (unsigned long long)bytes, instance->shards, instance->nodes,
            (unsigned long long)instance->options.outstanding, (unsigned long long)instance->options.locks,
            (unsigned long long)(least * instance->shards + locks),
            (unsigned long long)(need * instance->shards + locks), (unsigned long long)frames);
        return CF_BUDGET;
    }
    factor_q16 = (budget << 16) / need;
    instance->peer_outstanding_max = (uint32_t)(instance->peer_outstanding_max * factor_q16 >> 16);
    directory->entries = directory->entries * factor_q16 >> 16;
    directory->holders = directory->holders * factor_q16 >> 16;
    directory->conversations = directory->conversations * factor_q16 >> 16;
    directory->past_images = directory->past_images * factor_q16 >> 16;
    return CF_OK;
}

enum cf_rc eng_open_directory(struct cf_instance *instance, uint64_t frames, const struct eng_manual *manual,
                              uint64_t now_ns, struct cf_error *error)
{
    struct grd_master_options options = {.node = instance->node,
                                         .nodes = instance->nodes,
                                         .probe_ns = instance->options.resend * 2,
                                         .now_ns = now_ns,
                                         .wheel_tick_ns = ENG_TIMER_TICK_NS};
    uint16_t hosts[CF_NODES_MAX];
    uint64_t need;
    enum cf_rc rc;
    uint32_t s;

    eng_peers_hosts(instance->peer_list, instance->nodes, hosts);
    options.hosts = hosts;
    directory_need(instance, frames, &options.directory);
    options.directory.is_movable = instance->nodes > 1;
    options.directory.hash_key = instance->map.key;
    need = grd_master_size(&options);
    rc = directory_fit(instance, &options, frames, error);
    if (rc != CF_OK)
        return rc;
    if (manual && manual->directory_entries)
        options.directory.entries = manual->directory_entries;
    if (manual)
        options.export_window = manual->export_window;
    for (s = 0; s < instance->shards && rc == CF_OK; s++)
        rc = grd_master_open(&options, &instance->masters[s]);
    if (rc != CF_OK)
        eng_error_set(error, rc, 0, instance->node, "the directory's %llu bytes are not to be had",
                      (unsigned long long)grd_master_size(&options) * instance->shards);
    else
        cf_log_info(&instance->log, "engine",
                    "directory: %llu bytes for %llu entries; %llu would hold every frame's",
                    (unsigned long long)grd_master_size(&options) * instance->shards,
                    (unsigned long long)options.directory.entries * instance->shards,
                    (unsigned long long)need * instance->shards);
    return rc;
}

enum cf_rc eng_open_local(struct cf_instance *instance, uint64_t frames, uint64_t now_ns,
                          struct cf_error *error)
{
    struct grd_local_options options = {
        .node = instance->node,
        .frames = (uint32_t)frames,
        .outstanding = (uint32_t)instance->options.outstanding,
        .demands = instance->nodes * 8u + (uint32_t)instance->options.outstanding * 4u + 64u,
        .past_images = (uint32_t)eng_open_past_images_of(&instance->options, frames),
        .resend_ns = instance->options.resend,
        .residency_ns = instance->options.residency,
        .now_ns = now_ns,
        .wheel_tick_ns = ENG_TIMER_TICK_NS,
        .seed = instance->is_manual ? instance->node : cf_mix64(now_ns, instance->node + 1u),
        .map = &instance->map,
        .allocator = instance->allocator,
    };
    enum cf_rc rc = grd_local_open(&options, &instance->local);

    if (rc != CF_OK)
        eng_error_set(error, rc, 0, instance->node, "records of %llu frames are not to be had",
                      (unsigned long long)frames);
    return rc;
}

enum cf_rc eng_open_pools(struct cf_instance *instance, struct cf_error *error)
{
    uint32_t i, depth = (uint32_t)instance->options.io_depth;
    void *memory;
    enum cf_rc rc;

#define TAKE(member, count, what)                                                                         \
    do {                                                                                                  \
        rc = eng_open_take(instance, &memory, (uint64_t)(count) * sizeof *instance->member, what, error); \
        if (rc != CF_OK)                                                                                  \
            return rc;                                                                                    \
        instance->member = memory;                                                                        \
    } while (0)
    TAKE(actions, 1, "the list of actions");
    TAKE(self, ENG_SELF_SLOTS, "messages to oneself");
    TAKE(backlog, ENG_BACKLOG_SLOTS, "messages that wait for credit");
    TAKE(backlog_next, ENG_BACKLOG_SLOTS, "messages that wait for credit");
    TAKE(peers, instance->nodes, "peers");
    TAKE(attention_list, instance->local->blocks_count, "the list of blocks to look at");
    TAKE(is_attended, instance->local->blocks_count, "the list of blocks to look at");
    TAKE(sending_list, eng_frames_count(instance->frames), "frames that are being sent");
    TAKE(read_wait, instance->options.outstanding, "reads that wait");
    TAKE(slots, depth, "disk transfers");
    TAKE(hists, ENG_HISTS, "latencies");
    TAKE(sessions, instance->options.sessions, "sessions");
    TAKE(files, instance->options.files, "files");
#undef TAKE
    instance->slot_buffers = cf_alloc(instance->allocator, (uint64_t)depth * CF_BLOCK_BYTES_MAX, 4096,
                                      CF_ALLOC_HUGE);
    rc = eng_open_take(instance, &instance->inbox_mem,
                       cf_ring_bytes(ENG_INBOX_SLOTS, sizeof(struct eng_inbox_record)), "the inbox", error);
    if (rc != CF_OK)
        return rc;
    if (instance->slot_buffers == NULL) {
        eng_error_set(error, CF_MEMORY, 0, instance->node, "buffers of %u disk transfers are not to be had",
                      depth);
        return CF_MEMORY;
    }
    cf_mpsc_init(&instance->inbox, instance->inbox_mem, ENG_INBOX_SLOTS, sizeof(struct eng_inbox_record));
    for (i = 0; i < ENG_BACKLOG_SLOTS; i++)
        instance->backlog_next[i] = i + 1 < ENG_BACKLOG_SLOTS ? i + 1 : GRD_FRAME_NONE;
    instance->ship_wait_first = instance->ship_wait_last = GRD_FRAME_NONE;
    for (i = 0; i < instance->nodes; i++)
        instance->peers[i].backlog_first = instance->peers[i].backlog_last = GRD_FRAME_NONE;
    instance->slots_count = depth;
    for (i = 0; i < depth; i++) {
        instance->slots[i].buffer = instance->slot_buffers + (uint64_t)i * CF_BLOCK_BYTES_MAX;
        instance->slots[i].next = i + 1 < depth ? i + 1 : GRD_FRAME_NONE;
    }
    for (i = 0; i < ENG_HISTS; i++)
        cf_hist_init(&instance->hists[i]);
    return CF_OK;
}
