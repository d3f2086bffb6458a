#include "app/bench_lookup.h"

#include <stdlib.h>

#include "base/err.h"
#include "port/clock.h"

#define REPEAT_CNT 5u
#define INDEX_MAX 4     /* magnitude of a number that can be an index */
#define FLUSH_UNIT 16.0 /* rows between two widenings of eight-bit sums come in these */
#define PHASE_MAX_CNT 32u
#define OPERAND_MAX 63 /* of a product of the accelerator */
/* Sums of so many rows that this many standard deviations fit in eight bits do not overflow. */
#define SIGMAS 8.0

typedef struct {
  qr_adversary_product_t p;
  int8_t *a, *b;
  qr_step_op_t op;      /* the same product for the accelerator */
  int8_t *left, *right; /* and its operands */
  int32_t *c;
  qr_adversary_strassen_t s; /* m 0: sums of four of these operands are too large */
} product_t;

struct qr_bench_lookup {
  const qr_adversary_t *adversary;
  const char *kernel;
  qr_adversary_case_t *out;
  product_t products[QR_STEP_GEMM_MAX_CNT];
  bool out_of_memory;
};

static void *take(qr_bench_lookup_t *l, size_t sz) {
  void *p = aligned_alloc(QR_CACHE_LINE, qr_align_up(sz, QR_CACHE_LINE));
  if (!p) l->out_of_memory = true;
  return p;
}

/* The middle of a range: taken off, it leaves the smallest numbers. */
static int middle(int min, int max) { return (min + max) >> 1; }
static int reach(int min, int max) {
  int m = middle(min, max);
  return max - m > m - min ? max - m : m - min;
}

/* x [rows][k] less off, as [k][rows]. */
static void turn(int8_t *dst, const int16_t *x, uint32_t rows, uint32_t k, int off) {
  for (uint32_t i = 0; i < rows; i++) {
    for (uint32_t q = 0; q < k; q++)
      dst[(size_t)q * rows + i] = (int8_t)(x[(size_t)i * k + q] - off);
  }
}

/* The same as [rows][k]. */
static void copy(int8_t *dst, const int16_t *x, size_t cnt, int off) {
  for (size_t i = 0; i < cnt; i++) dst[i] = (int8_t)(x[i] - off);
}

/* One operand becomes the index, the other the lanes: whose numbers are small enough, and whose
   rows fill the lanes. */
static void keep(void *arg, uint32_t slot, const qr_step_op_t *op, const int16_t *a,
                 const int16_t *b, const int32_t *c) {
  qr_bench_lookup_t *l = arg;
  const qr_bench_operand_product_t *o = &l->out->operands.list[slot];
  (void)c;
  int in_a = reach(o->a_min, o->a_max), in_b = reach(o->b_min, o->b_max);
  double flush = INT8_MAX / SIGMAS * (INT8_MAX / SIGMAS) / (o->a_var * o->b_var);
  if (flush > op->k) flush = op->k;
  bool b_is_index = in_b <= INDEX_MAX && op->m % 64 == 0 && op->n <= QR_ADVERSARY_N_MAX,
       a_is_index = in_a <= INDEX_MAX && op->n % 64 == 0 && op->m <= QR_ADVERSARY_N_MAX;
  if (op->k % 16 || flush < FLUSH_UNIT || (!b_is_index && !a_is_index)) return;
  if (a_is_index && b_is_index) b_is_index = in_b <= in_a;
  product_t *p = &l->products[l->out->lookup_cnt];
  uint32_t m = b_is_index ? op->m : op->n, n = b_is_index ? op->n : op->m;
  int off_a = middle(o->a_min, o->a_max), off_b = middle(o->b_min, o->b_max);
  *p = (product_t){.p = {.m = m, .n = n, .k = op->k, .b_max = b_is_index ? in_b : in_a},
                   .op = {.kind = QR_OP_GEMM, .m = m, .n = n, .k = op->k},
                   .a = take(l, (size_t)m * op->k),
                   .b = take(l, (size_t)n * op->k),
                   .left = take(l, (size_t)m * op->k),
                   .c = take(l, (size_t)m * n * sizeof *p->c)};
  p->p.c = take(l, (size_t)m * n * sizeof *p->p.c);
  p->p.scratch = take(l, QR_ADVERSARY_SCRATCH_SZ(op->k));
  p->p.flush = (uint32_t)(flush / FLUSH_UNIT) * (uint32_t)FLUSH_UNIT;
  l->out->lookups[l->out->lookup_cnt++].slot = slot;
  if (l->out_of_memory) return;
  turn(p->a, b_is_index ? a : b, m, op->k, b_is_index ? off_a : off_b);
  turn(p->b, b_is_index ? b : a, n, op->k, b_is_index ? off_b : off_a);
  copy(p->left, b_is_index ? a : b, (size_t)m * op->k, b_is_index ? off_a : off_b);
  p->right = p->b;
  p->p.a = p->a;
  p->p.b = p->b;
  if (4 * (in_a > in_b ? in_a : in_b) > OPERAND_MAX || m % 2 || n % 2) return;
  p->s = (qr_adversary_strassen_t){.m = m,
                                   .n = n,
                                   .k = op->k,
                                   .a = p->left,
                                   .b = p->right,
                                   .left = take(l, 7 * (size_t)m * op->k / 4),
                                   .right = take(l, 7 * (size_t)n * op->k / 4),
                                   .products = take(l, 7 * (size_t)m * n * sizeof *p->c / 4),
                                   .c = take(l, (size_t)m * n * sizeof *p->c)};
}

int qr_bench_lookup_init(qr_bench_lookup_t **out, const qr_adversary_t *adversary,
                         const char *kernel, qr_bench_task_t *t, const uint8_t *model,
                         qr_adversary_case_t *c) {
  const qr_net_t *net = &t->chain->nets[t->task];
  qr_bench_lookup_t *l = calloc(1, sizeof *l);
  uint8_t *scratch = malloc(net->model_sz);
  qr_hash_t sigma = qr_header_sigma(&t->prefix);
  int err = l && scratch ? QR_OK : QR_ERR_NOMEM;
  if (!err) {
    *l = (qr_bench_lookup_t){.adversary = adversary, .kernel = kernel, .out = c};
    memcpy(scratch, model, net->model_sz);
    err = qr_bench_operands(net, scratch, t->obs, t->act, t->target, &sigma, 0, keep, l,
                            &c->operands);
  }
  if (!err && l->out_of_memory) err = QR_ERR_NOMEM;
  free(scratch);
  if (err)
    qr_bench_lookup_fini(l);
  else
    *out = l;
  return err;
}

void qr_bench_lookup_fini(qr_bench_lookup_t *l) {
  if (!l) return;
  for (uint32_t i = 0; i < l->out->lookup_cnt; i++) {
    product_t *p = &l->products[i];
    free(p->a);
    free(p->b);
    free(p->left);
    free(p->c);
    free(p->p.c);
    free(p->p.scratch);
    free(p->s.left);
    free(p->s.right);
    free(p->s.products);
    free(p->s.c);
  }
  free(l);
}

/* The time of the products' phase of one job, or of all of it if the driver does not tell. */
static int multiply(qr_bench_dev_t *d, uint32_t prog, const qr_step_op_t *op, const int8_t *a,
                    const int8_t *b, int32_t *c, double *us) {
  uint64_t phase_ns[PHASE_MAX_CNT] = {0};
  qr_accel_job_t job = {.kind = QR_ACCEL_GEMM,
                        .prog = prog,
                        .gemm = op,
                        .a = a,
                        .b = b,
                        .c = c,
                        .phase_ns = phase_ns};
  uint64_t began = qr_clock_mono_ns();
  int err = qr_bench_finish(d, &job);
  *us = (double)(qr_clock_mono_ns() - began) * 1e-3;
  for (uint32_t i = 0; d->ops->phases && d->ops->phases[i] && i < PHASE_MAX_CNT; i++) {
    if (!strncmp(d->ops->phases[i], "product", 7)) *us = (double)phase_ns[i] * 1e-3;
  }
  return err;
}

static int strassen(qr_bench_lookup_t *l, qr_bench_dev_t *d, uint32_t prog, product_t *p,
                    double *us) {
  static const uint32_t quarters[7][2] = QR_ADVERSARY_STRASSEN;
  qr_step_op_t op = {.kind = QR_OP_GEMM, .m = p->s.m / 2, .n = p->s.n / 2, .k = p->s.k / 2};
  double part;
  uint64_t began = qr_clock_mono_ns();
  l->adversary->strassen(l->kernel, &p->s, false);
  *us = (double)(qr_clock_mono_ns() - began) * 1e-3;
  for (uint32_t i = 0; i < 7; i++) {
    int err = multiply(d, prog, &op, p->s.left + quarters[i][0] * (size_t)op.m * op.k,
                       p->s.right + quarters[i][1] * (size_t)op.k * op.n,
                       p->s.products + i * (size_t)op.m * op.n, &part);
    if (err) return err;
    *us += part;
  }
  began = qr_clock_mono_ns();
  l->adversary->strassen(l->kernel, &p->s, true);
  *us += (double)(qr_clock_mono_ns() - began) * 1e-3;
  return QR_OK;
}

static bool equal(const product_t *p) {
  for (uint32_t i = 0; i < p->p.m; i++) {
    for (uint32_t j = 0; j < p->p.n; j++) {
      if (p->p.c[(size_t)j * p->p.m + i] != p->c[(size_t)i * p->p.n + j]) return false;
    }
  }
  return true;
}

static double least(double a, double b) { return a < b ? a : b; }

static int measure(qr_bench_lookup_t *l, qr_bench_dev_t *d, uint32_t prog, product_t *p,
                   qr_adversary_lookup_t *out, double *saved_us) {
  double lookup = 1e30, product = 1e30, quarters = 1e30, us;
  for (uint32_t r = 0; r < REPEAT_CNT; r++) {
    uint64_t began = qr_clock_mono_ns();
    l->adversary->multiply(l->kernel, &p->p);
    lookup = least(lookup, (double)(qr_clock_mono_ns() - began) * 1e-3);
    int err = multiply(d, prog, &p->op, p->left, p->right, p->c, &us);
    product = least(product, us);
    if (!err && p->s.m) err = strassen(l, d, prog, p, &us);
    quarters = least(quarters, us);
    if (err) return err;
  }
  out->exact = equal(p);
  out->strassen_exact = p->s.m && !memcmp(p->s.c, p->c, (size_t)p->op.m * p->op.n * sizeof *p->c);
  qr_bench_add(&out->product_us, product);
  qr_bench_add(&out->lookup_us, lookup);
  if (p->s.m) qr_bench_add(&out->strassen_us, quarters);
  double best = product;
  if (out->exact) best = least(best, lookup);
  if (out->strassen_exact) best = least(best, quarters);
  *saved_us += product - best;
  return QR_OK;
}

int qr_bench_lookup_round(qr_bench_lookup_t *l, qr_bench_dev_t *d, uint32_t prog,
                          qr_adversary_case_t *c, double *saved_us) {
  *saved_us = 0;
  for (uint32_t i = 0; i < c->lookup_cnt; i++) {
    int err = measure(l, d, prog, &l->products[i], &c->lookups[i], saved_us);
    if (err) return err;
  }
  return QR_OK;
}
