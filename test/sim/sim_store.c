/* What a node does when its disk fails: it writes nothing after a commit that failed, opens the
   store again, reads its tip and goes on from there, and whatever it has told anybody is there. */
#include "sim/rig.h"

#include <fcntl.h>

#define ROUNDS 2000000u

static void small_params(qr_params_t *p) {
  world_params(p, 3);
  p->replay_rows = 256;
  p->witness_window = 4;
  p->target_window = 4;
}

/* What the node says of every failure is for people. */
static void begin(world_t *w, const char *name) {
  qr_params_t p;
  small_params(&p);
  world_init(w, name, &p);
  qr_log_init(QR_LOG_ERROR, open("/dev/null", O_WRONLY | O_CLOEXEC));
}

static bool failed(const world_node_t *n) {
  return qr_chain_tile_failed(qr_topology_chain(n->topology));
}

/* A run that is over in good order leaves what it stood for on the disk. */
static void check_restart(world_t *w, world_node_t *n) {
  for (int i = 0; i < 1000 && world_status(w, n).writing != QR_WRITING_ON; i++)
    world_rounds(w, 1000);
  world_rounds(w, 100000);
  qr_hash_t before = qr_chain_tile_state_digest(qr_topology_chain(n->topology));
  world_restart_on(w, n, "mem", NULL, "keep=1");
  qr_hash_t after = qr_chain_tile_state_digest(qr_topology_chain(n->topology));
  assert_memory_equal(&before, &after, sizeof before);
}

/* One commit fails, and all that follow with it; it is on the disk all the same, or is not. */
static void test_one_failure(void **state) {
  (void)state;
  for (int survives = 0; survives < 2; survives++) {
    static world_t w;
    begin(&w, survives ? "fail-late" : "fail");
    world_node_t *a = world_add(&w, true), *b = world_add(&w, true);
    world_until_height(&w, b, 12, ROUNDS);
    qr_store_mem_fail(b->store, 3, survives);
    world_until_height(&w, b, 20, ROUNDS);
    assert_false(failed(b));
    assert_int_equal(world_status(&w, b).commit_failures, 1);
    assert_int_equal(world_status(&w, b).writing, QR_WRITING_ON);
    world_stop_all(&w);
    world_until_agree(&w, ROUNDS);
    check_restart(&w, b);
    assert_true(world_height(a) >= 20);
    world_fini(&w);
  }
}

/* A disk that fails again and again, late and in every way, and sometimes does not even open:
   nobody notices but by the time it takes. */
static void test_many_failures(void **state) {
  (void)state;
  uint64_t failure_cnt = 0;
  for (unsigned seed = 1; seed <= 3; seed++) {
    static world_t w;
    char name[32], options[128];
    snprintf(name, sizeof name, "failures-%u", seed);
    snprintf(options, sizeof options,
             "seed=%u;fail=1/8;survive=1/8;delay=1/4;delay_polls=30;open_fail=1/3", seed);
    begin(&w, name);
    w.seed = seed;
    world_node_t *a = world_add(&w, true), *b = world_add(&w, true);
    world_restart_on(&w, b, "error", NULL, options);
    world_until_height(&w, b, 60, ROUNDS);
    assert_false(failed(b));
    failure_cnt += world_status(&w, b).commit_failures;
    world_stop_all(&w);
    world_until_agree(&w, ROUNDS);
    check_restart(&w, b);
    assert_true(world_height(a) >= 60);
    world_fini(&w);
  }
  assert_true(failure_cnt >= 10);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_one_failure),
      cmocka_unit_test(test_many_failures),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
