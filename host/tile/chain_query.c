#include "tile/chain_int.h"

#include <stdio.h>

#include "base/err.h"

#define QUERIES_PER_POLL 8

void qr_chain_reply(qr_chain_tile_t *t, const qr_reply_t *r) {
  bool pushed = qr_ring_push(t->cfg.replies, r);
  (void)pushed; /* a front end that does not read its replies times its queries out */
}

/* Mean R over the last cnt blocks up to and including the one at height; 0 if the store cannot say.
 */
static uint32_t mean_reward(qr_chain_tile_t *t, uint64_t height, uint64_t cnt) {
  qr_past_sum_t from, to;
  if (!cnt || qr_chain_sum_at(t, height - cnt, &from) || qr_chain_sum_at(t, height, &to)) return 0;
  return (uint32_t)((to.reward_sum - from.reward_sum) / cnt);
}

static void fill_rewards(qr_chain_tile_t *t, uint64_t height, qr_status_t *s) {
  uint64_t tenth = height / 10 ? height / 10 : height ? 1 : 0;
  s->reward_mean = mean_reward(t, height, height);
  s->reward_last = mean_reward(t, height, tenth);
  s->reward_first = mean_reward(t, tenth, tenth);
}

static void fill_tasks(qr_chain_tile_t *t, qr_node_t *tip, qr_status_t *s) {
  const qr_params_t *p = &t->chain->p;
  s->task_cnt = p->task_cnt;
  for (uint32_t i = 0; i < p->task_cnt; i++) {
    qr_status_task_t *out = &s->tasks[i];
    qr_node_t *n = qr_chain_task_tip(tip, i);
    snprintf(out->name, sizeof out->name, "%s", p->tasks[i].name);
    const qr_exec_t *e = n ? qr_chain_exec(t, n) : NULL;
    if (!e) continue;
    out->block_cnt = n->task_idx + 1;
    out->reward_last = n->header.reward;
    out->score_last_q16 = e->facts.model_return / (int64_t)p->eval_rows;
    out->baseline_last_q16 = e->facts.rule_return / (int64_t)p->eval_rows;
    out->td_last_q16 = (int64_t)(e->facts.td_abs_sum / t->chain->nets[i].spec.batch);
  }
}

static void fill_verify(const qr_chain_tile_t *t, qr_status_verify_t *v) {
  v->tile_cnt = t->cfg.verify_cnt;
  memcpy(v->wait_ns, t->wait.sum_ns, sizeof v->wait_ns);
  v->commit_cnt = t->durable_cnt;
  v->commit_ns = t->durable_ns;
  if (!t->cfg.verify_stats) return;
  v->block_cnt = atomic_load(&t->cfg.verify_stats->block_cnt);
  for (uint32_t i = 0; i < QR_EXEC_STAGE_CNT; i++)
    v->stage_ns[i] = atomic_load(&t->cfg.verify_stats->stage_ns[i]);
}

static void fill_pool(const qr_chain_tile_t *t, qr_status_pool_t *out, uint64_t now_ns) {
  qr_mempool_stats_t st;
  qr_mempool_stats(t->mempool, &st);
  *out = (qr_status_pool_t){.cnt = qr_mempool_cnt(t->mempool),
                            .max_cnt = t->cfg.mempool.max_cnt,
                            .fee_floor = qr_mempool_floor(t->mempool, now_ns),
                            .taken = st.taken,
                            .replaced = st.replaced,
                            .evicted = st.evicted,
                            .expired = st.expired,
                            .refused = st.refused,
                            .returned = t->back.returned};
}

static void fill_counters(const qr_chain_tile_t *t, qr_status_t *s) {
  const qr_mine_stats_t *m = t->cfg.mine_stats;
  if (m) {
    s->attempts = atomic_load(&m->attempts);
    s->attempts_cancelled = atomic_load(&m->attempts_cancelled);
    s->steps_done = atomic_load(&m->steps_done);
    s->steps_kept = atomic_load(&m->steps_kept);
    s->mining_ns = atomic_load(&m->mining_ns);
  }
  if (t->cfg.net_stats) {
    s->peer_cnt = atomic_load(&t->cfg.net_stats->peer_cnt);
    s->syncing = atomic_load(&t->cfg.net_stats->syncing);
    s->sync_target = atomic_load(&t->cfg.net_stats->sync_target);
    s->sync_left_s = atomic_load(&t->cfg.net_stats->sync_left_s);
    s->sync_rate_milli = atomic_load(&t->cfg.net_stats->sync_rate_milli);
    s->sync_peer_cnt = atomic_load(&t->cfg.net_stats->sync_peer_cnt);
  }
  fill_verify(t, &s->verify);
  s->blocks_mined = t->blocks_mined;
  s->blocks_verified = t->blocks_verified;
  s->blocks_rejected = t->blocks_rejected;
  s->reorgs = t->reorgs;
  s->reorg_depth_max = t->reorg_depth_max;
  s->mining = t->mining && !t->mine_paused;
  s->writing = qr_chain_writing(t);
  s->commit_failures = t->disk.failure_cnt;
}

static void fill_status(qr_chain_tile_t *t, qr_status_t *s, uint64_t now_ns) {
  qr_node_t *tip = qr_tree_tip(t->tree);
  snprintf(s->chain, sizeof s->chain, "%s", t->chain->p.name);
  snprintf(s->accel, sizeof s->accel, "%s", t->cfg.accel_name);
  qr_hex(s->miner_pk, t->cfg.miner.b, sizeof t->cfg.miner.b);
  s->genesis = qr_tree_genesis(t->tree)->hash;
  s->rules = t->chain->rules;
  s->tip = tip->hash;
  s->tip_model = tip->header.model_out;
  s->state_root = qr_ledger_root(t->ledger);
  s->height = tip->header.height;
  s->tip_time_ms = tip->header.time_ms;
  s->tip_task = tip->header.task;
  s->tip_reward = tip->header.reward;
  s->supply = qr_ledger_supply(t->ledger);
  s->held_from = t->held.from;
  s->base_height = t->held.base;
  s->prune_depth = t->cfg.prune_depth;
  s->uptime_ms = (now_ns - t->start_ns) / 1000000u;
  fill_pool(t, &s->pool, now_ns);
  fill_rewards(t, tip->header.height, s);
  fill_tasks(t, tip, s);
  fill_counters(t, s);
}

static int fill_block(qr_chain_tile_t *t, uint64_t height, qr_reply_block_t *b) {
  uint64_t tip = qr_tree_tip(t->tree)->header.height;
  uint8_t place[QR_PLACE_SZ];
  qr_header_t h;
  qr_past_sum_t sum;
  if (height > tip) return QR_ERR_NOTFOUND;
  int err = qr_chain_header_at(t, height, &b->hash, &h);
  if (!err) err = qr_chain_sum_at(t, height, &sum);
  if (err) return err;
  qr_header_encode(&h, b->header);
  b->confirmations = tip - height + 1;
  snprintf(b->work, sizeof b->work, "%.6g", qr_u256_to_double(&sum.work));
  b->held = height >= t->held.from;
  if (!height || !b->held) return QR_OK;
  qr_place_encode(height, &b->hash, place);
  int64_t sz = qr_chain_get(t, QR_STORE_BLOCK, place, sizeof place);
  qr_body_t body;
  if (sz < (int64_t)QR_HEADER_SZ) return sz < 0 ? (int)sz : QR_ERR_CORRUPT;
  if (qr_body_decode(t->io_buf + QR_HEADER_SZ, (size_t)sz - QR_HEADER_SZ, &body))
    return QR_ERR_CORRUPT;
  b->tx_cnt = body.tx_cnt;
  b->body_sz = (uint32_t)((size_t)sz - QR_HEADER_SZ);
  return QR_OK;
}

/* False if the reply comes later. */
static bool start_backup(qr_chain_tile_t *t, const qr_query_t *q, qr_reply_t *r) {
  qr_store_t *s = *t->cfg.store;
  bool busy = t->copy.running;
  r->err = busy ? QR_ERR_BUSY
           : s  ? qr_store_copy_start(&t->copy, t->cfg.store_ops, s, q->dir)
                : QR_ERR_AGAIN;
  if (!r->err) {
    qr_log(QR_LOG_INFO, "chain", "event=backup dir=%s", q->dir);
    t->copy_query = q->id;
    return false;
  }
  snprintf(r->why, sizeof r->why, "%s",
           busy ? "a backup is being made already"
           : s  ? t->copy.why
                : "the store is not open just now; see the node's log");
  return true;
}

int qr_chain_poll_backup(qr_chain_tile_t *t) {
  if (!qr_ring_room(t->cfg.replies) || !qr_store_copy_poll(&t->copy)) return 0;
  qr_reply_t r = {.id = t->copy_query, .kind = QR_QUERY_BACKUP, .err = t->copy.err};
  snprintf(r.why, sizeof r.why, "%s", t->copy.why);
  qr_log(r.err ? QR_LOG_WARN : QR_LOG_INFO, "chain", "event=backup-ended result=\"%s\"",
         r.err ? r.why : "complete");
  qr_chain_reply(t, &r);
  return 1;
}

/* False if the reply comes later. */
static bool answer(qr_chain_tile_t *t, const qr_query_t *q, qr_reply_t *r, uint64_t now_ns) {
  switch (q->kind) {
  case QR_QUERY_STATUS: fill_status(t, &r->status, now_ns); break;
  case QR_QUERY_BLOCK: r->err = fill_block(t, q->height, &r->block); break;
  case QR_QUERY_ACCOUNT: {
    qr_account_t a;
    r->account.found = qr_ledger_get(t->ledger, &q->account, &a);
    r->account.balance = r->account.found ? a.balance : 0;
    r->account.seq = r->account.found ? a.seq : 0;
    break;
  }
  case QR_QUERY_SEND: r->verdict = qr_chain_send_tx(t, q->tx, &r->txid, now_ns); break;
  case QR_QUERY_VERIFY: return !qr_chain_verify_query(t, q, now_ns, &r->err);
  case QR_QUERY_MINING:
    if (!t->cfg.mine_orders) r->err = QR_ERR_UNSUPPORTED;
    t->mining = q->enable;
    t->mine_dirty = true;
    break;
  case QR_QUERY_BACKUP: return start_backup(t, q, r);
  default: r->err = QR_ERR_UNSUPPORTED;
  }
  return true;
}

int qr_chain_poll_queries(qr_chain_tile_t *t, uint64_t now_ns) {
  int work = 0;
  qr_query_t q;
  while (work < QUERIES_PER_POLL && qr_ring_room(t->cfg.replies) &&
         qr_ring_pop(t->cfg.queries, &q)) {
    qr_reply_t r;
    memset(&r, 0, sizeof r);
    r.id = q.id;
    r.kind = q.kind;
    if (answer(t, &q, &r, now_ns)) qr_chain_reply(t, &r);
    work++;
  }
  return work;
}

static bool want_block(qr_chain_tile_t *t, const qr_inbound_t *in, qr_outbound_t *out) {
  uint8_t place[QR_PLACE_SZ];
  uint64_t height;
  if (!qr_chain_height_of(t, &in->hash, &height)) return false;
  qr_place_encode(height, &in->hash, place);
  int64_t sz = qr_chain_get_durable(t, QR_STORE_BLOCK, place, sizeof place);
  qr_block_obj_t *b = sz < 0 ? NULL : qr_objects_block(t->cfg.objects);
  if (!b) return false;
  if (qr_block_obj_decode(b, t->io_buf, (size_t)sz)) {
    qr_pool_unref(b);
    return false;
  }
  out->kind = QR_OUT_ANSWER_BLOCK;
  out->block = b;
  return true;
}

static bool want_model(qr_chain_tile_t *t, const qr_inbound_t *in, qr_outbound_t *out) {
  qr_model_obj_t *m = qr_chain_find_model(t, &in->root);
  if (m) {
    qr_pool_ref(m);
  } else {
    uint64_t height;
    if (!qr_chain_height_of(t, &in->hash, &height) || !height) return false;
    uint32_t task = qr_params_task_of(&t->chain->p, height);
    if (qr_chain_read_model(t, task, &in->root, &m)) return false;
  }
  out->kind = QR_OUT_ANSWER_MODEL;
  out->model = m;
  return true;
}

/* True if the block is of the main chain, up to the durable tip. */
static bool find_fork(qr_chain_tile_t *t, const qr_hash_t *hash, uint64_t *height) {
  const qr_node_t *n = qr_tree_find(t->tree, hash);
  if (!n || !n->header.height) return qr_chain_height_of(t, hash, height);
  *height = n->header.height;
  return qr_tree_ancestor(t->durable_tip, *height) == n;
}

/* The main chain's headers from the first locator entry on that lies on it; genesis has none. */
static bool want_headers(qr_chain_tile_t *t, const qr_inbound_t *in, qr_outbound_t *out) {
  uint64_t tip = t->durable_tip->header.height, fork = 0;
  bool found = false;
  for (uint32_t i = 0; i < in->locator_cnt && !found; i++)
    found = find_fork(t, &in->locator[i], &fork);
  if (!found) return false;
  uint64_t first = fork ? fork : 1, cnt = tip + 1 - first;
  if (cnt > in->max_cnt) cnt = in->max_cnt;
  out->kind = QR_OUT_ANSWER_HEADERS;
  if (!cnt) return true;
  out->block = qr_objects_block(t->cfg.objects);
  if (!out->block) return false;
  out->sz = (uint32_t)cnt * QR_HEADER_SZ;
  for (uint64_t i = 0; i < cnt; i++) {
    const qr_node_t *n = qr_tree_ancestor(t->durable_tip, first + i);
    qr_hash_t hash;
    qr_header_t h;
    if (!n && qr_chain_header_at(t, first + i, &hash, &h)) {
      qr_pool_unref(out->block);
      return false;
    }
    qr_header_encode(n ? &n->header : &h, out->block->bytes + i * QR_HEADER_SZ);
  }
  return true;
}

void qr_chain_want(qr_chain_tile_t *t, const qr_inbound_t *in) {
  qr_outbound_t out = {.kind = QR_OUT_NOT_FOUND, .peer = in->peer, .req = in->req};
  bool found = false;
  if (in->want == QR_MSG_WANT_BLOCK)
    found = want_block(t, in, &out);
  else if (in->want == QR_MSG_WANT_MODEL)
    found = want_model(t, in, &out);
  else if (in->want == QR_MSG_WANT_HEADERS)
    found = want_headers(t, in, &out);
  if (!found) out.kind = QR_OUT_NOT_FOUND;
  qr_chain_out(t, &out);
}
