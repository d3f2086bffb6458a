/* A branch that a test grows block by block beside a rig: honest blocks, and blocks that follow
   honestly from one that a forger changed. Needs parameters with target_window 1: the target is the
   newest model then. Equal calls give equal blocks. */
#ifndef TEST_SIM_BRANCH_H
#define TEST_SIM_BRANCH_H

#include "sim/rig.h"

typedef struct {
  qr_task_genesis_t genesis;
  qr_segment_obj_t *segments[QR_VIEW_SEGMENT_MAX_CNT]; /* the replay window, oldest first */
  uint32_t segment_cnt;
  qr_model_obj_t *model; /* the newest */
  qr_hash_t replay_root;
  uint64_t block_cnt;
} branch_task_t;

typedef struct {
  rig_t *r; /* whose miner and pools are used */
  branch_task_t tasks[QR_TASK_MAX_CNT];
  qr_ledger_t *ledger;
  qr_hash_t parent;
  uint64_t height;
} branch_t;

static inline void branch_init(branch_t *b, rig_t *r) {
  const qr_chain_cfg_t *c = &r->w->chain;
  memset(b, 0, sizeof *b);
  assert_int_equal(c->p.target_window, 1);
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
    t->model = qr_pool_ref(t->genesis.model);
    t->replay_root = t->genesis.replay_root;
  }
}

static inline void branch_fini(branch_t *b) {
  for (uint32_t i = 0; i < b->r->w->chain.p.task_cnt; i++) {
    branch_task_t *t = &b->tasks[i];
    for (uint32_t k = 0; k < t->segment_cnt; k++) qr_pool_unref(t->segments[k]);
    qr_pool_unref(t->model);
    qr_task_genesis_fini(&t->genesis);
  }
  qr_ledger_fini(b->ledger);
}

/* What f, honest or not, adds to the branch. */
static inline void branch_grow(branch_t *b, const forged_t *f, qr_model_obj_t *model) {
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
  qr_pool_unref(t->model);
  t->model = model;
  t->replay_root = f->header.replay_root;
  t->block_cnt++;
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
                     .time_ms = c->p.genesis_time_ms + 500 * (b->height + 1),
                     .target = c->p.max_target,
                     .task = qr_params_task_of(&c->p, b->height + 1),
                     .tx_root = qr_body_tx_root(&body),
                     .state_root = qr_ledger_root(b->ledger)};
  h->model_in = b->tasks[h->task].model->root;
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
  v.target = t->model;
  v.replay_root = t->replay_root;
  job.mode = QR_EXEC_MINE;
  job.task = prefix.task;
  job.view = &v;
  job.model_in = t->model->bytes;
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
  f->model_sz = t->model->sz;
  memcpy(f->model, t->model->bytes, f->model_sz);
  f->step_cnt = c->p.step_cnt;
  f->action_cnt = c->p.segment_rows;
  memcpy(f->trace, job.trace, sizeof f->trace);
  memcpy(f->actions, job.actions, f->action_cnt);
  qr_pool_unref(job.segment);
  if (forge) forge(f);
  out->root = f->header.model_out;
  branch_grow(b, f, out);
}

#endif
