/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening and closing an instance. Everything the data path needs is taken here: the order of the steps is the order
 * of dependence, and what one step took its undo gives back.
 *
 *   options -> plan -> transport -> frames (transport's memory) -> store -> map, masters, local -> pools
 *           -> lend frames, start the transport -> poller -> wait for the members
 */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "engine/instance.h"
#include "engine/metrics.h"
#include "engine/peers.h"
#include "engine/pool.h"
#include "engine/snapshot.h"

#define ENG_TRACE_RECORDS 4096u
#define ENG_HISTS 4u

const char *cf_version(void)
{
    return "0.1.0";
}

uint32_t cf_abi_version(void)
{
    return CF_ABI;
}

static uint64_t frames_of(const struct cf_options *options, uint32_t count_out[CF_BLOCK_SIZES])
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

static uint64_t past_images_of(const struct cf_options *options, uint64_t frames)
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

static enum cf_rc take(const struct cf_instance *instance, void **memory_out, uint64_t bytes,
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

static uint64_t words_bytes_of(uint64_t frames)
{
    return (frames * sizeof(uint64_t) + 4095) / 4096 * 4096;
}

static enum cf_rc open_frames(struct cf_instance *instance, const uint32_t count[CF_BLOCK_SIZES],
                              uint64_t frames, struct cf_error *error)
{
    struct eng_frames_options options = {.allocator = instance->allocator,
                                         .seed = cf_mix64(cf_now_ns(), instance->node)};
    uint64_t words_bytes = words_bytes_of(frames);
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

static enum cf_rc open_directory(struct cf_instance *instance, uint64_t frames,
                                 const struct eng_manual *manual, uint64_t now_ns, struct cf_error *error)
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

static enum cf_rc open_local(struct cf_instance *instance, uint64_t frames, uint64_t now_ns,
                             struct cf_error *error)
{
    struct grd_local_options options = {
        .node = instance->node,
        .frames = (uint32_t)frames,
        .outstanding = (uint32_t)instance->options.outstanding,
        .demands = instance->nodes * 8u + (uint32_t)instance->options.outstanding * 4u + 64u,
        .past_images = (uint32_t)past_images_of(&instance->options, frames),
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

static enum cf_rc open_pools(struct cf_instance *instance, struct cf_error *error)
{
    uint32_t i, depth = (uint32_t)instance->options.io_depth;
    void *memory;
    enum cf_rc rc;

#define TAKE(member, count, what)                                                                \
    do {                                                                                         \
        rc = take(instance, &memory, (uint64_t)(count) * sizeof *instance->member, what, error); \
        if (rc != CF_OK)                                                                         \
            return rc;                                                                           \
        instance->member = memory;                                                               \
    } while (0)
    TAKE(actions, 1, "the list of actions");
    TAKE(self, ENG_SELF_SLOTS, "messages to oneself");
    TAKE(backlog, ENG_BACKLOG_SLOTS, "messages that wait for credit");
    TAKE(backlog_next, ENG_BACKLOG_SLOTS, "messages that wait for credit");
    TAKE(peers, instance->nodes, "peers");
    TAKE(attention_list, instance->local->blocks_count, "the list of blocks to look at");
    TAKE(sending_list, eng_frames_count(instance->frames), "frames that are being sent");
    TAKE(read_wait, instance->options.outstanding, "reads that wait");
    TAKE(slots, depth, "disk transfers");
    TAKE(hists, ENG_HISTS, "latencies");
    TAKE(sessions, instance->options.sessions, "sessions");
    TAKE(files, instance->options.files, "files");
#undef TAKE
    instance->slot_buffers = cf_alloc(instance->allocator, (uint64_t)depth * CF_BLOCK_BYTES_MAX, 4096,
                                      CF_ALLOC_HUGE);
    rc = take(instance, &instance->inbox_mem, cf_ring_bytes(ENG_INBOX_SLOTS, sizeof(struct eng_inbox_record)),
              "the inbox", error);
    if (rc != CF_OK || instance->slot_buffers == NULL)
        return CF_MEMORY;
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

/* As many frames stay lent to the transport as there can be ships under way: each conversation asks for one. */
static void lend_frames(struct cf_instance *instance, const uint32_t count[CF_BLOCK_SIZES])
{
    uint32_t c, i, outstanding = (uint32_t)instance->options.outstanding;

    for (c = 0; c < CF_BLOCK_SIZES; c++) {
        instance->lent_target[c] = count[c] == 0                ? 0
                                   : outstanding < count[c] / 4 ? outstanding
                                                                : count[c] / 4;
        for (i = 0; i < instance->lent_target[c]; i++) {
            uint32_t frame = eng_frame_take_owner(instance->frames, c);

            cf_assert(frame != ENG_FRAME_NONE);
            instance->lent[c]++;
            xp_frame_post(instance->xp, c, frame);
        }
    }
}

/* The device that a transport's address names, as hwloc knows it; NULL: it names none. */
static const char *nic_of(const struct cf_options *options, char name[CF_OPTION_STRING_BYTES])
{
    const char *verbs = "verbs:", *transport = options->transport;

    if (strncmp(transport, verbs, strlen(verbs)) != 0)
        return NULL;
    transport += strlen(verbs);
    snprintf(name, CF_OPTION_STRING_BYTES, "%.*s", (int)strcspn(transport, "?"), transport);
    return name[0] != '\0' ? name : NULL;
}

static enum cf_rc open_transport(struct cf_instance *instance, uint64_t frames, void *network,
                                 struct cf_error *error)
{
    const struct cf_options *options = &instance->options;
    struct eng_hello hello = {.magic = ENG_HELLO_MAGIC,
                              .version = ENG_HELLO_VERSION,
                              .nodes = instance->nodes,
                              .buckets = (uint32_t)options->buckets,
                              .outstanding = (uint32_t)options->outstanding,
                              .frames = frames,
                              .past_images = past_images_of(options, frames),
                              .incarnation = instance->incarnation,
                              .locks = (uint32_t)options->locks,
                              .shards = (uint16_t)instance->shards};
    struct xp_options xp = {
        .address = options->transport,
        .node = instance->node,
        .incarnation = instance->incarnation,
        .nodes = instance->nodes,
        .cluster = options->cluster,
        .secret = options->secret,
        .epoch = instance->epoch,
        .lane_slots = (uint32_t)options->lane_slots,
        .peer_timeout_ns = options->peer_timeout,
        .busy = options->waiting == 0,
        .allocator = instance->allocator,
        .log = &instance->log,
        .network = network,
        .numa_node = network != NULL ? ENG_NODE_ANY : instance->plan.node,
    };
    enum cf_rc rc = eng_peers_make(options, instance->allocator, &instance->peer_list);

    if (rc != CF_OK) {
        eng_error_set(error, rc, 0, instance->node, "no memory for the addresses of peers");
        return rc;
    }
    xp.peers = instance->peer_list != NULL ? instance->peer_list->address : NULL;
    if (options->locks) {
        uint32_t count[CF_BLOCK_SIZES];

        (void)frames_of(options, count);
        hello.records_offset = words_bytes_of(frames) + eng_frames_bytes(count);
        hello.records_shard = (uint32_t)(eng_locks_record_bytes(instance) / instance->shards /
                                         sizeof(struct grd_lock_record));
    }
    memcpy(xp.hello, &hello, sizeof hello);
    return xp_open(&xp, &instance->xp, error);
}

static size_t guard_bytes(const struct cf_instance *instance)
{
    return sizeof(struct eng_guard) + instance->options.files * sizeof(uint64_t);
}

static enum cf_rc open_guard(struct cf_instance *instance, struct cf_error *error)
{
    size_t bytes = guard_bytes(instance);
    struct eng_guard *guard = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    /* A simulator may go on in a copy of its process: nothing there is shared with another. */
    if (guard == MAP_FAILED || (!instance->is_manual && madvise(guard, bytes, MADV_WIPEONFORK) != 0)) {
        eng_error_set(error, CF_SYSTEM, 0, instance->node,
                      "the pages that tell a forked child cannot be had");
        if (guard != MAP_FAILED)
            munmap(guard, bytes);
        return CF_SYSTEM;
    }
    guard->state = ENG_RUNS;
    instance->guard = guard;
    return CF_OK;
}

/* Files that could not be detached, after a stop for instance: their descriptors at least go back. */
static void store_files_close(struct cf_instance *instance)
{
    uint32_t f;

    for (f = 0; instance->files && f < instance->options.files; f++)
        if (instance->files[f].is_reserved && instance->files[f].store_file && !instance->files[f].is_manual)
            instance->store->ops->close_file(instance->store, &instance->files[f].store_file);
}

static void close_all(struct cf_instance *instance)
{
    const struct cf_allocator *a = instance->allocator;
    uint32_t s, depth = (uint32_t)instance->options.io_depth;

    eng_status_stop(instance);
    eng_metrics_stop(instance);
    eng_threads_stop(instance);
    if (instance->store &&
        !instance->is_manual) { /* first: reads under way go into frames, which are the transport's memory */
        store_files_close(instance);
        eng_store_close(&instance->store);
    }
    if (instance->xp)
        xp_close(&instance->xp);
    eng_peers_free(instance->peer_list, instance->nodes, a);
    for (s = 0; s < instance->shards; s++)
        grd_master_close(&instance->masters[s]);
    cf_free(a, instance->actions, sizeof *instance->actions);
    cf_free(a, instance->self, ENG_SELF_SLOTS * sizeof *instance->self);
    cf_free(a, instance->backlog, ENG_BACKLOG_SLOTS * sizeof *instance->backlog);
    cf_free(a, instance->backlog_next, ENG_BACKLOG_SLOTS * sizeof *instance->backlog_next);
    cf_free(a, instance->peers, instance->nodes * sizeof *instance->peers);
    if (instance->local)
        cf_free(a, instance->attention_list,
                instance->local->blocks_count * sizeof *instance->attention_list);
    if (instance->frames)
        cf_free(a, instance->sending_list,
                eng_frames_count(instance->frames) * sizeof *instance->sending_list);
    cf_free(a, instance->read_wait, instance->options.outstanding * sizeof *instance->read_wait);
    cf_free(a, instance->slots, depth * sizeof *instance->slots);
    cf_free(a, instance->slot_buffers, (uint64_t)depth * CF_BLOCK_BYTES_MAX);
    cf_free(a, instance->hists, ENG_HISTS * sizeof *instance->hists);
    for (s = 0; instance->sessions && s < instance->options.sessions; s++)
        eng_session_free(instance, &instance->sessions[s]);
    cf_free(a, instance->sessions, instance->options.sessions * sizeof *instance->sessions);
    cf_free(a, instance->files, instance->options.files * sizeof *instance->files);
    cf_free(a, instance->inbox_mem, cf_ring_bytes(ENG_INBOX_SLOTS, sizeof(struct eng_inbox_record)));
    cf_free(a, instance->trace.records, ENG_TRACE_RECORDS * sizeof *instance->trace.records);
    eng_snapshots_close(instance);
    grd_local_close(&instance->local);
    eng_locks_close(instance);
    grd_move_close(&instance->move);
    grd_map_close(&instance->map);
    eng_frames_close(&instance->frames);
    if (instance->guard)
        munmap(instance->guard, guard_bytes(instance));
    pthread_mutex_destroy(&instance->lock);
    cf_log_close(&instance->log);
    instance->magic = 0;
    cf_free(a, instance, sizeof *instance);
}

/* Peers read words as well as bytes (snapshot.h), and values of locks: the space begins with the words, and ends with these. */
static void space_with_words(struct xp_frame_space *space, uint64_t records_bytes)
{
    uint64_t words_bytes = (uint64_t)(space->base - (uint8_t *)space->words);

    space->base -= words_bytes;
    space->bytes += words_bytes + records_bytes;
    for (uint32_t c = 0; c < CF_BLOCK_SIZES; c++)
        space->classes[c].offset += words_bytes;
}

static enum cf_rc open_parts(struct cf_instance *instance, const struct eng_manual *manual,
                             struct cf_error *error)
{
    const struct cf_options *options = &instance->options;
    uint64_t now_ns = manual ? manual->now_ns : cf_now_ns();
    uint32_t count[CF_BLOCK_SIZES];
    uint64_t frames = frames_of(options, count);
    uint16_t members[CF_NODES_MAX];
    struct xp_frame_space *space = &instance->space;
    void *records;
    enum cf_rc rc;
    uint32_t n;

    rc = open_guard(instance, error);
    if (rc == CF_OK && options->trace) {
        rc = take(instance, &records, ENG_TRACE_RECORDS * sizeof *instance->trace.records, "the trace",
                  error);
        if (rc == CF_OK)
            cf_trace_init(&instance->trace, records, ENG_TRACE_RECORDS);
    }
    if (rc != CF_OK)
        return rc;
    instance->trace.now_ns = now_ns;
    if (!manual) {
        char nic[CF_OPTION_STRING_BYTES];

        rc = eng_plan_make(options, nic_of(options, nic), &instance->plan, error);
        if (rc != CF_OK)
            return rc;
        cf_log_info(&instance->log, "engine", "%s", instance->plan.text);
    }
    instance->is_compact = manual != NULL || instance->plan.is_compact;
    for (n = 0; n < instance->nodes; n++)
        members[n] = (uint16_t)n;
    rc = grd_map_open(&instance->cluster_key, instance->epoch, (uint32_t)options->buckets, instance->shards,
                      members, instance->nodes, instance->allocator, &instance->map);
    if (rc == CF_OK)
        rc = eng_move_open(instance, now_ns, error);
    if (rc == CF_OK)
        rc = open_transport(instance, frames, manual ? manual->network : NULL, error);
    if (rc == CF_OK)
        rc = open_frames(instance, count, frames, error);
    if (rc == CF_OK && !manual) {
        struct eng_store_options store = {.depth = (uint32_t)options->io_depth,
                                          .backend = options->storage,
                                          .allocator = instance->allocator,
                                          .log = &instance->log};

        rc = eng_store_open(&store, &instance->store, error);
    }
    if (rc == CF_OK)
        rc = open_directory(instance, frames, manual, now_ns, error);
    if (rc == CF_OK)
        rc = open_local(instance, frames, now_ns, error);
    if (rc == CF_OK && options->locks)
        rc = eng_locks_open(instance, now_ns, error);
    if (rc == CF_OK)
        rc = open_pools(instance, error);
    if (rc != CF_OK)
        return rc;
    cf_wheel_init(&instance->op_wheel, now_ns, ENG_TIMER_TICK_NS);
    instance->scan_next_ns = now_ns;
    instance->opened_ns = now_ns;
    eng_frames_space(instance->frames, space);
    space_with_words(space, options->locks ? eng_locks_record_bytes(instance) : 0);
    rc = eng_snapshots_open(instance, error);
    if (rc == CF_OK)
        rc = eng_lock_reads_open(instance, error);
    if (rc == CF_OK)
        rc = xp_start(instance->xp, space, error);
    if (rc != CF_OK)
        return rc;
    lend_frames(instance, count);
    if (instance->nodes == 1)
        eng_view_alone(instance);
    return CF_OK;
}

static enum cf_rc instance_new(const struct cf_options *options, const struct cf_callbacks *callbacks,
                               const struct eng_manual *manual, struct cf_instance **instance_out,
                               struct cf_error *error)
{
    const struct cf_allocator *allocator = cf_allocator_default();
    struct cf_instance *instance;
    enum cf_rc rc;

    rc = cf_options_check(options, error);
    if (rc != CF_OK)
        return rc;
    if (!cf_hash_init()) {
        eng_error_set(error, CF_SYSTEM, 0, CF_NODE_NONE, "no source of randomness");
        return CF_SYSTEM;
    }
    instance = cf_alloc(allocator, sizeof *instance, CF_CACHE_LINE, CF_ALLOC_ZERO);
    if (instance == NULL) {
        eng_error_set(error, CF_MEMORY, 0, CF_NODE_NONE, "no memory for an instance");
        return CF_MEMORY;
    }
    instance->magic = ENG_MAGIC;
    instance->allocator = allocator;
    memcpy(&instance->options, options, options->size < sizeof *options ? options->size : sizeof *options);
    if (callbacks)
        memcpy(&instance->callbacks, callbacks,
               callbacks->size < sizeof *callbacks ? callbacks->size : sizeof *callbacks);
    instance->node = (uint16_t)options->node;
    instance->nodes = (uint32_t)options->nodes;
    instance->shards = (uint32_t)options->shards;
    instance->incarnation = options->incarnation ? (uint32_t)options->incarnation
                                                 : (uint32_t)(cf_wall_ns() / CF_NS_PER_MS) | 1;
    instance->epoch = ENG_EPOCH_STATIC;
    instance->is_manual = manual != NULL;
    instance->poll_fd = instance->wake_fd = -1;
    instance->store = manual ? manual->store : NULL;
    instance->locks.victim = manual ? manual->victim : NULL;
    instance->locks.victim_context = manual ? manual->victim_context : NULL;
    atomic_init(&instance->scn, 1);
    atomic_init(&instance->client_spin_ns, options->spin);
    atomic_init(&instance->poller_spin_ns, options->spin);
    pthread_mutex_init(&instance->lock, NULL);
    cf_log_init(&instance->log, manual ? CF_LOG_ERROR : (int)options->log, manual ? NULL : stderr,
                instance->node);
    grd_map_key(options->cluster, options->secret, &instance->cluster_key);
    rc = open_parts(instance, manual, error);
    if (rc != CF_OK) {
        close_all(instance);
        return rc;
    }
    *instance_out = instance;
    return CF_OK;
}

static bool view_is_there(void *arg)
{
    struct cf_instance *instance = arg;

    return cf_observe_u32(&instance->is_open) != 0 || eng_state(instance) != CF_OK;
}

/* Waits under progress until something is true of the instance. */
static bool instance_wait(struct cf_instance *instance, bool (*is_done)(void *), uint64_t timeout_ns)
{
    _Atomic uint32_t wake = 0, sleeping = 0;
    struct eng_wait wait = {is_done, instance, cf_now_ns() + timeout_ns, &wake, &sleeping};

    return eng_wait_for(instance, &wait);
}

enum cf_rc cf_open(const struct cf_options *options, const struct cf_callbacks *callbacks,
                   struct cf_instance **instance_out, struct cf_error *error)
{
    struct cf_instance *instance;
    enum cf_rc rc = instance_new(options, callbacks, NULL, &instance, error);

    if (rc != CF_OK)
        return rc;
    rc = eng_threads_start(instance, error);
    if (rc == CF_OK && !instance_wait(instance, view_is_there, options->open_timeout)) {
        eng_error_set(error, CF_TIMEOUT, 0, instance->node, "%u of %u members are here after open_timeout",
                      instance->peers_up + 1, instance->nodes);
        rc = CF_TIMEOUT;
    }
    if (rc == CF_OK && eng_state(instance) != CF_OK) {
        if (error)
            *error = instance->stop_error;
        rc = eng_state(instance);
    }
    if (rc == CF_OK && options->metrics[0] != 0)
        rc = eng_metrics_start(instance, error);
    if (rc == CF_OK && options->status_path[0] != 0)
        rc = eng_status_start(instance, error);
    if (rc != CF_OK) {
        close_all(instance);
        return rc;
    }
    *instance_out = instance;
    return CF_OK;
}

/* ------------------------------------------------------------------ close */

static bool all_have_left(void *arg)
{
    struct cf_instance *instance = arg;
    uint32_t n;

    for (n = 0; n < instance->nodes; n++)
        if (n != instance->node && !cf_observe_bool(&instance->peers[n].has_left))
            return eng_state(instance) != CF_OK;
    return true;
}

static void send_leave(struct cf_instance *instance, void *arg, uint64_t now_ns)
{
    struct grd_msg msg = {.type = GRD_MSG_LEAVE, .request = 1};
    uint32_t n;

    (void)arg;
    (void)now_ns;
    atomic_store_explicit(&instance->closing, 2, memory_order_relaxed);
    for (n = 0; n < instance->nodes; n++)
        if (n != instance->node)
            eng_send_owner(instance, (uint16_t)n, &msg);
}

static void look_at_backlog(struct cf_instance *instance, void *arg, uint64_t now_ns)
{
    (void)now_ns;
    *(uint32_t *)arg = instance->backlog_used;
}

static bool has_stopped(void *arg)
{
    return eng_state(arg) != CF_OK;
}

/* What was said last may wait for a credit: it must be out before the connection goes. */
static bool backlog_is_out(void *arg)
{
    uint32_t left = 0;

    (void)eng_call_run(arg, look_at_backlog, &left);
    return left == 0 || eng_state(arg) != CF_OK;
}

/* Tells the members that this one is done and serves them until they are: the directory lives in every member. */
static enum cf_rc leave(struct cf_instance *instance)
{
    uint64_t until = cf_now_ns() + instance->options.close_timeout;

    if (instance->nodes == 1)
        return CF_OK;

    while (cf_now_ns() < until) {
        (void)eng_call_run(instance, send_leave, NULL); /* again and again: a lane may have been lost */
        if (!instance_wait(instance, all_have_left, instance->options.resend * 4))
            continue;
        if (backlog_is_out(instance))
            return eng_state(instance);
        (void)instance_wait(instance, has_stopped,
                            instance->options.resend); /* not at once: that would only add to it */
    }
    cf_log_warn(&instance->log, "engine", "closing without the leave of every member: close_timeout is over");
    return CF_TIMEOUT;
}

enum cf_rc cf_close(struct cf_instance **instance_io)
{
    struct cf_instance *instance = *instance_io;
    struct cf_session *session = NULL;
    enum cf_rc rc, first = CF_OK;
    uint32_t i;

    if (instance == NULL)
        return CF_OK;
    if (instance->magic != ENG_MAGIC)
        return CF_INVALID;
    if (eng_is_forked(instance))
        return CF_FORKED;
    for (i = 0; i < instance->options.sessions; i++)
        if (instance->sessions[i].in_use)
            return CF_BUSY;
    first = eng_state(instance);
    if (first == CF_OK)
        first = cf_session_open(instance, &session);
    if (first == CF_OK) {
        first = eng_files_close_all(session);
        (void)cf_session_close(&session);
        rc = leave(instance);
        if (first == CF_OK)
            first = rc;
    }
    close_all(instance);
    *instance_io = NULL;
    return first;
}

/* ------------------------------------------------------------------ driven by hand */

enum cf_rc eng_open_manual(const struct cf_options *options, const struct cf_callbacks *callbacks,
                           const struct eng_manual *manual, struct cf_instance **instance_out,
                           struct cf_error *error)
{
    return instance_new(options, callbacks, manual, instance_out, error);
}

void eng_close_manual(struct cf_instance **instance)
{
    if (*instance)
        close_all(*instance);
    *instance = NULL;
}

bool eng_turn(struct cf_instance *instance, uint64_t now_ns)
{
    return eng_turn_owner(instance, now_ns);
}

uint64_t eng_next_ns(const struct cf_instance *instance)
{
    return eng_next_ns_owner(instance);
}

bool eng_is_open(const struct cf_instance *instance)
{
    return cf_observe_u32(&instance->is_open) != 0;
}

/* ------------------------------------------------------------------ sessions */

void eng_session_free(struct cf_instance *instance, struct cf_session *session)
{
    const struct cf_allocator *a = instance->allocator;

    cf_free(a, session->done_mem, cf_ring_bytes(session->done_slots, sizeof(struct cf_op *)));
    cf_free(a, session->hit_hist, sizeof *session->hit_hist);
    cf_free(a, session->prefetch, ENG_PREFETCH_OPS * sizeof *session->prefetch);
    session->done_mem = NULL;
    session->hit_hist = NULL;
    session->prefetch = NULL;
}

/* Memory of a session is taken at its first use and kept: a later session of the slot uses it again. */
static enum cf_rc session_take(struct cf_instance *instance, struct cf_session *session)
{
    const struct cf_allocator *a = instance->allocator;

    if (session->done_mem)
        return CF_OK;
    session->done_slots = CF_RING_SLOTS_MIN;
    while (session->done_slots <= instance->options.outstanding) /* a ring holds one less than its slots */
        session->done_slots *= 2;
    session->done_mem = cf_alloc(a, cf_ring_bytes(session->done_slots, sizeof(struct cf_op *)), CF_CACHE_LINE,
                                 CF_ALLOC_ZERO);
    session->hit_hist = cf_alloc(a, sizeof *session->hit_hist, CF_CACHE_LINE, CF_ALLOC_ZERO);
    session->prefetch = cf_alloc(a, ENG_PREFETCH_OPS * sizeof *session->prefetch, CF_CACHE_LINE,
                                 CF_ALLOC_ZERO);
    if (session->done_mem == NULL || session->hit_hist == NULL || session->prefetch == NULL) {
        eng_session_free(instance, session);
        return CF_MEMORY;
    }
    cf_spsc_init(&session->done, session->done_mem, session->done_slots, sizeof(struct cf_op *));
    cf_hist_init(session->hit_hist);
    return CF_OK;
}

enum cf_rc cf_session_open(struct cf_instance *instance, struct cf_session **session_out)
{
    enum cf_rc rc = eng_enter(instance);
    uint32_t i;

    if (rc != CF_OK)
        return rc;
    rc = CF_AGAIN;
    pthread_mutex_lock(&instance->lock);
    for (i = 0; i < instance->options.sessions; i++) {
        struct cf_session *session = &instance->sessions[i];

        if (session->in_use)
            continue;
        rc = session_take(instance, session);
        if (rc == CF_OK) {
            session->instance = instance;
            session->view = instance->frames->view;
            session->guard = instance->guard;
            session->slot = i;
            session->in_use = true;
            session->under_way = 0;
            session->owner = eng_owner_default(session);
            session->cost = 0;
            memset(&session->error, 0, sizeof session->error);
            *session_out = session;
        }
        break;
    }
    pthread_mutex_unlock(&instance->lock);
    return rc;
}

static bool prefetches_are_done(void *arg)
{
    struct cf_session *session = arg;
    uint32_t i;

    for (i = 0; i < ENG_PREFETCH_OPS; i++) {
        struct eng_op *inner = eng_op_of(&session->prefetch[i]);

        if (inner->session != NULL && cf_observe_u32(&inner->done) == 0)
            return false;
    }
    return true;
}

enum cf_rc cf_session_close(struct cf_session **session_io)
{
    struct cf_session *session = *session_io;
    struct cf_instance *instance;

    if (session == NULL)
        return CF_OK;
    instance = session->instance;
    if (eng_is_forked(instance))
        return CF_FORKED;
    if (eng_refs_held(session) != 0 || session->under_way != 0)
        return CF_BUSY;
    if (!instance->is_manual) {
        struct eng_wait wait = {prefetches_are_done, session, UINT64_MAX, &session->wake, &session->sleeping};

        (void)eng_wait_for(instance, &wait);
    }
    pthread_mutex_lock(&instance->lock);
    session->in_use = false;
    pthread_mutex_unlock(&instance->lock);
    *session_io = NULL;
    return CF_OK;
}

const struct cf_error *cf_session_error(const struct cf_session *session)
{
    return &session->error;
}
