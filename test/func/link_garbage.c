/* Sends frames that nobody should send: link_garbage <interface> <victim's MAC> <victim's
   address> <count> <seed> [flood]. Random bytes; frames that are nearly right; and well-formed
   datagrams with random and with nearly right QUIC packets in them. flood: questions for the
   victim's MAC from forged neighbours instead, as fast as they go. */
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

int main(int argc, char **argv) {
  qr_mac_t to;
  qr_link_addr_t addr;
  bool flood = argc == 7 && !strcmp(argv[6], "flood");
  if ((argc != 6 && !flood) ||
      sscanf(argv[2], "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", &to.b[0], &to.b[1], &to.b[2], &to.b[3],
             &to.b[4], &to.b[5]) != 6 ||
      !qr_link_addr_parse(argv[3], 0, &addr)) {
    fprintf(stderr, "usage: link_garbage <interface> <MAC> <address> <count> <seed> [flood]\n");
    return 1;
  }
  struct sockaddr_ll ll = {.sll_family = AF_PACKET, .sll_ifindex = (int)if_nametoindex(argv[1])};
  int fd = socket(AF_PACKET, SOCK_RAW, 0);
  if (fd < 0 || !ll.sll_ifindex) {
    perror("link_garbage: packet socket");
    return 1;
  }
  uint8_t p[FRAME_MAX_SZ + 64];
  state = strtoull(argv[5], NULL, 10);
  int cnt = atoi(argv[4]);
  for (int i = 0; i < cnt; i++) {
    size_t sz = flood ? question(p, &to, &addr) : frame(p, &to, &addr);
    if (sendto(fd, p, sz, 0, (struct sockaddr *)&ll, sizeof ll) != (ssize_t)sz) {
      perror("link_garbage: sendto");
      return 1;
    }
    if (!flood) usleep(500); /* slower than the victim's receive ring fills */
  }
  close(fd);
  return 0;
}
