/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TOOLS_BENCH_BENCH_H
#define TOOLS_BENCH_BENCH_H

/*
 * `cachefusion bench`: runs programs that each answer one question, in turns, and says what came out with its spread.
 *
 *   catalogue   which programs, their question, what runs in turns with them     (catalogue.c, bench/catalogue.ini)
 *   child       one run of a program; the lines it says                          (child.c)
 *   probe       round trip of a cache line, before and behind each run           (probe.c)
 *   core        is the core of a processor shared with another thread just now   (cores.c)
 *   result      samples, by the class of placement they were taken in            (result.c)
 *   report      words and JSON                                                   (report.c, json.c)
 *
 * A program says its figures as lines on its standard output, anything else is for the reader who runs it by hand:
 *
 *   figure NAME VALUE UNIT          less is better, unless the unit ends in "/s"
 *   percentile NAME SHARE VALUE     a point of the distribution of that figure: SHARE of all is at or under VALUE
 *   not run: WHY                    there is nothing here it could measure
 */
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/compiler.h"

#define BENCH_ENTRIES_MAX 64u
#define BENCH_CONTENDERS_MAX 8u
#define BENCH_NAME_BYTES 64u
#define BENCH_TEXT_BYTES 256u
#define BENCH_COMMAND_BYTES 1024u
#define BENCH_WORDS_MAX 64u
#define BENCH_PATH_BYTES 512u
#define BENCH_REPEATS_MAX 1000u
#define BENCH_SERIES_MAX 512u /* of one entry: figures and percentiles of all contenders */

/* ------------------------------------------------------------------ catalogue.c */

struct bench_contender {
    char name[BENCH_NAME_BYTES];
    char command[BENCH_COMMAND_BYTES];
};

struct bench_entry {
    char name[BENCH_NAME_BYTES];
    char question[BENCH_TEXT_BYTES];
    char target[BENCH_TEXT_BYTES]; /* what the ratio is to be, in words; "" = none */
    uint32_t limit_s;              /* of one run */
    struct bench_contender
        contenders[BENCH_CONTENDERS_MAX]; /* the first is what the others are compared with */
    uint32_t contenders_count;
};

struct bench_catalogue {
    struct bench_entry entries[BENCH_ENTRIES_MAX];
    uint32_t count;
    char path[BENCH_PATH_BYTES];
    char folder[BENCH_PATH_BYTES]; /* of the programs; others come from the search path */
    char error[BENCH_TEXT_BYTES];
};

/* `path` "": the catalogue that was built or installed with this command. False: catalogue->error says why. */
CF_CHECK bool bench_catalogue_read(struct bench_catalogue *catalogue, const char *path);

/* ------------------------------------------------------------------ probe.c */

/* Placement of two virtual processors on real ones, as the round trip of a cache line shows it. */
enum bench_class {
    BENCH_CLASS_ONE_CPU = 0,  /* there is one processor only */
    BENCH_CLASS_SIBLINGS,     /* two threads of a core */
    BENCH_CLASS_SHARED_L3,    /* two cores behind one third-level cache */
    BENCH_CLASS_OTHER_L3,     /* the line crosses between two such caches */
    BENCH_CLASS_OTHER_SOCKET, /* the line crosses between sockets */
    BENCH_CLASS_MOVED,        /* not the same before and behind a run: nothing is compared with it */
    BENCH_CLASSES
};

const char *bench_class_name(enum bench_class class);
enum bench_class bench_class_of(double line_ns);
/* Round trip in nanoseconds between two processors, of a quarter of the tries or less; 0: there is one only. */
double bench_probe(int cpu_a, int cpu_b);

/* ------------------------------------------------------------------ cores.c */

/*
 * The share, 0 to 1, of some 64 short looks in which another thread ran on the core of this processor: another guest's, or that
 * of a sibling. It took a part of the units that additions need, while a chain of additions takes as long as ever. `least` is
 * what fast looks took so far, 0 at first; before a core was had alone once, shares are too low.
 */
double bench_core_shared(double *least, int cpu);
/* What looks say, which are sorted here; none at all, because each was interrupted: 1. */
double bench_core_judge(double *least, double *looks, uint32_t count);

/* ------------------------------------------------------------------ child.c */

struct bench_said {
    char name[BENCH_NAME_BYTES];
    char unit[16];
    double share; /* of a percentile; below 0: the figure itself */
    double value;
};

struct bench_run {
    struct bench_said said[BENCH_SERIES_MAX];
    uint32_t said_count;
    char skipped[BENCH_TEXT_BYTES]; /* why there is nothing to measure; "" = there is */
    char failure[BENCH_TEXT_BYTES]; /* "" = it ran */
    bool is_interrupted;
};

struct bench_settings {
    const char *transport;
    const char *work; /* private folder */
    double scale;     /* of the numbers in braces of a command */
    int cpus[2];
    uint32_t repeats, warm_ups;
    int signal_fd; /* SIGINT and SIGTERM, blocked: they end a run, and the programs with it */
    bool is_verbose;
};

/* The command with braces replaced: {transport} {work} {cpus} {cpu0} {cpu1} {NUMBER}. False: it is too long. */
CF_CHECK bool bench_command_expand(const struct bench_settings *settings, const char *command, char *text,
                                   size_t text_bytes);
void bench_child_run(const struct bench_settings *settings, const char *folder, const char *command,
                     uint32_t limit_s, struct bench_run *run);

/* ------------------------------------------------------------------ result.c */

struct bench_sample {
    uint32_t round;
    enum bench_class class;
    double value;
};

struct bench_series {
    uint32_t contender;
    struct bench_said what;
    struct bench_sample *samples; /* room for every repetition */
    uint32_t samples_count;
};

/* What the probes saw at one moment. */
struct bench_place {
    double line_ns;
    double shared; /* share of looks, of both processors */
};

struct bench_line {
    struct bench_place before, behind;
    enum bench_class class;
};

struct bench_result {
    const struct bench_entry *entry;
    struct bench_series series[BENCH_SERIES_MAX];
    uint32_t series_count;
    struct bench_line *lines; /* of each round and contender */
    uint32_t repeats;
    enum bench_class class; /* that most runs were in */
    char skipped[BENCH_CONTENDERS_MAX][BENCH_TEXT_BYTES];
    char failure[BENCH_TEXT_BYTES];
};

struct bench_spread {
    uint32_t count;
    double median, low, high, least, most; /* low and high: quartiles */
};

CF_CHECK bool bench_result_open(struct bench_result *result, const struct bench_entry *entry,
                                uint32_t repeats);
void bench_result_close(struct bench_result *result);
/* False: more figures than there is room for. */
CF_CHECK bool bench_result_add(struct bench_result *result, uint32_t contender, uint32_t round,
                               const struct bench_line *line, const struct bench_run *run);
/* After the last sample: the class most runs were in. */
void bench_result_end(struct bench_result *result);
/* Of the samples of one class. */
struct bench_spread bench_series_spread(const struct bench_series *series, enum bench_class class);
/* a / b of the rounds in which both were in this class; for rates b / a, so that below 1 is always better for a. */
struct bench_spread bench_ratio_spread(const struct bench_series *a, const struct bench_series *b,
                                       enum bench_class class);
/* The same figure of another contender; NULL: there is none. */
const struct bench_series *bench_result_other(const struct bench_result *result,
                                              const struct bench_series *series, uint32_t contender);
bool bench_unit_is_rate(const char *unit);

/* ------------------------------------------------------------------ report.c, json.c */

void bench_print_facts(FILE *out, const struct bench_settings *settings);
void bench_print_result(FILE *out, const struct bench_result *result);
/* NULL: no memory. */
json_t *bench_json_root(const struct bench_settings *settings);
CF_CHECK bool bench_json_add(json_t *root, const struct bench_settings *settings,
                             const struct bench_result *result);

#endif
