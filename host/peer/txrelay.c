/* Transactions: peers tell each other the first eight bytes of their hashes, and ask for those that
   they have not. Who tells of one and does not give it costs the others two seconds. */
#include "peer/internal.h"

#define BATCH_NS (100 * QR_PEER_MSEC) /* between two lists of ids to one peer */
#define LATE_NS (2 * QR_PEER_SEC)     /* then it is asked of another */
#define FEE_NS (10 * QR_PEER_SEC)     /* between two of our least fees, the second being higher */
#define FEE_FALL_NS                                                                                \
  (1 * QR_PEER_SEC) /* being lower: what is not told meanwhile is not told later */
#define LOOK_NS (100 * QR_PEER_MSEC)
#define COST_INVALID 50u /* nobody relays what is signed wrongly */

/* ---- fees ---- */

void qr_peers_set_fee_min(qr_peers_t *p, uint64_t fee) { p->fee_min = fee; }

bool qr_peer_tx_pays(const uint8_t *tx, uint64_t fee) {
  qr_tx_t t;
  return !fee || qr_tx_decode(tx, &t) != QR_VERDICT_OK || t.fee >= fee;
}

void qr_peer_tx_fee(qr_peer_slot_t *s, uint64_t fee) {
  s->fee_min = fee;
  if (fee > s->fee_most) s->fee_most = fee;
}

static void tell_fee(qr_peers_t *p, qr_peer_slot_t *s) {
  if (!s->fees || p->fee_min == s->fee_told) return;
  uint64_t wait_ns = p->fee_min < s->fee_told ? FEE_FALL_NS : FEE_NS;
  if (s->fee_ns && p->now_ns - s->fee_ns < wait_ns) return;
  qr_msg_t m = {.type = QR_MSG_FEE_MIN, .fee_min = {p->fee_min}};
  if (!qr_peer_out_msg(p, s, &m)) return;
  s->fee_told = p->fee_min;
  s->fee_ns = p->now_ns;
}

/* ---- telling ---- */

static void relay(qr_peers_t *p, qr_peer_id_t from, const uint8_t *tx, bool again) {
  qr_hash_t id = qr_hash("quarry.txid", tx, QR_TX_SZ);
  uint64_t prefix = qr_ld64(id.b);
  qr_hash_t key = qr_peer_tx_key(prefix);
  qr_inv_add(&p->tx_seen, &key);
  qr_txs_add(&p->txs, &id, tx, p->now_ns);
  for (uint32_t i = 0; i < p->cfg.peer_max_cnt; i++) {
    qr_peer_slot_t *s = &p->slots[i];
    if (from && s->id == from) s->tx_ns = p->now_ns;
    if (s->state != QR_PEER_UP || s->doom || s->id == from) continue;
    if (!again && qr_inv_has(&s->txs, &key)) continue;
    if (!qr_peer_tx_pays(tx, s->fee_min)) {
      p->stats.tx_cheap++;
      continue;
    }
    if (s->news_cnt == QR_ARRAY_CNT(s->news)) continue; /* it reads too slowly: others tell it */
    s->news[s->news_cnt++] = prefix;
    qr_inv_add(&s->txs, &key);
  }
}

void qr_peers_relay_tx(qr_peers_t *p, qr_peer_id_t from, const uint8_t *tx) {
  relay(p, from, tx, false);
}

void qr_peers_return_tx(qr_peers_t *p, const uint8_t *tx) { relay(p, 0, tx, true); }

/* Another tip may have what it lacks: who tells of it then is asked again. */
static void maybe_later(qr_peers_t *p, const uint8_t *tx) {
  qr_hash_t id = qr_hash("quarry.txid", tx, QR_TX_SZ), key = qr_peer_tx_key(qr_ld64(id.b));
  qr_inv_drop(&p->tx_seen, &key);
  qr_inv_add(&p->tx_later, &key);
  p->tx_later_any = true;
}

void qr_peer_tx_tip(qr_peers_t *p) {
  if (p->tx_later_any) qr_inv_clear(&p->tx_later);
  p->tx_later_any = false;
}

static bool is_new(const qr_peers_t *p, const qr_hash_t *key) {
  return !qr_inv_has(&p->tx_seen, key) && !qr_inv_has(&p->tx_later, key);
}

void qr_peers_refused_tx(qr_peers_t *p, qr_peer_id_t from, const uint8_t *tx,
                         enum qr_verdict verdict) {
  bool later = verdict == QR_VERDICT_TX_SEQUENCE || verdict == QR_VERDICT_TX_BALANCE;
  if (later) maybe_later(p, tx);
  qr_peer_slot_t *s = qr_peer_find(p, from);
  bool never_right = verdict == QR_VERDICT_TX_SYNTAX || verdict == QR_VERDICT_TX_SIGNATURE;
  if (s && never_right) qr_peer_strike(p, s, COST_INVALID, "sent a transaction that is none");
}

static bool send_ids(qr_peers_t *p, qr_peer_slot_t *s, uint8_t type, const uint64_t *ids,
                     uint32_t cnt) {
  qr_msg_t m = {.type = type, .tx_ids = {cnt, (const uint8_t *)ids}};
  return qr_peer_out_msg(p, s, &m);
}

static void tell_news(qr_peers_t *p, qr_peer_slot_t *s) {
  if (!s->news_cnt || p->now_ns < s->news_ns) return;
  if (!send_ids(p, s, QR_MSG_TX_IDS, s->news, s->news_cnt)) return;
  s->news_cnt = 0;
  s->news_ns = p->now_ns + BATCH_NS;
  p->work_cnt++;
}

/* ---- asking ---- */

static qr_peer_tx_ask_t *find(qr_peers_t *p, uint64_t prefix) {
  for (uint32_t i = 0; i < QR_PEER_TX_ASK_CNT; i++) {
    if (p->tx_asks[i].peer && p->tx_asks[i].prefix == prefix) return &p->tx_asks[i];
  }
  return NULL;
}

static qr_peer_tx_ask_t *free_ask(qr_peers_t *p) {
  for (uint32_t i = 0; i < QR_PEER_TX_ASK_CNT; i++) {
    if (!p->tx_asks[i].peer) return &p->tx_asks[i];
  }
  return NULL;
}

/* True if it is to be asked of s now; somebody else may be asked already. */
static bool note(qr_peers_t *p, qr_peer_slot_t *s, uint64_t prefix) {
  qr_peer_tx_ask_t *a = find(p, prefix);
  if (a && a->peer == s->id) return false;
  for (uint32_t i = 0; a && i < QR_ARRAY_CNT(a->others); i++) {
    if (a->others[i] && a->others[i] != s->id) continue;
    a->others[i] = s->id;
    break;
  }
  if (a || s->txs_owed >= QR_PEER_TX_OWED_CNT || !(a = free_ask(p))) return false;
  *a = (qr_peer_tx_ask_t){.prefix = prefix, .peer = s->id, .at_ns = p->now_ns};
  s->txs_owed++;
  return true;
}

void qr_peer_tx_ids(qr_peers_t *p, qr_peer_slot_t *s, const qr_msg_tx_ids_t *m) {
  uint64_t ask[QR_MSG_TX_IDS_MAX_CNT];
  uint32_t cnt = 0;
  for (uint32_t i = 0; i < m->cnt; i++) {
    if (!qr_peer_spend(p, s, QR_PEER_BUCKET_TX_IDS)) {
      p->stats.rate_dropped++;
      break;
    }
    uint64_t prefix = qr_ld64(m->ids + 8 * (size_t)i);
    qr_hash_t key = qr_peer_tx_key(prefix);
    p->stats.tx_ids_rx++;
    if (!prefix) continue; /* no set holds it */
    qr_inv_add(&s->txs, &key);
    if (is_new(p, &key) && note(p, s, prefix)) ask[cnt++] = prefix;
  }
  if (cnt && !send_ids(p, s, QR_MSG_GET_TXS, ask, cnt)) p->stats.rate_dropped++; /* they are late */
}

/* s does not give it: another that told of it is asked. */
static void pass_on(qr_peers_t *p, qr_peer_tx_ask_t *a) {
  qr_peer_slot_t *s = qr_peer_find(p, a->peer);
  if (s) s->txs_owed--;
  a->peer = 0;
  for (uint32_t i = 0; i < QR_ARRAY_CNT(a->others) && !a->peer; i++) {
    qr_peer_slot_t *o = qr_peer_find(p, a->others[i]);
    a->others[i] = 0;
    if (!o || o->txs_owed >= QR_PEER_TX_OWED_CNT) continue;
    if (!send_ids(p, o, QR_MSG_GET_TXS, &a->prefix, 1)) continue;
    a->peer = o->id;
    a->at_ns = p->now_ns;
    o->txs_owed++;
  }
}

void qr_peer_tx_gone(qr_peers_t *p, const qr_peer_slot_t *s) {
  for (uint32_t i = 0; i < QR_PEER_TX_ASK_CNT; i++) {
    if (p->tx_asks[i].peer == s->id) pass_on(p, &p->tx_asks[i]);
  }
}

/* ---- giving, taking ---- */

void qr_peer_tx_get(qr_peers_t *p, qr_peer_slot_t *s, const qr_msg_tx_ids_t *m) {
  for (uint32_t i = 0; i < m->cnt; i++) {
    const qr_txs_entry_t *e = qr_txs_find(&p->txs, qr_ld64(m->ids + 8 * (size_t)i));
    qr_msg_t tx = {.type = QR_MSG_TX, .tx = {e ? e->tx : NULL}};
    if (!e) continue; /* it made way for newer ones */
    if (!qr_peer_spend(p, s, QR_PEER_BUCKET_TX_OUT) || !qr_peer_out_msg(p, s, &tx))
      p->stats.rate_dropped++;
  }
}

void qr_peer_tx(qr_peers_t *p, qr_peer_slot_t *s, const uint8_t *bytes) {
  if (!qr_peer_spend(p, s, QR_PEER_BUCKET_TX)) {
    p->stats.rate_dropped++; /* honest relays burst too: not an offence, only not looked at */
    return;
  }
  p->stats.tx_rx++;
  qr_hash_t id = qr_hash("quarry.txid", bytes, QR_TX_SZ);
  qr_hash_t key = qr_peer_tx_key(qr_ld64(id.b));
  qr_peer_tx_ask_t *a = find(p, qr_ld64(id.b));
  qr_peer_slot_t *owes = a ? qr_peer_find(p, a->peer) : NULL;
  if (owes) owes->txs_owed--;
  if (a) a->peer = 0;
  qr_inv_add(&s->txs, &key);
  if (!is_new(p, &key)) return;
  if (p->cfg.app->on_tx(p->cfg.ctx, s->id, bytes))
    qr_inv_add(&p->tx_seen, &key);
  else
    p->stats.app_full++;
}

void qr_peer_tx_poll(qr_peers_t *p) {
  for (uint32_t i = 0; i < p->cfg.peer_max_cnt; i++) {
    qr_peer_slot_t *s = qr_peer_find(p, p->slots[i].id);
    if (!s) continue;
    tell_news(p, s);
    tell_fee(p, s);
  }
  if (p->now_ns < p->tx_asks_ns) return;
  p->tx_asks_ns = p->now_ns + LOOK_NS;
  for (uint32_t i = 0; i < QR_PEER_TX_ASK_CNT; i++) {
    qr_peer_tx_ask_t *a = &p->tx_asks[i];
    if (!a->peer || p->now_ns - a->at_ns < LATE_NS) continue;
    p->stats.tx_late++;
    pass_on(p, a);
  }
}
