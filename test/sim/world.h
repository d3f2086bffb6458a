/* A world of whole nodes on one thread: the product's own tiles over an in-process link and an
   in-memory store, with a clock that the test moves. Nothing here is random but by seed. */
#ifndef TEST_SIM_WORLD_H
#define TEST_SIM_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "../drivers/link/mem/mem.h"
#include "../drivers/store/mem/mem.h"
#include "app/topology.h"
#include "base/err.h"
#include "crypto/hash.h"
#include "port/drivers.h"
#include "small_params.h"

#define WORLD_NODE_MAX_CNT 6
#define WORLD_ROUND_NS 200000u

typedef struct {
  qr_config_t config;
  qr_key_t key;
  qr_link_t *link;
  const qr_store_ops_t *store_ops;
  qr_store_t *store;
  char store_dir[64], store_options[128];
  const qr_reserve_t *reserve; /* NULL: none */
  const qr_accel_ops_t *accel_ops;
  qr_accel_t *accel, *check; /* check: NULL if accel is trusted */
  qr_topology_t *topology;
  uint64_t query_id;
} world_node_t;

typedef struct {
  qr_chain_cfg_t chain;
  qr_clock_t clock;
  uint64_t now_ns;
  uint64_t seed;                   /* of nonces and jitter; set it after world_init */
  uint32_t adopt_margin;           /* of nodes added from now on */
  uint32_t verify_cnt;             /* the same; 0: as configured by default */
  const qr_accel_ops_t *untrusted; /* the same: what they train on, checked by the CPU driver */
  uint32_t lane_cnt, check_every;  /* the same */
  char hub[32];
  uint32_t node_cnt;
  world_node_t nodes[WORLD_NODE_MAX_CNT];
} world_t;

static inline uint64_t world_mono_ns(void *ctx) { return ((world_t *)ctx)->now_ns; }
static inline uint64_t world_wall_ms(void *ctx) {
  return UINT64_C(1735689600000) + ((world_t *)ctx)->now_ns / 1000000u;
}

/* small_params with windows and evaluations to match. win_shift: one attempt in 2^win_shift wins.
 */
static inline void world_params(qr_params_t *p, unsigned win_shift) {
  assert_true(small_params(p, win_shift));
  p->genesis_time_ms = UINT64_C(1735689600000);
  p->step_cnt = 2;
  p->segment_rows = 64;
  p->eval_rows = 64;
  p->replay_rows = 512;
  p->tie_window_ms = 600000;
}

static inline void world_init(world_t *w, const char *name, const qr_params_t *p) {
  char why[256];
  memset(w, 0, sizeof *w);
  assert_int_equal(qr_crypto_init(), 0);
  qr_log_init(QR_LOG_ERROR, 2);
  if (qr_params_init(p, &w->chain, why, sizeof why)) fail_msg("%s", why);
  w->clock = (qr_clock_t){world_mono_ns, world_wall_ms, w};
  w->now_ns = 1000000000u;
  w->adopt_margin = 4096;
  snprintf(w->hub, sizeof w->hub, "%s", name);
}

/* The same with windows so small that a branch of 100 blocks leaves them several times over.
   reorg_limit 0: the profile's. */
static inline void world_init_small(world_t *w, const char *name, uint32_t reorg_limit) {
  qr_params_t p;
  world_params(&p, 3);
  p.replay_rows = 256;
  p.witness_window = 4;
  p.target_window = 4;
  if (reorg_limit) p.reorg_limit = reorg_limit;
  world_init(w, name, &p);
}

static inline void world_addr(uint32_t i, qr_link_addr_t *out) {
  char text[32];
  snprintf(text, sizeof text, "10.0.0.%u:4000", i + 1);
  assert_true(qr_link_addr_parse(text, 0, out));
}

static inline void world_open(world_t *w, world_node_t *n) {
  char why[256], options[64];
  snprintf(options, sizeof options, "hub=%s;delay_us=1000", w->hub);
  qr_link_cfg_t link = {
      .options = options, .local = n->config.listen, .identity = &n->key, .conn_max_cnt = 16};
  if (qr_link_mem_ops.open(&link, &n->link, why, sizeof why)) fail_msg("%s", why);
  const qr_accel_ops_t *cpu = qr_accel_driver("cpu"), *accel = n->accel_ops;
  int err = QR_ERR_IO; /* a store may be one that fails on purpose */
  for (int i = 0; i < 20 && err == QR_ERR_IO; i++)
    err = n->store_ops->open(n->store_dir, n->store_options, &n->store, why, sizeof why);
  if (err) fail_msg("%s", why);
  if (accel->open("", &n->accel, why, sizeof why)) fail_msg("%s", why);
  n->check = NULL;
  if (accel != cpu && cpu->open("", &n->check, why, sizeof why)) fail_msg("%s", why);
  qr_topology_cfg_t cfg = {
      .chain = &w->chain,
      .config = &n->config,
      .key = &n->key,
      .link_ops = &qr_link_mem_ops,
      .link = n->link,
      .store_ops = n->store_ops,
      .store = &n->store,
      .store_dir = n->store_dir,
      .store_options = n->store_options,
      .reserve = n->reserve,
      .accel_ops = accel,
      .accel = n->accel,
      .check_ops = n->check ? cpu : NULL,
      .check = n->check,
      .clock = &w->clock,
      .seed = 1000 + w->seed + (uint64_t)(n - w->nodes),
  };
  if (qr_topology_init(&cfg, &n->topology, why, sizeof why)) fail_msg("%s", why);
}

static inline void world_close(world_node_t *n) {
  qr_topology_fini(n->topology);
  qr_link_mem_ops.close(n->link);
  n->accel_ops->close(n->accel);
  if (n->check) qr_accel_driver("cpu")->close(n->check);
  if (n->store) n->store_ops->close(n->store);
}

/* Adds a node that dials all earlier ones. */
static inline world_node_t *world_add(world_t *w, bool mine) {
  uint32_t i = w->node_cnt++;
  world_node_t *n = &w->nodes[i];
  uint8_t seed[32] = {(uint8_t)(i + 1), 7};
  qr_key_from_seed(seed, &n->key);
  qr_config_defaults(&n->config);
  n->config.mine = mine;
  n->config.exchange = false; /* who knows whom is the test's business */
  n->config.adopt_margin = w->adopt_margin;
  if (w->verify_cnt) n->config.verify.cnt = w->verify_cnt;
  n->accel_ops = w->untrusted ? w->untrusted : qr_accel_driver("cpu");
  n->config.mine_lane_cnt = w->lane_cnt;
  n->config.accel_check = w->check_every;
  n->config.peer_cnt = i;
  for (uint32_t j = 0; j < i; j++) world_addr(j, &n->config.peers[j]);
  world_addr(i, &n->config.listen);
  n->store_ops = qr_store_driver("mem");
  snprintf(n->store_dir, sizeof n->store_dir, "%s/%u", w->hub, i);
  snprintf(n->store_options, sizeof n->store_options, "keep=1");
  world_open(w, n);
  return n;
}

/* Ends a node in good order and starts it again on what its store holds. */
static inline void world_restart(world_t *w, world_node_t *n) {
  world_close(n);
  world_open(w, n);
}

/* The same with another driver; dir NULL: in the same place. */
static inline void world_restart_on(world_t *w, world_node_t *n, const char *store, const char *dir,
                                    const char *options) {
  world_close(n);
  n->store_ops = qr_store_driver(store);
  if (dir) snprintf(n->store_dir, sizeof n->store_dir, "%s", dir);
  snprintf(n->store_options, sizeof n->store_options, "%s", options);
  world_open(w, n);
}

static inline void world_fini(world_t *w) {
  for (uint32_t i = 0; i < w->node_cnt; i++) {
    world_close(&w->nodes[i]);
    qr_store_mem_forget(w->nodes[i].store_dir);
  }
}

static inline void world_rounds(world_t *w, uint32_t cnt) {
  for (uint32_t r = 0; r < cnt; r++) {
    for (uint32_t i = 0; i < w->node_cnt; i++) qr_topology_round(w->nodes[i].topology);
    w->now_ns += WORLD_ROUND_NS;
  }
}

static inline const qr_node_t *world_tip(const world_node_t *n) {
  return qr_chain_tile_tip(qr_topology_chain(n->topology));
}
static inline uint64_t world_height(const world_node_t *n) { return world_tip(n)->header.height; }

/* Asks a node as an operator would and waits for the answer. */
static inline qr_reply_t world_ask(world_t *w, world_node_t *n, qr_query_t q) {
  qr_reply_t r;
  q.id = ++n->query_id;
  assert_true(qr_ring_push(qr_topology_queries(n->topology), &q));
  for (int i = 0; i < 20000; i++) {
    world_rounds(w, 1);
    if (qr_ring_pop(qr_topology_replies(n->topology), &r) && r.id == q.id) return r;
  }
  fail_msg("no answer");
  return r;
}

static inline void world_mine(world_t *w, world_node_t *n, bool on) {
  qr_reply_t r = world_ask(w, n, (qr_query_t){.kind = QR_QUERY_MINING, .enable = on});
  assert_int_equal(r.err, 0);
}

static inline qr_status_t world_status(world_t *w, world_node_t *n) {
  return world_ask(w, n, (qr_query_t){.kind = QR_QUERY_STATUS}).status;
}

/* Runs until the node stands at height or higher. */
static inline void world_until_height(world_t *w, world_node_t *n, uint64_t height,
                                      uint32_t max_rounds) {
  for (uint32_t i = 0; i < max_rounds && world_height(n) < height; i++) world_rounds(w, 1);
  if (world_height(n) < height) {
    fail_msg("height %llu instead of %llu", (unsigned long long)world_height(n),
             (unsigned long long)height);
  }
}

/* Ends mining everywhere and lets what is on its way arrive. */
static inline void world_stop_all(world_t *w) {
  for (uint32_t i = 0; i < w->node_cnt; i++) world_mine(w, &w->nodes[i], false);
  world_rounds(w, 3000);
}

/* Lets one node mine until it stands at height. */
static inline void world_mine_to(world_t *w, world_node_t *n, uint64_t height,
                                 uint32_t max_rounds) {
  world_mine(w, n, true);
  world_until_height(w, n, height, max_rounds);
  world_mine(w, n, false);
  world_rounds(w, 3000);
}

static inline bool world_agree(const world_t *w) {
  for (uint32_t i = 1; i < w->node_cnt; i++) {
    if (!qr_hash_eq(&world_tip(&w->nodes[0])->hash, &world_tip(&w->nodes[i])->hash)) return false;
  }
  return true;
}

/* Runs until all tips are the same, and checks that all that hangs on a tip is the same too. */
static inline void world_until_agree(world_t *w, uint32_t max_rounds) {
  for (uint32_t i = 0; i < max_rounds && !world_agree(w); i++) world_rounds(w, 1);
  assert_true(world_agree(w));
  qr_hash_t first = qr_chain_tile_state_digest(qr_topology_chain(w->nodes[0].topology));
  for (uint32_t i = 1; i < w->node_cnt; i++) {
    qr_hash_t d = qr_chain_tile_state_digest(qr_topology_chain(w->nodes[i].topology));
    assert_memory_equal(&d, &first, sizeof d);
  }
}

#endif
