/* Peer sessions among hostile peers: whatever one sends or withholds, it loses its connection and
   the honest ones go on. */
#include "foe.h"

static void test_garbage(void **state) {
  (void)state;
  for (uint64_t seed = 1; seed <= 20; seed++) {
    begin(seed);
    if (seed % 2)
      foe_join(0, 0);
    else
      foe_connect();
    uint8_t junk[3000];
    qr_hash_t key = qr_hash("foe.junk", &seed, 8);
    qr_philox_t ph = qr_philox_init(&key, 0);
    for (uint32_t i = 0; i < sizeof junk; i++) junk[i] = qr_philox_byte(&ph, i);
    foe_send((enum qr_link_class)(seed / 2 % 4), junk, sizeof junk);
    run(50);
    end(true);
  }
}

static void test_oversize(void **state) {
  (void)state;
  static const struct {
    uint8_t type;
    enum qr_link_class cls;
    uint32_t sz;
  } cases[] = {
      {QR_MSG_BLOCK, QR_LINK_BLOCK, QR_BLOCK_MAX_SZ + 1},
      {QR_MSG_BLOCK, QR_LINK_BLOCK, QR_HEADER_SZ - 1},
      {QR_MSG_PING, QR_LINK_CONTROL, 9},
      {QR_MSG_HEADERS, QR_LINK_SYNC, 129 * QR_HEADER_SZ},
      {QR_MSG_TX, QR_LINK_TX, QR_TX_SZ + 1},
      {200, QR_LINK_CONTROL, QR_MSG_FRAME_MAX_SZ},
      {QR_MSG_BLOCK, QR_LINK_CONTROL, 1000},
      {QR_MSG_PING, QR_LINK_BLOCK, 8},
      {QR_MSG_MODEL, QR_LINK_SYNC, 0xffffffff},
  };
  for (size_t i = 0; i < QR_ARRAY_CNT(cases); i++) {
    begin(40 + i);
    foe_join(0, 0);
    uint8_t head[QR_MSG_HEAD_SZ];
    qr_msg_encode_head(cases[i].type, cases[i].sz, head);
    for (uint32_t k = 0; k < sizeof head; k++)
      foe_send(cases[i].cls, head + k, 1); /* the head alone is enough */
    run(20);
    end(true);
  }
}

static void test_unknown_types(void **state) {
  (void)state;
  begin(60);
  foe_join(0, 0);
  static uint8_t big[100000];
  for (uint32_t k = 0; k < 20; k++) { /* a few are forgiven: a later version may know more types */
    uint8_t head[QR_MSG_HEAD_SZ];
    qr_msg_encode_head((uint8_t)(100 + k), sizeof big, head);
    foe_send(QR_LINK_BLOCK, head, sizeof head);
    foe_send(QR_LINK_BLOCK, big, sizeof big);
    run(20);
  }
  foe_msg(&(qr_msg_t){.type = QR_MSG_PING, .ping = {77}});
  run(20);
  bool ponged = false;
  qr_msg_t m;
  while (foe_next(&m)) ponged |= m.type == QR_MSG_PONG && m.ping.nonce == 77;
  assert_true(ponged);
  for (uint32_t k = 0; k < 100; k++) {
    uint8_t head[QR_MSG_HEAD_SZ];
    qr_msg_encode_head(100, 0, head);
    foe_send(QR_LINK_TX, head, sizeof head);
  }
  run(20);
  end(true);
}

static void test_handshake(void **state) {
  (void)state;
  begin(70); /* says nothing */
  foe_connect();
  run(10100);
  end(false);
  begin(71); /* does not begin with HELLO */
  foe_connect();
  foe_msg(&(qr_msg_t){.type = QR_MSG_PING});
  run(20);
  end(true);
  begin(72); /* says HELLO twice */
  foe_connect();
  qr_msg_t m = foe_hello(0, 0);
  foe_msg(&m);
  foe_msg(&m);
  run(20);
  end(true);
  begin(73); /* another version, shaped otherwise: read, refused, not banned */
  foe_connect();
  uint8_t other[] = {6, 0, 0, 0, QR_MSG_HELLO, 9, 0, 0, 0, 9, 9, 200, 1, 1, 1, 1, 1};
  foe_send(QR_LINK_CONTROL, other, sizeof other);
  run(20);
  assert_true(foe_next(&m) && m.type == QR_MSG_HELLO); /* it can read what we are */
  run(1100);
  end(false);
}

static void test_never_answers(void **state) {
  (void)state;
  begin(80);
  foe_join(5000, 1000000); /* far ahead, if it were true */
  uint64_t start = sim.now;
  for (int i = 0; i < 300000 && !foe.down; i++) {
    run(1);
    qr_msg_t m;
    while (foe_next(&m)) { /* it does answer pings */
      if (m.type == QR_MSG_PING) foe_msg(&(qr_msg_t){.type = QR_MSG_PONG, .ping = m.ping});
    }
    assert_false(qr_peers_progress(sim.nodes[0]->peers).syncing); /* a claim stops no miner */
    if (i == 1000)
      sim_mine(sim.nodes[1], 900,
               false); /* the sync role that it holds hinders nobody else's blocks */
    if (i == 1200) assert_int_equal(sim_height(sim.nodes[0]), 4);
  }
  assert_true(stats().sync_failures >= 3);
  assert_true((sim.now - start) / SIM_SEC < 200);
  end(true);
  begin(81);
  foe_join(0, 0); /* does not even answer pings */
  run(21000);
  end(false);
}

static void test_floods(void **state) {
  (void)state;
  static const uint8_t header[QR_HEADER_SZ];
  for (int kind = 0; kind < 5; kind++) {
    begin(120 + (uint64_t)kind);
    foe_join(0, 0);
    sim.nodes[0]->mute = kind == 1; /* questions that pile up */
    static const qr_hash_t hash = {{9}};
    for (uint32_t i = 0; i < 5000 && !foe.down; i++) {
      qr_msg_t m = {.type = QR_MSG_PING, .ping = {i}};
      qr_hash_t any = qr_hash("foe.flood", &i, 4);
      if (kind == 1) m = (qr_msg_t){.type = QR_MSG_GET_BLOCK, .get_block = {any}};
      if (kind == 2) m = (qr_msg_t){.type = QR_MSG_HEADERS, .headers = {1, header}};
      if (kind == 3) m = (qr_msg_t){.type = QR_MSG_MODEL, .model = {any, 0, 32, any.b}};
      if (kind == 4)
        m = (qr_msg_t){.type = QR_MSG_NOT_FOUND, .not_found = {QR_MSG_WANT_BLOCK, hash}};
      foe_msg(&m);
      if (i % 64 == 63) run(1);
    }
    run(20);
    sim.nodes[0]->mute = false;
    end(true);
  }
}

/* Claims more, gives headers, and then no blocks; or headers that lead nowhere, or that break the
   rules. */
static void test_false_chain(void **state) {
  (void)state;
  for (int kind = 0; kind < 3; kind++) {
    begin(140 + (uint64_t)kind);
    foe_join(400, 4000);
    const sim_block_t *tip = &sim.nodes[0]->blocks[sim.nodes[0]->tip];
    sim_block_t chain[20];
    for (uint32_t k = 0; k < 20; k++) {
      qr_hash_t parent = k ? chain[k - 1].hash : tip->hash;
      chain[k] = sim_block_make(&parent, 4 + k, 900 + k, 0, false, 10);
    }
    if (kind == 2) chain[10].bytes[0] = 2; /* its version; the next one names another parent, too */
    for (int i = 0; i < 2000000 && !foe.down; i++) {
      run(1);
      qr_msg_t m;
      while (!foe.down && foe_next(&m)) {
        if (m.type == QR_MSG_PING) foe_msg(&(qr_msg_t){.type = QR_MSG_PONG, .ping = m.ping});
        if (m.type == QR_MSG_GET_BLOCK)
          foe_msg(&(qr_msg_t){.type = QR_MSG_NOT_FOUND,
                              .not_found = {QR_MSG_WANT_BLOCK, m.get_block.hash}});
        if (m.type != QR_MSG_GET_HEADERS) continue;
        foe_headers(kind == 1 ? chain[5].bytes : tip->bytes, chain, 20);
        qr_msg_t a = {.type = QR_MSG_ANNOUNCE,
                      .announce = {chain[0].hash, 500, qr_u256_from_u64(5000 + (uint64_t)i)}};
        foe_msg(&a);
      }
      if (i == 60000) break;
    }
    for (uint32_t k = 0; k < 20; k++) free(chain[k].bytes);
    assert_true(stats().sync_failures >= (kind == 2 ? 1 : 3));
    if (kind == 2) assert_true(foe.down); /* no honest peer has such headers */
    if (!foe.down) foe_send(QR_LINK_CONTROL, "\xff\xff\xff\xff\xff", 5);
    run(20);
    end(true);
  }
}

/* Reads nothing: what waits for it is bounded, and it goes. */
static void test_reads_nothing(void **state) {
  (void)state;
  begin(150);
  foe_join(0, 0);
  for (uint32_t i = 0; i < 40; i++) {
    const sim_block_t *b = &sim.nodes[0]->blocks[1];
    foe_msg(&(qr_msg_t){.type = QR_MSG_GET_BLOCK, .get_block = {b->hash}});
  }
  for (uint32_t i = 0; i < 70000 && sim_peer_cnt(sim.nodes[0]) == 3; i++) {
    sim_step(&sim); /* the foe's link is not polled */
    if (i % 1000 == 0) sim_mine(sim.nodes[0], 2000 + i, false);
  }
  assert_int_equal(sim_peer_cnt(sim.nodes[0]), 2);
  run(20);
  sim_until(&sim, 7, sim_height(sim.nodes[0]), 2000);
  foe.down = true;
  end(false);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_garbage),       cmocka_unit_test(test_oversize),
      cmocka_unit_test(test_unknown_types), cmocka_unit_test(test_handshake),
      cmocka_unit_test(test_never_answers), cmocka_unit_test(test_floods),
      cmocka_unit_test(test_false_chain),   cmocka_unit_test(test_reads_nothing),
  };
  return cmocka_run_group_tests(tests, sim_setup, NULL);
}
