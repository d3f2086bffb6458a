#include "app/bench_step.h"

#include <stdio.h>
#include <stdlib.h>

#include "app/bench_float.h"
#include "app/bench_perf.h"
#include "base/err.h"
#include "port/clock.h"
#include "port/drivers.h"

#define SPARE_CNT 8u /* segments and models that are in use at a time, beyond the threads' */
#define ROUND_MAX_CNT (QR_BENCH_SAMPLE_MAX_CNT / QR_TASK_MAX_CNT) /* a peak is taken per task */
#define TRAIN_STEP_CNT 4u                                         /* of one sample */
#define LATENCY_REPEAT_CNT 64u
#define TRY_MAX_CNT 4u /* of which the fastest counts */
#define TRY_MS 200.0   /* no further try that would end after this */
#define SCALING_ATTEMPT_CNT 2u
#define LANE_MAX_CNT 16u
#define LONG_PART 4u /* an attempt that takes more than this part of the time is not made */

const char *const qr_bench_metric_keys[QR_BENCH_METRIC_CNT] = {
    [QR_BENCH_STEP_MS] = "step_ms",
    [QR_BENCH_ATTEMPT_MS] = "attempt_ms",
    [QR_BENCH_ATTEMPTS_PER_S] = "attempts_per_s",
    [QR_BENCH_STEP_GMAC] = "step_gmac_per_s",
    [QR_BENCH_OF_OWN_PEAK] = "step_ratio_to_own_peak",
    [QR_BENCH_OF_BEST_PEAK] = "step_ratio_to_best_peak",
    [QR_BENCH_ATTEMPT_OF_GEMM] = "attempt_ratio_to_products_at_own_peak",
    [QR_BENCH_FORWARD_16_US] = "forward_16_rows_us",
    [QR_BENCH_FORWARD_4096_MS] = "forward_4096_rows_ms",
    [QR_BENCH_FORWARD_ROWS_PER_S] = "forward_4096_rows_per_s",
    [QR_BENCH_ATTEMPT_OF_FIRST] = "attempt_ratio_to_first_kernel",
    [QR_BENCH_STEP_OF_CPU] = "step_ratio_to_cpu_driver",
    [QR_BENCH_ATTEMPT_OF_CPU] = "attempt_ratio_to_cpu_driver",
    [QR_BENCH_FORWARD_OF_CPU] = "forward_4096_rows_ratio_to_cpu_driver",
    [QR_BENCH_PRODUCTS_GMAC] = "products_gmac_per_s",
    [QR_BENCH_PRODUCTS_OF_PEAK] = "products_ratio_to_own_peak",
    [QR_BENCH_DRAW_SHARE] = "dither_digest_share_of_attempt",
    [QR_BENCH_NOT_PRODUCT_SHARE] = "not_product_share_of_attempt",
    [QR_BENCH_OUTSIDE_SHARE] = "outside_steps_share_of_attempt",
    [QR_BENCH_INSTR_PER_MAC] = "step_instructions_per_mac",
    [QR_BENCH_CYCLES_PER_MAC] = "step_cycles_per_mac",
    [QR_BENCH_BLOCK_MS] = "block_ms",
    [QR_BENCH_VERIFY_MS] = "verify_ms",
    [QR_BENCH_VERIFY_COLD_MS] = "verify_cold_ms",
    [QR_BENCH_VERIFY_ATTEMPT] = "verify_ratio_to_attempt",
    [QR_BENCH_VERIFY_BLOCK] = "verify_ratio_to_block",
};
const char *const qr_bench_scaling_keys[QR_BENCH_SCALING_CNT] = {
    [QR_BENCH_ONE_THREAD] = "one_thread_attempts_per_s",
    [QR_BENCH_ALL_THREADS] = "all_threads_attempts_per_s",
    [QR_BENCH_SCALING] = "ratio_all_to_one",
    [QR_BENCH_SHARED_MS] = "attempt_on_all_threads_ms",
    [QR_BENCH_SHARED_OF_ONE] = "attempt_ratio_one_to_all_threads",
    [QR_BENCH_LANES] = "lanes_attempts_per_s",
};
const char *const qr_bench_float_keys[QR_BENCH_FLOAT_CNT] = {
    [QR_BENCH_FLOAT_MS] = "float32_step_ms",
    [QR_BENCH_OURS_OF_FLOAT] = "step_ratio_to_float32",
};

typedef struct {
  const qr_bench_step_cfg_t *cfg;
  qr_bench_step_t *out;
  qr_objects_t objects;
  bool has_objects;
  qr_bench_dev_t devs[QR_BENCH_VARIANT_MAX_CNT];
  qr_bench_dev_t cpu;    /* the CPU driver beside another one, open before that; zeroed: none */
  qr_bench_dev_t shared; /* the first variant with all threads for one attempt; zeroed: none */
  qr_bench_task_t tasks[QR_TASK_MAX_CNT];
  qr_bench_seats_t *seats;
  qr_rivals_t rivals;
  qr_bench_products_t *products;
  qr_bench_float_t floats[QR_TASK_MAX_CNT];
  qr_bench_perf_t perf;
  double peak[QR_BENCH_PEAK_MAX_CNT]; /* of the round in progress */
  bool due[QR_BENCH_VARIANT_MAX_CNT]; /* takes part in it */
  uint64_t began_ns;
  uint64_t cost_ns[QR_BENCH_VARIANT_MAX_CNT], spent_ns[QR_BENCH_VARIANT_MAX_CNT]; /* last, all */
  uint64_t rest_ns;  /* last round without the variants: peaks, threads and comparisons */
  const char *where; /* what was measured last, for messages */
} bench_t;

static int say(char *why, size_t why_sz, int err, const char *what, const char *where) {
  snprintf(why, why_sz, "%s%s%s (%s)", what, *where ? " on " : "", where, qr_err_str(err));
  return err;
}

static bool beside_cpu(const bench_t *b) { return b->cpu.accel; }

/* What a variant that was opened says of itself. */
static void introduce(qr_bench_step_t *o, const qr_bench_dev_t *d) {
  qr_accel_unit_t units[QR_ACCEL_UNIT_MAX_CNT];
  uint32_t v = o->variant_cnt++;
  const char *kernel;
  d->ops->info(d->accel, &o->variants[v]);
  o->drivers[v] = d->ops;
  for (uint32_t i = d->ops->units ? d->ops->units(d->accel, units, QR_ACCEL_UNIT_MAX_CNT) : 0; i;)
    o->emulated[v] |= units[--i].emulated;
  if (!(kernel = strstr(o->variants[v].name, "cpu "))) return; /* or inside of another one */
  for (uint32_t i = 0; i < o->peak_cnt; i++) {
    if (strstr(kernel, o->peaks[i]->name)) o->own_peak[v] = o->peaks[i];
  }
}

static int open_variant(bench_t *b, const char *options, char *why, size_t why_sz) {
  qr_bench_step_t *o = b->out;
  qr_bench_dev_t *d = &b->devs[o->variant_cnt];
  int err = qr_bench_dev_open(d, &o->chain, b->cfg->accel, options, why, why_sz);
  if (!err && beside_cpu(b)) {
    err = qr_bench_dev_check(d, &b->cpu);
    if (err) {
      say(why, why_sz, err, "cannot take the memory", "");
      qr_bench_dev_close(d);
    }
  }
  if (err) return err;
  introduce(o, d);
  return QR_OK;
}

/* A driver that has no such option, or not beside the ones given, says so, and there is no figure.
 */
static void open_shared(bench_t *b, const char *options) {
  char with[256], why[256];
  if (b->cfg->thread_cnt < 2 || beside_cpu(b)) return;
  snprintf(with, sizeof with, "%s%sthreads=%u", options, *options ? "," : "", b->cfg->thread_cnt);
  if (qr_bench_dev_open(&b->shared, &b->out->chain, b->cfg->accel, with, why, sizeof why))
    memset(&b->shared, 0, sizeof b->shared);
}

static int open_variants(bench_t *b, char *why, size_t why_sz) {
  static const char *const plain[] = {"", NULL};
  qr_bench_step_t *o = b->out;
  const char *const one[] = {b->cfg->options, NULL};
  const char *const *list = b->cfg->options           ? one
                            : b->cfg->accel->variants ? b->cfg->accel->variants
                                                      : plain;
  for (; *list && o->variant_cnt + 1 < QR_BENCH_VARIANT_MAX_CNT; list++) {
    int err = open_variant(b, *list, why, why_sz);
    if (!err && o->variant_cnt == 1) open_shared(b, *list);
    if (err == QR_ERR_UNSUPPORTED && !b->cfg->options && o->absent_cnt < QR_BENCH_VARIANT_MAX_CNT)
      o->absent[o->absent_cnt++] = *list;
    else if (err)
      return err;
  }
  return o->variant_cnt ? QR_OK : QR_ERR_UNSUPPORTED; /* why is that of the last one */
}

/* The CPU driver first, since it is part of how the others work; but last in order. */
static int open_drivers(bench_t *b, char *why, size_t why_sz) {
  const qr_accel_ops_t *cpu = qr_accel_driver("cpu");
  qr_bench_step_t *o = b->out;
  int err = QR_OK;
  if (cpu && cpu != b->cfg->accel)
    err = qr_bench_dev_open(&b->cpu, &o->chain, cpu, "", why, why_sz);
  if (!err) err = open_variants(b, why, why_sz);
  if (err) return err;
  o->lane_cnt = beside_cpu(b) ? o->variants[0].seat_cnt : 0;
  if (o->lane_cnt > LANE_MAX_CNT) o->lane_cnt = LANE_MAX_CNT;
  if (!beside_cpu(b)) return QR_OK;
  o->cpu = o->variant_cnt;
  introduce(o, &b->cpu);
  return QR_OK;
}

static bool is_beside(const bench_t *b, uint32_t v) { return v && v == b->out->cpu; }

static qr_bench_dev_t *dev_of(bench_t *b, uint32_t v) {
  return is_beside(b, v) ? &b->cpu : &b->devs[v];
}

static bool makes_attempts(const bench_t *b, uint32_t task, uint32_t v) {
  return b->out->long_ms[task] <= 0 || is_beside(b, v);
}

static int choose_tasks(const qr_bench_step_cfg_t *cfg, qr_bench_step_t *o, char *why,
                        size_t why_sz) {
  bool any = false;
  int n =
      snprintf(why, why_sz, "there is no task '%s'; this chain has", cfg->task ? cfg->task : "");
  for (uint32_t t = 0; t < o->chain.p.task_cnt; t++) {
    const char *name = o->chain.p.tasks[t].name;
    o->with_task[t] = !cfg->task || !strcmp(cfg->task, name);
    any |= o->with_task[t];
    if (n > 0 && (size_t)n < why_sz) n += snprintf(why + n, why_sz - (size_t)n, " %s", name);
  }
  return any ? QR_OK : QR_ERR_ARG;
}

static uint32_t train_step_cnt(const qr_bench_step_t *o) {
  return o->chain.p.step_cnt < TRAIN_STEP_CNT ? o->chain.p.step_cnt : TRAIN_STEP_CNT;
}

static uint32_t seat_cnt(const bench_t *b) {
  return beside_cpu(b) ? b->out->lane_cnt : b->cfg->thread_cnt;
}

static int take_memory(bench_t *b) {
  qr_bench_step_t *o = b->out;
  qr_objects_cfg_t sizes = {.model_cnt = o->chain.p.task_cnt + SPARE_CNT,
                            .segment_cnt = o->chain.p.warmup_segments + seat_cnt(b) + SPARE_CNT,
                            .block_cnt = 1};
  int err = qr_objects_init(&b->objects, &o->chain, &sizes);
  b->has_objects = !err;
  for (uint32_t t = 0; t < o->chain.p.task_cnt && !err; t++) {
    if (!o->with_task[t]) continue;
    err = qr_bench_task_init(&b->tasks[t], &b->objects, t, QR_BENCH_FORWARD_ROWS);
    if (!err && b->rivals.f32)
      err = qr_bench_float_init(&b->floats[t], b->rivals.f32, &b->tasks[t], train_step_cnt(o));
  }
  if (!err)
    err = qr_bench_seats_init(&b->seats, &o->chain, &b->devs[0], beside_cpu(b) ? &b->cpu : NULL,
                              seat_cnt(b));
  if (!err)
    err = qr_bench_products_init(&b->products, &o->chain, o->with_task, &b->devs[0], &b->rivals,
                                 &o->products);
  return err;
}

/* Libraries are rivals of the CPU driver; any other one has that as its rival. */
static void load_rivals(bench_t *b) {
  const qr_bench_peak_t *own = b->out->own_peak[0];
  if (!beside_cpu(b) || b->cfg->rivals) {
    qr_rivals_load(&b->rivals, b->cfg->rivals, own ? own->name : NULL);
    return;
  }
  snprintf(b->rivals.int8_why, sizeof b->rivals.int8_why, "not asked for with --rivals");
  snprintf(b->rivals.f32_why, sizeof b->rivals.f32_why, "not asked for with --rivals");
}

static int init(bench_t *b, char *why, size_t why_sz) {
  const qr_bench_step_cfg_t *cfg = b->cfg;
  qr_bench_step_t *o = b->out;
  qr_params_t p;
  if (!qr_params_profile("devnet", &p)) return QR_ERR_NOTFOUND;
  int err = qr_params_init(&p, &o->chain, why, why_sz);
  if (!err) err = choose_tasks(cfg, o, why, why_sz);
  if (err) return err;
  for (const qr_bench_peak_t *k = qr_bench_peaks; k->name && o->peak_cnt < QR_BENCH_PEAK_MAX_CNT;
       k++) {
    if (k->supported()) o->peaks[o->peak_cnt++] = k;
  }
  err = open_drivers(b, why, why_sz);
  if (err) return err;
  for (const char *const *phase = cfg->accel->phases;
       phase && *phase && o->phase_cnt < QR_BENCH_PHASE_MAX_CNT; phase++)
    o->phases[o->phase_cnt++] = *phase;
  o->thread_cnt = cfg->thread_cnt;
  qr_bench_perf_open(&b->perf);
  memcpy(o->perf_why, b->perf.why, sizeof o->perf_why);
  load_rivals(b);
  err = take_memory(b);
  return err ? say(why, why_sz, err, "cannot take the memory", "") : QR_OK;
}

/* Devices before what jobs of theirs may still write to. */
static void fini(bench_t *b) {
  qr_bench_seats_fini(b->seats);
  qr_bench_dev_close(&b->shared);
  for (uint32_t v = 0; v < QR_BENCH_VARIANT_MAX_CNT; v++) qr_bench_dev_close(&b->devs[v]);
  qr_bench_dev_close(&b->cpu);
  qr_bench_products_fini(b->products);
  for (uint32_t t = 0; t < QR_TASK_MAX_CNT; t++) {
    qr_bench_float_fini(&b->floats[t]);
    qr_bench_task_fini(&b->tasks[t]);
  }
  b->out->rivals = b->rivals;
  qr_rivals_unload(&b->rivals);
  qr_bench_perf_close(&b->perf);
  if (b->has_objects) qr_objects_fini(&b->objects);
}

/* The times of one case in one round, milliseconds. */
typedef struct {
  double step, attempt, forward_16, forward_many;
  double phases[QR_BENCH_PHASE_MAX_CNT]; /* of a step */
  uint64_t counts[QR_BENCH_COUNTER_CNT]; /* of a step; 0: not counted */
} times_t;

/* A further try is due: there is room for one that takes as long as the fastest. */
static bool try_again(uint32_t try_cnt, double spent_ms, double best_ms) {
  return !try_cnt || (try_cnt < TRY_MAX_CNT && spent_ms + best_ms <= TRY_MS);
}

typedef int (*work_t)(qr_bench_task_t *t, qr_bench_dev_t *d, double *ms);

static int fastest(work_t work, qr_bench_task_t *t, qr_bench_dev_t *d, double *best_ms) {
  double spent = 0, ms;
  for (uint32_t i = 0; try_again(i, spent, *best_ms); i++, spent += ms) {
    int err = work(t, d, &ms);
    if (err) return err;
    if (!i || ms < *best_ms) *best_ms = ms;
  }
  return QR_OK;
}

static int forward_16(qr_bench_task_t *t, qr_bench_dev_t *d, double *ms) {
  return qr_bench_forward(t, d, QR_BENCH_LATENCY_ROWS, LATENCY_REPEAT_CNT, ms);
}
static int forward_many(qr_bench_task_t *t, qr_bench_dev_t *d, double *ms) {
  return qr_bench_forward(t, d, QR_BENCH_FORWARD_ROWS, 1, ms);
}
static int verify_warm(qr_bench_task_t *t, qr_bench_dev_t *d, double *ms) {
  return qr_bench_verify(t, d, false, ms);
}
static int verify_cold(qr_bench_task_t *t, qr_bench_dev_t *d, double *ms) {
  return qr_bench_verify(t, d, true, ms);
}

static int measure_steps(bench_t *b, uint32_t task, uint32_t variant, times_t *to) {
  uint32_t step_cnt = train_step_cnt(b->out);
  double spent = 0, ms;
  for (uint32_t i = 0; try_again(i, spent, to->step); i++, spent += ms) {
    uint64_t counts[QR_BENCH_COUNTER_CNT];
    qr_bench_perf_start(&b->perf);
    int err = qr_bench_train(&b->tasks[task], dev_of(b, variant), step_cnt, NULL, &ms);
    bool counted = qr_bench_perf_stop(&b->perf, counts);
    if (err) return err;
    if (i && ms >= to->step) continue;
    to->step = ms;
    for (uint32_t c = 0; c < QR_BENCH_COUNTER_CNT; c++)
      to->counts[c] = counted ? counts[c] / step_cnt : 0;
  }
  to->step /= step_cnt;
  return QR_OK;
}

/* In runs of their own, for reading the clock between phases takes time too. */
static int measure_phases(bench_t *b, uint32_t task, uint32_t variant, times_t *to) {
  uint32_t step_cnt = train_step_cnt(b->out);
  double spent = 0, best = 0, ms;
  if (!b->out->phase_cnt || is_beside(b, variant)) return QR_OK;
  for (uint32_t i = 0; try_again(i, spent, best); i++, spent += ms) {
    uint64_t phase_ns[QR_BENCH_PHASE_MAX_CNT] = {0};
    int err = qr_bench_train(&b->tasks[task], &b->devs[variant], step_cnt, phase_ns, &ms);
    if (err) return err;
    if (i && ms >= best) continue;
    best = ms;
    for (uint32_t p = 0; p < b->out->phase_cnt; p++)
      to->phases[p] = (double)phase_ns[p] * 1e-6 / step_cnt;
  }
  return QR_OK;
}

static int measure(bench_t *b, uint32_t task, uint32_t variant, times_t *ms) {
  qr_bench_task_t *t = &b->tasks[task];
  qr_bench_dev_t *d = dev_of(b, variant);
  memset(ms, 0, sizeof *ms);
  b->where = b->out->variants[variant].name;
  int err = measure_steps(b, task, variant, ms);
  if (!err) err = measure_phases(b, task, variant, ms);
  if (!err && makes_attempts(b, task, variant)) err = fastest(qr_bench_attempt, t, d, &ms->attempt);
  if (!err) err = fastest(forward_16, t, d, &ms->forward_16);
  if (!err) err = fastest(forward_many, t, d, &ms->forward_many);
  return err;
}

/* A block is made and verified by the variant that a node would use. */
static int measure_verify(bench_t *b, uint32_t task, double attempt_ms) {
  qr_bench_task_t *t = &b->tasks[task];
  qr_bench_series_t *m = b->out->cases[task][0].metrics;
  double block = 0, verify = 0, cold = 0;
  b->where = b->out->variants[0].name;
  int err = fastest(qr_bench_block, t, &b->devs[0], &block);
  if (!err) err = fastest(verify_warm, t, &b->devs[0], &verify);
  if (!err) err = fastest(verify_cold, t, &b->devs[0], &cold);
  if (err) return err;
  qr_bench_add(&m[QR_BENCH_BLOCK_MS], block);
  qr_bench_add(&m[QR_BENCH_VERIFY_MS], verify);
  qr_bench_add(&m[QR_BENCH_VERIFY_COLD_MS], cold);
  qr_bench_add(&m[QR_BENCH_VERIFY_ATTEMPT], verify / attempt_ms);
  qr_bench_add(&m[QR_BENCH_VERIFY_BLOCK], verify / block);
  return QR_OK;
}

static bool is_draw(const char *phase) {
  return strstr(phase, "dither") || strstr(phase, "digest");
}

/* Where the time of a step, and of an attempt, goes. peak: the own one, 0 if there is none. */
static void keep_phases(const qr_bench_step_t *o, uint32_t task, qr_bench_case_t *to,
                        const times_t *ms, double peak) {
  double draws = 0, products = 0, steps = o->chain.p.step_cnt;
  qr_bench_series_t *m = to->metrics;
  for (uint32_t i = 0; i < o->phase_cnt; i++) {
    qr_bench_add(&to->phase_ms[i], ms->phases[i]);
    if (is_draw(o->phases[i])) draws += ms->phases[i];
    if (qr_bench_is_product(o->phases[i])) products += ms->phases[i];
  }
  if (ms->attempt > 0) qr_bench_add(&m[QR_BENCH_OUTSIDE_SHARE], 1 - ms->step * steps / ms->attempt);
  if (products <= 0) return;
  double gmac_per_s = (double)o->chain.nets[task].mac_cnt_step / products * 1e-6;
  qr_bench_add(&m[QR_BENCH_PRODUCTS_GMAC], gmac_per_s);
  if (peak > 0) qr_bench_add(&m[QR_BENCH_PRODUCTS_OF_PEAK], gmac_per_s / peak);
  if (ms->attempt <= 0) return;
  if (draws > 0) qr_bench_add(&m[QR_BENCH_DRAW_SHARE], draws * steps / ms->attempt);
  qr_bench_add(&m[QR_BENCH_NOT_PRODUCT_SHARE], 1 - products * steps / ms->attempt);
}

static void keep_attempt(bench_t *b, uint32_t task, uint32_t variant, double ms, double first_ms) {
  qr_bench_step_t *o = b->out;
  qr_bench_series_t *m = o->cases[task][variant].metrics;
  double mac_cnt = (double)o->chain.nets[task].mac_cnt_step;
  if (ms <= 0) return;
  qr_bench_add(&m[QR_BENCH_ATTEMPT_MS], ms);
  qr_bench_add(&m[QR_BENCH_ATTEMPTS_PER_S], 1e3 / ms);
  for (uint32_t i = 0; i < o->peak_cnt; i++) {
    if (o->peaks[i] != o->own_peak[variant]) continue;
    double products_ms = mac_cnt * o->chain.p.step_cnt / b->peak[i] * 1e-6;
    qr_bench_add(&m[QR_BENCH_ATTEMPT_OF_GEMM], ms / products_ms);
  }
  if (!o->cpu) qr_bench_add(&m[QR_BENCH_ATTEMPT_OF_FIRST], ms / first_ms);
}

/* The CPU driver's times of the same round. */
static void keep_ratios(bench_t *b, uint32_t task, const times_t *ms, const times_t *cpu) {
  qr_bench_series_t *m = b->out->cases[task][0].metrics;
  qr_bench_add(&m[QR_BENCH_STEP_OF_CPU], ms->step / cpu->step);
  if (ms->attempt > 0) qr_bench_add(&m[QR_BENCH_ATTEMPT_OF_CPU], ms->attempt / cpu->attempt);
  qr_bench_add(&m[QR_BENCH_FORWARD_OF_CPU], ms->forward_many / cpu->forward_many);
}

static void keep(bench_t *b, uint32_t task, uint32_t variant, const times_t *ms,
                 const times_t *first) {
  qr_bench_step_t *o = b->out;
  qr_bench_series_t *m = o->cases[task][variant].metrics;
  double mac_cnt = (double)o->chain.nets[task].mac_cnt_step;
  double gmac_per_s = mac_cnt / ms->step * 1e-6, own_peak = 0;
  qr_bench_add(&m[QR_BENCH_STEP_MS], ms->step);
  keep_attempt(b, task, variant, ms->attempt, first->attempt);
  qr_bench_add(&m[QR_BENCH_STEP_GMAC], gmac_per_s);
  for (uint32_t i = 0; i < o->peak_cnt; i++) {
    if (o->peaks[i] != o->own_peak[variant]) continue;
    own_peak = b->peak[i];
    qr_bench_add(&m[QR_BENCH_OF_OWN_PEAK], gmac_per_s / b->peak[i]);
    qr_bench_add(&m[QR_BENCH_OF_BEST_PEAK], gmac_per_s / b->peak[0]);
  }
  qr_bench_add(&m[QR_BENCH_FORWARD_16_US], ms->forward_16 * 1e3);
  qr_bench_add(&m[QR_BENCH_FORWARD_4096_MS], ms->forward_many);
  qr_bench_add(&m[QR_BENCH_FORWARD_ROWS_PER_S], QR_BENCH_FORWARD_ROWS * 1e3 / ms->forward_many);
  if (!is_beside(b, variant)) keep_phases(o, task, &o->cases[task][variant], ms, own_peak);
  if (ms->counts[QR_BENCH_INSTRUCTIONS])
    qr_bench_add(&m[QR_BENCH_INSTR_PER_MAC], (double)ms->counts[QR_BENCH_INSTRUCTIONS] / mac_cnt);
  if (ms->counts[QR_BENCH_CYCLES])
    qr_bench_add(&m[QR_BENCH_CYCLES_PER_MAC], (double)ms->counts[QR_BENCH_CYCLES] / mac_cnt);
}

static int scale_lanes(bench_t *b, uint32_t task) {
  double rate;
  if (b->out->lane_cnt < 2 || !makes_attempts(b, task, 0)) return QR_OK;
  b->where = "several attempts side by side";
  int err =
      qr_bench_seats_lanes(b->seats, &b->tasks[task], b->out->lane_cnt, SCALING_ATTEMPT_CNT, &rate);
  if (!err) qr_bench_add(&b->out->scaling[task][QR_BENCH_LANES], rate);
  return err;
}

static int scale(bench_t *b, uint32_t task) {
  qr_bench_series_t *s = b->out->scaling[task];
  double one = 1, all = 1;
  if (beside_cpu(b)) return scale_lanes(b, task);
  b->where = "several threads";
  int err = qr_bench_seats_run(b->seats, &b->tasks[task], 1, SCALING_ATTEMPT_CNT, &one);
  if (!err) {
    err = qr_bench_seats_run(b->seats, &b->tasks[task], b->out->thread_cnt, SCALING_ATTEMPT_CNT,
                             &all);
  }
  if (err) return err;
  qr_bench_add(&s[QR_BENCH_ONE_THREAD], one);
  qr_bench_add(&s[QR_BENCH_ALL_THREADS], all);
  qr_bench_add(&s[QR_BENCH_SCALING], all / one);
  return QR_OK;
}

/* What the first variant's step and attempt are compared with. */
static int compare(bench_t *b, uint32_t task, const times_t *ms) {
  qr_bench_series_t *f = b->out->floats[task], *s = b->out->scaling[task];
  double other = 0, spent = 0, once;
  if (b->rivals.f32) {
    for (uint32_t i = 0; try_again(i, spent, other); i++, spent += once) {
      qr_bench_float_run(&b->floats[task], &once);
      if (!i || once < other) other = once;
    }
    qr_bench_add(&f[QR_BENCH_FLOAT_MS], other);
    qr_bench_add(&f[QR_BENCH_OURS_OF_FLOAT], ms->step / other);
  }
  if (!b->shared.accel) return QR_OK;
  b->where = "several threads";
  int err = fastest(qr_bench_attempt, &b->tasks[task], &b->shared, &other);
  if (err) return err;
  qr_bench_add(&s[QR_BENCH_SHARED_MS], other);
  qr_bench_add(&s[QR_BENCH_SHARED_OF_ONE], ms->attempt / other);
  return QR_OK;
}

/* The variants of a task, one after the other; who comes first changes from round to round. */
static int take_turns(bench_t *b, uint32_t task, uint32_t round) {
  uint32_t cnt = b->out->variant_cnt;
  times_t ms[QR_BENCH_VARIANT_MAX_CNT];
  for (uint32_t i = 0; i < cnt; i++) {
    uint32_t v = (i + round) % cnt;
    if (!b->due[v]) continue;
    uint64_t began = qr_clock_mono_ns();
    int err = measure(b, task, v, &ms[v]);
    if (!err && !v && !beside_cpu(b)) err = measure_verify(b, task, ms[v].attempt);
    if (err) return err;
    b->cost_ns[v] += qr_clock_mono_ns() - began;
  }
  for (uint32_t v = 0; v < cnt; v++) {
    if (b->due[v]) keep(b, task, v, &ms[v], &ms[0]);
  }
  if (b->out->cpu && b->due[b->out->cpu]) keep_ratios(b, task, &ms[0], &ms[b->out->cpu]);
  return compare(b, task, &ms[0]);
}

static int make_round(bench_t *b, uint32_t round) {
  qr_bench_step_t *o = b->out;
  uint64_t began = qr_clock_mono_ns(), in_variants = 0;
  for (uint32_t v = 0; v < o->variant_cnt; v++) {
    if (b->due[v]) b->cost_ns[v] = 0;
  }
  for (uint32_t t = 0; t < o->chain.p.task_cnt; t++) {
    if (!o->with_task[t]) continue;
    for (uint32_t i = 0; i < o->peak_cnt; i++) {
      b->peak[i] = qr_bench_peak_gmac_per_s(o->peaks[i]);
      qr_bench_add(&o->peak_gmac_per_s[i], b->peak[i]);
    }
    int err = take_turns(b, t, round);
    if (!err) err = scale(b, t);
    if (err) return err;
  }
  b->where = "a product";
  int err = qr_bench_products_round(b->products, round, o->own_peak[0]);
  if (err) return err;
  for (uint32_t v = 0; v < o->variant_cnt; v++) {
    if (!b->due[v]) continue;
    in_variants += b->cost_ns[v];
    b->spent_ns[v] += b->cost_ns[v];
  }
  b->rest_ns = qr_clock_mono_ns() - began - in_variants;
  return QR_OK;
}

/* Who takes part in the next round: a variant that has used up its share of the time sits out, so
   that a slow one does not leave the others with a handful of samples; the first one never does.
   False if the time is up. */
static bool plan_round(bench_t *b) {
  uint64_t elapsed = qr_clock_mono_ns() - b->began_ns,
           room = b->cfg->seconds * UINT64_C(1000000000);
  uint64_t end = elapsed + b->rest_ns + b->cost_ns[0];
  if (end > room) return false;
  for (uint32_t v = 1; v < b->out->variant_cnt; v++) {
    b->due[v] = b->spent_ns[v] <= elapsed / b->out->variant_cnt && end + b->cost_ns[v] <= room;
    if (b->due[v]) end += b->cost_ns[v];
  }
  return true;
}

/* Whether the CPU driver's first training step is the one that was just made. */
static int repeat_on_cpu(bench_t *b, uint32_t task) {
  qr_bench_task_t *t = &b->tasks[task];
  size_t model_sz = b->out->chain.nets[task].model_sz, digests_sz = t->digest_cnt * 8;
  uint8_t *made = malloc(model_sz + digests_sz);
  double ignored;
  if (!made) return QR_ERR_NOMEM;
  memcpy(made, t->model_out, model_sz);
  memcpy(made + model_sz, t->digests, digests_sz);
  int err = qr_bench_train(t, &b->cpu, 1, NULL, &ignored);
  if (!err &&
      (memcmp(made, t->model_out, model_sz) || memcmp(made + model_sz, t->digests, digests_sz)))
    err = QR_ERR_CORRUPT;
  free(made);
  return err;
}

/* Whether a driver that is not the CPU's computes rightly, and what an attempt would take: it may
   be slow, an emulated one say. The first step of all has things to do once. */
static int try_out(bench_t *b, uint32_t task) {
  const qr_bench_step_t *o = b->out;
  double ms = 0;
  int err = QR_OK;
  b->where = o->variants[0].name;
  for (int i = 0; i < 2 && !err; i++)
    err = qr_bench_train(&b->tasks[task], &b->devs[0], 1, NULL, &ms);
  ms *= o->chain.p.step_cnt;
  if (ms > b->cfg->seconds * 1e3 / LONG_PART) b->out->long_ms[task] = ms;
  return err ? err : repeat_on_cpu(b, task);
}

/* Pages, caches and target values as they are in the middle of mining; makes the blocks that
   verifiers need, too. */
static int warm_up_task(bench_t *b, uint32_t t) {
  double ignored;
  int err = beside_cpu(b) ? try_out(b, t) : QR_OK;
  for (uint32_t v = 0; v < b->out->variant_cnt && !err; v++) {
    if (!makes_attempts(b, t, v)) continue;
    b->where = b->out->variants[v].name;
    err = v || beside_cpu(b) ? qr_bench_attempt(&b->tasks[t], dev_of(b, v), &ignored)
                             : qr_bench_block(&b->tasks[t], &b->devs[v], &ignored);
  }
  if (!err && !beside_cpu(b))
    err = qr_bench_seats_run(b->seats, &b->tasks[t], b->out->thread_cnt, 1, &ignored);
  if (!err && b->rivals.f32) qr_bench_float_run(&b->floats[t], &ignored);
  if (!err && b->shared.accel) err = qr_bench_attempt(&b->tasks[t], &b->shared, &ignored);
  return err;
}

static int warm_up(bench_t *b) {
  int err = QR_OK;
  for (uint32_t t = 0; t < b->out->chain.p.task_cnt && !err; t++) {
    if (b->out->with_task[t]) err = warm_up_task(b, t);
  }
  return err;
}

static int run(bench_t *b) {
  b->began_ns = qr_clock_mono_ns();
  int err = warm_up(b);
  for (uint32_t v = 0; v < b->out->variant_cnt; v++) b->due[v] = true;
  do {
    if (!err) err = make_round(b, b->out->round_cnt);
    if (err) return err;
    b->out->round_cnt++;
  } while (b->out->round_cnt < ROUND_MAX_CNT && plan_round(b));
  b->out->seconds = (double)(qr_clock_mono_ns() - b->began_ns) * 1e-9;
  return QR_OK;
}

int qr_bench_step_run(const qr_bench_step_cfg_t *cfg, qr_bench_step_t *out, char *why,
                      size_t why_sz) {
  bench_t *b = calloc(1, sizeof *b);
  memset(out, 0, sizeof *out);
  if (!b) return say(why, why_sz, QR_ERR_NOMEM, "cannot take the memory", "");
  b->cfg = cfg;
  b->out = out;
  int err = init(b, why, why_sz);
  if (!err) {
    err = run(b);
    bool hung = b->cpu.hung;
    for (uint32_t v = 0; v < out->variant_cnt; v++) hung |= b->devs[v].hung;
    if (hung)
      say(why, why_sz, err, "a job did not come back", b->where);
    else if (err == QR_ERR_CORRUPT)
      say(why, why_sz, err, out->cpu ? "a wrong result" : "an honest block is refuted", b->where);
    else if (err)
      say(why, why_sz, err, "an attempt failed", b->where);
  }
  fini(b);
  free(b);
  return err;
}
