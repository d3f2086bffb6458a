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
  qr_cpu_dither_t d = {op ? op->p0 : 0, plus, bounded};
  qr_ars_t draws = {0};
  if (op) draws = qr_cpu_stream(s, (enum qr_stream)op->p1, op->layer);
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

void qr_cpu_digest_block(qr_cpu_step_t *s, const qr_cpu_digest_t *d, const int32_t *c, size_t ldc,
                         uint32_t row, uint32_t col, uint32_t rows, uint32_t cols) {
  if (!d->sum) return;
  *d->sum += s->kern->digest(c, ldc, rows, cols, d->key + col, d->n, d->rho + row / QR_CPU_TILE);
  qr_cpu_lap(&s->laps, QR_CPU_PHASE_DIGEST);
}

/* E = the clipped error of the taken actions' Q values, else 0. */
static void td_error(qr_cpu_step_t *s, qr_cpu_error_t *err) {
  uint32_t n = s->plan->net->spec.action_cnt, batch = s->plan->batch;
  uint64_t sum = 0;
  err->magnitudes = 0;
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

void qr_cpu_step(qr_cpu_step_t *s) {
  const qr_cpu_plan_t *p = s->plan;
  qr_cpu_error_t err = {.e = s->mem->e, .e_below = s->mem->e_below};
  for (uint32_t i = 0; i < p->layer_cnt; i++) qr_cpu_step_forward(s, &p->layers[i]);
  td_error(s, &err);
  for (uint32_t i = p->layer_cnt; i-- > 0;) qr_cpu_step_backward(s, &p->layers[i], &err);
}
