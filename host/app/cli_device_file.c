/* Raw files of quarry device job. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "app/cli_device.h"
#include "base/err.h"
#include "base/philox.h"

void *qr_device_read(const qr_cli_t *cli, const char *path, size_t sz) {
  char why[512];
  struct stat st;
  FILE *f = fopen(path, "rbe");
  void *p = f ? malloc(sz) : NULL;
  int code = QR_ERR_IO;
  if (!f || fstat(fileno(f), &st)) {
    snprintf(why, sizeof why, "%.300s: %s", path, strerror(errno));
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
