#include "app/bench_operand.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "step/ref.h"

#define RANK_MAX 128u
#define PRIME UINT64_C(2147483647)
#define INT8_ABS_MAX 127
#define BLOCK_MIN 32u /* a smaller block is not worth a level of Strassen's */

const char *const qr_bench_saving_keys[QR_BENCH_SAVE_CNT] = {"repeats", "zeros", "rank", "strassen",
                                                             "winograd"};

typedef struct {
  const qr_net_t *net;
  qr_bench_operand_t *out;
  qr_bench_operand_fn_t fn;
  void *arg;
  double saved[QR_BENCH_SAVE_CNT], macs;
} count_t;

static int by_value(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return x < y ? -1 : x > y;
}

/* Share of the rows of [rows][k] that differ from all others; 1 if there is no memory to tell. */
static double distinct(const int16_t *x, uint32_t rows, uint32_t k) {
  uint64_t *h = malloc(rows * sizeof *h);
  uint32_t cnt = 1;
  if (!h) return 1;
  for (uint32_t i = 0; i < rows; i++) {
    h[i] = UINT64_C(14695981039346656037);
    for (uint32_t j = 0; j < k; j++)
      h[i] = (h[i] ^ (uint16_t)x[(size_t)i * k + j]) * UINT64_C(0x9E3779B97F4A7C15);
  }
  qsort(h, rows, sizeof *h, by_value);
  for (uint32_t i = 1; i < rows; i++) cnt += h[i] != h[i - 1];
  free(h);
  return (double)cnt / rows;
}

/* Share of the multiply-adds with a factor 0. */
static double zeros(const qr_step_op_t *op, const int16_t *a, const int16_t *b) {
  double none = 0;
  for (uint32_t q = 0; q < op->k; q++) {
    uint32_t in_a = 0, in_b = 0;
    for (uint32_t i = 0; i < op->m; i++) in_a += a[(size_t)i * op->k + q] != 0;
    for (uint32_t j = 0; j < op->n; j++) in_b += b[(size_t)j * op->k + q] != 0;
    none += (double)in_a * in_b;
  }
  return 1 - none / ((double)op->m * op->n * op->k);
}

static uint64_t inverse(uint64_t v) { /* v^(p - 2) */
  uint64_t r = 1;
  for (uint64_t e = PRIME - 2; e; e >>= 1, v = v * v % PRIME) {
    if (e & 1) r = r * v % PRIME;
  }
  return r;
}

/* Rank of the leading of x of of of [..][k] modulo a prime, which is never above the true one. */
static uint32_t rank(const int16_t *x, uint32_t k, uint32_t of) {
  uint64_t *w = malloc((size_t)of * of * sizeof *w);
  uint32_t r = 0;
  if (!w) return of;
  for (uint32_t i = 0; i < of; i++) {
    for (uint32_t j = 0; j < of; j++)
      w[(size_t)i * of + j] = (uint64_t)((int64_t)x[(size_t)i * k + j] + (int64_t)PRIME) % PRIME;
  }
  for (uint32_t j = 0; j < of; j++) {
    uint32_t p = r;
    while (p < of && !w[(size_t)p * of + j]) p++;
    if (p == of) continue;
    uint64_t inv = inverse(w[(size_t)p * of + j]);
    for (uint32_t q = j; q < of; q++) {
      uint64_t v = w[(size_t)p * of + q] * inv % PRIME;
      w[(size_t)p * of + q] = w[(size_t)r * of + q];
      w[(size_t)r * of + q] = v;
    }
    for (uint32_t i = r + 1; i < of; i++) {
      uint64_t f = PRIME - w[(size_t)i * of + j];
      for (uint32_t q = j; q < of && f != PRIME; q++)
        w[(size_t)i * of + q] = (w[(size_t)i * of + q] + f * w[(size_t)r * of + q]) % PRIME;
    }
    r++;
  }
  free(w);
  return r;
}

static void spread(const int16_t *x, size_t cnt, int *min, int *max, double *var) {
  double sum = 0, squares = 0;
  *min = *max = x[0];
  for (size_t i = 0; i < cnt; i++) {
    if (x[i] < *min) *min = x[i];
    if (x[i] > *max) *max = x[i];
    sum += x[i];
    squares += (double)x[i] * x[i];
  }
  *var = squares / (double)cnt - sum / (double)cnt * (sum / (double)cnt);
}

/* Magnitude of what is left when a constant is taken off, whose share of the product is two vectors
   of sums. */
static int reach(int min, int max) { return (max - min + 1) / 2; }

/* How often numbers of this magnitude can be added pairwise within eight bits. */
static uint32_t doublings(int magnitude) {
  uint32_t cnt = 0;
  while (magnitude && magnitude << (cnt + 1) <= INT8_ABS_MAX + 1 && cnt < 8) cnt++;
  return cnt;
}

/* Winograd's variant of Strassen: 7 products of half the size for 8, with 4 additions of parts of
   A, 4 of B and 7 of C. Counted in operations of 512 bits: 64 multiply-adds, 64 sums of operands,
   16 of results. */
static double strassen(double m, double n, double k, uint32_t levels) {
  double whole = m * n * k / 64;
  if (!levels || m < 2 * BLOCK_MIN || n < 2 * BLOCK_MIN || k < 2 * BLOCK_MIN) return 1;
  double sums = (m * k + k * n) / 64 + 7 * m * n / 4 / 16;
  double left = 7.0 / 8 * strassen(m / 2, n / 2, k / 2, levels - 1) + sums / whole;
  return left < 1 ? left : 1;
}

/* Two outputs of three taps apart by the stride: four products for six (stride 1), or five (stride
   2, where the outer two taps meet the same inputs). Transforms add two inputs, and two or three
   weights or errors. */
static double winograd(const qr_layer_t *l, bool gradient, int a, int b) {
  if (l->kind != QR_LAYER_CONV3) return 1;
  double best = 1;
  for (uint32_t dims = 1; dims < 4; dims++) { /* bit 0: down, bit 1: across */
    double left = 1;
    int in_a = a, in_b = b;
    for (uint32_t d = 0; d < 2; d++) {
      uint32_t stride = d ? l->stride_x : l->stride_y, out = d ? l->out_w : l->out_h;
      if (!(dims >> d & 1)) continue;
      if (stride > 2 || out % 2) left = 2;
      left *= stride == 1 ? 4.0 / 6 : 5.0 / 6;
      in_a *= 2;
      in_b *= stride == 1 && !gradient ? 3 : 2;
    }
    if (in_a <= INT8_ABS_MAX + 1 && in_b <= INT8_ABS_MAX + 1 && left < best) best = left;
  }
  return best;
}

static void name_product(const qr_step_op_t *op, char *out, size_t out_sz) {
  const char *what = op->flags & QR_GEMM_A_TRANS   ? "gradient"
                     : op->flags & QR_GEMM_B_TRANS ? "errors"
                                                   : "forward";
  snprintf(out, out_sz, "%s %u", what, op->layer);
}

static void see(void *arg, const qr_step_op_t *op, const int16_t *a, const int16_t *b,
                const int32_t *c) {
  count_t *t = arg;
  double macs = (double)op->m * op->n * op->k;
  t->macs += macs;
  if (op->digest == QR_STEP_NO_DIGEST) return;
  qr_bench_operand_product_t *p = &t->out->list[t->out->cnt++];
  bool gradient = op->flags & QR_GEMM_A_TRANS;
  name_product(op, p->name, sizeof p->name);
  p->m = op->m;
  p->n = op->n;
  p->k = op->k;
  spread(a, (size_t)op->m * op->k, &p->a_min, &p->a_max, &p->a_var);
  spread(b, (size_t)op->n * op->k, &p->b_min, &p->b_max, &p->b_var);
  uint32_t least = op->m < op->n ? op->m : op->n;
  if (op->k < least) least = op->k;
  p->rank_of = least < RANK_MAX ? least : RANK_MAX;
  p->a_rank = rank(a, op->k, p->rank_of);
  p->b_rank = rank(b, op->k, p->rank_of);
  int in_a = reach(p->a_min, p->a_max), in_b = reach(p->b_min, p->b_max);
  uint32_t deep = doublings(in_a) < doublings(in_b) ? doublings(in_a) : doublings(in_b);
  uint32_t low = p->a_rank < p->b_rank ? p->a_rank : p->b_rank;
  double thin = (double)low * (1.0 / op->m + 1.0 / op->n);
  p->left[QR_BENCH_SAVE_REPEATS] = distinct(a, op->m, op->k) * distinct(b, op->n, op->k);
  p->left[QR_BENCH_SAVE_ZEROS] = 1 - zeros(op, a, b);
  p->left[QR_BENCH_SAVE_RANK] = low < p->rank_of && thin < 1 ? thin : 1;
  p->left[QR_BENCH_SAVE_STRASSEN] = strassen(op->m, op->n, op->k, deep);
  p->left[QR_BENCH_SAVE_WINOGRAD] =
      op->flags & QR_GEMM_B_TRANS ? 1 : winograd(&t->net->layers[op->layer], gradient, in_a, in_b);
  for (uint32_t i = 0; i < QR_BENCH_SAVE_CNT; i++) t->saved[i] += macs * (1 - p->left[i]);
  if (t->fn) t->fn(t->arg, t->out->cnt - 1, op, a, b, c);
}

int qr_bench_operands(const qr_net_t *net, uint8_t *model, const int8_t *obs, const uint8_t *act,
                      const int32_t *target, const qr_hash_t *sigma, uint32_t k,
                      qr_bench_operand_fn_t fn, void *arg, qr_bench_operand_t *out) {
  uint64_t digests[QR_STEP_GEMM_MAX_CNT], td_abs_sum;
  count_t t = {.net = net, .out = out, .fn = fn, .arg = arg};
  qr_step_prog_t *prog = malloc(sizeof *prog);
  void *mem = aligned_alloc(QR_CACHE_LINE, qr_align_up(qr_ref_footprint(net), QR_CACHE_LINE));
  memset(out, 0, sizeof *out);
  if (prog && mem) {
    qr_step_lower(net, prog);
    qr_ref_t *r = qr_ref_init(mem, net, prog);
    qr_ref_watch(r, see, &t);
    qr_ref_step(r, model, obs, act, target, sigma, k, 0, digests, &td_abs_sum);
    for (uint32_t i = 0; i < QR_BENCH_SAVE_CNT; i++) out->left[i] = 1 - t.saved[i] / t.macs;
  }
  int err = prog && mem ? QR_OK : QR_ERR_NOMEM;
  free(prog);
  free(mem);
  return err;
}
