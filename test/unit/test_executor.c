/* Executors on accelerators that take replays where they lie, and on others: whoever trains, and
   whoever repeats it, an attempt is the same to the bit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/err.h"
#include "crypto/hash.h"
#include "mine/executor.h"
#include "port/drivers.h"
#include "small_params.h"
#include "step/program.h"
#include "step/ref.h"

#define DELAY 3 /* polls before a job's data is looked at: it is lent until the job is finished */
#define POLL_MAX 100000
#define NONCE_CNT 12u
#define WIN_SHIFT 2 /* one attempt in four wins */

static qr_chain_cfg_t g_chain;
static const qr_accel_ops_t *g_cpu;

static void *take(size_t sz) {
  void *p = aligned_alloc(QR_CACHE_LINE, qr_align_up(sz, QR_CACHE_LINE));
  assert_non_null(p);
  return p;
}

/* ---- the CPU driver, but attempts only as replays ---- */

static struct {
  const qr_view_t *view; /* that of the attempts to come */
  int32_t *want;         /* its targets, by the reference */
  bool lies;
  qr_accel_job_t *outer;
  qr_accel_job_t inner;
  int wait;
  int8_t *obs;
  uint8_t *act;
  int32_t *target;
  uint64_t replays, dense, judged, wrong;
} g_taker;

static void taker_info(const qr_accel_t *a, qr_accel_info_t *out) {
  g_cpu->info(a, out);
  out->takes_replay = true;
}

/* What a job lends is the view's, its rows are what sigma draws, and targets are the reference's.
 */
static void check_replay(const qr_accel_job_t *job) {
  const qr_view_t *v = g_taker.view;
  uint32_t batch = g_chain.nets[v->task].spec.batch, n = qr_view_row_cnt(v);
  uint32_t rows[64];
  uint8_t scratch[256];
  assert_true(batch <= QR_ARRAY_CNT(rows) && qr_step_batch_scratch_sz(n) <= sizeof scratch);
  assert_true(!job->obs && !job->act && !job->target);
  assert_int_equal(job->segment_cnt, v->segment_cnt);
  assert_int_equal(job->segment_rows, g_chain.p.segment_rows);
  for (uint32_t i = 0; i < v->segment_cnt; i++) {
    const qr_segment_t *seg = v->segments[i]->seg;
    assert_int_equal(job->segments[i].tag, seg->key);
    assert_ptr_equal(job->segments[i].obs, seg->obs);
    assert_ptr_equal(job->segments[i].act, seg->actions);
  }
  for (uint32_t k = 0; k < job->step_cnt; k++) {
    qr_step_batch(&job->sigma, k, n, batch, rows, scratch);
    assert_memory_equal(rows, job->rows + k * batch, batch * sizeof *rows);
    for (uint32_t i = 0; i < batch; i++) {
      const qr_accel_segment_t *s = &job->segments[rows[i] / job->segment_rows];
      assert_int_equal(s->target[rows[i] % job->segment_rows], g_taker.want[rows[i]]);
    }
  }
}

static void make_dense(const qr_accel_job_t *job, qr_accel_job_t *out) {
  const qr_net_t *net = &g_chain.nets[g_taker.view->task];
  *out = *job;
  for (uint32_t i = 0; i < job->step_cnt * net->spec.batch; i++) {
    const qr_accel_segment_t *s = &job->segments[job->rows[i] / job->segment_rows];
    uint32_t r = job->rows[i] % job->segment_rows;
    memcpy(g_taker.obs + (size_t)i * net->in_sz, s->obs + (size_t)r * net->in_sz, net->in_sz);
    g_taker.act[i] = s->act[r];
    g_taker.target[i] = s->target[r];
  }
  out->segments = NULL;
  out->obs = g_taker.obs;
  out->act = g_taker.act;
  out->target = g_taker.target;
}

static int taker_submit(qr_accel_queue_t *q, qr_accel_job_t *job) {
  if (job->kind == QR_ACCEL_ATTEMPT && !job->segments) g_taker.dense++;
  if (job->kind != QR_ACCEL_ATTEMPT || !job->segments) return g_cpu->submit(q, job);
  g_taker.replays++;
  g_taker.outer = job;
  g_taker.wait = DELAY;
  job->finished = false;
  job->steps_done = 0;
  return 0;
}

static int taker_poll(qr_accel_queue_t *q) {
  if (!g_taker.outer) return g_cpu->poll(q);
  if (g_taker.wait && --g_taker.wait) return 0;
  if (!g_taker.inner.kind && !g_taker.inner.obs) {
    check_replay(g_taker.outer);
    make_dense(g_taker.outer, &g_taker.inner);
    assert_int_equal(g_cpu->submit(q, &g_taker.inner), 0);
  }
  (void)g_cpu->poll(q);
  g_taker.outer->steps_done = g_taker.inner.steps_done;
  if (!g_taker.inner.finished) return 0;
  if (g_taker.lies) g_taker.inner.model_out[7] ^= 1;
  g_taker.outer->err = g_taker.inner.err;
  g_taker.outer->finished = true;
  g_taker.outer = NULL;
  memset(&g_taker.inner, 0, sizeof g_taker.inner);
  return 1;
}

static void taker_cancel(qr_accel_queue_t *q, qr_accel_job_t *job) {
  if (job != g_taker.outer)
    g_cpu->cancel(q, job);
  else if (g_taker.inner.obs)
    g_cpu->cancel(q, &g_taker.inner);
  else {
    memmove(job->model_out, job->model_in, g_chain.nets[g_taker.view->task].model_sz);
    job->err = QR_ERR_CANCELLED;
    job->finished = true;
    g_taker.outer = NULL;
  }
}

static void taker_judge(qr_accel_t *a, uint32_t unit, bool right) {
  (void)a, (void)unit;
  g_taker.judged++;
  g_taker.wrong += !right;
}

static qr_accel_ops_t g_taker_ops;

static void make_taker(void) {
  g_taker_ops = *g_cpu;
  g_taker_ops.name = "taker";
  g_taker_ops.info = taker_info;
  g_taker_ops.submit = taker_submit;
  g_taker_ops.poll = taker_poll;
  g_taker_ops.cancel = taker_cancel;
  g_taker_ops.judge = taker_judge;
}

/* ---- a chain to mine on ---- */

typedef struct {
  qr_objects_t objects;
  qr_task_genesis_t genesis;
  qr_view_t view;
  int32_t *want;
} rig_t;

/* Targets of every row of the view, one by one, by the reference. */
static void want_targets(rig_t *r) {
  const qr_view_t *v = &r->view;
  const qr_net_t *net = &g_chain.nets[v->task];
  const qr_task_params_t *task = &g_chain.p.tasks[v->task];
  uint32_t seg_rows = g_chain.p.segment_rows, e = QR_SEGMENT_INSTANCE_CNT;
  qr_step_prog_t prog;
  qr_step_lower(net, &prog);
  void *mem = take(qr_ref_footprint(net));
  qr_ref_t *ref = qr_ref_init(mem, net, &prog);
  int32_t q[QR_ENV_ACTION_MAX_CNT];
  for (uint32_t i = 0; i < qr_view_row_cnt(v); i++) {
    const qr_segment_t *s = v->segments[i / seg_rows]->seg;
    uint32_t row = i % seg_rows;
    qr_ref_forward(ref, v->target->bytes, s->obs + (size_t)(row + e) * net->in_sz, 1, q);
    r->want[i] = qr_step_td_target(s->rewards[row], s->dones[row],
                                   q[qr_step_argmax(q, net->spec.action_cnt)], task->gamma_q16,
                                   task->q_clip);
  }
  free(mem);
  g_taker.view = v;
  g_taker.want = r->want;
}

static void rig_open(rig_t *r, uint32_t task) {
  qr_objects_cfg_t sizes = {.model_cnt = 2, .segment_cnt = 24, .block_cnt = 1};
  memset(r, 0, sizeof *r);
  memset(&g_taker, 0, sizeof g_taker);
  assert_int_equal(qr_objects_init(&r->objects, &g_chain, &sizes), 0);
  assert_int_equal(qr_task_genesis_init(&r->genesis, &r->objects, task), 0);
  r->view = (qr_view_t){.cfg = &g_chain,
                        .task = task,
                        .segment_cnt = r->genesis.segment_cnt,
                        .target = r->genesis.model,
                        .replay_root = r->genesis.replay_root};
  memcpy(r->view.segments, r->genesis.segments, sizeof r->genesis.segments);
  size_t rows = g_chain.p.replay_rows,
         total = (size_t)g_chain.p.step_cnt * g_chain.nets[task].spec.batch;
  r->want = take(rows * sizeof *r->want);
  g_taker.obs = take(total * g_chain.nets[task].in_sz);
  g_taker.act = take(total);
  g_taker.target = take(total * sizeof *g_taker.target);
  want_targets(r);
}

static void rig_close(rig_t *r) {
  for (uint32_t i = 0; i < r->view.segment_cnt; i++) qr_pool_unref(r->view.segments[i]);
  qr_pool_unref(r->genesis.model);
  qr_objects_fini(&r->objects);
  free(r->want), free(g_taker.obs), free(g_taker.act), free(g_taker.target);
}

/* The block's segment comes into the window and the oldest leaves it when it is full. */
static void move_on(rig_t *r, qr_segment_obj_t *s) {
  qr_view_t *v = &r->view;
  v->segments[v->segment_cnt++] = qr_pool_ref(s);
  v->replay_root = qr_view_replay_next(&v->replay_root, s->seg);
  v->task_idx++;
  v->parent = qr_hash("test", &v->parent, sizeof v->parent);
  if (qr_view_row_cnt(v) > g_chain.p.replay_rows) {
    qr_pool_unref(v->segments[0]);
    memmove(v->segments, v->segments + 1, --v->segment_cnt * sizeof *v->segments);
  }
  want_targets(r);
}

typedef struct {
  const qr_accel_ops_t *ops;
  qr_accel_t *dev;
  uint32_t progs[QR_TASK_MAX_CNT];
} card_t;

static void dev_open(card_t *d, const qr_accel_ops_t *ops) {
  char why[256];
  d->ops = ops;
  if (ops->open("", &d->dev, why, sizeof why)) fail_msg("%s", why);
  assert_int_equal(qr_executor_load(&g_chain, ops, d->dev, d->progs), 0);
}

/* trainer alone, or with a helper that checks every attempt. */
static qr_executor_t *executor_on(const card_t *trainer, const card_t *helper) {
  qr_executor_t *x;
  assert_int_equal(qr_executor_init(&x, &g_chain, trainer->ops, trainer->dev, trainer->progs), 0);
  if (helper) assert_int_equal(qr_executor_check(x, helper->ops, helper->dev, helper->progs, 1), 0);
  return x;
}

static qr_exec_job_t *mine_job(rig_t *r, const uint8_t *model_in, uint32_t nonce) {
  qr_exec_job_t *job = calloc(1, sizeof *job);
  assert_non_null(job);
  *job = (qr_exec_job_t){.mode = QR_EXEC_MINE,
                         .task = r->view.task,
                         .view = &r->view,
                         .model_in = model_in,
                         .model_out = take(g_chain.nets[r->view.task].model_sz),
                         .segment = qr_objects_segment(&r->objects, r->view.task),
                         .header = {.version = QR_HEADER_VERSION,
                                    .chain_id = g_chain.p.chain_id,
                                    .rules = g_chain.rules,
                                    .task = r->view.task,
                                    .parent = r->view.parent,
                                    .target = g_chain.p.max_target,
                                    .nonce = nonce}};
  assert_non_null(job->segment);
  return job;
}

static void job_free(qr_exec_job_t *job) {
  qr_pool_unref(job->segment);
  free(job->model_out);
  free(job);
}

static void run(qr_executor_t *x, qr_exec_job_t *job) {
  qr_executor_start(x, job);
  for (int i = 0; i < POLL_MAX && !job->done; i++) qr_executor_poll(x);
  assert_true(job->done);
}

static void same(const qr_exec_job_t *a, const qr_exec_job_t *b) {
  assert_int_equal(a->err, b->err);
  assert_int_equal(a->won, b->won);
  assert_int_equal(a->steps_done, b->steps_done);
  assert_memory_equal(a->model_out, b->model_out, g_chain.nets[a->task].model_sz);
  assert_memory_equal(a->trace, b->trace, g_chain.p.step_cnt * sizeof *a->trace);
  assert_memory_equal(&a->header.model_out, &b->header.model_out, sizeof(qr_hash_t));
  if (!a->won) return;
  assert_int_equal(a->facts.td_abs_sum, b->facts.td_abs_sum);
  assert_memory_equal(a->actions, b->actions, g_chain.p.segment_rows);
  assert_memory_equal(&a->header.replay_root, &b->header.replay_root, sizeof(qr_hash_t));
  assert_int_equal(a->header.reward, b->header.reward);
}

/* What was mined on one executor passes on another. */
static void verify(qr_executor_t *x, rig_t *r, const qr_exec_job_t *block) {
  qr_exec_job_t *job = mine_job(r, block->model_in, 0);
  qr_body_t body = {.step_cnt = (uint16_t)g_chain.p.step_cnt,
                    .trace = block->trace,
                    .action_cnt = g_chain.p.segment_rows,
                    .actions = block->actions};
  job->mode = QR_EXEC_VERIFY;
  job->body = &body;
  job->header = block->header;
  run(x, job);
  assert_int_equal(job->err, 0);
  assert_int_equal(job->verdict, QR_VERDICT_OK);
  job_free(job);
}

/* ---- tests ---- */

static void mine_on_all(uint32_t task) {
  rig_t r;
  card_t cpu, taker;
  dev_open(&cpu, g_cpu);
  rig_open(&r, task);
  dev_open(&taker, &g_taker_ops);
  enum { X_CNT = 4 };
  qr_executor_t *x[X_CNT] = {executor_on(&cpu, NULL), executor_on(&taker, NULL),
                             executor_on(&taker, &cpu), executor_on(&cpu, &taker)};
  uint32_t won = 0, move_cnt = g_chain.p.replay_rows / g_chain.p.segment_rows;
  uint8_t *model = take(g_chain.nets[task].model_sz);
  memcpy(model, r.genesis.model->bytes, g_chain.nets[task].model_sz);
  for (uint32_t nonce = 0; won < move_cnt; nonce++) {
    qr_exec_job_t *job[X_CNT];
    assert_true(nonce < 20 * NONCE_CNT);
    for (int i = 0; i < X_CNT; i++) {
      job[i] = mine_job(&r, model, nonce);
      run(x[i], job[i]);
      assert_int_equal(job[i]->err, 0);
      if (i) same(job[0], job[i]);
    }
    if (job[0]->won) {
      for (int i = 0; i < X_CNT; i++) verify(x[i], &r, job[(i + 1) % X_CNT]);
      won++;
      move_on(&r, job[1]->segment);
    }
    memcpy(model, job[0]->model_out, g_chain.nets[task].model_sz); /* the next goes on from there */
    for (int i = 0; i < X_CNT; i++) job_free(job[i]);
  }
  assert_true(g_taker.replays > won && g_taker.dense > won); /* dense: as the one who repeats */
  assert_int_equal(g_taker.wrong, 0);
  assert_true(g_taker.judged > won);
  for (int i = 0; i < X_CNT; i++) qr_executor_fini(x[i]);
  free(model);
  rig_close(&r);
  cpu.ops->close(cpu.dev);
  taker.ops->close(taker.dev);
}

static void test_both_ways(void **state) {
  (void)state;
  for (uint32_t task = 0; task < g_chain.p.task_cnt; task++) mine_on_all(task);
}

/* A wrong result is found by who had to copy the minibatches first. */
static void test_lie_is_found(void **state) {
  (void)state;
  rig_t r;
  card_t cpu, taker;
  rig_open(&r, 0);
  dev_open(&cpu, g_cpu);
  dev_open(&taker, &g_taker_ops);
  qr_executor_t *x = executor_on(&taker, &cpu);
  g_taker.lies = true;
  qr_exec_job_t *job = mine_job(&r, r.genesis.model->bytes, 1);
  run(x, job);
  assert_int_equal(job->err, QR_ERR_CORRUPT);
  assert_int_equal(g_taker.wrong, 1);
  job_free(job);
  qr_executor_fini(x);
  rig_close(&r);
  cpu.ops->close(cpu.dev);
  taker.ops->close(taker.dev);
}

/* A job is cancelled after any number of polls; the next one on the same executor is right. Copying
   for the one who repeats is cut into pieces, one for each step. */
static void test_cancel_anywhere(void **state) {
  (void)state;
  rig_t r;
  card_t cpu, taker;
  rig_open(&r, 1);
  dev_open(&cpu, g_cpu);
  dev_open(&taker, &g_taker_ops);
  qr_executor_t *plain = executor_on(&cpu, NULL), *x = executor_on(&taker, &cpu);
  bool ended = false;
  uint32_t in_repeat = 0, stages = 0;
  for (int polls = 0; !ended; polls++) {
    assert_true(polls < POLL_MAX);
    qr_exec_job_t *job = mine_job(&r, r.genesis.model->bytes, (uint32_t)polls),
                  *want = mine_job(&r, r.genesis.model->bytes, 9), *got;
    qr_executor_start(x, job);
    for (int i = 0; i < polls && !job->done; i++) qr_executor_poll(x);
    ended = job->done;
    if (!ended) {
      bool idle;
      stages |= 1u << qr_executor_stage(x);
      in_repeat += qr_executor_stage(x) == QR_EXEC_REPEAT && !qr_executor_away(x, &idle);
      qr_executor_cancel(x);
      for (int i = 0; i < POLL_MAX && !job->done; i++) qr_executor_poll(x);
      assert_true(job->done && job->cancelled);
    }
    got = mine_job(&r, r.genesis.model->bytes, 9);
    run(plain, want);
    run(x, got);
    same(want, got);
    job_free(job), job_free(want), job_free(got);
  }
  assert_true(stages & 1u << QR_EXEC_GATHER && stages & 1u << QR_EXEC_TARGETS &&
              stages & 1u << QR_EXEC_TRAIN);
  assert_true(in_repeat > g_chain.p.step_cnt);
  qr_executor_fini(plain);
  qr_executor_fini(x);
  rig_close(&r);
  cpu.ops->close(cpu.dev);
  taker.ops->close(taker.dev);
}

/* No two segments have one key, not even in two nodes of a process, or in the same memory. */
static void test_keys(void **state) {
  (void)state;
  enum { ROUND_CNT = 100 };
  qr_objects_t o[2];
  qr_objects_cfg_t sizes = {.model_cnt = 1, .segment_cnt = 1, .block_cnt = 1};
  uint64_t last = 0;
  for (int i = 0; i < 2; i++) assert_int_equal(qr_objects_init(&o[i], &g_chain, &sizes), 0);
  for (int i = 0; i < ROUND_CNT; i++) {
    qr_segment_obj_t *s = qr_objects_segment(&o[i & 1], (uint32_t)i / 2 % g_chain.p.task_cnt);
    assert_non_null(s);
    assert_true(s->seg->key > last);
    last = s->seg->key;
    qr_pool_unref(s);
  }
  for (int i = 0; i < 2; i++) qr_objects_fini(&o[i]);
}

static void make_chain(void) {
  char why[256];
  qr_params_t p;
  assert_true(small_params(&p, WIN_SHIFT));
  p.step_cnt = 3;
  p.segment_rows = 48;
  p.eval_rows = 32;
  p.replay_rows = 192;
  if (qr_params_init(&p, &g_chain, why, sizeof why)) fail_msg("%s", why);
}

static int set_up(void **state) {
  (void)state;
  g_cpu = qr_accel_driver("cpu");
  assert_non_null(g_cpu);
  make_taker();
  make_chain();
  return 0;
}

int main(void) {
  if (qr_crypto_init()) return 1;
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_both_ways), cmocka_unit_test(test_lie_is_found),
      cmocka_unit_test(test_cancel_anywhere), cmocka_unit_test(test_keys)};
  return cmocka_run_group_tests(tests, set_up, NULL);
}
