/* The fixed-point primitives of the training step, each as README.md writes it. Defined for every
   argument a checked network can produce and well beyond: no shift of a negative value to the left,
   no signed overflow. */
#ifndef QR_STEP_FIXED_H
#define QR_STEP_FIXED_H

#include "base/types.h"

#define QR_STEP_I7_MIN (-64)
#define QR_STEP_I7_MAX 63
#define QR_STEP_BIAS_FRAC 20
#define QR_STEP_Q_FRAC 16
#define QR_STEP_IN_FRAC 5
#define QR_STEP_MASTER_EXTRA 9 /* masters have f_w + 9 fraction bits */
#define QR_STEP_TD_LIM 65536
#define QR_STEP_BIAS_LIM_HIDDEN (1 << 20)
#define QR_STEP_BIAS_LIM_OUT (1 << 23)

/* Half away from zero: sign(x) * ((|x| + (1 << (s-1))) >> s), s in 1..31, |x| < 2^62. */
static inline int64_t qr_step_half(int64_t x, int s) {
  int64_t a = ((x < 0 ? -x : x) + ((int64_t)1 << (s - 1))) >> s;
  return x < 0 ? -a : a;
}

/* Stochastic rounding of x * 2^-s with a draw of one byte, any s, |x| <= 2^31: x goes to eight
   fraction bits, half up, and the draw decides what becomes of those. */
static inline int64_t qr_step_sr(int64_t x, int64_t s, uint8_t draw) {
  if (s <= 0) return x * ((int64_t)1 << (s < -31 ? 31 : -s));
  if (s <= 8) return (x * ((int64_t)1 << (8 - s)) + draw) >> 8;
  if (s > 62) s = 62;
  return (((x + ((int64_t)1 << (s - 9))) >> (s - 8)) + draw) >> 8;
}

/* x bounded to leave room, plus a draw u of [-d, d] made from four bits, symmetric about 0. */
static inline int8_t qr_step_dither(int8_t x, int d, uint8_t nibble) {
  int u = ((2 * (int)nibble - 15) * (2 * d + 1) + 16) >> 5;
  return (int8_t)(qr_clamp32(x, QR_STEP_I7_MIN + d, QR_STEP_I7_MAX - d) + u);
}

/* Compute copy of a master. */
static inline int8_t qr_step_w7(int16_t master) {
  return (int8_t)qr_clamp32((master + 256) >> QR_STEP_MASTER_EXTRA, QR_STEP_I7_MIN, QR_STEP_I7_MAX);
}

/* A bias at the accumulator's scale: half up for s > 0, exact for s <= 0. */
static inline int64_t qr_step_bias_at(int32_t bias, int s) {
  if (s > 0) return ((int64_t)bias + ((int64_t)1 << (s - 1))) >> s;
  return (int64_t)bias * ((int64_t)1 << -s);
}

/* Shift that brings a tensor of this largest magnitude to 8 significant bits, of which the rounding
   to 7 saturates one. */
static inline int qr_step_err_shift(uint32_t max_abs) {
  int s = qr_bitlen32(max_abs) - 8;
  return s > 0 ? s : 0;
}

static inline uint32_t qr_step_abs32(int32_t x) { return x < 0 ? 0u - (uint32_t)x : (uint32_t)x; }

#endif
