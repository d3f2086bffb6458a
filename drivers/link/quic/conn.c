/* One QUIC connection over ngtcp2 and GnuTLS. The client opens one bidirectional stream per class,
   in class order, and begins each with one byte, the class: a stream exists for its peer only once
   something was sent on it. */
#include "drivers/link/quic/quic_conn.h"

#include "base/assert.h"
#include "base/err.h"

#define ACK_PACKET_CNT 2u /* packets that are acknowledged at once */
/* A place is given up that was silent for so long, or for less while it owes us an answer. */
#define MOVE_SILENCE_NS UINT64_C(500000000)
#define MOVE_UNANSWERED_NS UINT64_C(20000000)
#define MOVE_TRIAL_NS UINT64_C(10000000000) /* longer than ngtcp2 waits for a proof */
#define STREAM_ID_STEP                                                                             \
  QR_QUIC_STREAM_ID_STEP /* client-initiated bidirectional streams are 0, 4, 8, ... */

static qr_quic_conn_t *conn_of(void *user) { return user; }

static int class_of(int64_t stream_id) {
  return stream_id >= 0 && stream_id % STREAM_ID_STEP == 0 &&
                 stream_id / STREAM_ID_STEP < QR_LINK_CLASS_CNT
             ? (int)(stream_id / STREAM_ID_STEP)
             : -1;
}

/* ---- callbacks of ngtcp2 and GnuTLS ---- */

static int fail(qr_quic_conn_t *c, const char *reason) {
  if (!c->reason) c->reason = reason;
  return NGTCP2_ERR_CALLBACK_FAILURE;
}

static ngtcp2_conn *on_get_conn(ngtcp2_crypto_conn_ref *ref) {
  return conn_of(ref->user_data)->conn;
}

static void on_rand(uint8_t *p, size_t sz, const ngtcp2_rand_ctx *ctx) {
  (void)ctx;
  qr_quic_random(p, sz);
}

/* No peer can make us hold more than its share of IDs, however fast it retires them. */
static bool cid_add(qr_quic_conn_t *c, const uint8_t *id) {
  if (c->cid_cnt == QR_QUIC_CID_CNT ||
      !qr_cidmap_put(&c->quic->cids, id, QR_QUIC_CID_SZ, c->idx + 1))
    return false;
  memcpy(c->cids[c->cid_cnt++], id, QR_QUIC_CID_SZ);
  return true;
}

static void cid_remove(qr_quic_conn_t *c, const uint8_t *id) {
  for (uint32_t i = 0; i < c->cid_cnt; i++) {
    if (memcmp(c->cids[i], id, QR_QUIC_CID_SZ)) continue;
    qr_cidmap_del(&c->quic->cids, id, QR_QUIC_CID_SZ, c->idx + 1);
    memmove(c->cids[i], c->cids[--c->cid_cnt], QR_QUIC_CID_SZ);
    return;
  }
}

static int on_new_cid(ngtcp2_conn *conn, ngtcp2_cid *cid, uint8_t *token, size_t sz, void *user) {
  (void)conn;
  qr_quic_conn_t *c = conn_of(user);
  qr_quic_t *q = c->quic;
  QR_ASSERT(sz == QR_QUIC_CID_SZ); /* that of the first one */
  qr_quic_random(cid->data, sz);
  cid->datalen = sz;
  if (ngtcp2_crypto_generate_stateless_reset_token(token, q->reset_secret, sizeof q->reset_secret,
                                                   cid) ||
      !cid_add(c, cid->data))
    return fail(c, "protocol error: too many connection IDs");
  return 0;
}

static int on_remove_cid(ngtcp2_conn *conn, const ngtcp2_cid *cid, void *user) {
  (void)conn;
  if (cid->datalen == QR_QUIC_CID_SZ) cid_remove(conn_of(user), cid->data);
  return 0;
}

static int on_handshake_completed(ngtcp2_conn *conn, void *user) {
  /* A client waits for more: only the server's confirmation says that our certificate was accepted,
   * too. */
  if (ngtcp2_conn_is_server(conn)) conn_of(user)->finished_handshake = true;
  return 0;
}

static int on_handshake_confirmed(ngtcp2_conn *conn, void *user) {
  (void)conn;
  conn_of(user)->finished_handshake = true;
  return 0;
}

static void stream_opened(qr_quic_conn_t *c, int cls) {
  uint64_t least = UINT64_MAX, own = qr_quic_class_sz(cls, c->quic->cfg.window_sz);
  for (int k = 0; k < QR_LINK_CLASS_CNT; k++) {
    uint64_t sz = qr_quic_class_sz(k, c->quic->cfg.window_sz);
    if (sz < least) least = sz;
  }
  c->stream_open[cls] = true;
  ngtcp2_conn_extend_max_stream_offset(c->conn, cls * STREAM_ID_STEP, own - least);
}

static int on_stream_open(ngtcp2_conn *conn, int64_t stream_id, void *user) {
  (void)conn;
  qr_quic_conn_t *c = conn_of(user);
  int cls = class_of(stream_id);
  if (cls < 0) return fail(c, "protocol error: unknown stream");
  stream_opened(c, cls);
  return 0;
}

static int on_stream_data(ngtcp2_conn *conn, uint32_t flags, int64_t stream_id, uint64_t offset,
                          const uint8_t *p, size_t sz, void *user, void *stream_user) {
  (void)stream_user;
  (void)offset;
  qr_quic_conn_t *c = conn_of(user);
  int cls = class_of(stream_id);
  if (cls < 0 || flags & NGTCP2_STREAM_DATA_FLAG_FIN)
    return fail(c, "protocol error: stream ended");
  if (sz && c->inbound && !c->preamble_seen[cls]) {
    if (p[0] != cls) return fail(c, "protocol error: stream of another class");
    c->preamble_seen[cls] = true;
    ngtcp2_conn_extend_max_stream_offset(conn, stream_id, 1);
    ngtcp2_conn_extend_max_offset(conn, 1);
    p++;
    sz--;
  }
  if (sz && !qr_inq_put(&c->in[cls], p, sz))
    return fail(c, "protocol error: more data than permitted");
  c->stats.rx_bytes += sz;
  c->genuine = true;
  return 0;
}

static int on_acked(ngtcp2_conn *conn, int64_t stream_id, uint64_t offset, uint64_t sz, void *user,
                    void *stream_user) {
  (void)conn;
  (void)stream_user;
  qr_quic_conn_t *c = conn_of(user);
  int cls = class_of(stream_id);
  if (cls >= 0) qr_outq_ack(&c->out[cls], offset + sz);
  c->genuine = true;
  return 0;
}

static int on_stream_close(ngtcp2_conn *conn, uint32_t flags, int64_t stream_id, uint64_t error,
                           void *user, void *stream_user) {
  (void)conn;
  (void)flags;
  (void)stream_id;
  (void)error;
  (void)stream_user;
  return fail(conn_of(user), "protocol error: stream ended");
}

static int on_stream_reset(ngtcp2_conn *conn, int64_t stream_id, uint64_t final_sz, uint64_t error,
                           void *user, void *stream_user) {
  (void)final_sz;
  return on_stream_close(conn, 0, stream_id, error, user, stream_user);
}

static int on_stop_sending(ngtcp2_conn *conn, int64_t stream_id, uint64_t error, void *user,
                           void *stream_user) {
  return on_stream_close(conn, 0, stream_id, error, user, stream_user);
}

static int on_reset(ngtcp2_conn *conn, const ngtcp2_pkt_stateless_reset *sr, void *user) {
  (void)conn;
  (void)sr;
  conn_of(user)->was_reset = true;
  return 0;
}

int qr_quic_check_peer(gnutls_session_t session) {
  ngtcp2_crypto_conn_ref *ref = gnutls_session_get_ptr(session);
  qr_quic_conn_t *c = conn_of(ref->user_data);
  const char *fault = NULL;
  if (!qr_tls_peer(session, &c->peer))
    fault = "peer's certificate is not an Ed25519 identity";
  else if (qr_pubkey_eq(&c->peer, &c->quic->cfg.identity->pk))
    fault = "peer has our own identity";
  else if (c->has_expect && !qr_pubkey_eq(&c->peer, &c->expect))
    fault = "peer has another identity than expected";
  c->peer_known = !fault;
  if (!fault) return 0;
  c->reason = fault;
  return GNUTLS_E_CERTIFICATE_ERROR;
}

/* A new place has answered what it was asked. */
static int on_path_validation(ngtcp2_conn *conn, uint32_t flags, const ngtcp2_path *path,
                              ngtcp2_path_validation_result res, void *user) {
  (void)conn;
  (void)flags;
  qr_quic_conn_t *c = conn_of(user);
  if (res != NGTCP2_PATH_VALIDATION_RESULT_SUCCESS) return 0;
  c->addr = qr_quic_addr(path->remote.addr);
  c->heard_at = c->quic->now;
  return 0;
}

static const ngtcp2_callbacks callbacks = {
    .client_initial = ngtcp2_crypto_client_initial_cb,
    .recv_client_initial = ngtcp2_crypto_recv_client_initial_cb,
    .recv_crypto_data = ngtcp2_crypto_recv_crypto_data_cb,
    .handshake_completed = on_handshake_completed,
    .handshake_confirmed = on_handshake_confirmed,
    .encrypt = ngtcp2_crypto_encrypt_cb,
    .decrypt = ngtcp2_crypto_decrypt_cb,
    .hp_mask = ngtcp2_crypto_hp_mask_cb,
    .recv_stream_data = on_stream_data,
    .acked_stream_data_offset = on_acked,
    .stream_open = on_stream_open,
    .stream_close = on_stream_close,
    .recv_stateless_reset = on_reset,
    .recv_retry = ngtcp2_crypto_recv_retry_cb,
    .rand = on_rand,
    .get_new_connection_id = on_new_cid,
    .remove_connection_id = on_remove_cid,
    .update_key = ngtcp2_crypto_update_key_cb,
    .path_validation = on_path_validation,
    .stream_reset = on_stream_reset,
    .delete_crypto_aead_ctx = ngtcp2_crypto_delete_crypto_aead_ctx_cb,
    .delete_crypto_cipher_ctx = ngtcp2_crypto_delete_crypto_cipher_ctx_cb,
    .get_path_challenge_data = ngtcp2_crypto_get_path_challenge_data_cb,
    .stream_stop_sending = on_stop_sending,
    .version_negotiation = ngtcp2_crypto_version_negotiation_cb,
};

/* ---- making ---- */

static void make_settings(const qr_quic_t *q, ngtcp2_settings *s, ngtcp2_transport_params *p,
                          bool server) {
  ngtcp2_settings_default(s);
  uint64_t least = UINT64_MAX, all = 0;
  for (int k = 0; k < QR_LINK_CLASS_CNT; k++) {
    uint64_t sz = qr_quic_class_sz(k, q->cfg.window_sz);
    least = sz < least ? sz : least;
    all += sz;
  }
  s->cc_algo = NGTCP2_CC_ALGO_BBR; /* others take seconds per megabyte on a lossy long path */
  s->initial_ts = q->now;
  s->initial_rtt = 100 * NGTCP2_MILLISECONDS;
  s->ack_thresh = ACK_PACKET_CNT;
  s->max_tx_udp_payload_size = q->cfg.datagram_max_sz;
  /* ngtcp2 looks for sizes up to Ethernet's; larger ones are what the operator says. */
  s->no_pmtud = s->no_tx_udp_payload_size_shaping = qr_quic_is_jumbo(q);
  s->handshake_timeout = q->cfg.handshake_ns;
  ngtcp2_transport_params_default(p);
  p->initial_max_stream_data_bidi_local = least; /* the larger classes get theirs when they open */
  p->initial_max_stream_data_bidi_remote = least;
  p->initial_max_data = all;
  p->initial_max_streams_bidi = server ? QR_LINK_CLASS_CNT : 0;
  p->max_idle_timeout = q->cfg.idle_ns;
  p->max_udp_payload_size = q->cfg.datagram_max_sz;
  p->max_ack_delay = 5 * NGTCP2_MILLISECONDS;
  p->active_connection_id_limit = 4; /* spare ones for a client that moves */
}

static ngtcp2_path make_path(qr_quic_t *q, struct sockaddr_in6 *remote) {
  return (ngtcp2_path){.local = {(ngtcp2_sockaddr *)&q->local, sizeof q->local},
                       .remote = {(ngtcp2_sockaddr *)remote, sizeof *remote}};
}

static int conn_made(qr_quic_conn_t *c, bool server) {
  qr_quic_t *q = c->quic;
  c->state = QR_QUIC_HANDSHAKE;
  if (server) q->half_open_cnt++;
  c->tls = qr_tls_session(q->tls, server);
  if (!c->tls) return QR_ERR_NOMEM;
  c->ref = (ngtcp2_crypto_conn_ref){on_get_conn, c};
  gnutls_session_set_ptr(c->tls, &c->ref);
  ngtcp2_conn_set_tls_native_handle(c->conn, c->tls);
  ngtcp2_conn_set_keep_alive_timeout(c->conn, q->cfg.idle_ns / 3);
  c->dirty = true;
  return QR_OK;
}

static bool make_scid(qr_quic_conn_t *c, ngtcp2_cid *scid) {
  scid->datalen = QR_QUIC_CID_SZ;
  qr_quic_random(scid->data, scid->datalen);
  return cid_add(c, scid->data);
}

int qr_quic_conn_start_client(qr_quic_conn_t *c) {
  qr_quic_t *q = c->quic;
  ngtcp2_settings s;
  ngtcp2_transport_params p;
  ngtcp2_cid dcid = {.datalen = 16}, scid;
  struct sockaddr_in6 remote = qr_quic_sockaddr(&c->addr);
  ngtcp2_path path = make_path(q, &remote);
  make_settings(q, &s, &p, false);
  qr_quic_random(dcid.data, dcid.datalen);
  if (!make_scid(c, &scid)) return QR_ERR_FULL;
  if (ngtcp2_conn_client_new(&c->conn, &dcid, &scid, &path, NGTCP2_PROTO_VER_V1, &callbacks, &s, &p,
                             NULL, c))
    return QR_ERR_NOMEM;
  return conn_made(c, false);
}

int qr_quic_conn_start_server(qr_quic_conn_t *c, const ngtcp2_pkt_hd *hd, const ngtcp2_cid *odcid) {
  qr_quic_t *q = c->quic;
  ngtcp2_settings s;
  ngtcp2_transport_params p;
  ngtcp2_cid scid;
  struct sockaddr_in6 remote = qr_quic_sockaddr(&c->addr);
  ngtcp2_path path = make_path(q, &remote);
  make_settings(q, &s, &p, true);
  p.original_dcid = odcid ? *odcid : hd->dcid;
  if (odcid) {
    p.retry_scid = hd->dcid;
    p.retry_scid_present = 1;
    s.token = hd->token;
  }
  if (!make_scid(c, &scid)) return QR_ERR_FULL;
  p.stateless_reset_token_present = !ngtcp2_crypto_generate_stateless_reset_token(
      p.stateless_reset_token, q->reset_secret, sizeof q->reset_secret, &scid);
  if (!qr_cidmap_put(&q->cids, hd->dcid.data, hd->dcid.datalen, c->idx + 1)) return QR_ERR_FULL;
  c->first_dcid = hd->dcid;
  if (ngtcp2_conn_server_new(&c->conn, &hd->scid, &scid, &path, hd->version, &callbacks, &s, &p,
                             NULL, c))
    return QR_ERR_NOMEM;
  return conn_made(c, true);
}

/* ---- unmaking ---- */

static void forget_cids(qr_quic_conn_t *c) {
  qr_cidmap_t *m = &c->quic->cids;
  while (c->cid_cnt) qr_cidmap_del(m, c->cids[--c->cid_cnt], QR_QUIC_CID_SZ, c->idx + 1);
  if (c->first_dcid.datalen)
    qr_cidmap_del(m, c->first_dcid.data, c->first_dcid.datalen, c->idx + 1);
}

void qr_quic_conn_drop(qr_quic_conn_t *c, const char *reason) {
  qr_quic_t *q = c->quic;
  if (c->state == QR_QUIC_FREE || c->state == QR_QUIC_GONE) return;
  if (c->state != QR_QUIC_OPEN) q->stats.handshakes_failed++;
  if (c->state == QR_QUIC_HANDSHAKE && c->inbound) q->half_open_cnt--;
  forget_cids(c);
  if (c->conn) {
    ngtcp2_conn_del(c->conn);
    c->conn = NULL;
  }
  if (c->tls) {
    gnutls_deinit(c->tls);
    c->tls = NULL;
  }
  if (!c->reason) c->reason = reason;
  c->expiry = QR_QUIC_NEVER;
  c->dirty = false;
  /* Nobody was told of an inbound connection that failed before it was up. */
  c->state = c->inbound && !c->announced && !c->up ? QR_QUIC_FREE : QR_QUIC_GONE;
}

static void count_tx(qr_quic_conn_t *c, size_t sz) {
  c->stats.tx_pkts++;
  c->quic->stats.tx_pkts++;
  c->quic->stats.tx_bytes += sz;
}

void qr_quic_conn_commit(qr_quic_conn_t *c, const ngtcp2_path *path, const ngtcp2_pkt_info *pi,
                         ngtcp2_ssize sz) {
  const qr_quic_out_t *out = &c->quic->cfg.out;
  if (sz <= 0) {
    out->commit(out->ctx, &c->addr, 0, 0);
    return;
  }
  qr_link_addr_t to = qr_quic_addr(path->remote.addr);
  count_tx(c, (size_t)sz);
  out->commit(out->ctx, &to, (uint8_t)pi->ecn, (size_t)sz);
}

static void say_close(qr_quic_conn_t *c, const ngtcp2_connection_close_error *error) {
  const qr_quic_out_t *out = &c->quic->cfg.out;
  ngtcp2_path_storage ps;
  ngtcp2_pkt_info pi = {0};
  uint8_t *p = out->room(out->ctx);
  if (!p) return;
  ngtcp2_path_storage_zero(&ps);
  ngtcp2_ssize n = ngtcp2_conn_write_connection_close(c->conn, &ps.path, &pi, p,
                                                      QR_QUIC_DATAGRAM_MAX_SZ, error, c->quic->now);
  qr_quic_conn_commit(c, &ps.path, &pi, n);
}

void qr_quic_conn_close(qr_quic_conn_t *c) {
  ngtcp2_connection_close_error error;
  if (c->conn) {
    ngtcp2_connection_close_error_default(&error);
    ngtcp2_connection_close_error_set_application_error(&error, 0, NULL, 0);
    say_close(c, &error);
  }
  qr_quic_conn_drop(c, "closed");
}

static const char *drain_reason(qr_quic_conn_t *c) {
  ngtcp2_connection_close_error error;
  if (c->was_reset) return "reset by the peer";
  ngtcp2_conn_get_connection_close_error(c->conn, &error);
  if (error.type == NGTCP2_CONNECTION_CLOSE_ERROR_CODE_TYPE_TRANSPORT) {
    if (error.error_code == NGTCP2_CONNECTION_REFUSED) return "refused by the peer";
    if (error.error_code >= NGTCP2_CRYPTO_ERROR && error.error_code < NGTCP2_CRYPTO_ERROR + 256)
      return "peer did not accept our identity";
    if (error.error_code) return "peer found a protocol error";
  }
  return "closed by the peer";
}

void qr_quic_conn_failed(qr_quic_conn_t *c, int rv) {
  ngtcp2_connection_close_error error;
  switch (rv) {
  case NGTCP2_ERR_DRAINING: qr_quic_conn_drop(c, drain_reason(c)); return;
  case NGTCP2_ERR_IDLE_CLOSE: qr_quic_conn_drop(c, "idle timeout"); return;
  case NGTCP2_ERR_HANDSHAKE_TIMEOUT: qr_quic_conn_drop(c, "handshake timed out"); return;
  case NGTCP2_ERR_DROP_CONN: qr_quic_conn_drop(c, "handshake failed"); return;
  default: break;
  }
  ngtcp2_connection_close_error_default(&error);
  uint8_t alert = ngtcp2_conn_get_tls_alert(c->conn);
  if (alert)
    ngtcp2_connection_close_error_set_transport_error_tls_alert(&error, alert, NULL, 0);
  else
    ngtcp2_connection_close_error_set_transport_error_liberr(&error, rv, NULL, 0);
  say_close(c, &error);
  qr_quic_conn_drop(c, alert ? "TLS handshake failed" : ngtcp2_strerror(rv));
}

/* ---- running ---- */

static int open_streams(qr_quic_conn_t *c) {
  for (int k = 0; k < QR_LINK_CLASS_CNT; k++) {
    int64_t stream_id;
    uint8_t preamble = (uint8_t)k;
    if (ngtcp2_conn_open_bidi_stream(c->conn, &stream_id, NULL) || class_of(stream_id) != k)
      return QR_ERR_FULL;
    stream_opened(c, k);
    qr_outq_put(&c->out[k], &preamble, 1);
  }
  return QR_OK;
}

static void finish_handshake(qr_quic_conn_t *c) {
  if (!c->peer_known) {
    qr_quic_conn_failed(c, NGTCP2_ERR_CRYPTO);
    return;
  }
  if (c->inbound) c->quic->half_open_cnt--;
  c->state = QR_QUIC_OPEN;
  c->up = true;
  if (!c->inbound && open_streams(c)) {
    c->reason = "protocol error: peer permits too few streams";
    qr_quic_conn_failed(c, NGTCP2_ERR_PROTO);
  }
}

/* ---- where the peer is ---- */

/* ngtcp2 sends to a new place before that has proved anything, asks it for proof meanwhile, and
   goes back if there is none, or if the old place speaks again. */
void qr_quic_conn_place(qr_quic_conn_t *c) {
  qr_link_addr_t at = qr_quic_addr(ngtcp2_conn_get_path(c->conn)->remote.addr);
  uint64_t now = c->quic->now;
  if (qr_quic_addr_eq(&at, &c->addr)) {
    c->trial.port = 0;
  } else if (!qr_quic_addr_eq(&at, &c->trial)) {
    c->trial = at;
    c->trial_at = now;
  } else if (now - c->trial_at >= MOVE_TRIAL_NS) {
    c->addr = at; /* it went back to a place that had proved itself, and tells nobody */
  }
}

/* Nothing proves the sender's address of a packet, which whoever is on the way may change, or send
   again from elsewhere; ngtcp2 would follow each of them and stand still until it is back. So who
   was called stays where it is, and a caller may have moved only if its old place is silent. A
   place on trial does not count as heard: it would keep the caller out that it was forged for. */
static bool is_forged(const qr_quic_conn_t *c, const qr_link_addr_t *from) {
  ngtcp2_conn_stat st;
  if (qr_quic_addr_eq(&c->addr, from)) return false;
  if (!c->inbound) return true;
  if (qr_quic_addr_eq(&c->trial, from)) return false;
  ngtcp2_conn_get_conn_stat(c->conn, &st);
  return c->quic->now - c->heard_at < (st.pto_count ? MOVE_UNANSWERED_NS : MOVE_SILENCE_NS);
}

static void read_packet(qr_quic_conn_t *c, const qr_link_addr_t *from, uint8_t ecn,
                        const uint8_t *p, size_t sz) {
  struct sockaddr_in6 remote = qr_quic_sockaddr(from);
  ngtcp2_path path = make_path(c->quic, &remote);
  ngtcp2_pkt_info pi = {.ecn = ecn};
  const qr_quic_out_t *out = &c->quic->cfg.out;
  c->genuine = false;
  int rv = ngtcp2_conn_read_pkt(c->conn, &path, &pi, p, sz, c->quic->now);
  if (rv == NGTCP2_ERR_RETRY) {
    ngtcp2_pkt_hd hd;
    if (!ngtcp2_accept(&hd, p, sz)) qr_quic_send_retry(c->quic, from, &hd);
    rv = NGTCP2_ERR_DROP_CONN;
  }
  if (rv) {
    qr_quic_conn_failed(c, rv);
    return;
  }
  c->dirty = true;
  if (c->genuine && out->heard) out->heard(out->ctx, from);
  qr_quic_conn_place(c);
  if (c->state == QR_QUIC_HANDSHAKE && c->finished_handshake) finish_handshake(c);
}

void qr_quic_conn_read(qr_quic_conn_t *c, const qr_link_addr_t *from, uint8_t ecn, const uint8_t *p,
                       size_t sz) {
  c->stats.rx_pkts++;
  if (is_forged(c, from)) {
    c->stats.rx_dropped++;
    c->quic->stats.rx_dropped++;
    return;
  }
  if (qr_quic_addr_eq(&c->addr, from)) c->heard_at = c->quic->now;
  read_packet(c, from, ecn, p, sz);
}

/* Anybody can send one that seems to come from there, so it does not count as heard. */
void qr_quic_conn_read_stray(qr_quic_conn_t *c, uint8_t ecn, const uint8_t *p, size_t sz) {
  qr_link_addr_t from = c->addr;
  c->stats.rx_pkts++;
  read_packet(c, &from, ecn, p, sz);
}

void qr_quic_conn_timeout(qr_quic_conn_t *c) {
  int rv = ngtcp2_conn_handle_expiry(c->conn, c->quic->now);
  if (rv)
    qr_quic_conn_failed(c, rv);
  else
    c->dirty = true;
}
