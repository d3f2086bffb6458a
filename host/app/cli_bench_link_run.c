#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "app/cli_bench_link.h"
#include "app/cli_work.h"
#include "base/err.h"
#include "port/clock.h"

#define PING_CNT 200u /* of a way in a round; their median counts */
#define BLOCK_CNT 9u
#define LONG_PING_CNT 3u
#define LONG_BLOCK_CNT 21u
#define LONG_REST_MS 30u /* between blocks of a long path */
#define BULK_SZ UINT64_C(100000000)
#define LONG_BULK_SZ UINT64_C(20000000)
#define SHORT_SECONDS 10u   /* below it, a tenth of the bulk */
#define SHORTEST_SECONDS 3u /* a hundredth, and few blocks */

const qr_bench_path_t qr_bench_paths[QR_PATH_CNT] = {
    {"direct", NULL, 0},
    {"20 ms", "set * delay=10ms loss=0%", 0},
    {"20 ms, 0.1 % loss", "set * delay=10ms loss=0.1%", 0.1},
    {"20 ms, 1 % loss", "set * delay=10ms loss=1%", 1},
};

typedef struct {
  qr_bench_net_t net;
  qr_talk_t *talk;
  qr_bench_link_t *out;
  uint32_t seconds;
  uint64_t end_ns;
  bool emulated;
} run_t;

/* ---- one round ---- */

typedef struct {
  double ping_us, block_ms, bulk_s, cpu_s;
} figures_t;

static bool measure(run_t *r, uint32_t path, figures_t *f) {
  qr_bench_series_t pings = {0}, blocks = {0};
  uint32_t ping_cnt = r->emulated ? LONG_PING_CNT : PING_CNT;
  uint32_t block_cnt = r->seconds < SHORTEST_SECONDS ? 2 : r->emulated ? LONG_BLOCK_CNT : BLOCK_CNT;
  double v;
  for (uint32_t i = 0; i < ping_cnt; i++) {
    if (!qr_talk_ping(r->talk, &v)) return false;
    qr_bench_add(&pings, v);
  }
  for (uint32_t i = 0; i < block_cnt; i++) {
    if (!qr_talk_block(r->talk, &v)) return false;
    qr_bench_add(&blocks, v);
    if (!qr_talk_rest(r->talk, r->emulated ? LONG_REST_MS : 1)) return false;
  }
  f->ping_us = qr_bench_stat(&pings).median;
  f->block_ms = qr_bench_stat(&blocks).median;
  return qr_talk_bulk(r->talk, r->out->bulk_sz[path], &f->bulk_s, &f->cpu_s) &&
         qr_talk_rest(r->talk, r->emulated ? LONG_REST_MS : 1);
}

static void keep(qr_bench_link_t *o, uint32_t path, uint32_t way, const figures_t *f,
                 const figures_t *tcp) {
  qr_bench_link_cell_t *c = &o->cells[path][way];
  double gb = (double)o->bulk_sz[path] / 1e9;
  o->present[path][way] = true;
  qr_bench_add(&c->ping_us, f->ping_us);
  qr_bench_add(&c->block_ms, f->block_ms);
  qr_bench_add(&c->bulk_mb_s, gb * 1e3 / f->bulk_s);
  qr_bench_add(&c->cpu_s_gb, f->cpu_s / gb);
  qr_bench_add(&c->ping_ratio, f->ping_us / tcp->ping_us);
  qr_bench_add(&c->block_ratio, f->block_ms / tcp->block_ms);
  qr_bench_add(&c->bulk_ratio, tcp->bulk_s / f->bulk_s);
  qr_bench_add(&c->cpu_ratio, f->cpu_s / tcp->cpu_s);
}

/* Every way once; who is first changes from round to round. */
static bool round_of(run_t *r, uint32_t path, uint32_t round) {
  figures_t f[QR_WAY_CNT];
  for (uint32_t i = 0; i < QR_WAY_CNT; i++) {
    uint32_t way = (round + i) % QR_WAY_CNT;
    if (!qr_talk_has(r->talk, way)) continue;
    if (!qr_talk_turn(r->talk, way) || !measure(r, path, &f[way])) return false;
  }
  for (uint32_t way = 0; way < QR_WAY_CNT; way++) {
    if (qr_talk_has(r->talk, way)) keep(r->out, path, way, &f[way], &f[QR_WAY_TCP]);
  }
  return true;
}

static bool rounds(run_t *r) {
  uint32_t first = r->emulated ? QR_PATH_CLEAN : QR_PATH_DIRECT;
  uint32_t cnt = r->emulated ? QR_PATH_CNT - 1 : 1;
  for (uint32_t round = 0; !round || qr_clock_mono_ns() < r->end_ns; round++) {
    for (uint32_t i = 0; i < cnt; i++) {
      uint32_t path = first + i;
      const char *command = qr_bench_paths[path].command;
      if (command && qr_bench_net_command(&r->net, command)) return false;
      if (!round_of(r, path, round)) return false;
    }
  }
  return true;
}

/* ---- sessions: straight, and emulated ---- */

static int session(run_t *r) {
  int err = qr_bench_net_open(&r->net, qr_talk_serve);
  if (err) return 1;
  /* Connections that know a quick path take a slow one for a full one. */
  bool ok = !r->emulated || !qr_bench_net_command(&r->net, qr_bench_paths[QR_PATH_CLEAN].command);
  r->talk = ok ? qr_talk_open(&r->net) : NULL;
  ok = r->talk != NULL;
  if (ok) {
    snprintf(r->out->congestion[r->emulated], sizeof r->out->congestion[0], "%s",
             qr_talk_congestion(r->talk));
    ok = rounds(r);
  }
  qr_talk_close(r->talk);
  qr_bench_net_close(&r->net);
  return ok ? 0 : 1;
}

/* A process of its own, for namespaces and DPDK are a process's for good. */
static int run_session(qr_bench_link_t *out, bool emulated, const char *dir, uint64_t end_ns,
                       uint64_t began_ns, uint32_t seconds, char *why, size_t why_sz) {
  qr_bench_share_t *share =
      mmap(NULL, sizeof *share, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (share == MAP_FAILED) {
    snprintf(why, why_sz, "out of memory");
    return QR_ERR_NOMEM;
  }
  run_t r = {.net = {.emulated = emulated, .dir = dir, .share = share},
             .out = out,
             .seconds = seconds,
             .end_ns = end_ns,
             .emulated = emulated};
  int status = -1, err = QR_OK;
  fflush(NULL);
  pid_t pid = fork();
  if (!pid) {
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    _exit(session(&r));
  }
  while (pid > 0 && waitpid(pid, &status, WNOHANG) == 0) {
    qr_cli_work_show("measuring", (qr_clock_mono_ns() - began_ns) / 1000000000u, seconds,
                     QR_CLI_SECONDS);
    if (qr_cli_work_stopped() && !err) {
      (void)kill(pid, SIGKILL); /* its children go with it */
      err = QR_ERR_CANCELLED;
    }
    usleep(20000);
  }
  if (err)
    snprintf(why, why_sz, "interrupted");
  else if (pid < 0 || status) {
    err = QR_ERR_IO;
    snprintf(why, why_sz, "%.250s",
             atomic_load(&share->failed) ? share->why : "a process of the bench has died");
  }
  (void)munmap(share, sizeof *share);
  return err;
}

int qr_bench_link_run(uint32_t seconds, qr_bench_link_t *out, char *why, size_t why_sz) {
  const char *tmp = getenv("TMPDIR");
  char dir[200], text[260];
  memset(out, 0, sizeof *out);
  for (uint32_t i = 0; i < QR_PATH_CNT; i++)
    out->bulk_sz[i] = (i ? LONG_BULK_SZ : BULK_SZ) / (seconds < SHORTEST_SECONDS ? 100
                                                      : seconds < SHORT_SECONDS  ? 10
                                                                                 : 1);
  snprintf(dir, sizeof dir, "%s/quarry-link-XXXXXX", tmp && *tmp ? tmp : "/tmp");
  if (!mkdtemp(dir)) {
    snprintf(why, why_sz, "cannot make a folder in %s (%s)", tmp && *tmp ? tmp : "/tmp",
             strerror(errno));
    return QR_ERR_IO;
  }
  qr_cli_work_begin();
  uint64_t began = qr_clock_mono_ns(), second = UINT64_C(1000000000);
  int err = run_session(out, false, dir, began + seconds * second / 3, began, seconds, why, why_sz);
  if (!err)
    err = run_session(out, true, dir, began + seconds * second, began, seconds, why, why_sz);
  qr_cli_work_clear();
  out->seconds = (double)(qr_clock_mono_ns() - began) * 1e-9;
  static const char *const sockets[] = {"memif", "m0", "m1"};
  for (size_t i = 0; i < QR_ARRAY_CNT(sockets); i++) {
    snprintf(text, sizeof text, "%s/%s", dir, sockets[i]);
    (void)unlink(text);
  }
  (void)rmdir(dir);
  return err;
}
