/* The memory of hashes that peers fill: it forgets, never grows, and keeps the newest of each
   bucket. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/splitmix.h"
#include "peer/inv.h"

#define CNT 256u
#define ADD_CNT 100000u
#define GUARD 0xa5

static uint64_t seed = 3;

static qr_hash_t draw_hash(void) {
  qr_hash_t h;
  for (int i = 0; i < 32; i += 8) qr_st64(h.b + i, qr_splitmix_next(&seed));
  return h;
}

static void test_it_stays_in_its_memory(void **state) {
  (void)state;
  size_t sz = qr_inv_footprint(CNT);
  uint8_t *mem = malloc(sz + 64);
  static qr_hash_t all[ADD_CNT];
  qr_inv_t v;
  memset(mem, GUARD, sz + 64);
  qr_inv_init(&v, mem, CNT, 77);
  for (uint32_t i = 0; i < ADD_CNT; i++) {
    all[i] = draw_hash();
    qr_inv_add(&v, &all[i]);
    assert_true(qr_inv_has(&v, &all[i]));
  }
  uint32_t held_cnt = 0, newest_cnt = 0;
  for (uint32_t i = 0; i < ADD_CNT; i++) {
    bool has = qr_inv_has(&v, &all[i]);
    held_cnt += has;
    newest_cnt += has && i >= ADD_CNT - CNT / 4;
  }
  assert_int_equal(held_cnt, CNT);
  assert_true(newest_cnt > CNT / 4 - CNT / 32); /* few buckets get five of so few */
  for (size_t i = sz; i < sz + 64; i++) assert_int_equal(mem[i], GUARD);
  free(mem);
}

static void test_drop(void **state) {
  (void)state;
  uint8_t *mem = malloc(qr_inv_footprint(QR_INV_WAYS));
  qr_inv_t v;
  qr_inv_init(&v, mem, QR_INV_WAYS, 9);
  qr_hash_t h[QR_INV_WAYS];
  for (uint32_t i = 0; i < QR_INV_WAYS; i++) {
    h[i] = draw_hash();
    qr_inv_add(&v, &h[i]);
  }
  qr_inv_drop(&v, &h[1]);
  qr_inv_drop(&v, &h[1]);
  for (uint32_t i = 0; i < QR_INV_WAYS; i++) assert_int_equal(qr_inv_has(&v, &h[i]), i != 1);
  qr_inv_add(&v, &h[1]);
  assert_true(qr_inv_has(&v, &h[1]));
  free(mem);
}

static void test_twice_is_once(void **state) {
  (void)state;
  uint8_t mem[QR_INV_WAYS * 33];
  qr_hash_t h[QR_INV_WAYS], none = {{0}};
  qr_inv_t v;
  qr_inv_init(&v, mem, QR_INV_WAYS, 5);
  for (uint32_t i = 0; i < QR_INV_WAYS; i++) {
    h[i] = draw_hash();
    for (int k = 0; k < 10; k++) qr_inv_add(&v, &h[i]);
  }
  for (uint32_t i = 0; i < QR_INV_WAYS; i++) assert_true(qr_inv_has(&v, &h[i]));
  assert_false(qr_inv_has(&v, &none)); /* an empty place is nobody's */
  qr_inv_drop(&v, &h[1]);
  assert_false(qr_inv_has(&v, &h[1]));
  assert_true(qr_inv_has(&v, &h[0]) && qr_inv_has(&v, &h[2]) && qr_inv_has(&v, &h[3]));
  assert_false(qr_inv_has(&v, &none));
  qr_inv_clear(&v);
  for (uint32_t i = 0; i < QR_INV_WAYS; i++) assert_false(qr_inv_has(&v, &h[i]));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_it_stays_in_its_memory),
      cmocka_unit_test(test_twice_is_once),
      cmocka_unit_test(test_drop),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
