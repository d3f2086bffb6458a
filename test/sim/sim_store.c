/* What a node does when its disk fails: it writes nothing after a commit that failed, opens the
   store again, reads its tip and goes on from there, and whatever it has told anybody is there. */
#include "sim/branch.h"

#include "tile/chain_int.h"

#include <fcntl.h>

#define ROUNDS 2000000u

/* What the node says of every failure is for people. */
static void begin(world_t *w, const char *name) {
  world_init_small(w, name, 0);
  qr_log_init(QR_LOG_ERROR, open("/dev/null", O_WRONLY | O_CLOEXEC));
}

static bool failed(const world_node_t *n) {
  return qr_chain_tile_failed(qr_topology_chain(n->topology));
}

/* A run that is over in good order leaves what it stood for on the disk. */
static void check_restart(world_t *w, world_node_t *n) {
  for (int i = 0; i < 1000 && world_status(w, n).writing != QR_WRITING_ON; i++)
    world_rounds(w, 1000);
  world_rounds(w, 20000);
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

/* A disk whose space comes and goes. */
typedef struct {
  bool full;
  uint32_t yield_cnt;
} fake_disk_t;

static bool fake_has_room(void *ctx, char *why, size_t why_sz) {
  snprintf(why, why_sz, "as the test wants it");
  return !((fake_disk_t *)ctx)->full;
}

static void fake_yield(void *ctx) { ((fake_disk_t *)ctx)->yield_cnt++; }

/* A disk that fails again and again, late and in every way, and sometimes does not even open:
   nobody notices but by the time it takes. */
static void test_many_failures(void **state) {
  (void)state;
  uint64_t failure_cnt = 0, yield_cnt = 0;
  for (unsigned seed = 1; seed <= 3; seed++) {
    static world_t w;
    char name[32], options[128];
    snprintf(name, sizeof name, "failures-%u", seed);
    snprintf(options, sizeof options,
             "seed=%u;fail=1/8;survive=1/8;delay=1/4;delay_polls=30;open_fail=1/3", seed);
    begin(&w, name);
    w.seed = seed;
    world_node_t *a = world_add(&w, true), *b = world_add(&w, true);
    fake_disk_t disk = {.full = false};
    qr_reserve_t reserve = {fake_has_room, fake_yield, &disk};
    b->reserve = &reserve;
    world_restart_on(&w, b, "error", NULL, options);
    world_until_height(&w, b, 60, ROUNDS);
    assert_false(failed(b));
    failure_cnt += world_status(&w, b).commit_failures;
    world_stop_all(&w);
    world_until_agree(&w, ROUNDS);
    check_restart(&w, b);
    assert_true(world_height(a) >= 60);
    world_fini(&w);
    yield_cnt += disk.yield_cnt;
  }
  assert_true(failure_cnt >= 10);
  assert_true(yield_cnt > 0); /* what an open that fails may need */
}

/* While the disk is full no block is taken and none is mined, all questions are answered, and a
   block that was accepted just before waits. */
static void test_full_disk(void **state) {
  (void)state;
  static world_t w;
  fake_disk_t disk = {.full = false};
  qr_reserve_t reserve = {fake_has_room, fake_yield, &disk};
  begin(&w, "full");
  world_node_t *a = world_add(&w, true), *b = world_add(&w, true);
  b->reserve = &reserve;
  world_restart(&w, b);
  world_until_height(&w, b, 10, ROUNDS);
  for (int round = 0; round < 3; round++) {
    disk.full = true;
    for (int i = 0; i < 100000 && world_status(&w, b).writing != QR_WRITING_DISK_FULL; i++)
      world_rounds(&w, 10);
    qr_status_t then = world_status(&w, b);
    assert_int_equal(then.writing, QR_WRITING_DISK_FULL);
    world_until_height(&w, a, world_height(a) + 10, ROUNDS);
    qr_status_t now = world_status(&w, b);
    assert_int_equal(now.height, then.height);
    assert_false(now.mining);
    assert_int_equal(now.blocks_mined, then.blocks_mined);
    assert_int_equal(now.verify.commit_cnt, then.verify.commit_cnt);
    assert_int_equal(world_ask(&w, b, (qr_query_t){.kind = QR_QUERY_BLOCK, .height = 5}).err, 0);
    qr_reply_t r = world_ask(&w, b, (qr_query_t){.kind = QR_QUERY_VERIFY, .height = 5});
    assert_int_equal(r.err + (int)r.verify.verdict, 0);
    disk.full = false;
    world_until_height(&w, b, world_height(a) + 5, ROUNDS);
    assert_int_equal(world_status(&w, b).writing, QR_WRITING_ON);
  }
  assert_int_equal(world_status(&w, b).commit_failures, 0);
  world_stop_all(&w);
  world_until_agree(&w, ROUNDS);
  check_restart(&w, b);
  world_fini(&w);
}

/* Verification does not wait for the disk: blocks are executed and accepted while those before them
   are on their way to it, up to a limit; there it waits, and says for what. */
static void test_commits_overlap_verification(void **state) {
  (void)state;
  static world_t w;
  begin(&w, "overlap");
  world_node_t *a = world_add(&w, true);
  world_mine_to(&w, a, 60, ROUNDS);
  world_node_t *b = world_add(&w, false);
  qr_store_mem_hold(b->store, true);
  world_until_height(&w, b, QR_COMMIT_MAX_CNT, ROUNDS);
  qr_status_t then = world_status(&w, b);
  assert_int_equal(then.verify.commit_cnt, 0);
  assert_true(then.blocks_verified >= QR_COMMIT_MAX_CNT);
  world_rounds(&w, 5000);
  qr_status_t now = world_status(&w, b);
  assert_int_equal(now.height, QR_COMMIT_MAX_CNT);
  assert_true(now.verify.wait_ns[QR_VERIFY_WAIT_COMMIT] >
              then.verify.wait_ns[QR_VERIFY_WAIT_COMMIT]);
  qr_store_mem_hold(b->store, false);
  world_until_agree(&w, ROUNDS);
  assert_true(world_status(&w, b).verify.commit_cnt >= 60);
  world_fini(&w);
}

/* Until the block is executed. No peer is asked for the model that it begins with. */
static void execute(rig_t *r, const qr_hash_t *hash) {
  qr_outbound_t out;
  for (int i = 0; i < 5000; i++) {
    rig_rounds(r, 1);
    const qr_node_t *n = qr_tree_find(r->chain->tree, hash);
    if (n && n->state == QR_NODE_EXECUTED) return;
    while (qr_ring_pop(r->to_net, &out)) assert_int_not_equal(out.kind, QR_OUT_FETCH_MODEL);
  }
  fail_msg("it is not executed");
}

/* Blocks that are still on their way to the disk, and are in memory no more, are what a branch that
   comes then stands on: it is executed all the same. */
static void test_reorganisation_ahead_of_the_disk(void **state) {
  (void)state;
  enum { LONG = 26, FORK = 4, SHORT = 5 };
  static world_t w;
  static rig_t r;
  static branch_t a, b;
  static forged_t f;
  qr_params_t p;
  world_params(&p, 0);
  p.task_cnt = 1;
  memset(&p.tasks[1], 0, sizeof p.tasks[1]);
  p.replay_rows = 256;
  p.witness_window = p.target_window = 4;
  world_init(&w, "ahead", &p);
  rig_init(&r, &w);
  branch_init(&a, &r);
  branch_init(&b, &r);
  qr_store_mem_hold(r.store, true);
  for (uint32_t i = 0; i < LONG; i++) { /* more than stay in memory */
    branch_mine(&a, &f, NULL);
    rig_push(&r, &f, 1);
    execute(&r, &a.parent);
    if (i < FORK) branch_mine(&b, &f, NULL);
  }
  b.late_ms = 1;
  for (uint32_t i = 0; i < SHORT; i++) {
    branch_mine(&b, &f, NULL);
    rig_push(&r, &f, 2);
    execute(&r, &b.parent);
  }
  assert_false(qr_chain_tile_failed(r.chain));
  assert_int_equal(r.chain->commit_cnt, LONG + SHORT);
  assert_int_equal(r.chain->durable_tip->header.height, 0);
  qr_store_mem_hold(r.store, false);
  rig_rounds(&r, 300);
  assert_int_equal(r.chain->durable_tip->header.height, LONG);
  branch_fini(&a);
  branch_fini(&b);
  rig_fini(&r);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_one_failure),
      cmocka_unit_test(test_many_failures),
      cmocka_unit_test(test_full_disk),
      cmocka_unit_test(test_commits_overlap_verification),
      cmocka_unit_test(test_reorganisation_ahead_of_the_disk),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
