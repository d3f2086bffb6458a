/* Stochastic rounding in AVX-512: of errors, and of what is taken off the masters. */
#ifndef QR_ACCEL_CPU_KERN_AVX512_ROUND_H
#define QR_ACCEL_CPU_KERN_AVX512_ROUND_H

#include "kern_avx512_elem.h"

/* Errors, 64 at a time, in 16 bits with nine fraction bits: saturation there and in adding the draw
   bounds the result to seven bits. The ninth fraction bit, which the protocol does not have, never
   carries, for draws are doubled. */
typedef struct {
  __m512i half, right, left, even, odd, lo, hi;
} round_t;

static inline __m512i fraction9(const int32_t *e, bool small, const round_t *k) {
  if (small) return _mm512_sllv_epi32(load(e), k->left);
  return _mm512_srav_epi32(_mm512_add_epi32(load(e), k->half), k->right);
}

/* Bytes in the order that packing four registers of 32 bits to two of 16 leaves: those of the first
   register in the even places, of the second in the odd. */
static inline __m512i as_packed(__m512i b) {
#ifdef __AVX512VBMI__
  const __m512i first = _mm512_broadcast_i32x4(
      _mm_setr_epi32(0x21012000, 0x23032202, 0x31113010, 0x33133212)); /* of lane 0 */
  const __m512i lane = _mm512_setr_epi32(0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 12, 12, 12, 12);
  const __m512i at =
      _mm512_add_epi32(first, _mm512_mullo_epi32(lane, _mm512_set1_epi32(0x01010101)));
  return _mm512_permutexvar_epi8(at, b);
#else
  const __m512i dwords = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  const __m512i bytes =
      _mm512_broadcast_i32x4(_mm_setr_epi8(0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15));
  return _mm512_shuffle_epi8(_mm512_permutexvar_epi32(dwords, b), bytes);
#endif
}

/* part: 16-bit sums of the columns, as packed. */
static inline void round64(int8_t *dst, __m512i part[2], const int32_t *e, __m512i draws,
                           bool small, const round_t *k) {
  __m512i r = as_packed(draws);
  __m512i v0 = _mm512_packs_epi32(fraction9(e, small, k), fraction9(e + 16, small, k)),
          v1 = _mm512_packs_epi32(fraction9(e + 32, small, k), fraction9(e + 48, small, k));
  const __m512i down9 = _mm512_set1_epi16(1 << 7);
  v0 = _mm512_adds_epi16(v0, _mm512_maddubs_epi16(r, k->even));
  v1 = _mm512_adds_epi16(v1, _mm512_maddubs_epi16(r, k->odd));
  v0 = _mm512_mulhi_epi16(v0, down9);
  v1 = _mm512_mulhi_epi16(v1, down9);
  part[0] = _mm512_add_epi16(part[0], v0);
  part[1] = _mm512_add_epi16(part[1], v1);
  __m512i b = _mm512_min_epi8(_mm512_max_epi8(bytes_of(v0, v1), k->lo), k->hi);
  _mm512_storeu_si512(dst, b);
}

static inline __attribute__((always_inline)) void round_run(int8_t *dst, __m512i (*part)[2],
                                                            const int32_t *e, uint32_t periods,
                                                            uint32_t period, bool small,
                                                            const round_t *k, ars_t *a) {
  for (uint32_t i = 0; i < periods; i++) {
    for (uint32_t q = 0; q < period; q++, dst += 64, e += 64)
      round64(dst, part[q], e, ars_next(a), small, k);
  }
}

/* Sixteen columns. */
static inline void add_words(int32_t *sum, __m256i words) {
  _mm512_storeu_si512(sum, _mm512_add_epi32(load(sum), _mm512_cvtepi16_epi32(words)));
}

static void add_parts(int32_t *sum, __m512i (*part)[2], uint32_t period, uint32_t n) {
  const __m512i in_order = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7);
  uint32_t col = 0;
  for (uint32_t i = 0; i < 2 * period; i++) {
    __m512i v = _mm512_permutexvar_epi64(in_order, part[i / 2][i % 2]);
    add_words(sum + col, _mm512_castsi512_si256(v));
    col = col + 16 == n ? 0 : col + 16;
    add_words(sum + col, _mm512_extracti64x4_epi64(v, 1));
    col = col + 16 == n ? 0 : col + 16;
  }
}

static void round_e(int8_t *dst, int32_t *sum, const int32_t *e, size_t at, uint32_t rows,
                    uint32_t n, const qr_cpu_round_t *p, const qr_ars_t *s) {
  enum { PERIOD_MAX = 64, DEPTH = 256 /* times 64 fits 16 bits */ };
  /* Columns meet the same lanes again after period registers. */
  uint32_t period = n / (n % 64 == 0   ? 64
                         : n % 32 == 0 ? 32
                                       : 16),
           periods = (uint32_t)((size_t)rows * n / 64 / (period ? period : 1));
  if (n % 16 || rows % 4 || period > PERIOD_MAX) {
    plain_round_by(draw, dst, sum, e, at, rows, n, p, s);
    return;
  }
  int by = p->shift;
  const round_t k = {_mm512_set1_epi32(by > 8 ? 1 << (by - 9) : 0),
                     _mm512_set1_epi32(by > 8 ? by - 9 : 0),
                     _mm512_set1_epi32(by > 8 ? 0 : 9 - by),
                     _mm512_set1_epi16(by ? 0x0002 : 0),
                     _mm512_set1_epi16(by ? 0x0200 : 0),
                     _mm512_set1_epi8(p->lo),
                     _mm512_set1_epi8(p->hi)};
  ars_t a = ars_begin(s, (uint32_t)(at / 16));
  __m512i part[PERIOD_MAX][2];
  for (uint32_t i = 0; i < periods; i += DEPTH) {
    uint32_t cnt = periods - i < DEPTH ? periods - i : DEPTH;
    memset(part, 0, period * sizeof *part);
    if (by > 8)
      round_run(dst, part, e, cnt, period, false, &k, &a);
    else
      round_run(dst, part, e, cnt, period, true, &k, &a);
    add_parts(sum, part, period, n);
    dst += (size_t)cnt * period * 64;
    e += (size_t)cnt * period * 64;
  }
}

typedef struct {
  __m512i half, right, less; /* less: what the draw is shifted by, for small shifts */
} update_t;

/* SR of sixteen elements. Small shifts add the draw's upper bits where the element's last bits are,
   which is the same. */
static inline __m512i rounded16(__m512i g, __m128i draws, bool small, const update_t *k) {
  __m512i r = _mm512_cvtepu8_epi32(draws);
  if (small) return _mm512_srav_epi32(_mm512_add_epi32(g, _mm512_srlv_epi32(r, k->less)), k->right);
  g = _mm512_srav_epi32(_mm512_add_epi32(g, k->half), k->right);
  return _mm512_srai_epi32(_mm512_add_epi32(g, r), 8);
}

/* Where what is taken off fits 16 bits; two registers at a time. */
static inline void update32(int16_t *w, const int32_t *g, const uint8_t *r, const update_t *k) {
  const __m512i in_order = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7);
  __m512i v0 = rounded16(load(g), _mm_loadu_si128((const __m128i *)r), false, k),
          v1 = rounded16(load(g + 16), _mm_loadu_si128((const __m128i *)r + 1), false, k);
  __m512i v = _mm512_permutexvar_epi64(in_order, _mm512_packs_epi32(v0, v1));
  _mm512_storeu_si512(w, _mm512_subs_epi16(load(w), v));
}

static inline void update16(int16_t *w, const int32_t *g, const uint8_t *r, __mmask16 in,
                            bool small, const update_t *k) {
  __m512i v = rounded16(_mm512_maskz_loadu_epi32(in, g), _mm_maskz_loadu_epi8(in, r), small, k);
  v = _mm512_sub_epi32(_mm512_cvtepi16_epi32(_mm256_maskz_loadu_epi16(in, w)), v);
  _mm256_mask_storeu_epi16(w, in, _mm512_cvtsepi32_epi16(v));
}

static void update(int16_t *w, size_t ldw, const int32_t *g, size_t ldg, const uint8_t *r,
                   size_t ldr, uint32_t rows, uint32_t cols, int shift, uint32_t most) {
  bool small = shift <= 8;
  if (shift < 1 || shift > 31 || most > INT32_MAX - (1u << 22)) { /* rare */
    plain_update(w, ldw, g, ldg, r, ldr, rows, cols, shift, most);
    return;
  }
  const update_t k = {_mm512_set1_epi32(small ? 0 : 1 << (shift - 9)),
                      _mm512_set1_epi32(small ? shift : shift - 8), _mm512_set1_epi32(8 - shift)};
  bool narrow = !small && most >> shift < INT16_MAX;
  for (uint32_t i = 0; i < rows; i++, w += ldw, g += ldg, r += ldr) {
    uint32_t j = 0;
    for (; narrow && j + 32 <= cols; j += 32) update32(w + j, g + j, r + j, &k);
    for (; j < cols; j += 16) update16(w + j, g + j, r + j, first16(cols - j), small, &k);
  }
}

#endif
