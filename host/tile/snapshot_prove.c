#include "tile/snapshot_prove.h"

#include <stdlib.h>

#include "base/err.h"
#include "tile/record.h"
#include "tile/snapshot.h"

static int take_executor(qr_snapshot_prover_t *p) {
  uint32_t programs[QR_TASK_MAX_CNT];
  char why[256];
  int err = p->ops->open("", &p->dev, why, sizeof why);
  if (!err) err = qr_executor_load(p->chain, p->ops, p->dev, programs);
  if (!err) err = qr_executor_init(&p->executor, p->chain, p->ops, p->dev, programs);
  return err;
}

int qr_snapshot_prover_init(qr_snapshot_prover_t *p, const qr_chain_cfg_t *chain,
                            const qr_accel_ops_t *ops, uint64_t height) {
  uint64_t cnt = qr_snapshot_window_cnt(chain, height);
  uint32_t tasks = chain->p.task_cnt;
  /* Beyond what the snapshot and the genesis hold: the attempt's two models, and its segment. */
  qr_objects_cfg_t sizes = {.model_cnt = (uint32_t)qr_snapshot_model_cnt(chain, height) + tasks + 2,
                            .segment_cnt =
                                (uint32_t)(cnt / tasks) + 1 + chain->p.warmup_segments + 1,
                            .block_cnt = 1};
  *p = (qr_snapshot_prover_t){.chain = chain, .ops = ops, .first = height - cnt + 1, .cnt = cnt};
  p->claims = calloc(cnt, sizeof *p->claims);
  p->views = qr_view_pool_init(1);
  if (!p->claims || !p->views) return QR_ERR_NOMEM;
  int err = qr_objects_init(&p->objects, chain, &sizes);
  p->has_objects = !err;
  if (!err) err = qr_segment_check_init(&p->segments, chain, &p->objects);
  p->has_genesis = p->has_objects && !err;
  return err ? err : take_executor(p);
}

void qr_snapshot_prover_fini(qr_snapshot_prover_t *p) {
  for (uint64_t i = 0; p->claims && i < p->cnt; i++) {
    qr_pool_unref(p->claims[i].segment);
    qr_pool_unref(p->claims[i].model);
  }
  qr_executor_fini(p->executor);
  if (p->dev) p->ops->close(p->dev);
  if (p->has_genesis) qr_segment_check_fini(&p->segments);
  if (p->views) qr_pool_fini(p->views);
  if (p->has_objects) qr_objects_fini(&p->objects);
  free(p->claims);
  *p = (qr_snapshot_prover_t){0};
}

static qr_snapshot_claim_t *claim_of(qr_snapshot_prover_t *p, const qr_node_t *n) {
  uint64_t i = n->header.height - p->first;
  return n->header.height >= p->first && i < p->cnt ? &p->claims[i] : NULL;
}

int qr_snapshot_prover_segment(qr_snapshot_prover_t *p, const qr_node_t *n,
                               const qr_exec_facts_t *facts, const uint8_t *replay) {
  qr_snapshot_claim_t *c = claim_of(p, n);
  c->facts = *facts;
  return qr_segment_check(&p->segments, n, replay, replay + QR_REPLAY_STATES_SZ, &c->segment);
}

int qr_snapshot_prover_model(qr_snapshot_prover_t *p, const qr_node_t *n, const uint8_t *model) {
  qr_snapshot_claim_t *c = claim_of(p, n);
  c->model = qr_objects_model(&p->objects, n->header.task);
  if (!c->model) return QR_ERR_NOMEM;
  c->model->root = n->header.model_out;
  memcpy(c->model->bytes, model, c->model->sz);
  return QR_OK;
}

/* ---- an attempt, done again ---- */

static bool better(const qr_node_t *a, const qr_node_t *b) {
  return a->header.reward > b->header.reward;
}

/* The target of the block as those before it are said to be (README of chain: a block of a task).
   NULL: a model that should be here is not. */
static qr_model_obj_t *target_of(qr_snapshot_prover_t *p, const qr_node_t *n) {
  const qr_node_t *best = NULL, *b = n->task_parent;
  for (uint32_t i = 0; b && i < p->chain->p.target_window; i++, b = b->task_parent) {
    const qr_snapshot_claim_t *c = claim_of(p, b);
    if (c && c->facts.eligible && (!best || better(b, best))) best = b;
  }
  if (!best) best = n->task_parent;
  if (!best) return p->segments.genesis[n->header.task].model;
  const qr_snapshot_claim_t *c = claim_of(p, best);
  return c ? c->model : NULL;
}

static bool is_eligible(qr_snapshot_prover_t *p, const qr_node_t *n, uint64_t td_abs_sum) {
  const qr_node_t *b = n->task_parent;
  for (uint32_t i = 0; b && i < p->chain->p.target_window; i++, b = b->task_parent) {
    const qr_snapshot_claim_t *c = claim_of(p, b);
    if (c && c->facts.eligible) return td_abs_sum <= 2 * c->facts.td_abs_sum;
  }
  return true;
}

static int fill_view(qr_snapshot_prover_t *p, const qr_node_t *n, qr_view_t *v) {
  uint32_t window = p->chain->p.replay_rows / p->chain->p.segment_rows, cnt = 0;
  const qr_task_genesis_t *g = &p->segments.genesis[n->header.task];
  qr_segment_obj_t *back[QR_VIEW_SEGMENT_MAX_CNT]; /* newest first */
  qr_model_obj_t *target = target_of(p, n);
  const qr_node_t *b = n->task_parent;
  *v = (qr_view_t){.cfg = p->chain,
                   .task = n->header.task,
                   .task_idx = n->task_idx,
                   .parent = n->header.parent,
                   .replay_root = b ? b->header.replay_root : g->replay_root};
  for (; b && cnt < window; b = b->task_parent) {
    const qr_snapshot_claim_t *c = claim_of(p, b);
    if (!c || !c->segment) return QR_ERR_CORRUPT;
    back[cnt++] = c->segment;
  }
  for (uint32_t i = g->segment_cnt; i-- > 0 && cnt < window;) back[cnt++] = g->segments[i];
  for (uint32_t i = 0; i < cnt; i++) v->segments[i] = qr_pool_ref(back[cnt - 1 - i]);
  v->segment_cnt = cnt;
  v->target = target ? qr_pool_ref(target) : NULL;
  return target ? QR_OK : QR_ERR_CORRUPT;
}

/* As its miner did it: what comes out is the whole header, if all that went in was right. */
static int execute(qr_snapshot_prover_t *p, const qr_node_t *n, const qr_view_t *v,
                   const qr_model_obj_t *in, qr_model_obj_t *out) {
  p->job = (qr_exec_job_t){.mode = QR_EXEC_MINE,
                           .task = n->header.task,
                           .view = v,
                           .model_in = in->bytes,
                           .model_out = out->bytes,
                           .segment = qr_objects_segment(&p->objects, n->header.task),
                           .header = n->header};
  if (!p->job.segment) return QR_ERR_NOMEM;
  qr_executor_start(p->executor, &p->job);
  while (!p->job.done) qr_executor_poll(p->executor);
  qr_pool_unref(p->job.segment);
  if (p->job.err) return p->job.err;
  qr_hash_t hash = qr_header_hash(&p->job.header);
  return p->job.won && qr_hash_eq(&hash, &n->hash) ? QR_OK : QR_ERR_CORRUPT;
}

static bool same_facts(qr_snapshot_prover_t *p, const qr_node_t *n) {
  const qr_exec_facts_t *said = &claim_of(p, n)->facts, *found = &p->job.facts;
  return said->td_abs_sum == found->td_abs_sum && said->model_return == found->model_return &&
         said->rule_return == found->rule_return &&
         said->eligible == is_eligible(p, n, found->td_abs_sum);
}

int qr_snapshot_prover_prove(qr_snapshot_prover_t *p, const qr_node_t *n, const uint8_t *model_in) {
  qr_hash_t root = qr_model_root(&p->chain->nets[n->header.task], model_in);
  if (!qr_hash_eq(&root, &n->header.model_in)) return QR_ERR_CORRUPT;
  qr_model_obj_t *in = qr_objects_model(&p->objects, n->header.task);
  qr_model_obj_t *out = qr_objects_model(&p->objects, n->header.task);
  qr_view_t *v = qr_pool_get(p->views);
  if (v) memset(v, 0, sizeof *v);
  int err = in && out && v ? fill_view(p, n, v) : QR_ERR_NOMEM;
  if (!err) {
    in->root = root;
    memcpy(in->bytes, model_in, in->sz);
    err = execute(p, n, v, in, out);
  }
  if (!err && !same_facts(p, n)) err = QR_ERR_CORRUPT;
  qr_pool_unref(v);
  qr_pool_unref(in);
  qr_pool_unref(out);
  return err;
}
