/* peer/txs: the newest are found, the oldest are gone, whatever hashes are chosen. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>

#include "crypto/hash.h"
#include "peer/txs.h"

/* Every fourth shares its first eight bytes with the one before. */
static qr_hash_t id_of(uint32_t i) {
  uint32_t base = i % 4 == 3 ? i - 1 : i;
  qr_hash_t h = qr_hash("test.tx", &base, sizeof base);
  qr_st32(h.b + 16, i);
  return h;
}

static void tx_of(uint32_t i, uint8_t tx[QR_TX_SZ]) {
  memset(tx, (int)(i % 251), QR_TX_SZ);
  qr_st32(tx, i);
}

static void test_newest(void **state) {
  (void)state;
  enum { CNT = 3 * QR_TXS_CNT + 17 };
  qr_txs_t t;
  uint8_t tx[QR_TX_SZ];
  void *mem = malloc(qr_txs_footprint());
  qr_txs_init(&t, mem, 77);
  assert_null(qr_txs_find(&t, 0));
  for (uint32_t i = 0; i < CNT; i++) {
    qr_hash_t id = id_of(i), before = id_of(i / 2);
    tx_of(i, tx);
    assert_null(qr_txs_get(&t, &id));
    qr_txs_add(&t, &id, tx, i);
    qr_txs_add(&t, &id, tx, i + 1); /* again: nothing */
    assert_int_equal(qr_txs_held(&t), i + 1 < QR_TXS_CNT ? i + 1 : QR_TXS_CNT);
    const qr_txs_entry_t *e = qr_txs_get(&t, &before);
    assert_int_equal(!e, i / 2 + QR_TXS_CNT <= i);
  }
  for (uint32_t i = 0; i < CNT; i++) {
    qr_hash_t id = id_of(i);
    const qr_txs_entry_t *e = qr_txs_get(&t, &id);
    assert_int_equal(!e, i + QR_TXS_CNT < CNT);
    if (!e) continue;
    tx_of(i, tx);
    assert_memory_equal(e->tx, tx, QR_TX_SZ);
    assert_int_equal(e->at_ns, i);
    e = qr_txs_find(&t, qr_ld64(id.b));
    assert_non_null(e);
    assert_memory_equal(e->id.b, id.b, 8);
  }
  free(mem);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_newest)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
