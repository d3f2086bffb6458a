#include "drivers/link/dpdk/eal.h"

#include <errno.h>
#include <net/if.h>
#include <pthread.h>
#include <rte_bus_vdev.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"

#define MBUF_CNT 8191u
#define MBUF_CACHE_CNT 256u
#define RING_DEPTH 1024u
#define ARG_MAX_CNT 64
#define TEXT_SZ 2048

static enum {
  EAL_DOWN,
  EAL_UP,
  EAL_FAILED
} eal_state; /* DPDK lives once in a process, and as long */
static uint32_t port_seq;

typedef struct {
  char text[TEXT_SZ];
  size_t used;
  char *argv[ARG_MAX_CNT + 1];
  int argc;
} args_t;

static bool args_add(args_t *a, const char *arg, size_t sz) {
  if (a->argc == ARG_MAX_CNT || a->used + sz + 1 > sizeof a->text) return false;
  char *p = a->text + a->used;
  memcpy(p, arg, sz);
  p[sz] = 0;
  a->used += sz + 1;
  a->argv[a->argc++] = p;
  return true;
}

static bool args_add_words(args_t *a, const char *words) {
  for (;;) {
    words += strspn(words, " \t");
    size_t sz = strcspn(words, " \t");
    if (!sz) return true;
    if (!args_add(a, words, sz)) return false;
    words += sz;
  }
}

/* One lcore that floats over every CPU we may use: our threads are placed by us, not by EAL. */
static bool args_add_lcores(args_t *a, const cpu_set_t *allowed) {
  char text[1024];
  int n = snprintf(text, sizeof text, "--lcores=0@(");
  for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
    if (!CPU_ISSET(cpu, allowed)) continue;
    int last = cpu;
    while (last + 1 < CPU_SETSIZE && CPU_ISSET(last + 1, allowed)) last++;
    n += snprintf(text + n, sizeof text - (size_t)n, "%d-%d,", cpu, last);
    if (n >= (int)sizeof text) return false;
    cpu = last;
  }
  text[n - 1] = ')';
  return args_add(a, text, (size_t)n);
}

static bool make_args(const qr_eal_cfg_t *cfg, const cpu_set_t *allowed, args_t *a) {
  char prefix[64];
  *a = (args_t){.used = 0};
  snprintf(prefix, sizeof prefix, "--file-prefix=quarry-%ld", (long)getpid());
  bool ok = args_add_words(a, "quarry --no-shconf --no-telemetry --log-level=4") &&
            args_add_words(a, prefix) && args_add_lcores(a, allowed);
  if (!cfg->huge) ok = ok && args_add_words(a, "--no-huge -m 64");
  if (cfg->pci[0])
    ok = ok && args_add_words(a, "-a") && args_add_words(a, cfg->pci);
  else
    ok = ok && args_add_words(a, "--no-pci");
  return ok && args_add_words(a, cfg->args);
}

/* EAL insists on a directory although nothing is shared through it. It gets one of its own, for the
   length of its start: the usual places may be missing, forbidden (root of a user namespace is
   nobody outside) or named by an empty variable. */
static int init_in_own_directory(args_t *a) {
  static const char name[] = "RUNTIME_DIRECTORY";
  char dir[] = "/tmp/quarry-dpdk-XXXXXX", *given = getenv(name),
       *before = given ? strdup(given) : NULL;
  bool made = mkdtemp(dir) != NULL;
  if (made) setenv(name, dir, 1);
  int rv = rte_eal_init(a->argc, a->argv), err = rte_errno;
  if (made) {
    char used[256]; /* a few levels below dir */
    snprintf(used, sizeof used, "%s", rte_eal_get_runtime_dir());
    while (!strncmp(used, dir, sizeof dir - 1)) {
      (void)rmdir(used);
      *strrchr(used, '/') = 0;
    }
    (void)rmdir(dir);
    if (before)
      setenv(name, before, 1);
    else
      unsetenv(name);
  }
  free(before);
  rte_errno = err;
  return rv;
}

static int start_eal(const qr_eal_cfg_t *cfg, char *why, size_t why_sz) {
  args_t a;
  cpu_set_t allowed;
  sigset_t all, before;
  if (eal_state == EAL_UP) return QR_OK;
  if (eal_state == EAL_FAILED) {
    snprintf(why, why_sz, "DPDK failed to start before in this process; start the process again");
    return QR_ERR_IO;
  }
  pthread_getaffinity_np(pthread_self(), sizeof allowed, &allowed);
  if (!make_args(cfg, &allowed, &a)) {
    snprintf(why, why_sz, "too many EAL arguments; shorten the link option eal=");
    return QR_ERR_ARG;
  }
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all,
                  &before); /* inherited by EAL's threads: signals stay with ours */
  int rv = init_in_own_directory(&a), err = rte_errno;
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  pthread_setaffinity_np(pthread_self(), sizeof allowed, &allowed);
  eal_state = rv < 0 ? EAL_FAILED : EAL_UP;
  if (rv >= 0) return QR_OK;
  snprintf(why, why_sz, "DPDK does not start (%s); its own messages are above; %s",
           rte_strerror(err),
           cfg->huge ? "reserve huge pages (vm.nr_hugepages) or drop the link option huge=1"
                     : "check the link option eal= and that 64 MiB can be locked");
  return err == EACCES || err == EPERM ? QR_ERR_IO : QR_ERR_ARG;
}

/* ---- checks that turn a driver's silence into a sentence ---- */

static int check_iface(const char *iface, char *why, size_t why_sz) {
  struct ifreq req = {0};
  int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
  if (fd < 0) {
    snprintf(why, why_sz,
             "no permission to open packet sockets on %s (%s); give the program CAP_NET_RAW, or "
             "run it in a network "
             "namespace of its own (unshare -Urn)",
             iface, strerror(errno));
    return QR_ERR_IO;
  }
  size_t sz = strlen(iface);
  if (sz < sizeof req.ifr_name) memcpy(req.ifr_name, iface, sz);
  int rv = sz < sizeof req.ifr_name ? ioctl(fd, SIOCGIFFLAGS, &req) : -1;
  close(fd);
  if (rv) {
    snprintf(why, why_sz,
             "there is no network interface '%s' here; 'ip link' lists those there are", iface);
    return QR_ERR_NOTFOUND;
  }
  if (req.ifr_flags & IFF_UP) return QR_OK;
  snprintf(why, why_sz, "network interface '%s' is down; bring it up with 'ip link set %s up'",
           iface, iface);
  return QR_ERR_IO;
}

static int add_vdev(const char *text, qr_eal_port_t *p, char *why, size_t why_sz) {
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
  if (!strncmp(p->vdev, "net_af_packet", 13)) {
    char iface[64];
    const char *at = args ? strstr(args, ",iface=") : NULL;
    if (!at) {
      snprintf(why, why_sz,
               "vdev=%s names no interface; write vdev=net_af_packet0,iface=<interface>", text);
      p->vdev[0] = 0;
      return QR_ERR_ARG;
    }
    snprintf(iface, sizeof iface, "%.*s", (int)strcspn(at + 7, ","), at + 7);
    int err = check_iface(iface, why, why_sz);
    if (err) {
      p->vdev[0] = 0;
      return err;
    }
  }
  int rv = rte_vdev_init(p->vdev, args ? args + 1 : "");
  if (!rv && !rte_eth_dev_get_port_by_name(p->vdev, &p->port)) return QR_OK;
  snprintf(why, why_sz,
           "DPDK cannot make the device '%s' (%s); check its name and arguments, and that no other "
           "link has it",
           text, rte_strerror(rv < 0 ? -rv : rte_errno));
  if (rv) p->vdev[0] = 0;
  return rv == -EEXIST ? QR_ERR_BUSY : QR_ERR_IO;
}

static int find_port(const qr_eal_cfg_t *cfg, qr_eal_port_t *p, char *why, size_t why_sz) {
  if (cfg->vdev[0]) return add_vdev(cfg->vdev, p, why, why_sz);
  if (!rte_eth_dev_get_port_by_name(cfg->pci, &p->port)) return QR_OK;
  snprintf(why, why_sz,
           "DPDK sees no network port at '%s'; bind it to vfio-pci (dpdk-devbind.py "
           "--bind=vfio-pci %s) and allow this user "
           "/dev/vfio",
           cfg->pci, cfg->pci);
  return QR_ERR_NOTFOUND;
}

static int start_port(qr_eal_port_t *p) {
  const uint64_t rx_wanted = RTE_ETH_RX_OFFLOAD_IPV4_CKSUM | RTE_ETH_RX_OFFLOAD_UDP_CKSUM;
  struct rte_eth_dev_info info;
  struct rte_eth_conf conf = {0};
  struct rte_ether_addr mac;
  uint16_t rx_depth = RING_DEPTH, tx_depth = RING_DEPTH;
  int rv = rte_eth_dev_info_get(p->port, &info);
  if (rv) return rv;
  if ((info.rx_offload_capa & rx_wanted) == rx_wanted) conf.rxmode.offloads = rx_wanted;
  int socket = rte_eth_dev_socket_id(p->port);
  unsigned pool_socket = socket < 0 ? 0 : (unsigned)socket;
  if ((rv = rte_eth_dev_configure(p->port, 1, 1, &conf))) return rv;
  if ((rv = rte_eth_dev_adjust_nb_rx_tx_desc(p->port, &rx_depth, &tx_depth))) return rv;
  if ((rv = rte_eth_rx_queue_setup(p->port, 0, rx_depth, pool_socket, NULL, p->pool))) return rv;
  if ((rv = rte_eth_tx_queue_setup(p->port, 0, tx_depth, pool_socket, NULL))) return rv;
  if ((rv = rte_eth_dev_start(p->port))) return rv;
  if ((rv = rte_eth_macaddr_get(p->port, &mac))) return rv;
  memcpy(p->mac.b, mac.addr_bytes, sizeof p->mac.b);
  return 0;
}

int qr_eal_open(const qr_eal_cfg_t *cfg, qr_eal_port_t *out, char *why, size_t why_sz) {
  char name[32];
  *out = (qr_eal_port_t){.port = RTE_MAX_ETHPORTS};
  int err = start_eal(cfg, why, why_sz);
  if (err) return err;
  if ((err = find_port(cfg, out, why, why_sz))) {
    qr_eal_close(out);
    return err;
  }
  snprintf(name, sizeof name, "quarry-%u", port_seq++);
  out->pool = rte_pktmbuf_pool_create(name, MBUF_CNT, MBUF_CACHE_CNT, 0, RTE_MBUF_DEFAULT_BUF_SIZE,
                                      SOCKET_ID_ANY);
  if (!out->pool) {
    snprintf(why, why_sz,
             "no memory for %u packet buffers (%s); raise -m in the link option eal=, or reserve "
             "more huge pages",
             MBUF_CNT, rte_strerror(rte_errno));
    err = QR_ERR_NOMEM;
  } else {
    int rv = start_port(out);
    if (rv) {
      snprintf(why, why_sz, "DPDK cannot start the port (%s); its own messages are above",
               rte_strerror(-rv));
      err = QR_ERR_IO;
    }
  }
  if (err) qr_eal_close(out);
  return err;
}

void qr_eal_close(qr_eal_port_t *p) {
  if (p->port != RTE_MAX_ETHPORTS) {
    (void)rte_eth_dev_stop(p->port);
    if (!p->vdev[0]) (void)rte_eth_dev_close(p->port);
  }
  if (p->vdev[0]) (void)rte_vdev_uninit(p->vdev); /* closes its port */
  rte_mempool_free(p->pool);
  *p = (qr_eal_port_t){.port = RTE_MAX_ETHPORTS};
}

void qr_eal_listen(qr_eal_port_t *p, const uint8_t mac[6]) {
  struct rte_ether_addr addr;
  memcpy(addr.addr_bytes, mac, sizeof addr.addr_bytes);
  /* The narrowest filter that the port has; one without any receives everything. */
  if (rte_eth_dev_set_mc_addr_list(p->port, &addr, 1) && rte_eth_allmulticast_enable(p->port))
    (void)rte_eth_promiscuous_enable(p->port);
}
