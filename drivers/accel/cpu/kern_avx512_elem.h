/* What is done to the elements of products and errors, in AVX-512. Shifts, comparisons and
   saturating adds have one port, multiplications and plain adds two: where both do, the code
   multiplies. */
#ifndef QR_ACCEL_CPU_KERN_AVX512_ELEM_H
#define QR_ACCEL_CPU_KERN_AVX512_ELEM_H

#include <immintrin.h>

#include "kern_avx512_draw.h"
#include "kern_avx512_gemm.h"

static inline __m512i load(const void *p) { return _mm512_loadu_si512(p); }

static inline __mmask16 first16(uint32_t cnt) {
  return (__mmask16)(cnt < 16 ? (1u << cnt) - 1 : 0xffff);
}

static uint64_t digest(const int32_t *x, size_t ldx, uint32_t rows, uint32_t cols,
                       const uint32_t *key, size_t ldk, const uint64_t *rho) {
  __m512i total = _mm512_setzero_si512();
  for (uint32_t i = 0; i < rows; i += 8, x += 8 * ldx) {
    __m512i even = _mm512_setzero_si512(), odd = even;
    for (uint32_t j = 0; j < cols; j += 16) {
      for (uint32_t r = 0; r < 8; r += 2) {
        even = add_pairs(even, load(x + r * ldx + j), key + r * ldk + j, true);
        odd = add_pairs(odd, load(x + (r + 1) * ldx + j), key + (r + 1) * ldk + j, false);
      }
    }
    __m512i factor = _mm512_set1_epi64((int64_t)rho[i / 8]);
    total = _mm512_add_epi64(total, _mm512_mullo_epi64(_mm512_add_epi64(even, odd), factor));
  }
  return lanes64(total);
}

/* Four registers of 32 bits as one of bytes, in order, saturating. */
static inline __m512i bytes_of(__m512i w01, __m512i w23) {
  const __m512i in_order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  return _mm512_permutexvar_epi32(in_order, _mm512_packs_epi16(w01, w23));
}

/* Constants of the activation, in 16 bits: after an exact shift by pre, saturation is no worse than
   the bounds. With t = v + 2^(shift - 1), half(v) is t >> shift for v >= 0, and half(v >> 3) is
   (t + 7 * 2^(shift - 1) - 8) >> (shift + 3) for v < 0; each is the larger where it counts. */
typedef struct {
  __m512i pre, shift, leak, leak_shift, lo, hi, plus;
} act_t;

static inline __m512i act32(__m512i t0, __m512i t1, const act_t *k) {
  __m512i t = _mm512_packs_epi32(_mm512_srav_epi32(t0, k->pre), _mm512_srav_epi32(t1, k->pre));
  __m512i leaky = _mm512_mulhi_epi16(_mm512_add_epi16(t, k->leak), k->leak_shift);
  return _mm512_max_epi16(_mm512_mulhi_epi16(t, k->shift), leaky);
}

static inline __m512i act64(const int32_t *const c[4], const __m512i bias[4], const act_t *k) {
  __m512i t[4];
  for (uint32_t i = 0; i < 4; i++) t[i] = _mm512_add_epi32(load(c[i]), bias[i]);
  __m512i v = bytes_of(act32(t[0], t[1], k), act32(t[2], t[3], k));
  return _mm512_add_epi8(_mm512_min_epi8(_mm512_max_epi8(v, k->lo), k->hi), k->plus);
}

/* Blocks 32 wide, two rows at a time. */
static void act_wide(int8_t *dst, size_t ldd, const int32_t *c, size_t ldc, const __m512i bias[2],
                     uint32_t rows, const act_t *k) {
  const __m512i both[4] = {bias[0], bias[1], bias[0], bias[1]};
  for (uint32_t i = 0; i < rows; i += 2, c += 2 * ldc, dst += 2 * ldd) {
    const int32_t *const from[4] = {c, c + 16, c + ldc, c + ldc + 16};
    __m512i v = act64(from, both, k);
    _mm256_storeu_si256((__m256i *)dst, _mm512_castsi512_si256(v));
    _mm256_storeu_si256((__m256i *)(dst + ldd), _mm512_extracti64x4_epi64(v, 1));
  }
}

static void act_narrow(int8_t *dst, size_t ldd, const int32_t *c, size_t ldc, __m512i bias,
                       uint32_t rows, const act_t *k) {
  const __m512i same[4] = {bias, bias, bias, bias};
  for (uint32_t i = 0; i < rows; i += 4, c += 4 * ldc, dst += 4 * ldd) {
    const int32_t *const from[4] = {c, c + ldc, c + 2 * ldc, c + 3 * ldc};
    __m512i v = act64(from, same, k);
    _mm_storeu_si128((__m128i *)dst, _mm512_castsi512_si128(v));
    _mm_storeu_si128((__m128i *)(dst + ldd), _mm512_extracti32x4_epi32(v, 1));
    _mm_storeu_si128((__m128i *)(dst + 2 * ldd), _mm512_extracti32x4_epi32(v, 2));
    _mm_storeu_si128((__m128i *)(dst + 3 * ldd), _mm512_extracti32x4_epi32(v, 3));
  }
}

static void act(int8_t *dst, size_t ldd, const int32_t *c, size_t ldc, const int32_t *bias,
                uint32_t rows, uint32_t cols, int shift, int8_t lo, int8_t hi, int8_t plus) {
  if (shift < 2 || shift > 9) { /* no network of ours */
    plain_act(dst, ldd, c, ldc, bias, rows, cols, shift, lo, hi, plus);
    return;
  }
  int pre = shift > 6 ? shift - 6 : 0, rest = shift - pre;
  const act_t k = {_mm512_set1_epi32(pre),
                   _mm512_set1_epi16((int16_t)(1 << (16 - rest))),
                   _mm512_set1_epi16((int16_t)((7 << (rest - 1)) - (8 >> pre))),
                   _mm512_set1_epi16((int16_t)(1 << (13 - rest))),
                   _mm512_set1_epi8(lo),
                   _mm512_set1_epi8(hi),
                   _mm512_set1_epi8(plus)};
  const __m512i unit = _mm512_set1_epi32(1 << (shift - 1));
  for (uint32_t j = 0; j < cols; j += 32, dst += 32, c += 32, bias += 32) {
    __m512i b[2] = {_mm512_add_epi32(load(bias), unit)};
    if (cols - j < 32) {
      act_narrow(dst, ldd, c, ldc, b[0], rows, &k);
      return;
    }
    b[1] = _mm512_add_epi32(load(bias + 16), unit);
    act_wide(dst, ldd, c, ldc, b, rows, &k);
  }
}

/* What is left of errors whose outputs are negative where m has a bit. */
static inline __m512i leak16(int32_t *to, __m512i e, __mmask16 m) {
  e = _mm512_mask_srai_epi32(e, m, e, 3);
  _mm512_storeu_si512(to, e);
  return e;
}

/* OR of the magnitudes of two registers and all; by two ways, for each has a port of its own. */
static inline __m512i or_magnitudes(__m512i all, __m512i a, __m512i b) {
  const __m512i zero = _mm512_setzero_si512();
  b = _mm512_mask_sub_epi32(b, _mm512_cmpgt_epi32_mask(zero, b), zero, b);
  return _mm512_ternarylogic_epi32(all, _mm512_abs_epi32(a), b, 0xfe);
}

static inline __m512i leak64(int32_t *to, const __m512i from[4], const int8_t *x, __m512i all) {
  __mmask64 m = _mm512_movepi8_mask(load(x));
  __m512i a = leak16(to, from[0], (__mmask16)m),
          b = leak16(to + 16, from[1], (__mmask16)_kshiftri_mask64(m, 16)),
          c = leak16(to + 32, from[2], (__mmask16)_kshiftri_mask64(m, 32)),
          d = leak16(to + 48, from[3], (__mmask16)_kshiftri_mask64(m, 48));
  return or_magnitudes(or_magnitudes(all, a, b), c, d);
}

static inline __m512i leak_few(int32_t *to, __m512i from, const int8_t *x) {
  return leak16(to, from, _mm_movepi8_mask(_mm_loadu_si128((const __m128i *)x)));
}

/* Any multiple of 16. */
static inline __m512i leak_row(int32_t *e, const int32_t *c, const int8_t *x, size_t cnt,
                               __m512i all) {
  size_t j = 0;
  for (; j + 64 <= cnt; j += 64) {
    const __m512i v[4] = {load(c + j), load(c + j + 16), load(c + j + 32), load(c + j + 48)};
    all = leak64(e + j, v, x + j, all);
  }
  for (; j < cnt; j += 16)
    all = _mm512_or_si512(all, _mm512_abs_epi32(leak_few(e + j, load(c + j), x + j)));
  return all;
}

static inline __m512i leak32(int32_t *to, const int32_t *from, const int8_t *x, __m512i all) {
  __mmask32 m = _mm256_movepi8_mask(_mm256_loadu_si256((const __m256i *)x));
  __m512i a = leak16(to, load(from), (__mmask16)m),
          b = leak16(to + 16, load(from + 16), (__mmask16)_kshiftri_mask32(m, 16));
  return or_magnitudes(all, a, b);
}

static uint32_t mask(int32_t *e, size_t lde, const int32_t *c, size_t ldc, const int8_t *x,
                     size_t ldx, uint32_t rows, uint32_t cols) {
  __m512i all = _mm512_setzero_si512();
  if (lde == cols && ldc == cols && ldx == cols) {
    all = leak_row(e, c, x, (size_t)rows * cols, all);
  } else {
    for (uint32_t i = 0; i < rows; i++, e += lde, c += ldc, x += ldx)
      all = cols == 32 ? leak32(e, c, x, all) : leak_row(e, c, x, cols, all);
  }
  return (uint32_t)_mm512_reduce_or_epi32(all);
}

#endif
