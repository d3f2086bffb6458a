/* quarry bench: what this machine does with the chain's work. Needs no node. */
#include <stdio.h>
#include <stdlib.h>

#include "app/bench_machine.h"
#include "app/bench_step.h"
#include "app/cli.h"
#include "base/err.h"
#include "base/log.h"
#include "port/drivers.h"

#define DEFAULT_SECONDS 20u
#define SECONDS_MAX 3600u

enum { OPT_TASK, OPT_SECONDS, OPT_ACCEL };

/* ---- for programs ---- */

static json_t *stat_json(const qr_bench_series_t *s) {
  if (!s->cnt) return json_null();
  qr_bench_stat_t st = qr_bench_stat(s);
  json_t *o = json_object();
  json_object_set_new(o, "median", json_real(st.median));
  json_object_set_new(o, "min", json_real(st.min));
  json_object_set_new(o, "max", json_real(st.max));
  return o;
}

static json_t *machine_json(const qr_bench_machine_t *m) {
  json_t *o = json_object();
  json_object_set_new(o, "cpu", json_string(m->cpu));
  json_object_set_new(o, "os", json_string(m->os));
  json_object_set_new(o, "compiler", json_string(m->compiler));
  json_object_set_new(o, "optimised", json_boolean(m->optimised));
  json_object_set_new(o, "core_cnt", json_integer(m->core_cnt));
  json_object_set_new(o, "allowed_core_cnt", json_integer(m->allowed_core_cnt));
  json_object_set_new(o, "load_1min", json_real(m->load_1min));
  return o;
}

static json_t *task_json(const qr_bench_step_t *b, uint32_t t) {
  const qr_net_t *net = &b->chain.nets[t];
  json_t *o = json_object(), *kernels = json_array(), *scaling = json_object();
  json_object_set_new(o, "task", json_string(b->chain.p.tasks[t].name));
  json_object_set_new(o, "steps_per_attempt", json_integer(b->chain.p.step_cnt));
  json_object_set_new(o, "batch_rows", json_integer(net->spec.batch));
  json_object_set_new(o, "step_mac_cnt", json_integer((json_int_t)net->mac_cnt_step));
  json_object_set_new(o, "model_bytes", json_integer(net->model_sz));
  for (uint32_t v = 0; v < b->variant_cnt; v++) {
    json_t *k = json_object();
    json_object_set_new(k, "kernel", json_string(b->variants[v].name));
    for (uint32_t m = 0; m < QR_BENCH_METRIC_CNT; m++) {
      json_object_set_new(k, qr_bench_metric_keys[m], stat_json(&b->cases[t][v].metrics[m]));
    }
    json_array_append_new(kernels, k);
  }
  json_object_set_new(o, "kernels", kernels);
  json_object_set_new(scaling, "kernel", json_string(b->variants[0].name));
  json_object_set_new(scaling, "thread_cnt", json_integer(b->thread_cnt));
  for (uint32_t i = 0; i < QR_BENCH_SCALING_CNT; i++) {
    json_object_set_new(scaling, qr_bench_scaling_keys[i], stat_json(&b->scaling[t][i]));
  }
  json_object_set_new(o, "scaling", scaling);
  return o;
}

static int print_json(const qr_bench_step_t *b, const char *accel, const qr_bench_machine_t *m) {
  json_t *o = json_object(), *peaks = json_array(), *tasks = json_array(), *absent = json_array();
  json_object_set_new(o, "bench", json_string("step"));
  json_object_set_new(o, "source", json_string("measured"));
  json_object_set_new(o, "chain", json_string(b->chain.p.name));
  json_object_set_new(o, "accel", json_string(accel));
  json_object_set_new(o, "machine", machine_json(m));
  json_object_set_new(o, "seconds", json_real(b->seconds));
  json_object_set_new(o, "round_cnt", json_integer(b->round_cnt));
  for (uint32_t i = 0; i < b->absent_cnt; i++)
    json_array_append_new(absent, json_string(b->absent[i]));
  json_object_set_new(o, "absent", absent);
  for (uint32_t i = 0; i < b->peak_cnt; i++) {
    json_t *p = json_object();
    json_object_set_new(p, "kernel", json_string(b->peaks[i]->name));
    json_object_set_new(p, "instructions", json_string(b->peaks[i]->detail));
    json_object_set_new(p, "gmac_per_s", stat_json(&b->peak_gmac_per_s[i]));
    json_array_append_new(peaks, p);
  }
  json_object_set_new(o, "peaks", peaks);
  for (uint32_t t = 0; t < b->chain.p.task_cnt; t++) {
    if (b->with_task[t]) json_array_append_new(tasks, task_json(b, t));
  }
  json_object_set_new(o, "tasks", tasks);
  return qr_cli_print_json(o);
}

/* ---- for people ---- */

/* One row of a task's table, a column for each kernel. */
static const struct {
  const char *name;
  uint32_t metric; /* enum qr_bench_metric */
} rows[] = {
    {"training step, ms", QR_BENCH_STEP_MS},
    {"attempt, ms", QR_BENCH_ATTEMPT_MS},
    {"attempts/s, one core", QR_BENCH_ATTEMPTS_PER_S},
    {"  over the first kernel's", QR_BENCH_ATTEMPT_OF_FIRST},
    {"whole step, GMAC/s", QR_BENCH_STEP_GMAC},
    {"  over its own peak", QR_BENCH_OF_OWN_PEAK},
    {"  over the best peak", QR_BENCH_OF_BEST_PEAK},
    {"attempt / products at peak", QR_BENCH_ATTEMPT_OF_GEMM},
    {"forward, 16 rows, us", QR_BENCH_FORWARD_16_US},
    {"forward, 4096 rows, ms", QR_BENCH_FORWARD_4096_MS},
    {"  rows/s", QR_BENCH_FORWARD_ROWS_PER_S},
    {"attempt that wins, ms", QR_BENCH_BLOCK_MS},
    {"verify a block, ms", QR_BENCH_VERIFY_MS},
    {"  no target value known", QR_BENCH_VERIFY_COLD_MS},
    {"  over an attempt", QR_BENCH_VERIFY_ATTEMPT},
    {"  over one that wins", QR_BENCH_VERIFY_BLOCK},
};

static void print_stat(const qr_bench_series_t *s) {
  char cell[64] = "-";
  qr_bench_stat_t st = qr_bench_stat(s);
  int digits = st.median >= 1000 ? 0 : st.median >= 100 ? 1 : st.median >= 10 ? 2 : 3;
  if (s->cnt) {
    snprintf(cell, sizeof cell, "%.*f (%.*f-%.*f)", digits, st.median, digits, st.min, digits,
             st.max);
  }
  printf(" %26s", cell);
}

static void print_task(const qr_bench_step_t *b, uint32_t t) {
  const qr_net_t *net = &b->chain.nets[t];
  printf("\n%s: K %u, batch %u, %.1f million MACs a step, model %u bytes\n",
         b->chain.p.tasks[t].name, b->chain.p.step_cnt, net->spec.batch,
         (double)net->mac_cnt_step * 1e-6, net->model_sz);
  printf("  %-26s", "");
  for (uint32_t v = 0; v < b->variant_cnt; v++) printf(" %26s", b->variants[v].name);
  putchar('\n');
  for (size_t i = 0; i < QR_ARRAY_CNT(rows); i++) {
    printf("  %-26s", rows[i].name);
    for (uint32_t v = 0; v < b->variant_cnt; v++)
      print_stat(&b->cases[t][v].metrics[rows[i].metric]);
    putchar('\n');
  }
  char label[40];
  const char *const labels[QR_BENCH_SCALING_CNT] = {"attempts/s, 1 thread", label, "  ratio"};
  snprintf(label, sizeof label, "attempts/s, %u thread%s", b->thread_cnt,
           b->thread_cnt == 1 ? "" : "s");
  for (uint32_t i = 0; i < QR_BENCH_SCALING_CNT; i++) {
    printf("  %-26s", labels[i]);
    print_stat(&b->scaling[t][i]);
    putchar('\n');
  }
}

static int print_table(const qr_bench_step_t *b, const qr_bench_machine_t *m) {
  printf("%s; %u of %u cores allowed; load %.1f; %s\n", m->cpu, m->allowed_core_cnt, m->core_cnt,
         m->load_1min, m->compiler);
  printf("measured in %u rounds over %.1f s, kernels in turns: median (min-max)\n", b->round_cnt,
         b->seconds);
  if (!m->optimised) puts("this program was built without optimisation: its figures mean nothing");
  for (uint32_t i = 0; i < b->absent_cnt; i++) printf("not on this machine: %s\n", b->absent[i]);
  puts("\npeak of one core, int8 from registers to registers, GMAC/s");
  for (uint32_t i = 0; i < b->peak_cnt; i++) {
    printf("  %-26s", b->peaks[i]->name);
    print_stat(&b->peak_gmac_per_s[i]);
    printf("  %s\n", b->peaks[i]->detail);
  }
  for (uint32_t t = 0; t < b->chain.p.task_cnt; t++) {
    if (b->with_task[t]) print_task(b, t);
  }
  return QR_CLI_OK;
}

/* ---- the command ---- */

static int run_step(const qr_cli_t *cli, const char *accel, const qr_bench_step_cfg_t *cfg) {
  char why[256] = "";
  qr_bench_machine_t machine;
  qr_bench_step_t *b = malloc(sizeof *b);
  if (!b) return qr_cli_fail(cli, QR_ERR_NOMEM, "cannot take the memory");
  qr_bench_machine(&machine);
  qr_bench_step_cfg_t run = *cfg;
  run.thread_cnt = machine.allowed_core_cnt < QR_BENCH_THREAD_MAX_CNT ? machine.allowed_core_cnt
                                                                      : QR_BENCH_THREAD_MAX_CNT;
  int rc, err = qr_bench_step_run(&run, b, why, sizeof why);
  if (err)
    rc = qr_cli_fail(cli, err, why);
  else
    rc = cli->json ? print_json(b, accel, &machine) : print_table(b, &machine);
  free(b);
  return rc;
}

static int run_bench(const qr_cli_t *cli) {
  if (strcmp(cli->args[0], "step")) return qr_cli_usage("usage: quarry bench step");
  uint64_t seconds = DEFAULT_SECONDS;
  const char *text = cli->values[OPT_SECONDS];
  if (text && (!qr_cli_parse_u64(text, SECONDS_MAX, &seconds) || !seconds))
    return qr_cli_usage("--seconds '%s' is not a number from 1 to %u", text, SECONDS_MAX);
  char name[64];
  const char *accel = cli->values[OPT_ACCEL] ? cli->values[OPT_ACCEL] : "cpu",
             *colon = strchr(accel, ':');
  snprintf(name, sizeof name, "%.*s", colon ? (int)(colon - accel) : 63, accel);
  qr_bench_step_cfg_t cfg = {.accel = qr_accel_driver(name),
                             .options = colon ? colon + 1 : NULL,
                             .task = cli->values[OPT_TASK],
                             .seconds = (uint32_t)seconds};
  if (!cfg.accel) return qr_cli_usage("--accel: this build has no driver '%s'", name);
  qr_log_init(QR_LOG_ERROR, 2);
  return run_step(cli, accel, &cfg);
}

const qr_cli_command_t qr_cli_bench = {
    .name = "bench",
    .args = "step",
    .arg_min_cnt = 1,
    .arg_max_cnt = 1,
    .run = run_bench,
    .help =
        "measure the training step on this machine\n\n"
        "Attempts, training steps, forward passes and verification for the tasks of devnet, with "
        "every kernel that\nthe driver offers, in turns within one run: medians with the smallest "
        "and largest sample, and ratios taken\nwithin a round. The peak is a loop of int8 dot "
        "products between registers, measured in the same run. An\nattempt counts with its target "
        "values known, as most attempts between two blocks. Needs no node.",
    .options = {{"task", "NAME", "only this task of devnet"},
                {"seconds", "S",
                 "how long, about (default 20); each figure is taken once at least"},
                {"accel", "NAME[:options]",
                 "driver (default cpu), e.g. cpu:kernel=avx2 for that kernel alone"}},
};
