/* A chain tile and a verify tile alone: a test stands where the net tile would, and says what peers
   say. */
#ifndef TEST_SIM_RIG_H
#define TEST_SIM_RIG_H

#include "sim/world.h"
#include "chain/ledger.h"
#include "tile/verify.h"

#define RIG_RING_DEPTH 256u

typedef struct {
  world_t *w;
  qr_objects_t objects;
  qr_store_t *store;
  qr_accel_t *accel;
  qr_executor_t *verifiers[QR_VERIFY_MAX_CNT], *miner;
  qr_chain_tile_t *chain;
  uint32_t verify_cnt;
  qr_verify_tile_t *verify[QR_VERIFY_MAX_CNT];
  qr_ring_t *orders[QR_VERIFY_MAX_CNT], *results[QR_VERIFY_MAX_CNT];
  qr_ring_t *from_net, *to_net, *queries, *replies;
  uint32_t peer;
} rig_t;

static inline qr_ring_t *make_ring(uint32_t item_sz) {
  void *mem = aligned_alloc(QR_CACHE_LINE, qr_ring_footprint(RIG_RING_DEPTH, item_sz));
  assert_non_null(mem);
  return qr_ring_init(mem, RIG_RING_DEPTH, item_sz);
}

static inline void rig_init_with(rig_t *r, world_t *w, uint32_t verify_cnt) {
  char why[256];
  uint32_t progs[QR_TASK_MAX_CNT];
  memset(r, 0, sizeof *r);
  r->w = w;
  r->verify_cnt = verify_cnt;
  qr_objects_cfg_t sizes = qr_objects_default(&w->chain);
  const qr_accel_ops_t *accel = qr_accel_driver("cpu");
  assert_int_equal(qr_objects_init(&r->objects, &w->chain, &sizes), 0);
  assert_int_equal(qr_store_driver("mem")->open("", "", &r->store, why, sizeof why), 0);
  assert_int_equal(accel->open("", &r->accel, why, sizeof why), 0);
  assert_int_equal(qr_executor_load(&w->chain, accel, r->accel, progs), 0);
  assert_int_equal(qr_executor_init(&r->miner, &w->chain, accel, r->accel, progs), 0);
  r->from_net = make_ring(sizeof(qr_inbound_t));
  r->to_net = make_ring(sizeof(qr_outbound_t));
  r->queries = make_ring(sizeof(qr_query_t));
  r->replies = make_ring(sizeof(qr_reply_t));
  qr_chain_tile_cfg_t cfg = {.objects = &r->objects,
                             .store_ops = qr_store_driver("mem"),
                             .store = &r->store,
                             .store_dir = "",
                             .store_options = "",
                             .clock = &w->clock,
                             .from_net = r->from_net,
                             .to_net = r->to_net,
                             .verify_cnt = verify_cnt,
                             .queries = r->queries,
                             .replies = r->replies,
                             .accel_name = "cpu",
                             .mempool = {.max_cnt = 100}};
  for (uint32_t i = 0; i < verify_cnt; i++) {
    assert_int_equal(qr_executor_init(&r->verifiers[i], &w->chain, accel, r->accel, progs), 0);
    r->orders[i] = cfg.verify_orders[i] = make_ring(sizeof(qr_verify_order_t));
    r->results[i] = cfg.verify_results[i] = make_ring(sizeof(qr_verify_result_t));
    qr_verify_tile_cfg_t v = {.objects = &r->objects,
                              .executor = r->verifiers[i],
                              .orders = r->orders[i],
                              .results = r->results[i],
                              .clock = &w->clock};
    r->verify[i] = qr_verify_tile_init(&v);
    assert_non_null(r->verify[i]);
  }
  if (qr_chain_tile_init(&cfg, &r->chain, why, sizeof why)) fail_msg("%s", why);
}

static inline void rig_init(rig_t *r, world_t *w) { rig_init_with(r, w, 1); }

static inline void rig_fini(rig_t *r) {
  for (uint32_t i = 0; i < r->verify_cnt; i++) qr_verify_tile_fini(r->verify[i]);
  qr_chain_tile_fini(r->chain);
  for (uint32_t i = 0; i < r->verify_cnt; i++) {
    qr_executor_fini(r->verifiers[i]);
    free(r->orders[i]);
    free(r->results[i]);
  }
  qr_executor_fini(r->miner);
  qr_objects_fini(&r->objects);
  qr_accel_driver("cpu")->close(r->accel);
  qr_store_driver("mem")->close(r->store);
  free(r->from_net);
  free(r->to_net);
  free(r->queries);
  free(r->replies);
}

static inline void rig_rounds(rig_t *r, int cnt) {
  for (int i = 0; i < cnt; i++) {
    qr_chain_tile_poll(r->chain, r->w->now_ns);
    for (uint32_t k = 0; k < r->verify_cnt; k++) qr_verify_tile_poll(r->verify[k], r->w->now_ns);
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

static inline qr_body_t body_of(const forged_t *f) {
  return (qr_body_t){.tx_cnt = f->tx_cnt,
                     .txs = f->txs,
                     .step_cnt = (uint16_t)f->step_cnt,
                     .trace = f->trace,
                     .action_cnt = f->action_cnt,
                     .actions = f->actions};
}

/* Makes the header's commitments to the body right again. */
static inline void reseal(forged_t *f) {
  qr_body_t b = body_of(f);
  f->header.tx_root = qr_body_tx_root(&b);
  f->header.trace_root = qr_body_trace_root(&b);
  f->header.trace_last = f->trace[f->step_cnt - 1];
  f->header.actions_root = qr_body_actions_root(&b);
}

/* Mines the first block honestly: on the genesis models, with the same executor that nodes use. */
static inline void mine_first(rig_t *r, forged_t *f, const qr_tx_t *txs, uint32_t tx_cnt) {
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

/* Puts a block into the ring as the net tile would, without waiting for anything. */
static inline void rig_push(rig_t *r, const forged_t *f, uint32_t peer) {
  static uint8_t bytes[QR_BLOCK_MAX_SZ];
  qr_body_t body = body_of(f);
  qr_header_encode(&f->header, bytes);
  qr_body_encode(&body, bytes + QR_HEADER_SZ);
  qr_inbound_t in = {.kind = QR_IN_BLOCK, .peer = peer, .hash = qr_header_hash(&f->header)};
  qr_block_obj_t *b = qr_objects_block(&r->objects);
  assert_non_null(b);
  b->peer = in.peer;
  in.verdict = qr_block_obj_decode(b, bytes, QR_HEADER_SZ + qr_body_sz(&body));
  if (in.verdict)
    qr_pool_unref(b);
  else
    in.block = b;
  assert_true(qr_ring_push(r->from_net, &in));
}

static inline void rig_push_model(rig_t *r, const forged_t *f, uint32_t peer) {
  qr_model_obj_t *m = qr_objects_model(&r->objects, 0);
  assert_non_null(m);
  memcpy(m->bytes, f->model, f->model_sz);
  m->sz = f->model_sz;
  qr_inbound_t answer = {.kind = QR_IN_MODEL,
                         .peer = peer,
                         .model = m,
                         .hash = qr_header_hash(&f->header),
                         .root = f->header.model_in};
  assert_true(qr_ring_push(r->from_net, &answer));
}

/* Supplies the block's model when asked, and returns the verdict (OK: accepted). */
static inline enum qr_verdict rig_verdict(rig_t *r, const forged_t *f, uint32_t peer) {
  qr_hash_t hash = qr_header_hash(&f->header);
  qr_outbound_t out;
  for (int i = 0; i < 5000; i++) {
    rig_rounds(r, 1);
    while (qr_ring_pop(r->to_net, &out)) {
      if (out.kind == QR_OUT_REJECTED && out.peer == peer && qr_hash_eq(&out.hash, &hash))
        return out.verdict;
      if (out.kind == QR_OUT_ACCEPTED && qr_hash_eq(&out.hash, &hash)) return QR_VERDICT_OK;
      if (out.kind == QR_OUT_FETCH_MODEL && qr_hash_eq(&out.hash, &hash))
        rig_push_model(r, f, peer);
    }
  }
  fail_msg("no verdict");
  return QR_VERDICT_CNT;
}

/* Offers a block as another peer each time. */
static inline enum qr_verdict offer(rig_t *r, const forged_t *f) {
  qr_outbound_t out;
  while (qr_ring_pop(r->to_net, &out)) {
  }
  rig_push(r, f, ++r->peer);
  return rig_verdict(r, f, r->peer);
}

static inline void rig_world(world_t *w, const char *name, unsigned win_shift) {
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

#endif
