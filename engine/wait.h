/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_WAIT_H
#define ENGINE_WAIT_H

/* Who drives, and how others wait for it. */
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <cachefusion/cachefusion.h>

/* ---- progress.c, wait.c, poller.c: threads and waiting. ---- */
bool eng_progress_try(struct cf_instance *instance);
void eng_progress_leave(struct cf_instance *instance);
/* Something was added to inbox or attention: sees to it that somebody looks. Any thread. */
void eng_kick(struct cf_instance *instance);
/* An unpin that somebody may wait for: the owner looks. Any thread. */
void eng_put_tell(struct cf_instance *instance);
struct eng_wait {
    bool (*is_done)(void *arg);
    void *arg;
    uint64_t until_ns;
    _Atomic uint32_t *wake; /* rises when something is done */
    _Atomic uint32_t *sleeping;
};
/* Drives, spins or sleeps as the option `waiting` says, until is_done or until_ns. True: done. */
bool eng_wait_for(struct cf_instance *instance, struct eng_wait *wait);
/* The same by who holds progress already; lets go of it. */
bool eng_wait_driving(struct cf_instance *instance, struct eng_wait *wait, uint64_t now_ns);
/* slice.c: the calling thread, a poller, asks to run soon rather than long. */
void eng_slice_shorten(void);
void eng_poller_wake(struct cf_instance *instance);
enum cf_rc eng_threads_start(struct cf_instance *instance, struct cf_error *error);
void eng_threads_stop(struct cf_instance *instance);
void eng_futex_wait(_Atomic uint32_t *word, uint32_t value, uint64_t timeout_ns);
void eng_futex_wake(_Atomic uint32_t *word);

#endif
