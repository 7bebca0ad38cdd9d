/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H

/*
 * The engine as the simulator and the checkers see it: an instance without threads, driven turn by turn under a
 * clock of the caller's, and views of its state. Production code uses <cachefusion/cachefusion.h> only; the
 * objects are the same.
 */
#include <cachefusion/cachefusion.h>

#include "engine/store.h"

struct eng_manual {
    void *network;           /* struct sim_net *, given to the sim: provider */
    struct eng_store *store; /* the simulator's storage; the caller keeps it */
    uint64_t now_ns;         /* time at open */
    /* Entries a shard, for tests of giving back: fewer than conversations may need at once; 0 = as the options say. */
    uint32_t directory_entries;
    uint32_t export_window; /* of a bucket that goes; 0 = as in earnest */
    /* Asked before a wait for a lock ends as the victim of a deadlock; false spares it. NULL: each ends. */
    bool (*victim)(void *victim_context, const struct cf_op *op);
    void *victim_context;
};

/*
 * Opens an instance that runs only inside eng_turn. Returns at once: the members connect in the turns that
 * follow. cf_submit, cf_poll, cf_cancel, cf_put, cf_dirty, cf_mtr_*, cf_session_* work as usual; cf_poll does not drive; calls that
 * wait (cf_get on a miss, cf_wait, cf_attach ..) answer CF_UNSUPPORTED. Free with eng_close_manual: at once, like a crash.
 */
CF_CHECK enum cf_rc eng_open_manual(const struct cf_options *options, const struct cf_callbacks *callbacks,
                                    const struct eng_manual *manual, struct cf_instance **instance_out,
                                    struct cf_error *error);
void eng_close_manual(struct cf_instance **instance);
/* One turn of every role: arrivals, ops, storage, timers. True when it did something. */
bool eng_turn(struct cf_instance *instance, uint64_t now_ns);
/* The earliest time at which a turn has work without an arrival or a submit; UINT64_MAX = none. */
uint64_t eng_next_ns(const struct cf_instance *instance);
/* All members are connected and calls are served. */
bool eng_is_open(const struct cf_instance *instance);
/* A file whose length and generation are given, without a superblock. */
CF_CHECK enum cf_rc eng_attach_manual(struct cf_instance *instance, uint32_t file_id, uint32_t block_bytes,
                                      uint64_t blocks, struct eng_store_file *store_file,
                                      struct cf_file **file_out);

/* ---- views, for checkers; owner of progress only ---- */
struct eng_block_view {
    struct cf_block_key key;
    enum cf_mode mode; /* protocol mode of the copy */
    uint64_t tenure, version, durable;
    bool has_duty, is_writing, has_past_image, has_kept;
    uint64_t past_version, kept_tenure, kept_version;
    enum cf_mode wants; /* open conversation, N = none */
    uint64_t request, granted_tenure;
    bool is_granted;
    uint64_t release_tenure; /* not yet acknowledged, 0 = none */
    const void *data;        /* bytes of the copy, NULL = none */
    const void *past_data;
};
void eng_each_block(struct cf_instance *instance, void (*each)(void *arg, const struct eng_block_view *view),
                    void *arg);

struct eng_holder_view {
    uint16_t node;
    enum cf_mode mode;
    bool is_pending, has_duty;
    uint64_t tenure;
};
struct eng_entry_view {
    struct cf_block_key key;
    uint64_t last_tenure, version, durable;
    uint32_t holders, waiters, past_images;
    bool is_rebuilt;                      /* it is being put together from what holders say */
    const struct eng_holder_view *holder; /* [holders] */
};
void eng_each_entry(struct cf_instance *instance, void (*each)(void *arg, const struct eng_entry_view *view),
                    void *arg);
/* May the entry have been given back to holders? Never a false "no" (G-14). */
bool eng_is_cold(const struct cf_instance *instance, const struct cf_block_key *key);
/* Entries given back at the moment. */
uint64_t eng_cold_count(const struct cf_instance *instance);
/* Moves of buckets (docs/remaster.md). */
uint32_t eng_bucket_of(const struct cf_instance *instance, const struct cf_block_key *key);
/* As cf_remaster, under progress: begins a move and does not wait for it. */
CF_CHECK enum cf_rc eng_remaster(struct cf_instance *instance, uint32_t bucket, uint16_t to, uint64_t now_ns);
/* Does this instance serve the bucket's blocks now? At most one does (I-10). */
bool eng_serves(const struct cf_instance *instance, uint32_t bucket);
/* How often the bucket has been moved, as this instance has heard. */
uint32_t eng_bucket_number(const struct cf_instance *instance, uint32_t bucket);
/* Are the block's entries on their way to or from this instance? */
bool eng_is_moving(const struct cf_instance *instance, const struct cf_block_key *key);
/* Is no bucket on its way to or from this instance? */
bool eng_moves_are_quiet(const struct cf_instance *instance);
/* Which node masters the block in the instance's epoch (I-10), as far as it has heard. */
uint16_t eng_master_of(const struct cf_instance *instance, const struct cf_block_key *key);
/* Pools in use beyond what held blocks explain: 0 when quiet (I-28). `text` says which. */
uint64_t eng_leaks(struct cf_instance *instance, char *text, size_t text_bytes);
/* Conversations in S that lost their grant to a writer a second time: 0 (G-17). */
uint64_t eng_refused_twice(const struct cf_instance *instance);
void eng_dump(struct cf_instance *instance, void (*sink)(void *arg, const char *text, size_t bytes),
              void *arg);

#endif
