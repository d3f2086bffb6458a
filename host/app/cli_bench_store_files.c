#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "app/cli_bench_store.h"
#include "app/cli_files.h"
#include "base/err.h"

#define PATH_SZ 2048u

static void name_file_system(long type, char *out, size_t out_sz) {
  static const struct {
    long type;
    const char *name;
  } known[] = {{0xef53, "ext4"},      {0x58465342, "xfs"},       {0x9123683e, "btrfs"},
               {0x01021994, "tmpfs"}, {0x794c7630, "overlayfs"}, {0xf2f52010, "f2fs"},
               {0x2fc12fc1, "zfs"},   {0x6969, "nfs"},           {0x65735546, "fuse"},
               {0x01021997, "9p"}};
  for (size_t i = 0; i < QR_ARRAY_CNT(known); i++) {
    if (known[i].type == type) {
      snprintf(out, out_sz, "%s", known[i].name);
      return;
    }
  }
  snprintf(out, out_sz, "type 0x%lx", (unsigned long)type);
}

static int fail(const char *what, const char *path, char *why, size_t why_sz) {
  snprintf(why, why_sz, "cannot %s %.300s: %s", what, path, strerror(errno));
  return QR_ERR_IO;
}

static bool is_empty(const char *path) {
  DIR *d = opendir(path);
  if (!d) return false;
  bool empty = true;
  for (struct dirent *e; (e = readdir(d));)
    empty &= !strcmp(e->d_name, ".") || !strcmp(e->d_name, "..");
  closedir(d);
  return empty;
}

int qr_store_place_open(const char *dir, qr_store_place_t *p, char *why, size_t why_sz) {
  memset(p, 0, sizeof *p);
  const char *tmp = getenv("TMPDIR");
  size_t n = dir ? strlen(dir) : strlen(tmp ? tmp : "/tmp") + 32;
  if (n >= sizeof p->path) {
    snprintf(why, why_sz, "the directory's name is too long");
    return QR_ERR_ARG;
  }
  if (dir) {
    snprintf(p->path, sizeof p->path, "%s", dir);
    p->made = !mkdir(dir, 0700);
    if (!p->made && errno != EEXIST) return fail("make", dir, why, why_sz);
    if (!is_empty(dir)) {
      snprintf(why, why_sz, "%.300s is not an empty directory: this measures in one of its own",
               dir);
      return QR_ERR_ARG;
    }
  } else {
    snprintf(p->path, sizeof p->path, "%s/quarry-bench-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    if (!mkdtemp(p->path)) return fail("make", p->path, why, why_sz);
    p->made = true;
  }
  struct statfs fs;
  if (statfs(p->path, &fs)) return fail("look at", p->path, why, why_sz);
  name_file_system((long)fs.f_type, p->file_system, sizeof p->file_system);
  p->free_sz = (uint64_t)fs.f_bavail * (uint64_t)fs.f_bsize;
  return QR_OK;
}

void qr_store_place_close(const qr_store_place_t *p) {
  static const char *const names[] = {"stock", "uring", "killed-stock", "killed-uring", "again"};
  char path[PATH_SZ];
  for (size_t i = 0; i < QR_ARRAY_CNT(names); i++) {
    snprintf(path, sizeof path, "%s/%s", p->path, names[i]);
    if (qr_cli_remove_dir(path)) fprintf(stderr, "quarry: cannot remove %s\n", path);
  }
  snprintf(path, sizeof path, "%s/floor", p->path);
  (void)unlink(path);
  if (p->made && rmdir(p->path)) fprintf(stderr, "quarry: cannot remove %s\n", p->path);
}

/* Calls fn for each file of dir, until it fails. */
static int each_file(const char *dir, int (*fn)(const char *path, const char *name, void *ctx),
                     void *ctx) {
  DIR *d = opendir(dir);
  if (!d) return QR_ERR_IO;
  int err = QR_OK;
  for (struct dirent *e; !err && (e = readdir(d));) {
    char path[PATH_SZ];
    if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..")) continue;
    snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
    err = fn(path, e->d_name, ctx);
  }
  closedir(d);
  return err;
}

/* A file that a store removes meanwhile is no failure. */
static int cool(const char *path, const char *name, void *ctx) {
  (void)name, (void)ctx;
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return errno == ENOENT ? QR_OK : QR_ERR_IO;
  int err = fdatasync(fd) || posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) ? QR_ERR_IO : QR_OK;
  close(fd);
  return err;
}

int qr_store_files_cool(const char *dir) { return each_file(dir, cool, NULL); }

static int copy(const char *path, const char *name, void *ctx) {
  char to_path[PATH_SZ];
  snprintf(to_path, sizeof to_path, "%s/%s", (const char *)ctx, name);
  int from = open(path, O_RDONLY | O_CLOEXEC);
  int to = open(to_path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  ssize_t n = -1;
  if (from >= 0 && to >= 0) {
    while ((n = copy_file_range(from, NULL, to, NULL, 1u << 30, 0)) > 0) continue;
  }
  if (from >= 0) close(from);
  if (to >= 0 && close(to)) n = -1;
  return n ? QR_ERR_IO : QR_OK;
}

int qr_store_files_copy(const char *from, const char *to) {
  char path[PATH_SZ / 2];
  snprintf(path, sizeof path, "%s", to);
  return mkdir(to, 0700) ? QR_ERR_IO : each_file(from, copy, path);
}

bool qr_store_files_written(uint64_t *sz) {
  char line[128];
  bool found = false;
  unsigned long long v;
  FILE *f = fopen("/proc/self/io", "re");
  if (!f) return false;
  while (!found && fgets(line, sizeof line, f)) found = sscanf(line, "write_bytes: %llu", &v) == 1;
  fclose(f);
  if (found) *sz = v;
  return found;
}
