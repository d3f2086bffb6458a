/* Whether a step program stays within its buffers. Drivers check a program once, when it is loaded,
   so that running it needs no bounds. */
#ifndef QR_STEP_CHECK_H
#define QR_STEP_CHECK_H

#include "base/types.h"
#include "hls/common/qr_step_abi.h"

/* 0, or QR_ERR_ARG: an op leaves its buffers, names a stream or a shift that no lowering makes, or
   writes to the minibatch. Channels of convolutions come in eights. */
int qr_step_check(const qr_step_prog_t *prog) QR_WARN_UNUSED;

/* Elements that A has in memory (before convolution addressing) if m, n, k, flags and geo of the op
   are those of a product whose sums fit 32 bits for elements in [-64, 63], or 0. */
uint64_t qr_step_check_gemm(const qr_step_op_t *op);

#endif
