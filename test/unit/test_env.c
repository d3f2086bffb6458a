/* Environments: a state is 32 bytes and nothing else, whatever bytes those are; the worlds are
   those of the committed vectors; the baselines are what the searches found. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/splitmix.h"
#include "crypto/hash.h"
#include "env/env.h"
#include "unit/microgrid_reference.h"

typedef struct {
  int8_t obs[QR_ENV_OBS_MAX_SZ];
  uint8_t state[QR_ENV_STATE_SZ];
} view_t;

/* Feed of the vectors and of the baseline search: bytes first, first + 1, ... */
static qr_hash_t feed_of(uint8_t first) {
  qr_hash_t feed;
  for (int i = 0; i < QR_HASH_SZ; i++) feed.b[i] = (uint8_t)(first + i);
  return feed;
}

/* Seeded draws of the tests themselves. */
static uint32_t next_draw(uint64_t *seed) { return (uint32_t)qr_splitmix_next(seed); }

static view_t view(const qr_env_t *env, const qr_env_live_t *live) {
  view_t v;
  memset(&v, 0, sizeof v);
  env->observe(live, v.obs);
  env->pack(live, v.state);
  return v;
}

static void assert_obs_in_range(const qr_env_t *env, const view_t *v) {
  int lo = 0, hi = 0;
  for (uint32_t i = 0; i < qr_env_obs_sz(env); i++) {
    lo = v->obs[i] < lo ? v->obs[i] : lo;
    hi = v->obs[i] > hi ? v->obs[i] : hi;
  }
  assert_true(lo >= -64 && hi <= 63);
}

/* Steps both and demands that nothing tells them apart. */
static void step_both(const qr_env_t *env, qr_env_live_t *a, qr_env_live_t *b, uint32_t action) {
  bool done_a, done_b;
  int32_t reward_a = env->step(a, action, &done_a), reward_b = env->step(b, action, &done_b);
  view_t va = view(env, a), vb = view(env, b);
  assert_int_equal(reward_a, reward_b);
  assert_int_equal(done_a, done_b);
  assert_memory_equal(&va, &vb, sizeof va);
  assert_true(reward_a >= -262144 && reward_a <= 262144);
  for (uint32_t p = 0; p < env->policy_cnt; p++)
    assert_int_equal(env->policy(a, p), env->policy(b, p));
}

static void test_registry(void **state) {
  (void)state;
  assert_null(qr_env_get(QR_ENV_CNT));
  assert_null(qr_env_find(""));
  assert_null(qr_env_find("microgri"));
  for (uint32_t id = 0; id < QR_ENV_CNT; id++) {
    const qr_env_t *env = qr_env_get(id);
    assert_int_equal(env->id, id);
    assert_ptr_equal(qr_env_find(env->name), env);
    assert_true(qr_env_obs_sz(env) <= QR_ENV_OBS_MAX_SZ &&
                env->action_cnt <= QR_ENV_ACTION_MAX_CNT);
    for (uint32_t p = 0; p < env->policy_cnt; p++) assert_non_null(env->policy_names[p]);
  }
}

/* At every step: packing, unpacking into dirty memory and going on is the same as going on. */
static void test_state_is_everything(void **state) {
  (void)state;
  static qr_env_live_t live, other;
  uint64_t seed = 1;
  for (uint32_t id = 0; id < QR_ENV_CNT; id++) {
    const qr_env_t *env = qr_env_get(id);
    for (uint32_t instance = 0; instance < 3; instance++) {
      qr_hash_t feed = feed_of((uint8_t)next_draw(&seed));
      env->start(&live, &feed, instance * 30000);
      for (uint32_t t = 0; t < 200; t++) {
        if (t % 64 == 63) {
          feed = feed_of((uint8_t)next_draw(&seed));
          env->rekey(&live, &feed, instance);
        }
        view_t v = view(env, &live);
        assert_obs_in_range(env, &v);
        memset(&other, 0xa5, sizeof other);
        env->unpack(&other, v.state);
        step_both(env, &live, &other, next_draw(&seed) % env->action_cnt);
        /* the other goes on alone for a while, beside a copy of the original */
        static qr_env_live_t copy;
        copy = live;
        for (uint32_t i = 0; i < 3; i++)
          step_both(env, &copy, &other, next_draw(&seed) % env->action_cnt);
      }
    }
  }
}

static void check_foreign(const qr_env_t *env, const uint8_t bytes[QR_ENV_STATE_SZ],
                          uint64_t *seed) {
  static qr_env_live_t live, other;
  env->unpack(&live, bytes);
  view_t v = view(env, &live);
  assert_obs_in_range(env, &v);
  env->unpack(&other, v.state);
  for (uint32_t t = 0; t < 12; t++)
    step_both(env, &live, &other, next_draw(seed) % env->action_cnt);
}

static void test_foreign_bytes(void **state) {
  (void)state;
  uint64_t seed = 2;
  for (uint32_t id = 0; id < QR_ENV_CNT; id++) {
    const qr_env_t *env = qr_env_get(id);
    uint8_t bytes[QR_ENV_STATE_SZ];
    for (uint32_t fill = 0; fill < 256; fill += 51) {
      memset(bytes, (int)fill, sizeof bytes);
      check_foreign(env, bytes, &seed);
    }
    memset(bytes, 0x7f, sizeof bytes);
    check_foreign(env, bytes, &seed);
    for (uint32_t i = 0; i < 600; i++) {
      for (uint32_t j = 0; j < sizeof bytes; j++) bytes[j] = (uint8_t)next_draw(&seed);
      check_foreign(env, bytes, &seed);
    }
  }
}

/* What foreign values become is part of the specification. */
static void test_foreign_ranges(void **state) {
  (void)state;
  static qr_env_live_t live;
  uint8_t bytes[QR_ENV_STATE_SZ];
  memset(bytes, 0xff, sizeof bytes);
  qr_env_microgrid.unpack(&live, bytes);
  view_t v = view(&qr_env_microgrid, &live);
  assert_int_equal(v.state[18], 32);
  assert_int_equal(v.state[19], 255 % 24);
  assert_int_equal(qr_ld32(v.state + 20), UINT32_MAX % 4096);
  assert_memory_equal(v.state + 24, ((uint8_t[8]){0}), 8);
  qr_env_catch.unpack(&live, bytes);
  v = view(&qr_env_catch, &live);
  assert_memory_equal(v.state, bytes, 18);
  assert_memory_equal(v.state + 18, ((uint8_t[14]){0, 0, 255, 255, 255, 255, 255 % 9}), 14);
  bytes[25] = bytes[26] = 9;
  qr_env_catch.unpack(&live, bytes);
  v = view(&qr_env_catch, &live);
  assert_memory_equal(v.state + 25, ((uint8_t[2]){4, 4}), 2);
  memset(bytes + 20, 0x7f, 12);
  qr_env_cartpole.unpack(&live, bytes);
  v = view(&qr_env_cartpole, &live);
  const uint8_t most[12] = {0x66, 0x66, 0x02, 0, 0, 0x10, 0x9b, 0x35, 0, 0, 0, 0x10};
  assert_memory_equal(v.state + 20, most, 12);
  memset(bytes + 20, 0x80, 12);
  qr_env_cartpole.unpack(&live, bytes);
  v = view(&qr_env_cartpole, &live);
  const uint8_t least[12] = {0x9a, 0x99, 0xfd, 0, 0, 0xf0, 0x65, 0xca, 0xff, 0, 0, 0xf0};
  assert_memory_equal(v.state + 20, least, 12);
}

/* An observation is written whole, and depends on feed and instance. */
static void test_worlds_differ(void **state) {
  (void)state;
  static qr_env_live_t live[4];
  for (uint32_t id = 0; id < QR_ENV_CNT; id++) {
    const qr_env_t *env = qr_env_get(id);
    qr_hash_t a = feed_of(0), b = feed_of(1);
    qr_hash_t hashes[4];
    for (uint32_t k = 0; k < 4; k++) {
      env->start(&live[k], k == 2 ? &b : &a, k == 3 ? 1 : 0);
      qr_hasher_t h;
      qr_hash_init(&h, "quarry.test");
      for (uint32_t t = 0; t < 40; t++) {
        int8_t ones[QR_ENV_OBS_MAX_SZ], twos[QR_ENV_OBS_MAX_SZ];
        bool done;
        memset(ones, 99, sizeof ones);
        memset(twos, 98, sizeof twos);
        env->observe(&live[k], ones);
        env->observe(&live[k], twos);
        assert_memory_equal(ones, twos, qr_env_obs_sz(env));
        qr_hash_add(&h, ones, qr_env_obs_sz(env));
        qr_hash_add_u32(&h, (uint32_t)env->step(&live[k], t % env->action_cnt, &done));
      }
      qr_hash_end(&h, &hashes[k]);
    }
    assert_true(qr_hash_eq(&hashes[0], &hashes[1]));
    assert_false(qr_hash_eq(&hashes[0], &hashes[2]));
    assert_false(qr_hash_eq(&hashes[0], &hashes[3]));
    assert_false(qr_hash_eq(&hashes[2], &hashes[3]));
  }
}

static void test_rekey_keeps_what_the_agent_owns(void **state) {
  (void)state;
  static qr_env_live_t live;
  qr_hash_t a = feed_of(7), b = feed_of(90);
  for (uint32_t id = 0; id < QR_ENV_CNT; id++) {
    const qr_env_t *env = qr_env_get(id);
    env->start(&live, &a, 5);
    bool done;
    for (uint32_t t = 0; t < 13; t++) env->step(&live, t % 4 == 3 ? 1 : 0, &done);
    view_t before = view(env, &live);
    env->rekey(&live, &b, 6);
    view_t after = view(env, &live);
    assert_memory_equal(after.state, b.b, 16);
    assert_int_equal(qr_ld16(after.state + 16), 6);
    if (id == QR_ENV_CATCH) {
      assert_memory_equal(before.state + 24, after.state + 24, 3);
      assert_memory_equal(before.obs, after.obs, sizeof after.obs);
    } else if (id == QR_ENV_CARTPOLE) {
      assert_memory_equal(before.state + 20, after.state + 20, 12);
      assert_memory_equal(before.obs, after.obs, sizeof after.obs);
    } else {
      assert_int_equal(before.state[18], after.state[18]);
      assert_true(before.state[18] > 0);
      assert_int_equal((before.state[19] + qr_ld32(before.state + 20)) % 24, after.state[19]);
      assert_int_equal(qr_ld32(after.state + 20), 0);
      assert_memory_not_equal(before.obs, after.obs, sizeof after.obs);
    }
  }
}

/* The last hour of a feed is followed by the first of another, with charge and clock going on. */
static void test_feed_end(void **state) {
  (void)state;
  static qr_env_live_t live;
  const qr_env_t *env = &qr_env_microgrid;
  uint8_t bytes[QR_ENV_STATE_SZ] = {1, 2, 3};
  bytes[18] = 20;
  bytes[19] = 5;
  qr_st32(bytes + 20, QR_PLANT_HOUR_CNT - 2);
  env->unpack(&live, bytes);
  bool done;
  env->step(&live, QR_PLANT_DISCHARGE, &done);
  view_t v = view(env, &live);
  assert_memory_equal(v.state, bytes, 16);
  assert_int_equal(qr_ld32(v.state + 20), QR_PLANT_HOUR_CNT - 1);
  env->step(&live, QR_PLANT_CHARGE, &done);
  v = view(env, &live);
  assert_memory_not_equal(v.state, bytes, 16);
  assert_int_equal(v.state[18], 20 - 8 + 7);
  assert_int_equal(v.state[19], (5 + QR_PLANT_HOUR_CNT) % 24);
  assert_int_equal(qr_ld32(v.state + 20), 0);
  /* an index past the end is taken modulo the hours of a feed */
  qr_st32(bytes + 20, QR_PLANT_HOUR_CNT + 3);
  env->unpack(&live, bytes);
  v = view(env, &live);
  assert_int_equal(qr_ld32(v.state + 20), 3);
}

/* Inside a block an hour moves one cell towards the past per step and is never rewritten. */
static void test_map_history_moves(void **state) {
  (void)state;
  static qr_env_live_t live;
  const qr_env_t *env = &qr_env_microgrid_map;
  qr_hash_t feed = feed_of(3);
  env->start(&live, &feed, 2);
  view_t before = view(env, &live);
  for (uint32_t t = 0; t < 150; t++) {
    bool done;
    env->step(&live, t % 3, &done);
    view_t after = view(env, &live);
    for (uint32_t cell = 0; cell + 1 < 96; cell++)
      for (uint32_t c = 0; c < 6; c++)
        if (c != 3) /* price now - price: relative to a present that moved on */
          assert_int_equal(after.obs[cell * 8 + c], before.obs[(cell + 1) * 8 + c]);
    assert_int_equal(after.obs[95 * 8 + 3], 0);
    before = after;
  }
}

static void test_battery(void **state) {
  (void)state;
  static qr_env_live_t live;
  qr_hash_t feed = feed_of(0);
  qr_plant_start(&live, &feed, 0);
  qr_plant_t p = *qr_plant_of(&live);
  p.price[qr_plant_slot(&p, 0)] = 100;
  p.demand = 3;
  p.solar = 5;
  int32_t after;
  /* 2 units of solar are spared from being sold at half price, 6 are bought: 7 stored for 8 drawn
   */
  assert_int_equal(qr_plant_money(&p, 0, QR_PLANT_CHARGE, &after), -100 - 600);
  assert_int_equal(after, 7);
  assert_int_equal(qr_plant_money(&p, 30, QR_PLANT_CHARGE, &after), -100);
  assert_int_equal(after, 32);
  assert_int_equal(qr_plant_money(&p, 32, QR_PLANT_CHARGE, &after), 0);
  assert_int_equal(qr_plant_money(&p, 10, QR_PLANT_IDLE, &after), 0);
  assert_int_equal(after, 10);
  assert_int_equal(qr_plant_money(&p, 10, QR_PLANT_DISCHARGE, &after), 8 * 50 - 8 * 12);
  assert_int_equal(after, 2);
  assert_int_equal(qr_plant_money(&p, 0, QR_PLANT_DISCHARGE, &after), 0);
  p.demand = 9;
  assert_int_equal(qr_plant_money(&p, 8, QR_PLANT_DISCHARGE, &after), 4 * 100 + 4 * 50 - 8 * 12);
}

/* Money per day of a policy from fresh starts, as the environment itself steps it. */
static double policy_score(const qr_env_t *env, uint32_t policy, uint32_t instance_cnt,
                           uint32_t hour_cnt) {
  static qr_env_live_t live;
  qr_hash_t feed = feed_of(0);
  int64_t sum = 0;
  for (uint32_t i = 0; i < instance_cnt; i++) {
    env->start(&live, &feed, i);
    for (uint32_t h = 0; h < hour_cnt; h++) {
      bool done;
      sum += env->step(&live, env->policy(&live, policy), &done);
      assert_false(done);
    }
  }
  return (double)sum / QR_PLANT_REWARD_SCALE * 24 / ((double)instance_cnt * hour_cnt);
}

/* The baselines are the best of their search grids, and stand in the expected order. */
static void test_microgrid_baselines(void **state) {
  (void)state;
  const uint32_t instance_cnt = 64, hour_cnt = 720;
  qr_hash_t feed = feed_of(0);
  mg_trace_t trace = mg_trace_record(&feed, instance_cnt, hour_cnt);
  assert_non_null(trace.hours);
  int32_t best[4];
  double foresight = mg_foresight(&trace);
  double price = mg_search_price(&trace, best);
  assert_memory_equal(best, ((int32_t[4]){17, 21, 1, 0}), sizeof best);
  double hours = mg_search_hours(&trace, best);
  assert_memory_equal(best, ((int32_t[4]){1, 8, 17, 23}), sizeof best);
  free(trace.hours);
  double score[QR_PLANT_POLICY_CNT];
  for (uint32_t p = 0; p < QR_PLANT_POLICY_CNT; p++) {
    score[p] = policy_score(&qr_env_microgrid, p, instance_cnt, hour_cnt);
    assert_true(score[p] == policy_score(&qr_env_microgrid_map, p, instance_cnt, hour_cnt));
    print_message("microgrid %-7s %8.1f a day\n", qr_plant_policy_names[p], score[p]);
  }
  print_message("microgrid foresight %6.1f a day\n", foresight);
  assert_true(score[0] == price);
  assert_true(score[1] == hours);
  assert_true(score[2] == 0);
  assert_true(score[0] > score[1] && score[1] > 4500 && score[3] < -1000);
  assert_true(foresight > 1.4 * score[0]);
}

static void test_catch_is_playable(void **state) {
  (void)state;
  static qr_env_live_t live;
  qr_hash_t feed = feed_of(0);
  double mean[3];
  for (uint32_t p = 0; p < 3; p++) {
    int64_t sum = 0, episodes = 0;
    for (uint32_t i = 0; i < 16; i++) {
      qr_env_catch.start(&live, &feed, i);
      for (uint32_t t = 0; t < 900; t++) {
        bool done;
        sum += qr_env_catch.step(&live, qr_env_catch.policy(&live, p), &done);
        episodes += done;
        assert_int_equal(done, t % 9 == 8);
      }
    }
    mean[p] = (double)sum / 65536 / (double)episodes;
    print_message("catch %-7s %6.3f an episode\n", qr_env_catch.policy_names[p], mean[p]);
  }
  assert_true(mean[0] == 1.0);
  assert_true(mean[1] > -0.7 && mean[1] < -0.5);
  assert_true(mean[2] > -0.8 && mean[2] < -0.4);
}

static void test_cartpole_is_balanced_by_its_rule(void **state) {
  (void)state;
  static qr_env_live_t live;
  qr_hash_t feed = feed_of(0);
  int64_t sum[4] = {0}, falls[4] = {0};
  for (uint32_t p = 0; p < 4; p++) {
    for (uint32_t i = 0; i < 16; i++) {
      qr_env_cartpole.start(&live, &feed, i);
      for (uint32_t t = 0; t < 1000; t++) {
        bool done;
        sum[p] += qr_env_cartpole.step(&live, qr_env_cartpole.policy(&live, p), &done);
        falls[p] += done;
      }
    }
    print_message("cartpole %-7s reward %8.5f a step, %lld falls\n",
                  qr_env_cartpole.policy_names[p], (double)sum[p] / 65536 / 16000,
                  (long long)falls[p]);
  }
  assert_int_equal(falls[0], 0);
  assert_true(sum[0] > sum[1] / 10 && sum[1] > sum[3] && sum[3] > sum[2]);
}

static char *add_hex(char *out, const uint8_t *p, size_t sz) {
  for (size_t i = 0; i < sz; i++) out += sprintf(out, "%02x", p[i]);
  return out;
}

/* The vectors of an environment as text; the header says how they are made. */
static void write_vectors(const qr_env_t *env, char *out) {
  static qr_env_live_t live;
  qr_hash_t feed = feed_of(0), next = feed_of(32);
  out += sprintf(out,
                 "# %s, instance 3 from a fresh start under the feed 00 01 .. 1f; before step 24 "
                 "rekeyed as instance 3 under\n"
                 "# 20 21 .. 3f. Action of step t: (5t + t / 7) mod %u. Lines: t, state, "
                 "H(\"quarry.test\", observation), action,\n"
                 "# reward, done, what each baseline policy would have done. Last line: "
                 "H(\"quarry.test\", for instances 0..15, for\n"
                 "# 300 steps from a fresh start: state, observation, reward u32, done u8), same "
                 "actions, no rekey.\n",
                 env->name, env->action_cnt);
  env->start(&live, &feed, 3);
  for (uint32_t t = 0; t < 48; t++) {
    if (t == 24) env->rekey(&live, &next, 3);
    view_t v = view(env, &live);
    qr_hash_t obs = qr_hash("quarry.test", v.obs, qr_env_obs_sz(env));
    uint32_t action = (5 * t + t / 7) % env->action_cnt, advice[4] = {0};
    for (uint32_t p = 0; p < env->policy_cnt; p++) advice[p] = env->policy(&live, p);
    bool done;
    int32_t reward = env->step(&live, action, &done);
    out = add_hex(out + sprintf(out, "%u ", t), v.state, sizeof v.state);
    *out++ = ' ';
    out = add_hex(out, obs.b, sizeof obs.b);
    out += sprintf(out, " %u %d %d ", action, reward, done);
    for (uint32_t p = 0; p < env->policy_cnt; p++) out += sprintf(out, "%u", advice[p]);
    *out++ = '\n';
  }
  qr_hasher_t h;
  qr_hash_init(&h, "quarry.test");
  for (uint32_t i = 0; i < 16; i++) {
    env->start(&live, &feed, i);
    for (uint32_t t = 0; t < 300; t++) {
      view_t v = view(env, &live);
      bool done;
      qr_hash_add(&h, v.state, sizeof v.state);
      qr_hash_add(&h, v.obs, qr_env_obs_sz(env));
      qr_hash_add_u32(&h, (uint32_t)env->step(&live, (5 * t + t / 7) % env->action_cnt, &done));
      uint8_t d = done;
      qr_hash_add(&h, &d, 1);
    }
  }
  qr_hash_t all;
  qr_hash_end(&h, &all);
  out = add_hex(out, all.b, sizeof all.b);
  strcpy(out, "\n");
}

/* QR_WRITE_VECTORS=1 writes the files instead, for a deliberate change of the rules. */
static void test_vectors(void **state) {
  (void)state;
  static char made[1 << 16], read[1 << 16];
  for (uint32_t id = 0; id < QR_ENV_CNT; id++) {
    char path[512];
    write_vectors(qr_env_get(id), made);
    snprintf(path, sizeof path, QR_TEST_DIR "/vectors/env_%s.txt", qr_env_get(id)->name);
    if (getenv("QR_WRITE_VECTORS")) {
      FILE *f = fopen(path, "w");
      assert_non_null(f);
      assert_true(fputs(made, f) >= 0);
      assert_int_equal(fclose(f), 0);
    }
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    size_t sz = fread(read, 1, sizeof read - 1, f);
    read[sz] = 0;
    fclose(f);
    assert_string_equal(made, read);
  }
}

int main(void) {
  if (qr_crypto_init()) return 1;
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_registry),
      cmocka_unit_test(test_state_is_everything),
      cmocka_unit_test(test_foreign_bytes),
      cmocka_unit_test(test_foreign_ranges),
      cmocka_unit_test(test_worlds_differ),
      cmocka_unit_test(test_rekey_keeps_what_the_agent_owns),
      cmocka_unit_test(test_feed_end),
      cmocka_unit_test(test_map_history_moves),
      cmocka_unit_test(test_battery),
      cmocka_unit_test(test_microgrid_baselines),
      cmocka_unit_test(test_catch_is_playable),
      cmocka_unit_test(test_cartpole_is_balanced_by_its_rule),
      cmocka_unit_test(test_vectors),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
