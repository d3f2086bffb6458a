#include "step.h"
#include "step/fixed.h"

static uint32_t least(uint32_t a, uint32_t b) { return a < b ? a : b; }

/* Panels of the weights for the product that carries errors back: dithered strips of [K][N], read
   along N. */
static void pack_weights(qr_cpu_step_t *s, const qr_cpu_layer_t *y) {
  const qr_layer_t *l = y->l;
  const int8_t *w7 = s->mem->w7 + y->w7_at;
  memset(s->mem->init, 0, l->k * sizeof *s->mem->init);
  for (uint32_t i = 0; i < l->k; i += QR_CPU_STRIP_ROWS) {
    uint32_t rows = least(l->k - i, QR_CPU_STRIP_ROWS);
    int8_t *strip = s->mem->strip;
    qr_cpu_operand(s, y->dither_bw, strip, w7 + (size_t)i * l->n, (size_t)i * l->n,
                   (size_t)rows * l->n, 0, true);
    int8_t *panels = s->mem->b + i / QR_CPU_PANEL * y->err_panel_sz;
    s->kern->pack_trans(panels, y->err_panel_sz, strip, y->l->n / 4, rows, y->l->n);
    s->kern->sums(s->mem->init + i, panels, y->err_panel_sz, y->l->n / 4, rows);
    qr_cpu_lap(&s->laps, QR_CPU_PHASE_PACK);
  }
}

/* Rounded errors of a chunk, bounded for the dither that they will get. */
static void round_chunk(qr_cpu_step_t *s, const qr_cpu_layer_t *y, const qr_cpu_error_t *err,
                        uint32_t sample, int shift) {
  int d = y->dither_ge->p0;
  size_t at = (size_t)sample * y->l->pos * y->l->n;
  qr_cpu_round_t r = {shift, (int8_t)(QR_STEP_I7_MIN + d), (int8_t)(QR_STEP_I7_MAX - d)};
  qr_ars_t draws = qr_cpu_stream(s, QR_STREAM_ROUND_E, y->quant->layer);
  s->kern->round(s->mem->e7, s->mem->sum, err->e + at, at, y->chunk * y->l->pos, y->l->n, &r,
                 &draws);
  qr_cpu_lap(&s->laps, QR_CPU_PHASE_ROUND);
}

/* The left operand of the error product. */
static void error_operand(qr_cpu_step_t *s, const qr_cpu_layer_t *y, uint32_t sample) {
  size_t row = (size_t)y->l->pos * y->l->n;
  qr_cpu_operand(s, y->dither_be, s->mem->a, s->mem->e7, sample * row, y->chunk * row, 64, true);
}

/* Errors of the layer before, which is dense as this one is, from a chunk. */
static void dense_errors(qr_cpu_step_t *s, const qr_cpu_layer_t *y, const qr_cpu_digest_t *digest,
                         qr_cpu_error_t *err, uint32_t sample) {
  uint32_t k = y->l->k;
  size_t at = sample * (size_t)k;
  for (uint32_t col = 0; col < k; col += QR_CPU_BLOCK_COLS) {
    uint32_t cols = least(k - col, QR_CPU_BLOCK_COLS);
    qr_cpu_gemm_t g = {.m = y->chunk,
                       .n = cols,
                       .k4 = y->l->n / 4,
                       .a = s->mem->a,
                       .row = y->err_row,
                       .step = y->err_step,
                       .b = s->mem->b + col / QR_CPU_PANEL * y->err_panel_sz,
                       .panel_sz = y->err_panel_sz,
                       .init = s->mem->init + col,
                       .c = s->mem->c,
                       .ldc = QR_CPU_BLOCK_COLS};
    qr_cpu_step_gemm(s, &g, digest, sample, col);
    err->magnitudes |= s->kern->mask(err->e_below + at + col, k, g.c, g.ldc,
                                     qr_cpu_inputs(s, y, sample) + col, k, y->chunk, cols);
    qr_cpu_lap(&s->laps, QR_CPU_PHASE_ERROR);
  }
}

/* The same of a convolution: the product of each tap is added where the tap read its inputs. */
static void conv_errors(qr_cpu_step_t *s, const qr_cpu_layer_t *y, const qr_cpu_digest_t *digest,
                        qr_cpu_error_t *err, uint32_t sample) {
  const qr_layer_t *l = y->l;
  uint32_t rows = y->chunk * l->pos, places = y->chunk * l->in_h * l->in_w;
  int32_t *e = err->e_below + sample * (size_t)y->in_sz;
  if (y->unread) memset(e, 0, (size_t)places * l->in_c * sizeof *e);
  for (uint32_t t = 0; t < QR_CPU_TAPS; t++) {
    uint32_t col = t * l->in_c;
    qr_cpu_gemm_t g = {.m = rows,
                       .n = l->in_c,
                       .k4 = y->l->n / 4,
                       .a = s->mem->a,
                       .row = y->err_row,
                       .step = y->err_step,
                       .b = s->mem->b + col / QR_CPU_PANEL * y->err_panel_sz,
                       .panel_sz = y->err_panel_sz,
                       .init = s->mem->init + col,
                       .c = e,
                       .c_row = y->spread + (size_t)t * rows,
                       .add = y->unread || !(y->first_taps >> t & 1)};
    qr_cpu_step_gemm(s, &g, digest, sample * l->pos, col);
  }
  err->magnitudes |=
      s->kern->mask(e, l->in_c, e, l->in_c, qr_cpu_inputs(s, y, sample), l->in_c, places, l->in_c);
  qr_cpu_lap(&s->laps, QR_CPU_PHASE_ERROR);
}

/* Panels of dithered errors from a chunk, four samples side by side; those of a dense layer are
   the chunk's part of what holds the batch. */
static void gradient_errors(qr_cpu_step_t *s, const qr_cpu_layer_t *y, uint32_t sample) {
  const qr_layer_t *l = y->l;
  size_t row = (size_t)l->pos * l->n, panel_sz = y->grad_panel_sz;
  int8_t *strip = s->mem->strip, *d = s->mem->d + (y->conv ? 0 : sample / 4 * (size_t)64);
  if (y->conv) memset(s->mem->d_init, 0, l->n * sizeof *s->mem->d_init);
  for (uint32_t i = 0; i < y->chunk; i += y->err_part) {
    int8_t *to = d + (size_t)i / 4 * l->pos * 64;
    qr_cpu_operand(s, y->dither_ge, strip, s->mem->e7 + i * row, (sample + i) * row,
                   y->err_part * row, 0, true);
    for (uint32_t b = 0; y->conv && b < y->err_part; b += 4)
      s->kern->pack(to + (size_t)b / 4 * l->pos * 64, panel_sz, strip + b * row, l->pos, l->n, l->n,
                    row, 0);
    if (!y->conv) s->kern->pack(to, panel_sz, strip, y->err_part / 4, l->n, 4 * row, row, 0);
    s->kern->sums(s->mem->d_init, to, panel_sz, y->err_part * l->pos / 4, l->n);
    qr_cpu_lap(&s->laps, QR_CPU_PHASE_PACK);
  }
}

/* The same of the inputs: padded images of a convolution, panels of a dense layer. */
static void gradient_inputs(qr_cpu_step_t *s, const qr_cpu_layer_t *y, uint32_t sample) {
  size_t in = y->in_sz;
  const int8_t *strip = s->mem->strip;
  for (uint32_t i = 0; i < y->chunk; i += y->in_part) {
    qr_cpu_operand(s, y->dither_ga, s->mem->strip, qr_cpu_inputs(s, y, sample + i),
                   (sample + i) * in, y->in_part * in, 0, y != s->plan->layers);
    for (uint32_t b = 0; y->conv && b < y->in_part; b += 4)
      s->kern->image4(s->mem->at + (size_t)(i + b) / 4 * y->image4_sz, strip + b * in, in,
                      &y->image4);
    if (!y->conv)
      s->kern->pack(s->mem->at + (sample + i) / 4 * (size_t)64, y->grad_panel_sz, strip,
                    y->in_part / 4, y->l->k, 4 * in, in, 64);
    qr_cpu_lap(&s->laps, QR_CPU_PHASE_PACK);
  }
}

/* What a chunk adds to the weight gradient of a convolution. */
static void gradient_chunk(qr_cpu_step_t *s, const qr_cpu_layer_t *y) {
  qr_cpu_gemm_t g = {.m = y->l->k,
                     .n = y->l->n,
                     .k4 = y->grad_k4,
                     .a = s->mem->at,
                     .row = y->grad_row,
                     .step = y->grad_step,
                     .b = s->mem->d,
                     .panel_sz = y->grad_panel_sz,
                     .init = s->mem->d_init,
                     .c = s->mem->g,
                     .ldc = y->l->n,
                     .add = true};
  s->kern->gemm(&g);
  qr_cpu_lap(&s->laps, QR_CPU_PHASE_PRODUCT);
}

/* Digest of the gradient and update of the masters, block by block; a dense layer's gradient is
   made here, and lives no longer than its block. */
static void update_weights(qr_cpu_step_t *s, const qr_cpu_layer_t *y, int64_t frac) {
  const qr_layer_t *l = y->l;
  int16_t *masters = (void *)(s->model + l->w_off);
  qr_cpu_digest_t digest = qr_cpu_digest_begin(s, y->grad);
  qr_ars_t draws = qr_cpu_stream(s, QR_STREAM_ROUND_W, y->weight_upd->layer);
  int shift = qr_cpu_step_shift(s, y->weight_upd, frac);
  uint32_t most = 64 * 64 * y->grad->k; /* the network's limits keep it within 31 bits */
  for (uint32_t row = 0; row < l->k; row += QR_CPU_BLOCK_ROWS) {
    uint32_t rows = least(l->k - row, QR_CPU_BLOCK_ROWS);
    s->kern->draw(s->mem->r, &draws, row * l->n / 16,
                  (uint32_t)qr_align_up(((size_t)rows * l->n + 15) / 16, 4));
    qr_cpu_lap(&s->laps, QR_CPU_PHASE_UPDATE);
    for (uint32_t col = 0; col < y->l->n; col += QR_CPU_BLOCK_COLS) {
      uint32_t cols = least(y->l->n - col, QR_CPU_BLOCK_COLS);
      const int32_t *c = s->mem->g + (size_t)row * y->l->n + col;
      size_t ldc = y->l->n;
      if (!y->conv) {
        qr_cpu_gemm_t g = {.m = rows,
                           .n = cols,
                           .k4 = y->grad_k4,
                           .a = s->mem->at,
                           .row = y->grad_row + row,
                           .step = y->grad_step,
                           .b = s->mem->d + col / QR_CPU_PANEL * y->grad_panel_sz,
                           .panel_sz = y->grad_panel_sz,
                           .init = s->mem->d_init + col,
                           .c = s->mem->c,
                           .ldc = QR_CPU_BLOCK_COLS};
        qr_cpu_step_gemm(s, &g, &digest, row, col);
        c = g.c;
        ldc = g.ldc;
      } else if (digest.sum) {
        *digest.sum += s->kern->digest(c, ldc, rows, cols, digest.key + col, digest.n,
                                       digest.rho + row / QR_CPU_TILE);
        qr_cpu_lap(&s->laps, QR_CPU_PHASE_DIGEST);
      }
      s->kern->update(masters + (size_t)row * l->n + col, l->n, c, ldc, s->mem->r + col, l->n, rows,
                      cols, shift, most);
      qr_cpu_lap(&s->laps, QR_CPU_PHASE_UPDATE);
    }
  }
}

/* The whole layer, the chunk first whose errors were made last and lie nearest. */
void qr_cpu_step_backward(qr_cpu_step_t *s, const qr_cpu_layer_t *y, qr_cpu_error_t *err) {
  const qr_layer_t *l = y->l;
  int shift = qr_step_err_shift(err->magnitudes);
  qr_cpu_digest_t digest = {0};
  err->frac += y->quant->p0 - shift;
  err->magnitudes = 0;
  memset(s->mem->sum, 0, l->n * sizeof *s->mem->sum);
  memset(s->mem->d_init, 0, y->l->n * sizeof *s->mem->d_init);
  if (y->conv) memset(s->mem->g, 0, (size_t)l->k * y->l->n * sizeof *s->mem->g);
  if (y->err) {
    pack_weights(s, y);
    digest = qr_cpu_digest_begin(s, y->err);
  }
  for (uint32_t b = s->plan->batch; b > 0;) {
    b -= y->chunk;
    round_chunk(s, y, err, b, shift);
    gradient_errors(s, y, b);
    gradient_inputs(s, y, b);
    if (y->conv) gradient_chunk(s, y);
    if (!y->err) continue;
    error_operand(s, y, b);
    (y->conv ? conv_errors : dense_errors)(s, y, &digest, err, b);
  }
  update_weights(s, y, err->frac);
  qr_cpu_step_biases(s, y, err->frac);
  int32_t *e = err->e;
  err->e = err->e_below;
  err->e_below = e;
}
