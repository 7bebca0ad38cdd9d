/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The superblock of a native file is a block of the protocol: read in S, changed in X, so that all instances agree on
 * length, generation and on who has the file open.
 *
 * Unclean. Who attaches for writing enters itself into the superblock and makes that durable before the call returns;
 * who detaches takes itself out after its last write. A superblock that names members of another view was left by a
 * cluster that died: it is refused, unless the caller accepts the loss.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "engine/format.h"
#include "engine/instance.h"

enum cf_rc eng_super_look(struct cf_session *session, struct cf_file *file,
                          const struct cf_file_options *options)
{
    _Alignas(struct eng_super) uint8_t first[CF_BLOCK_BYTES_MIN];
    int fd = open(options->path, O_RDONLY | O_CLOEXEC);
    uint32_t block_bytes;
    ssize_t got;
    enum cf_rc rc;

    if (fd < 0)
        return eng_fail(session, errno == ENOENT ? CF_NOT_FOUND : CF_IO, "opening %.150s: %s", options->path,
                        strerror(errno));
    got = pread(fd, first, sizeof first, 0);
    rc = got >= 0 ? CF_OK : eng_fail(session, CF_IO, "reading %.150s: %s", options->path, strerror(errno));
    close(fd);
    if (rc != CF_OK)
        return rc;
    if (got != (ssize_t)sizeof first)
        return eng_fail(session, CF_FORMAT, "%.150s is too short to be a data file", options->path);
    rc = eng_super_probe(first, sizeof first, &block_bytes, &session->error);
    if (rc != CF_OK)
        return rc;
    if (eng_super_of(first)->file_id != options->file_id)
        return eng_fail(session, CF_INVALID, "%.120s has file id %u, %u was given", options->path,
                        eng_super_of(first)->file_id, options->file_id);
    if (options->block_bytes != 0 && options->block_bytes != block_bytes)
        return eng_fail(session, CF_BLOCK_SIZE, "%.150s has blocks of %u bytes, %u was asked for",
                        options->path, block_bytes, options->block_bytes);
    file->block_bytes = block_bytes;
    file->header_bytes = ENG_BLOCK_HEADER_BYTES;
    file->data_bytes = file->block_bytes - file->header_bytes;
    return CF_OK;
}

static struct eng_super *super_of(const struct cf_ref *ref)
{
    return ref->data; /* a native block's data begins behind its header */
}

static enum cf_rc super_check(struct cf_session *session, const struct cf_file *file,
                              const struct eng_super *super, bool accept_loss)
{
    const struct cf_instance *instance = session->instance;

    if (super->magic != ENG_SUPER_MAGIC || super->block_bytes != file->block_bytes)
        return eng_fail(session, CF_FORMAT, "%.150s has no superblock of ours", file->path);
    if (super->cluster[0] != 0 &&
        strncmp((const char *)super->cluster, instance->options.cluster, sizeof super->cluster - 1) != 0)
        return eng_fail(session, CF_CLUSTER, "%.120s belongs to cluster %.63s", file->path,
                        (const char *)super->cluster);
    if (super->dropped)
        return eng_fail(session, CF_STALE, "%.150s was dropped", file->path);
    if (super->attached != 0 && super->view != instance->view && !accept_loss)
        return eng_fail(session, CF_UNCLEAN,
                        "%.120s was not closed cleanly by %u instances: their last changes may be lost",
                        file->path, super->attached);
    return CF_OK;
}

static uint8_t own_bit(const struct cf_instance *instance)
{
    return (uint8_t)(1u << (instance->node % 8));
}

/* With the superblock in X. */
static enum cf_rc own_bit_set(struct cf_session *session, struct cf_file *file, struct cf_ref *ref)
{
    struct cf_instance *instance = session->instance;
    struct eng_super *super = super_of(ref);

    if (super->attached != 0 && super->view != instance->view) {
        cf_log_warn(&instance->log, "engine", "%s: the changes of %u instances that died may be lost",
                    file->path, super->attached);
        super->losses++;
        super->attached = 0;
        memset(super->attached_map, 0, sizeof super->attached_map);
    }
    super->view = instance->view;
    if (!(super->attached_map[instance->node / 8] & own_bit(instance)))
        super->attached++;
    super->attached_map[instance->node / 8] |= own_bit(instance);
    file->is_entered = true;
    snprintf((char *)super->cluster, sizeof super->cluster, "%.63s", instance->options.cluster);
    return cf_dirty(session, ref, 0);
}

enum cf_rc eng_super_enter(struct cf_session *session, struct cf_file *file, bool accept_loss)
{
    struct cf_instance *instance = session->instance;
    uint64_t deadline = eng_call_deadline(instance);
    struct eng_super *super;
    struct cf_ref ref;
    enum cf_rc rc = eng_get(session, file, ENG_SUPER_BLOCK, file->read_only ? CF_MODE_S : CF_MODE_X, 0,
                            deadline, &ref);

    if (rc != CF_OK)
        return rc;
    super = super_of(&ref);
    rc = super_check(session, file, super, accept_loss && !file->read_only);
    if (rc != CF_OK) {
        cf_put(session, &ref);
        return rc;
    }
    eng_scn_raise(instance, super->scn);
    eng_file_generation_set(file, super->generation);
    atomic_store_explicit(&file->blocks, super->blocks, memory_order_relaxed);
    if (!file->read_only)
        rc = own_bit_set(session, file, &ref);
    cf_put(session, &ref);
    return rc == CF_OK && !file->read_only ? cf_flush(session, file, deadline) : rc;
}

enum cf_rc eng_super_leave(struct cf_session *session, struct cf_file *file)
{
    struct cf_instance *instance = session->instance;
    uint64_t deadline = eng_call_deadline(instance);
    struct eng_super *super;
    struct cf_ref ref;
    enum cf_rc rc = eng_get(session, file, ENG_SUPER_BLOCK, CF_MODE_X, 0, deadline, &ref);

    if (rc != CF_OK)
        return rc;
    super = super_of(&ref);
    if (super->attached > 0 && super->view == instance->view &&
        (super->attached_map[instance->node / 8] & own_bit(instance))) {
        super->attached_map[instance->node / 8] &= (uint8_t)~own_bit(instance);
        super->attached--;
    }
    rc = cf_dirty(session, &ref, 0);
    if (rc == CF_OK && super->scn < ref.version)
        super->scn = ref.version;
    cf_put(session, &ref);
    if (rc == CF_OK)
        rc = cf_flush(session, file, deadline);
    if (rc == CF_OK)
        file->is_entered = false;
    return rc;
}

enum cf_rc eng_file_refresh(struct cf_session *session, struct cf_file *file, uint64_t deadline_ns)
{
    struct cf_ref ref;
    enum cf_rc rc;

    if (file->format != CF_FORMAT_NATIVE || file->is_manual)
        return CF_OK;
    rc = eng_get(session, file, ENG_SUPER_BLOCK, CF_MODE_S, 0, deadline_ns, &ref);
    if (rc != CF_OK)
        return rc;
    atomic_store_explicit(&file->blocks, super_of(&ref)->blocks, memory_order_relaxed);
    cf_put(session, &ref);
    return CF_OK;
}

enum cf_rc cf_extend(struct cf_session *session, struct cf_file *file, uint64_t blocks)
{
    struct cf_instance *instance = session->instance;
    uint64_t deadline = eng_call_deadline(instance);
    struct eng_super *super;
    struct cf_ref ref;
    enum cf_rc rc = eng_enter(instance);

    if (rc != CF_OK)
        return eng_fail(session, rc, "%s", cf_rc_text(rc));
    if (file->read_only || file->format != CF_FORMAT_NATIVE)
        return eng_fail(session, CF_READ_ONLY, "only a native file attached for writing can be extended");
    if (blocks >= UINT64_MAX / CF_BLOCK_BYTES_MAX - 1)
        return eng_fail(session, CF_INVALID, "%llu blocks are more than a file can have",
                        (unsigned long long)blocks);
    rc = eng_get(session, file, ENG_SUPER_BLOCK, CF_MODE_X, 0, deadline, &ref);
    if (rc != CF_OK)
        return rc;
    super = super_of(&ref);
    if (super->dropped) {
        rc = eng_fail(session, CF_STALE, "file %u was dropped", file->id);
    } else if (blocks > super->blocks) {
        rc = instance->store->ops->resize(instance->store, file->store_file, (blocks + 1) * file->block_bytes,
                                          &session->error);
        if (rc == CF_OK)
            rc = cf_dirty(session, &ref, 0);
        if (rc == CF_OK)
            super->blocks = blocks;
    }
    if (rc == CF_OK)
        atomic_store_explicit(&file->blocks, super->blocks, memory_order_relaxed);
    cf_put(session, &ref);
    return rc == CF_OK ? cf_flush(session, file, deadline) : rc;
}
