/* The links' frames, ARP table, connection-ID map and stream buffers: pure code, compiled in here
   so that it is tested on systems without DPDK, too. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>

#include "base/splitmix.h"
#include "drivers/link/dpdk/frame.c"
#include "drivers/link/dpdk/neigh.c"
#include "drivers/link/dpdk/route.c"
#define find cidmap_find
#define place cidmap_place
#include "drivers/link/quic/cidmap.c"
#undef find
#undef place
#include "drivers/link/quic/stream.c"

#define SECOND UINT64_C(1000000000)
#define FRAME_MAX_SZ 1600

#define IP4(last)                                                                                  \
  { [10] = 0xff, [11] = 0xff, [12] = 10, 80, 0, last }
#define IP6(last)                                                                                  \
  { 0xfd, 0x12, [8] = 1, [15] = last }

static const qr_frame_self_t self = {{{2, 0, 0, 0, 0, 1}}, true, true, IP4(1), IP6(1), 4100};
static const qr_frame_self_t peer = {{{2, 0, 0, 0, 0, 2}}, true, true, IP4(2), IP6(2), 4200};
static const qr_link_addr_t self4 = {IP4(1), 4100}, self6 = {IP6(1), 4100};
static const qr_link_addr_t peer4 = {IP4(2), 4200}, peer6 = {IP6(2), 4200};

static uint64_t rand_state = 1;
static uint32_t draw(uint32_t below) { return (uint32_t)(qr_splitmix_next(&rand_state) % below); }

/* Parses a copy of exactly sz bytes, so that a sanitizer sees every byte read beyond it. */
static enum qr_frame_kind parse(const uint8_t *p, size_t sz, qr_frame_t *f) {
  uint8_t *copy = malloc(sz ? sz : 1);
  assert_non_null(copy);
  memcpy(copy, p, sz);
  enum qr_frame_kind kind = qr_frame_parse(copy, sz, &self, 0, f);
  if (kind == QR_FRAME_UDP) {
    assert_true(f->payload >= copy && f->payload + f->payload_sz <= copy + sz);
    f->payload = p + (f->payload - copy);
  }
  free(copy);
  return kind;
}

/* A good datagram of peer to self with the payload bytes 0, 1, 2, ...; returns the frame's size. */
static size_t good_udp(uint8_t *p, size_t payload_sz) {
  for (size_t i = 0; i < payload_sz; i++) p[QR_FRAME_UDP4_HEADER_SZ + i] = (uint8_t)i;
  qr_frame_put_udp(p, &peer, &self.mac, &self4, 0, 0, payload_sz);
  return QR_FRAME_UDP4_HEADER_SZ + payload_sz;
}

static size_t good_arp(uint8_t *p, enum qr_frame_op op) {
  return qr_frame_put_neigh(p, &peer, op, &self.mac, self.ip4);
}

/* Makes the IPv4 header checksum right again after a change. */
static void mend_ip(uint8_t *p) {
  uint8_t *ip = p + ETHER_SZ;
  qr_st16(ip + 10, 0);
  qr_st16(ip + 10, (uint16_t)~sum_fold(sum_bytes(ip, (size_t)(ip[0] & 15) * 4, 0)));
}

static void test_known_bytes(void **state) {
  (void)state;
  /* Checksums worked out by hand: IPv4 and UDP of 10.80.0.2:4200 -> 10.80.0.1:4100 with the payload
   * "quarry!". */
  uint8_t p[64];
  memcpy(p + QR_FRAME_UDP4_HEADER_SZ, "quarry!", 7);
  qr_frame_put_udp(p, &peer, &self.mac, &self4, 0, 0, 7);
  uint32_t ip_sum = 0x4500 + 35 + 0x4000 + 0x4011 + 0x0a50 + 0x0002 + 0x0a50 + 0x0001;
  ip_sum = ~((ip_sum & 0xffff) + (ip_sum >> 16)) & 0xffff;
  uint32_t udp_sum = 0x0a50 + 0x0002 + 0x0a50 + 0x0001 + 17 + 15 + 4200 + 4100 + 15 + 0x7175 +
                     0x6172 + 0x7279 + 0x2100;
  udp_sum = ~((udp_sum & 0xffff) + (udp_sum >> 16)) & 0xffff;
  assert_int_equal(get16(p + 24), ip_sum);
  assert_int_equal(get16(p + 40), udp_sum);
  static const uint8_t head[] = {2, 0, 0,    0, 0, 1,  2, 0, 0,    0, 0,  2,
                                 8, 0, 0x45, 0, 0, 35, 0, 0, 0x40, 0, 64, 17};
  assert_memory_equal(p, head, sizeof head);
}

static void test_round_trip(void **state) {
  (void)state;
  uint8_t p[FRAME_MAX_SZ];
  qr_frame_t f;
  for (size_t payload_sz = 0; payload_sz <= 1500 - 28; payload_sz++) {
    size_t sz = good_udp(p, payload_sz);
    memset(p + sz, 0xaa, 18);
    assert_int_equal(parse(p, sz + payload_sz % 19, &f),
                     QR_FRAME_UDP); /* padding behind the datagram is ignored */
    assert_memory_equal(&f.from, &peer4, sizeof peer4);
    assert_memory_equal(&f.mac, &peer.mac, 6);
    assert_int_equal(f.payload_sz, payload_sz);
    assert_ptr_equal(f.payload, p + QR_FRAME_UDP4_HEADER_SZ);
  }
  size_t sz = good_arp(p, QR_FRAME_ASK);
  assert_int_equal(parse(p, sz, &f), QR_FRAME_NEIGH);
  assert_int_equal(f.op, QR_FRAME_ASK);
  assert_memory_equal(f.from.ip, peer.ip4, 16);
  assert_int_equal(f.from.port, 0);
  assert_memory_equal(&f.mac, &peer.mac, 6);
  sz = good_arp(p, QR_FRAME_ANSWER);
  assert_int_equal(parse(p, sz, &f), QR_FRAME_NEIGH);
  assert_int_equal(f.op, QR_FRAME_ANSWER);
}

/* A checksum that comes out as zero is written as its other form: zero would say that there is
 * none. */
static void test_sum_is_never_absent(void **state) {
  (void)state;
  uint8_t p[64];
  uint32_t full_cnt = 0;
  for (uint32_t v = 0; v < 65536; v++) {
    put16(p + QR_FRAME_UDP4_HEADER_SZ, v);
    qr_frame_put_udp(p, &peer, &self.mac, &self4, 0, 0, 2);
    assert_int_not_equal(qr_ld16(p + 40), 0);
    full_cnt += qr_ld16(p + 40) == 0xffff;
  }
  assert_true(full_cnt >= 1);
}

static void test_truncation(void **state) {
  (void)state;
  uint8_t p[FRAME_MAX_SZ];
  qr_frame_t f;
  size_t sz = good_udp(p, 100);
  for (size_t n = 0; n < sz; n++) assert_int_equal(parse(p, n, &f), QR_FRAME_BAD);
  good_arp(p, QR_FRAME_ASK);
  for (size_t n = 0; n < ETHER_SZ + ARP_SZ; n++) assert_int_equal(parse(p, n, &f), QR_FRAME_BAD);
  assert_int_equal(parse(p, ETHER_SZ + ARP_SZ, &f), QR_FRAME_NEIGH);
}

/* Any single changed byte of the headers or the payload is seen, except where it changes nothing
 * for us. */
static void test_every_byte_counts(void **state) {
  (void)state;
  uint8_t p[FRAME_MAX_SZ];
  qr_frame_t f;
  size_t sz = good_udp(p, 60);
  for (size_t i = 12; i < sz; i++) {
    for (int bit = 0; bit < 8; bit++) {
      p[i] ^= (uint8_t)(1 << bit);
      assert_int_not_equal(parse(p, sz, &f), QR_FRAME_UDP);
      p[i] ^= (uint8_t)(1 << bit);
    }
  }
  assert_int_equal(parse(p, sz, &f), QR_FRAME_UDP);
}

typedef struct {
  size_t at;
  uint32_t value;
  int bytes;
  bool mend;
  enum qr_frame_kind kind;
} change_t;

static void apply(uint8_t *p, const change_t *c) {
  for (int i = 0; i < c->bytes; i++)
    p[c->at + (size_t)i] = (uint8_t)(c->value >> 8 * (c->bytes - 1 - i));
  if (c->mend) mend_ip(p);
}

static void test_bad_udp(void **state) {
  (void)state;
  static const change_t changes[] = {
      {0, 0x03, 1, false, QR_FRAME_OTHER},    /* another destination MAC */
      {6, 0x01, 1, false, QR_FRAME_BAD},      /* sender is a multicast MAC */
      {12, 0x86dd, 2, false, QR_FRAME_BAD},   /* IPv6, it says */
      {12, 0x8100, 2, false, QR_FRAME_OTHER}, /* VLAN */
      {14, 0x55, 1, true, QR_FRAME_BAD},      /* version 5 */
      {14, 0x44, 1, true, QR_FRAME_BAD},      /* header of 16 bytes */
      {14, 0x4f, 1, true, QR_FRAME_BAD},      /* header of 60 bytes: the datagram is elsewhere */
      {16, 19, 2, true, QR_FRAME_BAD},        /* total length below the header's */
      {16, 20, 2, true, QR_FRAME_BAD},        /* no room for UDP */
      {16, 27, 2, true, QR_FRAME_BAD},
      {16, 129, 2, true, QR_FRAME_BAD}, /* one byte more than there is */
      {16, 0xffff, 2, true, QR_FRAME_BAD},
      {20, 0x2000, 2, true, QR_FRAME_OTHER}, /* fragments */
      {20, 0x0001, 2, true, QR_FRAME_OTHER},
      {23, 6, 1, true, QR_FRAME_OTHER},        /* TCP */
      {26, 0x00000001, 4, true, QR_FRAME_BAD}, /* senders that cannot be */
      {26, 0x7f000001, 4, true, QR_FRAME_BAD},
      {26, 0xe0000001, 4, true, QR_FRAME_BAD},
      {26, 0xffffffff, 4, true, QR_FRAME_BAD},
      {26, 0x0a500001, 4, true, QR_FRAME_BAD}, /* ourselves */
      {30, 0x0a500003, 4, true, QR_FRAME_OTHER},
      {34, 0, 2, false, QR_FRAME_BAD}, /* port 0 */
      {36, 4101, 2, false, QR_FRAME_OTHER},
      {38, 0, 2, false, QR_FRAME_BAD}, /* UDP length */
      {38, 7, 2, false, QR_FRAME_BAD},
      {38, 109, 2, false, QR_FRAME_BAD},
      {38, 0xffff, 2, false, QR_FRAME_BAD},
      {40, 0x1234, 2, false, QR_FRAME_BAD}, /* checksum */
  };
  uint8_t p[FRAME_MAX_SZ];
  qr_frame_t f;
  for (size_t i = 0; i < QR_ARRAY_CNT(changes); i++) {
    size_t sz = good_udp(p, 100);
    if (changes[i].at == 34 || changes[i].at == 36 || changes[i].at == 26)
      qr_st16(p + 40, 0); /* leave the checksum out of it */
    apply(p, &changes[i]);
    if (parse(p, sz, &f) != changes[i].kind) fail_msg("change %zu at %zu", i, changes[i].at);
  }
  size_t sz = good_udp(p, 100);
  qr_st16(p + 40, 0); /* no checksum is a valid choice */
  assert_int_equal(parse(p, sz, &f), QR_FRAME_UDP);
  p[50] ^= 1;
  assert_int_equal(parse(p, sz, &f), QR_FRAME_UDP);
  good_udp(p, 100);
  p[24] ^= 1; /* the port says that it has looked */
  assert_int_equal(qr_frame_parse(p, sz, &self, QR_FRAME_UDP_KNOWN, &f), QR_FRAME_BAD);
  assert_int_equal(qr_frame_parse(p, sz, &self, QR_FRAME_IP_KNOWN, &f), QR_FRAME_UDP);
  p[40] ^= 1;
  assert_int_equal(qr_frame_parse(p, sz, &self, QR_FRAME_IP_KNOWN, &f), QR_FRAME_BAD);
  assert_int_equal(qr_frame_parse(p, sz, &self, 3, &f), QR_FRAME_UDP);
}

static void test_ip_options(void **state) {
  (void)state;
  uint8_t p[FRAME_MAX_SZ], q[FRAME_MAX_SZ];
  qr_frame_t f;
  size_t sz = good_udp(p, 50);
  memcpy(q, p, 34);
  memset(q + 34, 1, 8); /* two words of no-operation */
  memcpy(q + 42, p + 34, sz - 34);
  q[14] = 0x47;
  put16(q + 16, (uint32_t)(sz - ETHER_SZ + 8));
  mend_ip(q);
  assert_int_equal(parse(q, sz + 8, &f), QR_FRAME_UDP);
  assert_int_equal(f.payload_sz, 50);
  assert_int_equal(f.payload[49], 49);
}

static void test_bad_arp(void **state) {
  (void)state;
  static const change_t changes[] = {
      {6, 0x04, 1, false, QR_FRAME_BAD},    /* Ethernet sender differs */
      {14, 2, 2, false, QR_FRAME_BAD},      /* hardware */
      {16, 0x86dd, 2, false, QR_FRAME_BAD}, /* protocol */
      {18, 8, 1, false, QR_FRAME_BAD},      /* address lengths */
      {19, 16, 1, false, QR_FRAME_BAD},
      {20, 0, 2, false, QR_FRAME_BAD}, /* operation */
      {20, 3, 2, false, QR_FRAME_BAD},
      {28, 0x00000000, 4, false, QR_FRAME_BAD}, /* sender */
      {28, 0x0a500001, 4, false, QR_FRAME_BAD}, /* claims to be us */
      {28, 0xffffffff, 4, false, QR_FRAME_BAD},
      {38, 0x0a500009, 4, false, QR_FRAME_OTHER},
  };
  uint8_t p[FRAME_MAX_SZ];
  qr_frame_t f;
  for (size_t i = 0; i < QR_ARRAY_CNT(changes); i++) {
    size_t sz = good_arp(p, i % 2 ? QR_FRAME_ANSWER : QR_FRAME_ASK);
    apply(p, &changes[i]);
    if (parse(p, sz, &f) != changes[i].kind) fail_msg("change %zu at %zu", i, changes[i].at);
  }
  good_arp(p, QR_FRAME_ASK);
  p[6] = p[22] = 0x03; /* a multicast sender, consistently */
  assert_int_equal(parse(p, ARP_FRAME_SZ, &f), QR_FRAME_BAD);
  good_arp(p, QR_FRAME_ANSWER);
  memset(p, 0xff, 6); /* an answer to everybody */
  assert_int_equal(parse(p, ARP_FRAME_SZ, &f), QR_FRAME_BAD);
}

static void test_random_frames(void **state) {
  (void)state;
  uint8_t p[FRAME_MAX_SZ];
  qr_frame_t f;
  uint32_t kinds[4] = {0};
  for (int i = 0; i < 200000; i++) {
    size_t sz =
        draw(2) ? good_udp(p, draw(80)) : good_arp(p, draw(2) ? QR_FRAME_ANSWER : QR_FRAME_ASK);
    for (uint32_t k = draw(4); k; k--) p[draw((uint32_t)sz)] = (uint8_t)draw(256);
    if (draw(4) == 0) mend_ip(p);
    kinds[parse(p, draw(8) ? sz : draw((uint32_t)sz + 1), &f)]++;
  }
  for (int k = 0; k < 4; k++) assert_true(kinds[k] > 1000);
}

/* ---- IPv6 ---- */

static size_t good_udp6(uint8_t *p, size_t payload_sz) {
  for (size_t i = 0; i < payload_sz; i++) p[QR_FRAME_UDP6_HEADER_SZ + i] = (uint8_t)i;
  qr_frame_put_udp(p, &peer, &self.mac, &self6, 2, 0, payload_sz);
  return QR_FRAME_UDP6_HEADER_SZ + payload_sz;
}

static size_t good_nd(uint8_t *p, enum qr_frame_op op) {
  return qr_frame_put_neigh(p, &peer, op, &self.mac, self.ip6);
}

/* Makes the UDP or ICMPv6 checksum right again after a change. */
static void mend_v6(uint8_t *p) {
  uint8_t *ip = p + ETHER_SZ, *body = ip + IPV6_SZ, proto = ip[6] == PROTO_UDP ? PROTO_UDP : 58;
  uint8_t *sum = body + (ip[6] == PROTO_UDP ? 6 : 2);
  qr_st16(sum, 0);
  qr_st16(sum, (uint16_t)~message_sum(ip + 8, 32, proto, body, get16(ip + 4)));
}

static void test_v6_known_bytes(void **state) {
  (void)state;
  /* The question about fd12::1:0:0:2 (10 words by hand), from fd12::1:0:0:1. */
  uint8_t p[QR_FRAME_NEIGH_MAX_SZ];
  assert_int_equal(qr_frame_put_neigh(p, &self, QR_FRAME_ASK, NULL, peer.ip6), 86);
  static const uint8_t head[] = {0x33, 0x33, 0xff, 0,    0, 2, 2, 0, 0,  0,  0,
                                 1,    0x86, 0xdd, 0x60, 0, 0, 0, 0, 32, 58, 255};
  static const uint8_t to[16] = {0xff, 2, [11] = 1, [12] = 0xff, [15] = 2};
  static const uint8_t option[8] = {1, 1, 2, 0, 0, 0, 0, 1};
  assert_memory_equal(p, head, sizeof head);
  assert_memory_equal(p + 22, self.ip6, 16);
  assert_memory_equal(p + 38, to, 16);
  assert_memory_equal(p + 62, peer.ip6, 16);
  assert_memory_equal(p + 78, option, 8);
  uint32_t sum = 0xfd12 + 0x0100 + 1 + 0xff02 + 1 + 0xff00 + 2 + 32 + 58 + 0x8700 + 0xfd12 +
                 0x0100 + 2 + 0x0101 + 0x0200 + 1;
  sum = (sum & 0xffff) + (sum >> 16);
  assert_int_equal(get16(p + 56), ~((sum & 0xffff) + (sum >> 16)) & 0xffff);
  /* A datagram: traffic class with its ECN bits, hop limit 64. */
  good_udp6(p, 4);
  assert_int_equal(get16(p + 14), 0x6020);
  assert_int_equal(get16(p + 18), 12);
  assert_int_equal(p[20], PROTO_UDP);
  assert_int_equal(p[21], 64);
}

static void test_v6_round_trip(void **state) {
  (void)state;
  uint8_t p[FRAME_MAX_SZ];
  qr_frame_t f;
  for (size_t payload_sz = 0; payload_sz <= 1500 - 48; payload_sz++) {
    size_t sz = good_udp6(p, payload_sz);
    memset(p + sz, 0xaa, 18);
    assert_int_equal(parse(p, sz + payload_sz % 19, &f), QR_FRAME_UDP);
    assert_memory_equal(&f.from, &peer6, sizeof peer6);
    assert_int_equal(f.ecn, 2);
    assert_int_equal(f.payload_sz, payload_sz);
    assert_ptr_equal(f.payload, p + QR_FRAME_UDP6_HEADER_SZ);
  }
  for (int op = QR_FRAME_ASK; op <= QR_FRAME_ANSWER; op++) {
    size_t sz = good_nd(p, (enum qr_frame_op)op);
    /* good_nd asks about self from peer: only then is it ours to answer */
    if (op == QR_FRAME_ASK) assert_memory_equal(p + 62, self.ip6, 16);
    assert_int_equal(parse(p, sz, &f), QR_FRAME_NEIGH);
    assert_int_equal(f.op, op);
    assert_memory_equal(f.from.ip, peer.ip6, 16);
    assert_memory_equal(&f.mac, &peer.mac, 6);
  }
}

static void test_v6_every_byte_counts(void **state) {
  (void)state;
  uint8_t p[FRAME_MAX_SZ];
  qr_frame_t f;
  size_t sz = good_udp6(p, 60);
  for (size_t n = 0; n < sz; n++) assert_int_equal(parse(p, n, &f), QR_FRAME_BAD);
  for (size_t i = 12; i < sz; i++) {
    for (int bit = 0; bit < 8; bit++) {
      /* No checksum covers what routers change, nor the flow label. */
      if (i == 21 || (i >= 16 && i < 18) || i == 15 || (i == 14 && bit < 4)) continue;
      p[i] ^= (uint8_t)(1 << bit);
      if (parse(p, sz, &f) == QR_FRAME_UDP) fail_msg("byte %zu, bit %d", i, bit);
      p[i] ^= (uint8_t)(1 << bit);
    }
  }
  for (int op = QR_FRAME_ASK; op <= QR_FRAME_ANSWER; op++) {
    sz = good_nd(p, (enum qr_frame_op)op);
    for (size_t n = 0; n < sz; n++) assert_int_equal(parse(p, n, &f), QR_FRAME_BAD);
    for (size_t i = 6; i < sz; i++) {
      for (int bit = 0; bit < 8; bit++) {
        if ((i >= 16 && i < 18) || i == 15 || (i == 14 && bit < 4)) continue;
        p[i] ^= (uint8_t)(1 << bit);
        if (parse(p, sz, &f) == QR_FRAME_NEIGH) fail_msg("byte %zu, bit %d", i, bit);
        p[i] ^= (uint8_t)(1 << bit);
      }
    }
  }
}

/* mend: makes the checksum right after it. */
static void check_v6(size_t i, size_t sz, const change_t *c, uint8_t *p) {
  qr_frame_t f;
  for (int k = 0; k < c->bytes; k++)
    p[c->at + (size_t)k] = (uint8_t)(c->value >> 8 * (c->bytes - 1 - k));
  if (c->mend) mend_v6(p);
  if (parse(p, sz, &f) != c->kind) fail_msg("change %zu at %zu", i, c->at);
}

static void test_v6_bad_udp(void **state) {
  (void)state;
  static const change_t changes[] = {
      {0, 0x03, 1, false, QR_FRAME_OTHER},
      {6, 0x01, 1, false, QR_FRAME_BAD},
      {12, 0x0800, 2, false, QR_FRAME_BAD},
      {14, 0x40, 1, true, QR_FRAME_BAD}, /* version 4 */
      {18, 0, 2, false, QR_FRAME_BAD},   /* a jumbogram, or nothing */
      {18, 7, 2, false, QR_FRAME_BAD},   /* no room for UDP */
      {18, 109, 2, false, QR_FRAME_BAD}, /* one byte more than there is */
      {18, 0xffff, 2, false, QR_FRAME_BAD},
      {20, 0, 1, false, QR_FRAME_OTHER},       /* hop-by-hop options */
      {20, 43, 1, false, QR_FRAME_OTHER},      /* a routing header */
      {20, 44, 1, false, QR_FRAME_OTHER},      /* a fragment */
      {20, 58, 1, false, QR_FRAME_OTHER},      /* ICMPv6 of no kind that we know */
      {22, 0xff020000, 4, true, QR_FRAME_BAD}, /* a multicast sender */
      {53, 3, 1, true, QR_FRAME_OTHER},        /* to another host */
      {54, 0, 2, true, QR_FRAME_BAD},          /* port 0 */
      {56, 4101, 2, true, QR_FRAME_OTHER},
      {58, 0, 2, false, QR_FRAME_BAD}, /* UDP length */
      {58, 7, 2, false, QR_FRAME_BAD},
      {58, 109, 2, false, QR_FRAME_BAD},
      {58, 100, 2, false, QR_FRAME_BAD}, /* the checksum is of another length */
      {60, 0, 2, false, QR_FRAME_BAD},   /* no checksum is no choice here */
      {60, 0x1234, 2, false, QR_FRAME_BAD},
  };
  static const uint8_t senders[][16] = {
      {0},                                             /* :: */
      {[15] = 1},                                      /* ::1 */
      {[12] = 10, 80, 0, 2},                           /* ::10.80.0.2 */
      {[10] = 0xff, [11] = 0xff, [12] = 10, 80, 0, 2}, /* IPv4's peer in disguise */
      {0xff, 2, [15] = 1},
      IP6(1), /* ourselves */
  };
  uint8_t p[FRAME_MAX_SZ];
  qr_frame_t f;
  for (size_t i = 0; i < QR_ARRAY_CNT(changes); i++) check_v6(i, good_udp6(p, 100), &changes[i], p);
  for (size_t i = 0; i < QR_ARRAY_CNT(senders); i++) {
    size_t sz = good_udp6(p, 100);
    memcpy(p + 22, senders[i], 16);
    mend_v6(p);
    if (parse(p, sz, &f) != QR_FRAME_BAD) fail_msg("sender %zu", i);
  }
  size_t sz = good_udp6(p, 100);
  p[60] ^= 1; /* the port says that it has looked */
  assert_int_equal(qr_frame_parse(p, sz, &self, 3, &f), QR_FRAME_UDP);
  qr_frame_self_t only4 = self, only6 = self;
  only4.has6 = only6.has4 = false;
  p[60] ^= 1;
  assert_int_equal(qr_frame_parse(p, sz, &only4, 0, &f), QR_FRAME_OTHER);
  sz = good_nd(p, QR_FRAME_ASK);
  assert_int_equal(qr_frame_parse(p, sz, &only4, 0, &f), QR_FRAME_OTHER);
  sz = good_udp(p, 10);
  assert_int_equal(qr_frame_parse(p, sz, &only6, 0, &f), QR_FRAME_OTHER);
  sz = good_arp(p, QR_FRAME_ASK);
  assert_int_equal(qr_frame_parse(p, sz, &only6, 0, &f), QR_FRAME_OTHER);
}

static void test_bad_nd(void **state) {
  (void)state;
  static const change_t asks[] = {
      {6, 0x04, 1, false, QR_FRAME_BAD},       /* Ethernet sender differs from the option */
      {21, 254, 1, false, QR_FRAME_BAD},       /* has crossed a router */
      {22, 0xff020000, 4, true, QR_FRAME_BAD}, /* a multicast sender */
      {54, 133, 1, true, QR_FRAME_OTHER},      /* a router solicitation */
      {54, 134, 1, true, QR_FRAME_OTHER},      /* a router's advertisement: we have our own */
      {54, 137, 1, true, QR_FRAME_OTHER},      /* a redirect */
      {54, 128, 1, true, QR_FRAME_OTHER},      /* a ping */
      {55, 1, 1, true, QR_FRAME_BAD},          /* code */
      {77, 9, 1, true, QR_FRAME_OTHER},        /* about another host */
      {78, 2, 1, true, QR_FRAME_BAD},          /* the option is the target's */
      {79, 0, 1, true, QR_FRAME_BAD},          /* an option of length 0 */
      {79, 2, 1, true, QR_FRAME_BAD},          /* and one that goes on beyond the end */
      {80, 0x03, 1, true, QR_FRAME_BAD},       /* another MAC than the frame's */
  };
  static const change_t answers[] = {
      {0, 0x03, 1, false, QR_FRAME_OTHER},
      {58, 0x20, 1, true, QR_FRAME_OTHER},     /* nobody asked for it */
      {77, 1, 1, true, QR_FRAME_BAD},          /* claims to be us */
      {62, 0xff020000, 4, true, QR_FRAME_BAD}, /* claims to be everybody */
      {78, 1, 1, true, QR_FRAME_BAD},
      {80, 0x03, 1, true, QR_FRAME_BAD},
  };
  uint8_t p[FRAME_MAX_SZ];
  qr_frame_t f;
  for (size_t i = 0; i < QR_ARRAY_CNT(asks); i++)
    check_v6(i, good_nd(p, QR_FRAME_ASK), &asks[i], p);
  for (size_t i = 0; i < QR_ARRAY_CNT(answers); i++)
    check_v6(100 + i, good_nd(p, QR_FRAME_ANSWER), &answers[i], p);
  size_t sz = good_nd(p, QR_FRAME_ANSWER);
  memcpy(p + 62, peer.ip4, 16); /* an IPv4 neighbour, by IPv6 */
  mend_v6(p);
  assert_int_equal(parse(p, sz, &f), QR_FRAME_BAD);
  sz = good_nd(p, QR_FRAME_ANSWER);
  memcpy(p, "\x33\x33\0\0\0\1", 6); /* an answer to everybody */
  assert_int_equal(parse(p, sz, &f), QR_FRAME_OTHER);
  /* Without the option nobody knows whose MAC it would be. */
  sz = good_nd(p, QR_FRAME_ASK);
  put16(p + 18, ND_SZ);
  mend_v6(p);
  assert_int_equal(parse(p, sz, &f), QR_FRAME_BAD);
  /* The option twice; then behind another one, which is skipped. */
  sz = good_nd(p, QR_FRAME_ASK);
  memcpy(p + sz, p + sz - 8, 8);
  put16(p + 18, ND_SZ + 16);
  mend_v6(p);
  assert_int_equal(parse(p, sz + 8, &f), QR_FRAME_BAD);
  p[78] = 14; /* a nonce */
  mend_v6(p);
  assert_int_equal(parse(p, sz + 8, &f), QR_FRAME_NEIGH);
}

/* A host that looks whether our address is free is told, by an answer to everybody. */
static void test_taken_address(void **state) {
  (void)state;
  uint8_t p[FRAME_MAX_SZ];
  qr_frame_t f;
  size_t sz = good_nd(p, QR_FRAME_ASK);
  memset(p + 22, 0, 16);
  mend_v6(p);
  assert_int_equal(parse(p, sz, &f), QR_FRAME_BAD); /* must not carry the option */
  put16(p + 18, ND_SZ);
  mend_v6(p);
  assert_int_equal(parse(p, sz - 8, &f), QR_FRAME_NEIGH);
  assert_memory_equal(f.from.ip, none, 16);
  sz = qr_frame_put_neigh(p, &self, QR_FRAME_ANSWER, &f.mac, f.from.ip);
  static const uint8_t all[16] = {0xff, 2, [15] = 1};
  assert_memory_equal(p, "\x33\x33\0\0\0\1", 6);
  assert_memory_equal(p + 38, all, 16);
  assert_int_equal(p[58], ND_FLAG_OVERRIDE);
  assert_memory_equal(p + 62, self.ip6, 16);
  p[77] ^= 1;
  put16(p + 18, ND_SZ);
  assert_int_equal(sz, 86);
}

static void test_member_report(void **state) {
  (void)state;
  uint8_t p[QR_FRAME_MEMBER_SZ];
  static const uint8_t head[] = {0x33, 0x33, 0,    0,    0, 0x16, 2, 0, 0,  0, 0,
                                 1,    0x86, 0xdd, 0x60, 0, 0,    0, 0, 36, 0, 1};
  static const uint8_t to[16] = {0xff, 2, [15] = 0x16};
  static const uint8_t alert[8] = {58, 0, 5, 2, 0, 0, 1, 0};
  static const uint8_t record[20] = {4, [4] = 0xff, 2, [15] = 1, [16] = 0xff, [19] = 1};
  qr_frame_put_member(p, &self);
  assert_memory_equal(p, head, sizeof head);
  assert_memory_equal(p + 22, none, 16);
  assert_memory_equal(p + 38, to, 16);
  assert_memory_equal(p + 54, alert, 8);
  assert_int_equal(get16(p + 62), 0x8f00);
  assert_int_equal(get16(p + 68), 1);
  assert_memory_equal(p + 70, record, 20);
  uint32_t sum = 0xff02 + 0x16 + 28 + 58 + 0x8f00 + 1 + 0x0400 + 0xff02 + 1 + 0xff00 + 1;
  sum = (sum & 0xffff) + (sum >> 16);
  assert_int_equal(get16(p + 64), ~((sum & 0xffff) + (sum >> 16)) & 0xffff);
}

/* The port's checksum: what we write is the pseudo header's sum, to which it adds the rest. */
static void test_sum_by_port(void **state) {
  (void)state;
  uint8_t a[FRAME_MAX_SZ], b[FRAME_MAX_SZ];
  for (int v6 = 0; v6 < 2; v6++) {
    const qr_link_addr_t *to = v6 ? &self6 : &self4;
    size_t header_sz = qr_frame_udp_header_sz(to), udp_sz = 8 + 99;
    memset(a, 7, sizeof a);
    memset(b, 7, sizeof b);
    qr_frame_put_udp(a, &peer, &self.mac, to, 1, 0, 99);
    qr_frame_put_udp(b, &peer, &self.mac, to, 1, 3, 99);
    uint8_t *u = b + header_sz - 8;
    qr_st16(u + 6, (uint16_t)~sum_fold(sum_bytes(u, udp_sz, 0)));
    if (!v6) {
      assert_int_equal(qr_ld16(b + 24), 0);
      qr_st16(b + 24, (uint16_t)~sum_fold(sum_bytes(b + 14, 20, 0)));
    }
    assert_memory_equal(a, b, header_sz + 99);
  }
}

static void test_random_v6_frames(void **state) {
  (void)state;
  uint8_t p[FRAME_MAX_SZ];
  qr_frame_t f;
  uint32_t kinds[4] = {0};
  for (int i = 0; i < 200000; i++) {
    size_t sz =
        draw(2) ? good_udp6(p, draw(80)) : good_nd(p, draw(2) ? QR_FRAME_ANSWER : QR_FRAME_ASK);
    for (uint32_t k = draw(4); k; k--) p[draw((uint32_t)sz)] = (uint8_t)draw(256);
    if (draw(2) == 0 && get16(p + 18) <= sz - 54) mend_v6(p);
    kinds[parse(p, draw(8) ? sz : draw((uint32_t)sz + 1), &f)]++;
  }
  for (int k = 0; k < 4; k++) assert_true(kinds[k] > 1000);
}

/* ---- routes ---- */

static qr_link_addr_t addr(const char *text) {
  qr_link_addr_t a;
  if (!qr_link_addr_parse(text, 1, &a)) fail_msg("%s", text);
  return a;
}

static qr_route_t route(const char *own, uint32_t bits, const char *gateway) {
  qr_route_t r = {.present = true, .prefix_bits = bits, .has_gateway = gateway != NULL};
  memcpy(r.own, addr(own).ip, 16);
  if (gateway) memcpy(r.gateway, addr(gateway).ip, 16);
  return r;
}

static void expect_hop(const qr_routes_t *r, const char *to, const char *hop) {
  qr_link_addr_t a = addr(to);
  const uint8_t *got = qr_route_next_hop(r, &a);
  if (!hop != !got || (hop && memcmp(got, addr(hop).ip, 16) != 0)) fail_msg("to %s", to);
}

static void test_routes(void **state) {
  (void)state;
  qr_routes_t r = {.v4 = route("10.80.0.1", 96 + 22, NULL)};
  expect_hop(&r, "10.80.3.255", "10.80.3.255");
  expect_hop(&r, "10.80.4.0", NULL);
  expect_hop(&r, "10.80.0.1", NULL); /* ourselves */
  expect_hop(&r, "fd00::1", NULL);
  expect_hop(&r, "fe80::1", NULL);
  r.v4 = route("10.80.0.1", 96 + 22, "10.80.0.254");
  expect_hop(&r, "192.0.2.1", "10.80.0.254");
  expect_hop(&r, "2001:db8::1", NULL);
  r.v4 = route("10.80.0.1", 96, NULL);
  expect_hop(&r, "192.0.2.1", "192.0.2.1");
  r.v4 = route("10.80.0.1", 128, "10.80.0.254");
  expect_hop(&r, "10.80.0.2", "10.80.0.254");
  r = (qr_routes_t){.v6 = route("fd00:0:0:8000::1", 65, "fe80::1")};
  expect_hop(&r, "fd00:0:0:8000:7fff::1", "fd00:0:0:8000:7fff::1");
  expect_hop(&r, "fd00:0:0:8000:8000::1", "fe80::1");
  expect_hop(&r, "fe80::9", "fe80::9");
  expect_hop(&r, "febf::9", "febf::9");
  expect_hop(&r, "fec0::9", "fe80::1");
  expect_hop(&r, "10.80.0.2", NULL);
}

/* ---- neighbours ---- */

/* Either family, so that both are tried. */
static qr_link_addr_t host(uint32_t number) {
  qr_link_addr_t a = {IP6(0), 0};
  if (number % 2) a = (qr_link_addr_t){IP4(0), 0};
  qr_st32(a.ip + 12, number);
  return a;
}

static void learn(qr_neigh_t *t, uint32_t ip, uint8_t mac, enum qr_frame_op op, uint64_t now) {
  qr_frame_t f = {.from = host(ip), .mac = {{2, 0, 0, 0, 0, mac}}, .op = op};
  qr_neigh_learn(t, &f, now);
}

static bool look(qr_neigh_t *t, uint32_t ip, uint64_t now, qr_mac_t *mac, bool *ask) {
  return qr_neigh_find(t, host(ip).ip, now, mac, ask);
}

static void test_neigh_asks_and_paces(void **state) {
  (void)state;
  static qr_neigh_t t;
  qr_mac_t mac;
  bool ask;
  uint64_t now = SECOND;
  int asked = 0;
  qr_neigh_init(&t, 12345);
  for (int i = 0; i < 10000; i++, now += SECOND / 1000) { /* ten seconds */
    assert_false(look(&t, 7, now, &mac, &ask));
    asked += ask;
  }
  assert_in_range(asked, 10, 20);
  learn(&t, 7, 9, QR_FRAME_ANSWER, now);
  assert_true(look(&t, 7, now, &mac, &ask));
  assert_int_equal(mac.b[5], 9);
  assert_false(ask);
  now += QR_NEIGH_LIVE_NS;
  assert_true(look(&t, 7, now, &mac, &ask)); /* still used, and asked for again */
  assert_true(ask);
  assert_true(look(&t, 7, now + 1, &mac, &ask));
  assert_false(ask);
  assert_false(look(&t, 7, now + QR_NEIGH_FORGET_NS, &mac, &ask));
  assert_true(ask);
}

static void expect_mac(qr_neigh_t *t, uint32_t ip, uint64_t now, int want) {
  qr_mac_t mac = {{0}};
  bool ask;
  assert_int_equal(look(t, ip, now, &mac, &ask) ? mac.b[5] : -1, want);
}

static void test_neigh_is_hard_to_poison(void **state) {
  (void)state;
  static qr_neigh_t t;
  uint64_t now = SECOND;
  qr_neigh_init(&t, 999);
  learn(&t, 7, 66, QR_FRAME_ANSWER, now); /* an answer nobody asked for */
  expect_mac(&t, 7, now, -1);             /* asks */
  learn(&t, 7, 9, QR_FRAME_ANSWER, now + 1);
  expect_mac(&t, 7, now + 2, 9);
  learn(&t, 7, 66, QR_FRAME_ANSWER, now + 3); /* a second answer */
  expect_mac(&t, 7, now + 4, 9);
  learn(&t, 7, 66, QR_FRAME_ASK, now + 5); /* a question under that address */
  expect_mac(&t, 7, now + 6, 9);
  learn(&t, 8, 10, QR_FRAME_ASK,
        now); /* who asks us is known, so that we can answer what follows */
  expect_mac(&t, 8, now, 10);
  now += QR_NEIGH_LIVE_NS + SECOND;
  expect_mac(&t, 7, now, 9);                  /* asks again */
  learn(&t, 7, 11, QR_FRAME_ANSWER, now + 1); /* the host has a new card */
  expect_mac(&t, 7, now + 2, 11);
  now += QR_NEIGH_LIVE_NS + SECOND;
  expect_mac(&t, 7, now, 11); /* asks, and nobody answers in time */
  learn(&t, 7, 66, QR_FRAME_ANSWER, now + QR_NEIGH_ANSWER_NS);
  expect_mac(&t, 7, now + QR_NEIGH_ANSWER_NS, 11);
}

/* The link was away: a live neighbour is asked for again, and its answer counts. */
static void test_neigh_doubt(void **state) {
  (void)state;
  static qr_neigh_t t;
  qr_mac_t mac;
  bool ask;
  uint64_t now = 100 * SECOND;
  qr_neigh_init(&t, 5);
  expect_mac(&t, 7, now, -1);
  learn(&t, 7, 9, QR_FRAME_ANSWER, now);
  assert_int_equal(qr_neigh_known_cnt(&t, now), 1);
  qr_neigh_doubt(&t, ++now);
  assert_true(look(&t, 7, now, &mac, &ask));
  assert_true(ask);
  learn(&t, 7, 10, QR_FRAME_ASK, now); /* still not by a question of its own */
  expect_mac(&t, 7, now, 9);
  learn(&t, 7, 10, QR_FRAME_ANSWER, now);
  expect_mac(&t, 7, now, 10);
  qr_neigh_init(&t, 5);
  learn(&t, 7, 9, QR_FRAME_ASK, 5);
  qr_neigh_doubt(&t, 10);
  expect_mac(&t, 7, 10, -1);
}

/* A flood of questions from forged addresses does not push out an address in use. */
static void test_neigh_flood(void **state) {
  (void)state;
  static qr_neigh_t t;
  uint64_t now = SECOND;
  qr_neigh_init(&t, UINT64_C(0x9e3779b97f4a7c15));
  expect_mac(&t, 7, now, -1);
  learn(&t, 7, 9, QR_FRAME_ANSWER, now);
  for (uint32_t i = 0; i < 100000; i++) {
    learn(&t, 1000 + i, 66, QR_FRAME_ASK, ++now);
    if (i % 100 == 0) expect_mac(&t, 7, now, 9);
  }
}

/* ---- connection IDs ---- */

static void test_cidmap(void **state) {
  (void)state;
  enum { CNT = 500 };
  static struct {
    uint8_t id[QR_CID_MAX_SZ];
    size_t sz;
    uint32_t value;
  } shadow[CNT];
  const uint64_t key[4] = {1, 2, 3, 4};
  qr_cidmap_t m;
  assert_int_equal(qr_cidmap_init(&m, CNT, key), 0);
  for (int round = 0; round < 100000; round++) {
    uint32_t i = draw(CNT);
    if (shadow[i].value && draw(2)) {
      qr_cidmap_del(&m, shadow[i].id, shadow[i].sz, shadow[i].value + 1); /* not its value: stays */
      assert_int_equal(qr_cidmap_get(&m, shadow[i].id, shadow[i].sz), shadow[i].value);
      qr_cidmap_del(&m, shadow[i].id, shadow[i].sz, shadow[i].value);
      assert_int_equal(qr_cidmap_get(&m, shadow[i].id, shadow[i].sz), 0);
      shadow[i].value = 0;
    } else if (!shadow[i].value) {
      shadow[i].sz = 4 + draw(17);
      for (size_t k = 0; k < shadow[i].sz; k++) shadow[i].id[k] = (uint8_t)draw(256);
      memcpy(shadow[i].id, &i, 4);
      shadow[i].value = 1 + draw(1000);
      assert_true(qr_cidmap_put(&m, shadow[i].id, shadow[i].sz, shadow[i].value));
    }
    i = draw(CNT);
    assert_int_equal(shadow[i].value ? qr_cidmap_get(&m, shadow[i].id, shadow[i].sz) : 0,
                     shadow[i].value);
  }
  for (uint32_t i = 0; i < CNT; i++) {
    assert_int_equal(shadow[i].value ? qr_cidmap_get(&m, shadow[i].id, shadow[i].sz) : 0,
                     shadow[i].value);
  }
  uint8_t id[255] = {0xff};
  assert_false(qr_cidmap_put(&m, id, 21, 1));
  assert_int_equal(qr_cidmap_get(&m, id, 255), 0);
  uint32_t added = 0;
  for (uint32_t i = 0; i < 2 * CNT; i++) {
    memcpy(id + 1, &i, 4);
    added += qr_cidmap_put(&m, id, 8, 1);
  }
  assert_int_equal(m.cnt, CNT); /* full is full */
  assert_true(added < 2 * CNT);
  qr_cidmap_fini(&m);
}

/* ---- stream buffers ---- */

static void test_stream_buffers(void **state) {
  (void)state;
  uint8_t out_mem[97], in_mem[61];
  qr_outq_t out = {.buf = out_mem, .sz = sizeof out_mem};
  qr_inq_t in = {.buf = in_mem, .sz = sizeof in_mem};
  uint64_t put = 0, moved = 0, taken = 0;
  for (int round = 0; round < 200000; round++) {
    uint8_t p[200];
    uint64_t sz = draw(sizeof p), room = qr_outq_room(&out);
    for (uint64_t i = 0; i < sz; i++) p[i] = (uint8_t)((put + i) * 31);
    uint64_t n = qr_outq_put(&out, p, sz);
    assert_int_equal(n, sz < room ? sz : room);
    put += n;
    qr_span_t span[2];
    int cnt = qr_outq_unsent(&out, span);
    uint64_t unsent = 0;
    for (int i = 0; i < cnt; i++) {
      for (size_t k = 0; k < span[i].sz; k++)
        assert_int_equal(span[i].p[k], (uint8_t)((out.sent + unsent + k) * 31));
      unsent += span[i].sz;
    }
    assert_int_equal(unsent, put - out.sent);
    if (cnt) { /* the first piece moves, in part */
      uint64_t part = draw((uint32_t)span[0].sz + 1), free_sz = in.sz - (in.wr - in.rd);
      assert_int_equal(qr_inq_put(&in, span[0].p, part), part <= free_sz);
      if (part <= free_sz) {
        out.sent += part;
        moved += part;
      }
    }
    for (uint64_t k = out.acked; k < out.sent;
         k++) { /* what may have to be sent again is still in place */
      assert_int_equal(out_mem[(k - out.origin) % out.sz], (uint8_t)(k * 31));
    }
    if (draw(2)) qr_outq_ack(&out, out.acked + draw((uint32_t)(out.sent - out.acked) + 1));
    const uint8_t *lent;
    uint64_t lent_sz = qr_inq_lend(&in, &lent);
    for (uint64_t i = 0; i < lent_sz; i++) assert_int_equal(lent[i], (uint8_t)((taken + i) * 31));
    assert_int_equal(qr_inq_release(&in), lent_sz);
    taken += lent_sz;
  }
  assert_true(taken > 1000000 && taken <= moved);
}

/* A stream of small messages stays at the beginning of its memory. */
static void test_quiet_stream_touches_little(void **state) {
  (void)state;
  uint8_t out_mem[200], in_mem[200], p[10] = {0};
  const uint8_t *lent;
  memset(out_mem, 0xee, sizeof out_mem);
  memset(in_mem, 0xee, sizeof in_mem);
  qr_outq_t out = {.buf = out_mem, .sz = sizeof out_mem};
  qr_inq_t in = {.buf = in_mem, .sz = sizeof in_mem};
  for (int i = 0; i < 100; i++) {
    assert_int_equal(qr_outq_put(&out, p, sizeof p), sizeof p);
    out.sent = out.wr;
    qr_outq_ack(&out, out.sent);
    assert_true(qr_inq_put(&in, p, sizeof p));
    assert_int_equal(qr_inq_lend(&in, &lent), sizeof p);
    qr_inq_release(&in);
  }
  for (size_t i = sizeof p; i < sizeof out_mem; i++)
    assert_true(out_mem[i] == 0xee && in_mem[i] == 0xee);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_known_bytes),
      cmocka_unit_test(test_round_trip),
      cmocka_unit_test(test_truncation),
      cmocka_unit_test(test_every_byte_counts),
      cmocka_unit_test(test_bad_udp),
      cmocka_unit_test(test_ip_options),
      cmocka_unit_test(test_bad_arp),
      cmocka_unit_test(test_random_frames),
      cmocka_unit_test(test_v6_known_bytes),
      cmocka_unit_test(test_v6_round_trip),
      cmocka_unit_test(test_v6_every_byte_counts),
      cmocka_unit_test(test_v6_bad_udp),
      cmocka_unit_test(test_bad_nd),
      cmocka_unit_test(test_taken_address),
      cmocka_unit_test(test_member_report),
      cmocka_unit_test(test_sum_by_port),
      cmocka_unit_test(test_random_v6_frames),
      cmocka_unit_test(test_routes),
      cmocka_unit_test(test_neigh_asks_and_paces),
      cmocka_unit_test(test_neigh_is_hard_to_poison),
      cmocka_unit_test(test_neigh_flood),
      cmocka_unit_test(test_neigh_doubt),
      cmocka_unit_test(test_cidmap),
      cmocka_unit_test(test_stream_buffers),
      cmocka_unit_test(test_quiet_stream_touches_little),
      cmocka_unit_test(test_sum_is_never_absent),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
