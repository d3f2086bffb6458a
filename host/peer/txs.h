/* Transactions that were relayed lately, by hash: the newest QR_TXS_CNT, so that a compact block
   can be made whole and a peer that asks for one can be given it. They went through the
   application's pool; what has left that pool since may still lie here, which is as it should be,
   for a block that is on its way holds just those. */
#ifndef QR_PEER_TXS_H
#define QR_PEER_TXS_H

#include "base/types.h"
#include "wire/tx.h"

#define QR_TXS_CNT 8192u /* twice what the application's pool holds; a power of two */

typedef struct {
  qr_hash_t id;
  uint64_t at_ns;
  uint16_t next; /* of the chain; place + 1, 0: none */
  uint8_t tx[QR_TX_SZ];
} qr_txs_entry_t;

typedef struct {
  qr_txs_entry_t *entries; /* borrowed; entry number i since boot lies at i % QR_TXS_CNT */
  uint16_t *heads;         /* QR_TXS_CNT chains */
  uint64_t cnt;            /* added since boot */
  uint64_t salt;
} qr_txs_t;

static inline size_t qr_txs_footprint(void) {
  return QR_TXS_CNT * (sizeof(qr_txs_entry_t) + sizeof(uint16_t));
}

void qr_txs_init(qr_txs_t *t, void *mem, uint64_t salt);
/* By the first eight bytes of its hash, newest first; NULL if it is not here. Borrowed until the
   next add. */
const qr_txs_entry_t *qr_txs_find(const qr_txs_t *t, uint64_t prefix);
const qr_txs_entry_t *qr_txs_get(const qr_txs_t *t, const qr_hash_t *id);
void qr_txs_add(qr_txs_t *t, const qr_hash_t *id, const uint8_t *tx, uint64_t now_ns);

static inline uint32_t qr_txs_held(const qr_txs_t *t) {
  return t->cnt < QR_TXS_CNT ? (uint32_t)t->cnt : QR_TXS_CNT;
}

#endif
