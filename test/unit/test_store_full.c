/* The reserve, and a store on a disk that is full: what it can say, and that it can be opened on
   the reserve when there is no other room. The disk is a small one in memory; where this user may
   not mount one the tests are skipped. */
#include "unit/store_numbered.h"

#include <sys/stat.h>

#include "base/log.h"
#include "port/reserve.h"
#include "small_disk.h"

#define MIB ((uint64_t)1 << 20)
#define DISK_MIB 420u
#define RESERVE_SZ (160 * MIB)

static bool can_mount;

static int begin(void **state) {
  (void)state;
  if (!can_mount) {
    print_message("skipped: this user may not mount a disk of his own here\n");
    skip();
  }
  assert_true(small_disk_mount(DISK_MIB));
  return 0;
}

static int end(void **state) {
  (void)state;
  assert_true(small_disk_unmount());
  return 0;
}

static bool has_room(const qr_reserve_t *r) {
  char why[256] = "";
  bool room = r->has_room(r->ctx, why, sizeof why);
  assert_true(room == !*why);
  return room;
}

static uint64_t held_sz(const qr_reserve_file_t *f) {
  struct stat st;
  if (lstat(f->path, &st)) return 0;
  assert_int_equal(st.st_size, f->sz);
  return (uint64_t)st.st_blocks * 512;
}

static void test_reserve(void **state) {
  char dir[64], path[64];
  qr_reserve_file_t f;
  (void)state;
  small_disk_path("here", dir);
  qr_reserve_t r = qr_reserve_file(&f, dir, RESERVE_SZ);
  assert_false(has_room(&r)); /* no directory */
  assert_int_equal(mkdir(dir, 0700), 0);
  assert_true(has_room(&r));
  assert_true(held_sz(&f) >= RESERVE_SZ);
  /* a later run finds it */
  r = qr_reserve_file(&f, dir, RESERVE_SZ);
  assert_true(has_room(&r));
  assert_true(small_disk_fill());
  assert_false(has_room(&r));
  assert_true(held_sz(&f) >= RESERVE_SZ);
  /* given up: there is room for what must be written, and none for more */
  r.yield(r.ctx);
  assert_int_equal(held_sz(&f), 0);
  assert_false(has_room(&r));
  small_disk_path("must", path);
  FILE *must = fopen(path, "w");
  assert_non_null(must);
  for (uint64_t i = 0; i < RESERVE_SZ / 4096; i++) assert_int_equal(fwrite(dir, 1, 64, must), 64);
  assert_int_equal(fclose(must), 0);
  assert_int_equal(unlink(path), 0);
  assert_false(has_room(&r));
  assert_int_equal(held_sz(&f), 0);
  assert_true(small_disk_empty());
  assert_true(has_room(&r));
  assert_true(held_sz(&f) >= RESERVE_SZ);
  /* a part of it, or something else of that name, is not it */
  assert_int_equal(truncate(f.path, 4096), 0);
  r = qr_reserve_file(&f, dir, RESERVE_SZ);
  assert_true(has_room(&r));
  assert_true(held_sz(&f) >= RESERVE_SZ);
}

/* Writes until the disk is full, whatever the reserve says; then the store can be opened again, for
   what it needs is kept, and holds what it reported. */
static void write_until_full(const char *options) {
  bench_t b = {.ops = qr_store_driver("rocksdb"), .options = options};
  char why[NUMBERED_WHY_SZ], text[512];
  uint64_t acked = 0, tip, n;
  qr_reserve_file_t f;
  if (!b.ops) skip();
  small_disk_path("store", b.dir);
  bench_open(&b);
  qr_reserve_t r = qr_reserve_file(&f, b.dir, RESERVE_SZ);
  assert_true(has_room(&r));
  for (n = 1; n < 2000; n++) {
    if (n == 150) assert_true(small_disk_fill());
    assert_int_equal(numbered_commit(&b, n), 0);
    int err = bench_wait(&b).err;
    if (err) {
      assert_int_equal(err, QR_ERR_IO);
      break;
    }
    acked = n;
  }
  assert_true(acked >= 149 && acked == n - 1);
  assert_false(has_room(&r));
  /* what it has it gives */
  for (uint64_t i = 1; i <= acked; i++)
    if (!numbered_check_batch(&b, i, acked, n, why)) fail_msg("%s", why);
  bench_close(&b);
  if (bench_try_open(&b, options, text, sizeof text)) {
    assert_non_null(strstr(text, "space"));
    print_message("%s: it opens on the reserve only\n", options);
    r.yield(r.ctx);
    bench_open(&b);
  }
  if (!numbered_check(&b, acked, n, &tip, why)) fail_msg("%s", why);
  assert_false(has_room(&r));
  assert_true(small_disk_empty());
  assert_true(has_room(&r));
  for (n = tip + 1; n <= tip + 5; n++) {
    assert_int_equal(numbered_commit(&b, n), 0);
    assert_int_equal(bench_wait(&b).err, 0);
  }
  bench_reopen(&b);
  if (!numbered_check(&b, tip + 5, tip + 5, &tip, why)) fail_msg("%s", why);
  bench_close(&b);
}

static void test_full_on_the_ring(void **state) {
  (void)state;
  write_until_full("io=uring");
}

static void test_full_on_stock_files(void **state) {
  (void)state;
  write_until_full("io=stock");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_reserve, begin, end),
      cmocka_unit_test_setup_teardown(test_full_on_the_ring, begin, end),
      cmocka_unit_test_setup_teardown(test_full_on_stock_files, begin, end),
  };
  can_mount = small_disk_prepare();
  qr_log_init(QR_LOG_ERROR, open("/dev/null", O_WRONLY | O_CLOEXEC));
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  rmdir(small_disk);
  return failed;
}
