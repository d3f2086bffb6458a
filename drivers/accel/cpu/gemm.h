/* One product of a caller's own, of any shape: packed and multiplied block by block. */
#ifndef QR_ACCEL_CPU_GEMM_H
#define QR_ACCEL_CPU_GEMM_H

#include "hls/common/qr_step_abi.h"
#include "phase.h"
#include "plan.h"

/* Whether a descriptor keeps to what port/accel.h says of a product. */
bool qr_cpu_gemm_check(const qr_step_op_t *op);

/* Grows sizes to the blocks of a product. */
void qr_cpu_gemm_need(qr_cpu_sizes_t *sizes);

typedef struct {
  const qr_cpu_kern_t *kern;
  const qr_cpu_mem_t *mem;
  const qr_step_op_t *op;
  const int8_t *a, *b;
  int32_t *c;
  qr_cpu_laps_t laps;
} qr_cpu_gemm_job_t;

/* Rows from row on, as many as one block has; returns the row after them. */
uint32_t qr_cpu_gemm_rows(qr_cpu_gemm_job_t *j, uint32_t row);

#endif
