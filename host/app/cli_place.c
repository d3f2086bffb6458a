#include "app/cli_place.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "app/cli_files.h"
#include "base/err.h"
#include "port/reserve.h"

static int fail(qr_cli_place_t *p, const char *what, const char *path) {
  snprintf(p->why, sizeof p->why, "cannot %s %s: %s", what, path, strerror(errno));
  return QR_ERR_IO;
}

/* Nobody may use the store that is there: RocksDB's own lock is taken, until the end. It is the
   file, not the name, that is locked: what comes in its place is free. */
static int lock_store(qr_cli_place_t *p) {
  char path[QR_CONFIG_PATH_SZ + 32];
  struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
  snprintf(path, sizeof path, "%s/LOCK", p->store);
  p->lock_fd = open(path, O_RDWR | O_CLOEXEC);
  if (p->lock_fd < 0) return errno == ENOENT ? QR_OK : fail(p, "open", path);
  if (!fcntl(p->lock_fd, F_SETLK, &lock)) return QR_OK;
  snprintf(p->why, sizeof p->why,
           "the store in %s is in use by another process; stop that one first", p->store);
  return QR_ERR_BUSY;
}

/* A store is what holds more than the reserve. */
static int look(qr_cli_place_t *p) {
  qr_cli_files_t files;
  struct stat st;
  if (lstat(p->store, &st)) return errno == ENOENT ? QR_OK : fail(p, "look at", p->store);
  int err = qr_cli_files_list(p->store, QR_RESERVE_FILE_NAME, &files, p->why, sizeof p->why);
  if (err) return err;
  p->there = files.cnt > 0;
  qr_cli_files_free(&files);
  return lock_store(p);
}

int qr_cli_place_init(qr_cli_place_t *p, const char *dir, const char *words) {
  memset(p, 0, sizeof *p);
  p->lock_fd = -1;
  if (strlen(dir) >= sizeof p->dir) {
    snprintf(p->why, sizeof p->why, "the path of the data directory is too long");
    return QR_ERR_ARG;
  }
  snprintf(p->dir, sizeof p->dir, "%s", dir);
  snprintf(p->store, sizeof p->store, "%s/store", dir);
  if (mkdir(dir, 0700) && errno != EEXIST) return fail(p, "make", dir);
  int err = look(p);
  if (err) return err;
  if (p->there && (!words || strcmp(words, QR_CLI_OVERWRITE_WORDS) != 0)) {
    snprintf(p->why, sizeof p->why,
             "%s holds a store already; it is replaced only with --overwrite "
             "'" QR_CLI_OVERWRITE_WORDS "'",
             p->store);
    return QR_ERR_ARG;
  }
  snprintf(p->fresh, sizeof p->fresh, "%s/store.fresh", dir);
  return qr_cli_remove_dir(p->fresh) ? fail(p, "remove what is left of an earlier try:", p->fresh)
                                     : QR_OK;
}

int qr_cli_place_take(qr_cli_place_t *p) {
  struct stat st;
  bool old = !lstat(p->store, &st);
  int rc = old ? renameat2(AT_FDCWD, p->fresh, AT_FDCWD, p->store, RENAME_EXCHANGE)
               : rename(p->fresh, p->store);
  if (rc || qr_cli_sync_dir(p->dir)) return fail(p, "put the new store in place as", p->store);
  if (!old) return QR_OK;
  if (qr_cli_remove_dir(p->fresh))
    return fail(p, "remove the replaced store, which is now", p->fresh);
  return qr_cli_sync_dir(p->dir) ? fail(p, "make durable", p->dir) : QR_OK;
}

void qr_cli_place_fini(qr_cli_place_t *p) {
  if (*p->fresh) (void)qr_cli_remove_dir(p->fresh);
  if (p->lock_fd >= 0) close(p->lock_fd);
}
