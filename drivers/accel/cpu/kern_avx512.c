/* AVX-512 with VNNI: Zen 4, Ice Lake and later. */
#include <immintrin.h>

#include "kern.h"
#include "step/fixed.h"

#define KERN_TABLE qr_cpu_kern_avx512
#define KERN_NAME "avx512"

static bool kern_supported(void) {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512vnni");
}

/* High halves of the 64-bit lanes, moved down. */
static inline __m512i high(__m512i v) { return _mm512_srli_epi64(v, 32); }

/* Eight blocks in the 64-bit lanes of a register: the multiply reads the low halves and ignores
   what lies above them. Four registers at once hide its latency. Lanes are numbered so that
   unpacking leaves the blocks in order.
   Only the block number differs between lanes, so half of the first two rounds is the same for
   all: c2, c1 and c3 in the first, what comes of them in the second. */
static void kern_words(const qr_philox_t *p, uint32_t block, uint32_t cnt, uint32_t *out) {
  enum { SETS = 4, ROUNDS = 10 };
  const uint32_t f0 = 0xD2511F53, f1 = 0xCD9E8D57;
  const __m512i lane = _mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7);
  const __m512i m0 = _mm512_set1_epi64(f0), m1 = _mm512_set1_epi64(f1);
  uint32_t k0[ROUNDS], k1[ROUNDS];
  for (uint32_t r = 0; r < ROUNDS; r++) {
    k0[r] = p->key[0] + r * 0x9E3779B9u;
    k1[r] = p->key[1] + r * 0xBB67AE85u;
  }
  uint64_t b0 = (uint64_t)f1 * p->ctr2;
  uint64_t a1 = (uint64_t)f0 * ((uint32_t)(b0 >> 32) ^ p->stream ^ k0[0]);
  const __m512i x0 = _mm512_set1_epi64(p->ctr3 ^ k1[0]),
                x1 = _mm512_set1_epi64((int64_t)b0 ^ k0[1]),
                x2 = _mm512_set1_epi64((int64_t)(a1 >> 32) ^ k1[1]),
                x3 = _mm512_set1_epi64((int64_t)a1);
  for (uint32_t i = 0; i < cnt; i += 8 * SETS) {
    __m512i c0[SETS], c1[SETS], c2[SETS], c3[SETS];
    for (uint32_t s = 0; s < SETS; s++) {
      __m512i at = _mm512_add_epi64(lane, _mm512_set1_epi64(block + i + 8 * s));
      __m512i a = _mm512_mul_epu32(at, m0);
      c1[s] = _mm512_mul_epu32(_mm512_xor_si512(high(a), x0), m1);
      c0[s] = _mm512_xor_si512(high(c1[s]), x1);
      c2[s] = _mm512_xor_si512(a, x2);
      c3[s] = x3;
    }
    for (uint32_t r = 2; r < ROUNDS; r++) {
      __m512i key0 = _mm512_set1_epi32((int)k0[r]), key1 = _mm512_set1_epi32((int)k1[r]);
      for (uint32_t s = 0; s < SETS; s++) {
        __m512i a = _mm512_mul_epu32(c0[s], m0), b = _mm512_mul_epu32(c2[s], m1);
        c0[s] = _mm512_ternarylogic_epi64(high(b), c1[s], key0, 0x96);
        c2[s] = _mm512_ternarylogic_epi64(high(a), c3[s], key1, 0x96);
        c1[s] = b;
        c3[s] = a;
      }
    }
    for (uint32_t s = 0; s < SETS; s++) {
      __m512i w01 = _mm512_mask_shuffle_epi32(c0[s], 0xaaaa, c1[s], _MM_PERM_CCAA);
      __m512i w23 = _mm512_mask_shuffle_epi32(c2[s], 0xaaaa, c3[s], _MM_PERM_CCAA);
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

static int32_t kern_sum(const int8_t *x, uint32_t cnt) {
  __m512i sum = _mm512_setzero_si512(), one = _mm512_set1_epi8(1);
  for (uint32_t i = 0; i < cnt; i += 64) {
    __mmask64 in = cnt - i < 64 ? ((__mmask64)1 << (cnt - i)) - 1 : ~(__mmask64)0;
    sum = _mm512_dpbusd_epi32(sum, one, _mm512_maskz_loadu_epi8(in, x + i));
  }
  return _mm512_reduce_add_epi32(sum);
}

/* acc += the dot products of fours of b, unsigned, and a. As the intrinsic, gcc 12 copies every
   accumulator twice in each pass of the loops below, which costs a quarter of their speed. */
static inline void dot(__m512i *acc, __m512i b, __m512i a) {
  __asm__("vpdpbusd %2, %1, %0" : "+v"(*acc) : "v"(b), "v"(a));
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
    dot(&x##i, p, v);                                                                              \
    dot(&y##i, q, v);                                                                              \
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
#define STEP(i) dot(&x##i, p, _mm512_set1_epi32((int)qr_ld32(a + i * row)));
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

/* Lanes past the end of a row are zero on both sides and add nothing. */
static uint64_t kern_digest_band(const int32_t *x, size_t ld, uint32_t rows, uint32_t n,
                                 const uint32_t *const *key) {
  __m512i sum = _mm512_setzero_si512();
  uint32_t whole = n / 16 * 16;
  __mmask16 rest = (__mmask16)((1u << (n - whole)) - 1);
  for (uint32_t i = 0; i < rows; i++, x += ld) {
    const uint32_t *k = key[i];
    for (uint32_t j = 0; j < whole; j += 16) {
      __m512i t = _mm512_add_epi32(_mm512_loadu_si512(x + j), _mm512_loadu_si512(k + j));
      sum = _mm512_add_epi64(sum, _mm512_mul_epu32(t, _mm512_srli_epi64(t, 32)));
    }
    if (!rest) continue;
    __m512i t = _mm512_add_epi32(_mm512_maskz_loadu_epi32(rest, x + whole),
                                 _mm512_maskz_loadu_epi32(rest, k + whole));
    sum = _mm512_add_epi64(sum, _mm512_mul_epu32(t, _mm512_srli_epi64(t, 32)));
  }
  return lane_sum(sum);
}

#include "kern_x86.h"
#include "kern_loops_avx512.h"
#include "kern_body.h"
