/* Datagrams that belong to no connection: new clients, address validation, and the few answers QUIC
   gives to strangers. No state is kept for any of them until a connection is made. */
#include "drivers/link/quic/quic_conn.h"

#define RETRY_VALID_NS (10 * NGTCP2_SECONDS)
#define ANSWER_WINDOW_NS (100 * NGTCP2_MILLISECONDS)
#define ANSWER_MAX_CNT 64u /* per window: strangers cannot make us a source of traffic */
#define RESET_MIN_SZ (NGTCP2_MIN_STATELESS_RESET_RANDLEN + NGTCP2_STATELESS_RESET_TOKENLEN)
#define RESET_MAX_SZ 43u /* looks like any short packet */
#define CLIENT_FIRST_MIN_SZ 1200u

static bool may_answer(qr_quic_t *q) {
  if (q->now - q->answer_at >= ANSWER_WINDOW_NS) {
    q->answer_at = q->now;
    q->answer_cnt = 0;
  }
  return q->answer_cnt++ < ANSWER_MAX_CNT;
}

static uint8_t *answer_room(qr_quic_t *q) {
  return may_answer(q) ? q->cfg.out.room(q->cfg.out.ctx) : NULL;
}

static void answer_commit(qr_quic_t *q, const qr_link_addr_t *from, ngtcp2_ssize sz) {
  q->cfg.out.commit(q->cfg.out.ctx, from, 0, sz > 0 ? (size_t)sz : 0);
  if (sz <= 0) return;
  q->stats.tx_pkts++;
  q->stats.tx_bytes += (uint64_t)sz;
}

void qr_quic_send_versions(qr_quic_t *q, const qr_link_addr_t *from, const ngtcp2_version_cid *vc,
                           size_t trigger_sz) {
  static const uint32_t versions[] = {NGTCP2_PROTO_VER_V1};
  if (trigger_sz < CLIENT_FIRST_MIN_SZ) return;
  uint8_t random, *p = answer_room(q);
  if (!p) return;
  qr_quic_random(&random, 1);
  answer_commit(q, from,
                ngtcp2_pkt_write_version_negotiation(p, QR_QUIC_DATAGRAM_MIN_SZ, random, vc->scid,
                                                     vc->scidlen, vc->dcid, vc->dcidlen, versions,
                                                     QR_ARRAY_CNT(versions)));
}

void qr_quic_send_reset(qr_quic_t *q, const qr_link_addr_t *from, const ngtcp2_version_cid *vc,
                        size_t trigger_sz) {
  uint8_t token[NGTCP2_STATELESS_RESET_TOKENLEN],
      random[RESET_MAX_SZ - NGTCP2_STATELESS_RESET_TOKENLEN];
  ngtcp2_cid cid;
  size_t sz = trigger_sz > RESET_MAX_SZ
                  ? RESET_MAX_SZ
                  : trigger_sz - 1; /* an answer smaller than its cause ends every loop */
  if (trigger_sz <= RESET_MIN_SZ) return;
  ngtcp2_cid_init(&cid, vc->dcid, vc->dcidlen);
  if (ngtcp2_crypto_generate_stateless_reset_token(token, q->reset_secret, sizeof q->reset_secret,
                                                   &cid))
    return;
  uint8_t *p = answer_room(q);
  if (!p) return;
  qr_quic_random(random, sizeof random);
  answer_commit(q, from,
                ngtcp2_pkt_write_stateless_reset(p, QR_QUIC_DATAGRAM_MIN_SZ, token, random,
                                                 sz - NGTCP2_STATELESS_RESET_TOKENLEN));
}

void qr_quic_send_retry(qr_quic_t *q, const qr_link_addr_t *from, const ngtcp2_pkt_hd *hd) {
  uint8_t token[NGTCP2_CRYPTO_MAX_RETRY_TOKENLEN];
  struct sockaddr_in6 sa = qr_quic_sockaddr(from);
  ngtcp2_cid scid = {.datalen = QR_QUIC_CID_SZ};
  qr_quic_random(scid.data, scid.datalen);
  ngtcp2_ssize token_sz = ngtcp2_crypto_generate_retry_token(
      token, q->retry_secret, sizeof q->retry_secret, hd->version, (ngtcp2_sockaddr *)&sa,
      sizeof sa, &scid, &hd->dcid, q->now);
  if (token_sz < 0) return;
  uint8_t *p = answer_room(q);
  if (!p) return;
  answer_commit(q, from,
                ngtcp2_crypto_write_retry(p, QR_QUIC_DATAGRAM_MIN_SZ, hd->version, &hd->scid, &scid,
                                          &hd->dcid, token, (size_t)token_sz));
}

static void refuse(qr_quic_t *q, const qr_link_addr_t *from, const ngtcp2_pkt_hd *hd,
                   uint64_t error_code) {
  uint8_t *p = answer_room(q);
  if (!p) return;
  answer_commit(q, from,
                ngtcp2_crypto_write_connection_close(p, QR_QUIC_DATAGRAM_MIN_SZ, hd->version,
                                                     &hd->scid, &hd->dcid, error_code, NULL, 0));
}

/* A retry token that this process made for that address. */
static bool token_is_good(qr_quic_t *q, const qr_link_addr_t *from, const ngtcp2_pkt_hd *hd,
                          ngtcp2_cid *odcid) {
  struct sockaddr_in6 sa = qr_quic_sockaddr(from);
  return !ngtcp2_crypto_verify_retry_token(
      odcid, hd->token.base, hd->token.len, q->retry_secret, sizeof q->retry_secret, hd->version,
      (ngtcp2_sockaddr *)&sa, sizeof sa, &hd->dcid, RETRY_VALID_NS, q->now);
}

void qr_quic_accept(qr_quic_t *q, const qr_link_addr_t *from, uint8_t ecn, const uint8_t *p,
                    size_t sz) {
  ngtcp2_pkt_hd hd;
  int rv = ngtcp2_accept(&hd, p, sz);
  if (rv == NGTCP2_ERR_RETRY) {
    qr_quic_send_retry(q, from, &hd);
    return;
  }
  if (rv) {
    q->stats.rx_dropped++;
    return;
  }
  ngtcp2_cid odcid = hd.dcid;
  /* A token of another kind than we make counts for nothing; it is not a fault. */
  bool has_token = hd.type == NGTCP2_PKT_INITIAL && hd.token.len &&
                   hd.token.base[0] == NGTCP2_CRYPTO_TOKEN_MAGIC_RETRY;
  /* ngtcp2 checks this only without a token; no ID, or a short one, is no way to tell clients
   * apart. */
  if (hd.dcid.datalen < NGTCP2_MIN_INITIAL_DCIDLEN) {
    q->stats.rx_dropped++;
    return;
  }
  if (has_token && !token_is_good(q, from, &hd, &odcid)) {
    refuse(q, from, &hd, NGTCP2_INVALID_TOKEN);
    return;
  }
  if (!has_token && q->half_open_cnt >= q->cfg.retry_cnt) {
    qr_quic_send_retry(q, from, &hd);
    return;
  }
  /* Strangers may hold half of the connections at most, so that our own calls always find room. */
  qr_quic_conn_t *c =
      q->half_open_cnt < (q->cfg.conn_max_cnt + 1) / 2 ? qr_quic_conn_new(q, from, true) : NULL;
  if (!c) {
    refuse(q, from, &hd, NGTCP2_CONNECTION_REFUSED);
    return;
  }
  if (qr_quic_conn_start_server(c, &hd, has_token ? &odcid : NULL)) {
    qr_quic_conn_drop(c, "out of memory");
    return;
  }
  qr_quic_conn_read(c, from, ecn, p, sz);
}
