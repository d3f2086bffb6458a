#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "app/cli_bench_store.h"
#include "app/cli_files.h"
#include "app/cli_work.h"
#include "base/err.h"
#include "port/clock.h"

#define COMMIT_ROUND_CNT 16u /* commits of each side in a round */
#define COMMIT_MIN_CNT 16u
#define READ_TRY_CNT 3u   /* of which the fastest counts */
#define READ_TRY_TIP 256u /* fewer blocks than that, and a try finds what the one before cached */
#define REST_MS 200u      /* as long a store writes nothing when it is at rest */
#define REST_MAX_MS 20000u
#define PATH_SZ 600u

typedef struct {
  const qr_bench_store_cfg_t *cfg;
  qr_bench_store_t *out;
  qr_store_load_t *load;
  char dirs[QR_STORE_SIDE_CNT][PATH_SZ], killed[QR_STORE_SIDE_CNT][PATH_SZ], again[PATH_SZ];
  qr_store_t *stores[QR_STORE_SIDE_CNT]; /* NULL: closed */
  qr_store_floor_t *floor;
  uint64_t began_ns, tip;
  uint32_t commit_max; /* of each side */
  char *why;
  size_t why_sz;
} bench_t;

static double now_ms(void) { return (double)qr_clock_mono_ns() * 1e-6; }

/* Seconds since the bench began; shows them. */
static double elapsed(const bench_t *b) {
  double s = (double)(qr_clock_mono_ns() - b->began_ns) * 1e-9;
  qr_cli_work_show("measuring", (uint64_t)s, b->cfg->seconds, QR_CLI_SECONDS);
  return s;
}

static int say(bench_t *b, int err, const char *what) {
  if (err == QR_ERR_CANCELLED) what = "interrupted";
  snprintf(b->why, b->why_sz, "%s in %.200s (%s)", what, b->out->place.path, qr_err_str(err));
  return err;
}

/* Whoever is first in a round changes from one to the next. */
static uint32_t turn(uint32_t round, uint32_t i) { return (round + i) % QR_STORE_SIDE_CNT; }

/* bigger: more is better, so that a ratio over 1 always speaks for io=uring. */
static void keep(qr_bench_store_pair_t *p, const double v[QR_STORE_SIDE_CNT], bool bigger) {
  double stock = v[QR_STORE_STOCK], uring = v[QR_STORE_URING];
  qr_bench_add(&p->sides[QR_STORE_STOCK], stock);
  qr_bench_add(&p->sides[QR_STORE_URING], uring);
  qr_bench_add(&p->ratio, bigger ? uring / stock : stock / uring);
}

static int open_side(bench_t *b, uint32_t side) {
  return b->cfg->ops->open(b->dirs[side], qr_store_side_options[side], &b->stores[side], b->why,
                           b->why_sz);
}

static void close_side(bench_t *b, uint32_t side) {
  if (b->stores[side]) b->cfg->ops->close(b->stores[side]);
  b->stores[side] = NULL;
}

/* ---- what comes before this process has a store open ---- */

static int run_child(bench_t *b, uint32_t side, const char *dir, uint32_t block_cnt, bool killed,
                     qr_store_child_t *out) {
  (void)elapsed(b);
  qr_store_child_run(b->cfg->ops, qr_store_side_options[side], dir, block_cnt, killed, out);
  if (out->err && *out->why) {
    snprintf(b->why, b->why_sz, "%.250s", out->why);
    return out->err;
  }
  return out->err ? say(b, out->err, "cannot fill a store") : QR_OK;
}

static int run_children(bench_t *b) {
  qr_bench_store_t *o = b->out;
  qr_store_child_t killed;
  for (uint32_t side = 0; side < QR_STORE_SIDE_CNT; side++) {
    int err = run_child(b, side, b->dirs[side], o->amplify_block_cnt, false, &o->amplify[side]);
    if (!err && qr_cli_remove_dir(b->dirs[side])) err = say(b, QR_ERR_IO, "cannot remove a store");
    if (!err) err = run_child(b, side, b->killed[side], o->recover_block_cnt, true, &killed);
    if (err) return err;
  }
  return QR_OK;
}

/* ---- commits ---- */

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static int commit_round(bench_t *b, uint32_t round) {
  qr_bench_store_t *o = b->out;
  qr_bench_series_t floor = {0}, sides[QR_STORE_SIDE_CNT] = {0};
  for (uint32_t n = 0; n < COMMIT_ROUND_CNT; n++) {
    uint64_t height = ++b->tip;
    double ms;
    for (uint32_t i = 0; i < QR_STORE_SIDE_CNT; i++) {
      uint32_t side = turn(round + n, i);
      int err = qr_store_load_commit(b->load, b->cfg->ops, b->stores[side], height, &ms);
      if (err) return say(b, err, "cannot commit a block");
      o->commit_ms[side][o->commit_cnt] = ms;
      qr_bench_add(&sides[side], ms);
    }
    o->commit_cnt++;
    if (qr_store_floor_write(b->floor, &ms)) return say(b, QR_ERR_IO, "cannot write a plain file");
    qr_bench_add(&floor, ms);
  }
  const double medians[] = {qr_bench_stat(&sides[QR_STORE_STOCK]).median,
                            qr_bench_stat(&sides[QR_STORE_URING]).median};
  keep(&o->commit, medians, false);
  qr_bench_add(&o->floor_ms, qr_bench_stat(&floor).median);
  qr_bench_add(&o->uring_to_floor, medians[QR_STORE_URING] / qr_bench_stat(&floor).median);
  return QR_OK;
}

static int run_commits(bench_t *b, double until) {
  qr_bench_store_t *o = b->out;
  qr_store_stats_t stats;
  int err = QR_OK;
  for (uint32_t side = 0; side < QR_STORE_SIDE_CNT && !err; side++) err = open_side(b, side);
  for (uint32_t r = 0; !err && o->commit_cnt + COMMIT_ROUND_CNT <= b->commit_max &&
                       (o->commit_cnt < COMMIT_MIN_CNT || elapsed(b) < until);
       r++)
    err = qr_cli_work_stopped() ? say(b, QR_ERR_CANCELLED, "") : commit_round(b, r);
  if (err) return err;
  b->cfg->ops->stats(b->stores[QR_STORE_URING], &stats);
  o->ring_used = stats.ring_op_cnt > 0;
  for (uint32_t side = 0; side < QR_STORE_SIDE_CNT; side++) {
    double sum = 0;
    for (uint32_t i = 0; i < o->commit_cnt; i++) sum += o->commit_ms[side][i];
    o->commits_per_s[side] = o->commit_cnt / sum * 1e3;
    qsort(o->commit_ms[side], o->commit_cnt, sizeof(double), by_value);
    close_side(b, side);
  }
  return QR_OK;
}

/* ---- reads ---- */

/* Other keys each time. */
static int read_cold(bench_t *b, uint32_t side, uint32_t round, double *best_ms) {
  double ms;
  uint32_t try_cnt = b->tip < READ_TRY_TIP ? 1 : READ_TRY_CNT;
  for (uint32_t i = 0; i < try_cnt; i++) {
    qr_store_load_choose(b->load, round * READ_TRY_CNT + i, b->tip);
    int err = qr_store_files_cool(b->dirs[side]);
    if (!err) err = qr_store_load_read(b->load, b->cfg->ops, b->stores[side], &ms);
    if (err) return err;
    if (!i || ms < *best_ms) *best_ms = ms;
  }
  return QR_OK;
}

/* The same keys each time. */
static int read_warm(bench_t *b, uint32_t side, double *best_ms) {
  double ms;
  for (uint32_t i = 0; i < READ_TRY_CNT; i++) {
    int err = qr_store_load_read(b->load, b->cfg->ops, b->stores[side], &ms);
    if (err) return err;
    if (!i || ms < *best_ms) *best_ms = ms;
  }
  return QR_OK;
}

static int scan_cold(bench_t *b, uint32_t side, double *mb_per_s) {
  double ms = 0;
  uint64_t sz = 0;
  int err = qr_store_files_cool(b->dirs[side]);
  if (!err) err = qr_store_load_scan(b->cfg->ops, b->stores[side], &sz, &ms);
  if (err) return err;
  *mb_per_s = (double)sz / ms * 1e-3;
  b->out->scan_sz = sz;
  return sz < b->tip * (QR_STORE_LOAD_MODEL_SZ + QR_STORE_LOAD_BLOCK_SZ) ? QR_ERR_CORRUPT : QR_OK;
}

static int read_side(bench_t *b, uint32_t side, uint32_t round, double *cold, double *warm,
                     double *scan) {
  int err = open_side(b, side);
  if (err) return err;
  err = read_cold(b, side, round, cold);
  if (!err) err = read_warm(b, side, warm);
  if (!err) err = scan_cold(b, side, scan);
  close_side(b, side);
  return err ? say(b, err, "cannot read a store") : QR_OK;
}

/* The commits that are still in logs alone go to tables when a store is opened, and tables are
   merged in the background: how far either is would be chance, and the disk busy with the rest. */
static int come_to_rest(bench_t *b, uint32_t side) {
  uint64_t before = 0, after = 0;
  int err = open_side(b, side);
  if (err) return err;
  for (uint32_t ms = 0; ms < REST_MAX_MS && !qr_cli_work_stopped(); ms += REST_MS) {
    bool counted = qr_store_files_written(&before);
    nanosleep(&(struct timespec){.tv_nsec = REST_MS * 1000000}, NULL);
    if (!counted || !qr_store_files_written(&after) || before == after) break;
  }
  close_side(b, side);
  return QR_OK;
}

static int run_reads(bench_t *b, double until) {
  qr_bench_store_t *o = b->out;
  int err = QR_OK;
  for (uint32_t side = 0; side < QR_STORE_SIDE_CNT && !err; side++) err = come_to_rest(b, side);
  for (uint32_t r = 0; !err && r < QR_BENCH_SAMPLE_MAX_CNT && (!r || elapsed(b) < until); r++) {
    double cold[QR_STORE_SIDE_CNT] = {0}, warm[QR_STORE_SIDE_CNT] = {0};
    double scan[QR_STORE_SIDE_CNT] = {0};
    if (qr_cli_work_stopped()) return say(b, QR_ERR_CANCELLED, "");
    for (uint32_t i = 0; i < QR_STORE_SIDE_CNT && !err; i++) {
      uint32_t side = turn(r, i);
      err = read_side(b, side, r, &cold[side], &warm[side], &scan[side]);
    }
    if (err) return err;
    keep(&o->read_cold, cold, false);
    keep(&o->read_warm, warm, false);
    keep(&o->scan, scan, true);
  }
  return err;
}

/* ---- recovery ---- */

static int recover_side(bench_t *b, uint32_t side, double *ms) {
  qr_store_t *s = NULL;
  uint8_t tip[8] = {0};
  int err = qr_store_files_copy(b->killed[side], b->again);
  if (!err) err = qr_store_files_cool(b->again);
  if (err) return say(b, err, "cannot copy a store");
  double began = now_ms();
  err = b->cfg->ops->open(b->again, qr_store_side_options[side], &s, b->why, b->why_sz);
  *ms = now_ms() - began;
  if (err) return err;
  int64_t n = b->cfg->ops->get(s, QR_STORE_META, "tip", 3, tip, sizeof tip);
  b->cfg->ops->close(s);
  uint32_t height = (uint32_t)tip[6] << 8 | tip[7];
  if (n != sizeof tip || height != b->out->recover_block_cnt)
    return say(b, QR_ERR_CORRUPT, "a kill has lost durable blocks");
  return qr_cli_remove_dir(b->again) ? say(b, QR_ERR_IO, "cannot remove a store") : QR_OK;
}

static int run_recoveries(bench_t *b, double until) {
  for (uint32_t r = 0; r < QR_BENCH_SAMPLE_MAX_CNT && (!r || elapsed(b) < until); r++) {
    double ms[QR_STORE_SIDE_CNT];
    if (qr_cli_work_stopped()) return say(b, QR_ERR_CANCELLED, "");
    for (uint32_t i = 0; i < QR_STORE_SIDE_CNT; i++) {
      uint32_t side = turn(r, i);
      int err = recover_side(b, side, &ms[side]);
      if (err) return err;
    }
    keep(&b->out->recover, ms, false);
  }
  return QR_OK;
}

/* ---- all of it ---- */

/* How much is written follows from the time there is, and the room from that: three times what the
   larger of the two steps holds, for tables are written anew while the old ones are there. */
static int plan(bench_t *b) {
  qr_bench_store_t *o = b->out;
  uint32_t s = b->cfg->seconds;
  o->block_sz = qr_store_load_block_sz();
  o->amplify_block_cnt = b->cfg->block_cnt ? b->cfg->block_cnt : s > 25 ? 250 : 10 * s;
  o->recover_block_cnt = s > 20 ? 140 : 8 + 6 * s;
  b->commit_max = s > 20 ? QR_STORE_COMMIT_MAX_CNT : 48 * s;
  if (b->commit_max < COMMIT_MIN_CNT) b->commit_max = COMMIT_MIN_CNT;
  uint64_t first = o->amplify_block_cnt, then = 2 * b->commit_max + 3 * o->recover_block_cnt;
  o->need_sz = 3 * (first > then ? first : then) * o->block_sz + (64u << 20);
  char need[24], have[24];
  if (o->place.free_sz >= o->need_sz) return QR_OK;
  snprintf(b->why, b->why_sz,
           "%.200s has %s free and this needs %s: name another --folder, or fewer --seconds or "
           "--blocks",
           o->place.path, qr_cli_size(o->place.free_sz, have), qr_cli_size(o->need_sz, need));
  return QR_ERR_FULL;
}

static int measure(bench_t *b) {
  double s = b->cfg->seconds;
  for (uint32_t side = 0; side < QR_STORE_SIDE_CNT; side++) {
    const char *path = b->out->place.path, *name = qr_store_sides[side];
    snprintf(b->dirs[side], PATH_SZ, "%s/%s", path, name);
    snprintf(b->killed[side], PATH_SZ, "%s/killed-%s", path, name);
    snprintf(b->again, PATH_SZ, "%s/again", path);
  }
  int err = run_children(b);
  if (err) return err;
  b->load = qr_store_load_make();
  if (!b->load) return say(b, QR_ERR_NOMEM, "cannot take the memory");
  err = qr_store_floor_open(b->out->place.path, b->out->block_sz, &b->floor);
  if (err) return say(b, err, "cannot write a plain file");
  b->out->floor_way = qr_store_floor_way(b->floor);
  /* What the children have taken comes off all that follows, unless the user asked for it. */
  if (b->cfg->block_cnt) b->began_ns = qr_clock_mono_ns();
  double spent = elapsed(b), left = s > spent ? s - spent : 0;
  err = run_commits(b, spent + left * 0.45);
  if (!err) err = run_recoveries(b, spent + left * 0.65);
  return err ? err : run_reads(b, s);
}

int qr_bench_store_run(const qr_bench_store_cfg_t *cfg, qr_bench_store_t *out, char *why,
                       size_t why_sz) {
  memset(out, 0, sizeof *out);
  bench_t *b = calloc(1, sizeof *b);
  if (!b) {
    snprintf(why, why_sz, "out of memory");
    return QR_ERR_NOMEM;
  }
  uint64_t began_ns = qr_clock_mono_ns();
  *b = (bench_t){.cfg = cfg, .out = out, .began_ns = began_ns, .why = why, .why_sz = why_sz};
  qr_cli_work_begin();
  int err = qr_store_place_open(cfg->dir, &out->place, why, why_sz);
  if (!err) {
    err = plan(b);
    if (!err) err = measure(b);
    for (uint32_t side = 0; side < QR_STORE_SIDE_CNT; side++) close_side(b, side);
    qr_store_floor_close(b->floor);
    qr_store_load_free(b->load);
    qr_store_place_close(&out->place);
  }
  qr_cli_work_clear();
  out->seconds = (double)(qr_clock_mono_ns() - began_ns) * 1e-9;
  free(b);
  return err;
}
