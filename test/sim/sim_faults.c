/* A node that trains on the error driver: jobs that come back wrong, late, failed or not at all, in
   any mixture, cost it time and nothing else. What is wrong never reaches a peer. */
#include "sim/untrusted.h"

#define JOB_CNT 10000u
#define LANE_CNT 3u
#define FAST_NS (4 * WORLD_ROUND_NS) /* a lane whose job failed waits for a second, */
#define FASTER_NS 20000000u          /* for one that does not come back a minute */

/* The error driver with options of the test's own, and what a node makes of it counted. */
static struct {
  const qr_accel_ops_t *ops;
  const char *options;
  const qr_accel_job_t *jobs[16];
  uint64_t attempts, failed, late, cancels, right, wrong, queues, closed;
} g_faults;

static int faults_open(const char *options, qr_accel_t **out, char *why, size_t why_sz) {
  (void)options;
  return g_faults.ops->open(g_faults.options, out, why, why_sz);
}

static int faults_queue_open(qr_accel_t *a, qr_accel_queue_t **out) {
  g_faults.queues++;
  return g_faults.ops->queue_open(a, out);
}

static void faults_queue_close(qr_accel_queue_t *q) {
  g_faults.closed++;
  g_faults.ops->queue_close(q);
}

static int faults_submit(qr_accel_queue_t *q, qr_accel_job_t *job) {
  assert_int_equal(job->kind, QR_ACCEL_ATTEMPT); /* it is asked for nothing else */
  uint32_t i = 0;
  while (i < QR_ARRAY_CNT(g_faults.jobs) && g_faults.jobs[i] && g_faults.jobs[i] != job) i++;
  assert_true(i < QR_ARRAY_CNT(g_faults.jobs));
  g_faults.jobs[i] = job;
  return g_faults.ops->submit(q, job);
}

static int faults_poll(qr_accel_queue_t *q) {
  int done = g_faults.ops->poll(q);
  for (uint32_t i = 0; i < QR_ARRAY_CNT(g_faults.jobs); i++) {
    const qr_accel_job_t *job = g_faults.jobs[i];
    if (!job) continue;
    if (!job->finished) {
      g_faults.late += job->steps_done == job->step_cnt;
      continue;
    }
    g_faults.jobs[i] = NULL;
    g_faults.attempts++;
    g_faults.failed += job->err == QR_ERR_IO;
  }
  return done;
}

static void faults_cancel(qr_accel_queue_t *q, qr_accel_job_t *job) {
  g_faults.cancels++;
  g_faults.ops->cancel(q, job);
}

static void faults_judge(qr_accel_t *a, uint32_t unit, bool right) {
  (void)a;
  assert_int_equal(unit, 0);
  g_faults.right += right;
  g_faults.wrong += !right;
}

/* A miner on it. Time goes on by round_ns more in a round. */
static void run(const char *options, uint32_t check_every, uint64_t attempt_cnt,
                uint64_t height_min, uint64_t round_ns) {
  static qr_accel_ops_t faults;
  const untrusted_t u = {.name = "faults",
                         .ops = &faults,
                         .lane_cnt = LANE_CNT,
                         .check_every = check_every,
                         .win_shift = 5,
                         .round_ns = round_ns,
                         .attempts = &g_faults.attempts,
                         .attempt_cnt = attempt_cnt};
  memset(&g_faults, 0, sizeof g_faults);
  g_faults.ops = qr_accel_driver("error");
  assert_non_null(g_faults.ops);
  g_faults.options = options;
  faults = *g_faults.ops;
  faults.open = faults_open;
  faults.queue_open = faults_queue_open;
  faults.queue_close = faults_queue_close;
  faults.submit = faults_submit;
  faults.poll = faults_poll;
  faults.cancel = faults_cancel;
  faults.judge = faults_judge;
  untrusted_run(&u, height_min);
  assert_int_equal(g_faults.closed, g_faults.queues);
}

static void test_all_at_once(void **state) {
  (void)state;
  run("seed=1,corrupt=1/20,fail=1/50,drop=1/500,delay=1/100,delay_ms=1", 64, JOB_CNT, 100, FAST_NS);
  assert_true(g_faults.wrong > 0 && g_faults.right > 100);
  assert_true(g_faults.failed > JOB_CNT / 100);
  assert_true(g_faults.late > 0);
}

static void test_every_result_corrupt(void **state) {
  (void)state;
  run("seed=2,corrupt=1/1", 1, 500, 0, FAST_NS);
  assert_true(g_faults.wrong > 400);
  assert_int_equal(g_faults.right, 0);
}

/* A job that does not come back is recalled after a minute, and its lane goes on. */
static void test_dropped_jobs_are_recalled(void **state) {
  (void)state;
  run("seed=3,drop=1/20", 1, 400, 5, FASTER_NS);
  assert_true(g_faults.cancels > 10);
  assert_int_equal(g_faults.queues, LANE_CNT);
  assert_int_equal(g_faults.wrong, 0);
}

/* One that hears no cancel takes its queue with it; the lane opens another one. */
static void test_deaf_jobs_cost_a_queue(void **state) {
  (void)state;
  run("seed=4,drop=1/12,deaf=1", 1, 400, 2, FASTER_NS);
  assert_true(g_faults.queues > LANE_CNT + 5);
  assert_int_equal(g_faults.wrong, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_all_at_once),
                                     cmocka_unit_test(test_every_result_corrupt),
                                     cmocka_unit_test(test_dropped_jobs_are_recalled),
                                     cmocka_unit_test(test_deaf_jobs_cost_a_queue)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
