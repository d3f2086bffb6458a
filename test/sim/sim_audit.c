/* The audit of a store names what is wrong: records that are damaged, missing, or whole by their
   own hash and yet not what the chain says. */
#include "sim/store_audit.h"
#include "tile/writer.h"

#define ROUNDS 2000000u
#define HEIGHT 30u
#define FIND_MAX_CNT 64

typedef struct {
  char table[16], key[160], what[256];
} find_t;

static struct {
  world_t w;
  world_node_t *n;
  qr_writer_t writer;
  uint8_t buf[QR_STORE_VALUE_MAX_SZ];
  int find_cnt;
  find_t finds[FIND_MAX_CNT];
} g;

static void keep(void *ctx, const qr_audit_find_t *f) {
  (void)ctx;
  if (g.find_cnt == FIND_MAX_CNT) return;
  find_t *k = &g.finds[g.find_cnt++];
  snprintf(k->table, sizeof k->table, "%s", f->table);
  snprintf(k->key, sizeof k->key, "%s", f->key);
  snprintf(k->what, sizeof k->what, "%s", f->what);
}

static qr_audit_result_t audit(void) {
  qr_audit_result_t r;
  qr_audit_cfg_t cfg = {.ops = g.n->store_ops,
                        .store = g.n->store,
                        .chain = &g.w.chain,
                        .progress = audit_goes_on,
                        .found = keep};
  g.find_cnt = 0;
  assert_int_equal(qr_audit_run(&cfg, &r), 0);
  return r;
}

/* Among the finds is this one. */
static void found(const char *table, const char *key, const char *what) {
  for (int i = 0; i < g.find_cnt; i++) {
    const find_t *f = &g.finds[i];
    if (!strcmp(f->table, table) && strstr(f->key, key) && strstr(f->what, what)) return;
  }
  for (int i = 0; i < g.find_cnt; i++)
    print_message("table %s, %s: %s\n", g.finds[i].table, g.finds[i].key, g.finds[i].what);
  fail_msg("not found: table %s, %s: %s", table, key, what);
}

static const qr_node_t *node_at(uint64_t height) {
  qr_node_t *n = (qr_node_t *)world_tip(g.n);
  return qr_tree_ancestor(n, height);
}

static size_t load(enum qr_store_table t, const void *key, size_t sz) {
  int64_t got = g.n->store_ops->get(g.n->store, t, key, sz, g.buf, sizeof g.buf);
  assert_true(got >= 0);
  return (size_t)got;
}

static void store(enum qr_store_table t, const void *key, size_t key_sz, const void *value,
                  size_t sz) {
  if (value)
    assert_int_equal(qr_writer_put(&g.writer, t, key, key_sz, value, sz), 0);
  else
    assert_int_equal(qr_writer_erase(&g.writer, t, key, key_sz), 0);
  assert_int_equal(qr_writer_commit(&g.writer), 0);
}

/* With the record changed in one byte, and then without it, the audit tells of it; with it as it
   was, of nothing. */
static void spoil(enum qr_store_table t, const void *key, size_t key_sz, size_t at,
                  const char *table, const char *where, const char *changed, const char *gone) {
  static uint8_t before[QR_STORE_VALUE_MAX_SZ];
  size_t sz = load(t, key, key_sz);
  assert_true(at < sz);
  memcpy(before, g.buf, sz);
  g.buf[at] ^= 1;
  store(t, key, key_sz, g.buf, sz);
  audit();
  found(table, where, changed);
  if (gone) {
    store(t, key, key_sz, NULL, 0);
    audit();
    found(table, where, gone);
  }
  store(t, key, key_sz, before, sz);
  audit();
  assert_int_equal(g.find_cnt, 0);
}

static int setup(void **state) {
  qr_params_t p;
  (void)state;
  world_params(&p, 3);
  world_init(&g.w, "audit", &p);
  g.n = world_add(&g.w, true);
  world_until_height(&g.w, g.n, HEIGHT, ROUNDS);
  world_mine(&g.w, g.n, false);
  world_rounds(&g.w, 3000);
  g.writer = (qr_writer_t){.store_ops = g.n->store_ops, .store = g.n->store};
  return 0;
}

static int teardown(void **state) {
  (void)state;
  qr_writer_fini(&g.writer);
  world_fini(&g.w);
  return 0;
}

static void test_sound(void **state) {
  (void)state;
  qr_audit_result_t r = audit();
  assert_int_equal(r.find_cnt, 0);
  assert_int_equal(r.block_cnt, r.tip.height);
  assert_int_equal(r.undone_cnt, r.tip.height);
  assert_int_equal(r.segment_cnt, r.tip.height);
  assert_true(r.tip.height >= HEIGHT && r.record_cnt > 6 * r.tip.height);
}

static void test_blocks(void **state) {
  (void)state;
  uint8_t place[QR_PLACE_SZ], key[QR_HEIGHT_KEY_SZ];
  char hex[2 * QR_PLACE_SZ + 1];
  const qr_node_t *n = node_at(11);
  qr_place_encode(11, &n->hash, place);
  qr_hex(hex, place, sizeof place);
  spoil(QR_STORE_BLOCK, place, sizeof place, 50, "block", hex, "of another block", NULL);
  size_t sz = load(QR_STORE_BLOCK, place, sizeof place);
  spoil(QR_STORE_BLOCK, place, sizeof place, sz - 1, "block", hex, "contradicts the header", NULL);
  spoil(QR_STORE_BLOCK, place, sizeof place, sz - 1, "block", "", "contradicts the header",
        "record is missing");
  spoil(QR_STORE_EXEC, place, sizeof place, 0, "exec", hex, "not of the form", NULL);
  spoil(QR_STORE_UNDO, place, sizeof place, QR_UNDO_RECORD_SZ - 16, "undo", "height 11",
        "not as the block is said to have left it", "is missing");
  qr_height_key(11, key);
  spoil(QR_STORE_INDEX, key, sizeof key, 40, "index", "height 11", "does not have the hash",
        "interrupted here");
}

static void test_state(void **state) {
  (void)state;
  qr_pubkey_t miner = g.n->key.pk;
  spoil(QR_STORE_STATE, &miner, sizeof miner, 33, "state", "height", "state root", "state root");
  spoil(QR_STORE_META, "tip", 3, 45, "state", "height", "state root", NULL);
  spoil(QR_STORE_META, "tip", 3, 0, "meta", "tip", "not the last block", "not known");
  spoil(QR_STORE_META, "genesis", 7, 0, "meta", "genesis", "not what this chain's", NULL);
}

static void test_models(void **state) {
  (void)state;
  uint8_t key[QR_MODEL_USE_KEY_SZ];
  char hex[65], use[67];
  const qr_node_t *n = node_at(9);
  qr_model_use_key(&n->header.model_out, key);
  qr_hex(hex, key, QR_HASH_SZ);
  qr_hex(use, key, sizeof key);
  spoil(QR_STORE_MODEL, key, QR_HASH_SZ, 77, "model", hex, "do not have its root", "is missing");
  /* the height falls by one or grows by one; it must be known */
  size_t sz = load(QR_STORE_MODEL, key, sizeof key);
  assert_int_equal(sz, QR_MODEL_USE_SZ);
  uint64_t height = qr_ld64(g.buf);
  uint8_t low[8], right[8];
  qr_st64(right, height);
  qr_st64(low, height - 1);
  store(QR_STORE_MODEL, key, sizeof key, low, sizeof low);
  audit();
  found("model", use, "needs the model");
  store(QR_STORE_MODEL, key, sizeof key, NULL, 0);
  audit();
  found("model", hex, "until when");
  store(QR_STORE_MODEL, key, sizeof key, right, sizeof right);
  audit();
  assert_int_equal(g.find_cnt, 0);
}

static void test_replay(void **state) {
  (void)state;
  uint8_t place[QR_PLACE_SZ];
  const qr_node_t *n = node_at(14);
  qr_place_encode(14, &n->hash, place);
  spoil(QR_STORE_REPLAY, place, sizeof place, 8, "replay", "height 14", "not the one that",
        "missing");
  size_t sz = load(QR_STORE_REPLAY, place, sizeof place);
  uint8_t before[QR_REPLAY_RECORD_MAX_SZ];
  memcpy(before, g.buf, sz);
  g.buf[sz - 1] = 200;
  store(QR_STORE_REPLAY, place, sizeof place, g.buf, sz);
  audit();
  found("replay", "height 14", "the segment is not the one");
  store(QR_STORE_REPLAY, place, sizeof place, before, sz);
}

static void test_damage(void **state) {
  (void)state;
  uint8_t place[QR_PLACE_SZ];
  char hex[2 * QR_PLACE_SZ + 1];
  const qr_node_t *n = node_at(20);
  qr_place_encode(20, &n->hash, place);
  size_t sz = load(QR_STORE_BLOCK, place, sizeof place);
  static uint8_t before[QR_BLOCK_MAX_SZ];
  memcpy(before, g.buf, sz);
  assert_true(qr_store_mem_damage(g.n->store, QR_STORE_BLOCK, place, sizeof place));
  qr_audit_result_t r = audit();
  found("block", qr_hex(hex, place, sizeof place), "damaged by a test");
  found("block", "height 20", "is missing");
  assert_int_equal(r.block_cnt, r.tip.height - 1); /* it goes on behind it */
  store(QR_STORE_BLOCK, place, sizeof place, before, sz);
  audit();
  assert_int_equal(g.find_cnt, 0);
}

static bool stop_soon(void *ctx, const qr_audit_progress_t *p) {
  (void)p;
  return ++*(int *)ctx < 40;
}

static void test_can_be_stopped(void **state) {
  (void)state;
  int cnt = 0;
  qr_audit_result_t r;
  qr_audit_cfg_t cfg = {.ops = g.n->store_ops,
                        .store = g.n->store,
                        .chain = &g.w.chain,
                        .progress = stop_soon,
                        .found = audit_tells,
                        .ctx = &cnt};
  assert_int_equal(qr_audit_run(&cfg, &r), QR_ERR_CANCELLED);
  assert_int_equal(cnt, 40);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_sound),          cmocka_unit_test(test_blocks),
      cmocka_unit_test(test_state),          cmocka_unit_test(test_models),
      cmocka_unit_test(test_replay),         cmocka_unit_test(test_damage),
      cmocka_unit_test(test_can_be_stopped),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
