#include "tile/net.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/err.h"
#include "base/log.h"
#include "chain/tree.h"
#include "peer/netaddr.h"
#include "tile/keep.h"

#define ITEMS_PER_POLL 32
#define KEEP_FIRST_NS 60000000000ull
#define KEEP_NS 600000000000ull
#define HOUR_NS 3600000000000ull

struct qr_net_tile {
  qr_net_tile_cfg_t cfg;
  qr_peers_t *peers;
  void *peers_mem;
  qr_keep_t *keep;
  uint64_t keep_ns; /* when to save next */
};

static bool push(qr_net_tile_t *t, const qr_inbound_t *in) {
  return qr_ring_push(t->cfg.to_chain, in);
}

static bool on_block(void *ctx, qr_peer_id_t peer, const qr_hash_t *hash, const uint8_t *block,
                     size_t sz) {
  qr_net_tile_t *t = ctx;
  if (!qr_ring_room(t->cfg.to_chain)) return false;
  qr_inbound_t in = {.kind = QR_IN_BLOCK, .peer = peer, .hash = *hash};
  qr_block_obj_t *b = qr_objects_block(t->cfg.objects);
  if (!b) return false;
  b->peer = peer;
  in.verdict = qr_block_obj_decode(b, block, sz);
  if (in.verdict)
    qr_pool_unref(b);
  else
    in.block = b;
  bool pushed = push(t, &in);
  QR_ASSERT(pushed);
  return true;
}

static bool on_model(void *ctx, qr_peer_id_t peer, const qr_hash_t *block, const qr_hash_t *root,
                     const uint8_t *model, size_t sz) {
  qr_net_tile_t *t = ctx;
  if (!qr_ring_room(t->cfg.to_chain)) return false;
  qr_model_obj_t *m = qr_objects_model(t->cfg.objects, 0);
  if (!m) return false;
  QR_ASSERT(sz <= t->cfg.peers.model_max_sz);
  memcpy(m->bytes, model, sz);
  m->sz = (uint32_t)sz;
  qr_inbound_t in = {.kind = QR_IN_MODEL, .peer = peer, .model = m, .hash = *block, .root = *root};
  bool pushed = push(t, &in);
  QR_ASSERT(pushed);
  return true;
}

static void on_model_failed(void *ctx, qr_peer_id_t peer, const qr_hash_t *block,
                            const qr_hash_t *root) {
  qr_net_tile_t *t = ctx;
  qr_inbound_t in = {.kind = QR_IN_MODEL_FAILED, .peer = peer, .hash = *block, .root = *root};
  /* If the ring is full the chain tile forgets the block by its own timeout. */
  bool pushed = push(t, &in);
  (void)pushed;
}

static bool on_tx(void *ctx, qr_peer_id_t peer, const uint8_t *tx) {
  qr_inbound_t in = {.kind = QR_IN_TX, .peer = peer};
  memcpy(in.tx, tx, QR_TX_SZ);
  return push(ctx, &in);
}

static bool on_want(void *ctx, const qr_peer_want_t *want) {
  qr_inbound_t in = {.kind = QR_IN_WANT,
                     .peer = want->peer,
                     .req = want->req,
                     .want = want->kind,
                     .hash = want->hash,
                     .root = want->root,
                     .max_cnt = want->max_cnt};
  QR_ASSERT(want->locator_cnt <= QR_ARRAY_CNT(in.locator));
  in.locator_cnt = want->locator_cnt;
  if (want->locator_cnt)
    memcpy(in.locator, want->locator, want->locator_cnt * sizeof *want->locator);
  return push(ctx, &in);
}

static bool on_read(void *ctx, uint64_t offset, uint8_t *out, uint32_t sz) {
  const qr_net_tile_t *t = ctx;
  return t->cfg.offer && t->cfg.offer->read(t->cfg.offer->ctx, offset, out, sz);
}

/* The peer module logs sessions itself, within limits. */
static void on_peer_up(void *ctx, qr_peer_id_t peer, const qr_peer_info_t *info) {
  (void)ctx;
  (void)peer;
  (void)info;
}

static void on_peer_down(void *ctx, qr_peer_id_t peer, const char *reason) {
  (void)ctx;
  (void)peer;
  (void)reason;
}

static enum qr_verdict on_header(void *ctx, const qr_header_t *parent, const qr_header_t *h) {
  const qr_net_tile_t *t = ctx;
  const qr_clock_t *clock = t->cfg.clock;
  return qr_tree_follows(t->cfg.objects->cfg, parent, h, clock->wall_ms(clock->ctx));
}

static const qr_peer_app_t callbacks = {on_block, on_header, on_model,   on_model_failed, on_tx,
                                        on_want,  on_read,   on_peer_up, on_peer_down};

/* A file that is not as it should be is told, once, and replaced by what this node finds out. */
static void recall(qr_net_tile_t *t) {
  const uint8_t *bytes = NULL;
  size_t sz = 0;
  char why[128] = "it cannot be read";
  int err = qr_keep_load(t->keep, &bytes, &sz);
  if (err == QR_ERR_NOTFOUND) return;
  if (err == QR_ERR_FORMAT) snprintf(why, sizeof why, "it is too long");
  if (!err) err = qr_peers_import(t->peers, bytes, sz, why, sizeof why);
  if (err) {
    qr_log(QR_LOG_WARN, "net", "event=peers-refused file=%s why=\"%s\" cure=\"begins empty\"",
           t->cfg.keep_path, why);
    return;
  }
  qr_peers_counts_t c;
  qr_peers_counts(t->peers, &c);
  qr_log(QR_LOG_INFO, "net", "event=peers-recalled new=%u tried=%u first=%u bans=%u", c.new_cnt,
         c.tried_cnt, c.anchor_cnt, c.ban_cnt);
}

static void save(qr_net_tile_t *t) {
  uint8_t *room = qr_keep_room(t->keep);
  if (room) qr_keep_save(t->keep, qr_peers_export(t->peers, room));
}

qr_net_tile_t *qr_net_tile_init(const qr_net_tile_cfg_t *cfg) {
  qr_net_tile_t *t = calloc(1, sizeof *t);
  if (!t) return NULL;
  t->cfg = *cfg;
  t->cfg.peers.app = &callbacks;
  t->cfg.peers.ctx = t;
  size_t sz = qr_peers_footprint(&t->cfg.peers);
  t->peers_mem = sz ? aligned_alloc(QR_CACHE_LINE, qr_align_up(sz, QR_CACHE_LINE)) : NULL;
  if (!t->peers_mem) {
    free(t);
    return NULL;
  }
  t->peers = qr_peers_init(t->peers_mem, &t->cfg.peers, cfg->now_ns);
  t->keep_ns = cfg->now_ns + KEEP_FIRST_NS;
  if (cfg->keep_path && cfg->peers.exchange) {
    t->keep = qr_keep_init(cfg->keep_path, qr_peers_image_max_sz());
    if (t->keep) recall(t);
  }
  return t;
}

static void drop(qr_outbound_t *out) {
  bool offer = out->kind == QR_OUT_OFFER_MODEL;
  if (offer || out->kind == QR_OUT_ANSWER_BLOCK || out->kind == QR_OUT_ANSWER_HEADERS)
    qr_pool_unref(out->block);
  if (offer || out->kind == QR_OUT_ANSWER_MODEL) qr_pool_unref(out->model);
}

void qr_net_tile_fini(qr_net_tile_t *t) {
  if (!t) return;
  qr_outbound_t out;
  while (qr_ring_pop(t->cfg.from_chain, &out)) drop(&out);
  if (t->keep) {
    qr_keep_wait(t->keep);
    save(t);
  }
  qr_keep_fini(t->keep);
  qr_peers_fini(t->peers);
  free(t->peers_mem);
  free(t);
}

/* The sender is gone, or too many models are waited for: the chain tile forgets the block, and who
 * asked for it learns that no verdict will come. */
static void refuse_model(qr_net_tile_t *t, const qr_outbound_t *o) {
  on_model_failed(t, o->peer, &o->hash, &o->root);
  qr_peers_rejected(t->peers, o->peer, &o->hash, QR_VERDICT_WITNESS_MISSING);
}

/* Does what the chain tile asks. */
static void obey(qr_net_tile_t *t, const qr_outbound_t *o) {
  switch (o->kind) {
  case QR_OUT_TIP:
    qr_peers_set_tip(t->peers, &o->hash, o->height, &o->work, o->hashes, o->hash_cnt);
    break;
  case QR_OUT_ACCEPTED:
    qr_peers_has_model(t->peers, &o->root);
    qr_peers_has_model(t->peers, &o->hashes[0]);
    qr_peers_accepted(t->peers, &o->hash, o->height, &o->work);
    break;
  case QR_OUT_REJECTED: qr_peers_rejected(t->peers, o->peer, &o->hash, o->verdict); break;
  case QR_OUT_RELAY_TX: qr_peers_relay_tx(t->peers, o->peer, o->tx); break;
  case QR_OUT_FEE_MIN: qr_peers_set_fee_min(t->peers, o->fee); break;
  case QR_OUT_RETURN_TX: qr_peers_return_tx(t->peers, o->tx); break;
  case QR_OUT_REFUSED_TX: qr_peers_refused_tx(t->peers, o->peer, o->tx, o->verdict); break;
  case QR_OUT_ANSWER_BLOCK:
    qr_peers_answer_block(t->peers, o->peer, o->req, o->block->bytes, o->block->sz);
    break;
  case QR_OUT_ANSWER_MODEL:
    qr_peers_answer_model(t->peers, o->peer, o->req, o->model->bytes, o->model->sz);
    break;
  case QR_OUT_ANSWER_HEADERS:
    qr_peers_answer_headers(t->peers, o->peer, o->req, o->block ? o->block->bytes : NULL,
                            o->sz / QR_HEADER_SZ);
    break;
  case QR_OUT_NOT_FOUND: qr_peers_not_found(t->peers, o->peer, o->req); break;
  case QR_OUT_OFFER_MODEL:
    qr_peers_offer_model(t->peers, o->block->bytes, o->model->bytes, o->model->sz);
    break;
  case QR_OUT_FETCH_MODEL:
    if (qr_peers_fetch_model(t->peers, o->peer, &o->hash, &o->root, o->sz)) refuse_model(t, o);
    break;
  }
}

static int take_orders(qr_net_tile_t *t) {
  int work = 0;
  qr_outbound_t out;
  for (; work < ITEMS_PER_POLL && qr_ring_pop(t->cfg.from_chain, &out); work++) {
    obey(t, &out);
    drop(&out);
  }
  return work;
}

static void fill_peer(const qr_peer_info_t *info, qr_reply_peer_t *p) {
  *p = (qr_reply_peer_t){.identity = info->identity,
                         .role = info->role,
                         .inbound = info->inbound,
                         .pruned = info->pruned,
                         .height = info->height,
                         .rtt_ns = info->rtt_ns,
                         .rx_bytes = info->rx_bytes,
                         .tx_bytes = info->tx_bytes,
                         .connected_ms = info->connected_ms,
                         .misbehaviour = info->misbehaviour};
  memcpy(p->rx_class, info->rx_class, sizeof p->rx_class);
  memcpy(p->tx_class, info->tx_class, sizeof p->tx_class);
  qr_link_addr_str(&info->addr, p->addr);
  qr_netaddr_group_str(&info->addr, p->group);
}

static void list_peers(const qr_net_tile_t *t, uint32_t first, qr_reply_peers_t *out) {
  qr_peer_info_t infos[QR_PEERS_MAX_CNT];
  out->total = qr_peers_list(t->peers, infos, QR_PEERS_MAX_CNT);
  out->first = first;
  for (uint32_t i = first; i < out->total && out->cnt < QR_REPLY_PEER_MAX_CNT; i++)
    fill_peer(&infos[i], &out->peers[out->cnt++]);
  qr_peers_counts_t c;
  qr_peers_stats_t st;
  qr_peers_counts(t->peers, &c);
  qr_peers_stats(t->peers, &st);
  out->book_new = c.new_cnt;
  out->book_tried = c.tried_cnt;
  out->bans = c.ban_cnt;
  out->inbound_cnt = c.inbound_cnt;
  out->outbound_cnt = c.outbound_cnt;
  out->inbound_refused = st.inbound_refused;
  out->evicted = st.evicted;
}

static int set_ban(qr_net_tile_t *t, const qr_query_t *q) {
  uint64_t ns = q->ban_hours * HOUR_NS;
  qr_pubkey_t pk;
  memcpy(pk.b, q->ban_key, sizeof pk.b);
  bool ok = q->ban_ip ? qr_peers_ban_ip(t->peers, q->ban_key, ns)
                      : qr_peers_ban_identity(t->peers, &pk, ns);
  if (t->keep) save(t);
  return ok ? QR_OK : ns ? QR_ERR_FULL : QR_ERR_NOTFOUND;
}

static int answer_query(qr_net_tile_t *t) {
  qr_query_t q;
  if (!qr_ring_room(t->cfg.replies) || !qr_ring_pop(t->cfg.queries, &q)) return 0;
  qr_reply_t r = {.id = q.id, .kind = q.kind};
  if (q.kind == QR_QUERY_BAN)
    r.err = set_ban(t, &q);
  else
    list_peers(t, q.peer_first, &r.peers);
  bool pushed = qr_ring_push(t->cfg.replies, &r);
  QR_ASSERT(pushed);
  return 1;
}

int qr_net_tile_poll(void *state, uint64_t now_ns) {
  qr_net_tile_t *t = state;
  qr_peers_snapshot_t offer;
  int work = take_orders(t);
  if (t->cfg.offer && t->cfg.offer->look(t->cfg.offer->ctx, now_ns, &offer))
    qr_peers_offer_snapshot(t->peers, &offer);
  work += qr_peers_poll(t->peers, now_ns);
  work += answer_query(t);
  if (t->keep && now_ns >= t->keep_ns) {
    t->keep_ns = now_ns + KEEP_NS;
    save(t);
  }
  qr_peers_progress_t p = qr_peers_progress(t->peers);
  atomic_store_explicit(&t->cfg.stats->peer_cnt, p.peer_cnt, memory_order_relaxed);
  atomic_store_explicit(&t->cfg.stats->syncing, p.syncing, memory_order_relaxed);
  atomic_store_explicit(&t->cfg.stats->sync_target, p.target_height, memory_order_relaxed);
  atomic_store_explicit(&t->cfg.stats->sync_left_s, p.left_s, memory_order_relaxed);
  atomic_store_explicit(&t->cfg.stats->sync_rate_milli, p.rate_milli, memory_order_relaxed);
  atomic_store_explicit(&t->cfg.stats->sync_peer_cnt, p.sync_peer_cnt, memory_order_relaxed);
  return work;
}
