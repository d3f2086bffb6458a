/* Which DPDK device a port is made of, and the checks that turn a driver's silence into a sentence.
   No DPDK here. */
#ifndef QR_LINK_DPDK_DEVICE_H
#define QR_LINK_DPDK_DEVICE_H

#include "base/types.h"

enum qr_port_kind {
  QR_PORT_NONE,
  QR_PORT_IFACE,  /* a kernel interface through a packet socket */
  QR_PORT_XDP,    /* a kernel interface through an XDP socket */
  QR_PORT_TAP,    /* an interface of our own in the kernel */
  QR_PORT_MEMIF,  /* shared memory with another process */
  QR_PORT_VIRTIO, /* a vhost-user's socket, or /dev/vhost-net */
  QR_PORT_PCI,    /* a card of our own */
  QR_PORT_VDEV    /* any DPDK device, as it is written */
};

#define QR_PORT_QUEUE_MAX_CNT 8u
#define QR_PORT_MTU 1500u
#define QR_PORT_MTU_MIN 1280u /* the least of IPv6 */
#define QR_PORT_MTU_MAX 9000u

typedef struct {
  enum qr_port_kind kind;
  char name[256]; /* interface, socket, PCI address or device */
  bool memif_server;
  bool huge, telemetry;
  char eal[256];
  uint32_t mtu; /* 0: as usual for the kind */
  uint32_t queue_cnt;
} qr_port_cfg_t;

/* Checks what can be checked before DPDK starts, and settles the MTU. On failure a sentence with
   cause and cure goes to why. Returns 0 or a negative code. */
int qr_device_check(qr_port_cfg_t *cfg, char *why, size_t why_sz) QR_WARN_UNUSED;

/* The device as DPDK wants it: "net_af_packet0,iface=...". False if it does not fit. Not for
   QR_PORT_PCI. */
bool qr_device_text(const qr_port_cfg_t *cfg, char *out, size_t out_sz);

/* What an operator should look at when DPDK cannot make the device. */
const char *qr_device_hint(enum qr_port_kind kind);

/* The kernel's view of an interface through a socket that the caller keeps: 1 up with a carrier, 0
   not, -1 there is none. */
int qr_device_iface_up(int fd, const char *iface);
int qr_device_iface_idx(int fd, const char *iface); /* its number, 0: there is none */

#endif
