/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/grd/lock_model.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/rng.h"
#include "grd/lock_queue.h"

#define CLAIMS 8u
#define BOUND GRD_LOCK_OVERTAKE_MAX

/* Rows granted, columns requested: NL CR CW PR PW EX. */
static const char *const table[] = {"yyyyyy", "yyyyyn", "yyynnn", "yynynn", "yynnnn", "ynnnnn"};

struct entry {
    bool is_here, is_known, waits, is_conversion;
    uint8_t held, want, flags;
    uint64_t place; /* in the order of its queue */
    uint64_t arrival;
    uint32_t overtaken;
};

struct model {
    struct entry e[CLAIMS];
    struct grd_lock_queue queue;
    struct grd_lock_claim claims[CLAIMS];
    struct lock_model_counts counts;
    struct cf_rng rng;
    uint64_t arrival, seed;
    double leaves, drops; /* chance that a step of one that waits, or holds, ends it */
    bool is_weak;         /* readers that come and go in strength: they overtake, and are held back */
};

bool lock_model_compatible(uint8_t held, uint8_t wanted)
{
    return table[held][wanted] == 'y';
}

static bool covers(uint8_t mode, uint8_t other)
{
    for (uint8_t m = 0; m < GRD_LOCK_MODES; m++)
        if (lock_model_compatible(m, mode) && !lock_model_compatible(m, other))
            return false;
    return true;
}

static bool fits(const struct model *m, uint32_t i)
{
    for (uint32_t k = 0; k < CLAIMS; k++)
        if (k != i && m->e[k].is_here && m->e[k].is_known &&
            !lock_model_compatible(m->e[k].held, m->e[i].want))
            return false;
    return true;
}

static bool is_waiting(const struct model *m, uint32_t k, bool is_conversion)
{
    return m->e[k].is_here && m->e[k].waits && m->e[k].is_conversion == is_conversion;
}

/* Does what i holds keep k out, or anybody k waits behind? */
static bool keeps_out(const struct model *m, uint32_t i, uint32_t k)
{
    for (uint32_t x = 0; x < CLAIMS; x++) {
        bool is_ahead = is_waiting(m, x, true) ||
                        (is_waiting(m, x, false) && !m->e[k].is_conversion && m->e[x].place <= m->e[k].place);

        if (x != i && is_ahead && !lock_model_compatible(m->e[i].held, m->e[x].want))
            return true;
    }
    return false;
}

static bool is_held_by_new(const struct model *m, uint32_t i)
{
    for (uint32_t k = 0; k < CLAIMS; k++)
        if (is_waiting(m, k, false) && m->e[k].overtaken >= BOUND && m->e[k].arrival < m->e[i].arrival &&
            !keeps_out(m, i, k))
            return true;
    return false;
}

static bool is_held_back(const struct model *m, uint32_t i)
{
    if (is_held_by_new(m, i))
        return true;
    for (uint32_t k = 0; k < CLAIMS; k++)
        if (k != i && is_waiting(m, k, true) && m->e[k].overtaken >= BOUND &&
            m->e[k].arrival < m->e[i].arrival && !keeps_out(m, i, k) && !is_held_by_new(m, k))
            return true;
    return false;
}

static bool may_be_granted(const struct model *m, uint32_t i)
{
    const struct entry *e = &m->e[i];

    if (!e->waits || !fits(m, i))
        return false;
    if (e->want == GRD_LOCK_NL)
        return true;
    if (e->is_conversion && is_held_back(m, i))
        return false;
    for (uint32_t k = 0; k < CLAIMS; k++) {
        if (k == i || !m->e[k].is_here || !m->e[k].waits || (m->e[k].is_conversion && is_held_back(m, k)))
            continue;
        if (e->is_conversion) {
            if (m->e[k].is_conversion && (e->flags & GRD_LOCK_FIFO) && m->e[k].place < e->place &&
                !keeps_out(m, i, i))
                return false;
        } else if (m->e[k].is_conversion || m->e[k].place < e->place) {
            return false;
        }
    }
    return true;
}

/* Who of those that may is first: conversions before new ones, in their order. */
static uint32_t next_of(const struct model *m)
{
    uint32_t best = CLAIMS;

    for (uint32_t i = 0; i < CLAIMS; i++) {
        if (!m->e[i].is_here || !may_be_granted(m, i))
            continue;
        if (best == CLAIMS || (m->e[i].want == GRD_LOCK_NL && m->e[best].want != GRD_LOCK_NL) ||
            (m->e[best].want != GRD_LOCK_NL && m->e[i].is_conversion && !m->e[best].is_conversion) ||
            (m->e[i].is_conversion == m->e[best].is_conversion && m->e[i].place < m->e[best].place))
            best = i;
    }
    return best;
}

static void count_overtaken(struct model *m, uint32_t i)
{
    bool held[CLAIMS];

    for (uint32_t k = 0; k < CLAIMS; k++)
        held[k] = m->e[k].is_conversion && is_held_by_new(m, k);
    for (uint32_t k = 0; k < CLAIMS; k++)
        if (m->e[k].is_here && m->e[k].waits && m->e[k].arrival < m->e[i].arrival && !held[k] &&
            !keeps_out(m, i, k)) {
            m->e[k].overtaken++;
            if (m->e[k].overtaken > m->counts.overtaken_most)
                m->counts.overtaken_most = m->e[k].overtaken;
        }
}

static void grant(struct model *m, uint32_t i)
{
    struct entry *e = &m->e[i];

    e->waits = false;
    if (e->is_conversion)
        count_overtaken(m, i);
    m->counts.grants++;
    m->counts.conversions += e->is_known;
    e->held = e->want;
    e->is_known = true;
    e->is_conversion = false;
}

/* Places are far apart, so that one can be put before all that may be passed. */
static void wait(struct model *m, uint32_t i, uint8_t want, uint8_t flags)
{
    struct entry *e = &m->e[i];
    uint64_t place = ++m->arrival << 32;

    e->want = want;
    e->flags = flags;
    e->arrival = m->arrival;
    e->overtaken = 0;
    e->is_conversion = e->is_known && e->held != GRD_LOCK_NL;
    if (!e->is_conversion && want != GRD_LOCK_NL && (flags & GRD_LOCK_HEAD)) {
        uint64_t after = 0;

        for (uint32_t k = 0; k < CLAIMS; k++)
            if (k != i && is_waiting(m, k, false) && m->e[k].overtaken >= BOUND && m->e[k].place > after)
                after = m->e[k].place;
        place = UINT64_MAX;
        for (uint32_t k = 0; k < CLAIMS; k++)
            if (k != i && is_waiting(m, k, false) && m->e[k].place > after) {
                m->e[k].overtaken++;
                m->counts.passed++;
                if (m->e[k].place < place)
                    place = m->e[k].place;
            }
        place = place == UINT64_MAX ? m->arrival << 32 : after + (place - after) / 2;
    }
    e->place = place;
    e->waits = true;
    m->counts.waits++;
}

static bool agrees(struct model *m, uint32_t step)
{
    grd_lock_queue_check(&m->queue);
    for (uint32_t i = 0; i < CLAIMS; i++) {
        const struct entry *e = &m->e[i];
        const struct grd_lock_claim *c = &m->claims[i];
        bool waits = grd_lock_is_waiting(c);

        if (e->is_here && (e->waits != waits || e->is_known != c->is_known ||
                           (e->is_known && e->held != c->held) || (waits && e->overtaken != c->overtaken))) {
            fprintf(stderr,
                    "lock model: seed %" PRIu64
                    " step %u claim %u: model waits %d held %u overtaken %u, queue "
                    "waits %d held %u overtaken %u\n",
                    m->seed, step, i, e->waits, e->held, e->overtaken, waits, c->held, c->overtaken);
            return false;
        }
        if (e->overtaken > BOUND)
            return false;
        for (uint32_t k = 0; k < i; k++)
            if (e->is_here && e->is_known && m->e[k].is_here && m->e[k].is_known &&
                !lock_model_compatible(e->held, m->e[k].held))
                return false;
    }
    return true;
}

static void serve(struct model *m)
{
    static const struct grd_lock_limit none = {
        .is_known = true, .cap = GRD_LOCK_EX, .ask_cap = GRD_LOCK_EX, .demand = GRD_LOCK_NL};
    struct grd_lock_claim *claim, *lacks;
    uint32_t i;

    while ((claim = grd_lock_queue_next(&m->queue, &none, &lacks)) != NULL)
        grd_lock_queue_grant(&m->queue, claim, claim->want);
    while ((i = next_of(m)) != CLAIMS)
        grant(m, i);
    for (i = 0; i < CLAIMS; i++)
        m->counts.held_back += is_waiting(m, i, true) && is_held_back(m, i);
}

static void step(struct model *m)
{
    static const uint8_t flags_of[] = {0, 0, 0, GRD_LOCK_FIFO, GRD_LOCK_HEAD};
    static const uint8_t weak[] = {GRD_LOCK_CR, GRD_LOCK_PR, GRD_LOCK_CR, GRD_LOCK_PR,
                                   GRD_LOCK_CR, GRD_LOCK_PR, GRD_LOCK_CW, GRD_LOCK_PW};
    uint32_t i = (uint32_t)cf_rng_below(&m->rng, CLAIMS);
    uint8_t mode = m->is_weak ? weak[cf_rng_below(&m->rng, sizeof weak)]
                              : (uint8_t)cf_rng_below(&m->rng, GRD_LOCK_MODES);
    uint8_t flags = flags_of[cf_rng_below(&m->rng, sizeof flags_of)];
    struct grd_lock_claim *c = &m->claims[i];
    struct entry *e = &m->e[i];

    if (!e->is_here) {
        c->state = GRD_LOCK_FREE;
        c->flags = flags;
        grd_lock_queue_enter(&m->queue, c);
        grd_lock_queue_add(&m->queue, c, mode, m->arrival + 1);
        memset(e, 0, sizeof *e);
        e->is_here = true;
        wait(m, i, mode, flags);
    } else if (e->waits) {
        if (!cf_rng_chance(&m->rng, m->leaves))
            return;
        grd_lock_queue_leave(&m->queue, c);
        e->waits = e->is_conversion = false;
        if (!e->is_known) {
            grd_lock_queue_drop(&m->queue, c);
            e->is_here = false;
        }
    } else if (cf_rng_chance(&m->rng, m->drops)) {
        grd_lock_queue_drop(&m->queue, c);
        e->is_here = false;
    } else if (covers(e->held, mode)) {
        grd_lock_queue_lower(&m->queue, c, mode);
        e->held = mode;
    } else {
        c->flags = flags;
        grd_lock_queue_add(&m->queue, c, mode, m->arrival + 1);
        wait(m, i, mode, flags);
    }
    serve(m);
}

bool lock_model_run(uint64_t seed, uint32_t steps, struct lock_model_counts *counts_out)
{
    struct model m = {.seed = seed};

    cf_rng_seed(&m.rng, seed);
    m.is_weak = seed % 2 == 0;
    m.leaves = m.is_weak ? 0.03 : 0.05 + cf_rng_unit(&m.rng) * 0.4;
    m.drops = m.is_weak ? 0.02 : 0.25;
    for (uint32_t i = 0; i < steps; i++) {
        step(&m);
        if (!agrees(&m, i))
            return false;
    }
    *counts_out = m.counts;
    return true;
}
