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
  uint64_t huge, prefix;
  uint32_t gateway;
  qr_quic_options_t quic;
} options_t;

static uint32_t ip_of(const qr_link_addr_t *a) {
  const uint8_t *p = a->ip + 12;
  return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static qr_link_addr_t addr_of(uint32_t ip, uint16_t port) {
  qr_link_addr_t a = {.ip = {[10] = 0xff, [11] = 0xff}, .port = port};
  for (int i = 0; i < 4; i++) a.ip[12 + i] = (uint8_t)(ip >> (24 - 8 * i));
  return a;
}

/* An IPv4 address that another host, or we, can have. */
static bool is_host(const qr_link_addr_t *a) {
  static const uint8_t v4[12] = {[10] = 0xff, [11] = 0xff};
  uint32_t top = a->ip[12];
  return !memcmp(a->ip, v4, sizeof v4) && top && top != 127 && top < 224;
}

static bool read_text(const char *value, char *out, size_t out_sz) {
  return snprintf(out, out_sz, "%s", value) < (int)out_sz;
}

static bool read_gateway(const char *value, uint32_t *out) {
  qr_link_addr_t a;
  if (!qr_link_addr_parse(value, 1, &a)) return false;
  *out = ip_of(&a);
  return *out != 0;
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
  if (!strcmp(key, "gateway")) return read_gateway(value, &o->gateway);
  return qr_quic_options_read(item, &o->quic);
}

static int parse_options(const char *text, options_t *o, char *why, size_t why_sz) {
  *o = (options_t){.prefix = 24};
  qr_quic_options_default(&o->quic);
  qr_option_t item;
  int r;
  while ((r = qr_option_next(&text, ';', &item)) > 0) {
    if (read_option(&item, o)) continue;
    snprintf(why, why_sz,
             "link/dpdk does not understand the option '%s=%s'; it knows iface, vdev, pci, huge, "
             "eal, prefix, gateway, " QR_QUIC_OPTION_NAMES,
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

static int check_address(const qr_link_cfg_t *cfg, const options_t *o, char *why, size_t why_sz) {
  uint32_t ip = ip_of(&cfg->local), mask = o->prefix ? UINT32_MAX << (32 - o->prefix) : 0;
  const char *fault = NULL;
  if (!is_host(&cfg->local))
    fault = "the own address has to be an IPv4 address that peers can reach, not 0.0.0.0";
  else if (!cfg->local.port)
    fault = "the own port has to be from 1 to 65535";
  else if (o->gateway && ((o->gateway ^ ip) & mask || o->gateway == ip))
    fault = "the gateway has to be another host of the own network (option prefix)";
  else if (!cfg->conn_max_cnt || cfg->conn_max_cnt > QR_QUIC_CONN_MAX_CNT)
    fault = "the number of connections has to be from 1 to 4096";
  if (!fault) return QR_OK;
  snprintf(why, why_sz, "link/dpdk: %s", fault);
  return QR_ERR_ARG;
}

/* ---- the parts joined ---- */

static uint8_t *out_room(void *ctx) { return qr_udp_room(ctx); }
static void out_commit(void *ctx, const qr_link_addr_t *to, uint8_t ecn, size_t sz) {
  (void)ecn;
  qr_udp_commit(ctx, ip_of(to), to->port, sz);
}
static bool out_reachable(void *ctx, const qr_link_addr_t *to) {
  return qr_udp_reachable(ctx, ip_of(to));
}

static void on_datagram(void *ctx, uint32_t ip, uint16_t port, const uint8_t *p, size_t sz) {
  qr_link_addr_t from = addr_of(ip, port);
  qr_quic_input(((qr_link_t *)ctx)->quic, &from, 0, p, sz);
}

static int open_parts(qr_link_t *l, const qr_link_cfg_t *cfg, const options_t *o, char *why,
                      size_t why_sz) {
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
  qr_udp_init(&l->udp, &l->nic, ip_of(&cfg->local), cfg->local.port, (uint32_t)o->prefix,
              o->gateway, secret);
  return QR_OK;
}

static int dpdk_open(const qr_link_cfg_t *cfg, qr_link_t **out, char *why, size_t why_sz) {
  options_t o;
  int err = parse_options(cfg->options, &o, why, why_sz);
  if (!err) err = check_address(cfg, &o, why, why_sz);
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
  qr_quic_free(l->quic);
  qr_udp_fini(&l->udp);
  qr_eal_close(&l->nic);
  free(l);
}

static int dpdk_connect(qr_link_t *l, const qr_link_addr_t *to, const qr_pubkey_t *expect,
                        qr_link_conn_t *out) {
  if (!is_host(to) || !qr_udp_has_route(&l->udp, ip_of(to))) return QR_ERR_ARG;
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
  out->rx_dropped += l->udp.rx_dropped;
  out->tx_dropped += l->udp.tx_dropped;
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
