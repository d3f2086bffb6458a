#include "wire/header.h"

#include "base/assert.h"
#include "crypto/hash.h"

static uint8_t *put(uint8_t *at, const void *p, size_t sz) {
  memcpy(at, p, sz);
  return at + sz;
}

static uint8_t *put32(uint8_t *at, uint32_t v) {
  qr_st32(at, v);
  return at + 4;
}

static uint8_t *put64(uint8_t *at, uint64_t v) {
  qr_st64(at, v);
  return at + 8;
}

static void encode_prefix(const qr_header_t *h, uint8_t out[QR_PREFIX_SZ]) {
  uint8_t *at = put32(out, h->version);
  at = put64(at, h->chain_id);
  at = put(at, h->rules.b, QR_HASH_SZ);
  at = put64(at, h->height);
  at = put(at, h->parent.b, QR_HASH_SZ);
  at = put64(at, h->time_ms);
  at = put32(at, h->target);
  at = put32(at, h->task);
  at = put(at, h->miner.b, QR_PUBKEY_SZ);
  at = put(at, h->model_in.b, QR_HASH_SZ);
  at = put(at, h->tx_root.b, QR_HASH_SZ);
  at = put(at, h->state_root.b, QR_HASH_SZ);
  at = put64(at, h->nonce);
  QR_ASSERT(at == out + QR_PREFIX_SZ);
}

void qr_header_encode(const qr_header_t *h, uint8_t out[QR_HEADER_SZ]) {
  encode_prefix(h, out);
  uint8_t *at = out + QR_PREFIX_SZ;
  at = put(at, h->model_out.b, QR_HASH_SZ);
  at = put(at, h->trace_last.b, QR_HASH_SZ);
  at = put(at, h->trace_root.b, QR_HASH_SZ);
  at = put(at, h->actions_root.b, QR_HASH_SZ);
  at = put32(at, h->reward);
  at = put(at, h->env_root.b, QR_HASH_SZ);
  at = put(at, h->replay_root.b, QR_HASH_SZ);
  QR_ASSERT(at == out + QR_HEADER_SZ);
}

static const uint8_t *get(const uint8_t *at, void *p, size_t sz) {
  memcpy(p, at, sz);
  return at + sz;
}

static const uint8_t *get32(const uint8_t *at, uint32_t *v) {
  *v = qr_ld32(at);
  return at + 4;
}

static const uint8_t *get64(const uint8_t *at, uint64_t *v) {
  *v = qr_ld64(at);
  return at + 8;
}

void qr_header_decode(const uint8_t in[QR_HEADER_SZ], qr_header_t *h) {
  memset(h, 0, sizeof *h); /* padding too, so that headers may be compared as bytes */
  const uint8_t *at = get32(in, &h->version);
  at = get64(at, &h->chain_id);
  at = get(at, h->rules.b, QR_HASH_SZ);
  at = get64(at, &h->height);
  at = get(at, h->parent.b, QR_HASH_SZ);
  at = get64(at, &h->time_ms);
  at = get32(at, &h->target);
  at = get32(at, &h->task);
  at = get(at, h->miner.b, QR_PUBKEY_SZ);
  at = get(at, h->model_in.b, QR_HASH_SZ);
  at = get(at, h->tx_root.b, QR_HASH_SZ);
  at = get(at, h->state_root.b, QR_HASH_SZ);
  at = get64(at, &h->nonce);
  at = get(at, h->model_out.b, QR_HASH_SZ);
  at = get(at, h->trace_last.b, QR_HASH_SZ);
  at = get(at, h->trace_root.b, QR_HASH_SZ);
  at = get(at, h->actions_root.b, QR_HASH_SZ);
  at = get32(at, &h->reward);
  at = get(at, h->env_root.b, QR_HASH_SZ);
  at = get(at, h->replay_root.b, QR_HASH_SZ);
  QR_ASSERT(at == in + QR_HEADER_SZ);
}

qr_hash_t qr_header_hash(const qr_header_t *h) {
  uint8_t bytes[QR_HEADER_SZ];
  qr_header_encode(h, bytes);
  return qr_hash("quarry.block", bytes, sizeof bytes);
}

qr_hash_t qr_header_sigma(const qr_header_t *h) {
  uint8_t bytes[QR_PREFIX_SZ];
  encode_prefix(h, bytes);
  return qr_hash("quarry.attempt", bytes, sizeof bytes);
}

static qr_hash_t hash3(const char *domain, const qr_hash_t *a, const qr_hash_t *b,
                       const qr_hash_t *c) {
  qr_hasher_t h;
  qr_hash_t out;
  qr_hash_init(&h, domain);
  qr_hash_add(&h, a->b, QR_HASH_SZ);
  qr_hash_add(&h, b->b, QR_HASH_SZ);
  qr_hash_add(&h, c->b, QR_HASH_SZ);
  qr_hash_end(&h, &out);
  return out;
}

qr_hash_t qr_header_ticket(const qr_hash_t *sigma, const qr_hash_t *model_out,
                           const qr_hash_t *trace_last) {
  return hash3("quarry.ticket", sigma, model_out, trace_last);
}

qr_hash_t qr_header_rho(const qr_hash_t *sigma, const qr_hash_t *model_out,
                        const qr_hash_t *trace_last) {
  return hash3("quarry.act", sigma, model_out, trace_last);
}
