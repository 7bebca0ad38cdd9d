/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Trace: a ring of fixed binary records, always on, one for each thread or owner. Adding is a handful of
 * stores; the time is a field the owner refreshes once a turn. Old records are overwritten.
 *
 * Concurrency: one writer. A dump from another thread is for the failing or stopped process: it may show
 * a record half overwritten.
 */
#ifndef CF_BASE_TRACE_H
#define CF_BASE_TRACE_H

#include <stdint.h>
#include <stdio.h>

#include "base/compiler.h"

enum cf_trace_event {
#define CF_TRACE_EVENT(name, text) CF_TRACE_##name,
#include "base/trace.def"
#undef CF_TRACE_EVENT
    CF_TRACE_EVENT_COUNT
};

struct cf_trace_record {
    uint64_t now_ns;
    uint16_t event;
    uint16_t a;
    uint32_t b;
    uint64_t c;
    uint64_t d;
};
_Static_assert(sizeof(struct cf_trace_record) == 32, "two records a cache line");

struct cf_trace {
    struct cf_trace_record *records; /* [const] NULL: tracing off */
    uint64_t mask;                   /* [const] */
    uint64_t added_count;            /* [own] */
    uint64_t now_ns;                 /* [own] refreshed once a turn */
};

/* mem holds records_pow2 records (a power of two) and outlives the trace; NULL and 0 turn tracing off. */
void cf_trace_init(struct cf_trace *trace, void *mem, uint32_t records_pow2);

static inline CF_HOT void cf_trace_add(struct cf_trace *trace, enum cf_trace_event event, uint16_t a,
                                       uint32_t b, uint64_t c, uint64_t d)
{
    if (CF_UNLIKELY(trace->records == NULL))
        return;
    trace->records[trace->added_count++ & trace->mask] = (struct cf_trace_record){
        .now_ns = trace->now_ns,
        .event = (uint16_t)event,
        .a = a,
        .b = b,
        .c = c,
        .d = d,
    };
}

/* Prints the last_n newest records, oldest first. */
void cf_trace_dump(const struct cf_trace *trace, FILE *out, uint32_t last_n);
const char *cf_trace_event_name(uint16_t event);

/* The ring an assertion failure on this thread prints; NULL to forget it. */
void cf_trace_bind_thread(struct cf_trace *trace);
struct cf_trace *cf_trace_of_thread(void);

#endif
