/* A write that RocksDB reports as failed and then forgets, as it does after a full disk has room
   again. The definition of rocksdb_write below stands before the shared library's. */
#include "unit/store_bench.h"

#include <dlfcn.h>

typedef void (*write_fn)(void *db, const void *options, void *batch, char **message);
void rocksdb_write(void *db, const void *options, void *batch, char **message);

static struct {
  uint32_t call_cnt, fail_at;
  bool writes_all_the_same;
} fault;

void rocksdb_write(void *db, const void *options, void *batch, char **message) {
  write_fn real;
  *(void **)&real = dlsym(RTLD_NEXT, "rocksdb_write");
  bool fails = ++fault.call_cnt == fault.fail_at;
  if (!fails || fault.writes_all_the_same) real(db, options, batch, message);
  if (fails && !*message)
    *message = strdup("IO error: No space left on device: as the test wants it");
}

static void test_nothing_follows_a_failed_commit(void **state) {
  const qr_store_ops_t *ops = qr_store_driver("rocksdb");
  (void)state;
  if (!ops) skip();
  for (int on_disk = 0; on_disk < 2; on_disk++) {
    bench_t b;
    bench_begin(&b, ops);
    bench_open(&b);
    fault.call_cnt = 0;
    fault.fail_at = 5;
    fault.writes_all_the_same = on_disk;
    for (uint64_t i = 1; i <= 12; i++) {
      qr_store_op_t op = put_op(QR_STORE_BLOCK, &i, sizeof i, &i, sizeof i);
      assert_int_equal(b.ops->commit(b.store, i, &op, 1), 0);
    }
    for (uint64_t i = 1; i <= 12; i++) {
      qr_store_done_t done = bench_wait(&b);
      assert_int_equal(done.tag, i);
      assert_int_equal(done.err, i < 5 ? 0 : QR_ERR_IO);
    }
    assert_int_equal(fault.call_cnt, 5); /* the later ones never came so far */
    qr_store_stats_t st;
    b.ops->stats(b.store, &st);
    assert_int_equal(st.commit_cnt, 4);
    assert_int_equal(st.bytes_written, 4 * 16);
    fault.fail_at = 0;
    assert_int_equal(bench_put(&b, QR_STORE_META, "tip", "x", 1), QR_ERR_IO);
    bench_reopen(&b);
    for (uint64_t i = 1; i <= 12; i++) {
      int64_t want = i < 5 || (i == 5 && on_disk) ? 8 : QR_ERR_NOTFOUND;
      assert_int_equal(b.ops->get(b.store, QR_STORE_BLOCK, &i, sizeof i, NULL, 0), want);
    }
    assert_int_equal(bench_put(&b, QR_STORE_META, "tip", "x", 1), 0);
    bench_close(&b);
    bench_remove(&b);
  }
}

/* A store that cannot even write its schema version is not opened. */
static void test_open_fails_if_the_schema_cannot_be_written(void **state) {
  const qr_store_ops_t *ops = qr_store_driver("rocksdb");
  (void)state;
  if (!ops) skip();
  bench_t b;
  char why[512];
  bench_begin(&b, ops);
  fault.call_cnt = 0;
  fault.fail_at = 1;
  fault.writes_all_the_same = false;
  assert_int_equal(bench_try_open(&b, "", why, sizeof why), QR_ERR_IO);
  assert_non_null(strstr(why, "cannot write"));
  bench_open(&b);
  bench_close(&b);
  bench_remove(&b);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_nothing_follows_a_failed_commit),
      cmocka_unit_test(test_open_fails_if_the_schema_cannot_be_written),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
