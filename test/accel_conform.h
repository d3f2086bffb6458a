/* What every accel driver must do, whatever it runs on: jobs agree with the reference to the bit.
   One body for all drivers; a test that needs a card or an emulator includes this file and calls
   conform_all with its own options. Uses cmocka. */
#ifndef QR_TEST_ACCEL_CONFORM_H
#define QR_TEST_ACCEL_CONFORM_H

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <cmocka.h>

#include "base/err.h"
#include "net_gen.h"
#include "net_specs.h"
#include "port/accel.h"
#include "step/ref.h"
#include "step/ref_gemm.h"

#pragma GCC diagnostic ignored "-Wunused-function" /* a test takes what it needs */

#define CONFORM_STEP_MAX 4u
#define CONFORM_ROW_MAX 300u
#define CONFORM_WAIT_S 120
#ifndef CONFORM_ROUND_CNT /* of inputs for a network; fewer where a processor is emulated */
#define CONFORM_ROUND_CNT (GEN_MODE_CNT + 2)
#endif

/* A network with its reference and room for the jobs of a test. All tensors lie at odd addresses: a
   caller cuts minibatches out of larger arrays. */
typedef struct {
  qr_net_t net;
  qr_step_prog_t prog;
  uint32_t id;
  void *ref_mem;
  qr_ref_t *ref;
  uint8_t *model, *out, *want; /* model_sz each */
  int8_t *obs;
  uint8_t *act;
  int32_t *target, *q, *q_want;
  uint64_t digests[CONFORM_STEP_MAX * QR_STEP_GEMM_MAX_CNT], td[CONFORM_STEP_MAX];
  qr_hash_t sigma;
} conform_net_t;

static void *conform_take(size_t sz) {
  void *p = malloc(sz);
  assert_non_null(p);
  return p;
}

static void conform_net_open(conform_net_t *c, const qr_net_t *net) {
  memset(c, 0, sizeof *c);
  c->net = *net;
  qr_step_lower(net, &c->prog);
  c->ref_mem = aligned_alloc(64, qr_align_up(qr_ref_footprint(&c->net), 64));
  assert_non_null(c->ref_mem);
  c->ref = qr_ref_init(c->ref_mem, &c->net, &c->prog);
  size_t rows = (size_t)CONFORM_STEP_MAX * net->spec.batch;
  size_t most = rows > CONFORM_ROW_MAX ? rows : CONFORM_ROW_MAX;
  c->model = conform_take(net->model_sz);
  c->out = conform_take(net->model_sz);
  c->want = conform_take(net->model_sz);
  c->obs = conform_take(most * net->in_sz + 1);
  c->act = conform_take(rows);
  c->target = conform_take(rows * 4);
  c->q = conform_take((size_t)CONFORM_ROW_MAX * net->spec.action_cnt * 4);
  c->q_want = conform_take((size_t)CONFORM_ROW_MAX * net->spec.action_cnt * 4);
}

static void conform_net_close(conform_net_t *c) {
  free(c->ref_mem), free(c->model), free(c->out), free(c->want), free(c->obs);
  free(c->act), free(c->target), free(c->q), free(c->q_want);
}

static enum gen_mode conform_mode(gen_t *g) {
  return (enum gen_mode)gen_range(g, 0, GEN_MODE_CNT - 1);
}

/* Fresh inputs; each tensor has a mode of its own, unless every is given. */
static void conform_fill(conform_net_t *c, gen_t *g, int every) {
  size_t rows = (size_t)CONFORM_STEP_MAX * c->net.spec.batch;
  size_t most = rows > CONFORM_ROW_MAX ? rows : CONFORM_ROW_MAX;
  gen_model(g, every >= 0 ? (enum gen_mode)every : conform_mode(g), &c->net, c->model);
  gen_obs(g, every >= 0 ? (enum gen_mode)every : conform_mode(g), c->obs + 1, most * c->net.in_sz);
  gen_act(g, &c->net, c->act, rows);
  gen_target(g, every >= 0 ? (enum gen_mode)every : conform_mode(g), c->target, rows);
  c->sigma = gen_hash(g);
}

static qr_accel_job_t conform_attempt(conform_net_t *c, uint32_t step_cnt, uint32_t lr_shift) {
  memset(c->digests, 0x5a, sizeof c->digests);
  memset(c->td, 0x5a, sizeof c->td);
  memset(c->out, 0x5a, c->net.model_sz);
  return (qr_accel_job_t){.kind = QR_ACCEL_ATTEMPT,
                          .prog = c->id,
                          .model_in = c->model,
                          .model_out = c->out,
                          .sigma = c->sigma,
                          .step_cnt = step_cnt,
                          .lr_shift = lr_shift,
                          .obs = c->obs + 1,
                          .act = c->act,
                          .target = c->target,
                          .digests = c->digests,
                          .td_abs_sum = c->td};
}

static qr_accel_job_t conform_forward(conform_net_t *c, uint32_t rows) {
  memset(c->q, 0x5a, (size_t)CONFORM_ROW_MAX * c->net.spec.action_cnt * 4);
  return (qr_accel_job_t){.kind = QR_ACCEL_FORWARD,
                          .prog = c->id,
                          .model_in = c->model,
                          .obs = c->obs + 1,
                          .row_cnt = rows,
                          .q = c->q};
}

/* Polls until the job is finished; a driver that hangs fails the test. */
static void conform_wait(const qr_accel_ops_t *ops, qr_accel_queue_t *q,
                         const qr_accel_job_t *job) {
  time_t end = time(NULL) + CONFORM_WAIT_S;
  while (!job->finished) {
    const struct timespec moment = {0, 20000}; /* a core for whoever does the work elsewhere */
    uint32_t before = job->steps_done;
    assert_true(ops->poll(q) >= 0);
    if (!job->finished && job->steps_done == before) nanosleep(&moment, NULL);
    assert_true(time(NULL) < end);
  }
}

/* The first steps of the attempt in c against the reference: digests, errors and the model. */
static void conform_check_attempt(conform_net_t *c, const uint8_t *before, uint32_t steps,
                                  uint32_t lr_shift) {
  uint32_t b = c->net.spec.batch;
  uint64_t dig[QR_STEP_GEMM_MAX_CNT], td;
  memcpy(c->want, before, c->net.model_sz);
  for (uint32_t k = 0; k < steps; k++) {
    qr_ref_step(c->ref, c->want, c->obs + 1 + (size_t)k * b * c->net.in_sz, c->act + k * b,
                c->target + k * b, &c->sigma, k, lr_shift, dig, &td);
    assert_memory_equal(c->digests + k * c->prog.digest_cnt, dig, c->prog.digest_cnt * sizeof *dig);
    assert_int_equal(c->td[k], td);
  }
  assert_memory_equal(c->out, c->want, c->net.model_sz);
}

static void conform_check_forward(conform_net_t *c, uint32_t rows) {
  qr_ref_forward(c->ref, c->model, c->obs + 1, rows, c->q_want);
  assert_memory_equal(c->q, c->q_want, (size_t)rows * c->net.spec.action_cnt * 4);
}

typedef struct {
  const qr_accel_ops_t *ops;
  qr_accel_t *dev;
  qr_accel_queue_t *q;
} conform_dev_t;

/* Opens a device with the networks loaded. Returns false, with the driver's own reason printed, if
   it cannot run here. */
static bool conform_dev_open(conform_dev_t *d, const qr_accel_ops_t *ops, const char *options,
                             conform_net_t *nets, uint32_t cnt) {
  char why[256] = "";
  d->ops = ops;
  int err = ops->open(options, &d->dev, why, sizeof why);
  if (err) {
    assert_true(why[0]);
    print_message("accel/%s %s: not run here: %s\n", ops->name, options, why);
    return false;
  }
  for (uint32_t i = 0; i < cnt; i++)
    assert_int_equal(ops->load(d->dev, &nets[i].net, &nets[i].prog, &nets[i].id), 0);
  assert_int_equal(ops->queue_open(d->dev, &d->q), 0);
  return true;
}

static void conform_dev_close(conform_dev_t *d) {
  d->ops->queue_close(d->q);
  d->ops->close(d->dev);
}

/* Attempts of every length, the first rounds one mode each, and forward passes around the sizes of
   tiles and chunks. */
static void conform_results(conform_dev_t *d, conform_net_t *c, gen_t *g, int rounds) {
  static const uint32_t row_cnts[] = {1, 15, 16, 17, CONFORM_ROW_MAX};
  for (int i = 0; i < rounds; i++) {
    conform_fill(c, g, i < GEN_MODE_CNT ? i : -1);
    uint32_t steps = (uint32_t)gen_range(g, 1, CONFORM_STEP_MAX),
             lr = (uint32_t)gen_range(g, 0, i & 1 ? 3 : 70);
    qr_accel_job_t job = conform_attempt(c, steps, lr);
    assert_int_equal(d->ops->submit(d->q, &job), 0);
    conform_wait(d->ops, d->q, &job);
    assert_int_equal(job.err, 0);
    assert_int_equal(job.steps_done, steps);
    conform_check_attempt(c, c->model, steps, lr);
    job = conform_forward(c, row_cnts[i % 5]);
    assert_int_equal(d->ops->submit(d->q, &job), 0);
    conform_wait(d->ops, d->q, &job);
    assert_int_equal(job.err, 0);
    conform_check_forward(c, row_cnts[i % 5]);
  }
}

/* Jobs of equal tags may share what was made of the model; another model with another tag, or one
   without a tag, must not. */
static void conform_tags(conform_dev_t *d, conform_net_t *a, conform_net_t *b, gen_t *g) {
  static const struct {
    int net, tag;
    bool fresh;
  } jobs[] = {{0, 7, true}, {0, 7, false}, {1, 7, true},  {0, 7, false}, {0, 8, true},
              {0, 0, true}, {0, 0, true},  {0, 8, false}, {0, 9, true},  {1, 9, true}};
  static uint8_t kept[2][10][QR_MODEL_MAX_SZ]; /* the model of a network and tag */
  conform_net_t *nets[] = {a, b};
  for (size_t i = 0; i < QR_ARRAY_CNT(jobs); i++) {
    conform_net_t *c = nets[jobs[i].net];
    uint8_t *model = kept[jobs[i].net][jobs[i].tag];
    conform_fill(c, g, GEN_UNIFORM);
    if (jobs[i].fresh) memcpy(model, c->model, c->net.model_sz);
    memcpy(c->model, model, c->net.model_sz);
    qr_accel_job_t job = conform_forward(c, 17);
    job.model_tag = (uint64_t)jobs[i].tag;
    assert_int_equal(d->ops->submit(d->q, &job), 0);
    conform_wait(d->ops, d->q, &job);
    conform_check_forward(c, 17);
  }
}

/* A product of any shape with operands at odd addresses. */
typedef struct {
  qr_step_op_t op;
  size_t a_cnt, b_cnt, c_cnt;
  int8_t *a, *b;
  int32_t *c, *want;
  qr_ref_pack_t pack;
} conform_gemm_t;

/* Convolutions have few channels and samples, other products ragged sizes, of which one may be
   larger than any block of a driver. */
static qr_step_op_t conform_gemm_op(gen_t *g) {
  qr_step_op_t op = {.kind = QR_OP_GEMM, .digest = QR_STEP_NO_DIGEST};
  int64_t large = gen_range(g, 0, 5);
  op.m = (uint32_t)gen_range(g, 1, large == 0 ? 1200 : 60);
  op.n = (uint32_t)gen_range(g, 1, large == 1 ? 1200 : 60);
  op.k = (uint32_t)gen_range(g, 1, large == 2 ? 1200 : 60);
  op.flags = (uint16_t)gen_range(g, 0, 7);
  if (op.flags & QR_GEMM_A_CONV) {
    uint32_t h = (uint32_t)gen_range(g, 1, 5), w = (uint32_t)gen_range(g, 1, 6),
             c = (uint32_t)gen_range(g, 1, 9), sy = gen_divisor(g, h), sx = gen_divisor(g, w);
    op.geo = (qr_step_geo_t){(uint16_t)h,        (uint16_t)w,  (uint16_t)c,  (uint16_t)(h / sy),
                             (uint16_t)(w / sx), (uint16_t)sy, (uint16_t)sx, 0};
    uint32_t rows = h / sy * (w / sx) * (uint32_t)gen_range(g, 1, 20);
    op.m = op.flags & QR_GEMM_A_TRANS ? 9 * c : rows;
    op.k = op.flags & QR_GEMM_A_TRANS ? rows : 9 * c;
  }
  return op;
}

static void conform_gemm_open(conform_gemm_t *c, gen_t *g) {
  const qr_step_op_t *op = &c->op;
  const qr_step_geo_t *y = &op->geo;
  c->op = conform_gemm_op(g);
  c->a_cnt = (size_t)op->m * op->k;
  if (op->flags & QR_GEMM_A_CONV)
    c->a_cnt = (op->flags & QR_GEMM_A_TRANS ? op->k : op->m) / (y->out_h * y->out_w) *
               (size_t)y->h * y->w * y->c;
  c->b_cnt = (size_t)op->n * op->k;
  c->c_cnt = (size_t)op->m * op->n;
  c->a = conform_take(c->a_cnt + 1);
  c->b = conform_take(c->b_cnt + 3);
  c->c = conform_take((c->c_cnt + 2) * 4);
  c->want = conform_take(c->c_cnt * 4);
  c->pack.a = conform_take((size_t)op->m * op->k * 2);
  c->pack.b = conform_take(c->b_cnt * 2);
  gen_obs(g, conform_mode(g), c->a + 1, c->a_cnt);
  gen_obs(g, conform_mode(g), c->b + 3, c->b_cnt);
  memset(c->c, 0x5a, (c->c_cnt + 2) * 4);
  qr_ref_gemm(&c->pack, op, c->a + 1, c->b + 3, c->want);
}

static void conform_gemm_close(conform_gemm_t *c) {
  free(c->a), free(c->b), free(c->c), free(c->want), free(c->pack.a), free(c->pack.b);
}

static uint32_t conform_phase_cnt(const qr_accel_ops_t *ops) {
  uint32_t cnt = 0;
  while (ops->phases && ops->phases[cnt]) cnt++;
  return cnt;
}

/* Products against the reference; nothing is written beside C, and the time of some is told. */
static void conform_gemms(conform_dev_t *d, gen_t *g, int rounds) {
  enum { PHASE_MAX = 64 };
  uint64_t ns[PHASE_MAX] = {0}, sum = 0;
  uint32_t phase_cnt = conform_phase_cnt(d->ops);
  assert_true(phase_cnt <= PHASE_MAX);
  for (int i = 0; i < rounds; i++) {
    conform_gemm_t c;
    conform_gemm_open(&c, g);
    qr_accel_job_t job = {.kind = QR_ACCEL_GEMM,
                          .gemm = &c.op,
                          .a = c.a + 1,
                          .b = c.b + 3,
                          .c = c.c + 1,
                          .phase_ns = i & 1 ? ns : NULL};
    assert_int_equal(d->ops->submit(d->q, &job), 0);
    conform_wait(d->ops, d->q, &job);
    assert_int_equal(job.err, 0);
    assert_memory_equal(c.c + 1, c.want, c.c_cnt * 4);
    assert_int_equal(c.c[0], 0x5a5a5a5a);
    assert_int_equal(c.c[c.c_cnt + 1], 0x5a5a5a5a);
    conform_gemm_close(&c);
  }
  for (uint32_t i = 0; i < phase_cnt; i++) sum += ns[i];
  assert_true(!phase_cnt || sum > 0);
}

/* Descriptors that are none. */
static void conform_gemm_misuse(conform_dev_t *d) {
  static int8_t a[64], b[64];
  static int32_t c[64];
  const qr_step_op_t good = {.kind = QR_OP_GEMM, .m = 4, .n = 4, .k = 4};
  for (int what = 0; what < 9; what++) {
    qr_step_op_t op = good;
    qr_accel_job_t job = {.kind = QR_ACCEL_GEMM, .gemm = &op, .a = a, .b = b, .c = c};
    if (what == 0) op.m = 0;
    if (what == 1) op.k = 0;
    if (what == 2) op.k = (1u << 19) + 1; /* 64 * 64 * k does not fit */
    if (what == 3) op.n = (1u << 22) + 1; /* more elements than there may be */
    if (what == 4) op.flags = 8;
    if (what == 5) op.flags = QR_GEMM_A_CONV; /* without a geometry */
    if (what == 6) job.gemm = NULL;
    if (what == 7) job.b = NULL;
    if (what == 8) job.c = NULL;
    assert_int_equal(d->ops->submit(d->q, &job), QR_ERR_ARG);
  }
  assert_int_equal(d->ops->poll(d->q), 0);
}

/* The phases of an attempt add up to no more than the time it took. */
static void conform_phases(conform_dev_t *d, conform_net_t *c, gen_t *g) {
  uint64_t ns[64] = {0}, sum = 0;
  struct timespec t[2];
  conform_fill(c, g, GEN_INIT);
  qr_accel_job_t job = conform_attempt(c, CONFORM_STEP_MAX, 1);
  job.phase_ns = ns;
  clock_gettime(CLOCK_MONOTONIC, &t[0]);
  assert_int_equal(d->ops->submit(d->q, &job), 0);
  conform_wait(d->ops, d->q, &job);
  clock_gettime(CLOCK_MONOTONIC, &t[1]);
  conform_check_attempt(c, c->model, CONFORM_STEP_MAX, 1);
  for (uint32_t i = 0; i < conform_phase_cnt(d->ops); i++) sum += ns[i];
  int64_t took = (t[1].tv_sec - t[0].tv_sec) * 1000000000 + t[1].tv_nsec - t[0].tv_nsec;
  assert_true(sum <= (uint64_t)took + (uint64_t)took / 8);
  assert_true(!conform_phase_cnt(d->ops) || sum > 0);
}

/* An attempt that writes over the model it started from. */
static void conform_in_place(conform_dev_t *d, conform_net_t *c, gen_t *g) {
  conform_fill(c, g, GEN_INIT);
  qr_accel_job_t job = conform_attempt(c, 2, 1);
  memcpy(c->out, c->model, c->net.model_sz);
  job.model_in = c->out;
  assert_int_equal(d->ops->submit(d->q, &job), 0);
  conform_wait(d->ops, d->q, &job);
  conform_check_attempt(c, c->model, 2, 1);
}

/* A cancelled job finishes, says how far it came, and its model is that many steps on. */
static void conform_cancel(conform_dev_t *d, conform_net_t *c, gen_t *g, uint32_t polls) {
  conform_fill(c, g, GEN_UNIFORM);
  qr_accel_job_t job = conform_attempt(c, CONFORM_STEP_MAX, 0);
  assert_int_equal(d->ops->submit(d->q, &job), 0);
  for (uint32_t i = 0; i < polls && !job.finished; i++) (void)d->ops->poll(d->q);
  if (!job.finished) d->ops->cancel(d->q, &job);
  conform_wait(d->ops, d->q, &job);
  assert_int_equal(job.err, job.steps_done < CONFORM_STEP_MAX ? QR_ERR_CANCELLED : job.err);
  conform_check_attempt(c, c->model, job.steps_done, 0);
}

/* A full queue says so, keeps every job apart, and counts each finished job once. */
static void conform_queue(conform_dev_t *d, conform_net_t *nets, uint32_t net_cnt, gen_t *g) {
  enum { JOB_MAX = 64 };
  qr_accel_info_t info;
  d->ops->info(d->dev, &info);
  assert_true(info.queue_depth >= 1);
  assert_true(info.name[0]);
  uint32_t cnt = info.queue_depth < net_cnt ? info.queue_depth : net_cnt, finished = 0;
  qr_accel_job_t job[JOB_MAX];
  for (uint32_t i = 0; i < cnt; i++) {
    conform_fill(&nets[i], g, GEN_INIT);
    job[i] = i & 1 ? conform_forward(&nets[i], 33) : conform_attempt(&nets[i], 2, 1);
    assert_int_equal(d->ops->submit(d->q, &job[i]), 0);
  }
  if (info.queue_depth <= JOB_MAX) { /* the rest of the queue: jobs that end at once */
    qr_accel_job_t rest[JOB_MAX];
    uint32_t more = 0;
    for (; cnt + more < info.queue_depth; more++) {
      rest[more] = conform_forward(&nets[0], 1);
      assert_int_equal(d->ops->submit(d->q, &rest[more]), 0);
    }
    qr_accel_job_t extra = conform_forward(&nets[0], 1);
    assert_int_equal(d->ops->submit(d->q, &extra), QR_ERR_FULL);
    time_t end = time(NULL) + CONFORM_WAIT_S;
    while (finished < info.queue_depth && time(NULL) < end)
      finished += (uint32_t)d->ops->poll(d->q);
    assert_int_equal(finished, info.queue_depth);
    for (uint32_t i = 0; i < more; i++) assert_true(rest[i].finished);
  }
  for (uint32_t i = 0; i < cnt; i++) {
    conform_wait(d->ops, d->q, &job[i]);
    assert_int_equal(job[i].err, 0);
    if (i & 1)
      conform_check_forward(&nets[i], 33);
    else
      conform_check_attempt(&nets[i], nets[i].model, 2, 1);
  }
  assert_int_equal(d->ops->poll(d->q), 0);
}

static void conform_misuse(conform_dev_t *d, conform_net_t *c, uint32_t net_cnt) {
  qr_accel_job_t job = conform_attempt(c, 1, 0);
  job.prog = net_cnt;
  assert_int_equal(d->ops->submit(d->q, &job), QR_ERR_ARG);
  job = conform_attempt(c, 0, 0);
  assert_int_equal(d->ops->submit(d->q, &job), QR_ERR_ARG);
  job = conform_forward(c, 0);
  assert_int_equal(d->ops->submit(d->q, &job), QR_ERR_ARG);
  job = conform_attempt(c, 1, 0);
  c->act[c->net.spec.batch - 1] = (uint8_t)c->net.spec.action_cnt;
  assert_int_equal(d->ops->submit(d->q, &job), QR_ERR_ARG);
  assert_int_equal(d->ops->poll(d->q), 0);
}

typedef struct {
  conform_dev_t dev;
  conform_net_t *net;
} conform_thread_t;

static void *conform_thread(void *arg) {
  conform_thread_t *t = arg;
  qr_accel_job_t job = conform_attempt(t->net, CONFORM_STEP_MAX, 1);
  if (t->dev.ops->submit(t->dev.q, &job)) return NULL;
  time_t end = time(NULL) + CONFORM_WAIT_S;
  while (!job.finished && time(NULL) < end) (void)t->dev.ops->poll(t->dev.q);
  return NULL; /* a job that did not finish leaves results that the caller sees are wrong */
}

/* Two queues of one device in two threads. */
static void conform_threads(conform_dev_t *d, conform_net_t *a, conform_net_t *b, gen_t *g) {
  conform_thread_t t[2] = {{*d, a}, {*d, b}};
  pthread_t id[2];
  assert_int_equal(d->ops->queue_open(d->dev, &t[1].dev.q), 0);
  for (int i = 0; i < 2; i++) {
    conform_fill(t[i].net, g, GEN_UNIFORM);
    assert_int_equal(pthread_create(&id[i], NULL, conform_thread, &t[i]), 0);
  }
  for (int i = 0; i < 2; i++) {
    pthread_join(id[i], NULL);
    conform_check_attempt(t[i].net, t[i].net->model, CONFORM_STEP_MAX, 1);
  }
  d->ops->queue_close(t[1].dev.q);
}

/* ---- replays ---- */

#define CONFORM_WINDOW_MAX 8u

/* A replay whose segments come and go, each in memory of its own. */
typedef struct {
  const qr_net_t *net;
  uint32_t segment_rows, cnt;
  qr_accel_segment_t segments[CONFORM_WINDOW_MAX];
  uint32_t *rows; /* drawn by the job given last */
} conform_replay_t;

static void conform_segment_open(conform_replay_t *r, gen_t *g, qr_accel_segment_t *s) {
  static uint64_t tag;
  size_t rows = r->segment_rows, obs_cnt = rows * r->net->in_sz;
  int8_t *obs = conform_take(obs_cnt);
  uint8_t *act = conform_take(rows);
  int32_t *target = conform_take(rows * sizeof *target);
  gen_obs(g, GEN_UNIFORM, obs, obs_cnt);
  gen_act(g, r->net, act, rows);
  gen_target(g, GEN_UNIFORM, target, rows);
  *s = (qr_accel_segment_t){++tag, obs, act, target};
}

static void conform_segment_close(qr_accel_segment_t *s) {
  free((void *)s->obs), free((void *)s->act), free((void *)s->target);
}

static void conform_replay_open(conform_replay_t *r, const qr_net_t *net, gen_t *g,
                                uint32_t segment_rows) {
  *r = (conform_replay_t){.net = net, .segment_rows = segment_rows};
  while (r->cnt * segment_rows < net->spec.batch + r->segment_rows)
    conform_segment_open(r, g, &r->segments[r->cnt++]);
  assert_true(r->cnt <= CONFORM_WINDOW_MAX);
  r->rows = conform_take((size_t)CONFORM_STEP_MAX * net->spec.batch * sizeof *r->rows);
}

static void conform_replay_close(conform_replay_t *r) {
  for (uint32_t i = 0; i < r->cnt; i++) conform_segment_close(&r->segments[i]);
  free(r->rows);
}

/* What happens between attempts: the window moves on, grows, or its targets are others. */
static void conform_replay_change(conform_replay_t *r, gen_t *g) {
  int64_t what = gen_range(g, 0, 5);
  if (what == 0 && r->cnt < CONFORM_WINDOW_MAX) {
    conform_segment_open(r, g, &r->segments[r->cnt++]);
  } else if (what <= 2) {
    conform_segment_close(&r->segments[0]);
    memmove(r->segments, r->segments + 1, (r->cnt - 1) * sizeof *r->segments);
    conform_segment_open(r, g, &r->segments[r->cnt - 1]);
  } else if (what == 3) {
    qr_accel_segment_t *s = &r->segments[gen_range(g, 0, r->cnt - 1)];
    gen_target(g, GEN_UNIFORM, (int32_t *)(uintptr_t)s->target, r->segment_rows);
  } else if (what == 4) { /* no promise for one of them, for as long as it is there */
    r->segments[gen_range(g, 0, r->cnt - 1)].tag = 0;
  }
}

/* An attempt on the replay; c receives its minibatches in their dense form, to compare with. */
static qr_accel_job_t conform_replay_attempt(conform_replay_t *r, conform_net_t *c, gen_t *g,
                                             uint32_t step_cnt, uint32_t lr_shift) {
  uint32_t b = c->net.spec.batch, obs_sz = c->net.in_sz, n = r->cnt * r->segment_rows;
  void *scratch = conform_take(qr_step_batch_scratch_sz(n));
  c->sigma = gen_hash(g);
  for (uint32_t k = 0; k < step_cnt; k++)
    qr_step_batch(&c->sigma, k, n, b, r->rows + (size_t)k * b, scratch);
  for (uint32_t i = 0; i < step_cnt * b; i++) {
    const qr_accel_segment_t *s = &r->segments[r->rows[i] / r->segment_rows];
    uint32_t row = r->rows[i] % r->segment_rows;
    memcpy(c->obs + 1 + (size_t)i * obs_sz, s->obs + (size_t)row * obs_sz, obs_sz);
    c->act[i] = s->act[row];
    c->target[i] = s->target[row];
  }
  free(scratch);
  qr_accel_job_t job = conform_attempt(c, step_cnt, lr_shift);
  job.obs = NULL;
  job.act = NULL;
  job.target = NULL;
  job.segments = r->segments;
  job.segment_cnt = r->cnt;
  job.segment_rows = r->segment_rows;
  job.rows = r->rows;
  return job;
}

static bool conform_takes_replay(const conform_dev_t *d) {
  qr_accel_info_t info;
  d->ops->info(d->dev, &info);
  return info.takes_replay;
}

/* Several replays of a network take turns, one segment size after the other, two jobs at a time
   where the queue holds them: each as if it were given dense. */
static void conform_replays(conform_dev_t *d, conform_net_t *c, gen_t *g, int rounds) {
  enum { REPLAY_CNT = 3 };
  static const uint32_t sizes[REPLAY_CNT] = {48, 48, 37};
  conform_replay_t r[REPLAY_CNT];
  conform_net_t twin, *nets[2] = {c, &twin};
  qr_accel_job_t job[2];
  qr_accel_info_t info;
  d->ops->info(d->dev, &info);
  if (!info.takes_replay) return;
  conform_net_open(&twin, &c->net);
  twin.id = c->id;
  for (int i = 0; i < REPLAY_CNT; i++) conform_replay_open(&r[i], &c->net, g, sizes[i]);
  for (int i = 0; i < 2; i++) conform_fill(nets[i], g, GEN_INIT);
  for (int round = 0; round < rounds; round++) {
    int job_cnt = info.queue_depth > 1 && round % 3 == 0 ? 2 : 1,
        first = round % 8 == 7 ? 2 : (int)gen_range(g, 0, 1);
    uint32_t steps[2], lr = (uint32_t)gen_range(g, 0, 3);
    for (int i = 0; i < job_cnt; i++) {
      conform_replay_t *from = &r[(first + i) % REPLAY_CNT];
      if (gen_range(g, 0, 1)) conform_replay_change(from, g);
      steps[i] = (uint32_t)gen_range(g, 1, CONFORM_STEP_MAX);
      if (gen_range(g, 0, 1)) memcpy(nets[i]->model, nets[i]->out, c->net.model_sz);
      job[i] = conform_replay_attempt(from, nets[i], g, steps[i], lr);
      assert_int_equal(d->ops->submit(d->q, &job[i]), 0);
    }
    for (int i = 0; i < job_cnt; i++) {
      conform_wait(d->ops, d->q, &job[i]);
      assert_int_equal(job[i].err, 0);
      assert_int_equal(job[i].steps_done, steps[i]);
      conform_check_attempt(nets[i], nets[i]->model, steps[i], lr);
    }
  }
  for (int i = 0; i < REPLAY_CNT; i++) conform_replay_close(&r[i]);
  conform_net_close(&twin);
}

/* Two jobs on one replay, with targets of their own and with observations at another place. */
static void conform_replay_shared(conform_dev_t *d, conform_net_t *c, gen_t *g) {
  conform_replay_t r[2];
  conform_net_t twin, *nets[2] = {c, &twin};
  qr_accel_job_t job[2];
  if (!conform_takes_replay(d)) return;
  conform_net_open(&twin, &c->net);
  twin.id = c->id;
  for (int i = 0; i < 2; i++) conform_replay_open(&r[i], &c->net, g, 48);
  for (uint32_t k = 0; k < r[0].cnt; k++) {
    qr_accel_segment_t *from = &r[0].segments[k], *to = &r[1].segments[k];
    to->tag = from->tag;
    memcpy((void *)(uintptr_t)to->obs, from->obs, (size_t)r[0].segment_rows * c->net.in_sz);
    memcpy((void *)(uintptr_t)to->act, from->act, r[0].segment_rows);
  }
  for (int round = 0; round < 4; round++) {
    for (int i = 0; i < 2; i++) {
      conform_fill(nets[i], g, GEN_INIT);
      job[i] = conform_replay_attempt(&r[i], nets[i], g, 2, 0);
    }
    int err = d->ops->submit(d->q, &job[0]), second = d->ops->submit(d->q, &job[1]);
    assert_int_equal(err, 0);
    conform_wait(d->ops, d->q, &job[0]);
    if (second) assert_int_equal(d->ops->submit(d->q, &job[1]), 0);
    conform_wait(d->ops, d->q, &job[1]);
    for (int i = 0; i < 2; i++) conform_check_attempt(nets[i], nets[i]->model, 2, 0);
  }
  for (int i = 0; i < 2; i++) conform_replay_close(&r[i]);
  conform_net_close(&twin);
}

/* Cancelled on the way to the card or later, and then used all the same. */
static void conform_replay_cancel(conform_dev_t *d, conform_net_t *c, gen_t *g) {
  conform_replay_t r;
  if (!conform_takes_replay(d)) return;
  for (uint32_t polls = 0; polls < 6; polls++) {
    conform_replay_open(&r, &c->net, g, 40);
    conform_fill(c, g, GEN_INIT);
    for (int i = 0; i < 2; i++) {
      qr_accel_job_t job = conform_replay_attempt(&r, c, g, CONFORM_STEP_MAX, 0);
      assert_int_equal(d->ops->submit(d->q, &job), 0);
      for (uint32_t k = 0; k < polls && !job.finished; k++) (void)d->ops->poll(d->q);
      if (!i && !job.finished) d->ops->cancel(d->q, &job);
      conform_wait(d->ops, d->q, &job);
      if (i) assert_int_equal(job.steps_done, CONFORM_STEP_MAX);
      conform_check_attempt(c, c->model, job.steps_done, 0);
    }
    conform_replay_close(&r);
  }
}

static void conform_replay_misuse(conform_dev_t *d, conform_net_t *c, gen_t *g) {
  conform_replay_t r;
  if (!conform_takes_replay(d)) return;
  conform_replay_open(&r, &c->net, g, 40);
  for (int what = 0; what < 6; what++) {
    qr_accel_job_t job = conform_replay_attempt(&r, c, g, 1, 0);
    qr_accel_segment_t kept = r.segments[1];
    uint32_t last = c->net.spec.batch - 1;
    if (what == 0) job.rows = NULL;
    if (what == 1) job.segment_cnt = 0;
    if (what == 2) job.segment_rows = 0;
    if (what == 3) r.rows[last] = r.cnt * r.segment_rows;
    if (what == 4) r.segments[1].target = NULL;
    if (what == 5) {
      uint32_t at = r.rows[last];
      ((uint8_t *)(uintptr_t)r.segments[at / r.segment_rows].act)[at % r.segment_rows] =
          (uint8_t)c->net.spec.action_cnt;
    }
    assert_int_equal(d->ops->submit(d->q, &job), QR_ERR_ARG);
    r.segments[1] = kept;
  }
  assert_int_equal(d->ops->poll(d->q), 0);
  conform_replay_close(&r);
}

/* Layers of the two genesis tasks, with smaller batches so that the reference stays quick. */
static void conform_genesis_nets(qr_net_t out[2]) {
  qr_net_spec_t dense = NET_MICROGRID, conv = NET_MICROGRID_MAP;
  dense.batch = 32;
  conv.batch = 16;
  char why[128];
  assert_int_equal(qr_net_init(&dense, &out[0], why, sizeof why), 0);
  assert_int_equal(qr_net_init(&conv, &out[1], why, sizeof why), 0);
}

/* Everything above on one driver with one set of options; random networks follow from the seed.
   Returns false if the driver cannot run here. */
static bool conform_all(const qr_accel_ops_t *ops, const char *options, uint64_t seed) {
  enum { NET_CNT = 8 };
  static conform_net_t nets[NET_CNT];
  gen_t g = {seed};
  qr_net_t net[NET_CNT];
  conform_genesis_nets(net);
  for (uint32_t i = 2; i < NET_CNT; i++) assert_true(gen_net(&g, i % 3, &net[i]));
  for (uint32_t i = 0; i < NET_CNT; i++) conform_net_open(&nets[i], &net[i]);

  conform_dev_t d;
  bool runs = conform_dev_open(&d, ops, options, nets, NET_CNT);
  if (runs) {
    for (uint32_t i = 0; i < NET_CNT; i++)
      conform_results(&d, &nets[i], &g, i < 2 ? CONFORM_ROUND_CNT / 2 : CONFORM_ROUND_CNT);
    conform_in_place(&d, &nets[2], &g);
    for (uint32_t polls = 0; polls < 4; polls++) conform_cancel(&d, &nets[3], &g, polls);
    conform_queue(&d, nets + 2, NET_CNT - 2, &g);
    conform_threads(&d, &nets[4], &nets[5], &g);
    conform_tags(&d, &nets[2], &nets[5], &g);
    for (uint32_t i = 0; i < NET_CNT; i++) conform_replays(&d, &nets[i], &g, i < 2 ? 4 : 10);
    conform_replay_shared(&d, &nets[6], &g);
    conform_replay_cancel(&d, &nets[3], &g);
    conform_replay_misuse(&d, &nets[2], &g);
    conform_phases(&d, &nets[1], &g);
    conform_gemms(&d, &g, 60);
    conform_gemm_misuse(&d);
    conform_misuse(&d, &nets[2], NET_CNT);
    conform_dev_close(&d);
  }
  for (uint32_t i = 0; i < NET_CNT; i++) conform_net_close(&nets[i]);
  return runs;
}

#endif
