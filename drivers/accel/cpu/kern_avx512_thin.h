/* Products of a layer of few outputs in AVX-512 VNNI: what fills registers there is not the
   outputs. */
#ifndef QR_ACCEL_CPU_KERN_AVX512_THIN_H
#define QR_ACCEL_CPU_KERN_AVX512_THIN_H

#include "kern_avx512_elem.h"

static inline __m512i plus64(__m512i v) { return _mm512_add_epi8(v, _mm512_set1_epi8(64)); }

/* Minus 64 times the sum of each four bytes: what undoes plus64 of the other factor. */
static inline __m512i undo64(__m512i sum, __m512i b) {
  return _mm512_dpbusd_epi32(sum, _mm512_set1_epi8(64), _mm512_sub_epi8(_mm512_setzero_si512(), b));
}

/* Sums of the lanes of sixteen registers, in order. */
static inline __m512i sums16(const __m512i v[16]) {
  __m512i w[8], x[4], y[2];
  UNROLL for (uint32_t i = 0; i < 8; i++) w[i] = _mm512_add_epi32(
      _mm512_unpacklo_epi32(v[2 * i], v[2 * i + 1]), _mm512_unpackhi_epi32(v[2 * i], v[2 * i + 1]));
  UNROLL for (uint32_t i = 0; i < 4; i++) x[i] = _mm512_add_epi32(
      _mm512_unpacklo_epi64(w[2 * i], w[2 * i + 1]), _mm512_unpackhi_epi64(w[2 * i], w[2 * i + 1]));
  UNROLL for (uint32_t i = 0; i < 2; i++) y[i] =
      _mm512_add_epi32(_mm512_shuffle_i32x4(x[2 * i], x[2 * i + 1], 0x88),
                       _mm512_shuffle_i32x4(x[2 * i], x[2 * i + 1], 0xdd));
  return _mm512_add_epi32(_mm512_shuffle_i32x4(y[0], y[1], 0x88),
                          _mm512_shuffle_i32x4(y[0], y[1], 0xdd));
}

/* Four rows by four rows; the last of either may be given more than once. */
static inline void thin4(int32_t out[16], const int8_t *const a[4], const int8_t *const b[4],
                         uint32_t k) {
  __m512i sum[16];
  UNROLL for (uint32_t i = 0; i < 16; i++) sum[i] = _mm512_setzero_si512();
  for (uint32_t q = 0; q < k; q += 64) {
    __mmask64 in = first64(k - q);
    __m512i w[4];
    UNROLL for (uint32_t j = 0; j < 4; j++) w[j] = _mm512_maskz_loadu_epi8(in, b[j] + q);
    UNROLL for (uint32_t i = 0; i < 4; i++) {
      __m512i x = plus64(_mm512_maskz_loadu_epi8(in, a[i] + q));
      UNROLL for (uint32_t j = 0; j < 4; j++) sum[4 * i + j] =
          _mm512_dpbusd_epi32(sum[4 * i + j], x, w[j]);
    }
  }
  _mm512_storeu_si512(out, sums16(sum));
}

static void thin(int32_t *c, const int8_t *a, const int8_t *b, uint32_t rows, uint32_t n,
                 uint32_t k) {
  for (uint32_t j = 0; j < n; j += 4) {
    const int8_t *w[4];
    int32_t undo[4], block[16];
    for (uint32_t q = 0; q < 4; q++) {
      w[q] = b + (j + q < n ? j + q : n - 1) * (size_t)k;
      __m512i sum = _mm512_setzero_si512();
      for (uint32_t p = 0; p < k; p += 64)
        sum = undo64(sum, _mm512_maskz_loadu_epi8(first64(k - p), w[q] + p));
      undo[q] = _mm512_reduce_add_epi32(sum);
    }
    for (uint32_t i = 0; i < rows; i += 4) {
      const int8_t *x[4];
      for (uint32_t q = 0; q < 4; q++) x[q] = a + (i + q < rows ? i + q : rows - 1) * (size_t)k;
      thin4(block, x, w, k);
      for (uint32_t r = 0; r < 4 && i + r < rows; r++) {
        for (uint32_t q = 0; q < 4 && j + q < n; q++)
          c[(i + r) * n + j + q] = block[4 * r + q] + undo[q];
      }
    }
  }
}

/* Sixteen columns of a row, or 64 where they are four registers. */
ALWAYS_INLINE __m512i thin_back_row(int32_t *e, __m512i a, const int8_t *b, const int32_t *undo,
                                    const int8_t *x, uint32_t cols, __m512i all) {
  uint32_t j = 0;
  for (; j + 64 <= cols; j += 64) {
    __m512i sum[4];
    UNROLL for (uint32_t q = 0; q < 4; q++) sum[q] =
        _mm512_dpbusd_epi32(load(undo + j + 16 * q), a, load(b + 4 * j + 64 * q));
    all = leak64(e + j, sum, x + j, all);
  }
  for (; j < cols; j += 16) {
    __m512i sum = _mm512_dpbusd_epi32(load(undo + j), a, load(b + 4 * j));
    all = or_magnitudes(all, leak_few(e + j, sum, x + j), _mm512_setzero_si512());
  }
  return all;
}

/* By one group of k, which few outputs are; some columns at a time. */
static uint32_t thin_back(int32_t *e, const int8_t *a, const int8_t *b, const int8_t *x,
                          uint32_t rows, uint32_t cols, uint32_t k4) {
  enum { COLS = 1024 };
  __m512i all = _mm512_setzero_si512();
  _Alignas(64) int32_t undo[COLS];
  if (k4 > 1) return plain_thin_back(e, a, b, x, rows, cols, k4);
  for (uint32_t j = 0; j < cols; j += COLS) {
    uint32_t here = cols - j < COLS ? cols - j : COLS;
    for (uint32_t q = 0; q < here; q += 16)
      _mm512_store_si512(undo + q, undo64(_mm512_setzero_si512(), load(b + 4 * (j + q))));
    for (uint32_t i = 0; i < rows; i++) {
      __m512i v = plus64(_mm512_set1_epi32((int)qr_ld32(a + 4 * (size_t)i)));
      size_t at = i * (size_t)cols + j;
      all = thin_back_row(e + at, v, b + 4 * j, undo, x + at, here, all);
    }
  }
  return (uint32_t)_mm512_reduce_or_epi32(all);
}

#endif
