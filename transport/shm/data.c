/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The data path: no system call, no allocation, no read-modify-write.
 *
 * Ordering. A message is published by the release store of its slot's sequence word and observed by the acquire
 * load of it. A slot is handed back by the release store of the taken count and reused after the acquire load
 * of it. Frames: see block_pull.
 *
 * Trust. A peer can write its region at any time, so everything is copied out once and then checked; what is
 * delivered is the copy.
 */
#include <string.h>

#include "base/assert.h"
#include "transport/shm/shm.h"

/* Messages taken of one lane before the next one has its turn. */
#define LANE_BUDGET 16u
/* Lines fetched at a time: about as many as a core has fetches under way at once; and by a turn that finds nothing. */
#define WARM_LINES 12u
#define WARM_IDLE_LINES 24u

static inline _Atomic uint64_t *sequence_of(const struct xp_shm_slot *slot)
{
    return (_Atomic uint64_t *)(uintptr_t)&slot->header.sequence;
}

static inline struct xp_shm_slot *tx_slot(const struct xp_shm_tx *tx, uint64_t number)
{
    return (struct xp_shm_slot *)(tx->slots + (number & tx->mask) * XP_SHM_SLOT_BYTES);
}

bool xp_shm_credit_refresh(struct xp_shm *shm, struct xp_shm_peer *peer, struct xp_shm_tx *tx)
{
    if (tx->credit.window == 0)
        return false;
    /* Partner: the publish in tell. What the peer has taken it no longer reads. */
    if (!xp_credit_return(&tx->credit, cf_observe_u64(tx->told))) {
        shm->base.counters.bad_sequence++;
        xp_shm_life_violate(shm, peer, "it says it took messages that were never sent");
        return false;
    }
    return xp_credit_available(&tx->credit) != 0;
}

static CF_COLD bool begin_slow(struct xp_shm *shm, struct xp_shm_peer *peer, struct xp_shm_tx *tx)
{
    uint64_t bit = UINT64_C(1) << peer->node;

    if (xp_shm_credit_refresh(shm, peer, tx)) {
        shm->starved &= ~bit;
        return true;
    }
    if (tx->credit.window != 0) {
        shm->starved |= bit;
        shm->base.counters.no_credit++;
    }
    return false;
}

void *xp_shm_begin(struct xp *xp, uint16_t node, enum xp_class lane, uint32_t bytes)
{
    struct xp_shm *shm = xp_shm_of(xp);
    struct xp_shm_peer *peer;
    struct xp_shm_tx *tx;
    struct xp_shm_slot *slot;

    cf_assert(node < shm->nodes);
    cf_assert(bytes <= XP_BODY_BYTES_MAX);
    peer = &shm->peers[node];
    tx = &peer->tx[lane];
    if (CF_UNLIKELY(xp_credit_available(&tx->credit) == 0) && !begin_slow(shm, peer, tx))
        return NULL;
    slot = tx_slot(tx, tx->credit.sent);
    tx->body_bytes = bytes;
    tx->is_begun = 1;
    return bytes <= XP_SHM_INLINE_BYTES ? slot->inline_body : slot->body;
}

static inline void publish(struct xp_shm *shm, struct xp_shm_peer *peer, struct xp_shm_tx *tx,
                           struct xp_shm_slot *slot, uint16_t type, uint64_t scn, uint64_t block_bit)
{
    cf_assert(tx->is_begun);
    tx->is_begun = 0;
    xp_lane_stamp(&tx->facts, &slot->header, type, tx->body_bytes, scn);
    tx->credit.sent++;
    cf_publish_u64(sequence_of(slot), tx->credit.sent | block_bit); /* partner: observe in lane_take */
    shm->base.counters.sent++;
    shm->base.counters.bytes_sent += tx->body_bytes;
    if (!peer->facts.is_busy)
        shm->unflushed |= UINT64_C(1) << peer->node;
}

void xp_shm_post(struct xp *xp, uint16_t node, enum xp_class lane, uint16_t type, uint64_t scn)
{
    struct xp_shm *shm = xp_shm_of(xp);
    struct xp_shm_peer *peer = &shm->peers[node];
    struct xp_shm_tx *tx = &peer->tx[lane];

    publish(shm, peer, tx, tx_slot(tx, tx->credit.sent), type, scn, 0);
}

static inline uint32_t class_of(const struct xp_frame_space *space, uint32_t frame)
{
    uint32_t i = 0;

    while (i < CF_BLOCK_SIZES && frame - space->classes[i].first >= space->classes[i].count)
        i++;
    return i;
}

void xp_shm_post_block(struct xp *xp, uint16_t node, enum xp_class lane, uint16_t type, uint64_t scn,
                       uint32_t frame)
{
    struct xp_shm *shm = xp_shm_of(xp);
    struct xp_shm_peer *peer = &shm->peers[node];
    struct xp_shm_tx *tx = &peer->tx[lane];
    struct xp_shm_slot *slot = tx_slot(tx, tx->credit.sent);
    uint32_t class_index = class_of(&shm->space, frame);

    cf_assert(class_index < CF_BLOCK_SIZES);
    if (tx->body_bytes <= XP_SHM_INLINE_BYTES)
        memcpy(slot->body, slot->inline_body, XP_SHM_INLINE_BYTES); /* the reference takes its place */
    slot->block.frame = frame;
    slot->block.unused = 0;
    slot->block.word = cf_observe_u64(&shm->space.words[frame]) & shm->space.words_stable_mask;
    publish(shm, peer, tx, slot, type, scn, XP_SHM_BLOCK_BIT);
    shm->base.counters.blocks_sent++;
    shm->base.counters.bytes_sent += shm->space.classes[class_index].bytes;
}

void xp_shm_flush(struct xp *xp)
{
    struct xp_shm *shm = xp_shm_of(xp);
    uint64_t peers = shm->unflushed;

    if (CF_LIKELY(peers == 0))
        return;
    shm->unflushed = 0;
    cf_fence_full(); /* partner: the fence of xp_shm_arm */
    xp_shm_rouse(shm, peers, XP_SHM_ASLEEP);
}

void xp_shm_frame_post(struct xp *xp, uint32_t class_index, uint32_t frame)
{
    struct xp_shm *shm = xp_shm_of(xp);
    struct xp_shm_posted *posted;

    cf_assert(class_index < CF_BLOCK_SIZES);
    cf_assert_id(class_of(&shm->space, frame) == class_index, "T-4");
    posted = &shm->posted[class_index];
    cf_assert_id(posted->count < shm->lane_slots, "T-4");
    posted->frames[posted->count++] = frame;
    posted->warm_bytes = 0;
    shm->is_frame_cold = true;
}

static inline void tell(struct xp_shm_rx *rx)
{
    rx->taker.told = rx->taker.taken;
    cf_publish_u64(rx->told, rx->taker.taken); /* partner: observe in xp_shm_credit_refresh */
}

static void tell_peer(struct xp_shm_peer *peer)
{
    for (uint32_t lane = 0; lane < XP_LANES; lane++)
        if (peer->rx[lane].slots != NULL && xp_credit_taker_owes(&peer->rx[lane].taker))
            tell(&peer->rx[lane]);
}

void xp_shm_tell_all(struct xp_shm *shm)
{
    for (uint64_t left = shm->owing; left != 0; left &= left - 1)
        tell_peer(&shm->peers[__builtin_ctzll(left)]);
    shm->owing = 0;
}

/*
 * Copies a block out of the peer's frame. The bytes belong to the message while the stable bits of the word stay:
 * the holder changes the word before it changes the bytes (its compare-and-swap, then a release fence, then the
 * bytes), we read the bytes, fence, then the word. If any byte was newer, the word read is the newer one.
 */
static bool block_pull(const struct xp_shm_peer *peer, const struct xp_shm_block_ref *ref,
                       const uint8_t *source, uint8_t *target, uint32_t bytes)
{
    xp_shm_copy(target, source, bytes);
    atomic_thread_fence(memory_order_acquire);
    return (cf_peek_u64(&peer->words[ref->frame]) & peer->facts.words_stable_mask) == ref->word;
}

/* Fills in the block half of an event. False: the peer named a frame it does not have. */
static bool block_take(struct xp_shm *shm, const struct xp_shm_peer *peer, const struct xp_shm_block_ref *ref,
                       struct xp_event *event)
{
    const struct xp_shm_wire_class *theirs = peer->facts.classes;
    struct xp_counters *counters = &shm->base.counters;
    const struct xp_frame_class *ours;
    struct xp_shm_posted *posted;
    uint32_t i = 0, frame;

    while (i < CF_BLOCK_SIZES && ref->frame - theirs[i].first >= theirs[i].count)
        i++;
    if (i == CF_BLOCK_SIZES)
        return false;
    event->type = XP_EV_TORN;
    posted = &shm->posted[i];
    if (posted->count == 0) {
        counters->unasked++;
        return true;
    }
    frame = posted->frames[posted->count - 1];
    ours = &shm->space.classes[i];
    /* Its holder has just changed the word: the line is on its way while the bytes are copied. */
    __builtin_prefetch((const void *)&peer->words[ref->frame]);
    if (!block_pull(peer, ref,
                    peer->frames + theirs[i].offset + (uint64_t)(ref->frame - theirs[i].first) * ours->bytes,
                    shm->space.base + ours->offset + (uint64_t)(frame - ours->first) * ours->bytes,
                    ours->bytes)) {
        counters->torn++;
        return true;
    }
    posted->count--;
    posted->warm_bytes = 0;
    shm->is_frame_cold = true;
    event->type = XP_EV_BLOCK;
    event->frame = frame;
    counters->blocks_received++;
    counters->bytes_received += ours->bytes;
    return true;
}

/* Copies the message and judges it. */
static inline enum xp_lane_verdict message_copy(struct xp_shm *shm, struct xp_shm_rx *rx,
                                                const struct xp_shm_slot *slot, struct xp_shm_slot *copy,
                                                uint64_t word)
{
    memcpy(copy, slot, CF_CACHE_LINE);
    copy->header.sequence = word & ~XP_SHM_BLOCK_BIT;
    if (CF_UNLIKELY(!xp_lane_is_sound(&rx->facts, &copy->header)))
        return xp_lane_judge(&rx->facts, &copy->header, &shm->base.counters);
    if (copy->header.bytes > XP_SHM_INLINE_BYTES || (word & XP_SHM_BLOCK_BIT) != 0)
        for (uint32_t at = 0; at < copy->header.bytes; at += CF_CACHE_LINE)
            memcpy(copy->body + at, slot->body + at, CF_CACHE_LINE);
    return XP_LANE_PASS;
}

/* One message into one event. */
static enum xp_lane_verdict message_take(struct xp_shm *shm, struct xp_shm_peer *peer, struct xp_shm_rx *rx,
                                         const struct xp_shm_slot *slot, uint64_t word,
                                         struct xp_shm_batch *batch)
{
    struct xp_shm_slot *copy = &shm->inbox[batch->count];
    struct xp_event *event = &batch->events[batch->count];
    bool has_block = (word & XP_SHM_BLOCK_BIT) != 0;
    enum xp_lane_verdict verdict = message_copy(shm, rx, slot, copy, word);

    if (CF_UNLIKELY(verdict != XP_LANE_PASS))
        return verdict;
    event->type = XP_EV_MESSAGE;
    event->lane_class = (uint8_t)rx->facts.lane_class;
    event->node = peer->node;
    event->bytes = copy->header.bytes;
    event->header = &copy->header;
    event->message = has_block || event->bytes > XP_SHM_INLINE_BYTES ? copy->body : copy->inline_body;
    event->frame = 0;
    event->rc = CF_OK;
    event->token = 0;
    event->value = 0;
    if (has_block && !block_take(shm, peer, &copy->block, event)) {
        shm->base.counters.bad_frame++;
        return XP_LANE_FAULT;
    }
    shm->base.counters.received++;
    shm->base.counters.bytes_received += event->bytes;
    batch->count++;
    return XP_LANE_PASS;
}

static inline const struct xp_shm_slot *rx_slot(const struct xp_shm_rx *rx)
{
    return (const struct xp_shm_slot *)(rx->slots + (rx->taker.taken & rx->mask) * XP_SHM_SLOT_BYTES);
}

/* T-1: until the next message is there, its slot shows the one a lap ago. */
static inline uint64_t rx_sequence_idle(const struct xp_shm_rx *rx)
{
    return rx->taker.taken >= rx->window ? rx->taker.taken + 1 - rx->window : 0;
}

/* Nothing new, and nothing wrong. */
static inline bool lane_is_idle(const struct xp_shm_rx *rx)
{
    return (cf_observe_u64(sequence_of(rx_slot(rx))) & ~XP_SHM_BLOCK_BIT) == rx_sequence_idle(rx);
}

/* Takes at most LANE_BUDGET messages; true when it took any. */
static CF_HOT bool lane_take(struct xp_shm *shm, struct xp_shm_peer *peer, struct xp_shm_rx *rx,
                             struct xp_shm_batch *batch)
{
    uint64_t first = rx->taker.taken;

    for (uint32_t i = 0; i < LANE_BUDGET && batch->count < batch->max; i++) {
        uint64_t next = rx->taker.taken + 1;
        const struct xp_shm_slot *slot = rx_slot(rx);
        uint64_t word = cf_observe_u64(sequence_of(slot)); /* partner: publish */
        uint64_t sequence = word & ~XP_SHM_BLOCK_BIT;

        if (sequence != next) {
            if (CF_UNLIKELY(sequence != rx_sequence_idle(rx))) {
                shm->base.counters.bad_sequence++;
                xp_shm_life_violate(shm, peer, "a message is out of sequence");
            }
            break;
        }
        if (CF_UNLIKELY(message_take(shm, peer, rx, slot, word, batch) == XP_LANE_FAULT)) {
            xp_shm_life_violate(shm, peer, "a message header or block reference is wrong");
            break;
        }
        rx->taker.taken = next;
        if (xp_credit_taker_is_due(&rx->taker))
            tell(rx);
    }
    return rx->taker.taken != first;
}

static void reads_finish(struct xp_shm *shm, struct xp_shm_batch *batch)
{
    uint32_t done = 0;

    while (done < shm->reads_count && batch->count < batch->max) {
        struct xp_event *event = xp_shm_emit(batch, XP_EV_DONE, shm->reads[done].node, CF_OK);
        event->token = shm->reads[done++].token;
    }
    shm->reads_count -= done;
    memmove(shm->reads, shm->reads + done, shm->reads_count * sizeof(shm->reads[0]));
}

/* A peer that has nothing new: it learns what was taken, and if it waits for that, it is woken. */
static void peer_idle(struct xp_shm *shm, struct xp_shm_peer *peer, struct xp_shm_batch *batch)
{
    uint64_t bit = UINT64_C(1) << peer->node;

    if ((shm->owing & bit) != 0) {
        shm->owing &= ~bit;
        tell_peer(peer);
        if (!peer->facts.is_busy && peer->state == XP_SHM_UP) {
            cf_fence_full(); /* partner: the fence of xp_shm_arm */
            xp_shm_rouse(shm, bit, XP_SHM_STARVED);
        }
    }
    if (CF_UNLIKELY(peer->state == XP_SHM_DRAINING) && batch->count < batch->max)
        xp_shm_life_drained(shm, peer, batch);
}

static inline void peer_take(struct xp_shm *shm, struct xp_shm_peer *peer, struct xp_shm_batch *batch)
{
    bool took = !lane_is_idle(&peer->rx[XP_CONTROL]) && lane_take(shm, peer, &peer->rx[XP_CONTROL], batch);

    /* A fault in the first lane ends the peer. */
    if (CF_LIKELY((shm->readable >> peer->node & 1) != 0) && !lane_is_idle(&peer->rx[XP_DATA]))
        took |= lane_take(shm, peer, &peer->rx[XP_DATA], batch);
    if (took)
        shm->owing |= UINT64_C(1) << peer->node;
    else if ((shm->readable >> peer->node & 1) != 0 && batch->count < batch->max)
        peer_idle(shm, peer, batch);
}

/*
 * The next block lands in the frame posted last. Its lines are elsewhere when it has not been used for long, and a copy into
 * lines that are elsewhere takes twice as long: they are fetched a few at a time, while nothing comes and whenever the
 * layer above says so.
 */
static void frames_warm(struct xp_shm *shm, uint32_t lines)
{
    shm->is_frame_cold = false;
    for (uint32_t i = 0; i < CF_BLOCK_SIZES; i++) {
        struct xp_shm_posted *posted = &shm->posted[i];
        const struct xp_frame_class *class_ = &shm->space.classes[i];
        uint32_t end = posted->warm_bytes + lines * CF_CACHE_LINE;
        const uint8_t *bytes;
        uint32_t frame;

        if (posted->count == 0 || posted->warm_bytes >= class_->bytes)
            continue;
        if (end > class_->bytes)
            end = class_->bytes;
        frame = posted->frames[posted->count - 1];
        bytes = shm->space.base + class_->offset + (uint64_t)(frame - class_->first) * class_->bytes;
        for (; posted->warm_bytes < end; posted->warm_bytes += CF_CACHE_LINE)
            cf_prefetch_write(bytes + posted->warm_bytes);
        shm->is_frame_cold |= posted->warm_bytes < class_->bytes;
    }
}

void xp_shm_warm(struct xp *xp)
{
    struct xp_shm *shm = xp_shm_of(xp);

    if (shm->is_frame_cold)
        frames_warm(shm, WARM_LINES);
}

uint32_t xp_shm_poll(struct xp *xp, uint64_t now_ns, struct xp_event *events, uint32_t max)
{
    struct xp_shm *shm = xp_shm_of(xp);
    struct xp_shm_batch batch = {.events = events, .max = max <= XP_EVENTS_MAX ? max : XP_EVENTS_MAX};
    uint64_t before, after;

    shm->now_ns = now_ns;
    if (CF_UNLIKELY(now_ns >= shm->control_next_ns || shm->is_control_due))
        xp_shm_conn_turn(shm, now_ns, &batch);
    if (CF_UNLIKELY(shm->reads_count != 0))
        reads_finish(shm, &batch);
    /* Round robin: the peers from `turn` on, then the others. */
    before = shm->readable & ((UINT64_C(1) << shm->turn) - 1);
    after = shm->readable & ~before;
    for (; after != 0 && batch.count < batch.max; after &= after - 1)
        peer_take(shm, &shm->peers[__builtin_ctzll(after)], &batch);
    for (; before != 0 && batch.count < batch.max; before &= before - 1)
        peer_take(shm, &shm->peers[__builtin_ctzll(before)], &batch);
    shm->turn = shm->turn + 1 < shm->nodes ? shm->turn + 1 : 0;
    if (batch.count == 0 && shm->is_frame_cold)
        frames_warm(shm, WARM_IDLE_LINES);
    return batch.count;
}

/* A word is never seen in half; of more than a word each is as it was at some moment. */
static void copy_out(void *to, const uint8_t *from, uint32_t bytes)
{
    uint64_t word;

    if (bytes != sizeof(word) || ((uintptr_t)from & (sizeof(word) - 1)) != 0) {
        memcpy(to, from, bytes);
        return;
    }
    word = cf_observe_u64((const _Atomic uint64_t *)(const void *)from);
    memcpy(to, &word, sizeof(word));
}

enum cf_rc xp_shm_read(struct xp *xp, uint16_t node, uint64_t offset, void *to, uint32_t bytes,
                       uint64_t token)
{
    struct xp_shm *shm = xp_shm_of(xp);
    struct xp_shm_peer *peer;
    uint64_t whole;

    cf_assert(node < shm->nodes);
    peer = &shm->peers[node];
    if (peer->state != XP_SHM_UP || peer->frames == NULL)
        return CF_PEER_LOST;
    whole = peer->facts.frames_bytes - peer->facts.base_offset;
    if (offset > whole || bytes > whole - offset)
        return CF_RANGE;
    if (shm->reads_count == XP_SHM_READS_MAX)
        return CF_AGAIN;
    copy_out(to, peer->frames + offset, bytes);
    atomic_thread_fence(memory_order_acquire); /* a read posted later reads later */
    shm->reads[shm->reads_count++] = (struct xp_shm_read){.token = token, .node = node};
    return CF_OK;
}
