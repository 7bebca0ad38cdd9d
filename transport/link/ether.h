/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRANSPORT_LINK_ETHER_H
#define TRANSPORT_LINK_ETHER_H

/*
 * What a packet of a link is on the wire: Ethernet, IPv4 without options, UDP, so that switches route it and spread it
 * by its ports. Network byte order here, the link's own bytes behind it are little endian. The UDP checksum is 0 (none,
 * RFC 768): the link's CRC-32C is stronger and covers every byte behind the UDP header.
 */
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/compiler.h"
#include "transport/link/word.h"

#define XP_ETHER_MAC_BYTES 6u
#define XP_ETHER_BYTES 14u
#define XP_ETHER_IP_BYTES 20u
#define XP_ETHER_UDP_BYTES 8u
#define XP_ETHER_FRONT_BYTES (XP_ETHER_BYTES + XP_ETHER_IP_BYTES + XP_ETHER_UDP_BYTES)
/* In the range for private use; the source port spreads pairs of nodes over queues and paths. */
#define XP_ETHER_PORT 53174u
#define XP_ETHER_SOURCE_PORT 49152u
#define XP_ETHER_ARP_BYTES 42u
/* Ethernet's shortest frame, without the checksum that the card adds; not every card fills up a shorter one. */
#define XP_ETHER_BYTES_MIN 60u

struct xp_ether_end {
    uint8_t mac[XP_ETHER_MAC_BYTES];
    uint32_t ip; /* host order */
};

/* Why a packet is none of ours; foreign ones are counted and not looked at further. */
enum xp_ether_verdict {
    XP_ETHER_OURS = 0,
    XP_ETHER_FOREIGN,   /* another EtherType, protocol, address, port or cluster */
    XP_ETHER_ARP,       /* a question or answer of ARP over IPv4 */
    XP_ETHER_MALFORMED, /* a length or version that contradicts itself */
    XP_ETHER_DAMAGED    /* the checksum does not fit */
};

struct xp_ether_filter {
    uint32_t tag; /* of the cluster's name */
    uint32_t ip;  /* ours */
    uint16_t node;
};

/* The 42 bytes in front of a packet of no bytes; xp_ether_place puts them before a real one. */
void xp_ether_front(uint8_t front[XP_ETHER_FRONT_BYTES], const struct xp_ether_end *from,
                    const struct xp_ether_end *to, uint16_t source_port);
/* Lengths and header checksum of a front, or of a copy of one, for a link packet of so many bytes. */
void xp_ether_finish(uint8_t *frame, uint32_t packet_bytes);

/* Copies a front, with lengths and header checksum of a link packet of so many bytes: RFC 1624, equation 3. */
static inline void xp_ether_place(uint8_t *frame, const uint8_t front[XP_ETHER_FRONT_BYTES],
                                  uint32_t packet_bytes)
{
    const uint64_t low = 0xffff;
    uint32_t udp_bytes = XP_ETHER_UDP_BYTES + packet_bytes, ip_bytes = XP_ETHER_IP_BYTES + udp_bytes;
    uint32_t sum = __builtin_bswap16((uint16_t)~xp_link_word(front, 3)) + ip_bytes;

    sum = (sum & 0xffff) + (sum >> 16);
    xp_link_put_word(frame, 0, xp_link_word(front, 0));
    xp_link_put_word(frame, 1, xp_link_word(front, 1));
    xp_link_put_word(frame, 2, (xp_link_word(front, 2) & ~low) | __builtin_bswap16((uint16_t)ip_bytes));
    xp_link_put_word(frame, 3, (xp_link_word(front, 3) & ~low) | __builtin_bswap16((uint16_t)~sum));
    xp_link_put_word(frame, 4,
                     xp_link_word(front, 4) << 16 >> 16 | (uint64_t)__builtin_bswap16((uint16_t)udp_bytes)
                                                              << 48);
    memset(frame + 40, 0, XP_ETHER_FRONT_BYTES - 40);
}
/*
 * Looks at a received frame, the cheapest test first. Ours: *packet_out is the link packet with a checksum that fits,
 * a version and a length that are right, sent to this node by another one.
 */
CF_CHECK enum xp_ether_verdict xp_ether_open(const struct xp_ether_filter *filter, const uint8_t *frame,
                                             uint32_t bytes, const uint8_t **packet_out,
                                             uint32_t *packet_bytes_out);
/* Sender of an opened frame. */
void xp_ether_sender(const uint8_t *frame, struct xp_ether_end *from_out);
/* Answers a question for our address in place. False: it was none. */
CF_CHECK bool xp_ether_arp_answer(uint8_t *frame, uint32_t bytes, const struct xp_ether_end *own);

#endif
