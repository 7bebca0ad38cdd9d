/* SPDX-License-Identifier: Apache-2.0 */
#include "base/thread.h"

#include <stdint.h>

#include "base/assert.h"

void cf_signals_block(sigset_t *before_out)
{
    static const int own[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS};
    sigset_t set;

    sigfillset(&set);
    for (uint32_t i = 0; i < CF_COUNTOF(own); i++)
        sigdelset(&set, own[i]);
    /* Added to what is blocked: who has all blocked, and takes them by sigwait, must not find one taken here. */
    cf_assert(pthread_sigmask(SIG_BLOCK, &set, before_out) == 0);
}

void cf_signals_restore(const sigset_t *before)
{
    cf_assert(pthread_sigmask(SIG_SETMASK, before, NULL) == 0);
}

int cf_thread_start(pthread_t *thread_out, const char *name, void *(*main)(void *), void *arg)
{
    sigset_t before;
    int status;

    cf_signals_block(&before);
    status = pthread_create(thread_out, NULL, main, arg);
    cf_signals_restore(&before);
    if (status == 0)
        (void)pthread_setname_np(*thread_out, name); /* for people only */
    return status;
}
