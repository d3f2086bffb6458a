/* peer/netaddr and peer/book: what is believed from whom, that a flood out of few networks stays in
   its share whatever it does, and that a saved book comes back whole or not at all. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>

#include "base/splitmix.h"
#include "crypto/hash.h"
#include "peer/book.h"

#define NOW 1800000000u
#define DAY 86400u

static qr_link_addr_t v4(uint32_t ip, uint16_t port) {
  qr_link_addr_t a = {.ip = {[10] = 0xff, [11] = 0xff}, .port = port};
  for (int i = 0; i < 4; i++) a.ip[12 + i] = (uint8_t)(ip >> (24 - 8 * i));
  return a;
}

static qr_link_addr_t v6(const char *head, uint8_t last) {
  qr_link_addr_t a = {.port = 7788};
  for (int i = 0; head[2 * i]; i++) {
    char digits[3] = {head[2 * i], head[2 * i + 1], 0};
    a.ip[i] = (uint8_t)strtoul(digits, NULL, 16);
  }
  a.ip[15] = last;
  return a;
}

static qr_pubkey_t who(uint32_t n) {
  qr_pubkey_t pk;
  qr_hash_t h = qr_hash("test.who", &n, sizeof n);
  memcpy(pk.b, h.b, sizeof pk.b);
  return pk;
}

static qr_book_t *book(uint8_t key) {
  uint8_t k[QR_BOOK_KEY_SZ] = {key};
  return qr_book_init(malloc(qr_book_footprint()), k);
}

static qr_book_counts_t counts(const qr_book_t *b) {
  qr_book_counts_t c;
  qr_book_counts(b, &c);
  return c;
}

/* Public addresses of as many groups as wanted: 20.0.0.0 up, the groups in steps of a /16. */
static qr_link_addr_t pub(uint32_t group, uint32_t host) {
  return v4((20u << 24) + (group << 16) + host % 65536, 7788);
}

static void test_scope(void **state) {
  (void)state;
  static const struct {
    uint32_t ip;
    enum qr_netaddr_scope want;
  } cases[] = {
      {0x00000000, QR_NETADDR_NOWHERE},  {0x01020304, QR_NETADDR_PUBLIC},
      {0x09ffffff, QR_NETADDR_PUBLIC},   {0x0a000001, QR_NETADDR_PRIVATE},
      {0x0affffff, QR_NETADDR_PRIVATE},  {0x0b000000, QR_NETADDR_PUBLIC},
      {0x643fffff, QR_NETADDR_PUBLIC},   {0x64400000, QR_NETADDR_PRIVATE},
      {0x647fffff, QR_NETADDR_PRIVATE},  {0x64800000, QR_NETADDR_PUBLIC},
      {0x7f000001, QR_NETADDR_LOOPBACK}, {0xa9fe0101, QR_NETADDR_NOWHERE},
      {0xac0fffff, QR_NETADDR_PUBLIC},   {0xac100000, QR_NETADDR_PRIVATE},
      {0xac1fffff, QR_NETADDR_PRIVATE},  {0xac200000, QR_NETADDR_PUBLIC},
      {0xc0000201, QR_NETADDR_NOWHERE},  {0xc0a80001, QR_NETADDR_PRIVATE},
      {0xc6120000, QR_NETADDR_NOWHERE},  {0xc6336401, QR_NETADDR_NOWHERE},
      {0xcb007101, QR_NETADDR_NOWHERE},  {0xdfffffff, QR_NETADDR_PUBLIC},
      {0xe0000001, QR_NETADDR_NOWHERE},  {0xffffffff, QR_NETADDR_NOWHERE},
  };
  for (size_t i = 0; i < QR_ARRAY_CNT(cases); i++) {
    qr_link_addr_t a = v4(cases[i].ip, 7788);
    assert_int_equal(qr_netaddr_scope(&a), cases[i].want);
    a.port = 0;
    assert_int_equal(qr_netaddr_scope(&a), QR_NETADDR_NOWHERE);
  }
  qr_link_addr_t six[] = {v6("", 0),     v6("", 1),     v6("fe80", 1),
                          v6("fd12", 1), v6("ff02", 1), v6("20010db8", 1),
                          v6("2001", 1), v6("2002", 1), v6("2a00145040", 1)};
  static const enum qr_netaddr_scope want[] = {
      QR_NETADDR_NOWHERE, QR_NETADDR_LOOPBACK, QR_NETADDR_NOWHERE,
      QR_NETADDR_PRIVATE, QR_NETADDR_NOWHERE,  QR_NETADDR_NOWHERE,
      QR_NETADDR_NOWHERE, QR_NETADDR_NOWHERE,  QR_NETADDR_PUBLIC};
  for (size_t i = 0; i < QR_ARRAY_CNT(six); i++)
    assert_int_equal(qr_netaddr_scope(&six[i]), want[i]);
}

static bool same_group(qr_link_addr_t a, qr_link_addr_t b) {
  qr_netaddr_group_t x = qr_netaddr_group(&a), y = qr_netaddr_group(&b);
  return qr_netaddr_group_eq(&x, &y);
}

static void test_groups(void **state) {
  (void)state;
  assert_true(same_group(v4(0x14010203, 1), v4(0x1401ffff, 2)));
  assert_false(same_group(v4(0x14010203, 1), v4(0x14020203, 1)));
  assert_true(same_group(v4(0x0a000001, 1), v4(0x0a000001, 2)));
  assert_false(same_group(v4(0x0a000001, 1), v4(0x0a000002, 1)));
  assert_false(same_group(v4(0x7f000001, 1), v4(0x7f000001, 2)));
  assert_true(same_group(v6("2a001450", 1), v6("2a001450ffff", 9)));
  assert_false(same_group(v6("2a001450", 1), v6("2a001451", 1)));
  qr_link_addr_t pubs = pub(1, 1), lan = v4(0x0a000001, 7788), other = v4(0xc0a80001, 7788),
                 lo = v4(0x7f000001, 7788), low = pub(1, 1);
  low.port = 53;
  assert_true(qr_netaddr_credible(&pubs, &lan));
  assert_true(qr_netaddr_credible(&other, &lan));
  assert_false(qr_netaddr_credible(&lan, &pubs)); /* who is outside knows nothing of our inside */
  assert_false(qr_netaddr_credible(&lo, &lan));
  assert_true(qr_netaddr_credible(&lo, &lo));
  assert_false(qr_netaddr_credible(&low, &pubs));
}

/* 100,000 addresses out of 4 networks, told from there: they get their share, and those of others
   who came before all keep their places or lose them at the rate of that share. */
static void test_flood(void **state) {
  (void)state;
  for (uint8_t seed = 1; seed <= 3; seed++) {
    qr_book_t *b = book(seed);
    for (uint32_t i = 0; i < 200; i++) {
      qr_link_addr_t a = pub(100 + i, i), from = pub(300 + i % 20, 1);
      if (!qr_book_add(b, &a, NULL, NOW, &from, NOW)) continue; /* the place is held already */
      assert_false(qr_book_add(b, &a, NULL, NOW, &from, NOW));  /* no news */
    }
    uint32_t honest_cnt = counts(b).new_cnt;
    assert_in_range(honest_cnt, 180, 200);
    uint64_t rng = seed;
    for (uint32_t i = 0; i < 100000; i++) {
      uint64_t r = qr_splitmix_next(&rng);
      qr_link_addr_t a = pub((uint32_t)(r % 90), (uint32_t)(r >> 20)),
                     from = pub((uint32_t)(r >> 40 & 3), 9);
      qr_book_add(b, &a, NULL, NOW + i / 100, &from, NOW + i / 100);
    }
    uint32_t kept = 0;
    for (uint32_t i = 0; i < 200; i++) {
      qr_link_addr_t a = pub(100 + i, i);
      qr_book_item_t item;
      kept += qr_book_find(b, &a, &item);
    }
    qr_book_counts_t c = counts(b);
    assert_int_equal(kept, honest_cnt); /* nobody who is fresh is driven out */
    assert_in_range(c.new_cnt - kept, 1000, 4 * QR_BOOK_NEW_PER_SOURCE_CNT * QR_BOOK_BUCKET_SZ);
    assert_true(c.refused > 50000);
    uint32_t drawn = 0;
    for (uint32_t i = 0; i < 2000; i++) {
      qr_book_item_t item;
      assert_true(qr_book_pick(b, true, NOW + 1000, &item));
      drawn += item.addr.ip[13] >= 100;
    }
    assert_in_range(drawn, 700, 2000); /* 2000 addresses in 64 buckets, 200 in most of 256 */
    free(b);
  }
}

/* One network meets this node from 20,000 addresses: it holds its two buckets of tried. */
static void test_tried_share(void **state) {
  (void)state;
  qr_book_t *b = book(7);
  for (uint32_t i = 0; i < 20000; i++) {
    qr_link_addr_t a = pub(5, i), from = pub(i % 500, 1);
    qr_pubkey_t pk = who(i);
    qr_book_add(b, &a, &pk, NOW, &from, NOW);
    qr_book_dialed(b, &a, NOW);
    qr_book_met(b, &a, &pk, NOW);
  }
  assert_in_range(counts(b).tried_cnt, 40, QR_BOOK_TRIED_PER_GROUP_CNT * QR_BOOK_BUCKET_SZ);
  assert_in_range(counts(b).waiting_cnt, 0, 8);
  free(b);
}

/* Who knocks at a place in tried gets it only if the holder does not answer. */
static void test_doubt(void **state) {
  (void)state;
  for (int answers = 0; answers < 2; answers++) {
    qr_book_t *b = book(9);
    qr_link_addr_t first = pub(5, 0);
    qr_pubkey_t pk = who(1);
    uint32_t now = NOW;
    qr_book_met(b, &first, &pk, now);
    assert_int_equal(counts(b).tried_cnt, 1);
    now += DAY;
    qr_book_item_t item;
    for (uint32_t i = 1; i < 3000 && !counts(b).waiting_cnt; i++) {
      qr_link_addr_t a = pub(5, i);
      if (counts(b).tried_cnt > 1) { /* only one holder: the others are forgotten again */
        qr_link_addr_t last = pub(5, i - 1);
        qr_book_forget(b, &last);
      }
      qr_book_met(b, &a, &pk, now);
    }
    assert_int_equal(counts(b).waiting_cnt, 1);
    assert_true(qr_book_pick_doubted(b, now, &item));
    assert_true(qr_netaddr_eq(&item.addr, &first));
    qr_book_dialed(b, &first, now);
    assert_false(qr_book_pick_doubted(b, now + 10, &item)); /* it is being dialled */
    if (answers) qr_book_met(b, &first, &pk, now + 1);
    qr_book_pick_doubted(b, now + 120, &item);
    assert_int_equal(counts(b).waiting_cnt, 0);
    assert_true(qr_book_find(b, &first, &item)); /* who lost its place is known still */
    assert_int_equal(item.tried, answers);
    free(b);
  }
}

static void test_failures(void **state) {
  (void)state;
  qr_book_t *b = book(3);
  qr_link_addr_t dead = pub(1, 1), good = pub(2, 2), from = pub(3, 3);
  qr_pubkey_t pk = who(2);
  qr_book_item_t item;
  qr_book_add(b, &dead, NULL, NOW, &from, NOW);
  qr_book_add(b, &good, NULL, NOW, &from, NOW);
  for (uint32_t i = 1; i <= 50; i++) qr_book_dialed(b, &dead, NOW + 100 * i);
  assert_true(qr_book_find(b, &dead, &item));
  assert_int_equal(item.fail_cnt, 1); /* nobody answers: that may be our own line */
  for (uint32_t i = 51; i <= 60; i++) {
    qr_book_met(b, &good, &pk, NOW + 100 * i);
    qr_book_dialed(b, &dead, NOW + 100 * i + 50);
  }
  assert_true(qr_book_find(b, &dead, &item));
  assert_int_equal(item.fail_cnt, 11);
  qr_book_item_t out[8];
  assert_int_equal(qr_book_sample(b, &from, NOW + 7000, out, 8), 1); /* not told on */
  assert_true(qr_netaddr_eq(&out[0].addr, &good) && qr_pubkey_eq(&out[0].pk, &pk));
  qr_link_addr_t nowhere = v4(0xe0000001, 7788);
  assert_false(qr_book_add(b, &nowhere, NULL, NOW, &from, NOW));
  qr_book_met(b, &nowhere, &pk, NOW);
  assert_false(qr_book_find(b, &nowhere, &item));
  qr_book_forget(b, &good);
  assert_false(qr_book_find(b, &good, &item));
  assert_int_equal(counts(b).tried_cnt, 0);
  free(b);
}

/* What somebody is told that is elsewhere: nothing of our own private network. */
static void test_sample_scope(void **state) {
  (void)state;
  qr_book_t *b = book(4);
  qr_book_item_t out[300];
  qr_link_addr_t lan = v4(0x0a000001, 7788), outside = pub(1, 1);
  for (uint32_t i = 0; i < 30; i++) {
    qr_link_addr_t a = v4(0x0a000100 + i, 7788);
    qr_book_add(b, &a, NULL, NOW, &lan, NOW);
  }
  for (uint32_t i = 0; i < 700; i++) {
    qr_link_addr_t a = pub(i, i), from = pub(i, 7);
    qr_book_add(b, &a, NULL, NOW, &from, NOW);
  }
  uint32_t all = counts(b).new_cnt;
  uint32_t n = qr_book_sample(b, &outside, NOW, out, 300);
  assert_in_range(n, all / 4 - 1, all / 4);
  for (uint32_t i = 0; i < n; i++) {
    assert_int_equal(qr_netaddr_scope(&out[i].addr), QR_NETADDR_PUBLIC);
    for (uint32_t k = 0; k < i; k++) assert_false(qr_netaddr_eq(&out[i].addr, &out[k].addr));
  }
  free(b);
}

/* A book as after some weeks; the checks of every structure run in import. */
static qr_book_t *lived(uint8_t seed) {
  qr_book_t *b = book(seed);
  uint64_t rng = seed;
  for (uint32_t i = 0; i < 30000; i++) {
    uint64_t r = qr_splitmix_next(&rng);
    qr_link_addr_t a = pub((uint32_t)(r % 300), (uint32_t)(r >> 16 & 7)),
                   from = pub((uint32_t)(r >> 24 & 255), 1);
    qr_pubkey_t pk = who((uint32_t)r % 1000);
    uint32_t now = NOW + i * 60;
    switch (r >> 60) {
    case 0: qr_book_met(b, &a, &pk, now); break;
    case 1: qr_book_dialed(b, &a, now); break;
    case 2: qr_book_forget(b, &a); break;
    default: qr_book_add(b, &a, &pk, now - (uint32_t)(r >> 32 & 0xffff), &from, now); break;
    }
  }
  return b;
}

static void test_image(void **state) {
  (void)state;
  uint8_t *image = malloc(qr_book_image_max_sz()), *again = malloc(qr_book_image_max_sz());
  for (uint8_t seed = 1; seed < 5; seed++) {
    qr_book_t *b = lived(seed), *c = book(99);
    size_t sz = qr_book_export(b, image), used;
    qr_book_counts_t x = counts(b);
    assert_true(x.tried_cnt > 50 && x.new_cnt > 300);
    assert_true(sz <= qr_book_image_max_sz());
    assert_true(qr_book_import(c, image, sz, NOW + 30000 * 60, &used));
    assert_int_equal(used, sz);
    qr_book_counts_t y = counts(c);
    assert_int_equal(x.new_cnt, y.new_cnt);
    assert_int_equal(x.tried_cnt, y.tried_cnt);
    for (uint32_t g = 0; g < 300; g++) {
      for (uint32_t h = 0; h < 8; h++) {
        qr_link_addr_t a = pub(g, h);
        qr_book_item_t i, k;
        bool has = qr_book_find(b, &a, &i);
        memset(&k, 0, sizeof k);
        assert_int_equal(qr_book_find(c, &a, &k), has);
        if (!has) continue;
        assert_true(qr_pubkey_eq(&i.pk, &k.pk) && i.heard == k.heard && i.met == k.met);
        assert_true(i.tried == k.tried && i.fail_cnt == k.fail_cnt && i.dialed == k.dialed);
      }
    }
    assert_int_equal(qr_book_export(c, again), sz);
    free(b);
    free(c);
  }
  free(image);
  free(again);
}

/* Every cut is refused, and what is taken in spite of a changed byte is a sound book. */
static void test_bad_image(void **state) {
  (void)state;
  uint8_t *image = malloc(qr_book_image_max_sz()), *again = malloc(qr_book_image_max_sz());
  qr_book_t *b = lived(2), *c = book(99);
  size_t sz = qr_book_export(b, image), used;
  for (size_t n = 0; n < sz; n += 1 + n / 50) {
    uint8_t *exact = malloc(n ? n : 1);
    memcpy(exact, image, n);
    assert_false(qr_book_import(c, exact, n, NOW, &used));
    assert_int_equal(counts(c).new_cnt + counts(c).tried_cnt, 0);
    free(exact);
  }
  uint64_t rng = 5;
  uint32_t refused = 0;
  for (uint32_t i = 0; i < 300; i++) {
    size_t at = 32 + qr_splitmix_next(&rng) % (sz - 32);
    uint8_t was = image[at];
    image[at] ^= (uint8_t)(1u << (qr_splitmix_next(&rng) % 8));
    if (qr_book_import(c, image, sz, NOW, &used)) {
      size_t out_sz = qr_book_export(c, again), more;
      assert_int_equal(out_sz, used);
      assert_true(qr_book_import(c, again, out_sz, NOW, &more));
    } else
      refused++;
    image[at] = was;
  }
  assert_true(refused > 10);
  image[QR_BOOK_KEY_SZ + 3] = 0xff; /* more addresses than a book holds */
  assert_false(qr_book_import(c, image, sz, NOW, &used));
  free(b);
  free(c);
  free(image);
  free(again);
}

static int setup(void **state) {
  (void)state;
  return qr_crypto_init();
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_scope),        cmocka_unit_test(test_groups),
      cmocka_unit_test(test_flood),        cmocka_unit_test(test_tried_share),
      cmocka_unit_test(test_doubt),        cmocka_unit_test(test_failures),
      cmocka_unit_test(test_sample_scope), cmocka_unit_test(test_image),
      cmocka_unit_test(test_bad_image),
  };
  return cmocka_run_group_tests(tests, setup, NULL);
}
