/* AVX2: any x86-64 server of the last decade. */
#include <immintrin.h>

#include "kern.h"
#include "step/fixed.h"

#define KERN_TABLE qr_cpu_kern_avx2
#define KERN_NAME "avx2"

static bool kern_supported(void) { return __builtin_cpu_supports("avx2"); }

static inline __m256i load(const void *p) { return _mm256_loadu_si256((const __m256i *)p); }
static inline void store(void *p, __m256i v) { _mm256_storeu_si256((__m256i *)p, v); }

/* Four blocks in the 64-bit lanes: the multiply reads the low halves and ignores what lies above
   them. Lanes are numbered so that the unpacked halves hold blocks 0, 1 and 2, 3. */
static inline void words4(const qr_philox_t *p, uint32_t block, uint32_t *out) {
  __m256i c0 = _mm256_add_epi64(_mm256_setr_epi64x(0, 2, 1, 3), _mm256_set1_epi64x(block));
  __m256i c1 = _mm256_set1_epi64x(p->stream), c2 = _mm256_set1_epi64x(p->ctr2),
          c3 = _mm256_set1_epi64x(p->ctr3);
  uint32_t k0 = p->key[0], k1 = p->key[1];
  for (int r = 0; r < 10; r++) {
    __m256i a = _mm256_mul_epu32(c0, _mm256_set1_epi64x(0xD2511F53)),
            b = _mm256_mul_epu32(c2, _mm256_set1_epi64x(0xCD9E8D57));
    c0 = _mm256_xor_si256(_mm256_xor_si256(_mm256_srli_epi64(b, 32), c1), _mm256_set1_epi64x(k0));
    c2 = _mm256_xor_si256(_mm256_xor_si256(_mm256_srli_epi64(a, 32), c3), _mm256_set1_epi64x(k1));
    c1 = b;
    c3 = a;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  __m256i w01 = _mm256_blend_epi32(c0, _mm256_slli_epi64(c1, 32), 0xaa);
  __m256i w23 = _mm256_blend_epi32(c2, _mm256_slli_epi64(c3, 32), 0xaa);
  store(out, _mm256_unpacklo_epi64(w01, w23));
  store(out + 8, _mm256_unpackhi_epi64(w01, w23));
}

static void kern_words(const qr_philox_t *p, uint32_t block, uint32_t cnt, uint32_t *out) {
  for (uint32_t i = 0; i < cnt; i += 4) words4(p, block + i, out + 4 * (size_t)i);
}

/* Bytes plus 128 are unsigned and add up eight at a time. */
static int32_t kern_sum(const int8_t *x, uint32_t cnt) {
  __m256i sum = _mm256_setzero_si256(), flip = _mm256_set1_epi8(-128);
  uint32_t i = 0;
  for (; i + 32 <= cnt; i += 32) {
    sum = _mm256_add_epi64(
        sum, _mm256_sad_epu8(_mm256_xor_si256(load(x + i), flip), _mm256_setzero_si256()));
  }
  uint64_t lane[4];
  store(lane, sum);
  int32_t s = (int32_t)(lane[0] + lane[1] + lane[2] + lane[3]) - 128 * (int32_t)i;
  for (; i < cnt; i++) s += x[i];
  return s;
}

#define ROWS(F) F(0) F(1) F(2) F(3)

/* Four rows by one panel: eight accumulators. Pair sums are at most 127 * 128 * 2 in magnitude, so
   the saturating multiply-add never saturates. */
static void tile4(const int8_t *a, size_t row, size_t k4, const uint8_t *b, uint32_t k4_cnt,
                  const int32_t *init, int32_t *c, size_t ldc) {
  const __m256i one = _mm256_set1_epi16(1);
#define LOAD(i)                                                                                    \
  __m256i x##i = init ? _mm256_set1_epi32(init[i]) : load(c + i * ldc);                            \
  __m256i y##i = init ? x##i : load(c + i * ldc + 8);
#define STEP(i)                                                                                    \
  {                                                                                                \
    __m256i v = _mm256_set1_epi32((int)qr_ld32(a + i * row));                                      \
    x##i = _mm256_add_epi32(x##i, _mm256_madd_epi16(_mm256_maddubs_epi16(p, v), one));             \
    y##i = _mm256_add_epi32(y##i, _mm256_madd_epi16(_mm256_maddubs_epi16(q, v), one));             \
  }
#define STORE(i)                                                                                   \
  store(c + i * ldc, x##i);                                                                        \
  store(c + i * ldc + 8, y##i);
  ROWS(LOAD)
  for (uint32_t g = 0; g < k4_cnt; g++, a += k4, b += QR_CPU_PANEL * 4) {
    __m256i p = load(b), q = load(b + 32);
    ROWS(STEP)
  }
  ROWS(STORE)
#undef LOAD
#undef STEP
#undef STORE
}

static void kern_tile(const int8_t *a, size_t row, size_t k4, const uint8_t *b, size_t panel,
                      uint32_t panel_cnt, uint32_t k4_cnt, const int32_t *init, int32_t *c,
                      size_t ldc) {
  for (uint32_t i = 0; i < 8; i += 4) {
    for (uint32_t p = 0; p < panel_cnt; p++) {
      tile4(a + i * row, row, k4, b + p * panel, k4_cnt, init ? init + i : NULL,
            c + i * ldc + p * QR_CPU_PANEL, ldc);
    }
  }
}

static uint64_t kern_digest_band(const int32_t *x, size_t ld, uint32_t rows, uint32_t n,
                                 const uint32_t *const *key) {
  __m256i sum = _mm256_setzero_si256();
  uint64_t lane[4], s = 0;
  for (uint32_t i = 0; i < rows; i++, x += ld) {
    const uint32_t *k = key[i];
    uint32_t j = 0;
    for (; j + 8 <= n; j += 8) {
      __m256i t = _mm256_add_epi32(load(x + j), load(k + j));
      sum = _mm256_add_epi64(sum, _mm256_mul_epu32(t, _mm256_srli_epi64(t, 32)));
    }
    for (; j < n; j += 2) s += (uint64_t)((uint32_t)x[j] + k[j]) * ((uint32_t)x[j + 1] + k[j + 1]);
  }
  store(lane, sum);
  return s + lane[0] + lane[1] + lane[2] + lane[3];
}

#include "kern_x86.h"
#include "kern_loops.h"
#include "kern_body.h"
