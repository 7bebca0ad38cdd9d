/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRANSPORT_SIM_SIM_H
#define TRANSPORT_SIM_SIM_H

/*
 * The simulated network: one object a cluster, one thread, virtual time, every decision drawn from one seed.
 * Instances reach it through the sim: provider (xp_options.network); the harness owns time and faults.
 *
 * What the layer above sees depends on `order`:
 *   SIM_ORDERED  what T-1 promises: a lost message is sent again underneath and only comes later, nothing is
 *                doubled; lanes overtake each other; only a flap (XP_EV_RESET) loses messages.
 *   SIM_RAW      losses and doubles reach the layer above, doubles late as well; the originals of a lane keep
 *                their order.
 *   SIM_CHAOS    as raw, and originals of one lane overtake each other.
 *   SIM_LINKS    as ordered, but it is the links of dpdk: (transport/link) that make it so: packets below them are lost,
 *                doubled, reordered and damaged.
 *
 * READ copies in pieces, each at its own time, so that what is changed meanwhile is torn.
 * Blocks: PULL copies out of the sender's frame at delivery and says XP_EV_TORN when its word has moved since
 * the post; PUSH takes the bytes at the post.
 */
#include <stdbool.h>
#include <stdint.h>

#include <cachefusion/status.h>

#include "base/compiler.h"
#include "transport/wire.h"

enum sim_order { SIM_ORDERED = 0, SIM_RAW = 1, SIM_CHAOS = 2, SIM_LINKS = 3 };
enum sim_blocks { SIM_PULL = 0, SIM_PUSH = 1 };

#define SIM_PPM 1000000u

/* What may happen to any message; all zero = a calm network. */
struct sim_net_faults {
    uint32_t loss_ppm;
    uint32_t duplicate_ppm;
    uint32_t damage_ppm;    /* SIM_LINKS */
    uint32_t torn_ppm;      /* PULL: the copy fails although the word stood still */
    uint64_t late_ns_max;   /* a double comes up to this much after its original was sent */
    uint64_t delay_mean_ns; /* exponential, on top of the floor */
};

struct sim_net_options {
    uint32_t nodes;
    uint64_t seed;
    enum sim_order order;
    enum sim_blocks blocks;
    uint64_t delay_floor_ns;
    uint64_t bytes_per_us; /* of a link; 0 = no limit */
    uint64_t
        retransmit_ns;  /* SIM_ORDERED: what a loss costs; SIM_LINKS: shortest wait for an acknowledgement */
    uint64_t detect_ns; /* from a crash to XP_EV_DOWN at the others, at most twice this */
    uint32_t packet_bytes; /* SIM_LINKS: largest packet */
    bool reorders;         /* SIM_LINKS: packets overtake each other */
    bool serves_stale;     /* a planted mistake: messages of another epoch are delivered */
    struct sim_net_faults faults;
};

struct sim_net_counters {
    uint64_t posted, delivered, lost, doubled, torn, dropped_generation, dropped_gone, flaps, blocks,
        injected;
    uint64_t reads;           /* one-sided READs that ended */
    uint64_t frames, damaged; /* SIM_LINKS: frames sent; lost and doubled count frames there */
    uint64_t no_frame;        /* blocks that met no lent frame: told as torn */
};

/* What became of one message, for whoever keeps a log of the run. */
enum sim_fate { SIM_DELIVERED = 0, SIM_LOST, SIM_DROPPED, SIM_TORN };
struct sim_seen {
    uint64_t now_ns;
    uint16_t from;
    uint16_t to;
    enum sim_fate fate;
    bool is_double;
    bool is_block;
    const struct xp_header *header;
    const void *body;
};
typedef void (*sim_observe_fn)(void *arg, const struct sim_seen *seen);

struct sim_net;

CF_CHECK enum cf_rc sim_net_open(const struct sim_net_options *options, struct sim_net **net_out);
/* After every provider that was opened on it. */
void sim_net_close(struct sim_net **net);

uint64_t sim_net_now(const struct sim_net *net);
/* Time never falls. */
void sim_net_advance(struct sim_net *net, uint64_t now_ns);
/* When the network next has something for an instance; UINT64_MAX = nothing is under way. A stalled instance
 * has nothing before its stall ends. */
uint64_t sim_net_next_ns(const struct sim_net *net);
uint16_t sim_net_next_node(const struct sim_net *net);
uint64_t sim_net_node_next_ns(const struct sim_net *net, uint16_t node);

void sim_net_faults_set(struct sim_net *net, const struct sim_net_faults *faults);
/* Messages from -> to come `factor` times as late; 1 = as before. */
void sim_net_slow(struct sim_net *net, uint16_t from, uint16_t to, uint32_t factor);
/* Cut in one direction until a time. SIM_ORDERED: what is sent meanwhile arrives afterwards; else it is lost. */
void sim_net_cut(struct sim_net *net, uint16_t from, uint16_t to, uint64_t until_ns);
/* Ends every cut now. */
void sim_net_heal(struct sim_net *net);
/* The connection breaks: what is under way is lost, both ends get XP_EV_RESET after about reopen_ns. False: not open. */
bool sim_net_flap(struct sim_net *net, uint16_t a, uint16_t b, uint64_t reopen_ns);
/* Every instance that is not gone may post to every other one. */
bool sim_net_is_whole(const struct sim_net *net);
/* When the last of what is under way now has arrived and every instance runs; 0: that is so. */
uint64_t sim_net_calm_ns(const struct sim_net *net);
/* The harness will not run turns of the instance until then. */
void sim_net_stall(struct sim_net *net, uint16_t node, uint64_t until_ns);
uint64_t sim_net_stalled_until(const struct sim_net *net, uint16_t node);
/* The instance is gone at once: half of what it has under way is lost, the others hear XP_EV_DOWN later. */
void sim_net_crash(struct sim_net *net, uint16_t node);
/* A message as if `from` had sent it in another epoch: the receiver counts and drops it (T-3). */
void sim_net_inject(struct sim_net *net, uint16_t from, uint16_t to, uint16_t type, const void *body,
                    uint32_t bytes, uint64_t epoch, uint64_t scn);

const struct sim_net_counters *sim_net_counters(const struct sim_net *net);
void sim_net_observe(struct sim_net *net, sim_observe_fn observe, void *arg);
/* Over every delivery so far: time, ends, type, bytes. Equal for equal seeds (I-27). */
uint64_t sim_net_trace(const struct sim_net *net);
/* NULL, or the first violation of I-26 that a delivery has shown. */
const char *sim_net_broken(const struct sim_net *net);
/* I-26: order, at most once, lent frames untouched, credits. False: `text` says what was broken first. */
bool sim_net_check(struct sim_net *net, char *text, size_t text_bytes);

#endif
