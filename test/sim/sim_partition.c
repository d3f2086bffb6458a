/* Branches that grew apart and meet again: the heavier one wins, a tie is settled by the rule, and
   everything that hangs on the tip (ledger, replay, environments, models) is the same on both
   sides. */
#include "sim/world.h"

#define ROUNDS 400000u

static void test_heavier_branch_wins(void **state) {
  (void)state;
  static world_t w;
  qr_params_t p;
  world_params(&p, 2);
  world_init(&w, "heavier", &p);
  world_node_t *a = world_add(&w, true), *b = world_add(&w, true);
  world_until_height(&w, a, 6, ROUNDS);
  world_stop_all(&w);
  world_until_agree(&w, ROUNDS);
  uint64_t fork = world_height(a);
  qr_link_mem_group(b->link, 1);
  world_mine_to(&w, a, fork + 20, ROUNDS);
  world_mine_to(&w, b, fork + 12, ROUNDS);
  uint64_t height_a = world_height(a), height_b = world_height(b);
  assert_true(height_a > height_b);
  assert_false(world_agree(&w));
  qr_hash_t before = qr_chain_tile_state_digest(qr_topology_chain(a->topology));
  uint64_t reorgs = world_status(&w, a).reorgs;
  qr_link_mem_heal(a->link);
  world_until_agree(&w, ROUNDS);
  qr_hash_t after = qr_chain_tile_state_digest(qr_topology_chain(a->topology));
  assert_memory_equal(&before, &after, sizeof before);
  assert_int_equal(world_height(b), height_a);
  qr_status_t s = world_status(&w, b);
  assert_int_equal(s.reorg_depth_max, height_b - fork);
  assert_int_equal(world_status(&w, a).reorgs, reorgs);
  /* The chain goes on from there on both. */
  world_mine_to(&w, b, height_a + 3, ROUNDS);
  world_until_agree(&w, ROUNDS);
  world_fini(&w);
}

/* Equal work on both sides: the branch whose last block has the larger reward. */
static void settle_tie(uint32_t rule, const char *name, uint64_t *wins) {
  static world_t w;
  qr_params_t p;
  world_params(&p, 5); /* blocks far enough apart that mining can be stopped between two */
  p.tie_rule = rule;
  world_init(&w, name, &p);
  world_node_t *a = world_add(&w, false), *b = world_add(&w, false);
  for (int i = 0; i < 4; i++) {
    uint64_t fork = world_height(a);
    qr_link_mem_group(b->link, 1);
    world_mine(&w, a, true);
    world_mine(&w, b, true);
    world_until_height(&w, a, fork + 1, ROUNDS);
    world_mine(&w, a, false);
    world_until_height(&w, b, fork + 1, ROUNDS);
    world_mine(&w, b, false);
    world_rounds(&w, 3000);
    /* A block may have been on its way when mining ended: level the branches. */
    for (int k = 0; k < 4 && world_height(a) != world_height(b); k++) {
      world_node_t *low = world_height(a) < world_height(b) ? a : b;
      world_mine_to(&w, low, world_height(low) + 1, ROUNDS);
    }
    if (world_height(a) != world_height(b)) {
      qr_link_mem_heal(a->link);
      world_until_agree(&w, ROUNDS);
      continue;
    }
    const qr_node_t *ta = world_tip(a), *tb = world_tip(b);
    uint64_t ra = rule == QR_TIE_REWARD ? ta->header.reward : ta->reward_sum;
    uint64_t rb = rule == QR_TIE_REWARD ? tb->header.reward : tb->reward_sum;
    qr_hash_t expect = ra > rb ? ta->hash : tb->hash;
    qr_link_mem_heal(a->link);
    world_until_agree(&w, ROUNDS);
    if (ra == rb) continue;
    assert_memory_equal(&world_tip(a)->hash, &expect, sizeof expect);
    ++*wins;
  }
  world_fini(&w);
}

static void test_tie_by_reward(void **state) {
  (void)state;
  uint64_t wins = 0;
  settle_tie(QR_TIE_REWARD, "tie-a", &wins);
  assert_true(wins > 0);
}

static void test_tie_by_reward_sum(void **state) {
  (void)state;
  uint64_t wins = 0;
  settle_tie(QR_TIE_REWARD_SUM, "tie-b", &wins);
  assert_true(wins > 0);
}

/* Under the last seed the joiner ends its sync on one of two tips of equal work. */
static void test_late_joiner_verifies_all(void **state) {
  (void)state;
  static const uint64_t seeds[] = {0, 1, 578};
  for (size_t i = 0; i < QR_ARRAY_CNT(seeds); i++) {
    static world_t w;
    qr_params_t p;
    world_params(&p, 2);
    world_init(&w, "joiner", &p);
    w.seed = seeds[i];
    world_node_t *a = world_add(&w, true);
    world_add(&w, true);
    world_until_height(&w, a, 40, ROUNDS);
    world_node_t *late = world_add(&w, false);
    world_until_height(&w, late, 40, ROUNDS);
    world_stop_all(&w);
    world_until_agree(&w, ROUNDS);
    qr_status_t s = world_status(&w, late);
    assert_true(s.blocks_verified >= s.height);
    assert_int_equal(s.blocks_rejected, 0);
    assert_int_equal(s.blocks_mined, 0);
    world_fini(&w);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_heavier_branch_wins),
      cmocka_unit_test(test_tie_by_reward),
      cmocka_unit_test(test_tie_by_reward_sum),
      cmocka_unit_test(test_late_joiner_verifies_all),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
