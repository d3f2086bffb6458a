/* Units that go by samples or by columns: gather, TD error, update of biases, and the errors of a
   convolution added back to its input. */
#include "engine.h"
#include "fixed.h"

/* Rows of the pool, packed without gaps. Lines come in whole, are turned by what the last one left,
   and go out whole. */
bool qr_eng_gather(const uint32_t *job, uint32_t job_off, uint32_t rows, const int8_t *pool,
                   const qr_eng_win_t *win, uint32_t obs_sz, int8_t *s8, uint32_t dst,
                   uint32_t *bad_row) {
  int8_t out[QR_ENG_PANEL] = {0}, turned[QR_ENG_PANEL], line[QR_ENG_PANEL];
#pragma HLS ARRAY_PARTITION variable = out complete
#pragma HLS ARRAY_PARTITION variable = turned complete
#pragma HLS ARRAY_PARTITION variable = line complete
  uint32_t fill = 0, to = dst >> 6;
  for (uint32_t b = 0; b < rows; b++) {
#pragma HLS LOOP_TRIPCOUNT min = 16 max = 1024
    uint32_t row = job[job_off + b];
    if (row >= win->pool_rows) {
      *bad_row = row;
      return false;
    }
    uint64_t from = ((uint64_t)row * win->row_stride) >> 6;
    for (uint32_t at = 0; at < obs_sz; at += QR_ENG_PANEL) {
#pragma HLS PIPELINE II = 1
#pragma HLS LOOP_TRIPCOUNT min = 1 max = 1024
      uint32_t cnt = qr_eng_min(obs_sz - at, QR_ENG_PANEL);
      for (uint32_t i = 0; i < QR_ENG_PANEL; i++) {
#pragma HLS UNROLL
        line[i] = pool[((from + (at >> 6)) << 6) + i];
      }
      qr_eng_rotate(line, fill, turned);
      for (uint32_t i = 0; i < QR_ENG_PANEL; i++) {
#pragma HLS UNROLL
        out[i] = i < fill ? out[i] : turned[i];
      }
      bool full = fill + cnt >= QR_ENG_PANEL;
      for (uint32_t i = 0; i < QR_ENG_PANEL; i++) {
#pragma HLS UNROLL
        if (full) s8[((uint64_t)to << 6) + i] = out[i];
        if (full) out[i] = turned[i];
      }
      to += full;
      fill = (fill + cnt) & 63;
    }
  }
  for (uint32_t i = 0; i < QR_ENG_PANEL && fill; i++) {
#pragma HLS UNROLL
    s8[((uint64_t)to << 6) + i] = out[i];
  }
  return true;
}

uint64_t qr_eng_td(const uint32_t *job, uint32_t act_off, uint32_t target_off,
                   const qr_eng_op_t *op, int32_t *s32, uint32_t q, uint32_t e, uint32_t *max_abs) {
  uint64_t sum = 0;
  uint32_t most = 0;
  for (uint32_t b = 0; b < op->m; b++) {
#pragma HLS LOOP_TRIPCOUNT min = 16 max = 1024
    uint32_t act = job[act_off + b];
    int32_t target = (int32_t)job[target_off + b];
    for (uint32_t j = 0; j < op->n; j++) {
#pragma HLS PIPELINE II = 1
#pragma HLS LOOP_TRIPCOUNT min = 1 max = 255
      int32_t d = 0;
      if (j == act)
        d = (int32_t)qr_eng_clip((int64_t)s32[q + b * op->n + j] - target, -65536, 65536);
      s32[e + b * op->n + j] = d;
      sum += qr_eng_abs(d);
      most = qr_eng_abs(d) > most ? qr_eng_abs(d) : most;
    }
  }
  *max_abs = most;
  return sum;
}

/* Sums of up to 64 columns, the pieces of lines that hold them turned into place. */
static void column_sums(const int8_t *s8, uint32_t start, uint32_t ld, uint32_t rows, uint32_t cols,
                        uint32_t sum[QR_ENG_PANEL]) {
  int8_t line[QR_ENG_PANEL], turned[QR_ENG_PANEL];
#pragma HLS ARRAY_PARTITION variable = line complete
#pragma HLS ARRAY_PARTITION variable = turned complete
  for (uint32_t i = 0; i < QR_ENG_PANEL; i++) {
#pragma HLS UNROLL
    sum[i] = 0;
  }
  for (uint32_t r = 0; r < rows; r++, start += ld) {
#pragma HLS LOOP_TRIPCOUNT min = 16 max = 16384
    uint32_t done = 0;
    for (uint32_t l = start >> 6; l <= (start + cols - 1) >> 6; l++) {
#pragma HLS PIPELINE II = 1
#pragma HLS LOOP_TRIPCOUNT min = 1 max = 2
      uint32_t from = done ? 0 : start & 63, cnt = qr_eng_min(QR_ENG_PANEL - from, cols - done);
      for (uint32_t i = 0; i < QR_ENG_PANEL; i++) {
#pragma HLS UNROLL
        line[i] = s8[((uint64_t)l << 6) + i];
      }
      qr_eng_rotate(line, (done - from) & 63, turned);
      for (uint32_t i = 0; i < QR_ENG_PANEL; i++) {
#pragma HLS UNROLL
        sum[i] += i - done < cnt ? (uint32_t)turned[i] : 0;
      }
      done += cnt;
    }
  }
}

void qr_eng_bias_update(const qr_eng_ars_t *ars, uint32_t stream, const qr_eng_op_t *op,
                        int64_t shift, const int8_t *s8, uint32_t src, int16_t *model,
                        uint32_t dst) {
  uint32_t sum[QR_ENG_PANEL];
#pragma HLS ARRAY_PARTITION variable = sum complete
  for (uint32_t n0 = 0; n0 < op->n; n0 += QR_ENG_PANEL) {
#pragma HLS LOOP_TRIPCOUNT min = 1 max = 16
    uint32_t cols = qr_eng_min(op->n - n0, QR_ENG_PANEL), w[4] = {0};
    column_sums(s8, src + n0, op->n, op->m, cols, sum);
    for (uint32_t i = 0; i < cols; i++) {
#pragma HLS PIPELINE II = 2
#pragma HLS LOOP_TRIPCOUNT min = 1 max = 64
      uint32_t j = n0 + i, at = dst + 2 * j;
      if (!(j & 15)) qr_eng_ars_block(ars, stream, j >> 4, w);
      int64_t b = qr_eng_bias_load(model, dst, j);
      b = qr_eng_clip(b - qr_eng_sr((int32_t)sum[i], shift, qr_eng_byte(w, j & 15)), -op->p1,
                      op->p1);
      model[at] = (int16_t)((uint32_t)b & 0xffff);
      model[at + 1] = (int16_t)((uint32_t)b >> 16);
    }
  }
}

typedef uint32_t sample_t[QR_ENG_SAMPLE_MAX];

/* Adds what tap t of every position has. Different positions go to different places, so a pipeline
   over the positions of one tap meets no place twice; it runs empty between taps. */
static void scatter_tap(const int32_t *s32, uint32_t src, const qr_eng_geo_t *g, uint32_t t,
                        sample_t sum) {
  uint32_t lanes = g->c & 15 ? 1 : 16, ti = t / 3, tj = t % 3;
  for (uint32_t y = 0; y < g->out_h; y++) {
#pragma HLS LOOP_TRIPCOUNT min = 1 max = 8
    uint32_t vy = y * g->sy + ti, in_y = !vy ? g->h - 1 : vy > g->h ? vy - 1 - g->h : vy - 1;
    for (uint32_t x = 0; x < g->out_w; x++) {
#pragma HLS LOOP_TRIPCOUNT min = 1 max = 32
      uint32_t vx = x * g->sx + tj, in_x = !vx ? g->w - 1 : vx > g->w ? vx - 1 - g->w : vx - 1;
      uint32_t to = (in_y * g->w + in_x) * g->c;
      uint32_t from = src + ((y * g->out_w + x) * 9 + t) * g->c;
      for (uint32_t ch = 0; ch < g->c; ch += lanes) {
#pragma HLS PIPELINE II = 1
#pragma HLS LOOP_FLATTEN
#pragma HLS LOOP_TRIPCOUNT min = 1 max = 8
#pragma HLS DEPENDENCE variable = sum inter false
        for (uint32_t l = 0; l < 16; l++) {
#pragma HLS UNROLL
          if (l < lanes) sum[to + ch + l] += (uint32_t)s32[from + ch + l];
        }
      }
    }
  }
}

/* Takes a sample's sums away, masked if there is a mask, and leaves zeros. */
static void take_sample(sample_t sum, uint32_t sz, int32_t *s32, uint32_t dst, const int8_t *s8,
                        uint32_t mask, uint32_t *max_abs) {
  uint32_t most = *max_abs, lanes = sz & 15 ? 1 : 16;
  for (uint32_t at = 0; at < sz; at += lanes) {
#pragma HLS PIPELINE II = 1
#pragma HLS LOOP_TRIPCOUNT min = 1 max = 4096
    for (uint32_t l = 0; l < 16; l++) {
#pragma HLS UNROLL
      if (l >= lanes) continue;
      int32_t v = (int32_t)sum[at + l];
      if (mask != QR_ENG_ALONE && s8[mask + at + l] < 0) v >>= 3;
      s32[dst + at + l] = v;
      sum[at + l] = 0;
      most = qr_eng_abs(v) > most ? qr_eng_abs(v) : most;
    }
  }
  *max_abs = most;
}

void qr_eng_col2im(const qr_eng_op_t *op, int32_t *s32, uint32_t src, uint32_t dst,
                   const int8_t *s8, uint32_t mask, uint32_t *max_abs) {
  QR_ENG_STATE sample_t sum;
#pragma HLS ARRAY_PARTITION variable = sum cyclic factor = 16
#pragma HLS BIND_STORAGE variable = sum type = ram_t2p impl = uram
  const qr_eng_geo_t g = op->geo;
  uint32_t pos_cnt = g.out_h * g.out_w, sz = g.h * g.w * g.c;
  for (uint32_t b = 0; b < op->m / pos_cnt; b++) {
#pragma HLS LOOP_TRIPCOUNT min = 16 max = 1024
    for (uint32_t t = 0; t < 9; t++) scatter_tap(s32, src + b * pos_cnt * op->n, &g, t, sum);
    take_sample(sum, sz, s32, dst + b * sz, s8, mask == QR_ENG_ALONE ? mask : mask + b * sz,
                max_abs);
  }
}
