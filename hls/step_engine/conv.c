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

static void load_samples(const int8_t *mem, uint32_t start, uint32_t sz,
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

/* A position of the output, the bytes from the start of the cache to its sample, and the panel's
   row, or inner position, that it is. */
typedef struct {
  uint32_t y, x, base, idx;
} pos_t;

static pos_t pos_after(pos_t at, const qr_eng_geo_t *g) {
#pragma HLS INLINE
  at.idx++;
  if (++at.x < g->out_w) return at;
  at.x = 0;
  if (++at.y < g->out_h) return at;
  at.y = 0;
  at.base += g->h * g->w * g->c;
  return at;
}

/* Positions from at on, up to end; col_cnt columns of each from tap on. One loop over the runs of
   all of them. */
static void load_positions(int8_t cache[LINE_CNT][QR_ENG_PANEL], const qr_eng_geo_t *g, pos_t at,
                           uint32_t end, tap_t first, uint32_t col_cnt, bool along_k,
                           qr_eng_panel_t panel) {
  uint32_t done = 0;
  tap_t tap = first;
  while (at.idx < end) {
#pragma HLS PIPELINE II = 1
#pragma HLS LOOP_TRIPCOUNT min = 1 max = 4096
#pragma HLS DEPENDENCE variable = panel inter false
    uint32_t in_y = qr_eng_wrapped(at.y, g->sy, tap.i, g->h),
             in_x = qr_eng_wrapped(at.x, g->sx, tap.j, g->w);
    uint32_t byte = at.base + (in_y * g->w + in_x) * g->c + tap.ch, from = byte & 63;
    uint32_t to_wrap = (g->w - in_x) * g->c - tap.ch, to_end = (3 - tap.j) * g->c - tap.ch;
    uint32_t n =
        qr_eng_min(qr_eng_min(to_wrap, to_end), qr_eng_min(col_cnt - done, QR_ENG_PANEL - from));
    qr_eng_put(panel, cache[byte >> 6], from, n, along_k ? done : at.idx, along_k ? at.idx : done,
               along_k);
    done += n;
    tap = tap_after(tap, n, g->c);
    if (done < col_cnt) continue;
    done = 0;
    tap = first;
    at = pos_after(at, g);
  }
}

void qr_eng_load_conv(const int8_t *mem, const qr_eng_operand_t *x, uint32_t r0, uint32_t r_cnt,
                      uint32_t k0, uint32_t k_cnt, qr_eng_panel_t panel) {
  QR_ENG_STATE int8_t cache[LINE_CNT][QR_ENG_PANEL];
#pragma HLS ARRAY_RESHAPE variable = cache complete dim = 2
#pragma HLS BIND_STORAGE variable = cache type = ram_2p impl = uram
  const qr_eng_geo_t g = x->geo;
  uint32_t pos_cnt = g.out_h * g.out_w, sz = g.h * g.w * g.c, most = QR_ENG_SAMPLE_MAX / sz;
  uint32_t pos0 = x->along_k ? r0 : k0, cnt = x->along_k ? r_cnt : k_cnt;
  uint32_t col_cnt = x->along_k ? k_cnt : r_cnt;
  tap_t tap = tap_of(x->along_k ? k0 : r0, g.c);
  uint32_t sample = pos0 / pos_cnt, last = (pos0 + cnt - 1) / pos_cnt;
  pos_t at = {pos0 % pos_cnt / g.out_w, pos0 % g.out_w, 0, 0};
  for (; sample <= last; sample += most) {
#pragma HLS LOOP_TRIPCOUNT min = 1 max = 16
    uint32_t start = x->off + sample * sz, held = qr_eng_min(last - sample + 1, most);
    uint32_t end = qr_eng_min((sample + held) * pos_cnt - pos0, cnt);
    at.base = start & 63;
    load_samples(mem, start, held * sz, cache);
    load_positions(cache, &g, at, end, tap, col_cnt, x->along_k, panel);
    at = (pos_t){0, 0, 0, end};
  }
}
