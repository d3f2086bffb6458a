/* Stores that meet trouble: bytes changed on the disk, directories that cannot be used, commits
   that fail. */
#include "unit/store_numbered.h"

#include <dirent.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "drivers/store/mem/mem.h"

static int setup_mem(void **state) {
  bench_t *b = malloc(sizeof *b);
  bench_begin(b, qr_store_driver("mem"));
  bench_open(b);
  *state = b;
  return 0;
}

/* *state: options. Leaves NULL where this build has no RocksDB; each test then skips. */
static int setup_rocksdb(void **state) {
  const qr_store_ops_t *ops = qr_store_driver("rocksdb");
  const char *options = *state;
  *state = NULL;
  if (!ops) return 0;
  bench_t *b = malloc(sizeof *b);
  bench_begin(b, ops);
  b->options = options;
  bench_open(b);
  *state = b;
  return 0;
}

static int teardown(void **state) {
  bench_t *b = *state;
  if (!b) return 0;
  if (b->store) bench_close(b);
  if (!strcmp(b->ops->name, "mem")) qr_store_mem_forget(b->dir);
  bench_remove(b);
  free(b);
  return 0;
}

#define NEED(b)                                                                                    \
  if (!(b)) skip()

/* --- files of a closed store --- */

typedef struct {
  char path[512];
  uint8_t *bytes;
  size_t sz, at; /* at: where the pattern was found */
} file_t;

/* The first file with that ending which holds the pattern. False if there is none. */
static bool find_file(const bench_t *b, const char *ending, const char *pattern, file_t *out) {
  DIR *d = opendir(b->dir);
  assert_non_null(d);
  bool found = false;
  for (struct dirent *e; !found && (e = readdir(d));) {
    size_t n = strlen(e->d_name), m = strlen(ending);
    if (n < m || strcmp(e->d_name + n - m, ending)) continue;
    snprintf(out->path, sizeof out->path, "%s/%s", b->dir, e->d_name);
    FILE *f = fopen(out->path, "rb");
    assert_non_null(f);
    fseek(f, 0, SEEK_END);
    out->sz = (size_t)ftell(f);
    rewind(f);
    out->bytes = malloc(out->sz + 1);
    assert_int_equal(fread(out->bytes, 1, out->sz, f), out->sz);
    fclose(f);
    const uint8_t *hit = memmem(out->bytes, out->sz, pattern, strlen(pattern));
    found = hit != NULL;
    if (found) out->at = (size_t)(hit - out->bytes);
    if (!found) free(out->bytes);
  }
  closedir(d);
  return found;
}

static void write_file(file_t *f) {
  FILE *out = fopen(f->path, "wb");
  assert_non_null(out);
  assert_int_equal(fwrite(f->bytes, 1, f->sz, out), f->sz);
  assert_int_equal(fclose(out), 0);
  free(f->bytes);
}

/* CRC-32C as RocksDB masks it in its log. */
static uint32_t log_crc(const uint8_t *p, size_t sz) {
  uint32_t crc = ~0u;
  for (size_t i = 0; i < sz; i++) {
    crc ^= p[i];
    for (int k = 0; k < 8; k++) crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
  }
  crc = ~crc;
  return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

/* Records of the first log block: crc u32 | length u16 | type u8 | payload; the crc is over type
   and payload. Gives the record that at lies in a right crc again, as if the byte had changed in
   memory before it was written. */
static void mend_log_crc(file_t *f, size_t at) {
  for (size_t head = 0; head + 7 < f->sz;) {
    size_t end = head + 7 + qr_ld16(f->bytes + head + 4);
    assert_true(end <= f->sz && end <= 32768);
    if (at < end) {
      qr_st32(f->bytes + head, log_crc(f->bytes + head + 6, end - head - 6));
      return;
    }
    head = end;
  }
  fail_msg("no log record there");
}

static uint64_t corrupt_cnt(const bench_t *b) {
  qr_store_stats_t st;
  b->ops->stats(b->store, &st);
  return st.corrupt_cnt;
}

static bool count_record(void *ctx, const void *key, size_t key_sz, const void *value,
                         size_t value_sz) {
  (void)key, (void)key_sz, (void)value, (void)value_sz;
  ++*(int *)ctx;
  return true;
}

static void check_one_is_corrupt(bench_t *b, enum qr_store_table t, const char *bad,
                                 const char *good) {
  static uint8_t buf[1 << 20];
  int seen_cnt = 0;
  uint64_t before = corrupt_cnt(b);
  assert_int_equal(bench_get(b, t, bad, buf, sizeof buf), QR_ERR_CORRUPT);
  assert_int_equal(corrupt_cnt(b), before + 1);
  assert_true(bench_get(b, t, good, buf, sizeof buf) >= 0);
  assert_int_equal(b->ops->scan(b->store, t, NULL, 0, count_record, &seen_cnt), QR_ERR_CORRUPT);
  assert_int_equal(seen_cnt, 1); /* the good one, which sorts before */
  assert_int_equal(corrupt_cnt(b), before + 2);
  assert_int_equal(bench_put(b, t, bad, "again", 5), 0);
  assert_int_equal(bench_get(b, t, bad, buf, sizeof buf), 5);
}

/* A change that RocksDB's own checksums do not see: the record's hash does. */
static void change_under_right_crc(void **state, const char *pattern, size_t skip_sz) {
  bench_t *b = *state;
  NEED(b);
  file_t f;
  assert_int_equal(bench_put(b, QR_STORE_STATE, "a-good-one", "something", 9), 0);
  assert_int_equal(bench_put(b, QR_STORE_STATE, "b-bad-one", "a-value-to-be-damaged", 21), 0);
  bench_close(b);
  assert_true(find_file(b, ".log", pattern, &f));
  f.bytes[f.at + skip_sz] ^= 1;
  mend_log_crc(&f, f.at);
  write_file(&f);
  bench_open(b);
}

static void test_changed_value(void **state) {
  change_under_right_crc(state, "a-value-to-be-damaged", 5);
  check_one_is_corrupt(*state, QR_STORE_STATE, "b-bad-one", "a-good-one");
}

static void test_changed_key(void **state) {
  change_under_right_crc(state, "b-bad-one", 8); /* now b-bad-ond: whole, but another's record */
  check_one_is_corrupt(*state, QR_STORE_STATE, "b-bad-ond", "a-good-one");
}

static void test_changed_hash(void **state) {
  change_under_right_crc(state, "b-bad-one",
                         9 + 1 + 31); /* past the key and the length of the record */
  check_one_is_corrupt(*state, QR_STORE_STATE, "b-bad-one", "a-good-one");
}

typedef struct {
  int seen_cnt;
  bool told;
} heard_t;

static bool hear_record(void *ctx, const void *key, size_t key_sz, const void *value,
                        size_t value_sz) {
  heard_t *h = ctx;
  return count_record(&h->seen_cnt, key, key_sz, value, value_sz);
}

static void hear_bad(void *ctx, const void *key, size_t key_sz, const char *what) {
  (void)key, (void)key_sz;
  ((heard_t *)ctx)->told |= strstr(what, "damaged at byte") != NULL;
}

/* A checker hears of a log that is damaged, and reads on what was written before the damage. */
static bool audit_tells(const bench_t *b) {
  const qr_store_ops_t *ops = b->ops->readonly;
  heard_t heard = {0};
  qr_store_t *s;
  char why[512];
  assert_int_equal(ops->open(b->dir, "", &s, why, sizeof why), 0);
  for (uint32_t t = 0; t < QR_STORE_TABLE_CNT; t++)
    assert_int_equal(ops->audit(s, t, hear_record, hear_bad, &heard), 0);
  ops->close(s);
  assert_true(heard.seen_cnt > 0);
  return heard.told;
}

/* A bit of the log turns over. If commits begin behind it the store says so, and goes back to
   before it only when it is told to; if it was the last commit, that one is lost, for it looks like
   one that was under way. */
static void test_rot_in_the_log(void **state) {
  bench_t *b = *state;
  NEED(b);
  uint32_t refused_cnt = 0, last_cnt = 0;
  char options[64], cut_options[96];
  snprintf(options, sizeof options, "sync=0;%s", b->options); /* no power is cut here */
  snprintf(cut_options, sizeof cut_options, "damaged_log=cut;%s", options);
  b->options = options;
  bench_reopen(b);
  for (uint64_t round = 0; round < 16; round++) {
    char why[512], text[NUMBERED_WHY_SZ];
    uint64_t tip, end = 0, last_at = 0;
    file_t f;
    for (uint64_t n = 1; n <= 12; n++) {
      assert_int_equal(numbered_commit(b, n), 0);
      assert_int_equal(bench_wait(b).err, 0);
    }
    bench_close(b);
    assert_true(find_file(b, ".log", "root", &f));
    for (uint64_t at = 0; at + 7 < f.sz && qr_ld16(f.bytes + at + 4);) { /* the last commit */
      uint8_t type = f.bytes[at + 6];
      end = at + 7 + qr_ld16(f.bytes + at + 4);
      if (type == 1 || type == 2) last_at = at;
      at = end + 7 > (end | 32767) + 1 ? (end | 32767) + 1 : end; /* no head fits into the rest */
    }
    uint64_t at = (round + 1) * 2654435761u % end;
    if (round % 8 == 0) at = last_at + at % (end - last_at);
    f.bytes[at] ^= (uint8_t)(1u << round % 8);
    write_file(&f);
    int err = bench_try_open(b, b->options, why, sizeof why);
    if (at < last_at) {
      refused_cnt++;
      assert_true(audit_tells(b));
      assert_int_equal(err, QR_ERR_CORRUPT);
      assert_non_null(strstr(why, "damaged at byte"));
      assert_int_equal(bench_try_open(b, cut_options, why, sizeof why), 0);
      if (!numbered_check(b, 0, 11, &tip, text)) fail_msg("%s", text);
    } else {
      last_cnt++;
      assert_int_equal(err, 0);
      if (!numbered_check(b, 11, 11, &tip, text)) fail_msg("%s", text);
    }
    bench_close(b);
    bench_remove(b);
    bench_begin(b, b->ops);
    b->options = options;
    bench_open(b);
  }
  assert_true(refused_cnt > 8 && last_cnt >= 2);
}

static int by_name(const void *a, const void *b) {
  return strcmp(((const file_t *)a)->path, ((const file_t *)b)->path);
}

/* The last commit of a log that another one follows. */
static void test_rot_at_the_end_of_an_older_log(void **state) {
  bench_t *b = *state;
  NEED(b);
  char options[64], cut_options[96], why[512], text[NUMBERED_WHY_SZ];
  file_t logs[8];
  uint32_t log_cnt = 0;
  uint64_t tip, n = 0;
  snprintf(options, sizeof options, "sync=0;%s", b->options); /* no power is cut here */
  snprintf(cut_options, sizeof cut_options, "damaged_log=cut;%s", options);
  b->options = options;
  bench_reopen(b);
  while (n < 70) { /* of which 16 fill the state table's memory more than once */
    assert_int_equal(numbered_commit(b, ++n), 0);
    assert_int_equal(bench_wait(b).err, 0);
  }
  bench_close(b);
  DIR *d = opendir(b->dir);
  assert_non_null(d);
  for (struct dirent *e; log_cnt < 8 && (e = readdir(d));) {
    if (strcmp(e->d_name + strspn(e->d_name, "0123456789"), ".log")) continue;
    if (find_file(b, e->d_name, "root", &logs[log_cnt])) log_cnt++;
  }
  closedir(d);
  assert_in_range(log_cnt, 2, 8);
  qsort(logs, log_cnt, sizeof logs[0], by_name);
  file_t *old = &logs[log_cnt - 2];
  old->bytes[old->sz - 20] ^= 4;
  for (uint32_t i = 0; i < log_cnt; i++) write_file(&logs[i]);
  assert_int_equal(bench_try_open(b, options, why, sizeof why), QR_ERR_CORRUPT);
  assert_non_null(strstr(why, "damaged at byte"));
  assert_true(audit_tells(b));
  assert_int_equal(bench_try_open(b, cut_options, why, sizeof why), 0);
  if (!numbered_check(b, 1, n - 1, &tip, text)) fail_msg("%s", text);
  bench_close(b);
  assert_false(audit_tells(b));
}

/* A flipped bit in a table file. */
static void test_changed_table_file(void **state) {
  bench_t *b = *state;
  NEED(b);
  static uint8_t value[300000];
  file_t f;
  memset(value, 'v', sizeof value);
  assert_int_equal(bench_put(b, QR_STORE_MODEL, "a-good-one", value, sizeof value), 0);
  memcpy(value + 200000, "a-mark-to-be-found", 18);
  assert_int_equal(bench_put(b, QR_STORE_MODEL, "b-bad-one", value, sizeof value), 0);
  bench_reopen(b); /* recovery moves what was in the log to table files */
  bench_close(b);
  assert_true(find_file(b, ".sst", "a-mark-to-be-found", &f));
  f.bytes[f.at + 3] ^= 0x10;
  write_file(&f);
  bench_open(b);
  check_one_is_corrupt(b, QR_STORE_MODEL, "b-bad-one", "a-good-one");
}

/* The end of the log is missing, as after a power cut: the last batch is gone as a whole, the
   others are whole. */
static void test_torn_tail(void **state) {
  bench_t *b = *state;
  NEED(b);
  for (uint32_t cut = 1; cut < 130; cut += 16) {
    char last[] = "last-value-XXX";
    snprintf(last, sizeof last, "last-value-%03u", cut);
    for (uint32_t i = 0; i < 4; i++) {
      const void *value = i == 3 ? last : "another";
      size_t sz = i == 3 ? sizeof last - 1 : 7;
      uint8_t tip = (uint8_t)i;
      qr_store_op_t ops[] = {put_op(QR_STORE_BLOCK, &i, 4, value, sz),
                             put_op(QR_STORE_EXEC, &i, 4, value, sz),
                             put_op(QR_STORE_META, "tip", 3, &tip, 1)};
      assert_int_equal(bench_commit(b, ops, 3), 0);
    }
    bench_close(b);
    file_t f;
    assert_true(find_file(b, ".log", last, &f));
    f.sz -= cut; /* the batch is about 190 bytes */
    write_file(&f);
    bench_open(b);
    uint8_t tip = 0xff;
    uint32_t i = 3;
    assert_int_equal(bench_get(b, QR_STORE_META, "tip", &tip, 1), 1);
    assert_int_equal(tip, 2);
    for (int t = 0; t < 2; t++) {
      enum qr_store_table table = t ? QR_STORE_EXEC : QR_STORE_BLOCK;
      char buf[16];
      int64_t n = b->ops->get(b->store, table, &i, 4, buf, sizeof buf);
      /* of an earlier round, if any; never this one's */
      assert_true(n == QR_ERR_NOTFOUND || (n == 14 && memcmp(buf, last, 14)));
    }
    qr_store_op_t wipe[] = {erase_op(QR_STORE_BLOCK, &i, 4), erase_op(QR_STORE_EXEC, &i, 4)};
    assert_int_equal(bench_commit(b, wipe, 2), 0);
  }
}

static void test_lost_files_are_refused(void **state) {
  bench_t *b = *state;
  NEED(b);
  char why[512], path[128];
  file_t f;
  assert_int_equal(bench_put(b, QR_STORE_STATE, "key", "a-value-in-a-table-file", 23), 0);
  bench_reopen(b);
  bench_close(b);
  assert_true(find_file(b, ".sst", "a-value-in-a-table-file", &f));
  free(f.bytes);
  snprintf(path, sizeof path, "%s/aside", b->root);
  assert_int_equal(rename(f.path, path), 0);
  assert_true(bench_try_open(b, b->options, why, sizeof why) < 0);
  assert_non_null(strstr(why, "cannot open the store"));
  assert_int_equal(rename(path, f.path), 0);
  bench_open(b);
  assert_int_equal(bench_get(b, QR_STORE_STATE, "key", NULL, 0), 23);
  bench_close(b);
  /* the file that names the manifest is damaged */
  assert_true(find_file(b, "CURRENT", "MANIFEST", &f));
  memcpy(f.bytes, "GONE", 4);
  write_file(&f);
  assert_true(bench_try_open(b, b->options, why, sizeof why) < 0);
  assert_non_null(strstr(why, b->dir));
}

/* --- directories --- */

static void test_bad_directories(void **state) {
  bench_t *b = *state;
  NEED(b);
  bench_t other = *b;
  char why[512];
  static const struct {
    const char *suffix, *says;
  } cases[] = {{"/missing/deeper", "No such file"},
               {"/plain", "not a directory"},
               {"/plain/below", "Not a directory"}};
  char path[128];
  snprintf(path, sizeof path, "%s/plain", b->root);
  FILE *f = fopen(path, "w");
  assert_non_null(f);
  fclose(f);
  for (size_t i = 0; i < QR_ARRAY_CNT(cases); i++) {
    snprintf(other.dir, sizeof other.dir, "%s%s", b->root, cases[i].suffix);
    assert_int_equal(bench_try_open(&other, b->options, why, sizeof why), QR_ERR_IO);
    assert_non_null(strstr(why, cases[i].says));
    assert_non_null(strstr(why, other.dir));
  }
}

/* Permission bits mean nothing to root, so a child gives that up. It opens nothing, and so may be a
   mere fork. */
static void test_unreadable_directory(void **state) {
  bench_t *b = *state;
  NEED(b);
  bench_close(b);
  assert_int_equal(chmod(b->dir, 0), 0);
  pid_t pid = fork();
  assert_true(pid >= 0);
  if (!pid) {
    char why[512];
    if (!geteuid() && (chmod(b->root, 0755) || setuid(65534))) _exit(9);
    int err = bench_try_open(b, b->options, why, sizeof why);
    _exit(err != QR_ERR_IO                    ? 1
          : !strstr(why, "Permission denied") ? 2
          : !strstr(why, b->dir)              ? 3
                                              : 0);
  }
  int status;
  assert_int_equal(waitpid(pid, &status, 0), pid);
  assert_int_equal(chmod(b->dir, 0700), 0);
  assert_int_equal(status, 0);
}

/* --- commits that fail --- */

/* A file size limit stands for a full disk. Everything after the first failure fails, even when
   there is room again; after reopening, all that was acknowledged is there and the store works. */
static void test_failed_commit_sticks(void **state) {
  bench_t *b = *state;
  NEED(b);
  static uint8_t value[100000];
  struct rlimit old, small;
  assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
  small = old;
  small.rlim_cur = 1 << 20;
  signal(SIGXFSZ, SIG_IGN);
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
  uint32_t acked_cnt = 0;
  int err = 0;
  for (uint32_t i = 0; i < 40 && !err; i++) {
    qr_store_op_t op = put_op(QR_STORE_BLOCK, &i, 4, value, sizeof value);
    err = bench_commit(b, &op, 1);
    if (!err) acked_cnt++;
  }
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
  signal(SIGXFSZ, SIG_DFL);
  assert_int_equal(err, QR_ERR_IO);
  assert_in_range(acked_cnt, 1, 12);
  for (int i = 0; i < 3; i++)
    assert_int_equal(bench_put(b, QR_STORE_META, "tip", "x", 1), QR_ERR_IO);
  assert_int_equal(bench_get(b, QR_STORE_META, "tip", NULL, 0), QR_ERR_NOTFOUND);
  for (int round = 0; round < 2; round++) {
    for (uint32_t i = 0; i < acked_cnt; i++) {
      assert_int_equal(b->ops->get(b->store, QR_STORE_BLOCK, &i, 4, NULL, 0), sizeof value);
    }
    bench_reopen(b);
  }
  assert_int_equal(bench_get(b, QR_STORE_META, "tip", NULL, 0), QR_ERR_NOTFOUND);
  assert_int_equal(bench_put(b, QR_STORE_META, "tip", "x", 1), 0);
}

static void test_mem_fails_the_nth(void **state) {
  bench_t *b = *state;
  for (int survives = 0; survives < 2; survives++) {
    assert_int_equal(bench_put(b, QR_STORE_META, "a", "1", 1), 0);
    qr_store_mem_fail(b->store, 2, survives);
    assert_int_equal(bench_put(b, QR_STORE_META, "b", "2", 1), 0);
    assert_int_equal(bench_put(b, QR_STORE_META, "c", "3", 1), QR_ERR_IO);
    assert_int_equal(bench_put(b, QR_STORE_META, "d", "4", 1), QR_ERR_IO);
    assert_int_equal(bench_get(b, QR_STORE_META, "b", NULL, 0), 1);
    assert_int_equal(bench_get(b, QR_STORE_META, "c", NULL, 0), QR_ERR_NOTFOUND);
    bench_reopen(b);
    assert_int_equal(bench_get(b, QR_STORE_META, "b", NULL, 0), 1);
    assert_int_equal(bench_get(b, QR_STORE_META, "c", NULL, 0), survives ? 1 : QR_ERR_NOTFOUND);
    assert_int_equal(bench_get(b, QR_STORE_META, "d", NULL, 0), QR_ERR_NOTFOUND);
  }
}

static void test_mem_holds_and_crashes(void **state) {
  bench_t *b = *state;
  qr_store_done_t done[4];
  qr_store_op_t op = put_op(QR_STORE_META, "a", 1, "1", 1);
  qr_store_mem_hold(b->store, true);
  assert_int_equal(b->ops->commit(b->store, 1, &op, 1), 0);
  assert_int_equal(b->ops->poll(b->store, done, 4), 0);
  assert_int_equal(bench_get(b, QR_STORE_META, "a", NULL, 0), QR_ERR_NOTFOUND);
  qr_store_mem_hold(b->store, false);
  assert_int_equal(b->ops->poll(b->store, done, 4), 1);
  op.key = "b";
  assert_int_equal(b->ops->commit(b->store, 2, &op, 1), 0);
  qr_store_mem_crash(b->store);
  bench_open(b);
  assert_int_equal(bench_get(b, QR_STORE_META, "a", NULL, 0), 1);
  assert_int_equal(bench_get(b, QR_STORE_META, "b", NULL, 0), QR_ERR_NOTFOUND);
}

static void test_mem_damage(void **state) {
  bench_t *b = *state;
  assert_int_equal(bench_put(b, QR_STORE_STATE, "a-good-one", "1", 1), 0);
  assert_int_equal(bench_put(b, QR_STORE_STATE, "b-bad-one", "2", 1), 0);
  assert_false(qr_store_mem_damage(b->store, QR_STORE_BLOCK, "b-bad-one", 9));
  assert_true(qr_store_mem_damage(b->store, QR_STORE_STATE, "b-bad-one", 9));
  check_one_is_corrupt(b, QR_STORE_STATE, "b-bad-one", "a-good-one");
}

/* Without keep=1 an open starts empty, whatever its name. */
static void test_mem_forgets(void **state) {
  bench_t *b = *state, other = *b;
  char why[256];
  assert_int_equal(bench_put(b, QR_STORE_META, "a", "1", 1), 0);
  for (int i = 0; i < 2; i++) {
    assert_int_equal(bench_try_open(&other, "", why, sizeof why), 0);
    assert_int_equal(bench_get(&other, QR_STORE_META, "a", NULL, 0), QR_ERR_NOTFOUND);
    assert_int_equal(bench_put(&other, QR_STORE_META, "a", "1", 1), 0);
    bench_close(&other);
  }
  bench_close(b);
  qr_store_mem_forget(b->dir);
  bench_open(b);
  assert_int_equal(bench_get(b, QR_STORE_META, "a", NULL, 0), QR_ERR_NOTFOUND);
}

/* On each kind of files. */
#define ROCKS_ON(f, options)                                                                       \
  { #f " " options, f, setup_rocksdb, teardown, (void *)options }
#define ROCKS(f) ROCKS_ON(f, "io=uring"), ROCKS_ON(f, "io=stock")
#define MEM(f) cmocka_unit_test_setup_teardown(f, setup_mem, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      ROCKS(test_changed_value),
      ROCKS(test_changed_key),
      ROCKS(test_changed_hash),
      ROCKS(test_changed_table_file),
      ROCKS(test_rot_in_the_log),
      ROCKS(test_rot_at_the_end_of_an_older_log),
      ROCKS(test_torn_tail),
      ROCKS(test_lost_files_are_refused),
      ROCKS(test_bad_directories),
      ROCKS(test_unreadable_directory),
      ROCKS(test_failed_commit_sticks),
      MEM(test_mem_fails_the_nth),
      MEM(test_mem_holds_and_crashes),
      MEM(test_mem_damage),
      MEM(test_mem_forgets),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
