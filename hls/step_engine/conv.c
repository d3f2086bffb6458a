/* The panel loader for a convolution's row matrix, which is never made: row = position (sample, y,
   x), column = (tap i, tap j, channel). A sample at a time is held on chip; a position then takes
   runs of neighbouring bytes, cut where a line ends, where the input wraps and where the row of
   taps ends. One run a cycle. */
#include "engine.h"
#include "fixed.h"

#define LINE_CNT (QR_ENG_SAMPLE_MAX / QR_ENG_PANEL + 1)

/* A column of the row matrix, taken apart. */
typedef struct {
  uint32_t i, j, ch;
} tap_t;

static tap_t tap_of(uint32_t col, uint32_t c) {
#pragma HLS INLINE
  uint32_t tap = col / c;
  return (tap_t){tap / 3, tap % 3, col % c};
}

/* cnt <= what is left of the row of taps. */
static tap_t tap_after(tap_t t, uint32_t cnt, uint32_t c) {
#pragma HLS INLINE
  t.ch += cnt;
  for (uint32_t n = 0; n < 3; n++) {
#pragma HLS UNROLL
    if (t.ch >= c) {
      t.ch -= c;
      t.j++;
    }
  }
  if (t.j == 3) {
    t.j = 0;
    t.i++;
  }
  return t;
}

/* Input coordinate of a tap, at * stride + tap - 1 modulo size; at * stride < size. */
static uint32_t wrapped(uint32_t at, uint32_t stride, uint32_t tap, uint32_t size) {
#pragma HLS INLINE
  uint32_t v = at * stride + tap;
  if (!v) return size - 1;
  return v > size ? v - 1 - size : v - 1;
}

static void load_sample(const int8_t *mem, uint32_t start, uint32_t sz,
                        int8_t cache[LINE_CNT][QR_ENG_PANEL]) {
  uint32_t first = start >> 6, last = (start + sz - 1) >> 6;
  for (uint32_t l = first; l <= last; l++) {
#pragma HLS PIPELINE II = 1
#pragma HLS LOOP_TRIPCOUNT min = 1 max = 1025
    for (uint32_t i = 0; i < QR_ENG_PANEL; i++) {
#pragma HLS UNROLL
      cache[l - first][i] = mem[((uint64_t)l << 6) + i];
    }
  }
}

/* Columns col0 .. col0 + col_cnt - 1 of one position. */
static void load_position(int8_t cache[LINE_CNT][QR_ENG_PANEL], uint32_t shift,
                          const qr_eng_geo_t *g, uint32_t y, uint32_t x, tap_t tap,
                          uint32_t col_cnt, bool along_k, uint32_t row, qr_eng_panel_t panel) {
#pragma HLS INLINE
  uint32_t done = 0;
  while (done < col_cnt) {
#pragma HLS PIPELINE II = 1
#pragma HLS LOOP_TRIPCOUNT min = 1 max = 64
    uint32_t in_y = wrapped(y, g->sy, tap.i, g->h), in_x = wrapped(x, g->sx, tap.j, g->w);
    uint32_t at = shift + (in_y * g->w + in_x) * g->c + tap.ch, from = at & 63;
    uint32_t to_wrap = (g->w - in_x) * g->c - tap.ch, to_end = (3 - tap.j) * g->c - tap.ch;
    uint32_t n =
        qr_eng_min(qr_eng_min(to_wrap, to_end), qr_eng_min(col_cnt - done, QR_ENG_PANEL - from));
    if (along_k)
      qr_eng_put_along_k(panel, cache[at >> 6], from, n, done, row);
    else
      qr_eng_put_across(panel, cache[at >> 6], from, n, row, done);
    tap = tap_after(tap, n, g->c);
    done += n;
  }
}

void qr_eng_load_conv(const int8_t *mem, const qr_eng_operand_t *x, uint32_t r0, uint32_t r_cnt,
                      uint32_t k0, uint32_t k_cnt, qr_eng_panel_t panel) {
  QR_ENG_STATE int8_t cache[LINE_CNT][QR_ENG_PANEL];
#pragma HLS ARRAY_PARTITION variable = cache complete dim = 2
#pragma HLS BIND_STORAGE variable = cache type = ram_2p impl = uram
  const qr_eng_geo_t g = x->geo;
  uint32_t pos_cnt = g.out_h * g.out_w, sample_sz = g.h * g.w * g.c;
  uint32_t pos0 = x->along_k ? r0 : k0, cnt = x->along_k ? r_cnt : k_cnt;
  uint32_t col_cnt = x->along_k ? k_cnt : r_cnt;
  tap_t tap = tap_of(x->along_k ? k0 : r0, g.c);
  uint32_t sample = pos0 / pos_cnt, in_y = pos0 % pos_cnt / g.out_w, in_x = pos0 % g.out_w;
  uint32_t start = x->off + sample * sample_sz;
  load_sample(mem, start, sample_sz, cache);
  for (uint32_t i = 0; i < cnt; i++) {
#pragma HLS LOOP_TRIPCOUNT min = 1 max = 1024
    load_position(cache, start & 63, &g, in_y, in_x, tap, col_cnt, x->along_k, i, panel);
    if (++in_x < g.out_w) continue;
    in_x = 0;
    if (++in_y < g.out_h) continue;
    in_y = 0;
    start += sample_sz;
    if (i + 1 < cnt) load_sample(mem, start, sample_sz, cache);
  }
}
