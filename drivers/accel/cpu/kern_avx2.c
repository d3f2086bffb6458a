/* AVX2 with AES: any x86-64 server of the last decade. */
#include "kern_256.h"

static bool supported(void) {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("aes");
}

/* Blocks go through the rounds four at a time, which hides the latency of each. */
static void draw(void *dst, const qr_ars_t *s, uint32_t block, uint32_t cnt) {
  const __m128i one = _mm_setr_epi32(1, 0, 0, 0);
  __m128i key[QR_ARS_ROUNDS + 1], x[4], ctr = counter(s, block), *to = dst;
  for (uint32_t i = 0; i <= QR_ARS_ROUNDS; i++) key[i] = round_key(s, i);
  for (uint32_t b = 0; b < cnt; b += 4) {
    for (uint32_t i = 0; i < 4; i++, ctr = _mm_add_epi32(ctr, one))
      x[i] = _mm_xor_si128(ctr, key[0]);
    for (uint32_t r = 1; r < QR_ARS_ROUNDS; r++) {
      for (uint32_t i = 0; i < 4; i++) x[i] = _mm_aesenc_si128(x[i], key[r]);
    }
    for (uint32_t i = 0; i < 4; i++) *to++ = _mm_aesenclast_si128(x[i], key[QR_ARS_ROUNDS]);
  }
}

/* Sums of pairs are at most 2 * 127 * 64 in magnitude, so the instruction that makes them never
   saturates, and those of two groups fit 16 bits together: three multiplications do for eight
   products of each column. */
static inline __m256i pairs(__m256i a, const int8_t *b) { return _mm256_maddubs_epi16(a, load(b)); }

static inline __m256i join(__m256i sum, __m256i pairs) {
  return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

ALWAYS_INLINE void dots(__m256i *x, __m256i *y, const int8_t *const *a, const uint32_t *step,
                        const int8_t *b, uint32_t k4, const uint32_t rows) {
  for (; k4 >= 2; k4 -= 2, step += 2, b += 128) {
    UNROLL_ALL for (uint32_t i = 0; i < rows; i++) {
      __m256i p = load_a(a[i] + step[0]), q = load_a(a[i] + step[1]);
      x[i] = join(x[i], _mm256_add_epi16(pairs(p, b), pairs(q, b + 64)));
      y[i] = join(y[i], _mm256_add_epi16(pairs(p, b + 32), pairs(q, b + 96)));
    }
  }
  if (!k4) return;
  UNROLL_ALL for (uint32_t i = 0; i < rows; i++) {
    __m256i p = load_a(a[i] + step[0]);
    x[i] = join(x[i], pairs(p, b));
    y[i] = join(y[i], pairs(p, b + 32));
  }
}

static void gemm(const qr_cpu_gemm_t *g) {
  for (uint32_t col = 0; col < g->n; col += QR_CPU_PANEL) {
    for (uint32_t row = 0; row < g->m; row += 4) tile(g, row, col, 4);
  }
}

const qr_cpu_kern_t qr_cpu_kern_avx2 = {.name = "avx2", KERN_ENTRIES};
