/* The T x T array: every cycle one column of the panel of A meets one row of the panel of B, and
   T x T sums grow where they stand (output stationary).

   Two products per DSP. A DSP48E2 multiplies 27 x 18 bits and adds into 48. Two rows of A share a
   multiplier: w = hi * 2^19 + lo, and w * b = (hi * b) * 2^19 + lo * b. With elements in [-64, 63]
   w is a number of 27 bits, a product is at most 4096, the low field of 19 bits holds the sum of up
   to 63 products exactly (63 * 4096 < 2^18), the high one of 29 bits of 65535. After QR_ENG_T
   products (32 at most) the sums of a group are taken apart, the low one with its sign, the high
   one rid of what the low one borrowed, and added to 32-bit sums: one column of a sub-tile a cycle
   while the next group is multiplied, so T adders do for T x T accumulators. */
#include "engine.h"
#include "fixed.h"

#define FIELD 19
#define PAIRS (QR_ENG_T / 2)

/* Column k of a skewed panel, straightened. */
static void straight(qr_eng_panel_t panel, uint32_t k, int8_t out[QR_ENG_PANEL]) {
#pragma HLS INLINE
  qr_eng_rotate(panel[k], QR_ENG_PANEL - (k & 63), out);
}

/* Seven bits of an element: the tool has to see that w fits a multiplier. */
static int32_t int7(int8_t x) {
#pragma HLS INLINE
  return (int32_t)((uint32_t)x << 25) >> 25;
}

/* One step of the multipliers: T rows from row0 of A against T columns from col0 of B. */
static void multiply(const int8_t a[QR_ENG_PANEL], const int8_t b[QR_ENG_PANEL], uint32_t row0,
                     uint32_t col0, bool valid, bool clear, int64_t p[PAIRS][QR_ENG_T]) {
#pragma HLS INLINE
  for (uint32_t i = 0; i < PAIRS; i++) {
#pragma HLS UNROLL
    int32_t lo = valid ? int7(a[row0 + 2 * i]) : 0, hi = valid ? int7(a[row0 + 2 * i + 1]) : 0;
    int32_t w = hi * (1 << FIELD) + lo; /* 27 bits */
    for (uint32_t j = 0; j < QR_ENG_T; j++) {
#pragma HLS UNROLL
      int64_t product = (int64_t)w * b[col0 + j];
#pragma HLS BIND_OP variable = product op = mul impl = dsp
      p[i][j] = (clear ? 0 : p[i][j]) + product; /* 48 bits */
    }
  }
}

/* Adds the first column of a finished group to the sums, and moves the others up. */
static void fold(int64_t done[PAIRS][QR_ENG_T], uint32_t row0, uint32_t col, bool valid, bool first,
                 qr_eng_tile_t sum, qr_eng_tile_t out) {
#pragma HLS INLINE
  for (uint32_t i = 0; i < PAIRS; i++) {
#pragma HLS UNROLL
    uint64_t v = (uint64_t)done[i][0], half = (uint64_t)1 << (FIELD - 1);
    uint32_t lo = (uint32_t)((v + half) & ((half << 1) - 1)) - (uint32_t)half;
    uint32_t hi = (uint32_t)((v + half) >> FIELD);
    uint32_t row = row0 + 2 * i;
    lo += first ? 0 : sum[row][col];
    hi += first ? 0 : sum[row + 1][col];
    if (valid) {
      sum[row][col] = out[row][col] = lo;
      sum[row + 1][col] = out[row + 1][col] = hi;
    }
    for (uint32_t j = 0; j + 1 < QR_ENG_T; j++) {
#pragma HLS UNROLL
      done[i][j] = done[i][j + 1];
    }
  }
}

/* Which group of which sub-tile. */
typedef struct {
  uint32_t group, row, col;
} place_t;

static place_t next_group(place_t at, uint32_t groups, uint32_t r_cnt, uint32_t c_cnt) {
#pragma HLS INLINE
  if (at.group + 1 < groups) return (place_t){at.group + 1, at.row, at.col};
  if (at.col + QR_ENG_T < c_cnt) return (place_t){0, at.row, at.col + QR_ENG_T};
  return (place_t){0, at.row + QR_ENG_T < r_cnt ? at.row + QR_ENG_T : 0, 0};
}

/* Groups of QR_ENG_T inner positions, sub-tile after sub-tile, in one loop that never stalls: while
   a group is multiplied, the one before it is folded. A sum is met again after QR_ENG_T cycles at
   the earliest, longer than its way to memory and back. */
void qr_eng_array_packed(qr_eng_panel_t a, qr_eng_panel_t b, uint32_t k_cnt, uint32_t r_cnt,
                         uint32_t c_cnt, bool first, qr_eng_tile_t out) {
  QR_ENG_STATE qr_eng_tile_t sum;
  int64_t p[PAIRS][QR_ENG_T] = {{0}}, done[PAIRS][QR_ENG_T] = {{0}};
#if QR_ENGINE_T == 16 /* pragmas take no macros */
#pragma HLS ARRAY_PARTITION variable = sum cyclic factor = 16 dim = 1
#pragma HLS ARRAY_PARTITION variable = out cyclic factor = 16 dim = 1
#else
#pragma HLS ARRAY_PARTITION variable = sum cyclic factor = 32 dim = 1
#pragma HLS ARRAY_PARTITION variable = out cyclic factor = 32 dim = 1
#endif
#pragma HLS ARRAY_PARTITION variable = p complete dim = 0
#pragma HLS ARRAY_PARTITION variable = done complete dim = 0
#pragma HLS ARRAY_PARTITION variable = a complete dim = 2
#pragma HLS ARRAY_PARTITION variable = b complete dim = 2
  uint32_t groups = (k_cnt + QR_ENG_T - 1) / QR_ENG_T;
  uint32_t subs = (r_cnt + QR_ENG_T - 1) / QR_ENG_T * ((c_cnt + QR_ENG_T - 1) / QR_ENG_T);
  uint32_t cycles = (subs * groups + 1) * QR_ENG_T, g = 0;
  place_t now = {0, 0, 0}, old = {0, 0, 0};
  for (uint32_t t = 0; t < cycles; t++) {
#pragma HLS PIPELINE II = 1
#pragma HLS LOOP_TRIPCOUNT min = 32 max = 16400
#pragma HLS DEPENDENCE variable = sum inter false
    int8_t a_col[QR_ENG_PANEL], b_row[QR_ENG_PANEL];
#pragma HLS ARRAY_PARTITION variable = a_col complete
#pragma HLS ARRAY_PARTITION variable = b_row complete
    uint32_t k = now.group * QR_ENG_T + g;
    fold(done, old.row, old.col + g, t >= QR_ENG_T, first && !old.group, sum, out);
    straight(a, k, a_col);
    straight(b, k, b_row);
    multiply(a_col, b_row, now.row, now.col, k < k_cnt, !g, p);
    if (++g < QR_ENG_T) continue;
    for (uint32_t i = 0; i < PAIRS; i++) {
#pragma HLS UNROLL
      for (uint32_t j = 0; j < QR_ENG_T; j++) {
#pragma HLS UNROLL
        done[i][j] = p[i][j];
      }
    }
    g = 0;
    old = now;
    now = next_group(now, groups, r_cnt, c_cnt);
  }
}

#ifndef __SYNTHESIS__

#define PLAIN_STEP 32u

/* Four products of int7 fit 16 bits, which processors add eight or more at a time. */
static void plain_row(const int16_t a[PLAIN_STEP], int16_t b[PLAIN_STEP][QR_ENG_PANEL],
                      uint32_t sum[QR_ENG_PANEL]) {
  for (uint32_t k = 0; k < PLAIN_STEP; k += 4)
    for (uint32_t j = 0; j < QR_ENG_PANEL; j++) {
      int16_t v = (int16_t)(a[k] * b[k][j] + a[k + 1] * b[k + 1][j] + a[k + 2] * b[k + 2][j] +
                            a[k + 3] * b[k + 3][j]);
      sum[j] += (uint32_t)v;
    }
}

void qr_eng_array_plain(qr_eng_panel_t a, qr_eng_panel_t b, uint32_t k_cnt, uint32_t r_cnt,
                        uint32_t c_cnt, bool first, qr_eng_tile_t out) {
  QR_ENG_STATE qr_eng_tile_t sum;
  (void)c_cnt;
  for (uint32_t i = 0; first && i < r_cnt; i++)
    for (uint32_t j = 0; j < QR_ENG_PANEL; j++) sum[i][j] = 0;
  for (uint32_t k0 = 0; k0 < k_cnt; k0 += PLAIN_STEP) {
    int16_t at[QR_ENG_PANEL][PLAIN_STEP], bt[PLAIN_STEP][QR_ENG_PANEL];
    for (uint32_t k = 0; k < PLAIN_STEP; k++) {
      int8_t line[QR_ENG_PANEL];
      bool valid = k0 + k < k_cnt;
      straight(a, k0 + k, line);
      for (uint32_t i = 0; i < QR_ENG_PANEL; i++) at[i][k] = valid ? line[i] : 0;
      straight(b, k0 + k, line);
      for (uint32_t i = 0; i < QR_ENG_PANEL; i++) bt[k][i] = line[i];
    }
    for (uint32_t i = 0; i < r_cnt; i++) plain_row(at[i], bt, sum[i]);
  }
  for (uint32_t i = 0; i < r_cnt; i++)
    for (uint32_t j = 0; j < QR_ENG_PANEL; j++) out[i][j] = sum[i][j];
}

#endif

void qr_eng_array(qr_eng_panel_t a, qr_eng_panel_t b, uint32_t k_cnt, uint32_t r_cnt,
                  uint32_t c_cnt, bool first, qr_eng_tile_t out) {
#pragma HLS INLINE
#ifdef __SYNTHESIS__
  qr_eng_array_packed(a, b, k_cnt, r_cnt, c_cnt, first, out);
#else
  qr_eng_array_plain(a, b, k_cnt, r_cnt, c_cnt, first, out);
#endif
}
