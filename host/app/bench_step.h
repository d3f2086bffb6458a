/* The bench of the training step: attempts, training steps, forward passes and verification of a
   chain's tasks on one accelerator driver, every variant of it, and beside a driver that is not the
   CPU's that one too, measured in turns (A B A B ...) so that what else happens on the machine
   falls on all of them alike. Attempts on such a driver are those of a node: it trains, the CPU
   does the rest and verifies. A sample is the fastest of a few tries in a row, short work more
   often than long; ratios are taken within a round. Wall time only, in floating point: nothing here
   takes part in consensus. */
#ifndef QR_APP_BENCH_STEP_H
#define QR_APP_BENCH_STEP_H

#include "app/bench_peak.h"
#include "app/bench_products.h"
#include "app/bench_series.h"
#include "chain/params.h"
#include "port/accel.h"

#define QR_BENCH_VARIANT_MAX_CNT 8u
#define QR_BENCH_PEAK_MAX_CNT 6u
#define QR_BENCH_PHASE_MAX_CNT 24u
#define QR_BENCH_THREAD_MAX_CNT 256u
#define QR_BENCH_LATENCY_ROWS 16u /* one environment step of a block */
#define QR_BENCH_FORWARD_ROWS 4096u

enum qr_bench_metric {
  QR_BENCH_STEP_MS,         /* a training step on the accelerator alone */
  QR_BENCH_ATTEMPT_MS,      /* K of them with minibatches, cached target values, root and ticket */
  QR_BENCH_ATTEMPTS_PER_S,  /* on one core */
  QR_BENCH_STEP_GMAC,       /* the products of a step over all of its time */
  QR_BENCH_OF_OWN_PEAK,     /* that over the peak of the same instructions */
  QR_BENCH_OF_BEST_PEAK,    /* and over the best peak of the machine */
  QR_BENCH_ATTEMPT_OF_GEMM, /* attempt over the time of its products at the own peak */
  QR_BENCH_FORWARD_16_US,   /* latency of 16 rows */
  QR_BENCH_FORWARD_4096_MS, /* 4096 rows in one job */
  QR_BENCH_FORWARD_ROWS_PER_S, /* rows a second of that job */
  QR_BENCH_ATTEMPT_OF_FIRST,   /* attempt over that of the first variant */
  QR_BENCH_STEP_OF_CPU,        /* a driver's times over those of the CPU driver beside it */
  QR_BENCH_ATTEMPT_OF_CPU,
  QR_BENCH_FORWARD_OF_CPU,    /* of 4096 rows */
  QR_BENCH_PRODUCTS_GMAC,     /* the products of a step over their own phase */
  QR_BENCH_PRODUCTS_OF_PEAK,  /* that over the own peak */
  QR_BENCH_DRAW_SHARE,        /* of an attempt: dither and digest */
  QR_BENCH_NOT_PRODUCT_SHARE, /* of an attempt: all but the products */
  QR_BENCH_OUTSIDE_SHARE,     /* of an attempt: all but its training steps */
  QR_BENCH_INSTR_PER_MAC,     /* of a training step, where the machine counts */
  QR_BENCH_CYCLES_PER_MAC,
  QR_BENCH_BLOCK_MS,  /* the attempt that wins, with acting and evaluation; from here on the first
                         variant alone */
  QR_BENCH_VERIFY_MS, /* verifying that block */
  QR_BENCH_VERIFY_COLD_MS, /* the same by a verifier that has no target value yet */
  QR_BENCH_VERIFY_ATTEMPT, /* verify over attempt */
  QR_BENCH_VERIFY_BLOCK,   /* verify over the winning attempt */
  QR_BENCH_METRIC_CNT
};
/* Key in JSON of a metric; its unit is the end of the name, ratios have none. */
extern const char *const qr_bench_metric_keys[QR_BENCH_METRIC_CNT];

/* With the first variant. Of the CPU driver: attempts on one thread and on all allowed cores at
   once, and one attempt that all of them share. Of another driver: so many attempts in one thread
   as it likes side by side, if that is more than one. */
enum qr_bench_scaling {
  QR_BENCH_ONE_THREAD,
  QR_BENCH_ALL_THREADS,
  QR_BENCH_SCALING,
  QR_BENCH_SHARED_MS,
  QR_BENCH_SHARED_OF_ONE, /* latency: an attempt on one thread over the shared one */
  QR_BENCH_LANES,
  QR_BENCH_SCALING_CNT
};
extern const char *const qr_bench_scaling_keys[QR_BENCH_SCALING_CNT];

/* The same step in float32 by a library. */
enum qr_bench_float {
  QR_BENCH_FLOAT_MS,
  QR_BENCH_OURS_OF_FLOAT, /* our time over theirs, the first variant's */
  QR_BENCH_FLOAT_CNT
};
extern const char *const qr_bench_float_keys[QR_BENCH_FLOAT_CNT];

typedef struct {
  qr_bench_series_t metrics[QR_BENCH_METRIC_CNT];
  qr_bench_series_t phase_ms[QR_BENCH_PHASE_MAX_CNT]; /* of one training step */
} qr_bench_case_t;

typedef struct {
  const qr_accel_ops_t *accel;
  const char *options; /* NULL: every variant that the driver offers */
  const char *task;    /* NULL: all */
  const char *rivals;  /* folder of the libraries to compare with; NULL: that of this program, and
                          none if the driver is not the CPU's */
  uint32_t seconds;    /* nothing begins that would end later, but the first round is always made */
  uint32_t thread_cnt;
} qr_bench_step_cfg_t;

typedef struct {
  qr_chain_cfg_t chain;
  uint32_t variant_cnt;
  qr_accel_info_t variants[QR_BENCH_VARIANT_MAX_CNT];
  const qr_accel_ops_t *drivers[QR_BENCH_VARIANT_MAX_CNT];
  bool emulated[QR_BENCH_VARIANT_MAX_CNT]; /* its figures say nothing of the hardware */
  uint32_t cpu; /* the variant that is the CPU driver beside another one; 0: there is none */
  uint32_t lane_cnt;
  const qr_bench_peak_t *own_peak[QR_BENCH_VARIANT_MAX_CNT]; /* NULL: not this machine's cores */
  uint32_t absent_cnt;
  const char *absent[QR_BENCH_VARIANT_MAX_CNT]; /* what this machine lacks */
  bool with_task[QR_TASK_MAX_CNT];
  double long_ms[QR_TASK_MAX_CNT]; /* an attempt takes so long, about, that none was made; else 0 */
  qr_bench_case_t cases[QR_TASK_MAX_CNT][QR_BENCH_VARIANT_MAX_CNT];
  qr_bench_series_t scaling[QR_TASK_MAX_CNT][QR_BENCH_SCALING_CNT];
  uint32_t peak_cnt;
  const qr_bench_peak_t *peaks[QR_BENCH_PEAK_MAX_CNT]; /* those the machine has, fastest first */
  qr_bench_series_t peak_gmac_per_s[QR_BENCH_PEAK_MAX_CNT];
  uint32_t phase_cnt;
  const char *phases[QR_BENCH_PHASE_MAX_CNT];
  qr_bench_product_list_t products; /* by the first variant */
  qr_bench_series_t floats[QR_TASK_MAX_CNT][QR_BENCH_FLOAT_CNT];
  qr_rivals_t rivals; /* unloaded by the end: only what they say of themselves */
  char perf_why[128]; /* no instructions and cycles: why */
  uint32_t thread_cnt, round_cnt;
  double seconds;
} qr_bench_step_t;

/* Runs on the rules of devnet. Returns 0 or a negative code with a sentence in why; out is large,
   not for the stack. */
int qr_bench_step_run(const qr_bench_step_cfg_t *cfg, qr_bench_step_t *out, char *why,
                      size_t why_sz) QR_WARN_UNUSED;

#endif
