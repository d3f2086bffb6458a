/* Tickets are uniform and independent: over the nonce with a frozen model, and along the line of a
   miner that goes on training. 100,000 toy attempts each, through the same hashes and the same
   training step as real ones. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/philox.h"
#include "base/u256.h"
#include "crypto/hash.h"
#include "step/ref.h"
#include "wire/header.h"

#define ATTEMPT_CNT 100000
#define BIN_CNT 256
#define MODEL_MAX_SZ 4096

typedef struct {
  qr_net_t net;
  qr_step_prog_t prog;
  qr_ref_t *ref;
  uint8_t model[MODEL_MAX_SZ], genesis[MODEL_MAX_SZ];
  int8_t obs[16 * 16];
  uint8_t act[16];
  int32_t target[16];
} toy_t;

static void toy_init(toy_t *t) {
  char why[128];
  qr_net_spec_t spec = {.in_c = 16,
                        .in_h = 1,
                        .in_w = 1,
                        .action_cnt = 2,
                        .layer_cnt = 2,
                        .batch = 16,
                        .act_frac = 5,
                        .layers = {{.kind = QR_LAYER_DENSE, .out = 16, .lr_shift = 1},
                                   {.kind = QR_LAYER_DENSE, .out = 2, .lr_shift = 1}}};
  assert_int_equal(qr_crypto_init(), 0);
  if (qr_net_init(&spec, &t->net, why, sizeof why)) fail_msg("%s", why);
  qr_step_lower(&t->net, &t->prog);
  t->ref =
      qr_ref_init(aligned_alloc(64, qr_align_up(qr_ref_footprint(&t->net), 64)), &t->net, &t->prog);
  qr_hash_t seed = qr_hash("test", "ticket", 6);
  assert_true(t->net.model_sz <= MODEL_MAX_SZ);
  qr_model_init(&t->net, &seed, t->genesis);
  qr_philox_t p = qr_philox_init(&seed, 1);
  for (uint32_t i = 0; i < sizeof t->obs; i++)
    t->obs[i] = (int8_t)(qr_philox_byte(&p, i) % 128 - 64);
  for (uint32_t i = 0; i < 16; i++) {
    t->act[i] = (uint8_t)(i & 1);
    t->target[i] = (int32_t)i * 4000 - 30000;
  }
}

/* One attempt of one step from t->model, in place; the ticket as a fraction of the whole range. */
static double attempt(toy_t *t, uint64_t nonce) {
  uint64_t digests[QR_STEP_GEMM_MAX_CNT], td;
  qr_header_t h = {.version = QR_HEADER_VERSION, .height = 1, .nonce = nonce};
  h.model_in = qr_model_root(&t->net, t->model);
  qr_hash_t sigma = qr_header_sigma(&h);
  qr_ref_step(t->ref, t->model, t->obs, t->act, t->target, &sigma, 0, 0, digests, &td);
  qr_hash_t m = qr_model_root(&t->net, t->model),
            c = qr_step_trace_next(&sigma, digests, t->prog.digest_cnt);
  qr_hash_t ticket = qr_header_ticket(&sigma, &m, &c);
  qr_u256_t v = qr_u256_from_le(ticket.b);
  return ldexp((double)(v.w[3] >> 11), -53);
}

static int compare(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* Bounds of significance 0.001; the draws are fixed, so a right implementation passes always. */
static void check_uniform(double *u) {
  double mean = 0, var = 0, cov = 0, chi = 0, ks = 0;
  uint32_t bins[BIN_CNT] = {0};
  for (int i = 0; i < ATTEMPT_CNT; i++) {
    mean += u[i] / ATTEMPT_CNT;
    bins[(int)(u[i] * BIN_CNT)]++;
  }
  for (int i = 0; i < ATTEMPT_CNT; i++) {
    var += (u[i] - mean) * (u[i] - mean);
    if (i) cov += (u[i] - mean) * (u[i - 1] - mean);
  }
  assert_true(fabs(mean - 0.5) < 3.3 * sqrt(1.0 / 12 / ATTEMPT_CNT));
  assert_true(fabs(cov / var) < 3.3 / sqrt(ATTEMPT_CNT));
  double expect = (double)ATTEMPT_CNT / BIN_CNT;
  for (int i = 0; i < BIN_CNT; i++) chi += (bins[i] - expect) * (bins[i] - expect) / expect;
  assert_true(chi < 330.6); /* 255 degrees of freedom */
  assert_true(chi > 190.0); /* too even is not random either */
  qsort(u, ATTEMPT_CNT, sizeof *u, compare);
  for (int i = 0; i < ATTEMPT_CNT; i++) {
    double below = u[i] - (double)i / ATTEMPT_CNT, above = (double)(i + 1) / ATTEMPT_CNT - u[i];
    if (below > ks) ks = below;
    if (above > ks) ks = above;
  }
  assert_true(ks * sqrt(ATTEMPT_CNT) < 1.95);
}

static void test_over_nonce(void **state) {
  toy_t *t = *state;
  double *u = calloc(ATTEMPT_CNT, sizeof *u);
  for (int i = 0; i < ATTEMPT_CNT; i++) {
    memcpy(t->model, t->genesis, t->net.model_sz);
    u[i] = attempt(t, (uint64_t)i);
  }
  check_uniform(u);
  free(u);
}

static void test_along_a_line(void **state) {
  toy_t *t = *state;
  double *u = calloc(ATTEMPT_CNT, sizeof *u);
  memcpy(t->model, t->genesis, t->net.model_sz);
  for (int i = 0; i < ATTEMPT_CNT; i++) u[i] = attempt(t, 7);
  check_uniform(u);
  free(u);
}

static int setup(void **state) {
  static toy_t t;
  toy_init(&t);
  *state = &t;
  return 0;
}

static int teardown(void **state) {
  free(((toy_t *)*state)->ref);
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_over_nonce),
      cmocka_unit_test(test_along_a_line),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
