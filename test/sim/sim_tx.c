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

/* ---- after a reorganisation ---- */

static void send_all(world_t *w, world_node_t *n, const qr_key_t *from, const qr_pubkey_t *to,
                     uint64_t first, uint64_t cnt) {
  for (uint64_t i = first; i < first + cnt; i++)
    assert_int_equal(world_ask(w, n, transfer(w, from, to, 1000, i)).verdict, QR_VERDICT_OK);
}

static uint64_t seq_at(world_t *w, world_node_t *n, const qr_pubkey_t *pk) {
  uint64_t seq;
  balance(w, n, pk, &seq);
  return seq;
}

static uint64_t tx_bytes(world_t *w, world_node_t *n, const qr_pubkey_t *from) {
  qr_reply_t r = world_ask(w, n, (qr_query_t){.kind = QR_QUERY_PEERS});
  for (uint32_t i = 0; i < r.peers.cnt; i++) {
    if (qr_pubkey_eq(&r.peers.peers[i].identity, from))
      return r.peers.peers[i].rx_class[QR_LINK_TX];
  }
  return 0;
}

static void mine_until_empty(world_t *w, world_node_t *n) {
  for (int i = 0; i < 12 && world_status(w, n).pool.cnt; i++)
    world_mine_to(w, n, world_height(n) + 1, ROUNDS);
  assert_int_equal(world_status(w, n).pool.cnt, 0);
}

static void begin_branches(world_t *w, const char *name, const qr_key_t keys[3]) {
  qr_params_t p;
  world_params(&p, 3);
  p.premine_cnt = 2;
  for (uint32_t i = 0; i < 2; i++) {
    p.premine[i].to = keys[i].pk;
    p.premine[i].amount = PREMINE;
  }
  world_init(w, name, &p);
  for (uint32_t i = 0; i < 3; i++) world_add(w, false);
  world_rounds(w, 20000);
}

/* Two nodes that stood apart from a third lose their blocks to it. What those held comes back: in
   order, with what waited behind it, once what pays for it is on the chain again, and not what the
   other branch has, or has something else instead of. Nobody is given it again who has it. */
static void test_return(void **state) {
  (void)state;
  static world_t w;
  const qr_key_t keys[3] = {key_of(1), key_of(2), key_of(3)};
  const qr_key_t *rich = &keys[0], *both = &keys[1], *poor = &keys[2];
  begin_branches(&w, "return", keys);
  world_node_t *a = &w.nodes[0], *a2 = &w.nodes[1], *b = &w.nodes[2];
  qr_link_mem_group(b->link, 1);
  send_all(&w, a, rich, &poor->pk, 0, 5);
  send_all(&w, a, both, &rich->pk, 0, 2);
  world_rounds(&w, 5000);
  mine_until_empty(&w, a);
  send_all(&w, a, poor, &rich->pk, 0, 2); /* out of what has just come */
  mine_until_empty(&w, a);
  uint64_t height = world_height(a);
  send_all(&w, a, rich, &poor->pk, 5, 3); /* these wait */
  world_rounds(&w, 5000);
  uint64_t told = tx_bytes(&w, a2, &a->key.pk), told2 = tx_bytes(&w, a, &a2->key.pk);
  send_all(&w, b, both, &rich->pk, 0, 1);
  assert_int_equal(world_ask(&w, b, transfer(&w, both, &poor->pk, 7, 1)).verdict, QR_VERDICT_OK);
  world_mine_to(&w, b, height + 4, ROUNDS);
  assert_int_equal(seq_at(&w, b, &both->pk), 2);
  qr_link_mem_heal(a->link);
  world_until_agree(&w, ROUNDS);
  world_rounds(&w, 20000);
  assert_true(world_status(&w, a).reorg_depth_max >= 2);
  for (uint32_t i = 0; i < w.node_cnt; i++)
    assert_int_equal(world_status(&w, &w.nodes[i]).pool.cnt, 8);
  assert_int_equal(world_status(&w, a).pool.returned, 8);
  assert_int_equal(world_status(&w, a2).pool.returned, 8);
  assert_in_range(tx_bytes(&w, a2, &a->key.pk) - told, 8 * 8, QR_TX_SZ - 1);
  assert_in_range(tx_bytes(&w, a, &a2->key.pk) - told2, 8 * 8, QR_TX_SZ - 1);
  /* With the next blocks poor has its coins again, and spends them as it did. */
  world_mine(&w, b, true);
  for (int i = 0; i < 100 && seq_at(&w, b, &poor->pk) < 2; i++) world_rounds(&w, 2000);
  world_mine(&w, b, false);
  world_rounds(&w, 3000);
  world_until_agree(&w, ROUNDS);
  for (uint32_t i = 0; i < w.node_cnt; i++) {
    uint64_t seq;
    assert_int_equal(balance(&w, &w.nodes[i], &poor->pk, &seq), 8 * 1000 + 7 - 2 * 1005);
    assert_int_equal(seq, 2);
    assert_int_equal(seq_at(&w, &w.nodes[i], &rich->pk), 8);
    assert_int_equal(seq_at(&w, &w.nodes[i], &both->pk), 2);
    assert_int_equal(world_status(&w, &w.nodes[i]).pool.cnt, 0);
  }
  world_fini(&w);
}

static void until_same(world_t *w, const world_node_t *x, const world_node_t *y) {
  for (uint32_t i = 0; i < ROUNDS && !qr_hash_eq(&world_tip(x)->hash, &world_tip(y)->hash); i++)
    world_rounds(w, 1);
  assert_memory_equal(&world_tip(x)->hash, &world_tip(y)->hash, sizeof(qr_hash_t));
}

/* A hundred and twenty of two senders, more than one slice, leave the chain with their branch;
   while they come back that branch is the heavier again, and then is left for good. */
static void test_return_in_turns(void **state) {
  (void)state;
  static world_t w;
  const qr_key_t keys[3] = {key_of(1), key_of(2), key_of(3)};
  begin_branches(&w, "turns", keys);
  world_node_t *a = &w.nodes[0], *a2 = &w.nodes[1], *b = &w.nodes[2];
  qr_link_mem_group(b->link, 1);
  for (uint64_t i = 0; i < 60; i += 20) {
    for (uint32_t k = 0; k < 2; k++) send_all(&w, a, &keys[k], &keys[2].pk, i, 20);
    world_rounds(&w, 5000);
    mine_until_empty(&w, a);
  }
  until_same(&w, a, a2);
  qr_link_mem_group(a2->link, 2);
  world_mine_to(&w, b, world_height(a) + 1, ROUNDS);
  world_mine_to(&w, a2, world_height(b) + 1, ROUNDS);
  qr_link_mem_group(b->link, 0);
  until_same(&w, a, b);
  assert_in_range(world_status(&w, a).pool.cnt, 1, 119); /* one slice, and not all */
  qr_link_mem_group(b->link, 1);
  qr_link_mem_group(a2->link, 0);
  until_same(&w, a, a2);
  world_rounds(&w, 20000);
  assert_int_equal(world_status(&w, a).pool.cnt, 0);
  assert_int_equal(seq_at(&w, a, &keys[1].pk), 60);
  world_mine_to(&w, b, world_height(a) + 1, ROUNDS);
  qr_link_mem_heal(a->link);
  world_until_agree(&w, ROUNDS);
  world_rounds(&w, 20000);
  assert_int_equal(world_status(&w, a).reorgs, 3);
  for (uint32_t i = 0; i < w.node_cnt; i++) { /* b had some of them by then, and mined those */
    uint64_t mined = seq_at(&w, b, &keys[0].pk) + seq_at(&w, b, &keys[1].pk);
    assert_int_equal(world_status(&w, &w.nodes[i]).pool.cnt, 120 - mined);
  }
  mine_until_empty(&w, b);
  world_until_agree(&w, ROUNDS);
  world_rounds(&w, 5000);
  for (uint32_t i = 0; i < w.node_cnt; i++) {
    for (uint32_t k = 0; k < 2; k++) assert_int_equal(seq_at(&w, &w.nodes[i], &keys[k].pk), 60);
    assert_int_equal(world_status(&w, &w.nodes[i]).pool.cnt, 0);
  }
  world_fini(&w);
}

/* A node whose pool is full tells its peers what is too little, and is offered no more of that
   until a block has made room. */
static void test_full_pool(void **state) {
  (void)state;
  static world_t w;
  const qr_key_t keys[3] = {key_of(1), key_of(2), key_of(3)};
  begin_branches(&w, "full", keys);
  world_node_t *entry = &w.nodes[0], *full = &w.nodes[2];
  full->config.pool_max_cnt = 4;
  world_restart(&w, full);
  world_rounds(&w, 60000);
  send_all(&w, entry, &keys[0], &keys[2].pk, 0, 4);
  world_rounds(&w, 60000);
  assert_int_equal(world_status(&w, full).pool.cnt, 4);
  send_all(&w, entry, &keys[1], &keys[2].pk, 0, 3);
  world_rounds(&w, 5000);
  qr_status_pool_t pool = world_status(&w, full).pool;
  assert_int_equal(pool.cnt, 4);
  assert_int_equal(pool.refused, 0);
  assert_int_equal(world_ask(&w, entry, transfer_for(&w, &keys[1], &keys[2].pk, 1, 6, 3)).verdict,
                   QR_VERDICT_OK); /* it pays enough, but those before it were not told of */
  mine_until_empty(&w, entry);
  world_until_agree(&w, ROUNDS);
  world_rounds(&w, 20000);
  send_all(&w, entry, &keys[1], &keys[2].pk, 4, 3);
  world_rounds(&w, 5000);
  assert_int_equal(world_status(&w, full).pool.cnt, 3);
  world_fini(&w);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_transfers),
                                     cmocka_unit_test(test_policy), cmocka_unit_test(test_return),
                                     cmocka_unit_test(test_return_in_turns),
                                     cmocka_unit_test(test_full_pool)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
