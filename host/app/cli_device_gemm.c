/* quarry device job gemm: a product of the user's own on a chosen accelerator. Accelerators
   multiply seven bits; operands with more are taken apart as x = 2 * (x >> 1) + (x & 1) and put
   together again, which takes up to four products. */
#include <stdio.h>
#include <stdlib.h>

#include "app/cli_device.h"
#include "base/err.h"
#include "port/clock.h"
#include "step/program.h"

#define SEED_A 1u
#define SEED_B 2u
#define INNER_MAX 131071u /* 128 * 128 * k fits 32 bits */

typedef struct {
  uint32_t m, n, k;
  int8_t *a, *b;
  int32_t *c, *want;
  bool wide_a, wide_b; /* more than seven bits */
  uint32_t product_cnt;
  uint64_t ns;
} gemm_t;

static bool parse_shape(const char *text, gemm_t *g) {
  int end = 0;
  return text && sscanf(text, "%9ux%9ux%9u%n", &g->m, &g->n, &g->k, &end) == 3 && !text[end] &&
         g->m && g->n && g->k && g->k <= INNER_MAX && (uint64_t)g->m * g->k <= 1u << 24 &&
         (uint64_t)g->n * g->k <= 1u << 24 && (uint64_t)g->m * g->n <= 1u << 24;
}

static int8_t *operand(const qr_cli_t *cli, int option, uint64_t seed, size_t sz) {
  if (cli->values[option]) return qr_device_read(cli, cli->values[option], sz);
  int8_t *p = malloc(sz);
  if (p) qr_device_fill(seed, p, sz);
  return p;
}

static bool is_wide(const int8_t *p, size_t cnt) {
  for (size_t i = 0; i < cnt; i++) {
    if (p[i] < -64 || p[i] > 63) return true;
  }
  return false;
}

/* part 0: the lowest bit, part 1: the rest. Not wide: the operand itself. */
static void take_part(const int8_t *from, size_t cnt, bool wide, int part, int8_t *to) {
  for (size_t i = 0; i < cnt; i++)
    to[i] = !wide ? from[i] : part ? (int8_t)(from[i] >> 1) : (int8_t)(from[i] & 1);
}

/* A device takes programs before jobs, so the smallest network there is goes first. */
static int load_something(const qr_accel_ops_t *ops, qr_accel_t *dev) {
  qr_net_spec_t spec = {.in_c = 16,
                        .in_h = 1,
                        .in_w = 1,
                        .action_cnt = 1,
                        .layer_cnt = 2,
                        .batch = 16,
                        .act_frac = 5};
  qr_net_t net;
  qr_step_prog_t prog;
  char why[128];
  uint32_t id;
  spec.layers[0] = (qr_layer_spec_t){.out = 16};
  spec.layers[1] = (qr_layer_spec_t){.out = 1};
  int err = qr_net_init(&spec, &net, why, sizeof why);
  if (!err) qr_step_lower(&net, &prog);
  return err ? err : ops->load(dev, &net, &prog, &id);
}

static int one_product(const qr_accel_ops_t *ops, qr_accel_queue_t *q, gemm_t *g, const int8_t *a,
                       const int8_t *b, int32_t *c) {
  qr_step_op_t op = {
      .kind = QR_OP_GEMM, .digest = QR_STEP_NO_DIGEST, .m = g->m, .n = g->n, .k = g->k};
  qr_accel_job_t job = {.kind = QR_ACCEL_GEMM, .gemm = &op, .a = a, .b = b, .c = c};
  uint64_t began = qr_clock_mono_ns();
  int err = ops->submit(q, &job);
  while (!err && !job.finished) (void)ops->poll(q);
  g->ns += qr_clock_mono_ns() - began;
  g->product_cnt++;
  return err ? err : job.err;
}

/* C = sum over the parts of 2^(parts) A_part . B_part. */
static int multiply(const qr_accel_ops_t *ops, qr_accel_queue_t *q, gemm_t *g) {
  size_t a_cnt = (size_t)g->m * g->k, b_cnt = (size_t)g->k * g->n, c_cnt = (size_t)g->m * g->n;
  int8_t *a = malloc(a_cnt), *b = malloc(b_cnt);
  int32_t *c = malloc(c_cnt * sizeof *c);
  int err = a && b && c ? 0 : QR_ERR_NOMEM;
  memset(g->c, 0, c_cnt * sizeof *g->c);
  for (int i = 0; i < 4 && !err; i++) {
    int pa = i & 1, pb = i >> 1;
    if ((pa && !g->wide_a) || (pb && !g->wide_b)) continue;
    take_part(g->a, a_cnt, g->wide_a, pa, a);
    take_part(g->b, b_cnt, g->wide_b, pb, b);
    err = one_product(ops, q, g, a, b, c);
    for (size_t j = 0; j < c_cnt && !err; j++)
      g->c[j] = (int32_t)((uint32_t)g->c[j] + ((uint32_t)c[j] << (pa + pb)));
  }
  free(a), free(b), free(c);
  return err;
}

/* Plain and slow: what the product is. Returns how many elements differ. */
static size_t differing(const gemm_t *g) {
  size_t bad = 0;
  int32_t *row = calloc(g->n, sizeof *row);
  for (uint32_t i = 0; i < g->m && row; i++) {
    memset(row, 0, g->n * sizeof *row);
    for (uint32_t p = 0; p < g->k; p++) {
      int32_t a = g->a[(size_t)i * g->k + p];
      for (uint32_t j = 0; j < g->n; j++) row[j] += a * g->b[(size_t)p * g->n + j];
    }
    for (uint32_t j = 0; j < g->n; j++) bad += row[j] != g->c[(size_t)i * g->n + j];
  }
  free(row);
  return bad;
}

static int report(const qr_cli_t *cli, const gemm_t *g, const char *device) {
  bool check = cli->values[QR_DEVICE_CHECK] != NULL;
  size_t bad = check ? differing(g) : 0;
  double macs = (double)g->m * g->n * g->k * g->product_cnt;
  if (cli->json) {
    json_t *o = json_object();
    json_object_set_new(o, "device", json_string(device));
    json_object_set_new(o, "products", json_integer(g->product_cnt));
    json_object_set_new(o, "seconds", json_real((double)g->ns / 1e9));
    json_object_set_new(o, "gmac_per_s", json_real(macs / (double)g->ns));
    if (check) json_object_set_new(o, "wrong", json_integer((json_int_t)bad));
    qr_cli_print_json(o);
  } else {
    printf("%s: %u x %u x %u in %.3f ms, %.2f GMAC/s%s\n", device, g->m, g->n, g->k,
           (double)g->ns / 1e6, macs / (double)g->ns,
           g->product_cnt > 1 ? "; operands of eight bits took several products" : "");
    if (check) printf("%zu of %zu elements differ from the CPU's\n", bad, (size_t)g->m * g->n);
  }
  return bad ? QR_CLI_FAILED : QR_CLI_OK;
}

static int run_on(const qr_cli_t *cli, const qr_device_choice_t *choice, gemm_t *g) {
  qr_accel_t *dev;
  qr_accel_queue_t *q = NULL;
  qr_accel_info_t info;
  char why[512] = "";
  int err = choice->ops->open(choice->options, &dev, why, sizeof why);
  if (err) return qr_cli_fail(cli, err, why);
  choice->ops->info(dev, &info);
  err = load_something(choice->ops, dev);
  if (!err) err = choice->ops->queue_open(dev, &q);
  if (!err) err = multiply(choice->ops, q, g);
  qr_accel_unit_t unit = {0};
  if (err && choice->ops->units) (void)choice->ops->units(dev, &unit, 1);
  if (q) choice->ops->queue_close(q);
  choice->ops->close(dev);
  if (err) {
    snprintf(why, sizeof why, "%s failed on the product: %s%s%s", info.name, qr_err_str(err),
             *unit.why ? "; " : "", unit.why);
    return qr_cli_fail(cli, err, why);
  }
  const char *out = cli->values[QR_DEVICE_OUT];
  int rc = out ? qr_device_write(cli, out, g->c, (size_t)g->m * g->n * sizeof *g->c) : QR_CLI_OK;
  return rc ? rc : report(cli, g, info.name);
}

int qr_device_gemm(const qr_cli_t *cli) {
  gemm_t g = {0};
  qr_device_choice_t choice;
  const char *shape = cli->values[QR_DEVICE_SHAPE], *out = cli->values[QR_DEVICE_OUT];
  if (!shape) return qr_cli_usage("--shape MxNxK must be given, e.g. --shape 256x384x128");
  if (!parse_shape(shape, &g))
    return qr_cli_usage("--shape '%s' is not MxNxK with numbers from 1 up, K at most %u, and at "
                        "most 2^24 elements in every matrix",
                        shape, INNER_MAX);
  int rc = qr_device_choose(cli, "cpu", NULL, &choice);
  if (!rc && out) rc = qr_device_may_write(cli, out);
  if (rc) return rc;
  size_t a_cnt = (size_t)g.m * g.k, b_cnt = (size_t)g.k * g.n;
  g.a = operand(cli, QR_DEVICE_A, SEED_A, a_cnt);
  g.b = g.a ? operand(cli, QR_DEVICE_B, SEED_B, b_cnt) : NULL;
  g.c = malloc((size_t)g.m * g.n * sizeof *g.c);
  rc = QR_CLI_FAILED; /* whoever could not read a file has told why */
  if (g.a && g.b && g.c) {
    g.wide_a = is_wide(g.a, a_cnt);
    g.wide_b = is_wide(g.b, b_cnt);
    rc = run_on(cli, &choice, &g);
  }
  free(g.a), free(g.b), free(g.c);
  return rc;
}
