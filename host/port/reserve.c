#include "port/reserve.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define MIB (1u << 20)

/* Fills the file up to its size; on failure it is removed again, for a part of it helps nobody. */
static bool take(qr_reserve_file_t *r) {
  int fd = open(r->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) return false;
  int err = posix_fallocate(fd, 0, (off_t)r->sz);
  close(fd);
  if (err) unlink(r->path);
  return !err;
}

/* What is there of an earlier run counts if it is whole. */
static bool is_there(const qr_reserve_file_t *r) {
  struct stat st;
  return !lstat(r->path, &st) && S_ISREG(st.st_mode) && (uint64_t)st.st_size >= r->sz &&
         (uint64_t)st.st_blocks * 512u >= r->sz;
}

/* Writing stops when less than half of the reserve's size is free beside it, and goes on when all
   of it is: what lies between keeps it from going to and fro. */
static bool file_has_room(void *ctx, char *why, size_t why_sz) {
  qr_reserve_file_t *r = ctx;
  struct statvfs fs;
  char dir[sizeof r->path];
  snprintf(dir, sizeof dir, "%.*s", (int)(strrchr(r->path, '/') - r->path), r->path);
  if (statvfs(dir, &fs)) {
    snprintf(why, why_sz, "cannot look at the disk of %.160s: %s", dir, strerror(errno));
    return false;
  }
  uint64_t free_sz = (uint64_t)fs.f_bavail * fs.f_frsize;
  uint64_t need = r->low ? r->sz : r->sz / 2;
  if (!r->held) {
    r->held = is_there(r);
    if (!r->held && free_sz >= need + r->sz && take(r)) {
      r->held = true;
      free_sz -= r->sz;
    }
    if (!r->held) need += r->sz;
  }
  r->low = !r->held || free_sz < need;
  if (r->low)
    snprintf(why, why_sz, "%llu MiB are free on the disk of %.160s, %llu are needed",
             (unsigned long long)(free_sz / MIB), dir, (unsigned long long)(need / MIB));
  return !r->low;
}

static void file_yield(void *ctx) {
  qr_reserve_file_t *r = ctx;
  r->held = false;
  r->low = true;
  unlink(r->path);
}

qr_reserve_t qr_reserve_file(qr_reserve_file_t *r, const char *dir, uint64_t sz) {
  *r = (qr_reserve_file_t){.sz = sz};
  snprintf(r->path, sizeof r->path, "%s/" QR_RESERVE_FILE_NAME, dir);
  return (qr_reserve_t){file_has_room, file_yield, r};
}
