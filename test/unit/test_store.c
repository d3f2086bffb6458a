/* What every store driver promises: one body of tests, run on each driver of this build. */
#include "unit/store_bench.h"

#include <pthread.h>
#include <stdatomic.h>

#include "base/philox.h"
#include "port/store_batch.h"

static uint32_t draw(uint32_t n) {
  static uint32_t at;
  static const qr_hash_t seed = {{7}};
  qr_philox_t p = qr_philox_init(&seed, 1);
  return qr_philox_bound(qr_philox_word(&p, at++), n);
}

/* A driver, and how it is opened. */
typedef struct {
  const qr_store_ops_t *ops;
  const char *options; /* NULL: as it comes */
} variant_t;

static int setup(void **state) {
  const variant_t *v = *state;
  bench_t *b = malloc(sizeof *b);
  bench_begin(b, v->ops);
  if (v->options) b->options = v->options;
  bench_open(b);
  *state = b;
  return 0;
}

static int teardown(void **state) {
  bench_t *b = *state;
  if (b->store) bench_close(b);
  bench_remove(b);
  free(b);
  return 0;
}

static void test_batch_applies_in_order(void **state) {
  bench_t *b = *state;
  qr_store_op_t ops[] = {
      put_op(QR_STORE_STATE, "a", 1, "first", 5),
      put_op(QR_STORE_STATE, "b", 1, "bee", 3),
      put_op(QR_STORE_STATE, "a", 1, "second", 6),
      put_op(QR_STORE_META, "a", 1, "elsewhere", 9),
      erase_op(QR_STORE_STATE, "b", 1),
      erase_op(QR_STORE_STATE, "never there", 11),
  };
  char buf[16];
  assert_int_equal(bench_get(b, QR_STORE_STATE, "a", buf, sizeof buf), QR_ERR_NOTFOUND);
  assert_int_equal(bench_commit(b, ops, QR_ARRAY_CNT(ops)), 0);
  assert_int_equal(bench_get(b, QR_STORE_STATE, "a", buf, sizeof buf), 6);
  assert_memory_equal(buf, "second", 6);
  assert_int_equal(bench_get(b, QR_STORE_META, "a", buf, sizeof buf), 9);
  assert_int_equal(bench_get(b, QR_STORE_STATE, "b", buf, sizeof buf), QR_ERR_NOTFOUND);
  assert_int_equal(bench_get(b, QR_STORE_BLOCK, "a", buf, sizeof buf), QR_ERR_NOTFOUND);
  assert_int_equal(bench_commit(b, NULL, 0), 0);
}

/* The caller's memory is its own again once commit has returned. */
static void test_commit_copies(void **state) {
  bench_t *b = *state;
  char key[4] = "key", value[] = "value";
  qr_store_op_t op = put_op(QR_STORE_UNDO, key, 3, value, 5);
  assert_int_equal(b->ops->commit(b->store, 1, &op, 1), 0);
  memset(key, 'x', 3);
  memset(value, 'x', 5);
  memset(&op, 0xff, sizeof op);
  assert_int_equal(bench_wait(b).err, 0);
  char buf[8];
  assert_int_equal(bench_get(b, QR_STORE_UNDO, "key", buf, sizeof buf), 5);
  assert_memory_equal(buf, "value", 5);
}

static void test_completions_in_order(void **state) {
  bench_t *b = *state;
  uint64_t done_cnt = 0;
  for (uint64_t i = 0; i < 40; i++) {
    qr_store_op_t op = put_op(QR_STORE_META, "tip", 3, &i, sizeof i);
    assert_int_equal(b->ops->commit(b->store, 1000 + i, &op, 1), 0);
  }
  for (int tries = 0; done_cnt < 40 && tries < WAIT_MAX_MS; tries++) {
    qr_store_done_t done[7];
    int n = b->ops->poll(b->store, done, 7);
    assert_in_range(n, 0, 7);
    for (int k = 0; k < n; k++) {
      assert_int_equal(done[k].err, 0);
      assert_int_equal(done[k].tag, 1000 + done_cnt++);
    }
    uint64_t seen = UINT64_MAX;
    if (done_cnt) {
      /* what poll reported can be read; later ones may be visible too */
      assert_int_equal(bench_get(b, QR_STORE_META, "tip", &seen, sizeof seen), sizeof seen);
      assert_in_range(seen, done_cnt - 1, 39);
    }
    if (!n) sleep_us(1000);
  }
  assert_int_equal(done_cnt, 40);
  qr_store_done_t none;
  assert_int_equal(b->ops->poll(b->store, &none, 1), 0);
}

static void fill(uint8_t *p, size_t sz, uint32_t salt) {
  for (size_t i = 0; i < sz; i++) p[i] = (uint8_t)(salt + i * 31 + (i >> 8) * 7);
}

static void test_value_sizes(void **state) {
  bench_t *b = *state;
  static const size_t sizes[] = {
      0, 1, 31, 32, 33, 4095, 4096, 32768, 100001, 1 << 20, QR_STORE_VALUE_MAX_SZ};
  uint8_t *value = malloc(QR_STORE_VALUE_MAX_SZ), *got = malloc(QR_STORE_VALUE_MAX_SZ);
  char key[QR_STORE_KEY_MAX_SZ];
  memset(key, 'k', sizeof key);
  for (size_t i = 0; i < QR_ARRAY_CNT(sizes); i++) {
    fill(value, sizes[i], (uint32_t)i);
    qr_store_op_t op = put_op(QR_STORE_MODEL, key, 1 + i * 6, value, sizes[i]);
    assert_int_equal(bench_commit(b, &op, 1), 0);
  }
  for (int round = 0; round < 2; round++) {
    for (size_t i = 0; i < QR_ARRAY_CNT(sizes); i++) {
      fill(value, sizes[i], (uint32_t)i);
      memset(got, 0xee, QR_STORE_VALUE_MAX_SZ);
      assert_int_equal(b->ops->get(b->store, QR_STORE_MODEL, key, 1 + i * 6, got, sizes[i]),
                       sizes[i]);
      assert_memory_equal(got, value, sizes[i]);
      if (!sizes[i]) continue;
      /* a buffer that is too small is not written to */
      memset(got, 0xee, sizes[i]);
      assert_int_equal(b->ops->get(b->store, QR_STORE_MODEL, key, 1 + i * 6, got, sizes[i] - 1),
                       sizes[i]);
      assert_int_equal(b->ops->get(b->store, QR_STORE_MODEL, key, 1 + i * 6, NULL, 0), sizes[i]);
      for (size_t k = 0; k < sizes[i]; k++) assert_int_equal(got[k], 0xee);
    }
    bench_reopen(b);
  }
  free(value);
  free(got);
}

/* What get would say of each, of any number at once. */
static void test_get_many(void **state) {
  bench_t *b = *state;
  enum { CNT = 700 };
  static uint8_t values[CNT][300], got[CNT][300], keys[CNT][8];
  static qr_store_op_t ops[CNT];
  static qr_store_read_t reads[CNT];
  uint32_t op_cnt = 0;
  for (uint32_t i = 0; i < CNT; i++) {
    qr_st64(keys[i], i * 0x9e3779b97f4a7c15ull);
    fill(values[i], i % 300, i);
    if (i % 7 == 3) continue; /* not there */
    ops[op_cnt++] = put_op(QR_STORE_STATE, keys[i], 8, values[i], i % 300);
  }
  assert_int_equal(bench_commit(b, ops, op_cnt), 0);
  for (uint32_t round = 0; round < 6; round++) {
    uint32_t cnt = round < 2 ? CNT : draw(CNT);
    for (uint32_t i = 0; i < cnt; i++) {
      uint32_t k = draw(CNT);
      bool small = draw(10) == 0, bad = draw(20) == 0;
      reads[i] = (qr_store_read_t){.key = keys[k],
                                   .key_sz = bad ? QR_STORE_KEY_MAX_SZ + 1 : 8,
                                   .buf = got[i],
                                   .buf_sz = small ? k % 300 / 2 : sizeof got[i],
                                   .result = 12345};
    }
    memset(got, 0xee, sizeof got);
    b->ops->get_many(b->store, QR_STORE_STATE, reads, cnt);
    for (uint32_t i = 0; i < cnt; i++) {
      uint8_t alone[300];
      memset(alone, 0xee, sizeof alone);
      assert_int_equal(reads[i].result, b->ops->get(b->store, QR_STORE_STATE, reads[i].key,
                                                    reads[i].key_sz, alone, reads[i].buf_sz));
      assert_memory_equal(got[i], alone, sizeof alone);
    }
    bench_reopen(b);
  }
}

static void test_refusals(void **state) {
  bench_t *b = *state;
  static char big[QR_STORE_VALUE_MAX_SZ + 1];
  const qr_store_op_t bad[] = {
      put_op(QR_STORE_BLOCK, "", 0, "v", 1),
      put_op(QR_STORE_BLOCK, big, QR_STORE_KEY_MAX_SZ + 1, "v", 1),
      put_op(QR_STORE_BLOCK, NULL, 1, "v", 1),
      put_op(QR_STORE_BLOCK, "k", 1, big, sizeof big),
      put_op(QR_STORE_BLOCK, "k", 1, NULL, 1),
      put_op(QR_STORE_TABLE_CNT, "k", 1, "v", 1),
      erase_op(QR_STORE_BLOCK, "", 0),
  };
  for (size_t i = 0; i < QR_ARRAY_CNT(bad); i++) {
    /* a bad op anywhere refuses the whole batch */
    qr_store_op_t ops[2] = {put_op(QR_STORE_BLOCK, "k", 1, "v", 1), bad[i]};
    assert_int_equal(b->ops->commit(b->store, 9, ops, 2), QR_ERR_ARG);
    qr_store_done_t done;
    assert_int_equal(b->ops->poll(b->store, &done, 1), 0);
  }
  char buf[4];
  assert_int_equal(bench_get(b, QR_STORE_BLOCK, "k", buf, sizeof buf), QR_ERR_NOTFOUND);
  assert_int_equal(b->ops->get(b->store, QR_STORE_BLOCK, "", 0, buf, sizeof buf), QR_ERR_ARG);
  assert_int_equal(
      b->ops->get(b->store, QR_STORE_BLOCK, big, QR_STORE_KEY_MAX_SZ + 1, buf, sizeof buf),
      QR_ERR_ARG);
  assert_int_equal(b->ops->get(b->store, QR_STORE_TABLE_CNT, "k", 1, buf, sizeof buf), QR_ERR_ARG);
  assert_int_equal(bench_put(b, QR_STORE_BLOCK, "k", "v", 1), 0);
}

/* --- scan against a naive table --- */

typedef struct {
  uint8_t key[8];
  size_t key_sz;
  uint32_t value;
  bool live;
} oracle_row_t;
typedef struct {
  oracle_row_t rows[300];
  size_t cnt;
} oracle_t;

static int row_cmp(const void *a, const void *b) {
  const oracle_row_t *x = a, *y = b;
  int c = memcmp(x->key, y->key, x->key_sz < y->key_sz ? x->key_sz : y->key_sz);
  return c ? c : (int)x->key_sz - (int)y->key_sz;
}

static oracle_row_t *oracle_row(oracle_t *o, const oracle_row_t *key) {
  for (size_t i = 0; i < o->cnt; i++) {
    if (!row_cmp(&o->rows[i], key)) return &o->rows[i];
  }
  o->rows[o->cnt] = *key;
  return &o->rows[o->cnt++];
}

typedef struct {
  const oracle_t *o;
  size_t at, stop_after, seen_cnt;
} scan_ctx_t;

static bool check_row(void *ctx, const void *key, size_t key_sz, const void *value,
                      size_t value_sz) {
  scan_ctx_t *c = ctx;
  while (c->at < c->o->cnt && !c->o->rows[c->at].live) c->at++;
  assert_in_range(c->at, 0, c->o->cnt - 1);
  const oracle_row_t *want = &c->o->rows[c->at++];
  assert_int_equal(key_sz, want->key_sz);
  assert_memory_equal(key, want->key, key_sz);
  assert_int_equal(value_sz, 4);
  assert_int_equal(qr_ld32(value), want->value);
  return ++c->seen_cnt != c->stop_after;
}

static void check_scans(bench_t *b, oracle_t *o) {
  qsort(o->rows, o->cnt, sizeof o->rows[0], row_cmp);
  size_t live_cnt = 0;
  for (size_t i = 0; i < o->cnt; i++) live_cnt += o->rows[i].live;
  scan_ctx_t all = {.o = o};
  assert_int_equal(b->ops->scan(b->store, QR_STORE_INDEX, NULL, 0, check_row, &all), 0);
  assert_int_equal(all.seen_cnt, live_cnt);
  for (int i = 0; i < 20; i++) {
    oracle_row_t first = {.key_sz = 1 + draw(3)};
    for (size_t k = 0; k < first.key_sz; k++) first.key[k] = (uint8_t)(draw(6) * 51);
    scan_ctx_t c = {.o = o};
    while (c.at < o->cnt && row_cmp(&o->rows[c.at], &first) < 0) c.at++;
    size_t want_cnt = 0;
    for (size_t k = c.at; k < o->cnt; k++) want_cnt += o->rows[k].live;
    c.stop_after = 1 + draw((uint32_t)want_cnt + 2);
    if (want_cnt > c.stop_after) want_cnt = c.stop_after;
    assert_int_equal(b->ops->scan(b->store, QR_STORE_INDEX, first.key, first.key_sz, check_row, &c),
                     0);
    assert_int_equal(c.seen_cnt, want_cnt);
  }
}

/* Short keys of few letters: prefixes of each other, bytes above 127, often written and erased. */
static void test_scan_against_oracle(void **state) {
  bench_t *b = *state;
  oracle_t o = {.cnt = 0};
  for (int round = 0; round < 30; round++) {
    qr_store_op_t ops[16];
    oracle_row_t keys[16];
    for (uint32_t i = 0; i < 16; i++) {
      keys[i] =
          (oracle_row_t){.key_sz = 1 + draw(3), .value = draw(1u << 30), .live = draw(3) != 0};
      for (size_t k = 0; k < keys[i].key_sz; k++) keys[i].key[k] = (uint8_t)(draw(6) * 51);
      ops[i] = keys[i].live ? put_op(QR_STORE_INDEX, keys[i].key, keys[i].key_sz, &keys[i].value, 4)
                            : erase_op(QR_STORE_INDEX, keys[i].key, keys[i].key_sz);
      *oracle_row(&o, &keys[i]) = keys[i];
    }
    assert_int_equal(bench_commit(b, ops, 16), 0);
    if (round % 10 == 9) {
      check_scans(b, &o);
      bench_reopen(b);
      check_scans(b, &o);
    }
  }
}

static void test_back_pressure(void **state) {
  bench_t *b = *state;
  qr_store_op_t small = put_op(QR_STORE_META, "k", 1, "v", 1);
  int err = 0;
  uint32_t cnt = 0;
  while (cnt < 10 * QR_STORE_QUEUE_CNT && !(err = b->ops->commit(b->store, cnt, &small, 1))) cnt++;
  assert_int_equal(err, QR_ERR_FULL);
  assert_int_equal(cnt, QR_STORE_QUEUE_CNT);
  assert_int_equal(bench_wait(b).tag, 0);
  assert_int_equal(b->ops->commit(b->store, cnt, &small, 1), 0);
  assert_int_equal(b->ops->commit(b->store, cnt, &small, 1), QR_ERR_FULL);
  for (uint32_t i = 1; i <= cnt; i++) assert_int_equal(bench_wait(b).tag, i);

  /* by bytes: nine batches of eight values of 1 MiB are more than the limit */
  static uint8_t value[1 << 20];
  char keys[8][2];
  qr_store_op_t ops[8];
  for (int i = 0; i < 8; i++)
    ops[i] = put_op(QR_STORE_MODEL, memset(keys[i], 'a' + i, 2), 2, value, sizeof value);
  for (cnt = 0; cnt < 20 && !(err = b->ops->commit(b->store, cnt, ops, 8)); cnt++) {
  }
  assert_int_equal(err, QR_ERR_FULL);
  assert_int_equal(cnt, 7);
  for (uint32_t i = 0; i < cnt; i++) assert_int_equal(bench_wait(b).err, 0);
  /* a batch that alone is over the limit can be had when nothing else is held */
  qr_store_op_t huge[72];
  for (int i = 0; i < 72; i++) huge[i] = ops[i % 8];
  assert_int_equal(b->ops->commit(b->store, 1, &small, 1), 0);
  assert_int_equal(b->ops->commit(b->store, 2, huge, 72), QR_ERR_FULL);
  assert_int_equal(bench_wait(b).tag, 1);
  assert_int_equal(bench_commit(b, huge, 72), 0);
}

/* Close waits: whatever was submitted is there afterwards, though nobody polled. */
static void test_reopen(void **state) {
  bench_t *b = *state;
  for (uint64_t i = 0; i < 30; i++) {
    qr_store_op_t op = put_op(QR_STORE_BLOCK, &i, sizeof i, &i, sizeof i);
    assert_int_equal(b->ops->commit(b->store, i, &op, 1), 0);
  }
  for (int round = 0; round < 3; round++) {
    bench_reopen(b);
    for (uint64_t i = 0, got = 99; i < 30; i++) {
      assert_int_equal(b->ops->get(b->store, QR_STORE_BLOCK, &i, sizeof i, &got, sizeof got),
                       sizeof got);
      assert_int_equal(got, i);
    }
  }
}

static void test_second_handle_is_busy(void **state) {
  bench_t *b = *state, second = *b;
  char why[512];
  for (int i = 0; i < 2; i++) {
    assert_int_equal(bench_try_open(&second, b->options, why, sizeof why), QR_ERR_BUSY);
    assert_non_null(strstr(why, b->dir));
    assert_int_equal(bench_put(b, QR_STORE_META, "still", "works", 5), 0);
  }
  bench_reopen(b);
}

static void test_newer_schema_is_refused(void **state) {
  bench_t *b = *state;
  uint32_t newer = QR_STORE_SCHEMA_VERSION + 1, known = 0;
  char why[512];
  assert_int_equal(bench_get(b, QR_STORE_META, "schema", &known, sizeof known), sizeof known);
  assert_int_equal(known, QR_STORE_SCHEMA_VERSION);
  assert_int_equal(bench_put(b, QR_STORE_META, "schema", &newer, sizeof newer), 0);
  bench_close(b);
  for (int i = 0; i < 2; i++) {
    assert_int_equal(bench_try_open(b, b->options, why, sizeof why), QR_ERR_UNSUPPORTED);
    assert_non_null(strstr(why, "schema version"));
    assert_null(b->store);
  }
}

static void test_bad_options(void **state) {
  bench_t *b = *state;
  static const char *const bad[] = {
      "nonsense", "sync=2",      "cache_mb=", "cache_mb=0", "cache_mb=9x",
      "keep=yes", "sync=1;what", "io=",       "io=posix"};
  bench_close(b);
  for (size_t i = 0; i < QR_ARRAY_CNT(bad); i++) {
    char why[512];
    assert_int_equal(bench_try_open(b, bad[i], why, sizeof why), QR_ERR_ARG);
    assert_non_null(strstr(why, "option"));
  }
}

static void test_stats(void **state) {
  bench_t *b = *state;
  qr_store_stats_t st;
  b->ops->stats(b->store, &st);
  assert_int_equal(st.commit_cnt + st.read_cnt + st.bytes_written + st.corrupt_cnt, 0);
  assert_int_equal(bench_put(b, QR_STORE_META, "key", "value", 5), 0);
  assert_int_equal(bench_put(b, QR_STORE_META, "key", "value", 5), 0);
  assert_int_equal(bench_get(b, QR_STORE_META, "key", NULL, 0), 5);
  b->ops->stats(b->store, &st);
  assert_int_equal(st.commit_cnt, 2);
  assert_int_equal(st.bytes_written, 16);
  assert_int_equal(st.read_cnt, 1);
  assert_int_equal(st.corrupt_cnt, 0);
  assert_true(st.commit_ns_last <= st.commit_ns_sum);
}

/* --- readers beside the committer --- */

#define READER_CNT 2
#define READER_KEY_CNT 8u

typedef struct {
  bench_t *b;
  _Atomic uint64_t *polled;
  _Atomic bool *stop;
  uint64_t read_cnt;
  bool wrong;
} reader_t;

/* Each batch writes version v to all keys: a reader never sees a version older than the newest
   polled one, nor a mixture of two batches in one scan. */
static bool same_version(void *ctx, const void *key, size_t key_sz, const void *value,
                         size_t value_sz) {
  uint64_t *first = ctx;
  (void)key, (void)key_sz;
  if (value_sz != 8) return false;
  if (*first == UINT64_MAX) *first = qr_ld64(value);
  if (*first != qr_ld64(value)) *first = UINT64_MAX - 1;
  return true;
}

static void *reader_main(void *arg) {
  reader_t *r = arg;
  for (uint8_t k = 0; !*r->stop; k = (uint8_t)((k + 1) % READER_KEY_CNT)) {
    uint64_t at_least = *r->polled, got = 0, scanned = UINT64_MAX;
    int64_t n = r->b->ops->get(r->b->store, QR_STORE_STATE, &k, 1, &got, sizeof got);
    if (at_least && (n != 8 || got < at_least)) r->wrong = true;
    if (k == 0) {
      if (r->b->ops->scan(r->b->store, QR_STORE_STATE, NULL, 0, same_version, &scanned))
        r->wrong = true;
      if (scanned == UINT64_MAX - 1 || (at_least && scanned < at_least)) r->wrong = true;
    }
    r->read_cnt++;
  }
  return NULL;
}

static void test_reads_from_threads(void **state) {
  bench_t *b = *state;
  _Atomic uint64_t polled = 0;
  _Atomic bool stop = false;
  reader_t readers[READER_CNT];
  pthread_t threads[READER_CNT];
  for (int i = 0; i < READER_CNT; i++) {
    readers[i] = (reader_t){.b = b, .polled = &polled, .stop = &stop};
    assert_int_equal(pthread_create(&threads[i], NULL, reader_main, &readers[i]), 0);
  }
  for (uint64_t version = 1; version <= 150; version++) {
    uint8_t keys[READER_KEY_CNT];
    qr_store_op_t ops[READER_KEY_CNT];
    for (uint8_t k = 0; k < READER_KEY_CNT; k++) {
      keys[k] = k;
      ops[k] = put_op(QR_STORE_STATE, &keys[k], 1, &version, sizeof version);
    }
    assert_int_equal(bench_commit(b, ops, READER_KEY_CNT), 0);
    polled = version;
    sleep_us(100);
  }
  stop = true;
  for (int i = 0; i < READER_CNT; i++) {
    pthread_join(threads[i], NULL);
    assert_false(readers[i].wrong);
    assert_true(readers[i].read_cnt > 0);
  }
}

typedef struct {
  const char *name;
  CMUnitTestFunction run;
} body_t;

static const body_t bodies[] = {
    {"batch applies in order", test_batch_applies_in_order},
    {"commit copies", test_commit_copies},
    {"completions in order", test_completions_in_order},
    {"value sizes", test_value_sizes},
    {"get many", test_get_many},
    {"refusals", test_refusals},
    {"scan against oracle", test_scan_against_oracle},
    {"back pressure", test_back_pressure},
    {"reopen", test_reopen},
    {"second handle is busy", test_second_handle_is_busy},
    {"newer schema is refused", test_newer_schema_is_refused},
    {"bad options", test_bad_options},
    {"stats", test_stats},
    {"reads from threads", test_reads_from_threads},
};

static int run(const variant_t *v, const char *name) {
  struct CMUnitTest tests[QR_ARRAY_CNT(bodies)];
  for (size_t i = 0; i < QR_ARRAY_CNT(bodies); i++) {
    tests[i] =
        (struct CMUnitTest){bodies[i].name, bodies[i].run, setup, teardown, (void *)(uintptr_t)v};
  }
  return cmocka_run_group_tests_name(name, tests, NULL, NULL);
}

int main(void) {
  int failed = 0;
  for (size_t d = 0; qr_store_drivers[d]; d++) {
    variant_t v = {qr_store_drivers[d], NULL};
    failed += run(&v, v.ops->name);
  }
  variant_t stock = {qr_store_driver("rocksdb"), "io=stock"};
  if (stock.ops) failed += run(&stock, "rocksdb with io=stock");
  return failed;
}
