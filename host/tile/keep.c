#include "tile/keep.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"

#define PATH_SZ 600u

struct qr_keep {
  char path[PATH_SZ], fresh[PATH_SZ + 8], dir[PATH_SZ];
  uint8_t *bytes;
  size_t max_sz, sz;
  pthread_t thread;
  bool started;     /* there is a thread to join */
  atomic_bool busy; /* it has the bytes */
};

qr_keep_t *qr_keep_init(const char *path, size_t max_sz) {
  qr_keep_t *k = calloc(1, sizeof *k);
  if (!k) return NULL;
  k->bytes = malloc(max_sz);
  k->max_sz = max_sz;
  int n = snprintf(k->path, sizeof k->path, "%s", path);
  if (!k->bytes || n < 0 || (size_t)n >= sizeof k->path) {
    free(k->bytes);
    free(k);
    return NULL;
  }
  snprintf(k->fresh, sizeof k->fresh, "%s.new", path);
  snprintf(k->dir, sizeof k->dir, "%s", path);
  char *slash = strrchr(k->dir, '/');
  snprintf(slash ? slash + (slash == k->dir) : k->dir, 2, "%s", slash ? "" : ".");
  return k;
}

void qr_keep_wait(qr_keep_t *k) {
  if (k->started) pthread_join(k->thread, NULL);
  k->started = false;
}

void qr_keep_fini(qr_keep_t *k) {
  if (!k) return;
  qr_keep_wait(k);
  free(k->bytes);
  free(k);
}

static int64_t read_all(int fd, uint8_t *p, size_t sz) {
  size_t at = 0;
  while (at < sz) {
    ssize_t n = read(fd, p + at, sz - at);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return -1;
    if (!n) break;
    at += (size_t)n;
  }
  return (int64_t)at;
}

int qr_keep_load(qr_keep_t *k, const uint8_t **bytes, size_t *sz) {
  int fd = open(k->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return errno == ENOENT ? QR_ERR_NOTFOUND : QR_ERR_IO;
  uint8_t more;
  int64_t n = read_all(fd, k->bytes, k->max_sz);
  int64_t rest = n == (int64_t)k->max_sz ? read_all(fd, &more, 1) : 0;
  close(fd);
  if (n < 0 || rest < 0) return QR_ERR_IO;
  *bytes = k->bytes;
  *sz = (size_t)n;
  return rest ? QR_ERR_FORMAT : QR_OK;
}

static bool write_all(int fd, const uint8_t *p, size_t sz) {
  while (sz) {
    ssize_t n = write(fd, p, sz);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return false;
    p += n;
    sz -= (size_t)n;
  }
  return true;
}

static bool sync_dir(const char *dir) {
  int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  bool ok = fd >= 0 && !fsync(fd);
  if (fd >= 0) close(fd);
  return ok;
}

static void *run(void *arg) {
  qr_keep_t *k = arg;
  int fd = open(k->fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  bool ok = fd >= 0 && write_all(fd, k->bytes, k->sz) && !fsync(fd);
  int err = errno;
  if (fd >= 0 && close(fd)) ok = false;
  if (ok && (rename(k->fresh, k->path) || !sync_dir(k->dir))) {
    ok = false;
    err = errno;
  }
  if (!ok) {
    unlink(k->fresh);
    qr_log(QR_LOG_WARN, "net", "event=keep-failed file=%s why=\"%s\"", k->path, strerror(err));
  }
  atomic_store(&k->busy, false);
  return NULL;
}

uint8_t *qr_keep_room(qr_keep_t *k) {
  if (atomic_load(&k->busy)) return NULL;
  qr_keep_wait(k); /* it has nothing left to do */
  return k->bytes;
}

void qr_keep_save(qr_keep_t *k, size_t sz) {
  k->sz = sz;
  atomic_store(&k->busy, true);
  k->started = !pthread_create(&k->thread, NULL, run, k);
  if (!k->started) run(k);
}
