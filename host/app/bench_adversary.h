/* The bench of the adversary: how many tickets a second a miner draws who brings models of its own
   choice and leaves out whatever it can know without computing it, over the honest miner's. Its
   miner sits in a shared object of its own (test/adversary), built beside the programs and loaded
   at run time: neither quarry nor quarryd contains it. host/mine/ADVERSARY.md has the tricks. */
#ifndef QR_APP_BENCH_ADVERSARY_H
#define QR_APP_BENCH_ADVERSARY_H

#include "app/bench_operand.h"
#include "app/bench_rig.h"
#include "app/bench_series.h"

/* ---- the shared object: libquarry_adversary.so, symbol qr_adversary ---- */

typedef struct qr_adversary_miner qr_adversary_miner_t;

/* A model and what it is for. */
typedef struct {
  const char *name, *what;
} qr_adversary_trick_t;

/* A product of small numbers, made by looking up sums instead of multiplying: the transpose of
   A . B with A [m][k] and B [k][n]. m is a multiple of 64, k of 16, n of 4 and
   at most QR_ADVERSARY_N_MAX. Eight-bit sums run for
   flush rows of b before they are widened: a multiple of 16, few enough that none overflows. */
typedef struct {
  uint32_t m, n, k, flush;
  int b_max;           /* |b| <= b_max, 1..4 */
  const int8_t *a, *b; /* [k][m], [k][n] */
  int16_t *c;          /* out [n][m], 64-byte aligned */
  void *scratch;       /* QR_ADVERSARY_SCRATCH_SZ(k) bytes, 64-byte aligned */
} qr_adversary_product_t;
#define QR_ADVERSARY_N_MAX 768u
#define QR_ADVERSARY_SCRATCH_SZ(k)                                                                 \
  (8 * 81 * 64 + QR_ADVERSARY_N_MAX * 64 + (size_t)(k) * (QR_ADVERSARY_N_MAX + 32))

/* One level of Strassen's product of A [m][k] and B [k][n], all even: seven products of quarters,
   which the caller makes between the additions before and those after. */
typedef struct {
  uint32_t m, n, k;
  const int8_t *a, *b;
  int8_t *left, *right; /* out of before: 7 quarters each */
  int32_t *products;    /* [7][m / 2][n / 2], the caller's */
  int32_t *c;           /* out of after: [m][n] */
} qr_adversary_strassen_t;
/* The quarters of left and right that each product takes. */
#define QR_ADVERSARY_STRASSEN                                                                      \
  {                                                                                                \
    {0, 0}, {1, 1}, {6, 2}, {2, 6}, {3, 3}, {4, 4}, { 5, 5 }                                       \
  }

typedef struct {
  size_t sz;                          /* of this table: both sides are of one build */
  const qr_adversary_trick_t *tricks; /* name NULL ends the list */
  /* The incoming model that a trick needs; honest: one that an honest miner could have. */
  void (*make_model)(uint32_t trick, const qr_net_t *net, const uint8_t *honest, uint8_t *model);
  /* kernel: a name of the CPU driver's, NULL for the best. Returns 0, QR_ERR_UNSUPPORTED if this
     processor lacks it, or QR_ERR_NOMEM. */
  int (*open)(const qr_net_t *net, const char *kernel, qr_adversary_miner_t **out);
  void (*close)(qr_adversary_miner_t *m);
  /* The training steps of an attempt (QR_ACCEL_ATTEMPT), all at once. watch makes them in full and
     notes which results have been the same in every step so far; attempt leaves those out. */
  void (*watch)(qr_adversary_miner_t *m, const qr_accel_job_t *job);
  void (*attempt)(qr_adversary_miner_t *m, const qr_accel_job_t *job);
  /* What attempt leaves out, in words; "nothing" if all results differ. */
  void (*removed)(const qr_adversary_miner_t *m, char *out, size_t out_sz);
  /* kernel: as above, for the width of vectors. */
  void (*multiply)(const char *kernel, const qr_adversary_product_t *p);
  void (*strassen)(const char *kernel, const qr_adversary_strassen_t *p, bool after);
} qr_adversary_t;

typedef struct {
  const qr_adversary_t *adversary; /* NULL: not there, and why says what is missing */
  char why[256];
  void *handle;
} qr_adversary_lib_t;

/* From folder, or if that is NULL from the folder of this program. */
void qr_adversary_load(qr_adversary_lib_t *l, const char *folder);
void qr_adversary_unload(qr_adversary_lib_t *l);

/* ---- the bench ---- */

#define QR_ADVERSARY_TRICK_MAX_CNT 16u

/* A product of the trick's operands by lookups and by Strassen's, against the accelerator's on the
   same ones; of the latter two as the driver times its products. */
typedef struct {
  uint32_t slot; /* in operands.list */
  bool exact, strassen_exact;
  qr_bench_series_t product_us, lookup_us, strassen_us; /* the last empty: does not fit */
} qr_adversary_lookup_t;

typedef struct {
  char name[32], what[128], removed[192];
  uint32_t attempt_cnt, exact_cnt; /* attempts made, and those whose every result was right */
  qr_bench_series_t attempts_per_s, honest_per_s; /* a second of one core's own time */
  qr_bench_series_t ratio;                        /* of the two, within a round */
  qr_bench_series_t outside_share; /* of an attempt's time: minibatches, targets, root */
  qr_bench_series_t product_share; /* of an attempt's time: the products; empty: not timed */
  qr_bench_operand_t operands;     /* of its first step: what bounds tricks on the products */
  uint32_t lookup_cnt;
  qr_adversary_lookup_t lookups[QR_STEP_GEMM_MAX_CNT];
  qr_bench_series_t ratio_lookups; /* what the ratio would be with those of them that pay */
} qr_adversary_case_t;

typedef struct {
  const qr_accel_ops_t *accel;
  const char *options; /* NULL: the driver's best */
  const char *task;    /* NULL: all */
  const char *folder;  /* of the shared object; NULL: that of this program */
  const char *profile; /* NULL: devnet */
  uint32_t seconds;    /* nothing begins that would end later, but the first round is always made */
} qr_bench_adversary_cfg_t;

typedef struct {
  qr_chain_cfg_t chain;
  qr_accel_info_t device;
  bool with_task[QR_TASK_MAX_CNT];
  uint32_t trick_cnt, round_cnt;
  qr_adversary_case_t cases[QR_TASK_MAX_CNT][QR_ADVERSARY_TRICK_MAX_CNT];
  double seconds;
} qr_bench_adversary_t;

/* Returns 0 or a negative code with a sentence in why; out is large, not for the stack. */
int qr_bench_adversary_run(const qr_bench_adversary_cfg_t *cfg, qr_bench_adversary_t *out,
                           char *why, size_t why_sz) QR_WARN_UNUSED;

/* Tickets a second over the honest miner's: the ratio of attempts, less those that were wrong. */
double qr_adversary_ticket_ratio(const qr_adversary_case_t *c);

/* What that ratio would be if only this share of the products were left: a bound, of measured
   operands. 0 if the products are not timed. */
double qr_adversary_bound(const qr_adversary_case_t *c, double left);

#endif
