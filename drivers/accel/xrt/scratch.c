#include "scratch.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/err.h"

#define TAIL_SZ 1024L
#define OPEN_MAX_CNT 8

int qr_xrt_scratch_make(char out[QR_XRT_SCRATCH_SZ]) {
  snprintf(out, QR_XRT_SCRATCH_SZ, "%sXXXXXX", QR_XRT_SCRATCH_PREFIX);
  return mkdtemp(out) ? QR_OK : QR_ERR_IO;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw) {
  (void)st, (void)kind, (void)ftw;
  remove(path);
  return 0;
}

void qr_xrt_scratch_remove(const char *path) {
  if (strncmp(path, QR_XRT_SCRATCH_PREFIX, strlen(QR_XRT_SCRATCH_PREFIX)) ||
      strchr(path + strlen(QR_XRT_SCRATCH_PREFIX), '/'))
    return;
  nftw(path, remove_one, OPEN_MAX_CNT, FTW_DEPTH | FTW_PHYS);
}

void qr_xrt_scratch_last_words(const char *path, char *out, size_t out_sz) {
  char file[QR_XRT_SCRATCH_SZ + 16], text[TAIL_SZ + 1];
  out[0] = 0;
  snprintf(file, sizeof file, "%s/%s", path, QR_XRT_LOG_NAME);
  FILE *f = fopen(file, "re");
  if (!f) return;
  if (!fseek(f, 0, SEEK_END)) {
    long sz = ftell(f);
    fseek(f, sz > TAIL_SZ ? sz - TAIL_SZ : 0, SEEK_SET);
  }
  size_t n = fread(text, 1, TAIL_SZ, f);
  fclose(f);
  while (n && (text[n - 1] == '\n' || text[n - 1] == ' ')) n--;
  text[n] = 0;
  char *line = strrchr(text, '\n');
  line = line ? line + 1 : text;
  for (char *c = line; *c; c++) {
    if (*c < ' ' || *c > '~' || *c == '"') *c = ' ';
  }
  snprintf(out, out_sz, "%s", line);
}
