/* AVX2 with the dot product of VNNI and AES on whole registers: what client processors have had
   since 2021, and small server cores, in the place of AVX-512. */
#include "kern_256.h"
#include "kern_x86.h"

static bool supported(void) {
  return __builtin_cpu_supports("avx2") && has_avxvnni() && has_vaes();
}

static void draw(void *dst, const qr_ars_t *s, uint32_t block, uint32_t cnt) {
  const __m256i two = _mm256_setr_epi32(2, 0, 0, 0, 2, 0, 0, 0);
  __m256i key[QR_ARS_ROUNDS + 1], x = _mm256_set_m128i(counter(s, block + 1), counter(s, block));
  uint8_t *out = dst;
  for (uint32_t i = 0; i <= QR_ARS_ROUNDS; i++)
    key[i] = _mm256_broadcastsi128_si256(round_key(s, i));
  for (uint32_t i = 0; i < cnt; i += 4, out += 64) {
    __m256i p = _mm256_xor_si256(x, key[0]);
    x = _mm256_add_epi32(x, two);
    __m256i q = _mm256_xor_si256(x, key[0]);
    x = _mm256_add_epi32(x, two);
    for (uint32_t r = 1; r < QR_ARS_ROUNDS; r++) {
      p = _mm256_aesenc_epi128(p, key[r]);
      q = _mm256_aesenc_epi128(q, key[r]);
    }
    store(out, _mm256_aesenclast_epi128(p, key[QR_ARS_ROUNDS]));
    store(out + 32, _mm256_aesenclast_epi128(q, key[QR_ARS_ROUNDS]));
  }
}

ALWAYS_INLINE void dots(__m256i *x, __m256i *y, const int8_t *const *a, const uint32_t *step,
                        const int8_t *b, uint32_t k4, const uint32_t rows) {
  for (uint32_t g = 0; g < k4; g++, b += 64) {
    UNROLL_ALL for (uint32_t i = 0; i < rows; i++) {
      __m256i v = load_a(a[i] + step[g]);
      x[i] = _mm256_dpbusd_avx_epi32(x[i], v, load(b));
      y[i] = _mm256_dpbusd_avx_epi32(y[i], v, load(b + 32));
    }
  }
}

/* Twelve sums hide the instruction's latency, ten almost. m is a multiple of eight: fives make up
   for what sixes leave. */
static void gemm(const qr_cpu_gemm_t *g) {
  uint32_t fives = g->m % 6 == 4 ? 2 : g->m % 6 == 2 ? 4 : 0;
  for (uint32_t col = 0; col < g->n; col += QR_CPU_PANEL) {
    uint32_t row = 0;
    if (g->m == 8) {
      tile(g, 0, col, 4);
      tile(g, 4, col, 4);
      continue;
    }
    for (; row + 5 * fives < g->m; row += 6) tile(g, row, col, 6);
    for (; row < g->m; row += 5) tile(g, row, col, 5);
  }
}

const qr_cpu_kern_t qr_cpu_kern_avxvnni = {.name = "avxvnni", KERN_ENTRIES};
