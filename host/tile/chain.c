#include "tile/chain_int.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/err.h"
#include "chain/prune.h"
#include "crypto/hash.h"

#define INBOUND_PER_POLL 32
/* One for each block in execution or judged, one that is mined on, and a few that miners let go. */
#define VIEW_CNT (QR_CAND_MAX_CNT + 8u)

void qr_chain_out(qr_chain_tile_t *t, const qr_outbound_t *out) {
  if (t->cfg.to_net && qr_ring_push(t->cfg.to_net, out)) return;
  /* Without a network nobody listens; with one, room is kept (QR_OUT_ROOM) and what exceeds it is
   * asked for again. */
  bool offer = out->kind == QR_OUT_OFFER_MODEL;
  if (offer || out->kind == QR_OUT_ANSWER_BLOCK) qr_pool_unref(out->block);
  if (offer || out->kind == QR_OUT_ANSWER_MODEL) qr_pool_unref(out->model);
}

static uint32_t fill_locator(qr_chain_tile_t *t, qr_hash_t *out, uint32_t max) {
  uint64_t root = qr_tree_root(t->tree)->header.height, height = t->durable_tip->header.height;
  uint32_t cnt = 0;
  uint64_t step = 1;
  while (cnt + 1 < max && height) {
    const qr_node_t *n = qr_tree_ancestor(t->durable_tip, height);
    qr_header_t h;
    if (n)
      out[cnt++] = n->hash;
    else if (!qr_chain_header_at(t, height, &out[cnt], &h))
      cnt++;
    if (cnt >= 8) step *= 2;
    height = height > step ? height - step : 0;
    /* What the store is asked for is the same for many tips, so that it has it at hand. */
    if (height < root) height -= height % step;
  }
  out[cnt++] = qr_tree_genesis(t->tree)->hash;
  return cnt;
}

void qr_chain_tell_tip(qr_chain_tile_t *t) {
  const qr_node_t *tip = t->durable_tip;
  qr_outbound_t out = {
      .kind = QR_OUT_TIP, .hash = tip->hash, .height = tip->header.height, .work = tip->work};
  out.hash_cnt = fill_locator(t, out.hashes, QR_MSG_LOCATOR_MAX_CNT);
  qr_chain_out(t, &out);
}

static int check_depth(const qr_chain_tile_t *t, char *why, size_t why_sz) {
  uint64_t least = qr_prune_depth_min(&t->chain->p);
  if (!t->cfg.prune_depth || t->cfg.prune_depth >= least) return QR_OK;
  snprintf(
      why, why_sz,
      "store.prune_depth is %llu; on this chain a node needs the last %llu blocks at least, for "
      "reorganisations and the replay before them (0: keep all)",
      (unsigned long long)t->cfg.prune_depth, (unsigned long long)least);
  return QR_ERR_ARG;
}

int qr_chain_tile_init(const qr_chain_tile_cfg_t *cfg, qr_chain_tile_t **out, char *why,
                       size_t why_sz) {
  qr_chain_tile_t *t = calloc(1, sizeof *t);
  if (!t) {
    snprintf(why, why_sz, "out of memory");
    return QR_ERR_NOMEM;
  }
  t->cfg = *cfg;
  t->chain = cfg->objects->cfg;
  t->mining = cfg->mine;
  t->mine_dirty = t->mine_paused = true;
  t->start_ns = cfg->clock->mono_ns(cfg->clock->ctx);
  t->tree = qr_tree_init(t->chain);
  t->past = qr_past_init();
  t->ledger = qr_ledger_init();
  t->views = qr_view_pool_init(VIEW_CNT);
  qr_mempool_cfg_t pool = cfg->mempool;
  pool.chain_id = t->chain->p.chain_id;
  t->mempool = qr_mempool_init(&pool);
  t->io_buf = malloc(QR_STORE_VALUE_MAX_SZ);
  bool has_all = t->tree && t->past && t->ledger && t->views && t->mempool && t->io_buf;
  int err = has_all ? qr_chain_exec_init(t) : QR_ERR_NOMEM;
  for (uint32_t i = 0; i < t->chain->p.task_cnt && !err; i++) {
    err = qr_task_genesis_init(&t->genesis[i], cfg->objects, i);
  }
  if (err)
    snprintf(why, why_sz, "out of memory");
  else
    err = check_depth(t, why, why_sz);
  if (!err) err = qr_chain_boot(t, why, why_sz);
  if (err) {
    qr_chain_tile_fini(t);
    return err;
  }
  if (cfg->to_net) qr_chain_tell_tip(t);
  *out = t;
  return QR_OK;
}

static void drop_inbound(qr_ring_t *ring) {
  qr_inbound_t in;
  while (ring && qr_ring_pop(ring, &in)) {
    qr_pool_unref(in.block);
    qr_pool_unref(in.model);
  }
}

static void free_exec_of(void *ctx, qr_node_t *n) {
  (void)ctx;
  qr_chain_exec_free(n->user);
}

void qr_chain_tile_fini(qr_chain_tile_t *t) {
  if (!t) return;
  drop_inbound(t->cfg.from_net);
  drop_inbound(t->cfg.mine_found);
  qr_chain_cands_drop_all(t);
  if (t->tree) qr_tree_visit(t->tree, free_exec_of, NULL);
  qr_tree_fini(t->tree);
  qr_past_fini(t->past);
  qr_ledger_fini(t->ledger);
  for (uint32_t i = 0; i < QR_TASK_MAX_CNT; i++) qr_task_genesis_fini(&t->genesis[i]);
  qr_chain_exec_fini(t);
  qr_store_copy_fini(&t->copy);
  qr_pool_fini(t->views);
  qr_mempool_fini(t->mempool);
  qr_chain_store_fini(t);
  free(t->io_buf);
  free(t);
}

static int take_inbound(qr_chain_tile_t *t, qr_ring_t *ring, uint64_t now_ns) {
  int work = 0;
  qr_inbound_t in;
  while (ring && work < INBOUND_PER_POLL && !t->failed &&
         (!t->cfg.to_net || qr_ring_room(t->cfg.to_net) >= QR_CAND_MAX_CNT + QR_OUT_ROOM) &&
         qr_ring_pop(ring, &in)) {
    switch (in.kind) {
    case QR_IN_BLOCK: qr_chain_offer(t, &in, now_ns); break;
    case QR_IN_MODEL: qr_chain_model(t, &in, now_ns); break;
    case QR_IN_MODEL_FAILED: qr_chain_model_failed(t, &in); break;
    case QR_IN_TX: qr_chain_tx(t, in.peer, in.tx, now_ns); break;
    case QR_IN_WANT: qr_chain_want(t, &in); break;
    }
    work++;
  }
  return work;
}

int qr_chain_tile_poll(void *state, uint64_t now_ns) {
  qr_chain_tile_t *t = state;
  if (t->failed) return 0;
  int work = take_inbound(t, t->cfg.from_net, now_ns);
  work += take_inbound(t, t->cfg.mine_found, now_ns);
  work += qr_chain_poll_cands(t, now_ns);
  work += qr_chain_poll_store(t, now_ns); /* what was accepted is on its way at once */
  work += qr_chain_poll_prune(t);
  work += qr_chain_poll_past(t);
  work += qr_chain_poll_return(t, now_ns);
  work += qr_chain_poll_fee(t, now_ns);
  work += qr_chain_poll_mine(t, now_ns);
  work += qr_chain_poll_queries(t, now_ns);
  work += qr_chain_poll_backup(t);
  return work;
}

const qr_model_obj_t *qr_chain_tile_genesis(const qr_chain_tile_t *t, uint32_t task) {
  return t->genesis[task].model;
}
uint64_t qr_chain_tile_held_from(const qr_chain_tile_t *t) { return t->held.from; }
bool qr_chain_tile_failed(const qr_chain_tile_t *t) { return t->failed; }
const qr_node_t *qr_chain_tile_tip(const qr_chain_tile_t *t) { return qr_tree_tip(t->tree); }

qr_hash_t qr_chain_tile_state_digest(qr_chain_tile_t *t) {
  qr_hasher_t h;
  qr_hash_t out, root = qr_ledger_root(t->ledger);
  qr_node_t *tip = qr_tree_tip(t->tree);
  qr_hash_init(&h, "quarry.test.digest");
  qr_hash_add(&h, &tip->hash, sizeof tip->hash);
  qr_hash_add(&h, &root, sizeof root);
  for (uint32_t i = 0; i < t->chain->p.task_cnt; i++) {
    qr_view_t *v = qr_chain_view(t, tip, i);
    QR_ASSERT(v);
    qr_hash_add_u64(&h, v->task_idx);
    qr_hash_add(&h, &v->replay_root, sizeof v->replay_root);
    qr_hash_add(&h, v->target->bytes, v->target->sz);
    for (uint32_t s = 0; s < v->segment_cnt; s++) {
      qr_hash_t seg = qr_segment_hash(v->segments[s]->seg);
      qr_hash_add(&h, &seg, sizeof seg);
    }
    qr_pool_unref(v);
    qr_node_t *n = qr_chain_task_tip(tip, i);
    for (uint32_t k = 0; n && k < t->chain->p.target_window; k++, n = n->task_parent) {
      const qr_exec_t *e = qr_chain_exec(t, n);
      QR_ASSERT(e);
      qr_hash_add_u64(&h, e->facts.td_abs_sum);
      qr_hash_add_u64(&h, e->facts.eligible);
    }
  }
  qr_hash_end(&h, &out);
  return out;
}
