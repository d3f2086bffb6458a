/* Writes the vectors of the training step into the folder given on the command line. The format is
   in README.md here. Run it only when the rules change on purpose: the committed files are what the
   code is held to. */
#include <inttypes.h>

#include "crypto/hash.h"
#include "net_specs.h"
#include "step/fixed.h"
#include "step_vector.h"

enum model_style {
  MODEL_INIT,    /* genesis weights */
  MODEL_EXTREME, /* masters over all of int16 and at its ends, biases up to their limits */
  MODEL_FOREIGN, /* what only a peer can send: biases at the ends of int32, so that Q wraps */
  MODEL_FLAT /* the last layer sees nothing: Q is one constant, and so are the targets: every error
                is zero */
};
enum data_style {
  DATA_DRAWN,
  DATA_LITERAL,
  DATA_EXTREME /* observations and targets at their ends */
};

typedef struct {
  const char *name, *what;
  qr_net_spec_t spec;
  enum model_style model;
  enum data_style data;
  uint32_t rows, steps, lr_shift;
  bool large; /* too large to print the model */
} net_case_t;

static const net_case_t cases[] = {
    {.name = "dense_small",
     .what = "the smallest network",
     .spec = {16, 1, 1, 1, 2, {DENSE(16, 0, 0), DENSE(1, 0, 0)}, 16, 5},
     .data = DATA_LITERAL,
     .rows = 16,
     .steps = 3},
    {.name = "dense_ragged",
     .what = "four layers of unlike sizes, own fans and rates, observation with three dimensions",
     .spec = {8,
              2,
              3,
              5,
              4,
              {DENSE(32, 2, 64), DENSE(16, 1, 864), DENSE(48, 0, 1), DENSE(5, 3, 7)},
              32,
              4},
     .data = DATA_LITERAL,
     .rows = 33,
     .steps = 3,
     .lr_shift = 2},
    {.name = "dense_extreme",
     .what = "saturated weights, biases, observations and errors; act_frac 0 makes update shifts "
             "negative",
     .spec = {16, 1, 1, 3, 3, {DENSE(16, 0, 0), DENSE(32, 0, 300), DENSE(3, 0, 65536)}, 16, 0},
     .model = MODEL_EXTREME,
     .data = DATA_EXTREME,
     .rows = 40,
     .steps = 4},
    {.name = "dense_zero_error",
     .what = "all errors zero: hidden gradients are dither alone, update shifts beyond 32",
     .spec = {32, 1, 1, 2, 3, {DENSE(16, 0, 0), DENSE(16, 12, 0), DENSE(2, 0, 0)}, 16, 5},
     .model = MODEL_FLAT,
     .data = DATA_LITERAL,
     .rows = 24,
     .steps = 2,
     .lr_shift = 7},
    {.name = "dense_deep",
     .what = "six layers, act_frac 7, schedule shift far above 62",
     .spec = {16,
              1,
              1,
              4,
              6,
              {DENSE(16, 0, 0), DENSE(16, 31, 0), DENSE(16, 0, 0), DENSE(16, 0, 0), DENSE(16, 0, 0),
               DENSE(4, 0, 0)},
              64,
              7},
     .data = DATA_LITERAL,
     .rows = 70,
     .steps = 2,
     .lr_shift = 60},
    {.name = "dense_foreign",
     .what = "a peer's model: biases at the ends of int32; Q leaves 32 bits and is taken mod 2^32",
     .spec = {16, 1, 1, 2, 2, {DENSE(496, 0, 0), DENSE(2, 0, 54)}, 16, 0},
     .model = MODEL_FOREIGN,
     .data = DATA_LITERAL,
     .rows = 16,
     .steps = 2,
     .large = true},
    {.name = "conv_small",
     .what = "one convolution, strides 2 and 1, more than 256 product rows",
     .spec = {8, 4, 6, 3, 3, {CONV(16, 2, 1, 1, 0), DENSE(16, 0, 0), DENSE(3, 0, 0)}, 32, 5},
     .rows = 48,
     .steps = 3,
     .large = true},
    {.name = "conv_twice",
     .what = "two convolutions and the output layer right after; taps overlap by wrapping around",
     .spec = {8, 2, 6, 3, 3, {CONV(16, 1, 3, 2, 100), CONV(16, 1, 1, 1, 0), DENSE(3, 0, 0)}, 16, 4},
     .data = DATA_LITERAL,
     .rows = 20,
     .steps = 3,
     .lr_shift = 1},
    {.name = "conv_thin",
     .what = "height 1 and width 1 wrap onto themselves",
     .spec = {16,
              1,
              4,
              2,
              4,
              {CONV(16, 1, 4, 0, 0), CONV(16, 1, 1, 0, 0), DENSE(16, 0, 0), DENSE(2, 0, 0)},
              16,
              5},
     .data = DATA_LITERAL,
     .rows = 16,
     .steps = 2,
     .large = true},
    {.name = "conv_extreme",
     .what = "saturated weights, biases, observations and errors",
     .spec = {8,
              4,
              4,
              3,
              4,
              {CONV(16, 2, 2, 0, 0), CONV(16, 1, 2, 0, 0), DENSE(16, 0, 0), DENSE(3, 0, 0)},
              16,
              3},
     .model = MODEL_EXTREME,
     .data = DATA_EXTREME,
     .rows = 32,
     .steps = 3,
     .large = true},
    {.name = "microgrid",
     .what = "the dense network that carries tickets",
     .spec = NET_MICROGRID,
     .rows = 4096,
     .steps = 3,
     .large = true},
    {.name = "microgrid_map",
     .what = "the convolutional network that carries tickets",
     .spec = NET_MICROGRID_MAP,
     .rows = 1024,
     .steps = 3,
     .lr_shift = 1,
     .large = true},
};

static FILE *create(const char *dir, const char *prefix, const char *name) {
  char path[1024];
  snprintf(path, sizeof path, "%s/%s%s.txt", dir, prefix, name);
  FILE *f = fopen(path, "w");
  if (!f) {
    perror(path);
    exit(1);
  }
  return f;
}

/* Key and bytes; the line goes on. */
static void begin_hex(FILE *f, const char *key, const void *p, size_t sz) {
  fprintf(f, "%s ", key);
  for (size_t i = 0; i < sz; i++) fprintf(f, "%02x", ((const uint8_t *)p)[i]);
}

static void put_hex(FILE *f, const char *key, const void *p, size_t sz) {
  begin_hex(f, key, p, sz);
  fputc('\n', f);
}

/* A seed of its own for each case and use. */
static qr_hash_t seed_of(const char *name, const char *use) {
  char text[128];
  int n = snprintf(text, sizeof text, "%s/%s", name, use);
  return qr_hash("quarry.vector", text, (size_t)n);
}

static void extreme_model(const qr_net_t *net, const qr_hash_t *seed, uint8_t *model) {
  static const int16_t ends[] = {INT16_MIN, INT16_MAX, INT16_MIN + 255, 256, -256, 255, -257, 0};
  qr_philox_t p = qr_philox_init(seed, 0);
  uint32_t at = 0;
  for (uint32_t i = 0; i < net->layer_cnt; i++) {
    const qr_layer_t *l = &net->layers[i];
    int32_t lim = i + 1 == net->layer_cnt ? QR_STEP_BIAS_LIM_OUT : QR_STEP_BIAS_LIM_HIDDEN;
    for (uint32_t j = 0; j < l->k * l->n; j++) {
      uint32_t w = qr_philox_word(&p, at++);
      qr_st16(model + l->w_off + 2 * j, w & 1 ? (uint16_t)ends[w >> 29] : (uint16_t)(w >> 8));
    }
    for (uint32_t j = 0; j < l->n; j++) {
      uint32_t w = qr_philox_word(&p, at++);
      int32_t b = (int32_t)qr_philox_bound(w, 2 * (uint32_t)lim + 1) - lim;
      qr_st32(model + l->b_off + 4 * j, (uint32_t)(w & 1 ? (w & 2 ? lim : -lim) : b));
    }
  }
}

/* Masters of the last layer too small to reach a compute weight, one bias for all actions. */
static void flatten_last(const qr_net_t *net, uint8_t *model) {
  const qr_layer_t *l = &net->layers[net->layer_cnt - 1];
  for (uint32_t j = 0; j < l->k * l->n; j++)
    qr_st16(model + l->w_off + 2 * j, (uint16_t)(j % 400 - 200));
  for (uint32_t j = 0; j < l->n; j++) qr_st32(model + l->b_off + 4 * j, 123456);
}

/* Hidden units all at their upper end, weights of the last layer all at their lower one. */
static void foreign_model(const qr_net_t *net, uint8_t *model) {
  for (uint32_t i = 0; i < net->layer_cnt; i++) {
    const qr_layer_t *l = &net->layers[i];
    bool last = i + 1 == net->layer_cnt;
    if (last)
      for (uint32_t j = 0; j < l->k * l->n; j++)
        qr_st16(model + l->w_off + 2 * j, (uint16_t)INT16_MIN);
    for (uint32_t j = 0; j < l->n; j++)
      qr_st32(model + l->b_off + 4 * j, (uint32_t)(last && !j ? INT32_MIN : INT32_MAX));
  }
}

static void extreme_data(step_vector_t *v) {
  static const int32_t ends[] = {INT32_MIN, INT32_MAX, 0, 65536, -65537, 1, INT32_MIN + 1, -8};
  for (uint32_t i = 0; i < v->rows * v->net.in_sz; i++)
    if (v->obs[i] & 3) v->obs[i] = v->obs[i] & 4 ? QR_STEP_I7_MIN : QR_STEP_I7_MAX;
  for (uint32_t i = 0; i < v->rows; i++) v->target[i] = ends[i % QR_ARRAY_CNT(ends)];
}

static void put_network(FILE *f, const net_case_t *c, const qr_step_prog_t *prog) {
  const qr_net_spec_t *s = &c->spec;
  fprintf(f, "# %s. Format: README.md beside this file; rules: host/step/README.md\n", c->what);
  fprintf(f, "in %u %u %u\nactions %u\nbatch %u\nact_frac %u\n", s->in_c, s->in_h, s->in_w,
          s->action_cnt, s->batch, s->act_frac);
  for (uint32_t i = 0; i < s->layer_cnt; i++) {
    const qr_layer_spec_t *l = &s->layers[i];
    fprintf(f, "layer %s %u %u %u %u %u\n", l->kind == QR_LAYER_CONV3 ? "conv" : "dense", l->out,
            l->stride_y, l->stride_x, l->lr_shift, l->init_fan);
  }
  qr_hash_t h = qr_step_prog_hash(prog);
  put_hex(f, "program", h.b, sizeof h.b);
}

/* Fills and prints everything a step starts from. */
static void put_inputs(FILE *f, const net_case_t *c, qr_ref_t *ref, step_vector_t *v) {
  const qr_net_t *net = &v->net;
  qr_hash_t init = seed_of(c->name, "init"), data = seed_of(c->name, "data");
  qr_model_init(net, &init, v->model);
  if (c->model == MODEL_EXTREME) extreme_model(net, &init, v->model);
  if (c->model == MODEL_FOREIGN) foreign_model(net, v->model);
  if (c->model == MODEL_FLAT) flatten_last(net, v->model);
  if (c->model == MODEL_INIT)
    put_hex(f, "init_seed", init.b, sizeof init.b);
  else
    put_hex(f, "model", v->model, net->model_sz);
  qr_hash_t root = qr_model_root(net, v->model);
  put_hex(f, "root", root.b, sizeof root.b);

  vector_draw_replay(&data, v->rows, net->in_sz, net->spec.action_cnt, v->obs, v->act, v->target);
  if (c->data == DATA_EXTREME) extreme_data(v);
  if (c->model == MODEL_FLAT) {
    qr_ref_forward(ref, v->model, v->obs, 1, v->q);
    for (uint32_t i = 0; i < v->rows; i++) v->target[i] = v->q[0];
  }
  fprintf(f, "rows %u\n", v->rows);
  if (c->data == DATA_DRAWN) {
    put_hex(f, "data_seed", data.b, sizeof data.b);
  } else {
    put_hex(f, "obs", v->obs, (size_t)v->rows * net->in_sz);
    put_hex(f, "act", v->act, v->rows);
    fputs("target", f);
    for (uint32_t i = 0; i < v->rows; i++) fprintf(f, " %d", v->target[i]);
    fputc('\n', f);
  }
  v->sigma = seed_of(c->name, "sigma");
  put_hex(f, "sigma", v->sigma.b, sizeof v->sigma.b);
  fprintf(f, "lr_shift %u\n", v->lr_shift);
}

static void put_step(FILE *f, qr_ref_t *ref, const qr_step_prog_t *prog, step_vector_t *v,
                     uint32_t k, qr_hash_t *trace) {
  uint32_t batch = v->net.spec.batch, rows[1024];
  uint64_t digests[QR_STEP_GEMM_MAX_CNT], td;
  void *scratch = vector_alloc(qr_step_batch_scratch_sz(v->rows));
  int8_t *obs = vector_alloc((size_t)batch * v->net.in_sz);
  uint8_t act[1024];
  int32_t target[1024];
  qr_step_batch(&v->sigma, k, v->rows, batch, rows, scratch);
  for (uint32_t i = 0; i < batch; i++) {
    memcpy(obs + (size_t)i * v->net.in_sz, v->obs + (size_t)rows[i] * v->net.in_sz, v->net.in_sz);
    act[i] = v->act[rows[i]];
    target[i] = v->target[rows[i]];
  }
  qr_ref_step(ref, v->model, obs, act, target, &v->sigma, k, v->lr_shift, digests, &td);
  *trace = qr_step_trace_next(trace, digests, prog->digest_cnt);
  qr_hash_t root = qr_model_root(&v->net, v->model);

  fprintf(f, "step %u\nbatch_rows", k);
  for (uint32_t i = 0; i < batch; i++) fprintf(f, " %u", rows[i]);
  fputs("\ndigests", f);
  for (uint32_t i = 0; i < prog->digest_cnt; i++) fprintf(f, " %016" PRIx64, digests[i]);
  fprintf(f, "\ntd_abs_sum %" PRIu64 "\n", td);
  put_hex(f, "trace", trace->b, sizeof trace->b);
  put_hex(f, "root", root.b, sizeof root.b);
  free(scratch);
  free(obs);
}

static void gen_net(const char *dir, const net_case_t *c) {
  static qr_step_prog_t prog;
  static step_vector_t v;
  char why[128];
  memset(&v, 0, sizeof v);
  if (qr_net_init(&c->spec, &v.net, why, sizeof why)) {
    fprintf(stderr, "%s: %s\n", c->name, why);
    exit(1);
  }
  v.rows = c->rows;
  v.lr_shift = c->lr_shift;
  v.model = vector_alloc(v.net.model_sz);
  v.obs = vector_alloc((size_t)v.rows * v.net.in_sz);
  v.act = vector_alloc(v.rows);
  v.target = vector_alloc((size_t)v.rows * 4);
  qr_step_lower(&v.net, &prog);
  void *mem = vector_alloc(qr_ref_footprint(&v.net));
  qr_ref_t *ref = qr_ref_init(mem, &v.net, &prog);

  FILE *f = create(dir, "step_net_", c->name);
  put_network(f, c, &prog);
  put_inputs(f, c, ref, &v);
  qr_hash_t trace = v.sigma;
  for (uint32_t k = 0; k < c->steps; k++) put_step(f, ref, &prog, &v, k, &trace);
  qr_ref_forward(ref, v.model, v.obs, STEP_VECTOR_Q_ROWS, v.q);
  fputs("q", f);
  for (uint32_t i = 0; i < STEP_VECTOR_Q_ROWS * v.net.spec.action_cnt; i++)
    fprintf(f, " %d", v.q[i]);
  fputc('\n', f);
  if (!c->large) put_hex(f, "model_after", v.model, v.net.model_sz);
  fputs("end\n", f);
  fclose(f);
  free(mem);
  step_vector_free(&v);
}

static void gen_rounding(FILE *f) {
  static const int64_t xs[] = {
      INT32_MIN, INT32_MIN + 1, -1000003, -65537,   -129, -2, -1, 0, 1, 2, 3,
      64,        32768,         8388607,  INT32_MAX};
  static const int shifts[] = {-64, -32, -31, -30, -8, -2, -1, 0,  1,  2,  7,
                               8,   9,   10,  15,  31, 32, 40, 61, 62, 63, 100};
  static const uint8_t draws[] = {0, 1, 0x7f, 0x80, 0xd5, 0xff};
  for (size_t i = 0; i < QR_ARRAY_CNT(xs); i++) {
    for (int s = 1; s <= 24; s += s < 9 ? 1 : 5)
      fprintf(f, "half %" PRId64 " %d %" PRId64 "\n", xs[i], s, qr_step_half(xs[i], s));
    for (size_t j = 0; j < QR_ARRAY_CNT(shifts); j++) {
      uint8_t d = draws[(i + j) % QR_ARRAY_CNT(draws)],
              e = draws[(i + j + 3) % QR_ARRAY_CNT(draws)];
      fprintf(f, "sr %" PRId64 " %d %u %" PRId64 "\n", xs[i], shifts[j], d,
              qr_step_sr(xs[i], shifts[j], d));
      fprintf(f, "sr %" PRId64 " %d %u %" PRId64 "\n", xs[i], shifts[j], e,
              qr_step_sr(xs[i], shifts[j], e));
    }
  }
}

/* Where the cut of s at 62 shows. */
static void gen_far_shifts(FILE *f) {
  for (int s = 59; s <= 66; s++)
    fprintf(f, "sr %d %d %u %" PRId64 "\n", 3 << 28, s, UINT8_MAX,
            qr_step_sr(3 << 28, s, UINT8_MAX));
}

static void gen_scales(FILE *f) {
  static const int ds[] = {2, 4, 8};
  static const int16_t masters[] = {INT16_MIN, -32513, -32512, -257, -256,  -1,    0,
                                    255,       256,    767,    768,  32255, 32256, INT16_MAX};
  static const int32_t biases[] = {-8388608, -1048576, -513, -512, -511,    -1,     0,
                                   1,        511,      512,  513,  1048576, 8388608};
  static const uint32_t maxima[] = {0,   1,     127,   128,         255,
                                    256, 65535, 65536, 0x7fffffffu, 0x80000000u};
  for (size_t i = 0; i < QR_ARRAY_CNT(ds); i++)
    for (int x = -64; x <= 63; x += x < -56 || x >= 55 ? 1 : 37)
      for (int b = 0; b < 16; b += 3) {
        int d = ds[i];
        fprintf(f, "dither %d %d %d %d\n", x, d, b, qr_step_dither((int8_t)x, d, (uint8_t)b));
      }
  for (int b = 0; b < 16; b++)
    fprintf(f, "dither 0 8 %d %d\n", b, qr_step_dither(0, 8, (uint8_t)b));
  for (size_t i = 0; i < QR_ARRAY_CNT(masters); i++)
    fprintf(f, "w7 %d %d\n", masters[i], qr_step_w7(masters[i]));
  for (size_t i = 0; i < QR_ARRAY_CNT(biases); i++)
    for (int s = -2; s <= 17; s += 1 + (s > 1) * 4)
      fprintf(f, "bias_at %d %d %" PRId64 "\n", biases[i], s, qr_step_bias_at(biases[i], s));
  for (size_t i = 0; i < QR_ARRAY_CNT(maxima); i++)
    fprintf(f, "err_shift %u %d\n", maxima[i], qr_step_err_shift(maxima[i]));
}

static void gen_targets(FILE *f) {
  static const int32_t rewards[] = {-131072, -1, 0, 70000, INT32_MAX},
                       maxima[] = {INT32_MIN, -524289, -3, 0, 5, 524288, INT32_MAX};
  static const uint32_t gammas[] = {0, 64880, 65536};
  for (size_t i = 0; i < QR_ARRAY_CNT(rewards); i++)
    for (size_t j = 0; j < QR_ARRAY_CNT(maxima); j++) {
      uint32_t g = gammas[(i + j) % QR_ARRAY_CNT(gammas)];
      fprintf(f, "td_target %d %d %d %u 524288 %d\n", rewards[i], j == 3, maxima[j], g,
              qr_step_td_target(rewards[i], j == 3, maxima[j], g, 524288));
    }
}

static void gen_digests(FILE *f) {
  static const uint32_t shapes[][2] = {{1, 2},    {3, 8},    {255, 6},  {256, 16},
                                       {257, 16}, {700, 10}, {5, 1030}, {300, 1028}};
  for (uint32_t i = 0; i < QR_ARRAY_CNT(shapes); i++) {
    uint32_t m = shapes[i][0], n = shapes[i][1];
    qr_hash_t sigma = seed_of("digest", i & 1 ? "odd" : "even");
    qr_philox_t p = qr_philox_init(&sigma, 0);
    int32_t *x = vector_alloc((size_t)m * n * 4);
    for (uint32_t j = 0; j < m * n; j++) x[j] = (int32_t)qr_philox_word(&p, j);
    begin_hex(f, "digest", sigma.b, sizeof sigma.b);
    fprintf(f, " %u %u %u %u %016" PRIx64 "\n", i * 5, i * 3, m, n,
            qr_ref_digest(x, m, n, &sigma, i * 5, i * 3));
    free(x);
  }
}

static void gen_batches(FILE *f) {
  static const uint32_t sizes[][2] = {{16, 16}, {17, 16}, {1000, 32}, {65536, 256}};
  for (uint32_t i = 0; i < QR_ARRAY_CNT(sizes); i++) {
    uint32_t n = sizes[i][0], batch = sizes[i][1], rows[1024];
    qr_hash_t sigma = seed_of("batch", "sigma");
    void *scratch = vector_alloc(qr_step_batch_scratch_sz(n));
    qr_step_batch(&sigma, i, n, batch, rows, scratch);
    begin_hex(f, "batch", sigma.b, sizeof sigma.b);
    fprintf(f, " %u %u %u", i, n, batch);
    for (uint32_t j = 0; j < batch; j++) fprintf(f, " %u", rows[j]);
    fputc('\n', f);
    free(scratch);
  }
}

int main(int argc, char **argv) {
  if (argc != 2 || qr_crypto_init()) {
    fprintf(stderr, "usage: gen_vectors <folder>\n");
    return 1;
  }
  for (size_t i = 0; i < QR_ARRAY_CNT(cases); i++) gen_net(argv[1], &cases[i]);
  FILE *f = create(argv[1], "step_", "fixed");
  fputs("# Primitives of the training step. Format: README.md beside this file; rules: "
        "host/step/README.md\n",
        f);
  gen_rounding(f);
  gen_far_shifts(f);
  gen_scales(f);
  gen_targets(f);
  gen_digests(f);
  gen_batches(f);
  fputs("end\n", f);
  fclose(f);
  return 0;
}
