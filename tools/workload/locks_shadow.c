/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/workload/locks_shadow.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/compiler.h"

/* A lock's holders by mode, a count each: room for all owners. */
#define COUNT_BITS 12u
#define COUNT_MASK ((UINT64_C(1) << COUNT_BITS) - 1)
_Static_assert(CF_LOCK_EX *COUNT_BITS <= 64, "five modes; NL stands against nothing");

/*
 * A wait as one word: its number (never used again by this owner), mode and lock + 1. 0: none. Words are sequentially
 * consistent: of the owners of a deadlock the last one to write its wait down sees the waits of all others.
 */
#define NUMBER_SHIFT 16u
#define MODE_SHIFT 8u
#define LOCK_MASK UINT64_C(0xff)

struct shadow_owner {
    CF_ALIGNED(CF_CACHE_LINE) _Atomic uint64_t waits;
    _Atomic uint64_t stuck;                  /* the wait that was found in a deadlock; any client writes */
    _Atomic uint64_t since_ns;               /* when; written before `stuck` */
    uint64_t number;                         /* of its last wait; its own */
    _Atomic uint8_t holds[SHADOW_LOCKS_MAX]; /* enum cf_lock_mode */
};

struct shadow {
    CF_ALIGNED(CF_CACHE_LINE) _Atomic uint64_t holders[SHADOW_LOCKS_MAX];
    struct shadow_owner owner[SHADOW_OWNERS_MAX];
};

/* An owner that waits. */
struct wait {
    uint64_t word;
    uint32_t owner;
    uint32_t lock;
    enum cf_lock_mode mode;
    bool is_stuck; /* cannot go on as far as is known */
    bool is_next_stuck;
    uint8_t holds[SHADOW_LOCKS_MAX];
};

struct shadow_view {
    uint32_t owners;
    uint32_t count;
    struct wait wait[]; /* [owners], `count` in use */
};

/* The table of docs/locks.md, by hand: this is the second opinion. */
static bool goes_with(enum cf_lock_mode a, enum cf_lock_mode b)
{
    static const bool table[6][6] = {/*         NL CR CW PR PW EX */
                                     /* NL */ {1, 1, 1, 1, 1, 1}, /* CR */ {1, 1, 1, 1, 1, 0},
                                     /* CW */ {1, 1, 1, 0, 0, 0}, /* PR */ {1, 1, 0, 1, 0, 0},
                                     /* PW */ {1, 1, 0, 0, 0, 0}, /* EX */ {1, 0, 0, 0, 0, 0}};

    return table[a][b];
}

static uint64_t one_of(enum cf_lock_mode mode)
{
    return mode == CF_LOCK_NL ? 0 : UINT64_C(1) << ((uint32_t)(mode - 1) * COUNT_BITS);
}

struct shadow *shadow_open(const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600), rc;
    struct shadow *shadow = MAP_FAILED;

    if (fd < 0)
        return NULL;
    rc = posix_fallocate(fd, 0,
                         sizeof *shadow); /* never less than zeroes, never a page that is not to be had */
    if (rc == 0)
        shadow = mmap(NULL, sizeof *shadow, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    else
        errno = rc;
    close(fd);
    return shadow == MAP_FAILED ? NULL : shadow;
}

void shadow_close(struct shadow *shadow)
{
    if (shadow)
        munmap(shadow, sizeof *shadow);
}

struct shadow_view *shadow_view_make(uint32_t owners)
{
    struct shadow_view *view = calloc(1, sizeof *view + owners * sizeof view->wait[0]);

    if (view)
        view->owners = owners;
    return view;
}

void shadow_view_free(struct shadow_view *view)
{
    free(view);
}

/* ------------------------------------------------------------------ deadlocks */

/* Who waits, and what they hold: nobody else can be part of a deadlock. */
static void copy(struct shadow *shadow, struct shadow_view *view)
{
    view->count = 0;
    for (uint32_t i = 0; i < view->owners; i++) {
        struct shadow_owner *o = &shadow->owner[i];
        struct wait *wait = &view->wait[view->count];

        wait->word = atomic_load_explicit(&o->waits, memory_order_seq_cst);
        if (wait->word == 0)
            continue;
        view->count++;
        wait->owner = i;
        wait->lock = (uint32_t)(wait->word & LOCK_MASK) - 1;
        wait->mode = (enum cf_lock_mode)(wait->word >> MODE_SHIFT & 0xff);
        wait->is_stuck = true;
        for (uint32_t k = 0; k < SHADOW_LOCKS_MAX; k++)
            wait->holds[k] = atomic_load_explicit(&o->holds[k], memory_order_relaxed);
    }
}

static bool holds_against(const struct wait *holder, const struct wait *wait)
{
    return holder != wait && !goes_with(wait->mode, (enum cf_lock_mode)holder->holds[wait->lock]);
}

/* Whom a claim of somebody who is stuck stands against. */
static void stuck_by_claims(struct shadow_view *view)
{
    for (uint32_t i = 0; i < view->count; i++) {
        view->wait[i].is_next_stuck = false;
        for (uint32_t k = 0; k < view->count && view->wait[i].is_stuck && !view->wait[i].is_next_stuck; k++)
            view->wait[i].is_next_stuck = view->wait[k].is_stuck &&
                                          holds_against(&view->wait[k], &view->wait[i]);
    }
}

/* Who may stand in a queue behind one of these: new requests are served in order, whatever their modes. True: there was one. */
static bool stuck_by_order(struct shadow_view *view)
{
    bool is_more = false;

    for (uint32_t i = 0; i < view->count; i++)
        for (uint32_t k = 0; k < view->count && view->wait[i].is_stuck && !view->wait[i].is_next_stuck; k++)
            if (view->wait[k].is_next_stuck && view->wait[k].lock == view->wait[i].lock)
                view->wait[i].is_next_stuck = is_more = true;
    return is_more;
}

/*
 * Strikes out who can go on when those go on who can, until nobody else can. The order of a queue is not known here: this
 * errs on the side of a deadlock.
 */
static void find_stuck(struct shadow_view *view)
{
    bool is_changed = true;

    while (is_changed) {
        is_changed = false;
        stuck_by_claims(view);
        while (stuck_by_order(view))
            ;
        for (uint32_t i = 0; i < view->count; i++) {
            is_changed |= view->wait[i].is_stuck != view->wait[i].is_next_stuck;
            view->wait[i].is_stuck = view->wait[i].is_next_stuck;
        }
    }
}

static void mark_stuck(struct shadow *shadow, const struct shadow_view *view, uint64_t now_ns)
{
    for (uint32_t i = 0; i < view->count; i++) {
        struct shadow_owner *o = &shadow->owner[view->wait[i].owner];

        if (!view->wait[i].is_stuck ||
            atomic_load_explicit(&o->stuck, memory_order_relaxed) == view->wait[i].word)
            continue;
        atomic_store_explicit(&o->since_ns, now_ns, memory_order_relaxed);
        atomic_store_explicit(&o->stuck, view->wait[i].word, memory_order_release); /* shadow_is_stuck */
    }
}

bool shadow_is_stuck(const struct shadow *shadow, uint32_t owner, uint64_t *since_ns_out)
{
    struct shadow_owner *o = (struct shadow_owner *)(uintptr_t)&shadow->owner[owner];

    if (atomic_load_explicit(&o->stuck, memory_order_acquire) !=
        atomic_load_explicit(&o->waits, memory_order_relaxed))
        return false;
    *since_ns_out = atomic_load_explicit(&o->since_ns, memory_order_relaxed);
    return true;
}

/* ------------------------------------------------------------------ what a client does */

void shadow_wait(struct shadow *shadow, struct shadow_view *view, uint32_t owner, uint32_t lock,
                 enum cf_lock_mode mode, uint64_t now_ns)
{
    struct shadow_owner *o = &shadow->owner[owner];

    atomic_store_explicit(&o->waits, ++o->number << NUMBER_SHIFT | (uint64_t)mode << MODE_SHIFT | (lock + 1),
                          memory_order_seq_cst);
    copy(shadow, view);
    find_stuck(view);
    mark_stuck(shadow, view, now_ns);
}

bool shadow_granted(struct shadow *shadow, uint32_t owner, uint32_t lock, enum cf_lock_mode mode)
{
    struct shadow_owner *o = &shadow->owner[owner];
    enum cf_lock_mode before = atomic_load_explicit(&o->holds[lock], memory_order_relaxed), other;
    uint64_t change = one_of(mode) - one_of(before), held;
    bool is_right = true;

    held = atomic_fetch_add_explicit(&shadow->holders[lock], change, memory_order_acq_rel) - one_of(before);
    for (other = CF_LOCK_CR; other <= CF_LOCK_EX; other++)
        is_right &= (held >> ((uint32_t)(other - 1) * COUNT_BITS) & COUNT_MASK) == 0 ||
                    goes_with(mode, other);
    atomic_store_explicit(&o->holds[lock], (uint8_t)mode, memory_order_release);
    atomic_store_explicit(&o->waits, 0, memory_order_seq_cst);
    return is_right;
}

void shadow_refused(struct shadow *shadow, uint32_t owner)
{
    atomic_store_explicit(&shadow->owner[owner].waits, 0, memory_order_seq_cst);
}

void shadow_lower(struct shadow *shadow, uint32_t owner, uint32_t lock, enum cf_lock_mode mode)
{
    struct shadow_owner *o = &shadow->owner[owner];
    enum cf_lock_mode before = atomic_load_explicit(&o->holds[lock], memory_order_relaxed);

    atomic_store_explicit(&o->holds[lock], (uint8_t)mode, memory_order_release);
    atomic_fetch_add_explicit(&shadow->holders[lock], one_of(mode) - one_of(before), memory_order_acq_rel);
}
