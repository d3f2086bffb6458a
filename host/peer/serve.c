/* What remote peers ask of us: bounded queues, room reserved before a question goes up, answers. */
#include "peer/internal.h"

#define LAPSE_NS (30 * QR_PEER_SEC)
#define COST_CROWD 2u

size_t qr_peer_serve_model_sz(uint32_t model_sz) {
  size_t chunk_cnt = qr_peer_chunk_max_cnt(model_sz);
  size_t per_chunk = QR_MSG_HEAD_SZ + qr_msg_payload_max(QR_MSG_MODEL) - QR_MSG_CHUNK_SZ;
  size_t leaves_sz = QR_MSG_HEAD_SZ + qr_msg_payload_max(QR_MSG_LEAVES) -
                     (QR_MSG_CHUNK_MAX_CNT - chunk_cnt) * QR_HASH_SZ;
  return model_sz + chunk_cnt * per_chunk + leaves_sz;
}

typedef struct {
  enum qr_peer_bucket bucket;
  enum qr_link_class cls;
  uint32_t limit_cnt;
} kind_t;

static const kind_t kinds[] = {
    [QR_MSG_WANT_BLOCK] = {QR_PEER_BUCKET_BLOCKS, QR_LINK_BLOCK, QR_PEER_WANT_BLOCK_CNT},
    [QR_MSG_WANT_MODEL] = {QR_PEER_BUCKET_MODELS, QR_LINK_SYNC, QR_PEER_WANT_MODEL_CNT},
    [QR_MSG_WANT_HEADERS] = {QR_PEER_BUCKET_HEADERS, QR_LINK_SYNC, 1},
};

static uint32_t answer_sz(const qr_peers_t *p, uint8_t kind) {
  if (kind == QR_MSG_WANT_BLOCK) { /* in any form */
    uint32_t most = qr_msg_payload_max(QR_MSG_COMPACT);
    QR_ASSERT(most >= qr_msg_payload_max(QR_MSG_BLOCK) &&
              most >= qr_msg_payload_max(QR_MSG_BLOCK_TXS));
    return QR_MSG_HEAD_SZ + most;
  }
  if (kind == QR_MSG_WANT_HEADERS) return QR_MSG_HEAD_SZ + qr_msg_payload_max(QR_MSG_HEADERS);
  return (uint32_t)qr_peer_serve_model_sz(p->cfg.model_max_sz);
}

static void say_not_found(qr_peers_t *p, qr_peer_slot_t *s, uint8_t kind, const qr_hash_t *hash) {
  qr_msg_t m = {.type = QR_MSG_NOT_FOUND, .not_found = {kind, *hash}};
  if (!qr_peer_out_msg(p, s, &m)) p->stats.rate_dropped++; /* the asker's timer will tell it */
}

static void release(const qr_peers_t *p, qr_peer_slot_t *s, qr_peer_want_slot_t *w) {
  if (w->asked) s->out[kinds[w->kind].cls].reserved -= answer_sz(p, w->kind);
  w->req = 0;
}

/* ---- questions ---- */

/* What a question is for: one of kind, in form. */
static qr_peer_want_slot_t want_of(const qr_msg_t *m) {
  qr_peer_want_slot_t w = {.kind = QR_MSG_WANT_BLOCK};
  switch (m->type) {
  case QR_MSG_GET_BLOCK: w.hash = m->get_block.hash; break;
  case QR_MSG_GET_COMPACT:
    w.hash = m->get_block.hash;
    w.form = QR_FORM_COMPACT;
    break;
  case QR_MSG_GET_BLOCK_TXS:
    w.hash = m->get_block_txs.block;
    w.form = QR_FORM_TXS;
    break;
  case QR_MSG_GET_MODEL:
    w.kind = QR_MSG_WANT_MODEL;
    w.hash = m->get_model.block;
    w.root = m->get_model.root;
    w.first = m->get_model.first;
    w.cnt = m->get_model.cnt;
    w.leaves = m->get_model.leaves;
    break;
  default: w.kind = QR_MSG_WANT_HEADERS; break;
  }
  return w;
}

/* What a question says beyond its want. */
static void keep_rest(qr_peer_slot_t *s, const qr_msg_t *m) {
  if (m->type == QR_MSG_GET_HEADERS) {
    s->locator_cnt = m->get_headers.cnt;
    s->locator_max = m->get_headers.max_cnt;
    memcpy(s->locator, m->get_headers.locator, s->locator_cnt * sizeof s->locator[0]);
  }
  if (m->type == QR_MSG_GET_BLOCK_TXS) {
    s->tx_at_cnt = m->get_block_txs.cnt;
    for (uint32_t i = 0; i < s->tx_at_cnt; i++) s->tx_at[i] = qr_ld16(m->get_block_txs.at + 2 * i);
  }
}

void qr_peer_serve_ask(qr_peers_t *p, qr_peer_slot_t *s, const qr_msg_t *m) {
  qr_peer_want_slot_t ask = want_of(m);
  uint8_t kind = ask.kind;
  uint32_t same_cnt = 0;
  bool crowd = false;
  qr_peer_want_slot_t *w = NULL;
  for (uint32_t i = 0; i < QR_PEER_WANT_CNT; i++) {
    if (!s->wants[i].req) {
      w = w ? w : &s->wants[i];
      continue;
    }
    same_cnt += s->wants[i].kind == kind;
    crowd |= ask.form == QR_FORM_TXS && s->wants[i].form == QR_FORM_TXS;
  }
  if (crowd || same_cnt >= kinds[kind].limit_cnt) {
    qr_peer_strike(p, s, COST_CROWD, "too many questions at once");
    say_not_found(p, s, kind, &ask.hash);
    return;
  }
  QR_ASSERT(w); /* the limits of the kinds add up to all places */
  p->req_seq = p->req_seq + 1 ? p->req_seq + 1 : 1;
  *w = ask;
  w->req = p->req_seq;
  w->at_ns = p->now_ns;
  keep_rest(s, m);
}

/* A model that is here or arrives is sent from here. */
static bool begin_feed(qr_peers_t *p, qr_peer_slot_t *s, qr_peer_want_slot_t *w) {
  if (!qr_peer_spend(p, s, QR_PEER_BUCKET_MODELS)) return false;
  w->feed = true;
  w->at_ns = p->now_ns;
  p->work_cnt++;
  return true;
}

static bool put_up(qr_peers_t *p, qr_peer_slot_t *s, qr_peer_want_slot_t *w) {
  const kind_t *k = &kinds[w->kind];
  if (w->kind == QR_MSG_WANT_MODEL && qr_peer_xfer_find(p, &w->root)) return begin_feed(p, s, w);
  uint32_t sz = answer_sz(p, w->kind);
  if (!qr_peer_out_room(s, k->cls, sz) || !qr_peer_spend(p, s, k->bucket)) return false;
  qr_peer_want_t want = {.peer = s->id,
                         .req = w->req,
                         .kind = (enum qr_msg_want)w->kind,
                         .hash = w->hash,
                         .root = w->root};
  if (w->kind == QR_MSG_WANT_HEADERS) {
    want.locator = s->locator;
    want.locator_cnt = s->locator_cnt;
    want.max_cnt = s->locator_max;
  }
  if (!p->cfg.app->on_want(p->cfg.ctx, &want)) {
    p->stats.app_full++;
    qr_peer_unspend(p, s, k->bucket);
    return false;
  }
  w->asked = true;
  w->at_ns = p->now_ns;
  s->out[k->cls].reserved += sz;
  p->work_cnt++;
  return true;
}

static qr_peer_want_slot_t *oldest(qr_peer_slot_t *s, uint8_t kind) {
  qr_peer_want_slot_t *best = NULL;
  for (uint32_t i = 0; i < QR_PEER_WANT_CNT; i++) {
    qr_peer_want_slot_t *w = &s->wants[i];
    if (w->req && !w->asked && !w->feed && w->kind == kind &&
        (!best || (int32_t)(w->req - best->req) < 0))
      best = w;
  }
  return best;
}

static bool send_leaves(qr_peers_t *p, qr_peer_slot_t *s, const qr_hash_t *root, uint32_t sz,
                        const qr_hash_t *leaves) {
  qr_msg_t m = {.type = QR_MSG_LEAVES, .leaves = {*root, sz, qr_peer_chunk_max_cnt(sz), leaves}};
  return qr_peer_out_msg(p, s, &m);
}

static bool send_chunk(qr_peers_t *p, qr_peer_slot_t *s, const qr_hash_t *root, uint32_t sz,
                       uint32_t i, const uint8_t *bytes) {
  qr_msg_t m = {
      .type = QR_MSG_MODEL,
      .model = {*root, (uint16_t)i, qr_peer_chunk_sz(sz, i), bytes + (size_t)i * QR_MSG_CHUNK_SZ}};
  return qr_peer_out_msg(p, s, &m);
}

/* Sends what is here of what is owed; true once nothing is owed any more. */
static bool feed(qr_peers_t *p, qr_peer_slot_t *s, qr_peer_want_slot_t *w) {
  const qr_peer_xfer_t *x = qr_peer_xfer_find(p, &w->root);
  if (!x) w->feed = false; /* it is no longer here: the application is asked */
  if (!x || !x->sz) return false;
  if (w->leaves && !send_leaves(p, s, &w->root, x->sz, x->leaves)) return false;
  w->leaves = false;
  while (w->cnt && w->first < x->chunk_cnt) {
    if (!x->have[w->first] || !send_chunk(p, s, &w->root, x->sz, w->first, x->bytes)) return false;
    w->first++;
    w->cnt--;
    w->at_ns = p->now_ns;
    p->work_cnt++;
  }
  return true;
}

void qr_peer_serve_poll(qr_peers_t *p, qr_peer_slot_t *s) {
  for (uint32_t i = 0; i < QR_PEER_WANT_CNT; i++) {
    qr_peer_want_slot_t *w = &s->wants[i];
    if (w->req && (p->now_ns - w->at_ns >= LAPSE_NS || (w->feed && feed(p, s, w))))
      release(p, s, w);
  }
  for (uint8_t kind = QR_MSG_WANT_BLOCK; kind <= QR_MSG_WANT_HEADERS; kind++) {
    qr_peer_want_slot_t *w = oldest(s, kind);
    while (w && put_up(p, s, w)) w = oldest(s, kind);
  }
}

/* ---- answers ---- */

/* Takes the question off the list and gives its reserved room back; NULL if it lapsed or its
 * session ended. */
static qr_peer_slot_t *close_want(qr_peers_t *p, qr_peer_id_t peer, uint32_t req,
                                  qr_peer_want_slot_t *was) {
  qr_peer_slot_t *s = qr_peer_find(p, peer);
  for (uint32_t i = 0; s && req && i < QR_PEER_WANT_CNT; i++) {
    qr_peer_want_slot_t *w = &s->wants[i];
    if (w->req != req || !w->asked) continue;
    *was = *w;
    release(p, s, w);
    return s;
  }
  return NULL;
}

static void send_reserved(qr_peers_t *p, qr_peer_slot_t *s, const qr_msg_t *m) {
  if (!qr_peer_out_msg(p, s, m)) QR_ASSERT(!"room was reserved");
}

void qr_peers_answer_block(qr_peers_t *p, qr_peer_id_t peer, uint32_t req, const uint8_t *block,
                           size_t sz) {
  qr_peer_want_slot_t w;
  QR_ASSERT(sz >= QR_HEADER_SZ && sz <= QR_BLOCK_MAX_SZ);
  qr_peer_slot_t *s = close_want(p, peer, req, &w);
  if (!s) return;
  QR_ASSERT(w.kind == QR_MSG_WANT_BLOCK);
  if (w.form == QR_FORM_COMPACT)
    qr_peer_compact_answer(p, s, block, (uint32_t)sz);
  else if (w.form == QR_FORM_TXS)
    qr_peer_compact_answer_txs(p, s, &w.hash, block, (uint32_t)sz);
  else
    send_reserved(p, s, &(qr_msg_t){.type = QR_MSG_BLOCK, .block = {block, (uint32_t)sz}});
  qr_inv_add(&s->blocks, &w.hash);
}

void qr_peers_answer_model(qr_peers_t *p, qr_peer_id_t peer, uint32_t req, const uint8_t *model,
                           size_t sz) {
  qr_peer_want_slot_t w;
  QR_ASSERT(sz && sz <= p->cfg.model_max_sz);
  qr_peer_slot_t *s = close_want(p, peer, req, &w);
  if (!s) return;
  QR_ASSERT(w.kind == QR_MSG_WANT_MODEL);
  uint32_t n = (uint32_t)sz, chunk_cnt = qr_peer_chunk_max_cnt(n);
  if (w.leaves) {
    for (uint32_t i = 0; i < chunk_cnt; i++)
      p->leaves[i] = qr_merkle_leaf(i, model + (size_t)i * QR_MSG_CHUNK_SZ, qr_peer_chunk_sz(n, i));
    if (!send_leaves(p, s, &w.root, n, p->leaves)) QR_ASSERT(!"room was reserved");
  }
  for (; w.cnt && w.first < chunk_cnt; w.first++, w.cnt--) {
    if (!send_chunk(p, s, &w.root, n, w.first, model)) QR_ASSERT(!"room was reserved");
  }
}

void qr_peers_answer_headers(qr_peers_t *p, qr_peer_id_t peer, uint32_t req, const uint8_t *headers,
                             uint32_t cnt) {
  qr_peer_want_slot_t w;
  QR_ASSERT(cnt <= QR_MSG_HEADERS_MAX_CNT);
  qr_peer_slot_t *s = close_want(p, peer, req, &w);
  if (!s) return;
  QR_ASSERT(w.kind == QR_MSG_WANT_HEADERS);
  send_reserved(p, s, &(qr_msg_t){.type = QR_MSG_HEADERS, .headers = {cnt, headers}});
}

void qr_peers_not_found(qr_peers_t *p, qr_peer_id_t peer, uint32_t req) {
  qr_peer_want_slot_t w;
  qr_peer_slot_t *s = close_want(p, peer, req, &w);
  if (s) say_not_found(p, s, w.kind, &w.hash);
}
