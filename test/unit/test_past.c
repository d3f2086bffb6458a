/* What is remembered of old blocks, against a plain list; and how little it takes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/splitmix.h"
#include "chain/past.h"

#define CNT 20000u

static uint64_t seed = 7;
static qr_node_t nodes[CNT + 1];
static uint32_t asked_cnt;

static bool is_node(void *ctx, uint64_t height, const qr_hash_t *hash) {
  (void)ctx;
  asked_cnt++;
  return qr_hash_eq(&nodes[height].hash, hash);
}

static qr_hash_t draw_hash(void) {
  qr_hash_t h;
  for (int i = 0; i < 32; i += 8) qr_st64(h.b + i, qr_splitmix_next(&seed));
  return h;
}

static qr_past_t *make_past(void) {
  qr_past_t *p = qr_past_init();
  assert_non_null(p);
  for (uint32_t i = 1; i <= CNT; i++) {
    qr_node_t *n = &nodes[i];
    n->header.height = i;
    n->header.target = 0x207fffff - i % 1000;
    n->header.reward = (uint32_t)qr_splitmix_next(&seed) & 0xffff;
    n->hash = draw_hash();
    if (i % 5 == 0) memcpy(n->hash.b, nodes[i - 3].hash.b, 4); /* found only by asking twice */
    qr_u256_t target;
    assert_true(qr_target_expand(n->header.target, &target));
    target = qr_target_work(&target);
    n->work = qr_u256_add_sat(&nodes[i - 1].work, &target);
    n->reward_sum = nodes[i - 1].reward_sum + n->header.reward;
    assert_int_equal(qr_past_add(p, n), 0);
    assert_int_equal(qr_past_height(p), i);
  }
  return p;
}

static void test_heights_are_found(void **state) {
  (void)state;
  qr_past_t *p = make_past();
  uint64_t height;
  asked_cnt = 0;
  for (uint32_t i = 1; i <= CNT; i++) {
    assert_true(qr_past_find(p, &nodes[i].hash, is_node, NULL, &height));
    assert_int_equal(height, i);
  }
  assert_true(asked_cnt < CNT + CNT / 2); /* the store is hardly ever asked in vain */
  asked_cnt = 0;
  for (uint32_t i = 0; i < CNT; i++) {
    qr_hash_t h = draw_hash();
    assert_false(qr_past_find(p, &h, is_node, NULL, &height));
  }
  assert_true(asked_cnt < 8);
  qr_past_fini(p);
}

static void test_sums(void **state) {
  (void)state;
  qr_past_t *p = make_past();
  for (uint32_t i = 0; i <= CNT; i++) {
    qr_past_sum_t s = qr_past_sum(p, i);
    assert_true(s.height <= i && i - s.height < QR_PAST_SUM_STEP);
    while (s.height < i) s = qr_past_sum_next(&s, &nodes[s.height + 1].header);
    assert_int_equal(s.height, i);
    assert_int_equal(s.reward_sum, nodes[i].reward_sum);
    assert_int_equal(qr_u256_cmp(&s.work, &nodes[i].work), 0);
  }
  qr_past_fini(p);
}

static void test_it_takes_little(void **state) {
  (void)state;
  qr_past_t *p = make_past();
  assert_true(qr_past_sz(p) < 32 * CNT);
  qr_past_fini(p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_heights_are_found),
      cmocka_unit_test(test_sums),
      cmocka_unit_test(test_it_takes_little),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
