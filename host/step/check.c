#include "step/check.h"

#include "base/err.h"
#include "base/stream.h"

#define ELEMENTS_MAX_CNT (1u << 24) /* as of networks */
#define SHIFT_MAX 31
#define TAP_CNT 9u

static bool has(const qr_step_prog_t *p, uint16_t buf, enum qr_step_type type, uint64_t cnt) {
  return buf < p->buf_cnt && p->bufs[buf].type == type && p->bufs[buf].cnt >= cnt;
}

/* As has, for a buffer that the op writes. */
static bool writes(const qr_step_prog_t *p, uint16_t buf, enum qr_step_type type, uint64_t cnt) {
  return has(p, buf, type, cnt) &&
         (p->bufs[buf].role == QR_STEP_BUF_SCRATCH || p->bufs[buf].role == QR_STEP_BUF_WEIGHT ||
          p->bufs[buf].role == QR_STEP_BUF_BIAS);
}

static bool shift_in(int32_t s, int32_t lo) { return s >= lo && s <= SHIFT_MAX; }

static bool check_buf(const qr_step_prog_t *p, const qr_step_buf_t *b) {
  if (b->cnt > ELEMENTS_MAX_CNT) return false;
  switch (b->role) {
  case QR_STEP_BUF_SCRATCH: return b->type >= QR_STEP_I8 && b->type <= QR_STEP_U8;
  case QR_STEP_BUF_OBS: return b->type == QR_STEP_I8 && b->cnt <= (uint64_t)p->batch * p->obs_sz;
  case QR_STEP_BUF_ACT: return b->type == QR_STEP_U8 && b->cnt <= p->batch;
  case QR_STEP_BUF_TARGET: return b->type == QR_STEP_I32 && b->cnt <= p->batch;
  case QR_STEP_BUF_WEIGHT:
    return b->type == QR_STEP_I16 && b->off % 2 == 0 &&
           b->off + 2 * (uint64_t)b->cnt <= p->model_sz;
  case QR_STEP_BUF_BIAS:
    return b->type == QR_STEP_I32 && b->off % 4 == 0 &&
           b->off + 4 * (uint64_t)b->cnt <= p->model_sz;
  default: return false;
  }
}

/* Rows and columns of a convolution's row matrix. An index wraps at most once. */
static bool check_geo(const qr_step_geo_t *g, uint32_t rows, uint32_t cols) {
  uint32_t pos = (uint32_t)g->out_h * g->out_w;
  return pos && g->sy && g->sx && (uint32_t)g->out_h * g->sy <= g->h &&
         (uint32_t)g->out_w * g->sx <= g->w && g->c && rows % pos == 0 && cols == TAP_CNT * g->c;
}

static uint64_t image_cnt(const qr_step_geo_t *g, uint32_t rows) {
  return (uint64_t)(rows / ((uint32_t)g->out_h * g->out_w)) * g->h * g->w * g->c;
}

uint64_t qr_step_check_gemm(const qr_step_op_t *op) {
  bool trans = op->flags & QR_GEMM_A_TRANS;
  uint32_t rows = trans ? op->k : op->m, cols = trans ? op->m : op->k;
  uint64_t a_cnt = (uint64_t)op->m * op->k;
  if (op->flags & ~(QR_GEMM_A_TRANS | QR_GEMM_B_TRANS | QR_GEMM_A_CONV)) return 0;
  if (!op->m || !op->n || !op->k || (uint64_t)op->k * (64 * 64) > INT32_MAX) return 0;
  if (a_cnt > ELEMENTS_MAX_CNT || (uint64_t)op->n * op->k > ELEMENTS_MAX_CNT ||
      (uint64_t)op->m * op->n > ELEMENTS_MAX_CNT)
    return 0;
  if (!(op->flags & QR_GEMM_A_CONV)) return a_cnt;
  if (!check_geo(&op->geo, rows, cols)) return 0;
  a_cnt = image_cnt(&op->geo, rows);
  return a_cnt > ELEMENTS_MAX_CNT ? 0 : a_cnt;
}

static bool check_gemm(const qr_step_prog_t *p, const qr_step_op_t *op) {
  uint64_t a_cnt = qr_step_check_gemm(op);
  if (!a_cnt || op->geo.c % 8) return false;
  if (op->digest != QR_STEP_NO_DIGEST && (op->digest >= p->digest_cnt || op->n % 2)) return false;
  return has(p, op->src0, QR_STEP_I8, a_cnt) &&
         has(p, op->src1, QR_STEP_I8, (uint64_t)op->n * op->k) &&
         writes(p, op->dst, QR_STEP_I32, (uint64_t)op->m * op->n);
}

static bool check_op(const qr_step_prog_t *p, const qr_step_op_t *op) {
  uint64_t cnt = (uint64_t)op->m * op->n;
  if (!cnt || cnt > ELEMENTS_MAX_CNT || op->layer + 1u >= QR_STEP_EXP_MAX_CNT) return false;
  switch (op->kind) {
  case QR_OP_W7: return has(p, op->src0, QR_STEP_I16, cnt) && writes(p, op->dst, QR_STEP_I8, cnt);
  case QR_OP_DITHER:
    return has(p, op->src0, QR_STEP_I8, cnt) && writes(p, op->dst, QR_STEP_I8, cnt) &&
           shift_in(op->p0, 0) && op->p1 >= QR_STREAM_DITHER_A && op->p1 <= QR_STREAM_DITHER_BW;
  case QR_OP_GEMM: return check_gemm(p, op);
  case QR_OP_BIAS_ACT:
    return has(p, op->src0, QR_STEP_I32, cnt) && has(p, op->src1, QR_STEP_I32, op->n) &&
           writes(p, op->dst, QR_STEP_I8, cnt) && shift_in(op->p0, 1) && shift_in(op->p1, 1);
  case QR_OP_Q_OUT:
    return has(p, op->src0, QR_STEP_I32, cnt) && has(p, op->src1, QR_STEP_I32, op->n) &&
           writes(p, op->dst, QR_STEP_I32, cnt) && shift_in(op->p0, 0) && shift_in(op->p1, 1);
  case QR_OP_TD:
    return has(p, op->src0, QR_STEP_I32, cnt) && has(p, op->src1, QR_STEP_U8, op->m) &&
           has(p, op->aux, QR_STEP_I32, op->m) && writes(p, op->dst, QR_STEP_I32, cnt) &&
           op->n == p->action_cnt && op->m == p->batch;
  case QR_OP_MASK: return has(p, op->src0, QR_STEP_I8, cnt) && writes(p, op->dst, QR_STEP_I32, cnt);
  case QR_OP_ERR_QUANT:
    return has(p, op->src0, QR_STEP_I32, cnt) && writes(p, op->dst, QR_STEP_I8, cnt);
  case QR_OP_COL2IM:
    return check_geo(&op->geo, op->m, op->n) && op->geo.c % 8 == 0 &&
           has(p, op->src0, QR_STEP_I32, cnt) &&
           writes(p, op->dst, QR_STEP_I32, image_cnt(&op->geo, op->m));
  case QR_OP_BIAS_UPD:
    return has(p, op->src0, QR_STEP_I8, cnt) && writes(p, op->dst, QR_STEP_I32, op->n) &&
           op->p1 >= 0;
  case QR_OP_WEIGHT_UPD:
    return has(p, op->src0, QR_STEP_I32, cnt) && writes(p, op->dst, QR_STEP_I16, cnt);
  default: return false;
  }
}

int qr_step_check(const qr_step_prog_t *p) {
  if (p->abi_version != QR_STEP_ABI_VERSION || p->op_cnt > QR_STEP_OP_MAX_CNT ||
      p->buf_cnt > QR_STEP_BUF_MAX_CNT || p->digest_cnt > QR_STEP_GEMM_MAX_CNT || !p->batch ||
      !p->action_cnt)
    return QR_ERR_ARG;
  for (uint32_t i = 0; i < p->buf_cnt; i++) {
    if (!check_buf(p, &p->bufs[i])) return QR_ERR_ARG;
  }
  for (uint32_t i = 0; i < p->op_cnt; i++) {
    if (!check_op(p, &p->ops[i])) return QR_ERR_ARG;
  }
  return 0;
}
