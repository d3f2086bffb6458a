/* chain/mempool: what gets in, what makes way, what stays; and a random run whose every state is
   checked. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>

#include "chain/mempool.h"
#include "crypto/hash.h"
#include "crypto/sign.h"
#include "net_gen.h"

#define CHAIN_ID 9u
#define KEY_CNT 8u
#define MINUTE 60000000000ull

static qr_key_t keys[KEY_CNT];
static qr_ledger_t *ledger;
static qr_mempool_t *pool;
static uint64_t now = 1000;

static int setup(void **state) {
  (void)state;
  if (qr_crypto_init()) return -1;
  for (uint32_t i = 0; i < KEY_CNT; i++) {
    uint8_t seed[32] = {(uint8_t)i, 3};
    qr_key_from_seed(seed, &keys[i]);
  }
  return 0;
}

static void begin(uint32_t max_cnt, uint64_t fee_min, uint64_t keep_ns) {
  ledger = qr_ledger_init();
  for (uint32_t i = 0; i < KEY_CNT; i++)
    qr_ledger_set(ledger, &(qr_account_t){.pk = keys[i].pk, .balance = 1000000, .seq = 10});
  qr_mempool_cfg_t cfg = {
      .max_cnt = max_cnt, .fee_min = fee_min, .keep_ns = keep_ns, .chain_id = CHAIN_ID};
  pool = qr_mempool_init(&cfg);
  assert_non_null(pool);
}

static void end(void) {
  qr_mempool_fini(pool);
  qr_ledger_fini(ledger);
}

static void make(uint32_t key, uint64_t seq, uint64_t amount, uint64_t fee, uint8_t out[QR_TX_SZ]) {
  qr_tx_t tx = {.kind = QR_TX_TRANSFER,
                .from = keys[key].pk,
                .to = keys[(key + 1) % KEY_CNT].pk,
                .amount = amount,
                .fee = fee,
                .seq = seq};
  qr_hash_t h = qr_tx_sign_hash(&tx, CHAIN_ID);
  qr_sign(&keys[key], &h, sizeof h, &tx.sig);
  qr_tx_encode(&tx, out);
}

static enum qr_verdict add(uint32_t key, uint64_t seq, uint64_t amount, uint64_t fee) {
  uint8_t tx[QR_TX_SZ];
  qr_hash_t id;
  make(key, seq, amount, fee, tx);
  return qr_mempool_add(pool, ledger, tx, now, &id);
}

static bool has(uint32_t key, uint64_t seq) {
  for (uint32_t i = 0; i < qr_mempool_cnt(pool); i++) {
    const qr_tx_t *tx = &qr_mempool_at(pool, i)->tx;
    if (tx->seq == seq && qr_pubkey_eq(&tx->from, &keys[key].pk)) return true;
  }
  return false;
}

static qr_mempool_stats_t stats(void) {
  qr_mempool_stats_t st;
  qr_mempool_stats(pool, &st);
  return st;
}

static void test_door(void **state) {
  (void)state;
  begin(100, 5, 0);
  uint8_t tx[QR_TX_SZ];
  qr_hash_t id;
  assert_int_equal(add(0, 10, 1, 4), QR_VERDICT_TX_FEE);
  assert_int_equal(add(0, 9, 1, 5), QR_VERDICT_TX_SEQUENCE);
  assert_int_equal(add(0, 11, 1, 5), QR_VERDICT_TX_SEQUENCE);
  assert_int_equal(add(0, 10, 999996, 5), QR_VERDICT_TX_BALANCE);
  assert_int_equal(add(0, 10, UINT64_MAX, 5), QR_VERDICT_TX_BALANCE);
  make(0, 10, 1, 5, tx);
  tx[QR_TX_SZ - 1] ^= 1;
  assert_int_equal(qr_mempool_add(pool, ledger, tx, now, &id), QR_VERDICT_TX_SIGNATURE);
  tx[0] = 7;
  assert_int_equal(qr_mempool_add(pool, ledger, tx, now, &id), QR_VERDICT_TX_SYNTAX);
  assert_int_equal(qr_mempool_cnt(pool), 0);
  assert_int_equal(stats().refused, 7);
  assert_int_equal(add(0, 10, 500000, 5), QR_VERDICT_OK);
  assert_int_equal(add(0, 10, 500000, 5), QR_VERDICT_DUPLICATE);
  assert_int_equal(add(0, 11, 499991, 5), QR_VERDICT_TX_BALANCE); /* both together are too much */
  assert_int_equal(add(0, 11, 499990, 5), QR_VERDICT_OK);
  for (uint32_t i = 0; i < QR_MEMPOOL_SENDER_MAX_CNT; i++)
    assert_int_equal(add(1, 10 + i, 1, 5), QR_VERDICT_OK);
  assert_int_equal(add(1, 10 + QR_MEMPOOL_SENDER_MAX_CNT, 1, 5), QR_VERDICT_TX_LIMIT);
  assert_int_equal(stats().taken, 2 + QR_MEMPOOL_SENDER_MAX_CNT);
  end();
}

static void test_replace(void **state) {
  (void)state;
  begin(3, 1, 0);
  for (uint64_t i = 0; i < 3; i++) assert_int_equal(add(0, 10 + i, 100000, 80), QR_VERDICT_OK);
  assert_int_equal(add(0, 11, 1, 80), QR_VERDICT_TX_FEE);
  assert_int_equal(add(0, 11, 1, 90), QR_VERDICT_TX_FEE);          /* an eighth is not enough */
  assert_int_equal(add(0, 11, 900000, 91), QR_VERDICT_TX_BALANCE); /* with what follows it */
  assert_int_equal(add(0, 11, 2, 91), QR_VERDICT_OK); /* in a full pool nobody has to go */
  assert_int_equal(qr_mempool_cnt(pool), 3);
  assert_int_equal(stats().replaced, 1);
  assert_int_equal(stats().evicted, 0);
  for (uint64_t i = 0; i < 3; i++) assert_true(has(0, 10 + i));
  end();
}

static void test_full(void **state) {
  (void)state;
  begin(4, 1, 0);
  assert_int_equal(add(0, 10, 1, 2), QR_VERDICT_OK);
  assert_int_equal(add(0, 11, 1, 500),
                   QR_VERDICT_OK); /* worth 2: it cannot come before the other */
  assert_int_equal(qr_mempool_fee_min(pool, now), 1);
  assert_int_equal(add(1, 10, 1, 30), QR_VERDICT_OK);
  assert_int_equal(add(2, 10, 1, 40), QR_VERDICT_OK);
  assert_int_equal(add(3, 10, 1, 2), QR_VERDICT_TX_FEE);   /* worth no more than the cheapest */
  assert_int_equal(add(0, 12, 1, 900), QR_VERDICT_TX_FEE); /* for its own sender nobody makes way */
  assert_int_equal(qr_mempool_floor(pool, now), 1);
  assert_int_equal(qr_mempool_fee_min(pool, now), 3);
  assert_int_equal(add(3, 10, 1, 3), QR_VERDICT_OK);
  assert_false(has(0, 11));
  assert_true(has(0, 10)); /* the last of a sender goes first */
  assert_int_equal(qr_mempool_floor(pool, now), 3);
  assert_int_equal(add(4, 10, 1, 2), QR_VERDICT_TX_FEE);
  assert_int_equal(add(4, 10, 1, 33), QR_VERDICT_OK); /* in place of 0's other */
  assert_int_equal(add(5, 10, 1, 34), QR_VERDICT_OK); /* 3's */
  assert_int_equal(add(6, 10, 1, 35), QR_VERDICT_OK); /* 1's */
  assert_true(has(2, 10) && has(4, 10) && has(5, 10) && has(6, 10));
  assert_int_equal(stats().evicted, 4);
  assert_int_equal(qr_mempool_floor(pool, now), 30 + 30 / 8 + 1);
  assert_int_equal(qr_mempool_floor(pool, now + 10 * MINUTE), 1 + 33 / 2);
  assert_int_equal(qr_mempool_floor(pool, now + 20 * MINUTE), 1 + 33 / 4);
  assert_int_equal(qr_mempool_floor(pool, now + 10000 * MINUTE), 1);
  end();
}

static uint32_t lost_cnt;
static uint64_t lost_seqs[16];

static void note_lost(void *ctx, const qr_tx_t *tx) {
  assert_ptr_equal(ctx, pool);
  assert_true(lost_cnt < 16);
  lost_seqs[lost_cnt++] = tx->seq;
}

/* Of those that go, those are told that may come back: neither on the chain nor too old. */
static void test_lost(void **state) {
  (void)state;
  begin(100, 0, 60 * MINUTE);
  for (uint64_t i = 0; i < 4; i++) assert_int_equal(add(0, 10 + i, 100, 1), QR_VERDICT_OK);
  now += 10 * MINUTE;
  for (uint64_t i = 0; i < 4; i++) assert_int_equal(add(1, 10 + i, 100, 1), QR_VERDICT_OK);
  lost_cnt = 0;
  qr_ledger_set(ledger, &(qr_account_t){keys[0].pk, 1000000, 11});
  qr_mempool_prune(pool, ledger, now, note_lost, pool);
  assert_int_equal(lost_cnt, 0);
  qr_ledger_set(ledger, &(qr_account_t){keys[0].pk, 1000000, 9});
  qr_ledger_set(ledger, &(qr_account_t){keys[1].pk, 250, 11});
  qr_mempool_prune(pool, ledger, now, note_lost, pool);
  assert_int_equal(lost_cnt, 3 + 1);
  bool of_0 = lost_seqs[0] == 11;
  for (uint64_t i = 0; i < 3; i++) assert_int_equal(lost_seqs[i + !of_0], 11 + i);
  assert_int_equal(lost_seqs[of_0 ? 3 : 0], 13);
  lost_cnt = 0;
  qr_mempool_prune(pool, ledger, now + 61 * MINUTE, note_lost, pool);
  assert_int_equal(qr_mempool_cnt(pool), 0);
  assert_int_equal(lost_cnt, 0);
  end();
}

static void test_prune(void **state) {
  (void)state;
  begin(100, 0, 60 * MINUTE);
  for (uint64_t i = 0; i < 5; i++) {
    for (uint32_t k = 0; k < 4; k++) assert_int_equal(add(k, 10 + i, 100, 1), QR_VERDICT_OK);
    now += 10 * MINUTE;
  }
  qr_ledger_set(ledger, &(qr_account_t){keys[0].pk, 1000000, 12}); /* two are on the chain */
  qr_ledger_set(ledger, &(qr_account_t){keys[1].pk, 250, 10});     /* two can be paid */
  qr_ledger_set(ledger, &(qr_account_t){keys[2].pk, 1000000, 8});  /* a gap: nothing can stay */
  qr_mempool_prune(pool, ledger, now, NULL, NULL);
  assert_int_equal(qr_mempool_cnt(pool), 3 + 2 + 0 + 5);
  assert_false(has(0, 11));
  assert_true(has(0, 12) && has(1, 11));
  assert_false(has(1, 12));
  assert_int_equal(stats().expired, 0);
  qr_mempool_prune(pool, ledger, now + 11 * MINUTE, NULL,
                   NULL); /* the first of 1 and 3 are too old now */
  assert_int_equal(qr_mempool_cnt(pool), 3);
  assert_int_equal(stats().expired, 2);
  assert_int_equal(add(1, 10, 1, 1), QR_VERDICT_OK);
  end();
}

/* Every sender's follow each other from its account, and are paid for; never too many. */
static void check_all(uint32_t max_cnt) {
  assert_in_range(qr_mempool_cnt(pool), 0, max_cnt);
  uint32_t seen = 0;
  for (uint32_t k = 0; k < KEY_CNT; k++) {
    qr_account_t a;
    qr_ledger_get(ledger, &keys[k].pk, &a);
    uint64_t spent = 0;
    uint32_t cnt = 0;
    for (uint32_t i = 0; i < qr_mempool_cnt(pool); i++) {
      const qr_tx_t *tx = &qr_mempool_at(pool, i)->tx;
      if (!qr_pubkey_eq(&tx->from, &keys[k].pk)) continue;
      spent += tx->amount + tx->fee;
      cnt++;
    }
    for (uint32_t i = 0; i < cnt; i++) assert_true(has(k, a.seq + i));
    assert_true(spent <= a.balance);
    seen += cnt;
  }
  assert_int_equal(seen, qr_mempool_cnt(pool));
}

static void test_random(void **state) {
  (void)state;
  gen_t g = {5};
  uint32_t ok_cnt = 0;
  begin(24, 1, 0);
  for (uint32_t step = 0; step < 4000; step++) {
    uint32_t k = (uint32_t)(gen_u64(&g) % KEY_CNT);
    qr_account_t a;
    qr_ledger_get(ledger, &keys[k].pk, &a);
    if (gen_u64(&g) % 50 == 0) {
      a.seq += gen_u64(&g) % 4 - (a.seq > 5 ? 1 : 0);
      a.balance = gen_u64(&g) % 9000;
      qr_ledger_set(ledger, &a);
      qr_mempool_prune(pool, ledger, now, NULL, NULL);
      now += 30 * MINUTE;
    }
    ok_cnt +=
        add(k, a.seq + gen_u64(&g) % 6, gen_u64(&g) % 200, gen_u64(&g) % 900) == QR_VERDICT_OK;
    check_all(24);
  }
  assert_true(ok_cnt > 300);
  assert_true(stats().evicted > 20 && stats().replaced > 50);
  end();
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_door),  cmocka_unit_test(test_replace), cmocka_unit_test(test_full),
      cmocka_unit_test(test_prune), cmocka_unit_test(test_lost),    cmocka_unit_test(test_random),
  };
  return cmocka_run_group_tests(tests, setup, NULL);
}
