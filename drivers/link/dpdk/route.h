/* The next hop: the own network of each family, and a gateway to all else. Pure. */
#ifndef QR_LINK_DPDK_ROUTE_H
#define QR_LINK_DPDK_ROUTE_H

#include "port/link.h"

/* One family. prefix_bits counts from the start of the 16 bytes: IPv4's /24 is 120 here. */
typedef struct {
  bool present, has_gateway;
  uint8_t own[16], gateway[16];
  uint32_t prefix_bits;
} qr_route_t;

typedef struct {
  qr_route_t v4, v6;
} qr_routes_t;

/* The neighbour through which ip is reached, ip itself in the own network; NULL if there is none.
 */
const uint8_t *qr_route_next_hop(const qr_routes_t *r, const qr_link_addr_t *to);

/* True if the first bits of a and b are the same. */
bool qr_route_same_net(const uint8_t a[16], const uint8_t b[16], uint32_t bits);
bool qr_route_is_link_local(const uint8_t ip[16]);

#endif
