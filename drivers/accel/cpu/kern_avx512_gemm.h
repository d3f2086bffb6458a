/* The product in AVX-512 VNNI. */
#ifndef QR_ACCEL_CPU_KERN_AVX512_GEMM_H
#define QR_ACCEL_CPU_KERN_AVX512_GEMM_H

#include <immintrin.h>

#include "kern.h"

#define ALWAYS_INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16")

/* acc += the dot products of fours of a, unsigned, and b. As the intrinsic, gcc 12 copies every
   accumulator twice in each pass of the loop below, which costs a quarter of its speed. */
ALWAYS_INLINE void dot(__m512i *acc, __m512i a, __m512i b) {
  __asm__("vpdpbusd %2, %1, %0" : "+v"(*acc) : "v"(a), "v"(b));
}

/* Eight rows by one or two panels. Sixteen accumulators are enough to hide the dot product's
   latency on both ports. */
ALWAYS_INLINE void tile(const qr_cpu_gemm_t *g, uint32_t row, uint32_t col, uint32_t panels) {
  const int8_t *a[QR_CPU_TILE], *b = g->b + (size_t)col * g->k4 * 4;
  size_t panel_sz = (size_t)g->k4 * 64;
  __m512i acc[QR_CPU_TILE][2];
  int32_t *c = g->c + row * g->ldc + col;
  UNROLL for (uint32_t i = 0; i < QR_CPU_TILE; i++) {
    a[i] = g->a + g->row[row + i];
    UNROLL for (uint32_t p = 0; p < panels; p++) acc[i][p] =
        _mm512_loadu_si512(g->init + col + p * QR_CPU_PANEL);
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
  UNROLL for (uint32_t i = 0; i < QR_CPU_TILE; i++) {
    UNROLL for (uint32_t p = 0; p < panels; p++) {
      int32_t *to = c + i * g->ldc + p * QR_CPU_PANEL;
      if (g->add) acc[i][p] = _mm512_add_epi32(acc[i][p], _mm512_loadu_si512(to));
      _mm512_storeu_si512(to, acc[i][p]);
    }
  }
}

static void gemm(const qr_cpu_gemm_t *g) {
  uint32_t col = 0;
  for (; g->n - col >= 2 * QR_CPU_PANEL; col += 2 * QR_CPU_PANEL) {
    for (uint32_t row = 0; row < g->m; row += QR_CPU_TILE) tile(g, row, col, 2);
  }
  if (col == g->n) return;
  for (uint32_t row = 0; row < g->m; row += QR_CPU_TILE) tile(g, row, col, 1);
}

#endif
