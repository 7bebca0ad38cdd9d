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

#define NOBODY UINT32_MAX

/* A lock's holders by mode, a count each: room for all owners. */
#define COUNT_BITS 12u
#define COUNT_MASK ((UINT64_C(1) << COUNT_BITS) - 1)
_Static_assert(CF_LOCK_EX *COUNT_BITS <= 64, "five modes; NL stands against nothing");

struct shadow_owner {
    CF_ALIGNED(CF_CACHE_LINE) _Atomic uint64_t waits; /* lock + 1, mode << 32; 0: it does not wait */
    _Atomic uint64_t since_ns;                        /* written before `waits` */
    uint64_t forced;                                  /* of shadow.forced when the wait began; its own */
    _Atomic uint8_t holds[SHADOW_LOCKS_MAX];          /* enum cf_lock_mode */
};

struct shadow {
    CF_ALIGNED(CF_CACHE_LINE) _Atomic uint64_t forced; /* waits that ended without the lock */
    _Atomic uint64_t holders[SHADOW_LOCKS_MAX];
    struct shadow_owner owner[SHADOW_OWNERS_MAX];
};

struct wait {
    uint32_t lock; /* NOBODY: none */
    enum cf_lock_mode mode;
    uint64_t since_ns;
    uint32_t came_from; /* cycle search: who waits for this one; NOBODY: not reached */
    bool is_stuck;      /* cannot go on as far as is known */
    bool is_next_stuck;
};

struct shadow_view {
    uint32_t owners;
    struct wait *wait;                  /* [owners] */
    uint8_t (*holds)[SHADOW_LOCKS_MAX]; /* [owners] */
    uint32_t *queue;                    /* [owners] */
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
    struct shadow_view *view = calloc(1, sizeof *view);

    if (view == NULL)
        return NULL;
    view->owners = owners;
    view->wait = calloc(owners, sizeof *view->wait);
    view->holds = calloc(owners, sizeof *view->holds);
    view->queue = calloc(owners, sizeof *view->queue);
    if (view->wait && view->holds && view->queue)
        return view;
    shadow_view_free(view);
    return NULL;
}

void shadow_view_free(struct shadow_view *view)
{
    if (view == NULL)
        return;
    free(view->wait);
    free(view->holds);
    free(view->queue);
    free(view);
}

/* ------------------------------------------------------------------ what a client does */

void shadow_wait(struct shadow *shadow, uint32_t owner, uint32_t lock, enum cf_lock_mode mode,
                 uint64_t now_ns)
{
    struct shadow_owner *o = &shadow->owner[owner];

    atomic_store_explicit(&o->since_ns, now_ns, memory_order_relaxed);
    o->forced = atomic_load_explicit(&shadow->forced, memory_order_acquire);
    /* Release: what was written down before, the claims above all, is there for who sees the wait (copy). */
    atomic_store_explicit(&o->waits, (uint64_t)mode << 32 | (lock + 1), memory_order_release);
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
    atomic_store_explicit(&o->waits, 0, memory_order_release);
    return is_right;
}

void shadow_refused(struct shadow *shadow, uint32_t owner)
{
    /* Before the claims are struck out, so that who misses them here sees the count (shadow_judge). */
    atomic_fetch_add_explicit(&shadow->forced, 1, memory_order_acq_rel);
    atomic_store_explicit(&shadow->owner[owner].waits, 0, memory_order_release);
}

void shadow_lower(struct shadow *shadow, uint32_t owner, uint32_t lock, enum cf_lock_mode mode)
{
    struct shadow_owner *o = &shadow->owner[owner];
    enum cf_lock_mode before = atomic_load_explicit(&o->holds[lock], memory_order_relaxed);

    atomic_store_explicit(&o->holds[lock], (uint8_t)mode, memory_order_release);
    atomic_fetch_add_explicit(&shadow->holders[lock], one_of(mode) - one_of(before), memory_order_acq_rel);
}

/* ------------------------------------------------------------------ was it a deadlock? */

static void copy(struct shadow *shadow, struct shadow_view *view)
{
    for (uint32_t i = 0; i < view->owners; i++) {
        struct shadow_owner *o = &shadow->owner[i];
        uint64_t waits = atomic_load_explicit(&o->waits, memory_order_acquire);

        view->wait[i] = (struct wait){.lock = waits == 0 ? NOBODY : (uint32_t)waits - 1,
                                      .mode = (enum cf_lock_mode)(waits >> 32),
                                      .since_ns = atomic_load_explicit(&o->since_ns, memory_order_relaxed),
                                      .came_from = NOBODY,
                                      .is_stuck = waits != 0};
        for (uint32_t k = 0; k < SHADOW_LOCKS_MAX; k++)
            view->holds[i][k] = atomic_load_explicit(&o->holds[k], memory_order_acquire);
    }
}

static bool holds_against(const struct shadow_view *view, uint32_t holder, uint32_t waiter)
{
    const struct wait *wait = &view->wait[waiter];

    return holder != waiter && !goes_with(wait->mode, (enum cf_lock_mode)view->holds[holder][wait->lock]);
}

static bool waits_against(const struct shadow_view *view, uint32_t other, uint32_t waiter)
{
    const struct wait *wait = &view->wait[waiter], *before = &view->wait[other];

    return other != waiter && before->lock == wait->lock && !goes_with(wait->mode, before->mode);
}

/*
 * Who cannot go on when those go on who can: whoever a stuck owner's claim stands against, and whoever may stand behind one
 * of these. The order of a queue is not known here, so this errs on the side of a deadlock.
 */
static bool stuck_again(struct shadow_view *view)
{
    bool is_changed = false, is_more = true;

    for (uint32_t i = 0; i < view->owners; i++) {
        view->wait[i].is_next_stuck = false;
        for (uint32_t k = 0; k < view->owners && view->wait[i].is_stuck && !view->wait[i].is_next_stuck; k++)
            view->wait[i].is_next_stuck = view->wait[k].is_stuck && holds_against(view, k, i);
    }
    while (is_more) {
        is_more = false;
        for (uint32_t i = 0; i < view->owners; i++)
            for (uint32_t k = 0; k < view->owners && view->wait[i].is_stuck && !view->wait[i].is_next_stuck;
                 k++)
                if (view->wait[k].is_next_stuck && waits_against(view, k, i))
                    view->wait[i].is_next_stuck = is_more = true;
    }
    for (uint32_t i = 0; i < view->owners; i++) {
        is_changed |= view->wait[i].is_stuck != view->wait[i].is_next_stuck;
        view->wait[i].is_stuck = view->wait[i].is_next_stuck;
    }
    return is_changed;
}

/* Does `waiter` wait for `other`? Among waiters of a lock the one that began later, as far as clocks tell. */
static bool waits_for(const struct shadow_view *view, uint32_t waiter, uint32_t other)
{
    return view->wait[other].is_stuck &&
           (holds_against(view, other, waiter) ||
            (waits_against(view, other, waiter) && view->wait[other].since_ns < view->wait[waiter].since_ns));
}

static uint64_t youngest_of_cycle(const struct shadow_view *view, uint32_t owner, uint32_t last)
{
    uint64_t youngest = view->wait[owner].since_ns;

    for (uint32_t i = last; i != owner; i = view->wait[i].came_from)
        if (view->wait[i].since_ns > youngest)
            youngest = view->wait[i].since_ns;
    return youngest;
}

/* Breadth first from the owner until somebody waits for it. */
static uint64_t cycle_formed_ns(struct shadow_view *view, uint32_t owner)
{
    uint32_t head = 0, tail = 0;

    view->queue[tail++] = owner;
    view->wait[owner].came_from = owner;
    while (head < tail) {
        uint32_t at = view->queue[head++];

        for (uint32_t k = 0; k < view->owners; k++) {
            if (!waits_for(view, at, k))
                continue;
            if (k == owner)
                return youngest_of_cycle(view, owner, at);
            if (view->wait[k].came_from != NOBODY)
                continue;
            view->wait[k].came_from = at;
            view->queue[tail++] = k;
        }
    }
    return view->wait[owner].since_ns;
}

enum shadow_verdict shadow_judge(struct shadow *shadow, struct shadow_view *view, uint32_t owner,
                                 uint64_t *formed_ns_out)
{
    copy(shadow, view);
    *formed_ns_out = view->wait[owner].since_ns;
    while (stuck_again(view))
        ;
    if (view->wait[owner].is_stuck) {
        *formed_ns_out = cycle_formed_ns(view, owner);
        return SHADOW_DEADLOCK;
    }
    return atomic_load_explicit(&shadow->forced, memory_order_acquire) == shadow->owner[owner].forced
               ? SHADOW_PHANTOM
               : SHADOW_UNKNOWN;
}
