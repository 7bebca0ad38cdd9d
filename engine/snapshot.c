/* SPDX-License-Identifier: Apache-2.0 */
/* The reader's side: asks where a block is, reads it three times, or gives up. The proof is in snapshot.h. */
#include "engine/snapshot.h"

#include <string.h>

#include "base/assert.h"
#include "engine/format.h"
#include "engine/pool.h"
#include "grd/mutant.h"

static void trace(struct cf_instance *instance, const struct eng_snapshot *slot, uint16_t how)
{
    cf_trace_add(&instance->trace, CF_TRACE_SNAPSHOT, how, slot->tries, slot->place.key.block,
                 slot->place.version);
}

static void go_by_message(struct cf_instance *instance, struct eng_snapshot *slot, uint64_t now_ns)
{
    struct cf_op *op = slot->op;

    trace(instance, slot, 1);
    instance->snapshots->counters.given_up++;
    eng_snapshot_free(instance->snapshots, slot);
    eng_op_of(op)->hops = ENG_OP_BY_MESSAGE;
    eng_op_submit_owner(instance, op, now_ns);
}

static void done(struct cf_instance *instance, struct eng_snapshot *slot)
{
    struct eng_snapshots *snapshots = instance->snapshots;
    struct cf_op *op = slot->op;
    struct eng_place *place = eng_place_find(snapshots, &slot->place.key,
                                             eng_frames_hash(instance->frames, &slot->place.key));

    trace(instance, slot, 0);
    snapshots->counters.read++;
    if (place != NULL)
        eng_place_proved(place);
    memcpy(op->ref.data, slot->bytes + op->file->header_bytes, op->file->data_bytes);
    op->ref.bytes = op->file->data_bytes;
    op->ref.version = slot->place.version;
    eng_snapshot_free(snapshots, slot);
    eng_op_complete_owner(instance, op, CF_OK);
}

static void ask(struct cf_instance *instance, struct eng_snapshot *slot, uint64_t now_ns)
{
    struct eng_snapshots *snapshots = instance->snapshots;
    uint64_t hash = grd_map_hash(&instance->map, &slot->place.key);
    struct grd_msg msg = {.type = GRD_MSG_WHERE, .key = slot->place.key};

    eng_snapshot_stage_set(snapshots, slot, ENG_SNAPSHOT_ASKING);
    slot->request = ++snapshots->requests * ENG_SNAPSHOT_SLOTS + slot->number;
    slot->ask_until_ns = now_ns + instance->options.resend;
    if (slot->ask_until_ns < snapshots->next_ns)
        snapshots->next_ns = slot->ask_until_ns;
    snapshots->counters.asked++;
    msg.request = slot->request;
    eng_send_owner(instance, grd_map_owner(&instance->map, hash), &msg);
}

/* Is what the place was learned from still so: epoch, life of the holder, file? */
static bool place_is_current(const struct cf_instance *instance, const struct eng_place *place,
                             uint64_t now_ns)
{
    const struct eng_peer *peer;

    if (place->node == CF_NODE_NONE || place->epoch != instance->epoch ||
        now_ns - place->learned_ns > ENG_PLACE_NS_MAX)
        return false;
    peer = &instance->peers[place->node];
    return peer->state == ENG_PEER_UP && peer->incarnation == place->incarnation;
}

static bool file_is_current(const struct cf_op *op, const struct cf_block_key *key)
{
    return atomic_load_explicit(&op->file->is_stopped, memory_order_acquire) == ENG_FILE_OPEN &&
           cf_peek_u32(&op->file->generation) == key->generation;
}

/* What the word must say at both looks: this image, held in S or X, changed by nobody. */
static bool word_is_good(const struct eng_place *place, uint64_t word)
{
    if ((word & ENG_WORD_MODE) == CF_MODE_N && !grd_mutant(GRD_MUT_SNAPSHOT_ANY_MODE))
        return false;
    if ((word & ENG_WORD_STABLE) != place->word && !grd_mutant(GRD_MUT_SNAPSHOT_ANY_GENERATION))
        return false;
    return (word & ENG_WORD_EXCL) == 0;
}

/* What a holder says of its own memory is looked at as any image that arrives. */
static bool header_is_good(const struct eng_snapshot *slot)
{
    const struct cf_file *file = slot->op->file;
    uint64_t version = 0;

    if (file->format != CF_FORMAT_NATIVE || grd_mutant(GRD_MUT_SNAPSHOT_ANY_GENERATION))
        return true;
    return eng_block_verify_header(slot->bytes, file->block_bytes, &slot->place.key, &version) ==
               ENG_DAMAGE_NONE &&
           version == slot->place.version;
}

/* False: the transport does not take it. */
static bool read_begin(struct cf_instance *instance, struct eng_snapshot *slot, enum eng_snapshot_stage stage)
{
    const struct eng_place *place = &slot->place;
    bool is_word = stage != ENG_SNAPSHOT_BYTES;
    enum cf_rc rc = xp_read(instance->xp, place->node,
                            is_word ? place->frame * sizeof(uint64_t) : place->offset,
                            is_word ? (void *)slot->word : (void *)slot->bytes,
                            is_word ? (uint32_t)sizeof(uint64_t) : slot->op->file->block_bytes,
                            ENG_TOKEN_SNAPSHOT | slot->number);

    eng_snapshot_stage_set(instance->snapshots, slot, stage);
    slot->is_reading = rc == CF_OK;
    if (rc == CF_RANGE) /* the peer has named what is not its own */
        instance->counters.bad_messages++;
    return rc == CF_OK;
}

static void read_next(struct cf_instance *instance, struct eng_snapshot *slot, enum eng_snapshot_stage stage,
                      uint64_t now_ns)
{
    if (!read_begin(instance, slot, stage))
        go_by_message(instance, slot, now_ns);
}

static void failed(struct cf_instance *instance, struct eng_snapshot *slot, uint64_t now_ns)
{
    struct eng_place *place = eng_place_find(instance->snapshots, &slot->place.key,
                                             eng_frames_hash(instance->frames, &slot->place.key));

    if (place != NULL)
        eng_place_failed(place, slot->place.word);
    if (++slot->tries < ENG_SNAPSHOT_TRIES && file_is_current(slot->op, &slot->place.key))
        ask(instance, slot, now_ns);
    else
        go_by_message(instance, slot, now_ns);
}

void eng_snapshot_on_there(struct cf_instance *instance, const struct grd_msg *msg, uint64_t now_ns)
{
    struct eng_snapshots *snapshots = instance->snapshots;
    struct eng_snapshot *slot = snapshots != NULL ? &snapshots->slots[msg->request % ENG_SNAPSHOT_SLOTS]
                                                  : NULL;
    struct eng_place *place;

    if (slot == NULL || slot->stage != ENG_SNAPSHOT_ASKING || slot->request != msg->request ||
        !grd_key_equal(&slot->place.key, &msg->key))
        return; /* a late or doubled answer */
    if (msg->how != GRD_THERE_HERE || msg->from == instance->node) {
        go_by_message(instance, slot, now_ns);
        return;
    }
    place = eng_place_make(snapshots, &msg->key, eng_frames_hash(instance->frames, &msg->key));
    place->epoch = instance->epoch;
    place->word = msg->word & ENG_WORD_STABLE;
    place->version = msg->version;
    place->offset = msg->offset;
    place->learned_ns = now_ns;
    place->frame = msg->frame;
    place->incarnation = instance->peers[msg->from].incarnation;
    place->node = msg->from;
    slot->place = *place;
    read_next(instance, slot, ENG_SNAPSHOT_FIRST, now_ns);
}

/* Both looks have seen the same word: is what came between them the image it stands for? */
static bool is_proved(struct cf_instance *instance, const struct eng_snapshot *slot)
{
    if (!word_is_good(&slot->place, *slot->word) || !file_is_current(slot->op, &slot->place.key))
        return false;
    if (header_is_good(slot))
        return true;
    instance->counters.checksum_failures++;
    return false;
}

/* One of the three READs has come. */
static void stage_end(struct cf_instance *instance, struct eng_snapshot *slot, uint64_t now_ns)
{
    struct eng_snapshot_counters *counters = &instance->snapshots->counters;

    switch ((enum eng_snapshot_stage)slot->stage) {
    case ENG_SNAPSHOT_FIRST:
        if (word_is_good(&slot->place, *slot->word)) {
            read_next(instance, slot, ENG_SNAPSHOT_BYTES, now_ns);
        } else {
            counters->refused++;
            failed(instance, slot, now_ns);
        }
        return;
    case ENG_SNAPSHOT_BYTES:
        if (grd_mutant(GRD_MUT_SNAPSHOT_ONE_LOOK))
            done(instance, slot);
        else
            read_next(instance, slot, ENG_SNAPSHOT_SECOND, now_ns);
        return;
    case ENG_SNAPSHOT_SECOND:
        if (is_proved(instance, slot)) {
            done(instance, slot);
        } else {
            counters->torn++;
            failed(instance, slot, now_ns);
        }
        return;
    case ENG_SNAPSHOT_FREE:
    case ENG_SNAPSHOT_ASKING:
        break;
    }
    cf_unreachable();
}

void eng_snapshot_on_read(struct cf_instance *instance, const struct xp_event *event, uint64_t now_ns)
{
    struct eng_snapshots *snapshots = instance->snapshots;
    struct eng_snapshot *slot = &snapshots->slots[event->token & ~ENG_TOKEN_WHO];

    cf_assert(slot->is_reading);
    slot->is_reading = false;
    if (slot->op == NULL) {
        eng_snapshot_free(snapshots, slot);
        return;
    }
    if (eng_state(instance) != CF_OK)
        return; /* everybody who waits is told at the end of the turn */
    if (event->rc != CF_OK || !place_is_current(instance, &slot->place, now_ns))
        failed(instance, slot, now_ns);
    else
        stage_end(instance, slot, now_ns);
}

bool eng_snapshot_start(struct cf_instance *instance, struct cf_op *op, uint64_t now_ns)
{
    struct eng_snapshots *snapshots = instance->snapshots;
    const struct grd_block *block;
    struct eng_snapshot *slot;
    struct eng_place *place;
    struct cf_block_key key;

    if (snapshots == NULL || eng_op_of(op)->hops == ENG_OP_BY_MESSAGE)
        return false;
    eng_key_of(op->file, op->block, &key);
    block = grd_local_find(instance->local, &key);
    if (block != NULL && (block->mode != CF_MODE_N || block->conv != GRD_FRAME_NONE))
        return false; /* it is here, or on its way */
    place = eng_place_find(snapshots, &key, eng_frames_hash(instance->frames, &key));
    if (place != NULL && !eng_place_is_due(place))
        return false;
    slot = eng_snapshot_take(snapshots);
    if (slot == NULL)
        return false;
    slot->op = op;
    slot->tries = 0;
    slot->place = (struct eng_place){.key = key, .node = CF_NODE_NONE};
    eng_op_of(op)->state = ENG_OP_SNAPSHOT;
    if (place == NULL || !place_is_current(instance, place, now_ns)) {
        ask(instance, slot, now_ns);
        return true;
    }
    slot->place = *place;
    if (read_begin(instance, slot, ENG_SNAPSHOT_FIRST))
        return true;
    eng_snapshot_free(snapshots, slot);
    return false;
}

void eng_snapshot_withdraw(struct cf_instance *instance, const struct cf_op *op)
{
    struct eng_snapshots *snapshots = instance->snapshots;
    uint32_t i = 0;

    while (snapshots->slots[i].op != op)
        cf_assert(++i < ENG_SNAPSHOT_SLOTS);
    eng_snapshot_free(snapshots, &snapshots->slots[i]);
}

void eng_snapshots_fail_all(struct cf_instance *instance, enum cf_rc rc)
{
    struct eng_snapshots *snapshots = instance->snapshots;

    for (uint32_t i = 0; snapshots != NULL && i < ENG_SNAPSHOT_SLOTS; i++) {
        struct cf_op *op = snapshots->slots[i].op;

        if (op == NULL)
            continue;
        eng_snapshot_free(snapshots, &snapshots->slots[i]);
        eng_op_complete_owner(instance, op, rc);
    }
}

void eng_snapshots_tick(struct cf_instance *instance, uint64_t now_ns)
{
    struct eng_snapshots *snapshots = instance->snapshots;
    uint64_t next_ns = UINT64_MAX;

    for (uint32_t i = 0; i < ENG_SNAPSHOT_SLOTS; i++) {
        struct eng_snapshot *slot = &snapshots->slots[i];

        if (slot->stage != ENG_SNAPSHOT_ASKING)
            continue;
        if (slot->ask_until_ns <= now_ns)
            go_by_message(instance, slot, now_ns);
        else if (slot->ask_until_ns < next_ns)
            next_ns = slot->ask_until_ns;
    }
    snapshots->next_ns = next_ns;
}
