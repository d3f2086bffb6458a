#include "app/cli_files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "app/cli_work.h"
#include "base/err.h"
#include "crypto/hash.h"

#define BUF_SZ (1u << 20)
#define PATH_SZ 4096u

static int fail(char *why, size_t why_sz, const char *what, const char *path) {
  snprintf(why, why_sz, "cannot %s %s: %s", what, path, strerror(errno));
  return QR_ERR_IO;
}

static int by_name(const void *a, const void *b) {
  return strcmp(((const qr_cli_file_t *)a)->name, ((const qr_cli_file_t *)b)->name);
}

static int add_file(qr_cli_files_t *l, const char *name, uint64_t sz) {
  qr_cli_file_t *grown = realloc(l->files, (l->cnt + 1) * sizeof *grown);
  if (!grown) return QR_ERR_NOMEM;
  l->files = grown;
  qr_cli_file_t *f = &grown[l->cnt++];
  *f = (qr_cli_file_t){.sz = sz};
  snprintf(f->name, sizeof f->name, "%s", name);
  l->byte_sz += sz;
  return QR_OK;
}

int qr_cli_files_list(const char *dir, const char *skip, qr_cli_files_t *out, char *why,
                      size_t why_sz) {
  *out = (qr_cli_files_t){0};
  DIR *d = opendir(dir);
  if (!d) return fail(why, why_sz, "read", dir);
  int err = QR_OK;
  for (struct dirent *e; !err && (e = readdir(d));) {
    struct stat st;
    if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..")) continue;
    if (skip && !strcmp(e->d_name, skip)) continue;
    if (fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW)) {
      err = fail(why, why_sz, "look at a file of", dir);
    } else if (!S_ISREG(st.st_mode)) {
      snprintf(why, why_sz, "%s/%s is no file; a store has only files", dir, e->d_name);
      err = QR_ERR_FORMAT;
    } else {
      err = add_file(out, e->d_name, (uint64_t)st.st_size);
      if (err) snprintf(why, why_sz, "out of memory");
    }
  }
  closedir(d);
  if (err)
    qr_cli_files_free(out);
  else if (out->cnt)
    qsort(out->files, out->cnt, sizeof out->files[0], by_name);
  return err;
}

void qr_cli_files_free(qr_cli_files_t *f) {
  free(f->files);
  *f = (qr_cli_files_t){0};
}

static bool write_all(int fd, const uint8_t *p, size_t sz) {
  while (sz) {
    ssize_t n = write(fd, p, sz);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    p += n;
    sz -= (size_t)n;
  }
  return true;
}

/* From one descriptor to the other (-1: none), and into the hash. */
static int pump(int from, int to, qr_cli_file_t *f, qr_cli_pass_t *pass) {
  static uint8_t buf[BUF_SZ];
  qr_hasher_t h;
  qr_hash_init(&h, "quarry.file");
  f->sz = 0;
  for (;;) {
    ssize_t n = read(from, buf, sizeof buf);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return QR_ERR_IO;
    if (!n) break;
    qr_hash_add(&h, buf, (size_t)n);
    if (to >= 0 && !write_all(to, buf, (size_t)n)) return QR_ERR_IO;
    f->sz += (uint64_t)n;
    pass->done += (uint64_t)n;
    qr_cli_work_show(pass->what, pass->done, pass->total, QR_CLI_BYTES);
    if (qr_cli_work_stopped()) return QR_ERR_CANCELLED;
  }
  qr_hash_end(&h, &f->hash);
  return to >= 0 && fsync(to) ? QR_ERR_IO : QR_OK;
}

int qr_cli_file_read(const char *dir, qr_cli_file_t *f, const char *to_dir, qr_cli_pass_t *pass,
                     char *why, size_t why_sz) {
  char path[PATH_SZ], to_path[PATH_SZ];
  snprintf(path, sizeof path, "%s/%s", dir, f->name);
  snprintf(to_path, sizeof to_path, "%s/%s", to_dir ? to_dir : "", f->name);
  int from = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW), to = -1;
  if (from < 0) return fail(why, why_sz, "open", path);
  if (to_dir) {
    to = open(to_path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (to < 0) {
      close(from);
      return fail(why, why_sz, "make", to_path);
    }
  }
  int err = pump(from, to, f, pass);
  if (err == QR_ERR_IO) fail(why, why_sz, to_dir ? "copy" : "read", path);
  close(from);
  if (to >= 0 && close(to) && !err) err = fail(why, why_sz, "write", to_path);
  return err;
}

int qr_cli_sync_dir(const char *dir) {
  int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return QR_ERR_IO;
  int err = fsync(fd) ? QR_ERR_IO : QR_OK;
  close(fd);
  return err;
}

void qr_cli_parent(const char *path, char *out, size_t out_sz) {
  const char *slash = strrchr(path, '/');
  if (!slash)
    snprintf(out, out_sz, ".");
  else
    snprintf(out, out_sz, "%.*s", slash == path ? 1 : (int)(slash - path), path);
}

static int remove_level(const char *path, int levels) {
  DIR *d = opendir(path);
  if (!d) return errno == ENOENT ? QR_OK : QR_ERR_IO;
  int err = QR_OK;
  for (struct dirent *e; (e = readdir(d));) {
    char sub[PATH_SZ];
    if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..")) continue;
    snprintf(sub, sizeof sub, "%s/%s", path, e->d_name);
    if (!unlink(sub)) continue;
    if (errno != EISDIR || !levels || remove_level(sub, levels - 1)) err = QR_ERR_IO;
  }
  closedir(d);
  return rmdir(path) ? QR_ERR_IO : err;
}

int qr_cli_remove_dir(const char *path) { return remove_level(path, 1); }
