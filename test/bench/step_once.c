/* One training step of a task of devnet, for tools that watch a program while it runs:
   step_once TASK OPTIONS, OPTIONS of the CPU driver. Prints the multiply-accumulates of the step.
   What is to be watched is the function one_step alone. */
#include <stdio.h>
#include <stdlib.h>

#include "chain/params.h"
#include "port/drivers.h"
#include "step/program.h"

typedef struct {
  const qr_accel_ops_t *ops;
  qr_accel_queue_t *queue;
} device_t;

__attribute__((noinline)) int one_step(device_t *d, qr_accel_job_t *job);
int one_step(device_t *d, qr_accel_job_t *job) {
  int err = d->ops->submit(d->queue, job);
  while (!err && !job->finished) d->ops->poll(d->queue);
  return err ? err : job->err;
}

static int run(const qr_net_t *net, const char *options) {
  char why[256] = "out of memory, or the driver cannot run the step";
  static qr_step_prog_t prog;
  static const qr_hash_t sigma = {{5}};
  device_t d = {.ops = qr_accel_driver("cpu")};
  qr_accel_t *accel;
  uint32_t id;
  uint64_t digests[QR_STEP_GEMM_MAX_CNT], td_abs_sum;
  size_t batch = net->spec.batch, cnt = batch * net->in_sz;
  uint8_t *model = malloc(net->model_sz), *act = calloc(batch, 1);
  int8_t *obs = malloc(cnt);
  int32_t *target = calloc(batch, sizeof *target);
  qr_step_lower(net, &prog);
  if (!d.ops || d.ops->open(options, &accel, why, sizeof why) || !model || !act || !obs ||
      !target || d.ops->load(accel, net, &prog, &id) || d.ops->queue_open(accel, &d.queue)) {
    fprintf(stderr, "step_once: %s\n", why);
    return 1;
  }
  qr_model_init(net, &sigma, model);
  for (size_t i = 0; i < cnt; i++) obs[i] = (int8_t)((int)(i * 2654435761u >> 25) % 128 - 64);
  qr_accel_job_t job = {.kind = QR_ACCEL_ATTEMPT,
                        .prog = id,
                        .model_in = model,
                        .model_out = model,
                        .sigma = sigma,
                        .step_cnt = 1,
                        .obs = obs,
                        .act = act,
                        .target = target,
                        .digests = digests,
                        .td_abs_sum = &td_abs_sum};
  int err = one_step(&d, &job);
  if (!err) printf("%llu\n", (unsigned long long)net->mac_cnt_step);
  d.ops->queue_close(d.queue);
  d.ops->close(accel);
  free(model);
  free(act);
  free(obs);
  free(target);
  return err ? 1 : 0;
}

int main(int argc, char **argv) {
  static qr_chain_cfg_t chain;
  static qr_params_t p;
  char why[256] = "";
  if (argc != 3 || !qr_params_profile("devnet", &p) ||
      qr_params_init(&p, &chain, why, sizeof why)) {
    fprintf(stderr, "usage: step_once TASK OPTIONS %s\n", why);
    return 2;
  }
  for (uint32_t t = 0; t < p.task_cnt; t++) {
    if (!strcmp(argv[1], p.tasks[t].name)) return run(&chain.nets[t], argv[2]);
  }
  fprintf(stderr, "step_once: there is no task '%s'\n", argv[1]);
  return 2;
}
