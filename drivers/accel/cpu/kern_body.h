/* The body of a kernel table, included once per instruction set. The including file has defined
     KERN_TABLE, KERN_NAME
     static bool kern_supported(void)
     static void kern_words(const qr_philox_t *p, uint32_t block, uint32_t cnt, uint32_t *out)
       words of cnt blocks from block; cnt is a multiple of QR_CPU_WORDS_BLOCKS
     static int32_t kern_sum(const int8_t *x, uint32_t cnt)
     static void kern_tile(const int8_t *a, size_t row, size_t k4, const uint8_t *b, size_t panel,
                           uint32_t panel_cnt, uint32_t k4_cnt, const int32_t *init, int32_t *c,
                           size_t ldc)
       8 rows by panel_cnt (1 or 2) panels of a product; k4_cnt is at most QR_CPU_K4_BLOCK;
       accumulators start at init[row], or at c if init is NULL
     static void kern_pack_group(uint8_t *dst, const int8_t *r0, const int8_t *r1,
                                 const int8_t *r2, const int8_t *r3, uint8_t plus)
       four rows of 16 columns side by side, each byte plus plus
     static uint64_t kern_digest_band(const int32_t *x, size_t ld, uint32_t rows, uint32_t n,
                                      const uint32_t *const *key)
       sum over rows, ld apart, and pairs of n columns; row i has the key words key[i]
   and, from kern_loops.h unless it has its own,
     static void kern_dither_run(int8_t *dst, const int8_t *src, const uint8_t *b, size_t cnt,
                                 int d)
     static void kern_round_run(int8_t *dst, const int32_t *x, const uint32_t *r, size_t cnt,
                                int s)
       0 <= s <= 31
     static void kern_update_run(int16_t *w, const int32_t *x, const uint32_t *r, size_t cnt,
                                 int s)
       1 <= s <= 31
     kern_bias_act and kern_mask as the table has them
   The loops here are written for the compiler's vectoriser. Everything is static: no code of one
   target leaks to another. */
#include "kern.h"
#include "step/fixed.h"

#define TILE_ROWS 8u
#define TILE_PANELS 2u

static void kern_w7(int8_t *restrict dst, const int16_t *restrict src, size_t cnt) {
  for (size_t i = 0; i < cnt; i++) {
    int16_t v = (int16_t)(((src[i] >> 8) + 1) >> 1); /* (x + 256) >> 9 within 16 bits */
    dst[i] = (int8_t)(v < QR_STEP_I7_MIN   ? QR_STEP_I7_MIN
                      : v > QR_STEP_I7_MAX ? QR_STEP_I7_MAX
                                           : v);
  }
}

static void kern_dither(int8_t *dst, const int8_t *src, size_t cnt, int d, const qr_philox_t *p) {
  _Alignas(64) uint32_t r[QR_CPU_CHUNK];
  for (size_t at = 0; at < cnt; at += sizeof r) {
    size_t n = cnt - at < sizeof r ? cnt - at : sizeof r;
    kern_words(p, (uint32_t)(at / 16), (uint32_t)qr_align_up((n + 15) / 16, QR_CPU_WORDS_BLOCKS),
               r);
    kern_dither_run(dst + at, src + at, (const uint8_t *)r, n, d);
  }
}

/* Groups from..end of panel p. */
static void pack_panel(uint8_t *dst, const int8_t *src, uint32_t k, uint32_t n, uint8_t plus,
                       uint32_t p, uint32_t from, uint32_t end) {
  uint32_t col = p * QR_CPU_PANEL, cols = n - col < QR_CPU_PANEL ? n - col : QR_CPU_PANEL;
  uint8_t *d = dst + ((size_t)p * ((k + 3) / 4) + from) * QR_CPU_PANEL * 4;
  for (uint32_t g = from; g < end; g++, d += QR_CPU_PANEL * 4) {
    if (4 * g + 4 <= k && cols == QR_CPU_PANEL) {
      const int8_t *s = src + (size_t)4 * g * n + col;
      kern_pack_group(d, s, s + n, s + 2 * (size_t)n, s + 3 * (size_t)n, plus);
      continue;
    }
    int8_t r[4][QR_CPU_PANEL] = {0};
    for (uint32_t i = 0; i < 4 && 4 * g + i < k; i++)
      memcpy(r[i], src + (size_t)(4 * g + i) * n + col, cols);
    kern_pack_group(d, r[0], r[1], r[2], r[3], plus);
  }
}

/* Some groups of every panel at a time: their rows stay in the first-level cache, and each panel is
   written in runs, for panels often lie a multiple of the page size apart. */
static void kern_pack(uint8_t *dst, const int8_t *src, uint32_t k, uint32_t n, uint8_t plus) {
  enum { RUN = 16 };
  uint32_t k4_cnt = (k + 3) / 4, panel_cnt = (n + QR_CPU_PANEL - 1) / QR_CPU_PANEL;
  for (uint32_t g = 0; g < k4_cnt; g += RUN) {
    uint32_t end = k4_cnt - g < RUN ? k4_cnt : g + RUN;
    for (uint32_t p = 0; p < panel_cnt; p++) pack_panel(dst, src, k, n, plus, p, g, end);
  }
}

static void kern_pack_trans(uint8_t *dst, const int8_t *src, uint32_t k, uint32_t n) {
  uint32_t k4_cnt = (k + 3) / 4;
  memset(dst, 0, qr_cpu_panels_sz(k, n));
  for (uint32_t col = 0; col < n; col++) {
    const int8_t *s = src + (size_t)col * k;
    uint8_t *d =
        dst + ((size_t)(col / QR_CPU_PANEL) * k4_cnt * QR_CPU_PANEL + col % QR_CPU_PANEL) * 4;
    uint32_t g = 0;
    for (; 4 * g + 4 <= k; g++) {
      uint32_t v = qr_ld32(s + 4 * g); /* bytes plus 64 without carries between them */
      qr_st32(d + (size_t)g * QR_CPU_PANEL * 4,
              ((v & 0x7f7f7f7fu) + 0x40404040u) ^ (v & 0x80808080u));
    }
    for (uint32_t i = 4 * g; i < k; i++)
      d[(size_t)g * QR_CPU_PANEL * 4 + i % 4] = (uint8_t)(s[i] + 64);
  }
}

static void kern_row_sum(int32_t *sum, const int8_t *src, uint32_t rows, uint32_t cols) {
  for (uint32_t i = 0; i < rows; i++) sum[i] = kern_sum(src + (size_t)i * cols, cols);
}

#define ALWAYS_INLINE static inline __attribute__((always_inline))

/* 16-bit partial sums: 255 rows of at most 128 in magnitude fit. width is at most 64, and a
   constant where speed matters. */
ALWAYS_INLINE void sum_columns(int32_t *sum, const int8_t *src, uint32_t rows, uint32_t cols,
                               uint32_t width) {
  enum { DEPTH = 255 };
  for (uint32_t i = 0; i < rows; i += DEPTH) {
    uint32_t cnt = rows - i < DEPTH ? rows - i : DEPTH;
    int16_t part[64] = {0};
    for (uint32_t r = 0; r < cnt; r++, src += cols) {
      for (uint32_t j = 0; j < width; j++) part[j] = (int16_t)(part[j] + src[j]);
    }
    for (uint32_t j = 0; j < width; j++) sum[j] += part[j];
  }
}

static void kern_col_sum(int32_t *sum, const int8_t *src, uint32_t rows, uint32_t cols) {
  memset(sum, 0, cols * sizeof *sum);
  uint32_t j = 0;
  for (; cols - j >= 64; j += 64) sum_columns(sum + j, src + j, rows, cols, 64);
  for (; cols - j >= 32; j += 32) sum_columns(sum + j, src + j, rows, cols, 32);
  for (; cols - j >= 8; j += 8) sum_columns(sum + j, src + j, rows, cols, 8);
  if (j < cols) sum_columns(sum + j, src + j, rows, cols, cols - j);
}

/* A tile at the edge: computed in full beside C and copied where C has room. */
static void tile_edge(const qr_cpu_gemm_t *g, uint32_t row, uint32_t panel, uint32_t k4_at,
                      uint32_t k4_cnt, bool first) {
  _Alignas(64) int32_t c[TILE_ROWS * QR_CPU_PANEL];
  int8_t a[TILE_ROWS * QR_CPU_K4_BLOCK * 4];
  uint32_t rows = g->m - row < TILE_ROWS ? g->m - row : TILE_ROWS, col = panel * QR_CPU_PANEL;
  uint32_t cols = g->n - col < QR_CPU_PANEL ? g->n - col : QR_CPU_PANEL;
  const int8_t *src = g->a.p + (row >> 4) * g->a.tile + (row & 15) * g->a.row + k4_at * g->a.k4;
  memset(a, 0, sizeof a);
  memset(c, 0, sizeof c);
  for (uint32_t i = 0; i < rows; i++) {
    int8_t *to = a + (size_t)i * k4_cnt * 4;
    for (uint32_t q = 0; q < k4_cnt; q++) memcpy(to + 4 * q, src + i * g->a.row + q * g->a.k4, 4);
    for (uint32_t j = 0; j < cols; j++) {
      c[i * QR_CPU_PANEL + j] =
          first ? -64 * g->a_sum[row + i] : g->c[(size_t)(row + i) * g->n + col + j];
    }
  }
  size_t panel_sz = (size_t)g->k4_cnt * QR_CPU_PANEL * 4;
  kern_tile(a, (size_t)k4_cnt * 4, 4, g->b + panel * panel_sz + (size_t)k4_at * QR_CPU_PANEL * 4,
            panel_sz, 1, k4_cnt, NULL, c, QR_CPU_PANEL);
  for (uint32_t i = 0; i < rows; i++) {
    memcpy(g->c + (size_t)(row + i) * g->n + col, c + i * QR_CPU_PANEL, cols * sizeof *c);
  }
}

static void tile_full(const qr_cpu_gemm_t *g, uint32_t row, uint32_t panel, uint32_t panel_cnt,
                      uint32_t k4_at, uint32_t k4_cnt, bool first) {
  int32_t init[TILE_ROWS];
  size_t panel_sz = (size_t)g->k4_cnt * QR_CPU_PANEL * 4;
  for (uint32_t i = 0; i < TILE_ROWS; i++) init[i] = -64 * g->a_sum[row + i];
  kern_tile(g->a.p + (row >> 4) * g->a.tile + (row & 15) * g->a.row + k4_at * g->a.k4, g->a.row,
            g->a.k4, g->b + panel * panel_sz + (size_t)k4_at * QR_CPU_PANEL * 4, panel_sz,
            panel_cnt, k4_cnt, first ? init : NULL,
            g->c + (size_t)row * g->n + panel * QR_CPU_PANEL, g->n);
}

static void kern_gemm(const qr_cpu_gemm_t *g) {
  uint32_t panel_cnt = (g->n + QR_CPU_PANEL - 1) / QR_CPU_PANEL, full = g->n / QR_CPU_PANEL;
  for (uint32_t p = 0; p < panel_cnt; p += TILE_PANELS) {
    uint32_t here = panel_cnt - p < TILE_PANELS ? panel_cnt - p : TILE_PANELS;
    for (uint32_t k4 = 0; k4 < g->k4_cnt; k4 += QR_CPU_K4_BLOCK) {
      uint32_t k4_cnt = g->k4_cnt - k4 < QR_CPU_K4_BLOCK ? g->k4_cnt - k4 : QR_CPU_K4_BLOCK;
      for (uint32_t row = 0; row < g->m; row += TILE_ROWS) {
        if (g->m - row >= TILE_ROWS && p + here <= full) {
          tile_full(g, row, p, here, k4, k4_cnt, !k4);
        } else {
          for (uint32_t q = 0; q < here; q++) tile_edge(g, row, p + q, k4, k4_cnt, !k4);
        }
      }
    }
  }
}

static uint64_t kern_digest(const int32_t *x, uint32_t row, uint32_t m, uint32_t n,
                            const qr_philox_t *key, const qr_philox_t *rho) {
  /* Columns go in spans so that the key words of a band stay in the first-level cache whatever n
   * is. */
  enum { SPAN = 512, BLOCK_WORDS = 4 * QR_CPU_WORDS_BLOCKS };
  _Alignas(64) uint32_t k[QR_CPU_DIGEST_ROWS][SPAN + 2 * BLOCK_WORDS];
  _Alignas(64) uint32_t factor[BLOCK_WORDS]; /* of the next bands, two words each */
  const uint32_t *key_row[QR_CPU_DIGEST_ROWS];
  uint64_t total = 0;
  for (uint32_t j = 0; j < n; j += SPAN) {
    uint32_t w = n - j < SPAN ? n - j : SPAN,
             rows = m < QR_CPU_DIGEST_ROWS ? m : QR_CPU_DIGEST_ROWS;
    for (uint32_t r = 0; r < rows;
         r++) { /* n may be even and no more: a row's first word may lie inside a block */
      uint32_t at = n * r + j;
      kern_words(key, at / 4, (uint32_t)qr_align_up((at % 4 + w + 3) / 4, QR_CPU_WORDS_BLOCKS),
                 k[r]);
      key_row[r] = k[r] + at % 4;
    }
    for (uint32_t i = 0; i < m; i += QR_CPU_DIGEST_ROWS) {
      uint32_t end = m - i < QR_CPU_DIGEST_ROWS ? m : i + QR_CPU_DIGEST_ROWS,
               at = 2 * ((row + i) / QR_CPU_DIGEST_ROWS);
      if (!i || at % BLOCK_WORDS == 0)
        kern_words(rho, (at - at % BLOCK_WORDS) / 4, QR_CPU_WORDS_BLOCKS, factor);
      uint64_t lo = factor[at % BLOCK_WORDS], hi = factor[at % BLOCK_WORDS + 1];
      total +=
          ((lo | hi << 32) | 1) * kern_digest_band(x + (size_t)i * n + j, n, end - i, w, key_row);
    }
  }
  return total;
}

static uint32_t kern_max_abs(const int32_t *x, size_t cnt) {
  uint32_t max = 0;
  for (size_t i = 0; i < cnt; i++) {
    uint32_t a = x[i] < 0 ? 0u - (uint32_t)x[i] : (uint32_t)x[i];
    max = a > max ? a : max;
  }
  return max;
}

/* Shifts outside the loops' range: rare, and the reference's own arithmetic. */
static int64_t sr_clipped(int32_t x, int s, uint32_t r) {
  return qr_clamp64(qr_step_sr(x, s, r), -(1 << 30), 1 << 30);
}

static void kern_round_i8(int8_t *dst, const int32_t *x, size_t cnt, int s, const qr_philox_t *p) {
  _Alignas(64) uint32_t r[QR_CPU_CHUNK];
  for (size_t at = 0; at < cnt; at += QR_CPU_CHUNK) {
    size_t n = cnt - at < QR_CPU_CHUNK ? cnt - at : QR_CPU_CHUNK;
    kern_words(p, (uint32_t)(at / 4), (uint32_t)qr_align_up((n + 3) / 4, QR_CPU_WORDS_BLOCKS), r);
    if (s >= 0 && s <= 31) {
      kern_round_run(dst + at, x + at, r, n, s);
      continue;
    }
    for (size_t i = 0; i < n; i++) {
      dst[at + i] =
          (int8_t)qr_clamp64(sr_clipped(x[at + i], s, r[i]), QR_STEP_I7_MIN, QR_STEP_I7_MAX);
    }
  }
}

static void kern_update_i16(int16_t *w, const int32_t *x, size_t cnt, int s, const qr_philox_t *p) {
  _Alignas(64) uint32_t r[QR_CPU_CHUNK];
  for (size_t at = 0; at < cnt; at += QR_CPU_CHUNK) {
    size_t n = cnt - at < QR_CPU_CHUNK ? cnt - at : QR_CPU_CHUNK;
    kern_words(p, (uint32_t)(at / 4), (uint32_t)qr_align_up((n + 3) / 4, QR_CPU_WORDS_BLOCKS), r);
    if (s >= 1 && s <= 31) {
      kern_update_run(w + at, x + at, r, n, s);
      continue;
    }
    for (size_t i = 0; i < n; i++) {
      w[at + i] =
          (int16_t)qr_clamp64(w[at + i] - sr_clipped(x[at + i], s, r[i]), INT16_MIN, INT16_MAX);
    }
  }
}

/* v in -1 .. n, wrapped to 0 .. n-1. */
static inline uint32_t wrap(int32_t v, uint32_t n) {
  return v < 0 ? n - 1 : (uint32_t)v >= n ? (uint32_t)v - n : (uint32_t)v;
}

/* Offsets in a sample's input of the nine taps of output position (y, x). */
static inline void taps(const qr_step_geo_t *g, uint32_t y, uint32_t x, uint32_t at[9]) {
  uint32_t col[3];
  for (uint32_t j = 0; j < 3; j++) col[j] = wrap((int32_t)(x * g->sx + j) - 1, g->w);
  for (uint32_t i = 0; i < 3; i++) {
    uint32_t row = wrap((int32_t)(y * g->sy + i) - 1, g->h) * g->w;
    for (uint32_t j = 0; j < 3; j++) at[i * 3 + j] = (row + col[j]) * g->c;
  }
}

/* The reverse: offsets in a sample's rows of all that was read from input position (y, x). Returns
   their number, at most nine. */
static inline uint32_t readers(const qr_step_geo_t *g, uint32_t y, uint32_t x, uint32_t at[9]) {
  uint32_t cnt = 0;
  for (uint32_t i = 0; i < 3; i++) {
    uint32_t v = wrap((int32_t)(y + 1 - i), g->h);
    if (v % g->sy || v / g->sy >= g->out_h) continue;
    for (uint32_t j = 0; j < 3; j++) {
      uint32_t u = wrap((int32_t)(x + 1 - j), g->w);
      if (u % g->sx || u / g->sx >= g->out_w) continue;
      at[cnt++] = ((v / g->sy * g->out_w + u / g->sx) * 9 + i * 3 + j) * g->c;
    }
  }
  return cnt;
}

/* Channels come in eights: fixed-size copies become register moves. */
static inline void copy_channels(int8_t *restrict dst, const int8_t *restrict src, uint32_t c) {
  uint32_t q = 0;
  for (; q + 32 <= c; q += 32) memcpy(dst + q, src + q, 32);
  for (; q < c; q += 8) memcpy(dst + q, src + q, 8);
}

typedef uint32_t channels_t __attribute__((vector_size(32)));

static inline void sum_channels(int32_t *dst, const int32_t *src, const uint32_t *at, uint32_t cnt,
                                uint32_t c) {
  for (uint32_t q = 0; q < c; q += 8) {
    channels_t sum = {0}, v;
    for (uint32_t t = 0; t < cnt; t++) {
      memcpy(&v, src + at[t] + q, sizeof v);
      sum += v;
    }
    memcpy(dst + q, &sum, sizeof sum);
  }
}

/* Offsets are worked out once for this many samples, few enough for the first-level cache. */
#define CONV_SAMPLES 8u

/* c is g->c, given apart so that common counts become constants. */
ALWAYS_INLINE void im2col_of(int8_t *dst, const int8_t *src, uint32_t batch, const qr_step_geo_t *g,
                             uint32_t c) {
  size_t in = (size_t)g->h * g->w * c, out = (size_t)g->out_h * g->out_w * 9 * c;
  uint32_t at[9];
  for (uint32_t left = batch; left;) {
    uint32_t cnt = left < CONV_SAMPLES ? left : CONV_SAMPLES;
    int8_t *d = dst;
    for (uint32_t p = 0; p < (uint32_t)g->out_h * g->out_w; p++, d += 9 * c) {
      taps(g, p / g->out_w, p % g->out_w, at);
      for (uint32_t b = 0; b < cnt; b++) {
        for (uint32_t t = 0; t < 9; t++)
          copy_channels(d + b * out + t * c, src + b * in + at[t], c);
      }
    }
    dst += cnt * out;
    src += cnt * in;
    left -= cnt;
  }
}

ALWAYS_INLINE void col2im_of(int32_t *dst, const int32_t *src, uint32_t batch,
                             const qr_step_geo_t *g, uint32_t c) {
  size_t in = (size_t)g->h * g->w * c, out = (size_t)g->out_h * g->out_w * 9 * c;
  uint32_t at[9];
  for (uint32_t left = batch; left;) {
    uint32_t cnt = left < CONV_SAMPLES ? left : CONV_SAMPLES;
    int32_t *d = dst;
    for (uint32_t p = 0; p < (uint32_t)g->h * g->w; p++, d += c) {
      uint32_t at_cnt = readers(g, p / g->w, p % g->w, at);
      for (uint32_t b = 0; b < cnt; b++) sum_channels(d + b * in, src + b * out, at, at_cnt, c);
    }
    dst += cnt * in;
    src += cnt * out;
    left -= cnt;
  }
}

static void kern_im2col(int8_t *dst, const int8_t *src, uint32_t batch, const qr_step_geo_t *g) {
  if (g->c == 8)
    im2col_of(dst, src, batch, g, 8);
  else if (g->c == 32)
    im2col_of(dst, src, batch, g, 32);
  else
    im2col_of(dst, src, batch, g, g->c);
}

static void kern_col2im(int32_t *dst, const int32_t *src, uint32_t batch, const qr_step_geo_t *g) {
  if (g->c == 32)
    col2im_of(dst, src, batch, g, 32);
  else
    col2im_of(dst, src, batch, g, g->c);
}

const qr_cpu_kern_t KERN_TABLE = {
    .name = KERN_NAME,
    .supported = kern_supported,
    .w7 = kern_w7,
    .dither = kern_dither,
    .pack = kern_pack,
    .pack_trans = kern_pack_trans,
    .row_sum = kern_row_sum,
    .col_sum = kern_col_sum,
    .gemm = kern_gemm,
    .digest = kern_digest,
    .bias_act = kern_bias_act,
    .mask = kern_mask,
    .max_abs = kern_max_abs,
    .round_i8 = kern_round_i8,
    .update_i16 = kern_update_i16,
    .im2col = kern_im2col,
    .col2im = kern_col2im,
};
