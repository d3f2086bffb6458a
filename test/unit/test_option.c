/* Driver options: every item is read, or the text is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/err.h"
#include "port/option.h"

static void expect_item(const char **cursor, const char *key, const char *value) {
  qr_option_t o;
  assert_int_equal(qr_option_next(cursor, ';', &o), 1);
  assert_string_equal(o.key, key);
  assert_string_equal(o.value, value);
}

static void test_items(void **state) {
  (void)state;
  const char *text = ";; a=1; flag ;eal=--x=y -m 64;\tb = 2 ;empty=;";
  qr_option_t o;
  expect_item(&text, "a", "1");
  expect_item(&text, "flag", "");
  expect_item(&text, "eal", "--x=y -m 64");
  expect_item(&text, "b", "2");
  expect_item(&text, "empty", "");
  assert_int_equal(qr_option_next(&text, ';', &o), 0);
  assert_int_equal(qr_option_next(&text, ';', &o), 0);
}

static void test_too_long(void **state) {
  (void)state;
  char text[400];
  qr_option_t o;
  for (size_t key_sz = 1; key_sz < 40; key_sz++) {
    memset(text, 'k', key_sz);
    strcpy(text + key_sz, "=v");
    const char *p = text;
    assert_int_equal(qr_option_next(&p, ';', &o), key_sz < sizeof o.key ? 1 : QR_ERR_ARG);
  }
  memset(text, 'v', sizeof text);
  text[0] = 'k';
  text[1] = '=';
  text[2 + 255] = 0;
  const char *p = text;
  assert_int_equal(qr_option_next(&p, ';', &o), 1);
  text[2 + 255] = 'v';
  text[2 + 256] = 0;
  p = text;
  assert_int_equal(qr_option_next(&p, ';', &o), QR_ERR_ARG);
  p = "=1";
  assert_int_equal(qr_option_next(&p, ';', &o), QR_ERR_ARG);
}

static void test_numbers(void **state) {
  (void)state;
  static const char *const bad[] = {
      "", "-1", "+1", "1 ", "0x1", "18446744073709551616", "99999999999999999999", "9", "21"};
  uint64_t v = 7;
  for (size_t i = 0; i < QR_ARRAY_CNT(bad); i++) assert_false(qr_option_u64(bad[i], 10, 20, &v));
  assert_int_equal(v, 7);
  assert_true(qr_option_u64("010", 10, 20, &v) && v == 10);
  assert_true(qr_option_u64("20", 10, 20, &v) && v == 20);
  assert_true(qr_option_u64("18446744073709551615", 0, UINT64_MAX, &v) && v == UINT64_MAX);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_items),
      cmocka_unit_test(test_too_long),
      cmocka_unit_test(test_numbers),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
