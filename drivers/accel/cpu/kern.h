/* The CPU driver's table of kernels: one per instruction set, equal to the bit.

   What a kernel works on is small: a strip of a tensor or a block of a product, some tens of KB
   that the caller keeps in a near cache while one kernel after the other passes over it. Matrices
   are row-major with a stride ("ld", in elements) of their own. Sizes that come from the network
   are multiples as stated, so that few kernels know ragged ends.

   A product is C i32[m][n] = A . B:
    - A's bytes are unsigned, x + 64, below 128, and are read as they lie: four consecutive k of row
      i, group g, are at a + row[i] + step[g]. Two tables of offsets serve dense rows, the pixels of
      a convolution's padded image, and transposed operands alike.
    - B's bytes are signed, in panels of 16 columns: [k4][16][4], four consecutive k side by side.
    - The surplus 64 * (sum of a column of B) is taken off by what the accumulators start from,
      init[n], which qr_cpu_kern_t.sums makes from the panels.
   Unsigned below 128 times signed is what the dot-product instructions of every instruction set
   take (and u8 x s8 pair sums stay below 2 * 127 * 64 = 16256). */
#ifndef QR_ACCEL_CPU_KERN_H
#define QR_ACCEL_CPU_KERN_H

#include "base/ars.h"
#include "base/types.h"

/* n of a product is a multiple of the columns of a panel, m of the rows of a tile, which are also
   those of a digest's band. */
#define QR_CPU_PANEL 16u
#define QR_CPU_TILE 8u
#define QR_CPU_DRAW 128u /* elements that 64 random bytes serve: where a strip to dither begins */

typedef struct {
  uint32_t m, n, k4; /* k4: groups of four k */
  const int8_t *a;
  const uint32_t *row, *step; /* [m], [k4] */
  const int8_t *b;            /* panels, panel_sz bytes apart */
  size_t panel_sz;
  const int32_t *init; /* [n] */
  int32_t *c;
  /* C's row i is at c + c_row[i], or at c + i * ldc if c_row is NULL. */
  const uint32_t *c_row;
  size_t ldc;
  bool add; /* C += the product, else C = */
  /* If key is not NULL, *digest grows by what the product, before it is added, adds to a digest: as
     qr_cpu_kern_t.digest with these keys and factors, which are those of C's first row and column.
   */
  const uint32_t *key;
  size_t ldk;
  const uint64_t *rho;
  uint64_t *digest;
} qr_cpu_gemm_t;

/* Dither of magnitude d; the result gets plus (0, or 64 for an A). d = 0 is a plain copy, without
   draws. */
typedef struct {
  int d;
  int8_t plus;
  bool bounded; /* the source lies in [-64 + d, 63 - d] already */
} qr_cpu_dither_t;

/* A padded image, as convolutions read it: pixel x of line y is at (y + 1) * pitch + lead +
   x * pixel. Around the lines lies what is opposite on the torus: always to the left and above, to
   the right and below where it is read. Lines begin where a cache's lines do. */
typedef struct {
  uint32_t h, w, pixel; /* pixel: bytes, a multiple of 8 */
  uint32_t pitch, lead;
  bool right, below;
} qr_cpu_image_t;

/* Where rows of a strip of E become e7. */
typedef struct {
  int shift;     /* 0..24 */
  int8_t lo, hi; /* bounds of what is stored; the sums are of [-64, 63] */
} qr_cpu_round_t;

typedef struct {
  const char *name;
  bool (*supported)(void);

  /* Random bytes: cnt blocks of 16 from block on. cnt is a multiple of 4; dst is 64-byte aligned.
   */
  void (*draw)(void *dst, const qr_ars_t *s, uint32_t block, uint32_t cnt);
  /* dst[i] = clip((src[i] + 256) >> 9, lo, hi), any cnt */
  void (*w7)(int8_t *dst, const int16_t *src, size_t cnt, int8_t lo, int8_t hi);
  /* Elements at .. at + cnt of a tensor: dst and src are where element at lies. at is a multiple of
     QR_CPU_DRAW; any cnt. */
  void (*dither)(int8_t *dst, const int8_t *src, size_t at, size_t cnt, const qr_cpu_dither_t *d,
                 const qr_ars_t *s);

  /* Panels of groups of four rows of n bytes: row r of group g is at src + g * group + r * row.
     Group g of panel p goes to dst + p * panel_sz + g * 64. Columns past n become 0. Every byte
     gets plus: 64 makes them an A whose row i is at (i / 16) * panel_sz + (i % 16) * 4. */
  void (*pack)(int8_t *dst, size_t panel_sz, const int8_t *src, uint32_t groups, uint32_t n,
               size_t group, size_t row, int8_t plus);
  /* Panels of B stored [n][4 * k4], rows ld apart; n is a multiple of 16. */
  void (*pack_trans)(int8_t *dst, size_t panel_sz, const int8_t *src, uint32_t k4, uint32_t n,
                     size_t ld);
  /* init[j] -= 64 * (sum of column j of some groups of panels); n is a multiple of 16. */
  void (*sums)(int32_t *init, const int8_t *panels, size_t panel_sz, uint32_t groups, uint32_t n);
  /* The padded image of a sample [h][w][pixel]. */
  void (*image)(int8_t *dst, const int8_t *src, const qr_cpu_image_t *g);
  /* The same of four samples, stride apart, side by side: [h][w][pixel / 4][4], each byte plus 64.
   */
  void (*image4)(int8_t *dst, const int8_t *src, size_t stride, const qr_cpu_image_t *g);

  /* m is a multiple of QR_CPU_TILE, n of QR_CPU_PANEL. */
  void (*gemm)(const qr_cpu_gemm_t *g);

  /* Products of a layer of few outputs, all operands signed. c[i][j] = row i of a [rows][k] times
     row j of b [n][k]; k is a multiple of 16. */
  void (*thin)(int32_t *c, const int8_t *a, const int8_t *b, uint32_t rows, uint32_t n, uint32_t k);
  /* e[i][j] = row i of a [rows][4 * k4] times row j of b [cols][4 * k4], >> 3 where x is negative.
     Returns the OR of all |e|. cols is a multiple of 16. */
  uint32_t (*thin_back)(int32_t *e, const int8_t *a, const int8_t *b, const int8_t *x,
                        uint32_t rows, uint32_t cols, uint32_t k4);

  /* Sum over bands b of rho[b] times the sum over rows and even columns of the band; the key word
     of element (i, j) is key[(i % 8) * ldk + j]. rows is a multiple of 8, cols of 16. */
  uint64_t (*digest)(const int32_t *x, size_t ldx, uint32_t rows, uint32_t cols,
                     const uint32_t *key, size_t ldk, const uint64_t *rho);
  /* dst = clip(half(leaky(c + bias[col]), shift), lo, hi) + plus; |c + bias| + 2^shift < 2^31,
     shift in 1..24; bias at the accumulator's scale. rows is a multiple of 4, cols of 16. */
  void (*act)(int8_t *dst, size_t ldd, const int32_t *c, size_t ldc, const int32_t *bias,
              uint32_t rows, uint32_t cols, int shift, int8_t lo, int8_t hi, int8_t plus);
  /* e = c, >> 3 where x is negative; e may be c. Returns the OR of all |e|. cols is a multiple
   * of 16.
   */
  uint32_t (*mask)(int32_t *e, size_t lde, const int32_t *c, size_t ldc, const int8_t *x,
                   size_t ldx, uint32_t rows, uint32_t cols);
  /* Rows of e, whose first element is element at of its tensor (a multiple of 64):
     v = clip(SR(e, shift, byte), -64, 63); sum[col] += v; dst = clip(v, lo, hi). Any n. */
  void (*round)(int8_t *dst, int32_t *sum, const int32_t *e, size_t at, uint32_t rows, uint32_t n,
                const qr_cpu_round_t *r, const qr_ars_t *s);
  /* w = clip(w - SR(g, shift, r), -32768, 32767); shift in -31..62, |g| <= most. Any cols. */
  void (*update)(int16_t *w, size_t ldw, const int32_t *g, size_t ldg, const uint8_t *r, size_t ldr,
                 uint32_t rows, uint32_t cols, int shift, uint32_t most);
} qr_cpu_kern_t;

/* The tables that are compiled for this kind of processor, the best one first. */
#if defined(__x86_64__)
#define QR_CPU_KERNELS(F) F(avx512) F(avx512_base) F(avxvnni) F(avx2) F(portable)
#elif defined(__aarch64__)
#define QR_CPU_KERNELS(F) F(neon) F(portable)
#else
#define QR_CPU_KERNELS(F) F(portable)
#endif

#define QR_CPU_KERNEL_DECLARE(name) extern const qr_cpu_kern_t qr_cpu_kern_##name;
QR_CPU_KERNELS(QR_CPU_KERNEL_DECLARE)
#undef QR_CPU_KERNEL_DECLARE

/* The same as an array, NULL-terminated. */
extern const qr_cpu_kern_t *const qr_cpu_kernels[];

/* Bytes from panel to panel: an odd number of lines, so that panels which are written side by side
   do not meet in one set of a cache. */
static inline size_t qr_cpu_panel_sz(uint32_t k4) { return ((size_t)k4 | 1) * 64; }

static inline size_t qr_cpu_panels_sz(uint32_t k4, size_t n) {
  return (n + QR_CPU_PANEL - 1) / QR_CPU_PANEL * qr_cpu_panel_sz(k4);
}

#endif
