/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GRD_DETECT_H
#define GRD_DETECT_H

/*
 * The deadlock detector's core: reports of all instances in, victims out. Pure: it sends nothing, knows no
 * clock and no lock code, and works in the memory it is given. docs/locks-detector.md has the argument why it
 * is right.
 *
 *   round k:    round_begin, reports ..., round_end     edges are candidates
 *   round k+1:  round_begin, reports ..., round_end     edges reported in both rounds are confirmed
 *               resolve, victim_next ... until false    victims of the confirmed edges
 *   round k+2:  as k+1: each round confirms what the one before it reported
 *
 * A round is told anew (round_begin), or as changes (round_continue): then what was told stands until it is taken back by
 * its print (round_gone), and counts as reported in this round.
 *
 * Concurrency: one owner, no threads.
 */
#include <stdbool.h>
#include <stdint.h>

#include <cachefusion/status.h>

#include "base/compiler.h"

#define GRD_DETECT_MODES 8u
#define GRD_DETECT_NODES_MAX 1024u
#define GRD_DETECT_VERTICES_MAX (1u << 26)
#define GRD_DETECT_EDGES_MAX (1u << 27)

struct grd_detect;

/*
 * What stands before whom. `id`s are such that an edge that is gone never comes back under the same ids: a
 * wait has a new wait id each time, a grant a new grant id each time it is given or its mode changes.
 *
 *   LOCAL   at `node`, `owner` waits (`wait`) for `holder`: an incompatible grant, or an incompatible earlier
 *           waiter; `grant` is the grant id or the earlier wait id
 *   ASKS    at `node`, `owner` waits (`wait`) for what the instance has asked of the master of `key` by ask
 *           `grant`
 *   BEHIND  at the master, ask `wait` of `node` for `mode` stands behind instance `peer`: side HOLDS, its
 *           grant `grant`; side WAITS, its earlier ask `grant`; side ITSELF, its earlier ask `grant`, for whomever:
 *           the ask goes on also when nobody at `peer` waits for it any more
 *   STAKE   at `node`, `owner` is why the instance holds (side HOLDS) its grant `wait` of `key`, or why it
 *           waits (side WAITS) with its ask `wait`: `mode` is the owner's, `grant` its grant id or wait id
 *           there
 *
 * BEHIND and STAKE meet where instance, key, side and the id of the instance's grant or ask are the same, and
 * the owner's mode conflicts with the mode asked.
 */
enum grd_detect_kind {
    GRD_DETECT_LOCAL = 0,
    GRD_DETECT_ASKS = 1,
    GRD_DETECT_BEHIND = 2,
    GRD_DETECT_STAKE = 3,
    GRD_DETECT_KINDS = 4
};
enum grd_detect_side {
    GRD_DETECT_HOLDS = 0,
    GRD_DETECT_WAITS = 1,
    GRD_DETECT_SIDES = 2,
    GRD_DETECT_ITSELF = 2 /* of BEHIND alone */
};

struct grd_detect_report {
    uint8_t kind; /* enum grd_detect_kind */
    uint8_t side; /* BEHIND, STAKE: enum grd_detect_side */
    uint8_t mode; /* BEHIND, STAKE: below GRD_DETECT_MODES */
    uint16_t node;
    uint16_t peer;   /* BEHIND */
    uint32_t cost;   /* LOCAL, ASKS: of ending this wait */
    uint64_t key;    /* the resource */
    uint64_t owner;  /* LOCAL, ASKS, STAKE */
    uint64_t holder; /* LOCAL */
    uint64_t wait;
    uint64_t grant;
    uint64_t age_ns; /* LOCAL, ASKS: how long the wait lasts by now */
};

struct grd_detect_options {
    uint32_t vertices_max; /* owners, asks and stakes in one round */
    uint32_t edges_max;    /* of two rounds in turn: what both report counts once */
    uint64_t seed;         /* of the hash tables */
    /* Bit m of conflicts[a]: mode a asked and mode m held or awaited do not go together. */
    uint8_t conflicts[GRD_DETECT_MODES];
};

/* Counted since open. */
struct grd_detect_counts {
    uint64_t rounds;
    uint64_t refused; /* reports with a kind, side, mode or node that does not exist */
    uint64_t cut;     /* reports that found no room: instances report their oldest waits first */
    uint64_t victims;
    uint64_t work; /* edges that resolve and victim_next have looked at */
};

/* Bytes for these bounds, all included; 0 where a bound is 0 or beyond what the detector can count. */
uint64_t grd_detect_bytes(uint32_t vertices_max, uint32_t edges_max);
/*
 * `arena` is aligned to a cache line and holds `arena_bytes`; it stays the caller's. CF_INVALID, CF_MEMORY.
 */
CF_CHECK enum cf_rc grd_detect_open(const struct grd_detect_options *options, void *arena,
                                    uint64_t arena_bytes, struct grd_detect **detect_out);
/* Forgets all edges: after a change of view nothing reported before it counts. Ends an open round. */
void grd_detect_clear(struct grd_detect *detect);

/* What a report is known by: 64 bits of hash over all but age and cost, the same in all instances. */
uint64_t grd_detect_print(const struct grd_detect_report *report);

/* A round begins after every report of the one before it has been made. */
void grd_detect_round_begin(struct grd_detect *detect);
/*
 * The same for a round in which only changes are told, `since_ns` after the last one began, which lacked no report.
 */
void grd_detect_round_continue(struct grd_detect *detect, uint64_t since_ns);
/* Reports with these prints are no more. */
void grd_detect_round_gone(struct grd_detect *detect, const uint64_t *prints, uint32_t prints_count);
/*
 * Each edge may be told any number of times, in any order. Reports that are not well-formed are counted, no
 * more.
 */
CF_HOT void grd_detect_round_report(struct grd_detect *detect, const struct grd_detect_report *reports,
                                    uint32_t reports_count);
/*
 * Answers how many edges are confirmed. A round told anew that lacks reports confirms less, never something wrong; one
 * told as changes must not lack any to be resolved.
 */
uint32_t grd_detect_round_end(struct grd_detect *detect);
/* Edges of owners who wait, in the round that has ended. */
uint32_t grd_detect_waits(const struct grd_detect *detect);
/*
 * The last resolve has found nothing because of an owner with several waits: the one noted as its oldest is over, and which
 * one is now is known after a round told anew.
 */
bool grd_detect_is_stale(const struct grd_detect *detect);

enum grd_detect_what { GRD_DETECT_OWNER = 0, GRD_DETECT_ASK = 1, GRD_DETECT_STANDS = 2 };

/* A vertex of a cycle. */
struct grd_detect_step {
    uint8_t what; /* enum grd_detect_what */
    uint8_t side; /* STANDS */
    uint8_t mode; /* STANDS: of the owners behind it */
    uint16_t node;
    uint64_t id;   /* owner id; ask; grant or ask that the instance stands with */
    uint64_t key;  /* OWNER: what its oldest wait is for */
    uint64_t wait; /* OWNER: wait id of that wait */
};

struct grd_detect_victim {
    uint16_t node;
    uint32_t cost;
    uint64_t owner;
    uint64_t key;  /* of its oldest wait */
    uint64_t wait; /* wait id of its oldest wait */
    uint64_t age_ns;
    uint32_t cycle_length; /* vertices of a shortest cycle it lies on, all kinds counted */
    uint32_t steps_count;  /* how many of them are in `steps`, from the victim on */
};

/* Between rounds: finds the components of the confirmed edges. Answers how many vertices lie on cycles. */
uint32_t grd_detect_resolve(struct grd_detect *detect);
/*
 * The next victim: of the owners on a cycle of a component, the one with the lowest (cost, age, node, owner
 * id). It is taken out of the graph with all its waits. False: no cycle with an owner is left. docs/locks-detector.md
 * says what it costs.
 */
CF_CHECK bool grd_detect_victim_next(struct grd_detect *detect, struct grd_detect_victim *victim_out,
                                     struct grd_detect_step *steps, uint32_t steps_max);

void grd_detect_counts(const struct grd_detect *detect, struct grd_detect_counts *counts_out);

#endif
