/* Two hosts and the frames between them, for the tests of the links' frames. The code under test is
   compiled in, so that it is tested on systems without DPDK, too, down to its static functions. */
#ifndef QR_TEST_FRAME_BENCH_H
#define QR_TEST_FRAME_BENCH_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>

#include "base/splitmix.h"
#include "drivers/link/dpdk/frame.c"

#define FRAME_MAX_SZ 1600
#define FRAME_ECN 2

#define IP4(last)                                                                                  \
  { [10] = 0xff, [11] = 0xff, [12] = 10, 80, 0, last }
#define IP6(last)                                                                                  \
  { 0xfd, 0x12, [8] = 1, [15] = last }

static const qr_frame_self_t self = {{{2, 0, 0, 0, 0, 1}}, true, true, IP4(1), IP6(1), 4100};
static const qr_frame_self_t peer = {{{2, 0, 0, 0, 0, 2}}, true, true, IP4(2), IP6(2), 4200};
static const qr_link_addr_t self4 = {IP4(1), 4100}, self6 = {IP6(1), 4100};
static const qr_link_addr_t peer4 = {IP4(2), 4200}, peer6 = {IP6(2), 4200};

static uint64_t rand_state = 1;
static inline uint32_t draw(uint32_t below) {
  return (uint32_t)(qr_splitmix_next(&rand_state) % below);
}

/* Parses a copy of exactly sz bytes, so that a sanitizer sees every byte read beyond it. */
static inline enum qr_frame_kind parse(const uint8_t *p, size_t sz, qr_frame_t *f) {
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

/* A good datagram of peer to self4 or self6 with the payload bytes 0, 1, 2, ...; returns the
   frame's size. */
static inline size_t good_udp(uint8_t *p, const qr_link_addr_t *to, size_t payload_sz) {
  size_t header_sz = qr_frame_udp_header_sz(to);
  for (size_t i = 0; i < payload_sz; i++) p[header_sz + i] = (uint8_t)i;
  qr_frame_put_udp(p, &peer, &self.mac, to, FRAME_ECN, 0, payload_sz);
  return header_sz + payload_sz;
}

/* A good question or answer of peer's about or to self4 or self6. */
static inline size_t good_neigh(uint8_t *p, const qr_link_addr_t *to, enum qr_frame_op op) {
  return qr_frame_put_neigh(p, &peer, op, &self.mac, to->ip);
}

/* Datagrams of every size that fits, with and without padding behind them, which is ignored. */
static inline void expect_udp_round_trip(const qr_link_addr_t *to, const qr_link_addr_t *from) {
  uint8_t p[FRAME_MAX_SZ];
  qr_frame_t f;
  size_t header_sz = qr_frame_udp_header_sz(to);
  for (size_t payload_sz = 0; payload_sz <= ETHER_SZ + 1500 - header_sz; payload_sz++) {
    size_t sz = good_udp(p, to, payload_sz);
    memset(p + sz, 0xaa, 18);
    assert_int_equal(parse(p, sz + payload_sz % 19, &f), QR_FRAME_UDP);
    assert_memory_equal(&f.from, from, sizeof *from);
    assert_memory_equal(&f.mac, &peer.mac, 6);
    assert_int_equal(f.ecn, FRAME_ECN);
    assert_int_equal(f.payload_sz, payload_sz);
    assert_ptr_equal(f.payload, p + header_sz);
  }
}

static inline void expect_neigh_round_trip(const qr_link_addr_t *to, const qr_link_addr_t *from) {
  uint8_t p[FRAME_MAX_SZ];
  qr_frame_t f;
  for (int op = QR_FRAME_ASK; op <= QR_FRAME_ANSWER; op++) {
    size_t sz = good_neigh(p, to, (enum qr_frame_op)op);
    assert_int_equal(parse(p, sz, &f), QR_FRAME_NEIGH);
    assert_int_equal(f.op, op);
    assert_memory_equal(f.from.ip, from->ip, 16);
    assert_int_equal(f.from.port, 0);
    assert_memory_equal(&f.mac, &peer.mac, 6);
  }
}

/* What is changed in a good frame, and what the frame is then. mend: the checksum is made right
   again. */
typedef struct {
  size_t at;
  uint32_t value;
  int bytes;
  bool mend;
  enum qr_frame_kind kind;
} change_t;

typedef void (*mend_fn)(uint8_t *p);

static inline void expect_change(size_t i, size_t sz, const change_t *c, mend_fn mend, uint8_t *p) {
  qr_frame_t f;
  for (int k = 0; k < c->bytes; k++)
    p[c->at + (size_t)k] = (uint8_t)(c->value >> 8 * (c->bytes - 1 - k));
  if (c->mend) mend(p);
  if (parse(p, sz, &f) != c->kind) fail_msg("change %zu at %zu", i, c->at);
}

/* Good frames of which up to three bytes are random, some mended and some cut short. */
static inline void parse_random(const qr_link_addr_t *to, mend_fn mend) {
  uint8_t p[FRAME_MAX_SZ];
  qr_frame_t f;
  uint32_t kinds[4] = {0};
  for (int i = 0; i < 200000; i++) {
    size_t sz = draw(2) ? good_udp(p, to, draw(80))
                        : good_neigh(p, to, draw(2) ? QR_FRAME_ANSWER : QR_FRAME_ASK);
    for (uint32_t k = draw(4); k; k--) p[draw((uint32_t)sz)] = (uint8_t)draw(256);
    if (draw(4) == 0) mend(p);
    kinds[parse(p, draw(8) ? sz : draw((uint32_t)sz + 1), &f)]++;
  }
  for (int k = 0; k < 4; k++) assert_true(kinds[k] > 1000);
}

#endif
