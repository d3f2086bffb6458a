/* A network interface as a port: a packet socket with a receive ring of its own, so that bursts are
   not lost for the kernel's small socket buffers. */
#include <errno.h>
#include <linux/ethtool.h>
#include <linux/if_packet.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "emu/damage.h"
#include "emu/port.h"

#define RING_SZ (4u << 20)
#define BLOCK_SZ (1u << 16)
#define TX_TRIES 100u
#define ETH_ALL 0x0003 /* every protocol */

typedef struct {
  int fd;
  uint8_t *ring;
  uint32_t place_sz, place_cnt, at, lent, frame_max_sz;
  qr_emu_port_stats_t stats;
} packet_t;

/* ---- opening ---- */

/* The kernel at the other end shall send packets as they are on a wire: with checksums and cut to
   size. Works for a veth peer in our namespace; elsewhere it is the user's. */
static void offloads_off(int fd, int ifindex) {
  static const uint32_t what[] = {ETHTOOL_STXCSUM, ETHTOOL_STSO, ETHTOOL_SGSO};
  struct ifreq req = {0};
  struct ethtool_value off = {.data = 0};
  if (!if_indextoname((unsigned)ifindex, req.ifr_name)) return;
  for (size_t i = 0; i < QR_ARRAY_CNT(what); i++) {
    off.cmd = what[i];
    req.ifr_data = (void *)&off;
    (void)ioctl(fd, SIOCETHTOOL, &req);
  }
}

/* Index of the other end of a veth pair, 0 if there is none in this namespace. */
static int veth_peer(int ifindex) {
  struct {
    struct nlmsghdr h;
    struct ifinfomsg i;
  } ask = {.h = {.nlmsg_len = sizeof ask, .nlmsg_type = RTM_GETLINK, .nlmsg_flags = NLM_F_REQUEST},
           .i = {.ifi_family = AF_UNSPEC, .ifi_index = ifindex}};
  union {
    struct nlmsghdr h;
    char b[16384];
  } answer;
  int peer = 0, fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
  if (fd < 0) return 0;
  ssize_t n = send(fd, &ask, sizeof ask, 0) == (ssize_t)sizeof ask
                  ? recv(fd, &answer, sizeof answer, 0)
                  : -1;
  close(fd);
  if (n < (ssize_t)NLMSG_LENGTH(sizeof(struct ifinfomsg)) || answer.h.nlmsg_type != RTM_NEWLINK)
    return 0;
  struct ifinfomsg *info = NLMSG_DATA(&answer.h);
  int left = (int)n - (int)NLMSG_LENGTH(sizeof *info);
  for (struct rtattr *a = IFLA_RTA(info); RTA_OK(a, left); a = RTA_NEXT(a, left)) {
    if (a->rta_type == IFLA_LINK_NETNSID) return 0; /* it is in another namespace */
    if (a->rta_type == IFLA_LINK) memcpy(&peer, RTA_DATA(a), sizeof peer);
  }
  return peer == ifindex ? 0 : peer;
}

static int fail(char *why, size_t why_sz, const char *name, const char *what) {
  snprintf(why, why_sz,
           "interface '%s': %s (%s); opening it needs CAP_NET_RAW, which 'unshare -Urn' "
           "gives in a network of its own",
           name, what, strerror(errno));
  return QR_ERR_IO;
}

static int make_ring(packet_t *p, const char *name, char *why, size_t why_sz) {
  int on = 1, version = TPACKET_V2;
  p->place_sz = 2048;
  while (p->place_sz < p->frame_max_sz + 128) p->place_sz *= 2;
  p->place_cnt = RING_SZ / p->place_sz;
  struct tpacket_req req = {.tp_block_size = BLOCK_SZ,
                            .tp_block_nr = RING_SZ / BLOCK_SZ,
                            .tp_frame_size = p->place_sz,
                            .tp_frame_nr = p->place_cnt};
  if (setsockopt(p->fd, SOL_PACKET, PACKET_VERSION, &version, sizeof version) ||
      setsockopt(p->fd, SOL_PACKET, PACKET_RX_RING, &req, sizeof req))
    return fail(why, why_sz, name, "no receive ring");
  void *ring = mmap(NULL, RING_SZ, PROT_READ | PROT_WRITE, MAP_SHARED, p->fd, 0);
  if (ring == MAP_FAILED) return fail(why, why_sz, name, "the receive ring cannot be mapped");
  p->ring = ring;
  (void)setsockopt(p->fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof on);
  (void)setsockopt(p->fd, SOL_PACKET, PACKET_QDISC_BYPASS, &on, sizeof on);
  return QR_OK;
}

static int attach(packet_t *p, const char *name, char *why, size_t why_sz) {
  struct sockaddr_ll ll = {.sll_family = AF_PACKET,
                           .sll_protocol = htons(ETH_ALL),
                           .sll_ifindex = (int)if_nametoindex(name)};
  struct packet_mreq all = {.mr_ifindex = ll.sll_ifindex, .mr_type = PACKET_MR_PROMISC};
  struct ifreq req = {0};
  if (!ll.sll_ifindex) {
    snprintf(why, why_sz,
             "there is no network interface '%s' here; 'ip link' lists those there are", name);
    return QR_ERR_NOTFOUND;
  }
  memcpy(req.ifr_name, name, strnlen(name, sizeof req.ifr_name - 1));
  if (!ioctl(p->fd, SIOCGIFFLAGS, &req) && !(req.ifr_flags & IFF_UP)) {
    snprintf(why, why_sz, "network interface '%s' is down; bring it up with 'ip link set %s up'",
             name, name);
    return QR_ERR_IO;
  }
  offloads_off(p->fd, ll.sll_ifindex);
  int peer = veth_peer(ll.sll_ifindex);
  if (peer) offloads_off(p->fd, peer);
  if (bind(p->fd, (struct sockaddr *)&ll, sizeof ll) ||
      setsockopt(p->fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &all, sizeof all))
    return fail(why, why_sz, name, "cannot be listened to");
  return QR_OK;
}

static void packet_close(void *port) {
  packet_t *p = port;
  if (p->ring) munmap(p->ring, RING_SZ);
  if (p->fd >= 0) close(p->fd);
  free(p);
}

static int packet_open(const char *where, uint32_t frame_max_sz, void **out, char *why,
                       size_t why_sz) {
  packet_t *p = calloc(1, sizeof *p);
  if (!p) {
    snprintf(why, why_sz, "no memory for the port of '%s'", where);
    return QR_ERR_NOMEM;
  }
  p->frame_max_sz = frame_max_sz;
  p->fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  int err = p->fd < 0 ? fail(why, why_sz, where, "no packet socket") : QR_OK;
  if (!err) err = make_ring(p, where, why, why_sz);
  if (!err) err = attach(p, where, why, why_sz);
  if (err) {
    packet_close(p);
    return err;
  }
  *out = p;
  return QR_OK;
}

/* ---- frames ---- */

static struct tpacket2_hdr *place(const packet_t *p, uint32_t i) {
  return (struct tpacket2_hdr *)(p->ring + (size_t)(i % p->place_cnt) * p->place_sz);
}

static uint32_t packet_rx(void *port, qr_emu_bytes_t *out, uint32_t max) {
  packet_t *p = port;
  uint32_t cnt = 0;
  while (cnt < max && p->lent < p->place_cnt) {
    struct tpacket2_hdr *h = place(p, p->at + p->lent);
    uint32_t status = __atomic_load_n(&h->tp_status, __ATOMIC_ACQUIRE);
    if (!(status & TP_STATUS_USER)) break;
    p->lent++;
    if (h->tp_snaplen != h->tp_len || h->tp_len > p->frame_max_sz || h->tp_len < 14 ||
        (status & TP_STATUS_VLAN_VALID)) {
      p->stats.rx_bad++;
      continue;
    }
    uint8_t *bytes = (uint8_t *)h + h->tp_mac;
    if (status & TP_STATUS_CSUMNOTREADY) qr_emu_checksum(bytes, h->tp_len);
    out[cnt++] = (qr_emu_bytes_t){bytes, h->tp_len};
    p->stats.rx_frames++;
    p->stats.rx_bytes += h->tp_len;
  }
  return cnt;
}

static void packet_rx_done(void *port) {
  packet_t *p = port;
  for (; p->lent; p->lent--, p->at = (p->at + 1) % p->place_cnt)
    __atomic_store_n(&place(p, p->at)->tp_status, TP_STATUS_KERNEL, __ATOMIC_RELEASE);
}

static void packet_tx(void *port, const qr_emu_bytes_t *frames, uint32_t cnt) {
  packet_t *p = port;
  struct mmsghdr m[QR_EMU_BURST];
  struct iovec v[QR_EMU_BURST];
  for (uint32_t i = 0; i < cnt; i++) {
    v[i] = (struct iovec){(void *)(uintptr_t)frames[i].p, frames[i].sz};
    m[i] = (struct mmsghdr){.msg_hdr = {.msg_iov = &v[i], .msg_iovlen = 1}};
  }
  uint32_t done = 0, tries = 0;
  while (done < cnt) {
    int n = sendmmsg(p->fd, m + done, cnt - done, 0);
    for (int i = 0; i < n; i++) p->stats.tx_bytes += frames[done + (uint32_t)i].sz;
    if (n > 0) {
      done += (uint32_t)n;
      p->stats.tx_frames += (uint32_t)n;
    } else if ((errno != ENOBUFS && errno != EAGAIN && errno != EINTR) || ++tries == TX_TRIES) {
      p->stats.tx_failed++; /* this one; an interface that went down fails them all */
      done++;
    }
  }
}

static uint32_t packet_fds(void *port, struct pollfd *out) {
  packet_t *p = port;
  out[0] = (struct pollfd){.fd = p->fd, .events = POLLIN};
  return 1;
}

static qr_emu_port_stats_t *packet_stats(void *port) {
  packet_t *p = port;
  struct tpacket_stats st = {0}; /* since it was read last */
  socklen_t sz = sizeof st;
  if (!getsockopt(p->fd, SOL_PACKET, PACKET_STATISTICS, &st, &sz))
    p->stats.rx_missed += st.tp_drops;
  return &p->stats;
}

const qr_emu_port_ops_t qr_emu_packet_ops = {
    .open = packet_open,
    .close = packet_close,
    .rx = packet_rx,
    .rx_done = packet_rx_done,
    .tx = packet_tx,
    .fds = packet_fds,
    .stats = packet_stats,
};
