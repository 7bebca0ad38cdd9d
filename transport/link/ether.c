/* SPDX-License-Identifier: Apache-2.0 */
#include "transport/link/ether.h"

#include <string.h>

#include "transport/link/wire.h"

#define TYPE_IPV4 0x0800u
#define TYPE_ARP 0x0806u
#define PROTOCOL_UDP 17u
#define ARP_REQUEST 1u
#define ARP_REPLY 2u

/* Offsets in a frame. */
#define AT_TYPE 12u
#define AT_IP XP_ETHER_BYTES
#define AT_UDP (AT_IP + XP_ETHER_IP_BYTES)
#define AT_ARP XP_ETHER_BYTES

static void put16(uint8_t *at, uint32_t value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

static void put32(uint8_t *at, uint32_t value)
{
    put16(at, value >> 16);
    put16(at + 2, value);
}

static uint32_t get16(const uint8_t *at)
{
    return (uint32_t)at[0] << 8 | at[1];
}

static uint32_t get32(const uint8_t *at)
{
    return get16(at) << 16 | get16(at + 2);
}

/* One's complement sum over the IPv4 header (RFC 791); 0 over a header whose checksum is right. */
static uint32_t ip_sum(const uint8_t *header)
{
    uint32_t sum = 0;

    for (uint32_t i = 0; i < XP_ETHER_IP_BYTES; i += 2)
        sum += get16(header + i);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    return ~sum & 0xffff;
}

void xp_ether_front(uint8_t front[XP_ETHER_FRONT_BYTES], const struct xp_ether_end *from,
                    const struct xp_ether_end *to, uint16_t source_port)
{
    memset(front, 0, XP_ETHER_FRONT_BYTES);
    memcpy(front, to->mac, XP_ETHER_MAC_BYTES);
    memcpy(front + XP_ETHER_MAC_BYTES, from->mac, XP_ETHER_MAC_BYTES);
    put16(front + AT_TYPE, TYPE_IPV4);
    front[AT_IP] = 0x45;              /* version 4, five words */
    put16(front + AT_IP + 6, 0x4000); /* do not fragment */
    front[AT_IP + 8] = 64;            /* hops */
    front[AT_IP + 9] = PROTOCOL_UDP;
    put32(front + AT_IP + 12, from->ip);
    put32(front + AT_IP + 16, to->ip);
    put16(front + AT_UDP, source_port);
    put16(front + AT_UDP + 2, XP_ETHER_PORT);
    put16(front + AT_IP + 10, ip_sum(front + AT_IP));
}

void xp_ether_finish(uint8_t *frame, uint32_t packet_bytes)
{
    uint32_t before = get16(frame + AT_IP + 2), after = XP_ETHER_IP_BYTES + XP_ETHER_UDP_BYTES + packet_bytes;
    /* Only the length has changed: RFC 1624, equation 3. */
    uint32_t sum = (~get16(frame + AT_IP + 10) & 0xffff) + (~before & 0xffff) + after;

    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    put16(frame + AT_IP + 2, after);
    put16(frame + AT_IP + 10, ~sum);
    put16(frame + AT_UDP + 4, XP_ETHER_UDP_BYTES + packet_bytes);
}

static bool is_udp_to(const uint8_t *frame, const struct xp_ether_filter *filter)
{
    const uint8_t *ip = frame + AT_IP;

    /* Fragments are foreign: ours are never cut. */
    return ip[0] == 0x45 && ip[9] == PROTOCOL_UDP && (get16(ip + 6) & 0x3fff) == 0 &&
           get16(frame + AT_UDP + 2) == XP_ETHER_PORT && get32(ip + 16) == filter->ip;
}

/* All that it may be but a packet of an open session, which is_plain has let through. */
static enum xp_ether_verdict classify(const struct xp_ether_filter *filter, const uint8_t *frame,
                                      uint32_t bytes)
{
    struct xp_link_head head;
    uint32_t type, udp_bytes;

    if (bytes < XP_ETHER_ARP_BYTES)
        return XP_ETHER_MALFORMED;
    type = get16(frame + AT_TYPE);
    if (type != TYPE_IPV4)
        return type == TYPE_ARP ? XP_ETHER_ARP : XP_ETHER_FOREIGN;
    if (bytes < XP_ETHER_FRONT_BYTES + XP_LINK_HEAD_BYTES)
        return XP_ETHER_FOREIGN;
    memcpy(&head, frame + XP_ETHER_FRONT_BYTES, sizeof(head));
    if (head.tag != filter->tag || !is_udp_to(frame, filter))
        return XP_ETHER_FOREIGN;
    udp_bytes = get16(frame + AT_UDP + 4);
    /* Short frames are padded by Ethernet, so the frame may be longer. */
    if (head.bytes < XP_LINK_HEAD_BYTES || udp_bytes != head.bytes + XP_ETHER_UDP_BYTES ||
        head.bytes > bytes - XP_ETHER_FRONT_BYTES ||
        get16(frame + AT_IP + 2) != head.bytes + XP_ETHER_UDP_BYTES + XP_ETHER_IP_BYTES)
        return XP_ETHER_MALFORMED;
    if (head.version != XP_LINK_VERSION || head.to != filter->node || head.from == filter->node ||
        head.kind < XP_LINK_DATA || head.kind > XP_LINK_ONE)
        return XP_ETHER_MALFORMED;
    /* The link's checksum begins behind the addresses, and words of the handshake are where those are learned. */
    if (head.crc != xp_link_crc(frame + XP_ETHER_FRONT_BYTES, head.bytes) ||
        (head.kind == XP_LINK_SHAKE && ip_sum(frame + AT_IP) != 0))
        return XP_ETHER_DAMAGED;
    return XP_ETHER_OURS;
}

/*
 * What nearly every frame is: a packet of a session, for us, with lengths that agree. The same tests in whole words, no
 * branch among them. False: classify has a name for it.
 */
static bool is_plain(const struct xp_ether_filter *filter, const uint8_t *frame, uint32_t bytes)
{
    const uint8_t *packet = frame + XP_ETHER_FRONT_BYTES;
    uint64_t about = xp_link_word(packet, 1), differs;
    uint32_t packet_bytes = (uint16_t)about, kind = (uint8_t)(about >> 24);
    uint16_t udp_bytes = (uint16_t)(packet_bytes + XP_ETHER_UDP_BYTES);
    uint16_t ip_bytes = (uint16_t)(packet_bytes + XP_ETHER_UDP_BYTES + XP_ETHER_IP_BYTES);

    /* EtherType, IPv4 without options, its length; no fragment, protocol; addressee, port; length of UDP. */
    differs = (xp_link_word(frame + AT_TYPE, 0) ^
               (UINT64_C(0x00450008) | (uint64_t)__builtin_bswap16(ip_bytes) << 32)) &
              UINT64_C(0x0000ffff00ffffff);
    differs |= (xp_link_word(frame + AT_IP + 6, 0) ^ (uint64_t)PROTOCOL_UDP << 24) & UINT64_C(0xff00ff3f);
    differs |= (xp_link_word(frame + AT_IP + 16, 0) ^
                (__builtin_bswap32(filter->ip) | (uint64_t)__builtin_bswap16(XP_ETHER_PORT) << 48)) &
               UINT64_C(0xffff0000ffffffff);
    differs |= (uint16_t)(xp_link_word(frame + AT_UDP + 4, 0) ^ __builtin_bswap16(udp_bytes));
    /* Cluster; version, addressee. */
    differs |= (uint32_t)xp_link_word(packet, 0) ^ filter->tag;
    differs |= (about ^ ((uint64_t)XP_LINK_VERSION << 16 | (uint64_t)filter->node << 48)) &
               UINT64_C(0xffff000000ff0000);
    return differs == 0 && (uint16_t)(about >> 32) != filter->node && packet_bytes >= XP_LINK_HEAD_BYTES &&
           packet_bytes <= bytes - XP_ETHER_FRONT_BYTES &&
           kind - XP_LINK_DATA <= XP_LINK_ONE - XP_LINK_DATA && kind != XP_LINK_SHAKE &&
           (uint32_t)(xp_link_word(packet, 0) >> 32) == xp_link_crc(packet, packet_bytes);
}

enum xp_ether_verdict xp_ether_open(const struct xp_ether_filter *filter, const uint8_t *frame,
                                    uint32_t bytes, const uint8_t **packet_out, uint32_t *packet_bytes_out)
{
    enum xp_ether_verdict verdict = XP_ETHER_OURS;

    if (bytes < XP_ETHER_FRONT_BYTES + XP_LINK_HEAD_BYTES || !is_plain(filter, frame, bytes))
        verdict = classify(filter, frame, bytes);
    if (verdict == XP_ETHER_OURS) {
        *packet_out = frame + XP_ETHER_FRONT_BYTES;
        *packet_bytes_out = (uint16_t)xp_link_word(frame + XP_ETHER_FRONT_BYTES, 1);
    }
    return verdict;
}

void xp_ether_sender(const uint8_t *frame, struct xp_ether_end *from_out)
{
    memcpy(from_out->mac, frame + XP_ETHER_MAC_BYTES, XP_ETHER_MAC_BYTES);
    from_out->ip = get32(frame + AT_IP + 12);
}

bool xp_ether_arp_answer(uint8_t *frame, uint32_t bytes, const struct xp_ether_end *own)
{
    uint8_t *arp = frame + AT_ARP;

    /* Ethernet and IPv4, a request, for us (RFC 826). */
    if (bytes < XP_ETHER_ARP_BYTES || get32(arp) != 0x00010800 || get16(arp + 4) != 0x0604 ||
        get16(arp + 6) != ARP_REQUEST || get32(arp + 24) != own->ip)
        return false;
    put16(arp + 6, ARP_REPLY);
    memmove(arp + 18, arp + 8, XP_ETHER_MAC_BYTES + 4);
    memcpy(arp + 8, own->mac, XP_ETHER_MAC_BYTES);
    put32(arp + 14, own->ip);
    memcpy(frame, arp + 18, XP_ETHER_MAC_BYTES);
    memcpy(frame + XP_ETHER_MAC_BYTES, own->mac, XP_ETHER_MAC_BYTES);
    return true;
}
