/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/harness.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "tools/sim/seed.h"

/* After this many failures the rest would say the same again. */
#define FAILURES_MAX 5u

bool sim_is_full(void)
{
    const char *full = getenv("FULL");

    return full != NULL && strcmp(full, "1") == 0;
}

uint64_t sim_sweep_run(const struct sim_sweep *sweep, uint64_t *done_out)
{
    uint64_t end_ns = sweep->wall_ns_max != 0 ? cf_now_ns() + sweep->wall_ns_max : UINT64_MAX;
    uint64_t failed = 0, done = 0;
    struct sim_options options = sweep->first;

    while (done < sweep->seeds && failed < FAILURES_MAX &&
           (done < sweep->seeds_min || cf_now_ns() < end_ns)) {
        options.seed = sweep->first.seed + done++;
        options.is_quiet = true;
        failed += !sim_seed_run(&options, stdout);
    }
    *done_out = done;
    return failed;
}
