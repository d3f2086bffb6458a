#include "app/bench_rig.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "chain/target.h"
#include "chain/tree.h"
#include "port/clock.h"
#include "step/program.h"

#define EASY_TARGET 0x2100ffffu /* all but one ticket in 65536 win */
#define NONCE_MAX_CNT 64u
#define HANG_NS (QR_BENCH_HANG_S * UINT64_C(1000000000))

static double ms_since(uint64_t began) { return (double)(qr_clock_mono_ns() - began) * 1e-6; }

int qr_bench_dev_open(qr_bench_dev_t *d, const qr_chain_cfg_t *chain, const qr_accel_ops_t *ops,
                      const char *options, char *why, size_t why_sz) {
  memset(d, 0, sizeof *d);
  d->ops = ops;
  int err = ops->open(options, &d->accel, why, why_sz);
  if (err) return err;
  err = qr_executor_load(chain, ops, d->accel, d->progs);
  if (!err) err = ops->queue_open(d->accel, &d->queue);
  if (!err) err = qr_executor_init(&d->executor, chain, ops, d->accel, d->progs);
  if (!err) return QR_OK;
  snprintf(why, why_sz, "accel %s: cannot load the tasks (%s)", ops->name, qr_err_str(err));
  qr_bench_dev_close(d);
  return err;
}

void qr_bench_dev_close(qr_bench_dev_t *d) {
  qr_executor_fini(d->executor);
  if (d->queue) d->ops->queue_close(d->queue);
  if (d->accel) d->ops->close(d->accel);
  memset(d, 0, sizeof *d);
}

int qr_bench_dev_check(qr_bench_dev_t *d, const qr_bench_dev_t *cpu) {
  return qr_executor_check(d->executor, cpu->ops, cpu->accel, cpu->progs, 0);
}

/* The rows that the first attempts would draw, with their rewards for targets: what the accelerator
   computes takes the same time for any values. */
static int gather(qr_bench_task_t *t) {
  const qr_net_t *net = &t->chain->nets[t->task];
  uint32_t batch = net->spec.batch, row_cnt = qr_view_row_cnt(&t->view),
           seg_rows = t->chain->p.segment_rows;
  uint32_t *rows = malloc(batch * sizeof *rows);
  void *scratch = malloc(qr_step_batch_scratch_sz(row_cnt));
  qr_hash_t sigma = qr_header_sigma(&t->prefix);
  for (uint32_t k = 0; rows && scratch && k < t->chain->p.step_cnt; k++) {
    qr_step_batch(&sigma, k, row_cnt, batch, rows, scratch);
    for (uint32_t b = 0; b < batch; b++) {
      const qr_segment_t *seg = t->view.segments[rows[b] / seg_rows]->seg;
      size_t r = rows[b] % seg_rows, to = (size_t)k * batch + b;
      memcpy(t->obs + to * net->in_sz, seg->obs + r * net->in_sz, net->in_sz);
      t->act[to] = seg->actions[r];
      t->target[to] = seg->rewards[r];
    }
  }
  int err = rows && scratch ? QR_OK : QR_ERR_NOMEM;
  free(rows);
  free(scratch);
  return err;
}

static void make_prefix(qr_bench_task_t *t) {
  const qr_chain_cfg_t *c = t->chain;
  qr_u256_t hardest = qr_u256_from_u64(1);
  qr_body_t empty = {0};
  t->view = (qr_view_t){.cfg = c,
                        .task = t->task,
                        .parent = qr_genesis_hash(c),
                        .segment_cnt = t->genesis.segment_cnt,
                        .target = t->genesis.model,
                        .replay_root = t->genesis.replay_root};
  memcpy(t->view.segments, t->genesis.segments, sizeof t->genesis.segments);
  t->prefix = (qr_header_t){.version = QR_HEADER_VERSION,
                            .chain_id = c->p.chain_id,
                            .rules = c->rules,
                            .height = 1 + t->task,
                            .parent = t->view.parent,
                            .time_ms = c->p.genesis_time_ms + 1,
                            .target = qr_target_compact(&hardest),
                            .task = t->task,
                            .model_in = t->genesis.model->root,
                            .tx_root = qr_body_tx_root(&empty)};
}

int qr_bench_task_init(qr_bench_task_t *t, qr_objects_t *objects, uint32_t task,
                       uint32_t forward_rows) {
  memset(t, 0, sizeof *t);
  t->chain = objects->cfg;
  t->objects = objects;
  t->task = task;
  const qr_net_t *net = &t->chain->nets[task];
  size_t total = (size_t)t->chain->p.step_cnt * net->spec.batch;
  qr_step_prog_t prog;
  qr_step_lower(net, &prog);
  t->digest_cnt = prog.digest_cnt;
  int err = qr_task_genesis_init(&t->genesis, objects, task);
  if (err) return err;
  make_prefix(t);
  t->obs = malloc(total * net->in_sz);
  t->act = malloc(total);
  t->target = malloc(total * sizeof *t->target);
  t->digests = malloc((size_t)t->chain->p.step_cnt * t->digest_cnt * sizeof *t->digests);
  t->forward_obs = malloc((size_t)forward_rows * net->in_sz);
  t->q = malloc((size_t)forward_rows * net->spec.action_cnt * sizeof *t->q);
  t->model_out = aligned_alloc(QR_CACHE_LINE, qr_align_up(net->model_sz, QR_CACHE_LINE));
  bool ok = t->obs && t->act && t->target && t->digests && t->forward_obs && t->q && t->model_out;
  err = ok ? gather(t) : QR_ERR_NOMEM;
  if (err) {
    qr_bench_task_fini(t);
    return err;
  }
  for (uint32_t i = 0; i < forward_rows; i++) {
    memcpy(t->forward_obs + (size_t)i * net->in_sz, t->obs + i % total * net->in_sz, net->in_sz);
  }
  return QR_OK;
}

void qr_bench_task_fini(qr_bench_task_t *t) {
  if (!t->chain) return;
  qr_task_genesis_fini(&t->genesis);
  free(t->obs);
  free(t->act);
  free(t->target);
  free(t->digests);
  free(t->forward_obs);
  free(t->q);
  free(t->model_out);
  memset(t, 0, sizeof *t);
}

int qr_bench_finish(qr_bench_dev_t *d, qr_accel_job_t *job) {
  int err = d->queue ? d->ops->submit(d->queue, job) : QR_ERR_IO;
  if (err) return err;
  uint64_t moved_ns = qr_clock_mono_ns();
  for (uint32_t seen = 0; !job->finished;) {
    d->ops->poll(d->queue);
    if (job->finished) break;
    uint64_t ns = qr_clock_mono_ns();
    if (job->steps_done != seen) moved_ns = ns;
    seen = job->steps_done;
    if (ns - moved_ns < HANG_NS) continue;
    d->ops->queue_close(d->queue);
    d->queue = NULL;
    d->hung = true;
    return QR_ERR_IO;
  }
  return job->err;
}

int qr_bench_train(qr_bench_task_t *t, qr_bench_dev_t *d, uint32_t step_cnt, uint64_t *phase_ns,
                   double *ms) {
  qr_accel_job_t job = {.kind = QR_ACCEL_ATTEMPT,
                        .prog = d->progs[t->task],
                        .model_in = t->genesis.model->bytes,
                        .model_out = t->model_out,
                        .sigma = qr_header_sigma(&t->prefix),
                        .step_cnt = step_cnt,
                        .obs = t->obs,
                        .act = t->act,
                        .target = t->target,
                        .digests = t->digests,
                        .td_abs_sum = t->td_abs_sum,
                        .phase_ns = phase_ns};
  uint64_t began = qr_clock_mono_ns();
  int err = qr_bench_finish(d, &job);
  *ms = ms_since(began);
  return err;
}

int qr_bench_forward(qr_bench_task_t *t, qr_bench_dev_t *d, uint32_t row_cnt, uint32_t repeat_cnt,
                     double *ms) {
  int err = QR_OK;
  uint64_t began = qr_clock_mono_ns();
  d->model_tag++;
  for (uint32_t i = 0; i < repeat_cnt && !err; i++) {
    qr_accel_job_t job = {.kind = QR_ACCEL_FORWARD,
                          .prog = d->progs[t->task],
                          .model_in = t->genesis.model->bytes,
                          .model_tag = d->model_tag,
                          .obs = t->forward_obs,
                          .row_cnt = row_cnt,
                          .q = t->q};
    err = qr_bench_finish(d, &job);
  }
  *ms = ms_since(began) / repeat_cnt;
  return err;
}

bool qr_bench_poll(qr_executor_t *x, const qr_exec_job_t *job, uint64_t *idle_ns) {
  bool idle = false;
  qr_executor_poll(x);
  if (job->done || !qr_executor_away(x, &idle) || !idle) {
    *idle_ns = 0;
    return true;
  }
  uint64_t ns = qr_clock_mono_ns();
  if (!*idle_ns) *idle_ns = ns;
  if (ns - *idle_ns >= HANG_NS) {
    qr_executor_abandon(x);
    return false;
  }
  sched_yield(); /* who does the work may wait for this core */
  return true;
}

static int execute(qr_bench_dev_t *d, qr_executor_t *x, qr_exec_job_t *job) {
  uint64_t idle_ns = 0;
  qr_executor_start(x, job);
  while (!job->done) d->hung |= !qr_bench_poll(x, job, &idle_ns);
  return job->err;
}

/* An attempt from its prefix to its end. Whoever repeats a nonce repeats the work to the bit, with
   target values that the executor knows by then, as between two blocks of a chain. */
static int mine_once(qr_bench_task_t *t, qr_bench_dev_t *d, uint64_t nonce, uint32_t target,
                     double *ms) {
  qr_exec_job_t *job = &t->work;
  qr_segment_obj_t *segment = qr_objects_segment(t->objects, t->task);
  if (!segment) return QR_ERR_NOMEM;
  *job = (qr_exec_job_t){.mode = QR_EXEC_MINE,
                         .task = t->task,
                         .view = &t->view,
                         .model_in = t->genesis.model->bytes,
                         .model_out = t->model_out,
                         .segment = segment,
                         .header = t->prefix};
  job->header.nonce = nonce;
  job->header.target = target;
  uint64_t began = qr_clock_mono_ns();
  int err = execute(d, d->executor, job);
  *ms = ms_since(began);
  qr_pool_unref(segment);
  job->segment = NULL;
  return err;
}

int qr_bench_attempt(qr_bench_task_t *t, qr_bench_dev_t *d, double *ms) {
  return mine_once(t, d, 0, t->prefix.target, ms);
}

int qr_bench_block(qr_bench_task_t *t, qr_bench_dev_t *d, double *ms) {
  int err = QR_OK;
  t->work.won = false;
  for (uint64_t nonce = 0; nonce < NONCE_MAX_CNT && !err && !t->work.won; nonce++) {
    err = mine_once(t, d, nonce, EASY_TARGET, ms);
  }
  if (err || !t->work.won) return err ? err : QR_ERR_AGAIN;
  if (!t->has_block) t->block = t->work;
  t->has_block = true;
  return QR_OK;
}

int qr_bench_verify(qr_bench_task_t *t, qr_bench_dev_t *d, bool cold, double *ms) {
  const qr_chain_cfg_t *c = t->chain;
  qr_body_t body = {.step_cnt = (uint16_t)c->p.step_cnt,
                    .trace = t->block.trace,
                    .action_cnt = c->p.segment_rows,
                    .actions = t->block.actions};
  qr_executor_t *x = d->executor;
  int err = cold ? qr_executor_init(&x, c, d->ops, d->accel, d->progs) : QR_OK;
  if (err) return err;
  qr_segment_obj_t *segment = qr_objects_segment(t->objects, t->task);
  t->work = (qr_exec_job_t){.mode = QR_EXEC_VERIFY,
                            .task = t->task,
                            .view = &t->view,
                            .body = &body,
                            .model_in = t->genesis.model->bytes,
                            .model_out = t->model_out,
                            .segment = segment,
                            .header = t->block.header};
  uint64_t began = qr_clock_mono_ns();
  err = segment ? execute(d, x, &t->work) : QR_ERR_NOMEM;
  *ms = ms_since(began);
  if (!err && t->work.verdict) err = QR_ERR_CORRUPT;
  qr_pool_unref(segment);
  if (cold) qr_executor_fini(x);
  return err;
}
