/* Random bytes and what is made of them directly, in AVX-512. */
#ifndef QR_ACCEL_CPU_KERN_AVX512_DRAW_H
#define QR_ACCEL_CPU_KERN_AVX512_DRAW_H

#include <immintrin.h>

#include "kern.h"

/* Round keys, the same in each of a register's four blocks. */
typedef struct {
  __m512i key[QR_ARS_ROUNDS + 1], ctr;
} ars_t;

static inline ars_t ars_init(const qr_ars_t *s) {
  ars_t a;
  for (uint32_t r = 0; r <= QR_ARS_ROUNDS; r++)
    a.key[r] = _mm512_broadcast_i32x4(_mm_set_epi64x((int64_t)(s->key[1] + r * QR_ARS_WEYL_HI),
                                                     (int64_t)(s->key[0] + r * QR_ARS_WEYL_LO)));
  __m128i ctr = _mm_setr_epi32(0, (int)s->stream, (int)s->ctr2, (int)s->ctr3);
  a.ctr = _mm512_add_epi32(_mm512_broadcast_i32x4(ctr),
                           _mm512_setr_epi32(0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0));
  return a;
}

#ifdef __VAES__
static inline __m512i aes(__m512i x, __m512i key) { return _mm512_aesenc_epi128(x, key); }
static inline __m512i aes_last(__m512i x, __m512i key) { return _mm512_aesenclast_epi128(x, key); }
#else
#define FOUR_BLOCKS(f)                                                                             \
  __m128i k = _mm512_castsi512_si128(key);                                                         \
  __m512i y = _mm512_castsi128_si512(f(_mm512_castsi512_si128(x), k));                             \
  y = _mm512_inserti32x4(y, f(_mm512_extracti32x4_epi32(x, 1), k), 1);                             \
  y = _mm512_inserti32x4(y, f(_mm512_extracti32x4_epi32(x, 2), k), 2);                             \
  return _mm512_inserti32x4(y, f(_mm512_extracti32x4_epi32(x, 3), k), 3);
static inline __m512i aes(__m512i x, __m512i key) { FOUR_BLOCKS(_mm_aesenc_si128) }
static inline __m512i aes_last(__m512i x, __m512i key) { FOUR_BLOCKS(_mm_aesenclast_si128) }
#undef FOUR_BLOCKS
#endif

/* Four blocks from block on. */
static inline __m512i ars(const ars_t *a, uint32_t block) {
  __m512i x = _mm512_add_epi32(a->ctr, _mm512_maskz_set1_epi32(0x1111, (int)block));
  x = _mm512_xor_si512(x, a->key[0]);
  for (uint32_t r = 1; r < QR_ARS_ROUNDS; r++) x = aes(x, a->key[r]);
  return aes_last(x, a->key[QR_ARS_ROUNDS]);
}

static void draw(void *dst, const qr_ars_t *s, uint32_t block, uint32_t cnt) {
  ars_t a = ars_init(s);
  for (uint32_t i = 0; i < cnt; i += 4) _mm512_store_si512((__m128i *)dst + i, ars(&a, block + i));
}

#endif
