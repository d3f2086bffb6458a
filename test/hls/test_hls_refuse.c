/* What the step engine refuses, and that nothing it is given makes it leave its windows: every
   buffer stands between guards, and the sanitizers watch the rest. */
#include "hls_rig.h"

static qr_step_prog_t good;
static qr_net_t net;
static rig_t rig;
static qr_hash_t sigma;

static void make_net(bool conv) {
  qr_net_spec_t s = {.in_c = 16,
                     .in_h = 1,
                     .in_w = 1,
                     .action_cnt = 3,
                     .layer_cnt = 3,
                     .batch = 16,
                     .act_frac = 5};
  for (int i = 0; i < 3; i++) s.layers[i] = (qr_layer_spec_t){.out = i < 2 ? 16 : 3, .lr_shift = 1};
  if (conv) {
    s.in_c = 8, s.in_h = 2, s.in_w = 4;
    s.layers[0] = (qr_layer_spec_t){QR_LAYER_CONV3, 16, 1, 2, 0, 0};
    s.layers[1] = (qr_layer_spec_t){QR_LAYER_CONV3, 16, 2, 1, 0, 0};
  }
  char why[128];
  assert_int_equal(qr_net_init(&s, &net, why, sizeof why), 0);
  qr_step_lower(&net, &good);
}

/* A card with everything right for one launch of two steps. */
static uint32_t *fresh(bool conv) {
  gen_t g = {31};
  make_net(conv);
  rig_open(&rig, &good, 2, 40, 8);
  sigma = gen_hash(&g);
  gen_model(&g, GEN_INIT, &net, rig_at(&rig.model_in));
  gen_model(&g, GEN_INIT, &net, rig_at(&rig.model));
  gen_obs(&g, GEN_UNIFORM, rig_at(&rig.pool), rig.pool.sz);
  memset(rig_at(&rig.s8), 0, rig.s8.sz);
  memset(rig_at(&rig.s32), 0, rig.s32.sz);
  uint32_t *job = rig_job(&rig, QR_ENGINE_ATTEMPT, QR_ENGINE_COPY_MODEL, &sigma, 0);
  job[QR_ENGINE_JOB_STEP_CNT] = 2;
  for (uint32_t s = 0; s < 2; s++)
    for (uint32_t b = 0; b < 16; b++) {
      job[QR_ENGINE_JOB_HEAD_CNT + 48 * s + b] = b & 7;
      job[QR_ENGINE_JOB_HEAD_CNT + 48 * s + 16 + b] = b % 3;
    }
  return job;
}

/* The same with its minibatches drawn: a replay of three segments of seven rows, their last two
   rows shared. */
static uint32_t *fresh_drawn(bool conv) {
  uint32_t *job = fresh(conv);
  rig_replay(&rig, 7, 3, (const uint32_t[]){0, 1, 1});
  for (uint32_t i = 0; i < 8; i++) rig_table_row(&rig, i, i % 3, (int32_t)i << 14);
  return job;
}

static qr_step_prog_t *prog(void) { return rig_at(&rig.prog); }

static qr_step_op_t *op_of(enum qr_step_op_kind kind) {
  for (uint32_t i = 0; i < prog()->op_cnt; i++)
    if (prog()->ops[i].kind == kind) return &prog()->ops[i];
  fail_msg("no op of kind %d", kind);
  return NULL;
}

/* change: statements on job, prog() and rig that spoil what fresh gave. */
#define REFUSED(conv, want, change)                                                                \
  do {                                                                                             \
    uint32_t *job = fresh(conv);                                                                   \
    (void)job;                                                                                     \
    assert_int_equal(rig_launch(&rig)[QR_ENGINE_OUT_STATUS], QR_ENGINE_OK);                        \
    change;                                                                                        \
    const uint32_t *out = rig_launch(&rig);                                                        \
    if (out[QR_ENGINE_OUT_STATUS] != (want))                                                       \
      fail_msg("status %u, not %s: %s", out[QR_ENGINE_OUT_STATUS], #want, #change);                \
    rig_close(&rig);                                                                               \
  } while (0)

static void refuses_launches(void **state) {
  (void)state;
  REFUSED(false, QR_ENGINE_E_ABI, job[QR_ENGINE_JOB_ABI]++);
  REFUSED(false, QR_ENGINE_E_ABI, prog()->abi_version++);
  REFUSED(false, QR_ENGINE_E_MODE, job[QR_ENGINE_JOB_MODE] = 4);
  REFUSED(false, QR_ENGINE_E_MODE, job[QR_ENGINE_JOB_FLAGS] = 4);
  REFUSED(false, QR_ENGINE_E_MODE, job[QR_ENGINE_JOB_FLAGS] = QR_ENGINE_DRAW;
          job[QR_ENGINE_JOB_MODE] = QR_ENGINE_PROGRAM);
  REFUSED(false, QR_ENGINE_E_MODE, job[QR_ENGINE_JOB_FLAGS] = QR_ENGINE_DRAW;
          job[QR_ENGINE_JOB_MODE] = QR_ENGINE_FORWARD; job[QR_ENGINE_JOB_ROW_CNT] = 4);
  REFUSED(false, QR_ENGINE_E_MODE, job[QR_ENGINE_JOB_FLAGS] = QR_ENGINE_DRAW;
          job[QR_ENGINE_JOB_MODE] = QR_ENGINE_INFO);
  REFUSED(false, QR_ENGINE_E_MODE, job[QR_ENGINE_JOB_STEP_CNT] = 0);
  REFUSED(false, QR_ENGINE_E_MODE, job[QR_ENGINE_JOB_STEP_CNT] = UINT32_MAX);
  REFUSED(false, QR_ENGINE_E_MODE, job[QR_ENGINE_JOB_FIRST_STEP] = 65535);
  REFUSED(false, QR_ENGINE_E_MODE, job[QR_ENGINE_JOB_FIRST_STEP] = UINT32_MAX);
  REFUSED(false, QR_ENGINE_E_MODE, job[QR_ENGINE_JOB_MODE] = QR_ENGINE_FORWARD);
  REFUSED(false, QR_ENGINE_E_ROW, job[QR_ENGINE_JOB_HEAD_CNT + 15] = 8);
  REFUSED(false, QR_ENGINE_E_ROW, job[QR_ENGINE_JOB_HEAD_CNT] = UINT32_MAX);
  REFUSED(false, QR_ENGINE_E_ACTION, job[QR_ENGINE_JOB_HEAD_CNT + 31] = 3);
}

/* What is said of a refusal: how far it came, which op, which row. */
static void says_where(void **state) {
  (void)state;
  uint32_t *job = fresh(false);
  job[QR_ENGINE_JOB_HEAD_CNT + 48 + 3] = 77; /* a row of the second step */
  const uint32_t *out = rig_launch(&rig);
  assert_int_equal(out[QR_ENGINE_OUT_STATUS], QR_ENGINE_E_ROW);
  assert_int_equal(out[QR_ENGINE_OUT_DONE], 1);
  assert_int_equal(out[QR_ENGINE_OUT_DETAIL], 77);
  job[QR_ENGINE_JOB_HEAD_CNT + 48 + 3] = 7;
  uint8_t *one = malloc(net.model_sz), *two = malloc(net.model_sz); /* the model is one step on */
  assert_true(one && two);
  memcpy(two, rig_at(&rig.model), net.model_sz);
  job[QR_ENGINE_JOB_STEP_CNT] = 1;
  assert_int_equal(rig_launch(&rig)[QR_ENGINE_OUT_STATUS], QR_ENGINE_OK);
  memcpy(one, rig_at(&rig.model), net.model_sz);
  assert_memory_equal(one, two, net.model_sz);
  free(one), free(two);

  prog()->ops[5].n = 0;
  out = rig_launch(&rig);
  assert_int_equal(out[QR_ENGINE_OUT_STATUS], QR_ENGINE_E_SHAPE);
  assert_int_equal(out[QR_ENGINE_OUT_OP], 5);
  job[QR_ENGINE_JOB_MODE] = QR_ENGINE_INFO; /* which reads no program */
  out = rig_launch(&rig);
  assert_int_equal(out[QR_ENGINE_OUT_STATUS], QR_ENGINE_OK);
  assert_int_equal(out[QR_ENGINE_OUT_ABI], QR_ENGINE_ABI_VERSION);
  assert_int_equal(out[QR_ENGINE_OUT_ARRAY], QR_ENGINE_T);
  assert_true(out[QR_ENGINE_OUT_PANEL] && out[QR_ENGINE_OUT_SAMPLE_MAX]);
  rig_close(&rig);
}

/* A launch with drawn minibatches that is refused, or runs, with this detail. Nothing was done: no
   step's results are there. */
static void replay(uint32_t want, uint32_t detail) {
  const uint32_t *out = rig_launch(&rig);
  assert_int_equal(out[QR_ENGINE_OUT_STATUS], want);
  assert_int_equal(out[QR_ENGINE_OUT_DETAIL], detail);
  assert_int_equal(out[QR_ENGINE_OUT_DONE], want == QR_ENGINE_OK ? 2 : 0);
  if (want == QR_ENGINE_OK) return;
  for (uint32_t i = QR_ENGINE_OUT_HEAD_CNT; i < rig.out.sz / 4; i++) assert_int_equal(out[i], 0);
}

static void counts(uint32_t segment_cnt, uint32_t segment_rows, uint32_t want, uint32_t detail) {
  uint32_t *job = rig_at(&rig.job);
  job[QR_ENGINE_JOB_SEGMENT_CNT] = segment_cnt;
  job[QR_ENGINE_JOB_SEGMENT_ROWS] = segment_rows;
  replay(want, detail);
}

static void refuses_replays(void **state) {
  (void)state;
  uint32_t *job = fresh_drawn(false), *start = job + QR_ENGINE_JOB_HEAD_CNT;
  replay(QR_ENGINE_OK, 0);
  counts(0, 7, QR_ENGINE_E_REPLAY, 0);
  counts(3, 0, QR_ENGINE_E_REPLAY, 0);
  counts(3, 5, QR_ENGINE_E_REPLAY, 15); /* a row fewer than a minibatch */
  start[3] = 0;
  counts(4, 4, QR_ENGINE_OK, 0);
  counts(1u << 16, 1u << 16, QR_ENGINE_E_REPLAY, 0);
  counts(UINT32_MAX, UINT32_MAX, QR_ENGINE_E_REPLAY, 1);
  counts(3, 1431655772, QR_ENGINE_E_REPLAY, 20); /* 2^32 + 20 rows */
  counts(1025, 1, QR_ENGINE_E_REPLAY, 1025);
  counts(1, (1u << 18) + 1, QR_ENGINE_E_REPLAY, (1u << 18) + 1);
  counts(1024, 257, QR_ENGINE_E_REPLAY, 1024 * 257);
  counts(1, 1u << 18, QR_ENGINE_E_SEGMENT, 0); /* so many would be drawn from, if they were there */
  counts(1024, 1, QR_ENGINE_E_WINDOW, QR_ENGINE_ARG_JOB);
  uint32_t room = (uint32_t)rig.job.sz / 4 - QR_ENGINE_JOB_HEAD_CNT;
  counts(room + 1, 1, QR_ENGINE_E_WINDOW, QR_ENGINE_ARG_JOB);
  memset(start, 0, room * sizeof *start);
  counts(room, 1, QR_ENGINE_OK, 0);
  start[room - 1] = 8;
  counts(room, 1, QR_ENGINE_E_SEGMENT, room - 1);
  rig_t whole = rig;
  rig.job.sz = 4 * (QR_ENGINE_JOB_HEAD_CNT + 3); /* a job needs no more than its segments */
  counts(3, 7, QR_ENGINE_OK, 0);
  rig = whole;
  rig_close(&rig);
}

/* A program without a TD knows no actions, one without observations no samples either; a replay
   has to be there all the same. */
static void draws_for_programs_without_td(void **state) {
  (void)state;
  fresh_drawn(false);
  qr_step_prog_t *p = rig_at(&rig.prog);
  uint32_t *table = rig_at(&rig.table);
  p->op_cnt = (uint32_t)(op_of(QR_OP_TD) - p->ops);
  for (uint32_t i = 0; i < 16; i++) table[i] = UINT32_MAX;
  replay(QR_ENGINE_OK, 0);
  p->bufs[0].role = QR_STEP_BUF_SCRATCH;
  p->batch = 0;
  replay(QR_ENGINE_OK, 0);
  counts(0, 7, QR_ENGINE_E_REPLAY, 0);
  counts(3, 0, QR_ENGINE_E_REPLAY, 0);
  rig_close(&rig);
}

static void refuses_segments(void **state) {
  (void)state;
  uint32_t *job = fresh_drawn(true), *start = job + QR_ENGINE_JOB_HEAD_CNT;
  replay(QR_ENGINE_OK, 0);
  static const uint32_t beyond[] = {2, 8, 1u << 31, UINT32_MAX - 7, UINT32_MAX - 6, UINT32_MAX};
  for (uint32_t s = 0; s < 3; s++)
    for (size_t i = 0; i < QR_ARRAY_CNT(beyond); i++) {
      uint32_t kept = start[s];
      start[s] = beyond[i];
      replay(QR_ENGINE_E_SEGMENT, s);
      start[s] = kept;
    }
  start[2] = 2, start[1] = 3; /* the first of them is told */
  replay(QR_ENGINE_E_SEGMENT, 1);
  start[2] = start[1] = 1;
  rig_t whole = rig;
  rig.pool_rows--; /* each window counts, by a row or by half of one */
  replay(QR_ENGINE_E_SEGMENT, 1);
  rig = whole;
  rig.table.sz -= 4;
  replay(QR_ENGINE_E_SEGMENT, 1);
  start[2] = start[1] = 0;
  replay(QR_ENGINE_OK, 0);
  rig.table.sz = 0;
  replay(QR_ENGINE_E_SEGMENT, 0);
  job[QR_ENGINE_JOB_FLAGS] = 0; /* listed minibatches need no table */
  replay(QR_ENGINE_OK, 0);
  rig = whole;
  rig_close(&rig);
}

/* Actions are looked at when they are drawn: the step, the sample, and nothing of that step. What a
   launch leaves behind when it ends so does not matter to the next. */
static void refuses_actions_that_are_drawn(void **state) {
  (void)state;
  uint32_t *job = fresh_drawn(false), rows[16];
  uint8_t scratch[8], *one = malloc(net.model_sz);
  assert_non_null(one);
  replay(QR_ENGINE_OK, 0);
  memcpy(one, rig_at(&rig.model), net.model_sz);
  uint32_t *table = rig_at(&rig.table), *start = job + QR_ENGINE_JOB_HEAD_CNT;
  start[0] = start[1] = start[2] = 0; /* row 7 is in no segment: whatever its action */
  table[2 * 7] = UINT32_MAX;
  replay(QR_ENGINE_OK, 0);
  start[2] = 1; /* number 20 of the replay, where a step draws it */
  uint32_t refusals = 0;
  for (uint32_t k = 0; k < 40; k++) {
    job[QR_ENGINE_JOB_FIRST_STEP] = k;
    uint32_t done = 0, sample = 16;
    for (; done < 2; done++) {
      qr_step_batch(&sigma, k + done, 21, 16, rows, scratch);
      for (sample = 0; sample < 16 && rows[sample] != 20; sample++) continue;
      if (sample < 16) break;
    }
    table[2 * 7] = k & 1 ? 3 : UINT32_MAX;
    const uint32_t *out = rig_launch(&rig);
    assert_int_equal(out[QR_ENGINE_OUT_STATUS], done < 2 ? QR_ENGINE_E_ACTION : QR_ENGINE_OK);
    assert_int_equal(out[QR_ENGINE_OUT_DONE], done);
    assert_int_equal(out[QR_ENGINE_OUT_DETAIL], done < 2 ? sample : 0);
    refusals |= 1u << done;
  }
  assert_int_equal(refusals, 7); /* in the first step, in the second, in none */
  job[QR_ENGINE_JOB_FIRST_STEP] = 0;
  start[1] = 1;
  table[2 * 7] = 7 % 3;
  replay(QR_ENGINE_OK, 0);
  assert_memory_equal(rig_at(&rig.model), one, net.model_sz);
  free(one);
  rig_close(&rig);
}

/* A launch whose windows are one unit short of what it needs. */
static void window(uint32_t want_detail, size_t job, size_t model, size_t s8, size_t s32,
                   size_t out, uint32_t stride) {
  rig_t r = rig;
  r.job.sz -= job, r.model.sz -= model, r.s8.sz -= s8, r.s32.sz -= s32, r.out.sz -= out;
  r.row_stride -= stride;
  const uint32_t *o = rig_launch(&r);
  assert_int_equal(o[QR_ENGINE_OUT_STATUS], QR_ENGINE_E_WINDOW);
  assert_int_equal(o[QR_ENGINE_OUT_DETAIL], want_detail);
}

static void refuses_small_windows(void **state) {
  (void)state;
  uint32_t *job = fresh(true);
  assert_int_equal(rig_launch(&rig)[QR_ENGINE_OUT_STATUS], QR_ENGINE_OK);
  size_t model_slack = rig.model.sz - net.model_sz;
  window(QR_ENGINE_ARG_JOB, 4, 0, 0, 0, 0, 0);
  window(QR_ENGINE_ARG_JOB, rig.job.sz - 60, 0, 0, 0, 0, 0);
  window(QR_ENGINE_ARG_MODEL, 0, model_slack + 2, 0, 0, 0, 0);
  window(QR_ENGINE_ARG_S8, 0, 0, 64, 0, 0, 0);
  window(QR_ENGINE_ARG_S8, 0, 0, 1, 0, 0, 0);
  window(QR_ENGINE_ARG_S32, 0, 0, 0, 64, 0, 0);
  window(QR_ENGINE_ARG_S32, 0, 0, 0, 4, 0, 0);
  window(QR_ENGINE_ARG_OUT, 0, 0, 0, 0, 4, 0);
  window(QR_ENGINE_ARG_ROW_STRIDE, 0, 0, 0, 0, 0, 64);
  window(QR_ENGINE_ARG_ROW_STRIDE, 0, 0, 0, 0, 0, 1);
  job[QR_ENGINE_JOB_MODE] = QR_ENGINE_INFO; /* even that wants a whole head */
  window(QR_ENGINE_ARG_JOB, rig.job.sz - 60, 0, 0, 0, 0, 0);
  job[QR_ENGINE_JOB_MODE] = QR_ENGINE_FORWARD;
  job[QR_ENGINE_JOB_ROW_CNT] = 41;
  window(QR_ENGINE_ARG_OUT, 0, 0, 0, 0, rig.out.sz - 4 * (16 + 3 * 41 - 1), 0);
  job[QR_ENGINE_JOB_ROW_CNT] = UINT32_MAX;
  window(QR_ENGINE_ARG_JOB, 0, 0, 0, 0, 0, 0);
  rig_t r = rig; /* no room to say anything: nothing is written */
  r.out.sz = 15 * 4;
  assert_int_equal(rig_launch(&r)[QR_ENGINE_OUT_STATUS], QR_ENGINE_PENDING);
  rig_close(&rig);
}

static void refuses_programs(void **state) {
  (void)state;
  REFUSED(false, QR_ENGINE_E_PROG, prog()->op_cnt = 0);
  REFUSED(false, QR_ENGINE_E_PROG, prog()->op_cnt = QR_STEP_OP_MAX_CNT);
  REFUSED(false, QR_ENGINE_E_PROG, prog()->buf_cnt = QR_STEP_BUF_MAX_CNT + 1);
  REFUSED(false, QR_ENGINE_E_PROG, prog()->digest_cnt = QR_STEP_GEMM_MAX_CNT + 1);
  REFUSED(false, QR_ENGINE_E_PROG, prog()->batch = QR_ENGINE_BATCH_MAX + 1);
  REFUSED(false, QR_ENGINE_E_SHAPE, prog()->batch = QR_ENGINE_BATCH_MAX);
  REFUSED(false, QR_ENGINE_E_SHAPE, prog()->batch = 17);
  REFUSED(false, QR_ENGINE_E_SHAPE, prog()->batch = 0);
  REFUSED(false, QR_ENGINE_E_SHAPE, prog()->obs_sz = 0);
  REFUSED(false, QR_ENGINE_E_WINDOW, prog()->obs_sz = UINT32_MAX; prog()->bufs[0].cnt = UINT32_MAX);
  REFUSED(false, QR_ENGINE_E_WINDOW, prog()->model_sz = UINT32_MAX);
  REFUSED(false, QR_ENGINE_E_WINDOW, prog()->bufs[5].cnt = UINT32_MAX);
  REFUSED(false, QR_ENGINE_E_WINDOW, prog()->bufs[3].off = 32);
  REFUSED(false, QR_ENGINE_E_WINDOW, prog()->bufs[3].off = UINT32_MAX & ~63u);
  REFUSED(false, QR_ENGINE_E_WINDOW, prog()->bufs[4].off += 2);
  REFUSED(false, QR_ENGINE_E_BUF, prog()->bufs[5].type = 9);
  REFUSED(false, QR_ENGINE_E_BUF, prog()->bufs[5].role = 6);
  REFUSED(false, QR_ENGINE_E_BUF, prog()->bufs[3].type = QR_STEP_I32);
  REFUSED(false, QR_ENGINE_E_BUF, prog()->bufs[5].role = QR_STEP_BUF_OBS);
  REFUSED(false, QR_ENGINE_E_BUF, prog()->buf_cnt--);
  REFUSED(false, QR_ENGINE_E_OP, prog()->ops[3].kind = 0);
  REFUSED(false, QR_ENGINE_E_OP, prog()->ops[3].kind = QR_OP_WEIGHT_UPD + 1);
  REFUSED(false, QR_ENGINE_E_OP, prog()->ops[prog()->op_cnt++] = *op_of(QR_OP_TD));
  REFUSED(false, QR_ENGINE_E_LIMIT, op_of(QR_OP_W7)->m = (1u << 24) + 1);
  REFUSED(false, QR_ENGINE_E_SHAPE, op_of(QR_OP_W7)->m++);
  REFUSED(false, QR_ENGINE_E_SHAPE, op_of(QR_OP_DITHER)->m = 1u << 24;
          op_of(QR_OP_DITHER)->n = 256);
  REFUSED(false, QR_ENGINE_E_SHAPE, op_of(QR_OP_GEMM)->k = 0);
  REFUSED(false, QR_ENGINE_E_SHAPE, op_of(QR_OP_GEMM)->k++);
  REFUSED(false, QR_ENGINE_E_SHAPE, op_of(QR_OP_GEMM)->n--);
  REFUSED(false, QR_ENGINE_E_SHAPE, op_of(QR_OP_TD)->m--);
  REFUSED(false, QR_ENGINE_E_BUF, op_of(QR_OP_GEMM)->src0 = QR_STEP_NO_BUF);
  REFUSED(false, QR_ENGINE_E_BUF, op_of(QR_OP_GEMM)->dst = op_of(QR_OP_GEMM)->src0);
  REFUSED(false, QR_ENGINE_E_BUF, op_of(QR_OP_WEIGHT_UPD)->dst = op_of(QR_OP_BIAS_UPD)->dst);
  REFUSED(false, QR_ENGINE_E_BUF, op_of(QR_OP_TD)->src1 = op_of(QR_OP_TD)->src0);
  REFUSED(false, QR_ENGINE_E_OP, op_of(QR_OP_GEMM)->flags = 8);
  REFUSED(false, QR_ENGINE_E_OP, op_of(QR_OP_GEMM)->digest = 23);
  REFUSED(false, QR_ENGINE_E_OP, op_of(QR_OP_DITHER)->p0 = 32);
  REFUSED(false, QR_ENGINE_E_OP, op_of(QR_OP_DITHER)->p0 = -1);
  REFUSED(false, QR_ENGINE_E_OP, op_of(QR_OP_DITHER)->layer = 256);
  REFUSED(false, QR_ENGINE_E_OP, op_of(QR_OP_BIAS_ACT)->p0 = 0);
  REFUSED(false, QR_ENGINE_E_OP, op_of(QR_OP_BIAS_ACT)->p1 = 32);
  REFUSED(false, QR_ENGINE_E_OP, op_of(QR_OP_Q_OUT)->p0 = 32);
  REFUSED(false, QR_ENGINE_E_OP, op_of(QR_OP_ERR_QUANT)->layer = 7);
  REFUSED(false, QR_ENGINE_E_OP, op_of(QR_OP_ERR_QUANT)->p0 = INT32_MAX);
  REFUSED(false, QR_ENGINE_E_OP, op_of(QR_OP_BIAS_UPD)->p1 = -1);
  REFUSED(false, QR_ENGINE_E_OP, op_of(QR_OP_BIAS_UPD)->layer = 8);
  REFUSED(false, QR_ENGINE_E_OP, op_of(QR_OP_WEIGHT_UPD)->layer = 8);
}

static void refuses_geometry(void **state) {
  (void)state;
  REFUSED(true, QR_ENGINE_E_SHAPE, op_of(QR_OP_GEMM)->geo.h = 0);
  REFUSED(true, QR_ENGINE_E_SHAPE, op_of(QR_OP_GEMM)->geo.c++);
  REFUSED(true, QR_ENGINE_E_SHAPE, op_of(QR_OP_GEMM)->geo.c--);
  REFUSED(true, QR_ENGINE_E_SHAPE, op_of(QR_OP_GEMM)->m--);
  REFUSED(true, QR_ENGINE_E_SHAPE, op_of(QR_OP_GEMM)->geo.out_w = 0);
  REFUSED(true, QR_ENGINE_E_SHAPE, op_of(QR_OP_GEMM)->geo.out_h = 3);
  REFUSED(true, QR_ENGINE_E_SHAPE, op_of(QR_OP_GEMM)->geo.sx = 5);
  REFUSED(true, QR_ENGINE_E_SHAPE, op_of(QR_OP_GEMM)->geo.sy = 65535);
  REFUSED(true, QR_ENGINE_E_SHAPE, op_of(QR_OP_GEMM)->geo.w = 65);
  REFUSED(true, QR_ENGINE_E_LIMIT, op_of(QR_OP_GEMM)->geo.w = 65535);
  REFUSED(true, QR_ENGINE_E_SHAPE, op_of(QR_OP_COL2IM)->geo.h += 4);
  REFUSED(true, QR_ENGINE_E_SHAPE, op_of(QR_OP_COL2IM)->m++);
  REFUSED(true, QR_ENGINE_E_BUF, op_of(QR_OP_COL2IM)->dst = op_of(QR_OP_COL2IM)->src0);
}

/* A forward pass knows fewer ops, and wants every row tensor cut by rows. */
static void forward_refuses(void **state) {
  (void)state;
#define FORWARD                                                                                    \
  job[QR_ENGINE_JOB_MODE] = QR_ENGINE_FORWARD;                                                     \
  job[QR_ENGINE_JOB_ROW_CNT] = 20
  REFUSED(false, QR_ENGINE_OK, FORWARD);
  REFUSED(true, QR_ENGINE_OK, FORWARD);
  REFUSED(false, QR_ENGINE_E_ROW, FORWARD; job[QR_ENGINE_JOB_HEAD_CNT + 19] = 8);
  REFUSED(false, QR_ENGINE_E_OP, FORWARD; prog()->ops[0] = *op_of(QR_OP_BIAS_UPD));
  REFUSED(false, QR_ENGINE_E_SHAPE, FORWARD; op_of(QR_OP_BIAS_ACT)->m--);
  REFUSED(false, QR_ENGINE_E_SHAPE, FORWARD; op_of(QR_OP_GEMM)->flags = QR_GEMM_A_TRANS);
  REFUSED(false, QR_ENGINE_E_SHAPE, FORWARD; op_of(QR_OP_TD)->src0 = op_of(QR_OP_TD)->dst);
  REFUSED(false, QR_ENGINE_E_PROG, FORWARD; prog()->op_cnt = 3);
#undef FORWARD
}

/* Programs and jobs with random damage: any answer is right but one that leaves the windows. */
static void damage_stays_inside(void **state) {
  (void)state;
  gen_t g = {32};
  static const uint32_t values[] = {0,        1,        2,         3,        7,
                                    15,       16,       17,        63,       64,
                                    65,       255,      256,       1u << 16, (1u << 24) - 1,
                                    1u << 24, 1u << 31, UINT32_MAX};
  uint32_t seen[QR_ENGINE_E_DRAW + 1] = {0};
  for (int n = 0; n < 8000; n++) {
    bool drawn = n % 4 == 3;
    uint32_t *job = drawn ? fresh_drawn(n & 4) : fresh(n & 1);
    if (!drawn) {
      job[QR_ENGINE_JOB_MODE] = (uint32_t)gen_range(&g, 1, 3);
      job[QR_ENGINE_JOB_ROW_CNT] = (uint32_t)gen_range(&g, 1, 40);
    }
    uint32_t *words = rig_at(&rig.prog), used = 201 + 15 * prog()->op_cnt;
    for (int64_t i = gen_range(&g, 1, 4); i > 0; i--) {
      bool in_job = !gen_range(&g, 0, drawn ? 1 : 7);
      uint32_t *w =
          in_job ? &job[gen_range(&g, 0, drawn ? 18 : 111)] : &words[gen_range(&g, 0, used - 1)];
      if (drawn && !gen_range(&g, 0, 3)) w = (uint32_t *)rig_at(&rig.table) + gen_range(&g, 0, 15);
      switch (gen_range(&g, 0, 3)) {
      case 0: *w = values[gen_range(&g, 0, QR_ARRAY_CNT(values) - 1)]; break;
      case 1: *w ^= 1u << gen_range(&g, 0, 31); break;
      case 2: *w = (*w & 0xffff0000u) | (uint32_t)gen_range(&g, 0, 70); break;
      default: *w += (uint32_t)gen_range(&g, -2, 2); break;
      }
    }
    uint32_t status = rig_launch(&rig)[QR_ENGINE_OUT_STATUS];
    assert_true(status >= QR_ENGINE_OK && status <= QR_ENGINE_E_DRAW);
    seen[status]++;
    rig_close(&rig);
  }
  assert_true(seen[QR_ENGINE_OK] > 500); /* damage that passes must be there too */
  assert_true(seen[QR_ENGINE_E_REPLAY] > 20 && seen[QR_ENGINE_E_SEGMENT] > 100);
  assert_int_equal(seen[QR_ENGINE_E_DRAW], 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(refuses_launches),
      cmocka_unit_test(says_where),
      cmocka_unit_test(refuses_small_windows),
      cmocka_unit_test(refuses_programs),
      cmocka_unit_test(refuses_replays),
      cmocka_unit_test(refuses_segments),
      cmocka_unit_test(refuses_actions_that_are_drawn),
      cmocka_unit_test(draws_for_programs_without_td),
      cmocka_unit_test(refuses_geometry),
      cmocka_unit_test(forward_refuses),
      cmocka_unit_test(damage_stays_inside),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
