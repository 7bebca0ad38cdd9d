/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/json.h"
#include "tools/bench/bench.h"
#include "tools/bench/facts.h"

#define SCHEMA 1u

struct facts {
    json_t *object;
    int rc;
};

static void add_fact(void *arg, const char *name, const char *value)
{
    struct facts *facts = arg;

    facts->rc |= cf_json_add_str(facts->object, name, value);
}

json_t *bench_json_root(const struct bench_settings *settings)
{
    struct facts facts = {.object = json_object()};
    json_t *root = json_object();
    char cpus[32];

    snprintf(cpus, sizeof cpus, "%d,%d", settings->cpus[0], settings->cpus[1]);
    bench_facts(add_fact, &facts);
    facts.rc |= cf_json_add_str(facts.object, "transport", settings->transport);
    facts.rc |= cf_json_add_str(facts.object, "bench_cpus", cpus);
    facts.rc |= cf_json_add_u64(root, "schema", SCHEMA);
    facts.rc |= cf_json_add_child(root, "facts", facts.object);
    facts.rc |= cf_json_add_u64(root, "repeats", settings->repeats);
    facts.rc |= cf_json_add_u64(root, "warm_ups", settings->warm_ups);
    facts.rc |= cf_json_add_double(root, "scale", settings->scale);
    facts.rc |= cf_json_add_child(root, "benches", json_array());
    if (facts.rc == 0)
        return root;
    json_decref(root);
    return NULL;
}

static int add_spread(json_t *object, const struct bench_spread *spread)
{
    int rc = cf_json_add_u64(object, "count", spread->count);

    rc |= cf_json_add_double(object, "median", spread->median);
    rc |= cf_json_add_double(object, "low", spread->low);
    rc |= cf_json_add_double(object, "high", spread->high);
    rc |= cf_json_add_double(object, "least", spread->least);
    return rc | cf_json_add_double(object, "most", spread->most);
}

static json_t *samples_json(const struct bench_series *series, enum bench_class class)
{
    json_t *list = json_array();
    int rc = 0;

    for (uint32_t i = 0; i < series->samples_count; i++)
        if (series->samples[i].class == class)
            rc |= json_array_append_new(list, json_real(series->samples[i].value));
    if (rc == 0)
        return list;
    json_decref(list);
    return NULL;
}

/* [[share, value], ...] of one contender's figure: medians of its runs in this class. */
static json_t *percentiles_json(const struct bench_result *result, const struct bench_series *of,
                                enum bench_class class)
{
    json_t *list = json_array();
    int rc = 0;

    for (uint32_t i = 0; i < result->series_count; i++) {
        const struct bench_series *series = &result->series[i];
        struct bench_spread spread;

        if (series->what.share < 0 || series->contender != of->contender ||
            strcmp(series->what.name, of->what.name) != 0)
            continue;
        spread = bench_series_spread(series, class);
        if (spread.count > 0)
            rc |= json_array_append_new(list, json_pack("[f, f]", series->what.share, spread.median));
    }
    if (rc == 0)
        return list;
    json_decref(list);
    return NULL;
}

static json_t *figure_json(const struct bench_result *result, const struct bench_series *series,
                           enum bench_class class)
{
    struct bench_spread spread = bench_series_spread(series, class);
    json_t *object = json_object();
    int rc = cf_json_add_str(object, "contender", result->entry->contenders[series->contender].name);

    rc |= cf_json_add_str(object, "figure", series->what.name);
    rc |= cf_json_add_str(object, "unit", series->what.unit);
    rc |= cf_json_add_str(object, "better", bench_unit_is_rate(series->what.unit) ? "more" : "less");
    rc |= cf_json_add_str(object, "class", bench_class_name(class));
    rc |= add_spread(object, &spread);
    rc |= cf_json_add_child(object, "samples", samples_json(series, class));
    rc |= cf_json_add_child(object, "percentiles", percentiles_json(result, series, class));
    if (rc == 0)
        return object;
    json_decref(object);
    return NULL;
}

static json_t *ratio_json(const struct bench_result *result, const struct bench_series *a,
                          const struct bench_series *b, const struct bench_spread *spread,
                          enum bench_class class)
{
    json_t *object = json_object();
    int rc = cf_json_add_str(object, "figure", a->what.name);

    rc |= cf_json_add_str(object, "of", result->entry->contenders[a->contender].name);
    rc |= cf_json_add_str(object, "to", result->entry->contenders[b->contender].name);
    rc |= cf_json_add_str(object, "class", bench_class_name(class));
    rc |= add_spread(object, spread);
    if (rc == 0)
        return object;
    json_decref(object);
    return NULL;
}

static int add_series(const struct bench_result *result, json_t *figures, json_t *ratios)
{
    int rc = 0;

    for (uint32_t i = 0; i < result->series_count; i++) {
        const struct bench_series *series = &result->series[i], *first;

        if (series->what.share >= 0)
            continue;
        first = series->contender > 0 ? bench_result_other(result, series, 0) : NULL;
        for (uint32_t c = 0; c < BENCH_CLASSES; c++) {
            struct bench_spread ratio = {0};

            if (bench_series_spread(series, (enum bench_class)c).count > 0)
                rc |= json_array_append_new(figures, figure_json(result, series, (enum bench_class)c));
            if (first != NULL && c != BENCH_CLASS_MOVED)
                ratio = bench_ratio_spread(first, series, (enum bench_class)c);
            if (ratio.count > 0)
                rc |= json_array_append_new(ratios,
                                            ratio_json(result, first, series, &ratio, (enum bench_class)c));
        }
    }
    return rc;
}

static int add_contenders(json_t *list, const struct bench_settings *settings,
                          const struct bench_result *result)
{
    int rc = 0;

    for (uint32_t c = 0; c < result->entry->contenders_count; c++) {
        const struct bench_contender *contender = &result->entry->contenders[c];
        char command[BENCH_COMMAND_BYTES];

        if (!bench_command_expand(settings, contender->command, command, sizeof command))
            snprintf(command, sizeof command, "%s", contender->command);
        rc |= json_array_append_new(list, json_pack("{s:s, s:s, s:s}", "name", contender->name, "command",
                                                    command, "skipped", result->skipped[c]));
    }
    return rc;
}

static int add_lines(json_t *list, const struct bench_result *result)
{
    int rc = 0;

    for (uint32_t r = 0; r < result->repeats; r++)
        for (uint32_t c = 0; c < result->entry->contenders_count; c++) {
            const struct bench_line *line = &result->lines[r * BENCH_CONTENDERS_MAX + c];

            rc |= json_array_append_new(
                list, json_pack("{s:f, s:f, s:f, s:f, s:s}", "before_ns", line->before.line_ns, "behind_ns",
                                line->behind.line_ns, "shared_before", line->before.shared, "shared_behind",
                                line->behind.shared, "class", bench_class_name(line->class)));
        }
    return rc;
}

bool bench_json_add(json_t *root, const struct bench_settings *settings, const struct bench_result *result)
{
    json_t *object = json_object(), *figures = json_array(), *ratios = json_array(),
           *contenders = json_array(), *lines = json_array();
    int rc = add_series(result, figures, ratios);

    rc |= add_contenders(contenders, settings, result);
    rc |= add_lines(lines, result);
    rc |= cf_json_add_str(object, "name", result->entry->name);
    rc |= cf_json_add_str(object, "question", result->entry->question);
    rc |= cf_json_add_str(object, "target", result->entry->target);
    rc |= cf_json_add_str(object, "failure", result->failure);
    rc |= cf_json_add_str(object, "class", bench_class_name(result->class));
    rc |= cf_json_add_child(object, "contenders", contenders);
    rc |= cf_json_add_child(object, "figures", figures);
    rc |= cf_json_add_child(object, "ratios", ratios);
    rc |= cf_json_add_child(object, "lines", lines);
    return json_array_append_new(json_object_get(root, "benches"), object) == 0 && rc == 0;
}
