/* microgrid-map: the same plant as a map [4 days][24 hours][8 channels]; the last cell of the last
   row is the present hour, so every column is one hour of the day and rows are 24 hours apart.
   Non-episodic. */
#include "env/microgrid_plant.h"

#define DAY_CNT 4u
#define HOUR_CNT 24u
#define CHANNEL_CNT 8u

/* 48 * sin(2 pi h / 24). */
static const int8_t sine[24] = {0, 12,  24,  34,  42,  46,  48,  46,  42,  34,  24,  12,
                                0, -12, -24, -34, -42, -46, -48, -46, -42, -34, -24, -12};

static void observe(const qr_env_live_t *live, int8_t *obs) {
  const qr_plant_t *p = qr_plant_of(live);
  int32_t price = p->price[qr_plant_slot(p, 0)];
  int8_t plane = qr_plant_clip(p->charge * 4 - 64);
  for (uint32_t w = 0; w < HOUR_CNT; w++) {
    uint32_t hour = (qr_plant_hour(p) + w + 1) % 24;
    int8_t thermometer = qr_plant_clip((p->charge * 3 - (int32_t)w * 4 - 1) * 3);
    for (uint32_t h = 0; h < DAY_CNT; h++) {
      uint32_t slot = qr_plant_slot(p, DAY_CNT * HOUR_CNT - 1 - (h * HOUR_CNT + w));
      int8_t *o = obs + (h * HOUR_CNT + w) * CHANNEL_CNT;
      o[0] = qr_plant_clip((p->price[slot] - QR_PLANT_PRICE_MID) / 2);
      o[1] = qr_plant_clip(p->dev[slot]);
      o[2] = qr_plant_clip(p->net[slot] * 3 - 30);
      o[3] = qr_plant_clip((price - p->price[slot]) / 2);
      o[4] = sine[hour];
      o[5] = sine[(hour + 6) % 24];
      o[6] = plane;
      o[7] = thermometer;
    }
  }
}

const qr_env_t qr_env_microgrid_map = {
    .id = QR_ENV_MICROGRID_MAP,
    .name = "microgrid-map",
    .obs_c = CHANNEL_CNT,
    .obs_h = DAY_CNT,
    .obs_w = HOUR_CNT,
    .action_cnt = QR_PLANT_ACTION_CNT,
    .policy_cnt = QR_PLANT_POLICY_CNT,
    .policy_names = qr_plant_policy_names,
    .start = qr_plant_start,
    .unpack = qr_plant_unpack,
    .pack = qr_plant_pack,
    .rekey = qr_plant_rekey,
    .step = qr_plant_step,
    .observe = observe,
    .policy = qr_plant_policy,
};
