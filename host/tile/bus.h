/* What travels on the rings between tiles. Pointers to objects hand over one reference; the
 * receiver drops it. */
#ifndef QR_TILE_BUS_H
#define QR_TILE_BUS_H

#include "mine/executor.h"
#include "tile/query.h"
#include "wire/msg.h"

/* net -> chain, mine -> chain */
enum qr_inbound_kind { QR_IN_BLOCK, QR_IN_MODEL, QR_IN_MODEL_FAILED, QR_IN_TX, QR_IN_WANT };
typedef struct {
  enum qr_inbound_kind kind;
  uint32_t peer;           /* 0: our own miner */
  enum qr_verdict verdict; /* BLOCK: of decoding; not OK: block is NULL, hash and peer are set */
  qr_block_obj_t *block;   /* BLOCK */
  qr_model_obj_t *model;   /* MODEL; BLOCK of our own: its incoming model */
  qr_hash_t hash, root;    /* block hash and model root */
  uint32_t req, max_cnt;   /* WANT */
  enum qr_msg_want want;
  uint32_t locator_cnt;
  qr_hash_t locator[QR_MSG_LOCATOR_MAX_CNT];
  uint8_t tx[QR_TX_SZ]; /* TX */
} qr_inbound_t;

/* chain -> net */
enum qr_outbound_kind {
  QR_OUT_TIP,
  QR_OUT_ACCEPTED,
  QR_OUT_REJECTED,
  QR_OUT_FETCH_MODEL,
  QR_OUT_OFFER_MODEL,
  QR_OUT_RELAY_TX,
  QR_OUT_RETURN_TX,
  QR_OUT_REFUSED_TX,
  QR_OUT_FEE_MIN,
  QR_OUT_ANSWER_BLOCK,
  QR_OUT_ANSWER_MODEL,
  QR_OUT_ANSWER_HEADERS,
  QR_OUT_NOT_FOUND
};
typedef struct {
  enum qr_outbound_kind kind;
  uint32_t peer, req;
  qr_hash_t hash, root;
  uint64_t height; /* TIP, ACCEPTED */
  uint64_t fee;    /* FEE_MIN */
  qr_u256_t work;
  enum qr_verdict verdict; /* REJECTED, REFUSED_TX */
  uint32_t sz;             /* FETCH_MODEL, ANSWER_HEADERS */
  qr_block_obj_t
      *block; /* ANSWER_BLOCK, OFFER_MODEL; ANSWER_HEADERS: sz bytes of them, NULL: none */
  qr_model_obj_t *model; /* ANSWER_MODEL, OFFER_MODEL */
  uint32_t
      hash_cnt; /* TIP: locator; ACCEPTED: the model that went in; root is that which came out */
  qr_hash_t hashes[QR_MSG_LOCATOR_MAX_CNT];
  uint8_t tx[QR_TX_SZ]; /* RELAY_TX, RETURN_TX, REFUSED_TX */
} qr_outbound_t;

/* chain -> verify: the next one only after the last one was DONE */
#define QR_VERIFY_MAX_CNT 8u /* verify tiles of a node */
typedef struct {
  uint64_t tag; /* the chain tile's */
  bool cancel;  /* the order with this tag is no longer wanted; nothing else is set */
  qr_view_t *view;
  qr_block_obj_t *block;
  qr_model_obj_t *model_in;
} qr_verify_order_t;

/* verify -> chain: up to three for an order, in this order; the first two as soon as they are
   known, so that the blocks that follow need not wait for the verdict */
enum qr_verify_news {
  QR_VERIFY_REPLAYED, /* segment: what the block's actions give */
  QR_VERIFY_TRAINED,  /* model_out: it has the claimed root; facts.td_abs_sum */
  QR_VERIFY_DONE
};
typedef struct {
  uint64_t tag;
  enum qr_verify_news news;
  qr_segment_obj_t *segment; /* REPLAYED */
  qr_model_obj_t *model_out; /* TRAINED */
  qr_exec_facts_t facts;     /* TRAINED, DONE; but for eligible, which the chain tile knows */
  /* DONE; verdict OK: REPLAYED and TRAINED came before */
  int err; /* QR_ERR_IO: the accelerator failed, nothing is known; QR_ERR_NOMEM: pools exhausted */
  enum qr_verdict verdict;
  qr_header_t recomputed; /* the header with what execution found */
  uint32_t steps_done;
  uint64_t exec_ns;
} qr_verify_result_t;

/* chain -> mine: what to mine on now; replaces whatever came before */
typedef struct {
  bool pause;         /* nothing to mine on: syncing, switched off, or the stop height is reached */
  qr_view_t *view;    /* not if pause */
  qr_header_t prefix; /* all but miner-chosen time, nonce and model */
  uint64_t time_min_ms; /* earliest permitted block time */
  qr_block_obj_t *txs;  /* body.txs and body.tx_cnt are set, the rest is not */
  /* the newest model of this task on the chain, against which the own line is measured once */
  qr_model_obj_t *best; /* NULL if the task has no block yet */
  qr_hash_t best_feed;  /* the feed it was evaluated on */
  int64_t best_return;
} qr_mine_order_t;

/* Counters that tiles publish for people. */
typedef struct {
  _Atomic uint64_t attempts, attempts_cancelled, mining_ns;
  _Atomic uint64_t steps_done; /* training steps of the own lines */
  _Atomic uint64_t
      steps_kept; /* less those of a line that the chain's model replaced before it had won */
} qr_mine_stats_t;
/* Of one verify tile; time is that of blocks, not of waiting for them. */
typedef struct {
  _Atomic uint64_t block_cnt, stage_ns[QR_EXEC_STAGE_CNT];
} qr_verify_stats_t;
typedef struct {
  _Atomic uint32_t peer_cnt;
  _Atomic bool syncing;
  _Atomic uint64_t sync_target, sync_left_s; /* while syncing; see qr_peers_progress */
  _Atomic uint32_t sync_peer_cnt, sync_rate_milli;
} qr_net_stats_t;

#endif
