/* SPDX-License-Identifier: Apache-2.0 */
/* Options against their ranges and against each other, whoever filled them in. */
#include <inttypes.h>
#include <string.h>

#include "base/units.h"
#include "engine/format.h"
#include "engine/frame.h"
#include "engine/metrics.h"
#include "engine/options.h"
#include "engine/peers.h"

/* On one host the kernel vouches for the peers; beyond it only the secret does. */
#define SECRET_BYTES_MIN 16u

/* A struct may have been filled in by hand: every value is looked at as if it had come as text. */
static enum cf_rc check_ranges(const struct cf_options *options, struct cf_error *error)
{
    char value[ENG_OPTIONS_WHY_BYTES], why[ENG_OPTIONS_WHY_BYTES];
    struct cf_options scratch;
    size_t count;
    const struct cf_option_desc *rows = eng_options_table(&count);

    for (size_t i = 0; i < count; i++) {
        const char *field = (const char *)options + rows[i].offset;

        if (rows[i].type == CF_OPTION_STRING && memchr(field, 0, CF_OPTION_STRING_BYTES) == NULL)
            return eng_options_fail(error, CF_OPTION, "option %s: the text has no end within %u bytes",
                                    rows[i].name, CF_OPTION_STRING_BYTES);
        if (rows[i].type == CF_OPTION_CHOICE) {
            uint32_t chosen = *(const uint32_t *)(const void *)field, choices = 0;

            while (rows[i].choices[choices] != NULL)
                choices++;
            if (chosen >= choices)
                return eng_options_fail(error, CF_OPTION, "option %s: value %u; allowed is 0 to %u",
                                        rows[i].name, chosen, choices - 1);
        }
        cf_option_format(&rows[i], options, value, sizeof value);
        if (cf_option_set(rows, count, &scratch, rows[i].name, value, why, sizeof why) != 0)
            return eng_options_fail(error, CF_OPTION, "%s", why);
    }
    return CF_OK;
}

static bool is_power_of_two(uint64_t value)
{
    return value != 0 && (value & (value - 1)) == 0;
}

static enum cf_rc check_frames(const struct cf_options *options, struct cf_error *error)
{
    uint64_t frames_min = eng_options_frames_min(options), frames = 0;
    char given[32], need[32];

    for (uint32_t i = 0; i < CF_BLOCK_SIZES; i++) {
        uint64_t block_bytes = (uint64_t)CF_BLOCK_BYTES_MIN << i, bytes = eng_options_cache_bytes(options, i);

        frames += bytes / block_bytes;
        if (bytes != 0 && bytes / block_bytes < frames_min)
            return eng_options_fail(error, CF_OPTION,
                                    "option %s: value '%s'; outstanding %" PRIu64
                                    " needs 2 * outstanding + %u = %" PRIu64
                                    " frames, at least %s (or 0: no such blocks)",
                                    eng_options_cache_name(i), cf_format_size(bytes, given, sizeof given),
                                    options->outstanding, ENG_OPTIONS_FRAMES_SPARE, frames_min,
                                    cf_format_size(frames_min * block_bytes, need, sizeof need));
    }
    if (frames == 0)
        return eng_options_fail(error, CF_OPTION,
                                "option cache_bytes: value '0'; at least one block size needs frames");
    if (frames > ENG_FRAMES_MAX)
        return eng_options_fail(error, CF_OPTION,
                                "option cache_bytes: %" PRIu64 " frames in all; allowed is up to %u", frames,
                                ENG_FRAMES_MAX);
    if (options->past_images > frames)
        return eng_options_fail(error, CF_OPTION,
                                "option past_images: value '%" PRIu64 "'; there are %" PRIu64 " frames",
                                options->past_images, frames);
    return CF_OK;
}

static bool is_one_host(const char *transport)
{
    return strncmp(transport, "shm:", 4) == 0 || strncmp(transport, "sim:", 4) == 0;
}

static enum cf_rc check_texts(const struct cf_options *options, struct cf_error *error)
{
    size_t cluster_max = sizeof((struct eng_super *)0)->cluster - 1;
    struct eng_metrics_address metrics;

    if (options->cluster[0] == '\0' || strlen(options->cluster) > cluster_max)
        return eng_options_fail(error, CF_OPTION, "option cluster: %zu characters; allowed is 1 to %zu",
                                strlen(options->cluster), cluster_max);
    if (options->transport[0] == ':' || strchr(options->transport, ':') == NULL)
        return eng_options_fail(
            error, CF_OPTION,
            "option transport: value '%.100s'; it begins with a provider and a colon, as shm:",
            options->transport);
    if (!is_one_host(options->transport) && strlen(options->secret) < SECRET_BYTES_MIN)
        return eng_options_fail(
            error, CF_OPTION,
            "option secret: %zu characters; transport %.100s leaves the host and needs at least %u",
            strlen(options->secret), options->transport, SECRET_BYTES_MIN);
    if (eng_peers_check(options, error) != CF_OK)
        return CF_OPTION;
    if (options->metrics[0] != '\0' && !eng_metrics_parse(options->metrics, &metrics))
        return eng_options_fail(
            error, CF_OPTION,
            "option metrics: value '%.100s'; it is a numeric address and a port from 0 to 65535, as "
            "127.0.0.1:9300 or [::1]:9300 (0: a free one)",
            options->metrics);
    return CF_OK;
}

enum cf_rc cf_options_check(const struct cf_options *options, struct cf_error *error)
{
    enum cf_rc rc;

    if (options == NULL || options->size != sizeof *options)
        return eng_options_fail(error, CF_INVALID,
                                "options must be prepared by cf_options_init of this version");
    rc = check_ranges(options, error);
    if (rc != CF_OK)
        return rc;
    if (options->node >= options->nodes)
        return eng_options_fail(error, CF_OPTION,
                                "option node: value '%" PRIu64 "'; nodes %" PRIu64 " allows 0 to %" PRIu64,
                                options->node, options->nodes, options->nodes - 1);
    if (!is_power_of_two(options->buckets))
        return eng_options_fail(error, CF_OPTION, "option buckets: value '%" PRIu64 "' is not a power of two",
                                options->buckets);
    if (!is_power_of_two(options->lane_slots))
        return eng_options_fail(error, CF_OPTION,
                                "option lane_slots: value '%" PRIu64 "' is not a power of two",
                                options->lane_slots);
    rc = check_texts(options, error);
    return rc != CF_OK ? rc : check_frames(options, error);
}
