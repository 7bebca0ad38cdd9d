/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRANSPORT_SHM_CONN_H
#define TRANSPORT_SHM_CONN_H

/* What the files of the connection state machine (drawn in shm.h) call of each other. */
#include "base/clock.h"
#include "transport/shm/shm.h"

/* How often a peer that is not there is looked for, how often one that refused is asked again, and how long each
 * message of a handshake may take (chosen). */
#define CONNECT_NS (5 * CF_NS_PER_MS)
#define REFUSED_NS (250 * CF_NS_PER_MS)
#define HANDSHAKE_NS (2 * CF_NS_PER_S)

static inline bool xp_shm_in_handshake(const struct xp_shm_peer *peer)
{
    return peer->state >= XP_SHM_OPENING && peer->state <= XP_SHM_GRANTED;
}

/* life.c: endings. Closes the socket; the mapping stays for who drains it. */
void xp_shm_life_hang_up(struct xp_shm_peer *peer);
/* The end of a life of a peer: nothing of it is delivered after this. */
void xp_shm_life_bury(struct xp_shm *shm, struct xp_shm_peer *peer);
/* Lanes stop; what the peer has published before is taken first, then XP_EV_DOWN tells the rc. */
void xp_shm_life_drain(struct xp_shm *shm, struct xp_shm_peer *peer, enum cf_rc rc);
/* A socket ended without a word: a failed attempt, or a break to be looked into. */
void xp_shm_life_lost(struct xp_shm *shm, struct xp_shm_peer *peer);
/* We refuse the peer: it is told, and both sides report the reason. */
void xp_shm_life_refuse(struct xp_shm *shm, struct xp_shm_peer *peer, enum cf_rc rc, const char *why,
                        struct xp_shm_batch *batch);
/* The attempt is over because one side refused. */
void xp_shm_life_refused(struct xp_shm *shm, struct xp_shm_peer *peer, enum cf_rc rc, const char *why,
                         struct xp_shm_batch *batch);

/* shake.c: the handshake. A fresh socket to a peer: takes it over and says OPEN. */
void xp_shm_shake_begin(struct xp_shm *shm, struct xp_shm_peer *peer, int fd);
void xp_shm_shake_open(struct xp_shm *shm, struct xp_shm_peer *peer, const struct xp_shm_wire_open *open,
                       struct xp_shm_batch *batch);
/* Reads a peer's socket until it is empty, is gone, or what it says must wait for the layer above. */
void xp_shm_shake_read(struct xp_shm *shm, struct xp_shm_peer *peer, struct xp_shm_batch *batch);

/* guest.c: takes what waits at the listener; one turn of one guest. */
void xp_shm_guest_listen(struct xp_shm *shm);
void xp_shm_guest_turn(struct xp_shm *shm, struct xp_shm_guest *guest, struct xp_shm_batch *batch);

#endif
