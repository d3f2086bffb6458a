/* quarry bench step: the figures of the training step, for people and for programs. */
#include <stdio.h>
#include <stdlib.h>

#include "app/bench_step.h"
#include "app/cli_bench.h"
#include "base/err.h"

/* ---- for programs ---- */

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
      json_object_set_new(k, qr_bench_metric_keys[m],
                          qr_cli_bench_stat_json(&b->cases[t][v].metrics[m]));
    }
    json_array_append_new(kernels, k);
  }
  json_object_set_new(o, "kernels", kernels);
  json_object_set_new(scaling, "kernel", json_string(b->variants[0].name));
  json_object_set_new(scaling, "thread_cnt", json_integer(b->thread_cnt));
  for (uint32_t i = 0; i < QR_BENCH_SCALING_CNT; i++) {
    json_object_set_new(scaling, qr_bench_scaling_keys[i],
                        qr_cli_bench_stat_json(&b->scaling[t][i]));
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
  json_object_set_new(o, "machine", qr_cli_bench_machine_json(m));
  json_object_set_new(o, "seconds", json_real(b->seconds));
  json_object_set_new(o, "round_cnt", json_integer(b->round_cnt));
  for (uint32_t i = 0; i < b->absent_cnt; i++)
    json_array_append_new(absent, json_string(b->absent[i]));
  json_object_set_new(o, "absent", absent);
  for (uint32_t i = 0; i < b->peak_cnt; i++) {
    json_t *p = json_object();
    json_object_set_new(p, "kernel", json_string(b->peaks[i]->name));
    json_object_set_new(p, "instructions", json_string(b->peaks[i]->detail));
    json_object_set_new(p, "gmac_per_s", qr_cli_bench_stat_json(&b->peak_gmac_per_s[i]));
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
      qr_cli_bench_print_stat(&b->cases[t][v].metrics[rows[i].metric]);
    putchar('\n');
  }
  char label[40];
  const char *const labels[QR_BENCH_SCALING_CNT] = {"attempts/s, 1 thread", label, "  ratio"};
  snprintf(label, sizeof label, "attempts/s, %u thread%s", b->thread_cnt,
           b->thread_cnt == 1 ? "" : "s");
  for (uint32_t i = 0; i < QR_BENCH_SCALING_CNT; i++) {
    printf("  %-26s", labels[i]);
    qr_cli_bench_print_stat(&b->scaling[t][i]);
    putchar('\n');
  }
}

static int print_table(const qr_bench_step_t *b, const qr_bench_machine_t *m) {
  qr_cli_bench_print_machine(m);
  printf("measured in %u rounds over %.1f s, kernels in turns: median (min-max)\n", b->round_cnt,
         b->seconds);
  for (uint32_t i = 0; i < b->absent_cnt; i++) printf("not on this machine: %s\n", b->absent[i]);
  puts("\npeak of one core, int8 from registers to registers, GMAC/s");
  for (uint32_t i = 0; i < b->peak_cnt; i++) {
    printf("  %-26s", b->peaks[i]->name);
    qr_cli_bench_print_stat(&b->peak_gmac_per_s[i]);
    printf("  %s\n", b->peaks[i]->detail);
  }
  for (uint32_t t = 0; t < b->chain.p.task_cnt; t++) {
    if (b->with_task[t]) print_task(b, t);
  }
  return QR_CLI_OK;
}

/* ---- the command ---- */

static int run_step(const qr_cli_t *cli, const qr_cli_bench_args_t *args) {
  char why[256] = "";
  qr_bench_machine_t machine;
  qr_bench_step_t *b = malloc(sizeof *b);
  if (!b) return qr_cli_fail(cli, QR_ERR_NOMEM, "cannot take the memory");
  qr_bench_machine(&machine);
  qr_bench_step_cfg_t cfg = {.accel = args->accel,
                             .options = args->accel_options,
                             .task = args->task,
                             .seconds = args->seconds};
  cfg.thread_cnt = machine.allowed_core_cnt < QR_BENCH_THREAD_MAX_CNT ? machine.allowed_core_cnt
                                                                      : QR_BENCH_THREAD_MAX_CNT;
  int rc, err = qr_bench_step_run(&cfg, b, why, sizeof why);
  if (err)
    rc = qr_cli_fail(cli, err, why);
  else
    rc = cli->json ? print_json(b, args->accel_text, &machine) : print_table(b, &machine);
  free(b);
  return rc;
}

const qr_cli_bench_t qr_cli_bench_step = {
    .name = "step",
    .run = run_step,
    .help =
        "the training step: attempts, steps, forward passes and verification\n"
        "With every kernel that the driver offers, in turns within one run: medians with the "
        "smallest and largest sample, and\nratios taken within a round. The peak is a loop of int8 "
        "dot products between registers, measured in the same run. An\nattempt counts with its "
        "target values known, as most attempts between two blocks.",
};
