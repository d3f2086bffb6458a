#include "exec.h"

#include "base/assert.h"
#include "step/fixed.h"

/* A step in progress: where each buffer lies, and the exponent registers. */
typedef struct {
  const qr_cpu_work_t *w;
  const qr_step_prog_t *prog;
  const qr_cpu_step_t *s;
  void *buf[QR_STEP_BUF_MAX_CNT];
  int64_t exp[QR_STEP_EXP_MAX_CNT];
} run_t;

static const uint8_t type_sz[] = {
    [QR_STEP_I8] = 1, [QR_STEP_I16] = 2, [QR_STEP_I32] = 4, [QR_STEP_U8] = 1};

static size_t buf_sz(const qr_step_buf_t *b) {
  return qr_align_up((size_t)b->cnt * type_sz[b->type], QR_CACHE_LINE);
}

size_t qr_cpu_scratch_sz(const qr_step_prog_t *prog) {
  size_t sz = 0;
  for (uint32_t i = 0; i < prog->buf_cnt; i++) {
    if (prog->bufs[i].role == QR_STEP_BUF_SCRATCH) sz += buf_sz(&prog->bufs[i]);
  }
  return sz;
}

static void grow(size_t *v, size_t to) {
  if (*v < to) *v = to;
}

void qr_cpu_need_op(qr_cpu_need_t *need, const qr_step_op_t *op) {
  if (op->kind == QR_OP_BIAS_ACT || op->kind == QR_OP_Q_OUT || op->kind == QR_OP_BIAS_UPD)
    grow(&need->bias_cnt, op->n);
  if (op->kind != QR_OP_GEMM) return;
  grow(&need->rows_sz, (size_t)op->m * qr_align_up(op->k, 4));
  grow(&need->pack_a_sz, qr_cpu_panels_sz(op->k, op->m));
  grow(&need->pack_b_sz, qr_cpu_panels_sz(op->k, op->n));
  grow(&need->sum_cnt, op->m);
}

static uint32_t positions(const qr_step_geo_t *g) { return (uint32_t)g->out_h * g->out_w; }

static size_t image_sz(const qr_step_geo_t *g) { return (size_t)g->h * g->w * g->c; }

/* Rows of A from row on, where the kernels can read them; their sums go to w->sum. */
static qr_cpu_a_t rows_of(const qr_cpu_work_t *w, const qr_step_op_t *op, const int8_t *a,
                          uint32_t row, uint32_t cnt) {
  uint32_t stride = (uint32_t)qr_align_up(op->k, 4);
  if (op->flags & QR_GEMM_A_CONV) {
    uint32_t pos = positions(&op->geo);
    w->kern->im2col(w->rows, a + row / pos * image_sz(&op->geo), cnt / pos, &op->geo);
    a = w->rows;
  } else {
    a += (size_t)row * op->k;
  }
  w->kern->row_sum(w->sum, a, cnt, op->k);
  if (stride != op->k) { /* never so for a convolution */
    memset(w->rows, 0, (size_t)cnt * stride);
    for (uint32_t i = 0; i < cnt; i++)
      memcpy(w->rows + (size_t)i * stride, a + (size_t)i * op->k, op->k);
    a = w->rows;
  }
  return (qr_cpu_a_t){a, (size_t)16 * stride, stride, 4};
}

/* A transposed A is packed whole. */
static qr_cpu_a_t transposed(const qr_cpu_work_t *w, const qr_step_op_t *op, const int8_t *a) {
  if (op->flags & QR_GEMM_A_CONV) {
    w->kern->im2col(w->rows, a, op->k / positions(&op->geo), &op->geo);
    a = w->rows;
  }
  w->kern->col_sum(w->sum, a, op->k, op->m);
  w->kern->pack(w->pack_a, a, op->k, op->m, 0);
  return (qr_cpu_a_t){(const int8_t *)w->pack_a, (size_t)((op->k + 3) / 4) * QR_CPU_PANEL * 4, 4,
                      QR_CPU_PANEL * 4};
}

void qr_cpu_product(const qr_cpu_work_t *w, const qr_step_op_t *op, const int8_t *a,
                    const uint8_t *panels, int32_t *c, const qr_cpu_after_t *after) {
  enum { ROWS = 512 }; /* about this many at a time: A, C and what follows stay in a 1 MiB cache */
  bool trans = op->flags & QR_GEMM_A_TRANS;
  size_t unit = (size_t)QR_CPU_PANEL * (after ? after->unit : 1);
  if (!trans && op->flags & QR_GEMM_A_CONV) unit *= positions(&op->geo);
  size_t many = unit < ROWS ? ROWS / unit * unit : unit;
  uint32_t block = many < op->m ? (uint32_t)many : op->m;
  qr_cpu_a_t packed = {0};
  if (trans) packed = transposed(w, op, a);
  for (uint32_t row = 0; row < op->m; row += block) {
    uint32_t cnt = op->m - row < block ? op->m - row : block;
    qr_cpu_gemm_t g = {.m = cnt,
                       .n = op->n,
                       .k4_cnt = (op->k + 3) / 4,
                       .a = packed,
                       .a_sum = w->sum + (trans ? row : 0),
                       .b = panels,
                       .c = after && after->reuse ? c : c + (size_t)row * op->n};
    if (trans) {
      g.a.p += row / QR_CPU_PANEL * packed.tile;
    } else {
      g.a = rows_of(w, op, a, row, cnt);
    }
    w->kern->gemm(&g);
    if (after) after->rows(after->arg, row, cnt);
  }
}

void qr_cpu_bias_scale(int32_t *out, const int32_t *bias, uint32_t n, int shift) {
  for (uint32_t j = 0; j < n; j++) out[j] = (int32_t)qr_step_bias_at(bias[j], shift);
}

void qr_cpu_q_out(int32_t *q, const int32_t *acc, const int32_t *bias, uint32_t m, uint32_t n,
                  int shift) {
  for (uint32_t i = 0; i < m; i++) {
    for (uint32_t j = 0; j < n; j++) {
      size_t at = (size_t)i * n + j;
      q[at] = (int32_t)((uint32_t)(acc[at] + bias[j]) << shift);
    }
  }
}

static qr_philox_t stream(const run_t *r, uint32_t purpose, uint32_t layer) {
  return qr_philox_init(r->s->sigma, qr_stream_word((enum qr_stream)purpose, layer, r->s->k));
}

/* What follows a product row by row: its digest, and the next op if that only needs these rows. */
typedef struct {
  const run_t *r;
  const qr_step_op_t *op, *next;
  qr_philox_t key, rho;
  uint64_t digest;
  bool reuse; /* as in qr_cpu_after_t */
} tail_t;

static void tail_rows(void *arg, uint32_t row, uint32_t cnt) {
  tail_t *t = arg;
  const qr_cpu_kern_t *kern = t->r->w->kern;
  const qr_step_op_t *next = t->next;
  size_t at = (size_t)row * t->op->n;
  const int32_t *c = (const int32_t *)t->r->buf[t->op->dst] + (t->reuse ? 0 : at);
  if (t->op->digest != QR_STEP_NO_DIGEST)
    t->digest += kern->digest(c, row, cnt, t->op->n, &t->key, &t->rho);
  if (next && next->kind == QR_OP_BIAS_ACT)
    kern->bias_act((int8_t *)t->r->buf[next->dst] + at, c, t->r->w->bias, cnt, next->n, next->p0);
  if (next && next->kind == QR_OP_COL2IM) {
    uint32_t pos = positions(&next->geo);
    kern->col2im((int32_t *)t->r->buf[next->dst] + row / pos * image_sz(&next->geo), c, cnt / pos,
                 &next->geo);
  }
}

/* Whether next can run on the rows of op as they come: it reads them, and writes what op does not
   read. Scratch buffers do not overlap. */
static bool follows(const run_t *r, const qr_step_op_t *op, const qr_step_op_t *next) {
  const qr_step_buf_t *bufs = r->prog->bufs;
  return (next->kind == QR_OP_BIAS_ACT || next->kind == QR_OP_COL2IM) && next->src0 == op->dst &&
         next->m == op->m && next->n == op->n && bufs[op->dst].role == QR_STEP_BUF_SCRATCH &&
         bufs[next->dst].role == QR_STEP_BUF_SCRATCH && next->dst != op->dst &&
         next->dst != op->src0 && next->dst != op->src1 && next->src1 != op->dst;
}

/* Whether no op from next on reads the cnt elements of a product that are now in dst. */
static bool is_dead(const run_t *r, const qr_step_op_t *next, uint16_t dst, size_t cnt) {
  for (const qr_step_op_t *op = next; op < r->prog->ops + r->prog->op_cnt; op++) {
    if (op->src0 == dst || op->src1 == dst || op->aux == dst) return false;
    if (op->dst != dst) continue;
    if (op->kind == QR_OP_MASK) return false;
    if (op->kind == QR_OP_GEMM && (size_t)op->m * op->n >= cnt) return true;
  }
  return true;
}

/* Runs a product and perhaps the op after it, which may be NULL; returns how many it ran. */
static uint32_t op_gemm(run_t *r, const qr_step_op_t *op, const qr_step_op_t *next) {
  const qr_cpu_kern_t *kern = r->w->kern;
  bool digested = op->digest != QR_STEP_NO_DIGEST;
  tail_t tail = {.r = r, .op = op};
  qr_cpu_after_t after = {tail_rows, &tail, 1, false};
  if (next && follows(r, op, next)) {
    tail.next = next;
    tail.reuse = after.reuse = is_dead(r, next + 1, op->dst, (size_t)op->m * op->n);
    if (next->kind == QR_OP_BIAS_ACT)
      qr_cpu_bias_scale(r->w->bias, r->buf[next->src1], next->n, next->p1);
    else
      after.unit = positions(&next->geo);
  }
  if (digested) {
    tail.key = stream(r, QR_STREAM_DIGEST_K, op->digest);
    tail.rho = stream(r, QR_STREAM_DIGEST_R, op->digest);
  }
  if (op->flags & QR_GEMM_B_TRANS) {
    kern->pack_trans(r->w->pack_b, r->buf[op->src1], op->k, op->n);
  } else {
    kern->pack(r->w->pack_b, r->buf[op->src1], op->k, op->n, 64);
  }
  qr_cpu_product(r->w, op, r->buf[op->src0], r->w->pack_b, r->buf[op->dst], &after);
  if (digested) r->s->digests[op->digest] = tail.digest;
  return tail.next ? 2 : 1;
}

static void op_td(run_t *r, const qr_step_op_t *op) {
  const int32_t *q = r->buf[op->src0], *target = r->buf[op->aux];
  const uint8_t *act = r->buf[op->src1];
  int32_t *e = r->buf[op->dst];
  uint64_t sum = 0;
  memset(e, 0, (size_t)op->m * op->n * sizeof *e);
  for (uint32_t i = 0; i < op->m; i++) {
    size_t at = (size_t)i * op->n + act[i];
    e[at] = (int32_t)qr_clamp64((int64_t)q[at] - target[i], -QR_STEP_TD_LIM, QR_STEP_TD_LIM);
    sum += qr_step_abs32(e[at]);
  }
  *r->s->td_abs_sum = sum;
}

static void op_err_quant(run_t *r, const qr_step_op_t *op) {
  size_t cnt = (size_t)op->m * op->n;
  const int32_t *e = r->buf[op->src0];
  qr_philox_t p = stream(r, QR_STREAM_ROUND_E, op->layer);
  int s = qr_step_err_shift(r->w->kern->max_abs(e, cnt));
  r->w->kern->round_i8(r->buf[op->dst], e, cnt, s, &p);
  r->exp[op->layer] = r->exp[op->layer + 1] + op->p0 - s;
}

/* Shift of an update; beyond these ends SR is the same everywhere. */
static int update_shift(const run_t *r, const qr_step_op_t *op) {
  return (int)qr_clamp64(r->exp[op->layer] + op->p0 + r->s->lr_shift, -31, 62);
}

static void op_bias_upd(run_t *r, const qr_step_op_t *op) {
  int32_t *b = r->buf[op->dst], *g = r->w->bias;
  int s = update_shift(r, op);
  uint32_t draw[4] = {0};
  qr_philox_t p = stream(r, QR_STREAM_ROUND_B, op->layer);
  r->w->kern->col_sum(g, r->buf[op->src0], op->m, op->n);
  for (uint32_t j = 0; j < op->n; j++) {
    if (j % 4 == 0) qr_philox_block(&p, j / 4, draw);
    b[j] = (int32_t)qr_clamp64(b[j] - qr_step_sr(g[j], s, draw[j % 4]), -op->p1, op->p1);
  }
}

static void run_op(run_t *r, const qr_step_op_t *op) {
  const qr_cpu_kern_t *kern = r->w->kern;
  size_t cnt = (size_t)op->m * op->n;
  qr_philox_t p;
  switch (op->kind) {
  case QR_OP_W7: kern->w7(r->buf[op->dst], r->buf[op->src0], cnt); break;
  case QR_OP_DITHER:
    p = stream(r, (uint32_t)op->p1, op->layer);
    kern->dither(r->buf[op->dst], r->buf[op->src0], cnt, op->p0, &p);
    break;
  case QR_OP_BIAS_ACT:
    qr_cpu_bias_scale(r->w->bias, r->buf[op->src1], op->n, op->p1);
    kern->bias_act(r->buf[op->dst], r->buf[op->src0], r->w->bias, op->m, op->n, op->p0);
    break;
  case QR_OP_Q_OUT:
    qr_cpu_bias_scale(r->w->bias, r->buf[op->src1], op->n, op->p1);
    qr_cpu_q_out(r->buf[op->dst], r->buf[op->src0], r->w->bias, op->m, op->n, op->p0);
    break;
  case QR_OP_TD: op_td(r, op); break;
  case QR_OP_MASK: kern->mask(r->buf[op->dst], r->buf[op->src0], cnt); break;
  case QR_OP_ERR_QUANT: op_err_quant(r, op); break;
  case QR_OP_COL2IM:
    kern->col2im(r->buf[op->dst], r->buf[op->src0], op->m / positions(&op->geo), &op->geo);
    break;
  case QR_OP_BIAS_UPD: op_bias_upd(r, op); break;
  case QR_OP_WEIGHT_UPD:
    p = stream(r, QR_STREAM_ROUND_W, op->layer);
    kern->update_i16(r->buf[op->dst], r->buf[op->src0], cnt, update_shift(r, op), &p);
    break;
  default: QR_ASSERT(!"op that the program check let through");
  }
}

/* The minibatch is read only: the program check refuses an op that writes to it. */
static void bind(run_t *r) {
  uint8_t *at = r->s->scratch;
  for (uint32_t i = 0; i < r->prog->buf_cnt; i++) {
    const qr_step_buf_t *b = &r->prog->bufs[i];
    switch (b->role) {
    case QR_STEP_BUF_OBS: r->buf[i] = (void *)(uintptr_t)r->s->obs; break;
    case QR_STEP_BUF_ACT: r->buf[i] = (void *)(uintptr_t)r->s->act; break;
    case QR_STEP_BUF_TARGET: r->buf[i] = (void *)(uintptr_t)r->s->target; break;
    case QR_STEP_BUF_SCRATCH:
      r->buf[i] = at;
      at += buf_sz(b);
      break;
    default: r->buf[i] = r->s->model + b->off;
    }
  }
}

void qr_cpu_step(const qr_cpu_work_t *w, const qr_cpu_step_t *s) {
  run_t r = {.w = w, .prog = s->prog, .s = s};
  bind(&r);
  for (uint32_t i = 0; i < s->prog->op_cnt;) {
    const qr_step_op_t *op = &s->prog->ops[i], *next = i + 1 < s->prog->op_cnt ? op + 1 : NULL;
    if (op->kind == QR_OP_GEMM) {
      i += op_gemm(&r, op, next);
    } else {
      run_op(&r, op);
      i++;
    }
  }
}
