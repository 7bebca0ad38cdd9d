/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_HW_VERBS_FIXTURE_H
#define TESTS_HW_VERBS_FIXTURE_H

/* Several instances of the verbs provider in one process, on the first RDMA device of this host. */
#include "tests/unit/transport/conformance.h"
#include "tests/unit/transport/verbs_faults.h"
#include "transport/verbs/verbs.h"

struct xp_fixture verbs_fixture(void);
/* 0: there is a device. Else says why there is none, and a test program ends with 77. */
int verbs_device_missing(void);

#endif
