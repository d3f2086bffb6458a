/* UDP over IPv4 and IPv6 over Ethernet on one DPDK port: answers ARP and neighbour solicitations,
   finds next hops, checks what comes in. */
#ifndef QR_LINK_DPDK_NET_H
#define QR_LINK_DPDK_NET_H

#include "drivers/link/dpdk/eal.h"
#include "drivers/link/dpdk/neigh.h"
#include "drivers/link/dpdk/route.h"

#define QR_UDP_TX_CNT 64u

typedef struct {
  uint64_t rx_dropped, tx_dropped;
  uint64_t tx_retried;         /* bursts that the port took only in part, tried again */
  uint64_t neigh_rx, neigh_tx; /* questions and answers */
  uint64_t neigh_unanswered;   /* questions beyond what is answered in that time */
} qr_udp_stats_t;

typedef struct {
  qr_eal_port_t *nic; /* borrowed */
  qr_frame_self_t self;
  qr_routes_t routes;
  qr_neigh_t neigh4, neigh6;
  uint64_t now;
  uint64_t answers_at; /* since when answers are counted */
  uint32_t answer_cnt;
  struct rte_mbuf *current; /* between room and commit */
  struct rte_mbuf *tx[QR_UDP_TX_CNT];
  uint32_t tx_cnt;
  qr_udp_stats_t stats;
} qr_udp_t;

typedef void (*qr_udp_receive_fn)(void *ctx, const qr_link_addr_t *from, uint8_t ecn,
                                  const uint8_t *p, size_t sz);

/* The own addresses are those of the routes. secret: see neigh.h. */
void qr_udp_init(qr_udp_t *u, qr_eal_port_t *nic, const qr_routes_t *routes, uint16_t port,
                 uint64_t secret);
/* Sends what is queued and gives buffers back. */
void qr_udp_fini(qr_udp_t *u);

/* Reads one burst; calls fn for each datagram to our port. Returns the number of frames read. */
uint32_t qr_udp_receive(qr_udp_t *u, uint64_t now_ns, qr_udp_receive_fn fn, void *ctx);

/* Room for a payload that fits the port's frames, or NULL; then commit with its size, or 0 to give
 * it back. */
uint8_t *qr_udp_room(qr_udp_t *u);
void qr_udp_commit(qr_udp_t *u, const qr_link_addr_t *to, uint8_t ecn, size_t sz);
void qr_udp_flush(qr_udp_t *u);

/* True if the next hop is known; asks for it if not. */
bool qr_udp_reachable(qr_udp_t *u, const qr_link_addr_t *to);
/* True if there is a way there at all. */
bool qr_udp_has_route(const qr_udp_t *u, const qr_link_addr_t *to);

#endif
