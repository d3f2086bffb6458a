/* The mine tile: trains this node's own lines of models without pause, one attempt after the other
   in each of its lanes, and hands a block to the chain tile when a ticket wins. Nothing is thrown
   away: the next attempt of a lane goes on from the model that came out. */
#ifndef QR_TILE_MINE_H
#define QR_TILE_MINE_H

#include "base/ring.h"
#include "tile/bus.h"
#include "tile/tile.h"

#define QR_MINE_LANE_MAX_CNT 32u

typedef struct {
  qr_objects_t *objects;
  uint32_t lane_cnt; /* attempts side by side, 1 .. QR_MINE_LANE_MAX_CNT */
  qr_executor_t *executors[QR_MINE_LANE_MAX_CNT]; /* one for each, borrowed, for this tile alone */
  qr_ring_t *orders, *found;                      /* qr_mine_order_t, qr_inbound_t */
  qr_pubkey_t miner;
  uint32_t
      adopt_margin;  /* R units by which the chain's model must beat the own line to replace it */
  int32_t only_task; /* train for this task alone; -1: all */
  uint64_t nonce;    /* where this process starts counting */
  const qr_model_obj_t *genesis[QR_TASK_MAX_CNT]; /* first models of the lines, borrowed */
  const qr_clock_t *clock;
  const _Atomic uint32_t *yield_to; /* while above 0, mining gives way; NULL: never */
  qr_mine_stats_t *stats;
} qr_mine_tile_cfg_t;

typedef struct qr_mine_tile qr_mine_tile_t;
qr_mine_tile_t *qr_mine_tile_init(const qr_mine_tile_cfg_t *cfg);
void qr_mine_tile_fini(qr_mine_tile_t *t);
int qr_mine_tile_poll(void *state, uint64_t now_ns);

#endif
