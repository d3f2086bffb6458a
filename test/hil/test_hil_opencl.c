/* OpenCL devices: the first of this machine, which the package pocl-opencl-icd makes of the
   processor, or the one that QUARRY_HIL_OPENCL=<options> means. The conformance of every
   accelerator with each kind of kernels, both networks of the chain at their full size against the
   CPU driver, tuning and its cache, and what is said when there is nothing. */
#include "accel_conform.h"

#include <dirent.h>
#include <unistd.h>

#include "chain/params.h"
#include "crypto/hash.h"
#include "port/drivers.h"

#define SKIPPED 77

static const qr_accel_ops_t *g_ops;
static const char *g_device; /* options that choose it */
static char g_cache[] = "/tmp/quarry-opencl-test.XXXXXX";

static const char *with(const char *options) {
  static char text[512];
  snprintf(text, sizeof text, "%s%s%s", g_device, *g_device ? "," : "", options);
  return text;
}

/* Both kinds of products and of draws, whichever the device would choose, and products cut along k
   for a device of many units. The circuit for draws is for processors. */
static void test_conforms(void **st) {
  (void)st;
  static const char *const kinds[] = {"tune=off", "product=tile,draw=table", "product=vector",
                                      "units=64,product=tile", "units=64,product=vector"};
  for (size_t i = 0; i < QR_ARRAY_CNT(kinds); i++)
    assert_true(conform_all(g_ops, with(kinds[i]), 51 + i));
}

/* ---- the networks of the chain ---- */

typedef struct {
  const qr_accel_ops_t *ops;
  qr_accel_t *dev;
  qr_accel_queue_t *q;
  uint32_t id;
  uint8_t *model;
  uint64_t digests[CONFORM_STEP_MAX * QR_STEP_GEMM_MAX_CNT], td[CONFORM_STEP_MAX];
  int32_t *q_values;
} side_t;

static void side_open(side_t *s, const qr_accel_ops_t *ops, const char *options,
                      const qr_net_t *net) {
  char why[256] = "";
  qr_step_prog_t prog;
  qr_step_lower(net, &prog);
  s->ops = ops;
  if (ops->open(options, &s->dev, why, sizeof why)) fail_msg("%s", why);
  assert_int_equal(ops->load(s->dev, net, &prog, &s->id), 0);
  assert_int_equal(ops->queue_open(s->dev, &s->q), 0);
  s->model = conform_take(net->model_sz);
  s->q_values = conform_take(CONFORM_ROW_MAX * net->spec.action_cnt * 4);
}

static void side_close(side_t *s) {
  s->ops->queue_close(s->q);
  s->ops->close(s->dev);
  free(s->model), free(s->q_values);
}

static void side_run(side_t *s, conform_net_t *c) {
  qr_accel_job_t job = conform_attempt(c, CONFORM_STEP_MAX, 1);
  job.prog = s->id;
  job.model_out = s->model;
  job.digests = s->digests;
  job.td_abs_sum = s->td;
  assert_int_equal(s->ops->submit(s->q, &job), 0);
  conform_wait(s->ops, s->q, &job);
  assert_int_equal(job.err, 0);
  assert_int_equal(job.steps_done, CONFORM_STEP_MAX);
  job = conform_forward(c, CONFORM_ROW_MAX);
  job.prog = s->id;
  job.q = s->q_values;
  job.model_in = s->model; /* the one that was just trained */
  assert_int_equal(s->ops->submit(s->q, &job), 0);
  conform_wait(s->ops, s->q, &job);
  assert_int_equal(job.err, 0);
}

/* Two drivers that know nothing of each other agree on attempts and forward passes. */
static void test_agrees_with_the_cpu(void **st) {
  (void)st;
  qr_params_t p;
  char why[128];
  gen_t g = {7};
  assert_true(qr_params_profile("devnet", &p));
  for (uint32_t i = 0; i < p.task_cnt; i++) {
    qr_net_t net;
    conform_net_t c;
    side_t cl = {0}, cpu = {0};
    assert_int_equal(qr_net_init(&p.tasks[i].net, &net, why, sizeof why), 0);
    conform_net_open(&c, &net);
    side_open(&cl, g_ops, with("tune=off"), &net);
    side_open(&cpu, qr_accel_driver("cpu"), "", &net);
    for (int mode = GEN_INIT; mode <= GEN_EXTREME; mode++) {
      conform_fill(&c, &g, mode);
      side_run(&cl, &c);
      side_run(&cpu, &c);
      assert_memory_equal(cl.digests, cpu.digests, CONFORM_STEP_MAX * c.prog.digest_cnt * 8);
      assert_memory_equal(cl.td, cpu.td, sizeof cl.td);
      assert_memory_equal(cl.model, cpu.model, net.model_sz);
      assert_memory_equal(cl.q_values, cpu.q_values, CONFORM_ROW_MAX * net.spec.action_cnt * 4);
    }
    side_close(&cl);
    side_close(&cpu);
    conform_net_close(&c);
  }
}

/* Steps are shown as they are done, and the caller is not held: a poll takes far less than a step.
 */
static void test_shows_steps_as_they_come(void **st) {
  (void)st;
  qr_params_t p;
  qr_net_t net;
  conform_net_t c;
  conform_dev_t d;
  char why[128];
  gen_t g = {8};
  uint32_t seen = 0, rises = 0, held = 0;
  assert_true(qr_params_profile("devnet", &p));
  assert_int_equal(qr_net_init(&p.tasks[0].net, &net, why, sizeof why), 0);
  conform_net_open(&c, &net);
  assert_true(conform_dev_open(&d, g_ops, with("tune=off"), &c, 1));
  conform_fill(&c, &g, GEN_INIT);
  for (int round = 0; round < 8; round++) {
    qr_accel_job_t job = conform_attempt(&c, CONFORM_STEP_MAX, 1);
    time_t end = time(NULL) + CONFORM_WAIT_S;
    assert_int_equal(g_ops->submit(d.q, &job), 0);
    (void)g_ops->poll(d.q);
    held += job.finished;
    for (seen = 0; seen < CONFORM_STEP_MAX && time(NULL) < end; (void)g_ops->poll(d.q)) {
      rises += job.steps_done > seen;
      seen = job.steps_done;
    }
    conform_wait(g_ops, d.q, &job);
    assert_int_equal(seen, CONFORM_STEP_MAX);
  }
  conform_check_attempt(&c, c.model, CONFORM_STEP_MAX, 1);
  assert_true(rises > 8); /* more often than once a job */
  assert_true(held < 4);
  conform_dev_close(&d);
  conform_net_close(&c);
}

static void test_times_phases(void **st) {
  (void)st;
  conform_net_t c;
  conform_dev_t d;
  qr_net_t nets[2];
  gen_t g = {9};
  uint64_t ns[8] = {0};
  uint32_t cnt = 0;
  conform_genesis_nets(nets);
  conform_net_open(&c, &nets[1]);
  assert_true(conform_dev_open(&d, g_ops, with("tune=off"), &c, 1));
  conform_fill(&c, &g, GEN_INIT);
  /* a job that is not timed before and after: they share no command queue */
  for (int i = 0; i < 3; i++) {
    qr_accel_job_t job = conform_attempt(&c, CONFORM_STEP_MAX, 0);
    if (i == 1) job.phase_ns = ns;
    assert_int_equal(g_ops->submit(d.q, &job), 0);
    conform_wait(g_ops, d.q, &job);
    assert_int_equal(job.err, 0);
    conform_check_attempt(&c, c.model, CONFORM_STEP_MAX, 0);
  }
  for (; g_ops->phases[cnt]; cnt++) assert_true(cnt < 8 && ns[cnt] > 0);
  assert_true(cnt >= 3);
  conform_dev_close(&d);
  conform_net_close(&c);
}

/* ---- programs of a user's own ---- */

/* A few changes to a lowered program: ops that change places with their neighbours, come twice or
   not at all. Whatever it computes then, it is defined: ops run one after another. */
static void disturb(gen_t *g, qr_step_prog_t *p) {
  for (int64_t cnt = gen_range(g, 1, 6); cnt; cnt--) {
    uint32_t i = (uint32_t)gen_range(g, 0, p->op_cnt - 2);
    qr_step_op_t op = p->ops[i];
    switch (gen_range(g, 0, 7)) {
    case 0: /* comes again, here or later */
      if (p->op_cnt + 1 == QR_STEP_OP_MAX_CNT) break;
      op.digest = QR_STEP_NO_DIGEST;
      i = (uint32_t)gen_range(g, i + 1, p->op_cnt);
      memmove(&p->ops[i + 1], &p->ops[i], (p->op_cnt++ - i) * sizeof op);
      p->ops[i] = op;
      break;
    case 1:
      if (op.digest != QR_STEP_NO_DIGEST) break;
      memmove(&p->ops[i], &p->ops[i + 1], (--p->op_cnt - i) * sizeof op);
      p->ops[p->op_cnt] = (qr_step_op_t){.kind = QR_OP_END};
      break;
    default:
      p->ops[i] = p->ops[i + 1];
      p->ops[i + 1] = op;
      break;
    }
  }
}

/* Programs that no lowering makes are refused, or do what the reference does. */
static void disturbed_programs(const char *options, uint64_t seed, uint32_t *ran) {
  enum { PROG_CNT = 12 };
  static conform_net_t nets[PROG_CNT];
  conform_dev_t d = {.ops = g_ops};
  bool runs[PROG_CNT];
  char why[512] = "";
  gen_t g = {seed};
  if (g_ops->open(options, &d.dev, why, sizeof why)) fail_msg("%s", why);
  for (uint32_t i = 0; i < PROG_CNT; i++) {
    conform_net_t *c = &nets[i];
    qr_net_t net;
    assert_true(gen_net(&g, i % 3, &net));
    conform_net_open(c, &net);
    disturb(&g, &c->prog);
    memset(c->ref_mem, 0, qr_ref_footprint(&net));
    c->ref = qr_ref_init(c->ref_mem, &c->net, &c->prog);
    int err = g_ops->load(d.dev, &net, &c->prog, &c->id);
    if (err && err != QR_ERR_UNSUPPORTED) fail_msg("program %u: %s", i, qr_err_str(err));
    runs[i] = !err;
  }
  assert_int_equal(g_ops->queue_open(d.dev, &d.q), 0);
  for (uint32_t i = 0; i < PROG_CNT; i++) {
    conform_net_t *c = &nets[i];
    conform_fill(c, &g, i & 1 ? GEN_UNIFORM : GEN_INIT);
    qr_accel_job_t job = conform_attempt(c, 2, 1);
    if (runs[i]) {
      assert_int_equal(g_ops->submit(d.q, &job), 0);
      conform_wait(g_ops, d.q, &job);
      assert_int_equal(job.err, 0);
      conform_check_attempt(c, c->model, 2, 1);
      (*ran)++;
    }
    conform_net_close(c);
  }
  conform_dev_close(&d);
}

static void test_disturbed_programs(void **st) {
  (void)st;
  enum { ROUND_CNT = 16 };
  uint32_t ran = 0;
  for (uint32_t i = 0; i < ROUND_CNT; i++)
    disturbed_programs(with(i & 1 ? "units=64,product=tile" : "tune=off"), 900 + i, &ran);
  assert_true(ran > ROUND_CNT * 2);
}

/* ---- units ---- */

static void test_units(void **st) {
  (void)st;
  qr_accel_unit_t found[QR_ACCEL_UNIT_MAX_CNT], u;
  qr_accel_bandwidth_t b;
  conform_net_t c;
  conform_dev_t d;
  qr_net_t nets[2];
  char why[256] = "";
  gen_t g = {10};
  assert_true(g_ops->find(g_device, found, QR_ACCEL_UNIT_MAX_CNT, why, sizeof why) >= 1);
  assert_true(found[0].id[0] && found[0].name[0]);
  assert_int_equal(g_ops->find("device=no such card", found, 1, why, sizeof why), 0);
  assert_non_null(strstr(why, "no such card"));
  conform_genesis_nets(nets);
  conform_net_open(&c, &nets[0]);
  assert_true(conform_dev_open(&d, g_ops, with("tune=off"), &c, 1));
  assert_int_equal(g_ops->units(d.dev, &u, 1), 1);
  assert_true(u.jobs_done == 0 && u.valid_ago_ms == UINT64_MAX);
  conform_fill(&c, &g, GEN_INIT);
  qr_accel_job_t job = conform_attempt(&c, 1, 0);
  assert_int_equal(g_ops->submit(d.q, &job), 0);
  conform_wait(g_ops, d.q, &job);
  g_ops->judge(d.dev, 0, true);
  g_ops->judge(d.dev, 0, false);
  assert_int_equal(g_ops->units(d.dev, &u, 1), 1);
  assert_true(u.jobs_done == 1 && u.checked == 2 && u.hw_errors == 1 && u.valid_ago_ms < 60000);
  if (g_ops->bandwidth(d.dev, 0, &b, why, sizeof why)) fail_msg("%s", why);
  assert_true(b.sz && b.to_ns && b.from_ns);
  assert_int_equal(g_ops->bandwidth(d.dev, 1, &b, why, sizeof why), QR_ERR_NOTFOUND);
  assert_true(u.kernel[0]);
  conform_dev_close(&d);
  /* only looked at: there, with nothing loaded, and no job can be given to it */
  if (g_ops->open(with("look"), &d.dev, why, sizeof why)) fail_msg("%s", why);
  assert_int_equal(g_ops->units(d.dev, &u, 1), 1);
  assert_true(u.state == QR_ACCEL_UNIT_READY && u.name[0] && !u.kernel[0]);
  assert_int_equal(g_ops->bandwidth(d.dev, 0, &b, why, sizeof why), 0);
  assert_true(g_ops->queue_open(d.dev, &d.q) < 0);
  g_ops->close(d.dev);
  conform_net_close(&c);
}

/* ---- options ---- */

static void test_options(void **st) {
  (void)st;
  static const struct {
    const char *options, *word;
    int err;
  } bad[] = {
      {"device=no such card", "device= can be 0 (", QR_ERR_NOTFOUND},
      {"device=999", "device= can be 0 (", QR_ERR_NOTFOUND},
      {"platform=no such maker", "no such maker", QR_ERR_NOTFOUND},
      {"tune=maybe", "auto, off or force", QR_ERR_ARG},
      {"product=cube", "vector or tile", QR_ERR_ARG},
      {"draw=lots", "table or sliced", QR_ERR_ARG},
      {"units=0", "1 to 4096", QR_ERR_ARG},
      {"look=1", "no value", QR_ERR_ARG},
      {"speed=9", "speed", QR_ERR_ARG},
      {"=x", "key=value", QR_ERR_ARG},
  };
  for (size_t i = 0; i < QR_ARRAY_CNT(bad); i++) {
    qr_accel_t *a;
    char why[512] = "";
    assert_int_equal(g_ops->open(bad[i].options, &a, why, sizeof why), bad[i].err);
    if (!strstr(why, bad[i].word)) fail_msg("'%s': %s", bad[i].options, why);
  }
}

/* ---- tuning ---- */

/* The only file in the cache, or an empty string. */
static void cache_file(char *out, size_t out_sz) {
  char folder[128];
  out[0] = 0;
  snprintf(folder, sizeof folder, "%s/quarry", g_cache);
  DIR *d = opendir(folder);
  if (!d) return;
  for (struct dirent *e = readdir(d); e; e = readdir(d)) {
    if (e->d_name[0] == '.') continue;
    assert_false(out[0]);
    snprintf(out, out_sz, "%s/%.100s", folder, e->d_name);
  }
  closedir(d);
}

static void read_all(const char *path, char *out, size_t out_sz) {
  FILE *f = fopen(path, "r");
  assert_non_null(f);
  out[fread(out, 1, out_sz - 1, f)] = 0;
  fclose(f);
}

static void write_all(const char *path, const char *text) {
  FILE *f = fopen(path, "w");
  assert_non_null(f);
  fputs(text, f);
  fclose(f);
}

static void open_and_close(const char *options) {
  qr_accel_t *a;
  char why[512] = "";
  if (g_ops->open(options, &a, why, sizeof why)) fail_msg("%s", why);
  g_ops->close(a);
}

/* The text of a cache file with another value for a key. */
static void with_value(const char *text, const char *key, int value, char *out, size_t out_sz) {
  char start[32];
  snprintf(start, sizeof start, "\n%s = ", key);
  const char *at = strstr(text, start);
  assert_non_null(at);
  snprintf(out, out_sz, "%.*s%s%d%s", (int)(at - text), text, start, value, strchr(at + 1, '\n'));
}

/* What was tuned is kept, used, and made anew where it cannot be read; without a place to keep it,
   the driver works all the same. */
static void test_tuning_is_kept(void **st) {
  (void)st;
  char path[300], first[4096], text[4096], last[4096];
  assert_int_equal(setenv("XDG_CACHE_HOME", g_cache, 1), 0);
  open_and_close(with("tune=off"));
  cache_file(path, sizeof path);
  assert_string_equal(path, "");

  assert_true(conform_all(g_ops, with("tune=force"), 61));
  cache_file(path, sizeof path);
  assert_true(path[0]);
  read_all(path, first, sizeof first);
  assert_non_null(strstr(first, "rows = "));

  /* used as it is: something else, but possible, survives */
  with_value(first, "runs", 33, text, sizeof text);
  write_all(path, text);
  assert_true(conform_all(g_ops, with("tune=auto"), 62));
  read_all(path, last, sizeof last);
  assert_string_equal(last, text);

  /* cut off, of another program, not text, and values that the kernels do not know */
  char odd[2][4096];
  with_value(first, "tile_x", 48, odd[0], sizeof odd[0]);
  with_value(first, "rows", 6, odd[1], sizeof odd[1]);
  const char *const broken[] = {"", "vector = 1\n", "frob = 1\n", "\377\376", odd[0], odd[1]};
  for (size_t i = 0; i < QR_ARRAY_CNT(broken); i++) {
    write_all(path, broken[i]);
    open_and_close(g_device);
    read_all(path, last, sizeof last);
    assert_string_not_equal(last, broken[i]);
    assert_non_null(strstr(last, "rows = "));
  }
  (void)unlink(path);
  assert_int_equal(setenv("XDG_CACHE_HOME", "/proc/no place", 1), 0);
  open_and_close(g_device);
  assert_int_equal(setenv("XDG_CACHE_HOME", g_cache, 1), 0);
}

static void remove_cache(void) {
  char path[300];
  cache_file(path, sizeof path);
  if (path[0]) (void)unlink(path);
  snprintf(path, sizeof path, "%s/quarry", g_cache);
  (void)rmdir(path);
  (void)rmdir(g_cache);
}

/* The platform's own: it keeps what it compiled until the process ends. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void) {
  return "leak:libpocl\nleak:libLLVM\nleak:libclang\nleak:libOpenCL\n";
}

int main(void) {
  qr_accel_t *a;
  char why[512];
  if (qr_crypto_init()) return 1;
  g_ops = qr_accel_driver("opencl");
  if (!g_ops) {
    fprintf(stderr, "skipped: this build has no driver accel/opencl\n");
    return SKIPPED;
  }
  const char *wanted = getenv("QUARRY_HIL_OPENCL");
  g_device = wanted ? wanted : "";
  if (g_ops->open(with("tune=off"), &a, why, sizeof why)) {
    fprintf(stderr, "%s: %s\n", wanted ? "failed" : "skipped", why);
    return wanted ? 1 : SKIPPED;
  }
  g_ops->close(a);
  if (!mkdtemp(g_cache)) return 1;
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_options),
                                     cmocka_unit_test(test_agrees_with_the_cpu),
                                     cmocka_unit_test(test_shows_steps_as_they_come),
                                     cmocka_unit_test(test_times_phases),
                                     cmocka_unit_test(test_disturbed_programs),
                                     cmocka_unit_test(test_units),
                                     cmocka_unit_test(test_conforms),
                                     cmocka_unit_test(test_tuning_is_kept)};
  int rc = cmocka_run_group_tests(tests, NULL, NULL);
  remove_cache();
  return rc;
}
