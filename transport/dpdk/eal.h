/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRANSPORT_DPDK_EAL_H
#define TRANSPORT_DPDK_EAL_H

/*
 * DPDK's environment (EAL) exists once a process; all instances share it. It is started by a thread of its own with
 * the signals blocked that others send (base/thread.h), so that neither the process's signals nor the affinity of its
 * threads are touched; it is never taken down, because it cannot be started twice.
 *
 * The gate. EAL's interrupt thread runs the control side of memif, which unmaps the rings of a peer that left, whatever
 * another thread reads in them at that moment. So that thread is kept parked in a callback of ours. It is let go for
 * one round when a connection has to be made or ended (xp_dpdk_gate_turn), and while it is under way nobody else
 * touches a port: xp_dpdk_gate_enter then says no, and the caller finds nothing this time. No poller ever waits.
 * In a process with network cards the gate stays open: their drivers have work for that thread, and memif is refused there.
 */
#include <stdatomic.h>
#include <stdbool.h>

#include "transport/dpdk/address.h"
#include "transport/xp.h"

/* One a user of ports; written by its owner thread, read by the interrupt thread. */
struct xp_dpdk_gate {
    _Atomic uint32_t inside CF_ALIGNED(64);
    bool is_taken; /* [lk:EAL's] */
};

/* Starts EAL, or finds it started, for what is at the address. One line says why not. */
CF_CHECK enum cf_rc xp_dpdk_eal_start(const struct xp_dpdk_address *address, struct cf_error *error);

/* NULL: more instances than there are gates. A gate lives as long as the process. */
CF_CHECK struct xp_dpdk_gate *xp_dpdk_gate_open(void);
void xp_dpdk_gate_close(struct xp_dpdk_gate *gate);
CF_CHECK bool xp_dpdk_gate_enter(struct xp_dpdk_gate *gate);
void xp_dpdk_gate_leave(struct xp_dpdk_gate *gate);
/* Lets the interrupt thread run one round. Any thread, not inside. */
void xp_dpdk_gate_turn(void);
/* Enters whatever it takes; for opening and closing, never on the data path. */
void xp_dpdk_gate_force(struct xp_dpdk_gate *gate);

#endif
