/* From bytes to messages: framing, the order of the handshake, dispatch. */
#include "peer/internal.h"

#define COST_UNKNOWN 1u
#define COST_RATE 1u
#define COST_STRAY 1u /* an answer to nothing that was asked */
#define COST_TYPE_TWICE 5u
#define COST_MALFORMED 100u /* bytes that no honest implementation sends */

static void malformed(qr_peers_t *p, qr_peer_slot_t *s, const char *why) {
  p->stats.frames_bad++;
  qr_peer_strike(p, s, COST_MALFORMED, why);
}

static void on_block(qr_peers_t *p, qr_peer_slot_t *s, const qr_msg_block_t *b) {
  qr_header_t h;
  qr_header_decode(b->block, &h);
  qr_hash_t hash = qr_header_hash(&h);
  p->stats.blocks_rx++;
  qr_inv_add(&s->blocks, &hash);
  if (qr_peer_sync_block(p, s, &hash, b->block, b->sz)) return;
  if (qr_peer_fetch_block(p, s, &hash, b->block, b->sz)) return;
  p->stats.unsolicited++;
  if (!qr_inv_has(&s->asked, &hash))
    qr_peer_strike(p, s, COST_STRAY, "sent a block that was not asked for");
}

static void on_pong(qr_peers_t *p, qr_peer_slot_t *s, uint64_t nonce) {
  if (!s->ping_nonce || nonce != s->ping_nonce) {
    p->stats.unsolicited++;
    qr_peer_strike(p, s, COST_STRAY, "answered a ping that was not sent");
    return;
  }
  s->rtt_ns = p->now_ns - s->ping_ns;
  if (!s->rtt_min_ns || s->rtt_ns < s->rtt_min_ns) s->rtt_min_ns = s->rtt_ns;
  s->ping_nonce = 0;
}

static void on_not_found(qr_peers_t *p, qr_peer_slot_t *s, const qr_msg_not_found_t *n) {
  if (n->kind == QR_MSG_WANT_SNAPSHOT)
    qr_peer_snap_refused(p, s);
  else if (n->kind == QR_MSG_WANT_MODEL)
    qr_peer_model_refused(p, s, &n->hash);
  else {
    if (n->kind == QR_MSG_WANT_BLOCK) qr_peer_fetch_refused(p, s, &n->hash);
    qr_peer_sync_refused(p, s, n->kind, &n->hash);
  }
}

static void dispatch(qr_peers_t *p, qr_peer_slot_t *s, const qr_msg_t *m) {
  switch (m->type) {
  case QR_MSG_HELLO:
  case QR_MSG_READY: qr_peer_strike(p, s, COST_TYPE_TWICE, "repeated the handshake"); break;
  case QR_MSG_PING:
    if (!qr_peer_out_msg(p, s, &(qr_msg_t){.type = QR_MSG_PONG, .ping = m->ping}))
      p->stats.rate_dropped++;
    break;
  case QR_MSG_PONG: on_pong(p, s, m->ping.nonce); break;
  case QR_MSG_ANNOUNCE: {
    qr_peer_claim_t c = {m->announce.hash, m->announce.height, m->announce.work};
    qr_peer_fetch_claim(p, s, &c);
    break;
  }
  case QR_MSG_BLOCK: on_block(p, s, &m->block); break;
  case QR_MSG_LEAVES: qr_peer_model_leaves(p, s, &m->leaves); break;
  case QR_MSG_OFFER: qr_peer_offer(p, s, &m->offer); break;
  case QR_MSG_COMPACT: qr_peer_compact_block(p, s, &m->compact); break;
  case QR_MSG_BLOCK_TXS: qr_peer_compact_txs(p, s, &m->block_txs); break;
  case QR_MSG_GET_BLOCK:
  case QR_MSG_GET_COMPACT:
  case QR_MSG_GET_BLOCK_TXS:
  case QR_MSG_GET_MODEL:
  case QR_MSG_GET_HEADERS: qr_peer_serve_ask(p, s, m); break;
  case QR_MSG_MODEL: qr_peer_model_chunk(p, s, &m->model); break;
  case QR_MSG_HEADERS: qr_peer_sync_headers(p, s, &m->headers); break;
  case QR_MSG_TX: qr_peer_tx(p, s, m->tx.tx); break;
  case QR_MSG_TX_IDS: qr_peer_tx_ids(p, s, &m->tx_ids); break;
  case QR_MSG_GET_TXS: qr_peer_tx_get(p, s, &m->tx_ids); break;
  case QR_MSG_GET_SNAPSHOT:
  case QR_MSG_GET_CHUNK: qr_peer_snap_ask(p, s, m); break;
  case QR_MSG_SNAPSHOT: qr_peer_snap_leaves(p, s, &m->snapshot); break;
  case QR_MSG_CHUNK: qr_peer_snap_part(p, s, &m->chunk); break;
  case QR_MSG_FEE_MIN: qr_peer_tx_fee(s, m->fee_min.fee); break;
  case QR_MSG_GET_ADDRS: qr_peer_gossip_ask(p, s); break;
  case QR_MSG_ADDRS: qr_peer_gossip_addrs(p, s, &m->addrs); break;
  default: on_not_found(p, s, &m->not_found); break;
  }
}

/* A peer sends anything but HELLO and READY only after it had our READY, but its streams may
   overtake each other: in state READY any later message says what the READY on its way will say.
   That READY is then the one that may still come. */
static void on_frame(qr_peers_t *p, qr_peer_slot_t *s, enum qr_link_class cls, uint8_t type,
                     const uint8_t *payload, uint32_t sz) {
  p->stats.frames_rx++;
  p->work_cnt++;
  if (cls == QR_LINK_CONTROL && !qr_peer_spend(p, s, QR_PEER_BUCKET_CONTROL)) {
    p->stats.rate_dropped++;
    qr_peer_strike(p, s, COST_RATE, "too many messages");
    return;
  }
  qr_msg_t m;
  if (qr_msg_decode(type, payload, sz, &m) != QR_VERDICT_OK) {
    malformed(p, s, "malformed message");
    return;
  }
  if (s->state == QR_PEER_HELLO) {
    if (type == QR_MSG_HELLO)
      qr_peer_on_hello(p, s, &m.hello);
    else
      malformed(p, s, "first message is not HELLO");
    return;
  }
  if (type == QR_MSG_READY && !s->got_ready) {
    s->got_ready = true;
    if (s->state == QR_PEER_READY) qr_peer_set_up(p, s);
    return;
  }
  if (s->state == QR_PEER_READY) {
    if (type == QR_MSG_HELLO) {
      malformed(p, s, "second HELLO");
      return;
    }
    qr_peer_set_up(p, s);
  }
  dispatch(p, s, &m);
}

/* Judges a frame's head before anything more is taken. False if the peer is doomed by it. */
static bool check_head(qr_peers_t *p, qr_peer_slot_t *s, enum qr_link_class cls,
                       const uint8_t *head, uint32_t *sz, uint8_t *type) {
  if (qr_msg_head(head, sz, type) != QR_VERDICT_OK) {
    malformed(p, s, "message size out of bounds");
    return false;
  }
  if (!qr_msg_known(*type) && s->state != QR_PEER_HELLO) {
    p->stats.frames_unknown++;
    qr_peer_strike(p, s, COST_UNKNOWN, "unknown message type");
    return !s->doom;
  }
  if (qr_msg_known(*type) && (enum qr_link_class)qr_msg_class_of(*type) == cls) return true;
  malformed(p, s,
            qr_msg_known(*type) ? "message on the wrong stream" : "first message is not HELLO");
  return false;
}

/* Adds up to want_sz - in->sz bytes to the assembly buffer; returns how many were taken. */
static size_t gather(qr_peer_in_t *in, uint32_t want_sz, const uint8_t *data, size_t sz) {
  size_t n = want_sz > in->sz ? want_sz - in->sz : 0;
  if (n > sz) n = sz;
  QR_ASSERT(in->sz + n <= in->cap);
  memcpy(in->buf + in->sz, data, n);
  in->sz += (uint32_t)n;
  return n;
}

/* Takes one step through data: skips, completes a head, or completes a frame. Returns the bytes
 * used, 0 to stop. */
static size_t step(qr_peers_t *p, qr_peer_slot_t *s, enum qr_link_class cls, const uint8_t *data,
                   size_t sz) {
  qr_peer_in_t *in = &s->in[cls];
  uint32_t payload_sz;
  uint8_t type;
  if (in->skip) {
    size_t n = in->skip < sz ? in->skip : sz;
    in->skip -= (uint32_t)n;
    return n;
  }
  bool in_place = !in->sz && sz >= QR_MSG_HEAD_SZ;
  size_t used = in_place ? QR_MSG_HEAD_SZ : gather(in, QR_MSG_HEAD_SZ, data, sz);
  if (!in_place && in->sz < QR_MSG_HEAD_SZ) return used;
  /* a head that was judged before its payload came is judged again, to the same end */
  const uint8_t *head = in_place ? data : in->buf;
  if (used && !check_head(p, s, cls, head, &payload_sz, &type)) return 0;
  payload_sz = qr_ld32(head);
  type = head[4];
  if (!qr_msg_known(type)) {
    in->sz = 0;
    in->skip = payload_sz;
    return used;
  }
  if (in_place && sz - used >= payload_sz) {
    on_frame(p, s, cls, type, data + used, payload_sz);
    return used + payload_sz;
  }
  if (in_place) gather(in, QR_MSG_HEAD_SZ, data, QR_MSG_HEAD_SZ);
  used += gather(in, QR_MSG_HEAD_SZ + payload_sz, data + used, sz - used);
  if (in->sz == QR_MSG_HEAD_SZ + payload_sz) {
    in->sz = 0;
    on_frame(p, s, cls, type, in->buf + QR_MSG_HEAD_SZ, payload_sz);
  }
  return used;
}

void qr_peer_recv(qr_peers_t *p, qr_peer_slot_t *s, enum qr_link_class cls, const uint8_t *data,
                  size_t sz) {
  while (sz && !s->doom &&
         s->state != QR_PEER_CLOSING) { /* who was refused may speak another language */
    size_t n = step(p, s, cls, data, sz);
    data += n;
    sz -= n;
  }
}
