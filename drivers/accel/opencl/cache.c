#include "cache.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "port/option.h"

#define PATH_SZ 1024u
#define FILE_SZ 4096u

static const struct {
  const char *key;
  size_t off;
  uint32_t lo, hi;
} keys[] = {
    {"vector", offsetof(qr_ocl_tune_t, vector), 0, 1},
    {"rows", offsetof(qr_ocl_tune_t, rows), 4, 16},
    {"tile_x", offsetof(qr_ocl_tune_t, tile_x), 16, 128},
    {"tile_y", offsetof(qr_ocl_tune_t, tile_y), 16, 128},
    {"dot", offsetof(qr_ocl_tune_t, dot), 0, QR_OCL_DOT_ARM},
    {"sliced", offsetof(qr_ocl_tune_t, sliced), 0, 1},
    {"local_table", offsetof(qr_ocl_tune_t, local_table), 0, 1},
    {"draw_items", offsetof(qr_ocl_tune_t, draw_items), 1, 1024},
    {"element_items", offsetof(qr_ocl_tune_t, element_items), 1, 1024},
    {"product_items", offsetof(qr_ocl_tune_t, product_items), 1, 1024},
    {"runs", offsetof(qr_ocl_tune_t, runs), 1, 4096},
    {"pass_rows", offsetof(qr_ocl_tune_t, pass_rows), 16, 4096},
};

static uint32_t *member(qr_ocl_tune_t *t, size_t i) {
  return (uint32_t *)(void *)((uint8_t *)t + keys[i].off);
}

static uint64_t hash_text(uint64_t h, const char *s) {
  do h = (h ^ (uint8_t)*s) * UINT64_C(0x100000001b3);
  while (*s++);
  return h;
}

/* The folder, made if it is not there, or the file in it. */
static bool path_of(const qr_ocl_dev_t *d, bool make, char *out, size_t out_sz) {
  const char *base = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
  uint64_t h = qr_ocl_source_hash() ^ d->unit_cnt;
  h = hash_text(hash_text(hash_text(h, d->platform_name), d->name), d->driver);
  int n;
  if (base && base[0] == '/')
    n = snprintf(out, out_sz, "%s", base);
  else if (home && home[0] == '/')
    n = snprintf(out, out_sz, "%s/.cache", home);
  else
    return false;
  if (n < 0 || (size_t)n + 64 > out_sz) return false;
  if (make && mkdir(out, 0700) && errno != EEXIST) return false;
  n += snprintf(out + n, out_sz - (size_t)n, "/quarry");
  if (make && mkdir(out, 0700) && errno != EEXIST) return false;
  snprintf(out + n, out_sz - (size_t)n, "/opencl-%016llx.ini", (unsigned long long)h);
  return true;
}

/* One "key = value" line; false if it is none of ours. */
static bool read_line(char *line, qr_ocl_tune_t *out, uint32_t *seen) {
  qr_option_t o;
  const char *cursor = line;
  uint64_t v;
  if (line[0] == '#' || !line[0]) return true;
  if (qr_option_next(&cursor, '\n', &o) != 1) return false;
  for (uint32_t i = 0; i < QR_ARRAY_CNT(keys); i++) {
    if (strcmp(o.key, keys[i].key)) continue;
    if (!qr_option_u64(o.value, keys[i].lo, keys[i].hi, &v)) return false;
    *member(out, i) = (uint32_t)v;
    *seen |= 1u << i;
    return true;
  }
  return false;
}

static bool is_power_of_2(uint32_t v) { return v && !(v & (v - 1)); }

/* Whether the kernels know these values side by side: each for itself is in its range. */
static bool makes_sense(const qr_ocl_tune_t *t) {
  return is_power_of_2(t->rows) && is_power_of_2(t->tile_x) && is_power_of_2(t->tile_y) &&
         (!t->sliced || t->draw_items == 1);
}

bool qr_ocl_cache_read(const qr_ocl_dev_t *d, qr_ocl_tune_t *out) {
  char path[PATH_SZ], text[FILE_SZ];
  uint32_t seen = 0;
  if (!path_of(d, false, path, sizeof path)) return false;
  FILE *f = fopen(path, "r");
  if (!f) return false;
  size_t n = fread(text, 1, sizeof text - 1, f);
  bool ok = !ferror(f) && feof(f);
  fclose(f);
  text[n] = 0;
  memset(out, 0, sizeof *out);
  char *rest = text;
  for (char *line = strsep(&rest, "\n"); ok && line; line = strsep(&rest, "\n"))
    ok = read_line(line, out, &seen);
  return ok && seen == (1u << QR_ARRAY_CNT(keys)) - 1 && makes_sense(out);
}

static bool write_file(const qr_ocl_dev_t *d, const qr_ocl_tune_t *t, const char *path) {
  char fresh[PATH_SZ + 16];
  qr_ocl_tune_t copy = *t;
  snprintf(fresh, sizeof fresh, "%s.%ld", path, (long)getpid());
  FILE *f = fopen(fresh, "w");
  if (!f) return false;
  fprintf(f, "# %s, driver %s; written by quarry, which tunes anew if this file is gone\n", d->name,
          d->driver);
  for (size_t i = 0; i < QR_ARRAY_CNT(keys); i++)
    fprintf(f, "%s = %u\n", keys[i].key, *member(&copy, i));
  bool ok = !ferror(f);
  if (fclose(f)) ok = false;
  if (ok && !rename(fresh, path)) return true;
  (void)unlink(fresh);
  return false;
}

void qr_ocl_cache_write(const qr_ocl_dev_t *d, const qr_ocl_tune_t *t) {
  char path[PATH_SZ] = "";
  errno = 0;
  if (path_of(d, true, path, sizeof path) && write_file(d, t, path)) return;
  qr_log(QR_LOG_WARN, "accel",
         "event=opencl-tuning-lost file=\"%s\" cause=\"%s\" next=\"tunes at every start\"", path,
         errno ? strerror(errno) : "no HOME and no XDG_CACHE_HOME");
}
