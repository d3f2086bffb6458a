/* Syncing from several peers at once: how much sooner than from one, and what a slow, a silent or a
   lying one among them can do about it. Links with a rate of their own, one fake clock. */
#include "peer_sim.h"

#define CHAIN_CNT 300u
#define BODY_SZ 10000u
#define KIB 1024u

static sim_t sim;

/* The same chain for every node that is given it. */
static void grow(sim_node_t *n, uint32_t from, uint32_t to, uint32_t bad_at) {
  for (uint32_t i = from; i < to; i++) {
    const sim_block_t *b = &n->blocks[n->tip];
    sim_accept(n, sim_block_make(&b->hash, b->height + 1, i, i + 1 == bad_at ? SIM_BAD : 0, false,
                                 BODY_SZ));
  }
}

static sim_node_t *server_that_dials(uint32_t dials, uint64_t bytes_per_s, uint64_t later_ms) {
  sim_node_t *n = sim_node(&sim, dials);
  grow(n, 0, CHAIN_CNT, 0);
  qr_link_mem_pace(n->link, bytes_per_s, later_ms * SIM_MS);
  return n;
}

static sim_node_t *server(uint64_t bytes_per_s, uint64_t later_ms) {
  return server_that_dials(0, bytes_per_s, later_ms);
}

static qr_peers_stats_t stats(const sim_node_t *n) {
  qr_peers_stats_t st;
  qr_peers_stats(n->peers, &st);
  return st;
}

static uint64_t blocks_from(const sim_node_t *to, const sim_node_t *from) {
  qr_peer_info_t info[SIM_NODE_MAX];
  uint32_t cnt = qr_peers_list(to->peers, info, SIM_NODE_MAX);
  for (uint32_t i = 0; i < cnt; i++) {
    if (qr_pubkey_eq(&info[i].identity, &from->key.pk)) return info[i].rx_bytes / BODY_SZ;
  }
  return 0;
}

/* Milliseconds until a fresh node that dials all others has the whole chain. */
static uint64_t join(uint64_t limit_ms) {
  uint32_t all = (1u << sim.node_cnt) - 1;
  sim_node_t *late = sim_node(&sim, all);
  uint64_t ms = sim_until(&sim, 1u << late->idx, CHAIN_CNT, limit_ms);
  assert_int_equal(late->block_cnt, CHAIN_CNT + 1);
  assert_int_equal(late->parent_unknown_cnt, 0);
  for (uint32_t i = 1; i < late->block_cnt; i++) assert_int_equal(late->blocks[i].height, i);
  return ms;
}

/* One at a rate, three at that rate, three at rates that differ by sixteen. */
static void test_speed(void **state) {
  (void)state;
  uint64_t took[3];
  static const uint64_t rates[3][3] = {{256}, {256, 256, 256}, {512, 256, 32}};
  for (int k = 0; k < 3; k++) {
    sim_init(&sim, 200 + (uint64_t)k);
    for (int i = 0; i < 3 && rates[k][i]; i++) server(rates[k][i] * KIB, 20);
    took[k] = join(120000);
    sim_node_t *late = sim.nodes[sim.node_cnt - 1];
    for (uint32_t i = 0; i + 1 < sim.node_cnt; i++) {
      assert_int_equal(stats(sim.nodes[i]).strikes, 0);
      assert_true(blocks_from(late, sim.nodes[i]) >= 8); /* everybody had a share in it */
    }
    assert_int_equal(stats(late).strikes, 0);
    if (k == 2) assert_true(blocks_from(late, sim.nodes[0]) > 3 * blocks_from(late, sim.nodes[2]));
    sim_end(&sim);
  }
  print_message("one peer %llu ms, three %llu ms, three of other speeds %llu ms\n",
                (unsigned long long)took[0], (unsigned long long)took[1],
                (unsigned long long)took[2]);
  assert_true(took[0] > 11000); /* 300 blocks at 256 KiB/s */
  assert_true(took[1] * 10 < took[0] * 4);
  assert_true(took[2] * 10 < took[0] * 5);
}

/* One stops in the middle without a word, keeps its connection and answers pings. The rest take
   over what it owes, and it pays for its silence. */
static void test_stall(void **state) {
  (void)state;
  sim_init(&sim, 210);
  for (int i = 0; i < 3; i++) server(256 * KIB, 20);
  sim_node_t *late = sim_node(&sim, 7);
  while (sim_height(late) < 50) sim_step(&sim);
  sim.nodes[0]->mute = true;
  uint64_t ms = sim_until(&sim, 8, CHAIN_CNT, 60000);
  assert_in_range(ms, 1000, 9000); /* two bring the rest in 5 s; a timeout would have been 20 s */
  assert_true(stats(late).sync_stolen >= 1);
  sim_run(&sim, 21000);
  qr_peer_info_t info[4];
  assert_int_equal(qr_peers_list(late->peers, info, 4), 3);
  for (int i = 0; i < 3; i++) {
    bool mute = qr_pubkey_eq(&info[i].identity, &sim.nodes[0]->key.pk);
    assert_int_equal(info[i].misbehaviour > 10, mute);
  }
  sim_end(&sim);
}

/* The one that leads gives its headers late: another leads on. */
static void test_slow_leader(void **state) {
  (void)state;
  sim_init(&sim, 220);
  sim_node_t *slow = server(512 * KIB, 5);
  grow(slow, CHAIN_CNT, CHAIN_CNT + 1, 0);
  sim_node_t *late = sim_node(&sim, 1);
  while (sim_height(late) < 2) sim_step(&sim); /* it leads */
  for (int i = 0; i < 2; i++) server_that_dials(2, 512 * KIB, 5);
  for (uint64_t ms = 0; sim_height(late) < CHAIN_CNT; ms++) {
    if (sim_height(late) == 10) qr_link_mem_pace(slow->link, 0, 8000 * SIM_MS);
    assert_true(ms < 7000);
    sim_step(&sim);
  }
  assert_in_range(stats(late).sync_rotations, 1, 3);
  assert_int_equal(stats(late).strikes, 0);
  sim_until(&sim, 2, CHAIN_CNT + 1, 120000);
  sim_end(&sim);
}

/* ---- one that lies, through the bare link ---- */

typedef struct {
  qr_link_t *link;
  qr_key_t key;
  qr_link_conn_t conn;
  bool up, down, spoils, denies;
  uint8_t in[1 << 16];
  size_t in_sz;
  sim_block_t chain[CHAIN_CNT];
  uint32_t base; /* what it has of the others' chain */
} liar_t;
static liar_t liar;

static void liar_msg(const qr_msg_t *m) {
  static uint8_t frame[QR_MSG_FRAME_MAX_SZ];
  size_t sz = qr_msg_encode(m, frame);
  int64_t n = qr_link_mem_ops.send(liar.link, liar.conn,
                                   (enum qr_link_class)qr_msg_class_of(m->type), frame, sz);
  if (n == QR_ERR_CLOSED) liar.down = true;
}

/* Its chain: the others' up to base, its own after that, one block of it invalid. */
static void liar_chain(const sim_node_t *of, uint32_t base, uint32_t bad_at) {
  qr_hash_t parent = sim_genesis();
  liar.base = base;
  for (uint32_t i = 0; i < CHAIN_CNT; i++) {
    const sim_block_t *b = &of->blocks[i + 1];
    liar.chain[i] = i < base ? sim_block_parse(b->bytes, b->sz)
                             : sim_block_make(&parent, i + 1, 5000 + i,
                                              i + 1 == bad_at ? SIM_BAD : 0, false, BODY_SZ);
    parent = liar.chain[i].hash;
  }
}

static void liar_hello(uint64_t work) {
  qr_msg_t m = {.type = QR_MSG_HELLO,
                .hello = {.version = QR_MSG_VERSION,
                          .chain_id = 7,
                          .genesis = sim_genesis(),
                          .height = CHAIN_CNT,
                          .work = qr_u256_from_u64(work),
                          .tip = liar.chain[CHAIN_CNT - 1].hash}};
  liar_msg(&m);
  liar_msg(&(qr_msg_t){.type = QR_MSG_READY});
}

static void liar_headers(const qr_msg_get_headers_t *g) {
  static uint8_t out[QR_MSG_HEADERS_MAX_CNT * QR_HEADER_SZ];
  uint32_t from = 0, cnt = 0;
  for (uint32_t k = 0; k < g->cnt && !from; k++) {
    for (uint32_t i = 0; i < CHAIN_CNT; i++) {
      if (qr_hash_eq(&liar.chain[i].hash, &g->locator[k])) from = i + 1;
    }
  }
  for (uint32_t i = from ? from - 1 : 0; i < CHAIN_CNT && cnt < 100; i++, cnt++)
    memcpy(out + (size_t)cnt * QR_HEADER_SZ, liar.chain[i].bytes, QR_HEADER_SZ);
  liar_msg(&(qr_msg_t){.type = QR_MSG_HEADERS, .headers = {cnt, out}});
}

static void liar_block(const qr_hash_t *h) {
  for (uint32_t i = 0; i < CHAIN_CNT && !liar.denies; i++) {
    sim_block_t *b = &liar.chain[i];
    if (!qr_hash_eq(&b->hash, h)) continue;
    if (liar.spoils && i % 7 == 3) b->bytes[QR_HEADER_SZ + 5] ^= 1;
    liar_msg(&(qr_msg_t){.type = QR_MSG_BLOCK, .block = {b->bytes, (uint32_t)b->sz}});
    return;
  }
  liar_msg(
      &(qr_msg_t){.type = QR_MSG_NOT_FOUND, .not_found = {.kind = QR_MSG_WANT_BLOCK, .hash = *h}});
}

static void liar_take(void) {
  uint8_t type;
  uint32_t sz;
  qr_msg_t m;
  while (liar.in_sz >= QR_MSG_HEAD_SZ) {
    assert_int_equal(qr_msg_head(liar.in, &sz, &type), QR_VERDICT_OK);
    if (liar.in_sz < QR_MSG_HEAD_SZ + sz) return;
    assert_int_equal(qr_msg_decode(type, liar.in + QR_MSG_HEAD_SZ, sz, &m), QR_VERDICT_OK);
    if (type == QR_MSG_PING) liar_msg(&(qr_msg_t){.type = QR_MSG_PONG, .ping = m.ping});
    if (type == QR_MSG_GET_HEADERS) liar_headers(&m.get_headers);
    if (type == QR_MSG_GET_BLOCK) liar_block(&m.get_block.hash);
    liar.in_sz -= QR_MSG_HEAD_SZ + sz;
    memmove(liar.in, liar.in + QR_MSG_HEAD_SZ + sz, liar.in_sz);
  }
}

static void liar_poll(uint64_t work) {
  qr_link_event_t ev[32];
  int n = qr_link_mem_ops.poll(liar.link, sim.now, ev, 32);
  for (int i = 0; i < n; i++) {
    if (ev[i].kind == QR_LINK_UP) liar_hello(work);
    if (ev[i].kind == QR_LINK_DOWN) liar.down = true;
    if (ev[i].kind != QR_LINK_DATA || ev[i].cls != QR_LINK_CONTROL) continue;
    assert_true(liar.in_sz + ev[i].sz <= sizeof liar.in);
    memcpy(liar.in + liar.in_sz, ev[i].data, ev[i].sz);
    liar.in_sz += ev[i].sz;
  }
  liar_take();
}

/* A fresh node among two honest servers and the liar; until it has the honest chain. */
static uint64_t join_with_liar(uint64_t seed, uint32_t base, uint32_t bad_at, bool spoils,
                               bool denies, uint64_t work, uint64_t limit_ms) {
  sim_init(&sim, seed);
  for (int i = 0; i < 2; i++) server(512 * KIB, 10);
  memset(&liar, 0, sizeof liar);
  liar.spoils = spoils;
  liar.denies = denies;
  liar_chain(sim.nodes[0], base, bad_at);
  liar.link = sim_link(&sim, 6, &liar.key);
  sim_node_t *late = sim_node(&sim, 3);
  qr_link_addr_t to = sim_addr(late->idx);
  assert_int_equal(qr_link_mem_ops.connect(liar.link, &to, NULL, &liar.conn), QR_OK);
  uint64_t ms = 0;
  for (; sim_height(late) < CHAIN_CNT; ms++) {
    if (ms >= limit_ms) fail_msg("at %llu", (unsigned long long)sim_height(late));
    sim_step(&sim);
    liar_poll(work);
  }
  assert_memory_equal(late->blocks[late->tip].hash.b,
                      sim.nodes[0]->blocks[sim.nodes[0]->tip].hash.b, 32);
  for (int i = 0; i < 2; i++) {
    assert_int_equal(stats(sim.nodes[i]).strikes, 0);
    assert_int_equal(sim.nodes[i]->down_cnt, 0);
  }
  return ms;
}

static void liar_end(bool down) {
  assert_int_equal(liar.down, down);
  for (uint32_t i = 0; i < CHAIN_CNT; i++) free(liar.chain[i].bytes);
  qr_link_mem_ops.close(liar.link);
  sim_end(&sim);
}

static void test_liars(void **state) {
  (void)state;
  /* it claims most, so that it leads, with a chain of its own from the start or from the middle on,
     of which a block is invalid; the honest chain is what the node ends on */
  uint64_t a = join_with_liar(230, 0, 5, false, false, 100000, 40000);
  liar_end(true);
  uint64_t b = join_with_liar(231, 150, 160, false, false, 100000, 40000);
  liar_end(true);
  /* it leads with the right headers and gives no blocks; or it gives blocks with spoiled bodies */
  uint64_t c = join_with_liar(232, CHAIN_CNT, 0, false, true, 100000, 40000);
  liar_end(false);
  uint64_t d = join_with_liar(233, CHAIN_CNT, 0, true, false, 100000, 40000);
  liar_end(true);
  /* it has nothing of the chain, and claims as much as the others */
  uint64_t e = join_with_liar(234, 0, 0, false, true, CHAIN_CNT, 40000);
  liar_end(false);
  print_message("with a liar: %llu %llu %llu %llu %llu ms\n", (unsigned long long)a,
                (unsigned long long)b, (unsigned long long)c, (unsigned long long)d,
                (unsigned long long)e);
}

/* All leave in the middle and come back; what was verified is not fetched again. */
static void test_all_leave(void **state) {
  (void)state;
  sim_init(&sim, 240);
  for (int i = 0; i < 3; i++) server(256 * KIB, 20);
  sim_node_t *late = sim_node(&sim, 7);
  while (sim_height(late) < 120) sim_step(&sim);
  uint64_t headers = late->header_cnt;
  qr_link_mem_group(late->link, 1);
  sim_run(&sim, 60000);
  assert_int_equal(sim_peer_cnt(late), 0);
  uint64_t h = sim_height(late);
  assert_in_range(h, 120, 200);
  assert_false(qr_peers_progress(late->peers).syncing);
  qr_link_mem_heal(late->link);
  sim_until(&sim, 8, CHAIN_CNT, 120000);
  assert_int_equal(late->block_cnt, CHAIN_CNT + 1);
  assert_true(headers + (CHAIN_CNT - h) + 200 >= late->header_cnt);
  assert_int_equal(stats(late).bans, 0);
  sim_end(&sim);
}

/* A node that was stopped goes on where its store ends: it knows by its locator what it has. */
static void test_restart(void **state) {
  (void)state;
  sim_init(&sim, 250);
  for (int i = 0; i < 2; i++) server(256 * KIB, 20);
  sim_node_t *late = sim_node(&sim, 3);
  while (sim_height(late) < 150) sim_step(&sim);
  qr_peers_fini(late->peers);
  free(late->peers);
  late->peers = NULL;
  while (late->job_cnt) sim_drop_job(late, 0);
  late->want_cnt = 0;
  uint64_t had = sim_height(late);
  sim_run(&sim, 5000);
  qr_link_addr_t statics[2] = {sim_addr(0), sim_addr(1)};
  qr_peers_cfg_t cfg = sim_cfg(late, statics, 2);
  sim_start(late, &cfg);
  sim_set_tip(late, late->tip);
  sim_until(&sim, 4, CHAIN_CNT, 60000);
  uint64_t got = stats(late).blocks_rx;
  assert_in_range(got, CHAIN_CNT - had, CHAIN_CNT - had + 5);
  sim_end(&sim);
}

static void test_progress(void **state) {
  (void)state;
  sim_init(&sim, 260);
  for (int i = 0; i < 2; i++) server(128 * KIB, 20);
  sim_node_t *late = sim_node(&sim, 3);
  sim_run(&sim, 6000);
  qr_peers_progress_t g = qr_peers_progress(late->peers);
  assert_true(g.syncing);
  assert_int_equal(g.height, sim_height(late));
  assert_int_equal(g.target_height, CHAIN_CNT);
  assert_int_equal(g.sync_peer_cnt, 2);
  assert_in_range(g.rate_milli, 20000, 30000); /* 256 KiB/s in blocks of 10 kB */
  assert_in_range(g.left_s, (CHAIN_CNT - g.height) / 30, (CHAIN_CNT - g.height) / 20);
  sim_until(&sim, 4, CHAIN_CNT, 60000);
  sim_run(&sim, 100);
  g = qr_peers_progress(late->peers);
  assert_false(g.syncing);
  assert_int_equal(g.left_s, 0);
  sim_end(&sim);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_speed),     cmocka_unit_test(test_stall),
      cmocka_unit_test(test_liars),     cmocka_unit_test(test_slow_leader),
      cmocka_unit_test(test_all_leave), cmocka_unit_test(test_restart),
      cmocka_unit_test(test_progress),
  };
  return cmocka_run_group_tests(tests, sim_setup, NULL);
}
