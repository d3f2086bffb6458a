/* Fetches a program from card memory and checks it. Whatever it says, an op that passes reads and
   writes inside the buffers that it names, and those lie inside the windows. */
#include "engine.h"
#include "fixed.h"

/* The program as words: head, buffers of three, ops of fifteen. */
#define BUF_AT 9u
#define OP_AT (BUF_AT + 3u * QR_STEP_BUF_MAX_CNT)
#define EXP_LIM 4096 /* parameters that go into an exponent */

static qr_eng_result_t refused(uint32_t status, uint32_t op, uint32_t detail) {
  return (qr_eng_result_t){status, 0, op, detail};
}

static uint32_t low(uint32_t w) { return w & 0xffff; }
static uint32_t high(uint32_t w) { return w >> 16; }

static void fetch_op(const uint32_t *prog, uint32_t i, qr_eng_op_t *op) {
  uint32_t w[15];
  for (uint32_t j = 0; j < 15; j++) {
#pragma HLS PIPELINE II = 1
    w[j] = prog[OP_AT + 15 * i + j];
  }
  op->kind = low(w[0]), op->layer = high(w[0]);
  op->src0 = low(w[1]), op->src1 = high(w[1]);
  op->dst = low(w[2]), op->aux = high(w[2]);
  op->flags = low(w[3]), op->digest = high(w[3]);
  op->m = w[4], op->n = w[5], op->k = w[6];
  op->p0 = (int32_t)w[7], op->p1 = (int32_t)w[8];
  op->geo = (qr_eng_geo_t){low(w[11]), high(w[11]), low(w[12]), high(w[12]),
                           low(w[13]), high(w[13]), low(w[14])};
}

static bool is_bytes(const qr_eng_buf_t *b) {
  return b->type == QR_STEP_I8 && (b->role == QR_STEP_BUF_SCRATCH || b->role == QR_STEP_BUF_OBS);
}

static bool is_words(const qr_eng_buf_t *b) {
  return b->type == QR_STEP_I32 && b->role == QR_STEP_BUF_SCRATCH;
}

/* Reads the buffers and places them: qr_engine_abi.h says where. */
static qr_eng_result_t fetch_bufs(const uint32_t *prog, const qr_eng_win_t *win, qr_eng_prog_t *p) {
  uint64_t s8 = 0, s32 = 0, model = 2 * (uint64_t)win->model_cnt;
  p->obs_buf = UINT32_MAX;
  for (uint32_t i = 0; i < p->buf_cnt; i++) {
#pragma HLS LOOP_TRIPCOUNT min = 2 max = 64
    uint32_t head = prog[BUF_AT + 3 * i], off = prog[BUF_AT + 3 * i + 2];
    qr_eng_buf_t b = {low(head), high(head), prog[BUF_AT + 3 * i + 1], 0};
    bool masters = b.role == QR_STEP_BUF_WEIGHT && b.type == QR_STEP_I16;
    bool biases = b.role == QR_STEP_BUF_BIAS && b.type == QR_STEP_I32;
    if (is_bytes(&b)) {
      b.off = (uint32_t)s8;
      s8 += ((uint64_t)b.cnt + 63) >> 6 << 6;
      if (s8 > win->s8_cnt) return refused(QR_ENGINE_E_WINDOW, UINT32_MAX, QR_ENGINE_ARG_S8);
    } else if (is_words(&b)) {
      b.off = (uint32_t)s32;
      s32 += ((uint64_t)b.cnt + 15) >> 4 << 4;
      if (s32 > win->s32_cnt) return refused(QR_ENGINE_E_WINDOW, UINT32_MAX, QR_ENGINE_ARG_S32);
    } else if (masters || biases) {
      b.off = off / 2;
      if (off & (masters ? 63 : 3) || off + (masters ? 2 : 4) * (uint64_t)b.cnt > model)
        return refused(QR_ENGINE_E_WINDOW, UINT32_MAX, QR_ENGINE_ARG_MODEL);
    } else if (!(b.role == QR_STEP_BUF_ACT && b.type == QR_STEP_U8) &&
               !(b.role == QR_STEP_BUF_TARGET && b.type == QR_STEP_I32))
      return refused(QR_ENGINE_E_BUF, UINT32_MAX, i);
    if (b.role == QR_STEP_BUF_OBS) {
      if (p->obs_buf != UINT32_MAX) return refused(QR_ENGINE_E_BUF, UINT32_MAX, i);
      p->obs_buf = i;
    }
    p->bufs[i] = b;
  }
  return refused(QR_ENGINE_OK, UINT32_MAX, 0);
}

/* What an operand may be. */
enum operand { BYTES, WORDS, MASTERS, BIASES, ACTIONS, TARGETS };

static uint32_t check_buf(const qr_eng_prog_t *p, uint32_t buf, enum operand want, uint64_t cnt) {
  if (buf >= p->buf_cnt) return QR_ENGINE_E_BUF;
  const qr_eng_buf_t b = p->bufs[buf];
  bool ok = want == BYTES     ? is_bytes(&b)
            : want == WORDS   ? is_words(&b)
            : want == MASTERS ? b.role == QR_STEP_BUF_WEIGHT
            : want == BIASES  ? b.role == QR_STEP_BUF_BIAS
            : want == ACTIONS ? b.role == QR_STEP_BUF_ACT
                              : b.role == QR_STEP_BUF_TARGET;
  if (!ok) return QR_ENGINE_E_BUF;
  return cnt <= b.cnt ? QR_ENGINE_OK : QR_ENGINE_E_SHAPE;
}

/* Worst of three. */
static uint32_t both(uint32_t a, uint32_t b, uint32_t c) {
  return a != QR_ENGINE_OK ? a : b != QR_ENGINE_OK ? b : c;
}

/* Geometry of a row matrix [rows][cols]; *cnt: elements of the activations it addresses. */
static uint32_t check_geo(const qr_eng_geo_t *g, uint32_t rows, uint32_t cols, uint64_t *cnt) {
  if (!g->h || !g->w || !g->c || !g->out_h || !g->out_w || !g->sy || !g->sx)
    return QR_ENGINE_E_SHAPE;
  if ((g->out_h - 1) * g->sy >= g->h || (g->out_w - 1) * g->sx >= g->w) return QR_ENGINE_E_SHAPE;
  uint64_t pos = (uint64_t)g->out_h * g->out_w, sz = (uint64_t)g->h * g->w * g->c;
  if (sz > QR_ENG_SAMPLE_MAX) return QR_ENGINE_E_LIMIT;
  if (rows % pos || cols != 9 * g->c) return QR_ENGINE_E_SHAPE;
  *cnt = rows / pos * sz;
  return QR_ENGINE_OK;
}

static uint32_t check_gemm(const qr_eng_prog_t *p, const qr_eng_op_t *op) {
  bool trans = op->flags & QR_GEMM_A_TRANS;
  uint64_t a_cnt = (uint64_t)op->m * op->k;
  if (op->flags > (QR_GEMM_A_TRANS | QR_GEMM_B_TRANS | QR_GEMM_A_CONV)) return QR_ENGINE_E_OP;
  if (op->digest != QR_STEP_NO_DIGEST && op->digest >= p->digest_cnt) return QR_ENGINE_E_OP;
  if (op->digest != QR_STEP_NO_DIGEST && op->n & 1) return QR_ENGINE_E_SHAPE;
  if (op->flags & QR_GEMM_A_CONV) {
    uint32_t err = check_geo(&op->geo, trans ? op->k : op->m, trans ? op->m : op->k, &a_cnt);
    if (err != QR_ENGINE_OK) return err;
  }
  return both(check_buf(p, op->src0, BYTES, a_cnt),
              check_buf(p, op->src1, BYTES, (uint64_t)op->n * op->k),
              check_buf(p, op->dst, WORDS, (uint64_t)op->m * op->n));
}

static uint32_t check_col2im(const qr_eng_prog_t *p, const qr_eng_op_t *op, uint64_t cnt) {
  uint64_t out_cnt = 0;
  uint32_t err = check_geo(&op->geo, op->m, op->n, &out_cnt);
  if (err != QR_ENGINE_OK) return err;
  if (op->src0 == op->dst) return QR_ENGINE_E_BUF;
  return both(check_buf(p, op->src0, WORDS, cnt), check_buf(p, op->dst, WORDS, out_cnt),
              QR_ENGINE_OK);
}

static bool in(int32_t v, int32_t lo, int32_t hi) { return v >= lo && v <= hi; }

/* Parameters that arithmetic relies on. */
static bool check_params(const qr_eng_op_t *op) {
  switch (op->kind) {
  case QR_OP_DITHER: return in(op->p0, 0, 31) && in(op->p1, 0, 255) && op->layer <= 255;
  case QR_OP_BIAS_ACT: return in(op->p0, 1, 31) && in(op->p1, -31, 31);
  case QR_OP_Q_OUT: return in(op->p0, 0, 31) && in(op->p1, -31, 31);
  case QR_OP_ERR_QUANT: return in(op->p0, -EXP_LIM, EXP_LIM) && op->layer + 1 < QR_STEP_EXP_MAX_CNT;
  case QR_OP_BIAS_UPD:
    return in(op->p0, -EXP_LIM, EXP_LIM) && op->p1 >= 0 && op->layer < QR_STEP_EXP_MAX_CNT;
  case QR_OP_WEIGHT_UPD: return in(op->p0, -EXP_LIM, EXP_LIM) && op->layer < QR_STEP_EXP_MAX_CNT;
  default: return true;
  }
}

static uint32_t check_op(const qr_eng_prog_t *p, const qr_eng_op_t *op) {
  uint64_t cnt = (uint64_t)op->m * op->n;
  if (!op->m || !op->n || !op->k) return QR_ENGINE_E_SHAPE;
  if (op->m > QR_ENG_DIM_MAX || op->n > QR_ENG_DIM_MAX || op->k > QR_ENG_DIM_MAX)
    return QR_ENGINE_E_LIMIT;
  if (!check_params(op)) return QR_ENGINE_E_OP;
  switch (op->kind) {
  case QR_OP_W7:
    return both(check_buf(p, op->src0, MASTERS, cnt), check_buf(p, op->dst, BYTES, cnt),
                QR_ENGINE_OK);
  case QR_OP_DITHER:
    return both(check_buf(p, op->src0, BYTES, cnt), check_buf(p, op->dst, BYTES, cnt),
                QR_ENGINE_OK);
  case QR_OP_GEMM: return check_gemm(p, op);
  case QR_OP_BIAS_ACT:
    return both(check_buf(p, op->src0, WORDS, cnt), check_buf(p, op->src1, BIASES, op->n),
                check_buf(p, op->dst, BYTES, cnt));
  case QR_OP_Q_OUT:
    return both(check_buf(p, op->src0, WORDS, cnt), check_buf(p, op->src1, BIASES, op->n),
                check_buf(p, op->dst, WORDS, cnt));
  case QR_OP_TD:
    if (op->m != p->batch) return QR_ENGINE_E_SHAPE;
    return both(
        both(check_buf(p, op->src0, WORDS, cnt), check_buf(p, op->dst, WORDS, cnt), QR_ENGINE_OK),
        check_buf(p, op->src1, ACTIONS, op->m), check_buf(p, op->aux, TARGETS, op->m));
  case QR_OP_MASK:
    return both(check_buf(p, op->src0, BYTES, cnt), check_buf(p, op->dst, WORDS, cnt),
                QR_ENGINE_OK);
  case QR_OP_ERR_QUANT:
    return both(check_buf(p, op->src0, WORDS, cnt), check_buf(p, op->dst, BYTES, cnt),
                QR_ENGINE_OK);
  case QR_OP_COL2IM: return check_col2im(p, op, cnt);
  case QR_OP_BIAS_UPD:
    return both(check_buf(p, op->src0, BYTES, cnt), check_buf(p, op->dst, BIASES, op->n),
                QR_ENGINE_OK);
  case QR_OP_WEIGHT_UPD:
    return both(check_buf(p, op->src0, WORDS, cnt), check_buf(p, op->dst, MASTERS, cnt),
                QR_ENGINE_OK);
  default: return QR_ENGINE_E_OP;
  }
}

qr_eng_result_t qr_eng_decode(const uint32_t *prog, const qr_eng_win_t *win, qr_eng_prog_t *out) {
  if (prog[0] != QR_STEP_ABI_VERSION) return refused(QR_ENGINE_E_ABI, UINT32_MAX, prog[0]);
  out->op_cnt = prog[1], out->buf_cnt = prog[2], out->digest_cnt = prog[3];
  out->batch = prog[4], out->obs_sz = prog[5], out->model_sz = prog[7];
  out->td_op = UINT32_MAX;
  if (!out->op_cnt || out->op_cnt >= QR_STEP_OP_MAX_CNT || out->buf_cnt > QR_STEP_BUF_MAX_CNT ||
      out->digest_cnt > QR_STEP_GEMM_MAX_CNT || out->batch > QR_ENGINE_BATCH_MAX)
    return refused(QR_ENGINE_E_PROG, UINT32_MAX, 0);
  qr_eng_result_t r = fetch_bufs(prog, win, out);
  if (r.status != QR_ENGINE_OK) return r;
  if (out->obs_buf != UINT32_MAX) {
    uint64_t cnt = (uint64_t)out->batch * out->obs_sz;
    if (!cnt || cnt > out->bufs[out->obs_buf].cnt)
      return refused(QR_ENGINE_E_SHAPE, UINT32_MAX, out->obs_buf);
  }
  for (uint32_t i = 0; i < out->op_cnt; i++) {
#pragma HLS LOOP_TRIPCOUNT min = 1 max = 95
    fetch_op(prog, i, &out->ops[i]);
    uint32_t status = check_op(out, &out->ops[i]);
    if (status != QR_ENGINE_OK) return refused(status, i, out->ops[i].kind);
    if (out->ops[i].kind == QR_OP_TD && out->td_op != UINT32_MAX)
      return refused(QR_ENGINE_E_OP, i, out->ops[i].kind);
    if (out->ops[i].kind == QR_OP_TD) out->td_op = i;
  }
  return r;
}
