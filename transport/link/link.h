/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRANSPORT_LINK_LINK_H
#define TRANSPORT_LINK_LINK_H

/*
 * A reliable, credited link between two instances over a network that loses, doubles, reorders, delays and damages
 * packets: pure step functions. No clock, no socket, no allocation, no thread: the caller gives the time, the bytes
 * that arrived and the memory, and takes packets to send and messages to deliver.
 *
 *   xp_link_begin .. xp_link_post --> slots --> xp_link_build --> packet ~~~> xp_link_receive --> slots --> xp_link_take
 *                                       ^                                          |                       |
 *                                       +---- acknowledged, credit returned <~~~~~~+<---- xp_link_give <---+
 *
 * A lane numbers its segments and its messages. At most XP_LINK_SEGMENTS segments of a lane are outstanding, so that
 * one word says which of them have arrived; a receiver keeps nothing beyond that. Slots of both ends are credited: a
 * message is sent only into a slot that the receiver has free.
 *
 * Invariants, checked by xp_link_check and by the test of the lossy network (I-26):
 *   L-1 a message is taken once, in order, and only when all its segments have arrived;
 *   L-2 credits available + messages in flight = window; a receiver's word for it never falls, never passes what it
 *       acknowledged;
 *   L-3 in flight + acknowledged + lost = outstanding, for each lane and in sum;
 *   L-4 a frame taken for a block is named by one message or given back.
 *
 * What is lost is found by order of transmission (a segment is lost when one that was sent
 * XP_LINK_REORDER_PACKETS packets later has arrived: RFC 9002, section 6.1.1) and by a timer (rtt.h, doubling). How much may be in
 * flight and how fast it goes is in swift.h.
 */
#include "base/compiler.h"
#include "transport/credit.h"
#include "transport/link/ether.h"
#include "transport/link/rtt.h"
#include "transport/link/swift.h"
#include "transport/link/wire.h"

#define XP_LINK_SEGMENTS 64u
/* Every lane wraps soon after it opened, so that wrapping is an everyday thing. */
#define XP_LINK_SEQUENCE_FIRST (UINT32_MAX - 1023u)
#define XP_LINK_REORDER_PACKETS 3u
/* Segments of one packet, and segments received before an acknowledgement has to go. */
#define XP_LINK_PIECES_MAX 16u
#define XP_LINK_ACK_SEGMENTS 16u
#define XP_LINK_FRAME_NONE UINT32_MAX

struct xp_link_options {
    uint32_t lane_slots;   /* window in messages, a power of two */
    uint32_t packet_bytes; /* largest packet from the tag on, XP_LINK_PACKET_BYTES_MIN at least */
    uint32_t tag;
    uint32_t session;
    uint16_t node;
    uint16_t peer;
    uint32_t incarnation; /* of this end; what message headers say, with the session for a generation */
    uint32_t peer_incarnation;
    uint32_t message_tag;
    uint64_t rto_ns_min;
    uint64_t rto_ns_max;
    uint64_t ack_delay_ns; /* an acknowledgement waits so long for a message it can travel with */
    uint64_t keepalive_ns; /* after so long without a packet of ours the peer is asked for one of its own */
    uint64_t target_ns;    /* of the round trip, for congestion control */
    uint32_t window_min;   /* of congestion control, in 1/256 segments */
    uint32_t
        apart_bytes; /* a piece of a block of so many bytes need not be copied into its frame; 0: every one is */
};

/* Where a block comes from, and where one goes. */
struct xp_link_block {
    const uint8_t *bytes;
    const _Atomic uint64_t *word; /* NULL: it never moves */
    uint64_t word_value;          /* of the stable bits */
    uint64_t word_mask;
    uint8_t class_index;
};

/* The receiver's frames: a free one of a class, its bytes, and back. A receiver without one gets XP_LINK_FRAME_NONE. */
struct xp_link_frames {
    uint32_t (*take)(void *arg, uint8_t class_index);
    uint8_t *(*bytes)(void *arg, uint8_t class_index, uint32_t frame);
    void (*give)(void *arg, uint8_t class_index, uint32_t frame);
    void *arg;
};

/* A small message is two lines: what is known of it lies in the line of its header. */
struct xp_link_slot {
    struct xp_header header CF_ALIGNED(CF_CACHE_LINE);
    uint64_t message; /* its number; 0: never used */
    uint32_t frame;   /* receiver: where the block lands */
    uint16_t body_bytes : 15;
    uint16_t is_torn : 1;
    uint8_t segments; /* of the message; receiver: those that have arrived */
    uint8_t class_index;
    uint8_t body[XP_BODY_BYTES_MAX];
    struct xp_link_block block; /* sender */
};
_Static_assert(offsetof(struct xp_link_slot, body) == CF_CACHE_LINE, "the body begins a line");
_Static_assert((XP_LINK_CHUNK_BYTES_MIN + CF_BLOCK_BYTES_MAX) / XP_LINK_CHUNK_BYTES_MIN < UINT8_MAX,
               "segments of a message");

/* One transmission of one segment. */
struct xp_link_flight {
    uint64_t message;
    uint64_t order; /* number of the packet it went in */
    uint16_t index;
};

struct xp_link_tx {
    struct xp_link_slot *slots;
    uint64_t mask;
    struct xp_link_who who;
    struct xp_credit credit;
    uint64_t message;    /* under transmission, or the next one */
    uint32_t index;      /* of its next chunk */
    uint32_t una;        /* oldest segment outstanding */
    uint32_t next;       /* first segment never sent */
    uint64_t acked;      /* bit i: una + i has arrived */
    uint64_t lost;       /* bit i: una + i has to be sent again */
    uint64_t sent_again; /* bit i: una + i has been sent more than once */
    uint64_t messages_acked;
    uint32_t body_bytes;
    bool is_begun;
    struct xp_link_flight flights[XP_LINK_SEGMENTS];
};

struct xp_link_rx {
    struct xp_link_slot *slots;
    uint64_t mask;
    struct xp_link_who who;
    uint64_t window;
    struct xp_credit_taker taker;
    uint32_t next;      /* first segment that has not arrived */
    uint64_t got;       /* bit i: next + i has arrived */
    uint64_t last;      /* bit i: it ends a message */
    uint64_t complete;  /* messages that are whole, in order */
    uint64_t delivered; /* messages handed out */
};

/* A round trip that was seen; the arithmetic on it is done when nobody waits for a message: xp_link_settle. */
struct xp_link_sample {
    uint64_t now_ns; /* 0: none */
    uint64_t rtt_ns;
    uint32_t fresh; /* segments that it acknowledged */
};

/* A head whose acknowledgements are not looked at yet, so that the message behind it does not wait: xp_link_settle. */
struct xp_link_late {
    bool is_there;
    uint64_t now_ns;
    struct xp_link_head head;
};

struct xp_link_counters {
    uint64_t packets_sent, packets_received, segments_sent, segments_again, segments_received, duplicates,
        reordered, beyond_window, malformed, timeouts, lost, acks_alone, probes;
};

struct xp_link {
    struct xp_link_tx tx[XP_LANES];
    struct xp_link_rx rx[XP_LANES];
    struct xp_link_options options;
    uint64_t epoch; /* of messages posted from now on: the caller sets it */
    uint32_t chunk_bytes;
    uint32_t inflight;    /* segments of both lanes that may still arrive */
    uint64_t order;       /* packets built */
    uint64_t order_acked; /* the newest of which a segment has arrived */
    struct xp_link_rtt rtt;
    struct xp_swift swift;
    struct xp_link_sample sample;
    struct xp_link_late late;
    uint32_t backoff;
    uint64_t timer_ns; /* when the oldest transmission counts as lost; 0: nothing is outstanding */
    uint64_t pace_ns;  /* before it no segment goes */
    uint64_t sent_ns;  /* of the last packet */
    uint64_t heard_ns; /* of the last packet of the peer */
    uint32_t peer_stamp;
    uint32_t echo_seen;
    bool has_heard;
    bool must_ack;
    bool must_probe;
    bool is_violated; /* the peer broke the rules: nothing more is taken of it */
    uint32_t ack_count;
    uint64_t ack_since_ns;
    struct xp_link_counters counters;
};

/* One chunk of a packet to be sent. */
struct xp_link_piece {
    struct xp_link_segment head;
    struct xp_link_slot *slot;
    uint32_t front_bytes; /* of header and body, then */
    uint32_t block_from;  /* bytes of the block from here */
    uint32_t block_bytes;
};
struct xp_link_packet {
    struct xp_link_head head;
    uint32_t pieces_count;
    uint32_t bytes;
    struct xp_link_piece pieces[XP_LINK_PIECES_MAX];
};

struct xp_link_sent {
    bool has_pieces; /* it carries segments, not only an acknowledgement */
    bool has_more;   /* there may be another packet */
    /* The end of the packet, where the block is; the caller puts it behind the frame before the block moves. */
    const uint8_t *apart;
    uint32_t apart_bytes;
};

struct xp_link_delivery {
    const struct xp_header *header;
    const uint8_t *body;
    uint32_t body_bytes;
    uint32_t frame; /* XP_LINK_FRAME_NONE: without a block, or torn */
    bool is_torn;
    uint8_t class_index;
};

/* Memory a link wants for its slots. */
uint64_t xp_link_bytes(uint32_t lane_slots);
/* Opens a link over zeroed memory of that size. */
void xp_link_open(struct xp_link *link, const struct xp_link_options *options, void *memory, uint64_t now_ns);
/* Gives frames of messages that are not whole, or not taken, back. */
void xp_link_close(struct xp_link *link, const struct xp_link_frames *frames);

/* send.c: a slot for a message, NULL without credit; then the caller fills its body and it is posted, header stamped. */
struct xp_link_slot *xp_link_begin(struct xp_link *link, enum xp_class lane, uint32_t body_bytes);
void xp_link_post(struct xp_link *link, enum xp_class lane, uint16_t type, uint64_t scn,
                  const struct xp_link_block *block);
/* The next packet that may go now. False: none. */
bool xp_link_build(struct xp_link *link, uint64_t now_ns, struct xp_link_packet *packet_out);
/* encode.c: writes the packet with its checksum; a block that moved meanwhile becomes torn. Returns its bytes. */
uint32_t xp_link_encode(struct xp_link_packet *packet, uint8_t *out);
/* The same, but what may lie apart stays where it is: sent_out says so, and it is not counted in what is returned. */
uint32_t xp_link_encode_apart(const struct xp_link *link, struct xp_link_packet *packet, uint8_t *out,
                              struct xp_link_sent *sent_out);
/*
 * The same in one: the next packet that may go now, behind a copy of the Ethernet front, into `frame`. Returns the bytes
 * of the frame without what lies apart, 0: none.
 *
 * What lies apart has been read for the checksum and was stable then. When it moves before the device has it, the
 * checksum does not fit: the receiver drops the packet, and the segment is found torn when it is sent again.
 */
uint32_t xp_link_send(struct xp_link *link, uint64_t now_ns, const uint8_t front[XP_ETHER_FRONT_BYTES],
                      uint8_t *frame, struct xp_link_sent *sent_out);
/* True when a packet other than a late acknowledgement waits to go. */
bool xp_link_has_work(const struct xp_link *link, uint64_t now_ns);

/* ack.c: what the peer's head says, and the clock. */
void xp_link_ack(struct xp_link *link, uint64_t now_ns, const struct xp_link_head *head);
/* What receiving has put off. */
void xp_link_settle(struct xp_link *link);
void xp_link_tick(struct xp_link *link, uint64_t now_ns);
/* When the clock alone will have work; UINT64_MAX: never. */
uint64_t xp_link_due_ns(const struct xp_link *link);

/* receive.c: a packet whose checksum is right. Malformed parts are counted and dropped. */
void xp_link_receive(struct xp_link *link, uint64_t now_ns, const uint8_t *packet, uint32_t bytes,
                     const struct xp_link_frames *frames);
/* The next whole message of the lane; valid until xp_link_give. False: none. */
bool xp_link_take(struct xp_link *link, enum xp_class lane, struct xp_link_delivery *delivery_out);
/* Every message taken so far has been used: their slots are credited. */
void xp_link_give(struct xp_link *link);

/* A message waits of which not all has been sent. */
static inline bool xp_link_has_unsent(const struct xp_link_tx *tx)
{
    return tx->message <= tx->credit.sent;
}

/* A segment that was never sent may be, as far as the lane goes. */
static inline bool xp_link_has_new(const struct xp_link_tx *tx)
{
    return xp_link_has_unsent(tx) && tx->next - tx->una < XP_LINK_SEGMENTS;
}

/* Where the next message goes is not in the nearest cache: a window has more slots than it holds. */
static inline void xp_link_slot_expect(const struct xp_link_slot *slot)
{
    __builtin_prefetch(slot, 1);
    __builtin_prefetch(slot->body, 1);
}

static inline uint32_t xp_link_piece_bytes(const struct xp_link_piece *piece)
{
    return XP_LINK_SEGMENT_BYTES + xp_link_align(piece->head.bytes);
}

static inline uint64_t xp_link_max(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* NULL, or the invariant that does not hold. */
const char *xp_link_check(const struct xp_link *link);

#endif
