/* What the store tests share: a directory of their own, a driver with its options, and commits that
   are waited for. */
#ifndef QR_TEST_STORE_BENCH_H
#define QR_TEST_STORE_BENCH_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/err.h"
#include "port/drivers.h"

#define WAIT_MAX_MS 60000

typedef struct {
  const qr_store_ops_t *ops;
  const char *options;
  char root[64], dir[80]; /* dir does not exist before the first open */
  qr_store_t *store;
} bench_t;

/* keep=1 is what makes a directory of the memory store mean something. */
static inline const char *bench_options(const qr_store_ops_t *ops) {
  return strcmp(ops->name, "mem") ? "" : "keep=1";
}

static inline void bench_begin(bench_t *b, const qr_store_ops_t *ops) {
  *b = (bench_t){.ops = ops, .options = bench_options(ops)};
  snprintf(b->root, sizeof b->root, "/tmp/qr-store-XXXXXX");
  assert_non_null(mkdtemp(b->root));
  snprintf(b->dir, sizeof b->dir, "%s/db", b->root);
}

static inline int bench_try_open(bench_t *b, const char *options, char *why, size_t why_sz) {
  memset(why, 0, why_sz);
  b->store = NULL;
  return b->ops->open(b->dir, options, &b->store, why, why_sz);
}

static inline void bench_open(bench_t *b) {
  char why[512];
  int err = bench_try_open(b, b->options, why, sizeof why);
  if (err) fail_msg("open of %s: %s: %s", b->ops->name, qr_err_str(err), why);
}

static inline void bench_close(bench_t *b) {
  b->ops->close(b->store);
  b->store = NULL;
}

static inline void bench_reopen(bench_t *b) {
  bench_close(b);
  bench_open(b);
}

static inline void bench_remove(const bench_t *b) {
  char command[128];
  snprintf(command, sizeof command, "rm -rf '%s'", b->root);
  assert_int_equal(system(command), 0);
}

static inline void sleep_us(long us) {
  struct timespec ts = {us / 1000000, us % 1000000 * 1000};
  nanosleep(&ts, NULL);
}

/* Polls until one commit has ended. */
static inline qr_store_done_t bench_wait(bench_t *b) {
  qr_store_done_t done;
  for (long i = 0; i < WAIT_MAX_MS * 10; i++) {
    if (b->ops->poll(b->store, &done, 1) == 1) return done;
    sleep_us(100);
  }
  fail_msg("a commit did not end");
  abort();
}

static inline qr_store_op_t put_op(enum qr_store_table t, const void *key, size_t key_sz,
                                   const void *value, size_t value_sz) {
  return (qr_store_op_t){
      .table = t, .key = key, .key_sz = key_sz, .value = value, .value_sz = value_sz};
}

static inline qr_store_op_t erase_op(enum qr_store_table t, const void *key, size_t key_sz) {
  return (qr_store_op_t){.table = t, .erase = true, .key = key, .key_sz = key_sz};
}

/* Commits and waits; nothing else may be in flight. Returns how it ended. */
static inline int bench_commit(bench_t *b, const qr_store_op_t *ops, uint32_t op_cnt) {
  static uint64_t tag = 1u << 20;
  int err = b->ops->commit(b->store, ++tag, ops, op_cnt);
  if (err) return err;
  qr_store_done_t done = bench_wait(b);
  assert_int_equal(done.tag, tag);
  return done.err;
}

static inline int bench_put(bench_t *b, enum qr_store_table t, const char *key, const void *value,
                            size_t value_sz) {
  qr_store_op_t op = put_op(t, key, strlen(key), value, value_sz);
  return bench_commit(b, &op, 1);
}

static inline int64_t bench_get(bench_t *b, enum qr_store_table t, const char *key, void *buf,
                                size_t buf_sz) {
  return b->ops->get(b->store, t, key, strlen(key), buf, buf_sz);
}

#endif
