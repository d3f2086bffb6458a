/* link/udp's socket on the loopback: what goes in as datagrams comes out as the same datagrams,
   however the kernel joins and cuts them between. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <unistd.h>

#include "base/err.h"
#include "drivers/link/udp/socket.h"

#define DATAGRAM_SZ 1472u
#define SENT_MAX_CNT 4096u
#define PORT(i) ((uint16_t)(20000 + (getpid() % 10000) * 3 + (i)))

typedef struct {
  uint32_t seq, sz;
  uint8_t ecn;
} datagram_t;

typedef struct {
  datagram_t got[SENT_MAX_CNT];
  uint32_t cnt;
  uint16_t from;
  bool bad;
} sink_t;

static qr_link_addr_t addr(const char *ip, int i) {
  qr_link_addr_t a;
  assert_true(qr_link_addr_parse(ip, PORT(i), &a));
  return a;
}

static void on_datagram(void *ctx, const qr_link_addr_t *from, uint8_t ecn, const uint8_t *p,
                        size_t sz) {
  sink_t *s = ctx;
  datagram_t d = {.sz = (uint32_t)sz, .ecn = ecn};
  s->bad |= sz < sizeof d.seq || from->port != s->from || s->cnt == SENT_MAX_CNT;
  if (s->bad) return;
  memcpy(&d.seq, p, sizeof d.seq);
  for (size_t i = sizeof d.seq; i < sz; i++) s->bad |= p[i] != (uint8_t)(d.seq + i);
  s->got[s->cnt++] = d;
}

static void open_socket(qr_sock_t *s, const char *ip, int i) {
  char why[256] = "";
  qr_link_addr_t a = addr(ip, i);
  int err = qr_sock_open(&a, DATAGRAM_SZ, s, why, sizeof why);
  if (err) print_message("%s\n", why);
  assert_int_equal(err, QR_OK);
}

/* Until cnt have come or none does for a while. */
static void drain(qr_sock_t *s, sink_t *sink, uint32_t cnt) {
  for (int i = 0; i < 2000 && sink->cnt < cnt; i++) {
    if (!qr_sock_receive(s, on_datagram, sink)) usleep(1000);
  }
}

static void converse(const char *ip, bool gso, uint32_t seed) {
  static qr_sock_t from, to[2];
  static sink_t sink[2];
  static datagram_t sent[2][SENT_MAX_CNT];
  uint32_t cnt[2] = {0}, sz = 1200;
  uint8_t ecn = 0;
  int which = 0;
  open_socket(&from, ip, 0);
  for (int i = 0; i < 2; i++) {
    open_socket(&to[i], ip, i + 1);
    sink[i] = (sink_t){.from = PORT(0)};
  }
  if (!gso) from.gso = false;
  for (uint32_t seq = 0; seq < 600; seq++) {
    seed = seed * 1664525u + 1013904223u;
    if (seed >> 28 == 0) which = !which; /* runs of one size to one peer, as QUIC has them */
    if (seed >> 28 == 1) ecn = ecn ? 0 : 2;
    if (seed >> 28 == 2) sz = 4 + (seed >> 8) % (DATAGRAM_SZ - 3);
    uint8_t *p = qr_sock_room(&from);
    assert_non_null(p);
    if (seed >> 28 == 3) { /* changed its mind */
      qr_link_addr_t nobody = addr(ip, 1);
      qr_sock_commit(&from, &nobody, 0, 0);
      continue;
    }
    uint32_t own = seed >> 28 == 4 ? 4 + (seed >> 8) % (sz - 3) : sz; /* a short one in a run */
    qr_link_addr_t a = addr(ip, which + 1);
    for (uint32_t i = 0; i < own; i++) p[i] = (uint8_t)(seq + i);
    memcpy(p, &seq, sizeof seq);
    qr_sock_commit(&from, &a, ecn, own);
    sent[which][cnt[which]++] = (datagram_t){seq, own, ecn};
    if (seq % 50 == 0) qr_sock_flush(&from);
    for (int i = 0; i < 2; i++) drain(&to[i], &sink[i], 0);
    if (seq % 50 == 0) {
      for (int i = 0; i < 2; i++) drain(&to[i], &sink[i], cnt[i]);
    }
  }
  qr_sock_flush(&from);
  for (int i = 0; i < 2; i++) {
    drain(&to[i], &sink[i], cnt[i]);
    assert_false(sink[i].bad);
    assert_int_equal(sink[i].cnt, cnt[i]);
    assert_true(cnt[i] > 50);
    for (uint32_t k = 0; k < cnt[i]; k++) {
      assert_int_equal(sink[i].got[k].seq, sent[i][k].seq);
      assert_int_equal(sink[i].got[k].sz, sent[i][k].sz);
      assert_int_equal(sink[i].got[k].ecn, sent[i][k].ecn);
    }
    assert_int_equal(to[i].rx_dropped, 0);
  }
  assert_int_equal(from.tx_dropped, 0);
  qr_sock_close(&from);
  for (int i = 0; i < 2; i++) qr_sock_close(&to[i]);
}

static void test_converse(void **state) {
  (void)state;
  for (uint32_t seed = 1; seed <= 3; seed++) {
    converse("127.0.0.1", true, seed);
    converse("127.0.0.1", false, seed);
  }
}

/* What the kernel refuses whole and in pieces, as while the own address is gone, is no reason to
   send everything in pieces ever after. */
static void test_refused(void **state) {
  (void)state;
  static qr_sock_t s;
  open_socket(&s, "127.0.0.1", 0);
  bool gso = s.gso;
  qr_link_addr_t nowhere;
  assert_true(qr_link_addr_parse("127.0.0.1", 1, &nowhere));
  nowhere.port = 0;
  for (int i = 0; i < 2; i++) {
    uint8_t *p = qr_sock_room(&s);
    assert_non_null(p);
    memset(p, i, 1200);
    qr_sock_commit(&s, &nowhere, 0, 1200);
  }
  qr_sock_flush(&s);
  assert_int_equal(s.tx_dropped, 2);
  assert_int_equal(s.msg_cnt, 0);
  assert_int_equal(s.gso, gso);
  qr_sock_close(&s);
}

static void test_converse_ipv6(void **state) {
  (void)state;
  if (access("/proc/net/if_inet6", R_OK)) skip();
  qr_sock_t s;
  char why[256];
  qr_link_addr_t a = addr("::1", 0);
  if (qr_sock_open(&a, DATAGRAM_SZ, &s, why, sizeof why)) skip(); /* the loopback has none */
  qr_sock_close(&s);
  converse("::1", true, 4);
  converse("::1", false, 5);
}

static void test_routes(void **state) {
  (void)state;
  qr_sock_t v4 = {.v6 = false}, v6 = {.v6 = true};
  const struct {
    const char *ip;
    bool from4, from6;
  } rows[] = {{"192.0.2.1", true, true},   {"127.0.0.1", true, true},    {"0.0.0.0", false, false},
              {"224.0.0.1", false, false}, {"2001:db8::1", false, true}, {"::", false, false},
              {"ff02::1", false, false}};
  for (size_t i = 0; i < QR_ARRAY_CNT(rows); i++) {
    qr_link_addr_t a = addr(rows[i].ip, 0);
    assert_int_equal(qr_sock_has_route(&v4, &a), rows[i].from4);
    assert_int_equal(qr_sock_has_route(&v6, &a), rows[i].from6);
  }
}

static void test_port_in_use(void **state) {
  (void)state;
  qr_sock_t first, second;
  char why[256] = "";
  open_socket(&first, "127.0.0.1", 0);
  qr_link_addr_t a = addr("127.0.0.1", 0);
  assert_int_equal(qr_sock_open(&a, DATAGRAM_SZ, &second, why, sizeof why), QR_ERR_BUSY);
  assert_non_null(strstr(why, "one port per node"));
  qr_sock_close(&first);
}

/* Nobody listens, and a message that no interface takes: both are the network's loss, not an end.
 */
static void test_nobody(void **state) {
  (void)state;
  static qr_sock_t s;
  open_socket(&s, "127.0.0.1", 0);
  qr_link_addr_t nobody = addr("127.0.0.1", 2), far = addr("192.0.2.1", 2);
  for (int i = 0; i < 100; i++) {
    uint8_t *p = qr_sock_room(&s);
    assert_non_null(p);
    memset(p, 1, 100);
    qr_sock_commit(&s, i % 2 ? &nobody : &far, 0, 100);
    if (i % 7 == 0) qr_sock_flush(&s);
  }
  qr_sock_flush(&s);
  assert_int_equal(s.msg_cnt, 0);
  assert_non_null(qr_sock_room(&s));
  qr_sock_commit(&s, &nobody, 0, 0);
  qr_sock_close(&s);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_converse),      cmocka_unit_test(test_refused),
      cmocka_unit_test(test_converse_ipv6), cmocka_unit_test(test_routes),
      cmocka_unit_test(test_port_in_use),   cmocka_unit_test(test_nobody),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
