#include "drivers/link/dpdk/net.h"

#include <rte_ethdev.h>

#include "base/assert.h"

#define TX_TRY_CNT                                                                                 \
  64 /* bursts that may send nothing before the rest is dropped; QUIC sends it again */

void qr_udp_init(qr_udp_t *u, qr_eal_port_t *nic, uint32_t ip, uint16_t port, uint32_t prefix_bits,
                 uint32_t gateway, uint64_t secret) {
  *u = (qr_udp_t){.nic = nic, .self = {nic->mac, ip, port}, .gateway = gateway};
  u->mask = prefix_bits ? UINT32_MAX << (32 - prefix_bits) : 0;
  qr_arp_init(&u->arp, secret);
}

void qr_udp_fini(qr_udp_t *u) {
  qr_udp_flush(u);
  rte_pktmbuf_free(u->current);
  u->current = NULL;
}

/* ---- sending ---- */

void qr_udp_flush(qr_udp_t *u) {
  uint32_t sent = 0;
  for (int i = 0; sent < u->tx_cnt && i < TX_TRY_CNT; i++) {
    sent += rte_eth_tx_burst(u->nic->port, 0, u->tx + sent, (uint16_t)(u->tx_cnt - sent));
  }
  u->tx_dropped += u->tx_cnt - sent;
  rte_pktmbuf_free_bulk(u->tx + sent, u->tx_cnt - sent);
  u->tx_cnt = 0;
}

static void queue(qr_udp_t *u, struct rte_mbuf *m) {
  u->tx[u->tx_cnt++] = m;
  if (u->tx_cnt == QR_UDP_TX_CNT) qr_udp_flush(u);
}

static void send_arp(qr_udp_t *u, enum qr_frame_arp_op op, const qr_mac_t *to, uint32_t ip) {
  struct rte_mbuf *m = rte_pktmbuf_alloc(u->nic->pool);
  if (!m) {
    u->tx_dropped++;
    return;
  }
  qr_frame_put_arp((uint8_t *)rte_pktmbuf_append(m, QR_FRAME_ARP_SZ), &u->self, op, to, ip);
  queue(u, m);
}

static uint32_t next_hop(const qr_udp_t *u, uint32_t ip) {
  return (ip ^ u->self.ip) & u->mask ? u->gateway : ip;
}

bool qr_udp_has_route(const qr_udp_t *u, uint32_t ip) { return next_hop(u, ip) != 0; }

static bool resolve(qr_udp_t *u, uint32_t ip, qr_mac_t *mac) {
  bool ask;
  uint32_t hop = next_hop(u, ip);
  if (!hop) return false;
  bool known = qr_arp_find(&u->arp, hop, u->now, mac, &ask);
  if (ask) send_arp(u, QR_FRAME_ARP_REQUEST, NULL, hop);
  return known;
}

bool qr_udp_reachable(qr_udp_t *u, uint32_t ip) {
  qr_mac_t mac;
  return resolve(u, ip, &mac);
}

uint8_t *qr_udp_room(qr_udp_t *u) {
  QR_ASSERT(!u->current);
  u->current = rte_pktmbuf_alloc(u->nic->pool);
  return u->current ? rte_pktmbuf_mtod_offset(u->current, uint8_t *, QR_FRAME_UDP_HEADER_SZ) : NULL;
}

void qr_udp_commit(qr_udp_t *u, uint32_t ip, uint16_t port, size_t sz) {
  struct rte_mbuf *m = u->current;
  qr_mac_t mac;
  QR_ASSERT(m);
  u->current = NULL;
  if (!sz || !resolve(u, ip, &mac)) {
    if (sz) u->tx_dropped++;
    rte_pktmbuf_free(m);
    return;
  }
  uint8_t *p = (uint8_t *)rte_pktmbuf_append(m, (uint16_t)(QR_FRAME_UDP_HEADER_SZ + sz));
  QR_ASSERT(p);
  qr_frame_put_udp(p, &u->self, &mac, ip, port, sz);
  queue(u, m);
}

/* ---- receiving ---- */

static void receive_one(qr_udp_t *u, struct rte_mbuf *m, qr_udp_receive_fn fn, void *ctx) {
  qr_frame_t f;
  if (m->nb_segs != 1) {
    u->rx_dropped++;
    return;
  }
  switch (qr_frame_parse(rte_pktmbuf_mtod(m, const uint8_t *), rte_pktmbuf_data_len(m), &u->self,
                         qr_eal_checksums_known(m), &f)) {
  case QR_FRAME_UDP: fn(ctx, f.ip, f.port, f.payload, f.payload_sz); break;
  case QR_FRAME_ARP:
    qr_arp_learn(&u->arp, &f, u->now);
    if (f.op == QR_FRAME_ARP_REQUEST) send_arp(u, QR_FRAME_ARP_REPLY, &f.mac, f.ip);
    break;
  case QR_FRAME_OTHER:
  case QR_FRAME_BAD: u->rx_dropped++; break;
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
