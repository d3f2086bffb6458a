/* cartpole: a pole on a cart that is pushed left or right, 50 steps a second, in 16 fraction bits.
   The reward falls with the distance from the middle and the tilt; leaving the track or tipping
   over ends the episode at -1. Shifts of negative numbers are arithmetic, divisions truncate. */
#include "base/assert.h"
#include "env/feed.h"

#define OBS_SZ 16u
#define ONE 65536
#define X_MAX 157286        /* 2.4 m */
#define TILT_MAX 13723      /* 12 degrees */
#define SPEED_MAX (1 << 20) /* 16 m/s and 16 rad/s: more than a standing pole can reach */
#define START_SPAN 6555u    /* starts are uniform in +-0.05 */

typedef struct {
  qr_feed_t feed;
  uint32_t episode_idx; /* of this feed, mod 2^16; names the block that gave the start */
  int32_t x, speed, tilt, spin;
} cartpole_t;

static const char *const policy_names[] = {"linear", "tilt", "left", "random"};

static cartpole_t *of(qr_env_live_t *live) { return (cartpole_t *)live->mem; }
static const cartpole_t *of_const(const qr_env_live_t *live) {
  return (const cartpole_t *)live->mem;
}

static int32_t start_value(uint32_t word) {
  return (int32_t)qr_philox_bound(word, START_SPAN) - (int32_t)(START_SPAN / 2);
}

static void new_episode(cartpole_t *c) {
  uint32_t w[4];
  qr_philox_block(&c->feed.draws, c->episode_idx, w);
  c->x = start_value(w[0]);
  c->speed = start_value(w[1]);
  c->tilt = start_value(w[2]);
  c->spin = start_value(w[3]);
}

static void rekey(qr_env_live_t *live, const qr_hash_t *feed, uint32_t instance) {
  cartpole_t *c = of(live);
  c->feed = qr_feed_init(feed, instance);
  c->episode_idx = 0;
}

static void start(qr_env_live_t *live, const qr_hash_t *feed, uint32_t instance) {
  rekey(live, feed, instance);
  new_episode(of(live));
}

/* 24-bit two's complement, little-endian: what the four numbers fit in. */
static int32_t load24(const uint8_t *p) {
  uint32_t v = (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16;
  return (int32_t)(v ^ 0x800000u) - 0x800000;
}

static void store24(uint8_t *p, int32_t v) {
  p[0] = (uint8_t)v;
  p[1] = (uint8_t)((uint32_t)v >> 8);
  p[2] = (uint8_t)((uint32_t)v >> 16);
}

static void unpack(qr_env_live_t *live, const uint8_t state[QR_ENV_STATE_SZ]) {
  cartpole_t *c = of(live);
  c->feed = qr_feed_unpack(state);
  c->episode_idx = qr_ld16(state + 18);
  c->x = qr_clamp32(load24(state + 20), -X_MAX, X_MAX);
  c->speed = qr_clamp32(load24(state + 23), -SPEED_MAX, SPEED_MAX);
  c->tilt = qr_clamp32(load24(state + 26), -TILT_MAX, TILT_MAX);
  c->spin = qr_clamp32(load24(state + 29), -SPEED_MAX, SPEED_MAX);
}

static void pack(const qr_env_live_t *live, uint8_t state[QR_ENV_STATE_SZ]) {
  const cartpole_t *c = of_const(live);
  qr_feed_pack(&c->feed, state);
  qr_st16(state + 18, (uint16_t)c->episode_idx);
  store24(state + 20, c->x);
  store24(state + 23, c->speed);
  store24(state + 26, c->tilt);
  store24(state + 29, c->spin);
}

/* Q16 product. */
static int64_t mul(int64_t a, int64_t b) { return a * b >> 16; }

/* One step of explicit Euler, 20 ms: cart 1 kg, pole 0.1 kg, half length 0.5 m, force +-10 N. */
static void move(cartpole_t *c, int64_t force) {
  int64_t t2 = mul(c->tilt, c->tilt), spin2 = mul(c->spin, c->spin);
  int64_t sine = c->tilt - mul(t2, c->tilt) / 6, cosine = ONE - t2 / 2 + mul(t2, t2) / 24;
  int64_t pull = (force + mul(mul(3277, spin2), sine)) * 10 / 11;
  int64_t inertia = (87381 - mul(5958, mul(cosine, cosine))) / 2;
  int64_t spin_acc = (mul(642253, sine) - mul(cosine, pull)) * ONE / inertia;
  int64_t acc = pull - mul(2979, mul(spin_acc, cosine));
  c->x += c->speed / 50;
  c->speed = (int32_t)qr_clamp64(c->speed + acc / 50, -SPEED_MAX, SPEED_MAX);
  c->tilt += c->spin / 50;
  c->spin = (int32_t)qr_clamp64(c->spin + spin_acc / 50, -SPEED_MAX, SPEED_MAX);
}

static int32_t magnitude(int32_t v) { return v < 0 ? -v : v; }

static int32_t step(qr_env_live_t *live, uint32_t action, bool *done) {
  cartpole_t *c = of(live);
  QR_ASSERT(action < 2);
  move(c, action ? 10 * ONE : -10 * ONE);
  *done = magnitude(c->x) > X_MAX || magnitude(c->tilt) > TILT_MAX;
  if (!*done) return -((magnitude(c->x) * 27 >> 10) + (magnitude(c->tilt) * 19 >> 6));
  c->episode_idx = (c->episode_idx + 1) & 0xffffu;
  new_episode(c);
  return -ONE;
}

/* Each number at three gains, 1, 4 and 16: coarse range and fine detail in seven bits. */
static void observe(const qr_env_live_t *live, int8_t *obs) {
  const cartpole_t *c = of_const(live);
  const int64_t value[4] = {c->x, c->speed, c->tilt, c->spin};
  static const int32_t scale[4] = {X_MAX, 3 * ONE, TILT_MAX, 3 * ONE};
  memset(obs, 0, OBS_SZ);
  for (int i = 0; i < 4; i++)
    for (int gain = 0; gain < 3; gain++)
      obs[i * 3 + gain] = (int8_t)qr_clamp64(value[i] * (32 << 2 * gain) / scale[i], -64, 63);
  obs[12] = 32;
}

static uint32_t policy(const qr_env_live_t *live, uint32_t idx) {
  const cartpole_t *c = of_const(live);
  QR_ASSERT(idx < QR_ARRAY_CNT(policy_names));
  if (idx ==
      0) /* a linear rule that pushes the cart under the pole and the pole back to the middle */
    return c->x + c->speed + 8 * c->tilt + c->spin > 0;
  if (idx == 1) return c->tilt > 0;
  if (idx == 2) return 0;
  return qr_feed_random(&c->feed, (uint32_t)c->x * 65599u + (uint32_t)c->spin, 2);
}

const qr_env_t qr_env_cartpole = {
    .id = QR_ENV_CARTPOLE,
    .name = "cartpole",
    .obs_c = OBS_SZ,
    .obs_h = 1,
    .obs_w = 1,
    .action_cnt = 2,
    .policy_cnt = QR_ARRAY_CNT(policy_names),
    .policy_names = policy_names,
    .start = start,
    .unpack = unpack,
    .pack = pack,
    .rekey = rekey,
    .step = step,
    .observe = observe,
    .policy = policy,
};
