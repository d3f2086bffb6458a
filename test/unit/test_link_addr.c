/* Addresses of links as text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "port/link.h"

static void test_good(void **state) {
  (void)state;
  static const struct {
    const char *in, *out;
    bool v4;
  } cases[] = {
      {"10.80.0.1:4100", "10.80.0.1:4100", true},
      {"10.80.0.1", "10.80.0.1:7", true},
      {"0.0.0.0:1", "0.0.0.0:1", true},
      {"255.255.255.255:65535", "255.255.255.255:65535", true},
      {"[fd00::1]:4100", "[fd00::1]:4100", false},
      {"[fd00::1]", "[fd00::1]:7", false},
      {"fd00::1", "[fd00::1]:7", false},
      {"::", "[::]:7", false},
      {"2001:DB8:0:0:0:0:0:1", "[2001:db8::1]:7", false},
      {"[1111:2222:3333:4444:5555:6666:7777:8888]:65535",
       "[1111:2222:3333:4444:5555:6666:7777:8888]:65535", false},
      {"[::ffff:10.80.0.1]:5", "10.80.0.1:5", true}, /* the same address */
  };
  for (size_t i = 0; i < QR_ARRAY_CNT(cases); i++) {
    qr_link_addr_t a, b;
    char text[QR_LINK_ADDR_STR_SZ];
    if (!qr_link_addr_parse(cases[i].in, 7, &a)) fail_msg("%s", cases[i].in);
    assert_string_equal(qr_link_addr_str(&a, text), cases[i].out);
    assert_int_equal(qr_link_addr_is_v4(&a), cases[i].v4);
    assert_true(qr_link_addr_parse(text, 1, &b));
    assert_memory_equal(&a, &b, sizeof a);
  }
}

static void test_bad(void **state) {
  (void)state;
  static const char *const bad[] = {"",
                                    ":",
                                    ":1",
                                    "10.80.0",
                                    "10.80.0.1:",
                                    "10.80.0.1:0",
                                    "10.80.0.1:65536",
                                    "10.80.0.1:4x",
                                    "10.80.0.1:+4",
                                    "10.80.0.1 :4",
                                    "10.80.0.256",
                                    "010.80.0.1:99999999999999999999",
                                    "name:1",
                                    "[",
                                    "[]",
                                    "[]:1",
                                    "[fd00::1",
                                    "fd00::1]",
                                    "[fd00::1]:",
                                    "[fd00::1]1",
                                    "[fd00::1]:0",
                                    "[fd00::1]:70000",
                                    "[10.80.0.1]:1",
                                    "[fd00::1%eth0]:1",
                                    "fd00:::1",
                                    "1:2:3:4:5:6:7:8:9",
                                    "[1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb]:1",
                                    "fd00::1:99999"};
  qr_link_addr_t a, before;
  memset(&a, 0x55, sizeof a);
  before = a;
  for (size_t i = 0; i < QR_ARRAY_CNT(bad); i++) {
    if (qr_link_addr_parse(bad[i], 7, &a)) fail_msg("'%s' was taken", bad[i]);
    assert_memory_equal(&a, &before, sizeof a); /* untouched */
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_good), cmocka_unit_test(test_bad)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
