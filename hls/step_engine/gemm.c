/* A product: macro tiles of 64 x 64 sums, column after column, each over chunks of QR_ENG_DEPTH
   inner positions. Loading of the next panels, the array and the drain run at the same time. */
#include "engine.h"
#include "fixed.h"

/* Where in the product a round of the data flow is. */
typedef struct {
  uint32_t m0, n0, k0, m_cnt, n_cnt, k_cnt;
  bool first, last; /* chunk of its macro tile */
} round_t;

static uint32_t parts(uint32_t cnt, uint32_t part) {
#pragma HLS INLINE
  return (cnt + part - 1) / part;
}

static round_t round_at(uint32_t m, uint32_t n, uint32_t k, uint32_t idx) {
#pragma HLS INLINE
  uint32_t chunks = parts(k, QR_ENG_DEPTH), tile = idx / chunks, down = parts(m, QR_ENG_PANEL);
  round_t r;
  r.k0 = idx % chunks * QR_ENG_DEPTH;
  r.m0 = tile % down * QR_ENG_PANEL;
  r.n0 = tile / down * QR_ENG_PANEL;
  r.m_cnt = qr_eng_min(m - r.m0, QR_ENG_PANEL);
  r.n_cnt = qr_eng_min(n - r.n0, QR_ENG_PANEL);
  r.k_cnt = qr_eng_min(k - r.k0, QR_ENG_DEPTH);
  r.first = !r.k0;
  r.last = r.k0 + r.k_cnt == k;
  return r;
}

/* The processes of the data flow. */

static void load_a(const int8_t *a8, const qr_eng_operand_t *a, round_t r, qr_eng_panel_t panel) {
  if (a->conv)
    qr_eng_load_conv(a8, a, r.m0, r.m_cnt, r.k0, r.k_cnt, panel);
  else
    qr_eng_load_panel(a8, a, r.m0, r.m_cnt, r.k0, r.k_cnt, panel);
}

static void load_b(const int8_t *b8, const qr_eng_operand_t *b, round_t r, qr_eng_panel_t panel) {
  qr_eng_load_panel(b8, b, r.n0, r.n_cnt, r.k0, r.k_cnt, panel);
}

static void drain_round(qr_eng_tile_t acc, const qr_eng_drain_t *d, const qr_eng_ars_t *ars,
                        round_t r, int8_t *s8, int32_t *s32, int16_t *model, uint64_t *digest,
                        uint32_t *max_abs) {
  if (r.last) qr_eng_drain(acc, d, ars, r.m0, r.n0, s8, s32, model, digest, max_abs);
}

void qr_eng_gemm(const qr_eng_operand_t *a, const qr_eng_operand_t *b, uint32_t k,
                 const qr_eng_drain_t *d, const qr_eng_ars_t *ars, const int8_t *a8,
                 const int8_t *b8, int8_t *s8, int32_t *s32, int16_t *model, uint64_t *digest,
                 uint32_t *max_abs) {
  uint32_t m = d->m, n = d->n;
  uint32_t total = parts(m, QR_ENG_PANEL) * parts(n, QR_ENG_PANEL) * parts(k, QR_ENG_DEPTH);
  for (uint32_t i = 0; i < total; i++) {
#pragma HLS DATAFLOW
#pragma HLS LOOP_TRIPCOUNT min = 1 max = 4096
    QR_ENG_CHANNEL qr_eng_panel_t panel_a, panel_b;
    QR_ENG_CHANNEL qr_eng_tile_t acc;
#pragma HLS ARRAY_PARTITION variable = panel_a complete dim = 2
#pragma HLS ARRAY_PARTITION variable = panel_b complete dim = 2
#if QR_ENGINE_T == 16 /* pragmas take no macros */
#pragma HLS ARRAY_PARTITION variable = acc cyclic factor = 16 dim = 1
#else
#pragma HLS ARRAY_PARTITION variable = acc cyclic factor = 32 dim = 1
#endif
#pragma HLS ARRAY_PARTITION variable = acc cyclic factor = 16 dim = 2
    round_t r = round_at(m, n, k, i);
    load_a(a8, a, r, panel_a);
    load_b(b8, b, r, panel_b);
    qr_eng_array(panel_a, panel_b, r.k_cnt, r.m_cnt, r.n_cnt, r.first, acc);
    drain_round(acc, d, ars, r, s8, s32, model, digest, max_abs);
  }
}

/* A macro tile that lies in S32. */
static void load_tile(const int32_t *s32, const qr_eng_drain_t *d, uint32_t m0, uint32_t n0,
                      qr_eng_tile_t acc) {
  uint32_t rows = qr_eng_min(d->m - m0, QR_ENG_PANEL), cols = qr_eng_min(d->n - n0, QR_ENG_PANEL);
  uint32_t r = 0, c = 0;
  while (r < rows) {
#pragma HLS PIPELINE II = 1
#pragma HLS LOOP_TRIPCOUNT min = 1 max = 4096
    acc[r][c] = (uint32_t)s32[d->acc_off + (m0 + r) * d->n + n0 + c];
    if (++c < cols) continue;
    c = 0;
    r++;
  }
}

void qr_eng_pass(const qr_eng_drain_t *d, const qr_eng_ars_t *ars, int8_t *s8, int32_t *s32,
                 int16_t *model, uint32_t *max_abs) {
  QR_ENG_STATE qr_eng_tile_t acc;
  uint64_t digest = 0;
  for (uint32_t n0 = 0; n0 < d->n; n0 += QR_ENG_PANEL) {
#pragma HLS LOOP_TRIPCOUNT min = 1 max = 1024
    for (uint32_t m0 = 0; m0 < d->m; m0 += QR_ENG_PANEL) {
#pragma HLS LOOP_TRIPCOUNT min = 1 max = 1024
      load_tile(s32, d, m0, n0, acc);
      qr_eng_drain(acc, d, ars, m0, n0, s8, s32, model, &digest, max_abs);
    }
  }
}
