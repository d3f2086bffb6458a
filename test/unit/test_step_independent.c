/* A second implementation of the training step, written from host/step/README.md alone: one sample
   at a time, direct convolution, 64-bit arithmetic, no program, no packing. The reference and the
   CPU driver must agree with it to the bit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/philox.h"
#include "crypto/hash.h"
#include "net_gen.h"
#include "port/drivers.h"
#include "step/ref.h"

typedef struct {
  bool conv, last;
  int k, n, h, w, c, oh, ow, sy, sx, pos, fan, fw, fa, lr;
  int16_t *m; /* masters [k][n] */
  int32_t *b;
  int64_t *x;          /* input of the layer, [batch][h][w][c] */
  int64_t *w7, *e, *g; /* [k][n]; error [batch*pos][n]; gradient [k][n] */
  int fe;
} lay_t;

typedef struct {
  int batch, nl, frac, na;
  lay_t l[QR_NET_LAYER_MAX_CNT + 1]; /* the last one only holds x = Q */
  qr_hash_t sigma;
  uint32_t step;
  uint64_t dig[64];
  int dig_cnt;
} ind_t;

static int64_t clip(int64_t x, int64_t lo, int64_t hi) { return x < lo ? lo : x > hi ? hi : x; }

static void *take(size_t cnt, size_t sz) {
  void *p = calloc(cnt ? cnt : 1, sz);
  assert_non_null(p);
  return p;
}

/* f_w: the largest integer with 2^(2(6 - f_w)) * fan >= 54. */
static int weight_frac(int64_t fan) {
  int f = 20;
  for (;; f--) {
    int e = 2 * (6 - f);
    if (e >= 0 ? (fan << e) >= 54 : fan >= ((int64_t)54 << -e)) return f;
  }
}

static void ind_open(ind_t *t, const qr_net_spec_t *s) {
  memset(t, 0, sizeof *t);
  t->batch = (int)s->batch;
  t->nl = (int)s->layer_cnt;
  t->frac = (int)s->act_frac;
  t->na = (int)s->action_cnt;
  int h = (int)s->in_h, w = (int)s->in_w, c = (int)s->in_c;
  for (int i = 0; i < t->nl; i++) {
    const qr_layer_spec_t *y = &s->layers[i];
    lay_t *l = &t->l[i];
    l->conv = y->kind == QR_LAYER_CONV3;
    l->last = i == t->nl - 1;
    l->n = (int)y->out;
    l->h = l->conv ? h : 1, l->w = l->conv ? w : 1, l->c = l->conv ? c : h * w * c;
    l->sy = l->conv ? (int)y->stride_y : 1, l->sx = l->conv ? (int)y->stride_x : 1;
    l->oh = l->h / l->sy, l->ow = l->w / l->sx, l->pos = l->oh * l->ow;
    l->k = l->conv ? 9 * l->c : l->c;
    l->fan = y->init_fan ? (int)y->init_fan : l->k;
    l->fw = weight_frac(l->fan);
    l->fa = i ? t->frac : 5;
    l->lr = (int)y->lr_shift;
    l->x = take((size_t)(t->batch * l->h * l->w * l->c), sizeof *l->x);
    l->w7 = take((size_t)(l->k * l->n), sizeof *l->w7);
    l->g = take((size_t)(l->k * l->n), sizeof *l->g);
    l->m = take((size_t)(l->k * l->n), sizeof *l->m);
    l->b = take((size_t)l->n, sizeof *l->b);
    l->e = take((size_t)(t->batch * l->pos * l->n), sizeof *l->e);
    h = l->oh, w = l->ow, c = l->n;
  }
  t->l[t->nl].x = take((size_t)(t->batch * t->na), sizeof(int64_t));
}

static void ind_close(ind_t *t) {
  for (int i = 0; i <= t->nl; i++) {
    lay_t *l = &t->l[i];
    free(l->x), free(l->w7), free(l->g), free(l->m), free(l->b), free(l->e);
  }
}

/* Model bytes: per layer int16 weights, then int32 biases. */
static size_t ind_model(ind_t *t, uint8_t *bytes, bool store) {
  size_t off = 0;
  for (int i = 0; i < t->nl; i++) {
    lay_t *l = &t->l[i];
    size_t wsz = 2 * (size_t)(l->k * l->n), bsz = 4 * (size_t)l->n;
    memcpy(store ? bytes + off : (uint8_t *)l->m, store ? (uint8_t *)l->m : bytes + off, wsz);
    memcpy(store ? bytes + off + wsz : (uint8_t *)l->b, store ? (uint8_t *)l->b : bytes + off + wsz,
           bsz);
    off += wsz + bsz;
  }
  return off;
}

/* ARS from its definition, a byte at a time: AES (FIPS 197) in the field itself, no tables. */
static uint8_t times(uint8_t a, uint8_t b) {
  uint8_t r = 0;
  for (; b; b >>= 1, a = (uint8_t)(a << 1 ^ (a & 0x80 ? 0x1b : 0))) {
    if (b & 1) r ^= a;
  }
  return r;
}

static uint8_t substitute(uint8_t x) {
  uint8_t inv = x, s;
  for (int i = 0; i < 6; i++) inv = times(times(inv, inv), x); /* x^127 */
  inv = times(inv, inv);
  s = inv;
  for (int i = 1; i < 5; i++) s ^= (uint8_t)(inv << i | inv >> (8 - i));
  return s ^ 0x63;
}

static uint8_t sbox[256];

static void ars_block(const ind_t *t, uint32_t idx, uint32_t stream, uint8_t out[16]) {
  uint64_t lo = qr_ld64(t->sigma.b), hi = qr_ld64(t->sigma.b + 8);
  uint8_t key[16], s[16], m[16];
  qr_st32(s, idx), qr_st32(s + 4, stream);
  memcpy(s + 8, t->sigma.b + 16, 8);
  for (int round = 0; round <= 5; round++) {
    qr_st64(key, lo + (uint64_t)round * UINT64_C(0x9E3779B97F4A7C15));
    qr_st64(key + 8, hi + (uint64_t)round * UINT64_C(0xBB67AE8584CAA73B));
    for (int i = 0; i < 16 && round; i++) m[i] = sbox[s[(i + 4 * (i & 3)) & 15]];
    for (int i = 0; i < 16 && round; i++) {
      const uint8_t *c = m + (i & ~3);
      s[i] = round == 5
                 ? m[i]
                 : times(c[i & 3], 2) ^ times(c[(i + 1) & 3], 3) ^ c[(i + 2) & 3] ^ c[(i + 3) & 3];
    }
    for (int i = 0; i < 16; i++) s[i] ^= key[i];
  }
  memcpy(out, s, 16);
}

/* Byte i of a stream of the step; the last block made is kept. */
static uint8_t draw_byte(const ind_t *t, enum qr_stream purpose, int layer, int64_t i) {
  static uint8_t block[16];
  static uint32_t had_idx, had_stream;
  static qr_hash_t had_seed;
  uint32_t idx = (uint32_t)(i >> 4), stream = qr_stream_word(purpose, (uint32_t)layer, t->step);
  if (idx != had_idx || stream != had_stream || !qr_hash_eq(&had_seed, &t->sigma)) {
    ars_block(t, idx, stream, block);
    had_idx = idx, had_stream = stream, had_seed = t->sigma;
  }
  return block[i & 15];
}

static uint32_t draw(const ind_t *t, enum qr_stream purpose, int layer, int64_t i) {
  uint8_t w[4];
  for (int b = 0; b < 4; b++) w[b] = draw_byte(t, purpose, layer, 4 * i + b);
  return qr_ld32(w);
}

static int64_t *dithered(const ind_t *t, const int64_t *x, int64_t cnt, int d,
                         enum qr_stream purpose, int layer) {
  int64_t *out = take((size_t)cnt, sizeof *out);
  for (int64_t i = 0; i < cnt; i++) {
    int64_t b = draw_byte(t, purpose, layer, i / 128 * 64 + i % 64);
    int64_t n = i % 128 < 64 ? b % 16 : b / 16;
    int64_t u = ((2 * n - 15) * (2 * d + 1) + 16) >> 5;
    assert_in_range(u + d, 0, 2 * d);
    out[i] = clip(x[i], -64 + d, 63 - d) + u;
  }
  return out;
}

static int64_t half(int64_t x, int s) {
  int64_t a = ((x < 0 ? -x : x) + ((int64_t)1 << (s - 1))) >> s;
  return x < 0 ? -a : a;
}

static int64_t sr(int64_t x, int s, uint8_t r) {
  if (s <= 0) return x * ((int64_t)1 << (-s < 31 ? -s : 31));
  if (s > 62) s = 62;
  int64_t y = s <= 8 ? x * (1 << (8 - s)) : (x + ((int64_t)1 << (s - 9))) >> (s - 8);
  return (y + r) >> 8;
}

/* Index into the layer's input of column kk at output position p of a sample. */
static int input_at(const lay_t *l, int p, int kk) {
  if (!l->conv) return kk;
  int ch = kk % l->c, tap = kk / l->c, i = tap / 3, j = tap % 3, y = p / l->ow, x = p % l->ow;
  int iy = ((y * l->sy + i - 1) % l->h + l->h) % l->h,
      ix = ((x * l->sx + j - 1) % l->w + l->w) % l->w;
  return (iy * l->w + ix) * l->c + ch;
}

static void digest(ind_t *t, const int64_t *x, int m, int n) {
  int slot = t->dig_cnt++;
  uint64_t total = 0;
  for (int i = 0; i < m; i++) {
    uint64_t row = 0;
    for (int j = 0; j < n; j += 2) {
      int w = n * (i & 7) + j;
      uint32_t a = (uint32_t)x[i * n + j] ^ draw(t, QR_STREAM_DIGEST_K, slot, w);
      uint32_t b = (uint32_t)x[i * n + j + 1] ^ draw(t, QR_STREAM_DIGEST_K, slot, w + 1);
      row += (uint64_t)a * b;
    }
    int grp = i >> 3;
    uint64_t lo = draw(t, QR_STREAM_DIGEST_R, slot, 2 * grp),
             hi = draw(t, QR_STREAM_DIGEST_R, slot, 2 * grp + 1);
    total += ((lo | hi << 32) | 1) * row;
  }
  t->dig[slot] = total;
}

/* Layer i of the forward pass over `cnt` samples; dither and digest only in training. */
static void forward(ind_t *t, int i, int cnt, bool train) {
  lay_t *l = &t->l[i];
  int in = l->h * l->w * l->c, s = l->fa + l->fw - t->frac, bs = 20 - l->fa - l->fw;
  bool dither = train && !l->last;
  for (int q = 0; q < l->k * l->n; q++) l->w7[q] = clip((l->m[q] + 256) >> 9, -64, 63);
  int64_t *a = dither ? dithered(t, l->x, cnt * in, i ? 2 : 8, QR_STREAM_DITHER_A, i) : l->x;
  int64_t *w = dither ? dithered(t, l->w7, l->k * l->n, 2, QR_STREAM_DITHER_W, i) : l->w7;
  int64_t *acc = take((size_t)(cnt * l->pos * l->n), sizeof *acc);
  for (int b = 0; b < cnt; b++) {
    for (int p = 0; p < l->pos; p++) {
      for (int kk = 0; kk < l->k; kk++) {
        int64_t av = a[b * in + input_at(l, p, kk)];
        for (int n = 0; n < l->n; n++) acc[(b * l->pos + p) * l->n + n] += av * w[kk * l->n + n];
      }
    }
  }
  if (dither) digest(t, acc, cnt * l->pos, l->n);
  for (int q = 0; q < cnt * l->pos * l->n; q++) {
    int64_t bias = l->b[q % l->n];
    bias = bs > 0 ? (bias + ((int64_t)1 << (bs - 1))) >> bs : bias << -bs;
    int64_t v = acc[q] + bias;
    if (v < 0 && !l->last) v >>= 3;
    v = l->last ? (int32_t)(uint32_t)(v * ((int64_t)1 << (16 - l->fa - l->fw)))
                : clip(half(v, s), -64, 63);
    t->l[i + 1].x[q] = v;
  }
  free(acc);
  if (dither) free(a), free(w);
}

/* Step 7: the error tensor becomes 7 bits in place; its fraction goes to fe. */
static void quantise(ind_t *t, int i) {
  lay_t *l = &t->l[i];
  int64_t cnt = (int64_t)t->batch * l->pos * l->n, max = 0;
  for (int64_t q = 0; q < cnt; q++) {
    int64_t a = l->e[q] < 0 ? -l->e[q] : l->e[q];
    if (a > max) max = a;
  }
  int bits = 0;
  while (max >> bits) bits++;
  int s = bits > 8 ? bits - 8 : 0;
  for (int64_t q = 0; q < cnt; q++)
    l->e[q] = clip(sr(l->e[q], s, draw_byte(t, QR_STREAM_ROUND_E, i, q)), -64, 63);
  l->fe = (l->last ? 16 : t->l[i + 1].fe + t->l[i + 1].fw) - s;
}

/* Step 8. */
static void gradient(ind_t *t, int i) {
  lay_t *l = &t->l[i];
  int in = l->h * l->w * l->c;
  int64_t *a = l->last ? l->x : dithered(t, l->x, t->batch * in, i ? 2 : 8, QR_STREAM_DITHER_GA, i);
  int64_t *d =
      l->last ? l->e : dithered(t, l->e, t->batch * l->pos * l->n, 4, QR_STREAM_DITHER_GE, i);
  memset(l->g, 0, (size_t)(l->k * l->n) * sizeof *l->g);
  for (int b = 0; b < t->batch; b++) {
    for (int p = 0; p < l->pos; p++) {
      for (int kk = 0; kk < l->k; kk++) {
        int64_t av = a[b * in + input_at(l, p, kk)];
        for (int n = 0; n < l->n; n++) l->g[kk * l->n + n] += av * d[(b * l->pos + p) * l->n + n];
      }
    }
  }
  if (l->last) return;
  digest(t, l->g, l->k, l->n);
  free(a), free(d);
}

/* Step 9: the error of layer i-1's output, which is the input tensor of layer i. */
static void backward(ind_t *t, int i) {
  lay_t *l = &t->l[i];
  int in = l->h * l->w * l->c, rows = t->batch * l->pos;
  int64_t *d = l->last ? l->e : dithered(t, l->e, rows * l->n, 4, QR_STREAM_DITHER_BE, i);
  int64_t *w = l->last ? l->w7 : dithered(t, l->w7, l->k * l->n, 2, QR_STREAM_DITHER_BW, i);
  int64_t *col = take((size_t)(rows * l->k), sizeof *col), *to = t->l[i - 1].e;
  for (int r = 0; r < rows; r++) {
    for (int kk = 0; kk < l->k; kk++) {
      for (int n = 0; n < l->n; n++) col[r * l->k + kk] += d[r * l->n + n] * w[kk * l->n + n];
    }
  }
  if (!l->last) digest(t, col, rows, l->k);
  memset(to, 0, (size_t)(t->batch * in) * sizeof *to);
  for (int r = 0; r < rows; r++) {
    for (int kk = 0; kk < l->k; kk++)
      to[r / l->pos * in + input_at(l, r % l->pos, kk)] += col[r * l->k + kk];
  }
  free(col);
  if (!l->last) free(d), free(w);
}

/* Steps 10 and 11. */
static void update(ind_t *t, int i, int sched) {
  lay_t *l = &t->l[i];
  int log2b = 0;
  while (1 << log2b < t->batch) log2b++;
  int64_t lim = l->last ? 1 << 23 : 1 << 20;
  for (int n = 0; n < l->n; n++) {
    int64_t g = 0;
    for (int r = 0; r < t->batch * l->pos; r++) g += l->e[r * l->n + n];
    g = sr(g, l->fe + log2b + l->lr + sched - 20, draw_byte(t, QR_STREAM_ROUND_B, i, n));
    l->b[n] = (int32_t)clip(l->b[n] - g, -lim, lim);
  }
  int s = l->fe + l->fa + log2b + l->lr + sched - (l->fw + 9);
  for (int q = 0; q < l->k * l->n; q++) {
    l->m[q] = (int16_t)clip(l->m[q] - sr(l->g[q], s, draw_byte(t, QR_STREAM_ROUND_W, i, q)), -32768,
                            32767);
  }
}

static uint64_t ind_step(ind_t *t, const int8_t *obs, const uint8_t *act, const int32_t *target,
                         const qr_hash_t *sigma, uint32_t k, uint32_t sched) {
  t->sigma = *sigma, t->step = k, t->dig_cnt = 0;
  for (int q = 0; q < t->batch * t->l[0].h * t->l[0].w * t->l[0].c; q++) t->l[0].x[q] = obs[q];
  for (int i = 0; i < t->nl; i++) forward(t, i, t->batch, true);
  lay_t *out = &t->l[t->nl - 1];
  uint64_t sum = 0;
  memset(out->e, 0, (size_t)(t->batch * t->na) * sizeof *out->e);
  for (int b = 0; b < t->batch; b++) {
    int64_t d = clip(t->l[t->nl].x[b * t->na + act[b]] - target[b], -65536, 65536);
    out->e[b * t->na + act[b]] = d;
    sum += (uint64_t)(d < 0 ? -d : d);
  }
  for (int i = t->nl - 1; i >= 0; i--) {
    lay_t *l = &t->l[i];
    if (!l->last) {
      for (int q = 0; q < t->batch * l->pos * l->n; q++) {
        if (t->l[i + 1].x[q] < 0) l->e[q] >>= 3;
      }
    }
    quantise(t, i);
    gradient(t, i);
    if (i > 0) backward(t, i);
    update(t, i, sched);
  }
  return sum;
}

static void ind_forward(ind_t *t, const int8_t *obs, int cnt, int32_t *q) {
  for (int i = 0; i < cnt * t->l[0].h * t->l[0].w * t->l[0].c; i++) t->l[0].x[i] = obs[i];
  for (int i = 0; i < t->nl; i++) forward(t, i, cnt, false);
  for (int i = 0; i < cnt * t->na; i++) q[i] = (int32_t)t->l[t->nl].x[i];
}

/* Genesis weights. */
static void ind_init(ind_t *t, const qr_hash_t *seed) {
  for (int i = 0; i < t->nl; i++) {
    lay_t *l = &t->l[i];
    int64_t want = ((int64_t)6 << (2 * (l->fw + 9))) / l->fan;
    int64_t lim = 0;
    while ((lim + 1) * (lim + 1) <= want) lim++;
    if (l->last) lim /= 8;
    if (lim < 1) lim = 1;
    qr_philox_t p = qr_philox_init(seed, qr_stream_word(QR_STREAM_INIT, (uint32_t)i, 0));
    for (int q = 0; q < l->k * l->n; q++) {
      uint64_t word = qr_philox_word(&p, (uint32_t)q);
      l->m[q] = (int16_t)((int64_t)((word * (uint64_t)(2 * lim + 1)) >> 32) - lim);
    }
    memset(l->b, 0, 4 * (size_t)l->n);
  }
}

#define STEPS 3

typedef struct {
  qr_net_t net;
  qr_step_prog_t prog;
  ind_t ind;
  qr_ref_t *ref;
  uint8_t *model, *by_ref, *by_ind, *by_cpu;
  int8_t *obs;
  uint8_t *act;
  int32_t *target;
  void *ref_mem;
} fix_t;

static bool fix_open(fix_t *f, gen_t *g, uint32_t conv_cnt) {
  memset(f, 0, sizeof *f);
  if (!gen_net(g, conv_cnt, &f->net)) return false;
  qr_step_lower(&f->net, &f->prog);
  ind_open(&f->ind, &f->net.spec);
  f->ref_mem = aligned_alloc(64, qr_align_up(qr_ref_footprint(&f->net), 64));
  assert_non_null(f->ref_mem);
  f->ref = qr_ref_init(f->ref_mem, &f->net, &f->prog);
  size_t rows = (size_t)STEPS * f->net.spec.batch;
  f->model = take(4, f->net.model_sz);
  f->by_ref = f->model + f->net.model_sz;
  f->by_ind = f->by_ref + f->net.model_sz;
  f->by_cpu = f->by_ind + f->net.model_sz;
  f->obs = take(rows, f->net.in_sz);
  f->act = take(rows, 1);
  f->target = take(rows, 4);
  return true;
}

static void fix_close(fix_t *f) {
  ind_close(&f->ind);
  free(f->ref_mem), free(f->model), free(f->obs), free(f->act), free(f->target);
}

/* The attempt on the CPU driver: model to by_cpu, digests and errors out. */
static void run_cpu(fix_t *f, const qr_hash_t *sigma, uint32_t sched, uint64_t *dig, uint64_t *td) {
  const qr_accel_ops_t *ops = qr_accel_driver("cpu");
  assert_non_null(ops);
  qr_accel_t *a;
  qr_accel_queue_t *q;
  uint32_t id;
  char why[128];
  assert_int_equal(ops->open("", &a, why, sizeof why), 0);
  assert_int_equal(ops->load(a, &f->net, &f->prog, &id), 0);
  assert_int_equal(ops->queue_open(a, &q), 0);
  qr_accel_job_t job = {.kind = QR_ACCEL_ATTEMPT,
                        .prog = id,
                        .model_in = f->model,
                        .model_out = f->by_cpu,
                        .sigma = *sigma,
                        .step_cnt = STEPS,
                        .lr_shift = sched,
                        .obs = f->obs,
                        .act = f->act,
                        .target = f->target,
                        .digests = dig,
                        .td_abs_sum = td};
  assert_int_equal(ops->submit(q, &job), 0);
  for (int i = 0; i < 1000 && !job.finished; i++) (void)ops->poll(q);
  assert_true(job.finished);
  assert_int_equal(job.err, 0);
  ops->queue_close(q);
  ops->close(a);
}

/* Three steps of one net by three implementations. */
static void compare(fix_t *f, gen_t *g, enum gen_mode mode) {
  const qr_net_t *n = &f->net;
  uint32_t b = n->spec.batch, sched = (uint32_t)gen_range(g, 0, mode == GEN_EXTREME ? 31 : 3);
  uint64_t dig_ref[QR_STEP_GEMM_MAX_CNT], dig_cpu[STEPS * QR_STEP_GEMM_MAX_CNT], td_cpu[STEPS],
      td_ref;
  qr_hash_t sigma = gen_hash(g);
  gen_model(g, mode, n, f->model);
  gen_obs(g, mode, f->obs, (size_t)STEPS * b * n->in_sz);
  gen_act(g, n, f->act, (size_t)STEPS * b);
  gen_target(g, mode, f->target, (size_t)STEPS * b);
  memcpy(f->by_ref, f->model, n->model_sz);
  assert_int_equal(ind_model(&f->ind, f->model, false), n->model_sz);
  run_cpu(f, &sigma, sched, dig_cpu, td_cpu);
  for (uint32_t k = 0; k < STEPS; k++) {
    const int8_t *obs = f->obs + (size_t)k * b * n->in_sz;
    const int32_t *target = f->target + k * b;
    uint64_t td = ind_step(&f->ind, obs, f->act + k * b, target, &sigma, k, sched);
    qr_ref_step(f->ref, f->by_ref, obs, f->act + k * b, target, &sigma, k, sched, dig_ref, &td_ref);
    ind_model(&f->ind, f->by_ind, true);
    assert_int_equal(f->ind.dig_cnt, f->prog.digest_cnt);
    assert_memory_equal(f->ind.dig, dig_ref, f->prog.digest_cnt * sizeof *dig_ref);
    assert_memory_equal(f->ind.dig, dig_cpu + k * f->prog.digest_cnt,
                        f->prog.digest_cnt * sizeof *dig_ref);
    assert_int_equal(td, td_ref);
    assert_int_equal(td, td_cpu[k]);
    assert_memory_equal(f->by_ind, f->by_ref, n->model_sz);
  }
  assert_memory_equal(f->by_ind, f->by_cpu, n->model_sz);
}

static void compare_forward(fix_t *f, gen_t *g) {
  const qr_net_t *n = &f->net;
  size_t cnt = (size_t)n->spec.batch * n->spec.action_cnt;
  int32_t *q_ind = take(cnt, 4), *q_ref = take(cnt, 4);
  gen_model(g, GEN_ALIEN, n, f->model);
  ind_model(&f->ind, f->model, false);
  ind_forward(&f->ind, f->obs, (int)n->spec.batch, q_ind);
  qr_ref_forward(f->ref, f->model, f->obs, n->spec.batch, q_ref);
  assert_memory_equal(q_ind, q_ref, cnt * 4);
  free(q_ind), free(q_ref);
}

static void compare_init(fix_t *f, gen_t *g) {
  qr_hash_t seed = gen_hash(g);
  qr_model_init(&f->net, &seed, f->by_ref);
  ind_init(&f->ind, &seed);
  ind_model(&f->ind, f->by_ind, true);
  assert_memory_equal(f->by_ind, f->by_ref, f->net.model_sz);
}

static void run_nets(uint64_t seed, uint32_t conv_cnt, int net_cnt) {
  gen_t g = {seed};
  for (int i = 0; i < net_cnt; i++) {
    fix_t f;
    assert_true(fix_open(&f, &g, conv_cnt));
    compare_init(&f, &g);
    for (int m = 0; m < GEN_MODE_CNT; m++) compare(&f, &g, (enum gen_mode)m);
    compare_forward(&f, &g);
    fix_close(&f);
  }
}

static void test_dense(void **st) {
  (void)st;
  run_nets(1, 0, 8);
}

static void test_conv(void **st) {
  (void)st;
  run_nets(2, 1, 4);
  run_nets(3, 2, 4);
}

/* The minibatch draw and the target, from the same page. */
static void test_batch(void **st) {
  (void)st;
  gen_t g = {4};
  static uint32_t got[1024], want[1024];
  for (int round = 0; round < 50; round++) {
    qr_hash_t sigma = gen_hash(&g);
    uint32_t k = (uint32_t)gen_range(&g, 0, 65535);
    qr_philox_t p = qr_philox_init(&sigma, qr_stream_word(QR_STREAM_BATCH, 0, k));
    uint32_t batch = 16u << gen_range(&g, 0, 6),
             n = (uint32_t)gen_range(&g, batch, round & 1 ? batch + 8 : 65536);
    void *scratch = take(1, qr_step_batch_scratch_sz(n));
    qr_step_batch(&sigma, k, n, batch, got, scratch);
    uint32_t cnt = 0;
    for (uint32_t i = 0; cnt < batch; i++) {
      uint32_t v = (uint32_t)((uint64_t)qr_philox_word(&p, i) * n >> 32), j = 0;
      while (j < cnt && want[j] != v) j++;
      if (j == cnt) want[cnt++] = v;
    }
    assert_memory_equal(got, want, batch * sizeof *want);
    free(scratch);
  }
}

static void test_target(void **st) {
  (void)st;
  gen_t g = {5};
  for (int i = 0; i < 10000; i++) {
    int64_t r = gen_range(&g, -(1 << 20), 1 << 20), q = gen_range(&g, INT32_MIN, INT32_MAX),
            lim = gen_range(&g, 1, 1 << 20);
    int64_t gamma = gen_range(&g, 0, 65536);
    assert_int_equal(qr_step_td_target((int32_t)r, true, (int32_t)q, (uint32_t)gamma, (int32_t)lim),
                     r);
    assert_int_equal(
        qr_step_td_target((int32_t)r, false, (int32_t)q, (uint32_t)gamma, (int32_t)lim),
        r + ((gamma * clip(q, -lim, lim)) >> 16));
  }
}

int main(void) {
  if (qr_crypto_init()) return 1;
  for (int i = 0; i < 256; i++) sbox[i] = substitute((uint8_t)i);
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_dense), cmocka_unit_test(test_conv),
                                     cmocka_unit_test(test_batch), cmocka_unit_test(test_target)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
