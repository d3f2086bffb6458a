/* Every kernel of every table of the CPU driver that this processor runs, against what kern.h says
   of it: strides, ragged ends, and values and shifts that networks seldom bring about. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#include "drivers/accel/cpu/kern.h"
#include "net_gen.h"
#include "step/fixed.h"

#define ROUNDS 60

/* The table under test, and a generator that starts anew with each. */
static const qr_cpu_kern_t *kern;
static gen_t gen;

static int64_t between(int64_t lo, int64_t hi) { return gen_range(&gen, lo, hi); }

/* cnt elements of sz bytes, each byte drawn; 64-byte aligned, as a queue's memory is. */
static void *drawn(size_t cnt, size_t sz) {
  uint8_t *p = aligned_alloc(64, qr_align_up(cnt * sz + 1, 64));
  assert_non_null(p);
  for (size_t i = 0; i < cnt * sz; i++) p[i] = (uint8_t)gen_u64(&gen);
  return p;
}

static int8_t *drawn_i8(size_t cnt, int lo, int hi) {
  int8_t *p = drawn(cnt, 1);
  for (size_t i = 0; i < cnt; i++) p[i] = (int8_t)between(lo, hi);
  return p;
}

/* Numbers of all sizes. */
static int32_t *drawn_i32(size_t cnt, int least_shift) {
  int32_t *p = drawn(cnt, 4);
  for (size_t i = 0; i < cnt; i++) p[i] >>= between(least_shift, 30);
  return p;
}

static qr_ars_t drawn_stream(void) {
  qr_hash_t seed = gen_hash(&gen);
  return qr_ars_init(&seed, (uint32_t)gen_u64(&gen));
}

static void draw_once(void) {
  uint32_t cnt = 4 * (uint32_t)between(1, 40), block = (uint32_t)gen_u64(&gen);
  qr_ars_t s = drawn_stream();
  uint32_t *got = drawn(cnt + 1, 16), want[4], after = got[4 * cnt];
  kern->draw(got, &s, block, cnt);
  for (uint32_t i = 0; i < cnt; i++) {
    qr_ars_block(&s, block + i, want);
    assert_memory_equal(got + 4 * i, want, sizeof want);
  }
  assert_int_equal(got[4 * cnt], after);
  free(got);
}

static void w7_once(void) {
  size_t cnt = (size_t)between(1, 600);
  int d = (int)between(0, 8);
  int16_t *src = drawn(cnt, 2);
  int8_t *got = drawn(cnt + 1, 1), after = got[cnt];
  kern->w7(got, src, cnt, (int8_t)(-64 + d), (int8_t)(63 - d));
  for (size_t i = 0; i < cnt; i++)
    assert_int_equal(got[i], qr_clamp32(qr_step_w7(src[i]), -64 + d, 63 - d));
  assert_int_equal(got[cnt], after);
  free(src), free(got);
}

static void dither_once(void) {
  size_t cnt = (size_t)between(1, 9000), at = QR_CPU_DRAW * (size_t)between(0, 99);
  qr_cpu_dither_t d = {(int)between(0, 8), between(0, 1) ? 64 : 0, between(0, 1)};
  qr_ars_t s = drawn_stream();
  int lo = d.bounded ? -64 + d.d : -64, hi = d.bounded ? 63 - d.d : 63;
  int8_t *src = drawn_i8(cnt, lo, hi), *got = drawn(cnt + 1, 1), after = got[cnt];
  kern->dither(got, src, at, cnt, &d, &s);
  for (size_t i = 0; i < cnt; i++) {
    int8_t want = d.d ? qr_step_dither(src[i], d.d, qr_ars_nibble(&s, (uint32_t)(at + i))) : src[i];
    assert_int_equal(got[i], (int8_t)(want + d.plus));
  }
  assert_int_equal(got[cnt], after);
  free(src), free(got);
}

/* Two rounds in three take whole panels, as most networks have them. */
static void pack_once(void) {
  uint32_t groups = (uint32_t)between(1, 20), n = (uint32_t)between(1, 90);
  if (between(0, 2)) n = (uint32_t)qr_align_up(n, QR_CPU_PANEL);
  size_t row = n + (size_t)between(0, 9), group = 4 * row, panel_sz = groups * 64 + 64;
  size_t panels = qr_align_up(n, QR_CPU_PANEL) / QR_CPU_PANEL;
  int8_t plus = between(0, 1) ? 64 : 0, *src = drawn_i8(groups * group, -64, 63);
  int8_t *got = drawn(panels * panel_sz, 1);
  kern->pack(got, panel_sz, src, groups, n, group, row, plus);
  for (uint32_t g = 0; g < groups; g++) {
    for (uint32_t j = 0; j < panels * QR_CPU_PANEL; j++) {
      for (uint32_t r = 0; r < 4; r++) {
        int want = j < n ? src[g * group + r * row + j] + plus : 0;
        size_t at = j / QR_CPU_PANEL * panel_sz + g * 64 + j % QR_CPU_PANEL * 4 + r;
        assert_int_equal(got[at], (int8_t)want);
      }
    }
  }
  free(src), free(got);
}

static void pack_trans_once(void) {
  uint32_t k4 = (uint32_t)between(1, 40), n = QR_CPU_PANEL * (uint32_t)between(1, 5);
  size_t ld = 4 * (k4 + (size_t)between(0, 3)), panel_sz = 64 * (k4 + (size_t)between(0, 2));
  int8_t *src = drawn_i8(n * ld, -64, 63), *got = drawn(n / QR_CPU_PANEL * panel_sz, 1);
  int32_t *init = drawn_i32(n, 8), *from = drawn(n, 4);
  memcpy(from, init, n * sizeof *init);
  kern->pack_trans(got, panel_sz, src, k4, n, ld);
  kern->sums(init, got, panel_sz, k4, n);
  for (uint32_t j = 0; j < n; j++) {
    int32_t sum = 0;
    for (uint32_t q = 0; q < 4 * k4; q++) {
      size_t at = j / QR_CPU_PANEL * panel_sz + q / 4 * 64 + j % QR_CPU_PANEL * 4 + q % 4;
      assert_int_equal(got[at], src[j * ld + q]);
      sum += src[j * ld + q];
    }
    assert_int_equal(init[j], from[j] - 64 * sum);
  }
  free(src), free(got), free(init), free(from);
}

/* Checks every pixel of a padded image; of four samples side by side if wide is 4. */
static void image_check(const int8_t *got, const int8_t *src, size_t stride, uint32_t wide,
                        const qr_cpu_image_t *g) {
  for (uint32_t y = 0; y < g->h + 1 + g->below; y++) {
    for (uint32_t x = 0; x < g->w + 1 + g->right; x++) {
      const int8_t *p = got + y * (size_t)g->pitch + g->lead + x * g->pixel - g->pixel;
      const int8_t *from = src + (((y + g->h - 1) % g->h) * g->w + (x + g->w - 1) % g->w) *
                                     (size_t)(g->pixel / wide);
      for (uint32_t i = 0; i < g->pixel; i++)
        assert_int_equal(p[i], from[i % wide * stride + i / wide] + (wide == 4 ? 64 : 0));
    }
  }
}

static void image_once(void) {
  qr_cpu_image_t g = {.h = (uint32_t)between(1, 6), .w = (uint32_t)between(1, 9)};
  g.right = between(0, 1), g.below = between(0, 1);
  g.pixel = 32 * (uint32_t)between(1, 9);
  g.lead = g.pixel + 8 * (uint32_t)between(0, 2);
  g.pitch = (g.w + 1 + g.right) * g.pixel + 8 * (uint32_t)between(0, 2);
  size_t sz = (size_t)g.h * g.w * g.pixel, stride = sz / 4 + (size_t)between(0, 9),
         padded = (g.h + 1 + g.below) * (size_t)g.pitch + g.lead;
  int8_t *src = drawn_i8(sz + 4 * stride, -64, 63), *got = drawn(padded + 1, 1);
  int8_t after = got[padded];
  kern->image(got, src, &g);
  image_check(got, src, 0, 1, &g);
  kern->image4(got, src, stride, &g);
  image_check(got, src, stride, 4, &g);
  assert_int_equal(got[padded], after);
  free(src), free(got);
}

/* A product of one of three kinds: rows as they lie, transposed panels, offsets without order. */
typedef struct {
  qr_cpu_gemm_t g;
  int8_t *a, *b;
  uint32_t *row, *step, *c_row, *key;
  int32_t *init, *c, *want;
  uint64_t *rho, digest;
  size_t c_cnt;
} product_t;

static void product_open(product_t *p) {
  uint32_t m = QR_CPU_TILE * (uint32_t)between(1, 20), n = QR_CPU_PANEL * (uint32_t)between(1, 4),
           k4 = (uint32_t)between(1, between(0, 3) ? 80 : 300), kind = (uint32_t)between(0, 2);
  int ends = (int)between(0, 2); /* values: any, or the ends of their range */
  size_t cnt = (size_t)m * k4 * 4, ldc = n + (size_t)between(0, 5),
         panel_sz = 64 * (k4 + (size_t)between(0, 1)), b_cnt = n / QR_CPU_PANEL * panel_sz;
  *p = (product_t){.c_cnt = m * ldc};
  p->a = ends ? drawn_i8(cnt, ends == 1 ? 0 : 127, ends == 1 ? 0 : 127) : drawn_i8(cnt, 0, 127);
  p->b = ends ? drawn_i8(b_cnt, -64, -64) : drawn_i8(b_cnt, -64, 63);
  p->row = drawn(m, 4), p->c_row = drawn(m, 4), p->step = drawn(k4, 4);
  for (uint32_t i = 0; i < m; i++) {
    p->row[i] = kind == 0 ? i * k4 * 4 : i / 8 * k4 * 32 + i % 8 * 4;
    if (kind == 2) p->row[i] = (uint32_t)between(0, (m - 1) * k4 * 4);
    p->c_row[i] = (m - 1 - i) * (uint32_t)ldc;
  }
  for (uint32_t i = 0; i < k4; i++) {
    p->step[i] = kind == 0 ? 4 * i : 32 * i;
    if (kind == 2) p->step[i] = (uint32_t)between(0, 4 * k4 - 4);
  }
  p->init = drawn_i32(n, 4), p->c = drawn_i32(p->c_cnt, 4), p->want = drawn(p->c_cnt, 4);
  p->key = drawn(QR_CPU_TILE * (size_t)n, 4), p->rho = drawn(m / QR_CPU_TILE, 8);
  memcpy(p->want, p->c, p->c_cnt * 4);
  p->g = (qr_cpu_gemm_t){.m = m, .n = n, .k4 = k4, .a = p->a, .row = p->row, .step = p->step};
  p->g.b = p->b, p->g.panel_sz = panel_sz, p->g.init = p->init, p->g.c = p->c, p->g.ldc = ldc,
  p->g.add = between(0, 1);
  p->g.c_row = between(0, 1) ? p->c_row : NULL;
  p->g.key = between(0, 1) ? p->key : NULL, p->g.ldk = n, p->g.rho = p->rho;
  p->g.digest = &p->digest;
}

static void product_close(product_t *p) {
  free(p->a), free(p->b), free(p->row), free(p->step), free(p->c_row), free(p->key);
  free(p->init), free(p->c), free(p->want), free(p->rho);
}

static int32_t element(const qr_cpu_gemm_t *g, uint32_t i, uint32_t j) {
  const int8_t *b = g->b + j / QR_CPU_PANEL * g->panel_sz + j % QR_CPU_PANEL * 4;
  int32_t sum = g->init[j];
  for (uint32_t q = 0; q < 4 * g->k4; q++)
    sum += g->a[g->row[i] + g->step[q / 4] + q % 4] * b[q / 4 * 64 + q % 4];
  return sum;
}

static void gemm_once(void) {
  product_t p;
  product_open(&p);
  const qr_cpu_gemm_t *g = &p.g;
  uint64_t want = 0;
  for (uint32_t i = 0; i < g->m; i++) {
    for (uint32_t j = 0; j < g->n; j += 2) {
      uint32_t pair[2];
      for (uint32_t e = 0; e < 2; e++) {
        int32_t v = element(g, i, j + e);
        size_t at = (g->c_row ? g->c_row[i] : i * g->ldc) + j + e;
        p.want[at] = v + (g->add ? p.want[at] : 0);
        pair[e] = (uint32_t)v ^ p.key[i % QR_CPU_TILE * g->n + j + e];
      }
      want += p.rho[i / QR_CPU_TILE] * ((uint64_t)pair[0] * pair[1]);
    }
  }
  kern->gemm(g);
  assert_memory_equal(p.c, p.want, p.c_cnt * 4);
  assert_true(p.digest == (g->key ? want : 0));
  product_close(&p);
}

/* The dot product of two rows. */
static int32_t dot(const int8_t *a, const int8_t *b, uint32_t k) {
  int32_t sum = 0;
  for (uint32_t q = 0; q < k; q++) sum += a[q] * b[q];
  return sum;
}

static void thin_once(void) {
  uint32_t rows = (uint32_t)between(1, 20), n = (uint32_t)between(1, 20),
           k = 16 * (uint32_t)between(1, 20);
  int least = between(0, 3) ? -64 : 63; /* or all the same */
  int8_t *a = drawn_i8((size_t)rows * k, least, 63), *b = drawn_i8((size_t)n * k, -64, 63);
  int32_t *got = drawn(rows * n + 1, 4), after = got[rows * n];
  kern->thin(got, a, b, rows, n, k);
  for (uint32_t i = 0; i < rows * n; i++)
    assert_int_equal(got[i], dot(a + (size_t)i / n * k, b + (size_t)(i % n) * k, k));
  assert_int_equal(got[rows * n], after);
  free(a), free(b), free(got);
}

static void thin_back_once(void) {
  uint32_t rows = (uint32_t)between(1, 20), cols = QR_CPU_PANEL * (uint32_t)between(1, 9),
           k4 = between(0, 2) ? 1 : (uint32_t)between(1, 64), all = 0;
  int most = between(0, 3) ? 63 : -64;
  size_t cnt = (size_t)rows * cols;
  int8_t *a = drawn_i8((size_t)rows * k4 * 4, -64, most),
         *b = drawn_i8((size_t)cols * k4 * 4, -64, most);
  int8_t *x = drawn_i8(cnt, -64, 63);
  int32_t *got = drawn(cnt + 1, 4), after = got[cnt];
  uint32_t or = kern->thin_back(got, a, b, x, rows, cols, k4);
  for (size_t i = 0; i < cnt; i++) {
    int32_t v = dot(a + i / cols * k4 * 4, b + i % cols * k4 * 4, k4 * 4);
    v = x[i] < 0 ? v >> 3 : v;
    assert_int_equal(got[i], v);
    all |= qr_step_abs32(v);
  }
  assert_int_equal(or, all);
  assert_int_equal(got[cnt], after);
  free(a), free(b), free(x), free(got);
}

static void digest_once(void) {
  uint32_t rows = QR_CPU_TILE * (uint32_t)between(1, 8), cols = 16 * (uint32_t)between(1, 4);
  size_t ldx = cols + (size_t)between(0, 3), ldk = cols + (size_t)between(0, 9);
  int32_t *x = drawn(rows * ldx, 4);
  uint32_t *key = drawn(QR_CPU_TILE * ldk, 4);
  uint64_t *rho = drawn(rows / QR_CPU_TILE, 8), want = 0;
  for (uint32_t i = 0; i < rows; i++) {
    for (uint32_t j = 0; j < cols; j += 2) {
      const uint32_t *k = key + i % QR_CPU_TILE * ldk + j;
      uint32_t a = (uint32_t)x[i * ldx + j] ^ k[0], b = (uint32_t)x[i * ldx + j + 1] ^ k[1];
      want += rho[i / QR_CPU_TILE] * ((uint64_t)a * b);
    }
  }
  assert_true(kern->digest(x, ldx, rows, cols, key, ldk, rho) == want);
  free(x), free(key), free(rho);
}

static void act_once(void) {
  uint32_t rows = 4 * (uint32_t)between(1, 8), cols = QR_CPU_PANEL * (uint32_t)between(1, 5);
  size_t ldc = cols + (size_t)between(0, 3), ldd = cols + (size_t)between(0, 5);
  int shift = (int)between(1, 24), d = (int)between(0, 8);
  int8_t plus = between(0, 1) ? 64 : 0, *got = drawn(rows * ldd, 1);
  int32_t *c = drawn_i32(rows * ldc, 2), *bias = drawn_i32(cols, 2);
  kern->act(got, ldd, c, ldc, bias, rows, cols, shift, (int8_t)(-64 + d), (int8_t)(63 - d), plus);
  for (uint32_t i = 0; i < rows; i++) {
    for (uint32_t j = 0; j < cols; j++) {
      int64_t v = (int64_t)c[i * ldc + j] + bias[j];
      v = qr_clamp64(qr_step_half(v < 0 ? v >> 3 : v, shift), -64 + d, 63 - d);
      assert_int_equal(got[i * ldd + j], (int8_t)(v + plus));
    }
  }
  free(got), free(c), free(bias);
}

static void mask_once(void) {
  uint32_t rows = (uint32_t)between(1, 20), cols = QR_CPU_PANEL * (uint32_t)between(1, 5), all = 0;
  bool place = between(0, 1);
  size_t ldc = cols + (size_t)between(0, 3), lde = place ? ldc : cols, ldx = cols + 1;
  int32_t *c = drawn_i32(rows * ldc, 0), *from = drawn(rows * ldc, 4);
  int32_t *e = place ? c : drawn(rows * lde, 4);
  int8_t *x = drawn_i8(rows * ldx, -64, 63);
  memcpy(from, c, rows * ldc * 4);
  uint32_t got = kern->mask(e, lde, c, ldc, x, ldx, rows, cols);
  for (uint32_t i = 0; i < rows; i++) {
    for (uint32_t j = 0; j < cols; j++) {
      int32_t v = from[i * ldc + j];
      v = x[i * ldx + j] < 0 ? v >> 3 : v;
      assert_int_equal(e[i * lde + j], v);
      all |= qr_step_abs32(v);
    }
  }
  assert_int_equal(got, all);
  if (!place) free(e);
  free(c), free(from), free(x);
}

/* |e| < 2^(shift + 8), as the shift is chosen; a third at the very end. */
static void round_once(void) {
  uint32_t rows = (uint32_t)between(1, 40), n = (uint32_t)between(1, 400);
  size_t cnt = (size_t)rows * n, at = 64 * (size_t)between(0, 99);
  qr_cpu_round_t p = {(int)between(0, 24), (int8_t)between(-64, -60), (int8_t)between(59, 63)};
  qr_ars_t s = drawn_stream();
  int32_t *e = drawn(cnt, 4), *sum = calloc(n, 4), *want = calloc(n, 4);
  int8_t *got = drawn(cnt + 1, 1), after = got[cnt];
  int64_t lim = ((int64_t)1 << (p.shift + 8)) - 1, lo = qr_clamp64(-lim, INT32_MIN, 0),
          hi = qr_clamp64(lim, 0, INT32_MAX);
  for (size_t i = 0; i < cnt; i++)
    e[i] = (int32_t)(i % 3 ? between(lo, hi) : between(0, 1) ? lo : hi);
  kern->round(got, sum, e, at, rows, n, &p, &s);
  for (size_t i = 0; i < cnt; i++) {
    uint8_t r = qr_ars_byte(&s, (uint32_t)(at + i));
    int32_t v = (int32_t)qr_clamp64(qr_step_sr(e[i], p.shift, r), -64, 63);
    want[i % n] += v;
    assert_int_equal(got[i], qr_clamp32(v, p.lo, p.hi));
  }
  assert_memory_equal(sum, want, n * 4);
  assert_int_equal(got[cnt], after);
  free(e), free(sum), free(want), free(got);
}

static void update_once(void) {
  uint32_t rows = (uint32_t)between(1, 9), cols = (uint32_t)between(1, 70), most = 1u << 31;
  size_t ldw = cols + (size_t)between(0, 5), ldg = cols + (size_t)between(0, 5), ldr = cols + 3;
  int shift = (int)between(-31, 62);
  int32_t *g = drawn_i32(rows * ldg, (int)between(0, 16));
  int16_t *w = drawn(rows * ldw, 2), *want = drawn(rows * ldw, 2);
  uint8_t *r = drawn(rows * ldr, 1);
  most -= 4096; /* the network's limits: 64 * 64 * k */
  for (size_t i = 0; i < rows * ldg; i++) g[i] = (int32_t)qr_clamp64(g[i], -(int64_t)most, most);
  memcpy(want, w, rows * ldw * 2);
  kern->update(w, ldw, g, ldg, r, ldr, rows, cols, shift, most);
  for (uint32_t i = 0; i < rows; i++) {
    for (uint32_t j = 0; j < cols; j++) {
      int16_t *v = &want[i * ldw + j];
      *v = (int16_t)qr_clamp64(*v - qr_step_sr(g[i * ldg + j], shift, r[i * ldr + j]), INT16_MIN,
                               INT16_MAX);
    }
  }
  assert_memory_equal(w, want, rows * ldw * 2);
  free(g), free(w), free(want), free(r);
}

/* The same inputs for every table. */
static void each_kernel(void (*once)(void)) {
  for (uint32_t i = 0; qr_cpu_kernels[i]; i++) {
    kern = qr_cpu_kernels[i];
    if (!kern->supported()) continue;
    gen = (gen_t){7};
    for (int r = 0; r < ROUNDS; r++) once();
  }
}

#define TEST(name)                                                                                 \
  static void test_##name(void **st) {                                                             \
    (void)st;                                                                                      \
    each_kernel(name##_once);                                                                      \
  }
TEST(draw)
TEST(w7)
TEST(dither)
TEST(pack)
TEST(pack_trans)
TEST(image)
TEST(gemm)
TEST(thin)
TEST(thin_back)
TEST(digest)
TEST(act)
TEST(mask)
TEST(round)
TEST(update)

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_draw),       cmocka_unit_test(test_w7),
      cmocka_unit_test(test_dither),     cmocka_unit_test(test_pack),
      cmocka_unit_test(test_pack_trans), cmocka_unit_test(test_image),
      cmocka_unit_test(test_gemm),       cmocka_unit_test(test_thin),
      cmocka_unit_test(test_thin_back),  cmocka_unit_test(test_digest),
      cmocka_unit_test(test_act),        cmocka_unit_test(test_mask),
      cmocka_unit_test(test_round),      cmocka_unit_test(test_update)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
