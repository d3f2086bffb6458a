#include "tile/chain_int.h"

#define FEE_NS 1000000000ull /* between two looks at the least fee */

/* Into the pool, and on to peers if that takes it. */
static enum qr_verdict offer(qr_chain_tile_t *t, uint32_t peer, const uint8_t *tx, qr_hash_t *txid,
                             uint64_t now_ns) {
  enum qr_verdict v = qr_mempool_add(t->mempool, t->ledger, tx, now_ns, txid);
  if (v && !peer) return v; /* whoever sent it is told the verdict */
  qr_outbound_t out = {.kind = v ? QR_OUT_REFUSED_TX : QR_OUT_RELAY_TX, .peer = peer, .verdict = v};
  memcpy(out.tx, tx, QR_TX_SZ);
  qr_chain_out(t, &out);
  return v;
}

/* Peers are asked for a sender's transactions one by one, and not all are equally fast: one that
   comes too early is kept for a while. Nothing of it was checked, so there is room for few. */
static void keep_early(qr_chain_tile_t *t, uint32_t peer, const uint8_t *tx) {
  qr_tx_t decoded;
  qr_account_t from;
  if (qr_tx_decode(tx, &decoded)) return;
  qr_ledger_get(t->ledger, &decoded.from, &from);
  if (decoded.seq <= from.seq) return; /* too late, rather */
  qr_early_tx_t *e = &t->early_txs[t->early_next++ % QR_EARLY_TX_CNT];
  e->used = true;
  e->peer = peer;
  memcpy(e->tx, tx, QR_TX_SZ);
}

/* The one that follows tx, out of those that came too early. */
static bool take_early(qr_chain_tile_t *t, const qr_tx_t *tx, qr_early_tx_t *out) {
  for (uint32_t i = 0; i < QR_EARLY_TX_CNT; i++) {
    qr_early_tx_t *e = &t->early_txs[i];
    qr_tx_t next;
    if (!e->used || qr_tx_decode(e->tx, &next)) continue;
    if (next.seq != tx->seq + 1 || !qr_pubkey_eq(&next.from, &tx->from)) continue;
    *out = *e;
    e->used = false;
    return true;
  }
  return false;
}

static void offer_followers(qr_chain_tile_t *t, const uint8_t *tx, uint64_t now_ns) {
  qr_early_tx_t e;
  qr_hash_t txid;
  qr_tx_t before;
  memcpy(e.tx, tx, QR_TX_SZ);
  for (uint32_t i = 0; i < QR_EARLY_TX_CNT; i++) {
    if (qr_tx_decode(e.tx, &before) || !take_early(t, &before, &e)) return;
    if (offer(t, e.peer, e.tx, &txid, now_ns)) return;
  }
}

int qr_chain_poll_fee(qr_chain_tile_t *t, uint64_t now_ns) {
  if (!t->cfg.to_net || now_ns - t->fee_ns < FEE_NS || qr_ring_room(t->cfg.to_net) < QR_OUT_ROOM)
    return 0;
  t->fee_ns = now_ns;
  uint64_t fee = qr_mempool_fee_min(t->mempool, now_ns);
  if (fee == t->fee_told) return 0;
  t->fee_told = fee;
  qr_chain_out(t, &(qr_outbound_t){.kind = QR_OUT_FEE_MIN, .fee = fee});
  return 1;
}

void qr_chain_tx(qr_chain_tile_t *t, uint32_t peer, const uint8_t *tx, uint64_t now_ns) {
  qr_hash_t txid;
  enum qr_verdict v = offer(t, peer, tx, &txid, now_ns);
  if (v == QR_VERDICT_TX_SEQUENCE) keep_early(t, peer, tx);
  if (!v) offer_followers(t, tx, now_ns);
}

enum qr_verdict qr_chain_take_back(qr_chain_tile_t *t, const uint8_t *tx, uint64_t now_ns) {
  qr_hash_t txid;
  enum qr_verdict v = qr_mempool_add(t->mempool, t->ledger, tx, now_ns, &txid);
  if (v) return v;
  qr_outbound_t out = {.kind = QR_OUT_RETURN_TX};
  memcpy(out.tx, tx, QR_TX_SZ);
  qr_chain_out(t, &out);
  offer_followers(t, tx, now_ns);
  return v;
}

enum qr_verdict qr_chain_send_tx(qr_chain_tile_t *t, const uint8_t *tx, qr_hash_t *txid,
                                 uint64_t now_ns) {
  enum qr_verdict v = offer(t, 0, tx, txid, now_ns);
  if (v) return v;
  t->mine_dirty = true;
  offer_followers(t, tx, now_ns);
  return v;
}
