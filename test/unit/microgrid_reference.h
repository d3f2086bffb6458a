/* References for the microgrid's scores, for tests and studies only: recorded exogenous traces,
   perfect foresight by dynamic programming, and the searches over which the baseline rules were
   chosen. Scores are money per day and instance. */
#ifndef QR_TEST_MICROGRID_REFERENCE_H
#define QR_TEST_MICROGRID_REFERENCE_H

#include <stdlib.h>

#include "env/microgrid_plant.h"

typedef struct {
  qr_plant_t *hours;
  uint32_t instance_cnt, hour_cnt;
} mg_trace_t; /* hours[instance][hour] */

/* The worlds of instances 0.. under feed, from fresh starts; free(hours) after. */
static inline mg_trace_t mg_trace_record(const qr_hash_t *feed, uint32_t instance_cnt,
                                         uint32_t hour_cnt) {
  mg_trace_t t = {malloc((size_t)instance_cnt * hour_cnt * sizeof(qr_plant_t)), instance_cnt,
                  hour_cnt};
  static qr_env_live_t live;
  for (uint32_t i = 0; t.hours && i < instance_cnt; i++) {
    qr_plant_start(&live, feed, i);
    for (uint32_t h = 0; h < hour_cnt; h++) {
      bool done;
      t.hours[(size_t)i * hour_cnt + h] = *qr_plant_of(&live);
      qr_plant_step(&live, QR_PLANT_IDLE, &done);
    }
  }
  return t;
}

static inline double mg_per_day(const mg_trace_t *t, int64_t money) {
  return (double)money * 24 / ((double)t->instance_cnt * t->hour_cnt);
}

/* The most that could be earned by someone who knows the future; an end charge is worth nothing. */
static inline double mg_foresight(const mg_trace_t *t) {
  int64_t total = 0;
  for (uint32_t i = 0; i < t->instance_cnt; i++) {
    int64_t value[QR_PLANT_CAPACITY + 1] = {0};
    const qr_plant_t *hours = t->hours + (size_t)i * t->hour_cnt;
    for (uint32_t h = t->hour_cnt; h-- > 0;) {
      int64_t before[QR_PLANT_CAPACITY + 1];
      for (int32_t c = 0; c <= QR_PLANT_CAPACITY; c++) {
        before[c] = INT64_MIN;
        for (uint32_t a = 0; a < QR_PLANT_ACTION_CNT; a++) {
          int32_t after;
          int64_t v = qr_plant_money(&hours[h], c, a, &after);
          v += value[after];
          before[c] = v > before[c] ? v : before[c];
        }
      }
      memcpy(value, before, sizeof value);
    }
    total += value[hours[0].charge];
  }
  return mg_per_day(t, total);
}

typedef uint32_t (*mg_rule_fn)(const qr_plant_t *hour, const int32_t param[4]);

/* param: low, high (sixteenths), 0 = of the moving mean, 1 = of the usual price. */
static inline uint32_t mg_price_rule(const qr_plant_t *p, const int32_t param[4]) {
  int32_t price = p->price[qr_plant_slot(p, 0)],
          ref = param[2] ? QR_PLANT_PRICE_MID : p->mean_q8 / 256;
  return price * 16 < ref * param[0]   ? QR_PLANT_CHARGE
         : price * 16 > ref * param[1] ? QR_PLANT_DISCHARGE
                                       : QR_PLANT_IDLE;
}

/* param: charge from, to, discharge from, to. */
static inline uint32_t mg_hour_rule(const qr_plant_t *p, const int32_t param[4]) {
  int32_t h = (int32_t)qr_plant_hour(p);
  return h >= param[0] && h < param[1]   ? QR_PLANT_CHARGE
         : h >= param[2] && h < param[3] ? QR_PLANT_DISCHARGE
                                         : QR_PLANT_IDLE;
}

static inline double mg_rule_score(const mg_trace_t *t, mg_rule_fn rule, const int32_t param[4]) {
  int64_t total = 0;
  for (uint32_t i = 0; i < t->instance_cnt; i++) {
    const qr_plant_t *hours = t->hours + (size_t)i * t->hour_cnt;
    int32_t charge = hours[0].charge;
    for (uint32_t h = 0; h < t->hour_cnt; h++) {
      uint32_t action = rule(&hours[h], param);
      total += qr_plant_money(&hours[h], charge, action, &charge);
    }
  }
  return mg_per_day(t, total);
}

/* Best price rule over low 8..22, high 14..28 and both references; best hour rule over plausible
 * windows. */
static inline double mg_search_price(const mg_trace_t *t, int32_t best[4]) {
  double top = -1e18;
  for (int32_t low = 8; low <= 22; low++)
    for (int32_t high = 14; high <= 28; high++)
      for (int32_t mode = 0; mode < 2; mode++) {
        const int32_t param[4] = {low, high, mode, 0};
        double s = mg_rule_score(t, mg_price_rule, param);
        if (s > top) {
          top = s;
          memcpy(best, param, sizeof param);
        }
      }
  return top;
}

static inline double mg_search_hours(const mg_trace_t *t, int32_t best[4]) {
  double top = -1e18;
  for (int32_t c0 = 0; c0 < 6; c0++)
    for (int32_t c1 = c0 + 3; c1 < c0 + 8; c1++)
      for (int32_t d0 = 15; d0 < 20; d0++)
        for (int32_t d1 = d0 + 2; d1 < 24; d1++) {
          const int32_t param[4] = {c0, c1, d0, d1};
          double s = mg_rule_score(t, mg_hour_rule, param);
          if (s > top) {
            top = s;
            memcpy(best, param, sizeof param);
          }
        }
  return top;
}

#endif
