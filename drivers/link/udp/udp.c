/* link/udp: QUIC over the kernel's UDP sockets. The same endpoint as link/dpdk; see README.md. */
#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "drivers/link/quic/options.h"
#include "drivers/link/udp/socket.h"

#define RX_ROUNDS_MAX_CNT 8 /* per poll, so that a flood cannot keep us from timers and sending */

struct qr_link {
  qr_sock_t sock;
  qr_quic_t *quic;
};

static int parse_options(const char *text, qr_quic_options_t *o, char *why, size_t why_sz) {
  qr_option_t item;
  int r;
  qr_quic_options_default(o);
  while ((r = qr_option_next(&text, ';', &item)) > 0) {
    if (qr_quic_options_read(&item, o)) continue;
    snprintf(why, why_sz,
             "link/udp does not understand the option '%s=%s'; it knows " QR_QUIC_OPTION_NAMES,
             item.key, item.value);
    return QR_ERR_ARG;
  }
  if (r < 0)
    snprintf(why, why_sz, "link/udp cannot read its options; write them as key=value;key=value");
  return r;
}

/* ---- the parts joined ---- */

static uint8_t *out_room(void *ctx) { return qr_sock_room(ctx); }
static void out_commit(void *ctx, const qr_link_addr_t *to, uint8_t ecn, size_t sz) {
  qr_sock_commit(ctx, to, ecn, sz);
}
/* The kernel resolves by itself; nobody there ends as a handshake that times out. */
static bool out_reachable(void *ctx, const qr_link_addr_t *to) {
  (void)ctx;
  (void)to;
  return true;
}

static void on_datagram(void *ctx, const qr_link_addr_t *from, uint8_t ecn, const uint8_t *p,
                        size_t sz) {
  qr_quic_input(((qr_link_t *)ctx)->quic, from, ecn, p, sz);
}

static int open_parts(qr_link_t *l, const qr_link_cfg_t *cfg, const qr_quic_options_t *o, char *why,
                      size_t why_sz) {
  qr_quic_cfg_t quic = qr_quic_options_cfg(o, cfg);
  quic.out = (qr_quic_out_t){&l->sock, out_room, out_commit, out_reachable, NULL};
  int err = qr_sock_open(&cfg->local, QR_QUIC_DATAGRAM_MAX_SZ, &l->sock, why, why_sz);
  if (err) return err;
  if ((err = qr_quic_new(&quic, &l->quic))) {
    snprintf(why, why_sz,
             "QUIC does not start (%s); lower the number of connections, window_kib or send_kib",
             qr_err_str(err));
    qr_sock_close(&l->sock);
  }
  return err;
}

static int udp_open(const qr_link_cfg_t *cfg, qr_link_t **out, char *why, size_t why_sz) {
  qr_quic_options_t o;
  int err = parse_options(cfg->options, &o, why, why_sz);
  if (err) return err;
  if (!cfg->local.port || !cfg->conn_max_cnt || cfg->conn_max_cnt > QR_QUIC_CONN_MAX_CNT) {
    snprintf(why, why_sz,
             "link/udp: the own port has to be from 1 to 65535, and the connections from 1 to %u",
             QR_QUIC_CONN_MAX_CNT);
    return QR_ERR_ARG;
  }
  qr_link_t *l = calloc(1, sizeof *l);
  if (!l) {
    snprintf(why, why_sz, "out of memory");
    return QR_ERR_NOMEM;
  }
  err = open_parts(l, cfg, &o, why, why_sz);
  if (err)
    free(l);
  else
    *out = l;
  return err;
}

static void udp_close(qr_link_t *l) {
  qr_quic_free(l->quic);
  qr_sock_close(&l->sock);
  free(l);
}

static int udp_connect(qr_link_t *l, const qr_link_addr_t *to, const qr_pubkey_t *expect,
                       qr_link_conn_t *out) {
  if (!qr_sock_has_route(&l->sock, to)) return QR_ERR_ARG;
  return qr_quic_connect(l->quic, to, expect, out);
}

static void udp_disconnect(qr_link_t *l, qr_link_conn_t c) {
  qr_quic_disconnect(l->quic, c);
  qr_sock_flush(&l->sock);
}

static int64_t udp_send(qr_link_t *l, qr_link_conn_t c, enum qr_link_class cls, const void *p,
                        size_t sz) {
  return qr_quic_send(l->quic, c, cls, p, sz);
}

static int udp_poll(qr_link_t *l, uint64_t now_ns, qr_link_event_t *ev, int max) {
  qr_quic_begin(l->quic, now_ns);
  for (int i = 0; i < RX_ROUNDS_MAX_CNT; i++) {
    if (qr_sock_receive(&l->sock, on_datagram, l) < QR_SOCK_RX_CNT) break;
  }
  qr_quic_run(l->quic);
  qr_sock_flush(&l->sock);
  return qr_quic_events(l->quic, ev, max);
}

static uint64_t udp_next_timer(qr_link_t *l) { return qr_quic_next_timer(l->quic); }

static void udp_stats(const qr_link_t *l, qr_link_stats_t *out) {
  qr_quic_stats(l->quic, out);
  out->rx_dropped += l->sock.rx_dropped;
  out->tx_dropped += l->sock.tx_dropped;
}

static int udp_conn_stats(const qr_link_t *l, qr_link_conn_t c, qr_link_stats_t *out) {
  return qr_quic_conn_stats(l->quic, c, out);
}

const qr_link_ops_t qr_link_udp_ops = {
    .name = "udp",
    .help = "the same protocol over the kernel's UDP sockets; needs no privilege",
    .open = udp_open,
    .close = udp_close,
    .connect = udp_connect,
    .disconnect = udp_disconnect,
    .send = udp_send,
    .poll = udp_poll,
    .next_timer = udp_next_timer,
    .stats = udp_stats,
    .conn_stats = udp_conn_stats,
};
