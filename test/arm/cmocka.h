/* What the tests use of cmocka, for a target that it is not packaged for. A check that fails ends
   the program: the first failure is the whole result. */
#ifndef QR_TEST_ARM_CMOCKA_H
#define QR_TEST_ARM_CMOCKA_H

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define print_message(...) printf(__VA_ARGS__)
#define fail_msg(...)                                                                              \
  (printf("%s:%d: ", __FILE__, __LINE__), printf(__VA_ARGS__), printf("\n"), exit(1))

#define assert_true(c) ((c) ? (void)0 : fail_msg("%s does not hold", #c))
#define assert_false(c) assert_true(!(c))
#define assert_non_null(p) assert_true((p) != NULL)
#define assert_string_equal(a, b) assert_true(!strcmp((a), (b)))
#define assert_memory_equal(a, b, sz) assert_true(!memcmp((a), (b), (sz)))
#define assert_memory_not_equal(a, b, sz) assert_true(memcmp((a), (b), (sz)))
#define assert_int_equal(a, b)                                                                     \
  cmocka_int_equal((uint64_t)(a), (uint64_t)(b), #a, __FILE__, __LINE__)
#define assert_in_range(v, lo, hi)                                                                 \
  cmocka_in_range((uint64_t)(v), (uint64_t)(lo), (uint64_t)(hi), #v, __FILE__, __LINE__)

static inline void cmocka_in_range(uint64_t v, uint64_t lo, uint64_t hi, const char *what,
                                   const char *file, int line) {
  if (v >= lo && v <= hi) return;
  printf("%s:%d: %s is %" PRId64 ", not in [%" PRId64 ", %" PRId64 "]\n", file, line, what,
         (int64_t)v, (int64_t)lo, (int64_t)hi);
  exit(1);
}

static inline void cmocka_int_equal(uint64_t a, uint64_t b, const char *what, const char *file,
                                    int line) {
  cmocka_in_range(a, b, b, what, file, line);
}

struct CMUnitTest {
  const char *name;
  void (*run)(void **state);
};
#define cmocka_unit_test(f)                                                                        \
  { #f, f }
#define cmocka_run_group_tests(tests, setup, teardown)                                             \
  cmocka_run((tests), sizeof(tests) / sizeof *(tests))

static inline int cmocka_run(const struct CMUnitTest *tests, size_t cnt) {
  for (size_t i = 0; i < cnt; i++) {
    void *state = NULL;
    tests[i].run(&state);
    printf("ok: %s\n", tests[i].name);
    fflush(stdout);
  }
  return 0;
}

#endif
