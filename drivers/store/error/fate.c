#include "fate.h"

#include "base/splitmix.h"

#define DELAY_POLLS_MAX UINT64_C(1000000)
#define OPEN_SALT UINT64_C(0x6f70656e)

int qr_store_error_settings(const char *options, qr_store_error_settings_t *out, char *why,
                            size_t why_sz) {
  const qr_fault_option_t known[] = {
      {"inner", QR_FAULT_INNER, &out->inner, 0},
      {"seed", QR_FAULT_NUMBER, &out->seed, UINT64_MAX},
      {"fail", QR_FAULT_RATE, &out->fail, 0},
      {"survive", QR_FAULT_RATE, &out->survive, 0},
      {"delay", QR_FAULT_RATE, &out->delay, 0},
      {"delay_polls", QR_FAULT_NUMBER, &out->delay_polls, DELAY_POLLS_MAX},
      {"open_fail", QR_FAULT_RATE, &out->open_fail, 0},
  };
  *out =
      (qr_store_error_settings_t){.delay_polls = 16, .inner = {.name = "mem", .options = "keep=1"}};
  return qr_fault_options("store error", options, ';', known, QR_ARRAY_CNT(known), why, why_sz);
}

qr_store_error_fate_t qr_store_error_fate(const qr_store_error_settings_t *s, uint64_t open,
                                          uint64_t commit) {
  uint64_t lots = qr_fault_lots(qr_fault_lots(s->seed, open), commit);
  qr_store_error_fate_t f;
  f.fail = qr_fault_hits(&lots, s->fail);
  f.survive = qr_fault_hits(&lots, s->survive);
  f.delay = qr_fault_hits(&lots, s->delay);
  f.follower_cnt = (uint32_t)(qr_splitmix_next(&lots) % 4);
  return f;
}

bool qr_store_error_open_fails(const qr_store_error_settings_t *s, uint64_t open) {
  uint64_t lots = qr_fault_lots(s->seed ^ OPEN_SALT, open);
  return open && qr_fault_hits(&lots, s->open_fail);
}
