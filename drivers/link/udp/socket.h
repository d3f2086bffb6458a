/* One kernel UDP socket that sends and receives in bursts: many datagrams in a system call, and
   several of one size to one peer as one message where the kernel cuts (GSO) and joins (GRO) them.
   Never blocks. */
#ifndef QR_LINK_UDP_SOCKET_H
#define QR_LINK_UDP_SOCKET_H

#include <netinet/in.h>

#include "port/link.h"

#define QR_SOCK_MSG_CNT 64u
#define QR_SOCK_RX_CNT 16u
#define QR_SOCK_TX_SZ (256u << 10)

/* Datagrams of one size to one peer; the last one may be shorter. */
typedef struct {
  qr_link_addr_t to;
  uint32_t offset, sz, segment_sz, segment_cnt;
  uint8_t ecn;
} qr_sock_msg_t;

typedef struct {
  int fd;
  bool v6, gso;
  uint32_t datagram_sz; /* the largest one */
  uint8_t *tx, *rx;
  uint32_t rx_sz; /* of one message */
  uint32_t tx_used, msg_cnt;
  qr_sock_msg_t msg[QR_SOCK_MSG_CNT];
  uint64_t rx_dropped, tx_dropped;
} qr_sock_t;

typedef void (*qr_sock_receive_fn)(void *ctx, const qr_link_addr_t *from, uint8_t ecn,
                                   const uint8_t *p, size_t sz);

/* On failure a sentence with cause and cure goes to why. */
int qr_sock_open(const qr_link_addr_t *local, uint32_t datagram_sz, qr_sock_t *out, char *why,
                 size_t why_sz) QR_WARN_UNUSED;
/* Sends what is queued, as far as the kernel takes it. */
void qr_sock_close(qr_sock_t *s);

/* True if the socket can send there at all. */
bool qr_sock_has_route(const qr_sock_t *s, const qr_link_addr_t *to);

/* Reads what has come, at most QR_SOCK_RX_CNT messages; calls fn for each datagram. Returns the
   number of messages. */
uint32_t qr_sock_receive(qr_sock_t *s, qr_sock_receive_fn fn, void *ctx);

/* Room for a datagram of datagram_sz bytes, or NULL while the kernel's buffer is full; then commit
   with its size, or 0 to give it back. */
uint8_t *qr_sock_room(qr_sock_t *s);
void qr_sock_commit(qr_sock_t *s, const qr_link_addr_t *to, uint8_t ecn, size_t sz);
/* What the kernel does not take now stays queued. */
void qr_sock_flush(qr_sock_t *s);

#endif
