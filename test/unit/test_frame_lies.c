/* The links' frames: what can be said over IPv6 to make a host believe a wrong neighbour. */
#include "unit/frame_bench.h"

static uint8_t *icmp_of(uint8_t *p) { return p + ETHER_SZ + IPV6_SZ; }

static void mend(uint8_t *p) {
  uint8_t *ip = p + ETHER_SZ, *icmp = icmp_of(p);
  qr_st16(icmp + 2, 0);
  qr_st16(icmp + 2, (uint16_t)~message_sum(ip + 8, 32, PROTO_ICMPV6, icmp, get16(ip + 4)));
}

/* Of 256 types two are neighbours'; the rest, router advertisements, redirects, MLD and reports of
   too large packets among them, is nothing to us, however well it is formed. */
static void test_types(void **state) {
  (void)state;
  uint8_t p[FRAME_MAX_SZ];
  qr_frame_t f;
  for (int op = QR_FRAME_ASK; op <= QR_FRAME_ANSWER; op++) {
    size_t sz = good_neigh(p, &self6, (enum qr_frame_op)op);
    uint8_t own = icmp_of(p)[0];
    for (int type = 0; type < 256; type++) {
      icmp_of(p)[0] = (uint8_t)type;
      mend(p);
      bool nd = type == ICMPV6_ND_ASK || type == ICMPV6_ND_ANSWER;
      enum qr_frame_kind kind = parse(p, sz, &f);
      if (nd ? (type == own) != (kind == QR_FRAME_NEIGH) : kind != QR_FRAME_OTHER)
        fail_msg("type %d as %d", type, own);
    }
  }
}

/* Whatever has crossed a router comes from no neighbour. */
static void test_hops(void **state) {
  (void)state;
  uint8_t p[FRAME_MAX_SZ];
  qr_frame_t f;
  for (int op = QR_FRAME_ASK; op <= QR_FRAME_ANSWER; op++) {
    size_t sz = good_neigh(p, &self6, (enum qr_frame_op)op);
    for (int hops = 0; hops < 256; hops++) {
      p[ETHER_SZ + 7] = (uint8_t)hops;
      assert_int_equal(parse(p, sz, &f), hops == ND_HOPS ? QR_FRAME_NEIGH : QR_FRAME_BAD);
    }
  }
}

/* An answer counts only as one to a question; override and router say nothing to us. */
static void test_flags(void **state) {
  (void)state;
  uint8_t p[FRAME_MAX_SZ];
  qr_frame_t f;
  size_t sz = good_neigh(p, &self6, QR_FRAME_ANSWER);
  for (int flags = 0; flags < 256; flags++) {
    icmp_of(p)[4] = (uint8_t)flags;
    mend(p);
    assert_int_equal(parse(p, sz, &f), flags & ND_FLAG_SOLICITED ? QR_FRAME_NEIGH : QR_FRAME_OTHER);
  }
}

/* Every wrong checksum is seen. */
static void test_checksums(void **state) {
  (void)state;
  uint8_t p[FRAME_MAX_SZ];
  qr_frame_t f;
  size_t sz = good_neigh(p, &self6, QR_FRAME_ASK);
  uint16_t right = get16(icmp_of(p) + 2);
  for (uint32_t sum = 0; sum < 65536; sum++) {
    put16(icmp_of(p) + 2, sum);
    assert_int_equal(parse(p, sz, &f), sum == right ? QR_FRAME_NEIGH : QR_FRAME_BAD);
  }
}

/* Puts cnt extension headers of 8 bytes, of the kind that is drawn or the given one, in front of
   what the frame carries. */
static size_t chain(uint8_t *p, size_t sz, uint32_t cnt, int kind) {
  static const uint8_t kinds[] = {0, 43, 44, 50, 51, 60, 135, 139, 140};
  uint8_t *ip = p + ETHER_SZ, *body = ip + IPV6_SZ;
  memmove(body + 8 * cnt, body, sz - ETHER_SZ - IPV6_SZ);
  for (uint32_t i = cnt; i-- > 0;) {
    memset(body + 8 * i, 0, 8);
    body[8 * i] = ip[6];
    ip[6] = kind < 0 ? kinds[draw(QR_ARRAY_CNT(kinds))] : (uint8_t)kind;
  }
  put16(ip + 4, get16(ip + 4) + 8 * cnt);
  return sz + 8 * (size_t)cnt;
}

/* Nothing is looked for behind extension headers: neither neighbours in fragments, even in one that
   is whole, nor datagrams behind a hundred headers. */
static void test_extension_headers(void **state) {
  (void)state;
  uint8_t p[FRAME_MAX_SZ];
  qr_frame_t f;
  for (int what = 0; what < 3; what++) {
    for (int k = 0; k < 256; k++) {
      size_t sz = what ? good_neigh(p, &self6, (enum qr_frame_op)what) : good_udp(p, &self6, 40);
      if (k == PROTO_UDP || k == PROTO_ICMPV6) continue;
      assert_int_equal(parse(p, chain(p, sz, 1, k), &f), QR_FRAME_OTHER);
    }
    for (uint32_t cnt = 1; cnt <= 100; cnt++) {
      size_t sz = what ? good_neigh(p, &self6, (enum qr_frame_op)what) : good_udp(p, &self6, 40);
      sz = chain(p, sz, cnt, -1);
      assert_int_equal(parse(p, sz, &f), QR_FRAME_OTHER);
      size_t part = draw((uint32_t)sz);
      assert_int_not_equal(parse(p, part, &f), QR_FRAME_NEIGH);
      assert_int_not_equal(parse(p, part, &f), QR_FRAME_UDP);
    }
  }
}

/* Who says to be us, and who looks for a free address as no host does. */
static void test_our_own_address(void **state) {
  (void)state;
  uint8_t p[FRAME_MAX_SZ];
  qr_frame_t f;
  for (int op = QR_FRAME_ASK; op <= QR_FRAME_ANSWER; op++) {
    qr_frame_self_t thief = peer;
    memcpy(thief.ip6, self.ip6, 16);
    size_t sz = qr_frame_put_neigh(p, &thief, (enum qr_frame_op)op, &self.mac, self.ip6);
    assert_int_equal(parse(p, sz, &f), QR_FRAME_BAD);
  }
  size_t sz = good_neigh(p, &self6, QR_FRAME_ASK) - ND_OPTION_SZ;
  memset(p + ETHER_SZ + 8, 0, 16);
  put16(p + ETHER_SZ + 4, ND_SZ);
  mend(p);
  assert_int_equal(parse(p, sz, &f), QR_FRAME_NEIGH);
  memcpy(p + ETHER_SZ + 24, self.ip6, 16); /* put to us alone instead of to the group */
  mend(p);
  assert_int_equal(parse(p, sz, &f), QR_FRAME_BAD);
}

/* Options of every type and length: only the one that belongs there, once and with the MAC address
   of the frame's sender, makes a neighbour. */
static void test_options(void **state) {
  (void)state;
  uint8_t p[FRAME_MAX_SZ];
  qr_frame_t f;
  for (int op = QR_FRAME_ASK; op <= QR_FRAME_ANSWER; op++) {
    for (int type = 0; type < 256; type++) {
      for (int len = 0; len < 4; len++) {
        size_t sz = good_neigh(p, &self6, (enum qr_frame_op)op);
        uint8_t *option = icmp_of(p) + ND_SZ, own = option[0];
        option[0] = (uint8_t)type;
        option[1] = (uint8_t)len;
        mend(p);
        assert_int_equal(parse(p, sz, &f), type == own && len == 1 ? QR_FRAME_NEIGH : QR_FRAME_BAD);
      }
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_types),
      cmocka_unit_test(test_hops),
      cmocka_unit_test(test_flags),
      cmocka_unit_test(test_checksums),
      cmocka_unit_test(test_extension_headers),
      cmocka_unit_test(test_our_own_address),
      cmocka_unit_test(test_options),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
