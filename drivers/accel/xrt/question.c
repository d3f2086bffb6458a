#include "question.h"

#include <stdlib.h>

#include "base/err.h"
#include "base/philox.h"
#include "crypto/hash.h"
#include "step/ref.h"

static void *take(size_t sz) {
  return aligned_alloc(QR_CACHE_LINE, qr_align_up(sz, QR_CACHE_LINE));
}

static void fill(const qr_hash_t *seed, const qr_step_prog_t *prog, int8_t *obs, uint8_t *act,
                 int32_t *target) {
  qr_philox_t p = qr_philox_init(seed, 0);
  uint32_t n = 0;
  for (size_t i = 0; i < (size_t)prog->batch * prog->obs_sz; i++)
    obs[i] = (int8_t)(qr_philox_byte(&p, n++) % 128 - 64);
  for (uint32_t i = 0; i < prog->batch; i++) {
    act[i] = (uint8_t)qr_philox_bound(qr_philox_word(&p, n++), prog->action_cnt);
    target[i] = (int32_t)(qr_philox_word(&p, n++) >> 14) - (1 << 17);
  }
}

int qr_xrt_question_make(qr_xrt_question_t *q, const qr_net_t *net, const qr_step_prog_t *prog,
                         uint32_t number) {
  memset(q, 0, sizeof *q);
  uint8_t *model = take(net->model_sz), *want = take(net->model_sz), *act = take(prog->batch);
  int8_t *obs = take((size_t)prog->batch * prog->obs_sz);
  int32_t *target = take((size_t)prog->batch * sizeof *target);
  void *mem = take(qr_ref_footprint(net));
  q->job = (qr_accel_job_t){.kind = QR_ACCEL_ATTEMPT,
                            .prog = number,
                            .model_in = model,
                            .sigma = qr_hash("quarry.card", &number, sizeof number),
                            .step_cnt = 1,
                            .obs = obs,
                            .act = act,
                            .target = target};
  q->want_model = want;
  if (!model || !want || !act || !obs || !target || !mem) {
    free(mem);
    qr_xrt_question_free(q);
    return QR_ERR_NOMEM;
  }
  fill(&q->job.sigma, prog, obs, act, target);
  qr_model_init(net, &q->job.sigma, model);
  memcpy(want, model, net->model_sz);
  qr_ref_t *ref = qr_ref_init(mem, net, prog);
  qr_ref_step(ref, want, obs, act, target, &q->job.sigma, 0, 0, q->want_digests, &q->want_td);
  free(mem);
  return QR_OK;
}

void qr_xrt_question_free(qr_xrt_question_t *q) {
  free((void *)q->job.model_in);
  free((void *)q->job.obs);
  free((void *)q->job.act);
  free((void *)q->job.target);
  free(q->want_model);
  memset(q, 0, sizeof *q);
}
