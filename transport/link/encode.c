/* SPDX-License-Identifier: Apache-2.0 */
/* Pieces into bytes: headers and bodies are copied, and blocks are where the device cannot fetch them itself. */
#include <string.h>

#include "base/atomic.h"
#include "base/crc32c.h"
#include "transport/link/link.h"

static bool is_stable(const struct xp_link_block *block)
{
    if (block->word == NULL)
        return true;
    /* The holder moves the word before it changes the bytes: what was read before this look belongs to the word. */
    cf_fence_after_copy();
    return (cf_peek_u64(block->word) & block->word_mask) == block->word_value;
}

/* The block has moved: nothing of it goes. */
static void piece_tear(struct xp_link_piece *piece)
{
    piece->slot->is_torn = 1;
    piece->block_bytes = 0;
    piece->head.flags |= XP_LINK_TORN;
    piece->head.bytes = (uint16_t)piece->front_bytes;
}

/* Copies one piece, but for the block when that lies apart; when the block has moved, what was copied of it is taken back. */
static uint32_t piece_encode(struct xp_link_piece *piece, uint8_t *out, bool is_apart)
{
    struct xp_link_slot *slot = piece->slot;
    uint8_t *at = out + XP_LINK_SEGMENT_BYTES;
    uint32_t bytes;

    if (piece->front_bytes != 0) { /* chunk 0 has all of it: XP_LINK_CHUNK_BYTES_MIN */
        memcpy(at, &slot->header, XP_HEADER_BYTES);
        xp_link_copy_body(at + XP_HEADER_BYTES, slot->body, piece->front_bytes - XP_HEADER_BYTES);
    }
    if (piece->block_bytes != 0 && !is_apart) {
        memcpy(at + piece->front_bytes, slot->block.bytes + piece->block_from, piece->block_bytes);
        if (!is_stable(&slot->block))
            piece_tear(piece);
    }
    memcpy(out, &piece->head, XP_LINK_SEGMENT_BYTES);
    if (is_apart)
        return XP_LINK_SEGMENT_BYTES + piece->front_bytes;
    bytes = xp_link_piece_bytes(piece);
    if (bytes != XP_LINK_SEGMENT_BYTES + piece->head.bytes)
        memset(at + piece->head.bytes, 0, bytes - XP_LINK_SEGMENT_BYTES - piece->head.bytes);
    return bytes;
}

static void crc_put(uint8_t *out, uint32_t crc)
{
    memcpy(out + offsetof(struct xp_link_head, crc), &crc, sizeof(crc));
}

/* All of a packet but what lies apart, which ends it. Returns the bytes written. */
static uint32_t pieces_encode(struct xp_link_packet *packet, uint32_t apart_bytes, uint8_t *out)
{
    uint32_t bytes = XP_LINK_HEAD_BYTES;

    for (uint32_t i = 0; i < packet->pieces_count; i++)
        bytes += piece_encode(&packet->pieces[i], out + bytes,
                              apart_bytes != 0 && i + 1 == packet->pieces_count);
    packet->bytes = bytes + apart_bytes;
    packet->head.bytes = (uint16_t)packet->bytes;
    packet->head.crc = 0;
    memcpy(out, &packet->head, XP_LINK_HEAD_BYTES);
    return bytes;
}

uint32_t xp_link_encode(struct xp_link_packet *packet, uint8_t *out)
{
    uint32_t bytes = pieces_encode(packet, 0, out);

    packet->head.crc = xp_link_crc(out, bytes);
    crc_put(out, packet->head.crc);
    return bytes;
}

/* Bytes that may lie apart: the block of the last piece, when it is worth it. */
static uint32_t apart_of(const struct xp_link *link, const struct xp_link_packet *packet)
{
    const struct xp_link_piece *last;

    if (packet->pieces_count == 0 || link->options.apart_bytes == 0)
        return 0;
    last = &packet->pieces[packet->pieces_count - 1];
    return last->block_bytes >= link->options.apart_bytes ? last->block_bytes : 0;
}

uint32_t xp_link_encode_apart(const struct xp_link *link, struct xp_link_packet *packet, uint8_t *out,
                              struct xp_link_sent *sent_out)
{
    uint32_t apart_bytes = apart_of(link, packet), bytes;
    struct xp_link_piece *last;
    const uint8_t *apart;

    if (apart_bytes == 0)
        return xp_link_encode(packet, out);
    last = &packet->pieces[packet->pieces_count - 1];
    apart = last->slot->block.bytes + last->block_from;
    bytes = pieces_encode(packet, apart_bytes, out);
    crc_put(out, cf_crc32c(xp_link_crc(out, bytes), apart, apart_bytes));
    if (!is_stable(&last->slot->block)) {
        piece_tear(last);
        return xp_link_encode(packet, out);
    }
    sent_out->apart = apart;
    sent_out->apart_bytes = apart_bytes;
    return bytes;
}
