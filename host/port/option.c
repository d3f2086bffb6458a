#include "port/option.h"

#include "base/err.h"

static bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\n'; }

static bool copy_trimmed(char *out, size_t out_sz, const char *from, const char *to) {
  while (from < to && is_blank(*from)) from++;
  while (from < to && is_blank(to[-1])) to--;
  size_t sz = (size_t)(to - from);
  if (sz >= out_sz) return false;
  memcpy(out, from, sz);
  out[sz] = 0;
  return true;
}

int qr_option_next(const char **cursor, char separator, qr_option_t *out) {
  while (**cursor == separator || is_blank(**cursor)) (*cursor)++;
  const char *p = *cursor;
  if (!*p) return 0;
  const char *end = strchr(p, separator);
  if (!end) end = p + strlen(p);
  const char *eq = memchr(p, '=', (size_t)(end - p));
  *cursor = end;
  if (!copy_trimmed(out->key, sizeof out->key, p, eq ? eq : end)) return QR_ERR_ARG;
  if (!copy_trimmed(out->value, sizeof out->value, eq ? eq + 1 : end, end)) return QR_ERR_ARG;
  return out->key[0] ? 1 : QR_ERR_ARG;
}

bool qr_option_u64(const char *value, uint64_t lo, uint64_t hi, uint64_t *out) {
  uint64_t v = 0;
  if (!*value) return false;
  for (; *value; value++) {
    if (*value < '0' || *value > '9') return false;
    uint64_t digit = (uint64_t)(*value - '0');
    if (v > (UINT64_MAX - digit) / 10) return false;
    v = v * 10 + digit;
  }
  if (v < lo || v > hi) return false;
  *out = v;
  return true;
}
