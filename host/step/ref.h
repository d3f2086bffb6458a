/* The CPU reference: plain C that DEFINES every op of the step program, and the forward pass used
   for acting, evaluation and target values. Slow and obvious on purpose; drivers are tested against
   it. No allocation: footprint -> init. */
#ifndef QR_STEP_REF_H
#define QR_STEP_REF_H

#include "step/program.h"

typedef struct qr_ref qr_ref_t;

/* Bytes that a reference of net takes. */
size_t qr_ref_footprint(const qr_net_t *net);
/* Formats mem (64-byte aligned). net and prog are borrowed for the life of the reference. */
qr_ref_t *qr_ref_init(void *mem, const qr_net_t *net, const qr_step_prog_t *prog);

/* One training step, in place on model (net->model_sz bytes, 4-byte aligned).
   obs i8[batch][obs_sz], act u8[batch] (each < action_cnt), target i32[batch] Q16; sigma and k key
   all draws; lr_shift is added to every layer's own. digests: prog->digest_cnt words out.
   *td_abs_sum: sum over the batch of the absolute clipped TD errors. */
void qr_ref_step(qr_ref_t *r, uint8_t *model, const int8_t *obs, const uint8_t *act,
                 const int32_t *target, const qr_hash_t *sigma, uint32_t k, uint32_t lr_shift,
                 uint64_t *digests, uint64_t *td_abs_sum);

/* Q values without dither: obs i8[cnt][obs_sz] -> q i32[cnt][action_cnt], Q16, for any cnt. */
void qr_ref_forward(qr_ref_t *r, const uint8_t *model, const int8_t *obs, uint32_t cnt, int32_t *q);

/* The digest of an i32[m][n] product (n even), exposed for tests: slot t of step keyed (sigma, k).
 */
uint64_t qr_ref_digest(const int32_t *x, uint32_t m, uint32_t n, const qr_hash_t *sigma, uint32_t k,
                       uint32_t t);

/* For studies of operands: called after every product of a step with its operands as [m][k] and
   [n][k], and the product. NULL: nobody looks. */
typedef void (*qr_ref_seen_t)(void *arg, const qr_step_op_t *op, const int16_t *a, const int16_t *b,
                              const int32_t *c);
void qr_ref_watch(qr_ref_t *r, qr_ref_seen_t seen, void *arg);

/* Index of the largest of n values, the lowest index on ties. */
uint32_t qr_step_argmax(const int32_t *q, uint32_t n);

#endif
