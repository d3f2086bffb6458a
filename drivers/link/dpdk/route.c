#include "drivers/link/dpdk/route.h"

bool qr_route_same_net(const uint8_t a[16], const uint8_t b[16], uint32_t bits) {
  uint32_t bytes = bits / 8, rest = bits % 8;
  if (memcmp(a, b, bytes)) return false;
  return !rest || (a[bytes] ^ b[bytes]) >> (8 - rest) == 0;
}

bool qr_route_is_link_local(const uint8_t ip[16]) {
  return ip[0] == 0xfe && (ip[1] & 0xc0) == 0x80;
}

const uint8_t *qr_route_next_hop(const qr_routes_t *r, const qr_link_addr_t *to) {
  bool v4 = qr_link_addr_is_v4(to);
  const qr_route_t *f = v4 ? &r->v4 : &r->v6;
  if (!f->present || !memcmp(to->ip, f->own, 16)) return NULL;
  if (qr_route_same_net(to->ip, f->own, f->prefix_bits)) return to->ip;
  if (!v4 && qr_route_is_link_local(to->ip)) return to->ip;
  return f->has_gateway ? f->gateway : NULL;
}
