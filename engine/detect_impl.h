/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_DETECT_IMPL_H
#define ENGINE_DETECT_IMPL_H

/* What the files of the detector's role share. */
#include <pthread.h>

#include "base/ring.h"
#include "engine/detect.h"

/* ---- the reporter: [own] ---- */

/* Rounds are numbered above their detector's node: no two detectors number alike. */
#define ENG_ROUND_NODE_SHIFT 48u
/* Calls passed over in search of the oldest wait. */
#define ENG_REPORTER_LOOKS_MAX 64u

struct eng_reporter {
    struct eng_detect_stream stream;
    struct eng_known known;
    uint64_t round;  /* asked for */
    uint64_t *parts; /* [parts_max / 64] bit of each part of the ask that is here */
    uint32_t parts_max, parts_count, parts_all; /* all: how many there are; 0: not known yet */
    uint64_t asked_ns;                          /* when; 0: never */
    uint64_t notice_ns;                         /* next look for a wait that the detector does not know of */
    uint64_t *keys;                             /* [keys_max] whose stakes are wanted */
    uint32_t keys_count, keys_max;
};
static inline uint64_t eng_reporter_parts_bytes(const struct eng_reporter *reporter)
{
    return (reporter->parts_max + 63) / 64 * sizeof *reporter->parts;
}
CF_CHECK enum cf_rc eng_reporter_open(struct eng_reporter *reporter, const struct cf_allocator *allocator,
                                      uint32_t edges);
void eng_reporter_close(struct eng_reporter *reporter, const struct cf_allocator *allocator);
void eng_reporter_ask(struct cf_instance *instance, struct eng_reporter *reporter, const struct grd_msg *msg,
                      uint64_t now_ns);
bool eng_reporter_turn(struct cf_instance *instance, struct eng_reporter *reporter, uint64_t now_ns);
bool eng_reporter_notice(struct cf_instance *instance, struct eng_reporter *reporter, uint64_t now_ns);
uint64_t eng_reporter_next_ns(const struct cf_instance *instance, const struct eng_reporter *reporter);

/* ---- the role: one thread, the detector's or the owner of progress ---- */

/* Victims told and not yet acknowledged, which is also how many are taken a round: the next round finds the rest. */
#define ENG_DETECT_VICTIMS_MAX 16u
/* A round, and a victim's acknowledgement, are waited for so many periods. */
#define ENG_DETECT_PERIODS_MAX 8u
/* After so many of them, who has not begun to answer is asked again. */
#define ENG_DETECT_PERIODS_AGAIN 3u
/* Rounds told as changes, until one is told anew: what went wrong where nobody noticed lasts no longer. */
#define ENG_DETECT_CHANGES_MAX 1024u
/* Of a cycle, vertices looked at for its owners, who are counted so far. */
#define ENG_DETECT_CYCLE_STEPS 96u
/* What a turn of the owner of progress may do for the role. */
#define ENG_ROLE_TURN_MESSAGES 32u
#define ENG_ROLE_TURN_VICTIMS 1u
/* Kept for whoever asks for the graph. */
#define ENG_DETECT_SEEN_MAX 1024u
#define ENG_DETECT_TOLD_MAX 8u

enum eng_role_phase {
    ENG_ROLE_IDLE = 0, /* nobody waits */
    ENG_ROLE_ASKS,     /* asks of this round go out */
    ENG_ROLE_COLLECTS, /* all are out, answers come in */
    ENG_ROLE_VICTIMS,  /* the round has ended, victims are taken */
    ENG_ROLE_RESTS     /* until the next round */
};

/* Whose stakes are wanted, each once; those to be asked for in a list an instance. */
struct eng_wishes {
    struct eng_wish {
        uint64_t key;
        uint32_t next;
        uint16_t node;
    } * wish;         /* [wishes_max] */
    uint32_t *first;  /* [nodes] to be asked for in this round */
    uint32_t *coming; /* [nodes] in the next one */
    uint32_t *slots;  /* [slots_count] number + 1, 0 = free */
    uint32_t wishes_count;
};

struct eng_victim {
    uint64_t number; /* 0 = none */
    uint64_t wait;
    uint64_t age_ns; /* of the wait at at_ns */
    uint64_t at_ns;
    uint16_t node;
    struct grd_words words; /* the cycle */
};

/* The graph as it was when a round ended, and the cycles told last. */
struct eng_seen {
    uint64_t round, at_ns;
    uint32_t reports_count, reports_total, confirmed;
    struct grd_detect_report report[ENG_DETECT_SEEN_MAX];
    uint64_t print[ENG_DETECT_SEEN_MAX];
};
struct eng_told {
    uint64_t number, at_ns;
    bool is_known, has_ended; /* acknowledged; the wait was still there */
    char text[sizeof((struct cf_error *)0)->text];
};

struct eng_role {
    struct cf_instance *instance;
    struct grd_detect *core;
    void *arena;
    uint64_t arena_bytes;
    bool is_mine;          /* this instance is the detector */
    bool is_wanted;        /* somebody waits that no round has asked for */
    bool has_waits;        /* the round at hand has met some */
    bool is_clean;         /* it began when no victim was unacknowledged */
    bool is_changes;       /* it is told as changes */
    bool is_more;          /* and the asks name keys beside those of before */
    bool is_whole;         /* the last round had all answers: the next one may be told as changes */
    bool is_spoiled;       /* somebody cannot tell changes */
    bool is_anew_wanted;   /* the next round is told anew whatever else */
    bool is_asked_again;   /* in this round */
    bool has_seeing;       /* the last round could not be published: it is in `seeing` */
    uint32_t changes;      /* rounds in turn told as changes */
    uint8_t phase;         /* enum eng_role_phase */
    uint32_t left_count;   /* instances that had left when the core was last cleared */
    uint64_t round;        /* number of the round at hand */
    uint64_t round_ns;     /* when it began */
    uint32_t ask_node;     /* ASKS: next instance to ask */
    uint32_t ask_wish;     /* and the first of its wishes that is not asked for */
    uint32_t ask_part;     /* of the ask to that instance, the last that was sent; 0: none */
    uint8_t *streams_left; /* [nodes] of its answer; 0: the last message of each has come */
    int64_t
        *messages_left; /* [nodes] that are to come, as far as is known: lanes may carry the last one first */
    uint32_t answers_left; /* instances whose answer is not all here */
    struct eng_heard {
        uint64_t round, message; /* of another round than the one at hand: free */
    } * heard;                   /* [heard_slots] messages of the answers, each of which counts once */
    uint32_t heard_slots, heard_count;
    uint32_t wishes_max, slots_count;
    struct eng_wishes wishes[2];
    uint32_t wishes_now;   /* asked for; the other one is filled by a round told anew */
    uint32_t victims_left; /* that may still be taken in this round */
    uint32_t victims_open;
    uint64_t victim_number;
    uint64_t again_ns; /* victims are told again */
    struct eng_victim victim[ENG_DETECT_VICTIMS_MAX];
    struct eng_detect_counts counts;
    struct cf_hist hist;
    pthread_mutex_t
        seen_lock; /* of seen and told; the role only tries it, and never holds it over a message */
    struct eng_seen *seen, *seeing;
    struct eng_told told[ENG_DETECT_TOLD_MAX];
};

enum cf_rc eng_role_open(struct eng_role *role, struct cf_instance *instance);
void eng_role_close(struct eng_role *role);
/* REPORT, TOLD, or an ASK that says that somebody waits. */
void eng_role_message(struct eng_role *role, const struct grd_msg *msg, uint64_t now_ns);
/* True: it did something. `budget` messages and as many victims as a turn has time for. */
bool eng_role_turn(struct eng_role *role, uint32_t messages_max, uint32_t victims_max, uint64_t now_ns);
uint64_t eng_role_next_ns(const struct eng_role *role);

/* detect_wish.c */
#define ENG_WISH_NONE UINT32_MAX
void eng_wishes_clear(struct eng_role *role, struct eng_wishes *wishes);
/* A round told anew finds all that are wanted, one told as changes those that come to what has been asked for. */
void eng_wish_add(struct eng_role *role, uint16_t node, uint64_t key);
/* What is asked for in this round. */
void eng_wishes_begin(struct eng_role *role, bool was_changes);

/* detect_seen.c */
/* What status has seen goes on from the last round, or begins anew. */
void eng_seen_begin(struct eng_role *role, uint64_t since_ns);
void eng_seen_add(struct eng_role *role, const struct grd_detect_report *report);
void eng_seen_take(struct eng_role *role, uint64_t print);
/* Whoever asks for the graph gets that of a whole round, the last one or, while it is being copied, the one before. */
void eng_seen_publish(struct eng_role *role, uint32_t confirmed, uint64_t now_ns);

/* detect_hear.c */
#define ENG_STREAMS_NOT_KNOWN UINT8_MAX
void eng_role_on_report(struct eng_role *role, const struct grd_msg *msg, uint64_t now_ns);

/* detect_victim.c */
void eng_role_victims_begin(struct eng_role *role);
/* False: no more of them. */
bool eng_role_victim_take(struct eng_role *role, uint64_t now_ns);
void eng_role_victims_again(struct eng_role *role, uint64_t now_ns);
void eng_role_on_told(struct eng_role *role, const struct grd_msg *msg, uint64_t now_ns);

struct eng_detector {
    struct eng_reporter reporter;
    struct eng_role role;
    /* the thread of the dedicated plan */
    bool has_thread;
    pthread_t thread;
    struct cf_spsc in, out;
    void *in_mem, *out_mem;
    CF_ALIGNED(CF_CACHE_LINE)
    _Atomic uint32_t wake; /* futex: rises when something was put into `in` for a sleeper */
    CF_ALIGNED(CF_CACHE_LINE)
    _Atomic uint32_t sleeping; /* 1 while the thread sleeps; partner: role_push of detect.c */
};

/* A message of the role, from whatever thread it runs on. */
void eng_detector_emit(struct cf_instance *instance, uint16_t to, const struct grd_msg *msg);

#endif
