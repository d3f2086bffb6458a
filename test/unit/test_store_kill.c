/* A process that is killed while it commits: whatever it was told is durable is there afterwards,
   and no batch is torn. What the kernel has been given survives a kill, so this tests order and
   atomicity, not syncing. The children are this program again with arguments: RocksDB's threads do
   not survive a fork without exec. */
#include "unit/store_bench.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

#include "base/philox.h"

#define KILL_CNT 12 /* on each kind of files */
#define PART_CNT 5  /* records of a batch */

static const char *self_path = "/proc/self/exe";

static uint32_t draw(uint32_t n) {
  static uint32_t at;
  static const qr_hash_t seed = {{11}};
  qr_philox_t p = qr_philox_init(&seed, 1);
  return qr_philox_bound(qr_philox_word(&p, at++), n);
}

/* Batch n writes PART_CNT records that all say n, of sizes from a byte to beyond a log block, and
   the tip. */
static size_t part_size(uint64_t n, uint32_t part) {
  return 8 + (n * 2654435761u + part * 40503u) % (part == 4 ? 90000 : 900);
}

static int commit_numbered(bench_t *b, uint64_t n) {
  static uint8_t value[PART_CNT][100000];
  uint8_t keys[PART_CNT][16];
  qr_store_op_t ops[PART_CNT + 1];
  for (uint32_t i = 0; i < PART_CNT; i++) {
    qr_st64(keys[i], __builtin_bswap64(n));
    qr_st64(keys[i] + 8, i);
    memset(value[i], (int)(n + i), part_size(n, i));
    qr_st64(value[i], n);
    ops[i] = put_op((enum qr_store_table)i, keys[i], 16, value[i], part_size(n, i));
  }
  ops[PART_CNT] = put_op(QR_STORE_META, "tip", 3, value[0], 8);
  return b->ops->commit(b->store, n, ops, PART_CNT + 1);
}

/* Child: commits numbered batches from where the store stands and writes each acknowledged number
   to standard output. */
static int child_commit(bench_t *b) {
  char why[512];
  if (bench_try_open(b, b->options, why, sizeof why)) {
    fprintf(stderr, "%s\n", why);
    return 1;
  }
  uint64_t tip = 0;
  int64_t got = bench_get(b, QR_STORE_META, "tip", &tip, sizeof tip);
  if (got != QR_ERR_NOTFOUND && got != sizeof tip) return 2;
  for (uint64_t next = tip + 1;;) {
    while (commit_numbered(b, next) == 0) next++;
    qr_store_done_t done[16];
    int n = b->ops->poll(b->store, done, 16);
    for (int i = 0; i < n; i++) {
      if (done[i].err) return 3;
      if (write(STDOUT_FILENO, &done[i].tag, 8) != 8) return 4;
    }
    if (!n) sleep_us(200);
  }
}

static int child_busy(bench_t *b) {
  char why[512];
  int err = bench_try_open(b, b->options, why, sizeof why);
  return err != QR_ERR_BUSY ? 1 : !strstr(why, "another process") ? 2 : 0;
}

static pid_t spawn(const bench_t *b, const char *role, const char *dir, int *out_fd) {
  int fds[2];
  assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
  pid_t pid = fork();
  assert_true(pid >= 0);
  if (!pid) {
    dup2(fds[1], STDOUT_FILENO);
    execl(self_path, self_path, role, dir, b->options, (char *)NULL);
    _exit(127);
  }
  close(fds[1]);
  *out_fd = fds[0];
  return pid;
}

/* Every batch 1 .. tip is whole, nothing of a later one is there. */
static uint64_t verify_batches(bench_t *b) {
  static uint8_t buf[100000];
  uint64_t tip = 0;
  int64_t got = bench_get(b, QR_STORE_META, "tip", &tip, sizeof tip);
  if (got == QR_ERR_NOTFOUND) tip = 0;
  for (uint64_t n = 1; n <= tip + 3; n++) {
    for (uint32_t i = 0; i < PART_CNT; i++) {
      uint8_t key[16];
      qr_st64(key, __builtin_bswap64(n));
      qr_st64(key + 8, i);
      int64_t sz = b->ops->get(b->store, (enum qr_store_table)i, key, 16, buf, sizeof buf);
      if (n > tip) {
        assert_int_equal(sz, QR_ERR_NOTFOUND);
        continue;
      }
      assert_int_equal(sz, part_size(n, i));
      assert_int_equal(qr_ld64(buf), n);
      for (int64_t k = 8; k < sz; k++) assert_int_equal(buf[k], (uint8_t)(n + i));
    }
  }
  return tip;
}

/* other: the kind of files that a killed store is looked at with. */
static void kill_loop(const char *options, const char *other) {
  const qr_store_ops_t *ops = qr_store_driver("rocksdb");
  if (!ops) skip();
  bench_t b;
  bench_begin(&b, ops);
  uint64_t acked = 0, acked_cnt = 0;
  for (int i = 0; i < KILL_CNT; i++) {
    int fd;
    b.options = options;
    pid_t pid = spawn(&b, "commit", b.dir, &fd);
    uint64_t number, burst = draw(12);
    /* some are killed while they open, some after a number of acknowledgements and a little more */
    for (uint64_t k = 0; k < burst && read(fd, &number, 8) == 8; k++) {
      assert_int_equal(number, acked + 1);
      acked = number;
    }
    sleep_us(draw(20000));
    assert_int_equal(kill(pid, SIGKILL), 0);
    while (read(fd, &number, 8) == 8) {
      assert_int_equal(number, acked + 1);
      acked = number;
    }
    close(fd);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    b.options = i % 4 == 3 ? other : options;
    bench_open(&b);
    uint64_t tip = verify_batches(&b);
    assert_true(tip >= acked);
    acked_cnt += burst;
    acked = tip; /* a batch may have become durable without having been reported */
    bench_close(&b);
  }
  assert_true(acked >= acked_cnt && acked_cnt > 20);
  bench_remove(&b);
}

static void test_kill_loop_on_the_ring(void **state) {
  (void)state;
  kill_loop("io=uring", "io=stock");
}

static void test_kill_loop_on_stock_files(void **state) {
  (void)state;
  kill_loop("io=stock", "io=uring");
}

/* Whatever files the two use, and under another name for the directory too. */
static void test_second_process_is_busy(void **state) {
  const qr_store_ops_t *ops = qr_store_driver("rocksdb");
  static const char *const options[] = {"io=uring", "io=stock"};
  (void)state;
  if (!ops) skip();
  for (int i = 0; i < 4; i++) {
    bench_t b;
    char link[96];
    int fd, status;
    bench_begin(&b, ops);
    b.options = options[i % 2];
    bench_open(&b);
    snprintf(link, sizeof link, "%s/link", b.root);
    assert_int_equal(symlink(b.dir, link), 0);
    b.options = options[i / 2];
    pid_t pid = spawn(&b, "busy", i % 2 ? link : b.dir, &fd);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    close(fd);
    assert_int_equal(status, 0);
    assert_int_equal(bench_put(&b, QR_STORE_META, "still", "works", 5), 0);
    bench_close(&b);
    bench_remove(&b);
  }
}

int main(int argc, char **argv) {
  if (argc == 4) {
    bench_t b = {.ops = qr_store_driver("rocksdb"), .options = argv[3]};
    snprintf(b.dir, sizeof b.dir, "%s", argv[2]);
    return !strcmp(argv[1], "commit") ? child_commit(&b) : child_busy(&b);
  }
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_kill_loop_on_the_ring),
      cmocka_unit_test(test_kill_loop_on_stock_files),
      cmocka_unit_test(test_second_process_is_busy),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
