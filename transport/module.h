/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRANSPORT_MODULE_H
#define TRANSPORT_MODULE_H

/*
 * A provider in a shared object of its own, loaded when an address asks for it, so that a host without what it is
 * linked to runs everything else. The object exports one function of this type under the name
 * XP_MODULE_SYMBOL; the sizes tell whether it was built from the same sources.
 */
#include "transport/xp_ops.h"

#define XP_MODULE_SYMBOL "cachefusion_module"

struct xp_module {
    uint32_t options_bytes;
    uint32_t ops_bytes;
    uint32_t xp_bytes;
    uint32_t wire_version;
    const struct xp_ops *ops;
};
typedef const struct xp_module *xp_module_fn(void);

/* True when the module of that name is there and can be loaded; else one line why not. */
CF_CHECK bool xp_module_is_present(const char *name, char *why, uint32_t why_bytes);

#endif
