/* Emulated cards that die, hang and lie: jobs come out right all the same or fail in bounded time,
   and the card that did it is named. */
#include "accel_conform.h"

#include <dirent.h>
#include <signal.h>
#include <unistd.h>

#include "crypto/hash.h"
#include "base/log.h"
#include "port/bitstream.h"
#include "port/drivers.h"

#define SKIPPED 77
#define PID_MAX_CNT 16

/* The first four networks take some time, so that an attempt has a middle; the others take little.
 */
#define SLOW (&g_nets[0])
#define QUICK (&g_nets[4])
#define NET_CNT 8

static const qr_accel_ops_t *g_ops;
static conform_net_t g_nets[NET_CNT];
static char g_patience[32]; /* option: what a launch may take at most, by what one took before */

/* ---- processes ---- */

static pid_t parent_of(pid_t pid) {
  char path[64], text[512];
  snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
  FILE *f = fopen(path, "re");
  if (!f) return 0;
  size_t n = fread(text, 1, sizeof text - 1, f);
  fclose(f);
  text[n] = 0;
  const char *p = strrchr(text, ')'); /* the name may hold anything */
  int parent = 0;
  if (p) (void)sscanf(p + 1, " %*c %d", &parent);
  return parent;
}

static int children_of(pid_t parent, pid_t out[PID_MAX_CNT]) {
  DIR *d = opendir("/proc");
  int cnt = 0;
  assert_non_null(d);
  for (struct dirent *e; (e = readdir(d)) && cnt < PID_MAX_CNT;) {
    pid_t pid = (pid_t)atoi(e->d_name);
    if (pid > 0 && parent_of(pid) == parent) out[cnt++] = pid;
  }
  closedir(d);
  return cnt;
}

/* The process of card number idx, and the emulated card that it talks to. */
static pid_t card_process(int idx) {
  pid_t pids[PID_MAX_CNT];
  return idx < children_of(getpid(), pids) ? pids[idx] : 0;
}

static pid_t emulated_card(int idx) {
  pid_t pids[PID_MAX_CNT], card = card_process(idx);
  return card && children_of(card, pids) ? pids[0] : 0;
}

/* ---- devices ---- */

static void open_cards(conform_dev_t *d, conform_net_t *net, const char *options) {
  char text[128];
  snprintf(text, sizeof text, "emulate,steps=1,%s", options);
  assert_true(conform_dev_open(d, g_ops, text, net, 1));
}

static qr_accel_unit_t unit_of(conform_dev_t *d, uint32_t idx) {
  qr_accel_unit_t u[QR_ACCEL_UNIT_MAX_CNT];
  assert_true(g_ops->units(d->dev, u, QR_ACCEL_UNIT_MAX_CNT) > idx);
  return u[idx];
}

static void await_ready(conform_dev_t *d, uint32_t idx) {
  time_t end = time(NULL) + 60;
  while (unit_of(d, idx).state != QR_ACCEL_UNIT_READY) {
    assert_true(time(NULL) < end);
    usleep(2000);
  }
}

/* An attempt, in the middle of which something is done to a card. */
static qr_accel_job_t attempt_with(conform_dev_t *d, conform_net_t *net, gen_t *g,
                                   void (*trouble)(void)) {
  conform_fill(net, g, GEN_INIT);
  qr_accel_job_t job = conform_attempt(net, CONFORM_STEP_MAX, 0);
  assert_int_equal(g_ops->submit(d->q, &job), 0);
  if (trouble) trouble(); /* the first launches are under way */
  conform_wait(g_ops, d->q, &job);
  return job;
}

static void attempt_is_right(conform_dev_t *d, gen_t *g, void (*trouble)(void)) {
  qr_accel_job_t job = attempt_with(d, SLOW, g, trouble);
  assert_int_equal(job.err, 0);
  assert_int_equal(job.steps_done, CONFORM_STEP_MAX);
  conform_check_attempt(SLOW, SLOW->model, CONFORM_STEP_MAX, 0);
}

/* How long a launch takes here, with a sanitizer or beside other work, is measured. */
static void test_patience(void **st) {
  (void)st;
  conform_dev_t d;
  gen_t g = {2};
  struct timespec a, b;
  open_cards(&d, SLOW, "");
  clock_gettime(CLOCK_MONOTONIC, &a);
  attempt_is_right(&d, &g, NULL);
  clock_gettime(CLOCK_MONOTONIC, &b);
  long ms = (long)(b.tv_sec - a.tv_sec) * 1000 + (b.tv_nsec - a.tv_nsec) / 1000000;
  snprintf(g_patience, sizeof g_patience, "timeout_ms=%ld", 1000 + 4 * ms);
  conform_dev_close(&d);
}

static void signal_to(pid_t pid, int sig) {
  assert_true(pid > 1); /* 0 would be this whole group */
  assert_int_equal(kill(pid, sig), 0);
}

static void kill_emulated(void) { signal_to(emulated_card(0), SIGKILL); }
static void kill_process(void) { signal_to(card_process(0), SIGKILL); }
static void stop_emulated(void) { signal_to(emulated_card(0), SIGSTOP); }
static void stop_process(void) { signal_to(card_process(0), SIGSTOP); }

/* ---- tests ---- */

/* The emulated card is killed, or the process that holds it, or either stops answering: the job is
   done again on the card as it comes back. */
static void test_card_goes_and_comes(void **st) {
  (void)st;
  static void (*const troubles[])(void) = {kill_emulated, kill_process, stop_emulated,
                                           stop_process};
  static const char *const whys[] = {"ended by itself", "ended by itself", "in time", "in time"};
  gen_t g = {3};
  for (size_t i = 0; i < QR_ARRAY_CNT(troubles); i++) {
    conform_dev_t d;
    open_cards(&d, SLOW, g_patience);
    attempt_is_right(&d, &g, NULL);
    assert_int_equal(unit_of(&d, 0).jobs_failed, 0);
    attempt_is_right(&d, &g, troubles[i]);
    qr_accel_unit_t u = unit_of(&d, 0);
    assert_int_equal(u.jobs_failed, 1);
    assert_int_equal(u.reloads, 1);
    assert_int_equal(u.resets, 0);
    assert_int_equal(u.jobs_done, 2);
    assert_int_equal(u.state, QR_ACCEL_UNIT_READY);
    if (!strstr(u.why, whys[i])) fail_msg("'%s' does not say '%s'", u.why, whys[i]);
    conform_dev_close(&d);
  }
}

/* The same to a card that keeps a replay, while segments go up and later, between steps: what it
   had is not taken for granted afterwards. */
static void test_kept_replay_is_lost(void **st) {
  (void)st;
  static void (*const troubles[])(void) = {kill_emulated, kill_process};
  gen_t g = {4};
  conform_replay_t r;
  conform_dev_t d;
  uint64_t failed = 0;
  open_cards(&d, SLOW, g_patience);
  conform_replay_open(&r, &SLOW->net, &g, 300);
  conform_fill(SLOW, &g, GEN_INIT);
  for (uint32_t i = 0; i < 6; i++) {
    qr_accel_job_t job = conform_replay_attempt(&r, SLOW, &g, CONFORM_STEP_MAX, 0);
    assert_int_equal(g_ops->submit(d.q, &job), 0);
    while (job.steps_done < i % 2) assert_true(g_ops->poll(d.q) >= 0);
    if (i % 3 < 2) {
      await_ready(&d, 0);
      troubles[i % 2]();
      failed++;
    }
    conform_wait(g_ops, d.q, &job);
    assert_int_equal(job.err, 0);
    conform_check_attempt(SLOW, SLOW->model, CONFORM_STEP_MAX, 0);
    assert_int_equal(unit_of(&d, 0).jobs_failed, failed);
  }
  conform_replay_close(&r);
  conform_dev_close(&d);
}

/* Of four cards one is killed under eight jobs in two queues: none is lost or wrong. */
static void test_others_go_on(void **st) {
  (void)st;
  enum { JOB_CNT = 4 };
  conform_dev_t d;
  gen_t g = {5};
  qr_accel_job_t job[JOB_CNT];
  assert_true(conform_dev_open(&d, g_ops, "emulate,cards=4,steps=1", g_nets, NET_CNT));
  for (int round = 0; round < 3; round++) {
    for (int i = 0; i < JOB_CNT; i++) {
      conform_fill(&g_nets[i], &g, GEN_INIT);
      job[i] = conform_attempt(&g_nets[i], CONFORM_STEP_MAX, 1);
      assert_int_equal(g_ops->submit(d.q, &job[i]), 0);
    }
    if (round == 1) kill_emulated();
    for (int i = 0; i < JOB_CNT; i++) {
      conform_wait(g_ops, d.q, &job[i]);
      assert_int_equal(job[i].err, 0);
      assert_true(job[i].unit < 4);
      conform_check_attempt(&g_nets[i], g_nets[i].model, CONFORM_STEP_MAX, 1);
    }
  }
  uint64_t done = 0, failed = 0;
  for (uint32_t i = 0; i < 4; i++) {
    await_ready(&d, i);
    done += unit_of(&d, i).jobs_done;
    failed += unit_of(&d, i).jobs_failed;
  }
  assert_int_equal(done, 3 * JOB_CNT);
  assert_int_equal(failed, 1);
  conform_dev_close(&d);
}

/* A card that dies under every job is climbed up the ladder, and the job fails in the end. */
static void test_ladder(void **st) {
  (void)st;
  conform_dev_t d;
  gen_t g = {7};
  open_cards(&d, QUICK, "fault=die:3"); /* its test is the second launch after each start */
  qr_accel_job_t job = attempt_with(&d, QUICK, &g, NULL);
  assert_int_equal(job.err, QR_ERR_IO);
  qr_accel_unit_t u = unit_of(&d, 0);
  assert_int_equal(u.jobs_done, 0);
  assert_int_equal(u.jobs_failed, 3);
  assert_int_equal(u.state, QR_ACCEL_UNIT_QUARANTINED);
  await_ready(&d, 0);
  u = unit_of(&d, 0);
  assert_int_equal(u.reloads, 2);
  assert_int_equal(u.resets, 1);
  conform_dev_close(&d);
}

/* A hanging engine runs into the time that a launch may take. */
static void test_hang(void **st) {
  (void)st;
  conform_dev_t d;
  gen_t g = {9};
  char options[64];
  snprintf(options, sizeof options, "fault=hang:3,%s", g_patience);
  open_cards(&d, QUICK, options);
  qr_accel_job_t job = attempt_with(&d, QUICK, &g, NULL);
  assert_int_equal(job.err, QR_ERR_IO);
  assert_non_null(strstr(unit_of(&d, 0).why, "in time"));
  conform_dev_close(&d);
}

/* A wrong result that a check finds costs the card its place until it has passed its test again. */
static void test_wrong_result(void **st) {
  (void)st;
  conform_dev_t d;
  gen_t g = {11};
  char why[256] = "";
  open_cards(&d, QUICK, "fault=wrong:3"); /* the first launch after the test */
  conform_net_t *c = QUICK;
  qr_accel_job_t job = attempt_with(&d, c, &g, NULL);
  assert_int_equal(job.err, 0);
  memcpy(c->want, c->model, c->net.model_sz);
  for (uint32_t k = 0; k < CONFORM_STEP_MAX; k++) {
    uint64_t dig[QR_STEP_GEMM_MAX_CNT], td;
    uint32_t b = c->net.spec.batch;
    qr_ref_step(c->ref, c->want, c->obs + 1 + (size_t)k * b * c->net.in_sz, c->act + k * b,
                c->target + k * b, &c->sigma, k, 0, dig, &td);
  }
  assert_memory_not_equal(c->out, c->want, c->net.model_sz);
  g_ops->judge(d.dev, job.unit, false);
  qr_accel_unit_t u = unit_of(&d, 0);
  assert_int_equal(u.state, QR_ACCEL_UNIT_QUARANTINED);
  assert_int_equal(u.hw_errors, 1);
  assert_int_equal(u.checked, 1);
  await_ready(&d, 0);
  assert_int_equal(unit_of(&d, 0).reloads, 1);
  g_ops->judge(d.dev, 0, true);
  assert_int_equal(unit_of(&d, 0).checked, 2);
  assert_int_equal(unit_of(&d, 0).hw_errors, 1);
  conform_dev_close(&d);

  /* one that fails its test never gets work */
  qr_accel_t *a;
  qr_accel_queue_t *q;
  uint32_t id;
  assert_int_equal(g_ops->open("emulate,fault=wrong:2", &a, why, sizeof why), 0);
  assert_int_equal(g_ops->load(a, &c->net, &c->prog, &id), 0);
  assert_int_equal(g_ops->queue_open(a, &q), QR_ERR_IO);
  assert_int_equal(g_ops->units(a, &u, 1), 1);
  assert_int_equal(u.hw_errors, 1);
  assert_non_null(strstr(u.why, "wrong answer"));
  g_ops->close(a);
}

static void test_choice(void **st) {
  (void)st;
  static const struct {
    const char *options, *why;
  } bad[] = {{"emulate,cards=2,card=2", "no card 2"},
             {"emulate,cards=17", "1 to 16"},
             {"emulate,speed=9", "unknown option speed"},
             {"emulate,mode=hw", "sw_emu or hw_emu"},
             {"emulate,bitstream=/nowhere", "/nowhere"},
             {"emulate,accept_unsigned=yes", QR_BITSTREAM_ACCEPT},
             {"emulate=/nowhere,bitstream=%s", "/nowhere/xrt/lib"},
             {"emulate,worker=/nowhere", "/nowhere is missing"},
             {"fault=die:2", "emulated"},
             {"sysfs=/nowhere", "no PCI bus"}};
  char why[512], options[512];
  qr_accel_t *a;
  qr_accel_unit_t u;
  for (size_t i = 0; i < QR_ARRAY_CNT(bad); i++) {
    const char *hole = strstr(bad[i].options, "%s");
    snprintf(options, sizeof options, "%.*s%s", hole ? (int)(hole - bad[i].options) : 200,
             bad[i].options, hole ? getenv("QUARRY_TEST_BITSTREAM") : "");
    assert_int_not_equal(g_ops->open(options, &a, why, sizeof why), 0);
    if (!strstr(why, bad[i].why)) fail_msg("%s: '%s'", options, why);
  }
  assert_int_equal(g_ops->open("emulate,cards=3,card=2,look", &a, why, sizeof why), 0);
  assert_int_equal(g_ops->units(a, &u, 1), 1);
  assert_string_equal(u.id, "emu:2");
  g_ops->close(a);
}

/* A bitstream that nobody vouches for, and that was accepted in words, is known by its unit. */
static void test_unsigned(void **st) {
  (void)st;
  char dir[] = "/tmp/quarry-unsigned-XXXXXX", options[512], command[768], why[512];
  qr_accel_t *a;
  qr_accel_unit_t u;
  assert_non_null(mkdtemp(dir));
  snprintf(command, sizeof command, "cp '%s' %s/x.xclbin", getenv("QUARRY_TEST_BITSTREAM"), dir);
  assert_int_equal(system(command), 0);
  snprintf(options, sizeof options, "emulate,bitstream=%s/x.xclbin", dir);
  assert_int_not_equal(g_ops->open(options, &a, why, sizeof why), 0);
  strcat(options, ",accept_unsigned=" QR_BITSTREAM_ACCEPT);
  assert_int_equal(g_ops->open(options, &a, why, sizeof why), 0);
  assert_int_equal(g_ops->units(a, &u, 1), 1);
  assert_non_null(strstr(u.kernel, ", unsigned"));
  g_ops->close(a);
  snprintf(command, sizeof command, "rm -r %s", dir);
  assert_int_equal(system(command), 0);
}

int main(void) {
  char why[256], self[400];
  qr_accel_t *a;
  gen_t g = {1};
  qr_net_t net[2];
  if (qr_crypto_init()) return 1;
  qr_log_init(QR_LOG_ERROR, 2);
  g_ops = qr_accel_driver("xrt");
  int err = g_ops ? g_ops->open("emulate,look", &a, why, sizeof why) : QR_ERR_NOTFOUND;
  if (err) {
    fprintf(stderr, "skipped: %s\n", g_ops ? why : "this build has no driver accel/xrt");
    return SKIPPED;
  }
  g_ops->close(a);
  ssize_t n = readlink("/proc/self/exe", self, 300);
  self[n > 0 ? n : 0] = 0;
  for (int i = 0; i < 2; i++) *strrchr(self, '/') = 0;
  strcat(self, "/emu/engine.sw_emu.xclbin");
  setenv("QUARRY_TEST_BITSTREAM", self, 1);
  for (int i = 0; i < NET_CNT; i++) {
    if (i < 4) conform_genesis_nets(net);
    while (i >= 4 && !gen_net(&g, (uint32_t)i % 3, &net[0])) {
    }
    conform_net_open(&g_nets[i], &net[0]);
  }
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_choice),
                                     cmocka_unit_test(test_unsigned),
                                     cmocka_unit_test(test_patience),
                                     cmocka_unit_test(test_card_goes_and_comes),
                                     cmocka_unit_test(test_kept_replay_is_lost),
                                     cmocka_unit_test(test_others_go_on),
                                     cmocka_unit_test(test_ladder),
                                     cmocka_unit_test(test_hang),
                                     cmocka_unit_test(test_wrong_result)};
  err = cmocka_run_group_tests(tests, NULL, NULL);
  for (int i = 0; i < NET_CNT; i++) conform_net_close(&g_nets[i]);
  return err;
}
