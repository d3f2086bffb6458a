/* The engine's fixed-point arithmetic, as host/step/README.md writes it. */
#ifndef QR_ENG_FIXED_H
#define QR_ENG_FIXED_H

#include <stdbool.h>
#include <stdint.h>

#define QR_ENG_I7_MIN (-64)
#define QR_ENG_I7_MAX 63

static inline int64_t qr_eng_clip(int64_t x, int64_t lo, int64_t hi) {
#pragma HLS INLINE
  return x < lo ? lo : x > hi ? hi : x;
}

static inline int32_t qr_eng_clip32(int32_t x, int32_t lo, int32_t hi) {
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

/* Half away from zero, s in 1..31. */
static inline int32_t qr_eng_half(int32_t x, int32_t s) {
#pragma HLS INLINE
  int32_t a = (int32_t)((qr_eng_abs(x) + ((uint32_t)1 << (s - 1))) >> s);
  return x < 0 ? -a : a;
}

/* Stochastic rounding of an int32 with a draw of one byte, any s. */
static inline int64_t qr_eng_sr(int64_t x, int64_t s, uint32_t draw) {
#pragma HLS INLINE
  if (s <= 0) return x * ((int64_t)1 << (s < -31 ? 31 : -s));
  if (s <= 8) return (x * ((int64_t)1 << (8 - s)) + (int64_t)draw) >> 8;
  if (s > 62) s = 62;
  return (((x + ((int64_t)1 << (s - 9))) >> (s - 8)) + (int64_t)draw) >> 8;
}

/* The same in 32 bits for results that are clipped to 16 bits or less: magnitudes stop at 2^30.
   What follows from s, which is the same for a whole tensor: */
typedef struct {
  uint32_t left, right, frac;
  int32_t lim;        /* magnitude of x from which x << left would pass 2^30 */
  bool whole, coarse; /* s <= 0: no fraction; s >= 9: the fraction goes to eight bits, half up */
} qr_eng_round_t;

static inline qr_eng_round_t qr_eng_round_of(int64_t s) {
#pragma HLS INLINE
  qr_eng_round_t r = {0, 0, 0, INT32_MAX, s <= 0, s > 8};
  if (s > 8) {
    r.right = s > 40 ? 31 : (uint32_t)(s - 9);
  } else if (s > 0) {
    r.right = (uint32_t)s;
    r.frac = (uint32_t)(8 - s);
  } else {
    r.left = s < -30 ? 30 : (uint32_t)-s;
    r.lim = (int32_t)((uint32_t)1 << (30 - r.left));
  }
  return r;
}

static inline int32_t qr_eng_round(int32_t x, qr_eng_round_t r, int32_t draw) {
#pragma HLS INLINE
  int32_t z = x >> r.right, y = (z >> 1) + (z & 1);
  int32_t fine = (int32_t)((uint32_t)x - ((uint32_t)z << r.right)) << r.frac;
  int32_t c = x > r.lim ? r.lim : x < -r.lim ? -r.lim : x;
  int32_t whole = r.coarse ? y >> 8 : r.whole ? c * (1 << r.left) : z;
  int32_t part = r.coarse ? y & 255 : fine;
  return whole + ((part + draw) >> 8);
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

/* Input coordinate of a tap of a convolution: at * stride + tap - 1 modulo size, at * stride <
 * size. */
static inline uint32_t qr_eng_wrapped(uint32_t at, uint32_t stride, uint32_t tap, uint32_t size) {
#pragma HLS INLINE
  uint32_t v = at * stride + tap;
  if (!v) return size - 1;
  return v > size ? v - 1 - size : v - 1;
}

/* A bias lies in the model as two int16, low half first. */
static inline int32_t qr_eng_bias_load(const int16_t *model, uint32_t off, uint32_t j) {
#pragma HLS INLINE
  uint32_t lo = (uint16_t)model[off + 2 * j], hi = (uint16_t)model[off + 2 * j + 1];
  return (int32_t)(hi << 16 | lo);
}

#endif
