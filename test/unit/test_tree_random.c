/* The block tree against an oracle that walks and counts: long chains and random trees. */
#include "unit/tree_bench.h"

/* --- a long chain: skip links --- */

#define LONG_CNT 30000

static void test_long_chain(void **state) {
  (void)state;
  qr_chain_cfg_t *c = make_cfg();
  qr_tree_t *t = qr_tree_init(c);
  qr_node_t **at = calloc(LONG_CNT + 1, sizeof *at), *side = NULL;
  qr_header_t h = make_header(t, c, genesis(t), T0 + 1, 0);
  at[0] = genesis(t);
  for (uint32_t i = 1; i <= LONG_CNT; i++) { /* insert does not look at tickets */
    h.parent = at[i - 1]->hash;
    h.height = i;
    at[i] = qr_tree_insert(t, &h, 0);
    if (i == LONG_CNT / 3) side = at[i];
  }
  for (uint32_t i = 0; i < 20000; i++) {
    uint32_t from = draw(LONG_CNT + 1), to = draw(from + 1);
    assert_ptr_equal(qr_tree_ancestor(at[from], to), at[to]);
    assert_ptr_equal(qr_tree_common(at[from], at[to]), at[to]);
  }
  for (uint32_t i = 0; i < 5000; i++) {
    h.parent = side->hash;
    h.height = side->header.height + 1;
    h.nonce = 1;
    side = qr_tree_insert(t, &h, 0);
    assert_ptr_equal(qr_tree_common(side, at[draw(LONG_CNT - LONG_CNT / 3) + LONG_CNT / 3]),
                     at[LONG_CNT / 3]);
    assert_ptr_equal(qr_tree_common(at[i], side), at[i]);
  }
  free(at);
  qr_tree_fini(t);
  free(c);
}

/* --- random trees against an oracle --- */

#define ORACLE_CNT 700

typedef struct {
  qr_header_t h;
  qr_node_t *n; /* NULL once forgotten */
  int parent;   /* -1 for genesis */
  qr_u256_t work;
  uint64_t arrival_ns, reward_sum;
  enum qr_node_state state;
} entry_t;

typedef struct {
  const qr_chain_cfg_t *c;
  entry_t e[ORACLE_CNT + 1];
  int cnt, tip, reorg_cnt;
  uint64_t root; /* height of the root */
} oracle_t;

static bool is_under(const oracle_t *o, int i, int top) {
  while (i != -1 && i != top) i = o->e[i].parent;
  return i == top;
}

static int oracle_common(const oracle_t *o, int a, int b) {
  while (!is_under(o, b, a)) a = o->e[a].parent;
  return a;
}

static bool oracle_has_child(const oracle_t *o, int i) {
  for (int k = 0; k < o->cnt; k++) {
    if (o->e[k].n && o->e[k].parent == i) return true;
  }
  return false;
}

static uint64_t oracle_depth(const oracle_t *o, int i) {
  return o->e[o->tip].h.height - o->e[oracle_common(o, o->tip, i)].h.height;
}

static bool oracle_moves(const oracle_t *o, int i) {
  const entry_t *n = &o->e[i], *tip = &o->e[o->tip];
  int more = qr_u256_cmp(&n->work, &tip->work);
  if (oracle_depth(o, i) > o->c->p.reorg_limit || more < 0) return false;
  if (more > 0) return true;
  uint64_t apart = n->arrival_ns > tip->arrival_ns ? n->arrival_ns - tip->arrival_ns
                                                   : tip->arrival_ns - n->arrival_ns;
  if (apart > o->c->p.tie_window_ms * MS) return false;
  if (o->c->p.tie_rule == QR_TIE_REWARD && n->h.reward != tip->h.reward)
    return n->h.reward > tip->h.reward;
  if (o->c->p.tie_rule == QR_TIE_REWARD_SUM && n->reward_sum != tip->reward_sum) {
    return n->reward_sum > tip->reward_sum;
  }
  return smaller_tie(&n->n->hash, &tip->n->hash);
}

/* Mostly one of the newest, so that trees grow tall. */
static int draw_entry(const oracle_t *o, uint32_t newest_cnt) {
  uint32_t cnt = (uint32_t)o->cnt;
  return (int)(draw(8) && cnt > newest_cnt ? cnt - 1 - draw(newest_cnt) : draw(cnt));
}

/* Of the entry and the ten before it, or as many as there are. */
static uint64_t oracle_median(const oracle_t *o, int i) {
  uint64_t times[11];
  uint32_t cnt = 0;
  for (; i != -1 && cnt < 11; i = o->e[i].parent) times[cnt++] = i ? o->e[i].h.time_ms : T0;
  for (uint32_t k = 0; k < cnt; k++) {
    uint32_t smaller_cnt = 0, not_larger_cnt = 0;
    for (uint32_t m = 0; m < cnt; m++) {
      smaller_cnt += times[m] < times[k];
      not_larger_cnt += times[m] <= times[k];
    }
    if (smaller_cnt <= cnt / 2 && cnt / 2 < not_larger_cnt) return times[k];
  }
  fail();
  return 0;
}

static void oracle_insert(oracle_t *o, qr_tree_t *t, uint64_t now_ns) {
  int p = draw(2) ? o->tip : draw_entry(o, 12);
  if (!o->e[p].n) return;
  qr_node_t *parent = o->e[p].n, *got;
  uint64_t time_ms = qr_tree_median_time(t, parent) + 1 + draw(2000);
  if (!parent->header.height || parent->header.height >= o->root + 10)
    assert_int_equal(qr_tree_median_time(t, parent), oracle_median(o, p));
  entry_t *e = &o->e[o->cnt];
  *e = (entry_t){
      .h = make_header(t, o->c, parent, time_ms, draw(4)), .parent = p, .arrival_ns = now_ns};
  enum qr_verdict want = o->e[p].state == QR_NODE_INVALID           ? QR_VERDICT_PARENT_INVALID
                         : oracle_depth(o, p) > o->c->p.reorg_limit ? QR_VERDICT_TOO_DEEP
                                                                    : QR_VERDICT_OK;
  if (o->root && !p) want = QR_VERDICT_PARENT_UNKNOWN; /* below the root */
  assert_int_equal(qr_tree_check(t, &e->h, time_ms, &got), want);
  assert_ptr_equal(got, o->root && !p ? NULL : parent);
  if (want) return;
  e->n = qr_tree_insert(t, &e->h, now_ns);
  qr_u256_t target;
  assert_true(qr_target_expand(e->h.target, &target));
  target = qr_target_work(&target);
  e->work = qr_u256_add_sat(&o->e[p].work, &target);
  e->reward_sum = o->e[p].reward_sum + e->h.reward;
  o->cnt++;
}

static void oracle_refute(oracle_t *o, qr_tree_t *t, int i) {
  qr_tree_invalid(t, o->e[i].n);
  for (int k = 0; k < o->cnt; k++) {
    if (o->e[k].n && is_under(o, k, i)) o->e[k].state = QR_NODE_INVALID;
  }
}

/* Executes, refutes or forgets some node that may be. */
static void oracle_change(oracle_t *o, qr_tree_t *t) {
  int i = draw_entry(o, 30);
  entry_t *e = &o->e[i];
  if (!e->n || e->state != QR_NODE_HEADER) return;
  uint32_t what = draw(20);
  if (what < 2) {
    oracle_refute(o, t, i);
  } else if (what < 4) {
    if (oracle_has_child(o, i)) return;
    qr_tree_forget(t, e->n);
    e->n = NULL;
  } else if (o->e[e->parent].state == QR_NODE_EXECUTED) {
    bool moves = oracle_moves(o, i);
    e->state = QR_NODE_EXECUTED;
    assert_int_equal(qr_tree_executed(t, e->n), moves);
    if (!moves) return;
    o->reorg_cnt += e->parent != o->tip;
    o->tip = i;
  }
}

static void count_visit(void *ctx, qr_node_t *n) {
  (void)n;
  ++*(uint64_t *)ctx;
}

static void oracle_compare(const oracle_t *o, qr_tree_t *t) {
  uint64_t live_cnt = 0, visit_cnt = 0;
  for (int i = 0; i < o->cnt; i++) {
    const entry_t *e = &o->e[i];
    qr_hash_t hash = i ? qr_header_hash(&e->h) : qr_tree_genesis(t)->hash;
    assert_ptr_equal(qr_tree_find(t, &hash), e->n);
    if (!e->n) continue;
    live_cnt++;
    assert_int_equal(e->n->state, e->state);
    assert_int_equal(qr_u256_cmp(&e->n->work, &e->work), 0);
    assert_int_equal(e->n->reward_sum, e->reward_sum);
    uint64_t task_idx = 0;
    int newest = -1;
    for (int k = e->parent; i && k > 0; k = o->e[k].parent) {
      if (o->e[k].h.task != e->h.task) continue;
      if (newest < 0) newest = k;
      task_idx++;
    }
    assert_int_equal(e->n->task_idx, task_idx);
    assert_ptr_equal(e->n->task_parent, newest < 0 ? NULL : o->e[newest].n);
    int other = (int)draw((uint32_t)o->cnt);
    if (!o->e[other].n || (o->root && (!i || !other))) continue;
    int common = oracle_common(o, i, other);
    assert_ptr_equal(qr_tree_common(e->n, o->e[other].n), o->e[common].n);
    assert_ptr_equal(qr_tree_ancestor(e->n, o->e[common].h.height), o->e[common].n);
  }
  assert_int_equal(qr_tree_node_cnt(t), live_cnt);
  qr_tree_visit(t, count_visit, &visit_cnt);
  assert_int_equal(visit_cnt, live_cnt);
  assert_ptr_equal(qr_tree_tip(t), o->e[o->tip].n);
}

/* --- cutting --- */

static void count_drop(void *ctx, qr_node_t *n) {
  oracle_t *o = ctx;
  int i = 0;
  while (i < o->cnt && o->e[i].n != n) i++;
  assert_true(i > 0 && i < o->cnt);
  o->e[i].n = NULL; /* told of once, while the node is whole */
  qr_hash_t hash = qr_header_hash(&o->e[i].h);
  assert_true(qr_hash_eq(&hash, &n->hash));
}

/* As deep as the rules permit, or less: nothing that is not executed yet may lose what it needs. */
static void oracle_cut(oracle_t *o, qr_tree_t *t) {
  uint64_t tip = o->e[o->tip].h.height,
           end = tip > o->c->p.reorg_limit ? tip - o->c->p.reorg_limit : 0;
  for (int i = 0; i < o->cnt; i++) {
    if (!o->e[i].n || o->e[i].state != QR_NODE_HEADER) continue;
    uint64_t fork = o->e[oracle_common(o, o->tip, i)].h.height;
    if (fork < end && draw(4))
      oracle_refute(o, t, i);
    else if (fork < end)
      end = fork;
  }
  if (end <= o->root + 10 + 1) return;
  uint64_t height = end - 10 - draw(2);
  int root = o->tip, live_cnt = 0;
  while (o->e[root].h.height > height) root = o->e[root].parent;
  qr_tree_cut(t, height, count_drop, o);
  o->root = height;
  for (int i = 1; i < o->cnt; i++) {
    live_cnt += o->e[i].n != NULL;
    if (o->e[i].n) assert_true(is_under(o, i, root));
  }
  assert_int_equal(qr_tree_node_cnt(t), live_cnt + 1); /* and the genesis */
  assert_ptr_equal(qr_tree_root(t), o->e[root].n);
  assert_null(o->e[root].n->parent);
  assert_null(qr_tree_ancestor(qr_tree_tip(t), height - 1));
}

static void random_trees(uint32_t cut_every, int *cut_cnt) {
  for (uint32_t round = 0; round < 12; round++) {
    seed = 1000 + round;
    qr_chain_cfg_t *c = make_cfg();
    c->p.tie_rule = round % 3;
    c->p.task_cnt = 1 + round % 2;
    c->p.asert_halflife_ms = round < 6 ? 0 : 40000;
    c->p.reorg_limit = 2 + round;
    qr_tree_t *t = qr_tree_init(c);
    oracle_t *o = calloc(1, sizeof *o);
    o->c = c;
    o->cnt = 1;
    o->e[0] = (entry_t){.n = genesis(t), .parent = -1, .state = QR_NODE_EXECUTED};
    uint64_t now_ns = 0;
    for (int step = 0; step < 4000 && o->cnt < ORACLE_CNT; step++) {
      now_ns += draw(60) * MS;
      if (draw(3) == 0) oracle_insert(o, t, now_ns);
      oracle_change(o, t);
      uint64_t root = o->root;
      if (cut_every && draw(cut_every) == 0) oracle_cut(o, t);
      *cut_cnt += o->root != root;
      if (step % 400 == 0 || (o->root != root && draw(8) == 0)) oracle_compare(o, t);
    }
    oracle_compare(o, t);
    assert_true(o->cnt > 300 && o->e[o->tip].h.height > 50 && o->reorg_cnt > 5);
    qr_tree_fini(t);
    free(o);
    free(c);
  }
}

static void test_random_trees(void **state) {
  (void)state;
  int cut_cnt = 0;
  random_trees(0, &cut_cnt);
  assert_int_equal(cut_cnt, 0);
}

/* The same rules, fork choices and sums by the oracle, which forgets nothing. */
static void test_cut_trees(void **state) {
  (void)state;
  int cut_cnt = 0;
  random_trees(20, &cut_cnt);
  assert_true(cut_cnt > 100);
}

int main(void) {
  if (qr_crypto_init()) return 1;
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_long_chain),
      cmocka_unit_test(test_random_trees),
      cmocka_unit_test(test_cut_trees),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
