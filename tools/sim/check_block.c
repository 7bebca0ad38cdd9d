/* SPDX-License-Identifier: Apache-2.0 */
/* What must be true of one block at every moment between two turns: I-1, I-2, I-3, I-4, I-6, one write duty. */
#include "engine/format.h"
#include "tools/sim/ghost.h"

#define ULL(x) ((unsigned long long)(x))

static const char *mode_name(uint32_t mode)
{
    return mode == CF_MODE_X ? "X" : mode == CF_MODE_S ? "S" : "N";
}

static bool check_modes(struct sim_check *check, uint64_t block)
{
    uint32_t x_count = 0, s_count = 0, duty_count = 0;

    for (uint32_t n = 0; n < check->options.nodes; n++) {
        const struct sim_copy *copy = sim_copy_known(check, n, block);

        if (copy == NULL)
            continue;
        x_count += copy->view.mode == CF_MODE_X;
        s_count += copy->view.mode == CF_MODE_S;
        duty_count += copy->view.mode != CF_MODE_N && copy->view.has_duty;
    }
    if (x_count > 1 || (x_count == 1 && s_count > 0)) {
        sim_check_break(check, block, "I-1 block %llu: %u hold it in X and %u in S", ULL(block), x_count,
                        s_count);
        return false;
    }
    if (duty_count > 1) {
        sim_check_break(check, block, "I-6 block %llu: %u instances have its write duty", ULL(block),
                        duty_count);
        return false;
    }
    return true;
}

/* S copies are of the newest version; past images are never newer than it. */
static bool check_versions(struct sim_check *check, uint64_t block)
{
    const struct sim_ghost *ghost = &check->ghosts[block];

    for (uint32_t n = 0; n < check->options.nodes; n++) {
        const struct sim_copy *copy = sim_copy_known(check, n, block);

        if (copy == NULL)
            continue;
        if (copy->view.mode == CF_MODE_S && copy->view.version != ghost->version) {
            sim_check_break(check, block,
                            "I-2 block %llu: node %u holds version %llu in S, the newest is %llu", ULL(block),
                            n, ULL(copy->view.version), ULL(ghost->version));
            return false;
        }
        if (copy->view.mode == CF_MODE_X && copy->view.version > ghost->version) {
            sim_check_break(check, block, "I-2 block %llu: node %u holds version %llu in X, nobody wrote it",
                            ULL(block), n, ULL(copy->view.version));
            return false;
        }
        if (copy->view.has_past_image && copy->view.past_version > ghost->version) {
            sim_check_break(check, block,
                            "I-4 block %llu: node %u has a past image of version %llu, current is %llu",
                            ULL(block), n, ULL(copy->view.past_version), ULL(ghost->version));
            return false;
        }
    }
    return true;
}

/*
 * Is a copy covered by what the master believes? The exceptions are those of the model: an upgrade granted and not
 * begun; an X whose step down to S is under way; a copy that an X grant not yet begun is taking away.
 */
static bool is_covered(const struct sim_check *check, uint64_t block, uint32_t node,
                       const struct eng_block_view *view)
{
    const struct sim_ghost *ghost = &check->ghosts[block];
    const struct sim_held *held = sim_held_known(check, node, block);

    if (held != NULL && held->tenure == view->tenure && held->mode >= view->mode)
        return true;
    if (held != NULL && held->tenure == view->tenure && view->mode == CF_MODE_X && ghost->s_pending)
        return true;
    if (held != NULL && view->mode == CF_MODE_S && held->mode == CF_MODE_X && held->is_pending &&
        held->tenure > view->tenure)
        return true;
    return ghost->is_present && ghost->x_pending_tenure > view->tenure;
}

/* G-14: whoever holds a block that has no entry is remembered in the summary, and while the entry is rebuilt too. */
static bool is_cold(const struct sim_check *check, uint64_t block)
{
    struct cf_block_key key = {
        .file = check->options.file_id, .generation = check->options.generation, .block = block};
    uint32_t bucket = eng_bucket_of(check->options.instances[0], &key);

    for (uint32_t n = 0; n < check->options.nodes; n++) {
        if (eng_is_moving(check->options.instances[n], &key))
            return true; /* on its way, or asked for there */
        if (eng_serves(check->options.instances[n], bucket))
            return eng_is_cold(check->options.instances[n], &key);
    }
    return false;
}

bool sim_check_directory(struct sim_check *check, uint64_t block)
{
    const struct sim_ghost *ghost = &check->ghosts[block];

    if (check->lost_count > 0)
        return true;
    if (ghost->is_rebuilt &&
        check->options.has_moves) /* of a bucket that has come: everybody is being asked */
        return true;
    if ((!ghost->is_present || ghost->is_rebuilt) && is_cold(check, block))
        return true;
    for (uint32_t n = 0; n < check->options.nodes; n++) {
        const struct sim_copy *copy = sim_copy_known(check, n, block);

        if (copy == NULL || copy->view.mode == CF_MODE_N || is_covered(check, block, n, &copy->view))
            continue;
        sim_check_break(
            check, block,
            "I-3 block %llu: node %u holds it in %s under tenure %llu, the directory does not know",
            ULL(block), n, mode_name(copy->view.mode), ULL(copy->view.tenure));
        return false;
    }
    return true;
}

/* The newest version is durable, or in a live copy, or in an image kept until it has arrived. */
static bool check_lives(struct sim_check *check, uint64_t block)
{
    const struct sim_ghost *ghost = &check->ghosts[block];

    if (check->lost_count > 0 || ghost->version <= sim_disk_version(check->options.disk, block))
        return true;
    for (uint32_t n = 0; n < check->options.nodes; n++) {
        const struct sim_copy *copy = sim_copy_known(check, n, block);

        if (copy == NULL)
            continue;
        if (copy->view.mode == CF_MODE_X ||
            (copy->view.mode == CF_MODE_S && copy->view.version == ghost->version) ||
            (copy->view.has_kept && copy->view.kept_version == ghost->version))
            return true;
    }
    sim_check_break(check, block,
                    "I-6 block %llu: version %llu is in no copy and no kept image, storage has %llu",
                    ULL(block), ULL(ghost->version), ULL(sim_disk_version(check->options.disk, block)));
    return false;
}

bool sim_check_block(struct sim_check *check, uint64_t block)
{
    check->count++;
    return check_modes(check, block) && check_versions(check, block) &&
           (check->options.is_sampled || sim_check_directory(check, block)) && check_lives(check, block);
}

static bool equal_at(struct sim_check *check, uint64_t block, uint32_t node)
{
    const struct sim_copy *copy = sim_copy_known(check, node, block);
    const struct sim_held *held = sim_held_known(check, node, block);
    bool is_held = copy != NULL && copy->view.mode != CF_MODE_N;

    if (is_held == (held != NULL) && (!is_held || (held->mode == copy->view.mode &&
                                                   held->tenure == copy->view.tenure && !held->is_pending)))
        return true;
    sim_check_break(
        check, block,
        "I-3 block %llu, all quiet: node %u holds %s tenure %llu, the directory says %s tenure %llu",
        ULL(block), node, is_held ? mode_name(copy->view.mode) : "N", ULL(is_held ? copy->view.tenure : 0),
        held != NULL ? mode_name(held->mode) : "N", ULL(held != NULL ? held->tenure : 0));
    return false;
}

static bool is_held(const struct sim_check *check, uint64_t block)
{
    for (uint32_t n = 0; n < check->options.nodes; n++) {
        const struct sim_copy *copy = sim_copy_known(check, n, block);

        if (copy != NULL && copy->view.mode != CF_MODE_N)
            return true;
    }
    return false;
}

bool sim_check_cold(struct sim_check *check)
{
    uint64_t expected = 0, known = 0;

    if (check->options
            .has_moves) /* summaries keep what has been given back of buckets that have gone since */
        return true;
    for (uint64_t b = 0; b < check->options.blocks; b++)
        expected += !check->ghosts[b].is_present && is_held(check, b);
    for (uint32_t n = 0; n < check->options.nodes; n++)
        known += eng_cold_count(check->options.instances[n]);
    if (known == expected)
        return true;
    sim_check_break(check, SIM_NO_BLOCK,
                    "G-14 all quiet: %llu blocks are held without an entry, the summaries know of %llu",
                    ULL(expected), ULL(known));
    return false;
}

bool sim_check_equal(struct sim_check *check)
{
    for (uint64_t b = 0; b < check->options.blocks; b++) {
        if (!check->ghosts[b].is_present && is_cold(check, b))
            continue;
        for (uint32_t n = 0; n < check->options.nodes; n++) {
            if (!equal_at(check, b, n))
                return false;
        }
    }
    return true;
}

bool sim_check_is_quiet(const struct sim_check *check, char *text, size_t text_bytes)
{
    for (uint64_t b = 0; b < check->options.blocks; b++) {
        const struct sim_ghost *ghost = &check->ghosts[b];

        if (ghost->is_present && (ghost->waiters > 0 || ghost->pending > 0 || ghost->is_rebuilt)) {
            snprintf(text, text_bytes, "block %llu: %u wait and %u grants are pending at its master%s",
                     ULL(b), ghost->waiters, ghost->pending, ghost->is_rebuilt ? ", in rebuild" : "");
            return false;
        }
        for (uint32_t n = 0; n < check->options.nodes; n++) {
            const struct sim_copy *copy = sim_copy_known(check, n, b);
            const struct eng_block_view *view = copy != NULL ? &copy->view : NULL;

            if (view == NULL || (view->wants == CF_MODE_N && view->release_tenure == 0 && !view->has_kept &&
                                 !view->is_writing))
                continue;
            snprintf(text, text_bytes, "block %llu: node %u wants %s, release %llu, kept %d, writing %d",
                     ULL(b), n, mode_name(view->wants), ULL(view->release_tenure), view->has_kept,
                     view->is_writing);
            return false;
        }
    }
    return true;
}

bool sim_check_is_durable(struct sim_check *check, char *text, size_t text_bytes)
{
    for (uint64_t b = 0; b < check->options.blocks; b++) {
        const struct sim_ghost *ghost = &check->ghosts[b];
        struct sim_content content = {0};
        const uint8_t *image = sim_disk_image(check->options.disk, b);

        if (sim_disk_version(check->options.disk, b) != ghost->version) {
            snprintf(text, text_bytes, "block %llu: storage has version %llu, the newest is %llu", ULL(b),
                     ULL(sim_disk_version(check->options.disk, b)), ULL(ghost->version));
            return false;
        }
        if (image != NULL &&
            (!sim_content_read(image + ENG_BLOCK_HEADER_BYTES,
                               check->options.block_bytes - ENG_BLOCK_HEADER_BYTES, b, &content) ||
             content.value != ghost->newest.value)) {
            snprintf(text, text_bytes, "block %llu: storage has value %llx, the newest is %llx", ULL(b),
                     ULL(content.value), ULL(ghost->newest.value));
            return false;
        }
        for (uint32_t n = 0; n < check->options.nodes; n++) {
            const struct sim_copy *copy = sim_copy_known(check, n, b);

            if (copy == NULL || !copy->view.has_past_image)
                continue;
            snprintf(text, text_bytes, "block %llu: node %u still has a past image of version %llu", ULL(b),
                     n, ULL(copy->view.past_version));
            return false;
        }
    }
    return true;
}

void sim_check_dump(const struct sim_check *check, uint64_t block, FILE *out)
{
    const struct sim_ghost *ghost = &check->ghosts[block];

    fprintf(out, "block %llu: newest version %llu value %llx, storage has version %llu\n", ULL(block),
            ULL(ghost->version), ULL(ghost->newest.value), ULL(sim_disk_version(check->options.disk, block)));
    for (uint32_t n = 0; n < check->options.nodes; n++) {
        const struct sim_copy *copy = sim_copy_known(check, n, block);
        const struct eng_block_view *v = copy != NULL ? &copy->view : NULL;

        if (v == NULL)
            continue;
        fprintf(out,
                "  node %u%s: %s tenure %llu version %llu durable %llu duty %d writing %d | past %llu | kept "
                "%llu of "
                "tenure %llu | wants %s request %llu granted %d tenure %llu | release %llu\n",
                n, check->is_gone[n] ? " (gone)" : "", mode_name(v->mode), ULL(v->tenure), ULL(v->version),
                ULL(v->durable), v->has_duty, v->is_writing, ULL(v->has_past_image ? v->past_version : 0),
                ULL(v->has_kept ? v->kept_version : 0), ULL(v->has_kept ? v->kept_tenure : 0),
                mode_name(v->wants), ULL(v->request), v->is_granted, ULL(v->granted_tenure),
                ULL(v->release_tenure));
    }
    if (!ghost->is_present) {
        fprintf(out, "  directory: no entry\n");
        return;
    }
    fprintf(out, "  directory at node %u: %u wait, %u past images\n", ghost->master, ghost->waiters,
            ghost->past_images);
    for (uint32_t n = 0; n < check->options.nodes; n++) {
        const struct sim_held *held = sim_held_known(check, n, block);

        if (held != NULL)
            fprintf(out, "    node %u: %s tenure %llu%s%s\n", n, mode_name(held->mode), ULL(held->tenure),
                    held->is_pending ? " pending" : "", held->has_duty ? " duty" : "");
    }
}
