/* A miner's own lines of models: what it trains is kept while it stays on its line, and no longer
 * counted as kept once the line is given up, before it won a block, for a better model of the
 * chain. */
#include "sim/world.h"

#define ROUNDS 400000u

/* Steps done and kept by all of two miners that compete over some blocks. */
static void mine_with_margin(uint32_t margin, const char *name, uint64_t *done, uint64_t *kept) {
  static world_t w;
  qr_params_t p;
  world_params(&p, 3);
  world_init(&w, name, &p);
  w.adopt_margin = margin;
  world_node_t *a = world_add(&w, true);
  world_add(&w, true);
  world_until_height(&w, a, 40, ROUNDS);
  world_stop_all(&w);
  world_until_agree(&w, ROUNDS);
  *done = *kept = 0;
  for (uint32_t i = 0; i < w.node_cnt; i++) {
    qr_status_t s = world_status(&w, &w.nodes[i]);
    assert_true(s.steps_kept <= s.steps_done);
    assert_true(s.steps_done >= s.attempts * p.step_cnt);
    *done += s.steps_done;
    *kept += s.steps_kept;
  }
  world_fini(&w);
}

static void test_steps_kept(void **state) {
  (void)state;
  uint64_t done, kept;
  mine_with_margin(65536, "stubborn", &done, &kept);
  assert_true(done > 0);
  assert_int_equal(kept, done);
  mine_with_margin(0, "eager", &done, &kept);
  assert_true(kept > 0);
  assert_true(kept < done);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_steps_kept)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
