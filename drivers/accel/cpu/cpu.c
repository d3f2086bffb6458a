/* The CPU as an accelerator: jobs of a queue run in order inside poll, one training step or one
   chunk of forward rows per call, so that a caller on one core stays responsive. */
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/err.h"
#include "forward.h"
#include "port/accel.h"
#include "port/option.h"

#define PROG_MAX_CNT 16u
#define QUEUE_DEPTH 8u

typedef struct {
  qr_net_t net;
  qr_step_prog_t prog;
  qr_cpu_plan_t plan;
  qr_cpu_need_t need;
} loaded_t;

struct qr_accel {
  const qr_cpu_kern_t *kern;
  uint32_t prog_cnt;
  loaded_t progs[PROG_MAX_CNT];
};

typedef struct {
  qr_accel_job_t *job;
  bool started, cancelled;
  uint32_t rows_done;
} slot_t;

struct qr_accel_queue {
  const qr_accel_t *a;
  slot_t slots[QUEUE_DEPTH]; /* ring of jobs in flight; slots[head] runs */
  uint32_t head, cnt;
  qr_cpu_work_t work;
  qr_cpu_fwd_t fwd;
  uint8_t *scratch, *model;
};

/* The kernel that the options name, or the best that this processor runs. */
static int choose_kernel(const char *options, const qr_cpu_kern_t **out, char *why, size_t why_sz) {
  qr_option_t o;
  int r;
  const char *wanted = NULL;
  char name[sizeof o.value];
  while ((r = qr_option_next(&options, ',', &o)) > 0) {
    if (strcmp(o.key, "kernel")) {
      snprintf(why, why_sz, "accel cpu: unknown option %s; the only one is kernel", o.key);
      return QR_ERR_ARG;
    }
    memcpy(name, o.value, sizeof name);
    wanted = name;
  }
  if (r < 0) {
    snprintf(why, why_sz, "accel cpu: options must be key=value,...");
    return QR_ERR_ARG;
  }
  bool known = !wanted;
  for (uint32_t i = 0; qr_cpu_kernels[i]; i++) {
    bool named = wanted && !strcmp(qr_cpu_kernels[i]->name, wanted);
    known |= named;
    if ((!wanted || named) && qr_cpu_kernels[i]->supported()) {
      *out = qr_cpu_kernels[i];
      return 0;
    }
  }
  snprintf(why, why_sz, "accel cpu: kernel %s %s; use avx512, avx2 or portable", wanted,
           known ? "needs instructions that this processor lacks" : "is not known");
  return known ? QR_ERR_UNSUPPORTED : QR_ERR_ARG;
}

static int cpu_open(const char *options, qr_accel_t **out, char *why, size_t why_sz) {
  const qr_cpu_kern_t *kern = NULL;
  int err = choose_kernel(options, &kern, why, why_sz);
  if (err) return err;
  qr_accel_t *a = calloc(1, sizeof *a);
  if (!a) {
    snprintf(why, why_sz, "accel cpu: no memory");
    return QR_ERR_NOMEM;
  }
  a->kern = kern;
  *out = a;
  return 0;
}

static void cpu_close(qr_accel_t *a) { free(a); }

static void cpu_info(const qr_accel_t *a, qr_accel_info_t *out) {
  memset(out, 0, sizeof *out);
  snprintf(out->name, sizeof out->name, "cpu %s", a->kern->name);
  snprintf(out->detail, sizeof out->detail, "kernel %s, one thread per queue", a->kern->name);
  out->queue_depth = QUEUE_DEPTH;
}

static int cpu_load(qr_accel_t *a, const qr_net_t *net, const qr_step_prog_t *prog,
                    uint32_t *prog_id) {
  if (a->prog_cnt == PROG_MAX_CNT) return QR_ERR_FULL;
  if (prog->model_sz != net->model_sz || prog->batch != net->spec.batch ||
      prog->obs_sz != net->in_sz || prog->action_cnt != net->spec.action_cnt ||
      qr_cpu_prog_check(prog))
    return QR_ERR_ARG;
  loaded_t *p = &a->progs[a->prog_cnt];
  memset(p, 0, sizeof *p);
  p->net = *net;
  p->prog = *prog;
  for (uint32_t i = 0; i < prog->op_cnt; i++) qr_cpu_need_op(&p->need, &prog->ops[i]);
  qr_cpu_forward_plan(net, &p->plan, &p->need);
  *prog_id = a->prog_cnt++;
  return 0;
}

static void *carve(uint8_t *mem, size_t *at, size_t sz) {
  void *p = mem ? mem + *at : NULL;
  *at += qr_align_up(sz, QR_CACHE_LINE);
  return p;
}

/* Memory of a queue, enough for any loaded program; mem = NULL only counts. Returns the bytes. */
static size_t lay_out(const qr_accel_t *a, uint8_t *mem, qr_accel_queue_t *q) {
  qr_cpu_need_t n = {0};
  qr_cpu_plan_t f = {0};
  size_t scratch = 0, model = 0, at = 0;
#define MAX(to, v) (to) = (v) > (to) ? (v) : (to)
  for (uint32_t i = 0; i < a->prog_cnt; i++) {
    const loaded_t *p = &a->progs[i];
    MAX(n.rows_sz, p->need.rows_sz);
    MAX(n.pack_a_sz, p->need.pack_a_sz);
    MAX(n.pack_b_sz, p->need.pack_b_sz);
    MAX(n.sum_cnt, p->need.sum_cnt);
    MAX(n.bias_cnt, p->need.bias_cnt);
    MAX(f.panels_sz, p->plan.panels_sz);
    MAX(f.bias_cnt, p->plan.bias_cnt);
    MAX(f.w7_sz, p->plan.w7_sz);
    MAX(f.x_cnt, p->plan.x_cnt);
    MAX(f.acc_cnt, p->plan.acc_cnt);
    MAX(scratch, qr_cpu_scratch_sz(&p->prog));
    MAX(model, p->prog.model_sz);
  }
#undef MAX
  qr_accel_queue_t *self = carve(mem, &at, sizeof *q);
  q->work.kern = a->kern;
  q->work.rows = carve(mem, &at, n.rows_sz);
  q->work.pack_a = carve(mem, &at, n.pack_a_sz);
  q->work.pack_b = carve(mem, &at, n.pack_b_sz);
  q->work.sum = carve(mem, &at, n.sum_cnt * 4);
  q->work.bias = carve(mem, &at, n.bias_cnt * 4);
  q->fwd.panels = carve(mem, &at, f.panels_sz);
  q->fwd.bias = carve(mem, &at, f.bias_cnt * 4);
  q->fwd.w7 = carve(mem, &at, f.w7_sz);
  q->fwd.x[0] = carve(mem, &at, f.x_cnt);
  q->fwd.x[1] = carve(mem, &at, f.x_cnt);
  q->fwd.acc = carve(mem, &at, f.acc_cnt * 4);
  q->scratch = carve(mem, &at, scratch);
  q->model = carve(mem, &at, model);
  if (self) *self = *q;
  return at;
}

static int cpu_queue_open(qr_accel_t *a, qr_accel_queue_t **out) {
  qr_accel_queue_t q = {.a = a};
  uint8_t *mem = aligned_alloc(QR_CACHE_LINE, lay_out(a, NULL, &q));
  if (!mem) return QR_ERR_NOMEM;
  lay_out(a, mem, &q);
  *out = (qr_accel_queue_t *)mem;
  return 0;
}

static void cpu_queue_close(qr_accel_queue_t *q) { free(q); }

static bool job_ok(const qr_accel_queue_t *q, const qr_accel_job_t *job) {
  if (job->prog >= q->a->prog_cnt || !job->model_in || !job->obs || (uintptr_t)job->model_in % 4)
    return false;
  if (job->kind == QR_ACCEL_FORWARD) return job->row_cnt && job->q;
  if (job->kind != QR_ACCEL_ATTEMPT || !job->step_cnt || !job->model_out || !job->act ||
      !job->target || !job->digests || !job->td_abs_sum)
    return false;
  const qr_step_prog_t *prog = &q->a->progs[job->prog].prog;
  for (size_t i = 0; i < (size_t)job->step_cnt * prog->batch; i++) {
    if (job->act[i] >= prog->action_cnt) return false; /* an index into the Q values */
  }
  return true;
}

static int cpu_submit(qr_accel_queue_t *q, qr_accel_job_t *job) {
  if (!job_ok(q, job)) return QR_ERR_ARG;
  if (q->cnt == QUEUE_DEPTH) return QR_ERR_FULL;
  job->steps_done = 0;
  job->finished = false;
  job->err = 0;
  q->slots[(q->head + q->cnt++) % QUEUE_DEPTH] = (slot_t){.job = job};
  return 0;
}

/* Both return true when the job has nothing left to do. */
static bool attempt_step(qr_accel_queue_t *q, slot_t *s) {
  qr_accel_job_t *job = s->job;
  const qr_step_prog_t *prog = &q->a->progs[job->prog].prog;
  size_t rows = (size_t)job->steps_done * prog->batch;
  qr_cpu_step_t step = {.prog = prog,
                        .scratch = q->scratch,
                        .model = q->model,
                        .obs = job->obs + rows * prog->obs_sz,
                        .act = job->act + rows,
                        .target = job->target + rows,
                        .sigma = &job->sigma,
                        .k = job->steps_done,
                        .lr_shift = job->lr_shift,
                        .digests = job->digests + (size_t)job->steps_done * prog->digest_cnt,
                        .td_abs_sum = job->td_abs_sum + job->steps_done};
  if (!s->started) memcpy(q->model, job->model_in, prog->model_sz);
  s->started = true;
  qr_cpu_step(&q->work, &step);
  return ++job->steps_done == job->step_cnt;
}

static bool forward_chunk(qr_accel_queue_t *q, slot_t *s) {
  qr_accel_job_t *job = s->job;
  const loaded_t *p = &q->a->progs[job->prog];
  uint32_t left = job->row_cnt - s->rows_done,
           rows = left < p->plan.chunk_rows ? left : p->plan.chunk_rows;
  if (!s->started) qr_cpu_forward_pack(&q->work, &p->net, &p->plan, &q->fwd, job->model_in);
  s->started = true;
  qr_cpu_forward_run(&q->work, &p->net, &p->plan, &q->fwd,
                     job->obs + (size_t)s->rows_done * p->net.in_sz, rows,
                     job->q + (size_t)s->rows_done * p->net.spec.action_cnt);
  s->rows_done += rows;
  return s->rows_done == job->row_cnt;
}

static int cpu_poll(qr_accel_queue_t *q) {
  if (!q->cnt) return 0;
  slot_t *s = &q->slots[q->head];
  qr_accel_job_t *job = s->job;
  bool attempt = job->kind == QR_ACCEL_ATTEMPT;
  if (!s->cancelled && !(attempt ? attempt_step(q, s) : forward_chunk(q, s))) return 0;
  if (attempt) {
    const uint8_t *model = s->started ? q->model : job->model_in;
    memmove(job->model_out, model, q->a->progs[job->prog].prog.model_sz);
  }
  q->head = (q->head + 1) % QUEUE_DEPTH;
  q->cnt--;
  job->err = s->cancelled ? QR_ERR_CANCELLED : 0;
  job->finished = true;
  return 1;
}

static void cpu_cancel(qr_accel_queue_t *q, qr_accel_job_t *job) {
  for (uint32_t i = 0; i < q->cnt; i++) {
    slot_t *s = &q->slots[(q->head + i) % QUEUE_DEPTH];
    if (s->job == job) s->cancelled = true;
  }
}

static const char *const variants[] = {"kernel=avx512", "kernel=avx2", "kernel=portable", NULL};

const qr_accel_ops_t qr_accel_cpu_ops = {
    .name = "cpu",
    .help = "this processor, one core per queue; options: kernel=avx512|avx2|portable",
    .variants = variants,
    .open = cpu_open,
    .close = cpu_close,
    .info = cpu_info,
    .load = cpu_load,
    .queue_open = cpu_queue_open,
    .queue_close = cpu_queue_close,
    .submit = cpu_submit,
    .poll = cpu_poll,
    .cancel = cpu_cancel,
};
