/* Targets, work and difficulty, against vectors of exact arithmetic (test/vectors/target.txt) and
 * by their properties. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <inttypes.h>
#include <stdio.h>

#include "base/log.h"
#include "chain/target.h"
#include "net_gen.h"

#define assert_u256_equal(a, b) assert_memory_equal(&(a), &(b), sizeof(qr_u256_t))

/* 64 hex digits, most significant first. */
static qr_u256_t number(const char *hex) {
  uint8_t be[32], le[32];
  assert_true(qr_unhex(be, 32, hex));
  for (int i = 0; i < 32; i++) le[i] = be[31 - i];
  return qr_u256_from_le(le);
}

static void check_compact(const char *line) {
  char v[65], back[65];
  uint32_t c;
  qr_u256_t out;
  assert_int_equal(sscanf(line, "compact %64s %" SCNx32 " %64s", v, &c, back), 3);
  qr_u256_t in = number(v), want = number(back);
  assert_int_equal(qr_target_compact(&in), c);
  assert_true(qr_target_expand(c, &out));
  assert_u256_equal(out, want);
}

static void check_work(const char *line) {
  char t[65], w[65];
  assert_int_equal(sscanf(line, "work %64s %64s", t, w), 2);
  qr_u256_t target = number(t), want = number(w), got = qr_target_work(&target);
  assert_u256_equal(got, want);
}

/* A ticket wins iff it is below the limit: one below does, the limit itself does not. */
static void check_limit(const char *line) {
  char t[65], l[65];
  uint32_t work;
  qr_hash_t ticket;
  assert_int_equal(sscanf(line, "limit %64s %" SCNu32 " %64s", t, &work, l), 3);
  qr_u256_t target = number(t), limit = number(l), one = qr_u256_from_u64(1);
  qr_u256_to_le(&limit, ticket.b);
  assert_false(qr_target_met(&ticket, &target, work));
  if (!qr_u256_bitlen(&limit)) return;
  limit = qr_u256_sub(&limit, &one);
  qr_u256_to_le(&limit, ticket.b);
  assert_true(qr_target_met(&ticket, &target, work));
}

static void check_next(const char *line) {
  uint32_t max, block, halflife, want;
  uint64_t anchor, time, height;
  assert_int_equal(sscanf(line,
                          "next %" SCNx32 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu32
                          " %" SCNu32 " %" SCNx32,
                          &max, &anchor, &time, &height, &block, &halflife, &want),
                   7);
  assert_int_equal(qr_target_next(max, anchor, time, height, block, halflife), want);
}

static void test_vectors(void **state) {
  (void)state;
  static const struct {
    const char *word;
    void (*check)(const char *line);
  } kinds[] = {{"compact ", check_compact},
               {"work ", check_work},
               {"limit ", check_limit},
               {"next ", check_next}};
  uint32_t cnt[4] = {0};
  char line[512];
  FILE *f = fopen(QR_TEST_DIR "/vectors/target.txt", "r");
  assert_non_null(f);
  while (fgets(line, sizeof line, f)) {
    if (line[0] == '#') continue;
    size_t k = 0;
    while (k < 4 && strncmp(line, kinds[k].word, strlen(kinds[k].word)) != 0) k++;
    assert_true(k < 4);
    kinds[k].check(line);
    cnt[k]++;
  }
  fclose(f);
  for (size_t k = 0; k < 4; k++) assert_true(cnt[k] >= 40);
}

/* A compact target is accepted iff writing its value gives it back; so every target has one form.
 */
static void test_canonical(void **state) {
  (void)state;
  gen_t g = {1};
  static const uint32_t m_edge[] = {0,        1,        0x7fff,  0x8000,   0x8001,
                                    0xff00,   0xffff,   0x10000, 0x7fff00, 0x7fffff,
                                    0x800000, 0x800001, 0xffffff};
  uint32_t accepted = 0, refused = 0;
  for (uint32_t e = 0; e < 256; e++) {
    for (size_t i = 0; i < QR_ARRAY_CNT(m_edge) + 40; i++) {
      uint32_t m =
          i < QR_ARRAY_CNT(m_edge) ? m_edge[i] : (uint32_t)gen_u64(&g) >> gen_range(&g, 8, 17);
      uint32_t c = e << 24 | m;
      uint32_t drop = e < 3 ? 8 * (3 - e) : 0; /* low bits that would be lost */
      bool ok = m >= 0x8000 && m < 0x800000 && !(m & ((UINT32_C(1) << drop) - 1)) && e <= 33 &&
                (e < 33 || m < 0x10000);
      qr_u256_t v;
      assert_int_equal(qr_target_expand(c, &v), ok);
      if (ok) assert_int_equal(qr_target_compact(&v), c);
      accepted += ok;
      refused += !ok;
    }
  }
  assert_true(accepted > 500 && refused > 500);
}

/* Writing rounds down, by less than one part in 2^15. */
static void test_compact_rounds_down(void **state) {
  (void)state;
  gen_t g = {2};
  for (int turn = 0; turn < 5000; turn++) {
    qr_u256_t v = {{gen_u64(&g), gen_u64(&g), gen_u64(&g), gen_u64(&g)}}, back;
    v = qr_u256_shr(&v, (unsigned)gen_range(&g, 0, 255));
    if (!qr_u256_bitlen(&v)) continue;
    assert_true(qr_target_expand(qr_target_compact(&v), &back));
    assert_true(qr_u256_cmp(&back, &v) <= 0);
    qr_u256_t lost = qr_u256_sub(&v, &back);
    lost = qr_u256_shl_sat(&lost, 15);
    assert_true(qr_u256_cmp(&lost, &v) < 0);
  }
}

#define MAX 0x20200000u
#define BLOCK 2000u
#define HALF 60000u
#define T0 UINT64_C(1735689600000)

static double value(uint32_t compact) {
  qr_u256_t v;
  assert_true(qr_target_expand(compact, &v));
  return qr_u256_to_double(&v);
}

static void test_next_on_schedule(void **state) {
  (void)state;
  assert_int_equal(qr_target_next(MAX, T0, T0, 0, BLOCK, HALF), MAX);
  for (uint64_t h = 0; h < 100000; h += 997) {
    assert_int_equal(qr_target_next(MAX, T0, T0 + h * BLOCK, h, BLOCK, HALF), MAX);
    assert_int_equal(qr_target_next(MAX, T0, T0 + h * BLOCK + 123456, h, BLOCK, HALF), MAX);
    assert_int_equal(qr_target_next(MAX, T0, T0 / 2, h, BLOCK, 0), MAX);
  }
}

/* One halflife early halves the target exactly, n of them divide it by 2^n. */
static void test_next_halves(void **state) {
  (void)state;
  qr_u256_t max;
  assert_true(qr_target_expand(MAX, &max));
  for (uint32_t n = 0; n <= 253; n++) {
    uint64_t h = UINT64_C(30) * n; /* 30 blocks are a halflife */
    qr_u256_t want = qr_u256_shr(&max, n);
    assert_int_equal(qr_target_next(MAX, T0, T0, h, BLOCK, HALF), qr_target_compact(&want));
  }
  for (uint32_t n = 254; n < 5000; n += 67) {
    assert_int_equal(qr_target_next(MAX, T0, T0, UINT64_C(30) * n, BLOCK, HALF), 0x01010000);
  }
}

/* Between: 2^x within 0.013 % of the truth and what the mantissa cannot hold, and never rising with
 * earliness. */
static void test_next_follows_exp2(void **state) {
  (void)state;
  const double ratio = 0.9992955486089019; /* 2^(-61/60000): no mathematics library is linked */
  uint32_t before = MAX;
  double want = value(MAX);
  for (uint64_t early = 0; early < 20 * HALF; early += 61, want *= ratio) {
    uint32_t c = qr_target_next(MAX, T0, T0 + 1000 * BLOCK - early, 1000, BLOCK, HALF);
    double got = value(c), off = got / want - 1;
    assert_true(off < 0.00013 && off > -0.00013 - 1.0 / 32768);
    assert_true(got <= value(before));
    before = c;
  }
  assert_true(value(before) < value(MAX) / 1e5);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_vectors),
      cmocka_unit_test(test_canonical),
      cmocka_unit_test(test_compact_rounds_down),
      cmocka_unit_test(test_next_on_schedule),
      cmocka_unit_test(test_next_halves),
      cmocka_unit_test(test_next_follows_exp2),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
