/* The product in AVX-512 VNNI. */
#ifndef QR_ACCEL_CPU_KERN_AVX512_GEMM_H
#define QR_ACCEL_CPU_KERN_AVX512_GEMM_H

#include <immintrin.h>

#include "kern.h"

#define UNROLL _Pragma("GCC unroll 16")
#define NO_INLINE __attribute__((noinline))
#define ALWAYS_INLINE static inline __attribute__((always_inline))

/* acc += the dot products of fours of a, unsigned, and b. As the intrinsic, gcc 12 copies every
   accumulator twice in each pass of the loop below, which costs a quarter of its speed. */
ALWAYS_INLINE void dot(__m512i *acc, __m512i a, __m512i b) {
  __asm__("vpdpbusd %2, %1, %0" : "+v"(*acc) : "v"(a), "v"(b));
}

/* A load that stays one: copies of a register instead would take the ports of the dot products. */
ALWAYS_INLINE __m512i load_again(const int32_t *p) {
  __m512i v;
  __asm__("vmovdqu64 %1, %0" : "=v"(v) : "m"(*(const __m512i_u *)p));
  return v;
}

/* Eight rows by one or two panels, of which b, init and c are the first. Sixteen accumulators are
   enough to hide the dot product's latency on both ports. */
ALWAYS_INLINE void tile(const qr_cpu_gemm_t *g, const uint32_t *row, const int8_t *b,
                        const int32_t *init, int32_t *c, uint32_t panels) {
  const int8_t *a[QR_CPU_TILE];
  size_t panel_sz = (size_t)g->k4 * 64, ldc = g->ldc;
  bool add = g->add;
  __m512i acc[QR_CPU_TILE][2];
  UNROLL for (uint32_t i = 0; i < QR_CPU_TILE; i++) {
    a[i] = g->a + row[i];
    UNROLL for (uint32_t p = 0; p < panels; p++) acc[i][p] = load_again(init + p * QR_CPU_PANEL);
  }
  for (const uint32_t *step = g->step, *end = step + g->k4; step < end; step++, b += 64) {
    __m512i v[2];
    size_t at = *step;
    UNROLL for (uint32_t p = 0; p < panels; p++) v[p] = _mm512_loadu_si512(b + p * panel_sz);
    UNROLL for (uint32_t i = 0; i < QR_CPU_TILE; i++) {
      __m512i x = _mm512_set1_epi32((int)qr_ld32(a[i] + at));
      UNROLL for (uint32_t p = 0; p < panels; p++) dot(&acc[i][p], x, v[p]);
    }
  }
  UNROLL for (uint32_t i = 0; i < QR_CPU_TILE; i++, c += ldc) {
    UNROLL for (uint32_t p = 0; p < panels; p++) {
      int32_t *to = c + p * QR_CPU_PANEL;
      if (add) acc[i][p] = _mm512_add_epi32(acc[i][p], _mm512_loadu_si512(to));
      _mm512_storeu_si512(to, acc[i][p]);
    }
  }
}

/* Functions of their own, so that all of the loop's addresses are in registers. */
NO_INLINE static void tile1(const qr_cpu_gemm_t *g, const uint32_t *row, const int8_t *b,
                            const int32_t *init, int32_t *c) {
  tile(g, row, b, init, c, 1);
}

NO_INLINE static void tile2(const qr_cpu_gemm_t *g, const uint32_t *row, const int8_t *b,
                            const int32_t *init, int32_t *c) {
  tile(g, row, b, init, c, 2);
}

static void gemm(const qr_cpu_gemm_t *g) {
  for (uint32_t col = 0; col < g->n; col += 2 * QR_CPU_PANEL) {
    bool pair = g->n - col > QR_CPU_PANEL;
    const int8_t *b = g->b + (size_t)col * g->k4 * 4;
    for (uint32_t i = 0; i < g->m; i += QR_CPU_TILE)
      (pair ? tile2 : tile1)(g, g->row + i, b, g->init + col, g->c + i * g->ldc + col);
  }
}

#endif
