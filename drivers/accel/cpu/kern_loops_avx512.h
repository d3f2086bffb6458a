/* Element-wise loops in AVX-512; the end of a row goes through the same code under a mask. Whole
   registers have a constant mask, for making one costs as much as the rest. What
   each computes is in kern_loops.h. */
#include <immintrin.h>

#include "kern.h"

static inline __mmask64 first64(size_t cnt) {
  return cnt < 64 ? ((__mmask64)1 << cnt) - 1 : ~(__mmask64)0;
}

static inline __mmask16 first16(size_t cnt) {
  return (__mmask16)(cnt < 16 ? (1u << cnt) - 1 : 0xffff);
}

typedef struct {
  __m512i lo, hi, mul, sub;
} dither_t;

static inline __m512i dither_u(__m512i b, const dither_t *k) {
  return _mm512_srai_epi16(_mm512_sub_epi16(_mm512_mullo_epi16(b, k->mul), k->sub), 8);
}

static inline void dither64(int8_t *dst, const int8_t *src, const uint8_t *b, __mmask64 in,
                            const dither_t *k) {
  const __m512i zero = _mm512_setzero_si512();
  __m512i r = _mm512_maskz_loadu_epi8(in, b);
  __m512i u = _mm512_packs_epi16(dither_u(_mm512_unpacklo_epi8(r, zero), k),
                                 dither_u(_mm512_unpackhi_epi8(r, zero), k));
  __m512i x = _mm512_maskz_loadu_epi8(in, src);
  x = _mm512_min_epi8(_mm512_max_epi8(x, k->lo), k->hi);
  _mm512_mask_storeu_epi8(dst, in, _mm512_add_epi8(x, u));
}

static void kern_dither_run(int8_t *dst, const int8_t *src, const uint8_t *b, size_t cnt, int d) {
  const dither_t k = {
      _mm512_set1_epi8((char)(QR_STEP_I7_MIN + d)), _mm512_set1_epi8((char)(QR_STEP_I7_MAX - d)),
      _mm512_set1_epi16((int16_t)(2 * d + 1)), _mm512_set1_epi16((int16_t)(255 * d))};
  size_t i = 0;
  for (; i + 64 <= cnt; i += 64) dither64(dst + i, src + i, b + i, ~(__mmask64)0, &k);
  if (i < cnt) dither64(dst + i, src + i, b + i, first64(cnt - i), &k);
}

/* Constants of sr16. A shift of one count for all lanes costs two operations, of counts lane by
   lane one; a count above 31 gives 0, so s = 0 needs no case of its own. */
typedef struct {
  __m512i s, rest, low; /* rest = 32 - s, low = 2^s - 1 */
} sr_t;

static inline sr_t sr_init(int s) {
  return (sr_t){_mm512_set1_epi32(s), _mm512_set1_epi32(32 - s),
                _mm512_set1_epi32((int)((1u << s) - 1))};
}

static inline __m512i sr16(__m512i x, __m512i r, const sr_t *k) {
  __m512i low = _mm512_add_epi32(_mm512_and_si512(x, k->low), _mm512_srlv_epi32(r, k->rest));
  return _mm512_add_epi32(_mm512_srav_epi32(x, k->s), _mm512_srlv_epi32(low, k->s));
}

/* Sixteen numbers clipped to seven bits. */
static inline __m128i clip7(__m512i v) {
  __m128i x = _mm_max_epi8(_mm512_cvtsepi32_epi8(v), _mm_set1_epi8(QR_STEP_I7_MIN));
  return _mm_min_epi8(x, _mm_set1_epi8(QR_STEP_I7_MAX));
}

static inline void round16(int8_t *dst, const int32_t *x, const uint32_t *r, __mmask16 in,
                           const sr_t *k) {
  __m512i v = sr16(_mm512_maskz_loadu_epi32(in, x), _mm512_maskz_loadu_epi32(in, r), k);
  _mm_mask_storeu_epi8(dst, in, clip7(v));
}

static void kern_round_run(int8_t *dst, const int32_t *x, const uint32_t *r, size_t cnt, int s) {
  const sr_t k = sr_init(s);
  size_t i = 0;
  for (; i + 16 <= cnt; i += 16) round16(dst + i, x + i, r + i, 0xffff, &k);
  if (i < cnt) round16(dst + i, x + i, r + i, first16(cnt - i), &k);
}

static inline void update16(int16_t *w, const int32_t *x, const uint32_t *r, __mmask16 in,
                            const sr_t *k) {
  __m512i v = sr16(_mm512_maskz_loadu_epi32(in, x), _mm512_maskz_loadu_epi32(in, r), k);
  v = _mm512_sub_epi32(_mm512_cvtepi16_epi32(_mm256_maskz_loadu_epi16(in, w)), v);
  _mm256_mask_storeu_epi16(w, in, _mm512_cvtsepi32_epi16(v));
}

static void kern_update_run(int16_t *w, const int32_t *x, const uint32_t *r, size_t cnt, int s) {
  const sr_t k = sr_init(s);
  size_t i = 0;
  for (; i + 16 <= cnt; i += 16) update16(w + i, x + i, r + i, 0xffff, &k);
  if (i < cnt) update16(w + i, x + i, r + i, first16(cnt - i), &k);
}

typedef struct {
  __m512i unit, shift; /* unit is half of the last place */
} act_t;

/* The leak is a maximum: v >> 3 is above v just where v is negative. */
static inline void act16(int8_t *dst, const int32_t *acc, const int32_t *bias, __mmask16 in,
                         const act_t *k) {
  __m512i v =
      _mm512_add_epi32(_mm512_maskz_loadu_epi32(in, acc), _mm512_maskz_loadu_epi32(in, bias));
  v = _mm512_max_epi32(v, _mm512_srai_epi32(v, 3));
  __m512i h = _mm512_srlv_epi32(_mm512_add_epi32(_mm512_abs_epi32(v), k->unit), k->shift);
  h = _mm512_mask_sub_epi32(h, _mm512_movepi32_mask(v), _mm512_setzero_si512(), h);
  _mm_mask_storeu_epi8(dst, in, clip7(h));
}

static void kern_bias_act(int8_t *dst, const int32_t *acc, const int32_t *bias, uint32_t m,
                          uint32_t n, int shift) {
  const act_t k = {_mm512_set1_epi32((int)(1u << (shift - 1))), _mm512_set1_epi32(shift)};
  for (uint32_t i = 0; i < m; i++, acc += n, dst += n) {
    uint32_t j = 0;
    for (; j + 16 <= n; j += 16) act16(dst + j, acc + j, bias + j, 0xffff, &k);
    if (j < n) act16(dst + j, acc + j, bias + j, first16(n - j), &k);
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
