/* Old blocks cost a node next to nothing in memory, and are answered for as if they were there: to
   operators, to peers, and when somebody builds on them. */
#include "sim/store_audit.h"
#include "tile/chain_int.h"

#define ROUNDS 4000000u
#define REORG_LIMIT 12u
#define HEIGHT 300u

/* Blocks in the tree: what chain_past.c keeps and lets gather, those that are not durable yet, and
   the genesis. What is beyond it grows with the chain. */
#define TREE_MAX_CNT (2 * REORG_LIMIT + 8 + 16 + 16 + QR_COMMIT_MAX_CNT + 1)
#define OLD_BLOCK_MAX_SZ 32u

/* What an operator who wrote everything down would know. */
static struct {
  qr_header_t headers[HEIGHT + 1];
  qr_hash_t hashes[HEIGHT + 1];
  qr_past_sum_t sums[HEIGHT + 1];
} seen;

static qr_chain_tile_t *chain_of(const world_node_t *n) { return qr_topology_chain(n->topology); }

static uint64_t root_of(const world_node_t *n) {
  return qr_tree_root(chain_of(n)->tree)->header.height;
}

static void check_bounds(const world_node_t *n) {
  const qr_chain_tile_t *t = chain_of(n);
  uint64_t height = world_height(n), root = root_of(n);
  assert_true(qr_tree_node_cnt(t->tree) <= TREE_MAX_CNT);
  assert_true(height < root + TREE_MAX_CNT);
  assert_int_equal(qr_past_height(t->past), root ? root - 1 : 0);
  assert_true(qr_past_sz(t->past) <= OLD_BLOCK_MAX_SZ * height + 4096);
}

/* Alone, so that the chain only grows; each header is seen while it is new. */
static void mine_and_see(world_t *w, world_node_t *n, uint64_t height) {
  uint64_t seen_to = world_height(n);
  world_mine(w, n, true);
  while (seen_to < height) {
    world_until_height(w, n, seen_to + 1, ROUNDS);
    const qr_node_t *tip = world_tip(n);
    assert_int_equal(tip->header.height, ++seen_to);
    seen.headers[seen_to] = tip->header;
    seen.hashes[seen_to] = tip->hash;
    seen.sums[seen_to] = qr_past_sum_next(&seen.sums[seen_to - 1], &tip->header);
    check_bounds(n);
  }
  world_mine(w, n, false);
  world_rounds(w, 3000);
  assert_true(world_height(n) == height);
}

static void init(world_t *w, const char *name, uint64_t height) {
  memset(&seen, 0, sizeof seen);
  world_init_small(w, name, REORG_LIMIT);
  world_node_t *a = world_add(w, false);
  mine_and_see(w, a, height);
  assert_true(root_of(a) + TREE_MAX_CNT > height);
  assert_true(root_of(a) > height / 2);
}

/* ---- operators ---- */

static void check_blocks(world_t *w, world_node_t *n) {
  for (uint64_t h = 1; h <= HEIGHT; h++) {
    char work[sizeof((qr_reply_block_t *)0)->work];
    uint8_t header[QR_HEADER_SZ];
    qr_reply_t r = world_ask(w, n, (qr_query_t){.kind = QR_QUERY_BLOCK, .height = h});
    assert_int_equal(r.err, 0);
    assert_memory_equal(&r.block.hash, &seen.hashes[h], sizeof r.block.hash);
    qr_header_encode(&seen.headers[h], header);
    assert_memory_equal(r.block.header, header, sizeof header);
    snprintf(work, sizeof work, "%.6g", qr_u256_to_double(&seen.sums[h].work));
    assert_string_equal(r.block.work, work);
    assert_int_equal(r.block.confirmations, HEIGHT - h + 1);
  }
  qr_status_t s = world_status(w, n);
  uint64_t tenth = HEIGHT / 10, sum = seen.sums[HEIGHT].reward_sum;
  assert_int_equal(s.reward_mean, sum / HEIGHT);
  assert_int_equal(s.reward_first, seen.sums[tenth].reward_sum / tenth);
  assert_int_equal(s.reward_last, (sum - seen.sums[HEIGHT - tenth].reward_sum) / tenth);
}

/* Execution comes to the same, with replay and target out of the store. */
static void check_verify(world_t *w, world_node_t *n) {
  uint64_t root = root_of(n);
  const uint64_t heights[] = {1,        2,          3,        9,          10,
                              11,       HEIGHT / 2, root - 1, root,       root + 1,
                              root + 7, root + 8,   root + 9, HEIGHT - 1, HEIGHT};
  for (size_t i = 0; i < QR_ARRAY_CNT(heights); i++) {
    const qr_header_t *h = &seen.headers[heights[i]];
    qr_reply_t r = world_ask(w, n, (qr_query_t){.kind = QR_QUERY_VERIFY, .height = heights[i]});
    assert_int_equal(r.err, 0);
    assert_int_equal(r.verify.verdict, QR_VERDICT_OK);
    assert_memory_equal(&r.verify.hash, &seen.hashes[heights[i]], sizeof r.verify.hash);
    assert_memory_equal(&r.verify.model_out, &h->model_out, sizeof h->model_out);
    assert_memory_equal(&r.verify.replay_root, &h->replay_root, sizeof h->replay_root);
    assert_int_equal(r.verify.reward, h->reward);
  }
}

static void test_operators_see_no_difference(void **state) {
  (void)state;
  static world_t w;
  init(&w, "past", HEIGHT);
  world_node_t *a = &w.nodes[0];
  qr_hash_t digest = qr_chain_tile_state_digest(chain_of(a));
  check_blocks(&w, a);
  check_verify(&w, a);
  world_restart(&w, a);
  check_bounds(a);
  assert_true(root_of(a) > HEIGHT / 2);
  qr_hash_t again = qr_chain_tile_state_digest(chain_of(a));
  assert_memory_equal(&again, &digest, sizeof digest);
  check_blocks(&w, a);
  check_verify(&w, a);
  world_mine_to(&w, a, HEIGHT + 40, ROUNDS);
  check_bounds(a);
  audit_sound(&w, a);
  world_fini(&w);
}

/* ---- peers ---- */

/* What the chain tile answers to a question of a peer's. */
static qr_outbound_t want(world_node_t *n, qr_inbound_t in) {
  qr_chain_tile_t *t = chain_of(n);
  qr_outbound_t out;
  while (qr_ring_pop(t->cfg.to_net, &out)) assert_true(!out.block && !out.model);
  in.kind = QR_IN_WANT;
  in.peer = 77;
  qr_chain_want(t, &in);
  assert_true(qr_ring_pop(t->cfg.to_net, &out));
  return out;
}

static void check_headers(world_node_t *n, uint64_t from, uint32_t cnt) {
  qr_inbound_t in = {.want = QR_MSG_WANT_HEADERS, .max_cnt = cnt, .locator_cnt = 3};
  memset(&in.locator[0], 0xee, sizeof in.locator[0]); /* another chain's */
  in.locator[1] = from ? seen.hashes[from] : qr_tree_genesis(chain_of(n)->tree)->hash;
  in.locator[2] = seen.hashes[1];
  qr_outbound_t out = want(n, in);
  uint64_t first = from ? from : 1;
  assert_int_equal(out.kind, QR_OUT_ANSWER_HEADERS);
  assert_int_equal(out.sz, cnt * QR_HEADER_SZ);
  for (uint32_t i = 0; i < cnt; i++) {
    uint8_t header[QR_HEADER_SZ];
    qr_header_encode(&seen.headers[first + i], header);
    assert_memory_equal(out.block->bytes + i * QR_HEADER_SZ, header, sizeof header);
  }
  qr_pool_unref(out.block);
}

static void test_peers_are_served(void **state) {
  (void)state;
  static world_t w;
  init(&w, "past-peers", HEIGHT);
  world_node_t *a = &w.nodes[0];
  uint64_t root = root_of(a);
  const uint64_t from[] = {0, 1, 50, root - 20, root - 5, root - 1, root, root + 3};
  for (size_t i = 0; i < QR_ARRAY_CNT(from); i++) check_headers(a, from[i], 16);
  for (uint64_t h = 40; h < HEIGHT; h += 50) {
    qr_outbound_t out = want(a, (qr_inbound_t){.want = QR_MSG_WANT_BLOCK, .hash = seen.hashes[h]});
    assert_int_equal(out.kind, QR_OUT_ANSWER_BLOCK);
    qr_hash_t hash = qr_header_hash(&out.block->header);
    assert_memory_equal(&hash, &seen.hashes[h], sizeof hash);
    qr_pool_unref(out.block);
    qr_hash_t model = seen.headers[h].model_out;
    out = want(a, (qr_inbound_t){.want = QR_MSG_WANT_MODEL, .hash = seen.hashes[h], .root = model});
    assert_int_equal(out.kind, QR_OUT_ANSWER_MODEL);
    assert_memory_equal(&out.model->root, &model, sizeof model);
    qr_pool_unref(out.model);
  }
  qr_hash_t other = qr_hash("test", "other", 5);
  assert_int_equal(want(a, (qr_inbound_t){.want = QR_MSG_WANT_BLOCK, .hash = other}).kind,
                   QR_OUT_NOT_FOUND);
  /* One that begins now, and one that was away for long. */
  world_node_t *b = world_add(&w, false);
  world_until_agree(&w, ROUNDS);
  check_bounds(b);
  qr_link_mem_group(b->link, 1);
  world_mine_to(&w, a, HEIGHT + 150, ROUNDS);
  qr_link_mem_heal(b->link);
  world_until_agree(&w, ROUNDS);
  assert_int_equal(world_height(b), HEIGHT + 150);
  check_bounds(b);
  world_fini(&w);
}

/* ---- branches ---- */

static enum qr_verdict judge(world_node_t *n, const qr_header_t *h) {
  qr_node_t *parent;
  enum qr_verdict v = qr_tree_check(chain_of(n)->tree, h, UINT64_MAX, &parent);
  return v == QR_VERDICT_PARENT_UNKNOWN ? qr_chain_check_old(chain_of(n), h) : v;
}

static void test_old_forks_are_too_deep(void **state) {
  (void)state;
  static world_t w;
  init(&w, "past-forks", HEIGHT);
  world_node_t *a = &w.nodes[0];
  for (uint64_t h = 1; h < HEIGHT - REORG_LIMIT; h++) {
    qr_header_t own = seen.headers[h], fork = own, high = own, orphan = own;
    fork.nonce++;
    high.nonce++;
    high.height++;
    memset(&orphan.parent, 0xee, sizeof orphan.parent);
    assert_int_equal(judge(a, &own), QR_VERDICT_DUPLICATE);
    assert_int_equal(judge(a, &fork), QR_VERDICT_TOO_DEEP);
    assert_int_equal(judge(a, &high), QR_VERDICT_HEIGHT);
    assert_int_equal(judge(a, &orphan), QR_VERDICT_PARENT_UNKNOWN);
  }
  world_fini(&w);
}

/* A branch forks off as deep as is permitted and waits, while the chain goes on: what it stands on
   stays until it is decided, and then it goes as well. */
static void test_what_is_in_hand_stays(void **state) {
  (void)state;
  static world_t w;
  init(&w, "past-hand", 130);
  world_node_t *a = &w.nodes[0];
  qr_chain_tile_t *t = chain_of(a);
  qr_node_t *fork = qr_tree_ancestor(qr_tree_tip(t->tree), 130 - REORG_LIMIT), *parent;
  qr_header_t h = seen.headers[fork->header.height + 1];
  while (qr_tree_check(t->tree, &h, UINT64_MAX, &parent)) h.nonce++;
  qr_node_t *side = qr_tree_insert(t->tree, &h, 0);
  qr_cand_t *c = &t->cands[7]; /* the first ones are in use; no tile will ever tell of this one */
  *c = (qr_cand_t){.state = QR_CAND_RUNNING,
                   .node = side,
                   .seq = UINT64_MAX,
                   .block = qr_objects_block(t->cfg.objects)};
  c->block->peer = 5;
  world_mine_to(&w, a, 230, ROUNDS);
  assert_true(root_of(a) + 8 + 11 <= fork->header.height);
  assert_ptr_equal(qr_tree_find(t->tree, &side->hash), side);
  qr_chain_forget(t, c, false);
  world_mine_to(&w, a, 240, ROUNDS);
  check_bounds(a);
  world_fini(&w);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_operators_see_no_difference),
      cmocka_unit_test(test_peers_are_served),
      cmocka_unit_test(test_old_forks_are_too_deep),
      cmocka_unit_test(test_what_is_in_hand_stays),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
