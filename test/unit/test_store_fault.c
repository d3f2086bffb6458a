/* One operation of the store's files goes wrong, the nth: an error, a full disk, a transfer that
   comes short, a bit that has turned over in what is read. The store must not fall over, says what
   it cannot do, and goes on saying so; it never gives wrong data, and when it is opened again
   without faults it holds every batch that it reported. QUARRY_STORE_LOOPS says how many faults of
   each kind, QUARRY_STORE_SEED where the lots begin. */
#include "unit/store_numbered.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>

#include "../drivers/store/rocksdb/tap.h"
#include "base/log.h"
#include "base/splitmix.h"

#define LOOP_CNT 12u
#define LINE_LOOP_CNT 12u
#define BATCH_CNT 6u
#define LOG_BATCH_CNT 3u

enum fault { FAULT_EIO, FAULT_ENOSPC, FAULT_SHORT, FAULT_ROT, FAULT_CNT };
static const char *const fault_names[FAULT_CNT] = {"EIO", "ENOSPC", "short", "bit rot"};

typedef struct {
  bench_t b;
  char why[512];
  uint64_t lot, acked, submitted;
  pthread_mutex_t lock;
  enum fault fault;
  uint64_t at, seen, hit_cnt; /* at 0: none; once it was hit a full disk stays full */
  char hit[128];              /* what was hit */
  bool linked;
} fault_t;

static uint64_t draw(fault_t *f, uint64_t n) { return qr_splitmix_next(&f->lot) % n; }

/* ---- the fault ---- */

static bool concerns(enum fault fault, const rocks_tap_op_t *op) {
  bool bytes = op->kind == ROCKS_TAP_WRITE || op->kind == ROCKS_TAP_READ;
  switch (fault) {
  case FAULT_EIO: return true;
  case FAULT_ENOSPC:
    return op->kind == ROCKS_TAP_WRITE || op->kind == ROCKS_TAP_CREATE ||
           op->kind == ROCKS_TAP_ALLOCATE || op->kind == ROCKS_TAP_SYNC ||
           op->kind == ROCKS_TAP_RENAME;
  case FAULT_SHORT: return bytes && op->sz > 1;
  default: return op->kind == ROCKS_TAP_READ && op->sz > 0;
  }
}

/* True if it is this one's turn. */
static bool hits(fault_t *f, const rocks_tap_op_t *op) {
  if (!f->at || !concerns(f->fault, op) || ++f->seen < f->at) return false;
  if (f->seen > f->at && f->fault != FAULT_ENOSPC) return false;
  const char *slash = strrchr(op->path, '/');
  if (!f->hit_cnt++)
    snprintf(f->hit, sizeof f->hit, "kind %d of %s", op->kind, slash ? slash + 1 : op->path);
  return true;
}

static int64_t before(void *ctx, const rocks_tap_op_t *op) {
  fault_t *f = ctx;
  pthread_mutex_lock(&f->lock);
  int64_t answer = ROCKS_TAP_GO;
  if (f->fault != FAULT_ROT && hits(f, op)) {
    answer = f->fault == FAULT_EIO      ? -EIO
             : f->fault == FAULT_ENOSPC ? -ENOSPC
                                        : (int64_t)(1 + draw(f, op->sz - 1));
  } else if (!f->linked && (op->kind == ROCKS_TAP_SYNC || op->kind == ROCKS_TAP_DIR_SYNC)) {
    answer = ROCKS_TAP_PRETEND; /* no power is cut here */
  }
  pthread_mutex_unlock(&f->lock);
  return answer;
}

static int64_t after(void *ctx, const rocks_tap_op_t *op, int64_t result) {
  fault_t *f = ctx;
  pthread_mutex_lock(&f->lock);
  if (f->fault == FAULT_ROT && result > 0 && hits(f, op)) {
    uint64_t bit = draw(f, (uint64_t)result * 8);
    ((uint8_t *)op->data)[bit / 8] ^= (uint8_t)(1u << (bit % 8));
  }
  pthread_mutex_unlock(&f->lock);
  return result;
}

/* ---- what is done under it ---- */

/* Reports in order; after the first failure only failures. */
static bool take_all(fault_t *f, uint64_t last) {
  for (uint64_t next = f->acked + 1, failed = 0; next <= last; next++) {
    qr_store_done_t done = bench_wait(&f->b);
    if (done.tag != next) return numbered_complain(f->why, "out of order", next, (int64_t)done.tag);
    if (failed && !done.err) return numbered_complain(f->why, "written after a failure", next, 0);
    if (done.err && done.err != QR_ERR_IO && done.err != QR_ERR_CORRUPT)
      return numbered_complain(f->why, "an unclear error", next, done.err);
    if (done.err)
      failed = next;
    else
      f->acked = next;
  }
  return true;
}

static bool look(fault_t *f, uint64_t tip) {
  for (uint64_t n = 1; n <= tip; n++)
    if (!numbered_check_batch(&f->b, n, tip, tip + BATCH_CNT, f->why)) return false;
  return true;
}

static bool under_fault(fault_t *f) {
  uint64_t tip = f->acked;
  int err = bench_try_open(&f->b, f->b.options, f->why, sizeof f->why);
  if (err) {
    f->b.store = NULL;
    bool clear = (err == QR_ERR_IO || err == QR_ERR_CORRUPT) && *f->why;
    return clear ? true : numbered_complain(f->why, "an unclear refusal to open", 0, err);
  }
  bool well = look(f, tip);
  for (uint64_t n = tip + 1; well && n <= tip + BATCH_CNT; n++) {
    f->submitted = n;
    err = numbered_commit(&f->b, n);
    if (err) well = numbered_complain(f->why, "a commit is refused", n, err);
  }
  well = well && take_all(f, tip + BATCH_CNT);
  bool failed = f->acked < tip + BATCH_CNT;
  if (well && failed && bench_put(&f->b, QR_STORE_META, "late", "x", 1) >= 0)
    well = numbered_complain(f->why, "written after a failure", 0, 0);
  well = well && look(f, f->acked);
  bench_close(&f->b);
  return well;
}

static bool without_fault(fault_t *f) {
  uint64_t tip;
  f->at = 0;
  int err = bench_try_open(&f->b, f->b.options, f->why, sizeof f->why);
  if (err) return false;
  bool well = numbered_check(&f->b, f->acked, f->submitted, &tip, f->why);
  if (well) f->acked = f->submitted = tip;
  /* something for the next opening to recover */
  for (uint32_t i = 0; well && i < LOG_BATCH_CNT; i++) {
    f->submitted++;
    well = !numbered_commit(&f->b, f->submitted) && take_all(f, f->submitted);
  }
  bench_close(&f->b);
  return well && f->acked == f->submitted;
}

static uint64_t number_from(const char *name, uint64_t otherwise) {
  const char *text = getenv(name);
  return text ? strtoull(text, NULL, 10) : otherwise;
}

/* Some faults of a kind on one store, which lives on. */
static uint64_t one_line(fault_t *f, enum fault fault, uint64_t seed, uint32_t loop_cnt) {
  uint64_t hit_cnt = 0;
  rocks_tap_t tap = {.ctx = f, .before = before, .after = after};
  memset(f, 0, sizeof *f);
  pthread_mutex_init(&f->lock, NULL);
  bench_begin(&f->b, qr_store_driver("rocksdb"));
  f->b.options = "io=uring;cache_mb=1";
  f->lot = seed;
  f->fault = fault;
  f->linked = seed % 4 == 3;
  tap.apart = !f->linked;
  rocks_tap_set(&tap);
  for (uint32_t i = 0; i < loop_cnt; i++) {
    f->seen = f->hit_cnt = 0;
    f->at = i ? 1 + draw(f, draw(f, 2) ? 150 : 40) : 0; /* the first run makes something to lose */
    bool well = under_fault(f) && without_fault(f);
    if (!well)
      fail_msg("%s at %llu, %s: %s; to see it again: QUARRY_STORE_SEED=%llu", fault_names[fault],
               (unsigned long long)f->seen, f->hit, f->why, (unsigned long long)seed);
    hit_cnt += f->hit_cnt > 0;
  }
  rocks_tap_set(NULL);
  bench_remove(&f->b);
  pthread_mutex_destroy(&f->lock);
  return hit_cnt;
}

static void test_fault(enum fault fault) {
  static fault_t f;
  uint64_t loops = number_from("QUARRY_STORE_LOOPS", LOOP_CNT), hit_cnt = 0, done = 0;
  uint64_t seed = number_from("QUARRY_STORE_SEED", 1);
  if (!qr_store_driver("rocksdb")) skip();
  for (; done < loops; done += LINE_LOOP_CNT) hit_cnt += one_line(&f, fault, seed++, LINE_LOOP_CNT);
  print_message("%s: %llu of %llu runs were hit\n", fault_names[fault], (unsigned long long)hit_cnt,
                (unsigned long long)done);
  assert_true(hit_cnt >= done / 3);
}

static void test_eio(void **state) {
  (void)state;
  test_fault(FAULT_EIO);
}
static void test_enospc(void **state) {
  (void)state;
  test_fault(FAULT_ENOSPC);
}
static void test_short(void **state) {
  (void)state;
  test_fault(FAULT_SHORT);
}
static void test_rot(void **state) {
  (void)state;
  test_fault(FAULT_ROT);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_eio),
      cmocka_unit_test(test_enospc),
      cmocka_unit_test(test_short),
      cmocka_unit_test(test_rot),
  };
  const char *log = getenv("QUARRY_STORE_LOG"); /* else what it says of faults is not shown */
  qr_log_init(QR_LOG_ERROR, open(log ? log : "/dev/null", O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
  return cmocka_run_group_tests(tests, NULL, NULL);
}
