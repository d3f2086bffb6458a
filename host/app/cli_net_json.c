#include "app/cli_net.h"

static const char *owner_str(enum qr_net_owner o) {
  static const char *const names[] = {"virtual", "kernel", "shared", "user", "free"};
  return names[o];
}

static json_t *tri_json(enum qr_net_tri t) {
  return t == QR_NET_UNKNOWN ? json_null() : json_boolean(t == QR_NET_YES);
}

static json_t *file_json(enum qr_net_file f) {
  static const char *const names[] = {"absent", "forbidden", "usable"};
  return json_string(names[f]);
}

static json_t *nic_json(const qr_net_nic_t *n) {
  json_t *o = json_object();
  json_object_set_new(o, "interface", json_string(n->iface));
  json_object_set_new(o, "pci", json_string(n->pci));
  json_object_set_new(o, "driver", json_string(n->driver));
  json_object_set_new(o, "id", json_string(n->id));
  json_object_set_new(o, "owner", json_string(owner_str(n->owner)));
  json_object_set_new(o, "up", tri_json(n->up));
  json_object_set_new(o, "link", tri_json(n->link));
  json_object_set_new(o, "mtu", json_integer(n->mtu));
  json_object_set_new(o, "speed_mbps", json_integer(n->speed_mbps));
  json_object_set_new(o, "numa", json_integer(n->numa));
  json_object_set_new(o, "iommu_group", json_integer(n->iommu_group));
  json_object_set_new(o, "default_route", json_boolean(n->default_route));
  return o;
}

static json_t *host_json(const qr_net_host_t *h) {
  json_t *o = json_object(), *nics = json_array(), *huge = json_array();
  for (uint32_t i = 0; i < h->nic_cnt; i++) json_array_append_new(nics, nic_json(&h->nics[i]));
  for (uint32_t i = 0; i < h->huge_cnt; i++) {
    json_t *g = json_object();
    json_object_set_new(g, "page_kb", json_integer((json_int_t)h->huge[i].page_kb));
    json_object_set_new(g, "reserved", json_integer((json_int_t)h->huge[i].reserved));
    json_object_set_new(g, "free", json_integer((json_int_t)h->huge[i].free));
    json_object_set_new(g, "mount", json_string(h->huge[i].mount));
    json_array_append_new(huge, g);
  }
  json_object_set_new(o, "nics", nics);
  json_object_set_new(o, "nics_more", json_boolean(h->nic_more));
  json_object_set_new(o, "huge_pages", huge);
  json_object_set_new(o, "iommu_groups", json_integer(h->iommu_group_cnt));
  json_object_set_new(o, "vfio", file_json(h->vfio));
  json_object_set_new(o, "vfio_no_iommu", json_boolean(h->vfio_no_iommu));
  json_object_set_new(o, "tun", file_json(h->tun));
  json_object_set_new(o, "vhost_net", file_json(h->vhost_net));
  json_object_set_new(o, "memlock_kb",
                      h->memlock_kb == UINT64_MAX ? json_null()
                                                  : json_integer((json_int_t)h->memlock_kb));
  json_object_set_new(o, "cap_net_raw", json_boolean(qr_net_has_cap(h, QR_NET_CAP_NET_RAW)));
  json_object_set_new(o, "cap_net_admin", json_boolean(qr_net_has_cap(h, QR_NET_CAP_NET_ADMIN)));
  json_object_set_new(o, "user_namespaces", tri_json(h->userns));
  json_object_set_new(o, "in_user_namespace", json_boolean(h->own_user_ns));
  json_object_set_new(o, "xdp_sockets", tri_json(h->xdp_sockets));
  json_object_set_new(o, "dpdk_drivers", json_boolean(h->pmds_known));
  json_object_set_new(o, "cpus_allowed", json_string(h->cpus_allowed));
  json_object_set_new(o, "cpus_isolated", json_string(h->cpus_isolated));
  json_object_set_new(o, "cpus_nohz", json_string(h->cpus_nohz));
  json_object_set_new(o, "numa_nodes", json_integer(h->numa_cnt));
  return o;
}

static json_t *way_json(const qr_net_way_t *w) {
  static const char *const states[] = {"ok", "missing", "advice", "unsure"};
  json_t *o = json_object(), *list = json_array();
  for (uint32_t i = 0; i < w->finding_cnt; i++) {
    const qr_net_finding_t *f = &w->findings[i];
    json_t *e = json_object();
    json_object_set_new(e, "state", json_string(states[f->state]));
    json_object_set_new(e, "what", json_string(f->what));
    if (f->type[0]) json_object_set_new(e, "type", json_string(f->type));
    json_array_append_new(list, e);
  }
  json_object_set_new(o, "name", json_string(w->name));
  json_object_set_new(o, "options", json_string(w->options));
  json_object_set_new(o, "possible", json_boolean(w->possible));
  json_object_set_new(o, "findings", list);
  return o;
}

json_t *qr_net_check_json(const qr_net_check_t *c) {
  json_t *o = json_object(), *ways = json_array();
  for (uint32_t i = 0; i < c->way_cnt; i++) json_array_append_new(ways, way_json(&c->ways[i]));
  json_object_set_new(o, "ready", json_boolean(c->ready));
  if (c->link) {
    json_object_set_new(o, "link", json_string(c->link));
    json_object_set_new(o, "link_options", json_string(c->link_options));
  }
  json_object_set_new(o, "host", host_json(c->host));
  json_object_set_new(o, "ways", ways);
  return o;
}
