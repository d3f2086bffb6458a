/* Blocks, models and transactions that a hostile peer announces and spoils or withholds: they come
   from an honest one within moments, and who lied goes. */
#include "foe.h"

/* Serves what it is asked for out of three blocks, one of them invalid. */
static void test_invalid_block(void **state) {
  (void)state;
  for (int where = 0; where < 3; where++) {
    begin(90 + (uint64_t)where);
    foe_join(0, 0);
    const sim_block_t *tip = &sim.nodes[0]->blocks[sim.nodes[0]->tip];
    sim_block_t chain[3];
    for (uint32_t i = 0; i < 3; i++) {
      qr_hash_t parent = i ? chain[i - 1].hash : tip->hash;
      chain[i] =
          sim_block_make(&parent, 4 + i, 700 + i, where == (int)i ? SIM_BAD : 0, false, 5000);
    }
    uint32_t last = where ? 2 : 0; /* one block announced, or a chain to sync */
    qr_msg_t m = {.type = QR_MSG_ANNOUNCE,
                  .announce = {chain[last].hash, 4 + last, qr_u256_from_u64(100)}};
    foe_msg(&m);
    for (int i = 0; i < 500 && !foe.down; i++) {
      run(1);
      while (foe_next(&m)) {
        if (m.type == QR_MSG_GET_HEADERS) foe_headers(tip->bytes, chain, 3);
        bool asks = m.type == QR_MSG_GET_BLOCK || m.type == QR_MSG_GET_COMPACT;
        for (uint32_t k = 0; k < 3 && asks; k++) {
          if (!qr_hash_eq(&m.get_block.hash, &chain[k].hash)) continue;
          foe_msg(
              &(qr_msg_t){.type = QR_MSG_BLOCK, .block = {chain[k].bytes, (uint32_t)chain[k].sz}});
        }
      }
    }
    for (uint32_t i = 0; i < 3; i++) free(chain[i].bytes);
    assert_true(foe.down);
    assert_int_equal(sim_height(sim.nodes[0]),
                     3u + (uint32_t)where); /* what was right before it stays */
    sim_until(&sim, 7, 3u + (uint32_t)where, 2000);
    end(true);
  }
}

/* Announces, sends an invalid block, and is gone before the verdict: banned all the same. */
static void test_invalid_and_gone(void **state) {
  (void)state;
  begin(100);
  foe_join(0, 0);
  sim.nodes[0]->exec_ms = 1000;
  const sim_block_t *tip = &sim.nodes[0]->blocks[sim.nodes[0]->tip];
  sim_block_t b = sim_block_make(&tip->hash, 4, 1, SIM_BAD, false, 10);
  foe_msg(&(qr_msg_t){.type = QR_MSG_ANNOUNCE, .announce = {b.hash, 4, qr_u256_from_u64(4)}});
  run(20);
  foe_msg(&(qr_msg_t){.type = QR_MSG_BLOCK, .block = {b.bytes, (uint32_t)b.sz}});
  run(10);
  qr_link_mem_ops.disconnect(foe.link, foe.conn);
  foe.down = true;
  free(b.bytes);
  run(2000);
  sim.nodes[0]->exec_ms = 1;
  assert_int_equal(sim.nodes[0]->rejected_cnt, 1);
  end(true);
}

/* A header that is right with a body that is not: the liar goes, the block comes from another. */
static void test_spoiled_body(void **state) {
  (void)state;
  begin(110);
  foe_join(0, 0);
  sim_block_t b = sim_block_make(&sim.nodes[0]->blocks[3].hash, 4, 42, 0, false, 100);
  foe_msg(&(qr_msg_t){.type = QR_MSG_ANNOUNCE, .announce = {b.hash, 4, qr_u256_from_u64(4)}});
  run(20);
  b.bytes[QR_HEADER_SZ + 50] ^= 1;
  foe_msg(&(qr_msg_t){.type = QR_MSG_BLOCK, .block = {b.bytes, (uint32_t)b.sz}});
  run(20);
  assert_true(foe.down);
  assert_int_equal(sim_height(sim.nodes[0]), 3);
  b.bytes[QR_HEADER_SZ + 50] ^= 1;
  sim_accept(sim.nodes[1], b);
  sim_until(&sim, 7, 4, 1000);
  end(true);
}

/* A block whose transactions everybody has, and one that only the foe has. */
#define TX_CNT 20u
static sim_block_t tx_block(uint64_t nonce, uint8_t *txs) {
  for (uint32_t i = 0; i <= TX_CNT; i++) {
    memset(txs + i * QR_TX_SZ, (int)(i + nonce), QR_TX_SZ);
    if (i < TX_CNT) qr_peers_relay_tx(sim.nodes[1]->peers, 0, txs + i * QR_TX_SZ);
  }
  run(50);
  return sim_block_make_txs(&sim.nodes[0]->blocks[3].hash, 4, nonce, txs, TX_CNT + 1);
}

/* How the foe answers when it is asked for the compact form, and for what is missing then. */
enum lie { RIGHT, WRONG_IDS, SAME_IDS, OTHER_TXS, FEW_TXS, COMPACT_TWICE, SILENT, LIE_CNT };

static void foe_compact(const sim_block_t *b, const uint8_t *txs, enum lie lie) {
  static uint8_t out[QR_COMPACT_MAX_SZ];
  qr_hash_t ids[TX_CNT + 1];
  bool known[TX_CNT + 1];
  for (uint32_t i = 0; i <= TX_CNT; i++) {
    ids[i] = qr_hash("quarry.txid", txs + i * QR_TX_SZ, QR_TX_SZ);
    if (lie == WRONG_IDS) ids[i].b[7] ^= 1;
    if ((lie == SAME_IDS || lie == COMPACT_TWICE) && i) ids[i] = ids[0];
    known[i] = true;
  }
  size_t sz = qr_compact_encode(b->bytes, b->sz, 5, ids, known, out);
  foe_msg(&(qr_msg_t){.type = QR_MSG_COMPACT, .compact = {out, (uint32_t)sz}});
}

static void foe_txs(const sim_block_t *b, const uint8_t *txs, const qr_msg_get_block_txs_t *g,
                    enum lie lie) {
  static uint8_t out[(TX_CNT + 1) * QR_TX_SZ];
  assert_int_equal(g->cnt, lie == WRONG_IDS ? TX_CNT + 1 : 1);
  for (uint32_t i = 0; i < g->cnt; i++)
    memcpy(out + i * QR_TX_SZ, txs + qr_ld16(g->at + 2 * i) * QR_TX_SZ, QR_TX_SZ);
  if (lie == OTHER_TXS) out[3] ^= 1;
  qr_msg_t m = {.type = QR_MSG_BLOCK_TXS, .block_txs = {b->hash, g->cnt + (lie == FEW_TXS), out}};
  if (lie != SILENT) foe_msg(&m);
}

/* Compact blocks that are none, in every way: what is right comes to its block, what is not falls
   back to the whole one, and what is withheld comes from another within moments. */
static void test_compact_lies(void **state) {
  (void)state;
  for (enum lie lie = RIGHT; lie < LIE_CNT; lie++) {
    uint8_t txs[(TX_CNT + 1) * QR_TX_SZ];
    begin(160 + (uint64_t)lie);
    foe_join(0, 0);
    sim_block_t b = tx_block(50, txs);
    bool gave_whole = false;
    foe_msg(&(qr_msg_t){.type = QR_MSG_ANNOUNCE, .announce = {b.hash, 4, qr_u256_from_u64(4)}});
    uint64_t ms = 0;
    for (; ms < 5000 && sim_height(sim.nodes[0]) < 4; ms++) {
      run(1);
      if (ms == 200 && lie >= COMPACT_TWICE)
        sim_accept(sim.nodes[1], sim_block_parse(b.bytes, b.sz));
      qr_msg_t m;
      while (foe_next(&m)) {
        if (m.type == QR_MSG_GET_COMPACT) foe_compact(&b, txs, lie);
        if (m.type == QR_MSG_GET_BLOCK_TXS) foe_txs(&b, txs, &m.get_block_txs, lie);
        if (m.type != QR_MSG_GET_BLOCK) continue;
        gave_whole = true;
        if (lie == COMPACT_TWICE)
          foe_compact(&b, txs, lie);
        else
          foe_msg(&(qr_msg_t){.type = QR_MSG_BLOCK, .block = {b.bytes, (uint32_t)b.sz}});
      }
    }
    assert_int_equal(sim_height(sim.nodes[0]), 4);
    assert_in_range(ms, 1, lie < COMPACT_TWICE ? 100 : 1500);
    bool whole = lie != RIGHT && lie != WRONG_IDS && lie != SILENT;
    assert_int_equal(gave_whole, whole);
    assert_int_equal(stats().compact_whole, whole);
    assert_int_equal(stats().hedges, lie >= COMPACT_TWICE);
    assert_int_equal(stats().strikes, lie == OTHER_TXS || lie == FEW_TXS ? 5 : 0);
    free(b.bytes);
    foe_send(QR_LINK_CONTROL, "\xff\xff\xff\xff\xff", 5);
    run(20);
    end(true);
  }
}

/* How the foe treats who asks it for the model of a block that it announced first. */
enum model_lie {
  M_RIGHT,
  M_SILENT,
  M_LEAVES_ONLY,
  M_HALF,
  M_TRICKLE,
  M_OTHER_ROOT,
  M_REFUSED,
  M_GONE,
  M_NO_LEAVES,
  M_OTHER_SIZE,
  M_WRONG_LEAVES,
  M_WRONG_CHUNK,
  M_LONG_CHUNK,
  M_BEYOND,
  M_LIE_CNT
};

static uint8_t foe_model[SIM_MODEL_SZ + 16];

static void foe_leaves(const qr_hash_t *root, enum model_lie lie) {
  qr_hash_t leaves[10];
  for (uint32_t i = 0; i < 10; i++) {
    uint32_t at = i * QR_MSG_CHUNK_SZ, left = SIM_MODEL_SZ - at;
    leaves[i] = qr_merkle_leaf(i, foe_model + at, left < QR_MSG_CHUNK_SZ ? left : QR_MSG_CHUNK_SZ);
  }
  if (lie == M_WRONG_LEAVES) leaves[9].b[0] ^= 1;
  foe_msg(&(qr_msg_t){.type = QR_MSG_LEAVES,
                      .leaves = {*root, SIM_MODEL_SZ - (lie == M_OTHER_SIZE), 10, leaves}});
}

static void foe_chunk(const qr_hash_t *root, uint32_t i, enum model_lie lie) {
  static uint8_t bytes[QR_MSG_CHUNK_SZ];
  uint32_t at = i * QR_MSG_CHUNK_SZ, left = SIM_MODEL_SZ - at;
  uint32_t n = left < QR_MSG_CHUNK_SZ ? left : QR_MSG_CHUNK_SZ;
  memcpy(bytes, foe_model + at, n);
  if (lie == M_WRONG_CHUNK) bytes[100] ^= 1;
  if (lie == M_LONG_CHUNK) n = i == 9 ? n + 1 : n - 1;
  qr_hash_t r = *root;
  if (lie == M_OTHER_ROOT) r.b[3] ^= 1;
  qr_msg_t m = {.type = QR_MSG_MODEL, .model = {r, (uint16_t)i, n, bytes}};
  if (lie == M_BEYOND) m.model.idx = 10;
  foe_msg(&m);
}

/* The first answer; how many chunks are still to come one by one. */
static uint32_t foe_answer_model(const sim_block_t *b, enum model_lie lie) {
  if (lie == M_REFUSED)
    foe_msg(&(qr_msg_t){.type = QR_MSG_NOT_FOUND, .not_found = {QR_MSG_WANT_MODEL, b->hash}});
  if (lie == M_GONE) {
    qr_link_mem_ops.disconnect(foe.link, foe.conn);
    foe.down = true;
  }
  if (lie == M_SILENT || lie == M_REFUSED || lie == M_GONE) return 0;
  if (lie != M_NO_LEAVES) foe_leaves(&b->model, lie);
  uint32_t cnt = lie == M_RIGHT ? 10 : lie == M_LEAVES_ONLY || lie == M_TRICKLE ? 0 : 5;
  for (uint32_t i = 0; i < cnt && !foe.down; i++) foe_chunk(&b->model, i, lie);
  return lie == M_TRICKLE ? 10 : 0;
}

/* Whatever it does, the block stands within moments of its announcement by an honest peer; what no
   honest peer sends ends the connection. */
static void test_model_lies(void **state) {
  (void)state;
  for (enum model_lie lie = M_RIGHT; lie < M_LIE_CNT; lie++) {
    begin(200 + (uint64_t)lie);
    foe_join(0, 0);
    sim_block_t b = sim_block_make(&sim.nodes[0]->blocks[3].hash, 4, 600, 0, true, 100);
    sim_model(&b.model, foe_model);
    foe_msg(&(qr_msg_t){.type = QR_MSG_ANNOUNCE, .announce = {b.hash, 4, qr_u256_from_u64(4)}});
    uint64_t ms = 0;
    uint32_t trickle = 0;
    for (; ms < 20000 && sim_height(sim.nodes[0]) < 4; ms++) {
      run(1);
      if (ms == 100 && lie != M_RIGHT) sim_accept(sim.nodes[1], sim_block_parse(b.bytes, b.sz));
      qr_msg_t m;
      while (!foe.down && foe_next(&m)) {
        if (m.type == QR_MSG_GET_COMPACT)
          foe_msg(&(qr_msg_t){.type = QR_MSG_BLOCK, .block = {b.bytes, (uint32_t)b.sz}});
        if (m.type == QR_MSG_GET_MODEL) trickle = foe_answer_model(&b, lie);
      }
      if (trickle && ms % 900 == 0) foe_chunk(&b.model, 10 - trickle, lie), trickle--;
    }
    assert_int_equal(sim_height(sim.nodes[0]), 4);
    assert_in_range(ms, 1, 2500);
    /* nobody else had it yet when the foe was no source any more */
    assert_int_equal(sim.nodes[0]->model_failed_cnt, lie >= M_REFUSED);
    uint32_t cost[M_LIE_CNT] = {
        [M_SILENT] = 2,       [M_LEAVES_ONLY] = 2, [M_OTHER_ROOT] = 7,     [M_REFUSED] = 10,
        [M_NO_LEAVES] = 20,   [M_OTHER_SIZE] = 20, [M_WRONG_LEAVES] = 100, [M_WRONG_CHUNK] = 100,
        [M_LONG_CHUNK] = 100, [M_BEYOND] = 100};
    assert_in_range(stats().strikes, cost[lie], cost[lie] + (cost[lie] == 20 ? 5 : 0));
    assert_int_equal(foe.down, lie == M_GONE || cost[lie] == 100);
    if (!foe.down) foe_send(QR_LINK_CONTROL, "\xff\xff\xff\xff\xff", 5);
    run(20);
    free(b.bytes);
    end(lie != M_GONE);
  }
}

/* Offers that come to nothing: a few are tried, nothing else suffers. One that lies goes. */
static void test_empty_offers(void **state) {
  (void)state;
  for (int lie = 0; lie < 2; lie++) {
    begin(230 + (uint64_t)lie);
    foe_join(0, 0);
    for (uint32_t i = 0; i < 200 && !foe.down; i++) {
      sim_block_t b = sim_block_make(&sim.nodes[0]->blocks[3].hash, 4, 700 + i, 0, i < 5, 10);
      if (i >= 5) b.model = qr_hash("foe.model", &i, 4), memcpy(b.bytes + 132, b.model.b, 32);
      foe_msg(&(qr_msg_t){.type = QR_MSG_OFFER, .offer = {b.bytes}});
      free(b.bytes);
      run(100);
      qr_msg_t m;
      while (!foe.down && foe_next(&m)) {
        if (m.type == QR_MSG_PING) foe_msg(&(qr_msg_t){.type = QR_MSG_PONG, .ping = m.ping});
        if (lie && m.type == QR_MSG_GET_MODEL) foe_leaves(&m.get_model.root, M_WRONG_LEAVES);
      }
    }
    assert_int_equal(foe.down, lie);
    assert_in_range(stats().offers_taken, 1, lie ? 1 : 4);
    assert_int_equal(stats().strikes, lie ? 100 : 0);
    uint64_t from = sim.now;
    sim_mine(sim.nodes[2], 901, true);
    sim_until(&sim, 7, 4, 2000);
    assert_in_range((sim.now - from) / SIM_MS, 1, 200);
    if (!foe.down) foe_send(QR_LINK_CONTROL, "\xff\xff\xff\xff\xff", 5);
    run(20);
    end(true);
  }
}

/* Transactions beyond the rate are not looked at, and that is all: bursts are no crime. */
static void test_tx_flood(void **state) {
  (void)state;
  begin(130);
  foe_join(0, 0);
  uint8_t tx[QR_TX_SZ] = {1};
  for (uint32_t i = 0; i < 3000; i++) {
    qr_st32(tx + 1, i % 40);
    foe_msg(&(qr_msg_t){.type = QR_MSG_TX, .tx = {tx}});
    if (i % 50 == 49) run(1);
  }
  run(20);
  assert_false(foe.down);
  assert_int_equal(sim.nodes[2]->tx_cnt, 40);
  assert_true(stats().rate_dropped > 1500);
  foe_send(QR_LINK_CONTROL, "\xff\xff\xff\xff\xff", 5);
  run(20);
  end(true);
}

/* Tells of transactions and does not give them; then of very many that there are not. */
static void test_tx_withheld(void **state) {
  (void)state;
  begin(132);
  foe_join(0, 0);
  uint8_t tx[QR_TX_SZ] = {1};
  uint64_t ids[QR_MSG_TX_IDS_MAX_CNT];
  for (uint32_t i = 0; i < 40; i++) {
    qr_st32(tx + 1, i);
    qr_hash_t id = qr_hash("quarry.txid", tx, QR_TX_SZ);
    ids[i] = qr_ld64(id.b);
  }
  foe_msg(&(qr_msg_t){.type = QR_MSG_TX_IDS, .tx_ids = {40, (const uint8_t *)ids}});
  run(50);
  for (uint32_t i = 0; i < 40; i++) {
    qr_st32(tx + 1, i);
    qr_peers_relay_tx(sim.nodes[1]->peers, 0, tx);
  }
  run(1000);
  assert_int_equal(sim.nodes[0]->tx_cnt, 0);  /* node 0 waits for the foe */
  assert_int_equal(sim.nodes[2]->tx_cnt, 40); /* the others do not */
  run(1300);
  assert_int_equal(sim.nodes[0]->tx_cnt, 40);
  assert_int_equal(stats().tx_late, 40);
  for (uint32_t k = 0; k < 100 && !foe.down; k++) {
    for (uint32_t i = 0; i < QR_MSG_TX_IDS_MAX_CNT; i++) ids[i] = k * 1000 + i + 1;
    foe_msg(&(qr_msg_t){.type = QR_MSG_TX_IDS,
                        .tx_ids = {QR_MSG_TX_IDS_MAX_CNT, (const uint8_t *)ids}});
    run(10);
  }
  for (uint32_t i = 40; i < 60; i++) {
    qr_st32(tx + 1, i);
    qr_peers_relay_tx(sim.nodes[2]->peers, 0, tx);
  }
  run(300);
  assert_int_equal(sim.nodes[0]->tx_cnt, 60); /* its places are not all taken */
  assert_true(stats().rate_dropped > 10000 / QR_MSG_TX_IDS_MAX_CNT);
  assert_int_equal(stats().strikes, 0);
  qr_msg_t m = {.type = QR_MSG_TX, .tx = {tx}};
  tx[QR_TX_SZ - 1] = SIM_BAD_TX;
  for (uint32_t i = 0; i < 2; i++) {
    tx[1] = (uint8_t)i;
    assert_false(foe.down);
    foe_msg(&m);
    run(20);
  }
  end(true);
}

/* Asks for one model after the other, as fast as it is told that they are not there; the number of
   answers. */
static uint32_t ask_models(uint64_t ms) {
  static const qr_hash_t hash = {{9}};
  const qr_msg_t ask = {.type = QR_MSG_GET_MODEL, .get_model = {hash, hash, 0, 100, true}};
  uint32_t cnt = 0;
  qr_msg_t m;
  foe_msg(&ask);
  foe_msg(&ask);
  for (uint64_t i = 0; i < ms; i++) {
    run(1);
    while (foe_next(&m)) {
      if (m.type != QR_MSG_NOT_FOUND) continue;
      cnt++;
      foe_msg(&ask);
    }
  }
  return cnt;
}

/* Models are large: who wants many gets them at a pace that leaves time for others, and coming
   again with a clean record gains nothing beyond what all peers together may have. */
static void test_model_greed(void **state) {
  (void)state;
  begin(135);
  foe_join(0, 0);
  assert_in_range(ask_models(2000), 140, 152);
  run(1000); /* all have their credit again */
  uint64_t from = sim.now;
  uint32_t cnt = 0;
  for (int i = 0; i < 10; i++) {
    qr_link_mem_ops.disconnect(foe.link, foe.conn);
    run(20);
    foe_join(0, 0);
    cnt += ask_models(200);
  }
  uint64_t most = 100 + (sim.now - from) * 100 / 1000000000u;
  assert_in_range(cnt, most / 2, most + 2);
  foe_send(QR_LINK_CONTROL, "\xff\xff\xff\xff\xff", 5);
  run(20);
  end(true);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_invalid_block), cmocka_unit_test(test_invalid_and_gone),
      cmocka_unit_test(test_spoiled_body),  cmocka_unit_test(test_compact_lies),
      cmocka_unit_test(test_model_lies),    cmocka_unit_test(test_empty_offers),
      cmocka_unit_test(test_tx_flood),      cmocka_unit_test(test_tx_withheld),
      cmocka_unit_test(test_model_greed),
  };
  return cmocka_run_group_tests(tests, sim_setup, NULL);
}
