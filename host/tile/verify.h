/* The verify tile: executes the blocks that the chain tile orders, one at a time, and tells what it
   found as soon as it knows. A node has several. Stateless with respect to the chain: a view holds
   everything. */
#ifndef QR_TILE_VERIFY_H
#define QR_TILE_VERIFY_H

#include "base/ring.h"
#include "tile/bus.h"
#include "tile/tile.h"

typedef struct {
  qr_objects_t *objects;
  qr_executor_t *executor;     /* borrowed, for this tile alone */
  qr_ring_t *orders, *results; /* qr_verify_order_t, qr_verify_result_t */
  const qr_clock_t *clock;
  _Atomic uint32_t *busy_cnt; /* counted while it has work, for a miner on the same core; or NULL */
  qr_verify_stats_t *stats;   /* its own; or NULL */
} qr_verify_tile_cfg_t;

typedef struct qr_verify_tile qr_verify_tile_t;
qr_verify_tile_t *qr_verify_tile_init(const qr_verify_tile_cfg_t *cfg);
void qr_verify_tile_fini(qr_verify_tile_t *t); /* finishes or cancels what is in progress */
int qr_verify_tile_poll(void *state, uint64_t now_ns);

#endif
