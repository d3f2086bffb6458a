/* What the RocksDB store's own files do besides what every store promises: logs in space that was
   zeroed before, the checksum that stands in for the library's, and the seals of records. */
#include "unit/store_numbered.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <sys/stat.h>

#include "base/log.h"
#include "base/philox.h"
#include "drivers/store/rocksdb/crc32c.h"
#include "drivers/store/rocksdb/ring.h"
#include "drivers/store/rocksdb/rocks.h"
#include "drivers/store/rocksdb/tap.h"

static uint32_t draw(uint32_t n) {
  static uint32_t at;
  static const qr_hash_t seed = {{81}};
  qr_philox_t p = qr_philox_init(&seed, 1);
  return qr_philox_bound(qr_philox_word(&p, at++), n);
}

static bool have_ring(void) { return qr_store_driver("rocksdb") && !rocks_ring_probe(); }

/* Bytes of all logs in dir. If ino is not NULL and one of them is that file, it becomes 0. */
static uint64_t log_bytes(const char *dir, ino_t *ino) {
  DIR *d = opendir(dir);
  uint64_t sum = 0;
  assert_non_null(d);
  for (struct dirent *e; (e = readdir(d));) {
    struct stat st;
    size_t n = strlen(e->d_name);
    if (n < 4 || strcmp(e->d_name + n - 4, ".log") || fstatat(dirfd(d), e->d_name, &st, 0))
      continue;
    sum += (uint64_t)st.st_size;
    if (ino && *ino == st.st_ino) *ino = 0;
  }
  closedir(d);
  return sum;
}

/* The zeroed file that waits to become a log; 0 if there is none. */
static ino_t prepared(const bench_t *b) {
  char path[128];
  struct stat st;
  snprintf(path, sizeof path, "%s/next-log.zeroed", b->dir);
  return stat(path, &st) ? 0 : st.st_ino;
}

static qr_store_stats_t stats(const bench_t *b) {
  qr_store_stats_t st;
  b->ops->stats(b->store, &st);
  return st;
}

/* Commits of 1 MiB until the store has turned to a log that was prepared, and three more: RocksDB
   turns after 32 of them. Returns the number of the last. */
static uint64_t fill_until_prepared(bench_t *b) {
  static uint8_t value[1 << 20];
  uint64_t n = 0;
  ino_t seen = 0;
  for (int more = 3; more;) {
    assert_in_range(++n, 1, 200);
    memset(value, (int)n, sizeof value);
    qr_store_op_t ops[2] = {put_op(QR_STORE_MODEL, &n, sizeof n, value, sizeof value),
                            put_op(QR_STORE_META, "tip", 3, &n, sizeof n)};
    assert_int_equal(bench_commit(b, ops, 2), 0);
    bool turned = more < 3;
    if (seen && !turned) {
      ino_t look = seen;
      (void)log_bytes(b->dir, &look);
      turned = !look;
    }
    if (turned) {
      more--;
    } else if (n > 5) {
      /* whatever the disk has to do besides, the file is there before the log is full */
      for (int tries = 0; !(seen = prepared(b)) && tries < 500; tries++) sleep_us(10000);
      if (n == 25) sleep_us(500000);
    }
  }
  return n;
}

static void check_models(bench_t *b, uint64_t tip) {
  static uint8_t value[1 << 20];
  uint64_t got = 0;
  assert_int_equal(bench_get(b, QR_STORE_META, "tip", &got, sizeof got), sizeof got);
  assert_int_equal(got, tip);
  for (uint64_t n = 1; n <= tip; n++) {
    assert_int_equal(b->ops->get(b->store, QR_STORE_MODEL, &n, sizeof n, value, sizeof value),
                     sizeof value);
    for (size_t i = 0; i < sizeof value; i += 4093) assert_int_equal(value[i], (uint8_t)n);
  }
}

/* The store's files as they are now: copied again where one changed under the copy, as when a table
   is being written in the background. */
static bench_t copy_of(const bench_t *b) {
  bench_t copy = *b;
  char command[1024];
  int rc = 1;
  snprintf(copy.dir, sizeof copy.dir, "%.60s/copy", b->root);
  snprintf(command, sizeof command,
           "look() { find '%s' -type f -printf '%%P %%s %%T@\\n' | sort; }; "
           "rm -rf '%s'; before=$(look); cp -r '%s' '%s' && [ \"$before\" = \"$(look)\" ]",
           b->dir, copy.dir, b->dir, copy.dir);
  for (int tries = 0; rc && tries < 100; tries++) {
    if (tries) sleep_us(100000);
    rc = system(command);
  }
  assert_int_equal(rc, 0);
  return copy;
}

/* A copy of the files as they are, which is what a killed process leaves, opens whole though its
   log is followed by zeros; when the store is closed the zeros are gone. */
static void test_prepared_logs(void **state) {
  (void)state;
  if (!have_ring()) skip();
  bench_t b;
  bench_begin(&b, qr_store_driver("rocksdb"));
  bench_open(&b);
  uint64_t tip = fill_until_prepared(&b);
  bench_t copy = copy_of(&b);
  uint64_t zeros_and_all = log_bytes(copy.dir, NULL);
  bench_close(&b);
  assert_int_equal(prepared(&b), 0);
  assert_true(log_bytes(b.dir, NULL) + (10u << 20) < zeros_and_all);
  assert_true(log_bytes(b.dir, NULL) >= 3u << 20);
  bench_open(&b);
  check_models(&b, tip);
  bench_close(&b);
  /* with either file system */
  for (int stock = 1; stock >= 0; stock--) {
    copy.options = stock ? "io=stock" : "";
    bench_open(&copy);
    check_models(&copy, tip);
    bench_close(&copy);
  }
  bench_remove(&b);
}

/* Whatever lies in a file of that name is not taken for zeros. */
static void test_a_left_over_is_made_anew(void **state) {
  (void)state;
  if (!have_ring()) skip();
  bench_t b;
  char command[512];
  bench_begin(&b, qr_store_driver("rocksdb"));
  bench_open(&b);
  bench_close(&b);
  snprintf(command, sizeof command, "head -c 30000000 /dev/urandom > '%s/next-log.zeroed'", b.dir);
  assert_int_equal(system(command), 0);
  bench_open(&b);
  uint64_t tip = fill_until_prepared(&b);
  bench_t copy = copy_of(&b);
  bench_close(&b);
  bench_open(&copy);
  check_models(&copy, tip);
  bench_close(&copy);
  bench_remove(&b);
}

static void test_counts(void **state) {
  (void)state;
  if (!have_ring()) skip();
  for (int stock = 0; stock < 2; stock++) {
    bench_t b;
    bench_begin(&b, qr_store_driver("rocksdb"));
    b.options = stock ? "io=stock" : "";
    bench_open(&b);
    qr_store_stats_t before = stats(&b);
    for (int i = 0; i < 5; i++)
      assert_int_equal(bench_put(&b, QR_STORE_META, "key", "value", 5), 0);
    qr_store_stats_t after = stats(&b);
    assert_int_equal(after.ring_op_cnt - before.ring_op_cnt, stock ? 0 : 5);
    assert_int_equal(after.sync_cnt - before.sync_cnt, stock ? 0 : 5);
    assert_true(stock ? !after.sync_ns_sum : after.sync_ns_sum > before.sync_ns_sum);
    bench_close(&b);
    bench_remove(&b);
  }
}

/* --- many keys at a time --- */

#define MANY_CNT 300u
#define MANY_TABLE_CNT 4u
#define MANY_SZ 3000u

/* Reads that are under way. */
typedef struct {
  _Atomic int now, most;
  _Atomic bool fails;
} flights_t;

static int64_t takes_off(void *ctx, const rocks_tap_op_t *op) {
  flights_t *f = ctx;
  if (op->kind != ROCKS_TAP_READ) return ROCKS_TAP_GO;
  int now = ++f->now;
  if (now > f->most) f->most = now;
  return f->fails ? -EIO : ROCKS_TAP_GO;
}

static int64_t lands(void *ctx, const rocks_tap_op_t *op, int64_t result) {
  flights_t *f = ctx;
  if (op->kind == ROCKS_TAP_READ) f->now--;
  return result;
}

/* Of key i: 0 where it does not exist, else the first byte of its value, which says in which table
   it was written last. */
static uint8_t many_value(uint32_t i) {
  if (i % 7 == 6) return 0;
  return (uint8_t)(1 + (i % 5 == 0 ? MANY_TABLE_CNT : i % MANY_TABLE_CNT));
}

static void write_many(bench_t *b) {
  static uint8_t value[MANY_SZ];
  for (uint32_t t = 0; t <= MANY_TABLE_CNT; t++) {
    for (uint32_t i = 0; i < MANY_CNT; i++) {
      bool gone = !many_value(i);
      if (gone ? t > 1 : t != i % MANY_TABLE_CNT && t + 1 != many_value(i)) continue;
      memset(value, (int)(t + 1), sizeof value);
      qr_store_op_t op = gone && t ? erase_op(QR_STORE_STATE, &i, sizeof i)
                                   : put_op(QR_STORE_STATE, &i, sizeof i, value, sizeof value);
      assert_int_equal(b->ops->commit(b->store, i, &op, 1), 0);
      assert_int_equal(bench_wait(b).err, 0);
    }
    /* what is in the log goes to a table of its own when the store is opened */
    if (t < MANY_TABLE_CNT) bench_reopen(b);
  }
}

static void read_many(bench_t *b, bool fails) {
  static uint8_t values[MANY_CNT][MANY_SZ];
  static uint32_t keys[MANY_CNT];
  static qr_store_read_t reads[MANY_CNT];
  uint32_t failed_cnt = 0;
  for (uint32_t i = 0; i < MANY_CNT; i++) {
    keys[i] = i * 97 % MANY_CNT; /* in no order */
    reads[i] = (qr_store_read_t){
        .key = &keys[i], .key_sz = sizeof keys[i], .buf = values[i], .buf_sz = MANY_SZ};
  }
  b->ops->get_many(b->store, QR_STORE_STATE, reads, MANY_CNT);
  for (uint32_t i = 0; i < MANY_CNT; i++) {
    uint8_t first = many_value(keys[i]);
    failed_cnt += reads[i].result == QR_ERR_IO;
    if (fails && reads[i].result == QR_ERR_IO) continue;
    assert_int_equal(reads[i].result, first ? (int64_t)MANY_SZ : QR_ERR_NOTFOUND);
    if (first) assert_true(values[i][0] == first && values[i][MANY_SZ - 1] == first);
  }
  assert_true(fails ? failed_cnt > MANY_CNT / 2 : !failed_cnt);
}

/* They come from several tables and from memory, and more are read at a time than RocksDB asks for
   in one step, which is 32. Failures of the disk are told, and the same call is right once it has
   recovered. */
static void test_many_at_a_time(void **state) {
  (void)state;
  if (!have_ring()) skip();
  flights_t f = {.now = 0};
  rocks_tap_t tap = {.ctx = &f, .before = takes_off, .after = lands};
  bench_t b;
  bench_begin(&b, qr_store_driver("rocksdb"));
  b.options = "cache_mb=1;sync=0";
  bench_open(&b);
  write_many(&b);
  bench_close(&b);
  rocks_tap_set(&tap);
  bench_open(&b);
  f.most = 0;
  f.fails = true;
  read_many(&b, true);
  f.fails = false;
  read_many(&b, false);
  assert_in_range(f.most, 33, MANY_CNT);
  assert_int_equal(f.now, 0);
  bench_close(&b);
  rocks_tap_set(NULL);
  bench_remove(&b);
}

/* --- checksum --- */

static void test_crc32c(void **state) {
  static uint8_t bytes[70000];
  typedef uint32_t (*extend_fn)(uint32_t crc, const char *data, size_t sz);
  (void)state;
  if (!rocks_crc32c_usable()) skip();
  assert_int_equal(rocks_crc32c(0, "123456789", 9), 0xe3069283u); /* RFC 3720's polynomial */
  memset(bytes, 0xff, 32);
  assert_int_equal(rocks_crc32c(0, bytes, 32), 0x62a8ab43u); /* its appendix B.4 */
  extend_fn library;
  void *handle = dlopen("librocksdb.so.7.8", RTLD_NOW | RTLD_NOLOAD);
  if (!handle) skip();
  *(void **)&library = dlsym(handle, "_ZN7rocksdb6crc32c6ExtendEjPKcm");
  assert_non_null(library);
  for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (uint8_t)draw(256);
  for (int i = 0; i < 300; i++) {
    size_t from = draw(40), sz = i < 100 ? (size_t)i : draw(sizeof bytes - 40);
    uint32_t crc = draw(UINT32_MAX);
    assert_int_equal(rocks_crc32c(crc, bytes + from, sz),
                     library(crc, (const char *)bytes + from, sz));
    /* in two pieces as in one */
    size_t cut = sz ? draw((uint32_t)sz) : 0;
    assert_int_equal(
        rocks_crc32c(rocks_crc32c(crc, bytes + from, cut), bytes + from + cut, sz - cut),
        rocks_crc32c(crc, bytes + from, sz));
  }
}

/* --- seals --- */

static void old_seal(uint32_t table, const char *key, const char *value, size_t value_sz,
                     uint8_t seal[QR_RECORD_SEAL_SZ]) {
  qr_hasher_t h;
  qr_hash_t out;
  qr_hash_init(&h, "quarry.record");
  qr_hash_add_u32(&h, table);
  qr_hash_add_u32(&h, (uint32_t)strlen(key));
  qr_hash_add(&h, key, strlen(key));
  qr_hash_add(&h, value, value_sz);
  qr_hash_end(&h, &out);
  memcpy(seal, out.b, QR_RECORD_SEAL_SZ);
}

/* Both kinds of seal, and every bit of a record with one flipped; another table, key or length. */
static void test_seals(void **state) {
  static const char text[] = "a value of some length that is not a multiple of 16";
  uint8_t record[QR_RECORD_SEAL_SZ + sizeof text];
  const uint8_t *value;
  size_t value_sz;
  (void)state;
  assert_int_equal(qr_crypto_init(), 0);
  for (int old = 0; old < 2; old++) {
    for (size_t sz = 0; sz < sizeof text; sz += 25) {
      if (old) {
        old_seal(3, "key", text, sz, record);
      } else {
        rocks_record_seal(3, "key", 3, text, sz, record);
      }
      memcpy(record + QR_RECORD_SEAL_SZ, text, sz);
      size_t all_sz = QR_RECORD_SEAL_SZ + sz;
      assert_true(rocks_record_check(3, "key", 3, record, all_sz, &value, &value_sz));
      assert_int_equal(value_sz, sz);
      assert_memory_equal(value, text, sz);
      assert_false(rocks_record_check(4, "key", 3, record, all_sz, &value, &value_sz));
      assert_false(rocks_record_check(3, "kez", 3, record, all_sz, &value, &value_sz));
      assert_false(rocks_record_check(3, "key", 2, record, all_sz, &value, &value_sz));
      assert_false(rocks_record_check(3, "key", 3, record, all_sz - 1, &value, &value_sz));
      for (size_t bit = 0; bit < 8 * all_sz; bit++) {
        record[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_false(rocks_record_check(3, "key", 3, record, all_sz, &value, &value_sz));
        record[bit / 8] ^= (uint8_t)(1 << bit % 8);
      }
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_prepared_logs), cmocka_unit_test(test_a_left_over_is_made_anew),
      cmocka_unit_test(test_counts),        cmocka_unit_test(test_many_at_a_time),
      cmocka_unit_test(test_crc32c),        cmocka_unit_test(test_seals),
  };
  qr_log_init(QR_LOG_ERROR, open("/dev/null", O_WRONLY | O_CLOEXEC));
  return cmocka_run_group_tests(tests, NULL, NULL);
}
