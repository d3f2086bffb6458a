/* Compact blocks: made for a peer that holds most of the transactions, and made whole again out of
   those that were relayed lately. What is put together wrongly shows by the header's root: then,
   and whenever a short id is doubtful, the block is asked for whole. */
#include "peer/internal.h"

#define COST_STRAY 1u
#define COST_LIE 5u /* a compact block, or its transactions, that make no block */

#define TXS_AT (QR_HEADER_SZ + 4u) /* where a block's transactions begin */

/* ---- making one ---- */

/* Relayed while this session was up, but to who wanted higher fees, or seen from there:
   the peer most likely has it. */
static bool likely(const qr_peers_t *p, const qr_peer_slot_t *s, const qr_hash_t *id) {
  qr_hash_t key = qr_peer_tx_key(qr_ld64(id->b));
  if (qr_inv_has(&s->txs, &key)) return true;
  const qr_txs_entry_t *e = qr_txs_get(&p->txs, id);
  return e && e->at_ns > s->up_ns && qr_peer_tx_pays(e->tx, s->fee_most);
}

static void send_reserved(qr_peers_t *p, qr_peer_slot_t *s, const qr_msg_t *m) {
  if (!qr_peer_out_msg(p, s, m)) QR_ASSERT(!"room was reserved");
}

void qr_peer_compact_answer(qr_peers_t *p, qr_peer_slot_t *s, const uint8_t *block, uint32_t sz) {
  qr_peer_compact_t *c = p->compact;
  qr_body_t b;
  uint32_t known_cnt = 0;
  bool decodes = qr_body_decode(block + QR_HEADER_SZ, sz - QR_HEADER_SZ, &b) == QR_VERDICT_OK;
  for (uint32_t i = 0; decodes && i < b.tx_cnt; i++) {
    c->ids[i] = qr_hash("quarry.txid", b.txs + (size_t)i * QR_TX_SZ, QR_TX_SZ);
    known_cnt += c->known[i] = likely(p, s, &c->ids[i]);
    qr_hash_t key = qr_peer_tx_key(qr_ld64(c->ids[i].b));
    qr_inv_add(&s->txs, &key);
  }
  if (!known_cnt) { /* nothing is saved */
    send_reserved(p, s, &(qr_msg_t){.type = QR_MSG_BLOCK, .block = {block, sz}});
    return;
  }
  size_t n = qr_compact_encode(block, sz, qr_peer_draw(p), c->ids, c->known, c->out);
  send_reserved(p, s, &(qr_msg_t){.type = QR_MSG_COMPACT, .compact = {c->out, (uint32_t)n}});
}

void qr_peer_compact_answer_txs(qr_peers_t *p, qr_peer_slot_t *s, const qr_hash_t *hash,
                                const uint8_t *block, uint32_t sz) {
  qr_body_t b;
  uint8_t *out = p->compact->out;
  bool right = qr_body_decode(block + QR_HEADER_SZ, sz - QR_HEADER_SZ, &b) == QR_VERDICT_OK &&
               s->tx_at[s->tx_at_cnt - 1] < b.tx_cnt; /* they ascend */
  if (!right) {
    qr_peer_strike(p, s, COST_LIE, "asked for transactions that the block has not");
    send_reserved(p, s, &(qr_msg_t){.type = QR_MSG_BLOCK, .block = {block, sz}});
    return;
  }
  for (uint32_t i = 0; i < s->tx_at_cnt; i++)
    memcpy(out + (size_t)i * QR_TX_SZ, b.txs + (size_t)s->tx_at[i] * QR_TX_SZ, QR_TX_SZ);
  send_reserved(p, s,
                &(qr_msg_t){.type = QR_MSG_BLOCK_TXS, .block_txs = {*hash, s->tx_at_cnt, out}});
}

/* ---- making it whole ---- */

static qr_peer_partial_t *find(qr_peers_t *p, const qr_hash_t *h) {
  for (uint32_t i = 0; i < QR_PEER_PARTIAL_CNT; i++) {
    if (p->partials[i].peer && qr_hash_eq(&p->partials[i].hash, h)) return &p->partials[i];
  }
  return NULL;
}

void qr_peer_compact_drop(qr_peers_t *p, const qr_hash_t *h) {
  qr_peer_partial_t *t = find(p, h);
  if (t) t->peer = 0;
}

/* One at a time for each peer. */
static qr_peer_partial_t *place_for(qr_peers_t *p, qr_peer_id_t peer) {
  qr_peer_partial_t *t = NULL;
  for (uint32_t i = 0; i < QR_PEER_PARTIAL_CNT; i++) {
    if (p->partials[i].peer == peer) return NULL;
    if (!p->partials[i].peer && !t) t = &p->partials[i];
  }
  return t;
}

static uint32_t slot_of(const qr_peers_t *p, uint64_t short_id) {
  return (uint32_t)(((short_id ^ p->txs.salt) * 0x9e3779b97f4a7c15u) >> 32) &
         (QR_PEER_ID_TABLE_CNT - 1);
}

/* Puts the short ids into the table; false if two are the same. */
static bool index_ids(const qr_peers_t *p, const qr_compact_t *c) {
  qr_peer_compact_t *k = p->compact;
  uint32_t full = 0, id = 0;
  memset(k->table, 0, sizeof k->table);
  memset(k->found_cnt, 0, sizeof k->found_cnt);
  for (uint32_t at = 0; at < c->tx_cnt; at++) {
    if (full < c->full_cnt && qr_ld16(c->fulls + (size_t)full * (2 + QR_TX_SZ)) == at) {
      full++;
      k->found_cnt[at] = 1;
      continue;
    }
    k->short_ids[at] = qr_compact_id_at(c, id++);
    uint32_t i = slot_of(p, k->short_ids[at]);
    for (; k->table[i]; i = (i + 1) % QR_PEER_ID_TABLE_CNT) {
      if (k->short_ids[k->table[i] - 1] == k->short_ids[at]) return false;
    }
    k->table[i] = (uint16_t)(at + 1);
  }
  return true;
}

/* Looks at all transactions that are here; one that two fit counts as none. */
static void match(const qr_peers_t *p, const qr_compact_key_t *key, uint8_t *txs) {
  qr_peer_compact_t *k = p->compact;
  for (uint32_t n = qr_txs_held(&p->txs), e = 0; e < n; e++) {
    uint64_t id = qr_compact_id(key, &p->txs.entries[e].id);
    for (uint32_t i = slot_of(p, id); k->table[i]; i = (i + 1) % QR_PEER_ID_TABLE_CNT) {
      uint32_t at = k->table[i] - 1u;
      if (k->short_ids[at] != id) continue;
      if (k->found_cnt[at] < 2) k->found_cnt[at]++;
      memcpy(txs + (size_t)at * QR_TX_SZ, p->txs.entries[e].tx, QR_TX_SZ);
      break;
    }
  }
}

/* Everything but what is missing; false if the short ids are no use. */
static bool assemble(qr_peers_t *p, qr_peer_partial_t *t, const qr_compact_t *c) {
  qr_compact_key_t key = qr_compact_key(&t->hash, c->nonce);
  uint8_t *txs = t->block + TXS_AT;
  if (!index_ids(p, c)) return false;
  memcpy(t->block, c->header, QR_HEADER_SZ);
  qr_st32(t->block + QR_HEADER_SZ, c->tx_cnt);
  match(p, &key, txs);
  for (uint32_t i = 0; i < c->full_cnt; i++) {
    const uint8_t *full = c->fulls + (size_t)i * (2 + QR_TX_SZ);
    memcpy(txs + (size_t)qr_ld16(full) * QR_TX_SZ, full + 2, QR_TX_SZ);
  }
  memcpy(txs + (size_t)c->tx_cnt * QR_TX_SZ, c->tail, c->tail_sz);
  t->sz = TXS_AT + c->tx_cnt * QR_TX_SZ + c->tail_sz;
  t->missing_cnt = 0;
  for (uint32_t at = 0; at < c->tx_cnt; at++) {
    if (p->compact->found_cnt[at] != 1) t->missing[t->missing_cnt++] = (uint16_t)at;
  }
  return true;
}

/* It came to nothing: whole from the same peer, who pays for it if it should have known better. */
static void give_up(qr_peers_t *p, qr_peer_fetch_t *f, qr_peer_slot_t *s, const char *why) {
  p->stats.compact_whole++;
  qr_peer_fetch_whole(p, f, s);
  if (why) qr_peer_strike(p, s, COST_LIE, why);
}

/* No transaction is missing any more. */
static void complete(qr_peers_t *p, qr_peer_fetch_t *f, qr_peer_slot_t *s, qr_peer_partial_t *t) {
  qr_header_t h;
  qr_header_decode(t->block, &h);
  qr_hash_t root = qr_tx_root(t->block + TXS_AT, qr_ld32(t->block + QR_HEADER_SZ));
  if (qr_hash_eq(&root, &h.tx_root))
    qr_peer_fetch_give(p, f, s, t->block, t->sz);
  else
    give_up(p, f, s, "sent a compact block that is none");
  t->peer = 0;
}

static bool ask_missing(qr_peers_t *p, qr_peer_slot_t *s, const qr_peer_partial_t *t) {
  uint8_t at[2 * QR_BLOCK_TX_MAX_CNT];
  for (uint32_t i = 0; i < t->missing_cnt; i++) qr_st16(at + 2 * i, t->missing[i]);
  qr_msg_t m = {.type = QR_MSG_GET_BLOCK_TXS, .get_block_txs = {t->hash, t->missing_cnt, at}};
  return qr_peer_out_msg(p, s, &m);
}

static void unasked(qr_peers_t *p, qr_peer_slot_t *s, const qr_hash_t *h) {
  p->stats.unsolicited++;
  if (!qr_inv_has(&s->asked, h))
    qr_peer_strike(p, s, COST_STRAY, "sent a block that was not asked for");
}

void qr_peer_compact_block(qr_peers_t *p, qr_peer_slot_t *s, const qr_msg_compact_t *m) {
  qr_compact_t c;
  qr_header_t h;
  if (qr_compact_decode(m->bytes, m->sz, &c)) QR_ASSERT(!"the message was decoded");
  qr_header_decode(c.header, &h);
  qr_hash_t hash = qr_header_hash(&h);
  p->stats.compact_rx++;
  qr_inv_add(&s->blocks, &hash);
  qr_peer_fetch_t *f = qr_peer_fetch_owed(p, s, &hash);
  if (!f || f->state == QR_FETCH_PARTIAL || f->whole) {
    unasked(p, s, &hash);
    return;
  }
  qr_peer_partial_t *t = place_for(p, s->id);
  if (t) {
    t->peer = s->id;
    t->hash = hash;
  }
  if (!t || !assemble(p, t, &c)) {
    if (t) t->peer = 0;
    give_up(p, f, s, NULL); /* short ids may collide by chance */
    return;
  }
  f->peer = s->id;
  if (!t->missing_cnt) {
    complete(p, f, s, t);
  } else if (ask_missing(p, s, t)) {
    p->stats.txs_asked += t->missing_cnt;
    qr_peer_fetch_await(p, f, QR_FETCH_PARTIAL);
  } else {
    t->peer = 0;
    give_up(p, f, s, NULL);
  }
}

void qr_peer_compact_txs(qr_peers_t *p, qr_peer_slot_t *s, const qr_msg_block_txs_t *m) {
  qr_peer_partial_t *t = find(p, &m->block);
  qr_peer_fetch_t *f = qr_peer_fetch_owed(p, s, &m->block);
  if (!t || t->peer != s->id || !f || f->state != QR_FETCH_PARTIAL) {
    unasked(p, s, &m->block);
    return;
  }
  if (m->cnt != t->missing_cnt) {
    t->peer = 0;
    give_up(p, f, s, "sent other transactions of a block than were asked for");
    return;
  }
  for (uint32_t i = 0; i < m->cnt; i++)
    memcpy(t->block + TXS_AT + (size_t)t->missing[i] * QR_TX_SZ, m->txs + (size_t)i * QR_TX_SZ,
           QR_TX_SZ);
  complete(p, f, s, t);
}
