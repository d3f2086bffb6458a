/* Where the time of a training step goes: a run that is timed counts, after each kernel, the ticks
   since the one before, and turns them into nanoseconds at the end. */
#ifndef QR_ACCEL_CPU_PHASE_H
#define QR_ACCEL_CPU_PHASE_H

#include "base/types.h"
#include "port/clock.h"
#if defined(__x86_64__)
#include <x86intrin.h>
#endif

#define QR_CPU_PHASES(F)                                                                           \
  F(PRODUCT, "products")                                                                           \
  F(DIGEST, "digest") /* and its keys */                                                           \
  F(DITHER, "dither") /* and its draws */                                                          \
  F(PACK, "packing")  /* operands, padded images, weights to seven bits */                         \
  F(ACT, "activation")                                                                             \
  F(ERROR, "errors")         /* gathering, mask, largest magnitude, TD */                          \
  F(ROUND, "error rounding") /* and its draws, bias gradients */                                   \
  F(UPDATE, "update")        /* and its draws */

enum qr_cpu_phase {
#define F(id, name) QR_CPU_PHASE_##id,
  QR_CPU_PHASES(F)
#undef F
      QR_CPU_PHASE_CNT
};

typedef struct {
  bool on;
  uint64_t began_ns, began, last, ticks[QR_CPU_PHASE_CNT];
} qr_cpu_laps_t;

/* Steady, cheap, in a unit of its own. */
static inline uint64_t qr_cpu_ticks(void) {
#if defined(__x86_64__)
  return __rdtsc();
#else
  return qr_clock_mono_ns();
#endif
}

static inline void qr_cpu_laps_begin(qr_cpu_laps_t *l, bool on) {
  memset(l, 0, sizeof *l);
  l->on = on;
  if (!on) return;
  l->began_ns = qr_clock_mono_ns();
  l->began = l->last = qr_cpu_ticks();
}

/* The time since the last lap was spent on this phase. */
static inline void qr_cpu_lap(qr_cpu_laps_t *l, enum qr_cpu_phase phase) {
  if (!l->on) return;
  uint64_t now = qr_cpu_ticks();
  l->ticks[phase] += now - l->last;
  l->last = now;
}

/* Adds what was counted to phase_ns; the laps' own clock is measured against the system's. For
   seconds, not hours: a product of the two stays within 64 bits. */
static inline void qr_cpu_laps_end(const qr_cpu_laps_t *l, uint64_t *phase_ns) {
  if (!l->on) return;
  uint64_t ns = qr_clock_mono_ns() - l->began_ns, ticks = qr_cpu_ticks() - l->began;
  for (uint32_t i = 0; i < QR_CPU_PHASE_CNT && ticks; i++) phase_ns[i] += l->ticks[i] * ns / ticks;
}

#endif
