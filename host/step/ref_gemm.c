#include "step/ref_gemm.h"

#include <stdbool.h>
#include <string.h>

#include "base/ars.h"
#include "step/ref.h"

#define TAP_CNT 9u

/* Element offset, within one sample [h][w][c], of what tap reads for output position pos. */
static size_t tap_off(const qr_step_geo_t *g, uint32_t pos, uint32_t tap) {
  uint32_t y = pos / g->out_w * g->sy + tap / 3 + g->h - 1u;
  uint32_t x = pos % g->out_w * g->sx + tap % 3 + g->w - 1u;
  return ((size_t)(y % g->h) * g->w + x % g->w) * g->c;
}

/* Puts cnt elements of row r, from column j on, of a stored [rows][cols] matrix; dst is its copy or
   its transpose. */
static void put(int16_t *dst, uint32_t rows, uint32_t cols, bool trans, uint32_t r, uint32_t j,
                const int8_t *src, uint32_t cnt) {
  if (trans)
    for (uint32_t i = 0; i < cnt; i++) dst[(size_t)(j + i) * rows + r] = src[i];
  else
    for (uint32_t i = 0; i < cnt; i++) dst[(size_t)r * cols + j + i] = src[i];
}

static void pack_plain(int16_t *dst, const int8_t *src, uint32_t rows, uint32_t cols, bool trans) {
  for (uint32_t r = 0; r < rows; r++)
    put(dst, rows, cols, trans, r, 0, src + (size_t)r * cols, cols);
}

static void pack_conv(int16_t *dst, const int8_t *src, uint32_t rows, const qr_step_geo_t *g,
                      bool trans) {
  uint32_t pos_cnt = (uint32_t)g->out_h * g->out_w;
  size_t sample_sz = (size_t)g->h * g->w * g->c;
  for (uint32_t r = 0; r < rows; r++) {
    const int8_t *sample = src + r / pos_cnt * sample_sz;
    for (uint32_t tap = 0; tap < TAP_CNT; tap++)
      put(dst, rows, TAP_CNT * g->c, trans, r, tap * g->c, sample + tap_off(g, r % pos_cnt, tap),
          g->c);
  }
}

static int32_t dot(const int16_t *a, const int16_t *b, uint32_t k) {
  int32_t sum = 0;
  for (uint32_t i = 0; i < k; i++) sum += a[i] * b[i];
  return sum;
}

void qr_ref_gemm(const qr_ref_pack_t *pack, const qr_step_op_t *op, const int8_t *a,
                 const int8_t *b, int32_t *c) {
  bool a_trans = op->flags & QR_GEMM_A_TRANS, b_trans = op->flags & QR_GEMM_B_TRANS;
  uint32_t a_rows = a_trans ? op->k : op->m, a_cols = a_trans ? op->m : op->k;
  if (op->flags & QR_GEMM_A_CONV)
    pack_conv(pack->a, a, a_rows, &op->geo, a_trans);
  else
    pack_plain(pack->a, a, a_rows, a_cols, a_trans);
  pack_plain(pack->b, b, b_trans ? op->n : op->k, b_trans ? op->k : op->n, !b_trans);
  for (uint32_t i = 0; i < op->m; i++)
    for (uint32_t j = 0; j < op->n; j++)
      c[(size_t)i * op->n + j] =
          dot(pack->a + (size_t)i * op->k, pack->b + (size_t)j * op->k, op->k);
}

void qr_ref_col2im(const qr_step_geo_t *g, uint32_t rows, const int32_t *col, int32_t *x) {
  uint32_t pos_cnt = (uint32_t)g->out_h * g->out_w;
  size_t sample_sz = (size_t)g->h * g->w * g->c;
  memset(x, 0, rows / pos_cnt * sample_sz * sizeof *x);
  for (uint32_t r = 0; r < rows; r++) {
    int32_t *sample = x + r / pos_cnt * sample_sz;
    for (uint32_t tap = 0; tap < TAP_CNT; tap++) {
      const int32_t *src = col + ((size_t)r * TAP_CNT + tap) * g->c;
      int32_t *dst = sample + tap_off(g, r % pos_cnt, tap);
      for (uint32_t ch = 0; ch < g->c; ch++) dst[ch] += src[ch];
    }
  }
}

/* Digest. Rows go in bands; columns are taken in panels so that the key words of one panel fit on
   the stack. */
#define BAND_ROWS 8u
#define PANEL_COLS 1024u

/* Key words [BAND_ROWS][PANEL_COLS] of a panel: row i of every band uses words n*i + col on. */
static void panel_keys(const qr_ars_t *p, uint32_t n, uint32_t col, uint32_t cols, uint32_t key[]) {
  uint32_t block[4];
  for (uint32_t i = 0; i < BAND_ROWS; i++)
    for (uint32_t j = 0; j < cols; j++) {
      uint32_t w = n * i + col + j;
      if (!j || !(w & 3)) qr_ars_block(p, w >> 2, block);
      key[i * PANEL_COLS + j] = block[w & 3];
    }
}

static uint64_t band_sum(const int32_t *x, uint32_t rows, uint32_t cols, size_t stride,
                         const uint32_t *key) {
  uint64_t sum = 0;
  for (uint32_t i = 0; i < rows; i++) {
    const int32_t *row = x + i * stride;
    const uint32_t *kw = key + PANEL_COLS * i;
    for (uint32_t j = 0; j < cols; j += 2)
      sum += (uint64_t)((uint32_t)row[j] ^ kw[j]) * ((uint32_t)row[j + 1] ^ kw[j + 1]);
  }
  return sum;
}

static uint64_t band_factor(const qr_ars_t *p, uint32_t band) {
  return ((uint64_t)qr_ars_word(p, 2 * band + 1) << 32 | qr_ars_word(p, 2 * band)) | 1;
}

uint64_t qr_ref_digest(const int32_t *x, uint32_t m, uint32_t n, const qr_hash_t *sigma, uint32_t k,
                       uint32_t t) {
  qr_ars_t keys = qr_ars_init(sigma, qr_stream_word(QR_STREAM_DIGEST_K, t, k));
  qr_ars_t factors = qr_ars_init(sigma, qr_stream_word(QR_STREAM_DIGEST_R, t, k));
  uint32_t key[BAND_ROWS * PANEL_COLS];
  uint64_t digest = 0;
  for (uint32_t col = 0; col < n; col += PANEL_COLS) {
    uint32_t cols = n - col < PANEL_COLS ? n - col : PANEL_COLS;
    panel_keys(&keys, n, col, cols, key);
    for (uint32_t row = 0; row < m; row += BAND_ROWS) {
      uint32_t rows = m - row < BAND_ROWS ? m - row : BAND_ROWS;
      digest += band_factor(&factors, row / BAND_ROWS) *
                band_sum(x + (size_t)row * n + col, rows, cols, n, key);
    }
  }
  return digest;
}
