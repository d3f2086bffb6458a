/* The training step of a task in float32 by a library, on the same minibatches. */
#ifndef QR_APP_BENCH_FLOAT_H
#define QR_APP_BENCH_FLOAT_H

#include "app/bench_rig.h"
#include "app/bench_rivals.h"

typedef struct {
  const qr_rival_f32_t *ops; /* NULL: nothing is held */
  qr_rival_step_t *step;
  const qr_bench_task_t *task;
  uint32_t step_cnt;
  float *obs, *target;
} qr_bench_float_t;

/* The genesis model, and the first step_cnt minibatches of t as real values. */
int qr_bench_float_init(qr_bench_float_t *f, const qr_rival_f32_t *ops, const qr_bench_task_t *t,
                        uint32_t step_cnt) QR_WARN_UNUSED;
void qr_bench_float_fini(qr_bench_float_t *f); /* a zeroed one may be given */

/* The step_cnt steps once; the time of one. */
void qr_bench_float_run(qr_bench_float_t *f, double *ms);

#endif
