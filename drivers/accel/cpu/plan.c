#include "plan.h"

#include <stdlib.h>

#include "base/err.h"

#define TAPS 9u
/* Working sets of a first-level cache: a chunk of errors, the rows from which errors are gathered.
 */
#define NEAR_ERR_SZ 24576u
#define NEAR_ROWS_SZ 28672u

static void grow(size_t *v, size_t to) {
  if (*v < to) *v = to;
}

/* The ops of a lowered program, by what they are for. */
static void assign(qr_cpu_layer_t *y, const qr_step_op_t *op) {
  switch (op->kind) {
  case QR_OP_DITHER:
    switch (op->p1) {
    case QR_STREAM_DITHER_A: y->dither_a = op; break;
    case QR_STREAM_DITHER_W: y->dither_w = op; break;
    case QR_STREAM_DITHER_GA: y->dither_ga = op; break;
    case QR_STREAM_DITHER_GE: y->dither_ge = op; break;
    case QR_STREAM_DITHER_BE: y->dither_be = op; break;
    default: y->dither_bw = op; break;
    }
    break;
  case QR_OP_GEMM:
    if (op->flags & QR_GEMM_A_TRANS)
      y->grad = op;
    else if (op->flags & QR_GEMM_B_TRANS)
      y->err = op;
    else
      y->product = op;
    break;
  case QR_OP_BIAS_ACT:
  case QR_OP_Q_OUT: y->out = op; break;
  case QR_OP_ERR_QUANT: y->quant = op; break;
  case QR_OP_BIAS_UPD: y->bias_upd = op; break;
  case QR_OP_WEIGHT_UPD: y->weight_upd = op; break;
  default: break; /* runs with one of these */
  }
}

/* Samples of a chunk: as many as keep its errors near, for a convolution; a block's rows, for a
   dense layer. */
static uint32_t chunk_of(const qr_layer_t *l, uint32_t batch) {
  uint32_t cnt = QR_CPU_CHUNK_MIN;
  if (l->kind == QR_LAYER_CONV3) {
    while (2 * cnt <= batch && (uint64_t)2 * cnt * l->pos * l->n <= NEAR_ERR_SZ) cnt *= 2;
  } else {
    while (2 * cnt <= batch && 2 * cnt <= QR_CPU_BLOCK_ROWS) cnt *= 2;
  }
  return cnt;
}

/* Samples whose rows, whole tiles of them, are made before their errors are gathered. */
static uint32_t err_chunk_of(const qr_layer_t *l, uint32_t chunk) {
  uint32_t cnt = 1;
  while (cnt * l->pos % QR_CPU_TILE) cnt *= 2;
  while (2 * cnt <= chunk && (uint64_t)2 * cnt * l->pos * l->k * 4 <= NEAR_ROWS_SZ) cnt *= 2;
  return cnt;
}

static void shape(qr_cpu_layer_t *y, const qr_layer_t *l, uint32_t batch, bool last) {
  y->l = l;
  y->last = last;
  y->conv = l->kind == QR_LAYER_CONV3;
  y->in_sz = l->in_h * l->in_w * l->in_c;
  y->n4 = (uint32_t)qr_align_up(l->n, 4);
  y->n16 = (uint32_t)qr_align_up(l->n, QR_CPU_PANEL);
  y->chunk = chunk_of(l, batch);
  y->err_chunk = y->conv ? err_chunk_of(l, y->chunk) : y->chunk;
  y->image_sz = (l->in_h + 2) * (l->in_w + 2) * l->in_c;
  y->grad_k4 = (y->conv ? y->chunk * l->pos : batch) / 4;
}

/* Numbers of 32 bits that a layer's tables hold; of the gather table the counts are bytes. */
static size_t table_cnt(const qr_cpu_layer_t *y) {
  const qr_layer_t *l = y->l;
  size_t rows = (size_t)y->chunk * l->pos, places = (size_t)l->in_h * l->in_w;
  return 2 * rows + l->k / 4 + l->k + y->grad_k4 + y->n4 / 4 + 9 * places + places / 4 + 1;
}

static uint32_t *cut(uint32_t **at, size_t cnt) {
  uint32_t *p = *at;
  *at += cnt;
  return p;
}

/* Offset in a padded image of what output position p reads at tap row and column 0. */
static uint32_t corner(const qr_layer_t *l, uint32_t p) {
  return (p / l->out_w * l->stride_y * (l->in_w + 2) + p % l->out_w * l->stride_x) * l->in_c;
}

/* Offset, from there, of column q of a convolution's rows. */
static uint32_t tap(const qr_layer_t *l, uint32_t q) {
  return q / (3 * l->in_c) * (l->in_w + 2) * l->in_c + q % (3 * l->in_c);
}

static void fill_offsets(qr_cpu_layer_t *y) {
  const qr_layer_t *l = y->l;
  uint32_t rows = y->chunk * l->pos;
  for (uint32_t i = 0; i < rows; i++) {
    y->row[i] = y->conv ? i / l->pos * y->image_sz + corner(l, i % l->pos) : i * l->k;
    y->err_row[i] = i * y->n4;
  }
  for (uint32_t g = 0; g < l->k / 4; g++) y->step[g] = y->conv ? tap(l, 4 * g) : 4 * g;
  for (uint32_t g = 0; g < y->n4 / 4; g++) y->err_step[g] = 4 * g;
  for (uint32_t i = 0; i < l->k; i++) {
    y->grad_row[i] =
        y->conv ? 4 * tap(l, i) : i / QR_CPU_PANEL * y->grad_k4 * 64 + i % QR_CPU_PANEL * 4;
  }
  for (uint32_t g = 0; g < y->grad_k4; g++) {
    y->grad_step[g] = y->conv ? 4 * (g / l->pos * y->image_sz + corner(l, g % l->pos)) : g * 64;
  }
}

/* The places in a sample's rows that were read from input position (v, u). */
static uint8_t readers(const qr_layer_t *l, uint32_t v, uint32_t u, uint32_t at[TAPS]) {
  uint8_t cnt = 0;
  for (uint32_t t = 0; t < TAPS; t++) {
    uint32_t y = (v + l->in_h + 1 - t / 3) % l->in_h, x = (u + l->in_w + 1 - t % 3) % l->in_w;
    if (y % l->stride_y || x % l->stride_x) continue;
    at[cnt++] = ((y / l->stride_y * l->out_w + x / l->stride_x) * TAPS + t) * l->in_c;
  }
  return cnt;
}

static void fill_tables(qr_cpu_layer_t *y, uint32_t **at) {
  const qr_layer_t *l = y->l;
  size_t rows = (size_t)y->chunk * l->pos, places = (size_t)l->in_h * l->in_w;
  y->row = cut(at, rows);
  y->step = cut(at, l->k / 4);
  y->grad_row = cut(at, l->k);
  y->grad_step = cut(at, y->grad_k4);
  y->err_row = cut(at, rows);
  y->err_step = cut(at, y->n4 / 4);
  fill_offsets(y);
  uint32_t *from = cut(at, TAPS * places);
  uint8_t *cnt = (uint8_t *)cut(at, places / 4 + 1);
  for (uint32_t p = 0; y->conv && p < places; p++)
    cnt[p] = readers(l, p / l->in_w, p % l->in_w, from + TAPS * p);
  y->gather = (qr_cpu_gather_t){.pos_cnt = (uint32_t)places,
                                .ch = l->in_c,
                                .src_sz = (size_t)l->pos * l->k,
                                .cnt = cnt,
                                .at = from};
}

static void size_layer(qr_cpu_layer_t *y, uint32_t batch, qr_cpu_sizes_t *z, qr_cpu_sizes_t *sum) {
  const qr_layer_t *l = y->l;
  size_t rows = (size_t)y->chunk * l->pos, k16 = qr_align_up(l->k, QR_CPU_PANEL),
         in = (size_t)y->chunk * y->in_sz, strip = QR_CPU_STRIP_ROWS * (size_t)y->n4;
  y->x_at = sum->x;
  y->w7_at = sum->w7;
  y->fwd_b_at = sum->fwd_b;
  y->fwd_n_at = sum->fwd_init;
  sum->x += (size_t)batch * y->in_sz;
  sum->w7 += qr_align_up((size_t)l->k * l->n, QR_CACHE_LINE);
  sum->fwd_b += (size_t)l->k * y->n16;
  sum->fwd_init += y->n16;
  grow(&z->e, (size_t)batch * l->pos * l->n);
  grow(&z->q, (size_t)batch * y->n4);
  grow(&z->strip, in > strip ? in : strip);
  grow(&z->strip, rows * y->n4);
  grow(&z->e7, rows * y->n4);
  grow(&z->a, y->conv ? (size_t)y->chunk * y->image_sz : in);
  grow(&z->a, rows * y->n4);
  grow(&z->at, y->conv ? (size_t)y->chunk * y->image_sz : batch * k16);
  grow(&z->b, (size_t)l->k * y->n16);
  grow(&z->b, k16 * y->n4);
  grow(&z->d, (size_t)y->grad_k4 * 4 * y->n16);
  grow(&z->init, y->n16 > k16 ? y->n16 : k16);
  grow(&z->d_init, y->n16);
  grow(&z->bias, y->n16);
  grow(&z->sum, y->n16);
  grow(&z->c, QR_CPU_BLOCK_ROWS * QR_CPU_BLOCK_COLS);
  if (y->conv) grow(&z->c, (size_t)y->err_chunk * l->pos * l->k);
  if (y->conv) grow(&z->g, (size_t)l->k * y->n16);
  size_t widest = y->n16 > k16 ? y->n16 : k16, longest = (size_t)batch * l->pos;
  grow(&z->key, QR_CPU_TILE * widest + 16);
  grow(&z->rho, (longest > k16 ? longest : k16) / QR_CPU_TILE + 8);
  grow(&z->r, QR_CPU_BLOCK_ROWS * (size_t)y->n16 + 64);
}

/* Rows past the last sample of a pass are computed, up to whole tiles, and thrown away. */
static void size_forward(qr_cpu_plan_t *plan, qr_cpu_sizes_t *z) {
  plan->fwd_rows = plan->batch < QR_CPU_FORWARD_ROWS ? plan->batch : QR_CPU_FORWARD_ROWS;
  for (uint32_t i = 0; i < plan->layer_cnt; i++) {
    const qr_layer_t *l = plan->layers[i].l;
    size_t x = (plan->fwd_rows + QR_CPU_TILE) * (size_t)l->pos * plan->layers[i].n16;
    grow(&plan->fwd_x_sz, x);
  }
  grow(&z->fwd_x, 2 * plan->fwd_x_sz);
}

int qr_cpu_plan_init(qr_cpu_plan_t *plan, const qr_net_t *net, const qr_step_prog_t *prog,
                     qr_cpu_sizes_t *sizes) {
  qr_step_prog_t known;
  memset(plan, 0, sizeof *plan);
  qr_step_lower(net, &known);
  if (memcmp(prog, &known, sizeof known)) return QR_ERR_ARG;
  plan->net = net;
  plan->layer_cnt = net->layer_cnt;
  plan->batch = net->spec.batch;
  size_t cnt = 0;
  qr_cpu_sizes_t all = {0};
  for (uint32_t i = 0; i < net->layer_cnt; i++) {
    qr_cpu_layer_t *y = &plan->layers[i];
    shape(y, &net->layers[i], plan->batch, i + 1 == net->layer_cnt);
    size_layer(y, plan->batch, sizes, &all);
    cnt += table_cnt(y);
  }
  size_forward(plan, sizes);
  sizes->e_below = sizes->e;
  grow(&sizes->x, all.x);
  grow(&sizes->w7, all.w7);
  grow(&sizes->fwd_b, all.fwd_b);
  grow(&sizes->fwd_init, all.fwd_init);
  grow(&sizes->fwd_bias, all.fwd_init);
  for (uint32_t i = 0; i < prog->op_cnt; i++)
    assign(&plan->layers[prog->ops[i].layer], &prog->ops[i]);
  uint32_t *at = plan->tables = malloc(cnt * sizeof *at);
  if (!at) return QR_ERR_NOMEM;
  for (uint32_t i = 0; i < net->layer_cnt; i++) fill_tables(&plan->layers[i], &at);
  return 0;
}

void qr_cpu_plan_fini(qr_cpu_plan_t *plan) { free(plan->tables); }

static void *carve(uint8_t *base, size_t *at, size_t sz) {
  void *p = base ? base + *at : NULL;
  *at += qr_align_up(sz, QR_CACHE_LINE);
  return p;
}

size_t qr_cpu_mem_place(qr_cpu_mem_t *mem, const qr_cpu_sizes_t *sizes, uint8_t *base) {
  size_t at = 0;
#define F(type, name) mem->name = carve(base, &at, sizes->name * sizeof(type));
  QR_CPU_AREAS(F)
#undef F
  return at;
}
