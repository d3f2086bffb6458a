/* What a connection sends next, and when: classes in their order, packets at the rate that
   congestion control allows. */
#include "drivers/link/quic/quic_conn.h"

#define PACKETS_MAX_CNT 64u /* of one connection in one go, whatever the pacing allows */
/* Bytes in one go: the receiver begins with these while we encrypt the next. */
#define GO_MAX_SZ (32u << 10)
/* ngtcp2 lets a packet go that much before its time. */
#define PACING_EARLY_NS NGTCP2_MILLISECONDS
/* Time without a poll in which sending may catch up afterwards. */
#define PACING_SLACK_NS NGTCP2_MILLISECONDS

/* The next class with bytes to send that is not blocked: control, then blocks, then transactions
   and sync in turn. A packet that one class does not fill goes on with the next. -1 if there is
   none. */
static int next_class(const qr_quic_conn_t *c, unsigned blocked) {
  const int order[QR_LINK_CLASS_CNT] = {QR_LINK_CONTROL, QR_LINK_BLOCK,
                                        c->sync_first ? QR_LINK_SYNC : QR_LINK_TX,
                                        c->sync_first ? QR_LINK_TX : QR_LINK_SYNC};
  for (int i = 0; i < QR_LINK_CLASS_CNT; i++) {
    int k = order[i];
    if (c->stream_open[k] && !(blocked >> k & 1) && c->out[k].sent != c->out[k].wr) return k;
  }
  return -1;
}

/* Fills one datagram; returns its size, 0 if there is nothing to send or not now, or ngtcp2's
 * error. */
static ngtcp2_ssize fill(qr_quic_conn_t *c, ngtcp2_path *path, ngtcp2_pkt_info *pi, uint8_t *p,
                         unsigned *blocked) {
  size_t room = c->state == QR_QUIC_OPEN ? c->quic->cfg.datagram_max_sz : QR_QUIC_DATAGRAM_MIN_SZ;
  for (;;) {
    qr_span_t span[2];
    ngtcp2_vec vec[2];
    int k = c->state == QR_QUIC_OPEN ? next_class(c, *blocked) : -1,
        cnt = k >= 0 ? qr_outq_unsent(&c->out[k], span) : 0;
    for (int i = 0; i < cnt; i++) vec[i] = (ngtcp2_vec){(uint8_t *)span[i].p, span[i].sz};
    ngtcp2_ssize taken = -1;
    ngtcp2_ssize n = ngtcp2_conn_writev_stream(
        c->conn, path, pi, p, room, &taken,
        k >= 0 ? NGTCP2_WRITE_STREAM_FLAG_MORE : NGTCP2_WRITE_STREAM_FLAG_NONE,
        k >= 0 ? k * QR_QUIC_STREAM_ID_STEP : -1, vec, (size_t)cnt, c->quic->now);
    if (k >= 0 && taken > 0) {
      c->out[k].sent += (uint64_t)taken;
      c->stats.tx_bytes += (uint64_t)taken;
      if (k == QR_LINK_TX || k == QR_LINK_SYNC) c->sync_first = k == QR_LINK_TX;
    }
    if (n == NGTCP2_ERR_STREAM_DATA_BLOCKED)
      *blocked |= 1u << k;
    else if (n != NGTCP2_ERR_WRITE_MORE)
      return n;
  }
}

/* sent bytes went out; sets when the next ones may. ngtcp2 counts from the last packet and rounds
   to a millisecond, which is no pacing at all on a fast path; here time owed is carried over, and
   ngtcp2 is told of it so that meanwhile it writes nothing but acknowledgements. */
static void pace(qr_quic_conn_t *c, size_t sent) {
  uint64_t now = c->quic->now,
           base = c->pace_at + PACING_SLACK_NS > now ? c->pace_at : now - PACING_SLACK_NS;
  ngtcp2_conn_stat st;
  ngtcp2_conn_get_conn_stat(c->conn, &st);
  double rate = st.pacing_rate; /* bytes per ns */
  if (rate <= 0) rate = 1.25 * (double)st.cwnd / (double)st.smoothed_rtt;
  c->pace_at = base + (uint64_t)((double)sent / rate);
  ngtcp2_conn_update_pkt_tx_time(c->conn, base + PACING_EARLY_NS);
}

void qr_quic_conn_write(qr_quic_conn_t *c) {
  const qr_quic_out_t *out = &c->quic->cfg.out;
  size_t quantum = ngtcp2_conn_get_send_quantum(c->conn), sent = 0;
  unsigned blocked = 0;
  if (quantum > GO_MAX_SZ) quantum = GO_MAX_SZ;
  c->dirty = false;
  for (uint32_t i = 0; i < PACKETS_MAX_CNT && sent < quantum; i++) {
    ngtcp2_path_storage ps;
    ngtcp2_pkt_info pi = {0};
    uint8_t *p = out->room(out->ctx);
    if (!p) {
      c->dirty = true;
      break;
    }
    ngtcp2_path_storage_zero(&ps);
    ngtcp2_ssize n = fill(c, &ps.path, &pi, p, &blocked);
    qr_quic_conn_commit(c, &ps.path, &pi, n);
    if (n < 0) {
      qr_quic_conn_failed(c, (int)n);
      return;
    }
    if (!n) break;
    sent += (size_t)n;
  }
  if (sent) pace(c, sent);
  qr_quic_conn_place(c);
  c->expiry = ngtcp2_conn_get_expiry(c->conn);
  /* After a full go there may be more whose time has come: ngtcp2 would wait for its own. */
  if ((c->pace_at > c->quic->now || sent >= quantum) && c->pace_at < c->expiry)
    c->expiry = c->pace_at;
}
