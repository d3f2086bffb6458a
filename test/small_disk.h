/* A small disk in memory, mounted where nobody else sees it, and something that fills it. */
#ifndef QR_TEST_SMALL_DISK_H
#define QR_TEST_SMALL_DISK_H

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

static char small_disk[32] = "/tmp/qr-disk-XXXXXX"; /* where it is mounted */

static inline bool small_disk_write(const char *path, const char *text) {
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  bool done = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
  if (fd >= 0) close(fd);
  return done;
}

/* Gives the process mounts of its own, before it has threads; who is not root makes a user
   namespace in which he is. False if this system does not permit that. */
static inline bool small_disk_prepare(void) {
  char map[64];
  snprintf(map, sizeof map, "0 %u 1", (unsigned)getuid());
  if (unshare(CLONE_NEWNS)) {
    if (unshare(CLONE_NEWUSER | CLONE_NEWNS) || !small_disk_write("/proc/self/uid_map", map))
      return false;
  }
  return !mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) && mkdtemp(small_disk);
}

static inline bool small_disk_mount(uint32_t mib) {
  char options[32];
  snprintf(options, sizeof options, "size=%um", mib);
  return !mount("none", small_disk, "tmpfs", 0, options);
}

/* The kernel takes a ring apart behind the back of whoever closed it, and until then holds the
   files that its last operations named: busy for a moment is no error. */
static inline bool small_disk_unmount(void) {
  for (int i = 0; umount(small_disk); i++) {
    if (errno != EBUSY || i == 1000) return false;
    usleep(10000);
  }
  return true;
}

static inline void small_disk_path(const char *name, char out[64]) {
  snprintf(out, 64, "%s/%s", small_disk, name);
}

/* Takes all there is. */
static inline bool small_disk_fill(void) {
  static const uint8_t page[65536];
  char path[64];
  small_disk_path("ballast", path);
  int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (fd < 0) return false;
  for (size_t sz = sizeof page; sz >= 4096;) {
    if (write(fd, page, sz) <= 0) sz /= 2;
  }
  close(fd);
  return true;
}

static inline bool small_disk_empty(void) {
  char path[64];
  small_disk_path("ballast", path);
  return !unlink(path);
}

#endif
