/* SPDX-License-Identifier: Apache-2.0 */
#include "base/trace.h"

#include <inttypes.h>
#include <stddef.h>
#include <string.h>

#include "base/assert.h"

static _Thread_local struct cf_trace *trace_of_thread;

static const char *const event_names[] = {
#define CF_TRACE_EVENT(name, text) [CF_TRACE_##name] = #name,
#include "base/trace.def"
#undef CF_TRACE_EVENT
};

void cf_trace_init(struct cf_trace *trace, void *mem, uint32_t records_pow2)
{
    *trace = (struct cf_trace){0};
    if (mem == NULL)
        return;
    cf_assert(records_pow2 != 0);
    cf_assert((records_pow2 & (records_pow2 - 1)) == 0);
    memset(mem, 0, (size_t)records_pow2 * sizeof(struct cf_trace_record));
    trace->records = mem;
    trace->mask = records_pow2 - 1;
}

const char *cf_trace_event_name(uint16_t event)
{
    return event < CF_COUNTOF(event_names) ? event_names[event] : "UNKNOWN";
}

void cf_trace_dump(const struct cf_trace *trace, FILE *out, uint32_t last_n)
{
    uint64_t end = trace->added_count;
    uint64_t count = last_n;

    if (trace->records == NULL)
        return;
    if (count > trace->mask + 1)
        count = trace->mask + 1;
    if (count > end)
        count = end;
    for (uint64_t i = end - count; i < end; i++) {
        const struct cf_trace_record *r = &trace->records[i & trace->mask];
        fprintf(out, "trace %" PRIu64 " ns %s a %u b %u c 0x%" PRIx64 " d 0x%" PRIx64 "\n", r->now_ns,
                cf_trace_event_name(r->event), r->a, r->b, r->c, r->d);
    }
}

void cf_trace_bind_thread(struct cf_trace *trace)
{
    trace_of_thread = trace;
}

struct cf_trace *cf_trace_of_thread(void)
{
    return trace_of_thread;
}
