/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files on one instance: attach, detach, length. The superblock of a native file is a block of the protocol: read in
 * S, changed in X, so that all instances agree on length, generation and on who has the file open.
 *
 * Unclean. Who attaches for writing enters itself into the superblock and makes that durable before the call returns;
 * who detaches takes itself out after its last write. A superblock that names members of another view was left by a
 * cluster that died: it is refused, unless the caller accepts the loss.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "engine/format.h"
#include "engine/instance.h"
#include "engine/pool.h"

void cf_file_options_init(struct cf_file_options *options)
{
    memset(options, 0, sizeof *options);
    options->size = sizeof *options;
}

static uint64_t call_deadline(const struct cf_instance *instance)
{
    return cf_now_ns() + instance->options.call_timeout;
}

/* ------------------------------------------------------------------ slots */

static void publish(struct cf_instance *instance, void *arg, uint64_t now_ns)
{
    struct cf_file *file = arg;

    (void)instance;
    (void)now_ns;
    file->in_use = true;
}

static void unpublish(struct cf_instance *instance, void *arg, uint64_t now_ns)
{
    struct cf_file *file = arg;

    (void)now_ns;
    eng_file_unstop_owner(instance, file);
    file->in_use = false;
}

/* A free slot, reserved by its id; NULL when there is none. Ids and paths are unique on an instance. */
static enum cf_rc slot_reserve(struct cf_session *session, const struct cf_file_options *options,
                               struct cf_file **file_out)
{
    struct cf_instance *instance = session->instance;
    struct cf_file *free_slot = NULL;
    enum cf_rc rc = CF_OK;
    uint32_t i;

    pthread_mutex_lock(&instance->lock);
    for (i = 0; i < instance->options.files && rc == CF_OK; i++) {
        struct cf_file *file = &instance->files[i];

        if (!file->is_reserved) {
            if (free_slot == NULL)
                free_slot = file;
        } else if (file->id == options->file_id) {
            rc = eng_fail(session, CF_INVALID, "file id %u is attached already", options->file_id);
        } else if (strcmp(file->path, options->path) == 0) {
            rc = eng_fail(session, CF_INVALID, "%s is attached already", options->path);
        }
    }
    if (rc == CF_OK && free_slot == NULL)
        rc = eng_fail(session, CF_AGAIN, "%llu files are attached already (option files)",
                      (unsigned long long)instance->options.files);
    if (rc == CF_OK) {
        /* All but in_use, which the owner looks at, and which is false while the slot is free. */
        memset(free_slot, 0, offsetof(struct cf_file, in_use));
        memset((uint8_t *)free_slot + offsetof(struct cf_file, generation), 0,
               sizeof *free_slot - offsetof(struct cf_file, generation));
        free_slot->is_reserved = true;
        free_slot->stop_from = CF_NODE_NONE;
        free_slot->instance = instance;
        free_slot->slot = (uint32_t)(free_slot - instance->files);
        free_slot->id = options->file_id;
        eng_file_hit_init(free_slot);
        free_slot->stop_from = CF_NODE_NONE;
        snprintf(free_slot->path, sizeof free_slot->path, "%s", options->path);
        *file_out = free_slot;
    }
    pthread_mutex_unlock(&instance->lock);
    return rc;
}

static void slot_release(struct cf_instance *instance, struct cf_file *file)
{
    (void)eng_call_run(instance, unpublish, file);
    if (file->store_file && !file->is_manual)
        instance->store->ops->close_file(instance->store, &file->store_file);
    pthread_mutex_lock(&instance->lock);
    file->is_reserved = false;
    pthread_mutex_unlock(&instance->lock);
}

/* ------------------------------------------------------------------ attach */

static enum cf_rc class_check(struct cf_session *session, struct cf_file *file)
{
    static const char *const names[CF_BLOCK_SIZES] = {"cache_2k_bytes", "cache_4k_bytes", "cache_bytes",
                                                      "cache_16k_bytes", "cache_32k_bytes"};
    uint32_t bytes = file->block_bytes;

    if (bytes < CF_BLOCK_BYTES_MIN || bytes > CF_BLOCK_BYTES_MAX || (bytes & (bytes - 1)) != 0)
        return eng_fail(session, CF_BLOCK_SIZE, "block size %u is not a power of two from %u to %u", bytes,
                        CF_BLOCK_BYTES_MIN, CF_BLOCK_BYTES_MAX);
    file->class_index = (uint32_t)__builtin_ctz(bytes / CF_BLOCK_BYTES_MIN);
    if (session->instance->space.classes[file->class_index].count == 0)
        return eng_fail(session, CF_BLOCK_SIZE,
                        "the file has blocks of %u bytes: give the instance frames of that size (option %s)",
                        bytes, names[file->class_index]);
    return CF_OK;
}

/* Block size and id stand in the file, and never change: a plain look at its first bytes. */
static enum cf_rc native_probe(struct cf_session *session, struct cf_file *file,
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
    close(fd);
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

/* Enters this instance into the superblock, in X and durably. */
static enum cf_rc super_enter(struct cf_session *session, struct cf_file *file, bool accept_loss)
{
    struct cf_instance *instance = session->instance;
    uint64_t deadline = call_deadline(instance);
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
    if (!file->read_only) {
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
        rc = cf_dirty(session, &ref, 0);
    }
    cf_put(session, &ref);
    return rc == CF_OK && !file->read_only ? cf_flush(session, file, deadline) : rc;
}

static enum cf_rc super_leave(struct cf_session *session, struct cf_file *file)
{
    struct cf_instance *instance = session->instance;
    uint64_t deadline = call_deadline(instance);
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

static enum cf_rc attach_native(struct cf_session *session, struct cf_file *file,
                                const struct cf_file_options *options)
{
    enum cf_rc rc = class_check(session, file);

    if (rc == CF_OK)
        rc = session->instance->store->ops->open_file(
            session->instance->store, options->path, options->read_only, session->instance->options.direct_io,
            &file->store_file, &session->error);
    if (rc != CF_OK)
        return rc;
    (void)eng_call_run(session->instance, publish, file);
    return super_enter(session, file, options->accept_loss);
}

static enum cf_rc attach_foreign(struct cf_session *session, struct cf_file *file,
                                 const struct cf_file_options *options)
{
    struct cf_instance *instance = session->instance;
    struct eng_store_file_info info;
    enum cf_rc rc;

    file->block_bytes = options->block_bytes ? options->block_bytes : CF_BLOCK_BYTES_DEFAULT;
    file->data_bytes = file->block_bytes;
    if (options->foreign)
        memcpy(&file->foreign, options->foreign,
               options->foreign->size < sizeof file->foreign ? options->foreign->size : sizeof file->foreign);
    if (!options->read_only && (file->foreign.version_get == NULL || file->foreign.version_set == NULL))
        return eng_fail(session, CF_READ_ONLY,
                        "a foreign file is written only with version_get and version_set");
    rc = class_check(session, file);
    if (rc == CF_OK)
        rc = instance->store->ops->open_file(instance->store, options->path, options->read_only,
                                             instance->options.direct_io, &file->store_file, &session->error);
    if (rc == CF_OK)
        rc = instance->store->ops->file_info(instance->store, file->store_file, &info);
    if (rc != CF_OK)
        return rc;
    file->bytes = info.bytes;
    eng_file_generation_set(file, 1);
    atomic_store_explicit(&file->blocks, (info.bytes + file->block_bytes - 1) / file->block_bytes,
                          memory_order_relaxed);
    (void)eng_call_run(instance, publish, file);
    return CF_OK;
}

enum cf_rc cf_attach(struct cf_session *session, const struct cf_file_options *given,
                     struct cf_file **file_out)
{
    struct cf_instance *instance = session->instance;
    struct cf_file_options options;
    struct cf_file *file = NULL;
    struct cf_error kept;
    enum cf_rc rc = eng_enter(instance);

    if (rc != CF_OK)
        return eng_fail(session, rc, "%s", cf_rc_text(rc));
    if (instance->is_manual)
        return CF_UNSUPPORTED;
    cf_file_options_init(&options);
    memcpy(&options, given, given->size < sizeof options ? given->size : sizeof options);
    if (options.path == NULL || options.path[0] == 0 || strlen(options.path) >= sizeof file->path)
        return eng_fail(session, CF_INVALID, "path must have 1 to %zu characters", sizeof file->path - 1);
    if (options.file_id == 0)
        return eng_fail(session, CF_INVALID, "file_id must not be 0");
    if (options.format != CF_FORMAT_NATIVE && options.format != CF_FORMAT_FOREIGN)
        return eng_fail(session, CF_INVALID, "format must be CF_FORMAT_NATIVE or CF_FORMAT_FOREIGN");
    rc = slot_reserve(session, &options, &file);
    if (rc != CF_OK)
        return rc;
    file->format = options.format;
    file->read_only = options.read_only;
    rc = options.format == CF_FORMAT_NATIVE ? native_probe(session, file, &options) : CF_OK;
    if (rc == CF_OK)
        rc = options.format == CF_FORMAT_NATIVE ? attach_native(session, file, &options)
                                                : attach_foreign(session, file, &options);
    if (rc == CF_OK) {
        cf_log_info(&instance->log, "engine", "attached file %u: %s, %llu blocks of %u bytes", file->id,
                    file->path, (unsigned long long)cf_peek_u64(&file->blocks), file->block_bytes);
        *file_out = file;
        return CF_OK;
    }
    kept = session->error; /* giving the slot back must not cover up the cause */
    if (file->is_entered)
        (void)super_leave(session, file);
    /* What is still under way uses the file: then the slot stays taken, and close gives it up. */
    if (eng_file_give_up(session, file) == CF_OK || eng_state(instance) != CF_OK)
        slot_release(instance, file);
    else
        cf_log_warn(&instance->log, "engine", "file %u: the attach failed and its blocks are still under way",
                    file->id);
    session->error = kept;
    return rc;
}

/* ------------------------------------------------------------------ detach */

/*
 * Writes and gives up the data first, then takes this instance out of the superblock: whoever is in the way is met
 * before anything is taken away, and a superblock without this instance means that all it changed is durable.
 */
static enum cf_rc leave_file(struct cf_session *session, struct cf_file *file)
{
    enum cf_rc rc = eng_file_give_up_data(session, file);

    if (rc == CF_OK && file->is_entered && cf_peek_u32(&file->is_stopped) != ENG_FILE_DROPPED)
        rc = super_leave(session, file);
    return rc == CF_OK ? eng_file_give_up(session, file) : rc;
}

enum cf_rc cf_detach(struct cf_session *session, struct cf_file **file_io)
{
    struct cf_file *file = *file_io;
    struct cf_instance *instance = session->instance;
    enum cf_rc rc = eng_enter(instance);

    if (rc == CF_INVALID || rc == CF_FORKED || file == NULL)
        return rc;
    if (instance->is_manual)
        return CF_UNSUPPORTED;
    if (rc == CF_OK)
        rc = leave_file(session, file);
    else
        rc = eng_fail(session, rc, "%s", cf_rc_text(rc));
    if (cf_rc_class(rc) == CF_CLASS_RETRY)
        return rc; /* it stays attached: the caller may detach it again */
    slot_release(instance, file);
    *file_io = NULL;
    return rc;
}

/*
 * Of an instance that closes: as a detach, but the copies stay and serve the others until all have left. Nobody has a
 * session any more, so that what is clean stays clean.
 */
static enum cf_rc close_file(struct cf_session *session, struct cf_file *file)
{
    enum cf_rc rc = eng_file_settle(session, file);

    if (rc == CF_OK && file->is_entered && cf_peek_u32(&file->is_stopped) != ENG_FILE_DROPPED)
        rc = super_leave(session, file);
    return rc;
}

enum cf_rc eng_files_close_all(struct cf_session *session)
{
    struct cf_instance *instance = session->instance;
    enum cf_rc first = CF_OK, rc;
    uint32_t i;

    for (i = 0; i < instance->options.files; i++) {
        struct cf_file *file = &instance->files[i];

        if (!file->is_reserved)
            continue;
        rc = close_file(session, file);
        if (rc != CF_OK)
            cf_log_warn(&instance->log, "engine", "file %u: %s", instance->files[i].id,
                        cf_session_error(session)->text);
        if (first == CF_OK)
            first = rc;
    }
    return first;
}

/* ------------------------------------------------------------------ length */

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

enum cf_rc cf_file_info(struct cf_session *session, struct cf_file *file, struct cf_file_info *info_out)
{
    enum cf_rc rc = eng_enter(session->instance);
    struct cf_file_info info;

    if (rc == CF_OK)
        rc = eng_file_refresh(session, file, call_deadline(session->instance));
    if (rc != CF_OK)
        return eng_fail(session, rc, "%s", cf_rc_text(rc));
    memset(&info, 0, sizeof info);
    info.size = info_out->size;
    info.file_id = file->id;
    info.generation = cf_peek_u32(&file->generation);
    info.block_bytes = file->block_bytes;
    info.data_bytes = file->block_bytes - file->header_bytes;
    info.blocks = cf_peek_u64(&file->blocks);
    info.bytes = file->format == CF_FORMAT_FOREIGN ? file->bytes : (info.blocks + 1) * file->block_bytes;
    info.format = file->format;
    info.read_only = file->read_only;
    memcpy(info_out, &info, info.size < sizeof info ? info.size : sizeof info);
    return CF_OK;
}

enum cf_rc cf_extend(struct cf_session *session, struct cf_file *file, uint64_t blocks)
{
    struct cf_instance *instance = session->instance;
    uint64_t deadline = call_deadline(instance);
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

/* ------------------------------------------------------------------ by hand */

enum cf_rc eng_attach_manual(struct cf_instance *instance, uint32_t file_id, uint32_t block_bytes,
                             uint64_t blocks, struct eng_store_file *store_file, struct cf_file **file_out)
{
    struct cf_file *file = NULL;
    uint32_t i;

    for (i = 0; i < instance->options.files && file == NULL; i++)
        if (!instance->files[i].is_reserved)
            file = &instance->files[i];
    if (file == NULL)
        return CF_AGAIN;
    memset(file, 0, sizeof *file);
    file->instance = instance;
    file->slot = (uint32_t)(file - instance->files);
    file->id = file_id;
    eng_file_hit_init(file);
    file->block_bytes = block_bytes;
    file->class_index = (uint32_t)__builtin_ctz(block_bytes / CF_BLOCK_BYTES_MIN);
    file->header_bytes = ENG_BLOCK_HEADER_BYTES;
    file->data_bytes = file->block_bytes - file->header_bytes;
    file->format = CF_FORMAT_NATIVE;
    file->is_manual = true;
    file->stop_from = CF_NODE_NONE;
    file->stop_from = CF_NODE_NONE;
    eng_file_generation_set(file, 1);
    atomic_init(&file->blocks, blocks);
    file->store_file = store_file;
    file->is_reserved = file->in_use = true;
    *file_out = file;
    return CF_OK;
}
