/* One training step as its program says, fused: a layer's stages run on one chunk of samples after
   the other, so that dithered operands, products and rounded errors never leave the near caches.
   No allocation: the caller sizes and lends all memory. */
#ifndef QR_ACCEL_CPU_STEP_H
#define QR_ACCEL_CPU_STEP_H

#include "phase.h"
#include "plan.h"

typedef struct {
  const qr_cpu_kern_t *kern;
  const qr_cpu_plan_t *plan;
  const qr_cpu_mem_t *mem;
  uint8_t *model; /* 4-byte aligned; updated in place */
  const int8_t *obs;
  const uint8_t *act;
  const int32_t *target;
  const qr_hash_t *sigma;
  uint32_t k, lr_shift;
  uint64_t *digests, *td_abs_sum; /* out */
  qr_cpu_laps_t laps;
} qr_cpu_step_t;

void qr_cpu_step(qr_cpu_step_t *s);

/* The parts of it, for step.c alone. The error tensor E of the layer in progress travels between
   them: where it lies, the OR of its magnitudes, its fraction bits. */
typedef struct {
  int32_t *e, *e_below;
  uint32_t magnitudes;
  int64_t frac;
} qr_cpu_error_t;

/* All layers but the last, one at a time. */
void qr_cpu_step_forward(qr_cpu_step_t *s, const qr_cpu_layer_t *y);
void qr_cpu_step_backward(qr_cpu_step_t *s, const qr_cpu_layer_t *y, qr_cpu_error_t *err);

/* The last layer: Q values, the error of the taken actions' values, the way back. */
void qr_cpu_step_values(qr_cpu_step_t *s, const qr_cpu_layer_t *y);
void qr_cpu_step_td(qr_cpu_step_t *s, qr_cpu_error_t *err);
void qr_cpu_step_last(qr_cpu_step_t *s, const qr_cpu_layer_t *y, qr_cpu_error_t *err);

/* Shift of an update; beyond the ends of what it returns SR is the same everywhere. */
int qr_cpu_step_shift(const qr_cpu_step_t *s, const qr_step_op_t *op, int64_t frac);

/* Updates a layer's biases by mem->sum. */
void qr_cpu_step_biases(qr_cpu_step_t *s, const qr_cpu_layer_t *y, int64_t frac);

/* Stream of an op's draws. */
qr_ars_t qr_cpu_stream(const qr_cpu_step_t *s, enum qr_stream purpose, uint32_t number);

/* Inputs of a layer from this sample on. */
const int8_t *qr_cpu_inputs(const qr_cpu_step_t *s, const qr_cpu_layer_t *y, uint32_t sample);

/* Elements at .. at + cnt of src as an operand: dithered as op says. */
void qr_cpu_operand(qr_cpu_step_t *s, const qr_step_op_t *op, int8_t *dst, const int8_t *src,
                    size_t at, size_t cnt, int8_t plus, bool bounded);

/* What a product's digest takes. */
typedef struct {
  uint64_t *sum; /* NULL: not digested */
  const uint32_t *key;
  const uint64_t *rho;
  uint32_t n;
} qr_cpu_digest_t;

qr_cpu_digest_t qr_cpu_digest_begin(qr_cpu_step_t *s, const qr_step_op_t *op);

/* Makes a block of the product, whose first element is (row, col), and its part of the digest. */
void qr_cpu_step_gemm(qr_cpu_step_t *s, qr_cpu_gemm_t *g, const qr_cpu_digest_t *d, uint32_t row,
                      uint32_t col);

#endif
