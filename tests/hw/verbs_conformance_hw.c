/* SPDX-License-Identifier: Apache-2.0 */
/* The provider conformance suite over verbs, several instances in one process. */
#include "tests/hw/verbs_fixture.h"

int main(void)
{
    struct xp_fixture fixture = verbs_fixture();
    int missing = verbs_device_missing();

    return missing != 0 ? missing : xp_conformance_run(&fixture);
}
