/* quarry bench: what its benches share. Adding one is adding a cli_bench_<name>.c with one table of
   this type, and its name to the list in cli_bench.c. */
#ifndef QR_APP_CLI_BENCH_H
#define QR_APP_CLI_BENCH_H

#include "app/bench_machine.h"
#include "app/bench_series.h"
#include "app/cli.h"
#include "port/accel.h"

/* Options of every bench, checked. */
typedef struct {
  const qr_accel_ops_t *accel;
  const char *accel_text;    /* as given: "cpu:kernel=avx2" */
  const char *accel_options; /* what follows the driver's name, NULL if nothing does */
  const char *task;          /* of devnet; NULL: all */
  const char *rivals;        /* folder of the libraries to compare with; NULL: this program's */
  const char *folder;        /* of the store's bench; NULL: a fresh one */
  uint32_t block_cnt;        /* of the store's bench; 0: as many as fit */
  uint32_t seconds;
} qr_cli_bench_args_t;

typedef struct {
  const char *name, *help; /* help: paragraphs, the first line is the summary */
  int (*run)(const qr_cli_t *cli, const qr_cli_bench_args_t *args);
} qr_cli_bench_t;

extern const qr_cli_bench_t qr_cli_bench_step, qr_cli_bench_adversary, qr_cli_bench_store,
    qr_cli_bench_link;

/* Median, min and max; null without samples. */
json_t *qr_cli_bench_stat_json(const qr_bench_series_t *s);
json_t *qr_cli_bench_machine_json(const qr_bench_machine_t *m);
/* The first lines of a table: machine, who else is on it, and whether figures mean anything. */
void qr_cli_bench_print_machine(const qr_bench_machine_t *m);
/* " median (min-max)", right-aligned in QR_CLI_BENCH_CELL columns; "-" without samples. */
#define QR_CLI_BENCH_CELL 18
void qr_cli_bench_print_stat(const qr_bench_series_t *s);

#endif
