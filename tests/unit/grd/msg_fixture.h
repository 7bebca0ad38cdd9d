/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_GRD_MSG_FIXTURE_H
#define TESTS_UNIT_GRD_MSG_FIXTURE_H

/* Random messages that are right, made from the field lists; for the codec's tests, fuzzing and benchmark. */
#include "base/rng.h"
#include "grd/msg.h"

/*
 * Fills the fields of the type with random values that decode accepts in a view of `nodes` instances. A type
 * with a set gets `members` of them (then the mode is X), at most `nodes`. What it does not carry is garbage.
 */
void msg_random(struct cf_rng *rng, uint16_t type, uint32_t nodes, uint32_t members, struct grd_msg *msg_out);
/* Every field of the type is equal; the first one that is not is printed. */
bool msg_equal(const struct grd_msg *a, const struct grd_msg *b);
#define msg_assert_equal(a, b) assert_true(msg_equal(a, b))

#endif
