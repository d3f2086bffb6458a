/* The power is cut at some operation of the store; what a disk could then hold is put into a fresh
   directory and opened. Every block that was reported durable must be there, no batch in part, and
   the running hash, which stands for the state root, right. The same harness must find out a disk
   that lies about its syncs. QUARRY_STORE_LOOPS says how often, QUARRY_STORE_SEED from where on. */
#include "store_image.h"
#include "unit/store_numbered.h"

#include <fcntl.h>

#include "base/log.h"
#include "base/splitmix.h"

#define LOOP_CNT 10u
#define LINE_LOOP_CNT 5u /* cuts that one store lives through */
#define LIE_LOOP_CNT 8u
#define BATCH_CNT 40u /* at most, between two cuts */
/* Operations until the cut: of an opening, with what comes soon after it, and of commits. */
#define EARLY_OP_CNT 90u
#define LATE_OP_CNT 150u

typedef struct {
  store_image_t *img;
  bench_t b;
  char why[NUMBERED_WHY_SZ];
  uint64_t lot, line, at_cut_acked, at_cut_submitted;
  _Atomic uint64_t acked, submitted;
  uint64_t cut_while_opening, found_more;
  store_image_stats_t sum;
} power_t;

static uint64_t draw(power_t *p, uint64_t n) { return qr_splitmix_next(&p->lot) % n; }

static bool complain(power_t *p, const char *what, uint64_t n, int64_t got) {
  return numbered_complain(p->why, what, n, got);
}

/* True if the store holds just what it said, and perhaps more of what it was given. */
static bool check_store(power_t *p, uint64_t *tip) {
  return numbered_check(&p->b, p->at_cut_acked, p->at_cut_submitted, tip, p->why);
}

/* ---- the loop ---- */

static void at_cut(void *ctx) {
  power_t *p = ctx;
  p->at_cut_acked = p->acked;
  p->at_cut_submitted = p->submitted;
}

static bool take_done(power_t *p) {
  qr_store_done_t done[16];
  int n = p->b.ops->poll(p->b.store, done, 16);
  for (int i = 0; i < n; i++) {
    if (done[i].err) return complain(p, "a commit failed", done[i].tag, done[i].err);
    p->acked = done[i].tag;
  }
  if (!n) sleep_us(100);
  return true;
}

/* Commits until the power has been cut, in bursts, sometimes waiting for what was given. */
static bool commit_some(power_t *p, uint64_t tip) {
  uint64_t next = tip + 1, last = tip + 1 + draw(p, BATCH_CNT);
  while (next <= last && !store_image_is_cut(p->img)) {
    for (uint64_t burst = 1 + draw(p, 4); burst && next <= last; burst--) {
      p->submitted = next;
      int err = numbered_commit(&p->b, next);
      if (err == QR_ERR_FULL) break;
      if (err) return complain(p, "a commit is refused", next, err);
      next++;
    }
    bool all = draw(p, 2);
    do {
      if (!take_done(p)) return false;
    } while (all && p->acked + 1 < next);
  }
  return true;
}

static void dir_of(const power_t *p, uint64_t number, char *out, size_t out_sz) {
  snprintf(out, out_sz, "%s/%llu", p->b.root, (unsigned long long)number);
}

static void remove_dir(const char *dir) {
  char command[128];
  snprintf(command, sizeof command, "rm -rf '%s'", dir);
  assert_int_equal(system(command), 0);
}

static void add_stats(store_image_stats_t *sum, const store_image_stats_t *st) {
  sum->op_cnt += st->op_cnt;
  sum->dropped += st->dropped;
  sum->torn += st->torn;
  sum->zeroed += st->zeroed;
  sum->kept += st->kept;
  sum->names_dropped += st->names_dropped;
  sum->names_kept += st->names_kept;
  sum->sizes_changed += st->sizes_changed;
}

/* Opens what the last cut left, checks it, commits, and is cut again. False with why: something is
   lost. */
static bool one_cut(power_t *p, store_image_disk_t disk, uint64_t *number) {
  char next_dir[80];
  store_image_stats_t st;
  dir_of(p, *number, p->b.dir, sizeof p->b.dir);
  /* what was reported after the cut was reported by somebody who was not there any more */
  p->acked = p->at_cut_acked;
  p->submitted = p->at_cut_submitted;
  store_image_begin(p->img, p->b.dir, disk, at_cut, p);
  bool early = !draw(p, 3);
  if (early) store_image_arm(p->img, 1 + draw(p, EARLY_OP_CNT));
  int err = bench_try_open(&p->b, p->b.options, p->why, sizeof p->why);
  if (err && !*number) fail_msg("an empty store cannot be opened: %s", p->why);
  if (err) return false;
  uint64_t tip;
  bool well = check_store(p, &tip);
  bool was_cut = store_image_is_cut(p->img);
  if (well && !was_cut) {
    if (tip > p->at_cut_acked) p->found_more++;
    p->acked = p->submitted = tip; /* who is shown it relies on it */
    if (!early) store_image_arm(p->img, 1 + draw(p, LATE_OP_CNT));
    well = commit_some(p, tip);
  }
  p->cut_while_opening += was_cut;
  if (draw(p, 2)) store_image_cut_now(p->img); /* not while it closes, that is */
  bench_close(&p->b);
  store_image_cut_now(p->img);
  dir_of(p, ++*number, next_dir, sizeof next_dir);
  store_image_write(p->img, next_dir, &st);
  remove_dir(p->b.dir);
  add_stats(&p->sum, &st);
  return well;
}

/* One store through some cuts, and a last look at what they left. */
static bool one_line(power_t *p, store_image_disk_t disk, uint32_t cut_cnt) {
  uint64_t number = 0, tip;
  bool well = true;
  p->acked = p->submitted = p->at_cut_acked = p->at_cut_submitted = 0;
  for (uint32_t i = 0; i < cut_cnt && well; i++) well = one_cut(p, disk, &number);
  if (well) {
    rocks_tap_set(NULL);
    dir_of(p, number, p->b.dir, sizeof p->b.dir);
    well = !bench_try_open(&p->b, p->b.options, p->why, sizeof p->why) && check_store(p, &tip);
    if (p->b.store) bench_close(&p->b);
    rocks_tap_set(store_image_tap(p->img));
  }
  if (p->b.store) bench_close(&p->b);
  return well;
}

static uint64_t number_from(const char *name, uint64_t otherwise) {
  const char *text = getenv(name);
  return text ? strtoull(text, NULL, 10) : otherwise;
}

static bool begin(power_t *p, uint64_t seed) {
  const qr_store_ops_t *ops = qr_store_driver("rocksdb");
  memset(p, 0, sizeof *p);
  if (!ops) return false;
  bench_begin(&p->b, ops);
  p->b.options = "io=uring";
  p->lot = seed;
  p->img = store_image_init(seed ^ 0x1234);
  rocks_tap_set(store_image_tap(p->img));
  return true;
}

static void end(power_t *p) {
  rocks_tap_set(NULL);
  store_image_fini(p->img);
  bench_remove(&p->b);
}

static void test_power_cuts(void **state) {
  static power_t p;
  uint64_t loops = number_from("QUARRY_STORE_LOOPS", LOOP_CNT);
  uint64_t seed = number_from("QUARRY_STORE_SEED", 1);
  store_image_stats_t sum = {0};
  uint64_t more = 0, opening = 0;
  (void)state;
  for (uint64_t done = 0; done < loops; seed++) {
    uint32_t n = loops - done < LINE_LOOP_CNT ? (uint32_t)(loops - done) : LINE_LOOP_CNT;
    if (!begin(&p, seed)) skip();
    /* one line in four with syncs as they are; they take their time */
    if (!one_line(&p, (store_image_disk_t){.quick = seed % 4 != 1}, n))
      fail_msg("%s; to see it again: QUARRY_STORE_SEED=%llu", p.why, (unsigned long long)seed);
    done += n;
    more += p.found_more;
    opening += p.cut_while_opening;
    add_stats(&sum, &p.sum);
    end(&p);
  }
  print_message("%llu cuts, %llu while opening: %llu operations; writes dropped %u torn %u zeroed "
                "%u kept %u; names dropped %u kept %u; more than reported was there %llu times\n",
                (unsigned long long)loops, (unsigned long long)opening,
                (unsigned long long)sum.op_cnt, sum.dropped, sum.torn, sum.zeroed, sum.kept,
                sum.names_dropped, sum.names_kept, (unsigned long long)more);
  uint64_t lots = sum.dropped + sum.torn + sum.zeroed + sum.kept + sum.names_dropped;
  assert_true(sum.op_cnt > 20 * loops && lots >= loops / 2);
}

/* How many of some stores on a lying disk are found out. */
static uint32_t count_caught(store_image_disk_t disk) {
  static power_t p;
  uint32_t caught = 0;
  for (uint32_t i = 0; i < LIE_LOOP_CNT; i++) {
    if (!begin(&p, 1000 + i)) skip();
    caught += !one_line(&p, disk, 2);
    end(&p);
  }
  return caught;
}

static void test_lying_sync_is_caught(void **state) {
  (void)state;
  uint32_t caught = count_caught((store_image_disk_t){.file_sync_lies = 1, .quick = true});
  print_message("a disk whose file syncs do nothing: caught %u of %u\n", caught, LIE_LOOP_CNT);
  assert_true(caught >= LIE_LOOP_CNT / 2);
}

static void test_lying_dir_sync_is_caught(void **state) {
  (void)state;
  uint32_t caught = count_caught((store_image_disk_t){.dir_sync_lies = 1, .quick = true});
  print_message("a disk whose directory syncs do nothing: caught %u of %u\n", caught, LIE_LOOP_CNT);
  assert_true(caught >= LIE_LOOP_CNT / 4);
}

/* A sync that fails has lost what it was for, though reads still see it: what the store makes of
   the log when it is opened again must not rest on that. */
static void test_failed_sync_is_not_trusted(void **state) {
  static power_t p;
  (void)state;
  for (uint64_t seed = 1; seed <= 6; seed++) {
    char next_dir[80];
    uint64_t tip, next;
    if (!begin(&p, seed)) skip();
    dir_of(&p, 0, p.b.dir, sizeof p.b.dir);
    store_image_begin(p.img, p.b.dir, (store_image_disk_t){.quick = true}, at_cut, &p);
    bench_open(&p.b);
    for (next = 1; next <= 5; next++) {
      assert_int_equal(numbered_commit(&p.b, next), 0);
      assert_int_equal(bench_wait(&p.b).err, 0);
    }
    store_image_fail_sync(p.img, 1);
    p.submitted = p.at_cut_submitted = next;
    assert_int_equal(numbered_commit(&p.b, next), 0);
    assert_true(bench_wait(&p.b).err < 0);
    p.acked = p.at_cut_acked = 5;
    bench_reopen(&p.b);
    if (!check_store(&p, &tip)) fail_msg("%s", p.why);
    p.acked = tip; /* now it says so */
    store_image_cut_now(p.img);
    bench_close(&p.b);
    dir_of(&p, 1, next_dir, sizeof next_dir);
    store_image_write(p.img, next_dir, NULL);
    rocks_tap_set(NULL);
    memcpy(p.b.dir, next_dir, sizeof next_dir);
    bench_open(&p.b);
    if (!check_store(&p, &tip)) fail_msg("%s; seed %llu", p.why, (unsigned long long)seed);
    bench_close(&p.b);
    end(&p);
  }
}

/* ---- the image itself ---- */

typedef struct {
  const rocks_tap_t *tap;
  char dir[80];
} disk_t;

static void does(const disk_t *d, enum rocks_tap_kind kind, const char *name, const char *to,
                 uint64_t offset, const char *text) {
  char path[160], to_path[160];
  snprintf(path, sizeof path, "%s%s%s", d->dir, *name ? "/" : "", name);
  snprintf(to_path, sizeof to_path, "%s/%s", d->dir, to ? to : "");
  rocks_tap_op_t op = {.kind = kind,
                       .path = path,
                       .to = to ? to_path : NULL,
                       .offset = offset,
                       .sz = text ? strlen(text) : 0,
                       .data = (void *)(uintptr_t)text};
  (void)d->tap->before(d->tap->ctx, &op);
  (void)d->tap->after(d->tap->ctx, &op, (int64_t)op.sz);
}

/* What a file holds; -1: there is none. */
static int64_t found(const char *dir, const char *name, char *out, size_t out_sz) {
  char path[160];
  snprintf(path, sizeof path, "%s/%s", dir, name);
  FILE *f = fopen(path, "r");
  if (!f) return -1;
  size_t n = fread(out, 1, out_sz, f);
  fclose(f);
  return (int64_t)n;
}

/* Over many lots: what was synced is always there, what was not is there now and then, in every
   way. */
static void test_image(void **state) {
  (void)state;
  uint32_t whole = 0, torn = 0, gone = 0, zeros = 0, renamed = 0, unlinked = 0, second = 0;
  char root[64] = "/tmp/qr-image-XXXXXX", buf[64], command[96];
  assert_non_null(mkdtemp(root));
  for (uint32_t i = 0; i < 400; i++) {
    disk_t d;
    char after[80];
    store_image_t *img = store_image_init(i);
    d.tap = store_image_tap(img);
    snprintf(d.dir, sizeof d.dir, "%s/none", root);
    snprintf(after, sizeof after, "%s/%u", root, i);
    store_image_begin(img, d.dir, (store_image_disk_t){0}, NULL, NULL);
    does(&d, ROCKS_TAP_CREATE, "a", NULL, 0, NULL);
    does(&d, ROCKS_TAP_WRITE, "a", NULL, 0, "synced");
    does(&d, ROCKS_TAP_SYNC, "a", NULL, 0, NULL);
    does(&d, ROCKS_TAP_CREATE, "b", NULL, 0, NULL);
    does(&d, ROCKS_TAP_DIR_SYNC, "", NULL, 0, NULL);
    does(&d, ROCKS_TAP_WRITE, "a", NULL, 6, "pending");
    does(&d, ROCKS_TAP_RENAME, "a", "c", 0, NULL);
    does(&d, ROCKS_TAP_UNLINK, "b", NULL, 0, NULL);
    does(&d, ROCKS_TAP_CREATE, "e", NULL, 0, NULL);
    store_image_cut_now(img);
    does(&d, ROCKS_TAP_SYNC, "c", NULL, 0, NULL); /* too late */
    store_image_write(img, after, NULL);
    int64_t a = found(after, "a", buf, sizeof buf), c = found(after, "c", buf, sizeof buf);
    assert_true((a < 0) != (c < 0));
    int64_t n = a < 0 ? c : found(after, "a", buf, sizeof buf);
    renamed += c >= 0;
    assert_in_range(n, 6, 13);
    assert_memory_equal(buf, "synced", 6);
    static const char nothing[7];
    gone += n == 6;
    zeros += n == 13 && !memcmp(buf + 6, nothing, 7);
    whole += n == 13 && !memcmp(buf + 6, "pending", 7);
    torn += n > 7 && n < 13 && !memcmp(buf + 6, "pending", (size_t)n - 6);
    unlinked += found(after, "b", buf, sizeof buf) < 0;
    second += found(after, "e", buf, sizeof buf) == 0;
    store_image_fini(img);
  }
  snprintf(command, sizeof command, "rm -rf '%s'", root);
  assert_int_equal(system(command), 0);
  assert_true(whole > 20 && torn > 5 && gone > 20 && zeros > 10);
  assert_in_range(renamed, 120, 280);
  assert_in_range(unlinked, 120, 280);
  assert_in_range(second, 120, 280);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_image),
      cmocka_unit_test(test_power_cuts),
      cmocka_unit_test(test_lying_sync_is_caught),
      cmocka_unit_test(test_lying_dir_sync_is_caught),
      cmocka_unit_test(test_failed_sync_is_not_trusted),
  };
  qr_log_init(QR_LOG_ERROR, open("/dev/null", O_WRONLY | O_CLOEXEC)); /* lies make it complain */
  return cmocka_run_group_tests(tests, NULL, NULL);
}
