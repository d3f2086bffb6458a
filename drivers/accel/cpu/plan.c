#include "plan.h"

#include <stdlib.h>

#include "base/err.h"

#define PART_SZ 8192u  /* dithered bytes that are packed at once */
#define NEAR_SZ 24576u /* half of a first-level cache: the rounded errors of a chunk */

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
    while (2 * cnt <= batch && (uint64_t)2 * cnt * l->pos * l->n <= NEAR_SZ) cnt *= 2;
  } else {
    while (2 * cnt <= batch && 2 * cnt <= QR_CPU_BLOCK_ROWS) cnt *= 2;
  }
  return cnt;
}

/* Returns the bytes. What is right of a line and what is left of the next one share the space
   between them; with strides above one, nothing beyond the right and the lower edge is read. */
static uint32_t lay_image(qr_cpu_image_t *g, const qr_layer_t *l, uint32_t pixel) {
  *g = (qr_cpu_image_t){.h = l->in_h,
                        .w = l->in_w,
                        .pixel = pixel,
                        .right = l->stride_x == 1,
                        .below = l->stride_y == 1};
  g->lead = (uint32_t)qr_align_up(pixel, QR_CACHE_LINE);
  g->pitch = (uint32_t)qr_align_up((l->in_w + 1 + g->right) * pixel, QR_CACHE_LINE);
  return (g->h + 1 + g->below) * g->pitch + g->lead;
}

/* Samples of a part of a chunk: fours, and whole groups of draws. A chunk is enough of both. */
static uint32_t part_of(uint32_t sample_sz, uint32_t chunk) {
  uint32_t cnt = 4;
  while (cnt < chunk && (cnt * sample_sz % QR_CPU_DRAW || 2 * cnt * sample_sz <= PART_SZ)) cnt *= 2;
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
  y->in_part = part_of(y->in_sz, y->chunk);
  y->err_part = part_of(l->pos * l->n, y->chunk);
  if (y->conv) {
    y->image_sz = lay_image(&y->image, l, l->in_c);
    y->image4_sz = lay_image(&y->image4, l, 4 * l->in_c);
  }
  y->grad_k4 = (y->conv ? y->chunk * l->pos : batch) / 4;
  y->panel_sz = qr_cpu_panel_sz(l->k / 4);
  y->err_panel_sz = qr_cpu_panel_sz(y->n4 / 4);
  y->grad_panel_sz = qr_cpu_panel_sz(y->grad_k4);
}

/* Rows of the weight gradient; the last layer's is made the other way round. */
static uint32_t grad_row_cnt(const qr_cpu_layer_t *y) {
  return y->last ? (uint32_t)qr_align_up(y->l->n, QR_CPU_TILE) : y->l->k;
}

/* Numbers that a layer's tables hold. */
static size_t table_cnt(const qr_cpu_layer_t *y) {
  const qr_layer_t *l = y->l;
  size_t rows = (size_t)y->chunk * l->pos;
  return 2 * rows + l->k / 4 + grad_row_cnt(y) + y->grad_k4 + y->n4 / 4 +
         (y->conv ? QR_CPU_TAPS * rows : 0);
}

static uint32_t *cut(uint32_t **at, size_t cnt) {
  uint32_t *p = *at;
  *at += cnt;
  return p;
}

/* Offset in a padded image of what output position p reads by its first tap. */
static uint32_t corner(const qr_layer_t *l, const qr_cpu_image_t *g, uint32_t p) {
  return p / l->out_w * l->stride_y * g->pitch + p % l->out_w * l->stride_x * g->pixel + g->lead -
         g->pixel;
}

/* Offset, from there, of byte q of the row that an output position reads. */
static uint32_t tap(const qr_cpu_image_t *g, uint32_t q) {
  return q / (3 * g->pixel) * g->pitch + q % (3 * g->pixel);
}

static void fill_offsets(qr_cpu_layer_t *y) {
  const qr_layer_t *l = y->l;
  uint32_t rows = y->chunk * l->pos;
  for (uint32_t i = 0; i < rows; i++) {
    y->row[i] = y->conv ? i / l->pos * y->image_sz + corner(l, &y->image, i % l->pos) : i * l->k;
    y->err_row[i] = i * y->n4;
  }
  for (uint32_t g = 0; g < l->k / 4; g++) y->step[g] = y->conv ? tap(&y->image, 4 * g) : 4 * g;
  for (uint32_t g = 0; g < y->n4 / 4; g++) y->err_step[g] = 4 * g;
  uint32_t grad_rows = grad_row_cnt(y);
  for (uint32_t i = 0; i < grad_rows; i++) {
    y->grad_row[i] = y->conv ? tap(&y->image4, 4 * i)
                             : i / QR_CPU_PANEL * (uint32_t)y->grad_panel_sz + i % QR_CPU_PANEL * 4;
  }
  for (uint32_t g = 0; g < y->grad_k4; g++) {
    y->grad_step[g] =
        y->conv ? g / l->pos * y->image4_sz + corner(l, &y->image4, g % l->pos) : g * 64;
  }
}

/* What tap t reads for output position p. */
static uint32_t read_by(const qr_layer_t *l, uint32_t p, uint32_t t) {
  uint32_t y = (p / l->out_w * l->stride_y + t / 3 + l->in_h - 1) % l->in_h,
           x = (p % l->out_w * l->stride_x + t % 3 + l->in_w - 1) % l->in_w;
  return (y * l->in_w + x) * l->in_c;
}

/* A tap reads all inputs whose coordinates leave its remainders when divided by the strides: two
   taps read the same ones or have none in common. */
static void fill_spread(qr_cpu_layer_t *y) {
  const qr_layer_t *l = y->l;
  uint32_t rows = y->chunk * l->pos, kinds = 0;
  for (uint32_t t = 0; t < QR_CPU_TAPS; t++) {
    bool first = true;
    for (uint32_t u = 0; u < t; u++)
      first &=
          t / 3 % l->stride_y != u / 3 % l->stride_y || t % 3 % l->stride_x != u % 3 % l->stride_x;
    y->first_taps |= (uint32_t)first << t;
    kinds += first;
    for (uint32_t i = 0; i < rows; i++)
      y->spread[t * rows + i] = i / l->pos * y->in_sz + read_by(l, i % l->pos, t);
  }
  y->unread = kinds < l->stride_y * l->stride_x;
}

static void fill_tables(qr_cpu_layer_t *y, uint32_t **at) {
  const qr_layer_t *l = y->l;
  size_t rows = (size_t)y->chunk * l->pos;
  y->row = cut(at, rows);
  y->step = cut(at, l->k / 4);
  y->grad_row = cut(at, grad_row_cnt(y));
  y->grad_step = cut(at, y->grad_k4);
  y->err_row = cut(at, rows);
  y->err_step = cut(at, y->n4 / 4);
  fill_offsets(y);
  if (!y->conv) return;
  y->spread = cut(at, QR_CPU_TAPS * rows);
  fill_spread(y);
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
  sum->fwd_b += qr_cpu_panels_sz(l->k / 4, l->n);
  sum->fwd_init += y->n16;
  grow(&z->e, (size_t)batch * l->pos * l->n);
  if (y->last) grow(&z->q, (size_t)batch * l->n);
  grow(&z->strip, in > strip ? in : strip);
  grow(&z->strip, rows * l->n);
  grow(&z->e7, y->last ? batch * (size_t)l->n : rows * l->n);
  grow(&z->a, y->conv ? (size_t)y->chunk * y->image_sz : in);
  grow(&z->a, y->last ? batch * (size_t)y->n4 : rows * l->n);
  grow(&z->b, (size_t)l->k * y->n4);
  grow(&z->at, y->conv ? (size_t)y->chunk / 4 * y->image4_sz : qr_cpu_panels_sz(y->grad_k4, l->k));
  grow(&z->b, qr_cpu_panels_sz(l->k / 4, l->n));
  grow(&z->b, qr_cpu_panels_sz(y->n4 / 4, l->k));
  grow(&z->d, qr_cpu_panels_sz(y->grad_k4, l->n));
  grow(&z->init, y->n16 > k16 ? y->n16 : k16);
  grow(&z->d_init, y->n16);
  grow(&z->bias, y->n16);
  grow(&z->sum, y->n16);
  grow(&z->c, (QR_CPU_BLOCK_ROWS > y->n16 ? QR_CPU_BLOCK_ROWS : y->n16) * QR_CPU_BLOCK_COLS);
  grow(&z->g, (size_t)(y->last ? QR_CPU_BLOCK_COLS : y->conv ? l->k : 0) * y->n16);
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
