/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cluster files. A file is taken or refused as a whole; what is taken is within the bounds of the table, reads
 * back from its own print, and is the same at a second reading.
 *
 * Input: u8 node, then the file.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/options.h"
#include "tests/fuzz/fuzz.h"

const char fuzz_name[] = "options";
const uint32_t fuzz_runs = 12000;

static enum cf_rc load(const uint8_t *text, size_t bytes, uint16_t node, struct cf_options *options,
                       struct cf_error *error)
{
    int file = memfd_create("cluster-file", MFD_CLOEXEC);
    char path[64];
    enum cf_rc rc;

    fuzz_check(file >= 0);
    fuzz_check(write(file, text, bytes) == (ssize_t)bytes);
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    rc = cf_options_load(options, path, node, error);
    close(file);
    return rc;
}

/* The one effect of a refusal is words. */
static void check_refusal(const struct cf_options *options, enum cf_rc rc, const struct cf_error *error)
{
    struct cf_options untouched;

    cf_options_init(&untouched);
    fuzz_check(rc == CF_OPTION || rc == CF_NOT_FOUND);
    fuzz_check(error->rc == rc);
    fuzz_check(error->text[0] != '\0');
    fuzz_check(memchr(error->text, 0, sizeof error->text) != NULL);
    fuzz_check(memcmp(&untouched, options, sizeof untouched) == 0);
}

static void check_print_reads_back(const struct cf_options *options)
{
    struct cf_options again;
    size_t count;
    const struct cf_option_desc *table = eng_options_table(&count);

    cf_options_init(&again);
    for (size_t i = 0; i < count; i++) {
        char value[512];

        cf_option_format(&table[i], options, value, sizeof value);
        fuzz_check(cf_options_set(&again, table[i].name, value, NULL) == CF_OK);
        cf_option_format(&table[i], &again, value, sizeof value);
        fuzz_check(cf_options_set(&again, table[i].name, value, NULL) == CF_OK);
    }
#define CF_OPTION_U64(name, unit, dflt, min, max, text) fuzz_check(again.name == options->name);
#define CF_OPTION_STR(name, dflt, text) fuzz_check(strcmp(again.name, options->name) == 0);
#define CF_OPTION_ENUM(name, dflt, choices, text) fuzz_check(again.name == options->name);
#include <cachefusion/options.def>
#undef CF_OPTION_U64
#undef CF_OPTION_STR
#undef CF_OPTION_ENUM
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t bytes)
{
    struct cf_options first, second;
    struct cf_error error;
    uint16_t node;
    enum cf_rc rc;

    if (bytes < 1 || bytes > FUZZ_BYTES_MAX)
        return 0;
    node = input[0] % 4;
    cf_options_init(&first);
    cf_options_init(&second);
    memset(&error, 0xff, sizeof error);
    rc = load(input + 1, bytes - 1, node, &first, &error);
    fuzz_check(load(input + 1, bytes - 1, node, &second, NULL) == rc);
    fuzz_check(memcmp(&first, &second, sizeof first) == 0);
    if (rc != CF_OK) {
        check_refusal(&first, rc, &error);
        return 0;
    }
    fuzz_check(first.node == node);
    check_print_reads_back(&first);
    rc = cf_options_check(&first, &error);
    fuzz_check(rc == CF_OK || (rc == CF_OPTION && error.text[0] != '\0'));
    return 0;
}

static size_t add(uint8_t *input, size_t at, const char *text)
{
    size_t length = strlen(text);

    if (at + length > FUZZ_BYTES_MAX)
        return at;
    memcpy(input + at, text, length);
    return at + length;
}

size_t fuzz_make(struct cf_rng *rng, uint8_t *input)
{
    static const char *const sections[] = {"[cluster]\n", "[node 0]\n", "[node 1]\n",
                                           "[node 3]\n",  "; words\n",  "\n"};
    static const char *const values[] = {"1",    "2",     "64",   "4096",   "64MiB",
                                         "1GiB", "200us", "5ms",  "busy",   "auto",
                                         "off",  "x",     "",     "0",      "18446744073709551615",
                                         "0x10", "-1",    "shm:", "1 ; why"};
    size_t count, at = 1;
    const struct cf_option_desc *table = eng_options_table(&count);

    input[0] = (uint8_t)cf_rng_next(rng);
    at = add(input, at, sections[cf_rng_below(rng, 4)]);
    for (uint64_t lines = cf_rng_below(rng, 12); lines > 0; lines--) {
        const struct cf_option_desc *row = &table[cf_rng_below(rng, count)];

        if (cf_rng_chance(rng, 0.2))
            at = add(input, at, sections[cf_rng_below(rng, sizeof sections / sizeof sections[0])]);
        at = add(input, at, row->name);
        at = add(input, at, cf_rng_chance(rng, 0.9) ? " = " : ":");
        /* Mostly a value that the option takes. */
        at = add(input, at,
                 cf_rng_chance(rng, 0.8) ? row->dflt
                                         : values[cf_rng_below(rng, sizeof values / sizeof values[0])]);
        at = add(input, at, "\n");
    }
    return at;
}
