/* The chain learns: single-node chains of one task each, mined by the product's own tiles under the
   devnet parameters, on data that the chain itself produced. Over 3 seeds the mean score of the
   last 20 blocks' models must beat the rule. Prints one JSON line a block; tools/plot-learning
   draws them. A first argument names the only task to run. */
#include "sim/world.h"

#define SEED_CNT 3
#define LAST_CNT 20
#define BLOCK_MAX_CNT 200
#define CATCH_EPISODE_ROWS 9

/* How long a chain of each task is and how much is trained for a block: an attempt of K steps wins
 * once in `attempts`. */
typedef struct {
  const char *profile, *task;
  uint32_t blocks, attempts;
} chain_case_t;

static const chain_case_t cases[] = {
    {"devnet", "microgrid", 50, 2},
    {"devnet", "microgrid-map", 50, 1},
    {"regtest-catch", "catch", 60, 40},
};

static const char *g_only;

typedef struct {
  double score, baseline;
} result_t;

/* Returns per episode for catch, in money a day for the plants (a row is an hour, a reward is
   money / 2048). */
static double readable(const qr_params_t *p, int64_t per_row_q16) {
  if (p->tasks[0].env == QR_ENV_CATCH) {
    uint32_t rows = p->eval_rows / QR_SEGMENT_INSTANCE_CNT, episodes = rows / CATCH_EPISODE_ROWS;
    return (double)per_row_q16 / 65536 * rows / episodes;
  }
  return (double)per_row_q16 / 65536 * 2048 * 24;
}

static void take_task(const chain_case_t *c, uint32_t seed, qr_params_t *p) {
  char text[64];
  assert_true(qr_params_profile(c->profile, p));
  for (uint32_t i = 0; i < p->task_cnt; i++) {
    if (!strcmp(p->tasks[i].name, c->task)) p->tasks[0] = p->tasks[i];
  }
  p->task_cnt = 1;
  p->tasks[0].work_q16 = 65536;
  memset(&p->tasks[1], 0, sizeof p->tasks[1]);
  p->asert_halflife_ms = 0;
  p->drift_ms = 600000;
  p->genesis_time_ms = UINT64_C(1735689600000);
  snprintf(text, sizeof text, "learn %u", seed);
  p->seed = qr_hash("quarry.test.learn", text, strlen(text));
  qr_u256_t all = {{UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX}},
            n = qr_u256_from_u64(c->attempts);
  all = qr_u256_div(&all, &n);
  p->max_target = qr_target_compact(&all);
}

static uint32_t mine_chain(const chain_case_t *c, uint32_t seed, result_t *out) {
  static world_t w;
  qr_params_t p;
  take_task(c, seed, &p);
  world_init(&w, c->task, &p);
  world_node_t *n = world_add(&w, true);
  uint64_t steps = 0;
  for (uint32_t h = 1; h <= c->blocks; h++) {
    world_until_height(&w, n, h, 1000000);
    qr_status_t s = world_status(&w, n);
    uint32_t at = (uint32_t)s.height - 1;
    out[at] = (result_t){readable(&p, s.tasks[0].score_last_q16),
                         readable(&p, s.tasks[0].baseline_last_q16)};
    printf("{\"task\":\"%s\",\"seed\":%u,\"block\":%u,\"score\":%.4g,\"baseline\":%.4g,\"reward\":%"
           "u,\"td\":%.4f,"
           "\"steps\":%llu}\n",
           c->task, seed, at + 1, out[at].score, out[at].baseline, s.tasks[0].reward_last,
           (double)s.tasks[0].td_last_q16 / 65536, (unsigned long long)s.steps_done);
    fflush(stdout);
    steps = s.steps_done;
    assert_int_equal(s.blocks_rejected, 0);
  }
  world_fini(&w);
  return (uint32_t)(steps / c->blocks);
}

static void learn(const chain_case_t *c, double floor) {
  if (g_only && strcmp(g_only, c->task)) skip();
  double score = 0, baseline = 0;
  uint32_t per_block = 0;
  assert_true(c->blocks <= BLOCK_MAX_CNT && c->blocks >= LAST_CNT);
  for (uint32_t seed = 1; seed <= SEED_CNT; seed++) {
    static result_t r[BLOCK_MAX_CNT];
    per_block += mine_chain(c, seed, r) / SEED_CNT;
    for (uint32_t i = c->blocks - LAST_CNT; i < c->blocks; i++) {
      score += r[i].score / LAST_CNT / SEED_CNT;
      baseline += r[i].baseline / LAST_CNT / SEED_CNT;
    }
  }
  printf("{\"task\":\"%s\",\"seeds\":%d,\"blocks\":%u,\"steps_per_block\":%u,\"mean_score_last_"
         "20\":%.5g,"
         "\"mean_baseline_last_20\":%.5g}\n",
         c->task, SEED_CNT, c->blocks, per_block, score, baseline);
  if (floor > 0)
    assert_true(score > floor);
  else
    assert_true(score > baseline);
}

static void test_microgrid(void **state) {
  (void)state;
  learn(&cases[0], 0);
}

static void test_microgrid_map(void **state) {
  (void)state;
  learn(&cases[1], 0);
}

static void test_catch(void **state) {
  (void)state;
  learn(&cases[2], 0.9);
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_catch),
      cmocka_unit_test(test_microgrid),
      cmocka_unit_test(test_microgrid_map),
  };
  g_only = argc > 1 ? argv[1] : NULL;
  return cmocka_run_group_tests(tests, NULL, NULL);
}
