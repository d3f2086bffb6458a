/* Transactions that wait for a block. Bounded; every sender's follow each other without a gap from
   its account's sequence, and its balance pays for all of them. All are equally large, so that the
   fee alone decides: a transaction is worth the least fee of it and of those of its sender before
   it, for it cannot come before them. Pure: no clock, no I/O; memory is taken at init. */
#ifndef QR_CHAIN_MEMPOOL_H
#define QR_CHAIN_MEMPOOL_H

#include "chain/ledger.h"

#define QR_MEMPOOL_MAX_CNT 4096u
#define QR_MEMPOOL_SENDER_MAX_CNT 64u /* of one sender */

typedef struct {
  uint32_t max_cnt; /* 1 .. QR_MEMPOOL_MAX_CNT */
  uint64_t fee_min; /* never less than this */
  uint64_t keep_ns; /* one that waited so long goes; 0: never */
  uint64_t chain_id;
} qr_mempool_cfg_t;

typedef struct {
  qr_tx_t tx;
  qr_hash_t id;
  uint64_t at_ns, seq; /* seq: of arrival */
} qr_mempool_entry_t;

typedef struct {
  uint64_t taken, replaced, evicted, expired, refused;
} qr_mempool_stats_t;

typedef struct qr_mempool qr_mempool_t;

qr_mempool_t *qr_mempool_init(const qr_mempool_cfg_t *cfg); /* NULL: no memory, or cfg is wrong */
void qr_mempool_fini(qr_mempool_t *p);

/* Offers a transaction of QR_TX_SZ bytes; ledger stands at the tip. Cheap questions come first, the
   signature last. txid is set unless TX_SYNTAX. Returns OK; DUPLICATE (it is here); TX_FEE (below
   the floor, not worth more than the cheapest of a full pool, or not an eighth and one more than
   that with the same sequence, which it would replace); TX_LIMIT (QR_MEMPOOL_SENDER_MAX_CNT); or
   what qr_ledger_check_tx says. A full pool drops its cheapest for it, and the floor rises above
   that. */
enum qr_verdict qr_mempool_add(qr_mempool_t *p, const qr_ledger_t *ledger, const uint8_t *encoded,
                               uint64_t now_ns, qr_hash_t *txid) QR_WARN_UNUSED;
/* After the ledger changed: drops what is on the chain, what has a gap before it, what the balance
   no longer pays for, and what has waited too long. The second and third may be right again once
   the ledger changes: lost, if not NULL, is called with each, a sender's in order. */
typedef void qr_mempool_lost_fn(void *ctx, const qr_tx_t *tx);
void qr_mempool_prune(qr_mempool_t *p, const qr_ledger_t *ledger, uint64_t now_ns,
                      qr_mempool_lost_fn *lost, void *ctx);

uint32_t qr_mempool_cnt(const qr_mempool_t *p);
/* In no order; i below the count. Borrowed until the next change. */
const qr_mempool_entry_t *qr_mempool_at(const qr_mempool_t *p, uint32_t i);
/* Least fee that is taken now: fee_min, and what a full pool added to it, which halves every ten
 * minutes. */
uint64_t qr_mempool_floor(const qr_mempool_t *p, uint64_t now_ns);
/* The same, and more than the cheapest is worth if the pool is full: what pays less is refused. */
uint64_t qr_mempool_fee_min(const qr_mempool_t *p, uint64_t now_ns);
void qr_mempool_stats(const qr_mempool_t *p, qr_mempool_stats_t *out);

#endif
