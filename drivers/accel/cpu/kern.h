/* The CPU driver's table of kernels: one per instruction set, equal to the bit.

   A product C i32[m][n] = A i8[m][k] . B i8[k][n] runs on packed operands, k in groups of four
   ("k4", zero-padded):
    - a panel is 16 columns of B as [k4][16][4] bytes, each plus 64, so that it is unsigned and
      below 128: what the u8 x s8 dot-product instructions want. The surplus 64 * sum(A row) is
      taken off where the accumulators start.
    - A needs only four consecutive k together: rows of a row-major tensor do as they lie, a
      transposed A is packed to the same panels without the 64. Row i, group g is at
      a + (i >> 4) * tile + (i & 15) * row + g * k4. */
#ifndef QR_ACCEL_CPU_KERN_H
#define QR_ACCEL_CPU_KERN_H

#include "base/philox.h"
#include "hls/common/qr_step_abi.h"

#define QR_CPU_PANEL 16u        /* columns of a panel */
#define QR_CPU_CHUNK 1024u      /* random words made at a time */
#define QR_CPU_WORDS_BLOCKS 32u /* which are whole runs of this many blocks */
/* Groups of k per pass over a panel pair: 16 KiB, half of a small first-level cache. */
#define QR_CPU_K4_BLOCK 128u
#define QR_CPU_DIGEST_ROWS 8u /* rows that share a multiplier */

typedef struct {
  const int8_t *p;
  size_t tile, row, k4; /* strides in bytes */
} qr_cpu_a_t;

typedef struct {
  uint32_t m, n, k4_cnt;
  qr_cpu_a_t a;
  const int32_t *a_sum; /* [m] sum of each row of A */
  const uint8_t *b;     /* panels */
  int32_t *c;           /* [m][n] */
} qr_cpu_gemm_t;

typedef struct {
  const char *name;
  bool (*supported)(void);
  /* dst[i] = clip((src[i] + 256) >> 9, -64, 63) */
  void (*w7)(int8_t *dst, const int16_t *src, size_t cnt);
  void (*dither)(int8_t *dst, const int8_t *src, size_t cnt, int d, const qr_philox_t *p);
  /* Panels of a matrix stored [k][n]; plus: 64 for B, 0 for a transposed A. */
  void (*pack)(uint8_t *dst, const int8_t *src, uint32_t k, uint32_t n, uint8_t plus);
  /* Panels of B stored [n][k], plus 64. */
  void (*pack_trans)(uint8_t *dst, const int8_t *src, uint32_t k, uint32_t n);
  /* sum[i] over a row of [rows][cols]; sum[j] over a column. */
  void (*row_sum)(int32_t *sum, const int8_t *src, uint32_t rows, uint32_t cols);
  void (*col_sum)(int32_t *sum, const int8_t *src, uint32_t rows, uint32_t cols);
  void (*gemm)(const qr_cpu_gemm_t *g);
  /* What m rows from row add to the digest of a product n wide; row is a multiple of
     QR_CPU_DIGEST_ROWS, x the first of these rows, key and rho are the streams of the slot. */
  uint64_t (*digest)(const int32_t *x, uint32_t row, uint32_t m, uint32_t n, const qr_philox_t *key,
                     const qr_philox_t *rho);
  /* dst = requantised leaky (acc + bias[col]); bias already at the accumulator's scale */
  void (*bias_act)(int8_t *dst, const int32_t *acc, const int32_t *bias, uint32_t m, uint32_t n,
                   int shift);
  void (*mask)(int32_t *e, const int8_t *x, size_t cnt);
  uint32_t (*max_abs)(const int32_t *x, size_t cnt);
  /* dst = clip(SR(x, s), -64, 63) */
  void (*round_i8)(int8_t *dst, const int32_t *x, size_t cnt, int s, const qr_philox_t *p);
  /* w = clip(w - SR(x, s), -32768, 32767) */
  void (*update_i16)(int16_t *w, const int32_t *x, size_t cnt, int s, const qr_philox_t *p);
  /* Rows of a convolution: dst[b*pos][9c] from src[b][h][w][c]; and the reverse, which adds up
     what was read from one place. */
  void (*im2col)(int8_t *dst, const int8_t *src, uint32_t batch, const qr_step_geo_t *g);
  void (*col2im)(int32_t *dst, const int32_t *src, uint32_t batch, const qr_step_geo_t *g);
} qr_cpu_kern_t;

extern const qr_cpu_kern_t qr_cpu_kern_portable;
#if defined(__x86_64__)
extern const qr_cpu_kern_t qr_cpu_kern_avx2, qr_cpu_kern_avx512;
#endif

/* Best kernel first, NULL-terminated. */
extern const qr_cpu_kern_t *const qr_cpu_kernels[];

/* Bytes of the panels of a k by n matrix. */
static inline size_t qr_cpu_panels_sz(uint32_t k, uint32_t n) {
  return (size_t)((n + QR_CPU_PANEL - 1) / QR_CPU_PANEL) * ((k + 3) / 4) * QR_CPU_PANEL * 4;
}

#endif
