/* The step engine: reads a job and a program from card memory and runs it, op after op. Registers
   and buffers are described in hls/common/qr_engine_abi.h. */
#include "engine.h"
#include "fixed.h"

/* Purposes of streams, and what a launch carries from op to op. */
enum { BATCH = 1, ROUND_E = 8, ROUND_W = 9, ROUND_B = 10, DIGEST_K = 11, DIGEST_R = 12 };

typedef struct {
  uint32_t head[QR_ENGINE_JOB_HEAD_CNT];
  bool forward, drawn;
  uint32_t rows, k, lr_shift; /* rows: of this pass, FORWARD only */
  qr_eng_batch_t batch;
  qr_eng_replay_t replay;
  int32_t exp[QR_STEP_EXP_MAX_CNT];
  uint64_t digest[QR_STEP_GEMM_MAX_CNT], td_abs_sum;
  uint32_t max_abs[QR_STEP_BUF_MAX_CNT]; /* of a buffer's elements, if as many as .. */
  uint64_t max_cnt[QR_STEP_BUF_MAX_CNT]; /* .. this are asked for */
  bool by_rows[QR_STEP_BUF_MAX_CNT];     /* FORWARD: the buffer holds something per row */
  qr_eng_ars_t ars;
} run_t;

static uint32_t stream_word(uint32_t purpose, uint32_t layer, uint32_t k) {
  return purpose << 24 | (layer & 255) << 16 | (k & 0xffff);
}

static int64_t update_shift(const run_t *r, const qr_eng_op_t *op) {
  return (int64_t)r->exp[op->layer] + op->p0 + r->lr_shift;
}

/* What the drain has to do for op, which works on sums of m x n at acc_off. */
static void post_of(const qr_eng_prog_t *p, const run_t *r, const qr_eng_op_t *op,
                    qr_eng_drain_t *d) {
  d->kind = op->kind;
  d->dst_off = p->bufs[op->dst].off;
  d->p0 = op->p0;
  d->p1 = op->p1;
  if (op->kind == QR_OP_BIAS_ACT || op->kind == QR_OP_Q_OUT) d->src_off = p->bufs[op->src1].off;
  if (op->kind == QR_OP_MASK) d->src_off = p->bufs[op->src0].off;
  if (op->kind == QR_OP_WEIGHT_UPD) {
    d->round = qr_eng_round_of(update_shift(r, op));
    d->round_stream = stream_word(ROUND_W, op->layer, r->k);
  }
}

static void operands(const qr_eng_prog_t *p, const qr_eng_op_t *op, qr_eng_operand_t *a,
                     qr_eng_operand_t *b) {
  a->off = p->bufs[op->src0].off;
  a->along_k = !(op->flags & QR_GEMM_A_TRANS);
  a->ld = a->along_k ? op->k : op->m;
  a->conv = op->flags & QR_GEMM_A_CONV;
  a->geo = op->geo;
  b->off = p->bufs[op->src1].off;
  b->along_k = op->flags & QR_GEMM_B_TRANS;
  b->ld = b->along_k ? op->k : op->n;
  b->conv = false;
}

static void run_gemm(const qr_eng_prog_t *p, const qr_eng_plan_t *plan, run_t *r, uint32_t i,
                     uint32_t m, const int8_t *a8, const int8_t *b8, int8_t *s8, int32_t *s32,
                     int16_t *model) {
  const qr_eng_op_t *op = &p->ops[i];
  qr_eng_operand_t a, b;
  uint64_t digest = 0;
  uint32_t most = 0;
  operands(p, op, &a, &b);
  qr_eng_drain_t d = {.kind = QR_OP_END,
                      .store = plan->store[i],
                      .digest = !r->forward && op->digest != QR_STEP_NO_DIGEST,
                      .m = m,
                      .n = op->n,
                      .acc_off = p->bufs[op->dst].off,
                      .key_stream = stream_word(DIGEST_K, op->digest, r->k),
                      .factor_stream = stream_word(DIGEST_R, op->digest, r->k)};
  if (plan->post[i] != QR_ENG_ALONE) post_of(p, r, &p->ops[plan->post[i]], &d);
  qr_eng_gemm(&a, &b, op->k, &d, &r->ars, a8, b8, s8, s32, model, &digest, &most);
  if (d.digest) r->digest[op->digest] = digest;
  if (d.kind != QR_OP_END) r->max_cnt[p->ops[plan->post[i]].dst] = 0;
  r->max_abs[op->dst] = most;
  r->max_cnt[op->dst] = d.store ? (uint64_t)m * op->n : 0;
}

/* An op on sums that lie in S32. */
static void run_pass(const qr_eng_prog_t *p, run_t *r, const qr_eng_op_t *op, uint32_t m,
                     int8_t *s8, int32_t *s32, int16_t *model) {
  bool own = op->kind == QR_OP_MASK;
  uint32_t most = 0;
  qr_eng_drain_t d = {
      .store = own, .m = m, .n = op->n, .acc_off = p->bufs[own ? op->dst : op->src0].off};
  post_of(p, r, op, &d);
  qr_eng_pass(&d, &r->ars, s8, s32, model, &most);
  r->max_abs[op->dst] = most;
  r->max_cnt[op->dst] = own ? (uint64_t)m * op->n : 0;
}

static void run_quant(const qr_eng_prog_t *p, run_t *r, const qr_eng_op_t *op, int8_t *s8,
                      const int32_t *s32) {
  uint32_t src = p->bufs[op->src0].off, cnt = op->m * op->n;
  uint32_t most = r->max_cnt[op->src0] == cnt ? r->max_abs[op->src0] : qr_eng_max(s32, src, cnt);
  int32_t shift = qr_eng_bitlen(most) - 8;
  if (shift < 0) shift = 0;
  r->exp[op->layer] = r->exp[op->layer + 1] + op->p0 - shift;
  qr_eng_quant(&r->ars, stream_word(ROUND_E, op->layer, r->k), shift, s32, src, s8,
               p->bufs[op->dst].off, cnt);
}

static void run_col2im(const qr_eng_prog_t *p, const qr_eng_plan_t *plan, run_t *r, uint32_t i,
                       const int8_t *s8, int32_t *s32) {
  const qr_eng_op_t *op = &p->ops[i];
  const qr_eng_geo_t *g = &op->geo;
  uint32_t post = plan->post[i], most = 0;
  uint32_t mask = post == QR_ENG_ALONE ? QR_ENG_ALONE : p->bufs[p->ops[post].src0].off;
  qr_eng_col2im(op, s32, p->bufs[op->src0].off, p->bufs[op->dst].off, s8, mask, &most);
  r->max_abs[op->dst] = most;
  r->max_cnt[op->dst] = (uint64_t)(op->m / (g->out_h * g->out_w)) * (g->h * g->w * g->c);
}

/* m: rows of this pass. */
static void run_op(const qr_eng_prog_t *p, const qr_eng_plan_t *plan, run_t *r, uint32_t i,
                   uint32_t m, const int8_t *a8, const int8_t *b8, int8_t *s8, int32_t *s32,
                   int16_t *model) {
  const qr_eng_op_t *op = &p->ops[i];
  uint32_t src = op->src0 < p->buf_cnt ? p->bufs[op->src0].off : 0, dst = p->bufs[op->dst].off;
  switch (op->kind) {
  case QR_OP_W7: qr_eng_w7(model, src, s8, dst, m * op->n); break;
  case QR_OP_DITHER:
    qr_eng_dither(&r->ars, stream_word((uint32_t)op->p1, op->layer, r->k), r->forward ? 0 : op->p0,
                  s8, src, dst, m * op->n);
    break;
  case QR_OP_GEMM: run_gemm(p, plan, r, i, m, a8, b8, s8, s32, model); break;
  case QR_OP_BIAS_ACT:
  case QR_OP_Q_OUT:
  case QR_OP_MASK:
  case QR_OP_WEIGHT_UPD: run_pass(p, r, op, m, s8, s32, model); break;
  case QR_OP_TD:
    r->td_abs_sum +=
        qr_eng_td(r->batch.act, r->batch.target, op, s32, src, dst, &r->max_abs[op->dst]);
    r->max_cnt[op->dst] = (uint64_t)op->m * op->n;
    break;
  case QR_OP_ERR_QUANT: run_quant(p, r, op, s8, s32); break;
  case QR_OP_COL2IM: run_col2im(p, plan, r, i, s8, s32); break;
  case QR_OP_BIAS_UPD:
    qr_eng_bias_update(&r->ars, stream_word(ROUND_B, op->layer, r->k), op, update_shift(r, op), s8,
                       src, model, dst);
    break;
  default: break;
  }
}

/* The program once. */
static void run_ops(const qr_eng_prog_t *p, const qr_eng_plan_t *plan, run_t *r, const int8_t *a8,
                    const int8_t *b8, int8_t *s8, int32_t *s32, int16_t *model) {
  r->td_abs_sum = 0;
  for (uint32_t i = 0; i < QR_STEP_GEMM_MAX_CNT; i++) r->digest[i] = 0;
  for (uint32_t i = 0; i < QR_STEP_EXP_MAX_CNT; i++) r->exp[i] = 0;
  for (uint32_t i = 0; i < QR_STEP_BUF_MAX_CNT; i++) r->max_cnt[i] = 0;
  for (uint32_t i = 0; i < p->op_cnt; i++) {
#pragma HLS LOOP_TRIPCOUNT min = 1 max = 95
    if (!plan->skip[i]) run_op(p, plan, r, i, p->ops[i].m, a8, b8, s8, s32, model);
  }
}

static qr_eng_result_t refused(uint32_t status, uint32_t done, uint32_t op, uint32_t detail) {
  return (qr_eng_result_t){status, done, op, detail};
}

/* What an action has to stay below: columns of the TD op. */
static uint64_t action_limit(const qr_eng_prog_t *p) {
  return p->td_op == UINT32_MAX ? UINT64_MAX : p->ops[p->td_op].n;
}

/* Step s of the job's tables; PROGRAM takes no rows. */
static qr_eng_result_t list_batch(const qr_eng_prog_t *p, run_t *r, const qr_eng_win_t *win,
                                  const uint32_t *job, uint32_t s, bool rows) {
  uint32_t off = QR_ENGINE_JOB_HEAD_CNT + s * QR_ENGINE_JOB_STEP_CNT_OF(p->batch), good;
  if (rows) {
    good = qr_eng_take(job, off, p->batch, win->pool_rows, r->batch.row);
    if (good < p->batch) return refused(QR_ENGINE_E_ROW, s, UINT32_MAX, r->batch.row[good]);
  }
  good = qr_eng_take(job, off + p->batch, p->batch, action_limit(p), r->batch.act);
  if (good < p->batch) return refused(QR_ENGINE_E_ACTION, s, p->td_op, good);
  qr_eng_take(job, off + 2 * p->batch, p->batch, UINT64_MAX, r->batch.target);
  return refused(QR_ENGINE_OK, s, UINT32_MAX, 0);
}

/* Step s of a launch, drawn. */
static qr_eng_result_t draw_batch(const qr_eng_prog_t *p, run_t *r, const uint32_t *table,
                                  uint32_t s, qr_eng_marks_t marks) {
  uint32_t found = qr_eng_draw(&r->head[QR_ENGINE_JOB_SIGMA], stream_word(BATCH, 0, r->k),
                               &r->replay, p->batch, marks, &r->batch);
  if (found < p->batch) return refused(QR_ENGINE_E_DRAW, s, UINT32_MAX, found);
  uint32_t good = qr_eng_look_up(table, p->batch, action_limit(p), marks, &r->batch);
  if (good < p->batch) return refused(QR_ENGINE_E_ACTION, s, p->td_op, good);
  return refused(QR_ENGINE_OK, s, UINT32_MAX, 0);
}

static void put_step(const qr_eng_prog_t *p, const run_t *r, uint32_t step, uint32_t *out) {
  uint32_t at = QR_ENGINE_OUT_HEAD_CNT + step * QR_ENGINE_OUT_STEP_CNT;
  for (uint32_t i = 0; i < p->digest_cnt; i++) {
#pragma HLS PIPELINE II = 2
#pragma HLS LOOP_TRIPCOUNT min = 0 max = 24
    out[at + 2 * i] = (uint32_t)r->digest[i];
    out[at + 2 * i + 1] = (uint32_t)(r->digest[i] >> 32);
  }
  out[at + QR_ENGINE_OUT_TD] = (uint32_t)r->td_abs_sum;
  out[at + QR_ENGINE_OUT_TD + 1] = (uint32_t)(r->td_abs_sum >> 32);
}

/* ATTEMPT and PROGRAM: counts, tables and results against the windows. */
static qr_eng_result_t steps_fit(const qr_eng_prog_t *p, const run_t *r, const qr_eng_win_t *win,
                                 uint32_t cnt) {
  bool attempt = r->head[QR_ENGINE_JOB_MODE] == QR_ENGINE_ATTEMPT;
  bool listed = !r->drawn && (attempt || p->td_op != UINT32_MAX);
  if (!cnt || cnt > QR_ENGINE_STEP_MAX ||
      r->head[QR_ENGINE_JOB_FIRST_STEP] > QR_ENGINE_STEP_MAX - cnt)
    return refused(QR_ENGINE_E_MODE, 0, UINT32_MAX, cnt);
  uint64_t words = listed ? QR_ENGINE_JOB_STEP_CNT_OF((uint64_t)p->batch) * cnt : 0;
  if (QR_ENGINE_JOB_HEAD_CNT + words > win->job_cnt)
    return refused(QR_ENGINE_E_WINDOW, 0, UINT32_MAX, QR_ENGINE_ARG_JOB);
  if (QR_ENGINE_OUT_HEAD_CNT + (uint64_t)cnt * QR_ENGINE_OUT_STEP_CNT > win->out_cnt)
    return refused(QR_ENGINE_E_WINDOW, 0, UINT32_MAX, QR_ENGINE_ARG_OUT);
  return refused(QR_ENGINE_OK, 0, UINT32_MAX, 0);
}

static qr_eng_result_t run_steps(const qr_eng_prog_t *p, const qr_eng_plan_t *plan, run_t *r,
                                 const qr_eng_win_t *win, const uint32_t *job, const int8_t *pool,
                                 const uint32_t *table, const int8_t *a8, const int8_t *b8,
                                 int8_t *s8, int32_t *s32, int16_t *model, uint32_t *out) {
  QR_ENG_STATE qr_eng_marks_t marks;
#pragma HLS BIND_STORAGE variable = marks type = ram_t2p impl = uram
  bool attempt = r->head[QR_ENGINE_JOB_MODE] == QR_ENGINE_ATTEMPT;
  uint32_t cnt = attempt ? r->head[QR_ENGINE_JOB_STEP_CNT] : 1;
  qr_eng_result_t res = steps_fit(p, r, win, cnt);
  if (res.status == QR_ENGINE_OK && r->drawn)
    res = qr_eng_replay(job, win, p->batch, &r->replay, marks);
  if (res.status != QR_ENGINE_OK) return res;
  for (uint32_t s = 0; s < cnt; s++) {
#pragma HLS LOOP_TRIPCOUNT min = 1 max = 32
    r->k = r->head[QR_ENGINE_JOB_FIRST_STEP] + s;
    if (r->drawn)
      res = draw_batch(p, r, table, s, marks);
    else if (attempt || p->td_op != UINT32_MAX)
      res = list_batch(p, r, win, job, s, attempt);
    if (res.status != QR_ENGINE_OK) return res;
    if (attempt && p->obs_buf != UINT32_MAX)
      qr_eng_gather(r->batch.row, p->batch, pool, win->row_stride, p->obs_sz, s8,
                    p->bufs[p->obs_buf].off);
    run_ops(p, plan, r, a8, b8, s8, s32, model);
    put_step(p, r, s, out);
  }
  return refused(QR_ENGINE_OK, cnt, UINT32_MAX, 0);
}

/* FORWARD knows ops up to the Q values. Marks what they hold per row of the minibatch, which a pass
   over fewer rows cuts down. */
static qr_eng_result_t mark_rows(const qr_eng_prog_t *p, run_t *r) {
  for (uint32_t i = 0; i < QR_STEP_BUF_MAX_CNT; i++) r->by_rows[i] = i == p->obs_buf;
  for (uint32_t i = 0; i < p->td_op; i++) {
#pragma HLS LOOP_TRIPCOUNT min = 1 max = 32
    const qr_eng_op_t *op = &p->ops[i];
    bool rows = r->by_rows[op->src0];
    if (op->kind != QR_OP_W7 && op->kind != QR_OP_DITHER && op->kind != QR_OP_GEMM &&
        op->kind != QR_OP_BIAS_ACT && op->kind != QR_OP_Q_OUT)
      return refused(QR_ENGINE_E_OP, 0, i, op->kind);
    if (op->kind == QR_OP_GEMM && (r->by_rows[op->src1] || (rows && op->flags & QR_GEMM_A_TRANS)))
      return refused(QR_ENGINE_E_SHAPE, 0, i, op->kind);
    if (rows && op->m % p->batch) return refused(QR_ENGINE_E_SHAPE, 0, i, op->kind);
    r->by_rows[op->dst] = rows;
  }
  if (!r->by_rows[p->ops[p->td_op].src0]) return refused(QR_ENGINE_E_SHAPE, 0, p->td_op, 0);
  return refused(QR_ENGINE_OK, 0, UINT32_MAX, 0);
}

static qr_eng_result_t forward_fits(const qr_eng_prog_t *p, const run_t *r,
                                    const qr_eng_win_t *win) {
  uint32_t cnt = r->head[QR_ENGINE_JOB_ROW_CNT];
  if (p->td_op == UINT32_MAX || p->obs_buf == UINT32_MAX)
    return refused(QR_ENGINE_E_PROG, 0, UINT32_MAX, 0);
  if (!cnt) return refused(QR_ENGINE_E_MODE, 0, UINT32_MAX, cnt);
  if (QR_ENGINE_JOB_HEAD_CNT + (uint64_t)cnt > win->job_cnt)
    return refused(QR_ENGINE_E_WINDOW, 0, UINT32_MAX, QR_ENGINE_ARG_JOB);
  if (QR_ENGINE_OUT_HEAD_CNT + (uint64_t)cnt * p->ops[p->td_op].n > win->out_cnt)
    return refused(QR_ENGINE_E_WINDOW, 0, UINT32_MAX, QR_ENGINE_ARG_OUT);
  return refused(QR_ENGINE_OK, 0, UINT32_MAX, 0);
}

/* Passes of up to a minibatch of rows; the compute copies of the weights are made in the first. */
static qr_eng_result_t run_forward(const qr_eng_prog_t *p, const qr_eng_plan_t *plan, run_t *r,
                                   const qr_eng_win_t *win, const uint32_t *job, const int8_t *pool,
                                   const int8_t *a8, const int8_t *b8, int8_t *s8, int32_t *s32,
                                   int16_t *model, uint32_t *out) {
  qr_eng_result_t res = forward_fits(p, r, win);
  if (res.status == QR_ENGINE_OK) res = mark_rows(p, r);
  if (res.status != QR_ENGINE_OK) return res;
  const qr_eng_op_t *td = &p->ops[p->td_op];
  uint32_t cnt = r->head[QR_ENGINE_JOB_ROW_CNT], q = p->bufs[td->src0].off;
  for (uint32_t at = 0; at < cnt; at += p->batch) {
#pragma HLS LOOP_TRIPCOUNT min = 1 max = 4
    r->rows = qr_eng_min(cnt - at, p->batch);
    uint32_t good =
        qr_eng_take(job, QR_ENGINE_JOB_HEAD_CNT + at, r->rows, win->pool_rows, r->batch.row);
    if (good < r->rows) return refused(QR_ENGINE_E_ROW, at, UINT32_MAX, r->batch.row[good]);
    qr_eng_gather(r->batch.row, r->rows, pool, win->row_stride, p->obs_sz, s8,
                  p->bufs[p->obs_buf].off);
    for (uint32_t i = 0; i < p->td_op; i++) {
#pragma HLS LOOP_TRIPCOUNT min = 1 max = 32
      const qr_eng_op_t *op = &p->ops[i];
      uint32_t m = r->by_rows[op->dst] ? op->m / p->batch * r->rows : op->m;
      if (!plan->skip[i]) run_op(p, plan, r, i, m, a8, b8, s8, s32, model);
    }
    for (uint32_t i = 0; i < r->rows * td->n; i++) {
#pragma HLS PIPELINE II = 1
#pragma HLS LOOP_TRIPCOUNT min = 1 max = 1024
      out[QR_ENGINE_OUT_HEAD_CNT + (uint64_t)at * td->n + i] = (uint32_t)s32[q + i];
    }
  }
  return refused(QR_ENGINE_OK, cnt, UINT32_MAX, 0);
}

/* What can be said before the program is read. */
static qr_eng_result_t check_launch(const run_t *r) {
  uint32_t mode = r->head[QR_ENGINE_JOB_MODE], flags = r->head[QR_ENGINE_JOB_FLAGS];
  uint32_t known = QR_ENGINE_COPY_MODEL | (mode == QR_ENGINE_ATTEMPT ? QR_ENGINE_DRAW : 0u);
  if (r->head[QR_ENGINE_JOB_ABI] != QR_ENGINE_ABI_VERSION)
    return refused(QR_ENGINE_E_ABI, 0, UINT32_MAX, r->head[QR_ENGINE_JOB_ABI]);
  if (mode > QR_ENGINE_PROGRAM || flags & ~known)
    return refused(QR_ENGINE_E_MODE, 0, UINT32_MAX, mode);
  return refused(QR_ENGINE_OK, 0, UINT32_MAX, 0);
}

static void put_head(const qr_eng_result_t *res, uint32_t *out) {
  const uint32_t head[QR_ENGINE_OUT_HEAD_CNT] = {[QR_ENGINE_OUT_STATUS] = res->status,
                                                 [QR_ENGINE_OUT_DONE] = res->done,
                                                 [QR_ENGINE_OUT_OP] = res->op,
                                                 [QR_ENGINE_OUT_DETAIL] = res->detail,
                                                 [QR_ENGINE_OUT_ABI] = QR_ENGINE_ABI_VERSION,
                                                 [QR_ENGINE_OUT_ARRAY] = QR_ENG_T,
                                                 [QR_ENGINE_OUT_PANEL] = QR_ENG_DEPTH,
                                                 [QR_ENGINE_OUT_SAMPLE_MAX] = QR_ENG_SAMPLE_MAX};
  for (uint32_t i = 0; i < QR_ENGINE_OUT_HEAD_CNT; i++) {
#pragma HLS PIPELINE II = 1
    out[i] = head[i];
  }
}

static qr_eng_result_t run_job(run_t *r, const qr_eng_win_t *win, const uint32_t *prog,
                               const uint32_t *job, const int8_t *pool, const uint32_t *table,
                               const int16_t *model_in, int16_t *model, int8_t *s8,
                               const int8_t *a8, const int8_t *b8, int32_t *s32, uint32_t *out) {
  QR_ENG_STATE qr_eng_prog_t p;
  QR_ENG_STATE qr_eng_plan_t plan;
  qr_eng_result_t res = check_launch(r);
  uint32_t mode = r->head[QR_ENGINE_JOB_MODE];
  if (res.status != QR_ENGINE_OK || mode == QR_ENGINE_INFO) return res;
  res = qr_eng_decode(prog, win, &p);
  if (res.status != QR_ENGINE_OK) return res;
  if (p.model_sz > 2 * (uint64_t)win->model_cnt)
    return refused(QR_ENGINE_E_WINDOW, 0, UINT32_MAX, QR_ENGINE_ARG_MODEL);
  if (mode != QR_ENGINE_PROGRAM && (win->row_stride & 63 || win->row_stride < p.obs_sz))
    return refused(QR_ENGINE_E_WINDOW, 0, UINT32_MAX, QR_ENGINE_ARG_ROW_STRIDE);
  if (r->head[QR_ENGINE_JOB_FLAGS] & QR_ENGINE_COPY_MODEL)
    qr_eng_copy_model(model_in, model, p.model_sz / 2);
  r->forward = mode == QR_ENGINE_FORWARD;
  qr_eng_plan(&p, r->forward && p.td_op != UINT32_MAX ? p.td_op : p.op_cnt,
              mode != QR_ENGINE_PROGRAM, &plan);
  if (r->forward) return run_forward(&p, &plan, r, win, job, pool, a8, b8, s8, s32, model, out);
  return run_steps(&p, &plan, r, win, job, pool, table, a8, b8, s8, s32, model, out);
}

void qr_step_engine(const uint32_t *prog, const uint32_t *job, const int8_t *pool,
                    const uint32_t *table, const int16_t *model_in, int16_t *model, int8_t *s8,
                    const int8_t *a8, const int8_t *b8, int32_t *s32, uint32_t *out,
                    uint32_t job_cnt, uint32_t pool_rows, uint32_t row_stride, uint32_t table_cnt,
                    uint32_t model_cnt, uint32_t s8_cnt, uint32_t s32_cnt, uint32_t out_cnt) {
#pragma HLS INTERFACE m_axi port = prog offset = slave bundle = gmem0 depth = 1641
#pragma HLS INTERFACE m_axi port = job offset = slave bundle = gmem0 depth = 24592
#pragma HLS INTERFACE m_axi port = out offset = slave bundle = gmem0 depth = 2064
#pragma HLS INTERFACE m_axi port = pool offset = slave bundle = gmem1 depth = 524288
#pragma HLS INTERFACE m_axi port = table offset = slave bundle = gmem1 depth = 131072
#pragma HLS INTERFACE m_axi port = model_in offset = slave bundle = gmem1 depth = 524288
#pragma HLS INTERFACE m_axi port = model offset = slave bundle = gmem2 depth = 524288
#pragma HLS INTERFACE m_axi port = s8 offset = slave bundle = gmem3 depth = 4194304
#pragma HLS INTERFACE m_axi port = a8 offset = slave bundle = gmem4 depth = 4194304
#pragma HLS INTERFACE m_axi port = b8 offset = slave bundle = gmem5 depth = 4194304
#pragma HLS INTERFACE m_axi port = s32 offset = slave bundle = gmem6 depth = 4194304
#pragma HLS INTERFACE s_axilite port = prog
#pragma HLS INTERFACE s_axilite port = job
#pragma HLS INTERFACE s_axilite port = pool
#pragma HLS INTERFACE s_axilite port = table
#pragma HLS INTERFACE s_axilite port = model_in
#pragma HLS INTERFACE s_axilite port = model
#pragma HLS INTERFACE s_axilite port = s8
#pragma HLS INTERFACE s_axilite port = a8
#pragma HLS INTERFACE s_axilite port = b8
#pragma HLS INTERFACE s_axilite port = s32
#pragma HLS INTERFACE s_axilite port = out
#pragma HLS INTERFACE s_axilite port = job_cnt
#pragma HLS INTERFACE s_axilite port = pool_rows
#pragma HLS INTERFACE s_axilite port = row_stride
#pragma HLS INTERFACE s_axilite port = table_cnt
#pragma HLS INTERFACE s_axilite port = model_cnt
#pragma HLS INTERFACE s_axilite port = s8_cnt
#pragma HLS INTERFACE s_axilite port = s32_cnt
#pragma HLS INTERFACE s_axilite port = out_cnt
#pragma HLS INTERFACE s_axilite port = return
  QR_ENG_STATE run_t r;
  const qr_eng_win_t win = {job_cnt,   pool_rows, row_stride, table_cnt,
                            model_cnt, s8_cnt,    s32_cnt,    out_cnt};
  qr_eng_result_t res = {QR_ENGINE_E_WINDOW, 0, UINT32_MAX, QR_ENGINE_ARG_JOB};
  if (out_cnt < QR_ENGINE_OUT_HEAD_CNT) return;
  if (job_cnt >= QR_ENGINE_JOB_HEAD_CNT) {
    for (uint32_t i = 0; i < QR_ENGINE_JOB_HEAD_CNT; i++) {
#pragma HLS PIPELINE II = 1
      r.head[i] = job[i];
    }
    r.lr_shift = r.head[QR_ENGINE_JOB_LR_SHIFT];
    qr_eng_ars_init(&r.head[QR_ENGINE_JOB_SIGMA], &r.ars);
    r.drawn = r.head[QR_ENGINE_JOB_FLAGS] & QR_ENGINE_DRAW;
    r.replay.segment_cnt = r.head[QR_ENGINE_JOB_SEGMENT_CNT];
    r.replay.segment_rows = r.head[QR_ENGINE_JOB_SEGMENT_ROWS];
    res = run_job(&r, &win, prog, job, pool, table, model_in, model, s8, a8, b8, s32, out);
  }
  put_head(&res, out);
}
