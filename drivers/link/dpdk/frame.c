#include "drivers/link/dpdk/frame.h"

#define ETHER_SZ 14u
#define ARP_SZ 28u
#define IPV4_MIN_SZ 20u
#define UDP_SZ 8u
#define TYPE_IPV4 0x0800u
#define TYPE_ARP 0x0806u
#define PROTO_UDP 17u
#define FLAG_DONT_FRAGMENT 0x4000u
#define FRAGMENT_MASK 0x3fffu /* more-fragments flag and offset */

static uint16_t get16(const uint8_t *p) { return (uint16_t)(p[0] << 8 | p[1]); }
static uint32_t get32(const uint8_t *p) { return (uint32_t)get16(p) << 16 | get16(p + 2); }
static void put16(uint8_t *p, uint32_t v) {
  p[0] = (uint8_t)(v >> 8);
  p[1] = (uint8_t)v;
}
static void put32(uint8_t *p, uint32_t v) {
  put16(p, v >> 16);
  put16(p + 2, v & 0xffff);
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

/* Of a UDP datagram of sz bytes with its pseudo header; 0xffff if the datagram's own checksum is
 * right. */
static uint16_t udp_sum(const uint8_t *ip, const uint8_t *udp, size_t sz) {
  uint8_t pseudo[4] = {0, PROTO_UDP};
  put16(pseudo + 2, (uint32_t)sz);
  uint64_t sum = sum_bytes(ip + 12, 8, 0);
  return sum_fold(sum_bytes(udp, sz, sum_bytes(pseudo, sizeof pseudo, sum)));
}

static bool mac_is(const uint8_t *p, const qr_mac_t *mac) {
  return !memcmp(p, mac->b, sizeof mac->b);
}

static bool mac_is_broadcast(const uint8_t *p) {
  static const uint8_t all[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
  return !memcmp(p, all, sizeof all);
}

/* A MAC address that a single sender can have. */
static bool mac_is_unicast(const uint8_t *p) {
  static const uint8_t none[6];
  return !(p[0] & 1) && memcmp(p, none, sizeof none);
}

/* An IPv4 address that a single other host can have. */
static bool ip_is_host(uint32_t ip, uint32_t self) {
  uint32_t top = ip >> 24;
  return top != 0 && top != 127 && top < 224 && ip != self;
}

static enum qr_frame_kind parse_arp(const uint8_t *p, size_t sz, const qr_frame_self_t *self,
                                    qr_frame_t *out) {
  const uint8_t *a = p + ETHER_SZ;
  if (sz < ETHER_SZ + ARP_SZ) return QR_FRAME_BAD;
  if (get16(a) != 1 || get16(a + 2) != TYPE_IPV4 || a[4] != 6 || a[5] != 4) return QR_FRAME_BAD;
  uint16_t op = get16(a + 6);
  if (op != QR_FRAME_ARP_REQUEST && op != QR_FRAME_ARP_REPLY) return QR_FRAME_BAD;
  if (memcmp(a + 8, p + 6, 6) || !mac_is_unicast(a + 8)) return QR_FRAME_BAD;
  if (get32(a + 24) != self->ip) return QR_FRAME_OTHER;
  out->ip = get32(a + 14);
  if (!ip_is_host(out->ip, self->ip)) return QR_FRAME_BAD;
  if (op == QR_FRAME_ARP_REPLY && !mac_is(p, &self->mac))
    return QR_FRAME_BAD; /* an answer comes to who asked */
  out->op = (enum qr_frame_arp_op)op;
  memcpy(out->mac.b, a + 8, 6);
  return QR_FRAME_ARP;
}

static enum qr_frame_kind parse_udp(const uint8_t *ip, size_t ip_sz, size_t header_sz,
                                    const qr_frame_self_t *self, bool checksums_known,
                                    qr_frame_t *out) {
  const uint8_t *u = ip + header_sz;
  if (ip_sz < header_sz + UDP_SZ) return QR_FRAME_BAD;
  size_t udp_sz = get16(u + 4);
  if (udp_sz < UDP_SZ || udp_sz > ip_sz - header_sz) return QR_FRAME_BAD;
  if (get16(u + 2) != self->port) return QR_FRAME_OTHER;
  out->port = get16(u);
  if (!out->port) return QR_FRAME_BAD;
  /* A checksum of zero says that there is none; QUIC authenticates every byte by itself. */
  if (!checksums_known && get16(u + 6) && udp_sum(ip, u, udp_sz) != 0xffff) return QR_FRAME_BAD;
  out->payload = u + UDP_SZ;
  out->payload_sz = udp_sz - UDP_SZ;
  return QR_FRAME_UDP;
}

static enum qr_frame_kind parse_ipv4(const uint8_t *p, size_t sz, const qr_frame_self_t *self,
                                     bool checksums_known, qr_frame_t *out) {
  const uint8_t *ip = p + ETHER_SZ;
  if (sz < ETHER_SZ + IPV4_MIN_SZ || ip[0] >> 4 != 4) return QR_FRAME_BAD;
  size_t header_sz = (size_t)(ip[0] & 15) * 4, ip_sz = get16(ip + 2);
  if (header_sz < IPV4_MIN_SZ || header_sz > ip_sz || ip_sz > sz - ETHER_SZ) return QR_FRAME_BAD;
  if (!checksums_known && sum_fold(sum_bytes(ip, header_sz, 0)) != 0xffff) return QR_FRAME_BAD;
  if (!mac_is(p, &self->mac) || get32(ip + 16) != self->ip || ip[9] != PROTO_UDP)
    return QR_FRAME_OTHER;
  if (get16(ip + 6) & FRAGMENT_MASK) return QR_FRAME_OTHER; /* QUIC never fragments */
  out->ip = get32(ip + 12);
  if (!ip_is_host(out->ip, self->ip) || !mac_is_unicast(p + 6)) return QR_FRAME_BAD;
  memcpy(out->mac.b, p + 6, 6);
  return parse_udp(ip, ip_sz, header_sz, self, checksums_known, out);
}

enum qr_frame_kind qr_frame_parse(const uint8_t *p, size_t sz, const qr_frame_self_t *self,
                                  bool checksums_known, qr_frame_t *out) {
  if (sz < ETHER_SZ) return QR_FRAME_BAD;
  if (!mac_is(p, &self->mac) && !mac_is_broadcast(p)) return QR_FRAME_OTHER;
  switch (get16(p + 12)) {
  case TYPE_ARP: return parse_arp(p, sz, self, out);
  case TYPE_IPV4: return parse_ipv4(p, sz, self, checksums_known, out);
  default: return QR_FRAME_OTHER;
  }
}

static void put_ether(uint8_t *p, const uint8_t *to, const qr_mac_t *from, uint32_t type) {
  memcpy(p, to, 6);
  memcpy(p + 6, from->b, 6);
  put16(p + 12, type);
}

void qr_frame_put_udp(uint8_t *p, const qr_frame_self_t *self, const qr_mac_t *to, uint32_t ip,
                      uint16_t port, size_t payload_sz) {
  uint8_t *h = p + ETHER_SZ, *u = h + IPV4_MIN_SZ;
  size_t udp_sz = UDP_SZ + payload_sz;
  put_ether(p, to->b, &self->mac, TYPE_IPV4);
  memset(h, 0, IPV4_MIN_SZ);
  h[0] = 0x45;
  put16(h + 2, (uint32_t)(IPV4_MIN_SZ + udp_sz));
  put16(h + 6, FLAG_DONT_FRAGMENT);
  h[8] = 64;
  h[9] = PROTO_UDP;
  put32(h + 12, self->ip);
  put32(h + 16, ip);
  qr_st16(h + 10, (uint16_t)~sum_fold(sum_bytes(h, IPV4_MIN_SZ, 0)));
  put16(u, self->port);
  put16(u + 2, port);
  put16(u + 4, (uint32_t)udp_sz);
  qr_st16(u + 6, 0);
  uint16_t sum = (uint16_t)~udp_sum(h, u, udp_sz);
  qr_st16(u + 6, sum ? sum : 0xffff);
}

void qr_frame_put_arp(uint8_t *p, const qr_frame_self_t *self, enum qr_frame_arp_op op,
                      const qr_mac_t *to, uint32_t ip) {
  static const uint8_t all[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
  uint8_t *a = p + ETHER_SZ;
  bool request = op == QR_FRAME_ARP_REQUEST;
  memset(p, 0, QR_FRAME_ARP_SZ);
  put_ether(p, request ? all : to->b, &self->mac, TYPE_ARP);
  put16(a, 1);
  put16(a + 2, TYPE_IPV4);
  a[4] = 6;
  a[5] = 4;
  put16(a + 6, op);
  memcpy(a + 8, self->mac.b, 6);
  put32(a + 14, self->ip);
  if (!request) memcpy(a + 18, to->b, 6);
  put32(a + 24, ip);
}
