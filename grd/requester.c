/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The requester's steps. A conversation is open from grd_local_want until the mode begins; callers may come and go
 * meanwhile, it goes on (their deadline ends the call, never the conversation).
 *
 *        want                    grant (words)          image and every name of the set in
 *   N/S ------> asking(request) ---------------> granted ------------------------------> held in S or X
 *                 ^  |                              |
 *                 |  | bounce, refused: new number  | S grant overtaken by its invalidate: refused
 *                 +--+------------------------------+
 */
#include "base/assert.h"
#include "grd/local_impl.h"
#include "grd/mutant.h"

void grd_requester_send(struct grd_local *local, struct grd_block *block, struct grd_actions *actions)
{
    struct grd_conv *conv = grd_local_conv(local, block);
    struct grd_msg *msg = grd_action_send(actions, grd_local_master(local, block), GRD_MSG_REQUEST,
                                          &block->key);

    msg->request = conv->request;
    msg->held = block->mode == CF_MODE_N ? 0 : block->tenure;
    msg->place = conv->place;
    msg->mode = conv->want;
    msg->flags = conv->flags;
}

static void number_take(struct grd_local *local, const struct grd_block *block, struct grd_conv *conv)
{
    conv->request = local->request_next++;
    conv->place = grd_map_number(local->map, block->hash);
}

void grd_local_want(struct grd_local *local, struct grd_block *block, enum cf_mode mode, uint8_t flags,
                    uint32_t frame, uint64_t now_ns, struct grd_actions *actions)
{
    struct grd_conv *conv = grd_local_conv_take(local, block);

    cf_assert(mode > (enum cf_mode)block->mode);
    conv->want = (uint8_t)mode;
    conv->flags = flags;
    conv->how = 0;
    conv->hops = 0;
    conv->is_granted = conv->has_data = conv->is_reading = conv->is_cancelled = false;
    conv->failed = 0;
    conv->torn_count = 0;
    conv->frame = frame;
    number_take(local, block, conv);
    conv->tenure = conv->version = conv->durable = conv->refuse = 0;
    conv->since_ns = now_ns;
    grd_set_clear(&conv->need);
    grd_set_clear(&conv->acks);
    local->counters.conversations++;
    grd_requester_send(local, block, actions);
    grd_local_arm(local, block, now_ns);
}

/* The grant under this number is spent: forget its words, ask under a new one [10]. What `refuse` says stays true. */
static void ask_anew(struct grd_local *local, struct grd_block *block, uint64_t now_ns,
                     struct grd_actions *actions)
{
    struct grd_conv *conv = grd_local_conv(local, block);

    conv->is_granted = conv->has_data = conv->is_cancelled = false;
    conv->tenure = conv->version = conv->durable = 0;
    grd_set_clear(&conv->need);
    grd_set_clear(&conv->acks);
    if (conv->refuse != 0)
        conv->flags |= GRD_FLAG_REFUSED; /* the master sees to it that this one begins [G-17] */
    number_take(local, block, conv);
    grd_requester_send(local, block, actions);
    grd_local_arm(local, block, now_ns);
}

/*
 * The bucket has another owner, which knows nothing of what the last one gave and took away again: under the same number it
 * could give a second time what may still be on its way from the first [10].
 */
void grd_requester_moved(struct grd_local *local, struct grd_block *block, uint64_t now_ns,
                         struct grd_actions *actions)
{
    struct grd_conv *conv = grd_local_conv(local, block);

    if (conv->is_granted) { /* no owner gives the bucket away before this grant has begun */
        grd_local_arm(local, block, now_ns);
        return;
    }
    if (grd_mutant(GRD_MUT_MOVE_SAME_NUMBER)) {
        conv->place = grd_map_number(local->map, block->hash);
        grd_requester_send(local, block, actions);
        grd_local_arm(local, block, now_ns);
        return;
    }
    ask_anew(local, block, now_ns, actions);
}

static void count_refused(struct grd_local *local, const struct grd_conv *conv)
{
    local->counters.refused++;
    if (conv->flags & GRD_FLAG_REFUSED)
        local->counters.refused_again++;
}

static bool acks_are_in(const struct grd_conv *conv)
{
    uint32_t node;

    if (conv->need.count == 0)
        return true;
    for (node = grd_set_next(&conv->need, 0); node < CF_NODES_MAX; node = grd_set_next(&conv->need, node + 1))
        if (!grd_set_has(&conv->acks, (uint16_t)node))
            return false;
    return true;
}

static void send_installed(const struct grd_local *local, struct grd_block *block,
                           const struct grd_conv *conv, uint64_t version, uint64_t durable,
                           struct grd_actions *actions)
{
    struct grd_msg *msg = grd_action_send(actions, grd_local_master(local, block), GRD_MSG_INSTALLED,
                                          &block->key);

    msg->request = conv->request;
    msg->tenure = conv->tenure;
    msg->version = version;
    msg->durable = durable;
}

/* Everything is in but the image could not be read: the tenure is released without having begun. */
static void end_failed(struct grd_local *local, struct grd_block *block, uint64_t now_ns,
                       struct grd_actions *actions)
{
    struct grd_conv *conv = grd_local_conv(local, block);
    struct grd_action *action;

    grd_local_release_begin(local, block, conv->tenure, conv->version, conv->durable);
    grd_local_send_release(local, block, actions);
    grd_local_arm(local, block, now_ns);
    action = grd_action_add(actions, GRD_ACT_FAILED);
    action->block = block;
    action->frame = (uint32_t)conv->failed;
    grd_local_free_frame(actions, conv->frame);
    grd_local_conv_free(local, block);
}

/* Image and every name in: the mode begins, installed goes out, the conversation ends. */
static void try_begin(struct grd_local *local, struct grd_block *block, uint64_t now_ns,
                      struct grd_actions *actions)
{
    struct grd_conv *conv = grd_local_conv(local, block);
    struct grd_action *action;

    if (!conv->is_granted || !conv->has_data)
        return;
    if (!acks_are_in(conv)) {
        if (grd_mutant(GRD_MUT_INSTALLED_EARLY))
            send_installed(local, block, conv, conv->version, conv->durable, actions);
        return;
    }
    if (conv->failed) {
        /* Else the acknowledgement of the older release, or the timer, brings us here again. */
        if (block->release_tenure == 0 && grd_local_release_has_room(local, 0))
            end_failed(local, block, now_ns, actions);
        return;
    }
    cf_assert_id(conv->tenure > block->tenure || block->mode == CF_MODE_N, "I-2");
    if (conv->how == GRD_HOW_UPGRADE) {
        cf_assert_id(block->mode == CF_MODE_S, "I-2");
        if (conv->durable > block->durable)
            block->durable = conv->durable;
        local->counters.upgrades++;
    } else {
        cf_assert(block->mode == CF_MODE_N);
        block->frame = conv->frame;
        block->version = conv->version;
        block->durable = conv->durable;
        conv->frame = GRD_FRAME_NONE;
    }
    /* A newer tenure begins: the ship of an older one arrived long ago, whatever became of its confirmed. */
    if (block->kept_tenure != 0 && block->kept_tenure < conv->tenure)
        grd_local_kept_drop(local, block, actions);
    block->mode = conv->want;
    block->tenure = conv->tenure;
    block->has_duty = conv->want == CF_MODE_X;
    if (grd_mutant(GRD_MUT_NO_DUTY))
        block->durable = block->version;
    block->begun_ns = now_ns;
    send_installed(local, block, conv, block->version, block->durable, actions);
    action = grd_action_add(actions, GRD_ACT_BEGIN);
    action->block = block;
    action->frame = block->frame;
    action->mode = conv->want;
    action->msg.how = conv->how;
    action->msg.hops = conv->hops;
    action->msg.request = conv->since_ns;
    grd_local_free_frame(actions, conv->frame);
    grd_local_conv_free(local, block);
}

/* S only: was the copy of this tenure invalidated before it came? */
static bool is_refused(struct grd_local *local, const struct grd_conv *conv, const struct grd_msg *msg)
{
    if (msg->mode != CF_MODE_S || msg->tenure > conv->refuse || grd_mutant(GRD_MUT_NO_REFUSE))
        return false;
    count_refused(local, conv);
    return true;
}

static bool is_mine(const struct grd_conv *conv, const struct grd_msg *msg)
{
    if (conv == NULL || conv->want != msg->mode)
        return false;
    return conv->request == msg->request || grd_mutant(GRD_MUT_OLD_TENURE);
}

void grd_requester_on_grant(struct grd_local *local, struct grd_block *block, const struct grd_msg *msg,
                            uint64_t now_ns, struct grd_actions *actions)
{
    struct grd_conv *conv = grd_local_conv(local, block);

    if (!is_mine(conv, msg)) {
        grd_local_truth(local, block, msg->tenure, actions);
        return;
    }
    if (conv->is_granted) { /* said again; its data is under way or here */
        local->counters.stale++;
        return;
    }
    if (is_refused(local, conv, msg)) {
        ask_anew(local, block, now_ns, actions);
        return;
    }
    if ((msg->how == GRD_HOW_UPGRADE) !=
        (block->mode == CF_MODE_S)) { /* no master says so: a peer gone wrong */
        local->counters.stale++;
        return;
    }
    conv->is_granted = true;
    conv->tenure = msg->tenure;
    conv->version = msg->version; /* a lower bound [12] */
    conv->durable = msg->durable;
    conv->how = msg->how;
    grd_set_copy(&conv->need, &msg->set);
    if (msg->how == GRD_HOW_UPGRADE) {
        conv->has_data = true;
        try_begin(local, block, now_ns, actions);
        return;
    }
    conv->is_reading = true;
    grd_action_add(actions, msg->how == GRD_HOW_NEW ? GRD_ACT_FORMAT : GRD_ACT_READ)->block = block;
}

void grd_local_read_done(struct grd_local *local, struct grd_block *block, uint64_t version, uint64_t now_ns,
                         struct grd_actions *actions)
{
    struct grd_conv *conv = grd_local_conv(local, block);

    cf_assert(conv != NULL && conv->is_reading);
    conv->is_reading = false;
    if (conv->is_cancelled) {
        ask_anew(local, block, now_ns, actions);
        return;
    }
    /* What is on storage is durable; a new block is not. */
    if (version > conv->version || conv->how == GRD_HOW_DISK)
        conv->version = version;
    if (conv->how == GRD_HOW_DISK && conv->durable < version)
        conv->durable = version;
    conv->has_data = true;
    try_begin(local, block, now_ns, actions);
}

void grd_local_read_failed(struct grd_local *local, struct grd_block *block, int32_t rc, uint64_t now_ns,
                           struct grd_actions *actions)
{
    struct grd_conv *conv = grd_local_conv(local, block);

    cf_assert(conv != NULL && conv->is_reading && rc != 0);
    conv->is_reading = false;
    if (conv->is_cancelled) {
        ask_anew(local, block, now_ns, actions);
        return;
    }
    conv->failed = rc;
    conv->has_data = true;
    try_begin(local, block, now_ns, actions);
}

void grd_requester_on_released(struct grd_local *local, struct grd_block *block, uint64_t now_ns,
                               struct grd_actions *actions)
{
    struct grd_conv *conv = grd_local_conv(local, block);

    if (conv && conv->failed)
        try_begin(local, block, now_ns, actions);
}

void grd_requester_on_ship(struct grd_local *local, struct grd_block *block, const struct grd_msg *msg,
                           uint32_t frame, uint64_t now_ns, struct grd_actions *actions)
{
    struct grd_conv *conv = grd_local_conv(local, block);

    if (!is_mine(conv, msg)) {
        grd_local_free_frame(actions, frame);
        grd_local_truth(local, block, msg->tenure, actions);
        return;
    }
    if (conv->is_granted || block->mode != CF_MODE_N) { /* a second copy of the same grant */
        local->counters.stale++;
        grd_local_free_frame(actions, frame);
        return;
    }
    if (is_refused(local, conv, msg)) {
        grd_local_free_frame(actions, frame);
        ask_anew(local, block, now_ns, actions);
        return;
    }
    conv->is_granted = conv->has_data = true;
    conv->tenure = msg->tenure;
    conv->version = msg->version;
    conv->durable = msg->durable;
    conv->how = GRD_HOW_SHIP;
    conv->hops = msg->hops;
    grd_set_copy(&conv->need, &msg->set);
    grd_local_free_frame(actions,
                         conv->frame); /* the reserved one takes the place of the one that was lent */
    conv->frame = frame;
    try_begin(local, block, now_ns, actions);
}

void grd_local_torn(struct grd_local *local, const struct grd_msg *msg, uint64_t now_ns,
                    struct grd_actions *actions)
{
    struct grd_block *block = grd_local_find(local, &msg->key);
    struct grd_conv *conv = block ? grd_local_conv(local, block) : NULL;

    if (!is_mine(conv, msg) || conv->is_granted) {
        local->counters.stale++;
        return;
    }
    local->counters.torn++;
    if (conv->torn_count++ >=
        GRD_TORN_MAX) /* an image that never comes whole is left to the timer and its back-off */
        return;
    grd_requester_send(local, block, actions);
    grd_local_arm(local, block, now_ns);
}

void grd_requester_on_invalidated(struct grd_local *local, struct grd_block *block, const struct grd_msg *msg,
                                  uint64_t now_ns, struct grd_actions *actions)
{
    struct grd_conv *conv = grd_local_conv(local, block);

    if (conv == NULL || conv->want != CF_MODE_X || conv->request != msg->request) {
        local->counters.stale++;
        return;
    }
    grd_set_add(&conv->acks, msg->from); /* before the grant too [5] */
    try_begin(local, block, now_ns, actions);
}

void grd_requester_on_bounce(struct grd_local *local, struct grd_block *block, const struct grd_msg *msg,
                             uint64_t now_ns, struct grd_actions *actions)
{
    struct grd_conv *conv = grd_local_conv(local, block);

    if (conv == NULL || conv->request != msg->request || conv->is_granted) {
        local->counters.stale++;
        return;
    }
    local->counters.bounced++;
    ask_anew(local, block, now_ns, actions);
}

bool grd_requester_refuse(struct grd_local *local, struct grd_block *block, uint64_t held, uint64_t now_ns,
                          struct grd_actions *actions)
{
    struct grd_conv *conv = grd_local_conv(local, block);

    if (conv == NULL || conv->want != CF_MODE_S)
        return false;
    if (held > conv->refuse)
        conv->refuse = held;
    if (!conv->is_granted) {
        /* The grant may never come: its forward may meet the new X. Asked again under the same number, the master
         * says it again, keeps it queued, or bounces it. */
        grd_requester_send(local, block, actions);
        return true;
    }
    if (conv->tenure > conv->refuse || grd_mutant(GRD_MUT_NO_REFUSE))
        return true;
    count_refused(local, conv);
    if (conv->is_reading)
        conv->is_cancelled = true; /* the frame belongs to the disk read until it ends */
    else
        ask_anew(local, block, now_ns, actions);
    return true;
}
