#include "chain/body.h"

#include "base/assert.h"

enum qr_verdict qr_body_check(const qr_chain_cfg_t *cfg, const qr_header_t *h, const qr_body_t *b) {
  QR_ASSERT(h->task < cfg->p.task_cnt);
  if (b->step_cnt != cfg->p.step_cnt || b->action_cnt != cfg->p.segment_rows)
    return QR_VERDICT_SIZE;
  qr_hash_t root = qr_body_tx_root(b);
  if (!qr_hash_eq(&root, &h->tx_root)) return QR_VERDICT_TX_ROOT;
  root = qr_body_trace_root(b);
  if (!qr_hash_eq(&root, &h->trace_root)) return QR_VERDICT_TRACE_ROOT;
  if (!qr_hash_eq(&b->trace[b->step_cnt - 1], &h->trace_last)) return QR_VERDICT_TRACE_ROOT;
  root = qr_body_actions_root(b);
  if (!qr_hash_eq(&root, &h->actions_root)) return QR_VERDICT_ACTIONS_ROOT;
  uint32_t action_cnt = cfg->nets[h->task].spec.action_cnt;
  for (uint32_t i = 0; i < b->action_cnt; i++) {
    if (b->actions[i] >= action_cnt) return QR_VERDICT_ACTIONS;
  }
  return QR_VERDICT_OK;
}
