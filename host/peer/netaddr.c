#include "peer/netaddr.h"

#include <stdio.h>

#define PORT_MIN 1024u
#define V4_GROUP_SZ 14u /* bytes of ::ffff:a.b.c.d in a group: the /16 */
#define V6_GROUP_SZ 4u  /* the /32 */

typedef struct {
  uint8_t ip[16];
  uint8_t bits;
  uint8_t scope; /* enum qr_netaddr_scope */
} range_t;

#define V4(a, b, c, n, scope)                                                                      \
  { {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, 0}, 96 + (n), scope }
#define V6(a, b, c, d, n, scope)                                                                   \
  { {a, b, c, d}, n, scope }

/* The first that fits decides. IANA's registries of special addresses. */
static const range_t ranges[] = {
    V4(0, 0, 0, 8, QR_NETADDR_NOWHERE),
    V4(10, 0, 0, 8, QR_NETADDR_PRIVATE),
    V4(100, 64, 0, 10, QR_NETADDR_PRIVATE),
    V4(127, 0, 0, 8, QR_NETADDR_LOOPBACK),
    V4(169, 254, 0, 16, QR_NETADDR_NOWHERE),
    V4(172, 16, 0, 12, QR_NETADDR_PRIVATE),
    V4(192, 0, 0, 24, QR_NETADDR_NOWHERE),
    V4(192, 0, 2, 24, QR_NETADDR_NOWHERE),
    V4(192, 168, 0, 16, QR_NETADDR_PRIVATE),
    V4(198, 18, 0, 15, QR_NETADDR_NOWHERE),
    V4(198, 51, 100, 24, QR_NETADDR_NOWHERE),
    V4(203, 0, 113, 24, QR_NETADDR_NOWHERE),
    V4(224, 0, 0, 3, QR_NETADDR_NOWHERE),
    V4(0, 0, 0, 0, QR_NETADDR_PUBLIC),
    {{[15] = 1}, 128, QR_NETADDR_LOOPBACK},
    V6(0xfc, 0, 0, 0, 7, QR_NETADDR_PRIVATE),
    V6(0x20, 0x01, 0x0d, 0xb8, 32, QR_NETADDR_NOWHERE), /* documentation */
    V6(0x20, 0x01, 0, 0, 23, QR_NETADDR_NOWHERE),       /* protocols, Teredo */
    V6(0x20, 0x02, 0, 0, 16, QR_NETADDR_NOWHERE),       /* 6to4 */
    V6(0x20, 0, 0, 0, 3, QR_NETADDR_PUBLIC),
};

static bool inside(const uint8_t ip[16], const range_t *r) {
  uint32_t whole = r->bits / 8u, rest = r->bits % 8u;
  if (memcmp(ip, r->ip, whole)) return false;
  return !rest || !((ip[whole] ^ r->ip[whole]) >> (8 - rest));
}

enum qr_netaddr_scope qr_netaddr_scope(const qr_link_addr_t *a) {
  if (!a->port) return QR_NETADDR_NOWHERE;
  for (size_t i = 0; i < QR_ARRAY_CNT(ranges); i++) {
    if (inside(a->ip, &ranges[i])) return (enum qr_netaddr_scope)ranges[i].scope;
  }
  return QR_NETADDR_NOWHERE;
}

static bool is_v4(const qr_link_addr_t *a) {
  static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
  return !memcmp(a->ip, mapped, sizeof mapped);
}

qr_netaddr_group_t qr_netaddr_group(const qr_link_addr_t *a) {
  qr_netaddr_group_t g = {{0}};
  enum qr_netaddr_scope scope = qr_netaddr_scope(a);
  size_t sz = sizeof a->ip;
  if (scope == QR_NETADDR_PUBLIC) sz = is_v4(a) ? V4_GROUP_SZ : V6_GROUP_SZ;
  memcpy(g.b, a->ip, sz);
  if (scope == QR_NETADDR_LOOPBACK) qr_st16(g.b + sizeof a->ip, a->port);
  return g;
}

bool qr_netaddr_credible(const qr_link_addr_t *a, const qr_link_addr_t *from) {
  enum qr_netaddr_scope scope = qr_netaddr_scope(a);
  if (a->port < PORT_MIN || scope == QR_NETADDR_NOWHERE) return false;
  return scope == QR_NETADDR_PUBLIC || scope == qr_netaddr_scope(from);
}

char *qr_netaddr_group_str(const qr_link_addr_t *a, char *out) {
  if (qr_netaddr_scope(a) != QR_NETADDR_PUBLIC)
    snprintf(out, 64, "itself");
  else if (is_v4(a))
    snprintf(out, 64, "%u.%u.0.0/16", a->ip[12], a->ip[13]);
  else
    snprintf(out, 64, "%x:%x::/32", a->ip[0] << 8 | a->ip[1], a->ip[2] << 8 | a->ip[3]);
  return out;
}
