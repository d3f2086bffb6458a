/* Operands of products in AVX-512. */
#ifndef QR_ACCEL_CPU_KERN_AVX512_PACK_H
#define QR_ACCEL_CPU_KERN_AVX512_PACK_H

#include <immintrin.h>

#include "kern_plain.h"

static inline __m128i load16(const int8_t *p) { return _mm_loadu_si128((const __m128i *)p); }

/* Four rows of 16 bytes, one in each lane, side by side: byte 4 * i + r is byte i of row r. */
#ifdef __AVX512VBMI__
static inline __m512i side_by_side(__m512i rows) {
#define AT(i) 0x30201000 + i * 0x01010101
  const __m512i at =
      _mm512_setr_epi32(AT(0), AT(1), AT(2), AT(3), AT(4), AT(5), AT(6), AT(7), AT(8), AT(9),
                        AT(10), AT(11), AT(12), AT(13), AT(14), AT(15));
#undef AT
  return _mm512_permutexvar_epi8(at, rows);
}
#else
static inline __m512i side_by_side(__m512i rows) {
  const __m512i dwords = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  const __m512i bytes =
      _mm512_broadcast_i32x4(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
  return _mm512_shuffle_epi8(_mm512_permutexvar_epi32(dwords, rows), bytes);
}
#endif

/* in: which of the 16 columns there are. */
static inline __m512i rows4(const int8_t *src, size_t row, __mmask16 in) {
  __m512i v = _mm512_castsi128_si512(_mm_maskz_loadu_epi8(in, src));
  v = _mm512_inserti32x4(v, _mm_maskz_loadu_epi8(in, src + row), 1);
  v = _mm512_inserti32x4(v, _mm_maskz_loadu_epi8(in, src + 2 * row), 2);
  return side_by_side(_mm512_inserti32x4(v, _mm_maskz_loadu_epi8(in, src + 3 * row), 3));
}

/* As rows4 of whole rows: lanes are filled by loads, which cost no shuffle. */
static inline __m512i whole_rows4(const int8_t *src, size_t row) {
  __m512i v = _mm512_castsi128_si512(load16(src));
  v = _mm512_mask_broadcast_i32x4(v, 0x00f0, load16(src + row));
  v = _mm512_mask_broadcast_i32x4(v, 0x0f00, load16(src + 2 * row));
  return side_by_side(_mm512_mask_broadcast_i32x4(v, 0xf000, load16(src + 3 * row)));
}

static void pack(int8_t *dst, size_t panel_sz, const int8_t *src, uint32_t groups, uint32_t n,
                 size_t group, size_t row, int8_t plus) {
  const __m512i add = _mm512_set1_epi8(plus);
  uint32_t j = 0;
  for (; j + QR_CPU_PANEL <= n; j += QR_CPU_PANEL, dst += panel_sz) {
    for (uint32_t g = 0; g < groups; g++) {
      __m512i v = whole_rows4(src + g * group + j, row);
      _mm512_storeu_si512(dst + (size_t)g * 64, _mm512_add_epi8(v, add));
    }
  }
  if (j == n) return;
  __mmask16 in = (__mmask16)((1u << (n - j)) - 1);
  __mmask64 in4 = ((__mmask64)1 << 4 * (n - j)) - 1;
  for (uint32_t g = 0; g < groups; g++) {
    __m512i v = rows4(src + g * group + j, row, in);
    _mm512_storeu_si512(dst + (size_t)g * 64, _mm512_maskz_add_epi8(in4, v, add));
  }
}

static void interleave(int8_t *dst, const int8_t *src, size_t stride, uint32_t cnt) {
  const __m512i add = _mm512_set1_epi8(64);
  uint32_t i = 0;
  for (; i + 16 <= cnt; i += 16)
    _mm512_storeu_si512(dst + 4 * (size_t)i, _mm512_add_epi8(whole_rows4(src + i, stride), add));
  if (i < cnt) {
    __m512i v = _mm512_add_epi8(rows4(src + i, stride, 0x00ff), add);
    _mm256_storeu_si256((__m256i *)(dst + 4 * (size_t)i), _mm512_castsi512_si256(v));
  }
}

static void image4(int8_t *dst, const int8_t *src, size_t stride, const qr_cpu_image_t *g) {
  plain_image4_by(interleave, dst, src, stride, g);
}

/* Sixteen rows of four groups as the panel's groups: a transposition of 4 by 4 blocks of
   4 by 4 words. Lanes are filled by loads, so that half of it costs no shuffle. */
static inline void transpose16(int8_t *dst, const int8_t *src, size_t ld) {
  __m512i v[4];
  for (uint32_t i = 0; i < 4; i++) {
    const int8_t *s = src + i * ld;
    v[i] = _mm512_castsi128_si512(load16(s));
    v[i] = _mm512_mask_broadcast_i32x4(v[i], 0x00f0, load16(s + 4 * ld));
    v[i] = _mm512_mask_broadcast_i32x4(v[i], 0x0f00, load16(s + 8 * ld));
    v[i] = _mm512_mask_broadcast_i32x4(v[i], 0xf000, load16(s + 12 * ld));
  }
  __m512i a = _mm512_unpacklo_epi32(v[0], v[1]), b = _mm512_unpackhi_epi32(v[0], v[1]),
          c = _mm512_unpacklo_epi32(v[2], v[3]), d = _mm512_unpackhi_epi32(v[2], v[3]);
  __m512i to[4] = {_mm512_unpacklo_epi64(a, c), _mm512_unpackhi_epi64(a, c),
                   _mm512_unpacklo_epi64(b, d), _mm512_unpackhi_epi64(b, d)};
  for (uint32_t g = 0; g < 4; g++) _mm512_storeu_si512(dst + (size_t)g * 64, to[g]);
}

static void pack_trans(int8_t *dst, size_t panel_sz, const int8_t *src, uint32_t k4, uint32_t n,
                       size_t ld) {
  for (uint32_t j = 0; j < n; j += QR_CPU_PANEL, src += QR_CPU_PANEL * ld, dst += panel_sz) {
    uint32_t g = 0;
    for (; g + 4 <= k4; g += 4) transpose16(dst + g * (size_t)64, src + 4 * (size_t)g, ld);
    if (g < k4) plain_pack_trans(dst + g * (size_t)64, 0, src + 4 * (size_t)g, k4 - g, 16, ld);
  }
}

static void sums(int32_t *init, const int8_t *panels, size_t panel_sz, uint32_t groups,
                 uint32_t n) {
  const __m512i each = _mm512_set1_epi8(64), zero = _mm512_setzero_si512();
  for (uint32_t j = 0; j < n; j += QR_CPU_PANEL, panels += panel_sz) {
    __m512i a = zero, b = zero, c = zero, d = zero; /* four chains hide the latency */
    uint32_t g = 0;
    for (; g + 4 <= groups; g += 4) {
      const int8_t *p = panels + g * (size_t)64;
      a = _mm512_dpbusd_epi32(a, each, _mm512_loadu_si512(p));
      b = _mm512_dpbusd_epi32(b, each, _mm512_loadu_si512(p + 64));
      c = _mm512_dpbusd_epi32(c, each, _mm512_loadu_si512(p + 128));
      d = _mm512_dpbusd_epi32(d, each, _mm512_loadu_si512(p + 192));
    }
    for (; g < groups; g++)
      a = _mm512_dpbusd_epi32(a, each, _mm512_loadu_si512(panels + g * (size_t)64));
    a = _mm512_add_epi32(_mm512_add_epi32(a, b), _mm512_add_epi32(c, d));
    _mm512_storeu_si512(init + j, _mm512_sub_epi32(_mm512_loadu_si512(init + j), a));
  }
}

#endif
