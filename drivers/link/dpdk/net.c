#include "drivers/link/dpdk/net.h"

#include <rte_ethdev.h>

#include "base/assert.h"

#define TX_TRY_CNT                                                                                 \
  64 /* bursts that may send nothing before the rest is dropped; QUIC sends it again */
/* Answers to neighbours' questions: enough for a network that starts up, and no work for a flood.
 */
#define ANSWER_CNT 256u
#define ANSWER_NS UINT64_C(100000000)

void qr_udp_init(qr_udp_t *u, qr_eal_port_t *nic, const qr_routes_t *routes, uint16_t port,
                 uint64_t secret) {
  *u = (qr_udp_t){.nic = nic, .routes = *routes};
  u->self = (qr_frame_self_t){
      .mac = nic->mac, .has4 = routes->v4.present, .has6 = routes->v6.present, .port = port};
  memcpy(u->self.ip4, routes->v4.own, sizeof u->self.ip4);
  memcpy(u->self.ip6, routes->v6.own, sizeof u->self.ip6);
  qr_neigh_init(&u->neigh4, secret);
  qr_neigh_init(&u->neigh6, ~secret);
  if (u->self.has6) {
    qr_mac_t asked = qr_frame_solicited_mac(u->self.ip6);
    qr_eal_listen(nic, asked.b);
  }
}

void qr_udp_fini(qr_udp_t *u) {
  qr_udp_flush(u);
  rte_pktmbuf_free(u->current);
  u->current = NULL;
}

/* ---- sending ---- */

void qr_udp_flush(qr_udp_t *u) {
  uint32_t sent = 0;
  if (!u->tx_cnt) return;
  for (int i = 0; sent < u->tx_cnt && i < TX_TRY_CNT; i++) {
    if (i) u->stats.tx_retried++;
    sent += rte_eth_tx_burst(u->nic->port, 0, u->tx + sent, (uint16_t)(u->tx_cnt - sent));
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
  struct rte_mbuf *m = rte_pktmbuf_alloc(u->nic->pool);
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

/* The payload stands behind the longer of the two headers; IPv4's frame begins later. */
uint8_t *qr_udp_room(qr_udp_t *u) {
  QR_ASSERT(!u->current);
  u->current = rte_pktmbuf_alloc(u->nic->pool);
  return u->current ? rte_pktmbuf_mtod_offset(u->current, uint8_t *, QR_FRAME_UDP6_HEADER_SZ)
                    : NULL;
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
  qr_frame_put_udp((uint8_t *)frame, &u->self, &mac, to, ecn, QR_FRAME_SUM_HERE, sz);
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
    u->stats.rx_dropped++;
    return;
  }
  switch (qr_frame_parse(rte_pktmbuf_mtod(m, const uint8_t *), rte_pktmbuf_data_len(m), &u->self,
                         qr_eal_checksums_known(m), &f)) {
  case QR_FRAME_UDP: fn(ctx, &f.from, f.ecn, f.payload, f.payload_sz); break;
  case QR_FRAME_NEIGH: on_neigh(u, &f); break;
  case QR_FRAME_OTHER:
  case QR_FRAME_BAD: u->stats.rx_dropped++; break;
  }
}

uint32_t qr_udp_receive(qr_udp_t *u, uint64_t now_ns, qr_udp_receive_fn fn, void *ctx) {
  struct rte_mbuf *m[QR_EAL_BURST];
  u->now = now_ns;
  uint32_t cnt = rte_eth_rx_burst(u->nic->port, 0, m, QR_EAL_BURST);
  for (uint32_t i = 0; i < cnt; i++) receive_one(u, m[i], fn, ctx);
  rte_pktmbuf_free_bulk(m, cnt);
  return cnt;
}
