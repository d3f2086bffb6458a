/* UDP over IPv4 and IPv6 over Ethernet on one DPDK port: answers ARP and neighbour solicitations,
   finds next hops, checks what comes in. */
#ifndef QR_LINK_DPDK_NET_H
#define QR_LINK_DPDK_NET_H

#include "drivers/link/dpdk/neigh.h"
#include "drivers/link/dpdk/port.h"
#include "drivers/link/dpdk/route.h"

#define QR_UDP_TX_CNT 64u

typedef struct {
  uint64_t rx_dropped, tx_dropped;
  uint64_t rx_segmented;       /* of rx_dropped: in more than one buffer, so beyond the MTU */
  uint64_t tx_retried;         /* bursts that the port took only in part, tried again */
  uint64_t neigh_rx, neigh_tx; /* questions and answers */
  uint64_t neigh_unanswered;   /* questions beyond what is answered in that time */
} qr_udp_stats_t;

typedef struct {
  qr_port_t *port; /* borrowed */
  qr_frame_self_t self;
  qr_routes_t routes;
  qr_neigh_t neigh4, neigh6;
  uint64_t now;
  uint64_t up_cnt;     /* of the port, as last seen */
  uint64_t renew_cnt;  /* the same */
  uint64_t member_at;  /* when switches are told next of our group */
  uint64_t answers_at; /* since when answers are counted */
  uint32_t answer_cnt;
  qr_mac_t rx_mac;          /* whose datagram is being received */
  struct rte_mbuf *current; /* between room and commit */
  struct rte_mbuf *tx[QR_UDP_TX_CNT];
  uint32_t tx_cnt;
  qr_udp_stats_t stats;
} qr_udp_t;

typedef void (*qr_udp_receive_fn)(void *ctx, const qr_link_addr_t *from, uint8_t ecn,
                                  const uint8_t *p, size_t sz);

/* The own addresses are those of the routes. Before anything is received, qr_udp_seed. */
void qr_udp_init(qr_udp_t *u, qr_port_t *port, const qr_routes_t *routes, uint16_t udp_port);
/* secret: see neigh.h. */
void qr_udp_seed(qr_udp_t *u, uint64_t secret);
/* Sends what is queued and gives buffers back. */
void qr_udp_fini(qr_udp_t *u);

/* The largest payload that fits the port's packets to every address we may have. */
uint32_t qr_udp_payload_max_sz(const qr_udp_t *u);

/* Once in a poll, before receiving: what has to be sent by itself now and then. */
void qr_udp_tick(qr_udp_t *u, uint64_t now_ns);

/* Reads one burst of each queue; calls fn for each datagram to our port. Returns true if there may
   be more to read. */
bool qr_udp_receive(qr_udp_t *u, uint64_t now_ns, qr_udp_receive_fn fn, void *ctx);

/* From within fn: nobody but the host at that address can have made this datagram. */
void qr_udp_heard(qr_udp_t *u, const qr_link_addr_t *from);

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
