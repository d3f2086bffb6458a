/* What is done to the elements of products and errors, in AVX-512. Shifts, comparisons and
   saturating adds have one port, multiplications and plain adds two: where both do, the code
   multiplies. */
#ifndef QR_ACCEL_CPU_KERN_AVX512_ELEM_H
#define QR_ACCEL_CPU_KERN_AVX512_ELEM_H

#include <immintrin.h>

#include "kern_avx512_draw.h"

static inline __m512i load(const void *p) { return _mm512_loadu_si512(p); }

static inline __mmask16 first16(uint32_t cnt) {
  return (__mmask16)(cnt < 16 ? (1u << cnt) - 1 : 0xffff);
}

/* Sixteen elements' pairs: (x + k) of the even ones times (x + k) of the odd. */
static inline __m512i pairs(const int32_t *x, const uint32_t *k) {
  __m512i t = _mm512_add_epi32(load(x), load(k));
  return _mm512_mul_epu32(t, _mm512_srli_epi64(t, 32));
}

static uint64_t digest(const int32_t *x, size_t ldx, uint32_t rows, uint32_t cols,
                       const uint32_t *key, size_t ldk, const uint64_t *rho) {
  __m512i total = _mm512_setzero_si512();
  for (uint32_t i = 0; i < rows; i += 8, x += 8 * ldx) {
    __m512i even = _mm512_setzero_si512(), odd = even;
    for (uint32_t j = 0; j < cols; j += 16) {
      for (uint32_t r = 0; r < 8; r += 2) {
        even = _mm512_add_epi64(even, pairs(x + r * ldx + j, key + r * ldk + j));
        odd = _mm512_add_epi64(odd, pairs(x + (r + 1) * ldx + j, key + (r + 1) * ldk + j));
      }
    }
    __m512i factor = _mm512_set1_epi64((int64_t)rho[i / 8]);
    total = _mm512_add_epi64(total, _mm512_mullo_epi64(_mm512_add_epi64(even, odd), factor));
  }
  uint64_t lane[8], sum = 0; /* the intrinsic's sum is of signed numbers, which may not overflow */
  _mm512_storeu_si512(lane, total);
  for (uint32_t i = 0; i < 8; i++) sum += lane[i];
  return sum;
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

static inline uint32_t or_of(__m512i v) { return (uint32_t)_mm512_reduce_or_epi32(v); }

/* e >> 3 where x is negative, which is stored; all gathers the magnitudes. */
static inline void leak16(int32_t *to, __m512i e, const int8_t *x, __m512i *all) {
  __mmask16 neg = _mm_movepi8_mask(_mm_loadu_si128((const __m128i *)x));
  e = _mm512_mask_srai_epi32(e, neg, e, 3);
  _mm512_storeu_si512(to, e);
  *all = _mm512_or_si512(*all, _mm512_abs_epi32(e));
}

static uint32_t mask(int32_t *e, size_t lde, const int32_t *c, size_t ldc, const int8_t *x,
                     size_t ldx, uint32_t rows, uint32_t cols) {
  __m512i all = _mm512_setzero_si512();
  for (uint32_t i = 0; i < rows; i++, e += lde, c += ldc, x += ldx) {
    for (uint32_t j = 0; j < cols; j += 16) leak16(e + j, load(c + j), x + j, &all);
  }
  return or_of(all);
}

static inline __attribute__((always_inline)) __m512i gather_of(int32_t *e, const int32_t *src,
                                                               const int8_t *x, uint32_t samples,
                                                               const qr_cpu_gather_t *g,
                                                               uint32_t ch) {
  __m512i all = _mm512_setzero_si512();
  for (uint32_t b = 0; b < samples; b++, src += g->src_sz) {
    for (uint32_t p = 0; p < g->pos_cnt; p++, e += ch, x += ch) {
      const uint32_t *at = g->at + 9 * p;
      for (uint32_t j = 0; j < ch; j += 16) {
        __m512i v = load(src + at[0] + j);
        for (uint32_t t = 1; t < g->cnt[p]; t++) v = _mm512_add_epi32(v, load(src + at[t] + j));
        leak16(e + j, v, x + j, &all);
      }
    }
  }
  return all;
}

static uint32_t gather(int32_t *e, const int32_t *src, const int8_t *x, uint32_t samples,
                       const qr_cpu_gather_t *g) {
  return or_of(g->ch == 32 ? gather_of(e, src, x, samples, g, 32)
                           : gather_of(e, src, x, samples, g, g->ch));
}

#endif
