/* SPDX-License-Identifier: Apache-2.0 */
#include "base/assert.h"

#include <stdlib.h>

#include "base/trace.h"

#define ASSERT_TRACE_RECORDS_MAX 64

static _Thread_local struct cf_assert_context *innermost;
static _Thread_local unsigned failing_depth;

void cf_assert_context_push(struct cf_assert_context *context)
{
    context->outer = innermost;
    innermost = context;
}

void cf_assert_context_pop(struct cf_assert_context *context)
{
    cf_assert(innermost == context);
    innermost = context->outer;
    context->outer = NULL;
}

/* An assertion that fails inside a dump hook must not run the hooks again. */
void cf_assert_fail(const char *file, int line, const char *function, const char *expr, const char *invariant)
{
    fprintf(stderr, "%s:%d: %s: assertion failed: %s%s%s\n", file, line, function, expr,
            invariant != NULL ? " invariant " : "", invariant != NULL ? invariant : "");
    if (failing_depth++ == 0) {
        for (struct cf_assert_context *c = innermost; c != NULL; c = c->outer)
            c->dump(c->arg, stderr);
        if (cf_trace_of_thread() != NULL)
            cf_trace_dump(cf_trace_of_thread(), stderr, ASSERT_TRACE_RECORDS_MAX);
    }
    fflush(stderr);
    abort();
}
