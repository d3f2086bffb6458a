/* Telling and hearing of addresses. */
#include "peer/internal.h"

#include "base/splitmix.h"

#define PRICE_NS (10 * QR_PEER_SEC) /* of one address told without being asked */
#define BURST_CNT 10u
#define PASS_ON_CNT 2u  /* peers that hear of an address that is news here */
#define PASS_ON_MAX 10u /* addresses of a message that is passed on */
#define PASS_ON_MIN 10u /* minutes since when it was seen alive */
#define SELF_NS (24 * 3600 * QR_PEER_SEC)
#define ANSWER_NS                                                                                  \
  (600 * QR_PEER_SEC) /* the same answer for so long, so that asking often shows no more */
#define DAY_S 86400u
#define COST_AGAIN 1u

static bool told_to(const qr_peer_slot_t *s) {
  return s->state == QR_PEER_UP && !s->doom && s->addrs;
}

static uint32_t pack(qr_peers_t *p, const qr_book_item_t *items, uint32_t cnt, uint8_t *out) {
  uint32_t now = qr_peer_wall_s(p);
  for (uint32_t i = 0; i < cnt; i++) {
    uint32_t age = (now - items[i].heard) / 60;
    qr_msg_addr_t a = {.port = items[i].addr.port,
                       .age_min = age > UINT16_MAX ? UINT16_MAX : (uint16_t)age,
                       .pk = items[i].pk};
    memcpy(a.ip, items[i].addr.ip, sizeof a.ip);
    qr_msg_addr_put(&a, out + (size_t)i * QR_MSG_ADDR_SZ);
  }
  return cnt;
}

static void send(qr_peers_t *p, qr_peer_slot_t *s, const qr_book_item_t *items, uint32_t cnt) {
  uint8_t bytes[QR_MSG_ADDRS_MAX_CNT * QR_MSG_ADDR_SZ];
  qr_msg_t m = {.type = QR_MSG_ADDRS, .addrs = {pack(p, items, cnt, bytes), bytes}};
  if (cnt && !qr_peer_out_msg(p, s, &m)) p->stats.rate_dropped++;
}

/* Our own address, where it means something to the peer. */
static void tell_self(qr_peers_t *p, qr_peer_slot_t *s) {
  s->tell_self_ns = p->now_ns + SELF_NS * 3 / 4 + qr_peer_draw(p) % (SELF_NS / 2);
  if (!p->cfg.own.port || !qr_netaddr_credible(&p->cfg.own, &s->addr)) return;
  qr_book_item_t self = {.addr = p->cfg.own, .pk = p->cfg.self, .heard = qr_peer_wall_s(p)};
  send(p, s, &self, 1);
}

void qr_peer_gossip_up(qr_peers_t *p, qr_peer_slot_t *s) {
  if (!p->book || !s->addrs) return;
  s->addr_credit_ns = BURST_CNT * PRICE_NS;
  s->addr_credit_at_ns = p->now_ns;
  tell_self(p, s);
  /* whom we chose we ask; who came to us may have come to tell us much */
  if (s->inbound || !qr_peer_out_msg(p, s, &(qr_msg_t){.type = QR_MSG_GET_ADDRS})) return;
  s->addr_credit_ns += QR_MSG_ADDRS_MAX_CNT * PRICE_NS;
}

void qr_peer_gossip_poll(qr_peers_t *p, qr_peer_slot_t *s) {
  if (p->book && told_to(s) && p->now_ns >= s->tell_self_ns) tell_self(p, s);
}

void qr_peer_gossip_ask(qr_peers_t *p, qr_peer_slot_t *s) {
  qr_peer_addrs_t *a = &p->addrs;
  if (!p->book) return;
  if (s->addrs_given) {
    qr_peer_strike(p, s, COST_AGAIN, "asked for addresses again");
    return;
  }
  s->addrs_given = true;
  if (!s->inbound) return; /* an answer shows who we are to whom we connect by another name */
  qr_book_counts_t c;
  qr_book_counts(p->book, &c);
  uint32_t cnt = c.new_cnt + c.tried_cnt;
  enum qr_netaddr_scope scope = qr_netaddr_scope(&s->addr);
  bool old = !a->answer_ns || p->now_ns - a->answer_ns >= ANSWER_NS || a->answer_scope != scope;
  if (old || cnt > a->answer_of + a->answer_of / 4) {
    a->answer_cnt =
        qr_book_sample(p->book, &s->addr, qr_peer_wall_s(p), a->answer, QR_MSG_ADDRS_MAX_CNT);
    a->answer_ns = p->now_ns;
    a->answer_scope = scope;
    a->answer_of = cnt;
  }
  send(p, s, a->answer, a->answer_cnt);
}

/* Tells two peers of it. Which, stays the same for a day, so that telling it again reaches no more
   of them. */
static void pass_on(qr_peers_t *p, const qr_peer_slot_t *from, const qr_book_item_t *item) {
  qr_peer_slot_t *to[PASS_ON_CNT] = {NULL};
  uint64_t score[PASS_ON_CNT] = {0};
  uint64_t mix = p->addrs.salt ^ qr_ld64(item->addr.ip) ^ qr_peer_wall_s(p) / DAY_S;
  mix = qr_splitmix_next(&mix) ^ qr_ld64(item->addr.ip + 8) ^ (uint64_t)item->addr.port << 40;
  for (uint32_t i = 0; i < p->cfg.peer_max_cnt; i++) {
    qr_peer_slot_t *s = &p->slots[i];
    if (s == from || !told_to(s) || !qr_netaddr_credible(&item->addr, &s->addr) ||
        qr_netaddr_eq(&item->addr, &s->addr))
      continue;
    uint64_t state = mix ^ s->id, v = qr_splitmix_next(&state) | 1;
    uint32_t k = v > score[0] ? 0 : v > score[1] ? 1 : PASS_ON_CNT;
    if (k == PASS_ON_CNT) continue;
    if (!k) {
      to[1] = to[0];
      score[1] = score[0];
    }
    to[k] = s;
    score[k] = v;
  }
  for (uint32_t k = 0; k < PASS_ON_CNT; k++) {
    if (to[k]) send(p, to[k], item, 1);
  }
}

static bool is_ours(const qr_peers_t *p, const qr_link_addr_t *a) {
  bool ours = p->cfg.own.port && qr_netaddr_eq(a, &p->cfg.own);
  for (uint32_t i = 0; i < QR_PEER_SELF_CNT; i++) ours |= qr_netaddr_eq(a, &p->addrs.selves[i]);
  return ours;
}

static bool believed(const qr_peers_t *p, const qr_peer_slot_t *s, const qr_link_addr_t *a) {
  if (!qr_netaddr_credible(a, &s->addr) || is_ours(p, a)) return false;
  return !p->cfg.public_only || qr_netaddr_scope(a) == QR_NETADDR_PUBLIC;
}

void qr_peer_gossip_addrs(qr_peers_t *p, qr_peer_slot_t *s, const qr_msg_addrs_t *m) {
  if (!p->book) return;
  uint64_t elapsed = p->now_ns - s->addr_credit_at_ns, full = BURST_CNT * PRICE_NS;
  if (s->addr_credit_ns < full) {
    uint64_t room = full - s->addr_credit_ns;
    s->addr_credit_ns += elapsed < room ? elapsed : room;
  }
  s->addr_credit_at_ns = p->now_ns;
  uint32_t now = qr_peer_wall_s(p);
  for (uint32_t i = 0; i < m->cnt; i++) {
    p->stats.addrs_rx++;
    if (s->addr_credit_ns < PRICE_NS) {
      p->stats.addrs_dropped++;
      continue;
    }
    s->addr_credit_ns -= PRICE_NS;
    qr_msg_addr_t a;
    qr_msg_addr_get(m->addrs + (size_t)i * QR_MSG_ADDR_SZ, &a);
    qr_book_item_t item = {.addr = {.port = a.port}, .pk = a.pk};
    memcpy(item.addr.ip, a.ip, sizeof a.ip);
    uint32_t age_s = a.age_min * 60u;
    item.heard = now > age_s ? now - age_s : 0;
    if (!believed(p, s, &item.addr)) continue;
    bool news = qr_book_add(p->book, &item.addr, &item.pk, item.heard, &s->addr, now);
    if (news && m->cnt <= PASS_ON_MAX && a.age_min <= PASS_ON_MIN) pass_on(p, s, &item);
  }
}
