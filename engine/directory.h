/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_DIRECTORY_H
#define ENGINE_DIRECTORY_H

/* The part of the directory that is mastered here: buckets that move, and the threads that own shards. */
#include "engine/instance.h"

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

#endif
