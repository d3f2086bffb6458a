#include "step.h"
#include "step/fixed.h"

static uint32_t least(uint32_t a, uint32_t b) { return a < b ? a : b; }

/* Panels of the weights for the product that carries errors back: dithered strips of [K][N], read
   along N. */
static void pack_weights(qr_cpu_step_t *s, const qr_cpu_stage_t *arg) {
  const qr_cpu_layer_t *y = arg->y;
  const qr_layer_t *l = y->l;
  const int8_t *w7 = s->mem->w7 + y->w7_at;
  int32_t *init = qr_cpu_step_first(s)->init;
  for (uint32_t i = s->member * QR_CPU_STRIP_ROWS; i < l->k;
       i += s->member_cnt * QR_CPU_STRIP_ROWS) {
    uint32_t rows = least(l->k - i, QR_CPU_STRIP_ROWS);
    int8_t *strip = s->mem->strip, *panels = s->mem->b + i / QR_CPU_PANEL * y->err_panel_sz;
    qr_cpu_operand(s, y->dither_bw, strip, w7 + (size_t)i * l->n, (size_t)i * l->n,
                   (size_t)rows * l->n, 0, true);
    s->kern->pack_trans(panels, y->err_panel_sz, strip, l->n / 4, rows, l->n);
    memset(init + i, 0, rows * sizeof *init);
    s->kern->sums(init + i, panels, y->err_panel_sz, l->n / 4, rows);
    qr_cpu_lap(&s->laps, QR_CPU_PHASE_PACK);
  }
}

/* Rounded errors of a chunk, bounded for the dither that they will get. */
static void round_chunk(qr_cpu_step_t *s, const qr_cpu_stage_t *arg, uint32_t sample) {
  const qr_cpu_layer_t *y = arg->y;
  int d = y->dither_ge->p0;
  size_t at = (size_t)sample * y->l->pos * y->l->n;
  qr_cpu_round_t r = {arg->shift, (int8_t)(QR_STEP_I7_MIN + d), (int8_t)(QR_STEP_I7_MAX - d)};
  qr_ars_t draws = qr_cpu_stream(s, QR_STREAM_ROUND_E, y->quant->layer);
  s->kern->round(s->mem->e7, s->mem->sum, arg->err->e + at, at, y->chunk * y->l->pos, y->l->n, &r,
                 &draws);
  qr_cpu_lap(&s->laps, QR_CPU_PHASE_ROUND);
}

/* The left operand of the error product. */
static void error_operand(qr_cpu_step_t *s, const qr_cpu_layer_t *y, uint32_t sample) {
  size_t row = (size_t)y->l->pos * y->l->n;
  qr_cpu_operand(s, y->dither_be, s->mem->a, s->mem->e7, sample * row, y->chunk * row, 64, true);
}

/* The product of m rows of packed errors and the weights of n inputs from col on, but for where it
   goes. */
static qr_cpu_gemm_t errors_product(const qr_cpu_step_t *s, const qr_cpu_layer_t *y, uint32_t m,
                                    uint32_t n, uint32_t col) {
  return (qr_cpu_gemm_t){.m = m,
                         .n = n,
                         .k4 = y->l->n / 4,
                         .a = s->mem->a,
                         .row = y->err_row,
                         .step = y->err_step,
                         .b = s->mem->b + col / QR_CPU_PANEL * y->err_panel_sz,
                         .panel_sz = y->err_panel_sz,
                         .init = qr_cpu_step_first(s)->init + col};
}

/* Errors of the layer before, which is dense as this one is, from a chunk. */
static void dense_errors(qr_cpu_step_t *s, const qr_cpu_stage_t *arg, uint32_t sample) {
  const qr_cpu_layer_t *y = arg->y;
  uint32_t k = y->l->k;
  int32_t *e = arg->err->e_below + sample * (size_t)k;
  for (uint32_t col = 0; col < k; col += QR_CPU_BLOCK_COLS) {
    uint32_t cols = least(k - col, QR_CPU_BLOCK_COLS);
    qr_cpu_gemm_t g = errors_product(s, y, y->chunk, cols, col);
    g.c = s->mem->c;
    g.ldc = QR_CPU_BLOCK_COLS;
    qr_cpu_step_gemm(s, y->err, &g, sample, col);
    s->magnitudes |=
        s->kern->mask(e + col, k, g.c, g.ldc, qr_cpu_inputs(s, y, sample) + col, k, y->chunk, cols);
    qr_cpu_lap(&s->laps, QR_CPU_PHASE_ERROR);
  }
}

/* The same of a convolution: the product of each tap is added where the tap read its inputs. */
static void conv_errors(qr_cpu_step_t *s, const qr_cpu_stage_t *arg, uint32_t sample) {
  const qr_cpu_layer_t *y = arg->y;
  const qr_layer_t *l = y->l;
  uint32_t rows = y->chunk * l->pos, places = y->chunk * l->in_h * l->in_w;
  int32_t *e = arg->err->e_below + sample * (size_t)y->in_sz;
  if (y->unread) memset(e, 0, (size_t)places * l->in_c * sizeof *e);
  for (uint32_t t = 0; t < QR_CPU_TAPS; t++) {
    uint32_t col = t * l->in_c;
    qr_cpu_gemm_t g = errors_product(s, y, rows, l->in_c, col);
    g.c = e;
    g.c_row = y->spread + (size_t)t * rows;
    g.add = y->unread || !(y->first_taps >> t & 1);
    qr_cpu_step_gemm(s, y->err, &g, sample * l->pos, col);
  }
  s->magnitudes |=
      s->kern->mask(e, l->in_c, e, l->in_c, qr_cpu_inputs(s, y, sample), l->in_c, places, l->in_c);
  qr_cpu_lap(&s->laps, QR_CPU_PHASE_ERROR);
}

/* Panels of dithered errors from a chunk, four samples side by side; those of a dense layer are
   the chunk's part of what holds the batch. */
static void gradient_errors(qr_cpu_step_t *s, const qr_cpu_layer_t *y, uint32_t sample) {
  const qr_layer_t *l = y->l;
  size_t row = (size_t)l->pos * l->n, panel_sz = y->grad_panel_sz;
  int8_t *strip = s->mem->strip,
         *d = y->conv ? s->mem->d : qr_cpu_step_first(s)->d + sample / 4 * (size_t)64;
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
      s->kern->pack(qr_cpu_step_first(s)->at + (sample + i) / 4 * (size_t)64, y->grad_panel_sz,
                    strip, y->in_part / 4, y->l->k, 4 * in, in, 64);
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

/* Adds the members' parts of a convolution's gradient to the first one's, rows of it. */
static void gather_gradient(qr_cpu_step_t *s, const qr_cpu_layer_t *y, uint32_t row,
                            uint32_t rows) {
  const qr_cpu_step_t *members = s - s->member;
  size_t at = row * (size_t)y->l->n, cnt = rows * (size_t)y->l->n;
  int32_t *g = members->mem->g + at;
  for (uint32_t m = 1; m < s->member_cnt; m++) {
    const int32_t *part = members[m].mem->g + at;
    for (size_t i = 0; i < cnt; i++) g[i] += part[i];
  }
}

/* A block of the gradient and its part of the digest: of a convolution it is there, of a dense
   layer it is made here. Returns it and the distance of its rows. */
static const int32_t *gradient_block(qr_cpu_step_t *s, const qr_cpu_layer_t *y, uint32_t row,
                                     uint32_t col, uint32_t rows, uint32_t cols, size_t *ldc) {
  const qr_cpu_mem_t *first = qr_cpu_step_first(s);
  if (y->conv) {
    const int32_t *c = first->g + (size_t)row * y->l->n + col;
    *ldc = y->l->n;
    s->digest += s->kern->digest(c, *ldc, rows, cols, s->mem->key + col, y->l->n,
                                 s->mem->rho + row / QR_CPU_TILE);
    qr_cpu_lap(&s->laps, QR_CPU_PHASE_DIGEST);
    return c;
  }
  qr_cpu_gemm_t g = {.m = rows,
                     .n = cols,
                     .k4 = y->grad_k4,
                     .a = first->at,
                     .row = y->grad_row + row,
                     .step = y->grad_step,
                     .b = first->d + col / QR_CPU_PANEL * y->grad_panel_sz,
                     .panel_sz = y->grad_panel_sz,
                     .init = first->d_init + col,
                     .c = s->mem->c,
                     .ldc = QR_CPU_BLOCK_COLS};
  qr_cpu_step_gemm(s, y->grad, &g, row, col);
  *ldc = g.ldc;
  return g.c;
}

/* Digest of the gradient and update of the masters, block by block; a dense layer's gradient lives
   no longer than its block. */
static void update_weights(qr_cpu_step_t *s, const qr_cpu_stage_t *arg) {
  const qr_cpu_layer_t *y = arg->y;
  const qr_layer_t *l = y->l;
  int16_t *masters = (void *)(s->model + l->w_off);
  qr_ars_t draws = qr_cpu_stream(s, QR_STREAM_ROUND_W, y->weight_upd->layer);
  uint32_t most = 64 * 64 * y->grad->k; /* the network's limits keep it within 31 bits */
  for (uint32_t row = s->member * QR_CPU_BLOCK_ROWS; row < l->k;
       row += s->member_cnt * QR_CPU_BLOCK_ROWS) {
    uint32_t rows = least(l->k - row, QR_CPU_BLOCK_ROWS);
    if (y->conv) gather_gradient(s, y, row, rows);
    s->kern->draw(s->mem->r, &draws, row * l->n / 16,
                  (uint32_t)qr_align_up(((size_t)rows * l->n + 15) / 16, 4));
    qr_cpu_lap(&s->laps, QR_CPU_PHASE_UPDATE);
    for (uint32_t col = 0; col < l->n; col += QR_CPU_BLOCK_COLS) {
      uint32_t cols = least(l->n - col, QR_CPU_BLOCK_COLS);
      size_t ldc;
      const int32_t *c = gradient_block(s, y, row, col, rows, cols, &ldc);
      s->kern->update(masters + (size_t)row * l->n + col, l->n, c, ldc, s->mem->r + col, l->n, rows,
                      cols, arg->shift, most);
      qr_cpu_lap(&s->laps, QR_CPU_PHASE_UPDATE);
    }
  }
}

/* The chunks first whose errors were made last and lie nearest. */
static void run_chunks(qr_cpu_step_t *s, const qr_cpu_stage_t *arg) {
  const qr_cpu_layer_t *y = arg->y;
  const qr_layer_t *l = y->l;
  s->magnitudes = 0;
  memset(s->mem->sum, 0, l->n * sizeof *s->mem->sum);
  memset(s->mem->d_init, 0, l->n * sizeof *s->mem->d_init);
  if (y->conv) memset(s->mem->g, 0, (size_t)l->k * l->n * sizeof *s->mem->g);
  for (uint32_t i = s->member * y->chunk; i < s->plan->batch; i += s->member_cnt * y->chunk) {
    uint32_t sample = s->plan->batch - y->chunk - i;
    round_chunk(s, arg, sample);
    gradient_errors(s, y, sample);
    gradient_inputs(s, y, sample);
    if (y->conv) gradient_chunk(s, y);
    if (!y->err) continue;
    error_operand(s, y, sample);
    (y->conv ? conv_errors : dense_errors)(s, arg, sample);
  }
}

/* Adds up what the members made of their chunks. */
static void gather_chunks(qr_cpu_step_t *s, const qr_cpu_layer_t *y, qr_cpu_error_t *err) {
  err->magnitudes = s->magnitudes;
  for (uint32_t i = 1; i < s->member_cnt; i++) {
    err->magnitudes |= s[i].magnitudes;
    for (uint32_t j = 0; j < y->l->n; j++) {
      s->mem->sum[j] += s[i].mem->sum[j];
      if (!y->conv) s->mem->d_init[j] += s[i].mem->d_init[j];
    }
  }
}

void qr_cpu_step_backward(qr_cpu_step_t *s, const qr_cpu_layer_t *y, qr_cpu_error_t *err) {
  qr_cpu_stage_t arg = {.y = y, .err = err, .shift = qr_step_err_shift(err->magnitudes)};
  err->frac += y->quant->p0 - arg.shift;
  if (y->err) {
    qr_cpu_step_run(s, pack_weights, &arg);
    qr_cpu_digest_begin(s, y->err);
  }
  qr_cpu_step_run(s, run_chunks, &arg);
  if (y->err) qr_cpu_digest_end(s, y->err);
  gather_chunks(s, y, err);
  arg.shift = qr_cpu_step_shift(s, y->weight_upd, err->frac);
  qr_cpu_digest_begin(s, y->grad);
  qr_cpu_step_run(s, update_weights, &arg);
  qr_cpu_digest_end(s, y->grad);
  qr_cpu_step_biases(s, y, err->frac);
  int32_t *e = err->e;
  err->e = err->e_below;
  err->e_below = e;
}
