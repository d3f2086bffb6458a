/* quarry bench link: what the network costs on this machine, beside the kernel's TCP. */
#include "app/cli_bench_link.h"

#include <stdio.h>
#include <sys/mman.h>

#include "app/cli_bench.h"
#include "app/cli_work.h"
#include "base/err.h"

/* ---- for programs ---- */

static const char *source_of(uint32_t path) { return path ? "emulated link" : "measured"; }

static json_t *way_json(const qr_bench_link_cell_t *c, bool rival) {
  json_t *o = json_object();
  json_object_set_new(o, "round_trip_us", qr_cli_bench_stat_json(&c->ping_us));
  json_object_set_new(o, "block_ms", qr_cli_bench_stat_json(&c->block_ms));
  json_object_set_new(o, "bulk_mb_per_s", qr_cli_bench_stat_json(&c->bulk_mb_s));
  json_object_set_new(o, "cpu_s_per_gb", qr_cli_bench_stat_json(&c->cpu_s_gb));
  if (rival) return o;
  json_object_set_new(o, "round_trip_ratio", qr_cli_bench_stat_json(&c->ping_ratio));
  json_object_set_new(o, "block_ratio", qr_cli_bench_stat_json(&c->block_ratio));
  json_object_set_new(o, "bulk_ratio", qr_cli_bench_stat_json(&c->bulk_ratio));
  json_object_set_new(o, "cpu_ratio", qr_cli_bench_stat_json(&c->cpu_ratio));
  return o;
}

static int print_json(const qr_bench_link_t *b, const qr_bench_machine_t *m) {
  json_t *o = json_object(), *paths = json_array();
  json_object_set_new(o, "bench", json_string("link"));
  json_object_set_new(o, "machine", qr_cli_bench_machine_json(m));
  json_object_set_new(o, "seconds", json_real(b->seconds));
  json_object_set_new(
      o, "ratio",
      json_string("to the kernel's TCP in the same round; below 1 is better, for bulk above 1"));
  json_object_set_new(o, "ping_bytes", json_integer(QR_TALK_PING_SZ));
  json_object_set_new(o, "block_bytes", json_integer(QR_TALK_BLOCK_SZ));
  for (uint32_t i = 0; i < QR_PATH_CNT; i++) {
    json_t *p = json_object(), *ways = json_object();
    json_object_set_new(p, "path", json_string(qr_bench_paths[i].name));
    json_object_set_new(p, "source", json_string(source_of(i)));
    json_object_set_new(p, "round_trip_ms", json_integer(i ? 20 : 0));
    json_object_set_new(p, "loss_percent", json_real(qr_bench_paths[i].loss_percent));
    json_object_set_new(p, "bulk_bytes", json_integer((json_int_t)b->bulk_sz[i]));
    json_object_set_new(p, "tcp_congestion_control", json_string(b->congestion[i > 0]));
    for (uint32_t k = 0; k < QR_WAY_CNT; k++) {
      if (b->present[i][k])
        json_object_set_new(ways, qr_way_names[k], way_json(&b->cells[i][k], k == QR_WAY_TCP));
    }
    json_object_set_new(p, "ways", ways);
    json_array_append_new(paths, p);
  }
  json_object_set_new(o, "paths", paths);
  return qr_cli_print_json(o);
}

/* ---- for people ---- */

static void print_row(const char *what, const qr_bench_link_t *b, uint32_t path, size_t offset) {
  printf("  %-24s", what);
  for (uint32_t k = 0; k < QR_WAY_CNT; k++) {
    const char *cell = (const char *)&b->cells[path][k] + offset;
    if (b->present[path][k]) qr_cli_bench_print_stat((const qr_bench_series_t *)cell);
  }
  putchar('\n');
}

static void print_ratio(const char *what, const qr_bench_link_t *b, uint32_t path, size_t offset) {
  printf("  %-24s%*s", what, QR_CLI_BENCH_CELL, "");
  for (uint32_t k = QR_WAY_TCP + 1; k < QR_WAY_CNT; k++) {
    const char *cell = (const char *)&b->cells[path][k] + offset;
    if (b->present[path][k]) qr_cli_bench_print_stat((const qr_bench_series_t *)cell);
  }
  putchar('\n');
}

#define ROW(what, member) print_row(what, b, path, offsetof(qr_bench_link_cell_t, member))
#define RATIO(member) print_ratio("  to TCP", b, path, offsetof(qr_bench_link_cell_t, member))

static void print_path(const qr_bench_link_t *b, uint32_t path) {
  char bulk[64];
  printf("\n%s; %s; TCP with %s\n", qr_bench_paths[path].name, source_of(path),
         b->congestion[path > 0]);
  printf("  %-24s", "median (min-max)");
  for (uint32_t k = 0; k < QR_WAY_CNT; k++) {
    if (b->present[path][k]) printf("%*s", QR_CLI_BENCH_CELL, qr_way_names[k]);
  }
  putchar('\n');
  ROW("300 B there and back, us", ping_us);
  RATIO(ping_ratio);
  ROW("block of 0.4 MB, ms", block_ms);
  RATIO(block_ratio);
  snprintf(bulk, sizeof bulk, "%u MB, MB/s", (unsigned)(b->bulk_sz[path] / 1000000));
  ROW(bulk, bulk_mb_s);
  RATIO(bulk_ratio);
  ROW("  CPU seconds per GB", cpu_s_gb);
  RATIO(cpu_ratio);
}

static int print_table(const qr_bench_link_t *b, const qr_bench_machine_t *m) {
  qr_cli_bench_print_machine(m);
  printf("%u rounds straight, %u through the emulator; %.1f s\n",
         b->cells[QR_PATH_DIRECT][QR_WAY_TCP].ping_us.cnt,
         b->cells[QR_PATH_CLEAN][QR_WAY_TCP].ping_us.cnt, b->seconds);
  for (uint32_t i = 0; i < QR_PATH_CNT; i++) print_path(b, i);
  return QR_CLI_OK;
}

/* ---- the command ---- */

static int run_link(const qr_cli_t *cli, const qr_cli_bench_args_t *args) {
  char why[512] = "";
  qr_bench_machine_t machine;
  qr_bench_link_t *b =
      mmap(NULL, sizeof *b, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (b == MAP_FAILED) return qr_cli_fail(cli, QR_ERR_NOMEM, "cannot take the memory");
  qr_bench_machine(&machine);
  int err = qr_bench_link_run(args->seconds, b, why, sizeof why), rc = QR_CLI_INTERRUPTED;
  if (err) {
    int failed = qr_cli_fail(cli, err, why);
    if (err != QR_ERR_CANCELLED) rc = failed;
  } else {
    rc = cli->json ? print_json(b, &machine) : print_table(b, &machine);
  }
  (void)munmap(b, sizeof *b);
  return rc;
}

const qr_cli_bench_t qr_cli_bench_link = {
    .name = "link",
    .run = run_link,
    .help =
        "streams between two processes over DPDK and over the kernel's TCP, in turns\n"
        "Both live in network namespaces of their own, made for this and gone with it, on a core "
        "each; no privilege is needed.\n"
        "Straight: memif (MTU 9000), packet sockets on a veth pair (1500) and kernel UDP carry "
        "QUIC, encrypted, and poll without sleep.\n"
        "TCP has a veth pair to itself, is not encrypted, and blocks, as programs use it. A block "
        "is a 300 B announcement, its\n"
        "request, and 0.4 MB that the receiver hashes as they come, from the first byte sent to "
        "the hash. CPU seconds are those of\n"
        "both processes, polling included.\n"
        "Emulated: the same with 10 ms and loss each way, made by quarry's own emulator, which "
        "all pass through; the links sleep when\n"
        "idle; TCP has BBR if the kernel has it. Bulk is a tenth for --seconds below 10, a "
        "hundredth below 3.",
};
