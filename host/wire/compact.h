/* The compact form of a block, for peers that hold most of its transactions already: header |
   u64 nonce | u32 tx_cnt | u32 full_cnt | (tx_cnt - full_cnt) short ids of 6 bytes, in the order of
   the block | full_cnt times (u16 position, transaction), positions ascending | what follows the
   transactions in the block's body, as it is there. A short id is the lower 48 bits of SipHash-2-4
   of the transaction's hash under a key that the sender's nonce makes new for every block and
   peer: who makes transactions cannot make two that collide. Pure; decoding borrows. */
#ifndef QR_WIRE_COMPACT_H
#define QR_WIRE_COMPACT_H

#include "wire/block.h"

#define QR_COMPACT_ID_SZ 6u
#define QR_COMPACT_FIXED_SZ (QR_HEADER_SZ + 16u)
#define QR_COMPACT_TAIL_MIN_SZ 6u /* two counts */
#define QR_COMPACT_TAIL_MAX_SZ (QR_BODY_MAX_SZ - 4u - QR_BLOCK_TX_MAX_CNT * QR_TX_SZ)
#define QR_COMPACT_MAX_SZ                                                                          \
  (QR_COMPACT_FIXED_SZ + QR_BLOCK_TX_MAX_CNT * (2u + QR_TX_SZ) + QR_COMPACT_TAIL_MAX_SZ)

typedef struct {
  uint8_t b[16];
} qr_compact_key_t;

typedef struct {
  const uint8_t *header; /* QR_HEADER_SZ bytes, as are all of these borrowed */
  uint64_t nonce;
  uint32_t tx_cnt, full_cnt;
  const uint8_t *ids;   /* (tx_cnt - full_cnt) * QR_COMPACT_ID_SZ */
  const uint8_t *fulls; /* full_cnt * (2 + QR_TX_SZ) */
  const uint8_t *tail;  /* of the body */
  uint32_t tail_sz;
} qr_compact_t;

/* The key of a block's short ids: of its hash and the sender's nonce. */
qr_compact_key_t qr_compact_key(const qr_hash_t *block, uint64_t nonce);
/* The short id of a transaction, below 2^48. */
uint64_t qr_compact_id(const qr_compact_key_t *key, const qr_hash_t *txid);
/* The i-th of those that stand in c, i below tx_cnt - full_cnt. */
uint64_t qr_compact_id_at(const qr_compact_t *c, uint32_t i);

/* OK, SIZE (counts beyond the limits) or SYNTAX. The tail is not looked into. */
enum qr_verdict qr_compact_decode(const uint8_t *in, size_t sz, qr_compact_t *c) QR_WARN_UNUSED;

/* Writes the compact form of a block, header | body as qr_body_decode accepts it (asserted), at
   most QR_COMPACT_MAX_SZ bytes, and returns its size. ids: the hashes of its transactions.
   known[i]: the short id of transaction i will do. */
size_t qr_compact_encode(const uint8_t *block, size_t sz, uint64_t nonce, const qr_hash_t *ids,
                         const bool *known, uint8_t *out);

#endif
