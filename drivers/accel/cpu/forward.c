#include "forward.h"

#include "image.h"
#include "step/fixed.h"

static uint32_t least(uint32_t a, uint32_t b) { return a < b ? a : b; }

/* Accumulator fraction bits of a layer. */
static int acc_frac(const qr_layer_t *l) { return l->in_frac + l->w_frac; }

void qr_cpu_forward_pack(const qr_cpu_forward_t *f, const uint8_t *model) {
  for (uint32_t i = 0; i < f->plan->layer_cnt; i++) {
    const qr_cpu_layer_t *y = &f->plan->layers[i];
    const qr_layer_t *l = y->l;
    const int16_t *masters = (const void *)(model + l->w_off);
    const int32_t *bias = (const void *)(model + l->b_off);
    int8_t *panels = f->mem->fwd_b + y->fwd_b_at;
    for (uint32_t r = 0; r < l->k; r += QR_CPU_STRIP_ROWS) {
      uint32_t rows = least(l->k - r, QR_CPU_STRIP_ROWS);
      f->kern->w7(f->mem->strip, masters + (size_t)r * l->n, (size_t)rows * l->n, QR_STEP_I7_MIN,
                  QR_STEP_I7_MAX);
      f->kern->pack(panels + (size_t)r * QR_CPU_PANEL, (size_t)l->k * QR_CPU_PANEL, f->mem->strip,
                    rows / 4, l->n, 4 * (size_t)l->n, l->n, 0);
    }
    f->kern->sums(f->mem->fwd_init + y->fwd_n_at, panels, l->k / 4, y->n16);
    for (uint32_t j = 0; j < l->n; j++)
      f->mem->fwd_bias[y->fwd_n_at + j] =
          (int32_t)qr_step_bias_at(bias[j], QR_STEP_BIAS_FRAC - acc_frac(l));
  }
}

/* Samples of x, plus 64 already, as the padded images of a convolution. */
static void make_images(const qr_cpu_forward_t *f, const qr_cpu_layer_t *y, const int8_t *x,
                        uint32_t samples) {
  const qr_layer_t *l = y->l;
  size_t line = (size_t)l->in_w * l->in_c;
  for (uint32_t b = 0; b < samples; b++, x += y->in_sz) {
    int8_t *image = f->mem->a + (size_t)b * y->image_sz;
    for (uint32_t v = 0; v < l->in_h; v++)
      memcpy(qr_cpu_image_line(image, v, l->in_w, l->in_c), x + v * line, line);
    qr_cpu_image_close(image, l->in_h, l->in_w, l->in_c);
  }
}

static void q_values(const qr_cpu_forward_t *f, const qr_cpu_layer_t *y, int32_t *q, uint32_t col,
                     uint32_t rows, uint32_t cols) {
  const int32_t *c = f->mem->c, *bias = f->mem->fwd_bias + y->fwd_n_at;
  uint32_t n = y->l->n, end = least(n, col + cols);
  for (uint32_t i = 0; i < rows; i++, c += QR_CPU_BLOCK_COLS, q += n) {
    for (uint32_t j = col; j < end; j++)
      q[j] = (int32_t)((uint32_t)(c[j - col] + bias[j]) << (QR_STEP_Q_FRAC - acc_frac(y->l)));
  }
}

/* Samples of a layer, at most a chunk, whose left operand is at a. out: activations plus 64, with
   room for whole tiles of rows, or the Q values of real samples. */
static void run_chunk(const qr_cpu_forward_t *f, const qr_cpu_layer_t *y, const int8_t *a,
                      uint32_t samples, int8_t *x, int32_t *q) {
  const qr_layer_t *l = y->l;
  uint32_t real = samples * l->pos, all = (uint32_t)qr_align_up(real, QR_CPU_TILE);
  for (uint32_t col = 0; col < y->n16; col += QR_CPU_BLOCK_COLS) {
    uint32_t cols = least(y->n16 - col, QR_CPU_BLOCK_COLS);
    for (uint32_t i = 0; i < all; i += QR_CPU_BLOCK_ROWS) {
      uint32_t rows = least(all - i, QR_CPU_BLOCK_ROWS);
      qr_cpu_gemm_t g = {.m = rows,
                         .n = cols,
                         .k4 = l->k / 4,
                         .a = a,
                         .row = y->row + i,
                         .step = y->step,
                         .b = f->mem->fwd_b + y->fwd_b_at + (size_t)col * l->k,
                         .init = f->mem->fwd_init + y->fwd_n_at + col,
                         .c = f->mem->c,
                         .ldc = QR_CPU_BLOCK_COLS};
      f->kern->gemm(&g);
      if (y->last) {
        q_values(f, y, q + (size_t)i * l->n, col, least(rows, real - i), cols);
      } else {
        f->kern->act(x + (size_t)i * l->n + col, l->n, g.c, g.ldc,
                     f->mem->fwd_bias + y->fwd_n_at + col, rows, cols,
                     acc_frac(l) - (int)f->plan->net->spec.act_frac, QR_STEP_I7_MIN, QR_STEP_I7_MAX,
                     64);
      }
    }
  }
}

void qr_cpu_forward_run(const qr_cpu_forward_t *f, const int8_t *obs, uint32_t rows, int32_t *q) {
  const qr_cpu_dither_t plain = {.plus = 64};
  const int8_t *x = obs;
  for (uint32_t i = 0; i < f->plan->layer_cnt; i++) {
    const qr_cpu_layer_t *y = &f->plan->layers[i];
    int8_t *to = f->mem->fwd_x + (i & 1) * f->plan->fwd_x_sz;
    for (uint32_t b = 0; b < rows; b += y->chunk) {
      uint32_t samples = least(rows - b, y->chunk);
      const int8_t *a = x + (size_t)b * y->in_sz;
      if (!i) {
        f->kern->dither(f->mem->strip, a, 0, (size_t)samples * y->in_sz, &plain, NULL);
        a = f->mem->strip;
      }
      if (y->conv) {
        make_images(f, y, a, samples);
        a = f->mem->a;
      }
      run_chunk(f, y, a, samples, to + (size_t)b * y->l->pos * y->l->n, q + (size_t)b * y->l->n);
    }
    x = to;
  }
}
