/* Frames as they come from the wire: ARP, IPv4, IPv6, neighbour discovery, UDP. The first byte says
   whether the port has verified the checksums (bit 0), which families the receiver has (bits 1 and
   2), and whether IPv6's checksum is made right first (bit 3), without which no fuzzer comes far. A
   frame that is accepted must be so for a reason: its payload lies within it, its sender can exist
   and is not the receiver, and the neighbour table then knows at most one host more. The parser is
   compiled in, so that it is fuzzed on systems without DPDK, too. */
#include "drivers/link/dpdk/frame.c"
#include "drivers/link/dpdk/neigh.c"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t sz);

static void mend_ipv6(uint8_t *p, size_t sz) {
  if (sz < ETHER_SZ + IPV6_SZ + 8 || get16(p + 12) != TYPE_IPV6) return;
  uint8_t *ip = p + ETHER_SZ, *body = ip + IPV6_SZ;
  size_t body_sz = get16(ip + 4), at = ip[6] == PROTO_UDP ? 6 : 2;
  if (ip[6] == PROTO_UDP) body_sz = get16(body + 4);
  if (body_sz < 8 || body_sz > sz - ETHER_SZ - IPV6_SZ) return;
  qr_st16(body + at, 0);
  uint16_t sum = (uint16_t)~message_sum(ip + 8, 32, ip[6], body, body_sz);
  qr_st16(body + at, sum ? sum : 0xffff);
}

static void check_neigh(const qr_frame_t *f) {
  static qr_neigh_t table;
  qr_mac_t mac;
  bool ask;
  if (f->op != QR_FRAME_ASK && f->op != QR_FRAME_ANSWER) abort();
  if (!memcmp(f->from.ip, none, sizeof none)) return;
  qr_neigh_init(&table, 1);
  qr_neigh_learn(&table, f, 1);
  /* Unasked, only a question teaches. */
  if (qr_neigh_known_cnt(&table, 1) != (f->op == QR_FRAME_ASK)) abort();
  if (qr_neigh_find(&table, f->from.ip, 2, &mac, &ask) != (f->op == QR_FRAME_ASK)) abort();
  qr_neigh_learn(&table, f, 3);
  if (qr_neigh_known_cnt(&table, 3) != 1) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t sz) {
  qr_frame_self_t self = {{{2, 0, 0, 0, 0, 1}},
                          .ip4 = {[10] = 0xff, [11] = 0xff, [12] = 10, 80, 0, 1},
                          .ip6 = {0xfd, [15] = 1},
                          .port = 4100};
  qr_frame_t f;
  if (!sz) return 0;
  self.has4 = !(data[0] & 2);
  self.has6 = !(data[0] & 4);
  uint8_t *p = malloc(sz); /* of its own, so that a sanitizer sees every byte read beyond it */
  if (!p) return 0;
  memcpy(p, data + 1, --sz);
  if (data[0] & 8) mend_ipv6(p, sz);
  enum qr_frame_kind kind = qr_frame_parse(p, sz, &self, data[0] & 1 ? 3 : 0, &f);
  if (kind == QR_FRAME_UDP &&
      (f.payload < p || f.payload + f.payload_sz > p + sz || !f.from.port || f.ecn > ECN_MASK))
    abort();
  if (kind == QR_FRAME_NEIGH) check_neigh(&f);
  bool looks = kind == QR_FRAME_NEIGH && !memcmp(f.from.ip, none, sizeof none);
  if (kind == QR_FRAME_UDP || kind == QR_FRAME_NEIGH) {
    bool v4 = qr_link_addr_is_v4(&f.from);
    if (!(looks ? self.has6 : v4 ? self.has4 : self.has6)) abort();
    if (!looks &&
        (!qr_frame_is_host(f.from.ip) || !memcmp(f.from.ip, v4 ? self.ip4 : self.ip6, 16)))
      abort();
    if (!mac_is_unicast(f.mac.b)) abort();
  }
  free(p);
  return 0;
}
