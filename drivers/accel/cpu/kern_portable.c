/* Plain C for any machine. */
#include "kern_plain.h"

static bool supported(void) { return true; }

static inline uint32_t rotl(uint32_t x, int n) { return x << n | x >> (32 - n); }

/* A column of a round of AES: bytes 0..3 of four columns substituted and mixed; t has both for byte
   0 and is turned for the others. */
static inline uint32_t column(const uint32_t *t, uint32_t a, uint32_t b, uint32_t c, uint32_t d) {
  return t[a & 255] ^ rotl(t[b >> 8 & 255], 8) ^ rotl(t[c >> 16 & 255], 16) ^ rotl(t[d >> 24], 24);
}

static inline uint32_t last_column(uint32_t a, uint32_t b, uint32_t c, uint32_t d) {
  const uint8_t *s = qr_ars_sbox;
  return s[a & 255] | (uint32_t)s[b >> 8 & 255] << 8 | (uint32_t)s[c >> 16 & 255] << 16 |
         (uint32_t)s[d >> 24] << 24;
}

/* k: four words of each round's key. */
static void ars_block(const uint32_t *t, const uint32_t *k, const uint32_t ctr[4],
                      uint32_t out[4]) {
  uint32_t a = ctr[0] ^ k[0], b = ctr[1] ^ k[1], c = ctr[2] ^ k[2], d = ctr[3] ^ k[3];
  for (uint32_t i = 1; i < QR_ARS_ROUNDS; i++) {
    k += 4;
    uint32_t w = column(t, a, b, c, d), x = column(t, b, c, d, a), y = column(t, c, d, a, b),
             z = column(t, d, a, b, c);
    a = w ^ k[0], b = x ^ k[1], c = y ^ k[2], d = z ^ k[3];
  }
  k += 4;
  out[0] = last_column(a, b, c, d) ^ k[0];
  out[1] = last_column(b, c, d, a) ^ k[1];
  out[2] = last_column(c, d, a, b) ^ k[2];
  out[3] = last_column(d, a, b, c) ^ k[3];
}

/* The table is made anew for every run of blocks: that costs as much as two of them. */
static void draw(void *dst, const qr_ars_t *s, uint32_t block, uint32_t cnt) {
  uint32_t t[256], k[4 * (QR_ARS_ROUNDS + 1)];
  uint8_t *out = dst;
  for (uint32_t i = 0; i < 256; i++) {
    uint32_t v = qr_ars_sbox[i], twice = v << 1 ^ (v >> 7) * 0x11b;
    t[i] = twice | v << 8 | v << 16 | (twice ^ v) << 24;
  }
  for (uint32_t i = 0; i <= QR_ARS_ROUNDS; i++) {
    uint64_t lo = s->key[0] + i * QR_ARS_WEYL_LO, hi = s->key[1] + i * QR_ARS_WEYL_HI;
    k[4 * i] = (uint32_t)lo, k[4 * i + 1] = (uint32_t)(lo >> 32);
    k[4 * i + 2] = (uint32_t)hi, k[4 * i + 3] = (uint32_t)(hi >> 32);
  }
  for (uint32_t i = 0; i < cnt; i++) {
    const uint32_t ctr[4] = {block + i, s->stream, s->ctr2, s->ctr3};
    uint32_t w[4];
    ars_block(t, k, ctr, w);
    for (uint32_t j = 0; j < 4; j++) qr_st32(out + 16 * i + 4 * j, w[j]);
  }
}

/* A product goes through blocks of both operands as 16-bit numbers, four k after four of a row side
   by side: in a dot product of those, compilers see the instructions that multiply pairs and add
   (clang when told how wide). */
#define BLOCK_ROWS 64u
#define BLOCK_K4 64u
#define BLOCK_K (4 * BLOCK_K4)
#define TILE_ROWS 2u
#define TILE_COLS 4u

static void widen4(int16_t *dst, const int8_t *src) {
  for (uint32_t i = 0; i < 4; i++) dst[i] = src[i];
}

static void tile(const int16_t *restrict x, const int16_t *restrict y, uint32_t k,
                 int32_t out[TILE_ROWS][TILE_COLS]) {
  int32_t sum[TILE_ROWS][TILE_COLS] = {{0}};
#if defined(__clang__)
#pragma clang loop vectorize_width(8) interleave_count(1)
#endif
  for (uint32_t q = 0; q < k; q++) {
    for (uint32_t i = 0; i < TILE_ROWS; i++) {
      for (uint32_t j = 0; j < TILE_COLS; j++) sum[i][j] += x[i * BLOCK_K + q] * y[j * BLOCK_K + q];
    }
  }
  memcpy(out, sum, sizeof sum);
}

/* One panel by rows rows; the sums start from start unless it is NULL, plus C if add. */
static void block(const int16_t *x, const int16_t *y, uint32_t rows, uint32_t k,
                  const int32_t *start, bool add, int32_t *c, size_t ldc) {
  int32_t sum[TILE_ROWS][TILE_COLS];
  for (uint32_t i = 0; i < rows; i += TILE_ROWS, c += TILE_ROWS * ldc) {
    for (uint32_t j = 0; j < QR_CPU_PANEL; j += TILE_COLS) {
      tile(x + i * BLOCK_K, y + j * BLOCK_K, k, sum);
      for (uint32_t r = 0; r < TILE_ROWS; r++) {
        int32_t *to = c + r * ldc + j;
        for (uint32_t q = 0; q < TILE_COLS; q++)
          to[q] = sum[r][q] + (start ? start[j + q] : 0) + (add ? to[q] : 0);
      }
    }
  }
}

/* Rows from row, groups from k4 of them on, by all columns. */
static void slab(const qr_cpu_gemm_t *g, uint32_t row, uint32_t rows, uint32_t k4, uint32_t cnt) {
  int16_t x[BLOCK_ROWS * BLOCK_K], y[QR_CPU_PANEL * BLOCK_K];
  for (uint32_t i = 0; i < rows; i++) {
    for (uint32_t q = 0; q < cnt; q++)
      widen4(x + i * BLOCK_K + 4 * q, g->a + g->row[row + i] + g->step[k4 + q]);
  }
  for (uint32_t j = 0; j < g->n; j += QR_CPU_PANEL) {
    const int8_t *b = g->b + ((size_t)j / QR_CPU_PANEL * g->k4 + k4) * 64;
    for (uint32_t q = 0; q < cnt; q++, b += 64) {
      for (uint32_t i = 0; i < QR_CPU_PANEL; i++) widen4(y + i * BLOCK_K + 4 * q, b + 4 * i);
    }
    block(x, y, rows, 4 * cnt, k4 ? NULL : g->init + j, k4 || g->add, g->c + row * g->ldc + j,
          g->ldc);
  }
}

static void gemm(const qr_cpu_gemm_t *g) {
  for (uint32_t row = 0; row < g->m; row += BLOCK_ROWS) {
    uint32_t rows = g->m - row < BLOCK_ROWS ? g->m - row : BLOCK_ROWS;
    for (uint32_t k4 = 0; k4 < g->k4; k4 += BLOCK_K4)
      slab(g, row, rows, k4, g->k4 - k4 < BLOCK_K4 ? g->k4 - k4 : BLOCK_K4);
  }
}

static void dither(int8_t *dst, const int8_t *src, size_t at, size_t cnt, const qr_cpu_dither_t *d,
                   const qr_ars_t *s) {
  plain_dither_by(draw, dst, src, at, cnt, d, s);
}

static void round_e(int8_t *dst, int32_t *sum, const int32_t *e, size_t at, uint32_t rows,
                    uint32_t n, const qr_cpu_round_t *p, const qr_ars_t *s) {
  plain_round_by(draw, dst, sum, e, at, rows, n, p, s);
}

const qr_cpu_kern_t qr_cpu_kern_portable = {
    .name = "portable",
    .supported = supported,
    .draw = draw,
    .w7 = plain_w7,
    .dither = dither,
    .pack = plain_pack,
    .pack_trans = plain_pack_trans,
    .sums = plain_sums,
    .interleave = plain_interleave,
    .gemm = gemm,
    .digest = plain_digest,
    .act = plain_act,
    .mask = plain_mask,
    .gather = plain_gather,
    .round = round_e,
    .update = plain_update,
};
