/* Another driver with faults: see README.md. The inner driver runs every job as it is; what becomes
   of it is decided when it comes, and shown when its progress is. */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "fate.h"
#include "port/accel.h"
#include "port/clock.h"
#include "port/drivers.h"

#define PROG_MAX_CNT 64u
#define SLOT_MAX_CNT 64u

struct qr_accel {
  qr_error_settings_t settings;
  const qr_accel_ops_t *ops;
  qr_accel_t *inner;
  _Atomic uint64_t queue_cnt;
  uint32_t digest_cnt[PROG_MAX_CNT], model_sz[PROG_MAX_CNT], action_cnt[PROG_MAX_CNT];
};

typedef struct {
  qr_accel_job_t *outer; /* NULL: free */
  qr_accel_job_t inner;
  qr_error_fate_t fate;
  bool cancelled, corrupted;
  uint64_t done_ns; /* when the inner driver was done with it; 0: not yet */
} slot_t;

struct qr_accel_queue {
  qr_accel_t *a;
  qr_accel_queue_t *inner;
  uint64_t number, job_cnt;
  uint32_t slot_cnt;
  slot_t slots[SLOT_MAX_CNT];
};

static const qr_accel_ops_t *find_inner(const qr_error_settings_t *s, char *why, size_t why_sz) {
  const qr_accel_ops_t *ops = qr_accel_driver(s->inner.name);
  if (ops && strcmp(s->inner.name, "error")) return ops;
  snprintf(why, why_sz, "accel error: inner=%s: %s", s->inner.name,
           ops ? "it does not wrap itself" : "this build has no such driver");
  return NULL;
}

/* The first opens of the process fail as asked, so that trying again can be seen to help. */
static bool open_fails(const qr_error_settings_t *s) {
  static _Atomic uint64_t opened;
  return atomic_fetch_add(&opened, 1) < s->open_fail;
}

/* The inner driver's options, with look if that is asked for. */
static int open_inner(qr_accel_t *a, char *why, size_t why_sz) {
  const qr_error_settings_t *s = &a->settings;
  char options[sizeof s->inner.options + sizeof ",look"];
  if (s->look && !a->ops->units) {
    snprintf(why, why_sz, "accel error: driver %s has no units to look at", s->inner.name);
    return QR_ERR_UNSUPPORTED;
  }
  snprintf(options, sizeof options, "%s%s%s", s->inner.options,
           s->look && *s->inner.options ? "," : "", s->look ? "look" : "");
  return a->ops->open(options, &a->inner, why, why_sz);
}

static int error_open(const char *options, qr_accel_t **out, char *why, size_t why_sz) {
  qr_error_settings_t s;
  int err = qr_error_settings(options, &s, why, why_sz);
  if (err) return err;
  const qr_accel_ops_t *ops = find_inner(&s, why, why_sz);
  if (!ops) return QR_ERR_ARG;
  if (open_fails(&s)) {
    snprintf(why, why_sz, "accel error: this open fails because open_fail=%llu says so",
             (unsigned long long)s.open_fail);
    return QR_ERR_IO;
  }
  qr_accel_t *a = calloc(1, sizeof *a);
  if (!a) {
    snprintf(why, why_sz, "accel error: no memory");
    return QR_ERR_NOMEM;
  }
  a->settings = s;
  a->ops = ops;
  err = open_inner(a, why, why_sz);
  if (err) {
    free(a);
    return err;
  }
  *out = a;
  return QR_OK;
}

static void error_close(qr_accel_t *a) {
  a->ops->close(a->inner);
  free(a);
}

static void error_info(const qr_accel_t *a, qr_accel_info_t *out) {
  qr_accel_info_t inner;
  const qr_error_settings_t *s = &a->settings;
  a->ops->info(a->inner, &inner);
  *out = inner;
  snprintf(out->name, sizeof out->name, "error %.25s", inner.name);
  snprintf(out->detail, sizeof out->detail,
           "FOR TESTS: %s; one in: corrupt %llu drop %llu fail %llu delay %llu", s->inner.name,
           (unsigned long long)s->corrupt, (unsigned long long)s->drop, (unsigned long long)s->fail,
           (unsigned long long)s->delay);
  if (out->queue_depth > SLOT_MAX_CNT) out->queue_depth = SLOT_MAX_CNT;
}

static int error_load(qr_accel_t *a, const qr_net_t *net, const qr_step_prog_t *prog,
                      uint32_t *prog_id) {
  int err = a->ops->load(a->inner, net, prog, prog_id);
  if (err) return err;
  if (*prog_id >= PROG_MAX_CNT) return QR_ERR_FULL;
  a->digest_cnt[*prog_id] = prog->digest_cnt;
  a->model_sz[*prog_id] = prog->model_sz;
  a->action_cnt[*prog_id] = prog->action_cnt;
  return QR_OK;
}

static int error_queue_open(qr_accel_t *a, qr_accel_queue_t **out) {
  qr_accel_info_t info;
  qr_accel_queue_t *q = calloc(1, sizeof *q);
  if (!q) return QR_ERR_NOMEM;
  int err = a->ops->queue_open(a->inner, &q->inner);
  if (err) {
    free(q);
    return err;
  }
  error_info(a, &info);
  q->a = a;
  q->number = atomic_fetch_add(&a->queue_cnt, 1);
  q->slot_cnt = info.queue_depth;
  *out = q;
  return QR_OK;
}

/* Jobs that were dropped are still lent to the inner driver: they end before it is closed. */
static void error_queue_close(qr_accel_queue_t *q) {
  for (uint32_t i = 0; i < q->slot_cnt; i++) {
    slot_t *s = &q->slots[i];
    if (!s->outer) continue;
    q->a->ops->cancel(q->inner, &s->inner);
    while (!s->inner.finished) (void)q->a->ops->poll(q->inner);
  }
  q->a->ops->queue_close(q->inner);
  free(q);
}

static int error_submit(qr_accel_queue_t *q, qr_accel_job_t *job) {
  slot_t *s = NULL;
  for (uint32_t i = 0; i < q->slot_cnt && !s; i++)
    if (!q->slots[i].outer) s = &q->slots[i];
  if (!s) return QR_ERR_FULL;
  *s = (slot_t){.inner = *job};
  int err = q->a->ops->submit(q->inner, &s->inner);
  if (err) return err;
  s->outer = job;
  s->fate = qr_error_fate(&q->a->settings, q->number, q->job_cnt++);
  job->steps_done = 0;
  job->finished = false;
  job->err = 0;
  return QR_OK;
}

static void error_cancel(qr_accel_queue_t *q, qr_accel_job_t *job) {
  for (uint32_t i = 0; i < q->slot_cnt; i++) {
    slot_t *s = &q->slots[i];
    if (s->outer != job) continue;
    s->cancelled = true;
    q->a->ops->cancel(q->inner, &s->inner);
  }
}

/* Half of the attempts that are corrupted get a wrong digest, the others a wrong model. */
static bool wants_digest(const slot_t *s) { return s->fate.where >> 63; }

/* A wrong digest must be there before its step is shown to be done. */
static void corrupt_digest(const qr_accel_t *a, slot_t *s) {
  qr_accel_job_t *j = &s->inner;
  uint32_t step = (uint32_t)(s->fate.where >> 32) % j->step_cnt, n = a->digest_cnt[j->prog];
  if (s->corrupted || j->steps_done <= step) return;
  qr_error_flip(j->digests + (size_t)step * n, n * sizeof *j->digests, s->fate.where);
  s->corrupted = true;
}

static void corrupt_result(const qr_accel_t *a, slot_t *s) {
  qr_accel_job_t *j = &s->inner;
  if (s->corrupted || j->err) return;
  s->corrupted = true;
  if (j->kind == QR_ACCEL_ATTEMPT)
    qr_error_flip(j->model_out, a->model_sz[j->prog], s->fate.where);
  else if (j->kind == QR_ACCEL_FORWARD)
    qr_error_flip(j->q, (size_t)j->row_cnt * a->action_cnt[j->prog] * sizeof *j->q, s->fate.where);
  else
    qr_error_flip(j->c, (size_t)j->gemm->m * j->gemm->n * sizeof *j->c, s->fate.where);
}

/* Shows the caller what it is to see; true if its job is finished. */
static bool show(qr_accel_queue_t *q, slot_t *s) {
  qr_accel_t *a = q->a;
  bool digest = s->inner.kind == QR_ACCEL_ATTEMPT && wants_digest(s);
  if (s->fate.corrupt && digest) corrupt_digest(a, s);
  s->outer->steps_done = s->inner.steps_done;
  if (!s->inner.finished) return false;
  if (!s->done_ns) {
    if (s->fate.corrupt && !digest) corrupt_result(a, s);
    s->done_ns = qr_clock_mono_ns();
  }
  if (s->fate.drop && (!s->cancelled || a->settings.deaf)) return false;
  if (s->fate.delay && qr_clock_mono_ns() - s->done_ns < a->settings.delay_ms * 1000000u)
    return false;
  s->outer->unit = s->inner.unit;
  s->outer->err = s->fate.drop ? QR_ERR_CANCELLED : s->fate.fail ? QR_ERR_IO : s->inner.err;
  s->outer->finished = true;
  s->outer = NULL;
  return true;
}

static int error_poll(qr_accel_queue_t *q) {
  int finished = 0;
  (void)q->a->ops->poll(q->inner);
  for (uint32_t i = 0; i < q->slot_cnt; i++)
    if (q->slots[i].outer && show(q, &q->slots[i])) finished++;
  return finished;
}

/* Units are the inner driver's. */

static int error_find(const char *options, qr_accel_unit_t *out, uint32_t max_cnt, char *why,
                      size_t why_sz) {
  qr_error_settings_t s;
  int err = qr_error_settings(options, &s, why, why_sz);
  if (err) return err;
  const qr_accel_ops_t *ops = find_inner(&s, why, why_sz);
  if (!ops) return QR_ERR_ARG;
  if (ops->find) return ops->find(s.inner.options, out, max_cnt, why, why_sz);
  snprintf(why, why_sz, "accel error: driver %s has no units", s.inner.name);
  return 0;
}

static uint32_t error_units(qr_accel_t *a, qr_accel_unit_t *out, uint32_t max_cnt) {
  return a->ops->units ? a->ops->units(a->inner, out, max_cnt) : 0;
}

static void error_judge(qr_accel_t *a, uint32_t unit, bool right) {
  if (a->ops->judge) a->ops->judge(a->inner, unit, right);
}

static int error_reset(qr_accel_t *a, uint32_t unit, char *why, size_t why_sz) {
  if (a->ops->reset) return a->ops->reset(a->inner, unit, why, why_sz);
  snprintf(why, why_sz, "accel error: driver %s cannot reset", a->settings.inner.name);
  return QR_ERR_UNSUPPORTED;
}

static int error_bandwidth(qr_accel_t *a, uint32_t unit, qr_accel_bandwidth_t *out, char *why,
                           size_t why_sz) {
  if (a->ops->bandwidth) return a->ops->bandwidth(a->inner, unit, out, why, why_sz);
  snprintf(why, why_sz, "accel error: driver %s has no bandwidth test", a->settings.inner.name);
  return QR_ERR_UNSUPPORTED;
}

const qr_accel_ops_t qr_accel_error_ops = {
    .name = "error",
    .help = "FOR TESTS: another driver with faults; options: inner=cpu[:key=value;...], seed=, "
            "corrupt=1/N, drop=1/N, fail=1/N, delay_ms=, open_fail=",
    .open = error_open,
    .close = error_close,
    .info = error_info,
    .load = error_load,
    .queue_open = error_queue_open,
    .queue_close = error_queue_close,
    .submit = error_submit,
    .poll = error_poll,
    .cancel = error_cancel,
    .find = error_find,
    .units = error_units,
    .judge = error_judge,
    .reset = error_reset,
    .bandwidth = error_bandwidth,
};
