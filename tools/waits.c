/* SPDX-License-Identifier: Apache-2.0 */
/* `cachefusion status --waits`: who waits for whom in the cluster, for people or for Graphviz. */
#include <inttypes.h>
#include <string.h>

#include "tools/latency.h"
#include "tools/status.h"

#define AGE_BYTES 16u

static void print_edges(const json_t *edges, FILE *out)
{
    const json_t *edge;
    size_t index;

    json_array_foreach(edges, index, edge)
    {
        const char *mode = status_str(edge, "mode");
        char age[AGE_BYTES];

        fprintf(out, "  %s  for %s  waits for %s %s %s%s%s\n", status_str(edge, "waiter"),
                latency_text(status_u64(edge, "for_ns"), age, sizeof(age)), status_str(edge, "lock"),
                mode[0] != '\0' ? "held by" : "behind", status_str(edge, "holder"),
                mode[0] != '\0' ? " in " : "", mode);
    }
}

static void print_cycles(const json_t *cycles, FILE *out)
{
    const json_t *cycle;
    size_t index;

    json_array_foreach(cycles, index, cycle)
    {
        char ago[AGE_BYTES];

        fprintf(out, "deadlock %" PRIu64 ", %s ago, its victim %s: %s\n", status_u64(cycle, "number"),
                latency_text(status_u64(cycle, "ago_ns"), ago, sizeof(ago)), status_str(cycle, "victim"),
                status_str(cycle, "text"));
    }
}

/* A quoted string of the DOT language: names of locks are any bytes. */
static void print_quoted(const char *text, FILE *out)
{
    fputc('"', out);
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\')
            fputc('\\', out);
        fputc(*text, out);
    }
    fputc('"', out);
}

static void print_dot(const json_t *edges, FILE *out)
{
    const json_t *edge;
    size_t index;

    fputs("digraph waits {\n", out);
    json_array_foreach(edges, index, edge)
    {
        char label[256], age[AGE_BYTES];

        snprintf(label, sizeof(label), "%s %s %s", status_str(edge, "lock"), status_str(edge, "mode"),
                 latency_text(status_u64(edge, "for_ns"), age, sizeof(age)));
        fputs("  ", out);
        print_quoted(status_str(edge, "waiter"), out);
        fputs(" -> ", out);
        print_quoted(status_str(edge, "holder"), out);
        fputs(" [label=", out);
        print_quoted(label, out);
        fputs("];\n", out);
    }
    fputs("}\n", out);
}

bool status_waits(const json_t *status, bool is_dot, FILE *out, char *text, size_t text_bytes)
{
    const json_t *waits = json_object_get(status, "waits");
    const json_t *edges = json_object_get(waits, "edges");
    char ago[AGE_BYTES];

    if (!json_is_object(waits)) {
        snprintf(text, text_bytes,
                 "this instance has no deadlock detector (options locks and deadlock_edges)");
        return false;
    }
    if (!json_is_true(json_object_get(waits, "here"))) {
        snprintf(text, text_bytes, "the deadlock detector is on node %" PRIu64 ": ask that one",
                 status_u64(waits, "detector"));
        return false;
    }
    if (is_dot) {
        print_dot(edges, out);
        return true;
    }
    if (status_u64(waits, "rounds") == 0)
        fprintf(out, "deadlock detector on node %" PRIu64 ": nobody has waited long\n",
                status_u64(waits, "detector"));
    else
        fprintf(out,
                "deadlock detector on node %" PRIu64 ": round %" PRIu64
                ", %s ago, %zu waits shown of %" PRIu64 " reports, %" PRIu64 " edges confirmed\n",
                status_u64(waits, "detector"), status_u64(waits, "rounds"),
                latency_text(status_u64(waits, "ago_ns"), ago, sizeof(ago)), json_array_size(edges),
                status_u64(waits, "reports"), status_u64(waits, "confirmed"));
    print_edges(edges, out);
    print_cycles(json_object_get(waits, "cycles"), out);
    return true;
}
