/* Transactions: canonical fixed encodings. Version 1 knows the transfer. Pure. */
#ifndef QR_WIRE_TX_H
#define QR_WIRE_TX_H

#include "base/types.h"
#include "base/verdict.h"

enum qr_tx_kind { QR_TX_TRANSFER = 1 };

#define QR_TX_SZ 153u       /* kind 1 | from 32 | to 32 | amount 8 | fee 8 | seq 8 | signature 64 */
#define QR_TX_SIGNED_SZ 89u /* everything before the signature */

typedef struct {
  uint8_t kind; /* enum qr_tx_kind */
  qr_pubkey_t from, to;
  uint64_t amount; /* in the smallest unit */
  uint64_t fee;
  uint64_t seq; /* must equal the sender's next sequence number */
  qr_sig_t sig; /* by from, over H("quarry.tx" | u64 chain_id | first QR_TX_SIGNED_SZ bytes) */
} qr_tx_t;

void qr_tx_encode(const qr_tx_t *tx, uint8_t out[QR_TX_SZ]);
/* OK or TX_SYNTAX (unknown kind). */
enum qr_verdict qr_tx_decode(const uint8_t in[QR_TX_SZ], qr_tx_t *tx) QR_WARN_UNUSED;
qr_hash_t qr_tx_hash(const qr_tx_t *tx);                         /* H("quarry.txid" | all bytes) */
qr_hash_t qr_tx_sign_hash(const qr_tx_t *tx, uint64_t chain_id); /* what is signed */
/* Merkle root (crypto/hash.h) over cnt encodings with one transaction per chunk. */
qr_hash_t qr_tx_root(const uint8_t *encoded, uint32_t cnt);

#endif
