/* Shared by the tables of x86-64: what the baseline's byte shuffles do best. */
#include <immintrin.h>

#include "kern.h"

/* Four rows of 16 columns side by side, each byte plus plus. */
static inline void kern_pack_group(uint8_t *dst, const int8_t *r0, const int8_t *r1,
                                   const int8_t *r2, const int8_t *r3, uint8_t plus) {
  const __m128i add = _mm_set1_epi8((char)plus);
  __m128i a = _mm_loadu_si128((const __m128i *)r0), b = _mm_loadu_si128((const __m128i *)r1),
          c = _mm_loadu_si128((const __m128i *)r2), d = _mm_loadu_si128((const __m128i *)r3);
  __m128i ab0 = _mm_unpacklo_epi8(a, b), ab1 = _mm_unpackhi_epi8(a, b),
          cd0 = _mm_unpacklo_epi8(c, d), cd1 = _mm_unpackhi_epi8(c, d);
  __m128i *to = (__m128i *)dst;
  _mm_storeu_si128(to, _mm_add_epi8(_mm_unpacklo_epi16(ab0, cd0), add));
  _mm_storeu_si128(to + 1, _mm_add_epi8(_mm_unpackhi_epi16(ab0, cd0), add));
  _mm_storeu_si128(to + 2, _mm_add_epi8(_mm_unpacklo_epi16(ab1, cd1), add));
  _mm_storeu_si128(to + 3, _mm_add_epi8(_mm_unpackhi_epi16(ab1, cd1), add));
}
