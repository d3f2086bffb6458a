#include "gemm.h"

/* A block: M rows by N columns over K. */
#define BLOCK_M 512u
#define BLOCK_N 512u
#define BLOCK_K 512u
#define K4 (BLOCK_K / 4)
#define ELEMENTS_MAX_CNT (1u << 24)
#define INNER_MAX (INT32_MAX / 4096) /* 64 * 64 * k fits the accumulator */

static uint32_t least(uint32_t a, uint32_t b) { return a < b ? a : b; }
static uint32_t whole(uint32_t v, uint32_t of) { return (v + of - 1) / of * of; }

/* Rows of a convolution are 9 * c wide and come in whole samples. */
static bool check_geo(const qr_step_geo_t *g, uint32_t rows, uint32_t cols) {
  uint32_t pos = (uint32_t)g->out_h * g->out_w;
  return pos && g->sy && g->sx && (uint32_t)g->out_h * g->sy <= g->h &&
         (uint32_t)g->out_w * g->sx <= g->w && g->c && rows % pos == 0 && cols == 9u * g->c &&
         (uint64_t)rows / pos * g->h * g->w * g->c <= ELEMENTS_MAX_CNT;
}

bool qr_cpu_gemm_check(const qr_step_op_t *op) {
  bool trans = op->flags & QR_GEMM_A_TRANS;
  uint64_t m = op->m, n = op->n, k = op->k;
  if (!m || !n || !k || k > INNER_MAX || m * k > ELEMENTS_MAX_CNT || m * n > ELEMENTS_MAX_CNT ||
      n * k > ELEMENTS_MAX_CNT)
    return false;
  if (op->flags & ~(unsigned)(QR_GEMM_A_TRANS | QR_GEMM_B_TRANS | QR_GEMM_A_CONV)) return false;
  return !(op->flags & QR_GEMM_A_CONV) ||
         check_geo(&op->geo, trans ? op->k : op->m, trans ? op->m : op->k);
}

void qr_cpu_gemm_need(qr_cpu_sizes_t *z) {
  z->gemm_a = qr_cpu_panels_sz(K4, BLOCK_M);
  z->gemm_b = qr_cpu_panels_sz(K4, BLOCK_N);
  z->gemm_rows = BLOCK_K * (BLOCK_M > BLOCK_N ? BLOCK_M : BLOCK_N);
  z->gemm_init = BLOCK_N;
  z->gemm_c = BLOCK_M * BLOCK_N;
}

/* Columns col .. col + cnt of a row of a convolution's matrix, a run of channels at a time. */
static void conv_row(const qr_step_op_t *op, const int8_t *src, uint32_t row, uint32_t col,
                     uint32_t cnt, int8_t *dst) {
  const qr_step_geo_t *g = &op->geo;
  uint32_t pos = (uint32_t)g->out_h * g->out_w, p = row % pos;
  const int8_t *image = src + (size_t)(row / pos) * g->h * g->w * g->c;
  for (uint32_t end = col + cnt; col < end;) {
    uint32_t tap = col / g->c, ch = col % g->c, run = least(g->c - ch, end - col);
    uint32_t y = (p / g->out_w * g->sy + tap / 3 + g->h - 1u) % g->h,
             x = (p % g->out_w * g->sx + tap % 3 + g->w - 1u) % g->w;
    memcpy(dst, image + ((size_t)y * g->w + x) * g->c + ch, run);
    dst += run;
    col += run;
  }
}

/* A block of that matrix, rows ld apart. */
static void conv_block(const qr_step_op_t *op, const int8_t *src, uint32_t row, uint32_t rows,
                       uint32_t col, uint32_t cols, int8_t *dst, uint32_t ld) {
  for (uint32_t i = 0; i < rows; i++, dst += ld) conv_row(op, src, row + i, col, cols, dst);
}

/* Panels from rows that lie ld apart, the last group filled up with zeros. */
static void pack_rows(const qr_cpu_gemm_job_t *j, int8_t *dst, size_t panel_sz, const int8_t *src,
                      size_t ld, uint32_t rows, uint32_t cols, int8_t plus) {
  uint32_t groups = rows / 4, rest = rows % 4;
  int8_t last[4 * (BLOCK_M > BLOCK_N ? BLOCK_M : BLOCK_N)] = {0};
  j->kern->pack(dst, panel_sz, src, groups, cols, 4 * ld, ld, plus);
  if (!rest) return;
  for (uint32_t i = 0; i < rest; i++) memcpy(last + i * cols, src + (4 * groups + i) * ld, cols);
  j->kern->pack(dst + groups * (size_t)64, panel_sz, last, 1, cols, 0, cols, plus);
}

/* What of A the block at (m, k) reads, as left operand; returns the distance of its rows, which is
   nothing in panels. A row's last group may reach into what follows: B has zeros there. */
static uint32_t pack_a(const qr_cpu_gemm_job_t *j, uint32_t m, uint32_t rows, uint32_t k,
                       uint32_t ks) {
  const qr_cpu_dither_t plain = {.plus = 64};
  const qr_step_op_t *op = j->op;
  bool conv = op->flags & QR_GEMM_A_CONV, trans = op->flags & QR_GEMM_A_TRANS;
  size_t ld = trans ? op->m : op->k;
  const int8_t *src = trans ? j->a + k * ld + m : j->a + m * ld + k;
  if (conv) { /* rows as they would be stored */
    ld = trans ? BLOCK_M : BLOCK_K;
    conv_block(op, j->a, trans ? k : m, trans ? ks : rows, trans ? m : k, trans ? rows : ks,
               j->mem->gemm_rows, (uint32_t)ld);
    src = j->mem->gemm_rows;
  }
  if (trans) {
    pack_rows(j, j->mem->gemm_a, qr_cpu_panel_sz(K4), src, ld, ks, rows, 64);
    return 0;
  }
  if (ld == ks) {
    j->kern->dither(j->mem->gemm_a, src, 0, (size_t)rows * ks, &plain, NULL);
    return ks;
  }
  for (uint32_t i = 0; i < rows; i++)
    j->kern->dither(j->mem->gemm_a + (size_t)i * BLOCK_K, src + i * ld, 0, ks, &plain, NULL);
  return BLOCK_K;
}

/* Panels of the block of B at (k, n), and their start values. */
static void pack_b(const qr_cpu_gemm_job_t *j, uint32_t n, uint32_t cols, uint32_t k, uint32_t ks) {
  uint32_t k4 = (ks + 3) / 4, n16 = whole(cols, QR_CPU_PANEL);
  size_t panel_sz = qr_cpu_panel_sz(k4), ld = j->op->k;
  if (!(j->op->flags & QR_GEMM_B_TRANS)) {
    pack_rows(j, j->mem->gemm_b, panel_sz, j->b + k * (size_t)j->op->n + n, j->op->n, ks, cols, 0);
  } else {
    const int8_t *src = j->b + n * ld + k;
    if (n16 != cols || ks % 4) { /* what is beyond the ends must be there, as zeros */
      int8_t *rows = j->mem->gemm_rows;
      memset(rows, 0, (size_t)n16 * BLOCK_K);
      for (uint32_t i = 0; i < cols; i++) memcpy(rows + (size_t)i * BLOCK_K, src + i * ld, ks);
      src = rows;
      ld = BLOCK_K;
    }
    j->kern->pack_trans(j->mem->gemm_b, panel_sz, src, k4, n16, ld);
  }
  memset(j->mem->gemm_init, 0, n16 * sizeof *j->mem->gemm_init);
  j->kern->sums(j->mem->gemm_init, j->mem->gemm_b, panel_sz, k4, n16);
}

/* A block of the product; whole tiles go straight to C. */
static void multiply(const qr_cpu_gemm_job_t *j, uint32_t m, uint32_t rows, uint32_t n,
                     uint32_t cols, uint32_t k4, uint32_t lda, bool add) {
  uint32_t row[BLOCK_M], step[K4];
  bool direct = rows % QR_CPU_TILE == 0 && cols % QR_CPU_PANEL == 0;
  int32_t *to = j->c + (size_t)m * j->op->n + n;
  for (uint32_t i = 0; i < whole(rows, QR_CPU_TILE); i++)
    row[i] = lda ? i * lda : i / 16 * (uint32_t)qr_cpu_panel_sz(K4) + i % 16 * 4;
  for (uint32_t g = 0; g < k4; g++) step[g] = lda ? 4 * g : 64 * g;
  qr_cpu_gemm_t g = {.m = whole(rows, QR_CPU_TILE),
                     .n = whole(cols, QR_CPU_PANEL),
                     .k4 = k4,
                     .a = j->mem->gemm_a,
                     .row = row,
                     .step = step,
                     .b = j->mem->gemm_b,
                     .panel_sz = qr_cpu_panel_sz(k4),
                     .init = j->mem->gemm_init,
                     .c = direct ? to : j->mem->gemm_c,
                     .ldc = direct ? j->op->n : BLOCK_N,
                     .add = direct && add};
  j->kern->gemm(&g);
  for (uint32_t i = 0; !direct && i < rows; i++) {
    int32_t *d = to + (size_t)i * j->op->n;
    const int32_t *c = g.c + (size_t)i * BLOCK_N;
    for (uint32_t q = 0; q < cols; q++) d[q] = add ? d[q] + c[q] : c[q];
  }
}

uint32_t qr_cpu_gemm_rows(qr_cpu_gemm_job_t *j, uint32_t row) {
  const qr_step_op_t *op = j->op;
  uint32_t rows = least(op->m - row, BLOCK_M);
  for (uint32_t k = 0; k < op->k; k += BLOCK_K) {
    uint32_t ks = least(op->k - k, BLOCK_K);
    uint32_t lda = pack_a(j, row, rows, k, ks);
    for (uint32_t n = 0; n < op->n; n += BLOCK_N) {
      uint32_t cols = least(op->n - n, BLOCK_N);
      pack_b(j, n, cols, k, ks);
      qr_cpu_lap(&j->laps, QR_CPU_PHASE_PACK);
      multiply(j, row, rows, n, cols, (ks + 3) / 4, lda, k);
      qr_cpu_lap(&j->laps, QR_CPU_PHASE_PRODUCT);
    }
  }
  return row + rows;
}
