/* Peers out of the address book: as many as configured are dialled and kept, each of a network
   group of its own, so that who sits in few networks never has them all. Nobody who comes in can
   take their places. After Bitcoin's connection manager: anchors, feelers, one more when nothing
   comes. */
#include "peer/internal.h"

#define NEXT_NS (250 * QR_PEER_MSEC) /* between two dials */
#define NONE_NS (2 * QR_PEER_SEC)    /* nobody to dial was found */
#define DRAW_CNT 32u
#define SOON_S 5u   /* between two dials of one address that answered */
#define AGAIN_S 10u /* between two dials of one address, doubled with each failure */
#define DOUBLE_MAX 7u
#define TRUST_FAIL_CNT 3u /* failures after which whoever answers will do */
#define FEELER_NS (120 * QR_PEER_SEC)
#define CHECK_NS (10 * QR_PEER_SEC)
#define STALE_NS (600 * QR_PEER_SEC)    /* our tip has not moved: are the right ones among them? */
#define EXTRA_NS (300 * QR_PEER_SEC)    /* between two that are dialled for that */
#define TRIAL_NS (60 * QR_PEER_SEC)     /* of the one that was dialled for that */
#define REMEMBER_NS (600 * QR_PEER_SEC) /* a peer that stays is met ever again */

static bool is_outbound(const qr_peer_slot_t *s) {
  return s->state != QR_PEER_FREE && !s->doom && s->from_book && !s->feeler;
}

uint32_t qr_peer_outbound_cnt(const qr_peers_t *p) {
  uint32_t cnt = 0;
  for (uint32_t i = 0; i < p->cfg.peer_max_cnt; i++) cnt += is_outbound(&p->slots[i]);
  return cnt;
}

void qr_peer_outbound_init(qr_peers_t *p) {
  p->addrs.tip_ns = p->now_ns;
  p->addrs.feeler_ns = p->now_ns + FEELER_NS;
  p->addrs.check_ns = p->now_ns + REMEMBER_NS;
  p->addrs.salt = qr_peer_draw(p);
}

/* ---- whom ---- */

/* Nobody whom we configured, are connected to at this address, are ourselves, or banned. */
static bool is_free(const qr_peers_t *p, const qr_link_addr_t *a, const qr_pubkey_t *pk) {
  for (uint32_t i = 0; i < p->cfg.static_cnt; i++) {
    if (qr_netaddr_eq(&p->statics[i].addr, a)) return false;
  }
  for (uint32_t i = 0; i < QR_PEER_SELF_CNT; i++) {
    if (qr_netaddr_eq(&p->addrs.selves[i], a)) return false;
  }
  for (uint32_t i = 0; i < p->cfg.peer_max_cnt; i++) {
    const qr_peer_slot_t *s = &p->slots[i];
    if (s->state != QR_PEER_FREE && !s->inbound && qr_netaddr_eq(&s->addr, a)) return false;
  }
  if (pk && qr_peer_dial_has_session(p, pk)) return false;
  return !qr_peer_banned(p, pk ? pk : &p->cfg.self, a) && !qr_netaddr_eq(a, &p->cfg.own);
}

static bool group_taken(const qr_peers_t *p, const qr_link_addr_t *a) {
  qr_netaddr_group_t g = qr_netaddr_group(a);
  for (uint32_t i = 0; i < p->cfg.peer_max_cnt; i++) {
    const qr_peer_slot_t *s = &p->slots[i];
    if (s->state == QR_PEER_FREE || s->doom || s->inbound || s->feeler) continue;
    qr_netaddr_group_t o = qr_netaddr_group(&s->addr);
    if (qr_netaddr_group_eq(&g, &o)) return true;
  }
  return false;
}

static bool is_due(const qr_peers_t *p, const qr_book_item_t *item) {
  uint32_t doubled = item->fail_cnt < DOUBLE_MAX ? item->fail_cnt : DOUBLE_MAX;
  uint32_t pause = item->met >= item->dialed ? SOON_S : AGAIN_S << doubled;
  bool before = item->dialed < (uint32_t)(p->cfg.wall_ms / 1000); /* in another life of the node */
  return !item->dialed || before || qr_peer_wall_s(p) - item->dialed >= pause;
}

/* ---- dialling ---- */

static bool dial(qr_peers_t *p, const qr_link_addr_t *to, const qr_pubkey_t *expect, bool feeler) {
  qr_link_conn_t conn = 0;
  qr_book_dialed(p->book, to, qr_peer_wall_s(p));
  if (p->cfg.ops->connect(p->cfg.link, to, expect, &conn) != QR_OK) return false;
  qr_peer_slot_t *s = qr_peer_slot_new(p, conn, false, to);
  if (!s) { /* every place is taken */
    p->cfg.ops->disconnect(p->cfg.link, conn);
    return false;
  }
  s->from_book = true;
  s->feeler = feeler;
  p->stats.dials++;
  p->stats.feelers += feeler;
  p->work_cnt++;
  return true;
}

static bool dial_anchor(qr_peers_t *p) {
  for (uint32_t i = 0; i < QR_PEER_ANCHOR_CNT; i++) {
    const qr_peer_anchor_t *a = &p->addrs.anchors[i];
    if (!a->addr.port || p->addrs.anchor_done[i]) continue;
    p->addrs.anchor_done[i] = true;
    if (is_free(p, &a->addr, &a->pk) && !group_taken(p, &a->addr))
      return dial(p, &a->addr, &a->pk, false);
  }
  return false;
}

static bool dial_any(qr_peers_t *p) {
  for (uint32_t i = 0; i < DRAW_CNT; i++) {
    qr_book_item_t item;
    if (!qr_book_pick(p->book, false, qr_peer_wall_s(p), &item)) return false;
    const qr_pubkey_t *met = item.tried ? &item.pk : NULL;
    if (!is_due(p, &item) || !is_free(p, &item.addr, met) || group_taken(p, &item.addr)) continue;
    return dial(p, &item.addr, item.fail_cnt < TRUST_FAIL_CNT ? met : NULL, false);
  }
  return false;
}

/* Looks whether somebody is at an address, so that the book is full of those when they are needed.
 */
static void feel(qr_peers_t *p) {
  qr_book_item_t item;
  p->addrs.feeler_ns = p->now_ns + FEELER_NS / 2 + qr_peer_draw(p) % FEELER_NS;
  uint32_t now = qr_peer_wall_s(p);
  bool found = qr_book_pick_doubted(p->book, now, &item) || qr_book_pick(p->book, true, now, &item);
  const qr_pubkey_t *met = found && item.tried ? &item.pk : NULL;
  if (!found || !is_free(p, &item.addr, NULL)) return;
  if (met && qr_peer_dial_has_session(p, met))
    qr_book_met(p->book, &item.addr, met, now); /* no need to ask: it is here */
  else if (is_due(p, &item))
    dial(p, &item.addr, item.fail_cnt < TRUST_FAIL_CNT ? met : NULL, true);
}

void qr_peer_outbound_met(qr_peers_t *p, const qr_peer_slot_t *s) {
  if (p->book) qr_book_met(p->book, &s->addr, &s->pk, qr_peer_wall_s(p));
}

void qr_peer_outbound_wrong(qr_peers_t *p, const qr_peer_slot_t *s) {
  if (!p->book) return;
  qr_book_forget(p->book, &s->addr);
  if (qr_pubkey_eq(&s->pk, &p->cfg.self))
    p->addrs.selves[p->addrs.self_idx++ % QR_PEER_SELF_CNT] = s->addr;
}

/* ---- now and then ---- */

/* One more than configured was dialled because no block came: of all, the one goes that brought
   none for the longest time. */
static void drop_least(qr_peers_t *p) {
  qr_peer_slot_t *least = NULL;
  uint32_t up_cnt = 0;
  for (uint32_t i = 0; i < p->cfg.peer_max_cnt; i++) {
    qr_peer_slot_t *s = &p->slots[i];
    if (!is_outbound(s) || s->state != QR_PEER_UP) continue;
    up_cnt++;
    if (p->now_ns - s->up_ns < TRIAL_NS) continue;
    if (!least || s->block_ns < least->block_ns) least = s;
  }
  if (up_cnt > p->cfg.outbound_cnt && least)
    qr_peer_doom(p, least, "brought no block for the longest time");
}

static void check(qr_peers_t *p) {
  uint32_t now = qr_peer_wall_s(p);
  p->addrs.check_ns = p->now_ns + CHECK_NS;
  drop_least(p);
  for (uint32_t i = 0; i < p->cfg.peer_max_cnt; i++) {
    const qr_peer_slot_t *s = &p->slots[i];
    if (s->state != QR_PEER_UP || s->doom || s->inbound) continue;
    qr_book_item_t item;
    bool late = qr_book_find(p->book, &s->addr, &item) &&
                now - item.met >= REMEMBER_NS / QR_PEER_SEC && p->now_ns - s->rx_ns < 2 * CHECK_NS;
    if (late) qr_book_met(p->book, &s->addr, &s->pk, now);
  }
}

void qr_peer_outbound_poll(qr_peers_t *p) {
  qr_peer_addrs_t *a = &p->addrs;
  if (!p->book || !p->cfg.outbound_cnt || p->now_ns < a->next_ns) return;
  if (p->now_ns >= a->check_ns) check(p);
  bool stale = p->now_ns - a->tip_ns >= STALE_NS && p->now_ns >= a->extra_ns;
  uint32_t cnt = qr_peer_outbound_cnt(p);
  if (cnt < p->cfg.outbound_cnt + stale) {
    bool extra = cnt >= p->cfg.outbound_cnt;
    bool dialed = dial_anchor(p) || dial_any(p);
    if (extra) a->extra_ns = p->now_ns + EXTRA_NS;
    a->next_ns = p->now_ns + (dialed ? NEXT_NS : NONE_NS);
    return;
  }
  a->next_ns = p->now_ns + NEXT_NS;
  if (p->now_ns >= a->feeler_ns) feel(p);
}

/* Those who brought blocks last, then those who are here longest. */
static bool better(const qr_peer_slot_t *a, const qr_peer_slot_t *b) {
  return a->block_ns != b->block_ns ? a->block_ns > b->block_ns : a->up_ns < b->up_ns;
}

uint32_t qr_peer_outbound_anchors(const qr_peers_t *p, qr_peer_anchor_t out[QR_PEER_ANCHOR_CNT]) {
  const qr_peer_slot_t *best[QR_PEER_ANCHOR_CNT + 1];
  uint32_t cnt = 0;
  for (uint32_t i = 0; i < p->cfg.peer_max_cnt; i++) {
    const qr_peer_slot_t *s = &p->slots[i];
    if (!is_outbound(s) || s->state != QR_PEER_UP) continue;
    uint32_t k = cnt;
    for (; k && better(s, best[k - 1]); k--) best[k] = best[k - 1];
    best[k] = s;
    if (cnt < QR_PEER_ANCHOR_CNT) cnt++;
  }
  for (uint32_t i = 0; i < cnt; i++) out[i] = (qr_peer_anchor_t){best[i]->addr, best[i]->pk};
  bool none = !cnt; /* now: then the last time's stay */
  for (uint32_t i = 0; none && i < QR_PEER_ANCHOR_CNT; i++) {
    if (p->addrs.anchors[i].addr.port) out[cnt++] = p->addrs.anchors[i];
  }
  return cnt;
}
