/* Internals of the QUIC endpoint, shared by quic.c (connections and events), conn.c (one
   connection), send.c (what it sends next) and accept.c (datagrams of no connection). */
#ifndef QR_LINK_QUIC_QUIC_CONN_H
#define QR_LINK_QUIC_QUIC_CONN_H

#include <gnutls/gnutls.h>
#include <netinet/in.h>
#include <ngtcp2/ngtcp2.h>
#include <ngtcp2/ngtcp2_crypto.h>

#include "drivers/link/quic/cidmap.h"
#include "drivers/link/quic/quic.h"
#include "drivers/link/quic/stream.h"
#include "drivers/link/quic/tls.h"

#define QR_QUIC_CID_SZ 8u
#define QR_QUIC_CID_CNT                                                                            \
  15u /* own IDs of a connection: ngtcp2 keeps 8, and retired ones for a while */
#define QR_QUIC_NEVER UINT64_MAX
#define QR_QUIC_STREAM_ID_STEP 4

enum qr_quic_state {
  QR_QUIC_FREE,
  QR_QUIC_START, /* asked for; waits until the peer can be reached */
  QR_QUIC_HANDSHAKE,
  QR_QUIC_OPEN,
  QR_QUIC_GONE /* the transport is gone; bytes and DOWN may wait to be delivered */
};

typedef struct {
  qr_quic_t *quic;
  enum qr_quic_state state;
  uint32_t idx, generation;
  qr_link_conn_t id;
  bool listed; /* in quic->active */
  bool inbound, has_expect, peer_known;
  bool up;                 /* UP is to be announced */
  bool announced;          /* UP was announced */
  bool dirty;              /* there may be something to write */
  bool finished_handshake; /* set by ngtcp2's callbacks, acted upon after them */
  bool was_reset;
  qr_link_addr_t addr;  /* that proved itself */
  qr_link_addr_t trial; /* where ngtcp2 sends, asking for proof; port 0: nowhere else */
  bool genuine;      /* what is being read holds what only the peer can say, for the first time */
  uint64_t heard_at; /* when addr spoke last */
  uint64_t trial_at; /* since when ngtcp2 sends to trial */
  qr_pubkey_t expect, peer;
  uint64_t expiry;    /* of ngtcp2's timers; of the attempt in START */
  const char *reason; /* why it will go down, if known before it does */
  ngtcp2_conn *conn;
  gnutls_session_t tls;
  ngtcp2_crypto_conn_ref ref;
  uint8_t cids[QR_QUIC_CID_CNT][QR_QUIC_CID_SZ]; /* that we gave out, in no order */
  uint32_t cid_cnt;
  ngtcp2_cid first_dcid; /* the ID a client chose for us; empty if there is none */
  bool stream_open[QR_LINK_CLASS_CNT], preamble_seen[QR_LINK_CLASS_CNT], want[QR_LINK_CLASS_CNT];
  bool sync_first;  /* of transactions and sync, whose turn it is to send */
  uint64_t pace_at; /* nothing but acknowledgements before */
  qr_outq_t out[QR_LINK_CLASS_CNT];
  qr_inq_t in[QR_LINK_CLASS_CNT];
  qr_link_stats_t stats;
} qr_quic_conn_t;

struct qr_quic {
  qr_quic_cfg_t cfg;
  qr_tls_t *tls;
  struct sockaddr_in6 local;
  qr_cidmap_t cids;
  qr_quic_conn_t *conns;
  uint32_t *active, active_cnt, cursor, first; /* first: who sends first in the next poll */
  uint32_t half_open_cnt;
  uint8_t *mem;
  uint64_t now;
  uint8_t reset_secret[32], retry_secret[32];
  uint64_t answer_at; /* window of unauthenticated answers */
  uint32_t answer_cnt;
  qr_link_stats_t stats;
};

/* quic.c */
qr_quic_conn_t *qr_quic_conn_new(qr_quic_t *q, const qr_link_addr_t *addr, bool inbound);

/* conn.c. A connection whose start fails is to be dropped by the caller. odcid: what a retry token
   says of the client's first ID; NULL if it came without one. */
int qr_quic_conn_start_client(qr_quic_conn_t *c);
int qr_quic_conn_start_server(qr_quic_conn_t *c, const ngtcp2_pkt_hd *hd, const ngtcp2_cid *odcid);
void qr_quic_conn_read(qr_quic_conn_t *c, const qr_link_addr_t *from, uint8_t ecn, const uint8_t *p,
                       size_t sz);
/* A packet of no ID that we know, from the peer's address: a reset, perhaps. */
void qr_quic_conn_read_stray(qr_quic_conn_t *c, uint8_t ecn, const uint8_t *p, size_t sz);
/* Sees where ngtcp2 sends now. */
void qr_quic_conn_place(qr_quic_conn_t *c);
void qr_quic_conn_timeout(qr_quic_conn_t *c);
/* What an error of ngtcp2 means for the connection. */
void qr_quic_conn_failed(qr_quic_conn_t *c, int rv);
/* Sends what ngtcp2 wrote, or gives the room back if that is nothing or an error. */
void qr_quic_conn_commit(qr_quic_conn_t *c, const ngtcp2_path *path, const ngtcp2_pkt_info *pi,
                         ngtcp2_ssize sz);
/* Tells the peer and drops the transport. */
void qr_quic_conn_close(qr_quic_conn_t *c);
/* Drops the transport without a word; reason is for DOWN. */
void qr_quic_conn_drop(qr_quic_conn_t *c, const char *reason);
int qr_quic_check_peer(gnutls_session_t session);

/* send.c */
void qr_quic_conn_write(qr_quic_conn_t *c);

/* accept.c */
void qr_quic_accept(qr_quic_t *q, const qr_link_addr_t *from, uint8_t ecn, const uint8_t *p,
                    size_t sz);
void qr_quic_send_retry(qr_quic_t *q, const qr_link_addr_t *from, const ngtcp2_pkt_hd *hd);
void qr_quic_send_reset(qr_quic_t *q, const qr_link_addr_t *from, const ngtcp2_version_cid *vc,
                        size_t trigger_sz);
void qr_quic_send_versions(qr_quic_t *q, const qr_link_addr_t *from, const ngtcp2_version_cid *vc,
                           size_t trigger_sz);

/* A class's share of a buffer size: sync fills long paths, a block is less than a megabyte. */
static inline uint64_t qr_quic_class_sz(int cls, uint64_t sz) {
  const uint64_t least = 65536;
  uint64_t share = sz / 8;
  if (cls == QR_LINK_SYNC || sz <= least) return sz;
  if (cls == QR_LINK_BLOCK) share = sz / 2;
  return share > least ? share : least;
}

static inline bool qr_quic_is_jumbo(const qr_quic_t *q) {
  return q->cfg.datagram_max_sz > QR_QUIC_DATAGRAM_MAX_SZ;
}

/* ngtcp2 sees IPv4 addresses as IPv6 ones, too: it only copies and compares them. */
static inline struct sockaddr_in6 qr_quic_sockaddr(const qr_link_addr_t *a) {
  struct sockaddr_in6 s = {.sin6_family = AF_INET6, .sin6_port = htons(a->port)};
  memcpy(&s.sin6_addr, a->ip, sizeof a->ip);
  return s;
}

static inline qr_link_addr_t qr_quic_addr(const struct sockaddr *sa) {
  struct sockaddr_in6 s;
  qr_link_addr_t a;
  memcpy(&s, sa, sizeof s);
  memcpy(a.ip, &s.sin6_addr, sizeof a.ip);
  a.port = ntohs(s.sin6_port);
  return a;
}

static inline bool qr_quic_addr_eq(const qr_link_addr_t *a, const qr_link_addr_t *b) {
  return !memcmp(a->ip, b->ip, sizeof a->ip) && a->port == b->port;
}

#endif
