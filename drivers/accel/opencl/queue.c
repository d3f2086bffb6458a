/* Jobs of a queue: pieces are sent ahead of the device, in order, and looked at in order. */
#include "queue.h"

#include <sched.h>
#include <stdlib.h>
#include <time.h>

#include "base/err.h"
#include "units.h"

#define YIELD_CNT 200u
#define NAP_NS 20000

static qr_ocl_slot_t *slot_at(qr_accel_queue_t *q, uint32_t i) {
  return &q->slots[(q->head + i) % QR_OCL_QUEUE_DEPTH];
}

static void complain(qr_accel_queue_t *q, cl_int err) {
  qr_log_limited(&q->log, QR_LOG_ERROR, "accel", "event=opencl-failed device=\"%s\" cause=\"%s\"",
                 q->a->dev.name, qr_ocl_err_str(err));
}

/* ---- opening ---- */

static cl_int take_memory(qr_accel_queue_t *q, uint32_t i, size_t *input_sz) {
  const qr_ocl_loaded_t *p = q->a->progs[i];
  const cl_uint zero = 0;
  cl_int err;
  q->fwd_model[i] = malloc(p->model_sz);
  if (!q->fwd_model[i]) return CL_OUT_OF_HOST_MEMORY;
  if (*input_sz < p->plan.input_sz) *input_sz = p->plan.input_sz;
  q->mem[i] = clCreateBuffer(q->a->dev.ctx, CL_MEM_READ_WRITE, p->plan.mem_sz, NULL, &err);
  if (err) return err;
  return clEnqueueFillBuffer(q->plain, q->mem[i], &zero, sizeof zero, 0, p->plan.mem_sz, 0, NULL,
                             NULL);
}

static cl_int prepare(qr_accel_queue_t *q) {
  cl_int err;
  size_t input_sz = 0;
  q->plain = clCreateCommandQueue(q->a->dev.ctx, q->a->dev.id, 0, &err);
  for (uint32_t i = 0; !err && i < QR_OCL_K_CNT; i++)
    q->kernels[i] = clCreateKernel(q->a->kernels.programs[i], qr_ocl_kernel_names[i], &err);
  for (uint32_t i = 0; !err && i < q->a->prog_cnt; i++) err = take_memory(q, i, &input_sz);
  if (err) return err;
  input_sz = qr_align_up(input_sz + 1, QR_CACHE_LINE);
  q->inputs = aligned_alloc(QR_CACHE_LINE, QR_OCL_AHEAD * input_sz);
  if (!q->inputs) return CL_OUT_OF_HOST_MEMORY;
  for (uint32_t i = 0; i < QR_OCL_AHEAD; i++) q->pieces[i].input = q->inputs + i * input_sz;
  return clFinish(q->plain);
}

int qr_ocl_queue_open(qr_accel_t *a, qr_accel_queue_t **out) {
  qr_accel_queue_t *q = calloc(1, sizeof *q);
  if (!q) return QR_ERR_NOMEM;
  q->a = a;
  cl_int err = prepare(q);
  if (err) {
    complain(q, err);
    qr_ocl_queue_close(q);
    return qr_ocl_err(err);
  }
  *out = q;
  return QR_OK;
}

static void drop_slot(qr_ocl_slot_t *s) {
  if (s->gemm_mem) clReleaseMemObject(s->gemm_mem);
  if (s->gemm_tasks) clReleaseMemObject(s->gemm_tasks);
  free(s->gemm);
  s->gemm_mem = s->gemm_tasks = NULL;
  s->gemm = NULL;
}

void qr_ocl_queue_close(qr_accel_queue_t *q) {
  if (q->plain) (void)clFinish(q->plain);
  if (q->timed) (void)clFinish(q->timed);
  for (uint32_t i = 0; i < QR_OCL_AHEAD; i++) qr_ocl_forget_events(&q->pieces[i]);
  for (uint32_t i = 0; i < q->cnt; i++) drop_slot(slot_at(q, i));
  for (uint32_t i = 0; i < QR_OCL_PROG_MAX_CNT; i++) {
    if (q->mem[i]) clReleaseMemObject(q->mem[i]);
    free(q->fwd_model[i]);
  }
  for (uint32_t i = 0; i < QR_OCL_K_CNT; i++)
    if (q->kernels[i]) clReleaseKernel(q->kernels[i]);
  if (q->timed) clReleaseCommandQueue(q->timed);
  if (q->plain) clReleaseCommandQueue(q->plain);
  free(q->inputs);
  free(q);
}

/* ---- jobs come ---- */

static bool attempt_ok(const qr_ocl_loaded_t *p, const qr_accel_job_t *job) {
  if (!job->step_cnt || !job->model_in || !job->model_out || !job->obs || !job->act ||
      !job->target || !job->digests || !job->td_abs_sum)
    return false;
  for (size_t i = 0; i < (size_t)job->step_cnt * p->batch; i++)
    if (job->act[i] >= p->action_cnt) return false; /* an index into the Q values */
  return true;
}

static int prepare_job(qr_accel_queue_t *q, qr_ocl_slot_t *s, qr_accel_job_t *job) {
  if (job->prog >= q->a->prog_cnt) return QR_ERR_ARG;
  *s = (qr_ocl_slot_t){.job = job, .prog = q->a->progs[job->prog]};
  switch (job->kind) {
  case QR_ACCEL_ATTEMPT: return attempt_ok(s->prog, job) ? QR_OK : QR_ERR_ARG;
  case QR_ACCEL_FORWARD:
    return job->model_in && job->obs && job->row_cnt && job->q ? QR_OK : QR_ERR_ARG;
  case QR_ACCEL_GEMM: break;
  default: return QR_ERR_ARG;
  }
  if (!job->gemm || !job->a || !job->b || !job->c) return QR_ERR_ARG;
  s->gemm = malloc(sizeof *s->gemm);
  if (!s->gemm) return QR_ERR_NOMEM;
  int err = qr_ocl_plan_gemm(s->gemm, job->gemm, &q->a->tune, q->a->dev.unit_cnt);
  if (!err && s->gemm->mem_sz > q->a->dev.alloc_max) err = QR_ERR_NOMEM;
  if (err) drop_slot(s);
  return err;
}

int qr_ocl_submit(qr_accel_queue_t *q, qr_accel_job_t *job) {
  if (q->cnt == QR_OCL_QUEUE_DEPTH) return QR_ERR_FULL;
  int err = prepare_job(q, slot_at(q, q->cnt), job);
  if (err) return err;
  job->steps_done = 0;
  job->finished = false;
  job->err = 0;
  q->cnt++;
  return QR_OK;
}

void qr_ocl_cancel(qr_accel_queue_t *q, qr_accel_job_t *job) {
  for (uint32_t i = 0; i < q->cnt; i++)
    if (slot_at(q, i)->job == job) slot_at(q, i)->cancelled = true;
}

/* ---- and go ---- */

static void fail(qr_accel_queue_t *q, qr_ocl_slot_t *s, cl_int err) {
  if (!s->err) complain(q, err);
  s->err = QR_ERR_IO;
  s->ended = true;
  q->fwd_known[s->job->prog] = false;
}

/* The command queue for a job; pieces of both kinds are never in flight together. */
static bool choose_queue(qr_accel_queue_t *q, qr_ocl_slot_t *s) {
  bool timed = s->job->phase_ns && s->job->kind != QR_ACCEL_FORWARD;
  if (timed == q->is_timed) return true;
  if (q->piece_cnt) return false;
  if (timed && !q->timed) {
    cl_int err;
    q->timed = clCreateCommandQueue(q->a->dev.ctx, q->a->dev.id, CL_QUEUE_PROFILING_ENABLE, &err);
    if (err) {
      q->timed = NULL;
      fail(q, s, err);
      return false;
    }
  }
  q->is_timed = timed;
  return true;
}

static void send_ahead(qr_accel_queue_t *q) {
  for (uint32_t i = 0; i < q->cnt; i++) {
    qr_ocl_slot_t *s = slot_at(q, i);
    if (s->cancelled && (!s->started || s->job->kind != QR_ACCEL_ATTEMPT)) s->ended = true;
    while (!s->ended) {
      if (q->piece_cnt == QR_OCL_AHEAD || !choose_queue(q, s)) break;
      qr_ocl_piece_t *p = &q->pieces[(q->piece_head + q->piece_cnt) % QR_OCL_AHEAD];
      cl_int err = qr_ocl_send(q, s, p);
      s->pieces++;
      q->piece_cnt++;
      if (err) fail(q, s, err);
    }
    if (!s->ended) return;
  }
}

static bool is_over(qr_accel_queue_t *q, qr_ocl_piece_t *p, cl_int *err) {
  cl_int status = CL_COMPLETE;
  if (!p->done) { /* the device took not even a marker: what it did take is waited for */
    *err = clFinish(q->is_timed ? q->timed : q->plain);
    if (!*err) *err = CL_OUT_OF_RESOURCES;
    return true;
  }
  *err = clGetEventInfo(p->done, CL_EVENT_COMMAND_EXECUTION_STATUS, sizeof status, &status, NULL);
  if (*err) return true;
  if (status < 0) *err = status;
  return status <= CL_COMPLETE;
}

static void take_step(qr_ocl_slot_t *s, const qr_ocl_piece_t *p) {
  qr_accel_job_t *job = s->job;
  uint32_t n = s->prog->digest_cnt;
  memcpy(job->digests + (size_t)job->steps_done * n, p->sums, n * sizeof *p->sums);
  job->td_abs_sum[job->steps_done] = p->sums[n];
  job->steps_done++;
}

static bool take_piece(qr_accel_queue_t *q) {
  qr_ocl_piece_t *p = &q->pieces[q->piece_head];
  cl_int err;
  if (!q->piece_cnt || !is_over(q, p, &err)) return false;
  qr_ocl_slot_t *s = p->slot;
  if (err) fail(q, s, err);
  if (!s->err && q->is_timed) qr_ocl_count_time(p, s->job->phase_ns);
  if (!s->err && p->step) take_step(s, p);
  qr_ocl_forget_events(p);
  s->pieces--;
  q->piece_head = (q->piece_head + 1) % QR_OCL_AHEAD;
  q->piece_cnt--;
  return true;
}

static void finish(qr_accel_queue_t *q) {
  qr_ocl_slot_t *s = slot_at(q, 0);
  qr_accel_job_t *job = s->job;
  bool attempt = job->kind == QR_ACCEL_ATTEMPT;
  if (attempt && !s->started) memmove(job->model_out, job->model_in, s->prog->model_sz);
  bool whole = s->started && (!attempt || job->steps_done == job->step_cnt) &&
               (job->kind != QR_ACCEL_FORWARD || s->done_cnt == job->row_cnt);
  job->err = s->err ? s->err : whole ? 0 : QR_ERR_CANCELLED;
  job->unit = 0;
  qr_ocl_count_job(q->a, job);
  drop_slot(s);
  q->head = (q->head + 1) % QR_OCL_QUEUE_DEPTH;
  q->cnt--;
  job->finished = true;
}

/* Nothing has happened: on a processor the device's threads may wait for this core. Short at first,
   for a forward pass that is about to end. */
static void rest(qr_accel_queue_t *q) {
  const struct timespec nap = {0, NAP_NS};
  if (q->idle_cnt++ < YIELD_CNT)
    sched_yield();
  else
    nanosleep(&nap, NULL);
}

int qr_ocl_poll(qr_accel_queue_t *q) {
  int finished = 0;
  bool moved = false;
  if (!q->cnt) return 0;
  send_ahead(q);
  while (take_piece(q)) moved = true;
  while (q->cnt && slot_at(q, 0)->ended && !slot_at(q, 0)->pieces) {
    finish(q);
    finished++;
    moved = true;
  }
  if (moved) {
    send_ahead(q);
    q->idle_cnt = 0;
  } else if (q->a->dev.cpu) {
    rest(q);
  }
  return finished;
}
