/* A transaction that decodes encodes back to the same bytes, and a ledger that meets it neither
   breaks nor changes unless it is right. */
#include "base/assert.h"
#include "chain/ledger.h"
#include "crypto/sign.h"

#define CHAIN_ID 7u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t sz);

/* The first byte's bits say what to repair, so that the fuzzer gets beyond the signature. */
enum { SIGN = 1, FUND = 2, MEET_SEQ = 4 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t sz) {
  static qr_ledger_t *l;
  static qr_ledger_undo_t undo;
  if (!l) l = qr_ledger_init();
  QR_ASSERT(l);
  if (sz < 1 + QR_TX_SZ) return 0;
  qr_tx_t tx;
  uint8_t out[QR_TX_SZ];
  if (qr_tx_decode(data + 1, &tx)) return 0;
  qr_tx_encode(&tx, out);
  QR_ASSERT(!memcmp(out, data + 1, sizeof out));

  uint8_t seed[32] = {1};
  qr_key_t key;
  qr_key_from_seed(seed, &key);
  qr_account_t from = {.balance = data[0] & FUND ? UINT64_C(1) << 62 : 1000,
                       .seq = data[0] & MEET_SEQ ? tx.seq : 1};
  if (data[0] & SIGN) {
    tx.from = key.pk;
    qr_hash_t msg = qr_tx_sign_hash(&tx, CHAIN_ID);
    qr_sign(&key, msg.b, QR_HASH_SZ, &tx.sig);
  }
  from.pk = tx.from;
  qr_ledger_set(l, &from);
  qr_tx_encode(&tx, out);

  qr_params_t p = {.chain_id = CHAIN_ID, .subsidy = 1000};
  qr_header_t h = {.miner = tx.to, .reward = 1};
  qr_body_t b = {.tx_cnt = 1, .txs = out};
  qr_hash_t before = qr_ledger_root(l);
  uint64_t supply = qr_ledger_supply(l);
  enum qr_verdict alone = qr_ledger_check_tx(l, CHAIN_ID, &tx);
  enum qr_verdict v = qr_ledger_connect(l, &p, &h, &b, &undo);
  QR_ASSERT(v == alone);
  if (!v) {
    QR_ASSERT(qr_ledger_supply(l) == supply + qr_ledger_subsidy(1000, 1));
    qr_ledger_disconnect(l, &undo);
  }
  qr_hash_t after = qr_ledger_root(l);
  QR_ASSERT(qr_hash_eq(&before, &after));
  from.balance = from.seq = 0;
  qr_ledger_set(l, &from);
  QR_ASSERT(!qr_ledger_account_cnt(l) && !qr_ledger_supply(l));
  return 0;
}
