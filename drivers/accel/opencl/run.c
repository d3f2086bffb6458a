/* What goes to the device for each piece of a job. Nothing here waits: writes and reads are
   asynchronous, and what they touch is lent until the job is finished or belongs to the piece. */

#include "queue.h"

typedef struct {
  qr_accel_queue_t *q;
  cl_command_queue cq;
  qr_ocl_piece_t *piece;
  cl_mem mem;
  cl_int err; /* the first; after it nothing is sent */
} run_t;

/* Where the event of the next command goes, or NULL. */
static cl_event *timing(run_t *r, uint32_t phase) {
  qr_ocl_piece_t *p = r->piece;
  if (!r->q->is_timed || p->event_cnt == QR_OCL_EVENT_MAX_CNT) return NULL;
  p->phases[p->event_cnt] = (uint8_t)phase;
  return &p->events[p->event_cnt];
}

static void sent(run_t *r, cl_event *timed, cl_int err) {
  r->err = err;
  if (timed && !err) r->piece->event_cnt++;
}

static void put(run_t *r, uint32_t off, const void *from, size_t sz) {
  if (r->err) return;
  cl_event *e = timing(r, QR_OCL_P_TRANSFER);
  sent(r, e, clEnqueueWriteBuffer(r->cq, r->mem, CL_FALSE, off, sz, from, 0, NULL, e));
}

static void get(run_t *r, uint32_t off, void *to, size_t sz) {
  if (r->err) return;
  cl_event *e = timing(r, QR_OCL_P_TRANSFER);
  sent(r, e, clEnqueueReadBuffer(r->cq, r->mem, CL_FALSE, off, sz, to, 0, NULL, e));
}

static void launch(run_t *r, enum qr_ocl_kernel which, uint32_t wg_cnt) {
  size_t local = r->q->a->kernels.items[which], global = local * wg_cnt;
  if (r->err) return;
  cl_event *e = timing(r, which);
  sent(r, e,
       clEnqueueNDRangeKernel(r->cq, r->q->kernels[which], 1, NULL, &global, &local, 0, NULL, e));
}

static void set(run_t *r, enum qr_ocl_kernel which, cl_uint i, const void *value, size_t sz) {
  if (!r->err) r->err = clSetKernelArg(r->q->kernels[which], i, sz, value);
}

static void launch_all(run_t *r, const qr_ocl_launches_t *l, cl_mem tasks, uint32_t lr_shift,
                       uint32_t sums) {
  for (uint32_t i = 0; i < l->cnt; i++) {
    enum qr_ocl_kernel which = l->launches[i].kernel;
    set(r, which, 0, &r->mem, sizeof r->mem);
    set(r, which, 1, &tasks, sizeof tasks);
    set(r, which, 2, &l->launches[i].first, 4);
    set(r, which, 3, &lr_shift, 4);
    set(r, which, 4, &sums, 4);
    launch(r, which, l->launches[i].wg_cnt);
  }
}

static void draw(run_t *r, const qr_ocl_loaded_t *p) {
  const qr_ocl_plan_t *plan = &p->plan;
  if (!plan->draw_cnt) return;
  set(r, QR_OCL_K_DRAW, 0, &r->mem, sizeof r->mem);
  set(r, QR_OCL_K_DRAW, 1, &p->draws, sizeof p->draws);
  set(r, QR_OCL_K_DRAW, 2, &plan->keys, 4);
  set(r, QR_OCL_K_DRAW, 3, &plan->input, 4);
  launch(r, QR_OCL_K_DRAW, plan->draws[plan->draw_cnt - 1].wg_end);
}

/* ---- training ---- */

#define LR_SHIFT_MAX (1u << 20) /* far more than any shift that still changes something */

static void send_step(run_t *r, qr_ocl_slot_t *s) {
  const qr_ocl_loaded_t *p = s->prog;
  const qr_ocl_plan_t *plan = &p->plan;
  const qr_accel_job_t *job = s->job;
  uint32_t k = s->done_cnt++, lr = job->lr_shift < LR_SHIFT_MAX ? job->lr_shift : LR_SHIFT_MAX;
  size_t rows = (size_t)k * p->batch;
  uint8_t *in = r->piece->input;
  qr_ocl_heads(&job->sigma, plan->stream, plan->draw_cnt, k, (uint32_t *)(void *)in);
  memcpy(in + plan->target, job->target + rows, p->batch * sizeof *job->target);
  memcpy(in + plan->act, job->act + rows, p->batch);
  if (!k) {
    qr_ocl_keys(&job->sigma, &s->keys);
    put(r, plan->model, job->model_in, p->model_sz);
    put(r, plan->keys, &s->keys, sizeof s->keys);
  }
  put(r, plan->input, in, plan->input_sz);
  put(r, plan->obs, job->obs + rows * p->obs_sz, (size_t)p->batch * p->obs_sz);
  draw(r, p);
  launch_all(r, &plan->step, p->tasks, lr, plan->sums);
  get(r, plan->sums, r->piece->sums, sizeof r->piece->sums);
  r->piece->step = true;
}

static void send_attempt(run_t *r, qr_ocl_slot_t *s) {
  if (!s->cancelled && s->done_cnt < s->job->step_cnt) {
    send_step(r, s);
    return;
  }
  get(r, s->prog->plan.model, s->job->model_out, s->prog->model_sz);
  s->ended = true;
}

/* ---- forward ---- */

/* Whether the weights on the device are this job's: the caller says so, or the bytes do. */
static bool knows_weights(qr_accel_queue_t *q, const qr_accel_job_t *job, size_t model_sz) {
  if (!q->fwd_known[job->prog]) return false;
  if (job->model_tag && job->model_tag == q->fwd_tag[job->prog]) return true;
  if (memcmp(q->fwd_model[job->prog], job->model_in, model_sz)) return false;
  q->fwd_tag[job->prog] = job->model_tag;
  return true;
}

/* Packs the model's weights, unless they are there. */
static void send_weights(run_t *r, qr_ocl_slot_t *s) {
  const qr_ocl_loaded_t *p = s->prog;
  const qr_accel_job_t *job = s->job;
  qr_accel_queue_t *q = r->q;
  if (knows_weights(q, job, p->model_sz)) return;
  q->fwd_known[job->prog] = false;
  put(r, p->plan.fwd_model, job->model_in, p->model_sz);
  launch_all(r, &p->plan.fwd_weights, p->tasks, 0, p->plan.sums);
  if (r->err) return;
  memcpy(q->fwd_model[job->prog], job->model_in, p->model_sz);
  q->fwd_tag[job->prog] = job->model_tag;
  q->fwd_known[job->prog] = true;
}

/* The longest pass that is mostly full, else the shortest. */
static const qr_ocl_forward_t *pass_for(const qr_ocl_plan_t *p, uint32_t left) {
  for (uint32_t i = 0; i + 1 < p->fwd_cnt; i++)
    if (left >= p->fwd[i].rows / 4 * 3) return &p->fwd[i];
  return &p->fwd[p->fwd_cnt - 1];
}

static void send_pass(run_t *r, qr_ocl_slot_t *s) {
  const qr_ocl_loaded_t *p = s->prog;
  const qr_accel_job_t *job = s->job;
  uint32_t left = job->row_cnt - s->done_cnt;
  const qr_ocl_forward_t *pass = pass_for(&p->plan, left);
  uint32_t rows = left < pass->rows ? left : pass->rows;
  if (!s->done_cnt) send_weights(r, s);
  put(r, p->plan.fwd_obs, job->obs + (size_t)s->done_cnt * p->obs_sz, (size_t)rows * p->obs_sz);
  launch_all(r, &pass->run, p->tasks, 0, p->plan.sums);
  get(r, p->plan.fwd_q, job->q + (size_t)s->done_cnt * p->action_cnt,
      (size_t)rows * p->action_cnt * 4);
  s->done_cnt += rows;
  s->ended = s->done_cnt == job->row_cnt;
}

/* ---- a product ---- */

static void send_gemm(run_t *r, qr_ocl_slot_t *s) {
  const qr_ocl_gemm_t *g = s->gemm;
  const cl_uint zero = 0;
  cl_context ctx = r->q->a->dev.ctx;
  s->gemm_mem = clCreateBuffer(ctx, CL_MEM_READ_WRITE, g->mem_sz, NULL, &r->err);
  if (r->err) return;
  s->gemm_tasks = clCreateBuffer(ctx, CL_MEM_READ_ONLY | CL_MEM_COPY_HOST_PTR, sizeof g->tasks,
                                 (void *)(uintptr_t)g->tasks, &r->err);
  if (r->err) return;
  r->mem = s->gemm_mem;
  cl_event *e = timing(r, QR_OCL_P_TRANSFER);
  sent(r, e, clEnqueueFillBuffer(r->cq, r->mem, &zero, sizeof zero, 0, g->mem_sz, 0, NULL, e));
  put(r, g->a, s->job->a, g->a_sz);
  put(r, g->b, s->job->b, g->b_sz);
  launch_all(r, &g->run, s->gemm_tasks, 0, 0);
  get(r, g->c, s->job->c, g->c_sz);
  s->ended = true;
}

cl_int qr_ocl_send(qr_accel_queue_t *q, qr_ocl_slot_t *s, qr_ocl_piece_t *p) {
  run_t r = {.q = q, .cq = q->is_timed ? q->timed : q->plain, .piece = p};
  p->slot = s;
  p->step = false;
  p->event_cnt = 0;
  r.mem = q->mem[s->job->prog];
  s->started = true;
  switch (s->job->kind) {
  case QR_ACCEL_ATTEMPT: send_attempt(&r, s); break;
  case QR_ACCEL_FORWARD: send_pass(&r, s); break;
  case QR_ACCEL_GEMM: send_gemm(&r, s); break;
  }
  /* also after a failure: what was sent before it must be over before the job is */
  cl_int err = clEnqueueMarkerWithWaitList(r.cq, 0, NULL, &p->done);
  if (err) p->done = NULL;
  if (!err) err = clFlush(r.cq);
  return r.err ? r.err : err;
}

void qr_ocl_count_time(qr_ocl_piece_t *p, uint64_t *phase_ns) {
  for (uint32_t i = 0; i < p->event_cnt; i++) {
    cl_ulong from = 0, to = 0;
    if (clGetEventProfilingInfo(p->events[i], CL_PROFILING_COMMAND_START, sizeof from, &from,
                                NULL) ||
        clGetEventProfilingInfo(p->events[i], CL_PROFILING_COMMAND_END, sizeof to, &to, NULL))
      continue;
    if (to > from) phase_ns[p->phases[i]] += to - from;
  }
}

void qr_ocl_forget_events(qr_ocl_piece_t *p) {
  for (uint32_t i = 0; i < p->event_cnt; i++) clReleaseEvent(p->events[i]);
  if (p->done) clReleaseEvent(p->done);
  p->event_cnt = 0;
  p->done = NULL;
}
