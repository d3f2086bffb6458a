/* A node is fed blocks with one flipped bit, in every field of header and body, and blocks that a
   miner forged with all hashes made consistent again: each is rejected with the right verdict, and
   the honest block is still accepted afterwards. */
#include "sim/world.h"
#include "chain/ledger.h"
#include "tile/verify.h"

#define RING_DEPTH 256u

/* A chain tile and a verify tile alone; the test stands where the net tile would. */
typedef struct {
  world_t *w;
  qr_objects_t objects;
  qr_store_t *store;
  qr_accel_t *accel;
  qr_executor_t *verifier, *miner;
  qr_chain_tile_t *chain;
  qr_verify_tile_t *verify;
  qr_ring_t *from_net, *to_net, *orders, *results, *queries, *replies;
  _Atomic bool busy;
  uint32_t peer;
} rig_t;

static qr_ring_t *make_ring(uint32_t item_sz) {
  void *mem = aligned_alloc(QR_CACHE_LINE, qr_ring_footprint(RING_DEPTH, item_sz));
  assert_non_null(mem);
  return qr_ring_init(mem, RING_DEPTH, item_sz);
}

static void rig_init(rig_t *r, world_t *w) {
  char why[256];
  uint32_t progs[QR_TASK_MAX_CNT];
  memset(r, 0, sizeof *r);
  r->w = w;
  qr_objects_cfg_t sizes = qr_objects_default(&w->chain);
  const qr_accel_ops_t *accel = qr_accel_driver("cpu");
  assert_int_equal(qr_objects_init(&r->objects, &w->chain, &sizes), 0);
  assert_int_equal(qr_store_driver("mem")->open("", "", &r->store, why, sizeof why), 0);
  assert_int_equal(accel->open("", &r->accel, why, sizeof why), 0);
  assert_int_equal(qr_executor_load(&w->chain, accel, r->accel, progs), 0);
  assert_int_equal(qr_executor_init(&r->verifier, &w->chain, accel, r->accel, progs), 0);
  assert_int_equal(qr_executor_init(&r->miner, &w->chain, accel, r->accel, progs), 0);
  r->from_net = make_ring(sizeof(qr_inbound_t));
  r->to_net = make_ring(sizeof(qr_outbound_t));
  r->orders = make_ring(sizeof(qr_verify_order_t));
  r->results = make_ring(sizeof(qr_verify_result_t));
  r->queries = make_ring(sizeof(qr_query_t));
  r->replies = make_ring(sizeof(qr_reply_t));
  qr_chain_tile_cfg_t cfg = {.objects = &r->objects,
                             .store_ops = qr_store_driver("mem"),
                             .store = r->store,
                             .clock = &w->clock,
                             .from_net = r->from_net,
                             .to_net = r->to_net,
                             .verify_orders = r->orders,
                             .verify_results = r->results,
                             .queries = r->queries,
                             .replies = r->replies,
                             .accel_name = "cpu"};
  if (qr_chain_tile_init(&cfg, &r->chain, why, sizeof why)) fail_msg("%s", why);
  qr_verify_tile_cfg_t v = {.objects = &r->objects,
                            .executor = r->verifier,
                            .orders = r->orders,
                            .results = r->results,
                            .clock = &w->clock,
                            .busy = &r->busy};
  r->verify = qr_verify_tile_init(&v);
  assert_non_null(r->verify);
}

static void rig_fini(rig_t *r) {
  qr_verify_tile_fini(r->verify);
  qr_chain_tile_fini(r->chain);
  qr_executor_fini(r->verifier);
  qr_executor_fini(r->miner);
  qr_objects_fini(&r->objects);
  qr_accel_driver("cpu")->close(r->accel);
  qr_store_driver("mem")->close(r->store);
  free(r->from_net);
  free(r->to_net);
  free(r->orders);
  free(r->results);
  free(r->queries);
  free(r->replies);
}

static void rig_rounds(rig_t *r, int cnt) {
  for (int i = 0; i < cnt; i++) {
    qr_chain_tile_poll(r->chain, r->w->now_ns);
    qr_verify_tile_poll(r->verify, r->w->now_ns);
    r->w->now_ns += WORLD_ROUND_NS;
  }
}

/* A block as a test holds it: everything that a forger may change. */
typedef struct {
  qr_header_t header;
  uint32_t tx_cnt;
  uint8_t txs[2 * QR_TX_SZ];
  qr_hash_t trace[QR_BLOCK_STEP_MAX_CNT];
  uint8_t actions[QR_BLOCK_ACTION_MAX_CNT];
  uint32_t step_cnt, action_cnt;
  uint8_t model[QR_MODEL_MAX_SZ];
  uint32_t model_sz;
} forged_t;

static qr_body_t body_of(const forged_t *f) {
  return (qr_body_t){.tx_cnt = f->tx_cnt,
                     .txs = f->txs,
                     .step_cnt = (uint16_t)f->step_cnt,
                     .trace = f->trace,
                     .action_cnt = f->action_cnt,
                     .actions = f->actions};
}

/* Makes the header's commitments to the body right again. */
static void reseal(forged_t *f) {
  qr_body_t b = body_of(f);
  f->header.tx_root = qr_body_tx_root(&b);
  f->header.trace_root = qr_body_trace_root(&b);
  f->header.trace_last = f->trace[f->step_cnt - 1];
  f->header.actions_root = qr_body_actions_root(&b);
}

/* Mines the first block honestly: on the genesis models, with the same executor that nodes use. */
static void mine_first(rig_t *r, forged_t *f, const qr_tx_t *txs, uint32_t tx_cnt) {
  const qr_chain_cfg_t *c = &r->w->chain;
  qr_task_genesis_t g;
  assert_int_equal(qr_task_genesis_init(&g, &r->objects, 0), 0);
  static qr_view_t v;
  memset(&v, 0, sizeof v);
  v.cfg = c;
  v.parent = qr_genesis_hash(c);
  v.segment_cnt = g.segment_cnt;
  memcpy(v.segments, g.segments, g.segment_cnt * sizeof g.segments[0]);
  v.target = g.model;
  v.replay_root = g.replay_root;
  memset(f, 0, sizeof *f);
  f->model_sz = c->nets[0].model_sz;
  memcpy(f->model, g.model->bytes, f->model_sz);
  f->model[100] ^= 1; /* not the genesis model: the witness has to be fetched */
  f->tx_cnt = tx_cnt;
  for (uint32_t i = 0; i < tx_cnt; i++) qr_tx_encode(&txs[i], f->txs + i * QR_TX_SZ);
  qr_ledger_t *l = qr_ledger_init();
  for (uint32_t i = 0; i < c->p.premine_cnt; i++) {
    qr_ledger_set(l, &(qr_account_t){c->p.premine[i].to, c->p.premine[i].amount, 0});
  }
  static qr_exec_job_t job;
  memset(&job, 0, sizeof job);
  job.mode = QR_EXEC_MINE;
  job.view = &v;
  job.model_in = f->model;
  qr_model_obj_t *out = qr_objects_model(&r->objects, 0);
  job.model_out = out->bytes;
  job.segment = qr_objects_segment(&r->objects, 0);
  qr_body_t body = body_of(f);
  job.header = (qr_header_t){.version = QR_HEADER_VERSION,
                             .chain_id = c->p.chain_id,
                             .rules = c->rules,
                             .height = 1,
                             .parent = v.parent,
                             .time_ms = c->p.genesis_time_ms + 500,
                             .target = c->p.max_target,
                             .model_in = qr_model_root(&c->nets[0], f->model),
                             .tx_root = qr_body_tx_root(&body),
                             .state_root = qr_ledger_root(l)};
  qr_header_t prefix = job.header;
  for (uint64_t nonce = 0; nonce < 200000 && !job.won; nonce++) {
    job.header = prefix;
    job.header.nonce = nonce;
    qr_executor_start(r->miner, &job);
    while (!job.done) qr_executor_poll(r->miner);
    assert_int_equal(job.err, 0);
  }
  assert_true(job.won);
  f->header = job.header;
  f->step_cnt = c->p.step_cnt;
  f->action_cnt = c->p.segment_rows;
  memcpy(f->trace, job.trace, sizeof f->trace);
  memcpy(f->actions, job.actions, f->action_cnt);
  qr_ledger_fini(l);
  qr_pool_unref(job.segment);
  qr_pool_unref(out);
  qr_task_genesis_fini(&g);
}

/* Offers a block as the net tile would, supplies its model when asked, and returns the verdict (OK:
 * accepted). */
static enum qr_verdict offer(rig_t *r, const forged_t *f) {
  static uint8_t bytes[QR_BLOCK_MAX_SZ];
  qr_body_t body = body_of(f);
  qr_outbound_t out;
  qr_header_encode(&f->header, bytes);
  qr_body_encode(&body, bytes + QR_HEADER_SZ);
  qr_inbound_t in = {.kind = QR_IN_BLOCK, .peer = ++r->peer, .hash = qr_header_hash(&f->header)};
  qr_block_obj_t *b = qr_objects_block(&r->objects);
  assert_non_null(b);
  b->peer = in.peer;
  in.verdict = qr_block_obj_decode(b, bytes, QR_HEADER_SZ + qr_body_sz(&body));
  if (in.verdict)
    qr_pool_unref(b);
  else
    in.block = b;
  while (qr_ring_pop(r->to_net, &out)) {
  }
  assert_true(qr_ring_push(r->from_net, &in));
  for (int i = 0; i < 5000; i++) {
    rig_rounds(r, 1);
    while (qr_ring_pop(r->to_net, &out)) {
      if (out.kind == QR_OUT_REJECTED && out.peer == in.peer) return out.verdict;
      if (out.kind == QR_OUT_ACCEPTED && qr_hash_eq(&out.hash, &in.hash)) return QR_VERDICT_OK;
      if (out.kind != QR_OUT_FETCH_MODEL) continue;
      qr_model_obj_t *m = qr_objects_model(&r->objects, 0);
      memcpy(m->bytes, f->model, f->model_sz);
      m->sz = f->model_sz;
      qr_inbound_t answer = {
          .kind = QR_IN_MODEL, .peer = in.peer, .model = m, .hash = out.hash, .root = out.root};
      assert_true(qr_ring_push(r->from_net, &answer));
    }
  }
  fail_msg("no verdict");
  return QR_VERDICT_CNT;
}

#define FIELD(f) #f, offsetof(forged_t, header.f), sizeof(((qr_header_t *)0)->f)

typedef struct {
  const char *name;
  size_t off, sz;
  enum qr_verdict easy; /* on a chain where every ticket wins */
  enum qr_verdict hard; /* on a chain where one ticket in 512 wins */
} field_case_t;

/* A changed prefix changes sigma, so where tickets are scarce it has lost its ticket before
 * anything else is looked at. */
static const field_case_t fields[] = {
    {FIELD(version), QR_VERDICT_VERSION, QR_VERDICT_VERSION},
    {FIELD(chain_id), QR_VERDICT_CHAIN, QR_VERDICT_CHAIN},
    {FIELD(rules), QR_VERDICT_CHAIN, QR_VERDICT_CHAIN},
    {FIELD(height), QR_VERDICT_HEIGHT, QR_VERDICT_HEIGHT},
    {FIELD(parent), QR_VERDICT_PARENT_UNKNOWN, QR_VERDICT_PARENT_UNKNOWN},
    {FIELD(time_ms), QR_VERDICT_TRACE, QR_VERDICT_TICKET},
    {FIELD(target), QR_VERDICT_TARGET, QR_VERDICT_TARGET},
    {FIELD(task), QR_VERDICT_TASK, QR_VERDICT_TASK},
    {FIELD(miner), QR_VERDICT_TRACE, QR_VERDICT_TICKET},
    {FIELD(model_in), QR_VERDICT_WITNESS_ROOT, QR_VERDICT_TICKET},
    {FIELD(tx_root), QR_VERDICT_TX_ROOT, QR_VERDICT_TICKET},
    {FIELD(state_root), QR_VERDICT_STATE_ROOT, QR_VERDICT_TICKET},
    {FIELD(nonce), QR_VERDICT_TRACE, QR_VERDICT_TICKET},
    {FIELD(model_out), QR_VERDICT_MODEL_OUT, QR_VERDICT_TICKET},
    {FIELD(trace_last), QR_VERDICT_TRACE_ROOT, QR_VERDICT_TICKET},
    {FIELD(trace_root), QR_VERDICT_TRACE_ROOT, QR_VERDICT_TRACE_ROOT},
    {FIELD(actions_root), QR_VERDICT_ACTIONS_ROOT, QR_VERDICT_ACTIONS_ROOT},
    {FIELD(reward), QR_VERDICT_REWARD, QR_VERDICT_REWARD},
    {FIELD(env_root), QR_VERDICT_ENV_ROOT, QR_VERDICT_ENV_ROOT},
    {FIELD(replay_root), QR_VERDICT_REPLAY_ROOT, QR_VERDICT_REPLAY_ROOT},
};

/* Bits of one byte of a field: all of a header's bits would be 3456 executions for no new
 * information. */
static const struct {
  size_t byte;
  unsigned bit;
} picks[] = {{0, 0}, {0, 7}, {1, 3}, {SIZE_MAX, 1}};

static void flip_every_field(rig_t *r, const forged_t *honest, bool hard, bool seen) {
  static forged_t f;
  for (size_t i = 0; i < QR_ARRAY_CNT(fields); i++) {
    for (size_t k = 0; k < QR_ARRAY_CNT(picks); k++) {
      f = *honest;
      unsigned bit =
          seen ? (picks[k].bit + 2) % 8 : picks[k].bit; /* a header once refuted stays refuted */
      size_t byte = picks[k].byte == SIZE_MAX ? fields[i].sz / 2 : picks[k].byte % fields[i].sz;
      ((uint8_t *)&f)[fields[i].off + byte] ^= (uint8_t)(1u << bit);
      enum qr_verdict v = offer(r, &f), want = hard ? fields[i].hard : fields[i].easy;
      /* Far from the honest time other time rules speak first. */
      if (!strcmp(fields[i].name, "time_ms") &&
          (v == QR_VERDICT_TIME || v == QR_VERDICT_TIME_AHEAD))
        continue;
      /* Once the honest twin was executed, its result contradicts the copy without execution. */
      if (v != want) {
        fail_msg("%s byte %zu bit %u: %s instead of %s (%s)", fields[i].name, byte, bit,
                 qr_verdict_str(v), qr_verdict_str(want),
                 seen ? "after the honest block" : "before it");
      }
    }
  }
}

static void rig_world(world_t *w, const char *name, unsigned win_shift) {
  qr_params_t p;
  world_params(&p, win_shift);
  uint8_t seed[32] = {9};
  qr_key_t k;
  qr_key_from_seed(seed, &k);
  p.premine_cnt = 1;
  p.premine[0].to = k.pk;
  p.premine[0].amount = 1000;
  world_init(w, name, &p);
}

static void test_flipped_bits(void **state) {
  (void)state;
  static world_t w;
  static rig_t r;
  static forged_t honest;
  for (int hard = 0; hard < 2; hard++) {
    rig_world(&w, "flip", hard ? 9 : 0);
    rig_init(&r, &w);
    mine_first(&r, &honest, NULL, 0);
    flip_every_field(&r, &honest, hard, false);
    assert_int_equal(offer(&r, &honest), QR_VERDICT_OK);
    assert_int_equal(offer(&r, &honest), QR_VERDICT_DUPLICATE);
    flip_every_field(&r, &honest, hard, true);
    assert_int_equal(qr_chain_tile_tip(r.chain)->header.height, 1);
    rig_fini(&r);
  }
}

static void test_flipped_body(void **state) {
  (void)state;
  static world_t w;
  static rig_t r;
  static forged_t honest, f;
  rig_world(&w, "body", 0);
  rig_init(&r, &w);
  mine_first(&r, &honest, NULL, 0);
  f = honest;
  f.trace[0].b[3] ^= 4;
  assert_int_equal(offer(&r, &f), QR_VERDICT_TRACE_ROOT);
  f = honest;
  f.actions[5] ^= 1;
  assert_int_equal(offer(&r, &f), QR_VERDICT_ACTIONS_ROOT);
  f = honest;
  f.tx_cnt = 1;
  assert_int_equal(offer(&r, &f), QR_VERDICT_TX_ROOT);
  f = honest;
  f.step_cnt = 1;
  assert_int_equal(offer(&r, &f), QR_VERDICT_SIZE);
  f = honest;
  f.action_cnt -= 16;
  assert_int_equal(offer(&r, &f), QR_VERDICT_SIZE);
  f = honest;
  f.model[7] ^= 1;
  assert_int_equal(offer(&r, &f), QR_VERDICT_WITNESS_ROOT);
  assert_int_equal(offer(&r, &honest), QR_VERDICT_OK);
  rig_fini(&r);
}

/* Forgeries whose commitments are all right, so that only execution can tell. */
static void test_forged_execution(void **state) {
  (void)state;
  static world_t w;
  static rig_t r;
  static forged_t honest, f;
  rig_world(&w, "forge", 0);
  rig_init(&r, &w);
  mine_first(&r, &honest, NULL, 0);
  for (uint32_t k = 0; k < honest.step_cnt; k++) {
    f = honest;
    f.trace[k].b[0] ^= 1;
    reseal(&f);
    assert_int_equal(offer(&r, &f), QR_VERDICT_TRACE);
  }
  f = honest;
  f.actions[f.action_cnt - 1] = (uint8_t)((f.actions[f.action_cnt - 1] + 1) % 3);
  reseal(&f);
  assert_int_equal(offer(&r, &f), QR_VERDICT_ACTIONS);
  f.actions[0] = 3;
  reseal(&f);
  assert_int_equal(offer(&r, &f), QR_VERDICT_ACTIONS);
  assert_int_equal(offer(&r, &honest), QR_VERDICT_OK);
  rig_fini(&r);
}

static qr_tx_t transfer(uint64_t amount, uint64_t seq, uint64_t chain_id) {
  uint8_t seed[32] = {9};
  qr_key_t k;
  qr_key_from_seed(seed, &k);
  qr_tx_t tx = {.kind = QR_TX_TRANSFER, .from = k.pk, .amount = amount, .fee = 1, .seq = seq};
  tx.to.b[0] = 1;
  qr_hash_t h = qr_tx_sign_hash(&tx, chain_id);
  qr_sign(&k, &h, sizeof h, &tx.sig);
  return tx;
}

static void test_bad_transactions(void **state) {
  (void)state;
  static world_t w;
  static rig_t r;
  static forged_t f;
  rig_world(&w, "tx", 0);
  uint64_t id = w.chain.p.chain_id;
  struct {
    qr_tx_t tx;
    enum qr_verdict want;
  } cases[6] = {
      {transfer(10, 0, id), QR_VERDICT_OK},
      {transfer(10, 1, id), QR_VERDICT_TX_SEQUENCE},
      {transfer(1000, 0, id), QR_VERDICT_TX_BALANCE},
      {transfer(UINT64_MAX, 0, id), QR_VERDICT_TX_BALANCE},
      {transfer(10, 0, id + 1), QR_VERDICT_TX_SIGNATURE},
      {transfer(10, 0, id), QR_VERDICT_TX_SYNTAX},
  };
  cases[5].tx.kind = 77;
  for (size_t i = QR_ARRAY_CNT(cases); i-- > 0;) {
    rig_init(&r, &w);
    mine_first(&r, &f, &cases[i].tx, 1);
    assert_int_equal(offer(&r, &f), cases[i].want);
    assert_int_equal(qr_chain_tile_tip(r.chain)->header.height, cases[i].want ? 0 : 1);
    rig_fini(&r);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_flipped_bits),
      cmocka_unit_test(test_flipped_body),
      cmocka_unit_test(test_forged_execution),
      cmocka_unit_test(test_bad_transactions),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
