/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_DETECT_H
#define ENGINE_DETECT_H

/*
 * The deadlock detector as a role of the engine; docs/locks-detector.md has the argument, grd/detect.h the core.
 *
 *   somebody waits longer than deadlock_after  --ASK(waits)-->  the detector: the lowest instance that has not left
 *   detector   --ASK(round, keys)--> every instance        answers with what is older than the threshold:
 *   instance   --REPORT(round).. LAST--> detector          LOCAL and ASKS, STAKE of the keys, BEHIND of its shards;
 *                                                          since the round before, where the ask says so
 *   detector   --VICTIM(wait, cycle)--> instance --TOLD--> detector
 *
 * Three parts, which meet in messages only:
 *   reporter  detect_report.c, detect_stream.c, in every instance: the owner of progress; directory workers tell of
 *             their shards
 *   role      detect_role.c, detect_victim.c: rounds and victims. A thread of its own in the dedicated plan, fed by
 *             bounded rings; the owner of progress otherwise
 *   status    detect_status.c: the graph as the role last saw it
 *
 * An instance answers and obeys only the one that it takes for the detector itself. A LEAVE comes after everything its
 * sender said as a detector, so two detectors never rule at once.
 */
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <cachefusion/status.h>

#include "base/alloc.h"
#include "base/hist.h"
#include "grd/detect.h"
#include "grd/lock_report.h"
#include "grd/msg.h"

struct cf_instance;
struct json_t;

/* Reports taken from a table at once; two messages hold about as many. */
#define ENG_DETECT_PART 8u
/* Messages with reports sent a turn, and parts looked at. */
#define ENG_DETECT_TURN_MESSAGES 8u
#define ENG_DETECT_TURN_PARTS 4u

/* Prints looked at a part, in search of those that are gone. */
#define ENG_DETECT_PRINTS 512u

/* ---- detect_known.c: what the detector has been told by a stream ---- */
struct eng_known {
    struct eng_known_entry {
        uint64_t print;
        uint32_t next, round; /* of its slot; it was there in, low bits */
    } * entry;                /* [count_max] */
    uint32_t *first;          /* [slots_count] */
    uint32_t count, count_max, slots_count;
    uint64_t round;      /* of the last answer, all of which was sent; 0: none */
    uint64_t told, lost; /* reports sent since open; for which there was no room */
};
CF_CHECK enum cf_rc eng_known_open(struct eng_known *known, const struct cf_allocator *allocator,
                                   uint32_t count_max);
void eng_known_close(struct eng_known *known, const struct cf_allocator *allocator);
void eng_known_clear(struct eng_known *known);
/* It is there in this round. False: it is not known. */
bool eng_known_mark(struct eng_known *known, uint64_t print, uint64_t round);
/* Not known, and there is room. */
void eng_known_add(struct eng_known *known, uint64_t print, uint64_t round);
/*
 * The next from *at on that was not there in this round, which is forgotten. False: none among looks_max, or none is left:
 * *at is count then.
 */
bool eng_known_gone(struct eng_known *known, uint32_t *at, uint32_t looks_max, uint64_t round,
                    uint64_t *print_out);

/* One stream of an instance's answer: what its owner of progress tells, or a directory worker. */
enum eng_detect_stage {
    ENG_DETECT_OFF = 0,
    ENG_DETECT_WAITS,  /* LOCAL, ASKS */
    ENG_DETECT_BLOCKS, /* LOCAL, BEHIND and STAKE, of blocks */
    ENG_DETECT_CONVS,  /* ASKS, of blocks */
    ENG_DETECT_STAKES, /* of the keys */
    ENG_DETECT_SHARDS, /* BEHIND */
    ENG_DETECT_QUEUES, /* BEHIND, of blocks */
    ENG_DETECT_TAKES,  /* what is no more */
    ENG_DETECT_END
};
struct eng_detect_stream {
    uint64_t round, before_ns, cursor;
    uint16_t to;
    uint8_t stage; /* enum eng_detect_stage */
    uint8_t number, numbers;
    uint32_t shard, shard_step; /* step 0: no shards */
    uint32_t key_at, keys_count;
    const uint64_t *keys;
    struct eng_known *known;
    uint32_t known_at;
    bool is_taking;
    bool is_unknown; /* changes are asked for since an answer that was not given */
    uint32_t report_at, reports_count;
    uint32_t messages_count; /* of this answer so far */
    struct grd_detect_report report[ENG_DETECT_PART];
    struct grd_words words;
};
/*
 * One part of the answer: looks at a bounded number of records. True: *msg_out is to be sent to stream->to. Whoever
 * owns the tables that the stream tells of.
 */
bool eng_detect_stream_step(struct cf_instance *instance, struct eng_detect_stream *stream, uint64_t now_ns,
                            struct grd_msg *msg_out);
/* A worker's stream begins: `ask` came through its ring. */
void eng_detect_stream_begin(struct eng_detect_stream *stream, struct eng_known *known,
                             const struct grd_msg *ask, uint32_t shard, uint32_t shard_step, uint64_t now_ns);

/* ---- detect_block.c: waits for blocks ---- */
/* Wait ids of blocks and ids of pins; those of locks have neither bit. */
#define ENG_WAIT_BLOCK (1ull << 63)
#define ENG_WAIT_PIN (3ull << 62)
/* Blocks of the list looked at a part. */
#define ENG_BLOCK_LOOKS_MAX 16u
#define ENG_CONV_LOOKS_MAX 128u
/* In the place of a mode in a cycle: it is a block that this one waits for. */
#define ENG_DETECT_BLOCK 6u

struct cf_op;
struct cf_ref;
struct cf_session;
/* The session's thread: right after a pin, right before it goes, after a change of the session's owner. */
void eng_pin_note(struct cf_session *session, struct cf_ref *ref);
void eng_pin_forget(struct cf_session *session, struct cf_ref *ref);
void eng_pin_look_set(struct cf_session *session);
/* As grd_lock_local_waits. Owner of progress, as the next two. */
uint32_t eng_block_waits(struct cf_instance *instance, uint64_t now_ns, uint64_t before_ns, uint64_t *cursor,
                         struct grd_detect_report *reports, uint32_t reports_max);
/* The same, of those who wait for blocks of other instances. */
uint32_t eng_conv_waits(struct cf_instance *instance, uint64_t now_ns, uint64_t before_ns, uint64_t *cursor,
                        struct grd_detect_report *reports, uint32_t reports_max);
/* When the oldest wait for a block began; UINT64_MAX: there is none. */
uint64_t eng_block_oldest_ns(const struct cf_instance *instance);
/* The op that waits under this id, or NULL. */
struct cf_op *eng_block_waiter(struct cf_instance *instance, uint64_t wait);
/* A block in 64 bits, for people: file and number as far as they go. */
static inline uint64_t eng_detect_block_key(const struct cf_block_key *key)
{
    return grd_block_report_key(key);
}

/* ---- detect_words.c: reports in messages ---- */
/* False: no room. */
bool eng_detect_pack(struct grd_words *words, const struct grd_detect_report *report);
/* The report at *at, which moves on. `from` told it. False: these words are no report of this view. */
CF_CHECK bool eng_detect_unpack(const struct grd_words *words, uint32_t *at, uint16_t from, uint32_t nodes,
                                struct grd_detect_report *report_out);

/* Owners of a cycle that a message names. */
#define ENG_DETECT_STEPS 7u
struct eng_detect_cycle {
    uint32_t owners_count; /* on the cycle */
    uint32_t steps_count;  /* of them, listed here, from the victim on */
    struct {
        uint16_t node;
        uint8_t mode; /* of the next one's grant, which this one waits for; GRD_LOCK_ANY: not known */
        uint64_t owner, key;
    } step[ENG_DETECT_STEPS];
};
void eng_detect_cycle_pack(struct grd_words *words, const struct eng_detect_cycle *cycle);
CF_CHECK bool eng_detect_cycle_unpack(const struct grd_words *words, uint32_t nodes,
                                      struct eng_detect_cycle *cycle_out);
/* "owner 7 of instance 0 waits for lock 'a', held in EX by ..". Names that this instance knows. Any thread. */
void eng_detect_cycle_text(struct cf_instance *instance, const struct eng_detect_cycle *cycle, char *text,
                           size_t text_bytes);
/* What the wait with this id is for. "lock 'a'", or the key as a number where this instance has no handle of it. Any thread. */
void eng_detect_wait_text(struct cf_instance *instance, bool is_block, uint64_t key, char *text,
                          size_t text_bytes);
/* "owner 7 of instance 0". */
void eng_detect_owner_text(uint16_t node, uint64_t owner, char *text, size_t text_bytes);

/* ---- detect.c: opening, threads, what the owner of progress does ---- */
enum cf_rc eng_detect_open(struct cf_instance *instance, uint64_t now_ns, struct cf_error *error);
void eng_detect_close(struct cf_instance *instance);
enum cf_rc eng_detect_start(struct cf_instance *instance, struct cf_error *error);
void eng_detect_stop(struct cf_instance *instance);
/* Which instance is the detector, as seen here; CF_NODE_NONE: all have left. Any thread. */
uint16_t eng_detect_node(const struct cf_instance *instance);
void eng_detect_message_owner(struct cf_instance *instance, const struct grd_msg *msg, uint64_t now_ns);
/* A bounded amount of what is to be done. True: there was something. */
bool eng_detect_turn_owner(struct cf_instance *instance, uint64_t now_ns);
uint64_t eng_detect_next_ns_owner(const struct cf_instance *instance);
/* Does the detector's thread want something sent? Any thread. */
bool eng_detect_has(const struct cf_instance *instance);
/* Sends it. */
bool eng_detect_take(struct cf_instance *instance);

/* Counted by the role. */
struct eng_detect_counts {
    uint64_t rounds, anew, victims, gone, late, edges, bad;
    uint64_t told, cut; /* not the role's: of the streams; of streams and role */
};
/* Any thread; without order. */
void eng_detect_counts(const struct cf_instance *instance, struct eng_detect_counts *counts_out);
/* NULL: no detector. */
const struct cf_hist *eng_detect_hist(const struct cf_instance *instance);
struct cf_json_build;
struct json_t;
/* Puts the graph as last seen into `root` as "waits"; nothing without a detector. Any thread but the owner of progress. */
void eng_detect_json(struct cf_json_build *build, struct cf_instance *instance, struct json_t *root);

#endif
