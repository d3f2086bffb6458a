/* A node without a chain that begins with a snapshot, of peers that are fast, slow, silent, without
   it, or liars; and that is stopped in the middle. What comes is compared byte by byte. */
#include "peer_sim.h"

#include "chain/snapshot.h"

#define CHUNK_CNT 12u
#define PAYLOAD_SZ ((CHUNK_CNT - 1) * (uint64_t)QR_SNAPSHOT_CHUNK_SZ + 300001)
#define KIB 1024u

static sim_t sim;
static uint8_t payload[PAYLOAD_SZ], spoiled[PAYLOAD_SZ], got[PAYLOAD_SZ];
static qr_hash_t leaves[CHUNK_CNT], false_leaves[CHUNK_CNT], spoiled_leaves[CHUNK_CNT];
static qr_peers_snapshot_t about = {.payload_sz = PAYLOAD_SZ, .leaves = leaves};
static bool had[CHUNK_CNT]; /* on the disk of the node that begins */
static uint32_t chunk_cnt, begin_cnt, full_at;
static uint32_t false_at; /* the chunk that is found false as soon as it is here */

static bool on_begin(void *ctx, const qr_peers_snapshot_t *s, uint8_t *have) {
  (void)ctx;
  begin_cnt++;
  assert_int_equal(s->payload_sz, PAYLOAD_SZ);
  assert_true(!memcmp(s->leaves, leaves, sizeof leaves) ||
              !memcmp(s->leaves, spoiled_leaves, sizeof leaves));
  for (uint32_t i = 0; i < CHUNK_CNT; i++) have[i] = had[i];
  return true;
}

static int on_chunk(void *ctx, uint32_t idx, const uint8_t *bytes, uint32_t sz) {
  (void)ctx;
  assert_true(idx < CHUNK_CNT);
  assert_false(had[idx]); /* each once */
  assert_int_equal(sz, idx + 1 < CHUNK_CNT ? QR_SNAPSHOT_CHUNK_SZ : 300001);
  if (idx == false_at && memcmp(bytes, payload + (size_t)idx * QR_SNAPSHOT_CHUNK_SZ, sz) != 0) {
    memset(had, 0, sizeof had);
    return QR_ERR_CORRUPT;
  }
  had[idx] = true;
  memcpy(got + (size_t)idx * QR_SNAPSHOT_CHUNK_SZ, bytes, sz);
  return ++chunk_cnt != full_at ? QR_OK : QR_ERR_IO;
}

static qr_peers_begin_t begin = {.chunk_max_cnt = CHUNK_CNT, .begin = on_begin, .chunk = on_chunk};

static void prepare(uint64_t seed) {
  static qr_hash_t scratch[CHUNK_CNT];
  sim_init(&sim, seed);
  memset(had, 0, sizeof had);
  memset(got, 0, sizeof got);
  chunk_cnt = begin_cnt = full_at = 0;
  false_at = CHUNK_CNT;
  if (payload[7]) return;
  qr_hash_t key = qr_hash("toy.snapshot", NULL, 0);
  qr_philox_t ph = qr_philox_init(&key, 0);
  for (uint64_t i = 0; i < PAYLOAD_SZ; i++) payload[i] = (uint8_t)(i * 31 + (i >> 13));
  for (uint32_t i = 0; i < 4096; i++) payload[i * 2777] = qr_philox_byte(&ph, i) | 1;
  payload[7] = 1;
  memcpy(spoiled, payload, sizeof payload);
  for (uint32_t i = 0; i < CHUNK_CNT; i++) {
    uint64_t at = (uint64_t)i * QR_SNAPSHOT_CHUNK_SZ, left = PAYLOAD_SZ - at;
    size_t sz = left < QR_SNAPSHOT_CHUNK_SZ ? (size_t)left : QR_SNAPSHOT_CHUNK_SZ;
    leaves[i] = qr_merkle_leaf(i, payload + at, sz);
    spoiled[at + sz / 2] ^= 1;
    spoiled_leaves[i] = qr_merkle_leaf(i, spoiled + at, sz);
  }
  memcpy(false_leaves, leaves, sizeof leaves);
  false_leaves[3].b[0] ^= 1;
  about.seal = begin.pin = qr_hash("toy.seal", NULL, 0);
  about.root =
      qr_merkle_root_of_leaves(leaves, CHUNK_CNT, PAYLOAD_SZ, QR_SNAPSHOT_CHUNK_SZ, scratch);
}

static sim_node_t *server(uint64_t bytes_per_s, const uint8_t *bytes, const qr_hash_t *of) {
  sim_node_t *n = sim_node_bare(&sim);
  qr_peers_cfg_t cfg = sim_cfg(n, NULL, 0);
  cfg.offers = true;
  sim_start(n, &cfg);
  n->snapshot = bytes;
  n->snapshot_sz = PAYLOAD_SZ;
  qr_peers_snapshot_t s = about;
  s.leaves = of;
  if (bytes) qr_peers_offer_snapshot(n->peers, &s);
  qr_link_mem_pace(n->link, bytes_per_s, 10 * SIM_MS);
  return n;
}

static void start(sim_node_t *n) {
  qr_link_addr_t statics[SIM_NODE_MAX];
  uint32_t cnt = 0;
  for (uint32_t i = 0; i < sim.node_cnt; i++) {
    if (i != n->idx) statics[cnt++] = sim_addr(i);
  }
  qr_peers_cfg_t cfg = sim_cfg(n, statics, cnt);
  cfg.begin = &begin;
  sim_start(n, &cfg);
}

static qr_peers_snapshot_progress_t progress(const sim_node_t *n) {
  qr_peers_snapshot_progress_t g;
  qr_peers_snapshot_progress(n->peers, &g);
  return g;
}

static uint64_t until_done(const sim_node_t *n, uint64_t limit_ms) {
  for (uint64_t ms = 0; ms < limit_ms; ms++) {
    if (progress(n).done) {
      assert_memory_equal(got, payload, PAYLOAD_SZ);
      return ms;
    }
    sim_step(&sim);
  }
  fail_msg("%u of %u chunks", progress(n).done_cnt, CHUNK_CNT);
  return 0;
}

static uint64_t mib_from(const sim_node_t *to, const sim_node_t *from) {
  qr_peer_info_t info[SIM_NODE_MAX];
  uint32_t cnt = qr_peers_list(to->peers, info, SIM_NODE_MAX);
  for (uint32_t i = 0; i < cnt; i++) {
    if (qr_pubkey_eq(&info[i].identity, &from->key.pk)) return info[i].rx_bytes >> 20;
  }
  return 0;
}

static qr_peers_stats_t stats(const sim_node_t *n) {
  qr_peers_stats_t st;
  qr_peers_stats(n->peers, &st);
  return st;
}

static void test_speed(void **state) {
  (void)state;
  static const uint64_t rates[3][3] = {{1024}, {1024, 1024, 1024}, {2048, 1024, 64}};
  uint64_t took[3];
  for (int k = 0; k < 3; k++) {
    prepare(300 + (uint64_t)k);
    for (int i = 0; i < 3 && rates[k][i]; i++) server(rates[k][i] * KIB, payload, leaves);
    sim_node_t *n = sim_node_bare(&sim);
    start(n);
    took[k] = until_done(n, 60000);
    assert_int_equal(chunk_cnt, CHUNK_CNT);
    assert_int_equal(begin_cnt, 1);
    assert_int_equal(stats(n).strikes, 0);
    for (uint32_t i = 0; i < n->idx; i++) {
      assert_int_equal(stats(sim.nodes[i]).strikes, 0);
      if (k < 2) assert_true(mib_from(n, sim.nodes[i]) >= 2);
    }
    sim_end(&sim);
  }
  print_message("one peer %llu ms, three %llu ms, three of other speeds %llu ms\n",
                (unsigned long long)took[0], (unsigned long long)took[1],
                (unsigned long long)took[2]);
  assert_true(took[0] > 11000);
  assert_true(took[1] * 10 < took[0] * 5);
  assert_true(took[2] * 10 < took[0] * 7); /* the last chunk of the slow one is not waited for */
}

/* Wrong chunks, wrong hashes, no snapshot, silence: none of it gets in, none of it stops the rest.
 */
static void test_liars(void **state) {
  (void)state;
  uint64_t ban_cnt = 0;
  for (uint64_t seed = 310; seed < 316; seed++) {
    prepare(seed);
    sim_node_t *liar = server(1024 * KIB, payload, false_leaves);
    server(1024 * KIB, spoiled, leaves);
    server(1024 * KIB, NULL, NULL);
    sim_node_t *good = server(1024 * KIB, payload, leaves), *n = sim_node_bare(&sim);
    start(n);
    until_done(n, 60000);
    uint32_t bans = (uint32_t)stats(n).bans;
    assert_in_range(bans, 1, 2); /* the first one only if it was asked for the hashes */
    assert_int_equal(liar->down_cnt, bans - 1);
    assert_int_equal(stats(good).strikes, 0);
    assert_int_equal(good->down_cnt, 0);
    qr_peer_info_t info[SIM_NODE_MAX];
    assert_int_equal(qr_peers_list(n->peers, info, SIM_NODE_MAX), 4 - bans);
    for (uint32_t i = 0; i < 4 - bans; i++)
      assert_int_equal(info[i].misbehaviour, 0); /* who has none is no liar */
    ban_cnt += bans;
    sim_end(&sim);
  }
  assert_in_range(ban_cnt, 7, 11);
}

static void end_of(sim_node_t *n) {
  qr_peers_fini(n->peers);
  free(n->peers);
  n->peers = NULL;
}

static sim_node_t *swindler(uint64_t bytes_per_s) {
  static qr_hash_t scratch[CHUNK_CNT];
  sim_node_t *n = server(bytes_per_s, spoiled, spoiled_leaves);
  qr_peers_snapshot_t s = about;
  s.leaves = spoiled_leaves;
  s.root = qr_merkle_root_of_leaves(spoiled_leaves, CHUNK_CNT, PAYLOAD_SZ, QR_SNAPSHOT_CHUNK_SZ,
                                    scratch);
  qr_peers_offer_snapshot(n->peers, &s);
  return n;
}

/* Snapshots whose chunks have their hashes, and which are not what the pin commits to: that is
   found in the first chunk, or when all of it is here. Everybody who stood by it goes, also who
   left meanwhile, nobody else, and what is false is not begun twice. */
static void test_swindlers(void **state) {
  (void)state;
  for (uint64_t seed = 360; seed < 366; seed++) {
    prepare(seed);
    bool early = seed & 1, leaves_soon = seed % 3 == 0;
    sim_node_t *a = swindler(4096 * KIB), *b = swindler(4096 * KIB);
    sim_node_t *good = server(4096 * KIB, NULL, NULL), *n = sim_node_bare(&sim);
    if (early) false_at = 0;
    start(n);
    for (uint32_t ms = 0; !begin_cnt && ms < 20000; ms++) sim_step(&sim);
    good->snapshot = payload;
    qr_peers_offer_snapshot(good->peers, &about);
    for (uint32_t ms = 0; begin_cnt < 2 && !progress(n).done && ms < 20000; ms++) sim_step(&sim);
    if (!early) {
      assert_true(progress(n).done);
      if (leaves_soon) end_of(b);
      sim_run(&sim, 1000);
      assert_memory_equal(got, spoiled, PAYLOAD_SZ);
      memset(had, 0, sizeof had);
      qr_peers_snapshot_wrong(n->peers);
      assert_false(progress(n).begun || progress(n).done);
      assert_int_equal(stats(n).bans, 2); /* both gave chunks */
    }
    until_done(n, 60000);
    assert_int_equal(begin_cnt, 2);
    uint32_t bans = (uint32_t)stats(n).bans;
    assert_in_range(bans, 1, 2);
    sim_run(&sim, 5000);
    assert_int_equal(good->down_cnt, 0);
    assert_int_equal(a->down_cnt + b->down_cnt, bans);
    sim_end(&sim);
  }
}

/* One that was left in the middle is gone on with, although another is told of first; if nobody has
   it any more, it is given up. */
static void test_kept(void **state) {
  (void)state;
  for (int gone = 0; gone < 2; gone++) {
    prepare(370 + (uint64_t)gone);
    swindler(1024 * KIB);
    sim_node_t *good = server(0, gone ? NULL : payload, leaves), *n = sim_node_bare(&sim);
    begin.kept_root = about.root;
    memset(had, 1, 5);
    memcpy(got, payload, 5 * QR_SNAPSHOT_CHUNK_SZ);
    start(n);
    sim_run(&sim, 14000);
    assert_int_equal(stats(n).strikes, 0);
    assert_int_equal(good->down_cnt, 0);
    if (gone) {
      assert_false(progress(n).begun);
      memset(had, 0, sizeof had);
      sim_run(&sim, 3000);
      assert_true(progress(n).begun);
      assert_int_equal(progress(n).kept_cnt, 0);
    } else {
      assert_int_equal(progress(n).kept_cnt, 5);
      until_done(n, 60000);
    }
    begin.kept_root = (qr_hash_t){{0}};
    sim_end(&sim);
  }
}

static void test_stall(void **state) {
  (void)state;
  prepare(320);
  sim_node_t *stalls = server(1024 * KIB, payload, leaves);
  server(1024 * KIB, payload, leaves);
  sim_node_t *n = sim_node_bare(&sim);
  start(n);
  while (chunk_cnt < 3) sim_step(&sim);
  qr_link_mem_pace(stalls->link, 1, 10 * SIM_MS); /* a byte a second; control goes on */
  uint64_t ms = until_done(n, 60000);
  assert_in_range(ms, 5000, 13000);
  sim_run(&sim, 11000);
  qr_peer_info_t info[4];
  assert_int_equal(qr_peers_list(n->peers, info, 4), 2);
  sim_end(&sim);
}

/* It is stopped in the middle and begins again with what it kept, and then its disk is full. */
static void test_restart(void **state) {
  (void)state;
  prepare(330);
  for (int i = 0; i < 2; i++) server(1024 * KIB, payload, leaves);
  sim_node_t *n = sim_node_bare(&sim);
  start(n);
  while (chunk_cnt < 5) sim_step(&sim);
  end_of(n);
  sim_run(&sim, 3000);
  full_at = 9;
  start(n);
  for (int i = 0; i < 60000 && !progress(n).failed; i++) sim_step(&sim);
  qr_peers_snapshot_progress_t g = progress(n);
  assert_true(g.failed && !g.done);
  assert_int_equal(g.kept_cnt, 5);
  assert_int_equal(chunk_cnt, 9);
  end_of(n);
  sim_run(&sim, 3000);
  start(n);
  uint64_t ms = until_done(n, 60000);
  assert_int_equal(chunk_cnt, CHUNK_CNT); /* none came twice */
  assert_in_range(ms, 1000, 8000);
  for (int i = 0; i < 2; i++) assert_int_equal(stats(sim.nodes[i]).strikes, 0);
  sim_end(&sim);
}

/* Who gives a snapshot goes on as if it did not: blocks pass through it in time. */
static void test_blocks_pass(void **state) {
  (void)state;
  prepare(340);
  sim_node_t *mid = server(0, payload, leaves), *a = sim_node(&sim, 1), *b = sim_node(&sim, 1);
  sim_node_t *n = sim_node_bare(&sim);
  start(n);
  for (uint32_t i = 0; i < 5; i++) {
    while (chunk_cnt < 1 + i) sim_step(&sim);
    sim_mine(a, i, i == 3);
    assert_in_range(sim_until(&sim, 1u << b->idx, i + 1, 5000), 1, 400);
  }
  assert_false(progress(n).done);
  assert_int_equal(sim_height(n), 0); /* it has nothing that they could follow */
  until_done(n, 60000);
  assert_int_equal(stats(mid).strikes, 0);
  assert_int_equal(stats(n).strikes, 0);
  sim_end(&sim);
}

/* Nobody has it yet: the node waits, and takes it once somebody does. */
static void test_later(void **state) {
  (void)state;
  prepare(350);
  sim_node_t *s = server(0, NULL, NULL);
  sim_node(&sim, 0);
  sim_node_t *n = sim_node_bare(&sim);
  start(n);
  sim_run(&sim, 30000);
  assert_int_equal(progress(n).offer_cnt, 1);
  assert_false(progress(n).begun);
  s->snapshot = payload;
  qr_peers_offer_snapshot(s->peers, &about);
  until_done(n, 90000);
  assert_int_equal(stats(n).strikes, 0);
  sim_end(&sim);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_speed),       cmocka_unit_test(test_liars),
      cmocka_unit_test(test_swindlers),   cmocka_unit_test(test_kept),
      cmocka_unit_test(test_stall),       cmocka_unit_test(test_restart),
      cmocka_unit_test(test_blocks_pass), cmocka_unit_test(test_later),
  };
  return cmocka_run_group_tests(tests, sim_setup, NULL);
}
