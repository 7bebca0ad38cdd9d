/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRANSPORT_DPDK_CHECK_H
#define TRANSPORT_DPDK_CHECK_H

/*
 * Looks at a device before EAL does, whose own words are no help: is it there, may it be used, does nobody else use it. One
 * line with the cause and the remedy.
 */
#include "transport/dpdk/address.h"

/*
 * *claim_out: a descriptor that keeps other instances off the same interface or card until it is closed; -1: the lock on
 * the node does that (ring, memif).
 */
CF_CHECK enum cf_rc xp_dpdk_check(const struct xp_dpdk_address *address, int *claim_out,
                                  struct cf_error *error);

#endif
