/* DPDK's environment and one Ethernet port with one queue pair. The only file besides net.c that
 * knows DPDK. */
#ifndef QR_LINK_DPDK_EAL_H
#define QR_LINK_DPDK_EAL_H

#include <rte_mbuf.h>

#include "drivers/link/dpdk/frame.h"

#define QR_EAL_BURST 32u

typedef struct {
  const char *args; /* extra EAL arguments, separated by blanks; may be empty */
  const char *vdev; /* "net_af_packet0,iface=..." or empty */
  const char *pci;  /* address of a physical port, or empty */
  bool huge;        /* use huge pages */
} qr_eal_cfg_t;

typedef struct {
  uint16_t port;
  char vdev[64]; /* name to remove at close, or empty */
  struct rte_mempool *pool;
  qr_mac_t mac;
} qr_eal_port_t;

/* Starts DPDK (once per process) and the port. On failure a sentence with cause and cure goes to
   why. The caller's CPU affinity and signal mask are as before, and no signal is delivered to
   DPDK's threads. Returns 0 or a negative code. */
int qr_eal_open(const qr_eal_cfg_t *cfg, qr_eal_port_t *out, char *why,
                size_t why_sz) QR_WARN_UNUSED;
void qr_eal_close(qr_eal_port_t *p);

/* Makes the port receive frames to one multicast address. */
void qr_eal_listen(qr_eal_port_t *p, const uint8_t mac[6]);

/* True if the port has verified the packet's IPv4 and UDP checksums. */
static inline bool qr_eal_checksums_known(const struct rte_mbuf *m) {
  const uint64_t good = RTE_MBUF_F_RX_IP_CKSUM_GOOD | RTE_MBUF_F_RX_L4_CKSUM_GOOD;
  return (m->ol_flags & (RTE_MBUF_F_RX_IP_CKSUM_MASK | RTE_MBUF_F_RX_L4_CKSUM_MASK)) == good;
}

#endif
