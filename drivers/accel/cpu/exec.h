/* Runs a step program on the kernels of one instruction set. No allocation: the caller sizes and
   lends all memory. */
#ifndef QR_ACCEL_CPU_EXEC_H
#define QR_ACCEL_CPU_EXEC_H

#include "kern.h"

/* Whether every op stays within its buffers, names known streams and leaves the minibatch alone.
   Returns 0 or QR_ERR_ARG. */
int qr_cpu_prog_check(const qr_step_prog_t *prog);

/* Working memory of products and biases, in bytes and items; needs of several programs combine by
   maximum. */
typedef struct {
  size_t rows_sz, pack_a_sz, pack_b_sz, sum_cnt, bias_cnt;
} qr_cpu_need_t;

typedef struct {
  const qr_cpu_kern_t *kern;
  int8_t *rows;    /* rows of a convolution, or of an A whose inner size is no multiple of 4 */
  uint8_t *pack_a; /* panels of a transposed A */
  uint8_t *pack_b;
  int32_t *sum;  /* of A's rows */
  int32_t *bias; /* at the accumulator's scale, or a bias gradient */
} qr_cpu_work_t;

/* Grows need to what op takes; ops without working memory change nothing. */
void qr_cpu_need_op(qr_cpu_need_t *need, const qr_step_op_t *op);

/* Work on rows of a product as soon as they are complete, while a near cache holds them. */
typedef struct {
  void (*rows)(void *arg, uint32_t row, uint32_t cnt);
  void *arg;
  uint32_t unit; /* row and cnt are multiples of this, and row one of QR_CPU_DIGEST_ROWS */
  bool reuse;    /* nothing else reads C: all rows in turn go to its beginning */
} qr_cpu_after_t;

/* C = A . B of a QR_OP_GEMM op whose B is already in panels; after may be NULL. */
void qr_cpu_product(const qr_cpu_work_t *w, const qr_step_op_t *op, const int8_t *a,
                    const uint8_t *panels, int32_t *c, const qr_cpu_after_t *after);

/* out = biases at the accumulator's scale; shift >= 1. */
void qr_cpu_bias_scale(int32_t *out, const int32_t *bias, uint32_t n, int shift);

/* Last layer: q = (acc + bias) << shift, modulo 2^32 as the reference has it. */
void qr_cpu_q_out(int32_t *q, const int32_t *acc, const int32_t *bias, uint32_t m, uint32_t n,
                  int shift);

/* Bytes of all scratch buffers of a program. */
size_t qr_cpu_scratch_sz(const qr_step_prog_t *prog);

/* One training step, in place on model. */
typedef struct {
  const qr_step_prog_t *prog;
  uint8_t *scratch; /* qr_cpu_scratch_sz bytes, 64-byte aligned */
  uint8_t *model;   /* 4-byte aligned */
  const int8_t *obs;
  const uint8_t *act;
  const int32_t *target;
  const qr_hash_t *sigma;
  uint32_t k, lr_shift;
  uint64_t *digests, *td_abs_sum; /* out */
} qr_cpu_step_t;

void qr_cpu_step(const qr_cpu_work_t *w, const qr_cpu_step_t *s);

#endif
