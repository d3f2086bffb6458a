#include "step.h"
#include "step/fixed.h"

/* Compute copies of the masters, dithered and packed strip by strip. */
static void pack_weights(qr_cpu_step_t *s, const qr_cpu_layer_t *y) {
  const qr_layer_t *l = y->l;
  const int16_t *masters = (const void *)(s->model + l->w_off);
  int d = y->dither_w->p0;
  memset(s->mem->init, 0, y->l->n * sizeof *s->mem->init);
  for (uint32_t i = 0; i < l->k; i += QR_CPU_STRIP_ROWS) {
    uint32_t rows = l->k - i < QR_CPU_STRIP_ROWS ? l->k - i : QR_CPU_STRIP_ROWS;
    size_t at = (size_t)i * l->n, cnt = (size_t)rows * l->n;
    int8_t *w7 = s->mem->w7 + y->w7_at + at, *strip = s->mem->strip;
    s->kern->w7(w7, masters + at, cnt, (int8_t)(QR_STEP_I7_MIN + d), (int8_t)(QR_STEP_I7_MAX - d));
    qr_cpu_lap(&s->laps, QR_CPU_PHASE_PACK);
    qr_cpu_operand(s, y->dither_w, strip, w7, at, cnt, 0, true);
    int8_t *panels = s->mem->b + i / 4 * (size_t)64;
    s->kern->pack(panels, y->panel_sz, strip, rows / 4, l->n, 4 * (size_t)l->n, l->n, 0);
    s->kern->sums(s->mem->init, panels, y->panel_sz, rows / 4, y->l->n);
    qr_cpu_lap(&s->laps, QR_CPU_PHASE_PACK);
  }
}

/* The left operand of a chunk: rows of a dense layer, padded images of a convolution. */
static void chunk_operand(qr_cpu_step_t *s, const qr_cpu_layer_t *y, uint32_t sample) {
  size_t in = y->in_sz;
  bool bounded = y != s->plan->layers;
  if (!y->conv) {
    qr_cpu_operand(s, y->dither_a, s->mem->a, qr_cpu_inputs(s, y, sample), sample * in,
                   y->chunk * in, 64, bounded);
    return;
  }
  for (uint32_t i = 0; i < y->chunk; i += y->in_part) {
    qr_cpu_operand(s, y->dither_a, s->mem->strip, qr_cpu_inputs(s, y, sample + i),
                   (sample + i) * in, y->in_part * in, 64, bounded);
    for (uint32_t b = 0; b < y->in_part; b++)
      s->kern->image(s->mem->a + (i + b) * (size_t)y->image_sz, s->mem->strip + b * in, &y->image);
    qr_cpu_lap(&s->laps, QR_CPU_PHASE_PACK);
  }
}

/* The next layer's inputs from a block, bounded for the dither that they will get. */
static void activate(qr_cpu_step_t *s, const qr_cpu_layer_t *y, const int32_t *c, size_t row,
                     uint32_t col, uint32_t rows, uint32_t cols) {
  const qr_cpu_layer_t *above = y + 1;
  int d = above->dither_a ? above->dither_a->p0 : 0;
  int8_t *x = s->mem->x + above->x_at + row * y->l->n + col;
  s->kern->act(x, y->l->n, c, QR_CPU_BLOCK_COLS, s->mem->bias + col, rows, cols, y->out->p0,
               (int8_t)(QR_STEP_I7_MIN + d), (int8_t)(QR_STEP_I7_MAX - d), 0);
  qr_cpu_lap(&s->laps, QR_CPU_PHASE_ACT);
}

static void chunk_product(qr_cpu_step_t *s, const qr_cpu_layer_t *y, const qr_cpu_digest_t *digest,
                          uint32_t sample) {
  uint32_t all = y->chunk * y->l->pos, first = sample * y->l->pos;
  for (uint32_t col = 0; col < y->l->n; col += QR_CPU_BLOCK_COLS) {
    uint32_t cols = y->l->n - col < QR_CPU_BLOCK_COLS ? y->l->n - col : QR_CPU_BLOCK_COLS;
    for (uint32_t i = 0; i < all; i += QR_CPU_BLOCK_ROWS) {
      uint32_t rows = all - i < QR_CPU_BLOCK_ROWS ? all - i : QR_CPU_BLOCK_ROWS;
      qr_cpu_gemm_t g = {.m = rows,
                         .n = cols,
                         .k4 = y->l->k / 4,
                         .a = s->mem->a,
                         .row = y->row + i,
                         .step = y->step,
                         .b = s->mem->b + col / QR_CPU_PANEL * y->panel_sz,
                         .panel_sz = y->panel_sz,
                         .init = s->mem->init + col,
                         .c = s->mem->c,
                         .ldc = QR_CPU_BLOCK_COLS};
      qr_cpu_step_gemm(s, &g, digest, first + i, col);
      activate(s, y, g.c, first + i, col, rows, cols);
    }
  }
}

void qr_cpu_step_forward(qr_cpu_step_t *s, const qr_cpu_layer_t *y) {
  const int32_t *bias = (const void *)(s->model + y->l->b_off);
  pack_weights(s, y);
  for (uint32_t j = 0; j < y->l->n; j++)
    s->mem->bias[j] = (int32_t)qr_step_bias_at(bias[j], y->out->p1);
  qr_cpu_digest_t digest = qr_cpu_digest_begin(s, y->product);
  for (uint32_t b = 0; b < s->plan->batch; b += y->chunk) {
    chunk_operand(s, y, b);
    chunk_product(s, y, &digest, b);
  }
}
