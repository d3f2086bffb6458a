/* catch: a ball falls through nine rows of five columns, a paddle below moves left, stays or moves
   right. One episode is nine steps; the last brings +1 if the paddle is under the ball, -1 if not.
 */
#include "base/assert.h"
#include "env/feed.h"

#define OBS_SZ 64u
#define ROW_CNT 9u
#define COL_CNT 5u
#define ONE 32 /* 1.0 at the inputs' five fraction bits */

typedef struct {
  qr_feed_t feed;
  uint32_t episode_idx; /* of this feed; names the word that gave the ball */
  uint32_t row, ball, paddle;
} catch_t;

static const char *const policy_names[] = {"chase", "stay", "random"};

static catch_t *of(qr_env_live_t *live) { return (catch_t *)live->mem; }
static const catch_t *of_const(const qr_env_live_t *live) { return (const catch_t *)live->mem; }

static void new_episode(catch_t *c) {
  c->row = 0;
  c->ball = qr_philox_bound(qr_philox_word(&c->feed.draws, c->episode_idx), COL_CNT);
  c->paddle = COL_CNT / 2;
}

static void rekey(qr_env_live_t *live, const qr_hash_t *feed, uint32_t instance) {
  catch_t *c = of(live);
  c->feed = qr_feed_init(feed, instance);
  c->episode_idx = 0;
}

static void start(qr_env_live_t *live, const qr_hash_t *feed, uint32_t instance) {
  rekey(live, feed, instance);
  new_episode(of(live));
}

static void unpack(qr_env_live_t *live, const uint8_t state[QR_ENV_STATE_SZ]) {
  catch_t *c = of(live);
  c->feed = qr_feed_unpack(state);
  c->episode_idx = qr_ld32(state + 20);
  c->row = state[24] % ROW_CNT;
  c->ball = state[25] % COL_CNT;
  c->paddle = state[26] % COL_CNT;
}

static void pack(const qr_env_live_t *live, uint8_t state[QR_ENV_STATE_SZ]) {
  const catch_t *c = of_const(live);
  memset(state, 0, QR_ENV_STATE_SZ);
  qr_feed_pack(&c->feed, state);
  qr_st32(state + 20, c->episode_idx);
  state[24] = (uint8_t)c->row;
  state[25] = (uint8_t)c->ball;
  state[26] = (uint8_t)c->paddle;
}

static int32_t step(qr_env_live_t *live, uint32_t action, bool *done) {
  catch_t *c = of(live);
  QR_ASSERT(action < 3);
  if (action == 0 && c->paddle > 0)
    c->paddle--;
  else if (action == 2 && c->paddle + 1 < COL_CNT)
    c->paddle++;
  c->row++;
  *done = c->row == ROW_CNT;
  if (!*done) return 0;
  int32_t reward = c->ball == c->paddle ? 65536 : -65536;
  c->episode_idx++;
  new_episode(c);
  return reward;
}

static void observe(const qr_env_live_t *live, int8_t *obs) {
  const catch_t *c = of_const(live);
  memset(obs, 0, OBS_SZ);
  obs[c->row * COL_CNT + c->ball] = ONE;
  obs[ROW_CNT * COL_CNT + c->paddle] = ONE;
}

static uint32_t policy(const qr_env_live_t *live, uint32_t idx) {
  const catch_t *c = of_const(live);
  QR_ASSERT(idx < QR_ARRAY_CNT(policy_names));
  if (idx == 0) return c->ball < c->paddle ? 0 : c->ball > c->paddle ? 2 : 1;
  if (idx == 1) return 1;
  return qr_feed_random(&c->feed, c->episode_idx * ROW_CNT + c->row, 3);
}

const qr_env_t qr_env_catch = {
    .id = QR_ENV_CATCH,
    .name = "catch",
    .obs_c = OBS_SZ,
    .obs_h = 1,
    .obs_w = 1,
    .action_cnt = 3,
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
