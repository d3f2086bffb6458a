#include "crypto/hash.h"

#include "base/assert.h"
#include "base/err.h"

/* Enough for a 64 MiB object in 16 KiB chunks. */
#define LEAF_MAX_CNT 4096u

int qr_crypto_init(void) { return sodium_init() < 0 ? QR_ERR_IO : QR_OK; }

void qr_hash_init(qr_hasher_t *h, const char *domain) {
  size_t n = strlen(domain);
  QR_ASSERT(n < 256);
  uint8_t len = (uint8_t)n;
  crypto_generichash_init(&h->st, NULL, 0, QR_HASH_SZ);
  qr_hash_add(h, &len, 1);
  qr_hash_add(h, domain, n);
}

void qr_hash_add(qr_hasher_t *h, const void *p, size_t sz) {
  crypto_generichash_update(&h->st, p, sz);
}

void qr_hash_add_u32(qr_hasher_t *h, uint32_t v) {
  uint8_t b[4];
  qr_st32(b, v);
  qr_hash_add(h, b, sizeof b);
}

void qr_hash_add_u64(qr_hasher_t *h, uint64_t v) {
  uint8_t b[8];
  qr_st64(b, v);
  qr_hash_add(h, b, sizeof b);
}

void qr_hash_end(qr_hasher_t *h, qr_hash_t *out) {
  crypto_generichash_final(&h->st, out->b, QR_HASH_SZ);
}

qr_hash_t qr_hash(const char *domain, const void *p, size_t sz) {
  qr_hasher_t h;
  qr_hash_t out;
  qr_hash_init(&h, domain);
  qr_hash_add(&h, p, sz);
  qr_hash_end(&h, &out);
  return out;
}

qr_hash_t qr_merkle_leaf(uint32_t idx, const void *chunk, size_t sz) {
  qr_hasher_t h;
  qr_hash_t out;
  qr_hash_init(&h, "quarry.leaf");
  qr_hash_add_u32(&h, idx);
  qr_hash_add(&h, chunk, sz);
  qr_hash_end(&h, &out);
  return out;
}

qr_hash_t qr_merkle_root_of_leaves(const qr_hash_t *leaves, uint32_t cnt, uint64_t sz,
                                   uint32_t chunk_sz, qr_hash_t *scratch) {
  QR_ASSERT(cnt);
  qr_hasher_t h;
  qr_hash_t out;
  if (scratch != leaves) memcpy(scratch, leaves, cnt * sizeof *leaves);
  while (cnt > 1) {
    uint32_t half = cnt / 2;
    for (uint32_t i = 0; i < half; i++) {
      qr_hash_init(&h, "quarry.node");
      qr_hash_add(&h, &scratch[2 * i], 2 * QR_HASH_SZ);
      qr_hash_end(&h, &scratch[i]);
    }
    if (cnt & 1) scratch[half] = scratch[cnt - 1];
    cnt = half + (cnt & 1);
  }
  qr_hash_init(&h, "quarry.root");
  qr_hash_add_u64(&h, sz);
  qr_hash_add_u32(&h, chunk_sz);
  qr_hash_add(&h, &scratch[0], QR_HASH_SZ);
  qr_hash_end(&h, &out);
  return out;
}

qr_hash_t qr_merkle_root(const void *p, size_t sz, uint32_t chunk_sz) {
  qr_hash_t leaves[LEAF_MAX_CNT];
  uint32_t cnt = sz ? (uint32_t)((sz + chunk_sz - 1) / chunk_sz) : 1;
  QR_ASSERT(cnt <= LEAF_MAX_CNT);
  for (uint32_t i = 0; i < cnt; i++) {
    size_t at = (size_t)i * chunk_sz, n = sz - at < chunk_sz ? sz - at : chunk_sz;
    leaves[i] = qr_merkle_leaf(i, (const uint8_t *)p + at, n);
  }
  return qr_merkle_root_of_leaves(leaves, cnt, sz, chunk_sz, leaves);
}
