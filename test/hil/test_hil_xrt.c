/* Cards through XRT: emulated ones, or with QUARRY_HIL=<PCI address> the one of that address, which
   is given QUARRY_HIL_BITSTREAM=<file>. The conformance of every accelerator, and what cards have
   besides: units, a bandwidth test, a reset, a second queue. */
#include "accel_conform.h"

#include <unistd.h>

#include "crypto/hash.h"
#include "port/drivers.h"

#define SKIPPED 77

static const qr_accel_ops_t *g_ops;
static char g_options[600];

static void test_conforms(void **st) {
  (void)st;
  assert_true(conform_all(g_ops, g_options, 41));
}

static void test_units(void **st) {
  (void)st;
  qr_accel_t *a;
  qr_accel_unit_t u[QR_ACCEL_UNIT_MAX_CNT];
  qr_accel_bandwidth_t b;
  char why[256] = "";
  assert_int_equal(g_ops->open(g_options, &a, why, sizeof why), 0);
  uint32_t n = g_ops->units(a, u, QR_ACCEL_UNIT_MAX_CNT);
  assert_true(n >= 1);
  assert_true(u[0].id[0]);
  assert_true(u[0].name[0]);
  assert_non_null(strstr(u[0].kernel, "qr_step_engine"));
  assert_int_equal(u[0].jobs_done, 0);
  assert_true(u[0].valid_ago_ms == UINT64_MAX);
  for (uint32_t i = 0; i < u[0].rail_cnt; i++) assert_true(u[0].rails[i].mv > 0);
  assert_int_equal(g_ops->bandwidth(a, n, &b, why, sizeof why), QR_ERR_NOTFOUND);
  g_ops->close(a);
}

/* A card is moved data to and back, reset on request, and works afterwards. */
static void test_reset(void **st) {
  (void)st;
  conform_net_t c;
  qr_net_t net;
  qr_net_t nets[2];
  conform_dev_t d;
  qr_accel_unit_t u;
  qr_accel_bandwidth_t b;
  char why[256] = "";
  gen_t g = {77};
  conform_genesis_nets(nets);
  net = nets[1];
  conform_net_open(&c, &net);
  assert_true(conform_dev_open(&d, g_ops, g_options, &c, 1));
  if (g_ops->bandwidth(d.dev, 0, &b, why, sizeof why)) fail_msg("%s", why);
  assert_true(b.sz && b.to_ns && b.from_ns);
  print_message("bandwidth: to the card %.0f MB/s, from it %.0f MB/s\n",
                (double)b.sz * 1e3 / (double)b.to_ns, (double)b.sz * 1e3 / (double)b.from_ns);
  for (int round = 0; round < 2; round++) {
    conform_fill(&c, &g, GEN_INIT);
    qr_accel_job_t job = conform_attempt(&c, 2, 0);
    assert_int_equal(g_ops->submit(d.q, &job), 0);
    conform_wait(g_ops, d.q, &job);
    assert_int_equal(job.err, 0);
    conform_check_attempt(&c, c.model, 2, 0);
    assert_int_equal(g_ops->units(d.dev, &u, 1), 1);
    assert_int_equal(u.jobs_done, round + 1);
    assert_int_equal(u.resets, round);
    assert_true(u.valid_ago_ms < 60000);
    if (!round) assert_int_equal(g_ops->reset(d.dev, 0, why, sizeof why), 0);
  }
  conform_dev_close(&d);
  conform_net_close(&c);
}

int main(void) {
  const char *card = getenv("QUARRY_HIL"), *file = getenv("QUARRY_HIL_BITSTREAM"),
             *mode = getenv("QUARRY_HIL_MODE");
  char why[256];
  qr_accel_t *a;
  if (qr_crypto_init()) return 1;
  g_ops = qr_accel_driver("xrt");
  if (!g_ops) {
    fprintf(stderr, "skipped: this build has no driver accel/xrt\n");
    return SKIPPED;
  }
  if (card)
    snprintf(g_options, sizeof g_options, "card=%s,bitstream=%s", card, file ? file : "");
  else
    snprintf(g_options, sizeof g_options, "emulate%s%s", mode ? ",mode=" : "", mode ? mode : "");
  int err = g_ops->open(g_options, &a, why, sizeof why);
  if (err) {
    fprintf(stderr, "%s: %s\n", card ? "failed" : "skipped", why);
    return card ? 1 : SKIPPED;
  }
  g_ops->close(a);
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_units), cmocka_unit_test(test_reset),
                                     cmocka_unit_test(test_conforms)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
