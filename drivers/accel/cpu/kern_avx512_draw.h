/* Random bytes and dither in AVX-512. */
#ifndef QR_ACCEL_CPU_KERN_AVX512_DRAW_H
#define QR_ACCEL_CPU_KERN_AVX512_DRAW_H

#include <immintrin.h>

#include "kern_plain.h"

/* A stream being read in order, four blocks at a time. */
typedef struct {
  __m512i key[QR_ARS_ROUNDS + 1]; /* the same in each of a register's four blocks */
  __m512i ctr;
} ars_t;

static inline ars_t ars_begin(const qr_ars_t *s, uint32_t block) {
  ars_t a;
  for (uint32_t r = 0; r <= QR_ARS_ROUNDS; r++)
    a.key[r] = _mm512_broadcast_i32x4(_mm_set_epi64x((int64_t)(s->key[1] + r * QR_ARS_WEYL_HI),
                                                     (int64_t)(s->key[0] + r * QR_ARS_WEYL_LO)));
  __m128i ctr = _mm_setr_epi32((int)block, (int)s->stream, (int)s->ctr2, (int)s->ctr3);
  a.ctr = _mm512_add_epi32(_mm512_broadcast_i32x4(ctr),
                           _mm512_setr_epi32(0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0));
  return a;
}

#ifdef __VAES__
static inline __m512i aes(__m512i x, __m512i key) { return _mm512_aesenc_epi128(x, key); }
static inline __m512i aes_last(__m512i x, __m512i key) { return _mm512_aesenclast_epi128(x, key); }
#else
#define EACH_BLOCK(f)                                                                              \
  __m128i k = _mm512_castsi512_si128(key);                                                         \
  __m512i y = _mm512_castsi128_si512(f(_mm512_castsi512_si128(x), k));                             \
  y = _mm512_inserti32x4(y, f(_mm512_extracti32x4_epi32(x, 1), k), 1);                             \
  y = _mm512_inserti32x4(y, f(_mm512_extracti32x4_epi32(x, 2), k), 2);                             \
  return _mm512_inserti32x4(y, f(_mm512_extracti32x4_epi32(x, 3), k), 3);
static inline __m512i aes(__m512i x, __m512i key) { EACH_BLOCK(_mm_aesenc_si128) }
static inline __m512i aes_last(__m512i x, __m512i key) { EACH_BLOCK(_mm_aesenclast_si128) }
#undef EACH_BLOCK
#endif

static inline __m512i ars_next(ars_t *a) {
  const __m512i four = _mm512_setr_epi32(4, 0, 0, 0, 4, 0, 0, 0, 4, 0, 0, 0, 4, 0, 0, 0);
  __m512i x = _mm512_xor_si512(a->ctr, a->key[0]);
  a->ctr = _mm512_add_epi32(a->ctr, four);
  for (uint32_t r = 1; r < QR_ARS_ROUNDS; r++) x = aes(x, a->key[r]);
  return aes_last(x, a->key[QR_ARS_ROUNDS]);
}

static void draw(void *dst, const qr_ars_t *s, uint32_t block, uint32_t cnt) {
  ars_t a = ars_begin(s, block);
  for (uint32_t i = 0; i < cnt; i += 4) _mm512_store_si512((__m128i *)dst + i, ars_next(&a));
}

/* Entries of a table of 16, one in each lane, by the low and the high halves of bytes. */
#ifdef __AVX512VBMI__
static inline __m512i by_low(__m512i table, __m512i b) { return _mm512_permutexvar_epi8(b, table); }
static inline __m512i by_high(__m512i table, __m512i b) {
  /* The shift leaves the neighbour's bits above the half, which a table of 16 repeated four times
     does not see; on another port than AES. */
  const __m512i shift = _mm512_set1_epi64(0x3c342c241c140c04);
  return _mm512_permutexvar_epi8(_mm512_multishift_epi64_epi8(shift, b), table);
}
#else
static inline __m512i by_low(__m512i table, __m512i b) {
  return _mm512_shuffle_epi8(table, _mm512_and_si512(b, _mm512_set1_epi8(15)));
}
static inline __m512i by_high(__m512i table, __m512i b) {
  return by_low(table, _mm512_srli_epi16(b, 4));
}
#endif

typedef struct {
  __m512i lo, hi, table;
} dither_t;

/* in: which of the 64 elements there are. */
static inline void dither64(int8_t *dst, const int8_t *src, __m512i u, __mmask64 in, bool bounded,
                            const dither_t *k) {
  __m512i x = _mm512_maskz_loadu_epi8(in, src);
  if (!bounded) x = _mm512_min_epi8(_mm512_max_epi8(x, k->lo), k->hi);
  _mm512_mask_storeu_epi8(dst, in, _mm512_add_epi8(x, u));
}

static inline __mmask64 first64(size_t cnt) {
  return cnt < 64 ? ((__mmask64)1 << cnt) - 1 : ~(__mmask64)0;
}

static inline __attribute__((always_inline)) void
dither_run(int8_t *dst, const int8_t *src, size_t cnt, bool bounded, const dither_t *k, ars_t *a) {
  const __mmask64 all = ~(__mmask64)0;
  size_t i = 0;
  for (; i + QR_CPU_DRAW <= cnt; i += QR_CPU_DRAW) {
    __m512i b = ars_next(a);
    dither64(dst + i, src + i, by_low(k->table, b), all, bounded, k);
    dither64(dst + i + 64, src + i + 64, by_high(k->table, b), all, bounded, k);
  }
  if (i == cnt) return;
  __m512i b = ars_next(a);
  dither64(dst + i, src + i, by_low(k->table, b), first64(cnt - i), bounded, k);
  if (cnt - i > 64)
    dither64(dst + i + 64, src + i + 64, by_high(k->table, b), first64(cnt - i - 64), bounded, k);
}

/* What each of the sixteen draws adds, in every lane. */
static inline __m512i dither_table(const qr_cpu_dither_t *d) {
  __m256i n = _mm256_setr_epi16(-15, -13, -11, -9, -7, -5, -3, -1, 1, 3, 5, 7, 9, 11, 13, 15);
  __m256i u = _mm256_mullo_epi16(n, _mm256_set1_epi16((int16_t)(2 * d->d + 1)));
  u = _mm256_srai_epi16(_mm256_add_epi16(u, _mm256_set1_epi16(16)), 5);
  __m128i b = _mm_packs_epi16(_mm256_castsi256_si128(u), _mm256_extracti128_si256(u, 1));
  return _mm512_broadcast_i32x4(_mm_add_epi8(b, _mm_set1_epi8(d->plus)));
}

static void dither(int8_t *dst, const int8_t *src, size_t at, size_t cnt, const qr_cpu_dither_t *d,
                   const qr_ars_t *s) {
  if (!d->d) {
    plain_plus(dst, src, cnt, d->plus);
    return;
  }
  const dither_t k = {_mm512_set1_epi8((char)(QR_STEP_I7_MIN + d->d)),
                      _mm512_set1_epi8((char)(QR_STEP_I7_MAX - d->d)), dither_table(d)};
  ars_t a = ars_begin(s, (uint32_t)(at / QR_CPU_DRAW * 4));
  if (d->bounded)
    dither_run(dst, src, cnt, true, &k, &a);
  else
    dither_run(dst, src, cnt, false, &k, &a);
}

/* (x + 256) >> 9 in seven bits: the sum saturates where it would leave 16. */
static inline __m512i w7_of(const int16_t *src) {
  __m512i v = _mm512_adds_epi16(_mm512_loadu_si512(src), _mm512_set1_epi16(256));
  return _mm512_mulhi_epi16(v, _mm512_set1_epi16(1 << 7));
}

static void w7(int8_t *dst, const int16_t *src, size_t cnt, int8_t lo, int8_t hi) {
  const __m512i in_order = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7);
  size_t i = 0;
  for (; i + 64 <= cnt; i += 64) {
    __m512i v = _mm512_packs_epi16(w7_of(src + i), w7_of(src + i + 32));
    v = _mm512_permutexvar_epi64(in_order, v);
    v = _mm512_min_epi8(_mm512_max_epi8(v, _mm512_set1_epi8(lo)), _mm512_set1_epi8(hi));
    _mm512_storeu_si512(dst + i, v);
  }
  plain_w7(dst + i, src + i, cnt - i, lo, hi);
}

#endif
