#include "step/ref.h"

#include "base/ars.h"
#include "base/assert.h"
#include "step/fixed.h"
#include "step/ref_gemm.h"

#define ALIGN 64u

struct qr_ref {
  const qr_net_t *net;
  const qr_step_prog_t *prog;
  /* where each buffer lies; model and minibatch are bound per step */
  void *buf[QR_STEP_BUF_MAX_CNT];
  qr_ref_pack_t pack;
  /* forward pass: a layer's input and output in turn, its weights, its products */
  int8_t *fwd_x[2], *fwd_w7;
  int32_t *fwd_acc;
  /* of the step in progress */
  qr_hash_t sigma;
  uint32_t k, lr_shift;
  uint64_t *digests, td_abs_sum;
  int32_t exp[QR_STEP_EXP_MAX_CNT];
  qr_ref_seen_t seen;
  void *seen_arg;
};

/* Memory. The same walk measures (base NULL) and places. */

typedef struct {
  uint8_t *base;
  size_t off;
} carve_t;

static void *carve(carve_t *c, size_t sz) {
  size_t at = c->off;
  c->off = qr_align_up(at + sz, ALIGN);
  return c->base ? c->base + at : NULL;
}

static size_t elem_sz(uint16_t type) {
  switch (type) {
  case QR_STEP_I8:
  case QR_STEP_U8: return 1;
  case QR_STEP_I16: return 2;
  case QR_STEP_I32: return 4;
  default: QR_ASSERT(!"buffer type"); return 0;
  }
}

static size_t max_sz(size_t a, size_t b) { return a > b ? a : b; }

static size_t place(uint8_t *base, qr_ref_t *r, const qr_net_t *net, const qr_step_prog_t *prog) {
  carve_t c = {base, 0};
  carve(&c, sizeof *r);
  for (uint32_t i = 0; i < prog->buf_cnt; i++)
    if (prog->bufs[i].role == QR_STEP_BUF_SCRATCH)
      r->buf[i] = carve(&c, prog->bufs[i].cnt * elem_sz(prog->bufs[i].type));

  size_t a_cnt = 0, b_cnt = 0, x_cnt = 0, w_cnt = 0, acc_cnt = 0;
  for (uint32_t i = 0; i < prog->op_cnt; i++) {
    const qr_step_op_t *op = &prog->ops[i];
    if (op->kind != QR_OP_GEMM) continue;
    a_cnt = max_sz(a_cnt, (size_t)op->m * op->k);
    b_cnt = max_sz(b_cnt, (size_t)op->n * op->k);
  }
  for (uint32_t i = 0; i < net->layer_cnt; i++) {
    const qr_layer_t *l = &net->layers[i];
    size_t out_cnt = (size_t)net->spec.batch * l->pos * l->n;
    x_cnt = max_sz(x_cnt, out_cnt);
    acc_cnt = max_sz(acc_cnt, out_cnt);
    w_cnt = max_sz(w_cnt, (size_t)l->k * l->n);
  }
  r->pack.a = carve(&c, a_cnt * sizeof *r->pack.a);
  r->pack.b = carve(&c, b_cnt * sizeof *r->pack.b);
  r->fwd_x[0] = carve(&c, x_cnt);
  r->fwd_x[1] = carve(&c, x_cnt);
  r->fwd_w7 = carve(&c, w_cnt);
  r->fwd_acc = carve(&c, acc_cnt * sizeof *r->fwd_acc);
  return c.off;
}

size_t qr_ref_footprint(const qr_net_t *net) {
  qr_step_prog_t prog;
  qr_ref_t measured;
  qr_step_lower(net, &prog);
  return place(NULL, &measured, net, &prog);
}

qr_ref_t *qr_ref_init(void *mem, const qr_net_t *net, const qr_step_prog_t *prog) {
  QR_ASSERT((uintptr_t)mem % ALIGN == 0);
  qr_ref_t *r = mem;
  memset(r, 0, sizeof *r);
  r->net = net;
  r->prog = prog;
  place(mem, r, net, prog);
  return r;
}

void qr_ref_watch(qr_ref_t *r, qr_ref_seen_t seen, void *arg) {
  r->seen = seen;
  r->seen_arg = arg;
}

/* Arithmetic shared by the program's ops and the forward pass. */

static void make_w7(int8_t *dst, const int16_t *masters, size_t cnt) {
  for (size_t i = 0; i < cnt; i++) dst[i] = qr_step_w7(masters[i]);
}

/* Step 4 and 5 of the page, hidden layer. */
static void bias_act(int8_t *dst, const int32_t *acc, const int32_t *bias, uint32_t m, uint32_t n,
                     int shift, int bias_shift) {
  for (size_t i = 0; i < m; i++)
    for (size_t j = 0; j < n; j++) {
      int64_t v = acc[i * n + j] + qr_step_bias_at(bias[j], bias_shift);
      if (v < 0) v >>= 3;
      dst[i * n + j] = (int8_t)qr_clamp64(qr_step_half(v, shift), QR_STEP_I7_MIN, QR_STEP_I7_MAX);
    }
}

/* Last layer. A peer's biases may push Q out of 32 bits: the conversion takes it mod 2^32. */
static void q_out(int32_t *dst, const int32_t *acc, const int32_t *bias, uint32_t m, uint32_t n,
                  int shift, int bias_shift) {
  for (size_t i = 0; i < m; i++)
    for (size_t j = 0; j < n; j++)
      dst[i * n + j] = (int32_t)((acc[i * n + j] + qr_step_bias_at(bias[j], bias_shift)) *
                                 ((int64_t)1 << shift));
}

/* One function per op. */

static qr_ars_t stream(const qr_ref_t *r, uint32_t purpose, uint32_t layer) {
  return qr_ars_init(&r->sigma, qr_stream_word((enum qr_stream)purpose, layer, r->k));
}

/* Byte i of a stream read in order: a new block is made every sixteen bytes. */
static uint8_t next_byte(const qr_ars_t *p, size_t i, uint32_t block[4]) {
  if (!(i & 15)) qr_ars_block(p, (uint32_t)(i >> 4), block);
  return (uint8_t)(block[i >> 2 & 3] >> (8 * (i & 3)));
}

static size_t elem_cnt(const qr_step_op_t *op) { return (size_t)op->m * op->n; }

static void op_w7(qr_ref_t *r, const qr_step_op_t *op) {
  make_w7(r->buf[op->dst], r->buf[op->src0], elem_cnt(op));
}

/* 64 bytes of the stream serve 128 elements: their low halves the first 64, their high halves the
   rest. */
static void op_dither(qr_ref_t *r, const qr_step_op_t *op) {
  qr_ars_t p = stream(r, (uint32_t)op->p1, op->layer);
  const int8_t *src = r->buf[op->src0];
  int8_t *dst = r->buf[op->dst];
  uint32_t block[16];
  for (size_t i = 0; i < elem_cnt(op); i++) {
    for (uint32_t j = 0; !(i & 127) && j < 4; j++)
      qr_ars_block(&p, (uint32_t)(i >> 7) * 4 + j, block + 4 * j);
    uint32_t at = i & 63, byte = block[at >> 2] >> (8 * (at & 3));
    dst[i] = qr_step_dither(src[i], op->p0, (i & 64 ? byte >> 4 : byte) & 15);
  }
}

static void op_gemm(qr_ref_t *r, const qr_step_op_t *op) {
  int32_t *dst = r->buf[op->dst];
  qr_ref_gemm(&r->pack, op, r->buf[op->src0], r->buf[op->src1], dst);
  if (r->seen) r->seen(r->seen_arg, op, r->pack.a, r->pack.b, dst);
  if (op->digest != QR_STEP_NO_DIGEST)
    r->digests[op->digest] = qr_ref_digest(dst, op->m, op->n, &r->sigma, r->k, op->digest);
}

static void op_bias_act(qr_ref_t *r, const qr_step_op_t *op) {
  bias_act(r->buf[op->dst], r->buf[op->src0], r->buf[op->src1], op->m, op->n, op->p0, op->p1);
}

static void op_q_out(qr_ref_t *r, const qr_step_op_t *op) {
  q_out(r->buf[op->dst], r->buf[op->src0], r->buf[op->src1], op->m, op->n, op->p0, op->p1);
}

static void op_td(qr_ref_t *r, const qr_step_op_t *op) {
  const int32_t *q = r->buf[op->src0], *target = r->buf[op->aux];
  const uint8_t *act = r->buf[op->src1];
  int32_t *e = r->buf[op->dst];
  memset(e, 0, elem_cnt(op) * sizeof *e);
  for (size_t i = 0; i < op->m; i++) {
    QR_ASSERT(act[i] < op->n);
    size_t at = i * op->n + act[i];
    e[at] = (int32_t)qr_clamp64((int64_t)q[at] - target[i], -QR_STEP_TD_LIM, QR_STEP_TD_LIM);
    r->td_abs_sum += qr_step_abs32(e[at]);
  }
}

static void op_mask(qr_ref_t *r, const qr_step_op_t *op) {
  const int8_t *a = r->buf[op->src0];
  int32_t *e = r->buf[op->dst];
  for (size_t i = 0; i < elem_cnt(op); i++)
    if (a[i] < 0) e[i] >>= 3;
}

static void op_err_quant(qr_ref_t *r, const qr_step_op_t *op) {
  const int32_t *e = r->buf[op->src0];
  int8_t *dst = r->buf[op->dst];
  uint32_t max_abs = 0, block[4];
  for (size_t i = 0; i < elem_cnt(op); i++)
    if (qr_step_abs32(e[i]) > max_abs) max_abs = qr_step_abs32(e[i]);
  int shift = qr_step_err_shift(max_abs);
  r->exp[op->layer] = r->exp[op->layer + 1] + op->p0 - shift;
  qr_ars_t p = stream(r, QR_STREAM_ROUND_E, op->layer);
  for (size_t i = 0; i < elem_cnt(op); i++)
    dst[i] = (int8_t)qr_clamp64(qr_step_sr(e[i], shift, next_byte(&p, i, block)), QR_STEP_I7_MIN,
                                QR_STEP_I7_MAX);
}

static void op_col2im(qr_ref_t *r, const qr_step_op_t *op) {
  qr_ref_col2im(&op->geo, op->m, r->buf[op->src0], r->buf[op->dst]);
}

static int64_t update_shift(const qr_ref_t *r, const qr_step_op_t *op) {
  return (int64_t)r->exp[op->layer] + op->p0 + r->lr_shift;
}

static void op_bias_upd(qr_ref_t *r, const qr_step_op_t *op) {
  const int8_t *e = r->buf[op->src0];
  int32_t *b = r->buf[op->dst];
  int64_t shift = update_shift(r, op);
  qr_ars_t p = stream(r, QR_STREAM_ROUND_B, op->layer);
  uint32_t block[4];
  for (size_t j = 0; j < op->n; j++) {
    int32_t sum = 0;
    for (size_t i = 0; i < op->m; i++) sum += e[i * op->n + j];
    b[j] = (int32_t)qr_clamp64(b[j] - qr_step_sr(sum, shift, next_byte(&p, j, block)), -op->p1,
                               op->p1);
  }
}

static void op_weight_upd(qr_ref_t *r, const qr_step_op_t *op) {
  const int32_t *g = r->buf[op->src0];
  int16_t *m = r->buf[op->dst];
  int64_t shift = update_shift(r, op);
  qr_ars_t p = stream(r, QR_STREAM_ROUND_W, op->layer);
  uint32_t block[4];
  for (size_t i = 0; i < elem_cnt(op); i++)
    m[i] = (int16_t)qr_clamp64(m[i] - qr_step_sr(g[i], shift, next_byte(&p, i, block)), INT16_MIN,
                               INT16_MAX);
}

typedef void (*op_fn_t)(qr_ref_t *r, const qr_step_op_t *op);

static const op_fn_t op_fns[] = {
    [QR_OP_W7] = op_w7,
    [QR_OP_DITHER] = op_dither,
    [QR_OP_GEMM] = op_gemm,
    [QR_OP_BIAS_ACT] = op_bias_act,
    [QR_OP_Q_OUT] = op_q_out,
    [QR_OP_TD] = op_td,
    [QR_OP_MASK] = op_mask,
    [QR_OP_ERR_QUANT] = op_err_quant,
    [QR_OP_COL2IM] = op_col2im,
    [QR_OP_BIAS_UPD] = op_bias_upd,
    [QR_OP_WEIGHT_UPD] = op_weight_upd,
};

/* Points the buffers that are not ours at the model and the minibatch. The program writes only to
   the model's. */
static void bind(qr_ref_t *r, uint8_t *model, const int8_t *obs, const uint8_t *act,
                 const int32_t *target) {
  for (uint32_t i = 0; i < r->prog->buf_cnt; i++) {
    const qr_step_buf_t *b = &r->prog->bufs[i];
    switch (b->role) {
    case QR_STEP_BUF_OBS: r->buf[i] = (void *)(uintptr_t)obs; break;
    case QR_STEP_BUF_ACT: r->buf[i] = (void *)(uintptr_t)act; break;
    case QR_STEP_BUF_TARGET: r->buf[i] = (void *)(uintptr_t)target; break;
    case QR_STEP_BUF_WEIGHT:
    case QR_STEP_BUF_BIAS: r->buf[i] = model + b->off; break;
    default: break;
    }
  }
}

void qr_ref_step(qr_ref_t *r, uint8_t *model, const int8_t *obs, const uint8_t *act,
                 const int32_t *target, const qr_hash_t *sigma, uint32_t k, uint32_t lr_shift,
                 uint64_t *digests, uint64_t *td_abs_sum) {
  QR_ASSERT((uintptr_t)model % 4 == 0);
  bind(r, model, obs, act, target);
  r->sigma = *sigma;
  r->k = k;
  r->lr_shift = lr_shift;
  r->digests = digests;
  r->td_abs_sum = 0;
  memset(r->exp, 0, sizeof r->exp);
  for (uint32_t i = 0; i < r->prog->op_cnt; i++) {
    const qr_step_op_t *op = &r->prog->ops[i];
    QR_ASSERT(op->kind < QR_ARRAY_CNT(op_fns) && op_fns[op->kind]);
    op_fns[op->kind](r, op);
  }
  *td_abs_sum = r->td_abs_sum;
}

/* One layer of the forward pass: x i8 -> out, which is i8 activations or, for the last layer, i32 Q
   values. */
static void forward_layer(qr_ref_t *r, const uint8_t *model, uint32_t idx, const int8_t *x,
                          uint32_t rows, void *out) {
  const qr_layer_t *l = &r->net->layers[idx];
  int acc_frac = l->in_frac + l->w_frac;
  qr_step_op_t gemm = {.kind = QR_OP_GEMM, .m = rows * l->pos, .n = l->n, .k = l->k};
  if (l->kind == QR_LAYER_CONV3) {
    gemm.flags = QR_GEMM_A_CONV;
    gemm.geo = (qr_step_geo_t){
        (uint16_t)l->in_h,  (uint16_t)l->in_w,     (uint16_t)l->in_c,     (uint16_t)l->out_h,
        (uint16_t)l->out_w, (uint16_t)l->stride_y, (uint16_t)l->stride_x, 0};
  }
  const int32_t *bias = (const void *)(model + l->b_off);
  make_w7(r->fwd_w7, (const void *)(model + l->w_off), (size_t)l->k * l->n);
  qr_ref_gemm(&r->pack, &gemm, x, r->fwd_w7, r->fwd_acc);
  if (idx + 1 == r->net->layer_cnt)
    q_out(out, r->fwd_acc, bias, gemm.m, gemm.n, QR_STEP_Q_FRAC - acc_frac,
          QR_STEP_BIAS_FRAC - acc_frac);
  else
    bias_act(out, r->fwd_acc, bias, gemm.m, gemm.n, acc_frac - (int)r->net->spec.act_frac,
             QR_STEP_BIAS_FRAC - acc_frac);
}

void qr_ref_forward(qr_ref_t *r, const uint8_t *model, const int8_t *obs, uint32_t cnt,
                    int32_t *q) {
  const qr_net_t *net = r->net;
  QR_ASSERT((uintptr_t)model % 4 == 0);
  for (uint32_t at = 0; at < cnt; at += net->spec.batch) {
    uint32_t rows = cnt - at < net->spec.batch ? cnt - at : net->spec.batch;
    const int8_t *x = obs + (size_t)at * net->in_sz;
    for (uint32_t i = 0; i + 1 < net->layer_cnt; i++) {
      forward_layer(r, model, i, x, rows, r->fwd_x[i & 1]);
      x = r->fwd_x[i & 1];
    }
    forward_layer(r, model, net->layer_cnt - 1, x, rows, q + (size_t)at * net->spec.action_cnt);
  }
}

uint32_t qr_step_argmax(const int32_t *q, uint32_t n) {
  uint32_t best = 0;
  for (uint32_t i = 1; i < n; i++)
    if (q[i] > q[best]) best = i;
  return best;
}
