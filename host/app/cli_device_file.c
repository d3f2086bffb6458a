/* Raw files of quarry device job. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "app/cli_device.h"
#include "base/err.h"
#include "base/philox.h"

void *qr_device_read(const qr_cli_t *cli, const char *path, size_t sz) {
  char why[512];
  struct stat st;
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), code = QR_ERR_IO;
  FILE *f = fd < 0 ? NULL : fdopen(fd, "rb");
  void *p = f ? malloc(sz) : NULL;
  if (!f || fstat(fileno(f), &st)) {
    snprintf(why, sizeof why, "%.300s: %s", path, strerror(errno));
  } else if (!S_ISREG(st.st_mode)) {
    snprintf(why, sizeof why, "%.300s: not a file", path);
    code = QR_ERR_FORMAT;
  } else if ((size_t)st.st_size != sz) {
    snprintf(why, sizeof why, "%.300s has %lld bytes, wanted are %zu", path, (long long)st.st_size,
             sz);
    code = QR_ERR_FORMAT;
  } else if (!p || fread(p, 1, sz, f) != sz) {
    snprintf(why, sizeof why, "%.300s cannot be read", path);
  } else {
    fclose(f);
    return p;
  }
  if (f) fclose(f);
  free(p);
  qr_cli_fail(cli, code, why);
  return NULL;
}

/* Work that takes long is not begun if its result could not be kept. */
int qr_device_may_write(const qr_cli_t *cli, const char *path) {
  char why[512], folder[512];
  struct stat st;
  const char *slash = strrchr(path, '/');
  snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - path) + 1 : 1, slash ? path : ".");
  bool is_there = !stat(path, &st);
  if (is_there && S_ISDIR(st.st_mode))
    errno = EISDIR;
  else if (!access(is_there ? path : folder, W_OK))
    return QR_CLI_OK;
  snprintf(why, sizeof why, "--out %.300s cannot be written: %s", path, strerror(errno));
  return qr_cli_fail(cli, QR_ERR_IO, why);
}

int qr_device_write(const qr_cli_t *cli, const char *path, const void *p, size_t sz) {
  char why[512];
  FILE *f = fopen(path, "wbe");
  bool ok = f && fwrite(p, 1, sz, f) == sz;
  if (f && fclose(f)) ok = false;
  if (ok) return QR_CLI_OK;
  snprintf(why, sizeof why, "%.300s cannot be written: %s", path, strerror(errno));
  return qr_cli_fail(cli, QR_ERR_IO, why);
}

void qr_device_fill(uint64_t seed, void *p, size_t sz) {
  qr_hash_t key = {0};
  uint8_t *out = p;
  qr_st64(key.b, seed);
  qr_philox_t g = qr_philox_init(&key, 0);
  for (size_t i = 0; i < sz; i += 16) {
    uint32_t w[4];
    qr_philox_block(&g, (uint32_t)(i / 16), w);
    memcpy(out + i, w, sz - i < 16 ? sz - i : 16);
  }
}
