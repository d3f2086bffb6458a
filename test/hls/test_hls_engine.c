/* The step engine as a card: whole attempts, forward passes and single products against the
   reference, programs that no network gives, and everything that it must refuse. */
#include "hls_rig.h"

#include <pthread.h>
#include <time.h>

#include "base/philox.h"
#include "step/ref_gemm.h"
#include "vectors/step_vector.h"

#define STEP_MAX 3u
#define ROW_MAX 150u
#if defined(__SANITIZE_ADDRESS__) /* the reference is slow enough without */
#define NET_CNT 8u
#define ROUND_CNT 2u
#else
#define NET_CNT 12u
#define ROUND_CNT 4u
#endif

/* A minibatch that the engine has to draw; rows of the pool. */
typedef struct {
  uint32_t rows[QR_ENGINE_BATCH_MAX];
  uint8_t act[QR_ENGINE_BATCH_MAX];
  int32_t target[QR_ENGINE_BATCH_MAX];
} drawn_t;

/* A network on a card, with the reference beside it. */
typedef struct {
  qr_net_t net;
  rig_t rig;
  void *ref_mem;
  qr_ref_t *ref;
  uint8_t *want;
  int8_t *pool;
  uint32_t pool_rows;
  drawn_t drawn[STEP_MAX];
} net_t;

static void net_open(net_t *t, const qr_net_t *net, const qr_step_prog_t *prog) {
  t->net = *net;
  t->pool_rows = 200;
  rig_open(&t->rig, prog, STEP_MAX, ROW_MAX, t->pool_rows);
  /* A program of our own may need more than the network's: scratch is measured from prog. */
  size_t sz = qr_align_up(qr_ref_footprint(net), 64) + t->rig.s8.sz + 2 * t->rig.s32.sz +
              64 * QR_STEP_BUF_MAX_CNT;
  t->ref_mem = aligned_alloc(64, qr_align_up(sz, 64));
  assert_non_null(t->ref_mem);
  memset(t->ref_mem, 0, sz);
  memset(rig_at(&t->rig.s8), 0, t->rig.s8.sz);
  memset(rig_at(&t->rig.s32), 0, t->rig.s32.sz);
  t->ref = qr_ref_init(t->ref_mem, &t->net, &t->rig.program);
  t->want = malloc(net->model_sz);
  t->pool = malloc((size_t)t->pool_rows * net->in_sz);
  assert_true(t->want && t->pool);
}

static void net_close(net_t *t) {
  rig_close(&t->rig);
  free(t->ref_mem), free(t->want), free(t->pool);
}

static void net_fill(net_t *t, gen_t *g, enum gen_mode model, enum gen_mode obs) {
  gen_model(g, model, &t->net, rig_at(&t->rig.model_in));
  gen_obs(g, obs, t->pool, (size_t)t->pool_rows * t->net.in_sz);
  for (uint32_t i = 0; i < t->pool_rows; i++)
    rig_pool_row(&t->rig, i, t->pool + (size_t)i * t->net.in_sz);
}

/* Draws a step's minibatch, puts it on the card as step s and runs the reference on it. */
static void net_step(net_t *t, gen_t *g, enum gen_mode mode, uint32_t s, const qr_hash_t *sigma,
                     uint32_t k, uint32_t lr, uint64_t *digests, uint64_t *td) {
  static uint32_t rows[1024];
  static uint8_t act[1024];
  static int32_t target[1024];
  uint32_t batch = t->net.spec.batch;
  for (uint32_t b = 0; b < batch; b++) rows[b] = (uint32_t)gen_range(g, 0, t->pool_rows - 1);
  gen_act(g, &t->net, act, batch);
  gen_target(g, mode, target, batch);
  rig_step(&t->rig, s, rows, act, target);
  int8_t *obs = malloc((size_t)batch * t->net.in_sz);
  assert_non_null(obs);
  for (uint32_t b = 0; b < batch; b++)
    memcpy(obs + (size_t)b * t->net.in_sz, t->pool + (size_t)rows[b] * t->net.in_sz, t->net.in_sz);
  qr_ref_step(t->ref, t->want, obs, act, target, sigma, k, lr, digests, td);
  free(obs);
}

static void check_answer(net_t *t, const uint32_t *out, uint32_t steps,
                         uint64_t digests[STEP_MAX][QR_STEP_GEMM_MAX_CNT],
                         const uint64_t td[STEP_MAX]) {
  assert_int_equal(out[QR_ENGINE_OUT_STATUS], QR_ENGINE_OK);
  assert_int_equal(out[QR_ENGINE_OUT_DONE], steps);
  for (uint32_t s = 0; s < steps; s++) {
    for (uint32_t i = 0; i < t->rig.program.digest_cnt; i++)
      assert_int_equal(rig_u64(out, s, 2 * i), digests[s][i]);
    assert_int_equal(rig_u64(out, s, QR_ENGINE_OUT_TD), td[s]);
  }
  assert_memory_equal(rig_at(&t->rig.model), t->want, t->net.model_sz);
}

/* An attempt of some steps, from model_in or from where the card's model is. */
static void check_attempt(net_t *t, gen_t *g, enum gen_mode mode, uint32_t steps, uint32_t first,
                          bool copy) {
  uint64_t digests[STEP_MAX][QR_STEP_GEMM_MAX_CNT], td[STEP_MAX];
  qr_hash_t sigma = gen_hash(g);
  uint32_t lr = (uint32_t)gen_range(g, 0, gen_range(g, 0, 1) ? 2 : 80);
  uint32_t *job = rig_job(&t->rig, QR_ENGINE_ATTEMPT, copy ? QR_ENGINE_COPY_MODEL : 0, &sigma, lr);
  job[QR_ENGINE_JOB_STEP_CNT] = steps;
  job[QR_ENGINE_JOB_FIRST_STEP] = first;
  memcpy(t->want, rig_at(copy ? &t->rig.model_in : &t->rig.model), t->net.model_sz);
  for (uint32_t s = 0; s < steps; s++)
    net_step(t, g, mode, s, &sigma, first + s, lr, digests[s], &td[s]);
  check_answer(t, rig_launch(&t->rig), steps, digests, td);
}

/* The same minibatches listed: the model, and every word of the answer, are those of the draws. */
static void check_listed(net_t *t, uint32_t steps, bool copy, const uint8_t *before) {
  size_t model_sz = t->rig.model.sz, out_sz = t->rig.out.sz;
  uint8_t *model = malloc(model_sz), *out = malloc(out_sz);
  assert_true(model && out);
  memcpy(model, rig_at(&t->rig.model), model_sz);
  memcpy(out, rig_at(&t->rig.out), out_sz);
  uint32_t *job = rig_at(&t->rig.job);
  job[QR_ENGINE_JOB_FLAGS] &= ~(uint32_t)QR_ENGINE_DRAW;
  for (uint32_t s = 0; s < steps; s++)
    rig_step(&t->rig, s, t->drawn[s].rows, t->drawn[s].act, t->drawn[s].target);
  if (!copy) memcpy(rig_at(&t->rig.model), before, t->net.model_sz);
  rig_launch(&t->rig);
  assert_memory_equal(rig_at(&t->rig.out), out, out_sz);
  assert_memory_equal(rig_at(&t->rig.model), model, model_sz);
  free(model), free(out);
}

/* A replay of segments anywhere in the pool, one on top of another where there are many: a row of
   the pool is then several of the replay. */
static uint32_t lay_replay(net_t *t, gen_t *g, enum gen_mode mode, uint32_t *segment_rows,
                           uint32_t start[QR_ENGINE_SEGMENT_MAX]) {
  uint32_t b = t->net.spec.batch, rows = (uint32_t)gen_range(g, 1, t->pool_rows);
  uint32_t cnt = (b + rows - 1) / rows;
  if (gen_range(g, 0, 1)) cnt += (uint32_t)gen_range(g, 0, 2 * b / 3);
  for (uint32_t s = 0; s < cnt; s++) start[s] = (uint32_t)gen_range(g, 0, t->pool_rows - rows);
  for (uint32_t i = 0; i < t->pool_rows; i++) {
    uint8_t act;
    int32_t target;
    gen_act(g, &t->net, &act, 1);
    gen_target(g, mode, &target, 1);
    rig_table_row(&t->rig, i, act, target);
  }
  *segment_rows = rows;
  return cnt;
}

/* An attempt whose minibatches the engine draws, against the reference and against the same
   minibatches listed. */
static void check_drawn(net_t *t, gen_t *g, enum gen_mode mode, uint32_t steps, uint32_t first,
                        bool copy) {
  static uint32_t start[QR_ENGINE_SEGMENT_MAX], rows[QR_ENGINE_BATCH_MAX];
  static uint8_t scratch[QR_ENGINE_REPLAY_MAX / 8 + 1];
  uint64_t digests[STEP_MAX][QR_STEP_GEMM_MAX_CNT], td[STEP_MAX];
  qr_hash_t sigma = gen_hash(g);
  uint32_t lr = (uint32_t)gen_range(g, 0, 2), segment_rows, b_cnt = t->net.spec.batch;
  uint32_t cnt = lay_replay(t, g, mode, &segment_rows, start);
  const uint32_t *table = rig_at(&t->rig.table);
  uint32_t *job = rig_job(&t->rig, QR_ENGINE_ATTEMPT, copy ? QR_ENGINE_COPY_MODEL : 0, &sigma, lr);
  job[QR_ENGINE_JOB_STEP_CNT] = steps;
  job[QR_ENGINE_JOB_FIRST_STEP] = first;
  rig_replay(&t->rig, segment_rows, cnt, start);
  uint8_t *before = malloc(t->net.model_sz);
  int8_t *obs = malloc((size_t)b_cnt * t->net.in_sz);
  assert_true(before && obs);
  memcpy(before, rig_at(copy ? &t->rig.model_in : &t->rig.model), t->net.model_sz);
  memcpy(t->want, before, t->net.model_sz);
  for (uint32_t s = 0; s < steps; s++) {
    drawn_t *d = &t->drawn[s];
    qr_step_batch(&sigma, first + s, cnt * segment_rows, b_cnt, rows, scratch);
    for (uint32_t b = 0; b < b_cnt; b++) {
      d->rows[b] = start[rows[b] / segment_rows] + rows[b] % segment_rows;
      d->act[b] = (uint8_t)table[2 * d->rows[b]];
      d->target[b] = (int32_t)table[2 * d->rows[b] + 1];
      memcpy(obs + (size_t)b * t->net.in_sz, t->pool + (size_t)d->rows[b] * t->net.in_sz,
             t->net.in_sz);
    }
    qr_ref_step(t->ref, t->want, obs, d->act, d->target, &sigma, first + s, lr, digests[s], &td[s]);
  }
  check_answer(t, rig_launch(&t->rig), steps, digests, td);
  check_listed(t, steps, copy, before);
  free(before), free(obs);
}

static void check_forward(net_t *t, gen_t *g, uint32_t rows) {
  qr_hash_t sigma = gen_hash(g);
  uint32_t *job = rig_job(&t->rig, QR_ENGINE_FORWARD, 0, &sigma, 0);
  job[QR_ENGINE_JOB_ROW_CNT] = rows;
  int8_t *obs = malloc((size_t)rows * t->net.in_sz);
  int32_t *q = malloc((size_t)rows * t->net.spec.action_cnt * 4);
  assert_true(obs && q);
  for (uint32_t i = 0; i < rows; i++) {
    uint32_t row = (uint32_t)gen_range(g, 0, t->pool_rows - 1);
    job[QR_ENGINE_JOB_HEAD_CNT + i] = row;
    memcpy(obs + (size_t)i * t->net.in_sz, t->pool + (size_t)row * t->net.in_sz, t->net.in_sz);
  }
  memcpy(t->want, rig_at(&t->rig.model), t->net.model_sz);
  qr_ref_forward(t->ref, t->want, obs, rows, q);
  const uint32_t *out = rig_launch(&t->rig);
  assert_int_equal(out[QR_ENGINE_OUT_STATUS], QR_ENGINE_OK);
  assert_int_equal(out[QR_ENGINE_OUT_DONE], rows);
  assert_memory_equal(out + QR_ENGINE_OUT_HEAD_CNT, q, (size_t)rows * t->net.spec.action_cnt * 4);
  assert_memory_equal(rig_at(&t->rig.model), t->want, t->net.model_sz);
  free(obs), free(q);
}

static void random_networks(void **state) {
  (void)state;
  gen_t g = {101};
  for (uint32_t n = 0; n < NET_CNT; n++) {
    net_t t;
    qr_net_t net;
    static qr_step_prog_t prog;
    assert_true(gen_net(&g, n % 4, &net));
    qr_step_lower(&net, &prog);
    net_open(&t, &net, &prog);
    for (uint32_t round = 0; round < ROUND_CNT; round++) {
      enum gen_mode mode = (enum gen_mode)((n * ROUND_CNT + round) % GEN_MODE_CNT);
      net_fill(&t, &g, mode, mode);
      check_attempt(&t, &g, mode, 1 + round % STEP_MAX, 0, true);
      check_attempt(&t, &g, GEN_INIT, 2, (uint32_t)gen_range(&g, 1, 65534), false);
      check_forward(&t, &g, (uint32_t)gen_range(&g, 1, ROW_MAX));
      check_drawn(&t, &g, mode, 1 + round % STEP_MAX, 0, true);
      check_drawn(&t, &g, GEN_INIT, 2, (uint32_t)gen_range(&g, 1, 65534), false);
    }
    check_forward(&t, &g, 1);
    check_forward(&t, &g, ROW_MAX);
    net_close(&t);
  }
}

static double seconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void check_steps(const step_vector_t *v, const uint32_t *out, const uint8_t *model) {
  assert_int_equal(out[QR_ENGINE_OUT_STATUS], QR_ENGINE_OK);
  for (uint32_t s = 0; s < v->step_cnt; s++) {
    for (uint32_t i = 0; i < v->steps[s].digest_cnt; i++)
      assert_int_equal(rig_u64(out, s, 2 * i), v->steps[s].digests[i]);
    assert_int_equal(rig_u64(out, s, QR_ENGINE_OUT_TD), v->steps[s].td_abs_sum);
  }
  qr_hash_t root = qr_model_root(&v->net, model);
  assert_memory_equal(&root, &v->steps[v->step_cnt - 1].root, sizeof root);
}

/* The vectors, the two networks that carry tickets among them. */
static void check_vector(const char *name) {
  char path[256];
  step_vector_t v;
  static qr_step_prog_t prog;
  snprintf(path, sizeof path, "%s/vectors/step_net_%s.txt", QR_TEST_DIR, name);
  step_vector_read(path, &v);
  qr_step_lower(&v.net, &prog);
  qr_hash_t program = qr_step_prog_hash(&prog);
  assert_memory_equal(&program, &v.program, sizeof program);
  rig_t r;
  rig_open(&r, &prog, v.step_cnt, STEP_VECTOR_Q_ROWS, v.rows);
  for (uint32_t i = 0; i < v.rows; i++) rig_pool_row(&r, i, v.obs + (size_t)i * v.net.in_sz);
  memcpy(rig_at(&r.model_in), v.model, v.net.model_sz);
  uint32_t *job = rig_job(&r, QR_ENGINE_ATTEMPT, QR_ENGINE_COPY_MODEL, &v.sigma, v.lr_shift);
  job[QR_ENGINE_JOB_STEP_CNT] = v.step_cnt;
  uint8_t act[1024];
  int32_t target[1024];
  for (uint32_t s = 0; s < v.step_cnt; s++) {
    for (uint32_t b = 0; b < v.spec.batch; b++) {
      act[b] = v.act[v.steps[s].batch_rows[b]];
      target[b] = v.target[v.steps[s].batch_rows[b]];
    }
    rig_step(&r, s, v.steps[s].batch_rows, act, target);
  }
  double began = seconds();
  const uint32_t *out = rig_launch(&r);
  double step_s = (seconds() - began) / v.step_cnt;
  print_message("%s: %.2f ms a step natively, %.1f GMAC/s\n", name, 1e3 * step_s,
                1e-9 * (double)v.net.mac_cnt_step / step_s);
  check_steps(&v, out, rig_at(&r.model));

  /* The same drawn: the vector's rows as a replay, its segments in the pool in reverse. */
  memset(rig_at(&r.model), 0, r.model.sz);
  uint32_t segment_rows = v.rows, start[QR_ENGINE_SEGMENT_MAX];
  while (segment_rows > 1 && (segment_rows > v.rows / 2 || v.rows % segment_rows)) segment_rows--;
  uint32_t cnt = v.rows / segment_rows;
  assert_true(cnt > 1 && cnt <= QR_ENGINE_SEGMENT_MAX);
  for (uint32_t s = 0; s < cnt; s++) start[s] = (cnt - 1 - s) * segment_rows;
  for (uint32_t i = 0; i < v.rows; i++) {
    uint32_t row = start[i / segment_rows] + i % segment_rows;
    rig_pool_row(&r, row, v.obs + (size_t)i * v.net.in_sz);
    rig_table_row(&r, row, v.act[i], v.target[i]);
  }
  rig_replay(&r, segment_rows, cnt, start);
  check_steps(&v, rig_launch(&r), rig_at(&r.model));

  for (uint32_t i = 0; i < v.rows; i++) rig_pool_row(&r, i, v.obs + (size_t)i * v.net.in_sz);
  job = rig_job(&r, QR_ENGINE_FORWARD, 0, &v.sigma, 0);
  job[QR_ENGINE_JOB_ROW_CNT] = STEP_VECTOR_Q_ROWS;
  for (uint32_t i = 0; i < STEP_VECTOR_Q_ROWS; i++) job[QR_ENGINE_JOB_HEAD_CNT + i] = i;
  out = rig_launch(&r);
  assert_int_equal(out[QR_ENGINE_OUT_STATUS], QR_ENGINE_OK);
  assert_memory_equal(out + QR_ENGINE_OUT_HEAD_CNT, v.q,
                      (size_t)4 * STEP_VECTOR_Q_ROWS * v.spec.action_cnt);
  rig_close(&r);
  step_vector_free(&v);
}

static void vectors(void **state) {
  (void)state;
  static const char *const names[] = {
      "dense_small",   "dense_ragged", "dense_extreme", "dense_deep", "dense_zero_error",
      "dense_foreign", "conv_small",   "conv_thin",     "conv_twice", "conv_extreme"};
  for (size_t i = 0; i < QR_ARRAY_CNT(names); i++) check_vector(names[i]);
}

static void vectors_of_the_real_networks(void **state) {
  (void)state;
#if defined(__SANITIZE_ADDRESS__) && defined(__SYNTHESIS__)
  print_message("minutes in the form that is synthesised under the sanitizers: not run\n");
  skip();
#endif
  check_vector("microgrid");
  check_vector("microgrid_map");
}

/* Products of a user's own. */

typedef struct {
  qr_step_prog_t prog;
  qr_step_op_t op;
  size_t a_cnt;
} product_t;

static qr_step_geo_t random_geo(gen_t *g, uint32_t *rows, uint32_t *cols, size_t *cnt) {
  uint16_t sy = (uint16_t)gen_range(g, 1, 3), sx = (uint16_t)gen_range(g, 1, 3);
  uint16_t oh = (uint16_t)gen_range(g, 1, 4), ow = (uint16_t)gen_range(g, 1, 5);
  uint16_t c = (uint16_t)gen_range(g, 1, 30);
  uint32_t samples = (uint32_t)gen_range(g, 1, 9);
  *rows = samples * oh * ow;
  *cols = 9u * c;
  *cnt = (size_t)samples * oh * sy * ow * sx * c;
  return (qr_step_geo_t){(uint16_t)(oh * sy), (uint16_t)(ow * sx), c, oh, ow, sy, sx, 0};
}

static void product_init(product_t *p, gen_t *g, unsigned flags, uint32_t m, uint32_t n,
                         uint32_t k) {
  memset(p, 0, sizeof *p);
  qr_step_op_t *op = &p->op;
  *op = (qr_step_op_t){.kind = QR_OP_GEMM,
                       .src0 = 0,
                       .src1 = 1,
                       .dst = 2,
                       .aux = QR_STEP_NO_BUF,
                       .flags = (uint16_t)flags,
                       .digest = QR_STEP_NO_DIGEST,
                       .m = m,
                       .n = n,
                       .k = k};
  p->a_cnt = (size_t)m * k;
  if (flags & QR_GEMM_A_CONV)
    op->geo = flags & QR_GEMM_A_TRANS ? random_geo(g, &op->k, &op->m, &p->a_cnt)
                                      : random_geo(g, &op->m, &op->k, &p->a_cnt);
  if (!(n & 1)) op->digest = 0;
  p->prog.abi_version = QR_STEP_ABI_VERSION;
  p->prog.op_cnt = p->prog.digest_cnt = 1;
  p->prog.buf_cnt = 3;
  p->prog.bufs[0] = (qr_step_buf_t){QR_STEP_I8, QR_STEP_BUF_SCRATCH, (uint32_t)p->a_cnt, 0};
  p->prog.bufs[1] = (qr_step_buf_t){QR_STEP_I8, QR_STEP_BUF_SCRATCH, op->n * op->k, 0};
  p->prog.bufs[2] = (qr_step_buf_t){QR_STEP_I32, QR_STEP_BUF_SCRATCH, op->m * op->n, 0};
  p->prog.ops[0] = *op;
}

static void check_product(product_t *p, gen_t *g, enum gen_mode mode) {
  rig_t r;
  rig_open(&r, &p->prog, 1, 0, 0);
  int8_t *a = rig_at(&r.s8), *b = a + r.place.off[1];
  const qr_step_op_t *op = &p->op;
  size_t c_cnt = (size_t)op->m * op->n;
  gen_obs(g, mode, a, p->a_cnt);
  gen_obs(g, mode, b, (size_t)op->n * op->k);
  qr_hash_t sigma = gen_hash(g);
  uint32_t *job = rig_job(&r, QR_ENGINE_PROGRAM, 0, &sigma, 0);
  job[QR_ENGINE_JOB_FIRST_STEP] = 9;
  const uint32_t *out = rig_launch(&r);
  assert_int_equal(out[QR_ENGINE_OUT_STATUS], QR_ENGINE_OK);
  qr_ref_pack_t pack = {malloc((size_t)op->m * op->k * 2), malloc((size_t)op->n * op->k * 2)};
  int32_t *want = malloc(c_cnt * 4);
  assert_true(pack.a && pack.b && want);
  qr_ref_gemm(&pack, op, a, b, want);
  assert_memory_equal(rig_at(&r.s32), want, c_cnt * 4);
  if (op->digest != QR_STEP_NO_DIGEST)
    assert_int_equal(rig_u64(out, 0, 0), qr_ref_digest(want, op->m, op->n, &sigma, 9, 0));
  free(pack.a), free(pack.b), free(want);
  rig_close(&r);
}

static void products_of_any_shape(void **state) {
  (void)state;
  static const uint32_t sizes[] = {1, 2, 3, 15, 16, 17, 31, 33, 63, 64, 65, 80, 127, 130};
  gen_t g = {102};
  product_t p;
  for (int i = 0; i < 250; i++) {
    uint32_t m = sizes[gen_range(&g, 0, QR_ARRAY_CNT(sizes) - 1)];
    uint32_t n = sizes[gen_range(&g, 0, QR_ARRAY_CNT(sizes) - 1)];
    uint32_t k = sizes[gen_range(&g, 0, QR_ARRAY_CNT(sizes) - 1)];
    product_init(&p, &g, (unsigned)i & 7, m, n, k);
    check_product(&p, &g, (enum gen_mode)(1 + i % 4));
  }
  for (unsigned flags = 0; flags < 4; flags++) { /* more inner positions than a panel holds */
    product_init(&p, &g, flags, 70, 66, 2500);
    check_product(&p, &g, GEN_EXTREME);
    product_init(&p, &g, flags, 3, 130, 1025);
    check_product(&p, &g, GEN_CONST);
  }
}

/* Programs that no network gives. A network's program is changed in ways that make sharing passes
   wrong where a careless rule would allow it; the reference runs the same ops. */

static uint16_t new_buf(qr_step_prog_t *p, enum qr_step_type type, uint32_t cnt) {
  p->bufs[p->buf_cnt] = (qr_step_buf_t){(uint16_t)type, QR_STEP_BUF_SCRATCH, cnt, 0};
  return (uint16_t)p->buf_cnt++;
}

static void insert_op(qr_step_prog_t *p, uint32_t at, const qr_step_op_t *op) {
  assert_true(p->op_cnt + 1 < QR_STEP_OP_MAX_CNT && at <= p->op_cnt);
  memmove(&p->ops[at + 1], &p->ops[at], (p->op_cnt - at) * sizeof *op);
  p->ops[at] = *op;
  p->op_cnt++;
}

/* A random op of a kind, or p->op_cnt. */
static uint32_t pick(const qr_step_prog_t *p, gen_t *g, enum qr_step_op_kind kind) {
  uint32_t from = (uint32_t)gen_range(g, 0, p->op_cnt - 1);
  for (uint32_t n = 0; n < p->op_cnt; n++)
    if (p->ops[(from + n) % p->op_cnt].kind == kind) return (from + n) % p->op_cnt;
  return p->op_cnt;
}

/* The quantisation of layer 0: its input has as many elements as the activations of layer 1. */
static uint32_t last_quant(const qr_step_prog_t *p) {
  uint32_t i = p->op_cnt;
  while (p->ops[--i].kind != QR_OP_ERR_QUANT) assert_true(i);
  return i;
}

static void perturb(qr_step_prog_t *p, gen_t *g) {
  uint32_t at;
  qr_step_op_t op;
  switch (gen_range(g, 0, 12)) {
  case 0: /* sums read again, later, perhaps when others lie on top of some */
    at = pick(p, g, QR_OP_BIAS_ACT);
    op = p->ops[at];
    insert_op(p, (uint32_t)gen_range(g, at + 1, gen_range(g, 0, 1) ? at + 2 : p->op_cnt), &op);
    if (gen_range(g, 0, 1)) { /* or changed where they lie */
      op = p->ops[pick(p, g, QR_OP_MASK)];
      op.src0 = p->ops[at].dst;
      op.dst = p->ops[at].src0;
      op.m = p->ops[at].m;
      op.n = p->ops[at].n;
      insert_op(p, at + 1, &op);
    }
    break;
  case 1: /* activations made twice */
    at = pick(p, g, QR_OP_BIAS_ACT);
    op = p->ops[at];
    insert_op(p, at, &op);
    break;
  case 2: /* masked twice */
    at = pick(p, g, QR_OP_MASK);
    op = p->ops[at];
    insert_op(p, at + (uint32_t)gen_range(g, 0, 1), &op);
    break;
  case 3: /* masters read between a gradient and its update */
    at = pick(p, g, QR_OP_WEIGHT_UPD);
    op = p->ops[pick(p, g, QR_OP_W7)];
    insert_op(p, at, &op);
    break;
  case 4: /* updated twice, or once early */
    at = pick(p, g, QR_OP_WEIGHT_UPD);
    op = p->ops[at];
    insert_op(p, at, &op);
    break;
  case 5: /* an exponent that changes between a gradient and its update */
    at = pick(p, g, QR_OP_ERR_QUANT);
    op = p->ops[at];
    op.dst = new_buf(p, QR_STEP_I8, op.m * op.n);
    op.p0 += 1;
    insert_op(p, (uint32_t)gen_range(g, at + 1, p->op_cnt), &op);
    break;
  case 6: /* a product made twice: its sums live on */
    at = pick(p, g, QR_OP_GEMM);
    op = p->ops[at];
    op.digest = QR_STEP_NO_DIGEST;
    insert_op(p, (uint32_t)gen_range(g, at, p->op_cnt), &op);
    break;
  case 7: /* biases updated between a product and its activation */
    at = pick(p, g, QR_OP_BIAS_UPD);
    op = p->ops[at];
    insert_op(p, pick(p, g, QR_OP_BIAS_ACT), &op);
    break;
  case 8: /* activations that something else writes between their product and them */
    at = pick(p, g, QR_OP_BIAS_ACT);
    op = p->ops[last_quant(p)];
    op.dst = p->ops[at].dst;
    if ((uint64_t)op.m * op.n <= p->bufs[op.dst].cnt) insert_op(p, at, &op);
    break;
  case 9: /* a product of what its own activation overwrites */
    at = pick(p, g, QR_OP_BIAS_ACT);
    if (p->ops[at - 1].kind == QR_OP_GEMM && p->ops[at - 1].flags == 0 &&
        (uint64_t)p->ops[at - 1].m * p->ops[at - 1].k <= p->bufs[p->ops[at].dst].cnt)
      p->ops[at - 1].src0 = p->ops[at].dst;
    break;
  case 10: /* errors that are no longer what their largest was found of */
    at = pick(p, g, QR_OP_TD);
    op = p->ops[pick(p, g, QR_OP_Q_OUT)];
    op.dst = p->ops[at].dst;
    insert_op(p, at + 1, &op);
    op = p->ops[pick(p, g, QR_OP_Q_OUT) - 1];
    if (op.kind == QR_OP_GEMM && gen_range(g, 0, 1)) insert_op(p, at + 1, &op);
    break;
  case 11: /* sums that a smaller product covers in part before they are read */
    at = pick(p, g, QR_OP_BIAS_ACT);
    op = p->ops[at];
    insert_op(p, pick(p, g, QR_OP_TD), &op);
    break;
  default: /* a mask taken from activations that change in between */
    at = pick(p, g, QR_OP_MASK);
    op = p->ops[pick(p, g, QR_OP_DITHER)];
    op.dst = p->ops[at].src0;
    if ((uint64_t)op.m * op.n <= p->bufs[op.dst].cnt) insert_op(p, at, &op);
    break;
  }
}

/* ERR_QUANT without an exponent of the layer after, or an op before its input is made, is as good a
   program as any: scratch begins as zeros on both sides. */
static void programs_that_no_network_gives(void **state) {
  (void)state;
  gen_t g = {103};
  for (uint32_t n = 0; n < 240; n++) {
    net_t t;
    qr_net_t net;
    static qr_step_prog_t prog;
    uint32_t wide = n & 2 ? 96 : 32; /* more than a macro tile, or less */
    qr_net_spec_t s = {.in_c = wide,
                       .in_h = 1,
                       .in_w = 1,
                       .action_cnt = 5,
                       .layer_cnt = 3,
                       .batch = 16,
                       .act_frac = 5};
    for (int i = 0; i < 3; i++)
      s.layers[i] = (qr_layer_spec_t){.out = i < 2 ? wide : 5, .lr_shift = 1};
    if (n & 1) {
      s.in_c = 8, s.in_h = 2, s.in_w = 4;
      s.layers[0] = (qr_layer_spec_t){QR_LAYER_CONV3, 16, 1, 2, 0, 0};
      s.layers[1] = (qr_layer_spec_t){QR_LAYER_CONV3, 16, 1, 1, 0, 0};
    }
    assert_int_equal(qr_net_init(&s, &net, NULL, 0), 0);
    qr_step_lower(&net, &prog);
    for (int64_t i = gen_range(&g, 1, 4); i > 0; i--) perturb(&prog, &g);
    net_open(&t, &net, &prog);
    net_fill(&t, &g, n % 3 ? GEN_INIT : GEN_UNIFORM, GEN_UNIFORM);
    check_attempt(&t, &g, GEN_INIT, STEP_MAX, 0, true);
    net_close(&t);
  }
}

/* PROGRAM runs op by op: the same results, and every scratch buffer as the reference has it. */
static void program_mode_keeps_every_buffer(void **state) {
  (void)state;
  gen_t g = {104};
  for (uint32_t n = 0; n < 4; n++) {
    net_t t;
    qr_net_t net;
    static qr_step_prog_t prog;
    assert_true(gen_net(&g, n % 3, &net));
    qr_step_lower(&net, &prog);
    net_open(&t, &net, &prog);
    net_fill(&t, &g, GEN_INIT, GEN_INIT);
    uint64_t digests[QR_STEP_GEMM_MAX_CNT], td;
    qr_hash_t sigma = gen_hash(&g);
    uint32_t *job = rig_job(&t.rig, QR_ENGINE_PROGRAM, QR_ENGINE_COPY_MODEL, &sigma, 1);
    memcpy(t.want, rig_at(&t.rig.model_in), net.model_sz);
    net_step(&t, &g, GEN_INIT, 0, &sigma, 0, 1, digests, &td);
    int8_t *obs =
        (int8_t *)rig_at(&t.rig.s8) + t.rig.place.off[0]; /* buffer 0 is the observations */
    for (uint32_t b = 0; b < prog.batch; b++)
      memcpy(obs + (size_t)b * net.in_sz,
             t.pool + (size_t)job[QR_ENGINE_JOB_HEAD_CNT + b] * net.in_sz, net.in_sz);
    const uint32_t *out = rig_launch(&t.rig);
    assert_int_equal(out[QR_ENGINE_OUT_STATUS], QR_ENGINE_OK);
    assert_memory_equal(rig_at(&t.rig.model), t.want, net.model_sz);
    for (uint32_t i = 0; i < prog.digest_cnt; i++)
      assert_int_equal(rig_u64(out, 0, 2 * i), digests[i]);
    /* The sums of the last digested product are still there. */
    for (uint32_t i = prog.op_cnt; i-- > 0;)
      if (prog.ops[i].kind == QR_OP_GEMM) {
        const qr_step_op_t *op = &prog.ops[i];
        const int32_t *sums = (const int32_t *)rig_at(&t.rig.s32) + t.rig.place.off[op->dst];
        assert_int_equal(qr_ref_digest(sums, op->m, op->n, &sigma, 0, op->digest),
                         digests[op->digest]);
        break;
      }
    net_close(&t);
  }
}

/* Two cards in two threads do not meet: each gives what it gave alone. */
typedef struct {
  net_t t;
  uint8_t *model;
  uint32_t *out;
  uint32_t wrong;
} thread_t;

static void *attempts(void *arg) {
  thread_t *a = arg;
  for (uint32_t i = 0; i < 20; i++) {
    memset(rig_at(&a->t.rig.model), 0, a->t.rig.model.sz);
    const uint32_t *out = rig_launch(&a->t.rig);
    a->wrong += memcmp(out, a->out, a->t.rig.out.sz) != 0;
    a->wrong += memcmp(rig_at(&a->t.rig.model), a->model, a->t.net.model_sz) != 0;
  }
  return NULL;
}

static void cards_in_threads(void **state) {
  (void)state;
#ifdef __SYNTHESIS__
  print_message("the form that is synthesised is one card: not run\n");
  skip();
#endif
  gen_t g = {105};
  static thread_t th[2];
  static uint32_t start[QR_ENGINE_SEGMENT_MAX];
  pthread_t id;
  for (uint32_t i = 0; i < 2; i++) {
    qr_net_t net;
    static qr_step_prog_t prog;
    assert_true(gen_net(&g, i, &net));
    qr_step_lower(&net, &prog);
    net_open(&th[i].t, &net, &prog);
    net_fill(&th[i].t, &g, GEN_INIT, GEN_INIT);
    check_attempt(&th[i].t, &g, GEN_INIT, 2, 0, true);
    uint32_t segment_rows, cnt = lay_replay(&th[i].t, &g, GEN_INIT, &segment_rows, start);
    rig_replay(&th[i].t.rig, segment_rows, cnt, start);
    assert_int_equal(rig_launch(&th[i].t.rig)[QR_ENGINE_OUT_STATUS], QR_ENGINE_OK);
    th[i].model = malloc(net.model_sz);
    th[i].out = malloc(th[i].t.rig.out.sz);
    assert_true(th[i].model && th[i].out);
    memcpy(th[i].model, rig_at(&th[i].t.rig.model), net.model_sz);
    memcpy(th[i].out, rig_at(&th[i].t.rig.out), th[i].t.rig.out.sz);
  }
  assert_int_equal(pthread_create(&id, NULL, attempts, &th[0]), 0);
  attempts(&th[1]);
  pthread_join(id, NULL);
  for (int i = 0; i < 2; i++) {
    assert_int_equal(th[i].wrong, 0);
    net_close(&th[i].t);
    free(th[i].model), free(th[i].out);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(vectors),
      cmocka_unit_test(vectors_of_the_real_networks),
      cmocka_unit_test(random_networks),
      cmocka_unit_test(products_of_any_shape),
      cmocka_unit_test(programs_that_no_network_gives),
      cmocka_unit_test(program_mode_keeps_every_buffer),
      cmocka_unit_test(cards_in_threads),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
