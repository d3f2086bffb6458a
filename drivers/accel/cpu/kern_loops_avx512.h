/* Element-wise loops in AVX-512; the end of a row goes through the same code under a mask. What
   each computes is in kern_loops.h. */
#include <immintrin.h>

#include "kern.h"

static inline __mmask64 first64(size_t cnt) {
  return cnt < 64 ? ((__mmask64)1 << cnt) - 1 : ~(__mmask64)0;
}

static inline __mmask16 first16(size_t cnt) {
  return (__mmask16)(cnt < 16 ? (1u << cnt) - 1 : 0xffff);
}

static inline __m512i dither_u(__m512i b, __m512i mul, __m512i sub) {
  return _mm512_srai_epi16(_mm512_sub_epi16(_mm512_mullo_epi16(b, mul), sub), 8);
}

static void kern_dither_run(int8_t *dst, const int8_t *src, const uint8_t *b, size_t cnt, int d) {
  const __m512i lo = _mm512_set1_epi8((char)(QR_STEP_I7_MIN + d)),
                hi = _mm512_set1_epi8((char)(QR_STEP_I7_MAX - d)),
                mul = _mm512_set1_epi16((int16_t)(2 * d + 1)),
                sub = _mm512_set1_epi16((int16_t)(255 * d)), zero = _mm512_setzero_si512();
  for (size_t i = 0; i < cnt; i += 64) {
    __mmask64 in = first64(cnt - i);
    __m512i r = _mm512_maskz_loadu_epi8(in, b + i);
    __m512i u = _mm512_packs_epi16(dither_u(_mm512_unpacklo_epi8(r, zero), mul, sub),
                                   dither_u(_mm512_unpackhi_epi8(r, zero), mul, sub));
    __m512i x = _mm512_maskz_loadu_epi8(in, src + i);
    x = _mm512_min_epi8(_mm512_max_epi8(x, lo), hi);
    _mm512_mask_storeu_epi8(dst + i, in, _mm512_add_epi8(x, u));
  }
}

/* Shift counts of sr16; a count above 31 gives 0, so s = 0 needs no case of its own. */
typedef struct {
  __m128i s, rest; /* 32 - s */
  __m512i low;
} sr_t;

static inline sr_t sr_init(int s) {
  return (sr_t){_mm_cvtsi32_si128(s), _mm_cvtsi32_si128(32 - s),
                _mm512_set1_epi32((int)((1u << s) - 1))};
}

static inline __m512i sr16(__m512i x, __m512i r, const sr_t *k) {
  __m512i low = _mm512_add_epi32(_mm512_and_si512(x, k->low), _mm512_srl_epi32(r, k->rest));
  return _mm512_add_epi32(_mm512_sra_epi32(x, k->s), _mm512_srl_epi32(low, k->s));
}

/* Sixteen numbers clipped to seven bits. */
static inline __m128i clip7(__m512i v) {
  __m128i x = _mm_max_epi8(_mm512_cvtsepi32_epi8(v), _mm_set1_epi8(QR_STEP_I7_MIN));
  return _mm_min_epi8(x, _mm_set1_epi8(QR_STEP_I7_MAX));
}

static void kern_round_run(int8_t *dst, const int32_t *x, const uint32_t *r, size_t cnt, int s) {
  const sr_t k = sr_init(s);
  for (size_t i = 0; i < cnt; i += 16) {
    __mmask16 in = first16(cnt - i);
    __m512i v = sr16(_mm512_maskz_loadu_epi32(in, x + i), _mm512_maskz_loadu_epi32(in, r + i), &k);
    _mm_mask_storeu_epi8(dst + i, in, clip7(v));
  }
}

static void kern_update_run(int16_t *w, const int32_t *x, const uint32_t *r, size_t cnt, int s) {
  const sr_t k = sr_init(s);
  for (size_t i = 0; i < cnt; i += 16) {
    __mmask16 in = first16(cnt - i);
    __m512i v = sr16(_mm512_maskz_loadu_epi32(in, x + i), _mm512_maskz_loadu_epi32(in, r + i), &k);
    v = _mm512_sub_epi32(_mm512_cvtepi16_epi32(_mm256_maskz_loadu_epi16(in, w + i)), v);
    _mm256_mask_storeu_epi16(w + i, in, _mm512_cvtsepi32_epi16(v));
  }
}

/* The leak is a maximum: v >> 3 is above v just where v is negative. */
static void kern_bias_act(int8_t *dst, const int32_t *acc, const int32_t *bias, uint32_t m,
                          uint32_t n, int shift) {
  const __m512i unit = _mm512_set1_epi32((int)(1u << (shift - 1))), zero = _mm512_setzero_si512();
  const __m128i s = _mm_cvtsi32_si128(shift);
  for (uint32_t i = 0; i < m; i++, acc += n, dst += n) {
    for (uint32_t j = 0; j < n; j += 16) {
      __mmask16 in = first16(n - j);
      __m512i v = _mm512_add_epi32(_mm512_maskz_loadu_epi32(in, acc + j),
                                   _mm512_maskz_loadu_epi32(in, bias + j));
      v = _mm512_max_epi32(v, _mm512_srai_epi32(v, 3));
      __m512i h = _mm512_srl_epi32(_mm512_add_epi32(_mm512_abs_epi32(v), unit), s);
      h = _mm512_mask_sub_epi32(h, _mm512_movepi32_mask(v), zero, h);
      _mm_mask_storeu_epi8(dst + j, in, clip7(h));
    }
  }
}

static void kern_mask(int32_t *e, const int8_t *x, size_t cnt) {
  for (size_t i = 0; i < cnt; i += 16) {
    __mmask16 in = first16(cnt - i);
    __mmask16 neg = _mm_movepi8_mask(_mm_maskz_loadu_epi8(in, x + i));
    __m512i v = _mm512_maskz_loadu_epi32(in, e + i);
    _mm512_mask_storeu_epi32(e + i, in, _mm512_mask_srai_epi32(v, neg, v, 3));
  }
}
