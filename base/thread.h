/* SPDX-License-Identifier: Apache-2.0 */
/* Threads of the library inside somebody else's program. */
#ifndef CF_BASE_THREAD_H
#define CF_BASE_THREAD_H

#include <pthread.h>
#include <signal.h>

#include "base/compiler.h"

/*
 * From here to cf_signals_restore the calling thread, and every thread started in between, takes no signal but those that its
 * own instructions raise (a fault is for the program's handler, whoever's thread it is in), and none that was blocked before.
 */
void cf_signals_block(sigset_t *before_out);
void cf_signals_restore(const sigset_t *before);

/*
 * Starts a thread that leaves the program's signals to the program's threads. `name` of at most 15 characters is seen by ps,
 * perf and debuggers. The status of pthread_create, an errno value.
 */
CF_CHECK int cf_thread_start(pthread_t *thread_out, const char *name, void *(*main)(void *), void *arg);

#endif
