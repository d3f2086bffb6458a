/* Segments: what a block's acting leaves behind can be rebuilt from start states, feed and actions,
 * and its hash misses nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>

#include "crypto/hash.h"
#include "env/segment.h"

#define E QR_SEGMENT_INSTANCE_CNT
#define ROW_CNT 320u

static qr_env_live_t scratch[E];

static qr_hash_t feed_of(uint32_t n) { return qr_hash("quarry.test", &n, sizeof n); }

static qr_segment_t *new_segment(const qr_env_t *env, uint32_t row_cnt) {
  size_t sz = qr_segment_footprint(env, row_cnt);
  assert_int_equal(sz % 64, 0);
  void *mem = aligned_alloc(64, sz);
  assert_non_null(mem);
  memset(mem, 0x5a, sz);
  return qr_segment_init(mem, env, row_cnt);
}

/* Actions that depend on what is observed and on the step, and on the live instance like a
 * policy's. */
typedef struct {
  const qr_env_t *env;
  uint32_t calls;
} actor_t;

static void act(void *ctx, uint32_t step, const qr_env_live_t *live, const int8_t *obs,
                uint8_t *out) {
  actor_t *a = ctx;
  assert_int_equal(step, a->calls++);
  for (uint32_t i = 0; i < E; i++) {
    uint32_t sum = step * 7 + i;
    for (uint32_t j = 0; j < qr_env_obs_sz(a->env); j++)
      sum = sum * 31 + (uint8_t)obs[i * qr_env_obs_sz(a->env) + j];
    out[i] = (uint8_t)(step % 2 ? a->env->policy(&live[i], 0) : sum % a->env->action_cnt);
  }
}

/* Two segments in a row, the second from the first's end. */
static void run_two(const qr_env_t *env, qr_segment_t **first, qr_segment_t **second) {
  actor_t a = {env, 0}, b = {env, 0};
  qr_hash_t feed1 = feed_of(1), feed2 = feed_of(2);
  *first = new_segment(env, ROW_CNT);
  *second = new_segment(env, ROW_CNT);
  qr_segment_run(*first, NULL, &feed1, scratch, act, &a);
  qr_segment_run(*second, qr_segment_end_states(*first), &feed2, scratch, act, &b);
  assert_int_equal(a.calls, ROW_CNT / E);
}

static void assert_same(const qr_segment_t *a, const qr_segment_t *b) {
  qr_hash_t ha = qr_segment_hash(a), hb = qr_segment_hash(b);
  assert_true(qr_hash_eq(&ha, &hb));
  assert_memory_equal(a->states, b->states, (size_t)(a->row_cnt + E) * QR_ENV_STATE_SZ);
  assert_memory_equal(a->obs, b->obs, (size_t)(a->row_cnt + E) * a->obs_sz);
  assert_memory_equal(a->rewards, b->rewards, a->row_cnt * sizeof(int32_t));
  assert_memory_equal(a->actions, b->actions, a->row_cnt);
  assert_memory_equal(a->dones, b->dones, a->row_cnt);
  assert_int_equal(a->reward_sum, b->reward_sum);
  assert_int_equal(a->done_cnt, b->done_cnt);
}

static void test_rebuilt_from_actions(void **state) {
  (void)state;
  for (uint32_t id = 0; id < QR_ENV_CNT; id++) {
    const qr_env_t *env = qr_env_get(id);
    qr_segment_t *first, *second;
    run_two(env, &first, &second);
    qr_segment_t *again = new_segment(env, ROW_CNT);
    qr_hash_t feed1 = feed_of(1), feed2 = feed_of(2);
    qr_segment_begin(again, NULL, &feed1, scratch);
    for (uint32_t t = 0; t < ROW_CNT / E; t++) {
      assert_ptr_equal(qr_segment_observe(again, t, scratch),
                       again->obs + (size_t)t * E * again->obs_sz);
      qr_segment_apply(again, t, scratch, first->actions + (size_t)t * E);
    }
    qr_segment_end(again, scratch);
    assert_same(first, again);
    /* the same memory, for another segment */
    memset(scratch, 0xa5, sizeof scratch);
    qr_segment_begin(again, qr_segment_end_states(first), &feed2, scratch);
    for (uint32_t t = 0; t < ROW_CNT / E; t++) {
      (void)qr_segment_observe(again, t, scratch);
      qr_segment_apply(again, t, scratch, second->actions + (size_t)t * E);
    }
    qr_segment_end(again, scratch);
    assert_same(second, again);
    free(again);
    free(first);
    free(second);
  }
}

/* Rows say what they mean: the state shows the observation, the action leads to the next state,
 * sums add up. */
static void test_rows_are_transitions(void **state) {
  (void)state;
  static qr_env_live_t live;
  for (uint32_t id = 0; id < QR_ENV_CNT; id++) {
    const qr_env_t *env = qr_env_get(id);
    qr_segment_t *first, *s;
    run_two(env, &first, &s);
    int64_t sum = 0;
    uint32_t done_cnt = 0;
    for (uint32_t r = 0; r < ROW_CNT + E; r++) {
      int8_t obs[QR_ENV_OBS_MAX_SZ];
      env->unpack(&live, s->states + (size_t)r * QR_ENV_STATE_SZ);
      env->observe(&live, obs);
      assert_memory_equal(obs, s->obs + (size_t)r * s->obs_sz, s->obs_sz);
      if (r >= ROW_CNT) continue;
      bool done;
      uint8_t next[QR_ENV_STATE_SZ];
      assert_int_equal(env->step(&live, s->actions[r], &done), s->rewards[r]);
      assert_int_equal(done, s->dones[r]);
      env->pack(&live, next);
      assert_memory_equal(next, s->states + (size_t)(r + E) * QR_ENV_STATE_SZ, QR_ENV_STATE_SZ);
      sum += s->rewards[r];
      done_cnt += done;
    }
    assert_int_equal(sum, s->reward_sum);
    assert_int_equal(done_cnt, s->done_cnt);
    assert_true(id == QR_ENV_MICROGRID || id == QR_ENV_MICROGRID_MAP
                    ? !done_cnt
                    : done_cnt > 0 || id == QR_ENV_CARTPOLE);
    free(first);
    free(s);
  }
}

static void test_hash_sees_everything(void **state) {
  (void)state;
  qr_segment_t *first, *s;
  run_two(&qr_env_catch, &first, &s);
  const qr_hash_t whole = qr_segment_hash(s);
  uint8_t *const bytes[] = {s->states,
                            s->states + 31,
                            s->states + (size_t)ROW_CNT * QR_ENV_STATE_SZ - 1,
                            s->states + (size_t)ROW_CNT * QR_ENV_STATE_SZ,
                            s->states + (size_t)(ROW_CNT + E) * QR_ENV_STATE_SZ - 1,
                            s->actions,
                            s->actions + ROW_CNT - 1,
                            s->dones,
                            s->dones + ROW_CNT - 1,
                            (uint8_t *)s->rewards,
                            (uint8_t *)(s->rewards + ROW_CNT) - 1};
  for (size_t i = 0; i < QR_ARRAY_CNT(bytes); i++) {
    *bytes[i] ^= 1;
    qr_hash_t other = qr_segment_hash(s);
    assert_false(qr_hash_eq(&whole, &other));
    *bytes[i] ^= 1;
  }
  s->env = &qr_env_cartpole;
  qr_hash_t other = qr_segment_hash(s);
  assert_false(qr_hash_eq(&whole, &other));
  s->env = &qr_env_catch;
  s->row_cnt -= E;
  other = qr_segment_hash(s);
  assert_false(qr_hash_eq(&whole, &other));
  s->row_cnt += E;
  /* observations follow from the states: they are not hashed */
  s->obs[5] ^= 1;
  other = qr_segment_hash(s);
  assert_true(qr_hash_eq(&whole, &other));
  free(first);
  free(s);
}

static void test_env_root(void **state) {
  (void)state;
  uint8_t states[E * QR_ENV_STATE_SZ] = {0};
  const qr_hash_t root = qr_segment_env_root(&qr_env_catch, states);
  qr_hash_t other = qr_segment_env_root(&qr_env_cartpole, states);
  assert_false(qr_hash_eq(&root, &other));
  for (size_t i = 0; i < sizeof states; i += 37) {
    states[i] ^= 128;
    other = qr_segment_env_root(&qr_env_catch, states);
    assert_false(qr_hash_eq(&root, &other));
    states[i] ^= 128;
  }
  /* H("quarry.env" | u32 env id | states), spelled out */
  uint8_t all[4 + sizeof states];
  qr_st32(all, QR_ENV_CATCH);
  memcpy(all + 4, states, sizeof states);
  other = qr_hash("quarry.env", all, sizeof all);
  assert_true(qr_hash_eq(&root, &other));
}

/* Hostile start states: the segment is built all the same, in canonical states. */
static void test_hostile_start(void **state) {
  (void)state;
  uint8_t states[E * QR_ENV_STATE_SZ];
  uint32_t seed = 1;
  for (size_t i = 0; i < sizeof states; i++)
    states[i] = (uint8_t)((seed = seed * 1664525u + 1013904223u) >> 24);
  for (uint32_t id = 0; id < QR_ENV_CNT; id++) {
    actor_t a = {qr_env_get(id), 0};
    qr_hash_t feed = feed_of(9);
    qr_segment_t *s = new_segment(a.env, 64);
    qr_segment_run(s, states, &feed, scratch, act, &a);
    for (uint32_t i = 0; i < E; i++)
      assert_memory_equal(s->states + i * QR_ENV_STATE_SZ, feed.b, 16);
    free(s);
  }
}

int main(void) {
  if (qr_crypto_init()) return 1;
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_rebuilt_from_actions), cmocka_unit_test(test_rows_are_transitions),
      cmocka_unit_test(test_hash_sees_everything), cmocka_unit_test(test_env_root),
      cmocka_unit_test(test_hostile_start),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
