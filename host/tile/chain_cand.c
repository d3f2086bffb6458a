#include "tile/chain_int.h"

#include "base/assert.h"
#include "base/err.h"
#include "base/log.h"
#include "chain/body.h"

/* A block whose parent or model has not come by then is forgotten; peers that have it will offer it
 * again. */
#define WAIT_NS 60000000000ull
#define ORDERS_PER_POLL 4

/* A ticket costs a liar a hash, and an execution costs us much more. Between its parent's verdict
 * and its own a peer has so many blocks at most: a sync has one, forks seldom make it two. */
#define BEGUN_MAX_CNT 4u
/* Places that nobody gets who has FEW_CNT already; what is left is enough for a whole sync. */
#define RESERVED_CNT 16u
#define FEW_CNT 4u

static void reject(qr_chain_tile_t *t, uint32_t peer, const qr_hash_t *hash, enum qr_verdict v) {
  if (qr_verdict_is_invalid(v)) {
    char hex[17];
    t->blocks_rejected++;
    qr_log_limited(&t->log, QR_LOG_WARN, "chain", "event=reject hash=%s peer=%u verdict=%s",
                   qr_hex(hex, hash, 8), peer, qr_verdict_str(v));
  }
  qr_chain_out(
      t, &(qr_outbound_t){.kind = QR_OUT_REJECTED, .peer = peer, .hash = *hash, .verdict = v});
}

static void release(qr_cand_t *c) {
  qr_pool_unref(c->block);
  qr_pool_unref(c->model);
  *c = (qr_cand_t){0};
}

static qr_cand_t *find_cand(qr_chain_tile_t *t, const qr_hash_t *hash) {
  for (uint32_t i = 0; i < QR_CAND_MAX_CNT; i++) {
    qr_cand_t *c = &t->cands[i];
    if (c->state && !c->is_query && qr_hash_eq(&c->node->hash, hash)) return c;
  }
  return NULL;
}

/* Candidates that wait for n, one at a time. */
static qr_cand_t *find_child(qr_chain_tile_t *t, const qr_node_t *n) {
  for (uint32_t i = 0; i < QR_CAND_MAX_CNT; i++) {
    if (t->cands[i].state == QR_CAND_PARENT && t->cands[i].node->parent == n) return &t->cands[i];
  }
  return NULL;
}

/* Takes a candidate and all that wait for it out as if they had never come: nobody is to blame. */
static void forget(qr_chain_tile_t *t, qr_cand_t *c, bool tell) {
  qr_node_t *n = c->node;
  qr_cand_t *child;
  while ((child = find_child(t, n))) forget(t, child, true);
  if (tell) reject(t, c->block->peer, &n->hash, QR_VERDICT_WITNESS_MISSING);
  release(c);
  qr_tree_forget(t->tree, n);
}

/* The block is wrong: so is everything that descends from it. */
static void refute(qr_chain_tile_t *t, qr_cand_t *c, enum qr_verdict v) {
  qr_node_t *n = c->node;
  qr_cand_t *child;
  while ((child = find_child(t, n))) refute(t, child, QR_VERDICT_PARENT_INVALID);
  reject(t, c->block->peer, &n->hash, v);
  release(c);
  qr_tree_invalid(t->tree, n);
}

/* Who sent a wrong block is about to lose its connection: what else it sent is not looked at. */
static void condemn(qr_chain_tile_t *t, qr_cand_t *c, enum qr_verdict v) {
  uint32_t peer = c->block->peer;
  refute(t, c, v);
  for (uint32_t i = 0; peer && i < QR_CAND_MAX_CNT; i++) {
    qr_cand_t *o = &t->cands[i];
    bool idle = o->state && o->state != QR_CAND_RUNNING && !o->is_query;
    if (idle && o->block->peer == peer) forget(t, o, true);
  }
}

/* How much of a header execution has settled, as the pipeline runs: a refuted block tells as much
 * as it was executed. */
enum settled { NOTHING, MODEL, SEGMENT, ALL };

static enum settled settled_by(enum qr_verdict v) {
  switch (v) {
  case QR_VERDICT_OK:
  case QR_VERDICT_REWARD: return ALL;
  case QR_VERDICT_ENV_ROOT:
  case QR_VERDICT_REPLAY_ROOT: return SEGMENT;
  case QR_VERDICT_MODEL_OUT:
  case QR_VERDICT_ACTIONS: return MODEL;
  default: return NOTHING;
  }
}

/* What an executed twin with the same prefix says about a header: OK if there is none, or if it
 * settles nothing. */
static enum qr_verdict check_by_sigma(const qr_chain_tile_t *t, const qr_header_t *h) {
  qr_hash_t sigma = qr_header_sigma(h);
  for (uint32_t i = 0; i < QR_SIGMA_MAX_CNT; i++) {
    const qr_header_t *e = &t->by_sigma[i].header;
    uint32_t settled = t->by_sigma[i].settled;
    if (settled == NOTHING || !qr_hash_eq(&t->by_sigma[i].sigma, &sigma)) continue;
    if (!qr_hash_eq(&e->trace_root, &h->trace_root) ||
        !qr_hash_eq(&e->trace_last, &h->trace_last)) {
      return QR_VERDICT_TRACE;
    }
    if (!qr_hash_eq(&e->model_out, &h->model_out)) return QR_VERDICT_MODEL_OUT;
    if (settled < SEGMENT) continue;
    if (!qr_hash_eq(&e->actions_root, &h->actions_root)) return QR_VERDICT_ACTIONS;
    if (!qr_hash_eq(&e->env_root, &h->env_root)) return QR_VERDICT_ENV_ROOT;
    if (!qr_hash_eq(&e->replay_root, &h->replay_root)) return QR_VERDICT_REPLAY_ROOT;
    if (settled == ALL && e->reward != h->reward) return QR_VERDICT_REWARD;
  }
  return QR_VERDICT_OK;
}

static void remember_sigma(qr_chain_tile_t *t, const qr_verify_result_t *r) {
  t->by_sigma[t->sigma_next].sigma = qr_header_sigma(&r->recomputed);
  t->by_sigma[t->sigma_next].header = r->recomputed;
  t->by_sigma[t->sigma_next].settled = settled_by(r->verdict);
  t->sigma_next = (t->sigma_next + 1) % QR_SIGMA_MAX_CNT;
}

static uint32_t begun_cnt(const qr_chain_tile_t *t, uint32_t peer) {
  uint32_t cnt = 0;
  for (uint32_t i = 0; i < QR_CAND_MAX_CNT; i++) {
    const qr_cand_t *c = &t->cands[i];
    cnt += c->state > QR_CAND_PARENT && !c->is_query && c->block->peer == peer;
  }
  return cnt;
}

/* The parent is executed: ledger rules, then the incoming model. */
static void begin(qr_chain_tile_t *t, qr_cand_t *c, uint64_t now_ns) {
  const qr_header_t *h = &c->node->header;
  int err = QR_OK;
  if (c->block->peer && begun_cnt(t, c->block->peer) >= BEGUN_MAX_CNT) {
    forget(t, c, true);
    return;
  }
  enum qr_verdict v = check_by_sigma(t, h);
  if (!v) v = qr_chain_ledger_check(t, c->node, &c->block->body, &err);
  if (v) {
    condemn(t, c, v);
    return;
  }
  if (err) {
    qr_chain_fail(t, "check a block against the ledger", err);
    return;
  }
  c->since_ns = now_ns;
  if (!c->model) {
    qr_model_obj_t *known = qr_chain_find_model(t, &h->model_in);
    if (known && known->task == h->task) c->model = qr_pool_ref(known);
  }
  c->state = c->model ? QR_CAND_READY : QR_CAND_MODEL;
  if (c->state == QR_CAND_READY) return;
  qr_chain_out(t, &(qr_outbound_t){.kind = QR_OUT_FETCH_MODEL,
                                   .peer = c->block->peer,
                                   .hash = c->node->hash,
                                   .root = h->model_in,
                                   .sz = t->chain->nets[h->task].model_sz});
}

static qr_cand_t *free_cand(qr_chain_tile_t *t) {
  for (uint32_t i = 0; i < QR_CAND_MAX_CNT; i++) {
    if (!t->cands[i].state) return &t->cands[i];
  }
  return NULL;
}

/* A place for a block of peer; NULL if there is none, or none for this one. */
static qr_cand_t *place_for(qr_chain_tile_t *t, uint32_t peer) {
  uint32_t own_cnt = 0, free_cnt = 0;
  for (uint32_t i = 0; i < QR_CAND_MAX_CNT; i++) {
    const qr_cand_t *c = &t->cands[i];
    free_cnt += !c->state;
    own_cnt += c->state && !c->is_query && c->block->peer == peer;
  }
  if (own_cnt >= FEW_CNT && free_cnt <= RESERVED_CNT) return NULL;
  return peer && free_cnt <= 1 ? NULL : free_cand(t); /* the last one is for our own miner */
}

static enum qr_verdict admit(qr_chain_tile_t *t, qr_inbound_t *in, qr_cand_t **out) {
  qr_node_t *parent;
  uint64_t wall_ms = t->cfg.clock->wall_ms(t->cfg.clock->ctx);
  if (in->verdict) return in->verdict;
  enum qr_verdict v = qr_tree_check(t->tree, &in->block->header, wall_ms, &parent);
  if (!v) v = qr_body_check(t->chain, &in->block->header, &in->block->body);
  if (v) return v;
  *out = place_for(t, in->peer);
  return *out ? QR_VERDICT_OK : QR_VERDICT_WITNESS_MISSING;
}

void qr_chain_offer(qr_chain_tile_t *t, qr_inbound_t *in, uint64_t now_ns) {
  qr_cand_t *c = NULL;
  enum qr_verdict v = admit(t, in, &c);
  qr_node_t *n = v ? NULL : qr_tree_insert(t->tree, &in->block->header, now_ns);
  if (!n) {
    reject(t, in->peer, &in->hash, v ? v : QR_VERDICT_WITNESS_MISSING);
    qr_pool_unref(in->block);
    qr_pool_unref(in->model);
    return;
  }
  *c = (qr_cand_t){.state = QR_CAND_PARENT,
                   .node = n,
                   .block = in->block,
                   .model = in->model,
                   .since_ns = now_ns,
                   .seq = ++t->cand_seq};
  if (n->parent->state == QR_NODE_EXECUTED) begin(t, c, now_ns);
}

void qr_chain_model(qr_chain_tile_t *t, qr_inbound_t *in, uint64_t now_ns) {
  qr_cand_t *c = find_cand(t, &in->hash);
  if (!c || c->state != QR_CAND_MODEL || c->block->peer != in->peer ||
      !qr_hash_eq(&c->node->header.model_in, &in->root)) {
    qr_pool_unref(in->model);
    return;
  }
  uint32_t task = c->node->header.task;
  in->model->task = task;
  bool right = in->model->sz == t->chain->nets[task].model_sz;
  if (right) {
    in->model->root = qr_model_root(&t->chain->nets[task], in->model->bytes);
    right = qr_hash_eq(&in->model->root, &in->root);
  }
  if (!right) {
    /* The sender is to blame, the block perhaps is not. */
    reject(t, in->peer, &in->hash, QR_VERDICT_WITNESS_ROOT);
    qr_pool_unref(in->model);
    forget(t, c, false);
    return;
  }
  c->model = in->model;
  c->state = QR_CAND_READY;
  c->since_ns = now_ns;
}

void qr_chain_model_failed(qr_chain_tile_t *t, const qr_inbound_t *in) {
  qr_cand_t *c = find_cand(t, &in->hash);
  /* the same block may have come from another peer since, whose model is on its way */
  if (c && c->state == QR_CAND_MODEL && c->block->peer == in->peer) forget(t, c, false);
}

static void conclude(qr_chain_tile_t *t, qr_cand_t *c, qr_verify_result_t *r, uint64_t now_ns) {
  qr_node_t *n = c->node;
  if (r->err) {
    qr_log_limited(&t->log, QR_LOG_ERROR, "chain",
                   "event=execution-failed height=%llu cause=\"%s\"",
                   (unsigned long long)n->header.height, qr_err_str(r->err));
    forget(t, c, true);
    return;
  }
  if (settled_by(r->verdict) != NOTHING) remember_sigma(t, r);
  if (r->verdict) {
    condemn(t, c, r->verdict);
    return;
  }
  if (c->block->peer)
    t->blocks_verified++;
  else
    t->blocks_mined++;
  qr_chain_accept(t, c, r, now_ns);
  release(c);
  qr_cand_t *child;
  while (!t->failed && (child = find_child(t, n))) begin(t, child, now_ns);
}

static void answer_verify(qr_chain_tile_t *t, qr_cand_t *c, const qr_verify_result_t *r) {
  qr_reply_t reply = {.id = c->query_id, .kind = QR_QUERY_VERIFY, .err = r->err};
  const qr_header_t *h = &r->recomputed;
  reply.verify = (qr_reply_verify_t){
      .verdict = r->verdict,
      .hash = c->node->hash,
      .model_out = h->model_out,
      .trace_last = h->trace_last,
      .actions_root = h->actions_root,
      .env_root = h->env_root,
      .replay_root = h->replay_root,
      .reward = h->reward,
      .step_cnt = r->steps_done,
      .exec_ns = r->exec_ns,
  };
  release(c);
  qr_chain_reply(t, &reply);
}

/* One verdict may have to be told of everything that waited for it, and all that begins by it may
 * have a model to ask for. What is owed is never lost. */
static bool has_room(const qr_chain_tile_t *t) {
  const qr_ring_t *out = t->cfg.to_net ? t->cfg.to_net : t->cfg.replies;
  uint32_t need = t->cfg.to_net ? 2 * QR_CAND_MAX_CNT + QR_OUT_ROOM : 2;
  return qr_ring_room(out) >= need;
}

static int take_results(qr_chain_tile_t *t, uint64_t now_ns) {
  int work = 0;
  qr_verify_result_t r;
  while (!t->failed && t->commit_cnt < QR_COMMIT_MAX_CNT && has_room(t) &&
         qr_ring_pop(t->cfg.verify_results, &r)) {
    for (uint32_t i = 0; i < QR_CAND_MAX_CNT; i++) {
      qr_cand_t *c = &t->cands[i];
      if (c->state != QR_CAND_RUNNING || c->seq != r.tag) continue;
      if (c->is_query)
        answer_verify(t, c, &r);
      else
        conclude(t, c, &r, now_ns);
      break;
    }
    qr_pool_unref(r.view);
    qr_pool_unref(r.segment);
    qr_pool_unref(r.model_out);
    work++;
  }
  return work;
}

/* The ready candidate that came first; NULL if none. */
static qr_cand_t *next_ready(qr_chain_tile_t *t) {
  qr_cand_t *first = NULL;
  for (uint32_t i = 0; i < QR_CAND_MAX_CNT; i++) {
    qr_cand_t *c = &t->cands[i];
    if (c->state == QR_CAND_READY && (!first || c->seq < first->seq)) first = c;
  }
  return first;
}

static bool is_running(const qr_chain_tile_t *t) {
  for (uint32_t i = 0; i < QR_CAND_MAX_CNT; i++) {
    if (t->cands[i].state == QR_CAND_RUNNING) return true;
  }
  return false;
}

/* The pools do not hold what c needs. With others in execution that may change; else c must go, for
 * it would stop all behind it. */
static void give_up(qr_chain_tile_t *t, qr_cand_t *c) {
  if (t->failed || is_running(t)) return;
  if (!c->is_query) {
    forget(t, c, true);
    return;
  }
  qr_reply_t reply = {.id = c->query_id, .kind = QR_QUERY_VERIFY, .err = QR_ERR_NOMEM};
  release(c);
  qr_chain_reply(t, &reply);
}

static int give_orders(qr_chain_tile_t *t) {
  int work = 0;
  for (; work < ORDERS_PER_POLL && !t->failed && qr_ring_room(t->cfg.verify_orders); work++) {
    qr_cand_t *c = next_ready(t);
    qr_view_t *v = c ? qr_chain_view(t, c->node->parent, c->node->header.task) : NULL;
    if (!v) {
      if (c) give_up(t, c);
      break;
    }
    qr_verify_order_t o = {.tag = c->seq,
                           .view = v,
                           .block = qr_pool_ref(c->block),
                           .model_in = qr_pool_ref(c->model)};
    bool pushed = qr_ring_push(t->cfg.verify_orders, &o);
    QR_ASSERT(pushed);
    c->state = QR_CAND_RUNNING;
  }
  return work;
}

static void forget_late(qr_chain_tile_t *t, uint64_t now_ns) {
  for (uint32_t i = 0; i < QR_CAND_MAX_CNT; i++) {
    qr_cand_t *c = &t->cands[i];
    bool waits = c->state == QR_CAND_PARENT || c->state == QR_CAND_MODEL;
    if (waits && now_ns - c->since_ns > WAIT_NS) forget(t, c, true);
  }
}

int qr_chain_poll_cands(qr_chain_tile_t *t, uint64_t now_ns) {
  int work = take_results(t, now_ns);
  if (!has_room(t)) return work;
  work += give_orders(t);
  if (!work) forget_late(t, now_ns);
  return work;
}

void qr_chain_cands_drop_all(qr_chain_tile_t *t) {
  qr_verify_result_t r;
  while (qr_ring_pop(t->cfg.verify_results, &r)) {
    qr_pool_unref(r.view);
    qr_pool_unref(r.segment);
    qr_pool_unref(r.model_out);
  }
  for (uint32_t i = 0; i < QR_CAND_MAX_CNT; i++) {
    if (t->cands[i].state) release(&t->cands[i]);
  }
}

bool qr_chain_verify_query(qr_chain_tile_t *t, const qr_query_t *q, uint64_t now_ns, int *err) {
  qr_node_t *tip = qr_tree_tip(t->tree);
  qr_node_t *n =
      q->height && q->height <= tip->header.height ? qr_tree_ancestor(tip, q->height) : NULL;
  qr_cand_t *c = free_cand(t);
  const qr_store_ops_t *store = t->cfg.store_ops;
  *err = n ? QR_ERR_BUSY : QR_ERR_NOTFOUND;
  if (!n || !c) return false;
  qr_block_obj_t *b = qr_objects_block(t->cfg.objects);
  qr_model_obj_t *m = qr_objects_model(t->cfg.objects, n->header.task);
  *err = b && m ? QR_OK : QR_ERR_BUSY;
  int64_t sz = 0;
  if (!*err) {
    sz = store->get(t->cfg.store, QR_STORE_BLOCK, &n->hash, sizeof n->hash, t->io_buf,
                    QR_STORE_VALUE_MAX_SZ);
    if (sz < 0 || qr_block_obj_decode(b, t->io_buf, (size_t)sz))
      *err = sz < 0 ? (int)sz : QR_ERR_CORRUPT;
  }
  if (!*err) {
    sz = store->get(t->cfg.store, QR_STORE_MODEL, &n->header.model_in, 32, m->bytes, m->sz);
    if (sz != (int64_t)m->sz) *err = sz < 0 ? (int)sz : QR_ERR_CORRUPT;
  }
  if (*err) {
    qr_pool_unref(b);
    qr_pool_unref(m);
    return false;
  }
  m->root = n->header.model_in;
  *c = (qr_cand_t){.state = QR_CAND_READY,
                   .node = n,
                   .block = b,
                   .model = m,
                   .since_ns = now_ns,
                   .seq = ++t->cand_seq,
                   .is_query = true,
                   .query_id = q->id};
  return true;
}
