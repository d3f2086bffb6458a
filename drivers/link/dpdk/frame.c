#include "drivers/link/dpdk/frame.h"

#define ETHER_SZ QR_FRAME_ETHER_SZ
#define ARP_SZ 28u
#define ARP_FRAME_SZ 60u /* padded to the smallest Ethernet frame */
#define IPV4_MIN_SZ 20u
#define IPV6_SZ 40u
#define UDP_SZ 8u
#define ND_SZ 24u /* solicitation or advertisement, without options */
#define ND_OPTION_SZ 8u
#define TYPE_IPV4 0x0800u
#define TYPE_ARP 0x0806u
#define TYPE_IPV6 0x86ddu
#define PROTO_UDP 17u
#define PROTO_ICMPV6 58u
#define ICMPV6_MLD_REPORT 143u
#define ICMPV6_ND_ASK 135u
#define ICMPV6_ND_ANSWER 136u
#define ND_OPTION_SOURCE 1u /* link-layer addresses */
#define ND_OPTION_TARGET 2u
#define ND_FLAG_SOLICITED 0x40u
#define ND_FLAG_OVERRIDE 0x20u
#define ND_HOPS 255u      /* a frame with fewer has crossed a router */
#define MLD_REPORT_SZ 28u /* with one group */
#define MLD_TO_EXCLUDE 4u /* of no source: whoever asks is wanted */
#define HOP_OPTIONS_SZ 8u
#define FLAG_DONT_FRAGMENT 0x4000u
#define FRAGMENT_MASK 0x3fffu /* more-fragments flag and offset */
#define HOPS 64u
#define ECN_MASK 3u

static const uint8_t v4_prefix[12] = {[10] = 0xff, [11] = 0xff};
static const uint8_t none[16];

static uint16_t get16(const uint8_t *p) { return (uint16_t)(p[0] << 8 | p[1]); }
static void put16(uint8_t *p, uint32_t v) {
  p[0] = (uint8_t)(v >> 8);
  p[1] = (uint8_t)v;
}

/* One's complement sum (RFC 1071), in the host's byte order: the sum of swapped words is the
 * swapped sum. */
static uint64_t sum_bytes(const uint8_t *p, size_t sz, uint64_t sum) {
  for (; sz >= 4; p += 4, sz -= 4) sum += qr_ld32(p);
  if (sz >= 2) {
    sum += qr_ld16(p);
    p += 2;
    sz -= 2;
  }
  return sz ? sum + *p : sum;
}

static uint16_t sum_fold(uint64_t sum) {
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return (uint16_t)sum;
}

/* Of the pseudo header: both addresses, addr_sz bytes together, the protocol and the length of what
   follows. */
static uint64_t pseudo_sum(const uint8_t *addrs, size_t addr_sz, uint8_t proto, size_t sz) {
  uint8_t tail[4] = {0, proto};
  put16(tail + 2, (uint32_t)sz);
  return sum_bytes(tail, sizeof tail, sum_bytes(addrs, addr_sz, 0));
}

/* Of a UDP or ICMPv6 message at p with the pseudo header; 0xffff if its own checksum is right. */
static uint16_t message_sum(const uint8_t *addrs, size_t addr_sz, uint8_t proto, const uint8_t *p,
                            size_t sz) {
  return sum_fold(sum_bytes(p, sz, pseudo_sum(addrs, addr_sz, proto, sz)));
}

/* ---- addresses ---- */

static bool mac_is(const uint8_t *p, const qr_mac_t *mac) {
  return !memcmp(p, mac->b, sizeof mac->b);
}

static bool mac_is_broadcast(const uint8_t *p) {
  static const uint8_t all[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
  return !memcmp(p, all, sizeof all);
}

/* A MAC address that a single sender can have. */
static bool mac_is_unicast(const uint8_t *p) { return !(p[0] & 1) && memcmp(p, none, 6); }

qr_mac_t qr_frame_solicited_mac(const uint8_t ip6[16]) {
  return (qr_mac_t){{0x33, 0x33, 0xff, ip6[13], ip6[14], ip6[15]}};
}

static void solicited_ip(const uint8_t ip6[16], uint8_t out[16]) {
  static const uint8_t prefix[13] = {0xff, 2, [11] = 1, [12] = 0xff};
  memcpy(out, prefix, sizeof prefix);
  memcpy(out + 13, ip6 + 13, 3);
}

bool qr_frame_is_host(const uint8_t ip[16]) {
  if (!memcmp(ip, v4_prefix, sizeof v4_prefix)) return ip[12] && ip[12] != 127 && ip[12] < 224;
  /* Multicast; ::, ::1 and the old IPv4-compatible addresses. */
  return ip[0] != 0xff && memcmp(ip, none, 12) != 0;
}

/* An IPv4 address of the wire as ours. */
static void take_ip4(const uint8_t *p, uint8_t ip[16]) {
  memcpy(ip, v4_prefix, sizeof v4_prefix);
  memcpy(ip + 12, p, 4);
}

/* A sender over IPv6. One in IPv4's clothes would be taken for somebody else. */
static bool take_ip6(const uint8_t *p, uint8_t ip[16]) {
  memcpy(ip, p, 16);
  return memcmp(ip, v4_prefix, sizeof v4_prefix) != 0;
}

/* ---- reading ---- */

static enum qr_frame_kind parse_arp(const uint8_t *p, size_t sz, const qr_frame_self_t *self,
                                    qr_frame_t *out) {
  const uint8_t *a = p + ETHER_SZ;
  if (sz < ETHER_SZ + ARP_SZ) return QR_FRAME_BAD;
  if (get16(a) != 1 || get16(a + 2) != TYPE_IPV4 || a[4] != 6 || a[5] != 4) return QR_FRAME_BAD;
  uint16_t op = get16(a + 6);
  if (op != QR_FRAME_ASK && op != QR_FRAME_ANSWER) return QR_FRAME_BAD;
  if (memcmp(a + 8, p + 6, 6) || !mac_is_unicast(a + 8)) return QR_FRAME_BAD;
  if (!self->has4 || memcmp(a + 24, self->ip4 + 12, 4)) return QR_FRAME_OTHER;
  *out = (qr_frame_t){.op = (enum qr_frame_op)op};
  take_ip4(a + 14, out->from.ip);
  if (!qr_frame_is_host(out->from.ip) || !memcmp(out->from.ip, self->ip4, 16)) return QR_FRAME_BAD;
  if (op == QR_FRAME_ANSWER && !mac_is(p, &self->mac))
    return QR_FRAME_BAD; /* an answer comes to who asked */
  memcpy(out->mac.b, a + 8, 6);
  return QR_FRAME_NEIGH;
}

/* Finds the one link-layer address option of that type; each option says its length in units of 8
   bytes. Returns false if the options are malformed; *mac NULL: there is none. */
static bool find_nd_mac(const uint8_t *p, size_t sz, uint8_t type, const uint8_t **mac) {
  *mac = NULL;
  while (sz) {
    if (sz < ND_OPTION_SZ || !p[1] || (size_t)p[1] * 8 > sz) return false;
    if (p[0] == type) {
      if (p[1] != 1 || *mac) return false;
      *mac = p + 2;
    }
    sz -= (size_t)p[1] * 8;
    p += (size_t)p[1] * 8;
  }
  return true;
}

/* A neighbour solicitation or advertisement of icmp_sz bytes; p: the whole frame. */
static enum qr_frame_kind parse_nd(const uint8_t *p, const uint8_t *icmp, size_t icmp_sz,
                                   const qr_frame_self_t *self, qr_frame_t *out) {
  const uint8_t *ip = p + ETHER_SZ, *target = icmp + 8, *mac;
  bool answer = icmp[0] == ICMPV6_ND_ANSWER;
  if (icmp_sz < ND_SZ || icmp[1] || ip[7] != ND_HOPS) return QR_FRAME_BAD;
  if (message_sum(ip + 8, 32, PROTO_ICMPV6, icmp, icmp_sz) != 0xffff) return QR_FRAME_BAD;
  if (!find_nd_mac(icmp + ND_SZ, icmp_sz - ND_SZ, answer ? ND_OPTION_TARGET : ND_OPTION_SOURCE,
                   &mac))
    return QR_FRAME_BAD;
  bool looks = !answer && !memcmp(ip + 8, none, 16); /* whether an address is taken */
  *out = (qr_frame_t){.op = answer ? QR_FRAME_ANSWER : QR_FRAME_ASK};
  if (looks) {
    if (mac || ip[24] != 0xff) return QR_FRAME_BAD; /* it is put to the group */
    if (memcmp(target, self->ip6, 16)) return QR_FRAME_OTHER;
  } else {
    if (!answer && memcmp(target, self->ip6, 16)) return QR_FRAME_OTHER;
    if (answer && !(icmp[4] & ND_FLAG_SOLICITED)) return QR_FRAME_OTHER; /* nobody asked */
    if (answer && (!mac_is(p, &self->mac) || memcmp(ip + 24, self->ip6, 16)))
      return QR_FRAME_BAD; /* an answer comes to who asked */
    if (!take_ip6(answer ? target : ip + 8, out->from.ip) || !qr_frame_is_host(out->from.ip) ||
        !memcmp(out->from.ip, self->ip6, 16))
      return QR_FRAME_BAD;
    if (!mac || memcmp(mac, p + 6, 6)) return QR_FRAME_BAD;
  }
  if (!mac_is_unicast(p + 6)) return QR_FRAME_BAD;
  memcpy(out->mac.b, p + 6, 6);
  return QR_FRAME_NEIGH;
}

/* A UDP datagram in at most u_sz bytes at u; addrs: both IP addresses as they lie in the header. */
static enum qr_frame_kind parse_udp(const uint8_t *u, size_t u_sz, const uint8_t *addrs,
                                    size_t addr_sz, const qr_frame_self_t *self, unsigned known,
                                    qr_frame_t *out) {
  if (u_sz < UDP_SZ) return QR_FRAME_BAD;
  size_t udp_sz = get16(u + 4);
  if (udp_sz < UDP_SZ || udp_sz > u_sz) return QR_FRAME_BAD;
  if (get16(u + 2) != self->port) return QR_FRAME_OTHER;
  out->from.port = get16(u);
  if (!out->from.port) return QR_FRAME_BAD;
  /* Zero says over IPv4 that there is no checksum (QUIC authenticates every byte by itself); over
   * IPv6 there has to be one. */
  bool absent = !get16(u + 6);
  if (absent && addr_sz == 32) return QR_FRAME_BAD;
  if (!(known & QR_FRAME_UDP_KNOWN) && !absent &&
      message_sum(addrs, addr_sz, PROTO_UDP, u, udp_sz) != 0xffff)
    return QR_FRAME_BAD;
  out->payload = u + UDP_SZ;
  out->payload_sz = udp_sz - UDP_SZ;
  return QR_FRAME_UDP;
}

static enum qr_frame_kind parse_ipv4(const uint8_t *p, size_t sz, const qr_frame_self_t *self,
                                     unsigned known, qr_frame_t *out) {
  const uint8_t *ip = p + ETHER_SZ;
  if (sz < ETHER_SZ + IPV4_MIN_SZ || ip[0] >> 4 != 4) return QR_FRAME_BAD;
  size_t header_sz = (size_t)(ip[0] & 15) * 4, ip_sz = get16(ip + 2);
  if (header_sz < IPV4_MIN_SZ || header_sz > ip_sz || ip_sz > sz - ETHER_SZ) return QR_FRAME_BAD;
  if (!(known & QR_FRAME_IP_KNOWN) && sum_fold(sum_bytes(ip, header_sz, 0)) != 0xffff)
    return QR_FRAME_BAD;
  if (!self->has4 || !mac_is(p, &self->mac) || memcmp(ip + 16, self->ip4 + 12, 4) ||
      ip[9] != PROTO_UDP)
    return QR_FRAME_OTHER;
  if (get16(ip + 6) & FRAGMENT_MASK) return QR_FRAME_OTHER; /* QUIC never fragments */
  *out = (qr_frame_t){.ecn = ip[1] & ECN_MASK};
  take_ip4(ip + 12, out->from.ip);
  if (!qr_frame_is_host(out->from.ip) || !memcmp(out->from.ip, self->ip4, 16) ||
      !mac_is_unicast(p + 6))
    return QR_FRAME_BAD;
  memcpy(out->mac.b, p + 6, 6);
  return parse_udp(ip + header_sz, ip_sz - header_sz, ip + 12, 8, self, known, out);
}

static enum qr_frame_kind parse_ipv6(const uint8_t *p, size_t sz, const qr_frame_self_t *self,
                                     unsigned known, qr_frame_t *out) {
  const uint8_t *ip = p + ETHER_SZ;
  if (sz < ETHER_SZ + IPV6_SZ || ip[0] >> 4 != 6) return QR_FRAME_BAD;
  size_t body_sz = get16(ip + 4);
  if (body_sz > sz - ETHER_SZ - IPV6_SZ) return QR_FRAME_BAD;
  if (!self->has6) return QR_FRAME_OTHER;
  if (ip[6] == PROTO_ICMPV6) {
    const uint8_t *icmp = ip + IPV6_SZ;
    uint8_t to[16];
    if (!body_sz || (icmp[0] != ICMPV6_ND_ASK && icmp[0] != ICMPV6_ND_ANSWER))
      return QR_FRAME_OTHER;
    solicited_ip(self->ip6, to);
    if (memcmp(ip + 24, self->ip6, 16) && memcmp(ip + 24, to, 16)) return QR_FRAME_OTHER;
    return parse_nd(p, icmp, body_sz, self, out);
  }
  /* No header but UDP's: neither fragments nor options. */
  if (!mac_is(p, &self->mac) || memcmp(ip + 24, self->ip6, 16) || ip[6] != PROTO_UDP)
    return QR_FRAME_OTHER;
  *out = (qr_frame_t){.ecn = ip[1] >> 4 & ECN_MASK};
  if (!take_ip6(ip + 8, out->from.ip) || !qr_frame_is_host(out->from.ip) ||
      !memcmp(out->from.ip, self->ip6, 16) || !mac_is_unicast(p + 6))
    return QR_FRAME_BAD;
  memcpy(out->mac.b, p + 6, 6);
  return parse_udp(ip + IPV6_SZ, body_sz, ip + 8, 32, self, known, out);
}

enum qr_frame_kind qr_frame_parse(const uint8_t *p, size_t sz, const qr_frame_self_t *self,
                                  unsigned known, qr_frame_t *out) {
  if (sz < ETHER_SZ) return QR_FRAME_BAD;
  qr_mac_t asked = qr_frame_solicited_mac(self->ip6);
  if (!mac_is(p, &self->mac) && !mac_is_broadcast(p) && !(self->has6 && mac_is(p, &asked)))
    return QR_FRAME_OTHER;
  switch (get16(p + 12)) {
  case TYPE_ARP: return parse_arp(p, sz, self, out);
  case TYPE_IPV4: return parse_ipv4(p, sz, self, known, out);
  case TYPE_IPV6: return parse_ipv6(p, sz, self, known, out);
  default: return QR_FRAME_OTHER;
  }
}

/* ---- writing ---- */

static void put_ether(uint8_t *p, const uint8_t *to, const qr_mac_t *from, uint32_t type) {
  memcpy(p, to, 6);
  memcpy(p + 6, from->b, 6);
  put16(p + 12, type);
}

static void put_ipv6(uint8_t *ip, const qr_frame_self_t *self, const uint8_t to[16], uint8_t ecn,
                     uint8_t proto, uint8_t hops, size_t body_sz) {
  memset(ip, 0, 8);
  ip[0] = 0x60;
  ip[1] = (uint8_t)(ecn << 4);
  put16(ip + 4, (uint32_t)body_sz);
  ip[6] = proto;
  ip[7] = hops;
  memcpy(ip + 8, self->ip6, 16);
  memcpy(ip + 24, to, 16);
}

static void put_ipv4(uint8_t *ip, const qr_frame_self_t *self, const uint8_t to[16], uint8_t ecn,
                     unsigned by_port, size_t body_sz) {
  memset(ip, 0, IPV4_MIN_SZ);
  ip[0] = 0x45;
  ip[1] = ecn;
  put16(ip + 2, (uint32_t)(IPV4_MIN_SZ + body_sz));
  put16(ip + 6, FLAG_DONT_FRAGMENT);
  ip[8] = HOPS;
  ip[9] = PROTO_UDP;
  memcpy(ip + 12, self->ip4 + 12, 4);
  memcpy(ip + 16, to + 12, 4);
  if (!(by_port & QR_FRAME_IP_BY_PORT))
    qr_st16(ip + 10, (uint16_t)~sum_fold(sum_bytes(ip, IPV4_MIN_SZ, 0)));
}

void qr_frame_put_udp(uint8_t *p, const qr_frame_self_t *self, const qr_mac_t *mac,
                      const qr_link_addr_t *to, uint8_t ecn, unsigned by_port, size_t payload_sz) {
  bool v4 = qr_link_addr_is_v4(to);
  uint8_t *ip = p + ETHER_SZ, *u = ip + (v4 ? IPV4_MIN_SZ : IPV6_SZ);
  size_t udp_sz = UDP_SZ + payload_sz, addr_sz = v4 ? 8 : 32;
  const uint8_t *addrs = u - addr_sz; /* they end both headers */
  put_ether(p, mac->b, &self->mac, v4 ? TYPE_IPV4 : TYPE_IPV6);
  if (v4)
    put_ipv4(ip, self, to->ip, ecn, by_port, udp_sz);
  else
    put_ipv6(ip, self, to->ip, ecn, PROTO_UDP, HOPS, udp_sz);
  put16(u, self->port);
  put16(u + 2, to->port);
  put16(u + 4, (uint32_t)udp_sz);
  qr_st16(u + 6, 0);
  if (by_port & QR_FRAME_UDP_BY_PORT) {
    qr_st16(u + 6, sum_fold(pseudo_sum(addrs, addr_sz, PROTO_UDP, udp_sz)));
    return;
  }
  uint16_t own = (uint16_t)~message_sum(addrs, addr_sz, PROTO_UDP, u, udp_sz);
  qr_st16(u + 6, own ? own : 0xffff);
}

static size_t put_arp(uint8_t *p, const qr_frame_self_t *self, bool ask, const qr_mac_t *mac,
                      const uint8_t ip[16]) {
  static const uint8_t all[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
  uint8_t *a = p + ETHER_SZ;
  memset(p, 0, ARP_FRAME_SZ);
  put_ether(p, ask ? all : mac->b, &self->mac, TYPE_ARP);
  put16(a, 1);
  put16(a + 2, TYPE_IPV4);
  a[4] = 6;
  a[5] = 4;
  put16(a + 6, ask ? QR_FRAME_ASK : QR_FRAME_ANSWER);
  memcpy(a + 8, self->mac.b, 6);
  memcpy(a + 14, self->ip4 + 12, 4);
  if (!ask) memcpy(a + 18, mac->b, 6);
  memcpy(a + 24, ip + 12, 4);
  return ARP_FRAME_SZ;
}

static size_t put_nd(uint8_t *p, const qr_frame_self_t *self, bool ask, const qr_mac_t *mac,
                     const uint8_t ip[16]) {
  static const uint8_t all_nodes[16] = {0xff, 2, [15] = 1};
  static const qr_mac_t all_nodes_mac = {{0x33, 0x33, 0, 0, 0, 1}};
  uint8_t *h = p + ETHER_SZ, *icmp = h + IPV6_SZ, to[16];
  bool to_all = !ask && !memcmp(ip, none, 16);
  qr_mac_t at = ask ? qr_frame_solicited_mac(ip) : to_all ? all_nodes_mac : *mac;
  if (ask)
    solicited_ip(ip, to);
  else
    memcpy(to, to_all ? all_nodes : ip, 16);
  put_ether(p, at.b, &self->mac, TYPE_IPV6);
  put_ipv6(h, self, to, 0, PROTO_ICMPV6, ND_HOPS, ND_SZ + ND_OPTION_SZ);
  memset(icmp, 0, ND_SZ + ND_OPTION_SZ);
  icmp[0] = ask ? ICMPV6_ND_ASK : ICMPV6_ND_ANSWER;
  if (!ask) icmp[4] = to_all ? ND_FLAG_OVERRIDE : ND_FLAG_SOLICITED | ND_FLAG_OVERRIDE;
  memcpy(icmp + 8, ask ? ip : self->ip6, 16);
  icmp[ND_SZ] = ask ? ND_OPTION_SOURCE : ND_OPTION_TARGET;
  icmp[ND_SZ + 1] = 1;
  memcpy(icmp + ND_SZ + 2, self->mac.b, 6);
  qr_st16(icmp + 2, (uint16_t)~message_sum(h + 8, 32, PROTO_ICMPV6, icmp, ND_SZ + ND_OPTION_SZ));
  return ETHER_SZ + IPV6_SZ + ND_SZ + ND_OPTION_SZ;
}

size_t qr_frame_put_neigh(uint8_t *p, const qr_frame_self_t *self, enum qr_frame_op op,
                          const qr_mac_t *mac, const uint8_t ip[16]) {
  bool v4 = !memcmp(ip, v4_prefix, sizeof v4_prefix), ask = op == QR_FRAME_ASK;
  return v4 ? put_arp(p, self, ask, mac, ip) : put_nd(p, self, ask, mac, ip);
}

void qr_frame_put_member(uint8_t *p, const qr_frame_self_t *self) {
  static const uint8_t routers[16] = {0xff, 2, [15] = 0x16};
  static const qr_mac_t routers_mac = {{0x33, 0x33, 0, 0, 0, 0x16}};
  static const uint8_t alert[HOP_OPTIONS_SZ] = {PROTO_ICMPV6, 0, 5, 2, 0, 0, 1, 0};
  uint8_t *h = p + ETHER_SZ, *icmp = h + IPV6_SZ + HOP_OPTIONS_SZ;
  put_ether(p, routers_mac.b, &self->mac, TYPE_IPV6);
  put_ipv6(h, self, routers, 0, 0, 1, HOP_OPTIONS_SZ + MLD_REPORT_SZ);
  memset(h + 8, 0, 16);
  memcpy(h + IPV6_SZ, alert, sizeof alert);
  memset(icmp, 0, MLD_REPORT_SZ);
  icmp[0] = ICMPV6_MLD_REPORT;
  icmp[7] = 1;
  icmp[8] = MLD_TO_EXCLUDE;
  solicited_ip(self->ip6, icmp + 12);
  qr_st16(icmp + 2, (uint16_t)~message_sum(h + 8, 32, PROTO_ICMPV6, icmp, MLD_REPORT_SZ));
}
