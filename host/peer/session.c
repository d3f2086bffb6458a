/* A session's life: link up, HELLO both ways, READY both ways, up, down. One session per identity.
 */
#include "peer/internal.h"

#define DIAL_NS (15 * QR_PEER_SEC)      /* to reach link UP */
#define BOOK_DIAL_NS (6 * QR_PEER_SEC)  /* the same for an address that may well be nobody's */
#define HANDSHAKE_NS (10 * QR_PEER_SEC) /* from link UP to our UP */
#define LINGER_NS (1 * QR_PEER_SEC)     /* of a refused session */
#define PING_EVERY_NS (20 * QR_PEER_SEC)
#define PONG_NS (20 * QR_PEER_SEC)
#define STUCK_NS                                                                                   \
  (60 * QR_PEER_SEC) /* longest time in which a peer reads nothing of what waits for it */

static qr_peer_slot_t *by_conn(const qr_peers_t *p, qr_link_conn_t conn) {
  for (uint32_t i = 0; i < p->cfg.peer_max_cnt; i++) {
    if (p->slots[i].state != QR_PEER_FREE && p->slots[i].conn == conn) return &p->slots[i];
  }
  return NULL;
}

void qr_peer_doom(qr_peers_t *p, qr_peer_slot_t *s, const char *why) {
  if (s->doom) return;
  s->doom = why;
  p->doomed = true;
}

/* Clears everything but the memory that belongs to the slot. */
static void slot_wipe(qr_peers_t *p, qr_peer_slot_t *s) {
  qr_peer_slot_t old = *s;
  memset(s, 0, sizeof *s);
  s->generation = old.generation;
  for (int c = 0; c < QR_LINK_CLASS_CNT; c++) {
    s->in[c] = (qr_peer_in_t){.buf = old.in[c].buf, .cap = old.in[c].cap};
    s->out[c] = (qr_peer_out_t){.buf = old.out[c].buf, .cap = old.out[c].cap};
  }
  s->blocks = old.blocks;
  s->txs = old.txs;
  s->asked = old.asked;
  qr_inv_clear(&s->blocks);
  qr_inv_clear(&s->txs);
  qr_inv_clear(&s->asked);
  qr_peer_limit_reset(p, s);
}

qr_peer_slot_t *qr_peer_slot_new(qr_peers_t *p, qr_link_conn_t conn, bool inbound,
                                 const qr_link_addr_t *addr) {
  qr_peer_slot_t *s = NULL;
  for (uint32_t i = 0; i < p->cfg.peer_max_cnt && !s; i++) {
    if (p->slots[i].state == QR_PEER_FREE) s = &p->slots[i];
  }
  if (!s) return NULL;
  slot_wipe(p, s);
  s->generation = (s->generation + 1) & 0xffffff;
  if (!s->generation) s->generation = 1;
  s->id = s->generation << 8 | (uint32_t)(s - p->slots);
  s->state = QR_PEER_DIALING;
  s->conn = conn;
  s->inbound = inbound;
  s->addr = *addr;
  s->static_idx = -1;
  s->since_ns = s->rx_ns = p->now_ns;
  return s;
}

void qr_peer_info(const qr_peers_t *p, const qr_peer_slot_t *s, qr_peer_info_t *out) {
  memset(out, 0, sizeof *out);
  out->identity = s->pk;
  out->addr = s->addr;
  out->inbound = s->inbound;
  out->role = s->inbound     ? QR_PEER_ROLE_INBOUND
              : s->from_book ? QR_PEER_ROLE_BOOK
                             : QR_PEER_ROLE_STATIC;
  out->pruned = s->pruned;
  out->listen_port = s->listen_port;
  memcpy(out->agent, s->agent, sizeof out->agent);
  out->height = s->claim.height;
  out->work = s->claim.work;
  out->rtt_ns = s->rtt_ns;
  for (int c = 0; c < QR_LINK_CLASS_CNT; c++) {
    out->rx_bytes += out->rx_class[c] = s->rx_bytes[c];
    out->tx_bytes += out->tx_class[c] = s->tx_bytes[c];
  }
  out->connected_ms = (p->now_ns - s->up_ns) / QR_PEER_MSEC;
  out->misbehaviour = qr_peer_strikes(p, s);
}

/* ---- the end ---- */

static void take_down(qr_peers_t *p, qr_peer_slot_t *s) {
  const char *why = s->doom;
  char hex[17], addr[56];
  if (!s->link_gone) p->cfg.ops->disconnect(p->cfg.link, s->conn);
  if (s->state == QR_PEER_UP) {
    p->past[p->past_idx++ % QR_PEER_PAST_CNT] =
        (qr_peer_past_t){s->id, s->pk, s->addr, s->snap.vouches};
    qr_peer_tx_gone(p, s);
    qr_peer_model_gone(p, s);
    qr_peer_fetch_gone(p, s);
    qr_peer_sync_gone(p, s);
    qr_peer_snap_gone(p, s);
    p->cfg.app->on_peer_down(p->cfg.ctx, s->id, why);
    qr_log_limited(&p->log_session, QR_LOG_INFO, QR_PEER_TILE,
                   "event=peer-down peer=%s addr=%s why=\"%s\"", qr_hex(hex, s->pk.b, 8),
                   qr_link_addr_str(&s->addr, addr), why);
  }
  qr_peer_dial_ended(p, s);
  s->state = QR_PEER_FREE;
}

void qr_peer_reap(qr_peers_t *p) {
  while (p->doomed) { /* taking one down dooms no more than the others */
    p->doomed = false;
    for (uint32_t i = 0; i < p->cfg.peer_max_cnt; i++) {
      if (p->slots[i].state != QR_PEER_FREE && p->slots[i].doom) take_down(p, &p->slots[i]);
    }
  }
}

/* ---- the beginning ---- */

static void refuse(qr_peers_t *p, qr_peer_slot_t *s, const char *why) {
  char hex[17], addr[56];
  p->stats.handshakes_refused++;
  qr_log_limited(&p->log_session, QR_LOG_WARN, QR_PEER_TILE,
                 "event=peer-refused peer=%s addr=%s why=\"%s\"", qr_hex(hex, s->pk.b, 8),
                 qr_link_addr_str(&s->addr, addr), why);
}

/* Of two links to one identity both ends keep the one that the smaller identity dialled; of two
   dialled by the same end, the newer, because the older is dead or its owner would not dial again.
   True if s stays. */
static bool settle_duplicate(qr_peers_t *p, qr_peer_slot_t *s) {
  for (uint32_t i = 0; i < p->cfg.peer_max_cnt; i++) {
    qr_peer_slot_t *o = &p->slots[i];
    bool rival = o != s && !o->doom &&
                 (o->state == QR_PEER_HELLO || o->state == QR_PEER_READY || o->state == QR_PEER_UP);
    if (!rival || !qr_pubkey_eq(&o->pk, &s->pk)) continue;
    if (!s->inbound && o->state == QR_PEER_UP)
      qr_peer_outbound_met(p, s); /* so that is where it is */
    if (s->feeler) {
      qr_peer_doom(p, s, "its address was tried");
      return false;
    }
    bool we_are_smaller = memcmp(p->cfg.self.b, s->pk.b, sizeof s->pk.b) < 0;
    bool keep_new = o->inbound == s->inbound || s->inbound != we_are_smaller;
    qr_peer_doom(p, keep_new ? o : s, "another connection to the same peer is kept");
    return keep_new;
  }
  return true;
}

static void send_hello(qr_peers_t *p, qr_peer_slot_t *s) {
  qr_msg_t m = {.type = QR_MSG_HELLO};
  m.hello = (qr_msg_hello_t){.version = QR_MSG_VERSION,
                             .chain_id = p->cfg.chain_id,
                             .rules = p->cfg.rules,
                             .genesis = p->cfg.genesis,
                             .tip = p->tip.hash,
                             .height = p->tip.height,
                             .work = p->tip.work,
                             .listen_port = p->cfg.listen_port,
                             .features = (p->cfg.pruned ? QR_MSG_FEATURE_PRUNED : 0) |
                                         (p->cfg.offers ? QR_MSG_FEATURE_SNAPSHOT : 0) |
                                         (p->book ? QR_MSG_FEATURE_ADDRS : 0) | QR_MSG_FEATURE_FEE,
                             .agent_sz = (uint8_t)strlen(p->agent)};
  memcpy(m.hello.agent, p->agent, m.hello.agent_sz);
  if (!qr_peer_out_msg(p, s, &m)) QR_ASSERT(!"an empty queue has room for HELLO");
  qr_inv_add(&s->blocks, &p->tip.hash);
}

static void on_link_up(qr_peers_t *p, const qr_link_event_t *ev) {
  qr_peer_slot_t *s = by_conn(p, ev->conn);
  if (!s && ev->inbound && qr_peer_place_for(p, &ev->addr, &ev->peer))
    s = qr_peer_slot_new(p, ev->conn, true, &ev->addr);
  if (!s) {
    p->stats.handshakes_refused++;
    p->stats.inbound_refused++;
    p->cfg.ops->disconnect(p->cfg.link, ev->conn);
    return;
  }
  s->pk = ev->peer;
  s->since_ns = s->rx_ns = p->now_ns;
  if (!s->inbound) qr_peer_dial_met(p, s);
  const char *why = NULL;
  if (qr_pubkey_eq(&s->pk, &p->cfg.self))
    why = "it is this node itself";
  else if (qr_peer_banned(p, &s->pk, &s->addr))
    why = "banned";
  if (why) {
    refuse(p, s, why);
    if (!s->inbound && qr_pubkey_eq(&s->pk, &p->cfg.self)) qr_peer_outbound_wrong(p, s);
    qr_peer_doom(p, s, why);
    return;
  }
  if (!settle_duplicate(p, s)) return;
  s->state = QR_PEER_HELLO;
  send_hello(p, s);
}

static const char *mismatch(const qr_peers_t *p, const qr_msg_hello_t *h) {
  if (h->version != QR_MSG_VERSION) return "speaks another protocol version";
  if (h->chain_id != p->cfg.chain_id) return "follows another chain (chain id differs)";
  if (!qr_hash_eq(&h->genesis, &p->cfg.genesis)) return "follows another chain (genesis differs)";
  if (!qr_hash_eq(&h->rules, &p->cfg.rules))
    return "follows other rules (rules hash differs: other parameters or step programs)";
  return NULL;
}

void qr_peer_on_hello(qr_peers_t *p, qr_peer_slot_t *s, const qr_msg_hello_t *h) {
  const char *why = mismatch(p, h);
  if (why) {
    refuse(p, s, why);
    if (!s->inbound) qr_peer_outbound_wrong(p, s);
    s->state = QR_PEER_CLOSING;
    s->since_ns = p->now_ns;
    return;
  }
  if (s->feeler) {
    qr_peer_outbound_met(p, s);
    qr_peer_doom(p, s, "its address was tried");
    return;
  }
  s->addrs = h->features & QR_MSG_FEATURE_ADDRS;
  s->fees = h->features & QR_MSG_FEATURE_FEE;
  s->listen_port = h->listen_port;
  s->pruned = h->features & QR_MSG_FEATURE_PRUNED;
  s->snap.offers = h->features & QR_MSG_FEATURE_SNAPSHOT;
  memcpy(s->agent, h->agent, h->agent_sz);
  s->claim = (qr_peer_claim_t){h->tip, h->height, h->work};
  s->state = QR_PEER_READY;
  if (!qr_peer_out_msg(p, s, &(qr_msg_t){.type = QR_MSG_READY}))
    QR_ASSERT(!"HELLO and READY fit the control queue");
}

void qr_peer_set_up(qr_peers_t *p, qr_peer_slot_t *s) {
  char hex[17], addr[56];
  s->state = QR_PEER_UP;
  s->up_ns = p->now_ns;
  s->ping_next_ns = p->now_ns;
  for (int c = 0; c < QR_LINK_CLASS_CNT; c++) s->out[c].moved_ns = p->now_ns;
  qr_log_limited(&p->log_session, QR_LOG_INFO, QR_PEER_TILE,
                 "event=peer-up peer=%s addr=%s inbound=%d height=%llu agent=\"%s\"",
                 qr_hex(hex, s->pk.b, 8), qr_link_addr_str(&s->addr, addr), s->inbound,
                 (unsigned long long)s->claim.height, s->agent);
  qr_peer_info_t info;
  qr_peer_info(p, s, &info);
  p->cfg.app->on_peer_up(p->cfg.ctx, s->id, &info);
  if (!s->inbound) qr_peer_outbound_met(p, s);
  qr_peer_gossip_up(p, s);
  qr_peer_tell_tip(p, s);
  qr_peer_claim_t claim = s->claim;
  qr_peer_fetch_claim(p, s, &claim);
}

/* ---- events and timers ---- */

void qr_peer_event(qr_peers_t *p, const qr_link_event_t *ev) {
  if (ev->kind == QR_LINK_UP) {
    on_link_up(p, ev);
    return;
  }
  qr_peer_slot_t *s = by_conn(p, ev->conn);
  if (!s) return; /* taken down earlier in the same poll */
  switch (ev->kind) {
  case QR_LINK_DOWN:
    s->link_gone = true;
    qr_peer_doom(p, s, ev->reason ? ev->reason : "link down");
    break;
  case QR_LINK_DATA:
    s->rx_ns = p->now_ns;
    s->rx_bytes[ev->cls] += ev->sz;
    qr_peer_recv(p, s, ev->cls, ev->data, ev->sz);
    break;
  default: s->out[ev->cls].blocked = false; break;
  }
}

static void ping(qr_peers_t *p, qr_peer_slot_t *s) {
  if (s->ping_nonce) {
    if (p->now_ns - s->ping_ns >= PONG_NS) qr_peer_doom(p, s, "no answer to a ping");
    return;
  }
  if (p->now_ns < s->ping_next_ns) return;
  qr_msg_t m = {.type = QR_MSG_PING, .ping = {qr_peer_draw(p) | 1}};
  if (!qr_peer_out_msg(p, s, &m)) return; /* a full queue is the business of STUCK_NS */
  s->ping_nonce = m.ping.nonce;
  s->ping_ns = p->now_ns;
  s->ping_next_ns = p->now_ns + PING_EVERY_NS;
}

void qr_peer_session_timers(qr_peers_t *p, qr_peer_slot_t *s) {
  uint64_t age = p->now_ns - s->since_ns;
  switch (s->state) {
  case QR_PEER_FREE: return;
  case QR_PEER_DIALING:
    if (age >= (s->from_book ? BOOK_DIAL_NS : DIAL_NS)) qr_peer_doom(p, s, "no connection in time");
    return;
  case QR_PEER_HELLO:
  case QR_PEER_READY:
    if (age >= HANDSHAKE_NS) qr_peer_doom(p, s, "no handshake in time");
    return;
  case QR_PEER_CLOSING:
    if (age >= LINGER_NS) qr_peer_doom(p, s, "refused");
    return;
  default: break;
  }
  ping(p, s);
  qr_peer_gossip_poll(p, s);
  for (int c = 0; c < QR_LINK_CLASS_CNT; c++) {
    if (s->out[c].sz && p->now_ns - s->out[c].moved_ns >= STUCK_NS)
      qr_peer_doom(p, s, "reads nothing");
  }
}
