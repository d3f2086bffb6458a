/* quarry device job step: training steps of a task's network, on the user's own model and data. */
#include <stdio.h>
#include <stdlib.h>

#include "app/bench_rig.h"
#include "app/cli_device.h"
#include "app/genesis.h"
#include "base/err.h"
#include "base/log.h"
#include "port/drivers.h"
#include "step/program.h"

#define STEPS_MAX 4096u

typedef struct {
  qr_chain_cfg_t chain;
  const qr_net_t *net;
  qr_step_prog_t prog;
  uint32_t task, steps;
  qr_hash_t sigma;
  uint8_t *model, *act;
  int8_t *obs;
  int32_t *target;
  /* what came out, and what the CPU says */
  struct {
    uint8_t *model;
    uint64_t *digests, *td;
  } got, want;
} step_t;

static int read_arguments(const qr_cli_t *cli, step_t *s) {
  static qr_params_t params;
  char why[512];
  const char *genesis = cli->values[QR_DEVICE_GENESIS], *task = cli->values[QR_DEVICE_TASK],
             *sigma = cli->values[QR_DEVICE_SIGMA], *steps = cli->values[QR_DEVICE_STEPS];
  uint64_t n = 1;
  int err = qr_genesis_read(genesis ? genesis : "devnet", &params, why, sizeof why);
  if (!err) err = qr_params_init(&params, &s->chain, why, sizeof why);
  if (err) return qr_cli_fail(cli, err, why);
  while (task && s->task < params.task_cnt && strcmp(task, params.tasks[s->task].name)) s->task++;
  if (s->task == params.task_cnt) {
    fprintf(stderr, "quarry: --task: this chain has no '%s'; it has", task);
    for (uint32_t i = 0; i < params.task_cnt; i++) fprintf(stderr, " %s", params.tasks[i].name);
    fputs("\n", stderr);
    return QR_CLI_USAGE;
  }
  if (steps && (!qr_cli_parse_u64(steps, STEPS_MAX, &n) || !n))
    return qr_cli_usage("--steps '%s' is not a number from 1 to %u", steps, STEPS_MAX);
  if (sigma && !qr_unhex(s->sigma.b, sizeof s->sigma.b, sigma))
    return qr_cli_usage("--sigma must be 64 hex digits");
  s->steps = (uint32_t)n;
  s->net = &s->chain.nets[s->task];
  qr_step_lower(s->net, &s->prog);
  return QR_CLI_OK;
}

static void *input(const qr_cli_t *cli, int option, size_t sz) {
  if (cli->values[option]) return qr_device_read(cli, cli->values[option], sz);
  void *p = malloc(sz);
  if (p) qr_device_fill((uint64_t)option, p, sz);
  return p;
}

/* Random bytes become what they stand for; a user's own are refused if they are not that. */
static int fit(const qr_cli_t *cli, step_t *s, size_t rows) {
  bool own_obs = cli->values[QR_DEVICE_OBS], own_act = cli->values[QR_DEVICE_ACT];
  for (size_t i = 0; i < rows * s->prog.obs_sz; i++) {
    if (!own_obs) s->obs[i] = (int8_t)(s->obs[i] >> 1);
    if (s->obs[i] < -64 || s->obs[i] > 63)
      return qr_cli_fail(cli, QR_ERR_FORMAT, "--obs: an element is not in -64 .. 63");
  }
  for (size_t i = 0; i < rows; i++) {
    if (!own_act) s->act[i] = (uint8_t)(s->act[i] % s->prog.action_cnt);
    if (s->act[i] >= s->prog.action_cnt)
      return qr_cli_fail(cli, QR_ERR_FORMAT, "--act: an action that the task does not have");
    if (!cli->values[QR_DEVICE_TARGET]) s->target[i] >>= 14; /* within -2 .. 2 */
  }
  return QR_CLI_OK;
}

static int take_inputs(const qr_cli_t *cli, step_t *s) {
  size_t rows = (size_t)s->steps * s->prog.batch, sz = s->net->model_sz;
  size_t digests = (size_t)s->steps * s->prog.digest_cnt;
  qr_hash_t seed = {{1}};
  s->model = cli->values[QR_DEVICE_MODEL] ? qr_device_read(cli, cli->values[QR_DEVICE_MODEL], sz)
                                          : malloc(sz);
  if (!s->model) return QR_CLI_FAILED;
  if (!cli->values[QR_DEVICE_MODEL]) qr_model_init(s->net, &seed, s->model);
  if (!(s->obs = input(cli, QR_DEVICE_OBS, rows * s->prog.obs_sz))) return QR_CLI_FAILED;
  if (!(s->act = input(cli, QR_DEVICE_ACT, rows))) return QR_CLI_FAILED;
  if (!(s->target = input(cli, QR_DEVICE_TARGET, rows * 4))) return QR_CLI_FAILED;
  s->got.model = malloc(sz);
  s->want.model = malloc(sz);
  s->got.digests = malloc(digests * 8 + 8);
  s->want.digests = malloc(digests * 8 + 8);
  s->got.td = malloc((size_t)s->steps * 8);
  s->want.td = malloc((size_t)s->steps * 8);
  if (!s->got.model || !s->want.model || !s->got.digests || !s->want.digests || !s->got.td ||
      !s->want.td)
    return qr_cli_fail(cli, QR_ERR_NOMEM, "no memory");
  return fit(cli, s, rows);
}

/* The steps on one device; returns 0 or has put a sentence in why. */
static int train(const step_t *s, const qr_accel_ops_t *ops, const char *options, bool is_check,
                 char name[32], char *why, size_t why_sz) {
  qr_bench_dev_t d;
  qr_accel_info_t info;
  int err = qr_bench_dev_open(&d, &s->chain, ops, options, why, why_sz);
  if (err) return err;
  ops->info(d.accel, &info);
  memcpy(name, info.name, sizeof info.name);
  qr_accel_job_t job = {.kind = QR_ACCEL_ATTEMPT,
                        .prog = d.progs[s->task],
                        .model_in = s->model,
                        .model_out = is_check ? s->want.model : s->got.model,
                        .sigma = s->sigma,
                        .step_cnt = s->steps,
                        .obs = s->obs,
                        .act = s->act,
                        .target = s->target,
                        .digests = is_check ? s->want.digests : s->got.digests,
                        .td_abs_sum = is_check ? s->want.td : s->got.td};
  err = qr_bench_finish(&d, &job);
  qr_bench_dev_close(&d);
  if (err) snprintf(why, why_sz, "%.31s failed on the steps: %s", name, qr_err_str(err));
  return err;
}

/* First step whose digests differ; steps if none does, but the model may. */
static uint32_t first_difference(const step_t *s) {
  uint32_t n = s->prog.digest_cnt;
  for (uint32_t k = 0; k < s->steps; k++) {
    if (memcmp(s->got.digests + (size_t)k * n, s->want.digests + (size_t)k * n, n * 8) ||
        s->got.td[k] != s->want.td[k])
      return k;
  }
  return s->steps;
}

static int report(const qr_cli_t *cli, const step_t *s, const char *device, bool checked) {
  char root[2 * QR_HASH_SZ + 1];
  qr_hash_t h = qr_model_root(s->net, s->got.model);
  uint32_t k = checked ? first_difference(s) : s->steps;
  bool same = !checked || (k == s->steps && !memcmp(s->got.model, s->want.model, s->net->model_sz));
  qr_hex(root, h.b, sizeof h.b);
  if (cli->json) {
    json_t *o = json_object();
    json_object_set_new(o, "device", json_string(device));
    json_object_set_new(o, "steps", json_integer(s->steps));
    json_object_set_new(o, "root", json_string(root));
    if (checked) json_object_set_new(o, "same", json_boolean(same));
    qr_cli_print_json(o);
  } else {
    printf("%s: %u step%s, batch %u; root of the model %s\n", device, s->steps,
           s->steps == 1 ? "" : "s", s->prog.batch, root);
    if (checked && same) puts("the CPU gives the same, digest by digest");
    if (!same) printf("the CPU gives something else from step %u on\n", k);
  }
  return same ? QR_CLI_OK : QR_CLI_FAILED;
}

static int run(const qr_cli_t *cli, step_t *s) {
  qr_device_choice_t choice;
  const char *out = cli->values[QR_DEVICE_OUT];
  char why[512] = "", name[32], cpu_name[32];
  int rc = qr_device_choose(cli, "cpu", NULL, &choice);
  if (!rc) rc = read_arguments(cli, s);
  if (!rc && out) rc = qr_device_may_write(cli, out);
  if (!rc) rc = take_inputs(cli, s);
  if (rc) return rc;
  const qr_accel_ops_t *cpu = qr_accel_driver("cpu");
  bool check = cli->values[QR_DEVICE_CHECK] && cpu;
  int err = train(s, choice.ops, choice.options, false, name, why, sizeof why);
  if (!err && check) err = train(s, cpu, "", true, cpu_name, why, sizeof why);
  if (err) return qr_cli_fail(cli, err, why);
  if (out && (rc = qr_device_write(cli, out, s->got.model, s->net->model_sz))) return rc;
  return report(cli, s, name, check);
}

int qr_device_step(const qr_cli_t *cli) {
  static step_t s;
  int rc = run(cli, &s);
  free(s.model), free(s.act), free(s.obs), free(s.target);
  free(s.got.model), free(s.got.digests), free(s.got.td);
  free(s.want.model), free(s.want.digests), free(s.want.td);
  return rc;
}
