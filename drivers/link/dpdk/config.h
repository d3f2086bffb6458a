/* link/dpdk's options, read and checked. */
#ifndef QR_LINK_DPDK_CONFIG_H
#define QR_LINK_DPDK_CONFIG_H

#include "drivers/link/dpdk/device.h"
#include "drivers/link/dpdk/route.h"
#include "drivers/link/quic/options.h"

typedef struct {
  qr_port_cfg_t port;
  qr_routes_t routes;
  qr_quic_options_t quic;
} qr_dpdk_config_t;

/* Returns 0, or QR_ERR_ARG with cause and cure in why. */
int qr_dpdk_config(const qr_link_cfg_t *cfg, qr_dpdk_config_t *out, char *why,
                   size_t why_sz) QR_WARN_UNUSED;

#endif
