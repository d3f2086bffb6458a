#include "drivers/link/dpdk/device.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/err.h"

#define JUMBO_FRAME_SZ 9216u /* of a packet socket's rings; four of them are nine pages */
#define AF_XDP_FAMILY 44     /* as in Linux; older headers lack it */

/* ---- interfaces ---- */

static bool set_name(struct ifreq *req, const char *iface) {
  size_t sz = strlen(iface);
  *req = (struct ifreq){.ifr_flags = 0};
  if (!sz || sz >= sizeof req->ifr_name) return false;
  memcpy(req->ifr_name, iface, sz);
  return true;
}

int qr_device_iface_up(int fd, const char *iface) {
  struct ifreq req;
  if (!set_name(&req, iface) || ioctl(fd, SIOCGIFFLAGS, &req)) return -1;
  return (req.ifr_flags & IFF_UP) && (req.ifr_flags & IFF_RUNNING);
}

int qr_device_iface_idx(int fd, const char *iface) {
  struct ifreq req;
  return set_name(&req, iface) && !ioctl(fd, SIOCGIFINDEX, &req) ? req.ifr_ifindex : 0;
}

static int check_mtu(qr_port_cfg_t *cfg, uint32_t has, char *why, size_t why_sz) {
  if (has < QR_PORT_MTU_MIN || has < cfg->mtu) {
    uint32_t wanted = cfg->mtu ? cfg->mtu : QR_PORT_MTU;
    snprintf(why, why_sz,
             "network interface '%s' carries packets of %u bytes, not %u; 'ip link set %s mtu %u'",
             cfg->name, has, wanted, cfg->name, wanted);
    return QR_ERR_ARG;
  }
  if (!cfg->mtu) cfg->mtu = has < QR_PORT_MTU ? has : QR_PORT_MTU;
  return QR_OK;
}

static int check_iface(qr_port_cfg_t *cfg, int fd, char *why, size_t why_sz) {
  struct ifreq req;
  const char *iface = cfg->name;
  if (!set_name(&req, iface) || ioctl(fd, SIOCGIFFLAGS, &req)) {
    snprintf(why, why_sz,
             "there is no network interface '%s' here; 'ip link' lists those there are", iface);
    return QR_ERR_NOTFOUND;
  }
  if (!(req.ifr_flags & IFF_UP)) {
    snprintf(why, why_sz, "network interface '%s' is down; bring it up with 'ip link set %s up'",
             iface, iface);
    return QR_ERR_IO;
  }
  if (ioctl(fd, SIOCGIFMTU, &req)) return QR_OK;
  return check_mtu(cfg, req.ifr_mtu > 0 ? (uint32_t)req.ifr_mtu : 0, why, why_sz);
}

static int check_packet_socket(qr_port_cfg_t *cfg, char *why, size_t why_sz) {
  int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
  if (fd < 0) {
    snprintf(why, why_sz,
             "no permission to open packet sockets on %s (%s); give the program CAP_NET_RAW, or "
             "run it in a network namespace of its own (unshare -Urn)",
             cfg->name, strerror(errno));
    return QR_ERR_IO;
  }
  int err = check_iface(cfg, fd, why, why_sz);
  close(fd);
  return err;
}

static int check_xdp_socket(qr_port_cfg_t *cfg, char *why, size_t why_sz) {
  int fd = socket(AF_XDP_FAMILY, SOCK_RAW | SOCK_CLOEXEC, 0);
  if (fd < 0) {
    snprintf(why, why_sz, "no XDP socket for %s (%s); %s", cfg->name, strerror(errno),
             errno == EAFNOSUPPORT
                 ? "this kernel was built without CONFIG_XDP_SOCKETS; use iface= instead of xdp="
                 : "give the program CAP_NET_RAW, CAP_NET_ADMIN and CAP_BPF, or use iface=");
    return QR_ERR_IO;
  }
  close(fd);
  fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return QR_OK; /* DPDK will say */
  int err = check_iface(cfg, fd, why, why_sz);
  close(fd);
  return err;
}

/* ---- files ---- */

static int check_tap(const qr_port_cfg_t *cfg, char *why, size_t why_sz) {
  int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
  if (strlen(cfg->name) >= IFNAMSIZ) {
    snprintf(why, why_sz, "'%s' is too long for an interface's name; 15 bytes are the most",
             cfg->name);
    if (fd >= 0) close(fd);
    return QR_ERR_ARG;
  }
  if (fd < 0) {
    snprintf(why, why_sz, "/dev/net/tun cannot be opened (%s); %s", strerror(errno),
             errno == ENOENT ? "'modprobe tun' makes it" : "this user needs to read and write it");
    return QR_ERR_IO;
  }
  close(fd);
  return QR_OK;
}

static bool is_listening(const char *path) {
  struct sockaddr_un un = {.sun_family = AF_UNIX};
  size_t sz = strlen(path);
  int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  if (fd < 0) return true; /* who knows */
  if (sz < sizeof un.sun_path) memcpy(un.sun_path, path, sz);
  bool refused = connect(fd, (struct sockaddr *)&un, sizeof un) && errno == ECONNREFUSED;
  close(fd);
  return !refused;
}

/* A server that died has left its socket behind, which would keep the next one from listening. */
static int check_memif(const qr_port_cfg_t *cfg, char *why, size_t why_sz) {
  struct stat st;
  if (strlen(cfg->name) >= sizeof(((struct sockaddr_un *)0)->sun_path)) {
    snprintf(why, why_sz, "the path of the memif socket is too long for the kernel: %.60s...",
             cfg->name);
    return QR_ERR_ARG;
  }
  if (!cfg->memif_server || stat(cfg->name, &st)) return QR_OK;
  if (S_ISSOCK(st.st_mode) && !is_listening(cfg->name) && !unlink(cfg->name)) return QR_OK;
  snprintf(why, why_sz,
           "'%s' is there already; another memif server listens, or it is a file of something "
           "else: choose another path",
           cfg->name);
  return QR_ERR_BUSY;
}

static int check_virtio(const qr_port_cfg_t *cfg, char *why, size_t why_sz) {
  struct stat st;
  if (stat(cfg->name, &st) || !(S_ISSOCK(st.st_mode) || S_ISCHR(st.st_mode))) {
    snprintf(why, why_sz,
             "'%s' is neither a vhost-user's socket nor /dev/vhost-net; start the virtual switch "
             "first ('modprobe vhost-net' for the latter)",
             cfg->name);
    return QR_ERR_NOTFOUND;
  }
  if (!access(cfg->name, R_OK | W_OK)) return QR_OK;
  snprintf(why, why_sz, "this user may not read and write '%s'", cfg->name);
  return QR_ERR_IO;
}

/* "vdev=net_af_packet0,iface=n0": the same checks as for "iface=n0". */
static int check_vdev(qr_port_cfg_t *cfg, char *why, size_t why_sz) {
  const char *args = strchr(cfg->name, ',');
  if (!strncmp(cfg->name, "net_af_packet", 13)) {
    const char *at = args ? strstr(args, ",iface=") : NULL;
    qr_port_cfg_t inner = {.kind = QR_PORT_IFACE, .mtu = cfg->mtu};
    if (!at) {
      snprintf(why, why_sz,
               "vdev=%s names no interface; write vdev=net_af_packet0,iface=<interface>",
               cfg->name);
      return QR_ERR_ARG;
    }
    snprintf(inner.name, sizeof inner.name, "%.*s", (int)strcspn(at + 7, ","), at + 7);
    int err = check_packet_socket(&inner, why, why_sz);
    cfg->mtu = inner.mtu;
    return err;
  }
  return QR_OK;
}

int qr_device_check(qr_port_cfg_t *cfg, char *why, size_t why_sz) {
  int err = QR_OK;
  switch (cfg->kind) {
  case QR_PORT_IFACE: err = check_packet_socket(cfg, why, why_sz); break;
  case QR_PORT_XDP: err = check_xdp_socket(cfg, why, why_sz); break;
  case QR_PORT_TAP: err = check_tap(cfg, why, why_sz); break;
  case QR_PORT_MEMIF: err = check_memif(cfg, why, why_sz); break;
  case QR_PORT_VIRTIO: err = check_virtio(cfg, why, why_sz); break;
  case QR_PORT_VDEV: err = check_vdev(cfg, why, why_sz); break;
  default: break;
  }
  if (!cfg->mtu) cfg->mtu = QR_PORT_MTU;
  return err;
}

/* ---- devices ---- */

static int iface_text(const qr_port_cfg_t *cfg, char *out, size_t out_sz) {
  char frames[64] = "";
  if (cfg->mtu > QR_PORT_MTU)
    snprintf(frames, sizeof frames, ",framesz=%u,blocksz=%u,framecnt=256", JUMBO_FRAME_SZ,
             4 * JUMBO_FRAME_SZ);
  return snprintf(out, out_sz, "net_af_packet0,iface=%s,qpairs=%u%s", cfg->name, cfg->queue_cnt,
                  frames);
}

static int memif_text(const qr_port_cfg_t *cfg, char *out, size_t out_sz) {
  char buffers[32] = "";
  /* 128 buffers stay in the cache; the usual 1024 of that size cost 10 us a round trip. */
  if (cfg->mtu > QR_PORT_MTU)
    snprintf(buffers, sizeof buffers, ",bsize=%u,rsize=7", JUMBO_FRAME_SZ);
  return snprintf(out, out_sz, "net_memif0,role=%s,id=0,socket-abstract=no,socket=%s%s",
                  cfg->memif_server ? "server" : "client", cfg->name, buffers);
}

bool qr_device_text(const qr_port_cfg_t *cfg, char *out, size_t out_sz) {
  int n = 0;
  switch (cfg->kind) {
  case QR_PORT_IFACE: n = iface_text(cfg, out, out_sz); break;
  case QR_PORT_XDP:
    n = snprintf(out, out_sz, "net_af_xdp0,iface=%s,start_queue=0,queue_count=%u", cfg->name,
                 cfg->queue_cnt);
    break;
  case QR_PORT_TAP: n = snprintf(out, out_sz, "net_tap0,iface=%s", cfg->name); break;
  case QR_PORT_MEMIF: n = memif_text(cfg, out, out_sz); break;
  case QR_PORT_VIRTIO:
    n = snprintf(out, out_sz, "net_virtio_user0,path=%s,queues=%u,queue_size=1024", cfg->name,
                 cfg->queue_cnt);
    break;
  default: n = snprintf(out, out_sz, "%s", cfg->name); break;
  }
  return n > 0 && n < (int)out_sz;
}

const char *qr_device_hint(enum qr_port_kind kind) {
  switch (kind) {
  case QR_PORT_IFACE:
    return "a packet socket's rings are locked in memory (ulimit -l): 2 MiB a queue pair, 5 MiB "
           "with "
           "jumbo frames";
  case QR_PORT_XDP:
    return "XDP needs CAP_NET_ADMIN and CAP_BPF outside of a user namespace, and memory that may "
           "be "
           "locked (ulimit -l); one queue per interface: 'ethtool -L <interface> combined 1'";
  case QR_PORT_TAP: return "a tap interface needs CAP_NET_ADMIN, and a name that is free";
  case QR_PORT_MEMIF: return "the directory of the memif socket must be writable";
  case QR_PORT_VIRTIO:
    return "a vhost-user must listen there, with room for one more; huge=1 if it insists on huge "
           "pages";
  default: return "check its name and arguments, and that no other link has it";
  }
}
