/* The ledger: accounts by public key. One mutable copy stands at the tip; blocks are connected and
   disconnected with undo records. The root is a Merkle tree over QR_LEDGER_BUCKET_CNT buckets of
   accounts, so a block rehashes only what it touched. */
#ifndef QR_CHAIN_LEDGER_H
#define QR_CHAIN_LEDGER_H

#include "base/verdict.h"
#include "chain/params.h"
#include "wire/block.h"

#define QR_LEDGER_BUCKET_CNT 4096u

typedef struct {
  qr_pubkey_t pk;
  uint64_t balance, seq;
} qr_account_t;

#define QR_ACCOUNT_SZ 48u
/* Public key | u64 balance | u64 sequence, little-endian; any bytes decode. */
void qr_account_encode(const qr_account_t *a, uint8_t out[QR_ACCOUNT_SZ]);
void qr_account_decode(const uint8_t in[QR_ACCOUNT_SZ], qr_account_t *a);

typedef struct qr_ledger qr_ledger_t;

/* Grows on demand; QR_ERR_NOMEM is fatal to the node. Free with qr_ledger_fini. */
qr_ledger_t *qr_ledger_init(void);
void qr_ledger_fini(qr_ledger_t *l);

/* Account of pk; zeroes with found = false if there is none. */
bool qr_ledger_get(const qr_ledger_t *l, const qr_pubkey_t *pk, qr_account_t *out);
/* Sets (or, with balance and seq zero, removes) an account: for genesis and loading. */
void qr_ledger_set(qr_ledger_t *l, const qr_account_t *a);

/* Calls fn for every account, in no order that means anything; false ends it. */
void qr_ledger_visit(const qr_ledger_t *l, bool (*fn)(void *ctx, const qr_account_t *a), void *ctx);

/* One account before and after a block, in order of first touch. */
typedef struct {
  qr_account_t before;
  qr_account_t after;
} qr_ledger_change_t;
#define QR_LEDGER_CHANGE_MAX_CNT (2u * QR_BLOCK_TX_MAX_CNT + 1u)
typedef struct {
  uint32_t cnt;
  qr_ledger_change_t changes[QR_LEDGER_CHANGE_MAX_CNT];
} qr_ledger_undo_t;

/* Coins that can ever exist. A subsidy that would pass it is cut, so sums of balances cannot
 * overflow. */
#define QR_LEDGER_SUPPLY_MAX UINT64_C(0x7fffffffffffffff)

/* Subsidy of a block with reward R: s0/2 + s0*R/131072, integer; R above 65536 counts as 65536. */
uint64_t qr_ledger_subsidy(uint64_t s0, uint32_t reward);

/* Applies a block: every transfer in order (signature, sequence, balance of amount + fee without
   overflow), then subsidy and fees to the miner. All or nothing: on a verdict other than OK the
   ledger is as before. undo is filled on OK. */
enum qr_verdict qr_ledger_connect(qr_ledger_t *l, const qr_params_t *p, const qr_header_t *h,
                                  const qr_body_t *b, qr_ledger_undo_t *undo) QR_WARN_UNUSED;
/* Restores what undo recorded; must be the last connected block's. */
void qr_ledger_disconnect(qr_ledger_t *l, const qr_ledger_undo_t *undo);

/* Checks one transaction without applying it, as if it came first after the present ledger:
   TX_SYNTAX, TX_SIGNATURE, TX_SEQUENCE, TX_BALANCE in this order. The second form takes the
   sender's account as it would stand by then, for callers that queue several transactions of one
   sender (sequence plus their number, balance less what they spend). */
enum qr_verdict qr_ledger_check_tx(const qr_ledger_t *l, uint64_t chain_id,
                                   const qr_tx_t *tx) QR_WARN_UNUSED;
enum qr_verdict qr_ledger_check_tx_from(const qr_account_t *from, uint64_t chain_id,
                                        const qr_tx_t *tx) QR_WARN_UNUSED;

/* H("quarry.state" | accounts root). Cost: rehash of the buckets touched since the last call and
 * their paths. */
qr_hash_t qr_ledger_root(qr_ledger_t *l);
uint64_t qr_ledger_supply(const qr_ledger_t *l); /* sum of balances */
uint32_t qr_ledger_account_cnt(const qr_ledger_t *l);

#endif
