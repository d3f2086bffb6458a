/* A write that RocksDB reports as failed and then forgets, as it does after a full disk has room
   again. The definition of rocksdb_write below stands before the shared library's. */
#include "unit/store_bench.h"

#include <dlfcn.h>
#include <pthread.h>
#include <unistd.h>

typedef void (*write_fn)(void *db, const void *options, void *batch, char **message);
void rocksdb_write(void *db, const void *options, void *batch, char **message);

static struct {
  _Atomic uint32_t call_cnt;
  uint32_t fail_at;
  bool writes_all_the_same;
  pthread_mutex_t *gate; /* the first write waits for it */
} fault;

void rocksdb_write(void *db, const void *options, void *batch, char **message) {
  write_fn real;
  *(void **)&real = dlsym(RTLD_NEXT, "rocksdb_write");
  bool fails = ++fault.call_cnt == fault.fail_at;
  if (fault.gate && fault.call_cnt == 1) {
    pthread_mutex_lock(fault.gate);
    pthread_mutex_unlock(fault.gate);
  }
  if (!fails || fault.writes_all_the_same) real(db, options, batch, message);
  if (fails && !*message)
    *message = strdup("IO error: No space left on device: as the test wants it");
}

static void test_nothing_follows_a_failed_commit(void **state) {
  const qr_store_ops_t *ops = qr_store_driver("rocksdb");
  if (!ops) skip();
  for (int on_disk = 0; on_disk < 2; on_disk++) {
    bench_t b;
    bench_begin(&b, ops);
    b.options = *state;
    bench_open(&b);
    fault.call_cnt = 0;
    fault.fail_at = 5;
    fault.writes_all_the_same = on_disk;
    for (uint64_t i = 1; i <= 12; i++) {
      qr_store_op_t op = put_op(QR_STORE_BLOCK, &i, sizeof i, &i, sizeof i);
      assert_int_equal(b.ops->commit(b.store, i, &op, 1), 0);
      if (i >= 5) continue;
      qr_store_done_t done = bench_wait(&b); /* so that it is a write of its own */
      assert_int_equal(done.tag, i);
      assert_int_equal(done.err, 0);
    }
    for (uint64_t i = 5; i <= 12; i++) {
      qr_store_done_t done = bench_wait(&b);
      assert_int_equal(done.tag, i);
      assert_int_equal(done.err, QR_ERR_IO);
    }
    assert_int_equal(fault.call_cnt, 5); /* the later ones never came so far */
    qr_store_stats_t st;
    b.ops->stats(b.store, &st);
    assert_int_equal(st.commit_cnt, 4);
    assert_int_equal(st.bytes_written, 4 * 16);
    fault.fail_at = 0;
    assert_int_equal(bench_put(&b, QR_STORE_META, "tip", "x", 1), QR_ERR_IO);
    bench_reopen(&b);
    bool there = true;
    for (uint64_t i = 1; i <= 12; i++) {
      int64_t got = b.ops->get(b.store, QR_STORE_BLOCK, &i, sizeof i, NULL, 0);
      /* what was written together with the fifth is there with it or not at all */
      if (i < 6 || got == QR_ERR_NOTFOUND) there = i < 5 || (i == 5 && on_disk);
      assert_int_equal(got, there ? 8 : QR_ERR_NOTFOUND);
    }
    assert_int_equal(bench_put(&b, QR_STORE_META, "tip", "x", 1), 0);
    bench_close(&b);
    bench_remove(&b);
  }
}

/* What comes while a write is under way goes to the disk in one more, up to 8 MiB of it. */
static void test_commits_are_written_together(void **state) {
  const qr_store_ops_t *ops = qr_store_driver("rocksdb");
  if (!ops) skip();
  static uint8_t value[1 << 20];
  for (uint64_t i_sz = 0; i_sz < 2; i_sz++) {
    bench_t b;
    pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
    size_t sz = i_sz ? sizeof value : 8;
    bench_begin(&b, ops);
    b.options = *state;
    bench_open(&b);
    fault.call_cnt = fault.fail_at = 0;
    fault.gate = &gate;
    pthread_mutex_lock(&gate);
    for (uint64_t i = 1; i <= 21; i++) {
      qr_store_op_t op = put_op(QR_STORE_BLOCK, &i, sizeof i, value, sz);
      assert_int_equal(b.ops->commit(b.store, i, &op, 1), 0);
      /* the first is taken alone before the next one comes */
      while (i == 1 && !fault.call_cnt) usleep(100);
    }
    pthread_mutex_unlock(&gate);
    for (uint64_t i = 1; i <= 21; i++) {
      qr_store_done_t done = bench_wait(&b);
      assert_int_equal(done.tag, i);
      assert_int_equal(done.err, 0);
    }
    assert_int_equal(fault.call_cnt, i_sz ? 4 : 2); /* 1 and 7, 7, 6; 1 and 20 */
    qr_store_stats_t st;
    b.ops->stats(b.store, &st);
    assert_int_equal(st.commit_cnt, 21);
    assert_int_equal(st.bytes_written, 21 * (8 + sz));
    fault.gate = NULL;
    bench_reopen(&b);
    for (uint64_t i = 1; i <= 21; i++)
      assert_int_equal(b.ops->get(b.store, QR_STORE_BLOCK, &i, sizeof i, NULL, 0), sz);
    bench_close(&b);
    bench_remove(&b);
  }
}

/* A store that cannot even write its schema version is not opened. */
static void test_open_fails_if_the_schema_cannot_be_written(void **state) {
  const qr_store_ops_t *ops = qr_store_driver("rocksdb");
  if (!ops) skip();
  bench_t b;
  char why[512];
  bench_begin(&b, ops);
  b.options = *state;
  fault.call_cnt = 0;
  fault.fail_at = 1;
  fault.writes_all_the_same = false;
  assert_int_equal(bench_try_open(&b, b.options, why, sizeof why), QR_ERR_IO);
  assert_non_null(strstr(why, "cannot write"));
  bench_open(&b);
  bench_close(&b);
  bench_remove(&b);
}

/* On each kind of files. */
#define ON(f, options)                                                                             \
  { #f " " options, f, NULL, NULL, (void *)options }
#define BOTH(f) ON(f, "io=uring"), ON(f, "io=stock")

int main(void) {
  const struct CMUnitTest tests[] = {
      BOTH(test_nothing_follows_a_failed_commit),
      BOTH(test_commits_are_written_together),
      BOTH(test_open_fails_if_the_schema_cannot_be_written),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
