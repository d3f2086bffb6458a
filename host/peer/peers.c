/* The whole: memory, poll, and the application's side of the interface. */
#include "peer/peer.h"

#include "base/splitmix.h"
#include "peer/internal.h"

#define EVENT_CNT 64
#define ROUND_CNT 8 /* link polls in one poll of ours */
#define REFRESH_NS                                                                                 \
  (1 * QR_PEER_SEC) /* peers that lack the tip are looked for so often while syncing */
#define FRUIT_NS (30 * QR_PEER_SEC) /* a sync that brings nothing for so long is no sync */
#define BAN_NS (3600 * QR_PEER_SEC)
#define WINDOW_CNT 32u
#define KNOWN_CNT 8192u
#define BAD_CNT 1024u
#define TX_SEEN_CNT 8192u
#define TX_LATER_CNT 1024u
#define ROOTS_CNT 512u
#define PEER_BLOCKS_CNT 512u
#define PEER_TXS_CNT 1024u
#define PEER_ASKED_CNT 64u

/* ---- memory ---- */

static bool cfg_ok(const qr_peers_cfg_t *c) {
  return c->peer_max_cnt && c->peer_max_cnt <= QR_PEERS_MAX_CNT &&
         c->static_cnt <= QR_PEERS_STATIC_MAX_CNT && c->outbound_cnt <= QR_PEERS_OUTBOUND_MAX_CNT &&
         c->model_max_sz && c->model_max_sz <= QR_PEERS_MODEL_MAX_SZ &&
         c->window_cnt <= QR_PEER_WINDOW_MAX_CNT && c->agent &&
         strlen(c->agent) <= QR_MSG_AGENT_MAX_SZ &&
         (!c->begin || c->begin->chunk_max_cnt <= QR_PEERS_CHUNK_MAX_CNT);
}

static uint32_t in_cap(enum qr_link_class cls) {
  uint32_t most = 0;
  for (uint8_t t = 0; t < QR_MSG_TYPE_END; t++) {
    if (!qr_msg_known(t) || (enum qr_link_class)qr_msg_class_of(t) != cls) continue;
    if (qr_msg_payload_max(t) > most) most = qr_msg_payload_max(t);
  }
  return QR_MSG_HEAD_SZ + most;
}

static uint32_t out_cap(const qr_peers_cfg_t *c, enum qr_link_class cls) {
  switch (cls) {
  case QR_LINK_CONTROL: return 16u << 10;
  case QR_LINK_BLOCK: return 3 * in_cap(cls);
  case QR_LINK_TX: return 64 * in_cap(cls);
  default:
    return (uint32_t)qr_peer_serve_model_sz(c->model_max_sz) + 2 * QR_MSG_HEAD_SZ +
           qr_msg_payload_max(QR_MSG_HEADERS) + 2 * QR_PEER_PART_FRAME_SZ;
  }
}

/* Hands out 64-byte aligned pieces; with mem NULL it only counts. */
typedef struct {
  uint8_t *mem;
  size_t at;
} cut_t;

static void *cut_off(cut_t *c, size_t sz) {
  void *piece = c->mem ? c->mem + c->at : NULL;
  c->at += qr_align_up(sz, 64);
  return piece;
}

static void cut_inv(qr_peers_t *p, cut_t *c, qr_inv_t *v, uint32_t cnt) {
  void *mem = cut_off(c, qr_inv_footprint(cnt));
  if (p) qr_inv_init(v, mem, cnt, qr_peer_draw(p));
}

static void cut_slot(qr_peers_t *p, cut_t *c, const qr_peers_cfg_t *cfg, qr_peer_slot_t *s) {
  qr_peer_slot_t none;
  if (!p) s = &none;
  cut_inv(p, c, &s->blocks, PEER_BLOCKS_CNT);
  cut_inv(p, c, &s->txs, PEER_TXS_CNT);
  cut_inv(p, c, &s->asked, PEER_ASKED_CNT);
  for (int k = 0; k < QR_LINK_CLASS_CNT; k++) {
    s->in[k].cap = in_cap((enum qr_link_class)k);
    s->in[k].buf = cut_off(c, s->in[k].cap);
    s->out[k].cap = out_cap(cfg, (enum qr_link_class)k);
    s->out[k].buf = cut_off(c, s->out[k].cap);
  }
}

static void cut_xfer(cut_t *c, const qr_peers_cfg_t *cfg, qr_peer_xfer_t *x) {
  uint32_t chunk_cnt = qr_peer_chunk_max_cnt(cfg->model_max_sz);
  qr_peer_xfer_t none;
  if (!x) x = &none;
  memset(x, 0, sizeof *x);
  x->leaves = cut_off(c, chunk_cnt * sizeof *x->leaves);
  x->have = cut_off(c, chunk_cnt * sizeof *x->have);
  x->bytes = cut_off(c, cfg->model_max_sz);
}

/* Lays everything out behind the object; p NULL: only counts. */
static size_t lay_out(qr_peers_t *p, const qr_peers_cfg_t *cfg) {
  cut_t c = {(uint8_t *)p, 0};
  qr_inv_t none;
  uint32_t window_cnt = cfg->window_cnt ? cfg->window_cnt : WINDOW_CNT;
  cut_off(&c, sizeof *p);
  cut_inv(p, &c, p ? &p->known : &none, KNOWN_CNT);
  cut_inv(p, &c, p ? &p->bad : &none, BAD_CNT);
  cut_inv(p, &c, p ? &p->tx_seen : &none, TX_SEEN_CNT);
  cut_inv(p, &c, p ? &p->tx_later : &none, TX_LATER_CNT);
  cut_inv(p, &c, p ? &p->roots : &none, ROOTS_CNT);
  void *queue = cut_off(&c, QR_PEER_QUEUE_CNT * sizeof(qr_peer_entry_t));
  void *hold = cut_off(&c, (size_t)window_cnt * QR_BLOCK_MAX_SZ);
  void *txs = cut_off(&c, qr_txs_footprint());
  void *compact = cut_off(&c, sizeof(qr_peer_compact_t));
  uint8_t *partial = cut_off(&c, QR_PEER_PARTIAL_CNT * (size_t)QR_BLOCK_MAX_SZ);
  uint32_t xfer_cnt = cfg->peer_max_cnt + QR_PEER_EARLY_CNT;
  void *leaves = cut_off(&c, qr_peer_chunk_max_cnt(cfg->model_max_sz) * sizeof(qr_hash_t));
  void *xfers = cut_off(&c, xfer_cnt * sizeof(qr_peer_xfer_t));
  void *slots = cut_off(&c, cfg->peer_max_cnt * sizeof(qr_peer_slot_t));
  void *part = cut_off(&c, QR_MSG_PART_MAX_SZ);
  uint32_t chunk_cnt = cfg->begin ? cfg->begin->chunk_max_cnt : 0;
  void *snap_leaves = cut_off(&c, chunk_cnt * sizeof(qr_hash_t));
  void *have = cut_off(&c, chunk_cnt);
  void *bufs = cut_off(&c, cfg->begin ? (size_t)QR_PEER_SNAP_SLOT_CNT * QR_SNAPSHOT_CHUNK_SZ : 0);
  void *book = cfg->exchange ? cut_off(&c, qr_book_footprint()) : NULL;
  if (p) {
    p->sync.queue = queue;
    p->sync.hold = hold;
    qr_txs_init(&p->txs, txs, qr_peer_draw(p));
    p->compact = compact;
    for (uint32_t i = 0; i < QR_PEER_PARTIAL_CNT; i++)
      p->partials[i].block = partial + i * (size_t)QR_BLOCK_MAX_SZ;
    p->leaves = leaves;
    p->xfers = xfers;
    p->xfer_cnt = xfer_cnt;
    p->part = part;
    p->snap.leaves = snap_leaves;
    p->snap.have = have;
    p->snap.bufs = bufs;
    if (chunk_cnt) memset(have, 0, chunk_cnt);
    p->slots = slots;
    if (cfg->exchange) p->book = qr_book_init(book, cfg->book_key);
    memset(slots, 0, cfg->peer_max_cnt * sizeof(qr_peer_slot_t));
  }
  for (uint32_t i = 0; i < cfg->peer_max_cnt; i++) cut_slot(p, &c, cfg, p ? &p->slots[i] : NULL);
  for (uint32_t i = 0; i < xfer_cnt; i++) cut_xfer(&c, cfg, p ? &p->xfers[i] : NULL);
  return c.at;
}

size_t qr_peers_footprint(const qr_peers_cfg_t *cfg) {
  return cfg_ok(cfg) ? lay_out(NULL, cfg) : 0;
}

qr_peers_t *qr_peers_init(void *mem, const qr_peers_cfg_t *cfg, uint64_t now_ns) {
  QR_ASSERT(cfg_ok(cfg));
  qr_peers_t *p = mem;
  memset(p, 0, sizeof *p);
  p->cfg = *cfg;
  p->now_ns = now_ns;
  p->rng = cfg->seed;
  if (!p->cfg.window_cnt) p->cfg.window_cnt = WINDOW_CNT;
  p->sync.failed = UINT64_MAX;
  if (!p->cfg.ban_ns) p->cfg.ban_ns = BAN_NS;
  memcpy(p->agent, cfg->agent, strlen(cfg->agent));
  for (uint32_t i = 0; i < cfg->static_cnt; i++) p->statics[i].addr = cfg->statics[i];
  p->tip.hash = cfg->genesis;
  p->locator[0] = cfg->genesis;
  p->locator_cnt = 1;
  p->start_ns = now_ns;
  p->evict_salt = qr_peer_draw(p);
  lay_out(p, cfg);
  qr_peer_outbound_init(p);
  qr_inv_add(&p->known, &cfg->genesis);
  return p;
}

void qr_peers_fini(qr_peers_t *p) {
  for (uint32_t i = 0; i < p->cfg.peer_max_cnt; i++) {
    if (p->slots[i].state != QR_PEER_FREE) qr_peer_doom(p, &p->slots[i], "shutting down");
  }
  qr_peer_reap(p);
}

/* ---- helpers of the other files ---- */

/* Jitter, nonces and salts, nothing secret for long. */
uint64_t qr_peer_draw(qr_peers_t *p) { return qr_splitmix_next(&p->rng); }

qr_peer_slot_t *qr_peer_find(const qr_peers_t *p, qr_peer_id_t id) {
  uint32_t i = id & 0xff;
  if (!id || i >= p->cfg.peer_max_cnt) return NULL;
  qr_peer_slot_t *s = &p->slots[i];
  return s->state == QR_PEER_UP && s->id == id && !s->doom ? s : NULL;
}

uint32_t qr_peer_wall_s(const qr_peers_t *p) {
  return (uint32_t)((p->cfg.wall_ms + (p->now_ns - p->start_ns) / QR_PEER_MSEC) / 1000);
}

bool qr_peer_give_block(qr_peers_t *p, qr_peer_id_t from, const qr_hash_t *h, const uint8_t *block,
                        size_t sz) {
  if (!p->cfg.app->on_block(p->cfg.ctx, from, h, block, sz)) return false;
  p->given[p->given_idx++ % QR_PEER_GIVEN_CNT] = (qr_peer_given_t){*h, from};
  return true;
}

static void thank(qr_peers_t *p, const qr_hash_t *h) {
  for (uint32_t i = 0; i < QR_PEER_GIVEN_CNT; i++) {
    qr_peer_given_t *g = &p->given[i];
    if (!g->id || !qr_hash_eq(&g->hash, h)) continue;
    qr_peer_slot_t *s = qr_peer_find(p, g->id);
    if (s) s->block_ns = p->now_ns;
    g->id = 0;
    return;
  }
}

bool qr_peer_work_more(const qr_u256_t *a, const qr_u256_t *b) { return qr_u256_cmp(a, b) > 0; }

/* ---- announcing ---- */

static void announce(qr_peers_t *p, qr_peer_slot_t *s, const qr_peer_claim_t *c) {
  if (s->state != QR_PEER_UP || s->doom || qr_inv_has(&s->blocks, &c->hash)) return;
  qr_msg_t m = {.type = QR_MSG_ANNOUNCE, .announce = {c->hash, c->height, c->work}};
  if (qr_peer_out_msg(p, s, &m))
    qr_inv_add(&s->blocks, &c->hash); /* no room: the next refresh tries again */
}

void qr_peer_tell_tip(qr_peers_t *p, qr_peer_slot_t *s) { announce(p, s, &p->tip); }

/* A peer's claim of as much work as ours starts no sync, and was out of reach when it was made if
   we were syncing then: ask for that block once, so that the tie rule gets to see it. */
static void look_for_tie(qr_peers_t *p, qr_peer_slot_t *s) {
  if (s->state != QR_PEER_UP || s->doom || qr_peer_sync_active(p)) return;
  if (qr_u256_cmp(&s->claim.work, &p->tip.work) != 0 || qr_hash_eq(&s->claim.hash, &s->tie)) return;
  if (qr_inv_has(&p->known, &s->claim.hash)) return;
  qr_peer_claim_t claim = s->claim;
  s->tie = claim.hash;
  qr_peer_fetch_claim(p, s, &claim);
}

static void refresh(qr_peers_t *p) {
  if (p->now_ns < p->refresh_ns) return;
  p->refresh_ns = p->now_ns + REFRESH_NS;
  for (uint32_t i = 0; i < p->cfg.peer_max_cnt; i++) {
    announce(p, &p->slots[i], &p->tip);
    look_for_tie(p, &p->slots[i]);
  }
}

/* ---- poll ---- */

static void poll_link(qr_peers_t *p) {
  qr_link_event_t ev[EVENT_CNT];
  int n = EVENT_CNT;
  for (int round = 0; round < ROUND_CNT && n == EVENT_CNT; round++) {
    n = p->cfg.ops->poll(p->cfg.link, p->now_ns, ev, EVENT_CNT);
    p->work_cnt += n;
    for (int i = 0; i < n; i++) {
      qr_peer_event(p, &ev[i]);
      qr_peer_reap(p);
    }
  }
}

/* Packets came or went: what is under way on the link wants the next poll soon, although there may
   be nothing in it for us. */
static bool link_moved(qr_peers_t *p) {
  qr_link_stats_t st;
  p->cfg.ops->stats(p->cfg.link, &st);
  uint64_t before = p->packet_cnt;
  p->packet_cnt = st.rx_pkts + st.tx_pkts;
  return p->packet_cnt != before;
}

int qr_peers_poll(qr_peers_t *p, uint64_t now_ns) {
  if (now_ns > p->now_ns) p->now_ns = now_ns;
  p->work_cnt = 0;
  qr_peer_reap(p); /* whom the application's verdicts doomed */
  poll_link(p);
  for (uint32_t i = 0; i < p->cfg.peer_max_cnt; i++) qr_peer_session_timers(p, &p->slots[i]);
  qr_peer_dial_poll(p);
  qr_peer_outbound_poll(p);
  qr_peer_reap(p);
  if (p->cfg.begin) {
    qr_peer_snap_poll(p);
  } else {
    qr_peer_model_poll(p);
    qr_peer_fetch_poll(p);
    qr_peer_sync_poll(p);
  }
  qr_peer_reap(p);
  refresh(p);
  qr_peer_tx_poll(p);
  for (uint32_t i = 0; i < p->cfg.peer_max_cnt; i++) {
    qr_peer_slot_t *s = &p->slots[i];
    if (s->state == QR_PEER_UP) {
      qr_peer_serve_poll(p, s);
      qr_peer_snap_serve(p, s);
    }
    if (s->state > QR_PEER_DIALING) qr_peer_out_flush(p, s);
  }
  return p->work_cnt + link_moved(p);
}

/* ---- the application's side ---- */

void qr_peers_set_tip(qr_peers_t *p, const qr_hash_t *hash, uint64_t height, const qr_u256_t *work,
                      const qr_hash_t *locator, uint32_t locator_cnt) {
  QR_ASSERT(locator_cnt && locator_cnt <= QR_MSG_LOCATOR_MAX_CNT);
  if (!qr_hash_eq(&p->tip.hash, hash)) {
    p->addrs.tip_ns = p->now_ns;
    qr_peer_tx_tip(p);
  }
  p->tip = (qr_peer_claim_t){*hash, height, *work};
  memcpy(p->locator, locator, locator_cnt * sizeof *locator);
  p->locator_cnt = locator_cnt;
  qr_inv_add(&p->known, hash);
  if (!qr_peer_sync_active(p)) p->refresh_ns = p->now_ns;
}

void qr_peers_accepted(qr_peers_t *p, const qr_hash_t *hash, uint64_t height,
                       const qr_u256_t *work) {
  qr_inv_add(&p->known, hash);
  qr_peer_offer_kept(p, hash);
  thank(p, hash);
  qr_peer_fetch_verdict(p, hash, QR_VERDICT_OK);
  qr_peer_sync_verdict(p, 0, hash, QR_VERDICT_OK);
  if (qr_peer_sync_active(p)) return; /* history: the refresh tells of the tip now and then */
  qr_peer_claim_t c = {*hash, height, *work};
  for (uint32_t i = 0; i < p->cfg.peer_max_cnt; i++) announce(p, &p->slots[i], &c);
}

/* What a verdict costs the sender of the block. */
static uint32_t cost_of(enum qr_verdict v) {
  if (qr_verdict_is_invalid(v)) return QR_PEER_STRIKE_LIMIT;
  switch (v) {
  case QR_VERDICT_PARENT_UNKNOWN: return 2;
  case QR_VERDICT_TIME_AHEAD: return 1;
  case QR_VERDICT_TOO_DEEP: return 5;
  default: return 0;
  }
}

/* A sender that left before its block was judged is banned all the same. */
static void blame_past(qr_peers_t *p, qr_peer_id_t from) {
  for (uint32_t i = 0; from && i < QR_PEER_PAST_CNT; i++) {
    if (p->past[i].id == from) qr_peer_ban(p, &p->past[i].pk, &p->past[i].addr);
  }
}

void qr_peers_rejected(qr_peers_t *p, qr_peer_id_t from, const qr_hash_t *hash,
                       enum qr_verdict verdict) {
  QR_ASSERT(verdict != QR_VERDICT_OK);
  qr_peer_slot_t *s = qr_peer_find(p, from);
  qr_peer_fetch_verdict(p, hash, verdict);
  bool of_sync = qr_peer_sync_verdict(p, from, hash, verdict);
  if (verdict == QR_VERDICT_PARENT_UNKNOWN && !of_sync && s) p->sync.forced = from;
  /* In a sync one missing block leaves all after it without a parent, whatever it is missing for:
   * that ends the role, at its own price, once. */
  bool told = of_sync && verdict == QR_VERDICT_PARENT_UNKNOWN;
  if (s)
    qr_peer_strike(p, s, told ? 0 : cost_of(verdict), qr_verdict_str(verdict));
  else if (qr_verdict_is_invalid(verdict))
    blame_past(p, from);
}

qr_peers_progress_t qr_peers_progress(const qr_peers_t *p) {
  uint64_t fruit_ns = p->sync.fruit_ns;
  qr_peers_progress_t out = {.height = p->tip.height, .target_height = p->tip.height};
  out.syncing = qr_peer_sync_active(p) && fruit_ns && p->now_ns - fruit_ns < FRUIT_NS;
  if (out.syncing) qr_peer_sync_progress(p, &out);
  for (uint32_t i = 0; i < p->cfg.peer_max_cnt; i++)
    out.peer_cnt += p->slots[i].state == QR_PEER_UP;
  return out;
}

void qr_peers_stats(const qr_peers_t *p, qr_peers_stats_t *out) { *out = p->stats; }

uint32_t qr_peers_list(const qr_peers_t *p, qr_peer_info_t *out, uint32_t max) {
  uint32_t cnt = 0;
  for (uint32_t i = 0; i < p->cfg.peer_max_cnt && cnt < max; i++) {
    if (p->slots[i].state == QR_PEER_UP && !p->slots[i].doom)
      qr_peer_info(p, &p->slots[i], &out[cnt++]);
  }
  return cnt;
}

void qr_peers_counts(const qr_peers_t *p, qr_peers_counts_t *out) {
  *out = (qr_peers_counts_t){0};
  if (p->book) {
    qr_book_counts_t c;
    qr_book_counts(p->book, &c);
    out->new_cnt = c.new_cnt;
    out->tried_cnt = c.tried_cnt;
  }
  for (uint32_t i = 0; i < QR_PEER_ANCHOR_CNT; i++)
    out->anchor_cnt += p->addrs.anchors[i].addr.port != 0;
  for (uint32_t i = 0; i < QR_PEER_BAN_CNT; i++) out->ban_cnt += p->bans[i].until_ns > p->now_ns;
  for (uint32_t i = 0; i < p->cfg.peer_max_cnt; i++) {
    const qr_peer_slot_t *s = &p->slots[i];
    if (s->state != QR_PEER_UP || s->doom) continue;
    out->inbound_cnt += s->inbound;
    out->outbound_cnt += s->from_book;
  }
}
