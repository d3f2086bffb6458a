/* A miner whose accelerator lies: what it gets wrong is found on the CPU, is counted against the
   unit that did it, and no peer ever hears of it. */
#include "sim/untrusted.h"

#include "base/splitmix.h"

#define JOB_CNT 10000u

/* The CPU driver with some of its results changed afterwards, seeded. */
static struct {
  const qr_accel_ops_t *cpu;
  uint64_t state;
  uint32_t one_in;  /* of the attempts; 0: never */
  uint32_t lost_in; /* one in so many never comes back; 0: all do */
  bool deaf;        /* not even when it is cancelled */
  qr_accel_job_t *jobs[64];
  qr_step_prog_t progs[QR_TASK_MAX_CNT];
  qr_accel_job_t *lost[64];
  qr_accel_queue_t *lost_on[64];
  uint64_t attempts, lies, right, wrong, losses, cancelled, closed;
} g_liar;

static uint64_t draw(void) { return qr_splitmix_next(&g_liar.state); }

static int liar_open(const char *options, qr_accel_t **out, char *why, size_t why_sz) {
  return g_liar.cpu->open(options, out, why, why_sz);
}
static void liar_close(qr_accel_t *a) { g_liar.cpu->close(a); }
static void liar_info(const qr_accel_t *a, qr_accel_info_t *out) { g_liar.cpu->info(a, out); }

static int liar_load(qr_accel_t *a, const qr_net_t *net, const qr_step_prog_t *prog, uint32_t *id) {
  int err = g_liar.cpu->load(a, net, prog, id);
  if (!err) g_liar.progs[*id] = *prog;
  return err;
}

static int liar_queue_open(qr_accel_t *a, qr_accel_queue_t **out) {
  return g_liar.cpu->queue_open(a, out);
}
static void liar_queue_close(qr_accel_queue_t *q) {
  for (size_t i = 0; i < QR_ARRAY_CNT(g_liar.lost); i++) {
    if (g_liar.lost_on[i] != q) continue;
    g_liar.lost[i] = NULL;
    g_liar.lost_on[i] = NULL;
    g_liar.closed++;
  }
  g_liar.cpu->queue_close(q);
}

static bool lose(qr_accel_queue_t *q, qr_accel_job_t *job) {
  if (!g_liar.lost_in || draw() % g_liar.lost_in) return false;
  for (size_t i = 0; i < QR_ARRAY_CNT(g_liar.lost); i++) {
    if (g_liar.lost[i]) continue;
    g_liar.lost[i] = job;
    g_liar.lost_on[i] = q;
    g_liar.losses++;
    job->finished = false;
    job->steps_done = 0;
    return true;
  }
  return false;
}

static int liar_submit(qr_accel_queue_t *q, qr_accel_job_t *job) {
  assert_int_equal(job->kind, QR_ACCEL_ATTEMPT); /* it is asked for nothing else */
  if (lose(q, job)) return 0;
  for (size_t i = 0; i < QR_ARRAY_CNT(g_liar.jobs); i++) {
    if (g_liar.jobs[i]) continue;
    g_liar.jobs[i] = job;
    return g_liar.cpu->submit(q, job);
  }
  fail_msg("more jobs than lanes");
  return QR_ERR_FULL;
}

/* One bit of the model, of a digest or of the sum of errors. */
static void lie(qr_accel_job_t *job) {
  const qr_step_prog_t *p = &g_liar.progs[job->prog];
  uint64_t r = draw();
  uint32_t what = (uint32_t)(r % 3), at = (uint32_t)(r >> 8), bit = (uint32_t)(r >> 40);
  if (what == 0)
    job->model_out[at % p->model_sz] ^= (uint8_t)(1u << bit % 8);
  else if (what == 1)
    job->digests[at % (job->step_cnt * p->digest_cnt)] ^= 1ull << bit % 64;
  else
    job->td_abs_sum[at % job->step_cnt] ^= 1ull << bit % 64;
  g_liar.lies++;
}

static int liar_poll(qr_accel_queue_t *q) {
  int done = g_liar.cpu->poll(q);
  for (size_t i = 0; i < QR_ARRAY_CNT(g_liar.jobs); i++) {
    qr_accel_job_t *job = g_liar.jobs[i];
    if (!job || !job->finished) continue;
    g_liar.jobs[i] = NULL;
    job->unit = 3;
    if (job->err) continue;
    g_liar.attempts++;
    if (g_liar.one_in && draw() % g_liar.one_in == 0) lie(job);
  }
  return done;
}

static void liar_cancel(qr_accel_queue_t *q, qr_accel_job_t *job) {
  for (size_t i = 0; i < QR_ARRAY_CNT(g_liar.lost); i++) {
    if (g_liar.lost[i] != job) continue;
    if (g_liar.deaf) return;
    g_liar.lost[i] = NULL;
    g_liar.lost_on[i] = NULL;
    g_liar.cancelled++;
    job->err = QR_ERR_CANCELLED;
    job->finished = true;
    return;
  }
  g_liar.cpu->cancel(q, job);
}

static void liar_judge(qr_accel_t *a, uint32_t unit, bool right) {
  (void)a;
  assert_int_equal(unit, 3);
  g_liar.right += right;
  g_liar.wrong += !right;
}

static const qr_accel_ops_t liar = {.name = "liar",
                                    .open = liar_open,
                                    .close = liar_close,
                                    .info = liar_info,
                                    .load = liar_load,
                                    .queue_open = liar_queue_open,
                                    .queue_close = liar_queue_close,
                                    .submit = liar_submit,
                                    .poll = liar_poll,
                                    .cancel = liar_cancel,
                                    .judge = liar_judge};

/* One node alone whose accelerator loses jobs: each costs its lane a minute, and mining goes on. */
static void run_lossy(bool deaf) {
  static world_t w;
  const untrusted_t u = {.name = "lossy",
                         .ops = &liar,
                         .lane_cnt = 2,
                         .check_every = 1,
                         .win_shift = 4,
                         .round_ns = 20000000u,
                         .attempts = &g_liar.attempts,
                         .attempt_cnt = 600};
  memset(&g_liar, 0, sizeof g_liar);
  g_liar.cpu = qr_accel_driver("cpu");
  g_liar.state = 99;
  g_liar.lost_in = 30;
  g_liar.deaf = deaf;
  world_node_t *miner = untrusted_begin(&w, &u);
  untrusted_rounds(&w, &u);
  assert_true(g_liar.losses > 5);
  assert_int_equal(g_liar.wrong, 0);
  assert_true(world_height(miner) > 5);
  if (deaf)
    assert_true(g_liar.closed + 2 >= g_liar.losses && !g_liar.cancelled);
  else
    assert_true(g_liar.cancelled + 2 >= g_liar.losses && !g_liar.closed);
  /* the end does not wait for a job that never comes */
  g_liar.lost_in = 1;
  world_rounds(&w, 2000);
  untrusted_end(&w);
}

static void test_lost_jobs(void **state) {
  (void)state;
  run_lossy(false);
  run_lossy(true);
}

/* A miner on the liar with several lanes. Runs until so many attempts were made. */
static void run(uint32_t one_in, uint32_t check_every, uint32_t win_shift, uint64_t attempt_cnt,
                uint64_t height_min) {
  const untrusted_t u = {.name = "liar",
                         .ops = &liar,
                         .lane_cnt = 3,
                         .check_every = check_every,
                         .win_shift = win_shift,
                         /* a lane that failed waits for a second */
                         .round_ns = one_in ? 2 * WORLD_ROUND_NS : 0,
                         .attempts = &g_liar.attempts,
                         .attempt_cnt = attempt_cnt};
  memset(&g_liar, 0, sizeof g_liar);
  g_liar.cpu = qr_accel_driver("cpu");
  g_liar.state = 5 + one_in + check_every;
  g_liar.one_in = one_in;
  untrusted_run(&u, height_min);
}

static void test_lies_stay_here(void **state) {
  (void)state;
  run(20, 64, 5, JOB_CNT, 100);
  assert_true(g_liar.lies > JOB_CNT / 40);
  assert_true(g_liar.wrong > 0);   /* some of those that won, and some of the sample, */
  assert_true(g_liar.right > 100); /* but blocks were found all the same */
  assert_true(g_liar.wrong < g_liar.lies);
}

static void test_every_result_checked(void **state) {
  (void)state;
  run(4, 1, 5, 1000, 5);
  /* an attempt that ended as a new tip cut it short may not have come to its check */
  assert_true(g_liar.lies > 100);
  assert_true(g_liar.wrong > g_liar.lies * 3 / 4 && g_liar.wrong <= g_liar.lies);
}

static void test_honest_is_not_blamed(void **state) {
  (void)state;
  run(0, 1, 3, 500, 20);
  assert_int_equal(g_liar.wrong, 0);
  assert_true(g_liar.right > 300);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_lies_stay_here), cmocka_unit_test(test_every_result_checked),
      cmocka_unit_test(test_honest_is_not_blamed), cmocka_unit_test(test_lost_jobs)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
