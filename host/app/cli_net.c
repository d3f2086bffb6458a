/* quarry net; and its check: what this host can do for a node's network, and what to type. Needs no
   node and no privilege, and changes nothing. */
#include "app/cli_net.h"

#include <inttypes.h>
#include <stdio.h>

#include "app/cli.h"
#include "app/config.h"
#include "base/err.h"

/* ---- the text ---- */

static void print_nic(const qr_net_nic_t *n) {
  static const char *const owners[] = {
      [QR_NET_VIRTUAL] = "the kernel's own",
      [QR_NET_KERNEL] = "the kernel's",
      [QR_NET_SHARED] = "the kernel's, DPDK beside it",
      [QR_NET_USER] = "free for DPDK",
      [QR_NET_FREE] = "without a driver",
  };
  static const char *const ups[] = {"down", "up", "up or down"};
  printf("  %-13s %-15s", n->pci[0] ? n->pci : "-", n->iface[0] ? n->iface : "-");
  printf(" %s", owners[n->owner]);
  if (n->driver[0]) printf(" (%s)", n->driver);
  if (n->iface[0]) printf(", %s", ups[n->up]);
  if (n->link == QR_NET_NO) printf(", no carrier");
  if (n->speed_mbps) printf(", %u Mbit/s", n->speed_mbps);
  if (n->mtu) printf(", MTU %u", n->mtu);
  if (n->numa >= 0) printf(", NUMA node %d", n->numa);
  if (n->iommu_group >= 0) printf(", IOMMU group %d", n->iommu_group);
  puts(n->default_route ? ", the host's default route" : "");
}

static void print_memory(const qr_net_host_t *h) {
  for (uint32_t i = 0; i < h->huge_cnt; i++) {
    const qr_net_huge_t *g = &h->huge[i];
    printf("  huge pages    %" PRIu64 " KiB: %" PRIu64 " reserved, %" PRIu64 " free, %s%s\n",
           g->page_kb, g->reserved, g->free, g->mount[0] ? "mounted at " : "not mounted", g->mount);
  }
  if (!h->huge_cnt) puts("  huge pages    none");
  if (h->memlock_kb == UINT64_MAX)
    puts("  may be locked no limit");
  else
    printf("  may be locked %" PRIu64 " KiB\n", h->memlock_kb);
}

static void print_host(const qr_net_host_t *h) {
  static const char *const tris[] = {"no", "yes", "not known"};
  static const char *const files[] = {"absent", "not for this user", "usable"};
  puts("network cards and interfaces");
  for (uint32_t i = 0; i < h->nic_cnt; i++) print_nic(&h->nics[i]);
  if (!h->nic_cnt) puts("  none");
  if (h->nic_more) printf("  and more than these %u\n", QR_NET_NIC_MAX_CNT);
  puts("this host");
  print_memory(h);
  printf("  IOMMU         %s", h->iommu_group_cnt ? "on" : "off");
  if (h->iommu_group_cnt) printf(", %u groups", h->iommu_group_cnt);
  printf("\n  vfio          %s\n", files[h->vfio]);
  printf("  /dev/net/tun  %s\n", files[h->tun]);
  printf("  vhost-net     %s\n", files[h->vhost_net]);
  printf("  XDP sockets   %s\n", tris[h->xdp_sockets]);
  printf("  this user     %s%s%s%s, may make namespaces: %s\n",
         qr_net_has_cap(h, QR_NET_CAP_NET_RAW) ? "CAP_NET_RAW" : "no CAP_NET_RAW",
         qr_net_has_cap(h, QR_NET_CAP_NET_ADMIN) ? ", CAP_NET_ADMIN" : "",
         h->uid == 0 ? ", root" : "", h->own_user_ns ? " of a user namespace" : "",
         tris[h->userns]);
  printf("  processors    allowed %s, isolated %s, without ticks %s; NUMA nodes: %u\n",
         h->cpus_allowed[0] ? h->cpus_allowed : "not known",
         h->cpus_isolated[0] ? h->cpus_isolated : "none", h->cpus_nohz[0] ? h->cpus_nohz : "none",
         h->numa_cnt);
}

static void print_way(const qr_net_way_t *w) {
  static const char *const marks[] = {"ok     ", "MISSING", "advice ", "unsure "};
  printf("  %-22s %-10s link.options = %s\n", w->name, w->possible ? "possible" : "NOT NOW",
         w->options);
  for (uint32_t i = 0; i < w->finding_cnt; i++) {
    const qr_net_finding_t *f = &w->findings[i];
    printf("    %s  %s\n", marks[f->state], f->what);
    if (f->type[0]) printf("               -> %s\n", f->type);
  }
}

static void print_check(const qr_net_check_t *c) {
  print_host(c->host);
  if (c->link)
    printf("the node's link: %s%s%s\n", c->link[0] ? c->link : "none",
           c->link_options[0] ? ", " : "", c->link_options);
  else
    puts("ways to the network");
  for (uint32_t i = 0; i < c->way_cnt; i++) print_way(&c->ways[i]);
  if (c->link)
    puts(c->ready ? "the node's network can start" : "the node's network CANNOT start");
  else
    puts(c->ready ? "a node has a way to the network" : "a node has NO way to the network");
}

/* ---- what is asked ---- */

/* The driver and the options that a node would start with. */
static int read_link(const qr_cli_t *cli, qr_config_t *config, qr_net_check_t *c) {
  char why[640];
  if (cli->values[QR_NET_CONFIG]) {
    int err = qr_config_read(cli->values[QR_NET_CONFIG], config, why, sizeof why);
    if (err) return qr_cli_fail(cli, err, why);
    c->link = config->link;
    c->link_options = config->link_options;
  }
  if (cli->values[QR_NET_OPTIONS]) {
    c->link = config->link;
    c->link_options = cli->values[QR_NET_OPTIONS];
  }
  return QR_CLI_OK;
}

static int judge(const qr_cli_t *cli, qr_net_check_t *c) {
  char why[256];
  if (!c->link) {
    for (int k = 0; k < QR_NET_WAY_OTHER; k++) {
      qr_net_way_t *w = &c->ways[c->way_cnt++];
      qr_net_judge(c->host, (enum qr_net_way_kind)k, NULL, false, w);
      /* Shared memory reaches no further than this machine. */
      if (k != QR_NET_WAY_MEMIF && k != QR_NET_WAY_VIRTIO) c->ready = c->ready || w->possible;
    }
    return QR_CLI_OK;
  }
  c->ready = true;
  if (strcmp(c->link, "dpdk")) return QR_CLI_OK; /* other drivers need nothing of the host */
  if (!qr_net_judge_options(c->host, c->link_options, &c->ways[0], why, sizeof why))
    return qr_cli_fail(cli, QR_ERR_ARG, why);
  c->way_cnt = 1;
  c->ready = c->ways[0].possible;
  return QR_CLI_OK;
}

static int run_check(const qr_cli_t *cli) {
  static qr_config_t config;
  static qr_net_host_t host;
  static qr_net_check_t check;
  qr_config_defaults(&config);
  check = (qr_net_check_t){.host = &host};
  int rc = read_link(cli, &config, &check);
  if (rc) return rc;
  const char *root = cli->values[QR_NET_ROOT] ? cli->values[QR_NET_ROOT] : "";
  if (strlen(root) >= sizeof host.root) return qr_cli_usage("--root is too long");
  qr_net_host_read(root, &host);
  rc = judge(cli, &check);
  if (rc) return rc;
  if (cli->json)
    qr_cli_print_json(qr_net_check_json(&check));
  else
    print_check(&check);
  return check.ready ? QR_CLI_OK : QR_CLI_FAILED;
}

static int run_net(const qr_cli_t *cli) {
  if (!strcmp(cli->args[0], "check")) return run_check(cli);
  if (!strcmp(cli->args[0], "emulate")) return qr_cli_net_emulate(cli);
  return qr_cli_usage("usage: quarry net %s", qr_cli_net.args);
}

const qr_cli_command_t qr_cli_net = {
    .name = "net",
    .args = "check|emulate",
    .arg_min_cnt = 1,
    .arg_max_cnt = 1,
    .run = run_net,
    .print_more = qr_cli_net_emulate_help,
    .help = "what this host can do for a node's network; bad lines for tests\n\n"
            "check: what this host can do for a node's network, and what to type\n\n"
            "Lists network cards (driver, address, NUMA node, IOMMU group), huge pages, "
            "permissions and\nprocessors, and for each way to a network what is there, what is "
            "missing and the command\nthat helps. Given a node's settings, it says only whether "
            "these can work. It needs no\nprivilege and changes nothing; judge it as the user "
            "that runs the node. Exit code 0: the\nnode's link, or without one some way, is "
            "possible; 1: something is missing or the settings\ncannot be read.",
    .options =
        {{"config", "FILE", "check: quarryd's settings, whose link is judged"},
         {"options", "TEXT", "check: link options to judge, e.g. 'iface=n0', over those of FILE"},
         {"root", "DIR", "check: look below DIR in place of /, e.g. at files from another host"},
         {"ports", "P,P,...", "emulate: [NAME=]INTERFACE or [NAME=]memif:PATH, 1 to 64 of them"},
         {"set", "TEXT", "emulate: what is set at first, \"PORT KEY=VALUE ...; ...\""},
         {"seed", "N", "emulate: of all chance (default 1)"},
         {"mtu", "BYTES", "emulate: longest packet, 576 to 15000 (default 1500)"},
         {"spin", "US", "emulate: stay awake so long after a frame (default 0)"},
         {"room", "MIB", "emulate: memory for frames under way (default 64)"}},
};
