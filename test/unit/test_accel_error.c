/* The driver that makes faults: none when none are asked for, and each kind as often as asked, the
   same ones again with the same seed. */
#include "accel_conform.h"

#include "crypto/hash.h"
#include "port/drivers.h"

#define JOB_CNT 96u

static const qr_accel_ops_t *g_ops;

static void test_without_faults_it_is_the_inner_driver(void **st) {
  (void)st;
  assert_true(conform_all(g_ops, "inner=cpu:kernel=portable,seed=9,corrupt=0,drop=0,fail=0", 32));
}

static void test_options(void **st) {
  (void)st;
  static const struct {
    const char *options, *word;
    int err;
  } bad[] = {
      {"inner=frob", "frob", QR_ERR_ARG},    {"inner=error", "itself", QR_ERR_ARG},
      {"inner=", "name", QR_ERR_ARG},        {"inner=cpu:kernel=frob", "frob", QR_ERR_ARG},
      {"corrupt=1/0", "1/N", QR_ERR_ARG},    {"drop=7", "1/N", QR_ERR_ARG},
      {"delay_ms=soon", "soon", QR_ERR_ARG}, {"deaf=2", "deaf", QR_ERR_ARG},
      {"frob=1", "frob", QR_ERR_ARG},        {"=1", "key=value", QR_ERR_ARG},
      {"look=1", "no value", QR_ERR_ARG},    {"look", "no units", QR_ERR_UNSUPPORTED},
  };
  for (size_t i = 0; i < QR_ARRAY_CNT(bad); i++) {
    qr_accel_t *a;
    char why[256] = "";
    assert_int_equal(g_ops->open(bad[i].options, &a, why, sizeof why), bad[i].err);
    if (!strstr(why, bad[i].word)) fail_msg("'%s': %s", bad[i].options, why);
  }
}

/* Runs before anything else opens: the first opens of the process count. */
static void test_open_fails_as_often_as_asked(void **st) {
  (void)st;
  qr_accel_t *a;
  char why[256] = "";
  for (int i = 0; i < 3; i++) {
    assert_int_equal(g_ops->open("open_fail=3", &a, why, sizeof why), QR_ERR_IO);
    assert_non_null(strstr(why, "open_fail"));
  }
  assert_int_equal(g_ops->open("open_fail=3", &a, why, sizeof why), 0);
  g_ops->close(a);
}

typedef struct {
  conform_net_t net;
  conform_dev_t dev;
  gen_t g;
} rig_t;

static void rig_open(rig_t *r, const char *options) {
  qr_net_spec_t spec = {.in_c = 16,
                        .in_h = 1,
                        .in_w = 1,
                        .action_cnt = 3,
                        .layer_cnt = 2,
                        .layers = {{.out = 16}, {.out = 3}},
                        .batch = 16,
                        .act_frac = 5};
  qr_net_t net;
  char why[128];
  r->g = (gen_t){5};
  assert_int_equal(qr_net_init(&spec, &net, why, sizeof why), 0);
  conform_net_open(&r->net, &net);
  assert_true(conform_dev_open(&r->dev, g_ops, options, &r->net, 1));
  conform_fill(&r->net, &r->g, GEN_INIT);
}

static void rig_close(rig_t *r) {
  conform_dev_close(&r->dev);
  conform_net_close(&r->net);
}

/* Whether the results in the rig differ from the reference's. */
static bool is_wrong(rig_t *r, const qr_accel_job_t *job) {
  conform_net_t *c = &r->net;
  uint64_t dig[QR_STEP_GEMM_MAX_CNT], td;
  uint32_t b = c->net.spec.batch;
  bool wrong = false;
  if (job->kind == QR_ACCEL_FORWARD) {
    qr_ref_forward(c->ref, c->model, c->obs + 1, job->row_cnt, c->q_want);
    return memcmp(c->q, c->q_want, (size_t)job->row_cnt * c->net.spec.action_cnt * 4) != 0;
  }
  memcpy(c->want, c->model, c->net.model_sz);
  for (uint32_t k = 0; k < job->steps_done; k++) {
    qr_ref_step(c->ref, c->want, c->obs + 1 + (size_t)k * b * c->net.in_sz, c->act + k * b,
                c->target + k * b, &c->sigma, k, job->lr_shift, dig, &td);
    wrong |= memcmp(c->digests + k * c->prog.digest_cnt, dig, c->prog.digest_cnt * 8) != 0;
    wrong |= c->td[k] != td;
  }
  return wrong || memcmp(c->out, c->want, c->net.model_sz) != 0;
}

/* What befell one job after another: 'C'orrupt, 'F'ailed, 'D'ropped, or '.'. */
static void run_jobs(const char *options, char out[JOB_CNT + 1]) {
  rig_t r;
  rig_open(&r, options);
  for (uint32_t i = 0; i < JOB_CNT; i++) {
    qr_accel_job_t job =
        i % 3 == 2 ? conform_forward(&r.net, 5) : conform_attempt(&r.net, CONFORM_STEP_MAX, 1);
    assert_int_equal(g_ops->submit(r.dev.q, &job), 0);
    for (uint32_t polls = 0; polls < 64 && !job.finished; polls++) {
      (void)g_ops->poll(r.dev.q);
      if (!job.finished) job.err = 0;
    }
    out[i] = '.';
    if (!job.finished) {
      out[i] = 'D';
      g_ops->cancel(r.dev.q, &job);
      conform_wait(g_ops, r.dev.q, &job);
      assert_int_equal(job.err, QR_ERR_CANCELLED);
    } else if (job.err) {
      out[i] = 'F';
      assert_int_equal(job.err, QR_ERR_IO);
    } else if (is_wrong(&r, &job)) {
      out[i] = 'C';
    }
  }
  out[JOB_CNT] = 0;
  rig_close(&r);
}

static uint32_t count(const char *s, char c) {
  uint32_t n = 0;
  for (; *s; s++) n += *s == c;
  return n;
}

static void test_faults_come_as_asked_and_come_again(void **st) {
  (void)st;
  char a[JOB_CNT + 1], b[JOB_CNT + 1], other[JOB_CNT + 1], all[JOB_CNT + 1];
  run_jobs("seed=1,corrupt=1/6,drop=1/8,fail=1/8", a);
  run_jobs("seed=1,corrupt=1/6,drop=1/8,fail=1/8", b);
  run_jobs("seed=2,corrupt=1/6,drop=1/8,fail=1/8", other);
  run_jobs("seed=1,corrupt=1/1", all);
  assert_string_equal(a, b);
  assert_string_not_equal(a, other);
  for (const char *c = "CDF"; *c; c++) {
    if (count(a, *c) < 4 || count(a, *c) > 28) fail_msg("%u jobs are %c: %s", count(a, *c), *c, a);
  }
  assert_int_equal(count(all, 'C'), JOB_CNT);
}

/* Of what is corrupted in attempts there are both kinds; a wrong digest is never shown right first.
 */
static void test_corrupt_digests_are_seen_in_time(void **st) {
  (void)st;
  rig_t r;
  uint32_t digests = 0, models = 0;
  rig_open(&r, "seed=3,corrupt=1/1");
  for (uint32_t i = 0; i < 24; i++) {
    uint64_t seen[CONFORM_STEP_MAX * QR_STEP_GEMM_MAX_CNT];
    uint32_t n = r.net.prog.digest_cnt, shown = 0;
    qr_accel_job_t job = conform_attempt(&r.net, CONFORM_STEP_MAX, 1);
    assert_int_equal(g_ops->submit(r.dev.q, &job), 0);
    time_t end = time(NULL) + CONFORM_WAIT_S;
    while (!job.finished && time(NULL) < end) {
      (void)g_ops->poll(r.dev.q);
      for (; shown < job.steps_done; shown++)
        memcpy(seen + shown * n, r.net.digests + shown * n, n * sizeof *seen);
    }
    assert_int_equal(shown, CONFORM_STEP_MAX);
    assert_memory_equal(seen, r.net.digests, shown * n * sizeof *seen);
    assert_true(is_wrong(&r, &job));
    if (memcmp(r.net.out, r.net.want, r.net.net.model_sz))
      models++;
    else
      digests++;
  }
  assert_true(digests >= 4 && models >= 4);
  rig_close(&r);
}

/* A product of the caller's own is corrupted too, and a delay is waited for. */
static void test_products_and_delays(void **st) {
  (void)st;
  rig_t r;
  int8_t a[4] = {1, 2, 3, 4}, b[4] = {5, 6, 7, 8};
  int32_t c[4], want[4] = {1 * 5 + 2 * 7, 1 * 6 + 2 * 8, 3 * 5 + 4 * 7, 3 * 6 + 4 * 8};
  const qr_step_op_t op = {.kind = QR_OP_GEMM, .m = 2, .n = 2, .k = 2};
  rig_open(&r, "corrupt=1/1");
  qr_accel_job_t job = {.kind = QR_ACCEL_GEMM, .gemm = &op, .a = a, .b = b, .c = c};
  assert_int_equal(g_ops->submit(r.dev.q, &job), 0);
  conform_wait(g_ops, r.dev.q, &job);
  assert_int_equal(job.err, 0);
  assert_memory_not_equal(c, want, sizeof c);
  rig_close(&r);

  struct timespec from, to;
  rig_open(&r, "delay_ms=120");
  clock_gettime(CLOCK_MONOTONIC, &from);
  assert_int_equal(g_ops->submit(r.dev.q, &job), 0);
  conform_wait(g_ops, r.dev.q, &job);
  clock_gettime(CLOCK_MONOTONIC, &to);
  assert_int_equal(job.err, 0);
  assert_memory_equal(c, want, sizeof c);
  assert_true((to.tv_sec - from.tv_sec) * 1000 + (to.tv_nsec - from.tv_nsec) / 1000000 >= 119);
  rig_close(&r);
}

/* A dropped job that hears no cancel keeps its place, the queue goes on beside it, and closes. */
static void test_deaf_jobs_fill_a_queue(void **st) {
  (void)st;
  rig_t r;
  qr_accel_info_t info;
  static qr_accel_job_t jobs[64];
  rig_open(&r, "drop=1/1,deaf=1");
  g_ops->info(r.dev.dev, &info);
  assert_non_null(strstr(info.detail, "TEST"));
  assert_in_range(info.queue_depth, 1, 64);
  for (uint32_t i = 0; i < info.queue_depth; i++) {
    jobs[i] = conform_forward(&r.net, 1);
    assert_int_equal(g_ops->submit(r.dev.q, &jobs[i]), 0);
  }
  for (uint32_t i = 0; i < info.queue_depth; i++) g_ops->cancel(r.dev.q, &jobs[i]);
  for (uint32_t i = 0; i < 200; i++) assert_int_equal(g_ops->poll(r.dev.q), 0);
  for (uint32_t i = 0; i < info.queue_depth; i++) assert_false(jobs[i].finished);
  qr_accel_job_t more = conform_forward(&r.net, 1);
  assert_int_equal(g_ops->submit(r.dev.q, &more), QR_ERR_FULL);
  rig_close(&r);
}

int main(void) {
  if (qr_crypto_init()) return 1;
  g_ops = qr_accel_driver("error");
  if (!g_ops) return 1;
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_open_fails_as_often_as_asked),
                                     cmocka_unit_test(test_options),
                                     cmocka_unit_test(test_faults_come_as_asked_and_come_again),
                                     cmocka_unit_test(test_corrupt_digests_are_seen_in_time),
                                     cmocka_unit_test(test_products_and_delays),
                                     cmocka_unit_test(test_deaf_jobs_fill_a_queue),
                                     cmocka_unit_test(test_without_faults_it_is_the_inner_driver)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
