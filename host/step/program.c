#include "step/program.h"

#include "base/assert.h"
#include "base/philox.h"
#include "crypto/hash.h"
#include "step/fixed.h"

/* A program is hashed and copied as bytes, so its layout must have no holes. */
_Static_assert(sizeof(qr_step_buf_t) == 12 && sizeof(qr_step_op_t) == 60,
               "step program has padding");
_Static_assert(offsetof(qr_step_prog_t, bufs) == 36, "step program has padding");

enum { DITHER_INPUT = 8, DITHER_ACT = 2, DITHER_WEIGHT = 2, DITHER_ERR = 4 };

/* Buffer numbers while lowering. Index l: x = input of layer l, e and e7 = error at its output. */
typedef struct {
  const qr_net_t *net;
  qr_step_prog_t *prog;
  uint16_t x[QR_NET_LAYER_MAX_CNT], w[QR_NET_LAYER_MAX_CNT], b[QR_NET_LAYER_MAX_CNT],
      w7[QR_NET_LAYER_MAX_CNT];
  uint16_t e[QR_NET_LAYER_MAX_CNT], e7[QR_NET_LAYER_MAX_CNT];
  uint16_t act, target, q, acc, col, dither_a, dither_b;
} lower_t;

static uint16_t add_buf(lower_t *t, enum qr_step_type type, enum qr_step_buf_role role,
                        uint32_t cnt, uint32_t off) {
  QR_ASSERT(t->prog->buf_cnt < QR_STEP_BUF_MAX_CNT);
  t->prog->bufs[t->prog->buf_cnt] = (qr_step_buf_t){(uint16_t)type, (uint16_t)role, cnt, off};
  return (uint16_t)t->prog->buf_cnt++;
}

/* A shared scratch buffer grows to the largest use. */
static uint16_t use(lower_t *t, uint16_t buf, uint32_t cnt) {
  qr_step_buf_t *b = &t->prog->bufs[buf];
  if (b->cnt < cnt) b->cnt = cnt;
  return buf;
}

/* The program keeps room for the END that follows the last op. */
static qr_step_op_t *add_op(lower_t *t, enum qr_step_op_kind kind, uint32_t layer, uint32_t m,
                            uint32_t n) {
  QR_ASSERT(t->prog->op_cnt + 1 < QR_STEP_OP_MAX_CNT);
  qr_step_op_t *op = &t->prog->ops[t->prog->op_cnt++];
  *op = (qr_step_op_t){.kind = (uint16_t)kind,
                       .layer = (uint16_t)layer,
                       .m = m,
                       .n = n,
                       .k = 1,
                       .src0 = QR_STEP_NO_BUF,
                       .src1 = QR_STEP_NO_BUF,
                       .dst = QR_STEP_NO_BUF,
                       .aux = QR_STEP_NO_BUF,
                       .digest = QR_STEP_NO_DIGEST};
  return op;
}

static bool is_last(const lower_t *t, uint32_t l) { return l + 1 == t->net->layer_cnt; }

static uint32_t rows(const lower_t *t, uint32_t l) {
  return t->net->spec.batch * t->net->layers[l].pos;
}

static int32_t batch_log2(const lower_t *t) { return qr_bitlen32(t->net->spec.batch) - 1; }

static qr_step_geo_t geometry(const qr_layer_t *l) {
  return (qr_step_geo_t){
      (uint16_t)l->in_h,  (uint16_t)l->in_w,     (uint16_t)l->in_c,     (uint16_t)l->out_h,
      (uint16_t)l->out_w, (uint16_t)l->stride_y, (uint16_t)l->stride_x, 0};
}

static void add_buffers(lower_t *t) {
  const qr_net_t *net = t->net;
  uint32_t batch = net->spec.batch;
  t->x[0] = add_buf(t, QR_STEP_I8, QR_STEP_BUF_OBS, batch * net->in_sz, 0);
  t->act = add_buf(t, QR_STEP_U8, QR_STEP_BUF_ACT, batch, 0);
  t->target = add_buf(t, QR_STEP_I32, QR_STEP_BUF_TARGET, batch, 0);
  for (uint32_t i = 0; i < net->layer_cnt; i++) {
    const qr_layer_t *l = &net->layers[i];
    t->w[i] = add_buf(t, QR_STEP_I16, QR_STEP_BUF_WEIGHT, l->k * l->n, l->w_off);
    t->b[i] = add_buf(t, QR_STEP_I32, QR_STEP_BUF_BIAS, l->n, l->b_off);
    t->w7[i] = add_buf(t, QR_STEP_I8, QR_STEP_BUF_SCRATCH, l->k * l->n, 0);
    if (i)
      t->x[i] =
          add_buf(t, QR_STEP_I8, QR_STEP_BUF_SCRATCH, rows(t, i - 1) * net->layers[i - 1].n, 0);
    t->e[i] = add_buf(t, QR_STEP_I32, QR_STEP_BUF_SCRATCH, rows(t, i) * l->n, 0);
    t->e7[i] = add_buf(t, QR_STEP_I8, QR_STEP_BUF_SCRATCH, rows(t, i) * l->n, 0);
  }
  t->q = add_buf(t, QR_STEP_I32, QR_STEP_BUF_SCRATCH, batch * net->spec.action_cnt, 0);
  t->acc = add_buf(t, QR_STEP_I32, QR_STEP_BUF_SCRATCH, 0, 0);
  t->col = add_buf(t, QR_STEP_I32, QR_STEP_BUF_SCRATCH, 0, 0);
  t->dither_a = add_buf(t, QR_STEP_I8, QR_STEP_BUF_SCRATCH, 0, 0);
  t->dither_b = add_buf(t, QR_STEP_I8, QR_STEP_BUF_SCRATCH, 0, 0);
}

/* A dithered copy of src in the shared buffer dst; the last layer, which is exempt, uses src
   itself. */
static uint16_t dithered(lower_t *t, uint32_t layer, uint16_t src, uint16_t dst, uint32_t m,
                         uint32_t n, int d, enum qr_stream purpose) {
  if (is_last(t, layer)) return src;
  qr_step_op_t *op = add_op(t, QR_OP_DITHER, layer, m, n);
  op->src0 = src;
  op->dst = use(t, dst, m * n);
  op->p0 = d;
  op->p1 = (int32_t)purpose;
  return dst;
}

static uint16_t dithered_input(lower_t *t, uint32_t layer, enum qr_stream purpose) {
  const qr_layer_t *l = &t->net->layers[layer];
  return dithered(t, layer, t->x[layer], t->dither_a, t->net->spec.batch,
                  l->in_h * l->in_w * l->in_c, layer ? DITHER_ACT : DITHER_INPUT, purpose);
}

/* A product; digested unless it is of the last layer. */
static qr_step_op_t *add_gemm(lower_t *t, uint32_t layer, uint16_t a, uint16_t b, uint16_t dst,
                              uint32_t m, uint32_t n, uint32_t k, unsigned flags) {
  qr_step_op_t *op = add_op(t, QR_OP_GEMM, layer, m, n);
  op->k = k;
  op->src0 = a;
  op->src1 = b;
  op->dst = use(t, dst, m * n);
  op->flags = (uint16_t)flags;
  if (flags & QR_GEMM_A_CONV) op->geo = geometry(&t->net->layers[layer]);
  if (!is_last(t, layer)) {
    QR_ASSERT(t->prog->digest_cnt < QR_STEP_GEMM_MAX_CNT);
    op->digest = (uint16_t)t->prog->digest_cnt++;
  }
  return op;
}

static unsigned conv_flag(const qr_layer_t *l) {
  return l->kind == QR_LAYER_CONV3 ? QR_GEMM_A_CONV : 0;
}

static void lower_forward(lower_t *t, uint32_t i) {
  const qr_layer_t *l = &t->net->layers[i];
  uint32_t m = rows(t, i);
  int32_t acc_frac = l->in_frac + l->w_frac;

  qr_step_op_t *op = add_op(t, QR_OP_W7, i, l->k, l->n);
  op->src0 = t->w[i];
  op->dst = t->w7[i];
  uint16_t a = dithered_input(t, i, QR_STREAM_DITHER_A);
  uint16_t w = dithered(t, i, t->w7[i], t->dither_b, l->k, l->n, DITHER_WEIGHT, QR_STREAM_DITHER_W);
  add_gemm(t, i, a, w, t->acc, m, l->n, l->k, conv_flag(l));

  op = add_op(t, is_last(t, i) ? QR_OP_Q_OUT : QR_OP_BIAS_ACT, i, m, l->n);
  op->src0 = t->acc;
  op->src1 = t->b[i];
  op->dst = is_last(t, i) ? t->q : t->x[i + 1];
  op->p0 = is_last(t, i) ? QR_STEP_Q_FRAC - acc_frac : acc_frac - (int32_t)t->net->spec.act_frac;
  op->p1 = QR_STEP_BIAS_FRAC - acc_frac;
}

/* The error of the layer before, from e7 of layer i > 0. */
static void lower_error(lower_t *t, uint32_t i) {
  const qr_layer_t *l = &t->net->layers[i];
  uint32_t m = rows(t, i);
  bool conv = l->kind == QR_LAYER_CONV3;
  uint16_t d = dithered(t, i, t->e7[i], t->dither_a, m, l->n, DITHER_ERR, QR_STREAM_DITHER_BE);
  uint16_t w =
      dithered(t, i, t->w7[i], t->dither_b, l->k, l->n, DITHER_WEIGHT, QR_STREAM_DITHER_BW);
  add_gemm(t, i, d, w, conv ? t->col : t->e[i - 1], m, l->k, l->n, QR_GEMM_B_TRANS);
  if (conv) {
    qr_step_op_t *op = add_op(t, QR_OP_COL2IM, i, m, l->k);
    op->src0 = t->col;
    op->dst = t->e[i - 1];
    op->geo = geometry(l);
  }
}

static void lower_backward(lower_t *t, uint32_t i) {
  const qr_layer_t *l = &t->net->layers[i];
  uint32_t m = rows(t, i);
  if (!is_last(t, i)) {
    qr_step_op_t *mask = add_op(t, QR_OP_MASK, i, m, l->n);
    mask->src0 = t->x[i + 1];
    mask->dst = t->e[i];
  }
  qr_step_op_t *op = add_op(t, QR_OP_ERR_QUANT, i, m, l->n);
  op->src0 = t->e[i];
  op->dst = t->e7[i];
  op->p0 = is_last(t, i) ? QR_STEP_Q_FRAC : t->net->layers[i + 1].w_frac;

  uint16_t a = dithered_input(t, i, QR_STREAM_DITHER_GA);
  uint16_t d = dithered(t, i, t->e7[i], t->dither_b, m, l->n, DITHER_ERR, QR_STREAM_DITHER_GE);
  add_gemm(t, i, a, d, t->acc, l->k, l->n, m, conv_flag(l) | QR_GEMM_A_TRANS);
  if (i) lower_error(t, i);

  int32_t rate = batch_log2(t) + (int32_t)l->lr_shift;
  op = add_op(t, QR_OP_BIAS_UPD, i, m, l->n);
  op->src0 = t->e7[i];
  op->dst = t->b[i];
  op->p0 = rate - QR_STEP_BIAS_FRAC;
  op->p1 = is_last(t, i) ? QR_STEP_BIAS_LIM_OUT : QR_STEP_BIAS_LIM_HIDDEN;
  op = add_op(t, QR_OP_WEIGHT_UPD, i, l->k, l->n);
  op->src0 = t->acc;
  op->dst = t->w[i];
  op->p0 = l->in_frac + rate - (l->w_frac + QR_STEP_MASTER_EXTRA);
}

void qr_step_lower(const qr_net_t *net, qr_step_prog_t *prog) {
  lower_t t = {.net = net, .prog = prog};
  memset(prog, 0, sizeof *prog);
  prog->abi_version = QR_STEP_ABI_VERSION;
  prog->batch = net->spec.batch;
  prog->obs_sz = net->in_sz;
  prog->action_cnt = net->spec.action_cnt;
  prog->model_sz = net->model_sz;
  add_buffers(&t);
  for (uint32_t i = 0; i < net->layer_cnt; i++) lower_forward(&t, i);

  uint32_t last = net->layer_cnt - 1;
  qr_step_op_t *td = add_op(&t, QR_OP_TD, last, prog->batch, prog->action_cnt);
  td->src0 = t.q;
  td->src1 = t.act;
  td->aux = t.target;
  td->dst = t.e[last];
  prog->td_q_buf = t.q;
  for (uint32_t i = net->layer_cnt; i-- > 0;) lower_backward(&t, i);
}

qr_hash_t qr_step_prog_hash(const qr_step_prog_t *prog) {
  qr_hasher_t h;
  qr_hash_t out;
  qr_hash_init(&h, "quarry.program");
  qr_hash_add(&h, prog, offsetof(qr_step_prog_t, bufs));
  qr_hash_add(&h, prog->bufs, prog->buf_cnt * sizeof *prog->bufs);
  qr_hash_add(&h, prog->ops, prog->op_cnt * sizeof *prog->ops);
  qr_hash_end(&h, &out);
  return out;
}

qr_hash_t qr_step_trace_next(const qr_hash_t *prev, const uint64_t *digests, uint32_t digest_cnt) {
  qr_hasher_t h;
  qr_hash_t out;
  qr_hash_init(&h, "quarry.step");
  qr_hash_add(&h, prev->b, QR_HASH_SZ);
  for (uint32_t i = 0; i < digest_cnt; i++) qr_hash_add_u64(&h, digests[i]);
  qr_hash_end(&h, &out);
  return out;
}

size_t qr_step_batch_scratch_sz(uint32_t n) { return (size_t)n / 8 + 1; }

void qr_step_batch(const qr_hash_t *sigma, uint32_t k, uint32_t n, uint32_t batch, uint32_t *out,
                   void *scratch) {
  QR_ASSERT(n >= batch);
  uint8_t *taken = scratch; /* one bit per row */
  memset(taken, 0, qr_step_batch_scratch_sz(n));
  qr_philox_t p = qr_philox_init(sigma, qr_stream_word(QR_STREAM_BATCH, 0, k));
  uint32_t cnt = 0;
  for (uint32_t i = 0; cnt < batch; i++) {
    uint32_t row = qr_philox_bound(qr_philox_word(&p, i), n);
    uint8_t bit = (uint8_t)(1u << (row & 7));
    if (taken[row >> 3] & bit) continue;
    taken[row >> 3] |= bit;
    out[cnt++] = row;
  }
}

int32_t qr_step_td_target(int32_t reward, bool done, int32_t max_q, uint32_t gamma_q16,
                          int32_t q_clip) {
  if (done) return reward;
  int64_t next = ((int64_t)gamma_q16 * qr_clamp32(max_q, -q_clip, q_clip)) >> 16;
  return (int32_t)qr_clamp64(reward + next, INT32_MIN, INT32_MAX);
}
