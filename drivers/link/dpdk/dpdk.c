/* link/dpdk: QUIC over UDP over a DPDK port. This file reads options and joins the parts; see
 * README.md. */
#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "drivers/link/dpdk/net.h"
#include "drivers/link/quic/options.h"
#include "port/link.h"

#define RX_BURSTS_MAX_CNT                                                                          \
  16 /* per poll, so that a flood cannot keep us from timers and sending                           \
      */

struct qr_link {
  qr_eal_port_t nic;
  qr_udp_t udp;
  qr_quic_t *quic;
};

typedef struct {
  char eal[256], vdev[256], pci[64];
  uint64_t huge, prefix, prefix6;
  bool has_gateway, has_gateway6, has_also;
  qr_link_addr_t gateway, gateway6, also;
  qr_quic_options_t quic;
} options_t;

static bool read_text(const char *value, char *out, size_t out_sz) {
  return snprintf(out, out_sz, "%s", value) < (int)out_sz;
}

/* An address that a single host can have, of one family. */
static bool read_host(const char *value, bool v4, qr_link_addr_t *out, bool *given) {
  *given = qr_link_addr_parse(value, 1, out) && qr_link_addr_is_v4(out) == v4 &&
           qr_frame_is_host(out->ip);
  return *given;
}

static bool read_option(const qr_option_t *item, options_t *o) {
  const char *key = item->key, *value = item->value;
  if (!strcmp(key, "eal")) return read_text(value, o->eal, sizeof o->eal);
  if (!strcmp(key, "vdev")) return value[0] && read_text(value, o->vdev, sizeof o->vdev);
  if (!strcmp(key, "iface"))
    return value[0] && snprintf(o->vdev, sizeof o->vdev, "net_af_packet0,iface=%s", value) <
                           (int)sizeof o->vdev;
  if (!strcmp(key, "pci")) return value[0] && read_text(value, o->pci, sizeof o->pci);
  if (!strcmp(key, "huge")) return qr_option_u64(value, 0, 1, &o->huge);
  if (!strcmp(key, "prefix")) return qr_option_u64(value, 0, 32, &o->prefix);
  if (!strcmp(key, "prefix6")) return qr_option_u64(value, 0, 128, &o->prefix6);
  if (!strcmp(key, "gateway")) return read_host(value, true, &o->gateway, &o->has_gateway);
  if (!strcmp(key, "gateway6")) return read_host(value, false, &o->gateway6, &o->has_gateway6);
  if (!strcmp(key, "also")) {
    o->has_also = qr_link_addr_parse(value, 1, &o->also);
    return o->has_also;
  }
  return qr_quic_options_read(item, &o->quic);
}

static int parse_options(const char *text, options_t *o, char *why, size_t why_sz) {
  *o = (options_t){.prefix = 24, .prefix6 = 64};
  qr_quic_options_default(&o->quic);
  qr_option_t item;
  int r;
  while ((r = qr_option_next(&text, ';', &item)) > 0) {
    if (read_option(&item, o)) continue;
    snprintf(why, why_sz,
             "link/dpdk does not understand the option '%s=%s'; it knows iface, vdev, pci, huge, "
             "eal, prefix, gateway, prefix6, gateway6, also, " QR_QUIC_OPTION_NAMES,
             item.key, item.value);
    return QR_ERR_ARG;
  }
  if (r < 0)
    snprintf(why, why_sz, "link/dpdk cannot read its options; write them as key=value;key=value");
  else if (!!o->vdev[0] == !!o->pci[0]) {
    snprintf(why, why_sz,
             "link/dpdk needs one port; set the option iface=<interface>, vdev=<device> or "
             "pci=<address>");
    r = QR_ERR_ARG;
  }
  return r;
}

/* One family's part of the routes; NULL, or what is wrong with it. */
static const char *set_route(qr_route_t *r, const qr_link_addr_t *own, uint64_t prefix_bits,
                             const qr_link_addr_t *gateway) {
  *r = (qr_route_t){.present = true, .prefix_bits = (uint32_t)prefix_bits};
  memcpy(r->own, own->ip, sizeof r->own);
  if (!qr_frame_is_host(own->ip))
    return "the own address has to be one that peers can reach, not 0.0.0.0 or ::";
  if (!gateway) return NULL;
  r->has_gateway = true;
  memcpy(r->gateway, gateway->ip, sizeof r->gateway);
  if (!memcmp(r->gateway, r->own, sizeof r->own) ||
      !(qr_route_same_net(r->gateway, r->own, r->prefix_bits) ||
        qr_route_is_link_local(r->gateway)))
    return "the gateway has to be another host of the own network (options prefix and prefix6)";
  return NULL;
}

static int check_addresses(const qr_link_cfg_t *cfg, const options_t *o, qr_routes_t *out,
                           char *why, size_t why_sz) {
  bool v4 = qr_link_addr_is_v4(&cfg->local);
  const qr_link_addr_t *also = o->has_also ? &o->also : NULL;
  const qr_link_addr_t *own4 = v4 ? &cfg->local : also, *own6 = v4 ? also : &cfg->local;
  const char *fault = NULL;
  *out = (qr_routes_t){.v4 = {.present = false}};
  if (also && qr_link_addr_is_v4(also) == v4)
    fault = "the option also= is for an address of the other family than the own address";
  else if ((o->has_gateway && !own4) || (o->has_gateway6 && !own6))
    fault = "there is a gateway of a family of which the node has no address (option also)";
  else if (!cfg->local.port)
    fault = "the own port has to be from 1 to 65535";
  else if (!cfg->conn_max_cnt || cfg->conn_max_cnt > QR_QUIC_CONN_MAX_CNT)
    fault = "the number of connections has to be from 1 to 4096";
  if (!fault && own4)
    fault = set_route(&out->v4, own4, 96 + o->prefix, o->has_gateway ? &o->gateway : NULL);
  if (!fault && own6)
    fault = set_route(&out->v6, own6, o->prefix6, o->has_gateway6 ? &o->gateway6 : NULL);
  if (!fault) return QR_OK;
  snprintf(why, why_sz, "link/dpdk: %s", fault);
  return QR_ERR_ARG;
}

/* ---- the parts joined ---- */

static uint8_t *out_room(void *ctx) { return qr_udp_room(ctx); }
static void out_commit(void *ctx, const qr_link_addr_t *to, uint8_t ecn, size_t sz) {
  qr_udp_commit(ctx, to, ecn, sz);
}
static bool out_reachable(void *ctx, const qr_link_addr_t *to) { return qr_udp_reachable(ctx, to); }

static void on_datagram(void *ctx, const qr_link_addr_t *from, uint8_t ecn, const uint8_t *p,
                        size_t sz) {
  qr_quic_input(((qr_link_t *)ctx)->quic, from, ecn, p, sz);
}

static int open_parts(qr_link_t *l, const qr_link_cfg_t *cfg, const options_t *o,
                      const qr_routes_t *routes, char *why, size_t why_sz) {
  qr_eal_cfg_t eal = {.args = o->eal, .vdev = o->vdev, .pci = o->pci, .huge = o->huge};
  qr_quic_cfg_t quic = qr_quic_options_cfg(&o->quic, cfg);
  quic.out = (qr_quic_out_t){&l->udp, out_room, out_commit, out_reachable};
  uint64_t secret;
  int err = qr_eal_open(&eal, &l->nic, why, why_sz);
  if (err) return err;
  if ((err = qr_quic_new(&quic, &l->quic))) {
    snprintf(why, why_sz,
             "QUIC does not start (%s); lower the number of connections, window_kib or send_kib",
             qr_err_str(err));
    qr_eal_close(&l->nic);
    return err;
  }
  qr_quic_random(&secret, sizeof secret);
  qr_udp_init(&l->udp, &l->nic, routes, cfg->local.port, secret);
  return QR_OK;
}

static int dpdk_open(const qr_link_cfg_t *cfg, qr_link_t **out, char *why, size_t why_sz) {
  options_t o;
  qr_routes_t routes;
  int err = parse_options(cfg->options, &o, why, why_sz);
  if (!err) err = check_addresses(cfg, &o, &routes, why, why_sz);
  if (err) return err;
  qr_link_t *l = calloc(1, sizeof *l);
  if (!l) {
    snprintf(why, why_sz, "out of memory");
    return QR_ERR_NOMEM;
  }
  err = open_parts(l, cfg, &o, &routes, why, why_sz);
  if (err)
    free(l);
  else
    *out = l;
  return err;
}

static void dpdk_close(qr_link_t *l) {
  qr_quic_free(l->quic);
  qr_udp_fini(&l->udp);
  qr_eal_close(&l->nic);
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
  for (int i = 0; i < RX_BURSTS_MAX_CNT; i++) {
    if (qr_udp_receive(&l->udp, now_ns, on_datagram, l) < QR_EAL_BURST) break;
  }
  qr_quic_run(l->quic);
  qr_udp_flush(&l->udp);
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
    .help = "QUIC over a network port that bypasses the kernel (iface=, vdev= or pci=)",
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
