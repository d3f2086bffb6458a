#include "wire/compact.h"

#include "base/assert.h"
#include "crypto/hash.h"
#include "crypto/siphash.h"

#define ID_MASK ((UINT64_C(1) << 48) - 1)
#define FULL_SZ (2u + QR_TX_SZ)

qr_compact_key_t qr_compact_key(const qr_hash_t *block, uint64_t nonce) {
  qr_hasher_t h;
  qr_hash_t out;
  qr_compact_key_t key;
  qr_hash_init(&h, "quarry.compact");
  qr_hash_add(&h, block->b, QR_HASH_SZ);
  qr_hash_add_u64(&h, nonce);
  qr_hash_end(&h, &out);
  memcpy(key.b, out.b, sizeof key.b);
  return key;
}

uint64_t qr_compact_id(const qr_compact_key_t *key, const qr_hash_t *txid) {
  return qr_siphash(key->b, txid->b, QR_HASH_SZ) & ID_MASK;
}

uint64_t qr_compact_id_at(const qr_compact_t *c, uint32_t i) {
  uint8_t b[8] = {0};
  memcpy(b, c->ids + (size_t)i * QR_COMPACT_ID_SZ, QR_COMPACT_ID_SZ);
  return qr_ld64(b);
}

enum qr_verdict qr_compact_decode(const uint8_t *in, size_t sz, qr_compact_t *c) {
  memset(c, 0, sizeof *c);
  if (sz < QR_COMPACT_FIXED_SZ) return QR_VERDICT_SYNTAX;
  c->header = in;
  c->nonce = qr_ld64(in + QR_HEADER_SZ);
  c->tx_cnt = qr_ld32(in + QR_HEADER_SZ + 8);
  c->full_cnt = qr_ld32(in + QR_HEADER_SZ + 12);
  if (c->tx_cnt > QR_BLOCK_TX_MAX_CNT || c->full_cnt > c->tx_cnt) return QR_VERDICT_SIZE;
  size_t ids_sz = (size_t)(c->tx_cnt - c->full_cnt) * QR_COMPACT_ID_SZ;
  size_t fulls_sz = (size_t)c->full_cnt * FULL_SZ;
  size_t left = sz - QR_COMPACT_FIXED_SZ;
  if (left < ids_sz + fulls_sz + QR_COMPACT_TAIL_MIN_SZ) return QR_VERDICT_SYNTAX;
  c->ids = in + QR_COMPACT_FIXED_SZ;
  c->fulls = c->ids + ids_sz;
  c->tail = c->fulls + fulls_sz;
  c->tail_sz = (uint32_t)(left - ids_sz - fulls_sz);
  if (c->tail_sz > QR_COMPACT_TAIL_MAX_SZ) return QR_VERDICT_SIZE;
  uint32_t from = 0;
  for (uint32_t i = 0; i < c->full_cnt; i++) {
    uint32_t at = qr_ld16(c->fulls + (size_t)i * FULL_SZ);
    if (at < from || at >= c->tx_cnt) return QR_VERDICT_SYNTAX;
    from = at + 1;
  }
  return QR_VERDICT_OK;
}

size_t qr_compact_encode(const uint8_t *block, size_t sz, uint64_t nonce, const qr_hash_t *ids,
                         const bool *known, uint8_t *out) {
  qr_header_t h;
  qr_body_t b;
  QR_ASSERT(sz > QR_HEADER_SZ &&
            qr_body_decode(block + QR_HEADER_SZ, sz - QR_HEADER_SZ, &b) == QR_VERDICT_OK);
  qr_header_decode(block, &h);
  qr_hash_t hash = qr_header_hash(&h);
  qr_compact_key_t key = qr_compact_key(&hash, nonce);
  uint32_t full_cnt = 0;
  uint8_t *at = out + QR_COMPACT_FIXED_SZ;
  for (uint32_t i = 0; i < b.tx_cnt; i++) {
    if (!known[i]) {
      full_cnt++;
      continue;
    }
    uint8_t id[8];
    qr_st64(id, qr_compact_id(&key, &ids[i]));
    memcpy(at, id, QR_COMPACT_ID_SZ);
    at += QR_COMPACT_ID_SZ;
  }
  for (uint32_t i = 0; i < b.tx_cnt; i++) {
    if (known[i]) continue;
    qr_st16(at, (uint16_t)i);
    memcpy(at + 2, b.txs + (size_t)i * QR_TX_SZ, QR_TX_SZ);
    at += FULL_SZ;
  }
  memcpy(out, block, QR_HEADER_SZ);
  qr_st64(out + QR_HEADER_SZ, nonce);
  qr_st32(out + QR_HEADER_SZ + 8, b.tx_cnt);
  qr_st32(out + QR_HEADER_SZ + 12, full_cnt);
  size_t skip = QR_HEADER_SZ + 4 + (size_t)b.tx_cnt * QR_TX_SZ;
  memcpy(at, block + skip, sz - skip);
  return (size_t)(at - out) + (sz - skip);
}
