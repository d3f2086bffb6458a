#include "env/segment.h"

#include "base/assert.h"
#include "crypto/hash.h"

#define E QR_SEGMENT_INSTANCE_CNT

/* Byte offsets of a segment's arrays in its memory, all 64-byte aligned. */
typedef struct {
  size_t states, obs, rewards, actions, dones, end;
} layout_t;

static layout_t layout_of(const qr_env_t *env, uint32_t row_cnt) {
  size_t rows = row_cnt;
  layout_t l;
  l.states = qr_align_up(sizeof(qr_segment_t), QR_CACHE_LINE);
  l.obs = l.states + qr_align_up((rows + E) * QR_ENV_STATE_SZ, QR_CACHE_LINE);
  l.rewards = l.obs + qr_align_up((rows + E) * qr_env_obs_sz(env), QR_CACHE_LINE);
  l.actions = l.rewards + qr_align_up(rows * sizeof(int32_t), QR_CACHE_LINE);
  l.dones = l.actions + qr_align_up(rows, QR_CACHE_LINE);
  l.end = l.dones + qr_align_up(rows, QR_CACHE_LINE);
  return l;
}

size_t qr_segment_footprint(const qr_env_t *env, uint32_t row_cnt) {
  return layout_of(env, row_cnt).end;
}

qr_segment_t *qr_segment_init(void *mem, const qr_env_t *env, uint32_t row_cnt) {
  QR_ASSERT(row_cnt % E == 0 && qr_env_obs_sz(env) <= QR_ENV_OBS_MAX_SZ);
  QR_ASSERT((uintptr_t)mem % QR_CACHE_LINE == 0);
  layout_t l = layout_of(env, row_cnt);
  uint8_t *base = mem;
  memset(base, 0, l.end);
  qr_segment_t *s = mem;
  s->env = env;
  s->row_cnt = row_cnt;
  s->obs_sz = qr_env_obs_sz(env);
  s->states = base + l.states;
  s->obs = (int8_t *)(base + l.obs);
  s->rewards = (int32_t *)(base + l.rewards);
  s->actions = base + l.actions;
  s->dones = base + l.dones;
  return s;
}

void qr_segment_begin(qr_segment_t *s, const uint8_t *start_states, const qr_hash_t *feed,
                      qr_env_live_t *live) {
  s->reward_sum = 0;
  s->done_cnt = 0;
  for (uint32_t i = 0; i < E; i++) {
    if (!start_states) {
      s->env->start(&live[i], feed, i);
      continue;
    }
    s->env->unpack(&live[i], start_states + (size_t)i * QR_ENV_STATE_SZ);
    s->env->rekey(&live[i], feed, i);
  }
}

const int8_t *qr_segment_observe(qr_segment_t *s, uint32_t t, const qr_env_live_t *live) {
  QR_ASSERT(t <= s->row_cnt / E);
  for (uint32_t i = 0; i < E; i++) {
    size_t row = (size_t)t * E + i;
    s->env->pack(&live[i], s->states + row * QR_ENV_STATE_SZ);
    s->env->observe(&live[i], s->obs + row * s->obs_sz);
  }
  return s->obs + (size_t)t * E * s->obs_sz;
}

void qr_segment_apply(qr_segment_t *s, uint32_t t, qr_env_live_t *live,
                      const uint8_t actions[QR_SEGMENT_INSTANCE_CNT]) {
  QR_ASSERT(t < s->row_cnt / E);
  for (uint32_t i = 0; i < E; i++) {
    size_t row = (size_t)t * E + i;
    bool done;
    s->actions[row] = actions[i];
    s->rewards[row] = s->env->step(&live[i], actions[i], &done);
    s->dones[row] = done;
    s->reward_sum += s->rewards[row];
    s->done_cnt += done;
  }
}

void qr_segment_end(qr_segment_t *s, const qr_env_live_t *live) {
  (void)qr_segment_observe(s, s->row_cnt / E, live);
}

void qr_segment_run(qr_segment_t *s, const uint8_t *start_states, const qr_hash_t *feed,
                    qr_env_live_t *live, qr_segment_act_fn act, void *ctx) {
  qr_segment_begin(s, start_states, feed, live);
  for (uint32_t t = 0; t < s->row_cnt / E; t++) {
    uint8_t actions[E];
    act(ctx, t, live, qr_segment_observe(s, t, live), actions);
    qr_segment_apply(s, t, live, actions);
  }
  qr_segment_end(s, live);
}

const uint8_t *qr_segment_end_states(const qr_segment_t *s) {
  return s->states + (size_t)s->row_cnt * QR_ENV_STATE_SZ;
}

qr_hash_t qr_segment_env_root(const qr_env_t *env, const uint8_t *states) {
  qr_hasher_t h;
  qr_hash_t out;
  qr_hash_init(&h, "quarry.env");
  qr_hash_add_u32(&h, env->id);
  qr_hash_add(&h, states, (size_t)E * QR_ENV_STATE_SZ);
  qr_hash_end(&h, &out);
  return out;
}

qr_hash_t qr_segment_hash(const qr_segment_t *s) {
  qr_hasher_t h;
  qr_hash_t out;
  qr_hash_init(&h, "quarry.segment");
  qr_hash_add_u32(&h, s->env->id);
  qr_hash_add_u32(&h, s->row_cnt);
  for (uint32_t r = 0; r < s->row_cnt; r++) {
    uint8_t rest[6] = {s->actions[r], s->dones[r]};
    qr_st32(rest + 2, (uint32_t)s->rewards[r]);
    qr_hash_add(&h, s->states + (size_t)r * QR_ENV_STATE_SZ, QR_ENV_STATE_SZ);
    qr_hash_add(&h, rest, sizeof rest);
  }
  qr_hash_add(&h, qr_segment_end_states(s), (size_t)E * QR_ENV_STATE_SZ);
  qr_hash_end(&h, &out);
  return out;
}
