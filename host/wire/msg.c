#include "wire/msg.h"

#include "base/assert.h"

#define HELLO_FIXED_SZ 159u /* everything but the agent's characters */
#define HELLO_MAX_SZ                                                                               \
  1024u /* room for what later versions add: the version is judged before the rest is read */
#define GET_MODEL_SZ 69u
#define MODEL_FIXED_SZ 34u
#define LEAVES_FIXED_SZ 36u
#define GET_HEADERS_FIXED_SZ 3u
#define SNAPSHOT_FIXED_SZ 44u
#define CHUNK_FIXED_SZ 40u

typedef struct {
  const char *name;
  enum qr_msg_class cls;
  uint32_t min_sz, max_sz;
} kind_t;

static const kind_t kinds[QR_MSG_TYPE_END] = {
    [QR_MSG_HELLO] = {"hello", QR_MSG_CONTROL, 4, HELLO_MAX_SZ},
    [QR_MSG_READY] = {"ready", QR_MSG_CONTROL, 0, 0},
    [QR_MSG_PING] = {"ping", QR_MSG_CONTROL, 8, 8},
    [QR_MSG_PONG] = {"pong", QR_MSG_CONTROL, 8, 8},
    [QR_MSG_ANNOUNCE] = {"announce", QR_MSG_CONTROL, 72, 72},
    [QR_MSG_GET_BLOCK] = {"get_block", QR_MSG_CONTROL, 32, 32},
    [QR_MSG_BLOCK] = {"block", QR_MSG_BULK_BLOCK, QR_HEADER_SZ, QR_BLOCK_MAX_SZ},
    [QR_MSG_GET_MODEL] = {"get_model", QR_MSG_CONTROL, GET_MODEL_SZ, GET_MODEL_SZ},
    [QR_MSG_MODEL] = {"model", QR_MSG_BULK_SYNC, MODEL_FIXED_SZ + 1,
                      MODEL_FIXED_SZ + QR_MSG_CHUNK_SZ},
    [QR_MSG_GET_HEADERS] = {"get_headers", QR_MSG_CONTROL, GET_HEADERS_FIXED_SZ + QR_HASH_SZ,
                            GET_HEADERS_FIXED_SZ + QR_MSG_LOCATOR_MAX_CNT *QR_HASH_SZ},
    [QR_MSG_HEADERS] = {"headers", QR_MSG_BULK_SYNC, 0, QR_MSG_HEADERS_MAX_CNT *QR_HEADER_SZ},
    [QR_MSG_TX] = {"tx", QR_MSG_BULK_TX, QR_TX_SZ, QR_TX_SZ},
    [QR_MSG_NOT_FOUND] = {"not_found", QR_MSG_CONTROL, 33, 33},
    [QR_MSG_GET_COMPACT] = {"get_compact", QR_MSG_CONTROL, 32, 32},
    [QR_MSG_COMPACT] = {"compact", QR_MSG_BULK_BLOCK, QR_COMPACT_FIXED_SZ + QR_COMPACT_TAIL_MIN_SZ,
                        QR_COMPACT_MAX_SZ},
    [QR_MSG_GET_BLOCK_TXS] = {"get_block_txs", QR_MSG_CONTROL, QR_HASH_SZ + 2,
                              QR_HASH_SZ + 2 * QR_BLOCK_TX_MAX_CNT},
    [QR_MSG_BLOCK_TXS] = {"block_txs", QR_MSG_BULK_BLOCK, QR_HASH_SZ + QR_TX_SZ,
                          QR_HASH_SZ + QR_BLOCK_TX_MAX_CNT *QR_TX_SZ},
    [QR_MSG_LEAVES] = {"leaves", QR_MSG_BULK_SYNC, LEAVES_FIXED_SZ + QR_HASH_SZ,
                       LEAVES_FIXED_SZ + QR_MSG_CHUNK_MAX_CNT *QR_HASH_SZ},
    [QR_MSG_OFFER] = {"offer", QR_MSG_CONTROL, QR_HEADER_SZ, QR_HEADER_SZ},
    [QR_MSG_GET_SNAPSHOT] = {"get_snapshot", QR_MSG_CONTROL, 36, 36},
    [QR_MSG_SNAPSHOT] = {"snapshot", QR_MSG_BULK_SYNC, SNAPSHOT_FIXED_SZ + QR_HASH_SZ,
                         SNAPSHOT_FIXED_SZ + QR_MSG_LEAVES_MAX_CNT *QR_HASH_SZ},
    [QR_MSG_GET_CHUNK] = {"get_chunk", QR_MSG_CONTROL, CHUNK_FIXED_SZ, CHUNK_FIXED_SZ},
    [QR_MSG_CHUNK] = {"chunk", QR_MSG_BULK_SYNC, CHUNK_FIXED_SZ + 1,
                      CHUNK_FIXED_SZ + QR_MSG_PART_MAX_SZ},
    [QR_MSG_TX_IDS] = {"tx_ids", QR_MSG_BULK_TX, 8, QR_MSG_TX_IDS_MAX_CNT * 8},
    [QR_MSG_GET_TXS] = {"get_txs", QR_MSG_BULK_TX, 8, QR_MSG_TX_IDS_MAX_CNT * 8},
    [QR_MSG_FEE_MIN] = {"fee_min", QR_MSG_CONTROL, 8, 8},
    [QR_MSG_GET_ADDRS] = {"get_addrs", QR_MSG_CONTROL, 0, 0},
    [QR_MSG_ADDRS] = {"addrs", QR_MSG_CONTROL, QR_MSG_ADDR_SZ,
                      QR_MSG_ADDRS_MAX_CNT *QR_MSG_ADDR_SZ},
};

bool qr_msg_known(uint8_t type) { return type < QR_MSG_TYPE_END && kinds[type].name; }

static const kind_t *kind_of(uint8_t type) {
  QR_ASSERT(qr_msg_known(type));
  return &kinds[type];
}

enum qr_msg_class qr_msg_class_of(uint8_t type) { return kind_of(type)->cls; }

uint32_t qr_msg_payload_max(uint8_t type) { return kind_of(type)->max_sz; }

const char *qr_msg_str(uint8_t type) { return qr_msg_known(type) ? kinds[type].name : "unknown"; }

static bool in_bounds(const kind_t *k, size_t sz) { return sz >= k->min_sz && sz <= k->max_sz; }

enum qr_verdict qr_msg_head(const uint8_t head[QR_MSG_HEAD_SZ], uint32_t *payload_sz,
                            uint8_t *type) {
  *payload_sz = qr_ld32(head);
  *type = head[4];
  bool ok = qr_msg_known(*type) ? in_bounds(&kinds[*type], *payload_sz)
                                : *payload_sz <= QR_MSG_FRAME_MAX_SZ - QR_MSG_HEAD_SZ;
  return ok ? QR_VERDICT_OK : QR_VERDICT_SIZE;
}

/* ---- reading ---- */

static qr_hash_t ld_hash(const uint8_t *p) {
  qr_hash_t h;
  memcpy(h.b, p, QR_HASH_SZ);
  return h;
}

static enum qr_verdict decode_hello(const uint8_t *p, size_t sz, qr_msg_hello_t *h) {
  h->version = qr_ld32(p);
  if (h->version != QR_MSG_VERSION)
    return QR_VERDICT_OK; /* its other fields may lie elsewhere: they stay zero */
  if (sz < HELLO_FIXED_SZ) return QR_VERDICT_SYNTAX;
  h->chain_id = qr_ld64(p + 4);
  h->rules = ld_hash(p + 12);
  h->genesis = ld_hash(p + 44);
  h->tip = ld_hash(p + 76);
  h->height = qr_ld64(p + 108);
  h->work = qr_u256_from_le(p + 116);
  h->listen_port = qr_ld16(p + 148);
  h->features = qr_ld64(p + 150);
  h->agent_sz = p[158];
  if (h->agent_sz > QR_MSG_AGENT_MAX_SZ || sz != HELLO_FIXED_SZ + h->agent_sz)
    return QR_VERDICT_SYNTAX;
  memcpy(h->agent, p + HELLO_FIXED_SZ, h->agent_sz);
  for (uint32_t i = 0; i < h->agent_sz; i++) {
    if (h->agent[i] < 0x20 || h->agent[i] > 0x7e)
      return QR_VERDICT_SYNTAX; /* it ends up on operators' terminals */
  }
  return QR_VERDICT_OK;
}

static enum qr_verdict decode_get_model(const uint8_t *p, qr_msg_get_model_t *g) {
  g->block = ld_hash(p);
  g->root = ld_hash(p + 32);
  g->first = qr_ld16(p + 64);
  g->cnt = qr_ld16(p + 66);
  g->leaves = p[68];
  return g->cnt && p[68] <= 1 ? QR_VERDICT_OK : QR_VERDICT_SYNTAX;
}

static enum qr_verdict decode_model(const uint8_t *p, size_t sz, qr_msg_model_t *m) {
  m->root = ld_hash(p);
  m->idx = qr_ld16(p + 32);
  m->chunk = p + MODEL_FIXED_SZ;
  m->chunk_sz = (uint32_t)(sz - MODEL_FIXED_SZ);
  return m->idx < QR_MSG_CHUNK_MAX_CNT ? QR_VERDICT_OK : QR_VERDICT_SYNTAX;
}

static enum qr_verdict decode_leaves(const uint8_t *p, size_t sz, qr_msg_leaves_t *l) {
  l->root = ld_hash(p);
  l->total_sz = qr_ld32(p + 32);
  l->cnt = (uint32_t)((sz - LEAVES_FIXED_SZ) / QR_HASH_SZ);
  l->leaves = (const qr_hash_t *)(p + LEAVES_FIXED_SZ);
  bool whole = (sz - LEAVES_FIXED_SZ) % QR_HASH_SZ == 0;
  bool right =
      l->total_sz > (l->cnt - 1) * QR_MSG_CHUNK_SZ && l->total_sz <= l->cnt * QR_MSG_CHUNK_SZ;
  return whole && right ? QR_VERDICT_OK : QR_VERDICT_SYNTAX;
}

static enum qr_verdict decode_get_headers(const uint8_t *p, size_t sz, qr_msg_get_headers_t *g) {
  g->max_cnt = qr_ld16(p);
  g->cnt = p[2];
  g->locator = (const qr_hash_t *)(p + GET_HEADERS_FIXED_SZ);
  bool ok = g->max_cnt && g->max_cnt <= QR_MSG_HEADERS_MAX_CNT &&
            sz == GET_HEADERS_FIXED_SZ + (size_t)g->cnt * QR_HASH_SZ;
  return ok ? QR_VERDICT_OK : QR_VERDICT_SYNTAX;
}

static enum qr_verdict decode_headers(const uint8_t *p, size_t sz, qr_msg_headers_t *h) {
  *h = (qr_msg_headers_t){(uint32_t)(sz / QR_HEADER_SZ), p};
  return sz % QR_HEADER_SZ ? QR_VERDICT_SYNTAX : QR_VERDICT_OK;
}

static enum qr_verdict decode_not_found(const uint8_t *p, qr_msg_not_found_t *n) {
  n->kind = p[0];
  n->hash = ld_hash(p + 1);
  return n->kind >= QR_MSG_WANT_BLOCK && n->kind <= QR_MSG_WANT_SNAPSHOT ? QR_VERDICT_OK
                                                                         : QR_VERDICT_SYNTAX;
}

static enum qr_verdict decode_compact(const uint8_t *p, size_t sz, qr_msg_compact_t *m) {
  qr_compact_t c;
  *m = (qr_msg_compact_t){p, (uint32_t)sz};
  return qr_compact_decode(p, sz, &c) == QR_VERDICT_OK ? QR_VERDICT_OK : QR_VERDICT_SYNTAX;
}

static enum qr_verdict decode_get_block_txs(const uint8_t *p, size_t sz,
                                            qr_msg_get_block_txs_t *g) {
  g->block = ld_hash(p);
  g->cnt = (uint32_t)((sz - QR_HASH_SZ) / 2);
  g->at = p + QR_HASH_SZ;
  if (sz % 2) return QR_VERDICT_SYNTAX;
  uint32_t from = 0;
  for (uint32_t i = 0; i < g->cnt; i++) {
    uint32_t at = qr_ld16(g->at + 2 * i);
    if (at < from || at >= QR_BLOCK_TX_MAX_CNT) return QR_VERDICT_SYNTAX;
    from = at + 1;
  }
  return QR_VERDICT_OK;
}

static enum qr_verdict decode_block_txs(const uint8_t *p, size_t sz, qr_msg_block_txs_t *b) {
  b->block = ld_hash(p);
  b->cnt = (uint32_t)((sz - QR_HASH_SZ) / QR_TX_SZ);
  b->txs = p + QR_HASH_SZ;
  return (sz - QR_HASH_SZ) % QR_TX_SZ ? QR_VERDICT_SYNTAX : QR_VERDICT_OK;
}

static enum qr_verdict decode_snapshot(const uint8_t *p, size_t sz, qr_msg_snapshot_t *m) {
  m->root = ld_hash(p);
  m->payload_sz = qr_ld64(p + 32);
  m->first = qr_ld32(p + 40);
  m->cnt = (uint32_t)((sz - SNAPSHOT_FIXED_SZ) / QR_HASH_SZ);
  m->leaves = p + SNAPSHOT_FIXED_SZ;
  return (sz - SNAPSHOT_FIXED_SZ) % QR_HASH_SZ ? QR_VERDICT_SYNTAX : QR_VERDICT_OK;
}

static enum qr_verdict decode_addrs(const uint8_t *p, size_t sz, qr_msg_addrs_t *a) {
  *a = (qr_msg_addrs_t){(uint32_t)(sz / QR_MSG_ADDR_SZ), p};
  return sz % QR_MSG_ADDR_SZ ? QR_VERDICT_SYNTAX : QR_VERDICT_OK;
}

void qr_msg_addr_get(const uint8_t *p, qr_msg_addr_t *out) {
  memcpy(out->ip, p, sizeof out->ip);
  out->port = qr_ld16(p + 16);
  out->age_min = qr_ld16(p + 18);
  memcpy(out->pk.b, p + 20, sizeof out->pk.b);
}

enum qr_verdict qr_msg_decode(uint8_t type, const uint8_t *payload, size_t sz, qr_msg_t *m) {
  memset(m, 0, sizeof *m);
  m->type = type;
  if (!in_bounds(kind_of(type), sz)) return QR_VERDICT_SIZE;
  switch (type) {
  case QR_MSG_HELLO: return decode_hello(payload, sz, &m->hello);
  case QR_MSG_PING:
  case QR_MSG_PONG: m->ping.nonce = qr_ld64(payload); break;
  case QR_MSG_FEE_MIN: m->fee_min.fee = qr_ld64(payload); break;
  case QR_MSG_ANNOUNCE:
    m->announce.hash = ld_hash(payload);
    m->announce.height = qr_ld64(payload + 32);
    m->announce.work = qr_u256_from_le(payload + 40);
    break;
  case QR_MSG_GET_BLOCK:
  case QR_MSG_GET_COMPACT: m->get_block.hash = ld_hash(payload); break;
  case QR_MSG_BLOCK: m->block = (qr_msg_block_t){payload, (uint32_t)sz}; break;
  case QR_MSG_GET_MODEL: return decode_get_model(payload, &m->get_model);
  case QR_MSG_MODEL: return decode_model(payload, sz, &m->model);
  case QR_MSG_GET_HEADERS: return decode_get_headers(payload, sz, &m->get_headers);
  case QR_MSG_HEADERS: return decode_headers(payload, sz, &m->headers);
  case QR_MSG_TX: m->tx.tx = payload; break;
  case QR_MSG_NOT_FOUND: return decode_not_found(payload, &m->not_found);
  case QR_MSG_COMPACT: return decode_compact(payload, sz, &m->compact);
  case QR_MSG_GET_BLOCK_TXS: return decode_get_block_txs(payload, sz, &m->get_block_txs);
  case QR_MSG_BLOCK_TXS: return decode_block_txs(payload, sz, &m->block_txs);
  case QR_MSG_LEAVES: return decode_leaves(payload, sz, &m->leaves);
  case QR_MSG_OFFER: m->offer.header = payload; break;
  case QR_MSG_TX_IDS:
  case QR_MSG_GET_TXS:
    m->tx_ids = (qr_msg_tx_ids_t){(uint32_t)(sz / 8), payload};
    return sz % 8 ? QR_VERDICT_SYNTAX : QR_VERDICT_OK;
  case QR_MSG_ADDRS: return decode_addrs(payload, sz, &m->addrs);
  case QR_MSG_GET_SNAPSHOT:
    m->get_snapshot = (qr_msg_get_snapshot_t){ld_hash(payload), qr_ld32(payload + 32)};
    break;
  case QR_MSG_SNAPSHOT: return decode_snapshot(payload, sz, &m->snapshot);
  case QR_MSG_GET_CHUNK:
    m->get_chunk =
        (qr_msg_get_chunk_t){ld_hash(payload), qr_ld32(payload + 32), qr_ld32(payload + 36)};
    break;
  case QR_MSG_CHUNK:
    m->chunk = (qr_msg_chunk_t){ld_hash(payload), qr_ld32(payload + 32), qr_ld32(payload + 36),
                                (uint32_t)(sz - CHUNK_FIXED_SZ), payload + CHUNK_FIXED_SZ};
    break;
  default: break; /* READY and GET_ADDRS have no payload */
  }
  return QR_VERDICT_OK;
}

/* ---- writing ---- */

static size_t payload_sz(const qr_msg_t *m) {
  switch (m->type) {
  case QR_MSG_HELLO: return HELLO_FIXED_SZ + m->hello.agent_sz;
  case QR_MSG_BLOCK: return m->block.sz;
  case QR_MSG_MODEL: return MODEL_FIXED_SZ + m->model.chunk_sz;
  case QR_MSG_GET_HEADERS: return GET_HEADERS_FIXED_SZ + (size_t)m->get_headers.cnt * QR_HASH_SZ;
  case QR_MSG_HEADERS: return (size_t)m->headers.cnt * QR_HEADER_SZ;
  case QR_MSG_COMPACT: return m->compact.sz;
  case QR_MSG_GET_BLOCK_TXS: return QR_HASH_SZ + 2 * (size_t)m->get_block_txs.cnt;
  case QR_MSG_BLOCK_TXS: return QR_HASH_SZ + (size_t)m->block_txs.cnt * QR_TX_SZ;
  case QR_MSG_TX_IDS:
  case QR_MSG_GET_TXS: return 8 * (size_t)m->tx_ids.cnt;
  case QR_MSG_LEAVES: return LEAVES_FIXED_SZ + (size_t)m->leaves.cnt * QR_HASH_SZ;
  case QR_MSG_SNAPSHOT: return SNAPSHOT_FIXED_SZ + (size_t)m->snapshot.cnt * QR_HASH_SZ;
  case QR_MSG_CHUNK: return CHUNK_FIXED_SZ + m->chunk.sz;
  case QR_MSG_ADDRS: return (size_t)m->addrs.cnt * QR_MSG_ADDR_SZ;
  default: return kind_of(m->type)->max_sz; /* all others have one size */
  }
}

size_t qr_msg_sz(const qr_msg_t *m) {
  size_t sz = payload_sz(m);
  QR_ASSERT(in_bounds(kind_of(m->type), sz));
  return QR_MSG_HEAD_SZ + sz;
}

void qr_msg_encode_head(uint8_t type, uint32_t sz, uint8_t out[QR_MSG_HEAD_SZ]) {
  qr_st32(out, sz);
  out[4] = type;
}

static uint8_t *st_hash(uint8_t *p, const qr_hash_t *h) {
  memcpy(p, h->b, QR_HASH_SZ);
  return p + QR_HASH_SZ;
}

static void encode_hello(const qr_msg_hello_t *h, uint8_t *p) {
  QR_ASSERT(h->agent_sz <= QR_MSG_AGENT_MAX_SZ);
  qr_st32(p, h->version);
  qr_st64(p + 4, h->chain_id);
  st_hash(st_hash(st_hash(p + 12, &h->rules), &h->genesis), &h->tip);
  qr_st64(p + 108, h->height);
  qr_u256_to_le(&h->work, p + 116);
  qr_st16(p + 148, h->listen_port);
  qr_st64(p + 150, h->features);
  p[158] = h->agent_sz;
  memcpy(p + HELLO_FIXED_SZ, h->agent, h->agent_sz);
}

static void encode_get_model(const qr_msg_get_model_t *g, uint8_t *p) {
  QR_ASSERT(g->cnt);
  p = st_hash(st_hash(p, &g->block), &g->root);
  qr_st16(p, g->first);
  qr_st16(p + 2, g->cnt);
  p[4] = g->leaves;
}

static void encode_model(const qr_msg_model_t *m, uint8_t *p) {
  QR_ASSERT(m->idx < QR_MSG_CHUNK_MAX_CNT);
  p = st_hash(p, &m->root);
  qr_st16(p, m->idx);
  memcpy(p + 2, m->chunk, m->chunk_sz);
}

static void encode_leaves(const qr_msg_leaves_t *l, uint8_t *p) {
  p = st_hash(p, &l->root);
  qr_st32(p, l->total_sz);
  memcpy(p + 4, l->leaves, l->cnt * sizeof *l->leaves);
}

static void encode_get_headers(const qr_msg_get_headers_t *g, uint8_t *p) {
  QR_ASSERT(g->max_cnt && g->max_cnt <= QR_MSG_HEADERS_MAX_CNT);
  qr_st16(p, g->max_cnt);
  p[2] = (uint8_t)g->cnt;
  memcpy(p + GET_HEADERS_FIXED_SZ, g->locator, g->cnt * sizeof *g->locator);
}

static void encode_snapshot(const qr_msg_snapshot_t *m, uint8_t *p) {
  p = st_hash(p, &m->root);
  qr_st64(p, m->payload_sz);
  qr_st32(p + 8, m->first);
  memcpy(p + 12, m->leaves, (size_t)m->cnt * QR_HASH_SZ);
}

static uint8_t *encode_place(const qr_hash_t *root, uint32_t idx, uint32_t offset, uint8_t *p) {
  p = st_hash(p, root);
  qr_st32(p, idx);
  qr_st32(p + 4, offset);
  return p + 8;
}

void qr_msg_addr_put(const qr_msg_addr_t *a, uint8_t *out) {
  memcpy(out, a->ip, sizeof a->ip);
  qr_st16(out + 16, a->port);
  qr_st16(out + 18, a->age_min);
  memcpy(out + 20, a->pk.b, sizeof a->pk.b);
}

size_t qr_msg_encode(const qr_msg_t *m, uint8_t *out) {
  size_t sz = qr_msg_sz(m);
  qr_msg_encode_head(m->type, (uint32_t)(sz - QR_MSG_HEAD_SZ), out);
  uint8_t *p = out + QR_MSG_HEAD_SZ;
  switch (m->type) {
  case QR_MSG_HELLO: encode_hello(&m->hello, p); break;
  case QR_MSG_PING:
  case QR_MSG_PONG: qr_st64(p, m->ping.nonce); break;
  case QR_MSG_FEE_MIN: qr_st64(p, m->fee_min.fee); break;
  case QR_MSG_ANNOUNCE:
    p = st_hash(p, &m->announce.hash);
    qr_st64(p, m->announce.height);
    qr_u256_to_le(&m->announce.work, p + 8);
    break;
  case QR_MSG_GET_BLOCK:
  case QR_MSG_GET_COMPACT: st_hash(p, &m->get_block.hash); break;
  case QR_MSG_BLOCK: memcpy(p, m->block.block, m->block.sz); break;
  case QR_MSG_GET_MODEL: encode_get_model(&m->get_model, p); break;
  case QR_MSG_MODEL: encode_model(&m->model, p); break;
  case QR_MSG_GET_HEADERS: encode_get_headers(&m->get_headers, p); break;
  case QR_MSG_HEADERS:
    if (m->headers.cnt) memcpy(p, m->headers.headers, m->headers.cnt * (size_t)QR_HEADER_SZ);
    break;
  case QR_MSG_TX: memcpy(p, m->tx.tx, QR_TX_SZ); break;
  case QR_MSG_NOT_FOUND:
    p[0] = m->not_found.kind;
    st_hash(p + 1, &m->not_found.hash);
    break;
  case QR_MSG_LEAVES: encode_leaves(&m->leaves, p); break;
  case QR_MSG_TX_IDS:
  case QR_MSG_GET_TXS: memcpy(p, m->tx_ids.ids, 8 * (size_t)m->tx_ids.cnt); break;
  case QR_MSG_OFFER: memcpy(p, m->offer.header, QR_HEADER_SZ); break;
  case QR_MSG_GET_SNAPSHOT:
    qr_st32(st_hash(p, &m->get_snapshot.seal), m->get_snapshot.first);
    break;
  case QR_MSG_SNAPSHOT: encode_snapshot(&m->snapshot, p); break;
  case QR_MSG_GET_CHUNK:
    encode_place(&m->get_chunk.root, m->get_chunk.idx, m->get_chunk.offset, p);
    break;
  case QR_MSG_CHUNK:
    memcpy(encode_place(&m->chunk.root, m->chunk.idx, m->chunk.offset, p), m->chunk.bytes,
           m->chunk.sz);
    break;
  case QR_MSG_COMPACT: memcpy(p, m->compact.bytes, m->compact.sz); break;
  case QR_MSG_GET_BLOCK_TXS:
    memcpy(st_hash(p, &m->get_block_txs.block), m->get_block_txs.at,
           2 * (size_t)m->get_block_txs.cnt);
    break;
  case QR_MSG_BLOCK_TXS:
    memcpy(st_hash(p, &m->block_txs.block), m->block_txs.txs, (size_t)m->block_txs.cnt * QR_TX_SZ);
    break;
  case QR_MSG_ADDRS: memcpy(p, m->addrs.addrs, m->addrs.cnt * QR_MSG_ADDR_SZ); break;
  default: break;
  }
  return sz;
}
