/* AVX-512 with VNNI: Zen 4, Ice Lake and later. */
#include <immintrin.h>

#include "kern.h"

#define KERN_TABLE qr_cpu_kern_avx512
#define KERN_NAME "avx512"

static bool kern_supported(void) {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni");
}

/* Eight blocks in the 64-bit lanes: the multiply reads the low halves and ignores what lies above them. */
static inline void words8(const qr_philox_t *p, __m512i idx, __m512i *lo, __m512i *hi) {
  __m512i c0 = idx, c1 = _mm512_set1_epi64(p->stream), c2 = _mm512_set1_epi64(p->ctr2), c3 = _mm512_set1_epi64(p->ctr3);
  uint32_t k0 = p->key[0], k1 = p->key[1];
  for (int r = 0; r < 10; r++) {
    __m512i a = _mm512_mul_epu32(c0, _mm512_set1_epi64(0xD2511F53)), b = _mm512_mul_epu32(c2, _mm512_set1_epi64(0xCD9E8D57));
    c0 = _mm512_ternarylogic_epi64(_mm512_srli_epi64(b, 32), c1, _mm512_set1_epi64(k0), 0x96);
    c2 = _mm512_ternarylogic_epi64(_mm512_srli_epi64(a, 32), c3, _mm512_set1_epi64(k1), 0x96);
    c1 = b;
    c3 = a;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  __m512i w01 = _mm512_mask_blend_epi32(0xaaaa, c0, _mm512_slli_epi64(c1, 32));
  __m512i w23 = _mm512_mask_blend_epi32(0xaaaa, c2, _mm512_slli_epi64(c3, 32));
  *lo = _mm512_unpacklo_epi64(w01, w23);
  *hi = _mm512_unpackhi_epi64(w01, w23);
}

/* Lanes are numbered so that the unpacked halves hold blocks 0..3 and 4..7 in order. */
static void kern_words(const qr_philox_t *p, uint32_t block, uint32_t cnt, uint32_t *out) {
  const __m512i lane = _mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7);
  for (uint32_t i = 0; i < cnt; i += 16) {
    __m512i a, b, c, d;
    words8(p, _mm512_add_epi64(lane, _mm512_set1_epi64(block + i)), &a, &b);
    words8(p, _mm512_add_epi64(lane, _mm512_set1_epi64(block + i + 8)), &c, &d);
    _mm512_storeu_si512(out + 4 * (size_t)i, a);
    _mm512_storeu_si512(out + 4 * (size_t)i + 16, b);
    _mm512_storeu_si512(out + 4 * (size_t)i + 32, c);
    _mm512_storeu_si512(out + 4 * (size_t)i + 48, d);
  }
}

#define ROWS(F) F(0) F(1) F(2) F(3) F(4) F(5) F(6) F(7)

/* Sixteen accumulators in registers: enough to hide the latency of the dot product on both ports. */
static void tile2(const int8_t *a, size_t row, size_t k4, const uint8_t *b, const uint8_t *b2, uint32_t k4_cnt,
                  const int32_t *init, int32_t *c, size_t ldc) {
#define LOAD(i)                                                                                                        \
  __m512i x##i = init ? _mm512_set1_epi32(init[i]) : _mm512_loadu_si512(c + i * ldc);                                  \
  __m512i y##i = init ? x##i : _mm512_loadu_si512(c + i * ldc + QR_CPU_PANEL);
#define STEP(i)                                                                                                        \
  {                                                                                                                    \
    __m512i v = _mm512_set1_epi32((int)qr_ld32(a + i * row));                                                          \
    x##i = _mm512_dpbusd_epi32(x##i, p, v);                                                                            \
    y##i = _mm512_dpbusd_epi32(y##i, q, v);                                                                            \
  }
#define STORE(i)                                                                                                       \
  _mm512_storeu_si512(c + i * ldc, x##i);                                                                              \
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

static void tile1(const int8_t *a, size_t row, size_t k4, const uint8_t *b, uint32_t k4_cnt, const int32_t *init, int32_t *c,
                  size_t ldc) {
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

static void kern_tile(const int8_t *a, size_t row, size_t k4, const uint8_t *b, size_t panel, uint32_t panel_cnt,
                      uint32_t k4_cnt, const int32_t *init, int32_t *c, size_t ldc) {
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
  uint64_t s = (uint64_t)_mm512_reduce_add_epi64(sum);
  for (; j < n; j += 2) s += (uint64_t)((uint32_t)x[j] + key[j]) * ((uint32_t)x[j + 1] + key[j + 1]);
  return s;
}

#include "kern_body.h"
