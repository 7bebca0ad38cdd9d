/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Assertions on our own state. Bytes that come from a peer are validated and counted, never asserted.
 *
 * cf_assert stays in every build: it is one compare and a branch never taken. cf_assert_slow is for
 * checks that walk something and exists in builds with CF_DEBUG only.
 *
 * Failure: prints file, line, expression and invariant, runs the dump hooks this thread has pushed
 * (innermost first), prints the last trace records of this thread, then aborts.
 */
#ifndef CF_BASE_ASSERT_H
#define CF_BASE_ASSERT_H

#include <stdio.h>

#include "base/compiler.h"

#define cf_assert(expr) \
    (CF_LIKELY(expr) ? (void)0 : cf_assert_fail(__FILE__, __LINE__, __func__, #expr, NULL))

/* As cf_assert, naming the invariant that would be broken, for instance "I-3". */
#define cf_assert_id(expr, id) \
    (CF_LIKELY(expr) ? (void)0 : cf_assert_fail(__FILE__, __LINE__, __func__, #expr, (id)))

#ifdef CF_DEBUG
#define cf_assert_slow(expr) cf_assert(expr)
#else
/* Compiled, so that it cannot rot, but never evaluated. */
#define cf_assert_slow(expr) ((void)sizeof((expr) ? 1 : 0))
#endif

#define cf_unreachable() cf_assert_fail(__FILE__, __LINE__, __func__, "unreachable", NULL)

/*
 * What to print when an assertion fails on this thread: lives on the stack of the function that
 * pushes it, and is popped in reverse order before that function returns.
 */
struct cf_assert_context {
    void (*dump)(void *arg, FILE *out);
    void *arg;
    struct cf_assert_context *outer; /* set by push */
};

void cf_assert_context_push(struct cf_assert_context *context);
void cf_assert_context_pop(struct cf_assert_context *context);

CF_COLD _Noreturn void cf_assert_fail(const char *file, int line, const char *function, const char *expr,
                                      const char *invariant);

#endif
