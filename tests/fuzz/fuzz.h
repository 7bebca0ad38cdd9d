/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

/*
 * A fuzz target is a file NAME_fuzz.c that defines what stands here. It is linked with libFuzzer (make fuzz), or
 * with driver.c, which replays tests/fuzz/corpus/NAME and then seeded mutations (make t/fuzz/NAME).
 */
#include <stddef.h>
#include <stdint.h>

#include "base/rng.h"

#define FUZZ_BYTES_MAX 4096u

extern const char fuzz_name[];
/* Mutations of one bounded run, about two seconds. */
extern const uint32_t fuzz_runs;

/* One input. Ends the process by fuzz_check or a sanitizer when something is wrong. */
int LLVMFuzzerTestOneInput(const uint8_t *input, size_t bytes);
/* A random input that is right or nearly so, at most FUZZ_BYTES_MAX; returns its length. */
size_t fuzz_make(struct cf_rng *rng, uint8_t *input);

/* What must hold whatever the input is. */
#define fuzz_check(claim) ((claim) ? (void)0 : fuzz_failed(#claim, __FILE__, __LINE__))
_Noreturn void fuzz_failed(const char *claim, const char *file, int line);

#endif
