/* The block body and its canonical encoding: u32 tx_cnt | tx_cnt * QR_TX_SZ | u16 step_cnt |
   step_cnt * 32 (c_0..c_(K-1)) | u32 action_cnt | action_cnt bytes. A block is header | body.
   Decoding borrows: pointers lead into the input. Pure. */
#ifndef QR_WIRE_BLOCK_H
#define QR_WIRE_BLOCK_H

#include "wire/header.h"
#include "wire/tx.h"

#define QR_BLOCK_TX_MAX_CNT 1024u
#define QR_BLOCK_STEP_MAX_CNT 64u
#define QR_BLOCK_ACTION_MAX_CNT 16384u
#define QR_BODY_MAX_SZ                                                                             \
  (10u + QR_BLOCK_TX_MAX_CNT * QR_TX_SZ + QR_BLOCK_STEP_MAX_CNT * QR_HASH_SZ +                     \
   QR_BLOCK_ACTION_MAX_CNT)
#define QR_BLOCK_MAX_SZ (QR_HEADER_SZ + QR_BODY_MAX_SZ)

typedef struct {
  uint32_t tx_cnt;
  const uint8_t *txs; /* tx_cnt * QR_TX_SZ bytes, borrowed */
  uint16_t step_cnt;
  const qr_hash_t *trace; /* step_cnt digests, borrowed */
  uint32_t action_cnt;
  const uint8_t *actions; /* action_cnt bytes, borrowed */
} qr_body_t;

size_t qr_body_sz(const qr_body_t *b);
/* Writes qr_body_sz bytes. */
void qr_body_encode(const qr_body_t *b, uint8_t *out);
/* OK, SIZE (counts beyond the limits above) or SYNTAX (truncated or trailing bytes). */
enum qr_verdict qr_body_decode(const uint8_t *in, size_t sz, qr_body_t *b) QR_WARN_UNUSED;

/* What a header says of its body: H("quarry.trace" | hashes of the steps), H("quarry.actions" |
   actions), qr_tx_root. */
qr_hash_t qr_body_trace_root(const qr_body_t *b);
qr_hash_t qr_body_actions_root(const qr_body_t *b);
qr_hash_t qr_body_tx_root(const qr_body_t *b);

#endif
