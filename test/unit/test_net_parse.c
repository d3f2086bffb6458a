/* The links' frames, ARP table, connection-ID map and stream buffers: pure code, compiled in here
   so that it is tested on systems without DPDK, too. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>

#include "base/splitmix.h"
#include "drivers/link/dpdk/arp.c"
#define find cidmap_find
#define place cidmap_place
#include "drivers/link/quic/cidmap.c"
#undef find
#undef place
#include "drivers/link/dpdk/frame.c"
#include "drivers/link/quic/stream.c"

#define SECOND UINT64_C(1000000000)
#define FRAME_MAX_SZ 1600

static const qr_frame_self_t self = {{{2, 0, 0, 0, 0, 1}}, 0x0a500001, 4100};
static const qr_frame_self_t peer = {{{2, 0, 0, 0, 0, 2}}, 0x0a500002, 4200};

static uint64_t rand_state = 1;
static uint32_t draw(uint32_t below) { return (uint32_t)(qr_splitmix_next(&rand_state) % below); }

/* Parses a copy of exactly sz bytes, so that a sanitizer sees every byte read beyond it. */
static enum qr_frame_kind parse(const uint8_t *p, size_t sz, qr_frame_t *f) {
  uint8_t *copy = malloc(sz ? sz : 1);
  assert_non_null(copy);
  memcpy(copy, p, sz);
  enum qr_frame_kind kind = qr_frame_parse(copy, sz, &self, false, f);
  if (kind == QR_FRAME_UDP) {
    assert_true(f->payload >= copy && f->payload + f->payload_sz <= copy + sz);
    f->payload = p + (f->payload - copy);
  }
  free(copy);
  return kind;
}

/* A good datagram of peer to self with the payload bytes 0, 1, 2, ...; returns the frame's size. */
static size_t good_udp(uint8_t *p, size_t payload_sz) {
  for (size_t i = 0; i < payload_sz; i++) p[QR_FRAME_UDP_HEADER_SZ + i] = (uint8_t)i;
  qr_frame_put_udp(p, &peer, &self.mac, self.ip, self.port, payload_sz);
  return QR_FRAME_UDP_HEADER_SZ + payload_sz;
}

static size_t good_arp(uint8_t *p, enum qr_frame_arp_op op) {
  qr_frame_put_arp(p, &peer, op, &self.mac, self.ip);
  return QR_FRAME_ARP_SZ;
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
  memcpy(p + QR_FRAME_UDP_HEADER_SZ, "quarry!", 7);
  qr_frame_put_udp(p, &peer, &self.mac, self.ip, self.port, 7);
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
  for (size_t payload_sz = 0; payload_sz <= QR_FRAME_MTU - 28; payload_sz++) {
    size_t sz = good_udp(p, payload_sz);
    memset(p + sz, 0xaa, 18);
    assert_int_equal(parse(p, sz + payload_sz % 19, &f),
                     QR_FRAME_UDP); /* padding behind the datagram is ignored */
    assert_int_equal(f.ip, peer.ip);
    assert_int_equal(f.port, peer.port);
    assert_memory_equal(&f.mac, &peer.mac, 6);
    assert_int_equal(f.payload_sz, payload_sz);
    assert_ptr_equal(f.payload, p + QR_FRAME_UDP_HEADER_SZ);
  }
  size_t sz = good_arp(p, QR_FRAME_ARP_REQUEST);
  assert_int_equal(parse(p, sz, &f), QR_FRAME_ARP);
  assert_int_equal(f.op, QR_FRAME_ARP_REQUEST);
  assert_int_equal(f.ip, peer.ip);
  assert_memory_equal(&f.mac, &peer.mac, 6);
  sz = good_arp(p, QR_FRAME_ARP_REPLY);
  assert_int_equal(parse(p, sz, &f), QR_FRAME_ARP);
  assert_int_equal(f.op, QR_FRAME_ARP_REPLY);
}

/* A checksum that comes out as zero is written as its other form: zero would say that there is
 * none. */
static void test_sum_is_never_absent(void **state) {
  (void)state;
  uint8_t p[64];
  uint32_t full_cnt = 0;
  for (uint32_t v = 0; v < 65536; v++) {
    put16(p + QR_FRAME_UDP_HEADER_SZ, v);
    qr_frame_put_udp(p, &peer, &self.mac, self.ip, self.port, 2);
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
  good_arp(p, QR_FRAME_ARP_REQUEST);
  for (size_t n = 0; n < ETHER_SZ + ARP_SZ; n++) assert_int_equal(parse(p, n, &f), QR_FRAME_BAD);
  assert_int_equal(parse(p, ETHER_SZ + ARP_SZ, &f), QR_FRAME_ARP);
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
      {12, 0x86dd, 2, false, QR_FRAME_OTHER}, /* IPv6 */
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
  p[40] ^= 1;
  assert_int_equal(qr_frame_parse(p, sz, &self, true, &f), QR_FRAME_UDP);
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
    size_t sz = good_arp(p, i % 2 ? QR_FRAME_ARP_REPLY : QR_FRAME_ARP_REQUEST);
    apply(p, &changes[i]);
    if (parse(p, sz, &f) != changes[i].kind) fail_msg("change %zu at %zu", i, changes[i].at);
  }
  good_arp(p, QR_FRAME_ARP_REQUEST);
  p[6] = p[22] = 0x03; /* a multicast sender, consistently */
  assert_int_equal(parse(p, QR_FRAME_ARP_SZ, &f), QR_FRAME_BAD);
  good_arp(p, QR_FRAME_ARP_REPLY);
  memset(p, 0xff, 6); /* an answer to everybody */
  assert_int_equal(parse(p, QR_FRAME_ARP_SZ, &f), QR_FRAME_BAD);
}

static void test_random_frames(void **state) {
  (void)state;
  uint8_t p[FRAME_MAX_SZ];
  qr_frame_t f;
  uint32_t kinds[4] = {0};
  for (int i = 0; i < 200000; i++) {
    size_t sz = draw(2) ? good_udp(p, draw(80))
                        : good_arp(p, draw(2) ? QR_FRAME_ARP_REPLY : QR_FRAME_ARP_REQUEST);
    for (uint32_t k = draw(4); k; k--) p[draw((uint32_t)sz)] = (uint8_t)draw(256);
    if (draw(4) == 0) mend_ip(p);
    kinds[parse(p, draw(8) ? sz : draw((uint32_t)sz + 1), &f)]++;
  }
  for (int k = 0; k < 4; k++) assert_true(kinds[k] > 1000);
}

/* ---- ARP table ---- */

static qr_frame_t arp_from(uint32_t ip, uint8_t mac, enum qr_frame_arp_op op) {
  return (qr_frame_t){.ip = ip, .mac = {{2, 0, 0, 0, 0, mac}}, .op = op};
}

static void learn(qr_arp_t *t, uint32_t ip, uint8_t mac, enum qr_frame_arp_op op, uint64_t now) {
  qr_frame_t f = arp_from(ip, mac, op);
  qr_arp_learn(t, &f, now);
}

static void test_arp_asks_and_paces(void **state) {
  (void)state;
  static qr_arp_t t;
  qr_mac_t mac;
  bool ask;
  uint64_t now = SECOND;
  int asked = 0;
  qr_arp_init(&t, 12345);
  for (int i = 0; i < 10000; i++, now += SECOND / 1000) { /* ten seconds */
    assert_false(qr_arp_find(&t, 7, now, &mac, &ask));
    asked += ask;
  }
  assert_in_range(asked, 10, 20);
  learn(&t, 7, 9, QR_FRAME_ARP_REPLY, now);
  assert_true(qr_arp_find(&t, 7, now, &mac, &ask));
  assert_int_equal(mac.b[5], 9);
  assert_false(ask);
  now += QR_ARP_LIVE_NS;
  assert_true(qr_arp_find(&t, 7, now, &mac, &ask)); /* still used, and asked for again */
  assert_true(ask);
  assert_true(qr_arp_find(&t, 7, now + 1, &mac, &ask));
  assert_false(ask);
  assert_false(qr_arp_find(&t, 7, now + QR_ARP_FORGET_NS, &mac, &ask));
  assert_true(ask);
}

static void expect_mac(qr_arp_t *t, uint32_t ip, uint64_t now, int want) {
  qr_mac_t mac = {{0}};
  bool ask;
  assert_int_equal(qr_arp_find(t, ip, now, &mac, &ask) ? mac.b[5] : -1, want);
}

static void test_arp_is_hard_to_poison(void **state) {
  (void)state;
  static qr_arp_t t;
  uint64_t now = SECOND;
  qr_arp_init(&t, 999);
  learn(&t, 7, 66, QR_FRAME_ARP_REPLY, now); /* an answer nobody asked for */
  expect_mac(&t, 7, now, -1);                /* asks */
  learn(&t, 7, 9, QR_FRAME_ARP_REPLY, now + 1);
  expect_mac(&t, 7, now + 2, 9);
  learn(&t, 7, 66, QR_FRAME_ARP_REPLY, now + 3); /* a second answer */
  expect_mac(&t, 7, now + 4, 9);
  learn(&t, 7, 66, QR_FRAME_ARP_REQUEST, now + 5); /* a question under that address */
  expect_mac(&t, 7, now + 6, 9);
  learn(&t, 8, 10, QR_FRAME_ARP_REQUEST,
        now); /* who asks us is known, so that we can answer what follows */
  expect_mac(&t, 8, now, 10);
  now += QR_ARP_LIVE_NS + SECOND;
  expect_mac(&t, 7, now, 9);                     /* asks again */
  learn(&t, 7, 11, QR_FRAME_ARP_REPLY, now + 1); /* the host has a new card */
  expect_mac(&t, 7, now + 2, 11);
  now += QR_ARP_LIVE_NS + SECOND;
  expect_mac(&t, 7, now, 11); /* asks, and nobody answers in time */
  learn(&t, 7, 66, QR_FRAME_ARP_REPLY, now + QR_ARP_ANSWER_NS);
  expect_mac(&t, 7, now + QR_ARP_ANSWER_NS, 11);
}

/* A flood of questions from forged addresses does not push out an address in use. */
static void test_arp_flood(void **state) {
  (void)state;
  static qr_arp_t t;
  uint64_t now = SECOND;
  qr_arp_init(&t, UINT64_C(0x9e3779b97f4a7c15));
  expect_mac(&t, 7, now, -1);
  learn(&t, 7, 9, QR_FRAME_ARP_REPLY, now);
  for (uint32_t i = 0; i < 100000; i++) {
    learn(&t, 1000 + i, 66, QR_FRAME_ARP_REQUEST, ++now);
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
      cmocka_unit_test(test_arp_asks_and_paces),
      cmocka_unit_test(test_arp_is_hard_to_poison),
      cmocka_unit_test(test_arp_flood),
      cmocka_unit_test(test_cidmap),
      cmocka_unit_test(test_stream_buffers),
      cmocka_unit_test(test_quiet_stream_touches_little),
      cmocka_unit_test(test_sum_is_never_absent),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
