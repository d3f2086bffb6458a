/* A branch that a test grows block by block beside a rig: honest blocks, and blocks that follow
   honestly from one that a forger changed. Equal calls give equal blocks. */
#ifndef TEST_SIM_BRANCH_H
#define TEST_SIM_BRANCH_H

#include "sim/rig.h"

#define BRANCH_MAX_CNT 64u

typedef struct {
  uint32_t reward;
  uint64_t td_abs_sum;
  bool eligible;
  qr_model_obj_t *model; /* the outgoing one */
} branch_block_t;

typedef struct {
  qr_task_genesis_t genesis;
  qr_segment_obj_t *segments[QR_VIEW_SEGMENT_MAX_CNT]; /* the replay window, oldest first */
  uint32_t segment_cnt;
  qr_model_obj_t *line; /* what the miner goes on from */
  qr_hash_t replay_root;
  uint32_t block_cnt;
  branch_block_t blocks[BRANCH_MAX_CNT];
} branch_task_t;

typedef struct {
  rig_t *r; /* whose miner and pools are used */
  branch_task_t tasks[QR_TASK_MAX_CNT];
  qr_ledger_t *ledger;
  qr_hash_t parent;
  uint64_t height, late_ms; /* late_ms: of each block, so that branches differ */
} branch_t;

static inline void branch_init(branch_t *b, rig_t *r) {
  const qr_chain_cfg_t *c = &r->w->chain;
  memset(b, 0, sizeof *b);
  b->r = r;
  b->parent = qr_genesis_hash(c);
  b->ledger = qr_ledger_init();
  for (uint32_t i = 0; i < c->p.premine_cnt; i++)
    qr_ledger_set(b->ledger, &(qr_account_t){c->p.premine[i].to, c->p.premine[i].amount, 0});
  for (uint32_t i = 0; i < c->p.task_cnt; i++) {
    branch_task_t *t = &b->tasks[i];
    assert_int_equal(qr_task_genesis_init(&t->genesis, &r->objects, i), 0);
    t->segment_cnt = t->genesis.segment_cnt;
    for (uint32_t k = 0; k < t->segment_cnt; k++)
      t->segments[k] = qr_pool_ref(t->genesis.segments[k]);
    t->line = qr_pool_ref(t->genesis.model);
    t->replay_root = t->genesis.replay_root;
  }
}

static inline void branch_fini(branch_t *b) {
  for (uint32_t i = 0; i < b->r->w->chain.p.task_cnt; i++) {
    branch_task_t *t = &b->tasks[i];
    for (uint32_t k = 0; k < t->segment_cnt; k++) qr_pool_unref(t->segments[k]);
    for (uint32_t k = 0; k < t->block_cnt; k++) qr_pool_unref(t->blocks[k].model);
    qr_pool_unref(t->line);
    qr_task_genesis_fini(&t->genesis);
  }
  qr_ledger_fini(b->ledger);
}

/* By the words of the protocol: of the last target_window blocks of the task the eligible one with
   the highest R, the later on ties; the newest if none is eligible; and genesis before there is
   any. */
static inline const qr_model_obj_t *branch_target(const branch_t *b, const branch_task_t *t) {
  uint32_t window = b->r->w->chain.p.target_window;
  const branch_block_t *best = NULL;
  for (uint32_t i = t->block_cnt > window ? t->block_cnt - window : 0; i < t->block_cnt; i++) {
    const branch_block_t *k = &t->blocks[i];
    if (k->eligible && (!best || k->reward >= best->reward)) best = k;
  }
  if (best) return best->model;
  return t->block_cnt ? t->blocks[t->block_cnt - 1].model : t->genesis.model;
}

static inline bool branch_eligible(const branch_t *b, const branch_task_t *t, uint64_t td_abs_sum) {
  uint32_t window = b->r->w->chain.p.target_window;
  for (uint32_t i = t->block_cnt; i-- > 0 && t->block_cnt - i <= window;) {
    if (t->blocks[i].eligible) return td_abs_sum <= 2 * t->blocks[i].td_abs_sum;
  }
  return true;
}

/* What f, honest or not, adds to the branch. Takes model. */
static inline void branch_grow(branch_t *b, const forged_t *f, qr_model_obj_t *model,
                               uint64_t td_abs_sum) {
  const qr_params_t *p = &b->r->w->chain.p;
  branch_task_t *t = &b->tasks[f->header.task];
  qr_segment_obj_t *s = qr_objects_segment(&b->r->objects, f->header.task);
  assert_non_null(s);
  qr_view_rebuild_segment(s, &f->header.parent, f->header.task,
                          qr_segment_end_states(t->segments[t->segment_cnt - 1]->seg), f->actions);
  if (t->segment_cnt == p->replay_rows / p->segment_rows) {
    qr_pool_unref(t->segments[0]);
    memmove(t->segments, t->segments + 1, --t->segment_cnt * sizeof t->segments[0]);
  }
  t->segments[t->segment_cnt++] = s;
  qr_pool_unref(t->line);
  t->line = qr_pool_ref(model);
  t->replay_root = f->header.replay_root;
  assert_true(t->block_cnt < BRANCH_MAX_CNT);
  bool eligible = branch_eligible(b, t, td_abs_sum);
  t->blocks[t->block_cnt++] = (branch_block_t){f->header.reward, td_abs_sum, eligible, model};
  static qr_ledger_undo_t undo;
  qr_body_t body = body_of(f);
  assert_int_equal(qr_ledger_connect(b->ledger, p, &f->header, &body, &undo), 0);
  b->parent = qr_header_hash(&f->header);
  b->height++;
}

static inline void branch_prefix(branch_t *b, const forged_t *f, qr_header_t *h) {
  const qr_chain_cfg_t *c = &b->r->w->chain;
  qr_body_t body = body_of(f);
  *h = (qr_header_t){.version = QR_HEADER_VERSION,
                     .chain_id = c->p.chain_id,
                     .rules = c->rules,
                     .height = b->height + 1,
                     .parent = b->parent,
                     .time_ms = c->p.genesis_time_ms + 500 * (b->height + 1) + b->late_ms,
                     .target = c->p.max_target,
                     .task = qr_params_task_of(&c->p, b->height + 1),
                     .tx_root = qr_body_tx_root(&body),
                     .state_root = qr_ledger_root(b->ledger)};
  h->model_in = b->tasks[h->task].line->root;
}

/* The next block, mined as a node does it, then changed by forge (NULL: left as it is). */
static inline void branch_mine(branch_t *b, forged_t *f, void (*forge)(forged_t *f)) {
  const qr_chain_cfg_t *c = &b->r->w->chain;
  static qr_view_t v;
  static qr_exec_job_t job;
  memset(f, 0, sizeof *f);
  memset(&v, 0, sizeof v);
  memset(&job, 0, sizeof job);
  qr_header_t prefix;
  branch_prefix(b, f, &prefix);
  branch_task_t *t = &b->tasks[prefix.task];
  qr_model_obj_t *out = qr_objects_model(&b->r->objects, prefix.task);
  v.cfg = c;
  v.task = prefix.task;
  v.task_idx = t->block_cnt;
  v.parent = b->parent;
  v.segment_cnt = t->segment_cnt;
  memcpy(v.segments, t->segments, t->segment_cnt * sizeof t->segments[0]);
  v.target = (qr_model_obj_t *)(uintptr_t)branch_target(b, t);
  v.replay_root = t->replay_root;
  job.mode = QR_EXEC_MINE;
  job.task = prefix.task;
  job.view = &v;
  job.model_in = t->line->bytes;
  job.model_out = out->bytes;
  job.segment = qr_objects_segment(&b->r->objects, prefix.task);
  for (uint64_t nonce = 0; nonce < 100 && !job.won; nonce++) {
    job.header = prefix;
    job.header.nonce = nonce;
    qr_executor_start(b->r->miner, &job);
    while (!job.done) qr_executor_poll(b->r->miner);
    assert_int_equal(job.err, 0);
  }
  assert_true(job.won);
  f->header = job.header;
  f->model_sz = t->line->sz;
  memcpy(f->model, t->line->bytes, f->model_sz);
  f->step_cnt = c->p.step_cnt;
  f->action_cnt = c->p.segment_rows;
  memcpy(f->trace, job.trace, sizeof f->trace);
  memcpy(f->actions, job.actions, f->action_cnt);
  qr_pool_unref(job.segment);
  if (forge) forge(f);
  out->root = f->header.model_out;
  branch_grow(b, f, out, job.facts.td_abs_sum);
}

#endif
