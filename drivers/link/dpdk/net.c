#include "drivers/link/dpdk/net.h"

#include <rte_ethdev.h>

#include "base/assert.h"

#define TX_TRY_CNT                                                                                 \
  64 /* bursts that may send nothing before the rest is dropped; QUIC sends it again */
/* Answers to neighbours' questions (ANSWER_CNT in ANSWER_NS): enough for a network that starts up,
 * and no work for a flood.
 */
#define MEMBER_NS UINT64_C(20000000000)      /* switches forget after 50 s or more */
#define MEMBER_AGAIN_NS UINT64_C(1000000000) /* the first one may be lost */
#define ANSWER_CNT 256u
#define ANSWER_NS UINT64_C(100000000)

static void listen_to_questions(qr_udp_t *u) {
  if (!u->self.has6) return;
  qr_mac_t asked = qr_frame_solicited_mac(u->self.ip6);
  qr_port_listen(u->port, asked.b);
}

void qr_udp_init(qr_udp_t *u, qr_port_t *port, const qr_routes_t *routes, uint16_t udp_port) {
  *u = (qr_udp_t){.port = port, .routes = *routes};
  u->self = (qr_frame_self_t){
      .mac = port->mac, .has4 = routes->v4.present, .has6 = routes->v6.present, .port = udp_port};
  memcpy(u->self.ip4, routes->v4.own, sizeof u->self.ip4);
  memcpy(u->self.ip6, routes->v6.own, sizeof u->self.ip6);
  listen_to_questions(u);
}

void qr_udp_seed(qr_udp_t *u, uint64_t secret) {
  qr_neigh_init(&u->neigh4, secret);
  qr_neigh_init(&u->neigh6, ~secret);
}

void qr_udp_fini(qr_udp_t *u) {
  qr_udp_flush(u);
  rte_pktmbuf_free(u->current);
  u->current = NULL;
}

/* ---- sending ---- */

uint32_t qr_udp_payload_max_sz(const qr_udp_t *u) {
  uint32_t header_sz = u->self.has6 ? QR_FRAME_UDP6_HEADER_SZ : QR_FRAME_UDP4_HEADER_SZ;
  return u->port->mtu + QR_FRAME_ETHER_SZ - header_sz;
}

/* Some cards want the pseudo header's sum in a form of their own. */
static void prepare(qr_udp_t *u) {
  uint32_t ready = 0;
  while (ready < u->tx_cnt) {
    ready += rte_eth_tx_prepare(u->port->id, 0, u->tx + ready, (uint16_t)(u->tx_cnt - ready));
    if (ready == u->tx_cnt) return;
    rte_pktmbuf_free(u->tx[ready]); /* this one it cannot send */
    u->stats.tx_dropped++;
    u->tx_cnt--;
    memmove(u->tx + ready, u->tx + ready + 1, (u->tx_cnt - ready) * sizeof u->tx[0]);
  }
}

void qr_udp_flush(qr_udp_t *u) {
  uint32_t sent = 0;
  int tries = u->port->up ? TX_TRY_CNT : 1;
  if (!u->tx_cnt) return;
  if (u->port->tx_by_port) prepare(u);
  for (int i = 0; u->port->started && sent < u->tx_cnt && i < tries; i++) {
    if (i) u->stats.tx_retried++;
    sent += rte_eth_tx_burst(u->port->id, 0, u->tx + sent, (uint16_t)(u->tx_cnt - sent));
  }
  u->stats.tx_dropped += u->tx_cnt - sent;
  rte_pktmbuf_free_bulk(u->tx + sent, u->tx_cnt - sent);
  u->tx_cnt = 0;
}

static void queue(qr_udp_t *u, struct rte_mbuf *m) {
  u->tx[u->tx_cnt++] = m;
  if (u->tx_cnt == QR_UDP_TX_CNT) qr_udp_flush(u);
}

static void send_neigh(qr_udp_t *u, enum qr_frame_op op, const qr_mac_t *mac,
                       const uint8_t ip[16]) {
  struct rte_mbuf *m = qr_port_buffer(u->port);
  if (!m) {
    u->stats.tx_dropped++;
    return;
  }
  size_t sz = qr_frame_put_neigh(rte_pktmbuf_mtod(m, uint8_t *), &u->self, op, mac, ip);
  (void)rte_pktmbuf_append(m, (uint16_t)sz);
  u->stats.neigh_tx++;
  queue(u, m);
}

bool qr_udp_has_route(const qr_udp_t *u, const qr_link_addr_t *to) {
  return qr_route_next_hop(&u->routes, to) != NULL;
}

static bool resolve(qr_udp_t *u, const qr_link_addr_t *to, qr_mac_t *mac) {
  bool ask;
  const uint8_t *hop = qr_route_next_hop(&u->routes, to);
  if (!hop) return false;
  qr_neigh_t *table = qr_link_addr_is_v4(to) ? &u->neigh4 : &u->neigh6;
  bool known = qr_neigh_find(table, hop, u->now, mac, &ask);
  if (ask) send_neigh(u, QR_FRAME_ASK, NULL, hop);
  return known;
}

bool qr_udp_reachable(qr_udp_t *u, const qr_link_addr_t *to) {
  qr_mac_t mac;
  return resolve(u, to, &mac);
}

void qr_udp_heard(qr_udp_t *u, const qr_link_addr_t *from) {
  const uint8_t *hop = qr_route_next_hop(&u->routes, from);
  if (!hop || memcmp(hop, from->ip, sizeof from->ip)) return; /* a router may send from elsewhere */
  qr_neigh_heard(qr_link_addr_is_v4(from) ? &u->neigh4 : &u->neigh6, hop, &u->rx_mac, u->now);
}

/* The payload stands behind the longer of the two headers; IPv4's frame begins later. */
uint8_t *qr_udp_room(qr_udp_t *u) {
  QR_ASSERT(!u->current);
  u->current = qr_port_buffer(u->port);
  return u->current ? rte_pktmbuf_mtod_offset(u->current, uint8_t *, QR_FRAME_UDP6_HEADER_SZ)
                    : NULL;
}

/* Tells the port which checksums it has to write. */
static void mark_offloads(const qr_udp_t *u, struct rte_mbuf *m, bool v4) {
  m->l2_len = QR_FRAME_ETHER_SZ;
  m->l3_len = v4 ? QR_FRAME_UDP4_HEADER_SZ - QR_FRAME_ETHER_SZ - 8
                 : QR_FRAME_UDP6_HEADER_SZ - QR_FRAME_ETHER_SZ - 8;
  m->ol_flags |= v4 ? RTE_MBUF_F_TX_IPV4 : RTE_MBUF_F_TX_IPV6;
  if (v4 && u->port->tx_by_port & QR_FRAME_IP_BY_PORT) m->ol_flags |= RTE_MBUF_F_TX_IP_CKSUM;
  if (u->port->tx_by_port & QR_FRAME_UDP_BY_PORT) m->ol_flags |= RTE_MBUF_F_TX_UDP_CKSUM;
}

void qr_udp_commit(qr_udp_t *u, const qr_link_addr_t *to, uint8_t ecn, size_t sz) {
  struct rte_mbuf *m = u->current;
  qr_mac_t mac;
  QR_ASSERT(m);
  u->current = NULL;
  if (!sz || !resolve(u, to, &mac)) {
    if (sz) u->stats.tx_dropped++;
    rte_pktmbuf_free(m);
    return;
  }
  size_t header_sz = qr_frame_udp_header_sz(to);
  char *frame = rte_pktmbuf_append(m, (uint16_t)(QR_FRAME_UDP6_HEADER_SZ + sz));
  QR_ASSERT(frame);
  frame = rte_pktmbuf_adj(m, (uint16_t)(QR_FRAME_UDP6_HEADER_SZ - header_sz));
  qr_frame_put_udp((uint8_t *)frame, &u->self, &mac, to, ecn, u->port->tx_by_port, sz);
  if (u->port->tx_by_port) mark_offloads(u, m, header_sz == QR_FRAME_UDP4_HEADER_SZ);
  queue(u, m);
}

/* ---- receiving ---- */

/* True if one more answer may go out now. */
static bool may_answer(qr_udp_t *u) {
  if (u->now - u->answers_at >= ANSWER_NS) {
    u->answers_at = u->now;
    u->answer_cnt = 0;
  }
  return u->answer_cnt++ < ANSWER_CNT;
}

static void on_neigh(qr_udp_t *u, const qr_frame_t *f) {
  static const uint8_t none[16];
  u->stats.neigh_rx++;
  /* Who only looks whether our address is taken has none yet. */
  if (memcmp(f->from.ip, none, sizeof none))
    qr_neigh_learn(qr_link_addr_is_v4(&f->from) ? &u->neigh4 : &u->neigh6, f, u->now);
  if (f->op != QR_FRAME_ASK) return;
  if (may_answer(u))
    send_neigh(u, QR_FRAME_ANSWER, &f->mac, f->from.ip);
  else
    u->stats.neigh_unanswered++;
}

static void receive_one(qr_udp_t *u, struct rte_mbuf *m, qr_udp_receive_fn fn, void *ctx) {
  qr_frame_t f;
  if (m->nb_segs != 1) {
    u->stats.rx_segmented++;
    u->stats.rx_dropped++;
    return;
  }
  switch (qr_frame_parse(rte_pktmbuf_mtod(m, const uint8_t *), rte_pktmbuf_data_len(m), &u->self,
                         qr_port_known(m) & u->port->rx_known, &f)) {
  case QR_FRAME_UDP:
    u->rx_mac = f.mac;
    fn(ctx, &f.from, f.ecn, f.payload, f.payload_sz);
    break;
  case QR_FRAME_NEIGH: on_neigh(u, &f); break;
  case QR_FRAME_OTHER:
  case QR_FRAME_BAD: u->stats.rx_dropped++; break;
  }
}

static void send_member(qr_udp_t *u) {
  struct rte_mbuf *m = qr_port_buffer(u->port);
  if (!m) return; /* the next one will do */
  qr_frame_put_member((uint8_t *)rte_pktmbuf_append(m, QR_FRAME_MEMBER_SZ), &u->self);
  queue(u, m);
}

void qr_udp_tick(qr_udp_t *u, uint64_t now_ns) {
  bool came_up = u->up_cnt != u->port->up_cnt;
  u->now = now_ns;
  if (u->renew_cnt != u->port->renew_cnt && u->port->started) {
    u->renew_cnt = u->port->renew_cnt;
    u->self.mac = u->port->mac;
    listen_to_questions(u);
  }
  if (came_up) { /* who is at the other end may be somebody else */
    u->up_cnt = u->port->up_cnt;
    qr_neigh_doubt(&u->neigh4);
    qr_neigh_doubt(&u->neigh6);
  }
  if (!u->self.has6 || (!came_up && now_ns < u->member_at)) return;
  u->member_at = now_ns + (came_up ? MEMBER_AGAIN_NS : MEMBER_NS);
  send_member(u);
}

bool qr_udp_receive(qr_udp_t *u, uint64_t now_ns, qr_udp_receive_fn fn, void *ctx) {
  struct rte_mbuf *m[QR_PORT_BURST];
  bool more = false;
  u->now = now_ns;
  for (uint32_t q = 0; u->port->started && q < u->port->queue_cnt; q++) {
    uint32_t cnt = rte_eth_rx_burst(u->port->id, (uint16_t)q, m, QR_PORT_BURST);
    for (uint32_t i = 0; i < cnt; i++) receive_one(u, m[i], fn, ctx);
    u->port->heard = u->port->heard || cnt;
    rte_pktmbuf_free_bulk(m, cnt);
    more = more || cnt == QR_PORT_BURST;
  }
  return more;
}
