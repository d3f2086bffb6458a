/* The training step executed: the committed vectors, single ops at their extremes, what must and
   what must not change a result. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>
#include <glob.h>

#include "base/ars.h"
#include "crypto/hash.h"
#include "net_specs.h"
#include "step/fixed.h"
#include "vectors/step_vector.h"

static const qr_net_spec_t microgrid = NET_MICROGRID, microgrid_map = NET_MICROGRID_MAP;
static const qr_net_spec_t small_dense = {
    32, 1, 1, 3, 3, {DENSE(48, 1, 0), DENSE(32, 1, 0), DENSE(3, 1, 0)}, 32, 5};
static const qr_net_spec_t small_conv = {
    8,  4, 6, 3, 4, {CONV(16, 2, 1, 1, 0), CONV(16, 1, 2, 1, 0), DENSE(32, 1, 0), DENSE(3, 1, 0)},
    32, 5};

/* A network with its reference, a genesis model and a drawn minibatch. */
typedef struct {
  qr_net_t net;
  qr_step_prog_t prog;
  void *mem;
  qr_ref_t *ref;
  uint8_t *model;
  int8_t *obs;
  uint8_t act[1024];
  int32_t target[1024];
  qr_hash_t sigma;
  uint64_t digests[QR_STEP_GEMM_MAX_CNT], td;
} rig_t;

static rig_t *rig_open(const qr_net_spec_t *spec) {
  rig_t *g = calloc(1, sizeof *g);
  char why[128] = "";
  if (qr_net_init(spec, &g->net, why, sizeof why)) fail_msg("%s", why);
  qr_step_lower(&g->net, &g->prog);
  g->mem = vector_alloc(qr_ref_footprint(&g->net));
  memset(g->mem, 0x55, qr_ref_footprint(&g->net));
  g->ref = qr_ref_init(g->mem, &g->net, &g->prog);
  g->model = vector_alloc(g->net.model_sz);
  g->obs = vector_alloc((size_t)spec->batch * g->net.in_sz);
  g->sigma = (qr_hash_t){{3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3}};
  qr_model_init(&g->net, &g->sigma, g->model);
  vector_draw_replay(&g->sigma, spec->batch, g->net.in_sz, spec->action_cnt, g->obs, g->act,
                     g->target);
  return g;
}

static void rig_close(rig_t *g) {
  free(g->mem);
  free(g->model);
  free(g->obs);
  free(g);
}

/* One step from the genesis model with the rig's minibatch; returns the root of the outgoing model.
 */
static qr_hash_t rig_run(rig_t *g, const uint8_t *model, uint32_t k) {
  uint8_t *m = vector_alloc(g->net.model_sz);
  memcpy(m, model, g->net.model_sz);
  qr_ref_step(g->ref, m, g->obs, g->act, g->target, &g->sigma, k, 0, g->digests, &g->td);
  qr_hash_t root = qr_model_root(&g->net, m);
  free(m);
  return root;
}

/* Vectors */

static void replay_steps(const step_vector_t *v) {
  static qr_step_prog_t prog;
  qr_step_lower(&v->net, &prog);
  qr_hash_t h = qr_step_prog_hash(&prog);
  assert_memory_equal(&h, &v->program, sizeof h);
  h = qr_model_root(&v->net, v->model);
  assert_memory_equal(&h, &v->root, sizeof h);

  uint32_t batch = v->net.spec.batch, rows[1024];
  void *mem = vector_alloc(qr_ref_footprint(&v->net)),
       *scratch = vector_alloc(qr_step_batch_scratch_sz(v->rows));
  qr_ref_t *ref = qr_ref_init(mem, &v->net, &prog);
  int8_t *obs = vector_alloc((size_t)batch * v->net.in_sz);
  uint8_t act[1024];
  int32_t target[1024], q[STEP_VECTOR_Q_ROWS * 255];
  uint64_t digests[QR_STEP_GEMM_MAX_CNT], td;
  qr_hash_t trace = v->sigma;
  for (uint32_t k = 0; k < v->step_cnt; k++) {
    const step_vector_step_t *s = &v->steps[k];
    qr_step_batch(&v->sigma, k, v->rows, batch, rows, scratch);
    assert_memory_equal(rows, s->batch_rows, batch * 4);
    for (uint32_t i = 0; i < batch; i++) {
      memcpy(obs + (size_t)i * v->net.in_sz, v->obs + (size_t)rows[i] * v->net.in_sz, v->net.in_sz);
      act[i] = v->act[rows[i]];
      target[i] = v->target[rows[i]];
    }
    qr_ref_step(ref, v->model, obs, act, target, &v->sigma, k, v->lr_shift, digests, &td);
    assert_int_equal(s->digest_cnt, prog.digest_cnt);
    assert_memory_equal(digests, s->digests, prog.digest_cnt * 8);
    assert_int_equal(td, s->td_abs_sum);
    trace = qr_step_trace_next(&trace, digests, prog.digest_cnt);
    assert_memory_equal(&trace, &s->trace, sizeof trace);
    h = qr_model_root(&v->net, v->model);
    assert_memory_equal(&h, &s->root, sizeof h);
  }
  if (v->model_after) assert_memory_equal(v->model, v->model_after, v->net.model_sz);
  qr_ref_forward(ref, v->model, v->obs, STEP_VECTOR_Q_ROWS, q);
  assert_memory_equal(q, v->q, STEP_VECTOR_Q_ROWS * v->net.spec.action_cnt * 4);
  free(mem);
  free(scratch);
  free(obs);
}

static void vectors_replay(void **state) {
  (void)state;
  static step_vector_t v;
  glob_t g;
  assert_int_equal(glob(QR_TEST_DIR "/vectors/step_net_*.txt", 0, NULL, &g), 0);
  assert_int_equal(g.gl_pathc, 12);
  for (size_t i = 0; i < g.gl_pathc; i++) {
    print_message("%s\n", strrchr(g.gl_pathv[i], '/') + 1);
    step_vector_read(g.gl_pathv[i], &v);
    replay_steps(&v);
    step_vector_free(&v);
  }
  globfree(&g);
}

static void check_digest_line(char **save) {
  qr_hash_t sigma = vector_hash(save);
  uint32_t k = vector_u32(save), t = vector_u32(save), m = vector_u32(save), n = vector_u32(save);
  qr_philox_t p = qr_philox_init(&sigma, 0);
  int32_t *x = vector_alloc((size_t)m * n * 4);
  for (uint32_t i = 0; i < m * n; i++) x[i] = (int32_t)qr_philox_word(&p, i);
  assert_true(qr_ref_digest(x, m, n, &sigma, k, t) ==
              strtoull(strtok_r(NULL, " \n", save), NULL, 16));
  free(x);
}

static void check_batch_line(char **save) {
  qr_hash_t sigma = vector_hash(save);
  uint32_t k = vector_u32(save), n = vector_u32(save), batch = vector_u32(save), rows[1024];
  void *scratch = vector_alloc(qr_step_batch_scratch_sz(n));
  qr_step_batch(&sigma, k, n, batch, rows, scratch);
  for (uint32_t i = 0; i < batch; i++) assert_int_equal(rows[i], vector_u32(save));
  free(scratch);
}

static void check_fixed_line(const char *key, char **save) {
  if (!strcmp(key, "digest")) {
    check_digest_line(save);
    return;
  }
  if (!strcmp(key, "batch")) {
    check_batch_line(save);
    return;
  }
  int64_t a[6] = {0}, got = 0;
  int cnt = 0;
  for (char *t; (t = strtok_r(NULL, " \n", save)) && cnt < 6;) a[cnt++] = strtoll(t, NULL, 10);
  if (!strcmp(key, "half"))
    got = qr_step_half(a[0], (int)a[1]);
  else if (!strcmp(key, "sr"))
    got = qr_step_sr(a[0], a[1], (uint32_t)a[2]);
  else if (!strcmp(key, "dither"))
    got = qr_step_dither((int8_t)a[0], (int)a[1], (uint8_t)a[2]);
  else if (!strcmp(key, "w7"))
    got = qr_step_w7((int16_t)a[0]);
  else if (!strcmp(key, "bias_at"))
    got = qr_step_bias_at((int32_t)a[0], (int)a[1]);
  else if (!strcmp(key, "err_shift"))
    got = qr_step_err_shift((uint32_t)a[0]);
  else if (!strcmp(key, "td_target"))
    got = qr_step_td_target((int32_t)a[0], a[1], (int32_t)a[2], (uint32_t)a[3], (int32_t)a[4]);
  else
    fail_msg("key %s", key);
  assert_true(cnt >= 2 && got == a[cnt - 1]);
}

static void fixed_vectors_replay(void **state) {
  (void)state;
  FILE *f = fopen(QR_TEST_DIR "/vectors/step_fixed.txt", "r");
  assert_non_null(f);
  char *line = NULL, *save, *key = "";
  size_t cap = 0;
  int cnt = 0;
  while (getline(&line, &cap, f) > 0) {
    key = strtok_r(line, " \n", &save);
    if (*key == '#') continue;
    if (!strcmp(key, "end")) break;
    check_fixed_line(key, &save);
    cnt++;
  }
  assert_true(cnt > 1000 && !strcmp(key, "end"));
  free(line);
  fclose(f);
}

/* Single ops: programs written by hand, so the interpreter is held to the program and not to a
   network. The minibatch buffers serve as inputs, the model as output. */

enum { CNT = 256 };

static void run_ops(const qr_step_op_t *ops, uint32_t op_cnt, void *model, const int8_t *obs,
                    const uint8_t *act, const int32_t *target, const qr_hash_t *sigma,
                    uint32_t lr_shift) {
  static qr_step_prog_t p;
  qr_net_t net = {.layer_cnt = 0};
  uint64_t td;
  memset(&p, 0, sizeof p);
  p.bufs[0] = (qr_step_buf_t){QR_STEP_I8, QR_STEP_BUF_OBS, CNT, 0};
  p.bufs[1] = (qr_step_buf_t){QR_STEP_I32, QR_STEP_BUF_TARGET, CNT, 0};
  p.bufs[2] = (qr_step_buf_t){QR_STEP_I16, QR_STEP_BUF_WEIGHT, CNT, 0};
  p.bufs[3] = (qr_step_buf_t){QR_STEP_I32, QR_STEP_BUF_BIAS, CNT, 2 * CNT};
  p.bufs[4] = (qr_step_buf_t){QR_STEP_I8, QR_STEP_BUF_SCRATCH, CNT, 0};
  p.bufs[5] = (qr_step_buf_t){QR_STEP_I32, QR_STEP_BUF_SCRATCH, CNT, 0};
  p.bufs[6] = (qr_step_buf_t){QR_STEP_U8, QR_STEP_BUF_ACT, CNT, 0};
  p.buf_cnt = 7;
  p.op_cnt = op_cnt;
  memcpy(p.ops, ops, op_cnt * sizeof *ops);
  void *mem = vector_alloc(1 << 16);
  qr_ref_t *r = qr_ref_init(mem, &net, &p);
  qr_ref_step(r, model, obs, act, target, sigma, 5, lr_shift, NULL, &td);
  free(mem);
}

typedef struct {
  int16_t w[CNT];
  int32_t b[CNT];
} tiny_model_t;

static const int32_t wide_values[] = {INT32_MIN, INT32_MIN + 1, -65536, -300,     -64, -1, 0, 1,
                                      63,        300,           65536,  INT32_MAX};
static const int16_t master_values[] = {INT16_MIN, INT16_MIN + 1, -64, -1, 0, 1, 63, INT16_MAX};

static void weight_update_at_extremes(void **state) {
  (void)state;
  qr_hash_t sigma = {{77}};
  qr_ars_t p = qr_ars_init(&sigma, 9u << 24 | 3u << 16 | 5u);
  for (int s = -40; s <= 100; s++) {
    tiny_model_t m;
    int32_t g[CNT];
    for (int i = 0; i < CNT; i++) {
      m.w[i] = master_values[i % 8];
      g[i] = wide_values[i % 12];
    }
    qr_step_op_t op = {.kind = QR_OP_WEIGHT_UPD,
                       .layer = 3,
                       .src0 = 1,
                       .dst = 2,
                       .m = 16,
                       .n = 16,
                       .k = 1,
                       .p0 = s - 7};
    run_ops(&op, 1, &m, NULL, NULL, g, &sigma, 7);
    for (int i = 0; i < CNT; i++) {
      int64_t want =
          master_values[i % 8] - qr_step_sr(wide_values[i % 12], s, qr_ars_byte(&p, (uint32_t)i));
      assert_int_equal(m.w[i], qr_clamp64(want, INT16_MIN, INT16_MAX));
    }
  }
}

/* ERR_QUANT then BIAS_UPD with one row: the bias becomes what the error was rounded to, at the
 * exponent carried between. */
static void error_and_bias_at_extremes(void **state) {
  (void)state;
  qr_hash_t sigma = {{78}};
  qr_ars_t pe = qr_ars_init(&sigma, 8u << 24 | 2u << 16 | 5u),
           pb = qr_ars_init(&sigma, 10u << 24 | 2u << 16 | 5u);
  for (size_t z = 0; z < QR_ARRAY_CNT(wide_values); z++)
    for (int p0 = -40; p0 <= 90; p0 += 13) {
      tiny_model_t m;
      int32_t e[CNT];
      uint32_t top = 0;
      for (int i = 0; i < CNT; i++) {
        e[i] = wide_values[z] / (i + 1);
        top = qr_step_abs32(e[i]) > top ? qr_step_abs32(e[i]) : top;
        m.b[i] = (1 << 20) - 40 * i;
      }
      int s = top > 255 ? qr_bitlen32(top) - 8 : 0;
      const qr_step_op_t ops[] = {
          {.kind = QR_OP_ERR_QUANT,
           .layer = 2,
           .src0 = 1,
           .dst = 4,
           .m = 1,
           .n = CNT,
           .k = 1,
           .p0 = 16},
          {.kind = QR_OP_BIAS_UPD,
           .layer = 2,
           .src0 = 4,
           .dst = 3,
           .m = 1,
           .n = CNT,
           .k = 1,
           .p0 = p0,
           .p1 = 1 << 20},
      };
      run_ops(ops, 2, &m, NULL, NULL, e, &sigma, 0);
      for (uint32_t i = 0; i < CNT; i++) {
        int64_t e7 = qr_clamp64(qr_step_sr(e[i], s, qr_ars_byte(&pe, i)), -64, 63);
        int64_t want =
            (1 << 20) - 40 * (int64_t)i - qr_step_sr(e7, 16 - s + p0, qr_ars_byte(&pb, i));
        assert_int_equal(m.b[i], qr_clamp64(want, -(1 << 20), 1 << 20));
      }
    }
}

/* Dense product with every transpose flag and operands at their ends, read back through a weight
 * update that adds it. */
static void product_flags_agree(void **state) {
  (void)state;
  enum { M = 4, N = 4, K = 8 };
  qr_hash_t sigma = {{79}};
  static const int8_t ends[] = {-64, 63, -64, 1, 63, 0, -1, 17};
  for (unsigned flags = 0; flags < 4; flags++) {
    int8_t a[CNT]; /* one stored matrix serves as both operands: a is read [m][k] or [k][m], b
                      [k][n] or [n][k] */
    for (int i = 0; i < CNT; i++) a[i] = ends[(i * 5 + i / 8) % 8];
    tiny_model_t m = {{0}, {0}};
    const qr_step_op_t ops[] = {
        {.kind = QR_OP_GEMM,
         .src0 = 0,
         .src1 = 0,
         .dst = 5,
         .m = M,
         .n = N,
         .k = K,
         .flags = (uint16_t)flags,
         .digest = QR_STEP_NO_DIGEST},
        {.kind = QR_OP_WEIGHT_UPD, .src0 = 5, .dst = 2, .m = M, .n = N, .k = 1},
    };
    run_ops(ops, 2, &m, a, NULL, NULL, &sigma, 0);
    for (int i = 0; i < M; i++)
      for (int j = 0; j < N; j++) {
        int32_t sum = 0;
        for (int k = 0; k < K; k++)
          sum += a[flags & QR_GEMM_A_TRANS ? k * M + i : i * K + k] *
                 a[flags & QR_GEMM_B_TRANS ? j * K + k : k * N + j];
        assert_int_equal(m.w[i * N + j], qr_clamp32(-sum, INT16_MIN, INT16_MAX));
      }
  }
}

/* Convolution addressing, one channel, every kind of stride and wrap: the product with the identity
   is the gathered matrix; scattering gives each input the sum of the columns that were read from
   it. */
static void convolution_addressing(void **state) {
  (void)state;
  static const uint16_t shapes[][4] = {{1, 1, 1, 1}, {1, 4, 1, 2}, {2, 2, 1, 1},
                                       {4, 6, 2, 3}, {6, 4, 3, 1}, {5, 3, 5, 3}};
  qr_hash_t sigma = {{80}};
  uint8_t identity[CNT] = {0};
  for (int i = 0; i < 9; i++) identity[10 * i] = 1;
  for (size_t z = 0; z < QR_ARRAY_CNT(shapes); z++) {
    uint16_t h = shapes[z][0], w = shapes[z][1], sy = shapes[z][2], sx = shapes[z][3];
    qr_step_geo_t geo = {h, w, 1, (uint16_t)(h / sy), (uint16_t)(w / sx), sy, sx, 0};
    uint32_t out = (uint32_t)geo.out_h * geo.out_w;
    int8_t x[CNT] = {0};
    int32_t col[CNT] = {0}, gathered[CNT], scattered[CNT] = {0};
    for (int i = 0; i < h * w; i++) x[i] = (int8_t)(i * 7 % 61 - 30);
    for (uint32_t r = 0; r < out; r++)
      for (uint32_t t = 0; t < 9; t++) {
        uint32_t y = (r / geo.out_w * sy + t / 3 + h - 1) % h,
                 v = (r % geo.out_w * sx + t % 3 + w - 1) % w;
        col[r * 9 + t] = (int32_t)(r * 31 + t * 17) % 41 - 20;
        gathered[r * 9 + t] = x[y * w + v];
        scattered[y * w + v] += col[r * 9 + t];
      }
    tiny_model_t m = {{0}, {0}};
    const qr_step_op_t gather[] = {
        {.kind = QR_OP_GEMM,
         .src0 = 0,
         .src1 = 6,
         .dst = 5,
         .m = out,
         .n = 9,
         .k = 9,
         .flags = QR_GEMM_A_CONV,
         .digest = QR_STEP_NO_DIGEST,
         .geo = geo},
        {.kind = QR_OP_WEIGHT_UPD, .src0 = 5, .dst = 2, .m = out, .n = 9, .k = 1},
    };
    run_ops(gather, 2, &m, x, identity, NULL, &sigma, 0);
    for (uint32_t i = 0; i < out * 9; i++) assert_int_equal(m.w[i], -gathered[i]);
    memset(&m, 0, sizeof m);
    const qr_step_op_t scatter[] = {
        {.kind = QR_OP_COL2IM, .src0 = 1, .dst = 5, .m = out, .n = 9, .k = 1, .geo = geo},
        {.kind = QR_OP_WEIGHT_UPD, .src0 = 5, .dst = 2, .m = h, .n = w, .k = 1},
    };
    run_ops(scatter, 2, &m, NULL, NULL, col, &sigma, 0);
    for (int i = 0; i < h * w; i++) assert_int_equal(m.w[i], -scattered[i]);
  }
}

/* What changes a result */

static void one_flip_changes_the_model(const qr_net_spec_t *spec, bool every_layer) {
  rig_t *g = rig_open(spec);
  qr_hash_t base = rig_run(g, g->model, 0), h = rig_run(g, g->model, 0);
  assert_true(qr_hash_eq(&base, &h));
  uint64_t base_digests[QR_STEP_GEMM_MAX_CNT];
  memcpy(base_digests, g->digests, sizeof base_digests);
  for (uint32_t l = 0; l < (every_layer ? g->net.layer_cnt : 1); l++) { /* one bit of one master */
    uint8_t *w = g->model + g->net.layers[l].w_off + 2 * (g->net.layers[l].k + 5) + 1;
    *w ^= 4;
    h = rig_run(g, g->model, 0);
    assert_false(qr_hash_eq(&base, &h));
    if (l + 1 < g->net.layer_cnt) assert_true(g->digests[l] != base_digests[l]);
    *w ^= 4;
  }
  size_t sz = g->net.in_sz; /* two rows of the minibatch change places, actions and targets too */
  int8_t *row = vector_alloc(sz);
  memcpy(row, g->obs, sz);
  memcpy(g->obs, g->obs + sz, sz);
  memcpy(g->obs + sz, row, sz);
  uint8_t act = g->act[0];
  g->act[0] = g->act[1];
  g->act[1] = act;
  int32_t target = g->target[0];
  g->target[0] = g->target[1];
  g->target[1] = target;
  h = rig_run(g, g->model, 0);
  assert_false(qr_hash_eq(&base, &h));
  assert_true(g->digests[0] != base_digests[0]);
  free(row);
  rig_close(g);
}

static void flips_and_swaps_change_the_model(void **state) {
  (void)state;
  one_flip_changes_the_model(&small_dense, true);
  one_flip_changes_the_model(&small_conv, true);
  one_flip_changes_the_model(&microgrid, false);
}

/* Another nonce gives another sigma: every chunk of the outgoing model differs, and every digest;
 * so does another k. */
static void nonce_changes_every_chunk(void **state) {
  (void)state;
  const qr_net_spec_t *specs[] = {&microgrid, &microgrid_map};
  for (size_t z = 0; z < QR_ARRAY_CNT(specs); z++) {
    rig_t *g = rig_open(specs[z]);
    uint8_t *m[3];
    uint64_t d[3][QR_STEP_GEMM_MAX_CNT], td;
    for (int i = 0; i < 3; i++) {
      qr_hash_t sigma = g->sigma;
      if (i == 1) sigma.b[7] ^= 1;
      m[i] = vector_alloc(g->net.model_sz);
      memcpy(m[i], g->model, g->net.model_sz);
      qr_ref_step(g->ref, m[i], g->obs, g->act, g->target, &sigma, i == 2, 0, d[i], &td);
    }
    for (int i = 1; i < 3; i++) {
      for (uint32_t at = 0; at < g->net.model_sz; at += QR_MODEL_CHUNK_SZ) {
        uint32_t left = g->net.model_sz - at;
        assert_memory_not_equal(m[0] + at, m[i] + at,
                                left < QR_MODEL_CHUNK_SZ ? left : QR_MODEL_CHUNK_SZ);
      }
      for (uint32_t t = 0; t < g->prog.digest_cnt; t++) assert_true(d[0][t] != d[i][t]);
    }
    for (int i = 0; i < 3; i++) free(m[i]);
    rig_close(g);
  }
}

/* Each of the 192 seed bits that reach ARS changes the result; a dither drawn from another
 * stream does too. */
static void every_key_counts(void **state) {
  (void)state;
  rig_t *g = rig_open(&small_dense);
  qr_hash_t base = rig_run(g, g->model, 0), h;
  for (int bit = 0; bit < 192; bit += 5) {
    g->sigma.b[bit / 8] ^= (uint8_t)(1 << bit % 8);
    h = rig_run(g, g->model, 0);
    assert_false(qr_hash_eq(&base, &h));
    g->sigma.b[bit / 8] ^= (uint8_t)(1 << bit % 8);
  }
  for (uint32_t i = 0; i < g->prog.op_cnt; i++) {
    if (g->prog.ops[i].kind != QR_OP_DITHER) continue;
    int32_t purpose = g->prog.ops[i].p1;
    g->prog.ops[i].p1 = 99;
    h = rig_run(g, g->model, 0);
    assert_false(qr_hash_eq(&base, &h));
    g->prog.ops[i].p1 = purpose;
  }
  rig_close(g);
}

/* What must not change a result */

static void scratch_content_does_not_matter(void **state) {
  (void)state;
  rig_t *g = rig_open(&small_conv);
  qr_hash_t base = rig_run(g, g->model, 3);
  uint64_t digests[QR_STEP_GEMM_MAX_CNT];
  memcpy(digests, g->digests, sizeof digests);
  for (int fill = 0; fill < 256; fill += 85) {
    memset(g->mem, fill, qr_ref_footprint(&g->net));
    g->ref = qr_ref_init(g->mem, &g->net, &g->prog);
    qr_hash_t h = rig_run(g, g->model, 3);
    assert_true(qr_hash_eq(&base, &h));
    assert_memory_equal(digests, g->digests, g->prog.digest_cnt * 8);
  }
  rig_close(g);
}

/* Any number of rows gives what each row gives alone; the model stays as it is; observations at
 * their ends are fine. */
static void forward_is_row_by_row(void **state) {
  (void)state;
  enum { ROWS = 75 };
  const qr_net_spec_t *specs[] = {&small_dense, &small_conv};
  for (size_t z = 0; z < QR_ARRAY_CNT(specs); z++) {
    rig_t *g = rig_open(specs[z]);
    int8_t *obs = vector_alloc((size_t)ROWS * g->net.in_sz);
    uint8_t act[ROWS];
    int32_t target[ROWS], q[3 * ROWS], one[3];
    vector_draw_replay(&g->sigma, ROWS, g->net.in_sz, 3, obs, act, target);
    memset(obs, 63, g->net.in_sz);
    memset(obs + g->net.in_sz, -64, g->net.in_sz);
    qr_hash_t before = qr_model_root(&g->net, g->model);
    qr_ref_forward(g->ref, g->model, obs, ROWS, q);
    for (uint32_t i = ROWS; i-- > 0;) {
      qr_ref_forward(g->ref, g->model, obs + (size_t)i * g->net.in_sz, 1, one);
      assert_memory_equal(one, q + 3 * i, sizeof one);
    }
    qr_hash_t after = qr_model_root(&g->net, g->model);
    assert_true(qr_hash_eq(&before, &after));
    free(obs);
    rig_close(g);
  }
}

/* It learns: the error on one fixed minibatch falls to a third. A wrong sign, scale or address does
 * not do that. */
static void error_falls(void **state) {
  (void)state;
  const qr_net_spec_t *specs[] = {&small_dense, &small_conv};
  for (size_t z = 0; z < QR_ARRAY_CNT(specs); z++) {
    rig_t *g = rig_open(specs[z]);
    uint64_t first = 0, tail = 0, td;
    for (uint32_t k = 0; k < 400; k++) {
      qr_ref_step(g->ref, g->model, g->obs, g->act, g->target, &g->sigma, k, 0, g->digests, &td);
      if (!k) first = td;
      if (k >= 392) tail += td / 8;
    }
    print_message("mean absolute TD error %.3f -> %.3f\n", (double)first / 65536 / 32,
                  (double)tail / 65536 / 32);
    assert_true(tail * 3 < first);
    rig_close(g);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(vectors_replay),
      cmocka_unit_test(fixed_vectors_replay),
      cmocka_unit_test(weight_update_at_extremes),
      cmocka_unit_test(error_and_bias_at_extremes),
      cmocka_unit_test(product_flags_agree),
      cmocka_unit_test(convolution_addressing),
      cmocka_unit_test(flips_and_swaps_change_the_model),
      cmocka_unit_test(nonce_changes_every_chunk),
      cmocka_unit_test(every_key_counts),
      cmocka_unit_test(scratch_content_does_not_matter),
      cmocka_unit_test(forward_is_row_by_row),
      cmocka_unit_test(error_falls),
  };
  return qr_crypto_init() ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
