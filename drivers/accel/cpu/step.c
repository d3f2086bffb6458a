#include "step.h"

#include "step/fixed.h"

qr_ars_t qr_cpu_stream(const qr_cpu_step_t *s, enum qr_stream purpose, uint32_t number) {
  return qr_ars_init(s->sigma, qr_stream_word(purpose, number, s->k));
}

const int8_t *qr_cpu_inputs(const qr_cpu_step_t *s, const qr_cpu_layer_t *y, uint32_t sample) {
  const int8_t *x = y == s->plan->layers ? s->obs : s->mem->x + y->x_at;
  return x + (size_t)sample * y->in_sz;
}

void qr_cpu_operand(qr_cpu_step_t *s, const qr_step_op_t *op, int8_t *dst, const int8_t *src,
                    size_t at, size_t cnt, int8_t plus, bool bounded) {
  qr_cpu_dither_t d = {op->p0, plus, bounded};
  qr_ars_t draws = qr_cpu_stream(s, (enum qr_stream)op->p1, op->layer);
  s->kern->dither(dst, src, at, cnt, &d, &draws);
  qr_cpu_lap(&s->laps, QR_CPU_PHASE_DITHER);
}

/* Key words of a band and the factors of all bands, in the memory that holds those of one product
   at a time. */
qr_cpu_digest_t qr_cpu_digest_begin(qr_cpu_step_t *s, const qr_step_op_t *op) {
  qr_cpu_digest_t d = {.n = op->n};
  if (op->digest == QR_STEP_NO_DIGEST) return d;
  qr_ars_t key = qr_cpu_stream(s, QR_STREAM_DIGEST_K, op->digest),
           rho = qr_cpu_stream(s, QR_STREAM_DIGEST_R, op->digest);
  uint32_t bands = op->m / QR_CPU_TILE;
  s->kern->draw(s->mem->key, &key, 0, (uint32_t)qr_align_up(op->n * QR_CPU_TILE / 4, 4));
  s->kern->draw(s->mem->rho, &rho, 0, (uint32_t)qr_align_up(bands, 8) / 2);
  for (uint32_t i = 0; i < bands; i++) s->mem->rho[i] |= 1;
  d.sum = &s->digests[op->digest];
  d.key = s->mem->key;
  d.rho = s->mem->rho;
  *d.sum = 0;
  qr_cpu_lap(&s->laps, QR_CPU_PHASE_DIGEST);
  return d;
}

void qr_cpu_step_gemm(qr_cpu_step_t *s, qr_cpu_gemm_t *g, const qr_cpu_digest_t *d, uint32_t row,
                      uint32_t col) {
  if (d->sum) {
    g->key = d->key + col;
    g->ldk = d->n;
    g->rho = d->rho + row / QR_CPU_TILE;
    g->digest = d->sum;
  }
  s->kern->gemm(g);
  qr_cpu_lap(&s->laps, QR_CPU_PHASE_PRODUCT);
}

int qr_cpu_step_shift(const qr_cpu_step_t *s, const qr_step_op_t *op, int64_t frac) {
  return (int)qr_clamp64(frac + op->p0 + s->lr_shift, -31, 62);
}

void qr_cpu_step_biases(qr_cpu_step_t *s, const qr_cpu_layer_t *y, int64_t frac) {
  const qr_step_op_t *op = y->bias_upd;
  int32_t *bias = (void *)(s->model + y->l->b_off), lim = op->p1;
  qr_ars_t draws = qr_cpu_stream(s, QR_STREAM_ROUND_B, op->layer);
  int shift = qr_cpu_step_shift(s, op, frac);
  s->kern->draw(s->mem->r, &draws, 0, (uint32_t)qr_align_up((op->n + 15) / 16, 4));
  for (uint32_t j = 0; j < op->n; j++) {
    int64_t v = bias[j] - qr_step_sr(s->mem->sum[j], shift, s->mem->r[j]);
    bias[j] = (int32_t)qr_clamp64(v, -lim, lim);
  }
  qr_cpu_lap(&s->laps, QR_CPU_PHASE_UPDATE);
}

void qr_cpu_step(qr_cpu_step_t *s) {
  const qr_cpu_layer_t *first = s->plan->layers, *last = first + s->plan->layer_cnt - 1;
  qr_cpu_error_t err = {.e = s->mem->e, .e_below = s->mem->e_below};
  for (const qr_cpu_layer_t *y = first; y < last; y++) qr_cpu_step_forward(s, y);
  qr_cpu_step_values(s, last);
  qr_cpu_step_td(s, &err);
  qr_cpu_step_last(s, last, &err);
  for (const qr_cpu_layer_t *y = last; y-- > first;) qr_cpu_step_backward(s, y, &err);
}
