#include "drivers/link/quic/quic_conn.h"

#include <gnutls/crypto.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/err.h"
#include "crypto/hash.h"

#define LONG_HEADER 0x80u /* in a packet's first byte */
#define START_RETRY_NS UINT64_C(10000000)

void qr_quic_random(void *p, size_t sz) {
  /* GnuTLS's generator cannot fail once the library is up. */
  QR_ASSERT(gnutls_rnd(GNUTLS_RND_RANDOM, p, sz) == 0);
}

/* ---- the endpoint ---- */

static int take_memory(qr_quic_t *q) {
  const qr_quic_cfg_t *cfg = &q->cfg;
  uint64_t key[4];
  size_t conn_sz = 0;
  for (int k = 0; k < QR_LINK_CLASS_CNT; k++)
    conn_sz += qr_quic_class_sz(k, cfg->send_buf_sz) + qr_quic_class_sz(k, cfg->window_sz);
  q->conns = calloc(cfg->conn_max_cnt, sizeof *q->conns);
  q->active = calloc(cfg->conn_max_cnt, sizeof *q->active);
  q->mem = calloc(cfg->conn_max_cnt, conn_sz); /* touched only where bytes flow */
  if (!q->conns || !q->active || !q->mem) return QR_ERR_NOMEM;
  for (uint32_t i = 0; i < cfg->conn_max_cnt; i++) {
    qr_quic_conn_t *c = &q->conns[i];
    c->quic = q;
    c->idx = i;
    uint8_t *p = q->mem + i * conn_sz;
    for (int k = 0; k < QR_LINK_CLASS_CNT; k++) {
      c->out[k] = (qr_outq_t){.buf = p, .sz = qr_quic_class_sz(k, cfg->send_buf_sz)};
      p += c->out[k].sz;
      c->in[k] = (qr_inq_t){.buf = p, .sz = qr_quic_class_sz(k, cfg->window_sz)};
      p += c->in[k].sz;
    }
  }
  qr_quic_random(key, sizeof key);
  return qr_cidmap_init(&q->cids, cfg->conn_max_cnt * (QR_QUIC_CID_CNT + 1), key);
}

int qr_quic_new(const qr_quic_cfg_t *cfg, qr_quic_t **out) {
  qr_quic_t *q = calloc(1, sizeof *q);
  if (!q) return QR_ERR_NOMEM;
  q->cfg = *cfg;
  QR_ASSERT(cfg->datagram_max_sz >= QR_QUIC_DATAGRAM_MIN_SZ);
  q->local = qr_quic_sockaddr(&cfg->local);
  /* The same after a restart, so that peers of the process before learn at once that their
   * connections are gone. */
  qr_hash_t h = qr_hash("quarry.link.reset", cfg->identity->seed, sizeof cfg->identity->seed);
  memcpy(q->reset_secret, h.b, sizeof q->reset_secret);
  qr_quic_random(q->retry_secret, sizeof q->retry_secret);
  int err = take_memory(q);
  if (!err) {
    q->tls = qr_tls_new(cfg->identity, qr_quic_check_peer);
    if (!q->tls) err = QR_ERR_IO;
  }
  if (err)
    qr_quic_free(q);
  else
    *out = q;
  return err;
}

void qr_quic_free(qr_quic_t *q) {
  for (uint32_t i = 0; q->conns && i < q->cfg.conn_max_cnt; i++) {
    if (q->conns[i].state != QR_QUIC_FREE) qr_quic_conn_close(&q->conns[i]);
  }
  qr_tls_free(q->tls);
  qr_cidmap_fini(&q->cids);
  free(q->conns);
  free(q->active);
  free(q->mem);
  gnutls_memset(q->reset_secret, 0, sizeof q->reset_secret);
  free(q);
}

/* ---- connections ---- */

static qr_quic_conn_t *find(const qr_quic_t *q, qr_link_conn_t id) {
  if (!id) return NULL;
  qr_quic_conn_t *c = &q->conns[(id - 1) % q->cfg.conn_max_cnt];
  return c->state != QR_QUIC_FREE && c->id == id ? c : NULL;
}

qr_quic_conn_t *qr_quic_conn_new(qr_quic_t *q, const qr_link_addr_t *addr, bool inbound) {
  uint32_t cnt = q->cfg.conn_max_cnt;
  for (uint32_t i = 0; i < cnt; i++) {
    qr_quic_conn_t *c = &q->conns[i];
    if (c->state != QR_QUIC_FREE || c->listed) continue;
    uint32_t generation = (c->generation + 1) % (UINT32_MAX / cnt);
    qr_quic_conn_t fresh = {.quic = q,
                            .idx = i,
                            .generation = generation,
                            .id = generation * cnt + i + 1,
                            .state = QR_QUIC_START,
                            .inbound = inbound,
                            .listed = true,
                            .addr = *addr,
                            .expiry = QR_QUIC_NEVER};
    for (int k = 0; k < QR_LINK_CLASS_CNT; k++) {
      fresh.out[k] = c->out[k];
      fresh.in[k] = c->in[k];
      qr_outq_reset(&fresh.out[k]);
      qr_inq_reset(&fresh.in[k]);
    }
    *c = fresh;
    q->active[q->active_cnt++] = i;
    return c;
  }
  return NULL;
}

int qr_quic_connect(qr_quic_t *q, const qr_link_addr_t *to, const qr_pubkey_t *expect,
                    qr_link_conn_t *out) {
  if (!to->port || qr_quic_addr_eq(to, &q->cfg.local)) return QR_ERR_ARG;
  qr_quic_conn_t *c = qr_quic_conn_new(q, to, false);
  if (!c) return QR_ERR_FULL;
  if (expect) {
    c->has_expect = true;
    c->expect = *expect;
  }
  c->dirty = true; /* the next poll starts it: only poll knows the time */
  *out = c->id;
  return QR_OK;
}

void qr_quic_disconnect(qr_quic_t *q, qr_link_conn_t id) {
  qr_quic_conn_t *c = find(q, id);
  if (!c) return;
  if (c->state == QR_QUIC_OPEN)
    qr_quic_conn_write(c); /* what was sent just before goes out with it, if the path allows */
  qr_quic_conn_close(c);
  c->state = QR_QUIC_FREE;
}

int64_t qr_quic_send(qr_quic_t *q, qr_link_conn_t id, enum qr_link_class cls, const void *p,
                     size_t sz) {
  QR_ASSERT((unsigned)cls < QR_LINK_CLASS_CNT);
  qr_quic_conn_t *c = find(q, id);
  if (!c || c->state == QR_QUIC_GONE) return QR_ERR_CLOSED;
  if (c->state != QR_QUIC_OPEN) return 0;
  uint64_t n = qr_outq_put(&c->out[cls], p, sz);
  if (n < sz) c->want[cls] = true;
  if (n) c->dirty = true;
  return (int64_t)n;
}

/* ---- polling ---- */

static void compact(qr_quic_t *q) {
  uint32_t cnt = 0;
  for (uint32_t i = 0; i < q->active_cnt; i++) {
    qr_quic_conn_t *c = &q->conns[q->active[i]];
    if (c->state == QR_QUIC_FREE)
      c->listed = false;
    else
      q->active[cnt++] = q->active[i];
  }
  q->active_cnt = cnt;
}

void qr_quic_begin(qr_quic_t *q, uint64_t now_ns) {
  if (now_ns > q->now) q->now = now_ns;
  compact(q);
  for (uint32_t i = 0; i < q->active_cnt; i++) {
    qr_quic_conn_t *c = &q->conns[q->active[i]];
    for (int k = 0; k < QR_LINK_CLASS_CNT; k++) {
      uint64_t sz = qr_inq_release(&c->in[k]);
      if (!sz || !c->conn) continue;
      ngtcp2_conn_extend_max_stream_offset(c->conn, k * QR_QUIC_STREAM_ID_STEP, sz);
      ngtcp2_conn_extend_max_offset(c->conn, sz);
      c->dirty = true;
    }
  }
}

/* A short packet of no ID we know: a reset by a peer that lost its state carries random bytes in
   place of an ID. Each connection with that address looks for its token; without one, we may be who
   lost the state. */
static void input_stray(qr_quic_t *q, const qr_link_addr_t *from, uint8_t ecn,
                        const ngtcp2_version_cid *vc, const uint8_t *p, size_t sz) {
  bool known = false;
  q->stats.rx_dropped++;
  for (uint32_t i = 0; i < q->active_cnt; i++) {
    qr_quic_conn_t *c = &q->conns[q->active[i]];
    if (c->state != QR_QUIC_OPEN || !qr_quic_addr_eq(&c->addr, from)) continue;
    known = true;
    qr_quic_conn_read_stray(c, ecn, p, sz);
  }
  if (!known) qr_quic_send_reset(q, from, vc, sz);
}

void qr_quic_input(qr_quic_t *q, const qr_link_addr_t *from, uint8_t ecn, const uint8_t *p,
                   size_t sz) {
  ngtcp2_version_cid vc;
  q->stats.rx_pkts++;
  q->stats.rx_bytes += sz;
  if (!sz) { /* ngtcp2 would take it for our mistake */
    q->stats.rx_dropped++;
    return;
  }
  int rv = ngtcp2_pkt_decode_version_cid(&vc, p, sz, QR_QUIC_CID_SZ);
  if (rv == NGTCP2_ERR_VERSION_NEGOTIATION) {
    qr_quic_send_versions(q, from, &vc, sz);
    return;
  }
  if (rv) {
    q->stats.rx_dropped++;
    return;
  }
  uint32_t value = qr_cidmap_get(&q->cids, vc.dcid, vc.dcidlen);
  if (value) {
    qr_quic_conn_read(&q->conns[value - 1], from, ecn, p, sz);
  } else if (!(p[0] & LONG_HEADER)) {
    input_stray(q, from, ecn, &vc, p, sz);
  } else if (vc.version) {
    qr_quic_accept(q, from, ecn, p, sz);
  } else {
    q->stats.rx_dropped++; /* version negotiation that we did not ask for; its IDs can have any
                              length */
  }
}

static void run_start(qr_quic_t *q, qr_quic_conn_t *c) {
  c->dirty = false;
  if (c->expiry == QR_QUIC_NEVER) c->expiry = q->now + q->cfg.handshake_ns;
  if (q->cfg.out.reachable(q->cfg.out.ctx, &c->addr)) {
    if (qr_quic_conn_start_client(c)) qr_quic_conn_drop(c, "out of memory");
  } else if (q->now >= c->expiry) {
    qr_quic_conn_drop(c, "no host answers for that address");
  }
}

void qr_quic_run(qr_quic_t *q) {
  /* Where there is less room than all want, it goes round. */
  uint32_t first = q->first++;
  for (uint32_t i = 0; i < q->active_cnt; i++) {
    qr_quic_conn_t *c = &q->conns[q->active[(first + i) % q->active_cnt]];
    if (c->state == QR_QUIC_START) run_start(q, c);
    if (c->conn && c->expiry <= q->now) qr_quic_conn_timeout(c);
    if (c->conn && c->dirty) qr_quic_conn_write(c);
  }
}

static bool is_writable(const qr_quic_conn_t *c, int cls) {
  return c->want[cls] && c->state == QR_QUIC_OPEN &&
         qr_outq_room(&c->out[cls]) >= c->out[cls].sz / 2;
}

static bool is_drained(const qr_quic_conn_t *c) {
  for (int k = 0; k < QR_LINK_CLASS_CNT; k++) {
    if (c->in[k].rd + c->in[k].lent_sz != c->in[k].wr) return false;
  }
  return true;
}

static int conn_events(qr_quic_conn_t *c, qr_link_event_t *ev, int max) {
  int n = 0;
  if (c->up) {
    c->up = false;
    c->announced = true;
    ev[n++] = (qr_link_event_t){
        .kind = QR_LINK_UP, .conn = c->id, .inbound = c->inbound, .addr = c->addr, .peer = c->peer};
  }
  for (int k = 0; k < QR_LINK_CLASS_CNT && n < max; k++) {
    const uint8_t *p;
    uint64_t sz = qr_inq_lend(&c->in[k], &p);
    if (sz)
      ev[n++] = (qr_link_event_t){
          .kind = QR_LINK_DATA, .conn = c->id, .cls = (enum qr_link_class)k, .data = p, .sz = sz};
    if (n < max && is_writable(c, k)) {
      c->want[k] = false;
      ev[n++] =
          (qr_link_event_t){.kind = QR_LINK_WRITABLE, .conn = c->id, .cls = (enum qr_link_class)k};
    }
  }
  if (c->state == QR_QUIC_GONE && n < max && is_drained(c)) {
    ev[n++] = (qr_link_event_t){.kind = QR_LINK_DOWN, .conn = c->id, .reason = c->reason};
    c->state = QR_QUIC_FREE; /* the slot and its buffers are used again after the next begin */
  }
  return n;
}

int qr_quic_events(qr_quic_t *q, qr_link_event_t *ev, int max) {
  int n = 0;
  uint32_t start = q->cursor;
  for (uint32_t i = 0; i < q->active_cnt && n < max; i++) {
    q->cursor =
        (start + i) % q->active_cnt; /* where the next poll begins, if this one runs out of room */
    qr_quic_conn_t *c = &q->conns[q->active[q->cursor]];
    if (c->state != QR_QUIC_FREE) n += conn_events(c, ev + n, max - n);
  }
  return n;
}

static bool has_event(const qr_quic_conn_t *c) {
  if (c->up || !is_drained(c) || c->state == QR_QUIC_GONE) return true;
  for (int k = 0; k < QR_LINK_CLASS_CNT; k++) {
    if (c->in[k].lent_sz || is_writable(c, k))
      return true; /* lent bytes: the peer waits for their window */
  }
  return false;
}

uint64_t qr_quic_next_timer(const qr_quic_t *q) {
  uint64_t at = QR_QUIC_NEVER;
  for (uint32_t i = 0; i < q->active_cnt; i++) {
    const qr_quic_conn_t *c = &q->conns[q->active[i]];
    uint64_t t = c->expiry;
    if (c->state == QR_QUIC_FREE) continue;
    if (c->dirty || has_event(c))
      t = q->now;
    else if (c->state == QR_QUIC_START)
      t = q->now + START_RETRY_NS;
    if (t < at) at = t;
  }
  return at;
}

void qr_quic_stats(const qr_quic_t *q, qr_link_stats_t *out) { *out = q->stats; }

int qr_quic_conn_stats(const qr_quic_t *q, qr_link_conn_t id, qr_link_stats_t *out) {
  const qr_quic_conn_t *c = find(q, id);
  if (!c) return QR_ERR_NOTFOUND;
  *out = c->stats;
  if (c->conn) {
    ngtcp2_conn_stat st;
    ngtcp2_conn_get_conn_stat(c->conn, &st);
    out->rtt_ns = st.smoothed_rtt;
  }
  return QR_OK;
}

uint32_t qr_quic_list(const qr_quic_t *q, qr_quic_info_t *out, uint32_t max) {
  uint32_t cnt = 0;
  for (uint32_t i = 0; i < q->active_cnt && cnt < max; i++) {
    const qr_quic_conn_t *c = &q->conns[q->active[i]];
    if (c->state != QR_QUIC_OPEN) continue;
    out[cnt] = (qr_quic_info_t){.addr = c->addr, .peer = c->peer, .inbound = c->inbound};
    if (!qr_quic_conn_stats(q, c->id, &out[cnt].stats)) cnt++;
  }
  return cnt;
}
