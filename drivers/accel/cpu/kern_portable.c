/* Plain C for any machine. */
#include "kern_plain.h"

#if defined(__clang__) /* builds that are not optimised do without what is asked of loops below */
#pragma clang diagnostic ignored "-Wpass-failed"
#endif

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

/* The table is made anew for every run of blocks: that costs as much as two of them. What does not
   depend on the block is worked out once: compilers find three quarters of the first round. */
static void draw(void *dst, const qr_ars_t *s, uint32_t block, uint32_t cnt) {
  uint32_t t[256], k[QR_ARS_ROUNDS + 1][4];
  uint8_t *out = dst;
  for (uint32_t i = 0; i < 256; i++) {
    uint32_t v = qr_ars_sbox[i], twice = v << 1 ^ (v >> 7) * 0x11b;
    t[i] = twice | v << 8 | v << 16 | (twice ^ v) << 24;
  }
  for (uint32_t i = 0; i <= QR_ARS_ROUNDS; i++) {
    uint64_t lo = s->key[0] + i * QR_ARS_WEYL_LO, hi = s->key[1] + i * QR_ARS_WEYL_HI;
    k[i][0] = (uint32_t)lo, k[i][1] = (uint32_t)(lo >> 32);
    k[i][2] = (uint32_t)hi, k[i][3] = (uint32_t)(hi >> 32);
  }
  const uint32_t b0 = s->stream ^ k[0][1], c0 = s->ctr2 ^ k[0][2], d0 = s->ctr3 ^ k[0][3];
  for (uint32_t i = 0; i < cnt; i++, out += 16) {
    uint32_t a = (block + i) ^ k[0][0], b = b0, c = c0, d = d0;
    UNROLL_ALL for (uint32_t r = 1; r < QR_ARS_ROUNDS; r++) {
      uint32_t w = column(t, a, b, c, d), x = column(t, b, c, d, a), y = column(t, c, d, a, b),
               z = column(t, d, a, b, c);
      a = w ^ k[r][0], b = x ^ k[r][1], c = y ^ k[r][2], d = z ^ k[r][3];
    }
    const uint32_t *last = k[QR_ARS_ROUNDS];
    qr_st32(out, last_column(a, b, c, d) ^ last[0]);
    qr_st32(out + 4, last_column(b, c, d, a) ^ last[1]);
    qr_st32(out + 8, last_column(c, d, a, b) ^ last[2]);
    qr_st32(out + 12, last_column(d, a, b, c) ^ last[3]);
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

/* Sixteen bytes to four places, gap apart. Copied first, or compilers load them one by one. */
static inline void spread(int16_t *dst, size_t gap, const int8_t *src) {
  int8_t v[16];
  int16_t w[16];
  memcpy(v, src, sizeof v);
  for (uint32_t i = 0; i < 16; i++) w[i] = v[i];
  for (uint32_t i = 0; i < 4; i++) memcpy(dst + i * gap, w + 4 * i, 8);
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

/* Whether the next four of these offsets lie side by side. */
static inline bool in_line(const uint32_t *at) {
  return at[1] - at[0] == 4 && at[2] - at[1] == 4 && at[3] - at[2] == 4;
}

/* One row of A. */
static void widen_row(int16_t *x, const int8_t *a, const uint32_t *step, uint32_t cnt) {
  for (uint32_t q = 0; q < cnt;) {
    if (cnt - q >= 4 && in_line(step + q)) {
      spread(x + 4 * q, 4, a + step[q]);
      q += 4;
      continue;
    }
    for (uint32_t i = 0; i < 4; i++) x[4 * q + i] = a[step[q] + i];
    q++;
  }
}

/* Rows of A by four: side by side in a transposed operand, each by itself otherwise. */
static void widen_rows(int16_t *x, const int8_t *a, const uint32_t *row, uint32_t rows,
                       const uint32_t *step, uint32_t cnt) {
  for (uint32_t i = 0; i < rows; i += 4, x += 4 * BLOCK_K) {
    if (in_line(row + i)) {
      for (uint32_t q = 0; q < cnt; q++) spread(x + 4 * q, BLOCK_K, a + row[i] + step[q]);
      continue;
    }
    for (uint32_t r = 0; r < 4; r++) widen_row(x + r * BLOCK_K, a + row[i + r], step, cnt);
  }
}

static void widen_panel(int16_t *y, const int8_t *b, uint32_t cnt) {
  for (uint32_t q = 0; q < cnt; q++, b += 64) {
    for (uint32_t i = 0; i < QR_CPU_PANEL; i += 4)
      spread(y + i * BLOCK_K + 4 * q, BLOCK_K, b + 4 * i);
  }
}

/* Rows from row, groups from k4 of them on, by all columns. */
static void slab(const qr_cpu_gemm_t *g, uint32_t row, uint32_t rows, uint32_t k4, uint32_t cnt) {
  int16_t x[BLOCK_ROWS * BLOCK_K], y[QR_CPU_PANEL * BLOCK_K];
  widen_rows(x, g->a, g->row + row, rows, g->step + k4, cnt);
  for (uint32_t j = 0; j < g->n; j += QR_CPU_PANEL) {
    widen_panel(y, g->b + j / QR_CPU_PANEL * g->panel_sz + k4 * (size_t)64, cnt);
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

static void product(const qr_cpu_gemm_t *g) { plain_product_by(gemm, plain_digest, g); }

const qr_cpu_kern_t qr_cpu_kern_portable = {
    .name = "portable",
    .supported = supported,
    .draw = draw,
    .w7 = plain_w7,
    .dither = dither,
    .pack = plain_pack,
    .pack_trans = plain_pack_trans,
    .sums = plain_sums,
    .image = plain_image,
    .image4 = plain_image4,
    .gemm = product,
    .thin = plain_thin,
    .thin_back = plain_thin_back,
    .digest = plain_digest,
    .act = plain_act,
    .mask = plain_mask,
    .round = round_e,
    .update = plain_update,
};
