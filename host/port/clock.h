/* Clock port: the only source of time for tiles, so that a simulator can provide its own. */
#ifndef QR_PORT_CLOCK_H
#define QR_PORT_CLOCK_H

#include <stdint.h>
#include <time.h>

typedef struct {
  uint64_t (*mono_ns)(void *ctx); /* monotonic, for timers */
  uint64_t (*wall_ms)(void *ctx); /* Unix time, for block times */
  void *ctx;
} qr_clock_t;

/* The operating system's clocks. */
qr_clock_t qr_clock_system(void);

/* Its monotonic clock, for what no simulator runs or what measures the machine itself: commands,
   benches, threads of drivers. Tiles ask the clock that they were given. */
static inline uint64_t qr_clock_mono_ns(void) {
  struct timespec ts;
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* Its Unix time in ms, for the same. */
static inline uint64_t qr_clock_wall_ms(void) {
  struct timespec ts;
  clock_gettime(CLOCK_REALTIME, &ts);
  return (uint64_t)ts.tv_sec * 1000u + (uint64_t)ts.tv_nsec / 1000000u;
}

#endif
