/* What a node's settings and chain say to its peer sessions, whether it runs or joins. */
#ifndef QR_APP_PEERS_CFG_H
#define QR_APP_PEERS_CFG_H

#include "app/config.h"
#include "chain/params.h"
#include "peer/peer.h"
#include "port/clock.h"

/* The rest is the caller's: link, application, seeds, what it holds and offers. Borrows c's peers.
 */
qr_peers_cfg_t qr_peers_cfg_of(const qr_config_t *c, const qr_chain_cfg_t *chain,
                               const qr_pubkey_t *self, const qr_clock_t *clock);

#endif
