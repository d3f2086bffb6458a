/* AVX-512 with VNNI: Zen 4, Ice Lake and later. */
#include <immintrin.h>

#include "kern.h"

#define KERN_TABLE qr_cpu_kern_avx512
#define KERN_NAME "avx512"

static bool kern_supported(void) {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512vnni");
}

/* Eight blocks in the 64-bit lanes of a register: the multiply reads the low halves and ignores
   what lies above them. Four registers at once hide its latency. Lanes are numbered so that
   unpacking leaves the blocks in order. */
static void kern_words(const qr_philox_t *p, uint32_t block, uint32_t cnt, uint32_t *out) {
  enum { SETS = 4 };
  const __m512i lane = _mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7);
  const __m512i m0 = _mm512_set1_epi64(0xD2511F53), m1 = _mm512_set1_epi64(0xCD9E8D57);
  for (uint32_t i = 0; i < cnt; i += 8 * SETS) {
    __m512i c0[SETS], c1[SETS], c2[SETS], c3[SETS];
    __m512i k0 = _mm512_set1_epi32((int)p->key[0]), k1 = _mm512_set1_epi32((int)p->key[1]);
    for (uint32_t s = 0; s < SETS; s++) {
      c0[s] = _mm512_add_epi64(lane, _mm512_set1_epi64(block + i + 8 * s));
      c1[s] = _mm512_set1_epi64(p->stream);
      c2[s] = _mm512_set1_epi64(p->ctr2);
      c3[s] = _mm512_set1_epi64(p->ctr3);
    }
    for (int r = 0; r < 10; r++) {
      for (uint32_t s = 0; s < SETS; s++) {
        __m512i a = _mm512_mul_epu32(c0[s], m0), b = _mm512_mul_epu32(c2[s], m1);
        c0[s] = _mm512_ternarylogic_epi64(_mm512_srli_epi64(b, 32), c1[s], k0, 0x96);
        c2[s] = _mm512_ternarylogic_epi64(_mm512_srli_epi64(a, 32), c3[s], k1, 0x96);
        c1[s] = b;
        c3[s] = a;
      }
      k0 = _mm512_add_epi32(k0, _mm512_set1_epi32((int)0x9E3779B9));
      k1 = _mm512_add_epi32(k1, _mm512_set1_epi32((int)0xBB67AE85));
    }
    for (uint32_t s = 0; s < SETS; s++) {
      __m512i w01 = _mm512_mask_blend_epi32(0xaaaa, c0[s], _mm512_slli_epi64(c1[s], 32));
      __m512i w23 = _mm512_mask_blend_epi32(0xaaaa, c2[s], _mm512_slli_epi64(c3[s], 32));
      _mm512_storeu_si512(out + 4 * (size_t)i + 32 * s, _mm512_unpacklo_epi64(w01, w23));
      _mm512_storeu_si512(out + 4 * (size_t)i + 32 * s + 16, _mm512_unpackhi_epi64(w01, w23));
    }
  }
}

/* Sum of the lanes mod 2^64; the intrinsic for it adds signed numbers, which may not overflow. */
static inline uint64_t lane_sum(__m512i v) {
  uint64_t lane[8], s = 0;
  _mm512_storeu_si512(lane, v);
  for (int i = 0; i < 8; i++) s += lane[i];
  return s;
}

/* Bytes plus 128 are unsigned and add up eight at a time. */
static int32_t kern_sum(const int8_t *x, uint32_t cnt) {
  __m512i sum = _mm512_setzero_si512(), flip = _mm512_set1_epi8(-128);
  for (uint32_t i = 0; i < cnt; i += 64) {
    __mmask64 in = cnt - i < 64 ? ((__mmask64)1 << (cnt - i)) - 1 : ~(__mmask64)0;
    __m512i v = _mm512_xor_si512(_mm512_mask_loadu_epi8(flip, in, x + i), flip);
    sum = _mm512_add_epi64(sum, _mm512_sad_epu8(v, _mm512_setzero_si512()));
  }
  return (int32_t)lane_sum(sum) - 128 * (int32_t)cnt;
}

#define ROWS(F) F(0) F(1) F(2) F(3) F(4) F(5) F(6) F(7)

/* Sixteen accumulators in registers: enough to hide the dot product's latency on both ports. */
static void tile2(const int8_t *a, size_t row, size_t k4, const uint8_t *b, const uint8_t *b2,
                  uint32_t k4_cnt, const int32_t *init, int32_t *c, size_t ldc) {
#define LOAD(i)                                                                                    \
  __m512i x##i = init ? _mm512_set1_epi32(init[i]) : _mm512_loadu_si512(c + i * ldc);              \
  __m512i y##i = init ? x##i : _mm512_loadu_si512(c + i * ldc + QR_CPU_PANEL);
#define STEP(i)                                                                                    \
  {                                                                                                \
    __m512i v = _mm512_set1_epi32((int)qr_ld32(a + i * row));                                      \
    x##i = _mm512_dpbusd_epi32(x##i, p, v);                                                        \
    y##i = _mm512_dpbusd_epi32(y##i, q, v);                                                        \
  }
#define STORE(i)                                                                                   \
  _mm512_storeu_si512(c + i * ldc, x##i);                                                          \
  _mm512_storeu_si512(c + i * ldc + QR_CPU_PANEL, y##i);
  ROWS(LOAD)
  for (uint32_t g = 0; g < k4_cnt; g++, a += k4, b += QR_CPU_PANEL * 4, b2 += QR_CPU_PANEL * 4) {
    __m512i p = _mm512_loadu_si512(b), q = _mm512_loadu_si512(b2);
    ROWS(STEP)
  }
  ROWS(STORE)
#undef LOAD
#undef STEP
#undef STORE
}

static void tile1(const int8_t *a, size_t row, size_t k4, const uint8_t *b, uint32_t k4_cnt,
                  const int32_t *init, int32_t *c, size_t ldc) {
#define LOAD(i) __m512i x##i = init ? _mm512_set1_epi32(init[i]) : _mm512_loadu_si512(c + i * ldc);
#define STEP(i) x##i = _mm512_dpbusd_epi32(x##i, p, _mm512_set1_epi32((int)qr_ld32(a + i * row)));
#define STORE(i) _mm512_storeu_si512(c + i * ldc, x##i);
  ROWS(LOAD)
  for (uint32_t g = 0; g < k4_cnt; g++, a += k4, b += QR_CPU_PANEL * 4) {
    __m512i p = _mm512_loadu_si512(b);
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
  if (panel_cnt == 2) {
    tile2(a, row, k4, b, b + panel, k4_cnt, init, c, ldc);
  } else {
    tile1(a, row, k4, b, k4_cnt, init, c, ldc);
  }
}

static uint64_t kern_digest_row(const int32_t *x, const uint32_t *key, uint32_t n) {
  __m512i sum = _mm512_setzero_si512();
  uint32_t j = 0;
  for (; j + 16 <= n; j += 16) {
    __m512i t = _mm512_add_epi32(_mm512_loadu_si512(x + j), _mm512_loadu_si512(key + j));
    sum = _mm512_add_epi64(sum, _mm512_mul_epu32(t, _mm512_srli_epi64(t, 32)));
  }
  uint64_t s = lane_sum(sum);
  for (; j < n; j += 2)
    s += (uint64_t)((uint32_t)x[j] + key[j]) * ((uint32_t)x[j + 1] + key[j + 1]);
  return s;
}

#include "kern_body.h"
