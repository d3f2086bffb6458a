/* The chain tile: the sole writer of the tip. It keeps the block tree, the ledger and the pending
   transactions, decides what is executed, takes executed blocks in, persists them, tells peers and
   gives the miner its orders. */
#ifndef QR_TILE_CHAIN_H
#define QR_TILE_CHAIN_H

#include "base/ring.h"
#include "chain/mempool.h"
#include "chain/tree.h"
#include "port/reserve.h"
#include "port/store.h"
#include "tile/bus.h"
#include "tile/tile.h"

typedef struct qr_chain_tile qr_chain_tile_t;

typedef struct {
  qr_objects_t *objects;
  const qr_store_ops_t *store_ops;
  /* The owner's: replaced when the store was opened again, NULL while it cannot be. */
  qr_store_t **store;
  const char *store_dir, *store_options; /* what it was opened with */
  const qr_reserve_t *reserve;           /* NULL: the disk is not looked at */
  uint64_t prune_depth;                  /* newest blocks that are kept; 0: all */
  const char *params_text; /* kept in the store, for those who read it alone; NULL: not kept */
  const qr_clock_t *clock;
  qr_ring_t *from_net, *to_net; /* qr_inbound_t, qr_outbound_t; to_net NULL: no network */
  uint32_t verify_cnt;          /* at least 1 */
  qr_ring_t *verify_orders[QR_VERIFY_MAX_CNT], *verify_results[QR_VERIFY_MAX_CNT];
  qr_ring_t *mine_orders, *mine_found; /* mine_orders NULL: no miner */
  qr_ring_t *queries, *replies;        /* qr_query_t, qr_reply_t */
  const qr_mine_stats_t *mine_stats;
  const qr_net_stats_t *net_stats;
  const qr_verify_stats_t *verify_stats;
  bool mine; /* mining at first */
  uint32_t
      peer_wait_ms; /* how long to wait for a first peer before mining; 0 without static peers */
  uint64_t stop_height; /* no block beyond it is mined here; 0: none */
  qr_pubkey_t miner;
  qr_mempool_cfg_t mempool; /* without the chain id, which the tile knows */
  const char *accel_name;
} qr_chain_tile_cfg_t;

/* Loads the chain from the store, or begins it. Takes memory. cfg is copied, what it points to
   borrowed. Returns 0, QR_ERR_NOMEM, QR_ERR_ARG (the store holds another chain, or prune_depth is
   too little), QR_ERR_CORRUPT or QR_ERR_IO; why says cause and cure. */
int qr_chain_tile_init(const qr_chain_tile_cfg_t *cfg, qr_chain_tile_t **out, char *why,
                       size_t why_sz) QR_WARN_UNUSED;
/* After the verify, mine and net tiles have ended. */
void qr_chain_tile_fini(qr_chain_tile_t *t);
int qr_chain_tile_poll(void *state, uint64_t now_ns);

/* Genesis models of the tasks, for the miner's first lines; valid until fini. */
const qr_model_obj_t *qr_chain_tile_genesis(const qr_chain_tile_t *t, uint32_t task);
/* True after a failure that the node must not survive (the store cannot be read, or it lost what
   was durable); the reason has been logged. A commit that fails is none. */
bool qr_chain_tile_failed(const qr_chain_tile_t *t);

/* Lowest height of which the node holds blocks and models; 1: all. From the owning thread, or
   before it runs. */
uint64_t qr_chain_tile_held_from(const qr_chain_tile_t *t);

/* For simulators and tests, from the owning thread: the tip, and a digest of all that must be equal
   on equal tips (state root, replay roots, environment states, target models and models of the
   window). */
const qr_node_t *qr_chain_tile_tip(const qr_chain_tile_t *t);
qr_hash_t qr_chain_tile_state_digest(qr_chain_tile_t *t);

#endif
