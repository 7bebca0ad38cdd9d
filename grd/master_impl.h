/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GRD_MASTER_IMPL_H
#define GRD_MASTER_IMPL_H

/* Shared by the files that make up the master: dispatch (master.c), granting, ends, rebuilds. */
#include "grd/directory_impl.h"
#include "grd/master.h"

/* master.c: one message, without those that waited for it. */
void grd_master_one(struct grd_master *master, const struct grd_msg *msg, uint64_t hash, uint64_t now_ns,
                    struct grd_actions *actions);

/* master_late.c */
void grd_master_late_push(struct grd_master *master, const struct grd_msg *msg, uint64_t hash);
void grd_master_late_run(struct grd_master *master, uint64_t now_ns, struct grd_actions *actions);

/* master_fair.c */
/* Where the queue is served from. */
struct grd_waiter *grd_fair_first(struct grd_master *master, struct grd_entry *entry);
/* The queued waiter is granted now: those that came before it and still wait have been overtaken once more [G-16]. */
void grd_fair_granted(struct grd_master *master, struct grd_entry *entry, const struct grd_waiter *waiter,
                      uint64_t now_ns);
/* Nobody behind this one, which is not ready, may be served any more. */
bool grd_fair_is_due(const struct grd_waiter *waiter);
/* A reader that was refused before has been granted and has not begun: X waits for it [G-17]. */
bool grd_fair_reader_first(struct grd_master *master, const struct grd_entry *entry);
/* That reader; NULL: there is none. */
struct grd_pending *grd_fair_reader(struct grd_master *master, const struct grd_entry *entry);
/*
 * X is wanted of a read-mostly block whose sharers, so many beside who wants it, have not had it for long: others go first
 * meanwhile [G-18].
 */
bool grd_fair_is_shared(struct grd_master *master, struct grd_entry *entry, uint32_t others, uint64_t now_ns);
/* One such time that has ended. False: none has. */
bool grd_fair_tick(struct grd_master *master, uint64_t now_ns, struct grd_actions *actions);
/*
 * How good a source this holder is, above 0, the highest is taken: on the requester's host, then this instance (two
 * hops instead of three), then one that differs from tenure to tenure, so that the load spreads.
 */
uint64_t grd_source_rank(const struct grd_master *master, uint16_t requester, uint16_t holder,
                         uint64_t tenure);

/* master_grant.c */
/* The X grant that has not begun, if there is one. */
struct grd_pending *grd_master_pending_x(struct grd_master *master, const struct grd_entry *entry);
/*
 * A request that finds nobody before it: it is granted without having stood in the queue. False: it must wait, and nothing
 * has been done.
 */
bool grd_master_serve_alone(struct grd_master *master, struct grd_entry *entry, const struct grd_msg *msg,
                            uint64_t now_ns, struct grd_actions *actions);
/* Serves the queue in order of arrival, as far as it can be served now; nothing while the entry is in rebuild. */
void grd_master_serve(struct grd_master *master, struct grd_entry *entry, uint64_t now_ns,
                      struct grd_actions *actions);
/* The same request again: says again what has not been answered. */
void grd_master_repeat(struct grd_master *master, struct grd_entry *entry, struct grd_pending *pending,
                       struct grd_actions *actions);
/* In whose cache a reader may look; entry = NULL: in nobody's that is known. */
void grd_master_on_where(struct grd_master *master, const struct grd_entry *entry, const struct grd_msg *msg,
                         struct grd_actions *actions);

/* master_send.c */
/* Has the pending X sharers to wait for? */
static inline bool grd_master_has_sharers(const struct grd_master *master, const struct grd_entry *entry)
{
    return grd_side_lists(grd_side_of(master->directory, entry), GRD_LIST_SHARERS);
}
void grd_master_send_grant(struct grd_master *master, const struct grd_entry *entry,
                           const struct grd_pending *pending, struct grd_actions *actions);
void grd_master_send_forward(struct grd_master *master, const struct grd_entry *entry,
                             const struct grd_pending *pending, struct grd_actions *actions);
/* To every name of the pending X's set. */
void grd_master_send_invalidates(struct grd_master *master, const struct grd_entry *entry,
                                 const struct grd_pending *pending, struct grd_actions *actions);

/* master_end.c */
void grd_master_pending_end(struct grd_master *master, struct grd_entry *entry, struct grd_pending *pending);
/* What follows when a holder leaves the entry, which it has left already; and both. */
void grd_master_holder_left(struct grd_master *master, struct grd_entry *entry,
                            const struct grd_holder *holder);
void grd_master_holder_out(struct grd_master *master, struct grd_entry *entry,
                           const struct grd_holder *holder);
/* This version is durable: past images up to it may go. */
void grd_master_durable(struct grd_master *master, struct grd_entry *entry, uint64_t durable,
                        struct grd_actions *actions);
/* Asks the holder with the write duty to write; false: nobody has it. */
bool grd_master_ask_write(struct grd_master *master, struct grd_entry *entry, uint64_t version,
                          struct grd_actions *actions);
void grd_master_on_installed(struct grd_master *master, struct grd_entry *entry, const struct grd_msg *msg,
                             uint64_t now_ns, struct grd_actions *actions);
void grd_master_on_release(struct grd_master *master, struct grd_entry *entry, const struct grd_msg *msg,
                           uint64_t now_ns, struct grd_actions *actions);
void grd_master_on_not_held(struct grd_master *master, struct grd_entry *entry, const struct grd_msg *msg,
                            uint64_t now_ns, struct grd_actions *actions);
void grd_master_on_kept(struct grd_master *master, struct grd_entry *entry, const struct grd_msg *msg,
                        struct grd_actions *actions);
void grd_master_on_past(struct grd_master *master, struct grd_entry *entry, const struct grd_msg *msg,
                        struct grd_actions *actions);
void grd_master_on_write_ask(struct grd_master *master, struct grd_entry *entry, const struct grd_msg *msg,
                             struct grd_actions *actions);

/* master_rebuild.c */
/*
 * A message of a resource that has no entry: does it concern one that was given back? The hint says whom to ask.
 */
bool grd_master_needs_rebuild(struct grd_master *master, const struct grd_msg *msg, uint64_t hash,
                              struct grd_hint *hint_out);
void grd_master_rebuild(struct grd_master *master, struct grd_entry *entry, const struct grd_msg *msg,
                        const struct grd_hint *hint, uint64_t hash, uint64_t now_ns,
                        struct grd_actions *actions);
void grd_master_on_held(struct grd_master *master, struct grd_entry *entry, const struct grd_msg *msg,
                        uint64_t hash, uint64_t now_ns, struct grd_actions *actions);
/* A message other than REQUEST and HELD of an entry in rebuild. */
void grd_master_meanwhile(struct grd_master *master, struct grd_entry *entry, const struct grd_msg *msg,
                          uint64_t now_ns, struct grd_actions *actions);
/* All is known: the entry is served from here on. */
void grd_master_rebuilt(struct grd_master *master, struct grd_entry *entry, struct grd_rebuild *rebuild,
                        uint64_t hash, uint64_t now_ns, struct grd_actions *actions);
void grd_master_ask_all(struct grd_master *master, struct grd_rebuild *rebuild, struct grd_actions *actions);
void grd_master_recall_again(struct grd_master *master, struct grd_rebuild *rebuild, uint64_t now_ns,
                             struct grd_actions *actions);

/* master_move.c, master_export.c (the last owner), master_import.c (the next) */
/* Entries under way to the next owner; entries looked at in a step. */
#define GRD_EXPORT_WINDOW 128u
#define GRD_EXPORT_LOOKS_MAX 1024u
bool grd_master_needs_ask(const struct grd_msg *msg, uint8_t state, struct grd_hint *hint_out);
/* False: the bucket's entries do not come from anybody now. */
bool grd_master_ask_last_owner(struct grd_master *master, struct grd_rebuild *rebuild, uint32_t bucket,
                               struct grd_actions *actions);
void grd_master_ask_owner_again(struct grd_master *master, struct grd_rebuild *rebuild,
                                struct grd_actions *actions);
/* MOVE_ENTRY, MOVE_ASK, MOVE_GOT. False: it is none of them. */
bool grd_master_on_move(struct grd_master *master, const struct grd_msg *msg, uint64_t hash, uint64_t now_ns,
                        struct grd_actions *actions);
/* Sends entries of the bucket that goes, as many as may be under way. */
void grd_master_export(struct grd_master *master, uint64_t now_ns, struct grd_actions *actions);
void grd_master_export_again(struct grd_master *master, uint64_t now_ns, struct grd_actions *actions);

#endif
