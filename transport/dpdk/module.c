/* SPDX-License-Identifier: Apache-2.0 */
#include "transport/module.h"

#include "transport/dpdk/dpdk.h"

static const struct xp_module module = {.options_bytes = sizeof(struct xp_options),
                                        .ops_bytes = sizeof(struct xp_ops),
                                        .xp_bytes = sizeof(struct xp),
                                        .wire_version = XP_WIRE_VERSION,
                                        .ops = &xp_dpdk_module_ops};

__attribute__((visibility("default"))) const struct xp_module *cachefusion_module(void);

const struct xp_module *cachefusion_module(void)
{
    return &module;
}
