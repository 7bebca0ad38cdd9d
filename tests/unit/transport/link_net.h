/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_TRANSPORT_LINK_NET_H
#define TESTS_UNIT_TRANSPORT_LINK_NET_H

/*
 * Two links over a network that loses, doubles, reorders, delays, damages and goes dark, in virtual time, from one
 * seed. The checker of I-26 keeps its own books: what was posted, what may come next, what a block must contain.
 */
#include <stdbool.h>
#include <stdint.h>

struct link_net_options {
    uint64_t seed;
    double loss, twice, late, damage; /* chance a packet */
    uint64_t delay_ns;                /* one way; what is late comes up to 20 of it later */
    bool is_steady;                   /* every packet takes delay_ns: without faults none overtakes another */
    bool has_dark;                    /* now and then nothing gets through for milliseconds */
    bool has_tears;                   /* some blocks move before they are sent */
    bool has_apart;                   /* blocks are fetched from where they are when a packet goes */
    bool has_pauses;                  /* often one message is posted and sent, and then another */
    uint32_t packet_bytes;
    uint32_t lane_slots;
    uint32_t messages; /* of each lane and direction */
    uint32_t frames;   /* that a receiver lends */
    double blocks;     /* chance that a message of the data lane has one */
};

struct link_net_result {
    const char *why; /* NULL: all that must hold held */
    uint64_t ended_ns;
    uint64_t packets, alone, apart, segments_again, duplicates, reordered, timeouts, damaged, torn, refused;
};

/* Defaults: no fault, jumbo packets. */
void link_net_options_init(struct link_net_options *options, uint64_t seed);
/* Faults by seed, each class off with probability one half, losses up to 30 %. */
void link_net_options_draw(struct link_net_options *options, uint64_t seed);
void link_net_run(const struct link_net_options *options, struct link_net_result *result_out);

#endif
