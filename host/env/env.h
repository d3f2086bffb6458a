/* Environments, the paper's oracle: integer state machines. Each is one file and one const table of
   functions. A state is canonical bytes (at most QR_ENV_STATE_SZ). A live instance is the same
   state expanded for stepping; everything a live instance shows (observation, reward, next state)
   follows from the state bytes, so states can be stored, hashed and re-expanded anywhere. Exogenous
   data (prices, resets, start positions) are draws of the Philox stream (feed, QR_STREAM_FEED,
   instance): a state carries what it needs to go on drawing. No floating point, no I/O. */
#ifndef QR_ENV_ENV_H
#define QR_ENV_ENV_H

#include "base/philox.h"
#include "base/types.h"

#define QR_ENV_STATE_SZ 32u
#define QR_ENV_OBS_MAX_SZ 1024u
#define QR_ENV_ACTION_MAX_CNT 8u
#define QR_ENV_LIVE_SZ 4096u

enum qr_env_id {
  QR_ENV_MICROGRID = 0,
  QR_ENV_MICROGRID_MAP = 1,
  QR_ENV_CATCH = 2,
  QR_ENV_CARTPOLE = 3,
  QR_ENV_CNT
};

/* Expanded instance; its content belongs to the environment that began it. */
typedef struct {
  _Alignas(64) uint8_t mem[QR_ENV_LIVE_SZ];
} qr_env_live_t;

typedef struct {
  enum qr_env_id id;
  const char *name;
  uint32_t obs_c, obs_h, obs_w; /* channels, height, width; element order [h][w][c]; dense
                                   observations are h = w = 1 */
  uint32_t action_cnt;
  uint32_t policy_cnt; /* baseline policies; policy 0 is the rule the reward is measured against */
  const char *const *policy_names;
  /* A fresh instance under the exogenous feed, as at genesis or at the start of an evaluation. */
  void (*start)(qr_env_live_t *live, const qr_hash_t *feed, uint32_t instance);
  /* Expands stored state bytes exactly as they were packed (any 32 bytes are safe; foreign ones are
   * brought into range). */
  void (*unpack)(qr_env_live_t *live, const uint8_t state[QR_ENV_STATE_SZ]);
  void (*pack)(const qr_env_live_t *live, uint8_t state[QR_ENV_STATE_SZ]);
  /* Puts a running instance under a new feed, as at the start of each block; what the agent owns
   * (charge, position) stays. */
  void (*rekey)(qr_env_live_t *live, const qr_hash_t *feed, uint32_t instance);
  /* One step with action < action_cnt. Returns the reward, Q16, in [-262144, 262144]; *done tells
     that an episode ended and the instance now stands at the start of the next. */
  int32_t (*step)(qr_env_live_t *live, uint32_t action, bool *done);
  /* Observation of the present state: obs_c*obs_h*obs_w values in [-64, 63]. */
  void (*observe)(const qr_env_live_t *live, int8_t *obs);
  /* What baseline policy idx would do now; policies that are random draw from the state, so they
   * too are deterministic. */
  uint32_t (*policy)(const qr_env_live_t *live, uint32_t idx);
} qr_env_t;

extern const qr_env_t qr_env_microgrid, qr_env_microgrid_map, qr_env_catch, qr_env_cartpole;

/* The environment of an id or name; NULL if there is none. */
const qr_env_t *qr_env_get(uint32_t id);
const qr_env_t *qr_env_find(const char *name);

static inline uint32_t qr_env_obs_sz(const qr_env_t *e) { return e->obs_c * e->obs_h * e->obs_w; }

#endif
