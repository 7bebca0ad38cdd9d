/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRANSPORT_DPDK_BELL_H
#define TRANSPORT_DPDK_BELL_H

/*
 * Sleeping over an interface that the kernel keeps. A second raw socket, of IPv4 alone, takes one byte of each packet for
 * this instance, and becomes readable by it. It holds a few and then refuses more, so that it costs little while nobody
 * sleeps.
 *
 *   sleeper (xp_dpdk_bell_arm)           kernel, for each packet
 *     empty the socket                     put it into the ring of the port, which asked for all protocols
 *     look at the ring                     put a byte into the socket, which asked for one, if it is not full
 *
 * A packet that found the socket full was in the ring before the socket was emptied, and is seen by the look.
 */
#include "base/compiler.h"
#include "transport/xp.h"

/* -1: none is to be had, naps have to do. */
int xp_dpdk_bell_open(const char *interface, uint32_t ip);
/* Empties it. */
void xp_dpdk_bell_arm(int fd);

#endif
