/* Configured addresses: dialled until they answer, and again whenever they are lost. */
#include "peer/internal.h"

#define BACKOFF_MIN_NS (1 * QR_PEER_SEC)
#define BACKOFF_MAX_NS (60 * QR_PEER_SEC)
#define SETTLED_NS (30 * QR_PEER_SEC) /* a session that lasted so long starts the backoff anew */

bool qr_peer_dial_has_session(const qr_peers_t *p, const qr_pubkey_t *pk) {
  for (uint32_t i = 0; i < p->cfg.peer_max_cnt; i++) {
    const qr_peer_slot_t *s = &p->slots[i];
    if (s->state != QR_PEER_FREE && s->state != QR_PEER_DIALING && !s->doom &&
        qr_pubkey_eq(&s->pk, pk))
      return true;
  }
  return false;
}

/* Doubles the pause, and spreads it by a quarter either way, so that peers of a node that was down
 * do not come all at once. */
static void pause_dial(qr_peers_t *p, qr_peer_static_t *t) {
  t->next_ns = p->now_ns + t->backoff_ns * 3 / 4 + qr_peer_draw(p) % (t->backoff_ns / 2);
  t->backoff_ns = t->backoff_ns * 2 > BACKOFF_MAX_NS ? BACKOFF_MAX_NS : t->backoff_ns * 2;
}

void qr_peer_dial_poll(qr_peers_t *p) {
  for (uint32_t i = 0; i < p->cfg.static_cnt; i++) {
    qr_peer_static_t *t = &p->statics[i];
    if (!t->backoff_ns) t->backoff_ns = BACKOFF_MIN_NS;
    if (t->peer || t->self || p->now_ns < t->next_ns ||
        (t->met && qr_peer_dial_has_session(p, &t->pk)))
      continue;
    qr_link_conn_t conn = 0;
    if (p->cfg.ops->connect(p->cfg.link, &t->addr, NULL, &conn) != QR_OK) {
      pause_dial(p, t);
      continue;
    }
    qr_peer_slot_t *s = qr_peer_slot_new(p, conn, false, &t->addr);
    if (!s) { /* every place is taken */
      p->cfg.ops->disconnect(p->cfg.link, conn);
      pause_dial(p, t);
      continue;
    }
    s->static_idx = (int32_t)i;
    t->peer = s->id;
    p->stats.dials++;
    p->work_cnt++;
  }
}

void qr_peer_dial_met(qr_peers_t *p, const qr_peer_slot_t *s) {
  if (s->static_idx < 0) return;
  qr_peer_static_t *t = &p->statics[s->static_idx];
  t->met = true;
  t->pk = s->pk;
  t->self = qr_pubkey_eq(&s->pk, &p->cfg.self);
}

void qr_peer_dial_ended(qr_peers_t *p, const qr_peer_slot_t *s) {
  if (s->static_idx < 0) return;
  qr_peer_static_t *t = &p->statics[s->static_idx];
  t->peer = 0;
  if (s->state == QR_PEER_UP && p->now_ns - s->up_ns >= SETTLED_NS) t->backoff_ns = BACKOFF_MIN_NS;
  pause_dial(p, t);
}

bool qr_peer_dial_is_static(const qr_peers_t *p, const qr_link_addr_t *addr) {
  for (uint32_t i = 0; i < p->cfg.static_cnt; i++) {
    if (!memcmp(p->statics[i].addr.ip, addr->ip, sizeof addr->ip)) return true;
  }
  return false;
}
