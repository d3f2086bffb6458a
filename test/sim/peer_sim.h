/* A network of peer modules in one thread, under one fake clock, over link/mem: each node holds a
   toy chain. A toy block is a real header followed by filler, or by a real body; the toy rules are:
   tx_root names the filler, or is that of the body's transactions, the parent must be known, reward
   0xbad makes it invalid, a model_in that is not zero needs that model's bytes. Work of a block
   is 1. */
#ifndef QR_TEST_PEER_SIM_H
#define QR_TEST_PEER_SIM_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/log.h"
#include "base/philox.h"
#include "crypto/hash.h"
#include "drivers/link/mem/mem.h"
#include "peer/peer.h"

#ifndef SIM_NODE_MAX
#define SIM_NODE_MAX 8
#endif
#ifndef SIM_CONN_MAX
#define SIM_CONN_MAX 16
#endif
#define SIM_BLOCK_MAX 1024
#define SIM_QUEUE_CNT 6 /* small, so that "no room" happens all the time */
#define SIM_MODEL_SZ 150000u
#define SIM_MODEL_MAX_SZ 420000u
#define SIM_MODEL_CNT 2048u
#define SIM_MS 1000000ull
#define SIM_SEC 1000000000ull
#define SIM_BAD 0xbadu
#define SIM_BAD_TX 0xbdu /* the last byte of a transaction that is signed wrongly */

extern const qr_link_ops_t qr_link_mem_ops;

typedef struct {
  qr_hash_t hash, parent, model;
  uint64_t height;
  uint8_t *bytes;
  size_t sz;
} sim_block_t;
typedef struct {
  qr_peer_id_t from;
  sim_block_t block;
  bool waits;
} sim_job_t;
typedef struct {
  qr_peer_id_t peer;
  uint32_t req;
  enum qr_msg_want kind;
  qr_hash_t hash, root;
  qr_hash_t locator[32];
  uint32_t cnt, max;
} sim_want_t;

typedef struct sim_node {
  struct sim *sim;
  uint32_t idx;
  qr_key_t key;
  qr_link_t *link;
  qr_peers_t *peers;
  size_t footprint;
  sim_block_t blocks[SIM_BLOCK_MAX]; /* executed; 0 is genesis */
  uint32_t block_cnt, tip;
  sim_job_t jobs[SIM_QUEUE_CNT];
  uint32_t job_cnt;
  sim_want_t wants[64];
  uint32_t want_cnt;
  bool no_models; /* answers NOT_FOUND to every question for a model */
  bool mute;      /* answers nothing */
  bool no_relay;  /* takes transactions and does not tell of them */
  qr_hash_t tx_seen[64];
  uint32_t tx_cnt;
  uint8_t tx_queue[64][QR_TX_SZ];
  qr_peer_id_t tx_from[64];
  uint32_t tx_queue_cnt;
  uint32_t up_cnt, down_cnt, model_cnt, model_failed_cnt, full_cnt, parent_unknown_cnt,
      rejected_cnt, header_cnt;
  uint64_t model_at; /* when the last model came */
  uint64_t exec_ms;  /* one job in so many */
  const char *last_down;
  const uint8_t *snapshot; /* what it offers */
  uint64_t snapshot_sz;
} sim_node_t;

typedef struct sim {
  uint64_t now, seed;
  uint32_t node_cnt;
  sim_node_t *nodes[SIM_NODE_MAX];
  qr_hasher_t trace;
  uint64_t event_cnt;
  char hub[32];
  const char *link; /* options of the links made from now on */
  bool late_models; /* of the nodes made from now on */
} sim_t;

/* ---- toy blocks ---- */

static qr_hash_t sim_genesis(void) { return qr_hash("toy.genesis", NULL, 0); }

/* Models by their roots; the bytes follow from a nonce. */
static uint32_t sim_model_sz = SIM_MODEL_SZ;
static struct {
  qr_hash_t root;
  uint64_t nonce;
} sim_models[SIM_MODEL_CNT];
static uint32_t sim_model_cnt;

static void sim_model_bytes(uint64_t nonce, uint8_t *out) {
  qr_hash_t key = qr_hash("toy.model", &nonce, sizeof nonce);
  qr_philox_t s = qr_philox_init(&key, 1);
  for (uint32_t i = 0; i < sim_model_sz; i += 16) {
    uint32_t w[4];
    qr_philox_block(&s, i / 16, w);
    memcpy(out + i, w, sim_model_sz - i < 16 ? sim_model_sz - i : 16);
  }
}

static void sim_model(const qr_hash_t *root, uint8_t *out) {
  for (uint32_t i = sim_model_cnt; i-- > 0;) {
    if (!qr_hash_eq(&sim_models[i].root, root)) continue;
    sim_model_bytes(sim_models[i].nonce, out);
    return;
  }
  fail_msg("no such model");
}

static qr_hash_t sim_model_make(uint64_t nonce) {
  static uint8_t bytes[SIM_MODEL_MAX_SZ + 16];
  assert_true(sim_model_cnt < SIM_MODEL_CNT);
  sim_model_bytes(nonce, bytes);
  qr_hash_t root = qr_merkle_root(bytes, sim_model_sz, QR_MSG_CHUNK_SZ);
  sim_models[sim_model_cnt].root = root;
  sim_models[sim_model_cnt++].nonce = nonce;
  return root;
}

static sim_block_t sim_block_make(const qr_hash_t *parent, uint64_t height, uint64_t nonce,
                                  uint32_t reward, bool model, size_t body_sz) {
  sim_block_t b = {.parent = *parent, .height = height, .sz = QR_HEADER_SZ + body_sz};
  if (model) b.model = sim_model_make(nonce);
  qr_header_t h = {.version = 1,
                   .height = height,
                   .parent = *parent,
                   .nonce = nonce,
                   .reward = reward,
                   .model_in = b.model};
  b.bytes = malloc(b.sz);
  memset(b.bytes + QR_HEADER_SZ, (int)(nonce & 0xff), body_sz);
  h.tx_root = qr_hash("toy.body", b.bytes + QR_HEADER_SZ, body_sz);
  qr_header_encode(&h, b.bytes);
  b.hash = qr_header_hash(&h);
  return b;
}

/* One with transactions. */
static inline sim_block_t sim_block_make_txs(const qr_hash_t *parent, uint64_t height,
                                             uint64_t nonce, const uint8_t *txs, uint32_t cnt) {
  static const uint8_t actions[1000];
  qr_body_t body = {.tx_cnt = cnt, .txs = txs, .action_cnt = sizeof actions, .actions = actions};
  sim_block_t b = {.parent = *parent, .height = height, .sz = QR_HEADER_SZ + qr_body_sz(&body)};
  qr_header_t h = {.version = 1, .height = height, .parent = *parent, .nonce = nonce};
  h.tx_root = qr_body_tx_root(&body);
  b.bytes = malloc(b.sz);
  qr_header_encode(&h, b.bytes);
  qr_body_encode(&body, b.bytes + QR_HEADER_SZ);
  b.hash = qr_header_hash(&h);
  return b;
}

static bool sim_body_right(const sim_block_t *b) {
  qr_header_t h;
  qr_body_t body;
  qr_header_decode(b->bytes, &h);
  qr_hash_t root = qr_hash("toy.body", b->bytes + QR_HEADER_SZ, b->sz - QR_HEADER_SZ);
  if (qr_hash_eq(&root, &h.tx_root)) return true;
  if (qr_body_decode(b->bytes + QR_HEADER_SZ, b->sz - QR_HEADER_SZ, &body)) return false;
  root = qr_body_tx_root(&body);
  return qr_hash_eq(&root, &h.tx_root);
}

static sim_block_t sim_block_parse(const uint8_t *bytes, size_t sz) {
  qr_header_t h;
  qr_header_decode(bytes, &h);
  sim_block_t b = {.parent = h.parent, .height = h.height, .sz = sz, .model = h.model_in};
  b.bytes = malloc(sz);
  memcpy(b.bytes, bytes, sz);
  b.hash = qr_header_hash(&h);
  return b;
}

static sim_block_t *sim_find(sim_node_t *n, const qr_hash_t *h) {
  for (uint32_t i = 0; i < n->block_cnt; i++) {
    if (qr_hash_eq(&n->blocks[i].hash, h)) return &n->blocks[i];
  }
  return NULL;
}

/* ---- trace: every callback with its arguments ---- */

static void sim_trace(sim_node_t *n, const char *what, uint64_t a, const void *p, size_t sz) {
  sim_t *s = n->sim;
  s->event_cnt++;
  qr_hash_add_u64(&s->trace, s->now);
  qr_hash_add_u32(&s->trace, n->idx);
  qr_hash_add(&s->trace, what, strlen(what));
  qr_hash_add_u64(&s->trace, a);
  if (sz) qr_hash_add(&s->trace, p, sz);
}

/* ---- the application's callbacks ---- */

static bool sim_on_block(void *ctx, qr_peer_id_t peer, const qr_hash_t *hash, const uint8_t *block,
                         size_t sz) {
  sim_node_t *n = ctx;
  if (n->job_cnt == SIM_QUEUE_CNT) {
    n->full_cnt++;
    return false;
  }
  sim_trace(n, "block", peer, hash->b, 32);
  sim_job_t *j = &n->jobs[n->job_cnt++];
  *j = (sim_job_t){.from = peer, .block = sim_block_parse(block, sz)};
  assert_memory_equal(j->block.hash.b, hash->b, 32);
  return true;
}

static void sim_drop_job(sim_node_t *n, uint32_t i) {
  free(n->jobs[i].block.bytes);
  memmove(&n->jobs[i], &n->jobs[i + 1], (--n->job_cnt - i) * sizeof n->jobs[0]);
}

/* The toy's headers are right if they have a version; what a header alone cannot show is not seen.
 */
static enum qr_verdict sim_on_header(void *ctx, const qr_header_t *parent, const qr_header_t *h) {
  sim_node_t *n = ctx;
  n->header_cnt++;
  assert_int_equal(h->height, parent ? parent->height + 1 : 1);
  return h->version == 1 ? QR_VERDICT_OK : QR_VERDICT_VERSION;
}

static bool sim_on_model(void *ctx, qr_peer_id_t peer, const qr_hash_t *block,
                         const qr_hash_t *root, const uint8_t *model, size_t sz) {
  sim_node_t *n = ctx;
  static uint8_t want[SIM_MODEL_MAX_SZ + 16];
  sim_trace(n, "model", peer, root->b, 32);
  assert_int_equal(sz, sim_model_sz);
  sim_model(root, want);
  assert_memory_equal(model, want, sz);
  n->model_cnt++;
  n->model_at = n->sim->now;
  for (uint32_t i = 0; i < n->job_cnt; i++) {
    if (!qr_hash_eq(&n->jobs[i].block.hash, block)) continue;
    n->jobs[i].waits = false;
    memset(&n->jobs[i].block.model, 0, 32); /* here now */
  }
  return true;
}

static void sim_on_model_failed(void *ctx, qr_peer_id_t peer, const qr_hash_t *block,
                                const qr_hash_t *root) {
  sim_node_t *n = ctx;
  sim_trace(n, "model-failed", peer, root->b, 32);
  n->model_failed_cnt++;
  for (uint32_t i = 0; i < n->job_cnt;) {
    if (qr_hash_eq(&n->jobs[i].block.hash, block))
      sim_drop_job(n, i);
    else
      i++;
  }
}

static bool sim_on_tx(void *ctx, qr_peer_id_t peer, const uint8_t *tx) {
  sim_node_t *n = ctx;
  if (n->tx_queue_cnt == 64) return false;
  sim_trace(n, "tx", peer, tx, QR_TX_SZ);
  n->tx_from[n->tx_queue_cnt] = peer;
  memcpy(n->tx_queue[n->tx_queue_cnt++], tx, QR_TX_SZ);
  return true;
}

static bool sim_on_want(void *ctx, const qr_peer_want_t *w) {
  sim_node_t *n = ctx;
  if (n->want_cnt == 8) return false;
  sim_trace(n, "want", w->req, w->hash.b, 32);
  sim_want_t *t = &n->wants[n->want_cnt++];
  *t = (sim_want_t){.peer = w->peer,
                    .req = w->req,
                    .kind = w->kind,
                    .hash = w->hash,
                    .root = w->root,
                    .cnt = w->locator_cnt,
                    .max = w->max_cnt};
  if (w->locator_cnt) memcpy(t->locator, w->locator, w->locator_cnt * 32);
  return true;
}

static bool sim_on_read(void *ctx, uint64_t offset, uint8_t *out, uint32_t sz) {
  sim_node_t *n = ctx;
  if (!n->snapshot || offset + sz > n->snapshot_sz) return false;
  memcpy(out, n->snapshot + offset, sz);
  return true;
}

static void sim_on_up(void *ctx, qr_peer_id_t peer, const qr_peer_info_t *info) {
  sim_node_t *n = ctx;
  sim_trace(n, "up", peer, info->identity.b, 32);
  n->up_cnt++;
}

static void sim_on_down(void *ctx, qr_peer_id_t peer, const char *reason) {
  sim_node_t *n = ctx;
  sim_trace(n, "down", peer, reason, strlen(reason));
  n->down_cnt++;
  n->last_down = reason;
}

static const qr_peer_app_t sim_app = {sim_on_block,        sim_on_header, sim_on_model,
                                      sim_on_model_failed, sim_on_tx,     sim_on_want,
                                      sim_on_read,         sim_on_up,     sim_on_down};

/* ---- the application's work ---- */

static const sim_block_t *sim_ancestor(sim_node_t *n, const sim_block_t *b, uint64_t height) {
  while (b->height > height) b = sim_find(n, &b->parent);
  return b;
}

static void sim_set_tip(sim_node_t *n, uint32_t tip) {
  qr_hash_t locator[QR_MSG_LOCATOR_MAX_CNT];
  uint32_t cnt = 0;
  n->tip = tip;
  const sim_block_t *b = &n->blocks[tip];
  for (uint64_t h = b->height, step = 1; cnt<31; step *= cnt> 8 ? 2 : 1) {
    locator[cnt++] = sim_ancestor(n, b, h)->hash;
    if (!h) break;
    h = h > step ? h - step : 0;
  }
  qr_u256_t work = qr_u256_from_u64(b->height);
  qr_peers_set_tip(n->peers, &b->hash, b->height, &work, locator, cnt);
}

static void sim_accept(sim_node_t *n, sim_block_t b) {
  assert_true(n->block_cnt < SIM_BLOCK_MAX);
  uint32_t i = n->block_cnt++;
  n->blocks[i] = b;
  sim_trace(n, "accept", b.height, b.hash.b, 32);
  if (b.height > n->blocks[n->tip].height) sim_set_tip(n, i);
  qr_u256_t work = qr_u256_from_u64(b.height);
  qr_header_t h;
  qr_header_decode(b.bytes, &h);
  if (qr_ld64(h.model_in.b)) qr_peers_has_model(n->peers, &h.model_in);
  qr_peers_accepted(n->peers, &b.hash, b.height, &work);
}

static void sim_reject(sim_node_t *n, uint32_t i, enum qr_verdict v) {
  sim_job_t *j = &n->jobs[i];
  sim_trace(n, "reject", v, j->block.hash.b, 32);
  n->rejected_cnt++;
  n->parent_unknown_cnt += v == QR_VERDICT_PARENT_UNKNOWN;
  qr_peers_rejected(n->peers, j->from, &j->block.hash, v);
  sim_drop_job(n, i);
}

/* Judges the first job that does not wait for its model. Descendants of a waiting block wait behind
 * it. */
static void sim_work(sim_node_t *n) {
  for (uint32_t i = 0; i < n->job_cnt; i++) {
    sim_job_t *j = &n->jobs[i];
    if (j->waits) return;
    if (!sim_body_right(&j->block))
      sim_reject(n, i, QR_VERDICT_TX_ROOT);
    else if (qr_ld32(j->block.bytes + 364) == SIM_BAD)
      sim_reject(n, i, QR_VERDICT_REWARD);
    else if (sim_find(n, &j->block.hash))
      sim_reject(n, i, QR_VERDICT_DUPLICATE);
    else if (!sim_find(n, &j->block.parent))
      sim_reject(n, i, QR_VERDICT_PARENT_UNKNOWN);
    else if (qr_ld64(j->block.model.b)) {
      int err =
          qr_peers_fetch_model(n->peers, j->from, &j->block.hash, &j->block.model, sim_model_sz);
      if (err == QR_OK)
        j->waits = true;
      else if (err == QR_ERR_NOTFOUND)
        sim_reject(n, i, QR_VERDICT_WITNESS_MISSING);
    } else {
      sim_block_t b = sim_block_parse(j->block.bytes, j->block.sz);
      sim_drop_job(n, i);
      sim_accept(n, b);
    }
    return;
  }
}

static void sim_answer_headers(sim_node_t *n, const sim_want_t *w) {
  static uint8_t out[QR_MSG_HEADERS_MAX_CNT * QR_HEADER_SZ];
  const sim_block_t *tip = &n->blocks[n->tip], *from = &n->blocks[0];
  for (uint32_t i = 0; i < w->cnt; i++) {
    const sim_block_t *b = sim_find(n, &w->locator[i]);
    if (!b || sim_ancestor(n, tip, b->height) != b) continue;
    from = b;
    break;
  }
  uint32_t max =
      w->max < 100 ? w->max : 100; /* the application may give fewer than were asked for */
  uint64_t first = from->height ? from->height : 1, all = tip->height + 1 - first;
  uint32_t cnt = all > max ? max : (uint32_t)all;
  const sim_block_t *b = cnt ? sim_ancestor(n, tip, first + cnt - 1) : NULL;
  for (uint32_t i = cnt; i-- > 0; b = sim_find(n, &b->parent))
    memcpy(out + (size_t)i * QR_HEADER_SZ, b->bytes, QR_HEADER_SZ);
  qr_peers_answer_headers(n->peers, w->peer, w->req, out, cnt);
}

static void sim_answer(sim_node_t *n) {
  static uint8_t model[SIM_MODEL_MAX_SZ + 16];
  for (uint32_t i = 0; i < n->want_cnt && !n->mute; i++) {
    const sim_want_t *w = &n->wants[i];
    const sim_block_t *b = sim_find(n, &w->hash);
    if (w->kind == QR_MSG_WANT_HEADERS)
      sim_answer_headers(n, w);
    else if (w->kind == QR_MSG_WANT_BLOCK && b)
      qr_peers_answer_block(n->peers, w->peer, w->req, b->bytes, b->sz);
    else if (w->kind == QR_MSG_WANT_MODEL && b && !n->no_models) {
      sim_model(&w->root, model);
      qr_peers_answer_model(n->peers, w->peer, w->req, model, sim_model_sz);
    } else
      qr_peers_not_found(n->peers, w->peer, w->req);
  }
  n->want_cnt = 0;
}

static void sim_relay(sim_node_t *n) {
  for (uint32_t i = 0; i < n->tx_queue_cnt; i++) {
    qr_hash_t id = qr_hash("toy.tx", n->tx_queue[i], QR_TX_SZ);
    for (uint32_t k = 0; k < n->tx_cnt; k++)
      assert_false(qr_hash_eq(&n->tx_seen[k], &id)); /* each comes up once */
    n->tx_seen[n->tx_cnt++] = id;
    if (n->tx_queue[i][QR_TX_SZ - 1] == SIM_BAD_TX) {
      qr_peers_refused_tx(n->peers, n->tx_from[i], n->tx_queue[i], QR_VERDICT_TX_SIGNATURE);
      continue;
    }
    if (!n->no_relay) qr_peers_relay_tx(n->peers, n->tx_from[i], n->tx_queue[i]);
  }
  n->tx_queue_cnt = 0;
}

/* ---- the network ---- */

static void sim_init(sim_t *s, uint64_t seed) {
  static uint32_t hub_cnt;
  memset(s, 0, sizeof *s);
  s->seed = seed;
  s->now = SIM_SEC;
  snprintf(s->hub, sizeof s->hub, "sim%u", hub_cnt++);
  qr_hash_init(&s->trace, "toy.trace");
}

static qr_link_addr_t sim_addr(uint32_t idx) {
  qr_link_addr_t a;
  char text[32];
#ifdef SIM_NET /* the network of a node, "20.%u": for tests in which that counts */
  snprintf(text, sizeof text, SIM_NET ".0.%u", idx, idx + 1);
#else
  snprintf(text, sizeof text, "10.0.0.%u", idx + 1);
#endif
  assert_true(qr_link_addr_parse(text, 4040, &a));
  return a;
}

static qr_link_t *sim_link(sim_t *s, uint32_t idx, qr_key_t *key) {
  uint8_t seed[32] = {(uint8_t)(idx + 1)};
  char options[128], why[200] = "";
  qr_link_t *link = NULL;
  qr_key_from_seed(seed, key);
  snprintf(options, sizeof options, "hub=%s;seed=%llu;%s", s->hub, (unsigned long long)s->seed,
           s->link ? s->link : "delay_us=2000;jitter_us=3000");
  qr_link_cfg_t cfg = {
      .options = options, .local = sim_addr(idx), .identity = key, .conn_max_cnt = SIM_CONN_MAX};
  assert_int_equal(qr_link_mem_ops.open(&cfg, &link, why, sizeof why), QR_OK);
  return link;
}

static qr_peers_cfg_t sim_cfg(sim_node_t *n, const qr_link_addr_t *statics, uint32_t cnt) {
  return (qr_peers_cfg_t){.ops = &qr_link_mem_ops,
                          .link = n->link,
                          .chain_id = 7,
                          .genesis = sim_genesis(),
                          .self = n->key.pk,
                          .listen_port = 4040,
                          .agent = "sim/1",
                          .statics = statics,
                          .static_cnt = cnt,
                          .peer_max_cnt = 8,
                          .late_models = n->sim->late_models,
                          .model_max_sz = sim_model_sz,
                          .seed = n->sim->seed * 100 + n->idx,
                          .app = &sim_app,
                          .ctx = n};
}

static sim_node_t *sim_node_bare(sim_t *s) {
  sim_node_t *n = calloc(1, sizeof *n);
  n->sim = s;
  n->idx = s->node_cnt;
  n->exec_ms = 1;
  n->link = sim_link(s, n->idx, &n->key);
  n->blocks[n->block_cnt++] = (sim_block_t){.hash = sim_genesis()};
  s->nodes[s->node_cnt++] = n;
  return n;
}

static void sim_start(sim_node_t *n, const qr_peers_cfg_t *cfg) {
  n->footprint = qr_peers_footprint(cfg);
  assert_true(n->footprint);
  n->peers = qr_peers_init(aligned_alloc(64, n->footprint), cfg, n->sim->now);
}

/* A node that dials the nodes whose bits are set. */
static inline sim_node_t *sim_node(sim_t *s, uint32_t dials) {
  qr_link_addr_t statics[SIM_NODE_MAX];
  uint32_t cnt = 0;
  sim_node_t *n = sim_node_bare(s);
  for (uint32_t i = 0; i < SIM_NODE_MAX; i++) {
    if (dials & 1u << i) statics[cnt++] = sim_addr(i);
  }
  qr_peers_cfg_t cfg = sim_cfg(n, statics, cnt);
  sim_start(n, &cfg);
  return n;
}

static void sim_step(sim_t *s) {
  s->now += SIM_MS;
  for (uint32_t i = 0; i < s->node_cnt; i++) {
    sim_node_t *n = s->nodes[i];
    if (!n->peers) continue;
    qr_peers_poll(n->peers, s->now);
    sim_answer(n);
    sim_relay(n);
    if (s->now / SIM_MS % n->exec_ms == 0) sim_work(n);
  }
}

static inline void sim_run(sim_t *s, uint64_t ms) {
  for (uint64_t i = 0; i < ms; i++) sim_step(s);
}

static uint64_t sim_height(const sim_node_t *n) { return n->blocks[n->tip].height; }

/* Runs until every node with bits in mask stands at height, at most so many ms; returns how many
 * were needed. */
static inline uint64_t sim_until(sim_t *s, uint32_t mask, uint64_t height, uint64_t limit_ms) {
  for (uint64_t ms = 0; ms < limit_ms; ms++) {
    bool all = true;
    for (uint32_t i = 0; i < s->node_cnt; i++)
      all &= !(mask & 1u << i) || sim_height(s->nodes[i]) == height;
    if (all) return ms;
    sim_step(s);
  }
  for (uint32_t i = 0; i < s->node_cnt; i++) {
    print_message("node %u at %llu\n", i, (unsigned long long)sim_height(s->nodes[i]));
  }
  fail_msg("not all nodes reached height %llu in %llu ms", (unsigned long long)height,
           (unsigned long long)limit_ms);
  return 0;
}

static inline void sim_mine(sim_node_t *n, uint64_t nonce, bool model) {
  const sim_block_t *tip = &n->blocks[n->tip];
  sim_accept(
      n, sim_block_make(&tip->hash, tip->height + 1, nonce, 0, model, 10 + nonce * 7919 % 20000));
}

static inline uint32_t sim_peer_cnt(const sim_node_t *n) {
  return qr_peers_progress(n->peers).peer_cnt;
}

/* Ends a node's sessions and link; its chain stays in memory. */
static inline void sim_stop(sim_node_t *n) {
  qr_peers_fini(n->peers);
  free(n->peers);
  n->peers = NULL;
  qr_link_mem_ops.close(n->link);
  while (n->job_cnt) sim_drop_job(n, 0);
  n->want_cnt = n->tx_queue_cnt = 0;
}

static qr_hash_t sim_end(sim_t *s) {
  qr_hash_t trace;
  for (uint32_t i = 0; i < s->node_cnt; i++) {
    sim_node_t *n = s->nodes[i];
    if (n->peers) qr_peers_fini(n->peers);
    while (n->job_cnt) sim_drop_job(n, 0);
    for (uint32_t k = 0; k < n->block_cnt; k++) free(n->blocks[k].bytes);
    qr_link_mem_ops.close(n->link);
    free(n->peers);
    free(n);
  }
  qr_hash_end(&s->trace, &trace);
  return trace;
}

static int sim_setup(void **state) {
  (void)state;
  qr_log_init(QR_LOG_ERROR, 2);
  return qr_crypto_init();
}

#endif
