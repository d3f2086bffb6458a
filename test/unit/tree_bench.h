/* What the tests of the block tree share: a chain whose tickets are cheap, headers that follow
   every rule, and the tie hash computed a second way. */
#ifndef QR_TEST_TREE_BENCH_H
#define QR_TEST_TREE_BENCH_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/splitmix.h"
#include "chain/tree.h"
#include "crypto/hash.h"

#define T0 UINT64_C(1700000000000)
#define MS UINT64_C(1000000)

static uint64_t seed;

static inline uint64_t draw_u64(void) { return qr_splitmix_next(&seed); }

static inline uint32_t draw(uint32_t n) { return (uint32_t)(draw_u64() % n); }

/* About every other ticket wins. */
static inline qr_chain_cfg_t *make_cfg(void) {
  qr_chain_cfg_t *c = calloc(1, sizeof *c);
  c->p.chain_id = 77;
  c->p.genesis_time_ms = T0;
  c->p.task_cnt = 2;
  c->p.tasks[0].work_q16 = c->p.tasks[1].work_q16 = 65536;
  c->p.max_target = 0x207fffff;
  c->p.block_ms = 1000;
  c->p.drift_ms = 5000;
  c->p.reorg_limit = 6;
  c->p.tie_window_ms = 100;
  c->rules = qr_hash("test.rules", "x", 1);
  return c;
}

static inline bool ticket_wins(const qr_chain_cfg_t *c, const qr_header_t *h) {
  qr_u256_t target;
  if (!qr_target_expand(h->target, &target)) return false;
  qr_hash_t sigma = qr_header_sigma(h),
            ticket = qr_header_ticket(&sigma, &h->model_out, &h->trace_last);
  return qr_target_met(&ticket, &target, c->p.tasks[h->task % 2].work_q16);
}

static inline void grind(const qr_chain_cfg_t *c, qr_header_t *h, bool wins) {
  for (h->nonce = draw_u64(); ticket_wins(c, h) != wins;) h->nonce++;
}

/* A header that follows every rule. */
static inline qr_header_t make_header(const qr_tree_t *t, const qr_chain_cfg_t *c,
                                      const qr_node_t *parent, uint64_t time_ms, uint32_t reward) {
  qr_header_t h = {.version = QR_HEADER_VERSION,
                   .chain_id = c->p.chain_id,
                   .rules = c->rules,
                   .height = parent->header.height + 1,
                   .parent = parent->hash,
                   .time_ms = time_ms,
                   .target = qr_tree_next_target(t, parent),
                   .task = (uint32_t)(parent->header.height % c->p.task_cnt),
                   .reward = reward};
  grind(c, &h, true);
  return h;
}

static inline enum qr_verdict check(const qr_tree_t *t, const qr_header_t *h) {
  qr_node_t *parent;
  return qr_tree_check(t, h, h->time_ms, &parent);
}

/* Inserts a child that follows every rule. */
static inline qr_node_t *add(qr_tree_t *t, const qr_chain_cfg_t *c, qr_node_t *parent,
                             uint32_t reward, uint64_t arrival_ns) {
  qr_header_t h = make_header(t, c, parent, qr_tree_median_time(t, parent) + 1000, reward);
  assert_int_equal(check(t, &h), QR_VERDICT_OK);
  qr_node_t *n = qr_tree_insert(t, &h, arrival_ns);
  assert_non_null(n);
  assert_int_equal(check(t, &h), QR_VERDICT_DUPLICATE);
  return n;
}

/* The same, executed; says whether the tip moved there. */
static inline bool mine(qr_tree_t *t, const qr_chain_cfg_t *c, qr_node_t **at, uint32_t reward,
                        uint64_t arrival_ns) {
  *at = add(t, c, *at, reward, arrival_ns);
  return qr_tree_executed(t, *at);
}

static inline qr_node_t *genesis(const qr_tree_t *t) {
  qr_hash_t hash = qr_tree_genesis(t)->hash;
  return qr_tree_find(t, &hash);
}

/* H("quarry.tie" | own | xor) as a number, the most significant byte last. */
static inline bool smaller_tie(const qr_hash_t *x, const qr_hash_t *y) {
  uint8_t bytes[2][64];
  qr_hash_t h[2];
  for (int i = 0; i < 32; i++) {
    bytes[0][i] = x->b[i];
    bytes[1][i] = y->b[i];
    bytes[0][32 + i] = bytes[1][32 + i] = x->b[i] ^ y->b[i];
  }
  for (int k = 0; k < 2; k++) h[k] = qr_hash("quarry.tie", bytes[k], 64);
  for (int i = 31; i >= 0; i--) {
    if (h[0].b[i] != h[1].b[i]) return h[0].b[i] < h[1].b[i];
  }
  return false;
}

#endif
