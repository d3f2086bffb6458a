/* A node that begins with a snapshot follows the others and agrees with them, though it never saw
   the blocks before; one that was made of anything else is refused. */
#include "base/splitmix.h"
#include "sim/store_audit.h"
#include "tile/snapshot.h"

#define ROUNDS 2000000u
#define REORG_LIMIT 12u
#define PARAMS "params of the test"

typedef struct {
  size_t sz, cap;
  uint8_t *bytes;
} bytes_t;

static char why[512];

static int append(void *ctx, const void *p, size_t sz) {
  bytes_t *b = ctx;
  if (b->sz + sz > b->cap) {
    b->cap = 2 * (b->cap + sz);
    b->bytes = realloc(b->bytes, b->cap);
    assert_non_null(b->bytes);
  }
  memcpy(b->bytes + b->sz, p, sz);
  b->sz += sz;
  return 0;
}

static bool goes_on(void *ctx, uint64_t done, uint64_t total) {
  (void)ctx, (void)done, (void)total;
  return true;
}

static int export(const world_t *w, const world_node_t *n, uint64_t height, bytes_t *out,
                  qr_snapshot_about_t *about) {
  qr_snapshot_export_t cfg = {.ops = n->store_ops,
                              .store = n->store,
                              .chain = &w->chain,
                              .params = PARAMS,
                              .height = height,
                              .write = append,
                              .progress = goes_on,
                              .ctx = out};
  out->sz = 0;
  return qr_snapshot_export(&cfg, about, why, sizeof why);
}

/* Takes a payload into an empty store of that name. */
static int import(const world_t *w, const char *dir, const bytes_t *in, const qr_hash_t *pin,
                  qr_store_t **store) {
  const qr_store_ops_t *ops = qr_store_driver("mem");
  qr_snapshot_reader_t r = {.segment_rows_sz = qr_snapshot_window_sz(&w->chain)};
  qr_snapshot_import_t x = {0};
  qr_snapshot_record_t rec;
  char params[64];
  size_t at = 0;
  int err = ops->open(dir, "keep=1", store, why, sizeof why);
  while (!err && r.last != QR_SNAPSHOT_END) {
    int64_t n = qr_snapshot_next(&r, in->bytes + at, in->sz - at, &rec);
    if (n <= 0) {
      err = QR_ERR_FORMAT;
    } else if (rec.type == QR_SNAPSHOT_ABOUT) {
      qr_snapshot_about_t a = r.about;
      assert_true(a.params_sz < sizeof params);
      memcpy(params, a.params, a.params_sz);
      a.params = params;
      qr_snapshot_import_cfg_t cfg = {.ops = ops,
                                      .store = *store,
                                      .chain = &w->chain,
                                      .accel = qr_accel_driver("cpu"),
                                      .pin = pin,
                                      .wall_ms = world_wall_ms((void *)w)};
      err = qr_snapshot_import_init(&x, &cfg, &a, why, sizeof why);
    } else {
      err = qr_snapshot_import_take(&x, &rec, why, sizeof why);
      /* however long the chain is */
      uint64_t windows = qr_snapshot_window_cnt(&w->chain, UINT64_MAX);
      assert_true(qr_tree_node_cnt(x.tree) <= 2 * (windows + 16) + 2);
    }
    at += n > 0 ? (size_t)n : 0;
  }
  qr_snapshot_import_fini(&x);
  return err;
}

static void drop(const char *dir, qr_store_t *s) {
  if (s) qr_store_driver("mem")->close(s);
  qr_store_mem_forget(dir);
}

/* A further node, whose store is that of a snapshot. */
static world_node_t *add_from(world_t *w, const bytes_t *snapshot) {
  world_node_t *n = world_add(w, false);
  qr_store_t *s = NULL;
  world_close(n);
  qr_store_mem_forget(n->store_dir);
  if (import(w, n->store_dir, snapshot, NULL, &s)) fail_msg("%s", why);
  assert_int_equal(audit_finds(w, n->store_ops, s).find_cnt, 0);
  n->store_ops->close(s);
  world_open(w, n);
  return n;
}

static void test_a_node_goes_on_from_it(void **state) {
  (void)state;
  static world_t w;
  bytes_t a_bytes = {0}, b_bytes = {0};
  qr_snapshot_about_t about, same;
  world_init_small(&w, "snap", REORG_LIMIT);
  world_node_t *a = world_add(&w, true), *b = world_add(&w, true);
  world_until_height(&w, a, 70, ROUNDS);
  world_stop_all(&w);
  world_until_agree(&w, ROUNDS);
  uint64_t tip = world_height(a);
  assert_int_equal(export(&w, a, 0, &a_bytes, &about), 0);
  assert_int_equal(about.height, tip - REORG_LIMIT - 1);
  assert_int_equal(export(&w, b, about.height, &b_bytes, &same), 0);
  assert_int_equal(a_bytes.sz, b_bytes.sz); /* whoever makes it */
  assert_memory_equal(a_bytes.bytes, b_bytes.bytes, a_bytes.sz);
  world_node_t *c = add_from(&w, &a_bytes);
  assert_int_equal(world_height(c), about.height);
  world_until_agree(&w, ROUNDS);
  qr_status_t s = world_status(&w, c);
  assert_int_equal(s.base_height, about.height);
  assert_int_equal(s.blocks_verified, tip - about.height);
  /* it mines, and it starts again */
  world_mine_to(&w, c, tip + 3, ROUNDS);
  world_until_agree(&w, ROUNDS);
  world_restart(&w, c);
  world_until_agree(&w, ROUNDS);
  world_rounds(&w, 3000);
  qr_audit_result_t r = audit_sound(&w, c);
  assert_int_equal(r.held.base, about.height);
  assert_int_equal(r.block_cnt, r.tip.height - about.height);
  free(a_bytes.bytes);
  free(b_bytes.bytes);
  world_fini(&w);
}

/* As deep as the chain permits, but not below where it began. */
static void test_its_base_is_final(void **state) {
  (void)state;
  static world_t w;
  bytes_t bytes = {0};
  qr_snapshot_about_t about;
  world_init_small(&w, "snap-base", REORG_LIMIT);
  world_node_t *a = world_add(&w, false), *b = world_add(&w, false);
  world_mine_to(&w, a, 40, ROUNDS);
  world_until_agree(&w, ROUNDS);
  qr_link_mem_group(a->link, 1);
  world_mine_to(&w, b, 44, ROUNDS);
  assert_int_equal(export(&w, b, 42, &bytes, &about), 0);
  world_node_t *c = add_from(&w, &bytes);
  for (int i = 0; i < 20 && world_height(c) < 44; i++) world_rounds(&w, 20000);
  assert_int_equal(world_height(c), 44);
  world_mine_to(&w, a, 48, ROUNDS); /* more work, from below c's base */
  qr_link_mem_heal(a->link);
  for (int i = 0; i < 60 && world_height(b) < 48; i++) world_rounds(&w, 20000);
  assert_int_equal(world_height(b), 48);
  assert_int_equal(world_height(c), 44);
  assert_int_equal(world_status(&w, c).blocks_rejected, 0); /* too deep is nobody's fault */
  free(bytes.bytes);
  world_fini(&w);
}

/* Its windows go by and by; then it holds what others that prune hold. */
static void test_it_prunes(void **state) {
  (void)state;
  static world_t w;
  bytes_t bytes = {0};
  qr_snapshot_about_t about;
  world_init_small(&w, "snap-prune", REORG_LIMIT);
  world_node_t *a = world_add(&w, false);
  world_mine_to(&w, a, 40, ROUNDS);
  assert_int_equal(export(&w, a, 0, &bytes, &about), 0);
  world_node_t *c = add_from(&w, &bytes);
  uint64_t depth = qr_snapshot_window_cnt(&w.chain, UINT64_MAX) + REORG_LIMIT + 1;
  world_close(c);
  c->config.prune_depth = depth;
  world_open(&w, c);
  for (uint64_t stop = 42; stop <= 90; stop += 16) {
    world_mine_to(&w, a, stop, ROUNDS);
    world_until_agree(&w, ROUNDS);
    world_rounds(&w, 5000);
    audit_sound(&w, c);
    world_restart(&w, c);
  }
  qr_audit_result_t r = audit_sound(&w, c);
  assert_int_equal(r.block_cnt, depth);
  assert_int_equal(r.segment_cnt, depth);
  assert_true(r.model_cnt <= 2 * depth);
  /* and others can begin with it again */
  assert_int_equal(export(&w, c, 0, &bytes, &about), 0);
  world_node_t *d = add_from(&w, &bytes);
  world_until_agree(&w, ROUNDS);
  assert_int_equal(world_status(&w, d).base_height, about.height);
  free(bytes.bytes);
  world_fini(&w);
}

/* Every bit of a snapshot matters: what is changed is refused while it is taken in. (But for the
   facts of execution of blocks that are no longer in a target window.) */
static void test_nothing_else_is_taken(void **state) {
  (void)state;
  static world_t w;
  bytes_t bytes = {0};
  qr_snapshot_about_t about;
  world_init_small(&w, "snap-bad", REORG_LIMIT);
  world_node_t *a = world_add(&w, false);
  world_mine_to(&w, a, 25, ROUNDS);
  assert_int_equal(export(&w, a, 0, &bytes, &about), 0);
  uint32_t window_sz = qr_snapshot_window_sz(&w.chain);
  uint64_t seed = 7;
  int refused = 0;
  for (int i = 0; i < 400; i++) {
    uint64_t lot = qr_splitmix_next(&seed);
    size_t at = (size_t)((lot >> 8) % bytes.sz);
    size_t params_at = QR_SNAPSHOT_RECORD_HEAD_SZ + QR_SNAPSHOT_ABOUT_SZ;
    if (at >= params_at && at < params_at + strlen(PARAMS)) continue;
    bytes.bytes[at] ^= (uint8_t)(1u << (lot & 7));
    qr_store_t *s = NULL;
    int err = import(&w, "snap-bad/x", &bytes, NULL, &s);
    drop("snap-bad/x", s);
    bytes.bytes[at] ^= (uint8_t)(1u << (lot & 7));
    refused += err != 0;
    if (err) continue;
    /* the place in its record, of those that follow headers and accounts */
    size_t first = params_at + strlen(PARAMS) + QR_SNAPSHOT_RECORD_HEAD_SZ +
                   about.header_cnt * QR_HEADER_SZ + QR_SNAPSHOT_RECORD_HEAD_SZ +
                   about.account_cnt * QR_ACCOUNT_SZ;
    assert_true(at >= first);
    size_t in = (at - first) % (QR_SNAPSHOT_RECORD_HEAD_SZ + window_sz);
    assert_true((at - first) / (QR_SNAPSHOT_RECORD_HEAD_SZ + window_sz) <
                about.window_cnt - about.proof_cnt);
    bool fact = in >= QR_SNAPSHOT_RECORD_HEAD_SZ + QR_PLACE_SZ &&
                in < QR_SNAPSHOT_RECORD_HEAD_SZ + QR_PLACE_SZ + QR_EXEC_RECORD_SZ;
    if (!fact) fail_msg("bit %zu was taken", at);
  }
  assert_true(refused > 300);
  free(bytes.bytes);
  world_fini(&w);
}

/* Where the first record of a type begins, without its head; n: so many records further. */
static uint8_t *record_of(const bytes_t *b, enum qr_snapshot_type type, int n) {
  for (size_t at = 0; at < b->sz; at += QR_SNAPSHOT_RECORD_HEAD_SZ + qr_ld32(b->bytes + at + 4)) {
    if (qr_ld32(b->bytes + at) == type && !n--) return b->bytes + at + QR_SNAPSHOT_RECORD_HEAD_SZ;
  }
  fail_msg("no such record");
  return NULL;
}

static void refused(const world_t *w, const bytes_t *b, const qr_hash_t *pin, const char *cause) {
  qr_store_t *s = NULL;
  assert_int_not_equal(import(w, "snap-lie/x", b, pin, &s), 0);
  drop("snap-lie/x", s);
  if (!strstr(why, cause)) fail_msg("%s, not %s", why, cause);
}

/* The state root of accounts as a snapshot has them. */
static qr_hash_t root_of(const uint8_t *accounts, uint64_t cnt) {
  qr_ledger_t *l = qr_ledger_init();
  for (uint64_t i = 0; i < cnt; i++) {
    qr_account_t a;
    qr_account_decode(accounts + i * QR_ACCOUNT_SZ, &a);
    qr_ledger_set(l, &a);
  }
  qr_hash_t root = qr_ledger_root(l);
  qr_ledger_fini(l);
  return root;
}

/* Lies that are consistent in themselves, each with everything changed along that it can change:
   only the pinned header refutes them. b is of a branch of its own from block 20 on. */
static void test_lies(void **state) {
  (void)state;
  static world_t w;
  bytes_t good = {0}, fork = {0}, lie = {0};
  qr_snapshot_about_t about, other;
  world_init_small(&w, "snap-lies", REORG_LIMIT);
  world_node_t *a = world_add(&w, false), *b = world_add(&w, false);
  world_mine_to(&w, a, 20, ROUNDS);
  world_until_agree(&w, ROUNDS);
  qr_link_mem_group(a->link, 1);
  world_mine_to(&w, a, 26, ROUNDS);
  world_mine_to(&w, b, 26, ROUNDS);
  assert_int_equal(export(&w, a, 24, &good, &about), 0);
  assert_int_equal(export(&w, b, 24, &fork, &other), 0);
  qr_store_t *s = NULL;
  assert_int_equal(import(&w, "snap-lie/x", &good, &about.seal, &s), 0);
  drop("snap-lie/x", s);
  /* another branch, as it is and under the pin's name */
  refused(&w, &fork, &about.seal, "another block settles");
  uint8_t *seal_at = record_of(&fork, QR_SNAPSHOT_ABOUT, 0) + 104;
  assert_memory_equal(seal_at, &other.seal, sizeof other.seal);
  memcpy(seal_at, &about.seal, sizeof about.seal);
  refused(&w, &fork, &about.seal, "do not lead to the block");
  /* another state, the accounts alone and with the root that they have */
  lie.sz = good.sz;
  lie.bytes = malloc(lie.sz);
  memcpy(lie.bytes, good.bytes, good.sz);
  uint8_t *accounts = record_of(&lie, QR_SNAPSHOT_ACCOUNTS, 0);
  accounts[32] ^= 1;
  refused(&w, &lie, &about.seal, "do not have the state root");
  qr_hash_t root = root_of(accounts, about.account_cnt);
  memcpy(record_of(&lie, QR_SNAPSHOT_ABOUT, 0) + 40, &root, sizeof root);
  refused(&w, &lie, &about.seal, "claims another state");
  /* the model and the replay of another block */
  memcpy(lie.bytes, good.bytes, good.sz);
  memcpy(record_of(&lie, QR_SNAPSHOT_MODEL, 1) + 8, record_of(&lie, QR_SNAPSHOT_MODEL, 0) + 8,
         w.chain.nets[0].model_sz);
  refused(&w, &lie, &about.seal, "does not have its root");
  memcpy(lie.bytes, good.bytes, good.sz);
  size_t facts_end = QR_PLACE_SZ + QR_EXEC_RECORD_SZ;
  memcpy(record_of(&lie, QR_SNAPSHOT_WINDOW, 2) + facts_end,
         record_of(&lie, QR_SNAPSHOT_WINDOW, 1) + facts_end,
         qr_snapshot_window_sz(&w.chain) - facts_end);
  refused(&w, &lie, &about.seal, "is not the one that its header speaks of");
  free(good.bytes);
  free(fork.bytes);
  free(lie.bytes);
  world_fini(&w);
}

/* Facts of execution, each changed alone: of the blocks in the target window everything is found
   again; of those before it what made one of them a target. */
static void test_false_facts(void **state) {
  (void)state;
  static world_t w;
  bytes_t b = {0};
  qr_snapshot_about_t about;
  world_init_small(&w, "snap-facts", REORG_LIMIT);
  world_node_t *a = world_add(&w, false);
  world_mine_to(&w, a, 40, ROUNDS);
  assert_int_equal(export(&w, a, 30, &b, &about), 0);
  int first = (int)(about.window_cnt - about.proof_cnt), cnt = (int)about.window_cnt;
  uint32_t best = 0;
  int best_at = -1;
  for (int i = 0; i < cnt; i++) {
    uint8_t *facts = record_of(&b, QR_SNAPSHOT_WINDOW, i) + QR_PLACE_SZ;
    static const struct {
      int at;
      uint8_t mask;
    } lies[] = {{4, 1}, {12, 1}, {13, 1}, {21, 1}}; /* as record.h has them */
    for (size_t k = 0; i >= first && k < QR_ARRAY_CNT(lies); k++) {
      facts[lies[k].at] ^= lies[k].mask;
      refused(&w, &b, &about.seal, "does not come to what the snapshot says");
      facts[lies[k].at] ^= lies[k].mask;
    }
    qr_header_t h;
    qr_header_decode(record_of(&b, QR_SNAPSHOT_HEADERS, 0) +
                         (about.height - (uint64_t)(cnt - i)) * QR_HEADER_SZ,
                     &h);
    int tasks = (int)w.chain.p.task_cnt, before = first - i; /* the first that is proved */
    bool eligible = facts[12] && before > 0 && before % tasks == 0 &&
                    before <= tasks * (int)w.chain.p.target_window;
    if (!eligible || (best_at >= 0 && h.reward < best)) continue;
    best = h.reward;
    best_at = i;
  }
  /* the target of the oldest block that is proved */
  assert_true(best_at >= 0);
  record_of(&b, QR_SNAPSHOT_WINDOW, best_at)[QR_PLACE_SZ + 12] ^= 1;
  refused(&w, &b, &about.seal, "does not come to what the snapshot says");
  /* nor if that one's facts are what an attempt with another target finds, which wins nothing */
  char before[sizeof why];
  uint8_t kept[QR_EXEC_RECORD_SZ], *of_first = record_of(&b, QR_SNAPSHOT_WINDOW, first);
  memcpy(before, why, sizeof why);
  memcpy(kept, of_first + QR_PLACE_SZ, sizeof kept);
  qr_exec_facts_t none = {.task = qr_ld32(kept), .eligible = true};
  qr_exec_encode(&none, of_first + QR_PLACE_SZ);
  refused(&w, &b, &about.seal, before);
  memcpy(of_first + QR_PLACE_SZ, kept, sizeof kept);
  record_of(&b, QR_SNAPSHOT_WINDOW, best_at)[QR_PLACE_SZ + 12] ^= 1;
  /* another model than went in */
  memcpy(record_of(&b, QR_SNAPSHOT_PROOF, 1) + 8, record_of(&b, QR_SNAPSHOT_PROOF, 0) + 8,
         w.chain.nets[0].model_sz);
  refused(&w, &b, &about.seal, "does not come to what the snapshot says");
  free(b.bytes);
  world_fini(&w);
}

static void test_heights(void **state) {
  (void)state;
  static world_t w;
  bytes_t bytes = {0};
  qr_snapshot_about_t about;
  world_init_small(&w, "snap-height", REORG_LIMIT);
  world_node_t *a = world_add(&w, false);
  world_mine_to(&w, a, REORG_LIMIT, ROUNDS);
  assert_int_equal(export(&w, a, 0, &bytes, &about), QR_ERR_ARG);
  assert_non_null(strstr(why, "can still be reorganised"));
  assert_int_equal(export(&w, a, REORG_LIMIT + 1, &bytes, &about), QR_ERR_ARG);
  assert_non_null(strstr(why, "heights 1 to 11"));
  assert_int_equal(export(&w, a, 1, &bytes, &about), 0);
  assert_int_equal(about.window_cnt, 1);
  qr_store_t *s = NULL;
  assert_int_equal(import(&w, "snap-height/x", &bytes, &about.seal, &s), 0);
  drop("snap-height/x", s);
  free(bytes.bytes);
  world_fini(&w);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_a_node_goes_on_from_it),
      cmocka_unit_test(test_its_base_is_final),
      cmocka_unit_test(test_it_prunes),
      cmocka_unit_test(test_nothing_else_is_taken),
      cmocka_unit_test(test_lies),
      cmocka_unit_test(test_false_facts),
      cmocka_unit_test(test_heights),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
