/* Transfers through a network: handed to one node, relayed, mined by another, the same on all;
 * coins are neither made nor lost. */
#include "chain/ledger.h"
#include "sim/world.h"

#define ROUNDS 400000u
#define PREMINE 1000000u

static qr_key_t key_of(uint8_t n) {
  uint8_t seed[32] = {n, 42};
  qr_key_t k;
  qr_key_from_seed(seed, &k);
  return k;
}

static qr_query_t transfer_for(const world_t *w, const qr_key_t *from, const qr_pubkey_t *to,
                               uint64_t amount, uint64_t fee, uint64_t seq) {
  qr_tx_t tx = {.kind = QR_TX_TRANSFER,
                .from = from->pk,
                .to = *to,
                .amount = amount,
                .fee = fee,
                .seq = seq};
  qr_hash_t h = qr_tx_sign_hash(&tx, w->chain.p.chain_id);
  qr_sign(from, &h, sizeof h, &tx.sig);
  qr_query_t q = {.kind = QR_QUERY_SEND};
  qr_tx_encode(&tx, q.tx);
  return q;
}

static qr_query_t transfer(const world_t *w, const qr_key_t *from, const qr_pubkey_t *to,
                           uint64_t amount, uint64_t seq) {
  return transfer_for(w, from, to, amount, 5, seq);
}

static uint64_t balance(world_t *w, world_node_t *n, const qr_pubkey_t *pk, uint64_t *seq) {
  qr_reply_t r = world_ask(w, n, (qr_query_t){.kind = QR_QUERY_ACCOUNT, .account = *pk});
  assert_int_equal(r.err, 0);
  if (seq) *seq = r.account.seq;
  return r.account.balance;
}

/* A world in which one owns all that there is at first. */
static void begin(world_t *w, const char *name, const qr_pubkey_t *rich) {
  qr_params_t p;
  world_params(&p, 3);
  p.premine_cnt = 1;
  p.premine[0].to = *rich;
  p.premine[0].amount = PREMINE;
  world_init(w, name, &p);
}

static void test_transfers(void **state) {
  (void)state;
  static world_t w;
  qr_key_t rich = key_of(1), poor = key_of(2);
  begin(&w, "tx", &rich.pk);
  world_node_t *miner = world_add(&w, false), *middle = world_add(&w, false);
  world_add(&w, false);
  world_node_t *entry = &w.nodes[2];
  world_rounds(&w, 20000);
  /* Three in a row, and what must be refused at the door. */
  for (uint64_t i = 0; i < 3; i++) {
    qr_reply_t r = world_ask(&w, entry, transfer(&w, &rich, &poor.pk, 1000 + i, i));
    assert_int_equal(r.verdict, QR_VERDICT_OK);
  }
  assert_int_equal(world_ask(&w, entry, transfer(&w, &rich, &poor.pk, 1000, 0)).verdict,
                   QR_VERDICT_DUPLICATE);
  assert_int_equal(world_ask(&w, entry, transfer(&w, &rich, &poor.pk, 1, 7)).verdict,
                   QR_VERDICT_TX_SEQUENCE);
  assert_int_equal(world_ask(&w, entry, transfer(&w, &rich, &poor.pk, PREMINE, 3)).verdict,
                   QR_VERDICT_TX_BALANCE);
  qr_query_t forged = transfer(&w, &rich, &poor.pk, 1, 3);
  forged.tx[QR_TX_SZ - 1] ^= 1;
  assert_int_equal(world_ask(&w, entry, forged).verdict, QR_VERDICT_TX_SIGNATURE);
  world_rounds(&w, 20000);
  assert_int_equal(world_status(&w, miner).pool.cnt, 3);
  assert_int_equal(world_status(&w, middle).pool.cnt, 3);
  /* The miner has them; another spends what was received once it stands on the ledger. */
  world_mine(&w, miner, true);
  world_until_height(&w, miner, 3, ROUNDS);
  world_until_height(&w, entry, 3, ROUNDS);
  assert_int_equal(world_ask(&w, entry, transfer(&w, &poor, &rich.pk, 500, 0)).verdict, 0);
  world_rounds(&w, 20000);
  world_until_height(&w, miner, world_height(miner) + 3, ROUNDS);
  world_mine(&w, miner, false);
  world_rounds(&w, 3000);
  world_until_agree(&w, ROUNDS);
  for (uint32_t i = 0; i < w.node_cnt; i++) {
    uint64_t seq;
    assert_int_equal(balance(&w, &w.nodes[i], &poor.pk, &seq), 3003 - 505);
    assert_int_equal(seq, 1);
    assert_int_equal(balance(&w, &w.nodes[i], &rich.pk, &seq), PREMINE - 3003 - 15 + 500);
    assert_int_equal(seq, 3);
    assert_int_equal(world_status(&w, &w.nodes[i]).pool.cnt, 0);
  }
  /* Supply: the premine and every block's award; fees only change hands. */
  uint64_t supply = PREMINE;
  for (const qr_node_t *n = world_tip(miner); n->parent; n = n->parent) {
    supply += qr_ledger_subsidy(w.chain.p.subsidy, n->header.reward);
  }
  assert_int_equal(world_status(&w, entry).supply, supply);
  assert_int_equal(balance(&w, entry, &miner->key.pk, NULL), supply - PREMINE + 20);
  world_fini(&w);
}

/* Thirty of one sender go through three nodes, whatever order they are given in; what pays too
   little stays at the door; what pays more takes the place of another everywhere. */
static void test_policy(void **state) {
  (void)state;
  static world_t w;
  qr_key_t rich = key_of(1), poor = key_of(2);
  begin(&w, "policy", &rich.pk);
  for (uint32_t i = 0; i < 4; i++) world_add(&w, false);
  world_node_t *entry = &w.nodes[3], *other = &w.nodes[2];
  world_rounds(&w, 20000);
  assert_int_equal(world_ask(&w, entry, transfer_for(&w, &rich, &poor.pk, 1, 0, 0)).verdict,
                   QR_VERDICT_TX_FEE);
  for (uint64_t i = 0; i < 30; i++) {
    world_node_t *n = i % 2 ? entry : other;
    for (int k = 0; k < 50 && world_ask(&w, n, transfer(&w, &rich, &poor.pk, 1, i)).verdict; k++)
      world_rounds(&w, 100);
  }
  world_rounds(&w, 20000);
  for (uint32_t i = 0; i < w.node_cnt; i++)
    assert_int_equal(world_status(&w, &w.nodes[i]).pool.cnt, 30);
  assert_int_equal(world_ask(&w, other, transfer(&w, &rich, &poor.pk, 2, 7)).verdict,
                   QR_VERDICT_TX_FEE);
  assert_int_equal(world_ask(&w, other, transfer_for(&w, &rich, &poor.pk, 2, 6, 7)).verdict,
                   QR_VERDICT_OK);
  world_rounds(&w, 20000);
  for (uint32_t i = 0; i < w.node_cnt; i++) {
    qr_status_t s = world_status(&w, &w.nodes[i]);
    assert_int_equal(s.pool.cnt, 30);
    assert_int_equal(s.pool.replaced, 1);
    assert_int_equal(s.pool.fee_floor, 1);
    assert_int_equal(s.pool.evicted + s.pool.expired, 0);
  }
  world_fini(&w);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_transfers),
                                     cmocka_unit_test(test_policy)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
