/* The net tile: owns the link and the peer sessions, and carries items between them and the chain
 * tile. */
#ifndef QR_TILE_NET_H
#define QR_TILE_NET_H

#include "base/ring.h"
#include "peer/peer.h"
#include "port/clock.h"
#include "tile/bus.h"
#include "tile/tile.h"

typedef struct qr_net_tile qr_net_tile_t;

/* Where the snapshot lies that is given to peers. */
typedef struct {
  /* True if there is another one than at the last call, which is in *out then; payload_sz 0: none.
     What it borrows stays until the next call that says true. */
  bool (*look)(void *ctx, uint64_t now_ns, qr_peers_snapshot_t *out);
  bool (*read)(void *ctx, uint64_t offset, uint8_t *out, uint32_t sz); /* of its payload */
  void *ctx;
} qr_net_offer_t;

typedef struct {
  qr_objects_t *objects;
  qr_peers_cfg_t peers;             /* app and ctx are set by the tile */
  qr_ring_t *to_chain, *from_chain; /* qr_inbound_t, qr_outbound_t */
  qr_ring_t *queries, *replies;     /* qr_query_t (PEERS and BAN only), qr_reply_t */
  const char *keep_path;            /* file of addresses and bans; NULL: they are forgotten */
  qr_net_stats_t *stats;
  const qr_net_offer_t *offer; /* NULL: none; peers.offers says the same */
  const qr_clock_t *clock;
  uint64_t now_ns;
} qr_net_tile_cfg_t;

/* Takes its memory; NULL if there is none or the peer configuration is not acceptable. cfg is
 * copied, what it points to borrowed. */
qr_net_tile_t *qr_net_tile_init(const qr_net_tile_cfg_t *cfg);
void qr_net_tile_fini(qr_net_tile_t *t);
int qr_net_tile_poll(void *state, uint64_t now_ns);

#endif
