/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "tools/bench/bench.h"
#include "tools/bench/facts.h"

static void print_fact(void *arg, const char *name, const char *value)
{
    fprintf(arg, "# %s: %s\n", name, value);
}

void bench_print_facts(FILE *out, const struct bench_settings *settings)
{
    bench_facts(print_fact, out);
    fprintf(out, "# transport: %s\n# cpus: %d,%d\n# repeats: %u after %u to warm up\n", settings->transport,
            settings->cpus[0], settings->cpus[1], settings->repeats, settings->warm_ups);
}

/* Four digits that count, whatever the size. */
static const char *number(double value, char *text, size_t text_bytes)
{
    if (value >= 1e6)
        snprintf(text, text_bytes, "%.3fM", value / 1e6);
    else if (value >= 1e5)
        snprintf(text, text_bytes, "%.1fk", value / 1e3);
    else
        snprintf(text, text_bytes, value < 10 ? "%.3f" : value < 1000 ? "%.1f" : "%.0f", value);
    return text;
}

static void print_spread(FILE *out, const struct bench_spread *spread, const char *unit)
{
    char median[32], low[32], high[32];

    fprintf(out, "%9s %-7s (%s to %s)", number(spread->median, median, sizeof median), unit,
            number(spread->low, low, sizeof low), number(spread->high, high, sizeof high));
}

static void print_series(FILE *out, const struct bench_result *result, const struct bench_series *series)
{
    const struct bench_entry *entry = result->entry;
    struct bench_spread spread = bench_series_spread(series, result->class);

    if (spread.count == 0)
        return;
    fprintf(out, "  %-34s %-12s", series->what.name, entry->contenders[series->contender].name);
    print_spread(out, &spread, series->what.unit);
    if (series->contender > 0) {
        const struct bench_series *first = bench_result_other(result, series, 0);
        struct bench_spread ratio = {0};

        if (first != NULL)
            ratio = bench_ratio_spread(first, series, result->class);
        if (ratio.count > 0)
            fprintf(out, "  %s / this: %.3f (%.3f to %.3f, %u turns)", entry->contenders[0].name,
                    ratio.median, ratio.low, ratio.high, ratio.count);
    }
    fputc('\n', out);
}

static void print_classes(FILE *out, const struct bench_result *result)
{
    uint32_t counts[BENCH_CLASSES] = {0}, all = 0;
    double shared = 0;

    for (uint32_t i = 0; i < result->repeats; i++)
        for (uint32_t c = 0; c < result->entry->contenders_count; c++)
            if (result->skipped[c][0] == '\0') {
                const struct bench_line *line = &result->lines[i * BENCH_CONTENDERS_MAX + c];

                counts[line->class]++;
                shared += (line->before.shared + line->behind.shared) / 2;
                all++;
            }
    fprintf(out, "  class %s: %u of %u runs", bench_class_name(result->class), counts[result->class], all);
    for (uint32_t c = 0; c < BENCH_CLASSES; c++)
        if (c != (uint32_t)result->class && counts[c] > 0)
            fprintf(out, ", %s %u", bench_class_name((enum bench_class)c), counts[c]);
    if (result->class == BENCH_CLASS_MOVED)
        fprintf(out, " (the placement changed under every run: figures are not to be compared)");
    fprintf(out, "; cores shared with other threads in %.0f %% of looks\n",
            all != 0 ? 100 * shared / all : 0);
}

/* Contenders of one figure stand together. */
static void print_all_series(FILE *out, const struct bench_result *result)
{
    for (uint32_t i = 0; i < result->series_count; i++) {
        const struct bench_series *series = &result->series[i];
        bool is_first = series->what.share < 0;

        for (uint32_t c = 0; c < series->contender && is_first; c++)
            is_first = bench_result_other(result, series, c) == NULL;
        if (!is_first)
            continue;
        print_series(out, result, series);
        for (uint32_t c = series->contender + 1; c < result->entry->contenders_count; c++) {
            const struct bench_series *other = bench_result_other(result, series, c);

            if (other != NULL)
                print_series(out, result, other);
        }
    }
}

void bench_print_result(FILE *out, const struct bench_result *result)
{
    const struct bench_entry *entry = result->entry;

    fprintf(out, "\n%s: %s\n", entry->name, entry->question);
    if (result->failure[0] != '\0') {
        fprintf(out, "  failed: %s\n", result->failure);
        return;
    }
    for (uint32_t c = 0; c < entry->contenders_count; c++)
        if (result->skipped[c][0] != '\0')
            fprintf(out, "  %s not run: %s\n", entry->contenders[c].name, result->skipped[c]);
    if (result->series_count == 0)
        return;
    print_classes(out, result);
    print_all_series(out, result);
    if (entry->target[0] != '\0')
        fprintf(out, "  target: %s\n", entry->target);
}
