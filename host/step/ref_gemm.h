/* Private to the reference: the product with its addressing modes, and the scatter that undoes
   convolution addressing. */
#ifndef QR_STEP_REF_GEMM_H
#define QR_STEP_REF_GEMM_H

#include "hls/common/qr_step_abi.h"

#include <stddef.h>

/* Operands widened to 16 bits with the inner dimension contiguous: a [m][k], b [n][k]. */
typedef struct {
  int16_t *a, *b;
} qr_ref_pack_t;

/* c i32[m][n] = A . B as the op's m, n, k, flags and geo say (hls/common/qr_step_abi.h). */
void qr_ref_gemm(const qr_ref_pack_t *pack, const qr_step_op_t *op, const int8_t *a,
                 const int8_t *b, int32_t *c);

/* x i32[rows/pos][h][w][c] = sum of the columns of col i32[rows][9*c] that were read from each
   element. */
void qr_ref_col2im(const qr_step_geo_t *g, uint32_t rows, const int32_t *col, int32_t *x);

#endif
