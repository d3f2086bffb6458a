/* The drain: takes a finished macro tile away, sixteen sums a cycle. Digests them, lets the op that
   follows the product work on them (bias and activation, Q values, a mask, an update of masters),
   and writes what has to be written. */
#include "engine.h"
#include "fixed.h"

#define LANES QR_ENG_LANES

/* Registers of a column of macro tiles. */
typedef uint32_t keys_t[QR_ENG_BAND][QR_ENG_PANEL];
typedef uint32_t bias_t[QR_ENG_PANEL]; /* at the scale of the sums, mod 2^32 */

/* Key words of columns n0 .. n0 + cols - 1: row i of every band uses words n*i + n0 on. */
static void fill_keys(const qr_eng_ars_t *ars, uint32_t stream, uint32_t n, uint32_t n0,
                      uint32_t cols, keys_t keys) {
  for (uint32_t i = 0; i < QR_ENG_BAND; i++) {
    uint32_t word = n * i + n0, skip = word & 3;
    for (uint32_t b = 0; b < (skip + cols + 3) / 4; b++) {
#pragma HLS PIPELINE II = 1
#pragma HLS LOOP_TRIPCOUNT min = 1 max = 17
      uint32_t w[4];
      qr_eng_ars_block(ars, stream, (word >> 2) + b, w);
      for (uint32_t q = 0; q < 4; q++) {
#pragma HLS UNROLL
        uint32_t at = 4 * b + q - skip;
        if (at < cols) keys[i][at] = w[q];
      }
    }
  }
}

/* Factors of the eight bands from row m0 on, m0 a multiple of 64. */
static void fill_factors(const qr_eng_ars_t *ars, uint32_t stream, uint32_t m0,
                         uint64_t factor[QR_ENG_PANEL / QR_ENG_BAND]) {
  for (uint32_t b = 0; b < 4; b++) {
#pragma HLS PIPELINE II = 1
    uint32_t w[4];
    qr_eng_ars_block(ars, stream, m0 / 16 + b, w);
    factor[2 * b] = ((uint64_t)w[1] << 32 | w[0]) | 1;
    factor[2 * b + 1] = ((uint64_t)w[3] << 32 | w[2]) | 1;
  }
}

static void fill_bias(const int16_t *model, const qr_eng_drain_t *d, uint32_t n0, uint32_t cols,
                      bias_t bias) {
  for (uint32_t j = 0; j < cols; j++) {
#pragma HLS PIPELINE II = 1
#pragma HLS LOOP_TRIPCOUNT min = 1 max = 64
    bias[j] = (uint32_t)qr_eng_bias_at(qr_eng_bias_load(model, d->src_off, n0 + j), d->p1);
  }
}

/* Of one row of a band. Eight multipliers of 32 x 32 bits. */
static uint64_t digest_lanes(const uint32_t v[LANES], const uint32_t key[QR_ENG_PANEL], uint32_t c,
                             uint32_t cnt) {
#pragma HLS INLINE
  uint64_t sum = 0;
  for (uint32_t l = 0; l < LANES; l += 2) {
#pragma HLS UNROLL
    uint64_t x = v[l] + key[c + l], y = v[l + 1] + key[c + l + 1];
    sum += l < cnt ? (uint64_t)(uint32_t)x * (uint32_t)y : 0;
  }
  return sum;
}

static void store_words(int32_t *s32, uint32_t at, uint32_t cnt, bool wide,
                        const int32_t v[LANES]) {
#pragma HLS INLINE
  if (wide) {
    for (uint32_t l = 0; l < LANES; l++) {
#pragma HLS UNROLL
      s32[((uint64_t)(at >> 4) << 4) + l] = v[l];
    }
  } else {
    for (uint32_t l = 0; l < cnt; l++) {
#pragma HLS PIPELINE II = 1
#pragma HLS LOOP_TRIPCOUNT min = 1 max = 16
      s32[at + l] = v[l];
    }
  }
}

static void activate(const uint32_t v[LANES], const bias_t bias, uint32_t c, int32_t shift,
                     int8_t *s8, uint32_t at, uint32_t cnt, bool wide) {
#pragma HLS INLINE
  int8_t x[LANES];
#pragma HLS ARRAY_PARTITION variable = x complete
  for (uint32_t l = 0; l < LANES; l++) {
#pragma HLS UNROLL
    int32_t sum = (int32_t)(v[l] + bias[c + l]);
    sum = sum < 0 ? sum >> 3 : sum;
    x[l] = (int8_t)qr_eng_clip32(qr_eng_half(sum, shift), QR_ENG_I7_MIN, QR_ENG_I7_MAX);
  }
  if (wide) {
    for (uint32_t l = 0; l < LANES; l++) {
#pragma HLS UNROLL
      s8[((uint64_t)(at >> 4) << 4) + l] = x[l];
    }
  } else {
    for (uint32_t l = 0; l < cnt; l++) {
#pragma HLS PIPELINE II = 1
#pragma HLS LOOP_TRIPCOUNT min = 1 max = 16
      s8[at + l] = x[l];
    }
  }
}

static void q_values(const uint32_t v[LANES], const bias_t bias, uint32_t c, int32_t shift,
                     int32_t *s32, uint32_t at, uint32_t cnt, bool wide) {
#pragma HLS INLINE
  int32_t q[LANES];
#pragma HLS ARRAY_PARTITION variable = q complete
  for (uint32_t l = 0; l < LANES; l++) {
#pragma HLS UNROLL
    q[l] = (int32_t)((v[l] + bias[c + l]) << shift);
  }
  store_words(s32, at, cnt, wide, q);
}

/* The draws of sixteen elements from element e on; two blocks where they straddle. */
static void draw_bytes(const qr_eng_ars_t *ars, uint32_t stream, uint32_t e, int32_t draw[LANES]) {
#pragma HLS INLINE
  uint32_t w[4], next[4] = {0, 0, 0, 0}, skip = e & 15;
  qr_eng_ars_block(ars, stream, e >> 4, w);
  if (skip) qr_eng_ars_block(ars, stream, (e >> 4) + 1, next);
  for (uint32_t l = 0; l < LANES; l++) {
#pragma HLS UNROLL
    uint32_t at = l + skip;
    draw[l] = (int32_t)(at < 16 ? qr_eng_byte(w, at) : qr_eng_byte(next, at - 16));
  }
}

static void update_masters(const uint32_t v[LANES], const qr_eng_drain_t *d,
                           const qr_eng_ars_t *ars, uint32_t e, uint32_t cnt, bool wide,
                           int16_t *model) {
#pragma HLS INLINE
  int32_t draw[LANES];
#pragma HLS ARRAY_PARTITION variable = draw complete
  draw_bytes(ars, d->round_stream, e, draw);
  if (wide) {
    for (uint32_t l = 0; l < LANES; l++) {
#pragma HLS UNROLL
      uint64_t at = ((uint64_t)((d->dst_off + e) >> 4) << 4) + l;
      int32_t m = model[at] - qr_eng_round((int32_t)v[l], d->round, draw[l]);
      model[at] = (int16_t)qr_eng_clip32(m, INT16_MIN, INT16_MAX);
    }
  } else {
    for (uint32_t l = 0; l < cnt; l++) {
#pragma HLS PIPELINE II = 1
#pragma HLS LOOP_TRIPCOUNT min = 1 max = 16
      uint32_t at = d->dst_off + e + l;
      int32_t m = model[at] - qr_eng_round((int32_t)v[l], d->round, draw[l]);
      model[at] = (int16_t)qr_eng_clip32(m, INT16_MIN, INT16_MAX);
    }
  }
}

/* Errors where the activation was below zero shrink as it did. */
static void mask(uint32_t v[LANES], const int8_t *s8, uint32_t at, uint32_t cnt, bool wide) {
#pragma HLS INLINE
  for (uint32_t l = 0; l < LANES; l++) {
#pragma HLS UNROLL
    int8_t x = 0;
    if (wide || l < cnt) x = s8[at + l];
    if (x < 0) v[l] = (uint32_t)((int32_t)v[l] >> 3);
  }
}

/* Up to sixteen sums of one row; e is the number of the first in its tensor. */
static void drain_lanes(uint32_t v[LANES], const qr_eng_drain_t *d, const qr_eng_ars_t *ars,
                        uint32_t e, uint32_t cnt, bool wide, const bias_t bias, uint32_t c,
                        int8_t *s8, int32_t *s32, int16_t *model, uint32_t *max_abs) {
#pragma HLS INLINE
  if (d->kind == QR_OP_BIAS_ACT)
    activate(v, bias, c, d->p0, s8, d->dst_off + e, cnt, wide);
  else if (d->kind == QR_OP_Q_OUT)
    q_values(v, bias, c, d->p0, s32, d->dst_off + e, cnt, wide);
  else if (d->kind == QR_OP_WEIGHT_UPD)
    update_masters(v, d, ars, e, cnt, wide, model);
  else if (d->kind == QR_OP_MASK)
    mask(v, s8, d->src_off + e, cnt, wide);
  if (!d->store) return;
  int32_t out[LANES];
#pragma HLS ARRAY_PARTITION variable = out complete
  uint32_t most = *max_abs;
  for (uint32_t l = 0; l < LANES; l++) {
#pragma HLS UNROLL
    out[l] = (int32_t)v[l];
    uint32_t a = l < cnt ? qr_eng_abs(out[l]) : 0;
    if (a > most) most = a;
  }
  *max_abs = most;
  store_words(s32, d->acc_off + e, cnt, wide, out);
}

void qr_eng_drain(qr_eng_tile_t acc, const qr_eng_drain_t *d, const qr_eng_ars_t *ars, uint32_t m0,
                  uint32_t n0, int8_t *s8, int32_t *s32, int16_t *model, uint64_t *digest,
                  uint32_t *max_abs) {
  QR_ENG_STATE keys_t keys;
  QR_ENG_STATE bias_t bias;
  uint64_t factor[QR_ENG_PANEL / QR_ENG_BAND], band = 0;
#pragma HLS ARRAY_PARTITION variable = acc cyclic factor = 16 dim = 2
#pragma HLS ARRAY_PARTITION variable = keys cyclic factor = 16 dim = 2
#pragma HLS ARRAY_PARTITION variable = bias cyclic factor = 16
  uint32_t rows = qr_eng_min(d->m - m0, QR_ENG_PANEL), cols = qr_eng_min(d->n - n0, QR_ENG_PANEL);
  bool wide = !(d->n & 15);
  if (!m0 && d->digest) fill_keys(ars, d->key_stream, d->n, n0, cols, keys);
  if (!m0 && (d->kind == QR_OP_BIAS_ACT || d->kind == QR_OP_Q_OUT))
    fill_bias(model, d, n0, cols, bias);
  if (d->digest) fill_factors(ars, d->factor_stream, m0, factor);
  for (uint32_t r = 0; r < rows; r++) {
#pragma HLS LOOP_TRIPCOUNT min = 1 max = 64
    for (uint32_t c = 0; c < cols; c += LANES) {
#pragma HLS PIPELINE II = 1
#pragma HLS LOOP_TRIPCOUNT min = 1 max = 4
#pragma HLS DEPENDENCE variable = model inter false
#pragma HLS DEPENDENCE variable = s32 inter false
#pragma HLS DEPENDENCE variable = s8 inter false
      uint32_t v[LANES], cnt = qr_eng_min(cols - c, LANES);
#pragma HLS ARRAY_PARTITION variable = v complete
      for (uint32_t l = 0; l < LANES; l++) {
#pragma HLS UNROLL
        v[l] = acc[r][c + l];
      }
      if (d->digest) band += digest_lanes(v, keys[r & 7], c, cnt);
      drain_lanes(v, d, ars, (m0 + r) * d->n + n0 + c, cnt, wide, bias, c, s8, s32, model, max_abs);
    }
    if (d->digest && ((r & 7) == 7 || r + 1 == rows)) {
      *digest += factor[r >> 3] * band;
      band = 0;
    }
  }
}
