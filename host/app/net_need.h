/* What each way to a network needs of this host, what of it is there, and what to type for the
   rest. The ways are those of the link driver dpdk; drivers/link/dpdk/README.md explains them. */
#ifndef QR_APP_NET_NEED_H
#define QR_APP_NET_NEED_H

#include "app/net_host.h"

enum qr_net_way_kind {
  QR_NET_WAY_IFACE,  /* a kernel interface through a packet socket */
  QR_NET_WAY_XDP,    /* a kernel interface through an XDP socket */
  QR_NET_WAY_TAP,    /* an interface of our own in the kernel */
  QR_NET_WAY_MEMIF,  /* shared memory with another process */
  QR_NET_WAY_VIRTIO, /* a virtual machine's or a switch's vhost-user */
  QR_NET_WAY_PCI,    /* a card of our own */
  QR_NET_WAY_OTHER,  /* a DPDK device that this program does not know */
  QR_NET_WAY_CNT
};

enum qr_net_state {
  QR_NET_OK,
  QR_NET_MISSING, /* the way cannot be gone without it */
  QR_NET_ADVICE,  /* it works, and would work better */
  QR_NET_UNSURE   /* cannot be told from here */
};

#define QR_NET_FINDING_MAX_CNT 14u

typedef struct {
  enum qr_net_state state;
  char what[200];
  char type[240]; /* what to type, or what to do; may be empty */
} qr_net_finding_t;

typedef struct {
  enum qr_net_way_kind kind;
  const char *name, *options; /* as in quarryd's configuration, by example */
  bool possible;              /* nothing is missing */
  uint32_t finding_cnt;
  qr_net_finding_t findings[QR_NET_FINDING_MAX_CNT];
} qr_net_way_t;

/* Judges a way in general (target NULL) or to one interface or PCI address. huge: the link's option
   of that name. */
void qr_net_judge(const qr_net_host_t *h, enum qr_net_way_kind kind, const char *target, bool huge,
                  qr_net_way_t *out);

/* Judges what a node's link options name. Returns false and why if they name no way, or more than
   one. */
bool qr_net_judge_options(const qr_net_host_t *h, const char *options, qr_net_way_t *out, char *why,
                          size_t why_sz);

#endif
