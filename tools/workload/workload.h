/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TOOLS_WORKLOAD_WORKLOAD_H
#define TOOLS_WORKLOAD_WORKLOAD_H

/*
 * A workload is a few functions over blocks: how a fresh block looks, what a client does all day, what a block
 * must look like when everybody is quiet, and what the sums must be. prepare, verify (through the caches) and
 * plain (by pread, beside the caches) are the same for all and walk over the blocks with these functions.
 *
 * Block 0 of a native file is the head, which tells what the file holds; a workload's own blocks begin at 1.
 * All numbers in blocks are of this host's byte order.
 */
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <cachefusion/cachefusion.h>

#include "base/compiler.h"
#include "base/hist.h"
#include "base/rng.h"

#define WL_TALLIES 8u
#define WL_FIGURES_MAX 16u
#define WL_SIDE_BYTES 288u
/* Defaults and ranges of the workloads' own options. */
#define WL_HOT_LOCKS "16"
#define WL_HOT_LOCKS_MIN 2u
#define WL_HOT_LOCKS_MAX 64u
#define WL_NUMBERS "1000"
#define WL_NUMBERS_MAX (1u << 20)
#define WL_TEXT_BYTES 200u
#define WL_DIGEST_BYTES 32u
#define WL_HEAD_BLOCK 0u
#define WL_HEAD_MAGIC UINT64_C(0x44414548424c5743)

struct clients;
struct workload;

/* What every client and checker knows. [const] while the clients run. */
struct wl_plan {
    const struct workload *workload;
    uint32_t nodes;
    uint32_t node;
    uint32_t threads; /* clients an instance */
    uint64_t seed;
    uint32_t data_bytes; /* of a block, without its header */
    uint64_t
        blocks; /* of the file; once its head is known, those it had when it was prepared; head included */
    uint64_t bytes;           /* foreign files */
    uint32_t hot_locks;       /* locks */
    uint32_t numbers;         /* sequence: that an instance takes at once */
    bool is_ordered;          /* sequence */
    bool is_spread;           /* over several hosts: the instances share no memory */
    char side[WL_SIDE_BYTES]; /* files of a workload with has_side begin with this path */
    void *own;                /* what `begin` made in this instance */
};

/* Block 0. */
struct wl_head {
    uint64_t magic;
    char workload[24];
    uint64_t seed;
    uint64_t blocks;   /* of the file when it was prepared */
    uint64_t next_key; /* ycsb: keys below it have been given out for inserts */
};

/* What a walk over the whole file finds. */
struct wl_sums {
    uint64_t items;
    uint64_t value[WL_TALLIES]; /* meaning by workload */
    uint64_t own[WL_TALLIES];   /* of what is not in the file; by the workload's `look` */
    uint64_t bad;               /* damaged items */
    uint8_t digest[WL_DIGEST_BYTES];
    char first_bad[WL_TEXT_BYTES];
};

/* One client thread. The thread owns it; `ops` may be read by others. */
struct wl_client {
    const struct wl_plan *plan;
    struct clients *clients; /* the instance's, for the thread around the workload */
    uint32_t index;          /* 0 to threads - 1 */
    struct cf_instance *instance;
    struct cf_session *session;
    struct cf_file *file;
    struct cf_rng rng;
    const _Atomic bool *stop;
    _Atomic uint64_t ops;       /* [atomic] relaxed: progress only; exact after the thread has been joined */
    uint64_t tally[WL_TALLIES]; /* meaning by workload; added up over all clients */
    uint8_t digest[WL_DIGEST_BYTES];
    struct cf_hist latency; /* of one operation, or what the workload's text says */
    struct cf_hist extra;   /* of what the workload times beside that */
    enum cf_rc rc;          /* CF_OK, or why the client ended early */
    char error[WL_TEXT_BYTES];
};

/* A number of the workload's own for the report. */
enum wl_figure_kind { WL_COUNT, WL_RATIO, WL_MS };
struct wl_figure {
    const char *key;  /* in JSON */
    const char *text; /* for people */
    enum wl_figure_kind kind;
    uint64_t count;
    double ratio;
    struct cf_latency latency; /* WL_MS: printed in milliseconds */
};
struct wl_figures {
    uint32_t count;
    struct wl_figure figure[WL_FIGURES_MAX];
};

/* Everything the launcher knows when all is quiet. */
struct wl_evidence {
    const struct wl_plan *plan;
    const struct wl_sums *before; /* plain file before the run */
    const struct wl_sums *after;  /* plain file after it */
    const struct wl_sums *seen;   /* [nodes] through each instance's cache, clients stopped */
    const uint64_t *tally;        /* [WL_TALLIES], all clients of all instances; NULL: not known */
    uint64_t ops;
    const struct cf_stats *stats;   /* of all instances while the clients worked; NULL: not known */
    const struct cf_latency *extra; /* of all clients; NULL: not known */
    struct wl_figures *figures;     /* judge adds to it; NULL: nobody wants them */
};

struct workload {
    const char *name;
    const char *summary;
    const char *op;      /* what one operation is, in plural */
    const char *timed;   /* what wl_client.latency holds */
    bool is_foreign;     /* read-only, any file */
    bool has_side;       /* needs a launcher, which gives it a place for files: plan->side */
    uint64_t blocks_min; /* head included */
    uint64_t blocks_default;
    const void *variant; /* the workload's own */
    /* How many blocks of plan->blocks are formatted before the clients start, head included. */
    uint64_t (*blocks_used)(const struct wl_plan *plan);
    void (*format)(const struct wl_plan *plan, uint64_t block, void *data);
    void (*inspect)(const struct wl_plan *plan, uint64_t block, const void *data, struct wl_sums *sums);
    /* Runs until *stop, or a status that a client cannot go on with. */
    enum cf_rc (*client)(struct wl_client *client);
    /*
     * These may be NULL. `begin`: once an instance, before the file is filled (node 0) or waited for. `look`: when all
     * clients of all instances have ended. `end` undoes `begin`, whatever happened; a failure is told if it is the first.
     */
    enum cf_rc (*begin)(struct wl_plan *plan, struct wl_client *caretaker);
    enum cf_rc (*look)(struct wl_client *caretaker, struct wl_sums *sums);
    enum cf_rc (*end)(struct wl_plan *plan, struct wl_client *caretaker);
    /* True when the run was right; `text` says in either case what was found. */
    bool (*judge)(const struct wl_evidence *evidence, char *text, size_t text_bytes);
};

/* NULL: unknown. */
const struct workload *workload_find(const char *name);
/* index from 0 on; NULL behind the last. */
const struct workload *workload_at(uint32_t index);

/* ---- whole.c: the walks ---- */

/* Formats all blocks and the head through the cache. For one instance, before the others start. */
enum cf_rc wl_prepare(struct wl_plan *plan, struct wl_client *client);
/* Waits for the head that another instance writes at the end of wl_prepare, at most WL_PREPARE_NS_MAX. */
enum cf_rc wl_prepared_wait(struct wl_plan *plan, struct wl_client *client);
/* Inspects every block through the cache. */
enum cf_rc wl_verify(struct wl_client *client, struct wl_sums *sums_out);
/*
 * CF_OK: the head belongs to the plan's workload, plan->blocks is what it says. CF_NOT_FOUND: a fresh file.
 * CF_FORMAT: text says whose it is.
 */
enum cf_rc wl_head_adopt(struct wl_plan *plan, const struct wl_head *head, char *text, size_t text_bytes);
/*
 * Inspects every block of a native file by plain reads; plan->blocks is the file's when it is called.
 * CF_OK, CF_IO, CF_FORMAT, CF_MEMORY, CF_NOT_FOUND (no head: a fresh file).
 */
enum cf_rc wl_plain(struct wl_plan *plan, const char *path, uint32_t block_bytes, struct wl_sums *sums_out,
                    char *text, size_t text_bytes);
/* SHA-256 of a file by plain reads. CF_OK, CF_NOT_FOUND, CF_IO. */
enum cf_rc wl_digest(const char *path, uint8_t digest_out[WL_DIGEST_BYTES], uint64_t *bytes_out);
void wl_digest_text(const uint8_t digest[WL_DIGEST_BYTES], char text[2 * WL_DIGEST_BYTES + 1]);

void wl_bad(struct wl_sums *sums, const char *format, ...) CF_PRINTF(2, 3);

/* ---- client.c: calls with their bounded retries ---- */

/* A call waits this long at most, then it is tried again, WL_TRIES_MAX times. */
#define WL_TRY_NS UINT64_C(2000000000)
#define WL_TRIES_MAX 16u
#define WL_PREPARE_NS_MAX UINT64_C(120000000000)

bool wl_stopped(const struct wl_client *client);
/* Counts one operation that began at started_ns. */
void wl_done(struct wl_client *client, uint64_t started_ns);
/* cf_get, tried again while the answer is CF_TIMEOUT, CF_AGAIN or CF_BUSY. */
CF_CHECK enum cf_rc wl_get(struct wl_client *client, uint64_t block, enum cf_mode mode, uint32_t flags,
                           struct cf_ref *ref_out);
/* Both in X, in key order; a != b. refs_out[0] is a's. */
CF_CHECK enum cf_rc wl_get_pair(struct wl_client *client, uint64_t a, uint64_t b, bool at_once,
                                struct cf_ref refs_out[2]);
/* S to X, by a get in X when that was lost or out of time: *changed_out = the data must be looked at anew. */
CF_CHECK enum cf_rc wl_upgrade(struct wl_client *client, struct cf_ref *ref, bool *changed_out);
/* Marks changed and puts. */
CF_CHECK enum cf_rc wl_commit(struct wl_client *client, struct cf_ref *ref);
/* True: the status may pass by itself, and the bound of tries has not been reached. */
bool wl_again(enum cf_rc rc, uint32_t tries);
/* The words of a call that failed, from its session; returns rc. */
enum cf_rc wl_call_failed(struct wl_client *client, enum cf_rc rc, const char *call, const char *of,
                          uint64_t number);
/* For workloads whose blocks hold nothing. */
void wl_inspect_nothing(const struct wl_plan *plan, uint64_t block, const void *data, struct wl_sums *sums);
uint64_t wl_no_blocks(const struct wl_plan *plan);

/* For judges. Without evidence->figures nothing happens. */
void wl_count(const struct wl_evidence *evidence, const char *key, const char *text, uint64_t count);
void wl_ratio(const struct wl_evidence *evidence, const char *key, const char *text, double ratio);
void wl_ms(const struct wl_evidence *evidence, const char *key, const char *text,
           const struct cf_latency *latency);
/* Records why the client ends; returns rc. */
enum cf_rc wl_fail(struct wl_client *client, enum cf_rc rc, const char *format, ...) CF_PRINTF(3, 4);

#endif
