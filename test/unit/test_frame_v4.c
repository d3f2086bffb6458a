/* The links' frames: IPv4 and ARP. */
#include "unit/frame_bench.h"

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
  expect_udp_round_trip(&self4, &peer4);
  expect_neigh_round_trip(&self4, &peer4);
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
  size_t sz = good_udp(p, &self4, 100);
  for (size_t n = 0; n < sz; n++) assert_int_equal(parse(p, n, &f), QR_FRAME_BAD);
  good_neigh(p, &self4, QR_FRAME_ASK);
  for (size_t n = 0; n < ETHER_SZ + ARP_SZ; n++) assert_int_equal(parse(p, n, &f), QR_FRAME_BAD);
  assert_int_equal(parse(p, ETHER_SZ + ARP_SZ, &f), QR_FRAME_NEIGH);
}

/* Any single changed byte of the headers or the payload is seen, except where it changes nothing
 * for us. */
static void test_every_byte_counts(void **state) {
  (void)state;
  uint8_t p[FRAME_MAX_SZ];
  qr_frame_t f;
  size_t sz = good_udp(p, &self4, 60);
  for (size_t i = 12; i < sz; i++) {
    for (int bit = 0; bit < 8; bit++) {
      p[i] ^= (uint8_t)(1 << bit);
      assert_int_not_equal(parse(p, sz, &f), QR_FRAME_UDP);
      p[i] ^= (uint8_t)(1 << bit);
    }
  }
  assert_int_equal(parse(p, sz, &f), QR_FRAME_UDP);
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
    size_t sz = good_udp(p, &self4, 100);
    if (changes[i].at == 34 || changes[i].at == 36 || changes[i].at == 26)
      qr_st16(p + 40, 0); /* leave the checksum out of it */
    expect_change(i, sz, &changes[i], mend_ip, p);
  }
  size_t sz = good_udp(p, &self4, 100);
  qr_st16(p + 40, 0); /* no checksum is a valid choice */
  assert_int_equal(parse(p, sz, &f), QR_FRAME_UDP);
  p[50] ^= 1;
  assert_int_equal(parse(p, sz, &f), QR_FRAME_UDP);
  good_udp(p, &self4, 100);
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
  size_t sz = good_udp(p, &self4, 50);
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
    size_t sz = good_neigh(p, &self4, i % 2 ? QR_FRAME_ANSWER : QR_FRAME_ASK);
    expect_change(i, sz, &changes[i], mend_ip, p);
  }
  good_neigh(p, &self4, QR_FRAME_ASK);
  p[6] = p[22] = 0x03; /* a multicast sender, consistently */
  assert_int_equal(parse(p, ARP_FRAME_SZ, &f), QR_FRAME_BAD);
  good_neigh(p, &self4, QR_FRAME_ANSWER);
  memset(p, 0xff, 6); /* an answer to everybody */
  assert_int_equal(parse(p, ARP_FRAME_SZ, &f), QR_FRAME_BAD);
}

static void test_random_frames(void **state) {
  (void)state;
  parse_random(&self4, mend_ip);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_known_bytes),         cmocka_unit_test(test_round_trip),
      cmocka_unit_test(test_sum_is_never_absent), cmocka_unit_test(test_truncation),
      cmocka_unit_test(test_every_byte_counts),   cmocka_unit_test(test_bad_udp),
      cmocka_unit_test(test_ip_options),          cmocka_unit_test(test_bad_arp),
      cmocka_unit_test(test_random_frames),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
