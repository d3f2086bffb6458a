#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "app/net_host.h"

static bool join(char out[PATH_MAX], const char *root, const char *path) {
  int n = snprintf(out, PATH_MAX, "%s%s", root, path);
  return n > 0 && n < PATH_MAX;
}

static void clean(char *s, bool lines) {
  for (; *s; s++) {
    if (*s == '\t')
      *s = ' ';
    else if ((*s != '\n' || !lines) && (*s < 0x20 || *s > 0x7e))
      *s = '?';
  }
}

bool qr_net_read_text(const char *root, const char *path, char *out, size_t sz) {
  char full[PATH_MAX];
  struct stat st;
  out[0] = 0;
  if (!join(full, root, path)) return false;
  /* Not a pipe that would keep us waiting, nor a device that does something when it is read. */
  if (stat(full, &st) || !S_ISREG(st.st_mode)) return false;
  int fd = open(full, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return false;
  size_t n = 0;
  while (n < sz - 1) {
    ssize_t got = read(fd, out + n, sz - 1 - n);
    if (got <= 0) break;
    n += (size_t)got;
  }
  close(fd);
  out[n] = 0;
  n = strlen(out); /* a NUL ends it */
  clean(out, true);
  while (n && out[n - 1] == '\n') out[--n] = 0;
  return n > 0;
}

bool qr_net_read_line(const char *root, const char *path, char *out, size_t sz) {
  qr_net_read_text(root, path, out, sz);
  out[strcspn(out, "\n")] = 0;
  return out[0] != 0;
}

int64_t qr_net_read_num(const char *root, const char *path, int64_t fallback) {
  char text[64], *end;
  if (!qr_net_read_text(root, path, text, sizeof text)) return fallback;
  long long v = strtoll(text, &end, 0);
  return end == text ? fallback : v;
}

bool qr_net_read_link(const char *root, const char *path, char *out, size_t sz) {
  char full[PATH_MAX], target[PATH_MAX];
  out[0] = 0;
  if (!join(full, root, path)) return false;
  ssize_t n = readlink(full, target, sizeof target - 1);
  if (n <= 0) return false;
  target[n] = 0;
  const char *slash = strrchr(target, '/'), *name = slash ? slash + 1 : target;
  size_t name_sz = strlen(name);
  if (!name_sz || name_sz >= sz) return false;
  memcpy(out, name, name_sz + 1);
  clean(out, false);
  return true;
}

uint32_t qr_net_each(const char *root, const char *path, bool (*fn)(void *ctx, const char *name),
                     void *ctx) {
  char full[PATH_MAX];
  uint32_t cnt = 0;
  DIR *dir = join(full, root, path) ? opendir(full) : NULL;
  if (!dir) return 0;
  for (struct dirent *e; cnt < QR_NET_ENTRY_MAX_CNT && (e = readdir(dir));) {
    if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..")) continue;
    cnt++;
    if (!fn(ctx, e->d_name)) break;
  }
  closedir(dir);
  return cnt;
}

bool qr_net_find_line(const char *text, const char *label, char *out, size_t sz) {
  size_t label_sz = strlen(label);
  out[0] = 0;
  for (const char *line = text; line; line = strchr(line, '\n')) {
    if (*line == '\n') line++;
    if (strncmp(line, label, label_sz)) continue;
    line += label_sz;
    line += strspn(line, " ");
    snprintf(out, sz, "%.*s", (int)strcspn(line, "\n"), line);
    return true;
  }
  return false;
}
