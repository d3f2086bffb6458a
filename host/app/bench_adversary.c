#include "app/bench_adversary.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "app/bench_lookup.h"
#include "base/err.h"
#include "port/clock.h"
#include "step/program.h"
#include "step/ref.h"

#define WATCH_CNT 3u /* attempts that a miner sees before it leaves anything out */
#define ROUND_MAX_CNT QR_BENCH_SAMPLE_MAX_CNT
#define FOLDER_SZ 1024u
#define PHASE_MAX_CNT 32u
#define FIRST_NONCE 1000u
#define TIMED_STEP_CNT 4u

/* ---- the shared object ---- */

void qr_adversary_load(qr_adversary_lib_t *l, const char *folder) {
  char own[FOLDER_SZ], path[FOLDER_SZ + 64];
  memset(l, 0, sizeof *l);
  ssize_t n = readlink("/proc/self/exe", own, sizeof own - 1);
  own[n > 0 ? n : 0] = 0;
  char *slash = strrchr(own, '/');
  if (slash) *slash = 0;
  snprintf(path, sizeof path, "%s/libquarry_adversary.so", folder ? folder : own);
  l->handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (l->handle) l->adversary = dlsym(l->handle, "qr_adversary");
  if (!l->adversary) {
    snprintf(l->why, sizeof l->why, "the adversary's miner cannot be loaded: %.180s", dlerror());
  } else if (l->adversary->sz != sizeof *l->adversary) {
    snprintf(l->why, sizeof l->why, "%.180s is of another build", path);
    l->adversary = NULL;
  }
}

void qr_adversary_unload(qr_adversary_lib_t *l) {
  if (l->handle) dlclose(l->handle);
  memset(l, 0, sizeof *l);
}

/* ---- one trick on one task ---- */

typedef struct {
  qr_bench_task_t *t;
  qr_adversary_miner_t *miner;
  qr_bench_lookup_t *lookup;
  uint8_t *model, *model_out;
  qr_header_t prefix; /* with the root of the trick's model */
  qr_hash_t trace[QR_BLOCK_STEP_MAX_CNT];
} line_t;

typedef struct {
  const qr_bench_adversary_cfg_t *cfg;
  qr_bench_adversary_t *out;
  qr_adversary_lib_t lib;
  qr_objects_t objects;
  bool has_objects;
  qr_bench_dev_t dev;
  qr_bench_task_t tasks[QR_TASK_MAX_CNT];
  int32_t *values[QR_TASK_MAX_CNT]; /* of the target model on every row's successor */
  line_t lines[QR_TASK_MAX_CNT][QR_ADVERSARY_TRICK_MAX_CNT];
  uint32_t *rows;
  void *batch_scratch;
  uint64_t began_ns, round_ns;
} bench_t;

/* Attempts are timed by what they take of the core, so that other programs count for neither side.
 */
static double core_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

static uint32_t steps_of(const bench_t *b) { return b->out->chain.p.step_cnt; }

/* The attempt's minibatches into the task's buffers, as any miner has to. */
static void gather(bench_t *b, qr_bench_task_t *t, const qr_hash_t *sigma) {
  const qr_net_t *net = &t->chain->nets[t->task];
  const qr_task_params_t *task = &t->chain->p.tasks[t->task];
  uint32_t batch = net->spec.batch, row_cnt = qr_view_row_cnt(&t->view),
           seg_rows = t->chain->p.segment_rows;
  for (uint32_t k = 0; k < steps_of(b); k++) {
    qr_step_batch(sigma, k, row_cnt, batch, b->rows, b->batch_scratch);
    for (uint32_t i = 0; i < batch; i++) {
      const qr_segment_t *seg = t->view.segments[b->rows[i] / seg_rows]->seg;
      size_t r = b->rows[i] % seg_rows, to = (size_t)k * batch + i;
      memcpy(t->obs + to * net->in_sz, seg->obs + r * net->in_sz, net->in_sz);
      t->act[to] = seg->actions[r];
      t->target[to] =
          qr_step_td_target(seg->rewards[r], seg->dones[r], b->values[t->task][b->rows[i]],
                            task->gamma_q16, task->q_clip);
    }
  }
}

typedef void (*steps_fn_t)(qr_adversary_miner_t *m, const qr_accel_job_t *job);

/* From a prefix to its ticket. */
static qr_hash_t draw_ticket(bench_t *b, line_t *l, uint64_t nonce, steps_fn_t steps,
                             double *steps_ms) {
  qr_bench_task_t *t = l->t;
  uint32_t n = t->digest_cnt, k_cnt = steps_of(b);
  qr_header_t h = l->prefix;
  h.nonce = nonce;
  qr_hash_t sigma = qr_header_sigma(&h);
  gather(b, t, &sigma);
  qr_accel_job_t job = {.kind = QR_ACCEL_ATTEMPT,
                        .model_in = l->model,
                        .model_out = l->model_out,
                        .sigma = sigma,
                        .step_cnt = k_cnt,
                        .lr_shift = qr_params_lr_shift(&t->chain->p.tasks[t->task], 0),
                        .obs = t->obs,
                        .act = t->act,
                        .target = t->target,
                        .digests = t->digests,
                        .td_abs_sum = t->td_abs_sum};
  double began = core_ms();
  steps(l->miner, &job);
  *steps_ms = core_ms() - began;
  for (uint32_t k = 0; k < k_cnt; k++)
    l->trace[k] = qr_step_trace_next(k ? &l->trace[k - 1] : &sigma, t->digests + (size_t)k * n, n);
  qr_hash_t root = qr_model_root(&t->chain->nets[t->task], l->model_out);
  return qr_header_ticket(&sigma, &root, &l->trace[k_cnt - 1]);
}

/* The honest executor on the same prefix and model. */
static int draw_honestly(bench_t *b, line_t *l, uint64_t nonce, qr_hash_t *ticket, double *ms) {
  qr_bench_task_t *t = l->t;
  qr_exec_job_t *job = &t->work;
  qr_segment_obj_t *segment = qr_objects_segment(t->objects, t->task);
  if (!segment) return QR_ERR_NOMEM;
  *job = (qr_exec_job_t){.mode = QR_EXEC_MINE,
                         .task = t->task,
                         .view = &t->view,
                         .model_in = l->model,
                         .model_out = t->model_out,
                         .segment = segment,
                         .header = l->prefix};
  job->header.nonce = nonce;
  double began = core_ms();
  qr_executor_start(b->dev.executor, job);
  while (!job->done) qr_executor_poll(b->dev.executor);
  *ms = core_ms() - began;
  qr_pool_unref(segment);
  job->segment = NULL;
  qr_hash_t sigma = qr_header_sigma(&job->header);
  *ticket = qr_header_ticket(&sigma, &job->header.model_out, &job->header.trace_last);
  return job->err;
}

/* Trace and outgoing model of both are the same, every byte. */
static bool same_results(const bench_t *b, const line_t *l) {
  const qr_bench_task_t *t = l->t;
  for (uint32_t k = 0; k < steps_of(b); k++) {
    if (!qr_hash_eq(&l->trace[k], &t->work.trace[k])) return false;
  }
  return !memcmp(l->model_out, t->model_out, t->chain->nets[t->task].model_sz);
}

/* The products' share of the time of a training step, 0 if the driver does not tell. */
static int share_of_products(bench_t *b, line_t *l, double *share) {
  const char *const *phases = b->dev.ops->phases;
  uint64_t phase_ns[PHASE_MAX_CNT] = {0};
  uint32_t steps = steps_of(b) < TIMED_STEP_CNT ? steps_of(b) : TIMED_STEP_CNT;
  double ignored, products = 0, all = 0;
  *share = 0;
  if (!phases) return QR_OK;
  int err = qr_bench_train(l->t, &b->dev, steps, phase_ns, &ignored);
  for (uint32_t i = 0; phases[i] && i < PHASE_MAX_CNT; i++) {
    if (!strncmp(phases[i], "product", 7)) products += (double)phase_ns[i];
    all += (double)phase_ns[i];
  }
  if (all > 0) *share = products / all;
  return err;
}

static double least(double a, double b) { return a < b ? a : b; }

/* What one round finds of a trick, milliseconds: the better of two attempts of each side, taken in
   the order A B B A. */
typedef struct {
  double honest, own, steps;
} pair_t;

static int measure_pair(bench_t *b, line_t *l, uint64_t nonce, pair_t *p, bool *exact) {
  qr_hash_t tickets[2];
  *p = (pair_t){1e30, 1e30, 1e30};
  for (uint32_t turn = 0; turn < 4; turn++) {
    double ms, steps;
    if (((turn + 1) >> 1 ^ nonce) & 1) {
      double began = core_ms();
      tickets[0] = draw_ticket(b, l, nonce, b->lib.adversary->attempt, &steps);
      ms = core_ms() - began;
      if (ms < p->own) p->steps = steps;
      p->own = least(p->own, ms);
    } else {
      int err = draw_honestly(b, l, nonce, &tickets[1], &ms);
      if (err) return err;
      p->honest = least(p->honest, ms);
    }
  }
  *exact = same_results(b, l) && qr_hash_eq(&tickets[0], &tickets[1]);
  return QR_OK;
}

static int measure(bench_t *b, uint32_t task, uint32_t trick, uint32_t round) {
  line_t *l = &b->lines[task][trick];
  qr_adversary_case_t *c = &b->out->cases[task][trick];
  double share, saved_us;
  pair_t p;
  bool exact;
  int err = measure_pair(b, l, FIRST_NONCE + WATCH_CNT + round, &p, &exact);
  if (!err) err = share_of_products(b, l, &share); /* writes where the honest results were */
  if (!err) err = qr_bench_lookup_round(l->lookup, &b->dev, b->dev.progs[task], c, &saved_us);
  if (err) return err;
  c->attempt_cnt++;
  c->exact_cnt += exact;
  qr_bench_add(&c->honest_per_s, 1e3 / p.honest);
  qr_bench_add(&c->attempts_per_s, 1e3 / p.own);
  qr_bench_add(&c->ratio, p.honest / p.own);
  qr_bench_add(&c->outside_share, 1 - p.steps / p.own);
  /* The products take both sides the same time. */
  double in_steps = p.honest - (p.own - p.steps);
  if (share > 0) qr_bench_add(&c->product_share, share * in_steps / p.own);
  qr_bench_add(&c->ratio_lookups, p.honest / (p.own - saved_us * 1e-3 * steps_of(b)));
  return QR_OK;
}

double qr_adversary_ticket_ratio(const qr_adversary_case_t *c) {
  return c->attempt_cnt ? qr_bench_stat(&c->ratio).median * c->exact_cnt / c->attempt_cnt : 0;
}

double qr_adversary_bound(const qr_adversary_case_t *c, double left) {
  if (!c->product_share.cnt) return 0;
  double share = qr_bench_stat(&c->product_share).median;
  return qr_adversary_ticket_ratio(c) / (1 - share * (1 - left));
}

/* ---- setting up ---- */

static int say(char *why, size_t why_sz, int err, const char *text) {
  snprintf(why, why_sz, "%s (%s)", text, qr_err_str(err));
  return err;
}

/* Values of the target model, which a miner has from earlier attempts. */
static int value_targets(bench_t *b, uint32_t task) {
  qr_bench_task_t *t = &b->tasks[task];
  const qr_net_t *net = &b->out->chain.nets[task];
  uint32_t row_cnt = qr_view_row_cnt(&t->view), seg_rows = b->out->chain.p.segment_rows,
           a_cnt = net->spec.action_cnt;
  b->values[task] = malloc(row_cnt * sizeof *b->values[task]);
  if (!b->values[task]) return QR_ERR_NOMEM;
  for (uint32_t row = 0; row < row_cnt; row++) {
    const qr_segment_t *seg = t->view.segments[row / seg_rows]->seg;
    qr_accel_job_t job = {.kind = QR_ACCEL_FORWARD,
                          .prog = b->dev.progs[task],
                          .model_in = t->view.target->bytes,
                          .obs = seg->obs +
                                 (size_t)(row % seg_rows + QR_SEGMENT_INSTANCE_CNT) * net->in_sz,
                          .row_cnt = 1,
                          .q = t->q};
    int err = qr_bench_finish(&b->dev, &job);
    if (err) return err;
    b->values[task][row] = t->q[qr_step_argmax(t->q, a_cnt)];
  }
  return QR_OK;
}

/* Opens a line: model, miner, what it may leave out, and what its operands are like. */
static int begin_line(bench_t *b, uint32_t task, uint32_t trick, const char *kernel) {
  const qr_adversary_t *a = b->lib.adversary;
  qr_bench_task_t *t = &b->tasks[task];
  const qr_net_t *net = &b->out->chain.nets[task];
  line_t *l = &b->lines[task][trick];
  qr_adversary_case_t *c = &b->out->cases[task][trick];
  double ignored;
  snprintf(c->name, sizeof c->name, "%s", a->tricks[trick].name);
  snprintf(c->what, sizeof c->what, "%s", a->tricks[trick].what);
  l->t = t;
  l->model = aligned_alloc(QR_CACHE_LINE, qr_align_up(net->model_sz, QR_CACHE_LINE));
  l->model_out = aligned_alloc(QR_CACHE_LINE, qr_align_up(net->model_sz, QR_CACHE_LINE));
  if (!l->model || !l->model_out) return QR_ERR_NOMEM;
  a->make_model(trick, net, t->genesis.model->bytes, l->model);
  l->prefix = t->prefix;
  l->prefix.model_in = qr_model_root(net, l->model);
  int err = a->open(net, kernel, &l->miner);
  if (err) return err;
  for (uint32_t i = 0; i < WATCH_CNT; i++) draw_ticket(b, l, FIRST_NONCE + i, a->watch, &ignored);
  a->removed(l->miner, c->removed, sizeof c->removed);
  return qr_bench_lookup_init(&l->lookup, a, kernel, t, l->model, c);
}

static int choose_tasks(const qr_bench_adversary_cfg_t *cfg, qr_bench_adversary_t *o, char *why,
                        size_t why_sz) {
  bool any = false;
  for (uint32_t t = 0; t < o->chain.p.task_cnt; t++) {
    o->with_task[t] = !cfg->task || !strcmp(cfg->task, o->chain.p.tasks[t].name);
    any |= o->with_task[t];
  }
  if (!any) snprintf(why, why_sz, "there is no task '%s'", cfg->task);
  return any ? QR_OK : QR_ERR_ARG;
}

static int open_all(bench_t *b, char *why, size_t why_sz) {
  const qr_bench_adversary_cfg_t *cfg = b->cfg;
  qr_bench_adversary_t *o = b->out;
  qr_params_t p;
  if (!qr_params_profile(cfg->profile ? cfg->profile : "devnet", &p))
    return say(why, why_sz, QR_ERR_NOTFOUND, "there is no such profile");
  int err = qr_params_init(&p, &o->chain, why, why_sz);
  if (!err) err = choose_tasks(cfg, o, why, why_sz);
  if (err) return err;
  qr_adversary_load(&b->lib, cfg->folder);
  if (!b->lib.adversary) {
    snprintf(why, why_sz, "%s", b->lib.why);
    return QR_ERR_NOTFOUND;
  }
  while (b->lib.adversary->tricks[o->trick_cnt].name && o->trick_cnt < QR_ADVERSARY_TRICK_MAX_CNT)
    o->trick_cnt++;
  err = qr_bench_dev_open(&b->dev, &o->chain, cfg->accel, cfg->options ? cfg->options : "", why,
                          why_sz);
  if (err) return err;
  cfg->accel->info(b->dev.accel, &o->device);
  return QR_OK;
}

static int init(bench_t *b, char *why, size_t why_sz) {
  qr_bench_adversary_t *o = b->out;
  int err = open_all(b, why, why_sz);
  if (err) return err;
  if (strncmp(o->device.name, "cpu ", 4))
    return say(why, why_sz, QR_ERR_UNSUPPORTED, "the adversary mines with the CPU driver only");
  qr_objects_cfg_t sizes = {.model_cnt = o->chain.p.task_cnt + 2,
                            .segment_cnt = o->chain.p.task_cnt * o->chain.p.warmup_segments + 2,
                            .block_cnt = 1};
  err = qr_objects_init(&b->objects, &o->chain, &sizes);
  b->has_objects = !err;
  uint32_t batch = 0, row_cnt = o->chain.p.warmup_segments * o->chain.p.segment_rows;
  for (uint32_t t = 0; t < o->chain.p.task_cnt; t++) {
    if (o->chain.nets[t].spec.batch > batch) batch = o->chain.nets[t].spec.batch;
  }
  b->rows = malloc(batch * sizeof *b->rows);
  b->batch_scratch = malloc(qr_step_batch_scratch_sz(row_cnt));
  if (!b->rows || !b->batch_scratch) err = QR_ERR_NOMEM;
  for (uint32_t t = 0; t < o->chain.p.task_cnt && !err; t++) {
    if (!o->with_task[t]) continue;
    err = qr_bench_task_init(&b->tasks[t], &b->objects, t, 1);
    if (!err) err = value_targets(b, t);
    for (uint32_t i = 0; i < o->trick_cnt && !err; i++)
      err = begin_line(b, t, i, o->device.name + 4);
  }
  return err ? say(why, why_sz, err, "cannot set up") : QR_OK;
}

static void fini(bench_t *b) {
  for (uint32_t t = 0; t < QR_TASK_MAX_CNT; t++) {
    for (uint32_t i = 0; i < QR_ADVERSARY_TRICK_MAX_CNT; i++) {
      line_t *l = &b->lines[t][i];
      if (l->miner) b->lib.adversary->close(l->miner);
      qr_bench_lookup_fini(l->lookup);
      free(l->model);
      free(l->model_out);
    }
    free(b->values[t]);
    qr_bench_task_fini(&b->tasks[t]);
  }
  free(b->rows);
  free(b->batch_scratch);
  if (b->has_objects) qr_objects_fini(&b->objects);
  qr_bench_dev_close(&b->dev);
  qr_adversary_unload(&b->lib);
}

/* Each trick of each task once, next to the honest attempt that it is compared with; who comes
   first changes from round to round. */
static int make_round(bench_t *b) {
  qr_bench_adversary_t *o = b->out;
  uint64_t began = qr_clock_mono_ns();
  int err = QR_OK;
  for (uint32_t t = 0; t < o->chain.p.task_cnt; t++) {
    for (uint32_t i = 0; i < o->trick_cnt && o->with_task[t] && !err; i++)
      err = measure(b, t, (i + o->round_cnt) % o->trick_cnt, o->round_cnt);
  }
  o->round_cnt++;
  b->round_ns = qr_clock_mono_ns() - began;
  return err;
}

static bool has_time(const bench_t *b) {
  return qr_clock_mono_ns() - b->began_ns + b->round_ns <= b->cfg->seconds * UINT64_C(1000000000);
}

int qr_bench_adversary_run(const qr_bench_adversary_cfg_t *cfg, qr_bench_adversary_t *out,
                           char *why, size_t why_sz) {
  bench_t *b = calloc(1, sizeof *b);
  memset(out, 0, sizeof *out);
  if (!b) return say(why, why_sz, QR_ERR_NOMEM, "cannot take the memory");
  b->cfg = cfg;
  b->out = out;
  b->began_ns = qr_clock_mono_ns();
  int err = init(b, why, why_sz);
  if (!err) {
    do {
      err = make_round(b);
    } while (!err && out->round_cnt < ROUND_MAX_CNT && has_time(b));
    if (err) say(why, why_sz, err, "an attempt failed");
  }
  out->seconds = (double)(qr_clock_mono_ns() - b->began_ns) * 1e-9;
  fini(b);
  free(b);
  return err;
}
