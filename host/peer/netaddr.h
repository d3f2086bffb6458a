/* What can be said of a network address by itself: where it is reachable from, and who runs the
   network around it. Pure. */
#ifndef QR_PEER_NETADDR_H
#define QR_PEER_NETADDR_H

#include "port/link.h"

enum qr_netaddr_scope {
  QR_NETADDR_NOWHERE, /* nobody can be there: unspecified, multicast, documentation, link-local */
  QR_NETADDR_LOOPBACK,
  QR_NETADDR_PRIVATE, /* 10/8, 172.16/12, 192.168/16, 100.64/10, fc00::/7 */
  QR_NETADDR_PUBLIC
};

/* The network around an address: what one party runs as a whole. A public IPv4 address has its /16,
   a public IPv6 address its /32. On a private network each address is a group of its own, and on
   the loopback each port is: there one party runs everything anyway. */
typedef struct {
  uint8_t b[18];
} qr_netaddr_group_t;

enum qr_netaddr_scope qr_netaddr_scope(const qr_link_addr_t *a);
qr_netaddr_group_t qr_netaddr_group(const qr_link_addr_t *a);

/* Whether an address is believed from somebody who is at `from`: a public one from anybody, one of
   a private network or of the loopback only from a neighbour there, for elsewhere it is somebody
   else. Ports below 1024 are services of other kinds: never. */
bool qr_netaddr_credible(const qr_link_addr_t *a, const qr_link_addr_t *from);

/* Text of an address's group, such as 203.0.0.0/16, out of at least 64 bytes; returns out. */
char *qr_netaddr_group_str(const qr_link_addr_t *a, char *out);

static inline bool qr_netaddr_eq(const qr_link_addr_t *a, const qr_link_addr_t *b) {
  return a->port == b->port && !memcmp(a->ip, b->ip, sizeof a->ip);
}
static inline bool qr_netaddr_group_eq(const qr_netaddr_group_t *a, const qr_netaddr_group_t *b) {
  return !memcmp(a, b, sizeof *a);
}

#endif
