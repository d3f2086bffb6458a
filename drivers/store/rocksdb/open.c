/* Options, opening, schema and closing. */
#include "rocks.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "crypto/hash.h"
#include "log_check.h"
#include "ring.h"

#define CF_CNT (QR_STORE_TABLE_CNT + 1)
#define MIB ((size_t)1 << 20)
#define SCHEMA_KEY "schema"

typedef struct {
  bool sync, uring, cut_damaged_log;
  uint32_t cache_mb;
} rocks_cfg_t;

/* "key=value;key=value" */
static int parse_options(const char *text, rocks_cfg_t *cfg, char *why, size_t why_sz) {
  *cfg = (rocks_cfg_t){.sync = true, .uring = true, .cache_mb = 32};
  while (*text) {
    size_t n = strcspn(text, ";");
    char word[64];
    snprintf(word, sizeof word, "%.*s", (int)n, text);
    char *end = word;
    if (!strcmp(word, "sync=0") || !strcmp(word, "sync=1")) {
      cfg->sync = word[5] == '1';
    } else if (!strcmp(word, "io=uring") || !strcmp(word, "io=stock")) {
      cfg->uring = word[3] == 'u';
    } else if (!strcmp(word, "damaged_log=cut") || !strcmp(word, "damaged_log=refuse")) {
      cfg->cut_damaged_log = word[12] == 'c';
    } else if (!strncmp(word, "cache_mb=", 9) && word[9] >= '0' && word[9] <= '9') {
      unsigned long mb = strtoul(word + 9, &end, 10);
      if (*end || mb < 1 || mb > 65536) end = NULL;
      cfg->cache_mb = (uint32_t)mb;
    } else if (n) {
      end = NULL;
    }
    if (!end) {
      snprintf(
          why, why_sz,
          "store option \"%s\" is not known; use io=uring|stock, sync=0|1, cache_mb=1..65536 and "
          "damaged_log=refuse|cut, separated by ';'",
          word);
      return QR_ERR_ARG;
    }
    text += n + (text[n] == ';');
  }
  return 0;
}

/* Makes the directory if its parent exists, and sees that it can be worked in. RocksDB would report
   the same troubles, but in words for its own developers. */
static int prepare_dir(const char *dir, char *why, size_t why_sz) {
  struct stat st;
  if (mkdir(dir, 0700) == 0) {
    /* The new name is durable only once the directory it stands in is. */
    char parent[4096];
    snprintf(parent, sizeof parent, "%s/..", dir);
    int fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
      if (fsync(fd))
        qr_log(QR_LOG_WARN, "store", "event=fsync-failed dir=%s errno=%d", parent, errno);
      close(fd);
    }
    return 0;
  }
  if (errno != EEXIST) {
    snprintf(why, why_sz, "cannot create the store directory %s: %s; create it, or name another",
             dir, strerror(errno));
    return QR_ERR_IO;
  }
  if (stat(dir, &st) == 0 && !S_ISDIR(st.st_mode)) {
    snprintf(why, why_sz, "%s is not a directory; name a directory for the store", dir);
    return QR_ERR_IO;
  }
  if (access(dir, R_OK | W_OK | X_OK)) {
    snprintf(why, why_sz,
             "cannot use the store directory %s: %s; give this user read and write permission", dir,
             strerror(errno));
    return QR_ERR_IO;
  }
  return 0;
}

static const char *cf_name(uint32_t i) {
  return i < QR_STORE_TABLE_CNT ? qr_store_table_name(i) : "default";
}

/* A store of a later version may have tables that RocksDB would refuse to leave closed, in words
   that help nobody. */
static int check_tables(const char *dir, const rocksdb_options_t *o, char *why, size_t why_sz) {
  char path[4096], *message = NULL;
  snprintf(path, sizeof path, "%s/CURRENT", dir);
  if (access(path, F_OK)) return 0; /* nothing there yet */
  size_t cnt = 0;
  char **names = rocksdb_list_column_families(o, dir, &cnt, &message);
  if (message) {
    rocksdb_list_column_families_destroy(names, 0); /* an empty list is an allocation too */
    snprintf(
        why, why_sz,
        "cannot read the store in %s (%s); restore it from a copy, or remove it and sync again",
        dir, message);
    return rocks_error("open", message);
  }
  int err = 0;
  for (size_t k = 0; k < cnt && !err; k++) {
    uint32_t i = 0;
    while (i < CF_CNT && strcmp(names[k], cf_name(i))) i++;
    if (i < CF_CNT) continue;
    snprintf(
        why, why_sz,
        "the store in %s has a table \"%s\" that this version does not know; use the newer version",
        dir, names[k]);
    err = QR_ERR_UNSUPPORTED;
  }
  rocksdb_list_column_families_destroy(names, cnt);
  return err;
}

/* One line, and the stock file system serves as well. */
static void log_refusal(int err) {
  const char *cure = "use a kernel of at least 6.1, or io=stock";
  if (err == -EPERM || err == -EACCES)
    cure =
        "set the sysctl kernel.io_uring_disabled to 0, permit io_uring_setup, io_uring_enter and "
        "io_uring_register in the sandbox, or use io=stock";
  if (err == -ENOMEM || err == -EMFILE || err == -ENFILE)
    cure = "raise the limits of locked memory and open files, or use io=stock";
  qr_log(QR_LOG_WARN, "store",
         "event=io-uring-refused errno=%d: %s; the store uses RocksDB's own files, slower and as "
         "safe; cure: %s",
         -err, strerror(-err), cure);
}

/* The file system of our own, if the kernel lets us; s->fs stays NULL for the stock one. */
static int prepare_files(qr_store_t *s, const rocks_cfg_t *cfg) {
  if (!cfg->uring) return 0;
  int err = rocks_ring_probe();
  if (err) {
    log_refusal(err);
    return 0;
  }
  /* Without syncs there is nothing to wait for: the page cache is the fastest. */
  s->io = rocks_io_open(cfg->sync);
  s->fs = s->io ? rocks_fs_make(s->io) : NULL;
  s->sync_apart = cfg->sync;
  return s->fs ? 0 : QR_ERR_NOMEM;
}

/* Options of the database as a whole, and the base of every table's. NULL with a reason if this
   RocksDB refuses them. */
static rocksdb_options_t *database_options(const qr_store_t *s, char *why, size_t why_sz) {
  /* These two have no setter in the C API: a synced WAL that went missing or short, or a table file
     in the place of another, is refused at open instead of being read as a shorter history. */
  char text[256];
  snprintf(text, sizeof text,
           "track_and_verify_wals_in_manifest=true;verify_sst_unique_id_in_manifest=true;%s",
           s->fs ? rocks_fs_option(s->fs) : "");
  rocksdb_options_t *base = rocksdb_options_create(), *o = rocksdb_options_create();
  char *message = NULL;
  rocksdb_get_options_from_string(base, text, o, &message);
  rocksdb_options_destroy(base);
  if (message) {
    snprintf(why, why_sz, "this RocksDB refuses options that the store needs: %s", message);
    rocksdb_free(message);
    rocksdb_options_destroy(o);
    return NULL;
  }
  rocksdb_options_set_create_if_missing(o, 1);
  rocksdb_options_set_create_missing_column_families(o, 1);
  rocksdb_options_set_paranoid_checks(o, 1);
  /* A torn tail is what a power cut leaves of commits nobody was told of; up to it the log must be
     whole. */
  rocksdb_options_set_wal_recovery_mode(o, rocksdb_point_in_time_recovery);
  rocksdb_options_set_max_total_wal_size(o, 128 * MIB);
  rocksdb_options_set_max_open_files(o, 256);
  rocksdb_options_set_max_background_jobs(o, 2);
  rocksdb_options_set_bytes_per_sync(o, MIB);
  /* Our files gather what is appended themselves; RocksDB's own buffer before them would be one
     copy more. */
  if (s->fs) rocksdb_options_set_writable_file_max_buffer_size(o, 0);
  rocksdb_options_set_info_log_level(o, 2); /* warnings */
  rocksdb_options_set_max_log_file_size(o, 4 * MIB);
  rocksdb_options_set_keep_log_file_num(o, 4);
  rocksdb_options_set_stats_dump_period_sec(o, 0);
  return o;
}

/* RocksDB remembers where in its memory it last inserted, for each first byte of a key: state
   changes are many, small and spread, and looking for their places is most of what a commit
   computes. If it refuses, it only takes longer. */
static void hint_inserts(const rocksdb_options_t *database, rocksdb_options_t *o) {
  char *message = NULL;
  rocksdb_get_options_from_string(
      database, "memtable_insert_with_hint_prefix_extractor=rocksdb.FixedPrefix.1", o, &message);
  rocksdb_free(message);
}

/* Compression is off: records are hashes, keys, signatures and weights, and a record's own hash
   comes first. */
static rocksdb_options_t *table_options(rocksdb_options_t *database, uint32_t table,
                                        rocksdb_cache_t *cache) {
  rocksdb_options_t *o = rocksdb_options_create_copy(database);
  if (table == QR_STORE_STATE) hint_inserts(database, o);
  bool large = table == QR_STORE_BLOCK || table == QR_STORE_MODEL || table == QR_STORE_EXEC;
  rocksdb_options_set_compression(o, rocksdb_no_compression);
  rocksdb_options_set_write_buffer_size(o, (large ? 32 : 8) * MIB);
  rocksdb_block_based_table_options_t *b = rocksdb_block_based_options_create();
  rocksdb_block_based_options_set_block_cache(b, cache);
  if (table != QR_STORE_INDEX && table != QR_STORE_META) {
    rocksdb_block_based_options_set_filter_policy(b, rocksdb_filterpolicy_create_bloom_full(10));
  }
  rocksdb_options_set_block_based_table_factory(o, b);
  rocksdb_block_based_options_destroy(b);
  return o;
}

static int open_database(qr_store_t *s, const char *dir, const rocks_cfg_t *cfg, char *why,
                         size_t why_sz) {
  rocksdb_options_t *o = database_options(s, why, why_sz);
  if (!o) return QR_ERR_UNSUPPORTED;
  int err = cfg->cut_damaged_log ? QR_OK : rocks_log_check(s->io, dir, why, why_sz);
  if (!err) err = check_tables(dir, o, why, why_sz);
  if (err) {
    rocksdb_options_destroy(o);
    return err;
  }
  rocksdb_cache_t *cache = rocksdb_cache_create_lru(cfg->cache_mb * MIB);
  rocksdb_options_t *table[CF_CNT];
  const char *names[CF_CNT];
  for (uint32_t i = 0; i < CF_CNT; i++) {
    table[i] = table_options(o, i, cache);
    names[i] = cf_name(i);
  }
  char *message = NULL;
  s->db = rocksdb_open_column_families(o, dir, CF_CNT, names,
                                       (const rocksdb_options_t *const *)table, s->cf, &message);
  for (uint32_t i = 0; i < CF_CNT; i++) rocksdb_options_destroy(table[i]);
  rocksdb_cache_destroy(cache);
  rocksdb_options_destroy(o);
  if (!message) return 0;
  s->db = NULL;
  if (strstr(message, "lock hold by") || strstr(message, "While lock file")) {
    snprintf(
        why, why_sz,
        "the store in %s is in use by another process; stop that one, or name another directory",
        dir);
    rocksdb_free(message);
    return QR_ERR_BUSY;
  }
  snprintf(
      why, why_sz,
      "cannot open the store in %s: %s; free space or repair the disk, or remove it and sync again",
      dir, message);
  return rocks_error("open", message);
}

static bool stop_at_first(void *ctx, const void *key, size_t key_sz, const void *value,
                          size_t value_sz) {
  (void)key, (void)key_sz, (void)value, (void)value_sz;
  *(bool *)ctx = true;
  return false;
}

/* Reads the schema version, or writes it into a store that is empty. */
static int check_schema(qr_store_t *s, const char *dir, char *why, size_t why_sz) {
  uint8_t version[4];
  int64_t got =
      rocks_get(s, QR_STORE_META, SCHEMA_KEY, strlen(SCHEMA_KEY), version, sizeof version);
  bool any = false;
  for (uint32_t t = 0; got == QR_ERR_NOTFOUND && t < QR_STORE_TABLE_CNT; t++) {
    int err = rocks_scan(s, t, NULL, 0, stop_at_first, &any);
    if (err || any) got = QR_ERR_CORRUPT;
  }
  if (got == QR_ERR_NOTFOUND) {
    qr_st32(version, QR_STORE_SCHEMA_VERSION);
    qr_store_op_t op = {.table = QR_STORE_META,
                        .key = SCHEMA_KEY,
                        .key_sz = strlen(SCHEMA_KEY),
                        .value = version,
                        .value_sz = sizeof version};
    int err = rocks_write(s, &op, 1);
    if (err)
      snprintf(why, why_sz, "cannot write to the store in %s: %s; check space and the disk", dir,
               qr_err_str(err));
    return err;
  }
  if (got != sizeof version) {
    snprintf(why, why_sz,
             "the store in %s has no readable schema version (%s); restore a copy, or remove it "
             "and sync again",
             dir, got < 0 ? qr_err_str((int)got) : "wrong size");
    return QR_ERR_CORRUPT;
  }
  if (qr_ld32(version) > QR_STORE_SCHEMA_VERSION || !qr_ld32(version)) {
    snprintf(why, why_sz,
             "the store in %s has schema version %u, this program knows %u; use the program that "
             "wrote it",
             dir, qr_ld32(version), QR_STORE_SCHEMA_VERSION);
    return QR_ERR_UNSUPPORTED;
  }
  return 0;
}

static void free_store(qr_store_t *s) {
  if (s->db) {
    for (uint32_t i = 0; i < CF_CNT; i++) rocksdb_column_family_handle_destroy(s->cf[i]);
    rocksdb_close(s->db);
  }
  rocksdb_writeoptions_destroy(s->write_options);
  rocksdb_readoptions_destroy(s->get_options);
  rocksdb_readoptions_destroy(s->scan_options);
  rocksdb_readoptions_destroy(s->walk_options);
  if (s->fs) rocks_fs_free(s->fs);
  if (s->io) rocks_io_close(s->io);
  free(s);
}

static void make_read_options(qr_store_t *s) {
  s->get_options = rocksdb_readoptions_create();
  s->scan_options = rocksdb_readoptions_create();
  s->walk_options = rocksdb_readoptions_create();
  /* A walk over everything must not displace what is hot. */
  rocksdb_readoptions_set_fill_cache(s->scan_options, 0);
  rocksdb_readoptions_set_fill_cache(s->walk_options, 0);
  /* What comes next is read while what came is checked. */
  if (s->fs && rocks_fs_read_ahead(s->walk_options))
    rocksdb_readoptions_set_readahead_size(s->walk_options, MIB);
}

static int rocks_open(const char *dir, const char *options, qr_store_t **out, char *why,
                      size_t why_sz) {
  rocks_cfg_t cfg;
  rocks_count_nothing();
  int err = parse_options(options ? options : "", &cfg, why, why_sz);
  if (err) return err;
  if (qr_crypto_init()) {
    snprintf(why, why_sz, "the crypto library does not start");
    return QR_ERR_IO;
  }
  err = prepare_dir(dir, why, why_sz);
  if (err) return err;
  qr_store_t *s = calloc(1, sizeof *s);
  if (!s) {
    snprintf(why, why_sz, "out of memory");
    return QR_ERR_NOMEM;
  }
  s->write_options = rocksdb_writeoptions_create();
  err = prepare_files(s, &cfg);
  if (err) snprintf(why, why_sz, "out of memory");
  rocksdb_writeoptions_set_sync(s->write_options, cfg.sync && !s->sync_apart);
  make_read_options(s);
  if (!err) err = open_database(s, dir, &cfg, why, why_sz);
  if (!err) err = check_schema(s, dir, why, why_sz);
  if (!err && rocks_commit_start(s)) {
    snprintf(why, why_sz, "cannot start the commit thread");
    err = QR_ERR_NOMEM;
  }
  if (err) {
    free_store(s);
    return err;
  }
  /* What the opening itself did is not the caller's traffic. */
  s->commit_cnt = s->bytes_written = s->commit_ns_last = s->commit_ns_sum = s->read_cnt = 0;
  if (!cfg.sync)
    qr_log(QR_LOG_WARN, "store",
           "event=unsafe-option sync=0: a power cut can lose commits that were reported durable");
  *out = s;
  return 0;
}

static void rocks_close(qr_store_t *s) {
  rocks_commit_stop(s);
  free_store(s);
}

static void rocks_stats(const qr_store_t *s, qr_store_stats_t *out) {
  rocks_io_stats_t io = {0};
  if (s->io) rocks_io_stats(s->io, &io);
  *out = (qr_store_stats_t){.commit_cnt = s->commit_cnt,
                            .read_cnt = s->read_cnt,
                            .bytes_written = s->bytes_written,
                            .corrupt_cnt = s->corrupt_cnt,
                            .commit_ns_last = s->commit_ns_last,
                            .commit_ns_sum = s->commit_ns_sum,
                            .ring_op_cnt = io.write_cnt + io.read_cnt,
                            .ring_refused_cnt = io.refused_cnt,
                            .sync_cnt = io.sync_cnt,
                            .sync_ns_sum = io.sync_ns_sum,
                            .unprepared_log_cnt = io.unzeroed_cnt};
}

const qr_store_ops_t qr_store_rocksdb_ops = {
    .name = "rocksdb",
    .help =
        "RocksDB in a directory; options io=uring|stock (uring), sync=0|1 (1), cache_mb=N (32), "
        "damaged_log=refuse|cut (refuse)",
    .open = rocks_open,
    .close = rocks_close,
    .commit = rocks_commit,
    .poll = rocks_poll,
    .get = rocks_get,
    .get_many = rocks_get_many,
    .scan = rocks_scan,
    .stats = rocks_stats,
    .checkpoint = rocks_checkpoint,
    .readonly = &rocks_readonly_ops,
};
