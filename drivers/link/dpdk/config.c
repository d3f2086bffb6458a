#include "drivers/link/dpdk/config.h"

#include <stdio.h>

#include "base/err.h"
#include "drivers/link/dpdk/frame.h"

#define PORT_NAMES "iface=, xdp=, tap=, memif=, virtio=, pci= and vdev="

typedef struct {
  qr_dpdk_config_t *out;
  uint32_t port_cnt; /* how many ports were named */
  uint64_t prefix, prefix6;
  bool has_role, has_gateway, has_gateway6, has_also;
  qr_link_addr_t gateway, gateway6, also;
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

static bool read_flag(const char *value, bool *out) {
  uint64_t v;
  if (!qr_option_u64(value, 0, 1, &v)) return false;
  *out = v == 1;
  return true;
}

static bool read_u32(const char *value, uint32_t lo, uint32_t hi, uint32_t *out) {
  uint64_t v;
  if (!qr_option_u64(value, lo, hi, &v)) return false;
  *out = (uint32_t)v;
  return true;
}

/* "iface=n0" and its like: what the port is made of. *is_port: the key is one of them. Its value
   goes into a list of arguments, in which a comma would begin another one. */
static bool read_port(const qr_option_t *item, options_t *o, bool *is_port) {
  static const struct {
    const char *key;
    enum qr_port_kind kind;
  } kinds[] = {{"iface", QR_PORT_IFACE}, {"xdp", QR_PORT_XDP},       {"tap", QR_PORT_TAP},
               {"memif", QR_PORT_MEMIF}, {"virtio", QR_PORT_VIRTIO}, {"pci", QR_PORT_PCI},
               {"vdev", QR_PORT_VDEV}};
  qr_port_cfg_t *port = &o->out->port;
  *is_port = false;
  for (size_t i = 0; i < QR_ARRAY_CNT(kinds); i++) {
    if (strcmp(item->key, kinds[i].key)) continue;
    *is_port = true;
    o->port_cnt++;
    port->kind = kinds[i].kind;
    return item->value[0] && (port->kind == QR_PORT_VDEV || !strchr(item->value, ',')) &&
           read_text(item->value, port->name, sizeof port->name);
  }
  return false;
}

static bool read_role(const char *value, options_t *o) {
  o->has_role = o->out->port.memif_server = !strcmp(value, "server");
  if (!strcmp(value, "client")) o->has_role = true;
  return o->has_role;
}

static bool read_option(const qr_option_t *item, options_t *o) {
  const char *key = item->key, *value = item->value;
  qr_port_cfg_t *port = &o->out->port;
  bool is_port, ok = read_port(item, o, &is_port);
  if (is_port) return ok;
  if (!strcmp(key, "role")) return read_role(value, o);
  if (!strcmp(key, "eal")) return read_text(value, port->eal, sizeof port->eal);
  if (!strcmp(key, "huge")) return read_flag(value, &port->huge);
  if (!strcmp(key, "telemetry")) return read_flag(value, &port->telemetry);
  if (!strcmp(key, "mtu")) return read_u32(value, QR_PORT_MTU_MIN, QR_PORT_MTU_MAX, &port->mtu);
  if (!strcmp(key, "queues")) return read_u32(value, 1, QR_PORT_QUEUE_MAX_CNT, &port->queue_cnt);
  if (!strcmp(key, "prefix")) return qr_option_u64(value, 0, 32, &o->prefix);
  if (!strcmp(key, "prefix6")) return qr_option_u64(value, 0, 128, &o->prefix6);
  if (!strcmp(key, "gateway")) return read_host(value, true, &o->gateway, &o->has_gateway);
  if (!strcmp(key, "gateway6")) return read_host(value, false, &o->gateway6, &o->has_gateway6);
  if (!strcmp(key, "also")) {
    o->has_also = qr_link_addr_parse(value, 1, &o->also);
    return o->has_also;
  }
  return qr_quic_options_read(item, &o->out->quic);
}

static int read_options(const char *text, options_t *o, char *why, size_t why_sz) {
  qr_option_t item;
  int r;
  while ((r = qr_option_next(&text, ';', &item)) > 0) {
    if (read_option(&item, o)) continue;
    snprintf(why, why_sz,
             "link/dpdk does not understand the option '%s=%s'; it knows iface, xdp, tap, memif, "
             "role, virtio, pci, vdev, mtu, queues, huge, telemetry, eal, prefix, gateway, "
             "prefix6, gateway6, also, " QR_QUIC_OPTION_NAMES,
             item.key, item.value);
    return QR_ERR_ARG;
  }
  const char *fault = NULL;
  bool memif = o->out->port.kind == QR_PORT_MEMIF;
  if (r < 0)
    fault = "cannot read its options; write them as key=value;key=value";
  else if (o->port_cnt != 1)
    fault = "needs one port; set one of the options " PORT_NAMES
            " ('quarry net check' says which of them this host permits)";
  else if (memif != o->has_role)
    fault = memif ? "needs to know its end of the memif: set the option role=server or role=client"
                  : "has the option role=, which is for memif= alone";
  if (!fault) return QR_OK;
  snprintf(why, why_sz, "link/dpdk %s", fault);
  return QR_ERR_ARG;
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

static int set_routes(const qr_link_cfg_t *cfg, const options_t *o, char *why, size_t why_sz) {
  bool v4 = qr_link_addr_is_v4(&cfg->local);
  const qr_link_addr_t *also = o->has_also ? &o->also : NULL;
  const qr_link_addr_t *own4 = v4 ? &cfg->local : also, *own6 = v4 ? also : &cfg->local;
  qr_routes_t *r = &o->out->routes;
  const char *fault = NULL;
  if (also && qr_link_addr_is_v4(also) == v4)
    fault = "the option also= is for an address of the other family than the own address";
  else if ((o->has_gateway && !own4) || (o->has_gateway6 && !own6))
    fault = "there is a gateway of a family of which the node has no address (option also)";
  else if (!cfg->local.port)
    fault = "the own port has to be from 1 to 65535";
  else if (!cfg->conn_max_cnt || cfg->conn_max_cnt > QR_QUIC_CONN_MAX_CNT)
    fault = "the number of connections has to be from 1 to 4096";
  if (!fault && own4)
    fault = set_route(&r->v4, own4, 96 + o->prefix, o->has_gateway ? &o->gateway : NULL);
  if (!fault && own6)
    fault = set_route(&r->v6, own6, o->prefix6, o->has_gateway6 ? &o->gateway6 : NULL);
  if (!fault) return QR_OK;
  snprintf(why, why_sz, "link/dpdk: %s", fault);
  return QR_ERR_ARG;
}

int qr_dpdk_config(const qr_link_cfg_t *cfg, qr_dpdk_config_t *out, char *why, size_t why_sz) {
  options_t o = {.out = out, .prefix = 24, .prefix6 = 64};
  *out = (qr_dpdk_config_t){.port = {.queue_cnt = 1}};
  qr_quic_options_default(&out->quic);
  int err = read_options(cfg->options, &o, why, why_sz);
  return err ? err : set_routes(cfg, &o, why, why_sz);
}
