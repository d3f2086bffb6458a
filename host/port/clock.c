#include "port/clock.h"

static uint64_t system_mono_ns(void *ctx) {
  (void)ctx;
  return qr_clock_mono_ns();
}

static uint64_t system_wall_ms(void *ctx) {
  (void)ctx;
  return qr_clock_wall_ms();
}

qr_clock_t qr_clock_system(void) { return (qr_clock_t){system_mono_ns, system_wall_ms, 0}; }
