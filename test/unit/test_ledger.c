/* The ledger: every verdict, all or nothing, disconnecting is the inverse, the root is that of the
   definition, coins are conserved. A plain list of accounts is the model it is compared with. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>

#include "chain/ledger.h"
#include "crypto/hash.h"
#include "crypto/sign.h"
#include "net_gen.h"

#define CHAIN 7u
#define S0 UINT64_C(5000000000)
#define KEY_CNT 12u

static qr_key_t keys[KEY_CNT];
static qr_params_t params;
static qr_ledger_undo_t undo;

static int setup(void **state) {
  (void)state;
  if (qr_crypto_init()) return -1;
  for (uint32_t i = 0; i < KEY_CNT; i++) {
    uint8_t seed[32] = {(uint8_t)(i + 1)};
    qr_key_from_seed(seed, &keys[i]);
  }
  params.chain_id = CHAIN;
  params.subsidy = S0;
  return 0;
}

/* ---- building blocks ---- */

typedef struct {
  qr_header_t h;
  qr_body_t b;
  uint8_t txs[QR_BLOCK_TX_MAX_CNT * QR_TX_SZ];
} block_t;

static block_t blk;

static void begin(const qr_pubkey_t *miner, uint32_t reward) {
  memset(&blk.h, 0, sizeof blk.h);
  blk.h.miner = *miner;
  blk.h.reward = reward;
  blk.b = (qr_body_t){.txs = blk.txs};
}

static qr_tx_t signed_tx(uint32_t from, const qr_pubkey_t *to, uint64_t amount, uint64_t fee,
                         uint64_t seq) {
  qr_tx_t tx = {.kind = QR_TX_TRANSFER,
                .from = keys[from].pk,
                .to = *to,
                .amount = amount,
                .fee = fee,
                .seq = seq};
  qr_hash_t msg = qr_tx_sign_hash(&tx, CHAIN);
  qr_sign(&keys[from], msg.b, QR_HASH_SZ, &tx.sig);
  return tx;
}

static void append(const qr_tx_t *tx) { qr_tx_encode(tx, blk.txs + QR_TX_SZ * blk.b.tx_cnt++); }

static void pay(uint32_t from, uint32_t to, uint64_t amount, uint64_t fee, uint64_t seq) {
  qr_tx_t tx = signed_tx(from, &keys[to].pk, amount, fee, seq);
  append(&tx);
}

static enum qr_verdict connect_block(qr_ledger_t *l) {
  return qr_ledger_connect(l, &params, &blk.h, &blk.b, &undo);
}

static qr_ledger_t *new_ledger(void) {
  qr_ledger_t *l = qr_ledger_init();
  assert_non_null(l);
  return l;
}

static void give(qr_ledger_t *l, uint32_t key, uint64_t balance, uint64_t seq) {
  qr_account_t a = {.pk = keys[key].pk, .balance = balance, .seq = seq};
  qr_ledger_set(l, &a);
}

static qr_account_t account(const qr_ledger_t *l, uint32_t key) {
  qr_account_t a;
  qr_ledger_get(l, &keys[key].pk, &a);
  return a;
}

/* ---- accounts and root ---- */

static void test_accounts(void **state) {
  (void)state;
  qr_ledger_t *l = new_ledger();
  qr_account_t a = {.balance = 5, .seq = 2}, b;
  memset(a.pk.b, 0xab, sizeof a.pk.b);
  assert_false(qr_ledger_get(l, &a.pk, &b));
  assert_memory_equal(&b.pk, &a.pk, sizeof a.pk);
  assert_true(!b.balance && !b.seq);
  qr_ledger_set(l, &a);
  assert_true(qr_ledger_get(l, &a.pk, &b));
  assert_memory_equal(&a, &b, sizeof a);
  assert_int_equal(qr_ledger_account_cnt(l), 1);
  assert_int_equal(qr_ledger_supply(l), 5);
  a.balance = 0; /* a spent account stays: its sequence guards against replay */
  qr_ledger_set(l, &a);
  assert_int_equal(qr_ledger_account_cnt(l), 1);
  a.seq = 0;
  qr_ledger_set(l, &a);
  assert_false(qr_ledger_get(l, &a.pk, &b));
  assert_int_equal(qr_ledger_account_cnt(l), 0);
  qr_ledger_set(l, &a);
  assert_int_equal(qr_ledger_account_cnt(l), 0);
  assert_int_equal(qr_ledger_supply(l), 0);
  qr_ledger_fini(l);
  qr_ledger_fini(NULL);

  uint8_t bytes[QR_ACCOUNT_SZ];
  a = (qr_account_t){.balance = UINT64_C(0x0102030405060708), .seq = 9};
  a.pk.b[0] = 1;
  qr_account_encode(&a, bytes);
  assert_int_equal(bytes[0], 1);
  assert_int_equal(bytes[32], 8);
  assert_int_equal(bytes[40], 9);
  qr_account_decode(bytes, &b);
  assert_memory_equal(&a, &b, sizeof a);
}

/* The definition: all accounts sorted, cut into buckets, one Merkle tree. */
#define MODEL_MAX_CNT 3000u
typedef struct {
  qr_account_t a[MODEL_MAX_CNT];
  uint32_t cnt;
} model_t;

static uint32_t bucket_of(const qr_account_t *a) { return qr_ld16(a->pk.b) % QR_LEDGER_BUCKET_CNT; }

static int by_bucket(const void *x, const void *y) {
  const qr_account_t *a = x, *b = y;
  if (bucket_of(a) != bucket_of(b)) return bucket_of(a) < bucket_of(b) ? -1 : 1;
  return memcmp(a->pk.b, b->pk.b, QR_PUBKEY_SZ);
}

static qr_hash_t model_root(model_t *m) {
  static qr_hash_t leaves[QR_LEDGER_BUCKET_CNT];
  static uint8_t bytes[MODEL_MAX_CNT * QR_ACCOUNT_SZ];
  qsort(m->a, m->cnt, sizeof m->a[0], by_bucket);
  for (uint32_t i = 0; i < m->cnt; i++) qr_account_encode(&m->a[i], bytes + i * QR_ACCOUNT_SZ);
  for (uint32_t i = 0, at = 0; i < QR_LEDGER_BUCKET_CNT; i++) {
    uint32_t end = at;
    while (end < m->cnt && bucket_of(&m->a[end]) == i) end++;
    leaves[i] = qr_merkle_leaf(i, bytes + at * QR_ACCOUNT_SZ, (end - at) * QR_ACCOUNT_SZ);
    at = end;
  }
  qr_hash_t root = qr_merkle_root_of_leaves(leaves, QR_LEDGER_BUCKET_CNT,
                                            (uint64_t)m->cnt * QR_ACCOUNT_SZ, 0, leaves);
  return qr_hash("quarry.state", root.b, QR_HASH_SZ);
}

static void assert_same(qr_ledger_t *l, model_t *m) {
  qr_hash_t got = qr_ledger_root(l), want = model_root(m);
  assert_memory_equal(&got, &want, sizeof got);
  assert_int_equal(qr_ledger_account_cnt(l), m->cnt);
  uint64_t sum = 0;
  for (uint32_t i = 0; i < m->cnt; i++) sum += m->a[i].balance;
  assert_int_equal(qr_ledger_supply(l), sum);
}

static void test_root(void **state) {
  (void)state;
  static model_t m;
  gen_t g = {1};
  qr_ledger_t *l = new_ledger();
  m.cnt = 0;
  assert_same(l, &m);
  for (int turn = 0; turn < 20; turn++) {
    for (int i = 0; i < 140; i++) {
      uint64_t what = gen_u64(&g) % 4;
      if (m.cnt && what == 0) { /* remove */
        uint32_t at = (uint32_t)(gen_u64(&g) % m.cnt);
        qr_account_t none = {.pk = m.a[at].pk};
        qr_ledger_set(l, &none);
        m.a[at] = m.a[--m.cnt];
      } else if (m.cnt && what == 1) { /* change */
        uint32_t at = (uint32_t)(gen_u64(&g) % m.cnt);
        m.a[at].balance = gen_u64(&g) >> 20;
        m.a[at].seq++;
        qr_ledger_set(l, &m.a[at]);
      } else if (m.cnt < MODEL_MAX_CNT) {
        qr_account_t *a = &m.a[m.cnt++];
        qr_hash_t pk = gen_hash(&g);
        memcpy(a->pk.b, pk.b, QR_PUBKEY_SZ);
        if (i % 3 == 0) qr_st16(a->pk.b, (uint16_t)(0x1000 * (i & 7) + 5)); /* many in one bucket */
        a->balance = 1 + (gen_u64(&g) >> 20);
        a->seq = gen_u64(&g) % 3;
        qr_ledger_set(l, a);
      }
    }
    assert_same(l, &m);
    assert_same(l, &m); /* and nothing changes by asking */
  }
  assert_true(m.cnt > 500);
  qr_ledger_fini(l);
}

/* ---- connecting ---- */

static void test_subsidy(void **state) {
  (void)state;
  assert_int_equal(qr_ledger_subsidy(S0, 0), S0 / 2);
  assert_int_equal(qr_ledger_subsidy(S0, 65536), S0);
  assert_int_equal(qr_ledger_subsidy(S0, 32768), S0 / 2 + S0 / 4);
  assert_int_equal(qr_ledger_subsidy(S0, 1), S0 / 2 + S0 / 131072);
  assert_int_equal(qr_ledger_subsidy(3, 65536), 1 + 1);
  assert_int_equal(qr_ledger_subsidy(UINT64_C(1) << 62, 65536), UINT64_C(1) << 62);
  assert_int_equal(qr_ledger_subsidy(S0, UINT32_MAX), S0);
  assert_int_equal(qr_ledger_subsidy(0, 65536), 0);
}

static void test_transfer(void **state) {
  (void)state;
  qr_ledger_t *l = new_ledger();
  give(l, 0, 1000, 4);
  begin(&keys[2].pk, 65536);
  pay(0, 1, 300, 10, 4);
  pay(1, 0, 299, 1, 0); /* spends what the block brought */
  pay(0, 1, 989, 0, 5);
  assert_int_equal(connect_block(l), QR_VERDICT_OK);
  assert_int_equal(account(l, 0).balance, 0);
  assert_int_equal(account(l, 0).seq, 6);
  assert_int_equal(account(l, 1).balance, 989);
  assert_int_equal(account(l, 1).seq, 1);
  assert_int_equal(account(l, 2).balance, S0 + 11);
  assert_int_equal(account(l, 2).seq, 0);
  assert_int_equal(undo.cnt, 3);
  assert_memory_equal(&undo.changes[0].before.pk, &keys[0].pk, 32); /* in order of first touch */
  assert_memory_equal(&undo.changes[1].before.pk, &keys[1].pk, 32);
  assert_int_equal(undo.changes[0].before.balance, 1000);
  assert_int_equal(undo.changes[0].after.balance, 0);
  qr_ledger_fini(l);
}

static void test_self_transfer(void **state) {
  (void)state;
  qr_ledger_t *l = new_ledger();
  give(l, 0, 100, 0);
  begin(&keys[1].pk, 0);
  pay(0, 0, 90, 10, 0); /* the whole balance passes through */
  assert_int_equal(connect_block(l), QR_VERDICT_OK);
  assert_int_equal(account(l, 0).balance, 90);
  assert_int_equal(account(l, 0).seq, 1);
  assert_int_equal(account(l, 1).balance, S0 / 2 + 10);
  begin(&keys[0].pk, 0); /* and the miner may pay himself */
  pay(0, 0, 80, 10, 1);
  assert_int_equal(connect_block(l), QR_VERDICT_OK);
  assert_int_equal(account(l, 0).balance, 90 + S0 / 2);
  qr_ledger_fini(l);
}

/* The block is refused with the verdict and leaves no trace. The single check agrees if the fault
 * is the first one's. */
static void refused(qr_ledger_t *l, enum qr_verdict want) {
  qr_hash_t before = qr_ledger_root(l);
  uint64_t supply = qr_ledger_supply(l);
  assert_int_equal(connect_block(l), want);
  qr_hash_t after = qr_ledger_root(l);
  assert_memory_equal(&before, &after, sizeof before);
  assert_int_equal(qr_ledger_supply(l), supply);
}

static void refused_tx(qr_ledger_t *l, const qr_tx_t *tx, enum qr_verdict want) {
  assert_int_equal(qr_ledger_check_tx(l, CHAIN, tx), want);
  begin(&keys[9].pk, 100);
  append(tx);
  refused(l, want);
  begin(&keys[9].pk, 100); /* behind good ones, one of which it shares an account with */
  pay(3, 1, 5, 1, 0);
  pay(3, 2, 5, 1, 1);
  append(tx);
  refused(l, want);
}

static void test_verdicts(void **state) {
  (void)state;
  qr_ledger_t *l = new_ledger();
  give(l, 0, 1000, 3);
  give(l, 3, 1000, 0);
  qr_tx_t good = signed_tx(0, &keys[1].pk, 900, 100, 3), tx;
  assert_int_equal(qr_ledger_check_tx(l, CHAIN, &good), QR_VERDICT_OK);

  tx = good;
  tx.kind = 2;
  refused_tx(l, &tx, QR_VERDICT_TX_SYNTAX);

  uint8_t bytes[QR_TX_SZ];
  for (size_t at = 1; at < QR_TX_SZ; at++) { /* any byte that is signed, and the signature's own */
    qr_tx_encode(&good, bytes);
    bytes[at] ^= 1;
    assert_int_equal(qr_tx_decode(bytes, &tx), QR_VERDICT_OK);
    assert_int_equal(qr_ledger_check_tx(l, CHAIN, &tx), QR_VERDICT_TX_SIGNATURE);
  }
  refused_tx(l, &tx, QR_VERDICT_TX_SIGNATURE);
  assert_int_equal(qr_ledger_check_tx(l, CHAIN + 1, &good), QR_VERDICT_TX_SIGNATURE);

  static const uint64_t seqs[] = {0, 2, 4, UINT64_MAX};
  for (size_t i = 0; i < QR_ARRAY_CNT(seqs); i++) {
    tx = signed_tx(0, &keys[1].pk, 1, 1, seqs[i]);
    refused_tx(l, &tx, QR_VERDICT_TX_SEQUENCE);
  }
  static const uint64_t sums[][2] = {{901, 100},
                                     {900, 101},
                                     {1001, 0},
                                     {0, 1001},
                                     {UINT64_MAX, 1},
                                     {1, UINT64_MAX},
                                     {UINT64_MAX, UINT64_MAX},
                                     {UINT64_C(1) << 63, UINT64_C(1) << 63},
                                     {UINT64_MAX, 0}};
  for (size_t i = 0; i < QR_ARRAY_CNT(sums); i++) {
    tx = signed_tx(0, &keys[1].pk, sums[i][0], sums[i][1], 3);
    refused_tx(l, &tx, QR_VERDICT_TX_BALANCE);
  }
  tx = signed_tx(5, &keys[1].pk, 0, 1, 0); /* an account that does not exist */
  refused_tx(l, &tx, QR_VERDICT_TX_BALANCE);
  begin(&keys[9].pk, 100);
  append(&good);
  assert_int_equal(connect_block(l), QR_VERDICT_OK);
  qr_ledger_fini(l);
}

static void test_replay(void **state) {
  (void)state;
  qr_ledger_t *l = new_ledger();
  give(l, 0, 1000, 0);
  qr_tx_t tx = signed_tx(0, &keys[1].pk, 10, 1, 0);
  begin(&keys[2].pk, 0);
  append(&tx);
  append(&tx); /* twice in one block */
  refused(l, QR_VERDICT_TX_SEQUENCE);
  begin(&keys[2].pk, 0);
  append(&tx);
  assert_int_equal(connect_block(l), QR_VERDICT_OK);
  begin(&keys[2].pk, 0); /* again in the next */
  append(&tx);
  refused(l, QR_VERDICT_TX_SEQUENCE);
  begin(&keys[2].pk, 0); /* also when the account has been emptied in between */
  pay(0, 1, 989, 0, 1);
  assert_int_equal(connect_block(l), QR_VERDICT_OK);
  assert_int_equal(account(l, 0).balance, 0);
  begin(&keys[2].pk, 0);
  append(&tx);
  refused(l, QR_VERDICT_TX_SEQUENCE);
  begin(&keys[2].pk, 0); /* the second of two out of order */
  pay(1, 0, 1, 0, 1);
  pay(1, 0, 1, 0, 0);
  refused(l, QR_VERDICT_TX_SEQUENCE);
  qr_ledger_fini(l);
}

static void test_nothing_for_nothing(void **state) {
  (void)state;
  qr_ledger_t *l = new_ledger();
  give(l, 0, 10, 0);
  begin(&keys[0].pk, 0);
  pay(0, 1, 0, 0, 0); /* an amount of nothing makes no account, and counts in the sequence */
  assert_int_equal(connect_block(l), QR_VERDICT_OK);
  assert_int_equal(qr_ledger_account_cnt(l), 1);
  assert_int_equal(account(l, 0).seq, 1);
  qr_ledger_disconnect(l, &undo);
  assert_int_equal(account(l, 0).seq, 0);
  assert_int_equal(qr_ledger_supply(l), 10);
  qr_ledger_fini(l);
}

/* At the limit of the supply the subsidy ends, and balances of any size still add up. */
static void test_supply_limit(void **state) {
  (void)state;
  qr_ledger_t *l = new_ledger();
  give(l, 0, QR_LEDGER_SUPPLY_MAX - 7, 0);
  begin(&keys[1].pk, 65536);
  pay(0, 1, 100, 50, 0);
  assert_int_equal(connect_block(l), QR_VERDICT_OK);
  assert_int_equal(account(l, 1).balance, 100 + 50 + 7);
  assert_int_equal(qr_ledger_supply(l), QR_LEDGER_SUPPLY_MAX);
  begin(&keys[1].pk, 65536);
  pay(0, 1, QR_LEDGER_SUPPLY_MAX - 7 - 150, 0, 1);
  assert_int_equal(connect_block(l), QR_VERDICT_OK);
  assert_int_equal(account(l, 1).balance, QR_LEDGER_SUPPLY_MAX);
  assert_int_equal(qr_ledger_supply(l), QR_LEDGER_SUPPLY_MAX);
  qr_ledger_fini(l);
}

/* Balances beyond the limit can only come from outside; even they do not wrap. */
static void test_foreign_balances(void **state) {
  (void)state;
  qr_ledger_t *l = new_ledger();
  give(l, 0, 100, 0);
  give(l, 1, UINT64_MAX - 20, 0);
  begin(&keys[2].pk, 0);
  pay(0, 1, 21, 0, 0);
  refused(l, QR_VERDICT_TX_BALANCE);
  begin(&keys[1].pk, 0);
  pay(0, 2, 1, 21, 0); /* the fee is the miner's */
  refused(l, QR_VERDICT_TX_BALANCE);
  begin(&keys[2].pk, 0);
  pay(0, 1, 20, 0, 0);
  assert_int_equal(connect_block(l), QR_VERDICT_OK);
  assert_int_equal(account(l, 1).balance, UINT64_MAX);
  qr_ledger_fini(l);
}

static void test_full_block(void **state) {
  (void)state;
  qr_ledger_t *l = new_ledger();
  gen_t g = {3};
  give(l, 0, 1000000, 0);
  begin(&keys[1].pk, 0);
  for (uint32_t i = 0; i < QR_BLOCK_TX_MAX_CNT; i++) { /* every receiver is new */
    qr_hash_t pk = gen_hash(&g);
    qr_pubkey_t to;
    memcpy(to.b, pk.b, QR_PUBKEY_SZ);
    qr_tx_t tx = signed_tx(0, &to, 3, 1, i);
    append(&tx);
  }
  qr_hash_t before = qr_ledger_root(l);
  assert_int_equal(connect_block(l), QR_VERDICT_OK);
  assert_int_equal(undo.cnt, QR_BLOCK_TX_MAX_CNT + 2);
  assert_int_equal(qr_ledger_account_cnt(l), QR_BLOCK_TX_MAX_CNT + 2);
  assert_int_equal(account(l, 1).balance, S0 / 2 + QR_BLOCK_TX_MAX_CNT);
  qr_ledger_disconnect(l, &undo);
  qr_hash_t after = qr_ledger_root(l);
  assert_memory_equal(&before, &after, sizeof before);
  qr_ledger_fini(l);
}

static void test_queued(void **state) {
  (void)state;
  qr_ledger_t *l = new_ledger();
  give(l, 0, 100, 7);
  qr_account_t later = account(l, 0);
  qr_tx_t first = signed_tx(0, &keys[1].pk, 50, 5, 7), second = signed_tx(0, &keys[1].pk, 45, 0, 8);
  assert_int_equal(qr_ledger_check_tx(l, CHAIN, &first), QR_VERDICT_OK);
  assert_int_equal(qr_ledger_check_tx(l, CHAIN, &second), QR_VERDICT_TX_SEQUENCE);
  later.seq++;
  later.balance -= 55;
  assert_int_equal(qr_ledger_check_tx_from(&later, CHAIN, &second), QR_VERDICT_OK);
  later.balance--;
  assert_int_equal(qr_ledger_check_tx_from(&later, CHAIN, &second), QR_VERDICT_TX_BALANCE);
  qr_ledger_fini(l);
}

/* ---- random chains against the model ---- */

#define CHAIN_CNT 60u

static qr_account_t *model_account(model_t *m, const qr_pubkey_t *pk) {
  for (uint32_t i = 0; i < m->cnt; i++) {
    if (qr_pubkey_eq(&m->a[i].pk, pk)) return &m->a[i];
  }
  m->a[m->cnt] = (qr_account_t){.pk = *pk};
  return &m->a[m->cnt++];
}

static void model_prune(model_t *m) {
  for (uint32_t i = 0; i < m->cnt;) {
    if (m->a[i].balance || m->a[i].seq)
      i++;
    else
      m->a[i] = m->a[--m->cnt];
  }
}

/* A random block of good transfers between the keys, applied to the model too. Returns what it
 * issues. */
static uint64_t random_block(gen_t *g, model_t *m) {
  uint32_t miner = (uint32_t)gen_range(g, 0, KEY_CNT - 1),
           reward = (uint32_t)gen_range(g, 0, 65536);
  uint64_t fees = 0, issued = qr_ledger_subsidy(S0, reward);
  begin(&keys[miner].pk, reward);
  for (int64_t n = gen_range(g, 0, 9); n > 0; n--) {
    uint32_t from = (uint32_t)gen_range(g, 0, KEY_CNT - 1),
             to = (uint32_t)gen_range(g, 0, KEY_CNT - 1);
    qr_account_t *a = model_account(m, &keys[from].pk);
    uint64_t all = a->balance, amount = gen_u64(g) % 4 ? gen_u64(g) % (all + 1) : all;
    uint64_t fee = gen_u64(g) % (all - amount + 1);
    pay(from, to, amount, fee, a->seq);
    a->balance -= amount + fee;
    a->seq++;
    model_account(m, &keys[to].pk)->balance += amount;
    fees += fee;
  }
  model_account(m, &keys[miner].pk)->balance += fees + issued;
  model_prune(m);
  return issued;
}

static void test_random_chains(void **state) {
  (void)state;
  static model_t m;
  static qr_ledger_undo_t undos[CHAIN_CNT];
  static qr_hash_t roots[CHAIN_CNT + 1];
  gen_t g = {4};
  qr_ledger_t *l = new_ledger();
  const uint64_t premine = 12345678;
  give(l, 0, premine, 0);
  m.cnt = 1;
  m.a[0] = account(l, 0);
  uint64_t issued[CHAIN_CNT + 1] = {premine};
  uint32_t height = 0, forks = 0;
  roots[0] = qr_ledger_root(l);
  for (int turn = 0; turn < 25; turn++) {
    while (height < CHAIN_CNT) {
      uint64_t more = random_block(&g, &m);
      assert_int_equal(qr_ledger_connect(l, &params, &blk.h, &blk.b, &undos[height]),
                       QR_VERDICT_OK);
      height++;
      issued[height] = issued[height - 1] + more;
      assert_same(l, &m);
      assert_int_equal(qr_ledger_supply(l),
                       issued[height]); /* premine and subsidies, nothing else */
      roots[height] = qr_ledger_root(l);
      if (gen_u64(&g) % 20 == 0) break;
    }
    for (int64_t n = gen_range(&g, 0, height); n > 0; n--) {
      qr_ledger_disconnect(l, &undos[--height]);
      qr_hash_t root = qr_ledger_root(l);
      assert_memory_equal(&root, &roots[height], sizeof root);
      assert_int_equal(qr_ledger_supply(l), issued[height]);
      forks++;
    }
    m.cnt = 0; /* the model cannot go back: read it off the ledger */
    for (uint32_t i = 0; i < KEY_CNT; i++) {
      qr_account_t a;
      if (qr_ledger_get(l, &keys[i].pk, &a)) m.a[m.cnt++] = a;
    }
    assert_same(l, &m);
  }
  assert_true(forks > 50);
  qr_ledger_fini(l);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_accounts),      cmocka_unit_test(test_root),
      cmocka_unit_test(test_subsidy),       cmocka_unit_test(test_transfer),
      cmocka_unit_test(test_self_transfer), cmocka_unit_test(test_verdicts),
      cmocka_unit_test(test_replay),        cmocka_unit_test(test_nothing_for_nothing),
      cmocka_unit_test(test_supply_limit),  cmocka_unit_test(test_foreign_balances),
      cmocka_unit_test(test_full_block),    cmocka_unit_test(test_queued),
      cmocka_unit_test(test_random_chains),
  };
  return cmocka_run_group_tests(tests, setup, NULL);
}
