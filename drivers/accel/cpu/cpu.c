/* The CPU as an accelerator: jobs of a queue run in order inside poll, one training step, some
   forward rows or a block of a product per call, so that a caller on one core stays responsive. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base/err.h"
#include "forward.h"
#include "gemm.h"
#include "port/accel.h"
#include "port/option.h"
#include "step.h"

#define PROG_MAX_CNT 16u
#define QUEUE_DEPTH 8u
#define HUGE_PAGE_SZ ((size_t)2 << 20)
#define ROWS_PER_POLL 256u /* of a forward pass */

typedef struct {
  qr_net_t net;
  qr_step_prog_t prog;
  qr_cpu_plan_t plan;
} loaded_t;

struct qr_accel {
  const qr_cpu_kern_t *kern;
  uint32_t thread_cnt; /* of each queue */
  uint32_t prog_cnt;
  loaded_t progs[PROG_MAX_CNT];
  qr_cpu_sizes_t sizes; /* of a queue's memory: enough for any program */
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
  qr_cpu_mem_t mem[QR_CPU_TEAM_MAX_CNT]; /* of each member of its team */
  qr_cpu_step_t steps[QR_CPU_TEAM_MAX_CNT];
  qr_cpu_team_t *team; /* NULL: the caller alone */
  uint8_t *model;
  /* Whose weights are packed for the forward pass; tag 0: nobody's. */
  uint64_t packed_tag;
  uint32_t packed_prog;
};

#define NAME(name) " " #name
#define KERNEL_NAMES QR_CPU_KERNELS(NAME)

/* The kernel of that name, or the best that this processor runs. */
static int choose_kernel(const char *wanted, const qr_cpu_kern_t **out, char *why, size_t why_sz) {
  bool known = !*wanted;
  for (uint32_t i = 0; qr_cpu_kernels[i]; i++) {
    bool named = *wanted && !strcmp(qr_cpu_kernels[i]->name, wanted);
    known |= named;
    if ((!*wanted || named) && qr_cpu_kernels[i]->supported()) {
      *out = qr_cpu_kernels[i];
      return 0;
    }
  }
  snprintf(why, why_sz, "accel cpu: kernel %s %s; there are" KERNEL_NAMES, wanted,
           known ? "needs instructions that this processor lacks" : "is not known");
  return known ? QR_ERR_UNSUPPORTED : QR_ERR_ARG;
}

/* 1 .. QR_CPU_TEAM_MAX_CNT in decimal, or 0. */
static uint32_t parse_threads(const char *text) {
  char *end;
  unsigned long v = strtoul(text, &end, 10);
  return *text >= '0' && *text <= '9' && !*end && v <= QR_CPU_TEAM_MAX_CNT ? (uint32_t)v : 0;
}

static int parse_options(const char *options, qr_accel_t *a, char *why, size_t why_sz) {
  qr_option_t o;
  int r;
  char kernel[sizeof o.value] = "";
  a->thread_cnt = 1;
  while ((r = qr_option_next(&options, ',', &o)) > 0) {
    if (!strcmp(o.key, "kernel")) {
      memcpy(kernel, o.value, sizeof kernel);
    } else if (strcmp(o.key, "threads")) {
      snprintf(why, why_sz, "accel cpu: unknown option %s; there are kernel and threads", o.key);
      return QR_ERR_ARG;
    } else if (!(a->thread_cnt = parse_threads(o.value))) {
      snprintf(why, why_sz, "accel cpu: threads must be 1 to %u, not %s", QR_CPU_TEAM_MAX_CNT,
               o.value);
      return QR_ERR_ARG;
    }
  }
  if (r < 0) {
    snprintf(why, why_sz, "accel cpu: options must be key=value,...");
    return QR_ERR_ARG;
  }
  return choose_kernel(kernel, &a->kern, why, why_sz);
}

static int cpu_open(const char *options, qr_accel_t **out, char *why, size_t why_sz) {
  qr_accel_t *a = calloc(1, sizeof *a);
  if (!a) {
    snprintf(why, why_sz, "accel cpu: no memory");
    return QR_ERR_NOMEM;
  }
  int err = parse_options(options, a, why, why_sz);
  if (err) {
    free(a);
    return err;
  }
  qr_cpu_gemm_need(&a->sizes);
  *out = a;
  return 0;
}

static void cpu_close(qr_accel_t *a) {
  for (uint32_t i = 0; i < a->prog_cnt; i++) qr_cpu_plan_fini(&a->progs[i].plan);
  free(a);
}

static void cpu_info(const qr_accel_t *a, qr_accel_info_t *out) {
  memset(out, 0, sizeof *out);
  snprintf(out->name, sizeof out->name, "cpu %s", a->kern->name);
  snprintf(out->detail, sizeof out->detail, "kernel %s, threads of a queue: %u", a->kern->name,
           a->thread_cnt);
  out->queue_depth = QUEUE_DEPTH;
}

static int cpu_load(qr_accel_t *a, const qr_net_t *net, const qr_step_prog_t *prog,
                    uint32_t *prog_id) {
  if (a->prog_cnt == PROG_MAX_CNT) return QR_ERR_FULL;
  loaded_t *p = &a->progs[a->prog_cnt];
  p->net = *net;
  p->prog = *prog;
  int err = qr_cpu_plan_init(&p->plan, &p->net, &p->prog, a->thread_cnt, &a->sizes);
  if (err) return err;
  *prog_id = a->prog_cnt++;
  return 0;
}

static void cpu_queue_close(qr_accel_queue_t *q) {
  qr_cpu_team_close(q->team);
  free(q);
}

static int cpu_queue_open(qr_accel_t *a, qr_accel_queue_t **out) {
  qr_cpu_mem_t count[QR_CPU_TEAM_MAX_CNT];
  size_t self = qr_align_up(sizeof(qr_accel_queue_t), QR_CACHE_LINE), model = 0;
  for (uint32_t i = 0; i < a->prog_cnt; i++) {
    size_t sz = qr_align_up(a->progs[i].net.model_sz, QR_CACHE_LINE);
    model = sz > model ? sz : model;
  }
  size_t work = qr_cpu_mem_place(count, a->thread_cnt, &a->sizes, NULL);
  size_t sz = qr_align_up(self + model + work, HUGE_PAGE_SZ);
  qr_accel_queue_t *q = aligned_alloc(HUGE_PAGE_SZ, sz);
  if (!q) return QR_ERR_NOMEM;
  (void)madvise(q, sz, MADV_HUGEPAGE); /* a step walks through some megabytes; a wish, no more */
  memset(q, 0, self);
  q->a = a;
  q->model = (uint8_t *)q + self;
  qr_cpu_mem_place(q->mem, a->thread_cnt, &a->sizes, q->model + model);
  for (uint32_t i = 0; i < a->thread_cnt; i++) q->steps[i].mem = &q->mem[i];
  int err = a->thread_cnt > 1 ? qr_cpu_team_open(a->thread_cnt, &q->team) : 0;
  if (err) {
    cpu_queue_close(q);
    return err;
  }
  *out = q;
  return 0;
}

static bool gemm_ok(const qr_accel_job_t *job) {
  return job->gemm && job->a && job->b && job->c && (uintptr_t)job->c % 4 == 0 &&
         qr_cpu_gemm_check(job->gemm);
}

static bool job_ok(const qr_accel_queue_t *q, const qr_accel_job_t *job) {
  if (job->prog >= q->a->prog_cnt) return false;
  if (job->kind == QR_ACCEL_GEMM) return gemm_ok(job);
  if (!job->model_in || !job->obs || (uintptr_t)job->model_in % 4) return false;
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

/* Each runs a part of a job and returns true when nothing is left to do. */
static bool attempt_step(qr_accel_queue_t *q, slot_t *s) {
  qr_accel_job_t *job = s->job;
  const loaded_t *p = &q->a->progs[job->prog];
  size_t rows = (size_t)job->steps_done * p->prog.batch;
  qr_cpu_step_t *step = q->steps;
  *step = (qr_cpu_step_t){.kern = q->a->kern,
                          .plan = &p->plan,
                          .team = q->team,
                          .member_cnt = q->a->thread_cnt,
                          .mem = &q->mem[0],
                          .model = q->model,
                          .obs = job->obs + rows * p->prog.obs_sz,
                          .act = job->act + rows,
                          .target = job->target + rows,
                          .sigma = &job->sigma,
                          .k = job->steps_done,
                          .lr_shift = job->lr_shift,
                          .digests = job->digests + (size_t)job->steps_done * p->prog.digest_cnt,
                          .td_abs_sum = job->td_abs_sum + job->steps_done};
  if (!s->started) memcpy(q->model, job->model_in, p->prog.model_sz);
  s->started = true;
  qr_cpu_laps_begin(&step->laps, job->phase_ns);
  qr_cpu_step(step);
  qr_cpu_laps_end(&step->laps, job->phase_ns);
  return ++job->steps_done == job->step_cnt;
}

static bool is_packed(const qr_accel_queue_t *q, const qr_accel_job_t *job) {
  return job->model_tag && job->model_tag == q->packed_tag && job->prog == q->packed_prog;
}

static bool forward_rows(qr_accel_queue_t *q, slot_t *s) {
  qr_accel_job_t *job = s->job;
  const loaded_t *p = &q->a->progs[job->prog];
  qr_cpu_forward_t f = {q->a->kern, &p->plan, &q->mem[0]};
  uint32_t left = job->row_cnt - s->rows_done;
  if (!s->started && !is_packed(q, job)) qr_cpu_forward_pack(&f, job->model_in);
  s->started = true;
  q->packed_tag = job->model_tag;
  q->packed_prog = job->prog;
  for (uint32_t end = s->rows_done + (left < ROWS_PER_POLL ? left : ROWS_PER_POLL);
       s->rows_done < end;) {
    uint32_t rows = end - s->rows_done < p->plan.fwd_rows ? end - s->rows_done : p->plan.fwd_rows;
    qr_cpu_forward_run(&f, job->obs + (size_t)s->rows_done * p->net.in_sz, rows,
                       job->q + (size_t)s->rows_done * p->net.spec.action_cnt);
    s->rows_done += rows;
  }
  return s->rows_done == job->row_cnt;
}

static bool gemm_rows(qr_accel_queue_t *q, slot_t *s) {
  qr_accel_job_t *job = s->job;
  qr_cpu_gemm_job_t j = {.kern = q->a->kern,
                         .mem = &q->mem[0],
                         .op = job->gemm,
                         .a = job->a,
                         .b = job->b,
                         .c = job->c};
  qr_cpu_laps_begin(&j.laps, job->phase_ns);
  s->rows_done = qr_cpu_gemm_rows(&j, s->rows_done);
  qr_cpu_laps_end(&j.laps, job->phase_ns);
  return s->rows_done == job->gemm->m;
}

static bool job_part(qr_accel_queue_t *q, slot_t *s) {
  switch (s->job->kind) {
  case QR_ACCEL_ATTEMPT: return attempt_step(q, s);
  case QR_ACCEL_FORWARD: return forward_rows(q, s);
  default: return gemm_rows(q, s);
  }
}

static int cpu_poll(qr_accel_queue_t *q) {
  if (!q->cnt) return 0;
  slot_t *s = &q->slots[q->head];
  qr_accel_job_t *job = s->job;
  if (!s->cancelled && !job_part(q, s)) return 0;
  if (job->kind == QR_ACCEL_ATTEMPT) {
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

static const char *const phases[] = {
#define F(id, name) name,
    QR_CPU_PHASES(F)
#undef F
        NULL};

#define VARIANT(name) "kernel=" #name,
static const char *const variants[] = {QR_CPU_KERNELS(VARIANT) NULL};

const qr_accel_ops_t qr_accel_cpu_ops = {
    .name = "cpu",
    .help = "this processor; options: threads=1..16 of a queue; kernel=, one of" KERNEL_NAMES,
    .variants = variants,
    .phases = phases,
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
