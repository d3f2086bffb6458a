/* What the bench is compared with computes the same: int8 products to the bit in every form, and
   the float32 step by its own gradient, by the exact network's values, and by learning. */
#include <dirent.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "app/bench_rivals.h"
#include "base/splitmix.h"
#include "step/ref.h"

static qr_rivals_t rivals;
static uint64_t seed = 20;

static uint32_t draw(uint32_t n) { return (uint32_t)(qr_splitmix_next(&seed) % n); }

static int8_t *operand(size_t cnt) {
  int8_t *x = malloc(cnt);
  assert_non_null(x);
  for (size_t i = 0; i < cnt; i++) x[i] = (int8_t)((int)draw(128) - 64);
  return x;
}

/* ---- int8 ---- */

static void expect_result(qr_rival_job_t *j, const int32_t *expected, size_t cnt) {
  int32_t *found = malloc(cnt * sizeof *found);
  assert_non_null(found);
  for (int run = 0; run < 2; run++) { /* the second run starts from what the first one left */
    assert_int_equal(rivals.int8->run(j), 0);
    memset(found, 0x55, cnt * sizeof *found);
    assert_int_equal(rivals.int8->result(j, found), 0);
    assert_memory_equal(found, expected, cnt * sizeof *found);
  }
  assert_true(*rivals.int8->implementation(j));
  rivals.int8->free(j);
  free(found);
}

static void multiply(const qr_rival_matmul_t *p, int32_t *c) {
  for (uint32_t i = 0; i < p->m; i++) {
    for (uint32_t j = 0; j < p->n; j++) {
      int32_t sum = 0;
      for (uint32_t q = 0; q < p->k; q++) {
        sum += p->a[p->a_trans ? q * p->m + i : i * p->k + q] *
               p->b[p->b_trans ? j * p->k + q : q * p->n + j];
      }
      c[i * p->n + j] = sum;
    }
  }
}

static void test_matmul(void **state) {
  static const uint32_t shapes[][3] = {{16, 32, 64}, {33, 16, 72}, {72, 32, 100}, {5, 7, 3}};
  char why[256];
  (void)state;
  if (!rivals.int8) skip();
  for (uint32_t i = 0; i < QR_ARRAY_CNT(shapes) * 4; i++) {
    const uint32_t *s = shapes[i / 4];
    int8_t *a = operand((size_t)s[0] * s[2]), *b = operand((size_t)s[2] * s[1]);
    int32_t *c = malloc((size_t)s[0] * s[1] * sizeof *c);
    qr_rival_matmul_t p = {
        .m = s[0], .n = s[1], .k = s[2], .a_trans = i & 1, .b_trans = i & 2, .a = a, .b = b};
    assert_non_null(c);
    multiply(&p, c);
    for (int form = 0; form < QR_RIVAL_OPERAND_CNT * QR_RIVAL_LAYOUT_CNT; form++) {
      qr_rival_form_t f = {form & 1 ? QR_RIVAL_U8 : QR_RIVAL_S8,
                           form & 2 ? QR_RIVAL_PACKED : QR_RIVAL_LIES};
      qr_rival_job_t *j;
      assert_int_equal(rivals.int8->matmul(&p, f, &j, why, sizeof why), 0);
      expect_result(j, c, (size_t)p.m * p.n);
    }
    free(a);
    free(b);
    free(c);
  }
}

/* Both directions of a convolution, tap by tap; a is the image or the errors, and so is c. */
static void convolve(const qr_rival_conv_t *p, int32_t *c) {
  const qr_step_geo_t *g = &p->geo;
  for (uint32_t row = 0; row < p->batch * g->out_h * g->out_w; row++) {
    uint32_t b = row / (g->out_h * g->out_w), y = row / g->out_w % g->out_h, x = row % g->out_w;
    for (uint32_t tap = 0; tap < 9; tap++) {
      uint32_t in_y = (y * g->sy + tap / 3 + g->h - 1) % g->h,
               in_x = (x * g->sx + tap % 3 + g->w - 1) % g->w;
      for (uint32_t ch = 0; ch < g->c; ch++) {
        size_t place = ((size_t)(b * g->h + in_y) * g->w + in_x) * g->c + ch;
        for (uint32_t o = 0; o < p->n; o++) {
          int32_t w = p->weights[(tap * g->c + ch) * p->n + o];
          size_t at = (size_t)row * p->n + o;
          if (p->backward)
            c[place] += p->a[at] * w;
          else
            c[at] += p->a[place] * w;
        }
      }
    }
  }
}

static void test_conv(void **state) {
  static const struct {
    qr_step_geo_t geo;
    uint32_t n;
  } shapes[] = {{{4, 24, 8, 4, 12, 1, 2, 0}, 32},
                {{4, 12, 32, 2, 6, 2, 2, 0}, 64},
                {{3, 5, 16, 3, 5, 1, 1, 0}, 16}};
  char why[256];
  (void)state;
  if (!rivals.int8) skip();
  for (uint32_t i = 0; i < QR_ARRAY_CNT(shapes) * 2; i++) {
    qr_rival_conv_t p = {
        .geo = shapes[i / 2].geo, .batch = 3, .n = shapes[i / 2].n, .backward = i & 1};
    const qr_step_geo_t *g = &p.geo;
    size_t image = (size_t)p.batch * g->h * g->w * g->c,
           out = (size_t)p.batch * g->out_h * g->out_w * p.n, cnt = p.backward ? image : out;
    int8_t *a = operand(p.backward ? out : image), *w = operand((size_t)9 * g->c * p.n);
    int32_t *c = calloc(cnt, sizeof *c);
    assert_non_null(c);
    p.a = a;
    p.weights = w;
    convolve(&p, c);
    for (int form = 0; form < QR_RIVAL_OPERAND_CNT * QR_RIVAL_LAYOUT_CNT; form++) {
      qr_rival_form_t f = {form & 1 ? QR_RIVAL_U8 : QR_RIVAL_S8,
                           form & 2 ? QR_RIVAL_PACKED : QR_RIVAL_LIES};
      qr_rival_job_t *j;
      assert_int_equal(rivals.int8->conv(&p, f, &j, why, sizeof why), 0);
      expect_result(j, c, cnt);
    }
    free(a);
    free(w);
    free(c);
  }
}

/* ---- float32 ---- */

static const qr_net_spec_t dense = {
    .in_c = 32,
    .in_h = 1,
    .in_w = 1,
    .action_cnt = 3,
    .layer_cnt = 3,
    .layers = {{.out = 48, .lr_shift = 1}, {.out = 32, .lr_shift = 1}, {.out = 3, .lr_shift = 1}},
    .batch = 32,
    .act_frac = 5};
static const qr_net_spec_t conv = {
    .in_c = 8,
    .in_h = 4,
    .in_w = 12,
    .action_cnt = 3,
    .layer_cnt = 4,
    .layers = {{.kind = QR_LAYER_CONV3, .out = 16, .stride_y = 1, .stride_x = 2, .lr_shift = 2},
               {.kind = QR_LAYER_CONV3, .out = 32, .stride_y = 2, .stride_x = 2, .lr_shift = 2},
               {.out = 48, .lr_shift = 1},
               {.out = 3, .lr_shift = 1}},
    .batch = 32,
    .act_frac = 4};

typedef struct {
  qr_net_t net;
  uint8_t *model;
  int8_t *obs7;
  float *obs, *target;
  uint8_t *act;
  qr_rival_step_t *s;
} rig_t;

static rig_t rig_new(const qr_net_spec_t *spec) {
  rig_t r;
  char why[256];
  qr_hash_t key = {{7}};
  assert_int_equal(qr_net_init(spec, &r.net, why, sizeof why), 0);
  size_t batch = spec->batch, cnt = batch * r.net.in_sz;
  r.model = malloc(r.net.model_sz);
  r.obs7 = operand(cnt);
  r.obs = malloc(cnt * sizeof *r.obs);
  r.target = malloc(batch * sizeof *r.target);
  r.act = malloc(batch);
  assert_true(r.model && r.obs && r.target && r.act);
  qr_model_init(&r.net, &key, r.model);
  for (size_t i = 0; i < cnt; i++) {
    r.obs7[i] /= 8; /* so that few activations reach the ends of their seven bits */
    r.obs[i] = (float)r.obs7[i] / 32;
  }
  for (size_t b = 0; b < batch; b++) {
    r.act[b] = (uint8_t)draw(spec->action_cnt);
    r.target[b] = (float)((int)draw(2001) - 1000) / 1000;
  }
  assert_int_equal(rivals.f32->init(&r.net, r.model, &r.s), 0);
  return r;
}

static void rig_free(rig_t *r) {
  rivals.f32->fini(r->s);
  free(r->model);
  free(r->obs7);
  free(r->obs);
  free(r->target);
  free(r->act);
}

/* Weights that seven bits hold exactly, and biases that are not nought: what differs then is the
   rounding of activations. */
static void set_model(const qr_net_t *net, uint8_t *model) {
  for (uint32_t l = 0; l < net->layer_cnt; l++) {
    const qr_layer_t *y = &net->layers[l];
    for (size_t i = 0; i < (size_t)y->k * y->n; i++)
      qr_st16(model + y->w_off + 2 * i, (uint16_t)(((int)draw(43) - 21) * 512));
    for (size_t i = 0; i < y->n; i++)
      qr_st32(model + y->b_off + 4 * i, draw(1u << 19) - (1u << 18));
  }
}

static void expect_same_values(const qr_net_spec_t *spec) {
  rig_t r = rig_new(spec);
  set_model(&r.net, r.model);
  rivals.f32->fini(r.s);
  assert_int_equal(rivals.f32->init(&r.net, r.model, &r.s), 0);
  qr_step_prog_t prog;
  qr_step_lower(&r.net, &prog);
  size_t cnt = (size_t)spec->batch * spec->action_cnt;
  int32_t *q = malloc(cnt * sizeof *q);
  void *mem = aligned_alloc(64, qr_align_up(qr_ref_footprint(&r.net), 64));
  assert_true(q && mem);
  qr_ref_forward(qr_ref_init(mem, &r.net, &prog), r.model, r.obs7, spec->batch, q);
  const float *f = rivals.f32->forward(r.s, r.obs);
  double off = 0, size = 0;
  for (size_t i = 0; i < cnt; i++) {
    double exact = (double)q[i] / 65536;
    off += (exact - (double)f[i]) * (exact - (double)f[i]);
    size += exact * exact;
  }
  assert_true(size > 0);
  if (sqrt(off / size) > 0.15) fail_msg("values are off by %g of their size", sqrt(off / size));
  free(q);
  free(mem);
  rig_free(&r);
}

static void test_values(void **state) {
  (void)state;
  if (!rivals.f32) skip();
  expect_same_values(&dense);
  expect_same_values(&conv);
}

/* What the loss does along random directions of x agrees with what a step subtracts there. after is
   x of a twin that has taken the step. One direction is inexact, for a unit may change sides of its
   bend on the way; all of them together are not. */
static void expect_slope(rig_t *r, float *x, const float *after, size_t cnt, uint32_t lr_shift) {
  float *before = malloc(cnt * sizeof *x), *along = malloc(cnt * sizeof *x);
  const float by = 1.0f / 2048 / sqrtf((float)cnt);
  double found_sq = 0, slope_sq = 0, both = 0;
  assert_true(before && along);
  memcpy(before, x, cnt * sizeof *x);
  for (int d = 0; d < 24; d++) {
    double slope = 0, side[2];
    for (size_t i = 0; i < cnt; i++) {
      along[i] = draw(2) ? by : -by;
      slope += ldexp((double)before[i] - (double)after[i], (int)lr_shift) * (double)along[i];
    }
    for (int s = 0; s < 2; s++) {
      for (size_t i = 0; i < cnt; i++) x[i] = before[i] + (s ? along[i] : -along[i]);
      side[s] = rivals.f32->loss(r->s, r->obs, r->act, r->target);
    }
    double found = (side[1] - side[0]) / 2;
    found_sq += found * found;
    slope_sq += slope * slope;
    both += found * slope;
  }
  memcpy(x, before, cnt * sizeof *x);
  double size = both / slope_sq, likeness = both / sqrt(found_sq * slope_sq);
  if (!(size > 0.93 && size < 1.07 && likeness > 0.97))
    fail_msg("gradient is %g of the loss's, likeness %g", 1 / size, likeness);
  free(before);
  free(along);
}

static void test_gradient(void **state) {
  const qr_net_spec_t *const specs[] = {&dense, &conv};
  (void)state;
  if (!rivals.f32) skip();
  for (size_t i = 0; i < QR_ARRAY_CNT(specs); i++) {
    rig_t r = rig_new(specs[i]);
    qr_rival_step_t *twin;
    assert_int_equal(rivals.f32->init(&r.net, r.model, &twin), 0);
    rivals.f32->step(twin, r.obs, r.act, r.target, 0);
    for (uint32_t l = 0; l < specs[i]->layer_cnt; l++) {
      const qr_layer_t *y = &r.net.layers[l];
      expect_slope(&r, rivals.f32->weights(r.s, l), rivals.f32->weights(twin, l),
                   (size_t)y->k * y->n, y->lr_shift);
      expect_slope(&r, rivals.f32->biases(r.s, l), rivals.f32->biases(twin, l), y->n, y->lr_shift);
    }
    rivals.f32->fini(twin);
    rig_free(&r);
  }
}

static void test_learns(void **state) {
  const qr_net_spec_t *const specs[] = {&dense, &conv};
  (void)state;
  if (!rivals.f32) skip();
  for (size_t i = 0; i < QR_ARRAY_CNT(specs); i++) {
    rig_t r = rig_new(specs[i]);
    double first = rivals.f32->step(r.s, r.obs, r.act, r.target, 2), last = first;
    for (int k = 0; k < 400; k++) last = rivals.f32->step(r.s, r.obs, r.act, r.target, 2);
    assert_true(last < first / 4);
    assert_true(last >= 0);
    rig_free(&r);
  }
}

/* Both libraries would rather use every core; that would be no comparison with one of ours. */
static void test_one_thread(void **state) {
  (void)state;
  DIR *d = opendir("/proc/self/task");
  int cnt = 0;
  assert_non_null(d);
  for (struct dirent *e; (e = readdir(d));) cnt += e->d_name[0] != '.';
  closedir(d);
  assert_int_equal(cnt, 1);
}

static int load(void **state) {
  (void)state;
  qr_rivals_load(&rivals, QR_RIVALS_DIR, NULL);
  printf("int8: %s\n", rivals.int8 ? rivals.int8_about : rivals.int8_why);
  printf("float32: %s\n", rivals.f32 ? rivals.f32_about : rivals.f32_why);
  return 0;
}

static int unload(void **state) {
  (void)state;
  qr_rivals_unload(&rivals);
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_matmul), cmocka_unit_test(test_conv),
      cmocka_unit_test(test_values), cmocka_unit_test(test_gradient),
      cmocka_unit_test(test_learns), cmocka_unit_test(test_one_thread)};
  return cmocka_run_group_tests(tests, load, unload);
}
