/* Models on demand. Those that blocks wait for are a short queue; each is fetched once, into a
   place of its own, from the peer that sent the block first and from another that has it if that
   one is slow. Every chunk is checked as it comes, against leaves that were checked against the
   root that the block's header names: whatever source it comes from, it is right, and can be passed
   on. */
#include "peer/internal.h"

#define CHUNK_NS (10 * QR_PEER_SEC) /* without any chunk */
#define RATE_PER_S (64u << 10)      /* slower than this on the whole is too slow */
#define HEDGE_NS (1 * QR_PEER_SEC)  /* without a chunk: somebody else is asked as well */
#define PACE_PER_S (256u << 10)     /* and if it is slower than this */
#define SLOW_NS (60 * QR_PEER_SEC)
#define COST_LATE 10u
#define COST_WITHHELD 2u /* sent nothing while another did */
#define COST_WRONG 20u
#define COST_STRAY 1u
#define COST_LIE 100u /* what no honest peer sends: it checks what it passes on */

static void drop(qr_peers_t *p, qr_peer_model_t *m) {
  p->model_cnt--;
  memmove(m, m + 1, (size_t)(p->models + p->model_cnt - m) * sizeof *m);
}

/* The block will not have its model; m is gone after this. */
static void fail_block(qr_peers_t *p, qr_peer_model_t *m) {
  qr_peer_model_t was = *m;
  drop(p, m);
  p->stats.models_failed++;
  p->cfg.app->on_model_failed(p->cfg.ctx, was.peer, &was.block, &was.root);
  qr_peer_sync_model_failed(p, &was.block);
  qr_peer_fetch_verdict(p, &was.block, QR_VERDICT_WITNESS_MISSING);
}

static bool is_wanted(const qr_peers_t *p, const qr_peer_xfer_t *x) {
  for (uint32_t i = 0; i < p->model_cnt; i++) {
    if (qr_hash_eq(&p->models[i].root, &x->root)) return true;
  }
  return false;
}

/* It comes to nothing; its sources pay if blocks waited for it. */
static void fail(qr_peers_t *p, qr_peer_xfer_t *x, uint32_t cost, const char *why) {
  bool wanted = is_wanted(p, x);
  x->state = QR_XFER_FREE;
  for (uint32_t i = 0; i < p->model_cnt;) {
    if (qr_hash_eq(&p->models[i].root, &x->root))
      fail_block(p, &p->models[i]);
    else
      i++;
  }
  for (uint32_t i = 0; i < QR_PEER_SOURCE_CNT && wanted; i++) {
    qr_peer_slot_t *s = qr_peer_find(p, x->sources[i].peer);
    if (s) qr_peer_strike(p, s, cost, why);
  }
}

/* ---- places ---- */

qr_peer_xfer_t *qr_peer_xfer_find(const qr_peers_t *p, const qr_hash_t *root) {
  for (uint32_t i = 0; i < p->xfer_cnt; i++) {
    qr_peer_xfer_t *x = &p->xfers[i];
    if (x->state != QR_XFER_FREE && qr_hash_eq(&x->root, root)) return x;
  }
  return NULL;
}

/* A free place, or that of a model which is here and which nobody has used for the longest time. */
static qr_peer_xfer_t *place(qr_peers_t *p, bool early) {
  qr_peer_xfer_t *best = NULL;
  uint32_t early_cnt = 0;
  for (uint32_t i = 0; i < p->xfer_cnt; i++) {
    qr_peer_xfer_t *x = &p->xfers[i];
    early_cnt += x->state == QR_XFER_ACTIVE && x->early;
    if (x->state == QR_XFER_ACTIVE || (x->state == QR_XFER_COMPLETE && is_wanted(p, x))) continue;
    bool better = !best || (best->state != QR_XFER_FREE &&
                            (x->state == QR_XFER_FREE || x->used_ns < best->used_ns));
    if (better) best = x;
  }
  return early && early_cnt >= QR_PEER_EARLY_CNT ? NULL : best;
}

/* ---- sources ---- */

static qr_peer_source_t *source_of(qr_peer_xfer_t *x, qr_peer_id_t peer) {
  for (uint32_t i = 0; i < QR_PEER_SOURCE_CNT; i++) {
    if (peer && x->sources[i].peer == peer) return &x->sources[i];
  }
  return NULL;
}

static uint32_t source_cnt(const qr_peer_xfer_t *x) {
  uint32_t cnt = 0;
  for (uint32_t i = 0; i < QR_PEER_SOURCE_CNT; i++) cnt += x->sources[i].peer != 0;
  return cnt;
}

static bool was_tried(const qr_peer_xfer_t *x, qr_peer_id_t peer) {
  for (uint32_t i = 0; i < x->tried_cnt; i++) {
    if (x->tried[i] == peer) return true;
  }
  return false;
}

/* Asks for everything that is missing, from the first to the last. */
static bool ask(qr_peers_t *p, qr_peer_xfer_t *x, qr_peer_slot_t *s) {
  uint32_t first = 0, end = x->sz ? x->chunk_cnt : qr_peer_chunk_max_cnt(p->cfg.model_max_sz);
  while (x->sz && x->have[first]) first++;
  while (x->sz && x->have[end - 1]) end--;
  qr_msg_t m = {.type = QR_MSG_GET_MODEL,
                .get_model = {x->block, x->root, (uint16_t)first, (uint16_t)(end - first), !x->sz}};
  if (!qr_peer_out_msg(p, s, &m)) return false;
  s->model_roots[s->model_root_idx++ % QR_ARRAY_CNT(s->model_roots)] = x->root;
  s->chunks_owed += end - first;
  qr_peer_source_t *to = &x->sources[0]; /* a free one, or that which has given least */
  for (uint32_t i = 1; i < QR_PEER_SOURCE_CNT && to->peer; i++) {
    if (!x->sources[i].peer || x->sources[i].got_cnt < to->got_cnt) to = &x->sources[i];
  }
  *to = (qr_peer_source_t){.peer = s->id, .asked_ns = p->now_ns};
  if (x->tried_cnt < QR_PEER_TRIED_CNT) x->tried[x->tried_cnt++] = s->id;
  p->work_cnt++;
  return true;
}

/* One that has or offered the block and was not asked; one that we dialled, and that has not kept
   us waiting lately, before others. */
static qr_peer_slot_t *another(const qr_peers_t *p, const qr_peer_xfer_t *x) {
  qr_peer_slot_t *best = NULL;
  int best_rank = -1;
  if (x->tried_cnt == QR_PEER_TRIED_CNT) return NULL;
  for (uint32_t i = 0; i < p->cfg.peer_max_cnt; i++) {
    qr_peer_slot_t *s = qr_peer_find(p, p->slots[i].id);
    if (!s || was_tried(x, s->id)) continue;
    if (!qr_inv_has(&s->blocks, &x->block) && !qr_hash_eq(&s->offered, &x->block)) continue;
    int rank = 2 * !s->inbound + (p->now_ns >= s->slow_ns);
    if (rank <= best_rank) continue;
    best = s;
    best_rank = rank;
  }
  return best;
}

static void set_pace(const qr_peers_t *p, qr_peer_xfer_t *x) {
  uint64_t sz = x->sz ? x->sz : p->cfg.model_max_sz;
  x->pace_ns = p->now_ns + HEDGE_NS + sz * (QR_PEER_SEC / PACE_PER_S);
}

/* Too slow: another source, if there is one. */
static bool hedge(qr_peers_t *p, qr_peer_xfer_t *x) {
  qr_peer_slot_t *s = another(p, x);
  set_pace(p, x);
  x->progress_ns = p->now_ns;
  if (!s || !ask(p, x, s)) return false;
  x->live_ns = p->now_ns;
  p->stats.hedges++;
  for (uint32_t i = 0; i < QR_PEER_SOURCE_CNT; i++) {
    qr_peer_slot_t *slow = qr_peer_find(p, x->sources[i].peer);
    if (slow && slow != s) slow->slow_ns = p->now_ns + SLOW_NS;
  }
  return true;
}

/* It gives nothing more; if it was the last, another is asked, or all was in vain. */
static void lose(qr_peers_t *p, qr_peer_xfer_t *x, qr_peer_source_t *src) {
  src->peer = 0;
  if (!source_cnt(x) && !hedge(p, x)) fail(p, x, 0, NULL);
}

/* ---- what arrives ---- */

static void unasked(qr_peers_t *p, qr_peer_slot_t *s, const qr_hash_t *root) {
  p->stats.unsolicited++;
  for (uint32_t i = 0; i < QR_ARRAY_CNT(s->model_roots); i++) {
    if (s->chunks_owed && qr_hash_eq(&s->model_roots[i], root)) return; /* only late */
  }
  qr_peer_strike(p, s, COST_STRAY, "sent a model that was not asked for");
}

/* The model that s was asked for, or NULL. */
static qr_peer_xfer_t *owed(qr_peers_t *p, qr_peer_slot_t *s, const qr_hash_t *root) {
  qr_peer_xfer_t *x = qr_peer_xfer_find(p, root);
  if (x && x->state == QR_XFER_ACTIVE && was_tried(x, s->id)) return x;
  unasked(p, s, root);
  return NULL;
}

static void wrong(qr_peers_t *p, qr_peer_xfer_t *x, qr_peer_slot_t *s, uint32_t cost,
                  const char *why) {
  qr_peer_source_t *src = source_of(x, s->id);
  qr_peer_strike(p, s, cost, why);
  if (src) lose(p, x, src);
}

static bool fits(const qr_peers_t *p, const qr_peer_xfer_t *x, uint32_t sz) {
  for (uint32_t i = 0; i < p->model_cnt; i++) {
    if (qr_hash_eq(&p->models[i].root, &x->root) && p->models[i].sz != sz) return false;
  }
  return sz <= p->cfg.model_max_sz;
}

void qr_peer_model_leaves(qr_peers_t *p, qr_peer_slot_t *s, const qr_msg_leaves_t *m) {
  qr_peer_xfer_t *x = owed(p, s, &m->root);
  if (!x || x->sz) return;
  if (!fits(p, x, m->total_sz)) {
    wrong(p, x, s, COST_WRONG, "has a model of another size than its block's");
    return;
  }
  qr_hash_t root =
      qr_merkle_root_of_leaves(m->leaves, m->cnt, m->total_sz, QR_MSG_CHUNK_SZ, p->leaves);
  if (!qr_hash_eq(&root, &x->root)) {
    wrong(p, x, s, COST_LIE, "sent leaves that do not make the model's root");
    return;
  }
  memcpy(x->leaves, m->leaves, m->cnt * sizeof *x->leaves);
  memset(x->have, 0, m->cnt * sizeof *x->have);
  x->sz = m->total_sz;
  x->chunk_cnt = m->cnt;
  x->progress_ns = x->live_ns = p->now_ns;
  qr_peer_offer_on(p, x);
}

/* The model is whole. Who was asked, had time, and gave nothing withholds it. */
static void complete(qr_peers_t *p, qr_peer_xfer_t *x) {
  x->state = QR_XFER_COMPLETE;
  x->used_ns = p->now_ns;
  for (uint32_t i = 0; i < QR_PEER_SOURCE_CNT && is_wanted(p, x); i++) {
    const qr_peer_source_t *src = &x->sources[i];
    qr_peer_slot_t *s = qr_peer_find(p, src->peer);
    if (s && !src->got_cnt && p->now_ns - src->asked_ns >= HEDGE_NS)
      qr_peer_strike(p, s, COST_WITHHELD, "withholds the model of its block");
  }
}

void qr_peer_model_chunk(qr_peers_t *p, qr_peer_slot_t *s, const qr_msg_model_t *m) {
  qr_peer_xfer_t *x = owed(p, s, &m->root);
  if (s->chunks_owed) s->chunks_owed--;
  if (!x) return;
  if (!x->sz) {
    wrong(p, x, s, COST_WRONG, "sent a model before its leaves");
    return;
  }
  bool right = m->idx < x->chunk_cnt && m->chunk_sz == qr_peer_chunk_sz(x->sz, m->idx);
  if (right && x->have[m->idx]) return; /* another was faster */
  qr_hash_t leaf = qr_merkle_leaf(m->idx, m->chunk, m->chunk_sz);
  if (!right || !qr_hash_eq(&leaf, &x->leaves[m->idx])) {
    wrong(p, x, s, COST_LIE, "sent a chunk that is not the model's");
    return;
  }
  qr_peer_source_t *src = source_of(x, s->id);
  memcpy(x->bytes + (size_t)m->idx * QR_MSG_CHUNK_SZ, m->chunk, m->chunk_sz);
  x->have[m->idx] = true;
  x->progress_ns = x->live_ns = p->now_ns;
  if (src) src->got_cnt++;
  if (++x->got_cnt == x->chunk_cnt) complete(p, x);
}

void qr_peer_model_refused(qr_peers_t *p, qr_peer_slot_t *s, const qr_hash_t *block) {
  for (uint32_t i = 0; i < p->xfer_cnt; i++) {
    qr_peer_xfer_t *x = &p->xfers[i];
    qr_peer_source_t *src = source_of(x, s->id);
    if (x->state != QR_XFER_ACTIVE || !src || !qr_hash_eq(&x->block, block)) continue;
    /* an offer is no promise: what arrived there may have come to nothing */
    bool may = s->pruned || qr_hash_eq(&s->offered, block);
    qr_peer_strike(p, s, may ? 0 : COST_LATE, "has not the model of its block");
    lose(p, x, src);
    return;
  }
}

void qr_peer_model_gone(qr_peers_t *p, const qr_peer_slot_t *s) {
  for (uint32_t i = 0; i < p->xfer_cnt; i++) {
    qr_peer_source_t *src = source_of(&p->xfers[i], s->id);
    if (p->xfers[i].state == QR_XFER_ACTIVE && src) lose(p, &p->xfers[i], src);
  }
  for (uint32_t i = 0; i < p->model_cnt;) { /* it was never asked for them, nor was anybody */
    if (p->models[i].peer == s->id && !qr_peer_xfer_find(p, &p->models[i].root))
      fail_block(p, &p->models[i]);
    else
      i++;
  }
}

/* ---- the application's wishes ---- */

static void set_end(const qr_peers_t *p, qr_peer_xfer_t *x) {
  x->live_ns = p->now_ns;
  x->total_ns = p->now_ns + CHUNK_NS + p->cfg.model_max_sz * (QR_PEER_SEC / RATE_PER_S);
}

int qr_peers_fetch_model(qr_peers_t *p, qr_peer_id_t peer, const qr_hash_t *block,
                         const qr_hash_t *root, uint32_t sz) {
  if (!sz || sz > p->cfg.model_max_sz) return QR_ERR_ARG;
  qr_peer_xfer_t *x = qr_peer_xfer_find(p, root);
  if (!x && !qr_peer_find(p, peer)) return QR_ERR_NOTFOUND;
  if (p->model_cnt == QR_PEER_MODEL_CNT) return QR_ERR_FULL;
  if (x && x->early && !is_wanted(p, x)) { /* from now on it is waited for */
    p->stats.models_early += x->state == QR_XFER_COMPLETE;
    set_end(p, x);
  }
  p->models[p->model_cnt++] = (qr_peer_model_t){
      .peer = peer, .block = *block, .root = *root, .sz = sz, .since_ns = p->now_ns};
  return QR_OK;
}

/* Whoever waits for it to come by here is given the application's. */
void qr_peers_has_model(qr_peers_t *p, const qr_hash_t *root) {
  qr_peer_xfer_t *x = qr_peer_xfer_find(p, root);
  qr_inv_add(&p->roots, root);
  if (x && x->state == QR_XFER_ACTIVE && !is_wanted(p, x)) x->state = QR_XFER_FREE;
}

qr_peer_xfer_t *qr_peer_xfer_begin(qr_peers_t *p, qr_peer_slot_t *s, const qr_hash_t *block,
                                   const qr_hash_t *root, const uint8_t *header, bool early) {
  qr_peer_xfer_t *x = place(p, early);
  if (!x) return NULL;
  *x = (qr_peer_xfer_t){.leaves = x->leaves,
                        .have = x->have,
                        .bytes = x->bytes,
                        .early = early,
                        .root = *root,
                        .block = *block,
                        .has_header = header,
                        .progress_ns = p->now_ns};
  if (header) memcpy(x->header, header, QR_HEADER_SZ);
  if (!ask(p, x, s)) return NULL;
  x->state = QR_XFER_ACTIVE;
  set_end(p, x);
  set_pace(p, x);
  return x;
}

qr_peer_xfer_t *qr_peer_xfer_own(qr_peers_t *p, const qr_hash_t *block, const qr_hash_t *root,
                                 const uint8_t *header, const uint8_t *model, uint32_t sz) {
  qr_peer_xfer_t *x = place(p, false);
  if (!x) return NULL;
  *x = (qr_peer_xfer_t){.state = QR_XFER_COMPLETE,
                        .leaves = x->leaves,
                        .have = x->have,
                        .bytes = x->bytes,
                        .root = *root,
                        .block = *block,
                        .has_header = true,
                        .sz = sz,
                        .chunk_cnt = qr_peer_chunk_max_cnt(sz),
                        .used_ns = p->now_ns};
  x->got_cnt = x->chunk_cnt;
  memcpy(x->header, header, QR_HEADER_SZ);
  memcpy(x->bytes, model, sz);
  for (uint32_t i = 0; i < x->chunk_cnt; i++) {
    x->have[i] = true;
    x->leaves[i] = qr_merkle_leaf(i, model + (size_t)i * QR_MSG_CHUNK_SZ, qr_peer_chunk_sz(sz, i));
  }
  return x;
}

/* One model at a time is fetched from a peer that sent blocks. */
static bool is_busy(const qr_peers_t *p, qr_peer_id_t peer) {
  for (uint32_t i = 0; i < p->xfer_cnt; i++) {
    if (p->xfers[i].state == QR_XFER_ACTIVE && source_of(&p->xfers[i], peer)) return true;
  }
  return false;
}

static void give(qr_peers_t *p, qr_peer_model_t *m, qr_peer_xfer_t *x) {
  if (m->sz != x->sz) { /* it came early, and is not what the block says it is */
    fail_block(p, m);
    return;
  }
  if (!p->cfg.app->on_model(p->cfg.ctx, m->peer, &m->block, &m->root, x->bytes, x->sz)) {
    p->stats.app_full++;
    return;
  }
  x->used_ns = p->now_ns;
  p->stats.models_rx++;
  p->work_cnt++;
  drop(p, m);
}

/* Who sent the block, or, if that one is busy for long, another that has it. */
static qr_peer_slot_t *first_source(const qr_peers_t *p, const qr_peer_model_t *m) {
  qr_peer_slot_t *s = qr_peer_find(p, m->peer);
  if (s && !is_busy(p, s->id)) return s;
  if (p->now_ns - m->since_ns < HEDGE_NS) return NULL;
  for (uint32_t i = 0; i < p->cfg.peer_max_cnt; i++) {
    s = qr_peer_find(p, p->slots[i].id);
    if (s && qr_inv_has(&s->blocks, &m->block) && !is_busy(p, s->id)) return s;
  }
  return NULL;
}

static void serve_block(qr_peers_t *p, qr_peer_model_t *m) {
  qr_peer_xfer_t *x = qr_peer_xfer_find(p, &m->root);
  qr_peer_slot_t *s = x ? NULL : first_source(p, m);
  if (x && x->state == QR_XFER_COMPLETE)
    give(p, m, x);
  else if (s)
    (void)qr_peer_xfer_begin(p, s, &m->block, &m->root, qr_peer_fetch_header(p, &m->block), false);
}

static void look_after(qr_peers_t *p, qr_peer_xfer_t *x) {
  if (x->state != QR_XFER_ACTIVE) return;
  if (p->now_ns >= x->total_ns || p->now_ns - x->live_ns >= CHUNK_NS) {
    fail(p, x, COST_LATE, "sent a model too slowly");
    return;
  }
  if (p->now_ns - x->progress_ns >= HEDGE_NS || p->now_ns >= x->pace_ns) hedge(p, x);
}

void qr_peer_model_poll(qr_peers_t *p) {
  for (uint32_t i = 0; i < p->model_cnt;) {
    uint32_t cnt = p->model_cnt;
    serve_block(p, &p->models[i]);
    i += p->model_cnt == cnt; /* else the next one took its place */
  }
  for (uint32_t i = 0; i < p->xfer_cnt; i++) look_after(p, &p->xfers[i]);
}
