/* The drain: takes a finished macro tile away, sixteen sums a cycle, or one where rows are no
   multiple of sixteen. Digests them, lets the op that follows the product work on them (bias and
   activation, Q values, a mask, an update of masters), and writes what has to be written. */
#include "engine.h"
#include "fixed.h"

#define LANES QR_ENG_LANES

/* Registers of a column of macro tiles. */
typedef uint32_t keys_t[QR_ENG_BAND][QR_ENG_PANEL];
typedef uint32_t bias_t[QR_ENG_PANEL]; /* at the scale of the sums, mod 2^32 */

/* Key words of columns n0 .. n0 + cols - 1: row i of every band uses words n*i + n0 on. */
static void fill_keys(const qr_eng_ars_t *ars, uint32_t stream, uint32_t n, uint32_t n0,
                      uint32_t cols, keys_t keys) {
  uint32_t row = 0, word = n0, at = 0; /* at: keys of this row that are there */
  while (row < QR_ENG_BAND) {
#pragma HLS PIPELINE II = 1
#pragma HLS LOOP_TRIPCOUNT min = 8 max = 136
    uint32_t w[4], skip = (word + at) & 3;
    qr_eng_ars_block(ars, stream, (word + at) >> 2, w);
    for (uint32_t q = 0; q < 4; q++) {
#pragma HLS UNROLL
      uint32_t to = at + q - skip;
      if (q >= skip && to < cols) keys[row][to] = w[q];
    }
    at += 4 - skip;
    if (at < cols) continue;
    at = 0;
    word += n;
    row++;
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
#pragma HLS PIPELINE II = 2
#pragma HLS LOOP_TRIPCOUNT min = 1 max = 64
    bias[j] = (uint32_t)qr_eng_bias_at(qr_eng_bias_load(model, d->src_off, n0 + j), d->p1);
  }
}

/* What the ops do with one sum. */

static int8_t activated(uint32_t v, uint32_t bias, int32_t shift) {
#pragma HLS INLINE
  int32_t sum = (int32_t)(v + bias);
  sum = sum < 0 ? sum >> 3 : sum;
  return (int8_t)qr_eng_clip32(qr_eng_half(sum, shift), QR_ENG_I7_MIN, QR_ENG_I7_MAX);
}

static int16_t updated(int16_t master, uint32_t v, qr_eng_round_t round, uint32_t draw) {
#pragma HLS INLINE
  int32_t m = master - qr_eng_round((int32_t)v, round, (int32_t)draw);
  return (int16_t)qr_eng_clip32(m, INT16_MIN, INT16_MAX);
}

/* Errors where the activation was below zero shrink as it did. */
static uint32_t masked(uint32_t v, int8_t x) {
#pragma HLS INLINE
  return x < 0 ? (uint32_t)((int32_t)v >> 3) : v;
}

/* Sixteen sums from element e, a multiple of sixteen, on. */

/* Eight multipliers of 32 x 32 bits. */
static uint64_t digest_lanes(const uint32_t v[LANES], const uint32_t key[QR_ENG_PANEL],
                             uint32_t c) {
#pragma HLS INLINE
  uint64_t sum = 0;
  for (uint32_t l = 0; l < LANES; l += 2) {
#pragma HLS UNROLL
    sum += (uint64_t)(v[l] ^ key[c + l]) * (v[l + 1] ^ key[c + l + 1]);
  }
  return sum;
}

static void store_lanes(int32_t *s32, uint32_t at, const uint32_t v[LANES]) {
#pragma HLS INLINE
  for (uint32_t l = 0; l < LANES; l++) {
#pragma HLS UNROLL
    s32[((uint64_t)(at >> 4) << 4) + l] = (int32_t)v[l];
  }
}

static void activate_lanes(const uint32_t v[LANES], const bias_t bias, uint32_t c, int32_t shift,
                           int8_t *s8, uint32_t at) {
#pragma HLS INLINE
  for (uint32_t l = 0; l < LANES; l++) {
#pragma HLS UNROLL
    s8[((uint64_t)(at >> 4) << 4) + l] = activated(v[l], bias[c + l], shift);
  }
}

static void q_lanes(const uint32_t v[LANES], const bias_t bias, uint32_t c, int32_t shift,
                    int32_t *s32, uint32_t at) {
#pragma HLS INLINE
  uint32_t q[LANES];
#pragma HLS ARRAY_PARTITION variable = q complete
  for (uint32_t l = 0; l < LANES; l++) {
#pragma HLS UNROLL
    q[l] = (v[l] + bias[c + l]) << shift;
  }
  store_lanes(s32, at, q);
}

static void update_lanes(const uint32_t v[LANES], const qr_eng_drain_t *d, const qr_eng_ars_t *ars,
                         uint32_t e, int16_t *model) {
#pragma HLS INLINE
  uint32_t w[4];
  qr_eng_ars_block(ars, d->round_stream, e >> 4, w);
  for (uint32_t l = 0; l < LANES; l++) {
#pragma HLS UNROLL
    uint64_t at = ((uint64_t)((d->dst_off + e) >> 4) << 4) + l;
    model[at] = updated(model[at], v[l], d->round, qr_eng_byte(w, l));
  }
}

static void mask_lanes(uint32_t v[LANES], const int8_t *s8, uint32_t at) {
#pragma HLS INLINE
  for (uint32_t l = 0; l < LANES; l++) {
#pragma HLS UNROLL
    v[l] = masked(v[l], s8[((uint64_t)(at >> 4) << 4) + l]);
  }
}

/* The registers that the drain of a macro tile works with. */
typedef struct {
  uint32_t m0, n0, rows, cols;
  uint64_t factor[QR_ENG_PANEL / QR_ENG_BAND], digest;
  uint32_t max_abs;
} drain_t;

static void drain_wide(qr_eng_tile_t acc, const qr_eng_drain_t *d, const qr_eng_ars_t *ars,
                       keys_t keys, const bias_t bias, drain_t *t, int8_t *s8, int32_t *s32,
                       int16_t *model) {
  uint32_t r = 0, c = 0, most = t->max_abs;
  uint64_t band = 0;
  while (r < t->rows) {
#pragma HLS PIPELINE II = 1
#pragma HLS LOOP_TRIPCOUNT min = 1 max = 256
#pragma HLS DEPENDENCE variable = model inter false
#pragma HLS DEPENDENCE variable = s32 inter false
#pragma HLS DEPENDENCE variable = s8 inter false
    uint32_t v[LANES], e = (t->m0 + r) * d->n + t->n0 + c;
#pragma HLS ARRAY_PARTITION variable = v complete
    for (uint32_t l = 0; l < LANES; l++) {
#pragma HLS UNROLL
      v[l] = acc[r][c + l];
    }
    if (d->digest) band += digest_lanes(v, keys[r & 7], c);
    if (d->kind == QR_OP_BIAS_ACT) activate_lanes(v, bias, c, d->p0, s8, d->dst_off + e);
    if (d->kind == QR_OP_Q_OUT) q_lanes(v, bias, c, d->p0, s32, d->dst_off + e);
    if (d->kind == QR_OP_WEIGHT_UPD) update_lanes(v, d, ars, e, model);
    if (d->kind == QR_OP_MASK) mask_lanes(v, s8, d->src_off + e);
    if (d->store) store_lanes(s32, d->acc_off + e, v);
    for (uint32_t l = 0; l < LANES; l++) {
#pragma HLS UNROLL
      uint32_t a = qr_eng_abs((int32_t)v[l]);
      most = a > most ? a : most;
    }
    c += LANES;
    if (c < t->cols) continue;
    c = 0;
    if ((r & 7) == 7 || r + 1 == t->rows) {
      t->digest += t->factor[r >> 3] * band;
      band = 0;
    }
    r++;
  }
  t->max_abs = most;
}

/* The same element by element. */
static void drain_narrow(qr_eng_tile_t acc, const qr_eng_drain_t *d, const qr_eng_ars_t *ars,
                         keys_t keys, const bias_t bias, drain_t *t, int8_t *s8, int32_t *s32,
                         int16_t *model) {
  uint32_t r = 0, c = 0, left = 0;
  while (r < t->rows) {
#pragma HLS PIPELINE II = 1
#pragma HLS LOOP_TRIPCOUNT min = 1 max = 4096
#pragma HLS DEPENDENCE variable = model inter false
#pragma HLS DEPENDENCE variable = s32 inter false
#pragma HLS DEPENDENCE variable = s8 inter false
    uint32_t v = acc[r][c], e = (t->m0 + r) * d->n + t->n0 + c;
    uint32_t keyed = v ^ keys[r & 7][c];
    if (d->digest && c & 1) t->digest += t->factor[r >> 3] * ((uint64_t)left * keyed);
    left = keyed;
    if (d->kind == QR_OP_BIAS_ACT) s8[d->dst_off + e] = activated(v, bias[c], d->p0);
    if (d->kind == QR_OP_Q_OUT) s32[d->dst_off + e] = (int32_t)((v + bias[c]) << d->p0);
    if (d->kind == QR_OP_WEIGHT_UPD) {
      uint32_t w[4];
      qr_eng_ars_block(ars, d->round_stream, e >> 4, w);
      model[d->dst_off + e] = updated(model[d->dst_off + e], v, d->round, qr_eng_byte(w, e & 15));
    }
    if (d->kind == QR_OP_MASK) v = masked(v, s8[d->src_off + e]);
    if (d->store) s32[d->acc_off + e] = (int32_t)v;
    if (qr_eng_abs((int32_t)v) > t->max_abs) t->max_abs = qr_eng_abs((int32_t)v);
    if (++c < t->cols) continue;
    c = 0;
    r++;
  }
}

void qr_eng_drain(qr_eng_tile_t acc, const qr_eng_drain_t *d, const qr_eng_ars_t *ars, uint32_t m0,
                  uint32_t n0, int8_t *s8, int32_t *s32, int16_t *model, uint64_t *digest,
                  uint32_t *max_abs) {
  QR_ENG_STATE keys_t keys;
  QR_ENG_STATE bias_t bias;
  QR_ENG_STATE uint64_t digest_sum;
  QR_ENG_STATE uint32_t most;
#pragma HLS ARRAY_PARTITION variable = acc cyclic factor = 16 dim = 2
#pragma HLS ARRAY_PARTITION variable = keys cyclic factor = 16 dim = 2
#pragma HLS ARRAY_PARTITION variable = bias cyclic factor = 16
  drain_t t = {.m0 = m0,
               .n0 = n0,
               .rows = qr_eng_min(d->m - m0, QR_ENG_PANEL),
               .cols = qr_eng_min(d->n - n0, QR_ENG_PANEL),
               .digest = m0 || n0 ? digest_sum : 0,
               .max_abs = m0 || n0 ? most : 0};
  if (!m0 && d->digest) fill_keys(ars, d->key_stream, d->n, n0, t.cols, keys);
  if (!m0 && (d->kind == QR_OP_BIAS_ACT || d->kind == QR_OP_Q_OUT))
    fill_bias(model, d, n0, t.cols, bias);
  if (d->digest) fill_factors(ars, d->factor_stream, m0, t.factor);
  if (d->n & 15)
    drain_narrow(acc, d, ars, keys, bias, &t, s8, s32, model);
  else
    drain_wide(acc, d, ars, keys, bias, &t, s8, s32, model);
  *digest = digest_sum = t.digest;
  *max_abs = most = t.max_abs;
}
