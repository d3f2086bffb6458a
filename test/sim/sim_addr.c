/* Address exchange among honest nodes: who knows one of them finds all, and again after a restart;
   places for those who come in; bans. */
#include "peer_sim.h"

#include "peer/netaddr.h"

#define NODE_CNT 6u
#define WALL_MS 1800000000000ull

static qr_peers_cfg_t cfg_of(sim_node_t *n, const qr_link_addr_t *statics, uint32_t cnt) {
  qr_peers_cfg_t cfg = sim_cfg(n, statics, cnt);
  cfg.exchange = true;
  cfg.outbound_cnt = 4;
  cfg.peer_max_cnt = 12;
  cfg.own = sim_addr(n->idx);
  cfg.book_key[0] = (uint8_t)n->idx;
  cfg.wall_ms = WALL_MS + n->sim->now / 1000000;
  return cfg;
}

static sim_node_t *node(sim_t *s, const qr_link_addr_t *seed) {
  sim_node_t *n = sim_node_bare(s);
  qr_peers_cfg_t cfg = cfg_of(n, seed, seed ? 1 : 0);
  sim_start(n, &cfg);
  return n;
}

/* Ends a node's sessions and link; its chain stays in memory. */
static void stop(sim_node_t *n) {
  qr_peers_fini(n->peers);
  free(n->peers);
  n->peers = NULL;
  qr_link_mem_ops.close(n->link);
  while (n->job_cnt) sim_drop_job(n, 0);
  n->want_cnt = n->tx_queue_cnt = 0;
}

static void start(sim_node_t *n, const uint8_t *image, size_t sz) {
  char why[128] = "";
  n->link = sim_link(n->sim, n->idx, &n->key);
  qr_peers_cfg_t cfg = cfg_of(n, NULL, 0);
  sim_start(n, &cfg);
  sim_set_tip(n, n->tip);
  assert_int_equal(qr_peers_import(n->peers, image, sz, why, sizeof why), QR_OK);
}

static uint32_t up_cnt(const sim_node_t *n) { return n->peers ? sim_peer_cnt(n) : 0; }

/* Runs until every node but those in mask has so many peers. */
static void until_met(sim_t *s, uint32_t but, uint32_t cnt, uint64_t limit_ms) {
  for (uint64_t ms = 0; ms < limit_ms; ms += 10) {
    bool all = true;
    for (uint32_t i = 0; i < s->node_cnt; i++) all &= (but >> i & 1) || up_cnt(s->nodes[i]) >= cnt;
    if (all) return;
    sim_run(s, 10);
  }
  for (uint32_t i = 0; i < s->node_cnt; i++)
    print_message("node %u has %u peers\n", i, up_cnt(s->nodes[i]));
  fail_msg("not all nodes have %u peers", cnt);
}

/* Nodes that know one address find each other, stay together without it, and find each other again
   without it out of what they kept. */
static void test_one_seed(void **state) {
  (void)state;
  static uint8_t *image;
  image = malloc(qr_peers_image_max_sz());
  for (uint64_t seed = 1; seed <= 4; seed++) {
    sim_t s;
    sim_init(&s, seed);
    qr_link_addr_t first = sim_addr(0);
    node(&s, NULL);
    for (uint32_t i = 1; i < NODE_CNT; i++) node(&s, &first);
    until_met(&s, 0, NODE_CNT - 1, 60000); /* each knows all */
    stop(s.nodes[0]);
    sim_run(&s, 35000);
    for (uint32_t i = 1; i < NODE_CNT; i++) assert_int_equal(up_cnt(s.nodes[i]), NODE_CNT - 2);
    sim_mine(s.nodes[1], 7, false);
    sim_until(&s, 0x3e, 1, 2000);

    sim_node_t *n = s.nodes[3];
    size_t sz = qr_peers_export(n->peers, image);
    stop(n);
    sim_run(&s, 40000); /* the others know that it is gone */
    sim_mine(s.nodes[2], 8, false);
    start(n, image, sz);
    qr_peers_counts_t c;
    qr_peers_counts(n->peers, &c);
    assert_true(c.tried_cnt + c.new_cnt >= NODE_CNT - 1);
    until_met(&s, 1, NODE_CNT - 2, 60000);
    sim_until(&s, 0x3e, 2, 2000);
    for (uint32_t i = 1; i < NODE_CNT; i++) {
      qr_peers_stats_t st;
      qr_peers_stats(s.nodes[i]->peers, &st);
      assert_int_equal(st.strikes, 0);
      assert_int_equal(st.bans, 0);
    }
    s.nodes[0]->link = sim_link(&s, 0, &s.nodes[0]->key); /* so that there is one to close */
    sim_end(&s);
  }
  free(image);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_one_seed),
  };
  return cmocka_run_group_tests(tests, sim_setup, NULL);
}
