/* How much of the past a node needs. Pure. */
#ifndef QR_CHAIN_PRUNE_H
#define QR_CHAIN_PRUNE_H

#include "chain/params.h"

/* Newest blocks that every node must hold: the tip may go back by reorg_limit, and a block there is
   executed with the replay and the target window of its task before it. */
uint64_t qr_prune_depth_min(const qr_params_t *p);

/* Blocks of a chain that lie behind a task's newest one in its replay or target window, all tasks
   taken together. */
uint64_t qr_prune_window(const qr_params_t *p);

/* Lowest height that is still needed when the tip is at height and depth newest blocks are kept; 1
   if all are. */
static inline uint64_t qr_prune_from(uint64_t height, uint64_t depth) {
  return depth && height > depth ? height - depth + 1 : 1;
}

#endif
