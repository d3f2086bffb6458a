/* UDP over IPv4 over Ethernet on one DPDK port: answers ARP, finds next hops, checks what comes in.
 */
#ifndef QR_LINK_DPDK_NET_H
#define QR_LINK_DPDK_NET_H

#include "drivers/link/dpdk/arp.h"
#include "drivers/link/dpdk/eal.h"

#define QR_UDP_TX_CNT 64u

typedef struct {
  qr_eal_port_t *nic; /* borrowed */
  qr_frame_self_t self;
  uint32_t mask, gateway; /* gateway 0: only the own network can be reached */
  qr_arp_t arp;
  uint64_t now;
  struct rte_mbuf *current; /* between room and commit */
  struct rte_mbuf *tx[QR_UDP_TX_CNT];
  uint32_t tx_cnt;
  uint64_t rx_dropped, tx_dropped;
} qr_udp_t;

typedef void (*qr_udp_receive_fn)(void *ctx, uint32_t ip, uint16_t port, const uint8_t *p,
                                  size_t sz);

void qr_udp_init(qr_udp_t *u, qr_eal_port_t *nic, uint32_t ip, uint16_t port, uint32_t prefix_bits,
                 uint32_t gateway, uint64_t secret);
/* Sends what is queued and gives buffers back. */
void qr_udp_fini(qr_udp_t *u);

/* Reads one burst; calls fn for each datagram to our port. Returns the number of frames read. */
uint32_t qr_udp_receive(qr_udp_t *u, uint64_t now_ns, qr_udp_receive_fn fn, void *ctx);

/* Room for a payload that fits an Ethernet frame, or NULL; then commit with its size, or 0 to give
 * it back. */
uint8_t *qr_udp_room(qr_udp_t *u);
void qr_udp_commit(qr_udp_t *u, uint32_t ip, uint16_t port, size_t sz);
void qr_udp_flush(qr_udp_t *u);

/* True if the next hop to ip is known; asks for it if not. */
bool qr_udp_reachable(qr_udp_t *u, uint32_t ip);
/* True if there is a way to ip at all. */
bool qr_udp_has_route(const qr_udp_t *u, uint32_t ip);

#endif
