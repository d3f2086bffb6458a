/* link/dpdk: QUIC over UDP over a DPDK port. This file joins the parts; see README.md. */
#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "drivers/link/dpdk/config.h"
#include "drivers/link/dpdk/net.h"
#include "drivers/link/dpdk/telemetry.h"

#define RX_BURSTS_MAX_CNT                                                                          \
  16 /* per poll, so that a flood cannot keep us from timers and sending                           \
      */

struct qr_link {
  qr_port_t port;
  qr_udp_t udp;
  qr_quic_t *quic;
  bool telemetry;
};

/* ---- the parts joined ---- */

static uint8_t *out_room(void *ctx) { return qr_udp_room(ctx); }
static void out_commit(void *ctx, const qr_link_addr_t *to, uint8_t ecn, size_t sz) {
  qr_udp_commit(ctx, to, ecn, sz);
}
static bool out_reachable(void *ctx, const qr_link_addr_t *to) { return qr_udp_reachable(ctx, to); }

static void out_heard(void *ctx, const qr_link_addr_t *from) { qr_udp_heard(ctx, from); }

static void on_datagram(void *ctx, const qr_link_addr_t *from, uint8_t ecn, const uint8_t *p,
                        size_t sz) {
  qr_quic_input(((qr_link_t *)ctx)->quic, from, ecn, p, sz);
}

static int open_parts(qr_link_t *l, const qr_link_cfg_t *cfg, qr_dpdk_config_t *o, char *why,
                      size_t why_sz) {
  uint64_t secret;
  int err = qr_port_open(&o->port, &l->port, why, why_sz);
  if (err) return err;
  qr_quic_cfg_t quic = qr_quic_options_cfg(&o->quic, cfg);
  quic.out = (qr_quic_out_t){&l->udp, out_room, out_commit, out_reachable, out_heard};
  qr_udp_init(&l->udp, &l->port, &o->routes, cfg->local.port);
  quic.datagram_max_sz = qr_udp_payload_max_sz(&l->udp);
  if ((err = qr_quic_new(&quic, &l->quic))) {
    snprintf(why, why_sz,
             "QUIC does not start (%s); lower the number of connections, window_kib or send_kib",
             qr_err_str(err));
    qr_port_close(&l->port);
    return err;
  }
  qr_quic_random(&secret, sizeof secret);
  qr_udp_seed(&l->udp, secret);
  l->telemetry = o->port.telemetry;
  if (l->telemetry) qr_telemetry_start();
  return QR_OK;
}

static int dpdk_open(const qr_link_cfg_t *cfg, qr_link_t **out, char *why, size_t why_sz) {
  qr_dpdk_config_t o;
  int err = qr_dpdk_config(cfg, &o, why, why_sz);
  if (err) return err;
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

static void dpdk_close(qr_link_t *l) {
  if (l->telemetry) qr_telemetry_clear();
  qr_quic_free(l->quic);
  qr_udp_fini(&l->udp);
  qr_port_close(&l->port);
  free(l);
}

static int dpdk_connect(qr_link_t *l, const qr_link_addr_t *to, const qr_pubkey_t *expect,
                        qr_link_conn_t *out) {
  if (!qr_frame_is_host(to->ip) || !qr_udp_has_route(&l->udp, to)) return QR_ERR_ARG;
  return qr_quic_connect(l->quic, to, expect, out);
}

static void dpdk_disconnect(qr_link_t *l, qr_link_conn_t c) {
  qr_quic_disconnect(l->quic, c);
  qr_udp_flush(&l->udp);
}

static int64_t dpdk_send(qr_link_t *l, qr_link_conn_t c, enum qr_link_class cls, const void *p,
                         size_t sz) {
  return qr_quic_send(l->quic, c, cls, p, sz);
}

static int dpdk_poll(qr_link_t *l, uint64_t now_ns, qr_link_event_t *ev, int max) {
  qr_quic_begin(l->quic, now_ns);
  qr_udp_flush(&l->udp); /* a port that is made anew keeps no buffers */
  qr_port_tick(&l->port, now_ns);
  qr_udp_tick(&l->udp, now_ns);
  for (int i = 0; i < RX_BURSTS_MAX_CNT; i++) {
    if (!qr_udp_receive(&l->udp, now_ns, on_datagram, l)) break;
  }
  qr_quic_run(l->quic);
  qr_udp_flush(&l->udp);
  if (l->telemetry) qr_telemetry_put(&l->udp, l->quic, now_ns);
  return qr_quic_events(l->quic, ev, max);
}

static uint64_t dpdk_next_timer(qr_link_t *l) { return qr_quic_next_timer(l->quic); }

static void dpdk_stats(const qr_link_t *l, qr_link_stats_t *out) {
  qr_quic_stats(l->quic, out);
  out->rx_dropped += l->udp.stats.rx_dropped;
  out->tx_dropped += l->udp.stats.tx_dropped;
}

static int dpdk_conn_stats(const qr_link_t *l, qr_link_conn_t c, qr_link_stats_t *out) {
  return qr_quic_conn_stats(l->quic, c, out);
}

const qr_link_ops_t qr_link_dpdk_ops = {
    .name = "dpdk",
    .help = "QUIC over a network port that bypasses the kernel (iface=, xdp=, tap=, memif=, "
            "virtio=, pci= or vdev=)",
    .open = dpdk_open,
    .close = dpdk_close,
    .connect = dpdk_connect,
    .disconnect = dpdk_disconnect,
    .send = dpdk_send,
    .poll = dpdk_poll,
    .next_timer = dpdk_next_timer,
    .stats = dpdk_stats,
    .conn_stats = dpdk_conn_stats,
};
