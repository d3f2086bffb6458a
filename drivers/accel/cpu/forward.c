#include "forward.h"

#include "step/fixed.h"

static uint32_t least(uint32_t a, uint32_t b) { return a < b ? a : b; }

/* Accumulator fraction bits of a layer. */
static int acc_frac(const qr_layer_t *l) { return l->in_frac + l->w_frac; }

/* Panels, or the transpose of the last layer's weights. */
static void pack_layer(const qr_cpu_forward_t *f, const qr_cpu_layer_t *y, const int16_t *masters) {
  const qr_layer_t *l = y->l;
  int8_t *to = f->mem->fwd_b + y->fwd_b_at, *strip = f->mem->strip;
  int32_t *init = f->mem->fwd_init + y->fwd_n_at;
  for (uint32_t r = 0; r < l->k; r += QR_CPU_STRIP_ROWS) {
    uint32_t rows = least(l->k - r, QR_CPU_STRIP_ROWS);
    f->kern->w7(strip, masters + (size_t)r * l->n, (size_t)rows * l->n, QR_STEP_I7_MIN,
                QR_STEP_I7_MAX);
    if (!y->last)
      f->kern->pack(to + r / 4 * (size_t)64, y->panel_sz, strip, rows / 4, l->n, 4 * (size_t)l->n,
                    l->n, 0);
    for (uint32_t i = 0; y->last && i < rows; i++) {
      for (uint32_t j = 0; j < l->n; j++) to[j * (size_t)l->k + r + i] = strip[i * l->n + j];
    }
  }
  memset(init, 0, y->n16 * sizeof *init);
  if (!y->last) f->kern->sums(init, to, y->panel_sz, l->k / 4, l->n);
}

void qr_cpu_forward_pack(const qr_cpu_forward_t *f, const uint8_t *model) {
  for (uint32_t i = 0; i < f->plan->layer_cnt; i++) {
    const qr_cpu_layer_t *y = &f->plan->layers[i];
    const int32_t *bias = (const void *)(model + y->l->b_off);
    pack_layer(f, y, (const void *)(model + y->l->w_off));
    for (uint32_t j = 0; j < y->l->n; j++)
      f->mem->fwd_bias[y->fwd_n_at + j] =
          (int32_t)qr_step_bias_at(bias[j], QR_STEP_BIAS_FRAC - acc_frac(y->l));
  }
}

/* Q values of some samples, mod 2^32. */
static void q_values(const qr_cpu_forward_t *f, const qr_cpu_layer_t *y, const int8_t *x,
                     uint32_t samples, int32_t *q) {
  const int32_t *bias = f->mem->fwd_bias + y->fwd_n_at;
  uint32_t n = y->l->n;
  f->kern->thin(q, x, f->mem->fwd_b + y->fwd_b_at, samples, n, y->l->k);
  for (uint32_t i = 0; i < samples; i++, q += n) {
    for (uint32_t j = 0; j < n; j++)
      q[j] = (int32_t)(((uint32_t)q[j] + (uint32_t)bias[j]) << (QR_STEP_Q_FRAC - acc_frac(y->l)));
  }
}

/* Activations of samples, at most a chunk, whose left operand is at a; x has room for whole tiles
   of rows. What the last layer reads is signed, what others read has 64 added. */
static void activations(const qr_cpu_forward_t *f, const qr_cpu_layer_t *y, const int8_t *a,
                        uint32_t samples, int8_t *x) {
  const qr_layer_t *l = y->l;
  uint32_t all = (uint32_t)qr_align_up(samples * l->pos, QR_CPU_TILE);
  for (uint32_t col = 0; col < l->n; col += QR_CPU_BLOCK_COLS) {
    uint32_t cols = least(l->n - col, QR_CPU_BLOCK_COLS);
    for (uint32_t i = 0; i < all; i += QR_CPU_BLOCK_ROWS) {
      uint32_t rows = least(all - i, QR_CPU_BLOCK_ROWS);
      qr_cpu_gemm_t g = {.m = rows,
                         .n = cols,
                         .k4 = l->k / 4,
                         .a = a,
                         .row = y->row + i,
                         .step = y->step,
                         .b = f->mem->fwd_b + y->fwd_b_at + col / QR_CPU_PANEL * y->panel_sz,
                         .panel_sz = y->panel_sz,
                         .init = f->mem->fwd_init + y->fwd_n_at + col,
                         .c = f->mem->c,
                         .ldc = QR_CPU_BLOCK_COLS};
      f->kern->gemm(&g);
      f->kern->act(x + (size_t)i * l->n + col, l->n, g.c, g.ldc,
                   f->mem->fwd_bias + y->fwd_n_at + col, rows, cols,
                   acc_frac(l) - (int)f->plan->net->spec.act_frac, QR_STEP_I7_MIN, QR_STEP_I7_MAX,
                   y[1].last ? 0 : 64);
    }
  }
}

void qr_cpu_forward_run(const qr_cpu_forward_t *f, const int8_t *obs, uint32_t rows, int32_t *q) {
  const qr_cpu_dither_t plain = {.plus = 64};
  const int8_t *x = obs;
  const qr_cpu_layer_t *y = f->plan->layers;
  for (uint32_t i = 0; !y->last; i ^= 1, y++) {
    int8_t *to = f->mem->fwd_x + i * f->plan->fwd_x_sz;
    for (uint32_t b = 0; b < rows; b += y->chunk) {
      uint32_t samples = least(rows - b, y->chunk);
      const int8_t *a = x + (size_t)b * y->in_sz;
      if (x == obs) {
        f->kern->dither(f->mem->strip, a, 0, (size_t)samples * y->in_sz, &plain, NULL);
        a = f->mem->strip;
      }
      for (uint32_t j = 0; y->conv && j < samples; j++)
        f->kern->image(f->mem->a + (size_t)j * y->image_sz, a + (size_t)j * y->in_sz, &y->image);
      activations(f, y, y->conv ? f->mem->a : a, samples, to + (size_t)b * y->l->pos * y->l->n);
    }
    x = to;
  }
  q_values(f, y, x, rows, q);
}
