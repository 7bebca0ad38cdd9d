/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_GRD_LOCK_MODEL_H
#define TESTS_UNIT_GRD_LOCK_MODEL_H

/* A brute-force lock manager of one lock, beside grd/lock_queue.h: random histories run through both. */
#include <stdbool.h>
#include <stdint.h>

struct lock_model_counts {
    uint64_t grants, conversions, waits, held_back, passed, overtaken_most;
};

/* Compatible, as the text of the table says; independent of the library's. */
bool lock_model_compatible(uint8_t held, uint8_t wanted);
/* False: the two disagree, or the model's own rules are broken; said on stderr. */
bool lock_model_run(uint64_t seed, uint32_t steps, struct lock_model_counts *counts_out);

#endif
