/* microgrid: the plant as a dense vector of 128: hour, charge, present price and its surroundings,
   24 hours of price and net load, a thermometer of the charge. Non-episodic. */
#include "env/microgrid_plant.h"

#define OBS_SZ 128u
#define ONE 32 /* 1.0 at the inputs' five fraction bits */

static void observe(const qr_env_live_t *live, int8_t *obs) {
  const qr_plant_t *p = qr_plant_of(live);
  int32_t price = p->price[qr_plant_slot(p, 0)], mean = p->mean_q8 / 256;
  memset(obs, 0, OBS_SZ);
  obs[qr_plant_hour(p)] = ONE;
  int8_t *o = obs + 24;
  *o++ = qr_plant_clip(p->charge * 4 - 64);
  *o++ = qr_plant_clip(p->charge * 8 - 64);
  *o++ = qr_plant_clip(p->charge * 8 - 192);
  *o++ = qr_plant_clip((price - QR_PLANT_PRICE_MID) / 2);
  *o++ = qr_plant_clip((price - mean) / 2);
  *o++ = qr_plant_clip(price - mean);
  *o++ = qr_plant_clip((price - mean) / 6);
  for (uint32_t age = 1; age <= 3; age++)
    *o++ = qr_plant_clip((price - p->price[qr_plant_slot(p, age)]) / 2);
  *o++ = qr_plant_clip((mean - QR_PLANT_PRICE_MID) * 2);
  *o++ = qr_plant_clip(p->demand * 3 - 45);
  *o++ = qr_plant_clip(p->solar * 4 - 20);
  *o++ = ONE;
  for (uint32_t age = 0; age < 24; age++) {
    obs[48 + age] = qr_plant_clip((p->price[qr_plant_slot(p, age)] - QR_PLANT_PRICE_MID) / 2);
    obs[72 + age] = qr_plant_clip(p->net[qr_plant_slot(p, age)] * 3 - 30);
  }
  for (int32_t i = 0; i < QR_PLANT_CAPACITY; i++) obs[96 + i] = p->charge > i ? ONE / 4 : 0;
}

const qr_env_t qr_env_microgrid = {
    .id = QR_ENV_MICROGRID,
    .name = "microgrid",
    .obs_c = OBS_SZ,
    .obs_h = 1,
    .obs_w = 1,
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
