/* A store of schema 1 is brought to schema 2, whatever batch of it fails on the way, and is then
   what a node would have written itself. The stores of schema 1 are made here, from what a node
   wrote: by hash what is now by height, the start states behind the facts, only hashes in the
   index, no use of models. test/func/test_db.sh has one that version 0.1 wrote. */
#include "sim/store_audit.h"
#include "tile/schema.h"
#include "tile/writer.h"

#define ROUNDS 2000000u
#define HEIGHT 90u

typedef struct {
  uint32_t cnt;
  size_t key_sz[1024];
  uint8_t keys[1024][QR_STORE_KEY_MAX_SZ];
} keys_t;

static keys_t keys;
static uint8_t buf[QR_STORE_VALUE_MAX_SZ], other[QR_STORE_VALUE_MAX_SZ];

static bool collect(void *ctx, const void *key, size_t key_sz, const void *value, size_t sz) {
  keys_t *k = ctx;
  (void)value, (void)sz;
  assert_true(k->cnt < QR_ARRAY_CNT(k->keys));
  k->key_sz[k->cnt] = key_sz;
  memcpy(k->keys[k->cnt++], key, key_sz);
  return true;
}

static void list(const world_node_t *n, enum qr_store_table t) {
  keys.cnt = 0;
  assert_int_equal(n->store_ops->scan(n->store, t, NULL, 0, collect, &keys), 0);
}

static size_t load(const world_node_t *n, enum qr_store_table t, const void *key, size_t key_sz,
                   uint8_t *out) {
  int64_t sz = n->store_ops->get(n->store, t, key, key_sz, out, QR_STORE_VALUE_MAX_SZ);
  assert_true(sz >= 0);
  return (size_t)sz;
}

static void put(qr_writer_t *w, enum qr_store_table t, const void *key, size_t key_sz,
                const void *value, size_t sz) {
  assert_int_equal(qr_writer_put(w, t, key, key_sz, value, sz), 0);
}

static void erase(qr_writer_t *w, enum qr_store_table t, const void *key, size_t key_sz) {
  assert_int_equal(qr_writer_erase(w, t, key, key_sz), 0);
}

static void blocks_by_hash(const world_node_t *n, qr_writer_t *w) {
  list(n, QR_STORE_BLOCK);
  for (uint32_t i = 0; i < keys.cnt; i++) {
    const uint8_t *place = keys.keys[i], *hash = place + QR_HEIGHT_KEY_SZ;
    assert_int_equal(keys.key_sz[i], QR_PLACE_SZ);
    size_t sz = load(n, QR_STORE_BLOCK, place, QR_PLACE_SZ, buf);
    put(w, QR_STORE_BLOCK, hash, QR_HASH_SZ, buf, sz);
    sz = load(n, QR_STORE_UNDO, place, QR_PLACE_SZ, buf);
    put(w, QR_STORE_UNDO, hash, QR_HASH_SZ, buf, sz);
    sz = load(n, QR_STORE_EXEC, place, QR_PLACE_SZ, buf);
    load(n, QR_STORE_REPLAY, place, QR_PLACE_SZ, other);
    memcpy(buf + sz, other, QR_REPLAY_STATES_SZ);
    put(w, QR_STORE_EXEC, hash, QR_HASH_SZ, buf, sz + QR_REPLAY_STATES_SZ);
    erase(w, QR_STORE_BLOCK, place, QR_PLACE_SZ);
    erase(w, QR_STORE_UNDO, place, QR_PLACE_SZ);
    erase(w, QR_STORE_EXEC, place, QR_PLACE_SZ);
    erase(w, QR_STORE_REPLAY, place, QR_PLACE_SZ);
  }
}

static void make_schema_1(const world_node_t *n) {
  qr_writer_t w = {.store_ops = n->store_ops, .store = n->store};
  uint8_t version[4];
  blocks_by_hash(n, &w);
  list(n, QR_STORE_INDEX);
  for (uint32_t i = 0; i < keys.cnt; i++) {
    load(n, QR_STORE_INDEX, keys.keys[i], QR_HEIGHT_KEY_SZ, buf);
    put(&w, QR_STORE_INDEX, keys.keys[i], QR_HEIGHT_KEY_SZ, buf, QR_HASH_SZ);
  }
  list(n, QR_STORE_MODEL);
  for (uint32_t i = 0; i < keys.cnt; i++) {
    if (keys.key_sz[i] == QR_MODEL_USE_KEY_SZ)
      erase(&w, QR_STORE_MODEL, keys.keys[i], keys.key_sz[i]);
  }
  erase(&w, QR_STORE_META, QR_META_PARAMS, strlen(QR_META_PARAMS));
  qr_st32(version, 1);
  put(&w, QR_STORE_META, QR_META_SCHEMA, strlen(QR_META_SCHEMA), version, sizeof version);
  assert_int_equal(qr_writer_commit(&w), 0);
  qr_writer_fini(&w);
}

static uint32_t version_of(const world_node_t *n) {
  assert_int_equal(load(n, QR_STORE_META, QR_META_SCHEMA, strlen(QR_META_SCHEMA), buf), 4);
  return qr_ld32(buf);
}

static int migrate(const world_node_t *n) {
  char why[512];
  int err = qr_schema_migrate(n->store_ops, n->store, why, sizeof why);
  if (err) assert_non_null(strstr(why, "it goes on where it stopped"));
  return err;
}

static void reopen(world_node_t *n) {
  char why[256];
  n->store_ops->close(n->store);
  assert_int_equal(n->store_ops->open(n->store_dir, n->store_options, &n->store, why, sizeof why),
                   0);
}

/* The chain, with a side branch. */
static world_node_t *make_chain(world_t *w, const char *name) {
  qr_params_t p;
  world_params(&p, 3);
  world_init(w, name, &p);
  world_node_t *a = world_add(w, false), *b = world_add(w, false);
  world_mine_to(w, a, HEIGHT - 10, ROUNDS);
  world_until_agree(w, ROUNDS);
  qr_link_mem_group(b->link, 1);
  world_mine_to(w, a, HEIGHT - 6, ROUNDS);
  world_mine_to(w, b, HEIGHT, ROUNDS);
  qr_link_mem_heal(b->link);
  world_until_agree(w, ROUNDS);
  world_rounds(w, 3000); /* what was accepted last is on the disk */
  assert_true(audit_sound(w, a).side_cnt >= 4);
  return a;
}

static void check_after(world_t *w, world_node_t *n, const qr_audit_result_t *before,
                        const qr_hash_t *digest) {
  assert_int_equal(version_of(n), QR_STORE_SCHEMA_VERSION);
  qr_audit_result_t r = audit_sound(w, n);
  assert_int_equal(r.block_cnt, before->block_cnt);
  assert_int_equal(r.side_cnt, before->side_cnt);
  assert_int_equal(r.model_cnt, before->model_cnt);
  assert_int_equal(r.segment_cnt, before->segment_cnt);
  qr_hash_t after = qr_chain_tile_state_digest(qr_topology_chain(n->topology));
  assert_memory_equal(&after, digest, sizeof after);
}

static void test_a_node_brings_its_store_over(void **state) {
  (void)state;
  static world_t w;
  world_node_t *a = make_chain(&w, "schema");
  qr_audit_result_t before = audit_sound(&w, a);
  qr_hash_t digest = qr_chain_tile_state_digest(qr_topology_chain(a->topology));
  make_schema_1(a);
  assert_int_equal(version_of(a), 1);
  world_restart(&w, a);
  check_after(&w, a, &before, &digest);
  assert_int_equal(audit_sound(&w, a).record_cnt, before.record_cnt);
  world_mine_to(&w, a, HEIGHT + 5, ROUNDS);
  world_until_agree(&w, ROUNDS);
  audit_sound(&w, a);
  world_fini(&w);
}

/* Each batch fails once, and is found on the disk or not; then the next start goes on. */
static void test_every_batch_may_fail(void **state) {
  (void)state;
  static world_t w;
  world_node_t *a = make_chain(&w, "schema-fail");
  qr_audit_result_t before = audit_sound(&w, a);
  qr_hash_t digest = qr_chain_tile_state_digest(qr_topology_chain(a->topology));
  qr_topology_fini(a->topology);
  int batch_cnt = 0;
  for (int survives = 0; survives < 2; survives++) {
    make_schema_1(a);
    for (int step = 0;; step++) {
      qr_store_mem_fail(a->store, 1 + (uint64_t)(step % 3), survives);
      int err = migrate(a);
      if (!err && version_of(a) == QR_STORE_SCHEMA_VERSION) break;
      assert_int_equal(err, QR_ERR_IO);
      reopen(a);
      batch_cnt++;
      assert_true(batch_cnt < 100);
    }
    reopen(a);
    assert_int_equal(migrate(a), 0); /* nothing is left to do */
  }
  assert_true(batch_cnt >= 4);
  qr_link_mem_ops.close(a->link);
  qr_accel_driver("cpu")->close(a->accel);
  a->store_ops->close(a->store);
  world_open(&w, a);
  check_after(&w, a, &before, &digest);
  world_fini(&w);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_a_node_brings_its_store_over),
      cmocka_unit_test(test_every_batch_may_fail),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
