#include "mine/executor.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/err.h"
#include "chain/target.h"
#include "mine/qcache.h"
#include "step/program.h"
#include "step/ref.h"

#define E_CNT QR_SEGMENT_INSTANCE_CNT
#define CACHED_TARGET_CNT 3u
#define FORWARD_ROWS 256u /* rows of one target-value job */
#define ROLLOUT_STEPS 8u  /* environment steps of one poll */

/* An accelerator with a queue of this executor's. */
typedef struct {
  const qr_accel_ops_t *ops;
  qr_accel_t *dev;
  qr_accel_queue_t *queue;
  uint32_t prog_ids[QR_TASK_MAX_CNT];
  bool takes_replay;
} seat_t;

struct qr_executor {
  const qr_chain_cfg_t *cfg;
  seat_t trainer; /* does the training */
  seat_t helper;  /* does all else; without ops: the trainer is trusted and does that too */
  uint32_t check_every;
  uint32_t digest_cnt[QR_TASK_MAX_CNT];
  qr_qcache_t *qcache;
  qr_exec_job_t *job;
  enum qr_exec_stage stage;
  bool cancel;
  qr_hash_t sigma, rho;
  qr_header_t claimed; /* VERIFY: the header as it came */
  /* minibatches of the attempt */
  uint32_t gather_k;
  uint32_t *rows; /* [K][B] replay rows */
  void *batch_scratch;
  uint32_t *missing; /* rows whose target is not known yet */
  uint32_t missing_cnt, missing_done;
  qr_qcache_view_t qview;
  qr_accel_segment_t segments[QR_VIEW_SEGMENT_MAX_CNT]; /* for a seat that takes replays */
  int8_t *obs;                                          /* for another: [K][B][obs] */
  uint8_t *act;
  int32_t *target;
  /* the accelerator job in flight */
  qr_accel_job_t accel_job;
  const seat_t *flies_on; /* NULL: none is in flight */
  bool is_idle;           /* nothing had happened to it when it was polled last */
  uint64_t model_tag;     /* grows whenever forward passes turn to other bytes */
  uint64_t *digests;
  uint64_t td_abs_sum[QR_BLOCK_STEP_MAX_CNT];
  /* REPEAT: the same again; met: the ticket is valid */
  bool met;
  uint32_t trained_by; /* unit of the trainer */
  uint8_t *repeat_model;
  uint64_t *repeat_digests, repeat_td[QR_BLOCK_STEP_MAX_CNT];
  uint32_t trace_cnt;
  int8_t *forward_obs;
  int32_t *q;
  /* rollouts */
  uint32_t t;
  qr_env_live_t *live;
  uint8_t rollout_actions[E_CNT];
  int64_t rollout_return;
};

static uint32_t batch_of(const qr_executor_t *x) { return x->cfg->nets[x->job->task].spec.batch; }
static uint32_t obs_sz_of(const qr_executor_t *x) { return x->cfg->nets[x->job->task].in_sz; }
static uint32_t action_cnt_of(const qr_executor_t *x) {
  return x->cfg->nets[x->job->task].spec.action_cnt;
}
static const qr_env_t *env_of(const qr_executor_t *x) {
  return qr_env_get(x->cfg->p.tasks[x->job->task].env);
}

int qr_executor_load(const qr_chain_cfg_t *cfg, const qr_accel_ops_t *accel, qr_accel_t *dev,
                     uint32_t prog_ids[QR_TASK_MAX_CNT]) {
  for (uint32_t t = 0; t < cfg->p.task_cnt; t++) {
    qr_step_prog_t prog;
    qr_step_lower(&cfg->nets[t], &prog);
    int err = accel->load(dev, &cfg->nets[t], &prog, &prog_ids[t]);
    if (err) return err;
  }
  return QR_OK;
}

static void *take(size_t sz, bool *ok) {
  void *p = aligned_alloc(QR_CACHE_LINE, qr_align_up(sz ? sz : 1, QR_CACHE_LINE));
  if (!p) *ok = false;
  return p;
}

static int take_seat(seat_t *s, const qr_accel_ops_t *ops, qr_accel_t *dev,
                     const uint32_t prog_ids[QR_TASK_MAX_CNT]) {
  *s = (seat_t){.ops = ops, .dev = dev};
  memcpy(s->prog_ids, prog_ids, sizeof s->prog_ids);
  qr_accel_info_t info;
  ops->info(dev, &info);
  s->takes_replay = info.takes_replay;
  int err = ops->queue_open(dev, &s->queue);
  if (err) s->queue = NULL;
  return err;
}

int qr_executor_init(qr_executor_t **out, const qr_chain_cfg_t *cfg, const qr_accel_ops_t *accel,
                     qr_accel_t *dev, const uint32_t prog_ids[QR_TASK_MAX_CNT]) {
  qr_executor_t *x = calloc(1, sizeof *x);
  if (!x) return QR_ERR_NOMEM;
  x->cfg = cfg;
  size_t batch = 0, obs = 0, digests = 0;
  for (uint32_t t = 0; t < cfg->p.task_cnt; t++) {
    qr_step_prog_t prog;
    qr_step_lower(&cfg->nets[t], &prog);
    x->digest_cnt[t] = prog.digest_cnt;
    if (prog.digest_cnt > digests) digests = prog.digest_cnt;
    if (cfg->nets[t].spec.batch > batch) batch = cfg->nets[t].spec.batch;
    if (cfg->nets[t].in_sz > obs) obs = cfg->nets[t].in_sz;
  }
  size_t total = (size_t)cfg->p.step_cnt * batch;
  uint32_t window = cfg->p.replay_rows;
  if (window < cfg->p.warmup_segments * cfg->p.segment_rows)
    window = cfg->p.warmup_segments * cfg->p.segment_rows;
  bool ok = true;
  x->rows = take(total * sizeof *x->rows, &ok);
  x->obs = take(total * obs, &ok);
  x->act = take(total, &ok);
  x->target = take(total * sizeof *x->target, &ok);
  x->batch_scratch = take(qr_step_batch_scratch_sz(window), &ok);
  x->missing = take(total * sizeof *x->missing, &ok);
  x->digests = take((size_t)cfg->p.step_cnt * digests * sizeof *x->digests, &ok);
  x->forward_obs = take(FORWARD_ROWS * obs, &ok);
  uint32_t q_rows = cfg->p.segment_rows > FORWARD_ROWS ? cfg->p.segment_rows : FORWARD_ROWS;
  x->q = take((size_t)q_rows * QR_ENV_ACTION_MAX_CNT * sizeof *x->q, &ok);
  x->live = take(E_CNT * sizeof *x->live, &ok);
  x->qcache = qr_qcache_init(cfg, CACHED_TARGET_CNT);
  int err = ok && x->qcache ? take_seat(&x->trainer, accel, dev, prog_ids) : QR_ERR_NOMEM;
  if (err) {
    qr_executor_fini(x);
    return err;
  }
  *out = x;
  return QR_OK;
}

int qr_executor_check(qr_executor_t *x, const qr_accel_ops_t *accel, qr_accel_t *dev,
                      const uint32_t prog_ids[QR_TASK_MAX_CNT], uint32_t check_every) {
  QR_ASSERT(!x->job && !x->helper.ops);
  uint32_t digests = 0, model_sz = 0;
  for (uint32_t t = 0; t < x->cfg->p.task_cnt; t++) {
    if (x->digest_cnt[t] > digests) digests = x->digest_cnt[t];
    if (x->cfg->nets[t].model_sz > model_sz) model_sz = x->cfg->nets[t].model_sz;
  }
  bool ok = true;
  x->check_every = check_every;
  x->repeat_model = take(model_sz, &ok);
  x->repeat_digests = take((size_t)x->cfg->p.step_cnt * digests * sizeof *x->repeat_digests, &ok);
  return ok ? take_seat(&x->helper, accel, dev, prog_ids) : QR_ERR_NOMEM;
}

void qr_executor_fini(qr_executor_t *x) {
  if (!x) return;
  QR_ASSERT(!x->job);
  if (x->trainer.queue) x->trainer.ops->queue_close(x->trainer.queue);
  if (x->helper.queue) x->helper.ops->queue_close(x->helper.queue);
  qr_qcache_fini(x->qcache);
  free(x->rows);
  free(x->obs);
  free(x->act);
  free(x->target);
  free(x->batch_scratch);
  free(x->missing);
  free(x->digests);
  free(x->forward_obs);
  free(x->q);
  free(x->live);
  free(x->repeat_model);
  free(x->repeat_digests);
  free(x);
}

/* Takes back the job in flight, if there is one; it still lands. */
static void recall(qr_executor_t *x) {
  if (x->flies_on) x->flies_on->ops->cancel(x->flies_on->queue, &x->accel_job);
}

void qr_executor_cancel(qr_executor_t *x) {
  if (!x->job) return;
  x->cancel = true;
  recall(x);
}

static void finish(qr_executor_t *x) {
  x->job->done = true;
  x->job = NULL;
  x->stage = QR_EXEC_IDLE;
}

static void fail(qr_executor_t *x, int err) {
  x->job->err = err;
  finish(x);
}

static void refute(qr_executor_t *x, enum qr_verdict v) {
  x->job->verdict = v;
  finish(x);
}

static void begin_rollout(qr_executor_t *x, enum qr_exec_stage stage) {
  x->stage = stage;
  x->t = 0;
  x->rollout_return = 0;
}

static void begin_evaluation(qr_executor_t *x, const qr_hash_t *feed) {
  const qr_env_t *env = env_of(x);
  begin_rollout(x, QR_EXEC_EVALUATE);
  for (uint32_t i = 0; i < E_CNT; i++) env->start(&x->live[i], feed, i);
}

void qr_executor_start(qr_executor_t *x, qr_exec_job_t *job) {
  QR_ASSERT(!x->job);
  x->job = job;
  x->model_tag++;
  x->cancel = false;
  job->done = job->cancelled = job->won = job->replayed = job->trained = false;
  job->err = QR_OK;
  job->verdict = QR_VERDICT_OK;
  job->steps_done = 0;
  if (job->mode == QR_EXEC_SCORE) {
    begin_evaluation(x, &job->score_feed);
    return;
  }
  QR_ASSERT(job->view->task == job->task && qr_view_row_cnt(job->view) >= batch_of(x));
  x->claimed = job->header;
  x->sigma = qr_header_sigma(&job->header);
  x->gather_k = 0;
  x->missing_cnt = x->missing_done = x->trace_cnt = 0;
  qr_qcache_bind(x->qcache, job->view, &x->qview);
  x->stage = job->mode == QR_EXEC_VERIFY ? QR_EXEC_REPLAY : QR_EXEC_GATHER;
}

/* The segment as the block's actions give it. Whether they are the model's choices is looked at
   once the model is there; who builds on this block need not wait for it. */
static void replay(qr_executor_t *x) {
  qr_exec_job_t *job = x->job;
  const qr_view_t *v = job->view;
  memcpy(job->actions, job->body->actions, job->segment->seg->row_cnt);
  qr_view_rebuild_segment(job->segment, &v->parent, job->task, qr_view_start_states(v),
                          job->actions);
  job->replayed = true;
  x->stage = QR_EXEC_GATHER;
}

/* Minibatch k as a dense job has it, but for the targets. */
static void copy_minibatch(qr_executor_t *x, uint32_t k) {
  uint32_t b_cnt = batch_of(x), obs_sz = obs_sz_of(x), seg_rows = x->cfg->p.segment_rows;
  size_t first = (size_t)k * b_cnt;
  for (size_t i = first; i < first + b_cnt; i++) {
    const qr_segment_t *seg = x->job->view->segments[x->rows[i] / seg_rows]->seg;
    uint32_t r = x->rows[i] % seg_rows;
    memcpy(x->obs + i * obs_sz, seg->obs + (size_t)r * obs_sz, obs_sz);
    x->act[i] = seg->actions[r];
  }
}

/* One step's minibatch is drawn; rows without a known target are noted once. */
static void gather(qr_executor_t *x) {
  uint32_t b_cnt = batch_of(x), seg_rows = x->cfg->p.segment_rows, k = x->gather_k;
  uint32_t *rows = x->rows + (size_t)k * b_cnt;
  qr_step_batch(&x->sigma, k, qr_view_row_cnt(x->job->view), b_cnt, rows, x->batch_scratch);
  if (!x->trainer.takes_replay) copy_minibatch(x, k);
  for (uint32_t b = 0; b < b_cnt; b++) {
    uint8_t *known = &x->qview.known[rows[b] / seg_rows][rows[b] % seg_rows];
    if (*known) continue;
    *known = 1; /* becomes true before anything reads it */
    x->missing[x->missing_cnt++] = rows[b];
  }
  if (++x->gather_k == x->cfg->p.step_cnt) x->stage = QR_EXEC_TARGETS;
}

/* Who does what is not training. */
static seat_t *trusted(qr_executor_t *x) { return x->helper.ops ? &x->helper : &x->trainer; }

/* Sends accel_job; false if the accelerator refused. */
static bool send(qr_executor_t *x, seat_t *s) {
  if (!s->queue && s->ops->queue_open(s->dev, &s->queue)) s->queue = NULL;
  if (!s->queue) return false;
  x->accel_job.prog = s->prog_ids[x->job->task];
  if (s->ops->submit(s->queue, &x->accel_job)) return false;
  x->flies_on = s;
  return true;
}

static bool send_forward(qr_executor_t *x, const uint8_t *model, const int8_t *obs,
                         uint32_t row_cnt) {
  x->accel_job = (qr_accel_job_t){.kind = QR_ACCEL_FORWARD,
                                  .model_in = model,
                                  .model_tag = x->model_tag,
                                  .obs = obs,
                                  .row_cnt = row_cnt,
                                  .q = x->q};
  return send(x, trusted(x));
}

/* Rows noted before a failure or a cancel were marked known without a target: take that back. */
static void forget_missing(qr_executor_t *x) {
  uint32_t seg_rows = x->cfg->p.segment_rows;
  for (uint32_t i = x->missing_done; i < x->missing_cnt; i++) {
    x->qview.known[x->missing[i] / seg_rows][x->missing[i] % seg_rows] = 0;
  }
}

static void keep_targets(qr_executor_t *x) {
  const qr_task_params_t *task = &x->cfg->p.tasks[x->job->task];
  uint32_t seg_rows = x->cfg->p.segment_rows, a_cnt = action_cnt_of(x);
  for (uint32_t i = 0; i < x->accel_job.row_cnt; i++) {
    uint32_t s = x->missing[x->missing_done + i] / seg_rows,
             r = x->missing[x->missing_done + i] % seg_rows;
    const int32_t *q = x->q + (size_t)i * a_cnt;
    x->qview.targets[s][r] =
        qr_step_td_target(x->job->view->segments[s]->seg->rewards[r], false,
                          q[qr_step_argmax(q, a_cnt)], task->gamma_q16, task->q_clip);
  }
  x->missing_done += x->accel_job.row_cnt;
}

/* accel_job on what copy_minibatch copied. */
static void make_dense(qr_executor_t *x) {
  size_t total = (size_t)x->cfg->p.step_cnt * batch_of(x);
  uint32_t seg_rows = x->cfg->p.segment_rows;
  for (size_t i = 0; i < total; i++)
    x->target[i] = x->qview.targets[x->rows[i] / seg_rows][x->rows[i] % seg_rows];
  x->accel_job.obs = x->obs;
  x->accel_job.act = x->act;
  x->accel_job.target = x->target;
  x->accel_job.segments = NULL;
}

/* accel_job on the replay where it lies: the view holds the segments, and the targets stay where
   they are until the next bind. */
static void lend_replay(qr_executor_t *x) {
  const qr_view_t *v = x->job->view;
  for (uint32_t i = 0; i < v->segment_cnt; i++) {
    const qr_segment_t *seg = v->segments[i]->seg;
    x->segments[i] = (qr_accel_segment_t){seg->key, seg->obs, seg->actions, x->qview.targets[i]};
  }
  x->accel_job.segments = x->segments;
  x->accel_job.segment_cnt = v->segment_cnt;
  x->accel_job.segment_rows = x->cfg->p.segment_rows;
  x->accel_job.rows = x->rows;
}

static void send_attempt(qr_executor_t *x) {
  const qr_task_params_t *task = &x->cfg->p.tasks[x->job->task];
  x->accel_job = (qr_accel_job_t){
      .kind = QR_ACCEL_ATTEMPT,
      .model_in = x->job->model_in,
      .model_out = x->job->model_out,
      .sigma = x->sigma,
      .step_cnt = x->cfg->p.step_cnt,
      .lr_shift = qr_params_lr_shift(task, x->job->view->task_idx),
      .digests = x->digests,
      .td_abs_sum = x->td_abs_sum,
  };
  if (x->trainer.takes_replay)
    lend_replay(x);
  else
    make_dense(x);
  x->stage = QR_EXEC_TRAIN;
  if (!send(x, &x->trainer)) fail(x, QR_ERR_IO);
}

static void compute_targets(qr_executor_t *x) {
  if (x->missing_done == x->missing_cnt) {
    send_attempt(x);
    return;
  }
  uint32_t n = x->missing_cnt - x->missing_done, obs_sz = obs_sz_of(x),
           seg_rows = x->cfg->p.segment_rows;
  if (n > FORWARD_ROWS) n = FORWARD_ROWS;
  for (uint32_t i = 0; i < n; i++) {
    uint32_t row = x->missing[x->missing_done + i];
    const qr_segment_t *seg = x->job->view->segments[row / seg_rows]->seg;
    memcpy(x->forward_obs + (size_t)i * obs_sz,
           seg->obs + (size_t)(row % seg_rows + E_CNT) * obs_sz, obs_sz);
  }
  if (!send_forward(x, x->job->view->target->bytes, x->forward_obs, n)) {
    forget_missing(x);
    fail(x, QR_ERR_IO);
  }
}

/* Extends the trace by the steps that have finished; a verifier stops at the first that differs. */
static void follow_training(qr_executor_t *x) {
  qr_exec_job_t *job = x->job;
  uint32_t n = x->digest_cnt[job->task];
  for (; x->trace_cnt < x->accel_job.steps_done; x->trace_cnt++) {
    const qr_hash_t *prev = x->trace_cnt ? &job->trace[x->trace_cnt - 1] : &x->sigma;
    job->trace[x->trace_cnt] = qr_step_trace_next(prev, x->digests + (size_t)x->trace_cnt * n, n);
    if (job->mode != QR_EXEC_VERIFY || job->verdict) continue;
    if (!qr_hash_eq(&job->trace[x->trace_cnt], &job->body->trace[x->trace_cnt])) {
      job->verdict = QR_VERDICT_TRACE;
      recall(x);
    }
  }
  job->steps_done = x->accel_job.steps_done;
}

/* Root and ticket are right: goes on, or ends here without a ticket. */
static void settle(qr_executor_t *x) {
  qr_exec_job_t *job = x->job;
  qr_header_t *h = &job->header;
  if (!x->met) {
    finish(x);
    return;
  }
  job->facts = (qr_exec_facts_t){.task = job->task, .td_abs_sum = x->td_abs_sum[0]};
  job->trained = true;
  x->rho = qr_header_rho(&x->sigma, &h->model_out, &h->trace_last);
  begin_rollout(x, job->mode == QR_EXEC_VERIFY ? QR_EXEC_CHECK_ACTIONS : QR_EXEC_ACT);
  if (job->mode == QR_EXEC_VERIFY) return;
  qr_hash_t feed = qr_view_act_feed(&job->view->parent, job->task);
  qr_segment_begin(job->segment->seg, qr_view_start_states(job->view), &feed, x->live);
}

/* Whether this attempt is done again: always if it won, else by its own seed. */
static bool must_repeat(const qr_executor_t *x) {
  if (!x->helper.ops || x->job->mode != QR_EXEC_MINE) return false;
  return x->met || (x->check_every && qr_ld32(x->sigma.b) % x->check_every == 0);
}

static void begin_repeat(qr_executor_t *x) {
  x->trained_by = x->accel_job.unit;
  x->accel_job.model_out = x->repeat_model;
  x->accel_job.digests = x->repeat_digests;
  x->accel_job.td_abs_sum = x->repeat_td;
  x->stage = QR_EXEC_REPEAT;
  x->gather_k = 0;
}

/* Sends the attempt to the trusted accelerator; if that takes no replay, after its minibatches have
   been copied one by one. */
static void send_repeat(qr_executor_t *x) {
  if (x->accel_job.segments && !x->helper.takes_replay) {
    copy_minibatch(x, x->gather_k);
    if (++x->gather_k < x->cfg->p.step_cnt) return;
    make_dense(x);
  }
  if (!send(x, &x->helper)) fail(x, QR_ERR_IO);
}

/* The trusted accelerator has done the attempt again. */
static void compare(qr_executor_t *x) {
  uint32_t steps = x->cfg->p.step_cnt, task = x->job->task;
  const seat_t *s = &x->trainer;
  bool same = !memcmp(x->repeat_digests, x->digests,
                      (size_t)steps * x->digest_cnt[task] * sizeof *x->digests) &&
              !memcmp(x->repeat_td, x->td_abs_sum, steps * sizeof *x->td_abs_sum) &&
              !memcmp(x->repeat_model, x->job->model_out, x->cfg->nets[task].model_sz);
  if (s->ops->judge) s->ops->judge(s->dev, x->trained_by, same);
  if (same)
    settle(x);
  else
    fail(x, QR_ERR_CORRUPT);
}

static void find_root(qr_executor_t *x) {
  qr_exec_job_t *job = x->job;
  const qr_net_t *net = &x->cfg->nets[job->task];
  qr_header_t *h = &job->header;
  qr_u256_t target;
  x->model_tag++; /* from here on it is model_out that acts */
  h->model_out = qr_model_root(net, job->model_out);
  h->trace_last = job->trace[x->trace_cnt - 1];
  if (job->mode == QR_EXEC_VERIFY && !qr_hash_eq(&h->model_out, &x->claimed.model_out)) {
    refute(x, QR_VERDICT_MODEL_OUT);
    return;
  }
  qr_hash_t ticket = qr_header_ticket(&x->sigma, &h->model_out, &h->trace_last);
  x->met = qr_target_expand(h->target, &target) &&
           qr_target_met(&ticket, &target, x->cfg->p.tasks[job->task].work_q16);
  if (!x->met && job->mode == QR_EXEC_VERIFY)
    refute(x, QR_VERDICT_TICKET);
  else if (must_repeat(x))
    begin_repeat(x);
  else
    settle(x);
}

/* q: of the E instances. */
static void choose_greedily(qr_executor_t *x, const int32_t *q) {
  uint32_t a_cnt = action_cnt_of(x);
  for (uint32_t i = 0; i < E_CNT; i++) {
    x->rollout_actions[i] = (uint8_t)qr_step_argmax(q + (size_t)i * a_cnt, a_cnt);
  }
}

static void choose_as_actor(qr_executor_t *x, const int32_t *q) {
  choose_greedily(x, q);
  uint32_t eps = qr_params_eps(&x->cfg->p.tasks[x->job->task], x->job->view->task_idx),
           a_cnt = action_cnt_of(x);
  for (uint32_t i = 0; i < E_CNT; i++) {
    qr_philox_t p = qr_philox_init(&x->rho, qr_stream_word(QR_STREAM_EXPLORE, 0, i));
    if (qr_philox_word(&p, 2 * x->t) >> 16 < eps) {
      x->rollout_actions[i] = (uint8_t)qr_philox_bound(qr_philox_word(&p, 2 * x->t + 1), a_cnt);
    }
  }
}

static void end_acting(qr_executor_t *x) {
  qr_exec_job_t *job = x->job;
  qr_segment_t *seg = job->segment->seg;
  qr_header_t *h = &job->header;
  qr_body_t body = {.step_cnt = (uint16_t)x->trace_cnt,
                    .trace = job->trace,
                    .action_cnt = seg->row_cnt,
                    .actions = job->actions};
  h->trace_root = qr_body_trace_root(&body);
  h->actions_root = qr_body_actions_root(&body);
  h->env_root = qr_segment_env_root(seg->env, qr_segment_end_states(seg));
  h->replay_root = qr_view_replay_next(&job->view->replay_root, seg);
  if (job->mode == QR_EXEC_VERIFY) {
    if (!qr_hash_eq(&h->env_root, &x->claimed.env_root)) {
      refute(x, QR_VERDICT_ENV_ROOT);
      return;
    }
    if (!qr_hash_eq(&h->replay_root, &x->claimed.replay_root)) {
      refute(x, QR_VERDICT_REPLAY_ROOT);
      return;
    }
  }
  qr_hash_t feed = qr_view_eval_feed(&x->rho);
  begin_evaluation(x, &feed);
}

static void act_once(qr_executor_t *x) {
  qr_segment_t *seg = x->job->segment->seg;
  choose_as_actor(x, x->q);
  memcpy(x->job->actions + (size_t)x->t * E_CNT, x->rollout_actions, E_CNT);
  qr_segment_apply(seg, x->t, x->live, x->rollout_actions);
  if (++x->t < seg->row_cnt / E_CNT) return;
  qr_segment_end(seg, x->live);
  end_acting(x);
}

/* All rows of the segment went through the model at once. As long as the actions are right, so are
   the states that they lead to: the first wrong one shows. */
static void check_actions(qr_executor_t *x) {
  const qr_exec_job_t *job = x->job;
  uint32_t a_cnt = action_cnt_of(x);
  for (x->t = 0; x->t < job->segment->seg->row_cnt / E_CNT; x->t++) {
    choose_as_actor(x, x->q + (size_t)x->t * E_CNT * a_cnt);
    if (!memcmp(x->rollout_actions, job->body->actions + (size_t)x->t * E_CNT, E_CNT)) continue;
    refute(x, QR_VERDICT_ACTIONS);
    return;
  }
  end_acting(x);
}

/* Return of policy 0 over the same evaluation rows. */
static int64_t rule_return(qr_executor_t *x, const qr_hash_t *feed) {
  const qr_env_t *env = env_of(x);
  int64_t sum = 0;
  bool done;
  for (uint32_t i = 0; i < E_CNT; i++) {
    env->start(&x->live[i], feed, i);
    for (uint32_t t = 0; t < x->cfg->p.eval_rows / E_CNT; t++) {
      sum += env->step(&x->live[i], env->policy(&x->live[i], 0), &done);
    }
  }
  return sum;
}

static void end_evaluation(qr_executor_t *x) {
  qr_exec_job_t *job = x->job;
  job->score = x->rollout_return;
  if (job->mode == QR_EXEC_SCORE) {
    finish(x);
    return;
  }
  qr_hash_t feed = qr_view_eval_feed(&x->rho);
  job->facts.model_return = x->rollout_return;
  job->facts.rule_return = rule_return(x, &feed);
  job->header.reward =
      qr_view_reward(&x->cfg->p.tasks[job->task], job->facts.model_return, job->facts.rule_return);
  if (job->mode == QR_EXEC_VERIFY && job->header.reward != x->claimed.reward) {
    refute(x, QR_VERDICT_REWARD);
    return;
  }
  job->won = job->mode == QR_EXEC_MINE;
  finish(x);
}

static void evaluate_once(qr_executor_t *x) {
  const qr_env_t *env = env_of(x);
  bool done;
  choose_greedily(x, x->q);
  for (uint32_t i = 0; i < E_CNT; i++) {
    x->rollout_return += env->step(&x->live[i], x->rollout_actions[i], &done);
  }
  if (++x->t == x->cfg->p.eval_rows / E_CNT) end_evaluation(x);
}

static void send_rollout_forward(qr_executor_t *x) {
  const int8_t *obs = x->forward_obs;
  uint32_t obs_sz = obs_sz_of(x), row_cnt = E_CNT;
  if (x->stage == QR_EXEC_CHECK_ACTIONS) {
    obs = x->job->segment->seg->obs;
    row_cnt = x->job->segment->seg->row_cnt;
  } else if (x->stage == QR_EXEC_ACT) {
    obs = qr_segment_observe(x->job->segment->seg, x->t, x->live);
  } else {
    for (uint32_t i = 0; i < E_CNT; i++)
      env_of(x)->observe(&x->live[i], x->forward_obs + (size_t)i * obs_sz);
  }
  const uint8_t *model = x->job->mode == QR_EXEC_SCORE ? x->job->model_in : x->job->model_out;
  if (!send_forward(x, model, obs, row_cnt)) fail(x, QR_ERR_IO);
}

/* What to do when the accelerator has finished the job in flight. */
static void land(qr_executor_t *x) {
  x->flies_on = NULL;
  if (x->stage == QR_EXEC_TRAIN) {
    follow_training(x);
    if (x->cancel) {
      x->job->cancelled = true;
      finish(x);
    } else if (x->job->verdict) {
      finish(x);
    } else if (x->accel_job.err) {
      fail(x, x->accel_job.err);
    } else {
      x->stage = QR_EXEC_ROOT;
    }
    return;
  }
  if (x->cancel || x->accel_job.err) {
    if (x->stage == QR_EXEC_TARGETS) forget_missing(x);
    x->job->cancelled = x->cancel;
    if (x->cancel)
      finish(x);
    else
      fail(x, x->accel_job.err);
    return;
  }
  if (x->stage == QR_EXEC_TARGETS)
    keep_targets(x);
  else if (x->stage == QR_EXEC_REPEAT)
    compare(x);
  else if (x->stage == QR_EXEC_ACT)
    act_once(x);
  else if (x->stage == QR_EXEC_CHECK_ACTIONS)
    check_actions(x);
  else
    evaluate_once(x);
}

static void advance(qr_executor_t *x) {
  switch (x->stage) {
  case QR_EXEC_REPLAY: replay(x); break;
  case QR_EXEC_GATHER: gather(x); break;
  case QR_EXEC_TARGETS: compute_targets(x); break;
  case QR_EXEC_ROOT: find_root(x); break;
  case QR_EXEC_REPEAT: send_repeat(x); break;
  case QR_EXEC_ACT:
  case QR_EXEC_CHECK_ACTIONS:
  case QR_EXEC_EVALUATE: send_rollout_forward(x); break;
  default: QR_ASSERT(!"a stage that waits has a job in flight");
  }
}

bool qr_executor_away(const qr_executor_t *x, bool *idle) {
  bool away = x->helper.ops && x->flies_on == &x->trainer;
  *idle = away && x->is_idle;
  return away;
}

void qr_executor_abandon(qr_executor_t *x) {
  QR_ASSERT(x->helper.ops && x->flies_on == &x->trainer);
  x->trainer.ops->queue_close(x->trainer.queue);
  x->trainer.queue = NULL; /* the next job opens another one */
  x->flies_on = NULL;
  fail(x, QR_ERR_IO);
}

enum qr_exec_stage qr_executor_stage(const qr_executor_t *x) { return x->stage; }

bool qr_executor_poll(qr_executor_t *x) {
  if (!x->job) return false;
  uint32_t rounds = x->stage == QR_EXEC_ACT || x->stage == QR_EXEC_EVALUATE ? 2 * ROLLOUT_STEPS : 1;
  for (uint32_t i = 0; i < rounds && x->job; i++) {
    if (x->flies_on) {
      uint32_t before = x->accel_job.steps_done;
      x->flies_on->ops->poll(x->flies_on->queue);
      x->is_idle = !x->accel_job.finished && x->accel_job.steps_done == before;
      if (x->accel_job.finished)
        land(x);
      else if (x->stage == QR_EXEC_TRAIN)
        follow_training(x);
    } else if (x->cancel) {
      if (x->stage == QR_EXEC_GATHER || x->stage == QR_EXEC_TARGETS) forget_missing(x);
      x->job->cancelled = true;
      finish(x);
    } else {
      advance(x);
    }
  }
  return true;
}
