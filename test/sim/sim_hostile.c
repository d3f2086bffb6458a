/* What one hostile peer can cost the node that it talks to: neither places, nor executions, nor
   words to others, nor the blocks of honest peers. On the rig every ticket wins, as it does for who
   grinds a ticket instead of training for it. */
#include "sim/rig.h"
#include "tile/net.h"
#include "wire/msg.h"

#define FOE 1000u
#define FRIEND 2000u

static void begin_with(world_t *w, rig_t *r, forged_t *honest, const char *name,
                       uint32_t verify_cnt) {
  rig_world(w, name, 0);
  rig_init_with(r, w, verify_cnt);
  mine_first(r, honest, NULL, 0);
}

static void begin(world_t *w, rig_t *r, forged_t *honest, const char *name) {
  begin_with(w, r, honest, name, 1);
}

/* Makes f a header that may follow it: all that is wrong with it is what it descends from. */
static void follow(const world_t *w, forged_t *f) {
  const qr_params_t *p = &w->chain.p;
  qr_header_t *h = &f->header;
  h->parent = qr_header_hash(h);
  h->target = qr_target_next(p->max_target, p->genesis_time_ms, h->time_ms, h->height, p->block_ms,
                             p->asert_halflife_ms);
  h->height++;
  h->time_ms++;
  h->task = qr_params_task_of(p, h->height);
}

static void drain(rig_t *r, uint32_t by_verdict[QR_VERDICT_CNT]) {
  qr_outbound_t out;
  while (qr_ring_pop(r->to_net, &out)) {
    if (out.kind == QR_OUT_REJECTED) by_verdict[out.verdict]++;
  }
}

/* A peer fills every place with blocks whose models it keeps to itself. */
static void test_crowd(void **state) {
  (void)state;
  static world_t w;
  static rig_t r;
  static forged_t honest, f;
  begin(&w, &r, &honest, "crowd");
  f = honest;
  for (uint32_t i = 0; i < 80; i++) {
    f.header.nonce = honest.header.nonce + 1 + i;
    rig_push(&r, &f, FOE);
    rig_rounds(&r, 2);
  }
  /* a chain of blocks that wait for each other fills no more of them */
  for (uint32_t i = 0; i < 80; i++) {
    follow(&w, &f);
    rig_push(&r, &f, FOE + 1);
    rig_rounds(&r, 2);
  }
  uint32_t ignored[QR_VERDICT_CNT] = {0};
  drain(&r, ignored);
  rig_push(&r, &honest, FRIEND);
  assert_int_equal(rig_verdict(&r, &honest, FRIEND), QR_VERDICT_OK);
  rig_fini(&r);
}

/* A peer brings many blocks whose models it has and whose training it made up: those that are in
   execution when the first is refuted are the last. */
static void test_executions(void **state) {
  (void)state;
  static const uint32_t verify_cnts[] = {1, 4};
  for (size_t k = 0; k < QR_ARRAY_CNT(verify_cnts); k++) {
    static world_t w;
    static rig_t r;
    static forged_t honest, f;
    uint32_t verdicts[QR_VERDICT_CNT] = {0};
    begin_with(&w, &r, &honest, "executions", verify_cnts[k]);
    f = honest;
    for (uint32_t i = 0; i < 20; i++) {
      f.header.nonce = honest.header.nonce + 1 + i;
      rig_push(&r, &f, FOE);
      qr_chain_tile_poll(r.chain, w.now_ns);
      rig_push_model(&r, &f, FOE);
      qr_chain_tile_poll(r.chain, w.now_ns);
    }
    rig_rounds(&r, 3000);
    drain(&r, verdicts);
    assert_in_range(verdicts[QR_VERDICT_TRACE], 1, verify_cnts[k]);
    assert_int_equal(verdicts[QR_VERDICT_TRACE] + verdicts[QR_VERDICT_WITNESS_MISSING], 20);
    assert_int_equal(offer(&r, &honest), QR_VERDICT_OK);
    rig_fini(&r);
  }
}

/* A refuted block takes thirty descendants along while there is hardly room to say so. */
static void test_owed_words(void **state) {
  (void)state;
  static world_t w;
  static rig_t r;
  static forged_t honest, f, child;
  uint32_t verdicts[QR_VERDICT_CNT] = {0};
  qr_outbound_t out;
  begin(&w, &r, &honest, "words");
  f = honest;
  f.header.reward ^= 1;
  rig_push(&r, &f, FOE);
  rig_rounds(&r, 1);
  rig_push_model(&r, &f, FOE);
  for (uint32_t i = 1; i <= 30; i++) {
    child = f;
    follow(&w, &child);
    child.header.nonce = i;
    rig_push(&r, &child, FOE + i);
  }
  qr_chain_tile_poll(r.chain, w.now_ns);
  while (qr_ring_pop(r.to_net, &out)) {
  }
  memset(&out, 0, sizeof out);
  out.kind = QR_OUT_TIP;
  while (qr_ring_room(r.to_net) > 4) assert_true(qr_ring_push(r.to_net, &out));
  rig_rounds(&r, 1000);
  drain(&r, verdicts);
  rig_rounds(&r, 1000);
  drain(&r, verdicts);
  assert_int_equal(verdicts[QR_VERDICT_REWARD], 1);
  assert_int_equal(verdicts[QR_VERDICT_PARENT_INVALID], 30);
  rig_fini(&r);
}

/* What becomes of one peer's model is nothing to the same block of another. */
static void test_anothers_model(void **state) {
  (void)state;
  static world_t w;
  static rig_t r;
  static forged_t honest, f;
  begin(&w, &r, &honest, "another");
  rig_push(&r, &honest, FRIEND);
  rig_rounds(&r, 1);
  qr_inbound_t failed = {.kind = QR_IN_MODEL_FAILED,
                         .peer = FOE,
                         .hash = qr_header_hash(&honest.header),
                         .root = honest.header.model_in};
  assert_true(qr_ring_push(r.from_net, &failed));
  f = honest;
  f.model[3] ^= 1;
  rig_push_model(&r, &f, FOE);
  rig_rounds(&r, 1);
  assert_int_equal(rig_verdict(&r, &honest, FRIEND), QR_VERDICT_OK);
  rig_fini(&r);
}

/* All places are taken, and as many peers as a node has by default each wait for the three blocks
   that fit their streams: none is told that a block is not there. */
static void test_answers_in_a_crowd(void **state) {
  (void)state;
  static world_t w;
  static rig_t r;
  static forged_t honest, f;
  qr_outbound_t out;
  uint32_t answer_cnt = 0;
  begin(&w, &r, &honest, "answers");
  assert_int_equal(offer(&r, &honest), QR_VERDICT_OK);
  f = honest;
  f.header.model_in.b[0] ^= 1; /* not known here: they wait for it */
  for (uint32_t i = 0; i < 63; i++) {
    f.header.nonce = honest.header.nonce + 1 + i;
    rig_push(&r, &f, FOE + i);
    rig_rounds(&r, 1);
  }
  while (qr_ring_pop(r.to_net, &out)) {
  }
  for (uint32_t i = 0; i < 24 * 3; i++) {
    qr_inbound_t want = {.kind = QR_IN_WANT,
                         .peer = FRIEND + i,
                         .want = QR_MSG_WANT_BLOCK,
                         .hash = qr_header_hash(&honest.header)};
    assert_true(qr_ring_push(r.from_net, &want));
  }
  rig_rounds(&r, 10);
  while (qr_ring_pop(r.to_net, &out)) {
    assert_int_equal(out.kind, QR_OUT_ANSWER_BLOCK);
    qr_pool_unref(out.block);
    answer_cnt++;
  }
  assert_int_equal(answer_cnt, 24 * 3);
  rig_fini(&r);
}

/* ---- a net tile among foes; the test stands where the chain tile would ---- */

typedef struct {
  world_t *w;
  qr_net_tile_t *net;
  qr_ring_t *to_chain, *from_chain, *queries, *replies;
  qr_objects_t objects;
  qr_link_t *link;
  qr_key_t key;
  qr_net_stats_t stats;
} lone_t;

typedef struct {
  lone_t *n;
  qr_link_t *link;
  qr_key_t key;
  qr_link_conn_t conn;
  bool up, asked_headers, asked_block;
  uint8_t in[4096];
  size_t sz;
} foe_t;

static qr_link_t *open_link(const world_t *w, uint32_t i, qr_key_t *key) {
  char why[256], options[64];
  uint8_t seed[32] = {(uint8_t)(i + 1), 3};
  qr_link_t *l;
  qr_key_from_seed(seed, key);
  snprintf(options, sizeof options, "hub=%s;delay_us=1000", w->hub);
  qr_link_cfg_t cfg = {.options = options, .identity = key, .conn_max_cnt = 8};
  world_addr(i, &cfg.local);
  if (qr_link_mem_ops.open(&cfg, &l, why, sizeof why)) fail_msg("%s", why);
  return l;
}

static void lone_init(lone_t *n, world_t *w) {
  memset(n, 0, sizeof *n);
  n->w = w;
  qr_objects_cfg_t sizes = qr_objects_default(&w->chain);
  assert_int_equal(qr_objects_init(&n->objects, &w->chain, &sizes), 0);
  n->link = open_link(w, 0, &n->key);
  n->to_chain = make_ring(sizeof(qr_inbound_t));
  n->from_chain = make_ring(sizeof(qr_outbound_t));
  n->queries = make_ring(sizeof(qr_query_t));
  n->replies = make_ring(sizeof(qr_reply_t));
  qr_net_tile_cfg_t cfg = {.objects = &n->objects,
                           .to_chain = n->to_chain,
                           .from_chain = n->from_chain,
                           .queries = n->queries,
                           .replies = n->replies,
                           .stats = &n->stats,
                           .clock = &w->clock,
                           .now_ns = w->now_ns,
                           .peers = {.ops = &qr_link_mem_ops,
                                     .link = n->link,
                                     .chain_id = w->chain.p.chain_id,
                                     .rules = w->chain.rules,
                                     .genesis = qr_genesis_hash(&w->chain),
                                     .self = n->key.pk,
                                     .agent = "lone",
                                     .peer_max_cnt = 4,
                                     .model_max_sz = w->chain.nets[0].model_sz,
                                     .seed = 1}};
  n->net = qr_net_tile_init(&cfg);
  assert_non_null(n->net);
}

static void lone_fini(lone_t *n) {
  qr_inbound_t in;
  qr_net_tile_fini(n->net);
  while (qr_ring_pop(n->to_chain, &in)) {
    qr_pool_unref(in.block);
    qr_pool_unref(in.model);
  }
  qr_link_mem_ops.close(n->link);
  qr_objects_fini(&n->objects);
  free(n->to_chain);
  free(n->from_chain);
  free(n->queries);
  free(n->replies);
}

static void foe_msg(foe_t *f, const qr_msg_t *m) {
  static uint8_t frame[QR_MSG_FRAME_MAX_SZ];
  size_t sz = qr_msg_encode(m, frame);
  enum qr_link_class cls = (enum qr_link_class)qr_msg_class_of(m->type);
  assert_int_equal(qr_link_mem_ops.send(f->link, f->conn, cls, frame, sz), sz);
}

static void foe_poll(foe_t *f) {
  qr_link_event_t ev[16];
  int n = qr_link_mem_ops.poll(f->link, f->n->w->now_ns, ev, 16);
  for (int i = 0; i < n; i++) {
    f->up |= ev[i].kind == QR_LINK_UP;
    if (ev[i].kind != QR_LINK_DATA || ev[i].cls != QR_LINK_CONTROL) continue;
    assert_true(f->sz + ev[i].sz <= sizeof f->in);
    memcpy(f->in + f->sz, ev[i].data, ev[i].sz);
    f->sz += ev[i].sz;
  }
  while (f->sz >= QR_MSG_HEAD_SZ && f->sz >= QR_MSG_HEAD_SZ + qr_ld32(f->in)) {
    size_t sz = QR_MSG_HEAD_SZ + qr_ld32(f->in);
    f->asked_headers |= f->in[4] == QR_MSG_GET_HEADERS;
    f->asked_block |= f->in[4] == QR_MSG_GET_BLOCK;
    f->sz -= sz;
    memmove(f->in, f->in + sz, f->sz);
  }
}

static void foe_run(foe_t *f, uint32_t ms, const bool *until) {
  for (uint32_t i = 0; i < ms && !(until && *until); i++) {
    qr_net_tile_poll(f->n->net, f->n->w->now_ns);
    foe_poll(f);
    f->n->w->now_ns += 1000000u;
  }
  if (until) assert_true(*until);
}

static void foe_join(foe_t *f, lone_t *n, uint32_t i) {
  const qr_chain_cfg_t *c = &n->w->chain;
  qr_link_addr_t to;
  memset(f, 0, sizeof *f);
  f->n = n;
  f->link = open_link(n->w, i, &f->key);
  world_addr(0, &to);
  assert_int_equal(qr_link_mem_ops.connect(f->link, &to, NULL, &f->conn), QR_OK);
  foe_run(f, 1000, &f->up);
  qr_msg_t m = {.type = QR_MSG_HELLO};
  m.hello = (qr_msg_hello_t){.version = QR_MSG_VERSION,
                             .chain_id = c->p.chain_id,
                             .rules = c->rules,
                             .genesis = qr_genesis_hash(c),
                             .height = 100,
                             .work = qr_u256_from_u64(UINT64_MAX)};
  m.hello.tip.b[0] = (uint8_t)i;
  foe_msg(f, &m);
  foe_msg(f, &(qr_msg_t){.type = QR_MSG_READY});
}

/* One that breaks no rule that can be seen by it alone: a ticket is all that a liar has to find. */
static qr_header_t first_header(const qr_chain_cfg_t *c) {
  qr_header_t h = {.version = QR_HEADER_VERSION,
                   .chain_id = c->p.chain_id,
                   .rules = c->rules,
                   .height = 1,
                   .parent = qr_genesis_hash(c),
                   .time_ms = c->p.genesis_time_ms + 1,
                   .task = qr_params_task_of(&c->p, 1)};
  h.target = qr_target_next(c->p.max_target, c->p.genesis_time_ms, c->p.genesis_time_ms, 0,
                            c->p.block_ms, c->p.asert_halflife_ms);
  while (qr_tree_follows(c, NULL, &h, UINT64_MAX)) assert_true(++h.nonce < 100000);
  return h;
}

/* A peer that claims much gets the role of the one to sync from, gives a block, and is gone when
   the block's model is to be asked for. Others must get their turn soon. */
static void test_gone_after_block(void **state) {
  (void)state;
  static world_t w;
  static lone_t n;
  static foe_t foe, other;
  qr_inbound_t in = {0};
  rig_world(&w, "gone", 0);
  lone_init(&n, &w);
  foe_join(&foe, &n, 1);
  foe_run(&foe, 1000, &foe.asked_headers);
  uint8_t block[QR_HEADER_SZ + 10] = {0};
  qr_header_t h = first_header(&w.chain);
  qr_header_encode(&h, block);
  qr_hash_t hash = qr_header_hash(&h);
  foe_msg(&foe, &(qr_msg_t){.type = QR_MSG_HEADERS, .headers = {1, block}});
  foe_run(&foe, 1000, &foe.asked_block);
  foe_msg(&foe, &(qr_msg_t){.type = QR_MSG_BLOCK, .block = {block, sizeof block}});
  foe_run(&foe, 100, NULL);
  assert_true(qr_ring_pop(n.to_chain, &in));
  assert_int_equal(in.kind, QR_IN_BLOCK);
  qr_link_mem_ops.disconnect(foe.link, foe.conn);
  foe_run(&foe, 100, NULL);
  qr_outbound_t fetch = {.kind = QR_OUT_FETCH_MODEL, .peer = in.peer, .hash = hash, .sz = 100};
  assert_true(qr_ring_push(n.from_chain, &fetch));
  qr_pool_unref(in.block);
  foe_join(&other, &n, 2);
  foe_run(&other, 10000, &other.asked_headers);
  assert_true(qr_ring_pop(n.to_chain, &in));
  assert_int_equal(in.kind, QR_IN_MODEL_FAILED);
  qr_link_mem_ops.close(foe.link);
  qr_link_mem_ops.close(other.link);
  lone_fini(&n);
}

/* More models are waited for than there are places: what is to be said meanwhile is said. */
static void test_no_place_for_models(void **state) {
  (void)state;
  static world_t w;
  static lone_t n;
  static foe_t foe;
  rig_world(&w, "places", 0);
  lone_init(&n, &w);
  foe_join(&foe, &n, 1);
  foe_run(&foe, 1000, &foe.asked_headers);
  qr_msg_t get = {.type = QR_MSG_GET_BLOCK};
  foe_msg(&foe, &get);
  foe_run(&foe, 100, NULL);
  qr_inbound_t in;
  assert_true(qr_ring_pop(n.to_chain, &in));
  assert_int_equal(in.kind, QR_IN_WANT);
  for (uint32_t i = 0; i < 100; i++) {
    qr_outbound_t fetch = {.kind = QR_OUT_FETCH_MODEL, .peer = in.peer, .sz = 100};
    qr_st32(fetch.hash.b, i + 1);
    assert_true(qr_ring_push(n.from_chain, &fetch));
  }
  foe_run(&foe, 100, NULL);
  assert_int_equal(qr_ring_cnt(n.from_chain), 0);
  qr_link_mem_ops.close(foe.link);
  lone_fini(&n);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_crowd),
      cmocka_unit_test(test_executions),
      cmocka_unit_test(test_owed_words),
      cmocka_unit_test(test_anothers_model),
      cmocka_unit_test(test_answers_in_a_crowd),
      cmocka_unit_test(test_gone_after_block),
      cmocka_unit_test(test_no_place_for_models),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
