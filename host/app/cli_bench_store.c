/* quarry bench store: what durable blocks cost on this disk, and what our files save of it. */
#include "app/cli_bench_store.h"

#include <stdio.h>
#include <stdlib.h>

#include "app/cli_bench.h"
#include "app/cli_work.h"
#include "base/err.h"
#include "port/drivers.h"

#define DRIVER "rocksdb"

static double percentile(const qr_bench_store_t *b, uint32_t side, uint32_t percent) {
  return b->commit_ms[side][(b->commit_cnt - 1) * percent / 100];
}

static double amplification(const qr_store_child_t *c) {
  return c->given_sz ? (double)c->written_sz / (double)c->given_sz : 0;
}

/* ---- for programs ---- */

static json_t *pair_json(const qr_bench_store_pair_t *p, const char *unit) {
  json_t *o = json_object();
  json_object_set_new(o, "source", json_string("measured"));
  json_object_set_new(o, "unit", json_string(unit));
  for (uint32_t i = 0; i < QR_STORE_SIDE_CNT; i++)
    json_object_set_new(o, qr_store_sides[i], qr_cli_bench_stat_json(&p->sides[i]));
  json_object_set_new(o, "ratio", qr_cli_bench_stat_json(&p->ratio));
  json_object_set_new(o, "round_cnt", json_integer(p->ratio.cnt));
  return o;
}

static json_t *commit_json(const qr_bench_store_t *b) {
  json_t *o = pair_json(&b->commit, "ms, medians of rounds");
  json_object_set_new(o, "commit_cnt", json_integer(b->commit_cnt));
  json_object_set_new(
      o, "p50_ratio",
      json_real(percentile(b, QR_STORE_STOCK, 50) / percentile(b, QR_STORE_URING, 50)));
  for (uint32_t i = 0; i < QR_STORE_SIDE_CNT; i++) {
    char key[48];
    snprintf(key, sizeof key, "%s_p50_ms", qr_store_sides[i]);
    json_object_set_new(o, key, json_real(percentile(b, i, 50)));
    snprintf(key, sizeof key, "%s_p99_ms", qr_store_sides[i]);
    json_object_set_new(o, key, json_real(percentile(b, i, 99)));
    snprintf(key, sizeof key, "%s_commits_per_s", qr_store_sides[i]);
    json_object_set_new(o, key, json_real(b->commits_per_s[i]));
  }
  return o;
}

static json_t *amplification_json(const qr_bench_store_t *b) {
  json_t *o = json_object();
  json_object_set_new(o, "source", json_string("measured: write_bytes of /proc/self/io"));
  json_object_set_new(o, "block_cnt", json_integer(b->amplify_block_cnt));
  for (uint32_t i = 0; i < QR_STORE_SIDE_CNT; i++) {
    const qr_store_child_t *c = &b->amplify[i];
    bool told = c->counted && c->written_sz;
    json_t *side = json_object();
    json_object_set_new(side, "given_bytes", json_integer((json_int_t)c->given_sz));
    json_object_set_new(side, "written_bytes",
                        told ? json_integer((json_int_t)c->written_sz) : json_null());
    json_object_set_new(side, "amplification", told ? json_real(amplification(c)) : json_null());
    json_object_set_new(o, qr_store_sides[i], side);
  }
  return o;
}

static int print_json(const qr_bench_store_t *b, const qr_bench_machine_t *m) {
  json_t *o = json_object(), *floor = json_object(), *recover = pair_json(&b->recover, "ms");
  json_t *scan = pair_json(&b->scan, "MB/s");
  json_object_set_new(o, "bench", json_string("store"));
  json_object_set_new(o, "source", json_string("measured"));
  json_object_set_new(o, "driver", json_string(DRIVER));
  json_object_set_new(o, "machine", qr_cli_bench_machine_json(m));
  json_object_set_new(o, "file_system", json_string(b->place.file_system));
  json_object_set_new(o, "seconds", json_real(b->seconds));
  json_object_set_new(o, "ratio", json_string("over 1: io=uring is better, so many times"));
  json_object_set_new(o, "io_uring_used", json_boolean(b->ring_used));
  json_object_set_new(o, "block_bytes", json_integer((json_int_t)b->block_sz));
  json_object_set_new(o, "commit", commit_json(b));
  json_object_set_new(floor, "source", json_string("measured"));
  json_object_set_new(floor, "what", json_string(b->floor_way));
  json_object_set_new(floor, "ms", qr_cli_bench_stat_json(&b->floor_ms));
  json_object_set_new(floor, "uring_commit_ratio", qr_cli_bench_stat_json(&b->uring_to_floor));
  json_object_set_new(o, "floor", floor);
  json_object_set_new(o, "read_256_cold", pair_json(&b->read_cold, "ms"));
  json_object_set_new(o, "read_256_warm", pair_json(&b->read_warm, "ms"));
  json_object_set_new(scan, "bytes", json_integer((json_int_t)b->scan_sz));
  json_object_set_new(o, "replay_cold", scan);
  json_object_set_new(recover, "block_cnt", json_integer(b->recover_block_cnt));
  json_object_set_new(o, "recovery", recover);
  json_object_set_new(o, "write_amplification", amplification_json(b));
  return qr_cli_print_json(o);
}

/* ---- for people ---- */

static void print_pair(const char *what, const qr_bench_store_pair_t *p) {
  printf("  %-34s", what);
  for (uint32_t i = 0; i < QR_STORE_SIDE_CNT; i++) qr_cli_bench_print_stat(&p->sides[i]);
  qr_cli_bench_print_stat(&p->ratio);
  putchar('\n');
}

static void print_numbers(const char *what, double stock, double uring, double ratio) {
  printf("  %-34s%*.2f%*.2f", what, QR_CLI_BENCH_CELL, stock, QR_CLI_BENCH_CELL, uring);
  if (ratio > 0) printf("%*.2f", QR_CLI_BENCH_CELL, ratio);
  putchar('\n');
}

static void print_commits(const qr_bench_store_t *b) {
  const double *per_s = b->commits_per_s;
  double stock_50 = percentile(b, QR_STORE_STOCK, 50), uring_50 = percentile(b, QR_STORE_URING, 50);
  double stock_99 = percentile(b, QR_STORE_STOCK, 99), uring_99 = percentile(b, QR_STORE_URING, 99);
  print_pair("commit a block, ms, by rounds", &b->commit);
  print_numbers("  p50 of all commits, ms", stock_50, uring_50, stock_50 / uring_50);
  print_numbers("  p99", stock_99, uring_99, stock_99 / uring_99);
  print_numbers("  commits/s, one at a time", per_s[QR_STORE_STOCK], per_s[QR_STORE_URING],
                per_s[QR_STORE_URING] / per_s[QR_STORE_STOCK]);
  printf("  %-34s%*s", "the same bytes without a store, ms", QR_CLI_BENCH_CELL, "");
  qr_cli_bench_print_stat(&b->floor_ms);
  printf("\n  %-34s%*s", "  a commit's time over it", QR_CLI_BENCH_CELL, "");
  qr_cli_bench_print_stat(&b->uring_to_floor);
  putchar('\n');
}

static int print_table(const qr_bench_store_t *b, const qr_bench_machine_t *m) {
  char one[24], all[24], label[64];
  qr_cli_bench_print_machine(m);
  printf("%s on %s; a block of %u state changes and its model: %s; %u commits each; %.1f s\n",
         DRIVER, b->place.file_system, QR_STORE_LOAD_STATE_CNT, qr_cli_size(b->block_sz, one),
         b->commit_cnt, b->seconds);
  if (!b->ring_used) puts("io_uring is refused here: io=uring is RocksDB's own files, too");
  printf("  %-34s%*s%*s%*s\n", "median (min-max)", QR_CLI_BENCH_CELL, "io=stock", QR_CLI_BENCH_CELL,
         "io=uring", QR_CLI_BENCH_CELL, "times as good");
  print_commits(b);
  print_pair("256 keys at random, cold, ms", &b->read_cold);
  print_pair("  the same again, ms", &b->read_warm);
  snprintf(label, sizeof label, "replay %s, cold, MB/s", qr_cli_size(b->scan_sz, all));
  print_pair(label, &b->scan);
  snprintf(label, sizeof label, "open after a kill, %u blocks, ms", b->recover_block_cnt);
  print_pair(label, &b->recover);
  const qr_store_child_t *c = b->amplify;
  snprintf(label, sizeof label, "bytes written a byte, %u blocks", b->amplify_block_cnt);
  if (c[QR_STORE_STOCK].written_sz && c[QR_STORE_URING].written_sz)
    print_numbers(label, amplification(&c[QR_STORE_STOCK]), amplification(&c[QR_STORE_URING]), 0);
  else
    printf("  %-34s the kernel does not count them here\n", label);
  printf("without a store: %s\n", b->floor_way);
  return QR_CLI_OK;
}

/* ---- the command ---- */

static int run_store(const qr_cli_t *cli, const qr_cli_bench_args_t *args) {
  char why[512] = "";
  qr_bench_machine_t machine;
  qr_bench_store_cfg_t cfg = {.ops = qr_store_driver(DRIVER),
                              .dir = args->folder,
                              .seconds = args->seconds,
                              .block_cnt = args->block_cnt};
  if (!cfg.ops) return qr_cli_fail(cli, QR_ERR_UNSUPPORTED, "this build has no store on " DRIVER);
  qr_bench_store_t *b = malloc(sizeof *b);
  if (!b) return qr_cli_fail(cli, QR_ERR_NOMEM, "cannot take the memory");
  qr_bench_machine(&machine);
  int err = qr_bench_store_run(&cfg, b, why, sizeof why), rc = QR_CLI_INTERRUPTED;
  if (err) {
    int failed = qr_cli_fail(cli, err, why);
    if (err != QR_ERR_CANCELLED) rc = failed;
  } else {
    rc = cli->json ? print_json(b, &machine) : print_table(b, &machine);
  }
  free(b);
  return rc;
}

const qr_cli_bench_t qr_cli_bench_store = {
    .name = "store",
    .run = run_store,
    .help =
        "blocks to and from the disk, on RocksDB's own files and on ours over io_uring, in turns\n"
        "A block is 300 state changes, a model of 0.4 MB and 90 KB of other records, durable when "
        "it is counted. Both sides\nhave the same RocksDB, tables, options (but for its buffer "
        "before our files and its reading ahead) and checks of records; "
        "what differs is how files are written and read. Cold: the\nstore at rest (all of it in "
        "tables, none being merged), opened again, and nothing of it in the page cache. Opening\n"
        "after a kill replays its logs. What the kernel counts as written to the device, logs and "
        "tables, until the store was\nclosed and opened once more, over what was given to commit: "
        "bytes written a byte; compactions that come later and the\nfile system's own journal are "
        "not in it. The same bytes without a store: one write and a sync on a ring, in the same\n"
        "rounds. It needs up to 4 GB for --seconds 20, 0.5 GB for 2, 1.6 MB for each of --blocks, "
        "and leaves nothing behind.",
};
