/* Sends frames that nobody should send: link_garbage <interface> <victim's MAC> <victim's
   address> <count> <seed> [flood|lies <other's address>]. Random bytes; frames that are nearly
   right; and well-formed datagrams with random and with nearly right QUIC packets in them. flood:
   questions for the victim's MAC from forged neighbours instead, as fast as they go. lies: what can
   be said over IPv6 to make a host lose its neighbour, the other, or its own place. */
#include <linux/if_packet.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/splitmix.h"
#include "drivers/link/dpdk/frame.c"

#define FRAME_MAX_SZ 1514u

static uint64_t state;
static uint32_t draw(uint32_t below) { return (uint32_t)(qr_splitmix_next(&state) % below); }

static void fill(uint8_t *p, size_t sz) {
  for (size_t i = 0; i < sz; i++) p[i] = (uint8_t)draw(256);
}

/* Somebody near the victim, of its family. */
static qr_frame_self_t forge(const qr_link_addr_t *victim, uint16_t port) {
  bool v4 = qr_link_addr_is_v4(victim);
  qr_frame_self_t f = {
      .mac = {{2, 9, 9, 9, 9, (uint8_t)draw(256)}}, .has4 = v4, .has6 = !v4, .port = port};
  uint8_t *ip = v4 ? f.ip4 : f.ip6;
  memcpy(ip, victim->ip, 16);
  ip[15] = (uint8_t)draw(256);
  return f;
}

static size_t datagram(uint8_t *p, const qr_mac_t *mac, const qr_link_addr_t *to) {
  qr_frame_self_t forged = forge(to, (uint16_t)(1 + draw(65535)));
  size_t header_sz = qr_frame_udp_header_sz(to);
  uint8_t *q = p + header_sz;
  size_t sz = draw((uint32_t)(FRAME_MAX_SZ - header_sz + 1));
  fill(q, sz);
  if (sz >= 20 && draw(2)) { /* a long header of QUIC version 1, or of any */
    uint32_t version = draw(4) ? 1 : draw(UINT32_MAX);
    q[0] |= 0xc0;
    put16(q + 1, version >> 16);
    put16(q + 3, version & 0xffff);
    q[5] = (uint8_t)draw(24);
  }
  qr_frame_put_udp(p, &forged, mac, to, (uint8_t)draw(4), 0, sz);
  if (draw(4) == 0) p[header_sz - 2] ^= 1;
  return header_sz + sz;
}

static size_t frame(uint8_t *p, const qr_mac_t *mac, const qr_link_addr_t *to) {
  static const uint32_t types[] = {TYPE_IPV4, TYPE_ARP, TYPE_IPV6};
  size_t sz = 14 + draw(FRAME_MAX_SZ - 13);
  switch (draw(4)) {
  case 0: fill(p, sz); break;
  case 1:
    fill(p, sz);
    memcpy(p, mac->b, 6);
    put16(p + 12, types[draw(3)]);
    break;
  case 2: {
    qr_frame_self_t forged = forge(to, 1);
    sz = qr_frame_put_neigh(p, &forged, draw(2) ? QR_FRAME_ASK : QR_FRAME_ANSWER, mac, to->ip);
    if (draw(2)) p[draw((uint32_t)sz)] = (uint8_t)draw(256);
    break;
  }
  default: sz = datagram(p, mac, to); break;
  }
  return sz;
}

static size_t question(uint8_t *p, const qr_mac_t *mac, const qr_link_addr_t *to) {
  qr_frame_self_t forged = forge(to, 1);
  uint8_t *ip = forged.has4 ? forged.ip4 : forged.ip6;
  ip[13] = (uint8_t)draw(256);
  ip[14] = (uint8_t)draw(256);
  return qr_frame_put_neigh(p, &forged, QR_FRAME_ASK, mac, to->ip);
}

/* ---- lies over IPv6 ---- */

enum {
  ICMPV6_UNREACHABLE = 1,
  ICMPV6_TOO_BIG = 2,
  ICMPV6_MLD_QUERY = 130,
  ICMPV6_MLD_DONE = 132,
  ICMPV6_ROUTER = 134,
  ICMPV6_REDIRECT = 137,
  PROTO_FRAGMENT = 44
};

/* The checksum of a frame that has no header between IPv6's and ICMPv6's. */
static void mend(uint8_t *p) {
  uint8_t *ip = p + ETHER_SZ, *icmp = ip + IPV6_SZ;
  qr_st16(icmp + 2, 0);
  qr_st16(icmp + 2, (uint16_t)~message_sum(ip + 8, 32, PROTO_ICMPV6, icmp, get16(ip + 4)));
}

/* Puts up to 40 extension headers of 8 bytes in front of what the frame carries. */
static size_t chain(uint8_t *p, size_t sz) {
  static const uint8_t kinds[] = {0, 43, 60, PROTO_FRAGMENT, 51, 135};
  uint8_t *ip = p + ETHER_SZ, *body = ip + IPV6_SZ;
  uint32_t cnt = draw(4) ? 1 + draw(2) : 1 + draw(40);
  memmove(body + 8 * cnt, body, sz - ETHER_SZ - IPV6_SZ);
  for (uint32_t i = cnt; i-- > 0;) {
    uint8_t *h = body + 8 * i;
    memset(h, 0, 8);
    h[0] = ip[6];                          /* what stands behind it */
    if (draw(2)) h[3] = (uint8_t)draw(16); /* of a fragment: its offset, and whether more come */
    ip[6] = kinds[draw(QR_ARRAY_CNT(kinds))];
  }
  put16(ip + 4, get16(ip + 4) + 8 * cnt);
  return sz + 8 * (size_t)cnt;
}

/* A message of another type about the other, in a question's place. */
static void say(uint8_t *p, uint8_t type, const qr_link_addr_t *other) {
  uint8_t *icmp = p + ETHER_SZ + IPV6_SZ;
  icmp[0] = type;
  if (type == ICMPV6_ROUTER || type == ICMPV6_TOO_BIG) put16(icmp + 6, draw(1300));
  if (type == ICMPV6_REDIRECT) memcpy(icmp + 8, other->ip, 16);
}

static size_t lie(uint8_t *p, const qr_mac_t *mac, const qr_link_addr_t *to,
                  const qr_link_addr_t *other) {
  static const uint8_t types[] = {ICMPV6_UNREACHABLE, ICMPV6_TOO_BIG, ICMPV6_MLD_QUERY,
                                  ICMPV6_MLD_DONE,    ICMPV6_ROUTER,  ICMPV6_REDIRECT};
  static const uint8_t nobody[16];
  qr_frame_self_t me = forge(to, 1);
  uint8_t *ip = p + ETHER_SZ, *icmp = ip + IPV6_SZ;
  if (draw(2)) memcpy(me.ip6, other->ip, 16);
  me.mac.b[5] = 1; /* one who insists */
  enum qr_frame_op op = draw(2) ? QR_FRAME_ASK : QR_FRAME_ANSWER;
  uint32_t kind = draw(12);
  if (kind == 0) return question(p, mac, to);
  if (kind == 1) memcpy(me.ip6, to->ip, 16);          /* we are the victim */
  if (kind == 2 && op == QR_FRAME_ANSWER) to = other; /* not asked by the victim */
  size_t sz =
      qr_frame_put_neigh(p, &me, op, mac, kind == 3 && op == QR_FRAME_ANSWER ? nobody : to->ip);
  memcpy(p, mac->b, 6);
  switch (kind) {
  case 4: ip[7] = (uint8_t)draw(255); break; /* from behind a router */
  case 5: icmp[2 + draw(2)] ^= (uint8_t)(1 + draw(255)); break;
  case 6: say(p, types[draw(QR_ARRAY_CNT(types))], other); break;
  case 7: memset(ip + 8, 0, 16); break;                      /* from nobody */
  case 8: icmp[ND_SZ + draw(8)] = (uint8_t)draw(256); break; /* the option */
  case 9: icmp[4] = (uint8_t)draw(256); break;               /* an answer's flags */
  default: break;                                            /* well-formed */
  }
  if (kind != 5) mend(p);
  return kind == 10 ? chain(p, sz) : sz;
}

int main(int argc, char **argv) {
  qr_mac_t to;
  qr_link_addr_t addr;
  qr_link_addr_t other;
  bool flood = argc == 7 && !strcmp(argv[6], "flood");
  bool lies = argc == 8 && !strcmp(argv[6], "lies") && qr_link_addr_parse(argv[7], 1, &other);
  if ((argc != 6 && !flood && !lies) ||
      sscanf(argv[2], "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", &to.b[0], &to.b[1], &to.b[2], &to.b[3],
             &to.b[4], &to.b[5]) != 6 ||
      !qr_link_addr_parse(argv[3], 0, &addr)) {
    fprintf(stderr, "usage: link_garbage <interface> <MAC> <address> <count> <seed> "
                    "[flood|lies <address>]\n");
    return 1;
  }
  struct sockaddr_ll ll = {.sll_family = AF_PACKET, .sll_ifindex = (int)if_nametoindex(argv[1])};
  int fd = socket(AF_PACKET, SOCK_RAW, 0);
  if (fd < 0 || !ll.sll_ifindex) {
    perror("link_garbage: packet socket");
    return 1;
  }
  uint8_t p[FRAME_MAX_SZ + 400];
  state = strtoull(argv[5], NULL, 10);
  int cnt = atoi(argv[4]);
  for (int i = 0; i < cnt; i++) {
    size_t sz = flood  ? question(p, &to, &addr)
                : lies ? lie(p, &to, &addr, &other)
                       : frame(p, &to, &addr);
    if (sendto(fd, p, sz, 0, (struct sockaddr *)&ll, sizeof ll) != (ssize_t)sz) {
      perror("link_garbage: sendto");
      return 1;
    }
    if (!flood) usleep(lies ? 100 : 500); /* slower than the victim's receive ring fills */
  }
  close(fd);
  return 0;
}
