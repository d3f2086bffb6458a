/* wire: encodings round trip, every field counts where it should, hostile bodies are refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>

#include "crypto/hash.h"
#include "net_gen.h"
#include "wire/block.h"

static void gen_bytes(gen_t *g, void *p, size_t sz) {
  for (size_t i = 0; i < sz; i++) ((uint8_t *)p)[i] = (uint8_t)gen_u64(g);
}

/* ---- header ---- */

#define FIELD(f, at)                                                                               \
  { #f, offsetof(qr_header_t, f), sizeof(((qr_header_t *)0)->f), at }
/* Every field with its offset in the encoding, as the specification lists them. */
static const struct {
  const char *name;
  size_t off, sz, at;
} fields[] = {
    FIELD(version, 0),      FIELD(chain_id, 4),       FIELD(rules, 12),
    FIELD(height, 44),      FIELD(parent, 52),        FIELD(time_ms, 84),
    FIELD(target, 92),      FIELD(task, 96),          FIELD(miner, 100),
    FIELD(model_in, 132),   FIELD(tx_root, 164),      FIELD(state_root, 196),
    FIELD(nonce, 228),      FIELD(model_out, 236),    FIELD(trace_last, 268),
    FIELD(trace_root, 300), FIELD(actions_root, 332), FIELD(reward, 364),
    FIELD(env_root, 368),   FIELD(replay_root, 400),
};

static qr_header_t gen_header(gen_t *g) {
  uint8_t bytes[QR_HEADER_SZ];
  qr_header_t h;
  gen_bytes(g, bytes, sizeof bytes);
  qr_header_decode(bytes, &h);
  return h;
}

static void test_header_layout(void **state) {
  (void)state;
  gen_t g = {1};
  size_t end = 0;
  for (size_t i = 0; i < QR_ARRAY_CNT(fields); i++) {
    qr_header_t h = {0};
    uint8_t bytes[QR_HEADER_SZ], want[QR_HEADER_SZ] = {0};
    assert_int_equal(fields[i].at, end);
    end += fields[i].sz;
    gen_bytes(&g, want + fields[i].at, fields[i].sz);
    memcpy((uint8_t *)&h + fields[i].off, want + fields[i].at, fields[i].sz);
    qr_header_encode(&h, bytes);
    assert_memory_equal(bytes, want, sizeof want);
    if (!strcmp(fields[i].name, "nonce")) assert_int_equal(end, QR_PREFIX_SZ);
  }
  assert_int_equal(end, QR_HEADER_SZ);
}

static void test_header_round_trip(void **state) {
  (void)state;
  gen_t g = {2};
  for (int turn = 0; turn < 1000; turn++) {
    uint8_t in[QR_HEADER_SZ], out[QR_HEADER_SZ];
    qr_header_t h, again;
    gen_bytes(&g, in, sizeof in);
    memset(&h, 0xff, sizeof h);
    memset(&again, 0, sizeof again);
    qr_header_decode(in, &h);
    qr_header_encode(&h, out);
    assert_memory_equal(in, out, sizeof in);
    qr_header_decode(out, &again);
    assert_memory_equal(&h, &again, sizeof h);
  }
}

/* Any bit changes the hash; sigma changes iff the bit is of the prefix. */
static void test_header_bits(void **state) {
  (void)state;
  gen_t g = {3};
  qr_header_t h = gen_header(&g);
  qr_hash_t hash = qr_header_hash(&h), sigma = qr_header_sigma(&h);
  uint8_t bytes[QR_HEADER_SZ];
  qr_header_encode(&h, bytes);
  for (size_t bit = 0; bit < 8 * QR_HEADER_SZ; bit++) {
    qr_header_t other;
    bytes[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    qr_header_decode(bytes, &other);
    bytes[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    qr_hash_t other_hash = qr_header_hash(&other), other_sigma = qr_header_sigma(&other);
    assert_false(qr_hash_eq(&hash, &other_hash));
    assert_int_equal(qr_hash_eq(&sigma, &other_sigma), bit / 8 >= QR_PREFIX_SZ);
  }
}

static void test_header_hashes(void **state) {
  (void)state;
  gen_t g = {4};
  qr_header_t h = gen_header(&g);
  uint8_t bytes[QR_HEADER_SZ];
  qr_header_encode(&h, bytes);
  qr_hash_t got = qr_header_hash(&h), want = qr_hash("quarry.block", bytes, sizeof bytes);
  assert_memory_equal(&got, &want, sizeof got);
  qr_hash_t sigma = qr_header_sigma(&h);
  want = qr_hash("quarry.attempt", bytes, QR_PREFIX_SZ);
  assert_memory_equal(&sigma, &want, sizeof want);

  uint8_t three[3 * QR_HASH_SZ];
  memcpy(three, sigma.b, QR_HASH_SZ);
  memcpy(three + 32, h.model_out.b, QR_HASH_SZ);
  memcpy(three + 64, h.trace_last.b, QR_HASH_SZ);
  got = qr_header_ticket(&sigma, &h.model_out, &h.trace_last);
  want = qr_hash("quarry.ticket", three, sizeof three);
  assert_memory_equal(&got, &want, sizeof got);
  got = qr_header_rho(&sigma, &h.model_out, &h.trace_last);
  want = qr_hash("quarry.act", three, sizeof three);
  assert_memory_equal(&got, &want, sizeof got);
}

/* ---- transactions ---- */

static qr_tx_t gen_tx(gen_t *g) {
  qr_tx_t tx = {.kind = QR_TX_TRANSFER, .amount = gen_u64(g), .fee = gen_u64(g), .seq = gen_u64(g)};
  gen_bytes(g, tx.from.b, sizeof tx.from.b);
  gen_bytes(g, tx.to.b, sizeof tx.to.b);
  gen_bytes(g, tx.sig.b, sizeof tx.sig.b);
  return tx;
}

static void test_tx_round_trip(void **state) {
  (void)state;
  gen_t g = {5};
  for (int turn = 0; turn < 500; turn++) {
    qr_tx_t tx = gen_tx(&g), back;
    uint8_t bytes[QR_TX_SZ], again[QR_TX_SZ];
    qr_tx_encode(&tx, bytes);
    assert_int_equal(bytes[0], 1);
    assert_memory_equal(bytes + 1, tx.from.b, 32);
    assert_memory_equal(bytes + 33, tx.to.b, 32);
    assert_int_equal(qr_ld64(bytes + 65), tx.amount);
    assert_int_equal(qr_ld64(bytes + 73), tx.fee);
    assert_int_equal(qr_ld64(bytes + 81), tx.seq);
    assert_memory_equal(bytes + 89, tx.sig.b, 64);
    assert_int_equal(qr_tx_decode(bytes, &back), QR_VERDICT_OK);
    qr_tx_encode(&back, again);
    assert_memory_equal(bytes, again, sizeof bytes);
  }
}

static void test_tx_kinds(void **state) {
  (void)state;
  gen_t g = {6};
  qr_tx_t tx = gen_tx(&g), back;
  uint8_t bytes[QR_TX_SZ];
  qr_tx_encode(&tx, bytes);
  for (unsigned kind = 0; kind < 256; kind++) {
    bytes[0] = (uint8_t)kind;
    enum qr_verdict want = kind == QR_TX_TRANSFER ? QR_VERDICT_OK : QR_VERDICT_TX_SYNTAX;
    assert_int_equal(qr_tx_decode(bytes, &back), want);
  }
}

/* Every bit changes the id; the signed hash covers all but the signature, and the chain. */
static void test_tx_bits(void **state) {
  (void)state;
  gen_t g = {7};
  qr_tx_t tx = gen_tx(&g), other;
  uint8_t bytes[QR_TX_SZ], framed[8 + QR_TX_SIGNED_SZ];
  qr_tx_encode(&tx, bytes);
  qr_hash_t id = qr_tx_hash(&tx), sign = qr_tx_sign_hash(&tx, 77), got;
  qr_hash_t want = qr_hash("quarry.txid", bytes, sizeof bytes);
  assert_memory_equal(&id, &want, sizeof id);
  qr_st64(framed, 77);
  memcpy(framed + 8, bytes, QR_TX_SIGNED_SZ);
  want = qr_hash("quarry.tx", framed, sizeof framed);
  assert_memory_equal(&sign, &want, sizeof sign);
  got = qr_tx_sign_hash(&tx, 78);
  assert_false(qr_hash_eq(&got, &sign));
  for (size_t bit = 0; bit < 8 * QR_TX_SZ; bit++) {
    bytes[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    assert_int_equal(qr_tx_decode(bytes, &other), bit < 8 ? QR_VERDICT_TX_SYNTAX : QR_VERDICT_OK);
    bytes[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    got = qr_tx_hash(&other);
    assert_false(qr_hash_eq(&got, &id));
    got = qr_tx_sign_hash(&other, 77);
    assert_int_equal(qr_hash_eq(&got, &sign), bit / 8 >= QR_TX_SIGNED_SZ);
  }
}

static void test_tx_root(void **state) {
  (void)state;
  gen_t g = {8};
  uint8_t txs[5 * QR_TX_SZ];
  gen_bytes(&g, txs, sizeof txs);
  qr_hash_t roots[7], empty = qr_merkle_root("", 0, QR_TX_SZ);
  for (uint32_t cnt = 0; cnt <= 5; cnt++) {
    roots[cnt] = qr_tx_root(cnt ? txs : NULL, cnt);
    for (uint32_t i = 0; i < cnt; i++) assert_false(qr_hash_eq(&roots[i], &roots[cnt]));
  }
  assert_memory_equal(&roots[0], &empty, sizeof empty);
  uint8_t swapped[5 * QR_TX_SZ];
  memcpy(swapped, txs, sizeof txs);
  memcpy(swapped, txs + QR_TX_SZ, QR_TX_SZ);
  memcpy(swapped + QR_TX_SZ, txs, QR_TX_SZ);
  roots[6] = qr_tx_root(swapped, 5);
  assert_false(qr_hash_eq(&roots[5], &roots[6]));
}

/* ---- body ---- */

typedef struct {
  qr_body_t b;
  uint8_t txs[4 * QR_TX_SZ], actions[200];
  qr_hash_t trace[8];
} body_t;

static void gen_body(gen_t *g, body_t *s) {
  gen_bytes(g, s->txs, sizeof s->txs);
  gen_bytes(g, s->actions, sizeof s->actions);
  gen_bytes(g, s->trace, sizeof s->trace);
  s->b = (qr_body_t){.tx_cnt = (uint32_t)gen_range(g, 0, 4),
                     .txs = s->txs,
                     .step_cnt = (uint16_t)gen_range(g, 0, 8),
                     .trace = s->trace,
                     .action_cnt = (uint32_t)gen_range(g, 0, 200),
                     .actions = s->actions};
}

/* Encodes into a fresh buffer of exactly the right size. */
static uint8_t *encode(const qr_body_t *b, size_t *sz) {
  *sz = qr_body_sz(b);
  uint8_t *bytes = malloc(*sz);
  assert_non_null(bytes);
  qr_body_encode(b, bytes);
  return bytes;
}

static void test_body_round_trip(void **state) {
  (void)state;
  gen_t g = {9};
  for (int turn = 0; turn < 200; turn++) {
    body_t s;
    qr_body_t back;
    size_t sz;
    gen_body(&g, &s);
    uint8_t *bytes = encode(&s.b, &sz);
    assert_int_equal(sz, 10 + s.b.tx_cnt * QR_TX_SZ + s.b.step_cnt * 32u + s.b.action_cnt);
    assert_int_equal(qr_body_decode(bytes, sz, &back), QR_VERDICT_OK);
    assert_int_equal(back.tx_cnt, s.b.tx_cnt);
    assert_int_equal(back.step_cnt, s.b.step_cnt);
    assert_int_equal(back.action_cnt, s.b.action_cnt);
    assert_memory_equal(back.txs, s.txs, s.b.tx_cnt * QR_TX_SZ);
    assert_memory_equal(back.trace, s.trace, s.b.step_cnt * 32u);
    assert_memory_equal(back.actions, s.actions, s.b.action_cnt);
    qr_hash_t a = qr_body_trace_root(&back),
              b = qr_hash("quarry.trace", s.trace, s.b.step_cnt * 32u);
    assert_memory_equal(&a, &b, sizeof a);
    a = qr_body_actions_root(&back);
    b = qr_hash("quarry.actions", s.actions, s.b.action_cnt);
    assert_memory_equal(&a, &b, sizeof a);
    a = qr_body_tx_root(&back);
    b = qr_tx_root(s.txs, s.b.tx_cnt);
    assert_memory_equal(&a, &b, sizeof a);
    free(bytes);
  }
}

static void test_body_cut(void **state) {
  (void)state;
  gen_t g = {10};
  body_t s;
  qr_body_t back;
  size_t sz;
  gen_body(&g, &s);
  s.b.tx_cnt = 2;
  s.b.step_cnt = 3;
  s.b.action_cnt = 32;
  uint8_t *bytes = encode(&s.b, &sz);
  for (size_t n = 0; n < sz; n++) {
    uint8_t *cut = malloc(n ? n : 1); /* its own buffer, so that reading beyond it is seen */
    memcpy(cut, bytes, n);
    assert_int_equal(qr_body_decode(cut, n, &back), QR_VERDICT_SYNTAX);
    free(cut);
  }
  uint8_t *longer = calloc(1, sz + 1);
  memcpy(longer, bytes, sz);
  assert_int_equal(qr_body_decode(longer, sz + 1, &back), QR_VERDICT_SYNTAX);
  free(longer);
  free(bytes);
  assert_int_equal(qr_body_decode(NULL, 0, &back), QR_VERDICT_SYNTAX);
}

static void test_body_limits(void **state) {
  (void)state;
  uint8_t *big = calloc(1, QR_BODY_MAX_SZ + 1);
  qr_body_t b = {.tx_cnt = QR_BLOCK_TX_MAX_CNT,
                 .step_cnt = QR_BLOCK_STEP_MAX_CNT,
                 .action_cnt = QR_BLOCK_ACTION_MAX_CNT};
  qr_body_t back;
  b.txs = calloc(b.tx_cnt, QR_TX_SZ);
  b.trace = calloc(b.step_cnt, QR_HASH_SZ);
  b.actions = calloc(b.action_cnt, 1);
  assert_int_equal(qr_body_sz(&b), QR_BODY_MAX_SZ);
  qr_body_encode(&b, big);
  assert_int_equal(qr_body_decode(big, QR_BODY_MAX_SZ, &back), QR_VERDICT_OK);
  free((void *)b.txs);
  free((void *)b.trace);
  free((void *)b.actions);

  memset(big, 0, QR_BODY_MAX_SZ);
  static const uint32_t tx_cnts[] = {QR_BLOCK_TX_MAX_CNT + 1, UINT32_MAX, 0x80000000u};
  for (size_t i = 0; i < QR_ARRAY_CNT(tx_cnts); i++) {
    qr_st32(big, tx_cnts[i]);
    assert_int_equal(qr_body_decode(big, QR_BODY_MAX_SZ, &back), QR_VERDICT_SIZE);
    assert_int_equal(qr_body_decode(big, 4, &back), QR_VERDICT_SIZE);
  }
  qr_st32(big, 0);
  static const uint16_t step_cnts[] = {QR_BLOCK_STEP_MAX_CNT + 1, UINT16_MAX};
  for (size_t i = 0; i < QR_ARRAY_CNT(step_cnts); i++) {
    qr_st16(big + 4, step_cnts[i]);
    assert_int_equal(qr_body_decode(big, QR_BODY_MAX_SZ, &back), QR_VERDICT_SIZE);
  }
  qr_st16(big + 4, 0);
  static const uint32_t action_cnts[] = {QR_BLOCK_ACTION_MAX_CNT + 1, UINT32_MAX};
  for (size_t i = 0; i < QR_ARRAY_CNT(action_cnts); i++) {
    qr_st32(big + 6, action_cnts[i]);
    assert_int_equal(qr_body_decode(big, QR_BODY_MAX_SZ, &back), QR_VERDICT_SIZE);
  }
  qr_st32(big + 6, 0);
  assert_int_equal(qr_body_decode(big, 10, &back), QR_VERDICT_OK);
  free(big);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_header_layout),   cmocka_unit_test(test_header_round_trip),
      cmocka_unit_test(test_header_bits),     cmocka_unit_test(test_header_hashes),
      cmocka_unit_test(test_tx_round_trip),   cmocka_unit_test(test_tx_kinds),
      cmocka_unit_test(test_tx_bits),         cmocka_unit_test(test_tx_root),
      cmocka_unit_test(test_body_round_trip), cmocka_unit_test(test_body_cut),
      cmocka_unit_test(test_body_limits),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
