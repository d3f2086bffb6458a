/* A view: everything that executing a block of one task on one parent needs, as immutable
   references. Built by the owner of the tree, used by executors on any thread. */
#ifndef QR_MINE_VIEW_H
#define QR_MINE_VIEW_H

#include "mine/objects.h"

#define QR_VIEW_SEGMENT_MAX_CNT 256u

/* What executing a block found besides its header; attached to the tree's node and stored. */
typedef struct {
  uint32_t task;
  uint64_t td_abs_sum; /* sum of absolute TD errors at step 0 */
  bool eligible;       /* may become the target model; the owner of the tree knows */
  int64_t model_return,
      rule_return; /* evaluation returns of the outgoing model and of policy 0, Q16 sums */
} qr_exec_facts_t;

typedef struct {
  const qr_chain_cfg_t *cfg;
  uint32_t task;
  uint64_t task_idx;    /* this block's number among the task's blocks, 0 for the first */
  qr_hash_t parent;     /* hash of the parent block */
  uint32_t segment_cnt; /* replay window, oldest first; the newest also gives the start states */
  qr_segment_obj_t *segments[QR_VIEW_SEGMENT_MAX_CNT]; /* references held */
  qr_model_obj_t *target;                              /* reference held */
  qr_hash_t replay_root;                               /* of the task before this block */
} qr_view_t;

/* Pool of views whose references are dropped with them. */
qr_pool_t *qr_view_pool_init(uint32_t cnt);

/* Rows of the replay. */
static inline uint32_t qr_view_row_cnt(const qr_view_t *v) {
  return v->segment_cnt * v->cfg->p.segment_rows;
}
/* States of the environment from which a block's own segment goes on; borrowed from the newest
   segment of the view, which must have one. */
const uint8_t *qr_view_start_states(const qr_view_t *v);

/* The feeds of a block. */
qr_hash_t qr_view_act_feed(const qr_hash_t *parent,
                           uint32_t task);         /* H("quarry.feed" | parent | u32 task) */
qr_hash_t qr_view_eval_feed(const qr_hash_t *rho); /* H("quarry.eval" | rho) */
qr_hash_t qr_view_replay_next(const qr_hash_t *prev,
                              const qr_segment_t *s); /* H("quarry.replay" | prev | segment hash) */

/* R from the two evaluation returns. */
uint32_t qr_view_reward(const qr_task_params_t *t, int64_t model_return, int64_t rule_return);

/* Genesis of a task: its model, its warm-up segments (one reference each to the caller) and the
   replay root after them. Returns 0, or QR_ERR_NOMEM if the pools are too small (nothing held). */
typedef struct {
  qr_model_obj_t *model;
  uint32_t segment_cnt;
  qr_segment_obj_t *segments[QR_VIEW_SEGMENT_MAX_CNT];
  qr_hash_t replay_root;
} qr_task_genesis_t;
int qr_task_genesis_init(qr_task_genesis_t *g, qr_objects_t *o, uint32_t task) QR_WARN_UNUSED;
void qr_task_genesis_fini(qr_task_genesis_t *g);

/* A stored segment built again from the start states and the block's actions, without the network.
 */
void qr_view_rebuild_segment(qr_segment_obj_t *s, const qr_hash_t *parent, uint32_t task,
                             const uint8_t *start_states, const uint8_t *actions);

#endif
