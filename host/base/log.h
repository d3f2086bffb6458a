/* Log lines for people: "<time> <level> <tile> <event> key=value ...", one per line, to one file
   descriptor. Data paths count, they do not log. Lines caused by peers go through qr_log_limited.
   No secrets. */
#ifndef QR_BASE_LOG_H
#define QR_BASE_LOG_H

#include "base/types.h"

enum qr_log_level { QR_LOG_ERROR, QR_LOG_WARN, QR_LOG_INFO, QR_LOG_DEBUG };

/* Sets the process-wide level and file descriptor (default: INFO, stderr). Call before threads
 * start. */
void qr_log_init(enum qr_log_level level, int fd);

/* Parses "error", "warn", "info" or "debug"; returns false and leaves *out if it is none of them.
 */
bool qr_log_level_parse(const char *s, enum qr_log_level *out);

/* Writes one line with one write(2), cut at 1 KiB; safe from any thread. */
void qr_log(enum qr_log_level level, const char *tile, const char *fmt, ...) QR_PRINTF(3, 4);

/* Token bucket for lines that a peer can cause: at most 10 a second per bucket, the rest are
   counted and the count is appended to the next line that passes. Zero-initialise; one per thread
   and call site group. */
typedef struct {
  uint64_t window_ns;
  uint32_t used_cnt;
  uint32_t dropped_cnt;
} qr_log_bucket_t;
void qr_log_limited(qr_log_bucket_t *bucket, enum qr_log_level level, const char *tile,
                    const char *fmt, ...) QR_PRINTF(4, 5);

/* Lower-case hex of the first sz bytes of p into out (2*sz+1 bytes); returns out. */
char *qr_hex(char *out, const void *p, size_t sz);

/* Inverse of qr_hex: exactly 2*sz hex digits (either case) and a NUL; returns false otherwise. */
bool qr_unhex(void *out, size_t sz, const char *hex);

#endif
