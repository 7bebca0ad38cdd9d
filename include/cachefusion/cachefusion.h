/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CACHEFUSION_CACHEFUSION_H
#define CACHEFUSION_CACHEFUSION_H

/*
 * libcachefusion: the buffer caches of several database instances, made one.
 *
 *   instance   cf_open .. cf_close        one member of the cluster; several may live in one process
 *   session    cf_session_open .. close   one thread's way in; never shared between two threads at a time
 *   file       cf_attach .. cf_detach     a database file, opened by all instances under one id
 *   block      cf_get .. cf_put           held in S or X between the two; data is valid only in between
 *
 * Thread rules: a function that takes a session may be called only by the thread that uses that session at
 * the moment; everything else may be called by any thread. No function may be called from a callback unless
 * its text says so. After fork() the child may call nothing but exec: every call answers CF_FORKED.
 * Strings and structs given to a call are copied before it returns unless its text says otherwise.
 */
#include <cachefusion/export.h>
#include <cachefusion/lock.h>
#include <cachefusion/options.h>
#include <cachefusion/stats.h>
#include <cachefusion/status.h>
#include <cachefusion/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CF_VERSION_MAJOR 0
#define CF_VERSION_MINOR 1
#define CF_VERSION_PATCH 0

/* "0.1.0". */
CF_API const char *cf_version(void);
/* Rises when a public struct or a call changes incompatibly; compare with CF_ABI at start. */
#define CF_ABI 2u
CF_API uint32_t cf_abi_version(void);

/* ---------------------------------------------------------------- callbacks of a database kernel */

/*
 * What a database with its own log plugs in. Set size to sizeof(struct cf_callbacks); a member may be NULL.
 * Callbacks run on the engine's progress thread (a poller, or a client that waits), which holds nothing; they
 * must not block and must not call back into the engine, except cf_log_durable() and cf_callback_done().
 * A callback with a ticket may answer CF_PENDING and call cf_callback_done(ticket) later from any thread.
 */
struct cf_callbacks {
    size_t size;
    void *context;
    /* Before a block goes to storage or another instance: make the redo durable up to `position`.
     * CF_OK = it is; CF_PENDING = later, say so by cf_log_durable(). */
    enum cf_rc (*log_ensure)(void *context, uint64_t position);
    /* Before a dirty image is written to storage; may change the image (a private copy). */
    enum cf_rc (*before_write)(void *context, const struct cf_block_key *key, void *image, uint32_t bytes,
                               uint64_t ticket);
    /* A block arrived from another instance or from storage and is about to become visible. */
    void (*arrived)(void *context, const struct cf_block_key *key, const void *image, uint32_t bytes);
    /* The copy is about to be given up because another instance wants it. */
    void (*before_invalidate)(void *context, const struct cf_block_key *key);
    /* Free frames have fallen below the low-water mark; `free_count` of `total_count` are left. */
    void (*memory_pressure)(void *context, uint32_t free_count, uint32_t total_count);
    /* Somebody waits for a lock in `mode` (enum cf_lock_mode) that owners of this instance stand against. */
    void (*lock_wanted)(void *context, struct cf_lock *lock, uint32_t mode);
};

/* The redo is durable up to and including `position`. Any thread, callbacks included. */
CF_API void cf_log_durable(struct cf_instance *instance, uint64_t position);
/* Ends a callback that answered CF_PENDING. Any thread, callbacks included. CF_NOT_FOUND: no such ticket. */
CF_API enum cf_rc cf_callback_done(struct cf_instance *instance, uint64_t ticket, enum cf_rc rc);

/* ---------------------------------------------------------------- instance */

/*
 * Opens an instance: takes its memory, starts its threads, connects to the members of the view and waits until
 * all of them are there (options.open_timeout). On failure *instance_out is untouched and *error (may be NULL)
 * says why: CF_OPTION, CF_MEMORY, CF_BUDGET, CF_NODE_TAKEN, CF_CLUSTER, CF_VERSION, CF_TIMEOUT, CF_SYSTEM.
 * `callbacks` may be NULL; it is copied. The caller owns *instance_out until cf_close(). The threads take none of
 * the program's signals, and no handler or mask of the program is changed.
 */
CF_API CF_MUST_CHECK enum cf_rc cf_open(const struct cf_options *options,
                                        const struct cf_callbacks *callbacks,
                                        struct cf_instance **instance_out, struct cf_error *error);
/*
 * Closes an instance and clears *instance. All sessions must be closed before. Dirty blocks are flushed; the
 * call serves the other members until all of them close as well (options.close_timeout), since the directory
 * lives in every member. The first failure is returned; everything is freed in any case.
 */
CF_API enum cf_rc cf_close(struct cf_instance **instance);
/* CF_OK, or the sticky status that stopped this instance (CF_PEER_LOST, a fatal one). */
CF_API enum cf_rc cf_state(const struct cf_instance *instance, struct cf_error *error);
/* Counters since open; set stats->size first. Never waits; counters are read one by one. */
CF_API enum cf_rc cf_stats_read(const struct cf_instance *instance, struct cf_stats *stats);
/*
 * Calls sink(arg, text, bytes) with a JSON text of the instance's state: members, modes held, conversations in
 * flight, who waits for what, rates. Waits for at most a turn of the progress loop. Any thread but a callback.
 * CF_MEMORY: the text could not be made whole, and the sink was not called.
 */
CF_API enum cf_rc cf_status_write(struct cf_instance *instance,
                                  void (*sink)(void *arg, const char *text, size_t bytes), void *arg);

/*
 * Has the bucket's blocks mastered by `node` from now on. Returns when the move has begun, or when the bucket's master, if that
 * is another instance, has been asked to begin it; cf_stats tell what came of it (remaster_given, remaster_given_up).
 * CF_OPTION: no such bucket, no such member, or mastered by it already. CF_BUSY: another bucket is on its way from here,
 * or this one has just come. CF_UNSUPPORTED: options.remaster is off. Any thread but a callback.
 */
CF_API CF_MUST_CHECK enum cf_rc cf_remaster(struct cf_instance *instance, uint32_t bucket, uint16_t node,
                                            struct cf_error *error);

/* ---------------------------------------------------------------- clock */

enum cf_scn_kind {
    CF_SCN_CAUSAL = 0, /* covers everything this instance has seen; costs a load */
    CF_SCN_EXTERNAL =
        1, /* covers everything that any member acknowledged before the call; asks the members */
};
/* A snapshot of the cluster's clock. CF_TIMEOUT after options.call_timeout for EXTERNAL. */
CF_API enum cf_rc cf_scn_snapshot(struct cf_session *session, enum cf_scn_kind kind, cf_scn *scn_out);

/* ---------------------------------------------------------------- sessions */

/* CF_AGAIN when options.sessions are open already. The caller owns *session_out. */
CF_API CF_MUST_CHECK enum cf_rc cf_session_open(struct cf_instance *instance,
                                                struct cf_session **session_out);
/* Puts nothing by itself: every reference must be put and every op completed before (else CF_BUSY, nothing changes). */
CF_API enum cf_rc cf_session_close(struct cf_session **session);
/* Details of the session's last call that did not answer CF_OK; valid until its next call. Never NULL. */
CF_API const struct cf_error *cf_session_error(const struct cf_session *session);

/* ---------------------------------------------------------------- files */

enum cf_format {
    CF_FORMAT_NATIVE = 0,  /* our block header: key, version, checksum; made by `cachefusion mkfs` */
    CF_FORMAT_FOREIGN = 1, /* the whole block is the database's; callbacks below keep the version */
};

/*
 * How a foreign file keeps its versions. A NULL `version_get` means that the file carries none: it may then
 * only be attached read-only, and its version is always 0. They follow the rules of callbacks.
 */
struct cf_foreign {
    size_t size;
    void *context;
    cf_scn (*version_get)(void *context, const void *block, uint32_t bytes);
    void (*version_set)(void *context, void *block, uint32_t bytes, cf_scn version);
    /* CF_OK, or CF_CORRUPT when the block that came from storage is damaged. May be NULL. */
    enum cf_rc (*verify)(void *context, const void *block, uint32_t bytes);
};

struct cf_file_options {
    size_t size;          /* sizeof(struct cf_file_options) */
    const char *path;     /* the same file on every instance */
    uint32_t file_id;     /* 1 to 2^32 - 1, unique in the cluster, the same on every instance */
    uint32_t block_bytes; /* power of two, 2048 to 32768; 0 = what the superblock says, foreign: 8192 */
    enum cf_format format;
    bool read_only;
    bool accept_loss;                 /* open a native file that was not closed cleanly */
    const struct cf_foreign *foreign; /* foreign format only; copied */
};
/* Fills in the defaults and size. */
CF_API void cf_file_options_init(struct cf_file_options *options);
/*
 * Opens a file on this instance. Every member that uses the file attaches it by itself. Needs a cache of that
 * block size (options cache_bytes, cache_2k_bytes ..). CF_NOT_FOUND, CF_FORMAT, CF_BLOCK_SIZE, CF_UNCLEAN,
 * CF_CLUSTER, CF_READ_ONLY, CF_CORRUPT, CF_IO, CF_AGAIN (options.files are attached already).
 */
CF_API CF_MUST_CHECK enum cf_rc cf_attach(struct cf_session *session, const struct cf_file_options *options,
                                          struct cf_file **file_out);
/*
 * Writes the file's dirty blocks, gives up its copies and closes it on this instance; clears *file. CF_BUSY: references
 * to its blocks are held, and for call_timeout nothing more could be given up; CF_TIMEOUT: something did not end within call_timeout; the file is then still attached.
 */
CF_API enum cf_rc cf_detach(struct cf_session *session, struct cf_file **file);

struct cf_file_info {
    size_t size; /* sizeof(struct cf_file_info), set by the caller */
    uint32_t file_id;
    uint32_t generation;
    uint32_t block_bytes; /* on storage */
    uint32_t data_bytes;  /* what cf_ref.data points to: block_bytes less the header of a native block */
    uint64_t blocks;      /* data blocks, numbered 0 to blocks - 1 */
    uint64_t bytes;       /* length of a foreign file; the last block may be partly beyond it */
    enum cf_format format;
    bool read_only;
};
CF_API enum cf_rc cf_file_info(struct cf_session *session, struct cf_file *file,
                               struct cf_file_info *info_out);
/*
 * Makes the file at least `blocks` long, for all instances; durable when it returns. New blocks are got with
 * CF_GET_NEW. CF_NO_SPACE, CF_READ_ONLY (foreign or read-only), CF_STALE (dropped), CF_TIMEOUT (option call_timeout).
 */
CF_API enum cf_rc cf_extend(struct cf_session *session, struct cf_file *file, uint64_t blocks);
/*
 * Cuts the file to `blocks`, for all instances; their copies are given up first and gets answer CF_STALE meanwhile.
 * CF_RANGE: it is shorter already. CF_BUSY, CF_TIMEOUT: somebody held a block of it for call_timeout; nothing changed.
 * Any other failure may come after the length has changed: ask cf_file_info. CF_READ_ONLY, CF_STALE.
 */
CF_API enum cf_rc cf_truncate(struct cf_session *session, struct cf_file *file, uint64_t blocks);
/* Empties the file for all instances and marks it dropped: every later call on it answers CF_STALE. Clears *file. */
CF_API enum cf_rc cf_drop(struct cf_session *session, struct cf_file **file);

/* ---------------------------------------------------------------- blocks */

/*
 * A held block. Filled by cf_get, cleared by cf_put; may be copied, but only one copy may be put. In S the data
 * must not be changed; in X it may, between cf_get and cf_put, and cf_dirty tells the engine.
 */
struct cf_ref {
    void *data;     /* data_bytes of the file; NULL = empty reference */
    cf_scn version; /* version of the data; 0 = never written */
    struct cf_file *file;
    uint64_t block;
    uint32_t bytes;
    uint32_t mode;     /* enum cf_mode */
    uint64_t private_; /* the engine's */
};

enum cf_get_flags {
    CF_GET_NEW =
        1u << 0, /* X only: the old contents are not read; the caller must fill the block and cf_dirty it */
    CF_GET_TRY = 1u << 1, /* answer CF_BUSY instead of waiting for another thread or instance */
};

/*
 * Holds a block in S or X. Shares in S, excludes in X, among the threads of one instance as among instances.
 * A thread must not get a block twice at once, and must get several blocks in the order of (file, block) or
 * be ready for CF_TIMEOUT. `deadline_ns` (CLOCK_MONOTONIC) ends the call, never the conversation behind it.
 * CF_TIMEOUT, CF_BUSY, CF_RANGE, CF_STALE, CF_AGAIN (every frame is in use), CF_CORRUPT, CF_PEER_LOST, CF_IO.
 */
CF_API CF_MUST_CHECK enum cf_rc cf_get(struct cf_session *session, struct cf_file *file, uint64_t block,
                                       enum cf_mode mode, uint32_t flags, uint64_t deadline_ns,
                                       struct cf_ref *ref_out);
/*
 * S to X without losing sight of the block. CF_OK: held in X, unchanged since it was got. CF_UPGRADE_LOST:
 * another instance or thread changed it first. After any failure but CF_INVALID and CF_READ_ONLY the reference has
 * been put (a caller that kept it would stand in the way of the one that came first).
 */
CF_API CF_MUST_CHECK enum cf_rc cf_upgrade(struct cf_session *session, struct cf_ref *ref,
                                           uint64_t deadline_ns);
/*
 * The data has been changed under X. `position` = the caller's redo position that describes the change (0 =
 * none); it goes to log_ensure before the image leaves this instance. Sets ref->version.
 */
CF_API enum cf_rc cf_dirty(struct cf_session *session, struct cf_ref *ref, uint64_t position);
/* Ends the hold and clears *ref. Never waits. The block stays cached. */
CF_API void cf_put(struct cf_session *session, struct cf_ref *ref);
/*
 * Gets `count` blocks of one file (at most CF_GET_MANY_MAX), in key order whatever the order of blocks[];
 * refs_out[i] belongs to blocks[i]. All or nothing: on failure nothing is held.
 */
#define CF_GET_MANY_MAX 64u
CF_API CF_MUST_CHECK enum cf_rc cf_get_many(struct cf_session *session, struct cf_file *file,
                                            const uint64_t *blocks, uint32_t count, enum cf_mode mode,
                                            uint64_t deadline_ns, struct cf_ref *refs_out);
/* Starts to bring `count` blocks from `first` on into the cache in S. Returns how many were started; never waits. */
CF_API uint32_t cf_prefetch(struct cf_session *session, struct cf_file *file, uint64_t first, uint32_t count);
/*
 * Copies a block as it is now to `to`, which has room for `to_bytes` (at least data_bytes of the file), for a reader who
 * looks at it once: the block is not held, and where it can be read in another instance's cache (option
 * speculative_read, transports with READ) not cached here either. What is copied is the newest version at a moment
 * between call and return, whole; a later snapshot or get by this instance never shows an older one. Blocks that
 * nobody has cached, or that are changed again and again, come as by cf_get in S. *version_out (may be NULL) gets the
 * version of the data. As cf_get, a thread must not take a snapshot of a block that it holds in X.
 * CF_TIMEOUT, CF_RANGE, CF_STALE, CF_AGAIN, CF_CORRUPT, CF_PEER_LOST, CF_IO, CF_INVALID (no room).
 */
CF_API CF_MUST_CHECK enum cf_rc cf_read_snapshot(struct cf_session *session, struct cf_file *file,
                                                 uint64_t block, void *to, uint32_t to_bytes,
                                                 uint64_t deadline_ns, cf_scn *version_out);
/* Makes all changes made by this instance to the file durable (data, not redo) before it returns. */
CF_API enum cf_rc cf_flush(struct cf_session *session, struct cf_file *file, uint64_t deadline_ns);

/* ---------------------------------------------------------------- asynchronous form */

enum cf_op_kind {
    CF_OP_GET = 1,
    CF_OP_UPGRADE = 2,
    CF_OP_FLUSH = 3,
    CF_OP_LOCK = 4, /* these five: see struct cf_lock_args */
    CF_OP_CONVERT = 5,
    CF_OP_UNLOCK = 6,
    CF_OP_VALUE_SWAP = 7,
    CF_OP_VALUE_READ = 8,
    CF_OP_SNAPSHOT = 9
};

/*
 * One asynchronous call. The caller owns the memory, fills in the inputs, submits it, and leaves it alone until
 * cf_poll returns it. GET fills ref; UPGRADE works on ref; FLUSH covers `file`. SNAPSHOT copies to ref.data, which is the
 * caller's and has room for ref.bytes; it sets ref.bytes and ref.version, and there is nothing to put.
 */
struct cf_op {
    uint32_t kind;  /* enum cf_op_kind */
    uint32_t flags; /* enum cf_get_flags or enum cf_lock_flags */
    struct cf_file *file;
    uint64_t block;
    enum cf_mode mode;
    enum cf_rc rc; /* result, once polled */
    uint64_t deadline_ns;
    void *user; /* the caller's */
    struct cf_ref ref;
    struct cf_lock_args *lock; /* lock ops */
    uint64_t private_[12];     /* zero before the first submit */
};
/* CF_OK = submitted, its completion will be polled. CF_AGAIN = options.outstanding are under way. CF_INVALID. */
CF_API CF_MUST_CHECK enum cf_rc cf_submit(struct cf_session *session, struct cf_op *op);
/* Collects completed ops, at most `max`; returns how many. Drives the engine when nobody else does. Never waits. */
CF_API uint32_t cf_poll(struct cf_session *session, struct cf_op **done, uint32_t max);
/* cf_poll that waits until at least one op is done or the deadline passes. 0 = deadline, or nothing is under way. */
CF_API uint32_t cf_wait(struct cf_session *session, struct cf_op **done, uint32_t max, uint64_t deadline_ns);
/* Asks for an early end: the op completes as usual, with CF_CANCELLED unless it was done first. */
CF_API enum cf_rc cf_cancel(struct cf_session *session, struct cf_op *op);

/* ---------------------------------------------------------------- mini-transactions */

/*
 * Groups changes of several blocks that belong together: they get one version, and with redo behind them they
 * are applied all or none. The blocks stay held in X until commit.
 */
#define CF_MTR_BLOCKS_MAX 64u
struct cf_mtr {
    struct cf_session *session;
    uint32_t count;
    uint32_t open;
    struct cf_ref refs[CF_MTR_BLOCKS_MAX];
};
CF_API enum cf_rc cf_mtr_begin(struct cf_session *session, struct cf_mtr *mtr);
/* Moves a reference held in X into the group (*ref is cleared); returns its place in mtr->refs, or -1 when full or not X. */
CF_API int cf_mtr_add(struct cf_mtr *mtr, struct cf_ref *ref);
/* Marks every block of the group dirty with one version and puts them. `position` as in cf_dirty. */
CF_API enum cf_rc cf_mtr_commit(struct cf_mtr *mtr, uint64_t position, cf_scn *version_out);

#ifdef __cplusplus
}
#endif
#endif
