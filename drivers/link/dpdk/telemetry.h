/* What DPDK's telemetry socket says of the link: /quarry/link, /quarry/peers and /quarry/peer,N.
   Its thread reads a copy that the network tile renews now and then; neither waits for the other's
   work. */
#ifndef QR_LINK_DPDK_TELEMETRY_H
#define QR_LINK_DPDK_TELEMETRY_H

#include "drivers/link/dpdk/net.h"
#include "drivers/link/quic/quic.h"

#define QR_TELEMETRY_PEER_MAX_CNT 64u

/* Registers the commands, once in a process. */
void qr_telemetry_start(void);

/* Renews the copy if it is old; the latest link that calls is the one that is shown. */
void qr_telemetry_put(const qr_udp_t *udp, const qr_quic_t *quic, uint64_t now_ns);

/* The link is closed: there is nothing to show. */
void qr_telemetry_clear(void);

#endif
