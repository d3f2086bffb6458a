#include "image.h"
#include "step.h"
#include "step/fixed.h"

static uint32_t least(uint32_t a, uint32_t b) { return a < b ? a : b; }

/* Panels of the weights for the product that carries errors back: dithered strips of [K][N], read
   along N. */
static void pack_weights(qr_cpu_step_t *s, const qr_cpu_layer_t *y) {
  const qr_layer_t *l = y->l;
  const int8_t *w7 = s->mem->w7 + y->w7_at;
  for (uint32_t i = 0; i < l->k; i += QR_CPU_STRIP_ROWS) {
    uint32_t rows = least(l->k - i, QR_CPU_STRIP_ROWS);
    int8_t *strip = s->mem->strip;
    if (y->dither_bw) {
      qr_cpu_operand(s, y->dither_bw, strip, w7 + (size_t)i * l->n, (size_t)i * l->n,
                     (size_t)rows * l->n, 0, true);
    } else { /* any n: rows of whole groups */
      memset(strip, 0, (size_t)rows * y->n4);
      for (uint32_t r = 0; r < rows; r++)
        memcpy(strip + r * (size_t)y->n4, w7 + (i + r) * (size_t)l->n, l->n);
    }
    s->kern->pack_trans(s->mem->b + (size_t)i * y->n4, strip, y->n4 / 4, rows, y->n4);
    qr_cpu_lap(&s->laps, QR_CPU_PHASE_PACK);
  }
  s->kern->sums(s->mem->init, s->mem->b, y->n4 / 4, l->k);
  qr_cpu_lap(&s->laps, QR_CPU_PHASE_PACK);
}

/* Rounded errors of a chunk, bounded for the dither that they will get. */
static void round_chunk(qr_cpu_step_t *s, const qr_cpu_layer_t *y, const qr_cpu_error_t *err,
                        uint32_t sample, int shift) {
  int d = y->dither_ge ? y->dither_ge->p0 : 0;
  size_t at = (size_t)sample * y->l->pos * y->l->n;
  qr_cpu_round_t r = {shift, (int8_t)(QR_STEP_I7_MIN + d), (int8_t)(QR_STEP_I7_MAX - d)};
  qr_ars_t draws = qr_cpu_stream(s, QR_STREAM_ROUND_E, y->quant->layer);
  s->kern->round(s->mem->e7, s->mem->sum, err->e + at, at, y->chunk * y->l->pos, y->l->n, &r,
                 &draws);
  qr_cpu_lap(&s->laps, QR_CPU_PHASE_ROUND);
}

/* The left operand of the error product. */
static void error_operand(qr_cpu_step_t *s, const qr_cpu_layer_t *y, uint32_t sample) {
  uint32_t rows = y->chunk * y->l->pos, n = y->l->n;
  if (n == y->n4) {
    qr_cpu_operand(s, y->dither_be, s->mem->a, s->mem->e7, (size_t)sample * y->l->pos * n,
                   (size_t)rows * n, 64, true);
    return;
  }
  for (uint32_t i = 0; i < rows; i++) { /* only the last layer, which is not dithered */
    for (uint32_t j = 0; j < n; j++)
      s->mem->a[i * y->n4 + j] = (int8_t)(s->mem->e7[i * n + j] + 64);
  }
  qr_cpu_lap(&s->laps, QR_CPU_PHASE_PACK);
}

/* Errors of the layer before, of the samples whose rows begin at row of the chunk. */
static void error_block(qr_cpu_step_t *s, const qr_cpu_layer_t *y, const qr_cpu_digest_t *digest,
                        qr_cpu_error_t *err, uint32_t sample, uint32_t row, uint32_t rows) {
  const qr_layer_t *l = y->l;
  size_t at = sample * (size_t)y->in_sz;
  uint32_t first = sample * l->pos, wide = y->conv ? l->k : QR_CPU_BLOCK_COLS;
  for (uint32_t col = 0; col < l->k; col += QR_CPU_BLOCK_COLS) {
    uint32_t cols = least(l->k - col, QR_CPU_BLOCK_COLS);
    qr_cpu_gemm_t g = {.m = rows,
                       .n = cols,
                       .k4 = y->n4 / 4,
                       .a = s->mem->a,
                       .row = y->err_row + row,
                       .step = y->err_step,
                       .b = s->mem->b + (size_t)col * y->n4,
                       .init = s->mem->init + col,
                       .c = s->mem->c + (y->conv ? col : 0),
                       .ldc = wide};
    s->kern->gemm(&g);
    qr_cpu_lap(&s->laps, QR_CPU_PHASE_PRODUCT);
    qr_cpu_digest_block(s, digest, g.c, wide, first, col, rows, cols);
    if (y->conv) continue;
    err->magnitudes |= s->kern->mask(err->e_below + at + col, l->k, g.c, wide,
                                     qr_cpu_inputs(s, y, sample) + col, l->k, rows, cols);
    qr_cpu_lap(&s->laps, QR_CPU_PHASE_ERROR);
  }
  if (!y->conv) return;
  err->magnitudes |= s->kern->gather(err->e_below + at, s->mem->c, qr_cpu_inputs(s, y, sample),
                                     rows / l->pos, &y->gather);
  qr_cpu_lap(&s->laps, QR_CPU_PHASE_ERROR);
}

/* Operands of the weight gradient from a chunk: for a convolution, four samples side by side in
   padded images and in panels; for a dense layer, the chunk's part of what holds the batch. */
static void gradient_operands(qr_cpu_step_t *s, const qr_cpu_layer_t *y, uint32_t sample) {
  const qr_layer_t *l = y->l;
  size_t in = y->in_sz, row = (size_t)l->pos * l->n, panel_sz = (size_t)y->grad_k4 * 64;
  const int8_t *strip = s->mem->strip;
  qr_cpu_operand(s, y->dither_ge, s->mem->strip, s->mem->e7, sample * row, y->chunk * row, 0, true);
  for (uint32_t b = 0; y->conv && b < y->chunk; b += 4)
    s->kern->pack(s->mem->d + (size_t)b / 4 * l->pos * 64, panel_sz, strip + b * row, l->pos, l->n,
                  l->n, row, 0);
  if (!y->conv)
    s->kern->pack(s->mem->d + sample / 4 * 64, panel_sz, strip, y->chunk / 4, l->n,
                  4 * (size_t)l->n, l->n, 0);
  qr_cpu_lap(&s->laps, QR_CPU_PHASE_PACK);
  qr_cpu_operand(s, y->dither_ga, s->mem->strip, qr_cpu_inputs(s, y, sample), sample * in,
                 y->chunk * in, 0, y != s->plan->layers);
  if (!y->conv) {
    s->kern->pack(s->mem->at + sample / 4 * 64, panel_sz, strip, y->chunk / 4, l->k,
                  4 * (size_t)l->k, l->k, 64);
  }
  for (uint32_t b = 0; y->conv && b < y->chunk; b += 4) {
    int8_t *image = s->mem->at + (size_t)b * y->image_sz;
    size_t pixel = 4 * (size_t)l->in_c, line = (size_t)l->in_w * l->in_c;
    for (uint32_t v = 0; v < l->in_h; v++)
      s->kern->interleave(qr_cpu_image_line(image, v, l->in_w, pixel), strip + b * in + v * line,
                          in, (uint32_t)line);
    qr_cpu_image_close(image, l->in_h, l->in_w, pixel);
  }
  qr_cpu_lap(&s->laps, QR_CPU_PHASE_PACK);
}

/* What a chunk adds to the weight gradient of a convolution. */
static void gradient_chunk(qr_cpu_step_t *s, const qr_cpu_layer_t *y) {
  qr_cpu_gemm_t g = {.m = y->l->k,
                     .n = y->n16,
                     .k4 = y->grad_k4,
                     .a = s->mem->at,
                     .row = y->grad_row,
                     .step = y->grad_step,
                     .b = s->mem->d,
                     .init = s->mem->d_init,
                     .c = s->mem->g,
                     .ldc = y->n16,
                     .add = true};
  s->kern->sums(s->mem->d_init, s->mem->d, y->grad_k4, y->n16);
  qr_cpu_lap(&s->laps, QR_CPU_PHASE_PACK);
  s->kern->gemm(&g);
  qr_cpu_lap(&s->laps, QR_CPU_PHASE_PRODUCT);
}

/* Shift of an update; beyond these ends SR is the same everywhere. */
static int update_shift(const qr_cpu_step_t *s, const qr_step_op_t *op, int64_t frac) {
  return (int)qr_clamp64(frac + op->p0 + s->lr_shift, -31, 62);
}

/* Digest of the gradient and update of the masters, block by block; a dense layer's gradient is
   made here, and lives no longer than its block. */
static void update_weights(qr_cpu_step_t *s, const qr_cpu_layer_t *y, int64_t frac) {
  const qr_layer_t *l = y->l;
  int16_t *masters = (void *)(s->model + l->w_off);
  qr_cpu_digest_t digest = qr_cpu_digest_begin(s, y->grad);
  qr_ars_t draws = qr_cpu_stream(s, QR_STREAM_ROUND_W, y->weight_upd->layer);
  int shift = update_shift(s, y->weight_upd, frac);
  uint32_t most = 64 * 64 * y->grad->k; /* the network's limits keep it within 31 bits */
  if (!y->conv) s->kern->sums(s->mem->d_init, s->mem->d, y->grad_k4, y->n16);
  qr_cpu_lap(&s->laps, QR_CPU_PHASE_PACK);
  for (uint32_t row = 0; row < l->k; row += QR_CPU_BLOCK_ROWS) {
    uint32_t rows = least(l->k - row, QR_CPU_BLOCK_ROWS);
    s->kern->draw(s->mem->r, &draws, row * l->n / 16,
                  (uint32_t)qr_align_up(((size_t)rows * l->n + 15) / 16, 4));
    qr_cpu_lap(&s->laps, QR_CPU_PHASE_UPDATE);
    for (uint32_t col = 0; col < y->n16; col += QR_CPU_BLOCK_COLS) {
      uint32_t cols = least(y->n16 - col, QR_CPU_BLOCK_COLS);
      const int32_t *c = s->mem->g + (size_t)row * y->n16 + col;
      size_t ldc = y->n16;
      if (!y->conv) {
        qr_cpu_gemm_t g = {.m = rows,
                           .n = cols,
                           .k4 = y->grad_k4,
                           .a = s->mem->at,
                           .row = y->grad_row + row,
                           .step = y->grad_step,
                           .b = s->mem->d + (size_t)col * y->grad_k4 * 4,
                           .init = s->mem->d_init + col,
                           .c = s->mem->c,
                           .ldc = QR_CPU_BLOCK_COLS};
        s->kern->gemm(&g);
        qr_cpu_lap(&s->laps, QR_CPU_PHASE_PRODUCT);
        c = g.c;
        ldc = g.ldc;
      }
      qr_cpu_digest_block(s, &digest, c, ldc, row, col, rows, cols);
      s->kern->update(masters + (size_t)row * l->n + col, l->n, c, ldc, s->mem->r + col, l->n, rows,
                      least(l->n - col, cols), shift, most);
      qr_cpu_lap(&s->laps, QR_CPU_PHASE_UPDATE);
    }
  }
}

static void update_biases(qr_cpu_step_t *s, const qr_cpu_layer_t *y, int64_t frac) {
  const qr_step_op_t *op = y->bias_upd;
  int32_t *bias = (void *)(s->model + y->l->b_off), lim = op->p1;
  qr_ars_t draws = qr_cpu_stream(s, QR_STREAM_ROUND_B, op->layer);
  int shift = update_shift(s, op, frac);
  s->kern->draw(s->mem->r, &draws, 0, (uint32_t)qr_align_up((op->n + 15) / 16, 4));
  for (uint32_t j = 0; j < op->n; j++) {
    int64_t v = bias[j] - qr_step_sr(s->mem->sum[j], shift, s->mem->r[j]);
    bias[j] = (int32_t)qr_clamp64(v, -lim, lim);
  }
  qr_cpu_lap(&s->laps, QR_CPU_PHASE_UPDATE);
}

/* The whole layer, the chunk first whose errors were made last and lie nearest. */
void qr_cpu_step_backward(qr_cpu_step_t *s, const qr_cpu_layer_t *y, qr_cpu_error_t *err) {
  const qr_layer_t *l = y->l;
  int shift = qr_step_err_shift(err->magnitudes);
  qr_cpu_digest_t digest = {0};
  err->frac += y->quant->p0 - shift;
  err->magnitudes = 0;
  memset(s->mem->sum, 0, l->n * sizeof *s->mem->sum);
  if (y->conv) memset(s->mem->g, 0, (size_t)l->k * y->n16 * sizeof *s->mem->g);
  if (y->err) {
    pack_weights(s, y);
    digest = qr_cpu_digest_begin(s, y->err);
  }
  for (uint32_t b = s->plan->batch; b > 0;) {
    b -= y->chunk;
    round_chunk(s, y, err, b, shift);
    gradient_operands(s, y, b);
    if (y->conv) gradient_chunk(s, y);
    if (!y->err) continue;
    error_operand(s, y, b);
    for (uint32_t i = 0; i < y->chunk; i += y->err_chunk)
      error_block(s, y, &digest, err, b + i, i * l->pos, y->err_chunk * l->pos);
  }
  update_weights(s, y, err->frac);
  update_biases(s, y, err->frac);
  int32_t *e = err->e;
  err->e = err->e_below;
  err->e_below = e;
}
