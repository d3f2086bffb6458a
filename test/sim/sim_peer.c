/* Peer sessions among honest nodes: relay, sync, models, partition, sessions' beginnings and ends,
 * determinism. */
#include "peer_sim.h"

static void test_relay(void **state) {
  (void)state;
  sim_t s;
  sim_init(&s, 1);
  /* a line 0 - 1 - 2 - 3: what arrives at the end went through everybody */
  for (uint32_t i = 0; i < 4; i++) sim_node(&s, i ? 1u << (i - 1) : 0);
  sim_run(&s, 100);
  assert_int_equal(sim_peer_cnt(s.nodes[1]), 2);
  for (uint32_t i = 0; i < 10; i++) {
    sim_mine(s.nodes[i % 4], i, i == 5);
    uint64_t ms = sim_until(&s, 0xf, i + 1, 2000);
    if (i != 5)
      assert_in_range(ms, 1,
                      100); /* three hops of announce, ask, block: about nine trips of 2 to 5 ms */
    assert_int_equal(qr_peers_progress(s.nodes[i % 4]->peers).syncing, false);
  }
  uint8_t tx[QR_TX_SZ] = {1, 2, 3};
  for (uint32_t i = 0; i < 5; i++) {
    tx[5] = (uint8_t)i;
    qr_peers_relay_tx(s.nodes[0]->peers, 0, tx);
    qr_peers_relay_tx(s.nodes[0]->peers, 0, tx);
  }
  sim_run(&s, 100);
  uint64_t frames = 0;
  for (uint32_t i = 1; i < 4; i++) assert_int_equal(s.nodes[i]->tx_cnt, 5);
  assert_int_equal(s.nodes[0]->tx_cnt, 0);
  for (uint32_t i = 0; i < 4; i++) {
    qr_peers_stats_t st;
    qr_peers_stats(s.nodes[i]->peers, &st);
    assert_int_equal(st.strikes, 0); /* honest nodes never blame each other */
    assert_int_equal(st.unsolicited, 0);
    assert_int_equal(st.tx_rx, i ? 5 : 0); /* nothing goes over the same link twice */
    frames += st.frames_tx;
  }
  /* three links: HELLO, READY and PING each way, and PONG; then for each block one announce,
   * question and answer; one model: question, leaves, ten chunks, and offers of it; the
   * transactions; pings */
  uint64_t least = 3 * 8 + 10 * 9 + 3 * 12 + 3 * (2 + 5); /* ids, question, transactions */
  assert_in_range(frames, least, least + 2 + 12);
  sim_end(&s);
}

static uint64_t bytes_from(sim_node_t *n, const sim_node_t *peer) {
  qr_peer_info_t info[8];
  uint32_t cnt = qr_peers_list(n->peers, info, 8);
  for (uint32_t i = 0; i < cnt; i++) {
    if (!memcmp(info[i].identity.b, peer->key.pk.b, 32)) return info[i].rx_bytes;
  }
  fail_msg("no such peer");
  return 0;
}

/* A full block goes over three hops; two of its transactions nobody has, ten the last node has not.
 */
static void test_compact(void **state) {
  (void)state;
  enum { CNT = 300, OWN = 2, LOST = 10 };
  static uint8_t txs[CNT * QR_TX_SZ];
  sim_t s;
  sim_init(&s, 70);
  for (uint32_t i = 0; i < 4; i++) sim_node(&s, i ? 1u << (i - 1) : 0);
  sim_run(&s, 100);
  for (uint32_t i = 0; i < CNT; i++) {
    qr_st32(txs + i * QR_TX_SZ, i);
    s.nodes[3]->no_relay = i < LOST;
    if (i < CNT - OWN) qr_peers_relay_tx(s.nodes[0]->peers, 0, txs + i * QR_TX_SZ);
    if (i % 10 == 9) sim_run(&s, 100);
    for (uint32_t k = 0; k < 4; k++) s.nodes[k]->tx_cnt = 0; /* the toy's memory of them is short */
  }
  sim_run(&s, 1000);
  uint64_t before[4];
  for (uint32_t i = 1; i < 4; i++) before[i] = bytes_from(s.nodes[i], s.nodes[i - 1]);
  sim_block_t b = sim_block_make_txs(&s.nodes[0]->blocks[0].hash, 1, 9, txs, CNT);
  sim_accept(s.nodes[0], b);
  assert_in_range(sim_until(&s, 0xf, 1, 1000), 1, 100);
  for (uint32_t i = 1; i < 4; i++) {
    qr_peers_stats_t st;
    qr_peers_stats(s.nodes[i]->peers, &st);
    uint64_t took = bytes_from(s.nodes[i], s.nodes[i - 1]) - before[i];
    if (i == 1) print_message("block %zu bytes, compact %llu\n", b.sz, (unsigned long long)took);
    assert_int_equal(st.compact_rx, 1);
    assert_int_equal(st.compact_whole, 0);
    assert_int_equal(st.txs_asked, i == 3 ? LOST : 0);
    assert_int_equal(st.strikes, 0);
    assert_in_range(took, CNT * 6, 432 + 1000 + CNT * 6 + (i == 3 ? OWN + LOST : OWN) * 160 + 300);
    assert_memory_equal(s.nodes[i]->blocks[1].bytes, b.bytes, b.sz);
  }
  sim_end(&s);
}

/* How long it takes from the first node's block until the fourth has all that it needs to verify
   it, over links of 10 ms and about 1.6 MB/s, with 50 ms of work at every node. */
static uint64_t announce_to_ready(bool late_models, uint32_t early_cnt) {
  sim_t s;
  sim_init(&s, 80);
  s.link = "delay_us=10000;buf_kib=16";
  s.late_models = late_models;
  for (uint32_t i = 0; i < 4; i++) sim_node(&s, i ? 1u << (i - 1) : 0);
  sim_run(&s, 200);
  for (uint32_t i = 0; i < 4; i++) s.nodes[i]->exec_ms = 50;
  while (s.now / SIM_MS % 50) sim_run(&s, 1);
  uint64_t from = s.now;
  sim_mine(s.nodes[0], 7, true);
  sim_until(&s, 0xf, 1, 5000);
  uint64_t ms = (s.nodes[3]->model_at - from) / SIM_MS;
  sim_run(&s, 500);
  for (uint32_t i = 1; i < 4; i++) {
    qr_peers_stats_t st;
    qr_peers_stats(s.nodes[i]->peers, &st);
    assert_int_equal(st.strikes, 0);
    assert_int_equal(st.unsolicited, 0);
    assert_int_equal(st.hedges, 0);
    assert_int_equal(st.models_early, i > 1 ? early_cnt : 0);
    assert_int_equal(s.nodes[i]->model_cnt, 1); /* nothing comes twice */
    qr_peer_info_t info[4];
    uint32_t cnt = qr_peers_list(s.nodes[i]->peers, info, 4);
    uint64_t rx = 0;
    for (uint32_t k = 0; k < cnt; k++) rx += info[k].rx_bytes;
    assert_in_range(rx, sim_model_sz, sim_model_sz + 40000);
  }
  sim_end(&s);
  return ms;
}

static void test_models_ahead(void **state) {
  (void)state;
  sim_model_sz = 409600;
  uint64_t late = announce_to_ready(true, 0), early = announce_to_ready(false, 1);
  sim_model_sz = SIM_MODEL_SZ;
  print_message("announce to ready over 3 hops: %llu ms, model after block %llu ms\n",
                (unsigned long long)early, (unsigned long long)late);
  assert_true(early * 10 < late * 7);
}

/* How long from the moment at which a miner has won, which executes its block once more before it
   announces it, until a node so many hops away has the model. */
static uint64_t won_to_model(bool ahead, uint32_t hop_cnt) {
  sim_t s;
  sim_init(&s, 81);
  s.link = "delay_us=10000;buf_kib=16";
  for (uint32_t i = 0; i <= hop_cnt; i++) sim_node(&s, i ? 1u << (i - 1) : 0);
  sim_run(&s, 200);
  for (uint32_t i = 0; i <= hop_cnt; i++) s.nodes[i]->exec_ms = 50;
  while (s.now / SIM_MS % 50) sim_run(&s, 1);
  uint64_t from = s.now;
  sim_block_t b = sim_block_make(&s.nodes[0]->blocks[0].hash, 1, 7, 0, true, 1000);
  uint8_t *model = malloc(sim_model_sz);
  sim_model_bytes(7, model);
  if (ahead) qr_peers_offer_model(s.nodes[0]->peers, b.bytes, model, sim_model_sz);
  memset(model, 0, sim_model_sz); /* it was copied */
  sim_run(&s, 50);
  sim_accept(s.nodes[0], b);
  sim_until(&s, (2u << hop_cnt) - 1, 1, 5000);
  sim_run(&s, 500);
  for (uint32_t i = 0; i <= hop_cnt; i++) {
    qr_peers_stats_t st;
    qr_peers_stats(s.nodes[i]->peers, &st);
    assert_int_equal(st.strikes + st.unsolicited + st.hedges, 0);
    assert_int_equal(s.nodes[i]->model_cnt, i ? 1 : 0);
    assert_int_equal(st.offers_taken, i > !ahead ? 1 : 0);
  }
  uint64_t ms = (s.nodes[hop_cnt]->model_at - from) / SIM_MS;
  free(model);
  sim_end(&s);
  return ms;
}

static void test_own_model_ahead(void **state) {
  (void)state;
  sim_model_sz = 409600;
  for (uint32_t hop_cnt = 1; hop_cnt <= 3; hop_cnt += 2) {
    uint64_t late = won_to_model(false, hop_cnt), early = won_to_model(true, hop_cnt);
    print_message("won to ready over %u hops: %llu ms, own model not offered %llu ms\n", hop_cnt,
                  (unsigned long long)early, (unsigned long long)late);
    assert_true(early + 50 <= late);
  }
  sim_model_sz = SIM_MODEL_SZ;
}

/* Everybody knows everybody: each transaction goes to each node once, and most of what else goes
   over the links is eight bytes each. */
static void test_tx_bytes(void **state) {
  (void)state;
  enum { NODE_CNT = 8, CNT = 60 };
  sim_t s;
  sim_init(&s, 90);
  for (uint32_t i = 0; i < NODE_CNT; i++) sim_node(&s, (1u << i) - 1);
  sim_run(&s, 500);
  uint64_t before = 0, after = 0;
  qr_peer_info_t info[8];
  for (uint32_t i = 0; i < NODE_CNT; i++) {
    uint32_t cnt = qr_peers_list(s.nodes[i]->peers, info, 8);
    assert_int_equal(cnt, NODE_CNT - 1);
    for (uint32_t k = 0; k < cnt; k++) before += info[k].rx_bytes;
  }
  uint8_t tx[QR_TX_SZ] = {4};
  for (uint32_t i = 0; i < CNT; i++) {
    qr_st32(tx + 1, i);
    qr_peers_relay_tx(s.nodes[i % NODE_CNT]->peers, 0, tx);
    sim_run(&s, 20);
  }
  sim_run(&s, 1000);
  for (uint32_t i = 0; i < NODE_CNT; i++) {
    qr_peers_stats_t st;
    qr_peers_stats(s.nodes[i]->peers, &st);
    uint32_t own_cnt = CNT / NODE_CNT + (i < CNT % NODE_CNT);
    assert_int_equal(s.nodes[i]->tx_cnt, CNT - own_cnt);
    assert_int_equal(st.tx_rx, CNT - own_cnt);
    assert_int_equal(st.tx_late, 0);
    assert_int_equal(st.strikes, 0);
    uint32_t cnt = qr_peers_list(s.nodes[i]->peers, info, 8);
    for (uint32_t k = 0; k < cnt; k++) after += info[k].rx_bytes;
  }
  uint64_t each = (after - before) / CNT, pushed = NODE_CNT * (NODE_CNT - 1) / 2 * (QR_TX_SZ + 5);
  print_message("a transaction among 8 nodes: %llu bytes; pushed over every link once: %llu\n",
                (unsigned long long)each, (unsigned long long)pushed);
  assert_true(each * 2 < pushed);
  sim_end(&s);
}

static void relay_paying(sim_node_t *n, uint64_t seq, uint64_t fee, uint8_t tx[QR_TX_SZ]) {
  qr_tx_encode(&(qr_tx_t){.kind = QR_TX_TRANSFER, .amount = 1, .fee = fee, .seq = seq}, tx);
  qr_peers_relay_tx(n->peers, 0, tx);
}

static qr_peers_stats_t stats_of(const sim_node_t *n) {
  qr_peers_stats_t st;
  qr_peers_stats(n->peers, &st);
  return st;
}

/* Who says that it takes no cheap ones is not told of them, from the next second on that it does is
   again; the others always are. In a block what was not told is not taken for known. */
static void test_fees(void **state) {
  (void)state;
  enum { CNT = 20 };
  sim_t s;
  sim_init(&s, 91);
  for (uint32_t i = 0; i < 3; i++) sim_node(&s, i ? 1 : 0);
  uint8_t txs[CNT * QR_TX_SZ];
  sim_node_t *n = s.nodes[0], *full = s.nodes[1], *other = s.nodes[2];
  sim_run(&s, 12000);
  qr_peers_set_fee_min(full->peers, 20);
  sim_run(&s, 200);
  for (uint64_t i = 0; i < CNT; i++) relay_paying(n, i, i < CNT / 2 ? 19 : 20, txs + i * QR_TX_SZ);
  sim_run(&s, 1000);
  assert_int_equal(full->tx_cnt, CNT / 2);
  assert_int_equal(stats_of(full).tx_ids_rx, CNT / 2);
  assert_int_equal(other->tx_cnt, CNT);
  assert_int_equal(stats_of(n).tx_cheap, CNT / 2);
  sim_block_t b = sim_block_make_txs(&n->blocks[0].hash, 1, 9, txs, CNT);
  sim_accept(n, b);
  sim_until(&s, 7, 1, 1000);
  assert_int_equal(stats_of(full).txs_asked, 0);
  /* A rise is told at most every ten seconds, a fall every second. */
  uint64_t frames = stats_of(full).frames_tx;
  uint8_t tx[QR_TX_SZ];
  for (uint64_t i = 0; i < 100; i++) {
    qr_peers_set_fee_min(full->peers, 30 + i);
    sim_run(&s, 100);
  }
  assert_in_range(stats_of(full).frames_tx - frames, 1, 5);
  qr_peers_set_fee_min(full->peers, 1);
  sim_run(&s, 1100);
  relay_paying(n, CNT, 1, tx);
  sim_run(&s, 500);
  assert_int_equal(full->tx_cnt, CNT / 2 + 1);
  /* One that asks for all there is gets nothing, which is its own loss. */
  qr_peers_set_fee_min(full->peers, UINT64_MAX);
  sim_run(&s, 10100);
  relay_paying(n, CNT + 1, 1000000, tx);
  sim_run(&s, 1000);
  assert_int_equal(full->tx_cnt, CNT / 2 + 1);
  assert_int_equal(other->tx_cnt, CNT + 2);
  for (uint32_t i = 0; i < 3; i++) assert_int_equal(stats_of(s.nodes[i]).strikes, 0);
  sim_end(&s);
}

/* A peer that does not read one stream while the others flow: what waits for it is bounded, and it
 * goes. */
static int64_t send_clogged(qr_link_t *l, qr_link_conn_t c, enum qr_link_class cls, const void *p,
                            size_t sz) {
  return cls == QR_LINK_BLOCK ? 0 : qr_link_mem_ops.send(l, c, cls, p, sz);
}

static void test_clogged_stream(void **state) {
  (void)state;
  sim_t s;
  sim_init(&s, 40);
  qr_link_ops_t ops = qr_link_mem_ops;
  ops.send = send_clogged;
  sim_node_t *n = sim_node_bare(&s);
  qr_peers_cfg_t cfg = sim_cfg(n, NULL, 0);
  cfg.ops = &ops;
  sim_start(n, &cfg);
  for (uint32_t i = 0; i < 30; i++) sim_mine(n, i, false);
  sim_node(&s, 1);
  sim_run(&s, 59000);
  assert_int_equal(n->down_cnt, 0);
  assert_int_equal(sim_height(s.nodes[1]), 0);
  sim_run(&s, 3000);
  assert_int_equal(n->down_cnt, 1);
  assert_string_equal(n->last_down, "reads nothing");
  sim_end(&s);
}

/* Everybody, and a node that comes late to 200 blocks; every seventh block needs its model, the
 * application often has no room. */
static qr_hash_t late_joiner(uint64_t seed, uint64_t *full_cnt) {
  sim_t s;
  sim_init(&s, seed);
  sim_node(&s, 0);
  sim_node(&s, 1);
  for (uint32_t i = 0; i < 200; i++) sim_mine(s.nodes[0], i, i % 7 == 3);
  sim_until(&s, 3, 200, 60000);
  sim_node_t *late = sim_node(&s, 3);
  late->exec_ms = 3;
  bool was_syncing = false;
  for (int i = 0; i < 60000 && sim_height(late) < 200; i++) {
    sim_step(&s);
    qr_peers_progress_t pr = qr_peers_progress(late->peers);
    if (pr.syncing && sim_height(late) == 100) was_syncing = pr.target_height == 200;
    if (i % 97 == 0 && sim_height(s.nodes[1]) == 200) sim_run(&s, 1);
  }
  assert_int_equal(sim_height(late), 200);
  assert_true(was_syncing);
  assert_int_equal(late->block_cnt, 201);        /* each block once */
  assert_int_equal(late->parent_unknown_cnt, 0); /* in order */
  assert_int_equal(late->model_cnt, 29);
  for (uint32_t i = 1; i < late->block_cnt; i++) assert_int_equal(late->blocks[i].height, i);
  sim_run(&s, 100);
  assert_false(qr_peers_progress(late->peers).syncing);
  assert_int_equal(qr_peers_progress(late->peers).target_height, 200);
  sim_mine(late, 1000, false); /* it is a full member now */
  sim_until(&s, 7, 201, 2000);
  for (uint32_t i = 0; i < 3; i++) {
    qr_peers_stats_t st;
    qr_peers_stats(s.nodes[i]->peers, &st);
    assert_int_equal(st.strikes, 0);
  }
  *full_cnt = late->full_cnt;
  return sim_end(&s);
}

static void test_late_joiner(void **state) {
  (void)state;
  uint64_t full_cnt;
  late_joiner(2, &full_cnt);
  assert_true(full_cnt > 100);
}

static void test_deterministic(void **state) {
  (void)state;
  uint64_t full_cnt;
  qr_hash_t a = late_joiner(3, &full_cnt), b = late_joiner(3, &full_cnt),
            c = late_joiner(4, &full_cnt);
  assert_memory_equal(a.b, b.b, 32);
  assert_memory_not_equal(a.b, c.b, 32);
}

static void test_long_chain(void **state) {
  (void)state;
  sim_t s;
  sim_init(&s, 5);
  sim_node(&s, 0);
  sim_block_t *tip = &s.nodes[0]->blocks[0];
  for (uint32_t i = 0; i < 1000;
       i++) { /* more than one answer of headers; no peer yet, so nothing is announced */
    const sim_block_t *b = &s.nodes[0]->blocks[s.nodes[0]->tip];
    sim_accept(s.nodes[0], sim_block_make(&b->hash, b->height + 1, i, 0, false, 20));
  }
  assert_int_equal(tip->height, 0);
  sim_node(&s, 1);
  sim_until(&s, 3, 1000, 20000);
  assert_int_equal(s.nodes[1]->block_cnt, 1001);
  sim_end(&s);
}

static void test_partition(void **state) {
  (void)state;
  sim_t s;
  sim_init(&s, 6);
  for (uint32_t i = 0; i < 4; i++) sim_node(&s, (1u << i) - 1);
  sim_run(&s, 100);
  for (uint32_t i = 0; i < 3; i++) sim_mine(s.nodes[0], i, false);
  sim_until(&s, 0xf, 3, 2000);
  qr_link_mem_group(s.nodes[2]->link, 1);
  qr_link_mem_group(s.nodes[3]->link, 1);
  for (uint32_t i = 0; i < 40; i++) {
    if (i < 20) sim_mine(s.nodes[0], 100 + i, false);
    sim_mine(s.nodes[2], 200 + i, i == 30);
    sim_run(&s, 1000);
  }
  assert_int_equal(sim_height(s.nodes[1]), 23);
  assert_int_equal(sim_height(s.nodes[3]), 43);
  assert_true(s.nodes[0]->down_cnt >= 2); /* the silence was noticed */
  assert_int_equal(sim_peer_cnt(s.nodes[0]), 1);
  qr_link_mem_heal(s.nodes[0]->link);
  sim_until(&s, 0xf, 43, 120000); /* redial pauses are up to a minute and a quarter */
  sim_run(&s, 90000);
  for (uint32_t i = 0; i < 4; i++) {
    qr_peers_stats_t st;
    qr_peers_stats(s.nodes[i]->peers, &st);
    assert_int_equal(sim_peer_cnt(s.nodes[i]), 3);
    assert_int_equal(st.bans, 0);
  }
  sim_end(&s);
}

static void test_model_elsewhere(void **state) {
  (void)state;
  sim_t s;
  sim_init(&s, 7);
  sim_node(&s, 0);
  s.nodes[0]->no_models = true;
  sim_node(&s, 1);
  sim_node(&s, 3);
  sim_run(&s, 100);
  sim_block_t *g = &s.nodes[0]->blocks[0];
  sim_block_t b = sim_block_make(&g->hash, 1, 77, 0, true, 10);
  sim_accept(s.nodes[1], sim_block_parse(b.bytes, b.sz)); /* node 1 has block and model */
  sim_run(&s, 1);
  sim_accept(s.nodes[0], b); /* node 0 has both too but does not give the model */
  sim_until(&s, 7, 1, 60000);
  assert_int_equal(s.nodes[2]->model_cnt, 1);
  sim_end(&s);

  sim_init(&s, 8); /* nobody gives it: the late one keeps asking now and then, is not stuck, and
                      takes it once somebody does */
  sim_node(&s, 0);
  s.nodes[0]->no_models = true;
  for (uint32_t i = 0; i < 5; i++) sim_mine(s.nodes[0], i, i == 2);
  sim_node(&s, 1);
  sim_run(&s, 20000);
  assert_int_equal(sim_height(s.nodes[1]), 2);
  assert_true(s.nodes[1]->model_failed_cnt >= 1);
  s.nodes[0]->no_models = false;
  sim_until(&s, 3, 5, 60000);
  sim_end(&s);
}

static void test_redial(void **state) {
  (void)state;
  sim_t s;
  sim_init(&s, 9);
  sim_node(&s, 0);
  sim_node(&s, 1 | 1u << 5); /* and an address where nobody answers */
  sim_run(&s, 100);
  for (int k = 0; k < 3; k++) {
    qr_peer_info_t info[4];
    assert_int_equal(qr_peers_list(s.nodes[0]->peers, info, 4), 1);
    assert_memory_equal(info[0].identity.b, s.nodes[1]->key.pk.b, 32);
    assert_true(info[0].inbound && info[0].rtt_ns >= 4 * SIM_MS && info[0].rtt_ns < 20 * SIM_MS);
    assert_string_equal(info[0].agent, "sim/1");
    for (qr_link_conn_t c = 1; c < 200; c++) qr_link_mem_kill(s.nodes[0]->link, c);
    sim_run(&s, 10);
    assert_int_equal(sim_peer_cnt(s.nodes[0]), 0);
    sim_run(&s, 10000);
    assert_int_equal(sim_peer_cnt(s.nodes[0]), 1);
  }
  qr_peers_stats_t st;
  qr_peers_stats(s.nodes[1]->peers, &st);
  assert_in_range(st.dials, 5, 14); /* the pauses grow */
  sim_end(&s);
}

static void test_duplicate_and_self(void **state) {
  (void)state;
  sim_t s;
  for (uint64_t seed = 10; seed < 16; seed++) { /* who comes first varies */
    sim_init(&s, seed);
    sim_node(&s, 1u << 1);
    sim_node(&s, 1u << 0 | 1u << 2);
    sim_node(&s, 1u << 0 | 1u << 1 | 1u << 2); /* dials itself too */
    sim_run(&s, 3000);
    uint32_t up = s.nodes[0]->up_cnt;
    sim_run(&s, 5000);
    assert_int_equal(s.nodes[0]->up_cnt, up); /* it came to rest */
    for (uint32_t i = 0; i < 3; i++) assert_int_equal(sim_peer_cnt(s.nodes[i]), 2);
    for (uint32_t i = 0; i < 2; i++) {
      qr_peers_stats_t st;
      qr_peers_stats(s.nodes[i]->peers, &st);
      assert_in_range(st.dials, 0,
                      i + 1); /* both ends kept the same one: nobody had to dial again */
    }
    sim_end(&s);
  }
}

static void test_mismatch(void **state) {
  (void)state;
  static const char *const reasons[] = {"chain id", "genesis", "rules"};
  for (int k = 0; k < 3; k++) {
    sim_t s;
    sim_init(&s, 20 + (uint64_t)k);
    sim_node(&s, 0);
    sim_node_t *n = sim_node_bare(&s);
    qr_link_addr_t to = sim_addr(0);
    qr_peers_cfg_t cfg = sim_cfg(n, &to, 1);
    if (k == 0) cfg.chain_id++;
    if (k == 1) cfg.genesis.b[31] ^= 1;
    if (k == 2) cfg.rules.b[0] ^= 1;
    sim_start(n, &cfg);
    sim_run(&s, 20000);
    for (uint32_t i = 0; i < 2; i++) {
      qr_peers_stats_t st;
      qr_peers_stats(s.nodes[i]->peers, &st);
      assert_int_equal(s.nodes[i]->up_cnt, 0);
      assert_true(st.handshakes_refused >= 1); /* both ends know why */
      assert_int_equal(st.bans, 0);            /* a mistake of configuration is no attack */
    }
    assert_non_null(reasons[k]);
    sim_end(&s);
  }
}

static void test_config(void **state) {
  (void)state;
  sim_t s;
  sim_init(&s, 30);
  sim_node_t *n = sim_node(&s, 0);
  qr_peers_cfg_t good = sim_cfg(n, NULL, 0), bad = good;
  size_t sz = qr_peers_footprint(&good);
  assert_in_range(sz, 8u << 20, 24u << 20);
  bad.peer_max_cnt = 0;
  assert_int_equal(qr_peers_footprint(&bad), 0);
  bad.peer_max_cnt = QR_PEERS_MAX_CNT + 1;
  assert_int_equal(qr_peers_footprint(&bad), 0);
  bad = good;
  bad.model_max_sz = QR_PEERS_MODEL_MAX_SZ + 1;
  assert_int_equal(qr_peers_footprint(&bad), 0);
  bad = good;
  bad.agent = "12345678901234567890123456789012345678901234567890123456789012345";
  assert_int_equal(qr_peers_footprint(&bad), 0);
  qr_hash_t h = {{1}};
  assert_int_equal(qr_peers_fetch_model(n->peers, 1, &h, &h, SIM_MODEL_SZ + 1), QR_ERR_ARG);
  assert_int_equal(qr_peers_fetch_model(n->peers, 1, &h, &h, 1), QR_ERR_NOTFOUND);
  qr_peers_not_found(n->peers, 1, 1); /* late answers are nobody's */
  sim_end(&s);
}

/* A node that has no room for a block of a sync, again and again, does not blame the sender for
   those that came after it and now follow from nothing. */
static void test_no_room_in_sync(void **state) {
  (void)state;
  sim_t s;
  sim_init(&s, 60);
  sim_node_t *full = sim_node(&s, 0), *late = NULL;
  for (uint32_t i = 0; i < 60; i++) sim_mine(full, i, false);
  late = sim_node(&s, 1);
  late->exec_ms = 100000; /* judges nothing by itself */
  for (uint32_t i = 0; i < 20; i++) {
    for (uint32_t ms = 0; ms < 5000 && late->job_cnt < SIM_QUEUE_CNT; ms++) sim_run(&s, 1);
    assert_int_equal(late->job_cnt, SIM_QUEUE_CNT);
    sim_reject(late, 0, QR_VERDICT_WITNESS_MISSING);
    while (late->job_cnt) sim_work(late);
  }
  assert_true(late->parent_unknown_cnt >= 50);
  qr_peers_stats_t st;
  qr_peers_stats(late->peers, &st);
  assert_int_equal(st.strikes, 0);
  assert_int_equal(st.bans, 0);
  late->exec_ms = 1;
  sim_until(&s, 3, 60, 20000);
  sim_end(&s);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_relay),           cmocka_unit_test(test_clogged_stream),
      cmocka_unit_test(test_late_joiner),     cmocka_unit_test(test_deterministic),
      cmocka_unit_test(test_long_chain),      cmocka_unit_test(test_partition),
      cmocka_unit_test(test_model_elsewhere), cmocka_unit_test(test_redial),
      cmocka_unit_test(test_no_room_in_sync), cmocka_unit_test(test_duplicate_and_self),
      cmocka_unit_test(test_mismatch),        cmocka_unit_test(test_config),
      cmocka_unit_test(test_compact),         cmocka_unit_test(test_models_ahead),
      cmocka_unit_test(test_tx_bytes),        cmocka_unit_test(test_fees),
      cmocka_unit_test(test_own_model_ahead),
  };
  return cmocka_run_group_tests(tests, sim_setup, NULL);
}
