/* Kernels in plain C, without intrinsics, in loops that compilers vectorise. A table takes from
   here what it has no own way for; everything is static, so that no code of one target leaks to
   another. What each function does is said in kern.h. */
#ifndef QR_ACCEL_CPU_KERN_PLAIN_H
#define QR_ACCEL_CPU_KERN_PLAIN_H

#include "kern.h"
#include "step/fixed.h"

#define ALWAYS_INLINE static inline __attribute__((always_inline))

/* Before a loop of constant length over an array: all of the array then stays in registers. */
#if defined(__clang__)
#define UNROLL_ALL _Pragma("clang loop unroll(full)")
#else
#define UNROLL_ALL _Pragma("GCC unroll 8")
#endif

ALWAYS_INLINE int32_t plain_clip(int32_t v, int32_t lo, int32_t hi) {
  v = v < lo ? lo : v;
  return v > hi ? hi : v;
}

static inline void plain_w7(int8_t *restrict dst, const int16_t *restrict src, size_t cnt,
                            int8_t lo, int8_t hi) {
  for (size_t i = 0; i < cnt; i++) {
    int16_t v = (int16_t)(((src[i] >> 8) + 1) >> 1); /* (x + 256) >> 9 within 16 bits */
    v = v < lo ? lo : v;
    dst[i] = (int8_t)(v > hi ? hi : v);
  }
}

/* Sixteen columns of four rows side by side. */
static inline void plain_zip(int8_t *restrict dst, const int8_t *restrict src, size_t row,
                             int8_t plus) {
  for (uint32_t j = 0; j < QR_CPU_PANEL; j++) {
    dst[4 * j] = (int8_t)(src[j] + plus);
    dst[4 * j + 1] = (int8_t)(src[row + j] + plus);
    dst[4 * j + 2] = (int8_t)(src[2 * row + j] + plus);
    dst[4 * j + 3] = (int8_t)(src[3 * row + j] + plus);
  }
}

/* The same of the last n columns; memory may end with them. */
static inline void plain_zip_edge(int8_t *dst, const int8_t *src, uint32_t n, size_t row,
                                  int8_t plus) {
  for (uint32_t j = 0; j < QR_CPU_PANEL; j++) {
    for (uint32_t r = 0; r < 4; r++) dst[4 * j + r] = (int8_t)(j < n ? src[r * row + j] + plus : 0);
  }
}

static inline void plain_pack(int8_t *dst, size_t panel_sz, const int8_t *src, uint32_t groups,
                              uint32_t n, size_t group, size_t row, int8_t plus) {
  for (uint32_t g = 0; g < groups; g++, src += group, dst += 64) {
    int8_t *d = dst;
    uint32_t j = 0;
    for (; n - j >= QR_CPU_PANEL; j += QR_CPU_PANEL, d += panel_sz)
      plain_zip(d, src + j, row, plus);
    if (j < n) plain_zip_edge(d, src + j, n - j, row, plus);
  }
}

static inline void plain_pack_trans(int8_t *dst, size_t panel_sz, const int8_t *src, uint32_t k4,
                                    uint32_t n, size_t ld) {
  for (uint32_t p = 0; p < n; p += QR_CPU_PANEL, dst += panel_sz) {
    for (uint32_t g = 0; g < k4; g++) {
      for (uint32_t j = 0; j < QR_CPU_PANEL; j++)
        memcpy(dst + g * (size_t)64 + 4 * j, src + (p + j) * ld + 4 * (size_t)g, 4);
    }
  }
}

static inline void plain_sums(int32_t *init, const int8_t *panels, size_t panel_sz, uint32_t groups,
                              uint32_t n) {
  for (uint32_t p = 0; p < n; p += QR_CPU_PANEL, init += QR_CPU_PANEL, panels += panel_sz) {
    int32_t sum[64] = {0}; /* one for each byte of a group */
    for (uint32_t g = 0; g < groups; g++) {
      for (uint32_t i = 0; i < 64; i++) sum[i] += panels[g * (size_t)64 + i];
    }
    for (uint32_t j = 0; j < QR_CPU_PANEL; j++)
      init[j] -= 64 * (sum[4 * j] + sum[4 * j + 1] + sum[4 * j + 2] + sum[4 * j + 3]);
  }
}

static inline void plain_interleave(int8_t *dst, const int8_t *src, size_t stride, uint32_t cnt) {
  uint32_t i = 0;
  for (; cnt - i >= QR_CPU_PANEL; i += QR_CPU_PANEL) plain_zip(dst + 4 * i, src + i, stride, 64);
  for (; i < cnt; i++) {
    for (uint32_t r = 0; r < 4; r++) dst[4 * i + r] = (int8_t)(src[r * stride + i] + 64);
  }
}

/* Fixed sizes become register moves, which is what these short copies want: the empty statement
   keeps compilers from making a call of the loop. cnt is a multiple of 8. */
static inline void plain_copy(int8_t *restrict dst, const int8_t *restrict src, size_t cnt) {
  for (; cnt >= 64; cnt -= 64, dst += 64, src += 64) {
    memcpy(dst, src, 64);
    __asm__("" : "+r"(dst));
  }
  if (cnt & 32) memcpy(dst, src, 32), dst += 32, src += 32;
  if (cnt & 16) memcpy(dst, src, 16), dst += 16, src += 16;
  if (cnt & 8) memcpy(dst, src, 8);
}

/* Left and right of all lines. */
static inline void plain_sides(int8_t *image, const qr_cpu_image_t *g) {
  int8_t *p = image + g->lead;
  for (uint32_t y = 0; y < g->h + 1 + g->below; y++, p += g->pitch) {
    plain_copy(p - g->pixel, p + (g->w - 1) * g->pixel, g->pixel);
    if (g->right) plain_copy(p + g->w * g->pixel, p, g->pixel);
  }
}

static inline void plain_image(int8_t *dst, const int8_t *src, const qr_cpu_image_t *g) {
  size_t line = (size_t)g->w * g->pixel;
  int8_t *p = dst + g->lead;
  plain_copy(p, src + (g->h - 1) * line, line);
  for (uint32_t y = 0; y < g->h; y++)
    plain_copy(p + (y + 1) * (size_t)g->pitch, src + y * line, line);
  if (g->below) plain_copy(p + (g->h + 1) * (size_t)g->pitch, src, line);
  plain_sides(dst, g);
}

ALWAYS_INLINE void plain_image4_by(void (*interleave)(int8_t *, const int8_t *, size_t, uint32_t),
                                   int8_t *dst, const int8_t *src, size_t stride,
                                   const qr_cpu_image_t *g) {
  uint32_t line = g->w * g->pixel;
  int8_t *p = dst + g->lead;
  for (uint32_t y = 0; y < g->h; y++)
    interleave(p + (y + 1) * (size_t)g->pitch, src + y * (line / 4), stride, line / 4);
  plain_copy(p, p + g->h * (size_t)g->pitch, line);
  if (g->below) plain_copy(p + (g->h + 1) * (size_t)g->pitch, p + g->pitch, line);
  plain_sides(dst, g);
}

static inline void plain_image4(int8_t *dst, const int8_t *src, size_t stride,
                                const qr_cpu_image_t *g) {
  plain_image4_by(plain_interleave, dst, src, stride, g);
}

static inline void plain_thin(int32_t *restrict c, const int8_t *restrict a,
                              const int8_t *restrict b, uint32_t rows, uint32_t n, uint32_t k) {
  for (uint32_t i = 0; i < rows; i++, a += k) {
    for (uint32_t j = 0; j < n; j++) {
      int32_t sum = 0;
      for (uint32_t q = 0; q < k; q++) sum += a[q] * b[j * (size_t)k + q];
      c[i * n + j] = sum;
    }
  }
}

typedef uint64_t plain_digest_fn_t(const int32_t *x, size_t ldx, uint32_t rows, uint32_t cols,
                                   const uint32_t *key, size_t ldk, const uint64_t *rho);

static inline uint64_t plain_digest(const int32_t *x, size_t ldx, uint32_t rows, uint32_t cols,
                                    const uint32_t *key, size_t ldk, const uint64_t *rho) {
  uint64_t total = 0;
  for (uint32_t i = 0; i < rows; i += QR_CPU_TILE) {
    uint64_t sum = 0;
    for (uint32_t r = 0; r < QR_CPU_TILE; r++, x += ldx) {
      const uint32_t *k = key + r * ldk;
      for (uint32_t j = 0; j < cols; j += 2)
        sum += (uint64_t)((uint32_t)x[j] ^ k[j]) * ((uint32_t)x[j + 1] ^ k[j + 1]);
    }
    total += rho[i / QR_CPU_TILE] * sum;
  }
  return total;
}

/* Half away from zero is half up of what is one less where v is negative. */
static inline void plain_act(int8_t *restrict dst, size_t ldd, const int32_t *restrict c,
                             size_t ldc, const int32_t *restrict bias, uint32_t rows, uint32_t cols,
                             int shift, int8_t lo, int8_t hi, int8_t plus) {
  int32_t unit = 1 << (shift - 1);
  for (uint32_t i = 0; i < rows; i++, dst += ldd, c += ldc) {
    for (uint32_t j = 0; j < cols; j++) {
      int32_t v = c[j] + bias[j];
      v = v < 0 ? v >> 3 : v;
      v = (v + unit + (v >> 31)) >> shift;
      dst[j] = (int8_t)(plain_clip(v, lo, hi) + plus);
    }
  }
}

/* c = x or c += x; cnt is a multiple of 16. */
static inline void plain_put(int32_t *restrict c, const int32_t *restrict x, uint32_t cnt,
                             bool add) {
  for (uint32_t j = 0; j < cnt; j += 16, c += 16, x += 16) {
    for (uint32_t q = 0; q < 16 && add; q++) c[q] += x[q];
    if (!add) memcpy(c, x, 64);
  }
}

/* A product as kern.h has it, from one that knows neither digests nor rows of C apart, and a
   digest. What is not simply stored goes by way of a block on the stack. */
ALWAYS_INLINE void plain_product_by(void (*gemm)(const qr_cpu_gemm_t *), plain_digest_fn_t *digest,
                                    const qr_cpu_gemm_t *g) {
  enum { ROWS = 64, COLS = 32 };
  int32_t block[ROWS * COLS];
  bool apart = g->c_row || (g->key && g->add);
  qr_cpu_gemm_t p = *g;
  for (uint32_t col = 0; col < g->n; col += COLS) {
    p.n = g->n - col < COLS ? g->n - col : COLS;
    p.b = g->b + col / QR_CPU_PANEL * g->panel_sz;
    p.init = g->init + col;
    for (uint32_t row = 0; row < g->m; row += ROWS) {
      p.m = g->m - row < ROWS ? g->m - row : ROWS;
      p.row = g->row + row;
      p.c = apart ? block : g->c + row * g->ldc + col;
      p.ldc = apart ? COLS : g->ldc;
      p.add = !apart && g->add;
      gemm(&p);
      if (g->key)
        *g->digest +=
            digest(p.c, p.ldc, p.m, p.n, g->key + col, g->ldk, g->rho + row / QR_CPU_TILE);
      for (uint32_t i = 0; apart && i < p.m; i++)
        plain_put(g->c + (g->c_row ? g->c_row[row + i] : (row + i) * g->ldc) + col,
                  block + i * COLS, p.n, g->add);
    }
  }
}

static inline int32_t plain_leak(int32_t e, int8_t x) { return x < 0 ? e >> 3 : e; }

static inline uint32_t plain_mask(int32_t *restrict e, size_t lde, const int32_t *restrict c,
                                  size_t ldc, const int8_t *restrict x, size_t ldx, uint32_t rows,
                                  uint32_t cols) {
  uint32_t all = 0;
  for (uint32_t i = 0; i < rows; i++, e += lde, c += ldc, x += ldx) {
    for (uint32_t j = 0; j < cols; j++) {
      e[j] = plain_leak(c[j], x[j]);
      all |= qr_step_abs32(e[j]);
    }
  }
  return all;
}

/* Four products of seven-bit numbers fit 16 bits together, which lets eight columns share a
   register of 128. */
static inline uint32_t plain_thin_back(int32_t *e, const int8_t *a, const int8_t *b,
                                       const int8_t *x, uint32_t rows, uint32_t cols, uint32_t k4) {
  enum { COLS = 16, K_MAX = 256 }; /* a network has at most 255 outputs */
  int16_t w[K_MAX][COLS];
  uint32_t all = 0;
  for (uint32_t j = 0; j < cols; j += COLS) {
    for (uint32_t q = 0; q < 4 * k4; q++) {
      for (uint32_t c = 0; c < COLS; c++) w[q][c] = b[(j + c) * 4 * (size_t)k4 + q];
    }
    for (uint32_t i = 0; i < rows; i++) {
      const int8_t *v = a + i * 4 * (size_t)k4;
      size_t at = i * (size_t)cols + j;
      int32_t sum[COLS] = {0};
      for (uint32_t q = 0; q < 4 * k4; q += 4) {
        for (uint32_t c = 0; c < COLS; c++)
          sum[c] += (int16_t)(v[q] * w[q][c] + v[q + 1] * w[q + 1][c] + v[q + 2] * w[q + 2][c] +
                              v[q + 3] * w[q + 3][c]);
      }
      all |= plain_mask(e + at, COLS, sum, COLS, x + at, COLS, 1, COLS);
    }
  }
  return all;
}

/* Dither and rounding of strips are the same for all tables but for what draws and what works on
   the draws; both become part of the loops. */
typedef void plain_draw_fn_t(void *dst, const qr_ars_t *s, uint32_t block, uint32_t cnt);

/* So many random bytes at a time: they and what takes them stay in a first-level cache. */
#define PLAIN_STRIP_SZ 2048u

static inline void plain_plus(int8_t *restrict dst, const int8_t *restrict src, size_t cnt,
                              int8_t plus) {
  for (size_t i = 0; i < cnt; i++) dst[i] = (int8_t)(src[i] + plus);
}

/* What each draw adds to an element, plus included. */
static inline void plain_dither_table(int8_t table[16], const qr_cpu_dither_t *d) {
  for (int n = 0; n < 16; n++) table[n] = (int8_t)(qr_step_dither(0, d->d, (uint8_t)n) + d->plus);
}

/* Constants of a dither. */
typedef struct {
  int8_t u[16];
  int8_t lo, hi, plus;
  int d;
} plain_dither_t;

static inline plain_dither_t plain_dither_init(const qr_cpu_dither_t *d) {
  plain_dither_t k = {.d = d->d, .plus = d->plus};
  k.lo = (int8_t)(QR_STEP_I7_MIN + d->d);
  k.hi = (int8_t)(QR_STEP_I7_MAX - d->d);
  plain_dither_table(k.u, d);
  return k;
}

/* QR_CPU_DRAW elements take the low halves of 64 bytes, then the high halves. */
typedef void plain_group_fn_t(int8_t *dst, const int8_t *src, const uint8_t *r,
                              const plain_dither_t *k);

/* A table of sixteen is a load for each element here: the formula itself is quicker. */
static inline void plain_dither_group(int8_t *dst, const int8_t *src, const uint8_t *r,
                                      const plain_dither_t *k) {
  int16_t mul = (int16_t)(4 * k->d + 2), sub = (int16_t)(15 * (2 * k->d + 1) - 16);
  int8_t lo = k->lo, hi = k->hi, plus = k->plus;
  for (uint32_t half = 0; half < 2; half++) {
    for (uint32_t i = 0; i < QR_CPU_DRAW / 2; i++) {
      int16_t n = half ? r[i] >> 4 : r[i] & 15;
      int16_t u = (int16_t)((int16_t)(n * mul - sub) >> 5);
      int8_t x = src[i] < lo ? lo : src[i] > hi ? hi : src[i];
      dst[i] = (int8_t)(x + u + plus);
    }
    dst += QR_CPU_DRAW / 2;
    src += QR_CPU_DRAW / 2;
  }
}

ALWAYS_INLINE void plain_strip_dither(plain_draw_fn_t *draw, plain_group_fn_t *group, int8_t *dst,
                                      const int8_t *src, size_t at, size_t cnt,
                                      const qr_cpu_dither_t *d, const qr_ars_t *s) {
  _Alignas(64) uint8_t r[PLAIN_STRIP_SZ];
  if (!d->d) {
    plain_plus(dst, src, cnt, d->plus);
    return;
  }
  const plain_dither_t k = plain_dither_init(d);
  for (size_t i = 0; i < cnt; i += 2 * PLAIN_STRIP_SZ) {
    size_t here = cnt - i < 2 * PLAIN_STRIP_SZ ? cnt - i : 2 * PLAIN_STRIP_SZ, j = 0;
    draw(r, s, (uint32_t)((at + i) / 32), (uint32_t)(qr_align_up(here, QR_CPU_DRAW) / 32));
    for (; here - j >= QR_CPU_DRAW; j += QR_CPU_DRAW)
      group(dst + i + j, src + i + j, r + j / 2, &k);
    if (j == here) continue;
    int8_t end[QR_CPU_DRAW] = {0}; /* of the tensor: a group of its own */
    memcpy(end, src + i + j, here - j);
    group(end, end, r + j / 2, &k);
    memcpy(dst + i + j, end, here - j);
  }
}

ALWAYS_INLINE void plain_dither_by(plain_draw_fn_t *draw, int8_t *dst, const int8_t *src, size_t at,
                                   size_t cnt, const qr_cpu_dither_t *d, const qr_ars_t *s) {
  plain_strip_dither(draw, plain_dither_group, dst, src, at, cnt, d, s);
}

/* SR within 32 bits, for 0 <= s <= 8 and for s >= 9: in the first case the draw comes down to the
   places that x has; in the second half a unit is added when all but one place of it have gone.
   Both give what the definition does, for what is dropped early cannot carry. */
ALWAYS_INLINE int32_t plain_sr_near(int32_t x, int32_t r, int s) {
  return (x + (r >> (8 - s))) >> s;
}

ALWAYS_INLINE int32_t plain_sr_far(int32_t x, int32_t r, int s) {
  return ((((x >> (s - 9)) + 1) >> 1) + r) >> 8;
}

/* Some elements of a row. */
typedef void plain_part_fn_t(int8_t *dst, int32_t *sum, const int32_t *e, const uint8_t *r,
                             uint32_t cnt, const qr_cpu_round_t *p);

/* near is a constant, here and below. */
ALWAYS_INLINE void plain_round_run(int8_t *restrict dst, int32_t *restrict sum,
                                   const int32_t *restrict e, const uint8_t *restrict r,
                                   uint32_t cnt, const qr_cpu_round_t *p, const bool near) {
  int s = p->shift, lo = p->lo, hi = p->hi;
  for (uint32_t j = 0; j < cnt; j++) {
    int32_t v = near ? plain_sr_near(e[j], r[j], s) : plain_sr_far(e[j], r[j], s);
    v = plain_clip(v, QR_STEP_I7_MIN, QR_STEP_I7_MAX);
    sum[j] += v;
    dst[j] = (int8_t)plain_clip(v, lo, hi);
  }
}

static inline void plain_round_part(int8_t *dst, int32_t *sum, const int32_t *e, const uint8_t *r,
                                    uint32_t cnt, const qr_cpu_round_t *p) {
  if (p->shift <= 8)
    plain_round_run(dst, sum, e, r, cnt, p, true);
  else
    plain_round_run(dst, sum, e, r, cnt, p, false);
}

/* The rows of a strip follow each other without gaps, so random bytes are made for runs of elements
   whatever n is. */
ALWAYS_INLINE void plain_strip_round(plain_draw_fn_t *draw, plain_part_fn_t *part, int8_t *dst,
                                     int32_t *sum, const int32_t *e, size_t at, uint32_t rows,
                                     uint32_t n, const qr_cpu_round_t *p, const qr_ars_t *s) {
  _Alignas(64) uint8_t r[PLAIN_STRIP_SZ];
  size_t cnt = (size_t)rows * n;
  uint32_t col = 0;
  for (size_t i = 0; i < cnt; i += PLAIN_STRIP_SZ) {
    uint32_t here = cnt - i < PLAIN_STRIP_SZ ? (uint32_t)(cnt - i) : PLAIN_STRIP_SZ;
    draw(r, s, (uint32_t)((at + i) / 16), (uint32_t)(qr_align_up(here, 64) / 16));
    for (uint32_t j = 0; j < here;) {
      uint32_t run = n - col < here - j ? n - col : here - j;
      part(dst + i + j, sum + col, e + i + j, r + j, run, p);
      j += run;
      col = col + run == n ? 0 : col + run;
    }
  }
}

ALWAYS_INLINE void plain_round_by(plain_draw_fn_t *draw, int8_t *dst, int32_t *sum,
                                  const int32_t *e, size_t at, uint32_t rows, uint32_t n,
                                  const qr_cpu_round_t *p, const qr_ars_t *s) {
  plain_strip_round(draw, plain_round_part, dst, sum, e, at, rows, n, p, s);
}

ALWAYS_INLINE void plain_update_run(int16_t *restrict w, const int32_t *restrict g,
                                    const uint8_t *restrict r, uint32_t cols, int s,
                                    const bool near) {
  for (uint32_t j = 0; j < cols; j++) {
    int32_t v = w[j] - (near ? plain_sr_near(g[j], r[j], s) : plain_sr_far(g[j], r[j], s));
    w[j] = (int16_t)plain_clip(v, INT16_MIN, INT16_MAX);
  }
}

/* Shifts up, which honest errors do not reach: the definition's own arithmetic. */
static inline void plain_update_up(int16_t *w, const int32_t *g, const uint8_t *r, uint32_t cols,
                                   int s) {
  for (uint32_t j = 0; j < cols; j++)
    w[j] = (int16_t)qr_clamp64(w[j] - qr_step_sr(g[j], s, r[j]), INT16_MIN, INT16_MAX);
}

static inline void plain_update(int16_t *w, size_t ldw, const int32_t *g, size_t ldg,
                                const uint8_t *r, size_t ldr, uint32_t rows, uint32_t cols,
                                int shift, uint32_t most) {
  (void)most;
  if (shift > 40) shift = 40; /* from there on it leaves nothing of 32 bits */
  for (uint32_t i = 0; i < rows; i++, w += ldw, g += ldg, r += ldr) {
    if (shift < 1)
      plain_update_up(w, g, r, cols, shift);
    else if (shift <= 8)
      plain_update_run(w, g, r, cols, shift, true);
    else
      plain_update_run(w, g, r, cols, shift, false);
  }
}

#endif
