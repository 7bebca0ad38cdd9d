/* SPDX-License-Identifier: Apache-2.0 */
/* Files on one instance: attach, detach, what is known of them. */
#include <string.h>

#include "base/atomic.h"
#include "engine/format.h"
#include "engine/instance.h"
#include "engine/options.h"

void cf_file_options_init(struct cf_file_options *options)
{
    memset(options, 0, sizeof *options);
    options->size = sizeof *options;
}

static enum cf_rc class_check(struct cf_session *session, struct cf_file *file)
{
    uint32_t bytes = file->block_bytes;

    if (!eng_block_bytes_ok(bytes))
        return eng_fail(session, CF_BLOCK_SIZE, "block size %u is not a power of two from %u to %u", bytes,
                        CF_BLOCK_BYTES_MIN, CF_BLOCK_BYTES_MAX);
    file->class_index = (uint32_t)__builtin_ctz(bytes / CF_BLOCK_BYTES_MIN);
    if (session->instance->space.classes[file->class_index].count == 0)
        return eng_fail(session, CF_BLOCK_SIZE,
                        "the file has blocks of %u bytes: give the instance frames of that size (option %s)",
                        bytes, eng_options_cache_name(file->class_index));
    return CF_OK;
}

static enum cf_rc attach_native(struct cf_session *session, struct cf_file *file,
                                const struct cf_file_options *options)
{
    enum cf_rc rc = eng_super_look(session, file, options);

    if (rc == CF_OK)
        rc = class_check(session, file);
    if (rc == CF_OK)
        rc = session->instance->store->ops->open_file(
            session->instance->store, options->path, options->read_only, session->instance->options.direct_io,
            &file->store_file, &session->error);
    if (rc != CF_OK)
        return rc;
    eng_file_publish(session->instance, file);
    return eng_super_enter(session, file, options->accept_loss);
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
    eng_file_publish(instance, file);
    return CF_OK;
}

static enum cf_rc options_check(struct cf_session *session, const struct cf_file_options *options)
{
    if (options->path == NULL || options->path[0] == 0 || strlen(options->path) >= ENG_FILE_PATH_BYTES)
        return eng_fail(session, CF_INVALID, "path must have 1 to %u characters", ENG_FILE_PATH_BYTES - 1);
    if (options->file_id == 0)
        return eng_fail(session, CF_INVALID, "file_id must not be 0");
    if (options->format != CF_FORMAT_NATIVE && options->format != CF_FORMAT_FOREIGN)
        return eng_fail(session, CF_INVALID, "format must be CF_FORMAT_NATIVE or CF_FORMAT_FOREIGN");
    return CF_OK;
}

/* An attach that failed gives back what it has taken; the session's error stays the cause. */
static void attach_undo(struct cf_session *session, struct cf_file *file)
{
    struct cf_instance *instance = session->instance;
    struct cf_error cause = session->error;

    if (file->is_entered && eng_super_leave(session, file) != CF_OK)
        cf_log_warn(&instance->log, "engine",
                    "file %u: the attach failed and the superblock still names node %u", file->id,
                    instance->node);
    /* What is still under way uses the file: then the slot stays taken, and close gives it up. */
    if (eng_file_give_up(session, file) == CF_OK || eng_state(instance) != CF_OK)
        eng_file_release(instance, file);
    else
        cf_log_warn(&instance->log, "engine", "file %u: the attach failed and its blocks are still under way",
                    file->id);
    session->error = cause;
}

enum cf_rc cf_attach(struct cf_session *session, const struct cf_file_options *given,
                     struct cf_file **file_out)
{
    struct cf_instance *instance = session->instance;
    struct cf_file_options options;
    struct cf_file *file = NULL;
    enum cf_rc rc = eng_enter(instance);

    if (rc != CF_OK)
        return eng_fail(session, rc, "%s", cf_rc_text(rc));
    if (instance->is_manual)
        return CF_UNSUPPORTED;
    cf_file_options_init(&options);
    memcpy(&options, given, given->size < sizeof options ? given->size : sizeof options);
    rc = options_check(session, &options);
    if (rc == CF_OK)
        rc = eng_file_reserve(session, &options, &file);
    if (rc != CF_OK)
        return rc;
    file->format = options.format;
    file->read_only = options.read_only;
    rc = options.format == CF_FORMAT_NATIVE ? attach_native(session, file, &options)
                                            : attach_foreign(session, file, &options);
    if (rc != CF_OK) {
        attach_undo(session, file);
        return rc;
    }
    cf_log_info(&instance->log, "engine", "attached file %u: %s, %llu blocks of %u bytes", file->id,
                file->path, (unsigned long long)cf_peek_u64(&file->blocks), file->block_bytes);
    *file_out = file;
    return CF_OK;
}

/*
 * Writes and gives up the data first, then takes this instance out of the superblock: whoever is in the way is met
 * before anything is taken away, and a superblock without this instance means that all it changed is durable.
 */
static enum cf_rc leave_file(struct cf_session *session, struct cf_file *file)
{
    enum cf_rc rc = eng_file_give_up_data(session, file);

    if (rc == CF_OK && file->is_entered && cf_peek_u32(&file->is_stopped) != ENG_FILE_DROPPED)
        rc = eng_super_leave(session, file);
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
    eng_file_release(instance, file);
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
        rc = eng_super_leave(session, file);
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

enum cf_rc cf_file_info(struct cf_session *session, struct cf_file *file, struct cf_file_info *info_out)
{
    enum cf_rc rc = eng_enter(session->instance);
    struct cf_file_info info;

    if (rc != CF_OK)
        return eng_fail(session, rc, "%s", cf_rc_text(rc));
    rc = eng_file_refresh(session, file, eng_call_deadline(session->instance));
    if (rc != CF_OK)
        return rc;
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
