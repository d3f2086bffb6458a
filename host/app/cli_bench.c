/* quarry bench: what this machine does with the chain's work. Needs no node. */
#include "app/cli_bench.h"

#include <stdio.h>

#include "base/log.h"
#include "port/drivers.h"

#define DEFAULT_SECONDS 20u
#define SECONDS_MAX 3600u
#define BLOCKS_MAX 100000u

enum { OPT_TASK, OPT_SECONDS, OPT_ACCEL, OPT_RIVALS, OPT_FOLDER, OPT_BLOCKS };

static const qr_cli_bench_t *const benches[] = {&qr_cli_bench_step, &qr_cli_bench_adversary,
                                                &qr_cli_bench_store, &qr_cli_bench_link};

/* ---- what benches share ---- */

json_t *qr_cli_bench_stat_json(const qr_bench_series_t *s) {
  if (!s->cnt) return json_null();
  qr_bench_stat_t st = qr_bench_stat(s);
  json_t *o = json_object();
  json_object_set_new(o, "median", json_real(st.median));
  json_object_set_new(o, "min", json_real(st.min));
  json_object_set_new(o, "max", json_real(st.max));
  return o;
}

json_t *qr_cli_bench_machine_json(const qr_bench_machine_t *m) {
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

void qr_cli_bench_print_machine(const qr_bench_machine_t *m) {
  printf("%s; %u of %u cores allowed; load %.1f; %s\n", m->cpu, m->allowed_core_cnt, m->core_cnt,
         m->load_1min, m->compiler);
  if (!m->optimised) puts("this program was built without optimisation: its figures mean nothing");
}

/* Digits behind the point for a number that has room for so many characters in front of it. */
static int digits(double v, int room) {
  for (double limit = 10; v >= limit && room > 0; limit *= 10) room--;
  return room;
}

void qr_cli_bench_print_stat(const qr_bench_series_t *s) {
  char cell[64] = "-";
  qr_bench_stat_t st = qr_bench_stat(s);
  if (s->cnt) {
    snprintf(cell, sizeof cell, "%.*f (%.*f-%.*f)", digits(st.median, 3), st.median,
             digits(st.min, 2), st.min, digits(st.max, 2), st.max);
  }
  printf(" %*s", QR_CLI_BENCH_CELL - 1, cell);
}

/* ---- the command ---- */

static const qr_cli_bench_t *find(const char *name) {
  for (size_t i = 0; i < QR_ARRAY_CNT(benches); i++) {
    if (!strcmp(benches[i]->name, name)) return benches[i];
  }
  return NULL;
}

static int run_bench(const qr_cli_t *cli) {
  const qr_cli_bench_t *bench = find(cli->args[0]);
  if (!bench) return qr_cli_usage("usage: quarry bench %s", qr_cli_bench.args);
  uint64_t seconds = DEFAULT_SECONDS, blocks = 0;
  const char *text = cli->values[OPT_SECONDS];
  if (text && (!qr_cli_parse_u64(text, SECONDS_MAX, &seconds) || !seconds))
    return qr_cli_usage("--seconds '%s' is not a number from 1 to %u", text, SECONDS_MAX);
  text = cli->values[OPT_BLOCKS];
  if (text && (!qr_cli_parse_u64(text, BLOCKS_MAX, &blocks) || !blocks))
    return qr_cli_usage("--blocks '%s' is not a number from 1 to %u", text, BLOCKS_MAX);
  char name[64];
  const char *accel = cli->values[OPT_ACCEL] ? cli->values[OPT_ACCEL] : "cpu",
             *colon = strchr(accel, ':');
  snprintf(name, sizeof name, "%.*s", colon ? (int)(colon - accel) : 63, accel);
  qr_cli_bench_args_t args = {.accel = qr_accel_driver(name),
                              .accel_text = accel,
                              .accel_options = colon ? colon + 1 : NULL,
                              .task = cli->values[OPT_TASK],
                              .rivals = cli->values[OPT_RIVALS],
                              .folder = cli->values[OPT_FOLDER],
                              .block_cnt = (uint32_t)blocks,
                              .seconds = (uint32_t)seconds};
  if (!args.accel) return qr_cli_usage("--accel: this build has no driver '%s'", name);
  qr_log_init(QR_LOG_ERROR, 2);
  return bench->run(cli, &args);
}

static void print_benches(void) {
  for (size_t i = 0; i < QR_ARRAY_CNT(benches); i++)
    printf("\n%s: %s\n", benches[i]->name, benches[i]->help);
}

const qr_cli_command_t qr_cli_bench = {
    .name = "bench",
    .args = "step|adversary|store|link",
    .arg_min_cnt = 1,
    .arg_max_cnt = 1,
    .run = run_bench,
    .help = "measure this machine with the chain's work\n\n"
            "All in one run and in turns; step and adversary on the tasks of devnet. Needs no "
            "node.",
    .print_more = print_benches,
    .options =
        {{"task", "NAME", "only this task of devnet"},
         {"seconds", "S", "how long, about (default 20); each figure is taken once at least"},
         {"accel", "NAME[:options]",
          "driver (default cpu), e.g. cpu:kernel=avx2 for that kernel alone, xrt:emulate"},
         {"rivals", "FOLDER",
          "where the libraries to compare with are (default: beside this program)"},
         {"folder", "FOLDER",
          "store: where to measure, empty or not there (default: a fresh one in $TMPDIR)"},
         {"blocks", "N",
          "store: over which bytes written are counted, beside --seconds (default: as fit)"}},
};
