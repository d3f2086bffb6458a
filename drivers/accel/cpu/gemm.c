#include "gemm.h"

/* A block: M rows by N columns over K. Offsets below are worked out for these. */
#define BLOCK_M 256u
#define BLOCK_N 256u
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

void qr_cpu_gemm_tables(qr_cpu_gemm_tables_t *t) {
  _Static_assert(BLOCK_M == sizeof t->row / 4 && K4 == sizeof t->step / 4, "tables of a block");
  for (uint32_t i = 0; i < BLOCK_M; i++) {
    t->row[i] = i * BLOCK_K;
    t->trans_row[i] = i / QR_CPU_PANEL * (uint32_t)qr_cpu_panel_sz(K4) + i % QR_CPU_PANEL * 4;
  }
  for (uint32_t g = 0; g < K4; g++) {
    t->step[g] = 4 * g;
    t->trans_step[g] = 64 * g;
  }
}

/* Columns col .. col + cnt of a stored row. Those of a convolution are read through its geometry,
   a run of channels at a time. */
static void stored_row(const qr_step_op_t *op, const int8_t *src, bool conv, size_t stride,
                       uint32_t row, uint32_t col, uint32_t cnt, int8_t *dst) {
  const qr_step_geo_t *g = &op->geo;
  if (!conv) {
    memcpy(dst, src + row * stride + col, cnt);
    return;
  }
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

/* Rows row .. row + rows and columns of a stored matrix as [whole groups of rows][ld], what is
   beyond them 0. */
static void stored_block(const qr_step_op_t *op, const int8_t *src, bool conv, size_t stride,
                         uint32_t row, uint32_t rows, uint32_t col, uint32_t cols, int8_t *dst,
                         uint32_t ld) {
  for (uint32_t i = 0; i < whole(rows, 8); i++, dst += ld) {
    memset(dst + (i < rows ? cols : 0), 0, ld - (i < rows ? cols : 0));
    if (i < rows) stored_row(op, src, conv, stride, row + i, col, cols, dst);
  }
}

/* What of A the block at (m, k) reads, as left operand. */
static void pack_a(const qr_cpu_gemm_job_t *j, uint32_t m, uint32_t rows, uint32_t k, uint32_t ks) {
  const qr_cpu_dither_t plain = {.plus = 64};
  bool conv = j->op->flags & QR_GEMM_A_CONV;
  if (j->op->flags & QR_GEMM_A_TRANS) {
    stored_block(j->op, j->a, conv, j->op->m, k, ks, m, rows, j->mem->gemm_rows, BLOCK_M);
    j->kern->pack(j->mem->gemm_a, qr_cpu_panel_sz(K4), j->mem->gemm_rows, (ks + 3) / 4,
                  whole(rows, QR_CPU_PANEL), 4 * BLOCK_M, BLOCK_M, 64);
  } else {
    stored_block(j->op, j->a, conv, j->op->k, m, rows, k, ks, j->mem->gemm_rows, BLOCK_K);
    for (uint32_t i = 0; i < whole(rows, QR_CPU_TILE); i++)
      j->kern->dither(j->mem->gemm_a + (size_t)i * BLOCK_K, j->mem->gemm_rows + (size_t)i * BLOCK_K,
                      0, whole(ks, 4), &plain, NULL);
  }
}

/* Panels of the block of B at (k, n), and their start values. */
static void pack_b(const qr_cpu_gemm_job_t *j, uint32_t n, uint32_t cols, uint32_t k, uint32_t ks) {
  uint32_t k4 = (ks + 3) / 4, n16 = whole(cols, QR_CPU_PANEL);
  size_t panel_sz = qr_cpu_panel_sz(k4);
  int8_t *rows = j->mem->gemm_rows;
  if (j->op->flags & QR_GEMM_B_TRANS) {
    stored_block(j->op, j->b, false, j->op->k, n, cols, k, ks, rows, BLOCK_K);
    memset(rows + (size_t)whole(cols, 8) * BLOCK_K, 0, (size_t)(n16 - whole(cols, 8)) * BLOCK_K);
    j->kern->pack_trans(j->mem->gemm_b, panel_sz, rows, k4, n16, BLOCK_K);
  } else {
    stored_block(j->op, j->b, false, j->op->n, k, ks, n, cols, rows, BLOCK_N);
    j->kern->pack(j->mem->gemm_b, panel_sz, rows, k4, n16, 4 * BLOCK_N, BLOCK_N, 0);
  }
  memset(j->mem->gemm_init, 0, n16 * sizeof *j->mem->gemm_init);
  j->kern->sums(j->mem->gemm_init, j->mem->gemm_b, panel_sz, k4, n16);
}

/* A block of the product; whole tiles go straight to C. */
static void multiply(const qr_cpu_gemm_job_t *j, uint32_t m, uint32_t rows, uint32_t n,
                     uint32_t cols, uint32_t k4, bool add) {
  bool trans = j->op->flags & QR_GEMM_A_TRANS;
  bool direct = rows % QR_CPU_TILE == 0 && cols % QR_CPU_PANEL == 0;
  int32_t *to = j->c + (size_t)m * j->op->n + n;
  qr_cpu_gemm_t g = {.m = whole(rows, QR_CPU_TILE),
                     .n = whole(cols, QR_CPU_PANEL),
                     .k4 = k4,
                     .a = j->mem->gemm_a,
                     .row = trans ? j->tables->trans_row : j->tables->row,
                     .step = trans ? j->tables->trans_step : j->tables->step,
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
    pack_a(j, row, rows, k, ks);
    for (uint32_t n = 0; n < op->n; n += BLOCK_N) {
      uint32_t cols = least(op->n - n, BLOCK_N);
      pack_b(j, n, cols, k, ks);
      qr_cpu_lap(&j->laps, QR_CPU_PHASE_PACK);
      multiply(j, row, rows, n, cols, (ks + 3) / 4, k);
      qr_cpu_lap(&j->laps, QR_CPU_PHASE_PRODUCT);
    }
  }
  return row + rows;
}
