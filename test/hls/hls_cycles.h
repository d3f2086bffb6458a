/* Cycles that the step engine is expected to take, from the trip counts of its loops. A model, not
   a measurement: nothing here was synthesised. Loops are taken at the initiation interval aimed at;
   every loop costs FILL more to fill its pipeline, and LATENCY more if it begins with a read of
   card memory. Rounds of a product overlap as double buffers allow. */
#ifndef QR_TEST_HLS_CYCLES_H
#define QR_TEST_HLS_CYCLES_H

#include "hls/step_engine/engine.h"

#define CYC_FILL 20u     /* depth of a pipeline */
#define CYC_LATENCY 100u /* first beat of card memory (HBM), with its adapter, at 300 MHz */
#define CYC_HAND 4u      /* handing a buffer on in a data flow */
#define CYC_IDLE 8u      /* between taps, sample.c */
#define CYC_PHILOX                                                                                 \
  50u /* ten rounds one after the other: four cycles for a product, one for the rest */

enum cyc_unit {
  CYC_DRAW,
  CYC_LOOK_UP,
  CYC_GATHER,
  CYC_W7,
  CYC_DITHER,
  CYC_GEMM,
  CYC_TD,
  CYC_QUANT,
  CYC_COL2IM,
  CYC_BIAS,
  CYC_UNIT_CNT
};

static const char *const cyc_names[CYC_UNIT_CNT] = {
    "draw",     "actions and targets", "gather", "w7",         "dither", "products",
    "TD error", "error rounding",      "col2im", "bias update"};

typedef struct {
  uint64_t unit[CYC_UNIT_CNT];
  uint64_t load, array, drain; /* of the products: what each stage took, overlapped or not */
  uint64_t ideal;              /* multiply-accumulates / T^2 */
  uint64_t bytes;              /* of card memory, read and written */
} cyc_t;

static inline uint64_t cyc_parts(uint64_t cnt, uint64_t part) { return (cnt + part - 1) / part; }

/* A loop that reads card memory first. */
static inline uint64_t cyc_loop(uint64_t trips) { return trips + CYC_FILL + CYC_LATENCY; }

static inline uint64_t cyc_max(uint64_t a, uint64_t b) { return a > b ? a : b; }

/* Lines that rows stored runs of cnt bytes touch, ld apart. */
static inline uint64_t cyc_lines(uint64_t start, uint64_t ld, uint64_t rows, uint64_t cnt) {
  uint64_t n = 0;
  for (uint64_t i = 0; i < rows; i++, start += ld) n += (start + cnt - 1) / 64 - start / 64 + 1;
  return n;
}

/* Runs of a convolution's positions: walked as conv.c walks them. */
static inline uint64_t cyc_runs(const qr_eng_geo_t *g, uint32_t pos0, uint32_t pos_cnt,
                                uint32_t col0, uint32_t col_cnt) {
  uint64_t runs = 0;
  uint32_t per = g->out_h * g->out_w, sz = g->h * g->w * g->c;
  for (uint32_t p = pos0; p < pos0 + pos_cnt; p++)
    for (uint32_t col = col0; col < col0 + col_cnt; runs++) {
      uint32_t tap = col / g->c, ch = col % g->c;
      uint32_t y = qr_eng_wrapped(p % per / g->out_w, g->sy, tap / 3, g->h);
      uint32_t x = qr_eng_wrapped(p % g->out_w, g->sx, tap % 3, g->w);
      uint32_t byte = p / per * sz + (y * g->w + x) * g->c + ch;
      uint32_t n = qr_eng_min((g->w - x) * g->c - ch, (3 - tap % 3) * g->c - ch);
      col += qr_eng_min(qr_eng_min(n, 64 - byte % 64), col0 + col_cnt - col);
    }
  return runs;
}

static inline uint64_t cyc_load(const qr_eng_operand_t *x, uint32_t r0, uint32_t r_cnt, uint32_t k0,
                                uint32_t k_cnt, cyc_t *c) {
  if (!x->conv) {
    uint64_t lines = x->along_k ? cyc_lines((uint64_t)r0 * x->ld + k0, x->ld, r_cnt, k_cnt)
                                : cyc_lines((uint64_t)k0 * x->ld + r0, x->ld, k_cnt, r_cnt);
    c->bytes += 64 * lines;
    return cyc_loop(lines);
  }
  const qr_eng_geo_t *g = &x->geo;
  uint32_t per = g->out_h * g->out_w, sz = g->h * g->w * g->c;
  uint32_t pos0 = x->along_k ? r0 : k0, cnt = x->along_k ? r_cnt : k_cnt;
  uint32_t first = pos0 / per, last = (pos0 + cnt - 1) / per;
  uint64_t fills = cyc_parts(last - first + 1, QR_ENG_SAMPLE_MAX / sz);
  uint64_t lines = cyc_parts((uint64_t)(last - first + 1) * sz, 64);
  c->bytes += 64 * lines;
  uint64_t runs =
      x->along_k ? cyc_runs(g, r0, r_cnt, k0, k_cnt) : cyc_runs(g, k0, k_cnt, r0, r_cnt);
  return fills * (CYC_LATENCY + 2 * CYC_FILL) + lines + runs;
}

/* Sub-tiles of T x T, groups of T inner positions, and one group more to fold the last. */
static inline uint64_t cyc_array(uint32_t t, uint32_t r_cnt, uint32_t c_cnt, uint32_t k_cnt) {
  return (cyc_parts(r_cnt, t) * cyc_parts(c_cnt, t) * cyc_parts(k_cnt, t) + 1) * t + CYC_FILL;
}

static inline uint64_t cyc_drain(bool digest, uint32_t post, uint32_t n, uint32_t m0, uint32_t rows,
                                 uint32_t cols) {
  uint64_t sum = n % 16 ? (uint64_t)rows * cols : (uint64_t)rows * (cols / 16);
  bool bias = post == QR_OP_BIAS_ACT || post == QR_OP_Q_OUT;
  bool reads = post == QR_OP_MASK || post == QR_OP_WEIGHT_UPD;
  sum += CYC_FILL + (reads ? CYC_LATENCY : 0);
  if (digest) sum += 4 + CYC_FILL;
  if (digest && !m0) sum += 8 * cyc_parts(cols, 4) + CYC_FILL;
  if (bias && !m0) sum += cyc_loop(2 * cols);
  return sum;
}

/* Bytes of card memory for each sum that is drained. */
static inline uint64_t cyc_drained(uint32_t post, bool store) {
  uint64_t sum = store ? 4 : 0;
  if (post == QR_OP_BIAS_ACT || post == QR_OP_MASK) return sum + 1;
  return post == QR_OP_END ? sum : sum + 4;
}

static inline uint64_t cyc_gemm(const qr_eng_op_t *op, uint32_t post, bool store, uint32_t t,
                                cyc_t *c) {
  qr_eng_operand_t a = {.along_k = !(op->flags & QR_GEMM_A_TRANS),
                        .conv = op->flags & QR_GEMM_A_CONV,
                        .geo = op->geo};
  qr_eng_operand_t b = {.along_k = op->flags & QR_GEMM_B_TRANS};
  a.ld = a.along_k ? op->k : op->m;
  b.ld = b.along_k ? op->k : op->n;
  uint64_t loaded = 0, done[2] = {0, 0}, drained[2] = {0, 0}; /* ends of the last two rounds */
  for (uint32_t n0 = 0; n0 < op->n; n0 += 64)
    for (uint32_t m0 = 0; m0 < op->m; m0 += 64)
      for (uint32_t k0 = 0; k0 < op->k; k0 += QR_ENG_DEPTH) {
        uint32_t rows = qr_eng_min(op->m - m0, 64), cols = qr_eng_min(op->n - n0, 64);
        uint32_t depth = qr_eng_min(op->k - k0, QR_ENG_DEPTH);
        uint64_t load =
            cyc_max(cyc_load(&a, m0, rows, k0, depth, c), cyc_load(&b, n0, cols, k0, depth, c));
        uint64_t array = cyc_array(t, rows, cols, depth), drain = 0;
        if (k0 + depth == op->k)
          drain = cyc_drain(op->digest != QR_STEP_NO_DIGEST, post, op->n, m0, rows, cols);
        loaded = cyc_max(loaded, done[0]) + load + CYC_HAND;
        uint64_t end = cyc_max(cyc_max(done[1], loaded), drained[0]) + array + CYC_HAND;
        done[0] = done[1], done[1] = end;
        end = cyc_max(drained[1], end) + drain + CYC_HAND;
        drained[0] = drained[1], drained[1] = end;
        c->load += load, c->array += array, c->drain += drain;
      }
  c->bytes += cyc_drained(post, store) * op->m * op->n;
  c->ideal += cyc_parts((uint64_t)op->m * op->n * op->k, (uint64_t)t * t);
  return drained[1];
}

static inline uint64_t cyc_col2im(const qr_eng_op_t *op, bool mask) {
  const qr_eng_geo_t *g = &op->geo;
  uint64_t per = (uint64_t)g->out_h * g->out_w, sz = (uint64_t)g->h * g->w * g->c;
  uint64_t samples = op->m / per, groups = cyc_parts(samples, QR_ENG_SAMPLE_MAX / sz);
  return groups * (cyc_loop(9 * CYC_IDLE) + CYC_FILL + (mask ? CYC_LATENCY : 0)) +
         samples * (9 * per * cyc_parts(g->c, 16) + cyc_parts(sz, 16));
}

static inline uint64_t cyc_bias(const qr_eng_op_t *op) {
  uint64_t sum = 0;
  for (uint32_t n0 = 0; n0 < op->n; n0 += 64) {
    uint32_t cols = qr_eng_min(op->n - n0, 64);
    sum += cyc_loop(cyc_lines(n0, op->n, op->m, cols)) + cyc_loop(2 * cols);
  }
  return sum;
}

/* Once a launch: where segments start, and marks cleared. */
static inline uint64_t cyc_replay(uint32_t segment_cnt, uint32_t rows) {
  return cyc_loop(segment_cnt) + cyc_parts(rows, 64) + CYC_FILL;
}

/* Two rounds of blocks of sixteen cycles: what a minibatch takes at the least, and once more for
   rows that were met twice, as many as is to be expected of a replay much larger than cnt. */
static inline uint64_t cyc_draw(uint32_t cnt, uint32_t rows) {
  uint64_t again = cyc_parts((uint64_t)cnt * (cnt - 1), 2 * (uint64_t)rows);
  return 16 * (cyc_parts(cnt, 4) + cyc_parts(again, 4)) + 2 * (CYC_PHILOX + CYC_FILL);
}

/* Bytes of card memory that an op other than a product moves. */
static inline uint64_t cyc_streamed(const qr_eng_op_t *op) {
  uint64_t cnt = (uint64_t)op->m * op->n;
  switch (op->kind) {
  case QR_OP_W7: return 3 * cnt;
  case QR_OP_DITHER: return 2 * cnt;
  case QR_OP_TD: return 4 * cnt;
  case QR_OP_ERR_QUANT: return 5 * cnt;
  case QR_OP_COL2IM:
    return 4 * cnt + (uint64_t)5 * op->m / (op->geo.out_h * op->geo.out_w) * op->geo.h * op->geo.w *
                         op->geo.c;
  case QR_OP_BIAS_UPD: return cnt;
  default: return 0;
  }
}

/* One training step, its minibatch drawn from a replay of so many rows. */
static inline cyc_t cyc_step(const qr_eng_prog_t *p, const qr_eng_plan_t *plan, uint32_t rows,
                             uint32_t t) {
  cyc_t c = {0};
  c.unit[CYC_DRAW] = cyc_draw(p->batch, rows);
  c.unit[CYC_LOOK_UP] = cyc_loop(2 * (uint64_t)p->batch);
  c.unit[CYC_GATHER] = cyc_loop((uint64_t)p->batch * cyc_parts(p->obs_sz, 64));
  c.bytes = 2 * (uint64_t)p->batch * p->obs_sz + 8 * (uint64_t)p->batch;
  for (uint32_t i = 0; i < p->op_cnt; i++) {
    const qr_eng_op_t *op = &p->ops[i];
    uint64_t cnt = (uint64_t)op->m * op->n;
    uint32_t post = plan->post[i] == QR_ENG_ALONE ? QR_OP_END : p->ops[plan->post[i]].kind;
    if (plan->skip[i]) continue;
    c.bytes += cyc_streamed(op);
    switch (op->kind) {
    case QR_OP_W7: c.unit[CYC_W7] += cyc_loop(cyc_parts(cnt, 32)); break;
    case QR_OP_DITHER: c.unit[CYC_DITHER] += cyc_loop(2 * cyc_parts(cnt, 128)); break;
    case QR_OP_GEMM: c.unit[CYC_GEMM] += cyc_gemm(op, post, plan->store[i], t, &c); break;
    case QR_OP_TD: c.unit[CYC_TD] += cyc_loop(cnt); break;
    case QR_OP_ERR_QUANT: c.unit[CYC_QUANT] += cyc_loop(cyc_parts(cnt, 16)); break;
    case QR_OP_COL2IM: c.unit[CYC_COL2IM] += cyc_col2im(op, post == QR_OP_MASK); break;
    case QR_OP_BIAS_UPD: c.unit[CYC_BIAS] += cyc_bias(op); break;
    default: break;
    }
  }
  return c;
}

static inline uint64_t cyc_sum(const cyc_t *c) {
  uint64_t sum = 0;
  for (int i = 0; i < CYC_UNIT_CNT; i++) sum += c->unit[i];
  return sum;
}

#endif
