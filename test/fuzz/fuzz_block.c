/* A body that decodes encodes back to the same bytes; its parts lie inside the input, and its roots
   and transactions can be taken from it whatever it holds. */
#include <stdlib.h>

#include "base/assert.h"
#include "chain/body.h"
#include "chain/ledger.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t sz);

static void check_inside(const void *p, size_t part_sz, const uint8_t *data, size_t sz) {
  const uint8_t *at = p;
  QR_ASSERT(at >= data && part_sz <= sz && at <= data + (sz - part_sz));
}

static void check_chain(const qr_body_t *b) {
  static qr_chain_cfg_t cfg;
  static qr_ledger_t *l;
  static qr_ledger_undo_t undo;
  if (!l) {
    qr_params_t p;
    char why[160];
    l = qr_ledger_init();
    QR_ASSERT(l && qr_params_profile("regtest-catch", &p));
    QR_ASSERT(!qr_params_init(&p, &cfg, why, sizeof why));
  }
  qr_header_t h = {.tx_root = qr_body_tx_root(b),
                   .trace_root = qr_body_trace_root(b),
                   .actions_root = qr_body_actions_root(b)};
  if (b->step_cnt) h.trace_last = b->trace[b->step_cnt - 1];
  enum qr_verdict v = qr_body_check(&cfg, &h, b);
  QR_ASSERT(v == QR_VERDICT_OK || v == QR_VERDICT_SIZE || v == QR_VERDICT_ACTIONS);
  if (!qr_ledger_connect(l, &cfg.p, &h, b, &undo)) qr_ledger_disconnect(l, &undo);
  QR_ASSERT(!qr_ledger_account_cnt(l) && !qr_ledger_supply(l));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t sz) {
  qr_body_t b;
  if (qr_body_decode(data, sz, &b)) return 0;
  QR_ASSERT(qr_body_sz(&b) == sz && sz <= QR_BODY_MAX_SZ);
  check_inside(b.txs, (size_t)b.tx_cnt * QR_TX_SZ, data, sz);
  check_inside(b.trace, (size_t)b.step_cnt * QR_HASH_SZ, data, sz);
  check_inside(b.actions, b.action_cnt, data, sz);
  uint8_t *out = malloc(sz);
  QR_ASSERT(out);
  qr_body_encode(&b, out);
  QR_ASSERT(!memcmp(out, data, sz));
  free(out);
  check_chain(&b);
  return 0;
}
