/* Cards through XRT: emulated ones, or with QUARRY_HIL=<PCI address> the one of that address, which
   is given QUARRY_HIL_BITSTREAM=<file>. The conformance of every accelerator, and what cards have
   besides: units, a bandwidth test, a reset, a second queue. */
#include "accel_conform.h"

#include <unistd.h>

#include "crypto/hash.h"
#include "port/drivers.h"

#define SKIPPED 77
#define NET_SZ_MAX 12000u

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

/* A job would wait for ten seconds only, and hw_emu may take longer. */
static void reset_card(conform_dev_t *d) {
  char why[256] = "";
  qr_accel_unit_t u;
  time_t end = time(NULL) + CONFORM_WAIT_S;
  assert_int_equal(g_ops->reset(d->dev, 0, why, sizeof why), 0);
  do {
    assert_true(time(NULL) < end);
    usleep(2000);
    assert_int_equal(g_ops->units(d->dev, &u, 1), 1);
  } while (u.state != QR_ACCEL_UNIT_READY);
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
    if (!round) reset_card(&d);
  }
  conform_dev_close(&d);
  conform_net_close(&c);
}

/* ---- replays ---- */

static void with(const char *more, char out[700]) { snprintf(out, 700, "%s,%s", g_options, more); }

/* Room for a few segments only, so that they give way to each other, or minibatches travel with
   their jobs; and room for none. */
static void test_little_room(void **st) {
  (void)st;
  static const char *const rooms[] = {"replay_rows=150", "replay_rows=260", "replay_rows=0"};
  conform_net_t c[2];
  qr_net_t net[2];
  gen_t g = {78};
  for (size_t i = 0; i < QR_ARRAY_CNT(rooms); i++) {
    conform_dev_t d;
    char options[700];
    with(rooms[i], options);
    for (uint32_t k = 0; k < 2; k++) {
      do assert_true(gen_net(&g, k, &net[k]));
      while (net[k].model_sz > NET_SZ_MAX); /* the reference is slow */
      conform_net_open(&c[k], &net[k]);
    }
    assert_true(conform_dev_open(&d, g_ops, options, c, 2));
    for (int k = 0; k < 2; k++) {
      conform_replays(&d, &c[k], &g, 20);
      conform_replay_shared(&d, &c[k], &g);
      conform_replay_cancel(&d, &c[k], &g);
    }
    conform_dev_close(&d);
    for (int k = 0; k < 2; k++) conform_net_close(&c[k]);
  }
}

/* What an attempt moves to the card and back. */
typedef struct {
  uint64_t up, down;
} traffic_t;

static traffic_t traffic_of(conform_dev_t *d, conform_replay_t *r, conform_net_t *c, gen_t *g) {
  qr_accel_unit_t before, after;
  assert_int_equal(g_ops->units(d->dev, &before, 1), 1);
  qr_accel_job_t job = conform_replay_attempt(r, c, g, CONFORM_STEP_MAX, 0);
  assert_int_equal(g_ops->submit(d->q, &job), 0);
  conform_wait(g_ops, d->q, &job);
  assert_int_equal(job.err, 0);
  conform_check_attempt(c, c->model, CONFORM_STEP_MAX, 0);
  memcpy(c->model, c->out, c->net.model_sz); /* the next one goes on from there */
  assert_int_equal(g_ops->units(d->dev, &after, 1), 1);
  return (traffic_t){after.up_sz - before.up_sz, after.down_sz - before.down_sz};
}

/* A seed in and a model out: observations, actions and targets go up once, a segment that is new
   goes up alone, and a card that was reset is given everything again. */
static void test_traffic(void **st) {
  (void)st;
  enum { SEGMENT_ROWS = 512, SEED_SZ = 1024 };
  conform_net_t c;
  qr_net_t nets[2];
  conform_replay_t r;
  conform_dev_t d;
  gen_t g = {79};
  conform_genesis_nets(nets);
  conform_net_open(&c, &nets[1]);
  assert_true(conform_dev_open(&d, g_ops, g_options, &c, 1));
  conform_replay_open(&r, &c.net, &g, SEGMENT_ROWS);
  while (r.cnt < CONFORM_WINDOW_MAX) conform_segment_open(&r, &g, &r.segments[r.cnt++]);
  conform_fill(&c, &g, GEN_INIT);
  uint64_t segment_sz = (uint64_t)SEGMENT_ROWS * c.net.in_sz, model_sz = c.net.model_sz,
           digests_sz = CONFORM_STEP_MAX * 256 + 256;
  for (int round = 0; round < 3; round++) {
    traffic_t t = traffic_of(&d, &r, &c, &g);
    assert_true(t.up >= r.cnt * segment_sz + model_sz);
    assert_true(t.down >= model_sz && t.down <= model_sz + digests_sz);
    for (int i = 0; i < 3; i++) {
      t = traffic_of(&d, &r, &c, &g);
      print_message("an attempt of %u steps on a replay that is there: %u bytes up, %u down, of "
                    "which the model is %u\n",
                    CONFORM_STEP_MAX, (unsigned)t.up, (unsigned)t.down, (unsigned)model_sz);
      assert_true(t.up > 0 && t.up <= SEED_SZ);
      assert_true(t.down >= model_sz && t.down <= model_sz + digests_sz);
    }
    conform_fill(&c, &g, GEN_INIT); /* another model */
    t = traffic_of(&d, &r, &c, &g);
    assert_true(t.up >= model_sz && t.up <= model_sz + SEED_SZ);
    ((int32_t *)(uintptr_t)r.segments[3].target)[5] += 77; /* one row's target */
    t = traffic_of(&d, &r, &c, &g);
    assert_true(t.up >= 4096 && t.up <= 4096 + SEED_SZ);
    if (round == 2) break;
    if (!round) {
      conform_segment_close(&r.segments[0]);
      memmove(r.segments, r.segments + 1, (r.cnt - 1) * sizeof *r.segments);
      conform_segment_open(&r, &g, &r.segments[r.cnt - 1]);
      t = traffic_of(&d, &r, &c, &g);
      assert_true(t.up >= segment_sz && t.up <= segment_sz + SEGMENT_ROWS * 8 + 2 * 4096 + SEED_SZ);
    }
    reset_card(&d);
  }
  conform_replay_close(&r);
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
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_units), cmocka_unit_test(test_reset), cmocka_unit_test(test_traffic),
      cmocka_unit_test(test_little_room), cmocka_unit_test(test_conforms)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
