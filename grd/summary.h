/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GRD_SUMMARY_H
#define GRD_SUMMARY_H

/*
 * What a shard remembers of entries it has given back to their holders: two bytes each, and never a false negative.
 *
 *   line, 64 bytes:  [ over plain | over past | slot x 30 ]     slot: fingerprint, 11 bits | code, 5 bits; 0 = free
 *
 * A key has two lines and goes to the emptier one. When both are full it is counted in the first ("over"), and
 * from then on every key of that line may have been given back and everybody is asked. Keys of one line are told apart by
 * their fingerprints only, so the line holds a multiset; docs/directory.md has the argument why taking
 * out never uncovers another key, and the rate of wrong positives.
 *
 * Owner: the shard's directory worker, in the transition that removes or recreates the entry [G-14].
 */
#include <stdbool.h>
#include <stdint.h>

#define GRD_SUMMARY_LINE_BYTES 64u
#define GRD_SUMMARY_SLOTS 30u /* of a line */
#define GRD_SUMMARY_CLASSES 29u

/* What a slot says of the holders of its key. */
enum grd_summary_code {
    GRD_SUMMARY_FREE = 0,
    /* 1 .. 29: one holder, node % 29 + 1 */
    GRD_SUMMARY_MANY = 30, /* several holders, no past image */
    GRD_SUMMARY_PAST = 31  /* past images as well */
};

struct grd_summary {
    uint16_t *lines; /* [lines_count * 32] */
    uint64_t lines_count;
    uint64_t seed;
    uint64_t keys; /* given back at the moment */
    uint64_t over; /* of these, without a slot of their own */
};

/* Whom to ask about a key. */
struct grd_hint {
    uint32_t classes; /* bit c: nodes with node % 29 == c */
    bool is_any;      /* it may have been given back; else it has not */
    bool ask_all;
    bool has_past; /* past images may have been listed */
};

static inline uint8_t grd_summary_class(uint16_t node)
{
    return (uint8_t)(node % GRD_SUMMARY_CLASSES + 1);
}
/* `memory` is lines * GRD_SUMMARY_LINE_BYTES zero bytes. */
void grd_summary_init(struct grd_summary *summary, void *memory, uint64_t lines, uint64_t seed);
/* `tag` is what the index knows of a key's keyed hash. */
void grd_summary_add(struct grd_summary *summary, uint32_t tag, uint8_t code);
struct grd_hint grd_summary_look(const struct grd_summary *summary, uint32_t tag);
/*
 * Takes one key out that was given back with this code or, where past images were listed, with GRD_SUMMARY_PAST. False: it
 * is not there, so that whoever said it held the key gave a false answer.
 */
bool grd_summary_remove(struct grd_summary *summary, uint32_t tag, uint8_t code);
void grd_summary_prefetch(const struct grd_summary *summary, uint32_t tag);
/* Asserts the counts against the lines. */
void grd_summary_check(const struct grd_summary *summary);

#endif
