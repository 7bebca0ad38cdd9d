/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_GRD_DETECT_FIXTURE_H
#define TESTS_UNIT_GRD_DETECT_FIXTURE_H

/*
 * A detector in memory of exactly the size it asks for, and graphs small enough to be searched by brute
 * force.
 */
#include "grd/detect.h"

struct detect_fixture {
    struct grd_detect *detect;
    void *memory; /* as malloc gave it */
};

/* conflicts of the six lock modes NL CR CW PR PW EX = 0..5 */
extern const uint8_t detect_lock_conflicts[GRD_DETECT_MODES];

/* The memory is filled with `garbage` before. */
void detect_fixture_open(struct detect_fixture *fixture, uint32_t vertices_max, uint32_t edges_max,
                         uint8_t garbage);
void detect_fixture_close(struct detect_fixture *fixture);
/* Two rounds with the same reports. Answers how many edges are confirmed. */
uint32_t detect_fixture_confirm(struct detect_fixture *fixture, const struct grd_detect_report *reports,
                                uint32_t count);

#define BRUTE_VERTICES_MAX 128u
struct brute {
    uint32_t vertices;
    uint64_t edge[BRUTE_VERTICES_MAX][2];  /* bit of each target */
    uint64_t reach[BRUTE_VERTICES_MAX][2]; /* by one edge or more */
};
void brute_clear(struct brute *brute, uint32_t vertices);
void brute_edge(struct brute *brute, uint32_t from, uint32_t to);
bool brute_has_edge(const struct brute *brute, uint32_t from, uint32_t to);
void brute_remove(struct brute *brute, uint32_t vertex);
void brute_close(struct brute *brute); /* reach from edge */
bool brute_reaches(const struct brute *brute, uint32_t from, uint32_t to);
/* Edges of a shortest cycle through a vertex; 0: there is none. */
uint32_t brute_cycle_length(const struct brute *brute, uint32_t vertex);

#endif
