/* The bytes of what lies in the store and in snapshots: what is written reads back, what is not of
   the form is refused, and how far back a node must remember. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/splitmix.h"
#include "chain/prune.h"
#include "chain/snapshot.h"
#include "crypto/hash.h"
#include "tile/record.h"

static uint64_t seed = 11;
static uint8_t draw(void) { return (uint8_t)qr_splitmix_next(&seed); }
static void draw_all(void *p, size_t sz) {
  for (size_t i = 0; i < sz; i++) ((uint8_t *)p)[i] = draw();
}

static void test_places_are_in_order_of_height(void **state) {
  (void)state;
  uint8_t low[QR_PLACE_SZ], high[QR_PLACE_SZ];
  qr_hash_t hash, back;
  uint64_t height;
  for (int i = 0; i < 2000; i++) {
    uint64_t h;
    draw_all(&h, sizeof h);
    h >>= draw() % 64;
    if (h == UINT64_MAX) continue;
    draw_all(&hash, sizeof hash);
    qr_place_encode(h, &hash, low);
    assert_true(qr_place_decode(low, sizeof low, &height, &back));
    assert_true(height == h && qr_hash_eq(&hash, &back));
    draw_all(&hash, sizeof hash);
    qr_place_encode(h + 1, &hash, high);
    assert_true(memcmp(low, high, sizeof low) < 0);
    qr_height_key(h + 1, high);
    assert_true(memcmp(low, high, QR_HEIGHT_KEY_SZ) < 0);
    assert_true(qr_height_of(high) == h + 1);
  }
  assert_false(qr_place_decode(low, sizeof low - 1, &height, &back));
}

static void test_index(void **state) {
  (void)state;
  uint8_t header[QR_HEADER_SZ], entry[QR_INDEX_RECORD_SZ], again[QR_HEADER_SZ];
  qr_header_t h, back;
  qr_hash_t hash;
  draw_all(header, sizeof header);
  qr_header_decode(header, &h);
  hash = qr_header_hash(&h);
  qr_index_encode(&hash, &h, entry);
  assert_true(qr_index_decode(entry, sizeof entry, &hash, &back));
  qr_header_encode(&back, again);
  assert_memory_equal(again, header, sizeof header);
  for (size_t i = 0; i < sizeof entry; i++) {
    entry[i] ^= 1;
    assert_false(qr_index_decode(entry, sizeof entry, &hash, &back));
    entry[i] ^= 1;
  }
  assert_false(qr_index_decode(entry, sizeof entry - 1, &hash, &back));
}

static void test_exec_and_replay(void **state) {
  (void)state;
  uint8_t exec[QR_EXEC_RECORD_SZ], states[QR_REPLAY_STATES_SZ], actions[64];
  static uint8_t replay[QR_REPLAY_RECORD_MAX_SZ];
  const uint8_t *s, *a;
  qr_exec_facts_t back, f = {.task = 3,
                             .td_abs_sum = UINT64_C(0x123456789abcdef0),
                             .eligible = true,
                             .model_return = -5,
                             .rule_return = INT64_MIN};
  qr_exec_encode(&f, exec);
  assert_true(qr_exec_decode(exec, sizeof exec, &back));
  assert_true(back.task == 3 && back.td_abs_sum == f.td_abs_sum && back.eligible);
  assert_true(back.model_return == -5 && back.rule_return == INT64_MIN);
  assert_false(qr_exec_decode(exec, sizeof exec + 1, &back));
  exec[12] = 2;
  assert_false(qr_exec_decode(exec, sizeof exec, &back));
  draw_all(states, sizeof states);
  draw_all(actions, sizeof actions);
  size_t sz = qr_replay_encode(states, actions, sizeof actions, replay);
  assert_true(qr_replay_decode(replay, sz, sizeof actions, &s, &a));
  assert_memory_equal(s, states, sizeof states);
  assert_memory_equal(a, actions, sizeof actions);
  assert_false(qr_replay_decode(replay, sz, sizeof actions + 1, &s, &a));
  assert_false(qr_replay_decode(replay, 0, sizeof actions, &s, &a));
  /* so many that the sum of the sizes, in 32 bits, would be right again */
  assert_false(qr_replay_decode(replay, 16, UINT32_MAX - QR_REPLAY_STATES_SZ + 17, &s, &a));
}

static void test_undo(void **state) {
  (void)state;
  static qr_ledger_change_t c[QR_LEDGER_CHANGE_MAX_CNT], back[QR_LEDGER_CHANGE_MAX_CNT];
  static uint8_t bytes[QR_UNDO_RECORD_MAX_SZ + QR_UNDO_RECORD_SZ];
  draw_all(c, sizeof c);
  for (uint32_t i = 0; i < QR_LEDGER_CHANGE_MAX_CNT; i++) c[i].after.pk = c[i].before.pk;
  for (uint32_t cnt = 1; cnt <= QR_LEDGER_CHANGE_MAX_CNT; cnt += 512) {
    size_t sz = qr_undo_encode(c, cnt, bytes);
    assert_int_equal(qr_undo_decode(bytes, sz, back), cnt);
    assert_memory_equal(c, back, cnt * sizeof *c);
    assert_int_equal(qr_undo_decode(bytes, sz - 1, back), 0);
  }
  assert_int_equal(qr_undo_decode(bytes, 0, back), 0);
  assert_int_equal(qr_undo_decode(bytes, sizeof bytes, back), 0);
  qr_undo_encode(c, 1, bytes);
  bytes[QR_ACCOUNT_SZ] ^= 1; /* the account before and after is one */
  assert_int_equal(qr_undo_decode(bytes, QR_UNDO_RECORD_SZ, back), 0);
}

static void test_meta(void **state) {
  (void)state;
  uint8_t tip[QR_META_TIP_SZ], held[QR_META_HELD_SZ];
  qr_tip_record_t t, tb;
  qr_held_t h = {.from = 900, .base = 899}, hb;
  draw_all(&t, sizeof t);
  qr_tip_encode(&t, tip);
  assert_true(qr_tip_decode(tip, sizeof tip, &tb));
  assert_true(qr_hash_eq(&t.hash, &tb.hash) && t.height == tb.height);
  assert_true(qr_hash_eq(&t.state_root, &tb.state_root));
  assert_false(qr_tip_decode(tip, sizeof tip - 1, &tb));
  qr_held_encode(&h, held);
  assert_true(qr_held_decode(held, sizeof held, &hb));
  assert_true(hb.from == 900 && hb.base == 899);
  h = (qr_held_t){.from = 900, .base = 900}; /* what lies at the base is not held */
  qr_held_encode(&h, held);
  assert_false(qr_held_decode(held, sizeof held, &hb));
  h = (qr_held_t){.from = 0};
  qr_held_encode(&h, held);
  assert_false(qr_held_decode(held, sizeof held, &hb));
}

static void test_depths(void **state) {
  (void)state;
  qr_params_t p;
  assert_true(qr_params_profile("main", &p));
  assert_int_equal(qr_prune_window(&p), 128);
  assert_int_equal(qr_prune_depth_min(&p), 640);
  p.replay_rows = 2 * p.segment_rows; /* then the target window is the longer one */
  assert_int_equal(qr_prune_window(&p), 16);
  assert_int_equal(qr_prune_from(100, 0), 1);
  assert_int_equal(qr_prune_from(100, 100), 1);
  assert_int_equal(qr_prune_from(100, 99), 2);
  assert_int_equal(qr_prune_from(100, 1), 100);
  assert_int_equal(qr_prune_from(0, 1), 1);
}

/* ---- snapshots ---- */

#define WINDOW_SZ 100u

static uint8_t payload[64 << 10];
static size_t payload_sz;

static void add(enum qr_snapshot_type type, const void *bytes, uint32_t sz) {
  qr_snapshot_record_head(type, sz, payload + payload_sz);
  payload_sz += QR_SNAPSHOT_RECORD_HEAD_SZ;
  if (bytes)
    memcpy(payload + payload_sz, bytes, sz);
  else
    draw_all(payload + payload_sz, sz);
  payload_sz += sz;
}

static void add_about(uint64_t headers, uint64_t accounts, uint64_t windows, uint64_t models) {
  static uint8_t about[QR_SNAPSHOT_ABOUT_SZ + 8];
  qr_snapshot_about_t a = {.height = headers,
                           .header_cnt = headers + 1,
                           .account_cnt = accounts,
                           .window_cnt = windows,
                           .model_cnt = models,
                           .proof_cnt = models,
                           .params_sz = 8,
                           .params = "{chain:}"};
  qr_snapshot_about_encode(&a, about);
  payload_sz = 0;
  add(QR_SNAPSHOT_ABOUT, about, sizeof about);
}

/* Records that were taken before the end or the first error; *err: 0 all, 1 more is to come. */
static uint32_t read_all(int *err) {
  qr_snapshot_reader_t r = {.segment_rows_sz = WINDOW_SZ};
  qr_snapshot_record_t rec;
  uint32_t cnt = 0;
  for (size_t at = 0;; cnt++) {
    int64_t n = qr_snapshot_next(&r, payload + at, payload_sz - at, &rec);
    *err = n < 0 ? (int)n : r.last != QR_SNAPSHOT_END;
    if (n <= 0) return cnt;
    at += (size_t)n;
  }
}

static void test_snapshot_order(void **state) {
  (void)state;
  int err;
  add_about(4, 3, 1, 1);
  add(QR_SNAPSHOT_HEADERS, NULL, 4 * QR_HEADER_SZ);
  add(QR_SNAPSHOT_HEADERS, NULL, QR_HEADER_SZ);
  add(QR_SNAPSHOT_ACCOUNTS, NULL, 3 * QR_ACCOUNT_SZ);
  add(QR_SNAPSHOT_WINDOW, NULL, WINDOW_SZ);
  add(QR_SNAPSHOT_MODEL, NULL, 200);
  add(QR_SNAPSHOT_PROOF, NULL, 200);
  add(QR_SNAPSHOT_END, NULL, 0);
  assert_int_equal(read_all(&err), 8);
  assert_int_equal(err, 0);
  size_t whole = payload_sz;
  for (payload_sz = 0; payload_sz < whole; payload_sz++) { /* cut anywhere it waits for more */
    read_all(&err);
    assert_int_equal(err, 1);
  }
  add(QR_SNAPSHOT_END, NULL, 0);
  assert_int_equal(read_all(&err), 8);
  assert_int_equal(err, QR_ERR_FORMAT);
}

/* One step away from right: taken are only the records before. */
static void test_snapshot_refusals(void **state) {
  (void)state;
  static const struct {
    enum qr_snapshot_type type;
    uint32_t sz;
  } wrong[] = {{QR_SNAPSHOT_ABOUT, QR_SNAPSHOT_ABOUT_SZ},
               {QR_SNAPSHOT_HEADERS, 0},
               {QR_SNAPSHOT_HEADERS, QR_HEADER_SZ - 1},
               {QR_SNAPSHOT_HEADERS, 3 * QR_HEADER_SZ},
               {QR_SNAPSHOT_ACCOUNTS, QR_ACCOUNT_SZ},
               {QR_SNAPSHOT_WINDOW, WINDOW_SZ},
               {QR_SNAPSHOT_MODEL, 20},
               {QR_SNAPSHOT_PROOF, 20},
               {QR_SNAPSHOT_END, 0},
               {QR_SNAPSHOT_END + 1, 0},
               {(enum qr_snapshot_type)0, 0}};
  int err;
  for (size_t i = 0; i < QR_ARRAY_CNT(wrong); i++) {
    add_about(1, 1, 1, 1);
    add(wrong[i].type, NULL, wrong[i].sz);
    assert_int_equal(read_all(&err), 1);
    assert_int_equal(err, QR_ERR_FORMAT);
  }
  add_about(1, 0, 1, 0);
  add(QR_SNAPSHOT_HEADERS, NULL, 2 * QR_HEADER_SZ);
  add(QR_SNAPSHOT_WINDOW, NULL, WINDOW_SZ - 1);
  assert_int_equal(read_all(&err), 2);
  assert_int_equal(err, QR_ERR_FORMAT);
  add_about(0, 0, 0, 0);
  assert_int_equal(read_all(&err), 0);
  payload_sz = 0;
  add(QR_SNAPSHOT_HEADERS, NULL, QR_HEADER_SZ);
  assert_int_equal(read_all(&err), 0);
  assert_int_equal(err, QR_ERR_FORMAT);
}

static void test_snapshot_head(void **state) {
  (void)state;
  uint8_t bytes[QR_SNAPSHOT_HEAD_SZ];
  qr_snapshot_head_t h = {.payload_sz = 3u << 20}, back;
  draw_all(&h.root, sizeof h.root);
  qr_snapshot_head_encode(&h, bytes);
  assert_int_equal(qr_snapshot_head_decode(bytes, &back), 0);
  assert_true(back.payload_sz == h.payload_sz && qr_hash_eq(&back.root, &h.root));
  assert_int_equal(qr_snapshot_chunk_cnt(h.payload_sz), 3);
  assert_int_equal(qr_snapshot_chunk_cnt(h.payload_sz + 1), 4);
  bytes[16] = QR_SNAPSHOT_VERSION + 1;
  assert_int_equal(qr_snapshot_head_decode(bytes, &back), QR_ERR_UNSUPPORTED);
  bytes[16] = QR_SNAPSHOT_VERSION - 1;
  assert_int_equal(qr_snapshot_head_decode(bytes, &back), QR_ERR_UNSUPPORTED);
  for (int i = 0; i < 24; i++) {
    qr_snapshot_head_encode(&h, bytes);
    bytes[i] ^= 0x80;
    assert_int_not_equal(qr_snapshot_head_decode(bytes, &back), 0);
  }
  h.payload_sz = QR_SNAPSHOT_PAYLOAD_MAX_SZ + 1;
  qr_snapshot_head_encode(&h, bytes);
  assert_int_equal(qr_snapshot_head_decode(bytes, &back), QR_ERR_FORMAT);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_places_are_in_order_of_height),
      cmocka_unit_test(test_index),
      cmocka_unit_test(test_exec_and_replay),
      cmocka_unit_test(test_undo),
      cmocka_unit_test(test_meta),
      cmocka_unit_test(test_depths),
      cmocka_unit_test(test_snapshot_order),
      cmocka_unit_test(test_snapshot_refusals),
      cmocka_unit_test(test_snapshot_head),
  };
  if (qr_crypto_init()) return 1;
  return cmocka_run_group_tests(tests, NULL, NULL);
}
