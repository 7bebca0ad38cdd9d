/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Covers: entries, holders, waiters, pending grants and lists of the directory against a naive model, under
 * random calls; the directory's own check after every few of them.
 * Not here: bounds and sizes (directory_bounds_test.c), single facts (directory_entry_test.c).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/rng.h"
#include "grd/directory.h"

#define BLOCKS 96u /* names in play; the directory has room for fewer entries, so that it evicts */
#define ENTRIES 64u
#define NODES 24u
#define BUSY_MAX 40u /* entries with content at once: under ENTRIES, as the budget promises */
#define OPERATIONS 100000u
#define CHECK_PERIOD 97u

struct model_holder {
    bool is_there;
    struct grd_holder holder;
};

struct model {
    bool is_known; /* since it was last seen evicted */
    uint64_t last_tenure, version, tenure_ever, durable;
    struct model_holder holders[NODES];
    struct {
        bool is_there;
        uint64_t value;
    } lists[GRD_LISTS][NODES];
    uint16_t waiters[NODES];
    uint32_t waiters_count;
    bool pending[NODES];
};

struct world {
    struct grd_directory *directory;
    struct cf_rng rng;
    struct model models[BLOCKS];
    uint32_t waiters, pendings;
};

static struct cf_block_key key_of(uint32_t block)
{
    return (struct cf_block_key){.file = block % 3, .generation = 1, .block = block};
}

static uint64_t hash_of(uint32_t block)
{
    return cf_mix64(block, 0x9e3779b97f4a7c15u);
}

static bool is_busy(const struct model *model)
{
    uint32_t n, list;

    if (model->waiters_count)
        return true;
    for (n = 0; n < NODES; n++) {
        if (model->holders[n].is_there || model->pending[n])
            return true;
        for (list = 0; list < GRD_LISTS; list++)
            if (model->lists[list][n].is_there)
                return true;
    }
    return false;
}

static uint32_t busy_count(const struct world *world)
{
    uint32_t block, count = 0;

    for (block = 0; block < BLOCKS; block++)
        count += is_busy(&world->models[block]);
    return count;
}

static void assert_same_holder(const struct grd_holder *is, const struct grd_holder *want)
{
    assert_int_equal(is->node, want->node);
    assert_int_equal(is->tenure, want->tenure);
    assert_int_equal(is->is_x, want->is_x);
    assert_int_equal(is->has_duty, want->has_duty);
    assert_int_equal(is->is_pending, want->is_pending);
}

/* As each node sees them at one look. */
static void compare_looks(struct world *world, struct grd_entry *entry, struct model *model, uint32_t holders)
{
    struct grd_holders look;

    for (uint32_t n = 0; n < NODES; n++) {
        grd_holders_look(world->directory, entry, (uint16_t)n, &look);
        assert_int_equal(look.has_own, model->holders[n].is_there);
        assert_int_equal(look.others, holders - look.has_own);
        if (look.has_own)
            assert_same_holder(&look.own, &model->holders[n].holder);
        if (look.others == 1) {
            assert_int_not_equal(look.other.node, n);
            assert_true(model->holders[look.other.node].is_there);
            assert_same_holder(&look.other, &model->holders[look.other.node].holder);
        }
    }
}

static void compare_holders(struct world *world, struct grd_entry *entry, struct model *model)
{
    struct grd_holder holder;
    uint32_t cursor = 0, count = 0, n;

    while (grd_holder_next(world->directory, entry, &cursor, &holder)) {
        assert_in_range(holder.node, 0, NODES - 1);
        assert_true(model->holders[holder.node].is_there);
        count++;
    }
    compare_looks(world, entry, model, count);
    for (n = 0; n < NODES; n++) {
        assert_int_equal(grd_holder_find(world->directory, entry, (uint16_t)n, &holder),
                         model->holders[n].is_there);
        if (!model->holders[n].is_there)
            continue;
        count--;
        assert_int_equal(holder.node, n);
        assert_same_holder(&holder, &model->holders[n].holder);
    }
    assert_int_equal(count, 0);
}

static void compare_queue(struct world *world, struct grd_entry *entry, struct model *model)
{
    struct grd_waiter *waiter = grd_waiter_first(world->directory, entry);
    struct grd_pending *pending;
    uint32_t i, n, count = 0;

    for (i = 0; i < model->waiters_count; i++, waiter = grd_waiter_next(world->directory, waiter)) {
        assert_non_null(waiter);
        assert_int_equal(waiter->node, model->waiters[i]);
    }
    assert_null(waiter);
    for (n = 0; n < NODES; n++) {
        pending = grd_pending_of(world->directory, entry, (uint16_t)n);
        assert_int_equal(pending != NULL, model->pending[n]);
        count += model->pending[n];
        if (pending)
            assert_int_equal(pending->request, 1000 + n);
    }
    for (pending = grd_pending_first(world->directory, entry); pending;
         pending = grd_pending_next(world->directory, pending))
        count--;
    assert_int_equal(count, 0);
}

static void compare_lists(struct world *world, struct grd_entry *entry, struct model *model)
{
    uint64_t oldest = UINT64_MAX;
    uint32_t list, n;

    for (list = 0; list < GRD_LISTS; list++) {
        struct grd_pair pair;
        uint32_t cursor = 0, count = 0;
        uint64_t value;

        while (grd_list_next(world->directory, entry, list, &cursor, &pair)) {
            assert_true(model->lists[list][pair.node].is_there);
            assert_int_equal(model->lists[list][pair.node].value, pair.value);
            count++;
        }
        assert_int_equal(grd_list_count(world->directory, entry, list), count);
        for (n = 0; n < NODES; n++) {
            count -= model->lists[list][n].is_there;
            assert_int_equal(grd_list_find(world->directory, entry, list, (uint16_t)n, &value),
                             model->lists[list][n].is_there);
        }
        assert_int_equal(count, 0);
    }
    for (n = 0; n < NODES; n++)
        if (model->lists[GRD_LIST_PAST][n].is_there && model->lists[GRD_LIST_PAST][n].value != 0 &&
            model->lists[GRD_LIST_PAST][n].value < oldest)
            oldest = model->lists[GRD_LIST_PAST][n].value;
    assert_int_equal(grd_past_oldest(world->directory, entry), oldest);
}

/* What was evicted comes back empty, with a tenure no lower than any it ever had. */
static struct grd_entry *use(struct world *world, uint32_t block)
{
    struct model *model = &world->models[block];
    struct cf_block_key key = key_of(block);
    struct grd_entry *entry = grd_entry_find(world->directory, &key, hash_of(block));

    if (entry == NULL) {
        assert_false(is_busy(model));
        entry = grd_entry_get(world->directory, &key, hash_of(block), block % 16);
        assert_int_equal(entry->version, 0);
        assert_true(entry->last_tenure >= model->tenure_ever);
        model->last_tenure = entry->last_tenure;
        model->version = 0;
        model->durable = 0;
    }
    assert_true(grd_entry_get(world->directory, &key, hash_of(block), block % 16) == entry);
    assert_memory_equal(&entry->key, &key, sizeof key);
    assert_int_equal(entry->last_tenure, model->last_tenure);
    assert_int_equal(entry->version, model->version);
    compare_holders(world, entry, model);
    compare_queue(world, entry, model);
    compare_lists(world, entry, model);
    return entry;
}

/* All but the two. */
static void take_all(struct world *world, struct grd_entry *entry, struct model *model, uint16_t but,
                     uint16_t and_but)
{
    struct grd_holder holder;

    while (grd_holder_take(world->directory, entry, but, and_but, &holder)) {
        assert_true(holder.node != but && holder.node != and_but);
        assert_true(model->holders[holder.node].is_there);
        assert_same_holder(&holder, &model->holders[holder.node].holder);
        model->holders[holder.node].is_there = false;
    }
    for (uint32_t n = 0; n < NODES; n++)
        assert_true(n == but || n == and_but || !model->holders[n].is_there);
}

static void step_holder(struct world *world, struct grd_entry *entry, struct model *model, uint16_t node)
{
    struct model_holder *own = &model->holders[node];
    struct grd_holders seen;

    grd_holders_look(world->directory, entry, node, &seen);
    if (cf_rng_chance(&world->rng, 0.1)) {
        grd_holder_begun(world->directory, entry, node);
        own->holder.is_pending = false;
        return;
    }
    if (own->is_there && cf_rng_chance(&world->rng, 0.45)) {
        assert_true(grd_holder_remove(world->directory, entry, node));
        own->is_there = false;
        return;
    }
    if (cf_rng_chance(&world->rng, 0.05)) {
        uint16_t but = (uint16_t)cf_rng_below(&world->rng, NODES);

        take_all(world, entry, model, node, but);
        return;
    }
    assert_int_equal(own->is_there || !grd_holder_remove(world->directory, entry, node), true);
    if (!own->is_there || cf_rng_chance(&world->rng, 0.5))
        own->holder.tenure = model->last_tenure = model->tenure_ever = grd_entry_tenure(world->directory,
                                                                                        entry);
    own->is_there = true;
    own->holder.node = node;
    own->holder.is_x = cf_rng_chance(&world->rng, 0.5);
    own->holder.has_duty = cf_rng_chance(&world->rng, 0.5);
    own->holder.is_pending = cf_rng_chance(&world->rng, 0.5);
    if (own->holder.tenure == entry->last_tenure && cf_rng_chance(&world->rng, 0.5))
        grd_holder_add(world->directory, entry, &seen, &own->holder);
    else
        grd_holder_set(world->directory, entry, &own->holder);
    entry->version = ++model->version;
}

static void step_waiter(struct world *world, struct grd_entry *entry, struct model *model, uint16_t node)
{
    struct grd_waiter *waiter = grd_waiter_of(world->directory, entry, node);
    uint32_t i = 0;

    while (i < model->waiters_count && model->waiters[i] != node)
        i++;
    assert_int_equal(waiter != NULL, i < model->waiters_count);
    if (waiter) {
        grd_waiter_remove(world->directory, entry, waiter);
        memmove(&model->waiters[i], &model->waiters[i + 1],
                (--model->waiters_count - i) * sizeof model->waiters[0]);
        world->waiters--;
        return;
    }
    waiter = grd_waiter_add(world->directory, entry);
    assert_non_null(waiter);
    waiter->node = node;
    model->waiters[model->waiters_count++] = node;
    world->waiters++;
}

static void step_pending(struct world *world, struct grd_entry *entry, struct model *model, uint16_t node)
{
    struct grd_pending *pending = grd_pending_of(world->directory, entry, node);

    if (pending) {
        grd_pending_remove(world->directory, entry, pending);
        model->pending[node] = false;
        world->pendings--;
        return;
    }
    pending = grd_pending_add(world->directory, entry);
    assert_non_null(pending);
    pending->node = node;
    pending->request = 1000u + node;
    model->pending[node] = true;
    world->pendings++;
}

static void step_list(struct world *world, struct grd_entry *entry, struct model *model, uint16_t node)
{
    uint32_t list = (uint32_t)cf_rng_below(&world->rng, GRD_LISTS), n;

    if (cf_rng_chance(&world->rng, 0.1)) {
        grd_list_clear(world->directory, entry, list);
        for (n = 0; n < NODES; n++)
            model->lists[list][n].is_there = false;
    } else if (cf_rng_chance(&world->rng, 0.45)) {
        assert_int_equal(grd_list_remove(world->directory, entry, list, node),
                         model->lists[list][node].is_there);
        model->lists[list][node].is_there = false;
    } else {
        model->lists[list][node].is_there = true;
        model->lists[list][node].value = cf_rng_next(&world->rng);
        grd_list_set(world->directory, entry, list, node, model->lists[list][node].value);
    }
}

/* Past images of no known version, and then the version. */
static void step_past(struct world *world, struct grd_entry *entry, struct model *model, uint16_t node)
{
    uint64_t version = cf_rng_chance(&world->rng, 0.5) ? 0 : cf_rng_next(&world->rng) | 1;

    if (cf_rng_chance(&world->rng, 0.7)) {
        model->lists[GRD_LIST_PAST][node].is_there = true;
        model->lists[GRD_LIST_PAST][node].value = 0;
        grd_list_set(world->directory, entry, GRD_LIST_PAST, node, 0);
        return;
    }
    grd_past_learn(world->directory, entry, version);
    for (uint32_t n = 0; n < NODES; n++)
        if (model->lists[GRD_LIST_PAST][n].is_there && model->lists[GRD_LIST_PAST][n].value == 0) {
            model->lists[GRD_LIST_PAST][n].is_there = version != 0;
            model->lists[GRD_LIST_PAST][n].value = version;
        }
}

static void empty(struct world *world, struct grd_entry *entry, struct model *model)
{
    uint16_t n;

    for (n = 0; n < NODES; n++) {
        struct grd_pending *pending = grd_pending_of(world->directory, entry, n);
        struct grd_waiter *waiter = grd_waiter_of(world->directory, entry, n);

        grd_holder_remove(world->directory, entry, n);
        if (pending)
            step_pending(world, entry, model, n);
        if (waiter)
            step_waiter(world, entry, model, n);
        model->holders[n].is_there = false;
    }
    grd_list_clear(world->directory, entry, GRD_LIST_SHARERS);
    grd_list_clear(world->directory, entry, GRD_LIST_PAST);
    memset(model->lists, 0, sizeof model->lists);
}

static void step(struct world *world)
{
    uint32_t block = (uint32_t)cf_rng_below(&world->rng, BLOCKS);
    struct model *model = &world->models[block];
    struct grd_entry *entry = use(world, block);
    uint16_t node = (uint16_t)cf_rng_below(&world->rng, NODES);
    uint64_t what = cf_rng_below(&world->rng, 100);

    if (!is_busy(model) && busy_count(world) >= BUSY_MAX)
        what = 0;
    if (what < 8)
        empty(world, entry, model);
    else if (what < 60)
        step_holder(world, entry, model, node);
    else if (what < 70)
        step_waiter(world, entry, model, node);
    else if (what < 80)
        step_pending(world, entry, model, node);
    else if (what < 92)
        step_list(world, entry, model, node);
    else
        step_past(world, entry, model, node);
    if (is_busy(model) && grd_pending_first(world->directory, entry)) {
        uint64_t durable = cf_rng_below(&world->rng, 1000);

        grd_entry_durable_raise(world->directory, entry, durable);
        assert_true(grd_entry_durable(world->directory, entry) >= durable);
        assert_true(grd_entry_durable(world->directory, entry) >= model->durable);
        model->durable = grd_entry_durable(world->directory, entry);
    } else {
        model->durable = 0;
    }
    grd_entry_settle(world->directory, entry);
}

static void run(uint64_t seed)
{
    struct grd_directory_options options = {.entries = ENTRIES,
                                            .conversations = BLOCKS * NODES,
                                            .holders = BLOCKS * NODES,
                                            .past_images = BLOCKS * NODES,
                                            .buckets = 16,
                                            .seed = seed,
                                            .allocator = cf_allocator_default()};
    struct world *world = calloc(1, sizeof *world);
    char text[256];
    uint32_t i;

    assert_non_null(world);
    cf_rng_seed(&world->rng, seed);
    assert_int_equal(grd_directory_open(&options, &world->directory), CF_OK);
    for (i = 0; i < OPERATIONS; i++) {
        step(world);
        if (i % CHECK_PERIOD == 0)
            grd_directory_check(world->directory);
    }
    assert_true(grd_directory_counters(world->directory)->forgotten > OPERATIONS / 100);
    assert_int_equal(grd_directory_entries(world->directory), ENTRIES);
    for (i = 0; i < BLOCKS; i++)
        if (is_busy(&world->models[i])) {
            struct grd_entry *entry = use(world, i);

            empty(world, entry, &world->models[i]);
            grd_entry_settle(world->directory, entry);
        }
    assert_int_equal(world->waiters, 0);
    assert_int_equal(world->pendings, 0);
    grd_directory_check(world->directory);
    assert_int_equal(grd_directory_leaks(world->directory, text, sizeof text), 0);
    grd_directory_close(&world->directory);
    assert_null(world->directory);
    free(world);
}

static void random_calls_agree_with_a_naive_model(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 4; seed++)
        run(seed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_calls_agree_with_a_naive_model),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
