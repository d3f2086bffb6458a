/* What error drivers share: every option is read or refused, and the lots of a thing depend on the
   seed and its numbers alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "base/err.h"
#include "port/fault.h"

typedef struct {
  uint64_t rate, number;
  bool on, flag;
  qr_fault_inner_t inner;
} settings_t;

static int read_all(const char *options, char separator, settings_t *s, char why[256]) {
  const qr_fault_option_t known[] = {{"rate", QR_FAULT_RATE, &s->rate, 0},
                                     {"number", QR_FAULT_NUMBER, &s->number, 20},
                                     {"switch", QR_FAULT_SWITCH, &s->on, 0},
                                     {"flag", QR_FAULT_FLAG, &s->flag, 0},
                                     {"inner", QR_FAULT_INNER, &s->inner, 0}};
  *s = (settings_t){.rate = 7, .number = 8, .inner = {"mem", "keep=1"}};
  why[0] = 0;
  return qr_fault_options("x error", options, separator, known, QR_ARRAY_CNT(known), why, 256);
}

static void test_what_is_named_is_read(void **state) {
  (void)state;
  settings_t s;
  char why[256];
  assert_int_equal(read_all("", ';', &s, why), 0);
  assert_true(s.rate == 7 && s.number == 8 && !s.on && !s.flag);
  assert_string_equal(s.inner.name, "mem");
  assert_string_equal(s.inner.options, "keep=1");

  assert_int_equal(read_all("rate=0;number=0;switch=0", ';', &s, why), 0);
  assert_true(!s.rate && !s.number && !s.on && !s.flag);
  assert_int_equal(read_all("rate=1/1000000000,number=20,switch=1,flag", ',', &s, why), 0);
  assert_true(s.rate == QR_FAULT_RATE_MAX && s.number == 20 && s.on && s.flag);
}

/* Either character stands between the inner driver's options, whichever the outer ones leave. */
static void test_inner(void **state) {
  (void)state;
  settings_t s;
  char why[256], text[64];
  assert_int_equal(read_all("inner=cpu:a=1;b=c:d,rate=0", ',', &s, why), 0);
  assert_string_equal(s.inner.name, "cpu");
  assert_string_equal(s.inner.options, "a=1,b=c:d");
  assert_true(s.rate == 0);
  assert_int_equal(read_all("inner=disk:a=1,b=2;rate=0", ';', &s, why), 0);
  assert_string_equal(s.inner.name, "disk");
  assert_string_equal(s.inner.options, "a=1;b=2");
  assert_int_equal(read_all("inner=disk", ';', &s, why), 0); /* not with the options of another */
  assert_string_equal(s.inner.options, "");

  for (size_t n = 1; n < 40; n++) {
    snprintf(text, sizeof text, "inner=%.*s:a=1", (int)n,
             "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn");
    assert_int_equal(read_all(text, ';', &s, why), n < sizeof s.inner.name ? 0 : QR_ERR_ARG);
  }
}

static void test_what_is_refused(void **state) {
  (void)state;
  static const struct {
    const char *options, *word;
  } bad[] = {{"rate=1/0", "0 or 1/N"},
             {"rate=1/1000000001", "0 or 1/N"},
             {"rate=7", "'7' is not"},
             {"rate=1/", "0 or 1/N"},
             {"rate=00", "0 or 1/N"},
             {"rate", "'' is not"},
             {"number=21", "up to 20"},
             {"number=-1", "up to 20"},
             {"number=", "up to 20"},
             {"switch=2", "0 or 1"},
             {"switch", "0 or 1"},
             {"flag=1", "no value"},
             {"inner=", "name"},
             {"inner=:a=1", "name"},
             {"inner", "with , between"},
             {"number=1;frob=1", "x error: unknown option frob; there are rate, number, switch"},
             {"=1", "key=value;"}};
  settings_t s;
  char why[256];
  for (size_t i = 0; i < QR_ARRAY_CNT(bad); i++) {
    assert_int_equal(read_all(bad[i].options, ';', &s, why), QR_ERR_ARG);
    if (strncmp(why, "x error: ", 9) || !strstr(why, bad[i].word))
      fail_msg("'%s': %s", bad[i].options, why);
  }
}

/* Which of 256 things are hit, one bit each. */
static void hits(uint64_t seed, uint64_t part, uint64_t rate, uint8_t out[32]) {
  memset(out, 0, 32);
  for (uint64_t i = 0; i < 256; i++) {
    uint64_t lots = qr_fault_lots(qr_fault_lots(seed, part), i);
    if (qr_fault_hits(&lots, rate)) out[i / 8] |= (uint8_t)(1u << i % 8);
  }
}

static uint32_t count(const uint8_t bits[32]) {
  uint32_t n = 0;
  for (int i = 0; i < 32; i++) n += (uint32_t)__builtin_popcount(bits[i]);
  return n;
}

static void test_lots(void **state) {
  (void)state;
  uint8_t first[32], again[32], seed[32], part[32];
  hits(1, 2, 8, first);
  hits(1, 2, 8, again);
  hits(2, 2, 8, seed);
  hits(1, 3, 8, part);
  assert_memory_equal(first, again, sizeof first);
  assert_memory_not_equal(first, seed, sizeof first);
  assert_memory_not_equal(first, part, sizeof first);
  assert_in_range(count(first), 16, 56); /* 32 and not quite five times what it scatters by */
  hits(1, 2, 1, again);
  assert_int_equal(count(again), 256);
  hits(1, 2, 0, again);
  assert_int_equal(count(again), 0);

  uint64_t with = qr_fault_lots(9, 0), without = with;
  (void)qr_fault_hits(&with, 1);
  (void)qr_fault_hits(&without, 0);
  assert_true(with == without);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_what_is_named_is_read), cmocka_unit_test(test_inner),
      cmocka_unit_test(test_what_is_refused), cmocka_unit_test(test_lots)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
