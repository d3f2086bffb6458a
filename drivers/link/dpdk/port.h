/* One Ethernet port of DPDK: its buffers, queues, offloads and link state. */
#ifndef QR_LINK_DPDK_PORT_H
#define QR_LINK_DPDK_PORT_H

#include <rte_mbuf.h>

#include "drivers/link/dpdk/device.h"
#include "drivers/link/dpdk/frame.h"

#define QR_PORT_BURST 32u

typedef struct {
  uint16_t id;
  char name[64]; /* of the device, for the log */
  char vdev[64]; /* name to remove at close, or empty */
  qr_port_cfg_t cfg;
  char iface[16]; /* kernel interface that the device hangs on, or empty */
  int iface_fd;   /* to ask for it; -1: none */
  int iface_idx;  /* its number when the device was made: another of that name has another */
  bool lost;      /* it went: the device is made anew when it is there again */
  bool renew_told;
  uint64_t renew_at, renew_wait_ns, renew_cnt;
  bool redials; /* a memif client: it has to call again when its server is gone */
  bool started, up;
  bool heard; /* a frame came since the last tick: then a link that was down is looked at at once */
  uint32_t mtu, queue_cnt;
  unsigned rx_known;   /* checksums that the port may verify: enum qr_frame_known */
  unsigned tx_by_port; /* checksums that the port writes: enum qr_frame_sum */
  struct rte_mempool *pool;
  qr_mac_t mac;
  uint64_t looked_at, tried_at;
  uint64_t down_cnt; /* how often the link went away */
  uint64_t up_cnt;   /* and came */
} qr_port_t;

/* Starts DPDK if need be, and the port. On failure a sentence with cause and cure goes to why. The
   port must not move until it is closed. Returns 0 or a negative code. */
int qr_port_open(qr_port_cfg_t *cfg, qr_port_t *out, char *why, size_t why_sz) QR_WARN_UNUSED;
void qr_port_close(qr_port_t *p);

/* Looks after the link now and then: changes are logged and counted, a memif client calls again,
   and what hangs on an interface that was made anew is made anew itself. Then buffers of before are
   no more, and mac may be another: renew_cnt tells. */
void qr_port_tick(qr_port_t *p, uint64_t now_ns);

/* Makes the port receive frames to one multicast address. */
void qr_port_listen(qr_port_t *p, const uint8_t mac[6]);

/* NULL: none is free, or the device is being made anew. */
static inline struct rte_mbuf *qr_port_buffer(qr_port_t *p) {
  return p->pool ? rte_pktmbuf_alloc(p->pool) : NULL;
}

/* Which of a packet's checksums the port vouches for: enum qr_frame_known. */
static inline unsigned qr_port_known(const struct rte_mbuf *m) {
  uint64_t ip = m->ol_flags & RTE_MBUF_F_RX_IP_CKSUM_MASK;
  uint64_t l4 = m->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK;
  /* NONE says that the field is not filled in, but the data are known to be right. */
  return (ip == RTE_MBUF_F_RX_IP_CKSUM_GOOD || ip == RTE_MBUF_F_RX_IP_CKSUM_NONE ? QR_FRAME_IP_KNOWN
                                                                                 : 0u) |
         (l4 == RTE_MBUF_F_RX_L4_CKSUM_GOOD || l4 == RTE_MBUF_F_RX_L4_CKSUM_NONE
              ? QR_FRAME_UDP_KNOWN
              : 0u);
}

#endif
