/* The last layer: dense, few outputs, neither dithered nor digested; and the error that it is
   trained on. */
#include "step.h"
#include "step/fixed.h"

static uint32_t least(uint32_t a, uint32_t b) { return a < b ? a : b; }

/* Compute copies of the weights [K][N], and their transpose in mem->b. */
static void make_weights(qr_cpu_step_t *s, const qr_cpu_layer_t *y) {
  const qr_layer_t *l = y->l;
  int8_t *w7 = s->mem->w7 + y->w7_at;
  s->kern->w7(w7, (const void *)(s->model + l->w_off), (size_t)l->k * l->n, QR_STEP_I7_MIN,
              QR_STEP_I7_MAX);
  for (uint32_t i = 0; i < l->k; i++) {
    for (uint32_t j = 0; j < l->n; j++) s->mem->b[j * (size_t)l->k + i] = w7[i * l->n + j];
  }
  qr_cpu_lap(&s->laps, QR_CPU_PHASE_PACK);
}

void qr_cpu_step_values(qr_cpu_step_t *s, const qr_cpu_layer_t *y) {
  const int32_t *bias = (const void *)(s->model + y->l->b_off);
  uint32_t n = y->l->n, batch = s->plan->batch;
  make_weights(s, y);
  s->kern->thin(s->mem->q, qr_cpu_inputs(s, y, 0), s->mem->b, batch, n, y->l->k);
  qr_cpu_lap(&s->laps, QR_CPU_PHASE_PRODUCT);
  for (uint32_t j = 0; j < n; j++) {
    uint32_t b = (uint32_t)qr_step_bias_at(bias[j], y->out->p1);
    for (uint32_t i = 0; i < batch; i++) /* mod 2^32 */
      s->mem->q[i * n + j] = (int32_t)(((uint32_t)s->mem->q[i * n + j] + b) << y->out->p0);
  }
  qr_cpu_lap(&s->laps, QR_CPU_PHASE_ACT);
}

void qr_cpu_step_td(qr_cpu_step_t *s, qr_cpu_error_t *err) {
  uint32_t n = s->plan->net->spec.action_cnt, batch = s->plan->batch;
  uint64_t sum = 0;
  memset(err->e, 0, (size_t)batch * n * sizeof *err->e);
  for (uint32_t i = 0; i < batch; i++) {
    size_t at = (size_t)i * n + s->act[i];
    int64_t d = (int64_t)s->mem->q[at] - s->target[i];
    err->e[at] = (int32_t)qr_clamp64(d, -QR_STEP_TD_LIM, QR_STEP_TD_LIM);
    sum += qr_step_abs32(err->e[at]);
    err->magnitudes |= qr_step_abs32(err->e[at]);
  }
  *s->td_abs_sum = sum;
  qr_cpu_lap(&s->laps, QR_CPU_PHASE_ERROR);
}

/* Rows of n bytes as rows of whole groups. */
static void widen(int8_t *dst, const int8_t *src, uint32_t rows, uint32_t n, uint32_t n4) {
  memset(dst, 0, (size_t)rows * n4);
  for (uint32_t i = 0; i < rows; i++) {
    for (uint32_t j = 0; j < n; j++) dst[i * (size_t)n4 + j] = src[i * (size_t)n + j];
  }
}

/* Errors of the layer before. */
static void errors_below(qr_cpu_step_t *s, const qr_cpu_layer_t *y, qr_cpu_error_t *err) {
  uint32_t n = y->l->n, batch = s->plan->batch;
  widen(s->mem->a, s->mem->e7, batch, n, y->n4);
  widen(s->mem->b, s->mem->w7 + y->w7_at, y->l->k, n, y->n4);
  qr_cpu_lap(&s->laps, QR_CPU_PHASE_PACK);
  err->magnitudes = s->kern->thin_back(err->e_below, s->mem->a, s->mem->b, qr_cpu_inputs(s, y, 0),
                                       batch, y->l->k, y->n4 / 4);
  qr_cpu_lap(&s->laps, QR_CPU_PHASE_PRODUCT);
}

/* Weight gradient and update. The product is made the other way round, D^T . A, so that its rows
   are few instead of its columns. */
static void update_weights(qr_cpu_step_t *s, const qr_cpu_layer_t *y, int64_t frac) {
  const qr_layer_t *l = y->l;
  uint32_t batch = s->plan->batch, m = (uint32_t)qr_align_up(l->n, QR_CPU_TILE);
  int16_t *masters = (void *)(s->model + l->w_off);
  qr_ars_t draws = qr_cpu_stream(s, QR_STREAM_ROUND_W, y->weight_upd->layer);
  int shift = qr_cpu_step_shift(s, y->weight_upd, frac);
  s->kern->pack(s->mem->d, y->grad_panel_sz, s->mem->e7, batch / 4, l->n, 4 * (size_t)l->n, l->n,
                64);
  s->kern->pack(s->mem->at, y->grad_panel_sz, qr_cpu_inputs(s, y, 0), batch / 4, l->k,
                4 * (size_t)l->k, l->k, 0);
  memset(s->mem->init, 0, l->k * sizeof *s->mem->init);
  s->kern->sums(s->mem->init, s->mem->at, y->grad_panel_sz, batch / 4, l->k);
  qr_cpu_lap(&s->laps, QR_CPU_PHASE_PACK);
  for (uint32_t row = 0; row < l->k; row += QR_CPU_BLOCK_COLS) {
    uint32_t rows = least(l->k - row, QR_CPU_BLOCK_COLS), at = row * l->n;
    qr_cpu_gemm_t g = {.m = m,
                       .n = rows,
                       .k4 = batch / 4,
                       .a = s->mem->d,
                       .row = y->grad_row,
                       .step = y->grad_step,
                       .b = s->mem->at + row / QR_CPU_PANEL * y->grad_panel_sz,
                       .panel_sz = y->grad_panel_sz,
                       .init = s->mem->init + row,
                       .c = s->mem->c,
                       .ldc = QR_CPU_BLOCK_COLS};
    s->kern->gemm(&g);
    qr_cpu_lap(&s->laps, QR_CPU_PHASE_PRODUCT);
    for (uint32_t i = 0; i < rows; i++) {
      for (uint32_t j = 0; j < l->n; j++)
        s->mem->g[i * l->n + j] = s->mem->c[j * QR_CPU_BLOCK_COLS + i];
    }
    s->kern->draw(s->mem->r, &draws, at / 16, (uint32_t)qr_align_up(rows * l->n, 64) / 16);
    s->kern->update(masters + at, 0, s->mem->g, 0, s->mem->r, 0, 1, rows * l->n, shift,
                    64 * 64 * batch);
    qr_cpu_lap(&s->laps, QR_CPU_PHASE_UPDATE);
  }
}

void qr_cpu_step_last(qr_cpu_step_t *s, const qr_cpu_layer_t *y, qr_cpu_error_t *err) {
  int shift = qr_step_err_shift(err->magnitudes);
  qr_cpu_round_t r = {shift, QR_STEP_I7_MIN, QR_STEP_I7_MAX};
  qr_ars_t draws = qr_cpu_stream(s, QR_STREAM_ROUND_E, y->quant->layer);
  int32_t *e = err->e;
  err->frac += y->quant->p0 - shift;
  memset(s->mem->sum, 0, y->l->n * sizeof *s->mem->sum);
  s->kern->round(s->mem->e7, s->mem->sum, e, 0, s->plan->batch, y->l->n, &r, &draws);
  qr_cpu_lap(&s->laps, QR_CPU_PHASE_ROUND);
  errors_below(s, y, err);
  update_weights(s, y, err->frac);
  qr_cpu_step_biases(s, y, err->frac);
  err->e = err->e_below;
  err->e_below = e;
}
