/* Models on demand: a short queue, one in flight per peer, received into the peer's own buffer. */
#include "peer/internal.h"

#define CHUNK_NS (10 * QR_PEER_SEC) /* between chunks, and before the first */
#define RATE_PER_S (64u << 10)      /* slower than this on the whole is too slow */
#define COST_LATE 10u
#define COST_WRONG 20u
#define COST_STRAY 1u

static qr_peer_model_t *under_way(qr_peers_t *p, qr_peer_id_t peer) {
  for (uint32_t i = 0; i < p->model_cnt; i++) {
    if (p->models[i].peer == peer && p->models[i].state != QR_MODEL_QUEUED) return &p->models[i];
  }
  return NULL;
}

static void drop(qr_peers_t *p, qr_peer_model_t *m) {
  p->model_cnt--;
  memmove(m, m + 1, (size_t)(p->models + p->model_cnt - m) * sizeof *m);
}

/* m is gone after this. */
static void fail(qr_peers_t *p, qr_peer_model_t *m, uint32_t cost, const char *why) {
  qr_peer_model_t was = *m;
  qr_peer_slot_t *s = qr_peer_find(p, was.peer);
  drop(p, m);
  p->stats.models_failed++;
  p->cfg.app->on_model_failed(p->cfg.ctx, was.peer, &was.block, &was.root);
  qr_peer_sync_model_failed(p, &was.block);
  qr_peer_fetch_verdict(p, &was.block, QR_VERDICT_WITNESS_MISSING);
  if (!s) return;
  s->late_root = was.root;
  qr_peer_strike(p, s, cost, why);
}

int qr_peers_fetch_model(qr_peers_t *p, qr_peer_id_t peer, const qr_hash_t *block,
                         const qr_hash_t *root, uint32_t sz) {
  if (!sz || sz > p->cfg.model_max_sz) return QR_ERR_ARG;
  if (!qr_peer_find(p, peer)) return QR_ERR_NOTFOUND;
  if (p->model_cnt == QR_PEER_MODEL_CNT) return QR_ERR_FULL;
  p->models[p->model_cnt++] = (qr_peer_model_t){
      .state = QR_MODEL_QUEUED, .peer = peer, .block = *block, .root = *root, .sz = sz};
  return QR_OK;
}

static void give(qr_peers_t *p, qr_peer_model_t *m) {
  qr_peer_slot_t *s = qr_peer_find(p, m->peer);
  if (!s) return; /* about to be taken down, and this with it */
  if (!p->cfg.app->on_model(p->cfg.ctx, m->peer, &m->block, &m->root, s->model, m->sz)) {
    p->stats.app_full++;
    return;
  }
  p->stats.models_rx++;
  p->work_cnt++;
  drop(p, m);
}

void qr_peer_model_chunk(qr_peers_t *p, qr_peer_slot_t *s, const qr_msg_model_t *c) {
  qr_peer_model_t *m = under_way(p, s->id);
  if (!m || m->state != QR_MODEL_ASKED || !qr_hash_eq(&m->root, &c->root)) {
    p->stats.unsolicited++;
    if (!qr_hash_eq(&s->late_root, &c->root))
      qr_peer_strike(p, s, COST_STRAY, "sent a model that was not asked for");
    return;
  }
  if (c->total_sz != m->sz || c->offset != m->got) {
    fail(p, m, COST_WRONG, "sent a model of another size or out of order");
    return;
  }
  memcpy(s->model + m->got, c->chunk, c->chunk_sz);
  m->got += c->chunk_sz;
  m->chunk_ns = p->now_ns + CHUNK_NS;
  if (m->got == m->sz) m->state = QR_MODEL_COMPLETE;
}

void qr_peer_model_refused(qr_peers_t *p, qr_peer_slot_t *s, const qr_hash_t *block) {
  qr_peer_model_t *m = under_way(p, s->id);
  if (m && m->state == QR_MODEL_ASKED && qr_hash_eq(&m->block, block))
    fail(p, m, s->pruned ? 0 : COST_LATE, "has not the model of its block");
}

void qr_peer_model_gone(qr_peers_t *p, const qr_peer_slot_t *s) {
  for (uint32_t i = 0; i < p->model_cnt;) {
    if (p->models[i].peer == s->id)
      fail(p, &p->models[i], 0, NULL);
    else
      i++;
  }
}

static void ask(qr_peers_t *p, qr_peer_model_t *m) {
  qr_peer_slot_t *s = qr_peer_find(p, m->peer);
  if (!s || under_way(p, m->peer)) return;
  qr_msg_t msg = {.type = QR_MSG_GET_MODEL, .get_model = {m->block, m->root}};
  if (!qr_peer_out_msg(p, s, &msg)) return;
  m->state = QR_MODEL_ASKED;
  m->chunk_ns = p->now_ns + CHUNK_NS;
  m->total_ns = p->now_ns + CHUNK_NS + m->sz * (QR_PEER_SEC / RATE_PER_S);
  p->work_cnt++;
}

void qr_peer_model_poll(qr_peers_t *p) {
  for (uint32_t i = 0; i < p->model_cnt;) {
    qr_peer_model_t *m = &p->models[i];
    uint32_t cnt = p->model_cnt;
    if (m->state == QR_MODEL_COMPLETE)
      give(p, m);
    else if (m->state == QR_MODEL_QUEUED)
      ask(p, m);
    else if (p->now_ns >= m->chunk_ns || p->now_ns >= m->total_ns)
      fail(p, m, COST_LATE, "sent a model too slowly");
    i += p->model_cnt == cnt; /* else the next one took its place */
  }
}
