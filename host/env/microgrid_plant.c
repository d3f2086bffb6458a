/* Divisions truncate towards zero and shifts of negative numbers do not occur: every line is plain
 * C integer arithmetic. */
#include "env/microgrid_plant.h"

#include "base/assert.h"

const char *const qr_plant_policy_names[QR_PLANT_POLICY_CNT] = {"rule", "hours", "idle", "random"};

/* Hourly shapes of a typical day. */
static const int16_t price_shape[24] = {70, 62, 58, 56,  58,  70,  110, 170, 190, 160, 120, 95,
                                        80, 76, 82, 100, 140, 200, 255, 262, 230, 170, 120, 90};
static const int8_t demand_shape[24] = {10, 9,  9,  9,  9,  10, 13, 17, 18, 16, 15, 15,
                                        15, 15, 15, 15, 16, 19, 22, 23, 21, 18, 15, 12};
static const int8_t solar_shape[24] = {0,  0,  0,  0, 0, 0, 1, 3, 6, 9, 12, 14,
                                       15, 14, 12, 9, 6, 3, 1, 0, 0, 0, 0,  0};

/* Baselines, the best of the searches that test_env repeats. By price: charge below RULE_LOW/16 of
   the usual price, discharge above RULE_HIGH/16 of it (a moving mean as reference scores less). By
   the clock: charge and discharge from the first to before the second hour. */
#define RULE_LOW 17
#define RULE_HIGH 21
enum { CHARGE_FROM = 1, CHARGE_TO = 8, DISCHARGE_FROM = 17, DISCHARGE_TO = 23 };

#define LEVEL_BLOCK 0x80000000u /* the day levels' blocks, apart from the hours' */

static int32_t draw(uint32_t word, uint32_t n) { return (int32_t)qr_philox_bound(word, n); }

/* Draws hour n of the feed (0 = first lead hour) from the one before it. */
static void draw_hour(qr_plant_t *p, uint32_t n) {
  uint32_t w[4], hour = (p->start_hour + n) % 24, slot = n & (QR_PLANT_RING_CNT - 1);
  if (hour == 0) {
    qr_philox_block(&p->feed.draws, LEVEL_BLOCK + n, w);
    p->level = draw(w[0], 97) - 48;
  }
  qr_philox_block(&p->feed.draws, n, w);
  p->noise = p->noise * 7 / 8 + draw(w[0], 65) - 32;
  p->spike = p->spike > 8 ? p->spike * 5 / 8 : 0;
  if (draw(w[1], 40) == 0) p->spike += 200;
  int32_t typical = price_shape[hour] * (256 + p->level * 2) / 256;
  int32_t price = qr_clamp32(typical + p->noise * 3 / 4 + p->spike, 5, 700);
  p->demand_dev = p->demand_dev * 7 / 8 + draw(w[2], 33) - 16;
  p->demand = qr_clamp32(demand_shape[hour] * 4 + p->demand_dev / 2, 8, 200) / 4 + 1;
  p->cloud = qr_clamp32(p->cloud * 7 / 8 + draw(w[3], 129) - 64, -200, 56);
  p->solar = solar_shape[hour] * (200 + p->cloud) / 256;
  p->mean_q8 += (price * 256 - p->mean_q8) / 24;
  p->price[slot] = (int16_t)price;
  p->net[slot] = (int16_t)(p->demand - p->solar);
  p->dev[slot] = (int16_t)(price - p->mean_q8 / 256);
}

/* Runs the world of (feed, instance, start_hour) from its beginning to hour_idx. */
static void expand(qr_plant_t *p) {
  p->noise = p->spike = p->level = p->demand_dev = p->cloud = 0;
  p->mean_q8 = QR_PLANT_PRICE_MID * 256;
  for (uint32_t n = 0; n <= p->hour_idx + QR_PLANT_LEAD_CNT; n++) draw_hour(p, n);
}

static void plant_rekey(qr_plant_t *p, const qr_hash_t *feed, uint32_t instance) {
  uint32_t hour = qr_plant_hour(p);
  p->feed = qr_feed_init(feed, instance);
  p->start_hour = hour;
  p->hour_idx = 0;
  expand(p);
}

void qr_plant_start(qr_env_live_t *live, const qr_hash_t *feed, uint32_t instance) {
  qr_plant_t *p = (qr_plant_t *)live->mem;
  qr_philox_t start = qr_philox_init(feed, qr_stream_word(QR_STREAM_START, 0, instance));
  memset(p, 0, sizeof *p);
  p->start_hour = qr_philox_bound(qr_philox_word(&start, 0), 24);
  p->charge = draw(qr_philox_word(&start, 1), QR_PLANT_CAPACITY + 1);
  plant_rekey(p, feed, instance);
}

void qr_plant_rekey(qr_env_live_t *live, const qr_hash_t *feed, uint32_t instance) {
  plant_rekey((qr_plant_t *)live->mem, feed, instance);
}

void qr_plant_unpack(qr_env_live_t *live, const uint8_t state[QR_ENV_STATE_SZ]) {
  qr_plant_t *p = (qr_plant_t *)live->mem;
  memset(p, 0, sizeof *p);
  p->feed = qr_feed_unpack(state);
  p->charge = qr_clamp32(state[18], 0, QR_PLANT_CAPACITY);
  p->start_hour = state[19] % 24;
  p->hour_idx = qr_ld32(state + 20) % QR_PLANT_HOUR_CNT;
  expand(p);
}

void qr_plant_pack(const qr_env_live_t *live, uint8_t state[QR_ENV_STATE_SZ]) {
  const qr_plant_t *p = qr_plant_of(live);
  memset(state, 0, QR_ENV_STATE_SZ);
  qr_feed_pack(&p->feed, state);
  state[18] = (uint8_t)p->charge;
  state[19] = (uint8_t)p->start_hour;
  qr_st32(state + 20, p->hour_idx);
}

/* What the meter bills for an hour: energy fed back earns half the price. */
static int32_t bill(int32_t price, int32_t net) { return net > 0 ? price * net : price * net / 2; }

int32_t qr_plant_money(const qr_plant_t *p, int32_t charge, uint32_t action,
                       int32_t *charge_after) {
  int32_t drawn = 0;
  if (action == QR_PLANT_CHARGE) {
    int32_t room = QR_PLANT_CAPACITY - charge, stored = room < 7 ? room : 7;
    drawn = stored * 8 / 7; /* an eighth is lost on the way in */
    charge += stored;
  } else if (action == QR_PLANT_DISCHARGE) {
    int32_t given = charge < 8 ? charge : 8;
    drawn = -given;
    charge -= given;
  }
  int32_t price = p->price[qr_plant_slot(p, 0)], net = p->demand - p->solar;
  int32_t wear = drawn < 0 ? -drawn * 12 : 0;
  *charge_after = charge;
  return bill(price, net) - bill(price, net + drawn) - wear;
}

/* Goes on under a feed derived from the present one, for runs longer than a feed's hours. */
static void next_feed(qr_plant_t *p) {
  uint32_t w[4];
  qr_hash_t feed = {{0}};
  qr_philox_block(&p->feed.draws, UINT32_MAX, w);
  for (uint32_t i = 0; i < 4; i++) qr_st32(feed.b + 4 * i, w[i]);
  p->start_hour = (p->start_hour + 1) % 24;
  plant_rekey(p, &feed, p->feed.instance);
}

int32_t qr_plant_step(qr_env_live_t *live, uint32_t action, bool *done) {
  qr_plant_t *p = (qr_plant_t *)live->mem;
  QR_ASSERT(action < QR_PLANT_ACTION_CNT);
  int32_t money = qr_plant_money(p, p->charge, action, &p->charge);
  *done = false;
  if (p->hour_idx + 1 == QR_PLANT_HOUR_CNT) {
    next_feed(p);
  } else {
    p->hour_idx++;
    draw_hour(p, p->hour_idx + QR_PLANT_LEAD_CNT);
  }
  return money * QR_PLANT_REWARD_SCALE;
}

static uint32_t price_rule(const qr_plant_t *p) {
  int32_t price = p->price[qr_plant_slot(p, 0)];
  return price * 16 < QR_PLANT_PRICE_MID * RULE_LOW    ? QR_PLANT_CHARGE
         : price * 16 > QR_PLANT_PRICE_MID * RULE_HIGH ? QR_PLANT_DISCHARGE
                                                       : QR_PLANT_IDLE;
}

static uint32_t hour_rule(const qr_plant_t *p) {
  uint32_t h = qr_plant_hour(p);
  return h >= CHARGE_FROM && h < CHARGE_TO         ? QR_PLANT_CHARGE
         : h >= DISCHARGE_FROM && h < DISCHARGE_TO ? QR_PLANT_DISCHARGE
                                                   : QR_PLANT_IDLE;
}

uint32_t qr_plant_policy(const qr_env_live_t *live, uint32_t idx) {
  const qr_plant_t *p = qr_plant_of(live);
  QR_ASSERT(idx < QR_PLANT_POLICY_CNT);
  if (idx == 0) return price_rule(p);
  if (idx == 1) return hour_rule(p);
  if (idx == 2) return QR_PLANT_IDLE;
  return qr_feed_random(&p->feed, p->hour_idx, QR_PLANT_ACTION_CNT);
}
