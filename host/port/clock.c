#include "port/clock.h"

#include <time.h>

static uint64_t read_ns(clockid_t id) {
  struct timespec ts;
  clock_gettime(id, &ts);
  return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static uint64_t system_mono_ns(void *ctx) {
  (void)ctx;
  return read_ns(CLOCK_MONOTONIC);
}

static uint64_t system_wall_ms(void *ctx) {
  (void)ctx;
  return read_ns(CLOCK_REALTIME) / 1000000u;
}

qr_clock_t qr_clock_system(void) { return (qr_clock_t){system_mono_ns, system_wall_ms, 0}; }
