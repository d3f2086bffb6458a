#include "chain/prune.h"

uint64_t qr_prune_window(const qr_params_t *p) {
  uint64_t segments = p->replay_rows / p->segment_rows;
  uint64_t longer = segments > p->target_window ? segments : p->target_window;
  return longer * p->task_cnt; /* tasks take turns */
}

uint64_t qr_prune_depth_min(const qr_params_t *p) { return p->reorg_limit + qr_prune_window(p); }
