/* Sends frames that nobody should send: link_garbage <interface> <victim's MAC> <victim's
   a.b.c.d:port> <count> <seed>. Random bytes; frames that are nearly right; and well-formed
   datagrams with random and with nearly right QUIC packets in them. */
#include <linux/if_packet.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/splitmix.h"
#include "drivers/link/dpdk/frame.c"
#include "port/link.h"

#define FRAME_MAX_SZ 1514u

static uint64_t state;
static uint32_t draw(uint32_t below) { return (uint32_t)(qr_splitmix_next(&state) % below); }

static void fill(uint8_t *p, size_t sz) {
  for (size_t i = 0; i < sz; i++) p[i] = (uint8_t)draw(256);
}

static size_t datagram(uint8_t *p, const qr_mac_t *to, uint32_t ip, uint16_t port) {
  qr_frame_self_t forged = {
      {{2, 9, 9, 9, 9, 9}}, (ip & 0xffffff00) | draw(256), (uint16_t)(1 + draw(65535))};
  uint8_t *q = p + QR_FRAME_UDP_HEADER_SZ;
  size_t sz = draw(1473);
  fill(q, sz);
  if (sz >= 20 && draw(2)) { /* a long header of QUIC version 1, or of any */
    q[0] |= 0xc0;
    put32(q + 1, draw(4) ? 1 : draw(UINT32_MAX));
    q[5] = (uint8_t)draw(24);
  }
  qr_frame_put_udp(p, &forged, to, ip, port, sz);
  if (draw(4) == 0) p[QR_FRAME_UDP_HEADER_SZ - 2] ^= 1;
  return QR_FRAME_UDP_HEADER_SZ + sz;
}

static size_t frame(uint8_t *p, const qr_mac_t *to, uint32_t ip, uint16_t port) {
  size_t sz = 14 + draw(FRAME_MAX_SZ - 13);
  switch (draw(4)) {
  case 0: fill(p, sz); break;
  case 1:
    fill(p, sz);
    memcpy(p, to->b, 6);
    put16(p + 12, draw(2) ? TYPE_IPV4 : TYPE_ARP);
    break;
  case 2: {
    qr_frame_self_t forged = {
        {{2, 9, 9, 9, 9, (uint8_t)draw(256)}}, (ip & 0xffffff00) | draw(256), 1};
    qr_frame_put_arp(p, &forged, draw(2) ? QR_FRAME_ARP_REQUEST : QR_FRAME_ARP_REPLY, to, ip);
    sz = QR_FRAME_ARP_SZ;
    if (draw(2)) p[draw((uint32_t)sz)] = (uint8_t)draw(256);
    break;
  }
  default: sz = datagram(p, to, ip, port); break;
  }
  return sz;
}

int main(int argc, char **argv) {
  qr_mac_t to;
  qr_link_addr_t addr;
  if (argc != 6 ||
      sscanf(argv[2], "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", &to.b[0], &to.b[1], &to.b[2], &to.b[3],
             &to.b[4], &to.b[5]) != 6 ||
      !qr_link_addr_parse(argv[3], 0, &addr)) {
    fprintf(stderr, "usage: link_garbage <interface> <MAC> <a.b.c.d:port> <count> <seed>\n");
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
    size_t sz = frame(p, &to, get32(addr.ip + 12), addr.port);
    if (sendto(fd, p, sz, 0, (struct sockaddr *)&ll, sizeof ll) != (ssize_t)sz) {
      perror("link_garbage: sendto");
      return 1;
    }
    usleep(500); /* slower than the victim's receive ring fills */
  }
  close(fd);
  return 0;
}
