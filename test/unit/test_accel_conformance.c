/* Every accel driver of this build, and every kernel of the CPU driver, against the reference. */
#include "accel_conform.h"

#include "crypto/hash.h"
#include "port/drivers.h"

/* As it comes, but that nothing is tried out and written to the user's folders. */
static const char *options_of(const qr_accel_ops_t *ops) {
  return strcmp(ops->name, "opencl") ? "" : "tune=off";
}

static void test_every_driver(void **st) {
  (void)st;
  for (size_t i = 0; qr_accel_drivers[i]; i++)
    (void)conform_all(qr_accel_drivers[i], options_of(qr_accel_drivers[i]), 11 + i);
}

static void test_cpu_kernels(void **st) {
  (void)st;
  const qr_accel_ops_t *cpu = qr_accel_driver("cpu");
  assert_non_null(cpu);
  bool portable = false;
  for (uint32_t i = 0; cpu->variants[i]; i++) {
    bool runs = conform_all(cpu, cpu->variants[i], 21 + i);
    portable |= runs && !strcmp(cpu->variants[i], "kernel=portable");
  }
  assert_true(portable);
}

/* Chunks dealt out among members of a team, also more of them than a small batch has chunks. */
static void test_cpu_teams(void **st) {
  (void)st;
  const qr_accel_ops_t *cpu = qr_accel_driver("cpu");
  assert_true(conform_all(cpu, "threads=2", 41));
  assert_true(conform_all(cpu, "kernel=portable,threads=5", 42));
}

static void test_cpu_options(void **st) {
  (void)st;
  const qr_accel_ops_t *cpu = qr_accel_driver("cpu");
  qr_accel_t *a;
  char why[128] = "";
  assert_int_equal(cpu->open("kernel=fast", &a, why, sizeof why), QR_ERR_ARG);
  assert_non_null(strstr(why, "fast"));
  static const char *const bad_threads[] = {"threads=0", "threads=17", "threads=2x", "threads=-1"};
  for (size_t i = 0; i < QR_ARRAY_CNT(bad_threads); i++) {
    assert_int_equal(cpu->open(bad_threads[i], &a, why, sizeof why), QR_ERR_ARG);
    assert_non_null(strstr(why, "1 to 16"));
  }
  assert_int_equal(cpu->open("speed=9", &a, why, sizeof why), QR_ERR_ARG);
  assert_non_null(strstr(why, "speed"));
  assert_int_equal(cpu->open("kernel=portable", &a, why, sizeof why), 0);
  qr_accel_info_t info;
  cpu->info(a, &info);
  assert_string_equal(info.name, "cpu portable");
  cpu->close(a);
}

/* A program whose op leaves its buffers, or writes to the minibatch, never runs. */
static void refuse_bad_programs(const qr_accel_ops_t *ops) {
  qr_accel_t *a;
  char why[256];
  uint32_t id;
  qr_net_t net[2];
  conform_genesis_nets(net);
  if (ops->open(options_of(ops), &a, why, sizeof why)) return; /* told by test_every_driver */
  for (int n = 0; n < 2; n++) {
    qr_step_prog_t good, bad;
    qr_step_lower(&net[n], &good);
    for (uint32_t i = 0; i < good.op_cnt; i++) {
      for (int what = 0; what < 4; what++) {
        bad = good;
        if (what == 0) bad.ops[i].m *= 1u << 20;
        if (what == 1) bad.ops[i].dst = 0; /* the observations */
        if (what == 2) bad.ops[i].kind = 200;
        if (what == 3) bad.bufs[bad.ops[i].dst].cnt = 1;
        if (bad.ops[i].n == 1 && what == 3) continue;
        assert_int_equal(ops->load(a, &net[n], &bad, &id), QR_ERR_ARG);
      }
    }
    assert_int_equal(ops->load(a, &net[n], &good, &id), 0);
  }
  ops->close(a);
}

static void test_bad_programs(void **st) {
  (void)st;
  assert_non_null(qr_accel_driver("cpu"));
  for (size_t i = 0; qr_accel_drivers[i]; i++) refuse_bad_programs(qr_accel_drivers[i]);
}

int main(void) {
  if (qr_crypto_init()) return 1;
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_every_driver), cmocka_unit_test(test_cpu_kernels),
      cmocka_unit_test(test_cpu_teams), cmocka_unit_test(test_cpu_options),
      cmocka_unit_test(test_bad_programs)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
