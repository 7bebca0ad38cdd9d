/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_TRANSPORT_VERBS_FAULTS_H
#define TESTS_UNIT_TRANSPORT_VERBS_FAULTS_H

/* Faults of a device behind verbs_shim_base, as tests that run on a real device and on one in memory. */
#include "tests/unit/transport/conformance.h"

/* The n-th call of each kind fails: opening says why not, or blocks arrive afterwards; nothing is left. */
void verbs_faults_of_calls(struct xp_fixture *fixture);
/* Every status of a completion ends in one reset, on both halves. */
void verbs_faults_of_completions(struct xp_fixture *fixture);
/* All credits have come back, and all frames lent are granted and known to be. */
bool verbs_is_settled(const struct xp_pair *pair);

#endif
