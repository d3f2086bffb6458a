/* Cards on the PCI bus, then the kernel's interfaces that sit on none. */
#include <stdio.h>
#include <stdlib.h>

#include "app/net_host.h"

#define CLASS_NETWORK 2
#define TEXT_SZ 65536u

typedef struct {
  qr_net_host_t *host;
  char route_iface[QR_NET_NAME_SZ]; /* of the default route */
  char *text;
  qr_net_nic_t *nic; /* whose net/ directory is read */
} scan_t;

/* Text that stands for itself in a terminal and in a path: what the kernel makes is nothing else.
 */
static bool is_name(const char *s) {
  size_t n = strlen(s);
  if (!n || n >= QR_NET_NAME_SZ) return false;
  for (; *s; s++) {
    if (*s <= 0x20 || *s > 0x7e || *s == '/') return false;
  }
  return true;
}

static void copy_name(char out[QR_NET_NAME_SZ], const char *from) {
  snprintf(out, QR_NET_NAME_SZ, "%.*s", (int)QR_NET_NAME_SZ - 1, from);
}

static qr_net_nic_t *add(qr_net_host_t *h) {
  if (h->nic_cnt == QR_NET_NIC_MAX_CNT) {
    h->nic_more = true;
    return NULL;
  }
  qr_net_nic_t *n = &h->nics[h->nic_cnt++];
  *n = (qr_net_nic_t){.up = QR_NET_UNKNOWN, .link = QR_NET_UNKNOWN, .numa = -1, .iommu_group = -1};
  return n;
}

static uint32_t small(int64_t v) { return v > 0 && v < INT32_MAX ? (uint32_t)v : 0; }

/* What the kernel says of an interface that it has. */
static void read_iface(scan_t *s, qr_net_nic_t *n) {
  const char *root = s->host->root;
  char path[128], state[16];
  snprintf(path, sizeof path, "/sys/class/net/%s/flags", n->iface);
  int64_t flags = qr_net_read_num(root, path, -1);
  if (flags >= 0) n->up = flags & 1 ? QR_NET_YES : QR_NET_NO;
  snprintf(path, sizeof path, "/sys/class/net/%s/operstate", n->iface);
  if (qr_net_read_line(root, path, state, sizeof state)) {
    if (!strcmp(state, "up")) n->link = QR_NET_YES;
    if (!strcmp(state, "down") || !strcmp(state, "lowerlayerdown")) n->link = QR_NET_NO;
  }
  snprintf(path, sizeof path, "/sys/class/net/%s/mtu", n->iface);
  n->mtu = small(qr_net_read_num(root, path, 0));
  snprintf(path, sizeof path, "/sys/class/net/%s/speed", n->iface);
  n->speed_mbps = small(qr_net_read_num(root, path, 0)); /* fails, or -1, where there is none */
  n->default_route = !strcmp(n->iface, s->route_iface);
}

/* A card may have several interfaces (ports); each is a row of its own. */
static bool on_card_iface(void *ctx, const char *name) {
  scan_t *s = ctx;
  if (!is_name(name)) return true;
  if (s->nic->iface[0]) {
    qr_net_nic_t *more = add(s->host);
    if (!more) return false;
    *more = *s->nic;
    s->nic = more;
  }
  copy_name(s->nic->iface, name);
  read_iface(s, s->nic);
  return true;
}

static enum qr_net_owner owner_of(const char *driver) {
  if (!driver[0]) return QR_NET_FREE;
  if (!strcmp(driver, "mlx5_core") || !strcmp(driver, "mlx4_core")) return QR_NET_SHARED;
  if (!strcmp(driver, "vfio-pci") || !strcmp(driver, "igb_uio") ||
      !strcmp(driver, "uio_pci_generic"))
    return QR_NET_USER;
  return QR_NET_KERNEL;
}

static uint32_t pci_id(scan_t *s, const char *name, const char *what) {
  char path[128];
  snprintf(path, sizeof path, "/sys/bus/pci/devices/%s/%s", name, what);
  return (uint32_t)qr_net_read_num(s->host->root, path, 0) & 0xffffff;
}

/* A virtio card's interface hangs one level deeper, below virtioN. */
static bool on_virtio_child(void *ctx, const char *name) {
  scan_t *s = ctx;
  char path[128];
  if (strncmp(name, "virtio", 6) || !is_name(name)) return true;
  snprintf(path, sizeof path, "/sys/bus/pci/devices/%s/%s/net", s->nic->pci, name);
  qr_net_each(s->host->root, path, on_card_iface, s);
  return true;
}

static bool on_pci(void *ctx, const char *name) {
  scan_t *s = ctx;
  char path[128], group[16];
  const char *root = s->host->root;
  if (!is_name(name) || pci_id(s, name, "class") >> 16 != CLASS_NETWORK) return true;
  qr_net_nic_t *n = add(s->host);
  if (!n) return false;
  copy_name(n->pci, name);
  snprintf(n->id, sizeof n->id, "%04x:%04x", pci_id(s, name, "vendor") & 0xffff,
           pci_id(s, name, "device") & 0xffff);
  snprintf(path, sizeof path, "/sys/bus/pci/devices/%s/driver", name);
  qr_net_read_link(root, path, n->driver, sizeof n->driver);
  n->owner = owner_of(n->driver);
  snprintf(path, sizeof path, "/sys/bus/pci/devices/%s/numa_node", name);
  int64_t node = qr_net_read_num(root, path, -1);
  n->numa = node >= 0 && node < 1024 ? (int32_t)node : -1;
  snprintf(path, sizeof path, "/sys/bus/pci/devices/%s/iommu_group", name);
  char *end;
  if (qr_net_read_link(root, path, group, sizeof group)) {
    long v = strtol(group, &end, 10);
    if (!*end && v >= 0 && v < INT32_MAX) n->iommu_group = (int32_t)v;
  }
  s->nic = n;
  snprintf(path, sizeof path, "/sys/bus/pci/devices/%s/net", name);
  qr_net_each(root, path, on_card_iface, s);
  snprintf(path, sizeof path, "/sys/bus/pci/devices/%s", name);
  qr_net_each(root, path, on_virtio_child, s);
  return true;
}

static bool is_listed(const qr_net_host_t *h, const char *iface) {
  for (uint32_t i = 0; i < h->nic_cnt; i++) {
    if (!strcmp(h->nics[i].iface, iface)) return true;
  }
  return false;
}

static void add_iface(scan_t *s, const char *iface) {
  if (!is_name(iface) || !strcmp(iface, "lo") || is_listed(s->host, iface)) return;
  qr_net_nic_t *n = add(s->host);
  if (!n) return;
  copy_name(n->iface, iface);
  n->owner = QR_NET_VIRTUAL;
  read_iface(s, n);
}

/* /proc/net/dev knows the interfaces of this network namespace; /sys may show another's. */
static void read_ifaces(scan_t *s) {
  if (!qr_net_read_text(s->host->root, "/proc/net/dev", s->text, TEXT_SZ)) return;
  for (char *line = s->text, *next; line; line = next) {
    next = strchr(line, '\n');
    if (next) *next++ = 0;
    char *colon = strchr(line, ':');
    if (!colon) continue; /* the heading */
    *colon = 0;
    add_iface(s, line + strspn(line, " "));
  }
}

static void read_default_route(scan_t *s) {
  if (!qr_net_read_text(s->host->root, "/proc/net/route", s->text, TEXT_SZ)) return;
  for (char *line = s->text, *next; line; line = next) {
    next = strchr(line, '\n');
    if (next) *next++ = 0;
    char iface[QR_NET_NAME_SZ], to[16], mask[16];
    if (sscanf(line, "%31s %15s %*s %*s %*s %*s %*s %15s", iface, to, mask) == 3 &&
        !strcmp(to, "00000000") && !strcmp(mask, "00000000") && is_name(iface))
      copy_name(s->route_iface, iface);
  }
}

static int compare(const void *a, const void *b) {
  const qr_net_nic_t *x = a, *y = b;
  int order = (x->owner == QR_NET_VIRTUAL) - (y->owner == QR_NET_VIRTUAL);
  if (!order) order = strcmp(x->pci, y->pci);
  return order ? order : strcmp(x->iface, y->iface);
}

/* In another network namespace than /sys shows, a card's interface is not ours. */
static void drop_foreign_names(scan_t *s) {
  char line[64];
  if (!qr_net_read_text(s->host->root, "/proc/net/dev", s->text, TEXT_SZ)) return;
  for (uint32_t i = 0; i < s->host->nic_cnt; i++) {
    qr_net_nic_t *n = &s->host->nics[i];
    bool found = false;
    snprintf(line, sizeof line, "%s:", n->iface);
    for (const char *p = s->text; n->iface[0] && !found && (p = strstr(p, line)); p++)
      found = p == s->text || p[-1] == ' ' || p[-1] == '\n';
    if (!found) n->iface[0] = 0;
  }
}

void qr_net_host_read_nics(qr_net_host_t *h) {
  scan_t s = {.host = h, .text = malloc(TEXT_SZ)};
  if (!s.text) return;
  read_default_route(&s);
  qr_net_each(h->root, "/sys/bus/pci/devices", on_pci, &s);
  drop_foreign_names(&s);
  read_ifaces(&s);
  qsort(h->nics, h->nic_cnt, sizeof *h->nics, compare);
  free(s.text);
}
