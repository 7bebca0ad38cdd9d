/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Slots of files: taken under the lock of the control path, known to the owner of progress from publish to release. What a hit
 * needs of a file is kept here as well.
 */
#include <string.h>

#include "engine/format.h"
#include "engine/instance.h"
#include "engine/pool.h"

struct cf_file *eng_file_of_key(struct cf_instance *instance, const struct cf_block_key *key)
{
    uint32_t i;

    for (i = 0; i < instance->options.files; i++) {
        struct cf_file *file = &instance->files[i];

        if (file->in_use && file->id == key->file)
            return file;
    }
    return NULL;
}

void eng_file_hit_init(struct cf_file *file)
{
    file->hash = eng_lookup_file_hash(&file->instance->frames->lookup, file->id);
    file->hit_name = &file->instance->guard->hit_names[file->slot];
}

/* The name a hit looks up: none while a change of the file is under way. */
static void hit_name_set(struct cf_file *file)
{
    struct cf_block_key key;

    eng_key_of(file, ENG_SUPER_BLOCK + 1, &key);
    cf_poke_u64(file->hit_name,
                cf_peek_u32(&file->is_stopped) == ENG_FILE_OPEN ? eng_pool_key_name(&key) : 0);
    cf_fence_full(); /* partner: eng_stop_owner, which stops first and clears the names then */
    if (file->instance->guard->state != ENG_RUNS)
        cf_poke_u64(file->hit_name, 0);
}

void eng_file_generation_set(struct cf_file *file, uint32_t generation)
{
    atomic_store_explicit(&file->generation, generation, memory_order_relaxed);
    hit_name_set(file);
}

void eng_file_stop_set(struct cf_file *file, enum eng_file_stop stop)
{
    atomic_store_explicit(&file->is_stopped, stop, memory_order_release);
    hit_name_set(file);
}

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

/* Everything of the slot but in_use, which the owner looks at, and which is false while the slot is free. */
static void slot_init(struct cf_instance *instance, struct cf_file *file,
                      const struct cf_file_options *options)
{
    memset(file, 0, offsetof(struct cf_file, in_use));
    memset((uint8_t *)file + offsetof(struct cf_file, generation), 0,
           sizeof *file - offsetof(struct cf_file, generation));
    file->is_reserved = true;
    file->stop_from = CF_NODE_NONE;
    file->instance = instance;
    file->slot = (uint32_t)(file - instance->files);
    file->id = options->file_id;
    eng_file_hit_init(file);
    snprintf(file->path, sizeof file->path, "%s", options->path);
}

enum cf_rc eng_file_reserve(struct cf_session *session, const struct cf_file_options *options,
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
        slot_init(instance, free_slot, options);
        *file_out = free_slot;
    }
    pthread_mutex_unlock(&instance->lock);
    return rc;
}

void eng_file_publish(struct cf_instance *instance, struct cf_file *file)
{
    (void)eng_call_run(instance, publish, file);
}

void eng_file_release(struct cf_instance *instance, struct cf_file *file)
{
    (void)eng_call_run(instance, unpublish, file);
    if (file->store_file && !file->is_manual)
        instance->store->ops->close_file(instance->store, &file->store_file);
    pthread_mutex_lock(&instance->lock);
    file->is_reserved = false;
    pthread_mutex_unlock(&instance->lock);
}

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
    eng_file_generation_set(file, 1);
    atomic_init(&file->blocks, blocks);
    file->store_file = store_file;
    file->is_reserved = file->in_use = true;
    *file_out = file;
    return CF_OK;
}
