/* Stores that are looked at or copied: for reading only nothing in the directory changes and nobody
   can write meanwhile; damage is named and read past; a copy of a store in use is what was durable.
 */
#include "unit/store_bench.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/log.h"
#include "crypto/hash.h"
#include "port/store_copy.h"

#define RECORD_CNT 400u
#define VALUE_SZ 3000u

static void fill_value(uint32_t i, uint8_t value[VALUE_SZ]) {
  for (uint32_t k = 0; k < VALUE_SZ; k++) value[k] = (uint8_t)(i * 31 + k * 7 + (k >> 8));
}

static void put_record(bench_t *b, uint32_t i) {
  uint8_t value[VALUE_SZ];
  fill_value(i, value);
  qr_store_op_t op = put_op(QR_STORE_BLOCK, &i, sizeof i, value, sizeof value);
  assert_int_equal(bench_commit(b, &op, 1), 0);
}

static int setup(void **state) {
  const qr_store_ops_t *ops = qr_store_driver("rocksdb");
  *state = NULL;
  if (!ops) return 0;
  bench_t *b = malloc(sizeof *b);
  bench_begin(b, ops);
  bench_open(b);
  for (uint32_t i = 0; i < RECORD_CNT; i++) put_record(b, i);
  *state = b;
  return 0;
}

static int teardown(void **state) {
  bench_t *b = *state;
  if (!b) return 0;
  if (b->store) bench_close(b);
  bench_remove(b);
  free(b);
  return 0;
}

#define NEED(b)                                                                                    \
  if (!(b)) skip()

/* Names, sizes and bytes of everything in a directory. */
static qr_hash_t digest_of(const char *dir) {
  char command[256], text[65];
  qr_hash_t out;
  snprintf(command, sizeof command, "cd '%s' && for f in *; do echo $f; cat $f; done | sha256sum",
           dir);
  FILE *f = popen(command, "re");
  assert_non_null(f);
  assert_int_equal(fread(text, 1, 64, f), 64);
  pclose(f);
  out = qr_hash("test", text, 64);
  return out;
}

typedef struct {
  uint32_t seen_cnt, bad_cnt;
  bool right[RECORD_CNT];
  char what[8][600], key[8][16];
} tally_t;

static bool see(void *ctx, const void *key, size_t key_sz, const void *value, size_t value_sz) {
  tally_t *t = ctx;
  uint8_t want[VALUE_SZ];
  t->seen_cnt++;
  uint32_t i = key_sz == sizeof i ? qr_ld32(key) : RECORD_CNT;
  if (i >= RECORD_CNT || value_sz != VALUE_SZ) return true;
  fill_value(i, want);
  t->right[i] = !memcmp(want, value, VALUE_SZ);
  return true;
}

static void hear(void *ctx, const void *key, size_t key_sz, const char *what) {
  tally_t *t = ctx;
  if (t->bad_cnt < 8) {
    snprintf(t->what[t->bad_cnt], sizeof t->what[0], "%s", what);
    if (key && key_sz == 4) snprintf(t->key[t->bad_cnt], sizeof t->key[0], "%u", qr_ld32(key));
  }
  t->bad_cnt++;
}

static tally_t audit_of(const bench_t *b, const char *dir) {
  const qr_store_ops_t *ops = b->ops->readonly;
  qr_store_t *s;
  char why[512] = "";
  static tally_t t;
  memset(&t, 0, sizeof t);
  if (ops->open(dir, "", &s, why, sizeof why)) fail_msg("%s", why);
  assert_int_equal(ops->audit(s, QR_STORE_BLOCK, see, hear, &t), 0);
  ops->close(s);
  return t;
}

static uint32_t right_cnt(const tally_t *t) {
  uint32_t cnt = 0;
  for (uint32_t i = 0; i < RECORD_CNT; i++) cnt += t->right[i];
  return cnt;
}

static void test_reading_changes_nothing(void **state) {
  bench_t *b = *state;
  NEED(b);
  bench_close(b);
  qr_hash_t before = digest_of(b->dir);
  tally_t t = audit_of(b, b->dir);
  assert_int_equal(right_cnt(&t), RECORD_CNT);
  assert_int_equal(t.bad_cnt, 0);
  const qr_store_ops_t *ops = b->ops->readonly;
  qr_store_t *s;
  char why[512];
  uint32_t key = 7, version;
  uint8_t value[VALUE_SZ], want[VALUE_SZ];
  assert_int_equal(ops->open(b->dir, "", &s, why, sizeof why), 0);
  fill_value(key, want);
  assert_int_equal(ops->get(s, QR_STORE_BLOCK, &key, sizeof key, value, sizeof value), VALUE_SZ);
  assert_memory_equal(value, want, VALUE_SZ);
  assert_int_equal(ops->get(s, QR_STORE_META, "schema", 6, &version, 4), 4);
  qr_store_op_t op = erase_op(QR_STORE_BLOCK, &key, sizeof key);
  assert_int_equal(ops->commit(s, 1, &op, 1), QR_ERR_UNSUPPORTED);
  ops->close(s);
  qr_hash_t after = digest_of(b->dir);
  assert_memory_equal(&before, &after, sizeof before);
}

/* In a process of its own, for locks of files are a process's: this program once more (main). 0: it
   opened, 1: it was in use. */
static int in_child(const bench_t *b, bool readonly) {
  int rc = -1;
  pid_t pid = fork();
  if (!pid) {
    execl("/proc/self/exe", "test_store_copy", readonly ? "read" : "write", b->dir, (char *)NULL);
    _exit(9);
  }
  assert_true(pid > 0 && waitpid(pid, &rc, 0) == pid && WIFEXITED(rc));
  return WEXITSTATUS(rc);
}

static int child(const char *how, const char *dir) {
  const qr_store_ops_t *ops = qr_store_driver("rocksdb");
  qr_store_t *s;
  char why[512] = "";
  if (!strcmp(how, "read")) ops = ops->readonly;
  int err = ops->open(dir, "", &s, why, sizeof why);
  if (!err) ops->close(s);
  return err == QR_ERR_BUSY && strstr(why, "in use") ? 1 : err ? 2 : 0;
}

static void test_one_writes_or_others_read(void **state) {
  bench_t *b = *state;
  NEED(b);
  assert_int_equal(in_child(b, true), 1);
  bench_close(b);
  assert_int_equal(in_child(b, true), 0);
  qr_store_t *s;
  char why[512];
  assert_int_equal(b->ops->readonly->open(b->dir, "", &s, why, sizeof why), 0);
  assert_int_equal(in_child(b, false), 1);
  assert_int_equal(in_child(b, true), 1);
  b->ops->readonly->close(s);
  assert_int_equal(in_child(b, false), 0);
}

static void test_what_is_not_there(void **state) {
  bench_t *b = *state;
  NEED(b);
  qr_store_t *s;
  char why[512], dir[128];
  struct stat st;
  snprintf(dir, sizeof dir, "%s/none", b->root);
  assert_int_equal(b->ops->readonly->open(dir, "", &s, why, sizeof why), QR_ERR_NOTFOUND);
  assert_non_null(strstr(why, "there is no store"));
  assert_int_not_equal(stat(dir, &st), 0); /* and none is made */
}

static void flip(const char *path, off_t at) {
  uint8_t byte = 0;
  int fd = open(path, O_RDWR | O_CLOEXEC);
  assert_true(fd >= 0 && pread(fd, &byte, 1, at) == 1);
  byte ^= 0x10;
  assert_int_equal(pwrite(fd, &byte, 1, at), 1);
  close(fd);
}

static bool find_table(const char *dir, char *path, size_t path_sz, off_t *sz) {
  DIR *d = opendir(dir);
  struct stat st;
  *sz = 0;
  assert_non_null(d);
  for (struct dirent *e; (e = readdir(d));) {
    size_t n = strlen(e->d_name);
    if (n < 4 || strcmp(e->d_name + n - 4, ".sst") != 0) continue;
    if (fstatat(dirfd(d), e->d_name, &st, 0) || st.st_size <= *sz) continue;
    *sz = st.st_size;
    snprintf(path, path_sz, "%s/%s", dir, e->d_name);
  }
  closedir(d);
  return *sz > 0;
}

/* A bit of a table file: the file is named, so is each record in it that is hit, and all others are
   read. */
static void test_damage_is_named_and_passed(void **state) {
  bench_t *b = *state;
  NEED(b);
  char copy[128], path[512], why[512];
  off_t sz;
  snprintf(copy, sizeof copy, "%s/copy", b->root);
  assert_int_equal(b->ops->checkpoint(b->store, copy, why, sizeof why), 0);
  assert_true(find_table(copy, path, sizeof path, &sz));
  flip(path, sz / 2);
  tally_t t = audit_of(b, copy);
  assert_true(t.bad_cnt >= 2);
  assert_non_null(strstr(t.what[0], strrchr(path, '/')));
  assert_non_null(strstr(t.what[1], "contradicts its own hash"));
  uint32_t hit = (uint32_t)strtoul(t.key[1], NULL, 10);
  assert_true(hit < RECORD_CNT && !t.right[hit]);
  assert_int_equal(right_cnt(&t), RECORD_CNT - (t.bad_cnt - 1));
  /* the store itself shares no byte that was changed, or a copy would be none: hard links apart,
     which RocksDB never writes to */
  flip(path, sz / 2);
  t = audit_of(b, copy);
  assert_int_equal(t.bad_cnt, 0);
}

static void test_a_copy_of_a_store_in_use(void **state) {
  bench_t *b = *state;
  NEED(b);
  char copy[128], why[512];
  static qr_store_copy_t c;
  memset(&c, 0, sizeof c);
  snprintf(copy, sizeof copy, "%s/copy", b->root);
  assert_int_equal(qr_store_copy_start(&c, b->ops, b->store, copy), 0);
  assert_int_equal(qr_store_copy_start(&c, b->ops, b->store, copy), QR_ERR_BUSY);
  uint32_t more = RECORD_CNT;
  while (!qr_store_copy_poll(&c)) { /* commits go on */
    if (more < 2 * RECORD_CNT)
      put_record(b, more++);
    else
      sleep_us(1000);
  }
  assert_int_equal(c.err, 0);
  tally_t t = audit_of(b, copy);
  assert_int_equal(right_cnt(&t), RECORD_CNT);
  assert_true(t.seen_cnt <= more);
  /* it is a store like any other */
  qr_store_t *s;
  assert_int_equal(b->ops->open(copy, b->options, &s, why, sizeof why), 0);
  b->ops->close(s);
  /* never over something */
  assert_int_equal(b->ops->checkpoint(b->store, copy, why, sizeof why), QR_ERR_ARG);
  assert_non_null(strstr(why, "exists"));
  assert_int_equal(b->ops->checkpoint(b->store, "/proc/none/copy", why, sizeof why), QR_ERR_IO);
  qr_store_copy_fini(&c);
}

static void test_drivers_without(void **state) {
  (void)state;
  static qr_store_copy_t c;
  const qr_store_ops_t *ops = qr_store_driver("mem");
  assert_int_equal(qr_store_copy_start(&c, ops, NULL, "/tmp/x"), QR_ERR_UNSUPPORTED);
  assert_false(qr_store_copy_poll(&c));
  qr_store_copy_fini(&c);
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_reading_changes_nothing, setup, teardown),
      cmocka_unit_test_setup_teardown(test_one_writes_or_others_read, setup, teardown),
      cmocka_unit_test_setup_teardown(test_what_is_not_there, setup, teardown),
      cmocka_unit_test_setup_teardown(test_damage_is_named_and_passed, setup, teardown),
      cmocka_unit_test_setup_teardown(test_a_copy_of_a_store_in_use, setup, teardown),
      cmocka_unit_test(test_drivers_without),
  };
  qr_log_init(QR_LOG_ERROR, -1);
  if (argc == 3) return child(argv[1], argv[2]);
  return cmocka_run_group_tests(tests, NULL, NULL);
}
