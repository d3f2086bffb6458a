#include "wire/block.h"

#include "crypto/hash.h"

#define FIXED_SZ 10u /* the three counts */

size_t qr_body_sz(const qr_body_t *b) {
  return FIXED_SZ + (size_t)b->tx_cnt * QR_TX_SZ + (size_t)b->step_cnt * QR_HASH_SZ + b->action_cnt;
}

static uint8_t *put(uint8_t *at, const void *p, size_t sz) {
  if (sz) memcpy(at, p, sz); /* an empty part may have no address */
  return at + sz;
}

void qr_body_encode(const qr_body_t *b, uint8_t *out) {
  qr_st32(out, b->tx_cnt);
  uint8_t *at = put(out + 4, b->txs, (size_t)b->tx_cnt * QR_TX_SZ);
  qr_st16(at, b->step_cnt);
  at = put(at + 2, b->trace, (size_t)b->step_cnt * QR_HASH_SZ);
  qr_st32(at, b->action_cnt);
  put(at + 4, b->actions, b->action_cnt);
}

/* The next sz bytes of *in, which shrinks by them; NULL if there are fewer. */
static const uint8_t *take(const uint8_t **in, size_t *left, size_t sz) {
  if (*left < sz) return NULL;
  const uint8_t *p = *in;
  *in += sz;
  *left -= sz;
  return p;
}

enum qr_verdict qr_body_decode(const uint8_t *in, size_t sz, qr_body_t *b) {
  const uint8_t *p;
  memset(b, 0, sizeof *b);

  if (!(p = take(&in, &sz, 4))) return QR_VERDICT_SYNTAX;
  b->tx_cnt = qr_ld32(p);
  if (b->tx_cnt > QR_BLOCK_TX_MAX_CNT) return QR_VERDICT_SIZE;
  if (!(b->txs = take(&in, &sz, (size_t)b->tx_cnt * QR_TX_SZ))) return QR_VERDICT_SYNTAX;

  if (!(p = take(&in, &sz, 2))) return QR_VERDICT_SYNTAX;
  b->step_cnt = qr_ld16(p);
  if (b->step_cnt > QR_BLOCK_STEP_MAX_CNT) return QR_VERDICT_SIZE;
  if (!(p = take(&in, &sz, (size_t)b->step_cnt * QR_HASH_SZ))) return QR_VERDICT_SYNTAX;
  b->trace = (const qr_hash_t *)p; /* bytes only: any address is aligned */

  if (!(p = take(&in, &sz, 4))) return QR_VERDICT_SYNTAX;
  b->action_cnt = qr_ld32(p);
  if (b->action_cnt > QR_BLOCK_ACTION_MAX_CNT) return QR_VERDICT_SIZE;
  if (!(b->actions = take(&in, &sz, b->action_cnt))) return QR_VERDICT_SYNTAX;
  return sz ? QR_VERDICT_SYNTAX : QR_VERDICT_OK;
}

qr_hash_t qr_body_trace_root(const qr_body_t *b) {
  return qr_hash("quarry.trace", b->trace, (size_t)b->step_cnt * QR_HASH_SZ);
}

qr_hash_t qr_body_actions_root(const qr_body_t *b) {
  return qr_hash("quarry.actions", b->actions, b->action_cnt);
}

qr_hash_t qr_body_tx_root(const qr_body_t *b) { return qr_tx_root(b->txs, b->tx_cnt); }
