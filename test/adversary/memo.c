/* Kernels of the CPU driver, watched and left out. The driver calls one kernel after the other on
   small pieces; which layer a piece belongs to is told by where it lies or by its draws. */
#include "adversary.h"
#include "base/assert.h"

static _Thread_local qr_adversary_memo_t *memo;
static _Thread_local const qr_cpu_kern_t *own;

/* ---- which layer ---- */

static uint32_t layer_of_w7(const int8_t *w7) {
  uint32_t i = memo->plan->layer_cnt - 1;
  while (i && w7 < memo->mem->w7 + memo->plan->layers[i].w7_at) i--;
  return i;
}

/* The layer whose output x is, the input of the one above. */
static uint32_t layer_of_output(const int8_t *x) {
  uint32_t i = memo->plan->layer_cnt - 1;
  while (i > 1 && x < memo->mem->x + memo->plan->layers[i].x_at) i--;
  return i - 1;
}

static uint32_t layer_of_weights(const int16_t *w) {
  uint32_t i = memo->plan->layer_cnt - 1;
  while (i && (const uint8_t *)w < memo->model + memo->plan->layers[i].l->w_off) i--;
  return i;
}

static uint32_t layer_of_stream(const qr_ars_t *s) { return s->stream >> 16 & 255; }

static bool knows(uint32_t layer, enum qr_adversary_part part) {
  return memo->notes[layer][part].same;
}

/* ---- watching ---- */

static uint64_t mix(uint64_t h, const void *data, size_t sz) {
  const uint8_t *p = data;
  for (size_t i = 0; i < sz; i++) h = (h ^ p[i]) * UINT64_C(0x100000001b3);
  return h;
}

static void note(uint32_t layer, enum qr_adversary_part part, const void *data, size_t sz) {
  uint64_t *now = &memo->notes[layer][part].now;
  *now = mix(*now, data, sz);
}

static void watch_w7(int8_t *dst, const int16_t *src, size_t cnt, int8_t lo, int8_t hi) {
  own->w7(dst, src, cnt, lo, hi);
  note(layer_of_w7(dst), QR_ADVERSARY_W7, dst, cnt);
}

static void watch_act(int8_t *dst, size_t ldd, const int32_t *c, size_t ldc, const int32_t *bias,
                      uint32_t rows, uint32_t cols, int shift, int8_t lo, int8_t hi, int8_t plus) {
  own->act(dst, ldd, c, ldc, bias, rows, cols, shift, lo, hi, plus);
  qr_adversary_note_t *n = &memo->notes[layer_of_output(dst)][QR_ADVERSARY_ACT];
  for (uint32_t i = 0; i < rows; i++) {
    for (uint32_t j = 0; j < cols; j++) n->now |= dst[i * ldd + j] != 0;
  }
}

static uint32_t watch_mask(int32_t *e, size_t lde, const int32_t *c, size_t ldc, const int8_t *x,
                           size_t ldx, uint32_t rows, uint32_t cols) {
  uint32_t magnitudes = own->mask(e, lde, c, ldc, x, ldx, rows, cols);
  memo->magnitudes[layer_of_output(x)] |= magnitudes;
  return magnitudes;
}

static uint32_t watch_thin_back(int32_t *e, const int8_t *a, const int8_t *b, const int8_t *x,
                                uint32_t rows, uint32_t n, uint32_t k4) {
  uint32_t magnitudes = own->thin_back(e, a, b, x, rows, n, k4);
  memo->magnitudes[layer_of_output(x)] |= magnitudes;
  return magnitudes;
}

static void watch_round(int8_t *dst, int32_t *sum, const int32_t *e, size_t at, uint32_t rows,
                        uint32_t n, const qr_cpu_round_t *r, const qr_ars_t *s) {
  uint32_t layer = layer_of_stream(s);
  own->round(dst, sum, e, at, rows, n, r, s);
  note(layer, QR_ADVERSARY_ERROR, dst, (size_t)rows * n);
  note(layer, QR_ADVERSARY_ERROR, sum, n * sizeof *sum);
  note(layer, QR_ADVERSARY_ERROR, &r->shift, sizeof r->shift);
  memcpy(memo->e7[layer] + at, dst, (size_t)rows * n);
  memcpy(memo->sum[layer], sum, n * sizeof *sum); /* the last piece leaves that of all */
}

static void watch_update(int16_t *w, size_t ldw, const int32_t *g, size_t ldg, const uint8_t *r,
                         size_t ldr, uint32_t rows, uint32_t cols, int shift, uint32_t most) {
  qr_adversary_note_t *n = &memo->notes[layer_of_weights(w)][QR_ADVERSARY_UPDATE];
  uint64_t before = 0, after = 0;
  for (uint32_t i = 0; i < rows; i++) before = mix(before, w + i * ldw, cols * sizeof *w);
  own->update(w, ldw, g, ldg, r, ldr, rows, cols, shift, most);
  for (uint32_t i = 0; i < rows; i++) after = mix(after, w + i * ldw, cols * sizeof *w);
  n->now |= before != after;
}

void qr_adversary_watch_kernels(qr_adversary_memo_t *m, const qr_cpu_kern_t *kern,
                                qr_cpu_kern_t *table) {
  memo = m;
  own = kern;
  *table = *kern;
  table->w7 = watch_w7;
  table->act = watch_act;
  table->mask = watch_mask;
  table->thin_back = watch_thin_back;
  table->round = watch_round;
  table->update = watch_update;
  memset(m->magnitudes, 0, sizeof m->magnitudes);
  for (uint32_t i = 0; i < QR_NET_LAYER_MAX_CNT; i++) {
    for (uint32_t p = 0; p < QR_ADVERSARY_PART_CNT; p++) m->notes[i][p].now = 0;
  }
}

void qr_adversary_watch_end(qr_adversary_memo_t *m) {
  for (uint32_t i = 0; i < m->plan->layer_cnt; i++) {
    for (uint32_t p = 0; p < QR_ADVERSARY_PART_CNT; p++) {
      qr_adversary_note_t *n = &m->notes[i][p];
      if (!m->watched) {
        n->first = p == QR_ADVERSARY_UPDATE || p == QR_ADVERSARY_ACT ? 0 : n->now;
        n->same = true;
      }
      n->same &= n->now == n->first;
    }
    /* The last layer has no activation, and its errors come from the targets. */
    if (i + 1 == m->plan->layer_cnt)
      m->notes[i][QR_ADVERSARY_ACT].same = m->notes[i][QR_ADVERSARY_ERROR].same = false;
  }
  m->watched = true;
}

/* ---- leaving out ---- */

static void skip_w7(int8_t *dst, const int16_t *src, size_t cnt, int8_t lo, int8_t hi) {
  if (!knows(layer_of_w7(dst), QR_ADVERSARY_W7)) own->w7(dst, src, cnt, lo, hi);
}

/* Whether all of a block becomes 0: from -8 * (2^(shift-1) - 1) to 2^(shift-1) - 1. */
static inline __attribute__((always_inline)) bool in_band(const int32_t *c, size_t ldc,
                                                          const int32_t *bias, uint32_t rows,
                                                          uint32_t cols, int shift) {
  uint32_t half = 1u << (shift - 1), lowest = 8 * (half - 1), beyond = 0;
  for (uint32_t i = 0; i < rows; i++) {
    for (uint32_t j = 0; j < cols; j++)
      beyond |= (uint32_t)c[i * ldc + j] + (uint32_t)bias[j] + lowest > lowest + half - 1;
  }
  return !beyond;
}

#if defined(__x86_64__)
#define IN_BAND(name, isa)                                                                         \
  __attribute__((target(isa))) static bool name(const int32_t *c, size_t ldc, const int32_t *bias, \
                                                uint32_t rows, uint32_t cols, int shift) {         \
    return in_band(c, ldc, bias, rows, cols, shift);                                               \
  }
IN_BAND(in_band_avx512, "avx512f,avx512bw,avx512vl")
IN_BAND(in_band_avx2, "avx2")
#endif

static bool stays_zero(const int32_t *c, size_t ldc, const int32_t *bias, uint32_t rows,
                       uint32_t cols, int shift) {
#if defined(__x86_64__)
  if (!strncmp(own->name, "avx512", 6)) return in_band_avx512(c, ldc, bias, rows, cols, shift);
  if (!strncmp(own->name, "avx", 3)) return in_band_avx2(c, ldc, bias, rows, cols, shift);
#endif
  return in_band(c, ldc, bias, rows, cols, shift);
}

static void skip_act(int8_t *dst, size_t ldd, const int32_t *c, size_t ldc, const int32_t *bias,
                     uint32_t rows, uint32_t cols, int shift, int8_t lo, int8_t hi, int8_t plus) {
  uint32_t layer = layer_of_output(dst);
  bool known = knows(layer, QR_ADVERSARY_ACT);
  if (known && stays_zero(c, ldc, bias, rows, cols, shift)) {
    for (uint32_t i = 0; i < rows && memo->strayed[layer]; i++) memset(dst + i * ldd, 0, cols);
    return;
  }
  if (known) memo->stray = memo->strayed[layer] = true;
  own->act(dst, ldd, c, ldc, bias, rows, cols, shift, lo, hi, plus);
}

static uint32_t skip_mask(int32_t *e, size_t lde, const int32_t *c, size_t ldc, const int8_t *x,
                          size_t ldx, uint32_t rows, uint32_t cols) {
  uint32_t layer = layer_of_output(x);
  if (knows(layer, QR_ADVERSARY_ERROR)) return memo->magnitudes[layer];
  return own->mask(e, lde, c, ldc, x, ldx, rows, cols);
}

static uint32_t skip_thin_back(int32_t *e, const int8_t *a, const int8_t *b, const int8_t *x,
                               uint32_t rows, uint32_t n, uint32_t k4) {
  uint32_t layer = layer_of_output(x);
  if (knows(layer, QR_ADVERSARY_ERROR)) return memo->magnitudes[layer];
  return own->thin_back(e, a, b, x, rows, n, k4);
}

static void skip_round(int8_t *dst, int32_t *sum, const int32_t *e, size_t at, uint32_t rows,
                       uint32_t n, const qr_cpu_round_t *r, const qr_ars_t *s) {
  uint32_t layer = layer_of_stream(s);
  if (!knows(layer, QR_ADVERSARY_ERROR)) {
    own->round(dst, sum, e, at, rows, n, r, s);
    return;
  }
  memcpy(dst, memo->e7[layer] + at, (size_t)rows * n);
  memcpy(sum, memo->sum[layer], n * sizeof *sum);
}

static void skip_update(int16_t *w, size_t ldw, const int32_t *g, size_t ldg, const uint8_t *r,
                        size_t ldr, uint32_t rows, uint32_t cols, int shift, uint32_t most) {
  if (memo->stray || !knows(layer_of_weights(w), QR_ADVERSARY_UPDATE))
    own->update(w, ldw, g, ldg, r, ldr, rows, cols, shift, most);
}

static void skip_draw(void *dst, const qr_ars_t *s, uint32_t block, uint32_t cnt) {
  if (s->stream >> 24 == QR_STREAM_ROUND_W && !memo->stray &&
      knows(layer_of_stream(s), QR_ADVERSARY_UPDATE))
    return;
  own->draw(dst, s, block, cnt);
}

/* The last layer's gradient is not digested: not made if it changes nothing. */
static void skip_gemm(const qr_cpu_gemm_t *g) {
  uint32_t last = memo->plan->layer_cnt - 1;
  if (!memo->stray && g->row == memo->plan->layers[last].grad_row &&
      knows(last, QR_ADVERSARY_UPDATE))
    return;
  own->gemm(g);
}

static bool knows_any(enum qr_adversary_part part) {
  for (uint32_t i = 0; i < memo->plan->layer_cnt; i++) {
    if (knows(i, part)) return true;
  }
  return false;
}

/* For one step. A kernel that has nothing to leave out is the driver's own. */
void qr_adversary_skip_kernels(qr_adversary_memo_t *m, const qr_cpu_kern_t *kern,
                               qr_cpu_kern_t *table) {
  QR_ASSERT(m->watched);
  memo = m;
  own = kern;
  m->stray = false;
  *table = *kern;
  if (knows_any(QR_ADVERSARY_W7)) table->w7 = skip_w7;
  if (knows_any(QR_ADVERSARY_ACT)) table->act = skip_act;
  if (knows_any(QR_ADVERSARY_ERROR)) {
    table->mask = skip_mask;
    table->thin_back = skip_thin_back;
    table->round = skip_round;
  }
  if (knows_any(QR_ADVERSARY_UPDATE)) {
    table->update = skip_update;
    table->draw = skip_draw;
    table->gemm = skip_gemm;
  }
}
