/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_OPEN_H
#define ENGINE_OPEN_H

/* What open.c, open_transport.c, open_memory.c and close.c know of each other. */
#include "engine/instance.h"

#define ENG_TRACE_RECORDS 4096u
#define ENG_HISTS 4u

/* open_memory.c. Frames of each size that the options ask for, and their sum. */
uint64_t eng_open_frames_of(const struct cf_options *options, uint32_t count_out[CF_BLOCK_SIZES]);
uint64_t eng_open_past_images_of(const struct cf_options *options, uint64_t frames);
/* Bytes before the first frame, whole pages: a word for each. */
uint64_t eng_open_words_bytes_of(uint64_t frames);
/* Zeroed; CF_MEMORY says in *error what it was for. */
CF_CHECK enum cf_rc eng_open_take(const struct cf_instance *instance, void **memory_out, uint64_t bytes,
                                  const char *what, struct cf_error *error);
CF_CHECK enum cf_rc eng_open_frames(struct cf_instance *instance, const uint32_t count[CF_BLOCK_SIZES],
                                    uint64_t frames, struct cf_error *error);
CF_CHECK enum cf_rc eng_open_directory(struct cf_instance *instance, uint64_t frames,
                                       const struct eng_manual *manual, uint64_t now_ns,
                                       struct cf_error *error);
CF_CHECK enum cf_rc eng_open_local(struct cf_instance *instance, uint64_t frames, uint64_t now_ns,
                                   struct cf_error *error);
/* After frames and local. */
CF_CHECK enum cf_rc eng_open_pools(struct cf_instance *instance, struct cf_error *error);

/* open_transport.c. `network`: the sim: provider's, of an instance that is driven by hand. */
CF_CHECK enum cf_rc eng_open_transport(struct cf_instance *instance, uint64_t frames, void *network,
                                       struct cf_error *error);
/* After all else: from here on peers connect, and read what is in the space. */
CF_CHECK enum cf_rc eng_open_transport_start(struct cf_instance *instance,
                                             const uint32_t count[CF_BLOCK_SIZES], struct cf_error *error);

/* Bytes of the pages that a forked child finds empty. */
static inline size_t eng_guard_bytes(const struct cf_instance *instance)
{
    return sizeof(struct eng_guard) + instance->options.files * sizeof(uint64_t);
}

/* close.c. Gives back all that has been taken, however far opening came. */
void eng_instance_free(struct cf_instance *instance);
/* Waits under progress until something is true of the instance; false: timeout_ns is over. */
bool eng_instance_wait(struct cf_instance *instance, bool (*is_done)(void *), uint64_t timeout_ns);

#endif
