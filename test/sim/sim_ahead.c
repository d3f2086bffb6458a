/* Blocks are executed ahead of the verdicts of those before them. What is accepted, in which order,
   who is blamed and what remains is as if one were executed after the other, however many verify
   tiles there are. */
#include "sim/branch.h"
#include "tile/chain_int.h"

#define CHAIN_CNT 12u
#define PEER 7u
#define FRIEND 8u
#define ROUNDS 400000u

/* scale: of rewards; 0: as it is. With a small one they are all at their ends, and equal. */
static void ahead_world_with(world_t *w, const char *name, uint32_t task_cnt, int64_t scale) {
  qr_params_t p;
  world_params(&p, 0);
  if (scale) p.tasks[0].reward_scale = p.tasks[1].reward_scale = scale;
  p.task_cnt = task_cnt;
  if (task_cnt == 1) memset(&p.tasks[1], 0, sizeof p.tasks[1]);
  world_init(w, name, &p);
}

static void ahead_world(world_t *w, const char *name, uint32_t task_cnt) {
  ahead_world_with(w, name, task_cnt, 0);
}

/* What peers were told, in order. */
typedef struct {
  qr_hash_t accepted[2 * CHAIN_CNT];
  uint32_t accepted_cnt;
  struct {
    qr_hash_t hash;
    uint32_t peer;
    enum qr_verdict verdict;
  } rejected[2 * CHAIN_CNT];
  uint32_t rejected_cnt, fetch_cnt;
} told_t;

static void listen(rig_t *r, told_t *told) {
  qr_outbound_t out;
  while (qr_ring_pop(r->to_net, &out)) {
    if (out.kind == QR_OUT_ACCEPTED) {
      assert_true(told->accepted_cnt < QR_ARRAY_CNT(told->accepted));
      told->accepted[told->accepted_cnt++] = out.hash;
    } else if (out.kind == QR_OUT_REJECTED) {
      assert_true(told->rejected_cnt < QR_ARRAY_CNT(told->rejected));
      told->rejected[told->rejected_cnt].hash = out.hash;
      told->rejected[told->rejected_cnt].peer = out.peer;
      told->rejected[told->rejected_cnt++].verdict = out.verdict;
    } else if (out.kind == QR_OUT_FETCH_MODEL) {
      told->fetch_cnt++;
    }
  }
}

/* Rounds until so many blocks have been decided on. */
static void run_until(rig_t *r, told_t *told, uint32_t accepted_cnt, uint32_t rejected_cnt) {
  for (uint32_t i = 0; i < 5000; i++) {
    listen(r, told);
    if (told->accepted_cnt >= accepted_cnt && told->rejected_cnt >= rejected_cnt) break;
    rig_rounds(r, 1);
  }
  assert_int_equal(told->accepted_cnt, accepted_cnt);
  assert_int_equal(told->rejected_cnt, rejected_cnt);
}

static const qr_hash_t *verdict_of(const told_t *told, const forged_t *f, uint32_t peer,
                                   enum qr_verdict want) {
  qr_hash_t hash = qr_header_hash(&f->header);
  for (uint32_t i = 0; i < told->rejected_cnt; i++) {
    if (!qr_hash_eq(&told->rejected[i].hash, &hash)) continue;
    assert_int_equal(told->rejected[i].peer, peer);
    if (told->rejected[i].verdict != want) {
      fail_msg("height %llu: %s instead of %s", (unsigned long long)f->header.height,
               qr_verdict_str(told->rejected[i].verdict), qr_verdict_str(want));
    }
    return &told->rejected[i].hash;
  }
  fail_msg("no verdict against height %llu", (unsigned long long)f->header.height);
  return NULL;
}

static uint32_t orders_out(const rig_t *r) {
  uint32_t cnt = 0;
  for (uint32_t i = 0; i < r->verify_cnt; i++) cnt += qr_ring_cnt(r->orders[i]);
  return cnt;
}

/* The same blocks, given all at once: the same order, the same state. */
static void test_in_order(void **state) {
  (void)state;
  static const uint32_t cnts[] = {1, 2, 4, 8};
  for (uint32_t kind = 0; kind < 4; kind++) {
    qr_hash_t digest = {{0}};
    for (size_t k = 0; k < QR_ARRAY_CNT(cnts); k++) {
      static world_t w;
      static rig_t r;
      static branch_t b;
      static forged_t f[CHAIN_CNT];
      told_t told = {.accepted_cnt = 0};
      ahead_world_with(&w, "order", kind % 2 + 1, kind / 2);
      rig_init_with(&r, &w, cnts[k]);
      branch_init(&b, &r);
      for (uint32_t i = 0; i < CHAIN_CNT; i++) branch_mine(&b, &f[i], NULL);
      for (uint32_t i = 0; i < CHAIN_CNT; i++) rig_push(&r, &f[i], PEER);
      run_until(&r, &told, CHAIN_CNT, 0);
      for (uint32_t i = 0; i < CHAIN_CNT; i++) {
        qr_hash_t hash = qr_header_hash(&f[i].header);
        assert_memory_equal(&told.accepted[i], &hash, sizeof hash);
      }
      qr_hash_t d = qr_chain_tile_state_digest(r.chain);
      if (!k) digest = d;
      assert_memory_equal(&d, &digest, sizeof d);
      branch_fini(&b);
      rig_fini(&r);
    }
  }
}

/* A block of another task is given away at once, one of the same task as soon as the model before
   it is trained, both long before the verdicts that they wait for. */
static void test_given_ahead(void **state) {
  (void)state;
  static world_t w;
  static rig_t r;
  static branch_t b;
  static forged_t f[3];
  for (uint32_t tasks = 1; tasks <= 2; tasks++) {
    ahead_world(&w, "ahead", tasks);
    rig_init_with(&r, &w, 4);
    branch_init(&b, &r);
    for (uint32_t i = 0; i < 3; i++) branch_mine(&b, &f[i], NULL);
    for (uint32_t i = 0; i < 3; i++) rig_push(&r, &f[i], PEER);
    qr_chain_tile_poll(r.chain, w.now_ns);
    assert_int_equal(orders_out(&r), tasks);
    uint32_t polls = 0;
    for (; polls < 1000 && !qr_ring_cnt(r.orders[tasks]); polls++) {
      for (uint32_t i = 0; i < tasks; i++) qr_verify_tile_poll(r.verify[i], w.now_ns);
      qr_chain_tile_poll(r.chain, w.now_ns);
    }
    assert_in_range(polls, w.chain.p.step_cnt, 999); /* it was trained, not finished: */
    assert_int_equal(qr_chain_tile_tip(r.chain)->header.height, 0);
    branch_fini(&b);
    rig_fini(&r); /* with all of them in flight */
  }
}

static void forge_reward(forged_t *f) { f->header.reward ^= 1; }
static void forge_env_root(forged_t *f) { f->header.env_root.b[5] ^= 1; }
static void forge_replay_root(forged_t *f) { f->header.replay_root.b[5] ^= 1; }
static void forge_trace(forged_t *f) {
  f->trace[1].b[0] ^= 1;
  reseal(f);
}
static void forge_actions(forged_t *f) {
  f->actions[17] = (uint8_t)((f->actions[17] + 1) % 3);
  reseal(f);
}
static void forge_model(forged_t *f) { f->header.model_out.b[0] ^= 1; }

/* Block 4 is wrong, 5, 6 and 7 follow from it in every honest way and are in execution when that
   comes out: each goes with the blame that it had when blocks were executed one by one, nothing of
   them remains, and the honest blocks are taken from another peer at once. */
static void test_refuted_under_others(void **state) {
  (void)state;
  static const struct {
    void (*forge)(forged_t *f);
    enum qr_verdict want;
  } cases[] = {
      {forge_reward, QR_VERDICT_REWARD},           {forge_env_root, QR_VERDICT_ENV_ROOT},
      {forge_replay_root, QR_VERDICT_REPLAY_ROOT}, {forge_trace, QR_VERDICT_TRACE},
      {forge_actions, QR_VERDICT_ACTIONS},
  };
  static const uint32_t cnts[] = {1, 2, 4};
  for (size_t k = 0; k < QR_ARRAY_CNT(cases) * QR_ARRAY_CNT(cnts); k++) {
    static world_t w;
    static rig_t r;
    static branch_t honest, wrong;
    static forged_t good[8], bad[8];
    told_t told = {.accepted_cnt = 0};
    size_t i_case = k / QR_ARRAY_CNT(cnts);
    ahead_world(&w, "under", k % 2 + 1);
    rig_init_with(&r, &w, cnts[k % QR_ARRAY_CNT(cnts)]);
    branch_init(&honest, &r);
    branch_init(&wrong, &r);
    for (uint32_t i = 0; i < 8; i++) branch_mine(&honest, &good[i], NULL);
    for (uint32_t i = 0; i < 7; i++)
      branch_mine(&wrong, &bad[i], i == 3 ? cases[i_case].forge : NULL);
    for (uint32_t i = 0; i < 7; i++) rig_push(&r, &bad[i], PEER + 10 * i);
    run_until(&r, &told, 3, 4);
    verdict_of(&told, &bad[3], PEER + 30, cases[i_case].want);
    for (uint32_t i = 4; i < 7; i++)
      verdict_of(&told, &bad[i], PEER + 10 * i, QR_VERDICT_PARENT_INVALID);
    for (uint32_t i = 0; i < 3; i++) {
      qr_hash_t hash = qr_header_hash(&good[i].header);
      assert_memory_equal(&told.accepted[i], &hash, sizeof hash);
    }
    for (uint32_t i = 3; i < 8; i++) rig_push(&r, &good[i], FRIEND);
    run_until(&r, &told, 8, 4);
    qr_hash_t tip = qr_header_hash(&good[7].header);
    assert_memory_equal(&qr_chain_tile_tip(r.chain)->hash, &tip, sizeof tip);
    branch_fini(&honest);
    branch_fini(&wrong);
    rig_fini(&r); /* the pools are whole again, or this fails */
  }
}

/* A block whose outgoing model is not the claimed one; and one that says wrong things about the
   ledger under one that is wrong itself: nothing is said of it before its parent is known to be
   right. */
static void forge_state(forged_t *f) { f->header.state_root.b[0] ^= 1; }

static void test_wrong_child(void **state) {
  (void)state;
  for (int parent_wrong = 0; parent_wrong < 2; parent_wrong++) {
    static world_t w;
    static rig_t r;
    static branch_t b;
    static forged_t f[3];
    told_t told = {.accepted_cnt = 0};
    ahead_world(&w, "child", 2);
    rig_init_with(&r, &w, 2);
    branch_init(&b, &r);
    branch_mine(&b, &f[0], parent_wrong ? forge_reward : NULL);
    branch_mine(&b, &f[1], forge_state);
    rig_push(&r, &f[0], PEER);
    rig_push(&r, &f[1], FRIEND);
    for (int i = 0; i < 5; i++) {
      rig_rounds(&r, 1);
      listen(&r, &told);
    }
    assert_int_equal(told.rejected_cnt, 0);
    run_until(&r, &told, parent_wrong ? 0 : 1, parent_wrong ? 2 : 1);
    if (parent_wrong) verdict_of(&told, &f[0], PEER, QR_VERDICT_REWARD);
    verdict_of(&told, &f[1], FRIEND,
               parent_wrong ? QR_VERDICT_PARENT_INVALID : QR_VERDICT_STATE_ROOT);
    branch_fini(&b);
    rig_fini(&r);
  }
}

static void test_wrong_model(void **state) {
  (void)state;
  static world_t w;
  static rig_t r;
  static branch_t b;
  static forged_t f[3];
  told_t told = {.accepted_cnt = 0};
  ahead_world(&w, "model", 1);
  rig_init_with(&r, &w, 2);
  branch_init(&b, &r);
  branch_mine(&b, &f[0], forge_model);
  branch_mine(&b, &f[1], NULL); /* its incoming model is one that never comes */
  rig_push(&r, &f[0], PEER);
  rig_push(&r, &f[1], PEER);
  run_until(&r, &told, 0, 2);
  verdict_of(&told, &f[0], PEER, QR_VERDICT_MODEL_OUT);
  verdict_of(&told, &f[1], PEER, QR_VERDICT_PARENT_INVALID);
  branch_fini(&b);
  rig_fini(&r);
}

/* The model of a block does not come while its child is in execution: both are forgotten, nobody is
   to blame, and they can come again. */
static void test_model_missing_under_others(void **state) {
  (void)state;
  static world_t w;
  static rig_t r;
  static branch_t b;
  static forged_t f[2];
  uint32_t missing_cnt = 0;
  qr_outbound_t out;
  ahead_world(&w, "missing", 2);
  rig_init_with(&r, &w, 2);
  branch_init(&b, &r);
  /* not the genesis model: it has to be fetched */
  qr_model_obj_t *own = qr_objects_model(&r.objects, 0);
  memcpy(own->bytes, b.tasks[0].line->bytes, own->sz);
  own->bytes[100] ^= 1;
  own->root = qr_model_root(&w.chain.nets[0], own->bytes);
  qr_pool_unref(b.tasks[0].line);
  b.tasks[0].line = own;
  branch_mine(&b, &f[0], NULL);
  branch_mine(&b, &f[1], NULL);
  rig_push(&r, &f[0], PEER);
  rig_push(&r, &f[1], FRIEND);
  qr_chain_tile_poll(r.chain, w.now_ns);
  assert_int_equal(orders_out(&r), 1); /* of the second alone */
  rig_rounds(&r, 2);
  qr_inbound_t failed = {.kind = QR_IN_MODEL_FAILED,
                         .peer = PEER,
                         .hash = qr_header_hash(&f[0].header),
                         .root = f[0].header.model_in};
  assert_true(qr_ring_push(r.from_net, &failed));
  qr_chain_tile_poll(r.chain, w.now_ns);
  assert_int_equal(orders_out(&r), 1); /* to leave it */
  rig_rounds(&r, 100);
  while (qr_ring_pop(r.to_net, &out)) {
    if (out.kind != QR_OUT_REJECTED) continue;
    assert_int_equal(out.peer, FRIEND);
    assert_int_equal(out.verdict, QR_VERDICT_WITNESS_MISSING);
    missing_cnt++;
  }
  assert_int_equal(missing_cnt, 1);
  rig_push(&r, &f[0], FRIEND);
  assert_int_equal(rig_verdict(&r, &f[0], FRIEND), QR_VERDICT_OK);
  rig_push(&r, &f[1], FRIEND);
  assert_int_equal(rig_verdict(&r, &f[1], FRIEND), QR_VERDICT_OK);
  branch_fini(&b);
  rig_fini(&r);
}

/* Grows a branch of one task until a block, but the first, becomes the target (or does not), and by
   one more: that one stands on the training of the other for its target (or for its incoming model
   only). The number of the other. */
static uint32_t grow_until(branch_t *b, forged_t *f, uint32_t cnt, bool is_target) {
  for (uint32_t i = 0; i + 1 < cnt; i++) {
    branch_mine(b, &f[i], NULL);
    const branch_task_t *t = &b->tasks[0];
    if (i && (branch_target(b, t) == t->blocks[i].model) == is_target) {
      branch_mine(b, &f[i + 1], NULL);
      return i;
    }
  }
  fail_msg("no such block");
  return 0;
}

/* A block whose target may be the model that comes out of the one before waits for it, whatever
   else is there. */
static void test_target_is_waited_for(void **state) {
  (void)state;
  static world_t w;
  static rig_t r;
  static branch_t b;
  static forged_t f[CHAIN_CNT];
  told_t told = {.accepted_cnt = 0};
  ahead_world(&w, "target", 1);
  rig_init_with(&r, &w, 2);
  branch_init(&b, &r);
  uint32_t i = grow_until(&b, f, CHAIN_CNT, true);
  for (uint32_t k = 0; k < i; k++) rig_push(&r, &f[k], PEER);
  run_until(&r, &told, i, 0);
  rig_push(&r, &f[i], PEER);
  rig_push(&r, &f[i + 1], PEER);
  qr_chain_tile_poll(r.chain, w.now_ns);
  qr_verify_tile_poll(r.verify[0], w.now_ns); /* it has played the actions, no more */
  for (int k = 0; k < 30; k++) {
    if (k == 20) rig_push_model(&r, &f[i + 1], PEER);
    qr_chain_tile_poll(r.chain, w.now_ns);
    w.now_ns += 1000000;
    assert_int_equal(orders_out(&r), 0);
  }
  run_until(&r, &told, i + 2, 0);
  branch_fini(&b);
  rig_fini(&r);
}

/* While a block is in training, the next one's model is waited for; after a while it is fetched,
   and the block is in execution before the one that it follows is trained. If it does not come,
   nothing is lost. */
static void test_model_fetched_ahead(void **state) {
  (void)state;
  for (int comes = 0; comes < 3; comes++) {
    static world_t w;
    static rig_t r;
    static branch_t b;
    static forged_t f[CHAIN_CNT];
    told_t told = {.accepted_cnt = 0};
    ahead_world(&w, "fetched", 1);
    rig_init_with(&r, &w, 2);
    branch_init(&b, &r);
    uint32_t i = grow_until(&b, f, CHAIN_CNT, false);
    for (uint32_t k = 0; k < i; k++) rig_push(&r, &f[k], PEER);
    run_until(&r, &told, i, 0);
    rig_push(&r, &f[i], PEER);
    rig_push(&r, &f[i + 1], PEER);
    told.fetch_cnt = 0;
    qr_chain_tile_poll(r.chain, w.now_ns);
    qr_verify_tile_poll(r.verify[0], w.now_ns); /* it has played the actions, no more */
    for (int k = 0; k < 30 && !told.fetch_cnt; k++) {
      assert_int_equal(orders_out(&r), 0);
      qr_chain_tile_poll(r.chain, w.now_ns);
      listen(&r, &told);
      w.now_ns += 1000000;
      assert_true(k < 4 || told.fetch_cnt); /* a few milliseconds */
    }
    assert_int_equal(told.fetch_cnt, 1);
    if (comes == 2) {
      qr_inbound_t failed = {.kind = QR_IN_MODEL_FAILED,
                             .peer = PEER,
                             .hash = qr_header_hash(&f[i + 1].header),
                             .root = f[i + 1].header.model_in};
      assert_true(qr_ring_push(r.from_net, &failed));
    } else if (comes) {
      rig_push_model(&r, &f[i + 1], PEER);
      qr_chain_tile_poll(r.chain, w.now_ns);
      qr_chain_tile_poll(r.chain, w.now_ns);
      assert_int_equal(qr_ring_cnt(r.orders[1]), 1);
    }
    run_until(&r, &told, i + 2, 0);
    assert_int_equal(told.fetch_cnt, 1);
    branch_fini(&b);
    rig_fini(&r);
  }
}

/* Who may become a target, by the words of the protocol: at most twice the error of the newest of
   the eight blocks of the task before it that may. */
static void check_eligible(world_t *w, const world_node_t *n) {
  qr_node_t *b = (qr_node_t *)(uintptr_t)world_tip(n);
  uint32_t refused_cnt = 0;
  for (; b->parent; b = b->parent) {
    const qr_exec_t *e = b->user;
    bool want = true;
    const qr_node_t *m = b->task_parent;
    for (uint32_t i = 0; m && i < w->chain.p.target_window; i++, m = m->task_parent) {
      const qr_exec_t *before = m->user;
      if (!before->facts.eligible) continue;
      want = e->facts.td_abs_sum <= 2 * before->facts.td_abs_sum;
      break;
    }
    assert_int_equal(e->facts.eligible, want);
    refused_cnt += !want;
  }
  print_message("%u blocks could not become a target\n", refused_cnt);
}

/* Whole nodes with one, two and four verify tiles join a chain that two miners made, with its forks
   and adopted models. The one with four is stopped in the middle of its sync, over and over. */
static void test_nodes_agree(void **state) {
  (void)state;
  for (uint64_t seed = 0; seed < 3; seed++) {
    static world_t w;
    qr_params_t p;
    world_params(&p, 2);
    if (seed == 2) { /* one task after the other's: all blocks stand on each other */
      p.task_cnt = 1;
      memset(&p.tasks[1], 0, sizeof p.tasks[1]);
    }
    world_init(&w, "agree", &p);
    w.seed = seed;
    w.adopt_margin = 0;
    world_node_t *a = world_add(&w, true);
    world_add(&w, true);
    world_until_height(&w, a, 40, ROUNDS);
    world_stop_all(&w);
    static const uint32_t cnts[] = {1, 2, 4};
    world_node_t *n = NULL;
    for (size_t i = 0; i < QR_ARRAY_CNT(cnts); i++) {
      w.verify_cnt = cnts[i];
      n = world_add(&w, false);
    }
    for (uint64_t stop = 5; stop < 40; stop += 7) {
      world_until_height(&w, n, stop, ROUNDS);
      world_restart(&w, n);
    }
    for (uint32_t i = 2; i < w.node_cnt; i++) world_until_height(&w, &w.nodes[i], 40, ROUNDS);
    world_until_agree(&w, ROUNDS);
    for (uint32_t i = 2; i < w.node_cnt; i++) {
      qr_status_t s = world_status(&w, &w.nodes[i]);
      assert_int_equal(s.blocks_rejected, 0);
      assert_int_equal(s.blocks_mined, 0);
    }
    check_eligible(&w, &w.nodes[2]);
    world_fini(&w);
  }
}

/* The model of our own miner's block is there for peers before the block is executed once more, and
   that of a peer's block is not. */
static void test_own_model_is_offered(void **state) {
  (void)state;
  static world_t w;
  static rig_t r;
  static branch_t b;
  static forged_t f[2];
  qr_outbound_t out;
  ahead_world(&w, "own", 1);
  rig_init(&r, &w);
  branch_init(&b, &r);
  for (uint32_t i = 0; i < 2; i++) branch_mine(&b, &f[i], NULL);
  for (uint32_t i = 0; i < 2; i++) {
    uint32_t offer_cnt = 0;
    while (qr_ring_pop(r.to_net, &out)) {
    }
    qr_block_obj_t *block = qr_objects_block(&r.objects);
    qr_model_obj_t *model = qr_objects_model(&r.objects, 0);
    qr_body_t body = body_of(&f[i]);
    static uint8_t bytes[QR_BLOCK_MAX_SZ];
    qr_header_encode(&f[i].header, bytes);
    qr_body_encode(&body, bytes + QR_HEADER_SZ);
    block->peer = i ? PEER : 0;
    assert_int_equal(qr_block_obj_decode(block, bytes, QR_HEADER_SZ + qr_body_sz(&body)), 0);
    memcpy(model->bytes, f[i].model, f[i].model_sz);
    model->sz = f[i].model_sz;
    model->root = f[i].header.model_in;
    qr_inbound_t in = {.kind = QR_IN_BLOCK, .peer = block->peer, .block = block, .model = model};
    in.hash = qr_header_hash(&f[i].header);
    assert_true(qr_ring_push(r.from_net, &in));
    qr_chain_tile_poll(r.chain, w.now_ns);
    while (qr_ring_pop(r.to_net, &out)) {
      assert_int_not_equal(out.kind, QR_OUT_ACCEPTED);
      if (out.kind != QR_OUT_OFFER_MODEL) continue;
      offer_cnt++;
      assert_memory_equal(out.block->bytes, bytes, QR_HEADER_SZ);
      assert_memory_equal(out.model->bytes, f[i].model, f[i].model_sz);
      qr_pool_unref(out.block);
      qr_pool_unref(out.model);
    }
    assert_int_equal(offer_cnt, i ? 0 : 1);
    assert_int_equal(rig_verdict(&r, &f[i], PEER), QR_VERDICT_OK);
  }
  branch_fini(&b);
  rig_fini(&r);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_in_order),
      cmocka_unit_test(test_given_ahead),
      cmocka_unit_test(test_refuted_under_others),
      cmocka_unit_test(test_wrong_child),
      cmocka_unit_test(test_wrong_model),
      cmocka_unit_test(test_model_missing_under_others),
      cmocka_unit_test(test_target_is_waited_for),
      cmocka_unit_test(test_model_fetched_ahead),
      cmocka_unit_test(test_own_model_is_offered),
      cmocka_unit_test(test_nodes_agree),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
