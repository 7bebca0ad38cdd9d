/* SPDX-License-Identifier: Apache-2.0 */
/* The walk over the views of the instance that has just had its turn, and what changes between two walks. */
#include "tools/sim/check.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/hash.h"
#include "engine/format.h"
#include "tools/sim/ghost.h"

#define ULL(x) ((unsigned long long)(x))
/* Turns between two looks at all blocks: what a step did to a block it was not about. */
#define SWEEP_TURNS 128u

struct sim_check *sim_check_open(const struct sim_check_options *options)
{
    struct sim_check *check = calloc(1, sizeof(*check));
    uint64_t cells = (uint64_t)options->nodes * options->blocks;

    if (check == NULL)
        return NULL;
    check->options = *options;
    check->broken_block = SIM_NO_BLOCK;
    check->ghosts = calloc(options->blocks, sizeof(*check->ghosts));
    check->copies = calloc(cells, sizeof(*check->copies));
    check->helds = calloc(cells, sizeof(*check->helds));
    check->changes = calloc(options->blocks, sizeof(*check->changes));
    check->numbers = calloc((uint64_t)options->nodes * SIM_NUMBERS, sizeof(*check->numbers));
    check->stamps = calloc(options->nodes, sizeof(*check->stamps));
    check->known = calloc(cells, sizeof(*check->known));
    check->known_count = calloc(options->nodes, sizeof(*check->known_count));
    check->is_gone = calloc(options->nodes, sizeof(*check->is_gone));
    check->touched = calloc(options->blocks, sizeof(*check->touched));
    if (!check->ghosts || !check->copies || !check->helds || !check->changes || !check->numbers ||
        !check->stamps || !check->known || !check->known_count || !check->is_gone || !check->touched) {
        sim_check_close(&check);
        return NULL;
    }
    for (uint64_t b = 0; b < options->blocks; b++)
        check->ghosts[b].newest.block = b;
    return check;
}

void sim_check_close(struct sim_check **check_ref)
{
    struct sim_check *check = *check_ref;

    if (check == NULL)
        return;
    free(check->ghosts);
    free(check->copies);
    free(check->helds);
    for (uint64_t b = 0; check->changes != NULL && b < check->options.blocks; b++)
        free(check->changes[b].change);
    free(check->changes);
    free(check->numbers);
    free(check->stamps);
    free(check->known);
    free(check->known_count);
    free(check->is_gone);
    free(check->touched);
    free(check);
    *check_ref = NULL;
}

void sim_check_break(struct sim_check *check, uint64_t block, const char *format, ...)
{
    va_list arguments;

    if (check->broken[0] != 0)
        return;
    check->broken_block = block;
    va_start(arguments, format);
    vsnprintf(check->broken, sizeof(check->broken), format, arguments);
    va_end(arguments);
}

const char *sim_check_broken(const struct sim_check *check, uint64_t *block_out)
{
    if (check->broken[0] == 0)
        return NULL;
    *block_out = check->broken_block;
    return check->broken;
}

uint64_t sim_check_count(const struct sim_check *check)
{
    return check->count;
}

static void touch(struct sim_check *check, uint64_t block)
{
    if (check->ghosts[block].touched == check->turn)
        return;
    check->ghosts[block].touched = check->turn;
    check->touched[check->touched_count++] = block;
}

/* I-2: tenures rise at each instance and along the chain of X; what begins is the newest version. */
static void on_begin(struct sim_check *check, struct sim_copy *copy, const struct eng_block_view *view)
{
    struct sim_ghost *ghost = &check->ghosts[view->key.block];
    uint64_t block = view->key.block;
    uint64_t floor = view->mode == CF_MODE_X && ghost->tenure_s > ghost->tenure_x ? ghost->tenure_s
                                                                                  : ghost->tenure_x;

    if (view->tenure <= copy->tenure_last || view->tenure <= floor)
        sim_check_break(check, block, "I-2 block %llu: tenure %llu begins at node %u after tenure %llu",
                        ULL(block), ULL(view->tenure), check->node,
                        ULL(view->tenure <= floor ? floor : copy->tenure_last));
    if (view->version != ghost->version)
        sim_check_break(check, block,
                        "I-2 block %llu: tenure %llu begins at node %u with version %llu, the newest is %llu",
                        ULL(block), ULL(view->tenure), check->node, ULL(view->version), ULL(ghost->version));
    copy->tenure_last = view->tenure;
    if (view->mode == CF_MODE_X)
        ghost->tenure_x = view->tenure;
    else if (view->tenure > ghost->tenure_s)
        ghost->tenure_s = view->tenure;
}

static void check_bytes(struct sim_check *check, const struct eng_block_view *view)
{
    const struct sim_ghost *ghost = &check->ghosts[view->key.block];
    struct sim_content content;

    if (view->mode == CF_MODE_N || view->data == NULL || ghost->is_changing)
        return;
    if (!sim_content_read((const uint8_t *)view->data + ENG_BLOCK_HEADER_BYTES,
                          check->options.block_bytes - ENG_BLOCK_HEADER_BYTES, view->key.block, &content))
        sim_check_break(check, view->key.block, "I-2 block %llu: the bytes at node %u are not of one version",
                        ULL(view->key.block), check->node);
    else if (content.value != ghost->newest.value)
        sim_check_break(check, view->key.block,
                        "I-2 block %llu: node %u holds value %llx, the newest is %llx", ULL(view->key.block),
                        check->node, ULL(content.value), ULL(ghost->newest.value));
}

/* I-4: never modified; I-5: goes only when something at least as new is durable. */
static void check_past(struct sim_check *check, struct sim_copy *copy, const struct eng_block_view *view)
{
    uint64_t block = view->key.block;
    bool was_there = copy->stamp != 0 && copy->view.has_past_image;
    struct sim_content content = {0};

    if (was_there && !view->has_past_image &&
        sim_disk_version(check->options.disk, block) < copy->view.past_version)
        sim_check_break(check, block,
                        "I-5 block %llu: node %u dropped its past image of version %llu, storage has %llu",
                        ULL(block), check->node, ULL(copy->view.past_version),
                        ULL(sim_disk_version(check->options.disk, block)));
    if (!view->has_past_image || view->past_data == NULL)
        return;
    if (!sim_content_read((const uint8_t *)view->past_data + ENG_BLOCK_HEADER_BYTES,
                          check->options.block_bytes - ENG_BLOCK_HEADER_BYTES, block, &content))
        sim_check_break(check, block, "I-4 block %llu: the past image at node %u is not of one version",
                        ULL(block), check->node);
    if (was_there && copy->view.past_version == view->past_version && copy->past_value != content.value)
        sim_check_break(check, block, "I-4 block %llu: the past image at node %u has been changed",
                        ULL(block), check->node);
    copy->past_value = content.value;
}

static bool is_same(const struct eng_block_view *a, const struct eng_block_view *b)
{
    return a->mode == b->mode && a->tenure == b->tenure && a->version == b->version &&
           a->durable == b->durable && a->has_duty == b->has_duty && a->is_writing == b->is_writing &&
           a->has_past_image == b->has_past_image && a->has_kept == b->has_kept &&
           a->past_version == b->past_version && a->kept_tenure == b->kept_tenure && a->wants == b->wants &&
           a->request == b->request && a->granted_tenure == b->granted_tenure &&
           a->is_granted == b->is_granted && a->release_tenure == b->release_tenure;
}

static uint32_t *known_of(const struct sim_check *check)
{
    return check->known + check->node * check->options.blocks;
}

static void each_block(void *arg, const struct eng_block_view *view)
{
    struct sim_check *check = arg;
    struct sim_copy *copy;
    bool was_known;

    if (view->key.file != check->options.file_id || view->key.block >= check->options.blocks)
        return;
    copy = sim_copy_at(check, check->node, view->key.block);
    was_known = copy->stamp != 0 && copy->stamp == check->stamps[check->node] - 1;
    if (!was_known) {
        copy->stamp = 0;
        known_of(check)[check->known_count[check->node]++] = (uint32_t)view->key.block;
    }
    if (!was_known || !is_same(&copy->view, view)) {
        touch(check, view->key.block);
        if (view->mode != CF_MODE_N &&
            (!was_known || copy->view.mode == CF_MODE_N || copy->view.tenure != view->tenure))
            on_begin(check, copy, view);
        check_bytes(check, view);
        check_past(check, copy, view);
    }
    copy->view = *view;
    copy->stamp = check->stamps[check->node];
}

/* Blocks of the last walk that this one has not seen any more. */
static void forget_blocks(struct sim_check *check)
{
    uint32_t stamp = check->stamps[check->node], *known = known_of(check), kept = 0;

    for (uint32_t i = 0; i < check->known_count[check->node]; i++) {
        struct sim_copy *copy = sim_copy_at(check, check->node, known[i]);
        struct eng_block_view nothing = {.key = {.block = known[i]}};

        if (copy->stamp == stamp) {
            known[kept++] = known[i];
            continue;
        }
        check_past(check, copy, &nothing);
        copy->stamp = 0;
        touch(check, known[i]);
    }
    check->known_count[check->node] = kept;
}

static void each_entry(void *arg, const struct eng_entry_view *view)
{
    struct sim_check *check = arg;
    struct sim_ghost *ghost;
    uint64_t hash = view->waiters;

    if (view->key.file != check->options.file_id || view->key.block >= check->options.blocks)
        return;
    if (eng_master_of(check->instance, &view->key) != check->node)
        sim_check_break(check, view->key.block,
                        "I-10 block %llu: node %u has an entry of it and is not its master",
                        ULL(view->key.block), check->node);
    ghost = &check->ghosts[view->key.block];
    for (uint32_t i = 0; i < view->holders; i++) {
        const struct eng_holder_view *h = &view->holder[i];

        hash = cf_mix64(hash, h->tenure);
        hash = cf_mix64(hash, (uint64_t)h->node << 8 | (uint64_t)h->mode << 2 | (uint64_t)h->is_pending << 1 |
                                  h->has_duty);
    }
    if (!ghost->is_present || ghost->entry_hash != hash)
        touch(check, view->key.block);
    *ghost = (struct sim_ghost){.newest = ghost->newest,
                                .version = ghost->version,
                                .tenure_s = ghost->tenure_s,
                                .tenure_x = ghost->tenure_x,
                                .is_changing = ghost->is_changing,
                                .touched = ghost->touched,
                                .is_present = true,
                                .is_rebuilt = view->is_rebuilt,
                                .master = check->node,
                                .stamp = check->stamps[check->node],
                                .holders = view->holders,
                                .waiters = view->waiters,
                                .past_images = view->past_images,
                                .entry_hash = hash};
    for (uint32_t i = 0; i < view->holders; i++) {
        const struct eng_holder_view *h = &view->holder[i];

        if (h->node >= check->options.nodes)
            continue;
        check->helds[view->key.block * check->options.nodes + h->node] = (struct sim_held){
            .tenure = h->tenure,
            .stamp = ghost->stamp,
            .master = check->node,
            .mode = (uint8_t)h->mode,
            .is_pending = h->is_pending,
            .has_duty = h->has_duty};
        ghost->pending += h->is_pending;
        if (h->is_pending && h->mode == CF_MODE_X)
            ghost->x_pending_tenure = h->tenure;
        if (h->is_pending && h->mode == CF_MODE_S)
            ghost->s_pending = true;
    }
}

static void forget_entries(struct sim_check *check)
{
    for (uint64_t b = 0; b < check->options.blocks; b++) {
        struct sim_ghost *ghost = &check->ghosts[b];

        if (!ghost->is_present || ghost->master != check->node || ghost->stamp == check->stamps[check->node])
            continue;
        ghost->is_present = ghost->is_rebuilt = false;
        ghost->pending = ghost->waiters = ghost->holders = 0;
        touch(check, b);
    }
}

static void walk_entries(struct sim_check *check)
{
    eng_each_entry(check->instance, each_entry, check);
    forget_entries(check);
}

bool sim_check_sample(struct sim_check *check, struct cf_instance *const *instances)
{
    check->turn++;
    check->touched_count = 0;
    for (uint32_t n = 0; n < check->options.nodes; n++) {
        if (check->is_gone[n])
            continue;
        check->node = (uint16_t)n;
        check->instance = instances[n];
        walk_entries(check);
    }
    for (uint64_t b = 0; b < check->options.blocks && check->broken[0] == 0; b++)
        (void)(sim_check_block(check, b) && sim_check_directory(check, b));
    return check->broken[0] == 0;
}

bool sim_check_turn(struct sim_check *check, struct cf_instance *instance, uint16_t node)
{
    check->node = node;
    check->instance = instance;
    check->turn++;
    check->touched_count = 0;
    check->stamps[node]++;
    eng_each_block(instance, each_block, check);
    forget_blocks(check);
    if (!check->options.is_sampled)
        walk_entries(check);
    for (uint32_t i = 0; i < check->touched_count && check->broken[0] == 0; i++)
        (void)sim_check_block(check, check->touched[i]);
    for (uint64_t b = 0; check->turn % SWEEP_TURNS == 0 && !check->options.is_sampled &&
                         b < check->options.blocks && check->broken[0] == 0;
         b++)
        (void)sim_check_directory(check, b);
    return check->broken[0] == 0;
}

void sim_check_changing(struct sim_check *check, uint64_t block, bool is_changing)
{
    check->ghosts[block].is_changing = is_changing;
}

void sim_check_written(struct sim_check *check, uint16_t node, uint64_t version,
                       const struct sim_content *content)
{
    struct sim_ghost *ghost = &check->ghosts[content->block];

    if (version <= ghost->version)
        sim_check_break(check, content->block, "I-2 block %llu: node %u changed it from version %llu to %llu",
                        ULL(content->block), node, ULL(ghost->version), ULL(version));
    ghost->version = version;
    ghost->newest = *content;
    sim_check_changed(check, version, content);
}

bool sim_check_seen(struct sim_check *check, uint16_t node, enum cf_mode mode,
                    const struct sim_content *content)
{
    const struct sim_ghost *ghost = &check->ghosts[content->block];

    if (content->value == ghost->newest.value && content->counter == ghost->newest.counter)
        return true;
    sim_check_break(check, content->block,
                    "I-2 block %llu: a client of node %u saw value %llx in %s, the newest is %llx",
                    ULL(content->block), node, ULL(content->value), mode == CF_MODE_X ? "X" : "S",
                    ULL(ghost->newest.value));
    return false;
}

const struct sim_content *sim_check_newest(const struct sim_check *check, uint64_t block)
{
    return &check->ghosts[block].newest;
}

uint64_t sim_check_tenure(const struct sim_check *check, uint16_t node, uint64_t block)
{
    const struct sim_copy *copy = sim_copy_known(check, node, block);

    return copy != NULL && copy->view.mode != CF_MODE_N ? copy->view.tenure : 0;
}

void sim_check_gone(struct sim_check *check, uint16_t node)
{
    check->is_gone[node] = true;
    check->lost_count++;
}

bool sim_check_masters(struct sim_check *check, struct cf_instance *const *instances)
{
    for (uint64_t b = 0; b < check->options.blocks; b++) {
        struct cf_block_key key = {
            .file = check->options.file_id, .generation = check->options.generation, .block = b};
        uint16_t first = CF_NODE_NONE;
        uint32_t number = 0;

        for (uint32_t n = 0; n < check->options.nodes; n++) {
            uint32_t known = check->is_gone[n]
                                 ? 0
                                 : eng_bucket_number(instances[n], eng_bucket_of(instances[n], &key));

            number = known > number ? known : number;
        }
        for (uint32_t n = 0; n < check->options.nodes; n++) {
            uint16_t master;

            if (check->is_gone[n])
                continue;
            if (eng_bucket_number(instances[n], eng_bucket_of(instances[n], &key)) != number)
                continue; /* it has not heard of the last move */
            master = eng_master_of(instances[n], &key);
            if (first == CF_NODE_NONE)
                first = master;
            if (master == first)
                continue;
            sim_check_break(check, b, "I-10 block %llu: node %u takes node %u for its master, others node %u",
                            ULL(b), n, master, first);
            return false;
        }
    }
    return true;
}
