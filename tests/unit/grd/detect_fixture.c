/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/grd/detect_fixture.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

const uint8_t detect_lock_conflicts[GRD_DETECT_MODES] = {0x00, 0x20, 0x38, 0x34, 0x3c, 0x3e};

void detect_fixture_open(struct detect_fixture *fixture, uint32_t vertices_max, uint32_t edges_max,
                         uint8_t garbage)
{
    struct grd_detect_options options = {.vertices_max = vertices_max, .edges_max = edges_max, .seed = 0x51};
    uint64_t bytes = grd_detect_bytes(vertices_max, edges_max);

    memcpy(options.conflicts, detect_lock_conflicts, sizeof options.conflicts);
    fixture->memory = aligned_alloc(CF_CACHE_LINE, bytes);
    cf_assert(fixture->memory != NULL);
    memset(fixture->memory, garbage, bytes);
    enum cf_rc rc = grd_detect_open(&options, fixture->memory, bytes, &fixture->detect);

    cf_assert(rc == CF_OK);
}

void detect_fixture_close(struct detect_fixture *fixture)
{
    free(fixture->memory);
    fixture->memory = NULL;
}

uint32_t detect_fixture_confirm(struct detect_fixture *fixture, const struct grd_detect_report *reports,
                                uint32_t count)
{
    uint32_t confirmed = 0;

    for (uint32_t round = 0; round < 2; round++) {
        grd_detect_round_begin(fixture->detect);
        grd_detect_round_report(fixture->detect, reports, count);
        confirmed = grd_detect_round_end(fixture->detect);
    }
    return confirmed;
}

void brute_clear(struct brute *brute, uint32_t vertices)
{
    cf_assert(vertices <= BRUTE_VERTICES_MAX);
    brute->vertices = vertices;
    memset(brute->edge, 0, vertices * sizeof brute->edge[0]);
}

void brute_edge(struct brute *brute, uint32_t from, uint32_t to)
{
    brute->edge[from][to / 64] |= UINT64_C(1) << to % 64;
}

bool brute_has_edge(const struct brute *brute, uint32_t from, uint32_t to)
{
    return brute->edge[from][to / 64] >> to % 64 & 1;
}

void brute_remove(struct brute *brute, uint32_t vertex)
{
    memset(brute->edge[vertex], 0, sizeof brute->edge[vertex]);
    for (uint32_t from = 0; from < brute->vertices; from++)
        brute->edge[from][vertex / 64] &= ~(UINT64_C(1) << vertex % 64);
}

void brute_close(struct brute *brute)
{
    memcpy(brute->reach, brute->edge, brute->vertices * sizeof brute->edge[0]);
    for (uint32_t via = 0; via < brute->vertices; via++) {
        for (uint32_t from = 0; from < brute->vertices; from++) {
            if (!brute_reaches(brute, from, via))
                continue;
            brute->reach[from][0] |= brute->reach[via][0];
            brute->reach[from][1] |= brute->reach[via][1];
        }
    }
}

bool brute_reaches(const struct brute *brute, uint32_t from, uint32_t to)
{
    return brute->reach[from][to / 64] >> to % 64 & 1;
}

uint32_t brute_cycle_length(const struct brute *brute, uint32_t vertex)
{
    uint64_t front[2] = {brute->edge[vertex][0], brute->edge[vertex][1]};

    for (uint32_t length = 1; length <= brute->vertices; length++) {
        uint64_t next[2] = {0, 0};

        if (front[vertex / 64] >> vertex % 64 & 1)
            return length;
        for (uint32_t v = 0; v < brute->vertices; v++) {
            if (front[v / 64] >> v % 64 & 1) {
                next[0] |= brute->edge[v][0];
                next[1] |= brute->edge[v][1];
            }
        }
        memcpy(front, next, sizeof front);
    }
    return 0;
}
