/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/hw/verbs_fixture.h"

#include <stdio.h>

#include "base/clock.h"

#define SKIP 77

static uint64_t real_time(struct xp_fixture *fixture)
{
    (void)fixture;
    return cf_now_ns();
}

struct xp_fixture verbs_fixture(void)
{
    return (struct xp_fixture){.address = "verbs:", .advance = real_time, .is_settled = verbs_is_settled};
}

int verbs_device_missing(void)
{
    struct xp_fixture fixture = verbs_fixture();
    struct cf_error error = {.rc = 0};
    struct xp_options options;
    struct xp *xp = NULL;

    xp_side_options(&fixture, &options, 0, 2);
    if (xp_open(&options, &xp, &error) == CF_OK) {
        xp_close(&xp);
        return 0;
    }
    printf("SKIP: %s\n", error.text);
    return SKIP;
}
