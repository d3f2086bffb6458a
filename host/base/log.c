#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define LINE_MAX_SZ 1024
#define BURST_PER_S 10

static enum qr_log_level g_level = QR_LOG_INFO;
static int g_fd = STDERR_FILENO;

static const char *const level_names[] = {"error", "warn", "info", "debug"};

void qr_log_init(enum qr_log_level level, int fd) {
  g_level = level;
  g_fd = fd;
}

bool qr_log_level_parse(const char *s, enum qr_log_level *out) {
  for (size_t i = 0; i < QR_ARRAY_CNT(level_names); i++) {
    if (!strcmp(s, level_names[i])) {
      *out = (enum qr_log_level)i;
      return true;
    }
  }
  return false;
}

static void write_line(enum qr_log_level level, const char *tile, uint32_t dropped_cnt,
                       const char *fmt, va_list ap) {
  char line[LINE_MAX_SZ];
  struct timespec ts;
  struct tm tm;
  clock_gettime(CLOCK_REALTIME, &ts);
  gmtime_r(&ts.tv_sec, &tm);
  size_t n = strftime(line, sizeof line, "%Y-%m-%dT%H:%M:%S", &tm);
  n += (size_t)snprintf(line + n, sizeof line - n, ".%03ldZ %-5s %-6s ", ts.tv_nsec / 1000000,
                        level_names[level], tile);
  int body = vsnprintf(line + n, sizeof line - n, fmt, ap);
  if (body > 0) n += (size_t)body;
  if (dropped_cnt && n < sizeof line)
    n += (size_t)snprintf(line + n, sizeof line - n, " suppressed=%u", dropped_cnt);
  if (n > sizeof line - 2) n = sizeof line - 2;
  line[n++] = '\n';
  ssize_t ignored = write(g_fd, line, n); /* a log that cannot be written has nowhere to say so */
  (void)ignored;
}

void qr_log(enum qr_log_level level, const char *tile, const char *fmt, ...) {
  if (level > g_level) return;
  va_list ap;
  va_start(ap, fmt);
  write_line(level, tile, 0, fmt, ap);
  va_end(ap);
}

void qr_log_limited(qr_log_bucket_t *bucket, enum qr_log_level level, const char *tile,
                    const char *fmt, ...) {
  if (level > g_level) return;
  struct timespec ts;
  clock_gettime(CLOCK_MONOTONIC, &ts);
  uint64_t now_ns = (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
  if (now_ns - bucket->window_ns >= 1000000000u) {
    bucket->window_ns = now_ns;
    bucket->used_cnt = 0;
  }
  if (bucket->used_cnt >= BURST_PER_S) {
    bucket->dropped_cnt++;
    return;
  }
  bucket->used_cnt++;
  va_list ap;
  va_start(ap, fmt);
  write_line(level, tile, bucket->dropped_cnt, fmt, ap);
  va_end(ap);
  bucket->dropped_cnt = 0;
}

char *qr_hex(char *out, const void *p, size_t sz) {
  static const char digits[] = "0123456789abcdef";
  const uint8_t *b = p;
  for (size_t i = 0; i < sz; i++) {
    out[2 * i] = digits[b[i] >> 4];
    out[2 * i + 1] = digits[b[i] & 15];
  }
  out[2 * sz] = 0;
  return out;
}

static int nibble(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

bool qr_unhex(void *out, size_t sz, const char *hex) {
  uint8_t *b = out;
  for (size_t i = 0; i < sz; i++) {
    int hi = nibble(hex[2 * i]);
    int lo = hi < 0 ? -1 : nibble(hex[2 * i + 1]);
    if (lo < 0) return false;
    b[i] = (uint8_t)(hi << 4 | lo);
  }
  return hex[2 * sz] == 0;
}
