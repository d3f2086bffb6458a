#include "app/net_need.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "port/option.h"

#define BUFFER_KB (64u * 1024) /* that EAL takes for packet buffers, see drivers/link/dpdk */
#define RINGS_KB (2u * 1024)   /* of a packet socket, both directions */
#define UMEM_KB (20u * 1024)   /* of an XDP socket: 8191 buffers of 2.2 KB */

static void say(qr_net_way_t *w, enum qr_net_state state, const char *type, const char *fmt, ...)
    QR_PRINTF(4, 5);

static void say(qr_net_way_t *w, enum qr_net_state state, const char *type, const char *fmt, ...) {
  va_list ap;
  if (state == QR_NET_MISSING) w->possible = false;
  if (w->finding_cnt == QR_NET_FINDING_MAX_CNT) return;
  qr_net_finding_t *f = &w->findings[w->finding_cnt++];
  f->state = state;
  va_start(ap, fmt);
  vsnprintf(f->what, sizeof f->what, fmt, ap);
  va_end(ap);
  snprintf(f->type, sizeof f->type, "%s", type);
}

/* ---- what several ways need ---- */

static void need_pmd(const qr_net_host_t *h, qr_net_way_t *w, enum qr_net_pmd pmd,
                     const char *name) {
  if (!h->pmds_known)
    say(w, QR_NET_UNSURE, "", "DPDK's drivers were not found in /usr/lib/*/dpdk");
  else if (!h->pmds[pmd])
    say(w, QR_NET_MISSING, "apt-get install dpdk", "DPDK's driver %s is not installed", name);
  else
    say(w, QR_NET_OK, "", "DPDK's driver %s is installed", name);
}

static void need_caps(const qr_net_host_t *h, qr_net_way_t *w, const unsigned *caps, size_t cnt,
                      const char *names, const char *lower) {
  bool all = true;
  char type[sizeof w->findings[0].type];
  for (size_t i = 0; i < cnt; i++) all = all && qr_net_has_cap(h, caps[i]);
  if (all) {
    say(w, QR_NET_OK, "", "this user has %s%s", names,
        h->own_user_ns ? ", within this user namespace" : "");
    return;
  }
  bool own_works =
      h->userns == QR_NET_YES && w->kind != QR_NET_WAY_PCI && w->kind != QR_NET_WAY_XDP;
  snprintf(type, sizeof type, "setcap %s+ep build/bin/quarryd%s", lower,
           own_works ? ", or try it in a network of its own: unshare -Urn" : "");
  say(w, QR_NET_MISSING, type, "this user lacks %s", names);
}

static const qr_net_nic_t *find_iface(const qr_net_host_t *h, const char *name) {
  for (uint32_t i = 0; i < h->nic_cnt; i++) {
    if (!strcmp(h->nics[i].iface, name)) return &h->nics[i];
  }
  return NULL;
}

static void need_iface(const qr_net_host_t *h, qr_net_way_t *w, const char *name) {
  char type[sizeof w->findings[0].type];
  if (!name) {
    uint32_t cnt = 0;
    for (uint32_t i = 0; i < h->nic_cnt; i++) cnt += h->nics[i].iface[0] != 0;
    if (cnt)
      say(w, QR_NET_OK, "", "there %s %u interface%s to take", cnt == 1 ? "is" : "are", cnt,
          cnt == 1 ? "" : "s");
    else
      say(w, QR_NET_MISSING, "ip link add n0 type veth peer name s0",
          "the kernel has no interface but lo");
    return;
  }
  const qr_net_nic_t *n = find_iface(h, name);
  if (!n) {
    say(w, QR_NET_MISSING, "ip link", "there is no interface '%.31s' here", name);
    return;
  }
  snprintf(type, sizeof type, "ip link set %.31s up", name);
  if (n->up == QR_NET_NO)
    say(w, QR_NET_MISSING, type, "interface %s is down", name);
  else
    say(w, n->up == QR_NET_YES ? QR_NET_OK : QR_NET_UNSURE, "", "interface %s is %s", name,
        n->up == QR_NET_YES ? "up" : "there, up or down");
  if (n->up == QR_NET_YES && n->link == QR_NET_NO)
    say(w, QR_NET_ADVICE, "",
        "interface %s has no carrier: nothing is plugged in, or its peer is "
        "down",
        name);
  if (n->default_route)
    say(w, QR_NET_ADVICE, "",
        "the host's own traffic leaves through %s: give the node an address that is not the "
        "kernel's",
        name);
}

static void need_memlock(const qr_net_host_t *h, qr_net_way_t *w, uint64_t kb,
                         const char *for_what) {
  char type[sizeof w->findings[0].type];
  if (h->memlock_kb >= kb || qr_net_has_cap(h, QR_NET_CAP_IPC_LOCK)) {
    say(w, QR_NET_OK, "", "%" PRIu64 " MiB may be locked in memory for %s", kb / 1024, for_what);
    return;
  }
  snprintf(type, sizeof type,
           "ulimit -l %" PRIu64 ", or LimitMEMLOCK=infinity in the service's unit", kb);
  say(w, QR_NET_MISSING, type,
      "only %" PRIu64 " KiB may be locked in memory, of %" PRIu64 " for %s", h->memlock_kb, kb,
      for_what);
}

static void need_huge(const qr_net_host_t *h, qr_net_way_t *w, enum qr_net_state without) {
  char type[sizeof w->findings[0].type];
  for (uint32_t i = 0; i < h->huge_cnt; i++) {
    const qr_net_huge_t *g = &h->huge[i];
    if (g->free < BUFFER_KB / g->page_kb + (BUFFER_KB % g->page_kb != 0)) continue;
    if (!g->mount[0]) {
      snprintf(type, sizeof type,
               "mkdir -p /dev/hugepages && mount -t hugetlbfs -o pagesize=%" PRIu64
               "M nodev /dev/hugepages",
               g->page_kb / 1024);
      say(w, without, type, "huge pages of %" PRIu64 " MiB are reserved but not mounted",
          g->page_kb / 1024);
      return;
    }
    say(w, QR_NET_OK, "", "%" PRIu64 " huge pages of %" PRIu64 " MiB are free, mounted at %s",
        g->free, g->page_kb / 1024, g->mount);
    return;
  }
  say(w, without, "sysctl -w vm.nr_hugepages=128   (and in /etc/sysctl.d/, to stay)",
      "there are not 64 MiB of free huge pages");
}

/* ---- the ways ---- */

static void judge_iface(const qr_net_host_t *h, qr_net_way_t *w, const char *iface) {
  static const unsigned caps[] = {QR_NET_CAP_NET_RAW};
  need_pmd(h, w, QR_NET_PMD_AF_PACKET, "af_packet");
  need_caps(h, w, caps, QR_ARRAY_CNT(caps), "CAP_NET_RAW", "cap_net_raw");
  need_memlock(h, w, RINGS_KB, "a packet socket's rings");
  need_iface(h, w, iface);
}

static void judge_xdp(const qr_net_host_t *h, qr_net_way_t *w, const char *iface) {
  static const unsigned modern[] = {QR_NET_CAP_NET_RAW, QR_NET_CAP_NET_ADMIN, QR_NET_CAP_BPF},
                        old[] = {QR_NET_CAP_NET_RAW, QR_NET_CAP_SYS_ADMIN};
  bool has_old = qr_net_has_cap(h, QR_NET_CAP_SYS_ADMIN);
  need_pmd(h, w, QR_NET_PMD_AF_XDP, "af_xdp");
  if (h->xdp_sockets == QR_NET_NO)
    say(w, QR_NET_MISSING, "a kernel built with CONFIG_XDP_SOCKETS=y",
        "this kernel has no XDP sockets");
  else
    say(w, h->xdp_sockets == QR_NET_YES ? QR_NET_OK : QR_NET_UNSURE, "", "XDP sockets: %s",
        h->xdp_sockets == QR_NET_YES ? "this kernel has them" : "not known");
  need_caps(h, w, has_old ? old : modern, has_old ? QR_ARRAY_CNT(old) : QR_ARRAY_CNT(modern),
            "CAP_NET_RAW, CAP_NET_ADMIN and CAP_BPF", "cap_net_raw,cap_net_admin,cap_bpf");
  if (h->own_user_ns)
    say(w, QR_NET_MISSING, "run it outside of unshare -U",
        "the kernel loads no XDP program for a user namespace");
  need_memlock(h, w, UMEM_KB, "an XDP socket's buffers");
  need_iface(h, w, iface);
}

static void judge_tap(const qr_net_host_t *h, qr_net_way_t *w) {
  static const unsigned caps[] = {QR_NET_CAP_NET_ADMIN};
  need_pmd(h, w, QR_NET_PMD_TAP, "tap");
  if (h->tun == QR_NET_ABSENT)
    say(w, QR_NET_MISSING, "modprobe tun", "there is no /dev/net/tun");
  else if (h->tun == QR_NET_FORBIDDEN)
    say(w, QR_NET_MISSING, "chmod 0666 /dev/net/tun   (its permissions on most systems)",
        "this user may not open /dev/net/tun");
  else
    say(w, QR_NET_OK, "", "/dev/net/tun can be opened");
  need_caps(h, w, caps, QR_ARRAY_CNT(caps), "CAP_NET_ADMIN", "cap_net_admin");
}

static void judge_virtio(const qr_net_host_t *h, qr_net_way_t *w) {
  need_pmd(h, w, QR_NET_PMD_VIRTIO, "virtio");
  if (h->vhost_net == QR_NET_USABLE)
    say(w, QR_NET_OK, "", "/dev/vhost-net can be opened: virtio=/dev/vhost-net works, too");
}

static void judge_vfio(const qr_net_host_t *h, qr_net_way_t *w, const qr_net_nic_t *n) {
  char path[64], type[sizeof w->findings[0].type];
  if (!h->iommu_group_cnt)
    say(w, h->vfio_no_iommu ? QR_NET_ADVICE : QR_NET_MISSING,
        "intel_iommu=on iommu=pt on the kernel's command line (GRUB_CMDLINE_LINUX, then "
        "update-grub); VT-d or AMD-Vi in the firmware",
        "the IOMMU is off%s",
        h->vfio_no_iommu ? "; vfio takes cards all the same, unprotected" : "");
  else
    say(w, QR_NET_OK, "", "the IOMMU is on: %u groups", h->iommu_group_cnt);
  if (h->vfio == QR_NET_ABSENT)
    say(w, QR_NET_MISSING, "modprobe vfio-pci   (and in /etc/modules, to stay)",
        "vfio is not loaded");
  if (n && n->owner != QR_NET_USER) {
    snprintf(type, sizeof type, "dpdk-devbind.py --bind=vfio-pci %s", n->pci);
    say(w, QR_NET_MISSING, type, "card %s belongs to %s%s", n->pci,
        n->driver[0] ? "the kernel's driver " : "no driver", n->driver);
    if (n->default_route)
      say(w, QR_NET_ADVICE, "",
          "the host's own traffic leaves through %s: taking this card cuts the host off", n->iface);
  }
  if (n && n->owner == QR_NET_USER) {
    snprintf(path, sizeof path, "/dev/vfio/%s%d", h->iommu_group_cnt ? "" : "noiommu-",
             n->iommu_group);
    enum qr_net_file state = qr_net_file_state(h, path);
    snprintf(type, sizeof type, "chown <user> %s", path);
    say(w, QR_NET_OK, "", "card %s is bound to %s", n->pci, n->driver);
    if (state != QR_NET_USABLE) say(w, QR_NET_MISSING, type, "this user may not open %s", path);
  }
  need_memlock(h, w, BUFFER_KB, "a card's packet buffers");
}

static void judge_shared(const qr_net_host_t *h, qr_net_way_t *w, const qr_net_nic_t *n) {
  static const unsigned caps[] = {QR_NET_CAP_NET_RAW};
  say(w, QR_NET_OK, "", "card %s shares its driver %s with the kernel: nothing has to be bound",
      n->pci, n->driver);
  need_pmd(h, w, QR_NET_PMD_MLX5, "mlx5");
  need_caps(h, w, caps, QR_ARRAY_CNT(caps), "CAP_NET_RAW", "cap_net_raw");
  if (h->uverbs == QR_NET_ABSENT)
    say(w, QR_NET_MISSING, "apt-get install rdma-core; modprobe ib_uverbs mlx5_ib",
        "there is no /dev/infiniband/uverbs0");
  else if (h->uverbs == QR_NET_FORBIDDEN)
    say(w, QR_NET_MISSING, "chmod 0666 /dev/infiniband/uverbs0",
        "this user may not open /dev/infiniband/uverbs0");
  need_memlock(h, w, BUFFER_KB, "a card's packet buffers");
}

static void advise_card(const qr_net_host_t *h, qr_net_way_t *w, const qr_net_nic_t *n) {
  if (n && n->numa > 0)
    say(w, QR_NET_ADVICE, "", "card %s is on NUMA node %d: pin the network tile (tile.core0) there",
        n->pci, n->numa);
  if (!h->cpus_isolated[0])
    say(w, QR_NET_ADVICE,
        "isolcpus=2 nohz_full=2 on the kernel's command line, tile.core0 = 2, tile.sleep_us = 0",
        "no processor is isolated: an appliance gives one to the network tile");
  else
    say(w, QR_NET_OK, "", "isolated processors: %s", h->cpus_isolated);
}

static void judge_pci(const qr_net_host_t *h, qr_net_way_t *w, const char *pci, bool huge) {
  const qr_net_nic_t *n = NULL;
  uint32_t cards = 0;
  for (uint32_t i = 0; i < h->nic_cnt; i++) {
    const qr_net_nic_t *at = &h->nics[i];
    if (!at->pci[0]) continue;
    cards++;
    /* Without an address: the card that needs least. */
    if (pci ? !strcmp(at->pci, pci)
            : !n || at->owner == QR_NET_USER ||
                  (at->owner == QR_NET_SHARED && n->owner != QR_NET_USER))
      n = at;
  }
  if (!n) {
    if (pci)
      say(w, QR_NET_MISSING, "quarry net check",
          "there is no network card at %.31s; cards found: %u", pci, cards);
    else
      say(w, QR_NET_MISSING, "", "this machine shows no network card on its PCI bus");
    return;
  }
  if (n->owner == QR_NET_SHARED)
    judge_shared(h, w, n);
  else
    judge_vfio(h, w, n);
  need_huge(h, w, huge ? QR_NET_MISSING : QR_NET_ADVICE);
  advise_card(h, w, n);
}

static const struct {
  const char *name, *options;
} ways[QR_NET_WAY_CNT] = {
    [QR_NET_WAY_IFACE] = {"interface (af_packet)", "iface=<interface>"},
    [QR_NET_WAY_XDP] = {"interface (af_xdp)", "xdp=<interface>"},
    [QR_NET_WAY_TAP] = {"tap", "tap=<new interface>"},
    [QR_NET_WAY_MEMIF] = {"memif", "memif=<socket>;role=<server or client>"},
    [QR_NET_WAY_VIRTIO] = {"virtio-user", "virtio=<socket of a vhost-user>"},
    [QR_NET_WAY_PCI] = {"card of our own", "pci=<address>;huge=1"},
    [QR_NET_WAY_OTHER] = {"DPDK device", "vdev=<device>"},
};

void qr_net_judge(const qr_net_host_t *h, enum qr_net_way_kind kind, const char *target, bool huge,
                  qr_net_way_t *out) {
  *out = (qr_net_way_t){
      .kind = kind, .name = ways[kind].name, .options = ways[kind].options, .possible = true};
  switch (kind) {
  case QR_NET_WAY_IFACE: judge_iface(h, out, target); break;
  case QR_NET_WAY_XDP: judge_xdp(h, out, target); break;
  case QR_NET_WAY_TAP: judge_tap(h, out); break;
  case QR_NET_WAY_MEMIF: need_pmd(h, out, QR_NET_PMD_MEMIF, "memif"); break;
  case QR_NET_WAY_VIRTIO: judge_virtio(h, out); break;
  case QR_NET_WAY_PCI: judge_pci(h, out, target, huge); break;
  default: say(out, QR_NET_UNSURE, "", "nothing is known of the device '%.64s'", target); break;
  }
  if (huge && kind != QR_NET_WAY_PCI) need_huge(h, out, QR_NET_MISSING);
}

/* "net_af_packet0,iface=n0": which way, and to what. */
static enum qr_net_way_kind of_vdev(const char *vdev, char *target, size_t target_sz) {
  static const struct {
    const char *prefix;
    enum qr_net_way_kind kind;
  } known[] = {{"net_af_packet", QR_NET_WAY_IFACE},
               {"net_af_xdp", QR_NET_WAY_XDP},
               {"net_tap", QR_NET_WAY_TAP},
               {"net_memif", QR_NET_WAY_MEMIF},
               {"net_virtio_user", QR_NET_WAY_VIRTIO}};
  for (size_t i = 0; i < QR_ARRAY_CNT(known); i++) {
    if (strncmp(vdev, known[i].prefix, strlen(known[i].prefix))) continue;
    const char *iface = strstr(vdev, ",iface=");
    if (iface)
      snprintf(target, target_sz, "%.*s", (int)strcspn(iface + 7, ","), iface + 7);
    else
      target[0] = 0;
    return known[i].kind;
  }
  snprintf(target, target_sz, "%s", vdev);
  return QR_NET_WAY_OTHER;
}

bool qr_net_judge_options(const qr_net_host_t *h, const char *options, qr_net_way_t *out, char *why,
                          size_t why_sz) {
  static const struct {
    const char *key;
    enum qr_net_way_kind kind;
  } known[] = {{"iface", QR_NET_WAY_IFACE}, {"xdp", QR_NET_WAY_XDP},       {"tap", QR_NET_WAY_TAP},
               {"memif", QR_NET_WAY_MEMIF}, {"virtio", QR_NET_WAY_VIRTIO}, {"pci", QR_NET_WAY_PCI},
               {"vdev", QR_NET_WAY_OTHER}};
  char target[sizeof((qr_option_t *)0)->value] = "";
  enum qr_net_way_kind kind = QR_NET_WAY_OTHER;
  uint32_t way_cnt = 0;
  bool huge = false;
  qr_option_t item;
  int r;
  while ((r = qr_option_next(&options, ';', &item)) > 0) {
    for (size_t i = 0; i < QR_ARRAY_CNT(known); i++) {
      if (strcmp(item.key, known[i].key)) continue;
      way_cnt++;
      kind = known[i].kind;
      snprintf(target, sizeof target, "%s", item.value);
    }
    if (!strcmp(item.key, "huge")) huge = !strcmp(item.value, "1");
  }
  if (r < 0 || way_cnt != 1) {
    snprintf(why, why_sz, "%s",
             r < 0      ? "the link's options cannot be read: write them as key=value;key=value"
             : !way_cnt ? "the link's options name no port: one of iface=, xdp=, tap=, memif=, "
                          "virtio=, pci= and vdev= is needed"
                        : "the link's options name more than one port: keep one of iface=, xdp=, "
                          "tap=, memif=, virtio=, pci= and vdev=");
    return false;
  }
  char inner[sizeof target];
  memcpy(inner, target, sizeof inner);
  if (kind == QR_NET_WAY_OTHER) kind = of_vdev(inner, target, sizeof target);
  qr_net_judge(h, kind, target[0] ? target : NULL, huge, out);
  return true;
}
