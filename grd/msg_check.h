/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GRD_MSG_CHECK_H
#define GRD_MSG_CHECK_H

/* What members of a message may be, beyond what their widths say; for grd/msg.c. */
#include "grd/msg.h"

static inline bool is_lock(uint16_t type)
{
    return type >= GRD_MSG_LOCK_REQUEST && type <= GRD_MSG_LOCK_VALUE;
}

static inline bool is_detect(uint16_t type)
{
    return type >= GRD_MSG_DETECT_ASK && type <= GRD_MSG_DETECT_TOLD;
}

static inline bool has_words(uint16_t type)
{
    return is_detect(type) || type == GRD_MSG_MOVE_ENTRY;
}

/* More keys are asked for only where the answer before counts. */
static inline bool ask_flags_ok(uint8_t flags)
{
    return (flags & ~(GRD_FLAG_LAST | GRD_FLAG_SINCE | GRD_FLAG_MORE)) == 0 &&
           (!(flags & GRD_FLAG_MORE) || (flags & GRD_FLAG_SINCE));
}

static CF_INLINE bool lock_enumerations_ok(uint16_t type, const struct grd_msg *msg)
{
    switch (type) {
    case GRD_MSG_LOCK_REQUEST:
        return msg->mode < GRD_LOCK_MODES && msg->now < GRD_LOCK_MODES && msg->stake < GRD_LOCK_MODES &&
               (msg->flags & ~GRD_LOCK_REQUEST_FLAGS) == 0 &&
               (msg->held != 0) == (msg->name.kind == GRD_LOCK_NAME_NONE) &&
               (msg->held != 0 || msg->now == GRD_LOCK_NL);
    case GRD_MSG_LOCK_GRANT:
        return msg->mode < GRD_LOCK_MODES && msg->flags <= GRD_FLAG_LOST;
    case GRD_MSG_LOCK_REFUSED:
        return msg->how > GRD_LOCK_DONE && msg->how < GRD_LOCK_CHANGED;
    case GRD_MSG_LOCK_DEMAND:
        return msg->mode < GRD_LOCK_MODES && (msg->flags & ~GRD_LOCK_DEMAND_FLAGS) == 0;
    case GRD_MSG_LOCK_IN_USE:
        return msg->mode < GRD_LOCK_MODES;
    case GRD_MSG_LOCK_DOWN:
        return msg->mode < GRD_LOCK_MODES &&
               (msg->flags & ~(GRD_FLAG_LOST | GRD_FLAG_RELEASE | GRD_FLAG_VALUE)) == 0 &&
               ((msg->flags & GRD_FLAG_VALUE) || (msg->value.count == 0 && !(msg->flags & GRD_FLAG_LOST)));
    case GRD_MSG_LOCK_LOWERED:
        return msg->mode < GRD_LOCK_MODES && (msg->flags & ~GRD_FLAG_RELEASE) == 0;
    case GRD_MSG_LOCK_SWAP:
        return msg->slot < GRD_LOCK_SWAP_SLOTS && msg->name.kind != GRD_LOCK_NAME_NONE;
    case GRD_MSG_LOCK_VALUE:
        return msg->how < GRD_LOCK_ANSWERS && msg->flags <= GRD_FLAG_LOST;
    default:
        return true;
    }
}

/* At most one holder has X, and then it is the only one; at most one has the duty; no tenure is above the entry's. */
static inline bool move_entry_ok(const struct grd_msg *msg, uint32_t nodes)
{
    uint32_t holders = 0, exclusive = 0, duties = 0, i;

    if (msg->how > GRD_MOVE_ALL || (msg->how != GRD_MOVE_ENTRY && msg->words.count != 0))
        return false;
    for (i = 0; i < msg->words.count; i++) {
        uint64_t word = msg->words.word[i], value = word >> GRD_MOVE_SHIFT;

        if ((word & GRD_MOVE_NODE) >= nodes || (word & 0xe000u) != 0)
            return false;
        if (word & GRD_MOVE_PAST) {
            if (word & (GRD_MOVE_X | GRD_MOVE_DUTY))
                return false;
            continue;
        }
        holders++;
        exclusive += (word & GRD_MOVE_X) != 0;
        duties += (word & GRD_MOVE_DUTY) != 0;
        if (value == 0 || value > msg->tenure)
            return false;
    }
    return duties <= 1 && (exclusive == 0 || holders == 1);
}

/* `type` is a constant where it is called, so that of this nothing is left but what belongs to the type. */
static CF_INLINE bool enumerations_ok(uint16_t type, const struct grd_msg *msg, uint32_t nodes)
{
    switch (type) {
    case GRD_MSG_REQUEST:
        return (msg->mode == CF_MODE_S || msg->mode == CF_MODE_X) &&
               (msg->flags & ~(GRD_FLAG_NEW | GRD_FLAG_REFUSED)) == 0;
    case GRD_MSG_GRANT:
        return (msg->mode == CF_MODE_S || msg->mode == CF_MODE_X) && msg->how >= GRD_HOW_DISK &&
               msg->how <= GRD_HOW_NEW &&
               (msg->mode == CF_MODE_X || (msg->how == GRD_HOW_DISK && msg->set.count == 0));
    case GRD_MSG_FORWARD:
        return (msg->mode == CF_MODE_S || msg->mode == CF_MODE_X) && msg->requester < nodes &&
               (msg->mode == CF_MODE_X || msg->set.count == 0);
    case GRD_MSG_SHIP:
        return (msg->mode == CF_MODE_S || msg->mode == CF_MODE_X) && (msg->hops == 2 || msg->hops == 3) &&
               (msg->flags & ~GRD_FLAG_CHECKED) == 0 && (msg->mode == CF_MODE_X || msg->set.count == 0);
    case GRD_MSG_NOT_HELD:
        return msg->requester < nodes && msg->behind < GRD_WINDOW;
    case GRD_MSG_RELEASE:
        return msg->behind < GRD_WINDOW;
    case GRD_MSG_HELD:
        return msg->mode <= CF_MODE_X && msg->flags <= (GRD_FLAG_DUTY | GRD_FLAG_RELEASED) &&
               msg->behind < GRD_WINDOW &&
               (msg->mode == CF_MODE_N) == (msg->tenure == 0 || (msg->flags & GRD_FLAG_RELEASED)) &&
               (msg->mode != CF_MODE_N || !(msg->flags & GRD_FLAG_DUTY));
    case GRD_MSG_INVALIDATE:
    case GRD_MSG_KEPT:
    case GRD_MSG_LOOK:
        return msg->requester < nodes;
    case GRD_MSG_THERE:
        return msg->how <= GRD_THERE_HERE;
    case GRD_MSG_MOVE_ACCEPT:
        return msg->how <= 1;
    case GRD_MSG_MOVED:
    case GRD_MSG_MOVE_WISH:
        return msg->requester < nodes;
    case GRD_MSG_MOVE_ENTRY:
        return move_entry_ok(msg, nodes);
    case GRD_MSG_MOVE_DONE:
        return msg->flags <= GRD_FLAG_COLD;
    case GRD_MSG_MOVE_ORDER:
    case GRD_MSG_MOVE_REPORT:
        return false; /* between the threads of an instance: no peer says them */
    case GRD_MSG_DETECT_ASK:
        return msg->flags == GRD_FLAG_WAITS || ask_flags_ok(msg->flags);
    case GRD_MSG_DETECT_REPORT:
        return msg->how < msg->hops &&
               (msg->flags <= GRD_FLAG_TAKEN || msg->flags == (GRD_FLAG_LAST | GRD_FLAG_UNKNOWN));
    case GRD_MSG_DETECT_VICTIM:
        return msg->flags == 0 || msg->flags == GRD_FLAG_LAST;
    case GRD_MSG_DETECT_TOLD:
        return msg->how <= GRD_DETECT_GONE;
    default:
        return !is_lock(type) || lock_enumerations_ok(type, msg);
    }
}

#endif
