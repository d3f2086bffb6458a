/* Nodes that keep only the newest blocks: what they hold is bounded and whole, they reorganise and
   start again like others, and those who ask them for more do not hold it against them. */
#include "chain/prune.h"
#include "sim/store_audit.h"

#define ROUNDS 2000000u
#define REORG_LIMIT 12u

/* A node that prunes as deep as is permitted. */
static world_node_t *add_pruned(world_t *w, bool mine) {
  world_node_t *n = world_add(w, mine);
  world_close(n);
  n->config.prune_depth = qr_prune_depth_min(&w->chain.p);
  world_open(w, n);
  return n;
}

static void check_bounds(const world_t *w, const world_node_t *n) {
  uint64_t least = qr_prune_depth_min(&w->chain.p);
  qr_audit_result_t r = audit_sound(w, n);
  uint64_t height = world_height(n);
  assert_int_equal(r.tip.height, height);
  assert_int_equal(r.held.from, height > least ? height - least + 1 : 1);
  assert_int_equal(r.block_cnt, height > least ? least : height);
  assert_true(r.model_cnt <= 2 * (r.block_cnt + r.side_cnt));
  assert_true(r.segment_cnt == r.block_cnt);
}

static void test_what_is_held_is_bounded(void **state) {
  (void)state;
  static world_t w;
  world_init_small(&w, "prune", REORG_LIMIT);
  world_node_t *a = world_add(&w, true), *b = add_pruned(&w, true);
  uint64_t least = qr_prune_depth_min(&w.chain.p);
  assert_int_equal(least, REORG_LIMIT + 2 * 4);
  for (uint64_t stop = 10; stop <= 130; stop += 40) {
    world_until_height(&w, a, stop, ROUNDS);
    world_stop_all(&w);
    world_until_agree(&w, ROUNDS);
    check_bounds(&w, b);
    world_restart(&w, b);
    world_until_agree(&w, ROUNDS);
    check_bounds(&w, b);
    world_mine(&w, a, true);
    world_mine(&w, b, true);
  }
  qr_status_t s = world_status(&w, b);
  assert_int_equal(s.prune_depth, least);
  assert_true(s.held_from > 100);
  qr_reply_t r = world_ask(&w, b, (qr_query_t){.kind = QR_QUERY_BLOCK, .height = 5});
  assert_int_equal(r.err, 0);
  assert_false(r.block.held);
  r = world_ask(&w, b, (qr_query_t){.kind = QR_QUERY_VERIFY, .height = 5});
  assert_int_equal(r.err, QR_ERR_NOTFOUND);
  /* A block whose windows went is held, and cannot be executed once more. */
  r = world_ask(&w, b, (qr_query_t){.kind = QR_QUERY_VERIFY, .height = s.held_from + 7});
  assert_int_equal(r.err, QR_ERR_NOTFOUND);
  r = world_ask(&w, b, (qr_query_t){.kind = QR_QUERY_VERIFY, .height = s.held_from + 8});
  assert_int_equal(r.err, 0);
  assert_int_equal(r.verify.verdict, QR_VERDICT_OK);
  assert_int_equal(audit_sound(&w, a).held.from, 1);
  world_fini(&w);
}

/* As deep as the chain permits, from a store that was just pruned and opened. */
static void test_deepest_reorganisation(void **state) {
  (void)state;
  static world_t w;
  world_init_small(&w, "prune-deep", REORG_LIMIT);
  world_node_t *a = world_add(&w, false), *b = add_pruned(&w, false);
  world_mine_to(&w, a, 60, ROUNDS);
  world_until_agree(&w, ROUNDS);
  qr_link_mem_group(b->link, 1);
  world_mine_to(&w, b, 60 + REORG_LIMIT, ROUNDS);
  world_mine_to(&w, a, 60 + REORG_LIMIT + 3, ROUNDS);
  world_restart(&w, b);
  world_until_agree(&w, ROUNDS);
  assert_int_equal(world_status(&w, b).reorg_depth_max, REORG_LIMIT);
  world_mine_to(&w, b, world_height(b) + 2, ROUNDS);
  world_until_agree(&w, ROUNDS);
  audit_sound(&w, b);
  /* What the reorganisation left on the side goes with its height. */
  world_mine_to(&w, a, world_height(a) + 40, ROUNDS);
  world_until_agree(&w, ROUNDS);
  world_rounds(&w, 5000);
  check_bounds(&w, b);
  assert_int_equal(audit_sound(&w, b).side_cnt, 0);
  world_fini(&w);
}

static void test_asking_for_what_was_pruned_costs_nobody(void **state) {
  (void)state;
  static world_t w;
  world_init_small(&w, "prune-ask", REORG_LIMIT);
  world_node_t *a = world_add(&w, false), *b = add_pruned(&w, false);
  world_mine_to(&w, a, 80, ROUNDS);
  world_until_agree(&w, ROUNDS);
  qr_link_mem_group(a->link, 1);
  world_node_t *c = world_add(&w, false);
  for (int i = 0; i < 40; i++) { /* longer than any strike would take to end it */
    world_rounds(&w, 500);
    w.now_ns += 5000000000u;
  }
  world_rounds(&w, 20000);
  assert_int_equal(world_height(c), 0);
  qr_reply_t r = world_ask(&w, c, (qr_query_t){.kind = QR_QUERY_PEERS});
  bool seen = false;
  for (uint32_t i = 0; i < r.peers.cnt; i++) {
    if (memcmp(&r.peers.peers[i].identity, &b->key.pk, sizeof b->key.pk)) continue;
    seen = true;
    assert_int_equal(r.peers.peers[i].misbehaviour, 0);
    assert_true(r.peers.peers[i].pruned);
  }
  assert_true(seen);
  qr_link_mem_heal(a->link);
  world_until_agree(&w, ROUNDS);
  assert_int_equal(world_height(c), 80);
  world_fini(&w);
}

static void test_too_little_is_refused(void **state) {
  (void)state;
  static world_t w;
  char why[512];
  world_init_small(&w, "prune-little", REORG_LIMIT);
  world_node_t *a = world_add(&w, false);
  qr_topology_fini(a->topology);
  a->config.prune_depth = qr_prune_depth_min(&w.chain.p) - 1;
  qr_topology_cfg_t cfg = {.chain = &w.chain,
                           .config = &a->config,
                           .key = &a->key,
                           .store_ops = a->store_ops,
                           .store = &a->store,
                           .store_dir = a->store_dir,
                           .store_options = a->store_options,
                           .accel_ops = qr_accel_driver("cpu"),
                           .accel = a->accel,
                           .clock = &w.clock};
  assert_int_equal(qr_topology_init(&cfg, &a->topology, why, sizeof why), QR_ERR_ARG);
  assert_non_null(strstr(why, "store.prune_depth is 19"));
  assert_non_null(strstr(why, "the last 20 blocks"));
  a->config.prune_depth = 0;
  assert_int_equal(qr_topology_init(&cfg, &a->topology, why, sizeof why), 0);
  world_fini(&w);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_what_is_held_is_bounded),
      cmocka_unit_test(test_deepest_reorganisation),
      cmocka_unit_test(test_asking_for_what_was_pruned_costs_nobody),
      cmocka_unit_test(test_too_little_is_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
