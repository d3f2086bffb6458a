/* Units that go by samples or by columns: gather, TD error, update of biases, and the errors of a
   convolution added back to its input. */
#include "engine.h"
#include "fixed.h"

/* Rows of the pool, packed without gaps. Lines come in whole, are turned by what the last one left,
   and go out whole. */
void qr_eng_gather(const uint32_t row[QR_ENGINE_BATCH_MAX], uint32_t cnt, const int8_t *pool,
                   uint32_t stride, uint32_t obs_sz, int8_t *s8, uint32_t dst) {
  int8_t out[QR_ENG_PANEL] = {0}, turned[QR_ENG_PANEL], line[QR_ENG_PANEL];
#pragma HLS ARRAY_PARTITION variable = out complete
#pragma HLS ARRAY_PARTITION variable = turned complete
#pragma HLS ARRAY_PARTITION variable = line complete
  uint32_t fill = 0, to = dst >> 6, b = 0, at = 0;
  while (b < cnt) {
#pragma HLS PIPELINE II = 1
#pragma HLS LOOP_TRIPCOUNT min = 16 max = 16384
    uint64_t from = (((uint64_t)row[b] * stride) >> 6) + (at >> 6);
    uint32_t n = qr_eng_min(obs_sz - at, QR_ENG_PANEL);
    bool full = fill + n >= QR_ENG_PANEL;
    for (uint32_t i = 0; i < QR_ENG_PANEL; i++) {
#pragma HLS UNROLL
      line[i] = pool[(from << 6) + i];
    }
    qr_eng_rotate(line, fill, turned);
    for (uint32_t i = 0; i < QR_ENG_PANEL; i++) {
#pragma HLS UNROLL
      out[i] = i < fill ? out[i] : turned[i];
    }
    if (full) {
      for (uint32_t i = 0; i < QR_ENG_PANEL; i++) {
#pragma HLS UNROLL
        s8[((uint64_t)to << 6) + i] = out[i];
        out[i] = turned[i];
      }
    }
    to += full;
    fill = (fill + n) & 63;
    at += QR_ENG_PANEL;
    if (at < obs_sz) continue;
    at = 0;
    b++;
  }
  for (uint32_t i = 0; i < QR_ENG_PANEL && fill; i++) {
#pragma HLS UNROLL
    s8[((uint64_t)to << 6) + i] = out[i];
  }
}

uint64_t qr_eng_td(const uint32_t act[QR_ENGINE_BATCH_MAX],
                   const uint32_t target[QR_ENGINE_BATCH_MAX], const qr_eng_op_t *op, int32_t *s32,
                   uint32_t q, uint32_t e, uint32_t *max_abs) {
  uint64_t sum = 0;
  uint32_t most = 0, b = 0, j = 0;
  for (uint32_t i = 0; i < op->m * op->n; i++) {
#pragma HLS PIPELINE II = 1
#pragma HLS LOOP_TRIPCOUNT min = 16 max = 16384
#pragma HLS DEPENDENCE variable = s32 inter false
    int32_t d = 0;
    if (j == act[b])
      d = (int32_t)qr_eng_clip((int64_t)s32[q + i] - (int32_t)target[b], -65536, 65536);
    s32[e + i] = d;
    sum += qr_eng_abs(d);
    most = qr_eng_abs(d) > most ? qr_eng_abs(d) : most;
    if (++j < op->n) continue;
    j = 0;
    b++;
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
  uint32_t row = 0, done = 0;
  while (row < rows) {
#pragma HLS PIPELINE II = 1
#pragma HLS LOOP_TRIPCOUNT min = 16 max = 32768
    uint32_t from = (start + done) & 63, cnt = qr_eng_min(QR_ENG_PANEL - from, cols - done);
    for (uint32_t i = 0; i < QR_ENG_PANEL; i++) {
#pragma HLS UNROLL
      line[i] = s8[((uint64_t)((start + done) >> 6) << 6) + i];
    }
    qr_eng_rotate(line, (done - from) & 63, turned);
    for (uint32_t i = 0; i < QR_ENG_PANEL; i++) {
#pragma HLS UNROLL
      sum[i] += i - done < cnt ? (uint32_t)turned[i] : 0;
    }
    done += cnt;
    if (done < cols) continue;
    done = 0;
    start += ld;
    row++;
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

typedef uint32_t sums_t[QR_ENG_SAMPLE_MAX];

/* Cycles from reading a sum to having it back in memory, at most. */
#define SUM_LATENCY 8u

/* Adds what the taps of some samples have. All positions of a tap go to different places, so only
   from one tap to the next can a place be met twice within a few cycles: there the loop idles. */
static void scatter(const int32_t *s32, uint32_t src, const qr_eng_geo_t *g, uint32_t samples,
                    sums_t sum) {
  uint32_t t = 0, tap_y = 0, tap_x = 0, b = 0, y = 0, x = 0, ch = 0, from = src, base = 0, idle = 0;
  bool wide = !(g->c & 15);
  while (t < 9) {
#pragma HLS PIPELINE II = 1
#pragma HLS LOOP_TRIPCOUNT min = 81 max = 65536
#pragma HLS DEPENDENCE variable = sum inter false
    if (idle) {
      idle--;
      continue;
    }
    uint32_t in_y = qr_eng_wrapped(y, g->sy, tap_y, g->h),
             in_x = qr_eng_wrapped(x, g->sx, tap_x, g->w);
    uint32_t to = base + (in_y * g->w + in_x) * g->c + ch;
    if (wide) {
      for (uint32_t l = 0; l < 16; l++) {
#pragma HLS UNROLL
        sum[(to >> 4 << 4) + l] += (uint32_t)s32[((uint64_t)((from + ch) >> 4) << 4) + l];
      }
    } else {
      sum[to] += (uint32_t)s32[from + ch];
    }
    ch += wide ? 16 : 1;
    if (ch < g->c) continue;
    ch = 0;
    from += 9 * g->c;
    if (++x < g->out_w) continue;
    x = 0;
    if (++y < g->out_h) continue;
    y = 0;
    base += g->h * g->w * g->c;
    if (++b < samples) continue;
    b = base = 0;
    idle = SUM_LATENCY;
    from = src + ++t * g->c;
    tap_y += tap_x == 2;
    tap_x = tap_x == 2 ? 0 : tap_x + 1;
  }
}

static int32_t taken(uint32_t sum, bool below, uint32_t *most) {
#pragma HLS INLINE
  int32_t v = below ? (int32_t)sum >> 3 : (int32_t)sum;
  uint32_t a = qr_eng_abs(v);
  *most = a > *most ? a : *most;
  return v;
}

/* Takes sums away, masked if there is a mask, and leaves zeros. */
static void take(sums_t sum, uint32_t sz, int32_t *s32, uint32_t dst, const int8_t *s8,
                 uint32_t mask, uint32_t *max_abs) {
  bool has_mask = mask != QR_ENG_ALONE;
  uint32_t most = *max_abs, whole = sz & 15 ? 0 : sz;
  for (uint32_t at = 0; at < whole; at += 16) {
#pragma HLS PIPELINE II = 1
#pragma HLS LOOP_TRIPCOUNT min = 0 max = 4096
    for (uint32_t l = 0; l < 16; l++) {
#pragma HLS UNROLL
      bool below = has_mask && s8[((uint64_t)((mask + at) >> 4) << 4) + l] < 0;
      s32[((uint64_t)((dst + at) >> 4) << 4) + l] = taken(sum[at + l], below, &most);
      sum[at + l] = 0;
    }
  }
  for (uint32_t at = whole; at < sz; at++) {
#pragma HLS PIPELINE II = 1
#pragma HLS LOOP_TRIPCOUNT min = 0 max = 4096
    s32[dst + at] = taken(sum[at], has_mask && s8[mask + at] < 0, &most);
    sum[at] = 0;
  }
  *max_abs = most;
}

/* As many samples at a time as the sums have room for. */
void qr_eng_col2im(const qr_eng_op_t *op, int32_t *s32, uint32_t src, uint32_t dst,
                   const int8_t *s8, uint32_t mask, uint32_t *max_abs) {
  QR_ENG_STATE sums_t sum;
#pragma HLS ARRAY_PARTITION variable = sum cyclic factor = 16
#pragma HLS BIND_STORAGE variable = sum type = ram_t2p impl = uram
  const qr_eng_geo_t g = op->geo;
  uint32_t pos_cnt = g.out_h * g.out_w, sz = g.h * g.w * g.c;
  uint32_t samples = op->m / pos_cnt, most = QR_ENG_SAMPLE_MAX / sz;
  for (uint32_t b = 0; b < samples; b += most) {
#pragma HLS LOOP_TRIPCOUNT min = 1 max = 64
    uint32_t cnt = qr_eng_min(samples - b, most);
    scatter(s32, src + b * pos_cnt * op->n, &g, cnt, sum);
    take(sum, cnt * sz, s32, dst + b * sz, s8, mask == QR_ENG_ALONE ? mask : mask + b * sz,
         max_abs);
  }
}
