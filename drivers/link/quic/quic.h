/* QUIC endpoint without any I/O: datagrams go in through input and out through a small output
   interface, time comes from the caller. Server and client at once; semantics of connections,
   streams and events are those of port/link.h. Single-threaded. */
#ifndef QR_LINK_QUIC_QUIC_H
#define QR_LINK_QUIC_QUIC_H

#include "port/link.h"

#define QR_QUIC_DATAGRAM_MIN_SZ 1200u /* every path of QUIC carries that much */
#define QR_QUIC_DATAGRAM_MAX_SZ 1472u /* UDP payload in an Ethernet frame of MTU 1500 */

typedef struct qr_quic qr_quic_t;

/* Where datagrams go. */
typedef struct {
  void *ctx;
  /* Room for one datagram of datagram_max_sz bytes, or NULL if there is none now. Followed by one
   * commit. */
  uint8_t *(*room)(void *ctx);
  /* Sends the datagram of sz bytes, or gives the room back if sz is 0. ecn: the two ECN bits of the
   * IP header. */
  void (*commit)(void *ctx, const qr_link_addr_t *to, uint8_t ecn, size_t sz);
  /* True if a datagram to that address could be sent; asks the network if it is not known yet. */
  bool (*reachable)(void *ctx, const qr_link_addr_t *to);
  /* From within input: the datagram can only have been made by the peer at that address. NULL:
   * nobody wants to know. */
  void (*heard)(void *ctx, const qr_link_addr_t *from);
} qr_quic_out_t;

typedef struct {
  const qr_key_t *identity; /* borrowed for the endpoint's life */
  qr_link_addr_t local;
  uint32_t conn_max_cnt;
  /* Of the sync stream: bytes buffered for sending, bytes a peer may send ahead; blocks have half
   * of it, control and transactions an eighth. */
  uint64_t send_buf_sz, window_sz;
  uint64_t idle_ns, handshake_ns;
  uint32_t
      retry_cnt; /* half-open inbound connections beyond which a sender must prove its address */
  /* UDP payload that the own port sends and takes. Beyond QR_QUIC_DATAGRAM_MAX_SZ it is used at
   * once with peers that take it, without a search for what the path carries. */
  uint32_t datagram_max_sz;
  qr_quic_out_t out;
} qr_quic_cfg_t;

/* Takes all memory of ours; ngtcp2 and GnuTLS allocate per connection. Returns 0, QR_ERR_NOMEM or
 * QR_ERR_IO (GnuTLS). */
int qr_quic_new(const qr_quic_cfg_t *cfg, qr_quic_t **out) QR_WARN_UNUSED;
/* Closes every connection, telling the peers. */
void qr_quic_free(qr_quic_t *q);

/* The driver has refused addresses that it cannot reach at all. */
int qr_quic_connect(qr_quic_t *q, const qr_link_addr_t *to, const qr_pubkey_t *expect,
                    qr_link_conn_t *out);
void qr_quic_disconnect(qr_quic_t *q, qr_link_conn_t c);
int64_t qr_quic_send(qr_quic_t *q, qr_link_conn_t c, enum qr_link_class cls, const void *p,
                     size_t sz);

/* One poll is: begin (takes back lent bytes), any number of inputs, run (timers, sending), events.
 */
void qr_quic_begin(qr_quic_t *q, uint64_t now_ns);
void qr_quic_input(qr_quic_t *q, const qr_link_addr_t *from, uint8_t ecn, const uint8_t *p,
                   size_t sz);
void qr_quic_run(qr_quic_t *q);
int qr_quic_events(qr_quic_t *q, qr_link_event_t *ev, int max);

/* Unpredictable bytes. */
void qr_quic_random(void *p, size_t sz);

uint64_t qr_quic_next_timer(const qr_quic_t *q);
void qr_quic_stats(const qr_quic_t *q, qr_link_stats_t *out);
int qr_quic_conn_stats(const qr_quic_t *q, qr_link_conn_t c, qr_link_stats_t *out);

/* The connections that are up, for whoever shows them. */
typedef struct {
  qr_link_addr_t addr;
  qr_pubkey_t peer;
  bool inbound;
  qr_link_stats_t stats;
} qr_quic_info_t;
uint32_t qr_quic_list(const qr_quic_t *q, qr_quic_info_t *out, uint32_t max);

#endif
