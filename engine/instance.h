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
#include "engine/op.h"
#include "engine/pool.h"
#include "engine/place.h"
#include "engine/session.h"
#include "engine/store.h"
#include "engine/wait.h"
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
    bool masters_owe;            /* [own] steps were taken since grd_master_settle */
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

    struct cf_wheel op_wheel;   /* [own] deadlines */
    struct eng_op_list starved; /* [own] ops that wait for a frame or a conversation */
    struct cf_op *flush_first;  /* [own] */
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
