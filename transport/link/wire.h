/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRANSPORT_LINK_WIRE_H
#define TRANSPORT_LINK_WIRE_H

/*
 * A packet of a link: one head, then segments, each with a head of its own. Little endian, natural alignment.
 *
 *   head     64 bytes  who, which session, times for the measured round trip, and for both lanes what has arrived
 *   segment  16 bytes  which part of which message, then its bytes; every segment head begins on 8 bytes, and nothing has
 *                      to follow block bytes that end the packet
 *
 * Or, when all there is to say is one small message and nothing is missing: a head of 80 bytes that says all of that,
 * then the body. What a header repeats of the session is left out, so a body of 64 bytes is three lines with its front.
 *
 * A message is header (48), body, block bytes, one behind the other, cut into chunks of the session's size; a
 * segment carries one chunk. Small messages share a packet. A segment is what is numbered, acknowledged and sent
 * again, so a packet is never repeated as a whole.
 *
 * The checksum (CRC-32C over everything behind it) is that of the images too: the sender computes it over the
 * bytes it sends and then looks whether the frame was still stable.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "transport/link/word.h"
#include "transport/wire.h"
#include "transport/xp.h"

#define XP_LINK_VERSION 2u
#define XP_LINK_HEAD_BYTES 64u
#define XP_LINK_SEGMENT_BYTES 16u
#define XP_LINK_ONE_BYTES 80u
#define XP_LINK_ALIGN 8u
/* Where the bytes under the checksum begin. */
#define XP_LINK_CRC_FROM 8u
/* Header and largest body always fit into the first chunk. */
#define XP_LINK_CHUNK_BYTES_MIN (XP_HEADER_BYTES + XP_BODY_BYTES_MAX)
#define XP_LINK_PACKET_BYTES_MIN (XP_LINK_HEAD_BYTES + XP_LINK_SEGMENT_BYTES + XP_LINK_CHUNK_BYTES_MIN)

enum xp_link_kind {
    XP_LINK_DATA = 1,  /* segments, acknowledgement */
    XP_LINK_PROBE = 2, /* the same, and an answer is asked for */
    XP_LINK_SHAKE = 3, /* a handshake message behind the head; not the business of the link */
    XP_LINK_ONE = 4,   /* one small message, acknowledgement */
};

/* held: how long the packet of `echo` waited here, in stamp units; this: nothing has arrived yet. */
#define XP_LINK_HELD_NONE UINT32_MAX
/* A stamp counts 32 ns; it wraps after 137 s. */
#define XP_LINK_STAMP_SHIFT 5

struct xp_link_lane_head {
    uint32_t next;  /* the first segment that has not arrived */
    uint32_t taken; /* messages taken, low bits: credits */
    uint64_t got;   /* bit i: segment next + i has arrived */
};

struct xp_link_head {
    uint32_t tag; /* of the cluster's name: the cheap filter */
    uint32_t crc;
    uint16_t bytes; /* of the packet from the tag on */
    uint8_t version;
    uint8_t kind;
    uint16_t from;
    uint16_t to;
    uint32_t session; /* of this pair of lives and this connection of theirs */
    uint32_t stamp;   /* the sender's clock */
    uint32_t echo;    /* stamp of the newest packet that arrived here */
    uint32_t held;
    struct xp_link_lane_head lanes[XP_LANES];
};
_Static_assert(sizeof(struct xp_link_head) == XP_LINK_HEAD_BYTES, "packet head");

#define XP_LINK_LAST 1u /* of its message */
#define XP_LINK_TORN 2u /* the block is not to be had any more; no byte of it follows */
#define XP_LINK_LANE 4u /* set: the data lane */
#define XP_LINK_FLAGS (XP_LINK_LAST | XP_LINK_TORN | XP_LINK_LANE)
#define XP_LINK_NO_BLOCK 0xffu

struct xp_link_segment {
    uint32_t sequence; /* of the lane, rises by one a segment, wraps */
    uint32_t message;  /* number of the message in its lane, low bits */
    uint16_t index;    /* of the chunk in its message */
    uint16_t body;     /* bytes of the message's body */
    uint8_t flags;
    uint8_t class_index; /* of the block, XP_LINK_NO_BLOCK: none */
    uint16_t bytes;      /* that follow */
};
_Static_assert(sizeof(struct xp_link_segment) == XP_LINK_SEGMENT_BYTES, "segment head");

/* Begins as struct xp_link_head does. Nothing is missing, so no lane has a word of what has arrived. */
struct xp_link_one {
    uint8_t front[32];
    struct {
        uint32_t next;
        uint32_t taken;
    } lanes[XP_LANES];
    uint32_t sequence;
    uint32_t message;
    uint64_t scn;
    uint64_t epoch;
    uint16_t type;
    uint16_t body;
    uint32_t lane; /* enum xp_class */
};
_Static_assert(sizeof(struct xp_link_one) == XP_LINK_ONE_BYTES, "head of one message");
_Static_assert(XP_LINK_ONE_BYTES <= XP_LINK_HEAD_BYTES + XP_LINK_SEGMENT_BYTES + XP_HEADER_BYTES,
               "it fits wherever a message of a packet of its own does");

/* The words of a header that stay the same for all messages of a lane. */
struct xp_link_who {
    uint64_t sender;     /* node, lane, incarnation */
    uint64_t connection; /* generation, tag */
};

static inline void xp_link_header_put(struct xp_header *header, const struct xp_link_who *who, uint16_t type,
                                      uint32_t body_bytes, uint64_t epoch, uint64_t scn, uint64_t message)
{
    uint8_t *out = (uint8_t *)header;

    xp_link_put_word(out, 0, XP_WIRE_VERSION | (uint64_t)type << 16 | (uint64_t)body_bytes << 32);
    xp_link_put_word(out, 1, who->sender);
    xp_link_put_word(out, 2, epoch);
    xp_link_put_word(out, 3, scn);
    xp_link_put_word(out, 4, message);
    xp_link_put_word(out, 5, who->connection);
}
_Static_assert(offsetof(struct xp_header, type) == 2 && offsetof(struct xp_header, bytes) == 4 &&
                   offsetof(struct xp_header, node) == 8 && offsetof(struct xp_header, lane_class) == 10 &&
                   offsetof(struct xp_header, incarnation) == 12 && offsetof(struct xp_header, epoch) == 16 &&
                   offsetof(struct xp_header, scn) == 24 && offsetof(struct xp_header, sequence) == 32 &&
                   offsetof(struct xp_header, generation) == 40 && offsetof(struct xp_header, tag) == 44 &&
                   __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "words of a header");

static inline uint32_t xp_link_align(uint32_t bytes)
{
    return (bytes + XP_LINK_ALIGN - 1) & ~(XP_LINK_ALIGN - 1);
}

static inline uint32_t xp_link_block_bytes(uint8_t class_index)
{
    return class_index == XP_LINK_NO_BLOCK ? 0 : CF_BLOCK_BYTES_MIN << class_index;
}

/*
 * Copies a body, in whole words: up to seven bytes more than it has, which both places have room for. A call, or the
 * instruction for strings that compilers put here, takes longer than a small body.
 */
static inline void xp_link_copy_body(uint8_t *to, const uint8_t *from, uint32_t bytes)
{
    uint32_t at = 0;

    for (; at + 32 <= bytes; at += 32)
        memcpy(to + at, from + at, 32);
    for (; at < bytes; at += XP_LINK_ALIGN)
        memcpy(to + at, from + at, XP_LINK_ALIGN);
}
_Static_assert(XP_BODY_BYTES_MAX % XP_LINK_ALIGN == 0 && XP_HEADER_BYTES % XP_LINK_ALIGN == 0,
               "a body ends within the words of its place");

/* Bytes of chunk `index` of a message. */
static inline uint32_t xp_link_chunk_of(uint32_t total, uint32_t chunk_bytes, uint32_t index)
{
    uint32_t from = index * chunk_bytes;

    return from >= total ? 0 : total - from < chunk_bytes ? total - from : chunk_bytes;
}

uint32_t xp_link_crc(const uint8_t *packet, uint32_t bytes);

#endif
