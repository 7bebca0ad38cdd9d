/* SPDX-License-Identifier: Apache-2.0 */
/* The provider conformance suite over shm, several instances in one process. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "tests/unit/transport/conformance.h"

static uint64_t real_time(struct xp_fixture *fixture)
{
    (void)fixture;
    return cf_now_ns();
}

int main(void)
{
    char directory[] = "/dev/shm/xp-shm-test-XXXXXX", address[64];
    struct xp_fixture fixture = {.address = address, .advance = real_time};
    int failed;

    if (mkdtemp(directory) == NULL) {
        perror("mkdtemp");
        return 1;
    }
    snprintf(address, sizeof(address), "shm:%s", directory);
    failed = xp_conformance_run(&fixture);
    if (rmdir(directory) != 0) {
        perror("an instance left something behind");
        failed++;
    }
    return failed;
}
