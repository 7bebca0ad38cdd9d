/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BENCH_BARE_MEMIF_H
#define BENCH_BARE_MEMIF_H

/*
 * What anybody would write over net_memif who needs no reliability: two processes, rte_eth_rx_burst and
 * rte_eth_tx_burst, frames of Ethernet, IPv4 and UDP. With is_touched the payload is carried: the sender copies it out
 * of memory of its own behind the front, the receiver looks at EtherType and port and copies it into memory of its own, a
 * block into the next of a row of frames. Without it nobody writes or reads a byte of a frame but the driver.
 */
#include <stdbool.h>
#include <stdint.h>

#include "base/atomic.h"

#define BARE_SMALL_BYTES 64u
#define BARE_BLOCK_BYTES 8192u

struct bare_shared {
    _Atomic uint32_t met;
    _Atomic uint32_t listens;
    _Atomic uint32_t left;
    _Atomic uint64_t ps; /* of a round trip, or of a message: picoseconds */
};

enum bare_what { BARE_ROUND, BARE_ROUND_BLOCK, BARE_RATE };

struct bare_options {
    const char *directory;
    enum bare_what what;
    bool is_touched;
    int side;
    uint32_t warm_up;
    uint64_t rounds; /* BARE_RATE: messages */
};

/* One of the two processes; trouble is asserted. Starts EAL, which a process can do once. */
void bare_memif_run(const struct bare_options *options, struct bare_shared *shared);
/* Returns when both sides have called it. */
void bare_meet(_Atomic uint32_t *count);

#endif
