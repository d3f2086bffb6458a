/* The engine's fixed-point arithmetic, as host/step/README.md writes it. */
#ifndef QR_ENG_FIXED_H
#define QR_ENG_FIXED_H

#include <stdint.h>

#define QR_ENG_I7_MIN (-64)
#define QR_ENG_I7_MAX 63

static inline int64_t qr_eng_clip(int64_t x, int64_t lo, int64_t hi) {
#pragma HLS INLINE
  return x < lo ? lo : x > hi ? hi : x;
}

static inline uint32_t qr_eng_abs(int32_t x) {
#pragma HLS INLINE
  return x < 0 ? 0u - (uint32_t)x : (uint32_t)x;
}

static inline uint32_t qr_eng_min(uint32_t a, uint32_t b) {
#pragma HLS INLINE
  return a < b ? a : b;
}

static inline int32_t qr_eng_bitlen(uint32_t v) {
#pragma HLS INLINE
  int32_t n = 0;
  for (int32_t i = 0; i < 32; i++) {
#pragma HLS UNROLL
    if (v >> i & 1) n = i + 1;
  }
  return n;
}

/* Half away from zero, s in 1..31, |x| < 2^63 - 2^30. */
static inline int64_t qr_eng_half(int64_t x, int32_t s) {
#pragma HLS INLINE
  int64_t a = ((x < 0 ? -x : x) + ((int64_t)1 << (s - 1))) >> s;
  return x < 0 ? -a : a;
}

/* Stochastic rounding of an int32; s is the same for a whole tensor. */
static inline int64_t qr_eng_sr(int64_t x, int64_t s, uint32_t draw) {
#pragma HLS INLINE
  if (s <= 0) return x * ((int64_t)1 << (s < -31 ? 31 : -s));
  if (s <= 8) return (x * ((int64_t)1 << (8 - s)) + (int64_t)draw) >> 8;
  if (s > 62) s = 62;
  return (((x + ((int64_t)1 << (s - 9))) >> (s - 8)) + (int64_t)draw) >> 8;
}

/* A bias at the accumulator's scale, s in -31..31. */
static inline int64_t qr_eng_bias_at(int32_t bias, int32_t s) {
#pragma HLS INLINE
  if (s > 0) return ((int64_t)bias + ((int64_t)1 << (s - 1))) >> s;
  return (int64_t)bias * ((int64_t)1 << -s);
}

/* Byte i of the four words of a block. */
static inline uint32_t qr_eng_byte(const uint32_t block[4], uint32_t i) {
#pragma HLS INLINE
  return block[i >> 2] >> (8 * (i & 3)) & 255;
}

/* A bias lies in the model as two int16, low half first. */
static inline int32_t qr_eng_bias_load(const int16_t *model, uint32_t off, uint32_t j) {
#pragma HLS INLINE
  uint32_t lo = (uint16_t)model[off + 2 * j], hi = (uint16_t)model[off + 2 * j + 1];
  return (int32_t)(hi << 16 | lo);
}

#endif
