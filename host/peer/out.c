/* What waits to be sent: one linear buffer per peer and class, whole frames in, bytes out as the
 * link takes them. */
#include "peer/internal.h"

bool qr_peer_out_room(const qr_peer_slot_t *s, enum qr_link_class cls, size_t sz) {
  const qr_peer_out_t *o = &s->out[cls];
  return (size_t)o->sz + o->reserved + sz <= o->cap;
}

bool qr_peer_out_msg(qr_peers_t *p, qr_peer_slot_t *s, const qr_msg_t *m) {
  enum qr_link_class cls = (enum qr_link_class)qr_msg_class_of(m->type);
  size_t sz = qr_msg_sz(m);
  if (!qr_peer_out_room(s, cls, sz)) return false;
  qr_peer_out_t *o = &s->out[cls];
  if (!o->sz) o->moved_ns = p->now_ns;
  if (o->rd + o->sz + sz > o->cap) {
    memmove(o->buf, o->buf + o->rd, o->sz);
    o->rd = 0;
  }
  o->sz += (uint32_t)qr_msg_encode(m, o->buf + o->rd + o->sz);
  p->stats.frames_tx++;
  return true;
}

void qr_peer_out_flush(qr_peers_t *p, qr_peer_slot_t *s) {
  for (int c = 0; c < QR_LINK_CLASS_CNT; c++) {
    qr_peer_out_t *o = &s->out[c];
    if (!o->sz || o->blocked) continue;
    int64_t n =
        p->cfg.ops->send(p->cfg.link, s->conn, (enum qr_link_class)c, o->buf + o->rd, o->sz);
    if (n < 0) n = 0; /* closed: DOWN follows */
    o->blocked = n < o->sz;
    if (!n) continue;
    p->work_cnt++;
    s->tx_bytes[c] += (uint64_t)n;
    o->rd += (uint32_t)n;
    o->sz -= (uint32_t)n;
    o->moved_ns = p->now_ns;
    if (!o->sz) o->rd = 0;
  }
}
