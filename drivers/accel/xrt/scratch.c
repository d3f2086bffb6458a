#include "scratch.h"

#include <fcntl.h>
#include <ftw.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/err.h"

#define TAIL_SZ 1024L
#define OPEN_MAX_CNT 8
#define TRY_MAX_CNT 20

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

/* The folder's lock, or -1 if somebody has it or it is not ours. */
static int lock(const char *path) {
  struct stat st;
  int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) return -1;
  if (!fstat(fd, &st) && st.st_uid == geteuid() && !flock(fd, LOCK_EX | LOCK_NB)) return fd;
  close(fd);
  return -1;
}

static void remove_left(void) {
  glob_t g;
  if (glob(QR_XRT_SCRATCH_PREFIX "*", GLOB_NOSORT, NULL, &g)) return;
  for (size_t i = 0; i < g.gl_pathc; i++) {
    int fd = lock(g.gl_pathv[i]);
    if (fd < 0) continue;
    qr_xrt_scratch_remove(g.gl_pathv[i]);
    close(fd);
  }
  globfree(&g);
}

int qr_xrt_scratch_make(char out[QR_XRT_SCRATCH_SZ], int *lock_fd) {
  remove_left();
  /* until it is locked, somebody else may take it for one that was left: then another one */
  for (int i = 0; i < TRY_MAX_CNT; i++) {
    snprintf(out, QR_XRT_SCRATCH_SZ, "%sXXXXXX", QR_XRT_SCRATCH_PREFIX);
    if (!mkdtemp(out)) break;
    *lock_fd = lock(out);
    if (*lock_fd >= 0) return QR_OK;
  }
  out[0] = 0;
  return QR_ERR_IO;
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
