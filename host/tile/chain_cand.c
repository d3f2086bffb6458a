#include "tile/chain_int.h"

#include "base/err.h"
#include "base/log.h"
#include "chain/body.h"

/* A block whose parent or model has not come by then is forgotten; peers that have it will offer it
 * again. */
#define WAIT_NS 60000000000ull

/* So long a verify tile waits for a model out of another's hands before it is fetched instead. */
#define ASK_AHEAD_NS 4000000ull

/* A ticket costs a liar a hash, and an execution costs us much more. So many blocks of a peer have
 * begun and are not yet decided at most: enough for a sync to keep every verify tile busy while the
 * models of the next ones come. */
#define BEGUN_BASE_CNT 2u
#define BEGUN_PER_TILE_CNT 2u
/* Places that nobody gets who has FEW_CNT already; what is left is enough for a whole sync. */
#define RESERVED_CNT 16u
#define FEW_CNT 4u

/* One verdict may have to be told of everything that waited for it, and all that begins by it may
 * have a model to ask for. What is owed is never lost. */
static bool has_room(const qr_chain_tile_t *t) {
  const qr_ring_t *out = t->cfg.to_net ? t->cfg.to_net : t->cfg.replies;
  uint32_t need = t->cfg.to_net ? 2 * QR_CAND_MAX_CNT + QR_OUT_ROOM : 2;
  return qr_ring_room(out) >= need;
}

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

void qr_chain_release(qr_chain_tile_t *t, qr_cand_t *c) {
  if (c->state == QR_CAND_RUNNING) qr_chain_cancel_order(t, c->seq);
  qr_pool_unref(c->block);
  qr_pool_unref(c->model);
  qr_pool_unref(c->view);
  qr_chain_old_branch_free(t, c->old);
  *c = (qr_cand_t){0};
}

static qr_cand_t *find_cand(qr_chain_tile_t *t, const qr_hash_t *hash) {
  for (uint32_t i = 0; i < QR_CAND_MAX_CNT; i++) {
    qr_cand_t *c = &t->cands[i];
    if (c->state && !c->is_query && qr_hash_eq(&c->node->hash, hash)) return c;
  }
  return NULL;
}

/* Candidates that stand on n, one at a time, however far they have come. */
static qr_cand_t *find_child(qr_chain_tile_t *t, const qr_node_t *n) {
  for (uint32_t i = 0; i < QR_CAND_MAX_CNT; i++) {
    qr_cand_t *c = &t->cands[i];
    if (c->state && !c->is_query && c->node->parent == n) return c;
  }
  return NULL;
}

/* The end of a candidate that was not accepted, and of what is known of its block. */
static void drop(qr_chain_tile_t *t, qr_cand_t *c) {
  qr_chain_exec_free(c->node->user);
  c->node->user = NULL;
  qr_chain_release(t, c);
}

/* Takes a candidate and all that stand on it out as if they had never come: nobody is to blame. */
void qr_chain_forget(qr_chain_tile_t *t, qr_cand_t *c, bool tell) {
  qr_node_t *n = c->node;
  qr_cand_t *child;
  while ((child = find_child(t, n))) qr_chain_forget(t, child, true);
  if (tell) reject(t, c->block->peer, &n->hash, QR_VERDICT_WITNESS_MISSING);
  drop(t, c);
  qr_tree_forget(t->tree, n);
}

/* The block is wrong: so is everything that descends from it. */
static void refute(qr_chain_tile_t *t, qr_cand_t *c, enum qr_verdict v) {
  qr_node_t *n = c->node;
  qr_cand_t *child;
  while ((child = find_child(t, n))) refute(t, child, QR_VERDICT_PARENT_INVALID);
  reject(t, c->block->peer, &n->hash, v);
  drop(t, c);
  qr_tree_invalid(t->tree, n);
}

/* Who sent a wrong block is about to lose its connection: what else it sent is not looked at,
   unless it is being executed or has been. */
static void condemn(qr_chain_tile_t *t, qr_cand_t *c, enum qr_verdict v) {
  uint32_t peer = c->block->peer;
  refute(t, c, v);
  for (uint32_t i = 0; peer && i < QR_CAND_MAX_CNT; i++) {
    qr_cand_t *o = &t->cands[i];
    bool idle = o->state && o->state < QR_CAND_RUNNING && !o->is_query;
    if (idle && o->block->peer == peer) qr_chain_forget(t, o, true);
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

enum qr_verdict qr_chain_check_by_sigma(const qr_chain_tile_t *t, const qr_header_t *h) {
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

/* A verdict without execution. Like one with it, it is told only when the parent's is known: a
   block whose parent is wrong is wrong for that. */
void qr_chain_judge(qr_cand_t *c, enum qr_verdict v) {
  c->state = QR_CAND_JUDGED;
  c->result = (qr_verify_result_t){.verdict = v, .recomputed = c->node->header};
}

/* Finds the incoming model in memory, among those of executed blocks or of the blocks in execution
   that c stands on. True if one of the latter will have it once it is trained. */
static bool supply_model(qr_chain_tile_t *t, qr_cand_t *c) {
  const qr_header_t *h = &c->node->header;
  qr_model_obj_t *m = qr_chain_find_model(t, &h->model_in);
  for (const qr_node_t *n = c->node->parent; !m && n->state != QR_NODE_EXECUTED; n = n->parent) {
    const qr_exec_t *e = n->user;
    const qr_cand_t *ancestor = find_cand(t, &n->hash);
    if (qr_hash_eq(&n->header.model_in, &h->model_in)) m = ancestor->model;
    if (m || !qr_hash_eq(&n->header.model_out, &h->model_in)) continue;
    m = e->model_out;
    if (!m && n->header.task == h->task) return true;
  }
  if (!m || m->task != h->task) return false;
  c->model = qr_pool_ref(m);
  c->state = QR_CAND_READY;
  return false;
}

void qr_chain_supply_models(qr_chain_tile_t *t) {
  for (uint32_t i = 0; i < QR_CAND_MAX_CNT; i++) {
    qr_cand_t *c = &t->cands[i];
    if (c->state == QR_CAND_MODEL) (void)supply_model(t, c);
  }
}

static void ask(qr_chain_tile_t *t, qr_cand_t *c, uint64_t now_ns) {
  const qr_header_t *h = &c->node->header;
  c->asked = true;
  c->since_ns = now_ns;
  qr_chain_out(t, &(qr_outbound_t){.kind = QR_OUT_FETCH_MODEL,
                                   .peer = c->block->peer,
                                   .hash = c->node->hash,
                                   .root = h->model_in,
                                   .sz = t->chain->nets[h->task].model_sz});
}

/* A model that comes out of a block in execution costs nothing but time; a tile that has waited for
   some of it is worth the transfer. One for each tile is asked for at a time. */
static void ask_ahead(qr_chain_tile_t *t, uint64_t now_ns) {
  qr_cand_t *first = NULL;
  uint32_t asked_cnt = 0;
  if (!t->stalled_ns || now_ns - t->stalled_ns < ASK_AHEAD_NS || !has_room(t)) return;
  for (uint32_t i = 0; i < QR_CAND_MAX_CNT; i++) {
    qr_cand_t *c = &t->cands[i];
    if (c->state != QR_CAND_MODEL) continue;
    asked_cnt += c->asked;
    if (!c->asked && !c->refused && (!first || c->seq < first->seq)) first = c;
  }
  if (first && asked_cnt < t->cfg.verify_cnt) ask(t, first, now_ns);
}

/* A model that left the memory, as when a branch comes that begins deep. */
static bool load_model(qr_chain_tile_t *t, qr_cand_t *c) {
  const qr_header_t *h = &c->node->header;
  if (qr_chain_read_model(t, h->task, &h->model_in, &c->model)) return false;
  c->state = QR_CAND_READY;
  return true;
}

/* Our own miner's: while it is executed here once more, peers may fetch its model. */
static void offer_model(qr_chain_tile_t *t, const qr_cand_t *c) {
  if (c->block->peer || !c->model || !has_room(t)) return;
  qr_chain_out(t, &(qr_outbound_t){.kind = QR_OUT_OFFER_MODEL,
                                   .block = qr_pool_ref(c->block),
                                   .model = qr_pool_ref(c->model)});
}

/* The parent has begun: ledger rules, then the incoming model. */
static void begin(qr_chain_tile_t *t, qr_cand_t *c, uint64_t now_ns) {
  const qr_header_t *h = &c->node->header;
  int err = QR_OK;
  enum qr_verdict v = qr_chain_check_by_sigma(t, h);
  if (!v) v = qr_chain_begin(t, c->node, &c->block->body, &err);
  if (err) {
    qr_chain_fail(t, "check a block against the ledger", err);
    return;
  }
  if (v) {
    qr_chain_judge(c, v);
    return;
  }
  offer_model(t, c);
  c->state = c->model ? QR_CAND_READY : QR_CAND_MODEL;
  if (c->model || supply_model(t, c) || c->state == QR_CAND_READY || load_model(t, c)) return;
  ask(t, c, now_ns);
}

/* The waiting candidate that came first of those that may begin; NULL if none. */
static qr_cand_t *next_to_begin(qr_chain_tile_t *t) {
  uint32_t begun_max_cnt = BEGUN_BASE_CNT + BEGUN_PER_TILE_CNT * t->cfg.verify_cnt;
  qr_cand_t *first = NULL;
  for (uint32_t i = 0; i < QR_CAND_MAX_CNT; i++) {
    qr_cand_t *c = &t->cands[i];
    if (c->state != QR_CAND_PARENT || !qr_chain_has_begun(c->node->parent)) continue;
    if (first && first->seq < c->seq) continue;
    if (!c->block->peer || begun_cnt(t, c->block->peer) < begun_max_cnt) first = c;
  }
  return first;
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
  if (v == QR_VERDICT_PARENT_UNKNOWN) v = qr_chain_check_old(t, &in->block->header);
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
}

void qr_chain_model(qr_chain_tile_t *t, qr_inbound_t *in, uint64_t now_ns) {
  qr_cand_t *c = find_cand(t, &in->hash);
  if (!c || c->state != QR_CAND_MODEL || !c->asked || c->block->peer != in->peer ||
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
    qr_chain_forget(t, c, false);
    return;
  }
  c->model = in->model;
  c->state = QR_CAND_READY;
  c->since_ns = now_ns;
}

void qr_chain_model_failed(qr_chain_tile_t *t, const qr_inbound_t *in) {
  qr_cand_t *c = find_cand(t, &in->hash);
  /* the same block may have come from another peer since, whose model is on its way */
  if (!c || c->state != QR_CAND_MODEL || !c->asked || c->block->peer != in->peer) return;
  c->asked = false;
  c->refused = true;
  if (!supply_model(t, c) && c->state == QR_CAND_MODEL) qr_chain_forget(t, c, false);
}

/* This block's own verdict is there and its parent is executed, or its execution failed. */
static void conclude(qr_chain_tile_t *t, qr_cand_t *c) {
  const qr_verify_result_t *r = &c->result;
  if (r->err) {
    qr_log_limited(&t->log, QR_LOG_ERROR, "chain",
                   "event=execution-failed height=%llu cause=\"%s\"",
                   (unsigned long long)c->node->header.height, qr_err_str(r->err));
    qr_chain_forget(t, c, true);
    return;
  }
  if (c->view && settled_by(r->verdict) != NOTHING) remember_sigma(t, r);
  if (r->verdict) {
    condemn(t, c, r->verdict);
    return;
  }
  if (c->block->peer)
    t->blocks_verified++;
  else
    t->blocks_mined++;
  qr_chain_accept(t, c);
  qr_chain_release(t, c);
}

static void answer_verify(qr_chain_tile_t *t, qr_cand_t *c) {
  const qr_verify_result_t *r = &c->result;
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
  qr_chain_release(t, c);
  qr_chain_reply(t, &reply);
}

/* The judged candidate that came first of those that can be concluded; NULL if none. */
static qr_cand_t *next_to_conclude(qr_chain_tile_t *t) {
  qr_cand_t *first = NULL;
  bool may_accept = qr_chain_may_accept(t);
  for (uint32_t i = 0; i < QR_CAND_MAX_CNT; i++) {
    qr_cand_t *c = &t->cands[i];
    if (c->state != QR_CAND_JUDGED) continue;
    bool waits = c->node->parent->state != QR_NODE_EXECUTED;
    if (waits && !c->is_query && !c->result.err) continue;
    if (!may_accept && !c->is_query && !c->result.verdict && !c->result.err) continue;
    if (!first || c->seq < first->seq) first = c;
  }
  return first;
}

static int conclude_all(qr_chain_tile_t *t) {
  int work = 0;
  qr_cand_t *c;
  while (!t->failed && has_room(t) && (c = next_to_conclude(t))) {
    if (c->is_query)
      answer_verify(t, c);
    else
      conclude(t, c);
    work++;
  }
  return work;
}

static int begin_all(qr_chain_tile_t *t, uint64_t now_ns) {
  int work = 0;
  qr_cand_t *c;
  while (!t->failed && !t->disk.failed && has_room(t) && (c = next_to_begin(t))) {
    begin(t, c, now_ns);
    work++;
  }
  return work;
}

static void forget_late(qr_chain_tile_t *t, uint64_t now_ns) {
  for (uint32_t i = 0; i < QR_CAND_MAX_CNT; i++) {
    qr_cand_t *c = &t->cands[i];
    bool waits = c->state == QR_CAND_PARENT || (c->state == QR_CAND_MODEL && c->asked);
    if (waits && now_ns - c->since_ns > WAIT_NS) qr_chain_forget(t, c, true);
  }
}

int qr_chain_poll_cands(qr_chain_tile_t *t, uint64_t now_ns) {
  int work = qr_chain_take_news(t);
  work += conclude_all(t);
  work += begin_all(t, now_ns);
  if (!has_room(t)) return work;
  work += qr_chain_give_orders(t);
  if (!work) forget_late(t, now_ns);
  qr_chain_count_wait(t, now_ns);
  bool stalls = t->wait.since_ns && t->wait.what == QR_VERIFY_WAIT_LINE;
  if (!stalls)
    t->stalled_ns = 0;
  else if (!t->stalled_ns)
    t->stalled_ns = now_ns;
  ask_ahead(t, now_ns);
  return work;
}

/* The node at height, with what it stands on. */
static int find_query(qr_chain_tile_t *t, uint64_t height, qr_node_t **n, qr_old_branch_t **old) {
  qr_node_t *tip = qr_tree_tip(t->tree);
  if (!height || height > tip->header.height || !qr_chain_holds_windows(t, height))
    return QR_ERR_NOTFOUND;
  if (qr_chain_in_tree(t, height)) {
    *n = qr_tree_ancestor(tip, height);
    return QR_OK;
  }
  int err = qr_chain_old_branch(t, height, old);
  if (!err) *n = &(*old)->nodes[(*old)->cnt - 1];
  return err;
}

bool qr_chain_verify_query(qr_chain_tile_t *t, const qr_query_t *q, uint64_t now_ns, int *err) {
  qr_node_t *n;
  qr_old_branch_t *old = NULL;
  qr_cand_t *c = free_cand(t);
  *err = find_query(t, q->height, &n, &old);
  if (*err) return false;
  qr_block_obj_t *b = c ? qr_objects_block(t->cfg.objects) : NULL;
  qr_model_obj_t *m = NULL;
  int64_t sz = b ? qr_chain_get_of(t, QR_STORE_BLOCK, n) : QR_ERR_BUSY;
  *err = sz < 0 ? (int)sz : QR_OK;
  if (!*err && qr_block_obj_decode(b, t->io_buf, (size_t)sz)) *err = QR_ERR_CORRUPT;
  if (!*err) *err = qr_chain_read_model(t, n->header.task, &n->header.model_in, &m);
  if (*err == QR_ERR_NOMEM) *err = QR_ERR_BUSY; /* the pools are in use */
  if (*err) {
    qr_pool_unref(b);
    qr_chain_old_branch_free(t, old);
    return false;
  }
  *c = (qr_cand_t){.state = QR_CAND_READY,
                   .node = n,
                   .block = b,
                   .model = m,
                   .since_ns = now_ns,
                   .seq = ++t->cand_seq,
                   .is_query = true,
                   .query_id = q->id,
                   .old = old};
  return true;
}
