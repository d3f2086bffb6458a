/* The store for reading only: for checks, restores and exports, on what nobody writes meanwhile.
   The lock file is taken as RocksDB takes it, so that no node starts on a store that is being
   looked at; nothing else in the directory is touched. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/err.h"
#include "crypto/hash.h"
#include "log_check.h"
#include "rocks.h"

#define CF_CNT (QR_STORE_TABLE_CNT + 1)
#define DEFAULT_CF QR_STORE_TABLE_CNT

typedef struct {
  qr_store_t s; /* first: the readers of read.c work on it */
  int lock_fd;  /* -1: there is nothing to lock */
  rocksdb_readoptions_t *unchecked;
  char log_why[512]; /* what is wrong with its logs, if anything: reading goes up to there */
  bool own[CF_CNT];  /* of s.cf: the others stand in for tables that the store lacks */
} rocks_readonly_t;

/* What RocksDB itself asks of the file: a write lock on all of it. A store on a medium that cannot
   be written to is nobody's but the readers'. */
static int take_lock(const char *dir, int *fd, char *why, size_t why_sz) {
  char path[4096];
  snprintf(path, sizeof path, "%s/LOCK", dir);
  struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
  bool taken = false;
  *fd = open(path, O_RDWR | O_CLOEXEC);
  if (*fd < 0 && errno == ENOENT) return QR_OK; /* a copy that was never opened to write */
  if (*fd >= 0) {
    taken = fcntl(*fd, F_SETLK, &lock) != 0;
  } else {
    *fd = open(path, O_RDONLY | O_CLOEXEC);
    taken = *fd >= 0 && !fcntl(*fd, F_GETLK, &lock) && lock.l_type != F_UNLCK;
  }
  if (!taken) return QR_OK;
  close(*fd);
  *fd = -1;
  snprintf(why, why_sz,
           "the store in %s is in use by another process; stop that one, or name another directory",
           dir);
  return QR_ERR_BUSY;
}

static rocksdb_options_t *reading_options(void) {
  static const char paranoia[] =
      "track_and_verify_wals_in_manifest=true;verify_sst_unique_id_in_manifest=true";
  rocksdb_options_t *base = rocksdb_options_create(), *o = rocksdb_options_create();
  char *message = NULL;
  rocksdb_get_options_from_string(base, paranoia, o, &message);
  rocksdb_options_destroy(base);
  rocksdb_free(message);
  rocksdb_options_set_paranoid_checks(o, 1);
  rocksdb_options_set_wal_recovery_mode(o, rocksdb_point_in_time_recovery);
  rocksdb_options_set_max_open_files(o, 256);
  return o;
}

/* Opens the tables that are there. */
static char *open_tables(rocks_readonly_t *r, const char *dir, rocksdb_options_t *o) {
  const char *names[CF_CNT];
  const rocksdb_options_t *options[CF_CNT];
  rocksdb_column_family_handle_t *handles[CF_CNT];
  uint32_t tables[CF_CNT];
  char *message = NULL;
  size_t have_cnt = 0;
  int cnt = 0;
  char **have = rocksdb_list_column_families(o, dir, &have_cnt, &message);
  for (uint32_t i = 0; i < CF_CNT && !message; i++) {
    const char *name = i == DEFAULT_CF ? "default" : qr_store_table_name(i);
    for (size_t k = 0; k < have_cnt; k++) {
      if (strcmp(have[k], name)) continue;
      names[cnt] = name;
      options[cnt] = o;
      tables[cnt++] = i;
    }
  }
  rocksdb_list_column_families_destroy(have, have_cnt);
  if (message) return message;
  r->s.db =
      rocksdb_open_for_read_only_column_families(o, dir, cnt, names, options, handles, 0, &message);
  if (message) {
    r->s.db = NULL;
    return message;
  }
  for (int i = 0; i < cnt; i++) {
    r->s.cf[tables[i]] = handles[i];
    r->own[tables[i]] = true;
  }
  for (uint32_t i = 0; i < CF_CNT; i++) {
    if (!r->own[i]) r->s.cf[i] = r->s.cf[DEFAULT_CF]; /* which is empty */
  }
  return NULL;
}

static void ro_close(qr_store_t *s) {
  rocks_readonly_t *r = (rocks_readonly_t *)s;
  for (uint32_t i = 0; i < CF_CNT; i++) {
    if (r->own[i]) rocksdb_column_family_handle_destroy(s->cf[i]);
  }
  if (s->db) rocksdb_close(s->db);
  rocksdb_readoptions_destroy(s->get_options);
  rocksdb_readoptions_destroy(s->scan_options);
  rocksdb_readoptions_destroy(s->walk_options);
  rocksdb_readoptions_destroy(r->unchecked);
  if (r->lock_fd >= 0) close(r->lock_fd); /* gives the lock back */
  free(r);
}

static int ro_open(const char *dir, const char *options, qr_store_t **out, char *why,
                   size_t why_sz) {
  char path[4096];
  (void)options;
  if (qr_crypto_init()) {
    snprintf(why, why_sz, "the crypto library does not start");
    return QR_ERR_IO;
  }
  snprintf(path, sizeof path, "%s/CURRENT", dir);
  if (access(path, R_OK)) {
    bool none = errno == ENOENT || errno == ENOTDIR;
    snprintf(why, why_sz, none ? "there is no store in %s" : "cannot read the store in %s: %s", dir,
             strerror(errno));
    return none ? QR_ERR_NOTFOUND : QR_ERR_IO;
  }
  rocks_readonly_t *r = calloc(1, sizeof *r);
  if (!r) {
    snprintf(why, why_sz, "out of memory");
    return QR_ERR_NOMEM;
  }
  int err = take_lock(dir, &r->lock_fd, why, why_sz);
  if (err) {
    free(r);
    return err;
  }
  if (rocks_log_check(NULL, dir, r->log_why, sizeof r->log_why) == QR_OK) *r->log_why = 0;
  r->s.get_options = rocksdb_readoptions_create();
  r->s.scan_options = rocksdb_readoptions_create();
  r->s.walk_options = rocksdb_readoptions_create();
  r->unchecked = rocksdb_readoptions_create();
  rocksdb_readoptions_set_fill_cache(r->s.scan_options, 0);
  rocksdb_readoptions_set_fill_cache(r->s.walk_options, 0);
  rocksdb_readoptions_set_fill_cache(r->unchecked, 0);
  rocksdb_readoptions_set_verify_checksums(r->unchecked, 0);
  rocksdb_options_t *o = reading_options();
  char *message = open_tables(r, dir, o);
  rocksdb_options_destroy(o);
  if (message) {
    snprintf(why, why_sz, "cannot read the store in %s: %s", dir, message);
    ro_close(&r->s);
    return rocks_error("open to read", message);
  }
  *out = &r->s;
  return QR_OK;
}

static int ro_commit(qr_store_t *s, uint64_t tag, const qr_store_op_t *ops, uint32_t op_cnt) {
  (void)s, (void)tag, (void)ops, (void)op_cnt;
  return QR_ERR_UNSUPPORTED;
}

static int ro_poll(qr_store_t *s, qr_store_done_t *done, int max) {
  (void)s, (void)done, (void)max;
  return 0;
}

static void ro_stats(const qr_store_t *s, qr_store_stats_t *out) {
  *out = (qr_store_stats_t){.read_cnt = s->read_cnt, .corrupt_cnt = s->corrupt_cnt};
}

/* ---- audit ---- */

typedef struct {
  qr_store_t *s;
  enum qr_store_table table;
  qr_store_visit_fn fn;
  qr_store_bad_fn bad;
  void *ctx;
  size_t last_sz; /* of the last record seen; 0: none yet */
  uint8_t last[QR_STORE_KEY_MAX_SZ];
  bool stopped;
} audit_t;

static void see(audit_t *a, rocksdb_iterator_t *it) {
  size_t key_sz, record_sz, value_sz;
  const uint8_t *value;
  const char *key = rocksdb_iter_key(it, &key_sz), *record = rocksdb_iter_value(it, &record_sz);
  a->s->read_cnt++;
  if (key_sz > sizeof a->last) {
    a->bad(a->ctx, key, sizeof a->last, "its key is longer than any key");
  } else if (!rocks_record_check(a->table, key, key_sz, record, record_sz, &value, &value_sz)) {
    a->bad(a->ctx, key, key_sz, "the record contradicts its own hash");
  } else {
    a->stopped = !a->fn(a->ctx, key, key_sz, value, value_sz);
  }
  a->last_sz = key_sz < sizeof a->last ? key_sz : sizeof a->last;
  memcpy(a->last, key, a->last_sz);
}

/* Walks from behind the last record seen, as far as it goes. Returns RocksDB's message if that is
   not the end. */
static char *walk(audit_t *a, const rocksdb_readoptions_t *options) {
  rocksdb_iterator_t *it = rocksdb_create_iterator_cf(a->s->db, options, a->s->cf[a->table]);
  char *message = NULL;
  if (a->last_sz) {
    size_t sz = 0;
    rocksdb_iter_seek(it, (const char *)a->last, a->last_sz);
    const char *key = rocksdb_iter_valid(it) ? rocksdb_iter_key(it, &sz) : NULL;
    if (key && sz == a->last_sz && !memcmp(key, a->last, sz)) rocksdb_iter_next(it);
  } else {
    rocksdb_iter_seek_to_first(it);
  }
  for (; rocksdb_iter_valid(it) && !a->stopped; rocksdb_iter_next(it)) see(a, it);
  if (!a->stopped) rocksdb_iter_get_error(it, &message);
  rocksdb_iter_destroy(it);
  return message;
}

/* A block of a table file whose checksum is wrong ends a walk. Without the checksums the walk goes
   on through it, and the records' own hashes say which of them are hit. */
static int ro_audit(qr_store_t *s, enum qr_store_table t, qr_store_visit_fn fn, qr_store_bad_fn bad,
                    void *ctx) {
  rocks_readonly_t *r = (rocks_readonly_t *)s;
  if (t >= QR_STORE_TABLE_CNT) return QR_ERR_ARG;
  audit_t a = {.s = s, .table = t, .fn = fn, .bad = bad, .ctx = ctx};
  if (t == QR_STORE_META && *r->log_why) bad(ctx, NULL, 0, r->log_why);
  char *message = walk(&a, s->scan_options);
  if (!message) return QR_OK;
  bad(ctx, NULL, 0, message);
  rocksdb_free(message);
  message = walk(&a, r->unchecked);
  if (!message) return QR_OK;
  char what[512];
  snprintf(what, sizeof what, "the rest of the table cannot be read: %.400s", message);
  rocksdb_free(message);
  bad(ctx, NULL, 0, what);
  return QR_OK;
}

const qr_store_ops_t rocks_readonly_ops = {
    .name = "rocksdb",
    .help = "RocksDB for reading only",
    .open = ro_open,
    .close = ro_close,
    .commit = ro_commit,
    .poll = ro_poll,
    .get = rocks_get,
    .get_many = rocks_get_many,
    .scan = rocks_scan,
    .stats = ro_stats,
    .audit = ro_audit,
};
