/* AVX2 and AES-NI: any x86-64 server of the last decade. */
#include <immintrin.h>

#include "kern_plain.h"

static bool supported(void) {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("aes");
}

static void draw(void *dst, const qr_ars_t *s, uint32_t block, uint32_t cnt) {
  __m128i key[QR_ARS_ROUNDS + 1];
  for (uint32_t r = 0; r <= QR_ARS_ROUNDS; r++)
    key[r] = _mm_set_epi64x((int64_t)(s->key[1] + r * QR_ARS_WEYL_HI),
                            (int64_t)(s->key[0] + r * QR_ARS_WEYL_LO));
  for (uint32_t i = 0; i < cnt; i++) {
    __m128i x = _mm_setr_epi32((int)(block + i), (int)s->stream, (int)s->ctr2, (int)s->ctr3);
    x = _mm_xor_si128(x, key[0]);
    for (uint32_t r = 1; r < QR_ARS_ROUNDS; r++) x = _mm_aesenc_si128(x, key[r]);
    _mm_store_si128((__m128i *)dst + i, _mm_aesenclast_si128(x, key[QR_ARS_ROUNDS]));
  }
}

static void dither(int8_t *dst, const int8_t *src, size_t at, size_t cnt, const qr_cpu_dither_t *d,
                   const qr_ars_t *s) {
  plain_dither_by(draw, dst, src, at, cnt, d, s);
}

static void round_e(int8_t *dst, int32_t *sum, const int32_t *e, size_t at, uint32_t rows,
                    uint32_t n, const qr_cpu_round_t *p, const qr_ars_t *s) {
  plain_round_by(draw, dst, sum, e, at, rows, n, p, s);
}

static inline __m256i load(const void *p) { return _mm256_loadu_si256((const __m256i *)p); }
static inline void store(void *p, __m256i v) { _mm256_storeu_si256((__m256i *)p, v); }

#define ROWS(F) F(0) F(1) F(2) F(3)

/* Four rows by one panel: eight accumulators. Pair sums never saturate, see kern.h. */
static void tile4(const qr_cpu_gemm_t *g, uint32_t row, uint32_t col) {
  const __m256i one = _mm256_set1_epi16(1);
  const int8_t *b = g->b + (size_t)col * g->k4 * 4;
  int32_t *c = g->c + row * g->ldc + col;
#define LOAD(i)                                                                                    \
  const int8_t *a##i = g->a + g->row[row + i];                                                     \
  __m256i x##i = load(g->init + col), y##i = load(g->init + col + 8);
#define STEP(i)                                                                                    \
  {                                                                                                \
    __m256i v = _mm256_set1_epi32((int)qr_ld32(a##i + at));                                        \
    x##i = _mm256_add_epi32(x##i, _mm256_madd_epi16(_mm256_maddubs_epi16(v, p), one));             \
    y##i = _mm256_add_epi32(y##i, _mm256_madd_epi16(_mm256_maddubs_epi16(v, q), one));             \
  }
#define STORE(i)                                                                                   \
  if (g->add) {                                                                                    \
    x##i = _mm256_add_epi32(x##i, load(c + i * g->ldc));                                           \
    y##i = _mm256_add_epi32(y##i, load(c + i * g->ldc + 8));                                       \
  }                                                                                                \
  store(c + i * g->ldc, x##i);                                                                     \
  store(c + i * g->ldc + 8, y##i);
  ROWS(LOAD)
  for (uint32_t k = 0; k < g->k4; k++, b += 64) {
    __m256i p = load(b), q = load(b + 32);
    size_t at = g->step[k];
    ROWS(STEP)
  }
  ROWS(STORE)
#undef LOAD
#undef STEP
#undef STORE
}

static void gemm(const qr_cpu_gemm_t *g) {
  for (uint32_t col = 0; col < g->n; col += QR_CPU_PANEL) {
    for (uint32_t row = 0; row < g->m; row += 4) tile4(g, row, col);
  }
}

const qr_cpu_kern_t qr_cpu_kern_avx2 = {
    .name = "avx2",
    .supported = supported,
    .draw = draw,
    .w7 = plain_w7,
    .dither = dither,
    .pack = plain_pack,
    .pack_trans = plain_pack_trans,
    .sums = plain_sums,
    .interleave = plain_interleave,
    .gemm = gemm,
    .digest = plain_digest,
    .act = plain_act,
    .mask = plain_mask,
    .gather = plain_gather,
    .round = round_e,
    .update = plain_update,
};
