/* wire/msg: bytes as the specification lists them, round trips, every truncation and excess
 * refused, hostile fields. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>

#include "net_gen.h"
#include "port/link.h"
#include "wire/msg.h"

static uint8_t bulk[QR_BLOCK_MAX_SZ];
static qr_hash_t hashes[QR_MSG_CHUNK_MAX_CNT];

static void gen_bytes(gen_t *g, void *p, size_t sz) {
  for (size_t i = 0; i < sz; i++) ((uint8_t *)p)[i] = (uint8_t)gen_u64(g);
}

static uint32_t gen_in(gen_t *g, uint32_t lo, uint32_t hi) {
  return lo + (uint32_t)(gen_u64(g) % (hi - lo + 1));
}

/* A block of random content in its compact form; of some transactions the short ids. */
static qr_msg_compact_t gen_compact(gen_t *g) {
  static uint8_t block[QR_BLOCK_MAX_SZ], out[QR_COMPACT_MAX_SZ], txs[8 * QR_TX_SZ], actions[16];
  qr_hash_t ids[8], trace[3];
  bool known[8];
  gen_bytes(g, block, QR_HEADER_SZ);
  gen_bytes(g, txs, sizeof txs);
  gen_bytes(g, ids, sizeof ids);
  memset(trace, 1, sizeof trace);
  for (int i = 0; i < 8; i++) known[i] = gen_u64(g) % 2;
  qr_body_t b = {.tx_cnt = gen_in(g, 0, 8),
                 .txs = txs,
                 .step_cnt = 3,
                 .trace = trace,
                 .action_cnt = gen_in(g, 0, sizeof actions),
                 .actions = actions};
  qr_body_encode(&b, block + QR_HEADER_SZ);
  size_t sz = qr_compact_encode(block, QR_HEADER_SZ + qr_body_sz(&b), gen_u64(g), ids, known, out);
  return (qr_msg_compact_t){out, (uint32_t)sz};
}

/* A message of a type with random content within its limits. */
static qr_msg_t gen_msg(gen_t *g, uint8_t type) {
  qr_msg_t m = {.type = type};
  gen_bytes(g, bulk, 1000);
  gen_bytes(g, hashes, sizeof hashes);
  switch (type) {
  case QR_MSG_HELLO:
    gen_bytes(g, &m.hello, sizeof m.hello);
    m.hello.version = QR_MSG_VERSION;
    m.hello.agent_sz = (uint8_t)gen_in(g, 0, QR_MSG_AGENT_MAX_SZ);
    memset(m.hello.agent, 0, sizeof m.hello.agent);
    for (uint32_t i = 0; i < m.hello.agent_sz; i++) m.hello.agent[i] = (char)gen_in(g, 0x20, 0x7e);
    break;
  case QR_MSG_PING:
  case QR_MSG_PONG: m.ping.nonce = gen_u64(g); break;
  case QR_MSG_FEE_MIN: m.fee_min.fee = gen_u64(g); break;
  case QR_MSG_ANNOUNCE: gen_bytes(g, &m.announce, sizeof m.announce); break;
  case QR_MSG_GET_BLOCK: gen_bytes(g, &m.get_block, sizeof m.get_block); break;
  case QR_MSG_BLOCK:
    m.block = (qr_msg_block_t){bulk, gen_in(g, QR_HEADER_SZ, QR_BLOCK_MAX_SZ)};
    break;
  case QR_MSG_GET_MODEL:
    m.get_model = (qr_msg_get_model_t){hashes[0], hashes[1], (uint16_t)gen_u64(g),
                                       (uint16_t)gen_in(g, 1, 65535), gen_u64(g) % 2};
    break;
  case QR_MSG_MODEL:
    m.model = (qr_msg_model_t){hashes[0], (uint16_t)gen_in(g, 0, QR_MSG_CHUNK_MAX_CNT - 1),
                               gen_in(g, 1, QR_MSG_CHUNK_SZ), bulk};
    break;
  case QR_MSG_LEAVES:
    m.leaves = (qr_msg_leaves_t){hashes[0], 0, gen_in(g, 1, 400), hashes + 1};
    m.leaves.total_sz = (m.leaves.cnt - 1) * QR_MSG_CHUNK_SZ + gen_in(g, 1, QR_MSG_CHUNK_SZ);
    break;
  case QR_MSG_OFFER: m.offer.header = bulk; break;
  case QR_MSG_TX_IDS:
  case QR_MSG_GET_TXS:
    m.tx_ids = (qr_msg_tx_ids_t){gen_in(g, 1, QR_MSG_TX_IDS_MAX_CNT), bulk};
    break;
  case QR_MSG_GET_HEADERS:
    m.get_headers = (qr_msg_get_headers_t){gen_in(g, 1, QR_MSG_LOCATOR_MAX_CNT), hashes,
                                           (uint16_t)gen_in(g, 1, QR_MSG_HEADERS_MAX_CNT)};
    break;
  case QR_MSG_HEADERS:
    m.headers = (qr_msg_headers_t){gen_in(g, 0, QR_MSG_HEADERS_MAX_CNT), bulk};
    break;
  case QR_MSG_TX: m.tx.tx = bulk; break;
  case QR_MSG_NOT_FOUND:
    m.not_found = (qr_msg_not_found_t){(uint8_t)gen_in(g, 1, 4), hashes[1]};
    break;
  case QR_MSG_GET_SNAPSHOT:
    m.get_snapshot = (qr_msg_get_snapshot_t){hashes[2], (uint32_t)gen_u64(g)};
    break;
  case QR_MSG_SNAPSHOT:
    m.snapshot = (qr_msg_snapshot_t){hashes[3], gen_u64(g), (uint32_t)gen_u64(g),
                                     gen_in(g, 1, QR_MSG_LEAVES_MAX_CNT), bulk};
    break;
  case QR_MSG_GET_CHUNK:
    m.get_chunk = (qr_msg_get_chunk_t){hashes[4], (uint32_t)gen_u64(g), (uint32_t)gen_u64(g)};
    break;
  case QR_MSG_CHUNK:
    m.chunk = (qr_msg_chunk_t){hashes[5], (uint32_t)gen_u64(g), (uint32_t)gen_u64(g),
                               gen_in(g, 1, QR_MSG_PART_MAX_SZ), bulk};
    break;
  case QR_MSG_GET_COMPACT: gen_bytes(g, &m.get_block, sizeof m.get_block); break;
  case QR_MSG_COMPACT: m.compact = gen_compact(g); break;
  case QR_MSG_GET_BLOCK_TXS:
    m.get_block_txs = (qr_msg_get_block_txs_t){hashes[2], gen_in(g, 1, 300), bulk};
    for (uint32_t i = 0, at = 0; i < m.get_block_txs.cnt; i++, at++)
      qr_st16(bulk + 2 * i, (uint16_t)(at += gen_in(g, 0, 2)));
    break;
  case QR_MSG_BLOCK_TXS:
    m.block_txs = (qr_msg_block_txs_t){hashes[3], gen_in(g, 1, QR_BLOCK_TX_MAX_CNT), bulk};
    break;
  case QR_MSG_ADDRS:
    m.addrs = (qr_msg_addrs_t){gen_in(g, 1, QR_MSG_ADDRS_MAX_CNT), (const uint8_t *)hashes};
    break;
  default: break;
  }
  return m;
}

/* Decodes a copy of exactly sz bytes, so that a sanitizer sees every step beyond it. */
static enum qr_verdict decode_exact(uint8_t type, const uint8_t *payload, size_t sz, qr_msg_t *m,
                                    uint8_t **copy) {
  *copy = malloc(sz ? sz : 1);
  memcpy(*copy, payload, sz);
  return qr_msg_decode(type, *copy, sz, m);
}

static void test_round_trip(void **state) {
  (void)state;
  static uint8_t frame[QR_MSG_FRAME_MAX_SZ], again[QR_MSG_FRAME_MAX_SZ];
  gen_t g = {1};
  for (uint8_t type = 1; type < QR_MSG_TYPE_END; type++) {
    if (!qr_msg_known(type)) continue; /* numbers that are not used yet */
    for (int k = 0; k < 30; k++) {
      qr_msg_t m = gen_msg(&g, type), d;
      uint8_t *copy, read_type;
      uint32_t payload_sz;
      size_t sz = qr_msg_encode(&m, frame);
      assert_int_equal(sz, qr_msg_sz(&m));
      assert_in_range(sz, QR_MSG_HEAD_SZ, QR_MSG_FRAME_MAX_SZ);
      assert_int_equal(qr_msg_head(frame, &payload_sz, &read_type), QR_VERDICT_OK);
      assert_int_equal(payload_sz, sz - QR_MSG_HEAD_SZ);
      assert_int_equal(read_type, type);
      assert_int_equal(decode_exact(type, frame + QR_MSG_HEAD_SZ, payload_sz, &d, &copy),
                       QR_VERDICT_OK);
      assert_int_equal(d.type, type);
      assert_int_equal(qr_msg_encode(&d, again),
                       sz); /* what was read says the same as what was written */
      assert_memory_equal(again, frame, sz);
      free(copy);
    }
  }
}

/* Bytes at fixed places, written here from the table in host/peer/README.md. */

/* Encodes m, whose head must say this type and payload size; the payload, until the next call. */
static const uint8_t *encode_as(const qr_msg_t *m, uint8_t type, uint32_t payload_sz) {
  static uint8_t f[2048];
  assert_int_equal(qr_msg_encode(m, f), 5 + payload_sz);
  assert_int_equal(qr_ld32(f), payload_sz);
  assert_int_equal(f[4], type);
  return f + 5;
}

static void test_layout_of_greetings(void **state) {
  (void)state;
  gen_t g = {2};
  qr_msg_t m = gen_msg(&g, QR_MSG_HELLO);
  m.hello.agent_sz = 4;
  memcpy(m.hello.agent, "abcd", 4);
  const uint8_t *p = encode_as(&m, 1, 163);
  assert_int_equal(qr_ld32(p), 2);
  assert_int_equal(qr_ld64(p + 4), m.hello.chain_id);
  assert_memory_equal(p + 12, m.hello.rules.b, 32);
  assert_memory_equal(p + 44, m.hello.genesis.b, 32);
  assert_memory_equal(p + 76, m.hello.tip.b, 32);
  assert_int_equal(qr_ld64(p + 108), m.hello.height);
  for (int i = 0; i < 4; i++) assert_int_equal(qr_ld64(p + 116 + 8 * i), m.hello.work.w[i]);
  assert_int_equal(qr_ld16(p + 148), m.hello.listen_port);
  assert_int_equal(qr_ld64(p + 150), m.hello.features);
  assert_int_equal(p[158], 4);
  assert_memory_equal(p + 159, "abcd", 4);

  m = (qr_msg_t){.type = QR_MSG_READY};
  encode_as(&m, 2, 0);

  m = (qr_msg_t){.type = QR_MSG_FEE_MIN, .fee_min = {0x1122334455667788}};
  p = encode_as(&m, 32, 8);
  assert_int_equal(qr_ld64(p), 0x1122334455667788);
}

static void test_layout_of_headers(void **state) {
  (void)state;
  gen_t g = {2};
  qr_msg_t m = gen_msg(&g, QR_MSG_ANNOUNCE);
  const uint8_t *p = encode_as(&m, 5, 72);
  assert_memory_equal(p, m.announce.hash.b, 32);
  assert_int_equal(qr_ld64(p + 32), m.announce.height);
  assert_int_equal(qr_ld64(p + 40 + 24), m.announce.work.w[3]);

  m = gen_msg(&g, QR_MSG_GET_HEADERS);
  m.get_headers.cnt = 2;
  m.get_headers.max_cnt = 0x73;
  p = encode_as(&m, 10, 3 + 64);
  assert_int_equal(qr_ld16(p), 0x73);
  assert_int_equal(p[2], 2);
  assert_memory_equal(p + 3, hashes, 64);

  m = (qr_msg_t){.type = QR_MSG_HEADERS, .headers = {2, bulk}};
  p = encode_as(&m, 11, 2 * 432);
  assert_memory_equal(p, bulk, 2 * 432);

  m = (qr_msg_t){.type = QR_MSG_NOT_FOUND, .not_found = {QR_MSG_WANT_MODEL, hashes[5]}};
  p = encode_as(&m, 13, 33);
  assert_int_equal(p[0], 2);
  assert_memory_equal(p + 1, hashes[5].b, 32);
}

static void test_layout_of_models(void **state) {
  (void)state;
  qr_msg_t m = {.type = QR_MSG_GET_MODEL, .get_model = {hashes[0], hashes[1], 3, 700, true}};
  const uint8_t *p = encode_as(&m, 8, 69);
  assert_memory_equal(p, hashes, 64);
  assert_int_equal(qr_ld16(p + 64), 3);
  assert_int_equal(qr_ld16(p + 66), 700);
  assert_int_equal(p[68], 1);

  m = (qr_msg_t){.type = QR_MSG_MODEL, .model = {hashes[0], 300, 7, bulk}};
  p = encode_as(&m, 9, 34 + 7);
  assert_memory_equal(p, hashes, 32);
  assert_int_equal(qr_ld16(p + 32), 300);
  assert_memory_equal(p + 34, bulk, 7);

  m = (qr_msg_t){.type = QR_MSG_LEAVES, .leaves = {hashes[0], 16385, 2, hashes + 1}};
  p = encode_as(&m, 18, 36 + 64);
  assert_memory_equal(p, hashes, 32);
  assert_int_equal(qr_ld32(p + 32), 16385);
  assert_memory_equal(p + 36, hashes + 1, 64);
}

static void test_layout_of_snapshots(void **state) {
  (void)state;
  qr_msg_t m = {.type = QR_MSG_GET_SNAPSHOT, .get_snapshot = {hashes[6], 0x12345678}};
  const uint8_t *p = encode_as(&m, 24, 36);
  assert_memory_equal(p, hashes[6].b, 32);
  assert_int_equal(qr_ld32(p + 32), 0x12345678);

  m = (qr_msg_t){.type = QR_MSG_SNAPSHOT, .snapshot = {hashes[7], 0x1122334455667788, 9, 2, bulk}};
  p = encode_as(&m, 25, 44 + 64);
  assert_int_equal(qr_ld64(p + 32), 0x1122334455667788);
  assert_int_equal(qr_ld32(p + 40), 9);
  assert_memory_equal(p + 44, bulk, 64);

  m = (qr_msg_t){.type = QR_MSG_GET_CHUNK, .get_chunk = {hashes[8], 3, 65536}};
  p = encode_as(&m, 26, 40);
  assert_memory_equal(p, hashes[8].b, 32);
  assert_int_equal(qr_ld32(p + 32), 3);
  assert_int_equal(qr_ld32(p + 36), 65536);

  m = (qr_msg_t){.type = QR_MSG_CHUNK, .chunk = {hashes[8], 3, 65536, 5, bulk}};
  p = encode_as(&m, 27, 45);
  assert_memory_equal(p, hashes[8].b, 32);
  assert_int_equal(qr_ld32(p + 32), 3);
  assert_int_equal(qr_ld32(p + 36), 65536);
  assert_memory_equal(p + 40, bulk, 5);
}

static void test_layout_of_addresses(void **state) {
  (void)state;
  uint8_t addrs[2 * QR_MSG_ADDR_SZ];
  qr_msg_addr_t a = {.port = 0x1234, .age_min = 0x5678}, back;
  memcpy(a.ip, hashes[6].b, 16);
  memcpy(a.pk.b, hashes[7].b, 32);
  qr_msg_addr_put(&a, addrs);
  qr_msg_addr_put(&a, addrs + QR_MSG_ADDR_SZ);
  qr_msg_t m = {.type = QR_MSG_ADDRS, .addrs = {2, addrs}};
  const uint8_t *p = encode_as(&m, 21, 104) + 52;
  assert_memory_equal(p, hashes[6].b, 16);
  assert_int_equal(qr_ld16(p + 16), 0x1234);
  assert_int_equal(qr_ld16(p + 18), 0x5678);
  assert_memory_equal(p + 20, hashes[7].b, 32);
  qr_msg_addr_get(p, &back);
  assert_memory_equal(&back, &a, sizeof a);
}

/* Every shorter and every slightly longer payload of a message is refused, or is itself a whole
 * message. */
static void test_truncation(void **state) {
  (void)state;
  static uint8_t frame[QR_MSG_FRAME_MAX_SZ];
  gen_t g = {3};
  for (uint8_t type = 1; type < QR_MSG_TYPE_END; type++) {
    if (!qr_msg_known(type)) continue; /* numbers that are not used yet */
    qr_msg_t m = gen_msg(&g, type), d;
    if (type == QR_MSG_BLOCK) m.block.sz = 2000;
    if (type == QR_MSG_MODEL) m.model.chunk_sz = 500;
    if (type == QR_MSG_HEADERS) m.headers.cnt = 3;
    if (type == QR_MSG_SNAPSHOT) m.snapshot.cnt = 20;
    if (type == QR_MSG_CHUNK) m.chunk.sz = 300;
    if (type == QR_MSG_BLOCK_TXS) m.block_txs.cnt = 5;
    if (type == QR_MSG_ADDRS) m.addrs.cnt = 3;
    if (type == QR_MSG_LEAVES) m.leaves = (qr_msg_leaves_t){hashes[0], 70000, 5, hashes};
    uint32_t sz = (uint32_t)qr_msg_encode(&m, frame) - QR_MSG_HEAD_SZ;
    for (uint32_t n = 0; n <= sz + 3; n++) {
      uint8_t *copy;
      enum qr_verdict v = decode_exact(type, frame + QR_MSG_HEAD_SZ, n, &d, &copy);
      bool whole = n == sz;
      if (type == QR_MSG_BLOCK) whole = n >= QR_HEADER_SZ;
      if (type == QR_MSG_MODEL) whole = n > 34; /* another chunk */
      if (type == QR_MSG_HEADERS) whole = n % QR_HEADER_SZ == 0;
      if (type == QR_MSG_TX_IDS || type == QR_MSG_GET_TXS)
        whole = n && n % 8 == 0 && n <= QR_MSG_TX_IDS_MAX_CNT * 8;
      if (type == QR_MSG_LEAVES) whole = n == sz; /* their number follows from the size */
      if (type == QR_MSG_SNAPSHOT) whole = n > 44 && (n - 44) % 32 == 0;
      if (type == QR_MSG_CHUNK) whole = n > 40; /* its size is what is there */
      if (type == QR_MSG_BLOCK_TXS) whole = n > 32 && (n - 32) % QR_TX_SZ == 0;
      if (type == QR_MSG_GET_BLOCK_TXS) whole = n > 32 && n % 2 == 0 && n <= sz;
      if (type == QR_MSG_COMPACT) { /* what the tail says is judged with the block */
        qr_compact_t c;
        assert_int_equal(qr_compact_decode(m.compact.bytes, m.compact.sz, &c), QR_VERDICT_OK);
        whole = n >= sz - c.tail_sz + QR_COMPACT_TAIL_MIN_SZ;
      }
      if (type == QR_MSG_ADDRS) whole = n && n % 52 == 0;
      assert_int_equal(v == QR_VERDICT_OK, whole);
      free(copy);
    }
  }
}

static void test_head_limits(void **state) {
  (void)state;
  uint8_t head[QR_MSG_HEAD_SZ], type;
  uint32_t sz;
  static const struct {
    uint8_t type;
    uint32_t min, max;
    enum qr_link_class cls;
  } want[] = {
      {QR_MSG_HELLO, 4, 1024, QR_LINK_CONTROL},
      {QR_MSG_READY, 0, 0, QR_LINK_CONTROL},
      {QR_MSG_PING, 8, 8, QR_LINK_CONTROL},
      {QR_MSG_PONG, 8, 8, QR_LINK_CONTROL},
      {QR_MSG_ANNOUNCE, 72, 72, QR_LINK_CONTROL},
      {QR_MSG_GET_BLOCK, 32, 32, QR_LINK_CONTROL},
      {QR_MSG_BLOCK, QR_HEADER_SZ, QR_BLOCK_MAX_SZ, QR_LINK_BLOCK},
      {QR_MSG_GET_MODEL, 69, 69, QR_LINK_CONTROL},
      {QR_MSG_MODEL, 35, 34 + 16384, QR_LINK_SYNC},
      {QR_MSG_GET_HEADERS, 35, 3 + 32 * 32, QR_LINK_CONTROL},
      {QR_MSG_HEADERS, 0, 128 * 432, QR_LINK_SYNC},
      {QR_MSG_TX, QR_TX_SZ, QR_TX_SZ, QR_LINK_TX},
      {QR_MSG_NOT_FOUND, 33, 33, QR_LINK_CONTROL},
      {QR_MSG_GET_ADDRS, 0, 0, QR_LINK_CONTROL},
      {QR_MSG_ADDRS, 52, 5200, QR_LINK_CONTROL},
      {QR_MSG_GET_COMPACT, 32, 32, QR_LINK_CONTROL},
      {QR_MSG_COMPACT, 432 + 16 + 6, 432 + 16 + 1024 * 155 + 6 + 64 * 32 + 16384, QR_LINK_BLOCK},
      {QR_MSG_GET_BLOCK_TXS, 34, 32 + 2048, QR_LINK_CONTROL},
      {QR_MSG_BLOCK_TXS, 32 + QR_TX_SZ, 32 + 1024 * QR_TX_SZ, QR_LINK_BLOCK},
      {QR_MSG_LEAVES, 36 + 32, 36 + 1024 * 32, QR_LINK_SYNC},
      {QR_MSG_OFFER, 432, 432, QR_LINK_CONTROL},
      {QR_MSG_GET_SNAPSHOT, 36, 36, QR_LINK_CONTROL},
      {QR_MSG_SNAPSHOT, 44 + 32, 44 + 2000 * 32, QR_LINK_SYNC},
      {QR_MSG_GET_CHUNK, 40, 40, QR_LINK_CONTROL},
      {QR_MSG_CHUNK, 41, 40 + 65536, QR_LINK_SYNC},
      {QR_MSG_TX_IDS, 8, 2048, QR_LINK_TX},
      {QR_MSG_GET_TXS, 8, 2048, QR_LINK_TX},
      {QR_MSG_FEE_MIN, 8, 8, QR_LINK_CONTROL},
  };
  uint32_t known_cnt = 0;
  for (uint32_t t = 0; t < 256; t++) known_cnt += qr_msg_known((uint8_t)t);
  assert_int_equal(QR_ARRAY_CNT(want), known_cnt);
  for (size_t i = 0; i < QR_ARRAY_CNT(want); i++) {
    assert_true(qr_msg_known(want[i].type));
    assert_int_equal(qr_msg_class_of(want[i].type), want[i].cls);
    assert_int_equal(qr_msg_payload_max(want[i].type), want[i].max);
    assert_true(want[i].max + QR_MSG_HEAD_SZ <= QR_MSG_FRAME_MAX_SZ);
    const uint32_t sizes[] = {want[i].min - 1, want[i].min, want[i].max, want[i].max + 1,
                              0xffffffff};
    for (int k = 0; k < 5; k++) {
      qr_msg_encode_head(want[i].type, sizes[k], head);
      assert_int_equal(qr_msg_head(head, &sz, &type) == QR_VERDICT_OK, k == 1 || k == 2);
      assert_int_equal(sz, sizes[k]);
      assert_int_equal(type, want[i].type);
    }
  }
  for (uint32_t t = 0; t < 256; t++) {
    bool known = false;
    for (size_t i = 0; i < QR_ARRAY_CNT(want); i++) known |= want[i].type == t;
    assert_int_equal(qr_msg_known((uint8_t)t), known);
    assert_int_equal(!strcmp(qr_msg_str((uint8_t)t), "unknown"), !known);
    if (known) continue;
    qr_msg_encode_head((uint8_t)t, (1u << 20) - 5, head);
    assert_int_equal(qr_msg_head(head, &sz, &type), QR_VERDICT_OK); /* to be skipped */
    qr_msg_encode_head((uint8_t)t, (1u << 20) - 4, head);
    assert_int_equal(qr_msg_head(head, &sz, &type), QR_VERDICT_SIZE);
  }
}

static enum qr_verdict hello_with(size_t at, uint8_t value) {
  uint8_t f[300];
  qr_msg_t m = {.type = QR_MSG_HELLO,
                .hello = {.version = QR_MSG_VERSION, .agent_sz = 8, .agent = "quarry/1"}},
           d;
  size_t sz = qr_msg_encode(&m, f);
  f[QR_MSG_HEAD_SZ + at] = value;
  return qr_msg_decode(QR_MSG_HELLO, f + QR_MSG_HEAD_SZ, sz - QR_MSG_HEAD_SZ, &d);
}

static void test_hostile_fields(void **state) {
  (void)state;
  assert_int_equal(hello_with(159, 'Q'), QR_VERDICT_OK);
  assert_int_equal(hello_with(160, 27),
                   QR_VERDICT_SYNTAX); /* an escape sequence for the operator's terminal */
  assert_int_equal(hello_with(160, 0), QR_VERDICT_SYNTAX);
  assert_int_equal(hello_with(160, 0x7f), QR_VERDICT_SYNTAX);
  assert_int_equal(hello_with(160, 0xc3), QR_VERDICT_SYNTAX);
  assert_int_equal(hello_with(158, 7),
                   QR_VERDICT_SYNTAX); /* agent shorter or longer than what is there */
  assert_int_equal(hello_with(158, 9), QR_VERDICT_SYNTAX);
  assert_int_equal(hello_with(158, 255), QR_VERDICT_SYNTAX);
  uint8_t other[5] = {3, 0, 0, 0, 99};
  qr_msg_t m;
  assert_int_equal(qr_msg_decode(QR_MSG_HELLO, other, 5, &m),
                   QR_VERDICT_OK); /* another version: only that is read */
  assert_int_equal(m.hello.version, 3);
  assert_int_equal(m.hello.chain_id, 0);

  uint8_t ask[69] = {0};
  assert_int_equal(qr_msg_decode(QR_MSG_GET_MODEL, ask, sizeof ask, &m), QR_VERDICT_SYNTAX);
  ask[66] = 1;
  assert_int_equal(qr_msg_decode(QR_MSG_GET_MODEL, ask, sizeof ask, &m), QR_VERDICT_OK);
  ask[68] = 2;
  assert_int_equal(qr_msg_decode(QR_MSG_GET_MODEL, ask, sizeof ask, &m), QR_VERDICT_SYNTAX);

  uint8_t model[34 + 10] = {0};
  qr_st16(model + 32, 1023);
  assert_int_equal(qr_msg_decode(QR_MSG_MODEL, model, sizeof model, &m), QR_VERDICT_OK);
  qr_st16(model + 32, 1024);
  assert_int_equal(qr_msg_decode(QR_MSG_MODEL, model, sizeof model, &m), QR_VERDICT_SYNTAX);

  uint8_t leaves[36 + 64] = {0}; /* as many as the size has chunks */
  static const uint32_t sizes[] = {0, 1, 16384, 16385, 32768, 32769, 0xffffffff};
  for (size_t i = 0; i < QR_ARRAY_CNT(sizes); i++) {
    qr_st32(leaves + 32, sizes[i]);
    assert_int_equal(qr_msg_decode(QR_MSG_LEAVES, leaves, sizeof leaves, &m) == QR_VERDICT_OK,
                     sizes[i] == 16385 || sizes[i] == 32768);
  }

  uint8_t get[3 + 64] = {1, 0, 2};
  assert_int_equal(qr_msg_decode(QR_MSG_GET_HEADERS, get, sizeof get, &m), QR_VERDICT_OK);
  get[2] = 3;
  assert_int_equal(qr_msg_decode(QR_MSG_GET_HEADERS, get, sizeof get, &m), QR_VERDICT_SYNTAX);
  get[2] = 2;
  get[0] = 0; /* asks for none */
  assert_int_equal(qr_msg_decode(QR_MSG_GET_HEADERS, get, sizeof get, &m), QR_VERDICT_SYNTAX);
  qr_st16(get, 129);
  assert_int_equal(qr_msg_decode(QR_MSG_GET_HEADERS, get, sizeof get, &m), QR_VERDICT_SYNTAX);

  for (uint32_t kind = 0; kind < 256; kind++) {
    uint8_t nf[33] = {(uint8_t)kind};
    bool ok = kind >= 1 && kind <= 4;
    assert_int_equal(qr_msg_decode(QR_MSG_NOT_FOUND, nf, sizeof nf, &m) == QR_VERDICT_OK, ok);
  }
}

static int fill(void **state) {
  (void)state;
  gen_t g = {1};
  gen_bytes(&g, bulk, sizeof bulk);
  gen_bytes(&g, hashes, sizeof hashes);
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_round_trip),          cmocka_unit_test(test_layout_of_greetings),
      cmocka_unit_test(test_layout_of_headers),   cmocka_unit_test(test_layout_of_models),
      cmocka_unit_test(test_layout_of_snapshots), cmocka_unit_test(test_layout_of_addresses),
      cmocka_unit_test(test_truncation),          cmocka_unit_test(test_head_limits),
      cmocka_unit_test(test_hostile_fields),
  };
  return cmocka_run_group_tests(tests, fill, NULL);
}
