#include "app/bench_float.h"

#include <stdlib.h>

#include "base/err.h"
#include "port/clock.h"

#define OBS_ONE 32.0f       /* inputs have five bits of fraction */
#define TARGET_ONE 65536.0f /* Q16 */

int qr_bench_float_init(qr_bench_float_t *f, const qr_rival_f32_t *ops, const qr_bench_task_t *t,
                        uint32_t step_cnt) {
  const qr_net_t *net = &t->chain->nets[t->task];
  size_t rows = (size_t)step_cnt * net->spec.batch, cnt = rows * net->in_sz;
  *f = (qr_bench_float_t){.ops = ops, .task = t, .step_cnt = step_cnt};
  f->obs = malloc(cnt * sizeof *f->obs);
  f->target = malloc(rows * sizeof *f->target);
  int err = f->obs && f->target ? ops->init(net, t->genesis.model->bytes, &f->step) : QR_ERR_NOMEM;
  if (err) {
    qr_bench_float_fini(f);
    return err;
  }
  for (size_t i = 0; i < cnt; i++) f->obs[i] = (float)t->obs[i] / OBS_ONE;
  for (size_t i = 0; i < rows; i++) f->target[i] = (float)t->target[i] / TARGET_ONE;
  return QR_OK;
}

void qr_bench_float_fini(qr_bench_float_t *f) {
  if (!f->ops) return;
  if (f->step) f->ops->fini(f->step);
  free(f->obs);
  free(f->target);
  memset(f, 0, sizeof *f);
}

void qr_bench_float_run(qr_bench_float_t *f, double *ms) {
  const qr_net_t *net = &f->task->chain->nets[f->task->task];
  uint64_t began = qr_clock_mono_ns();
  for (uint32_t k = 0; k < f->step_cnt; k++) {
    size_t row = (size_t)k * net->spec.batch;
    f->ops->step(f->step, f->obs + row * net->in_sz, f->task->act + row, f->target + row, 0);
  }
  *ms = (double)(qr_clock_mono_ns() - began) * 1e-6 / f->step_cnt;
}
