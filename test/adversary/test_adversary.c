/* The adversary's miner is exact: for every trick it gives what the reference gives, on networks
   small enough to run it often. And what it leaves out it does leave out: a miner that knows
   another model's results gives wrong ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "app/bench_adversary.h"
#include "base/err.h"
#include "base/splitmix.h"
#include "step/ref.h"

#define STEP_CNT 4u
#define WATCH_CNT 6u
#define ATTEMPT_CNT 2u

static qr_adversary_lib_t lib;
static uint64_t seed = 7;

static uint32_t draw(uint32_t n) { return (uint32_t)(qr_splitmix_next(&seed) % n); }

static const qr_net_spec_t specs[] = {
    {.in_c = 64,
     .in_h = 1,
     .in_w = 1,
     .action_cnt = 3,
     .layer_cnt = 3,
     .layers = {{.out = 64, .lr_shift = 1, .init_fan = 64}, {.out = 64, .lr_shift = 1}, {.out = 3}},
     .batch = 64,
     .act_frac = 5},
    {.in_c = 8,
     .in_h = 4,
     .in_w = 8,
     .action_cnt = 2,
     .layer_cnt = 4,
     .layers = {{.kind = QR_LAYER_CONV3, .out = 16, .stride_y = 1, .stride_x = 2, .lr_shift = 2},
                {.kind = QR_LAYER_CONV3, .out = 32, .stride_y = 2, .stride_x = 2, .lr_shift = 2},
                {.out = 32, .lr_shift = 1},
                {.out = 2}},
     .batch = 32,
     .act_frac = 4},
};
#define NET_CNT (sizeof specs / sizeof *specs)

/* Everything that one network takes. */
typedef struct {
  qr_net_t net;
  qr_step_prog_t prog;
  qr_ref_t *ref;
  uint8_t *honest, *model, *out, *expected;
  int8_t *obs;
  uint8_t *act;
  int32_t *target;
  uint64_t digests[STEP_CNT * QR_STEP_GEMM_MAX_CNT],
      expected_digests[STEP_CNT][QR_STEP_GEMM_MAX_CNT];
  uint64_t sums[STEP_CNT], expected_sums[STEP_CNT];
  qr_accel_job_t job;
} rig_t;

static void *take(size_t sz) {
  void *p = aligned_alloc(QR_CACHE_LINE, qr_align_up(sz, QR_CACHE_LINE));
  assert_non_null(p);
  return p;
}

static void rig_init(rig_t *r, const qr_net_spec_t *spec) {
  char why[128];
  qr_hash_t genesis = {{9}};
  memset(r, 0, sizeof *r);
  assert_int_equal(qr_net_init(spec, &r->net, why, sizeof why), 0);
  qr_step_lower(&r->net, &r->prog);
  r->ref = qr_ref_init(take(qr_ref_footprint(&r->net)), &r->net, &r->prog);
  r->honest = take(r->net.model_sz);
  r->model = take(r->net.model_sz);
  r->out = take(r->net.model_sz);
  r->expected = take(r->net.model_sz);
  r->obs = take((size_t)STEP_CNT * spec->batch * r->net.in_sz);
  r->act = take(STEP_CNT * spec->batch);
  r->target = take(STEP_CNT * spec->batch * sizeof *r->target);
  qr_model_init(&r->net, &genesis, r->honest);
}

static void rig_fini(rig_t *r) {
  free(r->ref);
  free(r->honest);
  free(r->model);
  free(r->out);
  free(r->expected);
  free(r->obs);
  free(r->act);
  free(r->target);
}

/* Another attempt: fresh draws and minibatches. */
static void rig_draw(rig_t *r) {
  size_t rows = STEP_CNT * r->net.spec.batch;
  for (size_t i = 0; i < rows * r->net.in_sz; i++) r->obs[i] = (int8_t)((int)draw(128) - 64);
  for (size_t i = 0; i < rows; i++) {
    r->act[i] = (uint8_t)draw(r->net.spec.action_cnt);
    r->target[i] = (int32_t)draw(1 << 17) - (1 << 16);
  }
  r->job = (qr_accel_job_t){.kind = QR_ACCEL_ATTEMPT,
                            .model_in = r->model,
                            .model_out = r->out,
                            .step_cnt = STEP_CNT,
                            .obs = r->obs,
                            .act = r->act,
                            .target = r->target,
                            .digests = r->digests,
                            .td_abs_sum = r->sums};
  for (uint32_t i = 0; i < QR_HASH_SZ; i++) r->job.sigma.b[i] = (uint8_t)draw(256);
}

/* The same attempt by the reference; true if all that makes a ticket is equal. */
static bool matches(rig_t *r) {
  uint32_t batch = r->net.spec.batch, n = r->prog.digest_cnt;
  memcpy(r->expected, r->model, r->net.model_sz);
  for (uint32_t k = 0; k < STEP_CNT; k++) {
    qr_ref_step(r->ref, r->expected, r->obs + (size_t)k * batch * r->net.in_sz, r->act + k * batch,
                r->target + k * batch, &r->job.sigma, k, 0, r->expected_digests[k],
                &r->expected_sums[k]);
    if (memcmp(r->digests + k * n, r->expected_digests[k], n * sizeof *r->digests)) return false;
    if (r->sums[k] != r->expected_sums[k]) return false;
  }
  return !memcmp(r->out, r->expected, r->net.model_sz);
}

static qr_adversary_miner_t *watch(rig_t *r, uint32_t trick) {
  qr_adversary_miner_t *m = NULL;
  lib.adversary->make_model(trick, &r->net, r->honest, r->model);
  assert_int_equal(lib.adversary->open(&r->net, NULL, &m), 0);
  for (uint32_t i = 0; i < WATCH_CNT; i++) {
    rig_draw(r);
    lib.adversary->watch(m, &r->job);
    assert_true(matches(r));
  }
  return m;
}

static uint32_t find(const char *name) {
  for (uint32_t i = 0; lib.adversary->tricks[i].name; i++) {
    if (!strcmp(lib.adversary->tricks[i].name, name)) return i;
  }
  fail_msg("there is no trick %s", name);
  return 0;
}

static void test_exact(void **state) {
  (void)state;
  for (uint32_t s = 0; s < NET_CNT; s++) {
    rig_t r;
    rig_init(&r, &specs[s]);
    for (uint32_t i = 0; lib.adversary->tricks[i].name; i++) {
      char removed[192];
      qr_adversary_miner_t *m = watch(&r, i);
      lib.adversary->removed(m, removed, sizeof removed);
      print_message("network %u, %s: leaves out %s\n", s, lib.adversary->tricks[i].name, removed);
      for (uint32_t k = 0; k < ATTEMPT_CNT; k++) {
        rig_draw(&r);
        lib.adversary->attempt(m, &r.job);
        assert_true(matches(&r));
      }
      lib.adversary->close(m);
    }
    rig_fini(&r);
  }
}

/* An honest model leaves nothing to leave out, one without errors below the last layer does. */
static void test_removed(void **state) {
  (void)state;
  rig_t r;
  char removed[192];
  rig_init(&r, &specs[0]);
  qr_adversary_miner_t *m = watch(&r, find("frozen"));
  lib.adversary->removed(m, removed, sizeof removed);
  assert_string_equal(removed, "nothing");
  lib.adversary->close(m);
  m = watch(&r, find("vanishing"));
  lib.adversary->removed(m, removed, sizeof removed);
  assert_non_null(strstr(removed, "errors 1"));
  lib.adversary->close(m);
  rig_fini(&r);
}

/* What is left out of one model is missing from another: the comparison sees it. */
static void test_wrong_model(void **state) {
  (void)state;
  rig_t r;
  rig_init(&r, &specs[0]);
  qr_adversary_miner_t *m = watch(&r, find("vanishing"));
  memcpy(r.model, r.honest, r.net.model_sz);
  rig_draw(&r);
  lib.adversary->attempt(m, &r.job);
  assert_false(matches(&r));
  lib.adversary->watch(m, &r.job); /* in full it is right again */
  assert_true(matches(&r));
  lib.adversary->close(m);
  rig_fini(&r);
}

static void multiply(const char *kernel, uint32_t m, uint32_t n, uint32_t k, int a_max, int b_max) {
  int8_t *a = take((size_t)m * k), *b = take((size_t)n * k);
  qr_adversary_product_t p = {.m = m,
                              .n = n,
                              .k = k,
                              .flush = 16,
                              .b_max = b_max,
                              .a = a,
                              .b = b,
                              .c = take((size_t)m * n * sizeof *p.c),
                              .scratch = take(QR_ADVERSARY_SCRATCH_SZ(k))};
  assert_true(16 * a_max * b_max <= INT8_MAX);
  for (size_t i = 0; i < (size_t)m * k; i++)
    a[i] = (int8_t)((int)draw((uint32_t)(2 * a_max + 1)) - a_max);
  for (size_t i = 0; i < (size_t)n * k; i++)
    b[i] = (int8_t)((int)draw((uint32_t)(2 * b_max + 1)) - b_max);
  lib.adversary->multiply(kernel, &p);
  for (uint32_t i = 0; i < m; i++) {
    for (uint32_t j = 0; j < n; j++) {
      int sum = 0;
      for (uint32_t q = 0; q < k; q++) sum += a[(size_t)q * m + i] * b[(size_t)q * n + j];
      assert_int_equal(p.c[(size_t)j * m + i], sum);
    }
  }
  free(a);
  free(b);
  free(p.c);
  free(p.scratch);
}

static void test_lookup(void **state) {
  static const char *const kernels[] = {NULL, "avx2", "portable"};
  (void)state;
  for (uint32_t i = 0; i < QR_ARRAY_CNT(kernels); i++) {
    multiply(kernels[i], 64, 4, 16, 1, 4);
    multiply(kernels[i], 128, 36, 80, 3, 2);
    multiply(kernels[i], 192, 100, 48, 2, 3);
    multiply(kernels[i], 64, QR_ADVERSARY_N_MAX, 32, 7, 1);
  }
}

static int setup(void **state) {
  (void)state;
  qr_adversary_load(&lib, QR_ADVERSARY_DIR);
  if (!lib.adversary) fprintf(stderr, "%s\n", lib.why);
  return lib.adversary ? 0 : -1;
}

static int teardown(void **state) {
  (void)state;
  qr_adversary_unload(&lib);
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_exact),
      cmocka_unit_test(test_removed),
      cmocka_unit_test(test_wrong_model),
      cmocka_unit_test(test_lookup),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
