/* Reorganisations deeper than what stays in memory, and restarts in the middle of them: segments
 * and models that were let go are rebuilt from the store, and what comes out is what a node that
 * never let go of anything has. */
#include "sim/world.h"

#define ROUNDS 2000000u

static qr_hash_t digest_of(const world_node_t *n) {
  return qr_chain_tile_state_digest(qr_topology_chain(n->topology));
}

static void test_deep_reorganisation(void **state) {
  (void)state;
  static world_t w;
  world_init_small(&w, "deep", 0);
  world_node_t *a = world_add(&w, true), *b = world_add(&w, false);
  world_until_height(&w, a, 10, ROUNDS);
  world_stop_all(&w);
  world_until_agree(&w, ROUNDS);
  uint64_t fork = world_height(a);
  qr_link_mem_group(b->link, 1);
  world_mine_to(&w, b, fork + 100, ROUNDS);
  world_mine_to(&w, a, fork + 120, ROUNDS);
  assert_true(world_height(a) > world_height(b));
  qr_link_mem_heal(a->link);
  world_until_agree(&w, ROUNDS);
  assert_true(world_status(&w, b).reorg_depth_max >= 100);
  /* The node that went so far back mines on from there. */
  world_mine_to(&w, b, world_height(b) + 2, ROUNDS);
  world_until_agree(&w, ROUNDS);
  world_fini(&w);
}

static void test_restart_keeps_all(void **state) {
  (void)state;
  static world_t w;
  world_init_small(&w, "restart", 0);
  world_node_t *a = world_add(&w, true), *b = world_add(&w, true);
  for (uint64_t stop = 15; stop <= 60; stop += 15) {
    world_until_height(&w, a, stop, ROUNDS);
    world_stop_all(&w);
    world_until_agree(&w, ROUNDS);
    qr_hash_t before = digest_of(b);
    world_restart(&w, b);
    qr_hash_t after = digest_of(b);
    assert_memory_equal(&before, &after, sizeof before);
    world_mine(&w, a, true);
    world_mine(&w, b, true);
  }
  world_stop_all(&w);
  world_until_agree(&w, ROUNDS);
  assert_true(world_height(b) >= 60);
  world_fini(&w);
}

/* Commits that were on their way are lost: nobody was told of those blocks, so nothing is missed.
 */
static void test_power_cut(void **state) {
  (void)state;
  static world_t w;
  world_init_small(&w, "cut", 0);
  world_node_t *a = world_add(&w, true), *b = world_add(&w, true);
  for (uint64_t h = 10; h <= 40; h += 10) {
    world_until_height(&w, b, h, ROUNDS);
    qr_store_mem_hold(b->store, true);
    uint64_t durable = world_height(b);
    world_until_height(&w, b, durable + 2, ROUNDS);
    qr_topology_fini(b->topology);
    qr_link_mem_ops.close(b->link);
    qr_accel_driver("cpu")->close(b->accel);
    qr_store_mem_crash(b->store);
    world_open(&w, b);
    assert_true(world_height(b) >= durable - 1 && world_height(b) <= durable);
  }
  world_stop_all(&w);
  world_until_agree(&w, ROUNDS);
  assert_true(world_height(a) >= 40);
  world_fini(&w);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_deep_reorganisation),
      cmocka_unit_test(test_restart_keeps_all),
      cmocka_unit_test(test_power_cut),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
