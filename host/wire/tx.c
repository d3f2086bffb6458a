#include "wire/tx.h"

#include "crypto/hash.h"

/* Offsets of the encoding. */
enum { KIND = 0, FROM = 1, TO = 33, AMOUNT = 65, FEE = 73, SEQ = 81, SIG = QR_TX_SIGNED_SZ };
_Static_assert(SEQ + 8 == SIG && SIG + QR_SIG_SZ == QR_TX_SZ, "transaction layout");

void qr_tx_encode(const qr_tx_t *tx, uint8_t out[QR_TX_SZ]) {
  out[KIND] = tx->kind;
  memcpy(out + FROM, tx->from.b, QR_PUBKEY_SZ);
  memcpy(out + TO, tx->to.b, QR_PUBKEY_SZ);
  qr_st64(out + AMOUNT, tx->amount);
  qr_st64(out + FEE, tx->fee);
  qr_st64(out + SEQ, tx->seq);
  memcpy(out + SIG, tx->sig.b, QR_SIG_SZ);
}

enum qr_verdict qr_tx_decode(const uint8_t in[QR_TX_SZ], qr_tx_t *tx) {
  memset(tx, 0, sizeof *tx);
  tx->kind = in[KIND];
  memcpy(tx->from.b, in + FROM, QR_PUBKEY_SZ);
  memcpy(tx->to.b, in + TO, QR_PUBKEY_SZ);
  tx->amount = qr_ld64(in + AMOUNT);
  tx->fee = qr_ld64(in + FEE);
  tx->seq = qr_ld64(in + SEQ);
  memcpy(tx->sig.b, in + SIG, QR_SIG_SZ);
  return tx->kind == QR_TX_TRANSFER ? QR_VERDICT_OK : QR_VERDICT_TX_SYNTAX;
}

qr_hash_t qr_tx_hash(const qr_tx_t *tx) {
  uint8_t bytes[QR_TX_SZ];
  qr_tx_encode(tx, bytes);
  return qr_hash("quarry.txid", bytes, sizeof bytes);
}

qr_hash_t qr_tx_sign_hash(const qr_tx_t *tx, uint64_t chain_id) {
  uint8_t bytes[QR_TX_SZ];
  qr_hasher_t h;
  qr_hash_t out;
  qr_tx_encode(tx, bytes);
  qr_hash_init(&h, "quarry.tx");
  qr_hash_add_u64(&h, chain_id);
  qr_hash_add(&h, bytes, QR_TX_SIGNED_SZ);
  qr_hash_end(&h, &out);
  return out;
}

qr_hash_t qr_tx_root(const uint8_t *encoded, uint32_t cnt) {
  return qr_merkle_root(cnt ? (const void *)encoded : "", (size_t)cnt * QR_TX_SZ, QR_TX_SZ);
}
