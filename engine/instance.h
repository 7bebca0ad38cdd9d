/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_INSTANCE_H
#define ENGINE_INSTANCE_H

/*
 * The inside of an instance, shared by the files of this layer.
 *
 *   client threads --(frame words: hits)-------------------------------------------+
 *        | ops, by the inbox ring                                                   v
 *        +--------------> progress: one thread at a time <--- transport, storage  frames
 *                           |  turn.c     arrivals, ops, timers, in this order
 *                           |  act.c      carries out what the step functions of grd/ want
 *                           |  op.c       callers that wait; queue.c: first come, first served a block
 *                           |  storage.c  reads, writes; write_back.c, evict.c: what is written and what goes
 *                           +--> completions to sessions
 *
 * Ownership. Whoever holds `progress` (a poller, or a client that waits and finds nobody driving) owns everything
 * marked [own]; it passes by one compare-and-swap with acquire, and a release store. [const] is set before the first
 * thread starts. [atomic] is touched by any thread as its comment says.
 */
#include <pthread.h>
#include <stdatomic.h>

#include <cachefusion/cachefusion.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "base/hist.h"
#include "base/log.h"
#include "base/ring.h"
#include "base/trace.h"
#include "base/wheel.h"
#include "engine/detect.h"
#include "engine/engine.h"
#include "engine/file.h"
#include "engine/frame.h"
#include "engine/lock.h"
#include "engine/pool.h"
#include "engine/place.h"
#include "engine/store.h"
#include "grd/local.h"
#include "grd/move.h"
#include "grd/map.h"
#include "grd/master.h"
#include "transport/xp.h"

#define ENG_EPOCH_STATIC 1ull
#define ENG_INBOX_SLOTS 4096u
#define ENG_SELF_SLOTS 4096u    /* messages of this instance to itself under way inside a turn */
#define ENG_BACKLOG_SLOTS 8192u /* messages that wait for a credit, all lanes together */
#define ENG_TURN_OPS_MAX 64u    /* ops taken from the inbox a turn */
#define ENG_TURN_TIMERS_MAX 64u /* timers of each kind served a turn */
#define ENG_TURN_IO_MAX 32u
#define ENG_SCAN_FRAMES_MAX 512u /* frames looked at a tick for write-back by age */
#define ENG_SCAN_TICK_NS 1000000ull
#define ENG_TIMER_TICK_NS 65536ull
/* A peer's clock further ahead than this is refused: at 10^9 changes a second it is a day and a half. */
#define ENG_SCN_AHEAD_MAX (1ull << 47)
/* One get in so many is timed, and its caller looks after the network when nobody else does. */
#define ENG_GETS_A_TURN 128u
/* Prefetches of a session under way at once. */
#define ENG_PREFETCH_OPS 64u

/* What the engine keeps in cf_op.private_. */
struct eng_op {
    struct cf_timer timer; /* [own] deadline */
    struct cf_op *next;    /* [own] queue of its block or of those that wait for a frame */
    struct cf_session *session;
    uint64_t started_ns;
    uint8_t state;       /* enum eng_op_state, [own] once submitted */
    uint8_t is_sync;     /* completion is told by `done`, not by the session's ring */
    uint8_t hops;        /* ENG_OP_WAS_HIT: satisfied at submit, by the frame word alone; ENG_OP_BY_MESSAGE */
    uint8_t is_internal; /* prefetch: no completion; back to the pool */
    _Atomic uint32_t done; /* [atomic] sync: 1 = completed */
    /* lock ops */
    struct cf_op *prev; /* of those that wait; `next` is the other way */
    uint64_t claim;     /* grd_lock_id that waits; 0: a call, by its number */
    uint32_t call;
    uint32_t cost; /* as set by cf_owner_set at submit */
    uint64_t owner;
};
_Static_assert(sizeof(struct eng_op) <= sizeof(((struct cf_op *)0)->private_), "room in cf_op");
static inline struct eng_op *eng_op_of(struct cf_op *op)
{
    return (struct eng_op *)(void *)op->private_;
}
#define ENG_OP_WAS_HIT 1u
#define ENG_OP_BY_MESSAGE 2u /* snapshot: READs are given up */
/* Owners that no caller names: the sessions themselves, by slot. */
#define ENG_OWNER_SESSION (1ull << 63)
enum eng_op_state {
    ENG_OP_IDLE = 0,
    ENG_OP_QUEUED,   /* in the inbox */
    ENG_OP_BLOCK,    /* waits in its block's queue */
    ENG_OP_FRAME,    /* waits for a free frame, a conversation or a record */
    ENG_OP_FLUSH,    /* in the list of flushes */
    ENG_OP_LOCK,     /* in the list of lock ops */
    ENG_OP_SNAPSHOT, /* has a slot of the snapshots */
    ENG_OP_DONE
};

/* Pages that a forked child finds zeroed (MADV_WIPEONFORK). */
struct eng_guard {
    volatile uint32_t state; /* ENG_RUNS until the owner writes ENG_STOPPED */
    _Atomic uint64_t *words; /* [const] the frames' */
    /*
     * Id and generation of each file, by slot, under which a hit looks its blocks up. 0, which names no file, while gets
     * may not hit, and when the instance has stopped.
     */
    CF_ALIGNED(CF_CACHE_LINE) _Atomic uint64_t hit_names[];
};

/* What the engine keeps in cf_ref.private_: the frame's number, and whether cf_dirty was called. */
#define ENG_REF_DIRTY (1ull << 32)
#define ENG_REF_X (1ull << 33)     /* held in X: what a put of S does not look at begins at bit 32 */
#define ENG_REF_NOTED (1ull << 34) /* in the session's table of pins, at the number above ENG_REF_PIN_SHIFT */
#define ENG_REF_PIN_SHIFT 40u
/* Pins noted of a session with an owner. */
#define ENG_NOTED_PINS 32u
struct eng_noted_pin {
    _Atomic uint64_t
        id; /* [atomic] 0: free; never used twice. The session's thread writes, the owner reads */
    _Atomic uint64_t held;  /* [atomic] frame, and mode above 32 bits */
    _Atomic uint64_t owner; /* [atomic] */
};
static inline uint32_t eng_ref_frame(const struct cf_ref *ref)
{
    return (uint32_t)ref->private_;
}

struct cf_session;
/* References that the session holds: each hit is one, those got otherwise are counted, and those put. Its own thread. */
uint32_t eng_refs_held(const struct cf_session *session);

struct cf_session {
    struct eng_frame_view view;    /* [const] of the instance's frames */
    const struct eng_guard *guard; /* [const] the instance's */
    struct cf_instance *instance;
    uint32_t slot;
    bool in_use;
    uint32_t under_way;    /* ops submitted and not yet polled; the session's thread */
    uint32_t other_refs;   /* references got otherwise than by a hit, less those put; the session's thread */
    _Atomic uint64_t gets; /* cf_get calls of a running instance; the session's thread counts, and these: */
    struct cf_error error;
    struct cf_spsc done; /* completed ops: progress pushes, the session pops */
    void *done_mem;
    uint32_t done_slots;
    _Atomic uint32_t wake;     /* [atomic] futex word: rises at each completion */
    _Atomic uint32_t sleeping; /* [atomic] 1 while the session's thread sleeps on `wake` */
    /* counters of the session's thread, summed by cf_stats_read (relaxed) */
    _Atomic uint64_t missed;     /* of `gets`: those that did not hit at the first look */
    _Atomic uint64_t other_hits; /* by the frame word alone all the same: a later look, or at submit */
    _Atomic uint64_t slow_gets;  /* got through the owner */
    _Atomic uint64_t timeouts;
    _Atomic uint64_t snapshots;
    struct cf_op *ready_first, *ready_last; /* ops satisfied at submit */
    struct cf_op *prefetch;                 /* ENG_PREFETCH_OPS ops of the session's own */
    uint32_t prefetch_next;
    struct cf_hist *hit_hist; /* the session's thread */
    uint64_t owner;           /* cf_owner_set; the session's thread */
    uint32_t cost;
    /* of sessions with an owner: engine/detect_block.c */
    struct eng_noted_pin pins[ENG_NOTED_PINS];
    uint64_t pin_last;
    _Atomic uint64_t no_slot; /* a table of frames in which nothing is found */
};

enum eng_inbox_kind { ENG_IN_OP = 1, ENG_IN_CANCEL = 2, ENG_IN_CALL = 3 };
struct eng_inbox_record {
    uint64_t kind;
    void *object; /* struct cf_op *, or struct eng_call * */
};
/* Something another thread wants done by the owner of progress, and waits for. */
struct eng_call {
    void (*run)(struct cf_instance *instance, void *arg, uint64_t now_ns);
    void *arg;
    _Atomic uint32_t done;
};

/* A message that waits for a credit, or a ship that waits for the log. */
struct eng_backlog {
    uint16_t to;
    uint8_t lane;
    uint8_t is_ship;
    uint32_t frame;
    uint64_t word; /* ship: the frame's generation when the step was taken */
    struct grd_msg msg;
};

struct eng_slot;

struct eng_counters { /* [own], read by others without order */
    uint64_t hops2, hops3, upgrades, news, disk_reads, disk_writes, messages_sent, messages_received,
        messages_local, bytes_sent, bad_messages, lane_full, backlog_dropped, lane_resets, sleeps, turns,
        client_turns, timeouts, checksum_failures, blocks_shipped;
};

enum eng_peer_state { ENG_PEER_ABSENT = 0, ENG_PEER_UP, ENG_PEER_GONE };
struct eng_peer_list;

struct eng_peer {
    uint8_t state;
    _Atomic bool has_left;                /* [atomic] LEAVE received; the owner writes, who closes reads */
    uint32_t incarnation;                 /* told by its hello */
    uint32_t backlog_first, backlog_last; /* messages that wait for a credit of its lanes, in order */
    _Atomic uint64_t scn_asked; /* [atomic] newest of our questions that it answered; the owner writes */
    uint64_t records_offset;    /* told by its hello: where the values of the locks it masters are */
    uint32_t records_shard, shards;
    uint64_t file_stopped; /* newest of our file changes for which it has stopped the file */
};

/* Keyed hashes of the blocks met last: the messages about a block follow one another. hash 0: none. */
#define ENG_HASHED 64u
struct eng_hashed {
    struct cf_block_key key;
    uint64_t hash;
};

struct cf_instance {
    uint64_t magic;                /* ENG_MAGIC */
    struct eng_guard *guard;       /* [const] pointer */
    struct cf_options options;     /* [const] */
    struct cf_callbacks callbacks; /* [const] */
    struct cf_log log;
    struct cf_trace trace;
    const struct cf_allocator *allocator;
    uint16_t node;               /* [const] */
    uint32_t nodes, incarnation; /* [const] */
    uint64_t epoch;              /* [const] until membership changes it */
    uint64_t view;        /* [own] hash of cluster and members with their incarnations, known when open */
    bool is_manual;       /* [const] driven by eng_turn */
    bool is_compact;      /* [const] */
    struct eng_plan plan; /* [const] */
    uint64_t opened_ns;

    CF_ALIGNED(CF_CACHE_LINE) _Atomic uint64_t scn;      /* [atomic] the clock */
    CF_ALIGNED(CF_CACHE_LINE) _Atomic uint32_t progress; /* [atomic] 0 free, 1 held */
    bool is_armed; /* [own] the transport was armed when progress was let go */
    _Atomic uint64_t client_spin_ns,
        poller_spin_ns;              /* [atomic] adaptive waiting: what spinning is worth at the moment */
    _Atomic uint64_t client_free_ns; /* [atomic] the same on a core that nobody else wants */
    _Atomic uint64_t client_drives; /* [atomic] times a client drove; the owner writes, the poller compares */
    _Atomic uint32_t clients_asleep; /* [atomic] clients that sleep until the poller completes something */
    _Atomic uint32_t
        clients_waiting; /* [atomic] clients that would drive: the poller lets go for them (compact plan) */
    _Atomic uint32_t
        is_asleep; /* [atomic] the poller sleeps on the transport's fd: whoever adds work wakes it */
    _Atomic uint32_t attention; /* [atomic] an unpin that somebody may wait for */
    _Atomic int32_t state;    /* [atomic] enum cf_rc: CF_OK or the sticky status that stopped the instance */
    _Atomic uint32_t is_open; /* [atomic] all members are connected */
    _Atomic uint64_t log_durable; /* [atomic] position told by cf_log_durable */
    struct cf_error stop_error;   /* [own] written before state */
    bool is_stop_told;            /* [own] once stopped: those who waited then have been told */

    struct eng_frames *frames;            /* [const] pointer */
    struct xp *xp;                        /* [own] */
    struct xp_frame_space space;          /* [const] the transport's view of the frames */
    struct eng_store *store;              /* [own] */
    struct grd_map map;                   /* [const] within an epoch */
    struct eng_hashed hashed[ENG_HASHED]; /* [own] by block number */
    struct grd_move *move;                /* [own] buckets that go and come, and who owns them */
    struct grd_local *local;              /* [own] */
    struct grd_master
        *masters[64]; /* [own] in the compact plan; a directory worker's each in the dedicated one */
    uint32_t shards;
    struct grd_actions *actions; /* [own] */
    bool is_acting;              /* [own] eng_actions_run is at work */
    struct cf_hash_key cluster_key;
    struct eng_locks locks; /* engine/lock.h */

    struct cf_mpsc inbox; /* client threads push, the owner pops */
    void *inbox_mem;
    struct grd_msg *self; /* [own] ring of messages to this instance */
    uint32_t self_head, self_tail;
    struct eng_backlog *backlog; /* [own] pool */
    uint32_t *backlog_next;
    uint32_t backlog_free, backlog_used;
    uint32_t ship_wait_first, ship_wait_last; /* [own] ships that wait for the log */
    struct grd_msg decoded;                   /* [own] the message at hand */
    struct eng_peer *peers;                   /* [own] */
    struct eng_peer_list *peer_list; /* [const] what the transport was given; NULL: all on this host */
    uint32_t peer_outstanding_max;   /* [const] */
    bool dirty_seen;                 /* [own] the last full sweep met dirty frames: look again by age */
    bool dirty_met;                  /* [own] the sweep under way has met one */
    uint32_t peers_up;
    uint32_t lent[CF_BLOCK_SIZES], lent_target[CF_BLOCK_SIZES]; /* [own] frames lent to the transport */
    uint32_t *sending_list; /* [own] frames to be given back when the transport has sent the last of them */
    uint32_t sending_count;

    struct cf_wheel op_wheel;                   /* [own] deadlines */
    struct cf_op *starved_first, *starved_last; /* [own] ops that wait for a frame or a conversation */
    struct cf_op *flush_first;                  /* [own] */
    uint32_t *attention_list; /* [own] numbers of blocks whose frame closes or whose waiters wait for a pin */
    uint32_t attention_count;
    bool *is_attended;        /* [own] by number of the block: it is in that list */
    uint64_t block_wait_last; /* [own] number of the last op that may wait for a block */
    uint64_t scan_next_ns;
    uint64_t timers_next_ns; /* next look at the wheels: twice a tick is often enough */
    uint32_t scan_hand;
    uint32_t
        *read_wait; /* [own] ring of blocks whose granted read waits for a slot: at most one a conversation */
    uint32_t read_wait_first, read_wait_count;
    struct eng_slot *slots; /* [own] storage.h */
    uint32_t slots_count, slot_free, slots_used;
    uint8_t *slot_buffers;
    uint64_t ticket_next;
    struct cf_hist *hists; /* [own] hits are in sessions: remote2, remote3, disk, upgrade */
    struct eng_counters counters;
    struct eng_snapshots *snapshots;              /* [own] snapshot.h; NULL = off */
    uint32_t files_stopping;                      /* [own] files that a peer is changing */
    bool file_changing;                           /* [own] this instance changes a file now */
    struct cf_file *file_held;                    /* [own] that file, while its superblock is held in X */
    struct eng_file_end file_ends[ENG_FILE_ENDS]; /* [own] by request */
    uint64_t scn_question;    /* [own] number of the last question for the members' clocks */
    uint64_t file_request;    /* [own] number of the change this instance coordinates, or did last */
    _Atomic uint32_t closing; /* [atomic] 1: cf_close has begun; 2: LEAVE is out */
    uint64_t leave_next_ns;

    pthread_mutex_t lock; /* control path: sessions and files */
    struct cf_session *sessions;
    struct cf_file *files;
    struct eng_worker
        *workers; /* [const] directory workers of the dedicated plan; they own the masters then */
    uint32_t workers_count;
    pthread_t poller;
    bool has_poller;
    _Atomic uint32_t stop_threads;
    int poll_fd;   /* epoll over transport, storage and wake-ups */
    int wake_fd;   /* eventfd: clients wake the poller */
    void *status;  /* status_server.c: the status socket's thread */
    void *metrics; /* metrics.c: the metrics' thread */
};
#define ENG_MAGIC 0x4e4f495355464643ull
#define ENG_RUNS 0x534e5552u
#define ENG_STOPPED 0x504f5453u

/* What instances tell each other before they connect: XP_HELLO_BYTES. */
#define ENG_HELLO_MAGIC 0x4f4c4c4548464343ull
#define ENG_HELLO_VERSION 3u
struct eng_hello {
    uint64_t magic;
    uint32_t version;
    uint32_t nodes;
    uint32_t buckets;
    uint32_t outstanding;
    uint64_t frames;
    uint64_t past_images;
    uint32_t incarnation;
    uint32_t locks;
    uint64_t records_offset; /* of the values of locks, in the frame space */
    uint32_t records_shard;  /* records of a shard */
    uint16_t shards;
    uint8_t reserved[2];
};
_Static_assert(sizeof(struct eng_hello) == XP_HELLO_BYTES, "hello");

#define ENG_FLUSH_TICK_NS 500000ull

/* ---- turn.c: the progress loop's one turn. Owner of progress. ---- */
bool eng_turn_owner(struct cf_instance *instance, uint64_t now_ns);
/* Takes what client threads have put into the inbox. True: there was something. */
bool eng_inbox_take(struct cf_instance *instance, uint64_t now_ns);
uint64_t eng_next_ns_owner(const struct cf_instance *instance);
/* grd_map_hash of the instance's map. */
uint64_t eng_hash_owner(struct cf_instance *instance, const struct cf_block_key *key);
void eng_hash_note_owner(struct cf_instance *instance, const struct cf_block_key *key, uint64_t hash);
/* A message for one of this instance's roles, own or a peer's. */
void eng_deliver_owner(struct cf_instance *instance, const struct grd_msg *msg, uint32_t frame,
                       uint64_t now_ns);
/* Stops the instance for good: every call answers rc from now on. */
void eng_stop_owner(struct cf_instance *instance, enum cf_rc rc, int system, uint16_t node, const char *fmt,
                    ...) CF_PRINTF(5, 6);
static inline enum cf_rc eng_state(const struct cf_instance *instance)
{
    return (enum cf_rc)atomic_load_explicit(&instance->state, memory_order_acquire);
}
/* The clock is at least `scn` from now on. Any thread. */
void eng_scn_raise(struct cf_instance *instance, uint64_t scn);

/* A cluster of one: the view is complete at once. */
void eng_view_alone(struct cf_instance *instance);
void eng_session_free(struct cf_instance *instance, struct cf_session *session);

/* ---- act.c: carrying out actions; send.c: what leaves. Owner. ---- */
void eng_actions_run(struct cf_instance *instance, uint64_t now_ns);
/* The image of action->frame to action->to, when its redo is durable; fills in the checksum. */
void eng_ship_owner(struct cf_instance *instance, struct grd_action *action);
void eng_send_owner(struct cf_instance *instance, uint16_t to, const struct grd_msg *msg);
/* Empties the queue of messages to this instance. */
void eng_self_drain(struct cf_instance *instance, uint64_t now_ns);
void eng_backlog_drain(struct cf_instance *instance, uint16_t node);
/* I-7: may an image of this redo position leave the instance? Asks the log for it. */
bool eng_log_is_durable(struct cf_instance *instance, uint64_t position);
/* Ships that waited for the redo. */
void eng_ships_drain(struct cf_instance *instance);
void eng_frame_give_back(struct cf_instance *instance, uint32_t frame);
/* Those that had to wait for the transport. */
void eng_frames_sent(struct cf_instance *instance);
/* Looks at closing frames and waiters again. */
void eng_attention_add(struct cf_instance *instance, struct grd_block *block);
void eng_attention_walk(struct cf_instance *instance, uint64_t now_ns);

/* ---- op.c, queue.c: callers. ---- */
void eng_op_submit_owner(struct cf_instance *instance, struct cf_op *op, uint64_t now_ns);
void eng_op_cancel_owner(struct cf_instance *instance, struct cf_op *op);
void eng_op_complete_owner(struct cf_instance *instance, struct cf_op *op, enum cf_rc rc);
/* The wait for a block with this id ends with CF_DEADLOCK. False: it has ended. */
bool eng_op_victim_owner(struct cf_instance *instance, uint64_t wait, const char *cycle);
void eng_ops_expire(struct cf_instance *instance, uint64_t now_ns);
bool eng_ops_starved(struct cf_instance *instance, uint64_t now_ns);
/* Gives the block to those who wait for it, as far as possible; opens the conversation the first of them needs. */
void eng_block_serve(struct cf_instance *instance, struct grd_block *block, uint64_t now_ns);
/* The grant came, the block could not be had: everybody who waits for it gets rc. */
void eng_block_fail(struct cf_instance *instance, struct grd_block *block, enum cf_rc rc);
void eng_ops_fail_all(struct cf_instance *instance, enum cf_rc rc);
void eng_ref_fill(struct cf_instance *instance, struct cf_file *file, uint64_t block, uint32_t frame,
                  enum cf_mode mode, struct cf_ref *ref);

/* ---- lock.c ---- */
/* What can be wrong with a lock op, said in the session's error. */
enum cf_rc eng_lock_check(struct cf_session *session, const struct cf_op *op);
static inline uint64_t eng_owner_default(const struct cf_session *session)
{
    return ENG_OWNER_SESSION | session->slot;
}
/* What lock_hit.c leaves to others; `inside`: the caller has entered the gate, which is left. */
enum cf_rc eng_lock_request_inside(struct cf_session *session, struct cf_lock *lock, enum cf_lock_mode mode,
                                   uint32_t flags, uint64_t deadline_ns, struct cf_claim *claim_out);
enum cf_rc eng_lock_unlock_inside(struct cf_session *session, struct cf_claim *claim, uint32_t flags,
                                  const struct cf_lock_value *value);
enum cf_rc eng_lock_request_slow(struct cf_session *session, struct cf_lock *lock, enum cf_lock_mode mode,
                                 uint32_t flags, uint64_t deadline_ns, struct cf_claim *claim_out);
enum cf_rc eng_lock_unlock_slow(struct cf_session *session, struct cf_claim *claim, uint32_t flags,
                                const struct cf_lock_value *value);
/* May the session make calls on locks? */
enum cf_rc eng_lock_enter(struct cf_session *session);
/* Submits a lock op and waits for it; the error is said. */
enum cf_rc eng_lock_run(struct cf_session *session, struct cf_op *op);
/* ---- lock_say.c: the session's thread ---- */
/* The session's error for a lock op that ended with `rc`. */
void eng_lock_say(struct cf_session *session, const struct cf_op *op, enum cf_rc rc);
/* The same for any op that ended with CF_DEADLOCK: the cycle. */
void eng_lock_error(struct cf_session *session, const struct cf_op *op);
/* ---- client.c: the synchronous calls. The session's thread. ---- */
/* As cf_get, for internal blocks too (ENG_SUPER_BLOCK); no check of the range. */
/* What can be wrong with a get, said in the session's error; may look the length of the file up. */
enum cf_rc eng_get_check(struct cf_session *session, struct cf_file *file, uint64_t block, enum cf_mode mode,
                         uint32_t flags, uint64_t deadline_ns);
enum cf_rc eng_get(struct cf_session *session, struct cf_file *file, uint64_t block, enum cf_mode mode,
                   uint32_t flags, uint64_t deadline_ns, struct cf_ref *ref_out);
/* Submits, drives or waits, until the op is done. */
enum cf_rc eng_op_run(struct cf_session *session, struct cf_op *op);
/* Runs something under progress and waits for it. Any thread but the owner's. */
enum cf_rc eng_call_run(struct cf_instance *instance, void (*run)(struct cf_instance *, void *, uint64_t),
                        void *arg);
enum cf_rc eng_fail(struct cf_session *session, enum cf_rc rc, const char *fmt, ...) CF_PRINTF(3, 4);
void eng_error_set(struct cf_error *error, enum cf_rc rc, int system, uint16_t node, const char *fmt, ...)
    CF_PRINTF(5, 6);

/* ---- progress.c, wait.c, poller.c: threads and waiting. ---- */
bool eng_progress_try(struct cf_instance *instance);
void eng_progress_leave(struct cf_instance *instance);
/* Something was added to inbox or attention: sees to it that somebody looks. Any thread. */
void eng_kick(struct cf_instance *instance);
/* An unpin that somebody may wait for: the owner looks. Any thread. */
void eng_put_tell(struct cf_instance *instance);
struct eng_wait {
    bool (*is_done)(void *arg);
    void *arg;
    uint64_t until_ns;
    _Atomic uint32_t *wake; /* rises when something is done */
    _Atomic uint32_t *sleeping;
};
/* Drives, spins or sleeps as the option `waiting` says, until is_done or until_ns. True: done. */
bool eng_wait_for(struct cf_instance *instance, struct eng_wait *wait);
/* The same by who holds progress already; lets go of it. */
bool eng_wait_driving(struct cf_instance *instance, struct eng_wait *wait, uint64_t now_ns);
/* slice.c: the calling thread, a poller, asks to run soon rather than long. */
void eng_slice_shorten(void);
void eng_poller_wake(struct cf_instance *instance);
enum cf_rc eng_threads_start(struct cf_instance *instance, struct cf_error *error);
void eng_threads_stop(struct cf_instance *instance);
void eng_futex_wait(_Atomic uint32_t *word, uint32_t value, uint64_t timeout_ns);
void eng_futex_wake(_Atomic uint32_t *word);

/* ---- remaster.c: buckets that move. Owner, but for open and close. ---- */
/* Values of option remaster. */
enum { ENG_REMASTER_OFF = 0, ENG_REMASTER_ON = 1, ENG_REMASTER_MANUAL = 2 };
enum cf_rc eng_move_open(struct cf_instance *instance, uint64_t now_ns, struct cf_error *error);
void eng_move_message_owner(struct cf_instance *instance, const struct grd_msg *msg, uint64_t now_ns);
bool eng_move_tick_owner(struct cf_instance *instance, uint64_t now_ns);
void eng_control_line(struct cf_instance *instance, const char *line, char *answer, size_t answer_bytes);
/* turn.c: a message of blocks for the master, as if it had just come. */
void eng_master_step_again(struct cf_instance *instance, const struct grd_msg *msg, uint64_t now_ns);
/* ---- worker.c: directory workers. Owner, but for start and stop. ---- */
struct eng_worker;
enum cf_rc eng_workers_start(struct cf_instance *instance, struct cf_error *error);
void eng_workers_stop(struct cf_instance *instance);
void eng_worker_push(struct cf_instance *instance, const struct grd_msg *msg, uint32_t shard);
/* Is there something that the workers want sent? Any thread. */
bool eng_workers_have(const struct cf_instance *instance);
/* What their streams have told the deadlock detector. */
struct eng_detect_counts;
void eng_workers_known(const struct cf_instance *instance, struct eng_detect_counts *counts);
/* Sends what the workers want sent. True when there was something. */
bool eng_workers_take(struct cf_instance *instance);

/* ---- stats.c ---- */
/* Nanoseconds in all, of each latency of stats.def. Any thread. */
struct eng_latency_sums {
#define CF_STAT(name, text)
#define CF_LATENCY(name, text) double name;
#include <cachefusion/stats.def>
#undef CF_STAT
#undef CF_LATENCY
};
void eng_stats_sums(const struct cf_instance *instance, struct eng_latency_sums *sums_out);

/* The clock, or the simulation's. Any thread. */
static inline uint64_t eng_now(const struct cf_instance *instance)
{
    return instance->is_manual ? instance->trace.now_ns : cf_now_ns();
}

/* When a call without a deadline of its own gives up. Any thread. */
static inline uint64_t eng_call_deadline(const struct cf_instance *instance)
{
    return eng_now(instance) + instance->options.call_timeout;
}

/* The guard of a running instance holds ENG_RUNS, of a stopped one ENG_STOPPED, in a forked child nothing. */
static inline bool eng_is_forked(const struct cf_instance *instance)
{
    return instance->guard->state == 0;
}

/*
 * Refuses what no thread may do: a wrong object, use after fork, a stopped instance. The guard is a page that the
 * kernel zeroes in a forked child (MADV_WIPEONFORK), so that the check costs a load and no system call.
 */
static inline enum cf_rc eng_enter(const struct cf_instance *instance)
{
    if (CF_UNLIKELY(instance == NULL || instance->magic != ENG_MAGIC))
        return CF_INVALID;
    if (CF_LIKELY(instance->guard->state == ENG_RUNS))
        return CF_OK;
    return eng_is_forked(instance) ? CF_FORKED : eng_state(instance);
}

#endif
