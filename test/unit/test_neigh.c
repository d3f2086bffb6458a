/* Whom a frame goes to: the links' routes and their table of neighbours. Pure code, compiled in, so
   that it is tested on systems without DPDK, too. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "drivers/link/dpdk/neigh.c"
#include "drivers/link/dpdk/route.c"

#define SECOND UINT64_C(1000000000)

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
  qr_link_addr_t a = {{0xfd, 0x12, [8] = 1}, 0};
  if (number % 2) a = (qr_link_addr_t){{[10] = 0xff, [11] = 0xff}, 0};
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
  learn(&t, 7, 11, QR_FRAME_ANSWER, now + 1); /* the host has a new card, */
  expect_mac(&t, 7, now + 2, 9);
  now += QR_NEIGH_HOLD_NS; /* for the old one says nothing */
  expect_mac(&t, 7, now, 11);
  now += QR_NEIGH_LIVE_NS + SECOND;
  expect_mac(&t, 7, now, 11); /* asks, and nobody answers in time */
  learn(&t, 7, 66, QR_FRAME_ANSWER, now + QR_NEIGH_ANSWER_NS);
  expect_mac(&t, 7, now + QR_NEIGH_ANSWER_NS, 11);
}

/* Somebody asks under a live neighbour's address from another MAC address: that is asked for
   earlier, though not all the time, and used on until the neighbour itself says otherwise. */
static void test_neigh_hint(void **state) {
  (void)state;
  static qr_neigh_t t;
  qr_mac_t mac;
  bool ask;
  uint64_t now = 100 * SECOND;
  qr_neigh_init(&t, 4711);
  assert_false(look(&t, 7, now, &mac, &ask));
  qr_neigh_heard(&t, host(7).ip, &(qr_mac_t){{2, 0, 0, 0, 0, 9}}, now);
  learn(&t, 7, 66, QR_FRAME_ASK, now + QR_NEIGH_HINT_NS - 1);
  assert_true(look(&t, 7, now + QR_NEIGH_HINT_NS - 1, &mac, &ask));
  assert_false(ask);
  now += QR_NEIGH_HINT_NS;
  learn(&t, 7, 9, QR_FRAME_ASK, now); /* its own questions are none */
  assert_true(look(&t, 7, now, &mac, &ask));
  assert_false(ask);
  now += QR_NEIGH_HINT_NS;
  learn(&t, 7, 66, QR_FRAME_ASK, now);
  assert_true(look(&t, 7, now, &mac, &ask));
  assert_true(ask);
  assert_int_equal(mac.b[5], 9);
  learn(&t, 7, 10, QR_FRAME_ANSWER, now + 1); /* it has a new card */
  learn(&t, 7, 66, QR_FRAME_ASK, now + 2);
  expect_mac(&t, 7, now + 3, 9);
  assert_true(look(&t, 7, now + QR_NEIGH_HOLD_NS, &mac, &ask));
  assert_false(ask);
  assert_int_equal(mac.b[5], 10);
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
  qr_neigh_doubt(&t);
  now++;
  assert_true(look(&t, 7, now, &mac, &ask));
  assert_true(ask);
  learn(&t, 7, 10, QR_FRAME_ASK, now); /* still not by a question of its own */
  expect_mac(&t, 7, now, 9);
  learn(&t, 7, 10, QR_FRAME_ANSWER, now);
  expect_mac(&t, 7, now, 10);
  assert_true(look(&t, 7, now, &mac, &ask));
  assert_false(ask);
}

/* Looks ip up every 10 ms; each question is answered by those of the given MAC addresses that are
   not 0, in their order. Returns for how many looks out of a hundred the answer was best. */
static uint32_t share_of(qr_neigh_t *t, uint32_t ip, uint64_t *now, const uint8_t macs[2],
                         uint8_t best, uint32_t looks) {
  uint32_t right = 0;
  for (uint32_t i = 0; i < looks; i++, *now += SECOND / 100) {
    qr_mac_t mac = {{0}};
    bool ask, known = look(t, ip, *now, &mac, &ask);
    right += known && mac.b[5] == best;
    for (int k = 0; ask && k < 2; k++)
      if (macs[k]) learn(t, ip, macs[k], QR_FRAME_ANSWER, *now + 1 + (uint64_t)k);
  }
  return right * 100 / looks;
}

/* Forged answers that come before the right ones: one is found out within a second, whatever it
   names; one that is always there first gets half of the time, and none at all once the right one
   was heard. One that was heard holds against it from then on. */
static void test_forged_answers(void **state) {
  (void)state;
  static qr_neigh_t t;
  static const uint8_t forged_first[2] = {66, 9}, right[2] = {9, 0};
  uint64_t now = SECOND;
  qr_neigh_init(&t, 31);
  qr_mac_t mac9 = {{2, 0, 0, 0, 0, 9}};
  assert_int_equal(share_of(&t, 7, &now, forged_first, 9, 1), 0);
  share_of(&t, 7, &now, right, 9, 110);
  assert_int_equal(share_of(&t, 7, &now, right, 9, 10000), 100);
  /* Beside a flood of answers with ever other addresses. */
  for (uint32_t i = 0; i < 2000; i++) {
    const uint8_t flood[2] = {(uint8_t)(20 + i % 200), 9};
    now += 1000 * 1000; /* so that its questions are over, too */
    assert_int_equal(share_of(&t, 7, &now, flood, 9, 3), 100);
  }
  /* One that insists. */
  share_of(&t, 8, &now, forged_first, 9, 10);
  assert_in_range(share_of(&t, 8, &now, forged_first, 9, 10000), 40, 60);
  qr_neigh_heard(&t, host(8).ip, &mac9, now);
  assert_int_equal(share_of(&t, 8, &now, forged_first, 9, 10000), 100);
  learn(&t, 8, 66, QR_FRAME_ASK, now);
  expect_mac(&t, 8, now, 9);
  /* The host has a new card, and the old one is gone. */
  static const uint8_t new_card[2] = {11, 0};
  share_of(&t, 8, &now, new_card, 11, 3100); /* until the old one is not believed any more */
  assert_int_equal(share_of(&t, 8, &now, new_card, 11, 10000), 100);
  qr_neigh_heard(&t, host(99).ip, &mac9, now);      /* to whom we never sent anything */
  assert_int_equal(qr_neigh_known_cnt(&t, now), 1); /* 7 is forgotten */
}

/* What a question says of its sender is used, and asked for: who says to be another before that has
   spoken, and goes on saying so, is found out by the other's answer. */
static void test_question_proves_nothing(void **state) {
  (void)state;
  static qr_neigh_t t;
  qr_mac_t mac;
  bool ask;
  uint64_t now = SECOND;
  qr_neigh_init(&t, 77);
  learn(&t, 7, 66, QR_FRAME_ASK, now);
  assert_true(look(&t, 7, now, &mac, &ask));
  assert_int_equal(mac.b[5], 66);
  assert_true(ask);
  learn(&t, 7, 66, QR_FRAME_ASK, now + 1); /* it insists */
  learn(&t, 7, 9, QR_FRAME_ANSWER, now + 2);
  expect_mac(&t, 7, now + 3, 9);
  learn(&t, 7, 66, QR_FRAME_ASK, now + 4);
  expect_mac(&t, 7, now + 5, 9);
  /* The same with our question first. */
  expect_mac(&t, 8, now, -1);
  learn(&t, 8, 66, QR_FRAME_ASK, now + 1);
  expect_mac(&t, 8, now + 2, 66);
  learn(&t, 8, 9, QR_FRAME_ANSWER, now + 3);
  expect_mac(&t, 8, now + 4, 9);
  /* Questions do not keep an entry alive: it is asked for again. */
  for (int i = 0; i < 40; i++) {
    now += SECOND;
    learn(&t, 7, 9, QR_FRAME_ASK, now);
  }
  assert_true(look(&t, 7, now, &mac, &ask));
  assert_true(ask);
}

/* Floods of questions from forged addresses push out nobody who is known or asked for, however long
   nothing was sent to him. */
static void test_neigh_flood(void **state) {
  (void)state;
  static qr_neigh_t t;
  uint64_t now = SECOND;
  qr_neigh_init(&t, UINT64_C(0x9e3779b97f4a7c15));
  for (uint32_t i = 0; i < 64; i++) {
    expect_mac(&t, i, now, -1);
    if (i < 32) learn(&t, i, 9, QR_FRAME_ANSWER, now);
  }
  for (uint32_t i = 0; i < 100000; i++) learn(&t, 1000 + i, 66, QR_FRAME_ASK, ++now);
  now = 2 * SECOND;
  for (uint32_t i = 32; i < 64; i++) learn(&t, i, 9, QR_FRAME_ANSWER, now);
  for (uint32_t i = 0; i < 100000; i++) learn(&t, 200000 + i, 66, QR_FRAME_ASK, ++now);
  assert_true(qr_neigh_known_cnt(&t, now) > QR_NEIGH_CNT / 2); /* it does take what is free */
  for (uint32_t i = 0; i < 64; i++) expect_mac(&t, i, now, 9);
}

/* Who makes us ask for hosts that are not there pushes out none that is. */
static void test_neigh_flood_of_our_own(void **state) {
  (void)state;
  static qr_neigh_t t;
  uint64_t now = SECOND;
  qr_mac_t mac;
  bool ask;
  qr_neigh_init(&t, 4);
  for (uint32_t i = 0; i < 64; i++) {
    expect_mac(&t, i, now, -1);
    learn(&t, i, 9, QR_FRAME_ANSWER, now);
  }
  for (uint32_t i = 0; i < 20000; i++) look(&t, 1000 + i, now += SECOND / 1000, &mac, &ask);
  for (uint32_t i = 0; i < 64; i++) expect_mac(&t, i, now, 9);
  assert_int_equal(qr_neigh_known_cnt(&t, now), 64);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_routes),
      cmocka_unit_test(test_neigh_asks_and_paces),
      cmocka_unit_test(test_neigh_is_hard_to_poison),
      cmocka_unit_test(test_neigh_doubt),
      cmocka_unit_test(test_forged_answers),
      cmocka_unit_test(test_neigh_hint),
      cmocka_unit_test(test_question_proves_nothing),
      cmocka_unit_test(test_neigh_flood),
      cmocka_unit_test(test_neigh_flood_of_our_own),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
