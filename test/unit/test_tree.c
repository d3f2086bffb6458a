/* The block tree: every header rule and its rank, fork choice under each tie rule, bad blocks. */
#include "unit/tree_bench.h"

/* --- header rules --- */

typedef struct {
  qr_chain_cfg_t *c;
  qr_tree_t *t;
  qr_node_t *tip, *deep,
      *bad; /* deep: too far below the tip to fork from; bad: an invalid child of the tip */
} rules_t;

static rules_t begin_rules(void) {
  rules_t r = {.c = make_cfg()};
  r.t = qr_tree_init(r.c);
  r.tip = genesis(r.t);
  for (int i = 0; i < 12; i++) {
    assert_true(mine(r.t, r.c, &r.tip, 0, 0));
    if (i == 4) r.deep = r.tip; /* height 5; 12 - 5 is one more than the limit */
  }
  r.bad = add(r.t, r.c, r.tip, 1, 0);
  qr_tree_invalid(r.t, r.bad);
  return r;
}

static void end_rules(rules_t *r) {
  qr_tree_fini(r->t);
  free(r->c);
}

static void break_time_ahead(const rules_t *r, qr_header_t *h) {
  h->time_ms += r->c->p.drift_ms + 1;
  grind(r->c, h, true);
}
static void break_ticket(const rules_t *r, qr_header_t *h) { grind(r->c, h, false); }
static void break_target(const rules_t *r, qr_header_t *h) { (void)r, h->target--; }
static void break_time(const rules_t *r, qr_header_t *h) {
  h->time_ms = qr_tree_median_time(r->t, r->tip);
}
static void break_task(const rules_t *r, qr_header_t *h) { (void)r, h->task ^= 1; }
static void break_depth(const rules_t *r, qr_header_t *h) {
  h->parent = r->deep->hash;
  h->height = r->deep->header.height + 1;
}
static void break_height(const rules_t *r, qr_header_t *h) { (void)r, h->height--; }
static void break_parent(const rules_t *r, qr_header_t *h) { h->parent = r->bad->hash; }
static void lose_parent(const rules_t *r, qr_header_t *h) { (void)r, h->parent.b[0] ^= 1; }
static void break_rules(const rules_t *r, qr_header_t *h) { (void)r, h->rules.b[31] ^= 1; }
static void break_chain(const rules_t *r, qr_header_t *h) { (void)r, h->chain_id++; }
static void break_version(const rules_t *r, qr_header_t *h) { (void)r, h->version++; }

typedef struct {
  void (*breaks)(const rules_t *r, qr_header_t *h);
  enum qr_verdict verdict;
} rule_t;

/* From the last rule to the first. */
static const rule_t rules[] = {
    {break_time_ahead, QR_VERDICT_TIME_AHEAD},
    {break_ticket, QR_VERDICT_TICKET},
    {break_target, QR_VERDICT_TARGET},
    {break_time, QR_VERDICT_TIME},
    {break_task, QR_VERDICT_TASK},
    {break_depth, QR_VERDICT_TOO_DEEP},
    {break_height, QR_VERDICT_HEIGHT},
    {break_parent, QR_VERDICT_PARENT_INVALID},
    {lose_parent, QR_VERDICT_PARENT_UNKNOWN},
    {break_rules, QR_VERDICT_CHAIN},
    {break_chain, QR_VERDICT_CHAIN},
    {break_version, QR_VERDICT_VERSION},
};

static void test_each_rule_alone(void **state) {
  (void)state;
  rules_t r = begin_rules();
  for (size_t i = 0; i < QR_ARRAY_CNT(rules); i++) {
    qr_header_t h = make_header(r.t, r.c, r.tip, qr_tree_median_time(r.t, r.tip) + 1, 5);
    uint64_t wall_ms = h.time_ms;
    qr_node_t *parent;
    assert_int_equal(qr_tree_check(r.t, &h, wall_ms, &parent), QR_VERDICT_OK);
    assert_ptr_equal(parent, r.tip);
    rules[i].breaks(&r, &h);
    assert_int_equal(qr_tree_check(r.t, &h, wall_ms, &parent), rules[i].verdict);
    assert_ptr_equal(parent, qr_tree_find(r.t, &h.parent) && rules[i].verdict != QR_VERDICT_CHAIN &&
                                     rules[i].verdict != QR_VERDICT_VERSION
                                 ? qr_tree_find(r.t, &h.parent)
                                 : NULL);
  }
  end_rules(&r);
}

/* Break one rule after the other, the last first: the verdict is always that of the first rule
 * broken. */
static void test_rank_of_rules(void **state) {
  (void)state;
  rules_t r = begin_rules();
  qr_header_t h = make_header(r.t, r.c, r.tip, qr_tree_median_time(r.t, r.tip) + 1, 5);
  uint64_t wall_ms = h.time_ms;
  for (size_t i = 0; i < QR_ARRAY_CNT(rules); i++) {
    qr_node_t *parent;
    rules[i].breaks(&r, &h);
    assert_int_equal(qr_tree_check(r.t, &h, wall_ms, &parent), rules[i].verdict);
  }
  end_rules(&r);
}

static void test_known_headers(void **state) {
  (void)state;
  rules_t r = begin_rules();
  qr_node_t *waiting = add(r.t, r.c, r.tip, 2, 0);
  assert_int_equal(check(r.t, &r.tip->header), QR_VERDICT_DUPLICATE);
  assert_int_equal(check(r.t, &waiting->header), QR_VERDICT_DUPLICATE);
  assert_int_equal(check(r.t, &r.bad->header), QR_VERDICT_PARENT_INVALID);
  /* known beats everything but version and chain: even a header that by now would be too deep */
  assert_int_equal(check(r.t, &r.deep->header), QR_VERDICT_DUPLICATE);
  qr_tree_forget(r.t, waiting);
  end_rules(&r);
}

static void test_time_edges(void **state) {
  (void)state;
  rules_t r = begin_rules();
  uint64_t median = qr_tree_median_time(r.t, r.tip), drift = r.c->p.drift_ms;
  struct {
    uint64_t time_ms, wall_ms;
    enum qr_verdict v;
  } cases[] = {
      {median, median, QR_VERDICT_TIME},
      {median + 1, median, QR_VERDICT_OK},
      {0, 0, QR_VERDICT_TIME},
      {median + 9, median + 9 - drift, QR_VERDICT_OK},
      {median + 9, median + 8 - drift, QR_VERDICT_TIME_AHEAD},
      {UINT64_MAX, UINT64_MAX - drift, QR_VERDICT_OK},
      {UINT64_MAX, 0, QR_VERDICT_TIME_AHEAD},
      {median + 1, UINT64_MAX, QR_VERDICT_OK},
  };
  for (size_t i = 0; i < QR_ARRAY_CNT(cases); i++) {
    qr_header_t h = make_header(r.t, r.c, r.tip, cases[i].time_ms, 0);
    qr_node_t *parent;
    assert_int_equal(qr_tree_check(r.t, &h, cases[i].wall_ms, &parent), cases[i].v);
  }
  end_rules(&r);
}

static void test_target_and_ticket(void **state) {
  (void)state;
  rules_t r = begin_rules();
  static const uint32_t bad[] = {0, 0x20800000, 0x207ffffe, 0x1f7fffff, 0x21008000, UINT32_MAX};
  qr_header_t h = make_header(r.t, r.c, r.tip, qr_tree_median_time(r.t, r.tip) + 1, 0);
  for (size_t i = 0; i < QR_ARRAY_CNT(bad); i++) {
    h.target = bad[i];
    assert_int_equal(check(r.t, &h), QR_VERDICT_TARGET);
  }
  /* the ticket is held against the work of its own task */
  for (uint32_t task = 0; task < 2; task++) {
    h = make_header(r.t, r.c, r.tip, qr_tree_median_time(r.t, r.tip) + 1, 0);
    assert_int_equal(h.task, task);
    r.c->p.tasks[1 - task].work_q16 = 0;
    assert_int_equal(check(r.t, &h), QR_VERDICT_OK);
    r.c->p.tasks[task].work_q16 = 0;
    assert_int_equal(check(r.t, &h), QR_VERDICT_TICKET);
    r.c->p.tasks[0].work_q16 = r.c->p.tasks[1].work_q16 = 65536;
    assert_true(mine(r.t, r.c, &r.tip, 0, 0));
  }
  end_rules(&r);
}

static void test_depth_edges(void **state) {
  (void)state;
  rules_t r = begin_rules();
  qr_node_t *fork = qr_tree_ancestor(r.tip, 6); /* exactly reorg_limit below the tip */
  qr_node_t *side = add(r.t, r.c, fork, 9, 0);
  qr_node_t *far = add(r.t, r.c, side, 9, 0);
  assert_true(
      mine(r.t, r.c, &r.tip, 0, 0)); /* the tip moves on: what hangs on the side is too deep now */
  qr_node_t *parents[] = {fork, side, far};
  for (size_t i = 0; i < QR_ARRAY_CNT(parents); i++) {
    qr_header_t h = make_header(r.t, r.c, parents[i], qr_tree_median_time(r.t, parents[i]) + 1, 1);
    assert_int_equal(check(r.t, &h), QR_VERDICT_TOO_DEEP);
  }
  qr_header_t h = make_header(r.t, r.c, qr_tree_ancestor(r.tip, 7), T0 + 100000, 1);
  assert_int_equal(check(r.t, &h), QR_VERDICT_OK);
  end_rules(&r);
}

static int cmp_u64(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return x < y ? -1 : x > y;
}

static void test_median_time(void **state) {
  (void)state;
  qr_chain_cfg_t *c = make_cfg();
  qr_tree_t *t = qr_tree_init(c);
  qr_node_t *at = genesis(t);
  uint64_t times[40] = {T0};
  assert_int_equal(qr_tree_median_time(t, at), T0);
  for (uint32_t n = 1; n < 40; n++) {
    /* out of order, but each later than the median before it */
    times[n] = qr_tree_median_time(t, at) + 1 + draw(n % 3 ? 20 : 20000);
    qr_header_t h = make_header(t, c, at, times[n], 0);
    assert_int_equal(check(t, &h), QR_VERDICT_OK);
    at = qr_tree_insert(t, &h, 0);
    uint64_t past[11];
    uint32_t cnt = n + 1 < 11 ? n + 1 : 11;
    memcpy(past, times + n + 1 - cnt, cnt * sizeof past[0]);
    qsort(past, cnt, sizeof past[0], cmp_u64);
    assert_int_equal(qr_tree_median_time(t, at), past[cnt / 2]);
  }
  qr_tree_fini(t);
  free(c);
}

static void test_genesis(void **state) {
  (void)state;
  qr_chain_cfg_t *c = make_cfg();
  qr_tree_t *t = qr_tree_init(c);
  const qr_node_t *g = qr_tree_genesis(t);
  uint8_t bytes[40];
  memcpy(bytes, c->rules.b, 32);
  qr_st64(bytes + 32, T0);
  qr_hash_t want = qr_hash("quarry.genesis", bytes, sizeof bytes), nobody = {{1}};
  assert_memory_equal(&g->hash, &want, sizeof want);
  assert_ptr_equal(g, qr_tree_tip(t));
  assert_int_equal(g->state, QR_NODE_EXECUTED);
  assert_int_equal(g->header.height, 0);
  assert_null(g->parent);
  assert_null(qr_tree_find(t, &nobody));
  assert_int_equal(qr_tree_node_cnt(t), 1);
  qr_node_t *a = add(t, c, genesis(t), 3, 5), *b = add(t, c, a, 4, 6), *d = add(t, c, b, 5, 7);
  assert_ptr_equal(d->task_parent, a); /* two tasks take turns; genesis is of neither */
  assert_null(a->task_parent);
  assert_null(b->task_parent);
  assert_int_equal(d->task_idx, 1);
  assert_int_equal(d->reward_sum, 12);
  assert_int_equal(d->arrival_ns, 7);
  assert_null(d->user);
  assert_null(qr_tree_ancestor(a, 2));
  qr_tree_fini(t);
  free(c);
}

/* --- fork choice --- */

static void test_more_work_wins(void **state) {
  (void)state;
  qr_chain_cfg_t *c = make_cfg();
  for (uint32_t rule = 0; rule < 3; rule++) {
    c->p.tie_rule = rule;
    qr_tree_t *t = qr_tree_init(c);
    qr_node_t *a = genesis(t), *b = a;
    assert_true(mine(t, c, &a, 65536, 0));
    assert_true(mine(t, c, &a, 65536, 0));
    /* less reward and a late arrival do not matter once there is more work */
    assert_false(mine(t, c, &b, 0, 900 * MS));
    assert_false(mine(t, c, &b, 0, 900 * MS));
    assert_ptr_equal(qr_tree_tip(t), a);
    assert_true(mine(t, c, &b, 0, 900 * MS));
    assert_ptr_equal(qr_tree_tip(t), b);
    assert_ptr_equal(qr_tree_common(a, b), genesis(t));
    qr_tree_set_tip(t, a);
    assert_ptr_equal(qr_tree_tip(t), a);
    qr_tree_fini(t);
  }
  free(c);
}

/* Quick blocks raise the difficulty: a shorter branch of them outweighs a longer one of slow
 * blocks. */
static void test_work_is_not_length(void **state) {
  (void)state;
  qr_chain_cfg_t *c = make_cfg();
  c->p.asert_halflife_ms = 1000;
  qr_tree_t *t = qr_tree_init(c);
  qr_node_t *slow = genesis(t), *quick = slow;
  for (int i = 0; i < 6; i++) {
    qr_header_t h = make_header(t, c, slow, slow->header.time_ms + 1500, 0);
    slow = qr_tree_insert(t, &h, 0);
    assert_true(qr_tree_executed(t, slow));
  }
  for (int i = 0; i < 4; i++) {
    qr_header_t h = make_header(t, c, quick, quick->header.time_ms + 10, 0);
    assert_int_equal(check(t, &h), QR_VERDICT_OK);
    quick = qr_tree_insert(t, &h, 1000 * MS);
    bool outweighs = qr_u256_cmp(&quick->work, &qr_tree_tip(t)->work) > 0;
    assert_int_equal(qr_tree_executed(t, quick), outweighs);
  }
  assert_true(quick->header.height < slow->header.height);
  assert_ptr_equal(qr_tree_tip(t), quick);
  qr_tree_fini(t);
  free(c);
}

typedef struct {
  uint32_t rule;
  uint32_t tip_rewards[2], own_rewards[2];
  uint64_t tip_ns, own_ns;
  bool moves;
} tie_t;

static const tie_t ties[] = {
    /* (a) the last block's reward */
    {QR_TIE_REWARD, {9, 5}, {0, 6}, 0, 0, true},
    {QR_TIE_REWARD, {0, 6}, {9, 5}, 0, 0, false},
    {QR_TIE_REWARD, {9, 5}, {0, 6}, 10, 10 + 100 * MS, true},
    {QR_TIE_REWARD, {9, 5}, {0, 6}, 10, 11 + 100 * MS, false},
    {QR_TIE_REWARD, {9, 5}, {0, 6}, 10 + 100 * MS, 10, true}, /* came first, was executed later */
    {QR_TIE_REWARD, {9, 5}, {0, 6}, 11 + 100 * MS, 10, false},
    /* (b) the sum of rewards */
    {QR_TIE_REWARD_SUM, {0, 6}, {9, 5}, 0, 0, true},
    {QR_TIE_REWARD_SUM, {9, 5}, {0, 6}, 0, 0, false},
    {QR_TIE_REWARD_SUM, {0, 6}, {9, 5}, 0, 100 * MS, true},
    {QR_TIE_REWARD_SUM, {0, 6}, {9, 5}, 0, 100 * MS + 1, false},
    {QR_TIE_REWARD_SUM, {0, 6}, {9, 5}, 500 * MS, 399 * MS, false},
};

static void test_ties_by_reward(void **state) {
  (void)state;
  for (size_t i = 0; i < QR_ARRAY_CNT(ties); i++) {
    const tie_t *e = &ties[i];
    qr_chain_cfg_t *c = make_cfg();
    c->p.tie_rule = e->rule;
    qr_tree_t *t = qr_tree_init(c);
    qr_node_t *a = genesis(t), *b = a;
    /* the first blocks are far apart in time, so that only the last decide */
    assert_true(mine(t, c, &a, e->tip_rewards[0], e->tip_ns));
    assert_true(mine(t, c, &a, e->tip_rewards[1], e->tip_ns));
    assert_false(mine(t, c, &b, e->own_rewards[0], e->own_ns));
    assert_int_equal(mine(t, c, &b, e->own_rewards[1], e->own_ns), e->moves);
    assert_ptr_equal(qr_tree_tip(t), e->moves ? b : a);
    qr_tree_fini(t);
    free(c);
  }
}

/* Under the hash rule rewards do not matter; under the others the hash decides when they are equal.
 */
static void test_ties_by_hash(void **state) {
  (void)state;
  uint32_t moved_cnt = 0;
  for (int i = 0; i < 60; i++) {
    qr_chain_cfg_t *c = make_cfg();
    static const enum qr_tie_rule rules[] = {QR_TIE_HASH, QR_TIE_REWARD, QR_TIE_REWARD_SUM};
    c->p.tie_rule = rules[i / 3 % 3];
    uint32_t spread = c->p.tie_rule == QR_TIE_HASH ? 100 : 1;
    uint64_t late_ns = i % 3 ? 100 * MS : 100 * MS + 1;
    qr_tree_t *t = qr_tree_init(c);
    qr_node_t *a = genesis(t), *b = a;
    assert_true(mine(t, c, &a, draw(spread), 0));
    bool wins = mine(t, c, &b, draw(spread), late_ns);
    assert_int_equal(wins, i % 3 && smaller_tie(&b->hash, &a->hash));
    moved_cnt += wins;
    /* a node that saw them the other way round ends on the same tip, if it was within the window */
    qr_tree_t *mirror = qr_tree_init(c);
    qr_node_t *mb = qr_tree_insert(mirror, &b->header, 0),
              *ma = qr_tree_insert(mirror, &a->header, late_ns);
    assert_true(qr_tree_executed(mirror, mb));
    assert_int_equal(qr_tree_executed(mirror, ma), i % 3 && !wins);
    if (i % 3) assert_memory_equal(&qr_tree_tip(mirror)->hash, &qr_tree_tip(t)->hash, 32);
    qr_tree_fini(mirror);
    qr_tree_fini(t);
    free(c);
  }
  assert_in_range(moved_cnt, 8, 32); /* of 40 */
}

/* The headers came while the fork was shallow enough; the tip went on before they were executed. */
static void test_no_deep_reorganisation(void **state) {
  (void)state;
  for (uint32_t limit = 2; limit <= 4; limit++) {
    qr_chain_cfg_t *c = make_cfg();
    c->p.reorg_limit = limit;
    qr_tree_t *t = qr_tree_init(c);
    qr_node_t *a = genesis(t), *b = a, *side[5];
    for (int i = 0; i < 5; i++) side[i] = b = add(t, c, b, 0, 1000 * MS); /* no ties */
    for (int i = 0; i < 3; i++) assert_true(mine(t, c, &a, 0, 0));
    for (int i = 0; i < 3; i++) assert_false(qr_tree_executed(t, side[i]));
    assert_int_equal(qr_tree_executed(t, side[3]), limit >= 3);
    assert_int_equal(qr_tree_executed(t, side[4]), limit >= 3);
    assert_ptr_equal(qr_tree_tip(t), limit >= 3 ? side[4] : a);
    qr_tree_fini(t);
    free(c);
  }
}

/* --- bad blocks --- */

static void test_invalid_spreads(void **state) {
  (void)state;
  qr_chain_cfg_t *c = make_cfg();
  qr_tree_t *t = qr_tree_init(c);
  qr_node_t *root = add(t, c, genesis(t), 0, 0), *n[40];
  qr_node_t *beside = add(t, c, genesis(t), 1, 0);
  n[0] = root;
  for (uint32_t i = 1; i < 40; i++) n[i] = add(t, c, n[draw(i)], i, 0);
  qr_node_t *below = n[7];
  qr_tree_invalid(t, below);
  for (uint32_t i = 0; i < 40; i++) {
    bool under = n[i]->header.height >= below->header.height &&
                 qr_tree_ancestor(n[i], below->header.height) == below;
    assert_int_equal(n[i]->state, under ? QR_NODE_INVALID : QR_NODE_HEADER);
    qr_header_t h = make_header(t, c, n[i], qr_tree_median_time(t, n[i]) + 1, 77);
    assert_int_equal(check(t, &h), under ? QR_VERDICT_PARENT_INVALID : QR_VERDICT_OK);
  }
  qr_tree_invalid(t, root);
  qr_tree_invalid(t, root);
  for (uint32_t i = 0; i < 40; i++) assert_int_equal(n[i]->state, QR_NODE_INVALID);
  assert_int_equal(beside->state, QR_NODE_HEADER);
  assert_int_equal(genesis(t)->state, QR_NODE_EXECUTED);
  assert_int_equal(qr_tree_node_cnt(t), 42);
  qr_tree_fini(t);
  free(c);
}

/* Siblings leave in every order; whatever takes their memory afterwards is none of their parent's.
 */
static void test_forgotten_siblings(void **state) {
  (void)state;
  for (uint32_t first = 0; first < 4; first++) {
    for (uint32_t second = 0; second < 4; second++) {
      if (first == second) continue;
      qr_chain_cfg_t *c = make_cfg();
      qr_tree_t *t = qr_tree_init(c);
      qr_node_t *parent = add(t, c, genesis(t), 0, 0), *n[4], *fresh[2];
      for (uint32_t i = 0; i < 4; i++) n[i] = add(t, c, parent, i, 0);
      qr_hash_t gone = n[first]->hash;
      qr_tree_forget(t, n[first]);
      qr_tree_forget(t, n[second]);
      assert_null(qr_tree_find(t, &gone));
      for (uint32_t i = 0; i < 2; i++) fresh[i] = add(t, c, genesis(t), 10 + i, 0);
      qr_tree_invalid(t, parent);
      for (uint32_t i = 0; i < 4; i++) {
        if (i != first && i != second) assert_int_equal(n[i]->state, QR_NODE_INVALID);
      }
      for (uint32_t i = 0; i < 2; i++) assert_int_equal(fresh[i]->state, QR_NODE_HEADER);
      assert_int_equal(qr_tree_node_cnt(t), 6);
      qr_tree_fini(t);
      free(c);
    }
  }
}

/* One ticket, many headers that differ behind it: they must not fill the memory. */
static void test_invalid_ones_are_bounded(void **state) {
  (void)state;
  qr_chain_cfg_t *c = make_cfg();
  qr_tree_t *t = qr_tree_init(c);
  qr_header_t h = make_header(t, c, genesis(t), T0 + 1, 0);
  for (uint32_t i = 0; i < QR_TREE_INVALID_MAX_CNT + 1000; i++) {
    qr_st32(h.env_root.b, i);
    assert_int_equal(check(t, &h), QR_VERDICT_OK);
    qr_node_t *n = qr_tree_insert(t, &h, 0);
    if (i % 10 == 0) {
      qr_header_t child = make_header(t, c, n, T0 + 2, i);
      assert_non_null(qr_tree_insert(t, &child, 0));
      i++;
    }
    qr_tree_invalid(t, n);
    assert_in_range(qr_tree_node_cnt(t), 2, QR_TREE_INVALID_MAX_CNT + 1);
  }
  assert_int_equal(qr_tree_node_cnt(t), QR_TREE_INVALID_MAX_CNT + 1);
  assert_int_equal(check(t, &h), QR_VERDICT_PARENT_INVALID);
  qr_st32(h.env_root.b, 0);
  assert_int_equal(check(t, &h), QR_VERDICT_OK);
  qr_tree_fini(t);
  free(c);
}

int main(void) {
  if (qr_crypto_init()) return 1;
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_each_rule_alone),
      cmocka_unit_test(test_rank_of_rules),
      cmocka_unit_test(test_known_headers),
      cmocka_unit_test(test_time_edges),
      cmocka_unit_test(test_target_and_ticket),
      cmocka_unit_test(test_depth_edges),
      cmocka_unit_test(test_median_time),
      cmocka_unit_test(test_genesis),
      cmocka_unit_test(test_more_work_wins),
      cmocka_unit_test(test_work_is_not_length),
      cmocka_unit_test(test_ties_by_reward),
      cmocka_unit_test(test_ties_by_hash),
      cmocka_unit_test(test_no_deep_reorganisation),
      cmocka_unit_test(test_invalid_spreads),
      cmocka_unit_test(test_forgotten_siblings),
      cmocka_unit_test(test_invalid_ones_are_bounded),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
