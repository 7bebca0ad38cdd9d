/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "tools/bench/bench.h"

bool bench_result_open(struct bench_result *result, const struct bench_entry *entry, uint32_t repeats)
{
    memset(result, 0, sizeof *result);
    result->entry = entry;
    result->repeats = repeats;
    result->lines = calloc((size_t)repeats * BENCH_CONTENDERS_MAX, sizeof *result->lines);
    return result->lines != NULL;
}

void bench_result_close(struct bench_result *result)
{
    for (uint32_t i = 0; i < result->series_count; i++)
        free(result->series[i].samples);
    free(result->lines);
    result->series_count = 0;
    result->lines = NULL;
}

static struct bench_series *series_of(struct bench_result *result, uint32_t contender,
                                      const struct bench_said *said)
{
    struct bench_series *series;

    for (uint32_t i = 0; i < result->series_count; i++) {
        series = &result->series[i];
        /* Shares are written alike by each run, so equal ones are equal bits. */
        if (series->contender == contender &&
            memcmp(&series->what.share, &said->share, sizeof said->share) == 0 &&
            strcmp(series->what.name, said->name) == 0)
            return series;
    }
    if (result->series_count == BENCH_SERIES_MAX)
        return NULL;
    series = &result->series[result->series_count];
    series->samples = calloc(result->repeats, sizeof *series->samples);
    if (series->samples == NULL)
        return NULL;
    series->contender = contender;
    series->what = *said;
    result->series_count++;
    return series;
}

bool bench_result_add(struct bench_result *result, uint32_t contender, uint32_t round,
                      const struct bench_line *line, const struct bench_run *run)
{
    cf_assert(round < result->repeats);
    result->lines[round * BENCH_CONTENDERS_MAX + contender] = *line;
    for (uint32_t i = 0; i < run->said_count; i++) {
        struct bench_series *series = series_of(result, contender, &run->said[i]);

        if (series == NULL)
            return false;
        /* Said twice in a run: the first time counts. */
        if (series->samples_count > 0 && series->samples[series->samples_count - 1].round == round)
            continue;
        series->samples[series->samples_count++] = (struct bench_sample){round, line->class,
                                                                         run->said[i].value};
    }
    return true;
}

void bench_result_end(struct bench_result *result)
{
    uint32_t counts[BENCH_CLASSES] = {0};

    for (uint32_t i = 0; i < result->series_count; i++)
        for (uint32_t s = 0; s < result->series[i].samples_count; s++)
            counts[result->series[i].samples[s].class]++;
    result->class = BENCH_CLASS_MOVED;
    for (uint32_t c = 0; c < BENCH_CLASS_MOVED; c++)
        if (counts[c] > 0 && (result->class == BENCH_CLASS_MOVED || counts[c] > counts[result->class]))
            result->class = (enum bench_class)c;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* Between two neighbours where the share falls between them. */
static double at(const double *values, uint32_t count, double share)
{
    double place = share * (count - 1);
    uint32_t below = (uint32_t)place, above = below + 1 < count ? below + 1 : below;

    return values[below] + (values[above] - values[below]) * (place - below);
}

static struct bench_spread spread_of(double *values, uint32_t count)
{
    if (count == 0)
        return (struct bench_spread){0};
    qsort(values, count, sizeof values[0], by_value);
    return (struct bench_spread){.count = count,
                                 .median = at(values, count, 0.5),
                                 .low = at(values, count, 0.25),
                                 .high = at(values, count, 0.75),
                                 .least = values[0],
                                 .most = values[count - 1]};
}

struct bench_spread bench_series_spread(const struct bench_series *series, enum bench_class class)
{
    double values[BENCH_REPEATS_MAX];
    uint32_t count = 0;

    for (uint32_t i = 0; i < series->samples_count; i++)
        if (series->samples[i].class == class)
            values[count++] = series->samples[i].value;
    return spread_of(values, count);
}

bool bench_unit_is_rate(const char *unit)
{
    size_t bytes = strlen(unit);

    return bytes > 2 && strcmp(unit + bytes - 2, "/s") == 0;
}

struct bench_spread bench_ratio_spread(const struct bench_series *a, const struct bench_series *b,
                                       enum bench_class class)
{
    bool is_rate = bench_unit_is_rate(a->what.unit);
    double values[BENCH_REPEATS_MAX];
    uint32_t count = 0;

    for (uint32_t i = 0, k = 0; i < a->samples_count; i++) {
        const struct bench_sample *x = &a->samples[i], *y;

        while (k < b->samples_count && b->samples[k].round < x->round)
            k++;
        if (k == b->samples_count)
            break;
        y = &b->samples[k];
        if (y->round == x->round && x->class == class && y->class == class && x->value > 0 && y->value > 0)
            values[count++] = is_rate ? y->value / x->value : x->value / y->value;
    }
    return spread_of(values, count);
}

const struct bench_series *bench_result_other(const struct bench_result *result,
                                              const struct bench_series *series, uint32_t contender)
{
    for (uint32_t i = 0; i < result->series_count; i++) {
        const struct bench_series *other = &result->series[i];

        if (other->contender == contender && other->what.share < 0 && series->what.share < 0 &&
            strcmp(other->what.name, series->what.name) == 0)
            return other;
    }
    return NULL;
}
