/* The panel loaders for plain operands, and the skew that lets one memory be written by rows and by
   columns: element (k, r) of a panel lies in bank (r + k) & 63 at address k. A line of 64 elements
   along k goes to 64 banks at 64 addresses, a line across rows to 64 banks at one address, and the
   array reads one address of all banks. Each costs a rotation by 0..63 bytes. */
#include "engine.h"
#include "fixed.h"

/* out[s] = in[(s - by) & 63], first by groups of eight bytes, then by bytes: two muxes of 8:1. */
void qr_eng_rotate(const int8_t in[QR_ENG_PANEL], uint32_t by, int8_t out[QR_ENG_PANEL]) {
#pragma HLS INLINE
  uint32_t left = (QR_ENG_PANEL - by) & 63;
  int8_t twice[2 * QR_ENG_PANEL], coarse[QR_ENG_PANEL + 8];
#pragma HLS ARRAY_PARTITION variable = twice complete
#pragma HLS ARRAY_PARTITION variable = coarse complete
  for (uint32_t i = 0; i < QR_ENG_PANEL; i++) {
#pragma HLS UNROLL
    twice[i] = twice[QR_ENG_PANEL + i] = in[i];
  }
  for (uint32_t i = 0; i < QR_ENG_PANEL + 8; i++) {
#pragma HLS UNROLL
    coarse[i] = twice[i + (left & 56)];
  }
  for (uint32_t i = 0; i < QR_ENG_PANEL; i++) {
#pragma HLS UNROLL
    out[i] = coarse[i + (left & 7)];
  }
}

void qr_eng_put(qr_eng_panel_t panel, const int8_t line[QR_ENG_PANEL], uint32_t from, uint32_t cnt,
                uint32_t k, uint32_t r, bool along_k) {
#pragma HLS INLINE
  int8_t turned[QR_ENG_PANEL];
#pragma HLS ARRAY_PARTITION variable = turned complete
  uint32_t by = r + k - from;
  bool whole = cnt == QR_ENG_PANEL;
  qr_eng_rotate(line, by & 63, turned);
  if (along_k) {
    for (uint32_t s = 0; s < QR_ENG_PANEL; s++) {
#pragma HLS UNROLL
      uint32_t i = ((s - by) & 63) - from;
      if (whole || i < cnt) panel[k + i][s] = turned[s];
    }
  } else {
    for (uint32_t s = 0; s < QR_ENG_PANEL; s++) {
#pragma HLS UNROLL
      if (whole || ((s - by) & 63) - from < cnt) panel[k][s] = turned[s];
    }
  }
}

/* One loop over the lines of all stored rows: a line of memory holds a piece of one. */
void qr_eng_load_panel(const int8_t *mem, const qr_eng_operand_t *x, uint32_t r0, uint32_t r_cnt,
                       uint32_t k0, uint32_t k_cnt, qr_eng_panel_t panel) {
  uint32_t rows = x->along_k ? r_cnt : k_cnt, cnt = x->along_k ? k_cnt : r_cnt;
  uint32_t start = x->off + (x->along_k ? r0 * x->ld + k0 : k0 * x->ld + r0);
  uint32_t row = 0, done = 0;
  while (row < rows) {
#pragma HLS PIPELINE II = 1
#pragma HLS LOOP_TRIPCOUNT min = 1 max = 2048
#pragma HLS DEPENDENCE variable = panel inter false
    int8_t line[QR_ENG_PANEL];
#pragma HLS ARRAY_PARTITION variable = line complete
    uint32_t from = (start + done) & 63, n = qr_eng_min(QR_ENG_PANEL - from, cnt - done);
    for (uint32_t i = 0; i < QR_ENG_PANEL; i++) {
#pragma HLS UNROLL
      line[i] = mem[((uint64_t)((start + done) >> 6) << 6) + i];
    }
    qr_eng_put(panel, line, from, n, x->along_k ? done : row, x->along_k ? row : done, x->along_k);
    done += n;
    if (done < cnt) continue;
    done = 0;
    start += x->ld;
    row++;
  }
}
