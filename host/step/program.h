/* Lowers a Q-network to the linear step program (hls/common/qr_step_abi.h). Two programs per
   network: the training step, and nothing else: a forward pass without dither is not a program but
   qr_accel's forward job on the same layers. */
#ifndef QR_STEP_PROGRAM_H
#define QR_STEP_PROGRAM_H

#include "hls/common/qr_step_abi.h"
#include "step/net.h"

/* Lowers one training step of net. Never fails for a net that qr_net_init accepted (limits are
 * checked there). */
void qr_step_lower(const qr_net_t *net, qr_step_prog_t *prog);

/* H("quarry.program" | every field of the header, of the buf_cnt buffers and of the op_cnt ops, in
   order, little-endian). Part of the rules hash. */
qr_hash_t qr_step_prog_hash(const qr_step_prog_t *prog);

/* c_k = H("quarry.step" | c_(k-1) | digest_cnt u64 little-endian). */
qr_hash_t qr_step_trace_next(const qr_hash_t *prev, const uint64_t *digests, uint32_t digest_cnt);

/* The replay indices of step k: out[0..batch) distinct values below n (n >= batch): words 0, 1, 2..
   of stream (BATCH, 0, k) of sigma, each mapped by qr_philox_bound to [0, n), skipping values
   already taken. scratch: qr_step_batch_scratch_sz(n) bytes, any content, left undefined. */
size_t qr_step_batch_scratch_sz(uint32_t n);
void qr_step_batch(const qr_hash_t *sigma, uint32_t k, uint32_t n, uint32_t batch, uint32_t *out,
                   void *scratch);

/* The TD target of one transition, Q16: done ? reward : reward + ((gamma * clip(max_q, -q_clip,
 * q_clip)) >> 16), 64-bit. */
int32_t qr_step_td_target(int32_t reward, bool done, int32_t max_q, uint32_t gamma_q16,
                          int32_t q_clip);

#endif
