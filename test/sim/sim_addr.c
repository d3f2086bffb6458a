/* Address exchange among honest nodes: who knows one of them finds all, and again after a restart;
   places for those who come in; bans. */
#include "peer_sim.h"

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
    sim_stop(s.nodes[0]);
    sim_run(&s, 35000);
    for (uint32_t i = 1; i < NODE_CNT; i++) assert_int_equal(up_cnt(s.nodes[i]), NODE_CNT - 2);
    sim_mine(s.nodes[1], 7, false);
    sim_until(&s, 0x3e, 1, 2000);

    sim_node_t *n = s.nodes[3];
    size_t sz = qr_peers_export(n->peers, image);
    sim_stop(n);
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

/* ---- those who come in ---- */

typedef struct {
  qr_link_t *link;
  qr_key_t key;
  qr_link_conn_t conn;
  bool up, down;
  uint8_t in[8192];
  uint32_t in_sz, told_cnt; /* addresses that it was told */
} guest_t;

static void guest_say(guest_t *g, const qr_msg_t *m) {
  static uint8_t frame[QR_MSG_FRAME_MAX_SZ];
  size_t sz = qr_msg_encode(m, frame);
  qr_link_mem_ops.send(g->link, g->conn, (enum qr_link_class)qr_msg_class_of(m->type), frame, sz);
}

static void guest_hears(guest_t *g, const qr_msg_t *m) {
  if (m->type == QR_MSG_HELLO) guest_say(g, &(qr_msg_t){.type = QR_MSG_READY});
  if (m->type == QR_MSG_READY) g->up = true;
  if (m->type == QR_MSG_PING) guest_say(g, &(qr_msg_t){.type = QR_MSG_PONG, .ping = m->ping});
  if (m->type == QR_MSG_ADDRS) g->told_cnt += m->addrs.cnt;
}

static void guest_poll(sim_t *s, guest_t *g) {
  qr_link_event_t ev[8];
  int n = qr_link_mem_ops.poll(g->link, s->now, ev, 8);
  for (int i = 0; i < n; i++) {
    if (ev[i].kind == QR_LINK_DOWN) g->down = true, g->up = false;
    if (ev[i].kind == QR_LINK_UP) {
      qr_msg_t m = {.type = QR_MSG_HELLO,
                    .hello = {.version = QR_MSG_VERSION,
                              .chain_id = 7,
                              .genesis = sim_genesis(),
                              .tip = sim_genesis(),
                              .features = QR_MSG_FEATURE_ADDRS}};
      guest_say(g, &m);
    }
    if (ev[i].kind != QR_LINK_DATA || ev[i].cls != QR_LINK_CONTROL) continue;
    assert_true(g->in_sz + ev[i].sz <= sizeof g->in);
    memcpy(g->in + g->in_sz, ev[i].data, ev[i].sz);
    g->in_sz += (uint32_t)ev[i].sz;
  }
  uint32_t sz;
  uint8_t type;
  while (g->in_sz >= QR_MSG_HEAD_SZ) {
    assert_int_equal(qr_msg_head(g->in, &sz, &type), QR_VERDICT_OK);
    if (g->in_sz < QR_MSG_HEAD_SZ + sz) return;
    qr_msg_t m;
    assert_int_equal(qr_msg_decode(type, g->in + QR_MSG_HEAD_SZ, sz, &m), QR_VERDICT_OK);
    guest_hears(g, &m);
    g->in_sz -= QR_MSG_HEAD_SZ + sz;
    memmove(g->in, g->in + QR_MSG_HEAD_SZ + sz, g->in_sz);
  }
}

static void guest_dial(guest_t *g) {
  qr_link_addr_t to = sim_addr(0);
  g->up = g->down = false;
  g->in_sz = 0;
  assert_int_equal(qr_link_mem_ops.connect(g->link, &to, NULL, &g->conn), QR_OK);
}

/* Somebody at 30.net.0.host who dials node 0. */
static void guest_come(sim_t *s, guest_t *g, uint32_t id, uint32_t net, uint32_t host,
                       uint16_t port) {
  uint8_t seed[32] = {(uint8_t)id, (uint8_t)(id >> 8), 9};
  char options[128], text[32], why[200] = "";
  memset(g, 0, sizeof *g);
  qr_key_from_seed(seed, &g->key);
  snprintf(options, sizeof options, "hub=%s;buf_kib=16", s->hub);
  snprintf(text, sizeof text, "30.%u.0.%u", net, host);
  qr_link_cfg_t cfg = {.options = options, .identity = &g->key, .conn_max_cnt = 2};
  assert_true(qr_link_addr_parse(text, port, &cfg.local));
  assert_int_equal(qr_link_mem_ops.open(&cfg, &g->link, why, sizeof why), QR_OK);
  guest_dial(g);
}

static void turn(sim_t *s, guest_t *g, uint32_t cnt, uint64_t ms) {
  for (uint64_t t = 0; t < ms; t++) {
    sim_step(s);
    for (uint32_t i = 0; i < cnt; i++) guest_poll(s, &g[i]);
  }
}

static void leave(guest_t *g, uint32_t cnt) {
  for (uint32_t i = 0; i < cnt; i++) qr_link_mem_ops.close(g[i].link);
}

static sim_node_t *host(sim_t *s, uint32_t per_ip, uint32_t per_group) {
  sim_node_t *n = sim_node_bare(s);
  qr_peers_cfg_t cfg = cfg_of(n, NULL, 0);
  cfg.inbound_cnt = 6;
  cfg.addr_max_cnt = per_ip;
  cfg.group_max_cnt = per_group;
  qr_link_addr_parse("20.1.2.3", 4040, &cfg.own);
  sim_start(n, &cfg);
  return n;
}

static void test_limits(void **state) {
  (void)state;
  static guest_t g[5];
  sim_t s;
  sim_init(&s, 50);
  sim_node_t *n = host(&s, 2, 0);
  for (uint32_t i = 0; i < 3; i++) guest_come(&s, &g[i], i, 1, 1, (uint16_t)(5000 + i));
  guest_come(&s, &g[3], 3, 1, 2, 5000);
  turn(&s, g, 4, 200);
  assert_int_equal(g[0].up + g[1].up + g[2].up, 2); /* of one address */
  assert_true(g[3].up);
  leave(g, 4);
  sim_end(&s);

  sim_init(&s, 51);
  n = host(&s, 0, 3);
  for (uint32_t i = 0; i < 4; i++) guest_come(&s, &g[i], i, 1, i + 1, 5000);
  guest_come(&s, &g[4], 4, 2, 1, 5000);
  turn(&s, g, 5, 200);
  assert_int_equal(g[0].up + g[1].up + g[2].up + g[3].up, 3); /* of one network */
  assert_true(g[4].up);
  qr_peers_stats_t st;
  qr_peers_stats(n->peers, &st);
  assert_int_equal(st.inbound_refused, 1);
  leave(g, 5);
  sim_end(&s);
}

/* Six places. Four who were there first, each from a network of its own, keep theirs whatever a
   hundred from two networks do; who is new and alone from his network gets one, and keeps it. */
static void test_crowd(void **state) {
  (void)state;
  static guest_t g[106];
  for (uint64_t seed = 52; seed < 56; seed++) {
    sim_t s;
    sim_init(&s, seed);
    sim_node_t *n = host(&s, 0, 0);
    for (uint32_t i = 0; i < 4; i++) guest_come(&s, &g[i], i, 10 + i, 1, 5000);
    turn(&s, g, 4, 60000);
    for (uint32_t i = 4; i < 104; i++) {
      guest_come(&s, &g[i], i, i % 2, i, 5000);
      turn(&s, g, i + 1, 50);
      uint32_t up = 0;
      for (uint32_t k = 0; k <= i; k++) up += g[k].up;
      assert_true(up <= 6);
    }
    for (uint32_t i = 0; i < 4; i++) assert_true(g[i].up);
    qr_peers_stats_t st;
    qr_peers_stats(n->peers, &st);
    assert_in_range(st.evicted, 20, 100);
    guest_come(&s, &g[104], 104, 99, 1, 5000);
    turn(&s, g, 105, 100);
    assert_true(g[104].up);
    uint32_t net = 0; /* where one of the crowd still is */
    for (uint32_t i = 4; i < 104; i++) net = g[i].up ? i % 2 : net;
    guest_come(&s, &g[105], 105, net, 254, 5000);
    turn(&s, g, 106, 100);
    assert_true(g[104].up);
    leave(g, 106);
    sim_end(&s);
  }
}

/* A node with two guests out of two networks. */
static sim_node_t *host_two(sim_t *s, guest_t g[2], uint64_t seed) {
  sim_init(s, seed);
  sim_node_t *n = host(s, 0, 0);
  for (uint32_t i = 0; i < 2; i++) guest_come(s, &g[i], i, i + 1, 1, 5000);
  turn(s, g, 2, 100);
  return n;
}

static void test_bans(void **state) {
  (void)state;
  static guest_t g[2];
  sim_t s;
  sim_node_t *n = host_two(&s, g, 57);
  assert_true(g[0].up && g[1].up);
  assert_true(qr_peers_ban_identity(n->peers, &g[0].key.pk, 3600 * SIM_SEC));
  qr_link_addr_t at;
  assert_true(qr_link_addr_parse("30.2.0.1", 1, &at));
  assert_true(qr_peers_ban_ip(n->peers, at.ip, 3600 * SIM_SEC));
  turn(&s, g, 2, 100);
  assert_true(g[0].down && g[1].down);
  for (uint32_t i = 0; i < 2; i++) guest_dial(&g[i]);
  turn(&s, g, 2, 100);
  assert_true(g[0].down && g[1].down);

  uint8_t *image = malloc(qr_peers_image_max_sz()); /* they hold over a restart */
  size_t sz = qr_peers_export(n->peers, image);
  sim_stop(n);
  start(n, image, sz);
  free(image);
  qr_peers_counts_t c;
  qr_peers_counts(n->peers, &c);
  assert_int_equal(c.ban_cnt, 2);
  assert_true(qr_peers_ban_identity(n->peers, &g[0].key.pk, 0));
  assert_false(qr_peers_ban_identity(n->peers, &g[0].key.pk, 0));
  for (uint32_t i = 0; i < 2; i++) guest_dial(&g[i]);
  turn(&s, g, 2, 200);
  assert_true(g[0].up && g[1].down);
  assert_true(qr_peers_ban_ip(n->peers, at.ip, 0));
  guest_dial(&g[1]);
  turn(&s, g, 2, 200);
  assert_true(g[1].up);
  leave(g, 2);
  sim_end(&s);
}

static void tell(guest_t *g, uint32_t from, uint32_t cnt, uint8_t first) {
  uint8_t bytes[QR_MSG_ADDRS_MAX_CNT * QR_MSG_ADDR_SZ];
  for (uint32_t i = 0; i < cnt; i++) {
    qr_msg_addr_t a = {.ip = {[10] = 0xff, 0xff, first, (uint8_t)(from + i), 0, 1}, .port = 7000};
    qr_msg_addr_put(&a, bytes + i * QR_MSG_ADDR_SZ);
  }
  guest_say(g, &(qr_msg_t){.type = QR_MSG_ADDRS, .addrs = {cnt, bytes}});
}

/* Of who was not asked ten addresses are taken, and one more every ten seconds; nothing of our own
   private network from outside it; an answer is given once. */
static void test_told(void **state) {
  (void)state;
  static guest_t g[2];
  sim_t s;
  sim_node_t *n = host_two(&s, g, 58);
  assert_int_equal(g[0].told_cnt, 1); /* where the node itself is */
  qr_peers_counts_t c;
  tell(&g[0], 0, 5, 10);
  turn(&s, g, 2, 50);
  qr_peers_counts(n->peers, &c);
  assert_int_equal(c.new_cnt, 0);
  tell(&g[0], 0, 100, 50);
  tell(&g[0], 100, 100, 50);
  turn(&s, g, 2, 50);
  qr_peers_counts(n->peers, &c);
  assert_in_range(c.new_cnt, 4, 5); /* a place of the new table may be held already */
  turn(&s, g, 2, 30000);
  tell(&g[0], 200, 50, 50);
  turn(&s, g, 2, 50);
  qr_peers_counts(n->peers, &c);
  assert_in_range(c.new_cnt, 6, 8);
  qr_peers_stats_t st;
  qr_peers_stats(n->peers, &st);
  assert_int_equal(st.addrs_rx, 255);
  assert_int_equal(st.addrs_dropped, 255 - 13);
  uint32_t before = g[1].told_cnt;
  guest_say(&g[1], &(qr_msg_t){.type = QR_MSG_GET_ADDRS});
  guest_say(&g[1], &(qr_msg_t){.type = QR_MSG_GET_ADDRS});
  turn(&s, g, 2, 50);
  assert_int_equal(g[1].told_cnt, before + c.new_cnt);
  qr_peers_stats(n->peers, &st);
  assert_int_equal(st.strikes, 1);
  leave(g, 2);
  sim_end(&s);
}

/* A file that is not as this node left it: nothing of it is taken, and why is said. */
static void test_bad_file(void **state) {
  (void)state;
  sim_t s;
  sim_init(&s, 59);
  sim_node_t *n = host(&s, 0, 0);
  uint8_t *image = malloc(qr_peers_image_max_sz());
  char why[128];
  size_t sz = qr_peers_export(n->peers, image);
  for (size_t i = 0; i <= sz; i++) {
    if (i < sz) image[i] ^= 4;
    why[0] = 0;
    int err = qr_peers_import(n->peers, image, sz, why, sizeof why);
    assert_int_equal(err, i == sz ? QR_OK : i >= 7 && i < 40 ? QR_ERR_UNSUPPORTED : QR_ERR_FORMAT);
    assert_int_equal(!*why, i == sz);
    if (i < sz) image[i] ^= 4;
    uint8_t *exact = malloc(i ? i : 1);
    memcpy(exact, image, i);
    assert_int_equal(qr_peers_import(n->peers, exact, i, why, sizeof why) == QR_OK, i == sz);
    free(exact);
  }
  free(image);
  sim_run(&s, 100);
  sim_end(&s);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_one_seed), cmocka_unit_test(test_limits),
      cmocka_unit_test(test_crowd),    cmocka_unit_test(test_bans),
      cmocka_unit_test(test_told),     cmocka_unit_test(test_bad_file),
  };
  return cmocka_run_group_tests(tests, sim_setup, NULL);
}
