/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who comes before whom, and who ships. The queue of an entry is served in order of arrival. There are three ways to
 * be passed all the same, and each has its bound:
 *
 *   - A request that overtook its own release or installed [7] waits for it, while those behind are served; after
 *     GRD_OVERTAKEN_MAX of them nobody is, until it is heard. It will be: its sender says it until then.
 *   - An S grant whose invalidate overtakes it is lost to the reader, who asks again at the end of the queue. Its second
 *     request says so, and once it is granted no X is until it has begun.
 *   - X of a read-mostly block waits until its sharers have had it for a while, and S is granted meanwhile; several X that
 *     have come by then follow each other. The while begins with the first S after the last X, whoever asks for
 *     more, and is GRD_HOT_SHARED_NS_MAX at most.
 */
#include "base/assert.h"
#include "grd/master_impl.h"
#include "grd/mutant.h"

#define RANK_HOST (UINT64_C(1) << 63)
#define RANK_SELF (UINT64_C(1) << 62)
/* 2^64 divided by the golden ratio, and an odd number of good mixing. */
#define MIX_TENURE UINT64_C(0x9e3779b97f4a7c15)
#define MIX UINT64_C(0xd6e8feb86659fd93)

/* From one look at an entry that is closed to the next. */
#define CLOSED_NS 50000u

struct grd_waiter *grd_fair_first(struct grd_master *master, struct grd_entry *entry)
{
    struct grd_waiter *waiter = grd_waiter_first(master->directory, entry), *next;

    if (grd_mutant(GRD_MUT_LAST_FIRST))
        while (waiter && (next = grd_waiter_next(master->directory, waiter)) != NULL)
            waiter = next;
    return waiter;
}

/* Sharers there are at least two: from one alone a block is taken as cheaply as it is given. */
bool grd_fair_is_shared(struct grd_master *master, struct grd_entry *entry, uint32_t others, uint64_t now_ns)
{
    struct grd_share *share;
    uint64_t until_ns;
    uint32_t at;

    if (others < 2)
        return false;
    at = grd_hot_shared(master->hot, &entry->key, &until_ns);
    if (at == UINT32_MAX || now_ns >= until_ns)
        return false;
    share = &master->share[at];
    if (cf_timer_armed(&share->timer))
        return grd_key_equal(&share->key, &entry->key);
    share->entry = entry;
    share->key = entry->key;
    cf_wheel_arm(&master->shares, &share->timer, until_ns);
    master->counters.shared++;
    return true;
}

/* An entry somebody waits for stays where it is. If nobody does, it may be another's by now: nothing is to be done. */
bool grd_fair_tick(struct grd_master *master, uint64_t now_ns, struct grd_actions *actions)
{
    struct cf_timer *timer = cf_wheel_expire(&master->shares, now_ns);
    struct grd_share *share;

    if (timer == NULL)
        return false;
    share = cf_container_of(timer, struct grd_share, timer);
    if (!grd_key_equal(&share->entry->key, &share->key) ||
        grd_waiter_first(master->directory, share->entry) == NULL)
        return true;
    if (grd_bucket_is_closed(master->directory, &share->key) && !grd_mutant(GRD_MUT_MOVE_TIMER)) {
        cf_wheel_arm(&master->shares, timer, now_ns + CLOSED_NS); /* the bucket stays, or the entry goes */
        return true;
    }
    grd_master_serve(master, share->entry, now_ns, actions);
    grd_entry_settle(master->directory, share->entry);
    return true;
}

void grd_fair_granted(struct grd_master *master, struct grd_entry *entry, const struct grd_waiter *waiter,
                      uint64_t now_ns)
{
    struct grd_waiter *before;
    struct grd_holders look;

    for (before = grd_waiter_first(master->directory, entry); before != waiter;
         before = grd_waiter_next(master->directory, before)) {
        if (before->mode == CF_MODE_X) {
            grd_holders_look(master->directory, entry, before->node, &look);
            if (grd_fair_is_shared(master, entry, look.others, now_ns))
                continue; /* G-18 */
        }
        cf_assert_id(before->overtaken < GRD_OVERTAKEN_MAX, "G-16");
        before->overtaken++;
        master->counters.overtakings++;
    }
}

bool grd_fair_is_due(const struct grd_waiter *waiter)
{
    return waiter->overtaken >= GRD_OVERTAKEN_MAX && !grd_mutant(GRD_MUT_PASSED);
}

struct grd_pending *grd_fair_reader(struct grd_master *master, const struct grd_entry *entry)
{
    struct grd_pending *pending;

    for (pending = grd_pending_first(master->directory, entry); pending;
         pending = grd_pending_next(master->directory, pending)) {
        if (pending->mode != CF_MODE_S || !(pending->flags & GRD_FLAG_REFUSED) ||
            grd_mutant(GRD_MUT_REFUSED_FORGOTTEN))
            continue;
        return pending;
    }
    return NULL;
}

bool grd_fair_reader_first(struct grd_master *master, const struct grd_entry *entry)
{
    bool is_first = grd_fair_reader(master, entry) != NULL;

    master->counters.readers_first += is_first;
    return is_first;
}

uint64_t grd_source_rank(const struct grd_master *master, uint16_t requester, uint16_t holder,
                         uint64_t tenure)
{
    uint64_t spread = (holder + 1u) * MIX ^ (tenure + requester) * MIX_TENURE;

    spread = (spread ^ spread >> 32) * MIX;
    return (master->hosts[holder] == master->hosts[requester] ? RANK_HOST : 0) |
           (holder == master->node ? RANK_SELF : 0) | spread >> 3 | 1;
}
