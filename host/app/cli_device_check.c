/* quarry device validate: vectors by the reference, training steps of the devnet's networks at full
   size against the CPU driver, a product, and how fast data move; each unit by itself. */
#include <stdio.h>
#include <stdlib.h>

#include "app/cli_device.h"
#include "base/err.h"
#include "chain/params.h"
#include "port/drivers.h"
#include "step/program.h"
#include "step/ref.h"

#define VECTOR_CNT 2u
#define VECTOR_STEPS 3u
#define FORWARD_ROWS 200u
/* a product that fills no tile */
#define GEMM_M 70u
#define GEMM_N 50u
#define GEMM_K 130u

/* One network with room for a job's inputs and for two results. */
typedef struct {
  const char *name;
  const qr_net_t *net;
  qr_step_prog_t prog;
  uint32_t id, check_id, steps;
  uint8_t *model, *act, *out[2];
  int8_t *obs;
  int32_t *target, *q[2];
  uint64_t digests[2][VECTOR_STEPS * QR_STEP_GEMM_MAX_CNT], td[2][VECTOR_STEPS];
  qr_hash_t sigma;
} case_t;

typedef struct {
  qr_chain_cfg_t chain;
  qr_net_t nets[VECTOR_CNT];
  uint32_t case_cnt;
  case_t cases[VECTOR_CNT + QR_TASK_MAX_CNT];
  const qr_accel_ops_t *ops, *cpu_ops;
  qr_accel_t *dev, *cpu;
  qr_accel_queue_t *queue, *cpu_queue;
  json_t *results;
  const char *unit; /* under test; NULL: the device as a whole */
  bool is_json, all_passed;
} validate_t;

/* ---- cases ---- */

static void small_nets(qr_net_t out[VECTOR_CNT]) {
  qr_net_spec_t dense = {.in_c = 48,
                         .in_h = 1,
                         .in_w = 1,
                         .action_cnt = 5,
                         .layer_cnt = 3,
                         .batch = 16,
                         .act_frac = 5};
  qr_net_spec_t conv = {
      .in_c = 8, .in_h = 4, .in_w = 6, .action_cnt = 3, .layer_cnt = 3, .batch = 16, .act_frac = 4};
  char why[96];
  dense.layers[0] = (qr_layer_spec_t){.out = 80, .lr_shift = 1};
  dense.layers[1] = (qr_layer_spec_t){.out = 32, .lr_shift = 1};
  dense.layers[2] = (qr_layer_spec_t){.out = 5, .lr_shift = 1};
  conv.layers[0] = (qr_layer_spec_t){QR_LAYER_CONV3, 16, 1, 2, 2, 100};
  conv.layers[1] = (qr_layer_spec_t){QR_LAYER_CONV3, 32, 2, 1, 2, 0};
  conv.layers[2] = (qr_layer_spec_t){.out = 3, .lr_shift = 1};
  (void)(qr_net_init(&dense, &out[0], why, sizeof why) ||
         qr_net_init(&conv, &out[1], why, sizeof why));
}

static bool take_case(case_t *c, const char *name, const qr_net_t *net, uint32_t steps) {
  *c = (case_t){.name = name, .net = net, .steps = steps};
  qr_step_lower(net, &c->prog);
  size_t rows = (size_t)steps * c->prog.batch, most = rows > FORWARD_ROWS ? rows : FORWARD_ROWS;
  c->model = malloc(net->model_sz);
  c->act = malloc(rows);
  c->obs = malloc(most * net->in_sz);
  c->target = malloc(rows * sizeof *c->target);
  bool ok = c->model && c->act && c->obs && c->target;
  for (int i = 0; i < 2; i++) {
    c->out[i] = malloc(net->model_sz);
    c->q[i] = malloc((size_t)FORWARD_ROWS * c->prog.action_cnt * sizeof *c->q[i]);
    ok = ok && c->out[i] && c->q[i];
  }
  if (!ok) return false;
  qr_device_fill(1, c->sigma.b, sizeof c->sigma.b);
  qr_device_fill(2, c->obs, most * net->in_sz);
  qr_device_fill(3, c->act, rows);
  qr_device_fill(4, c->target, rows * sizeof *c->target);
  qr_model_init(net, &c->sigma, c->model);
  for (size_t i = 0; i < most * net->in_sz; i++) c->obs[i] = (int8_t)(c->obs[i] >> 1);
  for (size_t i = 0; i < rows; i++) {
    c->act[i] = (uint8_t)(c->act[i] % c->prog.action_cnt);
    c->target[i] >>= 14;
  }
  return true;
}

static void free_case(case_t *c) {
  free(c->model), free(c->act), free(c->obs), free(c->target);
  for (int i = 0; i < 2; i++) free(c->out[i]), free(c->q[i]);
}

/* ---- running ---- */

static int finish(const qr_accel_ops_t *ops, qr_accel_queue_t *q, qr_accel_job_t *job) {
  int err = ops->submit(q, job);
  while (!err && !job->finished) (void)ops->poll(q);
  return err ? err : job->err;
}

/* Both kinds of job of one case; who: 0 the device, 1 the CPU driver. */
static int run_case(validate_t *v, case_t *c, int who) {
  const qr_accel_ops_t *ops = who ? v->cpu_ops : v->ops;
  qr_accel_queue_t *q = who ? v->cpu_queue : v->queue;
  uint32_t id = who ? c->check_id : c->id;
  qr_accel_job_t train = {.kind = QR_ACCEL_ATTEMPT,
                          .prog = id,
                          .model_in = c->model,
                          .model_out = c->out[who],
                          .sigma = c->sigma,
                          .step_cnt = c->steps,
                          .lr_shift = 1,
                          .obs = c->obs,
                          .act = c->act,
                          .target = c->target,
                          .digests = c->digests[who],
                          .td_abs_sum = c->td[who]};
  qr_accel_job_t forward = {.kind = QR_ACCEL_FORWARD,
                            .prog = id,
                            .model_in = c->model,
                            .obs = c->obs,
                            .row_cnt = FORWARD_ROWS,
                            .q = c->q[who]};
  int err = finish(ops, q, &train);
  return err ? err : finish(ops, q, &forward);
}

/* The same by the reference, which is slow. */
static int run_reference(case_t *c) {
  void *mem = aligned_alloc(QR_CACHE_LINE, qr_align_up(qr_ref_footprint(c->net), QR_CACHE_LINE));
  if (!mem) return QR_ERR_NOMEM;
  qr_ref_t *ref = qr_ref_init(mem, c->net, &c->prog);
  uint32_t b = c->prog.batch;
  memcpy(c->out[1], c->model, c->net->model_sz);
  for (uint32_t k = 0; k < c->steps; k++) {
    qr_ref_step(ref, c->out[1], c->obs + (size_t)k * b * c->net->in_sz, c->act + k * b,
                c->target + k * b, &c->sigma, k, 1, c->digests[1] + k * c->prog.digest_cnt,
                &c->td[1][k]);
  }
  qr_ref_forward(ref, c->model, c->obs, FORWARD_ROWS, c->q[1]);
  free(mem);
  return QR_OK;
}

static void tell(validate_t *v, const char *what, const char *name, bool passed, const char *more) {
  v->all_passed = v->all_passed && passed;
  json_t *o = json_object();
  if (v->unit) json_object_set_new(o, "unit", json_string(v->unit));
  json_object_set_new(o, "test", json_string(what));
  json_object_set_new(o, "of", json_string(name));
  json_object_set_new(o, "passed", json_boolean(passed));
  if (*more) json_object_set_new(o, "detail", json_string(more));
  json_array_append_new(v->results, o);
  if (v->is_json) return;
  printf("  %-7s %s, %s%s%s\n", passed ? "passed" : "FAILED", what, name, *more ? ": " : "", more);
  fflush(stdout); /* a card may hang in the next test */
}

/* What the unit says of its trouble, if it says anything, else what the code says. */
static void explain(validate_t *v, int err, char *out, size_t out_sz) {
  qr_accel_unit_t u = {0};
  out[0] = 0;
  if (err && v->ops->units) (void)v->ops->units(v->dev, &u, 1);
  if (err) snprintf(out, out_sz, "%s%s%s", qr_err_str(err), *u.why ? "; " : "", u.why);
}

static void compare(validate_t *v, case_t *c, bool by_reference) {
  const char *against = by_reference ? "reference" : "CPU";
  char what[64], more[200];
  int err = run_case(v, c, 0);
  if (!err) err = by_reference ? run_reference(c) : run_case(v, c, 1);
  size_t digests = (size_t)c->steps * c->prog.digest_cnt * sizeof(uint64_t);
  bool train = !err && !memcmp(c->digests[0], c->digests[1], digests) &&
               !memcmp(c->td[0], c->td[1], c->steps * sizeof(uint64_t)) &&
               !memcmp(c->out[0], c->out[1], c->net->model_sz);
  bool forward = !err && !memcmp(c->q[0], c->q[1],
                                 (size_t)FORWARD_ROWS * c->prog.action_cnt * sizeof(int32_t));
  snprintf(what, sizeof what, "%u training step%s against the %s", c->steps,
           c->steps == 1 ? "" : "s", against);
  explain(v, err, more, sizeof more);
  tell(v, what, c->name, train, more);
  snprintf(what, sizeof what, "%u rows forward against the %s", FORWARD_ROWS, against);
  tell(v, what, c->name, forward, "");
}

static void multiply(validate_t *v) {
  static int8_t a[GEMM_M * GEMM_K], b[GEMM_K * GEMM_N];
  static int32_t c[GEMM_M * GEMM_N];
  char more[200];
  qr_step_op_t op = {
      .kind = QR_OP_GEMM, .digest = QR_STEP_NO_DIGEST, .m = GEMM_M, .n = GEMM_N, .k = GEMM_K};
  qr_accel_job_t job = {.kind = QR_ACCEL_GEMM, .gemm = &op, .a = a, .b = b, .c = c};
  qr_device_fill(5, a, sizeof a);
  qr_device_fill(6, b, sizeof b);
  for (size_t i = 0; i < sizeof a; i++) a[i] = (int8_t)(a[i] >> 1);
  for (size_t i = 0; i < sizeof b; i++) b[i] = (int8_t)(b[i] >> 1);
  int err = finish(v->ops, v->queue, &job);
  bool same = !err;
  for (uint32_t i = 0; i < GEMM_M * GEMM_N && same; i++) {
    int32_t sum = 0;
    for (uint32_t p = 0; p < GEMM_K; p++)
      sum += a[i / GEMM_N * GEMM_K + p] * b[p * GEMM_N + i % GEMM_N];
    same = sum == c[i];
  }
  explain(v, err, more, sizeof more);
  tell(v, "a product against the CPU", "70 x 50 x 130", same, more);
}

static void measure(validate_t *v) {
  qr_accel_unit_t units[QR_ACCEL_UNIT_MAX_CNT];
  uint32_t cnt = v->ops->units ? v->ops->units(v->dev, units, QR_ACCEL_UNIT_MAX_CNT) : 0;
  for (uint32_t i = 0; i < cnt && v->ops->bandwidth; i++) {
    qr_accel_bandwidth_t b;
    char why[160] = "", text[200];
    int err = v->ops->bandwidth(v->dev, i, &b, why, sizeof why);
    snprintf(text, sizeof text, "%s", why);
    if (!err)
      snprintf(text, sizeof text, "to it %.0f MB/s, from it %.0f MB/s%s",
               (double)b.sz * 1e3 / (double)b.to_ns, (double)b.sz * 1e3 / (double)b.from_ns,
               units[i].emulated ? " (emulated: says nothing of a card)" : "");
    tell(v, "bandwidth", units[i].id, !err, text);
  }
}

/* ---- opening ---- */

static int open_both(validate_t *v, const qr_device_choice_t *choice, char *why, size_t why_sz) {
  int err = v->ops->open(choice->options, &v->dev, why, why_sz);
  if (err) return err;
  err = v->cpu_ops->open("", &v->cpu, why, why_sz);
  if (err) return err;
  for (uint32_t i = 0; i < v->case_cnt && !err; i++) {
    case_t *c = &v->cases[i];
    err = v->ops->load(v->dev, c->net, &c->prog, &c->id);
    if (!err) err = v->cpu_ops->load(v->cpu, c->net, &c->prog, &c->check_id);
  }
  if (!err) err = v->ops->queue_open(v->dev, &v->queue);
  if (!err) err = v->cpu_ops->queue_open(v->cpu, &v->cpu_queue);
  if (!err) return QR_OK;
  char more[200];
  explain(v, err, more, sizeof more);
  snprintf(why, why_sz, "%s does not take the programs: %s", v->ops->name, more);
  return err;
}

static void close_both(validate_t *v) {
  if (v->queue) v->ops->queue_close(v->queue);
  if (v->cpu_queue) v->cpu_ops->queue_close(v->cpu_queue);
  if (v->dev) v->ops->close(v->dev);
  if (v->cpu) v->cpu_ops->close(v->cpu);
  v->queue = v->cpu_queue = NULL;
  v->dev = v->cpu = NULL;
}

static int make_cases(validate_t *v, char *why, size_t why_sz) {
  static qr_params_t params;
  static const char *const names[VECTOR_CNT] = {"a small dense network",
                                                "a small convolutional network"};
  bool ok = qr_params_profile("devnet", &params);
  if (!ok || qr_params_init(&params, &v->chain, why, why_sz)) return QR_ERR_ARG;
  small_nets(v->nets);
  for (uint32_t i = 0; i < VECTOR_CNT; i++)
    ok = take_case(&v->cases[v->case_cnt++], names[i], &v->nets[i], VECTOR_STEPS) && ok;
  for (uint32_t t = 0; t < params.task_cnt; t++)
    ok = take_case(&v->cases[v->case_cnt++], params.tasks[t].name, &v->chain.nets[t], 1) && ok;
  if (!ok) snprintf(why, why_sz, "no memory");
  return ok ? QR_OK : QR_ERR_NOMEM;
}

/* Everything on one unit, or on what the options choose. Returns 0 if the tests ran. */
static int test_unit(validate_t *v, const qr_device_choice_t *choice, char *why, size_t why_sz) {
  qr_accel_info_t info;
  int err = open_both(v, choice, why, why_sz);
  if (!err) {
    v->ops->info(v->dev, &info);
    if (!v->is_json) printf("%s: %s\n", info.name, info.detail);
    for (uint32_t i = 0; i < v->case_cnt; i++) compare(v, &v->cases[i], i < VECTOR_CNT);
    multiply(v);
    measure(v);
  }
  close_both(v);
  return err;
}

/* All units one after the other: a job that may go to any of them would say nothing of the others.
 */
static void test_units(const qr_cli_t *cli, validate_t *v, const qr_accel_unit_t *units, int cnt) {
  qr_device_choice_t choice;
  char why[512];
  for (int i = 0; i < cnt; i++) {
    v->unit = units[i].id;
    int err = QR_ERR_UNSUPPORTED;
    snprintf(why, sizeof why, "%s", units[i].why);
    if (!*why && !qr_device_choose(cli, "xrt", v->unit, &choice))
      err = test_unit(v, &choice, why, sizeof why);
    if (err) tell(v, "opening", v->unit, false, why);
  }
}

static int test_all(const qr_cli_t *cli, validate_t *v, const char *unit) {
  qr_accel_unit_t units[QR_ACCEL_UNIT_MAX_CNT];
  qr_device_choice_t choice;
  char why[512] = "";
  int cnt = 0, rc = qr_device_choose(cli, "xrt", unit, &choice);
  if (rc) return rc;
  v->ops = choice.ops;
  v->unit = unit;
  int err = make_cases(v, why, sizeof why);
  if (!err && !unit && v->ops->find && !qr_device_names_unit(&choice))
    cnt = v->ops->find(choice.options, units, QR_ACCEL_UNIT_MAX_CNT, why, sizeof why);
  if (cnt > 1)
    test_units(cli, v, units, cnt);
  else if (!err)
    err = test_unit(v, &choice, why, sizeof why);
  return err ? qr_cli_fail(cli, err, why) : QR_CLI_OK;
}

int qr_device_validate(const qr_cli_t *cli, const char *unit) {
  static validate_t v;
  v.cpu_ops = qr_accel_driver("cpu");
  v.is_json = cli->json;
  v.all_passed = true;
  if (!v.cpu_ops) return qr_cli_fail(cli, QR_ERR_UNSUPPORTED, "this build has no driver cpu");
  v.results = json_array();
  int rc = test_all(cli, &v, unit);
  for (uint32_t i = 0; i < v.case_cnt; i++) free_case(&v.cases[i]);
  if (!rc && cli->json)
    qr_cli_print_json(v.results);
  else
    json_decref(v.results);
  return rc ? rc : v.all_passed ? QR_CLI_OK : QR_CLI_FAILED;
}
