/* The forward pass without dither. The weights of a model are packed once and serve any number of
   passes; samples go through all layers some at a time. No allocation. */
#ifndef QR_ACCEL_CPU_FORWARD_H
#define QR_ACCEL_CPU_FORWARD_H

#include "plan.h"

typedef struct {
  const qr_cpu_kern_t *kern;
  const qr_cpu_plan_t *plan;
  const qr_cpu_mem_t *mem;
} qr_cpu_forward_t;

/* Packs the weights and scales the biases of model (4-byte aligned). */
void qr_cpu_forward_pack(const qr_cpu_forward_t *f, const uint8_t *model);

/* rows <= plan->fwd_rows samples: obs i8[rows][in_sz] -> q i32[rows][action_cnt]. */
void qr_cpu_forward_run(const qr_cpu_forward_t *f, const int8_t *obs, uint32_t rows, int32_t *q);

#endif
