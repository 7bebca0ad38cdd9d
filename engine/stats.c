/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The statistics snapshot. Counters have one writer each and are read without order: each figure is right by itself,
 * the sum of two may be a moment apart.
 */
#include <string.h>

#include "base/ring.h"
#include "engine/instance.h"
#include "engine/metrics.h"
#include "engine/pool.h"
#include "engine/snapshot.h"

static void latency_of(struct cf_latency *latency, const struct cf_hist *hist)
{
    latency->count = cf_hist_count(hist);
    latency->p50 = cf_hist_percentile(hist, 0.5);
    latency->p99 = cf_hist_percentile(hist, 0.99);
    latency->p999 = cf_hist_percentile(hist, 0.999);
    latency->max = cf_hist_max(hist);
}

static void from_sessions(const struct cf_instance *instance, struct cf_stats *stats, struct cf_hist *hit)
{
    uint32_t i;

    cf_hist_init(hit);
    for (i = 0; i < instance->options.sessions; i++) {
        const struct cf_session *session = &instance->sessions[i];

        /* Missed is counted after its get, and read before: the difference is never below 0. */
        uint64_t missed = cf_observe_u64(&session->missed);
        uint64_t hits = cf_peek_u64(&session->other_hits) + cf_observe_u64(&session->gets) - missed;

        stats->gets += cf_peek_u64(&session->slow_gets) + hits;
        stats->hits += hits;
        stats->timeouts += cf_peek_u64(&session->timeouts);
        stats->snapshots += cf_peek_u64(&session->snapshots);
        if (session->hit_hist)
            cf_hist_merge(hit, session->hit_hist);
    }
}

static void from_transport(const struct cf_instance *instance, struct cf_stats *stats)
{
    const struct xp_counters *xp = xp_counters(instance->xp);

    stats->bytes_sent = xp->bytes_sent;
    stats->wakeups_sent = xp->wakeups_sent;
    stats->bad_messages += xp->bad_header + xp->bad_length + xp->bad_tag + xp->bad_sequence + xp->bad_frame;
    stats->stale_messages += xp->stale_epoch + xp->stale_incarnation + xp->stale_generation + xp->unasked;
    stats->lane_full += xp->no_credit;
}

static void from_directory(const struct grd_master *master, struct cf_stats *stats)
{
    const struct grd_directory_counters *counters = grd_directory_counters(master->directory);
    const struct grd_summary *summary = grd_directory_summary(master->directory);
    struct grd_directory_use use = grd_directory_use(master->directory);

    stats->directory_entries += grd_directory_entries(master->directory);
    stats->directory_bytes += grd_master_bytes(master);
    stats->directory_evicted += counters->forgotten;
    stats->directory_given_back += counters->given_one + counters->given_many + counters->given_past;
    stats->directory_given_many += counters->given_many;
    stats->directory_given_past += counters->given_past;
    stats->directory_given_pools += counters->given_for_room;
    stats->directory_wrong_positives += counters->wrong_positives;
    stats->directory_cold += summary->keys;
    stats->directory_cold_unnamed += summary->over;
    stats->directory_summary_bytes += summary->lines_count * GRD_SUMMARY_LINE_BYTES;
    stats->directory_rebuilds += master->counters.rebuilds;
    stats->directory_rebuilds_all += master->counters.rebuilds_all;
    stats->bad_messages += counters->not_there;
    stats->directory_recalls += master->counters.recalls;
    stats->directory_refused += master->counters.refused_bounds;
    stats->directory_waiting += use.waiters;
    stats->directory_granting += use.pendings;
    stats->directory_rebuilding += use.rebuilds;
}

static void from_protocol(const struct cf_instance *instance, struct cf_stats *stats)
{
    const struct grd_local_counters *local = &instance->local->counters;
    uint32_t s;

    stats->invalidated = local->invalidated;
    stats->downgraded = local->downgraded;
    stats->evicted = local->evicted;
    stats->past_images = instance->local->past_used;
    stats->past_images_dropped = local->past_dropped;
    stats->resends = local->resends;
    stats->bounced = local->bounced;
    stats->refused_grants = local->refused;
    stats->not_held = local->not_held;
    stats->stale_messages += local->stale;
    stats->torn_pulls = local->torn;
    stats->backlog_dropped += local->demands_dropped;
    for (s = 0; s < instance->shards; s++) {
        const struct grd_master *master = instance->masters[s];

        stats->stale_messages += master->counters.stale;
        stats->writes_held += master->counters.shared;
        stats->resends += master->counters.probes;
        from_directory(master, stats);
    }
}

static void from_locks(const struct cf_instance *instance, struct cf_stats *stats)
{
    const struct eng_locks *locks = &instance->locks;
    struct grd_lock_local_counters counts;

    if (locks->local == NULL)
        return;
    counts = grd_lock_local_counts(locks->local);
    stats->locks = counts.locks;
    stats->locks_cached = counts.cached;
    stats->lock_waits = locks->waits;
    stats->lock_requests = counts.requests;
    stats->lock_demands = counts.demands;
    stats->lock_resends = counts.resends;
    stats->lock_swaps = counts.swaps;
    stats->lock_reads = counts.reads;
    stats->lock_reads_one_sided = locks->one_sided;
    stats->lock_reads_refused = locks->one_sided_refused;
    stats->lock_deadlocks = locks->deadlocks;
    stats->lock_claims = grd_lock_local_used(locks->local).claims;
    for (uint32_t s = 0; s < instance->shards; s++)
        stats->locks_known += grd_lock_master_used(locks->masters[s]).resources;
}

static void from_moves(const struct cf_instance *instance, struct cf_stats *stats)
{
    const struct grd_move_counters *counters = &instance->move->counters;
    uint32_t b, s;

    stats->master_requests = counters->requests;
    stats->master_requests_local = counters->requests_local;
    for (b = 0; b < instance->map.buckets; b++)
        stats->buckets_owned += instance->map.owner[b] == instance->node;
    stats->remaster_given = counters->moved;
    stats->remaster_taken = counters->taken;
    stats->remaster_planned = counters->planned;
    stats->remaster_refused = counters->refused;
    stats->remaster_given_up = counters->given_up;
    stats->remaster_retries = counters->retried;
    stats->remaster_held = counters->held;
    stats->remaster_dropped = counters->held_dropped;
    stats->remaster_told = counters->told;
    stats->stale_messages += counters->stale;
    for (s = 0; s < instance->shards; s++) {
        stats->remaster_entries += instance->masters[s]->counters.entries_taken;
        stats->remaster_asked += instance->masters[s]->counters.owners_asked;
    }
}

static void from_snapshots(const struct eng_snapshots *snapshots, struct cf_stats *stats)
{
    if (snapshots == NULL)
        return;
    stats->snapshots_read = snapshots->counters.read;
    stats->snapshots_asked = snapshots->counters.asked;
    stats->snapshots_refused = snapshots->counters.refused;
    stats->snapshots_torn = snapshots->counters.torn;
    stats->snapshots_given_up = snapshots->counters.given_up;
    stats->snapshot_places = snapshots->places_used;
}

static void from_detector(const struct cf_instance *instance, struct cf_stats *stats)
{
    struct eng_detect_counts counts;

    eng_detect_counts(instance, &counts);
    stats->detect_cut = counts.cut;
    stats->detect_told = counts.told;
    stats->detect_anew = counts.anew;
    stats->detect_rounds = counts.rounds;
    stats->detect_victims = counts.victims;
    stats->detect_gone = counts.gone;
    stats->detect_late = counts.late;
    stats->detect_edges = counts.edges;
    stats->bad_messages += counts.bad;
    if (eng_detect_hist(instance))
        latency_of(&stats->detect, eng_detect_hist(instance));
}

static void from_engine(const struct cf_instance *instance, struct cf_stats *stats)
{
    const struct eng_counters *counters = &instance->counters;
    uint32_t c, f;

    stats->hops2 = counters->hops2;
    stats->hops3 = counters->hops3;
    stats->upgrades = counters->upgrades;
    stats->news = counters->news;
    stats->disk_reads = counters->disk_reads;
    stats->disk_writes = counters->disk_writes;
    stats->blocks_shipped = counters->blocks_shipped;
    stats->messages_sent = counters->messages_sent;
    stats->messages_received = counters->messages_received;
    stats->messages_local = counters->messages_local;
    stats->bad_messages += counters->bad_messages;
    stats->lane_full += counters->lane_full;
    stats->backlog_dropped += counters->backlog_dropped;
    stats->lane_resets = counters->lane_resets;
    stats->sleeps = counters->sleeps;
    stats->turns = counters->turns;
    stats->client_turns = counters->client_turns;
    stats->checksum_failures = counters->checksum_failures;
    stats->frames = eng_frames_count(instance->frames);
    for (c = 0; c < CF_BLOCK_SIZES; c++)
        stats->frames_free += eng_frames_free_count(instance->frames, c);
    for (f = 0; f < stats->frames; f++)
        stats->frames_dirty += (eng_frames_word(instance->frames, f) & ENG_WORD_DIRTY) != 0;
}

enum cf_rc cf_stats_read(const struct cf_instance *instance, struct cf_stats *stats)
{
    enum cf_rc rc = eng_enter(instance);
    size_t size = stats->size;
    struct cf_stats all;
    struct cf_hist hit, rebuild;
    uint32_t s;

    if (rc == CF_INVALID || rc == CF_FORKED)
        return rc;
    memset(&all, 0, sizeof all);
    cf_ring_tsan_hide(); /* plain words of one writer, read without order: see "Counters" in docs/memory-model.md */
    from_sessions(instance, &all, &hit);
    from_transport(instance, &all);
    from_protocol(instance, &all);
    from_engine(instance, &all);
    from_locks(instance, &all);
    from_detector(instance, &all);
    from_moves(instance, &all);
    from_snapshots(instance->snapshots, &all);
    cf_hist_init(&rebuild);
    for (s = 0; s < instance->shards; s++)
        cf_hist_merge(&rebuild, instance->masters[s]->rebuild_hist);
    latency_of(&all.freeze, instance->move->freeze_hist);
    latency_of(&all.rebuild, &rebuild);
    latency_of(&all.hit, &hit);
    latency_of(&all.remote2, &instance->hists[0]);
    latency_of(&all.remote3, &instance->hists[1]);
    latency_of(&all.disk, &instance->hists[2]);
    latency_of(&all.upgrade, &instance->hists[3]);
    latency_of(&all.lock_wait, &instance->locks.wait_hist);
    cf_ring_tsan_show();
    all.size = size;
    memcpy(stats, &all, size < sizeof all ? size : sizeof all);
    return CF_OK;
}

void eng_stats_sums(const struct cf_instance *instance, struct eng_latency_sums *sums_out)
{
    struct eng_latency_sums sums = {.hit = 0};
    uint32_t i;

    cf_ring_tsan_hide();
    for (i = 0; i < instance->options.sessions; i++)
        if (instance->sessions[i].hit_hist)
            sums.hit += instance->sessions[i].hit_hist->sum;
    sums.remote2 = instance->hists[0].sum;
    sums.remote3 = instance->hists[1].sum;
    sums.disk = instance->hists[2].sum;
    sums.upgrade = instance->hists[3].sum;
    sums.freeze = instance->move->freeze_hist->sum;
    sums.lock_wait = instance->locks.wait_hist.sum;
    for (i = 0; i < instance->shards; i++)
        sums.rebuild += instance->masters[i]->rebuild_hist->sum;
    if (eng_detect_hist(instance))
        sums.detect = eng_detect_hist(instance)->sum;
    cf_ring_tsan_show();
    *sums_out = sums;
}

enum cf_rc cf_state(const struct cf_instance *instance, struct cf_error *error)
{
    enum cf_rc rc = eng_enter(instance);

    if (error && rc != CF_OK && rc != CF_INVALID && rc != CF_FORKED)
        *error = instance->stop_error;
    return rc;
}
