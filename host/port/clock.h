/* Clock port: the only source of time for tiles, so that a simulator can provide its own. */
#ifndef QR_PORT_CLOCK_H
#define QR_PORT_CLOCK_H

#include <stdint.h>

typedef struct {
  uint64_t (*mono_ns)(void *ctx); /* monotonic, for timers */
  uint64_t (*wall_ms)(void *ctx); /* Unix time, for block times */
  void *ctx;
} qr_clock_t;

/* The operating system's clocks. */
qr_clock_t qr_clock_system(void);

#endif
