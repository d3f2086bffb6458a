/* The links' frames: IPv6 and neighbour discovery, and what concerns both families. */
#include "unit/frame_bench.h"

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
  good_udp(p, &self6, 4);
  assert_int_equal(get16(p + 14), 0x6020);
  assert_int_equal(get16(p + 18), 12);
  assert_int_equal(p[20], PROTO_UDP);
  assert_int_equal(p[21], 64);
}

static void test_v6_round_trip(void **state) {
  (void)state;
  expect_udp_round_trip(&self6, &peer6);
  expect_neigh_round_trip(&self6, &peer6);
  uint8_t p[QR_FRAME_NEIGH_MAX_SZ];
  good_neigh(p, &self6, QR_FRAME_ASK);
  assert_memory_equal(p + 62, self.ip6, 16); /* about self: only then is it ours to answer */
}

static void test_v6_every_byte_counts(void **state) {
  (void)state;
  uint8_t p[FRAME_MAX_SZ];
  qr_frame_t f;
  size_t sz = good_udp(p, &self6, 60);
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
    sz = good_neigh(p, &self6, (enum qr_frame_op)op);
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
  for (size_t i = 0; i < QR_ARRAY_CNT(changes); i++)
    expect_change(i, good_udp(p, &self6, 100), &changes[i], mend_v6, p);
  for (size_t i = 0; i < QR_ARRAY_CNT(senders); i++) {
    size_t sz = good_udp(p, &self6, 100);
    memcpy(p + 22, senders[i], 16);
    mend_v6(p);
    if (parse(p, sz, &f) != QR_FRAME_BAD) fail_msg("sender %zu", i);
  }
  size_t sz = good_udp(p, &self6, 100);
  p[60] ^= 1; /* the port says that it has looked */
  assert_int_equal(qr_frame_parse(p, sz, &self, 3, &f), QR_FRAME_UDP);
  qr_frame_self_t only4 = self, only6 = self;
  only4.has6 = only6.has4 = false;
  p[60] ^= 1;
  assert_int_equal(qr_frame_parse(p, sz, &only4, 0, &f), QR_FRAME_OTHER);
  sz = good_neigh(p, &self6, QR_FRAME_ASK);
  assert_int_equal(qr_frame_parse(p, sz, &only4, 0, &f), QR_FRAME_OTHER);
  sz = good_udp(p, &self4, 10);
  assert_int_equal(qr_frame_parse(p, sz, &only6, 0, &f), QR_FRAME_OTHER);
  sz = good_neigh(p, &self4, QR_FRAME_ASK);
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
    expect_change(i, good_neigh(p, &self6, QR_FRAME_ASK), &asks[i], mend_v6, p);
  for (size_t i = 0; i < QR_ARRAY_CNT(answers); i++)
    expect_change(100 + i, good_neigh(p, &self6, QR_FRAME_ANSWER), &answers[i], mend_v6, p);
  size_t sz = good_neigh(p, &self6, QR_FRAME_ANSWER);
  memcpy(p + 62, peer.ip4, 16); /* an IPv4 neighbour, by IPv6 */
  mend_v6(p);
  assert_int_equal(parse(p, sz, &f), QR_FRAME_BAD);
  sz = good_neigh(p, &self6, QR_FRAME_ANSWER);
  memcpy(p, "\x33\x33\0\0\0\1", 6); /* an answer to everybody */
  assert_int_equal(parse(p, sz, &f), QR_FRAME_OTHER);
  /* Without the option nobody knows whose MAC it would be. */
  sz = good_neigh(p, &self6, QR_FRAME_ASK);
  put16(p + 18, ND_SZ);
  mend_v6(p);
  assert_int_equal(parse(p, sz, &f), QR_FRAME_BAD);
  /* The option twice; then behind another one, which is skipped. */
  sz = good_neigh(p, &self6, QR_FRAME_ASK);
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
  size_t sz = good_neigh(p, &self6, QR_FRAME_ASK);
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

/* The length field may be among the random bytes. */
static void mend_v6_within(uint8_t *p) {
  if (get16(p + 18) <= 80 + UDP_SZ) mend_v6(p);
}

static void test_random_v6_frames(void **state) {
  (void)state;
  parse_random(&self6, mend_v6_within);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_v6_known_bytes),
      cmocka_unit_test(test_v6_round_trip),
      cmocka_unit_test(test_v6_every_byte_counts),
      cmocka_unit_test(test_v6_bad_udp),
      cmocka_unit_test(test_bad_nd),
      cmocka_unit_test(test_taken_address),
      cmocka_unit_test(test_member_report),
      cmocka_unit_test(test_sum_by_port),
      cmocka_unit_test(test_random_v6_frames),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
