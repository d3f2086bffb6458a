/* The plant that microgrid and microgrid-map observe in two ways: a battery of 32 units behind one
   meter, with price, demand and solar that follow the hour of the day. The exogenous world is a
   pure function of (feed, instance, hour index): every hour takes its own Philox blocks, so a state
   of 24 bytes is re-expanded, history and all, by running the recursion from its fixed origin.
   README.md has every formula. */
#ifndef QR_ENV_MICROGRID_PLANT_H
#define QR_ENV_MICROGRID_PLANT_H

#include "env/feed.h"

#define QR_PLANT_CAPACITY 32     /* battery, units of energy */
#define QR_PLANT_HISTORY_CNT 96u /* hours that can be looked back at, the present one included */
#define QR_PLANT_RING_CNT 128u   /* a power of two, at least the history */
#define QR_PLANT_LEAD_CNT                                                                          \
  120u /* hours run before the origin: 24 to settle, 96 of history; a multiple of 24 */
#define QR_PLANT_HOUR_CNT                                                                          \
  4096u /* hours of one feed; the step after the last puts the plant under a derived feed */
#define QR_PLANT_ACTION_CNT 3u /* charge, idle, discharge */
#define QR_PLANT_POLICY_CNT 4u /* rule, hours, idle, random */
#define QR_PLANT_PRICE_MID 125 /* the usual price: origin of observations and start of the mean */

/* Reward per unit of money, Q16: money / 2048. Smaller rewards drown in the network's seven bits:
   at a quarter of this, learning passed the rule and fell back below it. */
#define QR_PLANT_REWARD_SCALE 32

enum qr_plant_action { QR_PLANT_CHARGE = 0, QR_PLANT_IDLE = 1, QR_PLANT_DISCHARGE = 2 };

typedef struct {
  qr_feed_t feed;
  uint32_t hour_idx;   /* hours since the feed's origin, < QR_PLANT_HOUR_CNT */
  uint32_t start_hour; /* hour of the day at the origin */
  int32_t charge;      /* 0..QR_PLANT_CAPACITY */
  /* recursion */
  int32_t noise, spike, level, demand_dev, cloud;
  int32_t mean_q8;                  /* moving mean of the price, 8 fraction bits */
  int32_t demand, solar;            /* of the present hour */
  int16_t price[QR_PLANT_RING_CNT]; /* by (hour_idx + lead) & (ring - 1) */
  int16_t net[QR_PLANT_RING_CNT];   /* demand - solar */
  int16_t dev[QR_PLANT_RING_CNT];   /* price - mean at that hour */
} qr_plant_t;

_Static_assert(sizeof(qr_plant_t) <= QR_ENV_LIVE_SZ, "a plant fits a live instance");

/* The parts of qr_env_t that both environments share; live holds a qr_plant_t. */
void qr_plant_start(qr_env_live_t *live, const qr_hash_t *feed, uint32_t instance);
void qr_plant_unpack(qr_env_live_t *live, const uint8_t state[QR_ENV_STATE_SZ]);
void qr_plant_pack(const qr_env_live_t *live, uint8_t state[QR_ENV_STATE_SZ]);
void qr_plant_rekey(qr_env_live_t *live, const qr_hash_t *feed, uint32_t instance);
int32_t qr_plant_step(qr_env_live_t *live, uint32_t action, bool *done);
uint32_t qr_plant_policy(const qr_env_live_t *live, uint32_t idx);
extern const char *const qr_plant_policy_names[QR_PLANT_POLICY_CNT];

static inline const qr_plant_t *qr_plant_of(const qr_env_live_t *live) {
  return (const qr_plant_t *)live->mem;
}

/* Money earned against an idle battery by an action in the present hour with a battery at charge,
   and the charge after it. Money is price times energy, at most 6000 either way. */
int32_t qr_plant_money(const qr_plant_t *p, int32_t charge, uint32_t action, int32_t *charge_after);

static inline uint32_t qr_plant_hour(const qr_plant_t *p) {
  return (p->start_hour + p->hour_idx) % 24;
}
/* Ring position of the hour `age` hours ago, age < QR_PLANT_HISTORY_CNT. */
static inline uint32_t qr_plant_slot(const qr_plant_t *p, uint32_t age) {
  return (p->hour_idx + QR_PLANT_LEAD_CNT - age) & (QR_PLANT_RING_CNT - 1);
}

/* Clips an observation to the range of network inputs. */
static inline int8_t qr_plant_clip(int32_t v) { return (int8_t)qr_clamp32(v, -64, 63); }

#endif
