/* Link port: authenticated, reliable byte streams between nodes. A driver owns addresses, packets,
   encryption and congestion control; above it there are only connections and streams. Each
   connection has QR_LINK_CLASS_CNT bidirectional ordered streams, so that a bulk transfer never
   delays control. Single-threaded: all calls from the owning tile. */
#ifndef QR_PORT_LINK_H
#define QR_PORT_LINK_H

#include "base/types.h"
#include "crypto/sign.h"

enum qr_link_class {
  QR_LINK_CONTROL = 0,
  QR_LINK_BLOCK = 1,
  QR_LINK_TX = 2,
  QR_LINK_SYNC = 3,
  QR_LINK_CLASS_CNT = 4
};

typedef struct {
  uint8_t ip[16];
  uint16_t port;
} qr_link_addr_t;                /* IPv4 as ::ffff:a.b.c.d; port in host order */
typedef uint32_t qr_link_conn_t; /* 0 is no connection; numbers are not reused soon */
typedef struct qr_link qr_link_t;

enum qr_link_event_kind { QR_LINK_UP, QR_LINK_DOWN, QR_LINK_DATA, QR_LINK_WRITABLE };

typedef struct {
  enum qr_link_event_kind kind;
  qr_link_conn_t conn;
  bool inbound;           /* UP */
  qr_link_addr_t addr;    /* UP */
  qr_pubkey_t peer;       /* UP: the peer's verified Ed25519 identity */
  enum qr_link_class cls; /* DATA, WRITABLE: room again after a short send */
  const uint8_t *data;    /* DATA: lent until the next poll */
  size_t sz;
  const char *reason; /* DOWN: static text */
} qr_link_event_t;

typedef struct {
  uint64_t rx_pkts, tx_pkts, rx_bytes, tx_bytes;
  uint64_t rx_dropped; /* malformed, not for us, bad checksum */
  uint64_t tx_dropped; /* could not be queued to the port */
  uint64_t handshakes_failed;
  uint64_t rtt_ns; /* conn_stats only: smoothed round trip, 0 if unknown */
} qr_link_stats_t;

typedef struct {
  const char *options;      /* driver-specific "key=value;..." text, may be empty */
  qr_link_addr_t local;     /* address and UDP port to listen on */
  const qr_key_t *identity; /* borrowed for the life of the link */
  uint32_t conn_max_cnt;    /* connections in both directions together */
} qr_link_cfg_t;

typedef struct {
  const char *name; /* folder name: "dpdk" */
  const char *help;
  /* On failure a sentence with cause and cure goes to why. */
  int (*open)(const qr_link_cfg_t *cfg, qr_link_t **out, char *why, size_t why_sz);
  void (*close)(qr_link_t *l);
  /* Starts a connection; UP or DOWN follows from poll. expect: the identity the peer must prove,
     NULL for any. Returns 0 and the connection, QR_ERR_FULL or QR_ERR_ARG. */
  int (*connect)(qr_link_t *l, const qr_link_addr_t *to, const qr_pubkey_t *expect,
                 qr_link_conn_t *out);
  void (*disconnect)(qr_link_t *l, qr_link_conn_t c); /* no further events of c */
  /* Queues bytes on a stream; returns how many were taken (0 .. sz; short means wait for WRITABLE),
   * or QR_ERR_CLOSED. */
  int64_t (*send)(qr_link_t *l, qr_link_conn_t c, enum qr_link_class cls, const void *p, size_t sz);
  /* Receives, runs timers, sends; fills up to max events. now_ns is monotonic. Returns the count.
   */
  int (*poll)(qr_link_t *l, uint64_t now_ns, qr_link_event_t *ev, int max);
  /* Monotonic time before which poll has nothing to do unless a packet comes; UINT64_MAX for none.
   */
  uint64_t (*next_timer)(qr_link_t *l);
  /* Sums since open; of connections that are gone, too. */
  void (*stats)(const qr_link_t *l, qr_link_stats_t *out);
  /* Of one connection. Returns 0, or QR_ERR_NOTFOUND. */
  int (*conn_stats)(const qr_link_t *l, qr_link_conn_t c, qr_link_stats_t *out);
} qr_link_ops_t;

#define QR_LINK_ADDR_STR_SZ 56u

/* Parses "a.b.c.d:port" or "[IPv6]:port"; without a port, which for IPv6 needs no brackets, it is
   default_port. Returns false if it is not one. */
bool qr_link_addr_parse(const char *s, uint16_t default_port, qr_link_addr_t *out);
/* Text form, out of at least QR_LINK_ADDR_STR_SZ bytes; returns out. */
char *qr_link_addr_str(const qr_link_addr_t *a, char *out);
bool qr_link_addr_is_v4(const qr_link_addr_t *a);

#endif
