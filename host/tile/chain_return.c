/* What a reorganisation took off the chain, and what waited for a block behind that, goes back into
   the pool: blocks in order, a few transactions at a time, so that neither this tile nor peers are
   held up by a deep one. What cannot stand yet, for its sender is paid by another of them, or what
   comes before it has not come back, is put aside and tried again whenever the tip moves. */
#include "tile/chain_int.h"

#include "base/err.h"

/* So many are offered in so much time; peers take 1000 ids a second, and list 256 at once. */
#define SLICE_CNT 64u
#define SLICE_NS 100000000ull
/* Of one reorganisation and those in its midst; the pool holds half as many. */
#define OFFER_MAX_CNT (2u * QR_MEMPOOL_MAX_CNT)
#define ASIDE_NS (3600ull * 1000000000u) /* then one that was put aside is given up */

/* Their ends are signatures. */
static bool same(const uint8_t *a, const uint8_t *b) {
  return qr_ld64(a + QR_TX_SZ - 8) == qr_ld64(b + QR_TX_SZ - 8) && !memcmp(a, b, QR_TX_SZ);
}

static void put_aside(qr_return_t *r, const uint8_t *tx, uint64_t now_ns) {
  for (uint32_t i = 0; i < r->aside_cnt; i++) {
    if (r->aside[i].at_ns && same(r->aside[i].tx, tx)) return;
  }
  if (r->aside_cnt == QR_RETURN_ASIDE_CNT) {
    r->told.given_up++;
    return;
  }
  qr_return_aside_t *a = &r->aside[r->aside_cnt++];
  a->at_ns = now_ns;
  memcpy(a->tx, tx, QR_TX_SZ);
}

static void waited_behind(void *ctx, const qr_tx_t *tx) {
  qr_chain_tile_t *t = ctx;
  uint8_t bytes[QR_TX_SZ];
  qr_tx_encode(tx, bytes);
  put_aside(&t->back, bytes, t->cfg.clock->mono_ns(t->cfg.clock->ctx));
}

/* The blocks from above common up to old, oldest first; those beyond the room are given up. */
static void queue_blocks(qr_chain_tile_t *t, qr_node_t *old, const qr_node_t *common) {
  qr_return_t *r = &t->back;
  for (uint64_t h = common->header.height + 1; h <= old->header.height; h++) {
    if (r->block_cnt == QR_RETURN_BLOCK_CNT) return;
    uint32_t at = (r->block_head + r->block_cnt++) % QR_RETURN_BLOCK_CNT;
    r->blocks[at] = qr_tree_ancestor(old, h);
  }
}

void qr_chain_return_moved(qr_chain_tile_t *t, qr_node_t *old, const qr_node_t *common,
                           uint64_t now_ns) {
  bool reorg = old != common;
  if (reorg) queue_blocks(t, old, common);
  qr_mempool_prune(t->mempool, t->ledger, now_ns, reorg ? waited_behind : NULL, t);
  t->back.aside_at = 0;
  t->back.active = t->back.block_cnt || t->back.aside_cnt;
}

/* ---- one transaction ---- */

/* False: it is spent already, or another with its sequence is; nothing more is to be done. */
static bool may_come(const qr_chain_tile_t *t, const uint8_t *bytes, qr_tx_t *tx,
                     qr_account_t *from) {
  if (qr_tx_decode(bytes, tx)) return false;
  qr_ledger_get(t->ledger, &tx->from, from);
  return tx->seq >= from->seq;
}

/* True if it is to be tried again later. */
static bool try_again(enum qr_verdict v, const qr_tx_t *tx, const qr_account_t *from) {
  if (v == QR_VERDICT_TX_SEQUENCE) return tx->seq > from->seq;
  return v == QR_VERDICT_TX_BALANCE || v == QR_VERDICT_TX_LIMIT;
}

/* Offers one and counts that; true if it is to be put, or left, aside. */
static bool offer(qr_chain_tile_t *t, const uint8_t *bytes, uint64_t now_ns) {
  qr_return_t *r = &t->back;
  qr_tx_t tx;
  qr_account_t from;
  if (!may_come(t, bytes, &tx, &from)) return false;
  r->offered++;
  r->slice_cnt++;
  enum qr_verdict v = qr_chain_take_back(t, bytes, now_ns);
  if (try_again(v, &tx, &from)) return true;
  r->told.taken += v == QR_VERDICT_OK;
  r->told.given_up += v != QR_VERDICT_OK && v != QR_VERDICT_DUPLICATE;
  return false;
}

static bool slice_over(const qr_chain_tile_t *t) {
  bool room = !t->cfg.to_net || qr_ring_room(t->cfg.to_net) >= QR_CAND_MAX_CNT + QR_OUT_ROOM;
  return t->back.slice_cnt >= SLICE_CNT || !room;
}

/* ---- blocks ---- */

static void next_block(qr_return_t *r) {
  r->block_head = (r->block_head + 1) % QR_RETURN_BLOCK_CNT;
  r->block_cnt--;
  r->tx_at = 0;
  if (!r->block_cnt) r->aside_at = 0; /* those that waited behind them */
}

/* Some of the first block's; nothing if it is on the chain again. At most one block is read. */
static void take_block(qr_chain_tile_t *t, uint64_t now_ns) {
  qr_return_t *r = &t->back;
  qr_node_t *n = r->blocks[r->block_head], *tip = qr_tree_tip(t->tree);
  bool here =
      n->header.height <= tip->header.height && qr_tree_ancestor(tip, n->header.height) == n;
  int64_t sz = here ? QR_ERR_NOTFOUND : qr_chain_get_of(t, QR_STORE_BLOCK, n);
  qr_body_t body;
  bool ok = sz >= (int64_t)QR_HEADER_SZ &&
            !qr_body_decode(t->io_buf + QR_HEADER_SZ, (size_t)sz - QR_HEADER_SZ, &body);
  for (; ok && r->tx_at < body.tx_cnt; r->tx_at++) {
    const uint8_t *tx = body.txs + (size_t)r->tx_at * QR_TX_SZ;
    if (slice_over(t)) return;
    if (offer(t, tx, now_ns)) put_aside(r, tx, now_ns);
  }
  r->told.blocks++;
  next_block(r);
}

/* ---- those put aside ---- */

static void close_gaps(qr_return_t *r) {
  uint32_t kept = 0;
  for (uint32_t i = 0; i < r->aside_cnt; i++) {
    if (r->aside[i].at_ns) r->aside[kept++] = r->aside[i];
  }
  r->aside_cnt = kept;
}

static void take_aside(qr_chain_tile_t *t, uint64_t now_ns) {
  qr_return_t *r = &t->back;
  for (; r->aside_at < r->aside_cnt; r->aside_at++) {
    qr_return_aside_t *a = &r->aside[r->aside_at];
    if (slice_over(t)) return;
    if (!a->at_ns) continue;
    bool old = now_ns > a->at_ns && now_ns - a->at_ns > ASIDE_NS;
    r->told.given_up += old;
    if (old || !offer(t, a->tx, now_ns)) a->at_ns = 0;
  }
}

static void end(qr_chain_tile_t *t) {
  qr_return_t *r = &t->back;
  close_gaps(r);
  r->active = false;
  r->offered = 0;
  r->returned += r->told.taken;
  if (r->told.taken) t->mine_dirty = true;
  if (r->told.taken || r->told.given_up)
    qr_log(QR_LOG_INFO, "chain",
           "event=transactions-returned blocks=%u taken=%u put_aside=%u given_up=%u",
           r->told.blocks, r->told.taken, r->aside_cnt, r->told.given_up);
  memset(&r->told, 0, sizeof r->told);
}

int qr_chain_poll_return(qr_chain_tile_t *t, uint64_t now_ns) {
  qr_return_t *r = &t->back;
  if (!r->active || t->disk.failed || now_ns < r->next_ns) return 0;
  if (r->block_cnt && r->offered >= OFFER_MAX_CNT) {
    r->block_cnt = 0;
    r->tx_at = 0;
    r->aside_at = 0;
  }
  if (r->block_cnt)
    take_block(t, now_ns);
  else
    take_aside(t, now_ns);
  if (slice_over(t)) {
    r->slice_cnt = 0;
    r->next_ns = now_ns + SLICE_NS;
  }
  if (!r->block_cnt && r->aside_at == r->aside_cnt) end(t);
  return 1;
}
