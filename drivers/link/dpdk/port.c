#include "drivers/link/dpdk/port.h"

#include <errno.h>
#include <rte_bus_vdev.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_log.h>
#include <rte_random.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "drivers/link/dpdk/eal.h"

#define MBUF_CNT 8191u
#define MBUF_JUMBO_CNT 4095u
#define MBUF_QUEUE_CNT 2048u /* for each further queue pair */
#define MBUF_CACHE_CNT 256u
#define MBUF_EXTRA_SZ 320u /* of a buffer besides its data: header, alignment, the pool's own */
#define MEM_MIB 64u        /* that EAL takes at least */
#define MEM_SLACK_MIB 24u
#define RING_DEPTH 1024u
#define ETHER_EXTRA_SZ 26u /* header, checksum, two VLAN tags of others */
#define GROUP_TRY_CNT 2    /* numbers that are tried for a packet socket's group */
#define LOOK_NS UINT64_C(100000000)
#define REDIAL_NS UINT64_C(500000000)
/* Between attempts to make a device anew that failed, doubled each time. */
#define RENEW_MIN_NS UINT64_C(500000000)
#define RENEW_MAX_NS UINT64_C(30000000000)
#define RSS_TYPES                                                                                  \
  (RTE_ETH_RSS_IPV4 | RTE_ETH_RSS_NONFRAG_IPV4_UDP | RTE_ETH_RSS_IPV6 |                            \
   RTE_ETH_RSS_NONFRAG_IPV6_UDP)

static uint32_t pool_seq;

/* ---- sizes ---- */

static bool is_jumbo(const qr_port_cfg_t *cfg) { return cfg->mtu > QR_PORT_MTU; }

/* Some cards count their buffers in whole KiB. */
static uint16_t mbuf_room_sz(const qr_port_cfg_t *cfg) {
  if (!is_jumbo(cfg)) return RTE_MBUF_DEFAULT_BUF_SIZE;
  return (uint16_t)(RTE_ALIGN_CEIL(cfg->mtu + ETHER_EXTRA_SZ, 1024) + RTE_PKTMBUF_HEADROOM);
}

static uint32_t mbuf_cnt(const qr_port_cfg_t *cfg) {
  return (is_jumbo(cfg) ? MBUF_JUMBO_CNT : MBUF_CNT) + (cfg->queue_cnt - 1) * MBUF_QUEUE_CNT;
}

static uint32_t mem_mib(const qr_port_cfg_t *cfg) {
  uint32_t mib = (mbuf_cnt(cfg) * (mbuf_room_sz(cfg) + MBUF_EXTRA_SZ) >> 20) + MEM_SLACK_MIB;
  return mib > MEM_MIB ? mib : MEM_MIB;
}

/* ---- opening ---- */

/* The packet-socket driver numbers its group of sockets by getpid() and the interface, in 16 bits
   for a whole network namespace. Nodes that are started one after the other on neighbouring
   interfaces often get the same number, and the later one is refused. So the driver, on this thread
   and only while it makes a device, is shown a number drawn at random; everybody else gets the
   kernel's answer. */
static _Thread_local pid_t shown_pid;

pid_t getpid(void) { return shown_pid ? shown_pid : (pid_t)syscall(SYS_getpid); }

static int make_vdev(const char *name, const char *args) {
  int rv = -1;
  bool numbered = !strncmp(name, "net_af_packet", 13);
  for (int i = 0; rv && i < (numbered ? GROUP_TRY_CNT : 1); i++) {
    if (numbered) shown_pid = (pid_t)(1 + (rte_rand() & 0xffff));
    rv = rte_vdev_init(name, args);
  }
  shown_pid = 0;
  return rv;
}

static int add_vdev(const qr_port_cfg_t *cfg, qr_port_t *p, char *why, size_t why_sz) {
  char text[512];
  if (!qr_device_text(cfg, text, sizeof text)) {
    snprintf(why, why_sz, "the device's arguments are too long: %.60s...", cfg->name);
    return QR_ERR_ARG;
  }
  const char *args = strchr(text, ',');
  size_t name_sz = args ? (size_t)(args - text) : strlen(text);
  if (!name_sz || name_sz >= sizeof p->vdev) {
    snprintf(why, why_sz,
             "'%s' is not a DPDK virtual device; write vdev=net_af_packet0,iface=<interface>",
             text);
    return QR_ERR_ARG;
  }
  memcpy(p->vdev, text, name_sz);
  p->vdev[name_sz] = 0;
  int rv = make_vdev(p->vdev, args ? args + 1 : "");
  if (!rv && !rte_eth_dev_get_port_by_name(p->vdev, &p->id)) return QR_OK;
  snprintf(why, why_sz, "DPDK cannot make the device '%s' (%s); %s", text,
           rte_strerror(rv < 0 ? -rv : rte_errno), qr_device_hint(cfg->kind));
  if (rv) p->vdev[0] = 0;
  return rv == -EEXIST ? QR_ERR_BUSY : QR_ERR_IO;
}

static int find_port(const qr_port_cfg_t *cfg, qr_port_t *p, char *why, size_t why_sz) {
  if (cfg->kind != QR_PORT_PCI) return add_vdev(cfg, p, why, why_sz);
  if (!rte_eth_dev_get_port_by_name(cfg->name, &p->id)) return QR_OK;
  snprintf(why, why_sz,
           "DPDK sees no network port at '%s'; bind it to vfio-pci (dpdk-devbind.py "
           "--bind=vfio-pci %s) and allow this user /dev/vfio; 'quarry net check' says more",
           cfg->name, cfg->name);
  return QR_ERR_NOTFOUND;
}

static int make_pool(const qr_port_cfg_t *cfg, qr_port_t *p, char *why, size_t why_sz) {
  char name[32];
  snprintf(name, sizeof name, "quarry-%u", pool_seq++);
  p->pool = rte_pktmbuf_pool_create(name, mbuf_cnt(cfg), MBUF_CACHE_CNT, 0, mbuf_room_sz(cfg),
                                    SOCKET_ID_ANY);
  if (p->pool) return QR_OK;
  snprintf(why, why_sz,
           "no memory for %u packet buffers (%s); raise -m in the link option eal=, or reserve "
           "more huge pages",
           mbuf_cnt(cfg), rte_strerror(rte_errno));
  return QR_ERR_NOMEM;
}

/* ---- starting ---- */

/* Queues among which nothing is distributed would stay empty but one. */
static int check_limits(const qr_port_cfg_t *cfg, const struct rte_eth_dev_info *info,
                        uint64_t *rss, char *why, size_t why_sz) {
  bool spreads_itself = cfg->kind == QR_PORT_IFACE || cfg->kind == QR_PORT_XDP;
  *rss = info->flow_type_rss_offloads & RSS_TYPES;
  if (cfg->queue_cnt > info->max_rx_queues || cfg->queue_cnt > info->max_tx_queues)
    snprintf(why, why_sz, "this port has %u queue pairs at most; set the link option queues=",
             info->max_rx_queues < info->max_tx_queues ? info->max_rx_queues : info->max_tx_queues);
  else if (cfg->queue_cnt > 1 && !spreads_itself && !*rss)
    snprintf(why, why_sz,
             "this port does not distribute packets among queues (no RSS); drop the link option "
             "queues=");
  else if (info->max_mtu && cfg->mtu > info->max_mtu)
    snprintf(why, why_sz, "this port carries packets of at most %u bytes; set the link option mtu=",
             info->max_mtu);
  else
    return QR_OK;
  return QR_ERR_ARG;
}

static void choose_offloads(qr_port_t *p, const struct rte_eth_dev_info *info,
                            struct rte_eth_conf *conf) {
  conf->rxmode.offloads =
      info->rx_offload_capa & (RTE_ETH_RX_OFFLOAD_IPV4_CKSUM | RTE_ETH_RX_OFFLOAD_UDP_CKSUM);
  conf->txmode.offloads =
      info->tx_offload_capa & (RTE_ETH_TX_OFFLOAD_IPV4_CKSUM | RTE_ETH_TX_OFFLOAD_UDP_CKSUM);
  if (conf->rxmode.offloads & RTE_ETH_RX_OFFLOAD_IPV4_CKSUM) p->rx_known |= QR_FRAME_IP_KNOWN;
  if (conf->rxmode.offloads & RTE_ETH_RX_OFFLOAD_UDP_CKSUM) p->rx_known |= QR_FRAME_UDP_KNOWN;
  if (conf->txmode.offloads & RTE_ETH_TX_OFFLOAD_IPV4_CKSUM) p->tx_by_port |= QR_FRAME_IP_BY_PORT;
  if (conf->txmode.offloads & RTE_ETH_TX_OFFLOAD_UDP_CKSUM) p->tx_by_port |= QR_FRAME_UDP_BY_PORT;
}

static int set_up_queues(qr_port_t *p) {
  uint16_t rx_depth = RING_DEPTH, tx_depth = RING_DEPTH;
  int socket = rte_eth_dev_socket_id(p->id);
  unsigned node = socket < 0 ? 0 : (unsigned)socket;
  int rv = rte_eth_dev_adjust_nb_rx_tx_desc(p->id, &rx_depth, &tx_depth);
  for (uint16_t q = 0; q < p->queue_cnt && !rv; q++) {
    rv = rte_eth_rx_queue_setup(p->id, q, rx_depth, node, NULL, p->pool);
    if (!rv) rv = rte_eth_tx_queue_setup(p->id, q, tx_depth, node, NULL);
  }
  return rv;
}

/* A tap's own address is the kernel's end of it; ours must be another one, and stays. */
static void choose_mac(const qr_port_cfg_t *cfg, qr_port_t *p, const struct rte_ether_addr *mac) {
  struct rte_ether_addr own = *mac;
  if (cfg->kind == QR_PORT_TAP && p->renew_cnt) return;
  if (cfg->kind == QR_PORT_TAP) rte_eth_random_addr(own.addr_bytes);
  memcpy(p->mac.b, own.addr_bytes, sizeof p->mac.b);
}

static int configure(const qr_port_cfg_t *cfg, qr_port_t *p, const struct rte_eth_dev_info *info,
                     uint64_t rss) {
  struct rte_eth_conf conf = {0};
  struct rte_ether_addr mac;
  p->rx_known = p->tx_by_port = 0;
  choose_offloads(p, info, &conf);
  if (p->queue_cnt > 1 && rss) {
    conf.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
    conf.rx_adv_conf.rss_conf.rss_hf = rss;
  }
  /* memif refuses to be told. */
  if (cfg->kind == QR_PORT_PCI || (cfg->kind == QR_PORT_VIRTIO && is_jumbo(cfg)))
    conf.rxmode.mtu = cfg->mtu;
  int rv = rte_eth_dev_configure(p->id, (uint16_t)p->queue_cnt, (uint16_t)p->queue_cnt, &conf);
  if (!rv) rv = set_up_queues(p);
  if (!rv && cfg->kind == QR_PORT_TAP && cfg->mtu != QR_PORT_MTU)
    rv = rte_eth_dev_set_mtu(p->id, (uint16_t)cfg->mtu);
  if (!rv) rv = rte_eth_macaddr_get(p->id, &mac);
  if (!rv) choose_mac(cfg, p, &mac);
  return rv;
}

static int start_port(const qr_port_cfg_t *cfg, qr_port_t *p, char *why, size_t why_sz) {
  struct rte_eth_dev_info info;
  uint64_t rss = 0;
  int rv = rte_eth_dev_info_get(p->id, &info);
  if (!rv) {
    int err = check_limits(cfg, &info, &rss, why, why_sz);
    if (err) return err;
    rv = configure(cfg, p, &info, rss);
  }
  if (!rv) {
    rv = rte_eth_dev_start(p->id);
    p->started = !rv;
    if (p->redials) rv = 0; /* it calls again until its server is there */
  }
  if (!rv) return QR_OK;
  snprintf(why, why_sz, "DPDK cannot start the port (%s); its own messages are above; %s",
           rte_strerror(-rv), qr_device_hint(cfg->kind));
  return QR_ERR_IO;
}

static bool hangs_on_iface(const qr_port_cfg_t *cfg) {
  return cfg->kind == QR_PORT_IFACE || cfg->kind == QR_PORT_XDP || cfg->kind == QR_PORT_TAP;
}

/* The device, its buffers and queues. What was made stays to be closed if that fails. */
static int open_device(qr_port_t *p, char *why, size_t why_sz) {
  int err = find_port(&p->cfg, p, why, why_sz);
  if (!err) err = make_pool(&p->cfg, p, why, why_sz);
  if (!err) err = start_port(&p->cfg, p, why, why_sz);
  if (!err && p->iface_fd >= 0) p->iface_idx = qr_device_iface_idx(p->iface_fd, p->iface);
  return err;
}

static void close_device(qr_port_t *p) {
  if (p->id != RTE_MAX_ETHPORTS) {
    (void)rte_eth_dev_stop(p->id);
    if (!p->vdev[0]) (void)rte_eth_dev_close(p->id);
  }
  if (p->vdev[0]) (void)rte_vdev_uninit(p->vdev); /* closes its port */
  rte_mempool_free(p->pool);
  p->id = RTE_MAX_ETHPORTS;
  p->vdev[0] = 0;
  p->pool = NULL;
  p->started = false;
}

int qr_port_open(qr_port_cfg_t *cfg, qr_port_t *out, char *why, size_t why_sz) {
  qr_port_t *p = out;
  *p = (qr_port_t){.id = RTE_MAX_ETHPORTS, .iface_fd = -1};
  int err = qr_device_check(cfg, why, why_sz);
  if (err) return err;
  qr_eal_cfg_t eal = {.args = cfg->eal,
                      .pci = cfg->kind == QR_PORT_PCI ? cfg->name : "",
                      .huge = cfg->huge,
                      .telemetry = cfg->telemetry,
                      .mem_mib = mem_mib(cfg)};
  if ((err = qr_eal_start(&eal, why, why_sz))) return err;
  p->mtu = cfg->mtu;
  p->queue_cnt = cfg->queue_cnt;
  p->redials = cfg->kind == QR_PORT_MEMIF && !cfg->memif_server;
  /* It would complain of every call that nobody answers; the link's state is in our log. */
  if (p->redials) (void)rte_log_set_level_pattern("pmd.net.memif", RTE_LOG_CRIT);
  snprintf(p->name, sizeof p->name, "%.63s", cfg->name);
  p->cfg = *cfg;
  if (hangs_on_iface(cfg)) {
    snprintf(p->iface, sizeof p->iface, "%.15s", cfg->name);
    p->iface_fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  }
  if ((err = open_device(p, why, why_sz))) qr_port_close(p);
  return err;
}

void qr_port_close(qr_port_t *p) {
  close_device(p);
  if (p->iface_fd >= 0) close(p->iface_fd);
  *p = (qr_port_t){.id = RTE_MAX_ETHPORTS, .iface_fd = -1};
}

void qr_port_listen(qr_port_t *p, const uint8_t mac[6]) {
  struct rte_ether_addr addr;
  memcpy(addr.addr_bytes, mac, sizeof addr.addr_bytes);
  /* The narrowest filter that the port has; one without any receives everything. */
  if (rte_eth_dev_set_mc_addr_list(p->id, &addr, 1) && rte_eth_allmulticast_enable(p->id))
    (void)rte_eth_promiscuous_enable(p->id);
}

/* ---- the link ---- */

static bool look(const qr_port_t *p) {
  struct rte_eth_link link = {.link_status = RTE_ETH_LINK_DOWN};
  if (!p->started || p->lost) return false;
  /* DPDK takes packet and XDP sockets for connected, whatever the interface does. */
  if (p->iface_fd >= 0 && p->cfg.kind != QR_PORT_TAP)
    return qr_device_iface_up(p->iface_fd, p->iface) == 1;
  return !rte_eth_link_get_nowait(p->id, &link) && link.link_status == RTE_ETH_LINK_UP;
}

static void redial(qr_port_t *p, uint64_t now_ns) {
  if (p->up || now_ns - p->tried_at < REDIAL_NS) return;
  p->tried_at = now_ns;
  if (p->started) (void)rte_eth_dev_stop(p->id);
  p->started = !rte_eth_dev_start(p->id);
}

/* A device is bound to the interface that there was when it was made. */
static void watch_iface(qr_port_t *p) {
  if (p->iface_fd < 0) return;
  int idx = qr_device_iface_idx(p->iface_fd, p->iface);
  if (idx && idx == p->iface_idx) return;
  p->lost = true;
  if (idx) return;
  p->renew_wait_ns = 0; /* the next one gets a fresh start */
  p->renew_told = false;
}

/* A tap is made by the device itself; for another interface that waits until it is there. */
static void renew(qr_port_t *p, uint64_t now_ns) {
  char why[512];
  bool ready = p->cfg.kind == QR_PORT_TAP || qr_device_iface_up(p->iface_fd, p->iface) == 1;
  if (!ready || (p->renew_wait_ns && now_ns < p->renew_at)) return;
  close_device(p);
  p->renew_cnt++;
  int err = qr_device_check(&p->cfg, why, sizeof why);
  if (!err) err = open_device(p, why, sizeof why);
  p->lost = err;
  if (!err) {
    p->renew_wait_ns = 0;
    p->renew_told = false;
    return;
  }
  close_device(p);
  p->renew_wait_ns = p->renew_wait_ns ? 2 * p->renew_wait_ns : RENEW_MIN_NS;
  if (p->renew_wait_ns > RENEW_MAX_NS) p->renew_wait_ns = RENEW_MAX_NS;
  p->renew_at = now_ns + p->renew_wait_ns;
  if (!p->renew_told)
    qr_log(QR_LOG_ERROR, "net", "event=port-not-renewed port=%s why=\"%s\" cure=\"tries again\"",
           p->name, why);
  p->renew_told = true;
}

void qr_port_tick(qr_port_t *p, uint64_t now_ns) {
  bool first = !p->looked_at, came_up = p->heard && !p->up;
  p->heard = false;
  if (!first && !came_up && now_ns - p->looked_at < LOOK_NS) return;
  watch_iface(p);
  bool up = look(p);
  p->looked_at = now_ns;
  if (first) p->tried_at = now_ns; /* the port has just been started */
  if (up != p->up) {
    qr_log(up ? QR_LOG_INFO : QR_LOG_WARN, "net", "event=%s port=%s", up ? "link-up" : "link-down",
           p->name);
    *(up ? &p->up_cnt : &p->down_cnt) += 1;
  } else if (first) {
    qr_log(QR_LOG_WARN, "net", "event=link-down port=%s (waiting for it)", p->name);
  }
  p->up = up;
  if (p->redials) redial(p, now_ns);
  if (p->lost) renew(p, now_ns);
}
