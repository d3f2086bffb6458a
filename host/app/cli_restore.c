/* quarry restore: a backup becomes the store of a data directory, all of it or nothing. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "app/cli_backup.h"
#include "app/cli_work.h"
#include "base/err.h"
#include "base/log.h"
#include "port/reserve.h"

#define OVERWRITE_WORDS "replace the store"

typedef struct {
  char store[QR_CONFIG_PATH_SZ + 16], fresh[QR_CONFIG_PATH_SZ + 32];
  int lock_fd; /* of the store that is there */
  bool there;  /* there is one, and it holds something */
  char why[1024];
} restore_t;

static int fail(restore_t *r, const char *what, const char *path) {
  snprintf(r->why, sizeof r->why, "cannot %s %s: %s", what, path, strerror(errno));
  return QR_ERR_IO;
}

/* Nobody may use the store that is there: RocksDB's own lock is taken, until the end. It is the file,
   not the name, that is locked: what comes in its place is free. */
static int lock_store(restore_t *r) {
  char path[QR_CONFIG_PATH_SZ + 32];
  struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
  snprintf(path, sizeof path, "%s/LOCK", r->store);
  r->lock_fd = open(path, O_RDWR | O_CLOEXEC);
  if (r->lock_fd < 0) return errno == ENOENT ? QR_OK : fail(r, "open", path);
  if (!fcntl(r->lock_fd, F_SETLK, &lock)) return QR_OK;
  snprintf(r->why, sizeof r->why, "the store in %s is in use by another process; stop that one first",
           r->store);
  return QR_ERR_BUSY;
}

/* A store is what holds more than the reserve. */
static int look(restore_t *r) {
  qr_cli_files_t files;
  struct stat st;
  if (lstat(r->store, &st)) return errno == ENOENT ? QR_OK : fail(r, "look at", r->store);
  int err = qr_cli_files_list(r->store, QR_RESERVE_FILE_NAME, &files, r->why, sizeof r->why);
  if (err) return err;
  r->there = files.cnt > 0;
  qr_cli_files_free(&files);
  return lock_store(r);
}

static int prepare(const qr_cli_t *cli, restore_t *r) {
  r->lock_fd = -1;
  if (strlen(cli->dir) >= QR_CONFIG_PATH_SZ) {
    snprintf(r->why, sizeof r->why, "the path of the data directory is too long");
    return QR_ERR_ARG;
  }
  snprintf(r->store, sizeof r->store, "%s/store", cli->dir);
  snprintf(r->fresh, sizeof r->fresh, "%s/store.restoring", cli->dir);
  if (mkdir(cli->dir, 0700) && errno != EEXIST) return fail(r, "make", cli->dir);
  int err = look(r);
  if (err || !r->there) return err;
  const char *words = cli->values[0];
  if (words && !strcmp(words, OVERWRITE_WORDS)) return QR_OK;
  snprintf(r->why, sizeof r->why,
           "%s holds a store already; it is replaced only with --overwrite '" OVERWRITE_WORDS "'",
           r->store);
  return QR_ERR_ARG;
}

/* The new store takes the name in one step; the old one, if any, has the other name after it. */
static int exchange(restore_t *r, const char *dir) {
  struct stat st;
  bool old = !lstat(r->store, &st);
  int rc = old ? renameat2(AT_FDCWD, r->fresh, AT_FDCWD, r->store, RENAME_EXCHANGE)
               : rename(r->fresh, r->store);
  if (rc || qr_cli_sync_dir(dir)) return fail(r, "put the restored store in place as", r->store);
  if (!old) return QR_OK;
  if (qr_cli_remove_dir(r->fresh)) return fail(r, "remove the replaced store, which is now", r->fresh);
  return qr_cli_sync_dir(dir) ? fail(r, "make durable", dir) : QR_OK;
}

static int copy(restore_t *r, const char *from, const qr_cli_backup_t *b) {
  if (qr_cli_remove_dir(r->fresh)) return fail(r, "remove what is left of an earlier try:", r->fresh);
  if (mkdir(r->fresh, 0700)) return fail(r, "make", r->fresh);
  int err = qr_cli_backup_files(from, b, r->fresh, r->why, sizeof r->why);
  if (!err && qr_cli_sync_dir(r->fresh)) err = fail(r, "make durable", r->fresh);
  if (err) (void)qr_cli_remove_dir(r->fresh);
  return err;
}

static int tell(const qr_cli_t *cli, const restore_t *r, const qr_cli_backup_t *b) {
  char hex[65], size[24];
  if (cli->json) {
    json_t *o = json_object();
    json_object_set_new(o, "store", json_string(r->store));
    json_object_set_new(o, "replaced", json_boolean(r->there));
    json_object_set_new(o, "chain", json_string(b->chain));
    json_object_set_new(o, "height", json_integer((json_int_t)b->height));
    json_object_set_new(o, "tip", json_string(qr_hex(hex, &b->tip, 32)));
    json_object_set_new(o, "bytes", json_integer((json_int_t)b->files.byte_sz));
    return qr_cli_print_json(o);
  }
  printf("restored  %s%s\n", r->store, r->there ? ", in place of the one that was there" : "");
  printf("tip       height %" PRIu64 "  %s\n", b->height, qr_hex(hex, &b->tip, 8));
  printf("files     %u, %s\n", b->files.cnt, qr_cli_size(b->files.byte_sz, size));
  return QR_CLI_OK;
}

static int run(const qr_cli_t *cli) {
  static restore_t r;
  qr_cli_backup_t b = {0};
  const char *from = cli->args[0];
  qr_cli_work_begin();
  int err = qr_cli_backup_read(from, &b, r.why, sizeof r.why);
  if (!err) err = prepare(cli, &r);
  if (!err) err = qr_cli_backup_files(from, &b, NULL, r.why, sizeof r.why);
  if (!err) err = qr_cli_backup_audit(cli, from, &b, r.why, sizeof r.why);
  if (!err) err = copy(&r, from, &b);
  if (!err) err = exchange(&r, cli->dir);
  if (err == QR_ERR_CANCELLED) snprintf(r.why, sizeof r.why, "%s is as it was", r.store);
  int rc = err ? qr_cli_backup_end(cli, err, r.why) : tell(cli, &r, &b);
  qr_cli_files_free(&b.files);
  if (r.lock_fd >= 0) close(r.lock_fd);
  return rc;
}

const qr_cli_command_t qr_cli_restore = {
    .name = "restore",
    .args = "DIR",
    .help = "makes the backup DIR the store of the data directory that --dir names\n\n"
            "First every file of the backup is compared with its hash, and the whole is looked "
            "through as 'quarry db check'\ndoes. Then it is copied beside the store and takes its "
            "name in one step: at any moment there is the old store\nor the new one, whole. The "
            "backup stays as it is. The node must not run.\n\nExit codes: 0 done, 1 failed, 3 the "
            "backup is damaged, 130 interrupted.",
    .arg_min_cnt = 1,
    .arg_max_cnt = 1,
    .options = {{"overwrite", "WORDS", "replace a store that is there: '" OVERWRITE_WORDS "'"}},
    .run = run,
};
