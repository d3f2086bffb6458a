/* Element-wise loops of the kernel tables, written for the compiler's vectoriser. kern_body.h says
   what they do; kern_avx512.c brings its own. */
#include "kern.h"

/* u = ((2b - 255)(2d + 1) + 256) >> 9 = (b(2d + 1) - 255d) >> 8: the bit dropped is always
   odd. */
static void kern_dither_run(int8_t *restrict dst, const int8_t *restrict src,
                            const uint8_t *restrict b, size_t cnt, int d) {
  int16_t mul = (int16_t)(2 * d + 1), sub = (int16_t)(255 * d);
  int8_t lo = (int8_t)(QR_STEP_I7_MIN + d), hi = (int8_t)(QR_STEP_I7_MAX - d);
  for (size_t i = 0; i < cnt; i++) {
    int16_t u = (int16_t)((int16_t)((int16_t)(b[i] * mul) - sub) >> 8);
    int8_t x = src[i] < lo ? lo : src[i] > hi ? hi : src[i];
    dst[i] = (int8_t)(x + u);
  }
}

/* The low s bits of x and the draw add without leaving 32 bits: x = (x >> s) * 2^s + low. */
static inline int32_t sr31(int32_t x, uint32_t r, int s) {
  uint32_t low = (uint32_t)x & ((1u << s) - 1);
  return (x >> s) + (int32_t)((low + (r >> 1 >> (31 - s))) >> s);
}

static void kern_round_run(int8_t *restrict dst, const int32_t *restrict x,
                           const uint32_t *restrict r, size_t cnt, int s) {
  for (size_t i = 0; i < cnt; i++) {
    int32_t v = sr31(x[i], r[i], s);
    v = v < QR_STEP_I7_MIN ? QR_STEP_I7_MIN : v;
    dst[i] = (int8_t)(v > QR_STEP_I7_MAX ? QR_STEP_I7_MAX : v);
  }
}

static void kern_update_run(int16_t *restrict w, const int32_t *restrict x,
                            const uint32_t *restrict r, size_t cnt, int s) {
  for (size_t i = 0; i < cnt; i++) {
    int32_t v = w[i] - sr31(x[i], r[i], s);
    v = v < INT16_MIN ? INT16_MIN : v;
    w[i] = (int16_t)(v > INT16_MAX ? INT16_MAX : v);
  }
}

/* Magnitudes as unsigned 32-bit numbers: |v| + half a unit stays below 2^32. */
static void kern_bias_act(int8_t *restrict dst, const int32_t *restrict acc,
                          const int32_t *restrict bias, uint32_t m, uint32_t n, int shift) {
  uint32_t unit = 1u << (shift - 1);
  for (uint32_t i = 0; i < m; i++) {
    const int32_t *a = acc + (size_t)i * n;
    int8_t *d = dst + (size_t)i * n;
    for (uint32_t j = 0; j < n; j++) {
      int32_t v = a[j] + bias[j];
      v = v < 0 ? v >> 3 : v;
      int32_t h = (int32_t)(((v < 0 ? 0u - (uint32_t)v : (uint32_t)v) + unit) >> shift);
      h = v < 0 ? -h : h;
      h = h < QR_STEP_I7_MIN ? QR_STEP_I7_MIN : h;
      d[j] = (int8_t)(h > QR_STEP_I7_MAX ? QR_STEP_I7_MAX : h);
    }
  }
}

static void kern_mask(int32_t *restrict e, const int8_t *restrict x, size_t cnt) {
  for (size_t i = 0; i < cnt; i++) e[i] = x[i] < 0 ? e[i] >> 3 : e[i];
}
